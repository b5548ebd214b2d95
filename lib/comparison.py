"""Reconstruction errors against noise, all methods on the same test images; results/networks_error.csv."""

import argparse
import functools
import time
from collections.abc import Callable

from torch import Tensor
from tqdm import tqdm

from lib.networks import LINES, NETWORKS, PRESETS, N, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.records import RESULTS, provenance, read_rows, resumable, write_rows
from lib.training import IMAGES, LEVELS, TEST, errors
from lib.tv import calibrated_lambda, reconstruct_tv

CLEAN_LAMBDA = 1e-4  # without noise there is nothing to calibrate: as in the chapter on compressed sensing


def tv_lambda(noise_rel: float) -> float:
    """Lambda for a noise level: the calibrated one, CLEAN_LAMBDA without noise."""
    return calibrated_lambda(noise_rel, LINES) if noise_rel else CLEAN_LAMBDA


def tv(y: Tensor, op: MaskedFourier, noise_rel: float) -> Tensor:
    """The TV reconstruction with lambda for the noise level."""
    return reconstruct_tv(y, op, tv_lambda(noise_rel)).image


def _whatever_the_noise(network: Callable[[Tensor], Tensor], noise_rel: float) -> Callable[[Tensor], Tensor]:
    return network


def methods(op: MaskedFourier, preset: str) -> dict[str, Callable[[float], Callable[[Tensor], Tensor]]]:
    """For each name, what gives a reconstruction for a noise level; networks only if they are trained."""
    found: dict[str, Callable[[float], Callable[[Tensor], Tensor]]] = {
        "zero-filled": lambda _: op.A_dagger,
        "tv": lambda noise: functools.partial(tv, op=op, noise_rel=noise),
    }
    for name in NETWORKS:
        if f"{name}-{preset}" in read_manifest():
            network = load_network(name, preset)
            found[f"{name}-{preset}"] = functools.partial(_whatever_the_noise, network)
    return found


def compare(preset: str) -> None:
    """Add to ``results/networks_error.csv`` what it lacks or has of other weights or another lambda."""
    path, op = RESULTS / "networks_error.csv", MaskedFourier(radial_mask(N, LINES))
    settings = {key: entry["files"][0]["sha256"][:10] for key, entry in read_manifest().items()}
    todo = [(name, method, level) for name, method in methods(op, preset).items() for level in LEVELS]
    for name, method, level in tqdm(todo, unit="cell"):
        setting = f"lambda={tv_lambda(level):.3g}" if name == "tv" else settings.get(name, "")
        same = {"method": name, "setting": setting, "noise_rel": f"{level:g}"}
        same |= {"images": str(IMAGES), "seed": str(TEST)}
        rows = read_rows(path)
        if any(same.items() <= row.items() for row in rows):
            continue
        start = time.perf_counter()
        moduli, full = errors(method(level), op, level, IMAGES, TEST)
        new: dict[str, object] = {
            **same,
            "error_mean": f"{float(moduli.mean()):.5f}",
            "error_std": f"{float(moduli.std()):.5f}",
            "complex_error_mean": f"{float(full.mean()):.5f}",
            "complex_error_std": f"{float(full.std()):.5f}",
            "seconds": f"{time.perf_counter() - start:.1f}",
            **provenance(),
        }
        rows = [row for row in rows if (row["method"], row["noise_rel"]) != (name, same["noise_rel"])]
        write_rows(path, sorted([*rows, new], key=lambda row: (row["method"], float(str(row["noise_rel"])))))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.comparison",
        epilog="example: python -m lib.comparison --preset compact",
        description="Errors of zero filling, TV and the networks against noise. Computes what is missing or outdated.",
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="compact", help="which networks")
    compare(parser.parse_args(arguments).preset)


if __name__ == "__main__":
    resumable(main)
