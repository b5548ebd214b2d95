"""Figures of the chapter beyond the paper: what is drawn is what the rows say."""

import matplotlib.pyplot as plt
import pandas
import pytest
import torch

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
            add("small coils", count, image, alpha=5 / int(count), predicted=4 / int(count))
            add("further", count, image, power=0.5, false_alarm=0.1)
        for radius in (1, 2):
            for method in ("tv", "tira"):
                shown = 0.9 if method == "tv" else 0.5
                add("lesions", f"{method} in {radius}", image, seen=0.2 * radius, shown=shown)
                for way in ("in", "out"):
                    add("hidden lesions", f"{method} {way} {radius}", image, level=0.01 * radius, reached=1)
        for method in ("tv", "tira", "tirafl"):
            for sigma in ("0.5", "5", "362"):
                add("contrast", f"{method} {sigma}", image, local=10 / float(sigma))
        for case in ("artifact 2", "noise 2"):
            add("halves", case, image, lowest=0.5, highest=0.75 + 0.25 * image)
        for n, case in enumerate(("uniform 64 1600", "radial 64 10")):
            add("guarantee", case, image, alpha=2 + n, off_support=0.5 + n)
        for method in ("tv", "tira"):
            for height in (-8, 8):
                add("anatomy", f"{method} {height}", image, alpha=8 + height / 8)
    add("small coils", "4 1e-6", 0, alpha=9, predicted=9)
    for count in ("1", "16"):
        add("singular values", count, 0, weak=0.8 / int(count), smallest=0)
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
    coils = (beyond.numbers(rows, name) for name in ("small coils", "coils", "singular values"))
    left, right = beyond.coils(*coils).axes
    assert drawn(left)["attack on TV, 64 × 64"] == [[1, 16], [5, 0.3125]]
    assert drawn(left)["attack on TV, 256 × 256"] == [[1, 16], [6, 0.375]]
    assert [[0.8, 0.05], [5, 0.3125]] in drawn(right).values()
    (ax,) = beyond.power(beyond.numbers(rows, "further")).axes
    assert drawn(ax)["artifact, 4% noise"] == [[1, 16], [0.5, 0.5]]
    (into,) = beyond.lesions(beyond.numbers(rows, "lesions")).axes
    assert drawn(into)["TV"] == [[1, 2], [0.9, 0.9]] and drawn(into)["Tira"] == [[1, 2], [0.5, 0.5]]
    assert drawn(into)["perturbed image"] == [[1, 2], [0.2, 0.4]]
    plt.close("all")


def test_what_is_drawn_of_the_later_questions(rows):
    (ax,) = beyond.hidden(beyond.numbers(rows, "hidden lesions")).axes
    assert drawn(ax)["TV, erased"] == [[1, 2], [1, 2]] and "Tira, put in" in drawn(ax)
    (ax,) = beyond.contrast(beyond.numbers(rows, "contrast")).axes
    assert drawn(ax)["TiraFL"] == [[0.5, 5, 362], pytest.approx([20, 2, 10 / 362])]
    (ax,) = beyond.halves(beyond.numbers(rows, "halves")).axes
    assert drawn(ax)["4% noise"] == [[0.5, 0.5], [2, 1]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["artifact, 2 parts", "noise, 2 parts"]
    (ax,) = beyond.guarantees(rows).axes
    assert drawn(ax)["radial, 64 × 64"] == [[3, 3], [1.5, 1.5]]
    left, right = beyond.slices(beyond.numbers(rows, "anatomy")).axes
    assert drawn(left)["4% noise"] == [[-8, 8], [7, 9]] and drawn(right)["4% noise"] == [[-8, 8], [7, 9]]
    plt.close("all")


def test_pictures_stand_in_rows_and_columns():
    pictures = {(row, column): torch.zeros(64, 64) for row in ("1%", "4%") for column in ("a", "b", "c")}
    axes = beyond.slice_pictures(pictures, ("1%", "4%")).axes
    assert len(axes) == 6 and axes[3].get_ylabel() == "4%" and axes[2].get_title() == "c"
    figure = beyond.proof(torch.eye(8).numpy(), torch.eye(8).numpy() > 0, torch.ones(2, 8, 8).numpy())
    spot = torch.zeros(64, 64)
    spot[3, 60] = -2
    (ax,) = beyond.artifacts({"TV": spot}, half=4).axes
    shown = ax.get_images()[0].get_array()
    assert shown.shape == (9, 9) and shown[4, 4] == 1 and shown.sum() == 1
    assert [ax.get_xlabel() for ax in figure.axes[1:4]] == ["mask, m = 8", "$|p|$, down", "$|p|$, to the right"]
    plt.close("all")
