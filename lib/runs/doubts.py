"""Whether a picture can be believed: lesions put in and taken out, and what further measurements tell of a spike."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.attack import disk_weight, fast_tv, grid_attack
from lib.networks import Reconstruction, load_network
from lib.operators import MaskedFourier, gaussian, radial_mask
from lib.phantoms import ellipses
from lib.runs.section4 import TEST, device
from lib.runs.tables import RESULTS
from lib.tv import calibrated_lambda

N, LINES, SCREEN = 256, 40, 4
PLACES = ((100, 105), (100, 150))  # in the white matter of the slice
RADII, DRAWS = (1, 2, 3, 4), 1000


@functools.cache
def brain() -> Tensor:
    """The slice of a brain that the explorer has, ``(256, 256)`` float32 in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(RESULTS / "explorer" / "brain.png").convert("L"))).float() / 255


@functools.cache
def tira() -> Reconstruction:
    """The compact Tira."""
    return load_network("tira", "compact", device=device())


# --- Lesions


def lesions(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""A disc c as the perturbation, :math:`e = \pm\mathcal{A}c`, at this level.

    The case has the method ("tv" or "tira"), "in" or "out", and the radius in pixels; ``image`` is a place.
    ``contrast`` is the height of the disc; ``seen`` and ``shown`` are the parts of it that the perturbation r and the
    difference of the reconstructions have in the mean over the disc. Where it is taken out, the slice has it and e
    removes it.
    """
    method, direction, radius = case.split()
    op, x = MaskedFourier(radial_mask(N, LINES), real=method == "tv").to(device()), brain().to(device())
    disc = disk_weight(N, PLACES[image], float(radius)).to(op.device)
    y, e = op.A(x), op.A(disc)
    contrast = noise_rel * float(torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e))
    with_it, without = y + contrast * e, y
    images = torch.stack([without, with_it] if direction == "in" else [with_it, without])
    if method == "tv":
        eta = noise_rel * float(torch.linalg.vector_norm(y))
        before, after = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3).solve(images)[0]
    else:
        with torch.no_grad():
            before, after = tira()(images)
    change, r = ((a.real * disc).sum() / disc.sum() for a in (after - before, op.A_dagger(images[1] - images[0])))
    sign = 1 if direction == "in" else -1
    return {"contrast": contrast, "seen": sign * float(r) / contrast, "shown": sign * float(change) / contrast}, op


# --- Can one tell?


def further(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""Whether k further frequencies, of the next radial line, tell an artifact from a spike that is there.

    An attack on TV leaves a spike of height h at one pixel. Had the object such a spike, its 40 lines could be the same
    y + e; so they cannot tell. Further frequencies of the object, with Gaussian noise of the same level each,
    estimate the height that is there: least squares, after the rest of the reconstruction is taken off. An alarm is an
    estimate below h/2: ``power`` is the share of alarms for the artifact, ``false_alarm`` that for an object with the
    spike, over DRAWS draws of noise. For k = 0 the estimate is that of y + e.
    """
    k = int(case)
    op, x, y, e, artifact, shown = _attacked(noise_rel, image)
    at = divmod(int(artifact.abs().argmax()), N)
    height = float(artifact[at])
    delta = torch.zeros_like(x)
    delta[at] = 1
    rest = shown - height * delta  # the picture without its spike
    again = MaskedFourier(radial_mask(N, LINES + 1) & ~op.mask.cpu()).to(op.device) if k else op
    chosen = torch.randperm(again.m, generator=torch.Generator().manual_seed(image))[: k or op.m].to(op.device)
    spike = again.A(delta)[chosen]
    deviation = noise_rel * float(torch.linalg.vector_norm(y)) / math.sqrt(op.m)
    noise = deviation * gaussian((DRAWS, len(chosen)), seed=image).to(op.device, y.dtype)
    alarms = {}
    for name, there in (("power", 0.0), ("false_alarm", height)):
        measured = again.A(x + there * delta)[chosen] + noise if k else (y + e)[None, chosen]
        estimate = ((measured - again.A(rest)[chosen]) @ spike.conj()).real / spike.abs().square().sum()
        alarms[name] = float((estimate / height < 0.5).float().mean())
    return {"height": abs(height), **alarms}, again


@functools.cache
def _attacked(noise_rel: float, image: int) -> tuple[MaskedFourier, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The operator, a phantom, its measurements, e of the attack on TV, its artifact, and the reconstruction."""
    op = MaskedFourier(radial_mask(N, LINES), real=True).to(device())
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)
    y = op.A(x)
    rec = fast_tv(op, calibrated_lambda(noise_rel, LINES), noise_rel * torch.linalg.vector_norm(y), tol=1e-3)
    found = grid_attack(rec, y, op, noise_rel, screen=SCREEN).best
    return op, x, y, found.e, found.artifact, rec.solve(y + found.e)[0]
