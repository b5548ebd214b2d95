"""Questions that the paper leaves open: one row a measurement; results/beyond.csv, drawn in ``notebooks/beyond.ipynb``.

Each question has its cases, noise levels and images, and a function that measures. The attack is that of Section 3.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lib.attack import THRESHOLD, Reconstruct, fast_tv, grid_attack, restarted_ascent, spike_perturbation
from lib.iterative import coil_operator, simulated_coils
from lib.masks import cartesian_mask, spiral_mask, uniform_mask, variable_density_mask
from lib.measures import amplification, peak, relative_error
from lib.operators import LinearOperator, MaskedFourier, add_noise, radial_mask
from lib.phantoms import ellipses
from lib.priors import SparseReconstruction, Transform, haar, haar_adjoint, identity
from lib.runs.anatomy import CASES as SLICES
from lib.runs.anatomy import anatomy, picture, picture_name
from lib.runs.contrast import CASES as SCALES
from lib.runs.contrast import contrast, network
from lib.runs.doubts import RADII, further, halves, hidden, lesions
from lib.runs.engine import Table
from lib.runs.guarantee import CASES as GUARANTEES
from lib.runs.guarantee import guarantee
from lib.runs.section4 import CALIBRATION, TEST, device
from lib.tv import calibrated_lambda, isotropic, separable

N, LINES, TOL = 256, 40, 1e-3
LAMBDAS = tuple(1e-4 * 2.0**k for k in range(12))  # from which each mask, prior and level takes its own
SPIKES = 100  # bright pixels of the image that is sparse itself
PRIOR_N, PRIOR_LINES = 128, 20  # smaller, since plain torch is slower than the loops for TV; n^2/m is nearly the same
COIL_TOL = 1e-6  # of conjugate gradients; with 1e-5 the residuals at n = 256 stay above TOL
SMALL_N, SMALL_LINES, SMALL_LAMBDA = 64, 10, 4e-3  # of the coils whose A is decomposed, a dense matrix
WEAK, ROUNDING = 0.1, 1e-12  # singular values below count as kernel, their squares as 0; the largest is 1

Make = Callable[[MaskedFourier, float, float], Reconstruct]  # from the operator, lambda and eta


@dataclass(frozen=True)
class Question:
    """What is measured, and for what.

    Attributes
    ----------
    measure : from a case, a noise level and the number of an image to numbers by name, and the operator.
    cases, levels, images : for what; the first levels and images come first.
    picture, picture_name : from a case and a level to a by-product and its file.
    """

    measure: Callable[[str, float, int], tuple[dict[str, float], LinearOperator]]
    cases: tuple[str, ...]
    levels: tuple[float, ...]
    images: int
    picture: Callable[[str, float], bytes] | None = None
    picture_name: Callable[[str, float], str] | None = None


# --- The attack, and lambda


def attacked(
    rec: Any, x: Tensor, y: Tensor, op: LinearOperator, noise_rel: float, *, count: int = 8, screen: int = 4
) -> dict[str, float]:
    """Amplification, peaks and clean error of the attack on ``rec``, an attack's map with a converged ``solve``.

    ``predicted`` is the amplification of a spike that is recovered exactly: n^2/m for a masked transform.
    """
    found = grid_attack(rec, y, op, noise_rel, count=count, screen=screen)
    exact = dataclasses.replace(rec, tol=TOL)
    clean, state = exact.solve(y)
    artifact = exact.solve(y + found.best.e, state)[0] - clean
    r = op.A_dagger(found.best.e)
    spike = spike_perturbation(op, found.mu, 1.0)
    return {
        "alpha": float(amplification(artifact, r)),
        "predicted": float(1 / (torch.linalg.vector_norm(op.A(_delta(op, found.mu))) * peak(op.A_dagger(spike)))),
        "rho_linf": float(peak(artifact)),
        "r_linf": float(peak(r)),
        "error": relative_error(clean.abs(), x),
    }


def _delta(op: LinearOperator, mu: Tensor) -> Tensor:
    delta = torch.zeros(op.n, op.n, device=op.device)
    delta[tuple(mu.tolist())] = 1
    return delta


def best_lambda(make: Make, x: Tensor, op: MaskedFourier, noise_rel: float) -> float:
    """Of LAMBDAS the one with the least error for Gaussian noise of this level."""
    y = add_noise(op.A(x), noise_rel, seed=CALIBRATION)
    errors = []
    for lam in LAMBDAS:
        rec: Any = make(op, lam, noise_rel * float(torch.linalg.vector_norm(y)))
        errors.append(relative_error(rec.solve(y)[0].abs(), x))
        if errors[-1] > 1.5 * min(errors):
            break
    return LAMBDAS[errors.index(min(errors))]


# --- Other masks


def mask_of(case: str) -> Tensor:
    """A mask with as many frequencies as the 40 radial lines have, or as nearly as its kind allows."""
    radial = radial_mask(N, LINES)
    m = int(radial.sum())
    makers: dict[str, Callable[[], Tensor]] = {
        "radial": lambda: radial,
        "Cartesian": lambda: cartesian_mask(N, m),
        "variable density": lambda: variable_density_mask(N, m),
        "uniform": lambda: uniform_mask(N, m),
        "spiral": lambda: spiral_mask(N, m),
    }
    return makers[case]()


def masks(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    """TV at one m; lambda is chosen for each mask."""
    op = MaskedFourier(mask_of(case), real=True).to(device())
    lam = _mask_lambda(case, noise_rel)
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)
    y = op.A(x)
    rec = fast_tv(op, lam, noise_rel * torch.linalg.vector_norm(y))
    return attacked(rec, x, y, op, noise_rel) | {"lam": lam}, op


@functools.cache
def _mask_lambda(case: str, noise_rel: float) -> float:
    op = MaskedFourier(mask_of(case), real=True).to(device())
    return best_lambda(fast_tv, ellipses(1, N, seed=CALIBRATION)[0].to(op.device), op, noise_rel)


# --- Other priors


def _sparse(
    op: MaskedFourier, lam: float, eta: float, transform: Transform = identity, adjoint: Transform = identity
) -> Reconstruct:
    threshold = THRESHOLD * float(eta) * op.n / op.m**0.5  # that of fast_tv
    return SparseReconstruction(op, lam, transform, adjoint, threshold, tol=1e-2)


PRIORS: dict[str, Make] = {
    "anisotropic TV": functools.partial(fast_tv, norm=separable),
    "isotropic TV": functools.partial(fast_tv, norm=isotropic),
    "Haar wavelet": functools.partial(_sparse, transform=haar, adjoint=haar_adjoint),
    "pixels": _sparse,
}


def prior_image(case: str, seed: int, image: int) -> Tensor:
    """A phantom, or for sparse pixels an image of SPIKES bright ones."""
    if case != "pixels":
        return ellipses(1, PRIOR_N, seed=seed, first=image)[0]
    drawn = torch.Generator().manual_seed(1000 * seed + image)
    x = torch.zeros(PRIOR_N**2)
    x[torch.randperm(PRIOR_N**2, generator=drawn)[:SPIKES]] = 0.5 + 0.5 * torch.rand(SPIKES, generator=drawn)
    return x.unflatten(0, (PRIOR_N, PRIOR_N))


def priors(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    """The radial mask of 20 lines at 128 x 128; lambda is chosen for each prior. The unknown is complex."""
    op = MaskedFourier(radial_mask(PRIOR_N, PRIOR_LINES)).to(device())
    lam = _prior_lambda(case, noise_rel)
    x = prior_image(case, TEST, image).to(op.device)
    y = op.A(x)
    rec = PRIORS[case](op, lam, noise_rel * float(torch.linalg.vector_norm(y)))
    return attacked(rec, x, y, op, noise_rel) | {"lam": lam}, op


@functools.cache
def _prior_lambda(case: str, noise_rel: float) -> float:
    op = MaskedFourier(radial_mask(PRIOR_N, PRIOR_LINES)).to(device())
    return best_lambda(PRIORS[case], prior_image(case, CALIBRATION, 0).to(op.device), op, noise_rel)


# --- Several coils


def coils(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    """TV with so many coils of 40 lines each, and one lambda for all, that of one coil: y has the same norm."""
    op = coil_operator(radial_mask(N, LINES), simulated_coils(int(case), N), tol=COIL_TOL)
    return _coils(op, calibrated_lambda(noise_rel, LINES), noise_rel, image), op


def small_coils(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    """The same with 64 x 64 pixels and 10 lines; "4 1e-6" are 4 coils and that tolerance of conjugate gradients."""
    count, *tol = case.split()
    sensitivities = simulated_coils(int(count), SMALL_N)
    op = coil_operator(radial_mask(SMALL_N, SMALL_LINES), sensitivities, tol=float(tol[0]) if tol else 1e-5)
    return _coils(op, SMALL_LAMBDA, noise_rel, image), op


def _coils(op: LinearOperator, lam: float, noise_rel: float, image: int) -> dict[str, float]:
    x = ellipses(1, op.n, seed=TEST, first=image)[0]
    y = op.A(x)
    rec = fast_tv(op, lam, noise_rel * torch.linalg.vector_norm(y))
    return attacked(rec, x, y, op, noise_rel, count=2, screen=1)


def singular_values(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    r"""The smallest singular value of the coils' :math:`\mathcal{A}`, and the share of those below WEAK, of all n^2.

    The smallest alone cannot tell masks apart: it is 0 as long as m < n^2. The share counts all directions that the
    measurements hardly see. They are the square roots of the eigenvalues of the dense A*A; no noise, no image.
    """
    op = coil_operator(radial_mask(SMALL_N, SMALL_LINES), simulated_coils(int(case), SMALL_N))
    pixels = torch.eye(SMALL_N**2, dtype=torch.float64).unflatten(-1, (SMALL_N, SMALL_N))
    normal = torch.cat([op.A_adjoint(op.A(chunk)).flatten(1) for chunk in pixels.split(256)])
    squares = torch.linalg.eigvalsh(normal)
    values = torch.where(squares > ROUNDING, squares, 0).sqrt()
    return {"smallest": float(values[0]), "weak": float((values < WEAK).double().mean())}, op


# --- Data consistency


def consistent(network: Reconstruct, op: MaskedFourier) -> Reconstruct:
    r"""The map :math:`y \mapsto z + \mathcal{A}^\dagger(y - \mathcal{A}z)`, z what the network makes of y."""

    def reconstruct(y: Tensor) -> Tensor:
        z = network(y)
        return z + op.A_dagger(y - op.A(z))

    return reconstruct


def consistency(case: str, noise_rel: float, image: int) -> tuple[dict[str, float], LinearOperator]:
    """Tira, and Tira followed by hard data consistency."""
    op = MaskedFourier(radial_mask(N, LINES)).to(device())
    x = ellipses(1, N, seed=TEST, first=image)[0].to(op.device)

    rec = network("tira") if case == "Tira" else consistent(network("tira"), op)
    found = grid_attack(rec, op.A(x), op, noise_rel, count=2, screen=1, screening_steps=0, optimiser=restarted_ascent)
    with torch.no_grad():
        error = relative_error(rec(op.A(x)).abs(), x)
    r = found.best.image_perturbation
    return {
        "alpha": float(found.best.amplification),
        "rho_linf": float(peak(found.best.artifact)),
        "r_linf": float(peak(r)),
        "error": error,
    }, op


# --- The table

COILS = ("1", "2", "4", "8", "16")
LESIONS = tuple(f"{method} in {radius}" for radius in RADII for method in ("tv", "tira"))
HIDDEN = tuple(f"{method} {way} {radius}" for radius in (2, 3, 4) for method in ("tv", "tira") for way in ("in", "out"))
HALVES = tuple(f"{what} {k}" for k in (2, 4) for what in ("artifact", "spike", "noise"))
QUESTIONS: Mapping[str, Question] = {
    "masks": Question(masks, ("radial", "Cartesian", "variable density", "uniform", "spiral"), (0.04, 0.01), 2),
    "priors": Question(priors, tuple(PRIORS), (0.04, 0.01), 2),
    "coils": Question(coils, COILS, (0.04,), 1),
    "small coils": Question(small_coils, (*COILS, "4 1e-6"), (0.04,), 3),
    "further": Question(further, ("0", "1", "2", "4", "8", "16", "32", "64"), (0.04, 0.01), 2),
    "lesions": Question(lesions, LESIONS, (0.01, 0.005), 2),
    "consistency": Question(consistency, ("Tira", "Tira, consistent"), (0.04,), 2),
    "contrast": Question(contrast, SCALES, (0.04,), 2),
    "guarantee": Question(guarantee, GUARANTEES, (0.0,), 2),
    "singular values": Question(singular_values, COILS, (0.0,), 1),
    "halves": Question(halves, HALVES, (0.04, 0.01), 2),
    "hidden lesions": Question(hidden, HIDDEN, (0.1,), 2),
    "anatomy": Question(anatomy, SLICES, (0.04, 0.01, 0.08), 1, picture, picture_name),
}


def cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Every question and case, so ordered that a part has fewer images, and before that fewer levels."""
    images, levels = (
        max(sizes) for sizes in zip(*((q.images, len(q.levels)) for q in QUESTIONS.values()), strict=True)
    )
    for image, k in itertools.product(range(images), range(levels)):
        for name, q in QUESTIONS.items():
            if image < q.images and k < len(q.levels):
                for case in q.cases:
                    yield {"question": name, "case": case, "noise_rel": q.levels[k], "image": image}


def compute(question: str, case: str, noise_rel: float, image: int) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """A row for each number that a case gives."""
    q = QUESTIONS[question]
    numbers, op = q.measure(case, noise_rel, image)
    cell = {"question": question, "case": case, "noise_rel": noise_rel, "image": image}
    rows = [{**cell, "quantity": k, "value": f"{v:.6g}", "n": op.n, "m": op.m} for k, v in numbers.items()]
    return rows, {name: q.picture(case, noise_rel) for name in files(cell) if q.picture}


def files(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The picture of a cell, if its question has pictures."""
    name = QUESTIONS[cell["question"]].picture_name
    return (name(cell["case"], cell["noise_rel"]),) if name else ()


TABLE = Table("beyond", cells, compute, groups=("question",), tolerance=lambda row: 1e-2, files=files)
