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
            while end < len(lines) and (
                lines[end].strip() or (lines[end + 1 : end + 2] and not _closes(lines, end + 1))
            ):
                end += 1
            out += [f"**{lines[i - 2].strip()}**", "", *_entries(lines[i:end]), ""]
            i = end
        else:
            out.append(lines[i])
            i += 1
    return out


def _closes(lines: list[str], i: int) -> bool:
    """Whether a section ends before line i: the next section, an example, or the end."""
    return lines[i].strip() in SECTIONS or lines[i].startswith(">>>") or not lines[i].strip()


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
        at, *path = found[1].split(".")
        try:
            target = importlib.import_module(found[1]) if at == "lib" else getattr(importlib.import_module(module), at)
            for part in path if at != "lib" else ():
                target = getattr(target, part)
        except (ImportError, AttributeError):
            return f"``{found[1]}``"
        if at == "lib":
            return f":py:mod:`{found[1]}`"
        home = getattr(target, "__module__", None) or ""
        if not home.startswith("lib.") or not hasattr(target, "__qualname__"):
            return f"``{found[1]}``"
        return f":py:obj:`{found[1]} <{home}.{target.__qualname__}>`"

    return re.sub(r"(?<![`:\w])`([A-Za-z_][\w.]*)`(?!`)", link, text)


def process(app, what, name, obj, options, lines):
    module = ".".join(name.split(".")[:2])
    lines[:] = [linked(line, module) for line in sections(lines)]


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
