"""What figures show of a table, on a few rows with numbers that are easy to recognise."""

import numpy as np
import pandas
import pytest

from lib.figures import cs_mri, explorer, method, networks, theory
from lib.figures.tables import table


def test_lambda_curves_mark_the_smallest_error():
    rows = [(40, level, lam, abs(lam - best) + 0.1) for level, best in ((0.01, 2), (0.1, 4)) for lam in (4, 1, 2)]
    table = pandas.DataFrame(rows, columns=["lines", "noise_rel", "lam", "error_mean"])
    (ax,) = cs_mri.lambda_curves(table).axes
    curve, best, _, other = ax.lines
    assert curve.get_xdata().tolist() == [1, 2, 4]
    assert (best.get_xdata(), other.get_xdata()) == ([2], [4])


def test_peers_show_the_fastest_run_that_reached_the_accuracy():
    rows = [
        ("lib.tv", "default", 0.1, True, 3.0),
        ("other", "default", 0.1, True, 9.0),
        ("other", "rho=1", 0.1, True, 7.0),
        ("other", "rho=2", 0.1, True, 6.0),
        ("other", "rho=2", 0.01, False, 1.0),
        ("lib.tv", "default", 0.01, True, 4.0),
    ]
    (ax,) = method.peers(pandas.DataFrame(rows, columns=["method", "settings", "accuracy", "reached", "seconds"])).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["lib.tv", "other, default", "other, tuned"]
    assert [[bar.get_width() for bar in group] for group in ax.containers] == [[3.0, 9.0, 6.0], [4.0]]


def test_errors_of_a_preset_are_those_of_its_networks():
    rows = [(name, level, level + i) for i, name in enumerate(("tv", "tira-compact", "tira-paper")) for level in (0, 1)]
    table = pandas.DataFrame(rows, columns=["method", "noise_rel", "error_mean"]).assign(error_std=0.1)
    (ax,) = networks.networks_error(table, "paper").axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert drawn["TV"] == [0, 100] and drawn["Tira"] == [200, 300]


def test_the_explorers_median_is_over_the_locations():
    rows = [("tv", "tv", 1.0), ("tv", "tv", 2.0), ("tv", "tv", 9.0), ("tv", "tira", 0.5), ("tira", "tira", 4.0)]
    table = pandas.DataFrame(rows, columns=["target", "method", "amplification"]).assign(noise_rel=0.04)
    drawn = [[line.get_ydata().tolist() for line in ax.lines] for ax in explorer.transfer(table).axes]
    assert drawn == [[[2.0], [0.5], []], [[2.0], [4.0], []]]


def test_the_transition_is_the_share_of_the_trials():
    rows = [("steps", order, 256, 6, "2 4 4 9") for order in ("uniform", "low")]
    rows += [("steps and spike", order, 256, 6, "70 70 70 70") for order in ("uniform", "low")]
    first = theory.first_recoveries(pandas.DataFrame(rows, columns=["signal", "order", "n", "s", "first_m"]))
    share = theory.low_frequencies(first).axes[0].lines[0].get_ydata()
    assert share[[0, 1, 2, 3, 8]].tolist() == [0, 0.25, 0.25, 0.75, 1]


def test_margins_that_are_not_proved_are_drawn_empty():
    rows = [("a", 1024, 4, 0.5, True), ("a", 2048, 4, 0.25, False)]
    table = pandas.DataFrame(rows, columns=["theorem", "n", "m", "margin", "proved"])
    left, right = theory.constant_measurements(table).axes
    assert left.lines[0].get_ydata().tolist() == [256, 512]
    proved, open_ = right.lines[:2]
    assert (proved.get_ydata(), open_.get_ydata()) == ([0.5], [0.25])
    assert open_.get_markerfacecolor() == "white" and np.isfinite(right.get_ylim()).all()


def test_a_table_of_a_chapter_has_as_many_entries_in_each_row_as_in_the_header():
    assert table(["$m$", "recovered"], [[17, "yes"]]).data.splitlines()[2] == "| 17 | yes |"
    with pytest.raises(ValueError, match=r"expected 2 entries, as in the header, got 1: \[17\]"):
        table(["$m$", "recovered"], [[17]])
