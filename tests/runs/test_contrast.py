"""The local contrast: from the definition, its two ends, and what the attack at a scale gives."""

import pytest
import torch
from helpers import random

from lib.attack import disk_weight
from lib.measures import amplification
from lib.runs import contrast
from lib.runs.contrast import local_contrast


@pytest.mark.parametrize("sigma", [0.5, 1, 2.5, 7, 40])
def test_it_is_the_largest_norm_under_a_disk(sigma):
    x = random(2, 12, 12)
    places = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    norms = (disk_weight(12, places, min(sigma, 16)) * x[:, None]).abs().square().sum((-2, -1)).sqrt()
    assert torch.allclose(local_contrast(x, sigma).to(norms), norms.amax(1), rtol=1e-4)


def test_its_ends_are_the_two_norms():
    x = random(12, 12)
    assert float(local_contrast(x, 0.5)) == pytest.approx(float(x.abs().max()), rel=1e-6)
    assert float(local_contrast(x, 20)) == pytest.approx(float(x.norm()), rel=1e-6)


def test_an_attack_at_a_scale(monkeypatch):
    for name, value in {"N": 64, "LINES": 25, "COUNT": 2}.items():
        monkeypatch.setattr(contrast, name, value)
    monkeypatch.setattr(contrast, "SIGMAS", (0.5, 90))
    contrast.found.cache_clear()
    (one, op), (whole, _) = (contrast.contrast(f"tv {sigma}", 0.04, 0) for sigma in (0.5, 90))
    tried, _ = contrast.found("tv", 0.04, 0)
    contrast.found.cache_clear()
    norm = torch.linalg.vector_norm
    assert one["local"] == pytest.approx(max(float(amplification(*pair)) for pair in tried), rel=1e-3)
    assert whole["local"] == pytest.approx(max(float(norm(rho) / norm(r)) for rho, r in tried), rel=1e-3)
    assert len(tried) == 2 and op.n == 64 and one["local"] > whole["local"] > 0
