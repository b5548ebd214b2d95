"""Tira for the page: its trained numbers as text, from which ``network.js`` in ``book/_static`` builds it."""

import base64
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lib.networks import load_network
from lib.runs.frames import PRESET


def network_data(name: str = "tira", preset: str = PRESET) -> dict[str, Any]:
    r"""The Tiramisu of a trained network, each number once, in the order of torch's modules.

    Batch norm does not change any more: it is a scale :math:`s = \gamma/\sqrt{v + \epsilon}` and a shift
    :math:`\beta - s \mu` of each channel.

    Returns
    -------
    ``sizes``, those of the network; ``floats``, scales and shifts in single precision; ``halves``, weights and biases
    of the convolutions in half precision, as they are stored. The numbers are base64, little-endian.
    """
    net = load_network(name, preset).net
    floats: list[Tensor] = []
    halves: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            (gamma, beta), (mean, variance, _) = module.parameters(), module.buffers()
            scale = gamma / (variance + module.eps).sqrt()
            floats += [scale, beta - scale * mean]
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            halves += module.parameters()
    return {
        "sizes": asdict(net.sizes),
        "floats": _text(floats, torch.float32, "<f4"),
        "halves": _text(halves, torch.float16, "<f2"),
    }


def _text(values: list[Tensor], dtype: torch.dtype, layout: str) -> str:
    flat = torch.cat([value.detach().flatten() for value in values]).to(dtype)
    return base64.b64encode(flat.numpy().astype(layout).tobytes()).decode()
