"""The amplification against lambda and rho, for our attack and the authors'; results/sensitivity.csv.

Where lambda varies, rho stays: the threshold lambda/rho of the plain iterations varies with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch

from lib.attack import fast_tv, grid_attack, location_grid
from lib.measures import amplification, peak
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.authors_attack import adam_attack, plain_tv
from lib.runs.authors_search import choice
from lib.runs.engine import Found, Table
from lib.runs.section4 import TEST, device
from lib.tv import calibrated_lambda

N, LINES, SIGMA, STEPS, TOL = 256, 40, 5.0, 30, 1e-3
LEVELS, FACTORS = (0.005, 0.04, 0.1), (0.25, 0.5, 1.0, 2.0, 4.0)  # of lambda
RHO, RHO_LEVELS = (1e-5, 3e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0), (0.005, 0.04)
IMAGES = {"ours": 5, "authors": 2}


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Every lambda for both attacks, then every rho for the authors'; theirs wait for their search."""
    for image in range(max(IMAGES.values())):
        for optimiser, images in IMAGES.items():
            if image >= images:
                continue
            for level in LEVELS:
                start = _parameters(optimiser, level)
                points = [(start[0] * factor, start[1]) for factor in FACTORS] if start else []
                if start and optimiser == "authors" and level in RHO_LEVELS:
                    points += [(start[0], rho) for rho in RHO]
                for lam, rho in dict.fromkeys((float(f"{lam:.6g}"), float(f"{rho:.6g}")) for lam, rho in points):
                    yield {"optimiser": optimiser, "noise_rel": level, "lam": lam, "rho": rho, "image": image}


def chosen() -> dict[tuple[str, float], tuple[float, float]]:
    """The calibrated lambda and rho by attack and level; 0 and 0 where the authors' search has no result yet."""
    return {(optimiser, level): _parameters(optimiser, level) or (0.0, 0.0) for optimiser in IMAGES for level in LEVELS}


def _parameters(optimiser: str, level: float) -> tuple[float, float] | None:
    """The calibrated lambda and rho, which is 0 for ours: there it follows from lambda and the data."""
    if optimiser == "ours":
        return calibrated_lambda(level, LINES), 0.0
    try:
        found = choice(LINES, level)
    except LookupError:
        return None
    return found.lam, found.rho


def compute(optimiser: str, noise_rel: float, lam: float, rho: float, image: int) -> Found:
    """The row of one attack on all locations (ours: the eight that screening favours)."""
    op = MaskedFourier(radial_mask(N, LINES), real=optimiser == "ours").to(device())
    y = op.A(ellipses(1, N, seed=TEST, first=image)[0].to(op.device))
    rec = fast_tv(op, lam, noise_rel * torch.linalg.vector_norm(y))
    if optimiser == "ours":
        found = grid_attack(rec, y, op, noise_rel, SIGMA, screen=8)
        e, mu = found.best.e, found.mu
    else:
        plain, places = plain_tv(y, op, lam, rho, rec.tol), location_grid(N)
        e, mu = adam_attack(plain, y, op, noise_rel, places, SIGMA, seed=1000 * image, steps=STEPS)
    solver = dataclasses.replace(rec, tol=TOL)
    clean, state = solver.solve(y)
    artifact = solver.solve(y + e, state)[0] - clean
    row = {
        "row": int(mu[0]),
        "column": int(mu[1]),
        "rho_linf": f"{float(peak(artifact)):.6g}",
        "alpha": f"{float(amplification(artifact, op.A_dagger(e))):.6g}",
        "tol": TOL,
    }
    return [row], {}


TABLE = Table(
    "sensitivity",
    cells,
    compute,
    groups=("optimiser", "noise_rel"),
    tolerance=lambda row: 5e-3 if row["optimiser"] == "ours" else 0.15,
)
