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
from lib.measures import amplification
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
    r"""The attack with a disk of radius sigma, and what three measures say of it.

    The measures are ratios of the artifact and the perturbation r: ``local`` is that of their `local_contrast` at
    sigma, ``alpha`` of the norms in l_inf, ``l2`` of those in l2. The location is that of a coarse grid at which a
    spike does most under its disk.
    """
    method, sigma = case.split()[0], float(case.split()[1])
    op = MaskedFourier(radial_mask(N, LINES), real=method == "tv").to(device())
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)
    y = op.A(x)
    eta = noise_rel * float(torch.linalg.vector_norm(y))
    tv = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3)
    rec: Reconstruct = tv if method == "tv" else network(method)
    clean = unperturbed(rec, y)
    places = location_grid(N, 1 if sigma >= math.sqrt(2) * (N - 1) else COUNT)
    seen = []
    for mu in places:
        phi = disk_weight(N, mu, sigma).to(op.device)
        seen.append(evaluate_perturbation(rec, y, op, spike_perturbation(op, mu, eta), phi, clean=clean).objective)
    phi = disk_weight(N, places[int(torch.stack(seen).argmax())], sigma).to(op.device)
    optimiser = power_ascent if method == "tv" else functools.partial(restarted_ascent, steps=STEPS)
    found = localized_attack(rec, y, op, noise_rel, phi, optimiser=optimiser, clean=clean)
    rho, r = found.artifact, found.image_perturbation
    return {
        "local": float(local_contrast(rho, sigma) / local_contrast(r, sigma)),
        "alpha": float(amplification(rho, r)),
        "l2": float(torch.linalg.vector_norm(rho) / torch.linalg.vector_norm(r)),
    }, op
