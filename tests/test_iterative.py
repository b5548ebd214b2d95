"""Operators from two functions: several coils against one dense matrix, derivatives, reconstruction and attack."""

import numpy as np
import pytest
import torch
from helpers import BATCHES, COMPLEX, assert_adjoint, difference_matrices, fourier_matrix, random, random_mask

from lib.attack import disk_weight, fast_tv, localized_attack
from lib.iterative import IterativeOperator, coil_operator, simulated_coils
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.tv import reconstruct_tv

MASK = random_mask(16, 0.3, seed=4)
COILS = simulated_coils(3, 16).to(torch.complex128)
OP = coil_operator(MASK, COILS, tol=1e-12, max_iter=3000)
DENSE = torch.from_numpy(np.concatenate([fourier_matrix(MASK) * s.numpy().ravel() for s in COILS]))
X, Y = random(2, 16, 16), random(2, OP.m)


def flat(x):
    return x.flatten(-2)


def test_coils_are_one_big_matrix():
    assert DENSE.shape == (OP.m, 256)
    assert torch.allclose(OP.A(X), flat(X) @ DENSE.T)
    assert torch.allclose(flat(OP.A_adjoint(Y)), Y @ DENSE.conj())
    assert torch.allclose(flat(OP.A_dagger(Y)), Y @ torch.linalg.pinv(DENSE, rtol=1e-9).T, atol=1e-6)


def test_the_x_update_solves_the_normal_equations():
    rho, down, right = torch.tensor([0.3, 2.0], dtype=torch.float64), *map(torch.from_numpy, difference_matrices(16))
    solve = OP.x_update(Y, rho)
    for linear in (False, True):
        found = solve(X, linear=linear)
        for k in range(2):
            matrix = DENSE.mH @ DENSE + rho[k] * (down.T @ down + right.T @ right)
            wanted = torch.linalg.solve(matrix, flat(X[k]) + (0 if linear else DENSE.mH @ Y[k]))
            assert torch.allclose(flat(found[k]), wanted, atol=1e-9)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("batch", BATCHES)
def test_the_adjoint_is_the_adjoint(batch, dtype):
    assert_adjoint(OP.A, OP.A_adjoint, random(*batch, 16, 16, dtype=dtype), random(*batch, OP.m, dtype=dtype, seed=1))


def test_derivatives_come_from_the_adjoint_even_of_numpy():
    fourier = fourier_matrix(random_mask(6, 0.5, seed=4))
    black = IterativeOperator(
        lambda x: torch.from_numpy(flat(x).numpy() @ fourier.T),
        lambda y: torch.from_numpy((y.numpy() @ fourier.conj()).reshape(-1, 6, 6)),
        6,
        len(fourier),
    )
    x, y = random(6, 6, dtype=torch.float64).requires_grad_(), random(len(fourier)).requires_grad_()
    for function, argument in ((black.A, x), (black.A_adjoint, y), (black.A_dagger, y)):
        torch.autograd.gradcheck(function, argument, atol=1e-4)


def test_one_coil_reconstructs_as_the_masked_transform_does():
    fourier = MaskedFourier(radial_mask(32, 10))
    y = fourier.A(ellipses(1, 32, seed=1)[0].double())
    op = coil_operator(fourier.mask, torch.ones(1, 32, 32, dtype=torch.complex128), tol=1e-8)
    found = reconstruct_tv(y, op, 1e-3, tol=1e-5)
    exact = reconstruct_tv(y, fourier, 1e-3, tol=1e-7)
    assert found.criterion == "by residuals" and bool(found.converged)
    assert float(found.objective) <= float(exact.objective) * (1 + 1e-4)
    assert float((found.image - exact.image).abs().max()) < 1e-3


def test_an_attack_needs_no_more_than_the_two_functions():
    op = coil_operator(radial_mask(32, 8), simulated_coils(2, 32))
    y = op.A(ellipses(1, 32, seed=1)[0])
    rec = fast_tv(op, 3e-3, 0.05 * float(y.norm()))
    found = localized_attack(rec, y, op, 0.05, disk_weight(32, (16, 16), 3))
    assert found.criterion == "by residuals" and float(found.amplification) > 1.5
    assert float(found.e.norm() / y.norm()) == pytest.approx(0.05, rel=1e-3)


def test_sensitivities_cover_the_image_as_those_of_sigpy():
    for count in (1, 3, 8):
        coils = simulated_coils(count, 16)
        assert torch.allclose(coils.abs().square().sum(0), torch.ones(16, 16))
    maps = pytest.importorskip("sigpy.mri", reason="the peers are not installed").birdcage_maps
    assert np.allclose(simulated_coils(5, 16), maps((5, 16, 16)), atol=1e-6)


def test_a_function_that_returns_another_shape_is_named():
    op = IterativeOperator(lambda x: x.flatten(1), lambda y: y.unflatten(1, (4, 4)), 4, 7)
    with pytest.raises(ValueError, match=r"what forward or adjoint returned must have shape \(..., 7\)"):
        op.A(torch.ones(4, 4))
