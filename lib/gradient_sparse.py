r"""Section 5 in two dimensions: proofs that TV minimisation recovers a piecewise constant image.

NumPy and SciPy only, as `lib.theory`, whose 1-D certificates these continue. An image x is a real array ``(n, n)`` of
finite numbers, ``mask`` a Boolean array ``(n, n)`` with the zero frequency at ``[n//2, n//2]``, and p a field
``(2, n, n)``, float64, as :math:`\nabla x` of `lib.operators.gradient`, periodic forward differences.

>>> rng = np.random.default_rng(0)
>>> mask = rng.random((32, 32)) < 0.75
>>> mask[16, 16] = True
>>> x = np.zeros((32, 32))
>>> x[8:20, 10:22] = 1
>>> certify_image(x, mask, dual_field(x, mask)).unique
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.theory import EPS, Certificate

Project = Callable[[NDArray], NDArray]
LARGEST = 2**12  # side of images
STEP = 30.0  # of the Douglas-Rachford iterations, for values of p about 1


def certify_image(x: ArrayLike, mask: ArrayLike, dual: ArrayLike | None = None) -> Certificate:
    r"""Prove that x is the unique minimiser of :math:`\|\nabla z\|_1` among the images with its measurements.

    Let T be the support of :math:`\nabla x`, with :math:`\Omega` the mask. A field p proves it that has

    .. math:: (\mathcal{F}\nabla^* p)_k = 0 \quad (k \notin \Omega), \qquad p_T = \mathrm{sign}(\nabla x)_T, \qquad
              |p_j| < 1 \quad (j \notin T),

    if no image but 0 has both a gradient within T and measurements 0. For :math:`\nabla^* p = \mathcal{A}^* q` is then
    orthogonal to every h with :math:`\mathcal{A}h = 0`, and :math:`\|\nabla(x + h)\|_1 \ge \|\nabla x\|_1 +
    \sum_{j \notin T} (1 - |p_j|)\, |(\nabla h)_j|`. This holds for complex z, too, whether the norm adds moduli or real
    and imaginary parts. With :math:`\Pi` the orthogonal projection on the fields of the first condition and R the
    restriction to T, the matrix :math:`R\Pi R^*` of size s = \|T\| is regular exactly if there is no such image. The p
    that is tried is the nearest to ``dual`` with the first two conditions: one system of this size, and Fourier
    transforms.

    As in :func:`lib.theory.certify_l1`, rounding errors are accounted for. The computed p satisfies the two conditions
    up to residuals; the exact solution next to it is at most residual / (square root of the smallest eigenvalue) away.
    ``unique`` is thus a statement about the image exactly as stored.

    Parameters
    ----------
    x : the image, real ``(n, n)``; its gradient is zero where neighbours are equal.
    mask : the frequencies; those without their mirror image modulo n are not used, which only weakens the certificate.
    dual : a field ``(2, n, n)`` to start from, such as `dual_field`; zero if not given.

    Returns
    -------
    lib.theory.Certificate : ``off_support`` is the largest :math:`|p_j|` off T, ``singular_value`` the square root of
        the smallest eigenvalue of :math:`R\Pi R^*`, ``n`` the side and ``m`` the number of all frequencies.
    """
    x, mask = _checked("certify_image", x, mask)
    n, m, jumps = len(x), int(mask.sum()), _jumps(x)
    p = checks.numbers("certify_image", "dual", 0 * jumps if dual is None else dual, "biuf").astype(float)
    if p.shape != jumps.shape:
        raise ValueError(f"certify_image: dual must have shape {jumps.shape}, got {p.shape}")
    support = np.nonzero(jumps)
    s = len(support[0])
    if not mask[n // 2, n // 2]:
        return Certificate(False, "without the frequency 0, x + c is as good", math.inf, 0.0, 0.0, s, m, n)
    if s == 0:  # a constant; the frequency 0 tells it
        return Certificate(True, "", 0.0, 1.0, 0.0, s, m, n)
    signs, unit = jumps[support], _unit(mask)
    project = _projection(unit, n)
    values, vectors = scipy.linalg.eigh(_gram(unit, support, n), check_finite=False)
    transform = 32 * EPS * math.log2(n * n)  # relative error of a Fourier transform in l2, as in lib.theory
    least = values[0] - s * (4 * transform + (s + 16) * EPS)  # a lower bound on the smallest eigenvalue
    singular_value = math.sqrt(max(values[0], 0))
    if least <= 0:
        reason = "an image with its jumps there is not seen"
        return Certificate(False, reason, math.inf, singular_value, 0.0, s, m, n)
    for _ in range(3):  # the later times remove the rounding errors of the first
        correction = np.zeros_like(jumps)
        correction[support] = vectors @ (vectors.T @ (signs - project(p)[support]) / values)
        p = p + correction
    moved = 4 * transform * float(np.linalg.norm(p))  # rounding error of the projection, in l2
    p = project(p)
    residual = float(np.linalg.norm(signs - p[support])) + moved
    allowance = moved + residual / math.sqrt(float(least))
    p[support] = 0
    off_support = float(np.abs(p).max())
    unique = bool(off_support + allowance < 1)
    reason = "" if unique else f"off the support the dual field reaches {off_support:.3g}"
    return Certificate(unique, reason, off_support, singular_value, allowance, s, m, n)


def dual_field(x: ArrayLike, mask: ArrayLike, iterations: int = 1000) -> NDArray:
    r"""The field p of :func:`certify_image` whose largest value off the support is least, or nearly.

    A convex problem, solved by the Douglas-Rachford method: with the projection :math:`\Pi`, and the proximal map of
    the largest modulus off T, which moves a vector by its projection on an l1 ball (Parikh and Boyd, 2014, Section
    6.5). After so many iterations p is feasible up to what :func:`certify_image` corrects.

    Parameters
    ----------
    x, mask : see :func:`certify_image`.
    iterations : how many, each with a pair of Fourier transforms of both parts of the field.

    Returns
    -------
    ``(2, n, n)`` float64.
    """
    x, mask = _checked("dual_field", x, mask)
    iterations = checks.integer("dual_field", "iterations", iterations, 1, 10**6)
    signs, project = _jumps(x), _projection(_unit(mask), len(x))
    on = signs != 0
    p = z = 0 * signs
    for _ in range(iterations):
        near = signs.copy()
        near[~on] = _prox_linf(z[~on], STEP)
        p = project(2 * near - z)
        z = z + p - near
    return p


def _prox_linf(v: NDArray, step: float) -> NDArray:
    """The proximal map of ``step`` times the largest modulus: values are cut at the c with sum (|v| - c)+ = step."""
    size = np.sort(np.abs(v))[::-1]
    sums = np.cumsum(size)
    if not len(v) or sums[-1] <= step:
        return np.zeros_like(v)
    cuts = (sums - step) / np.arange(1, len(v) + 1)  # for the j largest
    cut = cuts[np.flatnonzero(size > cuts)[-1]]
    return np.clip(v, -cut, cut)


def _unit(mask: NDArray) -> NDArray:
    r"""``(2, n, n//2 + 1)``: the symbol of :math:`\nabla` over its modulus, at frequencies outside the mask, else 0."""
    n = len(mask)
    seen = np.fft.ifftshift(mask)
    seen = seen & np.roll(seen[::-1, ::-1], (1, 1), (0, 1))
    factor = np.expm1(2j * math.pi * np.fft.fftfreq(n))  # no cancellation at low frequencies
    half = n // 2 + 1
    d = np.stack(np.broadcast_arrays(factor[:, None], factor[:half]))
    size = np.sqrt((np.abs(d) ** 2).sum(0))
    return np.where(seen[:, :half] | (size == 0), 0, d / np.where(size == 0, 1, size))


def _projection(unit: NDArray, n: int) -> Project:
    r""":math:`\Pi`: it takes :math:`d\, d^* \hat p_k/|d|^2` off outside the mask, with d the symbol of the gradient."""

    def project(p: NDArray) -> NDArray:
        spectrum = scipy.fft.rfft2(p)
        spectrum -= unit * (unit.conj() * spectrum).sum(0)
        return scipy.fft.irfft2(spectrum, s=(n, n))

    return project


def _gram(unit: NDArray, support: tuple[NDArray, ...], n: int) -> NDArray:
    r"""``(s, s)``: :math:`R\Pi R^*`, whose entries depend on differences of pixels only."""
    kernel = -scipy.fft.irfft2(unit[:, None] * unit[None].conj(), s=(n, n))
    kernel[[0, 1], [0, 1], 0, 0] += 1
    part, i, j = support
    return kernel[part[:, None], part, (i[:, None] - i) % n, (j[:, None] - j) % n]


def _jumps(x: NDArray) -> NDArray:
    """The signs of the differences of neighbours, ``(2, n, n)``, without rounding."""
    after = np.stack([np.roll(x, -1, 0), np.roll(x, -1, 1)])
    return (after > x).astype(float) - (after < x)


def _checked(where: str, x: Any, mask: Any) -> tuple[NDArray, NDArray]:
    """The image and the mask."""
    x, mask = checks.numbers(where, "x", x, "biuf"), checks.numbers(where, "mask", mask, "b")
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not 2 <= len(x) <= LARGEST:
        raise ValueError(f"{where}: x must have shape (n, n) with n from 2 to {LARGEST}, got {x.shape}")
    if mask.shape != x.shape:
        raise ValueError(f"{where}: mask must have shape {x.shape}, as x has, got {mask.shape}")
    return x, mask
