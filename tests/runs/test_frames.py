"""The explorer's frames: all there, and what the attack, the table and the pictures say is the same."""

import json

import numpy as np
import pytest
import torch

from lib.runs import frames
from lib.runs.engine import run
from lib.runs.frames import COUNT, FRAMES, SHOWN, compute_frames, decode, encode, frame_rows, level_file
from lib.runs.section4 import LEVELS
from lib.runs.tables import read_rows, read_table

ROWS = read_table("explorer/frames")


def test_results_have_every_frame():
    assert len(ROWS) == len(LEVELS) * COUNT**2 * len(SHOWN)
    for level in LEVELS:
        assert len(json.loads((FRAMES / level_file(level)).read_text())) == COUNT**2 + 1


def test_the_amplification_is_the_ratio_of_the_peaks():
    assert np.allclose(ROWS["peak_rho"] / ROWS["peak_r"], ROWS["amplification"], rtol=0.016)  # of three digits


def test_a_frame_is_what_the_table_and_the_pictures_say(monkeypatch):
    """TV's part of one frame, computed anew: numbers to 2 %, the close-up to its step, the rest to what is seen."""
    row = ROWS[(ROWS["target"] == "tv") & (ROWS["method"] == "tv")].iloc[0]
    noise_rel, mu = row["noise_rel"], [int(row["row"]), int(row["column"])]
    methods = frames.reconstructions
    monkeypatch.setattr(frames, "SHOWN", (("tv", "tv"),))
    monkeypatch.setattr(frames, "reconstructions", lambda *args: {"tv": methods(*args)["tv"]})
    attacks, clean = compute_frames(noise_rel, torch.tensor([mu]))
    (new,) = frame_rows(attacks, mu, 0)
    for name in ("peak_r", "peak_rho", "amplification"):
        assert float(new[name]) == pytest.approx(row[name], rel=0.02)
    pictures = json.loads((FRAMES / level_file(noise_rel)).read_text())
    whole, close = map(decode, pictures[f"{mu[0]},{mu[1]}"])
    assert whole.shape == (512, 1024) and close.shape == (24, 192)
    rho = (clean["tv"] + attacks["tv", "tv"].artifact[0]).abs() - clean["tv"].abs()
    top, left = (max(c, 12) - 12 for c in mu)
    near = rho[top : top + 24, left : left + 24].clamp(-1.28, 1.27)
    assert float(((close[:, 24:48] - 128) / 100 - near).abs().max()) < 0.03
    away = ((whole[:256, 256:512] - 128) / 100 - rho.clamp(-1.28, 1.27)).abs()
    assert float(away.median()) < 0.01 and float((away > 0.05).float().mean()) < 0.005
    assert float((decode(pictures["clean"])[:, :256] / 255 - clean["tv"].abs()).abs().max()) < 0.02


def test_a_level_is_one_cell_and_more_steps_are_another(monkeypatch, inline, tmp_path):
    methods = frames.reconstructions
    monkeypatch.setattr(frames, "SHOWN", (("tv", "tv"),))
    monkeypatch.setattr(frames, "COUNT", 2)
    monkeypatch.setattr(frames, "LEVELS", (0.04,))
    monkeypatch.setattr(frames, "METHODS", ("tv",))
    monkeypatch.setattr(frames, "reconstructions", lambda *args: {"tv": methods(*args)["tv"]})
    monkeypatch.setattr(frames, "encode_frame", lambda *_: ["", ""])
    assert run(frames.table(), folder=tmp_path).new == 4 and run(frames.table(), folder=tmp_path).new == 0
    assert set(json.loads((tmp_path / "explorer" / "level-4.json").read_text())) >= {"64,64", "192,64", "clean"}
    assert run(frames.table(steps=4), folder=tmp_path).new == 4
    assert len(read_rows(tmp_path / "explorer" / "frames.csv")) == 4 and len(inline) == 2


def test_a_picture_without_loss_is_what_it_was():
    image = torch.linspace(-1.2, 1.2, 32 * 32).view(32, 32)
    assert float(((decode(encode(image)) - 128) / 100 - image).abs().max()) <= 0.005 + 1e-6
