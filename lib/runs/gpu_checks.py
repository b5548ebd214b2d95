"""Whether another device computes the numbers that the CPU computes: results/gpu_checks.csv.

Each check is a function from a device to a tensor. Its deviation is the relative distance, in the l2 norm, of what the
device gives from what the CPU of the same machine gives.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from lib.attack import disk_weight, fast_tv, localized_attack
from lib.networks import LINES, N, load_network, read_manifest
from lib.operators import MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.runs.provenance import code_hash, provenance
from lib.runs.section4 import VALIDATION
from lib.runs.tables import write_rows
from lib.tv import TVReconstruction, calibrated_lambda, isotropic, reconstruct_tv

NOISE = 0.04
Compute = Callable[[torch.device], Tensor]


def problem(n: int, dtype: torch.dtype, device: torch.device, real: bool = False) -> tuple[Tensor, MaskedFourier]:
    """Noisy measurements ``(2, m)`` of phantoms, drawn on the CPU, and their operator, on a device."""
    op = MaskedFourier(radial_mask(n, LINES * n // N), real)
    y = op.A(ellipses(2, n, seed=VALIDATION).to(dtype.to_real()))
    return add_noise(y, NOISE, seed=0).to(device), op.to(device)


def measured(n: int, device: torch.device) -> Tensor:
    """What the operator and its adjoint give."""
    y, op = problem(n, torch.complex128, device)
    real = op.A(op.A_adjoint(y).real)
    return torch.cat([op.A_adjoint(y).flatten(), real.flatten(), op.A(op.A_dagger(real)).flatten()])


def solved(n: int, dtype: torch.dtype, real: bool, tol: float, device: torch.device) -> Tensor:
    """The TV reconstructions."""
    y, op = problem(n, dtype, device, real)
    return reconstruct_tv(y, op, calibrated_lambda(NOISE, LINES), tol=tol).image


def iterated(n: int, device: torch.device) -> Tensor:
    """The differentiable iterations, with a norm that has no compiled loop."""
    y, op = problem(n, torch.complex128, device)
    return TVReconstruction(op, calibrated_lambda(NOISE, LINES), norm=isotropic)(y)


def derivative(n: int, real: bool, device: torch.device) -> Tensor:
    """The gradient of the squared norm of the image through TV's iterations."""
    y, op = problem(n, torch.complex128, device, real)
    image = TVReconstruction(op, calibrated_lambda(NOISE, LINES))(y.requires_grad_())
    (g,) = torch.autograd.grad(image.abs().square().sum(), y)
    return g


def attacked(n: int, real: bool, device: torch.device) -> Tensor:
    """The amplification of an attack at two locations."""
    y, op = problem(n, torch.complex128, device, real)
    reconstruct = fast_tv(op, calibrated_lambda(NOISE, LINES), NOISE * y[0].norm())
    phi = disk_weight(n, torch.tensor([(n // 4, n // 2), (n // 2, n // 2)]), sigma=5)
    return localized_attack(reconstruct, y[0], op, NOISE, phi).amplification


def network_image(key: str, tf32: bool, device: torch.device) -> Tensor:
    """What a published network makes of the measurements, with or without TF32."""
    y, _ = problem(N, torch.complex64, device)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        return load_network(*key.split("-"), device=device)(y)
    finally:
        torch.backends.cudnn.allow_tf32 = before


def network_gradient(key: str, device: torch.device) -> Tensor:
    """Of one image, as attacks follow it; in bfloat16 where the device is fast at that."""
    y, _ = problem(N, torch.complex64, device)
    y = y[:1].requires_grad_()
    image, _ = load_network(*key.split("-"), device=device).resume(y)
    (g,) = torch.autograd.grad(image[:, 90:110, 90:110].abs().square().sum(), y)
    return g / g.norm()


def checks(full: bool) -> Iterator[tuple[str, Compute, float]]:
    """Name, function and the largest deviation that is allowed, of each check.

    In double precision only rounding differs. In single precision and at the tolerance of every day a solver may stop
    ten iterations earlier. For networks with TF32 and for gradients in bfloat16 it is the precision that these have.
    """
    n, part = (256 if full else 64), functools.partial
    single, double = torch.complex64, torch.complex128
    yield "phantoms", lambda device: ellipses(4, n, seed=VALIDATION, device=device), 1e-2  # a pixel on an edge
    yield "operator", part(measured, n), 1e-12
    for real, domain in ((True, "real"), (False, "complex")):
        yield f"solver, {domain}", part(solved, n, double, real, 1e-5), 1e-8
        yield f"solver, {domain}, single precision", part(solved, n, single, real, 1e-3), 5e-3
        yield f"derivative, {domain}", part(derivative, n, real), 1e-8
        yield f"attack, {domain}", part(attacked, n, real), 1e-2
    yield "iterations, isotropic", part(iterated, n), 1e-8
    for key in sorted(read_manifest(), reverse=True)[: None if full else 1]:
        yield key, part(network_image, key, False), 1e-4
        yield f"{key}, gradient", part(network_gradient, key), 0.35
        if full:
            yield f"{key}, TF32", part(network_image, key, True), 1e-2


def check(device: torch.device, name: str, full: bool, end: float, path: Path) -> int:
    """Run the checks until the time ``end`` (of `time.monotonic`), write a row of each, and return how many failed."""
    rows: list[dict[str, object]] = []
    for what, compute, limit in checks(full):
        if time.monotonic() > end:
            print(f"gpu: no time for the checks from {what!r} on")
            break
        seconds, values, fault, deviation = [], [], "", math.inf
        try:
            for where in (torch.device("cpu"), device):
                start = time.perf_counter()
                values.append(compute(where).detach().cpu())
                seconds.append(f"{time.perf_counter() - start:.3f}")
            deviation = float((values[1] - values[0]).norm() / values[0].norm())
            fault = "" if math.isfinite(deviation) else "not finite"
        except Exception as error:  # one that fails says so, and the others are still of use
            fault = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        passed = not fault and deviation <= limit
        print(f"gpu: {what}: {fault or f'deviation {deviation:.1e}, allowed {limit:g}'}{'' if passed else ': FAILED'}")
        rows.append(
            {
                "gpu": name,
                "check": what,
                "full": full,
                "deviation": "" if fault else f"{deviation:.2e}",
                "limit": limit,
                "passed": passed,
                "fault": fault,
                "seconds_cpu": seconds[0] if seconds else "",
                "seconds_gpu": seconds[1] if len(seconds) > 1 else "",
                "code": code_hash(check),
                **provenance(),
            }
        )
        write_rows(path, rows)
    return sum(not row["passed"] for row in rows)
