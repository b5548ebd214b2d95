"""Whether a picture can be believed: lesions put in and taken out, and what more or fewer measurements tell."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.attack import LAG, WEIGHT, disk_weight, fast_tv, grid_attack, scaled
from lib.operators import GOLDEN_ANGLE, MaskedFourier, add_noise, gaussian, radial_mask
from lib.phantoms import ellipses
from lib.runs.contrast import network
from lib.runs.section4 import LEVELS, TEST, device
from lib.runs.tables import RESULTS
from lib.tv import calibrated_lambda

N, LINES, SCREEN = 256, 40, 4
PLACES = ((100, 105), (100, 150))  # in the white matter of the slice
RADII, DRAWS = (1, 2, 3, 4), 1000
LESION = -0.25  # its contrast: grey matter is darker than white matter by about this in the slice, and so are lesions
LOWEST, HALVINGS = 0.0005, 7  # of the levels that are tried; the quotient of the last two is 1.04


@functools.cache
def brain() -> Tensor:
    """The slice of a brain that the explorer has, ``(256, 256)`` float32 in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(RESULTS / "explorer" / "brain.png").convert("L"))).float() / 255


# --- Lesions


def lesions(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""A disc c as the perturbation, :math:`e = \mathcal{A}c`, at this level.

    The case has the method ("tv" or "tira"), "in", and the radius in pixels; ``image`` is a place. ``contrast`` is the
    height of the disc; ``seen`` and ``shown`` are the parts of it that the perturbation r and the difference of the
    reconstructions have in the mean over the disc. From the slice with the disc, :math:`-e` takes it out: the same two
    vectors of measurements, and the same numbers.
    """
    method, _, radius = case.split()
    op, x, disc = _slice(method, image, float(radius))
    y, e = op.A(x), op.A(disc)
    contrast = noise_rel * float(torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e))
    images = torch.stack([y, y + contrast * e])
    if method == "tv":
        eta = noise_rel * float(torch.linalg.vector_norm(y))
        before, after = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3).solve(images)[0]
    else:
        with torch.no_grad():
            before, after = network("tira")(images)
    change, r = (_mean(a, disc) for a in (after - before, op.A_dagger(images[1] - images[0])))
    return {"contrast": contrast, "seen": float(r) / contrast, "shown": float(change) / contrast}, op


def hidden(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""The least level at which a lesion is put in, or a real one erased, while r shows a third of it at most.

    Put in: the mean over its disc changes by all of LESION. Erased: by all that the reconstruction of the slice with
    the lesion shows of it, ``full``. The perturbation is that of `pushed`, which may not be the best one. The level is
    found by bisection between LOWEST and ``noise_rel``; lambda is that of the level, or of the lowest calibrated. Where
    ``noise_rel`` is not enough, ``reached`` is 0, and ``shown`` says which part of it is reached there.
    """
    method, way, radius = case.split()
    op, x, disc = _slice(method, image, float(radius))
    sign = math.copysign(1, LESION if way == "in" else -LESION)  # of the change that is wanted
    lesion = LESION * disc
    y = op.A(x if way == "in" else x + lesion)
    size = float(torch.linalg.vector_norm(y))
    most = abs(LESION) / 3

    def outcome(level: float) -> tuple[float, float, float]:
        """The parts that are shown and seen, and the change that is all."""
        rec: Any = network("tira")
        if method == "tv":
            rec = fast_tv(op, calibrated_lambda(max(level, LEVELS[0]), LINES), level * size, tol=1e-3)
        e = pushed(rec, y, op, disc, sign, level * size, most)
        with torch.no_grad():
            every = torch.stack([y, y + e, op.A(x)])
            before, after, healthy = rec.solve(every)[0] if method == "tv" else rec(every)
        full = abs(LESION) if way == "in" else sign * float(_mean(healthy - before, disc))
        shown, seen = (sign * float(_mean(change, disc)) for change in (after - before, op.A_dagger(e)))
        return shown / full, seen / abs(LESION), full

    low, high = LOWEST, noise_rel
    shown, seen, full = outcome(high)
    reached = shown >= 1
    for _ in range(HALVINGS if reached else 0):
        middle = math.sqrt(low * high)
        found = outcome(middle)
        if found[0] >= 1:
            high, (shown, seen, full) = middle, found
        else:
            low = middle
    return {"level": high, "reached": float(reached), "shown": shown, "seen": seen, "full": full}, op


@torch.enable_grad()
def pushed(
    rec: Any, y: Tensor, op: MaskedFourier, disc: Tensor, sign: float, eta: float, most: float, steps: int = 10
) -> Tensor:
    r"""The e of norm ``eta`` at most that moves the mean of :math:`\mathrm{rec}(y + e)` over a disc most, up or down.

    The averaged ascent of `lib.attack.power_ascent`, for this linear objective. Each iterate is brought into the half
    space in which :math:`\mathcal{A}^\dagger e` moves the mean by ``most`` at most.
    """
    along = sign * op.A(disc) / disc.sum()  # Re <along, e> is sign times the mean of A^dagger e
    along = op.symmetrize(along) if op.real else along
    length = float(torch.linalg.vector_norm(along))
    unit = along / length

    def allowed(e: Tensor) -> Tensor:
        e = scaled(op.symmetrize(e) if op.real else e, torch.tensor(eta, device=e.device))
        part = float((unit.conj() * e).real.sum())
        if part <= most / length:
            return e
        rest = e - part * unit
        rest = rest * (torch.linalg.vector_norm(rest) > 1e-3 * eta)  # less is rounding, not a direction
        left = math.sqrt(eta**2 - (most / length) ** 2)
        return (most / length) * unit + scaled(rest, torch.tensor(left, device=e.device), otherwise=0 * rest)

    e, best = allowed(along), (-math.inf, along)
    state = rec.solve(y)[1] if hasattr(rec, "solve") else None
    for k in range(steps + 1):
        e.requires_grad_()
        image, state = rec.resume(y + e, state) if hasattr(rec, "resume") else (rec((y + e)[None])[0], None)
        value = sign * _mean(image, disc)
        if k >= min(LAG, steps) and float(value.detach()) > best[0]:
            best = float(value.detach()), e.detach()
        (g,) = torch.autograd.grad(value, e)
        tau = max(2 / (k + 2), WEIGHT)
        e = allowed(torch.lerp(e.detach(), scaled(g, torch.tensor(eta, device=g.device)), tau))
    return best[1]


def _slice(method: str, place: int, radius: float) -> tuple[MaskedFourier, Tensor, Tensor]:
    """The operator for the method, the slice, and the disc of a lesion."""
    op = MaskedFourier(radial_mask(N, LINES), real=method == "tv").to(device())
    return op, brain().to(op.device), disk_weight(N, PLACES[place], radius).to(op.device)


def _mean(image: Tensor, disc: Tensor) -> Tensor:
    """Of real parts over the disc."""
    return (image.real * disc).sum() / disc.sum()


# --- Can one tell?


def further(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""Whether k further frequencies, of the next radial line, tell an artifact from a spike that is there.

    An attack on TV leaves a spike of height h at one pixel. The object `with_spike` has one there, too, and exactly the
    measurements y + e; so they cannot tell. Further frequencies of the object, with Gaussian noise of the same level
    each, estimate the height that is there: least squares, after the rest of the reconstruction is taken off. An alarm
    is an estimate below h/2: ``power`` is the share of alarms for the artifact, ``false_alarm`` that for the object
    with the spike, over DRAWS draws of noise. For k = 0 the estimate is that of y + e, which both have. ``there``
    is how much brighter than x this object is at the pixel, in units of h.
    """
    k = int(case)
    op, x, y, e, artifact, shown = _attacked(noise_rel, image)
    at = divmod(int(artifact.abs().argmax()), N)
    height = float(artifact[at])
    delta = torch.zeros_like(x)
    delta[at] = 1
    rest = shown - height * delta  # the picture without its spike
    again = MaskedFourier(radial_mask(N, LINES + 1) & ~_mirrored(op.mask.cpu())).to(op.device) if k else op
    chosen = torch.randperm(again.m, generator=torch.Generator().manual_seed(image))[: k or op.m].to(op.device)
    spike = again.A(delta)[chosen]
    deviation = noise_rel * float(torch.linalg.vector_norm(y)) / math.sqrt(op.m)
    noise = deviation * gaussian((DRAWS, len(chosen)), seed=image).to(op.device, y.dtype)
    alarms = {}
    other = with_spike(x, e, height * delta, op)
    for name, thing in (("power", x), ("false_alarm", other)):
        measured = again.A(thing)[chosen] + noise if k else (y + e)[None, chosen]
        estimate = ((measured - again.A(rest)[chosen]) @ spike.conj()).real / spike.abs().square().sum()
        alarms[name] = float((estimate / height < 0.5).float().mean())
    return {"height": abs(height), "there": float((other - x)[at]) / height, **alarms}, again


def with_spike(x: Tensor, e: Tensor, spike: Tensor, op: MaskedFourier) -> Tensor:
    r"""The real image with the measurements :math:`\mathcal{A}x + e` that differs from x by the spike as far as it can.

    It is :math:`x + \mathcal{A}^\dagger e + P` spike, with P the projection on the real images that :math:`\mathcal{A}`
    does not see. As e need not be that of the spike, it is not x + spike; but where nothing is measured, neither k nor
    -k, it has the spectrum of x + spike. ``e`` is symmetric, see `MaskedFourier.symmetrize`, as that of an attack is.
    """
    whole = MaskedFourier(_mirrored(op.mask), real=True)
    return x + op.A_dagger(e).real + spike - whole.A_dagger(whole.A(spike)).real


def _mirrored(mask: Tensor) -> Tensor:
    """The frequencies k of a mask with all -k, modulo n: of a real image, one says what the other is."""
    back = -torch.arange(len(mask), device=mask.device) % len(mask)
    return mask | mask[back][:, back]


@functools.cache
def _attacked(noise_rel: float, image: int) -> tuple[MaskedFourier, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The operator, a phantom, its measurements, e of the attack on TV, its artifact, and the reconstruction."""
    op = MaskedFourier(radial_mask(N, LINES), real=True).to(device())
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)
    y = op.A(x)
    rec = fast_tv(op, calibrated_lambda(noise_rel, LINES), noise_rel * torch.linalg.vector_norm(y), tol=1e-3)
    found = grid_attack(rec, y, op, noise_rel, screen=SCREEN).best
    return op, x, y, found.e, found.artifact, rec.solve(y + found.e)[0]


# --- Halves of the lines


def halves(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""Whether parts of the lines show what all lines show, each part reconstructed alone.

    The case has what is looked at and the number k of parts; line number l belongs to part l modulo k. "artifact" is
    the spike of an attack on TV with 40 lines, "spike" one of the same height that the object has, "noise" the largest
    change that Gaussian noise of the same norm makes. ``height`` is its height with all lines, ``lowest`` and
    ``highest`` are the parts of it that the reconstructions show at the same pixel, with the same lambda.
    """
    what, k = case.split()[0], int(case.split()[1])
    op, x, y, e, artifact, _ = _attacked(noise_rel, image)
    at = divmod(int(artifact.abs().argmax()), N)
    delta = torch.zeros_like(x)
    delta[at] = artifact[at]
    data = {"artifact": y + e, "spike": op.A(x + delta), "noise": add_noise(y, noise_rel, seed=image)}[what]
    change = _change(op, data, y, noise_rel)
    at = divmod(int(change.abs().argmax()), N) if what == "noise" else at
    parts = []
    for part in range(k):
        mask = torch.stack([line(N, number) for number in range(part, LINES, k)]).any(0) & op.mask.cpu()
        mine = mask[op.mask.cpu()].to(op.device)
        piece = MaskedFourier(mask, real=True).to(op.device)
        parts.append(float(_change(piece, data[mine], y[mine], noise_rel)[at] / change[at]))
    return {"height": float(change[at].abs()), "lowest": min(parts), "highest": max(parts)}, op


def _change(op: MaskedFourier, data: Tensor, y: Tensor, noise_rel: float) -> Tensor:
    """What TV makes of the data beside what it makes of y."""
    eta = noise_rel * float(torch.linalg.vector_norm(y))
    rec = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3)
    after, before = rec.solve(torch.stack([data, y]))[0]
    return after - before


def line(n: int, number: int) -> Tensor:
    """One line of `lib.operators.radial_mask`, ``(n, n)`` bool."""
    k = torch.arange(n, dtype=torch.float64) - n // 2
    angle = number * GOLDEN_ANGLE
    return (k[:, None] * math.cos(angle) + k * math.sin(angle)).abs() <= 0.5
