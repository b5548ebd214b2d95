"""The attack beside the authors': strength, time, memory, and how far it is from the best known (results/*attack*.csv).

256 x 256 phantoms, masks of 25, 40 and 80 lines, noise levels 0.5, 4 and 10 %. Both optimisers may only use real
image perturbations, which halves the cost of both. Every objective is that of a converged reconstruction.
"""

import argparse
import dataclasses
import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from dask.system import CPU_COUNT
from torch import Tensor
from tqdm import tqdm

from lib.attack import (
    ITERATIONS,
    THRESHOLD,
    WEIGHT,
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    grid_attack,
    localized_attack,
    location_grid,
    power_ascent,
    projected_adam,
    random_start,
    spike_perturbation,
    unperturbed,
)
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.options import program
from lib.runs.provenance import provenance
from lib.runs.section4 import LINES
from lib.runs.tables import RESULTS, write_rows
from lib.tv import TVReconstruction, calibrated_lambda

N, SIGMA, IMAGES, LEVELS, SCREEN, TOL = 256, 5, 4, (0.005, 0.04, 0.1), 8, 1e-3
TUNING, SEED = 21, 31  # streams of phantoms: the settings were chosen on the first, the claims are of the second
LOCATIONS = (3, 10, 20, 25, 38, 43, 53, 60)  # of the 8 x 8 grid: one in each row and column


def problems(seed: int = SEED) -> Iterator[tuple[int, float, int, MaskedFourier, Tensor, float, float]]:
    for lines in LINES:
        op = MaskedFourier(radial_mask(N, lines), real=True)
        for level in LEVELS:
            for image in range(IMAGES):
                y = op.A(ellipses(1, N, seed=seed, first=image)[0])
                yield lines, level, image, op, y, calibrated_lambda(level, lines), level * float(y.norm())


def timed(call: functools.partial, repeats: int = 1) -> tuple[object, float]:
    """What a call returns, and the median of its seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, sorted(seconds)[repeats // 2]


def bench_strength() -> None:
    """Ours against the authors' at single locations, and the screened grid against the whole.

    Ours is timed by the median of five calls, theirs, twenty times as long, by one.
    """
    rows: list[dict[str, object]] = []
    phi = disk_weight(N, location_grid(N)[list(LOCATIONS)], SIGMA)
    for lines, level, image, op, y, lam, eta in tqdm(list(problems()), desc="strength"):
        fast = fast_tv(op, lam, eta)
        if not rows:
            localized_attack(fast, y, op, level, phi[0])  # compile
        exact = dataclasses.replace(fast, tol=TOL)
        clean = unperturbed(exact, y)
        start, seconds_clean = timed(functools.partial(unperturbed, fast, y))  # once an image, whatever the optimiser
        ours, seconds = timed(functools.partial(localized_attack, fast, y, op, level, phi, clean=start), repeats=5)
        slow = TVReconstruction(op, lam, iterations=50, tol=fast.tol)
        adam, seconds_adam = timed(
            functools.partial(
                localized_attack,
                slow,
                y,
                op,
                level,
                phi,
                clean=start,
                optimiser=projected_adam,
                start=random_start(op, torch.full((len(phi),), eta), seed=0),
                modulus=True,
            )
        )
        mine, theirs = (evaluate_perturbation(exact, y, op, a.e, phi, clean=clean) for a in (ours, adam))
        ratio = mine.objective / theirs.objective
        grid, seconds_grid = timed(functools.partial(grid_attack, fast, y, op, level, SIGMA))
        screened, seconds_screened = timed(functools.partial(grid_attack, fast, y, op, level, SIGMA, screen=SCREEN))
        best, found = (
            float(evaluate_perturbation(exact, y, op, g.best.e, phi[0], clean=clean).artifact.abs().max())
            for g in (grid, screened)
        )
        rows.append(
            {
                "lines": lines,
                "noise_rel": level,
                "image": image,
                "locations": len(phi),
                "objective": f"{float(mine.objective.mean()):.4g}",
                "objective_adam": f"{float(theirs.objective.mean()):.4g}",
                "ratio_smallest": f"{float(ratio.min()):.3f}",
                "ratio_mean": f"{float(ratio.mean()):.3f}",
                "amplification": f"{float(mine.amplification.mean()):.2f}",
                "amplification_adam": f"{float(theirs.amplification.mean()):.2f}",
                "seconds_clean": f"{seconds_clean:.4f}",
                "seconds": f"{seconds / len(phi):.4f}",
                "seconds_adam": f"{seconds_adam / len(phi):.4f}",
                "times_faster": f"{seconds_adam / seconds:.1f}",
                "grid_peak": f"{best:.4g}",
                "grid_amplification": f"{float(grid.best.amplification):.2f}",
                "grid_peak_error": f"{abs(float(grid.peaks.max()) / best - 1):.1e}",
                "screened_peak": f"{found:.4g}",
                "screened_loss": f"{1 - found / best:.4f}",
                "grid_seconds": f"{seconds_grid:.2f}",
                "screened_seconds": f"{seconds_screened:.2f}",
                "threads": torch.get_num_threads(),
                "screen": SCREEN,
                "tol": TOL,
                "lam": f"{lam:.4g}",
                "seed": SEED,
                **provenance(),
            }
        )
        write_rows(RESULTS / "bench_attack.csv", rows)


def bench_iterations() -> None:
    """How the objective depends on the solver iterations behind a gradient, their threshold, and the steps' weight."""
    rows: list[dict[str, object]] = []
    phi = disk_weight(N, location_grid(N)[list(LOCATIONS[::4])], SIGMA)
    pairs = (40, 0.04), (40, 0.005), (25, 0.1), (80, 0.005)
    chosen = [p for p in problems(TUNING) if p[2] == 0 and p[:2] in pairs]
    settings = [(k, 1.0) for k in (1, 2, 3, 4, 5, 7, 10, 14, 20, 40)] + [
        (ITERATIONS, c) for c in (0.1, 0.25, 0.5, 2.0, 4.0)
    ]
    for lines, level, image, op, y, lam, eta in tqdm(chosen, desc="iterations"):
        clean = unperturbed(fast_tv(op, lam, eta), y)
        height = eta * N / math.sqrt(op.m)
        for iterations, factor in settings:
            rec = dataclasses.replace(
                fast_tv(op, lam, eta), iterations=iterations, threshold=factor * THRESHOLD * height
            )
            for weight in (WEIGHT, 1.0):
                ascent = functools.partial(power_ascent, steps=10, weight=weight)
                attack = localized_attack(rec, y, op, level, phi, clean=clean, optimiser=ascent)
                rows.append(
                    {
                        "lines": lines,
                        "noise_rel": level,
                        "image": image,
                        "iterations": iterations,
                        "threshold": factor * THRESHOLD,
                        "weight": f"{weight:.3g}",
                        "objective": f"{float(attack.objective.mean()):.4g}",
                        "peak": f"{float(attack.artifact.abs().amax((1, 2)).mean()):.4g}",
                        "locations": len(phi),
                        "tol": rec.tol,
                        "seed": TUNING,
                        **provenance(),
                    }
                )
        write_rows(RESULTS / "attack_iterations.csv", rows)


def bench_optimum(starts: int = 12, steps: int = 30) -> None:
    """Our attack against the best of many starts with six times the steps, real and complex."""
    rows: list[dict[str, object]] = []
    pairs = (40, 0.04), (40, 0.005), (25, 0.1), (80, 0.005)
    chosen = [p for p in problems() if p[2] == 0 and p[:2] in pairs]
    generator = torch.Generator().manual_seed(SEED)
    for lines, level, image, op, y, lam, eta in tqdm(chosen, desc="optimum"):
        rec = dataclasses.replace(fast_tv(op, lam, eta), tol=TOL)
        clean = unperturbed(rec, y)
        for location in LOCATIONS[1::4]:
            mu = location_grid(N)[location]
            phi = disk_weight(N, mu, SIGMA)
            ours = localized_attack(rec, y, op, level, phi, clean=clean)
            spike = evaluate_perturbation(rec, y, op, spike_perturbation(op, mu, eta), phi, clean=clean)
            noise = torch.randn(starts, N, N, generator=generator)
            noise[: starts // 3] *= phi
            noise[starts // 3 : 2 * starts // 3] *= disk_weight(N, mu, 3 * SIGMA)
            delta = op.A_dagger(spike_perturbation(op, mu, 1.0))
            images = torch.cat([noise.to(y.dtype), torch.stack([-delta, phi + 0j, 1j * delta, (1 + 1j) * delta])])
            long = functools.partial(power_ascent, steps=steps)
            real, free = (
                localized_attack(
                    dataclasses.replace(rec, op=domain),
                    y,
                    domain,
                    level,
                    phi.expand(len(part), N, N),
                    start=op.A(part),
                    optimiser=long,
                    clean=clean if domain is op else None,
                )
                for part, domain in ((images[:-2], op), (images[-2:], MaskedFourier(op.mask)))
            )
            rows.append(
                {
                    "lines": lines,
                    "noise_rel": level,
                    "image": image,
                    "row": int(mu[0]),
                    "column": int(mu[1]),
                    "objective_spike": f"{float(spike.objective):.4g}",
                    "objective": f"{float(ours.objective):.4g}",
                    "objective_best_real": f"{float(real.objective.max()):.4g}",
                    "objective_median_real": f"{float(real.objective.median()):.4g}",
                    "objective_best_complex": f"{float(free.objective.max()):.4g}",
                    "of_best_known": f"{float(ours.objective / max(real.objective.max(), free.objective.max())):.3f}",
                    "starts": len(images),
                    "steps": steps,
                    "tol": TOL,
                    "seed": SEED,
                    **provenance(),
                }
            )
            write_rows(RESULTS / "attack_optimum.csv", rows)


def bench_gradient() -> None:
    """Time of one gradient of a batch, and its peak memory in a process of its own, against the solver iterations."""
    rows = []
    if not Path("/proc/self/clear_refs").exists():
        print("no /proc/self/clear_refs: memory is not measured", file=sys.stderr)
        return
    for images, iterations in ((1, 25), (1, 100), (1, 400), (8, ITERATIONS)):
        command = [sys.executable, __file__, "--gradient", str(images), str(iterations)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, seconds = map(float, output.split())
        numbers = {"peak_mb": f"{peak:.1f}", "seconds": f"{seconds:.4f}"}
        rows.append({"images": images, "iterations": iterations, "n": N, **numbers, **provenance()})
    write_rows(RESULTS / "bench_attack_memory.csv", rows)


def measure_gradient(images: int, iterations: int) -> None:
    _, _, _, op, y, lam, _ = next(problems())

    def gradient(k: int) -> None:
        rec = TVReconstruction(op, lam, iterations=k)
        rec(y.expand(images, -1).clone().requires_grad_()).abs().square().sum().backward()

    gradient(2)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    gradient(iterations)
    peak = (_status("VmHWM") - before) / 1024
    print(peak, timed(functools.partial(gradient, iterations), repeats=5)[1])


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


PARTS = {
    "strength": bench_strength,
    "iterations": bench_iterations,
    "optimum": bench_optimum,
    "gradient": bench_gradient,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python benchmarks/bench_attack.py --only strength gradient"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--gradient", nargs=2, type=int, metavar=("IMAGES", "ITERATIONS"), help="print one measurement")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, CPU_COUNT))))
    if arguments.gradient:
        measure_gradient(*arguments.gradient)
        return
    for name in arguments.only:
        PARTS[name]()


if __name__ == "__main__":
    program(main)
