"""Result files are whole or untouched, and say where they come from."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib import records
from lib.records import provenance, read_rows, write_rows


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text for this value")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "folder" / "rows.csv"
    write_rows(path, [{"a": 1, "b": 'comma, "quote"\nline'}, {"b": "ü", "a": 2.5}])  # any order of keys
    assert read_rows(path) == [{"a": "1", "b": 'comma, "quote"\nline'}, {"a": "2.5", "b": "ü"}]


def test_lines_end_the_same_on_every_system(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": 1}, {"a": 2}])
    assert (tmp_path / "rows.csv").read_bytes() == b"a\n1\n2\n"


def test_a_file_is_replaced_and_not_added_to(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": 1}, {"a": 2}])
    write_rows(tmp_path / "rows.csv", ({"c": i} for i in range(3)))
    assert read_rows(tmp_path / "rows.csv") == [{"c": "0"}, {"c": "1"}, {"c": "2"}]


def test_a_file_that_does_not_exist_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "rows.csv") == []


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
    assert os.listdir(tmp_path) == ["rows.csv"] and read_rows(path) == [{"a": "old"}]


def test_a_failing_replacement_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    # As on a full or read-only disk, or where another program holds the file.
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": "old"}])

    def refuse(*paths):
        raise PermissionError("refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_rows(path, [{"a": "new"}])
    assert os.listdir(tmp_path) == ["rows.csv"] and read_rows(path) == [{"a": "old"}]


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    # Just before the replacement the old file is whole, and the new one is whole beside it.
    path, seen, replace = tmp_path / "rows.csv", [], os.replace
    write_rows(path, [{"a": "old"}])

    def look(source, target):
        seen.append((read_rows(path), read_rows(source), source.parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_rows(path, [{"a": "new"}])
    assert seen == [([{"a": "old"}], [{"a": "new"}], True)]
    assert read_rows(path) == [{"a": "new"}]


@pytest.mark.parametrize("second", [{"a": 2}, {"a": 2, "c": 3}, {"a": 2, "b": 3, "c": 4}, {}])
def test_a_row_with_other_columns_than_the_first_is_refused(tmp_path, second):
    # A missing value would be written as an empty string, and found out much later.
    with pytest.raises(ValueError):
        write_rows(tmp_path / "rows.csv", [{"a": 1, "b": 2}, second])
    assert os.listdir(tmp_path) == []


def test_no_rows_are_refused_with_the_name_of_the_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape("write_rows: no rows for rows.csv")):
        write_rows(tmp_path / "rows.csv", [])


def test_a_row_says_where_it_comes_from():
    origin = provenance()
    assert list(origin) == ["version", "cpu", "cores", "torch"]
    assert all(isinstance(value, str) and value for value in origin.values())
    assert re.fullmatch(r"[0-9a-f]{10}\+?|unknown", origin["version"])
    assert int(origin["cores"]) >= 1
    cpuinfo = Path("/proc/cpuinfo")  # one name stands for several generations of processors
    if cpuinfo.exists() and "cpu family" in cpuinfo.read_text():
        assert re.search(r"\(family \d+ model \d+\)$", origin["cpu"])
    assert torch.__version__.startswith(origin["torch"]) and "+" not in origin["torch"]


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *identity, *arguments], cwd=folder, text=True).strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "code.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    monkeypatch.setattr(records, "ROOT", tmp_path)
    return tmp_path


def test_the_version_is_the_commit_with_a_plus_if_the_code_has_changed_since(repository):
    commit = git(repository, "rev-parse", "HEAD")[:10]
    version = provenance.__wrapped__  # without the cache
    assert version()["version"] == commit
    (repository / "results.csv").write_text("a\n")  # results are no code
    assert version()["version"] == commit
    (repository / "lib" / "code.py").write_text("x = 2\n")
    assert version()["version"] == commit + "+"


def test_outside_a_repository_the_version_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.__wrapped__()["version"] == "unknown"


def test_results_lie_beside_the_library():
    assert records.RESULTS == records.ROOT / "results"
    assert (records.ROOT / "lib" / "records.py").samefile(sys.modules["lib.records"].__file__)


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "ten", ""])
def test_a_count_is_an_integer_of_at_least_one(text):
    assert records.count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=f"must be an integer of 1 or more, got {text}"):
        records.count(text)
