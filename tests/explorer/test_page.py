"""What the static page of the explorer gets: numbers of the table, the phantom, and the compiled solver."""

import base64
import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from lib.runs.pictures import decode, example_image
from lib.runs.tables import RESULTS, read_table

ROOT = Path(__file__).parents[2]
FRAMES = RESULTS / "explorer"


def module(name, folder):
    """A script of the book as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "book" / folder / f"{name}.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


explorer_page, solver = module("explorer_page", "_ext"), module("solver", "")


def test_the_page_gets_the_numbers_of_the_table():
    page, table = explorer_page.page_data(FRAMES)["page"], read_table("explorer/frames")
    places, columns = page["locations"], ["peak_r", "peak_rho", "amplification"]
    for row in table.itertuples():
        numbers = page["numbers"][page["levels"].index(100 * row.noise_rel)]
        shown = numbers[places.index(row.row) * len(places) + places.index(row.column)][f"{row.target} {row.method}"]
        expected = [getattr(row, column) for column in columns]
        assert [float(shown[name]) for name in ("r", "rho", "alpha")] == pytest.approx(expected)
    assert len(table) == sum(len(frame) for level in page["numbers"] for frame in level)


def test_the_page_gets_the_phantom_without_loss():
    page = json.loads((FRAMES / "page.json").read_text())
    for n in (128, 256):
        assert torch.equal(decode(page[f"x{n}"]) / 255, example_image(n))


def test_the_compiled_solver_is_that_of_its_source():
    static = ROOT / "book" / "_static"
    text = (static / "solver.wasm.js").read_text(encoding="utf-8")
    assert hashlib.sha256((static / "solver.c").read_bytes()).hexdigest() in text, "make solver"
    assert base64.b64decode(text.split('"')[1]).startswith(b"\0asm") and len(text) < 40_000
    if all(map(shutil.which, ("clang", "wasm-ld"))) and f"by {solver.version()}\n" in text:
        assert text == solver.script(static / "solver.c")
