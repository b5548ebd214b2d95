"""What the static page needs beside the frames: ``python -m lib.explorer.page`` writes it into results/explorer."""

import functools
import io
import json
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lib import theory
from lib.attack import location_grid, power_ascent
from lib.explorer.chapters import AttackView, NetworksView, ReconstructionView, TheoryView
from lib.explorer.images import IMAGES
from lib.explorer.pictures import GAP, side_by_side
from lib.explorer.transfer import TransferView
from lib.figures import use_style
from lib.figures.attack import attack_steps
from lib.figures.cs_mri import undersampling
from lib.figures.networks import methods_and_noise
from lib.figures.results import transfers
from lib.figures.theory import forced_spike
from lib.measures import relative_error
from lib.networks import N, load_network
from lib.runs.calibration import NOISE
from lib.runs.frames import (
    COUNT,
    FRAMES,
    HALF,
    PRESET,
    QUALITY,
    STEP,
    around,
    decode,
    encode,
    example_image,
    level_file,
)
from lib.runs.options import program
from lib.runs.section4 import LEVELS, LINES, METHODS
from lib.runs.tables import write_bytes
from lib.tv import calibrated_lambda

BRIGHT = 200  # the grey value of 1 in stored images, which go beyond


def write_page() -> None:
    """What the page needs beside the frames: images, the table of lambda, and a still picture for want of scripts."""
    page = {
        "levels": [float(f"{100 * level:g}") for level in LEVELS],
        "locations": location_grid(N, COUNT)[:COUNT, 1].tolist(),
        "preset": PRESET,
        "lambda": {
            "noises": NOISE,
            "masks": LINES,
            "logs": [[math.log(calibrated_lambda(noise, lines)) for noise in NOISE] for lines in LINES],
        },
        "x256": encode(example_image(), offset=0, step=1 / 255),
    }
    write_bytes(FRAMES / "page.json", (json.dumps(page, indent=0) + "\n").encode())
    images = {name: {n: encode(image(n), offset=0, step=1 / 255) for n in (128, 256)} for name, image in IMAGES.items()}
    write_bytes(FRAMES / "images.json", (json.dumps(images, indent=0) + "\n").encode())
    write_bytes(FRAMES / "still.webp", still())


def write_stored() -> None:
    """TiraFL's images for :class:`lib.explorer.chapters.NetworksView`, by image and noise level: modulus and error.

    The page does not compute them: with its learned transform TiraFL would be half as large again as Tira.
    """
    tirafl, stored = load_network("tirafl", PRESET), {}
    for name, image in IMAGES.items():
        seen = [tirafl(NetworksView(noise_rel, name).measured()[1]).abs() for noise_rel in NOISE]
        pictures = [encode(modulus, offset=0, step=1 / BRIGHT, quality=QUALITY) for modulus in seen]
        errors = [round(relative_error(modulus, image()), 4) for modulus in seen]
        stored[name] = list(zip(pictures, errors, strict=True))
    write_bytes(FRAMES / "tirafl.json", (json.dumps(stored, indent=0) + "\n").encode())


def write_stills() -> None:
    """A picture for each view of a chapter, for want of scripts: what it shows first, drawn as in the chapter."""
    use_style()
    for name, figure in chapter_stills().items():
        file = io.BytesIO()
        figure.savefig(file, format="webp", dpi=110, pil_kwargs={"quality": 80, "method": 6})
        plt.close(figure)
        write_bytes(FRAMES / f"still-{name}.webp", file.getvalue())


def chapter_stills() -> dict[str, Figure]:
    """The figures of `write_stills`, by the name of the view."""
    seen, attacked, compared = ReconstructionView(), AttackView(), NetworksView()
    op, y = seen.measured()
    reconstructed = undersampling(op.mask, seen.image, op.A_dagger(y), seen.reconstruct().image)
    attacks = {k: attacked.attack(optimiser=functools.partial(power_ascent, steps=k)) for k in (0, 5)}
    rows = []
    for method, name in (("l1", r"$\ell^1$"), ("tv", "TV")):
        view = TheoryView(method=method)
        (x, omega), (_, after) = view.problem(), view.recover()
        r = theory.zero_filled(theory.measure(theory.spike(view.n), omega), omega, view.n)
        rows.append((name, x, x + r, after.signal))
    names = {"zero": "zero-filled", "tv": "TV", "tira": "Tira", "tirafl": "TiraFL"}
    images = {names[name]: image for name, image in compared.reconstruct().items()}
    return {
        "reconstruction": reconstructed,
        "networks": methods_and_noise(IMAGES[compared.image](), {compared.noise_rel: images}),
        "attack": attack_steps(attacks, attacked.mu),
        "transfer": transfers(TransferView().outcomes(), "tv"),
        "theory": forced_spike(rows),
    }


def still() -> bytes:
    """A WebP of the explorer's first view, from its frame: x + r for each method, below it rec(y + e), with TV's e."""
    mu, pictures = (112, 80), json.loads((FRAMES / level_file(0.04)).read_text())
    whole, close = (STEP * (decode(picture) - 128) for picture in pictures[f"{mu[0]},{mu[1]}"])
    tiles = [tile.clone() for tile in whole[:N].split(N, 1)]  # of TV's e
    for tile, near in zip(tiles, close[:, : 8 * HALF].split(2 * HALF, 1), strict=True):
        tile[around(mu)] = near
    clean = (decode(pictures["clean"]) / 255).split(N, 1)
    above, below = [example_image() + tiles[0]] * len(METHODS), [a + b for a, b in zip(clean, tiles[1:], strict=True)]
    gap, file = np.full((GAP, len(METHODS) * (N + GAP) - GAP, 3), 255, np.uint8), io.BytesIO()
    picture = np.concatenate([side_by_side(above, mu), gap, side_by_side(below, mu)])
    Image.fromarray(picture).save(file, "webp", quality=90, method=6)
    return file.getvalue()


def main() -> None:
    """All of it."""
    write_page()
    write_stored()
    write_stills()


if __name__ == "__main__":
    program(main)
