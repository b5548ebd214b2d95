"""Notebooks over a grid of parameters, on Dask: ``make sweep``; from one machine to the user's own cluster."""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import itertools
import json
import logging
import math
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import nbformat
import papermill
import yaml
from distributed import Client, Future, LocalCluster, as_completed
from tqdm import tqdm

from lib.records import ROOT, count, write_bytes, write_rows

CONNECT_SECONDS = 5  # until a scheduler counts as unreachable
DEATHS = 1  # of workers that a run may cause on this machine before it is tried alone


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


@dataclass(frozen=True)
class Run:
    """One combination: its parameters, and the name of its notebook, made of them and of the notebook's code."""

    parameters: Mapping[str, Any]
    name: str


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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: not YAML: {error}") from None
    if not isinstance(content, dict) or not {"notebook", "parameters"} <= set(content) <= {
        "notebook",
        "parameters",
        "plot",
    }:
        raise ValueError(f"{path.name}: expected the keys notebook and parameters, perhaps plot, got {content!r}")
    parameters, plot = content["parameters"], content.get("plot") or {}
    if not isinstance(parameters, dict) or not all(
        isinstance(values, list) and values for values in parameters.values()
    ):
        raise ValueError(f"{path.name}: expected a list of values for each parameter, got {parameters!r}")
    notebook = (path.parent / content["notebook"]).resolve()
    if not notebook.is_file():
        raise FileNotFoundError(f"{path.name}: there is no notebook {content['notebook']}")
    _check_parameters(notebook, parameters)
    for name in ("x", "group"):
        if plot.get(name) is not None and plot[name] not in parameters:
            raise ValueError(f"{path.name}: plot: {name} must be one of {list(parameters)}, got {plot[name]!r}")
    if not set(plot) <= {"x", "y", "group"}:
        raise ValueError(f"{path.name}: plot: expected x, y, group, got {list(plot)}")
    return Sweep(notebook, parameters, **plot)


def _check_parameters(notebook: Path, parameters: Mapping[str, Sequence[Any]]) -> None:
    known = papermill.inspect_notebook(notebook)
    listed = "\n".join(f"  {p['name']} = {p['default']}  # {p['help']}" for p in known.values())
    listed = f"{notebook.name} has the parameters\n{listed}" if known else f"{notebook.name} has no cell of parameters"
    for name, values in parameters.items():
        if name not in known:
            raise ValueError(f"unknown parameter {name!r}: {listed}")
        try:
            default = ast.literal_eval(known[name]["default"])
        except (ValueError, SyntaxError):
            continue  # an expression: its type is not known before it runs
        for value in values:
            if not _same_kind(value, default):
                expected = type(default).__name__
                raise ValueError(f"parameter {name!r}: expected {expected} as {default!r} is, got {value!r}: {listed}")


def _same_kind(value: object, default: object) -> bool:
    if default is None:
        return True
    if isinstance(default, list | tuple):
        return isinstance(value, list) and (not default or all(_same_kind(v, default[0]) for v in value))
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is type(default)


def runs(sweep: Sweep) -> list[Run]:
    """All combinations, the last parameter changing fastest."""
    cells = [cell.source for cell in nbformat.read(sweep.notebook, 4).cells if cell.cell_type == "code"]
    found = {}
    for values in itertools.product(*sweep.parameters.values()):
        parameters = dict(zip(sweep.parameters, values, strict=True))
        text = ",".join(f"{name}={value}" for name, value in parameters.items())
        digest = hashlib.sha256(json.dumps([cells, parameters], sort_keys=True).encode()).hexdigest()
        name = re.sub(r"[^\w.=,+-]+", "_", text)[:120]
        found[digest] = Run(parameters, f"{name}-{digest[:8]}.ipynb")
    return list(found.values())


def execute(source: str, parameters: Mapping[str, Any], folder: str) -> str:
    """Run a notebook (its JSON) with other parameters, in ``folder`` if this machine has it; give back its JSON.

    Never raises for what the notebook does: ``metadata.sweep`` of the result has the status, ``done`` or ``failed``,
    the error and the seconds.
    """
    start, error = time.perf_counter(), ""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        before, after = Path(temporary, "in.ipynb"), Path(temporary, "out.ipynb")
        before.write_text(source, encoding="utf-8")
        cwd = folder if Path(folder).is_dir() else temporary
        try:
            papermill.execute_notebook(before, after, dict(parameters), cwd=cwd, progress_bar=False, log_output=False)
        except Exception as problem:  # the notebook's own, a dead kernel, a missing one
            error = f"{type(problem).__name__}: {problem}".strip()
        notebook = nbformat.read(after if after.exists() else before, 4)
    if error:
        named = [
            f"{o.ename}: {o.evalue}" for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"
        ]
        error = named[-1] if named else error
        if not named:  # nothing in the notebook says what happened
            shown = nbformat.v4.new_output("error", ename="SweepError", evalue=error, traceback=[error])
            notebook.cells.append(nbformat.v4.new_code_cell("", outputs=[shown]))
    notebook.metadata["sweep"] = {
        "status": "failed" if error else "done",
        "error": error,
        "seconds": round(time.perf_counter() - start, 2),
        "parameters": dict(parameters),
    }
    return nbformat.writes(notebook)


def result(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the cell tagged ``result`` shows as ``application/json``; nothing if there is none."""
    for cell in notebook.cells:
        if "result" in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                found = output.get("data", {}).get("application/json")
                if isinstance(found, dict):
                    return dict(found)
    return {}


def run_sweep(sweep: Sweep, folder: Path, client: Client) -> list[dict[str, Any]]:
    """Run what ``folder`` lacks or has as failed; a notebook for each run, ``runs.csv`` and ``summary.png``.

    A finished notebook appears in one step. So a sweep that was killed, or another one into the same folder, leaves
    whole notebooks only, and none of those is run again. Only this process writes: workers need the library, not the
    folder.

    Returns
    -------
    One row for each run: status, error, seconds, parameters and results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, every = sweep.notebook.read_text(encoding="utf-8"), runs(sweep)
    done = sum(_is_done(folder / run.name) for run in every)
    waiting = iter([run for run in every if not _is_done(folder / run.name)])
    given: dict[Any, Run] = {}
    suspects: list[Run] = []  # runs whose workers died: perhaps through a run beside them, so tried alone at the end
    alone: set[str] = set()
    pending, failed = as_completed(loop=client.loop), 0

    def give(run: Run) -> None:
        future = client.submit(execute, source, dict(run.parameters), str(sweep.notebook.parent), pure=False)
        given[future.key] = run
        pending.add(future)

    def give_all() -> None:
        room = max(1, sum(client.nthreads().values()))  # anew each time: workers come and go
        while len(given) < room and (run := next(waiting, None)):
            if _is_done(folder / run.name):  # by another sweep meanwhile
                bar.update()
            else:
                give(run)
        if not given and suspects:
            alone.add(suspects[0].name)
            give(suspects.pop(0))

    with tqdm(total=len(every), initial=done, unit="run") as bar:
        give_all()
        for future in pending:
            run = given.pop(future.key)
            if future.status == "error" and run.name not in alone:
                suspects.append(run)
            else:
                text = future.result() if future.status == "finished" else _lost(source, run, _problem(future))
                _write(folder / run.name, text)
                failed += _status(text) == "failed"
                bar.set_postfix(failed=failed)
                bar.update()
            give_all()
    found = [_row(run, folder / run.name) for run in every]
    columns = list(dict.fromkeys(name for row in found for name in row))
    write_rows(folder / "runs.csv", [{name: row.get(name, "") for name in columns} for row in found])
    _plot(sweep, found, folder / "summary.png")
    return found


def _is_done(path: Path) -> bool:
    return path.exists() and _status(path.read_text(encoding="utf-8")) == "done"


def _status(text: str) -> str:
    try:
        return json.loads(text)["metadata"]["sweep"]["status"]
    except (ValueError, LookupError):
        return "failed"  # not one of ours any more: to be run again


def _problem(future: Future) -> str:
    """Why Dask gave no result: the run killed its workers again and again, or the scheduler is gone."""
    error = future.exception() if future.status == "error" else None
    return f"{type(error).__name__}: {error}" if error else f"the scheduler lost this run ({future.status})"


def _lost(source: str, run: Run, problem: str) -> str:
    """The notebook of a run that never came back."""
    notebook = nbformat.reads(source, 4)
    output = nbformat.v4.new_output("error", ename="SweepError", evalue=problem, traceback=[problem])
    notebook.cells.insert(0, nbformat.v4.new_code_cell("", outputs=[output]))
    notebook.metadata["sweep"] = {
        "status": "failed",
        "error": problem,
        "seconds": 0,
        "parameters": dict(run.parameters),
    }
    return nbformat.writes(notebook)


def _write(path: Path, text: str) -> None:
    """A notebook in one step; one that is done already, from another sweep, is not replaced by a failure."""
    if not (_status(text) == "failed" and _is_done(path)):
        write_bytes(path, text.encode())


def _row(run: Run, path: Path) -> dict[str, Any]:
    notebook = nbformat.read(path, 4)
    record = notebook.metadata["sweep"]
    clear = {}
    for name, value in result(notebook).items():
        if name in ("status", "error", "notebook", "seconds") or str(value) != str(run.parameters.get(name, value)):
            name = f"result_{name}"  # a column of ours, or a parameter that the notebook changed
        if name not in run.parameters:
            clear[name] = value
    status = {"status": record["status"], "seconds": record["seconds"], "notebook": path.name, "error": record["error"]}
    return {**run.parameters, **clear, **status}


def axes(sweep: Sweep, found: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """The names of x, y and group of the plot, where the file leaves them open; "" for none."""
    varied = [name for name, values in sweep.parameters.items() if len(values) > 1]
    done = [row for row in found if row["status"] == "done"]
    numeric = [
        name
        for name in (done[0] if done else ())
        if name not in (*sweep.parameters, "seconds") and all(_number(row.get(name)) for row in done)
    ]
    x = sweep.x or next((name for name in varied if all(map(_number, sweep.parameters[name]))), "")
    return x, sweep.y or next(iter(numeric), "seconds"), sweep.group or next((n for n in varied if n != x), "")


def _plot(sweep: Sweep, found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Mean and standard deviation of a result against a parameter, a curve for each value of another."""
    import matplotlib

    matplotlib.use("Agg")
    from lib.figures import curves, save, use_style  # slow to import, and needed only here

    x, y, group = axes(sweep, found)
    done = [row for row in found if row["status"] == "done"]
    points = [(row[x], row[y], row.get(group, "")) for row in done if x and _number(row.get(x)) and _number(row.get(y))]
    if points:
        use_style()
        save(curves(points, x, y, group), path)


def _number(value: Any) -> bool:
    try:
        return value not in ("", None) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def summary(sweep: Sweep, found: Sequence[Mapping[str, Any]]) -> str:
    """A table to read, of what varied and of the result that is plotted; then what failed, and why."""
    columns = [name for name, values in sweep.parameters.items() if len(values) > 1]
    columns = list(dict.fromkeys([*columns, axes(sweep, found)[1], "seconds", "status"]))
    lines = [columns, *([_short(row.get(name, "")) for name in columns] for row in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    failures = [f"{row['notebook']}: {row['error']}" for row in found if row["status"] == "failed"]
    if sweep.y and not any(sweep.y in row for row in found):
        known = list(dict.fromkeys(name for row in found for name in row))
        failures.append(f"plot: no run gave {sweep.y!r}; the columns are {', '.join(known)}")
    failed = sum(row["status"] == "failed" for row in found)
    return "\n".join([text, f"{len(found) - failed} done, {failed} failed", *failures])


def _short(value: object) -> str:
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)


@contextlib.contextmanager
def connect(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the scheduler at an address, or of a cluster on this machine, closed at the end.

    Raises
    ------
    ConnectionError : nothing answers at the address within `CONNECT_SECONDS` and one more.
    """
    if scheduler is None:
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}),
            LocalCluster(n_workers=workers or os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    answers: queue.SimpleQueue[Client | str] = queue.SimpleQueue()

    def ask() -> None:
        answer: Client | str
        try:
            answer = Client(scheduler, timeout=CONNECT_SECONDS)
        except Exception as error:  # whatever comes of talking to something that is no scheduler
            answer = type(error).__name__
        # now: met by the garbage collector in the middle of another client's start, the failed one would block both
        gc.collect()
        answers.put(answer)

    # in a thread: what accepts the connection but never answers would hold the client for ever
    threading.Thread(target=ask, daemon=True).start()
    try:
        client = answers.get(timeout=CONNECT_SECONDS + 1)
    except queue.Empty:
        client = "no answer"
    if isinstance(client, str):
        raise ConnectionError(
            f"no Dask scheduler answers at {scheduler} within {CONNECT_SECONDS} s ({client}). "
            "Is it running (`dask scheduler` prints its address), and is the address right, as tcp://host:8786? "
            "Without --scheduler the sweep uses this machine."
        )
    with client:
        yield client


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.sweep",
        description="Run a notebook for every combination of parameters. Runs what is missing or failed before.",
        epilog="example: python -m lib.sweep notebooks/attack_cell.yml --workers 2",
    )
    parser.add_argument("file", type=Path, help="YAML file with notebook, parameters and perhaps plot")
    parser.add_argument(
        "--scheduler", help="address of a running Dask scheduler, as tcp://host:8786; default: this machine"
    )
    parser.add_argument("--workers", type=count, help="processes on this machine; default: one for each core")
    parser.add_argument("--out", type=Path, help="folder for notebooks and table; default: _sweeps/NAME")
    args = parser.parse_args(arguments)
    folder = args.out or ROOT / "_sweeps" / args.file.stem
    try:
        sweep = read_sweep(args.file)
        with connect(args.scheduler, args.workers) as client:
            found = run_sweep(sweep, folder, client)
    except (ValueError, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(summary(sweep, found))
    picture = ", summary.png" if (folder / "summary.png").exists() else ""
    print(f"{os.path.relpath(folder)}: a notebook for each run, runs.csv{picture}")
    return int(any(row["status"] == "failed" for row in found))


if __name__ == "__main__":
    sys.exit(main())
