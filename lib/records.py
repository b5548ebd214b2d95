"""Result files: CSV rows that say where they come from, never half there; and what the programs share."""

import argparse
import csv
import functools
import importlib.metadata
import io
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


@functools.cache
def provenance() -> dict[str, str]:
    """Code version (git commit, "+" if changed since), processor, cores and torch version, for a result row."""
    try:
        git = functools.partial(subprocess.check_output, cwd=ROOT, text=True, stderr=subprocess.DEVNULL)
        version = git(["git", "rev-parse", "--short=10", "HEAD"]).strip()
        if git(["git", "status", "--porcelain", "--", "lib", "benchmarks", "requirements.lock"]).strip():
            version += "+"
    except (OSError, subprocess.CalledProcessError):
        version = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n", 1)[0].splitlines() if cpuinfo.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = facts.get("model name", platform.machine())
    if "cpu family" in facts:  # clouds give several generations, with other instructions, one name
        cpu += f" (family {facts['cpu family']} model {facts.get('model', '?')})"
    torch = importlib.metadata.version("torch").split("+")[0]  # importing it takes seconds, and not all need it
    return {"version": version, "cpu": cpu, "cores": str(os.cpu_count()), "torch": torch}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as dictionaries of strings; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Replace the CSV file by these rows, all with the columns of the first, in one step (temporary file, rename).

    Raises
    ------
    ValueError : there is no row, or a row has other columns than the first.
    """
    rows = list(rows)
    if not rows:
        raise ValueError(f"write_rows: no rows for {path.name}")
    columns = list(rows[0])
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(f"write_rows: {path.name} has columns {columns}, a row has {list(row)}")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def count(text: str) -> int:
    """The type of a program's argument that is an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text}")
    return int(text)


def resumable(main: Callable[[], None]) -> None:
    """Run a program that goes on where it was stopped; Ctrl-C says so instead of a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step (temporary file of a name of its own, rename)."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
