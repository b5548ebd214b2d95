"""The explorer: frames for the static page, computed once, and the live view in Jupyter."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import functools
import html
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from lib.attack import (
    Attack,
    disk_weight,
    evaluate_perturbation,
    fast_tv,
    localized_attack,
    location_grid,
    power_ascent,
    unperturbed,
)
from lib.calibration import LINES as MASKS
from lib.calibration import NOISE
from lib.experiments import LEVELS, METHODS
from lib.figures import COLORS, EXAMPLE, OVER
from lib.networks import LINES, NETWORKS, N, Reconstruction, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses, shepp_logan
from lib.records import RESULTS, count, provenance, read_rows, resumable, write_bytes, write_rows
from lib.tv import TVReconstruction, calibrated_lambda

COUNT = 8  # the grid of locations has COUNT**2
SIGMA = 5
PRESET = "compact"
# the perturbations of a frame with the methods that see them: TV's is shown to all, the networks' to themselves
SHOWN = (("tv", "tv"), ("tv", "tira"), ("tv", "tirafl"), ("tira", "tira"), ("tirafl", "tirafl"))
NETWORK_STEPS = 3  # of the ascent against a network, where a step costs as much as all of TV's
TOL = 2e-3
HALF = N // 20  # half the side of a close-up, as in `lib.figures.show_image`
FRAMES = RESULTS / "explorer"
# Differences are stored in hundredths, clipped to where the picture is the warning colour in any case. The whole image
# loses what cannot be seen, at 2 to 8 kB for eight of them; the close-up, where it could be seen, loses nothing.
STEP, QUALITY = 0.01, 80


def example_image(n: int = N) -> Tensor:
    """The explorer's phantom ``(n, n)`` in 256 grey values, as a picture file has them: the page computes with it."""
    return (255 * ellipses(1, n, seed=EXAMPLE["seed"], first=EXAMPLE["first"])[0]).round() / 255


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
    if noise_rel >= low:
        return calibrated_lambda(noise_rel, lines)
    first, second = (math.log(calibrated_lambda(level, lines)) for level in (low, next_))
    return math.exp(first + (second - first) * math.log(noise_rel / low) / math.log(next_ / low))


def reconstructions(op: MaskedFourier, noise_rel: float, eta: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three methods, differentiable, by name."""
    tv = fast_tv(op, calibrated_lambda(noise_rel, LINES), eta, tol=TOL)
    return {"tv": tv} | {name: load_network(name, PRESET) for name in NETWORKS}


def compute_frames(
    noise_rel: float, mu: Tensor, steps: int = NETWORK_STEPS
) -> tuple[dict[tuple[str, str], Attack], dict[str, Tensor]]:
    """The attacks of `SHOWN` at the locations ``mu`` (l, 2), and the unperturbed images of all methods ``(n, n)``.

    ``steps`` are those of the ascent against a network.
    """
    op, x = MaskedFourier(radial_mask(N, LINES)), example_image()
    y = op.A(x)
    methods = reconstructions(op, noise_rel, noise_rel * torch.linalg.vector_norm(y))
    clean = {name: unperturbed(method, y) for name, method in methods.items()}
    phi, attacks = disk_weight(N, mu, SIGMA), {}
    for target, method in SHOWN:
        if target == method:
            ascent = power_ascent if target == "tv" else functools.partial(power_ascent, steps=steps)
            attacks[target, target] = localized_attack(
                methods[target], y, op, noise_rel, phi, optimiser=ascent, clean=clean[target], by_peak=True
            )
        else:
            e = attacks[target, target].e
            attacks[target, method] = evaluate_perturbation(methods[method], y, op, e, phi, clean[method])
    return attacks, {name: image for name, (image, _) in clean.items()}


def settings(noise_rel: float, steps: int) -> str:
    """What the frames of a level depend on and may change: lambda, the steps of the ascent, the weights."""
    manifest = read_manifest()
    for name in NETWORKS:
        if f"{name}-{PRESET}" not in manifest:
            load_network(name, PRESET)  # says which command makes it
    weights = [manifest[f"{name}-{PRESET}"]["files"][0]["sha256"][:10] for name in NETWORKS]
    return " ".join([f"lambda={calibrated_lambda(noise_rel, LINES):.3g}", f"steps={steps}", *weights])


def compute_level(noise_rel: float, steps: int, bar: tqdm) -> None:
    """Add to ``results/explorer`` what it lacks of one level, or has of other weights or another lambda."""
    table, path, setting = FRAMES / "frames.csv", FRAMES / f"level-{100 * noise_rel:g}.json", settings(noise_rel, steps)
    pictures = json.loads(path.read_text()) if path.exists() else {}
    for mu in location_grid(N, COUNT).split(COUNT):
        names = [f"{row},{column}" for row, column in mu.tolist()]
        rows: list[dict[str, Any]] = [*read_rows(table)]
        at = {(row["noise_rel"], f"{row['row']},{row['column']}", row["setting"]) for row in rows}
        if not all((f"{noise_rel:g}", name, setting) in at and name in pictures for name in names):
            start = time.perf_counter()
            attacks, clean = compute_frames(noise_rel, mu, steps)
            seconds = time.perf_counter() - start
            for i, name in enumerate(names):
                pictures[name] = encode_frame(attacks, clean, mu[i].tolist(), i)
                rows = [r for r in rows if (r["noise_rel"], f"{r['row']},{r['column']}") != (f"{noise_rel:g}", name)]
                rows += frame_rows(attacks, noise_rel, mu[i].tolist(), i, setting, seconds / COUNT)
            pictures["clean"] = encode(torch.cat([clean[name].abs() for name in METHODS], 1), offset=0, step=1 / 255)
            write_bytes(path, (json.dumps(pictures, indent=0) + "\n").encode())
            order = {name: i for i, name in enumerate(METHODS)}
            rows.sort(
                key=lambda r: (
                    float(r["noise_rel"]),
                    int(r["row"]),
                    int(r["column"]),
                    order[r["target"]],
                    order[r["method"]],
                )
            )
            write_rows(table, rows)
        bar.update(len(mu))


def frame_rows(
    attacks: Mapping[tuple[str, str], Attack], noise_rel: float, mu: list[int], i: int, setting: str, seconds: float
) -> Iterable[dict[str, Any]]:
    """The numbers of one frame: a row for each perturbation and method."""
    for (target, method), attack in attacks.items():
        yield {
            "noise_rel": f"{noise_rel:g}",
            "row": mu[0],
            "column": mu[1],
            "target": target,
            "method": method,
            "peak_r": f"{float(attack.image_perturbation[i].abs().max()):.3g}",
            "peak_rho": f"{float(attack.artifact[i].abs().max()):.3g}",
            "amplification": f"{float(attack.amplification[i]):.3g}",
            "sigma": SIGMA,
            "lines": LINES,
            "preset": PRESET,
            "setting": setting,
            "seconds": f"{seconds:.1f}",
            **provenance(),
        }


def encode_frame(
    attacks: Mapping[tuple[str, str], Attack], clean: Mapping[str, Tensor], mu: list[int], i: int
) -> list[str]:
    """Two pictures of one frame: eight differences of 256 x 256 in two rows, and their close-ups side by side.

    Above r for TV and the reconstructions of `SHOWN` with TV's e, minus the unperturbed ones; below, r and
    reconstruction for each network's own e. Differences are those of the moduli, which is what is seen.
    """
    tiles = []
    for (target, method), attack in attacks.items():
        if target == method:
            tiles.append(attack.image_perturbation[i].real)
        tiles.append((clean[method] + attack.artifact[i]).abs() - clean[method].abs())
    row, column = (min(max(c, HALF), N - HALF) for c in mu)
    close = [tile[row - HALF : row + HALF, column - HALF : column + HALF] for tile in tiles]
    whole = torch.cat([torch.cat(tiles[:4], 1), torch.cat(tiles[4:], 1)])
    return [encode(whole, quality=QUALITY), encode(torch.cat(close, 1))]


def encode(image: Tensor, offset: int = 128, step: float = STEP, quality: int | None = None) -> str:
    """A grey picture as base64 of a WebP: ``offset`` plus multiples of ``step``; no loss if no quality is given."""
    grey = (offset + image / step).round().clamp(0, 255).to(torch.uint8).numpy()
    file, loss = io.BytesIO(), {"lossless": True, "quality": 100} if quality is None else {"quality": quality}
    Image.fromarray(grey).save(file, "webp", method=6, **loss)
    return base64.b64encode(file.getvalue()).decode()


def decode(picture: str) -> Tensor:
    """The grey values, 0 to 255, of what `encode` has made, as float32."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))).float()


def write_page() -> None:
    """What the page needs beside the frames: phantoms, the table of lambda, and a still picture for want of scripts."""
    page = {
        "levels": [float(f"{100 * level:g}") for level in LEVELS],
        "locations": location_grid(N, COUNT)[:COUNT, 1].tolist(),
        "preset": PRESET,
        "lambda": {
            "noises": NOISE,
            "masks": MASKS,
            "logs": [[math.log(calibrated_lambda(noise, lines)) for noise in NOISE] for lines in MASKS],
        },
        "x256": encode(example_image(256), offset=0, step=1 / 255),
        "x128": encode(example_image(128), offset=0, step=1 / 255),
    }
    write_bytes(FRAMES / "page.json", (json.dumps(page, indent=0) + "\n").encode())
    write_bytes(FRAMES / "still.webp", still())


def still(noise_rel: float = 0.04, mu: tuple[int, int] = (112, 80)) -> bytes:
    """A WebP of the explorer's first view, from its frame: x + r for each method, below it rec(y + e), with TV's e."""
    pictures = json.loads((FRAMES / f"level-{100 * noise_rel:g}.json").read_text())
    whole, close = (STEP * (decode(picture) - 128) for picture in pictures[f"{mu[0]},{mu[1]}"])
    whole, close = whole[:N], close[:, : 8 * HALF]  # of TV's e
    row, column = (min(max(c, HALF), N - HALF) for c in mu)
    tiles = [tile.clone() for tile in whole.split(N, 1)]
    for tile, near in zip(tiles, close.split(2 * HALF, 1), strict=True):
        tile[row - HALF : row + HALF, column - HALF : column + HALF] = near
    clean = (decode(pictures["clean"]) / 255).split(N, 1)
    above, below = [example_image() + tiles[0]] * len(METHODS), [a + b for a, b in zip(clean, tiles[1:], strict=True)]
    gap, file = np.full((GAP, len(METHODS) * (N + GAP) - GAP, 3), 255, np.uint8), io.BytesIO()
    picture = np.concatenate([side_by_side(above, mu), gap, side_by_side(below, mu)])
    Image.fromarray(picture).save(file, "webp", quality=90, method=6)
    return file.getvalue()


def warn(image: Tensor) -> np.ndarray:
    """Grey values of moduli ``(a, b)``, the warning colour beyond 1, as `lib.figures.show_image`; (a, b, 3) uint8."""
    grey = (255 * image).clamp(0, 255).round().to(torch.uint8)[..., None].expand(*image.shape, 3)
    over = torch.tensor([int(OVER[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    return torch.where((image > 1)[..., None], over, grey).numpy()


IMAGES: dict[str, Callable[[], Tensor]] = {
    "ellipses": example_image,
    "other ellipses": lambda: ellipses(1, N, seed=7)[0],
    "Shepp-Logan": lambda: shepp_logan(N),
}
GAP = 8  # pixels between the panels of the live view
PAGE = """<div class="explorer" data-view="full">
<p>The explorer: it needs scripts or, in Jupyter, a run of this cell.</p>
</div>"""


class Picture(anywidget.AnyWidget):
    """A PNG that says where it was clicked: ``clicked`` is (row, column) in its own pixels."""

    _esm = """
    export default { render({ model, el }) {
      const image = document.createElement("img");
      image.style = "width: 100%; max-width: 1000px; cursor: crosshair; image-rendering: pixelated";
      const show = () => {
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
        image.alt = model.get("alt");
      };
      model.on("change:png", show);
      show();
      image.addEventListener("click", (event) => {
        const box = image.getBoundingClientRect();
        model.set("clicked", [
          Math.floor(((event.clientY - box.top) / box.height) * image.naturalHeight),
          Math.floor(((event.clientX - box.left) / box.width) * image.naturalWidth),
        ]);
        model.save_changes();
      });
      el.append(image);
    } };
    """
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    clicked = traitlets.List(traitlets.Int()).tag(sync=True)


def bump_perturbation(op: MaskedFourier, mu: Sequence[int], sigma: float, eta: float | Tensor) -> Tensor:
    r"""Measurements of a disk, :math:`e = \eta\, \mathcal{A}\phi^{\mu,\sigma} / \|\mathcal{A}\phi^{\mu,\sigma}\|_2`.

    For ``sigma`` below 1 the disk is a pixel and e is `lib.attack.spike_perturbation`.

    >>> from lib.attack import spike_perturbation
    >>> op = MaskedFourier(radial_mask(32, 8))
    >>> torch.allclose(bump_perturbation(op, (9, 12), 0, 1.0), spike_perturbation(op, (9, 12), 1.0))
    True
    """
    e = op.symmetrize(op.A(disk_weight(op.n, mu, max(sigma, 0.5))))
    return e * (eta / torch.linalg.vector_norm(e))


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

    Raises
    ------
    ValueError : a parameter is out of range.
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
        for name, value, low, high in (
            ("noise_rel", noise_rel, 0.001, 0.2),
            ("mu[0]", mu[0], 0, N - 1),
            ("mu[1]", mu[1], 0, N - 1),
            ("sigma", sigma, 0, 15),
            ("lines", lines, MASKS[0], MASKS[-1]),
        ):
            if not low <= value <= high:
                raise ValueError(f"Explorer: {name} must lie in [{low}, {high}], got {value!r}")
            if name != "noise_rel" and value != int(value):
                raise ValueError(f"Explorer: {name} must be a whole number, got {value!r}")
        for name, choice, known in (("image", image, tuple(IMAGES)), ("method", method, METHODS)):
            if choice not in known:
                raise ValueError(f"Explorer: {name} must be one of {known}, got {choice!r}")
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
        value = {name: control.value for name, control in self.controls.items()}
        if value["method"] != "tv" and value["lines"] != LINES:
            self._set(lines=LINES)  # what the networks were trained for
        self.controls["lines"].disabled = value["method"] != "tv"
        problem = self._problem()
        e = bump_perturbation(problem.op, problem.mu, value["sigma"], problem.eta)
        self._show(problem, evaluate_perturbation(problem.rec, problem.y, problem.op, e, problem.phi, problem.clean))

    def refine(self) -> None:
        """Maximise objective (6) by `lib.attack.power_ascent`, starting from the perturbation at hand."""
        problem, steps = self._problem(), 6
        self.progress.max, self.progress.value, self.progress.layout.visibility = steps + 1, 0, "visible"
        self.refine_button.disabled = True  # clicks would queue up

        def optimiser(inner: Any) -> Any:
            def resume(y: Tensor, state: Any) -> tuple[Tensor, Any]:
                self.progress.value += 1
                return inner.reconstruct.resume(y, state) if problem.is_tv else (inner.reconstruct(y), None)

            return power_ascent(dataclasses.replace(inner, reconstruct=SimpleNamespace(resume=resume)), steps=steps)

        try:
            attack = localized_attack(
                problem.rec,
                problem.y,
                problem.op,
                problem.noise_rel,
                problem.phi,
                optimiser=optimiser,
                start=self.attack.e,
                clean=problem.clean,
                by_peak=True,
            )
        finally:
            self.progress.layout.visibility, self.refine_button.disabled = "hidden", False
        self._show(problem, attack)

    def _problem(self) -> SimpleNamespace:
        value = {name: control.value for name, control in self.controls.items()}
        noise_rel, mu = min(value["noise"] / 100, NOISE[-1]), (value["row"], value["column"])  # 20 % may be a bit more
        op, x, y = _measured(value["image"], value["lines"])
        eta = noise_rel * torch.linalg.vector_norm(y)
        rec, clean = _method(value["method"], value["image"], value["lines"], noise_rel)
        phi = disk_weight(N, mu, max(value["sigma"], 0.5))
        is_tv = value["method"] == "tv"
        return SimpleNamespace(
            op=op, x=x, y=y, eta=eta, noise_rel=noise_rel, mu=mu, rec=rec, clean=clean, phi=phi, is_tv=is_tv
        )

    def _show(self, problem: SimpleNamespace, attack: Attack) -> None:
        self.attack = attack
        r, rho = attack.image_perturbation, attack.artifact
        panels = [problem.x + r, problem.clean[0], problem.clean[0] + rho]
        file = io.BytesIO()
        Image.fromarray(side_by_side(panels, problem.mu)).save(file, "png", compress_level=1)
        values = float(r.abs().max()), float(rho.abs().max()), float(attack.amplification)
        text = "peak of r {:.3g}, peak of ρ {:.3g}, amplification α {:.3g}".format(*values)
        self.picture.alt = f"x + r, rec(y) and rec(y + e) at {100 * problem.noise_rel:.2g} % noise: {text}"
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
    op, x = MaskedFourier(radial_mask(N, lines)), IMAGES[image]()
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


def side_by_side(panels: Sequence[Tensor], mu: Sequence[int]) -> np.ndarray:
    """Panels as `lib.figures.show_image` draws them, close-ups in the opposite corner; (n, width, 3) uint8."""
    n, half, zoom, gap = N, HALF, 4, GAP
    row, column = (min(max(c, half), n - half) for c in mu)
    size, orange = 2 * half * zoom, np.array([int(COLORS[4][i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    out = np.full((n, len(panels) * (n + gap) - gap, 3), 255, np.uint8)
    top, left = (2 if mu[0] >= n / 2 else n - size - 2), (2 if mu[1] >= n / 2 else n - size - 2)
    for i, image in enumerate(panels):
        panel = warn(image.abs())
        close = panel[row - half : row + half, column - half : column + half].repeat(zoom, 0).repeat(zoom, 1)
        for a, b, side in ((row - half, column - half, 2 * half), (top, left, size)):
            frame = panel[a : a + side, b : b + side]
            frame[:1] = frame[-1:] = frame[:, :1] = frame[:, -1:] = orange
        panel[top + 1 : top + size - 1, left + 1 : left + size - 1] = close[1:-1, 1:-1]
        out[:, i * (n + gap) : i * (n + gap) + n] = panel
    return out


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.explorer",
        description="Compute the frames of the explorer that are missing or outdated; results/explorer. Resumes.",
        epilog="example: python -m lib.explorer --noise 0.04",
    )
    parser.add_argument("--noise", type=float, nargs="+", default=LEVELS, help="relative noise levels, as fractions")
    parser.add_argument(
        "--steps",
        type=count,
        default=NETWORK_STEPS,
        help="of the ascent against a network; a change computes all frames anew",
    )
    args = parser.parse_args(arguments)
    with tqdm(total=len(args.noise) * COUNT**2, unit="frame") as bar:
        for noise_rel in args.noise:
            compute_level(noise_rel, args.steps, bar)
    write_page()


if __name__ == "__main__":
    resumable(main)
