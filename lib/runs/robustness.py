"""Robustness in l2: errors under the global attack (4) beside those under Gaussian noise; results/robustness.csv."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lib import networks
from lib.measures import relative_error
from lib.operators import add_noise
from lib.runs.attacks import Configuration, attack, check_setting, evaluate, identity, measurements
from lib.runs.engine import Found, Table
from lib.runs.section4 import LEVELS
from lib.runs.table1 import PAIRS

IMAGES = 10
WHOLE: dict[str, Any] = {"sigma": 362.0, "grid": 1}  # one disk that covers the image: (6) is (4)


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """TV and the networks that are trained, so ordered that a part of them has fewer images."""
    methods = [("tv", ""), *((method, pair) for pair in PAIRS for method in networks.NETWORKS)]
    for image in range(IMAGES):
        for level in LEVELS:
            for method, network in methods:
                cell = identity(Configuration(method, noise_rel=level, network=network, **WHOLE), image)
                if cell["setting"] != "untrained":
                    yield {name: cell[name] for name in ("method", "network", "noise_rel", "image", "setting")}


def compute(method: str, network: str, noise_rel: float, image: int, setting: str) -> Found:
    """The row of one image: relative l2 errors of moduli without noise, with Gaussian noise, and under attack.

    The attack maximises objective (4). It is that of our ascent, from a spike, or of Adam on our solver, from noise,
    whichever leaves the larger error.
    """
    ours = Configuration(method, noise_rel=noise_rel, network=network, **WHOLE)
    check_setting(setting, identity(ours, image)["setting"])
    theirs = dataclasses.replace(ours, optimiser="adam" if method == "tv" else "authors")
    found = {one.optimiser: attack(one, image) for one in (ours, theirs)}
    x, op, y = measurements(theirs, image)
    errors = {name: relative_error(outcome.attacked.abs(), outcome.x) for name, outcome in found.items()}
    worst = max(errors, key=lambda name: errors[name])
    noise = add_noise(y, noise_rel, seed=image) - y
    noisy = evaluate(theirs, x, y, op, noise, found[worst].mu).attacked
    row = {
        "search": worst,
        "error_clean": f"{relative_error(found[worst].clean.abs(), found[worst].x):.6f}",
        "error_gaussian": f"{relative_error(noisy.abs(), found[worst].x):.6f}",
        "error_adversarial": f"{errors[worst]:.6f}",
    }
    return [row], {}


TABLE = Table(
    "robustness",
    cells,
    compute,
    groups=("method", "network", "noise_rel"),
    tolerance=lambda row: 0.02 if row["method"] == "tv" else 0.1,
)
