"""The compiled loops behind `lib.tv`: the update of z and u, its derivative's adjoint, a sweep for the gap, and a copy.

Each loop does in one sweep over the image what plain torch does in a dozen; the formulas stand in `lib.tv`, which falls
back to them for other norms than `separable`, without numba, and on a GPU without Triton (`lib._gpu`). A complex image
is two real ones here: rows hold c = 1 or 2 numbers a pixel, and soft-thresholding acts on each number.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    import numba
    from numba.core.caching import IndexDataCacheFile
except ImportError:  # without it, `lib.tv` works with plain torch
    numba, IndexDataCacheFile = None, object

THREADS_FROM = 2**16  # numbers in an array, below which starting threads costs more than they save


@functools.cache  # once in a process
def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)


class _CacheFile(IndexDataCacheFile):
    """Numba's cache of compiled code with a checksum: what is damaged, or of another key, is compiled again."""

    def load(self, key: Any) -> Any:
        try:
            if (found := super().load(key)) is None or found[1] == self._digest(key, found[0]):
                return found and pickle.loads(found[0])
        except Exception:  # whatever unpickling makes of damaged bytes
            pass
        _warn("lib: the cache of compiled code was damaged, so this start compiles anew")
        return self.flush()

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(data)
        try:
            super().save(key, (content, self._digest(key, content)))
        except OSError as error:
            _warn(f"lib: compiled code is not kept: {error}")

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()

    @staticmethod
    def _digest(key: Any, content: bytes) -> bytes:
        return hashlib.sha256(repr(key).encode() + content).digest()


def _compiled(**options: bool) -> Callable[[Callable], Any]:
    def compiled(function: Callable) -> Any:
        if numba is None:
            return function
        loop = numba.njit(nogil=True, fastmath=True, **options)(function)
        try:
            loop.enable_caching()
            loop._cache._cache_file.__class__ = _CacheFile
        except (RuntimeError, OSError):
            _warn("lib: no folder for compiled code can be written, so each start compiles anew; set NUMBA_CACHE_DIR")
        return loop

    return compiled


_row = _compiled(forceinline=True)  # inlined, so that the compiler vectorises them in each caller
_serial = _compiled()
_threaded = _compiled(parallel=True)


def serves(x: Tensor) -> bool:
    """Whether the compiled loops can work on the device of x."""
    return numba is not None and x.device.type == "cpu"


def is_transformed(*tensors: Tensor) -> bool:
    """Whether forward-mode derivatives or torch.func are at work: compiled loops give neither, plain torch both."""
    if torch._C._are_functorch_transforms_active():
        return True
    return any(torch.autograd.forward_ad.unpack_dual(a).tangent is not None for a in tensors)


class VUpdate(torch.autograd.Function):
    r"""`lib.tv.v_update` for the separable norm on a CPU; ``v`` is overwritten.

    With J and :math:`J_+` the derivatives of shrinkage at v before and after the update, diagonal with entries 0 and 1,

    .. math::
        dv_+ = dv + \alpha(\nabla dx - J\, dv), \qquad db = \varrho\nabla^*(2J_+ - I)\, dv_+ ,

    and the adjoint, from w to (g_x, g_v):
    :math:`w = g_{v_+} + (2J_+ - I)\varrho\nabla g_b,\; g_v = (I - \alpha J) w,\; g_x = \alpha\nabla^* w`.
    Two bits of a byte for each real difference hold J and :math:`J_+`; nothing else is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, t: Tensor, rho: Tensor, relaxation: float) -> Any:
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(v)
        ctx.bits = torch.empty(rows(v).shape, dtype=torch.uint8)
        ctx.rho, ctx.relaxation = rho, float(relaxation)
        return v_update(x, v, t, rho, relaxation, bits=ctx.bits)

    @staticmethod
    def backward(ctx: Any, g_v: Tensor | None, g_b: Tensor | None) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("VUpdate: for second derivatives, which compiled loops do not have, use torch.func")
        g_b = torch.zeros_like(g_v[:, 0]) if g_b is None else g_b.resolve_conj().contiguous()  # type: ignore[index]
        given = g_b.new_empty(0, 0, 0, 0) if g_v is None else g_v.resolve_conj().contiguous()
        g_x, out = torch.empty_like(g_b), g_b.new_empty(len(g_b), 2, *g_b.shape[1:])
        _run(
            (_v_adjoint, _v_adjoint_threads), out, rows(g_b), rows(given), ctx.bits.numpy(), rows(out), rows(g_x),
            ctx.rho.numpy(), ctx.relaxation, 1 + g_b.is_complex(),
        )  # fmt: skip
        return g_x, out, None, None, None


def v_update(
    x: Tensor,
    v: Tensor,
    t: Tensor,
    rho: Tensor,
    relaxation: float,
    ratio: Tensor | None = None,
    b: Tensor | None = None,
    bits: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The update itself; ``bits``, uint8 of the shape of v's numbers, receives what the derivative needs."""
    x = x.resolve_conj().contiguous()
    b = torch.empty_like(x) if b is None else b
    bits = torch.empty(0, 0, 0, 0, dtype=torch.uint8) if bits is None else bits
    ratio = torch.ones_like(t) if ratio is None else ratio
    _run(
        (_v_update, _v_update_threads), v, rows(x), rows(v), rows(b), bits.numpy(), t.numpy(), ratio.numpy(),
        rho.numpy(), float(relaxation), 1 + x.is_complex(),
    )  # fmt: skip
    return v, b


def sweep(x: Tensor, v: Tensor, t: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""`lib.tv.sweep` for the separable norm on a CPU."""
    x, v = x.resolve_conj().contiguous(), v.contiguous()
    total, largest, g = np.empty(len(x)), np.empty(len(x)), torch.empty_like(x)
    numbers = t.numpy(), rho.numpy(), 1 + x.is_complex()
    _run((_sweep, _sweep_threads), v, rows(x), rows(v), rows(g), *numbers, total, largest)
    return torch.from_numpy(total), torch.from_numpy(largest), g


def row_by_row(a: Tensor) -> Tensor:
    """A contiguous copy of complex images ``(b, n, w)`` that lie in memory column by column. It has no derivative."""
    out = torch.empty_like(a, memory_format=torch.contiguous_format)
    _run((_turn, _turn_threads), out, a.mT.numpy(), out.numpy())
    return out


def rows(a: Tensor) -> np.ndarray:
    """The same memory with rows of n or, real and imaginary parts interleaved, 2n numbers; never a copy."""
    return (torch.view_as_real(a).view(*a.shape[:-1], 2 * a.shape[-1]) if a.is_complex() else a).detach().numpy()


# --- Threads


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


def _run(loops: tuple[Any, Any], v: Tensor, *arguments: object) -> None:
    """One of the loops, on as many threads as torch has if v is worth it: bands of rows for each image."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads < 2 or v.numel() * (1 + v.is_complex()) < THREADS_FROM or not _can_thread():
        loops[0](1, *arguments)
        return
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        loops[1](-(-threads // len(v)), *arguments)
    finally:
        numba.set_num_threads(before)


# --- The update


@_row
def _wrap(row, ring, c):
    """ring = row and its first pixel again: from the c-th number on, the neighbours on the right."""
    for j in range(row.shape[0]):
        ring[j] = row[j]
    for j in range(c):
        ring[row.shape[0] + j] = row[j]


@_row
def _v_row(x, x_next, v, q, bits, t, less, more, alpha):
    """v <- v + alpha (grad x - v + P v), then v <- z + ratio u and q = z - ratio u; less and more are ratio -+ 1."""
    for j in range(bits.shape[0]):
        bits[j] = abs(v[j]) > t
    for j in range(v.shape[0]):
        w = v[j]
        w += alpha * (x_next[j] - x[j] - w + min(max(w, -t), t))
        u = min(max(w, -t), t)
        v[j] = w + less * u
        q[j] = w - more * u
    for j in range(bits.shape[0]):
        bits[j] += 2 * (abs(v[j]) > t)


@_row
def _adjoint_row(above, here, left, right, b, rho):
    """b = rho grad* q."""
    for j in range(b.shape[0]):
        b[j] = rho * (above[j] - here[j] + left[j] - right[j])


@_row
def _v_band(band, bands, x, v, b, bits, t, ratio, rho, relaxation, c, last):
    i, h, n, length = band // bands, band % bands, x.shape[1], x.shape[2]
    alpha, none, one = x.dtype.type(relaxation), np.empty(0, np.uint8), x.dtype.type(1)
    numbers = t[i], ratio[i] - one, ratio[i] + one, alpha
    ring, down = np.empty(length + c, x.dtype), np.zeros((2, length), x.dtype)
    right = np.empty(length + c, x.dtype)  # right[c + j] belongs to pixel j, right[:c] wraps around
    for k in range(h * n // bands, (h + 1) * n // bands):
        recorded = len(bits) > 0
        _wrap(x[i, k], ring, c)
        _v_row(x[i, k], x[i, (k + 1) % n], v[i, 0, k], down[k % 2], bits[i, 0, k] if recorded else none, *numbers)
        _v_row(x[i, k], ring[c:], v[i, 1, k], right[c:], bits[i, 1, k] if recorded else none, *numbers)
        for j in range(c):
            right[j] = right[length + j]
        _adjoint_row(down[1 - k % 2], down[k % 2], right[:length], right[c:], b[i, k], rho[i])
    for j in range(length):
        last[band, j] = down[((h + 1) * n // bands - 1) % 2, j]


@_row
def _close(bands, last, b, rho):
    """What the first row of a band lacks is in the last row of the band above."""
    for band in range(len(last)):
        i, k = band // bands, (band % bands + 1) * b.shape[1] // bands % b.shape[1]
        for j in range(b.shape[2]):
            b[i, k, j] += rho[i] * last[band, j]


@_serial
def _v_update(bands, x, v, b, bits, t, ratio, rho, relaxation, c):
    last = np.empty((bands * len(x), x.shape[2]), x.dtype)
    for band in range(bands * len(x)):
        _v_band(band, bands, x, v, b, bits, t, ratio, rho, relaxation, c, last)
    _close(bands, last, b, rho)


@_threaded
def _v_update_threads(bands, x, v, b, bits, t, ratio, rho, relaxation, c):
    last = np.empty((bands * len(x), x.shape[2]), x.dtype)
    for band in numba.prange(bands * len(x)):
        _v_band(band, bands, x, v, b, bits, t, ratio, rho, relaxation, c, last)
    _close(bands, last, b, rho)


# --- Its derivative's adjoint


@_row
def _w_row(g, g_next, given, bits, out, w, rho, alpha):
    """w = given + (2 J+ - I) rho grad g_b and out = (I - alpha J) w."""
    for j in range(w.shape[0]):
        d = rho * (g_next[j] - g[j])
        w[j] = d if bits[j] > 1 else -d
    for j in range(given.shape[0]):
        w[j] += given[j]
    for j in range(w.shape[0]):
        out[j] = w[j] - alpha * w[j] if bits[j] & 1 else w[j]


@_row
def _w_band(band, bands, g, given, bits, out, g_x, rho, relaxation, c, last):
    i, h, n, length = band // bands, band % bands, g.shape[1], g.shape[2]
    alpha, none = g.dtype.type(relaxation), np.empty(0, g.dtype)
    ring, down = np.empty(length + c, g.dtype), np.zeros((2, length), g.dtype)
    right = np.empty(length + c, g.dtype)
    for k in range(h * n // bands, (h + 1) * n // bands):
        some = len(given) > 0
        _wrap(g[i, k], ring, c)
        first, second = given[i, 0, k] if some else none, given[i, 1, k] if some else none
        _w_row(g[i, k], g[i, (k + 1) % n], first, bits[i, 0, k], out[i, 0, k], down[k % 2], rho[i], alpha)
        _w_row(g[i, k], ring[c:], second, bits[i, 1, k], out[i, 1, k], right[c:], rho[i], alpha)
        for j in range(c):
            right[j] = right[length + j]
        _adjoint_row(down[1 - k % 2], down[k % 2], right[:length], right[c:], g_x[i, k], alpha)
    for j in range(length):
        last[band, j] = down[((h + 1) * n // bands - 1) % 2, j]


@_serial
def _v_adjoint(bands, g, given, bits, out, g_x, rho, relaxation, c):
    last = np.empty((bands * len(g), g.shape[2]), g.dtype)
    for band in range(bands * len(g)):
        _w_band(band, bands, g, given, bits, out, g_x, rho, relaxation, c, last)
    _close(bands, last, g_x, np.full(len(g), relaxation, g.dtype))


@_threaded
def _v_adjoint_threads(bands, g, given, bits, out, g_x, rho, relaxation, c):
    last = np.empty((bands * len(g), g.shape[2]), g.dtype)
    for band in numba.prange(bands * len(g)):
        _w_band(band, bands, g, given, bits, out, g_x, rho, relaxation, c, last)
    _close(bands, last, g_x, np.full(len(g), relaxation, g.dtype))


# --- The sweep


@_row
def _sweep_row(x, x_next, v, p, largest, t, rho):
    total = x.dtype.type(0)
    for j in range(v.shape[0]):
        d, w = x_next[j] - x[j], v[j]
        u = min(max(w, -t), t)
        p[j] = rho * (d - w + (u + u))
        total += abs(d)
        largest[j] = max(largest[j], abs(p[j]))  # column by column: a single maximum would not vectorise
    return total


@_row
def _sweep_image(x, v, g, t, rho, c):
    n, length = x.shape
    ring, right, total = np.empty(length + c, x.dtype), np.empty(length + c, x.dtype), 0.0
    down, columns = np.zeros((2, length), x.dtype), np.zeros(length, x.dtype)
    for k in range(n):
        _wrap(x[k], ring, c)
        total += _sweep_row(x[k], x[(k + 1) % n], v[0, k], down[k % 2], columns, t, rho)
        total += _sweep_row(x[k], ring[c:], v[1, k], right[c:], columns, t, rho)
        for j in range(c):
            right[j] = right[length + j]
        _adjoint_row(down[1 - k % 2], down[k % 2], right[:length], right[c:], g[k], x.dtype.type(1))
    for j in range(length):
        g[0, j] += down[(n - 1) % 2, j]
    return total, columns.max()


@_serial
def _sweep(bands, x, v, g, t, rho, c, total, most):
    for i in range(len(x)):
        total[i], most[i] = _sweep_image(x[i], v[i], g[i], t[i], rho[i], c)


@_threaded
def _sweep_threads(bands, x, v, g, t, rho, c, total, most):
    for i in numba.prange(len(x)):
        total[i], most[i] = _sweep_image(x[i], v[i], g[i], t[i], rho[i], c)


# --- The copy


@_row
def _turn_band(band, bands, a, out):
    i, h, n, w = band // bands, band % bands, out.shape[1], out.shape[2]
    for first in range(0, w, 16):  # so few columns stay in the cache while their pixels are taken one after the other
        for k in range(h * n // bands, (h + 1) * n // bands):
            for j in range(first, min(first + 16, w)):
                out[i, k, j] = a[i, j, k]


@_serial
def _turn(bands, a, out):
    for band in range(bands * len(a)):
        _turn_band(band, bands, a, out)


@_threaded
def _turn_threads(bands, a, out):
    for band in numba.prange(bands * len(a)):
        _turn_band(band, bands, a, out)
