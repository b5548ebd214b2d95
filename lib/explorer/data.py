"""What the views load: frames, images and the worker's text, as scripts in the static page, as messages in Jupyter."""

import csv
import functools
import json
from pathlib import Path

from lib.explorer.trained import network_data
from lib.runs.frames import FRAMES

STATIC = Path(__file__).parents[2] / "book" / "_static"
WORKER = ("solver.wasm.js", "solver.js", "tasks.js", "pursuit.js", "ascent.js", "network.wasm.js", "network.js")
NUMBERS = {"r": "peak_r", "rho": "peak_rho", "alpha": "amplification"}  # names in the page, columns of the table


def static_text(*names: str) -> str:
    """Files of ``book/_static``, one after the other."""
    return "".join((STATIC / name).read_text(encoding="utf-8") for name in names)


@functools.cache
def entries(results: Path = FRAMES) -> dict[str, object]:
    """What a page may load, by name, but for ``tira``. Levels that are not complete are left out.

    Numbers are the strings of frames.csv.

    Parameters
    ----------
    results : the folder with the explorer's results.

    Raises
    ------
    OSError : a file is missing.
    KeyError : a file lacks an entry.
    """
    page = json.loads((results / "page.json").read_text(encoding="utf-8"))
    levels, places = [], page["locations"]
    frames: dict[tuple[str, int, int], dict[str, dict[str, str]]] = {}
    data: dict[str, object] = {}
    with (results / "frames.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = f"{100 * float(row['noise_rel']):g}", int(row["row"]), int(row["column"])
            values = {short: row[column] for short, column in NUMBERS.items()}
            frames.setdefault(key, {})[f"{row['target']} {row['method']}"] = values
    for level in page["levels"]:
        keys = [(f"{level:g}", row, column) for row in places for column in places]
        if not all(key in frames for key in keys):
            continue
        levels.append((level, [frames[key] for key in keys]))
        pictures = json.loads((results / f"level-{level:g}.json").read_text(encoding="utf-8"))
        data[f"level-{level:g}"] = pictures["clean"]
        for row in places:
            data[f"level-{level:g}-{row}"] = {c: pictures[f"{row},{c}"] for c in places}
    page["levels"], page["numbers"] = [level for level, _ in levels], [numbers for _, numbers in levels]
    for transfer in sorted(results.glob("transfer-*.json")):
        data[transfer.stem] = json.loads(transfer.read_text(encoding="utf-8"))
    texts = ((results / f"{name}.json").read_text(encoding="utf-8") for name in ("images", "tirafl"))
    images, tirafl = map(json.loads, texts)
    return {"worker": static_text(*WORKER), "page": page, "images": images, "tirafl": tirafl, **data}


def entry(name: str) -> object:
    """One of them, or ``tira``, the network, which is read when it is asked for; None if there is no such entry."""
    return network_data() if name == "tira" else entries().get(name)
