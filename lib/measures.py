"""What is measured on images, and on the 1-D signals of `lib.theory`: amplification, peak, relative error."""

from typing import Any


def amplification(artifact: Any, image_perturbation: Any, axes: int = 2) -> Any:
    r"""The amplification factor :math:`\alpha = \|\rho\|_\infty/\|r\|_\infty` of Section 4.

    Parameters
    ----------
    artifact : :math:`\rho`, ``(..., n, n)``; a tensor or an array, real or complex.
    image_perturbation : :math:`r`, the same shape.
    axes : number of trailing dimensions of one image; 1 for signals.

    Returns
    -------
    ``(...)``, tensor or array; infinite or NaN where r is 0.

    >>> import numpy as np
    >>> float(amplification(np.array([0, -3j]), np.array([1.0, 1.5]), axes=1))
    2.0
    """
    return peak(artifact, axes) / peak(image_perturbation, axes)


def peak(image: Any, axes: int = 2) -> Any:
    r"""The largest modulus :math:`\|x\|_\infty` of each image ``(..., n, n)``, or signal with ``axes=1``."""
    modulus = abs(image)
    return getattr(modulus, "amax", modulus.max)(tuple(range(-axes, 0)))  # torch calls it amax, NumPy max


def relative_error(image: Any, truth: Any) -> float:
    r""":math:`\|z - x\|_2/\|x\|_2` of one image or signal."""
    return float(((abs(image - truth) ** 2).sum() / (abs(truth) ** 2).sum()) ** 0.5)
