"""The learned reconstructions Tira and TiraFL (Section 2.1): the Tiramisu, the inversions before it, their weights."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from lib import checks
from lib.operators import REAL, MaskedFourier, check_measurements, radial_mask

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
N, LINES = 256, 40  # the problem that the paper trains for
NETWORKS = ("tira", "tirafl")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network.

    Attributes
    ----------
    down, bottleneck, up : numbers of layers of the dense blocks, from fine to coarse, at the bottom, and back.
    growth : channels that each layer adds.
    first : channels of the first convolution.
    fold : side of the squares of pixels that become channels before the network, 1 for none.
    inversion_noise : TiraFL starts at the inverse Fourier transform plus Gaussian noise of this size, relative to
        the entries of the transform.
    """

    down: tuple[int, ...]
    bottleneck: int
    up: tuple[int, ...]
    growth: int
    first: int
    fold: int
    inversion_noise: float

    def __post_init__(self) -> None:
        checks.number("Sizes", "inversion_noise", self.inversion_noise, 0, least=True)
        for name in ("bottleneck", "growth", "first", "fold"):
            checks.integer("Sizes", name, getattr(self, name), 1)
        for name in ("down", "up"):
            for layers in checks.instance("Sizes", name, getattr(self, name), tuple):
                checks.integer("Sizes", name, layers, 1)
        if len(self.up) != len(self.down):
            raise ValueError(f"Sizes: up must have as many blocks as down, {len(self.down)}, got {len(self.up)}")

    @property
    def divisor(self) -> int:
        """What the side of an image must be a multiple of."""
        return self.fold * 2 ** len(self.down)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=0.02)  # batches are small, so the running statistics take many


class _Layer(nn.Sequential):
    def __init__(self, channels: int, growth: int):
        super().__init__(_norm(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1))


class _DenseBlock(nn.ModuleList):
    """Layers that each see all channels before them; returns the new channels alone."""

    def __init__(self, channels: int, growth: int, layers: int):
        super().__init__(_Layer(channels + i * growth, growth) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        new: list[Tensor] = []
        for layer in self:
            new.append(layer(torch.cat([x, *new], 1)))
        return torch.cat(new, 1)


class Tiramisu(nn.Module):
    r"""The fully convolutional network of Jégou et al. (2017), [15] of the paper, without dropout.

    Dense blocks on the way down, each followed by batch norm, ReLU, a 1 x 1 convolution and a 2 x 2 maximum; one at the
    bottom; on the way up transposed convolutions of stride 2, each joined with the channels of the same size on the way
    down and followed by a dense block that passes on only its new channels. The last convolution starts at zero, so
    that training starts from the identity in :math:`z + \mathrm{net}(z)`. It has 2 channels in and
    out, real and imaginary part.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = checks.instance("Tiramisu", "sizes", sizes, Sizes)
        growth, channels = sizes.growth, sizes.first
        ends = 2 * sizes.fold**2
        self.first = nn.Conv2d(ends, channels, 3, padding=1)
        self.down, self.pool, self.rise, self.up = (nn.ModuleList() for _ in range(4))
        skips = []
        for layers in sizes.down:
            self.down.append(_DenseBlock(channels, growth, layers))
            channels += layers * growth
            skips.append(channels)
            self.pool.append(
                nn.Sequential(_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.MaxPool2d(2))
            )
        self.bottom = _DenseBlock(channels, growth, sizes.bottleneck)
        new = sizes.bottleneck * growth
        for layers, skip in zip(sizes.up, reversed(skips), strict=True):
            self.rise.append(nn.ConvTranspose2d(new, new, 3, stride=2, padding=1, output_padding=1))
            channels = new + skip
            self.up.append(_DenseBlock(channels, growth, layers))
            new = layers * growth
        self.last = nn.Conv2d(channels + new, ends, 1)  # it sees the last block's input, too
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, 2, n, n)`` real to the same; n a multiple of ``sizes.divisor``."""
        checks.tensor("Tiramisu", "x", x, ("b", 2, "n", "n"), REAL)
        if any(side % self.sizes.divisor or not side for side in x.shape[-2:]):
            raise ValueError(
                f"Tiramisu: x must have sides that {self.sizes.divisor} divides, got {tuple(x.shape[-2:])}"
            )
        x = self.first(functional.pixel_unshuffle(x, self.sizes.fold))
        skips = []
        for block, pool in zip(self.down, self.pool, strict=True):
            x = torch.cat([x, block(x)], 1)
            skips.append(x)
            x = pool(x)
        new = self.bottom(x)
        for rise, block in zip(self.rise, self.up, strict=True):
            x = torch.cat([rise(new), skips.pop()], 1)
            new = block(x)
        return functional.pixel_shuffle(self.last(torch.cat([x, new], 1)), self.sizes.fold)


class LearnedInversion(nn.Module):
    r"""A learnable linear map :math:`\mathbb{C}^m \to \mathbb{C}^{n \times n}` in place of :math:`\mathcal{A}^\dagger`.

    The measurements are put on the grid of frequencies, zero elsewhere. Then one real :math:`2n \times 2n` matrix acts
    on the columns and one on the rows, on real and imaginary parts stacked. Both start at the inverse Fourier transform

    .. math::
        \begin{pmatrix} C & -S \\ S & C \end{pmatrix}, \qquad
        C_{jk} + i S_{jk} = \tfrac{1}{\sqrt n} e^{2\pi i jk/n},

    plus Gaussian noise of standard deviation ``noise``:math:`/\sqrt n` in each entry.
    """

    def __init__(self, op: MaskedFourier, noise: float):
        super().__init__()
        self.op = checks.instance("LearnedInversion", "op", op, MaskedFourier)
        noise = checks.number("LearnedInversion", "noise", noise, 0, least=True)
        index = torch.arange(op.n, dtype=torch.float64)
        angle = 2 * math.pi / op.n * (index[:, None] * index % op.n)
        cos, sin = angle.cos() / math.sqrt(op.n), angle.sin() / math.sqrt(op.n)
        inverse = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)]).float()
        self.columns, self.rows = (
            nn.Parameter(inverse + noise / math.sqrt(op.n) * torch.randn_like(inverse)) for _ in range(2)
        )

    def forward(self, y: Tensor) -> Tensor:
        """``(batch, m)`` complex64 to ``(batch, 2, n, n)`` real."""
        grid = self.op.k_space(y)
        grid = self.columns @ torch.cat([grid.real, grid.imag], -2)  # frequencies to pixels down the columns
        real, imag = grid.split(self.op.n, -2)
        grid = torch.cat([real, imag], -1) @ self.rows.T
        return torch.stack(grid.split(self.op.n, -1), 1)


class Reconstruction(nn.Module):
    r"""Tira or TiraFL: :math:`y \mapsto z + \mathrm{net}(z)`, with an inversion :math:`z` of the measurements first.

    :math:`z = \mathcal{A}^\dagger y` for Tira; a :class:`LearnedInversion` for TiraFL.

    Parameters
    ----------
    op : the forward operator, on the CPU, n a multiple of ``sizes.divisor``; ``.to(device)`` moves it, too.
    sizes : sizes of the network.
    learned : whether the inversion is learned.
    seed : seed of the initial weights.

    >>> op = MaskedFourier(radial_mask(32, 8))
    >>> sizes = Sizes((3, 4, 5), 6, (5, 4, 3), growth=16, first=32, fold=2, inversion_noise=1 / 256)
    >>> tira = Reconstruction(op, sizes, learned=False)
    >>> y = op.A(torch.ones(32, 32))
    >>> torch.allclose(tira(y), op.A_dagger(y), atol=1e-6)  # before any training
    True
    """

    def __init__(self, op: MaskedFourier, sizes: Sizes, learned: bool, seed: int = 0):
        super().__init__()
        self.op, seed = checks.instance("Reconstruction", "op", op, MaskedFourier), checks.seed("Reconstruction", seed)
        checks.instance("Reconstruction", "learned", learned, bool)
        if op.n % checks.instance("Reconstruction", "sizes", sizes, Sizes).divisor:
            raise ValueError(f"Reconstruction: op must have a side that {sizes.divisor} divides, got {op.n}")
        with torch.random.fork_rng(devices=()):
            torch.random.default_generator.manual_seed(seed)  # not that of a GPU, which would stay reset
            self.net = Tiramisu(sizes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.inversion = LearnedInversion(op, sizes.inversion_noise) if learned else None
        self.eval()

    def _apply(self, fn, recurse=True):  # what .to(device) calls: the operator is no buffer
        super()._apply(fn, recurse)
        self.op = self.op.to(self.net.first.weight.device)
        if self.inversion is not None:
            self.inversion.op = self.op
        return self

    def invert(self, y: Tensor) -> Tensor:
        """The input of the network: ``(batch, m)`` complex64 to ``(batch, 2, n, n)`` real."""
        if self.inversion is not None:
            return self.inversion(y)
        return torch.view_as_real(self.op.A_dagger(y)).movedim(-1, 1)

    def refine(self, z: Tensor) -> Tensor:
        """``z + net(z)``, ``(batch, 2, a, b)`` real; also for crops, sides multiples of ``sizes.divisor``."""
        return z + self.net(z.contiguous(memory_format=torch.channels_last)).float()

    def resume(self, y: Tensor, state: None = None) -> tuple[Tensor, None]:
        """The image whose derivative an attack follows (`lib.attack`): in bfloat16 where that is fast.

        The direction of the gradient is that of single precision within about 12 degrees, see
        ``results/bench_networks.csv``. What an attack found is evaluated by a call of the network, in single precision.
        """
        return self._image(y, fast_bfloat16(y.device)), state

    def forward(self, y: Tensor) -> Tensor:
        """Measurements ``(..., m)`` to images ``(..., n, n)`` of their complex dtype, computed in single precision."""
        return self._image(y, False)

    def _image(self, y: Tensor, half: bool) -> Tensor:
        check_measurements("Reconstruction", y, self.op)
        if y.numel() == 0:  # folding refuses an empty batch
            return y.new_zeros(*y.shape[:-1], self.op.n, self.op.n)
        z = self.invert(y.reshape(-1, self.op.m).to(torch.complex64))
        with torch.autocast(y.device.type, torch.bfloat16, enabled=half):
            z = self.refine(z)
        return torch.complex(z[:, 0], z[:, 1]).to(y.dtype).reshape(*y.shape[:-1], self.op.n, self.op.n)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 pays: on GPUs and processors with instructions for it (a step takes about 0.6 of the time)."""
    if checks.instance("fast_bfloat16", "device", device, torch.device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return "avx512_bf16" in _cpuinfo()


@functools.cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def load_network(
    name: str, preset: str = "compact", *, device: str | torch.device = "cpu", folder: Path = WEIGHTS
) -> Reconstruction:
    r"""A trained network for the paper's problem, 256 x 256 pixels and 40 lines.

    Parameters
    ----------
    name : ``"tira"`` or ``"tirafl"``.
    preset : which training of it, ``"compact"`` or another that the manifest has.
    device : where it computes.
    folder : where the weights and their manifest lie.

    Returns
    -------
    A callable from measurements ``(..., m)`` to complex images ``(..., n, n)``: differentiable, in evaluation mode, its
    weights frozen.

    Raises
    ------
    ValueError : a file is not the one of the manifest.
    FileNotFoundError : weights or manifest are missing. The message says which command makes them.
    """
    checks.one_of("load_network", "name", name, NETWORKS)
    folder = Path(checks.instance("load_network", "folder", folder, str, Path))
    device = checks.device("load_network", device)
    checks.instance("load_network", "preset", preset, str)
    key, remedy = f"{name}-{preset}", f"`make train NETWORK={name} PRESET={preset}` makes it"
    entry = read_manifest(folder).get(key)
    if entry is None:
        raise FileNotFoundError(f"load_network: no trained {key} in {folder.name}/manifest.json; {remedy}")
    state: dict[str, Tensor] = {}
    for file in entry["files"]:
        path, shown = folder / file["name"], f"load_network: {folder.name}/{file['name']}"
        if not path.exists():
            raise FileNotFoundError(f"{shown} is missing; {remedy} anew")
        content = path.read_bytes()
        if len(content) != file["bytes"]:
            raise ValueError(f"{shown} has {len(content)} bytes, the manifest says {file['bytes']}; {remedy} anew")
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError(f"{shown} has another SHA-256 than the manifest says; {remedy} anew")
        state |= load(content)
    network = Reconstruction(MaskedFourier(radial_mask(N, LINES)), _sizes(entry), learned=name == "tirafl")
    counters = {k: v for k, v in network.state_dict().items() if not v.is_floating_point()}  # of batch norm; not stored
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()} | counters)
    except RuntimeError:
        raise ValueError(f"load_network: {folder.name} has {key} of another architecture; {remedy} anew") from None
    return network.to(device).eval().requires_grad_(False)


def read_manifest(folder: Path = WEIGHTS) -> dict[str, dict]:
    r"""What ``manifest.json`` says of each trained network, by name and preset such as ``"tira-compact"``.

    ``sizes`` are those of the network. ``runs``, ``steps`` and ``minutes`` count the whole training, for TiraFL without
    that of the Tira it started from; ``log`` has each run. ``command``, ``settings``, ``phantoms_drawn``, ``device``
    and ``version`` are of the last run, or as if all had been like it. ``validation_error`` is the mean of
    :math:`\||z| - x\|_2/\|x\|_2` by noise level.

    Returns
    -------
    ``{}`` where there is no manifest.

    Raises
    ------
    ValueError : the file is not such a manifest.
    """
    path = Path(checks.instance("read_manifest", "folder", folder, str, Path)) / "manifest.json"
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
        for entry in found.values():
            _sizes(entry)
            if not all({"name", "bytes", "sha256"} <= set(file) for file in entry["files"]):
                raise KeyError("name, bytes or sha256")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"read_manifest: {path.parent.name}/{path.name} is damaged, {what}; restore it") from None
    return found


def _sizes(entry: dict) -> Sizes:
    return Sizes(**entry["sizes"] | {side: tuple(entry["sizes"][side]) for side in ("down", "up")})
