"""Slices of the template, the attack on them, and the pictures that are kept."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lib.operators import MaskedFourier, radial_mask
from lib.runs import anatomy, beyond
from lib.runs.doubts import brain


def test_the_slices_are_those_of_the_template():
    for height in anatomy.HEIGHTS:
        x = anatomy.brain_slice(height)
        assert x.shape == (256, 256) and 0.5 < float(x.max()) <= 1 and float((x > 0.2).float().mean()) > 0.1
    assert torch.equal(anatomy.brain_slice(8), brain())


@pytest.mark.slow
def test_a_cell_has_its_numbers_and_its_picture():
    rows, files = beyond.compute("anatomy", "tv 8", 0.04, 0)
    numbers = {row["quantity"]: float(row["value"]) for row in rows}
    op = MaskedFourier(radial_mask(256, 40))
    assert numbers["alpha"] == pytest.approx(numbers["rho_linf"] / numbers["r_linf"], rel=1e-3)
    assert numbers["alpha"] > 0.7 * op.n**2 / op.m
    (name,) = files
    shown = anatomy.WHITE * np.array(Image.open(io.BytesIO(files[name]))) / 255
    assert name == "slices/tv8-4.png" == beyond.files({"question": "anatomy", "case": "tv 8", "noise_rel": 0.04})[0]
    assert shown.max() > 1.2 and np.abs(shown - brain().numpy()).mean() < 0.05


def test_other_questions_have_no_pictures():
    assert beyond.files({"question": "masks", "case": "radial", "noise_rel": 0.04}) == ()
