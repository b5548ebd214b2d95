"""Where a row comes from: the commit, the machine, and a hash of what computed it, which layout and comments leave."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.runs import provenance as module
from lib.runs import radii, theory
from lib.runs.provenance import code_hash, notebook_hash, provenance


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
    monkeypatch.setattr(module, "ROOT", tmp_path)
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
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.__wrapped__()["version"] == "unknown"


# --- The hash of the code


COMPUTE = """
\"\"\"A module.\"\"\"
import math
import helper_of_a_row


def compute(x):
    \"\"\"Half of x.\"\"\"
    return helper_of_a_row.half(x)  # a comment
"""


@pytest.fixture
def row(tmp_path):
    """The hash of a function in a module that imports a helper, after one of the two was changed."""

    def changed(name="compute", old="", new=""):
        path = tmp_path / f"{name}.py"
        path.write_text(path.read_text().replace(old, new))
        specification = importlib.util.spec_from_file_location("module_of_a_row", tmp_path / "compute.py")
        loaded = importlib.util.module_from_spec(specification)
        sys.modules["module_of_a_row"] = loaded
        sys.path.insert(0, str(tmp_path))
        specification.loader.exec_module(loaded)
        sys.path.remove(str(tmp_path))
        return code_hash(loaded.compute)

    (tmp_path / "compute.py").write_text(COMPUTE)
    (tmp_path / "helper_of_a_row.py").write_text("import far\n\ndef half(x):\n    return x / 2\n")
    (tmp_path / "far.py").write_text("X = 1\n")
    yield changed
    for name in ("module_of_a_row", "helper_of_a_row", "far"):
        sys.modules.pop(name, None)


def test_the_hash_is_that_of_the_code_and_of_all_that_it_imports(row):
    before = row()
    assert re.fullmatch("[0-9a-f]{10}", before)
    assert row("compute", "# a comment", "# another") == row("compute", "Half of x", "A half") == before
    assert row("helper_of_a_row", "x / 2", "(x  /  2)") == before
    seen = {
        before,
        row("helper_of_a_row", "(x  /  2)", "x / 3"),
        row("far", "1", "2"),
        row("compute", "half(x)", "half(2 * x)"),
    }
    assert len(seen) == 4


def test_two_rows_of_one_module_have_one_hash_and_the_engine_is_no_part_of_it(monkeypatch):
    assert radii.TABLE.hash() == code_hash(radii.measure) != theory.GROWTH.hash() == theory.MASKS.hash()
    seen, read = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **_: seen.append(path.name) or read(path, encoding="utf-8"))
    code_hash.__wrapped__(theory.growth)
    assert {"theory.py", "tv.py"} <= set(seen) and "engine.py" not in seen


def test_a_notebook_counts_with_its_code_and_its_modules(tmp_path):
    def digest(cell="%matplotlib inline\nimport helper_of_a_notebook", text="# A title", helper="x = 1"):
        cells = [{"cell_type": "markdown", "source": [text]}, {"cell_type": "code", "source": [cell]}]
        (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
        (tmp_path / "helper_of_a_notebook.py").write_text(helper)
        return notebook_hash(tmp_path / "n.ipynb")

    before = digest()
    assert digest(text="# Another") == digest(helper="x = 1  # one") == before
    assert len({before, digest(helper="x = 2"), digest(cell="import helper_of_a_notebook\ny = 1")}) == 3
    assert digest(cell="import lib.theory") != digest(cell="import lib.phantoms")
