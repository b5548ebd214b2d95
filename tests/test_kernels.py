"""The cache of compiled code is an option: damaged, full or forbidden, calls still give what they should."""

import ctypes
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lib import _kernels
from lib._kernels import _CacheFile

KEY, CODE = ("float64", "a processor"), ("a library", b"\x7fELF" + bytes(range(256)))


@pytest.fixture
def cache(tmp_path):
    """The cache of a function, as each process that compiles it opens it, with the code for one type."""
    _kernels._warn.cache_clear()
    cache = _CacheFile(str(tmp_path), "function", "stamp of its source")
    cache.save(KEY, CODE)
    yield cache
    _kernels._warn.cache_clear()


def test_what_is_kept_is_loaded(cache):
    assert cache.load(KEY) == CODE and cache.load("another type") is None


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        lambda content: b"",
        lambda content: content[:90] + bytes([content[90] ^ 4]) + content[91:],
    ],
)
def test_what_is_damaged_is_compiled_again_with_one_warning(cache, tmp_path, suffix, damage):
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cache.load(KEY) in (None, CODE) and cache.load(KEY) in (None, CODE)  # a bit can be one that nobody reads
    assert len(caught) <= 1 and all("compiles anew" in str(one.message) for one in caught)
    cache.save(KEY, CODE)
    assert cache.load(KEY) == CODE


def test_code_of_other_types_under_this_name_is_not_called(cache, tmp_path):
    """As two processes can leave it that compile at once."""
    cache.save("another type", ("other code",))
    one, two = sorted(tmp_path.glob("*.nbc"))
    one.write_bytes(two.read_bytes())
    with pytest.warns(RuntimeWarning, match="compiles anew"):
        assert cache.load(KEY) is None


def test_a_full_disk_keeps_no_code_and_stops_no_call(cache, monkeypatch):
    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="compiled code is not kept: .* No space left"):
        cache.save(KEY, CODE)


def twice(x):
    return 2 * x


def test_without_a_folder_it_is_compiled_anew_with_one_warning(cache, monkeypatch):
    def refuse(loop):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(type(_kernels.numba.njit(twice)), "enable_caching", refuse)
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR") as caught:
        loops = _kernels._compiled()(twice), _kernels._compiled()(twice)
    assert len(caught) == 1 and loops[0](2) == 4


CALLER = """
from pathlib import Path
from lib import _kernels

def twice(x):
    return 2 * x

try:
    Path("file").touch()
    print("it can be written")
except OSError:
    print(*(_kernels._compiled()(twice)(k) for k in (2, 2.5)))
"""


def heed_modes():
    if os.geteuid() == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(
            24, 1, 0, 0, 0
        )  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: the next program of root heeds them


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True])
def test_with_all_folders_read_only_it_is_compiled_anew_with_one_warning(tmp_path, named):
    (tmp_path / "lib").mkdir()
    for name in ("__init__.py", "_kernels.py"):
        (tmp_path / "lib" / name).write_bytes((Path(_kernels.__file__).parent / name).read_bytes())
    (tmp_path / "caller.py").write_text(CALLER)
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPATH")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)} | (
        {"NUMBA_CACHE_DIR": str(tmp_path)} if named else {}
    )
    for folder in (tmp_path / "lib", tmp_path):
        folder.chmod(0o555)
    try:
        command = [sys.executable, "-B", "-W", "always", "caller.py"]
        pipes = {"capture_output": True, "text": True, "preexec_fn": heed_modes}
        found = subprocess.run(command, cwd=tmp_path, env=environment, check=False, **pipes)
    finally:
        tmp_path.chmod(0o755)
    if "it can be written" in found.stdout:
        pytest.skip("this user can write everywhere")
    assert found.stdout == "4 5.0\n", found.stderr
    assert found.stderr.count("each start compiles anew; set NUMBA_CACHE_DIR") == 1


def test_the_loops_have_this_cache():
    assert type(_kernels._v_update._cache._cache_file) is _CacheFile
