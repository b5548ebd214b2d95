"""The figure of the explorer's chapter."""

import matplotlib.pyplot as plt
import pandas
from matplotlib.figure import Figure

from lib.figures.style import METHODS, WIDTH, band, legend_beside


def transfer(table: pandas.DataFrame) -> Figure:
    """Amplification factors of the frames: median and range over the locations, from explorer/frames.csv."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
    for ax, label, rows in (
        (axes[0], "perturbation made for TV", table[table.target == "tv"]),
        (axes[1], "made for the method itself", table[table.target == table.method]),
    ):
        for method in ("tv", "tira", "tirafl"):
            name, color = METHODS[method]
            levels = rows[rows.method == method].groupby("noise_rel").amplification.agg(["min", "median", "max"])
            ax.plot(100 * levels.index, levels["median"], "o-", color=color, markersize=4, label=name)
            band(ax, 100 * levels.index, levels["min"], levels["max"], color)
        ax.set(xlabel="noise, % of the measurements", title=label, ylim=(0, None))
    axes[0].set(ylabel=r"amplification factor $\alpha$")
    legend_beside(axes[1])
    return figure
