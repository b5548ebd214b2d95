"""TV reconstruction, eq. (3), by ADMM, with a duality gap that proves the accuracy of each result; its derivative."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import _gpu, _kernels, checks
from lib.operators import (
    COMPLEX,
    REAL,
    LinearOperator,
    check_measurements,
    gradient,
    gradient_adjoint,
    laplacian_symbol,
)

LAMBDA_TABLE = Path(__file__).resolve().parent.parent / "results" / "lambda.csv"
RELAXATION = 1.9  # over-relaxation alpha in (0, 2)
CHECK_EVERY = 10  # iterations between two looks at the duality gap, and between two changes of the threshold
# The threshold t = lam/rho runs geometrically from THRESHOLD[0] to THRESHOLD[1], in units of lam^(1/4) s^(3/4) with s
# the size of the image; see `_threshold_unit` and book/method.md.
THRESHOLD, THRESHOLD_DECAY = (0.5, 0.1), 0.85

Norm = Callable[[Tensor], Tensor]
Look = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]  # see `reconstruct_tv`


# --- Norms of the gradient


def separable(d: Tensor) -> Tensor:
    r"""Groups of the authors' norm: :math:`\|d\|_1 = \sum |\mathrm{Re}\, d| + |\mathrm{Im}\, d|`, both directions.

    A norm is given by the magnitudes of its groups. Here and below, ``d`` is a field ``(..., 2, n, n, c)``:
    two directions, then the image, then c = 1 (real) or c = 2 (real and imaginary parts). The magnitudes
    broadcast against ``d``.
    """
    return d.abs()


def anisotropic(d: Tensor) -> Tensor:
    r"""Groups of the norm :math:`\sum |d_0| + |d_1|` with complex moduli; equals `separable` on real images."""
    return torch.linalg.vector_norm(d, dim=-1, keepdim=True)


def isotropic(d: Tensor) -> Tensor:
    r"""Groups of the isotropic norm :math:`\sum \sqrt{|d_0|^2 + |d_1|^2}` (Rudin, Osher and Fatemi, 1992)."""
    return torch.linalg.vector_norm(d, dim=(-4, -1), keepdim=True)


def project(v: Tensor, t: Tensor, norm: Norm = separable) -> Tensor:
    r"""Projection on the dual ball :math:`\|v\|_* \le t`, group by group; :math:`v - P_t v` is soft-thresholding.

    Parameters
    ----------
    v : fields ``(b, 2, n, n)``, real or complex, as the result.
    t : radii ``(b,)``.
    norm : `separable`, `anisotropic` or `isotropic`.
    """
    checks.tensor("project", "v", v, ("b", 2, "n", "n"), (*REAL, *COMPLEX))
    checks.tensor("project", "t", t, v.shape[:1], REAL, v.device)
    d, t = _parts(v), t[:, None, None, None, None]
    d = d.clamp(-t, t) if norm is separable else d * (t / torch.maximum(norm(d), t))
    return torch.view_as_complex(d) if v.is_complex() else d[..., 0]


def _parts(d: Tensor) -> Tensor:
    """``(..., c)`` real, c = 1 or 2."""
    return torch.view_as_real(d.resolve_conj()) if d.is_complex() else d[..., None]


def _total(d: Tensor, norm: Norm) -> Tensor:
    """The norm of fields ``(..., 2, n, n)``, summed in float64."""
    return norm(_parts(d)).sum((-4, -3, -2, -1), dtype=torch.float64)


def _largest(p: Tensor, norm: Norm) -> Tensor:
    r"""The dual norm :math:`\|p\|_*`, the largest group magnitude, float64."""
    return norm(_parts(p)).amax((-4, -3, -2, -1)).double()


def _squared(y: Tensor) -> Tensor:
    """Squared norms of vectors ``(..., m)``, float64."""
    return torch.linalg.vector_norm(_parts(y), dim=(-2, -1), dtype=torch.float64).square()


# --- The functional, and what proves a minimiser


@dataclass(frozen=True, eq=False)
class TVResult:
    """A reconstruction and the proof of its accuracy. Shapes without the image are the batch shape of ``y``.

    Attributes
    ----------
    image : ``(..., n, n)``, the minimiser up to the tolerance; real or complex, as the operator's unknown.
    dual : ``(..., 2, n, n)``, a feasible dual point p; see :func:`certificate`.
    objective : float64, the value of the functional at ``image``.
    gap : float64, ``objective`` minus the dual value; the minimum lies in [objective - gap, objective]. NaN where the
        operator offers no proof.
    n_iter : int64, iterations spent on each image.
    converged : bool, whether ``gap <= tol * objective``, or the residuals were below ``tol``.
    criterion : which of the two: "proved" or "by residuals".
    """

    image: Tensor
    dual: Tensor
    objective: Tensor
    gap: Tensor
    n_iter: Tensor
    converged: Tensor
    criterion: str


@dataclass(frozen=True, eq=False)
class Iterate:
    """An image ``(..., n, n)`` and a dual field ``(..., 2, n, n)`` to start from, real or complex.

    The dual field is rho u in the notation of :func:`reconstruct_tv`, or rho (z + u): what lies outside the dual ball
    is projected on it. A `TVResult` serves as well.
    """

    image: Tensor
    dual: Tensor


@dataclass(frozen=True, eq=False)
class Certificate:
    """What weak duality proves about an image; see :func:`certificate`. All float64 with the batch shape.

    Attributes
    ----------
    objective : value of the functional at the image.
    dual_objective : value of the dual functional at the dual point; no image has a smaller objective.
    gap : their difference.
    infeasibility : how far the dual point is from being feasible, relative to its size; rounding level if it is.
    """

    objective: Tensor
    dual_objective: Tensor
    gap: Tensor
    infeasibility: Tensor


def tv_objective(x: Tensor, y: Tensor, op: LinearOperator, lam: float | Tensor, norm: Norm = separable) -> Tensor:
    r"""The functional :math:`\tfrac12\|\mathcal{A}x - y\|_2^2 + \lambda\|\nabla x\|_1`, summed in float64.

    Parameters
    ----------
    x : images ``(..., n, n)``, real or complex.
    y, op, lam, norm : the problem; see :func:`reconstruct_tv`.
    """
    lam = _checked_problem("tv_objective", y, op, lam, norm)
    checks.tensor("tv_objective", "x", x, (op.n, op.n), (*REAL, *COMPLEX), y.device)
    checks.broadcast("tv_objective", x=x.shape[:-2], y=y.shape[:-1], lam=lam.shape)
    return _squared(op.A(x) - y) / 2 + lam * _total(gradient(x), norm)


def certificate(
    x: Tensor, p: Tensor, y: Tensor, op: LinearOperator, lam: float | Tensor, norm: Norm = separable
) -> Certificate:
    r"""Lower bound on the functional, and with it the distance of an image from the minimum.

    The dual problem is

    .. math::
        \max_{p, q}\; \mathrm{Re}\langle q, y\rangle - \tfrac12\|q\|_2^2
        \quad\text{subject to}\quad \nabla^* p = \mathcal{A}^* q, \quad \|p\|_* \le \lambda,

    where :math:`\|\cdot\|_*` is the largest group magnitude. Any feasible pair bounds the minimum from below
    (weak duality; Boyd and Vandenberghe, 2004, Section 5.2.2). Among real images (``op.real``) p is real, and
    :math:`\mathcal{A}^*` is :math:`\mathrm{Re}\,\mathcal{A}^*`. The best q for a given p is
    :math:`(\mathcal{A}^*)^\dagger \nabla^* p` plus the component of y that no image explains. The gap also bounds the
    fitted data: the minimiser :math:`x^*` satisfies :math:`\|\mathcal{A}(x - x^*)\|_2 \le \sqrt{2\,\mathrm{gap}}`.

    Parameters
    ----------
    x : images ``(..., n, n)``; real ones if ``op.real``.
    p : dual points ``(..., 2, n, n)``, such as ``TVResult.dual``.
    y, op, lam, norm : the problem; see :func:`reconstruct_tv`. ``op`` must have ``adjoint_dagger``.

    Returns
    -------
    Certificate : valid only where ``infeasibility`` is at rounding level.
    """
    lam = _checked_problem("certificate", y, op, lam, norm)
    checks.operator("certificate", op, "adjoint_dagger")
    checks.tensor("certificate", "p", p, (2, op.n, op.n), (*REAL, *COMPLEX), op.device)
    p = p.real if op.real else p.to(p.dtype.to_complex())
    checks.tensor("certificate", "x", x, (op.n, op.n), REAL if op.real else (*REAL, *COMPLEX), y.device)
    checks.broadcast("certificate", x=x.shape[:-2], p=p.shape[:-3], y=y.shape[:-1], lam=lam.shape)
    g = gradient_adjoint(p)
    q = op.adjoint_dagger(g)  # type: ignore[attr-defined]  # optional in the protocol
    outside, length = _squared((g - _adjoint(op, q)).flatten(-2)).sqrt(), _squared(p.flatten(-3)).sqrt()
    rest = _unexplained(op, y, _adjoint(op, y))
    objective, dual_objective = tv_objective(x, y, op, lam, norm), _dual_objective(q, y, rest)
    infeasibility = torch.maximum(_largest(p, norm) / lam - 1, torch.where(outside > 0, outside / length, 0))
    return Certificate(objective, dual_objective, objective - dual_objective, infeasibility.clamp(min=0))


def _feasible(p: Tensor, op: LinearOperator, lam: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    r"""The feasible dual point near p, and its q; see :func:`certificate`.

    p is projected on :math:`\{p : \nabla^* p \in \mathrm{range}\, \mathcal{A}^*\}` and then scaled into the dual ball.
    """
    g = gradient_adjoint(p)
    q = op.adjoint_dagger(g)  # type: ignore[attr-defined]
    p = p - gradient(_laplacian_inverse(g - _adjoint(op, q)))
    scale = (lam / torch.maximum(_largest(p, norm), lam)).to(p.real.dtype)
    return p * scale[..., None, None, None], q * scale[..., None]


def _laplacian_inverse(g: Tensor) -> Tensor:
    """The pseudo-inverse of grad* grad, applied to images ``(..., n, n)``."""
    if g.numel() == 0:  # the FFT libraries refuse an empty batch
        return g
    n, forward, back = g.shape[-1], torch.fft.rfft2, functools.partial(torch.fft.irfft2, s=g.shape[-2:])
    symbol = laplacian_symbol(n, g.real.dtype, g.device)
    if g.is_complex():
        forward, back = torch.fft.fft2, torch.fft.ifft2
    inverse = torch.where(symbol > 0, 1 / symbol, 0)[:, : n if g.is_complex() else n // 2 + 1]
    return back(inverse * forward(g))


def _dual_objective(q: Tensor, y: Tensor, rest: Tensor) -> Tensor:
    """Re<q, y> - |q|^2/2, with the component of y that no image explains, of squared norm ``rest``, added to q."""
    return (_parts(q).double() * _parts(y)).sum((-2, -1)) - _squared(q) / 2 + rest / 2


def _unexplained(op: LinearOperator, y: Tensor, data: Tensor) -> Tensor:
    """Squared norm of the component of y that no image explains; 0 where the operator cannot tell. ``data`` is A* y."""
    if not hasattr(op, "adjoint_dagger"):
        return torch.zeros(y.shape[:-1], dtype=torch.float64, device=y.device)
    return _squared(y - op.adjoint_dagger(data))


class _Adjoint(torch.autograd.Function):
    """A* y, or Re A* y where the unknown is real. Its derivative's adjoint is A. Without ``values`` they are all 0."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, op: LinearOperator, values: bool) -> Tensor:
        ctx.op = op
        if not values:
            return (y.real if op.real else y).new_zeros(()).expand(*y.shape[:-1], op.n, op.n)
        return op.real_adjoint(y) if op.real and hasattr(op, "real_adjoint") else _plain_adjoint(op, y)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return ctx.op.A(g), None, None


def _plain_adjoint(op: LinearOperator, y: Tensor) -> Tensor:
    return op.A_adjoint(y).real if op.real else op.A_adjoint(y)


def _adjoint(op: LinearOperator, y: Tensor, values: bool = True) -> Tensor:
    return _plain_adjoint(op, y) if _kernels.is_transformed(y) else _Adjoint.apply(y, op, values)


# --- ADMM


def v_update(
    x: Tensor,
    v: Tensor,
    t: Tensor,
    rho: Tensor,
    norm: Norm,
    relaxation: float = RELAXATION,
    ratio: Tensor | None = None,
    b: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""ADMM's updates of z and u, kept as one variable v = z + u, and what the next x-update needs of them.

    .. math::
        d &= \alpha\nabla x + (1 - \alpha) z, \\
        z &\leftarrow \mathrm{shrink}_t(d + u), \qquad u \leftarrow d + u - z, \\
        b &= \varrho\nabla^*(z - u).

    z and u are the parts of v outside and inside the dual ball of radius t: :math:`u = P_t v`, :math:`z = v - P_t v`.

    Parameters
    ----------
    x : images ``(k, n, n)``.
    v : fields ``(k, 2, n, n)``; may be overwritten.
    t, rho : threshold :math:`\lambda/\varrho` and penalty, ``(k,)``.
    norm : `separable`, `anisotropic` or `isotropic`.
    relaxation : :math:`\alpha`, in (0, 2); 1 for none.
    ratio : ``(k,)``, the new threshold over the old. If it is given, ``t`` is the threshold before the change and
        ``rho`` the penalty after it. z and the multiplier :math:`\varrho u` are kept: u is multiplied by ``ratio``.
    b : ``(k, n, n)``, memory for the result where no derivative is taken.

    Returns
    -------
    v, b : fields and images, shaped as v and x.
    """
    loops = _kernels if _kernels.serves(x) else _gpu if _gpu.serves(x) else None
    if loops and norm is separable and not _kernels.is_transformed(x, v):
        if not (torch.is_grad_enabled() and (x.requires_grad or v.requires_grad)):
            return loops.v_update(x, v.contiguous(), t, rho, relaxation, ratio, b)
        if ratio is None:  # so in every iteration that is differentiated
            return loops.VUpdate.apply(x, v.contiguous(), t, rho, relaxation)
    u = project(v, t, norm)
    z = v - u
    v = relaxation * gradient(x) + (1 - relaxation) * z + u
    u = project(v, t, norm)
    z, u = v - u, u if ratio is None else ratio[:, None, None, None] * u
    return z + u, rho[:, None, None] * gradient_adjoint(z - u)


class _XUpdate(torch.autograd.Function):
    """`x_update`. Its linear part is self-adjoint: the derivative's adjoint is the same solve, for every operator."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, data: Tensor, solve: Callable[..., Tensor]) -> Tensor:
        ctx.solve = solve
        return solve(b)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        g = ctx.solve(g, linear=True)
        return g, g, None


def x_update(b: Tensor, data: Tensor, solve: Callable[..., Tensor]) -> Tensor:
    r"""ADMM's x-update :math:`(\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1} (\mathcal{A}^* y + b)`.

    Parameters
    ----------
    b : images ``(k, n, n)``, see :func:`v_update`.
    data : carries the derivative of :math:`\mathcal{A}^* y`, ``(k, n, n)``. ``solve`` has the values, so those here
        may be 0; only under torch.func are they used.
    solve : ``op.x_update(y, rho)``.
    """
    if _kernels.is_transformed(b, data):
        return solve(data + b, linear=True)
    return _XUpdate.apply(b, data, solve)


def sweep(x: Tensor, v: Tensor, t: Tensor, rho: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    r"""What the gap needs after an x-update: of x and of the dual point :math:`p = \varrho(\nabla x - z + u)`.

    Parameters
    ----------
    x, v, t, rho, norm : see :func:`v_update`.

    Returns
    -------
    total, largest, g : :math:`\|\nabla x\|_1` and :math:`\|p\|_*`, ``(b,)`` float64, and :math:`\nabla^* p`. An exact
        x-update makes g equal to :math:`\mathcal{A}^*(y - \mathcal{A}x)`: p is feasible up to rounding and its size.
    """
    if norm is separable and _kernels.serves(x):
        return _kernels.sweep(x, v, t, rho)
    p = _dual_point(x, v, t, rho, norm)
    return _total(gradient(x), norm), _largest(p, norm), gradient_adjoint(p)


def _dual_point(x: Tensor, v: Tensor, t: Tensor, rho: Tensor, norm: Norm) -> Tensor:
    return rho[:, None, None, None] * (gradient(x) - v + 2 * project(v, t, norm))


def reconstruct_tv(
    y: Tensor,
    op: LinearOperator,
    lam: float | Tensor,
    *,
    tol: float = 1e-3,
    max_iter: int = 2000,
    init: TVResult | Iterate | Tensor | None = None,
    norm: Norm = separable,
    on_check: Look | None = None,
) -> TVResult:
    r"""TV-regularized reconstruction :math:`\mathrm{rec}_{TV}(y)`, eq. (3) of the paper.

    .. math:: \min_x \tfrac12\|\mathcal{A}x - y\|_2^2 + \lambda\|\nabla x\|_1

    over complex images x or, if ``op.real``, over real ones. The paper's eq. (3) has no factor 1/2, its
    :math:`\lambda_\eta` is twice this :math:`\lambda`. The authors' code has the factor.

    ADMM with the splitting :math:`z = \nabla x`, penalty :math:`\varrho`, scaled multiplier u and over-relaxation
    :math:`\alpha` (Boyd et al., 2011, Section 3.4; Eckstein and Bertsekas, 1992):

    .. math::
        x &\leftarrow (\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1}
             (\mathcal{A}^* y + \varrho\nabla^*(z - u)), \\
        d &\leftarrow \alpha\nabla x + (1 - \alpha) z, \\
        z &\leftarrow \mathrm{shrink}_{\lambda/\varrho}(d + u), \qquad u \leftarrow u + d - z .

    The threshold :math:`t = \lambda/\varrho` is set from :math:`\lambda` and the size of the data and decreases during
    the first iterations, so that no tuning is needed and a rescaled problem takes the same steps.

    Every ten iterations the duality gap of each image is estimated, and where it is small enough, proved. A constant
    image that is optimal, because :math:`\lambda` is large, is proved without iterating. For an operator without
    ``adjoint_dagger`` the primal residual :math:`\nabla x - z` and the dual residual
    :math:`\mathcal{A}^*(\mathcal{A}x - y) + \varrho\nabla^* u` stop the iteration instead (Boyd et al., Section 3.3.1),
    at ``tol`` times :math:`\max(\|\nabla x\|, \|z\|)` and :math:`\|\varrho\nabla^* u\|`, or at the rounding errors of x
    and of the data.

    Parameters
    ----------
    y : measurements ``(..., m)``, complex64 or complex128. Not differentiated, see :class:`TVReconstruction`.
    op : the forward operator.
    lam : regularization parameter :math:`\lambda > 0`, a number or a tensor that broadcasts to the batch shape.
    tol : an image is done when its relative duality gap is at most ``tol``. This proves
        ``objective <= minimum / (1 - tol)``. It does not bound single pixels; ``results/tolerance.csv`` has measured
        errors of the worst pixel on phantoms at 0.5 % to 10 % noise, about ``tol`` or less down to 1e-3. In complex64
        rounding limits the gap, to about 1e-4 at these levels and to more for much smaller ``lam``.
    max_iter : at most this many iterations for each image; ``converged`` tells.
    init : a previous result or `Iterate` of a similar problem, image and dual (a warm start), or only an image, which
        saves little.
    norm : which :math:`\|\nabla x\|_1`: `separable` (the authors'), `anisotropic` or `isotropic`.
    on_check : called as ``on_check(n_iter, index, image, objective, gap)`` at each look at the gap, with the
        positions ``index`` in the flattened batch of some images at work, and for each of them the rest.

    Returns
    -------
    TVResult : on the device and in the precision of ``y``. If the zero frequency is not sampled, the mean is 0.

    Raises
    ------
    FloatingPointError : objective or gap overflow the dtype of ``y``.

    >>> from lib.operators import MaskedFourier, radial_mask
    >>> op = MaskedFourier(radial_mask(32, 8), real=True)
    >>> x = torch.zeros(32, 32)
    >>> x[10:20, 12:25] = 1
    >>> result = reconstruct_tv(op.A(x), op, lam=1e-4)
    >>> bool(result.converged), bool((result.image - x).abs().max() < 0.01)
    (True, True)
    """
    where = "reconstruct_tv"
    lam = _checked_problem(where, y, op, lam, norm)
    if y.requires_grad:
        raise ValueError(f"{where}: y must not require grad: use TVReconstruction, or pass y.detach()")
    checks.finite(where, "y", y)
    tol, max_iter = checks.number(where, "tol", tol, 0, 1), checks.integer(where, "max_iter", max_iter, 1)
    batch, n = y.shape[:-1], op.n
    if checks.broadcast(where, y=batch, lam=lam.shape) != batch:
        raise ValueError(f"{where}: lam must have a shape that broadcasts to {tuple(batch)}, got {tuple(lam.shape)}")
    lam = lam.expand(batch).reshape(-1)
    if on_check is not None:
        checks.function(where, "on_check", on_check)
    if isinstance(init, Tensor):
        init = Iterate(init, y.real.new_zeros(2, n, n))
    start = _expanded(where, "init", init, batch, op, y)
    if init is not None:
        checks.finite(where, "init", start.image), checks.finite(where, "init", start.dual)
    y = y.reshape(-1, op.m).resolve_conj()
    image, dual = (torch.empty_like(a, memory_format=torch.contiguous_format) for a in (start.image, start.dual))
    kinds = {"objective": torch.float64, "gap": torch.float64, "n_iter": torch.int64, "converged": torch.bool}
    fields = {name: torch.zeros(len(y), dtype=kind, device=y.device) for name, kind in kinds.items()}
    criterion = "proved" if hasattr(op, "adjoint_dagger") else "by residuals"
    result = TVResult(image, dual, criterion=criterion, **fields)
    with torch.no_grad():
        for i in torch.arange(len(y), device=y.device).split(_chunk(y, n)):
            data = _adjoint(op, y[i])
            problems = _Problems(op, norm, tol, i, y[i], lam[i], data, _unexplained(op, y[i], data))
            _solve(problems, start.image[i], start.dual[i], max_iter, result, on_check)
    if not bool(torch.isfinite(result.objective).all()) or bool(result.gap.isinf().any()):
        raise FloatingPointError(f"reconstruct_tv: overflow in {y.dtype}: rescale y and lam, or use complex128")
    shaped = {name: a.reshape(batch + a.shape[1:]) for name, a in vars(result).items() if isinstance(a, Tensor)}
    return replace(result, **shaped)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class _Problems:
    """Problems of a flat batch: their places in it, y, lambda, A* y, and the squared norm of what no image explains."""

    op: LinearOperator
    norm: Norm
    tol: float
    index: Tensor
    y: Tensor
    lam: Tensor
    data: Tensor
    rest: Tensor

    def __getitem__(self, i: Tensor) -> _Problems:
        return replace(self, **{name: getattr(self, name)[i] for name in ("index", "y", "lam", "data", "rest")})

    def proof(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A feasible dual point near p, and the objective and the gap that it proves of x."""
        p, q = _feasible(p, self.op, self.lam, self.norm)
        objective = tv_objective(x, self.y, self.op, self.lam, self.norm)
        return p, objective, objective - _dual_objective(q, self.y, self.rest)

    def store(self, result: TVResult, which: Tensor, n_iter: int, **found: Tensor) -> None:
        """Write what was found for some of them, ``which`` (bool), at their places of ``result``."""
        index = self.index[which]
        for name, value in found.items():
            getattr(result, name).index_copy_(0, index, value[which])
        result.n_iter[index] = n_iter


def _solve(problems: _Problems, x: Tensor, p: Tensor, max_iter: int, result: TVResult, on_check: Look | None) -> None:
    """`reconstruct_tv` for some problems, from x and the dual field p; they leave one by one, into ``result``."""
    op, norm, tol = problems.op, problems.norm, problems.tol
    if result.criterion == "proved":
        left = ~_constants(problems, result)
        if not bool(left.all()):
            problems, x, p = problems[left], x[left], p[left]
    unit = _threshold_unit(problems.y, problems.lam, problems.data)
    t, t_last = ((a * unit).to(x.real.dtype) for a in THRESHOLD)
    rho = (problems.lam / t).to(t.dtype)
    v, b = v_update(x, p / rho[:, None, None, None], t, rho, norm, relaxation=1)  # z = grad x, as far as u allows
    n_iter, solve = 0, op.x_update(problems.y, rho)
    while len(t):  # b belongs to x, v and rho: the first x-update of a round needs no other
        steps = min(CHECK_EVERY, max_iter - n_iter)
        for k in range(steps):
            if k > 0:
                v, b = v_update(x, v, t, rho, norm, b=b)  # z, u, and b = rho grad*(z - u)
            x = solve(b)  # (A*A + rho grad* grad)^-1 (A* y + b)
        n_iter += steps
        objective, gap, done = _check(problems, x, v, t, rho)
        if on_check is not None:
            on_check(torch.full_like(problems.index, n_iter), problems.index, x, objective, gap)
        left = torch.ones_like(done)
        # a few at a time, for memory
        for i in (done | (n_iter >= max_iter)).nonzero().flatten().split(_chunk(problems.y, 2 * op.n)):
            ended, image, value, proved = problems[i], x[i], objective[i], gap[i]
            if result.criterion == "proved":
                p, value, proved = ended.proof(image, _dual_point(image, v[i], t[i], rho[i], norm))
                done[i] = proved <= tol * value  # rounding can spoil a proof: then iterate on
            else:
                p = project(_dual_point(image, v[i], t[i], rho[i], norm), ended.lam.to(t.dtype), norm)
            out = done[i] | (n_iter >= max_iter)
            found = {"image": image, "dual": p, "objective": value, "gap": proved, "converged": done[i]}
            ended.store(result, out, n_iter, **found)
            left[i] = ~out
        if not bool(left.any()):
            return
        if not bool(left.all()):
            problems = problems[left]
            x, v, t, t_last, rho = (a[left] for a in (x, v, t, t_last, rho))
        ratio = (t_last / t).clamp(min=THRESHOLD_DECAY)
        v, b = v_update(x, v, t, rho / ratio, norm, ratio=ratio)
        if bool((ratio < 1).any()) or len(rho) < len(done):
            t, rho = t * ratio, rho / ratio
            solve = op.x_update(problems.y, rho)


def _constants(problems: _Problems, result: TVResult) -> Tensor:
    """Store constant minimisers, where p = grad (grad* grad)^+ A*(y - A x) proves them, and tell which these are."""
    op, lam, data, one = problems.op, problems.lam, problems.data, torch.ones_like(problems.data[:1]).real
    constant = torch.zeros_like(lam, dtype=torch.bool)
    response = op.A(one)  # its best multiple leaves a g = A*(y - A x) of mean 0
    size = _squared(response).to(one.dtype)
    c = torch.where(size > torch.finfo(one.dtype).eps * op.n**2, data.sum((-2, -1)) / size, 0)[:, None, None]
    g = data - c * _adjoint(op, response)
    bound = 4 * math.sqrt(2.1) * lam  # of |grad* p| for p in the ball, 2 + 2 for each part
    i = (g.abs().amax((-2, -1)) <= bound).nonzero().flatten()
    p = gradient(_laplacian_inverse(g[i]))
    inside = _largest(p, problems.norm) <= lam[i]
    i, p = i[inside], p[inside]
    if len(i):
        x = (c * one)[i]
        p, objective, gap = problems[i].proof(x, p)
        proved = gap <= problems.tol * objective
        found = {"image": x, "dual": p, "objective": objective, "gap": gap, "converged": proved}
        problems[i].store(result, proved, 0, **found)
        constant[i] = proved
    return constant


def _check(problems: _Problems, x: Tensor, v: Tensor, t: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Objective, gap, and whether an image is done: by the gap, or where the operator offers none, by residuals."""
    op, y, lam, tol = problems.op, problems.y, problems.lam, problems.tol
    total, largest, g = sweep(x, v, t, rho, problems.norm)
    if not hasattr(op, "adjoint_dagger"):
        d, u = gradient(x), project(v, t, problems.norm)
        z, misfit = v - u, op.A(x) - y
        multiplier = rho[:, None, None] * gradient_adjoint(u)
        residuals, rounding = (d - z, _adjoint(op, misfit) + multiplier), torch.finfo(t.dtype).eps
        primal, dual, of_d, of_z, of_multiplier, of_x, of_data = (
            _squared(a.flatten(1)) for a in (*residuals, d, z, multiplier, x, problems.data)
        )
        done = primal <= tol**2 * torch.maximum(torch.maximum(of_d, of_z), rounding * of_x)
        done &= dual <= tol**2 * torch.maximum(of_multiplier, rounding * of_data)
        return _squared(misfit) / 2 + lam * total, torch.full_like(total, math.nan), done
    # what images explain of y - A x, by the x-update's equation; the difference itself would be lost in rounding
    q = op.adjoint_dagger(g)
    scale = lam / torch.maximum(largest, lam)  # of the dual point, into the ball
    misfit, inner = _squared(q), (_parts(q).double() * _parts(y)).sum((-2, -1))
    objective = (misfit + problems.rest) / 2 + lam * total  # the gap has the other part on both sides
    gap = misfit / 2 + lam * total - (scale * inner - scale**2 * misfit / 2)
    return objective, gap, gap <= tol * objective


@dataclass(frozen=True, eq=False)
class TVReconstruction:
    r"""The map :math:`y \mapsto \mathrm{rec}_{TV}(y)` as attacks need it: differentiable, from any start.

    Called with measurements ``(..., m)`` it gives images ``(..., n, n)``, the result of ``iterations`` iterations of
    :func:`reconstruct_tv` with a fixed threshold. Its derivative is autograd's through these iterations, each of which
    stores one byte for each real difference (separable norm; for others, and under ``torch.func`` or forward-mode
    derivatives, the updates are plain torch).

    Parameters
    ----------
    op : the forward operator.
    lam : regularization parameter :math:`\lambda > 0`, see :func:`reconstruct_tv`.
    iterations : number of iterations of a call.
    threshold : :math:`t = \lambda/\varrho`, a number or one for each image of a flat batch. None sets it from ``y`` and
        ``lam``; the derivative does not see that.
    norm : `separable`, `anisotropic` or `isotropic`.
    tol : relative duality gap of :meth:`solve`.

    >>> from lib.operators import MaskedFourier, radial_mask
    >>> op = MaskedFourier(radial_mask(16, 4))
    >>> y = op.A(torch.eye(16)).requires_grad_()
    >>> TVReconstruction(op, lam=1e-3)(y).abs().square().sum().backward()
    >>> y.grad.shape == (op.m,)
    True
    """

    op: LinearOperator
    lam: float
    iterations: int = 50
    threshold: float | Tensor | None = None
    norm: Norm = separable
    tol: float = 1e-3

    def __post_init__(self) -> None:
        where = "TVReconstruction"
        checks.operator(where, self.op), checks.function(where, "norm", self.norm)
        checks.number(where, "lam", self.lam, 0), checks.number(where, "tol", self.tol, 0, 1)
        checks.integer(where, "iterations", self.iterations, 1)
        if self.threshold is not None:
            checks.positive(where, "threshold", self.threshold)

    def __call__(self, y: Tensor) -> Tensor:
        return self.resume(y)[0]

    def resume(self, y: Tensor, start: TVResult | Iterate | None = None) -> tuple[Tensor, Iterate]:
        """The differentiable image after ``iterations`` iterations, and where the next ones may begin.

        ``start`` is where these begin, broadcast to the batch shape of ``y``; zero if None. Its dual has taken the step
        of the last image already, and the first iteration takes it once more: calls in a row lead to the minimiser, as
        one long call does, through other iterates.
        """
        check_measurements("TVReconstruction", y, self.op)
        batch, count = y.shape[:-1], math.prod(y.shape[:-1])
        if self.threshold is not None and torch.as_tensor(self.threshold).numel() not in (1, count):
            shapes = f"{tuple(torch.as_tensor(self.threshold).shape)} and {tuple(batch)}"
            raise ValueError(f"TVReconstruction: threshold must be one, or one for each y, got shapes {shapes}")
        begin = _expanded("TVReconstruction", "start", start, batch, self.op, y)
        if not count:
            return begin.image.reshape(*batch, self.op.n, self.op.n), begin
        values = self.threshold is None or _kernels.is_transformed(y, begin.image, begin.dual)  # see `x_update`
        data = _adjoint(self.op, y.reshape(count, self.op.m), values)
        lam = torch.full((count,), float(self.lam), dtype=torch.float64, device=y.device)
        if self.threshold is None:
            unit = _threshold_unit(y.detach().reshape(count, -1), lam, data.detach())
            t = (THRESHOLD[1] * unit).to(y.real.dtype)
        else:
            t = torch.as_tensor(self.threshold, dtype=y.real.dtype, device=y.device).expand(count).contiguous()
        flat = (y.detach().reshape(count, -1), begin.image, begin.dual, data, lam, t)
        chunks = zip(*(a.split(_chunk(y, self.op.n)) for a in flat), strict=True)
        ended = zip(*(self._iterate(*chunk) for chunk in chunks), strict=True)
        image, dual = (torch.cat(parts) if len(parts) > 1 else parts[0] for parts in ended)
        image, dual = (a.reshape(batch + a.shape[1:]) for a in (image, dual))
        return image, Iterate(image.detach(), dual)

    def _iterate(self, y: Tensor, x: Tensor, p: Tensor, data: Tensor, lam: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The iterations from x and u = p/rho; the image, and p where the next ones may begin."""
        rho = (lam / t).to(t.dtype)
        solve = self.op.x_update(y, rho)
        v = p / rho[:, None, None, None]
        for k in range(self.iterations):
            relaxation = RELAXATION if k else 1.0  # a start has no z to relax with
            v, b = v_update(x, v, t, rho, self.norm, relaxation)  # z, u, and b = rho grad*(z - u)
            x = x_update(b, data, solve)  # (A*A + rho grad* grad)^-1 (A* y + b)
        with torch.no_grad():
            v, _ = v_update(x.detach(), v.detach(), t, rho, self.norm)
            return x, v.mul_(rho[:, None, None, None])

    def solve(self, y: Tensor, start: TVResult | Iterate | None = None) -> tuple[Tensor, TVResult]:
        """The image up to the tolerance, not differentiable, and a start for nearby problems.

        Raises
        ------
        RuntimeError : an image has not converged after 20 000 iterations.
        """
        check_measurements("TVReconstruction.solve", y, self.op)
        result = reconstruct_tv(
            y.detach(), self.op, self.lam, tol=self.tol, max_iter=20_000, init=start, norm=self.norm
        )
        if not bool(result.converged.all()):
            gap = float((result.gap / result.objective).max())
            shown = f"relative gap {gap:.1e}" if result.criterion == "proved" else "residuals above tol"
            raise RuntimeError(f"TVReconstruction.solve: {shown} after 20 000 iterations, tol {self.tol}")
        return result.image, result


# --- Helpers


def _checked_problem(where: str, y: Tensor, op: LinearOperator, lam: float | Tensor, norm: Norm) -> Tensor:
    """lam as a float64 tensor, of a problem that has been checked."""
    check_measurements(where, y, op)
    checks.function(where, "norm", norm)
    return checks.positive(where, "lam", lam, torch.float64, y.device)


def _threshold_unit(y: Tensor, lam: Tensor, data: Tensor) -> Tensor:
    """lam^(1/4) s^(3/4), where s is the size of the image; a few very bright pixels count, too."""
    size = torch.maximum(_squared(y).sqrt() / data.shape[-1], data.abs().amax((-2, -1)).double() / 4)
    return lam**0.25 * torch.where(size > 0, size, 1) ** 0.75


def _chunk(y: Tensor, n: int) -> int:
    """How many images to work on at a time: on a CPU, what stays in its cache."""
    return max(1, (2**19 if y.device.type == "cpu" else 2**24) // n**2)


def _expanded(
    where: str, name: str, start: TVResult | Iterate | None, batch: torch.Size, op: LinearOperator, y: Tensor
) -> Iterate:
    """Where to start, in a flat batch and in the operator's domain."""
    n, kind, count = op.n, y.real.dtype if op.real else y.dtype, math.prod(batch)
    if start is None:
        zero = torch.zeros((), dtype=kind, device=y.device)
        return Iterate(zero.expand(count, n, n), zero.expand(count, 2, n, n))
    checks.instance(where, name, start, TVResult, Iterate)
    fields = []
    for part, value, tail in (("image", start.image, (n, n)), ("dual", start.dual, (2, n, n))):
        checks.tensor(where, f"{name}.{part}", value, tail, device=y.device)
        if checks.broadcast(where, y=batch, **{f"{name}.{part}": value.shape[: -len(tail)]}) != batch:
            raise ValueError(f"{where}: {name}.{part} must broadcast to {(*batch, *tail)}, got {tuple(value.shape)}")
        value = value.real if op.real else value
        fields.append(value.expand(*batch, *tail).reshape(count, *tail).to(kind))
    return Iterate(*fields)


def calibrated_lambda(noise_rel: float, lines: int) -> float:
    r"""The regularization parameter :math:`\lambda_\eta` of Section 4, from ``results/lambda.csv``.

    The file has the grid search over 50 phantoms of 256 x 256 pixels with Gaussian noise (``make calibrate``); another
    resolution may want another :math:`\lambda`. For each mask and level the best grid point is taken, and
    :math:`\log\lambda` is interpolated linearly in the logarithms of the noise level and of the number of lines.

    Parameters
    ----------
    noise_rel : relative noise level :math:`\eta/\|y\|_2`, within the calibrated range.
    lines : number of lines of the mask, within the calibrated range.

    Returns
    -------
    :math:`\lambda` for the form with 1/2, see :func:`reconstruct_tv`; the paper's is twice this.

    Raises
    ------
    ValueError : outside the calibrated range.

    >>> calibrated_lambda(0.01, 40) < calibrated_lambda(0.04, 40)
    True
    """
    table = _calibration()
    if not table:
        raise ValueError("calibrated_lambda: results/lambda.csv has no rows; make calibrate writes it")
    curves: dict[int, float] = {}  # log lambda at this noise level, for each mask that was calibrated around it
    for count in sorted({count for count, _ in table}):
        levels = sorted(noise for lines_, noise in table if lines_ == count)
        if levels[0] <= noise_rel <= levels[-1]:
            logs = [math.log(table[count, level]) for level in levels]
            curves[count] = float(np.interp(math.log(noise_rel), np.log(levels), logs))
    noises, masks = [noise for _, noise in table], list(curves)
    if not masks:
        raise ValueError(f"calibrated_lambda: noise_rel must lie in [{min(noises)}, {max(noises)}], got {noise_rel!r}")
    if not masks[0] <= lines <= masks[-1]:
        raise ValueError(f"calibrated_lambda: lines must lie in [{masks[0]}, {masks[-1]}], got {lines!r}")
    return math.exp(np.interp(math.log(lines), np.log(masks), list(curves.values())))


@functools.cache
def _calibration() -> dict[tuple[int, float], float]:
    """The best lambda of results/lambda.csv for each (lines, noise_rel)."""
    if not LAMBDA_TABLE.exists():
        return {}
    best: dict[tuple[int, float], tuple[float, float]] = {}  # the error and its lambda
    header, *lines = LAMBDA_TABLE.read_bytes().decode(errors="replace").split("\n")
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        row = dict(zip(header.split(","), line.split(","), strict=False))
        try:
            count, noise, error, lam = (float(row[name]) for name in ("lines", "noise_rel", "error_mean", "lam"))
            if not all(0 < value < math.inf for value in (count, noise, error, lam)) or number > len(lines):
                raise ValueError  # the latter is a line without its end
        except (KeyError, ValueError):
            name = f"{LAMBDA_TABLE.parent.name}/{LAMBDA_TABLE.name}"
            expected = "positive lines, noise_rel, error_mean and lam"
            message = f"calibrated_lambda: {name}: line {number}: expected {expected}, got {line[:60]!r}"
            raise ValueError(f"{message}; make calibrate computes it anew") from None
        key = int(count), noise
        best[key] = min(best.get(key, (math.inf, 0.0)), (error, lam))
    return {key: lam for key, (_, lam) in best.items()}
