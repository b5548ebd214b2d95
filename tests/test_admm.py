"""The compiled loops and the ADMM iteration against their formulas, its derivative against autograd and differences."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
from helpers import even_mask, random

from lib import _kernels, tv
from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol, radial_mask
from lib.tv import Iterate, TVReconstruction, anisotropic, isotropic, reconstruct_tv, separable

each_norm = pytest.mark.parametrize("norm", (separable, anisotropic, isotropic))


def plain(d):
    """`separable` under another name: the torch formulas are taken instead of the compiled ones."""
    return d.abs()


# --- The iteration


@pytest.mark.parametrize("real", [True, False])
def test_the_layout_of_starts_and_gradients_in_memory_does_not_matter(real):
    dtype, op = torch.float64 if real else torch.complex128, MaskedFourier(radial_mask(16, 5), real)
    y = op.A(random(16, 16, dtype=dtype)).requires_grad_()
    image, dual, weight = (
        random(16, 16, dtype=dtype, seed=1),
        random(2, 16, 16, dtype=dtype, seed=2),
        random(16, 16, dtype=torch.float64),
    )
    rec = TVReconstruction(op, 0.1, iterations=9)
    usual, _ = rec.resume(y, Iterate(image, dual))
    other, _ = rec.resume(y, Iterate(image.mT.contiguous().mT, dual.mT.contiguous().mT))
    assert torch.allclose(usual, other, rtol=0, atol=1e-12)
    (a,) = torch.autograd.grad((weight * usual.abs()).sum(), y, retain_graph=True)
    (b,) = torch.autograd.grad((weight.mT.contiguous() * usual.mT.abs()).sum(), y)
    assert torch.allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 17])
def test_the_compiled_loops_equal_the_plain_formulas(n, dtype):
    real = dtype.to_real()
    x, v = random(3, n, n, dtype=dtype), 2 * random(3, 2, n, n, dtype=dtype, seed=1)
    t, rho = (torch.tensor(a, dtype=real) for a in ([0.3, 1.0, 2.0], [2.0, 0.5, 1.3]))
    eps = {torch.float32: 1e-5, torch.float64: 1e-13}[real]
    for relaxation in (1.0, 1.9):
        g_v, g_b = random(3, 2, n, n, dtype=dtype, seed=2), random(3, n, n, dtype=dtype, seed=3)
        results = []
        for norm in (separable, plain):
            a, b = x.clone().requires_grad_(), v.clone().requires_grad_()
            out = tv.v_update(a, b.clone(), t, rho, norm, relaxation)
            grads = torch.autograd.grad(out, (a, b), (g_v, g_b), retain_graph=True)
            only = torch.autograd.grad(out[1], (a, b), g_b, retain_graph=True)
            alone = torch.autograd.grad(out[0], (a, b), g_v)
            results.append((*out, *grads, *only, *alone))
        for compiled, formula in zip(*results, strict=True):
            assert torch.allclose(compiled, formula, atol=20 * eps, rtol=eps)
    for compiled, formula in zip(*(tv.sweep(x, v, t, rho, norm) for norm in (separable, plain)), strict=True):
        assert compiled.dtype == formula.dtype and torch.allclose(compiled, formula, atol=20 * eps, rtol=eps)
    columns = random(3, n // 2 + 1, n, dtype=dtype.to_complex(), seed=4).mT
    copy = _kernels.row_by_row(columns)
    assert copy.is_contiguous() and torch.equal(copy, columns)


@each_norm
def test_an_update_is_that_of_the_docstring(norm):
    # ADMM with z and u apart, as Boyd et al. write it, while the solver keeps v = z + u alone.
    x, v, t, rho = random(1, 6, 6), 2 * random(1, 2, 6, 6, seed=1), 0.8, 1.7
    threshold, penalty = (torch.tensor([a], dtype=torch.float64) for a in (t, rho))
    u = tv.project(v, threshold, norm)
    z = v - u
    d = tv.RELAXATION * gradient(x) + (1 - tv.RELAXATION) * z
    shrunk = d + u - tv.project(d + u, threshold, norm)  # Moreau
    z, u = shrunk, u + d - shrunk
    v, b = tv.v_update(x, v, threshold, penalty, norm)
    assert torch.allclose(v, z + u, atol=1e-13)
    assert torch.allclose(b, rho * gradient_adjoint(z - u), atol=1e-12)


@pytest.mark.slow  # where other processes use the cores, threads wait for one another
@pytest.mark.parametrize("n", [2, 9, 16])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("real", [True, False])
def test_the_number_of_threads_does_not_matter(real, images, n, monkeypatch):
    monkeypatch.setattr(_kernels, "THREADS_FROM", 0)
    op = MaskedFourier(radial_mask(n, 4), real)
    y, results = op.A(random(images, n, n, dtype=torch.float64 if real else torch.complex128)), []
    if _kernels.numba.config.NUMBA_NUM_THREADS == 1 or not _kernels._can_thread():
        pytest.skip("numba has one thread here")
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
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
from lib import _kernels, tv
_kernels.THREADS_FROM = 0
for n, images in ((2, 1), (3, 1), (9, 1), (9, 2), (9, 7)):
    x, v = (torch.randn(images, *shape).double() for shape in ((n, n), (2, n, n)))
    t, one, results = torch.full((images,), 0.3).double(), torch.ones(images).double(), []
    for threads in (1, 5):
        torch.set_num_threads(threads)
        a, b = x.clone().requires_grad_(), v.clone().requires_grad_()
        out = tv.v_update(a, b.clone(), t, one, tv.separable)
        copy = _kernels.row_by_row(torch.complex(v[:, 0], v[:, 1]).mT)
        results.append((*out, *torch.autograd.grad(out, (a, b), (v, x)), copy))
    assert all(torch.allclose(a, b, atol=1e-13) for a, b in zip(*results))
print("same")
"""


@pytest.mark.slow
def test_more_threads_than_rows_do_no_harm():
    environment = os.environ | {"NUMBA_NUM_THREADS": "5"}
    process = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, env=environment)
    assert process.returncode == 0 and process.stdout.strip() == "same", process.stderr


# --- The derivative


@pytest.mark.slow
def test_without_numba_the_formulas_are_what_remains():
    code = """
import sys
sys.modules["numba"] = None  # no such module
import torch
from lib.attack import disk_weight, fast_tv, localized_attack
from lib.operators import MaskedFourier, radial_mask
op = MaskedFourier(radial_mask(16, 5), real=True)
x = torch.zeros(16, 16, dtype=torch.float64)
x[3:9, 4:12] = 1
y = op.A(x)
attack = localized_attack(fast_tv(op, 1e-2, 0.05 * y.norm()), y, op, 0.05, disk_weight(16, (8, 8), 2))
print(float(attack.amplification))
"""
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    expected = subprocess.check_output(
        [sys.executable, "-c", code.replace('sys.modules["numba"] = None', "")], text=True
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


def textbook(y, op, lam, t, iterations, norm):
    """The iteration in complex numbers, through which autograd finds its way."""
    rho, v = lam / t, torch.zeros(len(y), 2, op.n, op.n, dtype=y.dtype)
    symbol = torch.fft.ifftshift(op.mask) + rho * laplacian_symbol(op.n)
    for _ in range(iterations):
        u = tv.project(v, torch.full((len(y),), t, dtype=torch.float64), norm)
        x = torch.fft.ifft2(torch.fft.fft2(op.A_adjoint(y) + rho * gradient_adjoint(v - 2 * u)) / symbol)
        v = v + tv.RELAXATION * (gradient(x) - v + u)
    return x


def loss(image):
    weight = random(*image.shape[-2:], dtype=torch.float64, seed=9)
    return (weight * (image - 0.3).abs().square()).sum()


def gradient_of(reconstruct, y):
    y = y.clone().requires_grad_()
    loss(reconstruct(y)).backward()
    return y.grad


def some_problem(n, real, seed=0):
    op = MaskedFourier(even_mask(n, 0.3, seed=4), real)
    x = random(2, n, n, dtype=torch.float64 if real else torch.complex128, seed=seed)
    x[:, 2:6, 3:7] += 4
    return op, op.A(x)


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("iterations", [1, 2, 25])
@each_norm
def test_the_derivative_is_that_of_the_iterations(norm, iterations, real):
    op, y = some_problem(11, real)
    rec = TVReconstruction(op, 0.2, iterations, threshold=0.3, norm=norm)
    expected = textbook(y, op, 0.2, 0.3, iterations, norm)
    assert torch.allclose(rec(y), expected.real if real else expected, atol=1e-12)
    mine = gradient_of(rec, y)
    theirs = gradient_of(lambda y: textbook(y, op, 0.2, 0.3, iterations, norm), y)
    if real:  # along real images
        theirs = op.A(op.A_adjoint(theirs).real)
    assert torch.allclose(mine, theirs, atol=1e-11)


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@each_norm
def test_the_derivative_is_that_of_the_minimiser(norm, real):
    # central differences of converged solutions, in a direction that no real image explains, too
    op, y = some_problem(9, real)
    y, direction, step = y[0], random(op.m, seed=3), 1e-5

    def value(y):
        return loss(reconstruct_tv(y, op, 0.3, tol=1e-13, max_iter=1000, norm=norm).image)

    expected = (value(y + step * direction) - value(y - step * direction)) / (2 * step)
    rec = TVReconstruction(op, 0.3, 800, norm=norm)
    slope = (gradient_of(rec, y).conj() * direction).real.sum()
    assert math.isclose(slope, expected, rel_tol=2e-3)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # of vmap
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("norm", [separable, isotropic])
def test_forward_mode_and_the_transforms_of_torch_agree_with_the_compiled_derivative(norm, real):
    op, y = some_problem(9, real)
    rec, direction = TVReconstruction(op, 0.2, 9, threshold=0.3, norm=norm), random(2, op.m, seed=3)

    def value(y):
        return loss(rec(y))

    slope = (gradient_of(rec, y).conj() * direction).real.sum()
    assert math.isclose(torch.func.jvp(value, (y,), (direction,))[1], slope, rel_tol=1e-9)
    assert torch.allclose(torch.func.grad(value)(y), gradient_of(rec, y), atol=1e-11)
    assert torch.allclose(torch.func.vmap(rec)(y), rec(y), atol=1e-12)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(y, direction)
        assert math.isclose(torch.autograd.forward_ad.unpack_dual(value(dual)).tangent, slope, rel_tol=1e-9)


def test_a_second_derivative_is_refused_and_not_wrong():
    op, y = some_problem(9, True)
    y.requires_grad_()
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(loss(TVReconstruction(op, 0.2, 5, threshold=0.3)(y)), y, create_graph=True)


@pytest.mark.parametrize("norm", [anisotropic, isotropic])
def test_a_constant_image_has_a_derivative_for_each_norm(norm):
    op = MaskedFourier(torch.ones(8, 8))
    y = op.A(torch.ones(8, 8, dtype=torch.float64)).requires_grad_()
    TVReconstruction(op, 1e-3, 5, norm=norm)(y).abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(y.grad)).all()


def test_an_iteration_keeps_one_byte_for_a_real_difference():
    op, y = some_problem(16, True)
    kept = []

    def count(iterations):
        rec = TVReconstruction(op, 0.2, iterations, threshold=0.3)
        node, seen, total = rec(y.clone().requires_grad_()).grad_fn, set(), 0
        todo = [node]
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            total += getattr(node, "bits", torch.empty(0)).nbytes
            todo += [parent for parent, _ in node.next_functions]
        return total

    kept = [count(iterations) for iterations in (4, 5, 6)]
    assert kept[1] - kept[0] == kept[2] - kept[1] == 2 * 2 * 16**2  # two images, two directions


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
    assert torch.allclose(rec.resume(y, shared)[0][0], rec.resume(y, state)[0][0])
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
    ("name", "value"),
    [
        *(("lam", value) for value in (0, math.nan, torch.ones(2), None)),
        *(("threshold", value) for value in (-1.0, torch.tensor([1.0, 0.0]))),
        *(("iterations", value) for value in (0, 2.5)),
        ("tol", 0),
        ("norm", "isotropic"),
    ],
)
def test_a_wrong_parameter_is_named(name, value):
    with pytest.raises((TypeError, ValueError), match=f"TVReconstruction: .*{name}"):
        TVReconstruction(**{"op": MaskedFourier(radial_mask(8, 3)), "lam": 1.0} | {name: value})


def test_measurements_of_another_length_are_refused():
    op, y = some_problem(8, True)
    with pytest.raises(ValueError, match="TVReconstruction: y must have shape"):
        TVReconstruction(op, 1.0)(y[:, :-1])


@pytest.mark.parametrize(
    "start",
    [
        Iterate(torch.zeros(7, 8), torch.zeros(2, 8, 8)),
        Iterate(torch.zeros(3, 8, 8), torch.zeros(2, 8, 8)),
        Iterate(torch.zeros(8, 8), torch.zeros(8, 8)),
        Iterate(torch.zeros(8, 8, device="meta"), torch.zeros(2, 8, 8)),
        torch.zeros(8, 8),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start):
    op, y = some_problem(8, True)
    with pytest.raises((TypeError, ValueError), match="TVReconstruction: .*start"):
        TVReconstruction(op, 1.0).resume(y.expand(2, op.m), start)


def test_thresholds_must_be_as_many_as_images():
    op, y = some_problem(8, True)
    with pytest.raises(ValueError, match=r"threshold .*got shapes \(3,\)"):
        TVReconstruction(op, 1.0, threshold=torch.ones(3))(y.expand(2, op.m))


def test_an_empty_batch_gives_no_images():
    op, y = some_problem(8, True)
    assert TVReconstruction(op, 1.0)(y.new_zeros(0, op.m)).shape == (0, 8, 8)


def test_a_tangent_on_the_start_alone_leaves_the_data_in():
    """Where the threshold is given, A* y is not computed for autograd, but plain torch needs it."""
    op = MaskedFourier(radial_mask(16, 5))
    y = op.A(torch.eye(16, dtype=torch.float64))
    rec = TVReconstruction(op, 1e-3, iterations=3, threshold=0.05)
    start = Iterate(torch.zeros(16, 16, dtype=torch.complex128), torch.zeros(2, 16, 16, dtype=torch.complex128))
    image = rec.resume(y, start)[0]

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(start.dual, torch.ones_like(start.dual))
        found = torch.autograd.forward_ad.unpack_dual(rec.resume(y, Iterate(start.image, dual))[0]).primal
    assert torch.allclose(found, image, rtol=0, atol=1e-10)
