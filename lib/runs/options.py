"""What the programs share: their options, how they are stopped, and how they fail."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

try:
    import psutil
except ImportError:  # a machine that is lent for its GPU may lack it; there, nothing is started that would have to end
    psutil = None

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def count(text: str) -> int:
    """The type of a program's argument that is an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text}")
    return int(text)


def share(text: str) -> float:
    """The type of a program's argument that is a part of the whole."""
    return _number(text, 1, "a number in (0, 1]")


def positive(text: str) -> float:
    """The type of a program's argument that is a positive number."""
    return _number(text, sys.float_info.max, "a positive number")


def _number(text: str, largest: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= largest:
        raise argparse.ArgumentTypeError(f"must be {expected}, got {text}")
    return value


def torch_device(name: str) -> Any:
    """The device of this name; the first GPU for ``"auto"``.

    Raises
    ------
    ValueError : torch cannot compute on it here.
    """
    import torch  # which takes seconds

    try:
        device = torch.device("cuda" if name == "auto" else name)
        torch.ones(1, device=device).item()
        return device
    except (RuntimeError, AssertionError):  # the second from a torch without CUDA
        raise ValueError(
            f"--device {name}: torch {torch.__version__} has no such device here. A GPU takes a torch built for it and "
            "a driver (`nvidia-smi` shows it); --device cpu works everywhere"
        ) from None


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """The options that say where cells are computed."""
    parser.add_argument(
        "--scheduler", help="address of a running Dask scheduler, as tcp://host:8786; default: this machine"
    )
    parser.add_argument("--workers", type=count, help="processes on this machine; default: one for each processor")


def fails(name: str, work: Callable[[], int]) -> int:
    """The exit status of a program: its own, or 2 after one line about what is wrong with what it was given."""
    try:
        return work()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def stop(number: int, _: object = None) -> None:
    """End this process at once, and all that it has started, with one line."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    os.write(2, b"\nstopped; what is finished is kept, the same command does the rest\n")  # print may be interrupted
    for child in psutil.Process().children(recursive=True) if psutil else ():
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" not in " ".join(child.cmdline()):  # that clears up behind this one, and ends
                child.kill()
    os._exit(128 + number)


def stop_on_signals() -> None:
    """Let SIGINT and SIGTERM stop this process.

    What a write has begun is finished before (`lib.runs.tables.uninterrupted`). A user's scheduler drops the tasks of
    a client that is gone.
    """
    for number in SIGNALS:
        signal.signal(number, stop)


def program(main: Callable[[], int | None]) -> None:
    """Run a program until its end or a signal."""
    stop_on_signals()
    # the process that clears up semaphores behind this one would say so
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    sys.exit(main())
