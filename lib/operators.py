"""The forward model: masks, the masked Fourier operator, what any other operator must offer, the gradient, noise."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Protocol

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
        r"""ADMM's x-update, for measurements ``(b, m)`` and penalties ``(b,)``: a function ``solve(b, linear=False)``,

        .. math:: (\mathcal{A}^*\mathcal{A} + \varrho\nabla^*\nabla)^{-1} (\mathcal{A}^* y + b),

        of images ``(b, n, n)``, which are real if the operator is, to new memory: b is overwritten afterwards. With
        ``linear`` the function leaves :math:`\mathcal{A}^* y` out; then it is self-adjoint. Where nothing determines
        the mean of the image, it is 0.
        """


class MaskedFourier:
    r"""The undersampled MRI operator :math:`\mathcal{A} = P_\Omega \mathcal{F}` of Section 2.

    :math:`\mathcal{F}` is the unitary 2-D discrete Fourier transform, :math:`P_\Omega` keeps the frequencies of the
    mask in row-major order. Since :math:`\mathcal{A}\mathcal{A}^* = I`, the adjoint is also the pseudo-inverse. A,
    A_adjoint and A_dagger are linear over the complex numbers and differentiable, take any leading batch shape,
    float32/complex64 or float64/complex128, on the device of the mask.

    Pixel [0, 0] is the origin of the transform. The authors centre the image, too; that only turns the phases of the
    measurements.

    Parameters
    ----------
    mask : ``(n, n)`` bool tensor (or one of zeros and ones), zero frequency at ``[n//2, n//2]``.
    real : whether the unknown is a real image, as phantoms are: reconstructions are then real, at half the cost, and
        attacks keep to real image perturbations. Measurements are complex in any case, and their noise may be.

    Attributes
    ----------
    mask : the mask, bool.
    n, m : image side and number of measurements.
    real : as given.
    device : of the mask; images and measurements have to be there.

    Raises
    ------
    TypeError, ValueError : the mask, an image or a measurement vector has the wrong type, shape, dtype or
        device. The message names the operator and both shapes.

    >>> op = MaskedFourier(radial_mask(32, 6))
    >>> y = op.A(torch.ones(5, 32, 32))
    >>> y.shape == (5, op.m), y.dtype
    (True, torch.complex64)
    """

    def __init__(self, mask: Tensor, real: bool = False):
        if not isinstance(mask, Tensor):
            raise TypeError(f"MaskedFourier: mask must be a tensor (see torch.from_numpy), got {type(mask).__name__}")
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
            raise ValueError(f"MaskedFourier: mask must have shape (n, n), got {tuple(mask.shape)}")
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("MaskedFourier: mask must be binary, got other values than 0 and 1")
        if not bool(mask.any()):
            raise ValueError(f"MaskedFourier: mask of shape {tuple(mask.shape)} is empty: no frequency is sampled")
        self.mask = mask.to(torch.bool, copy=True)
        self.device = mask.device
        self.real = bool(real)
        self.n = n = mask.shape[0]
        self.m = int(self.mask.sum())
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
        first, second = at[:, :w].flatten(), at.flip(0, 1).roll((1, 1), (0, 1))[:, :w].flatten()
        self._stored = ((first < self.m) | (second < self.m)).nonzero().flatten()  # frequencies with data
        first, second = first[self._stored], second[self._stored]  # where y holds k and -k
        self._first, self._second = first % self.m, second % self.m
        self._of_first = (first < self.m)[:, None] * torch.tensor([0.5, 0.5], device=self.device)
        self._of_second = (second < self.m)[:, None] * torch.tensor([0.5, -0.5], device=self.device)  # conjugates
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
        return MaskedFourier(self.mask.to(device), self.real)

    def A(self, x: Tensor) -> Tensor:
        r"""Measurements :math:`y = \mathcal{A}x`: images ``(..., n, n)`` to vectors ``(..., m)`` (eq. 1)."""
        _check("MaskedFourier.A", "x", x, (self.n, self.n), (*_REAL, *_COMPLEX), self.device)
        if x.numel() == 0:  # the FFT libraries refuse an empty batch
            return x.new_zeros(*x.shape[:-2], self.m, dtype=torch.promote_types(x.dtype, torch.complex64))
        if x.is_complex():
            return torch.fft.fft2(x, norm="ortho").flatten(-2).index_select(-1, self._index)
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
            raise ValueError("MaskedFourier.real_adjoint: the operator is for complex images; see its argument real")
        return _real_inverse(torch.view_as_complex(self._spectrum(y)))

    def k_space(self, y: Tensor) -> Tensor:
        """Zero-filled k-space ``(..., n, n)`` in the order of torch.fft."""
        check_measurements("MaskedFourier.k_space", y, self)
        return self._grid(y)

    def _grid(self, y: Tensor) -> Tensor:
        grid = y.new_zeros(*y.shape[:-1], self.n**2)
        return grid.index_copy(-1, self._index, y).unflatten(-1, (self.n, self.n))

    def x_update(self, y: Tensor, rho: Tensor) -> Callable[..., Tensor]:
        """See `LinearOperator`; exact, since both terms are diagonal in the Fourier domain."""
        weight, laplacian = self._weight.to(rho.dtype), self._laplacian.to(rho.dtype)
        inverse = torch.addcmul(weight, rho[:, None, None, None], laplacian).reciprocal_()
        # y is added in k-space: as an image, its rounding errors at frequencies without data would be divided by rho
        shift = inverse * self._spectrum(y)

        def solve(b: Tensor, linear: bool = False) -> Tensor:
            transform = torch.fft.fft2 if b.is_complex() else torch.fft.rfft2
            spectrum = torch.view_as_real(transform(b, norm="ortho"))
            if linear:
                spectrum = spectrum.mul_(inverse)
            else:
                torch.addcmul(shift, spectrum, inverse, out=spectrum)
            spectrum = torch.view_as_complex(spectrum)
            if b.is_complex():
                return torch.fft.ifft2(spectrum, norm="ortho")
            return _real_inverse(spectrum)

        return solve

    def _samples(self, x: Tensor, factors: Tensor) -> Tensor:
        """Of the transform of real images, times factors ``(m, 2)`` for real and imaginary part: ``(..., m)``."""
        if x.numel() == 0:  # the FFT libraries refuse an empty batch
            return x.new_zeros(*x.shape[:-2], self.m, dtype=x.dtype.to_complex())
        half = torch.fft.rfft2(x, norm="ortho").flatten(-2).index_select(-1, self._half)
        return torch.view_as_complex(torch.view_as_real(half) * factors.to(x.dtype))

    def _adjoint(self, name: str, y: Tensor) -> Tensor:
        check_measurements(f"MaskedFourier.{name}", y, self)
        grid = self._grid(y)
        return torch.fft.ifft2(grid, norm="ortho") if grid.numel() else grid

    def _spectrum(self, y: Tensor) -> Tensor:
        """The transform of A* y or, for real images, the stored half of that of Re A* y: ``(..., n, w, 2)``, real."""
        if not self.real:
            return torch.view_as_real(self._grid(y))
        parts = torch.view_as_real(y.resolve_conj())
        values = parts.index_select(-2, self._first) * self._of_first.to(parts.dtype)
        values += parts.index_select(-2, self._second) * self._of_second.to(parts.dtype)
        grid = y.new_zeros(*y.shape[:-1], self._weight.numel() // 2)
        grid.index_copy_(-1, self._stored, torch.view_as_complex(values))
        return torch.view_as_real(grid.unflatten(-1, self._weight.shape[:2]))

    def adjoint_dagger(self, g: Tensor) -> Tensor:
        r"""See `LinearOperator`: :math:`\mathcal{A} g`, and twice that at k where a real image has to serve -k, too."""
        return self._samples(g, self._conjugate * (1.0 + ~self._paired[:, None])) if self.real else self.A(g)

    def symmetrize(self, y: Tensor) -> Tensor:
        r"""The nearest measurements with a real :math:`\mathcal{A}^\dagger y`: ``(..., m)`` to the same shape.

        They are conjugate symmetric, and 0 where k is sampled and -k is not.
        """
        check_measurements("MaskedFourier.symmetrize", y, self)
        return (y + y.index_select(-1, self._mirror).conj()) * (self._paired.to(y.real.dtype) / 2)


def _real_inverse(spectrum: Tensor) -> Tensor:
    """irfft2 of ``(..., n, n//2 + 1)``; torch's takes a quarter longer, for a slow copy between its two transforms."""
    n = spectrum.shape[-2]
    if spectrum.numel() == 0:
        return spectrum.real.new_zeros(*spectrum.shape[:-1], n)
    if spectrum.device.type != "cpu":  # where the copies below would be as many kernels
        return torch.fft.irfft2(spectrum, s=(n, n), norm="ortho")
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    columns = torch.fft.ifft(flat, dim=-2, norm="ortho")  # comes with rows and columns swapped in memory
    rows = torch.empty_like(flat)
    for i in range(len(rows)):
        rows[i].copy_(columns[i])  # of two-dimensional tensors, which torch copies block by block
    return torch.fft.irfft(rows, n=n, norm="ortho").view(*spectrum.shape[:-1], n)


_REAL = (torch.float32, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128)


def check_measurements(name: str, y: Tensor, op: LinearOperator) -> None:
    """That y is a complex tensor ``(..., m)`` where the operator is; errors begin with ``name``."""
    _check(name, "y", y, (op.m,), _COMPLEX, op.device)


def _check(
    name: str,
    argument: str,
    value: Tensor,
    tail: tuple[int, ...],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device | None,
) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected {argument} to be a tensor, got {type(value).__name__}")
    if tuple(value.shape[-len(tail) :]) != tail:
        expected = ", ".join(map(str, tail))
        raise ValueError(f"{name}: expected {argument} of shape (..., {expected}), got {tuple(value.shape)}")
    if value.dtype not in dtypes:
        names = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise TypeError(f"{name}: expected {argument} of dtype {names}, got {value.dtype}")
    if device is not None and value.device != device:
        raise ValueError(f"{name}: mask on {device}, {argument} on {value.device}; use op.to")


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
