"""The house: which module of lib uses which, and that CONTRIBUTING.md draws it as it is."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("runs", "figures", "explorer")
STOREYS = (  # each uses only those before it
    {"checks", "_kernels", "_gpu"},
    {"measures", "phantoms", "operators", "masks"},
    {"tv", "networks", "theory", "iterative", "priors"},
    {"attack", "gradient_sparse"},
    *({package} for package in PACKAGES),
)
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "lib").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree):
    """Names that a module imports, wherever it does, with the node: modules, or what is taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", alias.asname or alias.name, node) for alias in node.names)


def module_of(name):
    """The module of lib that a name belongs to, or None: lib.tv for lib.tv.reconstruct_tv."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None


IMPORTS = {name: {module_of(found) for found, _, _ in imported(tree)} - {None} for name, tree in TREES.items()}


def room(module):
    """The flat module or the package: runs for lib.runs.tables."""
    return module.split(".")[1]


def test_each_room_uses_only_those_below_it():
    storey = {name: k for k, names in enumerate(STOREYS) for name in names}
    assert set(storey) == {room(module) for module in FILES if module != "lib"}
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if other == "lib" or (room(other) != room(module) and storey[room(other)] >= storey[room(module)])
    ]
    assert wrong == []


@pytest.mark.parametrize(("package", "module"), [("numba", "lib._kernels"), ("triton", "lib._gpu")])
def test_compilers_are_imported_by_their_kernels_alone(package, module):
    users = {name for name, tree in TREES.items() for found, _, _ in imported(tree) if found.split(".")[0] == package}
    assert users == {module}


def test_the_modules_of_the_packages_are_small():
    lengths = {m: len(path.read_text(encoding="utf-8").splitlines()) for m, path in FILES.items() if m.count(".") == 2}
    assert {module: length for module, length in lengths.items() if length > 400} == {}


def private(name):
    return name.startswith("_") and not name.endswith("__")


def own_names(tree):
    """Names that a module gives to something: functions, classes, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def test_no_private_name_of_a_module_is_used_in_another():
    """Neither a module's own, as module._name, nor that of an object that another module has made."""
    owners = {}
    for module, tree in TREES.items():
        for name in filter(private, own_names(tree)):
            owners.setdefault(name, set()).add(module)
    wrong = []
    for module, tree in TREES.items():
        modules = {alias for name, alias, _ in imported(tree) if name in FILES}
        for name, _, node in imported(tree):
            if module_of(name) and module_of(name) != name and private(name.rpartition(".")[2]):
                wrong.append(f"{FILES[module]}:{node.lineno}: {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr):
                base = ast.unparse(node.value)
                if base in modules or module not in owners.get(node.attr, {module}):
                    wrong.append(f"{FILES[module]}:{node.lineno}: {base}.{node.attr}")
    assert wrong == []


# --- The diagram of CONTRIBUTING.md


def diagram():
    """Its lines: module or package, and what it uses; a module within a package with what it uses of that package."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = [found for found in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if "<-" in found]
    inside = ""
    for line in re.sub(r"\n {12,}", " ", block).splitlines():  # a long line goes on below
        names, _, uses = line.split("#")[0].partition("<-")
        for name in names.split():
            if not line.startswith(" "):
                inside = name
                yield name, set(uses.split())
            else:
                yield f"{inside}.{name}", {f"{inside}.{used}" for used in uses.split()}


def test_the_diagram_names_the_modules_and_what_each_uses():
    drawn = list(diagram())
    names = [name for name, _ in drawn]
    assert len(names) == len(set(names))
    expected = {name: set() for name in {room(module) for module in FILES if module != "lib"}}
    for module, others in IMPORTS.items():
        if module == "lib":
            continue
        expected[room(module)] |= {room(other) for other in others} - {room(module)}
        if module.count(".") == 2:
            siblings = {other for other in others if room(other) == room(module) and other.count(".") == 2}
            expected[module.removeprefix("lib.")] = {other.removeprefix("lib.") for other in siblings}
    assert dict(drawn) == expected


def test_the_diagram_runs_downwards():
    drawn = list(diagram())
    position = {name: k for k, (name, _) in enumerate(drawn)}
    assert [(name, used) for name, uses in drawn for used in uses if position[used] >= position[name]] == []
    rooms = [name.split(".")[0] for name, _ in drawn]
    assert len([1 for a, b in pairwise(rooms) if a != b]) + 1 == len(set(rooms))  # each package in one piece
