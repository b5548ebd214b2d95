"""What each command of book/reproduce.md costs: results/times.csv, one row for each `make` target that was run.

The rows of these targets are replaced. Seconds of the processor are what counts on a busy machine; the wall clock is
recorded, too. With --rows it adds up what the cells of long runs took: seconds of the processor, or for rows of older
versions those of the clock, of one thread.
"""

import argparse
import resource
import subprocess
import time
from collections.abc import Mapping

from tqdm import tqdm

from lib.runs.options import program
from lib.runs.provenance import provenance
from lib.runs.tables import RESULTS, ROOT, read_rows, read_table, write_rows

LONG = {  # target: the tables whose rows have their share of the seconds of a cell
    "beyond": ["beyond"],
    "calibrate": ["lambda"],
    "compare": ["networks_error"],
    "table1": ["table1", "sigma", "transfer", "robustness", "sensitivity", "final"],
    "theory": ["theory_growth", "theory_masks", "theory_transition"],
}


def run(target: str) -> tuple[float, float]:
    """Seconds of the wall clock and of the processor that ``make target`` takes."""
    subprocess.run(["make", ".venv/.ready"], cwd=ROOT, check=True, capture_output=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["make", target], cwd=ROOT, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cells(name: str) -> float:
    """Seconds of the processor that the cells of a table took; on a GPU, the mean of those like it elsewhere."""
    rows = read_table(name)
    rows.loc[rows["cpu"].str.contains("NVIDIA"), "seconds"] = float("nan")
    alike = [column for column in ("method", "optimiser", "preset") if column in rows]
    means = rows.groupby(alike)["seconds"].transform("mean") if alike else rows["seconds"].mean()
    return float(rows["seconds"].fillna(means).sum())


def record(target: str, wall: float | None, processor: float) -> None:
    """Put a row into results/times.csv in place of the target's old one."""
    path = RESULTS / "times.csv"
    new: dict[str, object] = {
        "target": target,
        "wall_seconds": "" if wall is None else f"{wall:.1f}",
        "processor_seconds": f"{processor:.1f}",
        **provenance(),
    }
    rows: list[Mapping[str, object]] = [row for row in read_rows(path) if row["target"] != target]
    write_rows(path, sorted([*rows, new], key=lambda row: str(row["target"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/times.py fig-2 strict")
    parser.add_argument("target", nargs="*", help="targets of the Makefile")
    parser.add_argument("--rows", nargs="+", choices=LONG, default=[], help="add up the recorded seconds of these")
    arguments = parser.parse_args()
    for target in tqdm(arguments.target, unit="target"):
        record(target, *run(target))
    for target in arguments.rows:
        record(target, None, sum(map(cells, LONG[target])))


if __name__ == "__main__":
    program(main)
