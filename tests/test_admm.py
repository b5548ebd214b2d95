"""The ADMM iteration against its formulas, its derivative against autograd and finite differences."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
from helpers import even_mask, random, random_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import admm
from lib.admm import anisotropic, isotropic, separable
from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol, radial_mask
from lib.tv import Iterate, TVReconstruction, reconstruct_tv

each_norm = pytest.mark.parametrize("norm", (separable, anisotropic, isotropic))
seeds = st.integers(0, 2**32 - 1)


def plain(d):
    """`separable` under another name: the torch formulas are taken instead of the compiled ones."""
    return d.abs()


# --- The iteration


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("implicit", [False, True])
def test_the_layout_of_starts_and_gradients_in_memory_does_not_matter(real, implicit):
    op, dtype = MaskedFourier(radial_mask(16, 5)), torch.float64 if real else torch.complex128
    y = op.A(random(16, 16, dtype=dtype)).requires_grad_()
    image, dual, weight = (
        random(16, 16, dtype=dtype, seed=1),
        random(2, 16, 16, dtype=dtype, seed=2),
        random(16, 16, dtype=torch.float64),
    )
    rec = TVReconstruction(op, 0.1, iterations=9, implicit=implicit)
    usual, _ = rec.resume(y, Iterate(image, dual))
    other, _ = rec.resume(y, Iterate(image.mT.contiguous().mT, dual.mT.contiguous().mT))
    assert torch.allclose(usual, other, rtol=0, atol=1e-12)
    (a,) = torch.autograd.grad((weight * usual.abs()).sum(), y, retain_graph=True)
    (b,) = torch.autograd.grad((weight.mT.contiguous() * usual.mT.abs()).sum(), y)
    assert torch.allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 17])
def test_the_compiled_steps_equal_the_plain_formulas(n, dtype):
    real = dtype.to_real()
    x, v = random(3, n, n, dtype=dtype), 2 * random(3, 2, n, n, dtype=dtype, seed=1)
    t, ratio, rho = (torch.tensor(a, dtype=real) for a in ([0.3, 1.0, 2.0], [1.0, 0.85, 0.9], [2.0, 0.5, 1.3]))
    eps = {torch.float32: 1e-5, torch.float64: 1e-13}[real]
    results = []
    for norm in (separable, plain):
        state = x.clone(), v.clone(), torch.full_like(x, math.nan)
        admm.step(*state, t, ratio, rho, norm)
        assert torch.equal(state[0], x)
        results.append(state)
    for compiled, formula in zip(*results, strict=True):
        assert torch.allclose(compiled, formula, atol=10 * eps, rtol=eps)
    for compiled, formula in zip(admm.measure(x, v, t, separable), admm.measure(x, v, t, plain), strict=True):
        assert compiled.dtype == formula.dtype == torch.float64 and torch.allclose(compiled, formula, rtol=eps)
    for compiled, formula in (
        [admm.dual_point(x, v, t, rho, norm) for norm in (separable, plain)],
        [admm.multiplier(v, t, rho, norm) for norm in (separable, plain)],
    ):
        assert torch.allclose(compiled, formula, atol=10 * eps, rtol=eps)
    z = x.to(dtype.to_complex())
    p = torch.cat([v, v.mT])[:3].to(z.dtype)
    for compiled, formula in zip(*(admm.add_gradient(p.clone(), z, a) for a in (separable, plain)), strict=True):
        assert torch.allclose(compiled, formula, atol=10 * eps, rtol=eps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_what_an_update_records_and_leaves_over_is_what_the_definitions_say(dtype):
    op = MaskedFourier(radial_mask(16, 5))
    k = admm.k_space(op, not dtype.is_complex, torch.float64)
    y = op.A(random(3, 16, 16, dtype=dtype))
    lam, t = (torch.tensor(a, dtype=torch.float64) for a in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.5]))
    x, p = random(3, 16, 16, dtype=dtype, seed=1), 0.02 * random(3, 2, 16, 16, dtype=dtype, seed=2)
    state = admm.start(k, k.values(y), lam, t, x, p, separable)
    u = p / (lam / t)[:, None, None, None]
    assert torch.allclose(state.v, gradient(x) + u)
    z_minus_u = state.v - 2 * admm.project(state.v, t, separable)
    assert torch.allclose(state.r, (lam / t)[:, None, None] * gradient_adjoint(z_minus_u), atol=1e-13)
    for _ in range(3):
        r_sampled = admm.x_update(state, k, look=True)
        misfit, inner = admm.residual(k.values(y) / k.weight_s, r_sampled, state.rho, k)
        off = k.values(y) / k.weight_s - k.gather(admm.fourier(state.x))
        assert torch.allclose(misfit, (k.importance * off.abs().square()).sum(-1))
        assert torch.allclose(inner, (k.importance * (off.conj() * k.values(y) / k.weight_s).real).sum(-1))
        recorded = admm.recorded_v_update(state, separable)
        assert torch.equal(recorded, admm.jacobian(state.v, state.t, separable)) and 0 < recorded.float().mean() < 1


@each_norm
def test_a_step_is_that_of_the_docstring(norm):
    # ADMM with z and u apart, as Boyd et al. write it, while the solver keeps v = z + u alone.
    x, v, t, rho = random(1, 6, 6), 2 * random(1, 2, 6, 6, seed=1), 0.8, 1.7
    threshold, one = torch.tensor([t], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    u = admm.project(v, threshold, norm)
    z = v - u
    d = admm.RELAXATION * gradient(x) + (1 - admm.RELAXATION) * z
    shrunk = d + u - admm.project(d + u, threshold, norm)  # Moreau
    z, u = shrunk, u + d - shrunk
    r = torch.empty_like(x)
    admm.step(x, v, r, threshold, one, torch.tensor([rho], dtype=torch.float64), norm)
    assert torch.allclose(v, z + u, atol=1e-13)
    assert torch.allclose(r, rho * gradient_adjoint(z - u), atol=1e-12)


@pytest.mark.slow  # where other processes use the cores, threads wait for one another
@pytest.mark.parametrize("n", [2, 9, 16])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("real", [True, False])
def test_the_number_of_threads_does_not_matter(real, images, n, monkeypatch):
    monkeypatch.setattr(admm, "THREADS_FROM", 0)
    op = MaskedFourier(radial_mask(n, 4))
    y, results = op.A(random(images, n, n, dtype=torch.float64 if real else torch.complex128)), []
    if admm.numba.config.NUMBA_NUM_THREADS == 1 or not admm._can_thread():
        pytest.skip("numba has one thread here")
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert admm._threads(1) == threads and admm._bands(torch.empty(1, 2, n, n)) == threads
            measured = y.clone().requires_grad_()
            image, state = TVReconstruction(op, 0.1, iterations=7).resume(measured)
            image.abs().square().sum().backward()
            solved = reconstruct_tv(y, op, 0.1, tol=1e-6, max_iter=5000)
            assert solved.converged.all()
            results.append((image.detach(), state.dual, measured.grad, solved.image, solved.gap))
    finally:
        torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)


MANY_THREADS = """
import torch
from lib import admm
admm.THREADS_FROM = 0
for n, images in ((2, 1), (3, 1), (9, 1), (9, 2), (9, 7)):
    x, q, v = (torch.randn(images, *shape).double() for shape in ((n, n), (n, n), (2, n, n)))
    t, one, results = torch.full((images,), 0.3).double(), torch.ones(images).double(), []
    for threads in (1, 5):
        torch.set_num_threads(threads)
        assert admm._threads(1) in (threads, 1)
        state = x.clone(), v.clone(), torch.full_like(x, torch.nan)
        admm.step(*state, t, one, one, admm.separable)
        back = v.clone(), torch.full_like(x, torch.nan)
        admm.pull_back(q, back[0], admm.jacobian(v, t, admm.separable), back[1], one, admm.separable)
        results.append((*state, *back))
    assert all(torch.allclose(a, b, atol=1e-13) for a, b in zip(*results))
print(admm._can_thread())
"""


@pytest.mark.slow
def test_more_threads_than_rows_do_no_harm():
    environment = os.environ | {"NUMBA_NUM_THREADS": "5"}
    process = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, env=environment)
    assert process.returncode == 0 and process.stdout.strip() == str(admm._can_thread()), process.stderr


SAME_BITS = """
import hashlib
import torch
from lib.attack import disk_weight, fast_tv, localized_attack
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
torch.set_num_threads(1)
op = MaskedFourier(radial_mask(64, 25))
y = op.A(ellipses(1, 64, seed=3)[0])
attack = localized_attack(fast_tv(op, 0.006, 0.04 * float(y.norm())), y, op, 0.04, disk_weight(64, (30, 30), 5))
print(hashlib.sha256(attack.e.numpy().tobytes() + attack.artifact.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_kernel_gives_the_same_bits_compiled_anew_and_from_the_cache(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SAME_BITS]
    new, cached = (subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2))
    assert list(tmp_path.rglob("*.nbc")) and new.returncode == cached.returncode == 0, new.stderr + cached.stderr
    assert new.stdout == cached.stdout and len(new.stdout) == 65


# --- K-space


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.booleans(), st.booleans(), seeds)
def test_half_of_k_space_holds_all_of_it_for_real_images(n, even, real, seed):
    op = MaskedFourier(even_mask(n, 0.4, seed) if even else random_mask(n, 0.4, seed))
    k = admm.k_space(op, real, torch.float64)
    x = random(2, n, n, dtype=torch.float64 if real else torch.complex128, seed=seed)
    spectrum = admm.fourier(x)
    assert torch.allclose(k.measured(k.gather(spectrum), op.m), op.A(x), atol=1e-13)
    y = op.A(x)
    grid = k.scatter(k.values(y))
    assert torch.allclose(grid, spectrum * k.weight, atol=1e-13)
    assert math.isclose(
        (k.importance * k.gather(spectrum)[0].abs().square()).sum(), y[0].abs().square().sum(), rel_tol=1e-12
    )
    if real:
        assert k.odd_part(y).max() < 1e-24
        assert torch.allclose(admm.inverse_fourier(grid, k), op.A_adjoint(y).real, atol=1e-13)
    y = random(2, op.m, dtype=torch.complex128, seed=seed)  # of no real image
    recorded = k.values(y.clone().requires_grad_())  # in plain formulas
    assert torch.allclose(k.values(y), recorded.detach(), atol=1e-14) and recorded.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_squared_norms_are_summed_in_double_precision(dtype):
    a = random(2, 3, 5, 7, dtype=dtype, seed=1)
    square = a.abs().double().square()
    for dims, expected in ((1, square.sum(-1)), (2, square.sum((-2, -1))), (4, square.sum())):
        for values in (a, a.clone().requires_grad_(), a.conj(), a.mT.contiguous().mT):
            found = admm.squared_norm(values, dims)
            assert found.dtype == torch.float64 and torch.allclose(found, expected.to(found), rtol=1e-6)
    assert admm.squared_norm(a[:, :, :0].mT).shape == (2, 3, 7) and admm.squared_norm(a[:0]).shape == (0, 3, 5)
    large = torch.full((1000,), 1e25, dtype=dtype)  # whose squares single precision does not hold
    assert math.isclose(admm.squared_norm(large), 1e53, rel_tol=1e-6)


# --- The derivative


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 17])
def test_the_compiled_adjoint_equals_the_plain_formula(n, dtype):
    q, w, v = (
        random(3, n, n, dtype=dtype),
        random(3, 2, n, n, dtype=dtype, seed=1),
        random(3, 2, n, n, dtype=dtype, seed=2),
    )
    t, rho = (torch.tensor(a, dtype=dtype.to_real()) for a in ([0.3, 1.0, 2.0], [2.0, 0.5, 1.3]))
    eps = 1e-5 if dtype.to_real() == torch.float32 else 1e-13
    results = []
    for norm in (separable, plain):
        state = w.clone(), torch.full_like(q, math.nan)
        admm.pull_back(q, state[0], admm.jacobian(v, t, norm), state[1], rho, norm)
        fresh = torch.full_like(w, math.nan), torch.full_like(q, math.nan)
        admm.pull_back(q, fresh[0], admm.jacobian(v, t, norm), fresh[1], rho, norm, fresh=True)
        results.append((*state, *fresh))
    for compiled, formula in zip(*results, strict=True):
        assert torch.allclose(compiled, formula, atol=10 * eps, rtol=eps)


def textbook(y, op, lam, t, iterations, norm):
    """The iteration in complex numbers, through which autograd finds its way."""
    rho, v = lam / t, torch.zeros(len(y), 2, op.n, op.n, dtype=y.dtype)
    symbol = torch.fft.ifftshift(op.mask) + rho * laplacian_symbol(op.n)
    for _ in range(iterations):
        u = admm.project(v, torch.full((len(y),), t, dtype=torch.float64), norm)
        x = torch.fft.ifft2(torch.fft.fft2(op.A_adjoint(y) + rho * gradient_adjoint(v - 2 * u)) / symbol)
        v = v + admm.RELAXATION * (gradient(x) - v + u)
    return x


def loss(image):
    weight = random(*image.shape[-2:], dtype=torch.float64, seed=9)
    return (weight * (image - 0.3).abs().square()).sum()


def gradient_of(reconstruct, y):
    y = y.clone().requires_grad_()
    loss(reconstruct(y)).backward()
    return y.grad


def some_problem(n, real, seed=0):
    op = MaskedFourier(even_mask(n, 0.3, seed=4))
    x = random(2, n, n, dtype=torch.float64 if real else torch.complex128, seed=seed)
    x[:, 2:6, 3:7] += 4
    return op, op.A(x)


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("iterations", [1, 2, 25])
@each_norm
def test_the_unrolled_derivative_is_that_of_the_iterations(norm, iterations, real):
    op, y = some_problem(11, real)
    rec = TVReconstruction(op, 0.2, iterations, threshold=0.3, norm=norm)
    assert torch.allclose(rec(y), textbook(y, op, 0.2, 0.3, iterations, norm), atol=1e-12)
    mine = gradient_of(rec, y)
    theirs = gradient_of(lambda y: textbook(y, op, 0.2, 0.3, iterations, norm), y)
    if real:  # along real images
        theirs = op.A(op.A_adjoint(theirs).real)
    assert torch.allclose(mine, theirs, atol=1e-11)


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "unrolled"])
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@each_norm
def test_both_derivatives_are_that_of_the_minimiser(norm, real, implicit):
    # central differences of converged solutions
    op, y = some_problem(9, real)
    y = y[0]
    direction = op.A(random(9, 9, dtype=torch.float64 if real else torch.complex128, seed=3))
    step = 1e-5

    def value(y):
        return loss(reconstruct_tv(y, op, 0.3, tol=1e-13, max_iter=1000, norm=norm).image)

    expected = (value(y + step * direction) - value(y - step * direction)) / (2 * step)
    rec = TVReconstruction(op, 0.3, 800, implicit=implicit, norm=norm)
    slope = (gradient_of(rec, y).conj() * direction).real.sum()
    assert math.isclose(slope, expected, rel_tol=2e-3)


def test_the_implicit_derivative_equals_the_unrolled_one_near_the_solution():
    op, y = some_problem(16, True)
    start, gradients = TVReconstruction(op, 0.3, 4000).resume(y)[1], []
    for implicit in (True, False):
        rec = TVReconstruction(op, 0.3, 12, implicit=implicit)
        measured = y.clone().requires_grad_()
        loss(rec.resume(measured, start)[0]).backward()
        gradients.append(measured.grad)
    assert torch.allclose(*gradients, atol=1e-12)


@pytest.mark.parametrize(("implicit", "stored"), [(True, 1), (False, 29)])
def test_implicit_derivatives_store_nothing_for_an_iteration(implicit, stored):
    op, y = some_problem(16, True)
    node = TVReconstruction(op, 0.3, 30, implicit=implicit)(y.requires_grad_()).grad_fn
    while not hasattr(node, "saved"):  # below the reshapes
        node = node.next_functions[0][0]
    ((_, _, jacobians),) = node.saved
    assert len(jacobians) == stored


def test_starts_and_data_may_be_conjugated_lazily():
    op, y = some_problem(12, False)
    result = reconstruct_tv(y, op, 0.3)
    start = Iterate(result.image.conj(), result.dual.conj())
    resolved = Iterate(start.image.resolve_conj(), start.dual.resolve_conj())
    rec = TVReconstruction(op, 0.3, 10)
    assert torch.equal(rec.resume(y, start)[0], rec.resume(y, resolved)[0])
    assert torch.equal(rec.resume(y.conj(), start)[0], rec.resume(y.conj().resolve_conj(), resolved)[0])
    assert torch.equal(
        reconstruct_tv(y.conj(), op, 0.3, init=start).image.resolve_conj(),
        reconstruct_tv(y.conj().resolve_conj(), op, 0.3, init=resolved).image,
    )


def test_a_call_goes_on_where_another_ended():
    op, y = some_problem(12, True)
    rec = TVReconstruction(op, 0.3, 10, threshold=0.4)
    errors, state, target = [], None, reconstruct_tv(y, op, 0.3, tol=1e-12, max_iter=20000).image
    for _ in range(6):
        image, state = rec.resume(y, state)
        errors.append(float((image - target).abs().max()))
    assert errors[-1] < 0.1 * errors[0]
    shared = Iterate(state.image[0], state.dual[0])  # broadcast to the batch
    assert torch.equal(rec.resume(y, shared)[0][0], rec.resume(y, state)[0][0])
    assert rec.resume(y[0], shared)[0].shape == (12, 12)


def test_a_reconstruction_can_be_solved_and_says_if_it_cannot():
    op, y = some_problem(12, False)
    rec = TVReconstruction(op, 0.3, tol=1e-6)
    image, start = rec.solve(y.requires_grad_())
    assert not image.requires_grad and bool(start.converged.all())
    assert int(rec.solve(y, start)[1].n_iter.max()) < int(start.n_iter.min())
    with pytest.raises(RuntimeError, match="relative gap .* after 20 000 iterations, tol 1e-15"):
        dataclasses.replace(rec, tol=1e-15).solve(y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 0}, "lam must be positive and finite, got 0"),
        ({"lam": math.nan}, "lam"),
        ({"threshold": -1.0}, "threshold must be positive and finite, got -1.0"),
        ({"threshold": torch.tensor([1.0, 0.0])}, "threshold"),
        ({"iterations": 0}, "iterations must be an integer >= 1, got 0"),
        ({"iterations": 2.5}, "iterations"),
        ({"tol": 0}, r"tol must lie in \(0, 1\), got 0"),
        ({"lam": torch.ones(2)}, r"lam must be one number, got shape \(2,\)"),
        ({"norm": "isotropic"}, "norm must be a function such as separable, got 'isotropic'"),
    ],
)
def test_reconstructions_with_wrong_parameters_are_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        TVReconstruction(**{"op": MaskedFourier(radial_mask(8, 3)), "lam": 1.0} | change)


def test_measurements_of_another_length_are_refused():
    op, y = some_problem(8, True)
    with pytest.raises(ValueError, match="TVReconstruction: expected y of shape"):
        TVReconstruction(op, 1.0)(y[:, :-1])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            Iterate(torch.zeros(7, 8), torch.zeros(2, 8, 8)),
            r"start has image \(7, 8\) and dual \(2, 8, 8\), expected \(2, 8, 8\)",
        ),
        (Iterate(torch.zeros(3, 8, 8), torch.zeros(2, 8, 8)), r"start has image \(3, 8, 8\)"),
        (Iterate(torch.zeros(8, 8), torch.zeros(8, 8)), r"start has image \(8, 8\) and dual \(8, 8\), expected"),
        (Iterate(torch.zeros(8, 8, device="meta"), torch.zeros(2, 8, 8)), "start.image on meta, y on cpu"),
        (torch.zeros(8, 8), "start must be a TVResult"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, message):
    op, y = some_problem(8, True)
    with pytest.raises((TypeError, ValueError), match=f"TVReconstruction: {message}"):
        TVReconstruction(op, 1.0).resume(y.expand(2, op.m), start)


def test_thresholds_must_be_as_many_as_images():
    op, y = some_problem(8, True)
    with pytest.raises(ValueError, match=r"TVReconstruction: 3 thresholds, batch of shape \(2,\)"):
        TVReconstruction(op, 1.0, threshold=torch.ones(3))(y.expand(2, op.m))


def test_an_empty_batch_gives_no_images():
    op, y = some_problem(8, True)
    assert TVReconstruction(op, 1.0)(y.new_zeros(0, op.m)).shape == (0, 8, 8)
