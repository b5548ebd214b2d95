"""What the solver's tolerance means for pixels: worst pixel error against the duality gap, results/tolerance.csv."""

import argparse
import time

import torch
from tqdm import tqdm

from lib.calibration import LINES, add_noise
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, provenance, write_rows
from lib.tv import calibrated_lambda, reconstruct_tv

SEED, IMAGES, LEVELS = 12, 2, (0.005, 0.02, 0.1)
# side, lines, and whether the noise is that of a real image, as the solver's real path needs it
KINDS = (*((256, lines, True) for lines in LINES), (256, 40, False), (128, 12, False))
CASES = ((1e-2, torch.complex64), (1e-3, torch.complex64), (1e-4, torch.complex128), (1e-5, torch.complex128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/tolerance.py")
    parser.parse_args()
    rows = []
    for (n, lines, real), level in tqdm([(kind, level) for kind in KINDS for level in LEVELS], unit="problem"):
        op, lam = MaskedFourier(radial_mask(n, lines)), calibrated_lambda(level, max(lines, LINES[0]))
        clean = op.A(ellipses(IMAGES, n, seed=SEED).double())
        noise = add_noise(clean, level, SEED) - clean
        y = clean + (op.A(op.A_dagger(noise).real) if real else noise)
        reference = reconstruct_tv(y, op, lam, tol=1e-7, max_iter=50_000)
        for tol, dtype in CASES:
            start = time.perf_counter()
            result = reconstruct_tv(y.to(dtype), op, lam, tol=tol, max_iter=20_000)
            seconds = time.perf_counter() - start
            worst = (result.image - reference.image).abs().amax((1, 2)) / reference.image.abs().amax((1, 2))
            rows.append(
                {
                    "n": n,
                    "lines": lines,
                    "real": int(real),
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
    main()
