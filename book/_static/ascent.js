// The attack of Section 3 on TV, for the worker: lib.attack.power_ascent for real images, with lib.attack.fast_tv.
//
// A perturbation is r = A^dagger e, whose spectrum lives where both k and -k are sampled; there A is an isometry.
// Fields v are [down, right], two differences of each pixel.
"use strict";

const ITERATIONS = 7, HEIGHT = 0.03, WEIGHT = 1 / 3, LAG = 2, RELAXATION = 1.9; // as in lib.attack and lib.tv

function difference(x, n) { // forward, periodic
  const size = n * n, down = new Float32Array(size), right = new Float32Array(size);
  for (let row = 0; row < size; row += n) {
    const below = (row + n) % size;
    for (let j = 0; j < n; j++) down[row + j] = x[below + j] - x[row + j];
    for (let j = 0; j < n - 1; j++) right[row + j] = x[row + j + 1] - x[row + j];
    right[row + n - 1] = x[row] - x[row + n - 1];
  }
  return [down, right];
}

function differenceAdjoint([down, right], n, factor) { // factor grad* q
  const size = n * n, out = new Float32Array(size);
  for (let row = 0; row < size; row += n) {
    const above = (row - n + size) % size;
    let left = right[row + n - 1];
    for (let j = 0, k = row; j < n; j++, k++) {
      out[k] = factor * (down[above + j] - down[k] + left - right[k]);
      left = right[k];
    }
  }
  return out;
}

// lib.tv.v_update: v in place, and b = rho grad*(z - u). `bits` takes what the derivative needs.
function update(x, v, n, t, rho, relaxation, bits) {
  const q = difference(x, n);
  for (const direction of [0, 1]) {
    const [values, out, kept] = [v[direction], q[direction], bits[direction]];
    for (let k = 0; k < out.length; k++) {
      const before = values[k], w = before + relaxation * (out[k] - before + Math.min(Math.max(before, -t), t));
      values[k] = w;
      out[k] = w - 2 * Math.min(Math.max(w, -t), t);
      kept[k] = (Math.abs(before) > t ? 1 : 0) + (Math.abs(w) > t ? 2 : 0);
    }
  }
  return differenceAdjoint(q, n, rho);
}

// The derivative's adjoint: from those of the results, `given` of v and g of b, to that of x; `given` becomes v's.
function updateAdjoint(g, given, n, rho, relaxation, bits) {
  const w = difference(g, n);
  for (const direction of [0, 1]) {
    const [values, out, kept] = [given[direction], w[direction], bits[direction]];
    for (let k = 0; k < out.length; k++) {
      const d = rho * out[k], now = values[k] + (kept[k] > 1 ? d : -d);
      out[k] = now;
      values[k] = kept[k] & 1 ? (1 - relaxation) * now : now;
    }
  }
  return differenceAdjoint(w, n, relaxation);
}

// What the ascent needs of a problem: x-update, projection to spectra of perturbations. Arrays of `start` are used.
function operators({ x, r, data, weight }, n, rho) {
  const size = n * n, laplacian = array("laplacian", n);
  const inverse = Float32Array.from({ length: size }, (_, k) =>
    1 / (size * (weight[k] + rho * (laplacian[Math.floor(k / n)] + laplacian[k % n]))));
  const paired = Float32Array.from(weight, (w) => w === 1);
  const transformed = (image) => { // into data
    r[0].set(image);
    r[1].fill(0);
    c.forward(c.r.value, c.data.value);
  };
  const spectrum = (image, factor) => { // times the factor of each frequency
    transformed(image);
    return data.map((part) => part.map((value, k) => value * factor[k]));
  };
  const back = () => {
    c.backward(c.data.value, c.x.value);
    return x[0].slice();
  };
  return {
    measured: (image) => spectrum(image, weight), // A* A image
    perturbed: (r) => spectrum(r, paired),
    // (weight + rho grad* grad)^-1 (b + what has the spectrum `more`, in which no frequency is that is not sampled)
    solve: (b, more) => {
      transformed(b);
      data.forEach((part, i) => {
        const added = more?.[i];
        for (let k = 0; k < size; k++) part[k] = inverse[k] * (added ? part[k] + added[k] : part[k]);
      });
      return back();
    },
    project: (g) => {
      transformed(g);
      data.forEach((part) => part.forEach((value, k) => (part[k] = (value * paired[k]) / size)));
      return back();
    },
  };
}

const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const peak = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function disk(n, mu, sigma) { // lib.attack.disk_weight; a spike for the radius 0
  return Float32Array.from({ length: n * n }, (_, k) =>
    (Math.floor(k / n) - mu[0]) ** 2 + ((k % n) - mu[1]) ** 2 <= sigma ** 2);
}

function stepped(r, g, k, eta) { // the average of r with the gradient g, of norm eta
  const tau = Math.max(2 / (k + 2), WEIGHT), scale = (tau * eta) / norm(g);
  const sum = r.map((value, at) => (1 - tau) * value + scale * g[at]), length = norm(sum);
  return sum.map((value) => (value * eta) / length);
}

// The best of the steps, those before LAG aside; `height` gives the peak of a step's artifact. Null if that has none.
async function bestOf(tried, { by_peak }, height) {
  const from = Math.min(LAG, tried.length - 1);
  const [best, high] = ["objective", "peak"].map((name) =>
    tried.reduce((k, values, i) => (i > from && values[name] > tried[k][name] ? i : k), from));
  if (!by_peak || high === best) return best;
  const heights = [await height(best), await height(high)];
  return heights.includes(undefined) ? null : heights[1] > heights[0] ? high : best;
}

let climb = { key: "" }; // at work: problem, perturbations, history

// From the spike at mu: all steps, then what the wanted one (null: the best) does to converged reconstructions. The
// best has the largest objective. With `by_peak`, as in lib.attack: of two steps, the one with the largest objective
// and the one with the highest peak, it is the one whose converged artifact is higher.
tasks.attack = async (job) => {
  const began = performance.now(), { n, mu, sigma, lam, steps } = job;
  const key = ["source", "n", "lines", "noise_rel", "lam", "mu", "sigma"].map((name) => job[name]).join();
  const problem = (feature) => setUp({ ...job, noise: job.noise_rel, feature });
  if (climb.key !== key) {
    climb = { key: "" };
    const phi = disk(n, mu, sigma), spike = disk(n, mu, 0);
    const { perturbation } = problem(spike), { unit, images } = problem(new Float32Array(n * n)); // that of y alone
    const last = await converge(job, unit);
    if (last === null) return;
    const m = array("weight", n * n).reduce((sum, w) => sum + w, 0);
    const clean = images[0].slice(), eta = norm(perturbation);
    const t = (HEIGHT * eta * n) / Math.sqrt(m), rho = lam / t;
    // the dual point of the converged reconstruction, in units of the new penalty
    const v = difference(clean, n).map((d, direction) => array(["down", "right"][direction], n * n).map((value, k) =>
      (lam / last / rho) * (d[k] - value + 2 * Math.min(Math.max(value, -last), last))));
    const tools = operators(start(n), n, rho), data = tools.measured(job.image);
    Object.assign(climb, { clean, eta, tried: [] });
    let r = perturbation, x = clean;
    for (let k = 0; k <= steps; k++) {
      const more = tools.perturbed(r).map((part, i) => part.map((value, at) => value + data[i][at])), kept = [];
      for (let i = 0; i < ITERATIONS; i++) {
        const bits = [0, 1].map(() => new Uint8Array(n * n));
        const b = update(x, v, n, t, rho, i ? RELAXATION : 1, bits);
        x = tools.solve(b, more);
        kept.push(bits);
      }
      const artifact = x.map((value, at) => value - clean[at]), inside = artifact.map((value, at) => phi[at] * value);
      const objective = norm(inside);
      climb.tried.push({ r, objective, peak: peak(artifact) });
      postMessage({ id: job.id, steps, tried: climb.tried.map(({ objective, peak }) => ({ objective, peak })) });
      await pause();
      if (current !== job.id) return;
      if (k === steps) break;
      let g = inside.map((value) => value / objective);
      const given = [0, 1].map(() => new Float32Array(n * n)), gradient = new Float32Array(n * n);
      for (let i = ITERATIONS - 1; i >= 0; i--) {
        g = tools.solve(g);
        g.forEach((value, at) => (gradient[at] += value));
        g = updateAdjoint(g, given, n, rho, i ? RELAXATION : 1, kept[i]);
      }
      update(x, v, n, t, rho, RELAXATION, kept[0]); // where the next iterations begin
      r = stepped(r, tools.project(gradient), k, eta);
    }
    climb.key = key;
  }
  const { tried } = climb, best = await bestOf(tried, job, height), chosen = job.step ?? best;
  if (best === null || !(await outcome(chosen))) return;
  postMessage({ id: job.id, steps, tried: tried.map(({ objective, peak }) => ({ objective, peak })), best, chosen,
    ...tried[chosen].outcome, seconds: (performance.now() - began) / 1000, done: true });

  async function outcome(k) { // of step k, converged; undefined if a newer message has come
    if (!tried[k].outcome) {
      const { perturbation, unit, images } = problem(tried[k].r);
      if ((await converge(job, unit)) === null) return undefined;
      const [clean, attacked] = images.map((image) => image.slice());
      tried[k].outcome = { perturbation, clean, attacked };
    }
    return tried[k].outcome;
  }

  async function height(k) { // of its artifact
    const found = await outcome(k);
    return found && peak(found.attacked.map((value, at) => value - found.clean[at]));
  }
};
