// TV reconstruction (3) in the browser: the ADMM of lib/tv.py, for what the measurements of a feature do to an image.
//
// This text runs in a worker, after solver.wasm.js, where `WASM` is the compiled solver.c: two real images at once,
// rec(y) in the real parts, rec(y + e) in the imaginary parts of one complex problem.
"use strict";

const THRESHOLD = [0.5, 0.05], THRESHOLD_DECAY = 0.85; // as in lib.tv but for a smaller last one; times `unit` below
const EVERY = 10; // iterations between two changes of the threshold
const STILL = 0.01, MOST = 1200; // done when no pixel changed by more than STILL / iterations in the last EVERY
const SHOW = 50; // milliseconds between two pictures

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

let c; // what solver.c exports: functions, and the places of its arrays
const array = (name, length, at = 0) => new Float32Array(c.memory.buffer, c[name].value + 4 * at, length);

// The arrays of solver.c for images of n x n pixels; x, r and data as [real parts, imaginary parts].
function start(n) {
  const code = () => Uint8Array.from(atob(WASM), (letter) => letter.charCodeAt(0)), size = n * n;
  c ??= new WebAssembly.Instance(new WebAssembly.Module(code())).exports;
  const [x, r, data] = ["x", "r", "data"].map((name) => [array(name, size), array(name, size, size)]);
  array("root_re", n).set(Float32Array.from({ length: n }, (_, k) => Math.cos((2 * Math.PI * k) / n)));
  array("root_im", n).set(Float32Array.from({ length: n }, (_, k) => -Math.sin((2 * Math.PI * k) / n)));
  array("laplacian", n).set(Float32Array.from({ length: n }, (_, k) => 4 * Math.sin((Math.PI * k) / n) ** 2));
  c.set_up(n);
  return { x, r, data, weight: array("weight", size) };
}

// lib.tv._threshold_unit; x is n^2 times A*y, and normY the square of n times the norm of y.
function thresholdUnit(x, normY, lam) {
  const size = x[0].length;
  const largest = x.reduce((most, part) => part.reduce((m, value) => Math.max(m, Math.abs(value)), most), 0) / size;
  return lam ** 0.25 * Math.max(Math.sqrt(normY) / size, largest / 4) ** 0.75;
}

// The problem: image x, feature d, mask, size of the perturbation, lambda.
// `data` is the spectrum of A*y and A*(y + e), with weight 1/2 at the frequencies -n/2 that have no mirror image in the
// mask (lib.operators.MaskedFourier with real=True).
function setUp({ image, feature, n, lines, noise, lam }) {
  const size = n * n, mask = radialMask(n, lines), { x, r, data, weight } = start(n);
  r[0].set(image);
  r[1].set(feature);
  c.forward(c.r.value, c.data.value);
  let normY = 0, normE = 0;
  for (let i = 0; i < size; i++) {
    const j = ((n - (i / n | 0)) % n) * n + ((n - (i % n)) % n); // -k for the k at i
    if (j < i) continue; // both at once: the spectrum of x and that of d, from their symmetries
    const [p, q, s, t] = [data[0][i], data[1][i], data[0][j], data[1][j]];
    const y = [(p + s) / 2, (q - t) / 2], h = [(q + t) / 2, (s - p) / 2];
    const count = mask[i] + mask[j], w = count / 2;
    weight[i] = weight[j] = w;
    normY += (i === j ? mask[i] : count) * (y[0] ** 2 + y[1] ** 2);
    const e = w === 1 ? h : [0, 0]; // op.symmetrize: 0 where -k is not sampled
    normE += (i === j ? w : 2 * w) * (e[0] ** 2 + e[1] ** 2);
    for (const [at, sign] of [[i, 1], [j, -1]]) {
      [data[0][at], data[1][at]] = [w * y[0], sign * w * y[1]];
      [r[0][at], r[1][at]] = [e[0], sign * e[1]];
    }
  }
  const scale = feature.some(Boolean) && noise * Math.sqrt(normY / normE); // e = eta A d / |A d|
  for (let i = 0; i < size; i++) {
    const [p, q, s, t] = [data[0][i], data[1][i], scale * r[0][i], scale * r[1][i]];
    [data[0][i], data[1][i]] = [p - q - t, p + q + s]; // y + i (y + e)
  }
  c.backward(c.r.value, c.x.value);
  const perturbation = x[0].map((value) => (scale * value) / size); // A^dagger e, real
  c.backward(c.data.value, c.x.value);
  const unit = thresholdUnit(x, normY, lam);
  c.set_up(n);
  return { images: x, perturbation, unit };
}

// Each message is a problem with an id and, unless it is the one of this file, its kind, a name in `tasks`. A new one
// replaces the one at work.
const tasks = {}; // of tasks.js
let current = 0;
const pause = () => new Promise((next) => setTimeout(next)); // lets newer messages in
onmessage = async ({ data: job }) => {
  current = job.id;
  await pause();
  if (current !== job.id) return; // of the messages that have piled up, only the last is worth the work
  try {
    await (tasks[job.kind] ?? solve)(job);
  } catch (error) {
    const old = typeof WebAssembly === "undefined" || error instanceof WebAssembly.CompileError;
    const needed = "The live mode needs a browser with WebAssembly and SIMD, of 2023 or newer.";
    postMessage({ id: job.id, error: old ? needed : `${error}` });
  }
};

// Iterates until no pixel moves; `show` gets the number of iterations now and then. The last threshold, or null if a
// newer message has come.
async function converge(job, unit, show = () => {}) {
  let shown = performance.now(), last = THRESHOLD[0] * unit, t = last;
  for (let iterations = EVERY; ; iterations += EVERY) {
    c.iterate(EVERY, job.lam, t, last);
    const done = c.change() * iterations < STILL || iterations >= MOST;
    if (done || performance.now() - shown > SHOW) {
      show(iterations, done);
      if (done) return t;
      await pause();
      if (current !== job.id) return null;
      shown = performance.now();
    }
    last = t;
    t = Math.max(THRESHOLD_DECAY * t, THRESHOLD[1] * unit);
  }
}

// Answers with the iterates.
async function solve(job) {
  const start = performance.now(), { images, perturbation, unit } = setUp(job);
  await converge(job, unit, (iterations, done) => {
    const [clean, attacked] = images.map((image) => image.slice()), seconds = (performance.now() - start) / 1000;
    postMessage({ id: job.id, perturbation, clean, attacked, iterations, done, seconds }, [clean.buffer, attacked.buffer]);
  });
}
