"""Certificates in two dimensions: against the dense problem, an independent linear program, and failures."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from lib.gradient_sparse import _prox_linf, certify_image, dual_field
from lib.masks import uniform_mask
from lib.operators import gradient

N = 8


def box(n=N):
    x = np.zeros((n, n))
    x[2:5, 3:7] = 1
    x[4:6, 1:4] -= 0.5
    return x


def drawn(m, seed=0):
    return uniform_mask(N, m, seed).numpy()


def differences(n=N):
    """The matrix of the gradient, column by column from the tensors' own."""
    pixels = torch.eye(n * n, dtype=torch.float64).unflatten(-1, (n, n))
    return gradient(pixels).flatten(1).T.numpy()


def rows(mask):
    """The measurements as a real matrix, from the definition of the transform."""
    n = len(mask)
    k = np.argwhere(mask) - n // 2
    i = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2)
    full = np.exp(-2j * np.pi * (k @ i.T) / n) / n
    return np.concatenate([full.real, full.imag])


def least_variation(x, mask):
    """The TV of the minimiser, and how far it is from x, by a linear program for z and |grad z| <= t."""
    d, a = differences(len(x)), rows(mask)
    both = np.block([[d, -np.eye(len(d))], [-d, -np.eye(len(d))]])
    cost = np.concatenate([np.zeros(x.size), np.ones(len(d))])
    equal = np.hstack([a, np.zeros((len(a), len(d)))])
    bounds = [(None, None)] * x.size + [(0, None)] * len(d)
    found = linprog(cost, both, np.zeros(len(both)), equal, a @ x.ravel(), bounds, method="highs")
    return found.fun, abs(found.x[: x.size] - x.ravel()).max()


def test_what_is_proved_is_what_a_linear_program_finds():
    proved = 0
    for seed in range(6):
        for m in (24, 40, 52):
            x, mask = box(), drawn(m, seed)
            if certify_image(x, mask, dual_field(x, mask, 500)).unique:
                value, distance = least_variation(x, mask)
                assert value == pytest.approx(np.abs(differences() @ x.ravel()).sum(), rel=1e-6)
                assert distance < 1e-5
                proved += 1
    assert proved >= 3


def test_an_image_that_is_not_recovered_is_not_proved():
    """A checkerboard has the largest variation; with few frequencies something flatter has its measurements."""
    x = np.indices((N, N)).sum(0) % 2.0
    mask = drawn(16)
    assert least_variation(x, mask)[0] < 0.9 * np.abs(differences() @ x.ravel()).sum()
    found = certify_image(x, mask, dual_field(x, mask, 500))
    assert not found.unique and found.reason


def test_the_field_has_the_three_properties():
    x, mask = box(), drawn(52)
    p, signs = dual_field(x, mask, 2000), np.sign(differences() @ box().ravel()).reshape(2, N, N)
    spectrum = np.fft.fftshift(np.fft.fft2((differences().T @ p.ravel()).reshape(N, N), norm="ortho"))
    assert abs(spectrum[~mask]).max() < 1e-12 and abs(spectrum[mask]).max() > 0.1
    assert abs(p - signs)[signs != 0].max() < 1e-3
    assert certify_image(x, mask, p).off_support == pytest.approx(abs(p[signs == 0]).max(), abs=1e-2)


def test_the_largest_value_is_the_least_possible():
    """The linear program for max |p_j| off the support, over all fields with the other two properties."""
    x, mask = box(), drawn(52)
    d, signs = differences(), np.sign(differences() @ x.ravel())
    a = rows(~mask) @ d.T  # what has to vanish
    on, off = np.flatnonzero(signs), np.flatnonzero(signs == 0)
    ones = np.ones((len(off), 1))
    both = np.block([[np.eye(len(off)), -ones], [-np.eye(len(off)), -ones]])
    cost = np.append(np.zeros(len(off)), 1)
    equal = np.hstack([a[:, off], np.zeros((len(a), 1))])
    bounds = [(None, None)] * len(off) + [(0, None)]
    found = linprog(cost, both, np.zeros(len(both)), equal, -a[:, on] @ signs[on], bounds, method="highs")
    assert certify_image(x, mask, dual_field(x, mask, 4000)).off_support == pytest.approx(found.fun, rel=0.02)


def test_the_singular_value_is_that_of_the_dense_projection():
    x, mask = box(), drawn(40)
    d, signs = differences(), np.sign(differences() @ x.ravel())
    a = rows(~mask) @ d.T
    projection = np.eye(len(d)) - np.linalg.pinv(a) @ a
    on = np.flatnonzero(signs)
    least = np.linalg.eigvalsh(projection[np.ix_(on, on)])[0]
    assert certify_image(x, mask).singular_value == pytest.approx(np.sqrt(max(least, 0)), abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_proximal_map_of_the_largest_modulus_is_a_numerical_minimiser(seed):
    """Of |z - v|^2 / 2 + step c over z and c with |z_j| <= c."""
    rng = np.random.default_rng(seed)
    v, step = rng.normal(size=7), rng.uniform(0.2, 3)

    def value(both):
        return ((both[:-1] - v) ** 2).sum() / 2 + step * both[-1], np.append(both[:-1] - v, step)

    edges = [np.hstack([s * np.eye(7), np.ones((7, 1))]) for s in (-1, 1)]  # c + s z_j >= 0
    inside = [{"type": "ineq", "fun": lambda both, a=a: a @ both, "jac": lambda both, a=a: a} for a in edges]
    start = np.append(v, abs(v).max())
    found = minimize(value, start, jac=True, method="SLSQP", constraints=inside, options={"ftol": 1e-14})
    assert found.success and np.allclose(_prox_linf(v, step), found.x[:-1], atol=1e-5)
    assert not np.allclose(found.x[:-1], v, atol=1e-2)


def test_what_is_small_as_a_whole_goes_to_zero():
    v = np.array([0.5, -0.25, 0.125])
    assert not _prox_linf(v, 1.0).any() and _prox_linf(v, 0.8).any() and not len(_prox_linf(v[:0], 1.0))


def test_what_cannot_be_proved():
    x, all_of_them = box(), np.ones((N, N), bool)
    without = all_of_them.copy()
    without[N // 2, N // 2] = False
    assert "frequency 0" in certify_image(x, without).reason
    unseen = np.zeros((N, N), bool)
    unseen[N // 2, N // 2] = True  # the mean alone
    assert "not seen" in certify_image(x, unseen).reason
    assert certify_image(np.full((N, N), 0.3), unseen).unique
    assert certify_image(x, all_of_them, dual_field(x, all_of_them)).unique


def test_frequencies_without_a_mirror_image_are_not_used():
    x, mask = box(), drawn(52)
    one = mask.copy()
    one[np.unravel_index(np.flatnonzero(~mask)[0], mask.shape)] = True
    assert certify_image(x, one).off_support == pytest.approx(certify_image(x, mask).off_support, rel=1e-9)
    assert certify_image(x, one).m == certify_image(x, mask).m + 1


def test_only_the_jumps_count():
    """Neither their heights, however small, nor a constant."""
    x, mask = box(), drawn(52)
    heights = np.array([-7.0, 0.0, 1e-9, 3.0])[np.searchsorted([-0.5, 0.0, 0.5, 1.0], x)]
    assert certify_image(heights, mask).off_support == pytest.approx(certify_image(x, mask).off_support, rel=1e-9)


def test_the_allowance_grows_with_a_worse_start():
    x, mask = box(), drawn(52)
    p = dual_field(x, mask, 500)
    fine, rough = certify_image(x, mask, p), certify_image(x, mask, p + 1e4)
    assert 0 < fine.allowance < rough.allowance < 1e-6


needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="needs a long double longer than double, as x86 processors have it"
)


def exact_off_support(x, mask, start):
    """The largest value off the support of the field nearest to ``start``, by dense matrices in extended precision."""
    n, pi = len(x), 4 * np.arctan(np.longdouble(1))
    d = differences(n).astype(np.longdouble)
    k, i = np.argwhere(~mask) - n // 2, np.indices(x.shape).reshape(2, -1)
    turns = ((k @ i) % n).astype(np.longdouble)
    a = np.exp(-2j * pi * turns / n).astype(np.clongdouble) @ d.T / n  # F grad* off the mask
    # Pi p = p - a* (a a*)^-1 a p, and a a* is diagonal: modes of a circulant matrix
    weights = (abs(a) ** 2).sum(1)

    def project(p):
        return p - (a.conj().T @ ((a @ p) / weights)).real

    signs = np.sign(d @ x.ravel())
    on = np.flatnonzero(signs)
    gram = np.stack([project(np.eye(len(d), dtype=np.longdouble)[j])[on] for j in on], 1)
    system = np.column_stack([gram, signs[on] - project(start.ravel().astype(np.longdouble))[on]])
    for j in range(len(on)):  # Gauss and Jordan; the matrix is positive definite
        system[j] /= system[j, j]
        for other in set(range(len(on))) - {j}:
            system[other] -= system[other, j] * system[j]
    q = start.ravel().astype(np.longdouble)
    q[on] += system[:, -1]
    p = project(q)
    assert abs(p[on] - signs[on]).max() < 1e-17 * (1e3 + abs(start).max())
    p[on] = 0
    return float(abs(p).max())


@needs_long_double
@pytest.mark.parametrize("m", [24, 40, 52])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_the_allowance_covers_the_rounding_errors(m, size):
    """From nothing, from the field of the iterations, and from a start whose rounding errors are large."""
    limit, checked = 1e-4 if size > 1 else 1e-8, 0
    for seed in range(3):
        x, mask = box(), drawn(m, seed)
        p = size * dual_field(x, mask, 200)
        found = certify_image(x, mask, p)
        if found.allowance > 0:
            assert abs(exact_off_support(x, mask, p) - found.off_support) <= found.allowance < limit
            checked += 1
    assert checked
