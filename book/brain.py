"""Cut axial slices of a brain from the MNI template: ``python book/brain.py TEMPLATE.nii.gz``.

The template is in nilearn's wheel (``pip download --no-deps nilearn``), under nilearn/datasets/data. Slices are laid
on 256 x 256 pixels of 1 mm, seen from above with the front on top. The one 8 mm above the origin is the explorer's
picture, results/explorer/brain.png. Six, named by their heights, are in results/slices.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parents[1] / "results"
N, HEIGHT, HEIGHTS = 256, 8, (-24, -8, 8, 24, 40, 56)  # pixels; mm


def axial_slice(file: Path, height: int = HEIGHT) -> np.ndarray:
    """The slice (256, 256) at this height of a NIfTI file of bytes with voxels of 1 mm."""
    data = gzip.decompress(file.read_bytes())
    shape, (code,) = struct.unpack_from("<3h", data, 42), struct.unpack_from("<h", data, 70)
    (start,), (lowest,) = struct.unpack_from("<f", data, 108), struct.unpack_from("<f", data, 324)  # bytes; mm
    if code != 2:
        raise ValueError(f"axial_slice: {file} must hold bytes (NIfTI type 2), got type {code}")
    voxels = np.frombuffer(data, np.uint8, offset=int(start)).reshape(shape, order="F")
    cut = np.rot90(voxels[:, :, height - int(lowest)])
    top, left = ((N - side) // 2 for side in cut.shape)
    picture = np.zeros((N, N), np.uint8)
    picture[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return picture


if __name__ == "__main__":
    template = Path(sys.argv[1])
    Image.fromarray(axial_slice(template)).save(RESULTS / "explorer" / "brain.png", optimize=True)
    (RESULTS / "slices").mkdir(exist_ok=True)
    for height in HEIGHTS:
        Image.fromarray(axial_slice(template, height)).save(RESULTS / "slices" / f"{height}.png", optimize=True)
