"""All that a GPU is wanted for, in one command: checks, speed beside the CPU, training; ``make gpu``.

``python -m lib.runs.gpu --minutes 60 --out DIR`` writes small files into DIR, and ``--take DIR`` takes them into
``results/`` and ``weights/``. The minutes are a hard total. Whenever it is cut off, what is in DIR can be used.
"""

import argparse
import os
import platform
import threading
import time
from pathlib import Path

from lib.runs.options import fails, positive, program, torch_device

PARTS = ("checks", "speed", "training")
SHARES = {"checks": (0.2, 60.0), "speed": (0.35, 180.0)}  # of the time that is left, and seconds, at most


def main(arguments: list[str] | None = None) -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="python -m lib.runs.gpu",
        description="Check and time solver, attack and networks on a GPU, then train a network of the paper's sizes.",
        epilog="example: python -m lib.runs.gpu --minutes 60 --out _gpu; then python -m lib.runs.gpu --take _gpu",
    )
    parser.add_argument("--minutes", type=positive, default=60, help="all that it may take; 60 if not given")
    parser.add_argument("--out", type=Path, default=Path("_gpu"), metavar="DIR", help="where the files go; _gpu")
    parser.add_argument(
        "--network", choices=("tira", "tirafl"), default="tira", help="what is trained; tirafl from tira"
    )
    parser.add_argument("--device", default="auto", help="auto (the first GPU), cuda:1, or cpu to try it out")
    parser.add_argument("--full", action="store_true", help="the sizes of the paper on a CPU, too")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these; all if not given")
    parser.add_argument("--take", type=Path, metavar="DIR", help="take what is in DIR into results/ and weights/")
    args = parser.parse_args(arguments)
    if args.take:
        return fails("gpu", lambda: _take(args.take))
    end, failed = begun + 60 * args.minutes, [0]
    clock = threading.Timer(end - time.monotonic(), _stop, (args.out, failed))
    clock.daemon = True
    clock.start()
    try:
        return fails("gpu", lambda: _work(args, end, failed))
    finally:
        clock.cancel()


def _stop(out: Path, failed: list[int]) -> None:
    """End the process where it is: every file is whole at any moment."""
    print("gpu: the time is over; what is written stays", flush=True)
    for path in out.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    os._exit(int(failed[0] > 0))


def _take(folder: Path) -> int:
    from lib.runs.gpu_training import take

    print("\n".join(take(folder)))
    return 0


def _work(args: argparse.Namespace, end: float, failed: list[int]) -> int:
    import torch  # this and what follows takes seconds, which count

    from lib.runs import gpu_checks, gpu_speed, gpu_training

    device = torch_device(args.device)
    full = args.full or device.type != "cpu"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    memory = f", {torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB" if name != "cpu" else ""
    print(
        f"gpu: {name}{memory}; {os.cpu_count()} processors; Python {platform.python_version()}, torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}; {args.minutes:g} minutes for {', '.join(args.parts)}",
        flush=True,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    if "training" in args.parts:  # what is missing shows now
        state = gpu_training.begin(args.network, "paper" if full else "trial", args.out)

    def until(part: str) -> float:
        share, most = SHARES[part]
        return time.monotonic() + min(share * (end - time.monotonic()), most)

    if "checks" in args.parts:
        failed[0] += gpu_checks.check(device, name, full, until("checks"), args.out / "gpu_checks.csv")
    if "speed" in args.parts:
        failed[0] += gpu_speed.measure(device, name, full, until("speed"), args.out / "gpu_speed.csv")
    if "training" in args.parts:
        torch.backends.cudnn.benchmark = True  # all steps have the same shapes
        state.network.to(device)
        images, every = (gpu_training.IMAGES, gpu_training.SAVE_EVERY) if full else (2, 2.0)
        gpu_training.train_until(end - 0.03 * 60 * args.minutes, state, args.out, images=images, every=every)
    print(f"gpu: done, {failed[0]} failures; `make gpu-results DIR={args.out}` takes the files in")
    return int(failed[0] > 0)


if __name__ == "__main__":
    program(main)
