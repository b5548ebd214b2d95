"""Re-execute the book's notebooks in place, so that pages, outputs and library agree."""

import argparse
import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

from lib.records import write_bytes

CONFIG = Path(__file__).parent.parent / "_config.yml"
COLAB = """\
# Google Colab has neither the library nor the results: fetch both. Elsewhere this cell does nothing.
import importlib.util
import os
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("lib") is None:
    subprocess.run("git clone --quiet --depth 1 --branch {branch} {url} artifacts".split(), check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", "artifacts"], check=True)
    os.chdir("artifacts/notebooks")
    sys.path.insert(0, os.path.abspath(".."))"""


def colab_source(config: Path = CONFIG) -> str:
    """The cell that a notebook needs on Google Colab, for the repository named in _config.yml; "" if none is."""
    repository = yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]
    return COLAB.format(**repository) if repository["url"] else ""


def set_colab_cell(notebook: nbformat.NotebookNode, source: str) -> None:
    """Put the cell before all other code, replacing an older one; with an empty source, take it out."""
    notebook.cells = [cell for cell in notebook.cells if cell.id != "colab"]
    if source:
        first = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
        cell = nbformat.v4.new_code_cell(source, id="colab", metadata={"tags": ["remove-cell"]})
        notebook.cells.insert(first, cell)


def execute(path: Path, colab: str = "") -> None:
    """Run one notebook from the folder it lies in and replace it, in one step, by itself with fresh outputs.

    Timings, widget states and everything else that differs from run to run are left out. ``colab`` is the source of
    its cell for Google Colab, see `set_colab_cell`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell failed; the file is left as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    set_colab_cell(notebook, colab)
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
    parser.add_argument("notebook", type=Path, nargs="+", help="a file, re-executed in place")
    failed = 0
    for path in parser.parse_args(arguments).notebook:
        try:
            execute(path, colab_source())
        except (CellExecutionError, OSError) as error:
            failed += 1
            print(f"{path}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
