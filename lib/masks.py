"""Other masks than radial ones, with as many frequencies as wanted: Cartesian, random of two kinds, a spiral."""

import math

import numpy as np
import torch
from torch import Tensor

from lib import checks

CENTRE = 0.08  # of the side: columns or radius that are fully sampled, as in fastMRI (Zbontar et al., 2018)
DECAY = 4  # power of the distance to the corner with which the density of `variable_density_mask` falls (Lustig, 2007)


def cartesian_mask(n: int, m: int, seed: int = 0) -> Tensor:
    """Whole columns: the lowest, 8 % of the side, and others at random, as in fastMRI.

    Here and below the mask has k with each -k modulo n, and as nearly ``m`` frequencies as that allows.

    Parameters
    ----------
    n : image side, at least 2.
    m : number of frequencies, from n to n^2, and at least those that are always sampled.
    seed : of what is drawn at random.

    Returns
    -------
    ``(n, n)`` bool tensor, zero frequency at ``[n//2, n//2]``.
    """
    n, m, rng = _checked("cartesian_mask", n, m, seed)
    k = abs(np.arange(n) - n // 2)
    return torch.from_numpy(
        np.tile(_drawn("cartesian_mask", np.where(k < CENTRE * n / 2, np.inf, 1.0), round(m / n), rng), (n, 1))
    )


def uniform_mask(n: int, m: int, seed: int = 0) -> Tensor:
    """The zero frequency, and others at random, all with the same chance: the setting of the theorems of Section 5."""
    n, m, rng = _checked("uniform_mask", n, m, seed)
    k = np.arange(n) - n // 2
    return torch.from_numpy(_drawn("uniform_mask", np.where((k == 0) & (k == 0)[:, None], np.inf, 1.0), m, rng))


def variable_density_mask(n: int, m: int, seed: int = 0) -> Tensor:
    r"""Frequencies at random, with the density :math:`(1 - |k|/k_{\max})^4`, all within 4 % of the side of zero."""
    n, m, rng = _checked("variable_density_mask", n, m, seed)
    k = np.arange(n) - n // 2
    distance = np.hypot(k, k[:, None])
    density = (1 - distance / (1.01 * distance.max())) ** DECAY
    return torch.from_numpy(
        _drawn("variable_density_mask", np.where(distance < CENTRE * n / 2, np.inf, density), m, rng)
    )


def spiral_mask(n: int, m: int) -> Tensor:
    r"""Two spirals :math:`|k| = \tfrac n2 t^2`, :math:`\arg k = 2\pi T t` and its negative, T chosen for ``m``."""
    n, m, _ = _checked("spiral_mask", n, m, 0)
    low, high = 0.0, 2.0 * n
    for _ in range(40):
        turns = (low + high) / 2
        mask = _spiral(n, turns)
        low, high = (turns, high) if mask.sum() < m else (low, turns)
    return torch.from_numpy(mask)


def _spiral(n: int, turns: float) -> np.ndarray:
    t = np.sqrt(np.linspace(0, 1, 4 * n * (2 + math.ceil(turns))))
    k = n / 2 * t**2 * np.exp(2j * math.pi * turns * t)
    mask = np.zeros((n, n), dtype=bool)
    for arm in (k, -k):
        rows, columns = (np.rint(part).astype(int) % n for part in (arm.imag, arm.real))
        mask[rows, columns] = True
    return np.fft.fftshift(mask | mask[-np.arange(n)][:, -np.arange(n)])


def _drawn(where: str, weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` places drawn without replacement with these weights, in pairs k, -k; infinite weights come first."""
    if count < (always := int(np.isinf(weight).sum())):
        raise ValueError(
            f"{where}: m must leave room for the {always} lowest columns or frequencies, got {count} of them"
        )
    mirror = np.ix_(*((2 * (s // 2) - np.arange(s)) % s for s in weight.shape))
    times = rng.exponential(size=weight.shape) / weight  # who comes first is drawn so (Efraimidis and Spirakis, 2006)
    times = np.minimum(times, times[mirror])
    return times <= np.partition(times, count - 1, None)[count - 1]


def _checked(where: str, n: int, m: int, seed: int) -> tuple[int, int, np.random.Generator]:
    n = checks.integer(where, "n", n, 2, checks.SIDE)
    return n, checks.integer(where, "m", m, n, n**2), np.random.default_rng(checks.seed(where, seed))
