"""Features and images of the explorer: closed forms, what is cut off at the border, and pictures from files."""

import math
import struct

import numpy as np
import pytest
import torch
from helpers import OP, book_module
from PIL import Image

from lib.attack import spike_perturbation
from lib.explorer import IMAGES, features, read_image
from lib.operators import MaskedFourier, radial_mask


def test_features_have_the_pixels_they_should():
    assert features.spike(64, (20, 30)).nonzero().tolist() == [[20, 30]]
    assert features.disc(64, (20, 30), 2).sum() == 13
    assert features.bar(64, (20, 30), 8).sum() == 17 * 5
    letter = features.letter(64, (20, 30), 3)  # cells of 2 x 2
    assert letter.sum() == 4 * 18 and torch.equal(letter[:, 25:35], letter[:, 25:35].flip(1))


def test_what_lies_outside_is_cut_off():
    for feature in (features.disc, features.bar, features.letter):
        whole = feature(96, (32, 32), 9)
        assert torch.equal(feature(64, (0, 63), 9), whole[32:, :33].new_zeros(64, 64).index_put_(*shifted(whole)))


def shifted(whole):
    """Places and values of ``whole`` (around 32, 32) moved to (0, 63) of 64 x 64, as far as they are inside."""
    rows, columns = whole.nonzero().T
    rows, columns = rows - 32, columns + 31
    inside = (rows >= 0) & (columns < 64)
    return (rows[inside], columns[inside]), torch.ones(int(inside.sum()))


def test_a_detail_on_a_plain_is_erased():
    plain = torch.full((64, 64), 0.3)
    for mu, size, radius in (((30, 20), 4, 2), ((0, 63), 5, 3), ((30, 20), 0, 0)):
        spotted = plain + 0.6 * features.disc(64, mu, radius)
        assert torch.allclose(spotted + features.erase(spotted, mu, size), plain, atol=1e-6)
        assert not features.erase(plain, mu, size).any()


def test_the_filling_of_a_detail_is_harmonic():
    rows, columns = torch.meshgrid(*[torch.arange(64.0) - 32] * 2, indexing="ij")
    inside = features.disc(64, (32, 32), 10) > 0
    for u in (rows / 64, rows * columns / 500, (rows**2 - columns**2) / 1000):
        filled = u + 0.5 * features.disc(64, (32, 32), 3)  # a detail
        filled = filled + features.erase(filled, (32, 32), 10)
        assert (filled - u)[inside].abs().max() < 0.02 < 0.15 < u[inside].max() - u[inside].min()
        assert torch.equal(filled[~inside], u[~inside])


def test_the_filling_stays_between_the_values_of_the_rim():
    x = IMAGES["brain"]()
    rim = (features.disc(256, (120, 100), 8) - features.disc(256, (120, 100), 7)) > 0
    filled = (x + features.erase(x, (120, 100), 7))[features.disc(256, (120, 100), 7) > 0]
    assert x[rim].min() <= filled.min() < filled.max() <= x[rim].max()


def test_a_stroke_is_a_line_of_dabs():
    line = features.strokes(256, "0_10_0a0a0a14")
    assert line.nonzero().tolist() == [[10, column] for column in range(10, 21)]
    assert torch.equal(features.strokes(128, "0_10_0a0a0a14"), features.strokes(128, "1_10_0a0a.1_10_0a0b0a14"))
    assert not features.strokes(64, "").any() and not features.strokes(256, "3_10_4050.3_0_4050").any()


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_perturbation_has_the_norm_it_should(size):
    op = MaskedFourier(radial_mask(64, 20), real=True)
    e = features.perturbation(op, features.disc(64, (20, 30), size), 2.5)
    assert math.isclose(float(torch.linalg.vector_norm(e)), 2.5, rel_tol=1e-5)
    if size == 0:
        assert torch.allclose(e, spike_perturbation(op, (20, 30), 2.5), atol=1e-6)


def test_nothing_has_no_measurements():
    with pytest.raises(ValueError, match="feature must not be zero"):
        features.perturbation(MaskedFourier(radial_mask(64, 20), real=True), torch.zeros(64, 64), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: features.bar(64, (20, 64), 3), r"bar: mu\[1\] must be an integer from 0 to 63, got 64"),
        (lambda: features.letter(64, (20, 30), -1), "letter: size must be an integer >= 0, got -1"),
        (lambda: features.disc(64, (20, 30), math.nan), "disc: size .*got nan"),
        (lambda: features.erase(torch.ones(8, 8), (3, 4), 9), "erase: size must leave .*got 9"),
        (lambda: features.strokes(64, "3_10_40"), "strokes: text must have strokes .*got '3_10_40'"),
        (lambda: features.perturbation(OP, features.spike(32, (3, 4)), -1), "perturbation: eta .*got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_contrast_is_the_share_that_is_shown():
    d = features.letter(64, (20, 30), 4) - features.disc(64, (50, 50), 2)
    assert float(features.contrast(0.3 * d, d)) == pytest.approx(0.3)
    assert float(features.contrast(features.spike(64, (5, 60)), d)) == 0


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_grey_values(name):
    for n in (128, 256):
        image = IMAGES[name](n)
        assert image.shape == (n, n) and image.dtype == torch.float32 and 0.8 < image.max() <= 1 and image.min() == 0
        assert torch.equal((255 * image).round() / 255, image)


def test_a_picture_is_read_at_both_sizes(tmp_path):
    grey = torch.randint(256, (256, 256), generator=torch.Generator().manual_seed(0)).numpy()
    Image.fromarray(grey.astype(np.uint8)).convert("RGB").save(tmp_path / "a.png")
    assert np.array_equal((255 * read_image(tmp_path / "a.png")).round().numpy(), grey)
    half = (255 * read_image(tmp_path / "a.png", 128)).round().numpy()
    assert np.abs(half - (grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]) / 4).max() <= 0.5
    Image.new("L", (300, 256)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="256 x 256 pixels, got 300 x 256"):
        read_image(tmp_path / "b.png")
    with pytest.raises(ValueError, match="n must be 256 or 128, got 64"):
        read_image(tmp_path / "a.png", 64)


def test_a_slice_of_the_template_is_cut(tmp_path):
    brain = book_module("brain")
    header = bytearray(352)
    struct.pack_into("<3h", header, 42, 4, 6, 5)
    struct.pack_into("<h", header, 70, 2)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<f", header, 324, 6)  # the first slice is at 6 mm: the third is cut
    voxels = np.arange(120, dtype=np.uint8).reshape((4, 6, 5), order="F")
    (tmp_path / "a.nii.gz").write_bytes(brain.gzip.compress(bytes(header) + voxels.tobytes("F")))
    picture = brain.axial_slice(tmp_path / "a.nii.gz")
    assert picture.shape == (256, 256) and picture.sum() == voxels[:, :, 2].sum()
    assert picture[125, 126] == voxels[0, 5, 2]  # the front is on top, the left side on the left
    struct.pack_into("<h", header, 70, 16)
    (tmp_path / "a.nii.gz").write_bytes(brain.gzip.compress(bytes(header)))
    with pytest.raises(ValueError, match="must hold bytes"):
        brain.axial_slice(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("eta", [-1, math.nan, 0])
def test_a_perturbation_of_no_norm_is_refused(eta):
    with pytest.raises(ValueError, match="perturbation: eta .*got"):
        features.perturbation(MaskedFourier(radial_mask(64, 20), real=True), features.spike(64, (20, 30)), eta)
