"""The cache of compiled code is an option: damaged, full or forbidden, calls still give what they should."""

import importlib.util
import os

import pytest

from lib import _kernels

SOURCE = "def twice(x):\n    return 2 * x\n"


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Compile a function of a module of its own, as a new process would."""
    monkeypatch.setattr(_kernels.numba.config, "CACHE_DIR", "")
    path = tmp_path / "module_with_a_loop.py"
    path.write_text(SOURCE)
    _kernels._warn.cache_clear()

    def start():
        specification = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return _kernels._compiled()(module.twice)

    yield start
    _kernels._warn.cache_clear()


def cache(tmp_path, suffix):
    return list((tmp_path / "__pycache__").glob(f"*{suffix}"))


def test_what_is_kept_is_loaded(compiled, tmp_path):
    assert compiled()(2) == 4 and cache(tmp_path, ".nbc")
    loop = compiled()
    assert loop(2) == 4 and sum(loop.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        lambda content: b"",
        lambda content: content[:-30] + bytes([content[-30] ^ 4]) + content[-29:],
    ],
)
def test_what_is_damaged_is_compiled_again_with_one_warning(compiled, tmp_path, suffix, damage):
    compiled()(2)
    (path,) = cache(tmp_path, suffix)
    before = path.read_bytes()
    path.write_bytes(damage(before))
    with pytest.warns(RuntimeWarning, match="compiles anew") as caught:
        loop = compiled()
        assert (loop(2), loop(2)) == (4, 4)
    assert len(caught) == 1
    assert sum((again := compiled()).stats.cache_hits.values()) == 0 and again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1  # the files are whole again


def test_code_of_other_types_under_this_name_is_not_called(compiled, tmp_path):
    """As two processes can leave it that compile at once."""
    loop = compiled()
    loop(2)
    loop(2.5)
    one, two = sorted(cache(tmp_path, ".nbc"))
    one.write_bytes(two.read_bytes())
    with pytest.warns(RuntimeWarning, match="compiles anew"):
        assert compiled()(2) == 4


def test_without_a_folder_it_is_compiled_anew_with_one_warning(compiled, monkeypatch):
    locators = _kernels.IndexDataCacheFile.__module__
    module = importlib.import_module(locators)
    monkeypatch.setattr(module.CacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR") as caught:
        assert compiled()(2) == 4 and compiled()(3) == 6
    assert len(caught) == 1


def test_a_full_disk_keeps_no_code_and_stops_no_call(compiled, monkeypatch):
    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="compiled code is not kept: .* No space left"):
        assert compiled()(2) == 4
