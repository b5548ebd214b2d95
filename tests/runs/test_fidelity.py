"""The page of claims is the one that the results make, and each rule can come out either way."""

import pandas as pd
import pytest

from lib.runs import claims, fidelity, tables
from lib.runs.claims import NO, PARTLY, YES
from lib.runs.fidelity import CLAIMS, OPEN, lines, page
from lib.runs.section4 import LEVELS, LINES
from lib.runs.tables import Spread


def test_the_page_is_that_of_the_committed_results():
    text = fidelity.PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "results/ have changed: make fidelity"


def test_the_claims_cover_the_parts_of_the_paper():
    assert {claim.where for claim in CLAIMS} == {"Abstract", "Section 4", "Table 1", "Conclusion"}
    assert len({(claim.where, claim.claim) for claim in CLAIMS}) == len(CLAIMS)
    assert all(line.count(" | ") == 4 for line in lines()[2:])


def test_each_command_is_a_target():
    makefile = (fidelity.ROOT / "Makefile").read_text()
    for claim in CLAIMS:
        assert f"\n{claim.command.removeprefix('make ')}: " in makefile


def test_what_is_not_computed_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    found = dict(zip((claim.measure for claim in CLAIMS), lines()[2:], strict=True))
    for measure in (claims.severe_and_local, claims.inherent, claims.table, claims.large_sigma, claims.not_back):
        assert OPEN in found[measure]


# --- Each rule, with rows that meet it and rows that do not

FACTORS = dict(zip(LINES, (9.38, 5.99, 3.13), strict=True))
TV = {("tv", lines, level): Spread(factor, 0.5, 10) for lines, factor in FACTORS.items() for level in LEVELS}


def cells(tv=1.0, low=1.0, net=0.3, spread=0.5, net_low=0.3):
    """Table 1 in a nutshell: TV at ``tv`` times n^2/m, ``low`` times as much at 0.5 %; networks at ``net`` times TV."""
    found = {}
    for key, cell in TV.items():
        wide = spread if key[2] in LEVELS[:2] else 0.5
        found[key] = Spread(cell.mean * tv * (low if key[2] == LEVELS[0] else 1), wide, 10)
    for name in ("tira", "tirafl"):
        for level in LEVELS:
            share = net_low if level == LEVELS[0] else net
            found[name, 40, level] = Spread(5.99 * share, 0.1, 10)
    return found


PAPER = cells(spread=2.5, net_low=0.9)  # as the paper has it: wide at low noise, networks amplify at 0.5 % alone


PEAKS = {"tv": [5.0, 6.0], "tira": [1.0, 2.0]}


def rows(**columns):
    return pd.DataFrame(columns)


def attacks(**values):
    same = {
        "rho_linf": [2.0, 3.0],
        "concentration": [0.9, 0.8],
        "alpha": [6.0, 7.0],
        "rho_l2": [2.0, 2.0],
        "r_l2": [1.0, 1.0],
    }
    return rows(**(same | values))


def networks_rows(tv, net):
    levels = [level for level in LEVELS for _ in range(2)]
    each = [
        rows(method=name, network=pair, noise_rel=levels, error_adversarial=[0.99 * v, 1.01 * v] * len(LEVELS))
        for name, pair, v in (("tv", "", tv), ("tira", "compact", net), ("tirafl", "compact", net))
    ]
    return pd.concat(each)


def growth(alpha):
    levels = [6, 7, 8]
    return rows(
        problem="l1",
        log2_n=levels,
        m=[2.0**k / a for k, a in zip(levels, alpha, strict=True)],
        linf=alpha,
        certified=True,
    )


def few(deviation):
    return rows(certified=[True, False], deviation=[0.0, deviation])


def masks(power):
    subsampling = [2.0, 4.0, 8.0, 16.0]
    noisy = [v * w for v, w in zip([s**power for s in subsampling], (1.01, 0.99, 1.01, 0.99), strict=True)]
    return rows(lines=[1, 2, 3, 4], subsampling=subsampling, spike=noisy, attack=noisy)


def radii(ours, adam):
    return lambda name, optimiser, sigma, **_: rows(concentration=[(ours if optimiser == "ours" else adam)[sigma > 5]])


@pytest.mark.parametrize(
    ("measure", "data", "outcome"),
    [
        ("l2_robustness", {"read_table": networks_rows(0.1, 0.1)}, YES),
        ("l2_robustness", {"read_table": networks_rows(0.1, 0.2)}, NO),
        ("severe_and_local", {"current": attacks()}, YES),
        ("severe_and_local", {"current": attacks(rho_linf=[0.5, 2.0])}, PARTLY),
        ("severe_and_local", {"current": attacks(concentration=[0.1, 0.4])}, NO),
        ("networks_less", {"summary": cells()}, YES),
        ("networks_less", {"summary": cells(net=1.0)}, NO),
        ("inherent", {"theory_growth": growth([2, 4, 8]), "theory_few": few(1.0)}, YES),
        ("inherent", {"theory_growth": growth([2, 4, 8]).assign(m=1), "theory_few": few(1.0)}, PARTLY),
        ("inherent", {"theory_growth": growth([2, 4, 8]), "theory_few": few(0.0)}, PARTLY),
        ("coefficients", {"current": rows(n=[256], m=[6990])}, NO),
        ("small_sigma", {"current": lambda name, sigma, **_: rows(rho_linf=[5.0])}, YES),
        ("small_sigma", {"current": lambda name, sigma, **_: rows(rho_linf=[sigma])}, NO),
        ("large_sigma", {"current": radii((0.9, 0.1), (0.9, 0.1))}, YES),
        ("large_sigma", {"current": radii((0.9, 0.9), (0.9, 0.1))}, PARTLY),
        ("spike_in_r", {"current": lambda name, noise_rel, **_: rows(r_linf=[20 * noise_rel - 0.05])}, YES),
        ("spike_in_r", {"current": lambda name, noise_rel, **_: rows(r_linf=[4 * noise_rel])}, PARTLY),
        ("much_larger", {"current": attacks()}, YES),
        ("much_larger", {"current": attacks(alpha=[0.1, 0.2])}, NO),
        ("noise_free", {"summary": cells()}, YES),
        ("noise_free", {"summary": cells(low=1.6)}, NO),
        ("low_noise_varies", {"summary": cells(spread=2.0)}, YES),
        ("low_noise_varies", {"summary": cells(spread=0.5)}, NO),
        ("follows_factor", {"summary": cells()}, YES),
        ("follows_factor", {"summary": cells(tv=2.0)}, NO),
        ("tira_lower", {"current": lambda name, method, **_: rows(rho_linf=PEAKS[method])}, YES),
        ("tira_lower", {"current": lambda name, method, **_: rows(rho_linf=[5.0, 6.0])}, NO),
        ("table", {"summary": PAPER}, YES),
        ("table", {"summary": cells(tv=2.0, net=1.5, net_low=2.0)}, NO),
        ("transfers_to_tv", {"matrix": (3.0, 2.0)}, YES),
        ("transfers_to_tv", {"matrix": (1.0, 2.0)}, NO),
        ("not_back", {"matrix": (8.0, 0.5)}, YES),
        ("not_back", {"matrix": (8.0, 2.0)}, NO),
        ("only_at_low_noise", {"summary": cells(net_low=0.8)}, YES),
        ("only_at_low_noise", {"summary": cells()}, NO),
        ("proportional", {"read_table": masks(1.0)}, YES),
        ("proportional", {"read_table": masks(0.5)}, NO),
        ("high_dimensions", {"read_table": growth([2, 4, 8])}, YES),
        ("high_dimensions", {"read_table": growth([8, 4, 2])}, NO),
        ("two_norms", {"current": attacks()}, YES),
        ("two_norms", {"current": attacks(rho_l2=[9.0, 9.0])}, NO),
    ],
)  # fmt: skip
def test_a_rule_can_hold_and_fail(monkeypatch, measure, data, outcome):
    def give(found):
        return found if callable(found) else lambda *_, **__: found

    for loader in {"current", "summary"} & data.keys():
        monkeypatch.setattr(claims, loader, give(data[loader]))
    monkeypatch.setattr(claims, "printed", lambda: PAPER)
    if "matrix" in data:
        on_tv, on_net = (Spread(v, 1, 5) for v in data["matrix"])
        targets = {"tv": on_tv, "tira": on_net, "tirafl": on_net}
        found = {(source, target): value for source in targets for target, value in targets.items()}
        monkeypatch.setattr(claims.transfer, "matrix", lambda _: found)
    if data.keys() & {"read_table", "theory_growth"}:
        monkeypatch.setattr(claims, "read_table", lambda name, **_: data.get(name, data.get("read_table")))
    assert getattr(claims, measure)().outcome == outcome


def test_every_rule_is_tried():
    (mark,) = (m for m in test_a_rule_can_hold_and_fail.pytestmark if m.name == "parametrize")
    tried = {}
    for measure, _, outcome in mark.args[1]:
        tried.setdefault(measure, set()).add(outcome)
    assert {claim.measure.__name__ for claim in CLAIMS} == set(tried)
    assert all(outcomes - {YES} for outcomes in tried.values())
