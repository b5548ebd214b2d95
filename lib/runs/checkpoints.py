"""Checkpoints of a training: everything that its next step depends on, in one file."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib.networks import Reconstruction
from lib.runs.tables import write_bytes

WARM_UP = 50  # steps in which the learning rate rises
LONGEST_STEP = 60.0  # seconds that a step can count for: a machine asleep is not at work


@dataclass
class Clock:
    """How far a training is: over its whole life, and in the present run of the learning rate from peak to zero."""

    step: int = 0
    seconds: float = 0.0
    run: int = 0
    run_step: int = 0
    run_seconds: float = 0.0
    progress: float = 0.0  # of the run, 0 to 1
    compared: bool = True  # with what is published; until then a finished run is not followed by another

    def tick(self, seconds: float, minutes: float | None, steps: int | None) -> None:
        seconds = min(seconds, LONGEST_STEP)
        self.step, self.seconds = self.step + 1, self.seconds + seconds
        self.run_step, self.run_seconds = self.run_step + 1, self.run_seconds + seconds
        spent = [self.run_step / steps] if steps else []
        spent += [self.run_seconds / (60 * minutes)] if minutes else []
        self.progress, self.compared = min(1.0, max(spent)), False

    def rate(self) -> float:
        """The learning rate relative to its peak: a linear rise, then half a cosine."""
        return min(1.0, (self.run_step + 1) / WARM_UP) * (1 + math.cos(math.pi * self.progress)) / 2


def save_checkpoint(path: Path, network: Reconstruction, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
    """Everything that the next step depends on, in one safetensors file, replaced in one step."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    _write(path, {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, clock)


def set_compared(path: Path, target: Path) -> None:
    """Write a checkpoint to ``target``, which can be its own place, as that of a run that was compared."""
    tensors, clock = _read(path)
    _write(target, tensors, replace(clock, compared=True))


def _write(path: Path, tensors: dict[str, Tensor], clock: Clock) -> None:
    told = json.dumps(asdict(clock))
    write_bytes(path, save(tensors, metadata={"clock": told, "sha256": _digest(tensors, told)}))


def _read(path: Path) -> tuple[dict[str, Tensor], Clock]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it cannot be iterated)
        metadata = file.metadata()
    if metadata["sha256"] != _digest(tensors, metadata["clock"]):
        raise ValueError("damaged")
    return tensors, Clock(**json.loads(metadata["clock"]))


def _digest(tensors: dict[str, Tensor], clock: str) -> str:
    digest = hashlib.sha256(clock.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, network: Reconstruction, optimizer: torch.optim.Optimizer) -> Clock:
    """Restore what :func:`save_checkpoint` wrote.

    Raises
    ------
    ValueError : the file is damaged, or of another network.
    """
    try:
        tensors, clock = _read(path)
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError):
        shown = f"{path.parent.name}/{path.name}"
        raise ValueError(
            f"load_checkpoint: {shown} is no whole checkpoint of this network; remove it to start anew"
        ) from None
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return clock
