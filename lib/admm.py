"""The ADMM iteration of `lib.tv`: its state, its compiled kernels, and its derivative."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
import torch
from torch import Tensor

from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol

RELAXATION = 1.9  # over-relaxation alpha in (0, 2)
THREADS_FROM = 2**16  # numbers in an array, below which starting threads costs more than they save

Norm = Callable[[Tensor], Tensor]


def separable(d: Tensor) -> Tensor:
    r"""Groups of the authors' norm: :math:`\|d\|_1 = \sum |\mathrm{Re}\, d| + |\mathrm{Im}\, d|`, both directions.

    A norm is given by the magnitudes of its groups. Here and below, ``d`` is a field ``(..., 2, n, n, c)``:
    two directions, then the image, then c = 1 (real) or c = 2 (real and imaginary parts). The magnitudes
    broadcast against ``d``.
    """
    return d.abs()


def anisotropic(d: Tensor) -> Tensor:
    r"""Groups of the norm :math:`\sum |d_0| + |d_1|` with complex moduli; equals `separable` on real images."""
    return d.square().sum(-1, keepdim=True).sqrt()


def isotropic(d: Tensor) -> Tensor:
    r"""Groups of the isotropic norm :math:`\sum \sqrt{|d_0|^2 + |d_1|^2}` (Rudin, Osher and Fatemi, 1992)."""
    return d.square().sum((-4, -1), keepdim=True).sqrt()


@dataclass(frozen=True)
class KSpace:
    """The sampled frequencies of an operator: in all of k-space or, for real images, in the half that is stored.

    Attributes
    ----------
    weight : ``(n, w)``, of the data term; w = n or n//2 + 1.
    laplacian : ``(n, w)``, symbol of the Laplacian.
    sampled : ``(s,)``, flat positions where ``weight`` is not 0.
    first, second : ``(s,)``, where a measurement vector holds k and -k, or m where it does not hold it.
        ``second`` is only for real images.
    weight_s, laplacian_s : ``(s,)`` float64, the values at ``sampled``.
    importance : ``(s,)`` float64, the share of a position in a squared norm over all of k-space.
    """

    weight: Tensor
    laplacian: Tensor
    sampled: Tensor
    first: Tensor
    second: Tensor | None
    weight_s: Tensor
    laplacian_s: Tensor
    importance: Tensor

    def values(self, y: Tensor) -> Tensor:
        """Data at the sampled positions, ``(..., m)`` to ``(..., s)``; for real images, of the even part of y."""
        if self.second is not None and y.device.type == "cpu" and not (y.requires_grad and torch.is_grad_enabled()):
            y = y.detach().resolve_conj().contiguous()
            values = y.new_empty(*y.shape[:-1], len(self.sampled))
            batch = [_flat(a.view(math.prod(y.shape[:-1]), a.shape[-1])) for a in (y, values)]
            _run(_values_cpu, len(batch[0]), self.first.numpy(), self.second.numpy(), *batch)
            return values
        y = _padded(y)
        if self.second is None:
            return y[..., self.first]
        return (y[..., self.first] + y[..., self.second].conj()) * 0.5  # torch divides five times more slowly

    def odd_part(self, y: Tensor) -> Tensor:
        """Squared norm of the part of y that no real image explains, over the pairs k, -k that are both sampled."""
        assert self.second is not None
        if y.device.type == "cpu":
            y, odd = y.contiguous(), np.empty(math.prod(y.shape[:-1]))
            symbols = self.first.numpy(), self.second.numpy(), self.weight_s.numpy(), self.importance.numpy()
            _run(_odd_cpu, len(odd), _flat(y.view(len(odd), y.shape[-1])), *symbols, odd)
            return torch.from_numpy(odd).view(y.shape[:-1])
        y, pairs = _padded(y), self.importance * (self.weight_s == 1)
        return (pairs * (y[..., self.first] - y[..., self.second].conj()).abs().double().square()).sum(-1)

    def scatter(self, values: Tensor) -> Tensor:
        """The grid ``(..., n, w)`` with the given values at the sampled positions."""
        grid = values.new_zeros(*values.shape[:-1], self.weight.numel())
        return grid.index_copy_(-1, self.sampled, values).unflatten(-1, self.weight.shape)

    def gather(self, spectrum: Tensor) -> Tensor:
        """``(..., n, w)`` to ``(..., s)``."""
        return spectrum.flatten(-2).index_select(-1, self.sampled)

    def measured(self, values: Tensor, m: int) -> Tensor:
        """Measurements of the image with this spectrum at the sampled positions, ``(..., s)`` to ``(..., m)``."""
        y = values.new_zeros(*values.shape[:-1], m + 1)
        y[..., self.first] = values
        if self.second is not None:
            y[..., self.second] = values.conj()
        return y[..., :m]


@functools.lru_cache(maxsize=8)
def k_space(op: MaskedFourier, real: bool, dtype: torch.dtype) -> KSpace:
    """The sampled frequencies of ``op`` for images of this real dtype or its complex partner.

    At frequency -n/2 (even n) a sampled k may have an unsampled -k: for a real image the two are one measurement of
    weight 1/2 each.
    """
    n, device = op.n, op.mask.device
    first = torch.full((n * n,), op.m, device=device)
    first[op._index] = torch.arange(op.m, device=device)
    first = first.unflatten(0, (n, n))
    second = mirror(first)
    weight, multiplicity = (first < op.m).to(dtype), torch.ones(n, n, dtype=torch.float64, device=device)
    width = n
    if real:
        weight, width = (weight + (second < op.m)) / 2, n // 2 + 1
        multiplicity[:, 1 : (n + 1) // 2] = 2
    weight, laplacian = weight[:, :width].contiguous(), laplacian_symbol(n, dtype, device)[:, :width].contiguous()
    sampled = weight.flatten().nonzero().flatten()
    first, second, multiplicity = (a[:, :width].flatten()[sampled] for a in (first, second, multiplicity))
    weight_s = weight.flatten()[sampled].double()
    return KSpace(
        weight=weight,
        laplacian=laplacian,
        sampled=sampled,
        first=first,
        second=second if real else None,
        weight_s=weight_s,
        laplacian_s=laplacian.flatten()[sampled].double(),
        importance=weight_s * multiplicity,
    )


@dataclass
class State:
    """The ADMM iteration on a batch of b images, real or complex.

    The updates replace ``x``, ``t`` and ``rho`` and change ``v``, ``r`` and ``inverse`` in place.

    Attributes
    ----------
    x : ``(b, n, n)``, images.
    v : ``(b, 2, n, n)``, splitting variable plus scaled multiplier, v = z + u.
    r : ``(b, n, n)``, the right-hand side rho grad*(z - u) of the next x-update.
    data : ``(b, s)``, the data's part of that right-hand side, in k-space where sampled; see `KSpace.values`.
    t, rho : ``(b,)``, threshold and penalty.
    inverse : ``(b, n, w)``, Fourier symbol of the x-update's inverse.
    """

    x: Tensor
    v: Tensor
    r: Tensor
    data: Tensor
    t: Tensor
    rho: Tensor
    inverse: Tensor

    def keep(self, which: Tensor) -> State:
        """The state of the images ``which`` (bool) alone."""
        return State(*(getattr(self, field.name)[which] for field in fields(self)))


def start(k: KSpace, data: Tensor, lam: Tensor, t: Tensor, x: Tensor, p: Tensor, norm: Norm) -> State:
    """The state before the first x-update: v = grad x + u, with p = rho u in the ball of radius ``lam``."""
    rho = lam.to(t.dtype) / t
    x = x.resolve_conj().contiguous()
    v = torch.mul(p, (1 / rho)[:, None, None, None], out=torch.empty(p.shape, dtype=x.dtype, device=x.device))
    r = torch.empty_like(x)
    step(x, v, r, t, torch.ones_like(t), rho, norm, relaxation=1)  # of v = u
    return State(x, v, r, data.contiguous(), t, rho, inverse_symbol(k, rho))


def inverse_symbol(k: KSpace, rho: Tensor, out: Tensor | None = None) -> Tensor:
    """Fourier symbol of the x-update's inverse; 0 where nothing determines the solution (the mean)."""
    symbol = torch.addcmul(k.weight, rho[:, None, None], k.laplacian, out=out).reciprocal_()
    symbol[:, 0, 0] = torch.where(k.weight[0, 0] > 0, symbol[:, 0, 0], 0)
    return symbol


def x_update(s: State, k: KSpace, look: bool = False) -> Tensor | None:
    """x = (A*A + rho grad* grad)^-1 (A* y + r). Returns the spectrum of r where sampled, if ``look``."""
    spectrum = fourier(s.r)
    r_sampled = k.gather(spectrum) if look else None
    if s.x.device.type == "cpu":
        _run(_solve_cpu, len(s.x), _flat(spectrum), _flat(s.data), k.sampled.numpy(), _flat(s.inverse))
    else:
        spectrum.flatten(1).index_add_(1, k.sampled, s.data)
        spectrum.mul_(s.inverse)
    s.x = inverse_fourier(spectrum, k)
    return r_sampled


def v_update(s: State, k: KSpace, norm: Norm, ratio: Tensor | None = None) -> None:
    """In place: z- and u-update, then r = rho grad*(z - u) for a threshold changed from t to ratio * t."""
    if ratio is None:
        step(s.x, s.v, s.r, s.t, torch.ones_like(s.t), s.rho, norm)
        return
    rho = s.rho / ratio
    step(s.x, s.v, s.r, s.t, ratio, rho, norm)
    if bool((ratio != 1).any()):
        s.t, s.rho = s.t * ratio, rho
        inverse_symbol(k, rho, out=s.inverse)


def recorded_v_update(s: State, norm: Norm) -> Tensor:
    """`v_update` with an unchanged threshold; returns the `jacobian` of the new v."""
    fused = norm is separable and s.x.device.type == "cpu"
    active = torch.empty(real_view(s.v).shape, dtype=torch.bool) if fused else None
    step(s.x, s.v, s.r, s.t, torch.ones_like(s.t), s.rho, norm, active=active)
    return jacobian(s.v, s.t, norm) if active is None else active if s.v.is_complex() else active[..., 0]


def step(
    x: Tensor,
    v: Tensor,
    r: Tensor,
    t: Tensor,
    ratio: Tensor,
    rho: Tensor,
    norm: Norm,
    relaxation: float = RELAXATION,
    active: Tensor | None = None,
) -> None:
    """`v_update` on bare tensors; ``rho`` is the new one. For ``active`` see `recorded_v_update`."""
    if norm is separable and x.device.type == "cpu":
        scalars = t.numpy(), ratio.numpy(), rho.numpy(), float(relaxation), 1 + x.is_complex()
        seen = np.empty((0, 0, 0, 0), bool) if active is None else active.flatten(3).numpy()
        bands = _bands(v)
        _run(_step_cpu, bands * len(v), bands, _rows(x), _rows(v), _rows(r), *scalars, seen)
        return
    v += relaxation * (gradient(x) - v + project(v, t, norm))
    u = project(v, t, norm)
    v += (ratio[:, None, None, None] - 1) * u
    r.copy_(gradient_adjoint(v - 2 * ratio[:, None, None, None] * u) * rho[:, None, None])


def measure(x: Tensor, v: Tensor, t: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """Total variation of x, and the largest group magnitude of p/rho = grad x - z + u."""
    if norm is separable and x.device.type == "cpu":
        total, violation = np.empty(len(x)), np.empty(len(x))
        _run(_measure_cpu, len(x), _rows(x), _rows(v), t.numpy(), 1 + x.is_complex(), total, violation)
        return torch.from_numpy(total), torch.from_numpy(violation)
    d = gradient(x)
    q = d - v + 2 * project(v, t, norm)
    return total_norm(d, norm), norm(real_view(q)).amax((-4, -3, -2, -1)).double()


def multiplier(v: Tensor, t: Tensor, rho: Tensor, norm: Norm) -> Tensor:
    """rho u, the dual field of an `Iterate`."""
    if norm is separable and v.device.type == "cpu":
        p = torch.empty_like(v)
        _run(_multiplier_cpu, len(v), _flat(v), t.numpy(), rho.numpy(), _flat(p))
        return p
    return project(v, t, norm) * rho[:, None, None, None]


def dual_point(x: Tensor, v: Tensor, t: Tensor, rho: Tensor, norm: Norm) -> Tensor:
    """p = rho (grad x - z + u), which has the divergence that a dual point must have where the x-update left off."""
    if norm is separable and x.device.type == "cpu":
        p = torch.empty_like(v)
        _run(_dual_cpu, len(x), _rows(x), _rows(v), t.numpy(), rho.numpy(), 1 + x.is_complex(), _rows(p))
        return p
    return (gradient(x) - v + 2 * project(v, t, norm)) * rho[:, None, None, None]


def add_gradient(p: Tensor, x: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """p + grad x, which may overwrite p, and its largest group magnitude. Both have one dtype and any batch shape."""
    if norm is separable and x.device.type == "cpu":
        p, largest = p.contiguous(), np.empty(math.prod(x.shape[:-2]))
        rows = _rows(x.reshape(-1, *x.shape[-2:])), _rows(p.view(-1, *p.shape[-3:]))
        _run(_add_gradient_cpu, len(largest), *rows, 1 + x.is_complex(), largest)
        return p, torch.from_numpy(largest).view(x.shape[:-2])
    p = p + gradient(x)
    return p, norm(real_view(p)).amax((-4, -3, -2, -1)).double()


def residual(y: Tensor, r: Tensor, rho: Tensor, k: KSpace) -> tuple[Tensor, Tensor]:
    """Squared norm of y - A x, and its inner product with y, both ``(b,)`` float64, after an x-update.

    ``y``, complex128, and ``r``, what `x_update` returned, are spectra at the sampled positions, ``(b, s)``. The
    difference comes from the x-update itself, since that of y and A x would be lost in rounding.
    """
    if y.device.type == "cpu":
        misfit, inner = torch.empty(len(y), dtype=torch.float64), torch.empty(len(y), dtype=torch.float64)
        symbols = k.weight_s.numpy(), k.laplacian_s.numpy(), k.importance.numpy()
        _run(_residual_cpu, len(y), _flat(y), _flat(r), rho.numpy(), *symbols, misfit.numpy(), inner.numpy())
        return misfit, inner
    stiffness = rho.double()[:, None] * k.laplacian_s
    off = torch.where(stiffness > 0, (stiffness * y - r) / (k.weight_s + stiffness), 0)
    return (k.importance * off.abs().square()).sum(-1), (k.importance * (off.conj() * y).real).sum(-1)


def adjoint(g: Tensor, jacobians: Sequence[Tensor], rho: Tensor, inverse: Tensor, k: KSpace, norm: Norm) -> Tensor:
    """Adjoint of the derivative of the last x with respect to the data, applied to ``g`` (it is overwritten).

    ``jacobians`` are those of the fields v before each x-update but the first, in their order. The result is a spectrum
    at the sampled positions, ``(b, s)``: the gradient with respect to y is `KSpace.measured` of it.
    """
    w = g.new_empty(len(g), 2, *g.shape[1:])
    total = g.new_zeros(len(g), len(k.sampled), dtype=g.dtype.to_complex())
    for count, j in enumerate((*reversed(jacobians), None)):
        spectrum = fourier(g)
        if g.device.type == "cpu":
            _run(_solve_adjoint_cpu, len(g), _flat(spectrum), _flat(inverse), k.sampled.numpy(), _flat(total))
        else:
            spectrum.mul_(inverse)
            total += k.gather(spectrum)
        if j is not None:
            pull_back(inverse_fourier(spectrum, k), w, j, g, rho, norm, fresh=count == 0)
    return total


def jacobian(v: Tensor, t: Tensor, norm: Norm) -> Tensor:
    """What `pull_back` needs of v: where it exceeds the threshold (separable), or v in units of t."""
    if norm is separable:
        active = real_view(v).abs() > t[:, None, None, None, None]
        return active if v.is_complex() else active[..., 0]
    return v / t[:, None, None, None]


def pull_back(q: Tensor, w: Tensor, j: Tensor, out: Tensor, rho: Tensor, norm: Norm, fresh: bool = False) -> None:
    r"""In place, one iteration of the derivative's adjoint, from w of one v to that of the v before.

    With J the derivative of z = v - P_t(v), a symmetric matrix, the derivative of an iteration is
    :math:`dv^+ = dv + \alpha(\nabla dx - J dv)`, and x depends on v by :math:`\varrho \nabla^*(2J - I) dv`.
    Here ``q`` is the adjoint of x after the x-update's inverse, and ``out`` becomes that of the next x-update. If
    ``fresh``, w is taken to be 0, whatever it holds.
    """
    if norm is separable and w.device.type == "cpu":
        active = (j.flatten(-2) if w.is_complex() else j).numpy()
        scalars = rho.numpy(), RELAXATION, 1 + w.is_complex(), fresh
        bands = _bands(w)
        _run(_pull_back_cpu, bands * len(w), bands, _rows(q), _rows(w), active, _rows(out), *scalars)
        return
    if fresh:
        w.zero_()
    d = rho[:, None, None, None] * gradient(q)
    w += apply_jacobian(j, 2 * d - RELAXATION * w, norm) - d
    out.copy_(RELAXATION * gradient_adjoint(w))


def apply_jacobian(j: Tensor, w: Tensor, norm: Norm) -> Tensor:
    """The derivative of z = v - P_t(v) in the direction w; ``j`` from `jacobian`."""
    if norm is separable:
        return torch.view_as_complex(torch.view_as_real(w) * j) if w.is_complex() else w * j
    with torch.enable_grad():
        v = j.detach().requires_grad_()
        p = project(v, torch.ones(len(v), dtype=v.real.dtype, device=v.device), norm)
        return w - torch.autograd.grad(p, v, w)[0]  # the derivative of a projection on a convex set is symmetric


def project(v: Tensor, t: Tensor, norm: Norm) -> Tensor:
    """Projection on the dual ball of radius t, group by group."""
    d, t = real_view(v), t[:, None, None, None, None]
    d = d * (t / torch.maximum(norm(d), t))
    return torch.view_as_complex(d) if v.is_complex() else d[..., 0]


def squared_norm(a: Tensor, dims: int = 1, differentiable: bool = False) -> Tensor:
    """Sum of squared moduli over the last dimensions, in float64."""
    a = real_view(a.resolve_conj()).flatten(-dims - 1)
    if differentiable or a.device.type != "cpu":
        return torch.linalg.vector_norm(a, dim=-1, dtype=torch.float64).square()
    a = a.detach()
    total = np.empty(math.prod(a.shape[:-1]))
    _run(_squared_norm_cpu, len(total), a.reshape(len(total), a.shape[-1]).contiguous().numpy(), total)
    return torch.from_numpy(total).view(a.shape[:-1])


def total_norm(d: Tensor, norm: Norm) -> Tensor:
    """The norm of fields ``(..., 2, n, n)``, summed in float64."""
    return norm(real_view(d)).sum((-4, -3, -2, -1), dtype=torch.float64)


def real_view(d: Tensor) -> Tensor:
    """``(..., c)`` real, c = 1 or 2."""
    return torch.view_as_real(d) if d.is_complex() else d[..., None]


def mirror(grid: Tensor) -> Tensor:
    """The grid at -k, modulo n, in the order of torch.fft."""
    return grid.flip(-2, -1).roll((1, 1), (-2, -1))


def fourier(x: Tensor) -> Tensor:
    """Unitary transform of real (half of k-space) or complex images."""
    # without out=, which makes torch copy the result
    return (torch.fft.fft2 if x.is_complex() else torch.fft.rfft2)(x, norm="ortho").contiguous()


def inverse_fourier(spectrum: Tensor, k: KSpace) -> Tensor:
    """The inverse of `fourier`."""
    if k.second is None:
        return torch.fft.ifft2(spectrum, norm="ortho").contiguous()
    return torch.fft.irfft2(spectrum, s=2 * k.weight.shape[:1], norm="ortho").contiguous()


def _padded(y: Tensor) -> Tensor:
    return torch.cat([y, torch.zeros_like(y[..., :1])], -1)


def _rows(a: Tensor) -> np.ndarray:
    """The same memory with rows of n or, real and imaginary parts interleaved, 2n numbers; never a copy."""
    return (torch.view_as_real(a).view(*a.shape[:-1], -1) if a.is_complex() else a).numpy()


def _flat(a: Tensor) -> np.ndarray:
    """The same memory, image by image, a complex number as two real ones."""
    a = torch.view_as_real(a) if a.is_complex() else a
    return a.view(len(a), math.prod(a.shape[1:])).numpy()


# The element-wise passes over x and v, each in one sweep. A row holds c = 1 or 2 numbers a pixel; x_next is the
# neighbour in the direction at hand, for the second direction in a copy of the row that ends with its first pixel.
# Written as functions of whole rows so that the compiler vectorises them. They are inlined: that is a third faster, and
# gives the same bits whether numba compiles a caller or has it in its cache (a row that is called has a copy for each).
# The cache is not safe: two processes that compile a kernel at the same moment, for different types, can mix up theirs.
# Then calls say "can't unbox array", and deleting lib/__pycache__ mends it.
_options = {"cache": True, "nogil": True, "fastmath": True}
_compile = numba.njit(**_options)
_inline = numba.njit(forceinline=True, **_options)


def _compile_twice(function: Callable[..., None]) -> tuple[Callable[..., None], Callable[..., None]]:
    """For one thread, where prange is range, and for several; see `_run`."""
    name = f"{function.__name__}_threads"  # numba's cache tells functions apart by their names
    twin = types.FunctionType(function.__code__, function.__globals__, name)
    twin.__qualname__ = name
    return _compile(function), numba.njit(parallel=True, **_options)(twin)


@functools.cache
def _can_thread() -> bool:
    """Whether numba has threads that may be used from two Python threads at once, which its own may not."""
    if sys.platform != "linux":  # elsewhere, a second copy of OpenMP beside torch's can end the process
        return False
    try:
        importlib.import_module("numba.np.ufunc.omppool")
        if numba.config.THREADING_LAYER == "default":
            numba.config.THREADING_LAYER = "omp"
        numba.get_num_threads()  # starts them, if they were not
    except (ImportError, ValueError):
        return False
    return numba.threading_layer() in ("omp", "tbb")


def _threads(size: int) -> int:
    """How many threads for an array of this size: one, or as many as torch has."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    return threads if threads > 1 and size >= THREADS_FROM and _can_thread() else 1


def _bands(v: Tensor) -> int:
    """How many bands of rows each image ``(b, 2, n, n)`` is cut into, so that there is one for each thread."""
    return -(-_threads(_rows(v).size) // max(1, len(v)))


def _run(kernels: tuple[Callable[..., None], Callable[..., None]], tasks: int, *arguments: object) -> None:
    """A kernel of `_compile_twice`, on several threads if it has as many tasks and its largest array is worth it."""
    threads = min(tasks, _threads(max(a.size for a in arguments if isinstance(a, np.ndarray))))
    if threads < 2:
        kernels[0](*arguments)
        return
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        kernels[1](*arguments)
    finally:
        numba.set_num_threads(before)


@_inline
def _filter_row(spectrum, inverse):
    for k in range(inverse.shape[0]):
        spectrum[2 * k] *= inverse[k]
        spectrum[2 * k + 1] *= inverse[k]


@_compile_twice
def _solve_cpu(spectrum, data, sampled, inverse):
    for b in numba.prange(inverse.shape[0]):
        for s, k in enumerate(sampled):
            spectrum[b, 2 * k] += data[b, 2 * s]
            spectrum[b, 2 * k + 1] += data[b, 2 * s + 1]
        _filter_row(spectrum[b], inverse[b])


@_compile_twice
def _solve_adjoint_cpu(spectrum, inverse, sampled, total):
    for b in numba.prange(inverse.shape[0]):
        _filter_row(spectrum[b], inverse[b])
        for s, k in enumerate(sampled):
            total[b, 2 * s] += spectrum[b, 2 * k]
            total[b, 2 * s + 1] += spectrum[b, 2 * k + 1]


@_compile_twice
def _values_cpu(first, second, y, values):
    for b in numba.prange(y.shape[0]):
        for s in range(first.shape[0]):
            i, j = 2 * first[s], 2 * second[s]
            re = im = y.dtype.type(0)
            if i < y.shape[1]:
                re, im = y[b, i], y[b, i + 1]
            if j < y.shape[1]:
                re, im = re + y[b, j], im - y[b, j + 1]
            values[b, 2 * s], values[b, 2 * s + 1] = re / 2, im / 2


@_inline
def _squares(a):
    total = 0.0
    for j in range(a.shape[0]):
        total += np.float64(a[j]) ** 2
    return total


@_compile_twice
def _squared_norm_cpu(a, total):
    for b in numba.prange(a.shape[0]):
        total[b] = _squares(a[b])


@_compile_twice
def _odd_cpu(y, first, second, weight, importance, odd):
    for b in numba.prange(y.shape[0]):
        odd[b] = 0
        for s in range(first.shape[0]):
            if weight[s] == 1:  # both k and -k are sampled
                i, j = 2 * first[s], 2 * second[s]
                re, im = np.float64(y[b, i] - y[b, j]), np.float64(y[b, i + 1] + y[b, j + 1])
                odd[b] += importance[s] * (re * re + im * im)


@_compile_twice
def _residual_cpu(y, r, rho, weight, laplacian, importance, misfit, inner):
    for b in numba.prange(rho.shape[0]):
        misfit[b] = inner[b] = 0
        for s in range(weight.shape[0]):
            stiffness = rho[b] * laplacian[s]
            f = 1 / (weight[s] + stiffness) if stiffness > 0 else 0.0
            re, im = f * (stiffness * y[b, 2 * s] - r[b, 2 * s]), f * (stiffness * y[b, 2 * s + 1] - r[b, 2 * s + 1])
            misfit[b] += importance[s] * (re * re + im * im)
            inner[b] += importance[s] * (re * y[b, 2 * s] + im * y[b, 2 * s + 1])


@_inline
def _multiplier_row(v, t, rho, p):
    for j in range(v.shape[0]):
        p[j] = rho * min(max(v[j], -t), t)


@_compile_twice
def _multiplier_cpu(v, t, rho, p):
    for b in numba.prange(v.shape[0]):
        _multiplier_row(v[b], t[b], rho[b], p[b])


@_inline
def _wrap(row, ring, c):
    for j in range(row.shape[0]):
        ring[j] = row[j]
    for j in range(c):
        ring[row.shape[0] + j] = row[j]


@_inline
def _step_row(x, x_next, v, q, t, less, more, alpha):
    for j in range(v.shape[0]):
        w = v[j]
        w += alpha * (x_next[j] - x[j] - w + min(max(w, -t), t))
        u = min(max(w, -t), t)
        v[j] = w + less * u  # z + ratio u with z = w - u
        q[j] = w - more * u  # z - ratio u


@_inline
def _adjoint_row(above, here, left, right, r, rho):
    for j in range(r.shape[0]):
        r[j] = rho * (above[j] - here[j] + left[j] - right[j])


@_inline
def _active_row(v, t, active):
    for j in range(v.shape[0]):
        active[j] = abs(v[j]) > t


@_compile_twice
def _step_cpu(bands, x, v, r, t, ratio, rho, relaxation, c, active):
    images, n, length = x.shape
    alpha, one = x.dtype.type(relaxation), x.dtype.type(1)
    last = np.empty((bands * images, length), x.dtype)
    for band in numba.prange(bands * images):
        b, h = band // bands, band % bands
        s = t[b], ratio[b] - one, ratio[b] + one, alpha
        ring = np.empty(length + c, x.dtype)
        down = np.zeros((2, length), x.dtype)
        right = np.empty(length + c, x.dtype)  # right[c + j] belongs to pixel j, right[:c] wraps around
        for i in range(h * n // bands, (h + 1) * n // bands):
            row, here, above = x[b, i], down[i % 2], down[1 - i % 2]
            _wrap(row, ring, c)
            _step_row(row, x[b, (i + 1) % n], v[b, 0, i], here, *s)
            _step_row(row, ring[c:], v[b, 1, i], right[c:], *s)
            for j in range(c):
                right[j] = right[length + j]
            _adjoint_row(above, here, right[:length], right[c:], r[b, i], rho[b])
            if len(active):
                _active_row(v[b, 0, i], t[b], active[b, 0, i])
                _active_row(v[b, 1, i], t[b], active[b, 1, i])
        for j in range(length):
            last[band, j] = down[((h + 1) * n // bands - 1) % 2, j]
    for band in range(bands * images):  # what the first row of a band lacks is in the last row of the band above
        b, i = band // bands, (band % bands + 1) * n // bands % n
        for j in range(length):
            r[b, i, j] += rho[b] * last[band, j]


@_inline
def _measure_row(x, x_next, v, largest, t):
    total = x.dtype.type(0)
    for j in range(v.shape[0]):
        w = v[j]
        d = x_next[j] - x[j]
        u = min(max(w, -t), t)
        total += abs(d)
        largest[j] = max(largest[j], abs(d - w + u + u))  # column by column: a single maximum would not vectorise
    return total


@_compile_twice
def _measure_cpu(x, v, t, c, total, largest):
    images, n, length = x.shape
    for b in numba.prange(images):
        ring, columns = np.empty(length + c, x.dtype), np.zeros(length, x.dtype)
        total[b] = 0
        for i in range(n):
            _wrap(x[b, i], ring, c)
            total[b] += _measure_row(x[b, i], x[b, (i + 1) % n], v[b, 0, i], columns, t[b])
            total[b] += _measure_row(x[b, i], ring[c:], v[b, 1, i], columns, t[b])
        largest[b] = columns.max()


@_inline
def _dual_row(x, x_next, v, p, t, rho):
    for j in range(v.shape[0]):
        w = v[j]
        u = min(max(w, -t), t)
        p[j] = rho * (x_next[j] - x[j] - w + u + u)


@_compile_twice
def _dual_cpu(x, v, t, rho, c, p):
    for b in numba.prange(x.shape[0]):
        ring = np.empty(x.shape[2] + c, x.dtype)
        for i in range(x.shape[1]):
            _wrap(x[b, i], ring, c)
            _dual_row(x[b, i], x[b, (i + 1) % x.shape[1]], v[b, 0, i], p[b, 0, i], t[b], rho[b])
            _dual_row(x[b, i], ring[c:], v[b, 1, i], p[b, 1, i], t[b], rho[b])


@_inline
def _add_gradient_row(x, x_next, p, largest):
    for j in range(p.shape[0]):
        p[j] += x_next[j] - x[j]
        largest[j] = max(largest[j], abs(p[j]))


@_compile_twice
def _add_gradient_cpu(x, p, c, largest):
    for b in numba.prange(x.shape[0]):
        ring, columns = np.empty(x.shape[2] + c, x.dtype), np.zeros(x.shape[2], x.dtype)
        for i in range(x.shape[1]):
            _wrap(x[b, i], ring, c)
            _add_gradient_row(x[b, i], x[b, (i + 1) % x.shape[1]], p[b, 0, i], columns)
            _add_gradient_row(x[b, i], ring[c:], p[b, 1, i], columns)
        largest[b] = columns.max()


@_inline
def _pull_back_row(q, q_next, w, active, rho, alpha, fresh):
    if fresh:
        for j in range(w.shape[0]):
            d = rho * (q_next[j] - q[j])
            w[j] = d if active[j] else -d
        return
    for j in range(w.shape[0]):
        d = rho * (q_next[j] - q[j])
        w[j] += d - alpha * w[j] if active[j] else -d


@_inline
def _pull_back_adjoint(w, i, right, out, alpha, c):
    n, length = out.shape
    for j in range(length):
        right[c + j] = w[1, i, j]
    for j in range(c):
        right[j] = right[length + j]
    _adjoint_row(w[0, (i - 1) % n], w[0, i], right[:length], right[c:], out[i], alpha)


@_compile_twice
def _pull_back_cpu(bands, q, w, active, out, rho, relaxation, c, fresh):
    images, n, length = q.shape
    alpha = q.dtype.type(relaxation)
    for band in numba.prange(bands * images):
        b, h = band // bands, band % bands
        ring, right = np.empty(length + c, q.dtype), np.empty(length + c, q.dtype)
        for i in range(h * n // bands, (h + 1) * n // bands):
            _wrap(q[b, i], ring, c)
            s = rho[b], alpha, fresh
            _pull_back_row(q[b, i], q[b, (i + 1) % n], w[b, 0, i], active[b, 0, i], *s)
            _pull_back_row(q[b, i], ring[c:], w[b, 1, i], active[b, 1, i], *s)
            if i > h * n // bands:
                _pull_back_adjoint(w[b], i, right, out[b], alpha, c)
    right = np.empty(length + c, q.dtype)
    for band in range(bands * images):  # the first row of each band needs the last of the band above
        b = band // bands
        _pull_back_adjoint(w[b], band % bands * n // bands, right, out[b], alpha, c)
