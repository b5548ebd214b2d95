"""Write what the explorer's page loads: results/explorer as classic scripts, the worker's text, a still picture.

A page that was opened from a file may load scripts and pictures but not fetch data, and a worker not even a script. So
each script here sets one entry of `explorerData`, and the worker's text is one of them. `explorer.js` goes only to the
pages that have an explorer.
"""

import csv
import json
import re
import shutil
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)
CAPTION = (
    "A perturbation of 4 % of the measurements, made for TV. Above, the image with it; below, what TV, Tira and TiraFL "
    "reconstruct. The framed square is shown enlarged."
)
STILL = (
    "Six pictures of ellipses. Above, the image with a faint perturbation, three times. Below, the reconstructions: "
    "TV shows a bright orange spot at the target, the networks Tira and TiraFL show a faint one."
)
NUMBERS = {"r": "peak_r", "rho": "peak_rho", "alpha": "amplification"}  # names in the page, columns of the table


def page_data(results: Path) -> dict[str, object]:
    """The entries of `explorerData` by name, for the complete levels; numbers are the strings of frames.csv."""
    page = json.loads((results / "page.json").read_text(encoding="utf-8"))
    frames, data, levels, places = {}, {}, [], page["locations"]
    with (results / "frames.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = f"{100 * float(row['noise_rel']):g}", int(row["row"]), int(row["column"])
            values = {short: row[column] for short, column in NUMBERS.items()}
            frames.setdefault(key, {})[f"{row['target']} {row['method']}"] = values
    for level in page["levels"]:
        keys = [(f"{level:g}", row, column) for row in places for column in places]
        if not all(key in frames for key in keys):
            logger.warning("explorer: %g %% noise is not computed, `make explorer` does it", level)
            continue
        levels.append((level, [frames[key] for key in keys]))
        pictures = json.loads((results / f"level-{level:g}.json").read_text(encoding="utf-8"))
        data[f"level-{level:g}"] = pictures["clean"]
        for row in places:
            data[f"level-{level:g}-{row}"] = {c: pictures[f"{row},{c}"] for c in places}
    page["levels"], page["numbers"] = [level for level, _ in levels], [numbers for _, numbers in levels]
    images = json.loads((results / "images.json").read_text(encoding="utf-8"))
    return {"page": page, "images": images, **data}


def worker_text(static: Path) -> str:
    """The worker: the compiled part of the solver as text, then the rest."""
    return "".join((static / name).read_text(encoding="utf-8") for name in ("solver.wasm.js", "solver.js"))


def add_explorer(app, pagename, templatename, context, doctree):
    """To a page with an explorer, the script and the style, and a still picture for want of scripts."""
    if 'class="explorer"' not in context.get("body", ""):
        return
    app.add_js_file("explorer.js", defer="defer")
    app.add_css_file("explorer.css")
    source = context["pathto"]("_static/explorer/still.webp", True)
    still = f'<noscript><img src="{source}" alt="{STILL}"><p>{CAPTION}</p></noscript>'
    context["body"] = re.sub(r'<div class="explorer"[^>]*>', lambda tag: tag[0] + still, context["body"])


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    results, out = Path(app.srcdir) / "results" / "explorer", Path(app.outdir) / "_static" / "explorer"
    out.mkdir(parents=True, exist_ok=True)
    try:
        data = {"worker": worker_text(Path(app.srcdir) / "book" / "_static"), **page_data(results)}
        shutil.copyfile(results / "still.webp", out / "still.webp")
    except (OSError, KeyError) as error:
        logger.warning("explorer: results/explorer is not complete, `make explorer` computes it: %r", error)
        return
    for name, value in data.items():
        text = f"explorerData[{json.dumps(name)}] = {json.dumps(value, separators=(',', ':'))};\n"
        (out / f"{name}.js").write_text(text, encoding="utf-8")


def setup(app):
    app.connect("html-page-context", add_explorer)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
