"""Figures of the chapter on compressed sensing MRI."""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib.figures.style import COLORS, WIDTH, bare, legend_beside, panels, show_image, show_mask
from lib.measures import relative_error
from lib.operators import MaskedFourier


def frequencies(x: Tensor, op: MaskedFourier) -> Figure:
    """An image, the logarithm of its Fourier modulus, and what the mask keeps of it."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho")).abs().clamp(min=1e-3).log10()
    figure, axes = panels(3)
    show_image(axes[0], x, "image $x$")
    for ax, values, label in (
        (axes[1], spectrum, r"$\log_{10}|\mathcal{F}x|$"),
        (axes[2], torch.where(op.mask, spectrum, torch.nan), r"kept by $P_\Omega$"),
    ):
        drawn = ax.imshow(values.numpy(), cmap="cividis", vmin=-3, vmax=2)
        bare(ax, label)
    figure.colorbar(drawn, ax=list(axes[1:]), shrink=0.75, ticks=[-3, -2, -1, 0, 1, 2])
    return figure


def masks(masks: Mapping[int, Tensor]) -> Figure:
    """Undersampling masks by their number of lines, with m and the subsampling factor."""
    figure, axes = panels(len(masks), 1.2)
    for ax, (lines, mask) in zip(axes, masks.items(), strict=True):
        m = int(mask.sum())
        show_mask(ax, mask, f"{lines} lines, $m$ = {m}, $n^2/m$ = {mask.numel() / m:.1f}")
    return figure


def undersampling(mask: Tensor, x: Tensor, zero_filled: Tensor, tv: Tensor) -> Figure:
    """Figure 2 of the paper and its TV counterpart: mask, image, zero-filled and TV reconstruction without noise."""
    figure, axes = panels(4, 1.25)
    show_mask(axes[0], mask, r"mask $\Omega$")
    show_image(axes[1], x, "image $x$")
    show_image(axes[2], zero_filled, f"$A^\\dagger A x$\nerror {relative_error(zero_filled, x):.1%}")
    show_image(axes[3], tv, f"TV\nerror {relative_error(tv, x):.1%}")
    return figure


def regularization(x: Tensor, images: Mapping[float, Tensor]) -> Figure:
    """TV reconstructions by their regularization parameter, with a close-up."""
    figure, axes = panels(len(images), 1.3)
    for ax, (lam, image) in zip(axes, images.items(), strict=True):
        label = f"$\\lambda$ = {lam:.1e}\nerror {relative_error(image, x):.1%}"
        show_image(ax, image, label, (len(x) // 3, len(x) // 2))
    return figure


def lambda_curves(table: pandas.DataFrame) -> Figure:
    """The grid search behind the calibrated lambda, from lambda.csv: error against lambda for each mask and level."""
    levels = sorted(table.noise_rel.unique())
    shades = dict(zip(levels, matplotlib.colormaps["cividis"](np.linspace(0, 0.9, len(levels))), strict=True))
    figure, axes = plt.subplots(1, table.lines.nunique(), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    for ax, (lines, mask) in zip(axes[0], table.groupby("lines"), strict=True):
        for level, rows in mask.sort_values("lam").groupby("noise_rel"):
            best = rows.loc[rows.error_mean.idxmin()]
            ax.loglog(rows.lam, rows.error_mean, color=shades[level], label=f"{level:.1%}")
            ax.plot(best.lam, best.error_mean, "o", color=shades[level], markersize=5)
        ax.set(xlabel=rf"$\lambda$, {lines} lines")
    axes[0, 0].set(ylabel="relative error")
    legend_beside(axes[0, -1], title="noise")
    return figure


def convergence(iterations: Sequence[int], gap: Sequence[float], distance: Sequence[float], worst: Tensor) -> Figure:
    """How the solver converges: proved gap and distance from the minimum, relative to it, and the worst pixel."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0))
    left.semilogy(iterations, gap, label="proved: duality gap")
    left.semilogy(iterations, distance, "--", label="true: distance from the minimum")
    left.set(xlabel="iteration", ylabel="relative to the minimum")
    left.legend()
    right.semilogy(iterations, worst, color=COLORS[2])
    right.set(xlabel="iteration", ylabel="error of the worst pixel")
    return figure


def noise_levels(x: Tensor, images: Mapping[float, tuple[Tensor, Tensor]]) -> Figure:
    """For each level of Gaussian noise the zero-filled and the TV reconstruction."""
    figure, axes = plt.subplots(2, len(images), figsize=(WIDTH, 2.45 * WIDTH / len(images)))
    for column, (level, pair) in zip(axes.T, images.items(), strict=True):
        for ax, image in zip(column, pair, strict=True):
            show_image(ax, image, f"error {relative_error(image, x):.1%}")
        column[0].set_title(f"{level:.1%} noise", fontsize=10)
    axes[0, 0].set_ylabel("zero-filled")
    axes[1, 0].set_ylabel("TV")
    return figure
