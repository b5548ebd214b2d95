"""What the static page of the explorer gets: numbers of the table, the images, and the compiled solver."""

import base64
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import book_module
from PIL import Image

from lib.explorer import IMAGES, AttackView, ReconstructionView, TheoryView, TransferView, chapters, page
from lib.explorer.pictures import GAP
from lib.figures.style import OVER
from lib.runs.frames import FRAMES, decode, example_image
from lib.runs.tables import read_table

ROOT = Path(__file__).parents[2]
VIEWS = (ReconstructionView, AttackView, TheoryView, TransferView)


explorer_page, solver = book_module("_ext/explorer_page"), book_module("solver")


def test_the_page_gets_the_numbers_of_the_table():
    data, table = explorer_page.page_data(FRAMES)["page"], read_table("explorer/frames")
    places, columns = data["locations"], ["peak_r", "peak_rho", "amplification"]
    for row in table.itertuples():
        numbers = data["numbers"][data["levels"].index(100 * row.noise_rel)]
        shown = numbers[places.index(row.row) * len(places) + places.index(row.column)][f"{row.target} {row.method}"]
        expected = [getattr(row, column) for column in columns]
        assert [float(shown[name]) for name in ("r", "rho", "alpha")] == pytest.approx(expected)
    assert len(table) == sum(len(frame) for level in data["numbers"] for frame in level)


def test_the_page_gets_the_images_without_loss():
    images = explorer_page.page_data(FRAMES)["images"]
    assert list(images) == list(IMAGES)
    for name, image in IMAGES.items():
        for n in (128, 256):
            assert torch.equal(decode(images[name][str(n)]) / 255, image(n)), name
    assert torch.equal(decode(json.loads((FRAMES / "page.json").read_text())["x256"]) / 255, example_image())


def test_the_committed_files_are_those_of_the_frames(tmp_path, monkeypatch):
    for name in ("level-4.json", "page.json", "still.webp"):
        shutil.copy(FRAMES / name, tmp_path)
    monkeypatch.setattr(page, "FRAMES", tmp_path)
    page.write_page()
    for name in ("page.json", "images.json", "still.webp"):
        assert (tmp_path / name).read_bytes() == (FRAMES / name).read_bytes(), name


def test_the_still_picture_is_the_first_view():
    """Six pictures; TV's artifact is orange in the whole picture and, four times as large, in its close-up."""
    picture = np.array(Image.open(io.BytesIO(page.still())).convert("RGB")).astype(int)
    assert picture.shape == (2 * 256 + GAP, 3 * 256 + 2 * GAP, 3)
    over = [int(OVER[i : i + 2], 16) for i in (1, 3, 5)]
    orange = np.abs(picture - over).sum(-1) < 60
    assert orange[256:, :256].sum() > 17 and orange[256:, :256].sum() > orange[256:, 264:520].sum()


def test_each_view_has_its_still_and_jupyter_the_worker_of_the_page():
    assert explorer_page.WORKER == chapters.WORKER
    named = {name for name, _, _ in explorer_page.STILLS.values()}
    assert named == {file.name for file in FRAMES.glob("*.webp")}
    assert set(explorer_page.STILLS) == {"explorer", *(view().chapter for view in VIEWS)}


def test_the_compiled_solver_is_that_of_its_source():
    static = ROOT / "book" / "_static"
    text = (static / "solver.wasm.js").read_text(encoding="utf-8")
    assert hashlib.sha256((static / "solver.c").read_bytes()).hexdigest() in text, "make solver"
    assert base64.b64decode(text.split('"')[1]).startswith(b"\0asm") and len(text) < 40_000
    if all(map(shutil.which, ("clang", "wasm-ld"))) and f"by {solver.version()}\n" in text:
        assert text == solver.script(static / "solver.c")
