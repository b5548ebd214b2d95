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
SCRIPTS = {"explorer.js": "data-view=", "transfer.js": 'data-chapter="transfer"', "views.js": "data-chapter="}
STILLS = {  # by the view: a picture in results/explorer, its alternative text, what it shows
    "explorer": (
        "still.webp",
        "Six pictures of ellipses. Above, the image with a faint perturbation, three times. Below, the "
        "reconstructions: TV shows a bright orange spot at the target, the networks Tira and TiraFL show a faint one.",
        "A perturbation of 4 % of the measurements, made for TV. Above, the image with it; below, what TV, Tira and "
        "TiraFL reconstruct. The framed square is shown enlarged.",
    ),
    "reconstruction": (
        "still-reconstruction.webp",
        "Four pictures: a mask of 40 lines, black on white; ellipses; the same, grainy; the same, clean again.",
        "Mask, image, zero-filled and TV reconstruction from measurements with 4 % noise.",
    ),
    "attack": (
        "still-attack.webp",
        "Close-ups of a perturbation, a faint spot with rings, and of the artifact, which is ten times as high. "
        "Below, the objective grows with the steps and levels off.",
        "Perturbation and artifact after five steps of the ascent, at 4 % noise.",
    ),
    "transfer": (
        "still-transfer.webp",
        "Four pictures of ellipses with close-ups: the image with a faint dot; the TV reconstruction with a bright "
        "orange one; the reconstructions of Tira and TiraFL, where the dot is fainter than in the first.",
        "A perturbation of 4 % made for TV: the image with it, and what TV, Tira and TiraFL reconstruct.",
    ),
    "theory": (
        "still-theory.webp",
        "Two rows of three plots, for spikes and for jumps: the signal; the same with a small bump at 0, and "
        "ripples; the same with a spike at 0.",
        "A signal, the signal with the perturbation, and what is recovered, from 60 of 256 frequencies.",
    ),
}
WORKER = ("solver.wasm.js", "solver.js", "tasks.js", "pursuit.js", "ascent.js")
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
    transfers = sorted(results.glob("transfer-*.json"))
    data |= {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in transfers}
    return {"page": page, "images": images, **data}


def worker_text(static: Path) -> str:
    """The worker: the compiled part of the solver as text, then the rest."""
    return "".join((static / name).read_text(encoding="utf-8") for name in WORKER)


def add_explorer(app, pagename, templatename, context, doctree):
    """To a page with an explorer or a chapter's view, scripts and styles, and a still picture for want of scripts."""
    body = context.get("body", "")
    scripts = [name for name, mark in SCRIPTS.items() if re.search(f'<div class="explorer" {mark}', body)]
    if not scripts:
        return
    for name in ("parts.js", *scripts):
        app.add_js_file(name, defer="defer")
    app.add_css_file("explorer.css")

    def with_still(tag):
        name, alt, caption = STILLS[tag[2] if tag[1] == "chapter" else "explorer"]
        source = context["pathto"](f"_static/explorer/{name}", True)
        return f'{tag[0]}<noscript><img src="{source}" alt="{alt}"><p>{caption}</p></noscript>'

    context["body"] = re.sub(r'<div class="explorer" data-(view|chapter)="(\w+)"[^>]*>', with_still, body)


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    results, out = Path(app.srcdir) / "results" / "explorer", Path(app.outdir) / "_static" / "explorer"
    out.mkdir(parents=True, exist_ok=True)
    try:
        data = {"worker": worker_text(Path(app.srcdir) / "book" / "_static"), **page_data(results)}
        for name, _, _ in STILLS.values():
            shutil.copyfile(results / name, out / name)
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
