"""Figures of the chapter on the results of Section 4."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib import measures
from lib.figures.attack import artifact
from lib.figures.style import COLORS, METHODS, WIDTH, band, bare, panels, peak, show_image, ticks
from lib.runs.attacks import Outcome
from lib.runs.section4 import LEVELS
from lib.runs.section4 import METHODS as SHOWN
from lib.runs.table1 import Cell
from lib.runs.tables import Spread


def attacked(found: Outcome) -> Figure:
    """Figure 5 of the paper: an image, the image with the perturbation, and what becomes of it."""
    return artifact(found.x, found.image_perturbation, found.clean, found.attacked, found.mu)


def attacked_levels(found: Mapping[float, Outcome]) -> Figure:
    """Figure 4 of the paper: for each noise level the perturbed image, and below it what becomes of it."""
    figure, axes = plt.subplots(2, len(found), figsize=(WIDTH, 2.35 * WIDTH / len(found)))
    for (above, below), (level, outcome) in zip(axes.T, found.items(), strict=True):
        r = outcome.image_perturbation
        show_image(above, outcome.x + r, peak("r", r), outcome.mu)
        show_image(below, outcome.attacked, peak(r"\rho", outcome.artifact), outcome.mu)
        above.set_title(f"{level:.1%} noise", fontsize=10)
    axes[0, 0].set_ylabel("perturbed image")
    axes[1, 0].set_ylabel("reconstruction")
    return figure


def transfers(seen: Mapping[str, Outcome], source: str) -> Figure:
    """Figures 6 and 7 of the paper: the image perturbed for ``source``, and what each method makes of it."""
    figure, axes = panels(1 + len(seen), 1.25)
    x, r, mu = seen[source].x, seen[source].image_perturbation, seen[source].mu
    show_image(axes[0], x + r, f"image + $r$, made for {METHODS[source][0]}\n{peak('r', r)}", mu)
    for ax, (target, outcome) in zip(axes[1:], seen.items(), strict=True):
        alpha = float(measures.amplification(outcome.artifact, r))
        label = peak(r"\rho", outcome.artifact) + rf", $\alpha$ = {alpha:.1f}"
        show_image(ax, outcome.attacked, f"{METHODS[target][0]}\n{label}", mu)
    return figure


def search(found: Mapping[str, Sequence[Tensor]], mu: Sequence[int], sigma: float) -> Figure:
    """Gradient, perturbation and artifact around a target, one row for each solver inside the search.

    The three images ``(n, n)`` are shown by their moduli, each from 0 to its own peak; a circle marks the disk.
    """
    half = round(3 * sigma)
    row, column = (min(max(c, half), len(next(iter(found.values()))[0]) - 1 - half) for c in mu)
    extent = (column - half - 0.5, column + half + 0.5, row + half + 0.5, row - half - 0.5)
    figure, axes = plt.subplots(len(found), 3, figsize=(0.8 * WIDTH, 0.29 * WIDTH * len(found)), squeeze=False)
    for line, (name, images) in zip(axes, found.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, image, label in zip(line, images, ("g", "r", r"\rho"), strict=True):
            window = image[row - half : row + half + 1, column - half : column + half + 1].detach().abs()
            ax.imshow(window.numpy(), cmap="cividis", vmin=0, extent=extent)
            ax.add_patch(plt.Circle((mu[1], mu[0]), sigma, fill=False, color="white", linewidth=0.8))
            bare(ax, "" if label == "g" else peak(label, window, 3))
    for ax, title in zip(axes[0], ("gradient", "perturbation $r$", r"artifact $\rho$"), strict=True):
        ax.set_title(title, fontsize=10)
    return figure


def _noise_axis(ax: Axes) -> None:
    ax.set(xscale="log", xlabel="noise, % of the measurements")
    ticks(ax, [100 * level for level in LEVELS], fontsize=8)


def pairs(found: Mapping[tuple[str, str], Mapping[Cell, Spread]]) -> Figure:
    """Amplification of Tira and TiraFL against noise, by who was trained and by the attack; results of `summary`."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    color = dict(zip(dict.fromkeys(trained for trained, _ in found), ("0.45", *COLORS), strict=False))
    style = dict(zip(dict.fromkeys(attack for _, attack in found), ("x:", "o-", "s--"), strict=False))
    for ax, method in zip(axes, SHOWN[1:], strict=True):
        for k, ((trained, attack), cells) in enumerate(found.items()):
            mine = sorted((level, spread) for (name, _, level), spread in cells.items() if name == method)
            beside = 100 * 1.03 ** (k - 1)  # else the spreads hide each other
            values = np.array([(beside * level, s.mean, s.std) for level, s in mine]).reshape(-1, 3).T
            drawn = {"color": color[trained], "markersize": 4, "linewidth": 1.2, "capsize": 2}
            label = f"{trained}, {attack}" + ("" if mine else ": no rows yet")
            ax.errorbar(*values, fmt=style[attack], label=label, **drawn)
        ax.set_title(METHODS[method][0], fontsize=10)
        _noise_axis(ax)
    axes[0].set(ylabel=r"amplification $\alpha$, 40 lines", ylim=(0, None))
    axes[1].legend(fontsize=7)
    return figure


def robustness(table: pandas.DataFrame, trained: Sequence[str]) -> Figure:
    """Relative error against noise, adversarial (4) and Gaussian, from robustness.csv; a panel for each pair."""
    figure, (axes,) = plt.subplots(1, len(trained), figsize=(WIDTH, 3.3), sharey=True, squeeze=False)
    for ax, pair in zip(axes, trained, strict=True):
        rows = table[table.network.isin(["", pair])] if len(table) else table
        for method in SHOWN:
            label, color = METHODS[method]
            mine = rows[rows.method == method] if len(rows) else rows
            for kind, style in (("adversarial", "o-"), ("gaussian", "s:")) if len(mine) else ():
                error = 100 * mine.groupby("noise_rel")[f"error_{kind}"].agg(["mean", "std"]).fillna(0)
                drawn = {"color": color, "markersize": 4, "linewidth": 1.2, "capsize": 2}
                name = f"{label}, {'attack (4)' if kind == 'adversarial' else 'Gaussian'}"
                ax.errorbar(100 * error.index, error["mean"], error["std"], fmt=style, label=name, **drawn)
            if mine.empty:
                ax.plot([], [], color=color, label=f"{label}: no rows yet")
        ax.set_title(f"networks: {pair}", fontsize=10)
        _noise_axis(ax)
        ax.legend(fontsize=7)
    axes[0].set(ylabel="relative error, %", ylim=(0, None))
    return figure


def sensitivity(table: pandas.DataFrame, chosen: Mapping[tuple[str, float], tuple[float, float]]) -> Figure:
    """Amplification against lambda, from sensitivity.csv; a panel for each level, dotted where an attack has it.

    ``chosen`` is lambda and rho by attack and level; rows with another rho are left out.
    """
    levels = list(dict.fromkeys(level for _, level in chosen))
    figure, (axes,) = plt.subplots(1, len(levels), figsize=(WIDTH, 3.0), sharey=True, squeeze=False)
    names = {"ours": ("our attack", COLORS[0]), "authors": ("the authors'", COLORS[1])}
    for ax, level in zip(axes, levels, strict=True):
        for optimiser, (name, color) in names.items():
            lam, rho = chosen[optimiser, level]
            same = (table.optimiser == optimiser) & (table.noise_rel == level) & np.isclose(table.rho, rho, rtol=1e-4)
            alpha = table[same].groupby("lam").alpha.agg(["mean", "min", "max"])
            ax.plot(alpha.index, alpha["mean"], "o-", color=color, markersize=4, label=name if len(alpha) else None)
            band(ax, alpha.index, alpha["min"], alpha["max"], color)
            ax.axvline(lam, color=color, linestyle=":", linewidth=1)
            if alpha.empty:
                ax.plot([], [], color=color, label=f"{name}: no rows yet")
        ax.set(xscale="log", xlabel=r"$\lambda$")
        ticks(ax, [float(f"{factor * chosen['ours', level][0]:.2g}") for factor in (0.25, 1, 4)], fontsize=8)
        ax.set_title(f"{level:.1%} noise", fontsize=10)
    axes[0].set(ylabel=r"amplification $\alpha$", ylim=(0, None))
    axes[0].legend(fontsize=8, loc="lower left")
    return figure


def radius(table: pandas.DataFrame) -> Figure:
    """Peak, amplification and concentration of the artifact against the radius of the disk, from sigma.csv."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    for ax, key, label in (
        (axes[0], "rho_linf", r"peak $\|\rho\|_\infty$"),
        (axes[1], "alpha", r"amplification $\alpha$"),
        (axes[2], "concentration", "energy within 5 pixels of the peak"),
    ):
        for optimiser, name, color in (("ours", "our attack", COLORS[0]), ("adam", "Adam, converged", COLORS[1])):
            rows = table[table.optimiser == optimiser].groupby("sigma")[key].agg(["mean", "min", "max"])
            ax.semilogx(rows.index, rows["mean"], "o-", color=color, markersize=4, label=name)
            band(ax, rows.index, rows["min"], rows["max"], color)
        ax.set(xlabel=r"radius $\sigma$, pixels")
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.set_title(label, fontsize=9)
        ax.set_xticks([1, 5, 40, 362], ["1", "5", "40", "all"])
        ax.minorticks_off()
    axes[0].legend(fontsize=8)
    return figure


def transfer_matrices(found: Mapping[float, Mapping[tuple[str, str], Spread]]) -> Figure:
    """Mean amplification by source (row) and target (column) at every level."""
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.6), sharex=True, sharey=True)
    labels = [METHODS[method][0] for method in SHOWN]
    top = max((spread.mean for matrix in found.values() for spread in matrix.values()), default=1.0)
    for ax, (level, matrix) in zip(axes.flat, found.items(), strict=True):
        values = np.full((3, 3), np.nan)
        for (source, target), spread in matrix.items():
            i, j = SHOWN.index(source), SHOWN.index(target)
            values[i, j] = spread.mean
            color = "white" if spread.mean < 0.55 * top else "black"
            text = f"{spread.mean:.1f}\n± {spread.std:.1f}"
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=9)
        drawn = ax.imshow(values, cmap="cividis", vmin=0, vmax=top)
        ax.set(xticks=range(3), xticklabels=labels, yticks=range(3), yticklabels=labels)
        ax.set_title(f"{level:.1%} noise", fontsize=10)
        ax.spines[:].set_visible(False)
    figure.supylabel("perturbation made for")
    figure.supxlabel("reconstruction by")
    figure.colorbar(drawn, ax=list(axes.flat), label=r"amplification $\alpha$", shrink=0.7)
    return figure
