"""The page of claims is the one that the results make, and its verdicts can come out either way."""

import pytest

from lib.runs import fidelity, tables
from lib.runs.fidelity import CLAIMS, NO, OPEN, PARTLY, YES, lines, page
from lib.runs.section4 import LEVELS
from lib.runs.tables import Spread


def test_the_page_is_that_of_the_committed_results():
    text = fidelity.PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "results/ have changed: make fidelity"


def test_the_claims_cover_the_parts_of_the_paper():
    assert {claim.where for claim in CLAIMS} == {"Abstract", "Section 4", "Table 1", "Conclusion"}
    assert len({(claim.where, claim.claim) for claim in CLAIMS}) == len(CLAIMS)
    table = lines()
    assert len(table) == len(CLAIMS) + 2 and all(line.count("|") >= 6 for line in table)


def test_each_command_is_a_target():
    makefile = (fidelity.ROOT / "Makefile").read_text()
    for claim in CLAIMS:
        assert f"\n{claim.command.removeprefix('make ')}: " in makefile


def test_what_is_not_computed_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    found = dict(zip((claim.measure for claim in CLAIMS), lines()[2:], strict=True))
    for measure in (
        fidelity._severe_and_local,
        fidelity._noise_free,
        fidelity._table,
        fidelity._large_sigma,
        fidelity._not_back,
    ):
        assert OPEN in found[measure]


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, YES), (0.1, PARTLY)])
def test_dependence_on_noise_is_told_from_none(monkeypatch, slope, verdict):
    def cells(_=None):
        return {("tv", n, v): Spread(10 * (1 - slope * i), 1, 5) for n in fidelity.LINES for i, v in enumerate(LEVELS)}

    monkeypatch.setattr(fidelity, "summary", cells)
    monkeypatch.setattr(fidelity, "printed", cells)
    assert fidelity._noise_free()[1] == verdict


@pytest.mark.parametrize(("target", "verdict"), [(0.5, YES), (2.0, NO)])
def test_a_transfer_from_tv_is_told_from_none(monkeypatch, target, verdict):
    matrix = {
        ("tv", "tv"): Spread(8, 1, 5),
        ("tv", "tira"): Spread(target, 1, 5),
        ("tv", "tirafl"): Spread(target, 1, 5),
    }
    monkeypatch.setattr(fidelity.transfer, "matrix", lambda _: matrix)
    assert fidelity._not_back()[1] == verdict
