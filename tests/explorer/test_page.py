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
from torch import nn

from lib.explorer import IMAGES, AttackView, Explorer, NetworksView, ReconstructionView, TheoryView, TransferView, page
from lib.explorer.data import entries
from lib.explorer.pictures import GAP
from lib.explorer.trained import network_data
from lib.figures.style import OVER
from lib.measures import relative_error
from lib.networks import load_network
from lib.runs.frames import FRAMES, decode, example_image
from lib.runs.tables import read_table

ROOT = Path(__file__).parents[2]
VIEWS = (Explorer, ReconstructionView, NetworksView, AttackView, TheoryView, TransferView)


explorer_page, solver = book_module("_ext/explorer_page"), book_module("solver")


def test_the_page_gets_the_numbers_of_the_table():
    data, table = entries()["page"], read_table("explorer/frames")
    places, columns = data["locations"], ["peak_r", "peak_rho", "amplification"]
    for row in table.itertuples():
        numbers = data["numbers"][data["levels"].index(100 * row.noise_rel)]
        shown = numbers[places.index(row.row) * len(places) + places.index(row.column)][f"{row.target} {row.method}"]
        expected = [getattr(row, column) for column in columns]
        assert [float(shown[name]) for name in ("r", "rho", "alpha")] == pytest.approx(expected)
    assert len(table) == sum(len(frame) for level in data["numbers"] for frame in level)


def test_the_page_gets_the_images_without_loss():
    images = entries()["images"]
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


def test_each_view_has_its_still():
    named = {name for name, _, _ in explorer_page.STILLS.values()}
    assert named == {file.name for file in FRAMES.glob("*.webp")}
    assert set(explorer_page.STILLS) == {view().chapter for view in VIEWS}


@pytest.mark.parametrize("name", solver.MODULES)
def test_the_compiled_modules_are_those_of_their_sources(name):
    static = ROOT / "book" / "_static"
    text = (static / f"{name}.wasm.js").read_text(encoding="utf-8")
    assert hashlib.sha256((static / f"{name}.c").read_bytes()).hexdigest() in text, "make solver"
    assert base64.b64decode(text.split('"')[1]).startswith(b"\0asm") and len(text) < 40_000
    if all(map(shutil.which, ("clang", "wasm-ld"))) and f"by {solver.version()}\n" in text:
        assert text == solver.script(static / f"{name}.c")


def test_the_page_gets_the_numbers_of_tira_and_the_images_of_tirafl():
    data, net = network_data(), load_network("tira").net
    floats, halves = (np.frombuffer(base64.b64decode(data[k]), t) for k, t in (("floats", "<f4"), ("halves", "<f2")))
    norms, convolutions = (
        [module for module in net.modules() if isinstance(module, kinds)]
        for kinds in (nn.BatchNorm2d, (nn.Conv2d, nn.ConvTranspose2d))
    )
    assert floats.size == 2 * sum(norm.num_features for norm in norms)
    assert halves.size == sum(parameter.numel() for layer in convolutions for parameter in layer.parameters())
    first, last = norms[0], convolutions[-1].bias
    x = torch.linspace(-1, 1, first.num_features)[None, :, None, None]
    scale, shift = torch.from_numpy(floats[: 2 * first.num_features].copy()).reshape(2, 1, -1, 1, 1)
    assert torch.allclose(scale * x + shift, first(x), atol=1e-5)
    assert np.array_equal(halves[-len(last) :].astype(np.float32), last)  # without loss
    stored, view = entries()["tirafl"], NetworksView(0.02, "brain")
    assert list(stored) == list(IMAGES)
    picture, error = stored[view.image][page.NOISE.index(view.noise_rel)]
    expected = load_network("tirafl")(view.measured()[1]).abs()
    assert (decode(picture) / page.BRIGHT - expected).abs().mean() < 0.01  # the file loses a little
    assert error == pytest.approx(relative_error(expected, IMAGES[view.image]()), abs=1e-3)
