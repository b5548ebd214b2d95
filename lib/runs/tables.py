"""Tables in results/: CSV files that are read with a check of every field and written in one step.

A standard deviation is everywhere that of the sample (``ddof=1``, the default of pandas), as over images drawn at
random; which one the paper has printed is not known.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import math
import os
import re
import signal
import sys
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
# Columns of text, and of True and False; every other one has numbers. A text, as a commit of digits, can look like one.
TEXT = frozenset(
    "method setting settings version cpu torch numpy scipy code dtype optimiser preset network target source signal "
    "order first_m functional problem errors search gpu check task device fault question case quantity".split()
)
TRUTHS = frozenset("certified converged reached bfloat16_used full passed".split())
# What may be empty: it does not concern the row (a network has no tolerance), or was not recorded.
OPTIONAL = frozenset("tol gap solved_linf solved_l2 iterations_pixel_1e-3 image_ms_pixel_1e-3 threads".split())
OPTIONAL |= {"wall_seconds", "deviation", "seconds_cpu", "seconds_gpu", "peak_mb"}
# What tells the rows of a table apart, in the order in which they are sorted
ATTACK = ("method", "optimiser", "preset", "network", "lines", "noise_rel", "sigma", "image", "grid", "seed", "n")
KEYS: dict[str, tuple[str, ...]] = {
    "table1": ATTACK,
    "sigma": ATTACK,
    "transfer": (*ATTACK, "target"),
    "lambda": ("lines", "noise_rel", "lam", "images", "n", "seed", "tol"),
    "authors_search": ("lines", "noise_rel", "image", "n"),
    "robustness": ("method", "network", "noise_rel", "image"),
    "sensitivity": ("optimiser", "noise_rel", "lam", "rho", "image"),
    "final": ("lines", "noise_rel", "image"),
    "networks_error": ("method", "noise_rel", "images", "seed"),
    "theory_growth": ("log2_n", "problem", "seed"),
    "theory_few": ("problem", "m", "seed"),
    "theory_masks": ("lines", "image", "seed"),
    "theory_transition": ("signal", "order", "n", "s", "trials", "seed"),
    "explorer/frames": ("noise_rel", "row", "column", "target", "method"),
    "explorer/transfer": ("image", "noise_rel", "target", "method"),
    "beyond": ("question", "case", "noise_rel", "image", "quantity"),
}
ATTACKED = ("alpha", "rho_linf", "r_linf", "rho_l2", "r_l2", "concentration", "error_clean", "error_attacked")
MEASURED: dict[str, tuple[str, ...]] = {  # the columns with what was found
    "table1": ATTACKED,
    "sigma": ATTACKED,
    "transfer": ("rho_linf", "r_linf", "alpha", "at_peak", "concentration"),
    "lambda": ("error_mean", "error_std"),
    "authors_search": ("errors",),
    "robustness": ("error_clean", "error_gaussian", "error_adversarial"),
    "sensitivity": ("alpha", "rho_linf"),
    "final": ("alpha_plain", "alpha_converged"),
    "networks_error": ("error_mean", "error_std", "complex_error_mean", "complex_error_std"),
    "theory_growth": ("solved_linf", "solved_l2", "certified", "margin", "singular_value", "linf", "l2"),
    "theory_few": ("certified", "alpha"),
    "theory_masks": ("spike", "height", "attack", "error", "converged"),
    "theory_transition": ("undecided", "first_m"),
    "explorer/frames": ("peak_r", "peak_rho", "amplification"),
    "explorer/transfer": ("peak_r", "peak_rho", "amplification"),
    "beyond": ("value",),
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # see `write_bytes`; others' files are none of ours
STALE = 600  # seconds after which nobody writes a temporary file any more
Row = dict[str, str]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of the sample; NaN for one image) over ``count`` images."""

    mean: float
    std: float
    count: int

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.mean:.2f} (one image)"
        return f"{self.mean:.2f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{self.std:.2f}"


def spreads(rows: pd.DataFrame, by: Sequence[str], value: str) -> dict[tuple, Spread]:
    """Mean and standard deviation of a column for each combination of the columns ``by``."""
    found = rows.groupby(list(by), sort=False)[value].agg(["mean", "std", "count"])
    return {key: Spread(float(row["mean"]), float(row["std"]), int(row["count"])) for key, row in found.iterrows()}


def read_table(name: str, **same: object) -> pd.DataFrame:
    """The rows of ``results/NAME.csv``, with these values in these columns; checked, with numbers as numbers.

    Parameters
    ----------
    name : the file without its ending, as ``"table1"`` or ``"explorer/frames"``.
    same : for columns the value that a row must have.

    Returns
    -------
    A data frame, without rows if there is no such file. What is text stays text, and an empty one is ``""``.

    Raises
    ------
    ValueError : the file is damaged; the message has file, line and column.
    """
    path = RESULTS / f"{name}.csv"
    rows = _frame(path, KEYS.get(name, ()), _version(path)) if path.exists() else pd.DataFrame()
    if len(rows) and (lacking := set(MEASURED.get(name, ())) - set(rows)):
        raise ValueError(f"{name}.csv: line 1: expected the columns {sorted(lacking)}, too")
    for column, value in same.items():
        rows = rows[rows[column] == value] if column in rows else rows.iloc[:0]
    return rows.reset_index(drop=True)


def read_rows(path: Path, keys: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV file as they are written, checked as :func:`scan` does; none if there is no such file.

    Raises
    ------
    ValueError : the file is damaged; the message names the first fault.
    """
    return [dict(row) for row in _rows(path, tuple(keys), _version(path))] if path.exists() else []


def _version(path: Path) -> tuple[int, int, int]:
    """What changes when :func:`write_bytes` has replaced a file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=32)  # a chapter reads one table many times, and checking it takes a tenth of a second
def _rows(path: Path, keys: tuple[str, ...], version: tuple[int, int, int]) -> list[Row]:
    rows, faults = scan(path, keys)
    if faults:
        raise ValueError(f"{faults[0]}; {len(faults)} faults in all")
    return rows


@functools.lru_cache(maxsize=32)
def _frame(path: Path, keys: tuple[str, ...], version: tuple[int, int, int]) -> pd.DataFrame:
    return typed(_rows(path, keys, version))


def scan(path: Path, keys: Sequence[str] = (), text: Collection[str] | None = TEXT) -> tuple[list[Row], list[str]]:
    """The whole rows of a CSV file, and what is wrong with the others: file, line, column, what was expected.

    Parameters
    ----------
    path : the file; one that does not exist has no rows.
    keys : the columns that tell rows apart; of rows that have the same, none is whole.
    text : the columns of text; None for all.

    Raises
    ------
    ValueError : the first line does not name the columns.
    """
    if not path.exists():
        return [], []
    content = path.read_bytes().decode(errors="surrogateescape")
    _, columns = next(records := _records(content, text), (1, []))
    if len(set(columns)) < max(1, len(columns)) or not all(columns) or not set(keys) <= set(columns):
        raise ValueError(f"{path.name}: line 1: expected the names of the columns, among them {list(keys)}")
    whole, faults, ends = [], [], content.count("\n")
    for line, fields in records:
        row = dict(zip(columns, fields, strict=False))
        wrong = _fault(row, len(fields), len(columns), text)
        if not wrong and line > ends:
            wrong = "the end of the file is missing"
        if wrong:
            faults.append(f"{path.name}: line {line}: {wrong}")
        else:
            whole.append((line, row, key_of(row, keys, text)))
    times = Counter(key for _, _, key in whole)
    faults += [
        f"{path.name}: line {line}: expected one row with {', '.join(keys)} = {', '.join(key)}, there are {times[key]}"
        for line, _, key in whole
        if key and times[key] > 1
    ]
    return [row for _, row, key in whole if not key or times[key] == 1], faults


def _records(content: str, text: Collection[str] | None) -> Iterator[tuple[int, list[str]]]:
    """The numbers of lines with their fields. Where not all is text, a record is a line; a quote spoils no other."""
    csv.field_size_limit(2**31 - 1)
    pieces = [content] if text is None else content.split("\n")
    for number, piece in enumerate(pieces):
        reader = csv.reader(io.StringIO(piece))
        while True:
            try:
                fields = next(reader, None)
            except csv.Error:
                fields = ["a field without an end"]
            if fields is None:
                break
            if fields:
                yield number + reader.line_num, fields


def _fault(row: Row, fields: int, columns: int, text: Collection[str] | None) -> str:
    if fields != columns:
        return f"expected {columns} fields, got {fields}"
    for column, value in row.items():
        if re.search("[\0\udc80-\udcff]", value):
            return f"column {column}: expected text, got {value[:20]!r}"
        fine = value in ("True", "False") if column in TRUTHS else value == "" and column in OPTIONAL
        number = NUMBER.fullmatch(value) and math.isfinite(float(value))
        if not (fine or number or text is None or column in text):
            return f"column {column}: expected a finite number, got {value[:40]!r}"
    return ""


def key_of(row: Mapping[str, object], keys: Iterable[str], text: Collection[str] | None = TEXT) -> tuple[str, ...]:
    """What a row has in these columns, written so that 4, 4.0 and "4" are the same where numbers are expected."""
    return tuple(str(row[k]) if text is None or k in text else _number(row[k]) for k in keys)


def _number(value: object) -> str:
    try:
        return repr(float(str(value)))
    except ValueError:
        return str(value)


def typed(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a data frame: numbers, True and False as such, an empty number as NaN."""
    frame = pd.DataFrame(rows, dtype=str)
    for column in frame:
        if column in TRUTHS and {row[column] for row in rows} <= {"True", "False"}:
            frame[column] = frame[column] == "True"
        elif column not in TEXT:
            frame[column] = pd.to_numeric(frame[column].mask(frame[column] == ""))
    return frame


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Replace the CSV file by these rows, all with the columns of the first, in one step.

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
    write_bytes(path, text.getvalue().replace("\0", "\\0").encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step (temporary file of a name of its own, rename), which no signal interrupts."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with uninterrupted():
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether a file is there, and whole as far as its kind tells: the checksums of .npz, the syntax of .json."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                return file.testzip() is None
        if path.suffix in (".json", ".ipynb"):
            json.loads(path.read_bytes())
        return path.is_file()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """The right to write a file and those beside it, for one process at a time; another says so and waits.

    What a killed one has left half written goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path.name}: another run is writing it; waiting for its end", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        for left in (*path.parent.glob(".*.tmp"), *path.parent.glob("*/.*.tmp")):  # by-products have folders of theirs
            with contextlib.suppress(OSError):
                if TEMPORARY.fullmatch(left.name) and time.time() - left.stat().st_mtime > STALE:
                    left.unlink()
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # signals interrupt no other
        yield
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for received in dict.fromkeys(held):
            signal.raise_signal(received)
