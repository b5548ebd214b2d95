"""The attack of Section 3 on slices of a brain, for TV and Tira."""

from __future__ import annotations

import functools
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.attack import Reconstruct, fast_tv, grid_attack, restarted_ascent
from lib.measures import amplification, peak, relative_error
from lib.operators import MaskedFourier, radial_mask
from lib.runs.contrast import network
from lib.runs.section4 import device
from lib.runs.tables import RESULTS
from lib.tv import calibrated_lambda

N, LINES = 256, 40
HEIGHTS = (-24, -8, 8, 24, 40, 56)  # mm above the origin; book/brain.py cuts the slices out
WHITE = 2.0  # the brightest grey value of a picture that is kept; artifacts are brighter than 1
CASES = tuple(f"{method} {height}" for method in ("tv", "tira") for height in HEIGHTS)


def brain_slice(height: int) -> Tensor:
    """An axial slice of the MNI T1 template, ``(256, 256)`` float32 in [0, 1]."""
    file = RESULTS / "slices" / f"{height}.png"
    return torch.from_numpy(np.array(Image.open(file).convert("L"))).float() / 255


def anatomy(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], MaskedFourier]:
    """The attack at the location of the highest artifact, as on the phantoms; the case has the method and the slice."""
    numbers, _, op = _attacked(case, noise_rel)
    return numbers, op


def picture(case: str, noise_rel: float) -> bytes:
    """The reconstruction under attack as a PNG, in which WHITE is 255."""
    shown = (_attacked(case, noise_rel)[1] / WHITE).clamp(0, 1)
    content = io.BytesIO()
    Image.fromarray((255 * shown).round().byte().cpu().numpy()).save(content, "PNG", optimize=True)
    return content.getvalue()


def picture_name(case: str, noise_rel: float) -> str:
    """Where it is kept, seen from the folder of the table."""
    return f"slices/{case.replace(' ', '')}-{100 * noise_rel:g}.png"


def read_picture(case: str, noise_rel: float) -> Tensor:
    """The kept picture, ``(256, 256)`` float32."""
    file = RESULTS / picture_name(case, noise_rel)
    return WHITE * torch.from_numpy(np.array(Image.open(file))).float() / 255


@functools.lru_cache(1)
def _attacked(case: str, noise_rel: float) -> tuple[dict[str, float], Tensor, MaskedFourier]:
    method, height = case.split()
    op = MaskedFourier(radial_mask(N, LINES), real=method == "tv").to(device())
    x = brain_slice(int(height)).to(op.device)
    y = op.A(x)
    if method == "tv":
        eta = noise_rel * float(torch.linalg.vector_norm(y))
        rec: Reconstruct = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=1e-3)
        found = grid_attack(rec, y, op, noise_rel, screen=4)
        clean = rec.solve(y)[0]  # type: ignore[attr-defined]
    else:
        rec = network("tira")
        found = grid_attack(rec, y, op, noise_rel, count=4, screen=1, screening_steps=0, optimiser=restarted_ascent)
        with torch.no_grad():
            clean = rec(y[None])[0]
    rho, r = found.best.artifact, found.best.image_perturbation
    numbers = {
        "alpha": float(amplification(rho, r)),
        "rho_linf": float(peak(rho)),
        "r_linf": float(peak(r)),
        "error": relative_error(clean.abs(), x),
    }
    return numbers, (clean + rho).abs(), op
