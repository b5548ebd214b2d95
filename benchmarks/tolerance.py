"""What the solver's tolerance means for pixels: worst pixel error against the duality gap, results/tolerance.csv."""

import argparse
import time

import torch
from tqdm import tqdm

from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs.options import program
from lib.runs.provenance import provenance
from lib.runs.section4 import LINES
from lib.runs.tables import RESULTS, write_rows
from lib.tv import calibrated_lambda, reconstruct_tv

SEED, IMAGES, LEVELS = 12, 2, (0.005, 0.02, 0.1)
CASES = ((1e-2, torch.complex64), (1e-3, torch.complex64), (1e-4, torch.complex128), (1e-5, torch.complex128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/tolerance.py")
    parser.parse_args()
    x = ellipses(IMAGES, seed=SEED).double()
    rows = []
    for lines, level in tqdm([(lines, level) for lines in LINES for level in LEVELS], unit="problem"):
        op, lam = MaskedFourier(radial_mask(256, lines), real=True), calibrated_lambda(level, lines)
        y = op.A(x)
        y = y + op.A(op.A_dagger(add_noise(y, level, SEED) - y).real)  # noise with a real image
        reference = reconstruct_tv(y, op, lam, tol=1e-7, max_iter=50_000)
        for tol, dtype in CASES:
            start = time.perf_counter()
            result = reconstruct_tv(y.to(dtype), op, lam, tol=tol, max_iter=20_000)
            seconds = time.perf_counter() - start
            worst = (result.image - reference.image).abs().amax((1, 2)) / reference.image.abs().amax((1, 2))
            rows.append(
                {
                    "lines": lines,
                    "noise_rel": level,
                    "lam": f"{lam:.4g}",
                    "dtype": str(dtype).removeprefix("torch."),
                    "tol": tol,
                    "converged": int(result.converged.sum()),
                    "images": IMAGES,
                    "seed": SEED,
                    "largest_relative_gap": f"{float((result.gap / result.objective).max()):.2e}",
                    "worst_pixel_error": f"{float(worst.max()):.2e}",
                    "worst_pixel_error_over_tol": f"{float(worst.max()) / tol:.2f}",
                    "iterations_mean": f"{float(result.n_iter.double().mean()):.0f}",
                    "seconds_per_image": f"{seconds / IMAGES:.3f}",
                    "reference_relative_gap": f"{float((reference.gap / reference.objective).max()):.1e}",
                    **provenance(),
                }
            )
    write_rows(RESULTS / "tolerance.csv", rows)


if __name__ == "__main__":
    program(main)
