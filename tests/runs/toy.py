"""A table for the tests of the engine, and its program: ``python toy.py FOLDER CELLS SECONDS WORKERS [OPTION...]``."""

import os
import signal
import sys
import time
from pathlib import Path

import helper

from lib.runs import engine, options


def compute(a, wait=0.0, marks="", **what):
    """The square of a, after a while; `what` has the cells that do wrong."""
    if marks:
        Path(marks, f"{a}-{time.time_ns()}").touch()  # one for each time that this ran
    if a == what.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if a == what.get("fail"):
        raise ArithmeticError(f"{a} is wrong")
    time.sleep(wait)
    return [{"parity": a % 2, "square": helper.square(a)}], {f"files/{a}.txt": str(a).encode()}


def table(count, **what):
    return engine.Table(
        "toy",
        lambda rows: [{"a": a, **what} for a in range(count)],
        compute,
        groups=("parity",),
        measured=("square",),
        keys=("a",),
        files=lambda cell: (f"files/{cell['a']}.txt",),
        text=frozenset({"version", "cpu", "torch", "code"}),
    )


def main():
    folder, count, wait, workers, *rest = sys.argv[1:]
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    report = engine.run(
        table(int(count), wait=float(wait), marks=os.environ.get("MARKS", "")),
        folder=Path(folder),
        workers=int(workers),
        scheduler=given.get("--scheduler"),
    )
    print(report)
    return int(bool(report.failures))


if __name__ == "__main__":
    import toy  # what computes is a function of a module that workers can import, too

    options.program(toy.main)
