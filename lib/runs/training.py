"""Training of the networks: data drawn on the fly, checkpoints that resume, published weights; ``make train``."""

import argparse
import functools
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lib.networks import LINES, NETWORKS, WEIGHTS, N, Reconstruction, fast_bfloat16, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.checkpoints import Clock, load_checkpoint, save_checkpoint, set_compared
from lib.runs.errors import IMAGES, LEVELS, errors
from lib.runs.options import count, fails, positive, program, torch_device
from lib.runs.provenance import provenance
from lib.runs.section4 import TEST, TRAINING, VALIDATION
from lib.runs.tables import RESULTS, ROOT, alone, read_rows, write_bytes, write_rows
from lib.runs.weights import PRESETS, save_network

CHECKPOINTS = ROOT / "_train"  # not committed
JITTER = 0.1  # largest noise in training, relative to the measurements
FREEZE = 0.5  # of the first run: from there on batch norm keeps its running statistics
LOOKS = 40  # validations, rows of the log, in one training
SAVE_EVERY = 60.0  # seconds between two checkpoints
COMMITTED_BYTES = 20_000_000  # a checkpoint below this is also kept beside the weights, for other machines


@dataclass(frozen=True)
class Settings:
    """How a preset is trained.

    Attributes
    ----------
    batch : images in a step.
    crop : side of the square that is cut from each pair of inversion and image; the whole image if it is no larger.
    rate : largest learning rate of Adam.
    inversion_rate : the same for the learned inversion, whose entries are small and all matter.
    reuse : times that a phantom is used, each time with other noise, cut and symmetry.
    jitter : J of the authors' noise, see `training_batch`; 0 for ours.
    origin : the preset whose Tira this one's Tira starts from, if any.
    """

    batch: int
    crop: int
    rate: float
    inversion_rate: float
    reuse: int = 4
    jitter: float = 0.0
    origin: str | None = None


SETTINGS = {
    "compact": Settings(batch=4, crop=128, rate=2e-3, inversion_rate=1e-5),
    "noisy": Settings(batch=4, crop=128, rate=1e-3, inversion_rate=1e-5, jitter=10.0, origin="compact"),
    "trial": Settings(batch=2, crop=32, rate=2e-3, inversion_rate=1e-5, jitter=10.0),
    "paper": Settings(batch=8, crop=256, rate=1e-3, inversion_rate=1e-4, jitter=10.0),
}


def training_batch(op: MaskedFourier, settings: Settings, step: int) -> tuple[Tensor, Tensor]:
    r"""Measurements with noise and their images, for step number ``step``; they depend on the step alone.

    The phantoms of the stream TRAINING come in rounds of 8 batches. A round passes ``reuse`` times over its phantoms,
    in another order each time. Flips and transposition leave the law of the phantoms as it is. The noise is Gaussian;
    :math:`U` is uniform in [0, 1].

    - Without ``jitter`` its relative size is :math:`0.1\, U^2`, with one U an image.
    - With ``jitter`` J, real and imaginary part of each component are :math:`N(0, (JU)^2/m)`, with one U a batch. This
      is the law of Genzel, Macdonald and März (2022), the paper's [12], who take J = 10. The norm of the noise is
      :math:`\sqrt 2 J U`, for J = 10 up to 24 % of that of y. The noisiest batches rule the loss.

    Returns
    -------
    y : ``(batch, m)`` complex64, on the device of ``op``.
    x : ``(batch, n, n)`` float32, there too.
    """
    device = op.mask.device
    steps_in_round = 8 * settings.reuse
    number, within = divmod(step, steps_in_round)
    generator = torch.Generator().manual_seed((TRAINING << 40) + number * settings.reuse + within // 8)
    order = torch.randperm(8 * settings.batch, generator=generator).view(8, settings.batch)[within % 8]
    x = _round(op.n, 8 * settings.batch, number, device)[order.to(device)]
    generator = torch.Generator().manual_seed((TRAINING << 41) + step)
    flip_rows, flip_columns, transpose = (torch.rand(3, generator=generator) < 0.5).tolist()
    if device.type != "cpu":  # which then need not wait for a GPU
        generator = torch.Generator(device).manual_seed((TRAINING << 41) + step)
    x = x.flip(-2) if flip_rows else x
    x = x.flip(-1) if flip_columns else x
    x = x.transpose(-1, -2) if transpose else x
    y = op.A(x)
    u = torch.rand(1 if settings.jitter else len(y), 1, generator=generator, device=device)
    if settings.jitter:
        norm = math.sqrt(2) * settings.jitter * u  # randn is complex: its two parts have variance 1/2
    else:
        norm = JITTER * u.square() * torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    noise = torch.randn(y.shape, dtype=y.dtype, generator=generator, device=device)
    return y + norm / math.sqrt(op.m) * noise, x


@functools.lru_cache(maxsize=1)
def _round(n: int, count: int, number: int, device: torch.device) -> Tensor:
    return ellipses(count, n, seed=TRAINING, first=number * count, device=device)


def cut(z: Tensor, x: Tensor, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """The same random square of each pair, ``(batch, 2, n, n)`` and ``(batch, n, n)``; all of it if ``side >= n``."""
    n = x.shape[-1]
    if side >= n:
        return z, x
    corners = torch.randint(n - side + 1, (len(x), 2), generator=torch.Generator().manual_seed(seed)).tolist()
    z = torch.stack([image[:, i : i + side, j : j + side] for image, (i, j) in zip(z, corners, strict=True)])
    return z, torch.stack([image[i : i + side, j : j + side] for image, (i, j) in zip(x, corners, strict=True)])


def modulus_loss(z: Tensor, x: Tensor) -> Tensor:
    """Mean squared difference of moduli, that of [12] up to a factor; ``(batch, 2, a, b)`` and ``(batch, a, b)``."""
    return (torch.linalg.vector_norm(z, dim=1) - x).square().mean()


def adam(network: Reconstruction, settings: Settings) -> torch.optim.Adam:
    """The optimizer of a training; each group has its largest learning rate as ``"peak"``."""
    groups = [{"params": list(network.net.parameters()), "peak": settings.rate}]
    if network.inversion is not None:
        groups.append({"params": list(network.inversion.parameters()), "peak": settings.inversion_rate})
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=network.op.mask.is_cuda or None)


def training_step(network: Reconstruction, optimizer: torch.optim.Adam, settings: Settings, clock: Clock) -> Tensor:
    """The step of number ``clock.step`` at the learning rate of the clock; its loss, without gradient."""
    # The statistics of a few crops are noise, which limits the network in the end. Frozen, it trains as it is used.
    # What starts from a trained network needs them at no time.
    fresh = clock.run == 0 and network.inversion is None and settings.origin is None
    network.train(fresh and clock.progress < FREEZE)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * clock.rate()
    y, x = training_batch(network.op, settings, clock.step)
    z, x = cut(network.invert(y), x, settings.crop, seed=clock.step)
    with torch.autocast(y.device.type, torch.bfloat16, enabled=fast_bfloat16(y.device)):
        z = network.refine(z)
    loss = modulus_loss(z, x)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def log_row(network: Reconstruction, settings: Settings, clock: Clock, loss: float, images: int) -> dict[str, object]:
    """A row of a training's log: the mean loss since the last, and errors on the first validation phantoms."""
    network.eval()
    clean, noisy = (errors(network, network.op, level, images, VALIDATION) for level in (0, 0.04))
    return {
        "run": clock.run,
        "step": clock.step,
        "seconds": f"{clock.seconds:.0f}",
        "rate": f"{settings.rate * clock.rate():.3g}",
        "loss": f"{loss:.4e}",
        "error_clean": f"{float(clean[0].mean()):.5f}",
        "complex_error_clean": f"{float(clean[1].mean()):.5f}",
        "error_noise_4": f"{float(noisy[0].mean()):.5f}",
        "images": images,
        "seed": VALIDATION,
        **provenance(),
    }


def train(
    network: Reconstruction,
    key: str,
    settings: Settings,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    checkpoint: Path,
    log: Path,
    clock: Clock | None = None,
    validation_images: int = 16,
    save_every: float = SAVE_EVERY,
) -> Clock:
    """Train until the time or the number of steps is used up, whichever comes first; the learning rate ends at zero.

    A training that was killed goes on from its checkpoint, in the run of the learning rate where it was, and does
    what it would have done: with ``steps`` and on a processor, the weights are the same bits (a GPU adds in any order).
    One that was finished, and compared with what is published, starts another run; until it is compared, none.

    Parameters
    ----------
    network : trained in place, on its device. A checkpoint replaces its weights.
    key : its name, for the progress bar.
    settings : how to train.
    minutes, steps : length of the run; at least one of the two.
    checkpoint : file of the checkpoint, weights, moments of Adam and clock.
    log : CSV file to which rows are added as the training goes on.
    clock : what went before, where there is no checkpoint.
    validation_images : phantoms in a validation.
    save_every : seconds between two checkpoints.

    Raises
    ------
    ValueError : neither ``minutes`` nor ``steps`` is positive.
    FloatingPointError : loss, weights or errors are not finite; checkpoint and log stay as they were.
    """
    if not ((minutes or 0) > 0 or (steps or 0) > 0):
        raise ValueError(f"train: minutes or steps must be positive, got {minutes!r} and {steps!r}")
    optimizer = adam(network, settings)
    clock = load_checkpoint(checkpoint, network, optimizer) if checkpoint.exists() else clock or Clock()
    if clock.progress >= 1 and clock.compared:
        clock = Clock(clock.step, clock.seconds, clock.run + 1)
    rows: list[Mapping[str, object]] = [row for row in read_rows(log) if int(row["step"]) <= clock.step]
    saved, loss_sum, loss_steps = time.perf_counter(), 0.0, 0
    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=100, desc=key, bar_format=shape, smoothing=0) as bar:
        tick = time.perf_counter()  # validations and checkpoints count, too: for the step after them
        while clock.progress < 1:
            loss = training_step(network, optimizer, settings, clock)
            loss_sum, loss_steps = loss_sum + loss.item(), loss_steps + 1
            before = clock.progress
            now = time.perf_counter()
            clock.tick(now - tick, minutes, steps)
            tick, bar.n = now, 100 * clock.progress
            bar.update(0)
            if int(LOOKS * clock.progress) > int(LOOKS * before):
                rows.append(log_row(network, settings, clock, loss_sum / loss_steps, validation_images))
                _check_finite(clock, *(float(str(rows[-1][name])) for name in ("loss", "error_clean", "error_noise_4")))
                write_rows(log, rows)
                bar.set_postfix({name: rows[-1][name] for name in ("loss", "error_clean")})
                loss_sum, loss_steps = 0.0, 0
            if clock.progress >= 1 or time.perf_counter() - saved >= save_every:
                _check_finite(clock, *(float(value.sum()) for value in network.state_dict().values()))
                save_checkpoint(checkpoint, network, optimizer, clock)
                saved = time.perf_counter()
    network.eval()
    return clock


def _check_finite(clock: Clock, *numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise FloatingPointError(
            f"train: loss, weights or errors are not finite at step {clock.step}; the checkpoint and the log of before "
            "stay; a lower rate may help"
        )


def start(name: str, preset: str, *, folder: Path = WEIGHTS) -> tuple[Reconstruction, Clock]:
    """The network that a training starts from where there is no checkpoint, and how long it has been trained.

    Its published weights, if they are there and whole; otherwise new ones. TiraFL starts with the network of the
    published Tira, Tira with that of the preset that its settings name, if they do.
    """
    network = published(name, preset, folder)
    if network is not None:
        entry = read_manifest(folder)[f"{name}-{preset}"]
        return network.requires_grad_(), Clock(entry["steps"], 60 * entry["minutes"], entry["runs"] - 1, progress=1)
    network = Reconstruction(MaskedFourier(radial_mask(N, LINES)), PRESETS[preset], learned=name == "tirafl")
    origin = preset if name == "tirafl" else SETTINGS[preset].origin
    if origin is not None:
        network.net.load_state_dict(load_network("tira", origin, folder=folder).net.state_dict())
    return network, Clock()


def published(name: str, preset: str, folder: Path) -> Reconstruction | None:
    """The published network, or nothing if it is missing or broken."""
    read_manifest(folder)  # one that cannot be read is no reason to train for hours
    try:
        return load_network(name, preset, folder=folder)
    except (FileNotFoundError, ValueError):
        return None


def publish(
    network: Reconstruction,
    name: str,
    preset: str,
    settings: Settings,
    clock: Clock,
    folder: Path = WEIGHTS,
    log: Path | None = None,
) -> bool:
    """Write weights, manifest and log if the network is better on the validation images than what is published.

    Returns
    -------
    Whether it was: the mean error over the noise levels is what counts. One that a kill left half published is as good
    as itself, and published again.
    """
    key, found = f"{name}-{preset}", record(network, name, preset, settings, clock, IMAGES)
    there = read_manifest(folder).get(key, {})
    if there.get("validation_error") != found["validation_error"] and not is_better(found, name, preset, folder):
        return False
    save_network(network, key, found, folder=folder)
    if log is not None:
        write_bytes(RESULTS / f"train_{key}.csv", log.read_bytes())
    return True


def is_better(found: Mapping[str, Any], name: str, preset: str, folder: Path) -> bool:
    """Whether a record has a smaller sum of validation errors than what is published, if anything is."""
    if published(name, preset, folder) is None:
        return True
    there = read_manifest(folder)[f"{name}-{preset}"]
    return sum(found["validation_error"].values()) < sum(there["validation_error"].values())


def record(
    network: Reconstruction, name: str, preset: str, settings: Settings, clock: Clock, images: int
) -> dict[str, Any]:
    """What the manifest says of a trained network, see `read_manifest`; errors on the first validation phantoms."""
    network.eval()
    moduli = {level: errors(network, network.op, level, images, VALIDATION)[0].mean() for level in LEVELS}
    key = f"{name}-{preset}"
    return {
        "command": f"make train NETWORK={name} PRESET={preset} RATE={settings.rate:g} BATCH={settings.batch}",
        "settings": asdict(settings),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seeds": {"training": TRAINING, "validation": VALIDATION, "test": TEST},
        "runs": clock.run + 1,
        "log": f"results/train_{key}.csv",
        "steps": clock.step,
        "phantoms_drawn": -(-clock.step // (8 * settings.reuse)) * 8 * settings.batch,
        "minutes": round(clock.seconds / 60, 1),
        "device": torch.cuda.get_device_name() if network.op.mask.is_cuda else "cpu",
        "threads": torch.get_num_threads(),
        "bfloat16": fast_bfloat16(network.op.mask.device),
        "validation_images": images,
        "validation_error": {f"{level:g}": round(float(error), 5) for level, error in moduli.items()},
        **provenance(),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.runs.training",
        description="Train a network; a killed training goes on where it was, a finished one starts another run.",
        epilog="example: python -m lib.runs.training tirafl --preset compact --minutes 30",
    )
    parser.add_argument("network", choices=NETWORKS, help="which network")
    parser.add_argument("--preset", choices=list(PRESETS), default="compact", help="its sizes; compact if not given")
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    parser.add_argument("--minutes", type=positive, help="length of the run, in minutes; 60 if no --steps are given")
    parser.add_argument("--steps", type=count, help="length of the run in steps; with both, what is reached first")
    parser.add_argument("--rate", type=positive, help="largest learning rate, instead of the preset's")
    parser.add_argument("--batch", type=count, help="images in a step, instead of the preset's")
    args = parser.parse_args(arguments)
    checkpoint = CHECKPOINTS / f"{args.network}-{args.preset}.safetensors"

    def work() -> int:
        device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        torch_device(device)
        with alone(checkpoint):
            return _train(args, device, checkpoint)

    return fails("training", work)


def _train(args: argparse.Namespace, device: str, checkpoint: Path) -> int:
    key = checkpoint.stem
    changes = {name: value for name, value in (("rate", args.rate), ("batch", args.batch)) if value is not None}
    settings = replace(SETTINGS[args.preset], **changes)
    network, clock = start(args.network, args.preset, folder=WEIGHTS)
    kept, kept_log = WEIGHTS / f"{key}.checkpoint.safetensors", RESULTS / f"train_{key}.csv"
    log = checkpoint.with_suffix(".csv")
    if not checkpoint.exists():
        log.unlink(missing_ok=True)
        for source, copy in ((kept_log, log), (kept, checkpoint)):  # a kill leaves no checkpoint without its log
            if source.exists():
                write_bytes(copy, source.read_bytes())
    torch.backends.cudnn.benchmark = True  # all steps have the same shapes
    clock = train(
        network.to(device),
        key,
        settings,
        minutes=args.minutes or (None if args.steps else 60),
        steps=args.steps,
        checkpoint=checkpoint,
        log=log,
        clock=clock,
    )
    print(f"{key}: measuring errors on {IMAGES} phantoms")
    better = publish(network, args.network, args.preset, settings, clock, WEIGHTS, log)
    if better and checkpoint.stat().st_size <= COMMITTED_BYTES:
        set_compared(checkpoint, kept)
    set_compared(checkpoint, checkpoint)
    if not better:
        shown = f"{checkpoint.parent.name}/{checkpoint.name}"
        print(f"{key}: no better than the published weights, which stay; remove {shown} to go on from those")
        return 0
    print(f"{key}: published")
    return 0


if __name__ == "__main__":
    program(main)
