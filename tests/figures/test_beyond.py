"""Figures of the chapter beyond the paper: what is drawn is what the rows say."""

import matplotlib.pyplot as plt
import pandas
import pytest

from lib.figures import beyond


@pytest.fixture
def rows():
    found = []

    def add(question, case, image, **numbers):
        cell = {"question": question, "case": case, "noise_rel": 0.04, "image": image, "n": 64, "m": 700}
        found.extend({**cell, "quantity": k, "value": v} for k, v in numbers.items())

    for image in (0, 1):
        for k, case in enumerate(("radial", "spiral")):
            add("masks", case, image, alpha=5 + k + image, error=0.1, predicted=6)
        for count in ("1", "16"):
            add("coils", count, image, alpha=6 / int(count), predicted=5 / int(count))
            add("further", count, image, power=0.5, false_alarm=0.1)
        for radius in (1, 2):
            for method in ("tv", "tira"):
                for way in ("in", "out"):
                    shown = 0.9 if method == "tv" else 0.5
                    add("lesions", f"{method} {way} {radius}", image, seen=0.2 * radius, shown=shown)
    return pandas.DataFrame(found)


def test_numbers_are_means_over_images(rows):
    found = beyond.numbers(rows, "masks")
    assert found.loc[("radial", 0.04), "alpha"] == 5.5 and found.loc[("spiral", 0.04), "alpha"] == 6.5


def test_a_level_that_lacks_cases_is_left_out(rows):
    one = rows[(rows["question"] == "masks") & (rows["case"] == "radial")].assign(noise_rel=0.01)
    assert beyond.numbers(pandas.concat([rows, one]), "masks").equals(beyond.numbers(rows, "masks"))


def drawn(ax):
    return {line.get_label(): [list(map(float, part)) for part in line.get_data()] for line in ax.get_lines()}


def test_what_is_drawn(rows):
    left, right = beyond.cases(beyond.numbers(rows, "masks")).axes[:2]
    assert drawn(right)["4% noise"] == [[10, 10], [2, 1]] and [[5.5, 6.5], [2, 1]] in drawn(left).values()
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["radial", "spiral"]
    (ax,) = beyond.coils(beyond.numbers(rows, "coils")).axes
    assert drawn(ax)["attack on TV"] == [[1, 16], [6, 0.375]]
    (ax,) = beyond.power(beyond.numbers(rows, "further")).axes
    assert drawn(ax)["artifact, 4% noise"] == [[1, 16], [0.5, 0.5]]
    (into,) = beyond.lesions(beyond.numbers(rows, "lesions")).axes
    assert drawn(into)["TV"] == [[1, 2], [0.9, 0.9]] and drawn(into)["Tira"] == [[1, 2], [0.5, 0.5]]
    assert drawn(into)["perturbed image"] == [[1, 2], [0.2, 0.4]]
    plt.close("all")
