"""Figures by name, each with where it comes from: ``python -m lib.figures 2 cover`` redraws two."""

import argparse
from collections.abc import Callable

import matplotlib
import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from lib.attack import fast_tv, grid_attack, unperturbed
from lib.figures import attack, cs_mri, explorer, method, networks, results, theory
from lib.figures.style import save, use_style
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs import attacks, table1, transfer
from lib.runs.attacks import Configuration, Outcome
from lib.runs.frames import EXAMPLE
from lib.runs.options import program
from lib.runs.section4 import LEVELS, LINES
from lib.runs.tables import RESULTS, read_table
from lib.tv import calibrated_lambda, reconstruct_tv

FIGURES = RESULTS / "figures"


def _example() -> tuple[Tensor, MaskedFourier]:
    return ellipses(1, **EXAMPLE)[0], MaskedFourier(radial_mask(256, 40), real=True)


def _outcome(**fields: object) -> Outcome:
    """The attack of Table 1 on image 0."""
    cell = Configuration(**fields)
    return attacks.kept(cell, 0) or attacks.attack(cell, 0, attacks.selected(cell, 0))


def _undersampling() -> Figure:
    x, op = _example()
    y = op.A(x)
    return cs_mri.undersampling(op.mask, x, op.A_dagger(y), reconstruct_tv(y, op, lam=1e-4, max_iter=500).image)


def _artifact(noise_rel: float = 0.04) -> Figure:
    x, op = _example()
    y = op.A(x)
    rec = fast_tv(op, calibrated_lambda(noise_rel, 40), noise_rel * torch.linalg.vector_norm(y))
    grid, (clean, _) = grid_attack(rec, y, op, noise_rel, screen=8), unperturbed(rec, y)
    return attack.artifact(x, grid.best.image_perturbation, clean, clean + grid.best.artifact, grid.mu)


def _cover(noise_rel: float = 0.01, mu: tuple[int, int] = (60, 60)) -> Figure:
    x, op = _example()
    y, delta = op.A(x), torch.zeros_like(x)
    delta[mu] = 1
    e = op.A(delta)  # the spike of Section 5
    e = e * (noise_rel * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e))
    clean, attacked = reconstruct_tv(torch.stack([y, y + e]), op, calibrated_lambda(noise_rel, 40)).image
    return attack.cover(x, op.A_dagger(e), clean, attacked, mu)


def _amplifications() -> dict[str, dict]:
    return {"our attack": table1.summary(), "authors' optimiser": table1.summary("adam"), "paper": table1.printed()}


def _factors() -> dict[int, float]:
    return {lines: 256**2 / int(radial_mask(256, lines).sum()) for lines in LINES}


def _transitions() -> pandas.Series:
    return theory.first_recoveries(read_table("theory_transition"))


NAMED: dict[str, Callable[[], Figure]] = {
    "1": lambda: attack.noise_and_feature(_example()[0], noise_rel=0.04, mu=(112, 128), radius=4, seed=1),
    "2": _undersampling,
    "3": _artifact,
    "4": lambda: results.attacked_levels({level: _outcome(noise_rel=level) for level in (0.005, 0.01, 0.04, 0.08)}),
    "5": lambda: results.attacked(_outcome(method="tira")),
    "6": lambda: results.transfers(transfer.shown(Configuration("tira"), 0), "tira"),
    "7": lambda: results.transfers(transfer.shown(Configuration("tv"), 0), "tv"),
    "amplification": lambda: results.amplification(_amplifications(), _factors()),
    "attack-iterations": lambda: method.attack_iterations(read_table("attack_iterations")),
    "attack-optimum": lambda: method.attack_optimum(read_table("attack_optimum")),
    "attack-strength": lambda: method.attack_strength(read_table("bench_attack")),
    "constant": lambda: theory.constants(_transitions()),
    "cover": _cover,
    "explorer-transfer": lambda: explorer.transfer(read_table("explorer/frames")),
    "growth": lambda: theory.growth(read_table("theory_growth")),
    "lambda": lambda: cs_mri.lambda_curves(read_table("lambda")),
    "networks-amplification": lambda: results.networks_amplification(_amplifications()),
    "networks-error": lambda: networks.networks_error(read_table("networks_error")),
    "peers": lambda: method.peers(read_table("bench_tv")),
    "phase": lambda: theory.phase(_transitions()),
    "radius": lambda: results.radius(attacks.current("sigma")),
    "gpu": lambda: method.gpu(read_table("gpu_speed")),
    "scaling": lambda: method.scaling(read_table("bench_tv_scaling")),
    "subsampling": lambda: theory.subsampling(read_table("theory_masks")),
    "tolerance": lambda: method.tolerance(read_table("tolerance")),
    "training": lambda: networks.training({m: read_table(f"train_{m}-compact") for m in ("tira", "tirafl")}),
    "transfer": lambda: results.transfer_matrices({level: transfer.matrix(level) for level in LEVELS}),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.figures",
        description="Rebuild figures into results/figures/.",
        epilog="example: python -m lib.figures 2 cover",
    )
    parser.add_argument("name", nargs="+", choices=list(NAMED), help="which figure")
    use_style()
    names = parser.parse_args(arguments).name
    for name in tqdm(names, unit="figure", disable=len(names) == 1):
        path = FIGURES / f"{'fig-' if name.isdigit() else ''}{name}.png"
        save(NAMED[name](), path)
        tqdm.write(str(path.relative_to(RESULTS.parent)))


if __name__ == "__main__":
    matplotlib.use("Agg")
    program(main)
