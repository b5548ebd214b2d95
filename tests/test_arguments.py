"""Every public function of lib/*.py refuses what makes no sense, with an error that begins with a function's name.

A line of `CALLS` for each function, with arguments that are right and small. One after the other is replaced by
something else; what the replacements are depends on the kind of the argument that was there.
"""

import dataclasses
import inspect
import math
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, random
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lib import (
    attack,
    checks,
    gradient_sparse,
    iterative,
    masks,
    measures,
    networks,
    operators,
    phantoms,
    priors,
    theory,
    tv,
)

OP = operators.MaskedFourier(operators.radial_mask(16, 5), real=True)
FREE = operators.MaskedFourier(OP.mask)
X = random(2, 16, 16, dtype=torch.float64)
Y, E, P = OP.A(X), 0.1 * OP.A(X.flip(0)), random(2, 2, 16, 16, dtype=torch.float64)
PHI, ETA = attack.disk_weight(16, (8, 7), 2), torch.tensor([0.5, 0.6], dtype=torch.float64)
REC = attack.fast_tv(OP, 0.01, 0.5)
COILS = iterative.simulated_coils(2, 16)
ITERATIVE = iterative.coil_operator(OP.mask, COILS)
DATA_2, SPARSE = ITERATIVE.A(X), priors.SparseReconstruction(FREE, 0.1, tol=0.5)
RNG, OMEGA = np.random.default_rng(0), np.array([-3, -2, -1, 0, 1, 2, 3, 5])
SIGNAL = theory.rectangle(16, 3)
DATA, NETWORK = theory.measure(SIGNAL, OMEGA), networks.Reconstruction(OP, SMALL, learned=True)
SQUARE, SYMMETRIC = np.outer(SIGNAL, SIGNAL), OP.mask.numpy()
SEARCH = {
    "objective": lambda e, state: attack.objective(e, REC, Y, PHI[None], X, state), "start": E, "eta": ETA, "steps": 1,
}  # fmt: skip
ATTACK = {"reconstruct": REC, "y": Y[0], "op": OP, "noise_rel": 0.05}
ASCENT = attack.power_ascent
PURSUIT = {"y": DATA, "omega": OMEGA, "n": 16, "tol": 1e-3, "max_iter": 9}

CALLS = [  # function and arguments; a name, where the function's own would not do
    (operators.radial_mask, {"n": 16, "lines": 4}),
    (operators.MaskedFourier, {"mask": OP.mask, "real": True}),
    (OP.A, {"x": X}),
    *((getattr(OP, name), {"y": Y}) for name in ("A_adjoint", "A_dagger", "real_adjoint", "k_space", "symmetrize")),
    (OP.x_update, {"y": Y, "rho": ETA}),
    (OP.adjoint_dagger, {"g": X}),
    (OP.to, {"device": "cpu"}),
    (operators.gradient, {"x": X}),
    (operators.gradient_adjoint, {"p": P}),
    (operators.laplacian_symbol, {"n": 8, "dtype": torch.float32, "device": "cpu"}),
    (operators.add_noise, {"y": Y, "noise_rel": 0.1, "seed": 3}),
    (iterative.IterativeOperator, {"forward": FREE.A, "adjoint": FREE.A_adjoint, "n": 16, "m": 88, "tol": 0.1}),
    (ITERATIVE.A, {"x": X}),
    *((getattr(ITERATIVE, name), {"y": DATA_2}) for name in ("A_adjoint", "A_dagger")),
    (ITERATIVE.x_update, {"y": DATA_2, "rho": ETA}),
    (iterative.simulated_coils, {"count": 2, "n": 16}),
    (iterative.coil_operator, {"mask": OP.mask, "coils": COILS, "tol": 0.1, "max_iter": 9}),
    *((f, {"n": 16, "m": 80, "seed": 3}) for f in (masks.cartesian_mask, masks.uniform_mask)),
    (masks.variable_density_mask, {"n": 16, "m": 80, "seed": 3}),
    (masks.spiral_mask, {"n": 16, "m": 80}),
    (priors.haar, {"x": X}),
    (priors.haar_adjoint, {"w": X}),
    (priors.SparseReconstruction, {"op": FREE, "lam": 0.1, "threshold": 0.5, "iterations": 3, "tol": 0.1}),
    *((f, {"y": Y}) for f in (SPARSE, SPARSE.resume, SPARSE.solve)),
    (SPARSE.relative_gap, {"x": X, "y": Y}),
    (phantoms.ellipses, {"count": 2, "n": 8, "seed": 3, "first": 1, "device": "cpu"}),
    (phantoms.shepp_logan, {"n": 16}),
    (measures.amplification, {"artifact": X, "image_perturbation": X.flip(0), "axes": 2}),
    (measures.peak, {"image": X, "axes": 1}),
    (measures.relative_error, {"image": X, "truth": X.flip(0)}),
    (tv.project, {"v": P, "t": ETA}),
    (tv.tv_objective, {"x": X, "y": Y, "op": OP, "lam": 0.1, "norm": tv.separable}),
    (tv.certificate, {"x": X, "p": P, "y": Y, "op": OP, "lam": 0.1, "norm": tv.isotropic}),
    (tv.reconstruct_tv, {"y": Y, "op": OP, "lam": 0.1, "tol": 0.5, "max_iter": 20, "init": X, "norm": tv.separable}),
    (tv.TVReconstruction, {"op": OP, "lam": 0.1, "iterations": 3, "threshold": 0.5, "norm": tv.isotropic, "tol": 0.1}),
    *((f, {"y": Y, "start": tv.Iterate(X, P)}) for f in (REC.resume, REC.solve)),
    (attack.disk_weight, {"n": 16, "mu": (3.0, 4.0), "sigma": 2.0}),
    (attack.location_grid, {"n": 16, "count": 2}),
    (attack.spike_perturbation, {"op": OP, "mu": (3.0, 4.0), "eta": 0.5}),
    (attack.fast_tv, {"op": OP, "lam": 0.1, "eta": 0.5, "tol": 0.1, "norm": tv.separable}),
    (attack.objective, {"e": E, "reconstruct": REC, "y": Y, "phi": PHI, "reference": X}),
    (attack.power_ascent, SEARCH | {"weight": 0.5}),
    (attack.restarted_ascent, SEARCH),
    (attack.projected_adam, SEARCH | {"step_size": 0.5}),
    (attack.random_start, {"op": OP, "eta": ETA, "seed": 3}),
    (attack.evaluate_perturbation, {"reconstruct": REC, "y": Y, "op": OP, "e": E, "phi": PHI}),
    (attack.unperturbed, {"reconstruct": REC, "y": Y}),
    (attack.localized_attack, ATTACK | {"phi": PHI, "start": E[0], "reference": X[0], "optimiser": ASCENT}),
    (attack.screened, ATTACK | {"locations": attack.location_grid(16, 2), "sigma": 2.0, "count": 1, "steps": 0}),
    (attack.grid_attack, ATTACK | {"sigma": 2.0, "count": 1, "screen": 1, "screening_steps": 0}),
    (networks.Sizes, dataclasses.asdict(SMALL)),
    (networks.Tiramisu, {"sizes": SMALL}),
    (NETWORK.net, {"x": torch.zeros(1, 2, 16, 16)}),
    (networks.LearnedInversion, {"op": OP, "noise": 0.1}),
    (networks.Reconstruction, {"op": OP, "sizes": SMALL, "learned": True, "seed": 3}),
    (NETWORK, {"y": Y}),
    (networks.fast_bfloat16, {"device": torch.device("cpu")}),
    (networks.load_network, {"name": "tira", "preset": "compact", "device": "cpu", "folder": networks.WEIGHTS}),
    (networks.read_manifest, {"folder": networks.WEIGHTS}),
    *((f, {"z": SIGNAL}) for f in (theory.fourier, theory.gradient)),
    (theory.measure, {"z": SIGNAL, "omega": OMEGA}),
    (theory.zero_filled, {"y": DATA, "omega": OMEGA, "n": 16}),
    (theory.sample_frequencies, {"n": 16, "m": 4, "rng": RNG}),
    (theory.low_frequencies_first, {"n": 16, "rng": RNG}),
    (theory.spike, {"n": 16}),
    (theory.rectangle, {"n": 16, "width": 3}),
    *((f, {"n": 16, "s": 3, "rng": RNG}) for f in (theory.spike_train, theory.steps)),
    (theory.amplification, {"artifact": SIGNAL, "omega": OMEGA}),
    *((f, {"x": SIGNAL, "omega": OMEGA, "dual": DATA}) for f in (theory.certify_l1, theory.certify_tv)),
    (theory.nonnegative_dual, {"support": [3], "omega": OMEGA, "n": 16}),
    (theory.separated_dual, {"x": SIGNAL, "c": 4}),
    (theory.gradient_factor, {"omega": OMEGA, "n": 16}),
    *((f, PURSUIT) for f in (theory.basis_pursuit, theory.tv_pursuit)),
    (gradient_sparse.certify_image, {"x": SQUARE, "mask": SYMMETRIC, "dual": np.stack([SQUARE, SQUARE])}),
    (gradient_sparse.dual_field, {"x": SQUARE, "mask": SYMMETRIC, "iterations": 3}),
]  # fmt: skip

UNCHECKED = {  # called in each iteration, by what has checked its arguments; and what the checks are
    "v_update", "x_update", "sweep", "separable", "anisotropic", "isotropic", "scaled", "gaussian",
    "check_measurements", "identity", "calibrated_lambda",  # the last one is for tests/test_tv.py
}  # fmt: skip
MODULES = [operators, iterative, masks, priors, phantoms, measures, tv, attack, networks, theory, gradient_sparse]
# maps that NaN may pass through, as it does through torch's own
LINEAR = {
    "A", "A_adjoint", "A_dagger", "real_adjoint", "k_space", "symmetrize", "x_update", "adjoint_dagger", "gradient",
    "gradient_adjoint", "add_noise", "amplification", "peak", "relative_error", "project", "tv_objective",
    "certificate", "resume", "objective", "Tiramisu", "Reconstruction",
    "haar", "haar_adjoint", "relative_gap", "SparseReconstruction",
}  # fmt: skip
RIGHT_TOO = {  # arguments of which some replacements are right as well
    ("radial_mask", "lines"), ("MaskedFourier", "mask"), ("gradient", "x"), ("gradient_adjoint", "p"), ("project", "v"),
    ("amplification", "artifact"), ("amplification", "image_perturbation"), ("peak", "image"), ("add_noise", "y"),
    ("relative_error", "image"), ("relative_error", "truth"), ("reconstruct_tv", "init"), ("random_start", "eta"),
    ("gradient_factor", "omega"), ("coil_operator", "mask"), ("haar", "x"), ("haar_adjoint", "w"),
}  # fmt: skip
SECONDS = 20  # after which a call hangs


def name_of(call):
    return getattr(call, "__name__", type(call).__name__)


def test_every_public_function_has_its_line():
    public = {
        name
        for module in MODULES
        for name, thing in vars(module).items()
        if callable(thing) and getattr(thing, "__module__", "") == module.__name__ and name[0] != "_"
        if not (inspect.isclass(thing) and (dataclasses.is_dataclass(thing) or issubclass(thing, tuple)))
    }
    public -= {"LinearOperator"}
    assert public - UNCHECKED <= {name_of(call) for call, _ in CALLS}
    flat = {path.stem for path in Path(checks.__file__).parent.glob("[a-z]*.py")} - {"checks"}
    assert flat == {module.__name__.split(".")[1] for module in MODULES}


def refused(value, linear=False):
    """What cannot stand where ``value`` does."""
    if isinstance(value, torch.Tensor):
        half = value.real.half() if value.is_complex() else value.half()
        yield from ("x", value.numpy(), value.tolist(), half, value.to("meta"), value[..., :0], value.flatten()[0])
        yield value.to_sparse()
        if (value.is_floating_point() or value.is_complex()) and not linear:
            yield torch.full_like(value, math.nan)
    elif isinstance(value, np.ndarray):
        yield from (
            "x",
            None,
            ["a"] * len(value),
            value.astype(object),
            value[None],
            value[:0],
            {},
            torch.ones(2).to("meta"),
        )
        yield np.full(value.shape, math.nan)
    elif isinstance(value, bool | list | tuple):
        yield from ("x", None, math.nan, {})
    elif isinstance(value, int):
        yield from (value + 0.5, float(value), str(value), None, True, math.nan, -(10**30), -1, [value], np.ones(2), 1j)
    elif isinstance(value, float):
        yield from ("x", None, math.nan, math.inf, -math.inf, -1.0, 1j, True, {}, torch.tensor(value, device="meta"))
    elif isinstance(value, tv.TVReconstruction):  # what reconstructs
        yield from ("x", None, 3)
    else:  # objects, functions, names, devices
        yield from (b"x", 3.5, object(), torch.ones(2))


def called(call, arguments):
    """The result, or the error that has a name. Another error fails, and so does a call that does not end."""

    def hangs(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        return call(**arguments)
    except (TypeError, ValueError, RuntimeError, OSError, FloatingPointError) as error:
        assert not isinstance(error, TimeoutError), "hangs"
        begin = re.match(r"(\w+)(\.\w+)?: ", str(error))
        assert begin and begin[1] in NAMES, f"{type(error).__name__}: {error}"
        return error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


NAMES = {name for module in MODULES for name in vars(module) if name[0] != "_"}


def optional(call, name):
    return inspect.signature(call).parameters[name].default is None


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Before calls are timed: without a cache, on a busy machine, compiling takes longer than a call may."""
    for dtype in (torch.complex64, torch.complex128):
        attack.localized_attack(**ATTACK | {"y": Y[0].to(dtype), "phi": PHI})


@pytest.mark.parametrize(("call", "given"), CALLS, ids=[name_of(call) for call, _ in CALLS])
def test_what_makes_no_sense_is_refused_by_name(call, given):
    assert not isinstance(called(call, given), Exception)
    for name, right in given.items():
        for value in refused(right, name_of(call) in LINEAR):
            if (name_of(call), name) not in RIGHT_TOO and not (value is None and optional(call, name)):
                assert isinstance(called(call, given | {name: value}), Exception), f"{name}={checks.shown(value)}"


def numbers(result):
    """All arrays of numbers in a result."""
    if isinstance(result, torch.Tensor | np.ndarray | float):
        yield np.asarray(result.detach() if isinstance(result, torch.Tensor) else result)
    elif isinstance(result, tuple):
        for part in result:
            yield from numbers(part)
    elif dataclasses.is_dataclass(result):
        for part in vars(result).values():
            yield from numbers(part)


def some_tensor(shape, dtype, value, device):
    value = value if dtype.is_floating_point or dtype.is_complex else 1
    return torch.full(shape, value, dtype=dtype, device=device)


INTEGERS = st.integers(-3, 40) | st.sampled_from([10**30, -(2**63), 2**32])
SHAPES = st.sampled_from([(), (0,), (1,), (2,), (88,), (2, 88), (16, 16), (2, 16, 16), (2, 2, 16, 16), (1, 2, 16, 16)])
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64, torch.bool])
JUNK = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), INTEGERS,
    st.floats(width=32), st.complex_numbers(max_magnitude=9), st.lists(st.floats(-9, 9) | INTEGERS, max_size=3),
    arrays.arrays(np.float64, st.sampled_from([(), (0,), (8,), (16,), (2, 16, 16)]), elements=st.floats(-9, 9)),
    st.builds(some_tensor, SHAPES, DTYPES, st.sampled_from([0.0, 0.5, math.nan]), st.sampled_from(["cpu", "meta"])),
    st.sampled_from([np.int64(3), np.float32(0.5), OP, FREE, REC, OP.A_dagger, object(), torch.device("meta"), "meta"]),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:MaskedFourier. mask has few low frequencies")
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_anything_else_gives_a_named_error_or_a_result(data):
    call, given = data.draw(st.sampled_from(CALLS))
    names = data.draw(st.lists(st.sampled_from(sorted(given)), min_size=1, max_size=2, unique=True))
    result = called(call, given | {name: data.draw(JUNK, label=name) for name in names})
    if name_of(call) not in LINEAR | {"evaluate_perturbation"} and not isinstance(result, Exception):
        assert not any(np.isnan(part).any() for part in numbers(result) if part.dtype.kind in "fc")
