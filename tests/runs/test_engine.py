"""The engine: nothing lost, doubled or computed twice, whatever is killed, full, changed or in the way."""

import dataclasses
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy

from lib.runs import engine
from lib.runs.cluster import _task, connect
from lib.runs.engine import mark, run, verify
from lib.runs.tables import ROOT, read_rows

HERE = Path(__file__).parent
STOPPED = "stopped; what is finished is kept, the same command does the rest"
pytestmark = [
    pytest.mark.slow,
    # an old signature in Dask's own start of a worker, and sockets that it closes late
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def start(folder, count, wait, workers=1, *options, here=HERE):
    marks = folder.parent / "marks"
    marks.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MARKS": str(marks)}
    command = [sys.executable, here / "toy.py", folder, str(count), str(wait), str(workers), *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def rows(folder):
    return read_rows(folder / "toy.csv", ("a",))


def wait_for_rows(folder, count):
    deadline = time.monotonic() + 60
    while len(rows(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def group_is_gone(group, seconds=5):
    """Whether all processes of a group end; zombies, which nobody has waited for yet, do not count."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stats = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                stats.append(path.read_text().rsplit(")", 1)[1].split())
            except OSError:
                continue
        if not any(int(stat[2]) == group and stat[0] != "Z" for stat in stats):
            return True
        time.sleep(0.05)
    return False


def ran(tmp_path):
    """For each cell how often it ran."""
    names = [int(path.name.split("-")[0]) for path in (tmp_path / "marks").iterdir()]
    return {a: names.count(a) for a in names}


@pytest.fixture(scope="module")
def address():
    with connect(workers=2) as client:
        yield client.cluster.scheduler_address


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path, workers):
    folder = tmp_path / "out"
    process = start(folder, 8, 0.3, workers)
    wait_for_rows(folder, 2)
    process.kill()
    process.communicate()
    before = rows(folder)
    assert group_is_gone(process.pid) and 2 <= len(before) < 8
    user = folder / ".another program's.tmp"
    for left in (
        folder / f".toy.csv.{'0' * 32}.tmp",
        folder / "files" / f".7.txt.{'f' * 32}.tmp",
        user,
    ):  # as by a kill
        left.touch()
        os.utime(left, (0, 0))
    process = start(folder, 8, 0.0, workers)
    process.communicate()
    after = rows(folder)
    assert process.returncode == 0 and [row["a"] for row in after] == [str(a) for a in range(8)]
    assert all(row in after for row in before)
    assert all(count == 1 for a, count in ran(tmp_path).items() if str(a) in {row["a"] for row in before})
    assert sorted(path.name for path in folder.rglob(".*")) == [user.name, ".toy.csv.lock"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_a_program_with_one_line(tmp_path, number):
    (tmp_path / "torch.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "lib.runs.training", "tira"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes)
    assert process.stdout.readline() == "importing\n"
    os.killpg(process.pid, number)
    _, text = process.communicate()
    assert (process.returncode, text) == (128 + number, f"\n{STOPPED}\n")


@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, True)]
)
def test_a_signal_ends_it_with_one_line_and_no_row_lost(tmp_path, number, whole_group):
    folder = tmp_path / "out"
    process = start(folder, 100, 0.2, 2)
    wait_for_rows(folder, 3)
    sent = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, text = process.communicate()
    assert time.monotonic() - sent < 5 and process.returncode == 128 + number
    assert re.split(r"[\r\n]", text.strip())[-1] == STOPPED
    assert "Traceback" not in text and "Warning" not in text
    assert group_is_gone(process.pid) and len(rows(folder)) >= 3


def test_two_runs_into_one_file_compute_each_cell_once(tmp_path):
    folder = tmp_path / "out"
    first, second = start(folder, 6, 0.3), start(folder, 9, 0.3)
    texts = [process.communicate()[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "toy.csv: another run is writing it; waiting for its end" in "".join(texts)
    assert ran(tmp_path) == dict.fromkeys(range(9), 1) and len(rows(folder)) == 9


def test_a_scheduler_of_the_users_own(tmp_path, address):
    process = start(tmp_path / "out", 4, 0.0, 1, "--scheduler", address)
    text, _ = process.communicate()
    assert process.returncode == 0 and "4 rows, 4 of them new" in text


def test_a_stopped_run_leaves_no_task_on_the_users_scheduler(tmp_path, address):
    process = start(tmp_path / "out", 50, 0.5, 1, "--scheduler", address)
    wait_for_rows(tmp_path / "out", 1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    with connect(address) as client:
        deadline = time.monotonic() + 5
        while tasks := client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
            assert time.monotonic() < deadline, tasks
            time.sleep(0.1)


def test_a_failing_cell_stops_no_other_and_is_tried_again(tmp_path, address):
    report = run(toy.table(4, fail=2), folder=tmp_path, scheduler=address)
    assert [(cell["a"], error) for cell, error in report.failures] == [(2, "ArithmeticError: 2 is wrong")]
    assert [row["a"] for row in rows(tmp_path)] == ["0", "1", "3"] and "failed: a = 2" in str(report)
    report = run(toy.table(4), folder=tmp_path, scheduler=address)
    assert (report.new, report.rows, report.failures) == (1, 4, [])


def test_a_cell_that_gives_other_rows_is_not_computed_for_ever(tmp_path, address):
    report = run(dataclasses.replace(toy.table(2), size=2), folder=tmp_path, scheduler=address)
    assert [text for _, text in report.failures] == ["what it gave is not the rows and files of this cell"] * 2


def test_a_cell_that_kills_its_worker_fails_alone(tmp_path):
    report = run(toy.table(5, kill=1, wait=0.1), folder=tmp_path, workers=2)
    assert [cell["a"] for cell, _ in report.failures] == [1] and "its worker died" in report.failures[0][1]
    assert [row["a"] for row in rows(tmp_path)] == ["0", "2", "3", "4"]


def test_nothing_is_started_when_nothing_is_to_do(tmp_path, address, monkeypatch):
    run(toy.table(2), folder=tmp_path, scheduler=address)
    monkeypatch.setattr(engine, "connect", lambda *_: pytest.fail("a cluster was started"))
    content = (tmp_path / "toy.csv").read_bytes()
    assert run(toy.table(2), folder=tmp_path).new == 0 and (tmp_path / "toy.csv").read_bytes() == content


def test_a_full_disk_keeps_all_rows_until_then(tmp_path, address, monkeypatch):
    written, replace = [], os.replace

    def full(source, target):
        written.append(target)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        run(toy.table(8), folder=tmp_path, scheduler=address)
    monkeypatch.undo()
    assert len(rows(tmp_path)) == 2  # two files, two rows, a third file
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(toy.table(8), folder=tmp_path, scheduler=address).new == 6


def test_files_are_written_before_their_row_and_a_row_without_its_file_is_computed(tmp_path, address):
    run(toy.table(2), folder=tmp_path, scheduler=address)
    times = [path.stat().st_mtime_ns for path in (tmp_path / "files" / "1.txt", tmp_path / "toy.csv")]
    assert times == sorted(times)
    (tmp_path / "files" / "0.txt").unlink()
    assert run(toy.table(2), folder=tmp_path, scheduler=address).new == 1
    assert (tmp_path / "files" / "0.txt").read_text() == "0"


def test_workers_are_as_many_as_processors_that_may_be_used(tmp_path):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity on this system")
    one = min(os.sched_getaffinity(0))
    code = "from dask.system import CPU_COUNT; from lib.runs import cluster; assert cluster.CPU_COUNT == CPU_COUNT == 1"
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {code}"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_damaged_row_is_computed_again(tmp_path, address, capsys):
    run(toy.table(4), folder=tmp_path, scheduler=address)
    path, before = tmp_path / "toy.csv", rows(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1], lines[1], lines[2].replace(",1,1,", ",1,nan,"), *lines[3:]])[:-30])
    report = run(toy.table(4), folder=tmp_path, scheduler=address)
    after = rows(tmp_path)
    assert report.new == 3 and after[2] == before[2]
    assert [row["square"] for row in after] == ["0", "1", "4", "9"]
    text = capsys.readouterr().err
    assert "toy.csv: line 4: column square: expected a finite number, got 'nan'" in text
    assert "line 5" not in text and "line 6" in text


def test_what_is_left_out_stays_beside_the_table(tmp_path, address, capsys):
    """Rows that stand twice, and that this run does not want: both would be gone with its first write."""
    run(toy.table(4), folder=tmp_path, scheduler=address)
    path = tmp_path / "toy.csv"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[4])
    before = path.read_bytes()
    (tmp_path / "files" / "0.txt").unlink()
    assert run(toy.table(2), folder=tmp_path, scheduler=address).rows == 3
    assert (tmp_path / "toy.csv.damaged").read_bytes() == before
    assert "there are 2; left out" in capsys.readouterr().err


def test_a_table_without_what_was_measured_is_computed_anew(tmp_path, address):
    run(toy.table(3), folder=tmp_path, scheduler=address)
    path = tmp_path / "toy.csv"
    fields = [line.split(",", 3) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{a},{parity},{rest}\n" for a, parity, _, rest in fields))
    assert "square" not in rows(tmp_path)[0]
    assert run(toy.table(3), folder=tmp_path, scheduler=address).new == 3
    assert [row["square"] for row in rows(tmp_path)] == ["0", "1", "4"]


def test_cells_can_depend_on_what_was_found(tmp_path, address):
    def search(found):
        yield {"a": 2}
        if len(found):
            yield from ({"a": int(found["square"].max()) + k} for k in range(2) if found["square"].max() < 20)

    table = engine.Table("toy", search, toy.compute, ("parity",), ("square",), keys=("a",), text=toy.table(0).text)
    assert [row["a"] for row in rows(tmp_path)] == []
    run(table, folder=tmp_path, scheduler=address)
    assert [row["a"] for row in rows(tmp_path)] == ["2", "4", "5"]


# --- Rows that other code has computed


@pytest.fixture
def program(tmp_path):
    """The toy program, of which the helper module can be changed, with rows of it."""
    folder = tmp_path / "program"
    folder.mkdir()
    for name in ("toy.py", "helper.py"):
        (folder / name).write_bytes((HERE / name).read_bytes())

    def start_it(change=lambda text: text):
        (folder / "helper.py").write_text(change((folder / "helper.py").read_text()))
        process = start(tmp_path / "out", 6, 0.0, here=folder)
        text, error = process.communicate()
        assert process.returncode == 0, error
        return text

    start_it()
    return start_it


def test_a_changed_helper_makes_rows_unverified_but_no_comment_does(tmp_path, program):
    before = rows(tmp_path / "out")
    comment = program(lambda text: "# a comment\n" + text.replace("a * a", "(a *  a)"))
    assert "6 rows, 0 of them new" in comment and "unverified" not in comment
    text = program(lambda text: text.replace("(a *  a)", "a**2"))
    assert "6 rows are unverified" in text and rows(tmp_path / "out") == before
    assert ran(tmp_path) == dict.fromkeys(range(6), 1)


@pytest.fixture
def unverified(tmp_path, address):
    run(toy.table(6), folder=tmp_path, scheduler=address)
    path = tmp_path / "toy.csv"
    path.write_text(path.read_text().replace(rows(tmp_path)[0]["code"], ""))
    assert run(toy.table(6), folder=tmp_path).unverified == 6
    return path


def test_rows_that_agree_get_the_hash_of_the_code_and_keep_their_numbers(tmp_path, unverified, address):
    unverified.write_text(unverified.read_text().replace("2,0,4,", "2,0,4.001,"))
    lines = verify(toy.table(6), 0.5, folder=tmp_path, scheduler=address, tolerance=1e-3)
    assert lines == [f"parity {p}: 3 cells, 2 computed again, verified" for p in ("0.0", "1.0")]
    assert rows(tmp_path)[2]["square"] == "4.001" and run(toy.table(6), folder=tmp_path).unverified == 0


def test_a_group_that_does_not_agree_is_computed_anew(tmp_path, unverified, address):
    unverified.write_text(unverified.read_text().replace("2,0,4,", "2,0,5,"))
    lines = verify(toy.table(6), 1, folder=tmp_path, scheduler=address)
    assert "to be computed anew: square was 5, is 4" in lines[0] and "verified" in lines[1]
    report = run(toy.table(6), folder=tmp_path, scheduler=address)
    assert (report.new, report.unverified) == (3, 0) and rows(tmp_path)[2]["square"] == "4"


def test_a_group_that_cannot_be_computed_stays_unverified(tmp_path, unverified, address):
    lines = verify(toy.table(6, fail=3), 1, folder=tmp_path, scheduler=address)
    assert "verified" in lines[0] and "not verified: ArithmeticError: 3 is wrong" in lines[1]
    assert run(toy.table(6), folder=tmp_path).unverified == 3


def test_unverified_rows_can_be_computed_anew_at_once(tmp_path, unverified, address):
    mark(toy.table(6), tmp_path)
    assert run(toy.table(6), folder=tmp_path, scheduler=address).new == 6


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_lies_between_nothing_and_all(tmp_path, share):
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        verify(toy.table(1), share, folder=tmp_path)


def burn():
    """A cell whose work is that of a child process, and which waits."""
    subprocess.run([sys.executable, "-c", "for i in range(3 * 10**6): pass"], check=True)
    time.sleep(1)
    return [{"done": 1}], {}


def test_seconds_are_those_of_the_processor_children_included():
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    rows, _, error = _task(burn, "a", {})
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, children = (b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))
    assert not error and children > 0
    assert float(rows[0]["seconds"]) == pytest.approx(own + children, abs=0.05)
