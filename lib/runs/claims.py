"""What each claim of the paper is measured by: rules applied to results/, for the page of `lib.runs.fidelity`.

A rule uses the paper's own spread or number where it gives one, else its statement. It is the docstring of its
function, and the page writes it beside the outcome.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

import scipy.stats

from lib.networks import NETWORKS
from lib.runs import transfer
from lib.runs.attacks import current
from lib.runs.section4 import LEVELS, LINES
from lib.runs.table1 import PAIRS, Cell, agrees, printed, summary
from lib.runs.tables import Spread, read_table, spreads

YES, PARTLY, NO = "confirmed", "partly", "not confirmed"
LABELS = {"tv": "TV", "tira": "Tira", "tirafl": "TiraFL"}
HIGH = LEVELS[2:]  # more than 1 % noise


@dataclass(frozen=True)
class Found:
    """What the paper has, what we have, and the share of instances of the rule that hold, from 0 to 1."""

    paper: str
    ours: str
    holds: float

    @property
    def outcome(self) -> str:
        return YES if self.holds == 1 else NO if self.holds == 0 else PARTLY


def _column(name: str, value: str, **same: object) -> list[float]:
    found = current(name, **same)
    if found.empty:
        raise LookupError(f"no rows of {name} with {same}")
    return list(found[value])


def _spread(name: str, value: str, **same: object) -> Spread:
    values = _column(name, value, **same)
    return Spread(fmean(values), stdev(values), len(values))


def _searches() -> dict[str, Mapping[Cell, Spread]]:
    """TV's amplification by search; the literal one where all its cells have rows."""
    found = {"our attack": summary("ours"), "Adam on our solver": summary("adam"), "the literal search": literal()}
    wanted = {key for key in printed() if key[0] == "tv"}
    return {name: cells for name, cells in found.items() if wanted <= set(cells)}


def literal(network: str = "compact") -> Mapping[Cell, Spread]:
    """The rows of the authors' search as they ran it, with this pair of networks."""
    return summary("authors", preset="literal", network=network)


def _levels(cells: Mapping[Cell, Spread], method: str, lines: int = 40) -> list[float]:
    return [cells[method, lines, level].mean for level in LEVELS]


def _factor(lines: int) -> float:
    rows = current("table1", method="tv", lines=lines)
    return rows["n"].iloc[0] ** 2 / rows["m"].iloc[0]


def _listed(values: Mapping[str, Iterable[float]], form: str) -> str:
    return "; ".join(f"{name} " + ", ".join(format(v, form) for v in found) for name, found in values.items())


def _nearer(ours: float, paper: float) -> bool:
    """Whether a ratio is nearer to the paper's than to 1, and than the paper's is to 1."""
    return abs(ours - paper) < min(abs(ours - 1), abs(paper - 1))


# --- The rules


def l2_robustness() -> Found:
    """At each level, the means of a network (either pair) and of TV differ by less than their standard deviations
    together."""
    rows = read_table("robustness")
    if rows.empty:
        raise LookupError("no rows of robustness")
    rows = rows.assign(name=(rows["method"].map(LABELS) + " " + rows["network"]).str.strip())
    found = spreads(rows, ("name", "noise_rel"), "error_adversarial")
    if any(spread.count < 2 for spread in found.values()):
        raise LookupError("one image has no spread")
    names = dict.fromkeys(name for name, _ in found)
    held = []
    for level in LEVELS:
        tv = found["TV", level]
        for mine in (found[name, level] for name in names if name != "TV"):
            held.append(abs(mine.mean - tv.mean) <= mine.std + tv.std)
    shown = {name: [100 * found[name, level].mean for level in LEVELS] for name in names}
    return Found("no number", f"Errors (%) under attack (4) at the six levels: {_listed(shown, '.1f')}", fmean(held))


def severe_and_local() -> Found:
    """In every image, 40 lines and 4 %: a peak above the maximum of the image, most of the energy within 5
    pixels."""
    same = {"method": "tv", "lines": 40, "noise_rel": 0.04, "optimiser": "ours"}
    peaks, shares = (_column("table1", value, **same) for value in ("rho_linf", "concentration"))
    text = f"Peak {min(peaks):.1f} to {max(peaks):.1f}, energy within 5 pixels {min(shares):.0%} to {max(shares):.0%}"
    return Found("pictures", text, fmean(a > 1 and b > 0.5 for a, b in zip(peaks, shares, strict=True)))


def networks_less() -> Found:
    """At 2 % and more, mean and standard deviation of a network stay below those of TV."""
    ours, paper = summary(), printed()
    held, shown = [], {"TV": [ours["tv", 40, level].mean for level in HIGH]}
    for method in NETWORKS:
        shown[LABELS[method]] = [ours[method, 40, level].mean for level in HIGH]
        for level in HIGH:
            net, tv = ours[method, 40, level], ours["tv", 40, level]
            held.append(net.mean + net.std < tv.mean - tv.std)
    theirs = {LABELS[m]: [paper[m, 40, level].mean for level in HIGH] for m in LABELS}
    return Found(_listed(theirs, ".1f"), _listed(shown, ".1f"), fmean(held))


def inherent() -> Found:
    r"""$\alpha \ge n/m$ and the artifact is the spike wherever recovery is certified; elsewhere not always."""
    rows, few = read_table("theory_growth"), read_table("theory_few")
    if rows.empty or few.empty:
        raise LookupError("no rows of theory_growth or theory_few")
    proved = rows[rows["certified"]]
    enough = proved["linf"] >= 2.0 ** proved["log2_n"] / proved["m"] * (1 - 1e-6)
    certified, other = few[few["certified"]], few[~few["certified"]]
    exact, differs = certified["deviation"] < 1e-6, other["deviation"] > 1e-2
    text = (
        f"Certified: $\\alpha \\ge n/m$ in {enough.sum()} of {len(enough)}, artifact = spike in {exact.sum()} of "
        f"{len(exact)}; not certified: another artifact in {differs.sum()} of {len(differs)}"
    )
    held = [bool(enough.all() and len(enough)), bool(exact.all() and len(exact)), bool(differs.any())]
    return Found("Theorem 5.1", text, fmean(held))


def coefficients() -> Found:
    """Equal, rounded."""
    share = [round(100 / _factor(lines)) for lines in LINES]
    return Found("11, 17, 32 %", ", ".join(map(str, share)) + " %", fmean([share == [11, 17, 32]]))


def small_sigma() -> Found:
    """The mean peak is that of radius 5, within the paper's relative spread."""
    found = {s: fmean(_column("sigma", "rho_linf", optimiser="ours", sigma=s)) for s in (1.0, 2.0, 3.0, 5.0, 8.0)}
    cell = printed()["tv", 40, 0.04]
    near = [abs(v / found[5.0] - 1) <= cell.std / cell.mean for s, v in found.items() if s != 5]
    return Found(
        f"$\\alpha$ = {cell} at radius 5",
        "Peak " + ", ".join(f"{s:g}: {v:.2f}" for s, v in found.items()),
        fmean(near),
    )


def large_sigma() -> Found:
    """Within 5 pixels of the peak lies most of the energy for radius 5, and less than half for the whole image."""
    share = {
        (o, s): fmean(_column("sigma", "concentration", optimiser=o, sigma=s))
        for o in ("adam", "ours")
        for s in (5.0, 362.0)
    }
    names = {"Adam from noise": "adam", "our ascent from a spike": "ours"}
    text = "; ".join(f"{name} {share[o, 5.0]:.0%}, {share[o, 362.0]:.0%}" for name, o in names.items())
    return Found("pictures of [12]", text, fmean(share[o, 362.0] < 0.5 < share[o, 5.0] for o in names.values()))


def spike_in_r() -> Found:
    """Peak of r below a tenth at 0.5 % and above half of the image at 10 % (numbers of ours)."""
    low, *_, high = (
        fmean(_column("table1", "r_linf", method="tv", lines=40, noise_rel=v, optimiser="ours")) for v in LEVELS
    )
    return Found("pictures", f"{low:.2f} at 0.5 %, {high:.2f} at 10 %", fmean([low < 0.1, high > 0.5]))


def much_larger() -> Found:
    """In every attack at least the paper's smallest mean less its standard deviation."""
    values = [v for o in ("ours", "adam") for v in _column("table1", "alpha", method="tv", optimiser=o)]
    least = min(cell.mean - cell.std for key, cell in printed().items() if key[0] == "tv")
    return Found(f"{least:.2f}", f"{min(values):.2f} in {len(values)} attacks", fmean(v >= least for v in values))


def noise_free() -> Found:
    """Largest over smallest mean of the six levels, for 25, 40 and 80 lines: at most the paper's."""

    def span(cells: Mapping[Cell, Spread], lines: int) -> float:
        return max(_levels(cells, "tv", lines)) / min(_levels(cells, "tv", lines))

    paper, ours = printed(), _searches()
    theirs = [span(paper, lines) for lines in LINES]
    found = {name: [span(cells, lines) for lines in LINES] for name, cells in ours.items()}
    held = [a <= b for values in found.values() for a, b in zip(values, theirs, strict=True)]
    return Found(_listed({"": theirs}, ".2f").strip(), _listed(found, ".2f"), fmean(held))


def low_noise_varies() -> Found:
    """Relative spread at 0.5 and 1 % over that from 4 % on: nearer to the paper's than to 1."""

    def ratio(cells: Mapping[Cell, Spread]) -> float:
        std = [fmean([cells["tv", lines, v].std / cells["tv", lines, v].mean for lines in LINES]) for v in LEVELS]
        return fmean(std[:2]) / fmean(std[3:])

    paper, ours = ratio(printed()), {name: ratio(cells) for name, cells in _searches().items()}
    shown = _listed({name: [value] for name, value in ours.items()}, ".2f")
    return Found(f"{paper:.2f}", shown, fmean(_nearer(value, paper) for value in ours.values()))


def follows_factor() -> Found:
    """Means for 25, 40, 80 lines differ from $n^2/m$ by at most the paper's largest standard deviation for the
    mask."""
    paper, held, found = printed(), [], {}
    for name, cells in _searches().items():
        means = {lines: fmean(_levels(cells, "tv", lines)) for lines in LINES}
        found[name] = list(means.values())
        for lines, mean in means.items():
            held.append(abs(mean - _factor(lines)) <= max(paper["tv", lines, v].std for v in LEVELS))
    theirs = {"means": [fmean(_levels(paper, "tv", n)) for n in LINES], "$n^2/m$": [_factor(n) for n in LINES]}
    return Found(_listed(theirs, ".1f"), _listed(found, ".1f"), fmean(held))


def tira_lower() -> Found:
    """Peak at 4 %: mean and standard deviation of Tira stay below those of TV."""
    same = {"lines": 40, "noise_rel": 0.04, "optimiser": "ours"}
    tv, tira = (
        _spread("table1", "rho_linf", method=method, network=network, **same)
        for method, network in (("tv", ""), ("tira", "compact"))
    )
    return Found("pictures", f"Tira {tira}, TV {tv}", fmean([tira.mean + tira.std < tv.mean - tv.std]))


def table() -> Found:
    """With the literal search (networks: compact, at 8 of 64 locations) at least 16 of 18 and 10 of 12 means lie within
    the paper's standard deviation."""
    paper, parts, held = printed(), {}, []
    if not paper or not set(paper) <= set(literal()):
        raise LookupError("literal rows are missing")
    for name, cells in {**_searches(), "the literal search": literal()}.items():
        for group, methods, wanted in (("TV", ("tv",), 16), ("networks", NETWORKS, 10)):
            good, parts[f"{name}, {group}"] = _agreeing(cells, methods)
            if name == "the literal search":
                held.append(good >= wanted)
    parts["the literal search, the pair noisy"] = _agreeing(literal("noisy"), NETWORKS)[1]
    parts = {name: text for name, text in parts.items() if text}
    return Found("30 cells", "; ".join(f"{name}: {text}" for name, text in parts.items()), fmean(held))


def _agreeing(cells: Mapping[Cell, Spread], methods: Iterable[str]) -> tuple[int, str]:
    """How many means of these methods agree with the paper's, also as a text, which is empty without rows."""
    paper = printed()
    mine = [agrees(cells[key], paper[key]) for key in cells if key[0] in methods]
    return sum(mine), f"{sum(mine)} of {len(mine)}" if mine else ""


def _transferred(source: str, targets: Iterable[str], digits: int) -> tuple[str, list[list[float]]]:
    matrices = {level: transfer.matrix(level) for level in LEVELS}
    values = [[matrix[source, target].mean for target in targets] for matrix in matrices.values()]
    rows = zip(LEVELS, values, strict=True)
    return "; ".join(f"{level:.1%}: " + ", ".join(f"{v:.{digits}f}" for v in row) for level, row in rows), values


def transfers_to_tv() -> Found:
    r"""At each level $\alpha$ of perturbations for Tira is highest on TV."""
    text, values = _transferred("tira", LABELS, 1)
    return Found("pictures", f"On TV, Tira, TiraFL: {text}", fmean(row[0] == max(row) for row in values))


def not_back() -> Found:
    r"""At each level $\alpha$ of perturbations for TV is below 1 on both networks."""
    text, values = _transferred("tv", NETWORKS, 2)
    return Found("pictures", f"On Tira, TiraFL: {text}", fmean(max(row) < 1 for row in values))


def only_at_low_noise() -> Found:
    r"""$\alpha$ at 0.5 % over that at 10 %, for both pairs: nearer to the paper's than to 1."""

    def ratios(cells: Mapping[Cell, Spread]) -> list[float]:
        return [cells[m, 40, LEVELS[0]].mean / cells[m, 40, LEVELS[-1]].mean for m in NETWORKS]

    def text(values: Iterable[float]) -> str:
        return ", ".join(f"{LABELS[m]} {v:.1f}" for m, v in zip(NETWORKS, values, strict=True))

    paper, ours = ratios(printed()), {pair: ratios(summary(network=pair)) for pair in PAIRS}
    near = [_nearer(a, b) for values in ours.values() for a, b in zip(values, paper, strict=True)]
    return Found(text(paper), "; ".join(f"{pair} {text(values)}" for pair, values in ours.items()), fmean(near))


def proportional() -> Found:
    r"""The slope of $\log\alpha$ against $\log n^2/m$ is 1 within two standard errors."""
    rows = read_table("theory_masks")
    if rows.empty:
        raise LookupError("no rows of theory_masks")
    slopes = {}
    for name in ("spike", "attack"):
        fit = scipy.stats.linregress([math.log(v) for v in rows["subsampling"]], [math.log(v) for v in rows[name]])
        slopes[name] = fit.slope, 2 * fit.stderr
    text = ", ".join(f"{name} {slope:.2f} ± {two:.2f}" for name, (slope, two) in slopes.items())
    return Found("1", f"{text}, on {rows['lines'].nunique()} masks", fmean(abs(a - 1) <= b for a, b in slopes.values()))


def high_dimensions() -> Found:
    """The mean rises with each doubling of n."""
    rows = read_table("theory_growth", certified=True)
    if rows.empty:
        raise LookupError("no rows of theory_growth")
    means = rows.groupby(["problem", "log2_n"])["linf"].mean().unstack()
    held = [b > a for values in means.to_numpy() for a, b in itertools.pairwise(values)]
    first, last = means.columns[0], means.columns[-1]
    low, high = means[first].min(), means[last].min()
    text = f"Mean $\\alpha$ from {low:.0f} at $n = 2^{{{first}}}$ to {high:,.0f} at $2^{{{last}}}$"
    return Found("$n/m$", text, fmean(held))


def two_norms() -> Found:
    """In every image, 40 lines and 4 %: larger in the peak than in l2."""
    same = {"method": "tv", "lines": 40, "noise_rel": 0.04, "optimiser": "ours"}
    l2, r, alpha = (_column("table1", v, **same) for v in ("rho_l2", "r_l2", "alpha"))
    ratio = [a / b for a, b in zip(l2, r, strict=True)]
    text = f"{fmean(ratio):.1f} times in l2, {fmean(alpha):.1f} times in the peak"
    return Found("no number", text, fmean(a > b for a, b in zip(alpha, ratio, strict=True)))
