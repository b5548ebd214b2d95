"""ADMM for eq. (3) as the authors run it: plain, with a penalty given beforehand and a given number of iterations."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.operators import LinearOperator, gradient, gradient_adjoint
from lib.tv import project, separable, v_update, x_update


def plain_admm(
    y: Tensor, op: LinearOperator, lam: Tensor, rho: Tensor, iterations: int, z: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Iterations of ADMM without over-relaxation, from a given z and the multiplier u = 0.

    .. math::
        x &= (\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1}
            (\mathcal{A}^* y + \varrho\nabla^*(z - u)), \\
        z &= \mathrm{shrink}_{\lambda/\varrho}(\nabla x + u), \qquad u \leftarrow u + \nabla x - z .

    Differentiable with respect to ``y``.

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
    data, solve, t = op.A_adjoint(y), op.x_update(y.detach(), rho), lam / rho
    z = gradient(data) if z is None else z
    b, v = rho[:, None, None] * gradient_adjoint(z), torch.zeros_like(z)  # v = z + u; only u enters its update
    for _ in range(iterations):
        x = x_update(b, data, solve)
        v, b = v_update(x, v, t, rho, separable, relaxation=1.0)
    return x, v - project(v.detach(), t)
