"""Lesions and further measurements: what the numbers are, where it can be said beforehand."""

import pytest
import torch

from lib.attack import disk_weight
from lib.operators import MaskedFourier, radial_mask
from lib.runs import doubts
from lib.runs.doubts import PLACES, brain, further, lesions


@pytest.fixture
def small(monkeypatch):
    for name, value in {"N": 64, "LINES": 25, "SCREEN": 1}.items():
        monkeypatch.setattr(doubts, name, value)
    doubts._attacked.cache_clear()
    yield
    doubts._attacked.cache_clear()


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_lesion_is_the_perturbation_of_its_disc(way):
    found, op = lesions(f"tv {way} 2", 0.01, 0)
    disc = disk_weight(256, PLACES[0], 2)
    fourier = MaskedFourier(radial_mask(256, 40))
    blurred = fourier.A_dagger(fourier.A(disc)).real
    assert found["seen"] == pytest.approx(float(blurred[disc > 0].mean()), rel=1e-3)
    size = found["contrast"] * fourier.A(disc).norm() / fourier.A(brain()).norm()
    assert float(size) == pytest.approx(0.01, rel=1e-3)
    assert found["shown"] > 2 * found["seen"] and op.m == fourier.m


def test_the_measurements_alone_cannot_tell(small):
    """The estimate from y + e is the same for both objects; and so are the alarms."""
    found, _ = further("0", 0.04, 0)
    assert found["power"] == found["false_alarm"]


def test_more_measurements_tell_more(small):
    few, many = (further(k, 0.04, 0)[0] for k in ("1", "32"))
    assert many["power"] - many["false_alarm"] > few["power"] - few["false_alarm"] + 0.1
    assert few["height"] == many["height"]


def test_a_further_line_is_new():
    first, longer = radial_mask(256, 40), radial_mask(256, 41)
    assert bool((longer & ~first).sum() >= 64) and not bool((first & ~longer).any())
    assert torch.equal(first & longer, first)
