"""The explorer: with a kernel, widgets that recompute everything; in the static page, the sliders of the page."""

from lib.explorer.images import IMAGES, read_image
from lib.explorer.live import Explorer, page_lambda

__all__ = ["IMAGES", "Explorer", "page_lambda", "read_image"]
