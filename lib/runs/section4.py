"""The experiments of Section 4 in numbers: masks, noise levels, methods, streams of phantoms, presets; the device."""

import os
from dataclasses import dataclass

import torch

from lib.networks import NETWORKS

LINES = (25, 40, 80)  # of the masks
LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.1)  # of Table 1, relative to the measurements
METHODS = ("tv", *NETWORKS)
# Seeds of the streams of phantoms, each for one use; nothing else may be measured on TEST, or trained with it
CALIBRATION, THEORY, TRAINING, VALIDATION, TEST = 3, 5, 21, 22, 23


@dataclass(frozen=True)
class Effort:
    """What a preset spends on a cell.

    Attributes
    ----------
    screen : of the locations, how many are refined for TV; None for all.
    network_screen : the same for a network.
    steps : steps of the authors' optimiser; they took 30.
    tol : relative duality gap of the TV reconstructions that are measured.
    """

    screen: int | None
    network_screen: int | None
    steps: int
    tol: float


PRESETS = {
    "quick": Effort(screen=2, network_screen=2, steps=10, tol=1e-2),
    # Table 1; what screening loses is in results/bench_attack.csv, for networks in the rows of the preset `paper`
    "laptop": Effort(screen=8, network_screen=4, steps=30, tol=1e-3),
    # the authors' search: for TV everywhere, for networks where their own response to a spike is highest
    "literal": Effort(screen=None, network_screen=8, steps=30, tol=1e-3),
    "paper": Effort(screen=None, network_screen=None, steps=30, tol=1e-3),
}


def device() -> torch.device:
    """Where this process computes: the processor, or the GPU that ``--device`` has named."""
    return torch.device(os.environ.get("LIB_DEVICE", "cpu"))
