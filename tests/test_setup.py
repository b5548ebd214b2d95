"""One environment in three files: pyproject.toml, requirements.lock and environment.yml agree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.figures.__main__ import NAMED

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]
LOCK = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    for requirement in [Requirement(line)]
}


def test_every_line_of_the_lock_pins_one_public_version():
    for requirement in LOCK.values():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
        assert requirement.url is None and not requirement.marker


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_each_direct_dependency_is_locked_within_its_bounds(requirement):
    locked = LOCK[canonicalize_name(requirement.name)]
    (pin,) = locked.specifier
    assert pin.version in requirement.specifier


def test_each_bound_has_a_reason():
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'\s*"[A-Za-z0-9_.-]+\s*[<>=!~]', line) and "setuptools" not in line:
            assert "#" in line, f"a bound without a reason: {line.strip()}"


def test_conda_and_binder_get_the_same_environment():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    (python,) = [p for p in packages if p.startswith("python=")]
    assert python.removeprefix("python=") in Requirement(f"python{PROJECT['requires-python']}").specifier
    assert "pip" in packages
    lines = [line.split(" #")[0].strip() for line in pip["pip"]]
    assert "--requirement requirements.lock" in lines
    assert "--editable ." in lines


def test_each_command_of_the_readme_is_a_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    commands = set(re.findall(r"`?make ([a-z0-9-]+)", (ROOT / "README.md").read_text()))
    assert {"book", "test", "quick", "execute", "bench", "serve", "clean", "calibrate"} <= commands
    assert {c for c in commands if not c.startswith("fig-")} <= targets


@pytest.mark.slow
def test_the_programs_of_the_readme_run():
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(programs) == 2
    result = subprocess.run([sys.executable, "-c", "".join(programs)], check=True, capture_output=True, text=True)
    gaps, amplification = result.stdout.splitlines()
    assert all(0 <= float(gap) <= 1e-3 for gap in re.findall(r"[\d.]+(?:e-\d+)?", gaps.split("]")[0]))
    assert float(amplification.split(")")[0].removeprefix("tensor(")) > 1


def test_each_figure_has_a_target_and_building_the_book_redraws_none():
    for name in NAMED:
        command = ["make", "--dry-run", f"fig-{name}"]
        assert (
            f"lib.figures {name}"
            in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        )
    command = ["make", "--dry-run", "--always-make", "book"]
    assert "lib.figures" not in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
