"""The comparison: every method on the same test images; a retrained network is computed anew."""

import pytest
import torch

from lib import networks
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs import comparison
from lib.runs.comparison import IMAGES, LEVELS, TABLE, errors, reconstruction, setting
from lib.runs.engine import run
from lib.runs.section4 import TEST
from lib.runs.tables import read_table
from lib.tv import calibrated_lambda, reconstruct_tv

OP = MaskedFourier(radial_mask(32, 40))


def test_errors_are_those_of_the_definition():
    op, x = MaskedFourier(radial_mask(32, 8)), ellipses(11, 32, seed=TEST)
    moduli, full = errors(lambda y: -1j * op.A_dagger(y), op, 0.0, images=11, seed=TEST)
    z = op.A_dagger(op.A(x))
    norm = torch.linalg.vector_norm(x, dim=(1, 2))
    assert torch.allclose(moduli, torch.linalg.vector_norm(z.abs() - x, dim=(1, 2)) / norm, atol=1e-6)
    assert torch.allclose(full, torch.linalg.vector_norm(-1j * z - x, dim=(1, 2)) / norm, atol=1e-6)
    noisy, _ = errors(op.A_dagger, op, 0.1, images=11, seed=TEST)
    assert (full > 1).all() and noisy.shape == (11,) and (noisy > moduli).all()


def test_a_retrained_network_and_nothing_else_is_measured_again(small_networks, inline, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "IMAGES", 3)
    monkeypatch.setattr(comparison, "LEVELS", (0.0, 0.04))
    assert run(TABLE, folder=tmp_path).new == 8
    small_networks(seed=1, names=("tira",))
    inline.clear()
    report = run(TABLE, folder=tmp_path)
    assert (report.new, report.rows) == (2, 8) and {cell["method"] for cell in inline} == {"tira-compact"}


def test_tv_gets_the_calibrated_lambda():
    y = OP.A(ellipses(1, 32, seed=1))
    for level, lam in ((0.04, calibrated_lambda(0.04, 40)), (0.0, comparison.CLEAN_LAMBDA)):
        assert torch.equal(reconstruction("tv", OP, level)(y), reconstruct_tv(y, OP, lam).image)


def test_the_committed_comparison_is_that_of_the_published_weights():
    rows = read_table("networks_error", images=IMAGES, seed=TEST)
    assert set(rows["method"]) == {"zero-filled", "tv", *networks.read_manifest()}
    for method, mine in rows.groupby("method"):
        assert mine["noise_rel"].tolist() == list(LEVELS)
        assert mine["setting"].tolist() == [setting(method, level) for level in LEVELS]


@pytest.mark.parametrize("method", ["zero-filled", "tv"])
def test_a_committed_row_is_found_again(method):
    kept = read_table("networks_error", method=method, noise_rel=0.04)
    (row,), _ = comparison.compare(method, setting(method, 0.04), 0.04, IMAGES, TEST)
    assert float(row["error_mean"]) == pytest.approx(kept["error_mean"][0], rel=1e-3)
