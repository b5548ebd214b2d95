"""Adversarial perturbations of the measurements: objective (6), two optimisers, the location grid, amplification."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lib.admm import Norm, separable, squared_norm
from lib.operators import MaskedFourier
from lib.tv import TVReconstruction, all_finite

# power_ascent, measured in benchmarks/bench_attack.py: few iterations with a large threshold, in units of the height
# eta n/sqrt(m) of the spike that noise-free recovery would show
ITERATIONS, THRESHOLD = 7, 0.03
STEPS, GAIN, WEIGHT = 5, 2e-3, 1 / 3
SCREENING_STEPS = 3
CHUNK = 16  # perturbations that are worked on at a time

Reconstruct = Callable[[Tensor], Tensor]
Optimiser = Callable[["Problem"], tuple[list[tuple[Tensor, Any]], Tensor]]


@dataclass(frozen=True)
class Attack:
    r"""Perturbations and what they do. Shapes without the image are the batch shape.

    Attributes
    ----------
    e : ``(..., m)`` complex, the perturbation of the measurements.
    image_perturbation : ``(..., n, n)`` complex, :math:`r = \mathcal{A}^\dagger e` (Section 3.1).
    artifact : ``(..., n, n)`` complex, :math:`\rho = \mathrm{rec}(y + e) - \mathrm{rec}(y)`, converged (eq. 5).
    objective : :math:`\|\phi \odot \rho\|_2` (eq. 6).
    amplification : :math:`\alpha = \|\rho\|_\infty / \|r\|_\infty` (Section 4).
    history : ``(2, steps, ...)``, the objective and :math:`\|\rho\|_\infty` as the optimiser saw them, not converged.
    """

    e: Tensor
    image_perturbation: Tensor
    artifact: Tensor
    objective: Tensor
    amplification: Tensor
    history: Tensor


@dataclass(frozen=True)
class GridAttack:
    r"""The attack of Section 3: all locations, and the one with the largest artifact.

    Attributes
    ----------
    best : the selected attack, without batch dimension.
    mu : ``(2,)`` int64, its location.
    locations : ``(l, 2)`` int64, row and column.
    peaks : ``(l,)``, :math:`\|\rho\|_\infty` at each location; NaN where screening left it out.
    objectives, amplifications : ``(l,)``, of the same perturbations.
    e : ``(l, m)`` complex, the perturbations; NaN where screening left them out.
    """

    best: Attack
    mu: Tensor
    locations: Tensor
    peaks: Tensor
    objectives: Tensor
    amplifications: Tensor
    e: Tensor


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

    Raises
    ------
    ValueError : ``mu`` is outside the image, or ``sigma`` is not in :math:`(0, \sqrt2\, n]`.

    >>> int(disk_weight(64, (30, 40), 5).sum())
    81
    """
    if not 0 < sigma <= math.sqrt(2) * n:
        raise ValueError(
            f"disk_weight: sigma must lie in (0, {math.sqrt(2) * n:.1f}], the image's diagonal, got {sigma!r}"
        )
    mu = _checked_mu("disk_weight", mu, n)
    i = torch.arange(n, dtype=torch.float64, device=mu.device)
    squared = (i - mu[..., :1]) ** 2, (i - mu[..., 1:]) ** 2
    return (squared[0][..., :, None] + squared[1][..., None, :] <= sigma**2).float()


def location_grid(n: int, count: int = 8) -> Tensor:
    r"""The grid of locations :math:`((i + \tfrac12) n/c, (j + \tfrac12) n/c)`, rounded down, i and j from 0 to c - 1.

    Parameters
    ----------
    n : image side.
    count : c, locations in a row.

    Returns
    -------
    ``(count**2, 2)`` int64, row and column.

    Raises
    ------
    ValueError : ``count`` is not between 1 and n.
    """
    if not isinstance(count, Integral) or isinstance(count, bool) or not 1 <= count <= n:
        raise ValueError(f"location_grid: count must be an integer between 1 and n = {n}, got {count!r}")
    centres = (2 * torch.arange(count) + 1) * n // (2 * count)
    return torch.cartesian_prod(centres, centres)


def spike_perturbation(op: MaskedFourier, mu: Sequence[float] | Tensor, eta: float | Tensor) -> Tensor:
    r"""The measurements of a spike, :math:`e = \eta\, \mathcal{A}\delta_\mu / \|\mathcal{A}\delta_\mu\|_2` (Section 5).

    Exact recovery of the spike would show it with the height :math:`\eta\, n/\sqrt m`, while
    :math:`\mathcal{A}^\dagger e` has the height :math:`\eta\sqrt m/n`: the amplification is :math:`n^2/m`. (For even n
    the few frequencies -n/2 without mirror image are left out, which changes this a little.)

    Parameters
    ----------
    op : the forward operator.
    mu : pixel or pixels ``(..., 2)``, counted from 0; rounded.
    eta : the norm of e, a number or one for each.

    Returns
    -------
    ``(..., m)`` complex64, or complex128 if ``eta`` is a float64 tensor; real in the image domain if the mask is even.

    Raises
    ------
    ValueError : ``mu`` is outside the image, or ``eta`` is not positive and finite.
    """
    mu = _checked_mu("spike_perturbation", mu, op.n).round().long()
    eta = _checked_eta("spike_perturbation", eta).to(op.mask.device)
    dtype = torch.float64 if eta.dtype == torch.float64 else torch.float32
    k, mu = op._index, mu.to(op.mask.device)
    turns = (k // op.n * mu[..., :1] + k % op.n * mu[..., 1:]) % op.n  # A of the unit vector at mu, up to a factor
    angles = -2 * math.pi / op.n * torch.arange(op.n, dtype=torch.float64, device=mu.device)
    e = torch.polar(torch.ones_like(angles), angles).to(dtype.to_complex())[turns]
    return _scale(op.symmetrize(e) if op.is_even else e, eta.to(dtype))


def fast_tv(
    op: MaskedFourier, lam: float, eta: float | Tensor, *, tol: float = 1e-2, norm: Norm = separable
) -> TVReconstruction:
    r"""The TV reconstruction set up for `power_ascent`: few iterations with a threshold that suits the spike.

    The threshold is `THRESHOLD` times the height :math:`\eta\, n/\sqrt m` of the spike to expect. The default ``tol``
    is enough to compare perturbations: the peak of the artifact is then accurate to 1 % at worst, to 0.1 % above 1 %
    noise. In complex64 a ``tol`` below 2e-4 may not be reached.

    Parameters
    ----------
    op, lam, norm, tol : see :class:`lib.tv.TVReconstruction`.
    eta : the norm of e, a number or one for each image of a flat batch.

    Raises
    ------
    ValueError : ``eta`` is not positive and finite, or another argument is out of range.
    """
    threshold = THRESHOLD * _checked_eta("fast_tv", eta).double() * op.n / math.sqrt(op.m)
    return TVReconstruction(op, lam, iterations=ITERATIONS, threshold=threshold, norm=norm, tol=tol)


@dataclass(frozen=True)
class Problem:
    """Objective (6) for a flat batch, as the optimisers see it.

    Attributes
    ----------
    reconstruct : the reconstruction, differentiable.
    op : the forward operator.
    y : ``(b, m)``, measurements.
    eta : ``(b,)``, the norm of e.
    phi : ``(b, n, n)``, weights.
    reference : ``(b, n, n)``, the reconstruction of y that the artifact is counted from; real if it has no imaginary
        part.
    state : where ``reconstruct.resume`` starts, or None.
    start : ``(b, m)``, the first perturbation of `power_ascent`.
    real : whether e is restricted to real image perturbations.
    """

    reconstruct: Reconstruct
    op: MaskedFourier
    y: Tensor
    eta: Tensor
    phi: Tensor
    reference: Tensor
    state: Any
    start: Tensor
    real: bool

    @functools.cached_property
    def squared_phi(self) -> Tensor:
        return self.phi.square()

    def look(
        self, e: Tensor, state: Any, modulus: bool = False, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Any]:
        """Objective (6) at ``e``, the peak of the artifact, the gradient unless ``last``, the solver's next state.

        With ``modulus`` the artifact is the difference of moduli.
        """
        with torch.set_grad_enabled(not last):
            e = e.detach().requires_grad_(not last)
            image, state = _resume(self.reconstruct, self.y + e, state)
        if not last and not image.requires_grad:
            raise ValueError("localized_attack: reconstruct is not differentiable: its result needs no grad")
        with torch.no_grad():
            rho = image.abs() - self.reference.abs() if modulus else image - self.reference
            slope = self.squared_phi * rho  # half of that of the squared objective, which has one at 0, too
            objective = torch.linalg.vecdot(slope.flatten(1), rho.flatten(1).to(slope.dtype)).real.sqrt()
            peak = _peak(rho)
            if not bool(torch.isfinite(objective + peak).all()):
                raise ValueError("localized_attack: reconstruct returned NaN or infinity")
            slope = slope * image.sgn() if modulus else slope
        gradient = None
        if not last:
            slope = (slope if image.is_complex() else slope.real).to(image.dtype)
            (gradient,) = torch.autograd.grad(image, e, slope)
            if not all_finite(gradient):
                raise ValueError("localized_attack: the gradient of reconstruct is NaN or infinite")
            gradient = 2 * (self.op.symmetrize(gradient) if self.real else gradient)
        return objective, peak, gradient, state


def power_ascent(
    problem: Problem, steps: int = STEPS, gain: float = GAIN, weight: float = WEIGHT
) -> tuple[list[tuple[Tensor, Any]], Tensor]:
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
    problem : what `localized_attack` sets up.
    steps : the largest number of steps.
    gain : from step 5 on (so only with more ``steps``), stop when in three steps no image of the batch has gained this
        much, relatively; negative for all steps.
    weight : the smallest weight :math:`\tau` of a new step, in (0, 1]; 1 is the power method.

    Returns
    -------
    candidates : the iterates ``(b, m)`` with the largest objective and with the highest artifact, as seen from step 2
        on (before, the solver lags behind), each with a state for its reconstruction.
    history : ``(2, s, b)``, the objective and the peak of the artifact at the s iterates, not converged.

    Raises
    ------
    ValueError : ``weight`` is outside (0, 1], or ``steps`` is negative.
    """
    if not 0 < weight <= 1:
        raise ValueError(f"power_ascent: weight must lie in (0, 1], got {weight!r}")
    if steps < 0:
        raise ValueError(f"power_ascent: steps must be 0 or more, got {steps!r}")
    e, state, history = problem.start, problem.state, []
    best, record = [e, e], [torch.full_like(problem.eta, -math.inf)] * 2
    for step in range(steps + 1):
        *seen, gradient, state = problem.look(e, state, last=step == steps)
        history.append(torch.stack(seen))
        if step >= min(2, steps):
            best = [torch.where((a > b)[:, None], e, kept) for a, b, kept in zip(seen, record, best, strict=True)]
            record = [torch.maximum(a, b) for a, b in zip(seen, record, strict=True)]
        if step == steps or (step >= 5 and bool((seen[0] <= (1 + gain) * history[-4][0]).all())):
            break
        tau = max(2 / (step + 2), weight)
        ascent = _scale(gradient, problem.eta, otherwise=e)  # type: ignore[arg-type]  # None only after the break
        e = _scale(torch.lerp(e, ascent, tau), problem.eta)
    return [(candidate, state) for candidate in best], torch.stack(history, 1)


def restarted_ascent(problem: Problem, steps: int = 15, gain: float = -1) -> tuple[list[tuple[Tensor, Any]], Tensor]:
    r"""`power_ascent` twice, the second time from the result of the first and down to smaller steps, for networks.

    Their objective is rougher than that of TV. The first steps of the second ascent leave the hill, and its last ones,
    of weight 1/8, climb closer to the top of the next.

    Parameters
    ----------
    problem : what `localized_attack` sets up.
    steps, gain : of each of the two, see :func:`power_ascent`.

    Returns
    -------
    candidates : the best of both by the objective, that with the highest artifact of the second, those of the first.
    history : of both, one after the other.
    """
    first, history = power_ascent(problem, steps, gain)
    start, state = first[0]
    second, more = power_ascent(replace(problem, start=start, state=state), steps, gain, weight=1 / 8)
    # the second does not count its first two looks, and can end lower than it began
    worse = (more[0, min(2, steps) :].amax(0) < history[0, min(2, steps) :].amax(0))[:, None]
    best = torch.where(worse, start, second[0][0])
    return [(best, state), second[1], *first], torch.cat([history, more], 1)


def projected_adam(
    problem: Problem, steps: int = 30, step_size: float = 5.0, seed: int = 0
) -> tuple[list[tuple[Tensor, Any]], Tensor]:
    r"""The authors' optimiser: Adam with a projection on :math:`\|e\|_2 \le \eta` after each step, random start.

    As in their code: the loss is the sum over the disk of squared differences of moduli, the start is Gaussian with
    :math:`\mathbb{E}\|e\|_2^2 = 9\eta^2`, Adam has the usual decay rates and :math:`\epsilon = 10^{-5}`, each gradient
    starts the solver at the unperturbed reconstruction, and the last iterate is the result. With
    ``TVReconstruction(op, lam, iterations=50)`` this is their setting, up to our faster solver iterations.

    Parameters
    ----------
    problem : what `localized_attack` sets up.
    steps : number of steps.
    step_size : of Adam, in the units of the measurements.
    seed : of the random starts, one for each problem of the batch; `grid_attack` repeats them every `CHUNK` locations.

    Returns
    -------
    candidates : the last iterate ``(b, m)``, with the state of the unperturbed reconstruction.
    history : ``(2, steps, b)``, the objective and the peak of the artifact at each iterate but the last.
    """
    if steps < 1:
        raise ValueError(f"projected_adam: steps must be 1 or more, got {steps!r}")
    shape, m = problem.start.shape, problem.op.m
    noise = torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    noise = noise.to(problem.start.device, problem.start.dtype)
    if problem.real:
        noise = math.sqrt(2) * problem.op.symmetrize(noise)
    # torch's complex Gaussian has the variance 1, theirs 2
    e = (3 * problem.eta / math.sqrt(m))[:, None] * noise
    parameter = torch.view_as_real(e).clone().requires_grad_()
    optimiser, history = torch.optim.Adam([parameter], lr=step_size, eps=1e-5, maximize=True), []
    for _ in range(steps):
        e = torch.view_as_complex(parameter.detach())
        *seen, gradient, _ = problem.look(e, problem.state, modulus=True)
        history.append(torch.stack(seen))
        parameter.grad = torch.view_as_real(gradient)  # type: ignore[arg-type]  # not the last look
        optimiser.step()
        with torch.no_grad():
            length = torch.linalg.vector_norm(parameter, dim=(-2, -1))
            parameter *= (problem.eta / torch.maximum(length, problem.eta))[:, None, None]
    return [(torch.view_as_complex(parameter.detach()), problem.state)], torch.stack(history, 1)


def evaluate_perturbation(
    reconstruct: Reconstruct, y: Tensor, op: MaskedFourier, e: Tensor, phi: Tensor, clean: Any = None
) -> Attack:
    r"""What a perturbation does: both reconstructions of :math:`\rho` (eq. 5) converged.

    Parameters
    ----------
    reconstruct : see :func:`localized_attack`.
    y : measurements ``(..., m)``.
    op : the forward operator.
    e : perturbations ``(..., m)``.
    phi : weights ``(..., n, n)``; all three broadcast.
    clean : what `unperturbed` returned for ``y``, to spare its computation.

    Returns
    -------
    Attack : with an empty history.

    Raises
    ------
    ValueError : ``reconstruct`` returns NaN or infinity.
    """
    image, state = unperturbed(reconstruct, y) if clean is None else clean
    perturbed, _ = _solve(reconstruct, y + e, state)
    rho, r = perturbed - image, op.A_dagger(e)
    if not all_finite(rho):
        raise ValueError("evaluate_perturbation: reconstruct returned NaN or infinity")
    largest = _peak(r)
    return Attack(
        e=e,
        image_perturbation=r,
        artifact=rho,
        objective=squared_norm(phi * rho, dims=2).sqrt().to(rho.real.dtype),
        amplification=torch.where(largest > 0, _peak(rho) / largest, math.nan),
        history=rho.real.new_empty(2, 0, *rho.shape[:-2]),
    )


def unperturbed(reconstruct: Reconstruct, y: Tensor) -> tuple[Tensor, Any]:
    """The converged reconstruction of ``y``, ``(..., n, n)``, and a state for nearby problems to start from, or None.

    Parameters
    ----------
    reconstruct : see :func:`localized_attack`.
    y : measurements ``(..., m)``.
    """
    return _solve(reconstruct, y, None)


def localized_attack(
    reconstruct: Reconstruct,
    y: Tensor,
    op: MaskedFourier,
    noise_rel: float,
    phi: Tensor,
    *,
    optimiser: Optimiser = power_ascent,
    real: bool = True,
    start: Tensor | None = None,
    reference: Tensor | None = None,
    clean: tuple[Tensor, Any] | None = None,
    by_peak: bool = False,
) -> Attack:
    r"""The perturbation of objective (6),

    .. math::
        e = \arg\max_{\|e\|_2 \le \eta} \|\phi \odot (\mathrm{rec}(y + e) - \mathrm{rec}(y))\|_2,
        \quad \eta = \mathtt{noise\_rel}\, \|y\|_2 .

    With :math:`\phi = 1` it is (4).

    Parameters
    ----------
    reconstruct : any differentiable map from measurements ``(b, m)`` to images ``(b, n, n)``; it is given a batch even
        if ``y`` has none. Two methods are used if it has them (:class:`lib.tv.TVReconstruction` does):
        ``resume(y, state)``, which returns an image and a state from which a call with nearby measurements goes on, and
        ``solve(y, state)``, the same without derivative and converged. The result is always evaluated with ``solve``.
    y : measurements ``(m,)`` or ``(b, m)``.
    op : the forward operator.
    noise_rel : :math:`\eta / \|y\|_2`, in (0, 1).
    phi : weights ``(n, n)`` or ``(b, n, n)``, see :func:`disk_weight`.
    optimiser : `power_ascent`, `restarted_ascent` or `projected_adam`, or a ``functools.partial`` of one. Of the
        candidates that it returns the first is best by the objective.
    real : restrict e to :math:`\mathcal{A}^\dagger e \in \mathbb{R}^{n \times n}`, which halves the cost for TV. The
        mask must be even. Little is lost at n = 256, see ``book/method.md``; at low resolution it can be much.
    start : the first e of `power_ascent`, scaled to the norm :math:`\eta`; by default the spike at the centre of
        mass of phi.
    reference : the reconstruction that the optimiser counts the artifact from; by default the converged one. The
        authors took that of 100 iterations. The result is counted from the converged one in any case.
    clean : what `unperturbed` returned for ``y``, to spare its computation.
    by_peak : of the optimiser's candidates take the one with the highest artifact.

    Returns
    -------
    Attack : with :math:`\|e\|_2 = \eta` for `power_ascent`.

    Raises
    ------
    TypeError, ValueError : ``noise_rel`` or ``phi`` is not as described; ``reconstruct`` is not a function, not
        differentiable, or it returns NaN, infinity or images of another shape.
    """
    problem, clean = _problem(reconstruct, y, op, noise_rel, phi, real, start, reference, clean)
    candidates, history = optimiser(problem)
    if not by_peak:
        candidates = candidates[:1]
    image = clean[0].expand(*problem.phi.shape)
    results = [
        evaluate_perturbation(reconstruct, problem.y, op, e, problem.phi, clean=(image, state))
        for e, state in candidates
    ]
    scores = [_peak(a.artifact) if by_peak else a.objective for a in results]
    best = torch.stack(scores).argmax(0)

    def pick(name: str) -> Tensor:
        values = [getattr(result, name) for result in results]
        return values[0] if len(values) == 1 else torch.stack(values)[best, torch.arange(len(best), device=best.device)]

    attack = Attack(**{field.name: pick(field.name) for field in fields(Attack)[:-1]}, history=history)
    return _take(attack, 0) if y.ndim == 1 and phi.ndim == 2 else attack


def grid_attack(
    reconstruct: Reconstruct,
    y: Tensor,
    op: MaskedFourier,
    noise_rel: float,
    sigma: float = 5,
    count: int = 8,
    *,
    optimiser: Optimiser = power_ascent,
    screen: int | None = None,
    screening_steps: int = SCREENING_STEPS,
    compare: Tensor | None = None,
    real: bool = True,
    reference: Tensor | None = None,
    progress: bool = False,
) -> GridAttack:
    r"""The attack of Section 3: (6) at each location of a grid, then the perturbation with the largest artifact.

    Parameters
    ----------
    reconstruct, y, op, noise_rel, optimiser, real, reference : see :func:`localized_attack`; ``y`` is one vector
        ``(m,)``.
    sigma : radius of the disks.
    count : the grid has ``count**2`` locations, see :func:`location_grid`.
    screen : refine only this many locations: those where a few steps of `power_ascent` show the highest artifact.
        None refines all.
    screening_steps : how many steps those are. 3 suit `power_ascent` with `fast_tv`; 0 look at the spike's artifact.
    compare : the image from which the selection counts the artifact; by default rec(y), as in the paper. The authors'
        code takes the true image.
    progress : show a progress bar.

    Returns
    -------
    GridAttack

    Raises
    ------
    ValueError : ``screen`` or another argument is out of range.
    """
    if y.ndim != 1:
        raise ValueError(f"grid_attack: expected y of shape ({op.m},), got {tuple(y.shape)}")
    locations = location_grid(op.n, count)
    if screen is not None and _function(optimiser) not in (power_ascent, restarted_ascent):
        raise ValueError("grid_attack: screen is for the ascents: another optimiser may favour other locations")
    if screen is not None and not (isinstance(screen, Integral) and 1 <= screen <= len(locations)):
        raise ValueError(f"grid_attack: screen must be an integer between 1 and {len(locations)}, got {screen!r}")
    clean = unperturbed(reconstruct, y)
    refined = torch.arange(len(locations))
    if screen is not None:
        seen = []
        for index in refined.split(CHUNK):
            phi = disk_weight(op.n, locations[index], sigma)
            problem, _ = _problem(reconstruct, y, op, noise_rel, phi, real, None, reference, clean)
            seen.append(power_ascent(problem, steps=screening_steps)[1][1, -1])
        refined = torch.cat(seen).topk(screen).indices.sort().values.cpu()
    peaks, objectives, amplifications = torch.full((3, len(locations)), math.nan, dtype=y.real.dtype, device=y.device)
    e = y.new_full((len(locations), op.m), complex(math.nan, math.nan))
    best: Attack | None = None
    mu, highest = locations[0], -math.inf
    with tqdm(total=len(refined), unit="location", disable=not progress) as bar:
        for index in refined.split(CHUNK):
            attack = localized_attack(
                reconstruct,
                y,
                op,
                noise_rel,
                disk_weight(op.n, locations[index], sigma),
                optimiser=optimiser,
                real=real,
                reference=reference,
                clean=clean,
                by_peak=True,
            )
            peak = _peak(attack.artifact)
            peaks[index], objectives[index], amplifications[index] = peak, attack.objective, attack.amplification
            e[index] = attack.e
            score = peak if compare is None else (clean[0] + attack.artifact - compare).abs().amax((-2, -1))
            i = int(score.argmax())
            if best is None or float(score[i]) > highest:
                best, mu, highest = _take(attack, i), locations[index[i]], float(score[i])
            bar.update(len(index))
    assert best is not None  # there is a location
    return GridAttack(best, mu, locations, peaks, objectives, amplifications, e)


def _function(optimiser: Optimiser) -> Callable[..., Any]:
    return optimiser.func if isinstance(optimiser, functools.partial) else optimiser


def _take(attack: Attack, i: int) -> Attack:
    batched = {name: value[i] for name, value in vars(attack).items() if name != "history"}
    return Attack(**batched, history=attack.history[..., i])


def _problem(
    reconstruct: Reconstruct,
    y: Tensor,
    op: MaskedFourier,
    noise_rel: float,
    phi: Tensor,
    real: bool,
    start: Tensor | None,
    reference: Tensor | None,
    clean: tuple[Tensor, Any] | None,
) -> tuple[Problem, tuple[Tensor, Any]]:
    """Check the arguments of `localized_attack` and bring them to one batch."""
    op._check("localized_attack", y, (op.m,), (torch.complex64, torch.complex128))
    if not 0 < noise_rel < 1:
        raise ValueError(f"localized_attack: noise_rel must lie in (0, 1), got {noise_rel!r}")
    if phi.shape[-2:] != (op.n, op.n):
        raise ValueError(f"localized_attack: expected phi (..., {op.n}, {op.n}), got {tuple(phi.shape)}")
    if not bool((phi != 0).any(-1).any(-1).all()):
        raise ValueError("localized_attack: phi is all 0: a disk without a pixel?")
    if y.ndim > 2 or phi.ndim > 3 or (y.ndim == 2 and phi.ndim == 3 and len(y) != len(phi)):
        raise ValueError(
            f"localized_attack: expected one batch dimension at most, got y {tuple(y.shape)} and phi {tuple(phi.shape)}"
        )
    if not all_finite(phi):
        raise ValueError("localized_attack: phi is not finite")
    if real and not op.is_even:
        raise ValueError("localized_attack: real perturbations need an even mask; pass real=False")
    y, phi = y.detach(), phi.abs()
    if not bool((squared_norm(y) > 0).all()):
        raise ValueError("localized_attack: y is 0, and so is the norm that e may have")
    clean = unperturbed(reconstruct, y) if clean is None else clean
    if clean[0].shape != (*y.shape[:-1], op.n, op.n):
        raise ValueError(f"localized_attack: reconstruct returned {tuple(clean[0].shape)} for y {tuple(y.shape)}")
    b = len(y) if y.ndim == 2 else len(phi) if phi.ndim == 3 else 1
    phi = phi.to(y.device, y.real.dtype)
    eta = noise_rel * squared_norm(y).sqrt().to(y.real.dtype).expand(b)
    if start is None:
        start = spike_perturbation(op, _centre(phi), eta.new_ones(phi.shape[:-2]))
    if start.shape not in ((op.m,), (b, op.m)):
        raise ValueError(f"localized_attack: expected start ({op.m},) or ({b}, {op.m}), got {tuple(start.shape)}")
    start = op.symmetrize(start.to(y.dtype)) if real else start.to(y.dtype)
    length = squared_norm(start)
    if not bool((torch.isfinite(length) & (length > 0)).all()):
        raise ValueError("localized_attack: start must be finite and not 0 (for real: in its real part)")
    if reference is not None and reference.shape not in ((op.n, op.n), (b, op.n, op.n)):
        raise ValueError(
            f"localized_attack: expected reference ({op.n}, {op.n}) or ({b}, {op.n}, {op.n}), "
            f"got {tuple(reference.shape)}"
        )
    reference = clean[0] if reference is None else reference
    if reference.is_complex() and not bool(reference.imag.any()):
        reference = reference.real.contiguous()  # real images take half the time
    problem = Problem(
        reconstruct=reconstruct,
        op=op,
        y=y.expand(b, op.m),
        eta=eta,
        phi=phi.expand(b, op.n, op.n),
        reference=reference.expand(b, op.n, op.n),
        state=clean[1],
        start=_scale(start.expand(b, op.m), eta),
        real=real,
    )
    return problem, clean


def _peak(image: Tensor) -> Tensor:
    """The largest modulus of each image ``(..., n, n)``; for complex ones a third of the time of ``abs``."""
    if not image.is_complex():
        return image.abs().amax((-2, -1))
    return torch.addcmul(image.real.square(), image.imag, image.imag).amax((-2, -1)).sqrt()


def _centre(phi: Tensor) -> Tensor:
    """Centre of mass, row and column, ``(..., 2)``."""
    i = torch.arange(phi.shape[-1], dtype=torch.float64, device=phi.device)
    rows, columns = phi.sum(-1, dtype=i.dtype), phi.sum(-2, dtype=i.dtype)
    centre = torch.stack([rows @ i, columns @ i], -1) / rows.sum(-1, keepdim=True)
    return centre.clamp(max=phi.shape[-1] - 1)  # rounding


def _scale(e: Tensor, eta: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """e with the norm eta; where e is 0, ``otherwise``."""
    length = squared_norm(e).sqrt().to(eta.dtype)[..., None]
    scaled = torch.view_as_complex(torch.view_as_real(e.resolve_conj()) * (eta[..., None] / length)[..., None])
    return scaled if otherwise is None or bool((length > 0).all()) else torch.where(length > 0, scaled, otherwise)


def _checked_mu(name: str, mu: Sequence[float] | Tensor, n: int) -> Tensor:
    mu = torch.as_tensor(mu, dtype=torch.float64)
    if mu.shape[-1:] != (2,) or not bool(((mu >= 0) & (mu <= n - 1)).all()):
        raise ValueError(f"{name}: mu must hold rows and columns in [0, {n - 1}], got {mu.tolist()}")
    return mu


def _checked_eta(name: str, eta: float | Tensor) -> Tensor:
    eta = torch.as_tensor(eta)
    if not bool(((eta > 0) & torch.isfinite(eta)).all()):
        raise ValueError(f"{name}: eta must be positive and finite, got {eta.tolist()}")
    return eta


def _resume(reconstruct: Reconstruct, y: Tensor, state: Any) -> tuple[Tensor, Any]:
    if hasattr(reconstruct, "resume"):
        return reconstruct.resume(y, state)
    return reconstruct(y), None


@torch.no_grad()
def _solve(reconstruct: Reconstruct, y: Tensor, state: Any) -> tuple[Tensor, Any]:
    if hasattr(reconstruct, "solve"):
        return reconstruct.solve(y, state)
    if not callable(reconstruct):
        raise TypeError(f"localized_attack: reconstruct must be a function of the measurements, got {reconstruct!r}")
    flat = y.reshape(-1, y.shape[-1])
    image = reconstruct(flat)
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != len(flat):
        shown = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"localized_attack: reconstruct returned {shown} for y {tuple(flat.shape)}, not images")
    return image.reshape(*y.shape[:-1], *image.shape[-2:]), None
