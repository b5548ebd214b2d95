"""Compile solver.c and network.c in book/_static to WebAssembly: NAME.wasm.js. `make solver` runs it.

It needs clang and lld (Debian, Ubuntu: `apt-get install clang lld`). The worker cannot fetch a file where the page was
opened from one, so a module is text in a script. With it goes the SHA-256 of the source, for a test to compare.
"""

import base64
import hashlib
import subprocess
import tempfile
from pathlib import Path

STATIC = Path(__file__).parent / "_static"
FLAGS = ["--target=wasm32", "-O3", "-ffast-math", "-msimd128", "-mbulk-memory", "-nostdlib", "-Wall"]
ARRAYS = ("root_re", "root_im", "laplacian", "weight", "data", "r", "x", "down", "right")
# the name of each module in the worker, and what it exports beside its functions
MODULES = {"solver": ("WASM", ARRAYS), "network": ("NETWORK_WASM", ("__heap_base",))}


def version() -> str:
    """The compiler's name and version."""
    return subprocess.run(["clang", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]


def compiled(source: Path) -> bytes:
    """The module."""
    link = ["--no-entry", "--strip-all", *(f"--export={name}" for name in MODULES[source.stem][1])]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "module.wasm"
        command = ["clang", *FLAGS, *(f"-Wl,{option}" for option in link), "-o", str(out), str(source)]
        subprocess.run(command, check=True)
        return out.read_bytes()


def script(source: Path) -> str:
    """The script that holds the module, its compiler and the SHA-256 of its source."""
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    text = base64.b64encode(compiled(source)).decode()
    name = MODULES[source.stem][0]
    return f'// {source.name} (SHA-256 {sha256})\n// compiled by {version()}\nconst {name} =\n  "{text}";\n'


if __name__ == "__main__":
    for name in MODULES:
        (STATIC / f"{name}.wasm.js").write_text(script(STATIC / f"{name}.c"), encoding="utf-8")
