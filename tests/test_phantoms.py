"""Random ellipses follow the law of [12] and depend on nothing but their seed; the Shepp-Logan phantom."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lib.phantoms import _draw_ellipses, ellipses, shepp_logan

FINGERPRINT = {
    "count": 13,
    "first": [-0.32229860073, -0.64263706649, 0.05661105421, 0.32162664016, 0.13661465683, 0.99062426557]
    + [-1.13887932394, -0.56094701628, 0.30191695012],
    "last": [-0.08014603944, 0.60342424237, 0.06620428448, 0.34280247826, 0.5693714658, 0.82208036951]
    + [-0.0681313736, 0.18190295554, 0.95037295456],
    "mean": 0.174235185,
    "pixel": 0.221174717,
}


@pytest.fixture(scope="module")
def drawn():
    return [_draw_ellipses(np.random.default_rng([0, i])) for i in range(1000)]


@pytest.fixture(scope="module")
def rows(drawn):
    return np.concatenate(drawn)


def semi_axis_limit(rows):
    return 0.9 * (1 - np.abs(rows[:, :2]).max(1))


def is_uniform(sample, low, high):
    """Kolmogorov-Smirnov: the sample is fixed by its seed, so a threshold of 1e-4 is not a matter of luck."""
    return stats.kstest(sample, stats.uniform(low, high - low).cdf).pvalue > 1e-4


def test_the_number_of_ellipses_is_uniform_in_7_to_14(drawn):
    counts = np.bincount([len(image) for image in drawn])
    assert len(counts) == 15 and counts[:7].sum() == 0
    assert stats.chisquare(counts[7:]).pvalue > 1e-4


def test_centres_are_uniform_in_a_square_of_half_side_seven_tenths(rows):
    assert is_uniform(rows[:, 0], -0.7, 0.7) and is_uniform(rows[:, 1], -0.7, 0.7)
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 0.05


@pytest.mark.parametrize("column", [2, 3])
def test_semi_axes_are_uniform_and_capped_by_the_distance_to_the_border(rows, column):
    axis, limit = rows[:, column], semi_axis_limit(rows)
    assert (axis <= limit).all() and 0.05 <= axis.min() and axis.max() <= 0.45
    free = limit >= 0.45  # no cap there, so that the law itself shows
    assert free.sum() > 1000 and is_uniform(axis[free], 0.05, 0.45)
    # a cap, not a redraw: with limit c it is met with probability (0.45 - c) / 0.4
    expected = np.clip((0.45 - limit) / 0.4, 0, 1)
    assert abs((axis == limit).mean() - expected.mean()) < 0.02


def test_the_two_semi_axes_are_drawn_independently(rows):
    free = semi_axis_limit(rows) >= 0.45
    assert abs(np.corrcoef(rows[free, 2], rows[free, 3])[0, 1]) < 0.05


def test_rotations_are_uniform_in_a_quarter_turn(rows):
    angle = np.arctan2(rows[:, 5], rows[:, 4])
    assert np.allclose(np.hypot(rows[:, 4], rows[:, 5]), 1)
    assert is_uniform(angle, 0, np.pi / 2)


def boundary(rows):
    """Points on the boundary of each ellipse, where a linear function has its extremes: two ``(count, 100)``."""
    cu, cv, a, b, cos, sin = rows[:, :6].T[..., None]
    s = np.linspace(0, 2 * np.pi, 100)
    return cu + a * np.cos(s) * cos - b * np.sin(s) * sin, cv + a * np.cos(s) * sin + b * np.sin(s) * cos


def test_intensities_are_nowhere_negative_on_the_ellipse_and_use_all_that_this_allows(rows):
    u, v = boundary(rows)
    g1, g2, offset = rows[:, 6:].T[..., None]
    least = (g1 * u + g2 * v + offset).min(1)
    assert least.min() >= -1e-12
    # Not stricter than the law: there are ellipses on which the intensity nearly vanishes.
    assert least.min() < 0.01


def test_accepted_slopes_and_offsets_have_the_law_of_the_rejection_method(rows):
    # The reference redraws with a generator and a test of its own, on the same ellipses.
    assert 0.3 <= rows[:, 8].min() and rows[:, 8].max() <= 1
    rng = np.random.default_rng(1)
    g1, g2 = 0.9 * rng.standard_normal((2, 40, len(rows)))
    offset = rng.uniform(0.3, 1, g1.shape)
    u, v = boundary(rows)
    accepted = np.array(
        [(a[:, None] * u + b[:, None] * v + c[:, None]).min(1) >= 0 for a, b, c in zip(g1, g2, offset, strict=True)]
    )
    first, some = accepted.argmax(0), accepted.any(0)
    assert some.mean() > 0.99
    for mine, redrawn in ((rows[:, 6], g1), (rows[:, 7], g2), (rows[:, 8], offset)):
        mine, theirs = mine[some], redrawn[first, np.arange(len(rows))][some]
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-4
        assert abs(mine.std() / theirs.std() - 1) < 0.03


def test_an_image_is_the_sum_of_its_ellipses_divided_by_its_maximum():
    # Pixel by pixel from the definition, with the membership test written with a 2 x 2 matrix.
    n, i = 33, 4
    image = np.zeros((n, n))
    for cu, cv, a, b, cos, sin, g1, g2, offset in _draw_ellipses(np.random.default_rng([6, i])):
        rotation = np.array([[cos, -sin], [sin, cos]])
        shape = rotation @ np.diag([a**-2, b**-2]) @ rotation.T
        for row in range(n):
            for column in range(n):
                u, v = (2 * column + 1) / n - 1, (2 * row + 1) / n - 1
                w = np.array([u - cu, v - cv])
                if w @ shape @ w < 1:
                    image[row, column] += g1 * u + g2 * v + offset
    assert np.allclose(ellipses(1, n, seed=6, first=i)[0], image / image.max(), atol=1e-6)


@pytest.mark.parametrize("n", [8, 16, 33, 100])
def test_images_lie_in_0_1_with_maximum_1_and_a_dark_border(n):
    x = ellipses(20, n, seed=1)
    assert x.shape == (20, n, n) and x.dtype == torch.float32 and x.device.type == "cpu"
    assert (x >= 0).all() and (x.amax((1, 2)) == 1).all()
    if n >= 33:  # ellipses keep a tenth of their distance from the border, at least 0.03
        assert (x[:, [0, -1]] == 0).all() and (x[:, :, [0, -1]] == 0).all()


def test_even_on_the_coarsest_grid_no_image_is_empty():
    # An image of zeros divided by its maximum would be NaN.
    x = ellipses(1000, 8)
    assert (x.amax((1, 2)) == 1).all() and not x.isnan().any()


def test_an_image_does_not_depend_on_how_the_stream_is_split():
    x = ellipses(6, 40, seed=8)
    assert torch.equal(x, torch.cat([ellipses(2, 40, seed=8), ellipses(4, 40, seed=8, first=2)]))
    assert torch.equal(x[5], ellipses(1, 40, seed=8, first=5)[0])


def test_no_images_are_an_empty_tensor():
    assert ellipses(0, 16).shape == (0, 16, 16)


def test_images_do_not_depend_on_global_random_states():
    np.random.seed(0), torch.manual_seed(0)
    before = ellipses(2, 24)
    np.random.seed(1), torch.manual_seed(1)
    assert torch.equal(before, ellipses(2, 24))


def test_different_seeds_and_different_numbers_give_different_images():
    x = torch.cat([ellipses(4, 32, seed=seed) for seed in range(4)]).flatten(1)
    distance = torch.cdist(x, x) + 1e3 * torch.eye(len(x))
    assert distance.min() > 1


def test_the_largest_seed_and_number_are_those_of_32_bits():
    # NumPy cuts larger ones into words: [2**32 + 5] and [5, 1] are the same entropy, and streams would overlap.
    last = ellipses(1, 16, seed=2**32 - 1, first=2**32 - 1)
    assert last.amax() == 1
    for name, seed, first, count in (("seed", 2**32, 0, 1), ("count", 0, 2**32, 1), ("count", 0, 2**32 - 1, 2)):
        with pytest.raises(ValueError, match=f"ellipses: {name} must be"):
            ellipses(count, 16, seed=seed, first=first)


@pytest.mark.parametrize("n", [32, 33])
def test_the_ellipses_do_not_depend_on_the_grid(n):
    # The middle one of 3 x 3 pixels has the centre of the coarse pixel; only the maximum, which divides, may differ.
    coarse, fine = ellipses(4, n, seed=2), ellipses(4, 3 * n, seed=2)[:, 1::3, 1::3]
    factor = fine.amax((1, 2), keepdim=True)
    assert (factor > 0.5).all()
    assert torch.allclose(fine / factor, coarse, atol=1e-6)


def test_the_random_stream_is_the_one_that_results_were_computed_with():
    # Whoever changes this changes every stored result.
    drawn = _draw_ellipses(np.random.default_rng([0, 0]))
    assert len(drawn) == FINGERPRINT["count"]
    assert np.allclose(drawn[0], FINGERPRINT["first"], atol=1e-9)
    assert np.allclose(drawn[-1], FINGERPRINT["last"], atol=1e-9)
    x = ellipses(1, 64)[0].double()
    assert math.isclose(x.mean(), FINGERPRINT["mean"], rel_tol=1e-5)
    assert math.isclose(x[40, 40], FINGERPRINT["pixel"], rel_tol=1e-5)


def test_numpy_integers_are_integers():
    assert torch.equal(ellipses(np.int64(1), np.int32(16), np.uint8(3)), ellipses(1, 16, 3))


@pytest.mark.parametrize("n", [33, 64])
def test_the_shepp_logan_phantom_is_piecewise_constant_in_0_1(n):
    x = shepp_logan(n)
    assert x.shape == (n, n) and x.dtype == torch.float32
    levels, counts = torch.unique(x, return_counts=True)
    # Toft's contrasts add up to few levels: background 0, skull 1, tissue 0.2 and what lies in it.
    assert torch.allclose(levels, torch.tensor([0, 0.1, 0.2, 0.3, 0.4, 1]), atol=1e-6)
    assert counts[levels == 0] > n * n / 5 and counts[(levels - 0.2).abs() < 1e-6] > n * n / 8
    assert (x[0] == 0).all() and (x[:, -1] == 0).all()
