"""The figures of Section 4 show the numbers that they get."""

from lib.figures import results
from lib.runs.attacks import Configuration, attack
from lib.runs.section4 import LEVELS
from lib.runs.table1 import printed
from lib.runs.tables import Spread


def test_amplification_has_a_curve_for_each_mask():
    ours = {("tv", lines, level): Spread(4.0, 1.0, 2) for lines in (25, 40, 80) for level in LEVELS}
    found = {"our attack": ours, "authors' optimiser": {}, "paper": printed()}
    left, _ = results.amplification(found, {25: 9.4, 40: 6.0, 80: 3.1}).axes
    drawn = [bar.lines[0].get_ydata().tolist() for bar in left.containers]
    assert drawn.count([4.0] * 6) == 3
    assert [6.23, 5.64, 5.88, 6.88, 5.91, 5.65] in drawn
    axes = results.networks_amplification(found).axes
    assert axes[0].containers[0].lines[0].get_ydata().tolist() == [4.0] * 6
    assert [text.get_text() for text in axes[2].get_legend().get_texts()] == ["TV", "Tira", "TiraFL"]


def test_the_matrix_has_its_source_in_the_row():
    seen = {("tv", "tv"): 7.5, ("tv", "tira"): 0.5, ("tv", "tirafl"): 0.25}
    matrices = {level: {} for level in LEVELS} | {0.04: {pair: Spread(v, 0.0, 1) for pair, v in seen.items()}}
    axes = results.transfer_matrices(matrices).axes[:6]
    assert {text.get_position(): text.get_text() for text in axes[3].texts} == {
        (0, 0): "7.5\n± 0.0",
        (1, 0): "0.5\n± 0.0",
        (2, 0): "0.2\n± 0.0",
    }
    assert not axes[0].texts


def test_figures_4_to_7_show_images_and_the_numbers_of_the_outcome():
    cells = {level: Configuration(lines=25, n=64, noise_rel=level, preset="quick") for level in (0.01, 0.04)}
    found = {level: attack(cell, 0, (20, 30)) for level, cell in cells.items()}
    labels = [ax.get_xlabel() for ax in results.attacked_levels(found).axes]
    for outcome in found.values():
        assert rf"$\|\rho\|_\infty$ = {float(outcome.artifact.abs().max()):.2f}" in labels
        assert rf"$\|r\|_\infty$ = {float(outcome.image_perturbation.abs().max()):.2f}" in labels
    axes = results.transfers({"tv": found[0.01], "tira": found[0.04]}, "tv").axes
    assert len(axes) == 3 and axes[2].get_xlabel().startswith("Tira")
    assert results.attacked(found[0.04]).axes[1].get_xlabel().endswith(labels[1])
