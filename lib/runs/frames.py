"""The explorer's frames: at each level and location the attacks, their numbers, and the pictures; results/explorer."""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from lib.attack import (
    Attack,
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    localized_attack,
    location_grid,
    power_ascent,
    unperturbed,
)
from lib.networks import LINES, NETWORKS, N, load_network
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.attacks import check_setting
from lib.runs.engine import Found, Table
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.tables import RESULTS
from lib.runs.weights import checksum
from lib.tv import calibrated_lambda

EXAMPLE: dict[str, int] = {"seed": 7, "first": 6}  # the phantom shown in the book
COUNT = 8  # the grid of locations has COUNT**2
SIGMA = 5
PRESET = "compact"
# the perturbations of a frame with the methods that see them: TV's is shown to all, the networks' to themselves
SHOWN = (("tv", "tv"), ("tv", "tira"), ("tv", "tirafl"), ("tira", "tira"), ("tirafl", "tirafl"))
NETWORK_STEPS = 3  # of the ascent against a network, where a step costs as much as all of TV's
TOL = 2e-3
HALF = N // 20  # half the side of a close-up, as in figures
FRAMES = RESULTS / "explorer"
# Differences are stored in hundredths, clipped to where the picture is the warning colour in any case. The whole image
# loses what cannot be seen, at 2 to 8 kB for eight of them; the close-up, where it could be seen, loses nothing.
STEP, QUALITY = 0.01, 80


def example_image(n: int = N) -> Tensor:
    """The explorer's phantom ``(n, n)`` in 256 grey values, as a picture file has them: the page computes with it."""
    return (255 * ellipses(1, n, seed=EXAMPLE["seed"], first=EXAMPLE["first"])[0]).round() / 255


def reconstructions(op: MaskedFourier, noise_rel: float, eta: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three methods, differentiable, by name."""
    tv = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=TOL)
    return {"tv": tv} | {name: load_network(name, PRESET) for name in NETWORKS}


def compute_frames(
    noise_rel: float, mu: Tensor, steps: int = NETWORK_STEPS
) -> tuple[dict[tuple[str, str], Attack], dict[str, Tensor]]:
    """The attacks of `SHOWN` at the locations ``mu`` (l, 2), and the unperturbed images of all methods ``(n, n)``.

    ``steps`` are those of the ascent against a network.
    """
    op, x = MaskedFourier(radial_mask(N, LINES), real=True), example_image()
    y = op.A(x)
    methods = reconstructions(op, noise_rel, noise_rel * torch.linalg.vector_norm(y))
    clean = {name: unperturbed(method, y) for name, method in methods.items()}
    phi, attacks = disk_weight(N, mu, SIGMA), {}
    for target, method in SHOWN:
        if target == method:
            ascent = power_ascent if target == "tv" else functools.partial(power_ascent, steps=steps)
            attacks[target, target] = localized_attack(
                methods[target], y, op, noise_rel, phi, optimiser=ascent, clean=clean[target], by_peak=True
            )
        else:
            e = attacks[target, target].e
            attacks[target, method] = evaluate_perturbation(methods[method], y, op, e, phi, clean[method])
    return attacks, {name: image for name, (image, _) in clean.items()}


def frame_setting(noise_rel: float, steps: int) -> str:
    """What the frames of a level depend on and may change: lambda, the steps of the ascent, the weights."""
    shown = [f"lambda={calibrated_lambda(noise_rel, LINES):.3g}", f"steps={steps}"]
    return " ".join([*shown, *(checksum(name, PRESET) for name in NETWORKS)])


def level_file(noise_rel: float) -> str:
    """The name of the file with the pictures of a level."""
    return f"level-{100 * noise_rel:g}.json"


def compute_level(noise_rel: float, setting: str, steps: int) -> Found:
    """All frames of one noise level: their rows, and one file with their pictures."""
    check_setting(setting, frame_setting(noise_rel, steps))
    rows: list[dict[str, Any]] = []
    pictures: dict[str, Any] = {}
    for mu in location_grid(N, COUNT).split(COUNT):
        attacks, clean = compute_frames(noise_rel, mu, steps)
        for i, (row, column) in enumerate(mu.tolist()):
            pictures[f"{row},{column}"] = encode_frame(attacks, clean, [row, column], i)
            rows += frame_rows(attacks, [row, column], i)
        pictures["clean"] = encode(torch.cat([clean[name].abs() for name in METHODS], 1), offset=0, step=1 / 255)
    return rows, {level_file(noise_rel): (json.dumps(pictures, indent=0) + "\n").encode()}


def frame_rows(attacks: Mapping[tuple[str, str], Attack], mu: list[int], i: int) -> Iterator[dict[str, Any]]:
    """The numbers of one frame: a row for each perturbation and method."""
    for (target, method), attack in attacks.items():
        yield {
            "row": mu[0],
            "column": mu[1],
            "target": target,
            "method": method,
            "peak_r": f"{float(attack.image_perturbation[i].abs().max()):.3g}",
            "peak_rho": f"{float(attack.artifact[i].abs().max()):.3g}",
            "amplification": f"{float(attack.amplification[i]):.3g}",
            "sigma": SIGMA,
            "lines": LINES,
            "preset": PRESET,
        }


def around(mu: Sequence[int]) -> tuple[slice, slice]:
    """The pixels of the close-up of ``mu``, within the image."""
    row, column = (min(max(c, HALF), N - HALF) for c in mu)
    return slice(row - HALF, row + HALF), slice(column - HALF, column + HALF)


def encode_frame(
    attacks: Mapping[tuple[str, str], Attack], clean: Mapping[str, Tensor], mu: list[int], i: int
) -> list[str]:
    """Two pictures of one frame: eight differences of 256 x 256 in two rows, and their close-ups side by side.

    Above r for TV and the reconstructions of `SHOWN` with TV's e, minus the unperturbed ones; below, r and
    reconstruction for each network's own e. Differences are those of the moduli, which is what is seen.
    """
    tiles = []
    for (target, method), attack in attacks.items():
        if target == method:
            tiles.append(attack.image_perturbation[i].real)
        tiles.append((clean[method] + attack.artifact[i]).abs() - clean[method].abs())
    close = [tile[around(mu)] for tile in tiles]
    whole = torch.cat([torch.cat(tiles[:4], 1), torch.cat(tiles[4:], 1)])
    return [encode(whole, quality=QUALITY), encode(torch.cat(close, 1))]


def encode(image: Tensor, offset: int = 128, step: float = STEP, quality: int | None = None) -> str:
    """A grey picture as base64 of a WebP: ``offset`` plus multiples of ``step``; no loss if no quality is given."""
    grey = (offset + image / step).round().clamp(0, 255).to(torch.uint8).numpy()
    file, loss = io.BytesIO(), {"lossless": True, "quality": 100} if quality is None else {"quality": quality}
    Image.fromarray(grey).save(file, "webp", method=6, **loss)
    return base64.b64encode(file.getvalue()).decode()


def decode(picture: str) -> Tensor:
    """The grey values, 0 to 255, of what `encode` has made, as float32."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))).float()


def cells(rows: pd.DataFrame, steps: int) -> Iterator[dict[str, Any]]:
    """One for each noise level."""
    for noise_rel in LEVELS:
        yield {"noise_rel": noise_rel, "setting": frame_setting(noise_rel, steps), "steps": steps}


def table(steps: int = NETWORK_STEPS) -> Table:
    """The frames, with this many steps of the ascent against a network; a change computes all of them anew."""
    return Table(
        "explorer/frames",
        functools.partial(cells, steps=steps),
        compute_level,
        groups=("noise_rel",),
        tolerance=lambda row: 0.02,  # they have three digits, the networks' of a few steps in half precision
        size=COUNT**2 * len(SHOWN),
        files=lambda cell: (level_file(cell["noise_rel"]),),
    )
