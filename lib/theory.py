r"""Section 5 in one dimension: exact recovery by l1 and TV minimization, proofs of it, and the amplification it forces.

NumPy and SciPy only. A signal x or z is a vector ``(n,)`` of finite numbers, n even. ``omega`` holds the frequencies
that are measured, ``(m,)`` distinct integers from -n/2 + 1 to n/2. Measurements y and dual vectors q are ``(m,)``, in
the order of ``omega``. Randomness comes from ``rng``, such as ``np.random.default_rng(0)``. Results are complex128
unless they say otherwise. A few lines show the argument of the paper:

>>> rng = np.random.default_rng(0)
>>> omega = sample_frequencies(2**16, 120, rng)
>>> x = np.zeros(2**16, complex)
>>> x[[1000, 20000]] = 1, -2j
>>> certify_l1(x, omega).unique, certify_l1(x + spike(2**16), omega).unique  # so both are recovered, and differ by 1
(True, True)
>>> round(amplification(spike(2**16), omega).linf)  # what made the difference is smaller by this factor, n/m
546
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from lib import checks

LONGEST = 2**30  # of signals; one of complex numbers takes 16 GB
EPS = np.finfo(np.float64).eps
Pair = tuple[NDArray, NDArray]  # elements (t, z) of n cones {|z| <= t}: real (n,) and complex (n,)


# --- The operator


def fourier(z: ArrayLike) -> NDArray:
    r"""The unitary transform :math:`(\mathcal{F}_n z)_k = n^{-1/2} \sum_j z_j e^{-2\pi i k j/n}`, k = -n/2+1, ..., n/2.

    >>> np.round(fourier([1, 0, 0, 0]).real, 12).tolist(), np.round(fourier([1, -1, 1, -1]).real, 12).tolist()
    ([0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 2.0])
    """
    z = _signal("fourier", "z", z)
    return np.roll(scipy.fft.fft(z.astype(complex), norm="ortho"), len(z) // 2 - 1)


def measure(z: ArrayLike, omega: ArrayLike) -> NDArray:
    r"""Measurements :math:`\mathcal{A}_n z = P_{\Omega_n} \mathcal{F}_n z` of a signal, ``(m,)``."""
    z = _signal("measure", "z", z)
    return _forward(z, _frequencies("measure", omega, len(z)))


def zero_filled(y: ArrayLike, omega: ArrayLike, n: int) -> NDArray:
    r""":math:`\mathcal{A}_n^\dagger y = \mathcal{A}_n^* y`, ``(n,)``: coefficients that were not measured are zero."""
    omega = _frequencies("zero_filled", omega, n)
    return _adjoint(_measurements("zero_filled", "y", y, omega), omega, n)


def gradient(z: ArrayLike) -> NDArray:
    r"""Periodic backward differences :math:`(\nabla z)_j = z_j - z_{(j-1) \bmod n}`, as in the proof of Theorem 5.2.

    Of a real signal they are float64.
    """
    z = _signal("gradient", "z", z)
    return z - np.roll(z, 1)


def gradient_factor(omega: ArrayLike, n: int) -> NDArray:
    r"""What :math:`\nabla` multiplies frequencies k of any shape by, :math:`1 - e^{-2\pi i k/n}`."""
    omega = checks.numbers("gradient_factor", "omega", omega)
    # expm1: no cancellation at low frequencies
    return -np.expm1(-2j * np.pi * omega / checks.integer("gradient_factor", "n", n, 1))


def sample_frequencies(n: int, m: int, rng: np.random.Generator, zero: bool = False) -> NDArray:
    r"""``m`` frequencies uniformly at random, without repetition: :math:`\Omega_n` of Theorem 5.1.

    The theorems cited in the paper draw the m frequencies independently, so that some may repeat. A set without
    repetition contains such a draw (both made on one probability space), and more measurements of x never spoil its
    being the unique minimiser: the probability of recovery is at least as large.

    With ``zero``, 0 is added as in Theorem 5.2, :math:`\Omega_n = \{0\} \cup \Omega'`, so that there are m or m + 1.
    The result is int64, increasing.
    """
    n, rng = _even("sample_frequencies", n), checks.instance("sample_frequencies", "rng", rng, np.random.Generator)
    m = checks.integer("sample_frequencies", "m", m, 1, n)
    drawn = rng.choice(n, m, replace=False) - n // 2 + 1
    return np.union1d(drawn, [0]) if zero else np.sort(drawn)


def low_frequencies_first(n: int, rng: np.random.Generator) -> NDArray:
    r"""All frequencies, in a random order whose first m are drawn with weights :math:`1/\max(1, |k|)`, for each m.

    Poon (2015), the paper's [20], concentrates its mask on low frequencies by this law. Int64 ``(n,)``.
    """
    where = "low_frequencies_first"
    n, rng = _even(where, n), checks.instance(where, "rng", rng, np.random.Generator)
    k = np.arange(-n // 2 + 1, n // 2 + 1)
    return k[np.argsort(rng.exponential(size=n) * np.maximum(1, np.abs(k)))]  # exponential races


# --- Signals and artifacts


def spike(n: int) -> NDArray:
    r"""The artifact :math:`\delta_n = (1, 0, \dots, 0)`, float64 ``(n,)``."""
    return rectangle(n, 1)


def rectangle(n: int, width: int) -> NDArray:
    r"""The artifact :math:`\rho_n = (1, \dots, 1, 0, \dots, 0)` with ``width`` ones, 0 to n; float64 ``(n,)``."""
    n = _even("rectangle", n)
    return (np.arange(n) < checks.integer("rectangle", "width", width, 0, n)).astype(float)


def spike_train(n: int, s: int, rng: np.random.Generator) -> NDArray:
    """``s`` entries of modulus 1 and random phase at random places other than 0, where the artifact will be."""
    n, rng = _even("spike_train", n), checks.instance("spike_train", "rng", rng, np.random.Generator)
    s = checks.integer("spike_train", "s", s, 0, n - 1)
    x = np.zeros(n, complex)
    x[1 + rng.choice(n - 1, s, replace=False)] = np.exp(2j * np.pi * rng.random(s))
    return x


def steps(n: int, s: int, rng: np.random.Generator) -> NDArray:
    """A piecewise constant signal with ``s`` jumps: 0, or 2 to n - 2, since jumps add up to zero.

    The values between jumps are standard complex Gaussian. There is no jump at 0 nor 1, where a spike has its own.
    """
    n, rng = _even("steps", n), checks.instance("steps", "rng", rng, np.random.Generator)
    s = checks.integer("steps", "s", s, 0, n - 2)
    if s == 1:
        raise ValueError("steps: s must be 0, or 2 and more, got 1: the jumps of a periodic signal add up to zero")
    jumps = np.zeros(n, int)
    jumps[2 + rng.choice(n - 2, s, replace=False)] = 1
    values = rng.standard_normal((2, max(s, 1))).T @ [1, 1j] / np.sqrt(2)
    return values[np.cumsum(jumps) % max(s, 1)]


@dataclass(frozen=True)
class Amplification:
    r"""By how much an artifact :math:`\rho` exceeds the perturbation :math:`r = \mathcal{A}^\dagger\mathcal{A}\rho`.

    Attributes
    ----------
    linf : :math:`\|\rho\|_\infty / \|r\|_\infty`, the amplification factor :math:`\alpha_n`.
    l2 : :math:`\|\rho\|_2 / \|r\|_2`.
    bound : :math:`(\|\rho\|_\infty / \|\rho\|_1)\, n/m`, a lower bound on ``linf``.
    """

    linf: float
    l2: float
    bound: float


def amplification(artifact: ArrayLike, omega: ArrayLike) -> Amplification:
    r"""Amplification of an artifact that is recovered exactly.

    If x and :math:`x + \rho` are both recovered, the perturbation :math:`e = \mathcal{A}\rho` of the measurements
    adds :math:`\rho` to the reconstruction, and :math:`r = \mathcal{A}^\dagger e` to the zero-filled image. For the
    spike, ``linf`` is n/m and ``l2`` is :math:`\sqrt{n/m}`. Whether both are recovered is for :func:`certify_l1`,
    :func:`certify_tv` or the solvers to say. Where :math:`\rho \ne 0` has no measurements at all, it is infinite.

    >>> found = amplification(rectangle(256, 4), [-3, 0, 2, 50])
    >>> round(found.linf, 2), found.bound
    (19.86, 16.0)
    """
    artifact = _signal("amplification", "artifact", artifact)
    n = len(artifact)
    omega = _frequencies("amplification", omega, n)
    support = np.flatnonzero(artifact)
    if not len(support):
        raise ValueError("amplification: artifact must not be zero, got zeros")
    entries = artifact[support]
    few = len(support) * len(omega) < n
    e = _columns(omega, support, n) @ entries if few else _forward(artifact, omega)
    size, r_largest, e_norm = np.abs(entries), _largest(e, omega, n), float(np.linalg.norm(e))
    return Amplification(
        linf=float(size.max()) / r_largest if r_largest else math.inf,
        l2=float(np.linalg.norm(entries)) / e_norm if e_norm else math.inf,  # norm(r) = norm(e)
        bound=float(size.max() / size.sum()) * n / len(omega),
    )


# --- Certificates


@dataclass(frozen=True)
class Certificate:
    r"""What a dual vector q proves about a signal; see :func:`certify_l1`.

    Attributes
    ----------
    unique : the signal is proved to be the unique minimiser. False means *not proved*, by this q: it does not mean
        that the signal is not recovered.
    reason : why nothing is proved; empty if ``unique``.
    off_support : computed largest :math:`|(\mathcal{A}^* q)_j|` off the support; infinite if not computed.
    singular_value : computed smallest singular value of :math:`\mathcal{A}` on the support; 0 if not computed.
    allowance : bound on the rounding error of ``off_support``.
    sparsity, m, n : size of the support, number of measurements used, length.
    """

    unique: bool
    reason: str
    off_support: float
    singular_value: float
    allowance: float
    sparsity: int
    m: int
    n: int

    @property
    def margin(self) -> float:
        """What is left below 1: ``1 - off_support - allowance``. Positive in every proof."""
        return 1 - self.off_support - self.allowance

    def __str__(self) -> str:
        size = f"(n = {self.n}, m = {self.m}, s = {self.sparsity})"
        if self.unique:
            return f"proved unique, {self.off_support:.3f} < 1 {size}"
        return f"nothing proved: {self.reason} {size}"


def certify_l1(x: ArrayLike, omega: ArrayLike, dual: ArrayLike | None = None) -> Certificate:
    r"""Prove that x is the unique minimiser of Theorem 5.1: of :math:`\|z\|_1`, given its measurements.

    It is, if :math:`\mathcal{A}` is injective on the support T of x and some :math:`q \in \mathbb{C}^m` has

    .. math:: (\mathcal{A}^* q)_T = x_T / |x_T|, \qquad |(\mathcal{A}^* q)_j| < 1 \quad (j \notin T)

    (Foucart and Rauhut, 2013, Theorem 4.26). The q tried here is the one of least norm, or the one nearest to
    ``dual``, that satisfies the equation: one system of size s = \|T\| and one Fourier transform. Time is
    O(n log n + s^2 m). The transform is taken in blocks, so that little memory is needed besides x.

    ``allowance`` bounds what rounding can do, as book/certificates.md derives: ``unique`` is a statement about the
    signal exactly as stored, whose support is where it is not exactly zero. ``dual`` may be
    ``basis_pursuit(...).dual``.
    """
    x = _signal("certify_l1", "x", x)
    omega = _frequencies("certify_l1", omega, len(x))
    return _certify(x, omega, _measurements("certify_l1", "dual", 0 * omega if dual is None else dual, omega))


def certify_tv(x: ArrayLike, omega: ArrayLike, dual: ArrayLike | None = None) -> Certificate:
    r"""Prove that x is the unique minimiser of Theorem 5.2: of :math:`\|\nabla z\|_1`, given its measurements.

    As in the proof of Theorem 5.2: if :math:`\nabla x` is the only minimiser of :math:`\|g\|_1` among the g with its
    measurements, then :math:`\nabla z = \nabla x` for every minimiser z, and the frequency 0 tells the mean. Every
    gradient has coefficient 0 at the frequency 0; this is used as a measurement.

    Without 0 in ``omega`` nothing can be proved, because all x + c have the same measurements and total variation. The
    certificate is that of the gradient; ``sparsity`` is the number of jumps. ``dual`` may be ``tv_pursuit(...).dual``.
    """
    x = _signal("certify_tv", "x", x)
    omega, g = _frequencies("certify_tv", omega, len(x)), gradient(x)
    q = _measurements("certify_tv", "dual", 0 * omega if dual is None else dual, omega)
    if not (omega == 0).any():
        reason = "without the frequency 0, x + c is as good"
        return Certificate(False, reason, math.inf, 0.0, 0.0, int(np.count_nonzero(g)), len(omega), len(x))
    return _certify(g, omega, q)


def _certify(x: NDArray, omega: NDArray, q: NDArray) -> Certificate:
    n, m = len(x), len(omega)
    support = np.flatnonzero(x)
    s = len(support)
    if s == 0:  # always the unique minimiser
        return Certificate(True, "", 0.0, 1.0, 0.0, s, m, n)
    if s > m:
        return Certificate(False, "more non-zero entries than measurements", math.inf, 0.0, 0.0, s, m, n)
    signs, columns = _signs(x[support]), _columns(omega, support, n)
    values, vectors = scipy.linalg.eigh(columns.conj().T @ columns, check_finite=False)
    transform = 32 * EPS * np.log2(n)  # relative error of a Fourier transform in l2
    least = values[0] - s * (transform + (m + s + 16) * EPS)  # a lower bound on the squared singular value
    singular_value = float(np.sqrt(max(values[0], 0)))
    if least <= 0:
        return Certificate(False, "not injective on the support", math.inf, singular_value, 0.0, s, m, n)
    for _ in range(2):  # the second time removes the rounding errors of the first
        q = q + columns @ (vectors @ (vectors.conj().T @ (signs - columns.conj().T @ q) / values))
    size = np.linalg.norm(q)
    residual = np.linalg.norm(signs - columns.conj().T @ q)
    product = (m + 16) * EPS * np.sqrt(m / n) * size  # rounding error of one inner product with q
    residual += np.sqrt(s) * (8 * EPS + product)
    allowance = float(transform * size + product + np.sqrt(m / n) * residual / np.sqrt(least))
    off_support = _largest(q, omega, n, besides=support)
    unique = off_support + allowance < 1
    reason = "" if unique else f"off the support the dual vector reaches {off_support:.3g}"
    return Certificate(unique, reason, off_support, singular_value, allowance, s, m, n)


def _columns(omega: NDArray, support: NDArray, n: int) -> NDArray:
    r"""``(m, s)``: the columns of :math:`\mathcal{A}` at ``support``, phases reduced modulo n in integers."""
    turns = (omega[:, None] * support + n // 2) % n - n // 2
    return np.exp(-2j * np.pi / n * turns) / np.sqrt(n)


def _largest(q: NDArray, omega: NDArray, n: int, besides: NDArray | None = None) -> float:
    r"""The largest :math:`|(\mathcal{A}^* q)_j|`, j not in ``besides``.

    In blocks :math:`j = i + b l`, each a transform of length n/b, without ever holding n numbers: with
    :math:`L = n/b`, :math:`e^{2\pi i k j/n} = e^{2\pi i k i/n} e^{2\pi i (k \bmod L) l/L}`.
    """
    blocks = math.gcd(n, 2 ** max(0, int(n).bit_length() - 15))
    length, together, largest = n // blocks, 16, 0.0
    besides = np.empty(0, int) if besides is None else besides
    for first in range(0, blocks, together):
        i = np.arange(first, min(first + together, blocks))
        spectrum = np.zeros((len(i), length), complex)
        turned = q * np.exp(2j * np.pi / n * ((i[:, None] * omega + n // 2) % n - n // 2))
        np.add.at(spectrum, (slice(None), omega % length), turned)  # type: ignore[arg-type]
        modulus = np.abs(scipy.fft.ifft(spectrum, norm="forward", overwrite_x=True))
        inside = besides[(besides % blocks >= first) & (besides % blocks < first + together)]
        modulus[inside % blocks - first, inside // blocks] = 0
        largest = max(largest, float(modulus.max()))
    return largest / math.sqrt(n)


def _signs(x: NDArray) -> NDArray:
    """x / |x|, also where the modulus over- or underflows."""
    return np.exp(1j * np.angle(x))


def nonnegative_dual(support: ArrayLike, omega: ArrayLike, n: int) -> NDArray:
    r"""The dual vector of non-negative signals with frequencies {-s, ..., s}, for ``certify_l1(..., dual=...)``.

    The trigonometric polynomial :math:`1 - \kappa \prod_{t \in T} \sin^2(\pi (j - t)/n)` has degree s = \|T\|. It is 1
    on T and lies in [0, 1) elsewhere on the grid, with :math:`\kappa` one over the largest product. It shows that
    *every* non-negative signal on T, indices from 0 to n - 1, is recovered, however close its spikes (De Castro and
    Gamboa, 2012, the paper's [10]). All of {-s, ..., s} must be in ``omega``.
    """
    omega = _frequencies("nonnegative_dual", omega, n)
    support = np.unique(checks.numbers("nonnegative_dual", "support", support, "iu")) if np.size(support) else omega[:0]
    if support.size and not 0 <= support[0] <= support[-1] < n:
        raise ValueError(f"nonnegative_dual: support must hold integers from 0 to {n - 1}, got {support}")
    missing = np.setdiff1d(np.arange(-len(support), len(support) + 1), omega)
    if missing.size:
        raise ValueError(f"nonnegative_dual: omega must contain -s, ..., s for s = {len(support)}, lacks {missing}")
    product = np.ones(n)
    for t in support:
        product *= np.sin(np.pi * ((np.arange(n) - t) % n) / n) ** 2
    return _forward(1 - product / product.max(), omega)


def separated_dual(x: ArrayLike, c: int) -> NDArray:
    r"""The dual vector of well separated spikes with frequencies {-c, ..., c}, for ``certify_l1(..., dual=...)``.

    Candès and Fernandez-Granda (2014), the paper's [6], interpolate the signs on the support, with vanishing
    derivatives, by a combination of :math:`K(j - t)` and :math:`K'(j - t)`, :math:`t \in T`. K is the square of a
    Fejér kernel, so the combination is a trigonometric polynomial of degree c. They prove that it stays below 1
    elsewhere if :math:`c \ge 128` and the spikes are at least 2n/c apart. The cut-off frequency c may be 2 to n/2 - 1;
    the result is for ``omega = np.arange(-c, c + 1)``.
    """
    x = _signal("separated_dual", "x", x)
    n = len(x)
    c = checks.integer("separated_dual", "c", c, 2, n // 2 - 1)
    omega, support = np.arange(-c, c + 1), np.flatnonzero(x)
    fejer = np.maximum(0, 1 - np.abs(np.arange(-(c // 2), c // 2 + 1)) / (c // 2 + 1))
    weight = np.zeros(2 * c + 1)
    weight[c - 2 * (c // 2) : c + 2 * (c // 2) + 1] = np.convolve(fejer, fejer)  # coefficients of the square
    columns = _columns(omega, support, n)
    both = np.hstack([columns, omega[:, None] / c * columns])  # values, and derivatives up to a factor
    signs = np.concatenate([_signs(x[support]), np.zeros(len(support))])
    return weight * (both @ _least_squares(both.conj().T @ (weight[:, None] * both), signs)[0])


# --- Minimisers


@dataclass(frozen=True, eq=False)
class Pursuit:
    r"""A minimiser and the proof of its accuracy; see :func:`basis_pursuit` and :func:`tv_pursuit`.

    Attributes
    ----------
    signal : ``(n,)``.
    dual : ``(m,)``, q with :math:`\|\mathcal{A}^* q\|_\infty \le 1`, of the gradient in :func:`tv_pursuit`.
    objective : :math:`\|z\|_1` or :math:`\|\nabla z\|_1` of ``signal``.
    gap : ``objective`` minus the dual value; nothing with these measurements has an objective below the difference.
    residual : :math:`\|\mathcal{A} z - y\|_2`, at rounding level.
    n_iter : interior-point iterations.
    converged : whether ``gap <= tol * objective``.
    """

    signal: NDArray
    dual: NDArray
    objective: float
    gap: float
    residual: float
    n_iter: int
    converged: bool


def basis_pursuit(y: ArrayLike, omega: ArrayLike, n: int, *, tol: float = 1e-8, max_iter: int = 100) -> Pursuit:
    r"""A minimiser of Theorem 5.1: of :math:`\|z\|_1`, z complex, subject to :math:`\mathcal{A}_n z = y`.

    The problem and its dual,

    .. math:: \max_q\; \mathrm{Re}\langle q, y\rangle \quad\text{subject to}\quad |(\mathcal{A}^* q)_j| \le 1,

    are solved together by a primal-dual interior-point method with Nesterov-Todd scaling and Mehrotra's predictor
    and corrector, on the n cones :math:`|z_j| \le t_j`. It needs 10 to 20 iterations, each O(n log n + m^3), and
    O(n + m^2) memory: it is meant for n up to millions with m up to two thousand.

    At the end, signal and dual vector are polished: least squares on the support, and the dual vector moved to
    interpolate the signs there. This is kept if it lowers the gap.

    Parameters
    ----------
    y, omega : the measurements and their frequencies.
    n : length of the signal, even.
    tol : relative duality gap to reach. Rounding limits the iteration to about 1e-9, and to 1e-7 where the non-zero
        entries differ by a factor of a million; polishing, where it succeeds, gets to 1e-14.
    max_iter : at most this many iterations.

    Returns
    -------
    Pursuit : one minimiser where there are several. A small gap proves a small objective, not a small distance from
        a given signal; for this there is :func:`certify_l1`.
    """
    y, omega, tol = _data("basis_pursuit", y, omega, n, tol, max_iter)
    z, q, n_iter = _minimise(y, omega, n, tol, max_iter)
    return _pursuit(z, q, float(np.abs(z).sum()), y, y, omega, tol, n_iter)


def tv_pursuit(y: ArrayLike, omega: ArrayLike, n: int, *, tol: float = 1e-8, max_iter: int = 100) -> Pursuit:
    r"""A minimiser of Theorem 5.2: of :math:`\|\nabla z\|_1`, subject to :math:`\mathcal{A}_n z = y`.

    With :math:`g = \nabla z` it is the problem of :func:`basis_pursuit` for g: its measurements are
    :math:`(1 - e^{-2\pi i k/n})\, y_k`, and 0 at the frequency 0, measured or not, because g is a gradient. Then z is
    the sum of g, with the mean that :math:`y_0` tells. Without 0 in ``omega`` the minimiser of mean 0 is returned, and
    ``dual`` has one more entry at the end.
    """
    y, omega, tol = _data("tv_pursuit", y, omega, n, tol, max_iter)
    data, frequencies = gradient_factor(omega, n) * y, omega
    if not (omega == 0).any():
        data, frequencies = np.append(data, 0), np.append(omega, 0)
    g, q, n_iter = _minimise(data, frequencies, n, tol, max_iter)
    z = np.cumsum(g)
    z += y[omega == 0].sum() / np.sqrt(n) - z.mean()
    return _pursuit(z, q, float(np.abs(gradient(z)).sum()), data, y, omega, tol, n_iter)


def _pursuit(
    z: NDArray, q: NDArray, objective: float, data: NDArray, y: NDArray, omega: NDArray, tol: float, n_iter: int
) -> Pursuit:
    gap = objective - float(np.vdot(q, data).real)
    residual = float(np.linalg.norm(_forward(z, omega) - y))
    return Pursuit(z, q, objective, gap, residual, n_iter, gap <= tol * objective)


def _minimise(y: NDArray, omega: NDArray, n: int, tol: float, max_iter: int) -> tuple[NDArray, NDArray, int]:
    """The l1 minimiser, a feasible dual vector, and the number of iterations."""
    if not y.any():
        return np.zeros(n, complex), np.zeros(len(omega), complex), 0
    scale = np.linalg.norm(y)
    z, q, n_iter = _interior_point(y / scale, omega, n, tol / 2, max_iter)
    z = z * scale
    candidates = [(z, q), *_polish(z, q, y, omega)]
    return *min(candidates, key=lambda pair: np.abs(pair[0]).sum() - np.vdot(pair[1], y).real), n_iter


def _polish(z: NDArray, q: NDArray, y: NDArray, omega: NDArray) -> list[tuple[NDArray, NDArray]]:
    """The exact minimiser and dual vector on the support that both indicate; none if this is no support."""
    n = len(z)
    slack = 1 - np.abs(_adjoint(q, omega, n))
    # of |z| and the slack one tends to zero at each j, at equal speed; the other tells whether j is in the support
    support = np.flatnonzero(np.abs(z) > np.abs(z).max() * slack)
    if not 0 < len(support) <= len(omega):
        return []
    columns = _columns(omega, support, n)
    entries, _, rank, _ = _least_squares(columns, y)
    if rank < len(support) or not entries.all():
        return []
    change = _least_squares(columns.conj().T, _signs(entries) - columns.conj().T @ q)[0]
    sparse = np.zeros(n, complex)
    sparse[support] = entries
    if np.linalg.norm(_forward(sparse, omega) - y) > 1e-12 * np.linalg.norm(y):  # some of the support is missing
        return []
    q = q + change
    return [(sparse, q / max(1, np.abs(_adjoint(q, omega, n)).max()))]


def _least_squares(matrix: NDArray, right: NDArray) -> tuple:
    return scipy.linalg.lstsq(matrix, right, check_finite=False, lapack_driver="gelsy")


def _interior_point(y: NDArray, omega: NDArray, n: int, tol: float, max_iter: int) -> tuple[NDArray, NDArray, int]:
    r"""Primal-dual path following for :math:`|z_j| \le t_j` and :math:`|u_j| \le 1`, with :math:`u = \mathcal{A}^* q`.

    Primal point p = (t, z), dual slack s = (1, -u). The formulas are those of Vandenberghe (2010), "The CVXOPT linear
    and quadratic cone program solvers". Both points are strictly feasible from the start on.
    """
    one, zero = np.ones(n), np.zeros(n)
    places = (omega[:, None] - omega) % n, (omega[:, None] + omega) % n
    q, u, z = np.zeros(len(omega), complex), np.zeros(n, complex), _adjoint(y, omega, n)
    t = np.full(n, 2 * np.abs(z).max())
    best, best_gap, n_iter = (z, q), math.inf, 0
    while True:
        p, s = (t, z), (one, -u)
        mu = _inner(p, s).mean()
        drift = y - _forward(z, omega)  # the linear systems get worse towards the end, and rounding errors add up
        feasible = z + _adjoint(drift, omega, n)
        objective = np.abs(feasible).sum()
        gap = objective - np.vdot(q, y).real
        if gap < best_gap:
            best, best_gap = (feasible, q), gap
        done = gap <= tol * objective or n * mu <= 1e-3 * tol * objective
        if done or n_iter == max_iter or min(_det(p).min(), _det(s).min()) <= 0:  # 0: at the boundary, by rounding
            return *best, n_iter
        scaled, a, b = _scaling(p, s)
        try:
            solve = _normal_equations(a, b, places)
        except scipy.linalg.LinAlgError:  # as far as rounding allows
            return *best, n_iter
        lam = scaled(s)

        def direction(target: Pair, lam: Pair = lam) -> tuple[NDArray, NDArray, Pair, Pair, Pair]:
            """Steps dq, du, dp, and W^-1 dp, W ds for the linearised lam o (W^-1 dp + W ds) = target."""
            first = (lam[0] * target[0] - (lam[1].conj() * target[1]).real) / _det(lam)
            both = first, (target[1] - first * lam[1]) / lam[0]
            right = drift - _forward(scaled(both)[1], omega)
            dq, left = np.zeros(len(omega), complex), right
            for _ in range(2):  # the second time refines
                dq = dq + solve(left)
                du = _adjoint(dq, omega, n)
                left = right - _forward(a * du + b * du.conj(), omega)
            w_ds = scaled((zero, -du))
            w_dp = both[0] - w_ds[0], both[1] - w_ds[1]
            return dq, du, scaled(w_dp), w_dp, w_ds

        square = _product(lam, lam)
        _, du, dp, w_dp, w_ds = direction((-square[0], -square[1]))  # Mehrotra's predictor, then the corrector
        step_p, step_s = min(1, _longest(p, dp)), min(1, _longest(s, (zero, -du)))
        after = _inner((t + step_p * dp[0], z + step_p * dp[1]), (one, -u - step_s * du)).mean()
        centre, second = mu * max(0, after / mu) ** 3, _product(w_dp, w_ds)
        dq, du, dp, _, _ = direction((centre - square[0] - second[0], -square[1] - second[1]))
        step_p, step_s = min(1, 0.99 * _longest(p, dp)), min(1, 0.99 * _longest(s, (zero, -du)))
        t, z, q = t + step_p * dp[0], z + step_p * dp[1], q + step_s * dq
        u, n_iter = _adjoint(q, omega, n), n_iter + 1


def _scaling(p: Pair, s: Pair) -> tuple[Callable[[Pair], Pair], NDArray, NDArray]:
    """W with W s = W^-1 p (Nesterov and Todd, 1998), and its square on the z: d -> a d + b conj(d).

    W x = beta (2 v (v, x) - J x), J (t, z) = (t, -z).
    """
    root_p, root_s = np.sqrt(_det(p)), np.sqrt(_det(s))
    beta = np.sqrt(root_p / root_s)
    w_scale = np.sqrt(2 + 2 * _inner(p, s) / (root_p * root_s))
    w = (p[0] / root_p + s[0] / root_s) / w_scale, (p[1] / root_p - s[1] / root_s) / w_scale
    v = np.sqrt((w[0] + 1) / 2), w[1] / np.sqrt(2 * (w[0] + 1))

    def scaled(x: Pair) -> Pair:
        k = 2 * _inner(v, x)
        return beta * (k * v[0] - x[0]), beta * (k * v[1] + x[1])

    return scaled, beta**2 * (1 + np.abs(w[1]) ** 2), beta**2 * w[1] ** 2


def _normal_equations(a: NDArray, b: NDArray, places: tuple[NDArray, NDArray]) -> Callable[[NDArray], NDArray]:
    r"""The solution d of A (a A* d + b conj(A* d)) = r as a function of r.

    The matrix is a Toeplitz plus a Hankel matrix, with entries :math:`\hat a_{k-l}` and :math:`\hat b_{k+l}`.
    """
    n, m = len(a), len(places[0])
    toeplitz, hankel = (scipy.fft.fft(symbol)[place] / n for symbol, place in zip((a, b), places, strict=True))
    plus, minus = toeplitz + hankel, toeplitz - hankel
    matrix = np.block([[plus.real, -minus.imag], [plus.imag, minus.real]])
    matrix[np.diag_indices(2 * m)] *= 1 + 1e-14
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(r: NDArray) -> NDArray:
        step = scipy.linalg.cho_solve(factor, np.concatenate([r.real, r.imag]), check_finite=False)
        return step[:m] + 1j * step[m:]

    return solve


def _inner(x: Pair, y: Pair) -> NDArray:
    return x[0] * y[0] + (x[1].conj() * y[1]).real


def _product(x: Pair, y: Pair) -> Pair:
    """The Jordan product of the cones."""
    return _inner(x, y), x[0] * y[1] + y[0] * x[1]


def _det(x: Pair) -> NDArray:
    size = np.abs(x[1])
    return (x[0] - size) * (x[0] + size)


def _longest(x: Pair, d: Pair) -> float:
    """The largest step for which x + step d is in all cones: the first root of det(x + step d)."""
    a, b, c = _det(d), x[0] * d[0] - (x[1].conj() * d[1]).real, _det(x)
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(b < 0, c / (root - b), np.where(a < 0, -(b + root) / a, np.inf))
    return float(np.where((discriminant < 0) & (a > 0), np.inf, first).min())


# --- Common to all


def _forward(z: NDArray, omega: NDArray) -> NDArray:
    return scipy.fft.fft(z.astype(complex, copy=False), norm="ortho")[omega]  # negative indices count from the end


def _adjoint(q: NDArray, omega: NDArray, n: int) -> NDArray:
    spectrum = np.zeros(n, complex)
    spectrum[omega] = q
    return scipy.fft.ifft(spectrum, norm="ortho", overwrite_x=True)


def _even(where: str, n: Any) -> int:
    n = checks.integer(where, "n", n, 2, LONGEST)
    if n % 2:
        raise ValueError(f"{where}: n must be even and at least 2, got {n}")
    return n


def _signal(where: str, name: str, z: Any) -> NDArray:
    z = checks.numbers(where, name, z)
    if z.ndim != 1 or not 2 <= len(z) <= LONGEST or len(z) % 2:
        raise ValueError(f"{where}: {name} must have shape (n,) with n even and at least 2, got {z.shape}")
    return z.astype(complex if z.dtype.kind == "c" else float, copy=False)


def _frequencies(where: str, omega: Any, n: Any) -> NDArray:
    n, omega = _even(where, n), checks.numbers(where, "omega", omega, "iu")
    if omega.ndim != 1 or omega.size == 0:
        raise ValueError(f"{where}: omega must have shape (m,), not empty, got {omega.shape}")
    values, counts = np.unique(omega, return_counts=True)
    for wrong in values[(values <= -n // 2) | (values > n // 2)][:1]:
        raise ValueError(f"{where}: omega must hold integers from {-n // 2 + 1} to {n // 2}, got {wrong}")
    for wrong in values[counts > 1][:1]:
        raise ValueError(f"{where}: omega must hold each frequency once, got {wrong} {counts.max()} times")
    return omega.astype(np.int64, copy=False)


def _measurements(where: str, name: str, y: Any, omega: NDArray) -> NDArray:
    y = checks.numbers(where, name, y)
    if y.shape != omega.shape:
        raise ValueError(f"{where}: {name} must have shape {omega.shape}, as omega has, got {y.shape}")
    return y.astype(complex)


def _data(where: str, y: Any, omega: Any, n: Any, tol: Any, max_iter: Any) -> tuple[NDArray, NDArray, float]:
    omega = _frequencies(where, omega, n)
    checks.integer(where, "max_iter", max_iter, 1)
    return _measurements(where, "y", y, omega), omega, checks.number(where, "tol", tol, 0, 1)
