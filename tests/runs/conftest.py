"""What the tests of the tables share."""

import contextlib
import functools

import pytest
import torch

from lib import networks
from lib.networks import Reconstruction, Sizes
from lib.operators import MaskedFourier, radial_mask
from lib.runs import attacks, comparison, engine
from lib.runs.cluster import _task
from lib.runs.weights import PRESETS, save_network


@pytest.fixture
def inline(monkeypatch):
    """The engine without workers: it computes cells here, one after the other. Gives back the list of them."""
    ran = []

    def computed(client, compute, code, cells):
        for cell in cells:
            ran.append(cell)
            yield cell, _task(compute, code, cell)

    monkeypatch.setattr(engine, "connect", lambda *_: contextlib.nullcontext(object()))
    monkeypatch.setattr(engine, "computed", computed)
    return ran


@pytest.fixture
def small_networks(tmp_path, monkeypatch):
    """Networks of 32 x 32 pixels in a folder of their own, whose weights can be changed."""
    sizes, folder = Sizes((1,), 1, (1,), growth=4, first=4, fold=2, inversion_noise=0.01), tmp_path / "weights"
    read_manifest, load_network = networks.read_manifest, networks.load_network
    monkeypatch.setitem(PRESETS, "compact", sizes)
    for module in (networks, comparison):
        monkeypatch.setattr(module, "N", 32)
        monkeypatch.setattr(module, "read_manifest", lambda _=None: read_manifest(folder))
        monkeypatch.setattr(module, "load_network", functools.partial(load_network, folder=folder))
    monkeypatch.setattr(attacks, "_loaded", {})

    def publish(seed=0, names=networks.NETWORKS):
        op = MaskedFourier(radial_mask(32, 40))
        for name in names:
            network = Reconstruction(op, sizes, name == "tirafl", seed=seed)
            with torch.no_grad():
                network.net.last.weight += 0.1
            save_network(network, f"{name}-compact", {"seed": seed}, folder=folder)

    publish()
    return publish
