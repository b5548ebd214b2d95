"""What is measured on images, and on the 1-D signals of `lib.theory`: amplification, peak, relative error."""

from typing import Any

import numpy as np

from lib import checks


def amplification(artifact: Any, image_perturbation: Any, axes: int = 2) -> Any:
    r"""The amplification factor :math:`\alpha = \|\rho\|_\infty/\|r\|_\infty` of Section 4.

    Of tensors or arrays ``(..., n, n)``, or of signals with ``axes=1``; infinite or NaN where r is 0.

    >>> import numpy as np
    >>> float(amplification(np.array([0, -3j]), np.array([1.0, 1.5]), axes=1))
    2.0
    """
    _check_alike("amplification", artifact=artifact, image_perturbation=image_perturbation)
    return peak(artifact, axes) / peak(image_perturbation, axes)


def peak(image: Any, axes: int = 2) -> Any:
    r"""The largest modulus :math:`\|x\|_\infty` of each image ``(..., n, n)``, or signal with ``axes=1``."""
    modulus = abs(checks.array("peak", "image", image, checks.integer("peak", "axes", axes, 1)))
    return getattr(modulus, "amax", modulus.max)(tuple(range(-axes, 0)))  # torch calls it amax, NumPy max


def relative_error(image: Any, truth: Any) -> float:
    r""":math:`\|z - x\|_2/\|x\|_2` of one image or signal, tensors or arrays of one shape."""
    _check_alike("relative_error", image=image, truth=truth)
    return float(((abs(image - truth) ** 2).sum() / (abs(truth) ** 2).sum()) ** 0.5)


def _check_alike(where: str, **pair: Any) -> None:
    """That two arguments are both tensors or both arrays, of one shape."""
    one, other = (checks.array(where, name, value, 1) for name, value in pair.items())
    if one.shape != other.shape or isinstance(one, np.ndarray) != isinstance(other, np.ndarray):
        shown = " and ".join(map(checks.shown, pair.values()))
        raise ValueError(f"{where}: {' and '.join(pair)} must be alike, got {shown}")
