"""The current rows of Section 4 as a data frame.

A stand-in: the module of this name of the long runs has this, and what `lib.experiments` has of Table 1.
"""

import pandas

from lib.experiments import TABLES, from_row
from lib.runs.tables import read_table


def current_rows(name: str, **same: object) -> pandas.DataFrame:
    """The rows of results/NAME.csv of today's lambda and weights, with these values in these columns."""
    table, setting = read_table(name, **same), TABLES[name][2]
    texts = table.astype(str).to_dict("records")
    return table[[row["setting"] == setting(from_row(row)) for row in texts]]
