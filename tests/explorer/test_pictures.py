"""Panels of the still picture: values beyond 1 are marked, and a close-up shows its pixel."""

import numpy as np
import pytest
import torch

from lib.explorer.pictures import GAP, side_by_side, warn
from lib.figures.style import OVER


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
