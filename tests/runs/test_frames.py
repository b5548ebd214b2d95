"""The explorer's frames in results/: all are there, and numbers and pictures are those of the attack."""

import json
import math

import torch

from lib.runs import frames
from lib.runs.frames import COUNT, FRAMES, SHOWN, compute_frames, decode, encode, frame_rows, level_file
from lib.runs.section4 import LEVELS
from lib.runs.tables import read_table


def test_results_have_every_frame():
    rows = read_table("explorer/frames")
    assert len(rows) == len(LEVELS) * COUNT**2 * len(SHOWN)
    for level in LEVELS:
        assert len(json.loads((FRAMES / level_file(level)).read_text())) == COUNT**2 + 1


def test_the_amplification_is_the_ratio_of_the_peaks():
    for row in read_table("explorer/frames").itertuples():
        (rho, d), (r, c), (alpha, h) = (
            (value, 0.501 * 10 ** (math.floor(math.log10(value)) - 2))  # half of the last of three digits
            for value in (row.peak_rho, row.peak_r, row.amplification)
        )
        assert (rho - d) / (r + c) - h <= alpha <= (rho + d) / (r - c) + h, row


def test_a_frame_is_what_the_table_and_the_pictures_say(monkeypatch):
    """TV's part of one frame, computed anew: numbers to 2 %, the close-up to its step, the rest to what is seen."""
    row = next(read_table("explorer/frames", target="tv", method="tv").itertuples())
    mu, methods = (row.row, row.column), frames.reconstructions
    monkeypatch.setattr(frames, "SHOWN", (("tv", "tv"),))
    monkeypatch.setattr(frames, "reconstructions", lambda *args: {"tv": methods(*args)["tv"]})
    attacks, clean = compute_frames(row.noise_rel, torch.tensor([mu]))
    (new,) = frame_rows(attacks, row.noise_rel, list(mu), 0, "")
    for name in ("peak_r", "peak_rho", "amplification"):
        assert math.isclose(float(new[name]), getattr(row, name), rel_tol=0.02)
    pictures = json.loads((FRAMES / level_file(row.noise_rel)).read_text())
    whole, close = map(decode, pictures[f"{mu[0]},{mu[1]}"])
    assert whole.shape == (512, 1024) and close.shape == (24, 192)
    rho = (clean["tv"] + attacks["tv", "tv"].artifact[0]).abs() - clean["tv"].abs()
    top, left = (max(c, 12) - 12 for c in mu)
    near = rho[top : top + 24, left : left + 24].clamp(-1.28, 1.27)
    assert float(((close[:, 24:48] - 128) / 100 - near).abs().max()) < 0.03
    away = ((whole[:256, 256:512] - 128) / 100 - rho.clamp(-1.28, 1.27)).abs()
    assert float(away.median()) < 0.01 and float((away > 0.05).float().mean()) < 0.005
    assert float((decode(pictures["clean"])[:, :256] / 255 - clean["tv"].abs()).abs().max()) < 0.02


def test_a_picture_keeps_what_its_step_can():
    image = torch.linspace(-1.2, 1.2, 256).reshape(16, 16)
    assert float(((decode(encode(image)) - 128) / 100 - image).abs().max()) <= 0.005 + 1e-6
