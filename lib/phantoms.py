"""Test images: random piecewise linear ellipses from a seed, and the Shepp-Logan phantom."""

import math

import numpy as np
import torch
from torch import Tensor

from lib import checks

MAX_ELLIPSES = 14


def ellipses(count: int, n: int = 256, seed: int = 0, first: int = 0, device: str | torch.device = "cpu") -> Tensor:
    r"""Random ellipse phantoms number ``first``, ..., ``first + count - 1`` of the stream ``seed``.

    The law is that of Genzel, Macdonald and März (2022), the paper's [12]. An image is a sum of 7 to 14
    ellipses on :math:`[-1, 1]^2`, divided by its maximum. Each ellipse carries a linear intensity
    :math:`g_1 u + g_2 v + b` (horizontal :math:`u`, vertical :math:`v`), redrawn until it is nowhere
    negative on the ellipse, so its gradient is only approximately sparse.

    Image ``i`` depends on ``seed`` and ``i`` alone: not on ``count``, ``first`` or the machine. The
    ellipses themselves do not depend on ``n`` either; ``n`` is only the sampling grid.

    Parameters
    ----------
    count : number of images, at least 0.
    n : pixels per side, 8 to 16384 (a coarser grid can miss all ellipses).
    seed : integer in [0, 2**32) that names the stream.
    first : index of the first image, at least 0.
    device : where the images are drawn.

    Returns
    -------
    ``(count, n, n)`` float32 tensor in [0, 1]; each image has maximum 1.

    >>> ellipses(2, n=64, seed=5, first=1).shape
    torch.Size([2, 64, 64])
    """
    n, seed = checks.integer("ellipses", "n", n, 8, checks.SIDE), checks.seed("ellipses", seed)
    first = checks.integer("ellipses", "first", first, 0, 2**32)  # NumPy mixes seed and number in words of 32 bits
    count, device = checks.integer("ellipses", "count", count, 0, 2**32 - first), checks.device("ellipses", device)
    parameters = np.zeros((count, MAX_ELLIPSES, 9))
    for i in range(count):
        drawn = _draw_ellipses(np.random.default_rng([seed, first + i]))
        parameters[i, : len(drawn)] = drawn
    # (9, MAX_ELLIPSES, count, 1, 1): one column of parameters for each ellipse of each image
    columns = torch.from_numpy(parameters).to(device).permute(2, 1, 0)[..., None, None]
    axis = (2 * torch.arange(n, dtype=torch.float64, device=device) + 1) / n - 1  # pixel centres
    u, v = axis, axis[:, None]
    images = torch.zeros(count, n, n, dtype=torch.float64, device=device)
    for cu, cv, a, b, cos, sin, g1, g2, offset in columns.unbind(1) if count else ():
        along, across = (u - cu) * cos + (v - cv) * sin, (v - cv) * cos - (u - cu) * sin
        inside = (along * b) ** 2 + (across * a) ** 2 < (a * b) ** 2  # empty for the unused ones, a = b = 0
        images += inside * (g1 * u + g2 * v + offset)
    return (images / images.amax((-2, -1), keepdim=True)).float()


def _draw_ellipses(rng: np.random.Generator) -> np.ndarray:
    """One image's ellipses: rows of (cu, cv, semi-axis a, semi-axis b, cos, sin, g1, g2, offset)."""
    rows = []
    for _ in range(rng.integers(7, MAX_ELLIPSES + 1)):
        cu, cv = rng.uniform(-0.7, 0.7, 2)
        a, b = np.minimum(0.05 + 0.40 * rng.random(2), 0.9 * (1 - max(abs(cu), abs(cv))))
        angle = rng.uniform(0, math.pi / 2)
        cos, sin = math.cos(angle), math.sin(angle)
        while True:
            g1, g2 = 0.9 * rng.standard_normal(2)
            offset = 0.3 + 0.7 * rng.random()
            # the least value of a linear function on an ellipse, exactly
            slope = math.hypot(a * (g1 * cos + g2 * sin), b * (g2 * cos - g1 * sin))
            if g1 * cu + g2 * cv + offset >= slope:
                break
        rows.append((cu, cv, a, b, cos, sin, g1, g2, offset))
    return np.array(rows)


def shepp_logan(n: int = 256) -> Tensor:
    """The Shepp-Logan head phantom with Toft's contrasts, from the package phantominator.

    Piecewise constant, unlike :func:`ellipses`: its gradient is exactly sparse. ``(n, n)`` float32 tensor in [0, 1].
    """
    from phantominator import shepp_logan as draw  # slow to import, and seldom needed

    n = checks.integer("shepp_logan", "n", n, 2, checks.SIDE)
    image = np.asarray(draw(n), dtype=np.float32)
    return torch.from_numpy(np.clip(image, 0, 1))
