"""What Section 4 is measured with beyond Table 1: robustness in l2, and the sensitivity to lambda and rho."""

import pandas as pd
import pytest

from lib.runs import attacks, final, robustness, sensitivity, table1
from lib.runs.attacks import Configuration
from lib.runs.authors_search import Choice
from lib.runs.section4 import LEVELS
from lib.tv import calibrated_lambda


@pytest.fixture
def small(monkeypatch):
    """Table rows for images of 32 pixels."""
    monkeypatch.setattr(robustness, "WHOLE", robustness.WHOLE | {"n": 32, "sigma": 45.0, "preset": "quick"})
    for name, value in {"N": 32, "STEPS": 2, "TOL": 1e-2}.items():
        monkeypatch.setattr(sensitivity, name, value)


def test_robustness_is_of_every_level_and_method_of_ten_images():
    cells = list(robustness.cells(pd.DataFrame()))
    mine = [(cell["noise_rel"], cell["image"]) for cell in cells if cell["method"] == "tv"]
    assert sorted(mine) == [(level, image) for level in LEVELS for image in range(10)]
    assert {(cell["method"], cell["network"]) for cell in cells} >= {("tv", ""), ("tira", "compact")}


def test_adversarial_noise_harms_more_than_gaussian_noise_of_its_size(small):
    cell = {"method": "tv", "network": "", "noise_rel": 0.04, "image": 0}
    one = robustness.Configuration("tv", noise_rel=0.04, **robustness.WHOLE)
    cell["setting"] = robustness.identity(one, 0)["setting"]
    (row,), files = robustness.compute(**cell)
    assert files == {}
    clean, gaussian, adversarial = (float(row[f"error_{name}"]) for name in ("clean", "gaussian", "adversarial"))
    assert adversarial > max(clean, gaussian)
    assert row["search"] in ("ours", "adam")
    with pytest.raises(ValueError, match="this worker has"):
        robustness.compute(**{**cell, "setting": "another"})


def test_sensitivity_waits_for_the_search_and_then_varies_lambda_and_rho(monkeypatch):
    monkeypatch.setattr(sensitivity, "choice", lambda *_: (_ for _ in ()).throw(LookupError("not yet")))
    cells = list(sensitivity.cells(pd.DataFrame()))
    assert {cell["optimiser"] for cell in cells} == {"ours"}
    assert len(cells) == 5 * len(sensitivity.LEVELS) * len(sensitivity.FACTORS)
    monkeypatch.setattr(sensitivity, "choice", lambda *_: Choice(1e-3, 0.1, (), None))
    theirs = [cell for cell in sensitivity.cells(pd.DataFrame()) if cell["optimiser"] == "authors"]
    low = [cell for cell in theirs if cell["noise_rel"] == 0.005 and cell["image"] == 0]
    assert {cell["lam"] for cell in low} == {2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3}
    assert {cell["rho"] for cell in low} == set(sensitivity.RHO)
    assert len({tuple(cell.values()) for cell in theirs}) == len(theirs)


def test_a_search_without_a_result_has_no_penalty(monkeypatch):
    monkeypatch.setattr(sensitivity, "choice", lambda *_: (_ for _ in ()).throw(LookupError("not yet")))
    assert sensitivity.chosen()["authors", 0.04] == (0.0, 0.0)
    monkeypatch.setattr(sensitivity, "choice", lambda *_: Choice(1e-3, 0.1, (), None))
    found = sensitivity.chosen()
    assert found["authors", 0.04] == (1e-3, 0.1) and found["ours", 0.04] == (calibrated_lambda(0.04, 40), 0.0)


@pytest.mark.parametrize(("optimiser", "rho"), [("ours", 0.0), ("authors", 1.0)])
def test_a_row_of_the_sensitivity_has_the_ratio_of_the_peaks(small, monkeypatch, optimiser, rho):
    monkeypatch.setattr(sensitivity, "location_grid", lambda n: table1_grid(n))
    (row,), _ = sensitivity.compute(optimiser, 0.04, 5e-3, rho, 0)
    assert float(row["alpha"]) > 1


def table1_grid(n):
    from lib.attack import location_grid

    return location_grid(n, 2)


def test_many_plain_iterations_give_the_amplification_of_the_converged_solver_and_few_do_not(monkeypatch):
    small = Configuration("tv", 9, 0.04, "authors", grid=2, preset="literal", n=32)
    for module in (attacks, final):
        monkeypatch.setattr(module, "choice", lambda *_: Choice(5e-3, 0.3, (), None))
    monkeypatch.setattr(final, "configuration", lambda *_: small)
    alphas = {}
    for iterations in (2, 2000):
        monkeypatch.setattr(final, "ITERATIONS", iterations)
        (row,), _ = final.compute(9, 0.04, 0, attacks.setting(small), (8, 8))
        alphas[iterations] = float(row["alpha_plain"]) / float(row["alpha_converged"])
    assert alphas[2000] == pytest.approx(1, abs=0.02)
    assert abs(alphas[2] - 1) > 0.1


def test_the_final_iterations_wait_for_the_literal_rows(monkeypatch):
    monkeypatch.setattr(final, "selected", lambda one, image: (1, 2) if one.lines == 40 else None)
    cells = list(final.cells(pd.DataFrame()))
    assert [(cell["lines"], cell["noise_rel"], cell["mu"]) for cell in cells] == [(40, v, (1, 2)) for v in LEVELS]


def test_table_1_knows_both_pairs_of_networks():
    pairs = {cell.network for cell, _ in table1.configurations(1) if cell.method != "tv"}
    assert pairs == set(table1.PAIRS)
