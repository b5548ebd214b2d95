"""The interactive views: with a kernel, widgets; in the static page, the same controls without one."""

from lib.explorer.chapters import AttackView, ReconstructionView, TheoryView
from lib.explorer.images import IMAGES, read_image
from lib.explorer.live import Explorer, page_lambda
from lib.explorer.transfer import TransferView

__all__ = [
    "IMAGES",
    "AttackView",
    "Explorer",
    "ReconstructionView",
    "TheoryView",
    "TransferView",
    "page_lambda",
    "read_image",
]
