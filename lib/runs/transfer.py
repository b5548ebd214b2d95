"""Perturbations made for one method, given to all methods; results/transfer.csv."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd
from torch import Tensor

from lib.runs.attacks import (
    Configuration,
    Outcome,
    attack,
    check_setting,
    evaluate,
    identity,
    locations,
    measurements,
    of_today,
    row,
    selected,
    setting,
)
from lib.runs.engine import Found, Table
from lib.runs.perturbations import kept_files, packed, unpacked
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.tables import ATTACK, Spread, key_of, read_table, spreads

IMAGES = 10
COLUMNS = ("row", "column", "rho_linf", "r_linf", "alpha", "at_peak", "concentration")


def settings(source: Configuration) -> str:
    """The settings of all methods, which the rows depend on."""
    return " ".join(setting(_for(source, method)) for method in METHODS)


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Perturbations for each method at each level, made at the locations that results/table1.csv has selected."""
    places = locations()
    for image in range(IMAGES):
        for level in LEVELS:
            for method in METHODS:
                source = Configuration(method, noise_rel=level)
                if setting(source) != "untrained":
                    one = identity(source, image)
                    mu = places.get(key_of(one, (*ATTACK, "setting")))
                    yield {**one, "setting": settings(source), "mu": mu}


def transferred(
    source: Configuration, image: int, mu: tuple[int, int] | None = None, kept: tuple[Tensor, Tensor] | None = None
) -> dict[str, Outcome]:
    """What a perturbation made for ``source`` does to each method.

    It is made at ``mu``. Without a location TV searches, and a network, which would need minutes, is attacked where TV
    is. With ``kept``, a perturbation and its location, none is made.
    """
    x, op, y = measurements(source, image)
    if kept:
        found = evaluate(source, x, y, op, *kept)
    else:
        found = attack(source, image, mu or (attack(_for(source, "tv"), image).mu if source.method != "tv" else None))
    targets = {method: _for(source, method) for method in METHODS}
    return {
        method: found if method == source.method else evaluate(target, x, y, op, found.e, found.mu)
        for method, target in targets.items()
        if setting(target) != "untrained"
    }


def shown(source: Configuration, image: int) -> dict[str, Outcome]:
    """The same for a chapter: with the perturbation that results/transfer.csv has measured, where it is kept."""
    kept = unpacked(kept_files({**identity(source, image), "setting": settings(source)}))
    mu = selected(source, image) or selected(_for(source, "tv"), image)
    return transferred(source, image, mu, kept)


def measure(image: int, setting: str, mu: tuple[int, int] | None, **fields: Any) -> Found:
    """One row for each method that reconstructs from the perturbed measurements, and the perturbation if it is kept.

    ``at_peak`` is the target's artifact at the pixel where that of the source has its peak.
    """
    source = Configuration(**fields)
    check_setting(setting, settings(source))
    seen = transferred(source, image, mu)
    highest = seen[source.method].artifact.abs().argmax()
    same = {**identity(source, image), "setting": setting}
    rows = []
    for target, outcome in seen.items():
        found = row(source, image, outcome) | {"at_peak": f"{float(outcome.artifact.flatten()[highest].abs()):.9g}"}
        rows.append({"target": target, **{name: found[name] for name in COLUMNS}})
    return rows, {name: packed(seen[source.method].e, seen[source.method].mu) for name in kept_files(same)}


def table() -> Table:
    """The table, of as many targets as there are."""
    return Table(
        "transfer",
        cells,
        measure,
        groups=("method", "noise_rel"),
        tolerance=lambda row: 0.05,  # what a network makes of a perturbation for another method is rougher than TV
        size=sum(setting(_for(Configuration(), method)) != "untrained" for method in METHODS),
        files=kept_files,
    )


def current(**same: object) -> pd.DataFrame:
    """The rows of results/transfer.csv of today's lambda and weights, with these values in these columns."""
    return of_today(read_table("transfer", **same), settings)


def matrix(noise_rel: float) -> dict[tuple[str, str], Spread]:
    """The amplification at one level by source and target."""
    rows = current(noise_rel=noise_rel)
    return spreads(rows, ("method", "target"), "alpha") if len(rows) else {}


def _for(source: Configuration, method: str) -> Configuration:
    return dataclasses.replace(source, method=method, network=source.network or "compact")
