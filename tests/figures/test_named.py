"""A figure is redrawn by name, and the committed ones show the committed results."""

import matplotlib.pyplot as plt
import pytest

from lib.figures import __main__ as program
from lib.figures.style import save


def test_a_figure_is_rebuilt_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(program.NAMED, "lambda", plt.figure)
    program.main(["lambda"])
    assert (tmp_path / "figures" / "lambda.png").exists()
    assert "lambda.png" in capsys.readouterr().out


def test_an_unknown_figure_is_an_error_that_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        program.main(["no-such-figure"])
    message = capsys.readouterr().err
    assert all(name in message for name in program.NAMED)


DRAWN = [path.stem for path in program.FIGURES.glob("*.png") if path.stem != "cover"]  # which needs a reconstruction


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_committed_figure_shows_the_committed_results(name, tmp_path):
    save(program.NAMED[name](), tmp_path / "fresh.png")
    fresh, kept = plt.imread(tmp_path / "fresh.png"), plt.imread(program.FIGURES / f"{name}.png")
    assert fresh.shape == kept.shape and abs(fresh - kept).mean() < 1e-3, f"make fig-{name} redraws it"
