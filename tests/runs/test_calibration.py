"""The search for lambda: its walk to the best point, which goes on from what is known, and the committed table."""

import math

import pandas as pd
import pytest
import torch

from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs import calibration
from lib.runs.calibration import cells, grid_error, walk
from lib.runs.engine import run
from lib.runs.tables import read_rows, read_table, typed
from lib.tv import reconstruct_tv


def test_a_grid_point_is_the_mean_error_of_the_reconstructions():
    (row,), _ = grid_error(5, 0.05, 0.02, images=3, n=16, seed=3, tol=5e-3)
    op, x = MaskedFourier(radial_mask(16, 5)), ellipses(3, 16, seed=3)
    result = reconstruct_tv(add_noise(op.A(x), 0.05, seed=3), op, 0.02, tol=5e-3, max_iter=1000)
    error = torch.linalg.vector_norm(result.image - x, dim=(1, 2)) / torch.linalg.vector_norm(x, dim=(1, 2))
    assert math.isclose(float(row["error_mean"]), error.mean(), abs_tol=1e-5)
    assert math.isclose(float(row["error_std"]), error.std(), abs_tol=1e-5)  # of the sample
    assert 0 < float(row["largest_relative_gap"]) <= 5e-3


def valley(best):
    """An error with one minimum at ``best``, steeper on one side."""

    def error(lam):
        distance = math.log10(lam / best)
        return 0.1 + (distance**2 if distance > 0 else 0.3 * distance**2)

    return error


def searched(error, noise_rel=0.04):
    """The errors of all points that a walk asks for, in the order in which it does."""
    errors = {}
    while new := [lam for lam in walk(errors, noise_rel) if lam not in errors]:
        errors |= {lam: error(lam) for lam in new}
    return errors


@pytest.mark.parametrize("best", [10**-4.06, 3e-3, 0.011, 2.0])
def test_the_walk_ends_at_the_best_point_with_finer_ones_around(best):
    errors = searched(valley(best))
    winner = min(errors, key=errors.get)
    assert abs(math.log10(winner / best)) <= 0.75 / 16
    found = sorted(errors)
    near = found[found.index(winner) - 1 : found.index(winner) + 2]
    assert [round(16 * math.log10(b / a)) for a, b in zip(near, near[1:], strict=False)] == [1, 1]


def test_two_worse_neighbours_on_each_side_are_needed():
    # A shallow dip beside the valley: the next coarse point is worse, the one after it better.
    error, start = valley(1e-3), 10 ** (round(4 * math.log10(0.2 * 0.04**1.2)) / 4)

    def with_a_dip(lam):
        return error(lam / 10**0.25) - 1e-3 if abs(math.log10(lam / start)) < 0.03 else error(lam)

    errors = searched(with_a_dip)
    assert math.isclose(min(errors, key=errors.get), 1e-3, rel_tol=0.1)


def test_masks_and_levels_do_not_mix():
    rows = pd.DataFrame({"lines": 25, "noise_rel": 0.04, "lam": [1e-3], "error_mean": [0.1], "images": 50, "n": 256})
    rows = rows.assign(seed=calibration.CALIBRATION, tol=calibration.TOL)
    points = list(cells(rows, (25, 40), (0.04, 0.01)))
    assert {(cell["lines"], cell["noise_rel"]) for cell in points} == {(25, 0.04), (25, 0.01), (40, 0.04), (40, 0.01)}
    alone = list(cells(rows.iloc[:0], (40,), (0.01,)))
    assert [cell for cell in points if (cell["lines"], cell["noise_rel"]) == (40, 0.01)] == alone


def test_a_small_problem_is_calibrated_for_real_and_once(tmp_path, inline, monkeypatch):
    monkeypatch.setattr(calibration, "IMAGES", 3)
    monkeypatch.setattr(calibration, "N", 16)
    table = calibration.table((7,), (0.1,))
    report = run(table, folder=tmp_path)
    rows = typed(read_rows(tmp_path / "lambda.csv", table.keys))
    errors = rows["error_mean"].tolist()
    best = errors.index(min(errors))
    assert rows["lam"].is_monotonic_increasing and report.new == len(rows) == len(inline) > 10
    assert 2 <= best < len(errors) - 2 and errors[0] > 1.02 * errors[best] < errors[-1]
    assert run(table, folder=tmp_path).new == 0


@pytest.mark.parametrize("noise_rel", calibration.NOISE)
@pytest.mark.parametrize("lines", calibration.LINES)
def test_the_committed_search_found_a_minimum_inside_its_grid(lines, noise_rel):
    mine = read_table("lambda", lines=lines, noise_rel=noise_rel).sort_values("lam")
    assert {*zip(mine["images"], mine["n"], mine["seed"], strict=True)} == {(50, 256, 3)}
    errors = mine["error_mean"].tolist()
    best = errors.index(min(errors))
    assert len(errors) >= 11 and 2 <= best < len(errors) - 2
    assert errors[0] > 1.01 * errors[best] < errors[-1]
