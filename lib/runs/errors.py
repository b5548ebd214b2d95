"""Errors of a reconstruction on phantoms, without noise and with it."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.operators import MaskedFourier, add_noise
from lib.phantoms import ellipses
from lib.runs.section4 import LEVELS as ATTACKED

LEVELS = (0.0, *ATTACKED)  # noise at which errors are recorded
IMAGES = 50  # phantoms behind a published error


@torch.no_grad()
def errors(
    reconstruct: Callable[[Tensor], Tensor], op: MaskedFourier, noise_rel: float, images: int, seed: int
) -> tuple[Tensor, Tensor]:
    r"""Relative errors over the first phantoms of a stream, with Gaussian noise of the given size.

    Parameters
    ----------
    reconstruct : measurements ``(b, m)`` to images ``(b, n, n)``.
    op : the forward operator.
    noise_rel : norm of the noise relative to the measurements. Its seeds are 0, 8, ... for every stream.
    images : how many phantoms.
    seed : the stream.

    Returns
    -------
    Two ``(images,)`` tensors: :math:`\||z| - x\|_2 / \|x\|_2`, what the eye sees and the loss measures, and
    :math:`\|z - x\|_2 / \|x\|_2`.
    """
    moduli, full = [], []
    for first in range(0, images, 8):
        x = ellipses(min(8, images - first), op.n, seed=seed, first=first, device=op.mask.device)
        z = reconstruct(add_noise(op.A(x), noise_rel, seed=first))
        norm = torch.linalg.vector_norm(x, dim=(1, 2))
        moduli.append(torch.linalg.vector_norm(z.abs() - x, dim=(1, 2)) / norm)
        full.append(torch.linalg.vector_norm(z - x, dim=(1, 2)) / norm)
    return torch.cat(moduli), torch.cat(full)
