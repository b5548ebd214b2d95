"""That nothing of a GPU's work mixes it with the CPU, on a pretended GPU: a real one is seldom at hand."""

import numpy as np
import pytest
import torch
from pretended import CPU, GPU, PretendedGPU

from lib.networks import Reconstruction
from lib.operators import MaskedFourier, radial_mask
from lib.runs import attacks, authors_search, gpu_checks, gpu_speed
from lib.runs.attacks import Configuration
from lib.runs.checkpoints import Clock
from lib.runs.training import SETTINGS, log_row, training_step
from lib.runs.weights import PRESETS


@pytest.fixture
def pretended(monkeypatch):
    return PretendedGPU(monkeypatch)


@pytest.mark.parametrize("case", list(gpu_checks.checks(False)), ids=lambda case: case[0])
def test_checks(case, monkeypatch):
    _, compute, limit = case
    expected = compute(torch.device("cpu"))  # by the compiled loops
    pretended = PretendedGPU(monkeypatch)
    with pretended:
        found = compute(GPU)  # by the formulas
    assert pretended.mixed == [] and pretended.place[found] == GPU
    assert (found - expected).norm() <= limit * expected.norm()


@pytest.mark.parametrize("case", list(gpu_speed.cases(False)), ids=lambda case: f"{case[0]} {case[1]} {case[2]}")
def test_cases(case, pretended):
    _, n, batch, make = case
    with pretended:
        make(n, batch, GPU)()
    assert pretended.mixed == []


@pytest.mark.parametrize("learned", [False, True])
def test_a_step_of_a_training(learned, pretended):
    network = Reconstruction(MaskedFourier(radial_mask(32, 8)), PRESETS["trial"], learned)
    settings, clock = SETTINGS["trial"], Clock()
    with pretended:
        network.to(GPU)
        assert network.op.mask.device == GPU
        loss = training_step(network, torch.optim.Adam([{"params": network.parameters(), "peak": 1}]), settings, clock)
        row = log_row(network, settings, clock, 1.0, images=1)
    assert pretended.mixed == []
    assert float(loss) > 0 < float(row["error_clean"])


def test_the_pretended_gpu_sees_what_a_real_one_would_refuse(pretended):
    with pretended:
        one, two = torch.ones(3, device=GPU), torch.ones(3)
        assert (one.device, two.device) == (GPU, torch.device("cpu")) and (one * 2).is_cuda
        assert (one.cpu() + two).device == two.device and (one + two.to("cuda")).device == GPU
        assert pretended.mixed == []
        _ = one + two
        assert pretended.mixed == ["add of [(3,), (3,)]"]
        with pytest.raises(ValueError, match="x must be on cuda:0, got cpu; see op.to"):
            MaskedFourier(radial_mask(16, 4)).to(GPU).A(torch.ones(16, 16))


def test_the_authors_search_and_attack(monkeypatch, pretended):
    monkeypatch.setenv("LIB_DEVICE", str(GPU))
    monkeypatch.setattr(attacks, "_penalised", lambda one: (2e-3, 0.1))
    attacks._operator.cache_clear()
    small = Configuration(n=32, lines=9, grid=2, preset="quick", optimiser="authors")
    with pretended:
        errors = authors_search.measured_errors(9, 0.04, 0, "1001" + "0" * 621, 32)
        found = attacks.attack(small, 0)
    attacks._operator.cache_clear()
    assert pretended.mixed == []
    assert (~np.isnan(errors)).sum() == 2
    assert all(pretended.place.get(a, CPU) == CPU for a in (found.x, found.e, found.artifact))
