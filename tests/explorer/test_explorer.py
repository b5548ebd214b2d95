"""The explorer with a kernel: its traits, its controls, and what it recomputes with `lib`."""

import functools
import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from lib.attack import STEPS, disk_weight, localized_attack, power_ascent
from lib.explorer import IMAGES, Explorer, features, page_lambda
from lib.explorer.data import entries
from lib.networks import load_network
from lib.operators import MaskedFourier, radial_mask
from lib.runs.tables import read_table
from lib.tv import calibrated_lambda

ROOT = Path(__file__).parents[2]


def test_lambda_continues_in_logarithms():
    assert page_lambda(0.04, 33) == calibrated_lambda(0.04, 33)
    steps = [math.log(page_lambda(noise, 40)) for noise in (0.00125, 0.0025, 0.005, 0.01)]
    assert np.allclose(np.diff(steps, 2), 0)


def test_it_begins_with_a_frame_where_there_is_one():
    assert Explorer().mode == Explorer(0.1, (16, 240)).mode == "frames"
    others = (
        Explorer(0.03),
        Explorer(mu=(1, 2)),
        Explorer(lines=41),
        Explorer(image="brain"),
        Explorer(feature="spike"),
        Explorer(size=4),
    )
    assert {explorer.mode for explorer in others} == {"live"}


def test_controls_and_traits_move_together():
    explorer = Explorer()
    controls = explorer.controls
    controls["row"].value, controls["noise_rel"].value, controls["image"].value = 60, 0.05, "brain"
    assert (explorer.mu, explorer.noise_rel, explorer.image) == ([60, 80], 0.05, "brain")
    explorer.mu, explorer.lines = [3, 4], 30
    assert [controls[name].value for name in ("row", "column", "lines")] == [3, 4, 30]
    assert controls is explorer.controls


def test_it_sends_the_page_what_it_asks_for(monkeypatch):
    explorer, sent = Explorer(), []
    monkeypatch.setattr(explorer, "send", sent.append)
    explorer._handle_custom_msg({"name": "level-4-112"}, None)  # as a message of the page comes in
    explorer._handle_custom_msg({"name": "cat"}, None)
    assert sent == [{"name": "level-4-112", "value": entries()["level-4-112"]}, {"name": "cat", "value": None}]
    assert set(sent[0]["value"]) == set(range(16, 256, 32))


@pytest.mark.parametrize("mode", ["frames", "live"])
def test_the_attack_is_that_of_the_frame(mode):
    table = read_table("explorer/frames")
    row = table[(table.target == "tv") & (table.method == "tv") & (table.noise_rel == 0.04)].iloc[11]
    explorer = Explorer(0.04, (int(row.row), int(row.column)))
    explorer.mode = mode  # the live mode begins with the same
    if mode == "frames":
        explorer.size, explorer.feature = 9, "disc"  # which a frame does not know
    assert float(explorer.attack().amplification) == pytest.approx(row.amplification, rel=0.01)


def test_an_attack_that_was_stopped_has_its_steps():
    explorer = Explorer(0.06, (100, 90), image="brain")
    explorer.steps, op = 1, MaskedFourier(radial_mask(256, 40), real=True)
    y, phi = op.A(IMAGES["brain"]()), disk_weight(256, (100, 90), 5)
    options = {"optimiser": functools.partial(power_ascent, steps=1)}
    expected = localized_attack(load_network("tira").forward, y, op, 0.06, phi, **options)
    found = explorer.attack("tira")
    assert found.history.shape == (2, 2)
    assert float(found.amplification) == pytest.approx(float(expected.amplification), rel=1e-3)


def test_a_frame_has_all_steps(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "lib.explorer.explorer.localized_attack", lambda *_, **options: seen.append(options["optimiser"])
    )
    explorer = Explorer()
    explorer.steps = 2
    for explorer.mode, method in (("frames", "tira"), ("live", "tira"), ("live", "tv")):
        explorer.attack(method)
    assert [optimiser.keywords["steps"] for optimiser in seen] == [STEPS, 2, STEPS]


@pytest.mark.parametrize("feature", ["spike", "letter", "erase", "paint"])
def test_a_feature_is_what_the_perturbation_is_made_of(feature):
    image = IMAGES["brain"]()
    explorer = Explorer(0.05, (100, 120), 30, image, feature, 3)
    explorer.n, explorer.paint = 128, "3_10_6060.0_-5_2020"
    assert explorer.image == "own" and torch.equal(explorer.shown_image(), IMAGES["brain"](128))
    attack, d = explorer.attack(tol=1e-2), explorer.drawn()
    expected = features.erase(explorer.shown_image(), (50, 60), 3) if feature == "erase" else None
    assert expected is None or torch.equal(d, expected)
    assert torch.cosine_similarity(attack.image_perturbation.real.flatten(), d.flatten(), 0) > 0.3
    assert float(attack.artifact.abs().max()) > float(attack.image_perturbation.abs().max())


WRONG = (
    ("noise_rel", 0.5),
    ("noise_rel", math.nan),
    ("mu", (0, 256)),
    ("mu", (1, 2, 3)),
    ("mu", 7),
    ("lines", 10),
    ("image", "cat"),
    ("image", torch.zeros(3, 3)),
    ("feature", "cloud"),
    ("size", 40),
    ("size", 2.5),
    ("methods", ("fbp",)),
)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_parameters_are_named(name, value):
    with pytest.raises((TypeError, ValueError), match=f"Explorer: {name}.*got"):
        Explorer(**{name: value})


@pytest.mark.slow
def test_in_a_kernel_the_cell_shows_a_widget_whose_traits_can_be_linked():
    cells = [
        "from lib.explorer import AttackView, Explorer\nexplorer = Explorer()\nexplorer",
        "import ipywidgets, traitlets\n"
        "other, seen, slider = AttackView(), [], ipywidgets.FloatSlider(0.02, min=0, max=0.2)\n"
        "explorer.observe(lambda change: seen.append(change['new']), 'noise_rel')\n"
        "traitlets.link((explorer, 'mu'), (other, 'mu'))\n"
        "traitlets.link((slider, 'value'), (explorer, 'noise_rel'))\n"
        "slider.value, explorer.mu = 0.08, [80, 48]\n"
        "print(seen, other.mu, explorer.controls['noise_rel'].value)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    (shown,) = [o for o in notebook.cells[0].outputs if o.output_type == "execute_result"]
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(shown.data)
    assert notebook.cells[1].outputs[0].text == "[0.02, 0.08] [80, 48] 0.08\n"
