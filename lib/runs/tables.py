"""The rows of results/*.csv as data frames.

A stand-in: the engine of the long runs brings the module of this name, with the same `read_table` and `RESULTS`.
"""

from pathlib import Path

import pandas

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
TEXT = ("version", "setting", "network", "cpu", "torch", "numpy", "scipy", "first_m")  # never numbers; "" where empty


def read_table(name: str, **same: object) -> pandas.DataFrame:
    """The rows of results/NAME.csv that have these values in these columns.

    >>> float(read_table("paper_table1", method="tv", lines=40, noise_rel=0.04).alpha_mean.item())
    6.88
    """
    table = pandas.read_csv(RESULTS / f"{name}.csv", dtype=dict.fromkeys(TEXT, str))
    table = table.fillna({column: "" for column in TEXT if column in table})
    for column, value in same.items():
        table = table[table[column] == value]
    return table
