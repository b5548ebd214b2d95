"""The explorer's frames in results/, the data of its page, and the live view, driven directly and through a kernel."""

import base64
import hashlib
import importlib.util
import io
import json
import math
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from lib import explorer
from lib.attack import spike_perturbation
from lib.explorer import (
    COUNT,
    FRAMES,
    LEVELS,
    SHOWN,
    Explorer,
    bump_perturbation,
    compute_frames,
    decode,
    encode,
    example_image,
    frame_rows,
    page_lambda,
    side_by_side,
    warn,
)
from lib.figures import OVER
from lib.operators import MaskedFourier, radial_mask
from lib.records import read_rows
from lib.tv import calibrated_lambda

ROOT = Path(__file__).parent.parent


def module(name, folder):
    """A script of the book as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "book" / folder / f"{name}.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


explorer_page, solver = module("explorer_page", "_ext"), module("solver", "")


def test_results_have_every_frame():
    rows = read_rows(FRAMES / "frames.csv")
    found = {(float(r["noise_rel"]), int(r["row"]), int(r["column"]), r["target"], r["method"]) for r in rows}
    assert len(rows) == len(found) == len(LEVELS) * COUNT**2 * len(SHOWN)
    for level in LEVELS:
        pictures = json.loads((FRAMES / f"level-{100 * level:g}.json").read_text())
        assert len(pictures) == COUNT**2 + 1


def test_the_amplification_is_the_ratio_of_the_peaks():
    for row in read_rows(FRAMES / "frames.csv"):
        (rho, d), (r, c), (alpha, h) = (
            (value, 0.501 * 10 ** (math.floor(math.log10(value)) - 2))  # half of the last of three digits
            for value in (float(row[name]) for name in ("peak_rho", "peak_r", "amplification"))
        )
        assert (rho - d) / (r + c) - h <= alpha <= (rho + d) / (r - c) + h, row


def test_a_frame_is_what_the_table_and_the_pictures_say(monkeypatch):
    """TV's part of one frame, computed anew: numbers to 2 %, the close-up to its step, the rest to what is seen."""
    row = next(r for r in read_rows(FRAMES / "frames.csv") if r["target"] == r["method"] == "tv")
    noise_rel, mu = float(row["noise_rel"]), (int(row["row"]), int(row["column"]))
    methods = explorer.reconstructions
    monkeypatch.setattr(explorer, "SHOWN", (("tv", "tv"),))
    monkeypatch.setattr(explorer, "reconstructions", lambda *args: {"tv": methods(*args)["tv"]})
    attacks, clean = compute_frames(noise_rel, torch.tensor([mu]))
    (new,) = frame_rows(attacks, noise_rel, list(mu), 0, "", 0.0)
    for name in ("peak_r", "peak_rho", "amplification"):
        assert math.isclose(float(new[name]), float(row[name]), rel_tol=0.02)
    pictures = json.loads((FRAMES / f"level-{100 * noise_rel:g}.json").read_text())
    whole, close = map(decode, pictures[f"{mu[0]},{mu[1]}"])
    assert whole.shape == (512, 1024) and close.shape == (24, 192)
    rho = (clean["tv"] + attacks["tv", "tv"].artifact[0]).abs() - clean["tv"].abs()
    top, left = (max(c, 12) - 12 for c in mu)
    near = rho[top : top + 24, left : left + 24].clamp(-1.28, 1.27)
    assert float(((close[:, 24:48] - 128) / 100 - near).abs().max()) < 0.03
    away = ((whole[:256, 256:512] - 128) / 100 - rho.clamp(-1.28, 1.27)).abs()
    assert float(away.median()) < 0.01 and float((away > 0.05).float().mean()) < 0.005
    assert float((decode(pictures["clean"])[:, :256] / 255 - clean["tv"].abs()).abs().max()) < 0.02


def test_the_page_gets_the_numbers_of_the_table():
    data = explorer_page.page_data(FRAMES)
    page = data["page"]
    rows = read_rows(FRAMES / "frames.csv")
    seen = 0
    for row in rows:
        level = 100 * float(row["noise_rel"])
        i = page["locations"].index(int(row["row"])) * COUNT + page["locations"].index(int(row["column"]))
        if level in page["levels"]:
            numbers = page["numbers"][page["levels"].index(level)][i][f"{row['target']} {row['method']}"]
            assert numbers == {"r": row["peak_r"], "rho": row["peak_rho"], "alpha": row["amplification"]}
            seen += 1
    assert seen == len(page["levels"]) * COUNT**2 * len(SHOWN) > 0


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


def test_lambda_continues_in_logarithms():
    assert page_lambda(0.04, 33) == calibrated_lambda(0.04, 33)
    steps = [math.log(page_lambda(noise, 40)) for noise in (0.00125, 0.0025, 0.005, 0.01)]
    assert np.allclose(np.diff(steps, 2), 0)


def test_a_picture_keeps_what_its_step_can():
    image = torch.linspace(-1.2, 1.2, 256).reshape(16, 16)
    assert float(((decode(encode(image)) - 128) / 100 - image).abs().max()) <= 0.005 + 1e-6


def test_beyond_one_is_the_warning_colour():
    picture = warn(torch.tensor([[0.0, 0.5, 1.0, 1.01]]))
    assert picture[0, :3].tolist() == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    assert "#" + "".join(f"{c:02x}" for c in picture[0, 3]) == OVER


def test_close_ups_stay_in_the_picture_at_the_corners():
    for mu in ((0, 0), (0, 255), (255, 255), (128, 128)):
        assert side_by_side([torch.rand(256, 256)] * 3, mu).shape == (256, 784, 3)


def test_the_bump_has_the_norm_it_should():
    op = MaskedFourier(radial_mask(64, 20))
    for sigma in (0, 1, 4):
        assert math.isclose(
            float(torch.linalg.vector_norm(bump_perturbation(op, (20, 30), sigma, 2.5))), 2.5, rel_tol=1e-5
        )
    spike = spike_perturbation(op, (20, 30), 2.5)
    assert torch.allclose(bump_perturbation(op, (20, 30), 0, 2.5), spike, atol=1e-6)


@pytest.fixture(scope="module")
def live():
    return Explorer()


def test_each_control_recomputes(live):
    seen = {live.picture.png}
    for name, value in {
        "noise": 8.0,
        "row": 60,
        "column": 190,
        "sigma": 2,
        "lines": 30,
        "image": "Shepp-Logan",
    }.items():
        before = live.numbers.value
        live.controls[name].value = value
        assert live.numbers.value != before, name
        assert live.picture.png not in seen, name
        seen.add(live.picture.png)
        assert f"{float(live.attack.amplification):.3g}" in live.numbers.value and live.picture.alt


def test_a_network_has_the_mask_it_was_trained_for(live):
    live.controls["lines"].value = 30
    live.controls["method"].value = "tira"
    assert live.controls["lines"].value == 40 and live.controls["lines"].disabled
    live.controls["method"].value = "tv"
    assert not live.controls["lines"].disabled


def test_a_click_sets_the_target(live):
    live.picture.clicked = [30, 2 * (256 + explorer.GAP) + 50]
    assert (live.controls["row"].value, live.controls["column"].value) == (30, 50)
    live.picture.clicked = [90, 258]  # between two panels
    assert (live.controls["row"].value, live.controls["column"].value) == (30, 50)


def test_refinement_raises_the_objective_and_shows_its_progress(live):
    seen = []
    live.controls["sigma"].value = 5
    live.progress.observe(lambda change: seen.append(change["new"]), "value")
    before = float(live.attack.objective)
    live.refine()
    assert float(live.attack.objective) > before
    assert max(seen) >= 5 and live.progress.layout.visibility == "hidden"


def test_the_slider_goes_to_its_end(live):
    live.controls["noise"].value = 10 ** live.controls["noise"].max  # as far as it goes
    assert "20 %" in live.picture.alt
    live.controls["noise"].value = 0.1
    assert "0.1 %" in live.picture.alt


def test_what_went_wrong_is_said_in_the_page(live, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("no trained <network>")

    monkeypatch.setattr(explorer, "load_network", missing)
    explorer._method.cache_clear()
    live.controls["method"].value = "tira"
    assert "no trained &lt;network&gt;" in live.numbers.value
    live.refine_button.click()
    assert "no trained" in live.numbers.value and not live.refine_button.disabled
    live.controls["method"].value = "tv"
    assert "amplification" in live.numbers.value


def test_the_still_picture_is_the_first_view():
    """Six pictures; TV's artifact is orange in the whole picture and, four times as large, in its close-up."""
    picture = np.array(Image.open(io.BytesIO(explorer.still())).convert("RGB")).astype(int)
    assert picture.shape == (2 * 256 + explorer.GAP, 3 * 256 + 2 * explorer.GAP, 3)
    over = [int(OVER[i : i + 2], 16) for i in (1, 3, 5)]
    orange = np.abs(picture - over).sum(-1) < 60
    assert orange[256:, :256].sum() > 17 and orange[256:, :256].sum() > orange[256:, 264:520].sum()
    assert (FRAMES / "still.webp").read_bytes() == explorer.still()


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_rel": 0.5},
        {"mu": (0, 256)},
        {"sigma": 40},
        {"sigma": 2.5},
        {"lines": 10},
        {"image": "cat"},
        {"method": "fbp"},
    ],
    ids=lambda wrong: "-".join(map(str, *wrong.items())),
)
def test_wrong_parameters_are_named(wrong):
    with pytest.raises(ValueError, match=f"Explorer: {next(iter(wrong))}.*got"):
        Explorer(**wrong)


@pytest.mark.slow
def test_in_a_kernel_the_cell_shows_widgets_and_sliders_recompute():
    cells = [
        "from lib.explorer import Explorer\nexplorer = Explorer()\nexplorer",
        "explorer.controls['noise'].value = 8.0\n"
        "print(f'{float(explorer.attack.artifact.abs().max()):.3g}', explorer.numbers.value)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    (shown,) = [o for o in notebook.cells[0].outputs if o.output_type == "execute_result"]
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(shown.data)
    peak, text = notebook.cells[1].outputs[0].text.split(" ", 1)
    assert f"peak of ρ {peak}," in text


def test_without_trained_networks_the_command_that_makes_them_is_named(monkeypatch):
    monkeypatch.setattr(explorer, "read_manifest", dict)
    monkeypatch.setattr("lib.networks.read_manifest", lambda _=None: {})
    with pytest.raises(FileNotFoundError, match="make train NETWORK=tira PRESET=compact"):
        explorer.settings(0.04, 3)
