"""Write what the explorer's page loads: results/explorer as classic scripts, the worker's text, a still picture.

A page that was opened from a file may load scripts and pictures but not fetch data, and a worker not even a script. So
each script here sets one entry of `explorerData`, and the worker's text is one of them. `explorer.js` goes only to the
pages that have an explorer.
"""

import csv
import json
import shutil
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)
NUMBERS = {"r": "peak_r", "rho": "peak_rho", "alpha": "amplification"}  # names in the page, columns of the table


def page_data(results: Path) -> dict[str, object]:
    """The entries of `explorerData` by name; numbers are the very strings of ``frames.csv``."""
    page = json.loads((results / "page.json").read_text(encoding="utf-8"))
    frames, data = {}, {}
    with (results / "frames.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = f"{100 * float(row['noise_rel']):g} {row['row']},{row['column']}"
            values = {short: row[column] for short, column in NUMBERS.items()}
            frames.setdefault(key, {})[f"{row['target']} {row['method']}"] = values
    grid = [(row, column) for row in page["locations"] for column in page["locations"]]
    page["numbers"] = [[frames[f"{level:g} {row},{column}"] for row, column in grid] for level in page["levels"]]
    for level in page["levels"]:
        pictures = json.loads((results / f"level-{level:g}.json").read_text(encoding="utf-8"))
        data[f"level-{level:g}"] = pictures["clean"]
        for row in page["locations"]:
            data[f"level-{level:g}-{row}"] = {c: pictures[f"{row},{c}"] for c in page["locations"]}
    return {"page": page, **data}


def worker_text(static: Path) -> str:
    """The worker: the FFT package as it is published (it wants a `module`), then the solver."""
    fft, solver = (static / name for name in ("vendor/fft.js/fft.js", "solver.js"))
    return "const module = {};\n" + fft.read_text(encoding="utf-8") + solver.read_text(encoding="utf-8")


def add_script(app, pagename, templatename, context, doctree):
    if 'class="explorer"' in context.get("body", ""):
        app.add_js_file("explorer.js")
        app.add_css_file("explorer.css")


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
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
