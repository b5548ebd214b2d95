"""Re-execute the book's notebooks in place, so that pages, outputs and library agree."""

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

from lib.records import write_bytes


def execute(path: Path) -> None:
    """Run one notebook from the folder it lies in and replace it, in one step, by itself with fresh outputs.

    Timings, widget states and everything else that differs from run to run are left out.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell failed; the file is left as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=code, desc=path.name, unit="cell") as progress:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=600,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=lambda **_: progress.update(),
        )
        client.execute()
    notebook.metadata.pop("widgets", None)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # random names of lost models
    notebook.metadata.get("language_info", {}).pop("version", None)
    write_bytes(path, (nbformat.writes(notebook) + "\n").encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.execute",
        description="Re-execute notebooks in place. A notebook that fails is left as it was.",
        epilog="example: python -m lib.execute notebooks/cs_mri.ipynb",
    )
    parser.add_argument("notebook", type=Path, nargs="+")
    failed = 0
    for path in parser.parse_args(arguments).notebook:
        try:
            execute(path)
        except (CellExecutionError, OSError) as error:
            failed += 1
            print(f"{path}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
