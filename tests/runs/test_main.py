"""The programs: what they refuse, what they choose, and the targets of the Makefile behind them."""

import os
import subprocess

import pytest

from lib import networks
from lib.runs import __main__ as program
from lib.runs import comparison, engine, options
from lib.runs.tables import ROOT


def test_every_table_is_there_and_lacks_nothing(monkeypatch, capsys):
    monkeypatch.setattr(engine, "connect", lambda *_: pytest.fail("a cluster was started"))
    assert program.main([*program.TABLES]) == 0
    assert "theory_growth.csv: 380 rows, 0 of them new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table2"], "invalid choice: 'table2'"),
        (["table1", "--workers", "0"], "--workers: must be an integer of 1 or more, got 0"),
        (["table1", "--verify", "1.5"], "--verify: must be a number in (0, 1], got 1.5"),
        (["lambda", "--lines", "many"], "--lines: invalid int value: 'many'"),
        (["lambda", "--noise", "nan"], "--noise: must be a positive number, got nan"),
        ([], "the following arguments are required: NAME"),
    ],
)
def test_a_wrong_argument_is_named(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        program.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_only_the_methods_that_are_asked_for(monkeypatch, capsys, tmp_path):
    asked = []

    def run(table, choose, **_):
        asked.append({cell["method"] for cell in table.cells(None) if choose(cell)})
        return engine.Report(table.name, 0, 0, 0, [({"method": "tv"}, "no convergence")])

    monkeypatch.setattr(engine, "run", run)
    assert program.main(["networks_error", "--method", "tira"]) == 1  # a cell failed
    assert (
        asked == [{key for key in networks.read_manifest() if key.startswith("tira-")}]
        and "failed: method = tv: no convergence" in capsys.readouterr().out
    )
    assert comparison.TABLE.groups == ("method",)


def test_a_device_is_for_the_workers_of_this_machine(monkeypatch, capsys):
    monkeypatch.delenv("LIB_DEVICE", raising=False)
    monkeypatch.setattr(engine, "run", lambda table, **place: pytest.fail("it ran"))
    assert program.main(["sigma", "--device", "nodev"]) == 2
    assert "--device nodev: torch" in capsys.readouterr().err
    assert program.main(["sigma", "--device", "cpu", "--scheduler", "tcp://host:8786"]) == 2
    assert "start the workers with LIB_DEVICE" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(engine, "run", lambda table, **place: asked.append(place) or engine.Report("sigma", 0, 0, 0))
    monkeypatch.setenv("LIB_DEVICE", "")  # so that it is restored
    assert program.main(["sigma", "--device", "cpu"]) == 0
    assert os.environ["LIB_DEVICE"] == "cpu" and asked[0]["workers"] == 1


def test_what_is_wrong_with_a_file_is_one_line(capsys):
    def work():
        raise OSError(28, "No space left on device", "table1.csv")

    assert options.fails("lib.runs", work) == 2
    assert capsys.readouterr().err == "lib.runs: [Errno 28] No space left on device: 'table1.csv'\n"


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("calibrate", "-m lib.runs lambda"),
        ("table1", "-m lib.runs table1 sigma transfer robustness sensitivity final"),
        ("theory", "-m lib.runs theory_growth theory_few theory_masks theory_transition"),
        ("compare", "-m lib.runs networks_error"),
        ("explorer", "-m lib.runs frames transfer_frames --steps '3'"),
        ("verify", "-m lib.runs 'table1' --verify '0.05'"),
        ("sweep", r"-m lib.runs.sweep 'my sweeps/it'\''s b.yml'"),
    ],
)
def test_make_starts_it_where_one_asks(target, command):
    variables = ["SCHEDULER=tcp://host:8786", "WORKERS=3", "SWEEP=my sweeps/it's b.yml"]
    done = subprocess.run(
        ["make", "--dry-run", target, *variables], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert f"{command} --scheduler 'tcp://host:8786' --workers '3'" in done.stdout


@pytest.mark.parametrize("option", [["--noise", "0.03"], ["--lines", "40"]])
def test_an_option_that_the_table_does_not_take_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["frames", *option])
    assert ended.value.code == 2
    assert f"{option[0]} is for lambda, not for frames" in capsys.readouterr().err
