"""The forward model: radial undersampling masks, the masked Fourier operator, the periodic gradient."""

import math
from numbers import Integral

import torch
from torch import Tensor

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # between successive lines, radians


def radial_mask(n: int, lines: int) -> Tensor:
    r"""Golden-angle radial undersampling mask :math:`\Omega` (Figure 2 of the paper).

    Line ``k`` has angle :math:`k \pi (\sqrt5 - 1)/2`; a frequency belongs to it if its distance to the line
    is at most 1/2. At n = 256, 25, 40 and 80 lines give the paper's m = 6990, 10941 and 20908.

    The mask is point symmetric about the zero frequency. For even ``n`` the row and the column of index 0
    (frequency -n/2) have no mirror image in the grid.

    Parameters
    ----------
    n : image side, at least 2.
    lines : number of lines through the zero frequency, at least 1.

    Returns
    -------
    ``(n, n)`` bool tensor, zero frequency at ``[n//2, n//2]``.

    Raises
    ------
    ValueError : ``n`` or ``lines`` is out of range.

    >>> [int(radial_mask(256, lines).sum()) for lines in (25, 40, 80)]
    [6990, 10941, 20908]
    """
    for name, value, least in (("n", n, 2), ("lines", lines, 1)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"radial_mask: {name} must be an integer >= {least}, got {value!r}")
    k = torch.arange(n, dtype=torch.float64) - n // 2
    mask = torch.zeros(n, n, dtype=torch.bool)
    for line in range(lines):
        angle = line * GOLDEN_ANGLE
        mask |= (k[:, None] * math.cos(angle) + k * math.sin(angle)).abs() <= 0.5
    return mask


class MaskedFourier:
    r"""The undersampled MRI operator :math:`\mathcal{A} = P_\Omega \mathcal{F}` of Section 2.

    :math:`\mathcal{F}` is the unitary 2-D discrete Fourier transform, :math:`P_\Omega` keeps the frequencies of the
    mask in row-major order. Since :math:`\mathcal{A}\mathcal{A}^* = I`, the adjoint is also the pseudo-inverse. All
    three maps are linear (over the complex numbers) and differentiable, take any leading batch shape, float32/complex64
    or float64/complex128, on the device of the mask.

    Pixel [0, 0] is the origin of the transform. The authors centre the image, too; that only turns the phases of the
    measurements.

    Parameters
    ----------
    mask : ``(n, n)`` bool tensor (or one of zeros and ones), zero frequency at ``[n//2, n//2]``.

    Attributes
    ----------
    mask : the mask, bool.
    n, m : image side and number of measurements.
    is_even : whether the mask contains -k with each k, where both lie in the grid, so that the
        measurements of a real image are conjugate symmetric.

    Raises
    ------
    TypeError, ValueError : the mask, an image or a measurement vector has the wrong type, shape, dtype or
        device. The message names the operator and both shapes.

    >>> op = MaskedFourier(radial_mask(32, 6))
    >>> y = op.A(torch.ones(5, 32, 32))
    >>> y.shape == (5, op.m), y.dtype
    (True, torch.complex64)
    """

    def __init__(self, mask: Tensor):
        if not isinstance(mask, Tensor):
            raise TypeError(f"MaskedFourier: mask must be a tensor (see torch.from_numpy), got {type(mask).__name__}")
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
            raise ValueError(f"MaskedFourier: mask must have shape (n, n), got {tuple(mask.shape)}")
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("MaskedFourier: mask must be binary, got other values than 0 and 1")
        if not bool(mask.any()):
            raise ValueError(f"MaskedFourier: mask of shape {tuple(mask.shape)} is empty: no frequency is sampled")
        self.mask = mask.to(torch.bool, copy=True)
        self.n = n = mask.shape[0]
        self.m = int(self.mask.sum())
        rows, columns = self.mask.nonzero(as_tuple=True)  # row-major order of the centred mask
        # the same frequencies in the order of torch.fft, where index 0 is the zero frequency
        self._index = ((rows - n // 2) % n) * n + (columns - n // 2) % n
        position = torch.full((n * n,), self.m, device=self.mask.device)
        position[self._index] = torch.arange(self.m, device=self.mask.device)
        mirror = position[(-rows + n // 2) % n * n + (-columns + n // 2) % n]
        self._mirror = mirror % self.m  # where y holds -k; anywhere if nowhere
        self._paired = (mirror < self.m) / 2  # what `symmetrize` multiplies with
        inner = self.mask[1 - n % 2 :, 1 - n % 2 :]  # without -n/2, which has no mirror image
        self.is_even = bool((inner == inner.flip(0, 1)).all())

    def __repr__(self) -> str:
        return f"MaskedFourier(n={self.n}, m={self.m}, n^2/m={self.n**2 / self.m:.2f}, {self.mask.device})"

    def to(self, device: str | torch.device) -> "MaskedFourier":
        """The same operator on another device."""
        return MaskedFourier(self.mask.to(device))

    def A(self, x: Tensor) -> Tensor:
        r"""Measurements :math:`y = \mathcal{A}x`: images ``(..., n, n)`` to vectors ``(..., m)`` (eq. 1)."""
        self._check("MaskedFourier.A", x, (self.n, self.n), (*_REAL, *_COMPLEX))
        if x.numel() == 0:  # the FFT libraries refuse an empty batch
            return x.new_zeros(*x.shape[:-2], self.m, dtype=torch.promote_types(x.dtype, torch.complex64))
        return torch.fft.fft2(x, norm="ortho").flatten(-2)[..., self._index]

    def A_adjoint(self, y: Tensor) -> Tensor:
        r"""Adjoint :math:`\mathcal{A}^* y`: vectors ``(..., m)`` to complex images ``(..., n, n)``."""
        self._check("MaskedFourier.A_adjoint", y, (self.m,), _COMPLEX)
        grid = self._scatter(y)
        return torch.fft.ifft2(grid, norm="ortho") if grid.numel() else grid

    def A_dagger(self, y: Tensor) -> Tensor:
        r"""Pseudo-inverse :math:`\mathcal{A}^\dagger y`, the zero-filled reconstruction (Figure 2, right)."""
        self._check("MaskedFourier.A_dagger", y, (self.m,), _COMPLEX)
        return self.A_adjoint(y)

    def symmetrize(self, y: Tensor) -> Tensor:
        r"""The nearest measurements with a real :math:`\mathcal{A}^\dagger y`: ``(..., m)`` to the same shape.

        They are conjugate symmetric, and 0 where k is sampled and -k is not.
        """
        self._check("MaskedFourier.symmetrize", y, (self.m,), _COMPLEX)
        return (y + y[..., self._mirror].conj()) * self._paired.to(y.real.dtype)

    def _scatter(self, y: Tensor) -> Tensor:
        """Zero-filled k-space ``(..., n, n)`` in the order of torch.fft."""
        grid = y.new_zeros(*y.shape[:-1], self.n**2)
        return grid.index_copy_(-1, self._index, y).unflatten(-1, (self.n, self.n))

    def _check(self, name: str, value: Tensor, tail: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
        argument = "y" if len(tail) == 1 else "x"
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: expected {argument} to be a tensor, got {type(value).__name__}")
        if tuple(value.shape[-len(tail) :]) != tail:
            expected = ", ".join(map(str, tail))
            raise ValueError(f"{name}: expected {argument} of shape (..., {expected}), got {tuple(value.shape)}")
        if value.dtype not in dtypes:
            names = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
            raise TypeError(f"{name}: expected {argument} of dtype {names}, got {value.dtype}")
        if value.device != self.mask.device:
            raise ValueError(f"{name}: mask on {self.mask.device}, {argument} on {value.device}; use op.to")


_REAL = (torch.float32, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128)


def gradient(x: Tensor) -> Tensor:
    r"""Periodic forward differences :math:`\nabla x` (Section 2).

    .. math::
        (\nabla x)_{0,ij} = x_{i+1,j} - x_{ij}, \qquad (\nabla x)_{1,ij} = x_{i,j+1} - x_{ij},

    with indices modulo n. Linear, differentiable, real or complex.

    Parameters
    ----------
    x : images ``(..., n, n)``.

    Returns
    -------
    ``(..., 2, n, n)``, same dtype.

    Raises
    ------
    ValueError : the last two dimensions are missing.
    """
    if x.ndim < 2:
        raise ValueError(f"gradient: expected shape (..., n, n), got {tuple(x.shape)}")
    return torch.stack([x.roll(-1, -2) - x, x.roll(-1, -1) - x], dim=-3)


def gradient_adjoint(p: Tensor) -> Tensor:
    r"""Adjoint :math:`\nabla^* p`, minus the periodic divergence with backward differences.

    Parameters
    ----------
    p : fields ``(..., 2, n, n)``.

    Returns
    -------
    ``(..., n, n)``, same dtype.

    Raises
    ------
    ValueError : ``p`` has no dimension of size 2 in third place from the end.
    """
    if p.ndim < 3 or p.shape[-3] != 2:
        raise ValueError(f"gradient_adjoint: expected shape (..., 2, n, n), got {tuple(p.shape)}")
    down, right = p.unbind(-3)
    return down.roll(1, -2) - down + right.roll(1, -1) - right


def laplacian_symbol(n: int, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu") -> Tensor:
    r"""Fourier symbol of :math:`\nabla^*\nabla`: :math:`4\sin^2(\pi k_0/n) + 4\sin^2(\pi k_1/n)`.

    Parameters
    ----------
    n : image side.
    dtype : real dtype of the result.
    device : where it is made.

    Returns
    -------
    ``(n, n)``, in the order of ``torch.fft``.
    """
    squared = 4 * torch.sin(math.pi * torch.fft.fftfreq(n, dtype=torch.float64, device=device)) ** 2
    return (squared[:, None] + squared).to(dtype)


def add_noise(y: Tensor, noise_rel: float, seed: int) -> Tensor:
    r"""``y`` plus complex Gaussian noise of norm exactly ``noise_rel`` times :math:`\|y\|_2`, for each vector.

    Parameters
    ----------
    y : measurements ``(..., m)``, complex.
    noise_rel : relative noise level :math:`\eta/\|y\|_2`, at least 0.
    seed : seed of the noise; the same on every machine.

    Returns
    -------
    ``(..., m)``, the dtype of ``y``.

    Raises
    ------
    ValueError : ``noise_rel`` is negative or not finite.
    TypeError : ``y`` is not complex.
    """
    if not y.is_complex():
        raise TypeError(f"add_noise: y must be complex, got {y.dtype}")
    if not (noise_rel >= 0 and math.isfinite(noise_rel)):
        raise ValueError(f"add_noise: noise_rel must be a number >= 0, got {noise_rel!r}")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(y.shape, dtype=torch.complex128, generator=generator).to(y.device, y.dtype)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True) / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
    return y + noise_rel * size * noise
