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
from lib.runs.provenance import _digest, code_hash, notebook_hash, provenance


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


def test_the_hash_is_that_of_every_version_of_python():
    """Whose text of a tree differs: that of f-strings from 3.12 on, that of empty fields from 3.13 on."""
    source = "def f(x: int = 0) -> str:\n    'Text.'\n    return f'{x!r:>{5}}' + \"'\""
    assert _digest([(source, Path("f.py"))], Path()) == "a35d1376e7"


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


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("import pkg.part", "pkg/part.py"),
        ("import pkg.part", "pkg/__init__.py"),
        ("from pkg import part", "pkg/part.py"),
        ("from pkg.part import deep", "pkg/deep.py"),
        ("%run script.py", "script.py"),
        ("!python script.py --fast", "script.py"),
        ("exec(open('script.py').read())", "script.py"),
        ("import sys\nsys.path.insert(0, 'elsewhere')\nimport far_away", "elsewhere/far_away.py"),
        ("import importlib\nimportlib.import_module('script')", "script.py"),
        ("%%bash\necho for i in", "pkg/part.py"),  # with the cell below
        ("import on_the_path", "path/on_the_path.py"),
    ],
)
def test_whatever_a_notebook_imports_runs_or_names_is_in_its_hash(tmp_path, monkeypatch, cell, file):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    names = "pkg/__init__ pkg/part pkg/deep script elsewhere/far_away path/on_the_path unused".split()
    for path in (tmp_path / f"{name}.py" for name in names):
        path.parent.mkdir(exist_ok=True)
        path.write_text("from . import deep\nx = 1\n" if path.stem == "part" else "x = 1\n")

    def digest():
        return notebook_hash(tmp_path / "n.ipynb")

    sources = [cell, "import pkg.part"]
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    before = digest()
    (tmp_path / "unused.py").write_text("x = 2\n")
    assert digest() == before
    (tmp_path / file).write_text((tmp_path / file).read_text().replace("x = 1", "x = 2"))
    assert digest() != before


def test_a_command_of_ipython_counts_with_what_it_is_given(tmp_path):
    def digest(source):
        (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": [source]}]}))
        return notebook_hash(tmp_path / "n.ipynb")

    assert digest("!make x A=1") != digest("!make x A=2") and digest("!make x  # a") != digest("%time x")
