"""The authors' search: Adam from noise at every location, for TV through plain ADMM that has not converged."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib.attack import CHUNK, Reconstruct, disk_weight, localized_attack, projected_adam, random_start, unperturbed
from lib.measures import peak
from lib.operators import LinearOperator
from lib.runs.plain_admm import plain_admm, together
from lib.tv import TVReconstruction, TVResult

WARM_UP, UNROLLED = 100, 50  # plain iterations before the attack, and in each gradient


@dataclass(frozen=True, eq=False)
class PlainTV:
    r"""TV as the authors attack it: gradients through 50 plain iterations, results by the converged solver.

    The iterations begin at the z of 100 plain iterations on the unperturbed measurements, with the multiplier 0. Where
    they took 5000 plain iterations for a result, the solver goes on until its gap is small.

    Attributes
    ----------
    converged : the solver for results; its operator is for complex images.
    lam, rho : regularization parameter and penalty of the plain iterations.
    z : ``(2, n, n)``, where they begin.
    image : ``(n, n)``, the image of the 100 iterations, from whose modulus their loss counts.
    """

    converged: TVReconstruction
    lam: float
    rho: float
    z: Tensor
    image: Tensor

    def __call__(self, y: Tensor) -> Tensor:
        return self.resume(y)[0]

    def resume(self, y: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The differentiable images after 50 plain iterations on measurements ``(b, m)``; the state is handed on."""
        op, parts = self.converged.op, []
        for part in y.split(together(op)):
            lam, rho = _each(part, self.lam), _each(part, self.rho)
            parts.append(plain_admm(part, op, lam, rho, UNROLLED, self.z.expand(len(part), -1, -1, -1))[0])
        return torch.cat(parts), state

    def solve(self, y: Tensor, state: TVResult | None = None) -> tuple[Tensor, TVResult]:
        """The converged images; see :meth:`lib.tv.TVReconstruction.solve`."""
        return self.converged.solve(y, state)


def plain_tv(y: Tensor, op: LinearOperator, lam: float, rho: float, tol: float) -> PlainTV:
    """Their reconstruction, set up for attacks on measurements ``y``, ``(m,)``."""
    with torch.no_grad():
        x, z = plain_admm(y[None], op, _each(y[None], lam), _each(y[None], rho), WARM_UP)
    return PlainTV(TVReconstruction(op, lam, tol=tol), lam, rho, z[0], x[0])


def _each(y: Tensor, value: float) -> Tensor:
    return y.real.new_full((len(y),), value)


def adam_attack(
    reconstruct: Reconstruct,
    y: Tensor,
    op: LinearOperator,
    noise_rel: float,
    locations: Tensor,
    sigma: float,
    seed: int,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """The perturbation ``(m,)`` with the highest artifact at any of the locations ``(l, 2)``, and its location.

    ``seed`` is that of the starts at the first `CHUNK` locations; the next ones have the seeds that follow.
    """
    clean = unperturbed(reconstruct, y)
    found: list[tuple[float, Tensor, Tensor]] = []
    reference = reconstruct.image if isinstance(reconstruct, PlainTV) else None
    eta = noise_rel * torch.linalg.vector_norm(y).expand(len(locations))
    start = torch.cat([random_start(op, part, seed + number) for number, part in enumerate(eta.split(CHUNK))])
    size = CHUNK if op.device.type == "cpu" else len(locations)
    for part, begin in zip(locations.split(size), start.split(size), strict=True):
        result = localized_attack(
            reconstruct,
            y,
            op,
            noise_rel,
            disk_weight(op.n, part, sigma),
            optimiser=functools.partial(projected_adam, steps=steps),
            start=begin,
            reference=reference,
            modulus=True,
            clean=clean,
        )
        found += zip(peak(result.artifact).tolist(), result.e, part, strict=True)
    _, e, mu = max(found, key=lambda candidate: candidate[0])
    return e, mu
