"""Every claim of the paper's abstract, Section 4 and conclusion beside what we measure; ``make fidelity``.

Measurements and verdicts come from results/: a verdict is the outcome of a test written here, not an opinion.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lib.networks import NETWORKS
from lib.runs import transfer
from lib.runs.attacks import current
from lib.runs.section4 import LEVELS, LINES
from lib.runs.table1 import Cell, agrees, printed, summary
from lib.runs.tables import ROOT, Spread, read_table, write_bytes

PAGE = ROOT / "book" / "fidelity.md"
START, END = "<!-- written by make fidelity -->", "<!-- end -->"
HEAD = "```{table} The paper's claims, what we measure, and what follows", ":name: tab-claims", ""
YES, PARTLY, NO, OPEN = "confirmed", "partly", "not confirmed", "not computed yet"
LABELS = {"tv": "TV", "tira": "Tira", "tirafl": "TiraFL"}


@dataclass(frozen=True)
class Claim:
    """A claim in our words, where it stands, what measures it (a sentence and a verdict), and the command behind."""

    where: str
    claim: str
    measure: Callable[[], tuple[str, str]]
    command: str = "make table1"


def _verdict(condition: bool, otherwise: str = NO) -> str:
    return YES if condition else otherwise


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _column(name: str, value: str, **same: object) -> list[float]:
    found = current(name, **same)
    if found.empty:
        raise LookupError(f"no rows of {name} with {same}")
    return list(found[value])


def _tables() -> dict[str, Mapping[Cell, Spread]]:
    return {"our attack": summary("ours"), "authors' optimiser": summary("adam"), "paper": printed()}


def _levels(cells: Mapping[Cell, Spread], method: str, lines: int = 40) -> list[float]:
    return [cells[method, lines, level].mean for level in LEVELS]


def _factor(lines: int) -> float:
    return (
        _column("table1", "n", method="tv", lines=lines)[0] ** 2 / _column("table1", "m", method="tv", lines=lines)[0]
    )


def _l2_robustness() -> tuple[str, str]:
    error = read_table("networks_error", noise_rel=0.1).set_index("method")["error_mean"]
    found = {m: error[m if m == "tv" else f"{m}-compact"] for m in LABELS}
    text = ", ".join(f"{LABELS[m]} {value:.1%}" for m, value in found.items())
    return f"Relative l2 error at 10 % Gaussian noise: {text}", _verdict(max(found.values()) < 2 * min(found.values()))


def _severe_and_local() -> tuple[str, str]:
    peak, share = (
        _column("table1", v, method="tv", lines=40, noise_rel=0.04, optimiser="ours")
        for v in ("rho_linf", "concentration")
    )
    text = (
        f"40 lines, 4 %: the artifact's peak is {_mean(peak):.1f} times the image's maximum; "
        f"{_mean(share):.0%} of its energy lies within 5 pixels"
    )
    return text, _verdict(_mean(peak) > 1 and _mean(share) > 0.5)


def _networks_less() -> tuple[str, str]:
    cells = summary()
    ratio = {m: [a / b for a, b in zip(_levels(cells, m), _levels(cells, "tv"), strict=True)] for m in NETWORKS}
    text = "; ".join(f"{LABELS[m]}: " + ", ".join(f"{r:.2f}" for r in values) for m, values in ratio.items())
    above = [r for values in ratio.values() for r in values[2:]]  # more than 1 % noise
    shown = ", ".join(f"{level:.1%}" for level in LEVELS)
    return f"$\\alpha$ over that of TV at {shown}: {text}", _verdict(max(above) < 0.6, PARTLY if max(above) < 1 else NO)


def _inherent() -> tuple[str, str]:
    rows = read_table("theory_growth", certified=True)
    enough = rows[rows["linf"] >= 2.0 ** rows["log2_n"] / rows["m"] * (1 - 1e-6)]
    text = f"{len(enough)} of {len(rows)} instances with certified recovery of x and x + spike have $\\alpha \\ge n/m$"
    return text, _verdict(len(enough) == len(rows) > 0)


def _coefficients() -> tuple[str, str]:
    share = [1 / _factor(lines) for lines in LINES]
    return ", ".join(f"{lines} lines: {s:.1%}" for lines, s in zip(LINES, share, strict=True)), _verdict(
        [round(100 * s) for s in share] == [11, 17, 32]
    )


def _small_sigma() -> tuple[str, str]:
    found = {s: _mean(_column("sigma", "rho_linf", optimiser="ours", sigma=s)) for s in (1.0, 2.0, 3.0, 5.0, 8.0)}
    text = "Peak of the artifact for radius " + ", ".join(f"{s:g}: {v:.2f}" for s, v in found.items())
    return text, _verdict(max(found.values()) < 1.25 * min(found.values()), PARTLY)


def _large_sigma() -> tuple[str, str]:
    share = {
        (o, s): _mean(_column("sigma", "concentration", optimiser=o, sigma=s))
        for o in ("adam", "ours")
        for s in (5.0, 362.0)
    }
    text = "Energy within 5 pixels of the peak, radius 5 and the whole image: " + "; ".join(
        f"{name} {share[o, 5.0]:.0%}, {share[o, 362.0]:.0%}"
        for o, name in (("adam", "authors' optimiser"), ("ours", "our attack"))
    )
    return text, _verdict(share["adam", 362.0] < 0.5 * share["adam", 5.0])


def _spike_in_r() -> tuple[str, str]:
    low, high = (
        _mean(_column("table1", "r_linf", method="tv", lines=40, noise_rel=v, optimiser="ours")) for v in (0.005, 0.1)
    )
    return f"Peak of r, the image being at most 1: {low:.2f} at 0.5 %, {high:.2f} at 10 %", _verdict(
        low < 0.1 < 0.5 < high, PARTLY
    )


def _much_larger() -> tuple[str, str]:
    found = {o: min(_column("table1", "alpha", method="tv", optimiser=o)) for o in ("ours", "adam")}
    text = f"Smallest $\\alpha$ of all TV cells: {found['ours']:.2f}, with the authors' optimiser {found['adam']:.2f}"
    return text, _verdict(min(found.values()) > 2)


def _noise_free() -> tuple[str, str]:
    parts, spans = [], {}
    for name, cells in _tables().items():
        spans[name] = max(max(v) / min(v) for v in (_levels(cells, "tv", lines) for lines in LINES))
        parts.append(f"{name} {spans[name]:.2f}")
    text = "Largest mean over smallest, of the six levels, at most: " + ", ".join(parts)
    return text, _verdict(spans["our attack"] < 1.2, PARTLY)


def _low_noise_varies() -> tuple[str, str]:
    parts, ratios = [], []
    for name, cells in _tables().items():
        std = [_mean([cells["tv", lines, v].std / cells["tv", lines, v].mean for lines in LINES]) for v in LEVELS]
        parts.append(f"{name} {_mean(std[:2]):.1%} and {_mean(std[3:]):.1%}")
        ratios.append(_mean(std[:2]) / _mean(std[3:]))
    return "Relative spread at 0.5 and 1 %, and from 4 % on: " + ", ".join(parts), _verdict(ratios[0] > 1.5, NO)


def _follows_factor() -> tuple[str, str]:
    parts, off = [], {}
    for name, cells in _tables().items():
        ratio = [_mean(_levels(cells, "tv", lines)) / _factor(lines) for lines in LINES]
        parts.append(f"{name} " + ", ".join(f"{r:.2f}" for r in ratio))
        off[name] = max(abs(r - 1) for r in ratio)
    text = "Mean $\\alpha$ over $n^2/m$ for 25, 40, 80 lines: " + "; ".join(parts)
    near = [off[name] < 0.2 for name in ("our attack", "authors' optimiser")]
    return text, _verdict(all(near), PARTLY if any(near) else NO)


def _tira_lower() -> tuple[str, str]:
    tv, tira = (
        _mean(_column("table1", "rho_linf", method=m, lines=40, noise_rel=0.04, optimiser="ours"))
        for m in ("tv", "tira")
    )
    return f"Peak of the artifact at 4 %: Tira {tira:.2f}, TV {tv:.2f}", _verdict(tira < 0.5 * tv)


def _table() -> tuple[str, str]:
    paper, parts, share = printed(), [], {}
    for name, cells in (("our attack", summary("ours")), ("authors' optimiser", summary("adam"))):
        for group, methods in (("TV", ("tv",)), ("networks", NETWORKS)):
            mine = [key for key in cells if key[0] in methods]
            if not mine:
                raise LookupError(f"no rows for {name}, {group}")
            good = sum(agrees(cells[key], paper[key]) for key in mine)
            share[name, group] = good / len(mine)
            parts.append(f"{name}, {group}: {good} of {len(mine)}")
    return "Means within the paper's standard deviation: " + "; ".join(parts), _verdict(
        share["authors' optimiser", "TV"] > 0.9, PARTLY
    )


def _transferred(source: str, targets: Iterable[str], digits: int) -> tuple[str, list[list[float]]]:
    matrices = {level: transfer.matrix(level) for level in LEVELS}
    values = [[matrix[source, target].mean for target in targets] for matrix in matrices.values()]
    rows = zip(LEVELS, values, strict=True)
    return "; ".join(f"{level:.1%}: " + ", ".join(f"{v:.{digits}f}" for v in row) for level, row in rows), values


def _transfers_to_tv() -> tuple[str, str]:
    text, values = _transferred("tira", LABELS, 1)
    most = [row[0] == max(row) for row in values]
    text = f"$\\alpha$ on TV, Tira, TiraFL of perturbations for Tira: {text}"
    return text, _verdict(all(most), PARTLY if any(most) else NO)


def _not_back() -> tuple[str, str]:
    text, values = _transferred("tv", NETWORKS, 2)
    damped = [max(row) < 1 for row in values]
    text = f"$\\alpha$ on Tira, TiraFL of perturbations for TV: {text}"
    return text, _verdict(all(damped), PARTLY if any(damped) else NO)


def _only_at_low_noise() -> tuple[str, str]:
    cells = summary()
    ends = {m: (cells[m, 40, LEVELS[0]].mean, cells[m, 40, LEVELS[-1]].mean) for m in NETWORKS}
    text = "; ".join(
        f"{LABELS[m]}: $\\alpha$ = {low:.1f} at 0.5 %, {high:.1f} at 10 %" for m, (low, high) in ends.items()
    )
    return text, _verdict(all(low > 2 * high for low, high in ends.values()))


def _proportional() -> tuple[str, str]:
    rows = read_table("theory_masks")
    ratio = rows["spike"] / rows["subsampling"]
    text = (
        f"A spike's $\\alpha$ over $n^2/m$ on {rows['lines'].nunique()} masks: {ratio.min():.2f} to {ratio.max():.2f}"
    )
    return text, _verdict(ratio.max() < 1.25 * ratio.min(), PARTLY)


def _high_dimensions() -> tuple[str, str]:
    rows = read_table("theory_growth", certified=True).sort_values(["log2_n", "problem", "seed"])
    first = rows.iloc[0]
    last = rows[rows["log2_n"] == rows["log2_n"].max()].iloc[0]
    text = (
        f"Certified $\\alpha$ grows from {first['linf']:.0f} at $n = 2^{{{first['log2_n']}}}$ "
        f"to {last['linf']:,.0f} at $2^{{{last['log2_n']}}}$, with $m \\sim \\log n$"
    )
    return text, _verdict(last["linf"] > 100 * first["linf"])


def _two_norms() -> tuple[str, str]:
    same = {"method": "tv", "lines": 40, "noise_rel": 0.04, "optimiser": "ours"}
    l2, r, alpha = (_column("table1", v, **same) for v in ("rho_l2", "r_l2", "alpha"))
    ratio = _mean(a / b for a, b in zip(l2, r, strict=True))
    text = (
        f"40 lines, 4 %: the artifact is {ratio:.1f} times the perturbation in l2, {_mean(alpha):.1f} times in the peak"
    )
    return text, _verdict(_mean(alpha) > 2 * ratio)


CLAIMS = (
    Claim("Abstract", "Networks and TV are about equally robust in l2", _l2_robustness, "make compare"),
    Claim("Abstract", "There are perturbations that cause severe localized artifacts with TV", _severe_and_local),
    Claim("Abstract", "The same attack is less effective against networks", _networks_less),
    Claim("Abstract", "The artifacts are inherent in methods with exact recovery", _inherent, "make theory"),
    Claim("Section 4", "25, 40 and 80 lines are 11, 17 and 32 % of the coefficients", _coefficients),
    Claim("Section 4", "Other small radii give similar artifacts", _small_sigma),
    Claim("Section 4", "Artifacts for large radii are not localized, as those of Genzel et al.", _large_sigma),
    Claim("Section 4", "A spike is seen in r itself, except at very low noise", _spike_in_r),
    Claim("Section 4", "In the peak the artifact is much larger than the perturbation", _much_larger),
    Claim("Section 4", "The mean amplification of TV does not seem to depend on the noise level", _noise_free),
    Claim("Section 4", "It varies more at low noise", _low_noise_varies),
    Claim("Section 4", "It is about the subsampling factor $n^2/m$", _follows_factor),
    Claim("Section 4", "Above 1 % noise networks amplify far less than TV", _networks_less),
    Claim("Section 4", "An artifact of Tira is much lower than one of TV", _tira_lower),
    Claim("Table 1", "The thirty numbers", _table),
    Claim("Section 4", "Perturbations for a network transfer to all methods, TV being hurt most", _transfers_to_tv),
    Claim("Section 4", "Those for TV do not: networks lower the peak of r", _not_back),
    Claim("Conclusion", "For networks the attack amplifies much at low noise only", _only_at_low_noise),
    Claim(
        "Conclusion",
        "For the same peak of r, that of the artifact is proportional to the subsampling",
        _proportional,
        "make theory",
    ),
    Claim(
        "Conclusion",
        "The effect grows in high dimensions, where relatively few measurements are enough",
        _high_dimensions,
        "make theory",
    ),
    Claim("Conclusion", "Localized artifacts are small in l2 and large in the peak", _two_norms),
)


def lines() -> list[str]:
    """The table, one row for each claim."""
    found = ["| Where | The claim | What we measure | Verdict | Command |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        try:
            text, verdict = claim.measure()
        except LookupError:  # a result that is still to be computed
            text, verdict = "", OPEN
        found.append(f"| {claim.where} | {claim.claim} | {text} | **{verdict}** | `{claim.command}` |")
    return found


def page(text: str) -> str:
    """The page with the table between its two marks written anew."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return "\n".join([before + START, "", *HEAD, *lines(), "```", "", END + after])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.runs.fidelity",
        description="Measure the paper's claims anew and write them into book/fidelity.md.",
        epilog="example: python -m lib.runs.fidelity",
    )
    parser.parse_args(arguments)
    write_bytes(PAGE, page(PAGE.read_text(encoding="utf-8")).encode())


if __name__ == "__main__":
    main()
