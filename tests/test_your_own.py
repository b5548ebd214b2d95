"""The programs of book/your_own.md run as they stand there, and so does the sweep over a reader's images."""

import gzip
import re
import struct
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lib.iterative import coil_operator, simulated_coils
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.sweep import _labels, execute, read_sweep, result
from lib.tv import reconstruct_tv

pytestmark = pytest.mark.slow  # whole programs

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "book" / "your_own.md").read_text(encoding="utf-8")
MASK, IMAGES, RECONSTRUCTION, OPERATOR, COILS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHOWN = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)  # what each of them prints
NUMBER = r"(?<![a-z^])-?\d+(?:\.\d+)?"
QUICK = IMAGES.replace("reconstruct, y, op, noise_rel, screen=8", "op.A_dagger, y, op, noise_rel, count=1")
assert QUICK != IMAGES
(SWEEP,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def ran(program):
    """The names that a program of the page has left."""
    module = types.ModuleType("program")
    exec(compile(program, "your_own.md", "exec"), module.__dict__)
    return types.SimpleNamespace(**vars(module))


def nifti(voxels, end, code, slope=0.0, shift=0.0):
    """The bytes of a NIfTI-1 file."""
    header = bytearray(352)
    struct.pack_into(f"{end}i", header, 0, 348)
    struct.pack_into(f"{end}{1 + voxels.ndim}h", header, 40, voxels.ndim, *voxels.shape)
    struct.pack_into(f"{end}h", header, 70, code)
    struct.pack_into(f"{end}3f", header, 108, 352, slope, shift)
    return bytes(header) + voxels.astype(voxels.dtype.newbyteorder(end)).tobytes(order="F")


def is_as_shown(printed, shown):
    """The same words, and numbers within 5 % or their last digit."""
    same = re.sub(NUMBER, "#", printed) == re.sub(NUMBER, "#", shown)
    pairs = zip(re.findall(NUMBER, printed), re.findall(NUMBER, shown), strict=True) if same else []
    return same and all(float(a) == pytest.approx(float(b), rel=0.05, abs=0.011) for a, b in pairs)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder my_images of a picture and two volumes, whose middle slice is that picture."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_images"
    folder.mkdir()
    grey = (200 * ellipses(1, 64, seed=3)[0].numpy()[:, 6:58]).round().astype(np.uint8)  # a rectangle
    Image.fromarray(grey).save(folder / "a.png")
    volume = np.stack([0 * grey, grey, 0 * grey], -1)
    volume = np.stack([np.rot90(volume[..., k], -1) for k in range(3)], -1)
    (folder / "b.nii.gz").write_bytes(gzip.compress(nifti(volume, "<", 2)))
    (folder / "c.nii").write_bytes(nifti(volume.astype(np.float32), ">", 16))
    return folder


def test_a_mask_of_ones_own_measures_what_the_transform_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = ran(MASK)
    x = ellipses(1, found.n, seed=1)[0]
    assert torch.allclose(found.y * found.scale, found.op.A(x), atol=1e-4)
    assert float((found.image * found.scale - x).abs().mean()) < 0.05
    assert is_as_shown(capsys.readouterr().out, SHOWN[0])
    with Image.open("attack.png") as shown:
        assert shown.width > 400


def test_units_of_a_scanner_change_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = MASK.split("image = ")[0]
    scanner = start.replace('norm="ortho")', 'norm="ortho") * 5000')
    assert scanner != start and torch.allclose(ran(scanner).y, ran(start).y, atol=1e-4)


def test_a_mask_may_hold_numbers():
    program = MASK.replace("np.tile(lines, (n, 1))", "np.tile(lines, (n, 1)).astype(float)")
    assert torch.equal(ran(program.split("image = ")[0]).y, ran(MASK.split("image = ")[0]).y)


def test_images_of_ones_own_are_read_alike_from_pictures_and_volumes(pictures, capsys):
    found = ran(IMAGES.replace("screen=8", "count=2, screen=1"))
    seen = [found.read(pictures / name) for name in ("a.png", "b.nii.gz", "c.nii")]
    assert all(torch.equal(seen[0], other) for other in seen) and seen[0].shape == (256, 256)
    assert float(seen[0].max()) == 1 and float(seen[0][:, :12].max()) == 0  # the margin of the narrower side
    assert [float(a) > 2 for a in re.findall(r"amplification ([\d.]+)", capsys.readouterr().out)] == [True] * 3
    assert len([*(pictures / "ready").iterdir()]) == 3


def test_negative_values_are_taken_as_zero_before_the_margins(pictures, capsys):
    """As of a Hounsfield slice: the margins are 0 as the air is, and no edge to it overshoots."""
    grey = np.array(Image.open(pictures / "a.png")).astype(np.float32)
    air = np.where(grey > 0, grey, -1000).astype(np.float32)
    for name, values in (("air.nii", air), ("clipped.nii", grey)):
        (pictures / name).write_bytes(nifti(np.rot90(values, -1), "<", 16))
    found = ran(QUICK)
    lines = [line for line in capsys.readouterr().out.splitlines() if "negative" in line]
    assert len(lines) == 1 and f"air.nii: {(grey == 0).mean():.0%} of the pixels" in lines[0]
    assert torch.equal(found.read(pictures / "air.nii"), found.read(pictures / "clipped.nii"))
    assert float(found.read(pictures / "air.nii").min()) == 0


def test_the_brain_is_amplified_as_the_page_says(pictures, capsys):
    for file in pictures.iterdir():
        file.unlink()
    (pictures / "brain.png").write_bytes((ROOT / "results" / "explorer" / "brain.png").read_bytes())
    ran(IMAGES.replace("screen=8", "screen=1"))
    printed, shown = (text.split(" at ")[0] for text in (capsys.readouterr().out, SHOWN[1]))
    assert is_as_shown(printed, shown)  # several pixels are nearly as bad, so that processors may differ on which


def test_slices_series_and_scaled_values_are_read_as_nifti_says(pictures, capsys):
    found = ran(QUICK)
    grey = np.array(Image.open(pictures / "a.png"))
    flat = np.rot90(grey, -1)
    files = {
        "slice.nii": nifti(flat, "<", 2),
        "series.nii": nifti(np.stack([flat[..., None], 0 * flat[..., None]], -1), "<", 2),
        "scaled.nii": nifti(flat.astype(np.int16) - 100, "<", 4, 0.5, 50.0),
        "unscaled.nii": nifti(flat, "<", 2, 0.0, 50.0),  # a slope of 0 means that there is none
        "nan.nii": nifti(np.where(flat > 0, flat, np.nan).astype(np.float32), ">", 16),
    }
    for name, content in files.items():
        (pictures / name).write_bytes(content)
        assert torch.allclose(found.read(pictures / name), found.read(pictures / "a.png"), atol=1e-6), name


def test_what_cannot_be_read_is_left_out_with_a_line(pictures, capsys):
    bad = {
        ".DS_Store": b"\0\0\0\1Bud1",
        "blank.png": None,
        "colour.nii": nifti(np.zeros((4, 4, 1), np.uint8), "<", 128),
        "cut.nii.gz": gzip.compress(nifti(np.ones((40, 40), np.uint8), "<", 2))[:-30],
        "notes.txt": b"of the last scan",
        "short.nii": nifti(np.ones((4, 4), np.uint8), "<", 2)[:-3],
        "two.nii": (540).to_bytes(4, "little") + bytes(600),
    }
    for name, content in bad.items():
        Image.new("L", (32, 32)).save(pictures / name) if content is None else (pictures / name).write_bytes(content)
    found = ran(QUICK)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "left out" in line] == sorted(bad)
    assert [Path(name).name for name in found.pictures] == ["a.png.png", "b.nii.gz.png", "c.nii.png"]
    assert "blank" in next(line for line in lines if line.startswith("blank.png"))
    assert "type 128" in next(line for line in lines if line.startswith("colour.nii"))


def test_a_folder_without_pictures_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_images").mkdir()
    with pytest.raises(SystemExit, match="no picture in my_images"):
        ran(IMAGES)


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="there is no folder .*my_images"):
        ran(IMAGES)


def test_a_network_of_ones_own_is_attacked_in_evaluation_mode_only(capsys):
    found = ran(RECONSTRUCTION)
    assert is_as_shown(capsys.readouterr().out, SHOWN[2]) and not found.network.training
    with pytest.raises(ValueError, match="evaluation mode"):
        found.localized_attack(found.network.train(), found.y, found.op, 0.04, found.phi)


def test_an_operator_of_ones_own_in_other_packages_names(capsys):
    found = ran(OPERATOR)
    assert found.result.criterion == "by residuals" and bool(found.result.converged)
    assert is_as_shown(capsys.readouterr().out, SHOWN[3])


def test_coils_are_an_operator_too(capsys):
    found = ran(COILS)
    assert found.op.m == 4 * int(found.mask.sum())
    assert is_as_shown(capsys.readouterr().out, SHOWN[4])


def test_a_curve_of_a_sweep_is_named_by_its_file():
    paths = ["/a/long/folder/a.png", "/a/long/folder/b.png"]
    assert [_labels(paths)(path) for path in paths] == ["a.png", "b.png"]
    same = ["/one/a.png", "/other/a.png"]  # two curves of one name
    assert [_labels(same)(path) for path in same] == same
    assert _labels([0.5])(0.5) == "0.5" and _labels(())("mean") == "mean"


@pytest.mark.parametrize("coils", [None, 3])
def test_zeros_that_deepinv_fills_in_are_no_measurements(coils):
    """Its MRI gives k-space of the image's size, with zeros off the mask, for one coil or several."""
    found, fourier = ran(OPERATOR.split("class Blur")[0]), MaskedFourier(radial_mask(32, 10))
    sensitivities = torch.ones(1, 32, 32, dtype=torch.complex64) if coils is None else simulated_coils(coils, 32)
    ours = coil_operator(fourier.mask, sensitivities)

    class MRI:  # named as deepinv does: real and imaginary parts are channels, then coils if there are several
        def A(self, x):
            images = sensitivities * torch.complex(x[:, 0], x[:, 1])[:, None]
            k_space = fourier.mask * torch.fft.fftshift(torch.fft.fft2(images, norm="ortho"), (-2, -1))
            return torch.stack([k_space.real, k_space.imag], 1).squeeze(2)

        def A_adjoint(self, y):
            k_space = fourier.mask * torch.complex(y[:, 0], y[:, 1]).reshape(-1, *sensitivities.shape)
            images = torch.fft.ifft2(torch.fft.ifftshift(k_space, (-2, -1)), norm="ortho")
            x = (sensitivities.conj() * images).sum(1)
            return torch.stack([x.real, x.imag], 1)

    op = found.from_deepinv(MRI(), 32)
    x, y = ellipses(2, 32, seed=1), torch.randn(2, ours.m, dtype=torch.complex64)
    assert op.m == ours.m == (coils or 1) * fourier.m
    assert torch.allclose(op.A(x), ours.A(x), atol=1e-5) and torch.allclose(
        op.A_adjoint(y), ours.A_adjoint(y), atol=1e-5
    )


def test_the_bridge_to_mrpro_is_the_masked_transform():
    found, fourier = ran(OPERATOR.split("class Blur")[0]), MaskedFourier(radial_mask(32, 10))

    class Operator:  # named as mrpro does: a tuple out, images (b, coils, z, y, x)
        def __call__(self, x):
            return (fourier.A(x).unflatten(-1, (2, -1)),)

        def adjoint(self, y):
            return (fourier.A_adjoint(y.flatten(-2)),)

    op = found.from_mrpro(Operator(), 32)
    y = fourier.A(ellipses(1, 32, seed=1)[0])
    assert op.m == fourier.m and torch.allclose(op.A_adjoint(y), fourier.A_adjoint(y))
    theirs, ours = (reconstruct_tv(y, one, 1e-3, tol=1e-4).image for one in (op, fourier))
    assert float((theirs - ours).abs().max()) < 1e-2


def test_the_notebook_of_one_attack_runs_over_a_folder(pictures):
    ran(QUICK)
    file = pictures.parent / "my_images.yml"  # which the program has written
    asked, shown = yaml.safe_load(file.read_text()), yaml.safe_load(SWEEP)
    ready = asked["parameters"].pop("picture")
    assert [Path(name).name for name in ready] == ["a.png.png", "b.nii.gz.png", "c.nii.png"]
    assert {Path(name).name for name in shown["parameters"].pop("picture")} < {Path(name).name for name in ready}
    assert asked == shown
    asked |= {"notebook": str(ROOT / "notebooks" / "beyond.ipynb")}
    asked["parameters"] |= {"picture": ready, "noise_rel": [0.04]}
    file.write_text(yaml.safe_dump(asked))
    sweep = read_sweep(file)
    source = sweep.notebook.read_text(encoding="utf-8")
    rows, files = execute(source, str(sweep.notebook.parent), picture=ready[0], noise_rel=0.04)
    assert float(rows[0]["alpha"]) > 2 and rows[0]["picture"] == ready[0]
    assert result(nbformat.reads(next(iter(files.values())).decode(), 4))
