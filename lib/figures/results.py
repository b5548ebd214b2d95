"""Figures of the chapter on the results of Section 4."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import measures
from lib.figures.attack import artifact
from lib.figures.style import COLORS, METHODS, WIDTH, band, panels, peak, show_image, ticks
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


def _spreads(cells: Mapping[Cell, Spread], method: str, lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise levels in percent, mean and standard deviation of one mask."""
    mine = sorted((key[2], spread) for key, spread in cells.items() if key[:2] == (method, lines))
    return np.array([(100 * level, spread.mean, spread.std) for level, spread in mine]).reshape(-1, 3).T


def _noise_axis(ax: Axes, **options: object) -> None:
    ax.set(xscale="log")
    ticks(ax, [100 * level for level in LEVELS], **options)


def amplification(found: Mapping[str, Mapping[Cell, Spread]], factor: Mapping[int, float]) -> Figure:
    """Amplification of TV against noise and against n^2/m, for our attack, the authors' optimiser and the paper.

    ``factor`` is n^2/m by lines of the mask.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.6, 1))
    styles = (("o-", 1.0, 1.0), ("s--", 0.75, 1.04), ("x:", 0.6, 0.96))
    for (name, cells), (style, strength, shift) in zip(found.items(), styles, strict=True):
        for lines, color in zip(factor, COLORS, strict=False):
            levels, mean, std = _spreads(cells, "tv", lines)
            drawn = {"color": color, "markersize": 4, "linewidth": 1.2, "capsize": 2, "alpha": strength}
            left.errorbar(levels * shift, mean, std, fmt=style, **drawn)
            if len(mean):
                right.plot(factor[lines], mean.mean(), style[0], color=color, markersize=7, alpha=strength)
        left.plot([], [], style, color="0.4", markersize=4, label=name)
    for lines, color in zip(factor, COLORS, strict=False):
        left.axhline(factor[lines], color=color, linewidth=0.8, alpha=0.5)
        at = {"transform": left.get_yaxis_transform(), "va": "center"}  # beside the axis
        left.text(1.01, factor[lines], f"{lines} lines", color=color, fontsize=8, **at)
    ends = min(factor.values()), max(factor.values())
    right.plot(ends, ends, color="0.5", linewidth=1, label=r"$\alpha = n^2/m$")
    left.set(xlabel="noise, % of the measurements", ylabel=r"amplification $\alpha$", ylim=(0, None))
    _noise_axis(left)
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    right.set(xlabel=r"subsampling factor $n^2/m$", ylabel=r"$\alpha$, mean over the levels")
    right.set(ylim=(0, None), xlim=(0, None))
    right.legend(fontsize=8)
    return figure


def networks_amplification(found: Mapping[str, Mapping[Cell, Spread]]) -> Figure:
    """Amplification against noise for TV, Tira and TiraFL, for our attack, the authors' optimiser and the paper."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), sharey=True)
    for ax, (name, cells) in zip(axes, found.items(), strict=True):
        for method in SHOWN:
            label, color = METHODS[method]
            levels, mean, std = _spreads(cells, method, 40)
            ax.errorbar(levels, mean, std, fmt="o-", color=color, markersize=4, capsize=2, label=label)
        ax.set(xlabel=f"noise, %\n{name}")
        _noise_axis(ax, fontsize=8)
    axes[0].set(ylabel=r"amplification $\alpha$, 40 lines", ylim=(0, None))  # of all panels
    axes[-1].legend(fontsize=8)  # the paper's panel is complete
    return figure


def radius(table: pandas.DataFrame) -> Figure:
    """Peak, amplification and concentration of the artifact against the radius of the disk, from sigma.csv."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    for ax, key, label in (
        (axes[0], "rho_linf", r"peak $\|\rho\|_\infty$"),
        (axes[1], "alpha", r"amplification $\alpha$"),
        (axes[2], "concentration", "energy within 5 pixels of the peak"),
    ):
        for optimiser, name, color in (("ours", "our attack", COLORS[0]), ("adam", "authors' optimiser", COLORS[1])):
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
