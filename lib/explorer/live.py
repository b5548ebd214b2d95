"""The live view of the explorer."""

from __future__ import annotations

import functools
import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import torch
from PIL import Image
from torch import Tensor

from lib import checks
from lib.attack import (
    Attack,
    Iterates,
    Objective,
    evaluate_perturbation,
    fast_tv,
    localized_attack,
    power_ascent,
    unperturbed,
)
from lib.explorer.features import disc, perturbation
from lib.explorer.images import IMAGES
from lib.explorer.pictures import GAP, Picture, side_by_side
from lib.networks import LINES, N, Reconstruction, load_network
from lib.operators import MaskedFourier, radial_mask
from lib.runs.calibration import NOISE
from lib.runs.frames import PRESET, TOL
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.section4 import LINES as MASKS
from lib.tv import TVReconstruction, calibrated_lambda

NOISE_RANGE = (0.001, NOISE[-1])
PAGE = """<div class="explorer" data-view="full">
<p>The explorer: it needs scripts or, in Jupyter, a run of this cell.</p>
</div>"""


def page_lambda(noise_rel: float, lines: int) -> float:
    r"""The regularization parameter of the live mode: `lib.tv.calibrated_lambda`, continued to lower noise.

    Below the calibrated range :math:`\log\lambda` goes on as between its two lowest levels, linear in the logarithm
    of the noise.

    Parameters
    ----------
    noise_rel : relative noise level, 0.001 to 0.2.
    lines : number of lines, 25 to 80.

    >>> page_lambda(0.04, 40) == calibrated_lambda(0.04, 40)
    True
    """
    low, next_ = LEVELS[:2]
    noise_rel = checks.number("page_lambda", "noise_rel", noise_rel, *NOISE_RANGE, least=True, most=True)
    if noise_rel >= low:
        return calibrated_lambda(noise_rel, lines)
    first, second = (math.log(calibrated_lambda(level, lines)) for level in (low, next_))
    return math.exp(first + (second - first) * math.log(noise_rel / low) / math.log(next_ / low))


@dataclass(frozen=True, eq=False)
class _Problem:
    """What the controls ask for; ``clean`` as from `lib.attack.unperturbed`."""

    op: MaskedFourier
    x: Tensor
    y: Tensor
    rec: TVReconstruction | Reconstruction
    clean: tuple[Tensor, Any]
    noise_rel: float
    mu: tuple[int, int]
    sigma: int

    @property
    def phi(self) -> Tensor:
        return disc(N, self.mu, self.sigma)


class Explorer:
    """The explorer: with a kernel, widgets that recompute everything; in the static page, the sliders of the page.

    The perturbation is that of a bump, and on request what `lib.attack.power_ascent` makes of it. ``attack`` is the
    last result, an `lib.attack.Attack`; ``controls`` holds the widgets by name; ``view`` is all of them together.

    Parameters
    ----------
    noise_rel : size of the perturbation relative to the measurements, 0.001 to 0.2.
    mu : target, row and column in an image of 256 x 256.
    sigma : radius of the bump and of the disk of objective (6), 0 to 15 pixels; 0 is a single pixel.
    lines : lines of the mask, 25 to 80; the networks know 40.
    image : a name of `IMAGES`.
    method : "tv", "tira" or "tirafl".
    """

    def __init__(
        self,
        noise_rel: float = 0.04,
        mu: Sequence[int] = (112, 80),
        sigma: int = 0,
        lines: int = LINES,
        image: str = "ellipses",
        method: str = "tv",
    ):
        where = "Explorer"
        noise_rel = checks.number(where, "noise_rel", noise_rel, *NOISE_RANGE, least=True, most=True)
        if not hasattr(mu, "__len__") or len(mu) != 2:
            raise ValueError(f"{where}: mu must be a row and a column, got {checks.shown(mu)}")
        mu = [checks.integer(where, f"mu[{i}]", mu[i], 0, N - 1) for i in range(2)]
        sigma = checks.integer(where, "sigma", sigma, 0, 15)
        lines = checks.integer(where, "lines", lines, MASKS[0], MASKS[-1])
        checks.one_of(where, "image", image, tuple(IMAGES)), checks.one_of(where, "method", method, METHODS)
        names = [("TV", "tv"), (f"Tira ({PRESET})", "tira"), (f"TiraFL ({PRESET})", "tirafl")]
        layout = {"style": {"description_width": "8em"}, "continuous_update": False}
        noise = {"min": -1, "max": math.log10(20), "step": 0.01, "readout_format": ".2g"}
        self.controls: dict[str, Any] = {
            "noise": ipywidgets.FloatLogSlider(100 * noise_rel, description="Noise level, %", **noise, **layout),
            "row": ipywidgets.IntSlider(mu[0], 0, N - 1, description="Target, row", **layout),
            "column": ipywidgets.IntSlider(mu[1], 0, N - 1, description="Target, column", **layout),
            "sigma": ipywidgets.IntSlider(sigma, 0, 15, description="Radius of the bump", **layout),
            "lines": ipywidgets.IntSlider(lines, MASKS[0], MASKS[-1], description="Lines of the mask", **layout),
            "image": ipywidgets.Dropdown(options=list(IMAGES), value=image, description="Image", style=layout["style"]),
            "method": ipywidgets.Dropdown(options=names, value=method, description="Method", style=layout["style"]),
        }
        self.picture, self.numbers = Picture(), ipywidgets.HTML()
        self.refine_button = ipywidgets.Button(description="Refine", tooltip="gradient ascent from this perturbation")
        self.progress = ipywidgets.IntProgress(0, 0, 1, layout={"visibility": "hidden"})
        for control in self.controls.values():
            control.observe(lambda _: self._answer(self.update), "value")
        self.picture.observe(lambda change: self._answer(self._clicked, *change["new"]), "clicked")
        self.refine_button.on_click(lambda _: self._answer(self.refine))
        rows = [*self.controls.values(), ipywidgets.HBox([self.refine_button, self.progress])]
        box = ipywidgets.Layout(display="flex", flex_flow="row wrap")
        self.view = ipywidgets.VBox([ipywidgets.Box(rows, layout=box), self.picture, self.numbers])
        self.attack: Attack
        self._quiet = False
        self.update()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return {**self.view._repr_mimebundle_(), "text/plain": "Explorer", "text/html": PAGE}

    def update(self) -> None:
        """Recompute for the controls as they are: rec(y) and rec(y + e) for the bump."""
        if self._quiet:
            return
        lines, is_tv = self.controls["lines"], self.controls["method"].value == "tv"
        if not is_tv and lines.value != LINES:
            self._set(lines=LINES)  # what the networks were trained for
        lines.disabled = not is_tv
        p = self._problem()
        e = perturbation(p.op, p.phi, p.noise_rel * torch.linalg.vector_norm(p.y))
        self._show(p, evaluate_perturbation(p.rec, p.y, p.op, e, p.phi, p.clean))

    def refine(self) -> None:
        """Maximise objective (6) by `lib.attack.power_ascent`, starting from the perturbation at hand."""
        p, steps = self._problem(), 6
        self.progress.max, self.progress.value, self.progress.layout.visibility = steps + 1, 0, "visible"
        self.refine_button.disabled = True  # clicks would queue up

        def optimiser(objective: Objective, start: Tensor, eta: Tensor) -> Iterates:
            def counted(e: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
                self.progress.value += 1
                return objective(e, state)

            return power_ascent(counted, start, eta, steps)

        options: dict[str, Any] = {"optimiser": optimiser, "start": self.attack.e, "clean": p.clean, "by_peak": True}
        try:
            attack = localized_attack(p.rec, p.y, p.op, p.noise_rel, p.phi, **options)
        finally:
            self.progress.layout.visibility, self.refine_button.disabled = "hidden", False
        self._show(p, attack)

    def _problem(self) -> _Problem:
        value = {name: control.value for name, control in self.controls.items()}
        noise_rel = min(value["noise"] / 100, NOISE[-1])  # the slider's end may be a bit more than 20 %
        op, x, y = _measured(value["image"], value["lines"])
        rec, clean = _method(value["method"], value["image"], value["lines"], noise_rel)
        return _Problem(op, x, y, rec, clean, noise_rel, (value["row"], value["column"]), value["sigma"])

    def _show(self, p: _Problem, attack: Attack) -> None:
        self.attack = attack
        r, rho = attack.image_perturbation, attack.artifact
        file = io.BytesIO()
        picture = side_by_side([p.x + r, p.clean[0], p.clean[0] + rho], p.mu)
        Image.fromarray(picture).save(file, "png", compress_level=1)
        values = float(r.abs().max()), float(rho.abs().max()), float(attack.amplification)
        text = "peak of r {:.3g}, peak of ρ {:.3g}, amplification α {:.3g}".format(*values)
        self.picture.alt = f"x + r, rec(y) and rec(y + e) at {100 * p.noise_rel:.2g} % noise: {text}"
        self.picture.png = file.getvalue()
        self.numbers.value = f"x + r, rec(y), rec(y + e): <b>{text}</b>. Click into a picture to move the target."

    def _answer(self, work: Callable[..., None], *values: int) -> None:
        """Do what a control asks for; Jupyter would hide an error, such as that weights are missing, in a log."""
        try:
            work(*values)
        except (OSError, ValueError, RuntimeError, FloatingPointError) as error:
            self.numbers.value = f"<b>{html.escape(str(error))}</b>"

    def _clicked(self, row: int, column: int) -> None:
        if column % (N + GAP) < N:
            self._set(row=min(row, N - 1), column=column % (N + GAP))
            self.update()

    def _set(self, **values: int) -> None:
        """Move several controls, as one change."""
        self._quiet = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
        finally:
            self._quiet = False


@functools.lru_cache(maxsize=8)
def _measured(image: str, lines: int) -> tuple[MaskedFourier, Tensor, Tensor]:
    op, x = MaskedFourier(radial_mask(N, lines), real=True), IMAGES[image]()
    return op, x, op.A(x)


@functools.lru_cache(maxsize=16)
def _method(
    method: str, image: str, lines: int, noise_rel: float
) -> tuple[TVReconstruction | Reconstruction, tuple[Tensor, Any]]:
    """The reconstruction and what it makes of the unperturbed measurements."""
    op, _, y = _measured(image, lines)
    rec: TVReconstruction | Reconstruction
    if method != "tv":
        rec = load_network(method, PRESET)
    else:
        rec = fast_tv(op, page_lambda(noise_rel, lines), noise_rel * torch.linalg.vector_norm(y), tol=TOL)
    return rec, unperturbed(rec, y)
