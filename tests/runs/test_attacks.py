"""Section 4 from configurations: rows of the right numbers, reproducible, on images never trained with."""

import dataclasses

import nbformat
import pandas as pd
import papermill
import pytest
import torch

from lib import networks
from lib.attack import disk_weight
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs import attacks, engine, table1, transfer
from lib.runs.attacks import Configuration, attack, concentration, identity, kept, measure, row
from lib.runs.engine import run
from lib.runs.perturbations import kept_files, packed, unpacked
from lib.runs.section4 import CALIBRATION, LEVELS, LINES, METHODS, TEST, TRAINING, VALIDATION
from lib.runs.table1 import IMAGES
from lib.runs.tables import ATTACK, ROOT, key_of, read_rows, read_table
from lib.tv import calibrated_lambda, reconstruct_tv

SMALL = Configuration(n=64, lines=25, grid=2, preset="quick")


def table(*cells):
    """A table of these configurations and images, in place of Table 1."""
    return dataclasses.replace(table1.TABLE, cells=lambda rows: [identity(*cell) for cell in cells])


@pytest.mark.parametrize("optimiser", ["ours", "adam"])
def test_the_numbers_are_those_of_the_definitions(optimiser):
    cell = dataclasses.replace(SMALL, optimiser=optimiser, noise_rel=0.02)
    found = attack(cell, 0)
    measured = row(cell, 0)
    x, op = ellipses(1, 64, seed=TEST)[0], MaskedFourier(radial_mask(64, 25))
    y, e, norm = op.A(x), found.e, torch.linalg.vector_norm
    before, after = reconstruct_tv(
        torch.stack([y, y + e]), op, calibrated_lambda(0.02, 25), tol=1e-3, max_iter=5000
    ).image
    rho, r = after - before, op.A_dagger(e)
    phi = disk_weight(64, (measured["row"], measured["column"]), 5)
    expected = {
        "rho_linf": rho.abs().max(),
        "r_linf": r.abs().max(),
        "alpha": rho.abs().max() / r.abs().max(),
        "rho_l2": norm(rho),
        "r_l2": norm(e),
        "objective": norm(phi * rho),
        "error_clean": norm(before.abs() - x) / norm(x),
        "error_attacked": norm(after.abs() - x) / norm(x),
    }
    for name, value in expected.items():
        assert float(measured[name]) == pytest.approx(float(value), rel=0.03), name
    assert float(norm(e)) <= 0.02 * float(norm(y)) * (1 + 1e-5)
    assert float(measured["gap"]) <= measured["tol"] == 1e-2
    assert measured["m"] == op.m


@pytest.mark.parametrize("optimiser", ["ours", "adam"])
def test_a_row_reproduces_from_its_own_record(tmp_path, inline, optimiser):
    run(table((dataclasses.replace(SMALL, optimiser=optimiser), 4)), folder=tmp_path)
    (kept,) = read_rows(tmp_path / "table1.csv", table1.TABLE.keys)
    (again,), _ = measure(**inline[0])
    for name in table1.TABLE.measured:
        assert float(again[name]) == pytest.approx(float(kept[name]), rel=1e-3), name


@pytest.mark.slow
def test_a_committed_row_reproduces():
    kept = read_table("table1", method="tv", lines=40, noise_rel=0.04, optimiser="ours", image=7).iloc[0]
    again = row(Configuration(), 7)
    for name in table1.TABLE.measured:
        assert float(again[name]) == pytest.approx(kept[name], rel=0.05), name


def test_a_network_is_refined_at_as_many_locations_as_its_preset_says(small_networks, monkeypatch):
    effort = dataclasses.replace(attacks.PRESETS["quick"], screen=2, network_screen=3)
    monkeypatch.setitem(attacks.PRESETS, "quick", effort)
    for method, count in (("tira", 3), ("tv", 2)):
        cell = Configuration(method, n=32, grid=2, preset="quick")
        _, op, y = attacks.measurements(cell, 0)
        assert int((~attacks._search(cell, y, op).peaks.isnan()).sum()) == count


def test_adam_attacks_where_our_screening_says_or_everywhere():
    quick = dataclasses.replace(SMALL, optimiser="adam", grid=3)
    _, op, y = attacks.measurements(quick, 0)
    ours = attacks._search(quick, y, op)
    favoured = ours.locations[~ours.peaks.isnan()].tolist()
    assert len(favoured) == 2
    assert attack(quick, 0).mu.tolist() in favoured
    everywhere = attack(dataclasses.replace(quick, preset="paper"), 0)
    assert everywhere.mu.tolist() in ours.locations.tolist()


def test_an_attack_at_one_location_is_there(small_networks):
    for cell in (SMALL, dataclasses.replace(SMALL, optimiser="adam"), Configuration("tirafl", n=32, preset="quick")):
        assert attack(cell, 0, (10, 20)).mu.tolist() == [10, 20]


def test_test_images_were_never_trained_or_calibrated_with():
    assert Configuration().seed == TEST
    tests = ellipses(IMAGES, 32, seed=TEST)
    for seed in (TRAINING, VALIDATION, CALIBRATION):
        distances = torch.cdist(ellipses(300, 32, seed=seed).flatten(1), tests.flatten(1))
        assert float(distances.min()) > 0.5
    with pytest.raises(ValueError, match="seed 21 is the stream that the networks were trained with"):
        Configuration(seed=TRAINING)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "unet"}, r"method must be one of \('tv', 'tira', 'tirafl'\), got 'unet'"),
        ({"optimiser": "sgd"}, "optimiser must be one of"),
        ({"preset": "full"}, "preset must be one of"),
        ({"method": "tira", "lines": 25}, "tira is for n = 256 and lines = 40, got 256 and 25"),
    ],
)
def test_a_wrong_configuration_says_what_is_expected(fields, message):
    with pytest.raises(ValueError, match=message):
        Configuration(**fields)


def test_concentration_is_the_share_of_energy_around_the_peak():
    rho = torch.zeros(64, 64)
    rho[20, 30] = -2
    assert concentration(rho) == pytest.approx(1)
    rho[20, 36] = 1  # 6 pixels away
    assert concentration(rho) == pytest.approx(4 / 5)
    assert concentration(torch.full((64, 64), 1j)) == pytest.approx(26 / 64**2)  # the peak is the corner


def test_table_1_has_the_cells_that_it_should():
    cells = list(table1.configurations())
    assert len(set(cells)) == len(cells)
    wanted = ("ours", IMAGES, 10), ("adam", 5, 0), ("authors", table1.LITERAL_IMAGES, 10), ("authors-rho-1", 2, 0)
    for optimiser, count, network_count in wanted:
        preset = "literal" if optimiser.startswith("authors") else "laptop"
        mine = [(c, image) for c, image in cells if (c.optimiser, c.preset) == (optimiser, preset)]
        mine = [(c, image) for c, image in mine if c.network in ("", "compact")]
        for level in LEVELS:
            for lines in LINES:
                images = [image for c, image in mine if (c.method, c.lines, c.noise_rel) == ("tv", lines, level)]
                assert sorted(images) == list(range(count))
            for method in networks.NETWORKS:
                images = [image for c, image in mine if (c.method, c.noise_rel) == (method, level)]
                assert sorted(images) == list(range(network_count))
    everywhere = {(cell.method, cell.lines, cell.optimiser) for cell, _ in cells if cell.preset == "paper"}
    trained = {(name, networks.LINES, search) for name in networks.NETWORKS for search in ("ours", "authors")}
    assert everywhere == {("tv", n, "adam") for n in LINES} | trained
    assert {(cell.grid, cell.sigma, cell.seed, cell.n) for cell, _ in cells} == {(8, 5.0, TEST, 256)}


def test_the_table_is_of_one_preset_of_the_networks(monkeypatch):
    rows = read_table("table1", lines=40, noise_rel=0.04, optimiser="ours").assign(alpha=1.0)
    other = rows[rows["method"] == "tira"].assign(network="paper", alpha=3.0)
    monkeypatch.setattr(table1, "current", lambda *_, **__: pd.concat([rows, other]))
    key, tv = ("tira", 40, 0.04), ("tv", 40, 0.04)
    assert [table1.summary(network=n)[key].mean for n in ("compact", "paper")] == [1, 3]
    assert table1.summary()[tv].mean == 1 and table1.summary(network="paper")[key].count == len(other)


def test_a_row_of_another_lambda_or_other_weights_is_replaced(tmp_path, monkeypatch, inline, small_networks):
    tv, tira = dataclasses.replace(SMALL, grid=1), Configuration("tira", n=32, grid=1, preset="quick")

    def rows_after_a_run():
        inline.clear()
        run(table((tv, 0), (tira, 0)), folder=tmp_path)
        return [r["setting"] for r in read_rows(tmp_path / "table1.csv")], [cell["method"] for cell in inline]

    before, ran = rows_after_a_run()
    assert ran == ["tv", "tira"] and before[1] == networks.read_manifest()["tira-compact"]["files"][0]["sha256"][:10]
    monkeypatch.setattr(attacks, "calibrated_lambda", lambda *_: 0.01)
    assert rows_after_a_run() == (["lambda=0.01", before[1]], ["tv"])
    small_networks(seed=1)
    after, ran = rows_after_a_run()
    assert ran == ["tira"] and after[1] != before[1] and len(after) == 2


def test_a_worker_with_another_lambda_computes_nothing(tmp_path, monkeypatch, inline):
    wanted = table((SMALL, 0))
    monkeypatch.setattr(engine._File, "cells", lambda file: [{**identity(SMALL, 0), "setting": "lambda=7"}])
    report = run(wanted, folder=tmp_path)
    assert report.new == 0 and "this worker has lambda=" in report.failures[0][1]


# --- Perturbations that are kept


def test_what_is_kept_is_what_was_measured(tmp_path, monkeypatch):
    small = dataclasses.replace(SMALL, preset="laptop", n=256, lines=25, grid=1)
    monkeypatch.setattr("lib.runs.perturbations.RESULTS", tmp_path)
    assert kept(small, 0) is None and kept_files(identity(small, 1)) == ()
    found = attack(small, 0)
    (name,) = kept_files(identity(small, 0))
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(packed(found.e, found.mu))
    again = kept(small, 0)
    assert torch.equal(again.e, found.e) and again.mu.tolist() == found.mu.tolist()
    assert row(small, 0, again)["alpha"] == pytest.approx(row(small, 0, found)["alpha"])


def test_the_committed_perturbations_are_those_of_their_rows():
    rows = {key_of(r, ATTACK): r for r in read_rows(ROOT / "results" / "table1.csv", ATTACK)}
    found = [(c, image, unpacked(kept_files(identity(c, image)))) for c, image in table1.configurations()]
    found = [cell for cell in found if cell[2]]
    assert len(found) >= 18
    for configuration, image, (e, mu) in found:
        measured = rows[key_of(identity(configuration, image), ATTACK)]
        r = attacks.measurements(configuration, image)[1].A_dagger(e)
        assert mu.tolist() == [int(measured["row"]), int(measured["column"])]
        assert float(r.abs().max()) == pytest.approx(float(measured["r_linf"]), rel=1e-3)
        assert float(torch.linalg.vector_norm(r)) == pytest.approx(float(measured["r_l2"]), rel=1e-3)
    for configuration in (Configuration("tv", 40, 0.04), Configuration("tira")):
        measured = rows[key_of(identity(configuration, 0), ATTACK)]
        again = row(configuration, 0, kept(configuration, 0))
        assert float(again["alpha"]) == pytest.approx(float(measured["alpha"]), rel=1e-3)
    folder = ROOT / "results" / "perturbations"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000


# --- Transfer


def test_transfer_gives_one_perturbation_to_every_method(small_networks):
    source = Configuration("tira", n=32, grid=2, preset="quick")
    mu = tuple(attack(source, 0).mu.tolist())
    found, files = transfer.measure(0, transfer.settings(source), mu, **dataclasses.asdict(source))
    assert [r["target"] for r in found] == list(METHODS) and files == {}
    assert {r["r_linf"] for r in found} == {found[0]["r_linf"]}
    own = next(r for r in found if r["target"] == "tira")
    assert own["at_peak"] == own["rho_linf"]
    e = attack(source, 0, mu).e
    *_, y = attacks.measurements(source, 0)
    tirafl = networks.load_network("tirafl", "compact")
    with torch.no_grad():
        rho = tirafl(y + e) - tirafl(y)
    other = next(r for r in found if r["target"] == "tirafl")
    assert float(other["rho_linf"]) == pytest.approx(float(rho.abs().max()), rel=1e-5)


def test_without_a_location_a_network_is_attacked_where_tv_is(small_networks):
    source = Configuration("tira", n=32, grid=2, preset="quick", noise_rel=0.03)
    tv = Configuration("tv", n=32, grid=2, preset="quick", noise_rel=0.03)
    assert transfer.transferred(source, 0)["tira"].mu.tolist() == attack(tv, 0).mu.tolist()


@pytest.mark.slow
def test_papermill_reruns_the_chapter_for_another_mask_level_radius_and_image(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the kernel; see conftest.py
    parameters = {"lines": 25, "noise_rel": 0.08, "sigma": 3.0, "image": 3}
    path, out = ROOT / "notebooks" / "results.ipynb", tmp_path / "out.ipynb"
    papermill.execute_notebook(path, out, parameters, cwd=path.parent, progress_bar=False, log_output=False)
    found = row(Configuration("tv", 25, 0.08, sigma=3.0, preset="quick"), 3)
    outputs = [o for c in nbformat.read(out, 4).cells for o in c.get("outputs", []) if "data" in o]
    place = f"| now, quick | ({found['row']}, {found['column']}) |"
    assert any(place in o.data.get("text/markdown", "") for o in outputs)
