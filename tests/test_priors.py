"""Sparse priors: the wavelet is orthogonal and PyWavelets', minimisers against a convex solver, proved by the gap."""

import cvxpy
import numpy as np
import pytest
import scipy.optimize
import torch
from helpers import assert_adjoint, fourier_matrix, random, random_mask

from lib.attack import disk_weight, localized_attack
from lib.operators import MaskedFourier, radial_mask
from lib.priors import SparseReconstruction, haar, haar_adjoint, identity
from lib.tv import anisotropic, isotropic, project, separable


def test_the_wavelet_transform_is_orthogonal():
    x, w = random(2, 24, 24), random(2, 24, 24, seed=1)
    assert torch.allclose(haar_adjoint(haar(x)), x) and torch.allclose(haar(haar_adjoint(w)), w)
    assert_adjoint(haar, haar_adjoint, x, w)


def test_the_wavelet_transform_is_that_of_pywavelets():
    pywt = pytest.importorskip("pywt", reason="the peers are not installed")
    x = random(16, 16, dtype=torch.float64)
    theirs, _ = pywt.coeffs_to_array(pywt.wavedec2(x.numpy(), "haar", mode="periodization"))
    assert np.allclose(abs(haar(x).numpy()), abs(theirs))  # up to the signs of details


@pytest.mark.parametrize(("transform", "adjoint"), [(identity, identity), (haar, haar_adjoint)])
def test_the_minimiser_is_that_of_a_convex_solver(transform, adjoint):
    mask, lam = random_mask(8, 0.5, seed=2), 0.3
    op, dense = MaskedFourier(mask), fourier_matrix(mask)
    basis = torch.stack([transform(e.reshape(8, 8)).flatten() for e in torch.eye(64, dtype=torch.float64)], 1).numpy()
    y = random(op.m)
    x = cvxpy.Variable(64, complex=True)
    cost = cvxpy.sum_squares(dense @ x - y.numpy()) / 2 + lam * cvxpy.norm1(basis @ x)
    cvxpy.Problem(cvxpy.Minimize(cost)).solve(solver="CLARABEL")
    image, state = SparseReconstruction(op, lam, transform, adjoint, threshold=0.3, tol=1e-9).solve(y)
    assert float(state.gap) <= 1e-9 and np.allclose(image.numpy().ravel(), x.value, atol=1e-4)


def least(objective, start):
    """The minimiser of a smooth function of a complex tensor that autograd differentiates."""

    def value(flat):
        z = torch.view_as_complex(torch.from_numpy(flat).reshape(*start.shape, 2)).requires_grad_()
        found = objective(z)
        (g,) = torch.autograd.grad(found, z)
        return float(found.detach()), torch.view_as_real(g).flatten().numpy()

    flat = torch.view_as_real(start).flatten().numpy().copy()
    found = scipy.optimize.minimize(value, flat, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    return torch.view_as_complex(torch.from_numpy(found.x).reshape(*start.shape, 2))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", [separable, anisotropic, isotropic])
def test_the_proximal_map_of_each_norm_is_a_numerical_minimiser(norm, seed):
    """Of |z - v|^2 / 2 + t |z|, with each group's magnitude m smoothed to sqrt(m^2 + 1e-14)."""
    v, t = random(1, 2, 3, 3, seed=seed), torch.tensor([0.8], dtype=torch.float64)

    def objective(z):
        parts = torch.view_as_real(z)
        square = {separable: parts**2, anisotropic: (parts**2).sum(-1), isotropic: (parts**2).sum((1, -1))}[norm]
        return (z - v).abs().square().sum() / 2 + t[0] * (square + 1e-14).sqrt().sum()

    found = v - project(v, t, norm)
    assert torch.allclose(found, least(objective, v), atol=1e-5)
    assert bool((found == 0).any()) and bool((found != 0).any())  # both kinds of groups are there


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("transform", "adjoint"), [(identity, identity), (haar, haar_adjoint)])
def test_an_iteration_has_the_proximal_map_of_the_sparse_norm(transform, adjoint, seed):
    """With measurements that c = W*(z - u) fits, x is c: for v = z + u, z the minimiser of |z - v|^2 / 2 + t |z|_1."""
    op, t = MaskedFourier(random_mask(4, 0.5, seed=seed)), 0.9
    v = random(4, 4, seed=seed)

    def objective(z):
        return (z - v).abs().square().sum() / 2 + t * (z.abs().square() + 1e-14).sqrt().sum()

    rec = SparseReconstruction(op, 1e-9, transform, adjoint, threshold=t, iterations=1)
    z = least(objective, v)
    c = adjoint(2 * z - v)
    image, _, _ = rec._iterate(op.A(c), v)  # whose misfit is 0
    assert torch.allclose(image, c, atol=1e-5)


def test_the_gap_is_that_of_the_objective():
    op, y = MaskedFourier(radial_mask(16, 5)), random(88)
    rec = SparseReconstruction(op, 0.2, haar, haar_adjoint, tol=1e-8)
    exact, _ = rec.solve(y)

    def objective(x):
        return (op.A(x) - y).abs().square().sum() / 2 + 0.2 * haar(x).abs().sum()

    for x in (exact, exact + 0.01 * random(16, 16, seed=1), torch.zeros_like(exact)):
        excess = float((objective(x) - objective(exact)) / objective(x))
        assert excess - 1e-7 <= float(rec.relative_gap(x, y)) and float(rec.relative_gap(exact, y)) <= 1e-8


def test_measurements_of_nothing_give_nothing_beside_others():
    op = MaskedFourier(radial_mask(16, 6))
    y = torch.stack([torch.zeros(op.m, dtype=torch.complex128), random(op.m)])
    rec = SparseReconstruction(op, 0.1)
    image, state = rec.solve(y)
    assert not image[0].any() and state.gap[0] == 0 and 0 < state.gap[1] <= rec.tol
    assert rec.resume(y)[1].gap.shape == (2,)


def test_its_derivative_is_that_of_its_differences():
    op = MaskedFourier(radial_mask(8, 3))
    rec = SparseReconstruction(op, 0.05, haar, haar_adjoint, iterations=3)
    torch.autograd.gradcheck(rec, random(op.m).requires_grad_())


def test_the_attack_takes_it_and_its_results_are_proved():
    op, x = MaskedFourier(radial_mask(32, 10)), torch.zeros(32, 32)
    x[[5, 9, 20], [7, 30, 11]] = 1
    y = op.A(x)
    found = localized_attack(SparseReconstruction(op, 1e-3), y, op, 0.05, disk_weight(32, (16, 16), 3))
    assert found.criterion == "proved" and float(found.amplification) > 2
