"""The house style: white figures, quiet axes, and values beyond 1 in a colour that warns."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

OVER = "#d55e00"  # pixel values beyond 1, in every figure
FRAME = "#e69f00"  # of a close-up
COLORS = ("#0072b2", OVER, "#009e73", "#cc79a7", FRAME, "#56b4e9")  # Okabe and Ito, safe for colour-blind eyes
METHODS = {  # label and colour by the name in result files
    "zero-filled": ("zero-filled", "0.45"),
    "tv": ("TV", COLORS[0]),
    "tira": ("Tira", COLORS[1]),
    "tirafl": ("TiraFL", COLORS[2]),
}
WIDTH = 8.0  # inches; the width of the page


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


def save(figure: Figure, path: Path) -> None:
    """Write a figure (PNG) and close it; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def panels(count: int, height: float = 1.12) -> tuple[Figure, Sequence[Axes]]:
    """A row of square panels over the width of the page; ``height`` has room for labels, relative to a panel's side."""
    figure, axes = plt.subplots(1, count, figsize=(WIDTH, height * WIDTH / count))
    return figure, np.atleast_1d(axes)


def show_image(ax: Axes, image: Tensor, label: str = "", close_up: Sequence[int] | Tensor | None = None) -> None:
    """Draw the modulus of an image ``(n, n)`` in grey from 0 to 1, values beyond 1 in the warning colour.

    ``close_up`` is a pixel (row, column); n/10 pixels around it are shown enlarged in the opposite corner.
    """
    modulus, n = image.detach().abs().cpu().numpy(), image.shape[-1]
    grey = matplotlib.colormaps["gray"].with_extremes(over=OVER)
    ax.imshow(modulus, cmap=grey, vmin=0, vmax=1)
    bare(ax, label)
    if close_up is not None:
        half = n // 20
        row, column = (min(max(int(c), half), n - half) for c in close_up)
        inset = ax.inset_axes((0.55 if column < n / 2 else 0.02, 0.02 if row < n / 2 else 0.55, 0.43, 0.43))
        inset.imshow(modulus, cmap=grey, vmin=0, vmax=1)
        inset.set(xlim=(column - half - 0.5, column + half - 0.5), ylim=(row + half - 0.5, row - half - 0.5))
        inset.set(xticks=[], yticks=[])
        inset.spines[:].set(visible=True, color=FRAME, linewidth=1)
        for connector in ax.indicate_inset_zoom(inset, edgecolor=FRAME, alpha=1).connectors:
            connector.set_visible(False)


def show_mask(ax: Axes, mask: Tensor, label: str) -> None:
    """Draw a mask, retained frequencies in black."""
    ax.imshow(mask.numpy(), cmap="gray_r")
    bare(ax, label)
    ax.spines[:].set_visible(True)


def bare(ax: Axes, label: str = "") -> None:
    """Axes without ticks and frame."""
    ax.set(xticks=[], yticks=[], xlabel=label)
    ax.spines[:].set_visible(False)


def band(ax: Axes, x: Sequence[float], low: Sequence[float], high: Sequence[float], color: str) -> None:
    """A spread as a shade behind its curve."""
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def legend_beside(ax: Axes, **options: object) -> None:
    """The legend at the right of the axes."""
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), **options)


def ticks(ax: Axes, values: Sequence[float], **options: object) -> None:
    """These numbers as they are along a logarithmic x axis."""
    ax.set_xticks(values, [f"{value:g}" for value in values], **options)
    ax.minorticks_off()


def peak(name: str, image: Tensor, digits: int = 2) -> str:
    r"""The label :math:`\|r\|_\infty` = 0.12 for the name r."""
    return rf"$\|{name}\|_\infty$ = {float(image.abs().max()):.{digits}f}"
