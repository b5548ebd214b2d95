"""The perturbations that are kept, for the images that chapters and figures show: results/perturbations."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.runs.tables import ATTACK, RESULTS, is_whole, key_of

SHOWN = {"image": 0, "optimiser": "ours", "preset": "laptop", "sigma": 5.0, "n": 256}  # in the chapters


def kept_files(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The file of a cell's perturbation, from results/: only for those of `SHOWN`."""
    if any(cell[name] != value for name, value in SHOWN.items()):
        return ()
    key = json.dumps(key_of(cell, (*ATTACK, "setting")))
    return (f"perturbations/{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz",)


def packed(e: Tensor, mu: Tensor) -> bytes:
    """A perturbation ``(m,)`` and its location ``(2,)`` as the bytes of an npz file, in single precision."""
    file = io.BytesIO()
    np.savez(file, e=e.to(torch.complex64).numpy(), mu=np.asarray(mu))
    return file.getvalue()


def unpacked(files: Sequence[str]) -> tuple[Tensor, Tensor] | None:
    """Perturbation and location from the file of a cell, if it has one and that is there and whole."""
    if not files or not is_whole(RESULTS / files[0]):
        return None
    with np.load(RESULTS / files[0], allow_pickle=False) as content:
        return torch.from_numpy(content["e"]), torch.from_numpy(content["mu"])
