"""Every claim of the paper's abstract, Section 4 and conclusion beside what we measure; ``make fidelity``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from lib.runs import claims
from lib.runs.tables import ROOT, write_bytes

PAGE = ROOT / "book" / "fidelity.md"
START, END = "<!-- written by make fidelity -->", "<!-- end -->"
HEAD = "```{table} The paper's claims, what we measure, the rule and what follows", ":name: tab-claims", ""
OPEN = "not computed yet"


@dataclass(frozen=True)
class Claim:
    """A claim in our words, where it stands, the rule, what applies it to results/, and the command behind."""

    where: str
    claim: str
    rule: str
    measure: Callable[[], claims.Found]
    command: str = "make table1"


CLAIMS = (
    Claim(
        "Abstract",
        "Networks and TV are about equally robust in l2",
        "at each level, the means of a network and of TV differ by less than their standard deviations together",
        claims.l2_robustness,
    ),
    Claim(
        "Abstract",
        "There are perturbations that cause severe localized artifacts with TV",
        "in every image, 40 lines and 4 %: a peak above the maximum of the image, most of the energy within 5 pixels",
        claims.severe_and_local,
    ),
    Claim(
        "Abstract",
        "The same attack is less effective against networks",
        "at 2 % and more, mean and standard deviation of a network stay below those of TV",
        claims.networks_less,
    ),
    Claim(
        "Abstract",
        "The artifacts are inherent in methods with exact recovery",
        "$\\alpha \\ge n/m$ and the artifact is the spike wherever recovery is certified; elsewhere not always",
        claims.inherent,
        "make theory",
    ),
    Claim(
        "Section 4",
        "25, 40 and 80 lines are 11, 17 and 32 % of the coefficients",
        "equal, rounded",
        claims.coefficients,
    ),
    Claim(
        "Section 4",
        "Other small radii give similar artifacts",
        "the mean peak is that of radius 5, within the paper's relative spread",
        claims.small_sigma,
    ),
    Claim(
        "Section 4",
        "Artifacts for large radii are not localized, as those of Genzel et al.",
        "within 5 pixels of the peak lies most of the energy for radius 5, and less than half for the whole image",
        claims.large_sigma,
    ),
    Claim(
        "Section 4",
        "A spike is seen in r itself, except at very low noise",
        "peak of r below a tenth at 0.5 % and above half of the image at 10 % (numbers of ours)",
        claims.spike_in_r,
    ),
    Claim(
        "Section 4",
        "In the peak the artifact is much larger than the perturbation",
        "in every attack at least the paper's smallest mean less its standard deviation",
        claims.much_larger,
    ),
    Claim(
        "Section 4",
        "The mean amplification of TV does not seem to depend on the noise level",
        "largest over smallest mean of the six levels, for 25, 40 and 80 lines: at most the paper's",
        claims.noise_free,
    ),
    Claim(
        "Section 4",
        "It varies more at low noise",
        "relative spread at 0.5 and 1 % over that from 4 % on: nearer to the paper's than to 1",
        claims.low_noise_varies,
    ),
    Claim(
        "Section 4",
        "It is about the subsampling factor $n^2/m$",
        "means for 25, 40, 80 lines differ from $n^2/m$ by at most the paper's largest standard deviation for the mask",
        claims.follows_factor,
    ),
    Claim(
        "Section 4",
        "Above 1 % noise networks amplify far less than TV",
        "at 2 % and more, mean and standard deviation of a network stay below those of TV",
        claims.networks_less,
    ),
    Claim(
        "Section 4",
        "An artifact of Tira is much lower than one of TV",
        "peak at 4 %: mean and standard deviation of Tira stay below those of TV",
        claims.tira_lower,
    ),
    Claim(
        "Table 1",
        "The thirty numbers",
        "with the literal search at least 16 of 18 and 10 of 12 means lie within the paper's standard deviation",
        claims.table,
    ),
    Claim(
        "Section 4",
        "Perturbations for a network transfer to all methods, TV being hurt most",
        "at each level $\\alpha$ of perturbations for Tira is highest on TV",
        claims.transfers_to_tv,
    ),
    Claim(
        "Section 4",
        "Those for TV do not: networks lower the peak of r",
        "at each level $\\alpha$ of perturbations for TV is below 1 on both networks",
        claims.not_back,
    ),
    Claim(
        "Conclusion",
        "For networks the attack amplifies much at low noise only",
        "$\\alpha$ at 0.5 % over that at 10 %: nearer to the paper's than to 1",
        claims.only_at_low_noise,
    ),
    Claim(
        "Conclusion",
        "For the same peak of r, that of the artifact is proportional to the subsampling",
        "the slope of $\\log\\alpha$ against $\\log n^2/m$ is 1 within two standard errors",
        claims.proportional,
        "make theory",
    ),
    Claim(
        "Conclusion",
        "The effect grows in high dimensions, where relatively few measurements are enough",
        "the mean rises with each doubling of n",
        claims.high_dimensions,
        "make theory",
    ),
    Claim(
        "Conclusion",
        "Localized artifacts are small in l2 and large in the peak",
        "in every image, 40 lines and 4 %: larger in the peak than in l2",
        claims.two_norms,
    ),
)


def lines() -> list[str]:
    """The claims.table, one row for each claim."""
    found = ["| The claim | The paper | Ours | The rule | Outcome |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        try:
            measured = claim.measure()
            paper, ours, outcome = measured.paper, measured.ours, measured.outcome
        except LookupError:  # a result that is still to be computed
            paper, ours, outcome = "", "", OPEN
        outcome = f"**{outcome}** (`{claim.command}`)"
        found.append(f"| {claim.where}. {claim.claim} | {paper} | {ours} | {claim.rule} | {outcome} |")
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
