"""The authors' plain ADMM against a direct transcription, their pruned search against the full grid."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from lib.operators import MaskedFourier, gradient, gradient_adjoint, laplacian_symbol, radial_mask
from lib.phantoms import ellipses
from lib.runs import attacks, authors_search
from lib.runs.attacks import Configuration, attack, setting
from lib.runs.authors_attack import plain_tv
from lib.runs.authors_search import TABLE, Choice, alive, cells, compute, measured_errors, tabulated
from lib.runs.plain_admm import plain_admm


def transcribed(y, mask, lam, rho, iterations, z=None):
    """Their rows, in plain torch on images in the order of the Fourier transform; soft-thresholding of each part."""
    n = len(mask)
    m = torch.fft.ifftshift(mask).to(y.real.dtype)
    k_space = y.new_zeros(n, n).masked_scatter(mask, y)  # row-major order of the centred mask
    data = torch.fft.ifft2(torch.fft.ifftshift(k_space), norm="ortho")
    z = gradient(data) if z is None else z
    u = torch.zeros_like(z)
    for _ in range(iterations):
        right = data + rho * gradient_adjoint(z - u)
        x = torch.fft.ifft2(torch.fft.fft2(right) / (m + rho * laplacian_symbol(n)))
        w = gradient(x) + u
        z = torch.complex(*(torch.sign(a) * torch.relu(a.abs() - lam / rho) for a in (w.real, w.imag)))
        u = w - z
    return x, z


@pytest.mark.parametrize(("lam", "rho"), [(3e-3, 1.0), (3e-4, 1e-3), (1e-4, 1e-5)])
def test_plain_admm_and_its_gradient_are_those_of_the_transcription(lam, rho):
    mask = radial_mask(32, 9)
    op = MaskedFourier(mask)
    x = ellipses(1, 32, seed=3)[0].double()
    noise = torch.randn(op.m, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    y = op.A(x) + 0.02 * noise
    start = gradient(ellipses(1, 32, seed=4)[0].to(torch.complex128))
    results = []
    for own in (True, False):
        e = y.clone().requires_grad_()
        if own:
            numbers = (torch.tensor([value], dtype=torch.float64) for value in (lam, rho))
            image, z = (a[0] for a in plain_admm(e[None], op, *numbers, 30, start[None]))
        else:
            image, z = transcribed(e, mask, lam, rho, 30, start)
        (image - x).abs().square().sum().backward()
        results.append((image.detach(), z.detach(), e.grad))
    for ours, theirs in zip(*results, strict=True):
        assert relative(ours, theirs) < 1e-9


def test_without_a_start_it_begins_at_the_zero_filled_image():
    mask = radial_mask(32, 9)
    op = MaskedFourier(mask)
    y = op.A(ellipses(1, 32, seed=3).to(torch.complex128))
    image, _ = plain_admm(y, op, *torch.tensor([[1e-3], [1.0]], dtype=torch.float64), 3)
    assert relative(image[0], transcribed(y[0], mask, 1e-3, 1.0, 3)[0]) < 1e-12


def relative(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp(min=1e-9))


def test_the_levels_are_the_nearest_tabulated_ones():
    assert [round(tabulated(level), 4) for level in (0.005, 0.01, 0.02, 0.04, 0.08, 0.1)] == [
        0.005, 0.0102, 0.0191, 0.0391, 0.08, 0.08,
    ]  # fmt: skip


def test_a_point_goes_when_it_is_worse_beyond_doubt_and_not_before():
    noise = np.random.default_rng(0).normal(0, 1e-3, (6, 1))
    base = 0.03 + noise + np.random.default_rng(1).normal(0, 1e-5, (6, 4))
    errors = base + [0, 0, 1e-3, 1e-2]  # tied, tied, worse by 3 %, worse by a third
    assert alive(errors[:1]).all()
    assert alive(np.array([[0.03, 0.05, 0.07]])).tolist() == [True, True, False]
    assert alive(errors[:2]).tolist() == [True, True, True, False]
    assert alive(errors).tolist() == [True, True, False, False]
    assert alive(np.vstack([errors] * 9) + [0, 1e-5, 0, 0])[:2].all()  # no doubt, but a thousandth at most
    errors[:, 1] = np.nan
    assert alive(errors).tolist() == [True, False, False, False]


@pytest.fixture
def small(monkeypatch):
    """Their search with 35 points and 60 iterations."""
    grid = [(float(lam), float(rho)) for lam in np.logspace(-5, -1, 7) for rho in np.logspace(-3, 1, 5)]
    monkeypatch.setattr(authors_search, "GRID", grid)
    monkeypatch.setattr(authors_search, "ITERATIONS", 60)
    return grid


def test_the_argmin_is_that_of_the_full_grid(small):
    images, level, rows = 8, tabulated(0.04), pd.DataFrame()
    full = np.array([measured_errors(25, level, image, "1" * len(small), 32) for image in range(images)])
    for _ in range(images):
        done = set(zip(rows["lines"], rows["noise_rel"], rows["image"], strict=True)) if len(rows) else set()
        wanted = [cell for cell in cells(rows, images, 32) if (cell["lines"], cell["noise_rel"]) == (25, level)]
        wanted = [cell for cell in wanted if (25, level, cell["image"]) not in done]
        new = [TABLE.shared(cell) | compute(**cell)[0][0] for cell in wanted]
        assert len(new) == 1
        rows = pd.concat([rows, pd.DataFrame(new)], ignore_index=True)
    pruned = authors_search.known(rows, 25, level, 32)
    assert pruned.shape == full.shape
    assert np.isnan(pruned[-1]).any()  # something was pruned
    there = ~np.isnan(pruned)
    np.testing.assert_allclose(pruned[there], full[there], rtol=1e-4)
    assert np.where(np.isnan(pruned).any(0), np.inf, pruned.mean(0)).argmin() == full.mean(0).argmin()


def test_noise_of_the_search_has_their_law():
    """Real components N(0, eta^2/(2m)): the noise has about the norm eta, and the same for each point of the grid."""
    errors = measured_errors(25, 0.2, 0, "11", 32)
    assert errors[0] != errors[1]
    assert (errors > 0.05).all()


def test_a_choice_from_a_part_of_the_search_is_refused(monkeypatch):
    monkeypatch.setattr(authors_search, "read_table", lambda name: pd.DataFrame())
    authors_search.choice.cache_clear()
    with pytest.raises(LookupError, match="authors_search.csv has 0 of 50"):
        authors_search.choice(40, 0.04)


# --- The attack


def test_the_gradient_is_that_of_50_iterations_from_where_100_ended_with_no_multiplier():
    mask, lam, rho = radial_mask(32, 9), 1e-3, 0.1
    op = MaskedFourier(mask)
    y = op.A(ellipses(1, 32, seed=3)[0].to(torch.complex128))
    before, z = transcribed(y, mask, lam, rho, 100)
    rec = plain_tv(y, op, lam, rho, 1e-2)
    assert relative(rec.image, before) < 1e-9
    e = 0.3 * torch.randn(3, op.m, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    gradients = []
    for images in (rec, lambda several: torch.stack([transcribed(one, mask, lam, rho, 50, z)[0] for one in several])):
        leaf = e.clone().requires_grad_()
        (images(y + leaf).abs() - before.abs()).square().sum().backward()
        gradients.append(leaf.grad)
    assert relative(*gradients) < 1e-9


@pytest.fixture
def searched(monkeypatch):
    """A search whose least error is at another penalty than 1."""
    found = Choice(2e-3, 0.1, (), (1e-3, 1.0))
    monkeypatch.setattr(attacks, "choice", lambda lines, noise_rel: found)


def test_the_literal_attack_goes_everywhere_and_is_judged_by_the_converged_solver(searched):
    small = Configuration(n=64, lines=25, grid=2, preset="quick", optimiser="authors", noise_rel=0.04)
    assert setting(small) == "lambda=0.002, rho=0.1"
    assert setting(dataclasses.replace(small, optimiser="authors-rho-1")) == "lambda=0.001, rho=1"
    found = attack(small, 0)
    op, y = attacks.measurements(small, 0)[1:]
    assert not op.real
    assert float(torch.linalg.vector_norm(found.e)) <= 0.04 * float(torch.linalg.vector_norm(y)) * (1 + 1e-5)
    assert found.gap < 1e-2  # of the quick preset, proved
    assert attacks._locations(small, 0, y, op).shape == (4, 2)


def test_without_the_search_there_is_no_literal_attack(monkeypatch):
    monkeypatch.setattr(authors_search, "read_table", lambda name: pd.DataFrame())
    authors_search.choice.cache_clear()
    unknown = Configuration(optimiser="authors", lines=25)
    assert setting(unknown) == "unsearched"
    with pytest.raises(LookupError, match="make calibrate-authors"):
        attack(unknown, 0)

    def damaged(name):
        raise ValueError("authors_search.csv: line 3")

    monkeypatch.setattr(authors_search, "read_table", damaged)
    with pytest.raises(ValueError, match="line 3"):
        setting(unknown)
    for method in ("tira", "tirafl"):
        with pytest.raises(ValueError, match="optimiser must be one of"):
            Configuration(method, optimiser="adam")
