"""Tables that the cells of a chapter compute."""

from collections.abc import Iterable, Sequence

from IPython.display import Markdown


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    r"""A table that a notebook and the book show; formulas such as ``$\alpha$`` are set.

    Parameters
    ----------
    header : the names of the columns; the first may be empty.
    rows : as many entries each; what is no text is shown as ``str`` does.

    Raises
    ------
    ValueError : a row is shorter or longer than the header.

    >>> print(table(["", "peak"], [["TV", "5.8"]]).data)
    |  | peak |
    |---|---|
    | TV | 5.8 |
    """
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"table: expected {len(header)} entries, as in the header, got {len(row)}: {row!r}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return Markdown("\n".join(lines))
