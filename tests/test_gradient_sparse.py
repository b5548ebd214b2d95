"""Certificates in two dimensions: against the dense problem, an independent linear program, and failures."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lib.gradient_sparse import certify_image, dual_field
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
