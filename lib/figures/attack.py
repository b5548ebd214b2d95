"""Figures of the chapter on the attack, and the cover."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib.attack import Attack, GridAttack, disk_weight
from lib.figures.style import COLORS, OVER, WIDTH, bare, legend_beside, panels, peak, show_image


def noise_and_feature(x: Tensor, noise_rel: float, mu: Sequence[int], radius: float, seed: int) -> Figure:
    """Figure 1 of the paper: one l2 norm, spent on Gaussian noise and on a disk of this radius."""
    size = noise_rel * torch.linalg.vector_norm(x)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    figure, axes = panels(3)
    show_image(axes[0], x, "image", mu)
    for ax, r, name in ((axes[1], noise, "noise"), (axes[2], disk_weight(len(x), mu, radius), "a feature")):
        r = size / torch.linalg.vector_norm(r) * r
        show_image(ax, x + r, rf"{name}: $\|r\|_2$ = {float(size):.1f}, {peak('r', r)}", mu)
    return figure


def artifact(x: Tensor, r: Tensor, clean: Tensor, attacked: Tensor, mu: Sequence[int] | Tensor) -> Figure:
    """Figure 3 of the paper: the image, the image with the perturbation r, and the reconstruction from y + e.

    ``clean`` is the reconstruction from y, for the size of the artifact.
    """
    before, after = peak("r", r), peak(r"\rho", attacked - clean)
    return _three((x, x + r, attacked), ("image", f"image + $r$: {before}", f"reconstruction: {after}"), mu)


def cover(x: Tensor, r: Tensor, clean: Tensor, attacked: Tensor, mu: Sequence[int]) -> Figure:
    """The same, said without symbols."""
    before, after = float(r.abs().max()), float((attacked - clean).abs().max())
    names = "image", f"image + perturbation of {before:.2f}", f"TV reconstruction: spike of {after:.2f}"
    return _three((x, x + r.real, attacked), names, mu)


def _three(images: Sequence[Tensor], names: Sequence[str], mu: Sequence[int] | Tensor) -> Figure:
    figure, axes = panels(3)
    for ax, image, name in zip(axes, images, names, strict=True):
        show_image(ax, image, name, mu)
    return figure


def attack_steps(attacks: Mapping[int, Attack], mu: Sequence[int]) -> Figure:
    """The perturbation and the artifact around the target after some steps, and their size at every step."""
    r = torch.stack([attack.image_perturbation for attack in attacks.values()])
    rho = torch.stack([attack.artifact for attack in attacks.values()])
    n, half = r.shape[-1], r.shape[-1] // 32
    row, column = (min(max(c, half), n - half) for c in mu)
    window = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
    figure = plt.figure(figsize=(WIDTH, 5.0))
    above, below = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    axes = above.subplots(2, len(attacks))
    for line, images, name, digits in ((axes[0], r, "r", 2), (axes[1], rho, r"\rho", 1)):
        limit = float(images.abs().max())
        norm = matplotlib.colors.SymLogNorm(0.05 * limit, vmin=-limit, vmax=limit)
        for ax, image in zip(line, images.real, strict=True):
            shown = ax.imshow(image[window], cmap="RdBu_r", norm=norm)
            bare(ax, peak(name, image[window], digits))
        # from one panel, it would take that one's room
        above.colorbar(shown, ax=list(line), fraction=0.012, ticks=(-limit, 0, limit), format="%.1f")
    for ax, step in zip(axes[0], attacks, strict=True):
        ax.set_title("the spike" if step == 0 else f"{step} step{'s' * (step > 1)}", fontsize=10)
    ax = below.subplots()
    objective, height = attacks[max(attacks)].history
    ax.plot(objective, "o-", label=r"objective $\|\phi \odot \rho\|_2$")
    ax.plot(height, "s-", color=COLORS[2], label=r"peak $\|\rho\|_\infty$")
    ax.set(xlabel="step", ylabel="seen by the ascent", ylim=(0, 1.15 * float(objective.max())))
    ax.legend(loc="lower right")
    return figure


def location_map(x: Tensor, grid: GridAttack) -> Figure:
    """The largest artifact that an attack at each location of the grid reaches, over the image; the selected one."""
    figure, ax = plt.subplots(figsize=(0.62 * WIDTH, 0.52 * WIDTH))
    ax.imshow(x, cmap="gray", vmin=0, vmax=2.5)  # dark, behind the squares
    rows, columns = grid.locations.T.numpy()
    known = ~grid.peaks.isnan().numpy()
    size = 72 * 0.4 * 0.52 * WIDTH / math.isqrt(len(known))  # of a square, in points
    shown = ax.scatter(columns[known], rows[known], c=grid.peaks[known], s=size**2, marker="s", cmap="viridis")
    ax.scatter(columns[~known], rows[~known], s=6, color="0.7")
    row, column = grid.mu.tolist()
    ax.scatter(column, row, s=2.2 * size**2, marker="s", facecolor="none", edgecolor=OVER, linewidth=2.5)
    bare(ax)
    figure.colorbar(shown, label=r"$\|\rho\|_\infty$")
    return figure


def radii(rows: Mapping[str, Sequence[Attack]], sigmas: Sequence[float], clean: Tensor) -> Figure:
    """Reconstructions under attacks with disks of growing radius, one row for each way to find them."""
    figure, axes = plt.subplots(len(rows), len(sigmas), figsize=(WIDTH, 1.45 * WIDTH / len(sigmas) * len(rows)))
    for line, (name, attacks) in zip(axes, rows.items(), strict=True):
        for ax, attack in zip(line, attacks, strict=True):
            rho = attack.artifact
            length = float(torch.linalg.vector_norm(rho))
            show_image(ax, clean + rho, peak(r"\rho", rho) + "\n" + rf"$\|\rho\|_2$ = {length:.1f}")
        line[0].set_ylabel(name)
    for ax, sigma in zip(axes[0], sigmas, strict=True):
        ax.set_title("the whole image" if sigma > len(clean) else rf"$\sigma$ = {sigma:g}", fontsize=10)
    return figure


def optimisers(attacks: Mapping[str, tuple[Attack, int]]) -> Figure:
    """Objective (6) against the solver iterations spent, forward and adjoint; the end converged."""
    figure, ax = plt.subplots(figsize=(0.75 * WIDTH, 3.2))
    for (name, (attack, iterations)), color in zip(attacks.items(), COLORS, strict=False):
        seen = attack.history[0]
        spent = 2 * iterations * np.arange(1, len(seen) + 1)
        ax.semilogx(spent, seen, "o-", markersize=3, color=color, label=name)
        ax.semilogx(spent[-1], float(attack.objective), "*", markersize=12, color=color)
    ax.semilogx([], [], "*", color="0.4", markersize=12, label="the result, converged")
    ax.set(xlabel="solver iterations, forward and adjoint", ylabel=r"objective $\|\phi \odot \rho\|_2$", ylim=(0, None))
    legend_beside(ax, fontsize=9)
    return figure
