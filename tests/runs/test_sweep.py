"""Sweeps on a real Dask cluster: bad cells, kills, changed code, and mistakes found early."""

import datetime
import gc
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import nbformat
import pytest
import yaml
from distributed import Client

from lib.runs import engine
from lib.runs.cluster import connect
from lib.runs.sweep import cells, main, notebook_name, read_sweep, result, run_sweep
from lib.runs.tables import ROOT, scan

pytestmark = [
    pytest.mark.slow,
    # an old signature in Dask's own start of a worker, and sockets that it closes late
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SOURCE = """
import os, pathlib, signal, time
marks = pathlib.Path(folder)
(marks / f"{a}-{b}-{time.time_ns()}").touch()  # one mark for each time that this ran
if kill and not (marks / "killed").exists():
    (marks / "killed").touch()
    os.kill(os.getppid(), signal.SIGKILL)
time.sleep(wait)
print(a / b)
"""


@pytest.fixture(scope="module")
def cluster():
    with connect(workers=2) as client:
        yield client.cluster.scheduler_address


def rows(folder):
    return scan(folder / "runs.csv", text=None)[0]


@pytest.fixture
def make(tmp_path):
    """Write a notebook that divides a by b and marks that it ran, and the sweep of it; give back the YAML's path."""
    (tmp_path / "marks").mkdir()
    heading = {
        "a": "1  # a number",
        "b": "1.0  # another",
        "wait": "0.0  # seconds",
        "kill": "False  # kill the worker once",
        "nothing": "None  # of no type",
        "folder": f"{str(tmp_path / 'marks')!r}  # of the marks",
    }

    def make(**parameters):
        cells = [
            nbformat.v4.new_code_cell(
                "\n".join(f"{k} = {v}" for k, v in heading.items()), metadata={"tags": ["parameters"]}
            ),
            nbformat.v4.new_code_cell(SOURCE),
            nbformat.v4.new_code_cell(
                "from IPython.display import display\n"
                'display({"application/json": {"ratio": a / b, "a": a}}, raw=True)',
                metadata={"tags": ["result"]},
            ),
        ]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / "divide.ipynb")
        path = tmp_path / "divide.yml"
        path.write_text(yaml.safe_dump({"notebook": "divide.ipynb", "parameters": parameters}))
        return path

    return make


def marks(tmp_path):
    return [p.name for p in (tmp_path / "marks").iterdir() if p.name != "killed"]


def test_a_bad_cell_fails_alone_and_is_tried_again(tmp_path, make, cluster, capsys):
    path, out = make(a=[1, 2], b=[0, 4]), tmp_path / "out"
    arguments = [str(path), "--scheduler", cluster, "--out", str(out)]
    assert main(arguments) == 1
    assert [(row["a"], row["b"], row["ratio"]) for row in rows(out)] == [("1", "4", "0.25"), ("2", "4", "0.5")]
    broken = nbformat.read(out / notebook_name({"a": 1, "b": 0}), 4)
    errors = [o.ename for c in broken.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert errors[-1] == "ZeroDivisionError"
    assert result(nbformat.read(out / rows(out)[0]["notebook"], 4)) == {"ratio": 0.25, "a": 1}
    assert (out / "summary.png").stat().st_size > 5000
    text = capsys.readouterr()
    assert "2 done, 2 failed" in text.out and "ZeroDivisionError: division by zero" in text.out
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", *[".ipynb"] * 4, ".lock", ".png"]
    # again: only what failed
    before = marks(tmp_path)
    assert main(arguments) == 1
    again = set(marks(tmp_path)) - set(before)
    assert sorted(name[:3] for name in again) == ["1-0", "2-0"]


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path, make):
    path, out = make(a=list(range(1, 6)), wait=[0.5]), tmp_path / "out"
    command = [sys.executable, "-m", "lib.runs.sweep", path, "--out", out, "--workers", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    deadline = time.monotonic() + 60
    while len(rows(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {row["notebook"]: (out / row["notebook"]).read_bytes() for row in rows(out)}
    before = marks(tmp_path)
    finished = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(rows(out)) == 5 and len(marks(tmp_path)) - len(before) == 5 - len(done)
    assert {name: (out / name).read_bytes() for name in done} == done


def test_ctrl_c_ends_it_with_one_line(tmp_path, make):
    path, out = make(a=list(range(9)), wait=[0.5]), tmp_path / "out"
    command = [sys.executable, "-m", "lib.runs.sweep", path, "--out", out, "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not rows(out):
        time.sleep(0.05)
    sent = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, text = process.communicate()  # kernels have its standard error, too: so they are gone as well
    assert time.monotonic() - sent < 5 and process.returncode == 130
    lines = [line for line in re.split(r"[\r\n]+", text) if line and not line.startswith("runs: ")]
    assert lines == ["stopped; what is finished is kept, the same command does the rest"]


def test_a_worker_that_dies_is_replaced_and_its_run_repeated(tmp_path, make, cluster):
    found, report = run_sweep(read_sweep(make(a=[3], kill=[True])), tmp_path / "out", scheduler=cluster)
    assert found["ratio"].tolist() == [3.0] and not report.failures and len(marks(tmp_path)) == 2


def test_a_changed_notebook_or_helper_makes_runs_unverified_and_they_can_run_again(tmp_path, make, cluster, capsys):
    path, out = make(a=[1, 2]), tmp_path / "out"
    (tmp_path / "aid.py").write_text("def text(x):\n    return str(x)\n")
    notebook = tmp_path / "divide.ipynb"
    notebook.write_text(notebook.read_text().replace("print(a / b)", "import aid\\nprint(aid.text(a / b))"))
    arguments = [str(path), "--scheduler", cluster, "--out", str(out)]
    assert main(arguments) == 0 and "unverified" not in capsys.readouterr().out
    for file, old, new in (("aid.py", "str(x)", "repr(x)"), ("divide.ipynb", "a / b", "b / a")):
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new))
        assert main(arguments) == 0
        assert "2 done, 0 failed\n2 unverified" in capsys.readouterr().out and len(marks(tmp_path)) == 2
    assert main([*arguments, "--recompute"]) == 0 and len(marks(tmp_path)) == 4
    assert [row["ratio"] for row in rows(out)] == ["1.0", "0.5"] and "unverified" not in capsys.readouterr().out
    notebook.write_text(notebook.read_text().replace("b / a", "a / 0"))
    assert main([*arguments, "--recompute"]) == 1 and "0 done, 2 failed" in capsys.readouterr().out  # not the old ones


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": [1], "c": [2]}, "unknown parameter 'c'"),
        ({"a": [1.5]}, "parameter 'a': expected int as 1 is, got 1.5"),
        ({"a": ["1"]}, "parameter 'a': expected int"),
        ({"a": [True]}, "parameter 'a': expected int"),
        ({"b": ["1e-3"]}, "(YAML writes 1e-3 as 1.0e-3, and 1e3 as 1.0e+3)"),
        ({"kill": [1]}, "parameter 'kill': expected bool"),
        ({"folder": [1]}, "parameter 'folder': expected str"),
        ({"b": [float("inf")]}, "parameter 'b': expected float"),
        ({"b": [10**400]}, "parameter 'b': expected float"),
        ({"nothing": [datetime.date(2024, 1, 2)]}, "expected a number, text, true, false, null or a list of these"),
        ({"nothing": [[1, {2}]]}, "expected a number, text, true, false, null or a list of these"),
        ({"nothing": [b"\xff"]}, "expected a number, text, true, false, null or a list of these"),
        ({"nothing": ["1e-3"]}, "(YAML writes 1e-3 as 1.0e-3, and 1e3 as 1.0e+3)"),
        ({"nothing": ["-1.5E3"]}, "(YAML writes 1e-3 as 1.0e-3, and 1e3 as 1.0e+3)"),
        ({"nothing": [1, "1"]}, "is there as a text and as a number"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_lists_the_known_ones_before_anything_runs(
    tmp_path, make, capsys, monkeypatch, parameters, message
):
    monkeypatch.setattr(engine, "connect", lambda *_: pytest.fail("a cluster was started"))
    assert main([str(make(**parameters)), "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert message in text and "a = 1  # a number" in text and "kill = False" in text
    assert not (tmp_path / "out").exists() and marks(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebook: divide.ipynb\n", "expected the keys notebook and parameters"),
        ("notebook: divide.ipynb\nparameters: {a: 1}\n", "expected a list of values for each parameter"),
        ("notebook: divide.ipynb\nparameters: {a: []}\n", "expected a list of values for each parameter"),
        ("notebook: other.ipynb\nparameters: {a: [1]}\n", "there is no notebook other.ipynb"),
        ("notebook: divide.ipynb\nparameters: {a: [1]}\nplot: {x: c}\n", "plot: x must be one of ['a'], got 'c'"),
        ("notebook: divide.ipynb\nparameters: {a: [1]}\nplot: {z: a}\n", "plot: expected x, y, group"),
        ("a: [1\n", "not YAML"),
        ("notebook: divide.ipynb\nparameters: {a: [1], a: [2]}\n", "a key stands twice among ['a', 'a']"),
        *(
            (f"notebook: divide.ipynb\nparameters: {{b: [{number}]}}\n", "not YAML: expected a decimal number")
            for number in ("1:30", "-2:00.5", "010", "0x1F", "0b11")
        ),
        ('notebook: divide.ipynb\nparameters: {folder: ["a\\0b"]}\n', "not YAML: expected a text without NUL"),
        ('notebook: "\\ud800.ipynb"\nparameters: {a: [1]}\n', "not YAML: expected a text without NUL"),
        ("notebook: divide.ipynb\nparameters: {a: [2024-13-45]}\n", "not YAML: month must be in 1..12"),
        ("notebook: divide.ipynb\nparameters: " + 2000 * "[", "not YAML: maximum recursion depth exceeded"),
        ("notebook: divide.ipynb\nparameters: {a: &v [*v]}\n", "expected at most 100000 values"),
        (
            "notebook: divide.ipynb\nparameters:\n  a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"  {y}: &{y} [{','.join(10 * ['*' + x])}]\n" for x, y in itertools.pairwise("abcdefghijk")),
            "expected at most 100000 values",
        ),
        ("notebook: divide.ipynb\nparameters: {a: [1]}\nplot: {x: [a]}\n", "plot: expected x, y, group"),
        ("notebook: divide.ipynb\nparameters: {a: [1]}\nplot: {y: 3}\n", "plot: expected x, y, group"),
        ("notebook: shape.ipynb\nparameters: {a: [1]}\n", "shape.ipynb is not a notebook with parameters in Python"),
        ("notebook: 7\nparameters: {a: [1]}\n", "there is no notebook 7"),
        ("notebook: divide.yml\nparameters: {a: [1]}\n", "divide.yml is not a notebook with parameters in Python"),
        ("notebook: divide.ipynb\nparameters: {a: [1]}\nplot: [a]\n", "plot: expected x, y, group"),
        (
            "notebook: divide.ipynb\nparameters: {a: &v [1,2,3,4,5,6,7,8,9,10], b: *v, c: *v, d: *v, e: *v, f: *v}\n",
            "expected at most 100000 combinations",
        ),
    ],
)
def test_a_wrong_file_is_an_error(tmp_path, make, capsys, text, message):
    make(a=[1]).write_text(text)
    (tmp_path / "shape.ipynb").write_text('{"nbformat": 4, "cells": [3]}')
    assert main([str(tmp_path / "divide.yml")]) == 2
    assert message in capsys.readouterr().err


def test_runs_of_other_parameters_in_the_folder_stay_as_they_are(tmp_path, make, cluster, capsys):
    out, place = tmp_path / "out", ["--scheduler", cluster]
    assert main([str(make(a=[1], b=[2, 4])), "--out", str(out), *place]) == 0
    before = (out / "runs.csv").read_bytes()
    for other in ({"a": [1]}, {"a": [1], "b": [2], "wait": [0.5]}):
        assert main([str(make_again(tmp_path, other)), "--out", str(out), *place]) == 2
        assert f"runs.csv: expected runs of the parameters {list(other)}; give another" in capsys.readouterr().err
        assert (out / "runs.csv").read_bytes() == before


def make_again(tmp_path, parameters):
    path = tmp_path / "other.yml"
    path.write_text(yaml.safe_dump({"notebook": "divide.ipynb", "parameters": parameters}))
    return path


def test_a_notebook_that_names_no_kernel_runs_too(tmp_path, make, cluster):
    sweep, notebook = make(a=[1]), tmp_path / "divide.ipynb"
    plain = nbformat.read(notebook, 4)
    del plain.metadata["kernelspec"]
    nbformat.write(plain, notebook)
    _, report = run_sweep(read_sweep(sweep), tmp_path / "out", scheduler=cluster)
    assert report.new == 1 and not report.failures


def test_a_missing_file_is_an_error(tmp_path, capsys):
    assert main([str(tmp_path / "none.yml")]) == 2
    assert "none.yml" in capsys.readouterr().err


@pytest.fixture(params=["nobody", "silent", "another protocol", "unknown host", "unknown protocol"])
def wrong_address(request):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "nobody":
            server.close()
        elif request.param == "another protocol":

            def answer():
                for _ in range(20):
                    try:
                        server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                    except OSError:
                        return

            threading.Thread(target=answer, daemon=True).start()
        yield {"unknown host": "tcp://no.such.host.invalid:8786", "unknown protocol": "nonsense://x"}.get(
            request.param, address
        )


def test_an_unreachable_scheduler_is_a_clear_error_within_10_seconds(make, wrong_address, capsys, tmp_path):
    path, start = make(a=[1]), time.monotonic()
    assert main([str(path), "--scheduler", wrong_address, "--out", str(tmp_path / "out")]) == 2
    assert time.monotonic() - start < 10
    assert f"no Dask scheduler answers at {wrong_address}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs.csv").exists()


def test_a_scheduler_of_the_users_own(tmp_path, make):
    """As in book/scale.md: a scheduler and a worker started from the command line, elsewhere."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, quiet = f"tcp://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    dask = [sys.executable, "-m", "dask"]
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        ["worker", address, "--nthreads", "1", "--no-dashboard"],
    )
    processes = [subprocess.Popen([*dask, *command], cwd=tmp_path, **quiet) for command in commands]
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # until it listens
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        place = ["--scheduler", address, "--out", tmp_path / "out"]
        command = [sys.executable, "-m", "lib.runs.sweep", make(a=[5]), *place]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "1 done, 0 failed" in done.stdout, done.stderr
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def test_the_runs_are_all_combinations_and_their_names_tell_them_apart(make):
    found = cells(read_sweep(make(a=[1, 2], b=[1, 2.5, 1], folder=["ж" * 118, "x y"])))
    assert [tuple(cell.values())[:2] for cell in found][::2] == [(1, 1), (1, 2.5), (2, 1), (2, 2.5)]
    names = {notebook_name(cell) for cell in found}
    assert len(names) == len(found) == 8 and all(len(name) < 30 for name in names)


def test_defaults_are_read_as_python(tmp_path, make):
    path = make(folder=["y"])
    notebook = tmp_path / "divide.ipynb"
    notebook.write_text(notebook.read_text().replace("a = 1  # a number", "a: int = 1\\ns = 'k=v'"))
    assert read_sweep(path).parameters == {"folder": ["y"]}
    path.write_text("notebook: divide.ipynb\nparameters: {a: [2], s: ['x=#']}\n")
    assert read_sweep(path).parameters == {"a": [2], "s": ["x=#"]}


def test_the_committed_sweep_is_valid():
    assert len(cells(read_sweep(ROOT / "notebooks" / "attack_cell.yml"))) > 1


def test_a_failed_client_is_not_left_to_the_garbage_collector():
    def clients():
        return sum(type(thing) is Client for thing in gc.get_objects())

    gc.collect()
    before = clients()
    gc.disable()
    try:
        with pytest.raises(ConnectionError), connect("tcp://127.0.0.1:9"):
            pass
        assert clients() == before
    finally:
        gc.enable()
