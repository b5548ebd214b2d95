// Section 5 in one dimension, for the worker: l1 and TV minimization and their certificates, as lib/theory.py has them.
//
// Complex vectors are { re, im } of Float64Array, elements of the cones { t, re, im }. `omega` holds frequencies modulo n,
// a power of 2.
"use strict";

const zeros = (n) => ({ re: new Float64Array(n), im: new Float64Array(n) });
const combine = (a, b, scale = 1) => ({ re: a.re.map((v, j) => v + scale * b.re[j]), im: a.im.map((v, j) => v + scale * b.im[j]) });
const sizes = ({ re, im }) => re.map((v, j) => Math.hypot(v, im[j]));
const largest = (values) => values.reduce((most, v) => Math.max(most, v), 0);
const total = (values) => values.reduce((sum, v) => sum + v, 0);
const realInner = (a, b) => total(a.re.map((v, j) => v * b.re[j] + a.im[j] * b.im[j])); // Re <a, b>

// The unitary transform, radix 2; `sign` -1 for the forward one.
function transform({ re, im }, sign) {
  const n = re.length, out = zeros(n), factor = 1 / Math.sqrt(n);
  for (let i = 0, j = 0; i < n; i++) {
    [out.re[j], out.im[j]] = [factor * re[i], factor * im[i]];
    let bit = n >> 1; // j is i with its bits in reverse order
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
  }
  for (let half = 1; half < n; half *= 2)
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos((Math.PI * k) / half), sign * Math.sin((Math.PI * k) / half)];
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half, re = c * out.re[j] - s * out.im[j], im = s * out.re[j] + c * out.im[j];
        [out.re[j], out.im[j]] = [out.re[i] - re, out.im[i] - im];
        [out.re[i], out.im[i]] = [out.re[i] + re, out.im[i] + im];
      }
    }
  return out;
}

function forward(z, omega) { // A z
  const { re, im } = transform(z, -1);
  return { re: Float64Array.from(omega, (k) => re[k]), im: Float64Array.from(omega, (k) => im[k]) };
}

function adjoint(q, omega, n) { // A* q
  const spectrum = zeros(n);
  omega.forEach((k, i) => ([spectrum.re[k], spectrum.im[k]] = [q.re[i], q.im[i]]));
  return transform(spectrum, 1);
}

// --- The interior-point method: _interior_point, _scaling and _normal_equations of lib/theory.py -----------------------

const inner = (x, y) => x.t.map((v, j) => v * y.t[j] + x.re[j] * y.re[j] + x.im[j] * y.im[j]);
const det = (x) => x.t.map((t, j) => (t - Math.hypot(x.re[j], x.im[j])) * (t + Math.hypot(x.re[j], x.im[j])));

function product(x, y) { // of Jordan
  const part = (name) => x.t.map((t, j) => t * y[name][j] + y.t[j] * x[name][j]);
  return { t: inner(x, y), re: part("re"), im: part("im") };
}

function longest(x, d) { // the largest step for which x + step d is in all cones
  const [a, c] = [det(d), det(x)];
  return x.t.reduce((least, t, j) => {
    const b = t * d.t[j] - x.re[j] * d.re[j] - x.im[j] * d.im[j], discriminant = b * b - a[j] * c[j];
    if (discriminant < 0 && a[j] > 0) return least;
    const root = Math.sqrt(Math.max(discriminant, 0));
    return Math.min(least, b < 0 ? c[j] / (root - b) : a[j] < 0 ? -(b + root) / a[j] : Infinity);
  }, Infinity);
}

function scaling(p, s) { // W with W s = W^-1 p, and its square on the z: d -> a d + b conj(d)
  const [rootP, rootS, both] = [det(p).map(Math.sqrt), det(s).map(Math.sqrt), inner(p, s)];
  const beta = rootP.map((v, j) => Math.sqrt(v / rootS[j]));
  const scale = both.map((v, j) => Math.sqrt(2 + (2 * v) / (rootP[j] * rootS[j])));
  const w = (name, sign) => p[name].map((v, j) => (v / rootP[j] + (sign * s[name][j]) / rootS[j]) / scale[j]);
  const [t, re, im] = [w("t", 1), w("re", -1), w("im", -1)];
  const v = { t: t.map((w) => Math.sqrt((w + 1) / 2)), re: re.map((w, j) => w / Math.sqrt(2 * (t[j] + 1))),
    im: im.map((w, j) => w / Math.sqrt(2 * (t[j] + 1))) };
  const scaled = (x) => {
    const k = inner(v, x), part = (name, sign) => v[name].map((w, j) => beta[j] * (2 * k[j] * w + sign * x[name][j]));
    return { t: part("t", -1), re: part("re", 1), im: part("im", 1) };
  };
  const a = beta.map((v, j) => v * v * (1 + re[j] ** 2 + im[j] ** 2));
  const b = { re: beta.map((v, j) => v * v * (re[j] ** 2 - im[j] ** 2)), im: beta.map((v, j) => v * v * 2 * re[j] * im[j]) };
  return { scaled, a, b };
}

// The solution d of A (a A* d + b conj(A* d)) = r as a function of r: Cholesky's factors of a Toeplitz plus a Hankel matrix.
function normalEquations(a, b, omega) {
  const n = a.length, m = omega.length, size = 2 * m, scale = 1 / Math.sqrt(n);
  const [first, second] = [transform({ re: a, im: new Float64Array(n) }, -1), transform(b, -1)];
  const matrix = Array.from({ length: size }, () => new Float64Array(size));
  for (let k = 0; k < m; k++)
    for (let l = 0; l < m; l++) {
      const minus = (omega[k] - omega[l] + n) % n, plus = (omega[k] + omega[l]) % n;
      matrix[k][l] = scale * (first.re[minus] + second.re[plus]);
      matrix[k][l + m] = -scale * (first.im[minus] - second.im[plus]);
      matrix[k + m][l] = scale * (first.im[minus] + second.im[plus]);
      matrix[k + m][l + m] = scale * (first.re[minus] - second.re[plus]);
    }
  for (let i = 0; i < size; i++) {
    const row = matrix[i];
    row[i] *= 1 + 1e-14;
    for (let j = 0; j <= i; j++) {
      const other = matrix[j];
      let sum = row[j];
      for (let k = 0; k < j; k++) sum -= row[k] * other[k];
      if (i === j && !(sum > 0)) return null; // as far as rounding allows
      row[j] = i === j ? Math.sqrt(sum) : sum / other[j];
    }
  }
  return ({ re, im }) => {
    const x = Float64Array.from([...re, ...im]);
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < i; k++) x[i] -= matrix[i][k] * x[k];
      x[i] /= matrix[i][i];
    }
    for (let i = size - 1; i >= 0; i--) {
      x[i] /= matrix[i][i];
      for (let k = 0; k < i; k++) x[k] -= matrix[i][k] * x[i];
    }
    return { re: x.slice(0, m), im: x.slice(m) };
  };
}

function interiorPoint(y, omega, n, tol, most) {
  const one = new Float64Array(n).fill(1), none = new Float64Array(n), negative = (u) => u.map((v) => -v);
  let q = zeros(omega.length), u = zeros(n), z = adjoint(y, omega, n), best, bestGap = Infinity;
  let t = new Float64Array(n).fill(2 * largest(sizes(z)));
  for (let iterations = 0; ; iterations++) {
    const p = { t, ...z }, s = { t: one, re: negative(u.re), im: negative(u.im) }, mu = total(inner(p, s)) / n;
    const drift = combine(y, forward(z, omega), -1), feasible = combine(z, adjoint(drift, omega, n));
    const objective = total(sizes(feasible)), gap = objective - realInner(q, y);
    if (gap < bestGap) [best, bestGap] = [{ z: feasible, q, iterations }, gap];
    const inside = Math.min(...det(p), ...det(s)) > 0;
    if (gap <= tol * objective || n * mu <= 1e-3 * tol * objective || iterations === most || !inside) return best;
    const { scaled, a, b } = scaling(p, s), solve = normalEquations(a, b, omega), lam = scaled(s), detLam = det(lam);
    if (!solve) return best;
    const direction = (target) => { // for the linearised lam o (W^-1 dp + W ds) = target
      const first = lam.t.map((v, j) => (v * target.t[j] - lam.re[j] * target.re[j] - lam.im[j] * target.im[j]) / detLam[j]);
      const part = (name) => lam[name].map((v, j) => (target[name][j] - first[j] * v) / lam.t[j]);
      const both = { t: first, re: part("re"), im: part("im") };
      const right = combine(drift, forward(scaled(both), omega), -1);
      let dq = zeros(omega.length), du, left = right;
      for (const _ of [1, 2]) { // the second time refines
        dq = combine(dq, solve(left));
        du = adjoint(dq, omega, n);
        left = combine(right, forward({ re: a.map((v, j) => v * du.re[j] + b.re[j] * du.re[j] + b.im[j] * du.im[j]),
          im: a.map((v, j) => v * du.im[j] + b.im[j] * du.re[j] - b.re[j] * du.im[j]) }, omega), -1);
      }
      const wDs = scaled({ t: none, re: negative(du.re), im: negative(du.im) });
      const wDp = { ...combine(both, wDs, -1), t: both.t.map((v, j) => v - wDs.t[j]) };
      return { dq, du, dp: scaled(wDp), wDp, wDs };
    };
    const square = product(lam, lam); // Mehrotra's predictor, then the corrector
    const predictor = direction({ t: negative(square.t), re: negative(square.re), im: negative(square.im) });
    const slack = (du) => ({ t: none, re: negative(du.re), im: negative(du.im) });
    const stepP = Math.min(1, longest(p, predictor.dp)), stepS = Math.min(1, longest(s, slack(predictor.du)));
    const moved = { ...combine(p, predictor.dp, stepP), t: t.map((v, j) => v + stepP * predictor.dp.t[j]) };
    const after = total(inner(moved, { ...combine(s, predictor.du, -stepS), t: one })) / n;
    const centre = mu * Math.max(0, after / mu) ** 3, second = product(predictor.wDp, predictor.wDs);
    const target = combine({ re: negative(square.re), im: negative(square.im) }, second, -1);
    const { dq, du, dp } = direction({ ...target, t: square.t.map((v, j) => centre - v - second.t[j]) });
    const longP = Math.min(1, 0.99 * longest(p, dp)), longS = Math.min(1, 0.99 * longest(s, slack(du)));
    t = t.map((v, j) => v + longP * dp.t[j]);
    [z, q] = [combine(z, dp, longP), combine(q, dq, longS)];
    u = adjoint(q, omega, n);
  }
}

// --- Supports: the polished minimiser, and certificates ---------------------------------------------------------------

// The columns of A at the support T as Q R, by Gram and Schmidt, twice; null if they are dependent.
function columnsOf(support, omega, n) {
  const turn = (k, j) => (2 * Math.PI * ((k * j) % n)) / n, Q = [], R = [];
  for (const j of support) {
    let column = { re: Float64Array.from(omega, (k) => Math.cos(turn(k, j)) / Math.sqrt(n)),
      im: Float64Array.from(omega, (k) => -Math.sin(turn(k, j)) / Math.sqrt(n)) };
    const entries = Q.map(() => [0, 0]), before = Math.sqrt(realInner(column, column));
    for (const _ of [1, 2])
      Q.forEach((q, i) => {
        const [re, im] = product2(q, column);
        column = { re: column.re.map((v, k) => v - re * q.re[k] + im * q.im[k]), im: column.im.map((v, k) => v - re * q.im[k] - im * q.re[k]) };
        entries[i] = [entries[i][0] + re, entries[i][1] + im];
      });
    const length = Math.sqrt(realInner(column, column));
    if (length < 1e-10 * before) return null;
    Q.push({ re: column.re.map((v) => v / length), im: column.im.map((v) => v / length) });
    R.push([...entries, [length, 0]]); // column j of R
  }
  return { Q, R };
}

const product2 = (a, b) => [realInner(a, b), total(a.re.map((v, k) => v * b.im[k] - a.im[k] * b.re[k]))]; // <a, b>

function leastSquares({ Q, R }, y) { // entries with A entries = y, nearly
  const out = Q.map((q) => product2(q, y));
  for (let i = Q.length - 1; i >= 0; i--) {
    out[i] = out[i].map((v) => v / R[i][i][0]);
    for (let k = 0; k < i; k++) {
      const [a, b] = R[i][k], [c, d] = out[i];
      out[k] = [out[k][0] - a * c + b * d, out[k][1] - a * d - b * c];
    }
  }
  return out;
}

function interpolate({ Q, R }, q, u, support, signs) { // the q nearest to this one with (A* q)_T = signs; u = A* q
  const rest = support.map((j, i) => [signs[i][0] - u.re[j], signs[i][1] - u.im[j]]);
  for (let i = 0; i < Q.length; i++) { // R* c = rest
    for (let k = 0; k < i; k++) {
      const [a, b] = R[i][k], [c, d] = rest[k];
      rest[i] = [rest[i][0] - a * c - b * d, rest[i][1] - a * d + b * c];
    }
    rest[i] = rest[i].map((v) => v / R[i][i][0]);
    q = combine(combine(q, Q[i], rest[i][0]), { re: Q[i].im.map((v) => -v), im: Q[i].re }, rest[i][1]);
  }
  return q;
}

// The l1 minimiser with the measurements y, and a feasible dual vector; _minimise of lib/theory.py.
function minimise(y, omega, n) {
  const scale = Math.sqrt(realInner(y, y));
  if (!scale) return { z: zeros(n), q: zeros(omega.length) };
  const rescale = (a, factor) => ({ re: a.re.map((v) => v * factor), im: a.im.map((v) => v * factor) });
  const found = interiorPoint(rescale(y, 1 / scale), omega, n, 5e-9, 100);
  const z = rescale(found.z, scale), size = sizes(z), top = largest(size), u = adjoint(found.q, omega, n);
  const slack = sizes(u).map((v) => 1 - v), support = [...size.keys()].filter((j) => size[j] > top * slack[j]);
  const plain = { z, q: found.q }, columns = support.length <= omega.length && columnsOf(support, omega, n);
  if (!columns) return plain;
  const entries = leastSquares(columns, y), sparse = zeros(n);
  support.forEach((j, i) => ([sparse.re[j], sparse.im[j]] = entries[i]));
  const off = combine(forward(sparse, omega), y, -1);
  if (Math.sqrt(realInner(off, off)) > 1e-11 * scale || entries.some(([a, b]) => !a && !b)) return plain;
  const signs = entries.map((entry) => entry.map((v) => v / Math.hypot(...entry)));
  const q = interpolate(columns, found.q, u, support, signs), most = Math.max(1, largest(sizes(adjoint(q, omega, n))));
  const polished = { z: sparse, q: rescale(q, 1 / most) }, gap = ({ z, q }) => total(sizes(z)) - realInner(q, y);
  return gap(polished) < gap(plain) ? polished : plain;
}

// |A* q| for the q nearest to `dual` that has the signs of the real vector x on its support: _certify of lib/theory.py.
function certificate(x, omega, dual) {
  const n = x.length, support = [...x.keys()].filter((j) => x[j]), signs = support.map((j) => [Math.sign(x[j]), 0]);
  const columns = support.length <= omega.length && columnsOf(support, omega, n);
  if (!columns) return { curve: new Float64Array(n), off: Infinity, support };
  const q = interpolate(columns, dual, adjoint(dual, omega, n), support, signs), curve = sizes(adjoint(q, omega, n));
  return { curve, off: curve.reduce((most, v, j) => (x[j] ? most : Math.max(most, v)), 0), support };
}

// --- The view ---------------------------------------------------------------------------------------------------------

// Signal and frequencies, as `lib.explorer.draws.problem` has them.
function draw({ n, m, s, seed, method, zero }) {
  const places = (count, first, from) => { // the order of `count` keys of the stream from number `from` on
    const keys = Array.from({ length: count }, (_, k) => uniform(seed, from + k));
    return [...keys.keys()].sort((a, b) => keys[a] - keys[b]).map((k) => k + first);
  };
  const frequencies = places(n - 1, 1, 0).slice(0, zero ? m - 1 : m); // modulo n, without 0
  const omega = Int32Array.from(zero ? [0, ...frequencies] : frequencies).sort(), x = new Float64Array(n);
  const value = (k) => 2 * uniform(seed, 2 * n + k) - 1;
  if (method === "l1") places(n - 1, 1, n).slice(0, s).forEach((j, k) => (x[j] = value(k) + Math.sign(value(k)) / 2));
  else {
    const jumps = places(n - 2, 2, n).slice(0, s).sort((a, b) => a - b);
    for (let j = 0; j < n; j++) x[j] = value(jumps.filter((jump) => jump <= j).length % s);
  }
  return { x, omega };
}

tasks.pursue = (job) => {
  const { n, method } = job, { x, omega } = draw(job), tv = method === "tv", zero = omega.includes(0);
  const spiked = x.map((v, j) => v + (j === 0)), none = new Float64Array(n), start = performance.now();
  const measured = (x) => forward({ re: x, im: none }, omega);
  const difference = (x) => x.map((v, j) => v - x[(j + n - 1) % n]);
  const seen = tv && !zero ? Int32Array.from([...omega, 0]) : omega; // a gradient has mean 0
  const solved = [x, spiked].map((signal) => {
    const sparse = tv ? difference(signal) : signal, y = forward({ re: sparse, im: none }, seen);
    const { z, q } = minimise(y, seen, n);
    let proof = certificate(sparse, seen, zeros(seen.length));
    if (!(proof.off < 1)) proof = certificate(sparse, seen, q);
    return { z: tv ? summed(z, zero ? total(signal) / n : 0) : z, ...proof };
  });
  const r = adjoint(measured(spiked.map((v, j) => v - x[j])), omega, n);
  const rho = combine(solved[1].z, solved[0].z, -1);
  const off = solved.map(({ z }, i) => largest(sizes(combine(z, { re: [x, spiked][i], im: none }, -1))));
  const alpha = largest(sizes(rho)) / largest(sizes(r)), [before, after] = solved;
  postMessage({ id: job.id, done: true, x, perturbed: x.map((v, j) => v + r.re[j]), recovered: after.z.re, before: before.z.re,
    curves: solved.map(({ curve }) => curve), proved: solved.map((proof) => proof.off < 1 - 1e-9 && (zero || !tv)),
    offSupport: solved.map((proof) => proof.off), off, alpha, ratio: n / omega.length, support: after.support,
    omega, seconds: (performance.now() - start) / 1000 });
};

function summed(z, mean) { // the signal with these differences and this mean
  const sum = (values) => { let s = 0; return values.map((v) => (s += v)); };
  const part = (values, mean) => { const s = sum(values), shift = mean - total(s) / s.length; return s.map((v) => v + shift); };
  return { re: part(z.re, mean), im: part(z.im, 0) };
}
