"""Panels with close-ups, for the still picture of the explorer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.figures.style import FRAME, OVER
from lib.networks import N
from lib.runs.frames import HALF, around

GAP = 8  # pixels between panels


def warn(image: Tensor) -> np.ndarray:
    """Grey values of moduli ``(a, b)`` as `lib.figures.style.show_image` has them; (a, b, 3) uint8."""
    grey = (255 * image).clamp(0, 255).round().to(torch.uint8)[..., None].expand(*image.shape, 3)
    return torch.where((image > 1)[..., None], torch.from_numpy(_rgb(OVER)), grey).numpy()


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
