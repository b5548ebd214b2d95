"""Figures of the page on solver and attack, from the tables of the benchmarks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas
from matplotlib.figure import Figure

from lib.attack import ITERATIONS
from lib.figures.style import COLORS, WIDTH, legend_beside, ticks


def tolerance(table: pandas.DataFrame) -> Figure:
    """Worst pixel error against the tolerance asked for, from tolerance.csv."""
    figure, ax = plt.subplots(figsize=(0.7 * WIDTH, 3.4))
    for (lines, mask), color in zip(table.groupby("lines"), COLORS, strict=False):
        for (level, rows), marker in zip(mask.groupby("noise_rel"), "o^s", strict=True):
            label = f"{lines} lines, {level:.1%} noise"
            ax.loglog(rows.tol, rows.worst_pixel_error, marker, color=color, markersize=5, label=label)
    ends = table.tol.agg(["min", "max"])
    ax.loglog(ends, ends, color="0.6", linewidth=1, zorder=0, label="equal")
    ax.set(xlabel="tolerance: relative duality gap", ylabel="error of the worst pixel")
    legend_beside(ax, fontsize=8)
    return figure


def peers(table: pandas.DataFrame) -> Figure:
    """Time to each accuracy for each program, at its defaults and tuned, from bench_tv.csv."""
    kind = table.settings.where(table.settings == "default", "tuned")
    program = table.method.where(table.method == "lib.tv", table.method + ", " + kind)
    best = table[table.reached].groupby([program, "accuracy"]).seconds.min().unstack()
    best = best.loc[sorted(best.index, key=lambda name: (name != "lib.tv", name))]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(best) + 1))
    for i, (accuracy, color) in enumerate(zip(sorted(best, reverse=True), COLORS, strict=False)):
        reached = best[accuracy].notna().to_numpy()
        at = np.flatnonzero(reached) + 0.25 * (i - 1)
        ax.barh(at, best[accuracy][reached], height=0.22, color=color, label=f"worst pixel within {accuracy:g}")
    ax.set(xscale="log", xlabel="seconds", yticks=range(len(best)), yticklabels=best.index)
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, fontsize=9)
    return figure


def scaling(table: pandas.DataFrame) -> Figure:
    """Time of one image against n, and of one iteration against a pair of transforms, from bench_tv_scaling.csv."""
    single, batches = table[table.batch == 1], table[table.n == 256].sort_values("batch")
    n, law = single.n, single.n**2 * np.log(single.n)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    left.loglog(n, single.image_ms, "o-", label="one image")
    left.loglog(n, single.iteration_ms, "s-", color=COLORS[2], label="one iteration")
    left.loglog(n, single.fft_pair_ms, "^:", color=COLORS[3], label="a pair of FFTs")
    for values in (single.image_ms, single.iteration_ms):
        left.loglog(n, law * values.iloc[1] / law.iloc[1], "--", color="0.6", linewidth=1, zorder=0)
    left.plot([], [], "--", color="0.6", linewidth=1, label=r"$n^2 \log n$")
    left.set(xlabel="side $n$", ylabel="milliseconds")
    left.set_ylim(top=30 * single.image_ms.max())  # room for the legend
    left.legend(fontsize=8)
    ratio = single.iteration_over_fft_pair
    middle.semilogx(n, ratio, "o-")
    middle.set(xlabel="side $n$", ylabel="iteration / pair of FFTs", ylim=(0, 1.1 * ratio.max()))
    right.semilogx(batches.batch, batches.image_ms, "o-")
    right.set(xlabel="batch, $n$ = 256", ylabel="ms for one image", ylim=(0, 1.1 * batches.image_ms.max()))
    for ax, values in ((left, n), (middle, n), (right, batches.batch)):
        ticks(ax, values)
    return figure


def gpu(table: pandas.DataFrame) -> Figure:
    """Images and locations a second on a GPU and on the CPU beside it, from gpu_speed.csv."""
    name, side = table.gpu.iloc[-1], table.n.min()
    rows = table[(table.gpu == name) & (table.n == side)]
    places = rows.device.where(rows.device == "cuda", "CPU, " + rows.threads.astype(str) + " threads")
    places = places.replace({"cuda": name, "CPU, 1 threads": "CPU, one thread"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3), width_ratios=(3, 2))
    solved, attacked = (rows[rows.task == task].assign(place=places) for task in ("tv", "attack"))
    colors = dict(zip(dict.fromkeys(places), COLORS, strict=False))
    for place, found in solved.groupby("place", sort=False):
        left.loglog(found.batch, found.per_second, "o-", color=colors[place], label=place)
    left.set(xlabel="images in a batch", ylabel="reconstructions a second")
    ticks(left, sorted(set(solved.batch)))
    left.legend(fontsize=8)
    right.barh(attacked.place, attacked.per_second, color=attacked.place.map(colors))
    right.set(xlabel="attacked locations a second")
    right.invert_yaxis()
    return figure


def attack_iterations(table: pandas.DataFrame) -> Figure:
    """What the ascent reaches against iterations behind a gradient and threshold, from attack_iterations.csv."""
    kinds = {table.weight.min(): ("averaged steps", "o-"), table.weight.max(): ("whole steps", "x--")}
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    for ((lines, level), case), color in zip(table.groupby(["lines", "noise_rel"]), COLORS, strict=False):
        standard = case.threshold[case.iterations == 40].iloc[0]
        for weight, (_, style) in kinds.items():
            chosen = case[case.weight == weight]
            for ax, key, points in (
                (axes[0], "iterations", chosen[chosen.threshold == standard]),
                (axes[1], "threshold", chosen[chosen.iterations == ITERATIONS]),
            ):
                points = points.sort_values(key)
                ax.semilogx(points[key], points.objective / case.objective.max(), style, color=color, markersize=4)
        axes[0].plot([], [], color=color, label=f"{lines} lines, {level:.1%}")
    for name, style in kinds.values():
        axes[1].plot([], [], style, color="0.5", markersize=4, label=name)
    axes[0].set(xlabel="solver iterations behind a gradient", ylabel="objective, relative to the best")
    axes[0].set_ylim(bottom=0.3)
    axes[1].set(xlabel=r"threshold, over the spike's height $\eta n/\sqrt{m}$")
    for ax in axes:
        ax.legend(fontsize=8, loc="lower center")
    return figure


def attack_optimum(table: pandas.DataFrame) -> Figure:
    """Objective (6) of the spike, of our attack and of long searches, over the best of all, from attack_optimum.csv."""
    kinds = {
        "objective_spike": ("the spike", "v"),
        "objective_median_real": ("long searches, median", "|"),
        "objective_best_real": ("long searches, best", "s"),
        "objective_best_complex": ("long searches, complex, best", "D"),
        "objective": ("our attack", "o"),
    }
    figure, ax = plt.subplots(figsize=(WIDTH, 0.35 * len(table) + 0.9))
    best, rows = table[list(kinds)].max(axis=1), range(len(table))
    for (key, (label, marker)), color in zip(kinds.items(), COLORS[::-1][1:], strict=True):
        ax.plot(table[key] / best, rows, marker, color=color, label=label)
    places = table[["lines", "noise_rel", "row", "column"]].itertuples(index=False)
    names = [f"{lines} lines, {level:.1%}, ({row}, {column})" for lines, level, row, column in places]
    ax.set(yticks=rows, yticklabels=names, xlabel=r"objective $\|\phi \odot \rho\|_2$, relative to the best known")
    ax.invert_yaxis()
    legend_beside(ax, fontsize=8)
    return figure


def attack_strength(table: pandas.DataFrame) -> Figure:
    """Our attack beside the authors' optimiser, and the grid with and without screening, from bench_attack.csv."""
    groups = table.groupby(["lines", "noise_rel"])
    panels = (
        ("objective, over that of\nthe authors' optimiser", {"ratio_mean": "mean", "ratio_smallest": "smallest"}),
        ("seconds for a location", {"seconds": "ours", "seconds_adam": "the authors'"}),
        ("seconds for 64 locations", {"grid_seconds": "all", "screened_seconds": "eight, screened"}),
    )
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.6), sharey=True)
    for ax, (label, columns) in zip(axes, panels, strict=True):
        for (column, name), marker, color in zip(columns.items(), "os", COLORS[:2], strict=True):
            ax.plot(table[column], groups.ngroup(), marker, color=color, markersize=4, alpha=0.7, label=name)
        ax.set(xlabel=label, yticks=range(groups.ngroups))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, columnspacing=1, handletextpad=0.2)
    axes[0].axvline(1, color="0.6", linewidth=1, zorder=0)
    axes[0].set_yticklabels([f"{lines} lines, {100 * level:g} %" for lines, level in groups.groups])
    axes[0].invert_yaxis()
    axes[1].set(xscale="log")
    # room for the labels of the ticks: less than two decades, and minor ticks have some, too, over one another
    for ax, low, high in ((axes[0], 0.97, 1.5), (axes[1], 0.01, 2)):
        left, right = ax.get_xlim()
        ax.set_xlim(min(left, low), max(right, high))
    axes[2].set_xlim(left=0)
    return figure
