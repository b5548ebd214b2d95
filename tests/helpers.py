"""What several test modules share: random tensors, dense matrices from the definitions, a small network's sizes."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

from lib.networks import Sizes
from lib.operators import MaskedFourier, gradient, gradient_adjoint, radial_mask

SMALL = Sizes((1, 2), 2, (2, 1), growth=4, first=6, fold=2, inversion_noise=1 / 64)  # a network that trains in no time
OP = MaskedFourier(radial_mask(32, 8))
COMPLEX = (torch.complex64, torch.complex128)
BATCHES = ((), (1,), (3,), (2, 3))


def book_module(path):
    """A script below book/, named without .py, as a module."""
    file = Path(__file__).parents[1] / "book" / f"{path}.py"
    specification = importlib.util.spec_from_file_location(file.stem, file)
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


def random(*shape, dtype=torch.complex128, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_mask(n, density, seed):
    """Any mask, with one frequency at least: nothing radial or symmetric about it."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < density
    mask.flat[rng.integers(n * n)] = True
    return torch.from_numpy(mask)


def masks(n_max=24):
    """Strategy: random masks of side 2 to n_max, from nearly empty to full."""
    return st.builds(random_mask, st.integers(2, n_max), st.floats(0, 1), st.integers(0, 2**32 - 1))


def even_mask(n, density, seed):
    """A random mask with k and -k (modulo n), and with the zero frequency."""
    mask = random_mask(n, density, seed)
    mask[n // 2, n // 2] = True
    k = (2 * (n // 2) - torch.arange(n)) % n  # where -k lies
    return mask | mask[k][:, k]


def fourier_matrix(mask):
    """``(m, n^2)``: the rows of the unitary DFT that a centred mask selects, in row-major order."""
    mask = np.asarray(mask)
    n = len(mask)
    position = np.arange(n)
    rows = []
    for a in range(n):
        for b in range(n):
            if mask[a, b]:
                phase = (a - n // 2) * position[:, None] + (b - n // 2) * position
                rows.append(np.exp(-2j * np.pi * phase / n).ravel() / n)
    return np.array(rows)


def difference_matrices(n):
    """Two ``(n^2, n^2)`` matrices: x[i+1, j] - x[i, j] and x[i, j+1] - x[i, j], periodic."""
    shift = np.roll(np.eye(n), 1, axis=1)
    return np.kron(shift - np.eye(n), np.eye(n)), np.kron(np.eye(n), shift - np.eye(n))


def tolerance(dtype):
    return 1e-5 if dtype in (torch.complex64, torch.float32) else 1e-13


def assert_adjoint(operator, adjoint, x, y, real=False):
    """The dot-product test of a linear map on ``x`` and one on ``y``, normalised.

    Shapes and dtypes are compared first: a flattened inner product would hide wrong ones.
    """
    forward, backward = operator(x), adjoint(y)
    assert forward.shape == y.shape and forward.dtype == y.dtype
    assert backward.shape == x.shape
    assert backward.dtype == (x.dtype if not real else x.dtype.to_complex())
    backward = backward.real if real else backward
    left, right = torch.sum(forward.conj() * y), torch.sum(x.conj() * backward)
    if real:  # over the real numbers the inner product of C^m is the real part
        left = left.real
    scale = torch.linalg.vector_norm(forward) * torch.linalg.vector_norm(y)
    assert abs(left - right) <= tolerance(y.dtype) * max(float(scale), 1e-30)


class TwoCoils:
    """Two coils with smooth sensitivities. A*A is diagonal nowhere: the x-update takes conjugate gradients."""

    real, device = False, torch.device("cpu")

    def __init__(self, mask, tol=1e-12):
        self.fourier, self.n, self.m, self.tol = MaskedFourier(mask), len(mask), 2 * int(mask.sum()), tol
        i, j = torch.meshgrid(*[torch.linspace(-1, 1, self.n, dtype=torch.float64)] * 2, indexing="ij")
        self.coils = torch.stack(
            [torch.exp(-((i + 0.6) ** 2) - (j + 0.3) ** 2 + 1j * j), torch.exp(-((j - 0.7) ** 2) - 0.5j * i)]
        )

    def A(self, x):
        return self.fourier.A(self.coils * x[..., None, :, :]).flatten(-2)

    def A_adjoint(self, y):
        return (self.coils.conj() * self.fourier.A_adjoint(y.unflatten(-1, (2, -1)))).sum(-3)

    def A_dagger(self, y):
        return self._solve(lambda x: self.A_adjoint(self.A(x)), self.A_adjoint(y))

    def x_update(self, y, rho):
        data = self.A_adjoint(y)

        def solve(b, linear=False):
            def normal(x):
                return self.A_adjoint(self.A(x)) + rho[:, None, None] * gradient_adjoint(gradient(x))

            return self._solve(normal, b if linear else b + data)

        return solve

    def _solve(self, normal, b, steps=400):
        """Conjugate gradients, to the relative residual ``tol``."""
        x, r, p = torch.zeros_like(b), b, b
        square = least = b.abs().square().sum((-2, -1), keepdim=True)
        for _ in range(steps):
            if bool((square <= self.tol**2 * least).all()):
                break
            q = normal(p)
            step = torch.where(square > 0, square / (p.conj() * q).real.sum((-2, -1), keepdim=True), 0)
            x, r = x + step * p, r - step * q
            before, square = square, r.abs().square().sum((-2, -1), keepdim=True)
            p = r + torch.where(before > 0, square / before, 0) * p
        return x
