"""The attack with disks from a pixel to the whole image; results/sigma.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from lib.runs.attacks import Configuration, identity, measure
from lib.runs.engine import Table
from lib.runs.table1 import tolerance

SIGMAS = (1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0, 362.0)


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """All radii; for the largest, (6) is the objective (4) of [12], whatever the location."""
    for image in range(3):
        for sigma in SIGMAS:
            for optimiser in ("ours", "adam"):
                grid = 1 if sigma > 256 else 8
                yield identity(Configuration(sigma=sigma, optimiser=optimiser, grid=grid), image)


TABLE = Table("sigma", cells, measure, groups=("sigma", "optimiser"), tolerance=tolerance)
