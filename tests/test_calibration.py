"""Noise of exactly the level asked for; the walk to the best lambda, which resumes where it stopped."""

import math

import pytest
import torch
from helpers import random

from lib import calibration
from lib.operators import add_noise, calibrate, grid_error
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, read_rows
from lib.tv import reconstruct_tv

# --- Noise


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("noise_rel", [0.005, 0.1, 3.0])
def test_noise_has_exactly_the_relative_norm_for_each_vector(noise_rel, dtype):
    y = random(2, 3, 50, dtype=dtype) * torch.tensor([1.0, 1e-3, 1e3])[:, None]
    noisy = add_noise(y, noise_rel, seed=0)
    assert noisy.shape == y.shape and noisy.dtype == dtype
    ratio = torch.linalg.vector_norm(noisy - y, dim=-1) / torch.linalg.vector_norm(y, dim=-1)
    assert torch.allclose(ratio, torch.full_like(ratio, noise_rel), rtol=1e-4 if dtype == torch.complex64 else 1e-12)


def test_noise_is_complex_and_independent_from_entry_to_entry():
    y = torch.ones(4, 5000, dtype=torch.complex128)
    noise = add_noise(y, 1.0, seed=0) - y  # of norm sqrt(5000): mean square 1
    assert abs(noise.mean()) < 0.03
    assert abs(noise.real.square().mean() - 0.5) < 0.02 and abs(noise.imag.square().mean() - 0.5) < 0.02
    assert abs((noise.real * noise.imag).mean()) < 0.02
    assert abs((noise[:, 1:] * noise[:, :-1].conj()).mean()) < 0.03
    assert abs((noise[0] * noise[1].conj()).mean()) < 0.06  # another one for each vector
    assert abs((noise.real**4).mean() / 0.75 - 1) < 0.1  # Gaussian: three times the squared variance


def test_noise_depends_on_its_seed_alone():
    y = random(2, 50)
    torch.manual_seed(0)
    one = add_noise(y, 0.1, seed=5)
    torch.manual_seed(1)
    assert torch.equal(one, add_noise(y, 0.1, seed=5))
    assert not torch.equal(one, add_noise(y, 0.1, seed=6))
    single = add_noise(y.to(torch.complex64), 0.1, seed=5)  # the same noise in each precision
    assert torch.allclose(single.to(one.dtype), one, atol=1e-6)


def test_no_noise_and_no_signal_leave_the_measurements_as_they_are():
    y = random(50)
    kept = y.clone()
    assert torch.equal(add_noise(y, 0, seed=0), y)
    assert torch.equal(add_noise(torch.zeros(50, dtype=torch.complex64), 0.1, seed=0), torch.zeros(50))
    add_noise(y, 0.1, seed=0)
    assert torch.equal(y, kept)


@pytest.mark.parametrize("noise_rel", [-0.1, math.nan, math.inf])
def test_a_wrong_noise_level_is_refused(noise_rel):
    with pytest.raises(ValueError, match=f"add_noise: noise_rel must be a number >= 0, got {noise_rel}"):
        add_noise(random(5), noise_rel, seed=0)


# --- One grid point


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(calibration, "IMAGES", 3)
    monkeypatch.setattr(calibration, "N", 16)


def test_a_grid_point_is_the_mean_error_of_the_reconstructions(small):
    row = grid_error(5, 0.05, 0.02)
    op, x = MaskedFourier(radial_mask(16, 5)), ellipses(3, 16, seed=3)
    result = reconstruct_tv(add_noise(op.A(x), 0.05, seed=3), op, 0.02, tol=calibration.TOL, max_iter=1000)
    error = torch.linalg.vector_norm(result.image - x, dim=(1, 2)) / torch.linalg.vector_norm(x, dim=(1, 2))
    assert math.isclose(float(row["error_mean"]), error.mean(), abs_tol=1e-5)
    assert math.isclose(float(row["error_std"]), error.std(), abs_tol=1e-5)
    assert (row["lines"], row["noise_rel"], float(row["lam"]), row["images"], row["n"]) == (5, 0.05, 0.02, 3, 16)
    assert (row["seed"], row["tol"]) == (3, calibration.TOL)
    assert 0 < float(row["largest_relative_gap"]) <= calibration.TOL
    assert {"iterations_mean", "seconds", "version", "cpu", "cores", "torch"} <= set(row)


# --- The walk


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "RESULTS", tmp_path)
    return tmp_path / "lambda.csv"


def valley(best):
    """An error with one minimum at ``best``, steeper on one side, and the list of the points it was asked for."""
    asked = []

    def error(lines, noise_rel, lam):
        asked.append((lines, noise_rel, lam))
        distance = math.log10(lam / best)
        value = distance**2 if distance > 0 else 0.3 * distance**2
        same = {"images": calibration.IMAGES, "n": calibration.N, "seed": calibration.SEED, "tol": calibration.TOL}
        return {"lines": lines, "noise_rel": noise_rel, "lam": f"{lam:.6g}", "error_mean": f"{0.1 + value:.6f}"} | same

    return error, asked


def lambdas(path):
    return [float(row["lam"]) for row in read_rows(path)]


@pytest.mark.parametrize("best", [10**-4.06, 3e-3, 0.011, 2.0])
def test_the_walk_ends_at_the_best_point_with_finer_ones_around(path, monkeypatch, best):
    error, asked = valley(best)
    monkeypatch.setattr(calibration, "grid_error", error)
    calibrate(40, 0.04)
    rows = read_rows(path)
    found = lambdas(path)
    winner = min(rows, key=lambda row: float(row["error_mean"]))
    position = found.index(float(winner["lam"]))
    assert found == sorted(found)
    # an interior minimum, on a grid of 16 points a decade around it
    assert abs(math.log10(found[position] / best)) <= 0.75 / 16
    near = found[position - 1 : position + 2]
    assert [round(16 * math.log10(b / a)) for a, b in zip(near, near[1:], strict=False)] == [1, 1]
    assert len(asked) == len(set(asked)) == len(rows)  # no point twice


def test_two_worse_neighbours_on_each_side_are_needed(path, monkeypatch):
    # A shallow dip beside the valley: the next coarse point is worse, the one after it better.
    error, _ = valley(1e-3)
    start = 10 ** (round(4 * math.log10(0.2 * 0.04**1.2)) / 4)

    def with_a_dip(lines, noise_rel, lam):
        row = error(lines, noise_rel, lam)
        if abs(math.log10(lam / start)) < 0.03:
            row["error_mean"] = f"{float(error(lines, noise_rel, lam / 10**0.25)['error_mean']) - 1e-3:.6f}"
        return row

    monkeypatch.setattr(calibration, "grid_error", with_a_dip)
    calibrate(40, 0.04)
    winner = min(read_rows(path), key=lambda row: float(row["error_mean"]))
    assert math.isclose(float(winner["lam"]), 1e-3, rel_tol=0.1)


def test_a_killed_run_continues_where_it_stopped(path, monkeypatch):
    error, asked = valley(3e-3)

    def killed_at_the_fifth(*arguments):
        if len(asked) == 4:
            raise KeyboardInterrupt
        return error(*arguments)

    monkeypatch.setattr(calibration, "grid_error", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        calibrate(40, 0.04)
    assert len(read_rows(path)) == 4  # each point is on disk as soon as it is known
    monkeypatch.setattr(calibration, "grid_error", error)
    calibrate(40, 0.04)
    assert len(asked) == len(set(asked)) == len(read_rows(path)) > 10

    before = path.read_bytes()
    calibrate(40, 0.04)  # all there: nothing to do
    assert len(asked) == len(read_rows(path)) and path.read_bytes() == before


def test_masks_and_levels_do_not_mix(path, monkeypatch):
    bests = {(40, 0.04): 3e-3, (40, 0.01): 1e-3, (25, 0.04): 1e-2}
    valleys = {key: valley(best) for key, best in bests.items()}
    monkeypatch.setattr(calibration, "grid_error", lambda *point: valleys[point[:2]][0](*point))
    calibration.main(["--lines", "40", "--noise", "0.04", "0.01"])
    calibrate(25, 0.04)
    rows = read_rows(path)
    keys = [(int(row["lines"]), float(row["noise_rel"]), float(row["lam"])) for row in rows]
    assert keys == sorted(keys) and {key[:2] for key in keys} == set(bests)
    for key, best in bests.items():
        mine = [row for row in rows if (int(row["lines"]), float(row["noise_rel"])) == key]
        assert len(mine) == len(valleys[key][1])
        winner = min(mine, key=lambda row: float(row["error_mean"]))
        assert abs(math.log10(float(winner["lam"]) / best)) <= 0.75 / 16


def test_a_small_problem_is_calibrated_for_real(path, small, monkeypatch):
    calls = []

    def counted(lines, noise_rel, lam):
        calls.append(lam)
        return grid_error(lines, noise_rel, lam)

    monkeypatch.setattr(calibration, "grid_error", counted)
    monkeypatch.setattr(calibration, "MAX_ITER", 200)
    calibrate(7, 0.1)
    errors = [float(row["error_mean"]) for row in read_rows(path)]
    best = errors.index(min(errors))
    assert 2 <= best < len(errors) - 2 and errors[0] > 1.02 * errors[best] < errors[-1]
    count = len(calls)
    calibrate(7, 0.1)
    assert len(calls) == count == len(errors)


def test_the_command_refuses_what_is_not_a_number(capsys):
    with pytest.raises(SystemExit):
        calibration.main(["--lines", "many"])
    assert "argument --lines: invalid int value: 'many'" in capsys.readouterr().err


def test_measurements_that_are_not_complex_are_refused():
    with pytest.raises(TypeError, match="add_noise: y must be complex, got torch.float32"):
        add_noise(torch.ones(5), 0.1, seed=0)


# --- The committed table


ROWS = read_rows(RESULTS / "lambda.csv")


@pytest.mark.parametrize("noise_rel", calibration.NOISE)
@pytest.mark.parametrize("lines", calibration.LINES)
def test_the_committed_search_found_a_minimum_inside_its_grid(lines, noise_rel):
    mine = [row for row in ROWS if int(row["lines"]) == lines and float(row["noise_rel"]) == noise_rel]
    assert {(int(row["images"]), int(row["n"]), int(row["seed"])) for row in mine} == {(50, 256, 3)}
    errors = [float(row["error_mean"]) for row in sorted(mine, key=lambda row: float(row["lam"]))]
    best = errors.index(min(errors))
    assert len(errors) >= 11 and 2 <= best < len(errors) - 2
    assert errors[0] > 1.01 * errors[best] < errors[-1]
