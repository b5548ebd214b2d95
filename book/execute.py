"""Re-execute notebooks in place: ``python book/execute.py notebooks/*.ipynb``; one that fails is left as it was."""

import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

from lib.runs.options import program
from lib.runs.tables import write_bytes

CONFIG = Path(__file__).parents[1] / "_config.yml"
COLAB = """\
# Google Colab has neither the library nor the results: fetch both. Elsewhere this cell does nothing.
import importlib.util, os, subprocess, sys

if "google.colab" in sys.modules and importlib.util.find_spec("lib") is None:
    subprocess.run("git clone --quiet --depth 1 --branch {branch} {url} artifacts".split(), check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", "artifacts"], check=True)
    os.chdir("artifacts/notebooks")
    sys.path.insert(0, os.path.abspath(".."))"""


def execute(path: Path, config: Path = CONFIG) -> None:
    """Run a notebook from its folder; with a cell for Google Colab if _config.yml names the repository it is in."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "colab"]
    if (repository := yaml.safe_load(config.read_text(encoding="utf-8"))["repository"])["url"]:
        cell = nbformat.v4.new_code_cell(COLAB.format(**repository), id="colab", metadata={"tags": ["remove-cell"]})
        notebook.cells.insert([c.cell_type for c in notebook.cells].index("code"), cell)
    options = {"resources": {"metadata": {"path": str(path.parent)}}, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, kernel_name="python3", timeout=600, **options).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # random names of lost models
    write_bytes(path, nbformat.writes(notebook).encode())


def main() -> int:
    """Execute all, and name those that failed."""
    failed = 0
    for name in sys.argv[1:]:
        try:
            execute(Path(name))
        except Exception as error:  # of a cell, or whatever is made of a file that is no notebook
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    program(main)
