"""Proved instances: what is proved is solved for, and the amplification is that of an exactly recovered spike."""

import pytest
import torch

from lib.operators import MaskedFourier
from lib.runs import guarantee
from lib.tv import reconstruct_tv


def test_what_is_proved_is_recovered(monkeypatch):
    """By the solver, which knows nothing of certificates, with little regularization."""
    monkeypatch.setattr(guarantee, "ITERATIONS", 500)
    x, mask, found, field = guarantee.certificates("uniform 32 640", 0)
    assert all(one.unique for one in found) and field.shape == (2, 32, 32)
    op = MaskedFourier(torch.from_numpy(mask), real=True)
    image = reconstruct_tv(op.A(torch.from_numpy(x)), op, 1e-4, tol=1e-4).image
    assert float((image - torch.from_numpy(x)).abs().max()) < 2e-2


def test_the_numbers_of_a_case(monkeypatch):
    monkeypatch.setattr(guarantee, "ITERATIONS", 500)
    found, op = guarantee.guarantee("uniform 32 640", 0.0, 0)
    assert found["alpha"] == pytest.approx(32**2 / op.m, rel=1e-6)
    assert found["proved"] == 1 and found["off_support"] < 1 and 0 < found["allowance"] < 1e-9
    assert found["margin"] == pytest.approx(1 - found["off_support"], abs=1e-9) and found["margin"] > 0
    few, _ = guarantee.guarantee("uniform 32 150", 0.0, 0)
    assert few["proved"] == 0 and few["off_support"] > 1 and few["margin"] < 0


def test_the_blocks_have_exact_grey_values():
    x = guarantee.blocks(64, 3)
    assert (8 * x == (8 * x).round()).all() and x.max() > 0
    assert x[guarantee.spot(64)] + 1 - 1 == x[guarantee.spot(64)]
