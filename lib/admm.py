"""The ADMM iteration of `lib.tv`: its state, its compiled kernels, and its derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
import torch
from torch import Tensor

from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol

RELAXATION = 1.9  # over-relaxation alpha in (0, 2)

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
        y = _padded(y)
        if self.second is None:
            return y[..., self.first]
        return (y[..., self.first] + y[..., self.second].conj()) / 2

    def odd_part(self, y: Tensor) -> Tensor:
        """Squared norm of the part of y that no real image explains, over the pairs k, -k that are both sampled."""
        y, pairs = _padded(y), self.importance * (self.weight_s == 1)
        return (pairs * (y[..., self.first] - y[..., self.second].conj()).abs().double().square()).sum(-1)

    def scatter(self, values: Tensor) -> Tensor:
        """The grid ``(..., n, w)`` with the given values at the sampled positions."""
        grid = values.new_zeros(*values.shape[:-1], self.weight.numel())
        return grid.index_copy(-1, self.sampled, values).unflatten(-1, self.weight.shape)

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
    """The ADMM iteration on a batch of b images, real or complex. It is updated in place.

    Attributes
    ----------
    x : ``(b, n, n)``, images.
    v : ``(b, 2, n, n)``, splitting variable plus scaled multiplier, v = z + u.
    r : ``(b, n, n)``, the right-hand side rho grad*(z - u) of the next x-update.
    data : ``(b, n, w)``, the data's part of that right-hand side, in k-space.
    spectrum : ``(b, n, w)``, work space.
    t, rho : ``(b,)``, threshold and penalty.
    inverse : ``(b, n, w)``, Fourier symbol of the x-update's inverse.
    """

    x: Tensor
    v: Tensor
    r: Tensor
    data: Tensor
    spectrum: Tensor
    t: Tensor
    rho: Tensor
    inverse: Tensor

    def keep(self, which: Tensor) -> State:
        """The state of the images ``which`` (bool) alone."""
        return State(*(getattr(self, field.name)[which] for field in fields(self)))


def start(k: KSpace, values: Tensor, lam: Tensor, t: Tensor, x: Tensor, v: Tensor, norm: Norm) -> State:
    """The state before the first x-update, for the data ``values`` (see `KSpace.values`) and the field ``v``."""
    rho = lam.to(t.dtype) / t
    x, v = x.contiguous(), v.contiguous()
    r = torch.empty_like(x)
    step(x, v, r, t, torch.ones_like(t), rho, norm, relaxation=0)  # only r
    data = k.scatter(values)
    return State(x, v, r, data, torch.empty_like(data), t, rho, inverse_symbol(k, rho))


def inverse_symbol(k: KSpace, rho: Tensor) -> Tensor:
    """Fourier symbol of the x-update's inverse; 0 where nothing determines the solution (the mean)."""
    symbol = k.weight + rho[:, None, None] * k.laplacian
    return torch.where(symbol > 0, 1 / symbol, 0)


def x_update(s: State, k: KSpace, look: bool = False) -> Tensor | None:
    """In place: x = (A*A + rho grad* grad)^-1 (A* y + r). Returns the spectrum of r where sampled, if ``look``."""
    fourier(s.r, s.spectrum)
    r_sampled = k.gather(s.spectrum) if look else None
    if s.x.device.type == "cpu":
        spectrum, data = (torch.view_as_real(a).flatten(1).numpy() for a in (s.spectrum, s.data))
        _solve_cpu(spectrum, data, s.inverse.flatten(1).numpy())
    else:
        s.spectrum.add_(s.data).mul_(s.inverse)
    inverse_fourier(s.spectrum, s.x)
    return r_sampled


def v_update(s: State, k: KSpace, norm: Norm, ratio: Tensor | None = None) -> None:
    """In place: z- and u-update, then r = rho grad*(z - u) for a threshold changed from t to ratio * t."""
    factor = torch.ones_like(s.t) if ratio is None else ratio
    rho = s.rho / factor
    step(s.x, s.v, s.r, s.t, factor, rho, norm)
    if ratio is not None and bool((ratio != 1).any()):
        s.t, s.rho, s.inverse = s.t * ratio, rho, inverse_symbol(k, rho)


def step(
    x: Tensor, v: Tensor, r: Tensor, t: Tensor, ratio: Tensor, rho: Tensor, norm: Norm, relaxation: float = RELAXATION
) -> None:
    """`v_update` on bare tensors; ``rho`` is the new one."""
    if norm is separable and x.device.type == "cpu":
        scalars = t.numpy(), ratio.numpy(), rho.numpy(), float(relaxation), 1 + x.is_complex()
        _step_cpu(_rows(x), _rows(v), _rows(r), *scalars)
        return
    v += relaxation * (gradient(x) - v + project(v, t, norm))
    u = project(v, t, norm)
    v += (ratio[:, None, None, None] - 1) * u
    r.copy_(gradient_adjoint(v - 2 * ratio[:, None, None, None] * u) * rho[:, None, None])


def measure(x: Tensor, v: Tensor, t: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """Total variation of x, and the largest group magnitude of p/rho = grad x - z + u."""
    if norm is separable and x.device.type == "cpu":
        total, violation = np.empty(len(x)), np.empty(len(x))
        _measure_cpu(_rows(x), _rows(v), t.numpy(), 1 + x.is_complex(), total, violation)
        return torch.from_numpy(total), torch.from_numpy(violation)
    d = gradient(x)
    q = d - v + 2 * project(v, t, norm)
    return total_norm(d, norm), norm(real_view(q)).amax((-4, -3, -2, -1)).double()


def adjoint(g: Tensor, jacobians: Sequence[Tensor], rho: Tensor, inverse: Tensor, k: KSpace, norm: Norm) -> Tensor:
    """Adjoint of the derivative of the last x with respect to the data, applied to ``g`` (which is overwritten).

    ``jacobians`` are those of the fields v before each x-update, first to last. The result is a spectrum at the
    sampled positions, ``(b, s)``: the gradient with respect to y is `KSpace.measured` of it.
    """
    w, q = torch.zeros_like(gradient(g)), torch.empty_like(g)
    spectrum = torch.empty_like(inverse, dtype=g.dtype.to_complex())
    total = torch.zeros((), dtype=spectrum.dtype, device=g.device)
    for j in reversed(jacobians):
        fourier(g, spectrum)
        spectrum.mul_(inverse)
        total = total + k.gather(spectrum)
        inverse_fourier(spectrum, q)
        pull_back(q, w, j, g, rho, norm)
    return total


def jacobian(v: Tensor, t: Tensor, norm: Norm) -> Tensor:
    """What `pull_back` needs of v: where it exceeds the threshold (separable), or v in units of t."""
    if norm is separable:
        active = torch.empty(real_view(v).shape, dtype=torch.bool, device=v.device)
        if v.device.type == "cpu":
            _active_cpu(real_view(v).flatten(1).numpy(), t.numpy(), active.flatten(1).numpy())
        else:
            torch.gt(real_view(v).abs(), t[:, None, None, None, None], out=active)
        return active if v.is_complex() else active[..., 0]
    return v / t[:, None, None, None]


def pull_back(q: Tensor, w: Tensor, j: Tensor, out: Tensor, rho: Tensor, norm: Norm) -> None:
    r"""In place, one iteration of the derivative's adjoint, from w of one v to that of the v before.

    With J the derivative of z = v - P_t(v), a symmetric matrix, the derivative of an iteration is
    :math:`dv^+ = dv + \alpha(\nabla dx - J dv)`, and x depends on v by :math:`\varrho \nabla^*(2J - I) dv`.
    Here ``q`` is the adjoint of x after the x-update's inverse, and ``out`` becomes that of the next x-update.
    """
    if norm is separable and w.device.type == "cpu":
        active = (j.flatten(-2) if w.is_complex() else j).numpy()
        _pull_back_cpu(_rows(q), _rows(w), active, _rows(out), rho.numpy(), RELAXATION, 1 + w.is_complex())
        return
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


def total_norm(d: Tensor, norm: Norm) -> Tensor:
    """The norm of fields ``(..., 2, n, n)``, summed in float64."""
    return norm(real_view(d)).sum((-4, -3, -2, -1), dtype=torch.float64)


def real_view(d: Tensor) -> Tensor:
    """``(..., c)`` real, c = 1 or 2."""
    return torch.view_as_real(d) if d.is_complex() else d[..., None]


def mirror(grid: Tensor) -> Tensor:
    """The grid at -k, modulo n, in the order of torch.fft."""
    return grid.flip(-2, -1).roll((1, 1), (-2, -1))


def fourier(x: Tensor, out: Tensor) -> None:
    """Unitary transform of real (half of k-space) or complex images, without allocation."""
    (torch.fft.fft2 if x.is_complex() else torch.fft.rfft2)(x, norm="ortho", out=out)


def inverse_fourier(spectrum: Tensor, out: Tensor) -> None:
    """The inverse of `fourier`. For real images it may overwrite the spectrum."""
    if out.is_complex():
        torch.fft.ifft2(spectrum, norm="ortho", out=out)
    else:
        torch.fft.irfft2(spectrum, s=out.shape[-2:], norm="ortho", out=out)


def _padded(y: Tensor) -> Tensor:
    return torch.cat([y, torch.zeros_like(y[..., :1])], -1)


def _rows(a: Tensor) -> np.ndarray:
    """The same memory with rows of n or, real and imaginary parts interleaved, 2n numbers; never a copy."""
    return (torch.view_as_real(a).view(*a.shape[:-1], -1) if a.is_complex() else a).numpy()


# The element-wise passes over x and v, each in one sweep. A row holds c = 1 or 2 numbers a pixel; x_next is
# the neighbour in the direction at hand. Written as functions of one row so that the compiler vectorises them.
_compile = functools.partial(numba.njit, cache=True, nogil=True, fastmath=True)


@_compile
def _solve_cpu(spectrum, data, inverse):
    for b in range(inverse.shape[0]):
        for k in range(inverse.shape[1]):
            f = inverse[b, k]
            spectrum[b, 2 * k] = (spectrum[b, 2 * k] + data[b, 2 * k]) * f
            spectrum[b, 2 * k + 1] = (spectrum[b, 2 * k + 1] + data[b, 2 * k + 1]) * f


@_compile
def _step_row(x, x_next, v, q, t, ratio, alpha):
    for j in range(v.shape[0]):
        w = v[j]
        w += alpha * (x_next[j] - x[j] - w + min(max(w, -t), t))
        u = min(max(w, -t), t)
        z, u = w - u, ratio * u
        v[j] = z + u
        q[j] = z - u


@_compile
def _adjoint_row(above, here, left, right, r, rho):
    for j in range(r.shape[0]):
        r[j] = rho * (above[j] - here[j] + left[j] - right[j])


@_compile
def _step_cpu(x, v, r, t, ratio, rho, relaxation, c):
    images, n, length = x.shape
    alpha = x.dtype.type(relaxation)
    down = np.empty((2, length), x.dtype)
    right = np.empty(length + c, x.dtype)  # right[c + j] belongs to pixel j, right[:c] wraps around
    for b in range(images):
        s = t[b], ratio[b], alpha
        down[1] = 0
        for i in range(n):
            row, here, above = x[b, i], down[i % 2], down[1 - i % 2]
            _step_row(row, x[b, (i + 1) % n], v[b, 0, i], here, *s)
            _step_row(row[:-c], row[c:], v[b, 1, i, :-c], right[c:-c], *s)
            _step_row(row[-c:], row[:c], v[b, 1, i, -c:], right[-c:], *s)
            right[:c] = right[-c:]
            _adjoint_row(above, here, right[:-c], right[c:], r[b, i], rho[b])
        for j in range(length):
            r[b, 0, j] += rho[b] * down[(n - 1) % 2, j]


@_compile
def _measure_row(x, x_next, v, t):
    total, largest = x.dtype.type(0), x.dtype.type(0)
    for j in range(v.shape[0]):
        w = v[j]
        d = x_next[j] - x[j]
        u = min(max(w, -t), t)
        total += abs(d)
        largest = max(largest, abs(d - w + u + u))
    return total, largest


@_compile
def _measure_cpu(x, v, t, c, total, largest):
    for b in range(x.shape[0]):
        total[b] = largest[b] = 0.0
        for i in range(x.shape[1]):
            row, below = x[b, i], x[b, (i + 1) % x.shape[1]]
            for a, m in (
                _measure_row(row, below, v[b, 0, i], t[b]),
                _measure_row(row[:-c], row[c:], v[b, 1, i, :-c], t[b]),
                _measure_row(row[-c:], row[:c], v[b, 1, i, -c:], t[b]),
            ):
                total[b] += a
                largest[b] = max(largest[b], m)


@_compile
def _active_cpu(v, t, active):
    for b in range(v.shape[0]):
        for j in range(v.shape[1]):
            active[b, j] = abs(v[b, j]) > t[b]


@_compile
def _pull_back_row(q, q_next, w, active, rho, alpha):
    for j in range(w.shape[0]):
        d = rho * (q_next[j] - q[j])
        w[j] += d - alpha * w[j] if active[j] else -d


@_compile
def _pull_back_cpu(q, w, active, out, rho, relaxation, c):
    images, n, length = q.shape
    alpha = q.dtype.type(relaxation)
    right = np.empty(length + c, q.dtype)
    for b in range(images):
        s = rho[b], alpha
        for i in range(n):
            row, here = q[b, i], w[b, 0, i]
            _pull_back_row(row, q[b, (i + 1) % n], here, active[b, 0, i], *s)
            _pull_back_row(row[:-c], row[c:], w[b, 1, i, :-c], active[b, 1, i, :-c], *s)
            _pull_back_row(row[-c:], row[:c], w[b, 1, i, -c:], active[b, 1, i, -c:], *s)
            right[c:], right[:c] = w[b, 1, i], w[b, 1, i, -c:]
            if i > 0:
                _adjoint_row(w[b, 0, i - 1], here, right[:-c], right[c:], out[b, i], alpha)
        right[c:], right[:c] = w[b, 1, 0], w[b, 1, 0, -c:]
        _adjoint_row(w[b, 0, n - 1], w[b, 0, 0], right[:-c], right[c:], out[b, 0], alpha)
