"""The long runs of the chapter on Section 5; results/theory_*.csv."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks, theory
from lib.attack import fast_tv, grid_attack
from lib.measures import amplification, peak, relative_error
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.engine import Found, Table, grid
from lib.runs.section4 import LINES, THEORY
from lib.tv import calibrated_lambda, reconstruct_tv

VERSIONS = {"numpy": np.__version__, "scipy": scipy.__version__}

TRIALS = 100  # random signals and frequency orders for each cell of the phase diagrams
DIAGRAM_N = 256
DIAGRAM_S = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CONSTANT_N = (64, 128, 256, 512, 1024, 2048)
CONSTANT_S = (2, 4, 8)
SEEDS, PROBLEMS = range(10), ("l1", "tv")
GROWTH_C = 1.5  # m = ceil(C s log n)
FEW_N, FEW_M = 256, (8, 12, 16, 24, 32)  # from too few measurements to enough
MASK_LINES = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200)
MASK_IMAGES, MASK_LAM, MASK_TOL, MASK_MAX_ITER = 3, 1e-4, 1e-3, 5000
MASK_NOISE, MASK_SCREEN = 0.04, 4  # of the attacks: noise level, and how many of 64 locations are refined


def _methods(tv: bool) -> tuple[Callable[..., theory.Certificate], Callable[..., theory.Pursuit]]:
    return (theory.certify_tv, theory.tv_pursuit) if tv else (theory.certify_l1, theory.basis_pursuit)


def recovers(x: NDArray, omega: NDArray, tv: bool) -> bool | None:
    """Whether x is the unique minimiser, with a proof either way; None where neither was found.

    Yes: a dual certificate, of least norm or from the solver. No: a signal with the same measurements and a smaller
    objective, by more than the rounding errors of its measurements can explain.
    """
    certify, pursue = _methods(tv)
    if certify(x, omega).unique:
        return True
    y, objective = theory.measure(x, omega), np.abs(theory.gradient(x) if tv else x).sum()
    for tol in (1e-3, 1e-8):  # a rough solution is often enough for a proof
        found = pursue(y, omega, len(x), tol=tol)
        if certify(x, omega, found.dual).unique:
            return True
        # a signal with exactly these measurements lies within `residual` in l2: within sqrt(n) residual in l1, and
        # its gradient within twice that
        if found.objective + 2 * math.sqrt(len(x)) * found.residual + 1e-12 * objective < objective:
            return False
    return None


def first_recovery(x: NDArray, order: NDArray, tv: bool) -> tuple[int, int]:
    """The least m for which x is recovered from the first m frequencies of ``order``, and the undecided on the way.

    If x is the unique minimiser for some frequencies, it is so for more. So the least m is found by bisection, and if
    ``order`` is random, the probability of recovery from m random frequencies is that of the least m being <= m.
    For TV the frequency 0 is added. An undecided instance counts as not recovered.
    """
    undecided = 0

    def succeeds(m: int) -> bool:
        nonlocal undecided
        omega = np.union1d(order[:m], [0]) if tv else np.sort(order[:m])
        verdict = recovers(x, omega, tv)
        undecided += verdict is None
        return bool(verdict)

    low, high = 0, min(len(order), 8)  # not recovered from low, which is certain for 0 if x is not constant
    while high < len(order) and not succeeds(high):
        low, high = high, min(2 * high, len(order))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return high, undecided


def _comb(n: int, s: int, rng: np.random.Generator) -> NDArray:
    """s equal spikes at equal distances: the extreme case of [8], with all its measurements at multiples of s."""
    return np.roll((np.arange(n) % (n // s) == 0).astype(float), 1)


SIGNALS: dict[str, tuple[Callable[[int, int, np.random.Generator], NDArray], bool]] = {
    "spikes": (theory.spike_train, False),
    "comb": (_comb, False),
    "steps": (theory.steps, True),
    "steps and spike": (lambda n, s, rng: theory.steps(n, s - 2, rng) + theory.spike(n), True),
}
ORDERS = {"uniform": lambda n, rng: rng.permutation(n) - n // 2 + 1, "low": theory.low_frequencies_first}


def transition_cells(rows: pd.DataFrame) -> list[dict[str, object]]:
    """All cells of results/theory_transition.csv; s counts non-zero entries, of the gradient for steps."""
    cells = [("spikes", "uniform", DIAGRAM_N, s) for s in DIAGRAM_S]
    cells += [("steps", "uniform", DIAGRAM_N, s) for s in DIAGRAM_S]
    cells += [(signal, "uniform", n, s) for n in CONSTANT_N for s in CONSTANT_S for signal in ("spikes", "steps")]
    cells += [("comb", "uniform", n, s) for n in CONSTANT_N for s in CONSTANT_S]
    cells += [(signal, order, DIAGRAM_N, 6) for signal in ("steps", "steps and spike") for order in ORDERS]
    fixed = {"trials": TRIALS, "seed": THEORY}
    return [dict(zip(("signal", "order", "n", "s"), cell, strict=True)) | fixed for cell in dict.fromkeys(cells)]


def transition(signal: str, order: str, n: int, s: int, trials: int, seed: int) -> Found:
    """One row of results/theory_transition.csv: the first recoveries of random instances, sorted."""
    checks.one_of("transition", "signal", signal, list(SIGNALS))
    checks.one_of("transition", "order", order, list(ORDERS))
    checks.integer("transition", "trials", trials, 1)
    make, tv = SIGNALS[signal]
    first, undecided = [], 0
    for trial in range(trials):
        rng = np.random.default_rng([seed, n, s, trial])
        x = make(n, s, rng)
        m, unknown = first_recovery(x, ORDERS[order](n, rng), tv)
        first.append(m)
        undecided += unknown
    return [{"undecided": undecided, "first_m": " ".join(map(str, sorted(first))), **VERSIONS}], {}


def quantile(values: ArrayLike, probability: float) -> tuple[int, int, int]:
    """The quantile of a sample, and a confidence interval of 95 % between two of its order statistics.

    The interval assumes nothing about the distribution: the number of values below the true quantile is binomial. Its
    upper end is the largest value where the sample is too small for more.
    """
    probability = checks.number("quantile", "probability", probability, 0, 1)
    values = np.sort(np.asarray(values))
    count = checks.integer("quantile", "len(values)", len(values), 1)
    middle = math.ceil(probability * count) - 1
    low = int(scipy.stats.binom.ppf(0.025, count, probability)) - 1
    high = int(scipy.stats.binom.ppf(0.975, count, probability))
    return int(values[middle]), int(values[max(low, 0)]), int(values[min(high, count - 1)])


def constant(n: int, s: int, values: ArrayLike, epsilon: float = 0.05) -> tuple[float, float, float]:
    r"""The C that makes :math:`C s \log(n) \log(1/\varepsilon)` the measured quantile, and its confidence interval."""
    unit = s * math.log(n) * math.log(1 / epsilon)
    middle, low, high = quantile(values, 1 - epsilon)
    return middle / unit, low / unit, high / unit


def growth(problem: str, log2_n: int, seed: int) -> Found:
    """One row of results/theory_growth.csv: x and x + spike at one n, solved up to 2^14 and certified at every n.

    m = ceil(C s log n) with s = 4 non-zero entries of x + spike (l1) or s = 6 of its gradient (TV).
    """
    tv, n = problem == "tv", 2**log2_n
    s = 6 if tv else 4
    m = min(n, math.ceil(GROWTH_C * s * math.log(n)))
    rng = np.random.default_rng([THEORY, log2_n, seed, tv])
    omega = theory.sample_frequencies(n, m, rng, zero=tv)
    x = theory.steps(n, s - 2, rng) if tv else theory.spike_train(n, s - 1, rng)
    delta = theory.spike(n)
    certify, pursue = _methods(tv)
    solved_linf = solved_l2 = ""
    duals: tuple[NDArray | None, NDArray | None] = None, None
    if log2_n <= 14:
        y, e = theory.measure(x, omega), theory.measure(delta, omega)
        before, after = pursue(y, omega, n), pursue(y + e, omega, n)
        rho, r = after.signal - before.signal, theory.zero_filled(e, omega, n)
        solved_linf = f"{amplification(rho, r, axes=1):.9g}"
        solved_l2 = f"{np.linalg.norm(rho) / np.linalg.norm(r):.9g}"
        duals = before.dual, after.dual
    proofs = []
    for signal, dual in zip((x, x + delta), duals, strict=True):
        proof = certify(signal, omega)
        proofs.append(certify(signal, omega, dual) if dual is not None and not proof.unique else proof)
    found = theory.amplification(delta, omega)
    row = {
        "s": s,
        "m": len(omega),
        "solved_linf": solved_linf,
        "solved_l2": solved_l2,
        "certified": all(proof.unique for proof in proofs),
        "margin": f"{min(proof.margin for proof in proofs):.6g}",
        "singular_value": f"{min(proof.singular_value for proof in proofs):.6g}",
        "allowance": f"{max(proof.allowance for proof in proofs):.2e}",
        "linf": f"{found.linf:.9g}",
        "l2": f"{found.l2:.9g}",
        **VERSIONS,
    }
    return [row], {}


def few(problem: str, m: int, seed: int) -> Found:
    """One row of results/theory_few.csv: whether the artifact of a spike is the spike, and whether that is certified.

    ``deviation`` is the largest entry of rho - delta, where delta has the height 1.
    """
    tv = problem == "tv"
    rng = np.random.default_rng([THEORY, FEW_N, m, seed, tv])
    omega = theory.sample_frequencies(FEW_N, m, rng, zero=tv)
    x = theory.steps(FEW_N, 4, rng) if tv else theory.spike_train(FEW_N, 3, rng)
    delta = theory.spike(FEW_N)
    certify, pursue = _methods(tv)
    signals = x, x + delta
    found = [pursue(theory.measure(signal, omega), omega, FEW_N) for signal in signals]
    rho = found[1].signal - found[0].signal
    proofs = [certify(s, omega).unique or certify(s, omega, f.dual).unique for s, f in zip(signals, found, strict=True)]
    row = {
        "certified": all(proofs),
        "deviation": f"{np.abs(rho - delta).max():.3g}",
        "alpha": f"{amplification(rho, theory.zero_filled(theory.measure(delta, omega), omega, FEW_N), axes=1):.6g}",
        **VERSIONS,
    }
    return [row], {}


def masks(lines: int, image: int, seed: int) -> Found:
    """One row of results/theory_masks.csv: in two dimensions, what spikes and attacks are amplified by.

    The spike is that of Section 5: no noise, height 1 in the middle of the image, and a small lambda instead of the
    constraint. ``error`` is that of the clean reconstruction: phantoms are shaded, so that their recovery is not exact.
    The attack is that of Section 3 at MASK_NOISE, with the lambda calibrated for the nearest mask of 25 to 80 lines.
    """
    op, x = MaskedFourier(radial_mask(256, lines), real=True), ellipses(1, seed=seed, first=image)[0]
    delta = torch.zeros_like(x)
    delta[128, 128] = 1
    y, e = op.A(x), op.A(delta)
    results = reconstruct_tv(torch.stack([y, y + e]), op, MASK_LAM, tol=MASK_TOL, max_iter=MASK_MAX_ITER)
    clean, spiked = results.image
    rho, r = spiked - clean, op.A_dagger(e)
    lam = calibrated_lambda(MASK_NOISE, min(max(lines, LINES[0]), LINES[-1]))
    reconstruct = fast_tv(op, lam, MASK_NOISE * torch.linalg.vector_norm(y))
    attack = grid_attack(reconstruct, y, op, MASK_NOISE, screen=MASK_SCREEN).best
    row = {
        "m": op.m,
        "subsampling": f"{op.n**2 / op.m:.6g}",
        "spike": f"{float(amplification(rho, r)):.6g}",
        "height": f"{float(peak(rho)):.6g}",
        "attack": f"{float(attack.amplification):.6g}",
        "error": f"{relative_error(clean, x):.4g}",
        "lam": MASK_LAM,
        "attack_noise": MASK_NOISE,
        "attack_lam": f"{lam:.6g}",
        "converged": bool(results.converged.all()),
        "largest_relative_gap": f"{float((results.gap / results.objective).max()):.2e}",
        **VERSIONS,
    }
    return [row], {}


GROWTH = Table(
    "theory_growth", grid(log2_n=range(6, 25), problem=PROBLEMS, seed=SEEDS), growth, groups=("problem", "log2_n")
)
FEW = Table("theory_few", grid(m=FEW_M, problem=PROBLEMS, seed=SEEDS), few, groups=("problem", "m"))
MASKS = Table("theory_masks", grid(lines=MASK_LINES, image=range(MASK_IMAGES), seed=[THEORY]), masks, groups=("lines",))
TRANSITION = Table("theory_transition", transition_cells, transition, groups=("signal", "order", "n"))
