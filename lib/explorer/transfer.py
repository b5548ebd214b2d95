"""The view of transfer: a perturbation made for one method, and what each method reconstructs; from frames."""

from __future__ import annotations

from collections.abc import Mapping

import traitlets

from lib import checks
from lib.explorer.chapters import View
from lib.runs import transfer
from lib.runs.attacks import Configuration, Outcome
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.transfer_frames import IMAGES


class TransferView(View):
    """Transfer: a perturbation made for one method, shown to another, with the amplification of every pair.

    Parameters
    ----------
    attacked : the method for which the perturbation is made, "tv", "tira" or "tirafl".
    shown : the method that reconstructs, of the same.
    noise_rel : size of the perturbation, one of the levels of Table 1.
    image : number of the test image, 0 to 2.

    Each is a trait of the widget: to read, to set, to observe, to link.
    """

    attacked = traitlets.Enum(METHODS, "tv").tag(sync=True)
    shown = traitlets.Enum(METHODS, "tv").tag(sync=True)
    noise_rel = traitlets.Enum(LEVELS, 0.04).tag(sync=True)
    image = traitlets.Int(0, min=0, max=IMAGES - 1).tag(sync=True)
    about = "Perturbations made for one method, shown to another"

    def __init__(self, attacked: str = "tv", shown: str = "tv", noise_rel: float = 0.04, image: int = 0):
        where = "TransferView"
        checks.one_of(where, "attacked", attacked, METHODS), checks.one_of(where, "shown", shown, METHODS)
        if checks.number(where, "noise_rel", noise_rel, 0) not in LEVELS:
            raise ValueError(f"{where}: noise_rel must be one of {LEVELS}, got {noise_rel}")
        checks.integer(where, "image", image, 0, IMAGES - 1)
        values = {"attacked": attacked, "shown": shown, "noise_rel": noise_rel, "image": image}
        settings = {"levels": LEVELS, "images": IMAGES}
        super().__init__(chapter="transfer", settings=settings, names=list(values), **values)

    def outcomes(self) -> Mapping[str, Outcome]:
        """What all methods make of the perturbation, by `lib.runs.transfer`: seconds, or a minute if none is kept."""
        return transfer.shown(Configuration(self.attacked, noise_rel=self.noise_rel), self.image)
