"""Section 5: identities, minimisers against independent solvers, certificates against constructed second minimisers."""

import math
import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from lib import theory
from lib.theory import (
    Certificate,
    amplification,
    basis_pursuit,
    certify_l1,
    certify_tv,
    fourier,
    gradient,
    gradient_factor,
    low_frequencies_first,
    measure,
    nonnegative_dual,
    rectangle,
    sample_frequencies,
    separated_dual,
    spike,
    spike_train,
    steps,
    tv_pursuit,
    zero_filled,
)

EVEN = st.integers(1, 20).map(lambda half: 2 * half)
SEEDS = st.integers(0, 2**32 - 1)


def matrix(omega, n):
    """Rows of the unitary transform, from its definition."""
    return np.exp(-2j * np.pi * np.outer(omega, np.arange(n)) / n) / np.sqrt(n)


def all_frequencies(n):
    return np.arange(-n // 2 + 1, n // 2 + 1)


def noise(n, rng):
    return rng.standard_normal(n) + 1j * rng.standard_normal(n)


def problem(n, density, seed, zero=False):
    rng = np.random.default_rng(seed)
    return sample_frequencies(n, max(1, round(density * n)), rng, zero), rng


# --- The operator


@given(EVEN, SEEDS)
def test_the_transform_is_that_of_the_definition(n, seed):
    z = noise(n, np.random.default_rng(seed))
    assert np.allclose(fourier(z), matrix(all_frequencies(n), n) @ z, atol=1e-12)
    assert np.isclose(np.linalg.norm(fourier(z)), np.linalg.norm(z))


@given(EVEN, st.floats(0, 1), SEEDS)
def test_measurements_are_rows_of_the_transform_in_the_order_given(n, density, seed):
    omega, rng = problem(n, density, seed)
    omega = rng.permutation(omega)
    z, y = noise(n, rng), noise(len(omega), rng)
    dense = matrix(omega, n)
    assert np.allclose(measure(z, omega), dense @ z, atol=1e-12)
    assert np.allclose(zero_filled(y, omega, n), np.linalg.pinv(dense) @ y, atol=1e-12)
    assert np.allclose(measure(zero_filled(y, omega, n), omega), y, atol=1e-12)


@given(EVEN, SEEDS)
def test_the_gradient_multiplies_each_frequency_by_its_factor(n, seed):
    # the first display of the proof of Theorem 5.2
    z, k = noise(n, np.random.default_rng(seed)), all_frequencies(n)
    assert np.allclose(fourier(gradient(z)), (1 - np.exp(-2j * np.pi * k / n)) * fourier(z), atol=1e-12)
    assert np.allclose(gradient_factor(k, n), 1 - np.exp(-2j * np.pi * k / n), atol=1e-15)
    assert gradient(z)[0] == z[0] - z[-1] and (n == 2 or gradient(z)[1] == z[1] - z[0])


def test_the_factor_of_a_low_frequency_is_not_lost_to_cancellation():
    n = 2**40
    assert gradient_factor([1], n)[0].imag == pytest.approx(2 * math.pi / n, rel=1e-15)
    assert gradient_factor([1], n)[0].real == pytest.approx(2 * (math.pi / n) ** 2, rel=1e-12)


@given(EVEN, st.data(), st.booleans(), SEEDS)
def test_sampled_frequencies_are_distinct_and_in_range(n, data, zero, seed):
    m = data.draw(st.integers(1, n))
    omega = sample_frequencies(n, m, np.random.default_rng(seed), zero)
    assert (np.diff(omega) > 0).all() and set(omega) <= set(all_frequencies(n))
    assert len(omega) == m or (zero and len(omega) == m + 1)
    assert 0 in omega or not zero
    assert np.array_equal(omega, sample_frequencies(n, m, np.random.default_rng(seed), zero))


def test_each_frequency_is_as_likely_as_the_others():
    rng, n, m, draws = np.random.default_rng(0), 16, 5, 4000
    counts = sum(np.isin(all_frequencies(n), sample_frequencies(n, m, rng)) for _ in range(draws))
    share = m / n
    assert (abs(counts - draws * share) < 4.5 * math.sqrt(draws * share * (1 - share))).all()
    sizes = [len(sample_frequencies(n, m, rng, zero=True)) for _ in range(draws)]
    # 0 is among the m with probability m/n; then nothing is added
    assert abs(sizes.count(m) - draws * share) < 4.5 * math.sqrt(draws * share * (1 - share))


def test_low_frequencies_are_preferred_by_one_over_k():
    rng, n = np.random.default_rng(0), 64
    draws = [low_frequencies_first(n, rng) for _ in range(6000)]
    assert all(sorted(order) == all_frequencies(n).tolist() for order in draws[:9])
    drawn = np.array([abs(order[0]) for order in draws])
    weight = sum(1 / max(1, abs(k)) for k in all_frequencies(n))
    for k in (1, 2, 8):
        assert np.mean(drawn == k) == pytest.approx(2 / k / weight, abs=0.03)


# --- Signals


@given(EVEN, st.data(), SEEDS)
def test_signals_have_the_sparsity_asked_for(n, data, seed):
    rng = np.random.default_rng(seed)
    s = data.draw(st.integers(0, n - 1))
    x = spike_train(n, s, rng)
    assert np.count_nonzero(x) == s and x[0] == 0
    assert np.allclose(abs(x[x != 0]), 1)
    s = data.draw(st.integers(0, n - 2).filter(lambda s: s != 1))
    jumps = gradient(steps(n, s, rng))
    assert np.count_nonzero(jumps) == s and not jumps[:2].any()
    assert np.count_nonzero(gradient(steps(n, s, rng) + spike(n))) == s + 2
    width = data.draw(st.integers(0, n))
    assert rectangle(n, width).tolist() == [1] * width + [0] * (n - width)
    assert spike(n).tolist() == [1] + [0] * (n - 1)


# --- Amplification


@given(EVEN, st.floats(0, 1), st.booleans(), SEEDS)
def test_a_spike_is_amplified_by_n_over_m_exactly(n, density, zero, seed):
    omega, _ = problem(n, density, seed, zero)
    found, m = amplification(spike(n), omega), len(omega)
    assert found.linf == pytest.approx(n / m, rel=1e-12)
    assert found.l2 == pytest.approx(math.sqrt(n / m), rel=1e-12)
    assert found.bound == pytest.approx(n / m, rel=1e-12)
    e = measure(spike(n), omega)
    assert np.allclose(e, n**-0.5)
    r = zero_filled(e, omega, n)
    assert abs(r).max() == pytest.approx(m / n) and np.linalg.norm(r) == pytest.approx(math.sqrt(m / n))


@given(EVEN, st.floats(0, 1), SEEDS, st.floats(0, 1))
def test_every_artifact_is_amplified_by_its_bound_at_least(n, density, seed, sparsity):
    omega, rng = problem(n, density, seed)
    rho = noise(n, rng) * (rng.random(n) <= sparsity)
    assume(rho.any())
    found = amplification(rho, omega)
    dense = matrix(omega, n)
    r = dense.conj().T @ dense @ rho
    assert found.linf >= found.bound * (1 - 1e-12)
    assert found.bound == pytest.approx(abs(rho).max() / abs(rho).sum() * n / len(omega))
    if np.linalg.norm(r) > 1e-9:
        assert found.linf == pytest.approx(abs(rho).max() / abs(r).max())
        assert found.l2 == pytest.approx(np.linalg.norm(rho) / np.linalg.norm(r))


def test_an_artifact_without_measurements_is_amplified_without_limit():
    omega = np.array([1, 3, -5])
    found = amplification(np.exp(2j * np.pi * 2 * np.arange(16) / 16), omega)
    assert found.linf > 1e14 and found.l2 > 1e14
    assert amplification(np.array([1.0, 1.0]), [1]).linf == math.inf


@pytest.mark.parametrize("n", [2**17, 3 * 2**16, 2 * 65537])
def test_the_largest_value_is_that_of_the_whole_transform(n):
    # long signals are transformed in blocks
    rng = np.random.default_rng(0)
    omega = sample_frequencies(n, 200, rng)
    q = noise(200, rng)
    whole = np.abs(zero_filled(q, omega, n))
    assert theory._largest(q, omega, n) == pytest.approx(whole.max(), rel=1e-12)
    besides = np.argsort(whole)[-n // 3 :]
    whole[besides] = 0
    assert theory._largest(q, omega, n, besides) == pytest.approx(whole.max(), rel=1e-12)


# --- Minimisers


def by_clarabel(y, omega, n, difference=None):
    z = cp.Variable(n, complex=True)
    objective = cp.norm1(z if difference is None else difference @ z)
    dense = matrix(omega, n)
    solved = cp.Problem(cp.Minimize(objective), [cp.real(dense @ z - y) == 0, cp.imag(dense @ z - y) == 0])
    return solved.solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "m", "s"), [(8, 3, 2), (24, 10, 3), (32, 8, 8), (30, 29, 20), (16, 16, 3), (20, 1, 2)])
def test_the_minimum_is_that_of_clarabel(n, m, s, seed):
    # recovered and not, complex
    rng = np.random.default_rng([n, m, seed])
    omega = sample_frequencies(n, m, rng)
    y = measure(spike_train(n, s, rng) * rng.exponential(size=n), omega)
    found = basis_pursuit(y, omega, n)
    assert found.converged and found.residual < 1e-13 and found != basis_pursuit(y, omega, n)  # no error: as objects
    assert found.objective == pytest.approx(by_clarabel(y, omega, n), rel=1e-6, abs=1e-8)
    assert np.allclose(measure(found.signal, omega), y, atol=1e-13)
    assert abs(zero_filled(found.dual, omega, n)).max() <= 1 + 1e-12
    assert found.objective - np.vdot(found.dual, y).real <= 1e-8 * found.objective


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "m", "s"), [(8, 3, 2), (24, 10, 3), (32, 8, 8), (20, 20, 4)])
def test_the_tv_minimum_is_that_of_clarabel(n, m, s, seed, zero):
    rng = np.random.default_rng([n, m, seed])
    omega = sample_frequencies(n, m, rng, zero)
    omega = omega if zero else omega[omega != 0]
    x = steps(n, s, rng)
    y = measure(x, omega)
    found = tv_pursuit(y, omega, n)
    assert found.converged and found.residual < 1e-12
    difference = np.eye(n) - np.roll(np.eye(n), 1, axis=0)
    assert np.allclose(difference @ x, gradient(x))
    assert found.objective == pytest.approx(by_clarabel(y, omega, n, difference), rel=1e-6, abs=1e-8)
    assert found.objective == pytest.approx(abs(gradient(found.signal)).sum(), rel=1e-12)
    assert np.allclose(measure(found.signal, omega), y, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_a_real_problem_has_the_minimum_of_its_linear_programme(seed):
    n, rng = 40, np.random.default_rng(seed)
    half = rng.choice(np.arange(1, n // 2), 6, replace=False)
    omega = np.concatenate([half, -half, [0, n // 2]])
    x = rng.standard_normal(n) * (rng.random(n) < [0.05, 0.3][seed % 2])
    y, dense = measure(x, omega), matrix(omega, n)
    rows, right = np.vstack([dense.real, dense.imag]), np.concatenate([y.real, y.imag])
    keep = abs(rows).max(1) > 1e-12
    solved = linprog(np.ones(2 * n), A_eq=np.hstack([rows, -rows])[keep], b_eq=right[keep], bounds=(0, None))
    found = basis_pursuit(y, omega, n)
    assert found.objective == pytest.approx(solved.fun, rel=1e-7, abs=1e-9)


@given(EVEN, st.floats(0, 1), st.floats(0, 1), SEEDS, st.floats(1e-6, 1))
def test_no_other_signal_with_these_measurements_is_smaller(n, density, sparsity, seed, step):
    omega, rng = problem(n, density, seed)
    x = noise(n, rng) * (rng.random(n) <= sparsity)
    y = measure(x, omega)
    found = basis_pursuit(y, omega, n)
    assert found.converged and -1e-12 * found.objective <= found.gap <= 1e-8 * found.objective
    kernel = noise(n, rng)
    kernel -= zero_filled(measure(kernel, omega), omega, n)
    least = found.objective - found.gap - 1e-10 * (1 + abs(y).max())
    for other in (x, found.signal + step * kernel):
        assert abs(other).sum() >= least


@pytest.mark.parametrize("log2_n", [6, 9, 12, 14])
@pytest.mark.parametrize("tv", [False, True])
def test_signal_and_spike_are_recovered_to_rounding(log2_n, tv):
    n, rng = 2**log2_n, np.random.default_rng(log2_n)
    s, pursue, certify = (6, tv_pursuit, certify_tv) if tv else (4, basis_pursuit, certify_l1)
    omega = sample_frequencies(n, math.ceil(1.5 * s * math.log(n)), rng, zero=tv)
    x = steps(n, 4, rng) if tv else spike_train(n, 3, rng)
    y, e = measure(x, omega), measure(spike(n), omega)
    before, after = pursue(y, omega, n), pursue(y + e, omega, n)
    for found, truth in ((before, x), (after, x + spike(n))):
        assert abs(found.gap) <= 1e-12 * found.objective and found.n_iter < 30
        assert abs(found.signal - truth).max() < 1e-11
        assert certify(truth, omega).unique and certify(truth, omega, found.dual).unique
        assert np.count_nonzero(abs(gradient(found.signal) if tv else found.signal) > 1e-9) <= s
    rho, r = after.signal - before.signal, zero_filled(e, omega, n)
    assert abs(rho).max() / abs(r).max() == pytest.approx(n / len(omega), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_a_scaled_problem_has_the_scaled_solution(scale):
    rng = np.random.default_rng(0)
    omega = sample_frequencies(64, 30, rng, zero=True)
    for x, pursue in ((spike_train(64, 3, rng), basis_pursuit), (steps(64, 3, rng), tv_pursuit)):
        found = pursue(measure(scale * x, omega), omega, 64)
        assert found.converged and np.allclose(found.signal / scale, x, atol=1e-12)


def test_nothing_measured_nothing_found():
    omega = np.array([-3, 0, 5])
    for pursue in (basis_pursuit, tv_pursuit):
        found = pursue(np.zeros(3), omega, 16)
        assert not found.signal.any() and found.objective == found.gap == found.n_iter == 0 and found.converged
    constant = tv_pursuit(measure(np.full(16, 2 + 1j), omega), omega, 16)
    assert np.allclose(constant.signal, 2 + 1j) and constant.converged


def test_a_run_cut_short_is_honest():
    rng = np.random.default_rng(0)
    omega = sample_frequencies(64, 20, rng)
    y = measure(spike_train(64, 6, rng), omega)
    full = basis_pursuit(y, omega, 64)
    for max_iter in range(1, 8):
        cut = basis_pursuit(y, omega, 64, max_iter=max_iter)
        assert cut.converged == (cut.gap <= 1e-8 * cut.objective) and cut.n_iter == max_iter
        assert max_iter > 3 or not cut.converged
        assert cut.objective - cut.gap - 1e-12 <= full.objective <= cut.objective + 1e-12
        assert np.allclose(measure(cut.signal, omega), y, atol=1e-13)
        assert abs(zero_filled(cut.dual, omega, 64)).max() <= 1 + 1e-12


def test_a_support_that_lacks_a_spike_is_not_polished():
    rng = np.random.default_rng(0)
    omega = sample_frequencies(64, 30, rng)
    x = spike_train(64, 3, rng)
    y = measure(x, omega)
    q = basis_pursuit(y, omega, 64).dual
    ((polished, _),) = theory._polish(x + 1e-3 * spike(64), q, y, omega)
    assert np.allclose(polished, x, atol=1e-14)
    x[np.flatnonzero(x)[0]] = 0
    assert theory._polish(x, q, y, omega) == []


def test_without_the_frequency_0_tv_knows_the_signal_up_to_a_constant():
    rng = np.random.default_rng(0)
    omega = sample_frequencies(64, 30, rng)
    omega = omega[omega != 0]
    x = steps(64, 3, rng)
    found = tv_pursuit(measure(x, omega), omega, 64)
    assert np.allclose(found.signal, x - x.mean(), atol=1e-11) and len(found.dual) == len(omega) + 1
    proof = certify_tv(x, omega)
    assert not proof.unique and "without the frequency 0" in str(proof) and proof.sparsity == 3
    assert certify_tv(x, np.append(omega, 0)).unique
    assert not certify_tv(np.zeros(64), omega).unique


# --- Certificates


@given(EVEN, st.floats(0, 1), st.integers(0, 6), SEEDS, st.booleans())
def test_what_is_certified_is_recovered(n, density, s, seed, tv):
    omega, rng = problem(n, density, seed, zero=tv)
    assume(s <= n - 2 and not (tv and s == 1))
    x = steps(n, s, rng) if tv else spike_train(n, s, rng)
    certify, pursue = (certify_tv, tv_pursuit) if tv else (certify_l1, basis_pursuit)
    proof, found = certify(x, omega), pursue(measure(x, omega), omega, n)
    if proof.unique:
        assert proof.margin == 1 - proof.off_support - proof.allowance > 0
        assert s == 0 or proof.singular_value > 0
        assert np.allclose(found.signal, x, atol=1e-6)
        more = np.union1d(omega, sample_frequencies(n, 1, rng))
        assert np.allclose(pursue(measure(x, more), more, n).signal, x, atol=1e-6)
    assert (proof.sparsity, proof.m, proof.n) == (s, len(omega), n)


@pytest.mark.parametrize("tv", [False, True])
def test_where_the_solver_recovers_its_dual_vector_proves_it(tv):
    # near the transition, where the vector of least norm often fails
    n, m, proved, least_norm = 64, 19, 0, 0
    certify, pursue = (certify_tv, tv_pursuit) if tv else (certify_l1, basis_pursuit)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        omega = sample_frequencies(n, m, rng, zero=tv)
        x = steps(n, 6, rng) if tv else spike_train(n, 6, rng)
        found = pursue(measure(x, omega), omega, n)
        recovered = abs(found.signal - x).max() < 1e-8
        proof = certify(x, omega, found.dual)
        assert proof.unique == recovered, seed
        proved += proof.unique
        least_norm += certify(x, omega).unique
    assert 0 < least_norm < proved < 30


@given(st.sampled_from([2, 3, 4]), st.integers(2, 8), st.integers(1, 3), st.booleans(), SEEDS)
def test_where_there_is_a_second_minimiser_nothing_is_certified(period, half, s, tv, seed):
    # frequencies that are multiples of d do not distinguish x from its shift by n/d, which is as large
    n, rng = 2 * half * period, np.random.default_rng(seed)
    k = all_frequencies(n)
    omega = k[k % period == 0]
    s = min(s + tv, n - 2)
    x = steps(n, s, rng) if tv else spike_train(n, s, rng)
    other = np.roll(x, n // period)
    assume(not np.array_equal(other, x))
    assert np.allclose(measure(other, omega), measure(x, omega))
    certify, pursue = (certify_tv, tv_pursuit) if tv else (certify_l1, basis_pursuit)
    proof = certify(x, omega)
    assert not proof.unique and proof.reason
    assert not certify(x, omega, pursue(measure(x, omega), omega, n).dual).unique
    assert not certify(x, omega, noise(len(omega), rng)).unique


@given(st.integers(3, 20).map(lambda half: 2 * half), st.data(), SEEDS)
def test_a_second_minimiser_along_a_kernel_vector_is_not_overlooked(n, data, seed):
    # h in the kernel, x on a part of its support with the signs of -h: x + t h is as good, if h is balanced there
    rng = np.random.default_rng(seed)
    m = data.draw(st.integers(1, n // 2 - 1))
    omega = sample_frequencies(n, m, rng)
    support = rng.choice(n, m + 1, replace=False)
    h = np.zeros(n, complex)
    h[support] = np.linalg.svd(matrix(omega, n)[:, support])[2][-1].conj()
    assert abs(measure(h, omega)).max() < 1e-10
    x = np.zeros(n, complex)
    part = support[np.argsort(-abs(h[support]))]
    part = part[: int(np.searchsorted(np.cumsum(abs(h[part])), abs(h).sum() / 2)) + 1]
    x[part] = -h[part]
    assert abs(x + h).sum() <= abs(x).sum() + 1e-9  # x is not the unique minimiser
    assert not certify_l1(x, omega).unique
    assert not certify_l1(x, omega, basis_pursuit(measure(x, omega), omega, n).dual).unique


def test_a_tie_is_not_decided_by_rounding():
    # the dual vector reaches 1 exactly off the support; computed values fall on both sides
    below = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        n = 2 * rng.integers(8, 200)
        omega = np.arange(-n // 2 + 1, n // 2 + 1)
        omega = omega[omega % 2 == 0]
        proof = certify_l1(spike_train(n, 1, rng), omega)
        assert not proof.unique
        below += proof.off_support < 1
    assert below > 5


needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="needs a long double longer than double, as x86 processors have it"
)


def exact_certificate(x, omega):
    """The largest value off the support and the norm of q, in extended precision."""
    n, pi = len(x), 4 * np.arctan(np.longdouble(1))
    turns = (np.outer(omega, np.arange(n)) % n).astype(np.longdouble)
    dense = np.exp(-2j * pi * turns / n).astype(np.clongdouble) / np.sqrt(np.longdouble(n))
    support = np.flatnonzero(x)
    part, signs = dense[:, support], x[support].astype(np.clongdouble)
    system = np.hstack([part.conj().T @ part, (signs / np.abs(signs))[:, None]])
    for i in range(len(support)):  # Gauss and Jordan; the Gram matrix is positive definite
        system[i] /= system[i, i]
        for j in set(range(len(support))) - {i}:
            system[j] -= system[j, i] * system[i]
    q = part @ system[:, -1]
    values = np.abs(dense.conj().T @ q)
    values[support] = 0
    return float(values.max()), float(np.sqrt((abs(q) ** 2).sum()))


@needs_long_double
@pytest.mark.parametrize("n", [32, 96, 250, 512, 1018])
@pytest.mark.parametrize("m", [4, 16, 30])
def test_the_allowance_covers_the_rounding_errors(n, m):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        omega = sample_frequencies(n, m, rng)
        x = spike_train(n, 2, rng) * 10.0 ** rng.integers(-200, 200)
        proof, (exact, _) = certify_l1(x, omega), exact_certificate(x, omega)
        assert abs(exact - proof.off_support) <= proof.allowance < 1e-8
        columns = matrix(omega, n)[:, np.flatnonzero(x)]
        assert proof.singular_value == pytest.approx(np.linalg.svd(columns)[1][-1], abs=1e-9)


@needs_long_double
@pytest.mark.parametrize(("n", "c"), [(256, 2), (256, 3), (1024, 2), (1024, 3)])
def test_the_allowance_covers_the_errors_of_nearly_dependent_columns(n, c):
    # three neighbours seen at low frequencies: the residual of the interpolation is magnified by 1e5 and more
    x = np.zeros(n)
    x[10:13] = 1, -1, 1
    omega = np.arange(-c, c + 1)
    proof, (exact, size) = certify_l1(x, omega), exact_certificate(x, omega)
    transform = 32 * np.finfo(float).eps * math.log2(n) * size
    assert abs(exact - proof.off_support) <= proof.allowance < 1e-3
    assert proof.allowance > 5 * transform


def test_the_allowance_of_one_spike_is_that_of_the_transform():
    n, m = 2**14, 3  # q has the norm sqrt(n/m)
    transform = 32 * np.finfo(float).eps * 14 * math.sqrt(n / m)
    assert transform < certify_l1(spike(n), [-5, 1, 900]).allowance < 1.1 * transform


def test_a_certificate_says_what_it_does_not_say():
    rng = np.random.default_rng(1)
    omega = sample_frequencies(64, 30, rng)
    proved = certify_l1(spike_train(64, 2, rng), omega)
    assert proved.unique and str(proved) == f"proved unique, {proved.off_support:.3f} < 1 (n = 64, m = 30, s = 2)"
    for few, reason in ((omega[:1], "more non-zero entries"), (omega[:3], "the dual vector reaches")):
        failed = certify_l1(spike_train(64, 2, rng), few)
        assert not failed.unique and reason in failed.reason
        assert str(failed).startswith("nothing proved: ")
        assert not failed.margin > 0


def test_an_operator_that_is_not_injective_on_the_support_certifies_nothing():
    x = np.zeros(16)
    x[[2, 10]] = 1, 1  # equal columns at even frequencies
    proof = certify_l1(x, [-4, -2, 0, 2, 4, 8])
    assert not proof.unique and "injective" in proof.reason and proof.singular_value < 1e-7


def test_zero_is_always_the_only_minimiser():
    assert certify_l1(np.zeros(8), [1]).unique
    assert certify_tv(np.full(8, 3.0), [0]).unique
    assert not certify_tv(np.full(8, 3.0), [1]).unique


def test_all_frequencies_certify_everything():
    rng = np.random.default_rng(0)
    n = 32
    assert certify_l1(noise(n, rng), all_frequencies(n)).unique
    assert certify_tv(noise(n, rng), all_frequencies(n)).unique


@pytest.mark.parametrize("seed", range(10))
def test_non_negative_signals_need_twice_their_sparsity_plus_one(seed):
    # [10], and the case where the vector of least norm fails
    rng, n, s = np.random.default_rng(seed), 128, 3
    x = np.zeros(n)
    x[rng.choice(n, s, replace=False)] = rng.exponential(size=s)
    omega = np.arange(-s, s + 1)
    dual = nonnegative_dual(np.flatnonzero(x), omega, n)
    values = zero_filled(dual, omega, n)
    assert abs(values.imag).max() < 1e-12 and -1e-12 <= values.real.min() and values.real.max() <= 1 + 1e-12
    assert np.allclose(values[x > 0], 1)
    assert certify_l1(x, omega, dual).unique
    assert abs(basis_pursuit(measure(x, omega), omega, n).objective - x.sum()) < 1e-7


@pytest.mark.parametrize("seed", range(10))
def test_separated_spikes_need_the_low_frequencies_only(seed):
    rng, n, c = np.random.default_rng(seed), 2048, 128
    gap = 2 * n // c + 1
    x = np.zeros(n, complex)
    x[gap * rng.choice(n // gap, 12, replace=False)] = np.exp(2j * np.pi * rng.random(12))
    omega, dual = np.arange(-c, c + 1), separated_dual(x, c)
    support = np.flatnonzero(x)
    values = zero_filled(dual, omega, n)
    assert np.allclose(values[support], x[support])
    slope = zero_filled(dual * 2j * np.pi * omega / n, omega, n)
    assert abs(slope[support]).max() < 1e-10  # vanishing derivatives
    assert certify_l1(x, omega, dual).unique


def test_close_spikes_of_opposite_sign_are_not_certified():
    # far closer than 2n/c: they are not recovered, and no dual vector can say so
    n, c = 512, 32
    x = np.zeros(n)
    x[[100, 101]] = 1, -1
    omega = np.arange(-c, c + 1)
    found = basis_pursuit(measure(x, omega), omega, n)
    assert found.objective < 0.5 * 2
    assert not certify_l1(x, omega, separated_dual(x, c)).unique
    assert not certify_l1(x, omega).unique and not certify_l1(x, omega, found.dual).unique


# --- What is refused


OMEGA = np.array([-1, 0, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fourier(np.ones(7)), ValueError, r"fourier: z .*n even .*got \(7,\)"),
        (lambda: fourier(["a", "b"]), TypeError, "fourier: z must hold numbers"),
        (lambda: certify_l1([1, math.nan], [0]), ValueError, "certify_l1: x must be finite"),
        (lambda: measure(np.ones(4), OMEGA[:0]), ValueError, "measure: omega .*not empty"),
        (lambda: measure(np.ones(4), [0.0]), TypeError, "omega must hold integers"),
        (lambda: measure(np.ones(4), [-2]), ValueError, "omega must hold integers from -1 to 2, got -2"),
        (lambda: measure(np.ones(4), [3]), ValueError, "omega must hold integers from -1 to 2, got 3"),
        (lambda: certify_tv(np.ones(8), [2, 0, 2]), ValueError, "certify_tv: omega .* got 2 2 times"),
        (lambda: basis_pursuit(np.ones(3), OMEGA, 7), ValueError, "basis_pursuit: n must be even .*got 7"),
        (lambda: basis_pursuit(np.ones(2), OMEGA, 8), ValueError, r"y must have shape \(3,\).* got \(2,\)"),
        (lambda: sample_frequencies(8, 9, np.random.default_rng()), ValueError, "m .*from 1 to 8, got 9"),
        (lambda: low_frequencies_first(7, np.random.default_rng()), ValueError, "n must be even .*got 7"),
        (lambda: rectangle(8, 9), ValueError, "rectangle: width .*from 0 to 8, got 9"),
        (lambda: spike_train(8, 8, np.random.default_rng()), ValueError, "spike_train: s .*from 0 to 7, got 8"),
        (lambda: steps(8, 1, np.random.default_rng()), ValueError, "steps: s .*got 1"),
        (lambda: amplification(np.zeros(8), OMEGA), ValueError, "amplification: artifact must not be zero"),
        (lambda: nonnegative_dual([8], OMEGA, 8), ValueError, r"support .*from 0 to 7, got \[8\]"),
        (lambda: nonnegative_dual([1, 5], OMEGA, 8), ValueError, r"omega must contain .* s = 2, lacks \[-2  1\]"),
        (lambda: separated_dual(np.ones(8), 4), ValueError, "separated_dual: c .*from 2 to 3, got 4"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_results_are_plain_numbers():
    proof = certify_l1(spike(8), [0, 1, 3])
    assert isinstance(proof, Certificate)
    assert {type(value) for value in vars(proof).values()} <= {bool, str, float, int}
    found = basis_pursuit(measure(spike(8), OMEGA), OMEGA, 8)
    assert type(found.converged) is bool and type(found.gap) is float and type(found.objective) is float


def test_the_module_needs_numpy_and_scipy_only():
    code = "import sys, lib.theory; print(sorted({'torch', 'numba', 'matplotlib', 'cvxpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
