"""Figures of the chapter beyond the paper, from the rows of results/beyond.csv."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas
from matplotlib.figure import Figure
from torch import Tensor

from lib.figures.style import COLORS, METHODS, WIDTH, legend_beside, panels, show_image, show_mask, ticks


def numbers(rows: pandas.DataFrame, question: str) -> pandas.DataFrame:
    """The means over the images of one question's numbers: an index of case and noise level, a column a quantity.

    A level that is not there for all cases yet is left out.
    """
    found = rows[rows["question"] == question].pivot_table("value", ["case", "noise_rel"], "quantity", sort=False)
    cases, levels = found.groupby(level="noise_rel").size(), found.index.get_level_values("noise_rel")
    return found[levels.isin(cases[cases == cases.max()].index)]


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


def coils(found: pandas.DataFrame) -> Figure:
    """Amplification against the number of coils, beside that of an exactly recovered spike."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.0))
    count = found.index.get_level_values(0).astype(int)
    ax.plot(count, found["alpha"], "o-", label="attack on TV")
    ax.plot(count, found["predicted"], "s:", color="0.4", label="exact recovery of a spike")
    ax.set(xscale="log", xlabel="coils", ylabel=r"amplification $\alpha$", ylim=(0, None))
    ticks(ax, sorted(set(count)))
    legend_beside(ax)
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
    found.index = pandas.MultiIndex.from_tuples([tuple(case.split()) for case in found.index])
    found = found.sort_index()
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
