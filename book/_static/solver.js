// TV reconstruction (3) in the browser: the ADMM of lib/admm.py and lib/tv.py, for what a spike does to an image.
//
// This text runs in a worker, after vendor/fft.js. Arrays of n x n complex numbers, real and imaginary parts in turn,
// hold two real images at once: rec(y) in the real parts, rec(y + e) in the imaginary parts. The mask is even and the
// norm adds the two parts, so one complex problem is both.
"use strict";

const RELAXATION = 1.9, THRESHOLD = [0.5, 0.07], THRESHOLD_DECAY = 0.85;
const EVERY = 10; // iterations between two changes of the threshold, and between two pictures
const STILL = 0.012, MOST = 2000; // done when no pixel changed by more than STILL / iterations since the last picture
const BLOCK = 8; // rows that are transposed together

// lib.operators.radial_mask, in the order of the transform below: frequency 0 comes first, rows and columns are swapped.
function radialMask(n, lines) {
  const mask = new Uint8Array(n * n), golden = (Math.PI * (Math.sqrt(5) - 1)) / 2;
  for (let line = 0; line < lines; line++) {
    const cos = Math.cos(line * golden), sin = Math.sin(line * golden);
    for (let a = -n / 2; a < n / 2; a++)
      for (let b = -n / 2; b < n / 2; b++)
        if (Math.abs(a * cos + b * sin) <= 0.5) mask[((b + n) % n) * n + ((a + n) % n)] = 1;
  }
  return mask;
}

// Two-dimensional transforms of n x n complex numbers: forward without a factor, backward with 1/n^2. A spectrum has its
// rows and columns swapped, which saves half of the transpositions.
function fourier(n) {
  const fft = new FFT(n), work = new Float64Array(2 * n * n), block = new Float64Array(2 * n * BLOCK);
  const rows = (a) => Array.from({ length: a.length / n / 2 }, (_, i) => a.subarray(2 * n * i, 2 * n * (i + 1)));
  const lines = rows(block), middle = rows(work), views = new Map(); // views of arrays, once for all
  const rowsOf = (a) => views.get(a) || views.set(a, rows(a)).get(a);
  const both = (transform) => (from, to) => {
    const input = rowsOf(from), output = rowsOf(to);
    for (let first = 0; first < n; first += BLOCK) {
      for (let i = 0; i < BLOCK; i++) fft[transform](lines[i], input[first + i]);
      for (let k = 0; k < 2 * n; k += 2)
        for (let i = k, at = k * n + 2 * first; i < 2 * n * BLOCK; i += 2 * n, at += 2) {
          work[at] = block[i];
          work[at + 1] = block[i + 1];
        }
    }
    for (let i = 0; i < n; i++) fft[transform](output[i], middle[i]);
  };
  return { forward: both("transform"), backward: both("inverseTransform") };
}

// The problem: image x, bump (the disk of radius sigma around mu), mask, size of the perturbation, lambda.
// Spectra carry the factor n of the transform above; `data` is that of A*y and A*(y + e), with weight 1/2 at the
// frequencies -n/2 that have no mirror image in the mask (lib.admm.k_space).
function setUp({ image, n, lines, noise, mu, sigma }) {
  const { forward, backward } = fourier(n), mask = radialMask(n, lines), size = n * n;
  const weight = new Float64Array(size), data = new Float64Array(2 * size), r = new Float64Array(2 * size);
  for (let i = 0; i < size; i++) {
    const bump = ((i / n | 0) - mu[0]) ** 2 + ((i % n) - mu[1]) ** 2 <= sigma ** 2;
    r[2 * i] = image[i];
    r[2 * i + 1] = bump ? 1 : 0;
  }
  forward(r, data);
  let normY = 0, normE = 0;
  const mirror = (i) => ((n - (i / n | 0)) % n) * n + ((n - (i % n)) % n);
  for (let i = 0; i < size; i++) {
    const j = mirror(i);
    if (j < i) continue; // both at once: the spectrum of x and that of the bump, from their symmetries
    const [a, b, c, d] = [data[2 * i], data[2 * i + 1], data[2 * j], data[2 * j + 1]];
    const x = [(a + c) / 2, (b - d) / 2], h = [(b + d) / 2, (c - a) / 2];
    const count = mask[i] + mask[j], w = count / 2;
    weight[i] = weight[j] = w;
    normY += (i === j ? mask[i] : count) * (x[0] ** 2 + x[1] ** 2);
    const e = w === 1 ? h : [0, 0]; // op.symmetrize: 0 where -k is not sampled
    normE += (i === j ? w : 2 * w) * (e[0] ** 2 + e[1] ** 2);
    data.set([w * x[0], w * x[1]], 2 * i);
    data.set([w * x[0], -w * x[1]], 2 * j);
    r.set(e, 2 * i);
    r.set([e[0], -e[1]], 2 * j);
  }
  const scale = noise * Math.sqrt(normY / normE); // e = eta A bump / |A bump|
  for (let i = 0; i < size; i++) { // data = y + i (y + e)
    const [a, b, c, d] = [data[2 * i], data[2 * i + 1], scale * r[2 * i], scale * r[2 * i + 1]];
    data[2 * i] = a - b - d;
    data[2 * i + 1] = a + b + c;
    r[2 * i] = c;
    r[2 * i + 1] = d;
  }
  const perturbation = new Float64Array(2 * size);
  backward(r, perturbation); // A^dagger e, real
  return { n, forward, backward, weight, data, perturbation: perturbation.filter((_, i) => i % 2 === 0), normY };
}

// z- and u-update with v = z + u, then the right-hand side r = rho grad*(z - u); `_step_cpu` of lib/admm.py.
function step({ n, x, r, down, right, below, beside }, t, ratio, rho) {
  const length = 2 * n, size = n * length;
  for (let i = 0; i < n; i++) { // z - u: below this row of pixels and the one before, and right of pixel j at j + 2
    const row = i * length, here = below[i % 2], above = below[1 - (i % 2)];
    update(x, row, (row + length) % size, length, down, row, t, ratio, here, 0);
    update(x, row, row + 2, length - 2, right, row, t, ratio, beside, 2);
    update(x, row + length - 2, row, 2, right, row + length - 2, t, ratio, beside, length);
    beside[0] = beside[length];
    beside[1] = beside[length + 1];
    if (i === 0) above.fill(0); // the last row's are not known yet
    for (let j = 0; j < length; j++) r[row + j] = rho * (above[j] - here[j] + beside[j] - beside[j + 2]);
  }
  const last = below[(n - 1) % 2];
  for (let j = 0; j < length; j++) r[j] += rho * last[j];
}

function update(x, here, next, count, v, at, t, ratio, q, to) {
  for (let j = 0; j < count; j++) { // (|w + t| - |w - t|) / 2 clips w to [-t, t] without a branch
    let w = v[at + j];
    w += RELAXATION * (x[next + j] - x[here + j] - w + (Math.abs(w + t) - Math.abs(w - t)) / 2);
    const u = (Math.abs(w + t) - Math.abs(w - t)) / 2;
    v[at + j] = w + (ratio - 1) * u;
    q[to + j] = w - (1 + ratio) * u;
  }
}

// x = (A*A + rho grad* grad)^-1 (A*y + r), exact in k-space.
function solveX({ x, r, spectrum, inverse }, { data, forward, backward }) {
  forward(r, spectrum);
  for (let i = 0; i < spectrum.length; i++) spectrum[i] = (spectrum[i] + data[i]) * inverse[i >> 1];
  backward(spectrum, x);
}

// The iterates of both reconstructions, every EVERY iterations; `change` is that of any pixel since the last one.
function* solve(problem, lam) {
  const { n, backward, data, weight } = problem, size = 2 * n * n, array = (length) => new Float64Array(length);
  const s = { n, x: array(size), r: array(size), down: array(size), right: array(size), spectrum: array(size) };
  Object.assign(s, { inverse: array(n * n), below: [array(2 * n), array(2 * n)], beside: array(2 * n + 2) });
  const before = array(size), laplacian = array(n).map((_, k) => 4 * Math.sin((Math.PI * k) / n) ** 2);
  backward(data, before);
  const unit = lam ** 0.25 * Math.max(Math.sqrt(problem.normY) / n / n, largest(before) / 4) ** 0.75;
  for (let iterations = 1, t = THRESHOLD[0] * unit, last = 0; ; iterations++) {
    if (t !== last)
      for (let i = 0; i < n * n; i++) s.inverse[i] = 1 / (weight[i] + (lam / t) * (laplacian[i / n | 0] + laplacian[i % n]));
    last = t;
    solveX(s, problem);
    if (iterations % EVERY === 0) {
      for (let i = 0; i < size; i++) before[i] -= s.x[i];
      yield { x: s.x, iterations, change: largest(before) };
      before.set(s.x);
      t = Math.max(THRESHOLD_DECAY * t, THRESHOLD[1] * unit);
    }
    step(s, last, t / last, lam / t);
  }
}

function largest(a) {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]));
  return most;
}

// Each message is a problem with its lambda and an id; a new one replaces the one at work. Answers: the iterates.
let current = 0;
const pause = () => new Promise((next) => setTimeout(next)); // lets newer messages in
onmessage = async ({ data: job }) => {
  current = job.id;
  await pause();
  if (current !== job.id) return; // of the messages that have piled up, only the last is worth the work
  const start = performance.now();
  const problem = setUp(job), perturbation = Float32Array.from(problem.perturbation);
  for (const { x, iterations, change } of solve(problem, job.lam)) {
    const done = change * iterations < STILL || iterations >= MOST;
    const clean = new Float32Array(job.n ** 2), attacked = new Float32Array(job.n ** 2);
    for (let i = 0; i < clean.length; i++) [clean[i], attacked[i]] = [x[2 * i], x[2 * i + 1]];
    const answer = { id: job.id, perturbation, clean, attacked, iterations, change, done };
    postMessage({ ...answer, seconds: (performance.now() - start) / 1000 }, [clean.buffer, attacked.buffer]);
    if (done) return;
    await pause();
    if (current !== job.id) return;
  }
};
