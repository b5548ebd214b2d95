"""The same on a GPU as `lib._kernels` on a processor, but for the sweep: one Triton kernel for each loop.

Builds of torch for CUDA bring Triton. Without it `lib.tv` works with plain torch, in a dozen kernels each.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    _jit = triton.jit
except ImportError:
    triton = None

    def _jit(function: Any) -> Any:
        return function


def serves(x: Tensor) -> bool:
    """Whether the kernels can work where x is."""
    return triton is not None and x.is_cuda


class VUpdate(torch.autograd.Function):
    """`lib.tv.v_update` for the separable norm on a GPU, with the derivative of `lib._kernels.VUpdate`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, t: Tensor, rho: Tensor, relaxation: float) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.bits = torch.empty(_rows(v).shape, dtype=torch.uint8, device=v.device)
        ctx.rho, ctx.relaxation = rho, relaxation
        return v_update(x, v, t, rho, relaxation, bits=ctx.bits)

    @staticmethod
    def backward(ctx: Any, g_v: Tensor | None, g_b: Tensor | None) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("VUpdate: for second derivatives, which these kernels do not have, use torch.func")
        g = torch.zeros_like(g_v[:, 0]) if g_b is None else g_b.resolve_conj().contiguous()  # type: ignore[index]
        given = None if g_v is None else g_v.resolve_conj().contiguous()
        g_x, out = torch.empty_like(g), g.new_empty(len(g), 2, *g.shape[1:])
        some = _rows(g if given is None else given)
        _launch(
            _v_adjoint, g, _rows(g), some, ctx.bits, _rows(out), _rows(g_x), ctx.rho,
            _number(ctx.relaxation, ctx.rho.dtype, g.device), GIVEN=given is not None,
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
    """The update itself, see `lib._kernels.v_update`; v stays as it is."""
    x = x.resolve_conj().contiguous()
    b, new = torch.empty_like(x) if b is None else b, torch.empty_like(v)
    one = _number(1.0, t.dtype, t.device)
    _launch(
        _v_update, x, _rows(x), _rows(v), _rows(new), _rows(b), _rows(new) if bits is None else bits, t, rho,
        one if ratio is None else ratio, _number(relaxation, t.dtype, t.device),
        CHANGES=ratio is not None, RECORDED=bits is not None,
    )  # fmt: skip
    return new, b


def _rows(a: Tensor) -> Tensor:
    """Rows of n or, real and imaginary parts interleaved, 2n numbers."""
    return torch.view_as_real(a).flatten(-2) if a.is_complex() else a


@functools.cache
def _number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """On the device: a kernel would take a number of Python in single precision."""
    return torch.tensor(value, dtype=dtype, device=device)


def _launch(kernel: Any, x: Tensor, *arguments: Tensor, **flags: bool) -> None:
    n, c = x.shape[-1], 1 + x.is_complex()
    if len(x):
        tensors = [a.detach() for a in arguments]
        kernel[n, len(x)](*tensors, n, c * n, c, BLOCK=triton.next_power_of_2(c * n), **flags)


@_jit
def _clamp(v, t):
    return tl.minimum(tl.maximum(v, -t), t)


@_jit
def _relaxed(v, d, t, alpha):
    """v + alpha (d - v + P v), which is the next z + u."""
    return v + alpha * (d - v + _clamp(v, t))


@_jit
def _places(n, length, c, BLOCK: tl.constexpr):
    """Where the numbers of a row, and of the rows above and below it, and their neighbours, lie in an image."""
    row, j = tl.program_id(0), tl.arange(0, BLOCK)
    right = tl.where(j + c < length, j + c, j + c - length)
    left = tl.where(j >= c, j - c, j - c + length)
    above, below = tl.where(row > 0, row - 1, n - 1) * length, tl.where(row + 1 < n, row + 1, 0) * length
    here = row * length
    return here + j, above + j, below + j, here + left, here + right, j < length


@_jit
def _v_update(
    x, v, new, b, bits, t, rho, ratio, relaxation, n, length, c,
    CHANGES: tl.constexpr, RECORDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program does a row; what b needs of the neighbours' new values is computed twice."""
    image, size = tl.program_id(1).to(tl.int64), n * length
    here, above, below, left, right, inside = _places(n, length, c, BLOCK)
    t, rho, alpha = tl.load(t + image), tl.load(rho + image), tl.load(relaxation)
    r = tl.load(ratio + image) if CHANGES else tl.load(ratio)
    x, down, along = x + image * size, v + 2 * image * size, v + (2 * image + 1) * size
    x_here = tl.load(x + here, inside)
    v_0, v_1 = tl.load(down + here, inside), tl.load(along + here, inside)
    w_0 = _relaxed(v_0, tl.load(x + below, inside) - x_here, t, alpha)
    w_1 = _relaxed(v_1, tl.load(x + right, inside) - x_here, t, alpha)
    w_above = _relaxed(tl.load(down + above, inside), x_here - tl.load(x + above, inside), t, alpha)
    w_left = _relaxed(tl.load(along + left, inside), x_here - tl.load(x + left, inside), t, alpha)
    u_0, u_1 = _clamp(w_0, t), _clamp(w_1, t)
    q = w_above - (r + 1) * _clamp(w_above, t) - (w_0 - (r + 1) * u_0)
    q += w_left - (r + 1) * _clamp(w_left, t) - (w_1 - (r + 1) * u_1)
    tl.store(b + image * size + here, rho * q, inside)
    w_0 += (r - 1) * u_0
    w_1 += (r - 1) * u_1
    tl.store(new + 2 * image * size + here, w_0, inside)
    tl.store(new + (2 * image + 1) * size + here, w_1, inside)
    if RECORDED:
        bits_0 = (tl.abs(v_0) > t).to(tl.uint8) + 2 * (tl.abs(w_0) > t).to(tl.uint8)
        bits_1 = (tl.abs(v_1) > t).to(tl.uint8) + 2 * (tl.abs(w_1) > t).to(tl.uint8)
        tl.store(bits + 2 * image * size + here, bits_0, inside)
        tl.store(bits + (2 * image + 1) * size + here, bits_1, inside)


@_jit
def _w(d, given, bits, at, rho, inside, GIVEN: tl.constexpr):
    """given + (2 J+ - I) rho d, and the bits."""
    flags = tl.load(bits + at, inside)
    w = tl.where(flags > 1, rho * d, -rho * d)
    return (w + tl.load(given + at, inside) if GIVEN else w), flags


@_jit
def _v_adjoint(g, given, bits, out, g_x, rho, relaxation, n, length, c, GIVEN: tl.constexpr, BLOCK: tl.constexpr):
    image, size = tl.program_id(1).to(tl.int64), n * length
    here, above, below, left, right, inside = _places(n, length, c, BLOCK)
    rho, alpha = tl.load(rho + image), tl.load(relaxation)
    g, first, second = g + image * size, 2 * image * size, (2 * image + 1) * size
    g_here = tl.load(g + here, inside)
    w_0, flags_0 = _w(tl.load(g + below, inside) - g_here, given, bits, first + here, rho, inside, GIVEN)
    w_1, flags_1 = _w(tl.load(g + right, inside) - g_here, given, bits, second + here, rho, inside, GIVEN)
    w_above, _ = _w(g_here - tl.load(g + above, inside), given, bits, first + above, rho, inside, GIVEN)
    w_left, _ = _w(g_here - tl.load(g + left, inside), given, bits, second + left, rho, inside, GIVEN)
    tl.store(out + first + here, tl.where((flags_0 & 1) > 0, w_0 - alpha * w_0, w_0), inside)
    tl.store(out + second + here, tl.where((flags_1 & 1) > 0, w_1 - alpha * w_1, w_1), inside)
    tl.store(g_x + image * size + here, alpha * (w_above - w_0 + w_left - w_1), inside)
