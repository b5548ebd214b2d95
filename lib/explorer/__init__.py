"""The interactive views: with a kernel, widgets; in the static page, the same script without one."""

from lib.explorer.chapters import AttackView, NetworksView, ReconstructionView, TheoryView
from lib.explorer.explorer import Explorer, page_lambda
from lib.explorer.images import IMAGES, read_image
from lib.explorer.transfer import TransferView

__all__ = [
    "IMAGES",
    "AttackView",
    "Explorer",
    "NetworksView",
    "ReconstructionView",
    "TheoryView",
    "TransferView",
    "page_lambda",
    "read_image",
]
