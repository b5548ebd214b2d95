"""Time and memory of the TV solver beside its peers: results/bench_tv.csv and results/bench_tv_scaling.csv.

One problem for all: a 256 x 256 phantom, 40 lines, 4 % noise. Each program is measured against the optimum of the
functional that it solves. sigpy's TV adds complex moduli of both differences (our `anisotropic`). BART's is isotropic,
with backward differences: on the mirrored image it is our `isotropic`. The plain ADMM is the authors' (`separable`).
"""

import argparse
import contextlib
import functools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sigpy as sp
import sigpy.mri.app
import torch
from dask.system import CPU_COUNT
from torch import Tensor
from tqdm import tqdm

from lib import tv
from lib.operators import MaskedFourier, add_noise, gradient, gradient_adjoint, laplacian_symbol, radial_mask
from lib.phantoms import ellipses
from lib.runs.options import program
from lib.runs.provenance import provenance
from lib.runs.tables import RESULTS, write_rows
from lib.tv import Norm, anisotropic, calibrated_lambda, isotropic, reconstruct_tv, separable

SEED, NOISE, LINES, N = 11, 0.04, 40, 256
ACCURACIES = (1e-2, 1e-3, 1e-4)
REPEATS = 5
BART_MEMORY: list[float] = []  # peak of each run, MB


class Problem(NamedTuple):
    op: MaskedFourier
    y: Tensor
    lam: float


def make_problem(n: int = N, lines: int = LINES, count: int = 1) -> Problem:
    """Noise with a real image: the solution is real, which our solver is told and the peers do not use."""
    op, x = MaskedFourier(radial_mask(n, lines), real=True), ellipses(count, n, seed=SEED)
    y = op.A(x)
    noise = op.A(op.A_dagger(add_noise(y, 1, SEED) - y).real)
    scale = NOISE * torch.linalg.vector_norm(y, dim=-1) / torch.linalg.vector_norm(noise, dim=-1)
    return Problem(op, y + scale[:, None] * noise, calibrated_lambda(NOISE, LINES))


# Each peer yields (iterations, seconds spent so far, image). Errors are looked at while the clock stands.
Trace = Iterator[tuple[int, float, Tensor]]


def plain_admm(problem: Problem, rho: float, iterations: int) -> Trace:
    """ADMM as the authors ran it: complex, exact Fourier update, no over-relaxation, fixed rho."""
    op, y, lam = problem
    start = time.perf_counter()
    symbol = laplacian_symbol(op.n, torch.float32)
    inverse = 1 / (torch.fft.ifftshift(op.mask) + rho * symbol)
    data = op.A_adjoint(y[0])
    z = torch.zeros(2, op.n, op.n, dtype=y.dtype)
    u, seconds = z, time.perf_counter() - start
    for k in range(1, iterations + 1):
        start = time.perf_counter()
        x = torch.fft.ifft2(inverse * torch.fft.fft2(data + rho * gradient_adjoint(z - u)))
        d = torch.view_as_real(gradient(x) + u)
        z = torch.view_as_complex(d - d.clamp(-lam / rho, lam / rho))
        u = torch.view_as_complex(d) - z
        seconds += time.perf_counter() - start
        yield k, seconds, x


def sigpy_tv(problem: Problem, iterations: int, **options: object) -> Trace:
    """sigpy.mri.app.TotalVariationRecon, stepped from outside."""
    op, y, lam = problem
    ksp = np.zeros((1, op.n, op.n), np.complex64)
    ksp[0, op.mask.numpy()] = y[0].numpy()
    coil = np.ones((1, op.n, op.n), np.complex64)
    start = time.perf_counter()
    app = sp.mri.app.TotalVariationRecon(ksp, coil, lam, show_pbar=False, max_iter=iterations, **options)
    seconds = time.perf_counter() - start
    for k in range(1, iterations + 1):
        start = time.perf_counter()
        app.alg.update()
        seconds += time.perf_counter() - start
        yield k, seconds, torch.from_numpy(np.fft.ifftshift(np.squeeze(app.x)).copy())


def bart_pics(problem: Problem, iterations: int, *options: str) -> Trace:
    """bart pics, one process for each number of iterations; the time includes its start and its files."""
    op, y, lam = problem
    ksp = np.zeros((op.n, op.n), np.complex64)
    ksp[op.mask.numpy()] = y[0].numpy()
    checkerboard = (-1.0) ** np.add.outer(np.arange(op.n), np.arange(op.n))  # BART centres the image, too
    arrays = {
        "kspace": np.conj(ksp * checkerboard),
        "coil": np.ones((op.n, op.n)),
        "mask": op.mask.numpy(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, array in arrays.items():
            Path(folder, f"{name}.hdr").write_text(f"# Dimensions\n{op.n} {op.n} 1 1\n")
            array.astype(np.complex64).flatten(order="F").tofile(Path(folder, f"{name}.cfl"))
        for k in sorted({round(1.25**j) for j in range(8, 60) if 1.25**j <= iterations}):
            command = ["bart", "pics", "-S", "-w", "1", "-i", str(k), *options, "-R", f"T:3:0:{lam}", "-p", "mask"]
            start = time.perf_counter()
            process = subprocess.Popen([*command, "kspace", "coil", "out"], cwd=folder, stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                with contextlib.suppress(OSError, StopIteration):
                    peak = max(peak, _status("VmHWM", process.pid))
                time.sleep(0.001)
            seconds = time.perf_counter() - start
            if process.returncode:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            BART_MEMORY.append(peak / 1024)
            image = np.fromfile(Path(folder, "out.cfl"), np.complex64).reshape((op.n, op.n), order="F")
            yield k, seconds, torch.from_numpy(np.roll(image[::-1, ::-1], 1, (0, 1)).conj().copy())


def ours(problem: Problem, iterations: int) -> Trace:
    """reconstruct_tv, run anew for each number of iterations: the time is that of whole calls, proof included.

    The median of rounds over all numbers, so that a moment in which the machine does other work counts little.
    """
    op, y, lam = problem
    steps = range(10, iterations + 1, 10)
    seconds, images = np.empty((REPEATS, len(steps))), []
    for repeat in range(REPEATS):
        for i, k in enumerate(steps):
            start = time.perf_counter()
            result = reconstruct_tv(y, op, lam, tol=1e-9, max_iter=k)
            seconds[repeat, i] = time.perf_counter() - start
            if repeat == 0:
                images.append(result.image[0])
    yield from zip(steps, np.median(seconds, 0).tolist(), images, strict=True)


# name -> (functional, settings, trace); the tuned settings are the best of small grids, listed in TUNING
def methods() -> dict[tuple[str, str], tuple[Norm, Callable[[Problem], Trace]]]:
    pdhg, admm = "PrimalDualHybridGradient", "ADMM"
    table: dict[tuple[str, str], tuple[Norm, Callable[[Problem], Trace]]] = {
        ("lib.tv", "default"): (separable, lambda p: ours(p, 400)),
        ("plain ADMM", "rho = lam"): (separable, lambda p: plain_admm(p, p.lam, 5000)),
        ("plain ADMM", "rho = 10 lam"): (separable, lambda p: plain_admm(p, 10 * p.lam, 5000)),
        ("plain ADMM", "rho = 30 lam"): (separable, lambda p: plain_admm(p, 30 * p.lam, 2000)),
        ("plain ADMM", "rho = 100 lam"): (separable, lambda p: plain_admm(p, 100 * p.lam, 2000)),
        ("sigpy PDHG", "default"): (anisotropic, lambda p: sigpy_tv(p, 1500)),
        ("sigpy ADMM", "default"): (anisotropic, lambda p: sigpy_tv(p, 300, solver=admm)),
    }
    for tau in (0.3, 1.0, 3.0):  # the product of the steps is 1/8, the squared norm of the gradient
        table["sigpy PDHG", f"tau = {tau:g}"] = (
            anisotropic,
            lambda p, tau=tau: sigpy_tv(p, 1000, solver=pdhg, tau=tau, sigma=1 / (8 * tau)),
        )
    for rho in (0.1, 0.3):
        for cg in (2, 3, 10):
            table["sigpy ADMM", f"rho = {rho:g}, {cg} CG steps"] = (
                anisotropic,
                lambda p, rho=rho, cg=cg: sigpy_tv(p, 300, solver=admm, rho=rho, max_cg_iter=cg),
            )
    if shutil.which("bart"):
        table["BART pics", "default"] = (isotropic, lambda p: bart_pics(p, 2000))
        for rho in ("0.1", "0.3", "1"):
            for cg in ("2", "5"):
                table["BART pics -m", f"rho = {rho}, {cg} CG steps"] = (
                    isotropic,
                    lambda p, rho=rho, cg=cg: bart_pics(p, 1000, "-m", "-u", rho, "-C", cg),
                )
    else:
        print("BART is not installed: its rows are left out", file=sys.stderr)
    return table


def optimum(problem: Problem, norm: Norm) -> tuple[Tensor, float]:
    """The minimiser in double precision, and how much the last third of the iterations still changed it (sup norm)."""
    op, y, lam = problem
    if norm is not separable:  # frequencies -n/2 without mirror image make its minimiser slightly complex
        op = MaskedFourier(op.mask)
    y, iterations = y.to(torch.complex128), 1000 if norm is separable else 1500
    usual, result = tv.THRESHOLD, None
    try:
        for last in (0.02, *usual[1:], *usual[1:]):  # a small threshold first: it settles the last edges
            before, tv.THRESHOLD = result, (usual[0], last)
            result = reconstruct_tv(y, op, lam, tol=1e-13, max_iter=iterations, norm=norm, init=before)
    finally:
        tv.THRESHOLD = usual
    return result.image[0], float((result.image - before.image).abs().max())


def race(problem: Problem, trace: Trace, best: Tensor, cap: float) -> list[dict[str, object]]:
    """When each accuracy is reached and stays reached; ``cap`` in seconds, for BART of a single run."""
    seen: list[tuple[int, float, float]] = []
    for k, seconds, image in trace:
        seen.append((k, seconds, float((image - best).abs().max())))
        below = [s for s in seen if s[2] <= ACCURACIES[-1]]
        if seconds > cap or (below and k >= 1.1 * below[0][0] + 1):
            break
    rows = []
    for accuracy in ACCURACIES:
        last_above = max((i for i, s in enumerate(seen) if s[2] > accuracy), default=-1)
        if last_above + 1 < len(seen):
            k, seconds, error = seen[last_above + 1]
            rows.append({"accuracy": accuracy, "reached": True, "seconds": seconds, "iterations": k, "error": error})
        else:
            k, seconds, error = seen[-1]
            rows.append({"accuracy": accuracy, "reached": False, "seconds": seconds, "iterations": k, "error": error})
    return rows


def peak_memory(name: str, settings: str) -> float | None:
    """MB on top of a process that has built the problem, in a process of its own; for BART, the whole process."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, __file__, "--memory", name, settings]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(name: str, settings: str) -> None:
    problem, (_, trace) = make_problem(), methods()[name, settings]
    if name == "lib.tv":
        trace = functools.partial(ours, iterations=20)  # it keeps the images of all its runs
    next(ours(make_problem(16, 3), 10))  # compile first
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _status("VmRSS")
    for k, _, _ in trace(problem):
        if k >= 20:
            break
    print(BART_MEMORY[-1] if name.startswith("BART") else (_status("VmHWM") - before) / 1024)


def _status(field: str, process: int | str = "self") -> int:
    """A line of a process's memory status, in KiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def bench_peers() -> None:
    problem, table = make_problem(), methods()
    best = {norm: optimum(problem, norm) for norm in tqdm({f for f, _ in table.values()}, desc="optima")}
    next(ours(problem, 10))  # compile
    rows: list[dict[str, object]] = []
    for (name, settings), (norm, trace) in tqdm(table.items(), desc="peers"):
        memory = peak_memory(name, settings)
        for row in race(problem, trace(problem), best[norm][0], cap=5 if name.startswith("BART") else 15):
            rows.append({"method": name, "settings": settings, "functional": norm.__name__} | row | {"peak_mb": memory})
    reference = {row["accuracy"]: float(str(row["seconds"])) for row in rows if row["method"] == "lib.tv"}
    for row in rows:
        norm = table[str(row["method"]), str(row["settings"])][0]
        row["times_ours"] = f"{float(str(row['seconds'])) / reference[row['accuracy']]:.1f}"
        row |= {"seconds": f"{row['seconds']:.4f}", "error": f"{row['error']:.1e}"}
        row["peak_mb"] = "" if row["peak_mb"] is None else f"{row['peak_mb']:.1f}"
        row |= {"optimum_error": f"{best[norm][1]:.0e}", "lam": f"{problem.lam:.4g}", **provenance()}
    write_rows(RESULTS / "bench_tv.csv", rows)


def seconds(call: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def iterations_to(problem: Problem, accuracy: float) -> int:
    """Iterations after which every pixel of a single image is and stays within ``accuracy`` of the minimiser."""
    op, y, lam = problem
    best = reconstruct_tv(y.to(torch.complex128), op, lam, tol=1e-12, max_iter=2000).image
    errors: list[tuple[int, float]] = []

    def look(k: Tensor, _index: Tensor, image: Tensor, *_: Tensor) -> None:
        errors.append((int(k), float((image - best).abs().max())))

    reconstruct_tv(y, op, lam, tol=1e-9, max_iter=600, on_check=look)
    return next(k for i, (k, _) in enumerate(errors) if all(error <= accuracy for _, error in errors[i:]))


def bench_scaling() -> None:
    """Cost against the side n (lines in proportion, lambda the same), and against the batch at n = 256."""
    rows = []
    cases = [(128, 1), (256, 1), (512, 1), (1024, 1), (256, 4), (256, 16), (256, 64)]
    for n, batch in tqdm(cases, desc="scaling"):
        problem = make_problem(n, LINES * n // N, batch)
        op, y, lam = problem
        reconstruct_tv(y[:1], op, lam, max_iter=10)
        x = torch.randn(batch, n, n)

        def solve(iterations: int, problem: Problem = problem) -> None:
            reconstruct_tv(problem.y, problem.op, problem.lam, tol=1e-9, max_iter=iterations)

        def pairs(x: Tensor = x) -> None:
            for _ in range(20):  # without out=, with which torch takes longer
                torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=x.shape[-2:], norm="ortho")

        def iterate(iterations: int, problem: Problem = problem) -> None:
            tv.TVReconstruction(problem.op, problem.lam, iterations=iterations)(problem.y)  # without looks at the gap

        # in turn, so that other work on the machine meets all alike
        work = [(solve, 20), (solve, 120), (iterate, 20), (iterate, 120), (pairs,)]
        few, many, few_alone, many_alone, transforms = (
            min(times) for times in zip(*([seconds(*call) for call in work] for _ in range(5)), strict=True)
        )
        iteration, transforms = (many_alone - few_alone) / 100 / batch, transforms / 20 / batch
        result = reconstruct_tv(y, op, lam, tol=1e-3)
        reach = iterations_to(problem, 1e-3) if batch == 1 else 0
        whole = min(seconds(lambda y=y, op=op, lam=lam: reconstruct_tv(y, op, lam, tol=1e-3)) for _ in range(3)) / batch
        rows.append(
            {
                "n": n,
                "batch": batch,
                "lines": LINES * n // N,
                "iteration_ms": f"{1e3 * iteration:.3f}",
                "fft_pair_ms": f"{1e3 * transforms:.3f}",
                "iteration_over_fft_pair": f"{iteration / transforms:.2f}",
                "iteration_with_looks_ms": f"{1e3 * (many - few) / 100 / batch:.3f}",
                "iteration_ns_over_n2_log2n": f"{1e9 * iteration / (n * n * math.log2(n)):.3f}",
                "image_ms": f"{1e3 * whole:.1f}",
                "iterations": f"{float(result.n_iter.double().mean()):.0f}",
                "tol": 1e-3,
                "iterations_pixel_1e-3": reach or "",
                "image_ms_pixel_1e-3": f"{1e3 * min(seconds(solve, reach) for _ in range(3)):.1f}" if reach else "",
                "lam": f"{lam:.4g}",
                **provenance(),
            }
        )
    write_rows(RESULTS / "bench_tv_scaling.csv", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/bench_tv.py")
    parser.add_argument("--memory", nargs=2, metavar=("METHOD", "SETTINGS"), help="print the peak memory of one method")
    parser.add_argument("--only", choices=("scaling", "peers"), help="one of the two parts")
    arguments = parser.parse_args()
    torch.set_num_threads(min(2, CPU_COUNT))
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # for BART
    if arguments.memory:
        measure_memory(*arguments.memory)
        return
    if arguments.only != "peers":
        bench_scaling()
    if arguments.only != "scaling":
        bench_peers()


if __name__ == "__main__":
    program(main)
