"""The explorer's images: two phantoms of ellipses, Shepp-Logan's, a slice of a brain, and pictures of the reader's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.networks import N
from lib.phantoms import ellipses, shepp_logan
from lib.runs.frames import FRAMES, example_image


def read_image(file: str | Path, n: int = N) -> Tensor:
    """A picture of 256 x 256 pixels, such as the page saves: its grey values, at 128 x 128 the means of four pixels.

    Parameters
    ----------
    file : PNG or JPEG.
    n : pixels per side, 256 or 128.

    Returns
    -------
    ``(n, n)`` float32 tensor of multiples of 1/255 in [0, 1].

    Raises
    ------
    ValueError : the picture has another size, or ``n`` is another number.
    """
    if n not in (N, N // 2):
        raise ValueError(f"read_image: n must be {N} or {N // 2}, got {n!r}")
    grey = np.array(Image.open(file).convert("L"), dtype=np.int64)
    if grey.shape != (N, N):
        raise ValueError(f"read_image: {file} must have {N} x {N} pixels, got {grey.shape[1]} x {grey.shape[0]}")
    values = torch.from_numpy(grey)
    return (values if n == N else smaller(values)).float() / 255


def smaller(grey: Tensor) -> Tensor:
    """Grey values ``(n, n)`` int64 at half the resolution: the means of four pixels, rounded."""
    half = len(grey) // 2
    return (grey.reshape(half, 2, half, 2).sum((1, 3)) + 2) // 4


def in_grey_values(image: Tensor) -> Tensor:
    """The image in 256 grey values, as the page has it."""
    return (255 * image).round() / 255


IMAGES: dict[str, Callable[..., Tensor]] = {  # functions of n
    "ellipses": example_image,
    "other ellipses": lambda n=N: in_grey_values(ellipses(1, n, seed=7)[0]),
    "Shepp-Logan": lambda n=N: in_grey_values(shepp_logan(n)),
    "brain": lambda n=N: read_image(FRAMES / "brain.png", n),
}
