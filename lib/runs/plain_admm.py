"""ADMM for eq. (3) as the authors run it: plain, with a penalty given beforehand and a given number of iterations."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lib.operators import LinearOperator, gradient, gradient_adjoint
from lib.tv import project, separable, v_update, x_update


def together(op: LinearOperator) -> int:
    """How many images are best worked on at a time: what stays in a core's cache, or fills a GPU."""
    return 2 if op.device.type == "cpu" else 256


def plain_admm(
    y: Tensor, op: LinearOperator, lam: Tensor, rho: Tensor, iterations: int, z: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Iterations of ADMM without over-relaxation, from a given z and the multiplier u = 0.

    .. math::
        x &= (\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1}
            (\mathcal{A}^* y + \varrho\nabla^*(z - u)), \\
        z &= \mathrm{shrink}_{\lambda/\varrho}(\nabla x + u), \qquad u \leftarrow u + \nabla x - z .

    x is differentiable with respect to ``y``; z is not.

    The right-hand side is added as an image, as they do it: in single precision its rounding errors, divided by
    :math:`\varrho`, decide what the least of their penalties are good for. At 40 lines, 0.5 % noise and
    :math:`\varrho = 10^{-5}` one phantom's error is 0.019 with this sum and 0.014 with one in k-space, as
    `lib.tv` has it.

    Parameters
    ----------
    y : measurements ``(b, m)``, complex.
    op : the forward operator, for complex images.
    lam, rho : regularization parameter of the form with 1/2, and penalty, ``(b,)``.
    iterations : how many, at least 1.
    z : where to begin, ``(b, 2, n, n)``; :math:`\nabla\mathcal{A}^* y` if not given.

    Returns
    -------
    x, z : the last image ``(b, n, n)``, and its z.
    """
    data, t = op.A_adjoint(y), lam / rho
    solve = functools.partial(op.x_update(y.detach(), rho), linear=True)
    z, none = gradient(data) if z is None else z, torch.zeros_like(data.detach())
    b, v = rho[:, None, None] * gradient_adjoint(z), torch.zeros_like(z)  # u = 0: without relaxation, z enters b alone
    for _ in range(iterations):
        x = x_update(data + b, none, solve)
        v, b = v_update(x, v, t, rho, separable, relaxation=1.0)
    return x, (v - project(v, t)).detach()
