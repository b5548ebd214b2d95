"""Tables are written whole or not at all, and read with every fault found."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from lib.runs import tables
from lib.runs.perturbations import packed
from lib.runs.tables import (
    RESULTS,
    ROOT,
    TEMPORARY,
    Spread,
    alone,
    is_whole,
    read_rows,
    read_table,
    scan,
    spreads,
    typed,
    uninterrupted,
    write_bytes,
    write_rows,
)


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text for this value")


def read(path):
    return scan(path, text=None)[0]


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "folder" / "rows.csv"
    write_rows(path, [{"a": 1, "b": 'comma, "quote"\nline'}, {"b": "ü", "a": 2.5}])  # any order of keys
    assert read(path) == [{"a": "1", "b": 'comma, "quote"\nline'}, {"a": "2.5", "b": "ü"}]


def test_lines_end_the_same_on_every_system(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": 1}, {"a": 2}])
    assert (tmp_path / "rows.csv").read_bytes() == b"a\n1\n2\n"


def test_a_file_is_replaced_and_not_added_to(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": 1}, {"a": 2}])
    write_rows(tmp_path / "rows.csv", ({"c": i} for i in range(3)))
    assert read(tmp_path / "rows.csv") == [{"c": "0"}, {"c": "1"}, {"c": "2"}]


def test_a_file_that_does_not_exist_has_no_rows(tmp_path):
    assert read(tmp_path / "rows.csv") == []


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([{"a": 1}, {"a": Unprintable()}], RuntimeError),  # in the middle of writing
        ([{"a": 1}, {"a": 2, "b": 3}], ValueError),
        ([], ValueError),
    ],
)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, rows, error):
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": "old"}])
    with pytest.raises(error):
        write_rows(path, rows)
    assert os.listdir(tmp_path) == ["rows.csv"] and read(path) == [{"a": "old"}]


def test_a_failing_replacement_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    # As on a full or read-only disk, or where another program holds the file.
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": "old"}])

    def refuse(*paths):
        raise PermissionError("refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_rows(path, [{"a": "new"}])
    assert os.listdir(tmp_path) == ["rows.csv"] and read(path) == [{"a": "old"}]


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    # Just before the replacement the old file is whole, and the new one is whole beside it.
    path, seen, replace = tmp_path / "rows.csv", [], os.replace
    write_rows(path, [{"a": "old"}])

    def look(source, target):
        seen.append((read(path), read(source), source.parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_rows(path, [{"a": "new"}])
    assert seen == [([{"a": "old"}], [{"a": "new"}], True)]
    assert read(path) == [{"a": "new"}]


@pytest.mark.parametrize("second", [{"a": 2}, {"a": 2, "c": 3}, {"a": 2, "b": 3, "c": 4}, {}])
def test_a_row_with_other_columns_than_the_first_is_refused(tmp_path, second):
    # A missing value would be written as an empty string, and found out much later.
    with pytest.raises(ValueError):
        write_rows(tmp_path / "rows.csv", [{"a": 1, "b": 2}, second])
    assert os.listdir(tmp_path) == []


def test_no_rows_are_refused_with_the_name_of_the_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape("write_rows: no rows for rows.csv")):
        write_rows(tmp_path / "rows.csv", [])


def test_results_lie_beside_the_library():
    assert RESULTS == ROOT / "results" and (ROOT / "lib" / "runs" / "tables.py").is_file()


# --- Damage


KEYS = ("lines", "image")
LINES = ("lines,image,method,alpha,tol\n", "25,0,tv,1.5,0.001\n", "25,1,tira,2.5,\n", "40,0,tv,3.5,0.001\n")


@pytest.fixture
def damaged(tmp_path):
    """Write the lines of a table, of which some were changed, and give back its path."""

    def write(changes, end=""):
        path = tmp_path / "t.csv"
        lines = [changes.get(number, line) for number, line in enumerate(LINES)]
        path.write_text("".join(lines)[: -len(end) or None])
        return path

    return write


def test_a_whole_table_is_read_with_numbers_as_numbers(damaged):
    rows = typed(read_rows(damaged({}), KEYS))
    assert rows["alpha"].tolist() == [1.5, 2.5, 3.5] and rows["lines"].dtype == int
    assert rows["method"].tolist() == ["tv", "tira", "tv"] and rows["tol"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "kept", "message"),
    [
        ({2: "25,1,tira,nan,\n"}, 2, "line 3: column alpha: expected a finite number, got 'nan'"),
        ({2: "25,1,tira,inf,\n"}, 2, "line 3: column alpha"),
        ({2: "25,1,tira,,\n"}, 2, "line 3: column alpha: expected a finite number, got ''"),
        ({2: "25,1,tira\n"}, 2, "line 3: expected 5 fields, got 3"),
        ({2: "<<<<<<< HEAD\n"}, 2, "line 3: expected 5 fields, got 1"),
        ({2: "25,1,ti\0ra,2.5,\n"}, 2, "line 3: column method: expected text"),
        ({2: LINES[1]}, 1, "line 2: expected one row with lines, image = 25.0, 0.0, there are 2"),
        ({3: "40,0,tv,3.5,0.0"}, 2, "line 4: the end of the file is missing"),
        ({2: "25,1,tira,True,\n"}, 2, "line 3: column alpha: expected a finite number, got 'True'"),
        ({2: "25,1,tira,2_5,\n"}, 2, "line 3: column alpha"),
        ({2: "25,1,tira,1e999,\n"}, 2, "line 3: column alpha"),
        ({2: '"25,1,tira,2.5,\n'}, 2, "line 3: expected 5 fields, got 1"),
        ({2: "25,1,ti\rra,2.5,\n"}, 2, "line 3: expected 5 fields"),
    ],
)
def test_damage_is_found_with_its_line_and_leaves_the_other_rows(damaged, changes, kept, message):
    path = damaged(changes)
    rows, faults = scan(path, KEYS)
    assert len(rows) == kept and faults[0].startswith(f"t.csv: {message}")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_rows(path, KEYS)


def test_bytes_that_are_no_text_are_found(damaged):
    path = damaged({})
    path.write_bytes(path.read_bytes().replace(b"tira", b"t\xe9ra"))
    assert scan(path, KEYS)[1] == ["t.csv: line 3: column method: expected text, got 't\\udce9ra'"]


def test_empty_lines_and_other_ends_of_lines_are_no_damage(damaged):
    path = damaged({3: LINES[3] + "\n\n"})
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_rows(path, KEYS)) == 3


def test_a_table_without_a_column_of_results_is_named(tmp_path, monkeypatch):
    content = (RESULTS / "lambda.csv").read_text().replace("error_mean", "erorr_mean", 1)
    (tmp_path / "lambda.csv").write_text(content)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match=r"lambda.csv: line 1: expected the columns \['error_mean'\], too"):
        read_table("lambda")


def test_texts_of_a_sweep_come_back_as_they_were(tmp_path):
    rows = [{"a": "one\rtwo\nthree", "b": "x" * 200_000}, {"a": "\ufffd", "b": "'\""}]
    write_rows(tmp_path / "t.csv", rows)
    assert scan(tmp_path / "t.csv", ("a",), None) == (rows, [])
    write_rows(tmp_path / "t.csv", [{"a": "\ud800\0"}])  # no text: but the rows beside it must not be lost
    assert scan(tmp_path / "t.csv", ("a",), None) == ([{"a": "\\ud800\\0"}], [])


def test_one_process_writes_and_what_a_killed_one_left_goes(tmp_path, capsys):
    left, fresh = tmp_path / "deep" / f".x.npz.{32 * '1'}.tmp", tmp_path / f".t.csv.{32 * '2'}.tmp"
    others = tmp_path / ".another program's.tmp"
    left.parent.mkdir()
    for path in (left, fresh, others):
        path.touch()
    for path in (left, others):
        os.utime(path, (0, 0))
    order = []

    def second():
        with alone(tmp_path / "t.csv"):
            order.append("second")

    with alone(tmp_path / "t.csv"):
        thread = threading.Thread(target=second)
        thread.start()
        while "t.csv: another run is writing it" not in capsys.readouterr().err:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and not left.exists() and fresh.exists() and others.exists()


def test_the_names_of_temporary_files_are_those_that_are_cleared_up(tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "t.csv", b"")
    (left,) = tmp_path.iterdir()
    assert TEMPORARY.fullmatch(left.name)


@pytest.mark.parametrize("damage", [lambda b: b[:-40], lambda b: b[:60] + bytes([b[60] ^ 1]) + b[61:], lambda b: b""])
@pytest.mark.parametrize("name", ["e.npz", "p.json"])
def test_a_damaged_by_product_is_not_whole(tmp_path, damage, name):
    path = tmp_path / name
    assert not is_whole(path)
    content = packed(torch.ones(20), torch.tensor([1, 2])) if name == "e.npz" else b'{"picture": "%s"}' % (b"A" * 60)
    path.write_bytes(content)
    assert is_whole(path)
    if name == "e.npz" or len(damage(content)) < len(content):  # a letter of a text can be any
        path.write_bytes(damage(content))
        assert not is_whole(path)


@pytest.mark.parametrize("first", ["", "<<<<<<< HEAD\n", "lines,lines,method,alpha,tol\n", "a,b,c,d,e\n"])
def test_a_table_without_its_columns_is_an_error(damaged, first):
    with pytest.raises(ValueError, match=r"t.csv: line 1: expected the names of the columns"):
        scan(damaged({0: first}), KEYS)


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.csv")) + ["explorer/frames"])
def test_the_committed_tables_are_whole(name):
    assert len(read_table(name))


def test_a_spread_is_that_of_the_sample():
    rows = pd.DataFrame({"method": ["tv"] * 3 + ["tira"], "lines": 40, "alpha": [1.0, 2.0, 3.0, 5.0]})
    found = spreads(rows, ["method", "lines"], "alpha")
    assert found["tv", 40] == Spread(2.0, 1.0, 3) and found["tira", 40].count == 1


def test_a_signal_waits_for_the_end_of_a_write():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("signal"))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            seen.append("written")
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["written", "signal"]
