"""The views of the chapters: widgets whose traits are the knobs; in the static page, the same script without a kernel.

All that moves is solved in the browser: ``views.js`` in ``book/_static`` draws, and a worker with the scripts of
`lib.explorer.data.WORKER` solves.
The methods here compute the same with `lib`, for further use and to compare.
"""

from __future__ import annotations

import functools
import html
import json
import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import anywidget
import ipywidgets
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor

from lib import checks, theory
from lib.attack import STEPS, Attack, disk_weight, fast_tv, localized_attack
from lib.explorer.data import entry, static_text
from lib.explorer.draws import gaussian, problem
from lib.explorer.images import IMAGES, in_grey_values
from lib.networks import LINES, NETWORKS, N, load_network
from lib.operators import MaskedFourier, radial_mask
from lib.runs.calibration import NOISE
from lib.runs.frames import PRESET, encode, example_image
from lib.runs.section4 import LINES as MASKS
from lib.tv import TVResult, calibrated_lambda, reconstruct_tv

LENGTHS = (64, 128, 256, 512)
SEED = 1  # of the noise in NetworksView
# of the book's theme, in JupyterLab
COLOURS = {
    "border": "border-color1",
    "text-base": "ui-font-color1",
    "surface": "layout-color1",
    "primary": "brand-color1",
}
COLOURS |= {"background": "layout-color2"}


@functools.cache
def _module(scripts: tuple[str, ...]) -> str:
    return f"{static_text('parts.js', *scripts)}\nexport default {{ render: explorerParts.render }};\n"


@functools.cache
def _style() -> str:
    colours = "".join(f"--pst-color-{name}: var(--jp-{value});" for name, value in COLOURS.items())
    return f".explorer {{ {colours} }}\n{static_text('explorer.css')}"


class View(anywidget.AnyWidget):
    """What the views have in common. ``names`` are the traits that the page may change, or watch.

    The knobs are in the view itself. ``controls`` has ipywidgets for the same traits, to put into layouts of your own
    or to link: sliders by the name of the trait, two for ``mu``, which are called row and column.
    """

    chapter = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    about: ClassVar[str]
    scripts: ClassVar[tuple[str, ...]] = ("transfer.js", "views.js")

    def __init__(self, **values: Any):
        super().__init__(_esm=_module(self.scripts), _css=_style(), **values)
        self.on_msg(self._load)

    def _load(self, _: Any, content: dict[str, str], buffers: Any) -> None:
        """Send the page what it asks for by name."""
        name = content["name"]
        self.send({"name": name, "value": entry(name)})

    @functools.cached_property
    def controls(self) -> dict[str, ipywidgets.Widget]:
        """Sliders, menus and boxes for the traits, linked with them in both directions."""
        made: dict[str, ipywidgets.Widget] = {}
        for name in self.names:
            trait, value = self.traits()[name], getattr(self, name)
            if name == "mu":
                for i, part in enumerate(("row", "column")):
                    made[part] = ipywidgets.IntSlider(value[i], 0, N - 1, description=part)
                    there, back = operator.itemgetter(i), functools.partial(self._moved, i)
                    traitlets.link((self, "mu"), (made[part], "value"), transform=(there, back))
                continue
            given = {"value": value, "description": name}
            if trait.allow_none:  # a slider has always a value
                continue
            if isinstance(trait, traitlets.Enum):
                made[name] = ipywidgets.Dropdown(options=trait.values, **given)
            elif isinstance(trait, traitlets.Bool):
                made[name] = ipywidgets.Checkbox(**given)
            elif isinstance(trait, traitlets.Int):
                made[name] = ipywidgets.IntSlider(min=trait.min, max=trait.max, **given)
            elif isinstance(trait, traitlets.Float):
                fine = {"step": 0.001, "readout_format": ".3f"}
                made[name] = ipywidgets.FloatSlider(min=trait.min, max=trait.max, **fine, **given)
            else:
                continue
            traitlets.link((self, name), (made[name], "value"))
        return made

    def _moved(self, i: int, coordinate: int) -> list[int]:
        return [coordinate if k == i else c for k, c in enumerate(self.mu)]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return data | {"text/plain": repr(self), "text/html": self._page()}, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.names)})"

    def _page(self) -> str:
        settings = self.settings | {name: getattr(self, name) for name in self.names}
        text = html.escape(json.dumps(settings, separators=(",", ":")))
        return (
            f'<div class="explorer" data-chapter="{self.chapter}" data-settings="{text}">\n'
            f"<p>{self.about}. This view needs scripts or, in Jupyter, a run of its cell.</p>\n</div>"
        )


def _calibration() -> dict[str, Any]:
    """The table of lambda for the page, in logarithms."""
    logs = [[math.log(calibrated_lambda(noise, lines)) for noise in NOISE] for lines in MASKS]
    return {"noises": NOISE, "masks": MASKS, "logs": logs}


def shown(where: str, image: Tensor | None) -> Tensor:
    """The image as the page has it, in 256 grey values; the book's phantom for None."""
    if image is None:
        return example_image()
    checks.tensor(where, "image", image, (N, N), (torch.float32, torch.float64))
    return in_grey_values(image.float().clamp(0, 1))


def checked_mu(where: str, mu: Sequence[int]) -> list[int]:
    """The target as two integers."""
    if not hasattr(mu, "__len__") or len(mu) != 2:
        raise ValueError(f"{where}: mu must be a row and a column, got {checks.shown(mu)}")
    return [checks.integer(where, f"mu[{i}]", mu[i], 0, N - 1) for i in range(2)]


def encoded(image: Tensor) -> str:
    """An image, float32, in 256 grey values as the page reads it, see `lib.runs.frames.encode`."""
    phantom, text = _phantom()
    return text if torch.equal(image, phantom) else encode(image, offset=0, step=1 / 255)


@functools.cache
def _phantom() -> tuple[Tensor, str]:
    """The book's phantom, and its picture as text, made once: that takes half a second."""
    image = example_image()
    return image, encode(image, offset=0, step=1 / 255)


def _pictured(image: Tensor) -> dict[str, Any]:
    """The image for the page, and whether it is another than the book's phantom, which lines of Python can name."""
    return {"image": encoded(image)} | ({} if torch.equal(image, _phantom()[0]) else {"own": True})


def _measured(image: Tensor, lines: int, noise_rel: float, seed: int) -> tuple[MaskedFourier, Tensor]:
    op = MaskedFourier(radial_mask(N, lines))
    y, noise = op.A(image), gaussian(op.mask, seed).to(torch.complex64)
    norm = torch.linalg.vector_norm
    return op, y + noise_rel * norm(y) / norm(noise) * noise


class ReconstructionView(View):
    """Compressed sensing MRI: mask, zero-filled and TV reconstruction, and the error by iterations.

    Parameters
    ----------
    lines : of the mask, 25 to 80.
    noise_rel : relative size of Gaussian noise, 0.005 to 0.2.
    lam : the regularization parameter, 1e-5 to 1; None takes `lib.tv.calibrated_lambda`.
    iterations : of the solver, 1 to 300.
    image : real ``(256, 256)``, shown and measured in 256 grey values; None takes the book's phantom.
    seed : of the noise.

    Each but the last two is a trait of the widget: to read, to set, to observe, to link.
    """

    lines = traitlets.Int(40, min=MASKS[0], max=MASKS[-1]).tag(sync=True)
    noise_rel = traitlets.Float(0.04, min=NOISE[0], max=NOISE[-1]).tag(sync=True)
    lam = traitlets.Float(None, allow_none=True, min=1e-5, max=1).tag(sync=True)
    iterations = traitlets.Int(100, min=1, max=300).tag(sync=True)
    about = "Mask, zero-filled and TV reconstruction"

    def __init__(
        self,
        lines: int = 40,
        noise_rel: float = 0.04,
        lam: float | None = None,
        iterations: int = 100,
        image: Tensor | None = None,
        seed: int = 1,
    ):
        where = "ReconstructionView"
        (
            checks.integer(where, "lines", lines, MASKS[0], MASKS[-1]),
            checks.integer(where, "iterations", iterations, 1, 300),
        )
        checks.number(where, "noise_rel", noise_rel, NOISE[0], NOISE[-1], least=True, most=True)
        if lam is not None:
            checks.number(where, "lam", lam, 1e-5, 1, least=True, most=True)
        self.image, self.seed = shown(where, image), checks.seed(where, seed)
        settings = _pictured(self.image) | {"table": _calibration(), "seed": seed}
        values = {"lines": lines, "noise_rel": noise_rel, "lam": lam, "iterations": iterations}
        super().__init__(chapter="reconstruction", settings=settings, names=list(values), **values)

    def measured(self) -> tuple[MaskedFourier, Tensor]:
        """The operator and the noisy measurements of what is shown."""
        return _measured(self.image, self.lines, self.noise_rel, self.seed)

    def reconstruct(self, **options: Any) -> TVResult:
        """The converged TV reconstruction by `lib.tv.reconstruct_tv`, which takes ``options``."""
        op, y = self.measured()
        lam = calibrated_lambda(self.noise_rel, self.lines) if self.lam is None else self.lam
        return reconstruct_tv(y, op, lam, **options)


class NetworksView(View):
    """Networks: zero-filled image, TV, Tira and TiraFL from the same noisy measurements, and their errors.

    The page computes the first three, Tira once its reader has loaded it. The images of TiraFL are stored.

    Parameters
    ----------
    noise_rel : relative size of Gaussian noise, one of `lib.runs.calibration.NOISE`.
    image : a name in `lib.explorer.IMAGES`.

    Both are traits of the widget: to read, to set, to observe, to link.
    """

    noise_rel = traitlets.Enum(NOISE, 0.04).tag(sync=True)
    image = traitlets.Enum(tuple(IMAGES), "ellipses").tag(sync=True)
    about = "Four reconstructions side by side"

    def __init__(self, noise_rel: float = 0.04, image: str = "ellipses"):
        where = "NetworksView"
        if checks.number(where, "noise_rel", noise_rel, 0) not in NOISE:
            raise ValueError(f"{where}: noise_rel must be one of {NOISE}, got {noise_rel}")
        checks.one_of(where, "image", image, tuple(IMAGES))
        settings = {"table": _calibration(), "levels": NOISE, "images": list(IMAGES), "lines": LINES, "seed": SEED}
        values = {"noise_rel": noise_rel, "image": image}
        super().__init__(chapter="networks", settings=settings, names=list(values), **values)

    def measured(self) -> tuple[MaskedFourier, Tensor]:
        """The operator and the noisy measurements of what is shown."""
        return _measured(IMAGES[self.image](), LINES, self.noise_rel, SEED)

    def reconstruct(self, tol: float = 2e-3) -> dict[str, Tensor]:
        """What is shown, by `lib`: "zero", "tv", to ``tol``, "tira" and "tirafl", complex ``(256, 256)``."""
        op, y = self.measured()
        tv = reconstruct_tv(y, op, calibrated_lambda(self.noise_rel, LINES), tol=tol).image
        return {"zero": op.A_dagger(y), "tv": tv} | {name: load_network(name, PRESET)(y) for name in NETWORKS}


class AttackView(View):
    """The attack on TV: the ascent at one target, perturbation and artifact at each of its five steps.

    Parameters
    ----------
    noise_rel : size of the perturbation, 0.005 to 0.2.
    mu : the target, row and column, 0 to 255.
    sigma : radius of the disk, 1 to 15.
    step : the one that is shown, 0 to 5; None shows the best.
    lines : of the mask, 25 to 80.
    image : see :class:`ReconstructionView`.

    The first four are traits of the widget: to read, to set, to observe, to link.
    """

    noise_rel = traitlets.Float(0.04, min=NOISE[0], max=NOISE[-1]).tag(sync=True)
    mu = traitlets.List(traitlets.Int(min=0, max=N - 1), minlen=2, maxlen=2).tag(sync=True)
    sigma = traitlets.Int(5, min=1, max=15).tag(sync=True)
    step = traitlets.Int(None, allow_none=True, min=0, max=STEPS).tag(sync=True)
    about = "The attack on TV, step by step"

    def __init__(
        self,
        noise_rel: float = 0.04,
        mu: Sequence[int] = (112, 128),
        sigma: int = 5,
        step: int | None = None,
        lines: int = 40,
        image: Tensor | None = None,
    ):
        where = "AttackView"
        checks.number(where, "noise_rel", noise_rel, NOISE[0], NOISE[-1], least=True, most=True)
        mu = checked_mu(where, mu)
        checks.integer(where, "sigma", sigma, 1, 15), checks.integer(where, "lines", lines, MASKS[0], MASKS[-1])
        if step is not None:
            checks.integer(where, "step", step, 0, STEPS)
        self.image, self.lines = shown(where, image), lines
        settings = _pictured(self.image) | {"table": _calibration(), "lines": lines}
        values = {"noise_rel": noise_rel, "mu": mu, "sigma": sigma, "step": step}
        super().__init__(chapter="attack", settings=settings, names=list(values), **values)

    def attack(self, tol: float = 2e-3, **options: Any) -> Attack:
        """The best step by `lib.attack.localized_attack`, which takes ``options``; ``tol`` of the reconstructions."""
        op = MaskedFourier(radial_mask(N, self.lines), real=True)
        y, lam = op.A(self.image), calibrated_lambda(self.noise_rel, self.lines)
        rec = fast_tv(op, lam, self.noise_rel * torch.linalg.vector_norm(y), tol=tol)
        return localized_attack(rec, y, op, self.noise_rel, disk_weight(N, self.mu, self.sigma), **options)


class TheoryView(View):
    """Exact recovery in one dimension: signal, perturbation, what is recovered, certificates, and alpha beside n/m.

    Parameters
    ----------
    n : length of the signal: 64, 128, 256 or 512.
    m : number of frequencies, 4 to 128 and below n.
    s : spikes, or jumps, 2 to 20.
    seed : of signal and frequencies, 1 to 50.
    method : "l1" or "tv".
    zero : whether the frequency 0 is measured.

    Each is a trait of the widget: to read, to set, to observe, to link.
    """

    n = traitlets.Enum(LENGTHS, 256).tag(sync=True)
    m = traitlets.Int(60, min=4, max=128).tag(sync=True)
    s = traitlets.Int(5, min=2, max=20).tag(sync=True)
    seed = traitlets.Int(1, min=1, max=50).tag(sync=True)
    method = traitlets.Enum(("l1", "tv"), "l1").tag(sync=True)
    zero = traitlets.Bool(True).tag(sync=True)
    about = "Exact recovery in one dimension"

    def __init__(self, n: int = 256, m: int = 60, s: int = 5, seed: int = 1, method: str = "l1", zero: bool = True):
        where = "TheoryView"
        if checks.integer(where, "n", n, LENGTHS[0], LENGTHS[-1]) not in LENGTHS:
            raise ValueError(f"{where}: n must be one of {LENGTHS}, got {n}")
        checks.integer(where, "m", m, 4, min(128, n - 1)), checks.integer(where, "s", s, 2, 20)
        checks.integer(where, "seed", seed, 1, 50), checks.one_of(where, "method", method, ("l1", "tv"))
        checks.instance(where, "zero", zero, bool)
        values = {"n": n, "m": m, "s": s, "seed": seed, "method": method, "zero": zero}
        super().__init__(chapter="theory", names=list(values), **values)

    def problem(self) -> tuple[NDArray, NDArray]:
        """The signal ``(n,)`` and the frequencies ``(m,)`` of what is shown."""
        return problem(self.n, self.m, self.s, self.seed, self.method == "tv", self.zero)

    def recover(self) -> tuple[theory.Pursuit, theory.Pursuit]:
        """What `lib.theory` recovers from y, and from y + e with the measurements e of a spike."""
        (x, omega), solve = self.problem(), theory.tv_pursuit if self.method == "tv" else theory.basis_pursuit
        before, after = (solve(theory.measure(z, omega), omega, self.n) for z in (x, x + theory.spike(self.n)))
        return before, after

    def certify(self) -> tuple[theory.Certificate, theory.Certificate]:
        """The certificates of x and of x with the spike, by the shortest dual vector or, if it fails, the solver's."""
        (x, omega), prove = self.problem(), theory.certify_tv if self.method == "tv" else theory.certify_l1
        proofs = []
        for z, found in zip((x, x + theory.spike(self.n)), self.recover(), strict=True):
            proof = prove(z, omega)
            complete = self.method == "l1" or self.zero  # else nothing can be proved
            proofs.append(proof if proof.unique or not complete else prove(z, omega, found.dual))
        return proofs[0], proofs[1]
