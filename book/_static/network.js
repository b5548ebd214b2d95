// Tira in the browser: lib.networks.Reconstruction, its derivative, and the ascent of lib.attack against it.
//
// This text runs in the worker, after solver.js and ascent.js; `NETWORK_WASM` is the compiled network.c. The trained
// numbers come with the first message that needs them, as lib.explorer.trained writes them.
"use strict";

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

function fromHalves(base64) { // float16 to float32: the exponents differ by 112
  const halves = new Uint16Array(bytes(base64).buffer);
  const words = Uint32Array.from(halves, (h) => ((h & 0x8000) << 16) | ((h & 0x7fff) << 13));
  return new Float32Array(words.buffer).map((value) => value * 2 ** 112);
}

// The Tiramisu for images of n x n pixels: { forward, backward }, lists of steps, and { input, output }, its ends.
//
// The channels of a level, one resolution, lie in one array: those that came up from the level below, those of the way
// down, those of the last block. So nothing is ever joined, and a derivative finds all values in place.
function tiramisu({ sizes, floats, halves }, n) {
  const layers = new WebAssembly.Instance(new WebAssembly.Module(bytes(NETWORK_WASM))).exports, { memory } = layers;
  const { down, bottleneck, up, growth, first, fold } = sizes, depth = down.length, ends = 2 * fold ** 2;
  let end = layers.__heap_base.value;
  const reserve = (count) => { // the place of so many float32
    const at = end;
    end += 16 * Math.ceil(count / 4);
    if (end > memory.buffer.byteLength) memory.grow(Math.ceil((end - memory.buffer.byteLength) / 65536));
    return at;
  };
  const view = (at, length) => new Float32Array(memory.buffer, at, length);
  const kept = (values) => {
    const at = reserve(values.length);
    view(at, values.length).set(values);
    return at;
  };

  // --- the trained numbers, in the order of torch's modules
  const scales = new Float32Array(bytes(floats).buffer), weights = fromHalves(halves);
  let scale = 0, weight = 0;
  const taken = (count) => weights.subarray(weight, (weight += count));
  const norm = (channels) => [0, 1].map(() => kept(scales.subarray(scale, (scale += channels))));
  const arranged = (out, from, taps, value) => { // as `convolve` of network.c reads them
    const values = new Float32Array(out * from * taps);
    for (let o = 0, k = 0; o < out; o += 4)
      for (let c = 0; c < from; c++)
        for (let tap = 0; tap < taps; tap++) for (let i = 0; i < 4; i++) values[k++] = value(o + i, c, tap);
    return kept(values);
  };
  const convolution = (from, out, taps) => {
    const raw = taken(out * from * taps), name = taps === 9 ? "convolve3" : "convolve1";
    const forward = arranged(out, from, taps, (o, c, tap) => raw[(o * from + c) * taps + tap]);
    const adjoint = arranged(from, out, taps, (c, o, tap) => raw[(o * from + c) * taps + taps - 1 - tap]);
    return { from, out, name, forward, adjoint, bias: kept(taken(out)) };
  };
  const transposed = (from, out) => { // the adjoint of a convolution to `from` channels, with its own bias
    const { forward, adjoint, ...rest } = convolution(out, from, 9);
    return { ...rest, from, out, forward: adjoint, adjoint: forward };
  };
  const normed = (from, out, taps) => ({ norm: norm(from), ...convolution(from, out, taps) });
  const block = (from, count) => Array.from({ length: count }, (_, i) => normed(from + i * growth, growth, 9));

  const levels = [], entry = convolution(ends, first, 9);
  for (let k = 0, enter = first; k <= depth; k++) { // `enter` channels come from above
    const low = k === depth, went = low ? enter : enter + growth * down[k];
    const came = low ? 0 : growth * (k + 1 === depth ? bottleneck : up[depth - 2 - k]);
    const last = growth * (low ? bottleneck : up[depth - 1 - k]);
    levels.push({ n: n / fold / 2 ** k, came, enter, went, last, all: came + went + last });
    enter = went;
  }
  const upper = levels.slice(0, -1), rising = [...upper].reverse(), low = levels[depth];
  upper.forEach((level, k) => (level.down = block(level.enter, down[k])));
  upper.forEach((level) => (level.pool = normed(level.went, level.went, 1)));
  rising.forEach((level) => (level.rise = transposed(level.came, level.came)));
  for (const level of rising) level.up = block(level.came + level.went, level.last / growth);
  low.up = block(low.went, bottleneck);
  const exit = convolution(levels[0].all, ends, 1);

  // --- the arrays
  const size = levels[0].n ** 2, most = Math.max(...levels.map((level) => level.all * (level.n + 2) * (level.n + 8)));
  const [padded, loose, input, output] = [most, levels[0].all * size, ends * size, ends * size].map(reserve);
  for (const level of levels) {
    [level.values, level.gradients] = [reserve(level.all * level.n ** 2), reserve(level.all * level.n ** 2)];
    level.which = reserve((level.went * level.n ** 2) / 16); // bytes, of a quarter of the pixels
  }
  const place = (array, channel, level) => array + 4 * channel * level.n ** 2;

  // --- the steps, each with its adjoint
  const steps = [];
  const apply = ({ name, forward, bias, from, out }, x, [scale, shift], to, n) => {
    layers.fill(x, scale, shift, padded, from, n);
    layers[name](padded, forward, bias, to, from, out, n);
  };
  const back = ({ name, adjoint, from, out }, g, to, n) => {
    layers.fill(g, 0, 0, padded, out, n);
    layers[name](padded, adjoint, 0, to, out, from, n);
  };
  const linear = [0, 0];
  const dense = (level, at, convolutions) => convolutions.forEach((part) => {
    const x = place(level.values, at, level), g = place(level.gradients, at, level), { n } = level;
    steps.push({
      forward: () => apply(part, x, part.norm, place(x, part.from, level), n),
      backward: () => {
        back(part, place(g, part.from, level), loose, n);
        layers.rectify(loose, x, ...part.norm, g, part.from, n);
      },
    });
  });
  const [top] = levels, [begun, begunGradient] = ["values", "gradients"].map((name) => place(top[name], top.came, top));
  steps.push({
    forward: () => apply(entry, input, linear, begun, top.n),
    backward: () => back(entry, begunGradient, input, top.n),
  });
  upper.forEach((level, k) => {
    const below = levels[k + 1], { came, went, which, n, pool: part } = level;
    const x = place(level.values, came, level), g = place(level.gradients, came, level);
    dense(level, came, level.down);
    steps.push({
      forward: () => {
        apply(part, x, part.norm, loose, n);
        layers.pool(loose, place(below.values, below.came, below), which, went, n);
      },
      backward: () => {
        layers.unpool(place(below.gradients, below.came, below), which, loose, went, n);
        back(part, loose, loose, n);
        layers.rectify(loose, x, ...part.norm, g, went, n);
      },
    });
  });
  dense(low, 0, low.up);
  [...upper.keys()].reverse().forEach((k) => {
    const level = levels[k], below = levels[k + 1], { came, went, rise, n } = level;
    const at = below.all - came, size = below.n ** 2;
    steps.push({
      forward: () => {
        layers.unpool(place(below.values, at, below), 0, loose, came, n);
        apply(rise, loose, linear, level.values, n);
      },
      backward: () => {
        back(rise, level.gradients, loose, n);
        view(below.gradients, at * size).fill(0);
        layers.thin(loose, place(below.gradients, at, below), came, n);
      },
    });
    dense(level, 0, level.up);
  });
  steps.push({
    forward: () => apply(exit, top.values, linear, output, top.n),
    backward: () => back(exit, output, top.gradients, top.n),
  });
  return {
    forward: steps.map(({ forward }) => forward),
    backward: steps.map(({ backward }) => backward).reverse(),
    input: () => view(input, ends * size),
    output: () => view(output, ends * size),
    fold,
  };
}

let tira = null; // once it is needed

// Squares of `fold` x `fold` pixels of real and imaginary part to channels (torch's pixel_unshuffle), or back.
function folded(images, channels, fold, n, unfold) {
  const side = n / fold;
  for (const part of [0, 1])
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const channel = (part * fold + (i % fold)) * fold + (j % fold);
        const at = (channel * side + Math.floor(i / fold)) * side + Math.floor(j / fold);
        if (unfold) images[part][i * n + j] = channels[at];
        else channels[at] = images[part][i * n + j];
      }
}

async function pass(job, way, from, to, images) { // null if a newer message has come
  const { n } = job;
  folded(images, tira[from](), tira.fold, n, false);
  let last = performance.now();
  for (const step of tira[way]) {
    step();
    if (performance.now() - last < SHOW) continue;
    await pause();
    if (current !== job.id) return null;
    last = performance.now();
  }
  const out = images.map((part) => new Float32Array(part.length));
  folded(out, tira[to](), tira.fold, n, true);
  return out.map((part, i) => part.map((value, k) => value + images[i][k])); // z + net(z), or its adjoint
}

// Tira's image, [real part, imaginary part], of a zero-filled one; then the adjoint of its derivative there.
const refine = (job, z) => pass(job, "forward", "input", "output", z);
const refineAdjoint = (job, g) => pass(job, "backward", "output", "input", g);

function zeroFilled({ image, n, lines }) { // [real part, imaginary part] of A^dagger A image
  const { x, r, data } = start(n), mask = radialMask(n, lines);
  r[0].set(image);
  r[1].fill(0);
  c.forward(c.r.value, c.data.value);
  for (const part of data) part.forEach((value, k) => (part[k] = (value * mask[k]) / n ** 2));
  c.backward(c.data.value, c.x.value);
  return x.map((part) => part.slice());
}

const plus = ([re, im], r) => [re.map((value, k) => value + r[k]), im];
const apart = (a, b) => modulus(a.map((part, i) => part.map((value, k) => value - b[i][k])));

let seen = {}; // the image that was last measured, its zero-filled image and Tira's

async function unperturbed(job) { // false if a newer message has come
  tira ??= tiramisu(job.weights, job.n);
  if (seen.image?.every((value, k) => value === job.image[k])) return true;
  const z = zeroFilled(job), clean = await refine(job, z);
  if (clean) seen = { image: job.image, z, clean };
  return Boolean(clean);
}

// What Tira makes of y and of y + e, e being the perturbation of the feature as in `solve`.
tasks.network = async (job) => {
  if (!(await unperturbed(job))) return;
  const { perturbation } = setUp(job), { z, clean } = seen;
  const attacked = job.feature.some(Boolean) ? await refine(job, plus(z, perturbation)) : clean;
  if (!attacked) return;
  const images = { clean: modulus(clean), attacked: modulus(attacked), artifact: apart(attacked, clean) };
  postMessage({ id: job.id, perturbation, ...images, done: true });
};

let rise = {}; // the ascent on Tira: its image and settings, and for each step r and what it does

// The ascent of ascent.js on Tira, in `steps` steps. Each answer has the steps so far and what one of them does, the
// best or, at the end, the wanted one: objective (6) and peak of the artifact, r, the two images, the artifact's
// modulus. It goes on where an earlier message has stopped it.
tasks.networkAttack = async (job) => {
  const { n, mu, sigma, noise } = job, began = performance.now(), { steps } = job, key = [mu, sigma, noise].join();
  if (!(await unperturbed(job))) return;
  const phi = disk(n, mu, sigma), { z, clean } = seen;
  const { perturbation } = setUp({ ...job, feature: disk(n, mu, 0) }), { project } = operators(start(n), n, 1);
  if (rise.clean !== clean || rise.key !== key) rise = { clean, key, tried: [] };
  const { tried } = rise, eta = norm(perturbation);
  const answer = async (done) => {
    const known = tried.slice(0, steps + 1), best = await bestOf(known, job, (k) => known[k].peak);
    const chosen = done ? job.step ?? best : best;
    const { r, attacked, artifact } = known[chosen], seconds = (performance.now() - began) / 1000;
    postMessage({ id: job.id, steps, tried: known.map(({ objective, peak }) => ({ objective, peak })), best, chosen,
      perturbation: r, attacked, artifact, clean: modulus(clean), seconds, done });
  };
  if (tried.length > steps) return answer(true);
  let r = tried.at(-1)?.r ?? perturbation;
  for (let k = Math.max(tried.length - 1, 0); ; k++) { // the last known step again, for its derivative
    const image = await refine(job, plus(z, r));
    if (!image) return;
    const inside = image.map((part, i) => part.map((value, at) => phi[at] * (value - clean[i][at])));
    const objective = Math.hypot(...inside.map(norm)), artifact = apart(image, clean);
    tried[k] = { r, objective, peak: peak(artifact), attacked: modulus(image), artifact };
    await answer(k === steps);
    if (k === steps) return;
    const gradient = await refineAdjoint(job, inside.map((part) => part.map((value) => value / objective)));
    if (!gradient) return;
    r = stepped(r, project(gradient[0]), k, eta);
  }
};

// The methods side by side, as the networks chapter has them: complex noise, errors of moduli. Each answer has the
// images so far and their errors; Tira's comes if its weights do.
tasks.compare = async (job) => {
  const { x, unit, z } = begin(job), images = {}, errors = {};
  run = { key: "" }; // whose arrays are taken
  const show = (name, parts, done) => {
    images[name] = modulus(parts);
    errors[name] = errorOf([images[name], new Float32Array(images[name].length)], job.image);
    postMessage({ id: job.id, images, errors, done });
  };
  show("zero", z, false);
  if ((await converge(job, unit)) === null) return;
  show("tv", x, !job.weights);
  if (!job.weights) return;
  tira ??= tiramisu(job.weights, job.n);
  const image = await refine(job, z);
  if (image) show("tira", image, true);
};
