"""Masks of m frequencies: how many, symmetric, and denser where they should be."""

import pytest
import torch

from lib.masks import cartesian_mask, spiral_mask, uniform_mask, variable_density_mask

N, M = 64, 700
MASKS = [cartesian_mask, uniform_mask, variable_density_mask, spiral_mask]


@pytest.mark.parametrize("make", MASKS)
@pytest.mark.parametrize("n", [N, 63])
def test_a_mask_has_m_frequencies_with_their_negatives_and_zero(make, n):
    mask = make(n, M)
    k = (2 * (n // 2) - torch.arange(n)) % n  # where -k lies
    allowed = n if make is cartesian_mask else 8 if make is spiral_mask else 1
    assert mask.dtype == torch.bool and mask.shape == (n, n) and abs(int(mask.sum()) - M) <= allowed
    assert torch.equal(mask, mask[k][:, k]) and bool(mask[n // 2, n // 2])


@pytest.mark.parametrize("make", MASKS[:3])
def test_a_seed_names_a_mask(make):
    assert torch.equal(make(N, M, seed=3), make(N, M, seed=3))
    assert not torch.equal(make(N, M, seed=3), make(N, M, seed=4))


def shares(mask):
    """The sampled part of the frequencies near zero, in between, and far away."""
    k = torch.arange(N) - N // 2
    distance = torch.hypot(k[:, None].double(), k.double())
    rings = [(distance >= low) & (distance < low + 8) for low in (0, 12, 24)]
    return [float(mask[ring].float().mean()) for ring in rings]


def test_densities():
    uniform, variable, spiral = (shares(make(N, M)) for make in (uniform_mask, variable_density_mask, spiral_mask))
    assert max(uniform) - min(uniform) < 0.1
    for falling in (variable, spiral):
        assert falling[0] > 1.5 * falling[1] and falling[1] > 1.2 * falling[2] > 0.01
    columns = cartesian_mask(N, M).float().mean(0)
    assert set(columns.tolist()) == {0.0, 1.0} and bool((columns[N // 2 - 2 : N // 2 + 3] == 1).all())


@pytest.mark.parametrize("make", [cartesian_mask, variable_density_mask])
def test_a_mask_smaller_than_its_centre_is_an_error(make):
    with pytest.raises(ValueError, match="m must leave room for the"):
        make(300, 300)
