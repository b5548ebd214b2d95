"""Lesions and further measurements: what the numbers are, where it can be said beforehand."""

import pytest
import torch

from lib.attack import disk_weight
from lib.operators import MaskedFourier, radial_mask
from lib.runs import doubts
from lib.runs.doubts import PLACES, brain, further, halves, hidden, lesions, line, pushed, with_spike


@pytest.fixture
def small(monkeypatch):
    for name, value in {"N": 64, "LINES": 25, "SCREEN": 1}.items():
        monkeypatch.setattr(doubts, name, value)
    doubts._attacked.cache_clear()
    yield
    doubts._attacked.cache_clear()


def test_a_lesion_is_the_perturbation_of_its_disc():
    found, op = lesions("tv in 2", 0.01, 0)
    disc = disk_weight(256, PLACES[0], 2)
    fourier = MaskedFourier(radial_mask(256, 40))
    blurred = fourier.A_dagger(fourier.A(disc)).real
    assert found["seen"] == pytest.approx(float(blurred[disc > 0].mean()), rel=1e-3)
    size = found["contrast"] * fourier.A(disc).norm() / fourier.A(brain()).norm()
    assert float(size) == pytest.approx(0.01, rel=1e-3)
    assert found["shown"] > 2 * found["seen"] and op.m == fourier.m


@pytest.mark.parametrize("way", ["in", "out"])
def test_the_least_level_shows_all_and_less_does_not(way, monkeypatch):
    monkeypatch.setattr(doubts, "HALVINGS", 2)
    found, _ = hidden(f"tv {way} 3", 0.1, 0)
    assert found["reached"] and found["shown"] >= 1 and found["seen"] <= 1 / 3 + 1e-3
    below = 0.99 * found["level"] * (doubts.LOWEST / 0.1) ** (1 / 2**2)  # what the bisection has ruled out
    less, _ = hidden(f"tv {way} 3", below, 0)
    assert not less["reached"] and less["shown"] < 1 and less["level"] == below


def test_the_perturbation_has_its_norm_and_stays_in_the_half_space():
    """For the linear zero filling, whose best e is known: along the disc's measurements, as far as it may go."""
    op = MaskedFourier(radial_mask(64, 12))
    disc, y = disk_weight(64, (30, 28), 2), op.A(torch.rand(64, 64, generator=torch.Generator().manual_seed(0)))
    largest = float(op.A(disc).norm() / disc.sum())  # what e of norm 1 moves at most
    for most, expected, norm in ((10.0, largest, 1.0), (0.5 * largest, 0.5 * largest, 0.5)):
        e = pushed(op.A_dagger, y, op, disc, -1.0, 1.0, most)
        moved = -float((op.A_dagger(e).real * disc).sum() / disc.sum())
        assert float(e.norm()) == pytest.approx(norm, rel=1e-4) and moved == pytest.approx(expected, rel=1e-3)


def test_the_measurements_alone_cannot_tell(small):
    """The estimate from y + e is the same for both objects; and so are the alarms."""
    found, _ = further("0", 0.04, 0)
    assert found["power"] == found["false_alarm"]


def test_the_object_with_the_spike_has_the_very_measurements(small):
    """It is real, and at frequencies that nobody has measured it is the phantom with the spike, whatever e is."""
    op, x, y, e, artifact, _ = doubts._attacked(0.04, 0)
    spike = torch.where(artifact.abs() == artifact.abs().max(), artifact, 0)
    other = with_spike(x, e, spike, op)
    assert not other.is_complex() and torch.allclose(op.A(other), y + e, atol=1e-4)
    k = op.mask.nonzero() - 32
    seen = torch.zeros(64, 64, dtype=torch.bool)
    seen[k[:, 0] % 64, k[:, 1] % 64] = seen[-k[:, 0] % 64, -k[:, 1] % 64] = True
    spectrum = torch.fft.fft2(other - x - spike, norm="ortho")
    assert float(spectrum[~seen].abs().max()) < 1e-4 < float(spectrum[seen].abs().max())
    noise = op.symmetrize(torch.randn(op.m, dtype=y.dtype, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(op.A(with_spike(x, noise, spike, op)), y + noise, atol=1e-4)
    assert not torch.allclose(other, x + spike, atol=1e-2)  # e is not that of the spike alone
    assert further("1", 0.04, 0)[0]["there"] == pytest.approx(float(((other - x) / spike)[spike != 0]), rel=1e-3)


def test_more_measurements_tell_more(small):
    few, many = (further(k, 0.04, 0)[0] for k in ("1", "32"))
    assert many["power"] - many["false_alarm"] > few["power"] - few["false_alarm"] + 0.1
    assert few["height"] == many["height"]


def test_a_further_line_is_new():
    first, longer = radial_mask(256, 40), radial_mask(256, 41)
    assert bool((longer & ~first).sum() >= 64) and not bool((first & ~longer).any())
    assert torch.equal(first & longer, first)


def test_lines_make_the_mask():
    assert torch.equal(torch.stack([line(64, k) for k in range(9)]).any(0), radial_mask(64, 9))


def test_halves_show_a_spike_that_is_there(small):
    """Both halves show most of it; with one part there is nothing to compare, and it shows all."""
    found, _ = halves("spike 2", 0.04, 0)
    assert 0.3 < found["lowest"] <= found["highest"] < 1.7 and found["height"] > 0
    alone, _ = halves("artifact 1", 0.04, 0)
    assert alone["lowest"] == alone["highest"] == pytest.approx(1, rel=1e-3)
