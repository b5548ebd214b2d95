"""Reconstruction errors against noise, all methods on the same test images; results/networks_error.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from torch import Tensor

from lib.networks import LINES, NETWORKS, N, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.runs.engine import Found, Table
from lib.runs.errors import IMAGES, LEVELS, errors
from lib.runs.section4 import TEST
from lib.runs.weights import checksum
from lib.tv import calibrated_lambda, reconstruct_tv

CLEAN_LAMBDA = 1e-4  # without noise there is nothing to calibrate: as in the chapter on compressed sensing


def tv_lambda(noise_rel: float) -> float:
    """Lambda for a noise level: the calibrated one, CLEAN_LAMBDA without noise."""
    return calibrated_lambda(noise_rel, LINES) if noise_rel else CLEAN_LAMBDA


def reconstruction(name: str, op: MaskedFourier, noise_rel: float) -> Callable[[Tensor], Tensor]:
    """The reconstruction of this name, ``"zero-filled"``, ``"tv"`` or a network such as ``"tira-compact"``."""
    if name == "zero-filled":
        return op.A_dagger
    if name == "tv":
        lam = tv_lambda(noise_rel)
        return lambda y: reconstruct_tv(y, op, lam).image
    return load_network(*name.split("-"))


def setting(name: str, noise_rel: float) -> str:
    """What the errors depend on besides the method: lambda, the checksum of the weights, nothing."""
    if name == "tv":
        return f"lambda={tv_lambda(noise_rel):.3g}"
    return "" if name == "zero-filled" else checksum(*name.split("-"))


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Every method that there is at every level."""
    trained = [key for key in read_manifest() if key.split("-")[0] in NETWORKS]
    for name in ("zero-filled", "tv", *trained):
        for level in LEVELS:
            yield {"method": name, "setting": setting(name, level), "noise_rel": level, "images": IMAGES, "seed": TEST}


def compare(method: str, setting: str, noise_rel: float, images: int, seed: int) -> Found:
    """One row of ``results/networks_error.csv``."""
    op = MaskedFourier(radial_mask(N, LINES))
    moduli, full = errors(reconstruction(method, op, noise_rel), op, noise_rel, images, seed)
    row = {
        "error_mean": f"{float(moduli.mean()):.5f}",
        "error_std": f"{float(moduli.std()):.5f}",
        "complex_error_mean": f"{float(full.mean()):.5f}",
        "complex_error_std": f"{float(full.std()):.5f}",
    }
    return [row], {}


TABLE = Table("networks_error", cells, compare, groups=("method",))
