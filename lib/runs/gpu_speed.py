"""Speed of a device beside the CPU of the same machine: results/gpu_speed.csv."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from lib.attack import fast_tv, grid_attack
from lib.networks import LINES, N, Reconstruction
from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs.provenance import code_hash, provenance
from lib.runs.section4 import VALIDATION
from lib.runs.tables import write_rows
from lib.runs.weights import PRESETS
from lib.tv import calibrated_lambda, reconstruct_tv

NOISE = 0.04
CPU_BATCH = 16  # largest batch for a CPU, which works on a few images at a time: more are no faster
REPEATS, ENOUGH = 5, 8.0  # timed calls, fewer where these seconds are over
Work = Callable[[], object]


def problem(n: int, batch: int, device: torch.device, real: bool = True) -> tuple[Tensor, MaskedFourier]:
    """Noisy measurements ``(batch, m)`` of phantoms in single precision, and their operator, on a device."""
    op = MaskedFourier(radial_mask(n, LINES * n // N), real).to(device)
    y = torch.cat(
        [op.A(ellipses(min(16, batch - k), n, VALIDATION, first=k, device=device)) for k in range(0, batch, 16)]
    )
    return add_noise(y, NOISE, seed=0), op


def tv(n: int, batch: int, device: torch.device) -> Work:
    """The TV reconstruction of phantoms with noise."""
    y, op = problem(n, batch, device)
    return lambda: reconstruct_tv(y, op, calibrated_lambda(NOISE, LINES))


def attack(n: int, batch: int, device: torch.device) -> Work:
    """On ``batch`` locations, which are a square."""
    y, op = problem(n, 1, device)
    reconstruct = fast_tv(op, calibrated_lambda(NOISE, LINES), NOISE * y[0].norm())
    return lambda: grid_attack(reconstruct, y[0], op, NOISE, count=round(batch**0.5))


def gradient(preset: str, n: int, batch: int, device: torch.device) -> Work:
    """Of a network before training: the time depends on its sizes alone."""
    y, op = problem(n, batch, torch.device("cpu"), real=False)
    network = Reconstruction(op, PRESETS[preset], learned=False).to(device).requires_grad_(False)
    y = y.to(device).requires_grad_()
    return lambda: torch.autograd.grad(network.resume(y)[0].abs().square().sum(), y)


def cases(full: bool) -> Iterator[tuple[str, int, int, Callable[[int, int, torch.device], Work]]]:
    """Task, image side, batch and function of each case, the most telling first."""
    n, large = (256, 512) if full else (32, 64)
    batches = (1, 16, 64, 256) if full else (1, 4)
    yield from (("tv", n, batch, tv) for batch in batches)
    yield "attack", n, 64 if full else 4, attack
    for preset in ("compact", "paper") if full else ("trial",):
        yield from ((f"gradient of tira-{preset}", n, batch, functools.partial(gradient, preset)) for batch in (1, 8))
    yield from (("tv", large, batch, tv) for batch in batches)


def median_seconds(work: Work, device: torch.device, end: float) -> tuple[float, int]:
    """Of the calls after the first, which finds plans and takes memory; of the first alone, if that takes long."""
    seconds: list[float] = []
    while len(seconds) <= REPEATS and sum(seconds) < ENOUGH and (not seconds or time.monotonic() < end):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    timed = sorted(seconds[1:] or seconds)
    return timed[len(timed) // 2], len(timed)


def measure(device: torch.device, name: str, full: bool, end: float, path: Path) -> int:
    """Time the cases until ``end`` (of `time.monotonic`), write a row of each, and return how many failed."""
    rows: list[dict[str, object]] = []
    cpu, threads, failed = torch.device("cpu"), torch.get_num_threads(), 0
    places = [(device, threads)] if device.type != "cpu" else []
    places += [(cpu, count) for count in sorted({1, threads})]
    for task, n, batch, make in cases(full):
        for where, count in places:
            if where == cpu and task == "tv" and batch > CPU_BATCH:
                continue
            if time.monotonic() > end:
                print(f"gpu: no time to measure from {task}, n = {n}, batch {batch} on")
                return failed
            torch.set_num_threads(count)
            try:
                if where.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(where)
                seconds, repeats = median_seconds(make(n, batch, where), where, end)
            except Exception as error:  # such as too little memory: the other cases are still of use
                failed += 1
                print(f"gpu: {task}, n = {n}, batch {batch} on {where}: {type(error).__name__}: {error}")
                continue
            finally:
                torch.set_num_threads(threads)
            peak = torch.cuda.max_memory_allocated(where) / 2**20 if where.type == "cuda" else None
            print(f"gpu: {task}, n = {n}, batch {batch} on {where}, {count} threads: {batch / seconds:.3g} a second")
            rows.append(
                {
                    "gpu": name,
                    "task": task,
                    "n": n,
                    "batch": batch,
                    "device": where.type,
                    "threads": count,
                    "full": full,
                    "seconds": f"{seconds:.4g}",
                    "per_second": f"{batch / seconds:.4g}",
                    "repeats": repeats,
                    "peak_mb": "" if peak is None else f"{peak:.0f}",
                    "code": code_hash(measure),
                    **provenance(),
                }
            )
            write_rows(path, rows)
    return failed
