"""The house style: values beyond 1 are marked, a close-up hides nothing, and the same figure is the same file."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lib.figures.style import OVER, save, show_image
from lib.measures import relative_error


@pytest.mark.parametrize(("peak", "marked"), [(1.0, False), (1.01, True), (-1.5, True)])
def test_values_beyond_1_and_only_those_are_in_the_warning_colour(peak, marked):
    # A negative or complex pixel counts by its modulus.
    image = torch.full((16, 16), 0.5)
    image[4, 4] = peak
    figure, ax = plt.subplots()
    show_image(ax, image)
    figure.canvas.draw()
    over = np.round(255 * np.array(matplotlib.colors.to_rgb(OVER)))
    near = np.abs(np.asarray(figure.canvas.buffer_rgba())[..., :3] - over) <= 1
    assert near.all(-1).any() == marked


@pytest.mark.parametrize("mu", [(3, 3), (60, 2), (0, 63), (40, 40)])
def test_the_close_up_shows_the_pixel_and_does_not_hide_it(mu):
    image = torch.zeros(64, 64)
    image[mu] = 2
    figure, ax = plt.subplots()
    show_image(ax, image, close_up=mu)
    figure.canvas.draw()
    (inset,) = ax.child_axes
    (left, right), (bottom, top) = inset.get_xlim(), inset.get_ylim()
    assert left < mu[1] < right and top < mu[0] < bottom
    where = ax.transData.transform((mu[1], mu[0]))
    assert not inset.get_window_extent().contains(*where)


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        figure, ax = plt.subplots()
        show_image(ax, torch.eye(8), "eye")
        save(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()
    assert not plt.get_fignums()


def test_relative_error_is_that_of_the_definition():
    x = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert relative_error(x + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), x) == pytest.approx(0.2)
