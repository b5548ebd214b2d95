"""What the views of the chapters draw at random, as the page draws it: noise, signals, frequencies."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib import checks


def uniform(seed: int, count: int) -> NDArray:
    """Numbers 0 to ``count`` - 1 of a stream in [0, 1), as the page draws them: mulberry32, ``(count,)`` float64.

    Parameters
    ----------
    seed : names the stream, 0 to 2**32 - 1.
    count : how many, at least 0.

    >>> uniform(1, 2).round(6).tolist()
    [0.627074, 0.002736]
    """
    seed, count = checks.seed("uniform", seed), checks.integer("uniform", "count", count, 0)
    t = np.uint32(seed) + np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
    t = (t ^ (t >> 15)) * (t | 1)
    t ^= t + (t ^ (t >> 7)) * (t | 61)
    return (t ^ (t >> 14)) / 2.0**32


def gaussian(mask: Tensor, seed: int) -> Tensor:
    """Complex Gaussian numbers for the frequencies of a mask, as the page draws them: ``(m,)`` complex128."""
    checks.tensor("gaussian", "mask", mask, ("n", "n"), (torch.bool,))
    first, second = torch.from_numpy(uniform(seed, 2 * mask.numel())).reshape(*mask.shape, 2)[mask].T
    return torch.polar((-2 * torch.log1p(-first)).sqrt(), 2 * math.pi * second)


def problem(n: int, m: int, s: int, seed: int, tv: bool, zero: bool) -> tuple[NDArray, NDArray]:
    """A signal and the frequencies at which it is measured, for :class:`lib.explorer.chapters.TheoryView`.

    Parameters
    ----------
    n : length, even.
    m : number of frequencies, 1 to n - 1. Those of a smaller m are among those of a larger one.
    s : spikes, or with ``tv`` jumps, at random places other than those of a spike at 0; 2 to n - 2.
    seed : names the draw.
    tv : a piecewise constant signal instead of spikes.
    zero : whether 0 is one of the frequencies; the others are uniformly random.

    Returns
    -------
    x, omega : float64 ``(n,)``, and int64 ``(m,)``, increasing, as `lib.theory` takes them.
    """
    n, s = checks.integer("problem", "n", n, 4), checks.integer("problem", "s", s, 2, n - 2)
    m = checks.integer("problem", "m", m, 1, n - 1)
    draws = uniform(seed, 2 * n + s)
    frequencies = 1 + np.argsort(draws[: n - 1])[: m - zero]  # modulo n
    omega = np.append(frequencies, 0) if zero else frequencies
    omega = np.sort(np.where(omega > n // 2, omega - n, omega))
    values, x = 2 * draws[2 * n :] - 1, np.zeros(n)
    if tv:
        jumps = np.zeros(n, int)
        jumps[2 + np.argsort(draws[n : 2 * n - 2])[:s]] = 1
        return values[np.cumsum(jumps) % s], omega
    x[1 + np.argsort(draws[n : 2 * n - 1])[:s]] = values + np.sign(values) / 2
    return x, omega
