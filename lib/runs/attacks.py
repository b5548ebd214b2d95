"""Section 4: the attack on a test image, from a configuration to a row, for Table 1, the radii and the transfer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lib import networks
from lib.attack import (
    SCREENING_STEPS,
    GridAttack,
    Optimiser,
    Reconstruct,
    disk_weight,
    fast_tv,
    grid_attack,
    localized_attack,
    location_grid,
    power_ascent,
    restarted_ascent,
    screened,
)
from lib.measures import amplification, peak, relative_error
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.runs.authors_attack import adam_attack, plain_tv
from lib.runs.authors_search import choice
from lib.runs.perturbations import kept_files, packed, unpacked
from lib.runs.section4 import METHODS, PRESETS, TEST, TRAINING, VALIDATION, device
from lib.runs.tables import ATTACK, RESULTS, key_of, read_rows, read_table
from lib.runs.weights import PRESETS as NETWORK_PRESETS
from lib.runs.weights import checksum
from lib.tv import TVReconstruction, calibrated_lambda

OPTIMISERS = ("ours", "adam", "authors", "authors-rho-1")
OURS = ("tv", "ours")
NETWORK_SCREENING_STEPS = 0  # for networks the spike's artifact ranks; see the rows of the preset `paper`


@dataclass(frozen=True)
class Configuration:
    r"""What is attacked, and how: a cell of Table 1, or of a table like it.

    Attributes
    ----------
    method : the reconstruction under attack, ``"tv"``, ``"tira"`` or ``"tirafl"``.
    lines : lines of the mask; 40 for the networks.
    noise_rel : :math:`\eta/\|y\|_2`.
    optimiser : ``"ours"``, `lib.attack.power_ascent` (`restarted_ascent` for networks); ``"authors"``, the search as
        they ran it, at all locations for TV (``lib.runs.authors_attack``), with rho = 1 instead of theirs as
        ``"authors-rho-1"``; or ``"adam"``, theirs on our TV solver.
    grid : the attack is made at ``grid**2`` locations.
    sigma : radius of the disks, in pixels.
    seed : the stream of phantoms. The default is the test stream, used for nothing else but tests.
    preset : key of PRESETS.
    network : key of `lib.runs.weights.PRESETS`; TV ignores it.
    n : side of the images; 256 for the networks.

    Raises
    ------
    ValueError : a field is out of range that no function called checks itself.
    """

    method: str = "tv"
    lines: int = 40
    noise_rel: float = 0.04
    optimiser: str = "ours"
    grid: int = 8
    sigma: float = 5.0
    seed: int = TEST
    preset: str = "laptop"
    network: str = "compact"
    n: int = 256

    def __post_init__(self) -> None:
        tv = self.method == "tv"
        if tv:
            object.__setattr__(self, "network", "")
        optimisers = OPTIMISERS if tv else ("ours", "authors")  # a network has no solver inside
        choices = {"method": METHODS, "optimiser": optimisers, "preset": PRESETS}
        for name, known in (choices if tv else choices | {"network": NETWORK_PRESETS}).items():
            if getattr(self, name) not in known:
                raise ValueError(f"Configuration: {name} must be one of {tuple(known)}, got {getattr(self, name)!r}")
        if not tv and (self.n, self.lines) != (networks.N, networks.LINES):
            expected = f"n = {networks.N} and lines = {networks.LINES}"
            raise ValueError(f"Configuration: {self.method} is for {expected}, got {self.n!r} and {self.lines!r}")
        if self.seed in (TRAINING, VALIDATION):
            raise ValueError(f"Configuration: seed {self.seed} is the stream that the networks were trained with")


@dataclass(frozen=True, eq=False)
class Outcome:
    r"""What an attack on one image found; all images ``(n, n)``, reconstructions to the preset's tolerance.

    Attributes
    ----------
    x : the phantom.
    clean, attacked : the reconstructions of y and of y + e.
    e : ``(m,)``, the perturbation.
    image_perturbation : :math:`r = \mathcal{A}^\dagger e`.
    mu : ``(2,)``, the selected location.
    objective : :math:`\|\phi \odot \rho\|_2`.
    gap : the larger relative duality gap of the two reconstructions; NaN for networks.
    """

    x: Tensor
    clean: Tensor
    attacked: Tensor
    e: Tensor
    image_perturbation: Tensor
    mu: Tensor
    objective: float
    gap: float

    @property
    def artifact(self) -> Tensor:
        return self.attacked - self.clean


def setting(configuration: Configuration) -> str:
    """What the result depends on besides the configuration: lambda, or the checksum of the weights."""
    if configuration.method != "tv":
        return checksum(configuration.method, configuration.network)
    if not configuration.optimiser.startswith("authors"):
        return f"lambda={_lambda(configuration):.3g}"
    try:
        return "lambda={:.3g}, rho={:.3g}".format(*_penalised(configuration))
    except LookupError:
        return "unsearched"


def measurements(configuration: Configuration, image: int) -> tuple[Tensor, MaskedFourier, Tensor]:
    """The phantom ``(n, n)`` of this number, the forward operator, and the measurements ``(m,)``, without noise.

    Our attack on TV keeps to real images, at half the cost; the networks and the authors' attack are complex.
    """
    op = _operator(configuration.n, configuration.lines, (configuration.method, configuration.optimiser) == OURS)
    x = ellipses(1, configuration.n, seed=configuration.seed, first=image)[0].to(op.device)
    return x, op, op.A(x)


def reconstruction(configuration: Configuration, y: Tensor, op: MaskedFourier) -> Reconstruct:
    """The method as our attack needs it: see :func:`lib.attack.localized_attack`, with y ``(m,)`` for its norm."""
    if configuration.method == "tv":
        return fast_tv(op, _lambda(configuration), configuration.noise_rel * torch.linalg.vector_norm(y))
    key = checksum(configuration.method, configuration.network)
    if key not in _loaded:
        _loaded[key] = networks.load_network(configuration.method, configuration.network, device=device())
    return _loaded[key]


def attack(configuration: Configuration, image: int, mu: Sequence[int] | Tensor | None = None) -> Outcome:
    """The attack of Section 3 on the phantom of this number: the highest artifact of all locations, or of the screened.

    ``mu``, row and column, is the only location if it is given. A reconstruction that does not converge: RuntimeError.
    """
    x, op, y = measurements(configuration, image)
    if configuration.optimiser != "ours":
        rec, steps = _for_adam(configuration, y, op), PRESETS[configuration.preset].steps
        where = _locations(configuration, image, y, op) if mu is None else torch.as_tensor(mu)[None]
        level, sigma = configuration.noise_rel, configuration.sigma
        e, mu = adam_attack(rec, y, op, level, where, sigma, seed=1000 * image, steps=steps)
    elif mu is None and configuration.sigma < op.n:
        grid = _search(configuration, y, op)
        e, mu = grid.best.e, grid.mu
    else:
        mu = location_grid(op.n, 1)[0] if mu is None else torch.as_tensor(mu)
        phi = disk_weight(op.n, mu, configuration.sigma)
        rec, optimiser = reconstruction(configuration, y, op), _ascent(configuration)
        local = configuration.sigma < op.n  # else it is (4), which prefers no peak
        e = localized_attack(rec, y, op, configuration.noise_rel, phi, optimiser=optimiser, by_peak=local).e
    return evaluate(configuration, x, y, op, e, mu)


def evaluate(configuration: Configuration, x: Tensor, y: Tensor, op: MaskedFourier, e: Tensor, mu: Tensor) -> Outcome:
    """What the perturbation e, ``(m,)``, does to the configuration's method, to the preset's tolerance.

    ``x, y, op`` come from :func:`measurements`; ``mu``, ``(2,)``, is where the disk of the objective lies.
    """
    rec, gap = reconstruction(configuration, y, op), float("nan")
    if isinstance(rec, TVReconstruction):
        rec = dataclasses.replace(rec, tol=PRESETS[configuration.preset].tol)
        clean, before = rec.solve(y)
        attacked, after = rec.solve(y + e, before)
        gap = max(float(result.gap / result.objective) for result in (before, after))
    else:
        with torch.no_grad():
            clean, attacked = rec(y), rec(y + e)
    x, clean, attacked, e, r, mu = (a.cpu() for a in (x, clean, attacked, e, op.A_dagger(e), mu))
    objective = float(torch.linalg.vector_norm(disk_weight(op.n, mu, configuration.sigma) * (attacked - clean)))
    return Outcome(x, clean, attacked, e, r, mu, objective, gap)


def row(configuration: Configuration, image: int, found: Outcome | None = None) -> dict[str, Any]:
    """The row of results/table1.csv for one image; ``found`` is its attack, if it was made already.

    Columns beyond the fields of the configuration: ``image``, ``setting`` (see :func:`setting`), ``m``, ``row`` and
    ``column`` (the location), ``rho_linf``, ``r_linf`` and their ratio ``alpha``, ``rho_l2``, ``r_l2``, ``objective``,
    ``concentration`` (the share of the artifact's energy within 5 pixels of its peak), ``error_clean`` and
    ``error_attacked`` (relative l2 errors of the modulus), ``tol`` and ``gap`` (relative, asked for and reached; empty
    for networks). Numbers have all digits of float32.
    """
    found = found or attack(configuration, image)
    rho, r, norm = found.artifact, found.image_perturbation, torch.linalg.vector_norm
    numbers = {
        "rho_linf": peak(rho),
        "r_linf": peak(r),
        "alpha": amplification(rho, r),
        "rho_l2": norm(rho),
        "r_l2": norm(r),
        "objective": found.objective,
        "concentration": concentration(rho),
        "error_clean": relative_error(found.clean.abs(), found.x),
        "error_attacked": relative_error(found.attacked.abs(), found.x),
    }
    tv = configuration.method == "tv"
    return {
        **identity(configuration, image),
        "m": len(found.e),
        "row": int(found.mu[0]),
        "column": int(found.mu[1]),
        **{name: f"{float(value):.9g}" for name, value in numbers.items()},
        "tol": PRESETS[configuration.preset].tol if tv else "",
        "gap": f"{found.gap:.3g}" if tv else "",
    }


def measure(image: int, setting: str, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """A cell of results/table1.csv or sigma.csv: its row, and its perturbation if that is kept."""
    configuration = Configuration(**fields)
    check_setting(setting, identity(configuration, image)["setting"])
    found = attack(configuration, image)
    files = {name: packed(found.e, found.mu) for name in kept_files({"image": image, "setting": setting, **fields})}
    return [row(configuration, image, found)], files


def check_setting(wanted: str, here: str) -> None:
    """A worker elsewhere may have read other weights, or another table of lambda."""
    if wanted != here:
        raise ValueError(f"this worker has {here}, the run is for {wanted}: update its checkout and start it again")


def concentration(rho: Tensor, radius: float = 5) -> float:
    """The share of an artifact's energy within ``radius`` pixels of its peak; rho is ``(n, n)``."""
    energy, n = rho.abs().square(), rho.shape[-1]
    return float((disk_weight(n, divmod(int(energy.argmax()), n), radius) * energy).sum() / energy.sum())


def identity(configuration: Configuration, image: int) -> dict[str, Any]:
    """The columns that say what a row is: those of a cell."""
    fields = dataclasses.asdict(configuration)
    order = {name: fields.pop(name) for name in ("method", "lines", "noise_rel")}
    return {**order, "image": image, **fields, "setting": setting(configuration)}


def locations() -> dict[tuple[str, ...], tuple[int, int]]:
    """The selected locations of results/table1.csv, by what `identity` says of a row."""
    rows = read_rows(RESULTS / "table1.csv", ATTACK)
    return {key_of(row, (*ATTACK, "setting")): (int(row["row"]), int(row["column"])) for row in rows}


def selected(configuration: Configuration, image: int) -> tuple[int, int] | None:
    """The location that results/table1.csv has for this image, or None."""
    return locations().get(key_of(identity(configuration, image), (*ATTACK, "setting")))


def current(name: str, **same: object) -> pd.DataFrame:
    """The rows of results/NAME.csv of today's lambda and weights, with these values in these columns."""
    return of_today(read_table(name, **same), setting)


def of_today(rows: pd.DataFrame, settings: Callable[[Configuration], str]) -> pd.DataFrame:
    """The rows whose column ``setting`` is what ``settings`` gives for their configuration."""
    if rows.empty:
        return rows
    fields = [field.name for field in dataclasses.fields(Configuration)]
    today: dict[Any, str] = {}
    for key, group in rows.groupby(fields, sort=False):
        with contextlib.suppress(ValueError):  # a damaged row is not of today
            today |= dict.fromkeys(group.index, settings(Configuration(**dict(zip(fields, key, strict=True)))))
    return rows[rows["setting"] == pd.Series(today, index=rows.index, dtype=str)].reset_index(drop=True)


def kept(configuration: Configuration, image: int) -> Outcome | None:
    """What a row of results/table1.csv has measured, from its kept perturbation; None if none is kept."""
    found = unpacked(kept_files(identity(configuration, image)))
    x, op, y = measurements(configuration, image)
    return evaluate(configuration, x, y, op, *found) if found else None


# --- The parts of an attack


_loaded: dict[str, Reconstruct] = {}  # networks by the checksum of their weights


@functools.lru_cache(maxsize=4)
def _operator(n: int, lines: int, real: bool) -> MaskedFourier:
    return MaskedFourier(radial_mask(n, lines), real).to(device())


def _search(one: Configuration, y: Tensor, op: MaskedFourier) -> GridAttack:
    return grid_attack(
        reconstruction(one, y, op),
        y,
        op,
        one.noise_rel,
        one.sigma,
        one.grid,
        optimiser=_ascent(one),
        screen=_screen(one),
        screening_steps=_screening_steps(one),
    )


def _screening_steps(one: Configuration) -> int:
    return SCREENING_STEPS if one.method == "tv" else NETWORK_SCREENING_STEPS


def _screen(one: Configuration) -> int | None:
    effort = PRESETS[one.preset]
    screen = effort.screen if one.method == "tv" else effort.network_screen
    return None if screen is None or screen >= one.grid**2 else screen


def _ascent(one: Configuration) -> Optimiser:
    return power_ascent if one.method == "tv" else restarted_ascent


def _locations(one: Configuration, image: int, y: Tensor, op: MaskedFourier) -> Tensor:
    """Where the authors' search goes: everywhere, or where our screening favours it."""
    screen = _screen(one)
    if screen is None or (one.method == "tv" and one.optimiser != "adam"):
        return location_grid(op.n, one.grid)
    ours, grid = dataclasses.replace(one, optimiser="ours"), location_grid(op.n, one.grid)
    op = measurements(ours, image)[1]
    rec = reconstruction(ours, y, op)
    return grid[screened(rec, y, op, one.noise_rel, grid, one.sigma, screen, _screening_steps(one))]


def _for_adam(one: Configuration, y: Tensor, op: MaskedFourier) -> Reconstruct:
    """What the authors' search differentiates."""
    rec = reconstruction(one, y, op)
    if not isinstance(rec, TVReconstruction):
        return rec
    if one.optimiser == "adam":
        return TVReconstruction(op, rec.lam, iterations=50, tol=rec.tol)  # as many as they unrolled
    return plain_tv(y, op, *_penalised(one), tol=rec.tol)


def _lambda(one: Configuration) -> float:
    if one.optimiser.startswith("authors"):
        return _penalised(one)[0]
    return calibrated_lambda(one.noise_rel, one.lines)


def _penalised(one: Configuration) -> tuple[float, float]:
    """Their lambda and rho: the least error of their search, or the least of those tied with it that have rho = 1."""
    found = choice(one.lines, one.noise_rel)
    if one.optimiser == "authors":
        return found.lam, found.rho
    if found.at_rho_1 is None:
        raise LookupError(f"{one.lines} lines, noise {one.noise_rel}: no point with rho = 1 is tied with the best")
    return found.at_rho_1
