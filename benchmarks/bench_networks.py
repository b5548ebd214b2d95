"""Time of the networks and accuracy of the gradient that attacks follow: results/bench_networks.csv."""

import argparse
import math
import time
from collections.abc import Callable

import torch
from dask.system import CPU_COUNT
from torch import Tensor
from tqdm import tqdm

from lib.networks import LINES, N, Reconstruction, fast_bfloat16, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.options import program
from lib.runs.provenance import provenance
from lib.runs.section4 import TEST
from lib.runs.tables import RESULTS, write_rows

IMAGES, REPEATS = 4, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/bench_networks.py")
    parser.parse_args()
    x = ellipses(IMAGES, N, seed=TEST)
    y = MaskedFourier(radial_mask(N, LINES)).A(x)
    cases = [(key, threads) for key in read_manifest() for threads in sorted({1, CPU_COUNT})]
    rows = []
    for key, threads in tqdm(cases, unit="case"):
        torch.set_num_threads(threads)
        network = load_network(*key.split("-"))
        rows.append(
            {
                "network": key,
                "threads": threads,
                "image_seconds": f"{median_seconds(lambda: network(y[:1])):.3f}",
                "image_seconds_in_batch": f"{median_seconds(lambda: network(y)) / IMAGES:.3f}",
                "gradient_seconds": f"{median_seconds(lambda: gradient(network, y[:1], x[:1], False)):.3f}",
                "gradient_seconds_bfloat16": f"{median_seconds(lambda: gradient(network, y[:1], x[:1], True)):.3f}",
                "gradient_degrees_bfloat16": f"{worst_angle(network, y, x):.1f}",
                "bfloat16_used": fast_bfloat16(torch.device("cpu")),
                "batch": IMAGES,
                "seed": TEST,
                **provenance(),
            }
        )
    write_rows(RESULTS / "bench_networks.csv", rows)


def median_seconds(work: Callable[[], object]) -> float:
    """Of `REPEATS` calls, after one that does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2]


def gradient(network: Reconstruction, y: Tensor, x: Tensor, half: bool) -> Tensor:
    """Of the squared error of each image, ``(b, m)``."""
    y = y.clone().requires_grad_()
    (network._image(y, half) - x).abs().square().sum().backward()
    assert y.grad is not None
    return y.grad


def worst_angle(network: Reconstruction, y: Tensor, x: Tensor) -> float:
    """Between the gradients in bfloat16 and in single precision, in degrees."""
    a, b = (torch.view_as_real(gradient(network, y, x, half)).flatten(1).double() for half in (True, False))
    cosine = torch.nn.functional.cosine_similarity(a, b)
    return math.degrees(math.acos(min(1.0, float(cosine.min()))))


if __name__ == "__main__":
    program(main)
