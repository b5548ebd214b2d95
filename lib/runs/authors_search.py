"""The authors' choice of lambda and rho: their grid search with plain ADMM; results/authors_search.csv.

All 625 points of the grid on all 50 phantoms would take 72 hours of a core. A point is left out of further phantoms
when it is worse than the best one beyond doubt, see :func:`alive`; no point is judged by what an attack finds.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.engine import Found, Table
from lib.runs.plain_admm import plain_admm, together
from lib.runs.section4 import CALIBRATION, LEVELS, LINES, device
from lib.runs.tables import read_table

LAM, RHO = np.logspace(-6, -1, 25), np.logspace(-5, 1, 25)
GRID = [(float(lam), float(rho)) for lam in LAM for rho in RHO]  # the order of their loop
TABULATED = np.logspace(-3, np.log10(0.08), 50)  # noise levels of [12]; it has 0 and 16 %, too
ITERATIONS, IMAGES, N = 1000, 50, 256


def tabulated(noise_rel: float) -> float:
    """The nearest of the noise levels at which they searched: 8 % for 10 %."""
    return float(f"{TABULATED[np.abs(TABULATED - noise_rel).argmin()]:.6g}")


def alive(errors: np.ndarray) -> np.ndarray:
    """Which points of the grid are not yet beaten, ``(points,)``, by their errors ``(images, points)``, NaN if unknown.

    The differences to the best point, image by image, have a mean and a standard error. A point goes when the mean is
    above three standard errors and above a thousandth of the best point's error; until five images are known, above
    a tenth of it. After the first image, which tells no standard error, it goes with twice the best point's error.
    """
    known = ~np.isnan(errors).any(0)
    if len(errors) == 1:
        return known & (errors[0] <= 2 * np.nanmin(errors[0]))
    mean = np.where(known, errors.mean(0), np.inf)
    difference = errors - errors[:, [mean.argmin()]]
    beyond = difference.mean(0) > 3 * difference.std(0, ddof=1) / np.sqrt(len(errors))
    beyond &= difference.mean(0) > (0.1 if len(errors) < 5 else 1e-3) * mean.min()
    return known & ~beyond


def measured_errors(lines: int, noise_rel: float, image: int, points: str, n: int) -> np.ndarray:
    """Relative l2 errors of moduli at these points of the grid ("1" in ``points``); NaN at the others."""
    op = MaskedFourier(radial_mask(n, lines)).to(device())
    x = ellipses(1, n, seed=CALIBRATION, first=image)[0].to(device())
    y = op.A(x)
    generator = torch.Generator().manual_seed(1000 * CALIBRATION + image)
    noise = torch.randn(op.m, dtype=torch.complex128, generator=generator)  # of variance 1: each part has 1/2
    y = y + (noise_rel * torch.linalg.vector_norm(y) / op.m**0.5 * noise.to(device())).to(y.dtype)
    errors = np.full(len(points), np.nan)
    wanted = np.array([k for k, wanted in enumerate(points) if wanted == "1"])
    for some in np.array_split(wanted, -(-len(wanted) // together(op))):
        lam, rho = torch.tensor([GRID[k] for k in some], dtype=torch.float32, device=op.device).T.contiguous()
        found, _ = plain_admm(y.expand(len(some), -1).contiguous(), op, lam, rho, ITERATIONS)
        errors[some] = (torch.linalg.vector_norm(found.abs() - x, dim=(1, 2)) / torch.linalg.vector_norm(x)).cpu()
    return errors


def compute(lines: int, noise_rel: float, image: int, points: str, n: int) -> Found:
    """The row of one phantom: its errors in the order of GRID, "-" where a point was left out before."""
    with torch.no_grad():
        errors = measured_errors(lines, noise_rel, image, points, n)
    text = " ".join("-" if np.isnan(error) else f"{error:.6g}" for error in errors)
    return [{"errors": text}], {}


def known(rows: pd.DataFrame, lines: int, noise_rel: float, n: int = N) -> np.ndarray:
    """The errors ``(images, points)`` that are known of a mask and a level, from image 0 on without a gap."""
    mine = rows[(rows["lines"] == lines) & (rows["noise_rel"] == noise_rel) & (rows["n"] == n)] if len(rows) else rows
    texts = dict(zip(mine["image"], mine["errors"], strict=True)) if len(mine) else {}
    whole = [texts[image] for image in itertools.takewhile(texts.__contains__, itertools.count())]
    numbers = [[np.nan if word == "-" else float(word) for word in text.split()] for text in whole]
    return np.array(numbers).reshape(-1, len(GRID))


def cells(rows: pd.DataFrame, images: int = IMAGES, n: int = N) -> Iterator[dict[str, Any]]:
    """All phantoms that are done, and the next one of each mask and level."""
    levels = dict.fromkeys(map(tabulated, LEVELS))
    fixed: list[dict[str, Any]] = [
        {"lines": lines, "noise_rel": noise_rel, "n": n} for noise_rel in levels for lines in LINES
    ]
    errors = [known(rows, **cell) for cell in fixed]
    for image in range(images):
        for cell, before in zip(fixed, errors, strict=True):
            if image <= len(before):
                left = alive(before[:image]) if image else np.ones(len(GRID), bool)
                yield {**cell, "image": image, "points": "".join("01"[int(point)] for point in left)}


TABLE = Table("authors_search", cells, compute, groups=("lines", "noise_rel"))


@dataclass(frozen=True)
class Choice:
    """What the search has found for a mask and a level.

    Attributes
    ----------
    lam, rho : the point of least mean error on all phantoms.
    tied : the points (lam, rho) that are not worse beyond doubt, the best one first.
    at_rho_1 : the first of those with rho = 1, None if there is none.
    """

    lam: float
    rho: float
    tied: tuple[tuple[float, float], ...]
    at_rho_1: tuple[float, float] | None


@functools.cache
def choice(lines: int, noise_rel: float) -> Choice:
    """The literal argmin of their search at the tabulated level nearest to ``noise_rel``.

    Raises
    ------
    LookupError : results/authors_search.csv has too few phantoms for it.
    """
    errors = known(read_table("authors_search"), lines, tabulated(noise_rel))
    if len(errors) < IMAGES:
        raise LookupError(
            f"choice: results/authors_search.csv has {len(errors)} of {IMAGES} phantoms for lines = {lines}, "
            f"noise_rel = {noise_rel}; make calibrate-authors goes on"
        )
    mean = np.where(np.isnan(errors).any(0), np.inf, errors.mean(0))
    left = alive(errors)
    tied = tuple(GRID[k] for k in mean.argsort() if left[k])
    at_rho_1 = next((point for point in tied if np.isclose(point[1], 1)), None)
    return Choice(*GRID[mean.argmin()], tied, at_rho_1)
