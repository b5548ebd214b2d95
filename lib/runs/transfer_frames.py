"""The frames of the view of transfer: what all methods show of a perturbation made for one; results/explorer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lib import measures
from lib.runs.attacks import Configuration, Outcome, check_setting
from lib.runs.engine import Found, Table
from lib.runs.frames import QUALITY, around, encode
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.transfer import settings, shown

IMAGES = 3  # of the test images


def image_file(image: int) -> str:
    """The name of the file with the pictures and numbers of an image."""
    return f"transfer-{image}.json"


def frame_settings() -> str:
    """What the frames depend on: lambda at each level, and the weights."""
    return "; ".join(settings(Configuration("tv", noise_rel=level)) for level in LEVELS)


def compute_image(image: int, setting: str) -> Found:
    """All frames of one test image: their rows, and one file with pictures and numbers by level and method attacked."""
    check_setting(setting, frame_settings())
    rows: list[dict[str, Any]] = []
    content: dict[str, Any] = {}
    for level in LEVELS:
        content[f"{100 * level:g}"] = frames = {}
        for source in METHODS:
            seen = shown(Configuration(source, noise_rel=level), image)
            found = frame_rows(seen, source)
            rows += [{"noise_rel": level, **row} for row in found]
            content["x"], pictures = encode_frame(seen, source)
            numbers = {row["method"]: [row["peak_rho"], row["amplification"]] for row in found}
            frames[source] = {"mu": seen[source].mu.tolist(), "r": found[0]["peak_r"], "seen": numbers, **pictures}
    return rows, {image_file(image): (json.dumps(content, indent=0) + "\n").encode()}


def frame_rows(seen: Mapping[str, Outcome], source: str) -> list[dict[str, Any]]:
    """The numbers of one perturbation: a row for each method that reconstructs."""
    r, (row, column) = seen[source].image_perturbation, seen[source].mu.tolist()
    return [
        {
            "target": source,
            "method": method,
            "row": row,
            "column": column,
            "peak_r": f"{float(measures.peak(r)):.3g}",
            "peak_rho": f"{float(measures.peak(outcome.artifact)):.3g}",
            "amplification": f"{float(measures.amplification(outcome.artifact, r)):.3g}",
        }
        for method, outcome in seen.items()
    ]


def encode_frame(seen: Mapping[str, Outcome], source: str) -> tuple[str, dict[str, str]]:
    """The phantom in 256 grey values, and what to add to it for the perturbed image and for each reconstruction.

    Moduli ``(n, n)`` side by side, as a whole with small losses, and the close-ups of the target without.
    """
    x = (255 * seen[source].x).round() / 255
    images = [seen[source].x + seen[source].image_perturbation, *(outcome.attacked for outcome in seen.values())]
    tiles: list[Tensor] = [image.abs() - x for image in images]
    near = around(seen[source].mu.tolist())
    return encode(x, offset=0, step=1 / 255), {
        "whole": encode(torch.cat(tiles, 1), quality=QUALITY),
        "close": encode(torch.cat([tile[near] for tile in tiles], 1)),
    }


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One for each image."""
    for image in range(IMAGES):
        yield {"image": image, "setting": frame_settings()}


TABLE = Table(
    "explorer/transfer",
    cells,
    compute_image,
    groups=("image",),
    tolerance=lambda row: 0.05,  # as results/transfer.csv
    size=len(LEVELS) * len(METHODS) ** 2,
    files=lambda cell: (image_file(cell["image"]),),
)
