"""The TV solver against an independent convex solver, closed forms and its own proof; wrong inputs."""

import dataclasses
import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from helpers import TwoCoils, difference_matrices, even_mask, fourier_matrix, masks, random, random_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import tv
from lib.operators import MaskedFourier, add_noise, gradient, radial_mask
from lib.phantoms import ellipses, shepp_logan
from lib.tv import (
    anisotropic,
    calibrated_lambda,
    certificate,
    isotropic,
    reconstruct_tv,
    separable,
    tv_objective,
)

NORMS = (separable, anisotropic, isotropic)
each_norm = pytest.mark.parametrize("norm", NORMS)
seeds = st.integers(0, 2**32 - 1)


def plain(d):
    """`separable` under another name: the solver then takes the torch formulas instead of the compiled ones."""
    return d.abs()


def norm_of_field(d, norm):
    """Definitions of the three norms for complex differences ``(2, n, n)``, in numpy."""
    if norm is separable:
        return np.abs(d.real).sum() + np.abs(d.imag).sum()
    if norm is anisotropic:
        return np.abs(d).sum()
    return np.sqrt((np.abs(d) ** 2).sum(0)).sum()


def objective_by_matrices(x, y, mask, lam, norm):
    x, y = np.asarray(x), np.asarray(y)
    differences = np.stack([d @ x.ravel() for d in difference_matrices(len(x))]).reshape(2, *x.shape)
    misfit = fourier_matrix(mask) @ x.ravel() - y
    return np.linalg.norm(misfit) ** 2 / 2 + lam * norm_of_field(differences, norm)


def convex_minimum(y, mask, lam, norm, real=False):
    """The problem as Clarabel, an interior-point method, solves it over complex or real images: minimum, minimiser."""
    fourier, differences, n = fourier_matrix(mask), difference_matrices(len(mask)), len(mask)
    a, b = cp.Variable(n * n), np.zeros(n * n) if real else cp.Variable(n * n)  # real and imaginary part
    misfit = cp.hstack([fourier.real @ a - fourier.imag @ b - y.real, fourier.imag @ a + fourier.real @ b - y.imag])
    groups = [d @ part for d in differences for part in (a, b)]
    if norm is separable:
        variation = cp.norm1(cp.hstack(groups))
    else:
        pairs = [groups] if norm is isotropic else [groups[:2], groups[2:]]
        variation = sum(cp.sum(cp.norm(cp.vstack(pair), 2, axis=0)) for pair in pairs)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(misfit) / 2 + lam * variation))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert problem.status == "optimal"
    return problem.value, torch.from_numpy((a.value if real else a.value + 1j * b.value).reshape(n, n))


def feasible_dual(p, op, lam, norm=separable):
    """What the solver makes of its dual fields before it proves anything."""
    return tv._feasible(p, op, torch.as_tensor(lam, dtype=torch.float64), norm)[0]


def noisy_block(n, real, seed=5):
    """A block in heavy noise: generic, so that the minimiser is unique."""
    x = random(n, n, dtype=torch.float64 if real else torch.complex128, seed=seed)
    x[2 : n // 2 + 1, 3 : n - 3] += 4 if real else 4 - 2j
    return x


def block(n):
    x = torch.zeros(n, n, dtype=torch.float64)
    x[n // 4 : 3 * n // 4, n // 3 : n - n // 4] = 1
    x[n // 2 : n - 2, 2 : n // 2] += 0.5
    return x


def mask_of_kind(kind, n):
    """radial: even; for even n its row -n/2 has no mirror image. uneven: no symmetry. headless: even, without 0."""
    if kind == "radial":
        return radial_mask(n, 4)
    if kind == "uneven":
        return random_mask(n, 0.5, seed=1)
    mask = even_mask(n, 0.3, seed=2)
    mask[n // 2, n // 2] = False
    return mask


# --- The objective


@each_norm
@pytest.mark.parametrize("real", [True, False])
def test_the_objective_is_that_of_the_definition(norm, real):
    mask = random_mask(7, 0.5, seed=3)
    op, lam = MaskedFourier(mask), torch.tensor([0.3, 2.0, 0.01], dtype=torch.float64)
    x, y = random(3, 7, 7, dtype=torch.float64 if real else torch.complex128), random(3, op.m, seed=1)
    value = tv_objective(x, y, op, lam, norm)
    assert value.shape == (3,) and value.dtype == torch.float64
    expected = [objective_by_matrices(x[i], y[i], mask, float(lam[i]), norm) for i in range(3)]
    assert np.allclose(value, expected, rtol=1e-12)
    assert math.isclose(tv_objective(x[1], y[1], op, 2.0, norm), expected[1], rel_tol=1e-12)


def test_on_real_images_the_separable_and_the_anisotropic_norm_are_the_same():
    op, x = MaskedFourier(radial_mask(9, 3)), random(9, 9, dtype=torch.float64)
    y = op.A(x)
    assert math.isclose(tv_objective(x, y, op, 1.0, separable), tv_objective(x, y, op, 1.0, anisotropic), rel_tol=1e-13)
    z = x + 1j * x.flip(0)
    assert tv_objective(z, y, op, 1.0, separable) > 1.01 * tv_objective(z, y, op, 1.0, anisotropic)


def test_the_objective_is_summed_in_double_precision():
    op, x = MaskedFourier(torch.ones(64, 64)), random(64, 64, dtype=torch.complex64)
    differences = torch.view_as_real(gradient(x)).double()  # rounded to single precision, and not again
    assert math.isclose(tv_objective(x, op.A(x), op, 0.7), 0.7 * differences.abs().sum(), rel_tol=1e-13)
    y = random(op.m, dtype=torch.complex64, seed=1)
    misfit = (y - op.A(torch.zeros_like(x))).to(torch.complex128)
    assert math.isclose(tv_objective(0 * x, y, op, 0.7), torch.linalg.vector_norm(misfit) ** 2 / 2, rel_tol=1e-13)


@pytest.mark.parametrize("length", [14, 1])
def test_the_objective_refuses_measurements_of_the_wrong_length(length):
    # A length of 1 would broadcast and give a number without meaning.
    op = MaskedFourier(radial_mask(8, 2))
    with pytest.raises(ValueError, match=rf"tv_objective: y .*15.*got \({length},\)"):
        tv_objective(random(8, 8), random(length), op, 1.0)


# --- The minimiser


@each_norm
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("kind", ["radial", "uneven", "headless"])
@pytest.mark.parametrize("n", [10, 9])
def test_the_solver_agrees_with_an_independent_convex_solver(n, kind, real, norm):
    mask, lam = mask_of_kind(kind, n), 0.3
    op = MaskedFourier(mask)
    y = op.A(noisy_block(n, real))
    minimum, minimiser = convex_minimum(y.numpy(), mask, lam, norm)
    result = reconstruct_tv(y, op, lam, norm=norm, tol=1e-8, max_iter=20000)
    assert result.converged
    assert abs(float(result.objective) / minimum - 1) < 1e-7
    assert math.isclose(objective_by_matrices(result.image, y, mask, lam, norm), minimum, rel_tol=1e-7)
    if not mask[n // 2, n // 2]:  # the mean is free, and 0 by convention
        assert result.image.mean().abs() < 1e-12
        minimiser = minimiser - minimiser.mean()
    assert (result.image - minimiser).abs().max() < 1e-4


def test_with_a_full_mask_a_step_edge_shrinks_as_computed_by_hand():
    # Two halves of heights 0 and h, 2 n edge pixels between them (periodic), n^2/2 pixels each: the optimality
    # condition moves each half by lam * 2 n / (n^2/2) = 4 lam / n towards the other.
    n, h, lam = 12, 1.0, 0.6
    x = torch.zeros(n, n, dtype=torch.float64)
    x[n // 2 :] = h
    op = MaskedFourier(torch.ones(n, n))
    move = 4 * lam / n
    expected = x + move * (1 - 2 * x / h)
    minimum = n**2 * move**2 / 2 + lam * 2 * n * (h - 2 * move)
    for norm in NORMS:
        result = reconstruct_tv(op.A(x), op, lam, norm=norm, tol=1e-9)
        assert math.isclose(result.objective, minimum, rel_tol=1e-8)
        assert (result.image - expected).abs().max() < 1e-4


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("lam", [30.0, 1e20])
@each_norm
def test_a_large_lambda_leaves_the_mean_proved_without_iterating(norm, lam, real):
    op, x = MaskedFourier(radial_mask(16, 5), real), block(16)
    y = op.A(x)
    lams = torch.tensor([lam, lam, 1e-3], dtype=torch.float64)
    result = reconstruct_tv(torch.stack([y, 1e-6 * y, y]), op, lams, tol=1e-6, norm=norm)
    assert (result.n_iter[:2] == 0).all() and result.n_iter[2] > 0 and result.converged[:2].all()
    proof = certificate(result.image[0], result.dual[0], y, op, lam, norm)
    assert proof.infeasibility < 1e-11 and proof.gap <= 1e-6 * proof.objective
    assert torch.allclose(result.image[2], reconstruct_tv(y, op, 1e-3, tol=1e-6, norm=norm).image, atol=1e-9)
    result = reconstruct_tv(y, op, lam, norm=norm)
    assert (result.image - x.mean()).abs().max() < 1e-12
    variance = torch.linalg.vector_norm(y) ** 2 - (16 * x.mean()) ** 2  # what the mean does not explain
    assert math.isclose(result.objective, variance / 2, rel_tol=1e-12)


def test_where_a_constant_image_is_not_optimal_it_is_not_returned():
    # just below the lambda from which on p proves it, and where the mean is not measured
    op, y = problem()
    lam = float(tv._largest(gradient(tv._laplacian_inverse(op.A_adjoint(y) - op.A_adjoint(y).mean())), separable))
    assert reconstruct_tv(y, op, 1.001 * lam).n_iter == 0 < reconstruct_tv(y, op, 0.999 * lam).n_iter
    op = MaskedFourier(mask_of_kind("headless", 12), real=True)
    result = reconstruct_tv(op.A(noisy_block(12, True)), op, 1e3)
    assert result.n_iter == 0 and (result.image == 0).all() and result.converged


@pytest.mark.parametrize(("n", "image"), [(32, block(32)), (33, block(33)), (64, shepp_logan(64).double())])
def test_a_gradient_sparse_image_is_recovered_exactly_in_the_noiseless_limit(n, image):
    op = MaskedFourier(radial_mask(n, n // 3))
    assert op.m < 0.5 * n**2
    y, size = op.A(image), torch.linalg.vector_norm(image)
    assert torch.linalg.vector_norm(op.A_dagger(y) - image) > 0.08 * size  # not to be had from the data alone
    lams = (1e-2, 1e-3, 1e-4)
    errors = [
        float(torch.linalg.vector_norm(reconstruct_tv(y, op, lam, tol=1e-6, max_iter=20000).image - image) / size)
        for lam in lams
    ]
    # The error is proportional to lambda: its limit is 0.
    assert errors[0] < 0.1 and errors[2] < 1e-3
    assert all(later < 0.2 * earlier for earlier, later in zip(errors, errors[1:], strict=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1.0, 0.3, -2.0])
def test_a_constant_image_is_recovered_at_once(dtype, value):
    op, x = MaskedFourier(radial_mask(16, 4)), torch.full((16, 16), value, dtype=dtype)
    result = reconstruct_tv(op.A(x), op, 0.1)
    assert result.converged and result.n_iter <= 10
    assert torch.allclose(result.image, x.to(result.image.dtype), atol=1e-6)


@each_norm
def test_zero_measurements_give_a_zero_image(norm):
    op = MaskedFourier(radial_mask(16, 4))
    result = reconstruct_tv(torch.zeros(2, op.m, dtype=torch.complex64), op, 0.1, norm=norm)
    assert (result.image == 0).all() and (result.objective == 0).all() and (result.gap == 0).all()
    assert result.converged.all()


def test_at_common_noise_levels_no_pixel_is_off_by_much_more_than_the_tolerance():
    # Measured, not proved: relative to the largest pixel, against a solution a hundred times as accurate.
    tol, op, x = 1e-3, MaskedFourier(radial_mask(128, 20)), ellipses(1, 128, seed=7)[0].double()
    y = torch.stack([add_noise(op.A(x), level, seed=1) for level in (0.005, 0.04, 0.1)])
    lam = torch.tensor([3e-4, 5e-3, 2e-2])
    reference = reconstruct_tv(y, op, lam, tol=1e-5, max_iter=5000)
    assert reference.converged.all()
    for dtype in (torch.complex64, torch.complex128):
        result = reconstruct_tv(y.to(dtype), op, lam, tol=tol)
        assert result.converged.all() and result.image.dtype == dtype
        error = (result.image - reference.image).abs().amax((1, 2)) / reference.image.abs().amax((1, 2))
        assert error.max() < 3 * tol
        assert error.max() > 1e-6  # the reference is another computation


def test_the_functional_can_be_differentiated_and_mapped():
    op, y = problem(n=12, images=2)
    x, direction = (random(2, 12, 12, dtype=torch.float64, seed=seed) for seed in (1, 2))

    def value(z):
        return tv_objective(z, y, op, 0.1).sum()

    change = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    assert math.isclose((torch.func.grad(value)(x) * direction).sum(), change, rel_tol=1e-6)
    assert math.isclose(torch.func.jvp(value, (x,), (direction,))[1], change, rel_tol=1e-6)
    assert torch.equal(torch.func.vmap(lambda a, b: tv_objective(a, b, op, 0.1))(x, y), tv_objective(x, y, op, 0.1))


# --- The proof


@each_norm
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("n", [10, 9])
def test_the_gap_brackets_the_known_minimum_at_every_iterate(n, real, norm):
    mask, lam = radial_mask(n, 4), 0.5
    op = MaskedFourier(mask)
    y = op.A(noisy_block(n, real, seed=8))
    minimum, minimiser = convex_minimum(y.numpy(), mask, lam, norm)
    gaps, room = [], 1e-8 * minimum  # Clarabel's own accuracy
    for max_iter in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144):
        result = reconstruct_tv(y, op, lam, norm=norm, tol=1e-12, max_iter=max_iter)
        proof = certificate(result.image, result.dual, y, op, lam, norm)
        assert proof.infeasibility < 1e-11
        assert proof.dual_objective <= minimum + room
        assert minimum <= proof.objective + room
        assert torch.allclose(result.gap, proof.gap, rtol=1e-9, atol=1e-12)
        assert torch.allclose(result.objective, proof.objective, rtol=1e-12)
        assert math.isclose(result.gap, proof.objective - proof.dual_objective, rel_tol=1e-9, abs_tol=1e-12)
        # A^*A is strongly convex in the data: the docstring's bound
        distance = torch.linalg.vector_norm(op.A(result.image - minimiser))
        assert distance <= torch.sqrt(2 * result.gap) + 1e-4
        gaps.append(float(result.gap))
    assert gaps[-1] < 0.01 * gaps[0]  # the bracket closes


@settings(max_examples=60)
@given(masks(n_max=9), st.sampled_from(NORMS), st.floats(-3, 1), st.booleans(), seeds)
def test_weak_duality_holds_for_any_image_and_any_field_made_feasible(mask, norm, log_lam, real, seed):
    op, lam, n = MaskedFourier(mask), torch.tensor(10**log_lam, dtype=torch.float64), len(mask)
    dtype = torch.float64 if real else torch.complex128
    x, p, y = random(n, n, seed=seed), random(2, n, n, dtype=dtype, seed=seed + 1), random(op.m, seed=seed + 2)
    p = feasible_dual(p, op, lam, norm)
    proof = certificate(x, p, y, op, lam, norm)
    assert proof.dual_objective <= proof.objective
    # Feasible by the definition too, in numpy: in the ball, and the adjoint gradient in the range of A*.
    field, matrix, lam = p.numpy(), fourier_matrix(mask), float(lam)
    if norm is separable:
        assert max(np.abs(field.real).max(), np.abs(field.imag).max()) <= lam * (1 + 1e-12)
    else:
        magnitude = np.abs(field) if norm is anisotropic else np.linalg.norm(field, axis=0)
        assert magnitude.max() <= lam * (1 + 1e-12)
    down, right = difference_matrices(n)
    z = down.T @ field[0].ravel() + right.T @ field[1].ravel()
    q = matrix @ z
    assert proof.infeasibility < 1e-9
    assert np.linalg.norm(z - matrix.conj().T @ q) < 1e-11 * lam * n
    # and the dual objective is that of the definition
    dual_objective = np.vdot(q, y.numpy()).real - np.linalg.norm(q) ** 2 / 2
    assert math.isclose(proof.dual_objective, dual_objective, rel_tol=1e-10, abs_tol=1e-10)


@each_norm
def test_a_feasible_point_stays_where_it_is(norm):
    op, lam = MaskedFourier(random_mask(12, 0.4, seed=3)), torch.tensor([0.5, 2.0])
    p = feasible_dual(random(2, 2, 12, 12), op, lam, norm)
    assert p.shape == (2, 2, 12, 12) and p.is_complex()
    assert torch.allclose(feasible_dual(p, op, lam, norm), p, atol=1e-13)
    assert torch.allclose(feasible_dual(0.5 * p, op, lam, norm), 0.5 * p, atol=1e-13)  # inside the ball: not scaled


@each_norm
def test_an_infeasible_dual_point_is_reported_as_such(norm):
    op, lam = MaskedFourier(radial_mask(12, 3)), 0.75
    x, y = random(12, 12), random(op.m)
    feasible = feasible_dual(100 * random(2, 12, 12), op, lam, norm)
    assert certificate(x, feasible, y, op, lam, norm).infeasibility < 1e-12
    # twice too large, but in the right subspace: out of the ball by a factor of 2, an excess of 1
    too_large = certificate(x, 2 * feasible, y, op, lam, norm).infeasibility
    assert math.isclose(too_large, 1, rel_tol=1e-9)
    # in the ball, but not in the subspace
    assert certificate(x, 1e-3 * random(2, 12, 12), y, op, lam, norm).infeasibility > 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_dual_point_that_explains_nothing_is_feasible_too(seed):
    # With the zero frequency alone, A grad* p = 0 for each p: the size to compare with is that of p, not of rounding.
    mask = torch.zeros(8, 8)
    mask[4, 4] = 1
    op = MaskedFourier(mask)
    p = feasible_dual(random(2, 8, 8, seed=seed), op, 1.0)
    assert certificate(random(8, 8), p, random(1), op, 1.0).infeasibility < 1e-11


@pytest.mark.parametrize("lam", [0.1, 0.3, 1e-3])
def test_lambda_given_as_a_number_is_not_rounded_to_single_precision(lam):
    op, x = MaskedFourier(radial_mask(12, 3)), random(12, 12)
    y, double = op.A(x), torch.tensor(lam, dtype=torch.float64)
    assert math.isclose(tv_objective(x, y, op, lam), tv_objective(x, y, op, double), rel_tol=1e-14)
    p = feasible_dual(100 * random(2, 12, 12), op, double)
    assert certificate(x, p, y, op, lam).infeasibility < 1e-12


def test_the_proof_takes_batches_with_one_lambda_each():
    op, lam = MaskedFourier(radial_mask(12, 3)), torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    x, y = random(2, 3, 12, 12), random(2, 3, op.m)
    p = feasible_dual(random(2, 3, 2, 12, 12), op, lam)
    proof = certificate(x, p, y, op, lam)
    for name, value in vars(proof).items():
        assert value.shape == (2, 3) and value.dtype == torch.float64, name
    alone = certificate(x[1, 2], p[1, 2], y[1, 2], op, 3.0)
    assert math.isclose(proof.gap[1, 2], alone.gap, rel_tol=1e-12)


# --- Projection


@each_norm
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_projection_is_the_nearest_point_of_the_dual_ball(norm, dtype):
    # v -> P v is the projection on a convex set if and only if P v lies in it and Re<v - P v, w - P v> <= 0 for each
    # w in it. The largest value over the ball is t ||v - P v||_1, with the norm itself.
    v, t = 2 * random(3, 2, 6, 6, dtype=dtype), torch.tensor([0.5, 2.0, 100.0], dtype=torch.float64)
    projected = tv.project(v, t, norm)
    assert projected.shape == v.shape and projected.dtype == dtype
    for i in range(3):
        p, rest = projected[i], v[i] - projected[i]
        inside = norm(tv._parts(p)).max() <= t[i] * (1 + 1e-14)
        largest = t[i] * norm_of_field(rest.numpy(), norm)
        assert inside and abs(torch.sum(rest.conj() * p).real - largest) < 1e-11
    assert torch.equal(projected[2], v[2])  # all inside
    assert 0 < (projected[1] == v[1]).double().mean() < 1 and (projected[0] != v[0]).any()


@each_norm
def test_the_projection_agrees_with_numerical_minimisation(norm):
    v, t, n = 2 * random(1, 2, 3, 3, seed=4), 1.1, 3
    a, b = cp.Variable((2, n * n)), cp.Variable((2, n * n))  # real and imaginary part of both directions
    flat = v.numpy().reshape(2, n * n)
    rows = [a[0], b[0], a[1], b[1]]
    groups = {separable: [[row] for row in rows], anisotropic: [rows[:2], rows[2:]], isotropic: [rows]}[norm]
    ball = [cp.norm(cp.vstack(group), 2, axis=0) <= t for group in groups]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(a - flat.real) + cp.sum_squares(b - flat.imag)), ball)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    projected = tv.project(v, torch.tensor([t], dtype=torch.float64), norm)
    assert np.allclose(projected.numpy().reshape(2, n * n), a.value + 1j * b.value, atol=1e-5)


# --- Compiled and plain formulas


@pytest.mark.parametrize("n", [16, 17])
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
def test_compiled_and_plain_solver_give_the_same(n, real):
    mask = even_mask(n, 0.3, seed=4)
    op = MaskedFourier(mask)
    y = op.A(noisy_block(n, real))
    mine, theirs = (reconstruct_tv(y, op, 0.3, norm=norm) for norm in (separable, plain))
    assert mine.n_iter == theirs.n_iter
    assert torch.allclose(mine.image, theirs.image, atol=1e-9)


# --- Real images


@each_norm
@pytest.mark.parametrize("kind", ["radial", "uneven", "headless"])
@pytest.mark.parametrize("n", [10, 9])
def test_among_real_images_the_minimum_is_that_of_a_convex_solver(n, kind, norm):
    # complex noise, which no real image explains; for n = 10 also frequencies -n/2 whose mirror image is not sampled
    mask, lam = mask_of_kind(kind, n), 0.3
    op = MaskedFourier(mask, real=True)
    y = op.A(noisy_block(n, True)) + random(op.m, seed=3)
    minimum, minimiser = convex_minimum(y.numpy(), mask, lam, norm, real=True)
    gaps = []
    for max_iter in (1, 5, 34, 20000):
        result = reconstruct_tv(y, op, lam, norm=norm, tol=1e-9, max_iter=max_iter)
        proof = certificate(result.image, result.dual, y, op, lam, norm)
        assert proof.infeasibility < 1e-11 and not result.dual.is_complex()
        assert proof.dual_objective <= minimum * (1 + 1e-8) and minimum <= proof.objective * (1 + 1e-8)
        assert torch.allclose(result.gap, proof.gap, rtol=1e-9, atol=1e-11)
        gaps.append(float(result.gap))
    assert result.converged and result.criterion == "proved" and gaps[-1] <= 1e-9 * minimum < 0.01 * gaps[0]
    assert not result.image.is_complex()
    if not mask[n // 2, n // 2]:  # the mean is free, and 0 by convention
        minimiser = minimiser - minimiser.mean()
    assert (result.image - minimiser).abs().max() < 1e-4


@pytest.mark.parametrize("n", [10, 9, 32, 33])
def test_for_a_real_image_and_the_separable_norm_both_domains_have_one_minimum(n):
    mask, x = radial_mask(n, 4 + n // 8), noisy_block(n, True) if n < 12 else ellipses(1, n, seed=4)[0].double()
    real, free = MaskedFourier(mask, real=True), MaskedFourier(mask)
    lam, y = 0.3 if n < 12 else 3e-3, free.A(x)
    a, b = (reconstruct_tv(y, op, lam, tol=1e-8, max_iter=20000) for op in (real, free))
    assert a.converged and b.converged and math.isclose(a.objective, b.objective, rel_tol=1e-7)
    assert (a.image - b.image).abs().max() < 1e-3 * b.image.abs().max()


def unpaired_problem():
    """A real image whose complex minimiser is not real: much is sampled at frequency -n/2, whose mirror is missing."""
    rng = np.random.default_rng(36)
    n = int(rng.choice([4, 6, 8, 10]))
    mask = even_mask(n, rng.random() * 0.5, seed=36)
    mask[0], mask[:, 0] = (torch.from_numpy(rng.random(n) < 0.5) for _ in range(2))
    op = MaskedFourier(mask)
    return op, op.A(random(n, n, dtype=torch.float64, seed=36)), 10 ** rng.uniform(-2, 0.5)


def test_where_the_complex_minimiser_is_not_real_each_domain_has_its_own():
    free, y, lam = unpaired_problem()
    for real in (True, False):
        minimum, minimiser = convex_minimum(y.numpy(), free.mask, lam, separable, real)
        result = reconstruct_tv(y, MaskedFourier(free.mask, real), lam, tol=1e-8, max_iter=20000)
        assert result.converged and math.isclose(result.objective, minimum, rel_tol=1e-7)
        assert (result.image - minimiser).abs().max() < 1e-3
    assert minimiser.imag.abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_real_images_keep_the_precision_of_the_measurements(dtype):
    op = MaskedFourier(radial_mask(32, 8), real=True)
    y = op.A(ellipses(2, 32, seed=4)).to(dtype)
    result = reconstruct_tv(y, op, 5e-3)
    assert result.converged.all() and result.image.dtype == result.dual.dtype == dtype.to_real()


# --- Other operators


def test_an_operator_without_a_projection_is_solved_by_residuals():
    n, lam = 8, 0.1
    op = TwoCoils(radial_mask(n, 3))
    y = torch.stack([op.A(noisy_block(n, False)), torch.zeros(op.m, dtype=torch.complex128)])
    result = reconstruct_tv(y, op, lam, tol=1e-5, max_iter=5000)
    assert result.criterion == "by residuals" and result.converged.all() and result.gap.isnan().all()
    assert (result.image[1] == 0).all()
    matrix = op.A(torch.eye(n * n, dtype=torch.complex128).unflatten(1, (n, n))).T.numpy()
    a, b = cp.Variable(n * n), cp.Variable(n * n)
    misfit = (
        matrix.real @ a - matrix.imag @ b - y[0].real.numpy(),
        matrix.imag @ a + matrix.real @ b - y[0].imag.numpy(),
    )
    variation = cp.norm1(cp.hstack([d @ part for d in difference_matrices(n) for part in (a, b)]))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(cp.hstack(misfit)) / 2 + lam * variation))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert math.isclose(result.objective[0], problem.value, rel_tol=1e-6)
    assert (result.image[0].flatten() - torch.from_numpy(a.value + 1j * b.value)).abs().max() < 1e-3


def test_two_coils_at_64_are_solved_by_the_same_solver():
    op, x = TwoCoils(radial_mask(64, 12), tol=1e-6), ellipses(1, 64, seed=4)[0].double()
    y = add_noise(op.A(x), 0.02, seed=1)
    rough, exact = (reconstruct_tv(y, op, 1e-3, tol=tol, max_iter=2000) for tol in (1e-1, 1e-2))
    assert rough.converged and exact.converged and exact.criterion == "by residuals"
    assert exact.objective < rough.objective < 1.1 * exact.objective
    assert torch.linalg.vector_norm(exact.image - x) < 0.5 * torch.linalg.vector_norm(op.A_dagger(y) - x)


# --- Scale, batches, warm starts, limits


def problem(n=24, images=1, dtype=torch.complex128, noise=0.05, lines=8, seed=0):
    op = MaskedFourier(radial_mask(n, lines))
    return op, add_noise(op.A(ellipses(images, n, seed=seed).double()), noise, seed=seed).to(dtype)


@each_norm
@pytest.mark.parametrize("factor", [1024.0, 1000.0, 1e-6, -1.0, 1j])
def test_a_rescaled_problem_takes_the_same_steps(norm, factor):
    op, y = problem()
    one, other = reconstruct_tv(y, op, 0.01, norm=norm), reconstruct_tv(factor * y, op, abs(factor) * 0.01, norm=norm)
    assert one.n_iter == other.n_iter and one.converged
    assert torch.allclose(other.image / factor, one.image, atol=1e-9)
    assert torch.allclose(other.objective / abs(factor) ** 2, one.objective, rtol=1e-9)
    assert torch.allclose(other.gap / abs(factor) ** 2, one.gap, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e20, 1e36])
def test_squares_that_single_precision_cannot_hold_do_no_harm(factor):
    # An objective of 1e40 is beyond complex64, and one of 1e-60 is 0 there: a gap of -inf or 0 would pass for a proof.
    op, y = problem(dtype=torch.complex64)
    one, other = reconstruct_tv(y, op, 0.01), reconstruct_tv(factor * y, op, factor * 0.01)
    assert one.n_iter == other.n_iter and other.converged
    assert torch.allclose(other.image / factor, one.image, atol=1e-5)
    assert torch.allclose(other.objective / factor / factor, one.objective, rtol=1e-6)
    assert torch.allclose(other.gap / factor / factor, one.gap, rtol=0.02)


def test_a_reflected_image_is_reconstructed_as_the_reflection():
    # The other way round, differences are backward: the same problem, for a norm that treats them one by one.
    op, x = MaskedFourier(even_mask(15, 0.4, seed=1)), noisy_block(15, real=True)
    flipped = MaskedFourier(op.mask.flip(0))
    mirrored = x.flip(0)
    one = reconstruct_tv(op.A(x), op, 0.3, tol=1e-7).image
    other = reconstruct_tv(flipped.A(mirrored), flipped, 0.3, tol=1e-7).image
    assert (one - other.flip(0)).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_results_keep_dtype_device_and_batch_shape(dtype):
    op, y = problem(images=6, dtype=dtype)
    for batch in ((), (1,), (2, 3), (6,)):
        result = reconstruct_tv(y[: math.prod(batch)].reshape(*batch, op.m), op, 0.01)
        assert result.image.shape == (*batch, 24, 24) and result.dual.shape == (*batch, 2, 24, 24)
        assert result.image.dtype == result.dual.dtype == dtype
        for name, kind in (
            ("objective", torch.float64),
            ("gap", torch.float64),
            ("n_iter", torch.int64),
            ("converged", torch.bool),
        ):
            assert getattr(result, name).shape == batch and getattr(result, name).dtype == kind, name
        assert all(a.device == y.device for a in vars(result).values() if isinstance(a, torch.Tensor))


def test_an_empty_batch_gives_an_empty_result():
    op, y = problem()
    for batch, real in (((0,), False), ((2, 0), False), ((0,), True)):
        domain = MaskedFourier(op.mask, real)
        assert domain.adjoint_dagger(torch.zeros(*batch, 24, 24)).shape == (*batch, op.m)
        result = reconstruct_tv(y[:0].reshape(*batch, op.m), domain, 0.01)
        assert result.image.shape == (*batch, 24, 24) and result.gap.shape == batch


@each_norm
def test_each_image_of_a_batch_is_reconstructed_as_if_alone(norm):
    op, y = problem(images=6)
    lam = torch.tensor([[0.001, 0.01, 0.1], [0.003, 0.03, 0.3]], dtype=torch.float64)
    together = reconstruct_tv(y.reshape(2, 3, op.m), op, lam, norm=norm)
    assert len(together.n_iter.unique()) > 2  # images leave the batch at different times
    for i in range(6):
        alone = reconstruct_tv(y[i], op, float(lam.flatten()[i]), norm=norm)
        assert together.n_iter.flatten()[i] == alone.n_iter
        assert torch.allclose(together.image.flatten(0, 1)[i], alone.image, atol=1e-10)
        assert torch.allclose(together.gap.flatten()[i], alone.gap, rtol=1e-6)


def test_lambda_broadcasts_to_the_batch():
    op, y = problem(images=6)
    y, lam = y.reshape(2, 3, op.m), torch.tensor([[0.01], [0.1]], dtype=torch.float64)
    result = reconstruct_tv(y, op, lam)
    assert torch.equal(result.image, reconstruct_tv(y, op, lam.expand(2, 3)).image)
    assert (result.image[0] - reconstruct_tv(y[0], op, 0.01).image).abs().max() < 1e-10


def test_a_batch_that_is_worked_off_in_pieces_is_complete():
    # More images than one piece holds (2^19 pixels), with the last piece of one image.
    op, y = problem(n=64, images=2, dtype=torch.complex64, lines=10)
    many, lam = torch.cat([y[:1].expand(128, -1), y[1:]]), torch.full((129,), 0.01, dtype=torch.float64)
    lam[128] = 0.03
    result = reconstruct_tv(many, op, lam, max_iter=10)
    alone = reconstruct_tv(y, op, lam[[0, 128]], max_iter=10)
    assert torch.allclose(result.image[-1], alone.image[1], atol=1e-5)
    assert torch.allclose(result.image[:128], alone.image[:1].expand(128, -1, -1), atol=1e-5)
    assert (result.n_iter == 10).all() and result.gap.isfinite().all()


@each_norm
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
def test_a_warm_start_from_a_previous_result_is_faster_and_gives_the_same(real, norm):
    op, x = MaskedFourier(even_mask(24, 0.35, seed=3)), ellipses(1, 24, seed=2)[0].double()
    y = op.A(x) if real else add_noise(op.A(x), 0.05, seed=0)
    before = reconstruct_tv(y, op, 0.01, norm=norm, tol=1e-4, max_iter=5000)
    again = reconstruct_tv(y, op, 0.01, norm=norm, tol=1e-4, init=before, max_iter=5000)
    assert again.converged and again.n_iter <= 20 < before.n_iter  # nothing is left to do
    change = 2e-4 * torch.linalg.vector_norm(y) / math.sqrt(op.m)
    nearby = y + (op.A(change * random(24, 24, dtype=torch.float64)) if real else change * random(op.m))
    cold = reconstruct_tv(nearby, op, 0.01, norm=norm, tol=1e-4, max_iter=5000)
    warm = reconstruct_tv(nearby, op, 0.01, norm=norm, tol=1e-4, init=before, max_iter=5000)
    assert warm.converged and cold.converged and warm.n_iter < cold.n_iter
    assert (warm.image - cold.image).abs().max() < 5e-3
    assert torch.allclose(warm.objective, cold.objective, rtol=2e-4)


def test_any_image_may_start_the_iteration():
    op, y = problem(images=2)
    cold = reconstruct_tv(y, op, 0.01, tol=1e-5, max_iter=10000)
    for init in (
        cold.image,
        cold.image[0],  # one for all
        cold.image.real.float(),
        random(24, 24),
        torch.zeros(24, 24),
    ):
        warm = reconstruct_tv(y, op, 0.01, tol=1e-5, max_iter=10000, init=init)
        assert warm.converged.all() and (warm.image - cold.image).abs().max() < 1e-3


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(
    "change",
    [lambda a: a.mT.contiguous().mT, lambda a: a.to(torch.promote_types(a.dtype, torch.float64))],
    ids=["transposed in memory", "double"],
)
def test_a_start_may_have_any_layout_and_precision(change, real):
    op, x = MaskedFourier(radial_mask(32, 8)), ellipses(2, 32, seed=3)
    x = x[0] if real else torch.complex(x[0], x[1])
    y = op.A(x).to(torch.complex64)
    first = reconstruct_tv(y, op, 1e-3, tol=0.1)
    starts = [dataclasses.replace(first, image=f(first.image), dual=f(first.dual)) for f in (torch.clone, change)]
    usual, other = (reconstruct_tv(y, op, 1e-3, init=start) for start in starts)
    assert bool(other.converged) and other.n_iter == usual.n_iter
    assert torch.allclose(other.image, usual.image, rtol=0, atol=1e-5)
    image = reconstruct_tv(y, op, 1e-3, init=change(x))
    assert bool(image.converged) and image.n_iter == reconstruct_tv(y, op, 1e-3, init=x).n_iter


def test_a_start_may_be_of_integers():
    op = MaskedFourier(radial_mask(32, 8))
    y = op.A((ellipses(1, 32, seed=3)[0] > 0.3).float())
    assert bool(reconstruct_tv(y, op, 1e-3, init=torch.eye(32, dtype=torch.int64)).converged)


def test_the_mean_is_zero_where_it_is_not_measured_whatever_the_start():
    mask = mask_of_kind("headless", 16)
    op = MaskedFourier(mask)
    y = op.A(noisy_block(16, real=False))
    result = reconstruct_tv(y, op, 0.3, init=torch.ones(16, 16))
    assert result.converged and result.image.mean().abs() < 1e-12


@pytest.mark.parametrize("max_iter", [1, 7, 10, 23, 40])
@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["real", "complex"])
def test_exhausted_iterations_are_counted_exactly_and_the_gap_still_holds(max_iter, noise):
    op, y = problem(images=3, noise=noise)
    result = reconstruct_tv(y, op, 0.01, tol=1e-6, max_iter=max_iter)
    assert not result.converged.any() and (result.n_iter == max_iter).all()
    proof = certificate(result.image, result.dual, y, op, 0.01)
    assert (proof.infeasibility < 1e-11).all() and torch.allclose(proof.gap, result.gap)
    best = reconstruct_tv(y, op, 0.01, tol=1e-6, max_iter=20000).objective
    assert (proof.dual_objective <= best).all() and (best <= result.objective * (1 + 1e-6)).all()


def test_more_iterations_continue_the_same_sequence():
    op, y = problem()
    gaps = [float(reconstruct_tv(y, op, 0.01, tol=1e-9, max_iter=k).gap) for k in (10, 50, 200, 800)]
    assert all(later < earlier for earlier, later in zip(gaps, gaps[1:], strict=False))


@pytest.mark.parametrize("n", [48, 64, 65])
def test_an_image_that_has_not_converged_has_used_all_its_iterations(n):
    # In complex64 a proof may fail by rounding: then the solver has to go on, not to give up.
    op = MaskedFourier(radial_mask(n, n // 6))
    y = op.A(ellipses(12, n, seed=7))
    result = reconstruct_tv(y, op, 3e-4, tol=3e-4, max_iter=600)
    assert ((result.n_iter == 600) | result.converged).all()
    assert torch.equal(result.converged, result.gap <= 3e-4 * result.objective)


@pytest.mark.parametrize(("n", "lines"), [(64, 12), (65, 12)])
def test_single_precision_reaches_the_default_tolerance(n, lines):
    # rounding limits the gap in complex64 at about 1e-4: 1e-3 is reached
    op = MaskedFourier(radial_mask(n, lines))
    result = reconstruct_tv(op.A(ellipses(20, n, seed=7)), op, 3e-4, max_iter=3000)
    assert result.converged.all()


def test_a_converged_result_is_within_its_tolerance():
    op, y = problem(images=3)
    for tol in (1e-1, 1e-2, 1e-4):
        result = reconstruct_tv(y, op, 0.01, tol=tol, max_iter=5000)
        assert result.converged.all() and (result.gap <= tol * result.objective).all()
        minimum = reconstruct_tv(y, op, 0.01, tol=1e-8, max_iter=20000).objective
        assert (result.objective <= minimum / (1 - tol)).all()


def test_on_check_sees_each_look_at_the_gap():
    op, y = problem(images=3)
    lam, calls = torch.tensor([0.1, 0.01, 0.001]), []

    def on_check(n_iter, index, image, objective, gap):
        (iteration,) = set(n_iter.tolist())
        calls.append((iteration, index.tolist(), image.shape, image.dtype, objective.clone(), gap.clone()))

    result = reconstruct_tv(y, op, lam, on_check=on_check, max_iter=1995)
    assert torch.equal(result.image, reconstruct_tv(y, op, lam, max_iter=1995).image)  # only looks
    assert [c[0] for c in calls] == [min(10 * (k + 1), 1995) for k in range(len(calls))]
    assert calls[0][1] == [0, 1, 2] and calls[-1][1] == [2]
    for iteration, index, shape, dtype, objective, gap in calls:
        assert index == [i for i in range(3) if result.n_iter[i] >= iteration]  # those still at work
        assert shape == (len(index), 24, 24) and dtype == torch.complex128
        assert objective.shape == gap.shape == (len(index),)
        for i, position in enumerate(index):
            if iteration == result.n_iter[position]:
                assert math.isclose(objective[i], result.objective[position], rel_tol=1e-9)
                assert math.isclose(gap[i], result.gap[position], rel_tol=1e-3)


def test_neither_measurements_nor_start_are_modified():
    op, y = problem(images=2)
    start = reconstruct_tv(y, op, 0.01, max_iter=5)
    kept, image, dual = y.clone(), start.image.clone(), start.dual.clone()
    reconstruct_tv(y, op, 0.01, init=start, max_iter=50)
    reconstruct_tv(y, op, 0.01, init=start.image, max_iter=50)
    assert torch.equal(y, kept) and torch.equal(start.image, image) and torch.equal(start.dual, dual)


def test_results_are_repeatable_to_the_last_bit():
    op, y = problem(images=2)
    one, two = reconstruct_tv(y, op, 0.01), reconstruct_tv(y, op, 0.01)
    assert torch.equal(one.image, two.image) and torch.equal(one.gap, two.gap)


def test_measurements_that_require_grad_are_refused_and_not_silently_detached():
    op, y = problem()
    with pytest.raises(ValueError, match=r"y must not require grad.*y.detach\(\)"):
        reconstruct_tv(y.requires_grad_(), op, 0.01)


def test_in_single_precision_the_gap_that_stops_is_the_gap_that_is_proved():
    # A residual computed as a difference would lose it in rounding, and the solver would leave the real path.
    op, x = MaskedFourier(radial_mask(256, 40), real=True), ellipses(1, seed=7, first=6)
    gaps, real = [], []

    def on_check(n_iter, index, image, objective, gap):
        gaps.append(float(gap[0]))
        real.append(not image.is_complex())

    result = reconstruct_tv(op.A(x), op, 1e-4, on_check=on_check)
    assert result.converged.all() and all(real)
    assert math.isclose(gaps[-1], result.gap, rel_tol=0.05)


def test_a_warm_start_helps_when_a_spike_is_added():
    op, x = MaskedFourier(radial_mask(128, 20)), ellipses(1, 128, seed=7, first=6)
    y, delta = op.A(x), torch.zeros(128, 128)
    delta[40, 40] = 1
    e = op.A(delta)
    attacked = y + 0.04 * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e) * e
    clean = reconstruct_tv(y, op, 0.005)
    best = reconstruct_tv(attacked.to(torch.complex128), op, 0.005, tol=1e-6, max_iter=20000).image
    warm, cold = (reconstruct_tv(attacked, op, 0.005, init=init, max_iter=50).image for init in (clean, None))
    assert (warm - best).abs().max() < (cold - best).abs().max()


def test_results_are_frozen():
    op, y = problem()
    result = reconstruct_tv(y, op, 0.01, max_iter=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.image = None


# --- Wrong inputs


OPERATOR, VECTOR = MaskedFourier(radial_mask(8, 2)), random(3, 15)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("y", value, ValueError) for value in (torch.full((15,), math.nan + 0j), random(14), random(15).to("meta"))),
        *(("lam", value, ValueError) for value in (0, math.nan, torch.tensor([1.0, 0.0, 1.0]), torch.ones(2))),
        *(("lam", value, ValueError) for value in (torch.ones(3, 1), torch.ones(2, 3))),
        *(("tol", value, ValueError) for value in (0.0, 1, math.nan)),
        *(("max_iter", value, TypeError) for value in (10.0, True)),
        ("norm", "isotropic", TypeError),
        *(("init", value, TypeError) for value in ("zero", np.zeros((8, 8)))),
        *(("init", value, ValueError) for value in (torch.ones(7, 8), torch.ones(2, 8, 8), torch.ones(1, 1))),
        ("init", torch.full((8, 8), math.nan), ValueError),
        ("init", tv.Iterate(torch.zeros(8, 8), torch.full((2, 8, 8), math.nan)), ValueError),
    ],
)
def test_a_wrong_input_is_refused_by_its_name(name, value, error):
    arguments = {"y": VECTOR, "op": OPERATOR, "lam": 0.1} | {name: value}
    with pytest.raises(error, match=f"reconstruct_tv: .*{name}"):
        reconstruct_tv(**arguments)


def test_overflow_is_an_error_and_not_a_wrong_proof():
    # Finite measurements, of which the zero frequency of the image alone is too large for the dtype.
    op, _ = problem()
    with pytest.raises(FloatingPointError, match="overflow in torch.complex64: rescale y and lam, or use complex128"):
        reconstruct_tv(torch.full((op.m,), 3e38 + 0j), op, 1e36, max_iter=20)


# --- The table of lambda


TABLE = {(lines, noise): 100 * noise**1.5 / lines for lines in (20, 40, 80) for noise in (0.01, 0.04, 0.1)}


def test_lambda_is_read_from_the_table_and_interpolated_log_log(monkeypatch):
    monkeypatch.setattr(tv, "_calibration", lambda: TABLE)
    for (lines, noise), lam in TABLE.items():
        assert math.isclose(calibrated_lambda(noise, lines), lam, rel_tol=1e-12)
    # A power law in both is met exactly between the points, and only by interpolation in all three logarithms.
    for lines, noise in ((30, 0.02), (57, 0.01), (80, 0.07), (21, 0.099)):
        assert math.isclose(calibrated_lambda(noise, lines), 100 * noise**1.5 / lines, rel_tol=1e-12)


def test_lambda_is_interpolated_between_neighbours_only(monkeypatch):
    monkeypatch.setattr(tv, "_calibration", lambda: {**TABLE, (80, 0.1): 7.0})
    assert math.isclose(calibrated_lambda(0.02, 30), 100 * 0.02**1.5 / 30, rel_tol=1e-12)
    assert math.isclose(calibrated_lambda(0.1, math.sqrt(40 * 80)), math.sqrt(TABLE[40, 0.1] * 7), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("noise", "lines", "message"),
    [
        (0.009, 40, "calibrated_lambda: noise_rel must lie in [0.01, 0.1], got 0.009"),
        (0.11, 40, "calibrated_lambda: noise_rel must lie in [0.01, 0.1], got 0.11"),
        (0.0, 40, "calibrated_lambda: noise_rel must lie in [0.01, 0.1], got 0.0"),
        (math.nan, 40, "calibrated_lambda: noise_rel must lie in [0.01, 0.1], got nan"),
        (0.04, 19, "calibrated_lambda: lines must lie in [20, 80], got 19"),
        (0.04, 81, "calibrated_lambda: lines must lie in [20, 80], got 81"),
    ],
)
def test_outside_the_calibrated_range_lambda_is_refused(monkeypatch, noise, lines, message):
    monkeypatch.setattr(tv, "_calibration", lambda: TABLE)
    with pytest.raises(ValueError) as caught:
        calibrated_lambda(noise, lines)
    assert str(caught.value).startswith(message)


def test_a_mask_calibrated_at_some_levels_only_spoils_nothing_else(monkeypatch):
    # python -m lib.runs lambda --lines 60 --noise 0.01 0.04, its own example, leaves such a table.
    monkeypatch.setattr(tv, "_calibration", lambda: {**TABLE, (60, 0.01): 0.02, (60, 0.04): 0.14})
    assert math.isclose(calibrated_lambda(0.1, 40), TABLE[40, 0.1], rel_tol=1e-12)
    assert math.isclose(calibrated_lambda(0.02, 30), 100 * 0.02**1.5 / 30, rel_tol=1e-12)


def test_without_a_table_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(tv, "_calibration", dict)
    with pytest.raises(ValueError, match="calibrated_lambda: results/lambda.csv has no rows; make calibrate writes it"):
        calibrated_lambda(0.04, 40)


@pytest.fixture
def calibration_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tv, "LAMBDA_TABLE", tmp_path / "lambda.csv")
    tv._calibration.cache_clear()
    yield tmp_path / "lambda.csv"
    tv._calibration.cache_clear()


def test_the_best_grid_point_of_each_mask_and_level_is_taken(calibration_file):
    calibration_file.write_text(
        "lines,noise_rel,lam,error_mean,version\n"
        "40,0.01,0.001,0.05,x\n40,0.01,0.002,0.04,x\n40,0.01,0.004,0.06,x\n"
        "40,0.1,0.02,0.2,x\n40,0.1,0.01,0.3,x\n"
    )
    assert tv._calibration() == {(40, 0.01): 0.002, (40, 0.1): 0.02}
    assert math.isclose(calibrated_lambda(0.01, 40), 0.002, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("40,0.01,0.003,nan,x\n", 3),
        ("40,0.01,inf,0.01,x\n", 3),
        ("40,0.01,-0.003,0.01,x\n", 3),
        ("40,0.01,0.003\n", 3),
        ("=======\n", 3),
        ("40,0.01,0.003,0.0\0,x\n", 3),
        ("40,0.01,0.003,0.0", 3),  # the rest is cut off
        ("\n40,0.01,0.003,,x\n", 4),
    ],
)
def test_a_damaged_table_changes_no_lambda_but_is_named(calibration_file, line, number):
    calibration_file.write_text("lines,noise_rel,lam,error_mean,version\n40,0.01,0.002,0.04,x\n" + line)
    with pytest.raises(ValueError, match=rf"lambda.csv: line {number}: expected positive .*; make calibrate computes"):
        calibrated_lambda(0.01, 40)
