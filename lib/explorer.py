"""The explorer: frames for the static page, computed once, and the live view in Jupyter."""

from __future__ import annotations

import argparse
import base64
import functools
import io
import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

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
from lib.calibration import LINES as MASKS
from lib.calibration import NOISE
from lib.figures import EXAMPLE, OVER
from lib.networks import LINES, NETWORKS, N, load_network, read_manifest, write_bytes
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, provenance, read_rows, write_rows
from lib.tv import TVReconstruction, calibrated_lambda

LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.1)  # of the paper's Table 1
COUNT = 8  # the grid of locations has COUNT**2
SIGMA = 5
PRESET = "compact"
METHODS = ("tv", *NETWORKS)
# the perturbations of a frame with the methods that see them: TV's is shown to all, the networks' to themselves
SHOWN = (("tv", "tv"), ("tv", "tira"), ("tv", "tirafl"), ("tira", "tira"), ("tirafl", "tirafl"))
NETWORK_STEPS = 3  # of the ascent against a network; the gradient of one costs more than all of TV's
TOL = 2e-3
HALF = N // 20  # half the side of a close-up, as in `lib.figures.show_image`
FRAMES = RESULTS / "explorer"
# Differences are stored in hundredths, clipped to where the picture is the warning colour in any case. The whole image
# loses what cannot be seen, at 2 to 8 kB for eight of them; the close-up, where it could be seen, loses nothing.
STEP, QUALITY = 0.01, 80


def example_image(n: int = N) -> Tensor:
    """The explorer's phantom ``(n, n)`` in 256 grey values, as a picture file has them: the page computes with it."""
    return (255 * ellipses(1, n, **EXAMPLE)[0]).round() / 255


def page_lambda(noise_rel: float, lines: int) -> float:
    r"""The regularization parameter of the live mode: `lib.tv.calibrated_lambda`, continued to lower noise.

    Below the calibrated range :math:`\log\lambda` goes on as between its two lowest levels, linear in the logarithm
    of the noise.

    Parameters
    ----------
    noise_rel : relative noise level, 0.001 to 0.2.
    lines : number of lines, 25 to 80.

    >>> page_lambda(0.04, 40) == calibrated_lambda(0.04, 40)
    True
    """
    low, next_ = LEVELS[:2]
    if noise_rel >= low:
        return calibrated_lambda(noise_rel, lines)
    first, second = (math.log(calibrated_lambda(level, lines)) for level in (low, next_))
    return math.exp(first + (second - first) * math.log(noise_rel / low) / math.log(next_ / low))


def reconstructions(op: MaskedFourier, noise_rel: float, eta: Tensor) -> dict[str, object]:
    """The three methods, differentiable, by name."""
    tv = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=TOL)
    return {"tv": tv} | {name: load_network(name, PRESET) for name in NETWORKS}


def compute_frames(noise_rel: float, mu: Tensor) -> tuple[dict[tuple[str, str], Attack], dict[str, Tensor]]:
    """The attacks of `SHOWN` at the locations ``mu`` (l, 2), and the unperturbed images of all methods ``(n, n)``."""
    op, x = MaskedFourier(radial_mask(N, LINES)), example_image()
    y = op.A(x)
    methods = reconstructions(op, noise_rel, noise_rel * torch.linalg.vector_norm(y))
    clean = {name: unperturbed(method, y) for name, method in methods.items()}
    phi, attacks = disk_weight(N, mu, SIGMA), {}
    for target, method in SHOWN:
        if target == method:
            ascent = power_ascent if target == "tv" else functools.partial(power_ascent, steps=NETWORK_STEPS)
            settings = {"optimiser": ascent, "clean": clean[target], "by_peak": True}
            attacks[target, target] = localized_attack(methods[target], y, op, noise_rel, phi, **settings)
        else:
            e = attacks[target, target].e
            attacks[target, method] = evaluate_perturbation(methods[method], y, op, e, phi, clean[method])
    return attacks, {name: image for name, (image, _) in clean.items()}


def settings(noise_rel: float) -> str:
    """What the frames of a level depend on and may change: lambda and the weights."""
    manifest = read_manifest()
    weights = [manifest[f"{name}-{PRESET}"]["files"][0]["sha256"][:10] for name in NETWORKS]
    return " ".join([f"lambda={calibrated_lambda(noise_rel, LINES):.3g}", *weights])


def compute_level(noise_rel: float, bar: tqdm) -> None:
    """Add to ``results/explorer`` what it lacks of one level, or has of other weights or another lambda."""
    table, path, setting = FRAMES / "frames.csv", FRAMES / f"level-{100 * noise_rel:g}.json", settings(noise_rel)
    pictures = json.loads(path.read_text()) if path.exists() else {}
    for mu in location_grid(N, COUNT).split(COUNT):
        names = [f"{row},{column}" for row, column in mu.tolist()]
        rows = read_rows(table)
        at = {(row["noise_rel"], f"{row['row']},{row['column']}", row["setting"]) for row in rows}
        if not all((f"{noise_rel:g}", name, setting) in at and name in pictures for name in names):
            start = time.perf_counter()
            attacks, clean = compute_frames(noise_rel, mu)
            seconds = time.perf_counter() - start
            for i, name in enumerate(names):
                pictures[name] = encode_frame(attacks, clean, mu[i].tolist(), i)
                rows = [r for r in rows if (r["noise_rel"], f"{r['row']},{r['column']}") != (f"{noise_rel:g}", name)]
                rows += frame_rows(attacks, noise_rel, mu[i].tolist(), i, setting, seconds / COUNT)
            pictures["clean"] = encode(torch.cat([clean[name].abs() for name in METHODS], 1), offset=0, step=1 / 255)
            write_bytes(path, (json.dumps(pictures, indent=0) + "\n").encode())
            order = {name: i for i, name in enumerate(METHODS)}
            rows.sort(
                key=lambda r: (
                    float(r["noise_rel"]),
                    int(r["row"]),
                    int(r["column"]),
                    order[r["target"]],
                    order[r["method"]],
                )
            )
            write_rows(table, rows)
        bar.update(len(mu))


def frame_rows(
    attacks: Mapping[tuple[str, str], Attack], noise_rel: float, mu: list[int], i: int, setting: str, seconds: float
) -> Iterable[dict[str, object]]:
    """The numbers of one frame: a row for each perturbation and method."""
    for (target, method), attack in attacks.items():
        yield {
            "noise_rel": f"{noise_rel:g}",
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
            "setting": setting,
            "seconds": f"{seconds:.1f}",
            **provenance(),
        }


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
    row, column = (min(max(c, HALF), N - HALF) for c in mu)
    close = [tile[row - HALF : row + HALF, column - HALF : column + HALF] for tile in tiles]
    whole = torch.cat([torch.cat(tiles[:4], 1), torch.cat(tiles[4:], 1)])
    return [encode(whole, quality=QUALITY), encode(torch.cat(close, 1))]


def encode(image: Tensor, offset: int = 128, step: float = STEP, quality: int | None = None) -> str:
    """A grey picture as base64 of a WebP: ``offset`` plus multiples of ``step``; without loss if no quality is given."""
    grey = (offset + image / step).round().clamp(0, 255).to(torch.uint8).numpy()
    file, loss = io.BytesIO(), {"lossless": True, "quality": 100} if quality is None else {"quality": quality}
    Image.fromarray(grey).save(file, "webp", method=6, **loss)
    return base64.b64encode(file.getvalue()).decode()


def write_page() -> None:
    """What the page needs beside the frames: phantoms, the table of lambda, and a still picture for want of scripts."""
    page = {
        "levels": [float(f"{100 * level:g}") for level in LEVELS],
        "locations": location_grid(N, COUNT)[:COUNT, 1].tolist(),
        "preset": PRESET,
        "lambda": {
            "noises": NOISE,
            "masks": MASKS,
            "logs": [[math.log(calibrated_lambda(noise, lines)) for noise in NOISE] for lines in MASKS],
        },
        "x256": encode(example_image(256), offset=0, step=1 / 255),
        "x128": encode(example_image(128), offset=0, step=1 / 255),
    }
    write_bytes(FRAMES / "page.json", (json.dumps(page, indent=0) + "\n").encode())
    write_bytes(FRAMES / "still.webp", still())


def still(noise_rel: float = 0.04, mu: tuple[int, int] = (112, 80)) -> bytes:
    """A WebP of the explorer's first view: for each method x + r above, rec(y + e) below, with TV's e."""
    attacks, clean = compute_frames(noise_rel, torch.tensor([mu]))
    x = example_image()
    above = [x + attacks["tv", "tv"].image_perturbation[0].real] * len(METHODS)
    below = [clean[method] + attacks["tv", method].artifact[0] for method in METHODS]
    picture = torch.cat([torch.cat([image.abs() for image in row], 1) for row in (above, below)])
    file = io.BytesIO()
    Image.fromarray(warn(picture)).save(file, "webp", quality=90, method=6)
    return file.getvalue()


def warn(image: Tensor) -> np.ndarray:
    """Grey values of moduli ``(a, b)``, in the warning colour beyond 1, as `lib.figures.show_image`; (a, b, 3) uint8."""
    grey = (255 * image).clamp(0, 255).round().to(torch.uint8)[..., None].expand(*image.shape, 3)
    over = torch.tensor([int(OVER[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    return torch.where((image > 1)[..., None], over, grey).numpy()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.explorer",
        description="Compute the frames of the explorer that are missing or outdated; results/explorer. Resumes.",
    )
    parser.add_argument("--noise", type=float, nargs="+", default=LEVELS, help="relative noise levels, as fractions")
    args = parser.parse_args(arguments)
    with tqdm(total=len(args.noise) * COUNT**2, unit="frame") as bar:
        for noise_rel in args.noise:
            compute_level(noise_rel, bar)
    write_page()


if __name__ == "__main__":
    main()
