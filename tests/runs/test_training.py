"""Training: data without overlap, a falling loss, a schedule that ends at zero, resuming as if never stopped."""

import dataclasses
import itertools
import math
import re

import pytest
import torch
from helpers import OP, SMALL, random

from lib import networks
from lib.networks import LINES, WEIGHTS, N, Reconstruction, load_network, read_manifest
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs import checkpoints, training
from lib.runs.checkpoints import Clock, set_compared
from lib.runs.comparison import LEVELS, errors
from lib.runs.frames import EXAMPLE
from lib.runs.section4 import CALIBRATION, TEST, THEORY, TRAINING, VALIDATION
from lib.runs.tables import ROOT, read_rows
from lib.runs.training import (
    SETTINGS,
    Settings,
    cut,
    modulus_loss,
    publish,
    start,
    train,
    training_batch,
)
from lib.runs.weights import PRESETS, save_network

QUICK = Settings(batch=2, crop=16, rate=2e-3, inversion_rate=1e-4)


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


# --- Data


def test_training_validation_and_test_use_different_streams_and_so_does_the_calibration():
    assert len({TRAINING, VALIDATION, TEST, CALIBRATION, THEORY, EXAMPLE["seed"]}) == 6
    x = torch.cat([ellipses(10, 32, seed=seed) for seed in (TRAINING, VALIDATION, TEST)]).flatten(1)
    assert (torch.cdist(x, x) + 1e3 * torch.eye(30)).min() > 0.5


def test_training_asks_for_phantoms_of_its_own_stream_only(monkeypatch):
    asked = []

    def record(count, n, seed, first, device):
        asked.append((seed, first, count))
        return ellipses(count, n, seed, first, device)

    monkeypatch.setattr(training, "ellipses", record)
    training._round.cache_clear()
    for step in range(70):
        training_batch(OP, QUICK, step)
    training._round.cache_clear()
    # rounds of 16 phantoms, each used 4 times in batches of 2, one after the other without overlap
    assert asked == [(TRAINING, 0, 16), (TRAINING, 16, 16), (TRAINING, 32, 16)]


def test_each_phantom_of_a_round_is_used_equally_often(monkeypatch):
    numbers = torch.arange(1.0, 17)[:, None, None]
    monkeypatch.setattr(training, "ellipses", lambda count, n, **_: numbers[:count].expand(count, n, n))
    training._round.cache_clear()
    used = torch.cat([training_batch(OP, QUICK, step)[1][:, 0, 0] for step in range(32)])
    training._round.cache_clear()
    assert torch.equal(torch.bincount(used.long())[1:], torch.full((16,), 4))
    passes = used.view(4, 16)
    assert all(len(set(one.tolist())) == 16 for one in passes)
    assert not torch.equal(passes[0], passes[1])


def test_a_batch_depends_on_its_step_alone_and_no_two_are_the_same():
    torch.manual_seed(0)
    y, x = training_batch(OP, QUICK, 5)
    training_batch(OP, QUICK, 40)
    torch.manual_seed(1)
    again = training_batch(OP, QUICK, 5)
    assert torch.equal(y, again[0]) and torch.equal(x, again[1])
    batches = [training_batch(OP, QUICK, step)[0] for step in range(64)]
    flat = torch.view_as_real(torch.cat(batches)).flatten(1)
    assert (torch.cdist(flat, flat) + 1e3 * torch.eye(len(flat))).min() > 1e-3


def test_measurements_are_those_of_the_images_with_noise_up_to_a_tenth():
    settings = dataclasses.replace(QUICK, batch=64)
    y, x = training_batch(OP, settings, 0)
    level = torch.linalg.vector_norm(y - OP.A(x), dim=-1) / torch.linalg.vector_norm(OP.A(x), dim=-1)
    assert 0 < level.min() < 0.005 and 0.06 < level.max() < 0.13
    assert level.median() == pytest.approx(0.025, abs=0.012)  # 0.1 U^2: half of them below a fortieth
    noise = y - OP.A(x)
    assert noise.real.std() == pytest.approx(noise.imag.std().item(), rel=0.1)


def test_with_jitter_the_noise_has_the_law_of_the_authors():
    settings = dataclasses.replace(QUICK, jitter=10.0)
    norms = []
    for step in range(200):
        y, x = training_batch(OP, settings, step)
        noise = torch.view_as_real(y - OP.A(x)).flatten(1)  # 2m numbers N(0, (10 U)^2/m), one U for both images
        assert torch.linalg.vector_norm(noise[0]) == pytest.approx(torch.linalg.vector_norm(noise[1]).item(), rel=0.4)
        norms.append(noise.square().sum(1).mean().sqrt() / math.sqrt(2))  # 10 U
    u = torch.stack(norms).sort().values / 10
    uniform = (torch.arange(200) + 0.5) / 200
    assert (u - uniform).abs().max() < 0.1  # the Kolmogorov distance that one in thirty samples exceeds
    real, imag = (part.square().mean() for part in (noise[:, ::2], noise[:, 1::2]))
    assert real.item() == pytest.approx(imag.item(), rel=0.4)


def test_symmetries_keep_the_law_and_vary():
    # each batch is an image of the round up to a flip or a transposition
    whole = training._round(32, 16, 0, OP.mask.device)
    seen = set()
    for step in range(32):
        _, x = training_batch(OP, QUICK, step)
        for number, change in enumerate(
            lambda z, flips=flips, swap=swap: (z.flip(flips) if flips else z).transpose(-1, -2 if swap else -1)
            for swap in (False, True)
            for flips in ([], [-1], [-2], [-1, -2])
        ):
            if (change(x[:1]) == whole).flatten(1).all(1).any():
                seen.add(number)
                break
        else:
            raise AssertionError("not an image of the round")
    assert len(seen) >= 6


def test_cuts_are_the_same_square_of_both():
    x = torch.arange(2 * 20 * 20.0).view(2, 20, 20)
    z = torch.stack([x, -x], 1)
    small_z, small_x = cut(z, x, 8, seed=0)
    assert small_z.shape == (2, 2, 8, 8) and small_x.shape == (2, 8, 8)
    assert torch.equal(small_z[:, 0], small_x) and torch.equal(small_z[:, 1], -small_x)
    corners = {tuple(cut(z, x, 8, seed)[1][:, 0, 0].tolist()) for seed in range(20)}
    assert len(corners) > 15
    for image in small_x:  # rows 1, columns 20 apart: a square and no scatter of pixels
        assert torch.equal(image - image[0, 0], torch.arange(8.0)[:, None] * 20 + torch.arange(8.0))
    assert cut(z, x, 20, 0)[0] is z and cut(z, x, 64, 0)[1] is x


# --- Loss, errors, schedule


def test_the_loss_compares_moduli():
    z = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert modulus_loss(z, torch.full((1, 1, 1), 5.0)) == 0
    assert modulus_loss(z, torch.full((1, 1, 1), 4.5)) == pytest.approx(0.25)
    zero = torch.zeros(1, 2, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(modulus_loss(zero, torch.ones(1, 2, 2)), zero)
    assert gradient.isfinite().all()  # the modulus has no derivative at 0


def test_the_learning_rate_rises_and_ends_at_zero_by_time_or_by_steps():
    clock, rates = Clock(), []
    while clock.progress < 1:
        rates.append(clock.rate())
        clock.tick(0.6, minutes=1, steps=None)
    assert len(rates) == 100 and clock.seconds == pytest.approx(60)
    assert rates[0] == pytest.approx(1 / checkpoints.WARM_UP) and clock.rate() == 0
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    both = Clock()
    both.tick(30, minutes=1, steps=4)
    assert both.progress == 0.5
    both.tick(3000, minutes=1, steps=4)  # a machine asleep counts a minute
    assert both.seconds == 90 and both.progress == 1


# --- Training


@pytest.fixture
def place(tmp_path):
    def named(name):
        return {"checkpoint": tmp_path / f"{name}.safetensors", "log": tmp_path / f"{name}.csv", "validation_images": 2}

    return named


def compared(where):
    """Let the next training be another run."""
    set_compared(where["checkpoint"], where["checkpoint"])


@pytest.mark.parametrize("learned", [False, True])
def test_training_lowers_the_loss_and_the_validation_error(learned, place, monkeypatch):
    monkeypatch.setattr(training, "LOOKS", 1)
    network = Reconstruction(OP, SMALL, learned, seed=0)
    y, x = training_batch(OP, dataclasses.replace(QUICK, batch=16), 10**6)
    with torch.no_grad():
        before = modulus_loss(network.refine(network.invert(y)), x).item()
        validation = errors(network, OP, 0.02, 16, VALIDATION)[0].mean()
    train(network, "small", dataclasses.replace(QUICK, batch=8, crop=32, rate=1e-2), steps=150, **place("a"))
    with torch.no_grad():
        after = modulus_loss(network.refine(network.invert(y)), x).item()
    assert after < 0.9 * before
    assert errors(network, OP, 0.02, 16, VALIDATION)[0].mean() < 0.95 * validation
    assert not network.training


class Killed(Exception):
    pass


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("at", [1, 4, 7])
def test_resuming_is_not_stopping(learned, at, place, monkeypatch):
    whole = Reconstruction(OP, SMALL, learned, seed=1)
    train(whole, "small", QUICK, steps=8, **place("whole"))

    def killed_at_step(op, settings, step, batch=training_batch):
        if step == at:
            raise Killed
        return batch(op, settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(training, "training_batch", killed_at_step)
        with pytest.raises(Killed):
            train(Reconstruction(OP, SMALL, learned, seed=1), "small", QUICK, steps=8, save_every=0, **place("parts"))
    resumed = Reconstruction(OP, SMALL, learned, seed=99)  # all of it comes from the checkpoint
    torch.manual_seed(at)
    clock = train(resumed, "small", QUICK, steps=8, **place("parts"))
    assert clock.step == 8 and clock.run == 0
    assert same(whole, resumed)

    def rows(name):
        return [{**row, "seconds": ""} for row in read_rows(place(name)["log"])]

    assert rows("whole") == rows("parts") and len(rows("whole")) == 8


def test_rows_beyond_the_checkpoint_are_computed_again_and_not_twice(place, monkeypatch):
    # killed after the log was written, before the checkpoint was
    def fail(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save_checkpoint", fail)
        train(Reconstruction(OP, SMALL, False), "small", QUICK, steps=3, save_every=0, **place("a"))
    train(Reconstruction(OP, SMALL, False), "small", QUICK, steps=3, **place("a"))
    assert [row["step"] for row in read_rows(place("a")["log"])] == ["1", "2", "3"]


def test_a_finished_training_starts_another_run_with_its_own_schedule(place):
    network = Reconstruction(OP, SMALL, False)
    train(network, "small", QUICK, steps=3, **place("a"))
    compared(place("a"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clock = train(Reconstruction(OP, SMALL, False, seed=5), "small", QUICK, steps=2, **place("a"))
    assert (clock.run, clock.step, clock.run_step) == (1, 5, 2)
    compared(place("a"))
    again = Reconstruction(OP, SMALL, False, seed=5)
    train(again, "small", QUICK, steps=1, **place("a"))
    change = (again.net.first.weight - before["net.first.weight"]).abs().max()
    assert 0 < change < 0.02  # it went on from the trained weights, not from new ones


def test_a_finished_training_that_was_not_compared_trains_no_further(place):
    made = Reconstruction(OP, SMALL, False, seed=4)
    train(made, "small", QUICK, steps=3, **place("a"))
    log = place("a")["log"].read_bytes()
    again = Reconstruction(OP, SMALL, False, seed=5)
    clock = train(again, "small", QUICK, steps=3, **place("a"))
    assert (clock.run, clock.step) == (0, 3) and same(made, again) and place("a")["log"].read_bytes() == log


def test_a_training_that_diverges_says_so_and_leaves_checkpoint_and_log(place):
    train(Reconstruction(OP, SMALL, False), "small", QUICK, steps=3, **place("a"))
    compared(place("a"))
    before = [place("a")[name].read_bytes() for name in ("checkpoint", "log")]
    diverging = dataclasses.replace(QUICK, rate=1e30)
    with pytest.raises(FloatingPointError, match="train: loss, weights or errors are not finite at step 4"):
        train(Reconstruction(OP, SMALL, False), "small", diverging, steps=9, save_every=0, **place("a"))
    assert [place("a")[name].read_bytes() for name in ("checkpoint", "log")] == before


def test_batch_norm_keeps_its_statistics_from_the_middle_on(place, monkeypatch):
    network, seen, loss = Reconstruction(OP, SMALL, False), [], training.modulus_loss

    def look(z, x):
        seen.append(network.net.bottom[0][0].running_mean.clone())
        return loss(z, x)

    monkeypatch.setattr(training, "modulus_loss", look)
    train(network, "small", QUICK, steps=8, **place("a"))
    compared(place("a"))
    train(network, "small", QUICK, steps=2, **place("a"))
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [True] * 3 + [False] * 6


def test_a_time_limit_ends_the_training_with_a_usable_network(place):
    network = Reconstruction(OP, SMALL, False)
    clock = train(network, "small", QUICK, minutes=0.02, **place("a"))
    assert clock.progress == 1 and clock.step >= 1
    assert network(random(OP.m, dtype=torch.complex64)).isfinite().all()


@pytest.mark.parametrize("budget", [{}, {"minutes": 0}, {"steps": 0}, {"minutes": -1, "steps": None}])
def test_a_training_without_a_length_is_refused(budget, place):
    with pytest.raises(ValueError, match="train: minutes or steps must be positive"):
        train(Reconstruction(OP, SMALL, False), "small", QUICK, **budget, **place("a"))


@pytest.mark.parametrize("broken", ["cut off", "one bit", "of another network"])
def test_a_checkpoint_that_does_not_fit_is_named(place, broken):
    where = place("a")
    path = where["checkpoint"]
    train(Reconstruction(OP, SMALL, False), "small", QUICK, steps=1, **where)
    if broken == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    if broken == "one bit":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    network = Reconstruction(OP, SMALL, broken == "of another network")
    with pytest.raises(ValueError, match=rf"load_checkpoint: .*/{path.name} is no whole checkpoint of this network"):
        train(network, "small", QUICK, steps=1, **where)


def test_a_checkpoint_is_replaced_in_one_step(place, monkeypatch):
    network = Reconstruction(OP, SMALL, False)
    train(network, "small", QUICK, steps=2, **place("a"))
    path = place("a")["checkpoint"]
    compared(place("a"))
    before = path.read_bytes()

    def refuse(*paths):
        raise PermissionError("refused")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(PermissionError):
        train(network, "small", QUICK, steps=2, **place("a"))
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*.tmp"))


# --- From training to published weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "N", 32)
    monkeypatch.setattr(networks, "LINES", 8)
    monkeypatch.setattr(training, "N", 32)
    monkeypatch.setattr(training, "LINES", 8)
    monkeypatch.setitem(PRESETS, "compact", SMALL)
    monkeypatch.setattr(training, "IMAGES", 3)
    return tmp_path / "weights"


def test_a_training_starts_from_published_weights_and_tirafl_from_tira(folder):
    begun, clock = start("tira", "compact", folder=folder)
    assert not begun.net.last.weight.any() and clock == Clock()
    with pytest.raises(FileNotFoundError, match="`make train NETWORK=tira PRESET=compact` makes it"):
        start("tirafl", "compact", folder=folder)
    made = Reconstruction(OP, SMALL, False, seed=4)
    train(made, "small", QUICK, steps=2, checkpoint=folder / "c", log=folder / "l", validation_images=1)
    save_network(made, "tira-compact", {"steps": 2, "minutes": 0.5, "runs": 1}, folder=folder)
    published = load_network("tira", folder=folder)
    (begun, clock), (learned, other) = (start(name, "compact", folder=folder) for name in ("tira", "tirafl"))
    assert clock == Clock(step=2, seconds=30, run=0, progress=1) and other == Clock()
    assert same(begun, published) and same(learned.net, published.net)
    assert all(parameter.requires_grad for parameter in (*begun.parameters(), *learned.parameters()))
    assert learned.inversion is not None


def break_weights(folder):
    (folder / read_manifest(folder)["tira-compact"]["files"][0]["name"]).write_bytes(b"broken")


def test_a_preset_starts_from_the_tira_that_its_settings_name_and_keeps_its_statistics(folder, place, monkeypatch):
    monkeypatch.setitem(PRESETS, "noisy", SMALL)
    with pytest.raises(FileNotFoundError, match="`make train NETWORK=tira PRESET=compact` makes it"):
        start("tira", "noisy", folder=folder)
    compact = Reconstruction(OP, SMALL, False, seed=4)
    save_network(compact, "tira-compact", {"steps": 2, "minutes": 0.5, "runs": 1}, folder=folder)
    begun, clock = start("tira", "noisy", folder=folder)
    assert same(begun, load_network("tira", folder=folder)) and clock == Clock()
    settings = dataclasses.replace(SETTINGS["noisy"], batch=2, crop=16)
    statistics = {name: value.clone() for name, value in begun.state_dict().items() if ".running_" in name}
    train(begun, "small", settings, steps=2, **place("a"))
    assert all(torch.equal(begun.state_dict()[name], value) for name, value in statistics.items())
    assert not same(begun, load_network("tira", folder=folder))
    save_network(begun, "tira-noisy", {}, folder=folder)
    learned, _ = start("tirafl", "noisy", folder=folder)  # from the Tira of its own preset
    assert same(learned.net, load_network("tira", "noisy", folder=folder).net)


def test_only_better_weights_replace_published_ones(folder):
    network = Reconstruction(OP, SMALL, False, seed=4)
    assert publish(network, "tira", "compact", QUICK, Clock(step=9, seconds=120), folder)
    entry = read_manifest(folder)["tira-compact"]
    error = errors(network, OP, 0.04, 3, VALIDATION)[0].mean().item()
    assert entry["validation_error"]["0.04"] == pytest.approx(error, abs=1e-5)
    assert list(entry["validation_error"]) == [f"{level:g}" for level in LEVELS]
    assert entry["seeds"] == {"training": TRAINING, "validation": VALIDATION, "test": TEST}
    assert (entry["steps"], entry["minutes"], entry["validation_images"]) == (9, 2.0, 3)
    assert {"command", "settings", "cpu", "version", "files", "bfloat16", "device", "log"} <= set(entry)
    rate, batch = entry["settings"]["rate"], entry["settings"]["batch"]
    assert entry["command"] == f"make train NETWORK=tira PRESET=compact RATE={rate:g} BATCH={batch}"
    worse = Reconstruction(OP, SMALL, False, seed=4)
    with torch.no_grad():
        worse.net.last.bias += 0.5
    assert not publish(worse, "tira", "compact", QUICK, Clock(step=10), folder)
    assert read_manifest(folder)["tira-compact"] == entry
    assert not load_network("tira", folder=folder).net.last.bias.any()
    (folder / read_manifest(folder)["tira-compact"]["files"][0]["name"]).write_bytes(
        b"broken"
    )  # the command that load_network names must mend it
    assert publish(worse, "tira", "compact", QUICK, Clock(step=10), folder)
    assert load_network("tira", folder=folder).net.last.bias.all()


def test_a_training_starts_anew_from_broken_weights(folder):
    made = Reconstruction(OP, SMALL, False, seed=4)
    save_network(made, "tira-compact", {}, folder=folder)
    break_weights(folder)
    begun, clock = start("tira", "compact", folder=folder)
    assert not same(begun, made) and clock == Clock()


@pytest.fixture
def command(folder, tmp_path, monkeypatch):
    """The command, with folders of its own; its arguments are those of the shell."""
    monkeypatch.setattr(training, "WEIGHTS", folder)
    monkeypatch.setattr(training, "CHECKPOINTS", tmp_path / "_train")
    monkeypatch.setattr(training, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(SETTINGS, "compact", QUICK)
    return training.main


@pytest.mark.parametrize("at", ["record", "save_network", "write_bytes", "set_compared"])
def test_killed_after_its_last_step_it_publishes_then_trains_another_run(at, command, folder, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, at, killed)
        command(["tira", "--steps", "2", "--device", "cpu"])
    command(["tira", "--steps", "2", "--device", "cpu"])
    entry, kept = read_manifest(folder)["tira-compact"], folder / "tira-compact.checkpoint.safetensors"
    assert (entry["steps"], entry["runs"]) == (2, 1) and load_network("tira", folder=folder).op.n == 32
    for checkpoint in (kept, tmp_path / "_train" / "tira-compact.safetensors"):
        network = Reconstruction(OP, SMALL, False)
        clock = checkpoints.load_checkpoint(checkpoint, network, training.adam(network, QUICK))
        assert clock.step == 2 and clock.compared
    assert [row["step"] for row in read_rows(tmp_path / "results" / "train_tira-compact.csv")] == ["1", "2"]
    command(["tira", "--steps", "2", "--device", "cpu"])
    log = read_rows(tmp_path / "_train" / "tira-compact.csv")
    assert [(row["run"], row["step"]) for row in log] == [("0", "1"), ("0", "2"), ("1", "3"), ("1", "4")]


@pytest.mark.slow
@pytest.mark.parametrize("with_moments", [True, False])
@pytest.mark.parametrize("name", ["tira", "tirafl"])
def test_the_command_trains_publishes_and_goes_on_on_another_machine(name, with_moments, command, folder, tmp_path):
    if name == "tirafl":
        command(["tira", "--steps", "3", "--device", "cpu"])
    command([name, "--steps", "3", "--device", "cpu", "--rate", "1e-3"])
    first = read_manifest(folder)[f"{name}-compact"]
    assert first["steps"] == 3 and first["settings"]["rate"] == 1e-3
    (tmp_path / "_train" / f"{name}-compact.safetensors").unlink()  # another machine has only what is committed
    if not with_moments:  # too large, as for the sizes of the paper
        (folder / f"{name}-compact.checkpoint.safetensors").unlink()
    command([name, "--steps", "4"])
    rows = read_rows(tmp_path / "_train" / f"{name}-compact.csv")
    assert [(row["run"], row["step"]) for row in rows] == [("0", str(k)) for k in (1, 2, 3)] + [
        ("1", str(k)) for k in (4, 5, 6, 7)
    ]
    assert load_network(name, folder=folder).op.n == 32


@pytest.mark.slow
def test_one_step_of_the_paper_preset_on_the_cpu(tmp_path, monkeypatch):
    # at 32 x 32; the network is that of the paper
    monkeypatch.setattr(training, "save_checkpoint", lambda *_: None)  # 170 MB
    op = MaskedFourier(radial_mask(32, 8))
    network = Reconstruction(op, PRESETS["paper"], learned=False)
    settings = dataclasses.replace(SETTINGS["paper"], batch=2)
    place = {"checkpoint": tmp_path / "c", "log": tmp_path / "l", "validation_images": 1}
    clock = train(network, "paper", settings, steps=1, **place)
    assert clock.step == 1 and network(random(op.m, dtype=torch.complex64)).isfinite().all()
    save_network(network, "tira-paper", {}, folder=tmp_path)
    files = read_manifest(tmp_path)["tira-paper"]["files"]
    assert len(files) == 2 and all(file["bytes"] <= 16_000_000 for file in files)


# --- What is in the repository


@pytest.mark.parametrize("key", sorted(read_manifest()))
def test_the_published_errors_are_those_of_the_published_weights(key):
    entry = read_manifest()[key]
    network = load_network(*key.split("-"))
    found = errors(network, network.op, 0.0, 4, VALIDATION)[0]
    assert found.mean().item() == pytest.approx(entry["validation_error"]["0"], rel=0.5)
    assert entry["seeds"] == {"training": TRAINING, "validation": VALIDATION, "test": TEST}
    assert re.fullmatch(r"make train NETWORK=\w+ PRESET=\w+( RATE=\S+ BATCH=\d+)?", entry["command"])
    assert math.isfinite(entry["minutes"]) and (N, LINES) == (256, 40)
    log = read_rows(ROOT / entry["log"])
    assert len({row["run"] for row in log}) == entry["runs"] and int(log[-1]["step"]) == entry["steps"]
    assert not list(WEIGHTS.glob("*.tmp"))
