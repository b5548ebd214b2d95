"""What 5000 plain iterations, the authors' final reconstruction, change in the amplification; results/final.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch

from lib.measures import amplification
from lib.runs.attacks import Configuration, attack, check_setting, identity, measurements, selected
from lib.runs.authors_search import choice
from lib.runs.engine import Table
from lib.runs.plain_admm import plain_admm
from lib.runs.section4 import LEVELS, LINES

ITERATIONS = 5000


def configuration(lines: int, noise_rel: float) -> Configuration:
    """The cell of Table 1 whose perturbation is measured."""
    return Configuration("tv", lines, noise_rel, "authors", preset="literal")


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Image 0 in each TV cell of Table 1, at the location that the literal row has selected; without it, none."""
    for noise_rel in LEVELS:
        for lines in LINES:
            one = configuration(lines, noise_rel)
            if mu := selected(one, 0):
                setting = identity(one, 0)["setting"]
                yield {"lines": lines, "noise_rel": noise_rel, "image": 0, "setting": setting, "mu": mu}


def compute(
    lines: int, noise_rel: float, image: int, setting: str, mu: tuple[int, int]
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The row of one perturbation: its amplification by the converged solver, and by plain iterations from A* y."""
    one = configuration(lines, noise_rel)
    check_setting(setting, identity(one, image)["setting"])
    found, best = attack(one, image, mu), choice(lines, noise_rel)
    _, op, y = measurements(one, image)
    both = torch.stack([y, y + found.e.to(y)])
    lam, rho = (y.real.new_full((2,), value) for value in (best.lam, best.rho))
    with torch.no_grad():
        clean, attacked = plain_admm(both, op, lam, rho, ITERATIONS)[0].cpu()
    r = found.image_perturbation
    row = {
        "row": mu[0],
        "column": mu[1],
        "iterations": ITERATIONS,
        "alpha_plain": f"{float(amplification(attacked - clean, r)):.6g}",
        "alpha_converged": f"{float(amplification(found.artifact, r)):.6g}",
    }
    return [row], {}


TABLE = Table("final", cells, compute, groups=("lines",), tolerance=lambda row: 0.15)
