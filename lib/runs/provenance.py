"""Where a row comes from: version, machine, and a hash of the code that computed it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.runs.tables import ROOT

# These write rows and compute none of them: a change here changes no number.
PLUMBING = [f"lib/runs/{name}.py" for name in "__init__ cluster engine options provenance tables".split()]


@functools.cache
def provenance() -> dict[str, str]:
    """Code version (git commit, "+" if changed since), processor, cores and torch version, for a result row."""
    try:
        git = functools.partial(subprocess.check_output, cwd=ROOT, text=True, stderr=subprocess.DEVNULL)
        version = git(["git", "rev-parse", "--short=10", "HEAD"]).strip()
        if git(["git", "status", "--porcelain", "--", "lib", "benchmarks", "requirements.lock"]).strip():
            version += "+"
    except (OSError, subprocess.CalledProcessError):
        version = os.environ.get("LIB_VERSION", "unknown")  # of a copy without git
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n", 1)[0].splitlines() if cpuinfo.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = facts.get("model name", platform.machine())
    if "cpu family" in facts:  # clouds give several generations, with other instructions, one name
        cpu += f" (family {facts['cpu family']} model {facts.get('model', '?')})"
    device = os.environ.get("LIB_DEVICE", "cpu")
    if device != "cpu":
        import torch as gpu

        cpu = gpu.cuda.get_device_name(device)
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
    path = Path(str(sys.modules[function.__module__].__file__)).resolve()
    return _digest([(path.read_text(encoding="utf-8"), path)], path.parent)


def notebook_hash(path: Path) -> str:
    """The same of a notebook: of its code cells, and of what they import, run, or name.

    That is modules from `lib`, from the notebook's folder, from folders that a string of theirs names and from
    PYTHONPATH, and files of Python that a string or a command of IPython names.
    """
    from IPython.core.inputtransformer2 import TransformerManager  # slow to import, and needed by sweeps only

    content = json.loads(path.read_bytes())
    cells = content.get("cells", [{"cell_type": "code", "source": [json.dumps(content)]}])  # of an older format
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = [TransformerManager().transform_cell("".join(cell["source"])) for cell in cells]
    return _digest([(source, path.resolve()) for source in sources], path.resolve().parent)


def _digest(waiting: list[tuple[str, Path]], folder: Path) -> str:
    """The hash of sources, each with the file it is from, and of all modules that they need."""
    own = [folder, *(Path(place).resolve() for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place)]
    places = [] if folder.is_relative_to(ROOT / "lib") else own
    first, seen = len(waiting), {path for _, path in waiting}
    for source, here in waiting:  # which grows
        for path in _needed(source, here, places):
            if path not in seen and not any(path == ROOT / name for name in PLUMBING):
                seen.add(path)
                waiting.append((path.read_text(encoding="utf-8", errors="replace"), path))
    # by name and not by place, so that every checkout has the same
    modules = sorted(waiting[first:], key=lambda module: (module[1].name, str(module[1])))
    text = "\n".join(_bare(source) for source, _ in (*waiting[:first], *modules))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _needed(source: str, here: Path, places: list[Path]) -> Iterator[Path]:
    """The files of Python that a source in the file ``here`` needs; new folders of modules are added to ``places``."""
    ours = here.is_relative_to(ROOT / "lib")
    # texts first: they can name the folder of an import
    for node in sorted(ast.walk(_tree(source)), key=lambda node: not isinstance(node, ast.Constant)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(alias.name, places)
        elif isinstance(node, ast.ImportFrom):
            start = [here.parents[node.level - 1]] if node.level else places
            for alias in node.names:
                yield from _modules(".".join(filter(None, (node.module, alias.name))), start)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200 and not ours:
            yield from _modules(node.value, places)
            for word in {node.value, *node.value.split()} if "\0" not in node.value else ():
                path = (here.parent / word).resolve()
                if path.is_dir() and path not in places:
                    places.append(path)
                if path.suffix == ".py" and path.is_file():
                    yield path


def _modules(name: str, places: list[Path]) -> Iterator[Path]:
    """The files of a module and of the packages it is in."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    for place in [ROOT] if parts[0] == "lib" else places:
        for k in range(len(parts)):
            stem = place.joinpath(*parts[: k + 1])
            yield from (path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file())


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a notebook with a cell for another language: its text is what can be compared
        return ast.Module([ast.Expr(ast.Tuple([ast.Constant(source)], ast.Load()))], [])


@functools.cache
def _bare(source: str) -> str:
    """The syntax tree without comments, docstrings, layout, and what a version of Python adds to it."""
    tree = _tree(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                    node.body = rest or [ast.Pass()]
    return _outline(tree)


def _outline(node: object) -> str:
    if isinstance(node, ast.JoinedStr):  # 3.12 puts empty texts into some f-strings
        node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(f'{name}={_outline(value)}' for name, value in fields)})"
    return f"[{', '.join(map(_outline, node))}]" if isinstance(node, list) else repr(node)
