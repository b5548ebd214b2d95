"""Where a row comes from: version, machine, and a hash of the code that computed it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.runs.tables import ROOT

# These write rows and compute none of them: a change here changes no number.
PLUMBING = ("lib/runs/engine.py", "lib/runs/cluster.py", "lib/runs/tables.py", "lib/runs/provenance.py")


@functools.cache
def provenance() -> dict[str, str]:
    """Code version (git commit, "+" if changed since), processor, cores and torch version, for a result row."""
    try:
        git = functools.partial(subprocess.check_output, cwd=ROOT, text=True, stderr=subprocess.DEVNULL)
        version = git(["git", "rev-parse", "--short=10", "HEAD"]).strip()
        if git(["git", "status", "--porcelain", "--", "lib", "benchmarks", "requirements.lock"]).strip():
            version += "+"
    except (OSError, subprocess.CalledProcessError):
        version = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n", 1)[0].splitlines() if cpuinfo.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = facts.get("model name", platform.machine())
    if "cpu family" in facts:  # clouds give several generations, with other instructions, one name
        cpu += f" (family {facts['cpu family']} model {facts.get('model', '?')})"
    torch = importlib.metadata.version("torch").split("+")[0]  # importing it takes seconds, and not all need it
    return {"version": version, "cpu": cpu, "cores": str(os.cpu_count()), "torch": torch}


@functools.cache
def code_hash(function: Callable) -> str:
    """A hash of the syntax trees, without docstrings and comments, of the code that a function computes with.

    That is its module, and all modules that this one imports, and they import, from `lib` or from its own folder.
    Nothing is imported for it.

    Returns
    -------
    Ten digits, hexadecimal.
    """
    module = sys.modules[function.__module__]
    path = Path(str(module.__file__)).resolve()
    return _digest([], [path])


def notebook_hash(path: Path) -> str:
    """The same of a notebook: its code cells, and the modules that these import from `lib` or from its folder."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    source = re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)  # commands of IPython are no Python
    return _digest([source], list(_imports(source, path.resolve().parent)))


def _digest(sources: list[str], waiting: list[Path]) -> str:
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or any(path == ROOT / name for name in PLUMBING):
            continue
        seen.add(path)
        waiting += _imports(path.read_text(encoding="utf-8"), path.parent)
    # by name and not by place, so that every checkout has the same
    sources += [path.read_text(encoding="utf-8") for path in sorted(seen, key=lambda path: (path.name, str(path)))]
    return hashlib.sha256("\n".join(map(_bare, sources)).encode()).hexdigest()[:10]


def _imports(source: str, folder: Path) -> Iterator[Path]:
    """The files of the modules that a source imports from lib, or from its own folder if that is not in lib."""
    places = [ROOT] if folder.is_relative_to(ROOT / "lib") else [folder, ROOT]
    for node in ast.walk(_tree(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            for place in places if name.split(".")[0] != "lib" else [ROOT]:
                stem = place / name.replace(".", "/")
                found = [path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()]
                if found and (place != ROOT or name.split(".")[0] == "lib"):
                    yield found[0]
                    break


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a notebook with a cell for another language: its text is what can be compared
        return ast.Module([ast.Expr(ast.Tuple([ast.Constant(source)], ast.Load()))], [])


def _bare(source: str) -> str:
    """The source without comments, docstrings and layout."""
    tree = _tree(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                    node.body = rest or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(tree))
