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
    """A claim in our words, where it stands, what applies its rule to results/, and the command behind."""

    where: str
    claim: str
    measure: Callable[[], claims.Found]
    command: str = "make table1"


CLAIMS = (
    Claim("Abstract", "Networks and TV are about equally robust in l2", claims.l2_robustness),
    Claim("Abstract", "There are perturbations that cause severe localized artifacts with TV", claims.severe_and_local),
    Claim("Abstract", "The same attack is less effective against networks", claims.networks_less),
    Claim("Abstract", "The artifacts are inherent in methods with exact recovery", claims.inherent, "make theory"),
    Claim("Section 4", "25, 40 and 80 lines are 11, 17 and 32 % of the coefficients", claims.coefficients),
    Claim("Section 4", "Other small radii give similar artifacts", claims.small_sigma),
    Claim("Section 4", "Artifacts for large radii are not localized, as those of Genzel et al.", claims.large_sigma),
    Claim("Section 4", "A spike is seen in r itself, except at very low noise", claims.spike_in_r),
    Claim("Section 4", "In the peak the artifact is much larger than the perturbation", claims.much_larger),
    Claim("Section 4", "The mean amplification of TV does not seem to depend on the noise level", claims.noise_free),
    Claim("Section 4", "It varies more at low noise", claims.low_noise_varies),
    Claim("Section 4", "It is about the subsampling factor $n^2/m$", claims.follows_factor),
    Claim("Section 4", "Above 1 % noise networks amplify far less than TV", claims.networks_less),
    Claim("Section 4", "An artifact of Tira is much lower than one of TV", claims.tira_lower),
    Claim("Table 1", "The thirty numbers", claims.table),
    Claim(
        "Section 4", "Perturbations for a network transfer to all methods, TV being hurt most", claims.transfers_to_tv
    ),
    Claim("Section 4", "Those for TV do not: networks lower the peak of r", claims.not_back),
    Claim("Conclusion", "For networks the attack amplifies much at low noise only", claims.only_at_low_noise),
    Claim(
        "Conclusion",
        "For the same peak of r, that of the artifact is proportional to the subsampling",
        claims.proportional,
        "make theory",
    ),
    Claim(
        "Conclusion",
        "The effect grows in high dimensions, where relatively few measurements are enough",
        claims.high_dimensions,
        "make theory",
    ),
    Claim("Conclusion", "Localized artifacts are small in l2 and large in the peak", claims.two_norms),
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
        rule = " ".join((claim.measure.__doc__ or "").split())
        outcome = f"**{outcome}** (`{claim.command}`)"
        found.append(f"| {claim.where}. {claim.claim} | {paper} | {ours} | {rule} | {outcome} |")
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
