"""Long computations: the cells that a table lacks are computed, and each finished row is in its file at once.

A table is a list of cells (parameters), a function from a cell to rows, and a CSV file. Whoever runs it alone writes;
workers compute. A row says what it cost, where it was computed, and by which code: the column ``code`` is a hash of the
modules behind it. When they change, rows become *unverified*. They count, and :func:`verify` tells by a sample whether
they still hold.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import Client
from tqdm import tqdm

from lib.runs.cluster import Cell, computed, connect
from lib.runs.provenance import code_hash, provenance
from lib.runs.tables import (
    KEYS,
    MEASURED,
    RESULTS,
    TEXT,
    Row,
    alone,
    is_whole,
    key_of,
    scan,
    typed,
    write_bytes,
    write_rows,
)

RECOMPUTE = "recompute"  # as the hash of a row: it counts as missing
RANKS = {"tv": 0, "tira": 1, "tirafl": 2}  # methods are sorted as in the paper, other texts by letter
Found = tuple[list[dict[str, Any]], dict[str, bytes]]  # of a cell: its rows, and the files that belong to them


@dataclass(frozen=True)
class Table:
    """What a table consists of.

    Attributes
    ----------
    name : of the CSV file, without its ending.
    cells : the cells for the rows that are there, in the order in which they are computed. Asked again after they are
        done, until nothing is missing; so a search can depend on what it has found. A value under a name in ``keys``,
        or ``setting``, is put into the cell's rows, and must be that of a row for the row to count.
    compute : a function of a module, from a cell's values to what else its rows have, and files: by-products, their
        names (from the folder of the CSV file) with their bytes. It runs on a worker.
    groups : the columns in which rows agree that are verified together.
    measured : the columns that are compared; the table's entry of `lib.runs.tables.MEASURED` if not given.
    tolerance : for a row, the relative deviation that verifying allows.
    keys : what tells rows apart; the table's entry of `lib.runs.tables.KEYS` if not given.
    size : rows of a cell.
    files : the names of the by-products that the rows of a cell need.
    code : the hash of the code, if it is not that of ``compute``'s module.
    text : the columns of text; None for all.
    """

    name: str
    cells: Callable[[pd.DataFrame], Iterable[Cell]]
    compute: Callable[..., tuple[Iterable[Mapping[str, Any]], Mapping[str, bytes]]]
    groups: tuple[str, ...]
    measured: tuple[str, ...] = ()
    tolerance: Callable[[Row], float] = lambda row: 1e-3
    keys: tuple[str, ...] = ()
    size: int = 1
    files: Callable[[Cell], tuple[str, ...]] = lambda cell: ()
    code: str = ""
    text: frozenset[str] | None = TEXT

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", self.keys or KEYS[self.name])
        object.__setattr__(self, "measured", self.measured or MEASURED.get(self.name, ()))

    def hash(self) -> str:
        return self.code or code_hash(self.compute)

    def shared(self, cell: Cell) -> dict[str, Any]:
        """What of a cell its rows have, too."""
        return {name: value for name, value in cell.items() if name in (*self.keys, "setting")}


def grid(**values: Iterable[Any]) -> Callable[[pd.DataFrame], list[dict[str, Any]]]:
    """The cells of a table that has every combination of these values, the last changing fastest."""
    every = [dict(zip(values, cell, strict=True)) for cell in itertools.product(*values.values())]
    return lambda rows: every


@dataclass(frozen=True)
class Report:
    """What a run did: new and all rows, those of other code, the cells that failed, and why."""

    name: str
    new: int
    rows: int
    unverified: int
    failures: list[tuple[Cell, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.name}.csv: {self.rows} rows, {self.new} of them new"]
        if self.unverified:
            lines.append(f"{self.unverified} rows are unverified: the code has changed since (make verify)")
        for cell, error in self.failures:
            shown = ", ".join(f"{name} = {value}" for name, value in cell.items())
            lines.append(f"failed: {shown}: {error}")
        return "\n".join(lines)


def run(
    table: Table,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    folder: Path = RESULTS,
    choose: Callable[[Cell], bool] = lambda cell: True,
) -> Report:
    """Compute the cells that a table lacks; each row is written, after its files, as soon as it is known.

    Parameters
    ----------
    table : what to compute.
    scheduler : address of a Dask scheduler; None starts workers on this machine, if there is anything to do.
    workers : how many; as many as there are processors for this process if not given.
    folder : where the CSV file lies.
    choose : which cells.

    Raises
    ------
    OSError : a file cannot be written. All rows until then are kept.
    """
    new = 0
    failures: list[tuple[Cell, str]] = []
    tried: set[str] = set()
    with _writing(table, folder) as file, contextlib.ExitStack() as stack:
        client: Client | None = None
        while todo := [cell for cell in file.missing(choose) if repr(cell) not in tried]:
            tried.update(map(repr, todo))
            if client is None:
                client = stack.enter_context(connect(scheduler, workers))
                bar = stack.enter_context(tqdm(total=0, desc=table.name, unit="cell"))
            bar.total += len(todo)
            bar.refresh()
            for cell, (rows, files, error) in computed(client, table.compute, table.code, todo):
                for name, content in files.items():
                    write_bytes(file.path.parent / name, content)
                if error:
                    failures.append((cell, error))
                    bar.set_postfix(failed=len(failures))
                else:
                    file.replace(table.shared(cell) | row for row in rows)
                    new += len(rows)
                bar.update()
        failed = [cell for cell, _ in failures]
        missing = (cell for cell in file.missing(choose) if repr(cell) in tried and cell not in failed)
        failures += [(cell, "what it gave is not the rows and files of this cell") for cell in missing]
        return Report(table.name, new, len(file.rows), file.unverified(), failures)


def verify(
    table: Table,
    share: float,
    *,
    tolerance: float | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    folder: Path = RESULTS,
    choose: Callable[[Cell], bool] = lambda cell: True,
) -> list[str]:
    """Compute a sample of the unverified rows again: a group that agrees gets the hash of today's code.

    Its numbers stay as they are. A group of which a row does not agree is marked, for :func:`run` to compute it anew.

    Parameters
    ----------
    table, scheduler, workers, folder, choose : see :func:`run`.
    share : of each group (rows that agree in ``table.groups``), from 0 to 1; one cell at least.
    tolerance : the relative deviation that is allowed; the table's if not given.

    Returns
    -------
    One line for each group.
    """
    if not 0 < share <= 1:
        raise ValueError(f"verify: share must lie in (0, 1], got {share!r}")
    with _writing(table, folder) as file:
        groups: dict[tuple[str, ...], list[Cell]] = {}
        for cell in file.cells():
            mine = file.of(cell)
            if mine and choose(cell) and any(row["code"] not in (file.code, RECOMPUTE) for row in mine):
                groups.setdefault(key_of(mine[0], table.groups, table.text), []).append(cell)
        if not groups:
            return []
        draw = random.Random(0)
        samples = {group: draw.sample(cells, math.ceil(share * len(cells))) for group, cells in groups.items()}
        every = [cell for cells in samples.values() for cell in cells]
        with connect(scheduler, workers) as client:
            results = computed(client, table.compute, table.code, every)
            again = {repr(cell): found for cell, found in tqdm(results, total=len(every), desc=f"verify {table.name}")}
        lines = []
        for group, cells in groups.items():
            code, verdict = file.code, "verified"
            for cell in samples[group]:
                rows, _, error = again[repr(cell)]
                rows = [table.shared(cell) | row for row in rows]
                if error or any(row["code"] != file.code for row in rows):
                    code, verdict = "", f"not verified: {error or 'the worker has other code'}"
                elif code and (deviation := _deviation(table, file.of(cell), rows, tolerance)):
                    code, verdict = RECOMPUTE, f"to be computed anew: {deviation}"
            if code:
                file.stamp(cells, code)
            name = ", ".join(f"{k} {v}" for k, v in zip(table.groups, group, strict=True))
            lines.append(f"{name}: {len(cells)} cells, {len(samples[group])} computed again, {verdict}")
        return lines


def mark(table: Table, folder: Path = RESULTS) -> None:
    """Let every unverified row count as missing."""
    with _writing(table, folder) as file:
        file.stamp(file.cells(), RECOMPUTE)


def _deviation(table: Table, old: Sequence[Row], new: Sequence[Mapping[str, Any]], tolerance: float | None) -> str:
    """What is too far from what was measured before; "" if nothing."""
    again = {key_of(row, table.keys, table.text): row for row in new}
    for row in old:
        found = again.get(key_of(row, table.keys, table.text))
        if found is None:
            return "a row is missing"
        allowed = table.tolerance(row) if tolerance is None else tolerance
        for name in table.measured or [n for n in row if n not in (*table.keys, *_origin(), "setting")]:
            before, after = row.get(name, ""), str(found.get(name, ""))
            words = before.split(), after.split()
            if len(words[0]) != len(words[1]) or not all(_close(*pair, allowed) for pair in zip(*words, strict=True)):
                return f"{name} was {before}, is {after}"
    return ""


def _close(before: str, after: str, allowed: float) -> bool:
    try:
        return math.isclose(float(before), float(after), rel_tol=allowed)
    except ValueError:
        return before == after


def _origin() -> tuple[str, ...]:
    return ("seconds", "threads", *provenance(), "code")


class _File:
    """The rows of a table, as they are written, while a run has the right to write them."""

    def __init__(self, table: Table, path: Path):
        self.table, self.path, self.code = table, path, table.hash()
        self.rows, faults = scan(self.path, table.keys, table.text)
        for row in self.rows:
            row.setdefault("code", "")
        lacking = [name for name in table.measured if self.rows and name not in self.rows[0]]
        if lacking:
            faults.append(f"{path.name}: line 1: expected the columns {lacking}, too")
            self.rows = []
        for fault in faults:
            print(f"{fault}; left out, and computed anew if it is wanted", file=sys.stderr)
        if faults:  # rows that this run does not want would be lost with its first write
            write_bytes(path.with_name(f"{path.name}.damaged"), path.read_bytes())

    _index: tuple[list[str], dict[tuple[str, ...], list[Row]]] | None = None  # the rows by the values of a cell

    def of(self, cell: Cell) -> list[Row]:
        """The rows of a cell."""
        keys = list(self.table.shared(cell))
        wanted = key_of(cell, keys, self.table.text)
        if self._index is None or self._index[0] != keys:
            found: dict[tuple[str, ...], list[Row]] = {}
            for row in self.rows:
                found.setdefault(key_of(row, keys, self.table.text), []).append(row)
            self._index = keys, found
        return self._index[1].get(wanted, [])

    def cells(self) -> list[Cell]:
        counted = [row for row in self.rows if row["code"] != RECOMPUTE]
        return list(self.table.cells(pd.DataFrame(counted) if self.table.text is None else typed(counted)))

    def missing(self, choose: Callable[[Cell], bool]) -> list[Cell]:
        def there(cell: Cell) -> bool:
            mine = self.of(cell)
            return (
                len(mine) >= self.table.size
                and all(row["code"] != RECOMPUTE for row in mine)
                and all(is_whole(self.path.parent / name) for name in self.table.files(cell))
            )

        return [cell for cell in self.cells() if choose(cell) and not there(cell)]

    def stamp(self, cells: Iterable[Cell], code: str) -> None:
        """Give unverified rows of these cells another hash."""
        for row in itertools.chain.from_iterable(map(self.of, cells)):
            row["code"] = row["code"] if row["code"] == self.code else code
        if self.rows:
            self.write()

    def unverified(self) -> int:
        return sum(row["code"] not in (self.code, RECOMPUTE) for row in self.rows)

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put rows in the place of those with the same keys, and write the file."""
        new = [{name: str(value) for name, value in row.items()} for row in rows]
        keys, text = self.table.keys, self.table.text
        gone = {key_of(row, keys, text) for row in new}
        before = self.rows
        self.rows = [row for row in self.rows if key_of(row, keys, text) not in gone] + new
        self.rows.sort(key=lambda row: [_rank(value) for value in key_of(row, keys, text)])
        self._index = None
        try:
            self.write()
        except OSError:
            self.rows = before
            raise

    def write(self) -> None:
        tail = _origin()
        names = dict.fromkeys(name for row in self.rows for name in row)
        columns = [*(name for name in names if name not in tail), *(name for name in tail if name in names)]
        write_rows(self.path, [{name: row.get(name, "") for name in columns} for row in self.rows])


def _rank(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float(RANKS.get(value, len(RANKS))), value


@contextlib.contextmanager
def _writing(table: Table, folder: Path) -> Iterator[_File]:
    """The file of a table, for one run at a time; another waits."""
    path = folder / f"{table.name}.csv"
    with alone(path):
        yield _File(table, path)
