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

from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.sweep import execute, read_sweep, result
from lib.tv import reconstruct_tv

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "book" / "your_own.md").read_text(encoding="utf-8")
MASK, IMAGES, RECONSTRUCTION, OPERATOR = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(SWEEP,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def ran(program):
    """The names that a program of the page has left."""
    module = types.ModuleType("program")
    exec(compile(program, "your_own.md", "exec"), module.__dict__)
    return types.SimpleNamespace(**vars(module))


def nifti(voxels, end, code):
    """The bytes of a NIfTI-1 file."""
    header = bytearray(352)
    struct.pack_into(f"{end}i", header, 0, 348)
    struct.pack_into(f"{end}4h", header, 40, 3, *voxels.shape)
    struct.pack_into(f"{end}h", header, 70, code)
    struct.pack_into(f"{end}f", header, 108, 352)
    return bytes(header) + voxels.astype(voxels.dtype.newbyteorder(end)).tobytes(order="F")


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


def test_a_mask_of_ones_own_measures_what_the_transform_says(capsys):
    found = ran(MASK)
    x = ellipses(1, found.n, seed=1)[0]
    assert torch.allclose(found.y, found.op.A(x), atol=1e-4)
    assert float((found.image - x).abs().mean()) < 0.05 and 1 < float(found.attack.amplification) < 20
    assert "n^2/m=" in capsys.readouterr().out


def test_images_of_ones_own_are_read_alike_from_pictures_and_volumes(pictures, capsys):
    found = ran(IMAGES.replace("screen=8", "screen=1"))
    seen = [found.read(pictures / name) for name in ("a.png", "b.nii.gz", "c.nii")]
    assert all(torch.equal(seen[0], other) for other in seen) and seen[0].shape == (256, 256)
    assert float(seen[0].max()) == 1 and float(seen[0][:, :12].max()) == 0  # the margin of the narrower side
    assert [float(a) > 2 for a in re.findall(r"amplification ([\d.]+)", capsys.readouterr().out)] == [True] * 3
    assert len([*(pictures / "ready").iterdir()]) == 3


def test_a_network_of_ones_own_is_attacked_in_evaluation_mode_only(capsys):
    found = ran(RECONSTRUCTION.replace("range(60)", "range(10)"))
    assert float(found.attack.objective) > 0 and not found.network.training
    with pytest.raises(ValueError, match="evaluation mode"):
        found.localized_attack(found.network.train(), found.y, found.op, 0.04, found.phi)


def test_an_operator_of_ones_own_in_other_packages_names(capsys):
    found = ran(OPERATOR)
    assert found.result.criterion == "by residuals" and bool(found.result.converged)
    assert float(found.attack.amplification) > 1


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


@pytest.mark.slow
def test_the_notebook_of_one_attack_runs_over_a_folder(pictures):
    ran(IMAGES.replace("screen=8", "screen=1"))
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
