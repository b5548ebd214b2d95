"""Section 5 in the paper's own setting: images whose recovery by TV, with and without a spike, is proved."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lib.gradient_sparse import certify_image, dual_field
from lib.masks import uniform_mask
from lib.measures import amplification
from lib.operators import MaskedFourier, radial_mask
from lib.theory import Certificate

BLOCKS, ITERATIONS = 4, 300
UNIFORM, RADIAL = (1600, 1000, 600, 300), ((64, 10), (64, 6), (256, 40), (256, 25))  # m at 64 x 64; sides and lines
CASES = (*(f"uniform 64 {m}" for m in UNIFORM), *(f"radial {n} {lines}" for n, lines in RADIAL))


def blocks(n: int, seed: int) -> NDArray:
    """An image ``(n, n)`` of BLOCKS rectangles, each a third of the side at most; grey values are eighths, exact."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, n))
    for _ in range(BLOCKS):
        (top, left), (height, width) = rng.integers(n // 8, n // 2, 2), rng.integers(n // 8, n // 3, 2)
        x[top : top + height, left : left + width] += rng.integers(1, 5) / 8
    return x


def mask_of(case: str, seed: int) -> torch.Tensor:
    """The mask of a case, its kind, the side and the number of frequencies or of lines."""
    kind, n, size = case.split()
    return uniform_mask(int(n), int(size), seed) if kind == "uniform" else radial_mask(int(n), int(size))


def certificates(case: str, image: int) -> tuple[NDArray, NDArray, list[Certificate], NDArray]:
    """The image, the mask, the certificates without and with the spike, and the field of the latter."""
    mask = mask_of(case, image).numpy()
    x = blocks(len(mask), image)
    spiked = x.copy()
    spiked[spot(len(mask))] += 1
    fields = [dual_field(z, mask, ITERATIONS) for z in (x, spiked)]
    return x, mask, [certify_image(z, mask, p) for z, p in zip((x, spiked), fields, strict=True)], fields[1]


def spot(n: int) -> tuple[int, int]:
    """Where the spike is, away from the middle."""
    return n // 3, n // 4


def guarantee(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""Whether both x and :math:`x + \delta` are proved to be recovered; then e = A delta makes an artifact, exactly.

    ``alpha`` is that of the spike, n^2/m. Of the two certificates the worse value is taken: the larger ``off_support``
    and ``allowance`` for rounding, and the smaller ``margin``, which is positive in a proof. There is no noise, and
    ``noise_rel`` is not used.
    """
    _, mask, (without, with_it), _ = certificates(case, image)
    op = MaskedFourier(torch.from_numpy(mask))
    delta = torch.zeros(op.n, op.n, dtype=torch.float64)
    delta[spot(op.n)] = 1
    return {
        "alpha": float(amplification(delta, op.A_dagger(op.A(delta)))),
        "proved": float(without.unique and with_it.unique),
        "off_support": max(without.off_support, with_it.off_support),
        "allowance": max(without.allowance, with_it.allowance),
        "margin": min(without.margin, with_it.margin),
        "singular_value": min(without.singular_value, with_it.singular_value),
        "jumps": float(with_it.sparsity),
    }, op
