"""Masks of the paper; the masked Fourier operator and the gradient against their definitions, as matrices."""

import math

import numpy as np
import pytest
import torch
from helpers import (
    BATCHES,
    COMPLEX,
    assert_adjoint,
    difference_matrices,
    even_mask,
    fourier_matrix,
    masks,
    random,
    random_mask,
    tolerance,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import rotate

from lib.operators import (
    MaskedFourier,
    add_noise,
    gaussian,
    gradient,
    gradient_adjoint,
    laplacian_symbol,
    radial_mask,
)

DTYPES = (torch.float32, torch.float64, *COMPLEX)
seeds, batches = st.integers(0, 2**32 - 1), st.sampled_from(BATCHES)


def rotated_masks(n, lines):
    """The authors' construction, on an odd canvas: line by line, the union so far."""
    canvas = math.ceil(math.sqrt(2) * n)
    canvas += 1 - canvas % 2
    line, union = np.zeros((canvas, canvas)), np.zeros((canvas, canvas), bool)
    line[canvas // 2] = 1
    start = canvas // 2 - n // 2
    for k in range(lines):
        union |= rotate(line, k * 180 * (math.sqrt(5) - 1) / 2, order=0) > 0.5
        yield torch.from_numpy(union[start : start + n, start : start + n])


# --- Masks


@pytest.mark.parametrize(("lines", "m"), [(25, 6990), (40, 10941), (80, 20908)])
def test_the_mask_has_as_many_frequencies_as_in_the_paper(lines, m):
    mask = radial_mask(256, lines)
    assert mask.shape == (256, 256) and mask.dtype == torch.bool
    assert int(mask.sum()) == m == MaskedFourier(mask).m


@pytest.mark.parametrize(("n", "lines"), [(256, 12), (96, 80), (65, 9), (32, 7)])
def test_the_mask_is_that_of_the_authors_pixel_by_pixel(n, lines):
    for count, mask in enumerate(rotated_masks(n, lines), start=1):
        if count in (1, 2, 3, 5, 9, 25, 40, lines):
            assert torch.equal(radial_mask(n, count), mask), f"{count} lines"


@given(st.integers(2, 40), st.integers(1, 12))
def test_the_mask_is_point_symmetric_wherever_the_grid_is(n, lines):
    mask = radial_mask(n, lines)
    inner = mask[1 - n % 2 :, 1 - n % 2 :]  # an even grid has frequency -n/2 but not n/2
    assert torch.equal(inner, inner.flip(0, 1))


@given(st.integers(2, 40), st.integers(1, 12))
def test_the_mask_grows_line_by_line_from_a_horizontal_one(n, lines):
    mask, more = radial_mask(n, lines), radial_mask(n, lines + 1)
    assert mask[n // 2].all() and mask[n // 2, n // 2]
    assert (more | ~mask).all()
    assert int(radial_mask(n, 1).sum()) == n


def test_more_lines_than_the_grid_can_tell_apart_fill_it():
    assert radial_mask(16, 10**30).all()


# --- The masked Fourier operator


@given(masks(n_max=9), batches, st.sampled_from(DTYPES), seeds)
def test_the_operator_is_the_matrix_of_its_definition(mask, batch, dtype, seed):
    op, matrix = MaskedFourier(mask), torch.from_numpy(fourier_matrix(mask))
    x = random(*batch, op.n, op.n, dtype=dtype, seed=seed)
    y = op.A(x)
    assert (op.n, op.m) == (len(mask), len(matrix))
    assert y.shape == (*batch, op.m) and y.dtype == (dtype if dtype.is_complex else dtype.to_complex())
    assert torch.allclose(y.to(matrix.dtype), x.flatten(-2).to(matrix.dtype) @ matrix.T, atol=20 * tolerance(dtype))
    back = op.A_adjoint(y)
    expected = y.to(matrix.dtype) @ matrix.conj()
    assert back.shape == x.shape and back.dtype == y.dtype
    assert torch.allclose(back.flatten(-2).to(matrix.dtype), expected, atol=20 * tolerance(dtype))


@given(masks(), batches, st.sampled_from(DTYPES), seeds)
def test_the_operator_passes_the_dot_product_test(mask, batch, dtype, seed):
    op = MaskedFourier(mask)
    y = random(*batch, op.m, dtype=dtype if dtype.is_complex else dtype.to_complex(), seed=seed + 1)
    x = random(*batch, op.n, op.n, dtype=dtype, seed=seed)
    assert_adjoint(op.A, op.A_adjoint, x, y, real=not dtype.is_complex)


@given(masks(), batches, st.sampled_from(COMPLEX), seeds)
def test_the_adjoint_is_an_isometry_and_the_pseudo_inverse(mask, batch, dtype, seed):
    op = MaskedFourier(mask)
    y, x = random(*batch, op.m, dtype=dtype, seed=seed), random(*batch, op.n, op.n, dtype=dtype, seed=seed + 1)
    eps = 10 * tolerance(dtype)
    back = op.A_dagger(y)
    assert torch.allclose(torch.linalg.vector_norm(back, dim=(-2, -1)), torch.linalg.vector_norm(y, dim=-1), rtol=eps)
    assert torch.allclose(op.A(back), y, atol=eps)
    # Moore and Penrose: with A A+ = I, A+ A is the orthogonal projection on the range of the adjoint.
    projected = op.A_dagger(op.A(x))
    assert torch.allclose(op.A_dagger(op.A(projected)), projected, atol=eps)
    assert (torch.sum(projected.conj() * (x - projected), (-2, -1)).abs() <= eps * op.n**2).all()


@given(masks(n_max=8), seeds)
def test_the_pseudo_inverse_has_the_least_norm(mask, seed):
    op, y = MaskedFourier(mask), random(int(mask.sum()), seed=seed)
    expected = torch.from_numpy(np.linalg.pinv(fourier_matrix(mask))) @ y
    assert torch.allclose(op.A_dagger(y).flatten(), expected, atol=1e-12)


@given(masks(), seeds)
def test_the_operator_is_linear_over_the_complex_numbers(mask, seed):
    op, c = MaskedFourier(mask), 0.3 - 1.7j
    x, z = random(2, op.n, op.n, seed=seed)
    y, w = random(2, op.m, seed=seed)
    assert torch.allclose(op.A(c * x + z), c * op.A(x) + op.A(z), atol=1e-12)
    assert torch.allclose(op.A_adjoint(c * y + w), c * op.A_adjoint(y) + op.A_adjoint(w), atol=1e-12)


def test_an_empty_batch_is_a_batch():
    # "any leading batch shape": the last, empty piece of a split must not need a case of its own.
    op = MaskedFourier(radial_mask(8, 2))
    assert gradient(torch.ones(0, 8, 8)).shape == (0, 2, 8, 8)
    assert op.A(torch.ones(2, 0, 8, 8)).shape == (2, 0, op.m)
    assert op.A_adjoint(random(0, op.m)).shape == (0, 8, 8)


def test_a_full_mask_makes_the_operator_unitary():
    op, x = MaskedFourier(torch.ones(7, 7)), random(4, 7, 7)
    assert op.m == 49 and torch.allclose(op.A_dagger(op.A(x)), x, atol=1e-13)


@given(masks(), batches, seeds)
def test_the_vector_jacobian_products_are_the_adjoints(mask, batch, seed):
    # What an attack relies on: the gradient of a loss of A(x) is A* times the gradient with respect to y.
    op = MaskedFourier(mask)
    x = random(*batch, op.n, op.n, seed=seed).requires_grad_()
    y = random(*batch, op.m, seed=seed + 1).requires_grad_()
    for forward, adjoint, point, cotangent in (
        (op.A, op.A_adjoint, x, y),
        (op.A_adjoint, op.A, y, x),
        (op.A_dagger, op.A, y, x),
    ):
        (product,) = torch.autograd.grad(forward(point), point, cotangent.detach())
        assert product.shape == point.shape
        assert torch.allclose(product, adjoint(cotangent.detach()), atol=1e-12)


def test_the_gradient_with_respect_to_a_real_image_is_the_real_part():
    op = MaskedFourier(radial_mask(9, 2))
    x, w = random(9, 9, dtype=torch.float64).requires_grad_(), random(op.m)
    (product,) = torch.autograd.grad(op.A(x), x, w)
    assert product.dtype == torch.float64 and torch.allclose(product, op.A_adjoint(w).real, atol=1e-13)


@pytest.mark.parametrize("n", [3, 4])
def test_derivatives_agree_with_finite_differences(n):
    op = MaskedFourier(radial_mask(n, 2))
    x, y, p = random(2, n, n), random(2, op.m), random(2, 2, n, n)
    for function, point in (
        (op.A, x),
        (op.A, x.real.clone()),
        (op.A_adjoint, y),
        (op.A_dagger, y),
        (gradient, x),
        (gradient, x.real.clone()),
        (gradient_adjoint, p),
        (gradient_adjoint, p.real.clone()),
    ):
        assert torch.autograd.gradcheck(function, point.requires_grad_(), fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda v, f=function: f(v).abs().square(), point, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_a_mask_of_zeros_and_ones_of_any_dtype_is_accepted(dtype):
    mask = radial_mask(8, 2)
    op = MaskedFourier(mask.to(dtype))
    assert op.mask.dtype == torch.bool and torch.equal(op.mask, mask)


def test_the_operator_says_what_it_is_and_moves_to_a_device():
    op = MaskedFourier(radial_mask(32, 4))
    assert repr(op) == f"MaskedFourier(n=32, m={op.m}, n^2/m={1024 / op.m:.2f}, complex, cpu)"
    moved = op.to("cpu")
    assert moved is not op and torch.equal(moved.mask, op.mask)


def test_inputs_are_not_modified():
    op = MaskedFourier(radial_mask(8, 3))
    x, y, p = random(8, 8), random(op.m), random(2, 8, 8)
    before = x.clone(), y.clone(), p.clone()
    op.A(x), op.A_adjoint(y), op.A_dagger(y), gradient(x), gradient_adjoint(p)
    assert all(torch.equal(a, b) for a, b in zip((x, y, p), before, strict=True))


@pytest.mark.parametrize(
    ("mask", "error", "shown"),
    [
        (np.ones((4, 4)), TypeError, "must be a tensor .*got ndarray"),
        (torch.ones(4, 5), ValueError, r"must have shape \(n, n\).*got \(4, 5\); for rectangles see"),
        (torch.ones(1, 4, 4), ValueError, r"got \(1, 4, 4\)"),
        (torch.full((4, 4), 0.5), ValueError, "zeros and ones"),
        (torch.full((4, 4), math.nan), ValueError, "zeros and ones"),
        (torch.zeros(4, 4), ValueError, r"got zeros of shape \(4, 4\)"),
        (torch.ones(0, 0), ValueError, r"got \(0, 0\)"),
    ],
)
def test_a_wrong_mask_is_refused_with_the_reason(mask, error, shown):
    with pytest.raises(error, match=f"MaskedFourier: mask .*{shown}"):
        MaskedFourier(mask)


@pytest.mark.parametrize(("n", "lines"), [(64, 6), (65, 12), (256, 40)])
def test_a_mask_in_the_order_of_numpy_gets_a_warning_that_says_what_to_do(n, lines):
    mask = radial_mask(n, lines)
    MaskedFourier(mask)
    with pytest.warns(UserWarning, match="zero frequency.*fftshift"):
        MaskedFourier(torch.fft.ifftshift(mask))


@pytest.mark.parametrize("shape", [(5, 10), (10, 4)])
def test_a_mask_of_a_rectangular_grid_serves_when_it_is_padded_as_the_documentation_says(shape):
    # each pixel of x is one of the finer, square grid on the same field of view
    n, x = 20, random(*shape)
    before = [n // 2 - side // 2 for side in shape]
    mask = torch.zeros(n, n, dtype=torch.bool)
    mask[before[0] : before[0] + shape[0], before[1] : before[1] + shape[1]] = True
    y = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho")).flatten()  # its measurements, in the order of its mask
    image = MaskedFourier(mask).A_dagger(y) * n / math.sqrt(math.prod(shape))
    assert torch.allclose(image[:: n // shape[0], :: n // shape[1]], x, atol=1e-12)


OPERATOR = MaskedFourier(radial_mask(8, 2))  # m = 15


@pytest.mark.parametrize(
    ("name", "value", "error", "shown"),
    [
        ("A", torch.ones(2, 9, 8), ValueError, r"x must have shape \(..., 8, 8\), got \(2, 9, 8\)"),
        ("A", torch.tensor(1.0), ValueError, r"x .*got \(\)"),
        ("A", torch.ones(8, 8, dtype=torch.float16), TypeError, "x .*got torch.float16"),
        ("A", torch.ones(8, 8, device="meta"), ValueError, "x .*on cpu, got meta"),
        *(
            (name, value, error, shown)
            for name in ("A_adjoint", "A_dagger", "k_space", "symmetrize", "x_update")
            for value, error, shown in (
                (random(3, 16), ValueError, r"y must have shape \(..., 15\), got \(3, 16\)"),
                (torch.ones(15), TypeError, "y .*complex64, complex128, got torch.float32"),
                ([1j] * 15, TypeError, "y must be a tensor"),
                (torch.ones(15, dtype=torch.complex64, device="meta"), ValueError, "y .*on cpu, got meta"),
            )
        ),
    ],
)
def test_a_wrong_input_is_refused_with_the_operator_and_both_shapes(name, value, error, shown):
    assert OPERATOR.m == 15
    with pytest.raises(error, match=rf"MaskedFourier\.{name}: {shown}"):
        getattr(OPERATOR, name)(value, *([torch.ones(3)] if name == "x_update" else []))


# --- The periodic gradient


@given(st.integers(2, 9), batches, st.sampled_from(DTYPES), seeds)
def test_the_gradient_is_the_matrix_of_its_definition(n, batch, dtype, seed):
    x, p = random(*batch, n, n, dtype=dtype, seed=seed), random(*batch, 2, n, n, dtype=dtype, seed=seed + 1)
    down, right = (torch.from_numpy(d).to(dtype) for d in difference_matrices(n))
    flat, eps = x.flatten(-2), 10 * tolerance(dtype)
    expected = torch.stack([flat @ down.T, flat @ right.T], -2).unflatten(-1, (n, n))
    assert gradient(x).shape == expected.shape and gradient(x).dtype == dtype
    assert torch.allclose(gradient(x), expected, atol=eps)
    expected = p.flatten(-2)[..., 0, :] @ down + p.flatten(-2)[..., 1, :] @ right
    assert gradient_adjoint(p).shape == x.shape and gradient_adjoint(p).dtype == dtype
    assert torch.allclose(gradient_adjoint(p).flatten(-2), expected, atol=eps)


@given(st.integers(2, 24), batches, st.sampled_from(DTYPES), seeds)
def test_the_gradient_passes_the_dot_product_test(n, batch, dtype, seed):
    x, p = random(*batch, n, n, dtype=dtype, seed=seed), random(*batch, 2, n, n, dtype=dtype, seed=seed + 1)
    assert_adjoint(gradient, gradient_adjoint, x, p)


@given(st.integers(2, 24), batches, seeds)
def test_the_vector_jacobian_products_of_the_gradient_are_the_adjoints(n, batch, seed):
    x = random(*batch, n, n, seed=seed).requires_grad_()
    p = random(*batch, 2, n, n, seed=seed + 1).requires_grad_()
    (product,) = torch.autograd.grad(gradient(x), x, p.detach())
    assert torch.allclose(product, gradient_adjoint(p.detach()), atol=1e-13)
    (product,) = torch.autograd.grad(gradient_adjoint(p), p, x.detach())
    assert torch.allclose(product, gradient(x.detach()), atol=1e-13)


def test_the_gradient_has_first_the_difference_to_the_pixel_below():
    x = torch.zeros(3, 3)
    x[1, 1] = 1
    down, right = gradient(x)
    assert down.tolist() == [[0, 1, 0], [0, -1, 0], [0, 0, 0]]
    assert right.tolist() == [[0, 0, 0], [1, -1, 0], [0, 0, 0]]


@given(st.integers(2, 24), st.sampled_from(COMPLEX), seeds)
def test_the_symbol_of_the_laplacian_is_what_it_does_in_the_fourier_domain(n, dtype, seed):
    x = random(n, n, dtype=dtype, seed=seed)
    symbol = laplacian_symbol(n, x.real.dtype)
    assert symbol.shape == (n, n) and symbol.dtype == x.real.dtype and symbol[0, 0] == 0
    expected = torch.fft.fft2(gradient_adjoint(gradient(x)), norm="ortho")
    assert torch.allclose(symbol * torch.fft.fft2(x, norm="ortho"), expected, atol=100 * tolerance(dtype))


def test_the_symbol_is_computed_in_double_precision_by_default():
    assert laplacian_symbol(4).dtype == torch.float64
    assert torch.allclose(laplacian_symbol(4)[1], torch.tensor([2.0, 4, 6, 4], dtype=torch.float64), atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.booleans(), st.integers(0, 2**31))
def test_symmetrize_is_the_orthogonal_projection_on_real_images(n, even, seed):
    op = MaskedFourier(even_mask(n, 0.4, seed) if even else random_mask(n, 0.4, seed))
    y, z = random(2, op.m, seed=seed), random(op.m, seed=seed + 1)
    projected = op.symmetrize(y)
    assert op.A_dagger(projected).imag.abs().max() < 1e-13
    assert torch.allclose(op.symmetrize(projected), projected, atol=1e-14)
    assert abs(torch.vdot(y[0] - projected[0], op.symmetrize(z)).real) < 1e-12  # orthogonal over the reals
    symmetric = op.A(op.A_dagger(z).real) if even and n % 2 else projected[1]
    assert torch.allclose(op.symmetrize(symmetric), symmetric, atol=1e-13)  # where every -k is sampled, nothing is lost


# --- Noise


def test_the_noise_has_the_size_that_was_asked_for():
    y = random(2, 3, 40, dtype=torch.complex64)
    added = add_noise(y, 0.25, 7) - y
    size = torch.linalg.vector_norm(added, dim=-1) / torch.linalg.vector_norm(y, dim=-1)
    assert added.dtype == torch.complex64 and torch.allclose(size, torch.tensor(0.25), rtol=1e-5)
    assert torch.equal(add_noise(y, 0, 7), y) and add_noise(y[:0], 0.25, 7).shape == (0, 3, 40)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 5), seeds)
def test_the_noise_of_an_image_does_not_depend_on_how_many_there_are(m, count, seed):
    y = random(6, m)
    every = add_noise(y, 0.04, seed)
    assert torch.equal(add_noise(y[:count], 0.04, seed), every[:count])
    assert torch.equal(add_noise(y[0], 0.04, np.int64(seed)), every[0])
    assert torch.equal(add_noise(y.reshape(3, 2, m), 0.04, seed).reshape(6, m), every)
    assert len(gaussian((6, m), seed)[:, 0].real.unique()) == 6


def test_the_first_stream_of_noise_is_the_one_that_results_were_computed_with():
    noise = torch.randn(9, dtype=torch.complex128, generator=torch.Generator().manual_seed(5))
    assert torch.equal(gaussian((2, 9), 5)[0], noise)


# --- The domain of real images


def real_matrix(op):
    """A over the real numbers, ``(2 m, n^2)``: real parts of the measurements above the imaginary ones."""
    matrix = torch.from_numpy(fourier_matrix(op.mask))
    return torch.cat([matrix.real, matrix.imag])


@settings(max_examples=30)
@given(st.integers(2, 9), st.booleans(), st.booleans(), seeds)
def test_the_x_update_solves_its_equation(n, even, real, seed):
    mask = even_mask(n, 0.4, seed) if even else random_mask(n, 0.4, seed)  # also k without -k, also without 0
    op, dtype = MaskedFourier(mask, real), torch.float64 if real else torch.complex128
    rho, y = torch.tensor([0.3, 2.0], dtype=torch.float64), random(2, op.m, seed=seed)
    b = random(2, n, n, dtype=dtype, seed=seed + 1)
    data = op.A_adjoint(y).real if real else op.A_adjoint(y)
    solve = op.x_update(y, rho)
    for found, right in ((solve(b), data + b), (solve(b, linear=True), b)):
        assert found.dtype == dtype
        normal = op.A_adjoint(op.A(found))
        left = (normal.real if real else normal) + rho[:, None, None] * gradient_adjoint(gradient(found))
        if not mask[n // 2, n // 2]:  # nothing determines the mean: it is 0
            assert found.mean((1, 2)).abs().max() < 1e-12
            right = right - right.mean((1, 2), keepdim=True)
        assert torch.allclose(left, right, atol=1e-10)


@settings(max_examples=30)
@given(st.integers(2, 9), st.booleans(), seeds)
def test_the_pseudo_inverse_of_the_adjoint_is_that_of_linear_algebra(n, even, seed):
    mask = even_mask(n, 0.4, seed) if even else random_mask(n, 0.4, seed)
    real, free = MaskedFourier(mask, real=True), MaskedFourier(mask)
    g = random(n, n, dtype=torch.float64, seed=seed)
    q = torch.linalg.pinv(real_matrix(real).T) @ g.flatten()  # Re A* is the transpose over the real numbers
    assert torch.allclose(real.adjoint_dagger(g), torch.complex(q[: real.m], q[real.m :]), atol=1e-10)
    matrix = torch.from_numpy(fourier_matrix(mask))
    assert torch.allclose(free.adjoint_dagger(g), torch.linalg.pinv(matrix.mH) @ g.flatten().to(matrix), atol=1e-10)


@settings(max_examples=20)
@given(masks(n_max=12), seeds)
def test_real_and_complex_images_are_measured_alike(mask, seed):
    op, x = MaskedFourier(mask), random(3, len(mask), len(mask), dtype=torch.float64, seed=seed)
    assert torch.allclose(op.A(x), op.A(x.to(torch.complex128)), atol=1e-13)
    assert torch.allclose(op.k_space(op.A(x)), torch.fft.fft2(x, norm="ortho") * torch.fft.ifftshift(mask), atol=1e-13)


def test_the_domain_moves_with_the_operator_and_shows():
    op = MaskedFourier(radial_mask(16, 3), real=True)
    assert op.real and op.to("cpu").real and "real" in repr(op) and not MaskedFourier(op.mask).real
