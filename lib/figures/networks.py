"""Figures of the chapter on the networks."""

from collections.abc import Mapping

import matplotlib
import matplotlib.pyplot as plt
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib.figures.style import COLORS, METHODS, WIDTH, band, bare, legend_beside, show_image
from lib.measures import relative_error
from lib.networks import Sizes

FIXED, LEARNED, TIRAMISU = "0.93", "#fbe3c8", "#cfe3f1"  # fills of the boxes


def reconstruction_family(sizes: Sizes) -> Figure:
    """Tira and TiraFL from measurements to image, and the Tiramisu in both with its dense blocks."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 5.4), height_ratios=(1, 1.9))
    top.set(xlim=(0, 10), ylim=(0, 2.6))
    for height, name, inversion, color in (
        (1.9, "Tira", r"$\mathcal{A}^\dagger$, fixed", FIXED),
        (0.6, "TiraFL", r"$\mathcal{L}$, learned", LEARNED),
    ):
        top.text(0.1, height, name, va="center", weight="bold")
        _box(top, 3.25, height, 1.9, inversion, color)
        _box(top, 6.6, height, 1.7, "Tiramisu", TIRAMISU)
        for x, text in ((1.5, r"$y \in \mathbb{C}^m$"), (9.35, r"$\mathrm{rec}(y)$")):
            top.text(x, height, text, ha="center", va="center")
        top.text(5.05, height + 0.06, "$z$", ha="center", va="center")
        top.text(8.18, height, "$+$", ha="center", va="center", fontsize=14)
        for start, end in ((2.0, 2.3), (4.2, 4.85), (5.25, 5.75), (7.45, 8.03), (8.33, 8.85)):
            _arrow(top, (start, height), (end, height))
        top.plot([5.05, 5.05, 8.18], [height + 0.25, height + 0.55, height + 0.55], color="0.3", linewidth=1)
        _arrow(top, (8.18, height + 0.55), (8.18, height + 0.17))
    depth, fold = len(sizes.down), sizes.fold
    edge = 2 * depth + 1.45
    bottom.set(xlim=(-0.55, edge + 0.1), ylim=(-depth - 0.75, 0.75))
    note = {"fontsize": 8, "va": "center"}
    bottom.text(-0.45, 0.62, f"{2 * fold**2} to {sizes.first} channels", color="0.3", **note)
    bottom.text(edge, 0.62, f"to {2 * fold**2} channels", ha="right", color="0.3", **note)
    bottom.text(-0.45, -depth, "blue: convolution, maximum of 2 × 2\norange: transposed convolution", **note)
    bottom.text(depth, -0.13, "channels joined", ha="center", va="top", fontsize=8, color="0.5")
    for level, (before, after) in enumerate(zip(sizes.down, reversed(sizes.up), strict=True)):
        left, right = level, 2 * depth - level
        _box(bottom, left, -level, 0.74, f"{before}", TIRAMISU)
        _box(bottom, right, -level, 0.74, f"{after}", TIRAMISU)
        _arrow(bottom, (left + 0.42, -level), (right - 0.42, -level), "0.65")
        _arrow(bottom, (left + 0.15, -level - 0.27), (left + 0.82, -level - 0.76), COLORS[0])
        _arrow(bottom, (right - 0.82, -level - 0.76), (right - 0.15, -level - 0.27), COLORS[1])
    _box(bottom, depth, -depth, 0.74, f"{sizes.bottleneck}", TIRAMISU)
    for level in range(depth + 1):
        side = f"$n/{fold * 2**level}$" if fold * 2**level > 1 else "$n$"
        bottom.text(edge, -level, side, ha="right", va="center")
    bare(top)
    bare(bottom)
    return figure


def _box(ax: Axes, x: float, y: float, width: float, text: str, color: str) -> None:
    style = {"facecolor": color, "edgecolor": "0.3", "linewidth": 0.8, "boxstyle": "round,pad=0,rounding_size=0.08"}
    ax.add_patch(matplotlib.patches.FancyBboxPatch((x - width / 2, y - 0.25), width, 0.5, **style))
    ax.text(x, y, text, ha="center", va="center")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.3") -> None:
    style = {"arrowstyle": "->", "color": color, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def methods_and_noise(
    x: Tensor, images: Mapping[float, Mapping[str, Tensor]], close_up: tuple[int, int] | None = None
) -> Figure:
    """One row for each noise level, one column for each method; each label has the relative error of the modulus."""
    count = max(map(len, images.values()))
    height = 1.2 * WIDTH * len(images) / count
    figure, axes = plt.subplots(len(images), count, figsize=(WIDTH, height), squeeze=False)
    for line, (level, by_method) in zip(axes, images.items(), strict=True):
        line[0].set_ylabel(f"{level:.1%} noise" if level else "no noise")
        for ax, image in zip(line, by_method.values(), strict=True):
            show_image(ax, image, f"error {relative_error(image.abs(), x):.1%}", close_up)
    for ax, name in zip(axes[0], by_method, strict=True):
        ax.set_title(name, fontsize=10)
    return figure


def networks_error(table: pandas.DataFrame, preset: str = "compact") -> Figure:
    """Relative error against noise for all methods, mean and spread over the test images, from networks_error.csv."""
    figure, ax = plt.subplots(figsize=(0.75 * WIDTH, 3.6))
    for method, (label, color) in METHODS.items():
        rows = table[table.method.isin((method, f"{method}-{preset}"))]
        level, mean, std = 100 * rows.noise_rel, 100 * rows.error_mean, 100 * rows.error_std
        style = "s--" if method == "tirafl" else "o-"  # on top of Tira's
        ax.plot(level, mean, style, color=color, markersize=4, label=label)
        band(ax, level, mean - std, mean + std, color)
    ax.set(xlabel="noise, % of the measurements", ylabel="relative error, %", xlim=(0, None), ylim=(0, None))
    ax.yaxis.get_major_locator().set_params(integer=True)
    legend_beside(ax)
    return figure


def training(tables: Mapping[str, pandas.DataFrame]) -> Figure:
    """Loss and validation error while the networks were trained, by method, from train_METHOD-PRESET.csv."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    for method, rows in tables.items():
        label, color = METHODS[method]
        minutes = rows.seconds / 60
        left.semilogy(minutes, rows.loss, color=color, label=label)
        right.plot(minutes, 100 * rows.error_clean, color=color, label=f"{label}, no noise")
        right.plot(minutes, 100 * rows.error_noise_4, "--", color=color, label=f"{label}, 4 % noise")
    left.set(xlabel="minutes of training", ylabel="loss")
    right.set(xlabel="minutes of training", ylabel="validation error, %", ylim=(0, None))
    left.legend()
    right.legend(fontsize=8)
    return figure
