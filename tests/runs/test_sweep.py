"""Sweeps on a real Dask cluster: bad cells, kills, dead workers, two at once, and mistakes found early."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from distributed import Client

from lib import sweep as module
from lib.records import read_rows
from lib.sweep import main, read_sweep, result, run_sweep, runs

ROOT = Path(__file__).parent.parent
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
    with module.connect(None, 2) as client:
        yield client.cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client


@pytest.fixture
def make(tmp_path):
    """Write a notebook that divides a by b and marks that it ran, and the sweep of it; give back the YAML's path."""
    (tmp_path / "marks").mkdir()
    heading = {
        "a": "1  # a number",
        "b": "1.0  # another",
        "wait": "0.0  # seconds",
        "kill": "False  # kill the worker once",
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
    arguments = [str(path), "--scheduler", cluster.scheduler_address, "--out", str(out)]
    assert main(arguments) == 1
    rows = read_rows(out / "runs.csv")
    assert [(row["a"], row["b"], row["status"]) for row in rows] == [
        ("1", "0", "failed"), ("1", "4", "done"), ("2", "0", "failed"), ("2", "4", "done")
    ]  # fmt: skip
    assert [row["ratio"] for row in rows] == ["", "0.25", "", "0.5"]
    assert rows[0]["error"] == "ZeroDivisionError: division by zero"
    broken = nbformat.read(out / rows[0]["notebook"], 4)
    assert [o.ename for c in broken.cells for o in c.get("outputs", []) if o.output_type == "error"][
        -1
    ] == "ZeroDivisionError"
    assert result(nbformat.read(out / rows[1]["notebook"], 4)) == {"ratio": 0.25, "a": 1}
    assert (out / "summary.png").stat().st_size > 5000
    text = capsys.readouterr()
    assert "2 done, 2 failed" in text.out and "ZeroDivisionError" in text.out
    assert "failed=2" in text.err and "4/4" in text.err
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", *[".ipynb"] * 4, ".png"]
    # again: only what failed
    before = marks(tmp_path)
    assert main(arguments) == 1
    again = set(marks(tmp_path)) - set(before)
    assert sorted(name[:3] for name in again) == ["1-0", "2-0"]


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path, make):
    path, out = make(a=list(range(1, 6)), wait=[0.5]), tmp_path / "out"
    command = [sys.executable, "-m", "lib.sweep", path, "--out", out, "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.ipynb"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {p.name: p.read_bytes() for p in out.glob("[!.]*.ipynb")}
    assert 2 <= len(done) < 5
    for content in done.values():
        assert json.loads(content)["metadata"]["sweep"]["status"] == "done"  # whole ones only
    before = marks(tmp_path)
    finished = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(read_rows(out / "runs.csv")) == 5
    assert len(marks(tmp_path)) - len(before) == 5 - len(done)
    assert {name: (out / name).read_bytes() for name in done} == done


def test_a_worker_that_dies_is_replaced_and_its_run_repeated(tmp_path, make, client):
    rows = run_sweep(read_sweep(make(a=[3], kill=[True])), tmp_path / "out", client)
    assert [(row["status"], row["ratio"]) for row in rows] == [("done", 3.0)]
    assert len(marks(tmp_path)) == 2
    client.wait_for_workers(2, timeout=20)


def test_a_run_that_kills_every_worker_fails_and_the_others_go_on(tmp_path, make, client):
    path = make(a=[3, 4], kill=[True])
    notebook = tmp_path / "divide.ipynb"  # never marks that it killed, so it kills again and again
    notebook.write_text(notebook.read_text().replace('if kill and not (marks / \\"killed\\").exists():', "if a == 3:"))
    assert "if a == 3" in notebook.read_text()
    rows = run_sweep(read_sweep(path), tmp_path / "out", client)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "KilledWorker" in rows[0]["error"]
    client.wait_for_workers(2, timeout=20)


def test_two_sweeps_at_once_into_one_folder_do_no_harm(tmp_path, make, cluster):
    sweep, out, found = read_sweep(make(a=[1, 2, 3, 4], wait=[0.2])), tmp_path / "out", []

    def one():
        with Client(cluster, set_as_default=False) as client:
            found.append(run_sweep(sweep, out, client))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for rows in found:
        assert [(row["status"], row["ratio"]) for row in rows] == [("done", a / 1.0) for a in (1, 2, 3, 4)]
    assert len(list(out.glob("*.ipynb"))) == 4 == len(read_rows(out / "runs.csv"))
    assert {p.suffix for p in out.iterdir()} == {".ipynb", ".csv", ".png"} and len(list(out.iterdir())) == 6


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": [1], "c": [2]}, "unknown parameter 'c'"),
        ({"a": [1.5]}, "parameter 'a': expected int as 1 is, got 1.5"),
        ({"a": ["1"]}, "parameter 'a': expected int"),
        ({"a": [True]}, "parameter 'a': expected int"),
        ({"b": ["x"]}, "parameter 'b': expected float"),
        ({"kill": [1]}, "parameter 'kill': expected bool"),
        ({"folder": [1]}, "parameter 'folder': expected str"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_lists_the_known_ones_before_anything_runs(
    tmp_path, make, capsys, monkeypatch, parameters, message
):
    monkeypatch.setattr(module, "connect", lambda *_: pytest.fail("a cluster was started"))
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
    ],
)
def test_a_wrong_file_is_an_error(tmp_path, make, capsys, text, message):
    make(a=[1]).write_text(text)
    assert main([str(tmp_path / "divide.yml")]) == 2
    assert message in capsys.readouterr().err


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
    assert not (tmp_path / "out").exists()


def test_a_scheduler_of_the_users_own(tmp_path, make):
    """As in book/scale.md: a scheduler and a worker started from the command line, elsewhere."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, quiet = f"tcp://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
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
        command = ["make", "sweep", f"SWEEP={make(a=[5])}", f"SCHEDULER={address}"]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "1 done, 0 failed" in done.stdout, done.stderr
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def test_the_runs_are_all_combinations_and_their_names_tell_them_apart(make):
    sweep = read_sweep(make(a=[1, 2], b=[1, 2.5], folder=["x/y", "x y"]))
    found = runs(sweep)
    assert [run.parameters for run in found][:3] == [
        {"a": 1, "b": 1, "folder": "x/y"}, {"a": 1, "b": 1, "folder": "x y"}, {"a": 1, "b": 2.5, "folder": "x/y"}
    ]  # fmt: skip
    assert len({run.name for run in found}) == len(found) == 8
    assert all("/" not in run.name and " " not in run.name for run in found)


def test_a_notebook_that_was_changed_is_run_again(make, tmp_path):
    sweep = read_sweep(make(a=[1]))
    before = runs(sweep)[0].name
    text = sweep.notebook.read_text()
    sweep.notebook.write_text(text.replace("a / b", "b / a"))
    assert runs(sweep)[0].name != before


def test_the_committed_sweep_is_valid():
    sweep = read_sweep(ROOT / "notebooks" / "attack_cell.yml")
    assert len(runs(sweep)) > 1


def test_a_failed_client_is_not_left_to_the_garbage_collector():
    def clients():
        return sum(type(thing) is Client for thing in gc.get_objects())

    gc.collect()
    before = clients()
    gc.disable()
    try:
        with pytest.raises(ConnectionError), module.connect("tcp://127.0.0.1:9", None):
            pass
        assert clients() == before
    finally:
        gc.enable()
