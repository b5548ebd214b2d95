"""Figures of the chapter beyond the paper, from the rows of results/beyond.csv."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy
import pandas
from matplotlib.figure import Figure
from torch import Tensor

from lib.figures.style import COLORS, METHODS, WIDTH, bare, legend_beside, panels, show_image, show_mask, ticks


def numbers(rows: pandas.DataFrame, question: str) -> pandas.DataFrame:
    """The means over the images of one question's numbers: an index of case and noise level, a column a quantity.

    A level that is not there for all cases yet is left out.
    """
    found = rows[rows["question"] == question].pivot_table("value", ["case", "noise_rel"], "quantity", sort=False)
    cases, levels = found.groupby(level="noise_rel").size(), found.index.get_level_values("noise_rel")
    return found[levels.isin(cases[cases == cases.max()].index)]


def _split(found: pandas.DataFrame) -> pandas.DataFrame:
    """With the words of a case as an index of several levels."""
    return found.set_axis(pandas.MultiIndex.from_tuples([tuple(case.split()) for case in found.index]))


def shown_masks(masks: Mapping[str, Tensor]) -> Figure:
    """Masks side by side, with their names."""
    figure, axes = panels(len(masks), 1.25)
    for ax, (name, mask) in zip(axes, masks.items(), strict=True):
        show_mask(ax, mask, f"{name}\nm = {int(mask.sum())}")
    return figure


def cases(found: pandas.DataFrame) -> Figure:
    """Amplification and clean error of each case and noise level; a line where exact recovery of a spike would be."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 0.9 + 0.35 * found.index.levshape[0]), sharey=True)
    names = list(dict.fromkeys(found.index.get_level_values(0)))
    at = {name: len(names) - i for i, name in enumerate(names)}
    for (level, mine), color in zip(found.groupby(level="noise_rel"), COLORS, strict=False):
        places = [at[name] for name in mine.index.get_level_values(0)]
        left.plot(mine["alpha"], places, "o", color=color)
        right.plot(100 * mine["error"], places, "o", color=color, label=f"{level:.0%} noise")
    if "predicted" in found:
        left.axvline(found["predicted"].mean(), color="0.5", linewidth=1, linestyle=":")
    left.set(yticks=list(at.values()), yticklabels=list(at), xlabel=r"amplification $\alpha$")
    left.set(xlim=(0, 1.1 * found["alpha"].max()), ylim=(0.5, len(at) + 0.5))
    right.set(xlim=(0, 110 * found["error"].max()), xlabel="error without noise, percent")
    legend_beside(right)
    return figure


def coils(small: pandas.DataFrame, large: pandas.DataFrame, singular: pandas.DataFrame) -> Figure:
    """Amplification against the number of coils, and of small images against the share of weak singular values."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
    decomposed = singular.index.get_level_values(0)
    names = [case for case in small.index.get_level_values(0) if case in decomposed]  # not those of another tolerance
    weak = singular["weak"].droplevel("noise_rel").loc[names]
    small, large = small.droplevel("noise_rel").loc[names], large.droplevel("noise_rel")
    for mine, size, color in ((small, "64 × 64", COLORS[0]), (large, "256 × 256", COLORS[1])):
        count = mine.index.astype(int)
        left.plot(count, mine["alpha"], "o-", color=color, label=f"attack on TV, {size}")
        left.plot(count, mine["predicted"], "s:", color=color, label=f"exact recovery, {size}", markersize=4)
    left.set(xscale="log", xlabel="coils", ylabel=r"amplification $\alpha$", ylim=(0, None))
    ticks(left, sorted(small.index.astype(int)))
    right.plot(weak, small["alpha"], "o-", color=COLORS[0])
    right.plot(weak, small["predicted"], "s:", color=COLORS[0], markersize=4)
    for k, (count, share, alpha) in enumerate(zip(names, weak, small["alpha"], strict=True)):
        offset = (7, 3) if k % 2 == 0 else (7, -9)  # the last ones are close together
        right.annotate(count, (share, alpha), offset, textcoords="offset points", fontsize=9)
    right.set(xlabel=r"share of singular values of $\mathcal{A}$ below 0.1, 64 × 64", xlim=(0, 1))
    left.legend()
    return figure


def power(found: pandas.DataFrame) -> Figure:
    """How often further measurements raise an alarm, for an artifact and for a spike that is there."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.0))
    for (level, mine), color in zip(found.groupby(level="noise_rel"), COLORS, strict=False):
        k = mine.index.get_level_values(0).astype(int)
        ax.plot(k, mine["power"], "o-", color=color, label=f"artifact, {level:.0%} noise")
        ax.plot(k, mine["false_alarm"], "s:", color=color, label=f"spike, {level:.0%} noise")
    ax.set(xscale="symlog", xlabel="further frequencies", ylabel="share of alarms", ylim=(-0.03, 1.03))
    ticks(ax, sorted(set(found.index.get_level_values(0).astype(int))))
    legend_beside(ax)
    return figure


def lesions(found: pandas.DataFrame) -> Figure:
    """The part of a lesion's contrast that the perturbed image has, and that TV and Tira show, against its radius."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.0))
    found = found.groupby(level="case", sort=False).mean()
    found = _split(found).sort_index()
    for method in ("tv", "tira"):
        mine = found.loc[method, "in"]
        ax.plot(mine.index.astype(int), mine["shown"], "o-", color=METHODS[method][1], label=METHODS[method][0])
    ax.plot(mine.index.astype(int), mine["seen"], "s:", color="0.4", label="perturbed image")
    ax.axhline(1, color="0.8", linewidth=0.8)
    ax.set(xlabel="radius in pixels", ylabel="part of its contrast", ylim=(0, None), xticks=mine.index.astype(int))
    legend_beside(ax)
    return figure


def lesion(images: Mapping[str, Tensor], mu: tuple[int, int]) -> Figure:
    """Images with a close-up of the place of a lesion."""
    figure, axes = panels(len(images))
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        show_image(ax, image, name, mu)
    return figure


def hidden(found: pandas.DataFrame) -> Figure:
    """The least level at which a lesion is put in or erased, hidden in r; triangles where the largest is not enough."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.0))
    found = _split(found.groupby(level="case", sort=False).mean()).sort_index()
    for method in ("tv", "tira"):
        for way, line in (("in", "-"), ("out", ":")):
            mine = found.loc[method, way]
            radius, color = mine.index.astype(int), METHODS[method][1]
            label = f"{METHODS[method][0]}, {'put in' if way == 'in' else 'erased'}"
            ax.plot(radius, 100 * mine["level"], line, color=color, label=label)
            for r, level, reached in zip(radius, 100 * mine["level"], mine["reached"], strict=True):
                ax.plot(r, level, "o" if reached == 1 else "^", color=color)
    ax.set(xlabel="radius in pixels", ylabel="least level, percent", ylim=(0, None), xticks=radius)
    legend_beside(ax)
    return figure


def contrast(found: pandas.DataFrame) -> Figure:
    """The worst local contrast against its scale, from one pixel to the image."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.2))
    found = _split(found.groupby(level="case", sort=False).mean())
    found.index = found.index.set_levels(found.index.levels[1].astype(float), level=1)
    for method in ("tv", "tira", "tirafl"):
        mine = found.loc[method].sort_index()
        ax.plot(mine.index, mine["local"], "o-", color=METHODS[method][1], label=METHODS[method][0])
    ax.axhline(1, color="0.8", linewidth=0.8)
    ax.set(xscale="log", xlabel=r"radius $\sigma$ in pixels", ylabel="worst local contrast", ylim=(0, None))
    names = {mine.index[0]: "one\n" + r"($\ell^\infty$)", mine.index[-1]: "all\n" + r"($\ell^2$)"}
    ax.set_xticks(mine.index, [names.get(sigma, f"{sigma:g}") for sigma in mine.index])
    ax.minorticks_off()
    legend_beside(ax)
    return figure


def guarantees(rows: pandas.DataFrame) -> Figure:
    """How large the dual field is off the support, of each case and image: below 1 recovery is proved."""
    found = rows[rows["question"] == "guarantee"].pivot_table("value", ["case", "image"], "quantity", sort=False)
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.0))
    kinds = [" ".join(case.split()[:2]) for case in found.index.get_level_values("case")]
    for (kind, mine), color, marker in zip(found.groupby(kinds, sort=False), COLORS, "os^", strict=False):
        mask, n = kind.split()
        ax.plot(mine["alpha"], mine["off_support"], marker, color=color, label=f"{mask}, {n} × {n}")
    ax.axhline(1, color="0.5", linewidth=1, linestyle=":")
    ax.set(xlabel=r"amplification $\alpha = n^2/m$ of the spike", ylabel=r"$\max_{j \notin T} |p_j|$", ylim=(0, None))
    legend_beside(ax)
    return figure


def proof(x: numpy.ndarray, mask: numpy.ndarray, field: numpy.ndarray) -> Figure:
    """An image, its mask, and the modulus of its dual field, 1 where the image jumps and less elsewhere."""
    figure, axes = panels(4)
    axes[0].imshow(x, cmap="gray")
    bare(axes[0], r"$x + \delta$")
    axes[1].imshow(mask, cmap="gray_r")
    bare(axes[1], f"mask, m = {int(mask.sum())}")
    axes[1].spines[:].set_visible(True)
    for ax, part, name in zip(axes[2:], field, ("down", "to the right"), strict=True):
        shown = ax.imshow(abs(part), cmap="magma", vmin=0, vmax=1)
        bare(ax, rf"$|p|$, {name}")
    figure.colorbar(shown, ax=axes[-1], shrink=0.75)
    return figure


def halves(found: pandas.DataFrame) -> Figure:
    """What parts of the lines show of a height that all lines show: from the lowest to the highest part."""
    cases = list(dict.fromkeys(found.index.get_level_values(0)))
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 0.9 + 0.35 * len(cases)))
    groups = list(found.groupby(level="noise_rel"))
    for k, ((level, mine), color) in enumerate(zip(groups, COLORS, strict=False)):
        places = [len(cases) - cases.index(case) - 0.2 * k for case in mine.index.get_level_values(0)]
        ax.hlines(places, mine["lowest"], mine["highest"], color=color)
        for end in ("lowest", "highest"):
            ax.plot(mine[end], places, "o", color=color, label=f"{level:.0%} noise" if end == "lowest" else None)
    ax.axvline(1, color="0.5", linewidth=1, linestyle=":")
    names = [f"{case.split()[0]}, {case.split()[1]} parts" for case in cases]
    ax.set(yticks=range(len(cases), 0, -1), yticklabels=names, xlabel="part of the height that all lines show")
    legend_beside(ax)
    return figure


def slices(found: pandas.DataFrame) -> Figure:
    """The amplification on each slice of the brain, for TV and Tira at each level."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
    for ax, method in zip(axes, ("tv", "tira"), strict=True):
        for (level, mine), color in zip(found.groupby(level="noise_rel"), COLORS, strict=False):
            mine = _split(mine.droplevel("noise_rel")).loc[method]
            mine = mine.set_axis(mine.index.astype(int)).sort_index()
            ax.plot(mine.index, mine["alpha"], "o-", color=color, label=f"{level:.0%} noise")
        ax.set(xlabel="height of the slice, mm", title=METHODS[method][0], ylim=(0, 1.1 * found["alpha"].max()))
    axes[0].set_ylabel(r"amplification $\alpha$")
    legend_beside(axes[1])
    return figure


def slice_pictures(pictures: Mapping[tuple[str, str], Tensor], rows: Sequence[str]) -> Figure:
    """Pictures by row and column with a close-up of their brightest pixel, and the names of rows and columns."""
    columns = list(dict.fromkeys(column for _, column in pictures))
    height = 1.04 * WIDTH * len(rows) / len(columns)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=(WIDTH, height), squeeze=False)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            picture = pictures[row, column]
            show_image(axes[i, j], picture, close_up=divmod(int(picture.argmax()), picture.shape[-1]))
            axes[i, j].set(ylabel=row if j == 0 else "", title=column if i == 0 else "")
    return figure


def artifacts(images: Mapping[str, Tensor], half: int = 10) -> Figure:
    """Close-ups of the moduli of artifacts around their peaks, each relative to its peak."""
    figure, axes = panels(len(images), 1.2)
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        modulus = image.detach().abs().cpu()
        row, column = divmod(int(modulus.argmax()), image.shape[-1])
        centred = modulus.roll((half - row, half - column), (0, 1))[: 2 * half + 1, : 2 * half + 1]
        ax.imshow((centred / centred.max()).numpy(), cmap="gray", vmin=0, vmax=1)
        bare(ax, name)
    return figure
