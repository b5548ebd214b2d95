"""The live view of the explorer, driven directly and through a kernel."""

import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from lib.explorer import Explorer, live, page_lambda
from lib.explorer.pictures import GAP
from lib.tv import calibrated_lambda

ROOT = Path(__file__).parents[2]


def test_lambda_continues_in_logarithms():
    assert page_lambda(0.04, 33) == calibrated_lambda(0.04, 33)
    steps = [math.log(page_lambda(noise, 40)) for noise in (0.00125, 0.0025, 0.005, 0.01)]
    assert np.allclose(np.diff(steps, 2), 0)


@pytest.fixture(scope="module")
def explorer():
    return Explorer()


def test_each_control_recomputes(explorer):
    seen = {explorer.picture.png}
    wanted = {"noise": 8.0, "row": 60, "column": 190, "sigma": 2, "lines": 30, "image": "Shepp-Logan"}
    for name, value in wanted.items():
        before = explorer.numbers.value
        explorer.controls[name].value = value
        assert explorer.numbers.value != before and explorer.picture.png not in seen, name
        seen.add(explorer.picture.png)
        assert f"{float(explorer.attack.amplification):.3g}" in explorer.numbers.value and explorer.picture.alt


def test_a_network_has_the_mask_it_was_trained_for(explorer):
    explorer.controls["lines"].value = 30
    explorer.controls["method"].value = "tira"
    assert explorer.controls["lines"].value == 40 and explorer.controls["lines"].disabled
    explorer.controls["method"].value = "tv"
    assert not explorer.controls["lines"].disabled


def test_a_click_sets_the_target(explorer):
    explorer.picture.clicked = [30, 2 * (256 + GAP) + 50]
    assert (explorer.controls["row"].value, explorer.controls["column"].value) == (30, 50)
    explorer.picture.clicked = [90, 258]  # between two panels
    assert (explorer.controls["row"].value, explorer.controls["column"].value) == (30, 50)


def test_refinement_raises_the_objective_and_shows_its_progress(explorer):
    seen = []
    explorer.controls["sigma"].value = 5
    explorer.progress.observe(lambda change: seen.append(change["new"]), "value")
    before = float(explorer.attack.objective)
    explorer.refine()
    assert float(explorer.attack.objective) > before
    assert max(seen) >= 5 and explorer.progress.layout.visibility == "hidden"


def test_the_slider_goes_to_its_end(explorer):
    explorer.controls["noise"].value = 10 ** explorer.controls["noise"].max  # as far as it goes
    assert "20 %" in explorer.picture.alt
    explorer.controls["noise"].value = 0.1
    assert "0.1 %" in explorer.picture.alt


def test_what_went_wrong_is_said_in_the_page(explorer, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("no trained <network>")

    monkeypatch.setattr(live, "load_network", missing)
    live._method.cache_clear()
    explorer.controls["method"].value = "tira"
    assert "no trained &lt;network&gt;" in explorer.numbers.value
    explorer.refine_button.click()
    assert "no trained" in explorer.numbers.value and not explorer.refine_button.disabled
    explorer.controls["method"].value = "tv"
    assert "amplification" in explorer.numbers.value


WRONG = (
    ("noise_rel", 0.5),
    ("mu", (0, 256)),
    ("mu", (1, 2, 3)),
    ("mu", 7),
    ("noise_rel", math.nan),
    ("sigma", 40),
    ("sigma", 2.5),
    ("lines", 10),
    ("image", "cat"),
    ("method", "fbp"),
)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_parameters_are_named(name, value):
    with pytest.raises((TypeError, ValueError), match=f"Explorer: {name}.*got"):
        Explorer(**{name: value})


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
