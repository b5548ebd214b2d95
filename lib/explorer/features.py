"""Features that an artifact may draw: spike, disc, bar, letter, an erased detail, strokes of a brush.

A feature is an ``(n, n)`` float32 tensor that is added to the image; 1 is the brightest grey value. The page draws the
same (``features`` in book/_static/explorer.js). What lies outside the image is cut off.
"""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from lib import checks
from lib.attack import disk_weight, scaled
from lib.networks import N
from lib.operators import MaskedFourier

STROKE = re.compile(r"(\d{1,2})_(-?\d{1,2})_((?:[\da-f]{4})+)")
LETTER = (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#")  # A, as in artifact


def _checked(where: str, n: int, mu: Sequence[int], size: int) -> tuple[int, list[int], int]:
    n, size = checks.integer(where, "n", n, 1, checks.SIDE), checks.integer(where, "size", size, 0)
    return n, [checks.integer(where, f"mu[{i}]", centre, 0, n - 1) for i, centre in enumerate(mu)], size


def spike(n: int, mu: Sequence[int]) -> Tensor:
    """A single pixel."""
    return disc(n, mu, 0)


def disc(n: int, mu: Sequence[int], size: float) -> Tensor:
    """A disk of radius ``size`` around ``mu``; one pixel where the radius is below 1."""
    return disk_weight(n, mu, max(checks.number("disc", "size", size, 0, least=True), 0.5))


def bar(n: int, mu: Sequence[int], size: int) -> Tensor:
    """A bar around ``mu``: 2 ``size`` + 1 pixels wide, 2 [``size`` / 4] + 1 high."""
    n, mu, size = _checked("bar", n, mu, size)
    rows, columns = (torch.arange(n) - centre for centre in mu)
    return ((rows.abs() <= size // 4)[:, None] & (columns.abs() <= size)).float()


def letter(n: int, mu: Sequence[int], size: int) -> Tensor:
    """The letter A around ``mu``, five cells wide and seven high; a cell has 1 + [``size`` / 3] pixels a side."""
    n, mu, size = _checked("letter", n, mu, size)
    cell = 1 + size // 3
    cells = torch.tensor([[mark == "#" for mark in row] for row in LETTER]).float()
    shape, feature = cells.repeat_interleave(cell, 0).repeat_interleave(cell, 1), torch.zeros(n, n)
    rows, columns = (centre - side // 2 + torch.arange(side) for centre, side in zip(mu, shape.shape, strict=True))
    inside = [(0 <= places) & (places < n) for places in (rows, columns)]
    feature[rows[inside[0]][:, None], columns[inside[1]]] = shape[inside[0]][:, inside[1]]
    return feature


def erase(image: Tensor, mu: Sequence[int], size: float) -> Tensor:
    r"""What takes a detail out of an image: a smooth filling of a disk, less what is there.

    The filling is nearly harmonic: at z it is the mean of the pixels w of the rim, one pixel wide, with the weights
    :math:`1/|z - w|^2`, which is Poisson's kernel over the rim, normalised. What lies outside the image is left out.

    Parameters
    ----------
    image : ``(n, n)`` real tensor.
    mu : centre of the disk, row and column.
    size : its radius.

    Raises
    ------
    ValueError : the disk covers the image.

    >>> erase(torch.ones(8, 8), (3, 4), 2).any()
    tensor(False)
    """
    inside = disc(len(image), mu, size) > 0
    rim = (disc(len(image), mu, max(size, 0.5) + 1) > 0) & ~inside
    if not rim.any():
        raise ValueError(f"erase: size must leave a part of the image, got {size}")
    z, w = inside.nonzero(), rim.nonzero()
    weights = 1 / (z[:, None] - w).double().square().sum(-1)
    change = weights @ image[rim].double() / weights.sum(1) - image[inside]
    feature = torch.zeros_like(image)
    feature[inside] = torch.where(change.abs() > 1e-6, change, 0).to(image.dtype)  # less is rounding
    return feature


def strokes(n: int, text: str) -> Tensor:
    """What a brush has painted, later strokes over earlier ones.

    Parameters
    ----------
    n : pixels per side.
    text : strokes with dots between them, each ``RADIUS_VALUE_POINTS``: pixels, tenths from -10 to 10, and for each
        point two hexadecimal digits for its row and two for its column. Pixels are those of 256 x 256, as in a link.

    Raises
    ------
    ValueError : ``text`` is something else.

    >>> strokes(256, "0_-5_1020").nonzero().tolist(), float(strokes(256, "0_-5_1020").min())
    ([[16, 32]], -0.5)
    """
    feature = torch.zeros(n, n)
    for stroke in text.split(".") if text else []:
        if not (parts := STROKE.fullmatch(stroke)):
            raise ValueError(f"strokes: text must have strokes RADIUS_VALUE_POINTS, got {checks.shown(stroke)}")
        radius, value, digits = parts.groups()
        points = [(int(digits[i : i + 2], 16), int(digits[i + 2 : i + 4], 16)) for i in range(0, len(digits), 4)]
        for start, end in zip([points[0], *points], points, strict=False):
            steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
            for k in range(steps + 1):
                dab = [math.floor(a + (b - a) * k / steps + 0.5) * n // N for a, b in zip(start, end, strict=True)]
                feature[disc(n, dab, int(radius) * n / N) > 0] = int(value) / 10
    return feature


def perturbation(op: MaskedFourier, feature: Tensor, eta: float | Tensor) -> Tensor:
    r"""Measurements of a feature d, :math:`e = \eta\, \mathcal{A}d / \|\mathcal{A}d\|_2`, symmetrized.

    Parameters
    ----------
    op : the operator of real images.
    feature : ``(n, n)`` real tensor.
    eta : norm of e.

    Returns
    -------
    ``(m,)`` complex tensor.

    Raises
    ------
    ValueError : ``feature`` is zero, or ``eta`` is not positive.

    >>> from lib.attack import spike_perturbation
    >>> from lib.operators import radial_mask
    >>> op = MaskedFourier(radial_mask(32, 8), real=True)
    >>> torch.allclose(perturbation(op, spike(32, (9, 12)), 1.0), spike_perturbation(op, (9, 12), 1.0))
    True
    """
    eta = checks.positive("perturbation", "eta", eta)
    if not feature.any():
        raise ValueError("perturbation: feature must not be zero everywhere")
    return scaled(op.symmetrize(op.A(feature)), eta)


def contrast(artifact: Tensor, feature: Tensor) -> Tensor:
    r"""How much of a feature d an artifact shows, :math:`\langle \rho, d \rangle / \|d\|_2^2`; 1 is all of it."""
    return (artifact * feature).sum() / feature.square().sum()
