"""The figures: values beyond 1 are marked, files are written whole, and the same figure is the same file."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lib import figures
from lib.experiments import LEVELS, OPTIMISERS, Configuration, attack, setting, transfer_setting
from lib.records import RESULTS


@pytest.fixture(autouse=True)
def style():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def has_color(figure, color):
    wanted = np.round(255 * np.array(matplotlib.colors.to_rgb(color)))
    return bool((np.abs(pixels(figure) - wanted) <= 1).all(-1).any())


@pytest.mark.parametrize(("peak", "marked"), [(1.0, False), (1.01, True), (-1.5, True)])
def test_values_beyond_1_and_only_those_are_in_the_warning_colour(peak, marked):
    # A negative or complex pixel counts by its modulus.
    image = torch.full((16, 16), 0.5)
    image[4, 4] = peak
    figure, ax = plt.subplots()
    figures.show_image(ax, image)
    assert has_color(figure, figures.OVER) == marked


@pytest.mark.parametrize("mu", [(3, 3), (60, 2), (0, 63), (40, 40)])
def test_the_close_up_shows_the_pixel_and_does_not_hide_it(mu):
    image = torch.zeros(64, 64)
    image[mu] = 2
    figure, ax = plt.subplots()
    figures.show_image(ax, image, close_up=mu)
    figure.canvas.draw()
    (inset,) = ax.child_axes
    (left, right), (bottom, top) = inset.get_xlim(), inset.get_ylim()
    assert left < mu[1] < right and top < mu[0] < bottom
    where = ax.transData.transform((mu[1], mu[0]))
    assert not inset.get_window_extent().contains(*where)


def test_the_same_figure_is_the_same_file_and_nothing_else_is_left(tmp_path):
    for name in ("a.png", "b.png"):
        figures.save(figures.masks(n=32, lines=(4,)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert not plt.get_fignums()


def test_an_unknown_figure_is_an_error_that_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        figures.main(["no-such-figure"])
    message = capsys.readouterr().err
    assert all(name in message for name in figures.NAMED)


def test_a_figure_is_rebuilt_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    monkeypatch.setitem(figures.NAMED, "lambda", lambda: figures.masks(n=32, lines=(4,)))
    figures.main(["lambda"])
    assert (tmp_path / "figures" / "lambda.png").stat().st_size > 1000
    assert "lambda.png" in capsys.readouterr().out


DRAWN = """attack-iterations attack-optimum attack-strength lambda networks-error peers scaling subsampling tolerance
training""".split()


@pytest.mark.parametrize("name", DRAWN)
def test_a_committed_figure_shows_the_committed_results(name, tmp_path):
    figures.save(figures.NAMED[name](), tmp_path / "fresh.png")
    fresh, kept = plt.imread(tmp_path / "fresh.png"), plt.imread(figures.FIGURES / f"{name}.png")
    assert fresh.shape == kept.shape and abs(fresh - kept).mean() < 1e-3, f"make fig-{name} redraws it"


def test_relative_error_is_that_of_the_definition():
    x = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert figures.relative_error(x + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), x) == pytest.approx(0.2)


@pytest.fixture
def section_4(tmp_path, monkeypatch):
    """A few cells of each table of Section 4, with numbers that are easy to recognise."""
    columns = "method,lines,noise_rel,image,optimiser,grid,sigma,seed,preset,network,n,setting"
    table = [columns + ",m,alpha,rho_linf,concentration"]
    for image in (0, 1):
        for lines, m in ((25, 6990), (40, 10941), (80, 20908)):
            for level in LEVELS:
                cell = Configuration("tv", lines, level)
                table.append(
                    f"tv,{lines},{level},{image},ours,8,5.0,23,laptop,,256,{setting(cell)},{m},{3 + 2 * image},1,0.9"
                )
    sigma = [table[0]]
    transfer = [columns + ",target,alpha"]
    settings = transfer_setting(Configuration())
    for radius in (1.0, 5.0, 362.0):
        sigma += [
            f"tv,40,0.04,0,{o},8,{radius},23,laptop,,256,{setting(Configuration())},10941,6,1,0.5" for o in OPTIMISERS
        ]
    for target, alpha in (("tv", 7.5), ("tira", 0.5), ("tirafl", 0.25)):
        transfer.append(f"tv,40,0.04,0,ours,8,5.0,23,laptop,,256,{settings},{target},{alpha}")
    for name, text in (("table1", table), ("sigma", sigma), ("transfer", transfer)):
        (tmp_path / f"{name}.csv").write_text("\n".join(text) + "\n")
    (tmp_path / "paper_table1.csv").write_text((RESULTS / "paper_table1.csv").read_text())
    monkeypatch.setattr("lib.experiments.RESULTS", tmp_path)


def test_the_figures_of_section_4_show_what_the_files_say(section_4):
    left, _ = figures.amplification().axes
    drawn = [bar.lines[0].get_ydata().tolist() for bar in left.containers]
    assert drawn.count([4.0] * 6) == 3 and len(drawn) == 6  # ours and the paper's, for three masks each
    assert [6.23, 5.64, 5.88, 6.88, 5.91, 5.65] in drawn
    matrices = figures.transfer_matrices().axes[:6]
    assert [text.get_text() for text in matrices[3].texts] == ["7.5\n± 0.0", "0.5\n± 0.0", "0.2\n± 0.0"]
    assert not matrices[0].texts
    assert [line.get_ydata().tolist() for line in figures.radius().axes[1].lines] == [[6.0] * 3] * 2
    labels = [text.get_text() for text in figures.networks_amplification().axes[2].get_legend().get_texts()]
    assert labels == ["TV", "Tira", "TiraFL"]
    plt.close("all")


def test_figures_4_to_7_show_images_and_the_numbers_of_the_outcome():
    cells = {level: Configuration(lines=25, n=64, noise_rel=level, preset="quick") for level in (0.01, 0.04)}
    found = {level: attack(cell, 0, (20, 30)) for level, cell in cells.items()}
    figure = figures.attacked_levels(found)
    labels = [ax.get_xlabel() for ax in figure.axes]
    for outcome in found.values():
        assert rf"$\|\rho\|_\infty$ = {float(outcome.artifact.abs().max()):.2f}" in labels
        assert rf"$\|r\|_\infty$ = {float(outcome.image_perturbation.abs().max()):.2f}" in labels
    figure = figures.transfers({"tv": found[0.01], "tira": found[0.04]}, "tv")
    assert len(figure.axes) == 3 and figure.axes[2].get_xlabel().startswith("Tira")
    assert len(figures.attacked(found[0.04]).axes) == 3
    plt.close("all")
