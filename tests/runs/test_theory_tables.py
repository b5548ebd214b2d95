"""The long runs of the theory chapter: verdicts, bisection, intervals, and the committed tables."""

import math

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lib import theory
from lib.runs import theory as theory_runs
from lib.runs.section4 import THEORY
from lib.runs.tables import read_table
from lib.runs.theory import constant, first_recovery, quantile, recovers

TABLES = (theory_runs.GROWTH, theory_runs.MASKS, theory_runs.TRANSITION)
GROWTH, MASKS, TRANSITION = (read_table(table.name) for table in TABLES)


# --- Verdicts


@pytest.mark.parametrize("tv", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_verdict_agrees_with_clarabel(seed, tv):
    rng, n = np.random.default_rng(seed), 24
    x = theory.steps(n, 4, rng) if tv else theory.spike_train(n, 4, rng)
    omega = theory.sample_frequencies(n, 7 + 2 * (seed % 4), rng, zero=tv)
    z, rows = cp.Variable(n, complex=True), np.exp(-2j * np.pi * np.outer(omega, np.arange(n)) / n) / np.sqrt(n)
    objective = cp.norm1(z - (np.roll(np.eye(n), 1, axis=0) @ z if tv else 0))
    minimum = cp.Problem(cp.Minimize(objective), [rows @ z == rows @ x]).solve(solver=cp.CLARABEL)
    verdict, size = recovers(x, omega, tv), abs(theory.gradient(x) if tv else x).sum()
    assert verdict is not None
    assert verdict == (minimum > size * (1 - 1e-6))
    assert not verdict or np.allclose(z.value, x, atol=1e-3)


def test_there_are_verdicts_of_each_kind():
    rng, k = np.random.default_rng(0), np.arange(-31, 33)
    x = theory.spike_train(64, 2, rng)
    assert recovers(x, k, tv=False) is True
    assert recovers(x, k[:2], tv=False) is False
    assert recovers(x, k[k % 2 == 0], tv=False) is None  # a tie: x and its shift by n/2


@pytest.mark.parametrize("tv", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
def test_bisection_finds_the_first_recovery(tv, seed):
    rng, n = np.random.default_rng(seed), 16
    x = theory.steps(n, 3, rng) if tv else theory.spike_train(n, 3, rng)
    order = theory_runs.ORDERS["uniform"](n, rng)
    assert sorted(order) == list(range(-n // 2 + 1, n // 2 + 1))
    first, _ = first_recovery(x, order, tv)
    verdicts = [bool(recovers(x, np.union1d(order[:m], [0]) if tv else order[:m], tv)) for m in range(1, n + 1)]
    assert verdicts == [m >= first for m in range(1, n + 1)]


def test_the_comb_is_measured_at_multiples_of_s_only():
    x = theory_runs._comb(64, 4, np.random.default_rng(0))
    seen = theory.measure(x, np.arange(-31, 33))
    assert np.count_nonzero(x) == 4 and x[0] == 0
    assert np.allclose(seen[np.arange(-31, 33) % 4 != 0], 0, atol=1e-14)
    assert np.allclose(abs(seen[np.arange(-31, 33) % 4 == 0]), 0.5)


def test_low_frequencies_come_first_with_their_probability():
    n, draws = 32, 4000
    rng = np.random.default_rng(0)
    first = np.array([theory_runs.ORDERS["low"](n, rng)[0] for _ in range(draws)])
    weight = 1 / np.maximum(1, abs(np.arange(-n // 2 + 1, n // 2 + 1)))
    for k in (0, 1, -4, 16):
        p = 1 / max(1, abs(k)) / weight.sum()
        assert abs((first == k).sum() - draws * p) < 4.5 * math.sqrt(draws * p * (1 - p))


# --- Quantiles


@pytest.mark.parametrize("probability", [0.5, 0.95])
def test_the_interval_covers_the_quantile_as_often_as_it_says(probability):
    rng, trials, covered = np.random.default_rng(0), 1000, 0
    truth = binom.ppf(probability, 60, 0.4)
    for _ in range(trials):
        middle, low, high = quantile(rng.binomial(60, 0.4, 100), probability)
        assert low <= middle <= high
        covered += low <= truth <= high
    assert covered >= 0.94 * trials
    uniform = [quantile(rng.random(100) * 10**6, probability) for _ in range(trials)]  # continuous: no help from ties
    assert 0.945 <= np.mean([low <= probability * 10**6 <= high for _, low, high in uniform]) <= 0.995


def test_the_quantile_is_the_least_value_that_reaches_the_probability():
    values = [7, 1, 3, 3, 9, 5, 5, 5, 8, 2]
    assert quantile(values, 0.5)[0] == 5 and quantile(values, 0.9)[0] == 8 and quantile(values, 0.95)[0] == 9


def test_the_constant_is_that_of_the_theorem():
    values = np.arange(1, 101)
    c, low, high = constant(256, 4, values, epsilon=0.05)
    assert c * 4 * math.log(256) * math.log(20) == pytest.approx(95)
    assert low < c < high


# --- The committed tables


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_committed_table_is_complete(table):
    rows, cells = read_table(table.name), list(table.cells(pd.DataFrame()))
    assert len(rows) == len(cells)
    assert {tuple(row) for row in rows[list(cells[0])].itertuples(index=False)} == {tuple(c.values()) for c in cells}
    assert not rows["version"].str.endswith("+").any()


def test_the_growth_is_certified_and_as_predicted():
    n, m, solved = 2.0 ** GROWTH["log2_n"], GROWTH["m"], GROWTH["log2_n"] <= 14
    assert GROWTH["certified"].all() and (GROWTH["margin"] > 0).all()
    for key, value in (("linf", n / m), ("l2", np.sqrt(n / m))):
        assert np.allclose(GROWTH[key], value, rtol=1e-8)
        assert np.allclose(GROWTH[f"solved_{key}"][solved], value[solved], rtol=1e-7)


def test_a_row_of_the_growth_can_be_computed_again():
    kept = read_table("theory_growth", problem="tv", log2_n=10, seed=3).iloc[0]
    (fresh,), _ = theory_runs.growth("tv", 10, 3)
    assert fresh["m"] == kept["m"]
    for key in ("solved_linf", "solved_l2", "margin", "singular_value"):
        assert float(fresh[key]) == pytest.approx(kept[key], rel=1e-5)


def test_a_cell_of_the_transition_can_be_computed_again():
    wanted = {"signal": "steps", "order": "uniform", "n": 64, "s": 8}
    kept = read_table("theory_transition", **wanted).iloc[0]
    (fresh,), _ = theory_runs.transition(**wanted, trials=4, seed=THEORY)
    committed = kept["first_m"].split()
    for m in fresh["first_m"].split():
        committed.remove(m)  # the same trials are among them
    wanted |= {"signal": "spikes", "s": 2}
    kept = read_table("theory_transition", **wanted).iloc[0]
    (whole,), _ = theory_runs.transition(**wanted, trials=int(kept["trials"]), seed=THEORY)
    assert whole["first_m"] == kept["first_m"]


def test_transitions_are_sorted_and_rise_with_the_sparsity():
    median = {}
    for row in TRANSITION.itertuples():
        values = list(map(int, row.first_m.split()))
        assert len(values) == row.trials and values == sorted(values)
        assert 1 <= values[0] and values[-1] <= row.n
        median[row.signal, row.order, row.n, row.s] = quantile(values, 0.5)[0]
    for signal in ("spikes", "steps"):
        at_256 = [median[signal, "uniform", 256, s] for s in theory_runs.DIAGRAM_S]
        assert at_256 == sorted(at_256)


def test_spikes_in_images_follow_the_subsampling_factor():
    assert MASKS["converged"].all()
    assert np.allclose(MASKS["spike"], MASKS["height"] * MASKS["subsampling"], rtol=1e-4)
    assert np.allclose(MASKS["subsampling"], 256**2 / MASKS["m"], rtol=1e-5)
    assert (MASKS["height"][MASKS["lines"] >= 40] > 0.9).all()
    assert (MASKS["attack"] > 0.9 * MASKS["subsampling"]).all()


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (lambda: theory_runs.quantile([1, 2, 3], 0), "probability"),
        (lambda: theory_runs.quantile([], 0.5), "values"),
        (lambda: theory_runs.transition("waves", "uniform", 64, 4, 2, 0), "signal"),
        (lambda: theory_runs.transition("spikes", "high", 64, 4, 2, 0), "order"),
        (lambda: theory_runs.transition("spikes", "uniform", 64, 4, -1, 0), "trials"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(work, name):
    with pytest.raises(ValueError, match=name):
        work()
