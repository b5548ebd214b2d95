"""A notebook over a grid of parameters, from one machine to the user's own cluster; ``make sweep``."""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import io
import itertools
import json
import logging
import math
import os
import re
import reprlib
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from lib.runs.engine import RECOMPUTE, Report, Table, mark, run
from lib.runs.options import add_scheduler, fails, program
from lib.runs.provenance import notebook_hash, provenance
from lib.runs.tables import ROOT, key_of, scan, write_bytes

LARGEST = 100_000  # runs of a sweep, and values in its file
KEYS = "notebook and parameters, perhaps plot"
PLAIN = (str, int, float, bool, type(None))
EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+", re.IGNORECASE)
QUIET = {
    "progress_bar": False,
    "log_output": False,
    "extra_arguments": ["--IPKernelApp.log_level=50"],
    "language": "python",
}
RESERVED = ("notebook", "seconds", "threads", *provenance(), "code")  # columns of the table


@dataclass(frozen=True)
class Sweep:
    """What a YAML file asks for.

    Attributes
    ----------
    notebook : the notebook that is run for each combination of parameters.
    parameters : for each parameter the values that it takes.
    x, y, group : what the plot at the end shows: parameter, result, and the parameter that tells curves apart. None
        takes the first number that the results have for ``y``, the first two parameters with several values for others.
    """

    notebook: Path
    parameters: Mapping[str, Sequence[Any]]
    x: str | None = None
    y: str | None = None
    group: str | None = None


class NotebookError(RuntimeError):
    """A cell of the notebook failed; ``files`` has the notebook as it was then."""

    def __init__(self, message: str, files: Mapping[str, bytes]):
        super().__init__(message)
        self.files = dict(files)


def read_sweep(path: Path) -> Sweep:
    """The sweep of a YAML file, checked against the parameters that its notebook has.

    The file has ``notebook``, a path from the file's own folder; ``parameters``, for each name a list of values; and
    perhaps ``plot`` with ``x``, ``y``, ``group``.

    Raises
    ------
    ValueError : the file is not such a file; a parameter is unknown to the notebook or has another type than its
        default there. The message lists the parameters of the notebook.
    FileNotFoundError : there is no such file, or notebook.
    """

    def need(condition: bool, text: str) -> None:
        if not condition:
            raise ValueError(f"{path.name}: {text}")

    try:
        content = yaml.load(path.read_bytes(), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: not YAML: {error}") from None
    need(_is_small(content), f"expected at most {LARGEST} values, where each alias is written out")
    wanted, allowed, got = {"notebook", "parameters"}, {"notebook", "parameters", "plot"}, reprlib.repr(content)
    need(isinstance(content, dict) and wanted <= set(content) <= allowed, f"expected the keys {KEYS}, got {got}")
    parameters, plot = content["parameters"], content.get("plot") or {}
    lists = isinstance(parameters, dict) and all(isinstance(v, list) and v for v in parameters.values())
    need(lists, f"expected a list of values for each parameter, got {reprlib.repr(parameters)}")
    texts = isinstance(plot, dict) and set(plot) <= {"x", "y", "group"} and {*map(type, plot.values())} <= {str}
    need(texts, f"plot: expected x, y, group and a name for each, got {plot!r}")
    many = math.prod(map(len, parameters.values())) > LARGEST
    need(not many, f"expected at most {LARGEST} combinations of parameters")
    notebook = (path.parent / str(content["notebook"])).resolve()
    if not notebook.is_file():
        raise FileNotFoundError(f"{path.name}: there is no notebook {content['notebook']}")
    _check_parameters(notebook, parameters)
    for name in {"x", "group"} & set(plot):
        need(plot[name] in parameters, f"plot: {name} must be one of {list(parameters)}, got {plot[name]!r}")
    return Sweep(notebook, parameters, **plot)


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice, numbers are decimal (not 1:30 for 90, or 010 for 8), and texts can be kept."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [str(key.value) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key stands twice among {keys}")
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.endswith((":int", ":float")) and re.match(r"[+-]?0[\dbx_]|.*:", node.value):
            raise ValueError(f"expected a decimal number, or a text in quotes, got {reprlib.repr(node.value)}")
        if re.search("[\0\ud800-\udfff]", node.value):
            raise ValueError(f"expected a text without NUL and half characters, got {node.value!a}")
        return super().construct_scalar(node)


def _is_small(content: object) -> bool:
    waiting, seen = [content], 0
    while waiting and seen <= LARGEST:
        value, seen = waiting.pop(), seen + 1
        waiting += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return seen <= LARGEST


def _known_parameters(notebook: Path) -> dict[str, tuple[str, str]]:
    """For each name in the cell tagged ``parameters`` its default and the line."""
    try:
        cells = nbformat.read(notebook, 4).cells
        source = next((c.source for c in cells if "parameters" in c.metadata.get("tags", [])), "")
        source = TransformerManager().transform_cell(source)  # commands of IPython as Python
        tree = ast.parse(source)
    except Exception as error:  # whatever is made of JSON of another shape
        raise ValueError(f"{notebook.name} is not a notebook with parameters in Python: {error}") from None
    found = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                found[name] = ast.unparse(value), source.splitlines()[node.lineno - 1].strip()
    return found


def _check_parameters(notebook: Path, parameters: Mapping[str, Sequence[Any]]) -> None:
    known = _known_parameters(notebook)
    listed = "\n".join(f"  {line}" for _, line in known.values())
    listed = f"{notebook.name} has the parameters\n{listed}" if known else f"{notebook.name} has no cell of parameters"
    for name, values in parameters.items():
        if name not in known:
            raise ValueError(f"unknown parameter {name!r}: {listed}")
        if name in RESERVED:
            raise ValueError(f"parameter {name!r}: that is the name of a column; call it otherwise")
        try:
            default = ast.literal_eval(known[name][0])
        except (ValueError, SyntaxError):
            default = None  # an expression: its type is not known before it runs
        for value in values:
            number = isinstance(value, str) and not isinstance(default, str) and EXPONENT.fullmatch(value)
            if number or not _same_kind(value, default):
                expected = "a number, text, true, false, null or a list of these"
                expected = expected if default is None else f"{type(default).__name__} as {default!r} is"
                hint = " (YAML writes 1e-3 as 1.0e-3, and 1e3 as 1.0e+3)" if number else ""
                raise ValueError(f"parameter {name!r}: expected {expected}, got {reprlib.repr(value)}{hint}: {listed}")
            if any(str(value) == str(other) and value != other for other in values):
                raise ValueError(f"parameter {name!r}: {value!r} is there as a text and as a number: {listed}")


def _same_kind(value: object, default: object) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if default is None:
        return all(_same_kind(v, None) for v in value) if isinstance(value, list) else isinstance(value, PLAIN)
    if isinstance(default, list | tuple):
        return isinstance(value, list) and all(_same_kind(v, default[0] if default else None) for v in value)
    if isinstance(default, dict):
        return isinstance(value, dict) and _same_kind([*value.values()], None)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return type(value) is type(default)


def cells(sweep: Sweep) -> list[dict[str, Any]]:
    """All combinations of parameters, each once, the last parameter changing fastest."""
    found = {}
    for values in itertools.product(*sweep.parameters.values()):
        parameters = dict(zip(sweep.parameters, values, strict=True))
        found[notebook_name(parameters)] = parameters
    return list(found.values())


def notebook_name(parameters: Mapping[str, Any]) -> str:
    """The file of a run, named by a hash of its parameters."""
    text = json.dumps({name: str(value) for name, value in parameters.items()}, sort_keys=True)
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:10]}.ipynb"


def execute(source: str, folder: str, /, **parameters: Any) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Run a notebook (its JSON) with these parameters, in ``folder`` if this machine has it.

    Returns
    -------
    One row, of the parameters and what the cell tagged ``result`` shows as ``application/json``; and the notebook.

    Raises
    ------
    NotebookError : a cell failed, or the kernel died.
    """
    import papermill  # slow to import, and needed by workers only

    logging.getLogger("papermill").setLevel(logging.ERROR)
    error, name = "", notebook_name(parameters)
    with tempfile.TemporaryDirectory() as temporary:
        before, after = Path(temporary, "in.ipynb"), Path(temporary, "out.ipynb")
        before.write_text(source, encoding="utf-8")
        cwd = folder if Path(folder).is_dir() else temporary
        kernel = nbformat.reads(source, 4).metadata.get("kernelspec", {}).get("name", "python3")
        try:
            options = {"cwd": cwd, "kernel_name": kernel, "language": "python", **QUIET}
            papermill.execute_notebook(before, after, parameters, **options)
        except Exception as problem:  # the notebook's own, a dead kernel, a missing one
            error = f"{type(problem).__name__}: {problem}".strip()
        notebook = nbformat.read(after if after.exists() else before, 4)
    files = {name: nbformat.writes(notebook).encode()}
    if error:
        outputs = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
        raise NotebookError(f"{outputs[-1].ename}: {outputs[-1].evalue}" if outputs else error, files)
    clear = {}
    for key, value in result(notebook).items():
        if not key or key in RESERVED or str(value) != str(parameters.get(key, value)):
            key = f"result_{key}"  # a column of ours, or a parameter that the notebook changed
        if key not in parameters:
            clear[key] = value
    return [{**parameters, **clear, "notebook": name}], files


def result(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the cell tagged ``result`` shows as ``application/json``; nothing if there is none."""
    for cell in notebook.cells:
        if "result" in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                found = output.get("data", {}).get("application/json")
                if isinstance(found, dict):
                    return dict(found)
    return {}


def table(sweep: Sweep) -> Table:
    """The table of a sweep, runs.csv beside its notebooks."""
    every = cells(sweep)
    source = sweep.notebook.read_text(encoding="utf-8")
    return Table(
        "runs",
        lambda rows: every,
        functools.partial(execute, source, str(sweep.notebook.parent)),
        groups=(),
        measured=(),
        keys=tuple(sweep.parameters),
        files=lambda cell: (notebook_name(cell),),
        code=notebook_hash(sweep.notebook),
        text=None,
    )


def run_sweep(
    sweep: Sweep, folder: Path, *, scheduler: str | None = None, workers: int | None = None, recompute: bool = False
) -> tuple[pd.DataFrame, Report]:
    """Run what ``folder`` lacks: a notebook for each run, ``runs.csv`` and ``summary.png``.

    Runs of a notebook that has changed since, or of a changed module that it imports, are kept as unverified; with
    ``recompute`` they run again. Only this process writes: workers need the library, not the folder.

    Returns
    -------
    The rows of the runs that are done, in the order of the grid, and what happened.

    Raises
    ------
    ValueError : ``folder`` has runs of other parameters, or its table is damaged as a whole.
    """
    wanted, path = table(sweep), folder / "runs.csv"
    there = scan(path, (), None)[0]
    if there and not any(row.get("notebook") == notebook_name({k: row.get(k) for k in wanted.keys}) for row in there):
        raise ValueError(f"{path.name}: expected runs of the parameters {list(wanted.keys)}; give another --out")
    if recompute:
        mark(wanted, folder)
    report = run(wanted, scheduler=scheduler, workers=workers, folder=folder)
    done = [row for row in scan(path, wanted.keys, None)[0] if row["code"] != RECOMPUTE]
    rows = {key_of(row, wanted.keys, None): row for row in done}
    keys = [key_of(cell, wanted.keys, None) for cell in cells(sweep)]
    found = pd.DataFrame([rows[key] for key in keys if key in rows], dtype=str)
    for column in found:
        numbers = pd.to_numeric(found[column], errors="coerce")
        found[column] = found[column] if numbers.isna().any() else numbers
    _plot(sweep, found, folder / "summary.png")
    return found, report


def axes(sweep: Sweep, found: pd.DataFrame) -> tuple[str, str, str]:
    """The names of x, y and group of the plot, where the file leaves them open; "" for none."""
    varied = [name for name, values in sweep.parameters.items() if len(values) > 1]
    numeric = [c for c in found if c not in (*sweep.parameters, *RESERVED) and pd.api.types.is_numeric_dtype(found[c])]
    x = sweep.x or next((c for c in varied if c in found and pd.api.types.is_numeric_dtype(found[c])), "")
    return x, sweep.y or next(iter(numeric), "seconds"), sweep.group or next((name for name in varied if name != x), "")


def _plot(sweep: Sweep, found: pd.DataFrame, path: Path) -> None:
    """Mean and standard deviation of a result against a parameter, a curve for each value of another."""
    x, y, group = axes(sweep, found)
    if not all(name in found and pd.api.types.is_numeric_dtype(found[name]) for name in (x, y)):
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    spread = found.pivot_table(y, x, group or None, ["mean", "std"], dropna=False)
    spread = spread.rename(columns=_labels(set(found[group]) if group else ()))
    figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    spread["mean"].plot(ax=ax, yerr=spread["std"], marker="o", capsize=3, ylabel=y, legend=bool(group))
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    plt.close(figure)
    write_bytes(path, content.getvalue())


def _labels(values: Collection[Any]) -> Callable[[Any], str]:
    """How a legend names values: files by their names, if these differ; no mathematics."""
    files = {value: Path(value).name for value in values if isinstance(value, str) and Path(value).suffix}
    short = files if len(set(files.values())) == len(files) else {}
    return lambda value: str(short.get(value, value)).replace("$", r"\$")


def summary(sweep: Sweep, found: pd.DataFrame, report: Report) -> str:
    """A table to read, of what varied and of the result that is plotted; then what failed, and why."""
    columns = [name for name, values in sweep.parameters.items() if len(values) > 1]
    columns = [c for c in dict.fromkeys([*columns, axes(sweep, found)[1], "seconds", "notebook"]) if c in found]
    lines = [found[columns].to_string(index=False, float_format="{:.4g}".format)] if len(found) else []
    if sweep.y and sweep.y not in found:
        lines.append(f"plot: no run gave {sweep.y!r}; the columns are {', '.join(found)}")
    lines.append(f"{len(found)} done, {len(report.failures)} failed")
    if report.unverified:
        lines.append(f"{report.unverified} unverified: the notebook or what it imports has changed; --recompute")
    lines += [f"{notebook_name(cell)}: {error}" for cell, error in report.failures]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.runs.sweep",
        description="Run a notebook for every combination of parameters. Runs what is missing or failed before.",
        epilog="example: python -m lib.runs.sweep notebooks/attack_cell.yml --workers 2",
    )
    parser.add_argument("file", type=Path, help="YAML file with notebook, parameters and perhaps plot")
    parser.add_argument("--out", type=Path, help="folder for notebooks and table; default: _sweeps/NAME")
    parser.add_argument("--recompute", action="store_true", help="run again what other code has computed")
    add_scheduler(parser)
    args = parser.parse_args(arguments)
    folder = args.out or ROOT / "_sweeps" / args.file.stem

    def work() -> int:
        sweep = read_sweep(args.file)
        place = {"scheduler": args.scheduler, "workers": args.workers}
        found, report = run_sweep(sweep, folder, recompute=args.recompute, **place)
        print(summary(sweep, found, report))
        there = [name for name in ("runs.csv", "summary.png") if (folder / name).exists()]
        print(f"{os.path.relpath(folder)}: {', '.join(['a notebook for each run', *there])}")
        return int(bool(report.failures))

    return fails("sweep", work)


if __name__ == "__main__":
    program(main)
