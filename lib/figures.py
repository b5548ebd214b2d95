"""The house style, and one function for each figure; ``python -m lib.figures NAME`` rebuilds one."""

import argparse
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from lib.attack import ITERATIONS, Attack, GridAttack, disk_weight, fast_tv, grid_attack, unperturbed
from lib.calibration import LINES, add_noise
from lib.experiments import (
    LEVELS,
    Configuration,
    Outcome,
    current_rows,
    paper_table1,
    selected,
    table1,
    transfer_matrix,
    transferred,
)
from lib.experiments import attack as attack_image
from lib.networks import Sizes
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, read_rows, write_bytes
from lib.theory_runs import constant, quantile
from lib.tv import calibrated_lambda, reconstruct_tv

OVER = "#d55e00"  # pixel values beyond 1, in every figure
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, safe for colour-blind eyes
WIDTH = 8.0  # inches; the width of the page
FIGURES = RESULTS / "figures"
EXAMPLE: dict = {"seed": 7, "first": 6}  # the phantom shown in the book


def use_style() -> None:
    """Set matplotlib to the house style: white figures, quiet axes, sharp on screens."""
    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": matplotlib.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 150,
            "figure.facecolor": "white",
            "font.size": 10,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 1.5,
            "savefig.dpi": 150,
        }
    )


def show_image(ax: Axes, image: Tensor, label: str = "", close_up: tuple[int, int] | None = None) -> None:
    """Draw the modulus of an image ``(n, n)`` in grey from 0 to 1, values beyond 1 in the warning colour.

    ``close_up`` is a pixel (row, column); n/10 pixels around it are shown enlarged in the opposite corner.
    """
    modulus, n = image.detach().abs().cpu().numpy(), image.shape[-1]
    grey = matplotlib.colormaps["gray"].with_extremes(over=OVER)
    ax.imshow(modulus, cmap=grey, vmin=0, vmax=1)
    _bare(ax, label)
    if close_up is not None:
        half = n // 20
        row, column = (min(max(c, half), n - half) for c in close_up)
        inset = ax.inset_axes((0.55 if column < n / 2 else 0.02, 0.02 if row < n / 2 else 0.55, 0.43, 0.43))
        inset.imshow(modulus, cmap=grey, vmin=0, vmax=1)
        inset.set(xlim=(column - half - 0.5, column + half - 0.5), ylim=(row + half - 0.5, row - half - 0.5))
        inset.set(xticks=[], yticks=[])
        inset.spines[:].set(visible=True, color=COLORS[4], linewidth=1)
        for connector in ax.indicate_inset_zoom(inset, edgecolor=COLORS[4], alpha=1).connectors:
            connector.set_visible(False)


def _bare(ax: Axes, label: str) -> None:
    ax.set(xticks=[], yticks=[], xlabel=label)
    ax.spines[:].set_visible(False)


def _row(panels: int, height: float = 1.12) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(1, panels, figsize=(WIDTH, height * WIDTH / panels))
    return figure, np.atleast_1d(axes)


def relative_error(image: Tensor, x: Tensor) -> float:
    r""":math:`\|z - x\|_2/\|x\|_2` of one image."""
    return float(torch.linalg.vector_norm(image - x) / torch.linalg.vector_norm(x))


def frequencies(x: Tensor, op: MaskedFourier) -> Figure:
    """An image, the logarithm of its Fourier modulus, and what the mask keeps of it."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho")).abs().clamp(min=1e-3).log10()
    figure, axes = _row(3)
    show_image(axes[0], x, "image $x$")
    for ax, values, label in (
        (axes[1], spectrum, r"$\log_{10}|\mathcal{F}x|$"),
        (axes[2], torch.where(op.mask, spectrum, torch.nan), r"kept by $P_\Omega$"),
    ):
        drawn = ax.imshow(values.numpy(), cmap="cividis", vmin=-3, vmax=2)
        _bare(ax, label)
    figure.colorbar(drawn, ax=list(axes[1:]), shrink=0.75, ticks=[-3, -2, -1, 0, 1, 2])
    return figure


def masks(n: int = 256, lines: Sequence[int] = LINES) -> Figure:
    """Undersampling masks, retained frequencies in black, with m and the subsampling factor."""
    figure, axes = _row(len(lines), 1.2)
    for ax, count in zip(axes, lines, strict=True):
        op = MaskedFourier(radial_mask(n, count))
        ax.imshow(op.mask.numpy(), cmap="gray_r")
        _bare(ax, f"{count} lines, $m$ = {op.m}, $n^2/m$ = {n * n / op.m:.1f}")
        ax.spines[:].set_visible(True)
    return figure


def undersampling(x: Tensor, op: MaskedFourier) -> Figure:
    """Figure 2 of the paper and its TV counterpart: mask, image, zero-filled and TV reconstruction without noise."""
    y = op.A(x)
    zero_filled, tv = op.A_dagger(y), reconstruct_tv(y, op, lam=1e-4, max_iter=500).image
    figure, axes = _row(4, 1.25)
    axes[0].imshow(op.mask.numpy(), cmap="gray_r")
    _bare(axes[0], r"mask $\Omega$")
    axes[0].spines[:].set_visible(True)
    show_image(axes[1], x, "image $x$")
    show_image(axes[2], zero_filled, f"$A^\\dagger A x$\nerror {relative_error(zero_filled, x):.1%}")
    show_image(axes[3], tv, f"TV\nerror {relative_error(tv, x):.1%}")
    return figure


def regularization(x: Tensor, y: Tensor, op: MaskedFourier, lams: Sequence[float]) -> Figure:
    """TV reconstructions for several regularization parameters, with a close-up."""
    results = reconstruct_tv(y.expand(len(lams), -1), op, torch.tensor(lams))
    figure, axes = _row(len(lams), 1.3)
    for ax, image, lam in zip(axes, results.image, lams, strict=True):
        label = f"$\\lambda$ = {lam:.1e}\nerror {relative_error(image, x):.1%}"
        show_image(ax, image, label, (op.n // 3, op.n // 2))
    return figure


def lambda_curves(lines: Sequence[int] = LINES) -> Figure:
    """The grid search behind the calibrated lambda: error against lambda for each mask and level."""
    rows = read_rows(RESULTS / "lambda.csv")
    levels = sorted({float(row["noise_rel"]) for row in rows})
    figure, axes = plt.subplots(1, len(lines), figsize=(WIDTH, 3.2), sharey=True)
    shades = matplotlib.colormaps["cividis"](np.linspace(0, 0.9, len(levels)))
    for ax, count in zip(np.atleast_1d(axes), lines, strict=True):
        for level, shade in zip(levels, shades, strict=True):
            chosen = [row for row in rows if int(row["lines"]) == count and float(row["noise_rel"]) == level]
            if not chosen:
                continue
            lam, error = (np.array([float(row[key]) for row in chosen]) for key in ("lam", "error_mean"))
            order, best = np.argsort(lam), int(np.argmin(error))
            ax.loglog(lam[order], error[order], color=shade, label=f"{level:.1%}")
            ax.plot(lam[best], error[best], "o", color=shade, markersize=5)
        ax.set(xlabel=rf"$\lambda$, {count} lines")
    axes[0].set(ylabel="relative error")
    axes[-1].legend(title="noise", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def convergence(y: Tensor, op: MaskedFourier, lam: float, iterations: int = 400) -> Figure:
    """How the solver converges: distance of the objective from the minimum, proved gap, and worst pixel."""
    y = y.to(torch.complex128)
    best = reconstruct_tv(y, op, lam, tol=1e-8, max_iter=20_000)
    seen = []

    def look(k: Tensor, _index: Tensor, image: Tensor, objective: Tensor, gap: Tensor) -> None:
        worst = (image[0] - best.image).abs().max()
        seen.append((int(k[0]), float(objective[0] - best.objective), float(gap[0]), float(worst)))

    reconstruct_tv(y, op, lam, tol=1e-12, max_iter=iterations, on_check=look)
    k, distance, gap, worst = np.array(seen).T
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0))
    left.semilogy(k, gap / float(best.objective), label="proved: duality gap")
    left.semilogy(k, distance / float(best.objective), "--", label="true: distance from the minimum")
    left.set(xlabel="iteration", ylabel="relative to the minimum")
    left.legend()
    right.semilogy(k, worst, color=COLORS[2])
    right.set(xlabel="iteration", ylabel="error of the worst pixel")
    return figure


def noise_levels(x: Tensor, op: MaskedFourier, lines: int, levels: Sequence[float], seed: int) -> Figure:
    """Zero-filled and TV reconstructions as Gaussian noise grows, lambda calibrated for each level."""
    figure, axes = plt.subplots(2, len(levels), figsize=(WIDTH, 2.45 * WIDTH / len(levels)))
    for (above, below), level in zip(axes.T, levels, strict=True):
        y = add_noise(op.A(x), level, seed)
        zero_filled, tv = op.A_dagger(y), reconstruct_tv(y, op, calibrated_lambda(level, lines)).image
        show_image(above, zero_filled, f"error {relative_error(zero_filled, x):.1%}")
        show_image(below, tv, f"error {relative_error(tv, x):.1%}")
        above.set_title(f"{level:.1%} noise", fontsize=10)
    axes[0, 0].set_ylabel("zero-filled")
    axes[1, 0].set_ylabel("TV")
    return figure


def spike(x: Tensor, op: MaskedFourier, lines: int, noise_rel: float, mu: tuple[int, int]) -> Figure:
    r"""The cover: an image, the image with the perturbation of one pixel's measurements, and what TV makes of it.

    The perturbation is the spike of Section 5, :math:`e = \eta\, \mathcal{A}\delta_\mu / \|\mathcal{A}\delta_\mu\|_2`.
    """
    y, delta = op.A(x), torch.zeros_like(x)
    delta[mu] = 1
    e = op.A(delta)
    e = e * (noise_rel * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e))
    lam = calibrated_lambda(noise_rel, lines)
    clean, attacked = reconstruct_tv(torch.stack([y, y + e]), op, lam).image
    r, rho = op.A_dagger(e), attacked - clean
    figure, axes = _row(3)
    show_image(axes[0], x, "image", mu)
    show_image(axes[1], x + r.real, f"image + perturbation of {float(r.abs().max()):.2f}", mu)
    show_image(axes[2], attacked, f"TV reconstruction: spike of {float(rho.abs().max()):.2f}", mu)
    return figure


def tolerance() -> Figure:
    """Worst pixel error against the tolerance asked for, from results/tolerance.csv."""
    rows = read_rows(RESULTS / "tolerance.csv")
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.4))
    levels = sorted({float(row["noise_rel"]) for row in rows})
    for count, color in zip(sorted({int(row["lines"]) for row in rows}), COLORS, strict=False):
        for level, marker in zip(levels, "o^s", strict=True):
            chosen = [row for row in rows if int(row["lines"]) == count and float(row["noise_rel"]) == level]
            tol, worst = zip(*((float(row["tol"]), float(row["worst_pixel_error"])) for row in chosen), strict=True)
            ax.loglog(tol, worst, marker, color=color, markersize=5, label=f"{count} lines, {level:.1%} noise")
    ends = np.array([float(row["tol"]) for row in rows])
    ends = np.array([ends.min(), ends.max()])
    ax.loglog(ends, ends, color="0.6", linewidth=1, zorder=0, label="equal")
    ax.set(xlabel="tolerance: relative duality gap", ylabel="error of the worst pixel")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def peers() -> Figure:
    """Time to each accuracy for each program, at its defaults and tuned, from results/bench_tv.csv."""
    rows = [row for row in read_rows(RESULTS / "bench_tv.csv") if row["reached"] == "True"]
    accuracies = sorted({float(row["accuracy"]) for row in rows}, reverse=True)
    best: dict[tuple[str, float], float] = {}
    for row in rows:
        kind = row["settings"] if row["settings"] == "default" else "tuned"
        key = f"{row['method']}, {kind}" if row["method"] != "lib.tv" else "lib.tv", float(row["accuracy"])
        best[key] = min(best.get(key, math.inf), float(row["seconds"]))
    names = sorted({name for name, _ in best}, key=lambda name: (name != "lib.tv", name))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(names) + 1))
    for i, (accuracy, color) in enumerate(zip(accuracies, COLORS, strict=False)):
        at = [(j + 0.25 * (i - 1), best[name, accuracy]) for j, name in enumerate(names) if (name, accuracy) in best]
        ax.barh(*zip(*at, strict=True), height=0.22, color=color, label=f"worst pixel within {accuracy:g}")
    ax.set(xscale="log", xlabel="seconds", yticks=range(len(names)), yticklabels=names)
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, fontsize=9)
    return figure


def scaling() -> Figure:
    """Time of one image against n, and of one iteration against a pair of transforms, from bench_tv_scaling.csv."""
    rows = read_rows(RESULTS / "bench_tv_scaling.csv")
    single = [row for row in rows if row["batch"] == "1"]
    n, image, iteration, pair, ratio = (
        np.array([float(row[key]) for row in single])
        for key in ("n", "image_ms", "iteration_ms", "fft_pair_ms", "iteration_over_fft_pair")
    )
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    left.loglog(n, image, "o-", label="one image")
    left.loglog(n, iteration, "s-", color=COLORS[2], label="one iteration")
    left.loglog(n, pair, "^:", color=COLORS[3], label="a pair of FFTs")
    for values in (image, iteration):
        law = n**2 * np.log(n)
        left.loglog(n, law * values[1] / law[1], "--", color="0.6", linewidth=1, zorder=0)
    left.plot([], [], "--", color="0.6", linewidth=1, label=r"$n^2 \log n$")
    left.set(xlabel="side $n$", ylabel="milliseconds", xticks=n, xticklabels=[f"{v:.0f}" for v in n])
    left.minorticks_off()
    left.set_ylim(top=30 * image.max())  # room for the legend
    left.legend(fontsize=8)
    middle.semilogx(n, ratio, "o-")
    middle.set(xlabel="side $n$", ylabel="iteration / pair of FFTs", ylim=(0, 1.1 * ratio.max()), xticks=n)
    middle.set_xticklabels([f"{v:.0f}" for v in n])
    middle.minorticks_off()
    batches = sorted((int(row["batch"]), float(row["image_ms"])) for row in rows if row["n"] == "256")
    right.semilogx(*zip(*batches, strict=True), "o-")
    right.set(xlabel="batch, $n$ = 256", ylabel="ms for one image", xticks=[b for b, _ in batches])
    right.set_ylim(0, 1.1 * max(ms for _, ms in batches))
    right.set_xticklabels([str(b) for b, _ in batches])
    right.minorticks_off()
    return figure


def reconstruction_family(sizes: Sizes) -> Figure:
    """Tira and TiraFL from measurements to image, and the Tiramisu in both with its dense blocks."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 5.4), height_ratios=(1, 1.9))
    top.set(xlim=(0, 10), ylim=(0, 2.6))
    for height, name, inversion, color in (
        (1.9, "Tira", r"$\mathcal{A}^\dagger$, fixed", "0.93"),
        (0.6, "TiraFL", r"$\mathcal{L}$, learned", "#fbe3c8"),
    ):
        top.text(0.1, height, name, va="center", weight="bold")
        top.text(1.5, height, r"$y \in \mathbb{C}^m$", ha="center", va="center")
        _box(top, 3.25, height, 1.9, inversion, color)
        top.text(5.05, height + 0.06, "$z$", ha="center", va="center")
        _box(top, 6.6, height, 1.7, "Tiramisu", "#cfe3f1")
        top.text(8.18, height, "$+$", ha="center", va="center", fontsize=14)
        top.text(9.35, height, r"$\mathrm{rec}(y)$", ha="center", va="center")
        for start, end in ((2.0, 2.3), (4.2, 4.85), (5.25, 5.75), (7.45, 8.03), (8.33, 8.85)):
            _arrow(top, (start, height), (end, height))
        top.plot([5.05, 5.05, 8.18], [height + 0.25, height + 0.55, height + 0.55], color="0.3", linewidth=1)
        _arrow(top, (8.18, height + 0.55), (8.18, height + 0.17))
    depth, fold = len(sizes.down), sizes.fold
    bottom.set(xlim=(-0.55, 2 * depth + 1.55), ylim=(-depth - 0.75, 0.75))
    entry = f"{2 * fold**2} to {sizes.first} channels"
    bottom.text(-0.45, 0.62, entry, fontsize=8, va="center", color="0.3")
    bottom.text(2 * depth + 1.45, 0.62, f"to {2 * fold**2} channels", fontsize=8, va="center", ha="right", color="0.3")
    for level, (before, after) in enumerate(zip(sizes.down, reversed(sizes.up), strict=True)):
        left, right = level, 2 * depth - level
        _box(bottom, left, -level, 0.74, f"{before}", "#cfe3f1")
        _box(bottom, right, -level, 0.74, f"{after}", "#cfe3f1")
        _arrow(bottom, (left + 0.42, -level), (right - 0.42, -level), "0.65")
        if level < depth:
            _arrow(bottom, (left + 0.15, -level - 0.27), (left + 0.82, -level - 0.76), COLORS[0])
            _arrow(bottom, (right - 0.82, -level - 0.76), (right - 0.15, -level - 0.27), COLORS[1])
    _box(bottom, depth, -depth, 0.74, f"{sizes.bottleneck}", "#cfe3f1")
    for level in range(depth + 1):
        side = f"$n/{fold * 2**level}$" if fold * 2**level > 1 else "$n$"
        bottom.text(2 * depth + 1.45, -level, side, ha="right", va="center")
    bottom.text(depth, -0.13, "channels joined", ha="center", va="top", fontsize=8, color="0.5")
    legend = "blue: convolution, maximum of 2 × 2\norange: transposed convolution"
    bottom.text(-0.45, -depth, legend, fontsize=8, va="center")
    for ax in (top, bottom):
        _bare(ax, "")
    return figure


def _box(ax: Axes, x: float, y: float, width: float, text: str, color: str) -> None:
    style = {"facecolor": color, "edgecolor": "0.3", "linewidth": 0.8, "boxstyle": "round,pad=0,rounding_size=0.08"}
    ax.add_patch(matplotlib.patches.FancyBboxPatch((x - width / 2, y - 0.25), width, 0.5, **style))
    ax.text(x, y, text, ha="center", va="center")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.3") -> None:
    style = {"arrowstyle": "->", "color": color, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def methods_and_noise(
    x: Tensor,
    op: MaskedFourier,
    methods: Mapping[str, Callable[[Tensor, float], Tensor]],
    levels: Sequence[float],
    seed: int,
    close_up: tuple[int, int] | None = None,
) -> Figure:
    """One column for each method, one row for each noise level; each label has the relative error of the modulus."""
    height = 1.2 * WIDTH * len(levels) / len(methods)
    figure, axes = plt.subplots(len(levels), len(methods), figsize=(WIDTH, height), squeeze=False)
    for row, level in zip(axes, levels, strict=True):
        y = add_noise(op.A(x), level, seed)
        row[0].set_ylabel(f"{level:.1%} noise" if level else "no noise")
        for ax, reconstruct in zip(row, methods.values(), strict=True):
            image = reconstruct(y, level).detach()
            show_image(ax, image, f"error {relative_error(image.abs(), x):.1%}", close_up)
    for ax, name in zip(axes[0], methods, strict=True):
        ax.set_title(name, fontsize=10)
    return figure


METHODS = {  # in results/networks_error.csv: label and colour
    "zero-filled": ("zero-filled", "0.45"),
    "tv": ("TV", COLORS[0]),
    "tira": ("Tira", COLORS[1]),
    "tirafl": ("TiraFL", COLORS[2]),
}


def networks_error(preset: str = "compact") -> Figure:
    """Relative error against noise for all methods, mean and spread over the test images, from networks_error.csv."""
    rows = read_rows(RESULTS / "networks_error.csv")
    figure, ax = plt.subplots(figsize=(0.75 * WIDTH, 3.6))
    for method, (label, color) in METHODS.items():
        chosen = [row for row in rows if row["method"] in (method, f"{method}-{preset}")]
        if not chosen:
            continue
        columns = ("noise_rel", "error_mean", "error_std")
        level, mean, spread = np.array([[float(row[key]) for key in columns] for row in chosen]).T
        style = "s--" if method == "tirafl" else "o-"  # on top of Tira's
        ax.plot(100 * level, 100 * mean, style, color=color, markersize=4, label=label)
        ax.fill_between(100 * level, 100 * (mean - spread), 100 * (mean + spread), color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="noise, % of the measurements", ylabel="relative error, %", xlim=(0, None), ylim=(0, None))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def explorer_transfer() -> Figure:
    """Amplification factors of the explorer's frames: median and range over the locations, from frames.csv."""
    rows = read_rows(RESULTS / "explorer" / "frames.csv")
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
    for ax, label in zip(axes, ("perturbation made for TV", "made for the method itself"), strict=True):
        for method in ("tv", "tira", "tirafl"):
            name, color = METHODS[method]
            target = "tv" if ax is axes[0] else method
            chosen = [row for row in rows if (row["target"], row["method"]) == (target, method)]
            levels = sorted({float(row["noise_rel"]) for row in chosen})
            factors = [[float(row["amplification"]) for row in chosen if float(row["noise_rel"]) == a] for a in levels]
            percent = 100 * np.array(levels)
            ax.plot(percent, [np.median(f) for f in factors], "o-", color=color, markersize=4, label=name)
            ax.fill_between(percent, *np.quantile(factors, (0, 1), axis=1), color=color, alpha=0.15, linewidth=0)
        ax.set(xlabel="noise, % of the measurements", title=label, ylim=(0, None))
    axes[0].set(ylabel=r"amplification factor $\alpha$")
    axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def training(preset: str = "compact") -> Figure:
    """Loss and validation error while the networks were trained, from results/train_*.csv."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    for method in ("tira", "tirafl"):
        rows = read_rows(RESULTS / f"train_{method}-{preset}.csv")
        if not rows:
            continue
        label, color = METHODS[method]
        minutes, loss, clean, noisy = np.array(
            [[float(row[key]) for key in ("seconds", "loss", "error_clean", "error_noise_4")] for row in rows]
        ).T
        left.semilogy(minutes / 60, loss, color=color, label=label)
        right.plot(minutes / 60, 100 * clean, color=color, label=f"{label}, no noise")
        right.plot(minutes / 60, 100 * noisy, "--", color=color, label=f"{label}, 4 % noise")
    left.set(xlabel="minutes of training", ylabel="loss")
    right.set(xlabel="minutes of training", ylabel="validation error, %", ylim=(0, None))
    left.legend()
    right.legend(fontsize=8)
    return figure


def noise_and_feature(x: Tensor, noise_rel: float, mu: tuple[int, int], radius: float, seed: int) -> Figure:
    """Figure 1 of the paper: one l2 norm, spent on Gaussian noise and on a disk of this radius."""
    size = noise_rel * torch.linalg.vector_norm(x)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    figure, axes = _row(3)
    show_image(axes[0], x, "image", mu)
    for ax, r, name in ((axes[1], noise, "noise"), (axes[2], disk_weight(len(x), mu, radius), "a feature")):
        r = size / torch.linalg.vector_norm(r) * r
        show_image(
            ax, x + r, rf"{name}: $\|r\|_2$ = {float(size):.1f}, $\|r\|_\infty$ = {float(r.abs().max()):.2f}", mu
        )
    return figure


def artifact(x: Tensor, attack: Attack, mu: tuple[int, int], reconstruction: Tensor) -> Figure:
    """Figure 3 of the paper: the image, the image with the perturbation r, and the reconstruction from y + e."""
    r = attack.image_perturbation
    figure, axes = _row(3)
    show_image(axes[0], x, "image", mu)
    show_image(axes[1], x + r, rf"image + $r$: $\|r\|_\infty$ = {float(r.abs().max()):.2f}", mu)
    label = rf"reconstruction: $\|\rho\|_\infty$ = {float(attack.artifact.abs().max()):.2f}"
    show_image(axes[2], reconstruction, label, mu)
    return figure


def attacked(found: Outcome) -> Figure:
    """The same from an outcome of `lib.experiments`."""
    mu = int(found.mu[0]), int(found.mu[1])
    attack = Attack(found.e, found.image_perturbation, found.artifact, *[torch.empty(0)] * 3)
    return artifact(found.x, attack, mu, found.attacked)


def attacked_levels(found: Mapping[float, Outcome]) -> Figure:
    """Figure 4 of the paper: for each noise level the perturbed image, and below it what becomes of it."""
    figure, axes = plt.subplots(2, len(found), figsize=(WIDTH, 2.35 * WIDTH / len(found)))
    for (above, below), (level, outcome) in zip(axes.T, found.items(), strict=True):
        mu, r, rho = outcome.mu.tolist(), outcome.image_perturbation, outcome.artifact.abs().max()
        show_image(above, outcome.x + r, rf"$\|r\|_\infty$ = {float(r.abs().max()):.2f}", mu)
        show_image(below, outcome.attacked, rf"$\|\rho\|_\infty$ = {float(rho):.2f}", mu)
        above.set_title(f"{level:.1%} noise", fontsize=10)
    axes[0, 0].set_ylabel("perturbed image")
    axes[1, 0].set_ylabel("reconstruction")
    return figure


def transfers(seen: Mapping[str, Outcome], source: str) -> Figure:
    """Figures 6 and 7 of the paper: the perturbed image, and what each method makes of it."""
    figure, axes = _row(1 + len(seen), 1.25)
    one = seen[source]
    mu, r = one.mu.tolist(), one.image_perturbation.abs().max()
    show_image(
        axes[0],
        one.x + one.image_perturbation,
        rf"image + $r$, made for {METHODS[source][0]}" + "\n" + rf"$\|r\|_\infty$ = {float(r):.2f}",
        mu,
    )
    for ax, (target, outcome) in zip(axes[1:], seen.items(), strict=True):
        rho = outcome.artifact.abs().max()
        label = rf"$\|\rho\|_\infty$ = {float(rho):.2f}, $\alpha$ = {float(rho / r):.1f}"
        show_image(ax, outcome.attacked, METHODS[target][0] + "\n" + label, mu)
    return figure


def amplification() -> Figure:
    """Amplification of TV against noise and against n^2/m: our attack, the authors', the paper; results/table1.csv."""
    found = {"our attack": table1("ours"), "authors' optimiser": table1("authors"), "paper": paper_table1()}
    rows = current_rows("table1", method="tv", preset="laptop")
    factor = {int(row["lines"]): int(row["n"]) ** 2 / int(row["m"]) for row in rows}
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.6, 1))
    styles = {"our attack": ("o-", 1.0), "authors' optimiser": ("s--", 0.75), "paper": ("x:", 0.6)}
    for (name, cells), shift in zip(found.items(), (1.0, 1.04, 0.96), strict=True):
        style, strength = styles[name]
        for lines, color in zip(factor, COLORS, strict=False):
            mine = sorted(
                (level, spread) for (method, n, level), spread in cells.items() if (method, n) == ("tv", lines)
            )
            if mine:
                levels = np.array([100 * level for level, _ in mine])
                mean, std = np.array([(spread.mean, spread.std) for _, spread in mine]).T
                drawn = {"color": color, "markersize": 4, "linewidth": 1.2, "capsize": 2, "alpha": strength}
                left.errorbar(levels * shift, mean, std, fmt=style, **drawn)
                right.plot(factor[lines], mean.mean(), style[0], color=color, markersize=7, alpha=strength)
        left.plot([], [], style, color="0.4", markersize=4, label=name)
    for lines, color in zip(factor, COLORS, strict=False):
        left.axhline(factor[lines], color=color, linewidth=0.8, alpha=0.5)
        at = {"transform": left.get_yaxis_transform(), "va": "center"}  # beside the axis
        left.text(1.01, factor[lines], f"{lines} lines", color=color, fontsize=8, **at)
    ends = np.array([min(factor.values()), max(factor.values())])
    right.plot(ends, ends, color="0.5", linewidth=1, label=r"$\alpha = n^2/m$")
    left.set(xscale="log", xlabel="noise, % of the measurements", ylabel=r"amplification $\alpha$", ylim=(0, None))
    left.set_xticks([100 * level for level in LEVELS], [f"{100 * level:g}" for level in LEVELS])
    left.minorticks_off()
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    right.set(
        xlabel=r"subsampling factor $n^2/m$", ylabel=r"$\alpha$, mean over the levels", ylim=(0, None), xlim=(0, None)
    )
    right.legend(fontsize=8)
    return figure


def networks_amplification() -> Figure:
    """Amplification against noise for TV, Tira and TiraFL, our attack and the paper's values; results/table1.csv."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), sharey=True)
    columns = (("our attack", table1("ours")), ("authors' optimiser", table1("authors")), ("paper", paper_table1()))
    for ax, (name, cells) in zip(axes, columns, strict=True):
        for method, (label, color) in METHODS.items():
            mine = sorted((level, spread) for (other, n, level), spread in cells.items() if (other, n) == (method, 40))
            if mine:
                mean, std = np.array([(spread.mean, spread.std) for _, spread in mine]).T
                levels = [100 * level for level, _ in mine]
                ax.errorbar(levels, mean, std, fmt="o-", color=color, markersize=4, capsize=2, label=label)
        ax.set(xscale="log", xlabel=f"noise, %\n{name}")
        ax.set_xticks([100 * level for level in LEVELS], [f"{100 * level:g}" for level in LEVELS], fontsize=8)
        ax.minorticks_off()
    axes[0].set(ylabel=r"amplification $\alpha$, 40 lines", ylim=(0, None))  # of all panels
    axes[-1].legend(fontsize=8)  # the paper's panel is complete
    return figure


def radius() -> Figure:
    """Peak, amplification and concentration of the artifact against the radius of the disk, from results/sigma.csv."""
    rows = current_rows("sigma")
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    names = {
        "rho_linf": r"peak $\|\rho\|_\infty$",
        "alpha": r"amplification $\alpha$",
        "concentration": "energy within 5 pixels of the peak",
    }
    for ax, (key, label) in zip(axes, names.items(), strict=True):
        for optimiser, color, shown in (
            ("ours", COLORS[0], "our attack"),
            ("authors", COLORS[1], "authors' optimiser"),
        ):
            mine = [row for row in rows if row["optimiser"] == optimiser]
            sigmas = sorted({float(row["sigma"]) for row in mine})
            values = [[float(row[key]) for row in mine if float(row["sigma"]) == sigma] for sigma in sigmas]
            ax.semilogx(sigmas, [np.mean(v) for v in values], "o-", color=color, markersize=4, label=shown)
            low, high = [min(v) for v in values], [max(v) for v in values]
            ax.fill_between(sigmas, low, high, color=color, alpha=0.15, linewidth=0)
        ax.set(xlabel=r"radius $\sigma$, pixels")
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.set_title(label, fontsize=9)
        ax.set_xticks([1, 5, 40, 362], ["1", "5", "40", "all"])
        ax.minorticks_off()
    axes[0].legend(fontsize=8)
    return figure


def transfer_matrices() -> Figure:
    """Mean amplification by source (row) and target (column) at every level, from results/transfer.csv."""
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.6), sharex=True, sharey=True)
    names = [method for method in METHODS if method != "zero-filled"]
    labels = [METHODS[method][0] for method in names]
    cells = {level: transfer_matrix(level) for level in LEVELS}
    top = max((spread.mean for matrix in cells.values() for spread in matrix.values()), default=1.0)
    for ax, (level, matrix) in zip(axes.flat, cells.items(), strict=True):
        values = np.array([[matrix[a, b].mean if (a, b) in matrix else np.nan for b in names] for a in names])
        drawn = ax.imshow(values, cmap="cividis", vmin=0, vmax=top)
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                spread = matrix[names[i], names[j]]
                color = "white" if value < 0.55 * top else "black"
                ax.text(
                    j, i, f"{spread.mean:.1f}\n± {spread.std:.1f}", ha="center", va="center", color=color, fontsize=9
                )
        ax.set(xticks=range(3), xticklabels=labels, yticks=range(3), yticklabels=labels)
        ax.set_title(f"{level:.1%} noise", fontsize=10)
        ax.spines[:].set_visible(False)
    figure.supylabel("perturbation made for")
    figure.supxlabel("reconstruction by")
    figure.colorbar(drawn, ax=list(axes.flat), label=r"amplification $\alpha$", shrink=0.7)
    return figure


def attack_steps(x: Tensor, attacks: dict[int, Attack], mu: tuple[int, int]) -> Figure:
    """The perturbation and the artifact around the target after some steps, and their size at every step."""
    half, n = len(x) // 32, len(x)
    row, column = (min(max(c, half), n - half) for c in mu)
    window = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
    figure = plt.figure(figsize=(WIDTH, 5.0))
    above, below = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    axes = above.subplots(2, len(attacks))
    for (top, bottom), (step, attack) in zip(axes.T, attacks.items(), strict=True):
        r, rho = attack.image_perturbation.real[window], attack.artifact.real[window]
        for ax, image, name, digits in ((top, r, "r", 2), (bottom, rho, r"\rho", 1)):
            limit = float(
                max(
                    a.artifact.abs().max() if ax is bottom else a.image_perturbation.abs().max()
                    for a in attacks.values()
                )
            )
            shown = ax.imshow(
                image, cmap="RdBu_r", norm=matplotlib.colors.SymLogNorm(0.05 * limit, vmin=-limit, vmax=limit)
            )
            _bare(ax, rf"$\|{name}\|_\infty$ = {float(image.abs().max()):.{digits}f}")
            if step == list(attacks)[-1]:
                whole = list(axes[int(ax is bottom)])  # from one panel, it would take that one's room
                above.colorbar(shown, ax=whole, fraction=0.012, ticks=(-limit, 0, limit), format="%.1f")
        top.set_title("the spike" if step == 0 else f"{step} step{'s' * (step > 1)}", fontsize=10)
    ax = below.subplots()
    objective, peak = next(reversed(attacks.values())).history
    ax.plot(objective, "o-", label=r"objective $\|\phi \odot \rho\|_2$")
    ax.plot(peak, "s-", color=COLORS[2], label=r"peak $\|\rho\|_\infty$")
    ax.set(xlabel="step", ylabel="seen by the ascent", ylim=(0, 1.15 * float(objective.max())))
    ax.legend(loc="lower right")
    return figure


def location_map(x: Tensor, grid: GridAttack) -> Figure:
    """The largest artifact that an attack at each location of the grid reaches, over the image; the selected one."""
    figure, ax = plt.subplots(figsize=(0.62 * WIDTH, 0.52 * WIDTH))
    ax.imshow(x, cmap="gray", vmin=0, vmax=2.5)  # dark, behind the squares
    side = len(x) / math.isqrt(len(grid.locations))
    rows, columns = grid.locations.T.numpy()
    known = ~grid.peaks.isnan().numpy()
    points = (figure.dpi_scale_trans.transform((1, 0))[0], 72 * 0.4 * 0.52 * WIDTH / len(x) * side)
    shown = ax.scatter(columns[known], rows[known], c=grid.peaks[known], s=points[1] ** 2, marker="s", cmap="viridis")
    ax.scatter(columns[~known], rows[~known], s=6, color="0.7")
    ax.scatter(
        *grid.mu.flip(0).tolist(), s=2.2 * points[1] ** 2, marker="s", facecolor="none", edgecolor=OVER, linewidth=2.5
    )
    _bare(ax, "")
    figure.colorbar(shown, label=r"$\|\rho\|_\infty$")
    return figure


def radii(rows: dict[str, Sequence[Attack]], sigmas: Sequence[float], clean: Tensor) -> Figure:
    """Reconstructions under attacks with disks of growing radius, one row for each way to find them."""
    figure, axes = plt.subplots(len(rows), len(sigmas), figsize=(WIDTH, 1.45 * WIDTH / len(sigmas) * len(rows)))
    for row, (name, attacks) in zip(axes, rows.items(), strict=True):
        for ax, attack in zip(row, attacks, strict=True):
            rho = attack.artifact
            peak, length = float(rho.abs().max()), float(torch.linalg.vector_norm(rho))
            show_image(ax, clean + rho, rf"$\|\rho\|_\infty$ = {peak:.2f}" + "\n" + rf"$\|\rho\|_2$ = {length:.1f}")
        row[0].set_ylabel(name)
    for ax, sigma in zip(axes[0], sigmas, strict=True):
        ax.set_title("the whole image" if sigma > len(clean) else rf"$\sigma$ = {sigma:g}", fontsize=10)
    return figure


def optimisers(attacks: dict[str, tuple[Attack, int]]) -> Figure:
    """Objective (6) against the solver iterations spent, forward and adjoint; the end converged."""
    figure, ax = plt.subplots(figsize=(0.75 * WIDTH, 3.2))
    for (name, (attack, iterations)), color in zip(attacks.items(), COLORS, strict=False):
        seen = attack.history[0]
        spent = 2 * iterations * np.arange(1, len(seen) + 1)
        ax.semilogx(spent, seen, "o-", markersize=3, color=color, label=name)
        ax.semilogx(spent[-1], float(attack.objective), "*", markersize=12, color=color)
    ax.semilogx([], [], "*", color="0.4", markersize=12, label="the result, converged")
    ax.set(xlabel="solver iterations, forward and adjoint", ylabel=r"objective $\|\phi \odot \rho\|_2$", ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def attack_iterations() -> Figure:
    """The objective that the ascent reaches, against the solver iterations behind a gradient, and their threshold."""
    rows = read_rows(RESULTS / "attack_iterations.csv")
    cases = sorted({(int(row["lines"]), float(row["noise_rel"])) for row in rows})
    weights = sorted({row["weight"] for row in rows}, key=float)
    kinds = {
        ("0", weights[0]): ("averaged steps", "o-"),
        ("1", weights[0]): ("averaged, implicit gradient", "s:"),
        ("0", weights[-1]): ("whole steps", "x--"),
    }
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    for case, color in zip(cases, COLORS, strict=False):
        mine = [row for row in rows if (int(row["lines"]), float(row["noise_rel"])) == case]
        best = max(float(row["objective"]) for row in mine)
        standard = next(row["threshold"] for row in mine if row["iterations"] == "40")
        for (implicit, weight), (_, style) in kinds.items():
            chosen = [row for row in mine if (row["implicit"], row["weight"]) == (implicit, weight)]
            for ax, key, points in (
                (axes[0], "iterations", [row for row in chosen if row["threshold"] == standard]),
                (axes[1], "threshold", [row for row in chosen if int(row["iterations"]) == ITERATIONS]),
            ):
                points = sorted(points, key=lambda row: float(row[key]))
                values = zip(*((float(row[key]), float(row["objective"]) / best) for row in points), strict=True)
                ax.semilogx(*values, style, color=color, markersize=4)
    for case, color in zip(cases, COLORS, strict=False):
        axes[0].plot([], [], color=color, label=f"{case[0]} lines, {case[1]:.1%}")
    for name, style in kinds.values():
        axes[1].plot([], [], style, color="0.5", markersize=4, label=name)
    axes[0].set(
        xlabel="solver iterations behind a gradient", ylabel="objective, relative to the best", ylim=(0.3, None)
    )
    axes[1].set(xlabel=r"threshold, over the spike's height $\eta n/\sqrt{m}$")
    for ax in axes:
        ax.legend(fontsize=8, loc="lower center")
    return figure


def attack_optimum() -> Figure:
    """Objective (6) of the spike, of our attack and of long searches, over the best of all."""
    rows = read_rows(RESULTS / "attack_optimum.csv")
    kinds = {
        "objective_spike": ("the spike", "v"),
        "objective_median_real": ("long searches, median", "|"),
        "objective_best_real": ("long searches, best", "s"),
        "objective_best_complex": ("long searches, complex, best", "D"),
        "objective": ("our attack", "o"),
    }
    figure, ax = plt.subplots(figsize=(WIDTH, 0.35 * len(rows) + 0.9))
    for (key, (label, marker)), color in zip(kinds.items(), COLORS[::-1][1:], strict=True):
        best = [max(float(row[k]) for k in kinds) for row in rows]
        ax.plot(
            [float(row[key]) / b for row, b in zip(rows, best, strict=True)],
            range(len(rows)),
            marker,
            color=color,
            label=label,
        )
    names = [f"{row['lines']} lines, {float(row['noise_rel']):.1%}, ({row['row']}, {row['column']})" for row in rows]
    ax.set(
        yticks=range(len(rows)),
        yticklabels=names,
        xlabel=r"objective $\|\phi \odot \rho\|_2$, relative to the best known",
    )
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def attack_strength() -> Figure:
    """Our attack beside the authors' optimiser, and the grid with and without screening, from bench_attack.csv."""
    rows = read_rows(RESULTS / "bench_attack.csv")
    groups = sorted({(int(row["lines"]), float(row["noise_rel"])) for row in rows})
    at = np.array([groups.index((int(row["lines"]), float(row["noise_rel"]))) for row in rows])
    panels = (
        ("objective, over that of\nthe authors' optimiser", {"ratio_mean": "mean", "ratio_smallest": "smallest"}),
        ("seconds for a location", {"seconds": "ours", "seconds_adam": "the authors'"}),
        ("seconds for 64 locations", {"grid_seconds": "all", "screened_seconds": "eight, screened"}),
    )
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.6), sharey=True)
    for ax, (label, columns) in zip(axes, panels, strict=True):
        for (column, name), marker, color in zip(columns.items(), "os", (COLORS[0], COLORS[1]), strict=True):
            values = [float(row[column]) for row in rows]
            ax.plot(values, at, marker, color=color, markersize=4, alpha=0.7, label=name)
        ax.set(xlabel=label, yticks=range(len(groups)))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, columnspacing=1, handletextpad=0.2)
    axes[0].axvline(1, color="0.6", linewidth=1, zorder=0)
    axes[0].set_yticklabels([f"{lines} lines, {100 * level:g} %" for lines, level in groups])
    axes[0].invert_yaxis()
    axes[1].set(xscale="log")
    # room for the labels of the ticks: less than two decades, and minor ticks have some, too, over one another
    for ax, low, high in ((axes[0], 0.97, 1.5), (axes[1], 0.01, 2)):
        left, right = ax.get_xlim()
        ax.set_xlim(min(left, low), max(right, high))
    axes[2].set_xlim(left=0)
    return figure


def _attacked(noise_rel: float = 0.04) -> Figure:
    x, op = _example()
    y = op.A(x)
    rec = fast_tv(op, calibrated_lambda(noise_rel, 40), noise_rel * torch.linalg.vector_norm(y))
    grid = grid_attack(rec, y, op, noise_rel, screen=8)
    return artifact(x, grid.best, (int(grid.mu[0]), int(grid.mu[1])), unperturbed(rec, y)[0] + grid.best.artifact)


def forced_spike(rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """For each (name, x, x + r, reconstruction of y + e): the three signals, position 0 in the middle."""
    figure, axes = plt.subplots(len(rows), 3, figsize=(WIDTH, 1.75 * len(rows)), sharex=True, sharey="row")
    for line, (name, *signals) in zip(np.atleast_2d(axes), rows, strict=True):
        n = len(signals[0])
        for ax, signal, color in zip(line, signals, (COLORS[0], COLORS[4], COLORS[1]), strict=True):
            ax.plot(np.arange(-n // 2, n // 2), np.roll(signal.real, n // 2), color=color, linewidth=1)
            ax.axvline(0, color="0.85", linewidth=1, zorder=0)
        line[0].set_ylabel(name)
    labels = ("signal $x$", "with the perturbation, $x + r$", "recovered from $y + e$")
    for ax, label in zip(np.atleast_2d(axes)[-1], labels, strict=True):
        ax.set_xlabel(label)
    return figure


def growth() -> Figure:
    """Amplification and the margin of the proofs against n, from results/theory_growth.csv."""
    rows = read_rows(RESULTS / "theory_growth.csv")
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.5, 1))
    names = {"l1": (r"$\ell^1$", COLORS[0], "o"), "tv": ("TV", COLORS[2], "s")}
    for problem, (name, color, marker) in names.items():
        mine = [row for row in rows if row["problem"] == problem and row["certified"] == "True"]
        sizes = sorted({int(row["log2_n"]) for row in mine})
        n = 2.0 ** np.array(sizes)
        m = np.array([next(int(row["m"]) for row in mine if int(row["log2_n"]) == size) for size in sizes])
        for power, key, style in ((1, "linf", "-"), (0.5, "l2", "--")):
            left.loglog(n, (n / m) ** power, style, color=color, linewidth=1)
            for solved in (True, False):
                points = [row for row in mine if bool(row["solved_linf"]) == solved]
                left.loglog(
                    [2 ** int(row["log2_n"]) for row in points],
                    [float(row[f"solved_{key}" if solved else key]) for row in points],
                    marker,
                    color=color,
                    markersize=4,
                    markerfacecolor=color if solved else "white",
                )
        margin = [[float(row["margin"]) for row in mine if int(row["log2_n"]) == size] for size in sizes]
        right.plot(sizes, [np.median(values) for values in margin], marker + "-", color=color, markersize=4, label=name)
        low, high = [min(values) for values in margin], [max(values) for values in margin]
        right.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
        left.plot([], [], marker, color=color, markersize=4, label=f"{name}, solved")
        left.plot([], [], marker, color=color, markersize=4, markerfacecolor="white", label=f"{name}, certified")
    left.plot([], [], "-", color="0.5", linewidth=1, label=r"$n/m$: $\ell^\infty$")
    left.plot([], [], "--", color="0.5", linewidth=1, label=r"$\sqrt{n/m}$: $\ell^2$")
    left.set(xlabel="length $n$", ylabel="amplification")
    left.set_xscale("log", base=2)
    left.legend(fontsize=8)
    right.set(xlabel=r"$\log_2 n$", ylabel="margin of the certificate", ylim=(0, None))
    right.legend(fontsize=8)
    return figure


def _transitions(signal: str, order: str = "uniform") -> dict[tuple[int, int], np.ndarray]:
    rows = read_rows(RESULTS / "theory_transition.csv")
    mine = [row for row in rows if row["signal"] == signal and row["order"] == order]
    return {(int(row["n"]), int(row["s"])): np.array(row["first_m"].split(), int) for row in mine}


def phase(n: int = 256) -> Figure:
    """Probability of recovery over sparsity and measurements, from results/theory_transition.csv."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    for ax, signal, label in zip(axes, ("spikes", "steps"), ("non-zero entries", "jumps"), strict=True):
        cells = {s: first for (size, s), first in _transitions(signal).items() if size == n}
        sparsities, m = sorted(cells), np.arange(1, n + 1)
        share = np.array([[(cells[s] <= k).mean() for s in sparsities] for k in m])
        drawn = ax.pcolormesh(np.arange(len(sparsities)), m, share, cmap="cividis", vmin=0, vmax=1, shading="nearest")
        for probability, style in ((0.5, "-"), (0.95, "--")):
            values = [quantile(cells[s], probability)[0] for s in sparsities]
            ax.plot(values, "w" + style, linewidth=1, label=f"{probability:.0%}")
        ax.plot([s * math.log(n) for s in sparsities], ":", color=COLORS[1], linewidth=1.5, label=r"$s \log n$")
        ax.set(xticks=range(len(sparsities)), xticklabels=sparsities, xlabel=f"$s$, {label}", yscale="log", ylim=(3, n))
        ax.set_yticks([4, 8, 16, 32, 64, 128, 256], [4, 8, 16, 32, 64, 128, 256])
        ax.minorticks_off()
    axes[0].set_ylabel(f"measurements $m$, of {n}")
    legend = axes[0].legend(loc="lower right", fontsize=8, frameon=True, facecolor="0.35", edgecolor="none")
    for text in legend.get_texts():
        text.set_color("white")
    figure.colorbar(drawn, ax=list(axes), label="probability of recovery", shrink=0.9)
    return figure


def constants(epsilon: float = 0.05) -> Figure:
    """C in m = C s log(n) log(1/epsilon) for each n and s, with 95 % confidence intervals."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), sharey=True)
    for ax, signal in zip(axes, ("spikes", "steps", "comb"), strict=True):
        cells = _transitions(signal)
        several = sorted({s for _, s in cells if len({n for n, other in cells if other == s}) > 1})
        for i, (s, color) in enumerate(zip(several, COLORS, strict=False)):
            n = np.array(sorted(size for size, other in cells if other == s))
            c, low, high = np.array([constant(int(size), s, cells[int(size), s], epsilon) for size in n]).T
            style = {"fmt": "o-", "color": color, "markersize": 4, "linewidth": 1}
            ax.errorbar(n * 1.06 ** (i - 1), c, (c - low, high - c), label=f"$s$ = {s}", **style)
        ax.set_xscale("log", base=2)
        ax.set(xlabel=f"length $n$, {signal}")
    axes[0].set(ylim=(0, None))
    axes[0].set_ylabel(f"$C$ for $\\varepsilon$ = {epsilon:g}")
    axes[0].legend(fontsize=8)
    return figure


def low_frequencies() -> Figure:
    """Probability of recovery against m, with and without a spike, for two laws of sampling; n = 256, six jumps."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), sharey=True)
    for ax, signal in zip(axes, ("steps", "steps and spike"), strict=True):
        for order, label, color in (("uniform", "uniform", COLORS[0]), ("low", r"$\propto 1/|k|$", COLORS[1])):
            first = _transitions(signal, order)[256, 6]
            m = np.arange(1, 71)
            ax.plot(m, [(first <= k).mean() for k in m], color=color, label=label)
        ax.set(xlabel=f"measurements $m$, {signal}")
    axes[0].set_ylabel("probability of recovery")
    axes[0].legend(title="sampling")
    return figure


def constant_measurements(rows: Sequence[tuple[str, int, int, float, bool]]) -> Figure:
    """For (theorem, n, m, distance of the dual polynomial from 1, proved): amplification n/m and that distance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0))
    for name, color, marker in zip(dict.fromkeys(row[0] for row in rows), COLORS[:3:2], "os", strict=False):
        mine = [row[1:] for row in rows if row[0] == name]
        n, m, distance, proved = (np.array(column) for column in zip(*mine, strict=True))
        left.loglog(n, n / m, marker + "-", color=color, markersize=4, linewidth=1, label=f"{name}, $m$ = {m[0]}")
        right.loglog(n[proved], distance[proved], marker + "-", color=color, markersize=4, linewidth=1)
        right.loglog(n[~proved], distance[~proved], marker, color=color, markersize=5, markerfacecolor="white")
    right.plot([], [], "o", color="0.5", markerfacecolor="white", label="not certified")
    left.set(xlabel="length $n$", ylabel=r"amplification $\alpha_n = n/m$")
    right.set(xlabel="length $n$", ylabel="margin: distance from 1")
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.legend(fontsize=8)
    return figure


def artifacts(rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], reach: int = 60) -> Figure:
    """For each (name, artifact, r, artifact found): the three around position 0."""
    figure, axes = plt.subplots(1, len(rows), figsize=(WIDTH, 2.5), sharey=True)
    j = np.arange(-reach, reach)
    for ax, (name, wanted, r, found) in zip(np.atleast_1d(axes), rows, strict=True):
        ax.plot(j, wanted[j].real, color="0.75", linewidth=4, label=r"wanted $\rho_n$")
        ax.plot(j, found[j].real, color=COLORS[1], linewidth=1.2, label="found")
        ax.plot(j, r[j].real, color=COLORS[0], linewidth=1, label="perturbation $r_n$")
        ax.set(xlabel=name)
    axes[0].legend(fontsize=7, loc="lower left")
    return figure


def subsampling() -> Figure:
    """Amplification of a spike and of attacks against n^2/m, from results/theory_masks.csv."""
    rows = read_rows(RESULTS / "theory_masks.csv")
    factor = np.array([float(row["subsampling"]) for row in rows])
    figure, ax = plt.subplots(figsize=(0.65 * WIDTH, 3.6))
    for key, color, marker in (("spike", COLORS[0], "o"), ("attack", COLORS[1], "^")):
        values = [float(row[key]) for row in rows]
        ax.loglog(factor, values, marker, color=color, markersize=5, alpha=0.7, label=key)
    ends = np.array([factor.min(), factor.max()])
    ax.loglog(ends, ends, color="0.5", linewidth=1, zorder=0, label=r"$n^2/m$")
    for lines in sorted({int(row["lines"]) for row in rows})[::3]:
        x, y = max((float(row["subsampling"]), float(row["spike"])) for row in rows if int(row["lines"]) == lines)
        ax.annotate(f"{lines} lines", (x, y), xytext=(6, -10), textcoords="offset points", fontsize=8, color="0.4")
    ticks = [1, 2, 5, 10, 20]
    ax.set(xlabel=r"subsampling factor $n^2/m$", ylabel=r"amplification $\alpha$", ylim=(1.2, None))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.FixedLocator(ticks))
        axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    ax.legend()
    return figure


def curves(points: Sequence[tuple[float, float, object]], x: str, y: str, group: str = "") -> Figure:
    """Mean of y at each x, the standard deviation as a band, a curve for each value of the group; (x, y, group)."""
    figure, ax = plt.subplots(figsize=(0.75 * WIDTH, 3.6))
    for value, color in zip(dict.fromkeys(point[2] for point in points), itertools.cycle(COLORS)):
        mine = [(float(a), float(b)) for a, b, other in points if other == value]
        at = sorted({a for a, _ in mine})
        mean, spread = (np.array([f([b for a, b in mine if a == c]) for c in at]) for f in (np.mean, np.std))
        ax.plot(at, mean, "o-", color=color, markersize=4, label=f"{group} = {value}" if group else None)
        ax.fill_between(at, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel=x, ylabel=y)
    if group:
        ax.legend(fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure (PNG) in one step and close it; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    write_bytes(path, buffer.getvalue())


def _example() -> tuple[Tensor, MaskedFourier]:
    return ellipses(1, **EXAMPLE)[0], MaskedFourier(radial_mask(256, 40))


def _outcome(image: int = 0, **fields: object) -> Outcome:
    cell = Configuration(images=(image,), **fields)
    return attack_image(cell, image, selected(cell, image))


NAMED: dict[str, Callable[[], Figure]] = {
    "1": lambda: noise_and_feature(_example()[0], noise_rel=0.04, mu=(112, 128), radius=4, seed=1),
    "2": lambda: undersampling(*_example()),
    "3": _attacked,
    "4": lambda: attacked_levels({level: _outcome(noise_rel=level) for level in (0.005, 0.01, 0.04, 0.08)}),
    "5": lambda: attacked(_outcome(method="tira")),
    "6": lambda: transfers(transferred(Configuration("tira"), 0), "tira"),
    "7": lambda: transfers(transferred(Configuration("tv"), 0), "tv"),
    "amplification": amplification,
    "attack-iterations": attack_iterations,
    "attack-optimum": attack_optimum,
    "attack-strength": attack_strength,
    "constant": constants,
    "cover": lambda: spike(*_example(), lines=40, noise_rel=0.01, mu=(60, 60)),
    "explorer-transfer": explorer_transfer,
    "growth": growth,
    "lambda": lambda_curves,
    "networks-amplification": networks_amplification,
    "networks-error": networks_error,
    "peers": peers,
    "phase": phase,
    "radius": radius,
    "scaling": scaling,
    "subsampling": subsampling,
    "tolerance": tolerance,
    "training": training,
    "transfer": transfer_matrices,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.figures",
        description="Rebuild figures into results/figures/.",
        epilog="example: python -m lib.figures 2 cover",
    )
    parser.add_argument("name", nargs="+", choices=list(NAMED), help="which figure")
    use_style()
    names = parser.parse_args(arguments).name
    for name in tqdm(names, unit="figure", disable=len(names) == 1):
        path = FIGURES / f"{'fig-' if name.isdigit() else ''}{name}.png"
        save(NAMED[name](), path)
        tqdm.write(str(path.relative_to(RESULTS.parent)))


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()
