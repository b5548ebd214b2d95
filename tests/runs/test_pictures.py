"""Pictures of the explorer keep what they should, and mark values beyond 1."""

import numpy as np
import pytest
import torch

from lib.runs.pictures import GAP, OVER, decode, encode, side_by_side, warn


def test_a_picture_keeps_what_its_step_can():
    image = torch.linspace(-1.2, 1.2, 256).reshape(16, 16)
    assert float(((decode(encode(image)) - 128) / 100 - image).abs().max()) <= 0.005 + 1e-6


def test_beyond_one_is_the_warning_colour():
    picture = warn(torch.tensor([[0.0, 0.5, 1.0, 1.01]]))
    assert picture[0, :3].tolist() == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    assert "#" + "".join(f"{c:02x}" for c in picture[0, 3]) == OVER


@pytest.mark.parametrize("mu", [(0, 0), (0, 255), (255, 255), (128, 128)])
def test_the_close_up_is_in_the_picture_and_four_times_as_large(mu):
    image = torch.zeros(256, 256)
    image[mu] = 2
    picture = side_by_side([image, image.conj()], mu)
    assert picture.shape == (256, 2 * 256 + GAP, 3)
    assert (picture[:, :256] == picture[:, 256 + GAP :]).all()
    over = (picture[:, :256] == np.array([213, 94, 0])).all(-1).sum()
    assert over == 17 if mu == (128, 128) else over >= 9  # in a corner the frames hide some
