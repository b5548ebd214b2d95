"""The networks: sizes of the paper, shapes and gradients; TiraFL starts as Tira; weights are checked before use."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers import OP, SMALL, random
from hypothesis import given
from hypothesis import strategies as st

from lib import networks
from lib.networks import (
    LINES,
    NETWORKS,
    WEIGHTS,
    LearnedInversion,
    N,
    Reconstruction,
    Tiramisu,
    load_network,
    read_manifest,
)
from lib.operators import MaskedFourier, radial_mask
from lib.runs import weights
from lib.runs.tables import write_bytes
from lib.runs.weights import PRESETS, save_network


def published(folder, key):
    """The file of a network's weights."""
    return folder / read_manifest(folder)[key]["files"][0]["name"]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shake(network, seed=0):
    """Weights and statistics that are far from their start, so that nothing is zero by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                change = 0.1 * torch.randn(value.shape, generator=generator)
                value += change.abs() if name.endswith("running_var") else change
    return network


# --- Sizes


def count_by_hand(first, growth, down, bottleneck, up, ends):
    """Parameters of a Tiramisu, layer by layer, as plain sums; each convolution has a bias, each batch norm two."""
    total = ends * first * 9 + first
    channels, skips = first, []
    for layers in down:
        for _ in range(layers):
            total += 2 * channels + 9 * channels * growth + growth
            channels += growth
        skips.append(channels)
        total += 2 * channels + channels * channels + channels  # transition down
    for _ in range(bottleneck):
        total += 2 * channels + 9 * channels * growth + growth
        channels += growth
    new = bottleneck * growth
    for layers in up:
        total += 9 * new * new + new  # transition up
        channels = new + skips.pop()
        for _ in range(layers):
            total += 2 * channels + 9 * channels * growth + growth
            channels += growth
        new = layers * growth
    return total + channels * ends + ends


def test_the_paper_preset_has_the_sizes_of_genzel_et_al():
    network = Tiramisu(PRESETS["paper"])
    by_hand = count_by_hand(16, 16, (5, 7, 9, 12, 15), 20, (15, 12, 9, 7, 5), ends=2)
    assert parameters(network) == by_hand == 14_221_922
    # channels met on the way down: 16 + 5 * 16 = 96, 208, 352, 544, 784, and 320 new ones at the bottom
    assert [pool[2].in_channels for pool in network.pool] == [96, 208, 352, 544, 784]
    assert [rise.in_channels for rise in network.rise] == [320, 240, 192, 144, 112]
    assert network.first.in_channels == network.last.out_channels == 2
    assert network.last.in_channels == 112 + 96 + 80
    assert parameters(LearnedInversion(OP, 0)) == 2 * 64 * 64


def test_the_compact_preset_is_small():
    sizes = PRESETS["compact"]
    ends = 2 * sizes.fold**2
    by_hand = count_by_hand(sizes.first, sizes.growth, sizes.down, sizes.bottleneck, sizes.up, ends)
    assert parameters(Tiramisu(sizes)) == by_hand < 2_000_000
    assert N % sizes.divisor == 0 == N % PRESETS["paper"].divisor


# --- The networks as functions


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_any_batch_of_measurements_becomes_a_batch_of_images(learned, batch, dtype):
    network = shake(Reconstruction(OP, SMALL, learned))
    y = random(*batch, OP.m, dtype=dtype)
    image = network(y)
    assert image.shape == (*batch, 32, 32) and image.dtype == dtype
    if batch == (2, 3):  # each image for itself
        assert torch.allclose(image[1, 2], network(y[1, 2]), atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_tira_is_the_zero_filled_image_plus_what_the_network_adds(seed):
    network = shake(Reconstruction(OP, SMALL, learned=False), seed)
    y = random(2, OP.m, dtype=torch.complex64, seed=seed)
    z = torch.stack([OP.A_dagger(y).real, OP.A_dagger(y).imag], 1)
    added = network.net(z)
    expected = z + added
    assert added.abs().max() > 0.01
    assert torch.allclose(network(y), torch.complex(expected[:, 0], expected[:, 1]), atol=1e-5)


def test_before_training_tira_is_the_zero_filled_inverse():
    y = random(3, OP.m, dtype=torch.complex64)
    assert torch.allclose(Reconstruction(OP, SMALL, learned=False)(y), OP.A_dagger(y), atol=1e-6)


@pytest.mark.parametrize("n", [12, 32])
def test_the_learned_inversion_starts_at_the_inverse_transform_within_its_noise(n):
    op = MaskedFourier(radial_mask(n, 5))
    y = random(4, op.m, dtype=torch.complex64)
    expected = torch.view_as_real(op.A_dagger(y)).movedim(-1, 1)
    assert torch.allclose(LearnedInversion(op, noise=0)(y), expected, atol=1e-5)
    torch.manual_seed(0)
    noise = 1 / 16
    inversion = LearnedInversion(op, noise)
    exact = LearnedInversion(op, noise=0)
    for start, clean in ((inversion.columns, exact.columns), (inversion.rows, exact.rows)):
        assert (start - clean).std().item() == pytest.approx(noise / n**0.5, rel=0.2)
    # each of the two passes adds noise of relative size sqrt(2n) * noise / sqrt(n), independently
    error = torch.linalg.vector_norm(inversion(y) - expected) / torch.linalg.vector_norm(expected)
    assert 0.7 < error.item() / (2 * noise) < 1.4


def test_tirafl_starts_as_tira_within_the_initial_noise():
    y = random(2, OP.m, dtype=torch.complex64)
    tira, tirafl = Reconstruction(OP, SMALL, learned=False), Reconstruction(OP, SMALL, learned=True)
    shake(tira)
    tirafl.net.load_state_dict(tira.net.state_dict())
    far = torch.linalg.vector_norm(tirafl(y) - tira(y)) / torch.linalg.vector_norm(tira(y))
    assert 0 < far.item() < 4 * SMALL.inversion_noise
    tirafl.inversion = LearnedInversion(OP, noise=0)
    assert torch.allclose(tirafl(y), tira(y), atol=1e-4)


@pytest.mark.parametrize("learned", [False, True])
def test_the_gradient_with_respect_to_the_measurements_is_right(learned):
    # What the attack follows. Single precision allows no gradcheck: a long step along the gradient instead.
    network = shake(Reconstruction(OP, SMALL, learned)).requires_grad_(False)
    y = random(2, OP.m, dtype=torch.complex64).requires_grad_()

    def value(y):
        return network(y).abs().square().sum()

    (gradient,) = torch.autograd.grad(value(y), y)
    assert gradient.shape == y.shape
    direction = gradient / torch.linalg.vector_norm(gradient)
    with torch.no_grad():
        slope = (value(y + 1e-2 * direction) - value(y - 1e-2 * direction)) / 2e-2
    assert float(slope) == pytest.approx(float(torch.linalg.vector_norm(gradient)), rel=1e-2)


def test_an_attack_follows_a_gradient_that_points_where_the_exact_one_does(monkeypatch):
    network, found = load_network("tira"), []
    y = network.op.A(random(1, N, N).abs())
    for fast in (False, True):
        monkeypatch.setattr(networks, "fast_bfloat16", lambda _, fast=fast: fast)
        e = torch.zeros_like(y).requires_grad_()
        image, state = network.resume(y + e)
        image[:, 100:110, 100:110].abs().square().sum().backward()
        found.append(e.grad)
        assert state is None and image.dtype == y.dtype
    exact, quick = (torch.view_as_real(g).flatten() for g in found)
    assert not torch.equal(exact, quick)
    assert torch.nn.functional.cosine_similarity(exact, quick, dim=0) > 0.95


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (Reconstruction(OP, SMALL, learned=True, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["net.first.weight"], other["net.first.weight"])
    assert not torch.equal(one["inversion.rows"], other["inversion.rows"])


@pytest.mark.parametrize("n", [30, 36, 33])
def test_a_side_that_the_pooling_does_not_divide_is_refused(n):
    with pytest.raises(ValueError, match=f"Reconstruction: op .*8 .*got {n}"):
        Reconstruction(MaskedFourier(radial_mask(n, 4)), SMALL, learned=False)
    with pytest.raises(ValueError, match=rf"Tiramisu: x .*8 .*got \(32, {n}\)"):
        Tiramisu(SMALL)(torch.zeros(1, 2, 32, n))


def test_wrong_measurements_are_named():
    network = Reconstruction(OP, SMALL, learned=False)
    with pytest.raises(ValueError, match=rf"Reconstruction: y .*{OP.m}.*got \(3,\)"):
        network(torch.zeros(3, dtype=torch.complex64))
    with pytest.raises(TypeError, match="Reconstruction: y .*got torch.float32"):
        network(torch.zeros(OP.m))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
@pytest.mark.parametrize("learned", [False, True])
def test_a_gpu_computes_the_same(learned):
    network, y = shake(Reconstruction(OP, SMALL, learned)), random(2, OP.m, dtype=torch.complex64)
    expected = network(y)
    moved = network.to("cuda")
    assert torch.allclose(moved(y.cuda()).cpu(), expected, atol=1e-3)
    assert OP.mask.device.type == "cpu"


# --- Weights


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with weights of small networks for the key that load_network will look for."""
    monkeypatch.setattr(networks, "N", 32)
    monkeypatch.setattr(networks, "LINES", 8)
    monkeypatch.setitem(PRESETS, "compact", SMALL)
    folder, made = tmp_path / "weights", {}
    for name in NETWORKS:
        made[name] = shake(Reconstruction(OP, SMALL, learned=name == "tirafl", seed=3))
        save_network(made[name], f"{name}-compact", {"steps": 7}, folder=folder)
    return folder, made


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_saved_is_loaded_in_half_precision_frozen_and_ready(trained, name):
    folder, made = trained
    network, y = load_network(name, folder=folder), random(2, OP.m, dtype=torch.complex64)
    for key, value in made[name].state_dict().items():
        loaded = network.state_dict()[key]
        assert loaded.dtype == value.dtype
        if value.is_floating_point():
            assert torch.equal(loaded, value if ".running_" in key else value.half().float()), key
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert torch.allclose(network(y), made[name](y), rtol=1e-2, atol=1e-2)
    y.requires_grad_()
    assert torch.autograd.grad(network(y).abs().sum(), y)[0].abs().max() > 0


def test_the_manifest_says_what_the_files_are(trained):
    folder, _ = trained
    entry = read_manifest(folder)["tira-compact"]
    assert entry["steps"] == 7
    (file,) = entry["files"]
    assert (folder / file["name"]).stat().st_size == file["bytes"]
    names = {published(folder, name).name for name in ("tira-compact", "tirafl-compact")}
    assert {path.name for path in folder.iterdir()} == {".manifest.json.lock", "manifest.json", *names}


def test_a_kill_between_weights_and_manifest_leaves_the_published_network(trained, monkeypatch):
    folder, made = trained
    before = load_network("tira", folder=folder).state_dict()
    with torch.no_grad():
        made["tira"].net.last.bias += 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def write(path, content):
            if path.name == "manifest.json":
                raise KeyboardInterrupt
            write_bytes(path, content)

        patch.setattr(weights, "write_bytes", write)
        save_network(made["tira"], "tira-compact", {}, folder=folder)
    after = load_network("tira", folder=folder).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(list(folder.glob("tira-compact-*.safetensors"))) == 2
    with torch.no_grad():
        made["tira"].net.last.bias += 1
    save_network(made["tira"], "tira-compact", {}, folder=folder)  # what the killed one left goes, as the old ones do
    assert list(folder.glob("tira-compact-*.safetensors")) == [published(folder, "tira-compact")]


def test_two_that_publish_at_once_both_enter_the_manifest(trained):
    folder, made = trained
    names = [f"tira-{k}" for k in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: save_network(made["tira"], name, {}, folder=folder), names))
    assert set(names) < set(read_manifest(folder))


def test_large_weights_are_split_over_files_and_joined_again(trained):
    folder, made = trained
    whole = load_network("tirafl", folder=folder).state_dict()
    save_network(made["tirafl"], "tirafl-compact", {}, folder=folder, part_bytes=10_000)
    files = read_manifest(folder)["tirafl-compact"]["files"]
    assert len(files) > 2 and all(file["bytes"] <= 10_000 for file in files)
    assert len({file["name"] for file in files}) == len(files)
    parted = load_network("tirafl", folder=folder).state_dict()
    assert all(torch.equal(whole[name], parted[name]) for name in whole)
    (folder / files[1]["name"]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{files[1]['name']} is missing; `make train NETWORK=tirafl"):
        load_network("tirafl", folder=folder)


def test_a_tensor_that_fits_in_no_file_and_one_beyond_half_precision_are_refused(trained):
    folder, made = trained
    with pytest.raises(ValueError, match=r"save_network: .* bytes, more than 2000"):
        save_network(made["tira"], "tira-compact", {}, folder=folder, part_bytes=2000)
    with torch.no_grad():
        made["tira"].net.bottom[0][0].running_var[0] = 1e6  # a variance may be large
        save_network(made["tira"], "tira-compact", {}, folder=folder)
        made["tira"].net.last.bias[0] = 1e6
    with pytest.raises(ValueError, match="save_network: net.last.bias is not finite in half precision"):
        save_network(made["tira"], "tira-compact", {}, folder=folder)


def test_a_truncated_file_is_refused_with_the_remedy(trained):
    folder, _ = trained
    path = published(folder, "tira-compact")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError) as error:
        load_network("tira", folder=folder)
    size = path.stat().st_size
    assert str(error.value) == (
        f"load_network: weights/{path.name} has {size} bytes, the manifest says {size + 10}; "
        "`make train NETWORK=tira PRESET=compact` makes it anew"
    )


def test_a_file_of_the_right_size_with_another_hash_is_refused(trained):
    folder, _ = trained
    path = published(folder, "tira-compact")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="has another SHA-256 than the manifest says; `make train NETWORK=tira PRESET"):
        load_network("tira", folder=folder)


def test_a_manifest_without_its_file_and_a_network_without_a_manifest(trained, tmp_path):
    folder, _ = trained
    published(folder, "tira-compact").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights/tira-compact-\w+.safetensors is missing; `make train"):
        load_network("tira", folder=folder)
    with pytest.raises(FileNotFoundError) as error:
        load_network("tirafl", preset="paper", folder=folder)
    assert str(error.value) == (
        "load_network: no trained tirafl-paper in weights/manifest.json; "
        "`make train NETWORK=tirafl PRESET=paper` makes it"
    )
    with pytest.raises(FileNotFoundError, match="no trained tira-compact in empty/manifest.json"):
        load_network("tira", folder=tmp_path / "empty")


def test_weights_of_another_network_are_refused(trained):
    folder, made = trained
    save_network(made["tirafl"], "tira-compact", {}, folder=folder)
    with pytest.raises(ValueError, match="has tira-compact of another architecture; `make train NETWORK=tira "):
        load_network("tira", folder=folder)
    published(folder, "tira-compact").unlink()
    save_network(made["tira"], "tirafl-compact", {}, folder=folder)
    with pytest.raises(ValueError, match="has tirafl-compact of another architecture; `make train NETWORK=tirafl "):
        load_network("tirafl", folder=str(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-30],
        lambda text: text.replace('"files"', '"filfs"'),
        lambda text: text.replace('"sha256"', '"sha255"'),
        lambda text: text.replace('"down"', '"dowm"'),
        lambda text: text.replace('"sizes": {', '"sizes": 5, "x": {'),
        lambda text: "<<<<<<< HEAD\n" + text,
        lambda text: "[1]",
        lambda text: text.replace("tira", "\0"),
    ],
)
def test_a_damaged_manifest_is_named(trained, change):
    folder, _ = trained
    path = folder / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=r"weights/manifest.json is damaged, .*; restore it"):
        load_network("tira", folder=folder)


@pytest.mark.parametrize("name", ["unet", "Tira"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match=f"name .*{name}"):
        load_network(name)


def test_a_preset_that_was_not_trained_is_named():
    with pytest.raises(FileNotFoundError, match="tira-large"):
        load_network("tira", "large")


# --- The weights in the repository


@pytest.mark.parametrize("key", sorted(read_manifest()))
def test_the_published_weights_load_and_are_those_that_the_manifest_describes(key):
    name, preset = key.split("-")
    entry, network = read_manifest()[key], load_network(name, preset)
    assert (network.op.n, network.op.m, LINES) == (256, 10941, 40)
    assert entry["parameters"] == parameters(network)
    assert all(file["bytes"] <= 20_000_000 for file in entry["files"])
    assert list(entry["validation_error"]) == ["0", "0.005", "0.01", "0.02", "0.04", "0.08", "0.1"]


def test_every_file_of_weights_is_in_the_manifest():
    listed = {file["name"] for entry in read_manifest().values() for file in entry["files"]}
    there = {path.name for path in WEIGHTS.glob("*.safetensors") if not path.name.endswith(".checkpoint.safetensors")}
    assert there == listed


def test_bfloat16_is_used_where_gpu_or_processor_have_it(monkeypatch):
    for answer in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert networks.fast_bfloat16(torch.device("cuda")) == answer
    cpuinfo = Path("/proc/cpuinfo")
    has = cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()
    assert networks.fast_bfloat16(torch.device("cpu")) == has
