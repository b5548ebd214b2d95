"""`make gpu`: the whole of it on a CPU with small sizes; what it leaves is usable whenever it ends."""

import functools
import json
import os
import subprocess
import sys
import time

import pytest
import torch

from lib.networks import load_network, read_manifest
from lib.runs import gpu, gpu_checks, gpu_speed, gpu_training, tables
from lib.runs.gpu_training import begin, save, take, train_until
from lib.runs.tables import ROOT, read_rows
from lib.runs.training import SETTINGS
from lib.runs.weights import save_network

CPU = torch.device("cpu")
COMMAND = [sys.executable, "-m", "lib.runs.gpu", "--device", "cpu"]


def trained(folder, seconds=0.1, name="tira", **where):
    """A trial of a training, which goes on from what is in the folder."""
    state = begin(name, "trial", folder, **where)
    train_until(time.monotonic() + seconds, state, folder, images=1)
    return state


def fits(folder):
    """Whether the files are no more and no larger than what a lent machine gives back."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files) <= 8 and all(path.stat().st_size <= 16_000_000 for path in files)


# --- The command


@pytest.mark.slow
def test_the_whole_command_in_18_seconds(tmp_path):
    found = subprocess.run([*COMMAND, "--minutes", "0.3", "--out", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"gpu: cpu; {os.cpu_count()} processors; Python 3")
    assert read_rows(tmp_path / "gpu_checks.csv", ("check",)) and fits(tmp_path)
    read_rows(tmp_path / "gpu_speed.csv")
    for key in read_manifest(tmp_path):  # a busy machine may not get so far
        assert load_network(*key.split("-"), folder=tmp_path).op.n == 256


def test_checks_and_speed_on_a_cpu(tmp_path, capsys):
    arguments = ["--device", "cpu", "--minutes", "30", "--out", str(tmp_path), "--parts", "checks", "speed"]
    assert gpu.main(arguments) == 0
    rows = read_rows(tmp_path / "gpu_checks.csv", ("check",))
    assert [row["check"] for row in rows] == [name for name, _, _ in gpu_checks.checks(False)] and len(rows) > 10
    assert {(row["gpu"], row["full"], row["passed"], row["fault"]) for row in rows} == {("cpu", "False", "True", "")}
    rows = read_rows(tmp_path / "gpu_speed.csv", ("task", "n", "batch", "device", "threads"))
    assert [(row["task"], row["n"], row["batch"]) for row in rows] == [
        (task, str(n), str(batch)) for task, n, batch, _ in gpu_speed.cases(False)
    ]
    for row in rows:
        assert float(row["per_second"]) == pytest.approx(int(row["batch"]) / float(row["seconds"]), rel=1e-2)
    assert capsys.readouterr().out.endswith(
        f"gpu: done, 0 failures; `make gpu-results DIR={tmp_path}` takes the files in\n"
    )


@pytest.mark.slow
def test_killed_it_leaves_files_that_can_be_used(tmp_path):
    arguments = ["--minutes", "9", "--out", tmp_path, "--parts", "training"]
    with subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "manifest.json").exists():
            time.sleep(0.05)
        time.sleep(2.1)  # to about where it saves again
        process.kill()
    assert load_network("tira", "trial", folder=tmp_path).op.n == 256
    assert fits(tmp_path)


def test_the_minutes_are_a_hard_total(tmp_path):
    hanging = (
        "import sys, time\nfrom lib.runs import gpu, gpu_checks\n"
        "gpu_checks.check = lambda *_: time.sleep(900)\nsys.exit(gpu.main(sys.argv[1:]))"
    )
    (tmp_path / ".manifest.json.0.tmp").touch()
    command = [sys.executable, "-c", hanging, "--device", "cpu", "--minutes", "0.02", "--out", tmp_path]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0 and "the time is over" in found.stdout
    assert not list(tmp_path.iterdir())  # half a file is no file


@pytest.mark.parametrize(
    "wrong", [["--minutes", "0"], ["--minutes", "nan"], ["--parts", "speeed"], ["--network", "unet"], ["--device"]]
)
def test_bad_arguments_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        gpu.main(wrong)
    assert end.value.code == 2 and wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize("device", ["auto", "cuda:1", "gpu"])
def test_without_the_device_it_says_what_is_needed(device, tmp_path, capsys):
    if device != "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["--device", device, "--out", str(tmp_path / "out")]) == 2
    assert f"--device {device}: torch {torch.__version__} has no such device here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_and_a_tirafl_without_tira_are_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path / "file")]) == 2
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path / "out"), "--network", "tirafl"]) == 2
    assert "no trained tira-trial" in capsys.readouterr().err


def test_it_needs_neither_numba_nor_dask():
    code = (
        "import sys\nfor name in 'numba dask distributed psutil scipy matplotlib triton papermill'.split():\n"
        "    sys.modules[name] = None\n"
        "import lib.runs.gpu, lib.runs.gpu_checks, lib.runs.gpu_speed, lib.runs.gpu_training"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# --- Checks and speed


def test_a_check_that_deviates_or_breaks_is_counted_and_the_others_go_on(tmp_path, monkeypatch):
    values = iter([1.0, 1.01, 1.0, 1.2, 1.0, float("nan")])

    def broken(device):
        raise RuntimeError("no kernel\nfor this")

    def value(device):
        return torch.tensor([next(values)])

    cases = [("near", value, 0.1), ("far", value, 0.1), ("nan", value, 0.1), ("broken", broken, 0.1)]
    monkeypatch.setattr(gpu_checks, "checks", lambda full: iter([*cases, ("after", lambda device: torch.ones(2), 0)]))
    assert gpu_checks.check(CPU, "a GPU", True, time.monotonic() + 60, tmp_path / "c.csv") == 3
    rows = {row["check"]: row for row in read_rows(tmp_path / "c.csv", ("check",))}
    assert [row["passed"] for row in rows.values()] == ["True", "False", "False", "False", "True"]
    assert float(rows["far"]["deviation"]) == pytest.approx(0.2, rel=1e-2)
    assert rows["nan"]["fault"] == "not finite" and rows["broken"]["fault"] == "RuntimeError: no kernel"


def test_checks_and_cases_end_with_their_time(tmp_path):
    assert gpu_checks.check(CPU, "cpu", False, time.monotonic() - 1, tmp_path / "c.csv") == 0
    assert gpu_speed.measure(CPU, "cpu", False, time.monotonic() - 1, tmp_path / "s.csv") == 0
    assert not list(tmp_path.iterdir())


def test_a_case_that_fails_leaves_the_others(tmp_path, monkeypatch):
    def too_large(n, batch, device):
        raise torch.OutOfMemoryError("too large")

    after = next(gpu_speed.cases(False))
    monkeypatch.setattr(gpu_speed, "cases", lambda full: iter([("attack", 32, 9, too_large), after]))
    assert gpu_speed.measure(CPU, "cpu", False, time.monotonic() + 60, tmp_path / "s.csv") == 1
    assert [row["task"] for row in read_rows(tmp_path / "s.csv")] == ["tv"]


# --- Training


def test_a_training_goes_on_from_its_weights_and_tirafl_from_tira(tmp_path):
    first = trained(tmp_path)
    entry = read_manifest(tmp_path)["tira-trial"]
    assert entry["steps"] == first.clock.step >= 1 and entry["runs"] == 1
    state = begin("tira", "trial", tmp_path)
    published = load_network("tira", "trial", folder=tmp_path).state_dict()
    assert all(torch.equal(value, published[key]) for key, value in state.network.state_dict().items())
    assert published["net.last.weight"].any()  # it was trained
    second = trained(tmp_path)
    entry = read_manifest(tmp_path)["tira-trial"]
    assert entry["runs"] == 2 and entry["steps"] == second.clock.step > first.clock.step
    assert [row["run"] for row in entry["rows"]] == sorted(row["run"] for row in entry["rows"])
    assert entry["rows"][-1]["step"] == entry["steps"] and {row["run"] for row in entry["rows"]} == {0, 1}
    learned = begin("tirafl", "trial", tmp_path)
    tira = load_network("tira", "trial", folder=tmp_path)
    assert all(torch.equal(v, tira.net.state_dict()[k]) for k, v in learned.network.net.state_dict().items())
    trained(tmp_path, name="tirafl")
    assert set(read_manifest(tmp_path)) == {"tira-trial", "tirafl-trial"} and fits(tmp_path)


def test_a_training_goes_on_from_published_weights_and_their_log(tmp_path):
    weights, results, out = (tmp_path / name for name in ("weights", "results", "out"))
    state = trained(weights)
    tables.write_rows(results / "train_tira-trial.csv", state.rows)
    again = trained(out, weights=weights, results=results)
    assert again.clock.run == 1 and again.rows[0]["run"] == "0" and again.rows[-1]["run"] == 1


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", range(5))
def test_ended_in_the_middle_of_a_save_the_folder_is_that_before_or_after_it(at, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_training, "save_network", functools.partial(save_network, part_bytes=15_000))
    state = trained(tmp_path)
    before = load_network("tira", "trial", folder=tmp_path).net.last.bias.clone()
    assert len(read_manifest(tmp_path)["tira-trial"]["files"]) == 2
    count, replace, unlink = iter(range(99)), os.replace, type(tmp_path).unlink

    def step(
        work, *arguments, **options
    ):  # three files are replaced; one part has changed, and its old file is deleted
        if next(count) == at:
            raise Killed
        return work(*arguments, **options)

    with torch.no_grad():
        state.network.net.last.bias += 0.25
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", functools.partial(step, replace))
        patch.setattr(type(tmp_path), "unlink", lambda path, **options: "tmp" in path.name or step(unlink, path))
        if at < 4:
            with pytest.raises(Killed):
                save(state, SETTINGS["trial"], state.clock, tmp_path, images=1)
        else:
            save(state, SETTINGS["trial"], state.clock, tmp_path, images=1)
    found = load_network("tira", "trial", folder=tmp_path).net.last.bias
    assert torch.allclose(found - before, torch.full_like(found, 0.25 if at > 2 else 0.0), atol=1e-3)
    assert len(list(tmp_path.iterdir())) <= 6  # with the two tables, eight
    state.network.net.last.bias.requires_grad_(False).add_(0.25)
    save(state, SETTINGS["trial"], state.clock, tmp_path, images=1)  # and a later call clears up
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_with_too_little_memory_a_batch_gets_smaller(tmp_path, monkeypatch):
    batches, step = [], gpu_training.training_step

    def limited(network, optimizer, settings, clock):
        batches.append(settings.batch)
        if settings.batch > 1:
            raise torch.OutOfMemoryError
        return step(network, optimizer, settings, clock)

    monkeypatch.setattr(gpu_training, "training_step", limited)
    trained(tmp_path)
    assert batches[:2] == [2, 1] and set(batches[2:]) <= {1}
    assert read_manifest(tmp_path)["tira-trial"]["settings"]["batch"] == 1


def test_a_loss_that_is_not_finite_ends_it_and_what_was_saved_stays(tmp_path, monkeypatch):
    trained(tmp_path)
    before = read_manifest(tmp_path)
    monkeypatch.setattr(gpu_training, "training_step", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        trained(tmp_path)
    assert read_manifest(tmp_path) == before and load_network("tira", "trial", folder=tmp_path)


# --- Taking it in


@pytest.fixture
def folders(tmp_path):
    """Where a GPU has left something, with weights under a name that is published, and where it is to go."""
    out, places = tmp_path / "out", {"weights": tmp_path / "weights", "results": tmp_path / "results"}
    state = begin("tira", "trial", out)
    state.preset = "noisy"
    train_until(time.monotonic() + 0.1, state, out, images=1)
    tables.write_rows(out / "gpu_checks.csv", [{"gpu": "H", "check": "a", "full": True, "deviation": 0.5}])
    return out, places


def test_tables_and_weights_are_taken_in(folders):
    out, places = folders
    other, again = (
        {"gpu": "T4", "check": "a", "full": True, "deviation": 0.25},
        {"gpu": "H", "check": "z", "full": True},
    )
    tables.write_rows(places["results"] / "gpu_checks.csv", [other, again | {"deviation": 1}])
    lines = take(out, **places)
    assert lines[0] == "results/gpu_checks.csv: 1 rows of H" and lines[1].startswith("tira-noisy: ")
    assert [(row["gpu"], row["check"]) for row in read_rows(places["results"] / "gpu_checks.csv")] == [
        ("T4", "a"),
        ("H", "a"),
    ]
    entry = read_manifest(places["weights"])["tira-noisy"]
    log = read_rows(places["results"] / "train_tira-noisy.csv")
    assert int(log[-1]["step"]) == entry["steps"] and "rows" not in entry
    assert [file["name"].split("-")[:2] for file in entry["files"]] == [["tira", "noisy"]]
    one, two = (load_network("tira", "noisy", folder=folder).state_dict() for folder in (out, places["weights"]))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert take(out, **places)[1] == "tira-noisy: no better than the published weights, which stay"


def test_trials_damaged_weights_and_empty_folders_are_not(folders, tmp_path, capsys):
    out, places = folders
    manifest = json.loads((out / "manifest.json").read_text())
    part = out / manifest["tira-noisy"]["files"][0]["name"]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{part.name} has .* bytes"):
        take(out, **places)
    with pytest.raises(ValueError, match="take: nothing of `make gpu`"):
        take(tmp_path / "nothing", **places)
    trial = tmp_path / "trial"
    trained(trial)
    with pytest.raises(ValueError, match="take: tira-trial in trial is a trial"):
        take(trial, **places)
    tables.write_rows(trial / "gpu_speed.csv", [{"gpu": "cpu", "full": False}])
    assert gpu.main(["--take", str(trial)]) == 2
    assert "trial/gpu_speed.csv is of a trial with small sizes" in capsys.readouterr().err
    assert not (places["weights"] / "manifest.json").exists()
