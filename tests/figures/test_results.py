"""The figures of Section 4 show the numbers that they get."""

import numpy as np
import pandas
import torch

from lib.figures import results
from lib.runs.attacks import Configuration, attack
from lib.runs.section4 import LEVELS
from lib.runs.table1 import printed
from lib.runs.tables import Spread


def test_pairs_have_a_curve_for_each_attack_and_say_which_is_missing():
    ours = {("tira", 40, level): Spread(4.0, 1.0, 2) for level in LEVELS}
    found = {("the paper", "its attack"): printed(), ("compact", "our attack"): ours, ("noisy", "our attack"): {}}
    tira, tirafl = results.pairs(found).axes
    drawn = [bar.lines[0].get_ydata().tolist() for bar in tira.containers]
    assert drawn == [[7.29, 5.91, 3.2, 2.38, 1.89, 1.8], [4.0] * 6, []]
    labels = [text.get_text() for text in tirafl.get_legend().get_texts()]
    assert [label.endswith("no rows yet") for label in labels] == [False, True, True]


def test_robustness_has_both_errors_of_each_method_beside_its_pair():
    rows = [("tv", "", 0.04, 0.02, 0.05), ("tv", "", 0.04, 0.02, 0.07), ("tira", "noisy", 0.04, 0.03, 0.08)]
    columns = ["method", "network", "noise_rel", "error_gaussian", "error_adversarial"]
    compact, noisy = results.robustness(pandas.DataFrame(rows, columns=columns), ("compact", "noisy")).axes
    drawn = [[[round(v, 9) for v in bar.lines[0].get_ydata()] for bar in ax.containers] for ax in (compact, noisy)]
    assert drawn == [[[6.0], [2.0]], [[6.0], [2.0], [8.0], [3.0]]]
    labels = [text.get_text() for text in compact.get_legend().get_texts()]
    assert "Tira: no rows yet" in labels
    assert all(ax.get_legend() for ax in results.robustness(pandas.DataFrame(), ("compact", "noisy")).axes)


def test_sensitivity_leaves_out_rows_of_another_penalty():
    rows = [("authors", 0.04, 0.01, 1.0, 6.0), ("authors", 0.04, 0.01, 0.1, 9.0), ("authors", 0.04, 0.02, 1.0, 5.0)]
    table = pandas.DataFrame(rows, columns=["optimiser", "noise_rel", "lam", "rho", "alpha"])
    (ax,) = results.sensitivity(table, {("ours", 0.04): (0.01, 0.0), ("authors", 0.04): (0.01, 1.0)}).axes
    curves = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert curves["the authors'"] == [6.0, 5.0] and curves["our attack: no rows yet"] == []


def test_the_search_is_shown_around_its_target():
    image = torch.zeros(64, 64)
    image[20, 41] = 3.0
    axes = results.search({"their penalty": [image, 2 * image, 5 * image]}, (20, 40), 4).axes
    assert [ax.get_xlabel() for ax in axes] == ["", r"$\|r\|_\infty$ = 6.000", r"$\|\rho\|_\infty$ = 15.000"]
    shown = axes[0].images[0]
    left, right, bottom, top = shown.get_extent()
    i, j = np.unravel_index(np.asarray(shown.get_array()).argmax(), shown.get_array().shape)
    assert (round(top + 0.5 + i), round(left + 0.5 + j)) == (20, 41)
    assert shown.get_array().shape == (25, 25) and right - left == bottom - top == 25


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
