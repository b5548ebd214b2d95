"""The comparison: every method on the same test images, nothing computed twice, retrained networks computed anew."""

import pytest
import torch

from lib import comparison, networks, training
from lib.comparison import compare, methods, tv, tv_lambda
from lib.networks import PRESETS, Reconstruction, Sizes, save_network
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, read_rows
from lib.training import IMAGES, LEVELS, TEST, errors
from lib.tv import calibrated_lambda, reconstruct_tv

SMALL = Sizes((1,), 1, (1,), growth=4, first=4, fold=2, inversion_noise=0)
OP = MaskedFourier(radial_mask(32, 40))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A problem of 32 x 32 pixels, three images, two levels, and a folder with a trained Tira."""
    for module in (comparison, networks):
        monkeypatch.setattr(module, "N", 32)
    monkeypatch.setitem(PRESETS, "compact", SMALL)
    monkeypatch.setattr(comparison, "IMAGES", 3)
    monkeypatch.setattr(comparison, "LEVELS", (0.0, 0.04))
    monkeypatch.setattr(comparison, "RESULTS", tmp_path)
    folder = tmp_path / "weights"
    monkeypatch.setattr(comparison, "read_manifest", lambda: networks.read_manifest(folder))
    load_network = networks.load_network
    monkeypatch.setattr(comparison, "load_network", lambda name, preset: load_network(name, preset, folder=folder))
    save_network(Reconstruction(OP, SMALL, False), "tira-compact", {}, folder=folder)
    return folder


def test_all_methods_are_measured_on_the_same_test_images(small, tmp_path):
    compare("compact")
    rows = {(row["method"], row["noise_rel"]): row for row in read_rows(tmp_path / "networks_error.csv")}
    assert set(rows) == {(m, level) for m in ("zero-filled", "tv", "tira-compact") for level in ("0", "0.04")}
    for name, reconstruct in (("zero-filled", OP.A_dagger), ("tv", lambda y: tv(y, OP, 0.04))):
        moduli, full = errors(reconstruct, OP, 0.04, 3, TEST)
        row = rows[name, "0.04"]
        assert float(row["error_mean"]) == pytest.approx(moduli.mean().item(), abs=1e-5)
        assert float(row["complex_error_std"]) == pytest.approx(full.std().item(), abs=1e-5)
        setting = f"lambda={calibrated_lambda(0.04, 40):.3g}" if name == "tv" else ""
        assert (row["images"], row["seed"], row["setting"]) == ("3", str(TEST), setting)
    # an untrained Tira is zero filling
    assert rows["tira-compact", "0"]["error_mean"] == rows["zero-filled", "0"]["error_mean"]


def test_nothing_is_computed_twice_except_for_a_network_that_was_trained_since(small, tmp_path, monkeypatch):
    compare("compact")
    before = read_rows(tmp_path / "networks_error.csv")
    asked = []

    def record(reconstruct, op, level, images, seed):
        asked.append(level)
        return errors(reconstruct, op, level, images, seed)

    monkeypatch.setattr(comparison, "errors", record)
    compare("compact")
    assert asked == [] and read_rows(tmp_path / "networks_error.csv") == before
    network = Reconstruction(OP, SMALL, False)
    with torch.no_grad():
        network.net.last.bias += 0.1
    save_network(network, "tira-compact", {}, folder=small)
    compare("compact")
    after = read_rows(tmp_path / "networks_error.csv")
    assert asked == [0.0, 0.04] and len(after) == len(before)
    changed = {row["method"] for row, old in zip(after, before, strict=True) if row != old}
    assert changed == {"tira-compact"}
    asked.clear()
    monkeypatch.setattr(comparison, "calibrated_lambda", lambda *_: 0.01)  # TV depends on the calibration
    compare("compact")
    assert asked == [0.04]


def test_networks_that_are_not_trained_are_left_out(small):
    assert list(methods(OP, "compact")) == ["zero-filled", "tv", "tira-compact"]
    assert list(methods(OP, "paper")) == ["zero-filled", "tv"]


def test_tv_gets_the_calibrated_lambda():
    y = OP.A(ellipses(1, 32, seed=1))
    assert torch.equal(tv(y, OP, 0.04), reconstruct_tv(y, OP, calibrated_lambda(0.04, 40)).image)
    assert torch.equal(tv(y, OP, 0.0), reconstruct_tv(y, OP, comparison.CLEAN_LAMBDA).image)


def test_the_committed_comparison_is_that_of_the_published_weights():
    rows, manifest = read_rows(RESULTS / "networks_error.csv"), networks.read_manifest()
    for name in {row["method"] for row in rows}:
        chosen = [row for row in rows if row["method"] == name]
        assert [row["noise_rel"] for row in chosen] == [f"{level:g}" for level in LEVELS]
        assert {(row["images"], row["seed"]) for row in chosen} == {(str(IMAGES), str(training.TEST))}
        if name in manifest:
            assert {row["setting"] for row in chosen} == {manifest[name]["files"][0]["sha256"][:10]}
        if name == "tv":
            assert [row["setting"] for row in chosen] == [f"lambda={tv_lambda(level):.3g}" for level in LEVELS]
    assert {"zero-filled", "tv", *manifest} == {row["method"] for row in rows}
