"""Training for as long as a machine is lent: it goes on from half-precision weights, and stops at a given moment.

A folder holds what a training has reached: the manifest, with the log in it, and weights in parts below 16 MB. They are
written often: new parts under new names, then the manifest, so that at any moment it names files that are there and
whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lib.networks import WEIGHTS, Reconstruction, load_network, read_manifest
from lib.runs.checkpoints import Clock
from lib.runs.errors import IMAGES
from lib.runs.tables import RESULTS, Row, read_rows, write_rows
from lib.runs.training import LOOKS, SETTINGS, adam, is_better, log_row, record, start, training_step
from lib.runs.weights import save_network

SAVE_EVERY = 45.0  # seconds between two saves, each with a look at the validation phantoms
LOOK_IMAGES = 8  # phantoms of such a look
LAST = 25.0  # seconds kept for the errors on `IMAGES` phantoms at the end


@dataclass
class State:
    """A training: the network, how long it has been trained, and its log."""

    name: str
    preset: str
    network: Reconstruction
    clock: Clock
    rows: list[Mapping[str, object]]

    @property
    def key(self) -> str:
        return f"{self.name}-{self.preset}"


def begin(name: str, preset: str, folder: Path, weights: Path = WEIGHTS, results: Path = RESULTS) -> State:
    """Where a training goes on: in ``folder`` if it was there, from the published weights, or at the beginning.

    Raises
    ------
    FileNotFoundError : TiraFL begins, and there is no Tira of this preset.
    """
    key, tira = f"{name}-{preset}", f"tira-{preset}"
    there = read_manifest(folder)
    if key in there or (name == "tirafl" and key not in read_manifest(weights) and tira in there):
        network, clock = start(name, preset, folder=folder)
        return State(name, preset, network, clock, there.get(key, {}).get("rows", []))
    network, clock = start(name, preset, folder=weights)
    log: list[Row] = read_rows(results / f"train_{key}.csv") if clock.step else []
    return State(name, preset, network, clock, list(log))


def train_until(end: float, state: State, folder: Path, *, images: int = IMAGES, every: float = SAVE_EVERY) -> None:
    """Train until the time ``end`` (of `time.monotonic`), in one run of the learning rate from its peak to zero.

    Parameters
    ----------
    end : when all is written, but for a slow machine.
    state : what is trained, in place, on the device of the network.
    folder : where it is saved.
    images : validation phantoms at the end; for the looks before, fewer.
    every : seconds between two saves.

    Raises
    ------
    FloatingPointError : the loss is not finite; what was saved before stays.
    """
    network, clock, looks = state.network, state.clock, min(images, LOOK_IMAGES)
    settings = SETTINGS[state.preset]
    if clock.progress >= 1:
        clock = Clock(clock.step, clock.seconds, clock.run + 1)
    begun, total, count = time.monotonic(), torch.zeros((), device=network.op.mask.device), 0
    minutes = max(1e-3, 0.8 * (end - begun), end - begun - LAST) / 60
    optimizer, tick, saved = adam(network, settings), time.perf_counter(), -math.inf
    while clock.progress < 1:
        try:
            loss = training_step(network, optimizer, settings, clock)
        except torch.OutOfMemoryError:
            if settings.batch == 1:
                raise
            settings = replace(settings, batch=settings.batch // 2)
            optimizer.zero_grad()
            torch.cuda.empty_cache()
            print(f"gpu: too little memory, a batch is {settings.batch} images now", flush=True)
            continue
        total, count, now, before = total + loss, count + 1, time.perf_counter(), clock.progress
        clock.tick(now - tick, minutes, None)
        tick = now
        if clock.progress >= 1 or now - saved >= every:
            mean = float(total) / count
            if not math.isfinite(mean):
                raise FloatingPointError(f"train_until: the loss is {mean} at step {clock.step}")
            if clock.progress >= 1 or clock.run_step == 1 or int(LOOKS * clock.progress) > int(LOOKS * before):
                state.rows.append(log_row(network, settings, clock, mean, looks))
                total, count = torch.zeros_like(total), 0
            save(state, settings, clock, folder, looks)
            print(f"gpu: {state.key}, step {clock.step}, loss {mean:.2e}", flush=True)
            saved = time.perf_counter()
    save(state, settings, clock, folder, images)
    state.clock = clock


def save(state: State, settings: Any, clock: Clock, folder: Path, images: int) -> None:
    """Write weights, log and manifest; the weights of before go when the manifest no longer names them."""
    found = record(state.network, state.name, state.preset, settings, clock, images) | {"rows": state.rows}
    save_network(state.network, state.key, found, folder=folder)


def take(folder: Path, weights: Path = WEIGHTS, results: Path = RESULTS) -> list[str]:
    """Take what a GPU has left in a folder into ``results/`` and ``weights/``; a line about each thing.

    Tables keep their rows of other GPUs. Weights are taken if their validation error is smaller than that of what is
    published.

    Raises
    ------
    ValueError : the folder has nothing, only a trial, or a damaged file.
    """
    done = []
    for name in ("gpu_checks", "gpu_speed"):
        rows = read_rows(folder / f"{name}.csv")
        if any(row["full"] != "True" for row in rows):
            raise ValueError(f"take: {folder.name}/{name}.csv is of a trial with small sizes")
        if rows:
            others = [row for row in read_rows(results / f"{name}.csv") if row["gpu"] != rows[0]["gpu"]]
            write_rows(results / f"{name}.csv", [*others, *rows])
            done.append(f"results/{name}.csv: {len(rows)} rows of {rows[0]['gpu']}")
    for key, entry in read_manifest(folder).items():
        name, preset = key.split("-")
        if preset == "trial":
            raise ValueError(f"take: {key} in {folder.name} is a trial")
        network = load_network(name, preset, folder=folder)
        if not is_better(entry, name, preset, weights):
            done.append(f"{key}: no better than the published weights, which stay")
            continue
        write_rows(results / f"train_{key}.csv", entry.pop("rows"))
        save_network(network, key, entry, folder=weights)
        done.append(f"{key}: {entry['steps']} steps, published")
    if not done:
        raise ValueError(f"take: nothing of `make gpu` in {folder}")
    return done
