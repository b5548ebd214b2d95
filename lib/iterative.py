"""Any forward operator from two functions, its inverses by conjugate gradients; several receiver coils are one."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib import checks
from lib.operators import (
    COMPLEX,
    REAL,
    MaskedFourier,
    check_measurements,
    gradient,
    gradient_adjoint,
    laplacian_symbol,
)

Map = Callable[[Tensor], Tensor]
PROBES, LEAST = 8, 1e-4  # random images that show the diagonal of A*A; its smallest value that counts


class IterativeOperator:
    r"""A forward operator that is known by :math:`\mathcal{A}` and :math:`\mathcal{A}^*` alone; see `LinearOperator`.

    What else solver and attack need, :math:`\mathcal{A}^\dagger` and the x-update, takes conjugate gradients; those of
    the x-update are preconditioned in the Fourier domain. The unknown image is complex. There is no ``adjoint_dagger``:
    the solver stops on residuals.

    The two functions need not be differentiable by autograd, since the derivative of one is the other.

    Parameters
    ----------
    forward : from complex images ``(b, n, n)`` to measurements ``(b, m)``, linear.
    adjoint : from measurements ``(b, m)`` to images ``(b, n, n)``: the adjoint of ``forward``.
    n, m : image side and number of measurements.
    tol : relative residual at which conjugate gradients stop; not below 1e-6 in single precision. A solver that is
        stopped by residuals wants it a thousand times below its own tolerance, at n = 256.
    max_iter : at most this many of their iterations.
    device : where images and measurements have to be.

    >>> from lib.operators import radial_mask
    >>> fourier = MaskedFourier(radial_mask(16, 5))
    >>> op = IterativeOperator(fourier.A, fourier.A_adjoint, fourier.n, fourier.m)
    >>> y = fourier.A(torch.eye(16))
    >>> torch.allclose(op.A_dagger(y), fourier.A_dagger(y), atol=1e-5)
    True
    """

    real = False

    def __init__(
        self,
        forward: Map,
        adjoint: Map,
        n: int,
        m: int,
        *,
        tol: float = 1e-5,
        max_iter: int = 500,
        device: str | torch.device = "cpu",
    ):
        where = "IterativeOperator"
        self.forward = checks.function(where, "forward", forward)
        self.adjoint = checks.function(where, "adjoint", adjoint)
        self.n, self.m = checks.integer(where, "n", n, 1, checks.SIDE), checks.integer(where, "m", m, 1)
        self.tol, self.max_iter = checks.number(where, "tol", tol, 0, 1), checks.integer(where, "max_iter", max_iter, 1)
        self.device = checks.device(where, device)
        self._symbol: Tensor | None = None

    def __repr__(self) -> str:
        return f"IterativeOperator(n={self.n}, m={self.m}, tol={self.tol}, {self.device})"

    def A(self, x: Tensor) -> Tensor:
        r"""Measurements :math:`\mathcal{A}x`: images ``(..., n, n)`` to complex vectors ``(..., m)``."""
        checks.tensor("IterativeOperator.A", "x", x, (self.n, self.n), (*REAL, *COMPLEX), self.device)
        return self._apply(x.to(x.dtype.to_complex()), self.forward, self.adjoint, (self.m,))

    def A_adjoint(self, y: Tensor) -> Tensor:
        r"""Adjoint :math:`\mathcal{A}^* y`: vectors ``(..., m)`` to complex images ``(..., n, n)``."""
        check_measurements("IterativeOperator.A_adjoint", y, self)
        return self._apply(y, self.adjoint, self.forward, (self.n, self.n))

    def A_dagger(self, y: Tensor) -> Tensor:
        r"""Pseudo-inverse :math:`\mathcal{A}^\dagger y`, to the tolerance or as far as ``max_iter`` iterations get.

        With tiny singular values, such as those of many coils, they stop first. The result is then a regularized
        pseudo-inverse, without the directions of these values, and nothing warns of it.
        """
        check_measurements("IterativeOperator.A_dagger", y, self)

        def forward(a: Tensor) -> Tensor:  # (A*A)^+ A*
            return _conjugate_gradients(self._normal, self.adjoint(a), self.tol, self.max_iter)

        def adjoint(x: Tensor) -> Tensor:  # (A A*)^+ A
            return _conjugate_gradients(
                lambda a: self.forward(self.adjoint(a)), self.forward(x), self.tol, self.max_iter
            )

        return self._apply(y, forward, adjoint, (self.n, self.n))

    def x_update(self, y: Tensor, rho: Tensor) -> Callable[..., Tensor]:
        """See `LinearOperator`; to the tolerance."""
        check_measurements("IterativeOperator.x_update", y, self)
        checks.tensor("IterativeOperator.x_update", "rho", rho, y.shape[:-1], REAL, self.device)
        data, penalty = self.A_adjoint(y), rho[:, None, None]

        inverse = 1 / (self._diagonal().to(rho) + penalty * laplacian_symbol(self.n, rho.dtype, self.device))

        def normal(x: Tensor) -> Tensor:
            return self._normal(x) + penalty * gradient_adjoint(gradient(x))

        def precondition(r: Tensor) -> Tensor:
            return torch.fft.ifft2(inverse * torch.fft.fft2(r))

        def solve(b: Tensor, linear: bool = False) -> Tensor:
            b = b if linear else b + data
            return _conjugate_gradients(normal, b, self.tol, self.max_iter, precondition)

        return solve

    def _normal(self, x: Tensor) -> Tensor:
        return self.adjoint(self.forward(x))

    @torch.no_grad()
    def _diagonal(self) -> Tensor:
        """An estimate of the diagonal of A*A in the Fourier domain, from random phases (Bekas et al., 2007)."""
        if self._symbol is None:
            angles = 2 * math.pi * torch.rand(PROBES, self.n, self.n, generator=torch.Generator().manual_seed(0))
            u = torch.polar(torch.ones_like(angles), angles).to(self.device)
            seen = torch.fft.fft2(self._normal(torch.fft.ifft2(u)))
            diagonal = (u.conj() * seen).real.mean(0)
            self._symbol = diagonal.clamp(min=max(LEAST * float(diagonal.max()), torch.finfo(diagonal.dtype).tiny))
        return self._symbol

    def _apply(self, a: Tensor, function: Map, adjoint: Map, tail: tuple[int, ...]) -> Tensor:
        """A linear map of the last dimensions of ``a``, for any batch."""
        batch = a.shape[: -1 if len(tail) == 2 else -2]
        flat = a.reshape(math.prod(batch), *a.shape[len(batch) :])
        result = _Linear.apply(flat, function, adjoint)
        checks.tensor("IterativeOperator", "what forward or adjoint returned", result, tail, COMPLEX, self.device)
        return result.reshape(*batch, *tail)


class _Linear(torch.autograd.Function):
    """A linear map whose derivative's adjoint is given."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, function: Map, adjoint: Map) -> Tensor:
        ctx.adjoint = adjoint
        return function(a)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(g), None, None


@torch.no_grad()
def _conjugate_gradients(normal: Map, b: Tensor, tol: float, max_iter: int, precondition: Map = lambda r: r) -> Tensor:
    """Solve ``normal(x) = b`` for a batch of images or measurements, each to the relative residual ``tol``, from x = 0.

    ``normal`` is self-adjoint and positive semidefinite, with b in its range; without a preconditioner the result is
    the solution of least norm (Hestenes and Stiefel, 1952).
    """
    x, r, p, before = torch.zeros_like(b), b, torch.zeros_like(b), None
    least = tol**2 * _inner(b, b)
    for _ in range(max_iter):
        if not bool((_inner(r, r) > least).any()):
            break
        s = precondition(r)
        square = _inner(r, s)
        p = s if before is None else s + torch.where(before > 0, square / before, 0) * p
        q = normal(p)
        curvature = _inner(p, q)
        step = torch.where(curvature > 0, square / curvature, 0)
        x, r, before = x + step * p, r - step * q, square
    return x


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner products of a batch, with its dimensions."""
    return (a.conj() * b).real.sum(tuple(range(1, a.ndim)), keepdim=True)


def simulated_coils(count: int, n: int) -> Tensor:
    r"""Sensitivities of ``count`` receiver coils around the image, with :math:`\sum_c |s_c|^2 = 1` at each pixel.

    Each coil lies on a circle of 1.5 half sides around the centre; its sensitivity falls off with the distance, and its
    phase is the direction to it: the birdcage of sigpy (Ong and Lustig, 2019), on one ring. It is written out here, as
    sigpy is installed for the benchmarks only.

    Parameters
    ----------
    count : number of coils, 1 to 1024.
    n : image side.

    Returns
    -------
    ``(count, n, n)`` complex64.
    """
    count = checks.integer("simulated_coils", "count", count, 1, 1024)
    n = checks.integer("simulated_coils", "n", n, 1, checks.SIDE)
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64)[:, None, None] / count
    axis = (torch.arange(n, dtype=torch.float64) - n // 2) / (n / 2)
    across, down = axis - 1.5 * torch.cos(angle), axis[:, None] - 1.5 * torch.sin(angle)
    coils = torch.polar(1 / torch.hypot(across, down), torch.atan2(across, -down) - angle)
    return (coils / torch.linalg.vector_norm(coils, dim=0)).to(torch.complex64)


def coil_operator(mask: Tensor, coils: Tensor, *, tol: float = 1e-5, max_iter: int = 500) -> IterativeOperator:
    r"""Measurements of several coils, :math:`\mathcal{A}x = (P_\Omega\mathcal{F}(s_c x))_c` (Pruessmann et al., 1999).

    ``y`` has the m frequencies of the first coil, then those of the second, and so on.

    Parameters
    ----------
    mask : ``(n, n)`` bool, see `MaskedFourier`.
    coils : sensitivities :math:`s_c`, ``(count, n, n)`` complex, such as `simulated_coils`.
    tol, max_iter : see `IterativeOperator`.
    """
    fourier = MaskedFourier(mask)
    tail = (fourier.n, fourier.n)
    checks.finite(
        "coil_operator", "coils", checks.tensor("coil_operator", "coils", coils, tail, COMPLEX, fourier.device)
    )
    if coils.ndim != 3:
        raise ValueError(f"coil_operator: coils must have shape (count, n, n), got {tuple(coils.shape)}")

    def forward(x: Tensor) -> Tensor:
        return fourier.A(coils.to(x.dtype) * x[:, None]).flatten(1)

    def adjoint(y: Tensor) -> Tensor:
        return (coils.to(y.dtype).conj() * fourier.A_adjoint(y.unflatten(-1, (len(coils), fourier.m)))).sum(1)

    m = len(coils) * fourier.m
    return IterativeOperator(forward, adjoint, fourier.n, m, tol=tol, max_iter=max_iter, device=fourier.device)
