"""TV reconstruction by ADMM, with a duality gap that proves the accuracy of each result, and its derivative."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib import admm
from lib.admm import Norm, anisotropic, isotropic, separable, squared_norm
from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol
from lib.runs.tables import RESULTS, read_rows

__all__ = [
    "Certificate",
    "Iterate",
    "TVReconstruction",
    "TVResult",
    "anisotropic",
    "calibrated_lambda",
    "certificate",
    "feasible_dual",
    "isotropic",
    "reconstruct_tv",
    "separable",
    "tv_objective",
]

CHECK_EVERY = 10  # iterations between two looks at the duality gap, and between two changes of the threshold
# The threshold t = lam/rho runs geometrically from THRESHOLD[0] to THRESHOLD[1], in units of lam^(1/4) s^(3/4) with s
# the size of the image; see `_threshold_unit` and book/method.md.
THRESHOLD, THRESHOLD_DECAY = (0.5, 0.1), 0.85


@dataclass(frozen=True)
class TVResult:
    """A reconstruction and the proof of its accuracy. Shapes without the image are the batch shape of ``y``.

    Attributes
    ----------
    image : ``(..., n, n)`` complex, the minimiser up to the tolerance.
    dual : ``(..., 2, n, n)`` complex, a feasible dual point p; see :func:`certificate`.
    objective : float64, the value of the functional at ``image``.
    gap : float64, ``objective`` minus the dual value; the minimum lies in [objective - gap, objective].
    n_iter : int64, iterations spent on each image.
    converged : bool, whether ``gap <= tol * objective``.
    """

    image: Tensor
    dual: Tensor
    objective: Tensor
    gap: Tensor
    n_iter: Tensor
    converged: Tensor


@dataclass(frozen=True)
class Iterate:
    """An image ``(..., n, n)`` and a dual field ``(..., 2, n, n)`` to start from, real or complex.

    The dual field is rho u in the notation of :func:`reconstruct_tv`; what lies outside the dual ball is projected on
    it. A `TVResult` serves as well.
    """

    image: Tensor
    dual: Tensor


@dataclass(frozen=True)
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


def tv_objective(x: Tensor, y: Tensor, op: MaskedFourier, lam: float | Tensor, norm: Norm = separable) -> Tensor:
    r"""The functional :math:`\tfrac12\|\mathcal{A}x - y\|_2^2 + \lambda\|\nabla x\|_1`, summed in float64.

    Parameters
    ----------
    x : images ``(..., n, n)``, real or complex.
    y : measurements ``(..., m)``.
    op : the forward operator.
    lam : regularization parameter, a number or one for each image.
    norm : `separable`, `anisotropic` or `isotropic`.

    Returns
    -------
    float64 tensor with the batch shape.

    Raises
    ------
    TypeError, ValueError : shapes or dtypes that do not fit ``op``.
    """
    op._check("tv_objective", y, (op.m,), (torch.complex64, torch.complex128))
    lam = torch.as_tensor(lam, dtype=torch.float64, device=y.device)
    return squared_norm(op.A(x) - y, differentiable=True) / 2 + lam * admm.total_norm(gradient(x), norm)


def certificate(
    x: Tensor, p: Tensor, y: Tensor, op: MaskedFourier, lam: float | Tensor, norm: Norm = separable
) -> Certificate:
    r"""Lower bound on the functional, and with it the distance of an image from the minimum.

    The dual problem is

    .. math::
        \max_p\; \mathrm{Re}\langle q, y\rangle - \tfrac12\|q\|_2^2, \quad q = \mathcal{A}\nabla^* p,
        \quad\text{subject to}\quad \nabla^* p = \mathcal{A}^* q, \quad \|p\|_* \le \lambda,

    where :math:`\|\cdot\|_*` is the largest group magnitude. Any feasible p bounds the minimum from below
    (weak duality; Boyd and Vandenberghe, 2004, Section 5.2.2). The gap also bounds the fitted data: the minimiser
    :math:`x^*` satisfies :math:`\|\mathcal{A}(x - x^*)\|_2 \le \sqrt{2\,\mathrm{gap}}`.

    Parameters
    ----------
    x : images ``(..., n, n)``.
    p : dual points ``(..., 2, n, n)``, such as ``TVResult.dual``.
    y, op, lam, norm : the problem; see :func:`reconstruct_tv`.

    Returns
    -------
    Certificate : valid only where ``infeasibility`` is at rounding level.

    Raises
    ------
    TypeError, ValueError : ``p`` has another shape, or ``lam`` is not positive and finite.
    """
    if p.shape[-3:] != (2, op.n, op.n):
        raise ValueError(f"certificate: expected p of shape (..., 2, {op.n}, {op.n}), got {tuple(p.shape)}")
    lam = _checked_lam("certificate", lam, y.device)
    p = p.to(y.dtype)
    spectrum = torch.fft.fft2(gradient_adjoint(p), norm="ortho").flatten(-2)
    q = spectrum[..., op._index]
    outside = squared_norm(spectrum.index_fill(-1, op._index, 0), differentiable=True)
    length = squared_norm(p, dims=3, differentiable=True)
    excess = norm(admm.real_view(p)).amax((-4, -3, -2, -1)).double() / lam - 1
    objective, dual_objective = tv_objective(x, y, op, lam, norm), _dual_objective(q, y)
    return Certificate(
        objective=objective,
        dual_objective=dual_objective,
        gap=objective - dual_objective,
        infeasibility=torch.maximum(excess, torch.where(outside > 0, outside / length, 0).sqrt()).clamp(min=0),
    )


def _dual_objective(q: Tensor, y: Tensor) -> Tensor:
    return (q.conj().to(torch.complex128) * y).real.sum(-1) - squared_norm(q, differentiable=True) / 2


@torch.no_grad()
def feasible_dual(p: Tensor, op: MaskedFourier, lam: float | Tensor, norm: Norm = separable) -> Tensor:
    r"""A feasible dual point near ``p``: see :func:`certificate`.

    ``p`` is projected on :math:`\{p : \nabla^* p \in \mathrm{range}\, \mathcal{A}^*\}` and then scaled into the dual
    ball :math:`\|p\|_* \le \lambda`.

    Parameters
    ----------
    p : fields ``(..., 2, n, n)``, real or complex; not differentiated.
    op, lam, norm : the problem; see :func:`reconstruct_tv`. ``lam`` and the batch shape of ``p`` broadcast.

    Returns
    -------
    ``(..., 2, n, n)`` complex.

    Raises
    ------
    TypeError, ValueError : ``p`` has another shape, or ``lam`` is not positive and finite.
    """
    if p.shape[-3:] != (2, op.n, op.n):
        raise ValueError(f"feasible_dual: expected shape (..., 2, {op.n}, {op.n}), got {tuple(p.shape)}")
    lam = _checked_lam("feasible_dual", lam, p.device)
    p = p.expand(*torch.broadcast_shapes(p.shape[:-3], lam.shape), *p.shape[-3:])
    return _feasible(p, op, lam, norm, real=False)[0]


def _feasible(p: Tensor, op: MaskedFourier, lam: Tensor, norm: Norm, real: bool) -> tuple[Tensor, Tensor]:
    """`feasible_dual`, also for a dual point of the real problem (``real``), and q of `certificate`."""
    factor, change = _lift(op, real, p.real.dtype)
    spectrum = torch.fft.fft2(gradient_adjoint(p), norm="ortho")
    lift = torch.fft.ifft2(spectrum * factor, norm="ortho")
    p, largest = admm.add_gradient(p.to(lift.dtype, copy=True), lift, norm)
    q = spectrum.flatten(-2)[..., op._index] * change
    scale = (lam / torch.maximum(largest, lam)).to(p.real.dtype)
    torch.view_as_real(p).mul_(scale[..., None, None, None, None])
    return p, q * scale[..., None]


@functools.lru_cache(maxsize=8)
def _lift(op: MaskedFourier, real: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What `_feasible` adds to p, as a multiple of the spectrum of grad* p, ``(n, n)``, and what that makes of it.

    The second is a factor for each sampled frequency, ``(m,)``. The real problem differs where k is sampled and -k is
    not: it has half of the residual at each, the complex problem all of it at k.
    """
    sampled = torch.fft.ifftshift(op.mask)
    change = -(~sampled).to(dtype)
    if real:
        change += sampled & ~admm.mirror(sampled)
    laplacian = laplacian_symbol(op.n, dtype, op.mask.device)
    return torch.where(laplacian > 0, change / laplacian, 0), 1 + change.flatten()[op._index]


@torch.no_grad()
def reconstruct_tv(
    y: Tensor,
    op: MaskedFourier,
    lam: float | Tensor,
    *,
    tol: float = 1e-3,
    max_iter: int = 2000,
    init: TVResult | Iterate | Tensor | None = None,
    norm: Norm = separable,
    on_check: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None] | None = None,
) -> TVResult:
    r"""TV-regularized reconstruction :math:`\mathrm{rec}_{TV}(y)`, eq. (3) of the paper.

    .. math:: \min_{x \in \mathbb{C}^{n \times n}} \tfrac12\|\mathcal{A}x - y\|_2^2 + \lambda\|\nabla x\|_1

    The paper's eq. (3) has no factor 1/2, its :math:`\lambda_\eta` is twice this :math:`\lambda`. The authors'
    code has the factor.

    ADMM with the splitting :math:`z = \nabla x`, penalty :math:`\rho`, scaled multiplier u and over-relaxation
    :math:`\alpha` (Boyd et al., 2011, Section 3.4; Eckstein and Bertsekas, 1992):

    .. math::
        x &\leftarrow (\mathcal{A}^*\mathcal{A} + \rho\nabla^*\nabla)^{-1}
             (\mathcal{A}^* y + \rho\nabla^*(z - u)), \\
        d &\leftarrow \alpha\nabla x + (1 - \alpha) z, \\
        z &\leftarrow \mathrm{shrink}_{\lambda/\rho}(d + u), \qquad u \leftarrow u + d - z .

    The x-update is exact: both terms are diagonal in the Fourier domain. z and u are kept as one variable
    :math:`v = z + u`, since :math:`u` is the projection of v on the dual ball of radius :math:`t = \lambda/\rho`.
    t is set from :math:`\lambda` and the size of the data and decreases during the first iterations, so that no
    tuning is needed and a rescaled problem takes the same steps.

    Where the mask is even and ``y`` are the measurements of a real image, the solver works on real images (half
    the cost) and proves the result against the complex problem. If that proof fails, it goes on in complex
    arithmetic. For even n this is for the separable norm only: the frequencies -n/2 that radial masks sample without
    their mirror image make the minimiser of the other norms slightly complex.

    Parameters
    ----------
    y : measurements ``(..., m)``, complex64 or complex128. Not differentiated, see :class:`TVReconstruction`.
    op : the forward operator.
    lam : regularization parameter :math:`\lambda > 0`, a number or a tensor that broadcasts to the batch shape.
    tol : an image is done when its relative duality gap is at most ``tol``. This proves
        ``objective <= minimum / (1 - tol)``. It does not bound single pixels; ``results/tolerance.csv`` has measured
        errors of the worst pixel on phantoms at 0.5 % to 10 % noise, about ``tol`` or less down to 1e-3. In complex64
        rounding limits the gap, to about 1e-4 at these levels and to more for much smaller ``lam``.
    max_iter : at most this many iterations, in total for each image; ``converged`` tells.
    init : a previous result or `Iterate` of a similar problem, image and dual (a warm start), or only an image, which
        saves little.
    norm : which :math:`\|\nabla x\|_1`: `separable` (the authors'), `anisotropic` or `isotropic`.
    on_check : called as ``on_check(n_iter, index, image, objective, gap)`` at each look at the gap, with the
        positions ``index`` in the flattened batch of some images at work, and for each of them the rest.

    Returns
    -------
    TVResult : on the device and in the dtype of ``y``. If the zero frequency is not sampled, the mean is 0.

    Raises
    ------
    TypeError, ValueError : ``y``, ``lam``, ``tol``, ``max_iter`` or ``init`` is not as described, or ``y`` or
        ``lam`` is not finite.
    FloatingPointError : objective or gap overflow the dtype of ``y``.

    >>> from lib.operators import radial_mask
    >>> op = MaskedFourier(radial_mask(32, 8))
    >>> x = torch.zeros(32, 32)
    >>> x[10:20, 12:25] = 1
    >>> result = reconstruct_tv(op.A(x), op, lam=1e-4)
    >>> bool(result.converged), bool((result.image - x).abs().max() < 0.01)
    (True, True)
    """
    op._check("reconstruct_tv", y, (op.m,), (torch.complex64, torch.complex128))
    if y.requires_grad:
        raise ValueError("reconstruct_tv: y requires grad: use TVReconstruction, or pass y.detach()")
    if not all_finite(y):
        raise ValueError("reconstruct_tv: y is not finite: it contains NaN or infinity")
    lam = _checked_lam("reconstruct_tv", lam, y.device)
    if not 0 < tol < 1:
        raise ValueError(f"reconstruct_tv: tol must lie in (0, 1), got {tol!r}")
    if not callable(norm):
        raise TypeError(f"reconstruct_tv: norm must be a function such as separable, got {norm!r}")
    if not isinstance(max_iter, Integral) or isinstance(max_iter, bool) or max_iter < 1:
        raise ValueError(f"reconstruct_tv: max_iter must be an integer >= 1, got {max_iter!r}")
    batch, n = y.shape[:-1], op.n
    try:
        lam = lam.expand(batch).reshape(-1)
    except RuntimeError:
        raise ValueError(f"reconstruct_tv: lam of shape {tuple(lam.shape)}, batch of shape {tuple(batch)}") from None
    start = _initial(init, batch, n, y)
    y = y.reshape(-1, op.m).resolve_conj()
    is_real = _is_real_problem(y, op, norm)
    result = TVResult(
        image=y.new_empty(len(y), n, n),
        dual=y.new_empty(len(y), 2, n, n),
        objective=torch.empty(len(y), dtype=torch.float64, device=y.device),
        gap=torch.empty(len(y), dtype=torch.float64, device=y.device),
        n_iter=torch.zeros(len(y), dtype=torch.int64, device=y.device),
        converged=torch.zeros(len(y), dtype=torch.bool, device=y.device),
    )
    problem = _Problem(y, op, lam, norm, tol, max_iter, on_check)
    for real, which, begin in ((True, is_real, start), (False, ~is_real, start), (False, is_real, result)):
        todo = (which & ~result.converged & (result.n_iter < max_iter)).nonzero().flatten()
        for index in todo.split(_chunk(y, n)) if len(todo) else ():
            _solve(problem, real, index, begin, result)
    if not bool(torch.isfinite(result.objective + result.gap).all()):
        raise FloatingPointError(f"reconstruct_tv: overflow in {y.dtype}: rescale y and lam, or use complex128")
    return TVResult(**{name: value.reshape(batch + value.shape[1:]) for name, value in vars(result).items()})


@dataclass(frozen=True)
class TVReconstruction:
    r"""The map :math:`y \mapsto \mathrm{rec}_{TV}(y)` as attacks need it: differentiable, from any start.

    Called with measurements ``(..., m)`` it gives images ``(..., n, n)``, the result of ``iterations`` iterations of
    :func:`reconstruct_tv` with a fixed threshold. Their derivative is taken in one of two ways.

    - Unrolled: the derivative of these iterations. Each stores one byte for each difference (separable norm).
    - Implicit: the derivative of the fixed point, with the last iterate in its place, as far as ``iterations`` terms
      of the Neumann series go. The iterations store nothing. It equals the unrolled one if the same differences are
      zero in all of them, as they are near the solution.

    Where ``y`` are measurements of real images, so is the result, and the derivative is that along real images: the
    gradient with respect to y is A applied to a real image.

    Parameters
    ----------
    op : the forward operator.
    lam : regularization parameter :math:`\lambda > 0`, see :func:`reconstruct_tv`.
    iterations : number of iterations of a call.
    implicit : take the implicit derivative, not the unrolled one.
    threshold : :math:`t = \lambda/\rho`, a number or one for each image of a flat batch. None sets it from ``y`` and
        ``lam``; the derivative does not see that.
    norm : `separable`, `anisotropic` or `isotropic`.
    tol : relative duality gap of :meth:`solve`.

    Raises
    ------
    TypeError, ValueError : a parameter is out of range, or ``y`` or a start does not fit ``op``.

    >>> from lib.operators import radial_mask
    >>> op = MaskedFourier(radial_mask(16, 4))
    >>> y = op.A(torch.eye(16)).requires_grad_()
    >>> TVReconstruction(op, lam=1e-3)(y).abs().square().sum().backward()
    >>> y.grad.shape == (op.m,)
    True
    """

    op: MaskedFourier
    lam: float
    iterations: int = 50
    implicit: bool = False
    threshold: float | Tensor | None = None
    norm: Norm = separable
    tol: float = 1e-3

    def __post_init__(self) -> None:
        if isinstance(self.lam, Tensor) and self.lam.ndim:
            raise ValueError(f"TVReconstruction: lam must be one number, got shape {tuple(self.lam.shape)}")
        if not callable(self.norm):
            raise TypeError(f"TVReconstruction: norm must be a function such as separable, got {self.norm!r}")
        for name in ("lam", "threshold"):
            value = torch.as_tensor(1.0 if getattr(self, name) is None else getattr(self, name))
            if not bool(((value > 0) & torch.isfinite(value)).all()):
                raise ValueError(f"TVReconstruction: {name} must be positive and finite, got {value.tolist()}")
        if not isinstance(self.iterations, Integral) or isinstance(self.iterations, bool) or self.iterations < 1:
            raise ValueError(f"TVReconstruction: iterations must be an integer >= 1, got {self.iterations!r}")
        if not 0 < self.tol < 1:
            raise ValueError(f"TVReconstruction: tol must lie in (0, 1), got {self.tol!r}")

    def __call__(self, y: Tensor) -> Tensor:
        return self.resume(y)[0].to(y.dtype)

    def resume(self, y: Tensor, start: TVResult | Iterate | None = None) -> tuple[Tensor, Iterate]:
        """The differentiable image after ``iterations`` iterations, and where they ended.

        Both are real where all of ``y`` are measurements of real images.

        Parameters
        ----------
        y : measurements ``(..., m)``, complex64 or complex128.
        start : where to begin, broadcast to the batch shape of ``y``; at zero if None.
        """
        op, batch = self.op, y.shape[:-1]
        op._check("TVReconstruction", y, (op.m,), (torch.complex64, torch.complex128))
        if start is None:
            start = Iterate(y.real.new_zeros(op.n, op.n), y.real.new_zeros(2, op.n, op.n))
        image, dual = _expanded("TVReconstruction: start", start, batch, op.n, y)
        count = math.prod(batch)
        if self.threshold is not None and torch.as_tensor(self.threshold).numel() not in (1, count):
            length = torch.as_tensor(self.threshold).numel()
            raise ValueError(f"TVReconstruction: {length} thresholds, batch of shape {tuple(batch)}")
        if not count:
            return image, Iterate(image, dual)
        flat = (
            y.reshape(count, op.m).resolve_conj(),
            image.reshape(count, op.n, op.n),
            dual.reshape(count, 2, op.n, op.n),
        )
        image, dual = _Iterations.apply(*flat, self)
        image = image.unflatten(0, batch) if batch else image[0]
        return image, Iterate(image.detach(), dual.unflatten(0, batch) if batch else dual[0])

    def solve(self, y: Tensor, start: TVResult | Iterate | None = None) -> tuple[Tensor, TVResult]:
        """The image up to the tolerance, not differentiable, and a start for nearby problems.

        Raises
        ------
        RuntimeError : a relative gap is above ``tol`` after 20 000 iterations.
        """
        result = reconstruct_tv(
            y.detach(), self.op, self.lam, tol=self.tol, max_iter=20_000, init=start, norm=self.norm
        )
        if not bool(result.converged.all()):
            gap = float((result.gap / result.objective).max())
            raise RuntimeError(
                f"TVReconstruction.solve: relative gap {gap:.1e} after 20 000 iterations, tol {self.tol}"
            )
        return result.image, result


class _Iterations(torch.autograd.Function):
    """The iterations of `TVReconstruction` on a flat batch, and their adjoint."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, image: Tensor, dual: Tensor, rec: TVReconstruction) -> tuple[Tensor, Tensor]:
        op, norm, dtype = rec.op, rec.norm, y.real.dtype
        real = bool(_is_real_problem(y, op, norm).all())
        k = admm.k_space(op, real, dtype)
        lam = torch.full((len(y),), float(rec.lam), dtype=torch.float64, device=y.device)
        if rec.threshold is None:
            t = (THRESHOLD[1] * _threshold_unit(y, lam, k, op.n)).to(dtype)
        else:
            t = torch.as_tensor(rec.threshold, dtype=dtype, device=y.device).expand(len(y)).contiguous()
        ctx.rec, ctx.k, ctx.saved = rec, k, []
        kind = dtype if real else y.dtype
        first = rec.iterations - 1 if rec.implicit else 1  # of the fields v whose Jacobian is taken
        wanted = range(first, rec.iterations) if ctx.needs_input_grad[0] else range(0)
        images, duals = [], []
        for begin in range(0, len(y), _chunk(y, op.n)):
            i = slice(begin, begin + _chunk(y, op.n))
            x, p = ((a.real if real else a).to(kind) for a in (image[i], dual[i]))
            state = admm.start(k, k.values(y[i]), lam[i], t[i], x, p, norm)
            jacobians = []
            for step in range(rec.iterations):
                admm.x_update(state, k)
                if step + 1 in wanted:
                    jacobians.append(admm.recorded_v_update(state, norm))
                else:
                    admm.v_update(state, k, norm)
            ctx.saved.append((state.rho, state.inverse, jacobians))
            images.append(state.x)
            duals.append(admm.multiplier(state.v, state.t, state.rho, norm))
        end, dual = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (images, duals))
        ctx.mark_non_differentiable(dual)
        return end, dual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        rec, k = ctx.rec, ctx.k
        out = []
        for g, (rho, inverse, jacobians) in zip(grad.split(_chunk(grad, rec.op.n)), ctx.saved, strict=True):
            if rec.implicit:
                jacobians = jacobians * (rec.iterations - 1)
            g = g.clone(memory_format=torch.contiguous_format)
            out.append(k.measured(admm.adjoint(g, jacobians, rho, inverse, k, rec.norm), rec.op.m))
        return torch.cat(out), None, None, None


@dataclass(frozen=True)
class _Problem:
    """What `reconstruct_tv` was asked for, with a flat batch of measurements."""

    y: Tensor
    op: MaskedFourier
    lam: Tensor
    norm: Norm
    tol: float
    max_iter: int
    on_check: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None] | None


def _solve(problem: _Problem, real: bool, index: Tensor, begin: TVResult | Iterate, result: TVResult) -> None:
    """Run ADMM on the images ``index`` of the flat batch from their state in ``begin``, and write it to ``result``."""
    op, norm, tol, max_iter = problem.op, problem.norm, problem.tol, problem.max_iter
    y, lam, spent = problem.y[index], problem.lam[index], result.n_iter[index]
    k, dtype = admm.k_space(op, real, y.real.dtype), y.real.dtype
    values = k.values(y)
    y_sampled = values / k.weight_s
    unit = _threshold_unit(y, lam, k, op.n)
    t_last = (THRESHOLD[1] * unit).to(dtype)
    t = torch.where(spent > 0, t_last, (THRESHOLD[0] * unit).to(dtype))
    x, p = (_take(a.real if real else a, index).to(dtype if real else y.dtype) for a in (begin.image, begin.dual))
    state = admm.start(k, values, lam, t, x, p, norm)
    margin = torch.full_like(lam, 0.95)  # a little room for rounding before a proof is tried
    while True:
        steps = min(CHECK_EVERY, max_iter - int(spent.max()))
        for i in range(steps):
            if i > 0:
                admm.v_update(state, k, norm)
            r_sampled = admm.x_update(state, k, look=i == steps - 1)
        spent = spent + steps
        total, violation = admm.measure(state.x, state.v, state.t, norm)
        misfit, inner = admm.residual(y_sampled, r_sampled, state.rho, k)  # type: ignore[arg-type]  # x_update looked
        objective = misfit / 2 + lam * total
        scale = state.t / torch.maximum(violation, state.t)  # of the dual point, into the ball
        gap = objective - (scale * inner - scale * scale * misfit / 2)
        if problem.on_check is not None:
            problem.on_check(spent, index, state.x, objective, gap)
        exhausted = spent >= max_iter
        look = exhausted | (gap <= margin * tol * objective)
        if bool(look.any()):
            at = look.nonzero().flatten()
            x, v, t, rho = (_take(a, at) for a in (state.x, state.v, state.t, state.rho))
            p, q = _feasible(admm.dual_point(x, v, t, rho, norm), op, lam[at], norm, real)
            objective = squared_norm(op.A(x) - y[at]) / 2 + lam[at] * total[at]  # `tv_objective`, its TV at hand
            gap = objective - _dual_objective(q, y[at])
            proved = gap <= tol * objective
            # A proof can fail by rounding: iterate on. If it fails again and again, the problem is not a real one.
            settled = proved | exhausted[at] | (real & (margin[at] < 0.4))
            margin[at] *= 0.7
            done = at[settled]
            to = index[done]
            ended = settled.nonzero().flatten()
            result.image.index_copy_(0, to, _take(x, ended).to(y.dtype))
            result.dual.index_copy_(0, to, _take(p, ended))
            result.objective[to], result.gap[to] = objective[settled], gap[settled]
            result.n_iter[to], result.converged[to] = spent[done], proved[settled]
            keep = torch.ones_like(look).index_fill(0, done, False)
            if not bool(keep.any()):
                return
            if not bool(keep.all()):
                state = state.keep(keep)
                index, y, lam, spent, y_sampled, t_last, margin = (
                    a[keep] for a in (index, y, lam, spent, y_sampled, t_last, margin)
                )
        admm.v_update(state, k, norm, ratio=(t_last / state.t).clamp(min=THRESHOLD_DECAY))


def _take(a: Tensor, index: Tensor) -> Tensor:
    """``a[index]`` for increasing positions; no copy if they are all."""
    return a if len(index) == len(a) else a[index]


def _checked_lam(name: str, lam: float | Tensor, device: torch.device) -> Tensor:
    try:
        lam = torch.as_tensor(lam, dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: lam must be a number or a tensor, got {lam!r}") from None
    if not bool((torch.isfinite(lam) & (lam > 0)).all()):
        raise ValueError(f"{name}: lam must be positive and finite, got {lam.tolist()}")
    return lam


def _threshold_unit(y: Tensor, lam: Tensor, k: admm.KSpace, n: int) -> Tensor:
    """lam^(1/4) s^(3/4), where s is the size of the image; a few very bright pixels count, too."""
    image = admm.inverse_fourier(k.scatter(k.values(y)), k)  # A* y
    size = torch.maximum(squared_norm(y).sqrt() / n, image.abs().amax((-2, -1)).double() / 4)
    return lam**0.25 * torch.where(size > 0, size, 1) ** 0.75


def _chunk(y: Tensor, n: int) -> int:
    """How many images to work on at a time: on a CPU, what stays in its cache."""
    return max(1, (2**19 if y.device.type == "cpu" else 2**24) // n**2)


def _is_real_problem(y: Tensor, op: MaskedFourier, norm: Norm) -> Tensor:
    """Which vectors are conjugate symmetric, up to rounding, wherever both k and -k are sampled.

    Where a frequency -n/2 is sampled without its mirror image, the minimiser among complex images need not be real.
    With the separable norm it is for radial masks and images, and the proof will tell; with the others it is not.
    """
    k = admm.k_space(op, True, y.real.dtype)
    if not op.is_even or (norm is not separable and bool((k.weight_s < 1).any())):
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)
    return k.odd_part(y) <= (16 * torch.finfo(y.real.dtype).eps) ** 2 * squared_norm(y)


def _initial(init: TVResult | Iterate | Tensor | None, batch: torch.Size, n: int, y: Tensor) -> Iterate:
    """Where to start, in a flat batch."""
    count, zero = math.prod(batch), y.real.new_zeros(())
    if init is None:
        return Iterate(zero.expand(count, n, n), zero.expand(count, 2, n, n))
    if isinstance(init, Tensor):
        init = Iterate(init, zero.expand(2, n, n))
    elif not isinstance(init, (TVResult, Iterate)):
        raise TypeError(f"reconstruct_tv: init must be a TVResult, an Iterate or a tensor, got {type(init).__name__}")
    if not (all_finite(init.image) and all_finite(init.dual)):
        raise ValueError("reconstruct_tv: init is not finite: it contains NaN or infinity")
    image, dual = _expanded("reconstruct_tv: init", init, batch, n, y)
    return Iterate(image.reshape(count, n, n), dual.reshape(count, 2, n, n))


def _expanded(name: str, start: TVResult | Iterate, batch: torch.Size, n: int, y: Tensor) -> tuple[Tensor, Tensor]:
    """Image and dual point of a start, broadcast to the batch."""
    if not isinstance(start, (TVResult, Iterate)):
        raise TypeError(f"{name} must be a TVResult or an Iterate, got {type(start).__name__}")
    image, dual = start.image, start.dual
    for part, field in (("image", image), ("dual", dual)):
        if field.device != y.device:
            raise ValueError(f"{name}.{part} on {field.device}, y on {y.device}")
    try:
        if image.shape[-2:] == (n, n) and dual.shape[-3:] == (2, n, n):
            return image.expand(*batch, n, n), dual.expand(*batch, 2, n, n)
    except RuntimeError:
        pass
    raise ValueError(
        f"{name} has image {tuple(image.shape)} and dual {tuple(dual.shape)}, "
        f"expected {(*batch, n, n)} and {(*batch, 2, n, n)}"
    )


def all_finite(a: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in ``a``."""
    # the sum, a single pass, cannot miss one; if it overflows, it takes another look
    return bool(torch.isfinite(a.sum())) or bool(torch.isfinite(a).all())


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
    rows = sorted(read_rows(RESULTS / "lambda.csv"), key=lambda row: -float(row["error_mean"]))
    # the smallest error comes last and stays
    return {(int(row["lines"]), float(row["noise_rel"])): float(row["lam"]) for row in rows}
