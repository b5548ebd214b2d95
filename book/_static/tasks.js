// What the views of the chapters (views.js) let the worker solve; see solver.js, after which this text comes.
"use strict";

const MOST_ITERATIONS = 300; // of a curve of errors

// Number k of a stream of uniform numbers in [0, 1): the generator mulberry32, as `lib.explorer.draws.uniform`.
function uniform(seed, k) {
  let t = (seed + Math.imul(k + 1, 0x6d2b79f5)) | 0;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

// --- Compressed sensing MRI: the complex problem (3) with complex noise, by a number of iterations --------------------

let run = { key: "" }; // at work: the problem, its threshold, iterations so far, all errors

function begin({ image, n, lines, noise_rel, lam, seed }) {
  const size = n * n, mask = radialMask(n, lines), { x, r, data, weight } = start(n);
  r[0].set(image);
  r[1].fill(0);
  c.forward(c.r.value, c.data.value);
  const noise = [new Float64Array(size), new Float64Array(size)];
  let normY = 0, normNoise = 0, m = 0;
  for (let row = 0, k = 0; row < n; row++)
    for (let column = 0; column < n; column++, k++) { // of the centred mask
      const at = ((column + n / 2) % n) * n + ((row + n / 2) % n);
      if (!mask[at]) continue;
      const size = Math.sqrt(-2 * Math.log(1 - uniform(seed, 2 * k))), angle = 2 * Math.PI * uniform(seed, 2 * k + 1);
      [noise[0][at], noise[1][at]] = [size * Math.cos(angle), size * Math.sin(angle)];
      normY += data[0][at] ** 2 + data[1][at] ** 2;
      normNoise += size ** 2;
      m++;
    }
  const scale = noise_rel * Math.sqrt(normY / normNoise);
  let measured = 0;
  for (let at = 0; at < size; at++) {
    weight[at] = mask[at];
    for (const part of [0, 1]) {
      data[part][at] = mask[at] * (data[part][at] + scale * noise[part][at]);
      measured += data[part][at] ** 2;
    }
  }
  c.backward(c.data.value, c.x.value);
  const z = x.map((part) => part.map((value) => value / size)), unit = thresholdUnit(x, measured, lam);
  const t = THRESHOLD[0] * unit;
  c.set_up(n);
  const shown = Uint8Array.from({ length: size }, (_, k) => // the mask with frequency 0 in its middle
    mask[(((k % n) + n / 2) % n) * n + ((Math.floor(k / n) + n / 2) % n)]);
  return { k: 0, t, last: t, unit, x, z, mask: shown, m, zero: modulus(z), zeroError: errorOf(z, image), errors: [] };
}

const modulus = ([re, im]) => re.map((value, k) => Math.hypot(value, im[k]));

function errorOf([re, im], truth) {
  let off = 0, all = 0;
  for (let k = 0; k < truth.length; k++) {
    off += (re[k] - truth[k]) ** 2 + im[k] ** 2;
    all += truth[k] ** 2;
  }
  return Math.sqrt(off / all);
}

function advance(job) { // one iteration
  c.iterate(1, job.lam, run.t, run.last);
  run.last = run.t;
  run.k++;
  if (run.k % EVERY === 0) run.t = Math.max(THRESHOLD_DECAY * run.t, THRESHOLD[1] * run.unit);
  run.errors[run.k] ??= errorOf(run.x, job.image);
}

tasks.reconstruct = async (job) => {
  const key = ["n", "lines", "noise_rel", "lam", "seed"].map((name) => job[name]).join();
  if (run.key !== key || run.k > job.iterations) run = { ...begin(job), key, ...(run.key === key && { errors: run.errors }) };
  let tv, shown = performance.now();
  for (;;) {
    if (run.k === job.iterations) tv = modulus(run.x);
    const known = run.errors.length > MOST_ITERATIONS && Boolean(tv), now = performance.now();
    if (run.k === job.iterations || known || now - shown > SHOW) {
      const { mask, m, zero, zeroError, errors } = run;
      postMessage({ id: job.id, mask, m, zero, zeroError, errors: errors.slice(1), tv: tv ?? modulus(run.x), done: known });
      if (known) return;
      await pause();
      if (current !== job.id) return;
      shown = performance.now();
    }
    advance(job);
  }
};
