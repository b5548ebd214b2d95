"""The forward model: masks, the masked Fourier operator, what any other operator must offer, the gradient, noise."""

import math
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib import _kernels, checks

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # between successive lines, radians
REAL, COMPLEX = (torch.float32, torch.float64), (torch.complex64, torch.complex128)


def radial_mask(n: int, lines: int) -> Tensor:
    r"""Golden-angle radial undersampling mask :math:`\Omega` (Figure 2 of the paper).

    Line ``k`` has angle :math:`k \pi (\sqrt5 - 1)/2`; a frequency belongs to it if its distance to the line
    is at most 1/2. At n = 256, 25, 40 and 80 lines give the paper's m = 6990, 10941 and 20908.

    The mask is point symmetric about the zero frequency, but for the row and the column of index 0 where ``n`` is even:
    they hold the frequency -n/2, which modulo n is its own negative, and the mirror image of (-n/2, k) is (-n/2, -k),
    which the mask need not contain.

    Parameters
    ----------
    n : image side, 2 to 16384.
    lines : number of lines through the zero frequency, at least 1.

    Returns
    -------
    ``(n, n)`` bool tensor, zero frequency at ``[n//2, n//2]``.

    >>> [int(radial_mask(256, lines).sum()) for lines in (25, 40, 80)]
    [6990, 10941, 20908]
    """
    n, lines = checks.integer("radial_mask", "n", n, 2, checks.SIDE), checks.integer("radial_mask", "lines", lines, 1)
    k = torch.arange(n, dtype=torch.float64) - n // 2
    mask = torch.zeros(n, n, dtype=torch.bool)
    for line in range(lines):
        angle = line * GOLDEN_ANGLE
        mask |= (k[:, None] * math.cos(angle) + k * math.sin(angle)).abs() <= 0.5
        if bool(mask.all()):
            break
    return mask


class LinearOperator(Protocol):
    r"""What solver, certificate and attack need of a forward operator :math:`\mathcal{A}`; see `MaskedFourier`.

    An operator acts on batches: leading dimensions are kept. It is differentiable by autograd in both directions, and
    linear over the complex numbers. If ``real``, the unknown image is a real one, for which the adjoint is
    :math:`\mathrm{Re}\,\mathcal{A}^*`; A, A_adjoint and A_dagger are the same in either domain.

    Three more methods are used where an operator has them.

    - ``real_adjoint(y)``, ``(..., m)`` to real images: :math:`\mathrm{Re}\,\mathcal{A}^* y` at half the cost.
    - ``adjoint_dagger(g)``, from images ``(..., n, n)`` to ``(..., m)``: the q of least norm with
      :math:`\mathcal{A}^* q = g` (:math:`\mathrm{Re}\,\mathcal{A}^* q = g` if ``real``), or the nearest to it. With it
      a dual point can be made feasible, and the solver proves its result; without it, the solver stops on primal and
      dual residuals.
    - ``symmetrize(y)``, ``(..., m)`` to the same: the nearest y with a real :math:`\mathcal{A}^\dagger y`. An attack
      needs it if ``real``.

    Attributes
    ----------
    n, m : image side and number of measurements.
    real : whether the unknown image is real.
    device : where images and measurements have to be.
    """

    n: int
    m: int
    real: bool
    device: torch.device

    def A(self, x: Tensor) -> Tensor:
        """Measurements ``(..., m)`` of images ``(..., n, n)``."""

    def A_adjoint(self, y: Tensor) -> Tensor:
        r"""Adjoint :math:`\mathcal{A}^* y`, complex images ``(..., n, n)``."""

    def A_dagger(self, y: Tensor) -> Tensor:
        r"""Pseudo-inverse :math:`\mathcal{A}^\dagger y`, complex images ``(..., n, n)``."""

    def x_update(self, y: Tensor, rho: Tensor) -> Callable[..., Tensor]:
        r"""ADMM's x-update, for measurements ``(k, m)`` and penalties ``(k,)``: a function ``solve(b, linear=False)``,

        .. math:: (\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1} (\mathcal{A}^* y + b),

        of images b ``(k, n, n)``, which are real if the operator is. It must return new memory, as the caller reuses
        that of b. With ``linear`` the function leaves :math:`\mathcal{A}^* y` out; then it is self-adjoint. Where
        nothing determines the mean of the image, it is 0.
        """


class MaskedFourier:
    r"""The undersampled MRI operator :math:`\mathcal{A} = P_\Omega \mathcal{F}` of Section 2.

    :math:`\mathcal{F}` is the unitary 2-D discrete Fourier transform, :math:`P_\Omega` keeps the frequencies of the
    mask in row-major order. Since :math:`\mathcal{A}\mathcal{A}^* = I`, the adjoint is also the pseudo-inverse. A,
    A_adjoint and A_dagger are linear over the complex numbers and differentiable, take any leading batch shape,
    float32/complex64 or float64/complex128, on the device of the mask.

    Pixel [0, 0] is the origin of the transform. The authors centre the image, too; that only turns the phases of the
    measurements.

    Images are square. A rectangular one is padded with zeros before it is measured. Where measurements come from a
    rectangular grid, pad its mask with False instead, zero frequency on zero frequency: y stays as it is, and the image
    comes out on n x n pixels of the same field of view, interpolated along its shorter side.

    Parameters
    ----------
    mask : ``(n, n)`` bool tensor (or one of zeros and ones), zero frequency at ``[n//2, n//2]``. One in the order of
        ``numpy.fft``, zero frequency at [0, 0], needs an ``fftshift`` first; there is a warning.
    real : whether the unknown is a real image, as phantoms are: reconstructions are then real, at half the cost, and
        attacks keep to real image perturbations. Measurements are complex in any case, and their noise may be.

    It has these as attributes, and those of `LinearOperator`.

    >>> op = MaskedFourier(radial_mask(32, 6))
    >>> y = op.A(torch.ones(5, 32, 32))
    >>> y.shape == (5, op.m), y.dtype
    (True, torch.complex64)
    """

    def __init__(self, mask: Tensor, real: bool = False):
        checks.tensor("MaskedFourier", "mask", mask, ("n", "n"))
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or not 1 <= len(mask) <= checks.SIDE:
            raise ValueError(
                f"MaskedFourier: mask must have shape (n, n), n from 1 to {checks.SIDE}, got {tuple(mask.shape)}; "
                "for rectangles see the documentation of MaskedFourier"
            )
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("MaskedFourier: mask must hold zeros and ones, got other values")
        if not bool(mask.any()):
            raise ValueError(f"MaskedFourier: mask must sample a frequency, got zeros of shape {tuple(mask.shape)}")
        self.mask = mask.to(torch.bool, copy=True)
        self.device = mask.device
        self.real = checks.instance("MaskedFourier", "real", real, bool)
        self.n = n = mask.shape[0]
        self.m = int(self.mask.sum())
        if n >= 10:  # the 5 x 5 lowest frequencies, and those that would be the lowest in the other order
            low, swapped = (self.mask.roll((2 - at, 2 - at), (0, 1))[:5, :5].sum() for at in (n // 2, 0))
            if low + 15 <= swapped:
                warnings.warn(
                    "MaskedFourier: mask has few low frequencies: if its zero frequency is at [0, 0], apply "
                    "torch.fft.fftshift to it",
                    stacklevel=2,
                )
        rows, columns = ((k - n // 2) % n for k in self.mask.nonzero(as_tuple=True))  # in the order of torch.fft
        self._index = rows * n + columns
        # the transform of a real image is stored for k_1 = 0, ..., n/2; the others are conjugates of those at -k
        w = n // 2 + 1
        stored = columns < w
        self._half = torch.where(stored, rows * w + columns, -rows % n * w + -columns % n)
        self._conjugate = torch.stack([torch.ones_like(stored), stored], 1) * 2.0 - 1  # signs of real, imaginary part
        at = torch.full((n, n), self.m, device=self.mask.device)  # where y holds a frequency, or m
        at[rows, columns] = torch.arange(self.m, device=self.mask.device)
        mirror = at[-rows % n, -columns % n]
        self._paired = mirror < self.m  # whether -k, modulo n, is sampled
        self._mirror = mirror % self.m  # where
        # Re A* y has the spectrum (y_k + conj y_{-k})/2, with 0 for what is not sampled: for each stored k, where y
        # holds k and -k
        at_k, at_minus_k = at[:, :w].flatten(), at.flip(0, 1).roll((1, 1), (0, 1))[:, :w].flatten()
        self._stored = ((at_k < self.m) | (at_minus_k < self.m)).nonzero().flatten()  # frequencies with data
        at_k, at_minus_k = at_k[self._stored], at_minus_k[self._stored]
        self._at_k, self._at_minus_k = at_k % self.m, at_minus_k % self.m
        self._of_k = (at_k < self.m)[:, None] * torch.tensor([0.5, 0.5], device=self.device)
        self._of_minus_k = (at_minus_k < self.m)[:, None] * torch.tensor([0.5, -0.5], device=self.device)  # conjugates
        # symbols of A*A (of Re A*A: half at k and half at -k where only one is sampled) and of the Laplacian
        weight = torch.fft.ifftshift(self.mask).double()
        weight = (weight + weight.flip(0, 1).roll((1, 1), (0, 1))) / 2 if real else weight
        weight[0, 0] = torch.where(weight[0, 0] > 0, weight[0, 0], math.inf)  # nothing determines the mean: it is 0
        # twice, for real and imaginary part: torch is slow where a complex number meets a real one
        laplacian = laplacian_symbol(n, device=self.device)
        self._weight, self._laplacian = (
            a[:, : w if real else n, None].expand(-1, -1, 2).contiguous() for a in (weight, laplacian)
        )

    def __repr__(self) -> str:
        domain = "real" if self.real else "complex"
        return f"MaskedFourier(n={self.n}, m={self.m}, n^2/m={self.n**2 / self.m:.2f}, {domain}, {self.mask.device})"

    def to(self, device: str | torch.device) -> "MaskedFourier":
        """The same operator on another device."""
        return MaskedFourier(self.mask.to(checks.device("MaskedFourier.to", device)), self.real)

    def A(self, x: Tensor) -> Tensor:
        r"""Measurements :math:`y = \mathcal{A}x`: images ``(..., n, n)`` to vectors ``(..., m)`` (eq. 1)."""
        checks.tensor("MaskedFourier.A", "x", x, (self.n, self.n), (*REAL, *COMPLEX), self.device)
        if x.numel() == 0:  # the FFT libraries refuse an empty batch
            return x.new_zeros(*x.shape[:-2], self.m, dtype=torch.promote_types(x.dtype, torch.complex64))
        if x.is_complex():
            return _at(torch.fft.fft2(x, norm="ortho").flatten(-2), self._index)
        return self._samples(x, self._conjugate)

    def A_adjoint(self, y: Tensor) -> Tensor:
        r"""Adjoint :math:`\mathcal{A}^* y`: vectors ``(..., m)`` to complex images ``(..., n, n)``."""
        return self._adjoint("A_adjoint", y)

    def A_dagger(self, y: Tensor) -> Tensor:
        r"""Pseudo-inverse :math:`\mathcal{A}^\dagger y`, the zero-filled reconstruction (Figure 2, right)."""
        return self._adjoint("A_dagger", y)

    def real_adjoint(self, y: Tensor) -> Tensor:
        r"""See `LinearOperator`: :math:`\mathrm{Re}\,\mathcal{A}^* y` of an operator for real images."""
        check_measurements("MaskedFourier.real_adjoint", y, self)
        if not self.real:
            raise ValueError("MaskedFourier.real_adjoint: real must be True, got an operator for complex images")
        return _real_inverse(torch.view_as_complex(self._spectrum(y)), "ortho")

    def k_space(self, y: Tensor) -> Tensor:
        """Zero-filled k-space ``(..., n, n)`` in the order of torch.fft."""
        check_measurements("MaskedFourier.k_space", y, self)
        grid = y.new_zeros(*y.shape[:-1], self.n**2)
        return grid.index_copy(-1, self._index, y).unflatten(-1, (self.n, self.n))

    def x_update(self, y: Tensor, rho: Tensor) -> Callable[..., Tensor]:
        """See `LinearOperator`; exact, since both terms are diagonal in the Fourier domain."""
        check_measurements("MaskedFourier.x_update", y, self)
        checks.tensor("MaskedFourier.x_update", "rho", rho, y.shape[:-1], REAL, self.device)
        weight, laplacian = self._weight.to(rho.dtype), self._laplacian.to(rho.dtype)
        inverse = torch.addcmul(weight, rho[:, None, None, None], laplacian).reciprocal_().div_(self.n**2)
        # y is added in k-space: as an image, its rounding errors at frequencies without data would be divided by rho
        shift = inverse * self._spectrum(self.n * y)

        def solve(b: Tensor, linear: bool = False) -> Tensor:
            # transforms without their factors, which are in ``inverse``: on a GPU each would be a sweep of its own
            spectrum = torch.view_as_real((torch.fft.fft2 if b.is_complex() else torch.fft.rfft2)(b))
            if linear:
                spectrum = spectrum.mul_(inverse)
            else:
                torch.addcmul(shift, spectrum, inverse, out=spectrum)
            spectrum = torch.view_as_complex(spectrum)
            if b.is_complex():
                return torch.fft.ifft2(spectrum, norm="forward")
            return _real_inverse(spectrum, "forward")

        return solve

    def _samples(self, x: Tensor, factors: Tensor) -> Tensor:
        """Of the transform of real images, times factors ``(m, 2)`` for real and imaginary part: ``(..., m)``."""
        if x.numel() == 0:  # the FFT libraries refuse an empty batch
            return x.new_zeros(*x.shape[:-2], self.m, dtype=x.dtype.to_complex())
        half = _at(torch.fft.rfft2(x, norm="ortho").flatten(-2), self._half)
        return torch.view_as_complex(torch.view_as_real(half) * factors.to(x.dtype))

    def _adjoint(self, name: str, y: Tensor) -> Tensor:
        check_measurements(f"MaskedFourier.{name}", y, self)
        grid = self.k_space(y)
        return torch.fft.ifft2(grid, norm="ortho") if grid.numel() else grid

    def _spectrum(self, y: Tensor) -> Tensor:
        """The transform of A* y or, for real images, the stored half of that of Re A* y: ``(..., n, w, 2)``, real."""
        if not self.real:
            return torch.view_as_real(self.k_space(y))
        y = y.resolve_conj()
        values = torch.view_as_real(_at(y, self._at_k)) * self._of_k.to(y.real.dtype)
        values += torch.view_as_real(_at(y, self._at_minus_k)) * self._of_minus_k.to(y.real.dtype)
        grid = y.new_zeros(*y.shape[:-1], self._weight.numel() // 2)
        grid.index_copy_(-1, self._stored, torch.view_as_complex(values))
        return torch.view_as_real(grid.unflatten(-1, self._weight.shape[:2]))

    def adjoint_dagger(self, g: Tensor) -> Tensor:
        r"""See `LinearOperator`: :math:`\mathcal{A} g`, doubled where -k is not sampled."""
        kinds = REAL if self.real else (*REAL, *COMPLEX)
        checks.tensor("MaskedFourier.adjoint_dagger", "g", g, (self.n, self.n), kinds, self.device)
        return self._samples(g, self._conjugate * (1.0 + ~self._paired[:, None])) if self.real else self.A(g)

    def symmetrize(self, y: Tensor) -> Tensor:
        r"""The nearest measurements with a real :math:`\mathcal{A}^\dagger y`: ``(..., m)`` to the same shape.

        They are conjugate symmetric, and 0 where k is sampled and -k is not.
        """
        check_measurements("MaskedFourier.symmetrize", y, self)
        return (y + _at(y, self._mirror).conj()) * (self._paired.to(y.real.dtype) / 2)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """The entries of ``(..., k)`` at ``index``; on a CPU index_select takes several times as long."""
    return values.gather(-1, index.expand(*values.shape[:-1], -1))


def _real_inverse(spectrum: Tensor, norm: str) -> Tensor:
    """irfft2 of ``(..., n, n//2 + 1)``; torch's takes a quarter longer, for a slow copy between its two transforms."""
    n = spectrum.shape[-2]
    if spectrum.numel() == 0:
        return spectrum.real.new_zeros(*spectrum.shape[:-1], n)
    differentiated = torch.is_grad_enabled() and spectrum.requires_grad
    if differentiated or _kernels.is_transformed(spectrum) or not _kernels.serves(spectrum):
        return torch.fft.irfft2(spectrum, s=(n, n), norm=norm)
    columns = torch.fft.ifft(spectrum.reshape(-1, *spectrum.shape[-2:]), dim=-2, norm=norm)  # column by column
    return torch.fft.irfft(_kernels.row_by_row(columns), n=n, norm=norm).view(*spectrum.shape[:-1], n)


def check_measurements(where: str, y: Tensor, op: LinearOperator) -> None:
    """That y is a complex tensor ``(..., m)`` where the operator is; errors begin with ``where``."""
    checks.operator(where, op)
    checks.tensor(where, "y", y, (op.m,), COMPLEX, op.device)


def gradient(x: Tensor) -> Tensor:
    r"""Periodic forward differences :math:`\nabla x` (Section 2).

    .. math::
        (\nabla x)_{0,ij} = x_{i+1,j} - x_{ij}, \qquad (\nabla x)_{1,ij} = x_{i,j+1} - x_{ij},

    with indices modulo n, ``(..., 2, n, n)`` of images ``(..., n, n)``. Linear, differentiable, real or complex.
    """
    checks.tensor("gradient", "x", x, ("n", "n"), (*REAL, *COMPLEX))
    return torch.stack([x.roll(-1, -2) - x, x.roll(-1, -1) - x], dim=-3)


def gradient_adjoint(p: Tensor) -> Tensor:
    r"""Adjoint :math:`\nabla^* p`, ``(..., n, n)`` of fields ``(..., 2, n, n)``: backward differences, with a minus."""
    checks.tensor("gradient_adjoint", "p", p, (2, "n", "n"), (*REAL, *COMPLEX))
    down, right = p.unbind(-3)
    return down.roll(1, -2) - down + right.roll(1, -1) - right


def laplacian_symbol(n: int, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu") -> Tensor:
    r"""Fourier symbol of :math:`\nabla^*\nabla`: :math:`4\sin^2(\pi k_0/n) + 4\sin^2(\pi k_1/n)`.

    ``(n, n)``, of a real ``dtype``, in the order of ``torch.fft``.
    """
    checks.integer("laplacian_symbol", "n", n, 1, checks.SIDE)
    if not isinstance(dtype, torch.dtype) or dtype not in REAL:
        raise TypeError(f"laplacian_symbol: dtype must be torch.float32 or torch.float64, got {checks.shown(dtype)}")
    device = checks.device("laplacian_symbol", device)
    squared = 4 * torch.sin(math.pi * torch.fft.fftfreq(n, dtype=torch.float64, device=device)) ** 2
    return (squared[:, None] + squared).to(dtype)


def add_noise(y: Tensor, noise_rel: float, seed: int) -> Tensor:
    r"""``y`` plus complex Gaussian noise of norm exactly ``noise_rel`` times :math:`\|y\|_2`, for each vector.

    The noise of vector number i of a batch depends on ``seed``, i and m alone, not on how many there are.

    Parameters
    ----------
    y : measurements ``(..., m)``, complex, as the result.
    noise_rel : relative noise level :math:`\eta/\|y\|_2`, at least 0.
    seed : seed of the noise, in [0, 2**32); the same on every machine.
    """
    checks.tensor("add_noise", "y", y, ("m",), COMPLEX)
    noise_rel = checks.number("add_noise", "noise_rel", noise_rel, 0, least=True)
    noise = gaussian(y.shape, checks.seed("add_noise", seed)).to(y.device, y.dtype)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True) / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
    return y + noise_rel * size * noise


def gaussian(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard complex Gaussian vectors, complex128 ``(..., m)``: one stream for each vector, named by seed and number.

    The first stream is ``seed`` itself, the others are spawned from it.
    """
    count = math.prod(shape[:-1])
    seeds = [seed, *np.random.SeedSequence(seed).generate_state(max(count - 1, 0)).tolist()][:count]
    drawn = [torch.randn(shape[-1], dtype=COMPLEX[1], generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(drawn).reshape(shape) if drawn else torch.zeros(shape, dtype=COMPLEX[1])
