"""Cut the explorer's picture of a brain from the MNI template: ``python book/brain.py TEMPLATE.nii.gz``.

The template is in nilearn's wheel (``pip download --no-deps nilearn``), under nilearn/datasets/data. The axial slice
8 mm above the origin is laid on 256 x 256 pixels of 1 mm, seen from above with the front on top, and written into
results/explorer/brain.png.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).parents[1] / "results" / "explorer" / "brain.png"
N, HEIGHT = 256, 8  # pixels; mm


def axial_slice(file: Path) -> np.ndarray:
    """The slice (256, 256) of a NIfTI file of bytes with voxels of 1 mm."""
    data = gzip.decompress(file.read_bytes())
    shape, (code,) = struct.unpack_from("<3h", data, 42), struct.unpack_from("<h", data, 70)
    (start,), (lowest,) = struct.unpack_from("<f", data, 108), struct.unpack_from("<f", data, 324)  # bytes; mm
    if code != 2:
        raise ValueError(f"axial_slice: {file} must hold bytes (NIfTI type 2), got type {code}")
    voxels = np.frombuffer(data, np.uint8, offset=int(start)).reshape(shape, order="F")
    cut = np.rot90(voxels[:, :, HEIGHT - int(lowest)])
    top, left = ((N - side) // 2 for side in cut.shape)
    picture = np.zeros((N, N), np.uint8)
    picture[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return picture


if __name__ == "__main__":
    Image.fromarray(axial_slice(Path(sys.argv[1]))).save(OUT, optimize=True)
