"""The frames of transfer: all there, and table, numbers and pictures say what the attack says."""

import dataclasses
import json

import numpy as np
import pytest

from lib.runs import transfer, transfer_frames
from lib.runs.attacks import Configuration
from lib.runs.engine import run
from lib.runs.frames import FRAMES, decode
from lib.runs.section4 import LEVELS, METHODS
from lib.runs.tables import read_rows, read_table
from lib.runs.transfer_frames import IMAGES, TABLE, image_file

ROWS = read_table("explorer/transfer")
FILES = [json.loads((FRAMES / image_file(image)).read_text(encoding="utf-8")) for image in range(IMAGES)]


def test_every_pair_is_there_with_the_numbers_of_the_table():
    assert len(ROWS) == IMAGES * len(LEVELS) * len(METHODS) ** 2
    for row in ROWS.itertuples():
        frame = FILES[row.image][f"{100 * row.noise_rel:g}"][row.target]
        assert frame["mu"] == [row.row, row.column] and float(frame["r"]) == row.peak_r
        assert [float(value) for value in frame["seen"][row.method]] == [row.peak_rho, row.amplification]
    assert np.allclose(ROWS["peak_rho"] / ROWS["peak_r"], ROWS["amplification"], rtol=0.016)  # of three digits


def test_a_kept_perturbation_has_the_numbers_of_the_transfer_table():
    """TV's for image 0 are kept in results/perturbations."""
    measured = transfer.current(method="tv", image=0).set_index(["noise_rel", "target"])
    mine = ROWS[(ROWS["image"] == 0) & (ROWS["target"] == "tv")]
    assert len(mine) == len(LEVELS) * len(METHODS)
    assert not measured.empty
    for row in mine.itertuples():
        if (row.noise_rel, row.method) in measured.index:
            assert row.amplification == pytest.approx(measured.loc[(row.noise_rel, row.method), "alpha"], rel=0.05)


def test_a_cell_is_an_image_and_its_pictures_are_those_of_the_attack(monkeypatch, inline, tmp_path):
    """TV alone, at one level."""
    monkeypatch.setattr(transfer, "METHODS", ("tv",))
    for name, value in {"METHODS": ("tv",), "LEVELS": (0.04,), "IMAGES": 1}.items():
        monkeypatch.setattr(transfer_frames, name, value)
    table = dataclasses.replace(TABLE, size=1)
    assert run(table, folder=tmp_path).new == 1 and run(table, folder=tmp_path).new == 0
    (row,) = read_rows(tmp_path / "explorer" / "transfer.csv")
    content = json.loads((tmp_path / "explorer" / image_file(0)).read_text())
    frame, found = content["4"]["tv"], transfer.shown(Configuration("tv", noise_rel=0.04), 0)["tv"]
    assert row["peak_rho"] == frame["seen"]["tv"][0]
    assert float(row["peak_rho"]) == pytest.approx(float(found.artifact.abs().max()), rel=0.01)
    x = decode(content["x"]) / 255
    assert float((x - found.x).abs().max()) < 0.003
    close, whole = ((decode(frame[name]) - 128) / 100 for name in ("close", "whole"))
    assert whole.shape == (256, 512) and close.shape == (24, 48)
    top, left = (max(int(c), 12) - 12 for c in found.mu)
    for k, image in enumerate((found.x + found.image_perturbation, found.attacked)):
        difference = (image.abs() - x).clamp(-1.28, 1.27)
        near = difference[top : top + 24, left : left + 24]
        assert float((close[:, 24 * k : 24 * k + 24] - near).abs().max()) < 0.006
        away = (whole[:, 256 * k : 256 * k + 256] - difference).abs()
        assert float(away.median()) < 0.01 and float((away > 0.05).float().mean()) < 0.005
