"""The explorer: with a kernel, widgets that recompute everything; in the static page, the sliders of the page."""

from lib.explorer.live import Explorer, bump_perturbation, page_lambda

__all__ = ["Explorer", "bump_perturbation", "page_lambda"]
