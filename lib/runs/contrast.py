"""A measure between l2 and l_inf: the worst local contrast at a scale, for TV and the networks."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from lib.attack import (
    Reconstruct,
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    localized_attack,
    location_grid,
    power_ascent,
    restarted_ascent,
    spike_perturbation,
    unperturbed,
)
from lib.networks import Reconstruction, load_network
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.section4 import METHODS, TEST, device
from lib.tv import calibrated_lambda

N, LINES, COUNT, STEPS = 256, 40, 4, 8  # locations in a row; steps of each ascent against a network
SIGMAS = (0.5, 2, 5, 15, 50, 362)  # pixels: from one to the whole image
CASES = tuple(f"{method} {sigma}" for method in METHODS for sigma in SIGMAS)


@functools.cache
def network(name: str) -> Reconstruction:
    """The compact "tira" or "tirafl"."""
    return load_network(name, "compact", device=device())


def local_contrast(image: Tensor, sigma: float) -> Tensor:
    r"""The largest local norm :math:`\max_\mu \|\phi^{\mu,\sigma} \odot x\|_2` of images ``(..., n, n)``, ``(...)``.

    The maximum is over all pixels :math:`\mu`; the disk is that of `lib.attack.disk_weight`. For :math:`\sigma < 1` it
    is the norm :math:`\|x\|_\infty`, for a disk that covers the image :math:`\|x\|_2`.
    """
    n = image.shape[-1]
    i = torch.fft.fftfreq(2 * n, 1 / (2 * n), dtype=torch.float64, device=image.device)  # differences of pixels
    disk = (i[:, None] ** 2 + i**2 <= sigma**2).double()
    square = image.abs().double().square()
    sums = torch.fft.irfft2(torch.fft.rfft2(square, s=(2 * n, 2 * n)) * torch.fft.rfft2(disk), s=(2 * n, 2 * n))
    return sums[..., :n, :n].amax((-2, -1)).clamp(min=0).sqrt()


def contrast(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    r"""The largest ratio of the `local_contrast` of artifact and perturbation at a scale, over all that was found.

    An attack with a disk of one radius may do more at another scale than the attack made for it: the maximum is over
    those of all SIGMAS.
    """
    method, sigma = case.split()[0], float(case.split()[1])
    tried, op = found(method, noise_rel, image)
    return {"local": max(float(local_contrast(rho, sigma) / local_contrast(r, sigma)) for rho, r in tried)}, op


@functools.lru_cache(maxsize=2)
def found(method: str, noise_rel: float, image: int) -> tuple[list[tuple[Tensor, Tensor]], MaskedFourier]:
    """Artifact and perturbation of the attack with each of SIGMAS, and the operator.

    The location is that of a coarse grid at which a spike does most under its disk.
    """
    op = MaskedFourier(radial_mask(N, LINES), real=method == "tv").to(device())
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)
    y = op.A(x)
    eta = noise_rel * float(torch.linalg.vector_norm(y))
    tv = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3)
    rec: Reconstruct = tv if method == "tv" else network(method)
    clean = unperturbed(rec, y)
    optimiser = power_ascent if method == "tv" else functools.partial(restarted_ascent, steps=STEPS)
    attacks = []
    for sigma in SIGMAS:
        spikes = []
        for mu in location_grid(N, 1 if sigma >= math.sqrt(2) * (N - 1) else COUNT):
            phi = disk_weight(N, mu, sigma).to(op.device)
            e = spike_perturbation(op, mu, eta)
            spikes.append((float(evaluate_perturbation(rec, y, op, e, phi, clean=clean).objective), phi))
        phi = max(spikes, key=lambda one: one[0])[1]
        one = localized_attack(rec, y, op, noise_rel, phi, optimiser=optimiser, clean=clean)
        attacks.append((one.artifact, one.image_perturbation))
    return attacks, op
