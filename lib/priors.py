"""Sparsity of the image itself, or of its wavelet coefficients, in place of TV: the same ADMM, with a certificate."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lib import checks
from lib.operators import COMPLEX, REAL, MaskedFourier, check_measurements

Transform = Callable[[Tensor], Tensor]
RELAXATION, MAX_ITER = 1.9, 20_000


def identity(x: Tensor) -> Tensor:
    """The image itself, for images of few bright pixels."""
    return x


def haar(x: Tensor) -> Tensor:
    r"""Orthonormal Haar wavelet coefficients ``(..., n, n)`` of images, over as many scales as 2 divides n.

    The coarse scales are in the upper left corner (Mallat, 2009, Section 7.7).
    """
    n = _side("haar", "x", x)
    if n % 2:
        return x
    for axis in (-2, -1):
        first, second = x.unflatten(axis, (n // 2, 2)).unbind(axis)
        x = torch.cat([first + second, first - second], axis) / math.sqrt(2)
    return _with_corner(x, haar(x[..., : n // 2, : n // 2]))


def haar_adjoint(w: Tensor) -> Tensor:
    """The images ``(..., n, n)`` of Haar coefficients: the adjoint of `haar`, and its inverse."""
    n = _side("haar_adjoint", "w", w)
    if n % 2:
        return w
    w = _with_corner(w, haar_adjoint(w[..., : n // 2, : n // 2]))
    for axis in (-1, -2):
        low, high = w.chunk(2, axis)
        w = torch.stack([low + high, low - high], axis).flatten(axis - 1, axis) / math.sqrt(2)
    return w


def _side(where: str, name: str, x: Tensor) -> int:
    n = checks.tensor(where, name, x, ("n", "n"), (*REAL, *COMPLEX)).shape[-1]
    if n == 0 or n != x.shape[-2]:
        raise ValueError(f"{where}: {name} must have shape (..., n, n), not empty, got {tuple(x.shape)}")
    return n


def _with_corner(x: Tensor, corner: Tensor) -> Tensor:
    h = corner.shape[-1]
    return torch.cat([torch.cat([corner, x[..., :h, h:]], -1), x[..., h:, :]], -2)


class SparseState(NamedTuple):
    r"""Where the iterations of a `SparseReconstruction` stand.

    Attributes
    ----------
    v : ``(..., n, n)`` complex, z + u.
    gap : ``(...)`` float64, of a converged result relative to its objective; else NaN, and nothing is proved.
    criterion : "proved", see `lib.tv.TVResult`.
    """

    v: Tensor
    gap: Tensor
    criterion: str = "proved"


@dataclass(frozen=True, eq=False)
class SparseReconstruction:
    r"""The map to the minimiser of :math:`\tfrac12\|\mathcal{A}x - y\|_2^2 + \lambda\|Wx\|_1`, as attacks need it.

    W is orthogonal, x complex, and :math:`\|\cdot\|_1` the sum of moduli. ADMM as in `lib.tv.reconstruct_tv`, with
    :math:`v = z + u`, :math:`u` its projection on the moduli up to :math:`t = \lambda/\varrho`, and

    .. math::
        x \leftarrow (\mathcal{A}^*\mathcal{A} + \varrho)^{-1}(\mathcal{A}^*y + \varrho c)
        = c + \tfrac{1}{1 + \varrho} \mathcal{A}^*(y - \mathcal{A}c), \qquad c = W^*(z - u).

    Parameters
    ----------
    op : the masked Fourier operator.
    lam : :math:`\lambda > 0`.
    transform, adjoint : W and :math:`W^*`, such as `haar` and `haar_adjoint`.
    threshold : t.
    iterations : of a call, which is differentiable; autograd goes through them.
    tol : relative duality gap of :meth:`solve`.

    >>> from lib.operators import radial_mask
    >>> op = MaskedFourier(radial_mask(16, 6))
    >>> x = torch.zeros(16, 16)
    >>> x[3, 5] = 1
    >>> image, state = SparseReconstruction(op, lam=1e-3, threshold=0.1).solve(op.A(x))
    >>> bool((image - x).abs().max() < 0.02), bool(state.gap <= 1e-3)
    (True, True)
    """

    op: MaskedFourier
    lam: float
    transform: Transform = identity
    adjoint: Transform = identity
    threshold: float = 0.1
    iterations: int = 20
    tol: float = 1e-3

    def __post_init__(self) -> None:
        where = "SparseReconstruction"
        checks.instance(where, "op", self.op, MaskedFourier)
        checks.function(where, "transform", self.transform), checks.function(where, "adjoint", self.adjoint)
        checks.number(where, "lam", self.lam, 0), checks.number(where, "threshold", self.threshold, 0)
        checks.integer(where, "iterations", self.iterations, 1), checks.number(where, "tol", self.tol, 0, 1)

    def __call__(self, y: Tensor) -> Tensor:
        """Images ``(..., n, n)`` of measurements ``(..., m)`` after ``iterations`` iterations from 0."""
        return self.resume(y)[0]

    def resume(self, y: Tensor, state: SparseState | None = None) -> tuple[Tensor, SparseState]:
        """The differentiable image after ``iterations`` iterations, and where they ended."""
        check_measurements("SparseReconstruction", y, self.op)
        x, v, _ = self._iterate(y, None if state is None else state.v)
        return x, SparseState(v.detach(), y.new_full(y.shape[:-1], math.nan, dtype=torch.float64))

    @torch.no_grad()
    def solve(self, y: Tensor, state: SparseState | None = None) -> tuple[Tensor, SparseState]:
        """The image up to the tolerance, not differentiable, and a state for nearby problems.

        Raises
        ------
        RuntimeError : the gap of an image is above the tolerance after 20 000 iterations.
        """
        check_measurements("SparseReconstruction.solve", y, self.op)
        v = None if state is None else state.v
        for _ in range(0, MAX_ITER, self.iterations):
            x, v, q = self._iterate(y, v)
            gap = self._gap(x, y, q)
            if bool((gap <= self.tol).all()):
                return x, SparseState(v, gap)
        raise RuntimeError(f"SparseReconstruction.solve: gap {float(gap.max()):.1e} after {MAX_ITER} iterations")

    def relative_gap(self, x: Tensor, y: Tensor) -> Tensor:
        r"""The duality gap of images ``(..., n, n)``, relative to the objective, ``(...)`` float64; it proves accuracy.

        The dual problem is :math:`\max_q \mathrm{Re}\langle q, y\rangle - \tfrac12\|q\|_2^2` with
        :math:`\|W\mathcal{A}^*q\|_\infty \le \lambda`; here q is :math:`y - \mathcal{A}x`, scaled to be feasible.
        """
        check_measurements("SparseReconstruction.relative_gap", y, self.op)
        return self._gap(x, y, y - self.op.A(x))

    def _gap(self, x: Tensor, y: Tensor, q: Tensor) -> Tensor:
        largest = self.transform(self.op.A_adjoint(q)).abs().amax((-2, -1)).double()
        s = (self.lam / largest).clamp(max=1)
        square = q.abs().double().square().sum(-1)
        objective = square / 2 + self.lam * self.transform(x).abs().sum((-2, -1), dtype=torch.float64)
        gap = objective - s * (q.conj() * y).real.sum(-1, dtype=torch.float64) + s**2 * square / 2
        return torch.where(objective == 0, 0.0, gap / objective)

    def _iterate(self, y: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The image, v, and y - A x: from the x-update, as the difference itself would be lost in rounding."""
        t, rho = self.threshold, self.lam / self.threshold
        relaxation = RELAXATION if v is not None else 1.0  # nothing to relax with at the start
        v = torch.zeros_like(self.op.A_adjoint(y)) if v is None else v
        for _ in range(self.iterations):
            u = v * (t / v.abs().clamp(min=t))
            z = v - u
            c = self.adjoint(z - u)
            misfit = (y - self.op.A(c)) / (1 + rho)
            x = c + self.op.A_adjoint(misfit)
            v = relaxation * self.transform(x) + (1 - relaxation) * z + u
            relaxation = RELAXATION
        return x, v, rho * misfit
