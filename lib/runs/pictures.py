"""Pictures of the explorer, for its frames and its live view: the phantom, panels with close-ups, files."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.networks import N
from lib.phantoms import ellipses

OVER = "#d55e00"  # pixel values beyond 1, in every figure
FRAME = "#e69f00"  # of a close-up
EXAMPLE: dict = {"seed": 7, "first": 6}  # the phantom shown in the book
HALF = N // 20  # half the side of a close-up
GAP = 8  # pixels between panels
STEP = 0.01  # of differences, clipped to where the picture is the warning colour in any case


def example_image(n: int = N) -> Tensor:
    """The explorer's phantom ``(n, n)`` in 256 grey values, as a picture file has them: the page computes with it."""
    return (255 * ellipses(1, n, **EXAMPLE)[0]).round() / 255


def encode(image: Tensor, offset: int = 128, step: float = STEP, quality: int | None = None) -> str:
    """A grey picture as base64 of a WebP: ``offset`` plus multiples of ``step``; no loss if no quality is given."""
    grey = (offset + image / step).round().clamp(0, 255).to(torch.uint8).numpy()
    file, loss = io.BytesIO(), {"lossless": True, "quality": 100} if quality is None else {"quality": quality}
    Image.fromarray(grey).save(file, "webp", method=6, **loss)
    return base64.b64encode(file.getvalue()).decode()


def decode(picture: str) -> Tensor:
    """The grey values, 0 to 255, of what `encode` has made, as float32."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))).float()


def warn(image: Tensor) -> np.ndarray:
    """Grey values of moduli ``(a, b)`` as `lib.figures.style.show_image` has them; (a, b, 3) uint8."""
    grey = (255 * image).clamp(0, 255).round().to(torch.uint8)[..., None].expand(*image.shape, 3)
    return torch.where((image > 1)[..., None], torch.from_numpy(_rgb(OVER)), grey).numpy()


def around(mu: Sequence[int]) -> tuple[slice, slice]:
    """The pixels of the close-up of ``mu``, within the image."""
    row, column = (min(max(c, HALF), N - HALF) for c in mu)
    return slice(row - HALF, row + HALF), slice(column - HALF, column + HALF)


def side_by_side(panels: Sequence[Tensor], mu: Sequence[int]) -> np.ndarray:
    """Panels as `lib.figures.style.show_image` draws them, close-ups in the opposite corner; (n, width, 3) uint8."""
    zoom, near, out = 4, around(mu), []
    size = 2 * HALF * zoom
    corner = tuple(slice(start, start + size) for start in (2 if c >= N / 2 else N - size - 2 for c in mu))
    for image in panels:
        panel = warn(image.abs())
        close = panel[near].repeat(zoom, 0).repeat(zoom, 1)
        for window in (near, corner):
            edge = panel[window]
            edge[:1] = edge[-1:] = edge[:, :1] = edge[:, -1:] = _rgb(FRAME)
        panel[corner][1:-1, 1:-1] = close[1:-1, 1:-1]
        out += [panel, np.full((N, GAP, 3), 255, np.uint8)]
    return np.concatenate(out[:-1], 1)


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
