"""The attack against linear algebra where the reconstruction is linear, its own definitions elsewhere; wrong inputs."""

import dataclasses
import functools
import math

import pytest
import torch
from helpers import TwoCoils, even_mask, random, random_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.attack import (
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    grid_attack,
    localized_attack,
    location_grid,
    objective,
    power_ascent,
    projected_adam,
    random_start,
    restarted_ascent,
    spike_perturbation,
    unperturbed,
)
from lib.measures import amplification, peak
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.tv import Iterate, TVReconstruction, anisotropic, calibrated_lambda, isotropic

N, LEVEL, LAM = 32, 0.04, 3e-3


def problem(lines=7, n=N, dtype=torch.float32, count=None):
    op, x = MaskedFourier(radial_mask(n, lines), real=True), ellipses(count or 1, n, seed=4).to(dtype)
    y = op.A(x if count else x[0])
    return op, y, LEVEL * torch.linalg.vector_norm(y, dim=-1)


def free(op):
    """The same operator with a complex unknown."""
    return MaskedFourier(op.mask)


def authors(op, eta, seed=0, **options):
    """The authors' search: Adam from noise, on moduli."""
    eta = torch.atleast_1d(eta)
    return {
        "optimiser": functools.partial(projected_adam, **options),
        "start": random_start(op, eta, seed),
        "modulus": True,
    }


def norm(a, dims=-1):
    return torch.linalg.vector_norm(a, dim=dims)


# --- Weights, locations, spikes


@pytest.mark.parametrize("mu", [(0, 0), (10.5, 3), (31, 31), (16, 16)])
@pytest.mark.parametrize("sigma", [0.5, 1, 5, 10.7])
def test_the_disk_is_that_of_the_paper(mu, sigma):
    phi = disk_weight(N, mu, sigma)
    expected = [[float((i - mu[0]) ** 2 + (j - mu[1]) ** 2 <= sigma**2) for j in range(N)] for i in range(N)]
    assert phi.dtype == torch.float32 and torch.equal(phi, torch.tensor(expected))


def test_disks_come_in_batches_and_the_largest_cover_the_image():
    mu = torch.tensor([[[3, 4], [5, 30]]])
    phi = disk_weight(N, mu, 3)
    assert phi.shape == (1, 2, N, N) and torch.equal(phi[0, 1], disk_weight(N, (5, 30), 3))
    assert disk_weight(N, (0, N - 1), math.sqrt(2) * N).min() == 1


def test_the_grid_has_the_authors_centres():
    centres = location_grid(256)
    assert centres.shape == (64, 2) and centres.dtype == torch.int64
    assert centres[:9, 0].tolist() == [16] * 8 + [48] and centres[:8, 1].tolist() == list(range(16, 256, 32))
    assert location_grid(10, 3)[:, 1].tolist()[:3] == [1, 5, 8]  # 1.67, 5, 8.33
    assert len(location_grid(5, 5).unique(dim=0)) == 25


@pytest.mark.parametrize("n", [16, 17])
def test_a_spike_perturbation_is_a_spike_of_the_stated_height(n):
    op = MaskedFourier(radial_mask(n, 5), real=True)
    e = spike_perturbation(op, [[3, 4], [n - 1, 0]], torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert e.dtype == torch.complex128 and torch.allclose(norm(e), torch.tensor([0.5, 2.0], dtype=torch.float64))
    r = op.A_dagger(e)
    assert r.imag.abs().max() < 1e-14
    assert r.real[0].argmax() == 3 * n + 4 and r.real[1].argmax() == (n - 1) * n
    if n % 2:  # for even n the frequencies -n/2 without mirror image are left out
        height = torch.tensor([0.5, 2.0], dtype=torch.float64) * math.sqrt(op.m) / n
        assert torch.allclose(r.real.amax((1, 2)), height)
        delta = torch.zeros(n, n, dtype=torch.float64)
        delta[3, 4] = 0.5 * n / math.sqrt(op.m)
        assert torch.allclose(op.A(delta), e[0])


def test_a_spike_perturbation_on_a_mask_that_is_not_even():
    mask = torch.zeros(N, N, dtype=torch.bool)
    mask[: N // 2 - 1] = True  # of no frequency is the mirror image sampled
    for op in (MaskedFourier(mask), MaskedFourier(random_mask(N, 0.3, 1))):
        e = spike_perturbation(op, (3, 4), 0.5)
        r = op.A_dagger(e)
        assert math.isclose(norm(e), 0.5, rel_tol=1e-5) and int(r.abs().argmax()) == 3 * N + 4
        assert math.isclose(r.abs().max(), 0.5 * math.sqrt(op.m) / N, rel_tol=1e-5)
    localized_attack(op.A_dagger, random(op.m, dtype=torch.complex64), op, LEVEL, disk_weight(N, (3, 4), 2))


# --- The objective


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
def test_for_a_linear_reconstruction_the_ascent_finds_the_largest_singular_value(real):
    n = 12
    op = MaskedFourier(even_mask(n, 0.4, seed=1) if real else random_mask(n, 0.4, seed=1), real)
    y, phi = op.A(random(n, n, dtype=torch.float64)), disk_weight(n, (5, 6), 2)
    start = op.A(random(n, n, dtype=torch.float64, seed=2))
    attack = localized_attack(
        op.A_dagger,
        y,
        op,
        0.1,
        phi,
        start=start,
        optimiser=functools.partial(power_ascent, steps=3000),
    )
    basis = torch.eye(op.m, dtype=torch.complex128)
    if real:  # the columns of a real basis of the symmetric vectors
        basis = torch.cat([op.symmetrize(basis), op.symmetrize(1j * basis)])
        basis = torch.linalg.svd(torch.view_as_real(basis).flatten(1))[2][
            : torch.linalg.matrix_rank(torch.view_as_real(basis).flatten(1))
        ]
        basis = torch.view_as_complex(basis.unflatten(1, (op.m, 2)).contiguous())
    images = torch.view_as_real((phi * op.A_dagger(basis)).flatten(1)).flatten(1)
    if not real:
        images = (phi * op.A_dagger(basis)).flatten(1)
    largest = torch.linalg.svdvals(images)[0]
    assert math.isclose(attack.objective, 0.1 * norm(y) * largest, rel_tol=1e-6)
    assert math.isclose(norm(attack.e), 0.1 * norm(y), rel_tol=1e-12)


def test_a_large_radius_is_the_global_attack():
    op, y, eta = problem(dtype=torch.float64)
    rec = fast_tv(op, LAM, eta)
    everywhere, ones = disk_weight(N, (3, 5), math.sqrt(2) * N), torch.ones(N, N)
    a, b = (
        localized_attack(rec, y, op, LEVEL, phi, start=spike_perturbation(op, (9, 9), 1.0))
        for phi in (everywhere, ones)
    )
    assert torch.equal(a.e, b.e) and math.isclose(a.objective, norm(a.artifact, (-2, -1)), rel_tol=1e-12)


@pytest.mark.parametrize("optimiser", [power_ascent, restarted_ascent, functools.partial(projected_adam, steps=2)])
def test_what_an_attack_returns_is_what_the_paper_defines(optimiser):
    op, y, eta = problem(dtype=torch.float64)
    rec, phi = fast_tv(op, LAM, eta, tol=1e-6), disk_weight(N, (10, 20), 3)
    attack = localized_attack(rec, y, op, LEVEL, phi, optimiser=optimiser)
    assert attack.e.shape == (op.m,) and attack.artifact.shape == attack.image_perturbation.shape == (N, N)
    assert norm(attack.e) <= eta * (1 + 1e-12)
    assert torch.allclose(attack.image_perturbation, op.A_dagger(attack.e)) and torch.allclose(
        op.A(op.A_dagger(attack.e)), attack.e
    )
    assert math.isclose(norm(attack.image_perturbation, (0, 1)), norm(attack.e), rel_tol=1e-12)
    rho = rec.solve(y + attack.e)[0] - rec.solve(y)[0]
    assert (rho - attack.artifact).abs().max() < 2e-3 * rho.abs().max()
    assert math.isclose(attack.objective, norm(phi * attack.artifact, (0, 1)), rel_tol=1e-12)
    alpha = attack.artifact.abs().max() / attack.image_perturbation.abs().max()
    assert math.isclose(attack.amplification, alpha, rel_tol=1e-12)
    assert attack.history.shape[0] == 2 and bool((attack.history > 0).all())


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([5, 7, 12]))
def test_real_perturbations_are_conjugate_symmetric(seed, lines):
    op, y, eta = problem(lines)
    for how in ({"optimiser": functools.partial(power_ascent, steps=2)}, authors(op, eta, seed, steps=2)):
        attack = localized_attack(fast_tv(op, LAM, eta), y, op, LEVEL, disk_weight(N, (seed % N, 9), 2), **how)
        assert attack.image_perturbation.imag.abs().max() < 1e-6 * attack.image_perturbation.abs().max()
        assert torch.allclose(op.symmetrize(attack.e), attack.e, atol=1e-6)
        assert not attack.artifact.is_complex()


MIDDLE = torch.tensor([[16, 16], [32, 40], [48, 21]])


def test_complex_perturbations_gain_little_for_the_separable_norm():
    # Real and imaginary part of the image are two problems without connection: it pays to spend the norm on one.
    op, y, _ = problem(12, 64)
    rec, phi = fast_tv(op, 1e-2, 0.1 * norm(y)), disk_weight(64, MIDDLE, 3)
    mine = localized_attack(rec, y, op, 0.1, phi)
    start = (0.6 + 0.8j) * spike_perturbation(op, MIDDLE, torch.ones(3))
    rec = fast_tv(free(op), 1e-2, 0.1 * norm(y))
    theirs = localized_attack(rec, y, free(op), 0.1, phi, start=start)
    assert theirs.image_perturbation.imag.abs().max() > 0.1 * theirs.image_perturbation.abs().max()
    assert (theirs.objective < 1.1 * mine.objective).all()


def test_the_ascent_beats_the_spike_and_adam():
    op, y, _ = problem(12, 64)
    eta = 0.1 * norm(y)
    rec, phi = fast_tv(op, 1e-2, eta), disk_weight(64, MIDDLE, 3)
    mine = localized_attack(rec, y, op, 0.1, phi)
    spike = evaluate_perturbation(rec, y, op, spike_perturbation(op, MIDDLE, eta.expand(3)), phi)
    theirs = localized_attack(TVReconstruction(op, 1e-2), y, op, 0.1, phi, **authors(op, eta.expand(3)))
    assert (mine.objective > 1.1 * spike.objective).all() and (mine.objective > theirs.objective).all()
    assert (norm(theirs.e) <= eta * (1 + 1e-6)).all()


def ascent_of_plain_gradients(**options):
    """The ascent with a reconstruction that keeps no state; what it returns."""
    op, y, eta = problem(dtype=torch.float64)
    rec, seen = fast_tv(op, LAM, eta), []

    def optimiser(*arguments):
        seen.append(power_ascent(*arguments, **options))
        return seen[0]

    localized_attack(lambda y: rec(y), y, op, LEVEL, disk_weight(N, (10, 12), 3), optimiser=optimiser)
    return eta, seen[0].tried, seen[0].candidates


def test_the_ascent_offers_the_iterates_from_the_third_on():
    _, tried, candidates = ascent_of_plain_gradients(steps=9)
    assert len(tried) == 10 and candidates == tried[2:]
    assert len(ascent_of_plain_gradients(steps=0)[2]) == 1


def test_each_step_is_averaged_with_those_before_and_keeps_the_norm():
    def path(**options):
        eta, tried, _ = ascent_of_plain_gradients(**options)
        tried = torch.cat([iterate.e for iterate in tried])
        assert torch.allclose(norm(tried), eta, rtol=1e-10)
        return tried

    for weight in (1 / 3, 1.0):
        tried, others = path(steps=6, weight=weight), path(steps=3, weight=2 / 5)
        assert torch.allclose(tried[:2], others[:2], rtol=0, atol=1e-10)  # the first step is whole
        assert torch.allclose(tried[:4], others, rtol=0, atol=1e-10) == (weight < 2 / 5)


def test_a_restarted_ascent_is_two_of_which_the_second_starts_where_the_first_was_best():
    op, y, eta = problem()
    rec, phi, seen = fast_tv(op, LAM, eta), disk_weight(N, (10, 12), 3), []

    def optimiser(*arguments):
        seen.append(restarted_ascent(*arguments, steps=4))
        return seen[0]

    localized_attack(rec, y, op, LEVEL, phi, optimiser=optimiser)
    ((tried, candidates, _),) = seen
    assert len(tried) == 10 and len(candidates) == 6
    best = max(tried[2:5], key=lambda iterate: float(iterate.objective))
    assert torch.allclose(tried[5].e, best.e, atol=1e-6)


@pytest.mark.parametrize("optimiser", [power_ascent, functools.partial(restarted_ascent, steps=2), projected_adam])
def test_the_attack_of_a_batch_is_that_of_each_image_alone(optimiser):
    op, y, eta = problem(12, 64, count=3)
    y[1] *= 40  # each image has its own scale, threshold, stops and candidate
    phi, eta = disk_weight(64, MIDDLE, 3), eta * torch.tensor([1.0, 40.0, 1.0])
    together = localized_attack(fast_tv(op, 5e-3, eta), y, op, LEVEL, phi, optimiser=optimiser, by_peak=True)
    for i in range(3):
        rec = fast_tv(op, 5e-3, eta[i])
        alone = localized_attack(rec, y[i], op, LEVEL, phi[i], optimiser=optimiser, by_peak=True)
        assert torch.allclose(together.amplification[i], alone.amplification, rtol=1e-3)
        assert norm(together.e[i] - alone.e) < 1e-2 * norm(alone.e)
    few = localized_attack(fast_tv(op, 5e-3, eta[:2]), y[:2], op, LEVEL, phi[0], optimiser=optimiser, by_peak=True)
    assert torch.allclose(few.amplification[0], together.amplification[0], rtol=1e-3)


def test_the_same_seed_gives_the_same_result():
    op, y, _ = problem()
    rec, phi = TVReconstruction(op, LAM, iterations=5), disk_weight(N, (10, 12), 3)
    a, b, c = (
        localized_attack(rec, y, op, LEVEL, phi, **authors(op, LEVEL * norm(y), seed, steps=2)).e for seed in (1, 1, 2)
    )
    assert torch.equal(a, b) and not torch.allclose(a, c)


def test_adam_starts_at_three_times_the_radius_and_keeps_to_the_ball():
    op, y, eta = problem(dtype=torch.float64)
    seen = []

    def watch(measurements):
        seen.append(norm(measurements.detach() - y))
        return op.A_dagger(measurements)

    localized_attack(watch, y, op, LEVEL, disk_weight(N, (9, 9), 3), **authors(op, eta, steps=8))
    lengths = torch.cat([s.reshape(-1) for s in seen[2:]])  # after the unperturbed reconstruction, and a check of it
    assert 2.5 * eta < lengths[0] < 3.5 * eta and (lengths[1:] <= eta * (1 + 1e-9)).all() and len(lengths) == 9 + 1


def test_the_reference_and_the_choice_of_the_candidate_can_be_changed():
    op, y, eta = problem(dtype=torch.float64)
    rec, phi = fast_tv(op, LAM, eta), disk_weight(N, (10, 12), 3)
    objective, peak = (localized_attack(rec, y, op, LEVEL, phi, by_peak=by_peak) for by_peak in (False, True))
    assert objective.objective >= peak.objective and objective.artifact.abs().max() <= peak.artifact.abs().max()
    shifted = localized_attack(rec, y, op, LEVEL, phi, reference=unperturbed(rec, y)[0] - 100 * phi)
    assert not torch.allclose(shifted.e, objective.e)


# --- The grid


def test_the_grid_attack_selects_the_largest_artifact():
    op, y, eta = problem()
    rec = fast_tv(op, LAM, eta, tol=1e-4)  # so that rounding, other in a batch, moves no pixel
    grid = grid_attack(rec, y, op, LEVEL, sigma=2, count=4)
    assert grid.peaks.shape == (16,) and not grid.peaks.isnan().any()
    i = int(grid.peaks.argmax())
    assert torch.equal(grid.mu, grid.locations[i]) and grid.best.artifact.abs().max() == grid.peaks[i]
    for j in (2, 11, i):
        phi = disk_weight(N, grid.locations[j], 2)
        one = localized_attack(rec, y, op, LEVEL, phi, by_peak=True)
        assert math.isclose(one.artifact.abs().max(), grid.peaks[j], rel_tol=0.02)
    assert torch.allclose(one.artifact, grid.best.artifact, atol=1e-3)  # that of the selected location


def test_the_grid_attack_searches_real_or_complex_perturbations():
    op, y, eta = problem()
    for domain in (op, free(op)):
        grid = grid_attack(fast_tv(domain, LAM, eta), y, domain, LEVEL, sigma=2, count=2)
        odd = norm(grid.best.e - op.symmetrize(grid.best.e)) / norm(grid.best.e)
        assert odd < 1e-6 if domain.real else odd > 1e-3


def test_screening_refines_the_most_promising_locations_only():
    op, y, eta = problem()
    grid = grid_attack(fast_tv(op, LAM, eta), y, op, LEVEL, sigma=2, count=4, screen=3)
    assert (~grid.peaks.isnan()).sum() == 3
    full = grid_attack(fast_tv(op, LAM, eta), y, op, LEVEL, sigma=2, count=4)
    refined = ~grid.peaks.isnan()
    assert torch.allclose(grid.peaks[refined], full.peaks[refined], rtol=0.02)
    assert full.peaks[refined].mean() > full.peaks.mean()


def test_without_steps_screening_ranks_by_the_artifact_of_the_spike():
    op, y, eta = problem()
    rec = fast_tv(op, LAM, eta)
    locations = location_grid(N, 4)
    image, state = unperturbed(rec, y)
    start = state.image.expand(16, N, N), state.dual.expand(16, 2, N, N)
    spikes, _ = rec.resume(y + spike_perturbation(op, locations, eta), Iterate(*start))
    highest = (spikes - image).abs().amax((-2, -1)).topk(3).indices
    grid = grid_attack(rec, y, op, LEVEL, sigma=2, count=4, screen=3, screening_steps=0)
    assert set(highest.tolist()) == set((~grid.peaks.isnan()).nonzero().flatten().tolist())


# --- Wrong inputs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: disk_weight(N, (3, 3), 0), r"disk_weight: sigma must lie in \(0, 45.25\], got 0"),
        (lambda: disk_weight(N, (3, 3), 46), "sigma .*got 46"),
        (lambda: disk_weight(N, (-1, 3), 5), r"disk_weight: mu .*\[0, 31\], got \[-1.0, 3.0\]"),
        (lambda: disk_weight(N, (3, math.nan), 5), "mu"),
        (lambda: disk_weight(N, (3, 4, 5), 5), "mu"),
        (lambda: location_grid(8, 9), "location_grid: count .*from 1 to 8, got 9"),
        (lambda: spike_perturbation(problem()[0], (40, 3), 1.0), "spike_perturbation: mu"),
        (lambda: spike_perturbation(problem()[0], (4, 3), -2.0), "spike_perturbation: eta .*got -2.0"),
        (lambda: fast_tv(problem()[0], LAM, math.nan), "fast_tv: eta .*got nan"),
    ],
)
def test_wrong_locations_and_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("noise_rel", [0, -0.1, 1, math.nan])
def test_noise_outside_0_1_is_refused(noise_rel):
    op, y, _ = problem()
    with pytest.raises(ValueError, match=r"noise_rel must lie in \(0, 1\), got"):
        localized_attack(op.A_dagger, y, op, noise_rel, disk_weight(N, (3, 3), 2))


@pytest.mark.parametrize(
    ("reconstruct", "message"),
    [
        (lambda op: lambda y: op.A_dagger(y.detach()), "must be differentiable"),
        (lambda op: lambda y: op.A_dagger(y) * math.nan, "NaN"),
        (lambda op: lambda y: op.A_dagger(y)[..., :-1, :-1], "must return .*got .*31, 31"),
        (lambda op: lambda y: op.A_dagger(y)[0], r"must return .*got \(32, 32\)"),
    ],
)
def test_reconstructions_that_cannot_be_attacked_are_refused(reconstruct, message):
    op, y, _ = problem()
    with pytest.raises(ValueError, match=message):
        localized_attack(reconstruct(op), y, op, LEVEL, disk_weight(N, (3, 3), 2))


@pytest.mark.parametrize(
    ("y", "phi", "message"),
    [
        (lambda y: y, torch.zeros(N, N), "phi must not be 0"),
        (lambda y: y, torch.stack([torch.ones(N, N), torch.zeros(N, N)]), "phi must not be 0"),
        (lambda y: y, torch.ones(N, N + 1), "phi"),
        (lambda y: y[:-1], torch.ones(N, N), "localized_attack: y must have shape"),
        (lambda y: torch.stack([y] * 3), torch.ones(2, N, N), "one batch dimension"),
        (lambda y: y[None, None], torch.ones(N, N), "one batch dimension"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(y, phi, message):
    op, measured, _ = problem()
    with pytest.raises(ValueError, match=message):
        localized_attack(op.A_dagger, y(measured), op, LEVEL, phi)


@pytest.mark.parametrize(("screen", "batched"), [(0, False), (65, False), (None, True)])
def test_a_grid_attack_with_wrong_arguments_is_refused(screen, batched):
    op, y, _ = problem()
    with pytest.raises(ValueError, match="grid_attack: y" if batched else "grid_attack: screen .*from 1 to 64"):
        grid_attack(op.A_dagger, y[None] if batched else y, op, LEVEL, sigma=2, screen=screen)


@pytest.mark.parametrize("norm", [anisotropic, isotropic])
def test_any_norm_can_be_attacked(norm):
    op, y, eta = problem(5, 17)
    rec, phi = fast_tv(op, LAM, eta, norm=norm), disk_weight(17, (8, 8), 2)
    attack = localized_attack(rec, y, op, LEVEL, phi)
    spike = evaluate_perturbation(rec, y, op, spike_perturbation(op, (8, 8), eta), phi)
    assert attack.objective > 1.01 * spike.objective and attack.amplification > 1


@pytest.mark.parametrize("optimiser", [power_ascent, projected_adam])
def test_a_reconstruction_of_real_images_can_be_attacked(optimiser):
    op, y, eta = problem()
    phi = disk_weight(N, (20, 9), 2)
    attack = localized_attack(lambda y: op.A_dagger(y).real, y, op, LEVEL, phi, optimiser=optimiser)
    assert not attack.artifact.is_complex()
    assert norm(attack.e) <= eta * (1 + 1e-5)
    assert attack.objective == pytest.approx(float(norm(phi * op.A_dagger(attack.e).real, (-2, -1))), rel=1e-5)


def test_a_weight_in_the_last_pixel_has_its_centre_there():
    op, y, _ = problem()
    for value in torch.rand(50, generator=torch.Generator().manual_seed(0)):
        phi = torch.zeros(N, N)
        phi[-1, -1] = value
        assert localized_attack(op.A_dagger, y, op, LEVEL, phi).objective > 0


def test_adam_is_adam_with_the_projection_and_the_modulus_loss():
    # Written out: Kingma and Ba (2015), with their decay rates, ascending.
    n = 12
    op = MaskedFourier(even_mask(n, 0.4, seed=1))
    y, phi = op.A(random(n, n, seed=3)), disk_weight(n, (5, 6), 3)
    eta = 0.2 * norm(y)

    def reconstruct(y):
        return op.A_dagger(y) + 0.1 * op.A_dagger(y) ** 2

    attack = localized_attack(reconstruct, y, op, 0.2, phi, **authors(op, eta, 7, steps=3, step_size=0.3))
    noise = torch.randn(1, op.m, dtype=torch.complex128, generator=torch.Generator().manual_seed(7))[0]
    e, first, second = torch.view_as_real(3 * eta / math.sqrt(op.m) * noise), 0, 0
    for k in range(1, 4):
        e = e.clone().requires_grad_()
        difference = reconstruct(y + torch.view_as_complex(e)).abs() - reconstruct(y).abs()
        (g,) = torch.autograd.grad((phi * difference.square()).sum(), e)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        e = (e + 0.3 * (first / (1 - 0.9**k)) / ((second / (1 - 0.999**k)).sqrt() + 1e-5)).detach()
        e = e * min(1, float(eta / norm(e, (0, 1))))
    assert torch.allclose(attack.e, torch.view_as_complex(e), atol=1e-10)
    assert attack.objective > 1.5 * attack.history[0, 1]  # it ascends


def test_adam_starts_each_gradient_at_the_unperturbed_reconstruction_and_the_ascent_goes_on():
    op, y, _ = problem()

    class Recorder:
        def __init__(self):
            self.states, self.count = [], 0

        def resume(self, y, state):
            self.states.append(state)
            self.count += 1
            return op.A_dagger(y), f"after {self.count}"

        def solve(self, y, state=None):
            return op.A_dagger(y), "clean"

    for optimiser, expected in (
        (functools.partial(projected_adam, steps=3), ["clean"] * 4),
        (functools.partial(power_ascent, steps=2), ["clean", "after 1", "after 2"]),
    ):
        recorder = Recorder()
        localized_attack(recorder, y, op, LEVEL, disk_weight(N, (3, 3), 2), optimiser=optimiser)
        assert recorder.states == expected


@pytest.mark.parametrize(
    ("of_y", "of_e", "of_phi"), [((3,), (), ()), ((), (3,), ()), ((), (), (3,)), ((3,), (3,), (3,))]
)
def test_an_evaluation_broadcasts_all_that_it_is_given(of_y, of_e, of_phi):
    op = MaskedFourier(radial_mask(16, 6), real=True)
    y, e = (op.A(random(*shape, 16, 16, dtype=torch.float64, seed=k)) for k, shape in enumerate((of_y, of_e)))
    phi = disk_weight(16, torch.tensor([[3.0, 4.0], [8.0, 8.0], [12.0, 5.0]]), 3)
    phi = phi if of_phi else phi[0]
    found = evaluate_perturbation(TVReconstruction(op, 0.1), y, op, 0.1 * e, phi)
    shapes = {name: value.shape for name, value in vars(found).items() if isinstance(value, torch.Tensor)}
    images = (3, 16, 16)
    assert shapes == {
        "e": (3, op.m), "image_perturbation": images, "artifact": images,
        "objective": (3,), "amplification": (3,), "history": (2, 0, 3),
    }  # fmt: skip
    one = evaluate_perturbation(
        TVReconstruction(op, 0.1), y[1] if of_y else y, op, 0.1 * (e[1] if of_e else e), phi[1] if of_phi else phi
    )
    assert torch.allclose(one.artifact, found.artifact[1], atol=1e-9)
    assert torch.allclose(one.objective, found.objective[1]) and torch.allclose(
        one.amplification, found.amplification[1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": lambda op: torch.zeros(op.m, dtype=torch.complex64)}, "start must be"),
        ({"start": lambda op: torch.zeros(3, dtype=torch.complex64)}, r"start must have .*, got \(3,\)"),
        ({"reference": lambda op: torch.zeros(N - 1, N - 1)}, r"reference must have .*, got \(31, 31\)"),
        ({"optimiser": lambda op: functools.partial(power_ascent, steps=-1)}, "power_ascent: steps .*got -1"),
        ({"optimiser": lambda op: functools.partial(projected_adam, steps=0)}, "projected_adam: steps .*got 0"),
        ({"start": lambda op: 1j * spike_perturbation(op, (3, 3), 1.0)}, "start must be .* its projection"),
        ({"phi": lambda op: torch.full((N, N), math.nan)}, "phi must be finite"),
        ({"y": lambda op: torch.zeros(op.m, dtype=torch.complex64)}, "y must not be 0"),
        ({"y": lambda op: torch.full((op.m,), math.nan + 0j, dtype=torch.complex64)}, "y must be finite"),
        ({"reconstruct": lambda op: lambda y: op.A_dagger(y) + (y - y.detach()).abs().sqrt().sum()}, "gradient"),
    ],
)
def test_starts_weights_and_gradients_without_use_are_refused(arguments, message):
    op, y, _ = problem()
    given = {"reconstruct": op.A_dagger, "y": y, "phi": disk_weight(N, (3, 3), 2)}
    given |= {name: make(op) for name, make in arguments.items()}
    with pytest.raises(ValueError, match=message):
        localized_attack(op=op, noise_rel=LEVEL, **given)


def test_starts_and_gradients_may_be_conjugated_lazily():
    op, y, _ = problem()
    phi, start = disk_weight(N, (3, 3), 2), spike_perturbation(free(op), (3, 3), 1.0)
    found = localized_attack(lambda y: op.A_dagger(y.conj()), y, free(op), LEVEL, phi, start=start.conj())
    assert found.objective > 0


def test_a_reconstruction_that_is_no_function_is_refused():
    op, y, _ = problem()
    with pytest.raises(TypeError, match="reconstruct must be a function of y, got 'tv'"):
        localized_attack("tv", y, op, LEVEL, disk_weight(N, (3, 3), 2))


def test_a_reconstruction_that_fails_at_the_end_is_refused():
    op, y, _ = problem()
    calls = []

    def reconstruct(y):
        calls.append(y)
        return op.A_dagger(y) * (math.nan if len(calls) == 6 else 1)

    with pytest.raises(ValueError, match="evaluate_perturbation: the result of reconstruct must be finite"):
        localized_attack(
            reconstruct, y, op, LEVEL, disk_weight(N, (3, 3), 2), optimiser=functools.partial(power_ascent, steps=2)
        )
    assert len(calls) == 6  # the unperturbed one, a look whether it comes again, three objectives, the result


@pytest.mark.slow  # four seconds
def test_the_grid_of_the_chapter_has_these_peaks():
    # Processors agree to a thousandth; the chapter prints what they agree on.
    op = MaskedFourier(radial_mask(256, 40), real=True)
    y = op.A(ellipses(1, seed=7, first=6)[0])
    rec = fast_tv(op, calibrated_lambda(0.04, 40), 0.04 * torch.linalg.vector_norm(y))
    grid = grid_attack(rec, y, op, 0.04, sigma=5)
    assert grid.mu.tolist() == [240, 144]
    assert math.isclose(grid.peaks.max(), 8.614, abs_tol=3e-3) and math.isclose(grid.peaks.min(), 7.385, abs_tol=3e-3)


# --- What is asked of a reconstruction


class Normed(torch.nn.Module):
    """The zero-filled image, normalised over the batch in training mode, and with its own statistics after it."""

    def __init__(self, op):
        super().__init__()
        self.op, self.norm = op, torch.nn.BatchNorm2d(1)

    def forward(self, y):
        return self.norm(self.op.A_dagger(y).real[:, None])[:, 0]


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: model.forward], ids=["model", "method"])
def test_a_model_in_training_mode_is_refused_and_stays_as_it_was(wrap):
    op, y, _ = problem()
    model, phi = Normed(op), disk_weight(N, (9, 9), 2)
    for attack in (
        lambda: localized_attack(wrap(model), y, op, LEVEL, phi),
        lambda: grid_attack(wrap(model), y, op, LEVEL, sigma=2, count=2),
        lambda: unperturbed(wrap(model), y),
    ):
        with pytest.raises(ValueError, match=r"reconstruct must be in evaluation mode.*eval\(\)"):
            attack()
    assert model.training and int(model.norm.num_batches_tracked) == 0 and bool((model.norm.running_mean == 0).all())
    attack = localized_attack(wrap(model.eval()), y, op, LEVEL, phi)
    assert attack.amplification == pytest.approx(1, rel=1e-3) and attack.criterion == "as the function returned them"


@pytest.mark.parametrize("count", [None, 3])
def test_random_reconstructions_and_those_that_mix_their_batch_are_refused(count):
    op, y, _ = problem(count=count)
    model, phi, scale = Normed(op), disk_weight(N, (9, 9), 2), op.A_dagger(y).abs().max()
    for reconstruct in (
        lambda y: op.A_dagger(y) + 0.1 * scale * torch.randn(N, N),
        lambda y: torch.nn.functional.dropout(op.A_dagger(y).real),
        lambda y: op.A_dagger(y) - op.A_dagger(y).mean(0),
        lambda y: model(y),
    ):
        with pytest.raises(ValueError, match="localized_attack: reconstruct must give the same image"):
            localized_attack(reconstruct, y, op, LEVEL, phi)


def test_an_attack_says_whether_its_reconstructions_converged():
    op, y, eta = problem()
    rec, phi = fast_tv(op, LAM, eta), disk_weight(N, (9, 9), 2)
    assert localized_attack(rec, y, op, LEVEL, phi).criterion == "proved"
    assert localized_attack(lambda y: rec(y), y, op, LEVEL, phi).criterion == "as the function returned them"
    grid = grid_attack(rec, y, op, LEVEL, sigma=2, count=2)
    assert grid.best.criterion == "proved"


def test_methods_of_another_kind_are_named():
    op, y, _ = problem()

    class One:
        def solve(self, y):
            return op.A_dagger(y)

        def __call__(self, y):
            return op.A_dagger(y)

    class Alone(One):
        def solve(self, y, state):
            return op.A_dagger(y)

    for reconstruct, message in ((One(), "solve must take y and a state"), (Alone(), "solve must return an image and")):
        with pytest.raises(TypeError, match=f"localized_attack: reconstruct.{message}"):
            localized_attack(reconstruct, y, op, LEVEL, disk_weight(N, (9, 9), 2))


def test_without_gradients_an_attack_works_and_in_inference_mode_it_says_why_not():
    op, y, eta = problem()
    rec, phi = fast_tv(op, LAM, eta), disk_weight(N, (9, 9), 2)
    usual = localized_attack(rec, y, op, LEVEL, phi)
    with torch.no_grad():
        assert torch.allclose(localized_attack(rec, y, op, LEVEL, phi).e, usual.e, rtol=1e-4)
    with torch.inference_mode():
        made_there = y.clone()
        with pytest.raises(RuntimeError, match="localized_attack: torch.inference_mode must be off"):
            localized_attack(rec, y, op, LEVEL, phi)
    assert torch.allclose(localized_attack(rec, made_there, op, LEVEL, phi).e, usual.e, rtol=1e-4)


def test_a_weight_may_be_a_set_of_pixels():
    op, y, eta = problem()
    rec, phi = fast_tv(op, LAM, eta), disk_weight(N, (9, 9), 2)
    one, other = (localized_attack(rec, y, op, LEVEL, weight) for weight in (phi, phi > 0))
    assert torch.equal(one.e, other.e) and one.objective == other.objective


# --- The gradient that the optimisers follow


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("modulus", [True, False], ids=["modulus", "difference"])
def test_the_gradient_of_the_objective_is_that_of_finite_differences(modulus, real):
    op = MaskedFourier(radial_mask(12, 4), real)
    y = op.A(random(12, 12, dtype=torch.float64 if real else torch.complex128) + 3)
    rec, phi = TVReconstruction(op, 0.05, iterations=8, threshold=0.1), disk_weight(12, (5, 6), 3)
    reference = rec.solve(y)[0]

    def value(e):
        return objective(e, rec, y[None], phi, reference, modulus=modulus)[0]

    e = spike_perturbation(op, (5, 6), 0.1 * norm(y))[None].requires_grad_()
    (gradient,) = torch.autograd.grad(value(e), e)
    for seed in range(3):
        d = 1e-6 * random(1, op.m, seed=seed)
        change = float((value(e + d) - value(e - d)).detach()) / 2
        assert math.isclose(change, float((gradient.conj() * d).real.sum()), rel_tol=1e-4)


def test_the_objective_is_that_of_the_paper():
    op, y, _ = problem(dtype=torch.float64)
    rec, phi = TVReconstruction(op, LAM), disk_weight(N, (10, 12), 3)
    e, reference = spike_perturbation(op, [[10, 12], [3, 4]], torch.ones(2, dtype=torch.float64)), rec.solve(y)[0]
    value, rho, _ = objective(e, rec, y, phi, reference)
    assert torch.allclose(rho, rec(y + e) - reference) and value.shape == (2,)
    assert torch.allclose(value, ((phi * rho).abs() ** 2).sum((1, 2)).sqrt())
    moduli = objective(e, rec, y, phi, reference, modulus=True)[1]
    assert torch.allclose(moduli, rec(y + e).abs() - reference.abs())


def test_the_amplification_is_a_quotient_of_largest_moduli():
    rho, r = random(3, 5, 5), random(3, 5, 5, seed=1)
    expected = [float(a.abs().max() / b.abs().max()) for a, b in zip(rho, r, strict=True)]
    assert torch.allclose(amplification(rho, r), torch.tensor(expected, dtype=torch.float64))
    assert amplification(rho.numpy(), r.numpy()) == pytest.approx(expected)
    signals = amplification(rho[0].numpy(), r[0].numpy(), axes=1)
    assert signals == pytest.approx((peak(rho[0], 1) / peak(r[0], 1)).numpy())


def test_an_operator_with_two_coils_is_attacked_by_the_same_attack():
    op, x = TwoCoils(radial_mask(64, 12), tol=1e-5), ellipses(1, 64, seed=4)[0].double()
    y, phi = op.A(x), disk_weight(64, (30, 28), 3)
    eta = 0.05 * norm(y)
    rec = dataclasses.replace(fast_tv(op, 2e-3, eta), tol=3e-2)
    attack = localized_attack(rec, y, op, 0.05, phi, optimiser=functools.partial(power_ascent, steps=2))
    spike = evaluate_perturbation(rec, y, op, spike_perturbation(op, (30, 28), eta), phi)
    assert math.isclose(norm(attack.e), eta, rel_tol=1e-9) and attack.objective > spike.objective
    assert attack.amplification > 1


def test_results_compare_and_print():
    op, y, eta = problem()
    attack = localized_attack(fast_tv(op, LAM, eta), y, op, LEVEL, disk_weight(N, (9, 9), 2))
    solved = fast_tv(op, LAM, eta).solve(y)[1]
    for result in (attack, solved, fast_tv(op, LAM, eta)):
        assert result == result and result != dataclasses.replace(result) and type(result).__name__ in repr(result)


@pytest.mark.parametrize("optimiser", [power_ascent, projected_adam])
def test_precision_and_kind_of_reconstruction_and_reference_may_differ(optimiser):
    op = MaskedFourier(radial_mask(16, 5), real=True)
    phi, exact = disk_weight(16, (7, 8), 3), op.A(random(16, 16, dtype=torch.float64) + 2)
    found = [
        localized_attack(rec, exact, op, 0.1, phi, optimiser=optimiser)
        for rec in (op.A_dagger, lambda y: op.A_dagger(y.to(torch.complex64)), lambda y: op.A_dagger(y).real.float())
    ]
    assert all(torch.allclose(found[0].objective, a.objective.double(), rtol=1e-3) for a in found)
    y = exact.to(torch.complex64)
    rec = fast_tv(op, 0.05, 0.1 * float(y.norm()))
    reference = (rec(y) + 0.1j).requires_grad_()
    result = localized_attack(rec, y, op, 0.1, phi, reference=reference, optimiser=optimiser)
    assert result.objective > 0 and not result.history.requires_grad
