"""Section 4: attacks on test images, from a configuration to rows; ``make table1`` fills results/table1.csv."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lib import networks, training
from lib.attack import (
    CHUNK,
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
    projected_adam,
    restarted_ascent,
    unperturbed,
)
from lib.calibration import LINES
from lib.operators import MaskedFourier, radial_mask
from lib.phantoms import ellipses
from lib.records import RESULTS, count, provenance, read_rows, resumable, write_rows
from lib.tv import TVReconstruction, calibrated_lambda

Compute = Callable[["Configuration"], Iterable[dict[str, object]]]

LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.1)  # of Table 1
IMAGES = 50
METHODS = ("tv", *networks.NETWORKS)
OPTIMISERS = ("ours", "authors")
NETWORK_SCREENING_STEPS = 0  # for networks the spike's artifact ranks; see the rows of the preset `paper`
SIGMAS = (1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0, 362.0)


@dataclass(frozen=True)
class Effort:
    """What a preset spends on a cell.

    Attributes
    ----------
    screen : of the locations, how many are refined for TV; None for all.
    network_screen : the same for a network.
    steps : steps of the authors' optimiser; they took 30.
    tol : relative duality gap of the TV reconstructions that are measured.
    """

    screen: int | None
    network_screen: int | None
    steps: int
    tol: float


PRESETS = {
    "quick": Effort(screen=2, network_screen=2, steps=10, tol=1e-2),
    # Table 1; what screening loses is in results/bench_attack.csv, for networks in the rows of the preset `paper`
    "laptop": Effort(screen=8, network_screen=4, steps=30, tol=1e-3),
    "paper": Effort(screen=None, network_screen=None, steps=30, tol=1e-3),
}


@dataclass(frozen=True)
class Configuration:
    r"""One cell of Table 1, or of a table like it.

    Attributes
    ----------
    method : the reconstruction under attack, ``"tv"``, ``"tira"`` or ``"tirafl"``.
    lines : lines of the mask; 40 for the networks.
    noise_rel : :math:`\eta/\|y\|_2`.
    images : numbers of the phantoms in the stream ``seed``.
    optimiser : ``"ours"``, `lib.attack.power_ascent` (`restarted_ascent` for networks), or ``"authors"``,
        `lib.attack.projected_adam`.
    grid : the attack is made at ``grid**2`` locations.
    sigma : radius of the disks, in pixels.
    seed : the stream of phantoms. The default is the test stream of `lib.training`, used for nothing else but tests.
    preset : key of PRESETS.
    network : key of `lib.networks.PRESETS`; TV ignores it.
    n : side of the images; 256 for the networks.

    Raises
    ------
    ValueError : a field is out of range; the message says what is expected. (Ranges that the functions called check
        themselves are left to them.)
    """

    method: str = "tv"
    lines: int = 40
    noise_rel: float = 0.04
    images: tuple[int, ...] = (0,)
    optimiser: str = "ours"
    grid: int = 8
    sigma: float = 5.0
    seed: int = training.TEST
    preset: str = "laptop"
    network: str = "compact"
    n: int = 256

    def __post_init__(self) -> None:
        choices = {"method": METHODS, "optimiser": OPTIMISERS, "preset": PRESETS, "network": networks.PRESETS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"Configuration: {name} must be one of {tuple(known)}, got {getattr(self, name)!r}")
        if self.method != "tv" and (self.n, self.lines) != (networks.N, networks.LINES):
            expected = f"n = {networks.N} and lines = {networks.LINES}"
            raise ValueError(f"Configuration: {self.method} is for {expected}, got {self.n!r} and {self.lines!r}")
        if self.seed in (training.TRAINING, training.VALIDATION):
            raise ValueError(f"Configuration: seed {self.seed} is the stream that the networks were trained with")


@dataclass(frozen=True)
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
    """What the result depends on besides the configuration: lambda, or the checksum of the weights.

    (A network's gradients also depend on whether the processor has bfloat16; the perturbation found is evaluated in
    single precision.)
    """
    if configuration.method == "tv":
        return f"lambda={calibrated_lambda(configuration.noise_rel, configuration.lines):.3g}"
    key = f"{configuration.method}-{configuration.network}"
    entry = networks.read_manifest().get(key)
    return "+".join(file["sha256"][:10] for file in entry["files"]) if entry else "untrained"


def measurements(configuration: Configuration, image: int) -> tuple[Tensor, MaskedFourier, Tensor]:
    """The phantom ``(n, n)`` of this number, the forward operator, and the measurements ``(m,)``, without noise."""
    op = _operator(configuration.n, configuration.lines)
    x = ellipses(1, configuration.n, seed=configuration.seed, first=image)[0]
    return x, op, op.A(x)


def reconstruction(configuration: Configuration, y: Tensor, op: MaskedFourier) -> Reconstruct:
    """The method as our attack needs it: see :func:`lib.attack.localized_attack`, with y ``(m,)`` for its norm."""
    if configuration.method == "tv":
        lam = calibrated_lambda(configuration.noise_rel, configuration.lines)
        return fast_tv(op, lam, configuration.noise_rel * torch.linalg.vector_norm(y))
    return _network(configuration.method, configuration.network, setting(configuration))


def attack(configuration: Configuration, image: int, mu: Sequence[int] | Tensor | None = None) -> Outcome:
    """The attack of Section 3 on one image: every location, or the screened ones, and the highest artifact of all.

    Parameters
    ----------
    configuration : what to attack, and how.
    image : number of the phantom.
    mu : attack this location alone, row and column.

    Raises
    ------
    RuntimeError : a reconstruction does not reach its tolerance.
    """
    one = dataclasses.replace(configuration, images=(image,), optimiser="ours")
    x, op, y = measurements(one, image)
    if configuration.optimiser == "authors":
        e, mu = _authors(one, y, op, mu)
    elif mu is None:
        grid = _search(one, setting(one))
        e, mu = grid.best.e, grid.mu
    else:
        mu = torch.as_tensor(mu)
        phi = disk_weight(op.n, mu, one.sigma)
        rec = reconstruction(one, y, op)
        e = localized_attack(rec, y, op, one.noise_rel, phi, optimiser=_ascent(one), real=_real(one), by_peak=True).e
    return evaluate(one, x, y, op, e, mu)


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
    phi = disk_weight(op.n, mu, configuration.sigma)
    objective = float(torch.linalg.vector_norm(phi * (attacked - clean)))
    return Outcome(x, clean, attacked, e, op.A_dagger(e), mu, objective, gap)


def rows(configuration: Configuration) -> Iterator[dict[str, object]]:
    """One row for each image of the configuration, as in results/table1.csv.

    Columns beyond the fields of the configuration: ``setting`` (see :func:`setting`), ``m``, ``row`` and ``column``
    (the location), ``rho_linf``, ``r_linf`` and their ratio ``alpha``, ``rho_l2``, ``r_l2``, ``objective``,
    ``concentration`` (the share of the artifact's energy within 5 pixels of its peak), ``error_clean`` and
    ``error_attacked`` (relative l2 errors of the modulus), ``tol`` and ``gap`` (relative, asked for and reached; empty
    for networks), ``seconds`` (without the screening, if a cell of ours just before has done it), ``threads`` and
    where it was computed. Numbers have all digits of float32.
    """
    for image in configuration.images:
        start, identity = time.perf_counter(), _identity(configuration, image)
        found = attack(configuration, image)
        rho, r, norm = found.artifact, found.image_perturbation, torch.linalg.vector_norm
        peak, largest = rho.abs().max(), r.abs().max()
        numbers = {
            "rho_linf": peak,
            "r_linf": largest,
            "alpha": peak / largest,
            "rho_l2": norm(rho),
            "r_l2": norm(r),
            "objective": found.objective,
            "concentration": concentration(rho),
            "error_clean": norm(found.clean.abs() - found.x) / norm(found.x),
            "error_attacked": norm(found.attacked.abs() - found.x) / norm(found.x),
        }
        tv = configuration.method == "tv"
        yield {
            **identity,
            "m": len(found.e),
            "row": int(found.mu[0]),
            "column": int(found.mu[1]),
            **{name: f"{float(value):.9g}" for name, value in numbers.items()},
            "tol": PRESETS[configuration.preset].tol if tv else "",
            "gap": f"{found.gap:.3g}" if tv else "",
            "seconds": f"{time.perf_counter() - start:.2f}",
            "threads": torch.get_num_threads(),
            **provenance(),
        }


def from_row(row: Mapping[str, str]) -> Configuration:
    """The configuration that a row was computed from, with its one image."""
    kinds = {"int": int, "float": float, "str": str}
    fields = {
        field.name: kinds[str(field.type)](row[field.name])
        for field in dataclasses.fields(Configuration)
        if field.name != "images" and row[field.name] != ""
    }
    return Configuration(images=(int(row["image"]),), **fields)


def concentration(rho: Tensor, radius: float = 5) -> float:
    """The share of an artifact's energy within ``radius`` pixels of its peak; rho is ``(n, n)``."""
    energy, n = rho.abs().square(), rho.shape[-1]
    peak = int(energy.argmax())
    return float((disk_weight(n, divmod(peak, n), radius) * energy).sum() / energy.sum())


def run(
    cells: Iterable[Configuration],
    path: Path,
    jobs: int = 1,
    compute: Compute = rows,
    settings: Callable[[Configuration], str] = setting,
) -> None:
    """Add to a CSV file the rows that it lacks, or has of other settings; each as soon as it is known.

    Rows are sorted by the fields of the configurations. A progress bar shows the time left. With ``jobs`` > 1 as many
    processes compute, each with one thread; this one alone writes.

    Raises
    ------
    RuntimeError : a cell failed; raised at the end, when all others are there.
    """
    wanted = [dataclasses.replace(cell, images=(image,)) for cell in cells for image in cell.images]
    have = {_key(row) for row in read_rows(path)}
    wanted = [cell for cell in wanted if _key(_identity(cell, *cell.images) | {"setting": settings(cell)}) not in have]
    # neighbours that differ in the optimiser share the screening, so one process does both
    groups = [list(group) for _, group in itertools.groupby(wanted, lambda c: dataclasses.replace(c, optimiser="ours"))]
    failures = []
    if wanted:
        print(f"{path.name}: {len(wanted)} cells to compute; one of a network takes from half a minute to many")
    with tqdm(total=len(wanted), unit="cell") as bar:
        for cells_done, new, failure in _computed(compute, groups, jobs):
            keys = {_key(row)[:-1] for row in new}  # without the setting: an outdated row goes
            kept = [row for row in read_rows(path) if _key(row)[:-1] not in keys]
            new = [{name: str(value) for name, value in row.items()} for row in new]
            if new:
                write_rows(path, sorted([*kept, *new], key=_order))
            failures += [failure] if failure else []
            bar.update(cells_done)
    if failures:
        raise RuntimeError(f"run: {len(failures)} failed, first {failures[0]}")


Done = tuple[int, list[dict[str, object]], str]  # cells, their rows, what failed


def _computed(compute: Compute, groups: list[list[Configuration]], jobs: int) -> Iterator[Done]:
    if jobs == 1:
        yield from (_rows_of(compute, group) for group in groups)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        for future in as_completed([pool.submit(_rows_of, compute, group) for group in groups]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _rows_of(compute: Compute, cells: list[Configuration]) -> Done:
    found: list[dict[str, object]] = []
    try:
        for cell in cells:
            found += compute(cell)
    except (RuntimeError, ValueError, FloatingPointError) as error:  # no convergence, not finite
        return len(cells), found, f"{cell}: {error}"
    return len(cells), found, ""


def _begin_worker() -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:  # a worker whose parent was killed would wait for work for ever
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def table1_cells(images: int = IMAGES) -> Iterator[Configuration]:
    """The cells of Table 1, so ordered that a part of them is a table of fewer images.

    TV with our attack on all images; with the authors' on the first 5. The networks: ours on 10, the authors' on 5. On
    image 0 the authors' optimiser for TV and ours for the networks also run at all 64 locations, which shows what
    screening loses.
    """
    masks = [(level, lines) for level in LEVELS for lines in LINES]
    for image in range(images):
        yield from (Configuration("tv", lines, level, (image,)) for level, lines in masks)
        done, rest = divmod(image, 5)
        if rest == 4 and done < 5:  # an image with their optimiser takes as long as five to ten with ours
            yield from (Configuration("tv", lines, level, (done,), optimiser="authors") for level, lines in masks)
    for image in range(min(images, 10)):
        for level in LEVELS:
            for method in networks.NETWORKS:
                cell = Configuration(method, noise_rel=level, images=(image,))
                if setting(cell) != "untrained":
                    yield cell
                    if image < 5:
                        yield dataclasses.replace(cell, optimiser="authors")
    for lines in LINES:
        yield Configuration("tv", lines, 0.04, (0,), optimiser="authors", preset="paper")
    for level in (0.005, 0.02, 0.1):
        for method in networks.NETWORKS:
            cell = Configuration(method, noise_rel=level, preset="paper")
            if setting(cell) != "untrained":
                yield cell


def sigma_cells() -> Iterator[Configuration]:
    """Disks from a pixel to the whole image; for that, (6) is the objective (4) of [12], whatever the location."""
    for image in range(3):
        for sigma in SIGMAS:
            for optimiser in OPTIMISERS:
                grid = 1 if sigma > 256 else 8
                yield Configuration(images=(image,), sigma=sigma, optimiser=optimiser, grid=grid)


def transfer_cells() -> Iterator[Configuration]:
    """Perturbations for each method at each level, to be given to all methods."""
    for image in range(10):
        for level in LEVELS:
            for method in METHODS:
                cell = Configuration(method, noise_rel=level, images=(image,))
                if setting(cell) != "untrained":
                    yield cell


def transfer_setting(source: Configuration) -> str:
    """The settings of all methods, which the rows of :func:`transfer` depend on."""
    return " ".join(setting(dataclasses.replace(source, method=method)) for method in METHODS)


def transfer(source: Configuration) -> Iterator[dict[str, object]]:
    """For each image, one row for each method that reconstructs from measurements perturbed for ``source``.

    ``at_peak`` is the target's artifact at the pixel where that of the source has its peak.
    """
    for image in source.images:
        start, settings = time.perf_counter(), transfer_setting(source)
        seen = transferred(source, image)
        seconds = (time.perf_counter() - start) / len(seen)  # each row's share
        peak = seen[source.method].artifact.abs().argmax()
        for target, outcome in seen.items():
            rho, r = outcome.artifact.abs(), float(outcome.image_perturbation.abs().max())
            numbers = {
                "rho_linf": float(rho.max()),
                "r_linf": r,
                "alpha": float(rho.max()) / r,
                "at_peak": float(rho.flatten()[peak]),
                "concentration": concentration(rho),
            }
            yield {
                **_identity(source, image),
                "setting": settings,
                "target": target,
                "row": int(outcome.mu[0]),
                "column": int(outcome.mu[1]),
                **{name: f"{value:.9g}" for name, value in numbers.items()},
                "seconds": f"{seconds:.2f}",
                "threads": torch.get_num_threads(),
                **provenance(),
            }


def transferred(source: Configuration, image: int) -> dict[str, Outcome]:
    """What a perturbation made for ``source`` does to each method.

    It is made at the location that results/table1.csv has selected. Where there is no such row, TV searches, and a
    network, which would need minutes, is attacked where TV is.
    """
    x, op, y = measurements(source, image)
    mu: tuple[int, int] | Tensor | None = selected(source, image)
    if mu is None and source.method != "tv":
        tv = dataclasses.replace(source, method="tv")
        mu = selected(tv, image) or attack(tv, image).mu
    found = attack(source, image, mu)
    targets = {method: dataclasses.replace(source, method=method) for method in METHODS}
    return {
        method: found if method == source.method else evaluate(target, x, y, op, found.e, found.mu)
        for method, target in targets.items()
        if setting(target) != "untrained"
    }


def selected(configuration: Configuration, image: int) -> tuple[int, int] | None:
    """The location that results/table1.csv has for this cell, or None."""
    key = _key(_identity(configuration, image))
    for row in read_rows(RESULTS / "table1.csv"):
        if _key(row) == key:
            return int(row["row"]), int(row["column"])
    return None


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over ``count`` images."""

    mean: float
    std: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.std:.2f}"


Cell = tuple[str, int, float]  # method, lines, noise level


def current_rows(name: str, **same: object) -> list[dict[str, str]]:
    """The rows of results/NAME.csv of today's lambda and weights, with these values in these columns."""
    settings = TABLES[name][2]
    return [
        row
        for row in read_rows(RESULTS / f"{name}.csv")
        if all(row[key] == str(value) for key, value in same.items()) and row["setting"] == settings(from_row(row))
    ]


def table1(
    optimiser: str = "ours", value: str = "alpha", preset: str = "laptop", network: str = "compact"
) -> dict[Cell, Spread]:
    """A column of results/table1.csv by method, lines and noise level: mean and standard deviation over the images."""
    found: dict[Cell, list[float]] = {}
    for row in current_rows("table1", optimiser=optimiser, preset=preset):
        if row["network"] not in ("", network):  # TV has none
            continue
        found.setdefault((row["method"], int(row["lines"]), float(row["noise_rel"])), []).append(float(row[value]))
    return {cell: Spread(np.mean(v).item(), np.std(v).item(), len(v)) for cell, v in found.items()}


def paper_table1() -> dict[Cell, Spread]:
    """Table 1 as printed, from results/paper_table1.csv."""
    return {
        (row["method"], int(row["lines"]), float(row["noise_rel"])): Spread(
            float(row["alpha_mean"]), float(row["alpha_std"]), int(row["images"])
        )
        for row in read_rows(RESULTS / "paper_table1.csv")
    }


def agrees(ours: Spread, paper: Spread) -> bool:
    """Whether the mean is within one standard deviation, the paper's, of the mean of the paper."""
    return abs(ours.mean - paper.mean) <= paper.std


def transfer_matrix(noise_rel: float, value: str = "alpha") -> dict[tuple[str, str], Spread]:
    """A column of results/transfer.csv at one level by source and target."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in current_rows("transfer", noise_rel=noise_rel):
        found.setdefault((row["method"], row["target"]), []).append(float(row[value]))
    return {pair: Spread(np.mean(v).item(), np.std(v).item(), len(v)) for pair, v in found.items()}


TABLES: dict[str, tuple[Callable[[], Iterator[Configuration]], Compute, Callable[[Configuration], str]]] = {
    "table1": (table1_cells, rows, setting),
    "sigma": (sigma_cells, rows, setting),
    "transfer": (transfer_cells, transfer, transfer_setting),
}


@functools.lru_cache(maxsize=4)
def _operator(n: int, lines: int) -> MaskedFourier:
    return MaskedFourier(radial_mask(n, lines))


@functools.lru_cache(maxsize=4)
def _network(method: str, network: str, _setting: str) -> Reconstruct:
    return networks.load_network(method, network)


@functools.lru_cache(maxsize=1)  # the authors' cell comes after ours and takes its locations
def _search(one: Configuration, _setting: str) -> GridAttack:
    _, op, y = measurements(one, *one.images)
    rec = reconstruction(one, y, op)
    return grid_attack(
        rec,
        y,
        op,
        one.noise_rel,
        one.sigma,
        one.grid,
        optimiser=_ascent(one),
        screen=_screen(one),
        screening_steps=SCREENING_STEPS if one.method == "tv" else NETWORK_SCREENING_STEPS,
        real=_real(one),
    )


def _screen(one: Configuration) -> int | None:
    effort = PRESETS[one.preset]
    screen = effort.screen if one.method == "tv" else effort.network_screen
    return None if screen is None or screen >= one.grid**2 else screen


def _ascent(one: Configuration) -> Optimiser:
    return power_ascent if one.method == "tv" else restarted_ascent


def _real(one: Configuration) -> bool:
    return one.method == "tv"  # half the cost for TV; the same for a network


def _authors(
    one: Configuration, y: Tensor, op: MaskedFourier, mu: Sequence[int] | Tensor | None
) -> tuple[Tensor, Tensor]:
    """Perturbation and location: theirs at the locations that our screening favours, each with a start of its own."""
    if mu is not None:
        locations = torch.as_tensor(mu)[None]
    elif _screen(one) is None:
        locations = location_grid(op.n, one.grid)
    else:
        grid = _search(one, setting(one))
        locations = grid.locations[~grid.peaks.isnan()]
    rec = reconstruction(one, y, op)
    if isinstance(rec, TVReconstruction):
        rec = TVReconstruction(op, rec.lam, iterations=50, tol=rec.tol)  # as they unrolled it
    clean = unperturbed(rec, y)
    found: list[tuple[float, Tensor, Tensor]] = []
    for number, part in enumerate(locations.split(CHUNK)):
        phi = disk_weight(op.n, part, one.sigma)
        seed = 1000 * one.images[0] + number
        optimiser = functools.partial(projected_adam, steps=PRESETS[one.preset].steps, seed=seed)
        result = localized_attack(rec, y, op, one.noise_rel, phi, optimiser=optimiser, real=False, clean=clean)
        peaks = result.artifact.abs().amax((-2, -1))
        found += zip(peaks.tolist(), result.e, part, strict=True)
    _, e, mu = max(found, key=lambda candidate: candidate[0])
    return e, mu


def _identity(configuration: Configuration, image: int) -> dict[str, Any]:
    """The columns that say what a row is."""
    fields = {field.name: getattr(configuration, field.name) for field in dataclasses.fields(Configuration)}
    fields = {("image" if name == "images" else name): value for name, value in fields.items()}
    network = configuration.network if configuration.method != "tv" else ""
    return fields | {"image": image, "network": network, "setting": setting(configuration)}


def _key(row: Mapping[str, object]) -> tuple[str, ...]:
    names = [field.name for field in dataclasses.fields(Configuration) if field.name != "images"]
    return tuple(str(row[name]) for name in (*names, "image", "setting"))


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    method = METHODS.index(row["method"]), row["optimiser"], row["preset"], row["network"]
    return *method, int(row["lines"]), float(row["noise_rel"]), float(row["sigma"]), int(row["image"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lib.experiments",
        description="The attacks of Section 4; results/NAME.csv. Computes what is missing or outdated.",
        epilog="example: python -m lib.experiments table1 --jobs 2",
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"which of {', '.join(TABLES)}; all if none is named")
    parser.add_argument("--jobs", type=count, default=os.cpu_count(), help="processes; as many as there are cores")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=METHODS, help="only cells of these")
    args = parser.parse_args(arguments)
    unknown = set(args.name) - set(TABLES)
    if unknown:
        parser.error(f"no table is called {' or '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    for name in args.name or TABLES:
        cells, compute, settings = TABLES[name]
        chosen = (cell for cell in cells() if cell.method in args.method)
        run(chosen, RESULTS / f"{name}.csv", args.jobs, compute, settings)


if __name__ == "__main__":
    resumable(main)
