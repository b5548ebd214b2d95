"""Section 4 from configurations: rows of the right numbers, reproducible, resumable, on images never trained with."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
import torch

from lib import calibration, experiments, networks, training
from lib.attack import disk_weight
from lib.calibration import LINES
from lib.experiments import (
    IMAGES,
    LEVELS,
    METHODS,
    Configuration,
    attack,
    concentration,
    from_row,
    rows,
    run,
    selected,
    setting,
    sigma_cells,
    table1_cells,
    transfer,
    transferred,
)
from lib.networks import PRESETS as SIZES
from lib.networks import Reconstruction, Sizes, save_network
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, provenance, read_rows
from lib.tv import calibrated_lambda, reconstruct_tv

ROOT = Path(__file__).parent.parent
SMALL = Configuration(n=64, lines=25, grid=2, preset="quick")
NUMBERS = (
    "rho_linf",
    "r_linf",
    "alpha",
    "rho_l2",
    "r_l2",
    "objective",
    "concentration",
    "error_clean",
    "error_attacked",
)


def written(row):
    """A row as it comes back from a file."""
    return {name: str(value) for name, value in row.items()}


@pytest.fixture
def small_networks(tmp_path, monkeypatch):
    """Untrained networks of 32 x 32 pixels, whose weights can be changed."""
    sizes, folder = Sizes((1,), 1, (1,), growth=4, first=4, fold=2, inversion_noise=0.01), tmp_path / "weights"
    monkeypatch.setitem(SIZES, "compact", sizes)
    monkeypatch.setattr(networks, "N", 32)
    read_manifest, load_network = networks.read_manifest, networks.load_network
    monkeypatch.setattr(networks, "read_manifest", lambda _=None: read_manifest(folder))
    monkeypatch.setattr(networks, "load_network", lambda name, preset: load_network(name, preset, folder=folder))

    def publish(seed=0):
        op = MaskedFourier(radial_mask(32, 40))
        for name in networks.NETWORKS:
            network = Reconstruction(op, sizes, name == "tirafl", seed=seed)
            with torch.no_grad():
                network.net.last.weight += 0.1
            save_network(network, f"{name}-compact", {"seed": seed}, folder=folder)
        experiments._network.cache_clear()
        experiments._search.cache_clear()

    publish()
    return publish


@pytest.mark.parametrize("optimiser", ["ours", "authors"])
def test_the_numbers_are_those_of_the_definitions(optimiser):
    cell = dataclasses.replace(SMALL, optimiser=optimiser, noise_rel=0.02)
    (row,), found = rows(cell), attack(cell, 0)
    x, op = ellipses(1, 64, seed=training.TEST)[0], MaskedFourier(radial_mask(64, 25))
    y, e, norm = op.A(x), found.e, torch.linalg.vector_norm
    before, after = reconstruct_tv(
        torch.stack([y, y + e]), op, calibrated_lambda(0.02, 25), tol=1e-3, max_iter=5000
    ).image
    rho, r = after - before, op.A_dagger(e)
    phi = disk_weight(64, (int(row["row"]), int(row["column"])), 5)
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
        assert float(row[name]) == pytest.approx(float(value), rel=0.03), name
    assert float(norm(e)) <= 0.02 * float(norm(y)) * (1 + 1e-5)
    assert float(row["gap"]) <= row["tol"] == 1e-2
    assert row["m"] == op.m


@pytest.mark.parametrize("optimiser", ["ours", "authors"])
def test_a_row_reproduces_bit_by_bit_from_its_own_record(optimiser):
    cell = dataclasses.replace(SMALL, optimiser=optimiser, images=(4, 2))
    for row in map(written, rows(cell)):
        experiments._search.cache_clear()
        (again,) = map(written, rows(from_row(row)))
        assert {**again, "seconds": ""} == {**row, "seconds": ""}


def test_a_row_of_a_network_reproduces(small_networks):
    cell = Configuration("tira", n=32, grid=2, preset="quick", images=(1,))
    (row,) = map(written, rows(cell))
    experiments._search.cache_clear()
    (again,) = map(written, rows(from_row(row)))
    assert {**again, "seconds": ""} == {**row, "seconds": ""}
    assert (row["gap"], row["tol"], row["network"]) == ("", "", "compact")
    assert row["setting"] == networks.read_manifest()["tira-compact"]["files"][0]["sha256"][:10]


@pytest.mark.slow
def test_a_committed_row_reproduces():
    """Bit by bit with the code and on the machine that it names, else up to what another order of sums can change."""
    committed = [
        row for row in read_rows(RESULTS / "table1.csv") if row["method"] == "tv" and row["optimiser"] == "ours"
    ]
    row = next(row for row in committed if (row["lines"], row["noise_rel"]) == ("40", "0.04"))
    (again,) = map(written, rows(from_row(row)))
    here = {key: value for key, value in provenance().items() if key != "version"} | {
        "threads": str(torch.get_num_threads())
    }
    files = [f"lib/{name}.py" for name in ("admm", "attack", "experiments", "operators", "phantoms", "tv")]
    same_code = subprocess.run(["git", "diff", "--quiet", row["version"], "--", *files], cwd=ROOT).returncode == 0
    if same_code and here.items() <= row.items():
        assert [again[name] for name in NUMBERS] == [row[name] for name in NUMBERS]
    for name in NUMBERS:
        assert float(again[name]) == pytest.approx(float(row[name]), rel=0.05), name


def test_a_network_is_refined_at_as_many_locations_as_its_preset_says(small_networks, monkeypatch):
    effort = dataclasses.replace(experiments.PRESETS["quick"], screen=2, network_screen=3)
    monkeypatch.setitem(experiments.PRESETS, "quick", effort)
    for method, count in (("tira", 3), ("tv", 2)):
        cell = Configuration(method, n=32, grid=2, preset="quick")
        experiments._search.cache_clear()
        assert int((~experiments._search(cell, setting(cell)).peaks.isnan()).sum()) == count


def test_the_authors_attack_where_our_screening_says_or_everywhere():
    quick = dataclasses.replace(SMALL, optimiser="authors", grid=3)
    ours = experiments._search(dataclasses.replace(quick, optimiser="ours"), setting(quick))
    favoured = ours.locations[~ours.peaks.isnan()].tolist()
    assert len(favoured) == 2
    assert attack(quick, 0).mu.tolist() in favoured
    everywhere = attack(dataclasses.replace(quick, preset="paper"), 0)
    assert everywhere.mu.tolist() in ours.locations.tolist()


def test_an_attack_at_one_location_is_there(small_networks):
    for cell in (SMALL, dataclasses.replace(SMALL, optimiser="authors"), Configuration("tirafl", n=32, preset="quick")):
        assert attack(cell, 0, (10, 20)).mu.tolist() == [10, 20]


def test_test_images_were_never_trained_or_calibrated_with():
    assert Configuration().seed == training.TEST
    others = (training.TRAINING, training.VALIDATION, calibration.SEED)
    assert training.TEST not in others
    tests = ellipses(IMAGES, 32, seed=training.TEST)
    for seed in others:
        distances = torch.cdist(ellipses(300, 32, seed=seed).flatten(1), tests.flatten(1))
        assert float(distances.min()) > 0.5
    with pytest.raises(ValueError, match="seed 21 is the stream that the networks were trained with"):
        Configuration(seed=training.TRAINING)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "unet"}, r"method must be one of \('tv', 'tira', 'tirafl'\), got 'unet'"),
        ({"optimiser": "adam"}, "optimiser must be one of"),
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
    cells = list(table1_cells())
    assert len({experiments._key(experiments._identity(cell, *cell.images)) for cell in cells}) == len(cells)
    for optimiser, count, network_count in (("ours", IMAGES, 10), ("authors", 5, 5)):
        mine = [cell for cell in cells if cell.optimiser == optimiser and cell.preset == "laptop"]
        for level in LEVELS:
            for lines in LINES:
                images = [c.images[0] for c in mine if (c.method, c.lines, c.noise_rel) == ("tv", lines, level)]
                assert sorted(images) == list(range(count))
            for method in networks.NETWORKS:
                images = [c.images[0] for c in mine if (c.method, c.noise_rel) == (method, level)]
                assert sorted(images) == list(range(network_count))
    everywhere = {(cell.method, cell.lines, cell.optimiser) for cell in cells if cell.preset == "paper"}
    trained = {(name, networks.LINES, "ours") for name in networks.NETWORKS}
    assert everywhere == {("tv", n, "authors") for n in LINES} | trained
    assert {(cell.grid, cell.sigma, cell.seed, cell.n) for cell in cells} == {(8, 5.0, training.TEST, 256)}
    assert {cell.optimiser for cell in sigma_cells()} == {"ours", "authors"}


def test_no_processes_at_all_is_an_error(capsys):
    with pytest.raises(SystemExit):
        experiments.main(["table1", "--jobs", "0"])
    assert "--jobs: must be an integer of 1 or more, got 0" in capsys.readouterr().err


def test_the_table_is_of_one_preset_of_the_networks(monkeypatch):
    found = [
        {"method": "tira", "lines": "40", "noise_rel": "0.04", "network": n, "alpha": a}
        for n, a in (("compact", "1"), ("paper", "3"))
    ]
    tv = {"method": "tv", "lines": "40", "noise_rel": "0.04", "network": "", "alpha": "5"}
    monkeypatch.setattr(experiments, "current_rows", lambda *_, **__: [*found, tv])
    key, other = ("tira", 40, 0.04), ("tv", 40, 0.04)
    assert [experiments.table1(network=n)[key].mean for n in ("compact", "paper")] == [1, 3]
    assert experiments.table1()[other].mean == 5 and experiments.table1()[key].count == 1


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_computes_what_is_missing_and_nothing_else(tmp_path, jobs):
    cells, path = (
        [dataclasses.replace(SMALL, images=(3, 1)), dataclasses.replace(SMALL, optimiser="authors")],
        tmp_path / "t.csv",
    )
    run(cells[:1], path, jobs)
    before = read_rows(path)
    assert [row["image"] for row in before] == ["1", "3"]
    run(cells, path, jobs)
    after = read_rows(path)
    assert [row for row in after if row["optimiser"] == "ours"] == before and len(after) == 3
    direct = {**written(next(rows(dataclasses.replace(SMALL, images=(1,))))), "seconds": ""}
    assert {**before[0], "seconds": ""} == direct  # the number of processes changes nothing
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_an_outdated_row_is_replaced(tmp_path, monkeypatch, small_networks):
    path, cell = tmp_path / "t.csv", dataclasses.replace(SMALL, grid=1)
    network = Configuration("tira", n=32, grid=1, preset="quick")
    run([cell, network], path)
    before = read_rows(path)
    monkeypatch.setattr(experiments, "calibrated_lambda", lambda *_: 0.01)
    run([cell, network], path)
    after = read_rows(path)
    assert [row["setting"] for row in after] == ["lambda=0.01", before[1]["setting"]] and after[1] == before[1]
    small_networks(seed=1)
    run([cell, network], path)
    assert read_rows(path)[0] == after[0] and read_rows(path)[1]["setting"] != after[1]["setting"]
    assert len(read_rows(path)) == 2


def test_a_cell_that_fails_stops_no_other(tmp_path, monkeypatch):
    def compute(cell):
        if cell.images == (1,):
            raise RuntimeError("no convergence")
        yield from rows(cell)

    path, cell = tmp_path / "t.csv", dataclasses.replace(SMALL, grid=1, images=(0, 1, 2))
    with pytest.raises(RuntimeError, match=r"1 failed, first Configuration\(.*images=\(1,\).*no convergence"):
        run([cell], path, compute=compute)
    assert [row["image"] for row in read_rows(path)] == ["0", "2"]
    run([cell], path)
    assert [row["image"] for row in read_rows(path)] == ["0", "1", "2"]


SCRIPT = """
import dataclasses, pathlib, sys
from lib.experiments import Configuration, run
if __name__ == "__main__":
    images = tuple(range(int(sys.argv[2])))
    cell = Configuration(n=64, lines=25, grid=2, preset="quick", optimiser="authors", images=images)
    run([cell], pathlib.Path(sys.argv[1]), jobs=2)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_whole_rows_and_no_process_and_goes_on(tmp_path):
    script, path = tmp_path / "run.py", tmp_path / "t.csv"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, path, "500"], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(read_rows(path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read_rows(path)
    assert 3 <= len(before) < 500 and all(row["alpha"] for row in before)
    deadline = time.monotonic() + 20
    while group_exists(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_exists(process.pid)
    last = 1 + max(int(row["image"]) for row in before)
    run([dataclasses.replace(SMALL, optimiser="authors", images=tuple(range(last + 1)))], path)
    after = read_rows(path)
    assert [row["image"] for row in after] == [str(i) for i in range(last + 1)]
    assert [row for row in after if row in before] == before


def group_exists(group):
    """Whether a process of the group lives; zombies, which nobody has waited for yet, do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(found) == group and state != "Z":
            return True
    return False


def test_transfer_gives_one_perturbation_to_every_method(tmp_path, monkeypatch, small_networks):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    source = Configuration("tira", n=32, grid=2, preset="quick", images=(0,))
    (row,) = rows(source)
    run([source], tmp_path / "table1.csv")
    assert selected(source, 0) == (row["row"], row["column"])
    assert selected(dataclasses.replace(source, noise_rel=0.1), 0) is None
    found = list(transfer(source))
    assert [r["target"] for r in found] == list(METHODS)
    assert {r["r_linf"] for r in found} == {found[0]["r_linf"]}
    own = next(r for r in found if r["target"] == "tira")
    assert float(own["rho_linf"]) == pytest.approx(float(row["rho_linf"]), rel=0.02)
    assert own["at_peak"] == own["rho_linf"]
    e = attack(source, 0, (row["row"], row["column"])).e
    *_, y = experiments.measurements(source, 0)
    tirafl = networks.load_network("tirafl", "compact")
    with torch.no_grad():
        rho = tirafl(y + e) - tirafl(y)
    other = next(r for r in found if r["target"] == "tirafl")
    assert float(other["rho_linf"]) == pytest.approx(float(rho.abs().max()), rel=1e-5)


def test_without_a_row_a_network_is_attacked_where_tv_is(tmp_path, monkeypatch, small_networks):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    source = Configuration("tira", n=32, grid=2, preset="quick", noise_rel=0.03)
    tv = dataclasses.replace(source, method="tv")
    assert transferred(source, 0)["tira"].mu.tolist() == attack(tv, 0).mu.tolist()


@pytest.mark.slow
def test_papermill_reruns_the_chapter_for_another_mask_level_radius_and_image(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the kernel; see conftest.py
    parameters = {"lines": 25, "noise_rel": 0.08, "sigma": 3.0, "image": 3}
    path, out = ROOT / "notebooks" / "results.ipynb", tmp_path / "out.ipynb"
    assert set(parameters) <= set(papermill.inspect_notebook(path))
    papermill.execute_notebook(path, out, parameters, cwd=path.parent, progress_bar=False, log_output=False)
    (row,) = rows(Configuration("tv", 25, 0.08, (3,), sigma=3.0, preset="quick"))
    outputs = [o for c in nbformat.read(out, 4).cells for o in c.get("outputs", []) if "data" in o]
    assert any(f"| now, quick | ({row['row']}, {row['column']}) |" in o.data.get("text/markdown", "") for o in outputs)


def test_an_unknown_table_is_an_error_that_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        experiments.main(["table2"])
    assert "no table is called table2; there are table1, sigma, transfer" in capsys.readouterr().err


def test_make_table1_starts_it():
    done = subprocess.run(["make", "--dry-run", "table1"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "lib.experiments table1" in done.stdout
