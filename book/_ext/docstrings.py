"""The docstrings of lib as definition lists: their sections have entries "name : meaning", which needs no type parser.

Numpydoc reads what follows the colon as a type and looks it up. Here it is a sentence with the shape, the dtype and the
unit. A name in single backticks is a link if it is one of lib, `reconstruct_tv`, and code if not.
"""

import importlib
import re

SECTIONS = {"Parameters", "Attributes", "Returns", "Raises"}


def sections(lines: list[str]) -> list[str]:
    """The lines with each underlined section turned into a rubric and its entries into a definition list."""
    out, i = [], 0
    while i < len(lines):
        if lines[i].strip() in SECTIONS and i + 1 < len(lines) and set(lines[i + 1].strip()) == {"-"}:
            i += 2
            end = i
            while end < len(lines) and not _ends(lines, end):
                end += 1
            out += [f"**{lines[i - 2].strip()}**", "", *_entries(lines[i:end]), ""]
            i = end
        else:
            out.append(lines[i])
            i += 1
    return out


def _ends(lines: list[str], i: int) -> bool:
    """Whether a section ends at line i: with a blank line before the next section, an example, or the end."""
    after = lines[i + 1].strip() if i + 1 < len(lines) else ""
    return not lines[i].strip() and (not after or after in SECTIONS or after.startswith(">>>"))


def _entries(lines: list[str]) -> list[str]:
    out = []
    for line in lines:
        entry = re.match(r"(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*) : (.*)", line)
        if entry:
            names = ", ".join(f"``{name}``" for name in entry[1].split(", "))
            out += ["", names, f"    {entry[2]}"]
        else:
            out.append(line)
    return out


def linked(text: str, module: str) -> str:
    """The text with each `name` as a link to where lib defines it, or as code."""

    def link(found: re.Match) -> str:
        name = found[1]
        at, rest = split(name) if name.startswith("lib.") else (module, name)
        if not rest:
            return f":py:mod:`{name}`"
        try:
            target = importlib.import_module(at)
            for part in rest.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError):
            return f"``{name}``"
        home = getattr(target, "__module__", None) or ""
        if not home.startswith("lib.") or not hasattr(target, "__qualname__"):
            return f"``{name}``"
        return f":py:obj:`{name} <{home}.{target.__qualname__}>`"

    return re.sub(r"(?<![`:\w])`([A-Za-z_][\w.]*)`(?!`)", link, text)


def split(name: str) -> tuple[str, str]:
    """The module of a full name such as lib.runs.tables.Spread, and the rest of it."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            importlib.import_module(".".join(parts[:k]))
        except ImportError:
            continue
        return ".".join(parts[:k]), ".".join(parts[k:])
    return name, ""


def process(app, what, name, obj, options, lines):
    lines[:] = [linked(line, split(name)[0]) for line in sections(lines)]


def signature(app, what, name, obj, options, arguments, returns):
    """A protocol is not called: without arguments."""
    return ("", "") if getattr(obj, "_is_protocol", False) else None


def setup(app):
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
