"""Figures of the chapter on the theory, Section 5."""

import math
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas
from matplotlib.figure import Figure

from lib.figures.style import COLORS, WIDTH, band
from lib.runs.theory import constant, quantile


def forced_spike(rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """For each (name, x, x + r, reconstruction of y + e): the three signals, position 0 in the middle."""
    figure, axes = plt.subplots(len(rows), 3, figsize=(WIDTH, 1.75 * len(rows)), sharex=True, sharey="row")
    for line, (name, *signals) in zip(axes, rows, strict=True):
        n = len(signals[0])
        for ax, signal, color in zip(line, signals, (COLORS[0], COLORS[4], COLORS[1]), strict=True):
            ax.plot(np.arange(-n // 2, n // 2), np.roll(signal.real, n // 2), color=color, linewidth=1)
            ax.axvline(0, color="0.85", linewidth=1, zorder=0)
        line[0].set_ylabel(name)
    for ax, label in zip(
        axes[-1], ("signal $x$", "with the perturbation, $x + r$", "recovered from $y + e$"), strict=True
    ):
        ax.set_xlabel(label)
    return figure


def growth(table: pandas.DataFrame) -> Figure:
    """Amplification and the margin of the proofs against n, from theory_growth.csv."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.5, 1))
    for problem, name, color, marker in (("l1", r"$\ell^1$", COLORS[0], "o"), ("tv", "TV", COLORS[2], "s")):
        mine = table[(table.problem == problem) & table.certified]
        m = mine.groupby("log2_n").m.first()
        solved = mine.solved_linf.notna()
        n, factor = 2.0**m.index, 2.0**m.index / m
        for law, key, style in ((factor, "linf", "-"), (factor**0.5, "l2", "--")):
            left.loglog(n, law, style, color=color, linewidth=1)
            for rows, column, face in ((mine[solved], f"solved_{key}", color), (mine[~solved], key, "white")):
                points = {"color": color, "markersize": 4, "markerfacecolor": face}
                left.loglog(2.0**rows.log2_n, rows[column], marker, **points)
        margin = mine.groupby("log2_n").margin.agg(["min", "median", "max"])
        right.plot(margin.index, margin["median"], marker + "-", color=color, markersize=4, label=name)
        band(right, margin.index, margin["min"], margin["max"], color)
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


def first_recoveries(table: pandas.DataFrame) -> pandas.Series:
    """For each signal, order, n and s of theory_transition.csv the measurements that each trial needed."""
    cells = table.set_index(["signal", "order", "n", "s"]).first_m.sort_index()
    return cells.map(lambda text: np.array(text.split(), int))


def phase(first: pandas.Series, n: int = 256) -> Figure:
    """Probability of recovery over sparsity and measurements, from `first_recoveries`."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    for ax, signal, label in zip(axes, ("spikes", "steps"), ("non-zero entries", "jumps"), strict=True):
        cells, m = first[signal, "uniform", n], np.arange(1, n + 1)
        share = np.array([(trials <= m[:, None]).mean(1) for trials in cells]).T
        place = np.arange(len(cells))
        drawn = ax.pcolormesh(place, m, share, cmap="cividis", vmin=0, vmax=1, shading="nearest")
        for probability, style in ((0.5, "-"), (0.95, "--")):
            values = [quantile(trials, probability)[0] for trials in cells]
            ax.plot(values, "w" + style, linewidth=1, label=f"{probability:.0%}")
        ax.plot(cells.index * math.log(n), ":", color=COLORS[1], linewidth=1.5, label=r"$s \log n$")
        ax.set(xticks=place, xticklabels=cells.index, xlabel=f"$s$, {label}", yscale="log", ylim=(3, n))
        ax.set_yticks([4, 8, 16, 32, 64, 128, 256], [4, 8, 16, 32, 64, 128, 256])
        ax.minorticks_off()
    axes[0].set_ylabel(f"measurements $m$, of {n}")
    axes[0].legend(loc="lower right", fontsize=8, frameon=True, facecolor="0.35", edgecolor="none", labelcolor="white")
    figure.colorbar(drawn, ax=list(axes), label="probability of recovery", shrink=0.9)
    return figure


def constants(first: pandas.Series, epsilon: float = 0.05) -> Figure:
    """C in m = C s log(n) log(1/epsilon) for each n and s, with 95 % confidence intervals."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), sharey=True)
    for ax, signal in zip(axes, ("spikes", "steps", "comb"), strict=True):
        sparsities = [(s, cells) for s, cells in first[signal, "uniform"].groupby("s") if len(cells) > 1]
        for i, ((s, cells), color) in enumerate(zip(sparsities, COLORS, strict=False)):
            n = cells.index.get_level_values("n").to_numpy()
            c, low, high = np.array([constant(int(size), s, cells[size, s], epsilon) for size in n]).T
            style = {"fmt": "o-", "color": color, "markersize": 4, "linewidth": 1}
            ax.errorbar(n * 1.06 ** (i - 1), c, (c - low, high - c), label=f"$s$ = {s}", **style)
        ax.set_xscale("log", base=2)
        ax.set(xlabel=f"length $n$, {signal}")
    axes[0].set(ylabel=f"$C$ for $\\varepsilon$ = {epsilon:g}", ylim=(0, None))
    axes[0].legend(fontsize=8)
    return figure


def low_frequencies(first: pandas.Series) -> Figure:
    """Probability of recovery against m, with and without a spike, for two laws of sampling; n = 256, six jumps."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), sharey=True)
    m = np.arange(1, 71)
    for ax, signal in zip(axes, ("steps", "steps and spike"), strict=True):
        for order, label, color in (("uniform", "uniform", COLORS[0]), ("low", r"$\propto 1/|k|$", COLORS[1])):
            ax.plot(m, (first[signal, order, 256, 6] <= m[:, None]).mean(1), color=color, label=label)
        ax.set(xlabel=f"measurements $m$, {signal}")
    axes[0].set_ylabel("probability of recovery")
    axes[0].legend(title="sampling")
    return figure


def constant_measurements(table: pandas.DataFrame) -> Figure:
    """Amplification n/m and the margin of the dual polynomial; columns theorem, n, m, margin, proved."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0))
    for (name, rows), color, marker in zip(table.groupby("theorem", sort=False), COLORS[:3:2], "os", strict=False):
        line = {"color": color, "markersize": 4, "linewidth": 1}
        left.loglog(rows.n, rows.n / rows.m, marker + "-", label=f"{name}, $m$ = {rows.m.iloc[0]}", **line)
        proved, open_ = rows[rows.proved], rows[~rows.proved]
        right.loglog(proved.n, proved.margin, marker + "-", **line)
        right.loglog(open_.n, open_.margin, marker, color=color, markersize=5, markerfacecolor="white")
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
    for ax, (name, wanted, r, found) in zip(axes, rows, strict=True):
        ax.plot(j, wanted[j].real, color="0.75", linewidth=4, label=r"wanted $\rho_n$")
        ax.plot(j, found[j].real, color=COLORS[1], linewidth=1.2, label="found")
        ax.plot(j, r[j].real, color=COLORS[0], linewidth=1, label="perturbation $r_n$")
        ax.set(xlabel=name)
    axes[0].legend(fontsize=7, loc="lower left")
    return figure


def subsampling(table: pandas.DataFrame) -> Figure:
    """Amplification of a spike and of attacks against n^2/m, from theory_masks.csv."""
    figure, ax = plt.subplots(figsize=(0.65 * WIDTH, 3.6))
    for key, color, marker in (("spike", COLORS[0], "o"), ("attack", COLORS[1], "^")):
        ax.loglog(table.subsampling, table[key], marker, color=color, markersize=5, alpha=0.7, label=key)
    ends = table.subsampling.agg(["min", "max"])
    ax.loglog(ends, ends, color="0.5", linewidth=1, zorder=0, label=r"$n^2/m$")
    highest = table.groupby("lines")[["subsampling", "spike"]].max()  # all images of a mask have one subsampling
    for lines, x, y in highest[::3].itertuples():
        ax.annotate(f"{lines} lines", (x, y), xytext=(6, -10), textcoords="offset points", fontsize=8, color="0.4")
    ax.set(xlabel=r"subsampling factor $n^2/m$", ylabel=r"amplification $\alpha$", ylim=(1.2, None))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.FixedLocator([1, 2, 5, 10, 20]))
        axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    ax.legend()
    return figure
