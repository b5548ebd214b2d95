"""The choice of lambda: grid search for each mask and noise level, as in Section 4; results/lambda.csv."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch

from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs.engine import Found, Table
from lib.runs.section4 import CALIBRATION, LEVELS, LINES
from lib.tv import reconstruct_tv

NOISE = (*LEVELS, 0.2)  # the six levels of Table 1, and a margin
N, IMAGES = 256, 50
TOL, MAX_ITER = 5e-3, 500  # good for the mean error to a few thousandths, much the same for each lambda
COARSE, FINE = 4, 16  # grid points per decade


def grid_error(lines: int, noise_rel: float, lam: float, images: int, n: int, seed: int, tol: float) -> Found:
    """Relative l2 error of the TV reconstruction over phantoms with noise, as one row of ``results/lambda.csv``."""
    op = MaskedFourier(radial_mask(n, lines))
    x = ellipses(images, n, seed=seed)
    y = add_noise(op.A(x), noise_rel, seed=seed)
    result = reconstruct_tv(y, op, lam, tol=tol, max_iter=MAX_ITER)
    error = torch.linalg.vector_norm(result.image - x, dim=(1, 2)) / torch.linalg.vector_norm(x, dim=(1, 2))
    row = {
        "error_mean": f"{float(error.mean()):.6f}",
        "error_std": f"{float(error.std()):.6f}",
        "largest_relative_gap": f"{float((result.gap / result.objective).max()):.2e}",
        "iterations_mean": f"{float(result.n_iter.double().mean()):.0f}",
    }
    return [row], {}


def walk(errors: dict[float, float], noise_rel: float) -> list[float]:
    """The values of lambda that the search has needed until now, the last ones without an error in ``errors``.

    A coarse logarithmic grid (4 points a decade) is walked until its best point has two worse neighbours on each
    side; between its next neighbours the grid is then refined to 16 points a decade.
    """

    def lam(step: int) -> float:  # with the digits of the table
        return float(f"{10 ** (step / FINE):.6g}")

    stride = FINE // COARSE
    best = stride * round(COARSE * math.log10(0.2 * noise_rel**1.2))  # a guess to start from
    asked: dict[float, None] = {}
    while True:
        around = [best + k * stride for k in (0, -1, 1, -2, 2)]
        asked |= dict.fromkeys(map(lam, around))
        if not all(lam(step) in errors for step in around):
            return list(asked)
        winner = min(around, key=lambda step: errors[lam(step)])
        if winner == best:
            return list(asked | dict.fromkeys(lam(step) for step in range(best - stride, best + stride + 1)))
        best = winner


def cells(rows: pd.DataFrame, lines: Sequence[int], noise: Sequence[float]) -> Iterator[dict[str, Any]]:
    """The points of all searches, as far as the errors of ``rows`` tell."""
    fixed = {"images": IMAGES, "n": N, "seed": CALIBRATION, "tol": TOL}
    for noise_rel in noise:
        for count in lines:
            same = {"lines": count, "noise_rel": noise_rel, **fixed}
            mine = rows
            for name, value in same.items():
                mine = mine[mine[name] == value] if len(mine) else mine
            errors = dict(zip(mine["lam"], mine["error_mean"], strict=True)) if len(mine) else {}
            yield from ({**same, "lam": lam} for lam in walk(errors, noise_rel))


def table(lines: Sequence[int] = LINES, noise: Sequence[float] = NOISE) -> Table:
    """The search for these masks and relative noise levels."""
    chosen = functools.partial(cells, lines=lines, noise=noise)
    return Table("lambda", chosen, grid_error, groups=("lines", "noise_rel"))
