"""The table of open questions: its cells, lambda, and the amplification that an exactly recovered spike would have."""

import pandas as pd
import pytest
import torch

from lib.attack import fast_tv
from lib.iterative import coil_operator, simulated_coils
from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs import beyond
from lib.runs.tables import KEYS


@pytest.fixture
def small(monkeypatch):
    """Sizes at which a cell takes a second."""
    for name, value in {"N": 64, "LINES": 10, "PRIOR_N": 32, "PRIOR_LINES": 6, "SMALL_N": 32, "SMALL_LINES": 5}.items():
        monkeypatch.setattr(beyond, name, value)
    monkeypatch.setattr(beyond, "LAMBDAS", (2e-3, 8e-3))
    monkeypatch.setattr(beyond, "calibrated_lambda", lambda noise_rel, lines: 4e-3)
    caches = beyond._mask_lambda, beyond._prior_lambda
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("question", ["masks", "priors", "coils", "small coils"])
def test_a_cell_gives_a_row_for_each_number(small, question):
    case = {"coils": "2", "small coils": "4 1e-6"}.get(question, beyond.QUESTIONS[question].cases[-1])
    assert case in beyond.QUESTIONS[question].cases
    rows, files = beyond.compute(question, case, 0.05, 0)
    numbers = {row["quantity"]: float(row["value"]) for row in rows}
    assert not files and len(numbers) == len(rows) and {"alpha", "predicted", "error"} <= set(numbers)
    assert {row["n"] for row in rows} == {32 if question in ("priors", "small coils") else 64}
    assert all(set(KEYS["beyond"]) <= set(row) for row in rows)
    assert numbers["alpha"] == pytest.approx(numbers["rho_linf"] / numbers["r_linf"], rel=1e-4)
    assert 0 < numbers["error"] < 1


def test_cells_come_image_by_image():
    found = [*beyond.cells(pd.DataFrame())]
    assert [cell["image"] for cell in found] == sorted(cell["image"] for cell in found)
    assert len({tuple(cell.values()) for cell in found}) == len(found)
    assert {cell["question"] for cell in found} == set(beyond.QUESTIONS)


def test_the_prediction_is_that_of_exact_recovery():
    """n^2/m for one coil; for several, the height of a spike over that of its least-norm image."""
    x, mask = ellipses(1, 32, seed=1)[0], radial_mask(32, 8)
    for op in (MaskedFourier(mask), coil_operator(mask, simulated_coils(3, 32))):
        y = op.A(x)
        found = beyond.attacked(fast_tv(op, 3e-3, 0.05 * float(y.norm())), x, y, op, 0.05, count=1, screen=1)
        delta = torch.zeros(32, 32)
        delta[16, 16] = 1
        assert found["predicted"] == pytest.approx(1 / float(op.A_dagger(op.A(delta)).abs().max()), rel=1e-3)
    fourier = MaskedFourier(mask)
    rec = fast_tv(fourier, 3e-3, 0.05 * float(fourier.A(x).norm()))
    found = beyond.attacked(rec, x, fourier.A(x), fourier, 0.05, count=1, screen=1)
    assert found["predicted"] == pytest.approx(32**2 / fourier.m, rel=1e-3)


def test_lambda_is_the_best_of_the_list(monkeypatch):
    op, x = MaskedFourier(radial_mask(32, 8)), ellipses(1, 32, seed=1)[0]
    y = add_noise(op.A(x), 0.1, seed=beyond.CALIBRATION)
    errors = {lam: float((fast_tv(op, lam, 1.0).solve(y)[0].abs() - x).norm()) for lam in beyond.LAMBDAS}
    assert beyond.best_lambda(fast_tv, x, op, 0.1) == min(errors, key=errors.get)


@pytest.mark.parametrize("case", beyond.QUESTIONS["masks"].cases)
def test_all_masks_have_the_same_number_of_frequencies(case):
    assert int(beyond.mask_of(case).sum()) == pytest.approx(10941, rel=0.01)


def test_consistent_reconstructions_have_the_measurements():
    op = MaskedFourier(radial_mask(32, 8))
    y = op.A(ellipses(2, 32, seed=1))
    rec = beyond.consistent(lambda y: op.A_dagger(y).abs() + 1, op)
    assert torch.allclose(op.A(rec(y)), y, atol=1e-5) and not torch.allclose(rec(y), op.A_dagger(y), atol=1e-2)


def test_singular_values_are_those_of_one_big_matrix(monkeypatch):
    """One coil: 0 and 1 alone. Several: of A itself."""
    monkeypatch.setattr(beyond, "SMALL_N", 16)
    monkeypatch.setattr(beyond, "SMALL_LINES", 4)
    mask = radial_mask(16, 4)
    alone, _ = beyond.singular_values("1", 0.0, 0)
    assert alone["smallest"] < 1e-6 and alone["weak"] == pytest.approx(1 - int(mask.sum()) / 256, abs=1e-9)
    op = coil_operator(mask, simulated_coils(4, 16))
    dense = op.A(torch.eye(256).unflatten(-1, (16, 16))).T
    values = torch.linalg.svdvals(dense)
    found, _ = beyond.singular_values("4", 0.0, 0)
    below = 256 - len(values) + int((values < beyond.WEAK).sum())
    assert found["weak"] == pytest.approx(below / 256, abs=1.5 / 256)
