"""Adversarial perturbations of the measurements: objective (6), three optimisers, the location grid, amplification."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib import checks
from lib.measures import amplification, peak
from lib.operators import COMPLEX, REAL, LinearOperator, check_measurements
from lib.tv import Norm, TVReconstruction, separable

# power_ascent, measured in benchmarks/bench_attack.py: few iterations with a large threshold, in units of the height
# eta/|A delta| of the spike that noise-free recovery would show
ITERATIONS, THRESHOLD = 7, 0.03
STEPS, WEIGHT = 5, 1 / 3
LAG = 2  # iterates before this one do not count: the solver, which goes on from one to the next, lags behind
SCREENING_STEPS = 3
MOST_STEPS = 10**6  # more would not end
CHUNK = 16  # perturbations that are worked on at a time
AS_RETURNED = "as the function returned them"
AGREEMENT = 1e-2  # of two calls, relative; far above the rounding errors of half precision
PHI_DTYPES = (torch.bool, torch.int64, *REAL)

Reconstruct = Callable[[Tensor], Tensor]
# from e and a state, None for that of rec(y), to the value of (6), the artifact, the next state
Objective = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]


@dataclass(frozen=True, eq=False)
class Trial:
    r"""Perturbations that an optimiser has tried, one for each of b problems, and how they looked, not converged.

    Attributes
    ----------
    e : ``(b, m)``.
    objective : ``(b,)``, objective (6).
    peak : ``(b,)``, :math:`\|\rho\|_\infty`.
    """

    e: Tensor
    objective: Tensor
    peak: Tensor


class Iterates(NamedTuple):
    """What an optimiser returns: all trials in their order, those of which one is the result, and the last state."""

    tried: list[Trial]
    candidates: list[Trial]
    state: Any = None


Optimiser = Callable[[Objective, Tensor, Tensor], Iterates]


@dataclass(frozen=True, eq=False)
class Attack:
    r"""Perturbations and what they do. Shapes without the image are the batch shape.

    Attributes
    ----------
    e : ``(..., m)`` complex, the perturbation of the measurements.
    image_perturbation : ``(..., n, n)`` complex, :math:`r = \mathcal{A}^\dagger e` (Section 3.1).
    artifact : ``(..., n, n)``, :math:`\rho = \mathrm{rec}(y + e) - \mathrm{rec}(y)` (eq. 5).
    objective : :math:`\|\phi \odot \rho\|_2` (eq. 6).
    amplification : :math:`\alpha = \|\rho\|_\infty / \|r\|_\infty` (Section 4).
    history : ``(2, k, ...)``, the objective and :math:`\|\rho\|_\infty` of the optimiser's k trials, not converged.
    criterion : whether the two reconstructions of the artifact converged: "proved" or "by residuals", see
        `lib.tv.TVResult`; else `AS_RETURNED`, and nothing is known. A function that wraps a `TVReconstruction` hides
        its converged ``solve``.
    """

    e: Tensor
    image_perturbation: Tensor
    artifact: Tensor
    objective: Tensor
    amplification: Tensor
    history: Tensor
    criterion: str


BATCHED = ("e", "image_perturbation", "artifact", "objective", "amplification")  # an entry for each of a batch


@dataclass(frozen=True, eq=False)
class GridAttack:
    r"""The attack of Section 3: all locations, and the one with the largest artifact.

    Attributes
    ----------
    best : the selected attack, without batch dimension.
    mu : ``(2,)`` int64, its location.
    locations : ``(l, 2)`` int64, row and column.
    peaks : ``(l,)``, :math:`\|\rho\|_\infty` at each location; NaN where screening left it out.
    """

    best: Attack
    mu: Tensor
    locations: Tensor
    peaks: Tensor


def disk_weight(n: int, mu: Sequence[float] | Tensor, sigma: float) -> Tensor:
    r"""Indicator :math:`\phi^{\mu,\sigma}` of the disk :math:`(i - \mu_1)^2 + (j - \mu_2)^2 \le \sigma^2` (Section 3).

    Parameters
    ----------
    n : image side.
    mu : centre or centres ``(..., 2)``, row and column in pixels, counted from 0 (the paper counts from 1).
    sigma : radius in pixels; at :math:`\sqrt2\, n`, the largest, the disk covers the image, and (6) is (4).

    Returns
    -------
    ``(..., n, n)`` float32.

    >>> int(disk_weight(64, (30, 40), 5).sum())
    81
    """
    n = checks.integer("disk_weight", "n", n, 1, checks.SIDE)
    sigma = checks.number("disk_weight", "sigma", sigma, 0, math.sqrt(2) * n, most=True)
    mu = _checked_mu("disk_weight", mu, n)
    i = torch.arange(n, dtype=torch.float64, device=mu.device)
    squared = (i - mu[..., :1]) ** 2, (i - mu[..., 1:]) ** 2
    return (squared[0][..., :, None] + squared[1][..., None, :] <= sigma**2).float()


def location_grid(n: int, count: int = 8) -> Tensor:
    r"""The grid of locations :math:`((i + \tfrac12) n/c, (j + \tfrac12) n/c)`, rounded down, i and j from 0 to c - 1.

    ``(count**2, 2)`` int64, row and column, with c = ``count`` locations in a row.
    """
    n = checks.integer("location_grid", "n", n, 1, checks.SIDE)
    count = checks.integer("location_grid", "count", count, 1, n)
    centres = (2 * torch.arange(count) + 1) * n // (2 * count)
    return torch.cartesian_prod(centres, centres)


def spike_perturbation(op: LinearOperator, mu: Sequence[float] | Tensor, eta: float | Tensor) -> Tensor:
    r"""The measurements of a spike, :math:`e = \eta\, \mathcal{A}\delta_\mu / \|\mathcal{A}\delta_\mu\|_2` (Section 5).

    Exact recovery of the spike would show it with the height :math:`\eta/\|\mathcal{A}\delta_\mu\|_2`. For Fourier
    measurements this is :math:`\eta\, n/\sqrt m`, while :math:`\mathcal{A}^\dagger e` has the height
    :math:`\eta\sqrt m/n`: the amplification is :math:`n^2/m`. (If ``op.real``, frequencies -n/2 without mirror image
    are left out, which changes this a little for even n.)

    Parameters
    ----------
    op : the forward operator.
    mu : pixel or pixels ``(..., 2)``, counted from 0; rounded.
    eta : the norm of e, a number or one for each.

    Returns
    -------
    ``(..., m)`` complex64, or complex128 if ``eta`` is a float64 tensor.
    """
    _check_operator("spike_perturbation", op)
    mu = _checked_mu("spike_perturbation", mu, op.n).round().long()
    eta = checks.positive("spike_perturbation", "eta", eta)
    checks.broadcast("spike_perturbation", mu=mu.shape[:-1], eta=eta.shape)
    dtype = torch.float64 if eta.dtype == torch.float64 else torch.float32
    delta = torch.zeros(*mu.shape[:-1], op.n**2, dtype=dtype, device=op.device)
    delta.scatter_(-1, (mu[..., :1] * op.n + mu[..., 1:]).to(op.device), 1)
    e = op.A(delta.unflatten(-1, (op.n, op.n)))
    return scaled(op.symmetrize(e) if op.real else e, eta.to(op.device, dtype))  # type: ignore[attr-defined]


def fast_tv(
    op: LinearOperator, lam: float, eta: float | Tensor, *, tol: float = 1e-2, norm: Norm = separable
) -> TVReconstruction:
    r"""The TV reconstruction set up for `power_ascent`: few iterations with a threshold that suits the spike.

    The threshold is `THRESHOLD` times the height :math:`\eta/\|\mathcal{A}\delta\|_2` of the spike to expect. The
    default ``tol`` is enough to compare perturbations: the peak of the artifact is then accurate to 1 % at worst, to
    0.1 % above 1 % noise. In complex64 a ``tol`` below 2e-4 may not be reached.

    Parameters
    ----------
    op, lam, norm, tol : see :class:`lib.tv.TVReconstruction`.
    eta : the norm of e, a number or one for each image of a flat batch.
    """
    checks.operator("fast_tv", op)
    eta = checks.positive("fast_tv", "eta", eta, torch.float64, op.device)
    delta = torch.zeros(op.n, op.n, dtype=torch.float64, device=op.device)
    delta[op.n // 2, op.n // 2] = 1
    height = eta / torch.linalg.vector_norm(op.A(delta))
    return TVReconstruction(op, lam, iterations=ITERATIONS, threshold=THRESHOLD * height, norm=norm, tol=tol)


# --- The objective, and what maximises it


def objective(
    e: Tensor,
    reconstruct: Reconstruct,
    y: Tensor,
    phi: Tensor,
    reference: Tensor,
    state: Any = None,
    modulus: bool = False,
) -> tuple[Tensor, Tensor, Any]:
    r"""Objective (6), :math:`\|\phi \odot \rho\|_2`, with the artifact of (5).

    .. math:: \rho = \mathrm{rec}(y + e) - \mathrm{rec}(y)

    Differentiable with respect to e. With :math:`\phi = 1` it is objective (4).

    Parameters
    ----------
    e : perturbations ``(b, m)``.
    reconstruct : see :func:`localized_attack`.
    y : measurements ``(b, m)``.
    phi : weights ``(b, n, n)``.
    reference : :math:`\mathrm{rec}(y)`, ``(b, n, n)``.
    state : where an iterative reconstruction goes on; see ``resume`` in :func:`localized_attack`.
    modulus : count the artifact as the difference of moduli, as the authors' code does.

    Returns
    -------
    value ``(b,)``, artifact ``(b, n, n)``, and the reconstruction's next state.
    """
    checks.tensor("objective", "y", y, ("m",), COMPLEX)
    checks.tensor("objective", "e", e, y.shape[-1:], COMPLEX, y.device)
    checks.broadcast("objective", y=y.shape[:-1], e=e.shape[:-1])
    image, state = _resume(reconstruct, y + e, state)
    side = checks.tensor("objective", "the result of reconstruct", image, ("n", "n")).shape[-2:]
    checks.tensor("objective", "phi", phi, side, PHI_DTYPES, y.device)
    checks.tensor("objective", "reference", reference, side, (*REAL, *COMPLEX), y.device)
    checks.broadcast("objective", e=image.shape[:-2], phi=phi.shape[:-2], reference=reference.shape[:-2])
    rho = image.abs() - reference.abs() if modulus else image - reference  # (5)
    return torch.linalg.vector_norm(phi * rho, dim=(-2, -1)), rho, state  # (6)


def power_ascent(
    objective: Objective, start: Tensor, eta: Tensor, steps: int = STEPS, weight: float = WEIGHT
) -> Iterates:
    r"""Our optimiser: from a spike, averaged steps to the maximum of the linearised objective (6),

    .. math::
        e \leftarrow (1 - \tau_k)\, e + \tau_k\, \eta\, g/\|g\|_2, \quad
        \tau_k = \max\Bigl(\frac{2}{k + 2}, \tau\Bigr),

    scaled to the norm :math:`\eta`, with g the gradient and k = 0, 1, ... With :math:`\tau = 1` this is the power
    method for a linear reconstruction, and it ascends for a convex objective (Journée et al., 2010). The average damps
    the jumps between the pieces of a piecewise linear reconstruction; its weights are those of Frank and Wolfe's
    method (Jaggi, 2013), until they would stall. Each gradient is that of a few solver iterations, which go on from
    those of the step before. See ``book/method.md`` for why few do better than many.

    Parameters
    ----------
    objective : (6) as a function of e and the reconstruction's state, see :func:`objective`.
    start : the first e, ``(b, m)``; it is scaled.
    eta : the norm of e, ``(b,)``.
    steps : number of steps.
    weight : the smallest weight :math:`\tau` of a new step, in (0, 1]; 1 is the power method.

    Returns
    -------
    Iterates : candidates are those from step 2 on; before, the solver lags behind.
    """
    weight = checks.number("power_ascent", "weight", weight, 0, 1, most=True)
    steps = _check_search("power_ascent", objective, start, eta, steps, 0)
    e, state, tried = scaled(start, eta), None, []
    for k in range(steps + 1):
        e.requires_grad_(k < steps)
        value, rho, state = objective(e, state)  # (6), (5)
        tried.append(Trial(e.detach(), value.detach(), peak(rho.detach())))
        if k < steps:
            g = _gradient(value, e)
            tau = max(2 / (k + 2), weight)
            e = scaled(torch.lerp(e.detach(), scaled(g, eta, otherwise=e.detach()), tau), eta)
    return Iterates(tried, tried[min(LAG, steps) :], state)


def restarted_ascent(objective: Objective, start: Tensor, eta: Tensor, steps: int = 15) -> Iterates:
    r"""`power_ascent` twice, the second time from the best of the first and down to smaller steps, for networks.

    Their objective is rougher than that of TV. The first steps of the second ascent leave the hill, and its last ones,
    of weights down to 1/8, climb closer to the top of the next. Each has ``steps``; the result holds the iterates of
    both.
    """
    steps = _check_search("restarted_ascent", objective, start, eta, steps, 0)
    first = power_ascent(objective, start, eta, steps)
    second = power_ascent(objective, _best(first.candidates, lambda trial: trial.objective), eta, steps, weight=1 / 8)
    return Iterates(first.tried + second.tried, first.candidates + second.candidates, second.state)


def projected_adam(
    objective: Objective, start: Tensor, eta: Tensor, steps: int = 30, step_size: float = 5.0
) -> Iterates:
    r"""The authors' optimiser: Adam on the square of (6), with a projection on :math:`\|e\|_2 \le \eta` in each step.

    As in their code: Adam has the usual decay rates and :math:`\epsilon = 10^{-5}`, each gradient starts the solver at
    the unperturbed reconstruction, and the last iterate is the result. Their whole search, from a `random_start`
    through plain iterations that have not converged, is `lib.runs.authors_attack`.

    Parameters
    ----------
    objective, eta, steps : see :func:`power_ascent`.
    start : the first e, ``(b, m)``, see :func:`random_start`.
    step_size : of Adam, in the units of the measurements.
    """
    step_size = checks.number("projected_adam", "step_size", step_size, 0)
    steps = _check_search("projected_adam", objective, start, eta, steps, 1)
    e, tried = torch.view_as_real(start.resolve_conj()).clone().requires_grad_(), []
    adam = torch.optim.Adam([e], lr=step_size, eps=1e-5, maximize=True)
    for k in range(steps + 1):
        value, rho, state = objective(torch.view_as_complex(e), None)  # the solver starts from rec(y) again
        tried.append(Trial(torch.view_as_complex(e.detach()).clone(), value.detach(), peak(rho.detach())))
        if k < steps:
            e.grad = _gradient(value.square(), e)
            adam.step()
            with torch.no_grad():
                length = torch.linalg.vector_norm(e, dim=(-2, -1))
                e *= (eta / torch.maximum(length, eta))[:, None, None]
    return Iterates(tried, tried[-1:], state)


def random_start(op: LinearOperator, eta: Tensor, seed: int) -> Tensor:
    r"""The authors' start: Gaussian with :math:`\mathbb{E}\|e\|_2^2 = 9\eta^2`; real perturbations if ``op.real``.

    ``(b, m)`` complex, for norms ``eta``, ``(b,)``; ``seed`` is that of the b draws.
    """
    _check_operator("random_start", op)
    checks.positive("random_start", "eta", checks.tensor("random_start", "eta", eta, ("b",), REAL))
    seed = checks.seed("random_start", seed)
    noise = torch.randn(len(eta), op.m, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    noise = noise.to(eta.device, eta.dtype.to_complex())
    if op.real:
        noise = math.sqrt(2) * op.symmetrize(noise)  # type: ignore[attr-defined]  # half of the dimensions are left
    return (3 * eta / math.sqrt(op.m))[:, None] * noise


def _best(trials: Sequence[Trial], by: Callable[[Trial], Tensor]) -> Tensor:
    """Of each problem the e ``(b, m)`` that has the most ``by`` this measure."""
    i = torch.stack([by(trial) for trial in trials]).argmax(0)
    return torch.stack([trial.e for trial in trials])[i, torch.arange(len(i), device=i.device)]


def scaled(e: Tensor, eta: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """e ``(..., m)`` with the norm ``eta``; where e is 0, ``otherwise``."""
    parts = torch.view_as_real(e.resolve_conj())  # torch is slow where a complex number meets a real one
    length = torch.linalg.vector_norm(parts, dim=(-2, -1))
    e = torch.view_as_complex(parts * (eta / length)[..., None, None])
    return e if otherwise is None else torch.where(length[..., None] > 0, e, otherwise)


def _gradient(value: Tensor, e: Tensor) -> Tensor:
    if not value.requires_grad:
        raise ValueError("localized_attack: reconstruct must be differentiable, got a result that needs no grad")
    checks.finite("localized_attack", "the result of reconstruct", value.detach())
    return checks.finite("localized_attack", "the gradient of reconstruct", torch.autograd.grad(value.sum(), e)[0])


def _check_search(where: str, objective: Objective, start: Tensor, eta: Tensor, steps: int, least: int) -> int:
    checks.function(where, "objective", objective, "e", "a state")
    checks.tensor(where, "start", start, ("b", "m"), COMPLEX)
    checks.positive(where, "eta", checks.tensor(where, "eta", eta, (len(start),), REAL, start.device))
    return checks.integer(where, "steps", steps, least, MOST_STEPS)


# --- The attack


def evaluate_perturbation(
    reconstruct: Reconstruct, y: Tensor, op: LinearOperator, e: Tensor, phi: Tensor, clean: Any = None
) -> Attack:
    r"""What a perturbation does, with both reconstructions of :math:`\rho` (eq. 5) converged where they can be.

    Parameters
    ----------
    reconstruct, y, op : see :func:`localized_attack`; ``y`` may be ``(..., m)``.
    e : perturbations ``(..., m)``.
    phi : weights ``(..., n, n)``; all three broadcast.
    clean : what `unperturbed` returned for ``y``, to spare its computation.
    """
    where = "evaluate_perturbation"
    check_measurements(where, y, op)
    checks.tensor(where, "e", e, (op.m,), COMPLEX, y.device)
    checks.finite(where, "phi", checks.tensor(where, "phi", phi, (op.n, op.n), PHI_DTYPES, y.device))
    e = e.expand(*checks.broadcast(where, y=y.shape[:-1], e=e.shape[:-1], phi=phi.shape[:-2]), op.m)
    image, state = _clean(where, reconstruct, y, clean)
    perturbed, state = _solve(where, reconstruct, y + e, state)
    rho, r = checks.finite(where, "the result of reconstruct", perturbed - image), op.A_dagger(e)
    return Attack(
        e=e,
        image_perturbation=r,
        artifact=rho,
        objective=torch.linalg.vector_norm(phi * rho, dim=(-2, -1)),
        amplification=amplification(rho, r),
        history=rho.real.new_empty(2, 0, *rho.shape[:-2]),
        criterion=getattr(state, "criterion", AS_RETURNED),
    )


def unperturbed(reconstruct: Reconstruct, y: Tensor) -> tuple[Tensor, Any]:
    """The converged reconstruction of ``y``, ``(..., n, n)``, and a state to start nearby problems from, or None."""
    return _clean("unperturbed", reconstruct, checks.tensor("unperturbed", "y", y, ("m",), COMPLEX), None)


@torch.enable_grad()
def localized_attack(
    reconstruct: Reconstruct,
    y: Tensor,
    op: LinearOperator,
    noise_rel: float,
    phi: Tensor,
    *,
    optimiser: Optimiser = power_ascent,
    start: Tensor | None = None,
    reference: Tensor | None = None,
    clean: tuple[Tensor, Any] | None = None,
    modulus: bool = False,
    by_peak: bool = False,
) -> Attack:
    r"""The perturbation of objective (6),

    .. math::
        e = \arg\max_{\|e\|_2 \le \eta} \|\phi \odot (\mathrm{rec}(y + e) - \mathrm{rec}(y))\|_2,
        \quad \eta = \mathtt{noise\_rel}\, \|y\|_2 .

    With :math:`\phi = 1` it is (4). If ``op.real``, e is restricted to :math:`\mathcal{A}^\dagger e \in
    \mathbb{R}^{n \times n}`. Little is lost at n = 256, see ``book/method.md``; at low resolution it can be much.

    Parameters
    ----------
    reconstruct : any differentiable map from measurements ``(b, m)`` to images ``(b, n, n)``; it is given a batch even
        if ``y`` has none, and must treat each vector of it alone and always alike (a ``torch.nn.Module``: in evaluation
        mode). Two methods are used if it has them (:class:`lib.tv.TVReconstruction` does):
        ``resume(y, state)``, which returns an image and a state from which a call with nearby measurements goes on, and
        ``solve(y, state)``, the same without derivative and converged. The result is always evaluated with ``solve``,
        and `Attack.criterion` says whether there was one.
    y : measurements ``(m,)`` or ``(b, m)``.
    op : the forward operator.
    noise_rel : :math:`\eta / \|y\|_2`, in (0, 1).
    phi : weights ``(n, n)`` or ``(b, n, n)``, real or bool, see :func:`disk_weight`.
    optimiser : `power_ascent`, `restarted_ascent` or `projected_adam`, or a ``functools.partial`` of one.
    start : the first e; by default the spike at the centre of mass of phi, of norm :math:`\eta`.
    reference : the reconstruction that the optimiser counts the artifact from; by default the converged one. The
        authors took that of 100 iterations. The result is counted from the converged one in any case.
    clean : what `unperturbed` returned for ``y``, to spare its computation.
    modulus : let the optimiser count the artifact as the difference of moduli, as the authors' code does.
    by_peak : solve for two of the optimiser's candidates, those with the largest objective and with the highest peak
        as the optimiser saw them, and take the one with the higher peak then. Else solve for the first alone.

    Returns
    -------
    Attack : with :math:`\|e\|_2 = \eta` for the ascents.
    """
    checks.function("localized_attack", "optimiser", optimiser, "an objective", "a start", "eta")
    problem = _problem(reconstruct, y, op, noise_rel, phi, start, reference, clean, modulus)
    tried, candidates, state = optimiser(problem.objective, problem.start, problem.eta)
    found = [_best(candidates, lambda trial: trial.objective)]
    if by_peak and len(candidates) > 1:
        found.append(_best(candidates, lambda trial: trial.peak))
    warm = problem.image, state  # rec(y), and where the search ended, near rec(y + e)
    results = [evaluate_perturbation(reconstruct, problem.y, op, e, problem.phi, clean=warm) for e in found]
    chosen = torch.stack([peak(a.artifact) if by_peak else a.objective for a in results]).argmax(0)
    picked = {
        name: torch.stack([getattr(a, name) for a in results])[chosen, torch.arange(len(chosen))] for name in BATCHED
    }
    history = torch.stack([torch.stack([trial.objective, trial.peak]) for trial in tried], 1)
    attack = Attack(**picked, history=history, criterion=results[0].criterion)
    return _take(attack, 0) if y.ndim == 1 and phi.ndim == 2 else attack


@torch.enable_grad()
def screened(
    reconstruct: Reconstruct,
    y: Tensor,
    op: LinearOperator,
    noise_rel: float,
    locations: Tensor,
    sigma: float,
    count: int,
    steps: int = SCREENING_STEPS,
    clean: tuple[Tensor, Any] | None = None,
) -> Tensor:
    """The ``count`` of the locations ``(l, 2)`` where a few steps of `power_ascent` show the highest artifact.

    The other arguments are those of `localized_attack` and `grid_attack`. Returned are indices ``(count,)``, in order.
    """
    _check_operator("screened", op)
    checks.tensor("screened", "locations", locations, ("l", 2), (torch.int64, *REAL))
    count = checks.integer("screened", "count", count, 1, len(locations))
    steps, clean, seen = checks.integer("screened", "steps", steps, 0), clean or unperturbed(reconstruct, y), []
    for mu in locations.split(CHUNK):
        problem = _problem(reconstruct, y, op, noise_rel, disk_weight(op.n, mu, sigma), clean=clean)
        seen.append(power_ascent(problem.objective, problem.start, problem.eta, steps).tried[-1].peak)
    return torch.cat(seen).topk(count).indices.sort().values.cpu()


@torch.enable_grad()
def grid_attack(
    reconstruct: Reconstruct,
    y: Tensor,
    op: LinearOperator,
    noise_rel: float,
    sigma: float = 5,
    count: int = 8,
    *,
    optimiser: Optimiser = power_ascent,
    screen: int | None = None,
    screening_steps: int = SCREENING_STEPS,
) -> GridAttack:
    r"""The attack of Section 3: (6) at each location of a grid, then the perturbation with the largest artifact.

    Parameters
    ----------
    reconstruct, y, op, noise_rel, optimiser : see :func:`localized_attack`; ``y`` is one vector ``(m,)``.
    sigma : radius of the disks.
    count : the grid has ``count**2`` locations, see :func:`location_grid`.
    screen : refine only this many locations: those where a few steps of `power_ascent` show the highest artifact.
        None refines all.
    screening_steps : how many steps those are. 3 suit `power_ascent` with `fast_tv`; 0 look at the spike's artifact.
    """
    check_measurements("grid_attack", y, op)
    if y.ndim != 1:
        raise ValueError(f"grid_attack: y must have shape ({op.m},), got {tuple(y.shape)}")
    locations = location_grid(op.n, count)
    screen = len(locations) if screen is None else checks.integer("grid_attack", "screen", screen, 1, len(locations))
    screening_steps = checks.integer("grid_attack", "screening_steps", screening_steps, 0)
    noise_rel = checks.number("grid_attack", "noise_rel", noise_rel, 0, 1)
    clean = unperturbed(reconstruct, y)
    refined = torch.arange(len(locations))
    if screen < len(locations):
        refined = screened(reconstruct, y, op, noise_rel, locations, sigma, screen, screening_steps, clean)
    peaks = torch.full((len(locations),), math.nan, dtype=y.real.dtype, device=y.device)
    winner, mu = None, locations[0]
    for index in refined.split(CHUNK):
        phi = disk_weight(op.n, locations[index], sigma)
        found = localized_attack(reconstruct, y, op, noise_rel, phi, optimiser=optimiser, clean=clean, by_peak=True)
        peaks[index] = peak(found.artifact)
        i = int(peaks[index].argmax())
        if winner is None or bool(peaks[index[i]] > peak(winner.artifact)):
            winner, mu = _take(found, i), locations[index[i]]
    assert winner is not None  # there is a location
    return GridAttack(winner, mu, locations, peaks)


# --- Helpers


class _Problem(NamedTuple):
    """What `localized_attack` gives to an optimiser and to the evaluation, in one batch."""

    objective: Objective
    start: Tensor
    eta: Tensor
    y: Tensor
    phi: Tensor
    image: Tensor


def _problem(
    reconstruct: Reconstruct,
    y: Tensor,
    op: LinearOperator,
    noise_rel: float,
    phi: Tensor,
    start: Tensor | None = None,
    reference: Tensor | None = None,
    clean: tuple[Tensor, Any] | None = None,
    modulus: bool = False,
) -> _Problem:
    """Check the arguments of `localized_attack` and bring them to one batch."""
    where = "localized_attack"
    if torch.is_inference_mode_enabled():
        raise RuntimeError(f"{where}: torch.inference_mode must be off, got it on: there are no derivatives in it")
    check_measurements(where, y, op)
    _check_operator(where, op)
    noise_rel = checks.number(where, "noise_rel", noise_rel, 0, 1)
    phi = checks.finite(where, "phi", checks.tensor(where, "phi", phi, (op.n, op.n), PHI_DTYPES))
    y = checks.finite(where, "y", y.detach().clone())  # a copy, as one from inference_mode could not be differentiated
    if y.ndim > 2 or phi.ndim > 3 or (y.ndim == 2 and phi.ndim == 3 and len(y) != len(phi)):
        shapes = f"{tuple(y.shape)} and {tuple(phi.shape)}"
        raise ValueError(f"{where}: y and phi must have one batch dimension at most, the same, got {shapes}")
    for name, empty in (("y", y.norm(dim=-1) == 0), ("phi", (phi == 0).flatten(-2).all(-1))):
        if bool(empty.any()):
            raise ValueError(f"{where}: {name} must not be 0 (for phi: a disk without a pixel?)")
    image, state = _clean(where, reconstruct, y, clean)
    if image.shape != (*y.shape[:-1], op.n, op.n):
        raise ValueError(f"{where}: reconstruct must return {(op.n, op.n)} for each y, got {tuple(image.shape)}")
    b = len(y) if y.ndim == 2 else len(phi) if phi.ndim == 3 else 1
    phi, y = phi.to(y.device, y.real.dtype).abs().expand(b, op.n, op.n), y.expand(b, op.m)
    eta = noise_rel * torch.linalg.vector_norm(y, dim=-1)
    start = spike_perturbation(op, _centre(phi), eta) if start is None else _one_or_each("start", start, (op.m,), b)
    start = start.to(y.device, y.dtype)
    start = (op.symmetrize(start) if op.real else start).expand(b, op.m)  # type: ignore[attr-defined]
    length = torch.linalg.vector_norm(start, dim=-1)
    if not bool((torch.isfinite(length) & (length > 0)).all()):
        raise ValueError(
            f"{where}: start must be finite and not 0 (for op.real: its projection), got {length.tolist()}"
        )
    reference = image if reference is None else _one_or_each("reference", reference, (op.n, op.n), b)

    def objective_of(e: Tensor, at: Any) -> tuple[Tensor, Tensor, Any]:
        e = _Projection.apply(e, op.symmetrize) if op.real else e  # type: ignore[attr-defined]
        return objective(e, reconstruct, y, phi, reference, state if at is None else at, modulus)

    return _Problem(objective_of, start, eta, y, phi, image.expand(b, op.n, op.n))


class _Projection(torch.autograd.Function):
    """An orthogonal projection. It is its own adjoint, which is faster than autograd's scatter."""

    @staticmethod
    def forward(ctx: Any, e: Tensor, projection: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.projection = projection
        return projection(e)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return ctx.projection(g), None


def _take(attack: Attack, i: int) -> Attack:
    """The i-th of a batch of attacks."""
    batched = {name: getattr(attack, name)[i] for name in BATCHED}
    return Attack(**batched, history=attack.history[..., i], criterion=attack.criterion)


def _centre(phi: Tensor) -> Tensor:
    """Centre of mass, row and column, ``(..., 2)``."""
    i = torch.arange(phi.shape[-1], dtype=torch.float64, device=phi.device)
    rows, columns = phi.sum(-1, dtype=i.dtype), phi.sum(-2, dtype=i.dtype)
    centre = torch.stack([rows @ i, columns @ i], -1) / rows.sum(-1, keepdim=True)
    return centre.clamp(max=phi.shape[-1] - 1)  # rounding


def _check_operator(where: str, op: LinearOperator) -> None:
    checks.operator(where, op)
    checks.operator(where, op, *(["symmetrize"] if op.real else []))


def _checked_mu(where: str, mu: Sequence[float] | Tensor, n: int) -> Tensor:
    try:
        found = torch.as_tensor(mu, dtype=torch.float64)
        inside = found.shape[-1:] == (2,) and bool(((found >= 0) & (found <= n - 1)).all())
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{where}: mu must be rows and columns, numbers, got {checks.shown(mu)}") from None
    if not inside:
        raise ValueError(f"{where}: mu must hold rows and columns in [0, {n - 1}], got {checks.shown(found.tolist())}")
    return found


def _one_or_each(name: str, value: Tensor, tail: tuple[int, ...], b: int) -> Tensor:
    """One tensor for all problems, or one for each."""
    checks.tensor("localized_attack", name, value, tail, (*REAL, *COMPLEX))
    if value.shape not in (tail, (b, *tail)):
        raise ValueError(f"localized_attack: {name} must have shape {tail} or {(b, *tail)}, got {tuple(value.shape)}")
    return value.detach()


# --- What is asked of a reconstruction


def _resume(reconstruct: Reconstruct, y: Tensor, state: Any) -> tuple[Tensor, Any]:
    if hasattr(reconstruct, "resume"):
        return _pair("objective", "reconstruct.resume must return", reconstruct.resume(y, state))
    return checks.function("objective", "reconstruct", reconstruct)(y), None


@torch.no_grad()
def _solve(where: str, reconstruct: Reconstruct, y: Tensor, state: Any) -> tuple[Tensor, Any]:
    if hasattr(reconstruct, "solve"):
        return _pair(where, "reconstruct.solve must return", reconstruct.solve(y, state))
    flat = y.reshape(-1, y.shape[-1])
    image = reconstruct(flat)
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != len(flat):
        shown = tuple(image.shape) if isinstance(image, Tensor) else checks.shown(image)
        raise ValueError(f"{where}: reconstruct must return images (b, n, n) for y {tuple(flat.shape)}, got {shown}")
    return image.reshape(*y.shape[:-1], *image.shape[-2:]), None


def _pair(where: str, what: str, result: Any) -> tuple[Tensor, Any]:
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Tensor):
        raise TypeError(f"{where}: {what} an image and a state, got {checks.shown(result)}")
    return result


def _clean(where: str, reconstruct: Reconstruct, y: Tensor, clean: tuple[Tensor, Any] | None) -> tuple[Tensor, Any]:
    """`unperturbed`, unless it is given; in any case a look at what reconstructs."""
    if not callable(reconstruct) and not hasattr(reconstruct, "resume"):
        raise TypeError(f"{where}: reconstruct must be a function of y, got {checks.shown(reconstruct)}")
    for owner in (reconstruct, getattr(reconstruct, "__self__", None)):  # of model and model.forward
        if isinstance(owner, torch.nn.Module) and any(module.training for module in owner.modules()):
            raise ValueError(f"{where}: reconstruct must be in evaluation mode, got training mode; call its eval()")
    for name in ("resume", "solve"):
        if hasattr(reconstruct, name):
            checks.function(where, f"reconstruct.{name}", getattr(reconstruct, name), "y", "a state")
    if clean is not None:
        return _pair(where, "clean must be", clean)
    image, state = _solve(where, reconstruct, y, None)
    if not hasattr(reconstruct, "solve") and y.numel():
        flat = y.reshape(-1, y.shape[-1])  # the first one alone; if it is alone, beside another
        again, _ = _solve(where, reconstruct, flat[:1] if len(flat) > 1 else torch.cat([flat, flat / 2]), None)
        first = image.reshape(-1, *image.shape[-2:])[0]
        if bool((again[0] - first).abs().max() > AGREEMENT * first.abs().max()):
            raise ValueError(
                f"{where}: reconstruct must give the same image for the same y, whatever is in its batch, got two that "
                "differ: is it random, or a model in training mode?"
            )
    return image, state
