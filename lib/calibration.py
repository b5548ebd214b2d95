"""The choice of lambda: grid search for each mask and noise level, as the paper describes in Section 4."""

import argparse
import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor
from tqdm import tqdm

from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, provenance, read_rows, resumable, write_rows
from lib.tv import reconstruct_tv

LINES = (25, 40, 80)
NOISE = (0.005, 0.01, 0.02, 0.04, 0.08, 0.1, 0.2)  # the six levels of Table 1, and a margin
N, IMAGES, SEED = 256, 50, 3  # phantoms of the stream SEED, used for nothing else
TOL, MAX_ITER = 5e-3, 500  # good for the mean error to a thousandth of itself
COARSE, FINE = 4, 16  # grid points per decade


def add_noise(y: Tensor, noise_rel: float, seed: int) -> Tensor:
    r"""``y`` plus complex Gaussian noise of norm exactly ``noise_rel`` times :math:`\|y\|_2`, for each vector.

    Parameters
    ----------
    y : measurements ``(..., m)``, complex.
    noise_rel : relative noise level :math:`\eta/\|y\|_2`, at least 0.
    seed : seed of the noise; the same on every machine.

    Returns
    -------
    ``(..., m)``, the dtype of ``y``.

    Raises
    ------
    ValueError : ``noise_rel`` is negative or not finite.
    TypeError : ``y`` is not complex.
    """
    if not y.is_complex():
        raise TypeError(f"add_noise: y must be complex, got {y.dtype}")
    if not (noise_rel >= 0 and math.isfinite(noise_rel)):
        raise ValueError(f"add_noise: noise_rel must be a number >= 0, got {noise_rel!r}")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(y.shape, dtype=torch.complex128, generator=generator).to(y.device, y.dtype)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True) / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
    return y + noise_rel * size * noise


def grid_error(lines: int, noise_rel: float, lam: float) -> dict[str, object]:
    """Relative l2 error of the TV reconstruction over IMAGES phantoms, as one row of ``results/lambda.csv``."""
    start = time.perf_counter()
    op = MaskedFourier(radial_mask(N, lines))
    x = ellipses(IMAGES, N, seed=SEED)
    y = add_noise(op.A(x), noise_rel, seed=SEED)
    result = reconstruct_tv(y, op, lam, tol=TOL, max_iter=MAX_ITER)
    error = torch.linalg.vector_norm(result.image - x, dim=(1, 2)) / torch.linalg.vector_norm(x, dim=(1, 2))
    return {
        "lines": lines,
        "noise_rel": noise_rel,
        "lam": f"{lam:.6g}",
        "error_mean": f"{float(error.mean()):.6f}",
        "error_std": f"{float(error.std()):.6f}",
        "images": IMAGES,
        "n": N,
        "seed": SEED,
        "tol": TOL,
        "largest_relative_gap": f"{float((result.gap / result.objective).max()):.2e}",
        "iterations_mean": f"{float(result.n_iter.double().mean()):.0f}",
        "seconds": f"{time.perf_counter() - start:.1f}",
        **provenance(),
    }


def calibrate(lines: int, noise_rel: float) -> None:
    """Find the best lambda for one mask and level, adding rows to ``results/lambda.csv`` as they are computed.

    A coarse logarithmic grid (4 points a decade) is walked until its best point has two worse neighbours on each
    side; between its next neighbours the grid is then refined to 16 points a decade. Points that the file has
    already are not computed again.
    """
    path = RESULTS / "lambda.csv"

    def error(step: int) -> float:  # at lam = 10 ** (step / FINE)
        lam = 10 ** (step / FINE)
        same = {"lines": lines, "noise_rel": noise_rel, "images": IMAGES, "n": N, "seed": SEED, "tol": TOL}
        for row in read_rows(path):
            if all(float(row[key]) == value for key, value in same.items()) and _close(float(row["lam"]), lam):
                return float(row["error_mean"])
        new = grid_error(lines, noise_rel, lam)
        rows: list[Mapping[str, object]] = [*read_rows(path), new]
        write_rows(path, sorted(rows, key=lambda r: tuple(float(str(r[k])) for k in ("lines", "noise_rel", "lam"))))
        return float(str(new["error_mean"]))

    stride = FINE // COARSE
    best = stride * round(COARSE * math.log10(0.2 * noise_rel**1.2))  # a guess to start from
    while True:
        around = [best + k * stride for k in (0, -1, 1, -2, 2)]
        winner = min(around, key=error)
        if winner == best:
            break
        best = winner
    for step in range(best - stride, best + stride + 1):
        error(step)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.calibration",
        description="Choose lambda by grid search; results/lambda.csv. Resumes where it stopped.",
        epilog="example: python -m lib.calibration --lines 60 --noise 0.01 0.04",
    )
    parser.add_argument("--lines", type=int, nargs="+", default=LINES, help="numbers of lines of the masks")
    parser.add_argument("--noise", type=float, nargs="+", default=NOISE, help="relative noise levels, as fractions")
    args = parser.parse_args(arguments)
    pairs = [(lines, noise) for noise in args.noise for lines in args.lines]
    for lines, noise in tqdm(pairs, unit="pair"):
        calibrate(lines, noise)


if __name__ == "__main__":
    resumable(main)
