"""The house style, and a module for the figures of each chapter; ``python -m lib.figures NAME`` rebuilds one.

A figure function gets what it shows: tensors, or a table of results as a data frame with the columns of its CSV file.
"""

from lib.figures.style import show_image, use_style

__all__ = ["show_image", "use_style"]
