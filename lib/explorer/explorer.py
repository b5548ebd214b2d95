"""The explorer: frames that were computed before, and a live mode that solves in the page."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import traitlets
from torch import Tensor

from lib import checks
from lib.attack import (
    STEPS,
    Attack,
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    localized_attack,
    location_grid,
    power_ascent,
)
from lib.explorer import features
from lib.explorer.chapters import View, checked_mu, encoded, shown
from lib.explorer.images import IMAGES, smaller
from lib.networks import LINES, N, load_network
from lib.operators import MaskedFourier, radial_mask
from lib.runs.calibration import NOISE
from lib.runs.frames import COUNT, PRESET, SIGMA, TOL, decode
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.section4 import LINES as MASKS
from lib.tv import calibrated_lambda

NOISE_RANGE = (0.001, NOISE[-1])
FEATURES = ("attack", "spike", "disc", "bar", "letter", "erase", "paint")


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


class Explorer(View):
    """The explorer. It begins with a frame, where one has been computed for what is asked, else in the live mode.

    Parameters
    ----------
    noise_rel : size of the perturbation relative to the measurements, 0.001 to 0.2.
    mu : target, row and column, 0 to 255.
    lines : of the mask, 25 to 80; the networks know 40.
    image : a name of `IMAGES`, or a real ``(256, 256)`` tensor, which is shown in 256 grey values.
    feature : what the perturbation is made of: "attack", the ascent on objective (6), or the measurements of a feature
        of `lib.explorer.features`: "spike", "disc", "bar", "letter", "erase", "paint".
    size : of the feature, or the radius of the attack's disk, 0 to 15 pixels.
    methods : those whose frames are shown, of "tv", "tira", "tirafl"; with fewer than three there is no live mode.

    All but the last are traits of the widget, to read, to set, to observe, to link. A tensor is in ``picture``, the
    base64 of a picture file, and so is a picture that the reader has chosen. More traits: ``mode`` ("frames" or
    "live"), ``n`` (128 or 256 pixels), ``value`` and ``paint``, the grey value of the brush and what it has painted
    (see `lib.explorer.features.strokes`), ``made_for`` ("tv" or "networks"), ``step`` of the ascent (None: the best),
    ``steps``, after how many the one on Tira was stopped, and ``tira``, whether the live mode shows that network, too.
    """

    noise_rel = traitlets.Float(0.04, min=NOISE_RANGE[0], max=NOISE_RANGE[1]).tag(sync=True)
    mu = traitlets.List(traitlets.Int(min=0, max=N - 1), minlen=2, maxlen=2).tag(sync=True)
    lines = traitlets.Int(LINES, min=MASKS[0], max=MASKS[-1]).tag(sync=True)
    image = traitlets.Enum((*IMAGES, "own"), "ellipses").tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)
    feature = traitlets.Enum(FEATURES, "attack").tag(sync=True)
    size = traitlets.Int(5, min=0, max=15).tag(sync=True)
    mode = traitlets.Enum(("frames", "live"), "frames").tag(sync=True)
    n = traitlets.Enum((N // 2, N), N).tag(sync=True)
    value = traitlets.Float(1.0, min=-1, max=1).tag(sync=True)
    paint = traitlets.Unicode().tag(sync=True)
    made_for = traitlets.Enum(("tv", "networks"), "tv").tag(sync=True)
    step = traitlets.Int(None, allow_none=True, min=0, max=STEPS).tag(sync=True)
    steps = traitlets.Int(STEPS, min=0, max=STEPS).tag(sync=True)
    tira = traitlets.Bool(False).tag(sync=True)
    about, scripts = "The explorer", ("explorer.js",)

    def __init__(
        self,
        noise_rel: float = 0.04,
        mu: Sequence[int] = (112, 80),
        lines: int = LINES,
        image: str | Tensor = "ellipses",
        feature: str = "attack",
        size: int = 5,
        methods: Sequence[str] = METHODS,
    ):
        where = "Explorer"
        noise_rel = checks.number(where, "noise_rel", noise_rel, *NOISE_RANGE, least=True, most=True)
        mu, lines = checked_mu(where, mu), checks.integer(where, "lines", lines, MASKS[0], MASKS[-1])
        picture = "" if isinstance(image, str) else encoded(shown(where, image))
        image = "own" if picture else checks.one_of(where, "image", image, tuple(IMAGES))
        checks.one_of(where, "feature", feature, FEATURES), checks.integer(where, "size", size, 0, 15)
        methods = [checks.one_of(where, f"methods[{i}]", method, METHODS) for i, method in enumerate(methods)]
        known = noise_rel in LEVELS and mu in location_grid(N, COUNT).tolist() and (lines, image) == (LINES, "ellipses")
        mode = "frames" if known and (feature, size) == ("attack", SIGMA) else "live"
        values = {"noise_rel": noise_rel, "mu": mu, "lines": lines, "image": image, "picture": picture, "mode": mode}
        values |= {"feature": feature, "size": size}
        names = [*values, "n", "value", "paint", "made_for", "step", "steps", "tira"]
        super().__init__(chapter="explorer", settings={"methods": methods}, names=names, **values)

    def __repr__(self) -> str:
        shown = ("noise_rel", "mu", "lines", "image", "feature", "size")
        return f"Explorer({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def shown_image(self) -> Tensor:
        """The image ``(n, n)`` that is measured."""
        if self.image != "own":
            return IMAGES[self.image](self.n)
        grey = decode(self.picture)
        return (grey if self.n == N else smaller(grey.long())).float() / 255

    def drawn(self) -> Tensor:
        """The feature ``(n, n)`` whose measurements are the perturbation, in the live mode."""
        n, mu = self.n, [c * self.n // N for c in self.mu]
        if self.feature in ("spike", "attack"):
            return features.spike(n, mu)
        if self.feature == "erase":
            return features.erase(self.shown_image(), mu, self.size)
        if self.feature == "paint":
            return features.strokes(n, self.paint)
        return getattr(features, self.feature)(n, mu, self.size)

    def attack(self, method: str = "tv", tol: float = TOL, **options: Any) -> Attack:
        """What is shown, recomputed by `lib.attack` for one method, without a widget.

        Parameters
        ----------
        method : "tv", "tira" or "tirafl". An attack is made for this method; a feature is the same for all.
        tol : of the TV reconstructions.
        options : for `lib.attack.localized_attack`.
        """
        checks.one_of("Explorer.attack", "method", method, METHODS)
        op, x, mu = MaskedFourier(radial_mask(self.n, self.lines), real=True), self.shown_image(), self.mu
        y = op.A(x)
        eta = self.noise_rel * torch.linalg.vector_norm(y)
        tv = fast_tv(op, page_lambda(self.noise_rel, self.lines), eta, tol=tol)
        live = self.mode == "live"
        rec: Callable[[Tensor], Tensor] = tv
        if method != "tv":
            network = load_network(method, PRESET)
            # the page computes in single precision; `network` may use bfloat16
            rec = network.forward if live else network
        phi = disk_weight(self.n, [c * self.n // N for c in mu], max(self.size, 1) if live else SIGMA)
        if live and self.feature != "attack":
            return evaluate_perturbation(rec, y, op, features.perturbation(op, self.drawn(), eta), phi)
        ascent = functools.partial(power_ascent, steps=self.steps if live and method != "tv" else STEPS)
        options = {"optimiser": ascent, "by_peak": True, **options}
        return localized_attack(rec, y, op, self.noise_rel, phi, **options)
