// The views of the chapters: controls, pictures and curves of what the worker (tasks.js) solves.
//
// Every <div data-chapter="..." data-settings="..."> becomes one, and so does a widget of lib.explorer.chapters, whose
// traits are the state of the view.
"use strict";

(() => {
  const { METHODS, IMAGES, STEPS, load, decode, once, lambda, paint, cornerOf, make, slider, choice, button, percent,
    three, peak, plot, solver, ascent, takeAway, toStep } = explorerParts;
  const NOISE = [0.5, 20]; // percent, as lib.tv.calibrated_lambda has them
  const share = (value) => percent(Number((100 * value).toPrecision(3)));

  // A slider in steps of 1/`fine` decade; values have two digits, or the exact end.
  function logSlider(label, [low, high], fine, oninput) {
    const last = Math.round(fine * Math.log10(high / low));
    const value = (step) => Number(Math.min(low * 10 ** (step / fine), high).toPrecision(2));
    const control = slider(label, 0, last, 1, (step) => oninput(value(step)));
    return { row: control.row, set: (v, text) => control.set(Math.round(fine * Math.log10(v / low)), text) };
  }

  const number = (key, value) => make("b", { "data-number": key }, value);

  function figure(title) { // a picture or a curve with its title and a line below
    const content = make("div", { class: "explorer-box" }), caption = make("figcaption");
    return { content, caption, element: make("figure", {}, make("h3", {}, title), content, caption) };
  }

  function picture(title) {
    const part = figure(title), canvas = make("canvas", { role: "img", "aria-label": title });
    part.content.append(canvas);
    const show = (values, n, alt, caption, window = [0, 0, n]) => {
      paint(canvas, values, n, window);
      canvas.setAttribute("aria-label", alt);
      part.caption.replaceChildren(...caption);
    };
    return { ...part, canvas, show };
  }

  function curves(title) {
    const part = figure(title);
    part.content.className = "explorer-curves";
    const show = (options, caption) => {
      part.content.replaceChildren(plot({ width: part.content.clientWidth || 480, ...options }));
      part.caption.replaceChildren(...caption);
    };
    return { ...part, show };
  }

  // What a link holds, by name: each makes a value of a text, or undefined if there is none.
  const among = (values) => (text) => values.find((value) => `${value}` === text);
  const within = (low, high) => (text) =>
    (text && Number(text) >= low && Number(text) <= high ? Number(text) : undefined);
  const whole = (low, high) => (text) => (/^\d+$/.test(text) ? within(low, high)(text) : undefined);
  const pair = (low, high) => (text) => {
    const values = text.split(",").map(whole(low, high));
    return values.length === 2 && !values.includes(undefined) ? values : undefined;
  };

  // What all views have: controls in a form, parts below, a line of status, a note that is read aloud. The state has
  // `fields`, as above; `told` is the line below saved pictures, `python` gives the lines that recompute the view.
  function lay(root, { controls, actions = [], parts, help, kind, state, change, fields, told, python }) {
    const name = root.dataset.chapter, start = { ...state }, names = Object.keys(fields);
    const pictures = make("div", { class: `explorer-parts explorer-${kind}` }, ...parts.map((part) => part.element));
    const away = takeAway(root, { name, parts: () => [pictures], note: told, python,
      write: () => {
        const known = names.filter((key) => state[key] !== null);
        return `#${[`view=${name}`, ...known.map((key) => `${key}=${encodeURIComponent(state[key])}`)].join("&")}`;
      },
      read: (given) => {
        const known = names.filter((key) => given.get("view") === name && given.has(key));
        const values = known.map((key) => [key, fields[key](given.get(key))]);
        return Object.fromEntries(values.filter(([, value]) => value !== undefined));
      },
      restore: (values) => change({ ...start, ...values }), say: (text) => (status.textContent = text) });
    const reset = button("Reset", () => change(start));
    const buttons = [...actions, reset, away.save, away.toggle, ...away.links];
    const form = make("form", { class: "explorer-controls explorer-wide" },
      ...Object.values(controls).map(({ row }) => row),
      make("div", { class: "explorer-actions" }, ...buttons));
    form.addEventListener("submit", (event) => event.preventDefault());
    const status = make("p", { class: "explorer-status" });
    const note = make("p", { class: "explorer-note", "aria-live": "polite" });
    root.replaceChildren(form, away.box, pictures, status, make("p", { class: "explorer-help" }, help), note);
    Object.assign(state, away.given);
    setTimeout(away.arrive);
    return {
      reset,
      update: away.update,
      say: (text) => (status.textContent = text),
      read: (text) => (note.textContent = text),
    };
  }

  // Lines of Python that measure an image with the page's noise.
  const noisy = (image, lines, noise, seed) => `op = MaskedFourier(radial_mask(256, ${lines}))
x = ${image}
y = op.A(x)
noise = gaussian(op.mask, seed=${seed}).to(y.dtype)  # that of the page
y += ${noise} * y.norm() / noise.norm() * noise`;

  // --- Compressed sensing MRI -------------------------------------------------------------------------------------

  async function reconstruction(root, { image, own, table, seed, ...start }, changed) {
    const state = { ...start }, n = 256, MOST = 300;
    const x = Float32Array.from((await decode(image)).values, (value) => value / 255);
    const calibrated = () => lambda(100 * state.noise_rel, state.lines, table);
    const change = (values) => { Object.assign(state, values); changed(values); update(); };
    const controls = {
      lines: slider("Lines of the mask", 25, 80, 1, (lines) => change({ lines })),
      noise: logSlider("Noise level", NOISE, 50,
        (noise) => change({ noise_rel: Number((noise / 100).toPrecision(2)) })),
      lam: logSlider("Parameter λ", [1e-5, 1], 20, (lam) => change({ lam })),
      iterations: logSlider("Iterations", [1, MOST], 40, (value) => change({ iterations: Math.round(value) })),
    };
    const mask = picture("Mask"), truth = picture("Image"), zero = picture("Zero-filled"), tv = picture("TV");
    const error = curves("Relative error of TV");
    const best = button("Calibrated λ", () => change({ lam: null }));
    const page = lay(root, { controls, actions: [best], parts: [mask, truth, zero, tv, error],
      kind: "four", state, change, python,
      help: "The frequencies in black are measured. Pixels brighter than 1 are orange. The dashed lines mark the " +
        "number of iterations and the error of the zero-filled image.",
      fields: { lines: whole(25, 80), noise_rel: within(0.005, 0.2), lam: within(1e-5, 1), iterations: whole(1, MOST) },
      told: () => `Compressed sensing MRI: ${state.lines} lines, ${share(state.noise_rel)} noise, ` +
        `λ = ${three(state.lam ?? calibrated())}, ` +
        `${state.iterations} iterations` });
    const ask = solver(show);
    truth.show(x, n, "The image that is measured.", []);

    function update() {
      const lam = state.lam ?? calibrated();
      controls.lines.set(state.lines, `${state.lines}`);
      controls.noise.set(100 * state.noise_rel, share(state.noise_rel));
      controls.lam.set(lam, `${Number(lam.toPrecision(2))}${state.lam === null ? ", calibrated" : ""}`);
      controls.iterations.set(state.iterations, `${state.iterations}`);
      best.disabled = state.lam === null;
      page.update();
      root.dataset.done = "";
      ask({ kind: "reconstruct", n, image: x, seed, ...state, lam }).catch((reason) => page.say(reason.message));
    }

    function python() {
      const { lines, noise_rel, lam, iterations } = state;
      return `${own ? "" : "from lib.explorer import IMAGES\n"}from lib.explorer.draws import gaussian
from lib.measures import relative_error
from lib.operators import MaskedFourier, radial_mask
from lib.tv import ${lam === null ? "calibrated_lambda, " : ""}reconstruct_tv

${noisy(own ? "image  # yours" : 'IMAGES["ellipses"]()', lines, noise_rel, seed)}
lam = ${lam ?? `calibrated_lambda(${noise_rel}, ${lines})`}
zero = op.A_dagger(y)
tv = reconstruct_tv(y, op, lam, tol=1e-6, max_iter=${iterations}).image
for name, z in (("zero-filled", zero), ("TV", tv)):
    print(f"{name}: error = {relative_error(z, x):.1%}")`;
    }

    function show(answer, { id, lines, iterations }) {
      if (answer.error) return page.say(answer.error);
      const { zeroError, errors } = answer, tvError = errors[Math.min(iterations, errors.length) - 1];
      const factor = (n * n) / answer.m, text = (value) => `${(100 * value).toFixed(1)} %`;
      mask.show(Float32Array.from(answer.mask, (measured) => 1 - measured), n, `Mask of ${lines} lines.`,
        ["n²/m = ", number("factor", factor.toFixed(2))]);
      zero.show(answer.zero, n, `Zero-filled image, relative error ${text(zeroError)}.`,
        ["error ", number("zero", text(zeroError))]);
      tv.show(answer.tv, n, `TV reconstruction, relative error ${text(tvError)}.`,
        ["error ", number("tv", text(tvError))]);
      const points = errors.map((value, k) => [k + 1, value]), here = [[iterations, 0.001], [iterations, 1]];
      error.show({ label: `Relative error of TV against iterations: ${text(tvError)} after ${iterations}.`,
        x: { label: "iteration", range: [1, MOST], ticks: [1, 10, 100, 300], log: true },
        y: { range: [0.005, 1], ticks: [0.01, 0.1, 1], log: true },
        curves: [{ points }, { points: here, kind: "here" }], levels: [{ y: zeroError, text: "zero-filled" }] }, []);
      if (!answer.done) return;
      root.dataset.done = id;
      page.read(`Relative error: zero-filled ${text(zeroError)}, TV ${text(tvError)}.`);
    }

    update();
    return (values) => { Object.assign(state, values); update(); };
  }

  // --- The theory -------------------------------------------------------------------------------------------------

  async function theory(root, start, changed) {
    const state = { ...start }, most = () => Math.min(state.n - 1, 128);
    const change = (values) => {
      Object.assign(state, values);
      state.m = Math.min(state.m, most());
      changed({ ...values, m: state.m });
      update();
    };
    const controls = {
      n: slider("Length n", 6, 9, 1, (power) => change({ n: 2 ** power })),
      m: slider("Measurements m", 4, 128, 1, (m) => change({ m })),
      s: slider("Sparsity s", 2, 20, 1, (s) => change({ s })),
      seed: slider("Seed", 1, 50, 1, (seed) => change({ seed })),
      method: choice("Method", [["l1", "ℓ¹: spikes"], ["tv", "TV: jumps"]], (method) => change({ method })),
      zero: choice("0 in Ω", [[true, "measured"], [false, "not measured"]], (zero) => change({ zero })),
    };
    const signal = curves("Signal x"), perturbed = curves("With the perturbation, x + r");
    const found = curves("Recovered from y + e"), proof = curves("Certificates");
    const page = lay(root, { controls, parts: [signal, perturbed, found, proof], kind: "two", state, change, python,
      help: "e is the measurements of a spike at 0. Where a certificate stays below 1 off the support, the signal is " +
        "proved to be recovered. Real parts are shown.",
      fields: { n: among([64, 128, 256, 512]), m: whole(4, 128), s: whole(2, 20), seed: whole(1, 50),
        method: among(["l1", "tv"]),
        zero: among([true, false]) },
      told: () => `Exact recovery: ${state.method === "l1" ? `ℓ¹, ${state.s} spikes` : `TV, ${state.s} jumps`}, ` +
        `${state.m} of ${state.n} frequencies, ${state.zero ? "with" : "without"} 0, seed ${state.seed}` });
    state.m = Math.min(state.m, most());
    const ask = solver(show);

    function update() {
      controls.n.set(Math.log2(state.n), `${state.n}`);
      controls.m.row.querySelector("input").max = most();
      for (const name of ["m", "s", "seed"]) controls[name].set(state[name], `${state[name]}`);
      controls.method.set(state.method);
      controls.zero.set(state.zero);
      page.update();
      root.dataset.done = "";
      ask({ kind: "pursue", ...state }).catch((reason) => page.say(reason.message));
    }

    function python() {
      const { n, m, s, seed, method, zero } = state, tv = method === "tv",
        named = (value) => (value ? "True" : "False");
      return `from lib import theory
from lib.explorer.draws import problem
from lib.measures import amplification, peak

x, omega = problem(${n}, ${m}, ${s}, seed=${seed}, tv=${named(tv)}, zero=${named(zero)})
delta = theory.spike(${n})
solve, prove = theory.${tv ? "tv_pursuit" : "basis_pursuit"}, theory.${tv ? "certify_tv" : "certify_l1"}
before, after = [solve(theory.measure(z, omega), omega, ${n})
                 for z in (x, x + delta)]
r = theory.zero_filled(theory.measure(delta, omega), omega, ${n})
alpha = amplification(after.signal - before.signal, r, axes=1)
print(f"r = {peak(r, axes=1):.3g}")
print(f"alpha = {alpha:.3g}, n/m = {${n} / ${m}:.3g}")
for name, z, found in (("x", x, before), ("x + delta", x + delta, after)):
    proof = prove(z, omega)${tv && !zero ? "" : `
    if not proof.unique:  # then by the solver's dual vector
        proof = prove(z, omega, found.dual)`}
    print(f"{name}: off the support = {proof.off_support:.3f}")`;
    }

    function show(answer, { id, n, m, zero, method }) {
      if (answer.error) return page.say(answer.error);
      const { alpha, ratio, off, proved } = answer, half = n / 2, names = ["x", "x + δ"];
      const centred = (values) => Array.from({ length: n }, (_, k) => [k - half, values[(k + half) % n]]);
      const x = { label: "", range: [-half, half], ticks: [-half, 0, half] };
      const y = { range: [-2.2, 2.2], ticks: [-2, 0, 2] };
      const draw = (part, values, label, caption) =>
        part.show({ label, x, y, curves: [{ points: centred(values) }] }, caption);
      const verdicts = names.map((name, i) =>
        `${name}: ${off[i] < 1e-6 ? "recovered" : "not recovered"}${proved[i] ? ", proved" : ""}`);
      draw(signal, answer.x, `A signal with ${method === "l1" ? "spikes" : "jumps"}.`, [`n = ${n}, m = ${m}`]);
      draw(perturbed, answer.perturbed, "The signal with a small bump at 0, and ripples.",
        ["‖r‖", make("sub", {}, "∞"), " = m/n = ",
        number("r", three(1 / ratio))]);
      draw(found, answer.recovered, `What is recovered: ${verdicts[1]}. Amplification ${three(alpha)}.`,
        ["α = ", number("alpha", three(alpha)), ", n/m = ", number("ratio", three(ratio))]);
      const shown = answer.offSupport.map((value) => (Number.isFinite(value) ? value.toFixed(3) : "none"));
      const curve = (i, kind) => ({ points: centred(answer.curves[i]), kind });
      proof.show({ label: `Certificates, largest value off the support: ${shown[0]} for x, ${shown[1]} for x + δ.`, x,
        y: { range: [0, 1.5], ticks: [0, 0.5, 1, 1.5] }, curves: [curve(0, "second"), curve(1, "curve")],
        levels: [{ y: 1, text: "" }] }, ["off the support: ", make("span", { class: "explorer-second" }, "x "),
          number("before", shown[0]),
        make("span", { class: "explorer-first" }, ", x + δ "), number("after", shown[1])]);
      const missing = method === "tv" && !zero
        ? " Without the frequency 0 the mean of x is unknown: x + c is as good." : "";
      page.say(`${verdicts.join("; ")}.${missing}`);
      page.read(`${verdicts.join("; ")}. α = ${three(alpha)}.`);
      root.dataset.done = id;
    }

    update();
    return (values) => {
      Object.assign(state, values);
      if (state.m > most()) change({});
      else update();
    };
  }

  // --- The attack -------------------------------------------------------------------------------------------------

  const BLUE = [33, 102, 172], RED = [178, 24, 43];
  function paintSigned(canvas, values, n, { top, left, half }, limit) { // from blue to red, logarithmic but around 0
    const size = 2 * half, picture = new ImageData(size, size);
    canvas.width = canvas.height = size;
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = values[(top + i) * n + left + j], color = value < 0 ? BLUE : RED;
        const share = Math.min(Math.log(1 + (20 * Math.abs(value)) / limit) / Math.log(21), 1);
        picture.data.set([...color.map((c) => 255 + share * (c - 255)), 255], 4 * (i * size + j));
      }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  async function attack(root, { image, own, table, lines, ...start }, changed) {
    const state = { ...start }, n = 256, x = Float32Array.from((await decode(image)).values, (value) => value / 255);
    const change = (values) => { Object.assign(state, values); changed(values); update(); };
    const target = (values) => change({ ...values, step: null });
    const move = (k, value) => target({ mu: state.mu.map((c, i) => (i === k ? value : c)) });
    const controls = {
      noise: logSlider("Noise level", NOISE, 50,
        (noise) => target({ noise_rel: Number((noise / 100).toPrecision(2)) })),
      sigma: slider("Radius σ of the disk", 1, 15, 1, (sigma) => target({ sigma })),
      row: slider("Target μ, row", 0, n - 1, 1, (value) => move(0, value)),
      column: slider("Target μ, column", 0, n - 1, 1, (value) => move(1, value)),
      step: slider("Step", 0, STEPS, 1, (step) => change({ step })),
    };
    const before = picture("Perturbed, x + r"), after = picture("TV from y + e");
    const r = picture("r, enlarged"), rho = picture("ρ, enlarged");
    const climb = curves("Objective and peak by step");
    const page = lay(root, { controls, actions: [button("Best step", () => change({ step: null }))],
      kind: "four", state, change, python,
      parts: [before, after, r, rho, climb],
      help: "Click into a picture to move the target. Blue is negative, red positive, with the same colours for r " +
        "and ρ. The curves are what the ascent sees; the pictures and α are converged. The best step is the one with " +
        "the largest objective; only steps from 2 on count, because before that the solver lags behind.",
      fields: { noise_rel: within(0.005, 0.2), mu: pair(0, n - 1), sigma: whole(1, 15), step: whole(0, STEPS) },
      told: () => `Attack on TV: ${lines} lines, ${share(state.noise_rel)} noise, target at row ${state.mu[0]}, ` +
        `column ${state.mu[1]}, radius ${state.sigma}, ` +
        `${state.step === null ? "the best step" : `step ${state.step}`}` });
    const ask = solver(show);
    for (const part of [before, after]) {
      const mark = make("span", { class: "explorer-mark" });
      part.content.append(mark);
      part.content.classList.add("explorer-aim");
      part.mark = mark;
      part.canvas.addEventListener("click", (event) => {
        const box = part.canvas.getBoundingClientRect(), at = (v) => Math.min(Math.max(Math.floor(n * v), 0), n - 1);
        target({ mu: [at((event.clientY - box.top) / box.height), at((event.clientX - box.left) / box.width)] });
      });
    }
    before.show(x, n, "The image.", []);
    after.show(x, n, "The image.", []);

    function update() {
      controls.noise.set(100 * state.noise_rel, share(state.noise_rel));
      controls.sigma.set(state.sigma, `${state.sigma} px`);
      controls.row.set(state.mu[0], `${state.mu[0]}`);
      controls.column.set(state.mu[1], `${state.mu[1]}`);
      controls.step.set(state.step ?? STEPS, state.step === null ? "the best" : `${state.step}`);
      page.update();
      root.dataset.done = "";
      ask({ kind: "attack", n, image: x, lines, ...state, steps: STEPS,
        lam: lambda(100 * state.noise_rel, lines, table) })
        .catch((reason) => page.say(reason.message));
    }

    function python() {
      const { noise_rel, mu, sigma, step } = state, chosen = step !== null;
      return `${own ? "" : "from lib.explorer import IMAGES\n"}from lib.attack import ${
  chosen ? "Iterates, " : ""}disk_weight, fast_tv, localized_attack${chosen ? ", power_ascent" : ""}
from lib.operators import MaskedFourier, radial_mask
from lib.tv import calibrated_lambda
${chosen ? toStep(step) : ""}
op = MaskedFourier(radial_mask(256, ${lines}), real=True)
x = ${own ? "image  # yours" : 'IMAGES["ellipses"]()'}
y = op.A(x)
lam, eta = calibrated_lambda(${noise_rel}, ${lines}), ${noise_rel} * y.norm()
reconstruct = fast_tv(op, lam, eta, tol=1e-3)
phi = disk_weight(256, (${mu.join(", ")}), ${sigma})
attack = localized_attack(reconstruct, y, op, ${noise_rel}, phi${chosen ? ", optimiser=ascent" : ""})
r, rho = attack.image_perturbation.abs().max(), attack.artifact.abs().max()
print(f"r = {r:.3g}, rho = {rho:.3g}, alpha = {rho / r:.3g}")`;
    }

    function show(answer, { id, mu }) {
      if (answer.error) return page.say(answer.error);
      const { tried, steps, best, chosen } = answer;
      climb.show(...ascent(answer));
      if (!answer.done) return page.say(`Step ${tried.length - 1} of ${steps}`);
      controls.step.set(chosen, chosen === best ? `${chosen}, the best` : `${chosen}`);
      const artifact = answer.attacked.map((value, k) => value - answer.clean[k]);
      const peaks = [peak(answer.perturbation), peak(artifact)];
      const window = cornerOf(mu, n), part = (value) => `${(100 * value) / n}%`, size = part(2 * window.half);
      const where = `at row ${mu[0]}, column ${mu[1]}`, alpha = three(peaks[1] / peaks[0]);
      before.show(answer.perturbation.map((value, k) => value + x[k]), n,
        `The image with the perturbation ${where}.`, []);
      after.show(answer.attacked, n, `The TV reconstruction with an artifact ${where}, amplified ${alpha} times.`,
        ["α = ", number("alpha", alpha)]);
      for (const { mark } of [before, after])
        Object.assign(mark.style, { top: part(window.top), left: part(window.left), width: size, height: size });
      [[r, answer.perturbation, "r"], [rho, artifact, "ρ"]].forEach(([panel, values, name], i) => {
        paintSigned(panel.canvas, values, n, window, peaks[1]);
        panel.canvas.setAttribute("aria-label", `${name} around the target, peak ${three(peaks[i])}.`);
        panel.caption.replaceChildren(`‖${name}‖`, make("sub", {}, "∞"), " = ",
          number(name === "r" ? "r" : "rho", three(peaks[i])));
      });
      page.say("");
      page.read(`Step ${chosen}: peak of r ${three(peaks[0])}, of ρ ${three(peaks[1])}, α = ${alpha}.`);
      root.dataset.done = id;
    }

    update();
    return (values) => { Object.assign(state, values); update(); };
  }

  // --- The networks -------------------------------------------------------------------------------------------------

  const BRIGHT = 200; // the grey value of 1 in stored images, see lib.explorer.page

  async function networks(root, { table, levels, images, lines, seed, ...start }, changed) {
    const state = { ...start, tira: null }, n = 256;
    const [known, stored] = await Promise.all([load("images"), load("tirafl")]);
    const change = ({ tira = state.tira, ...values }) => { // once loaded, Tira stays
      Object.assign(state, values, { tira });
      changed(values);
      return update();
    };
    const controls = {
      noise: slider("Noise level", 0, levels.length - 1, 1, (k) => change({ noise_rel: levels[k] })),
      image: choice("Image", images.map((name) => [name, IMAGES[name]]), (image) => change({ image })),
    };
    const names = { zero: "Zero-filled", ...METHODS };
    const parts = Object.fromEntries(Object.entries(names).map(([key, name]) => [key, picture(name)]));
    const truth = picture("Image");
    const want = button("Load Tira (3 MB)", () => change({ tira: 1 }));
    const page = lay(root, { controls, actions: [want], parts: [truth, ...Object.values(parts)],
      kind: "three", state, change, python,
      help: "Zero-filled image, TV and Tira are computed in this page, from the same measurements. The images of " +
        "TiraFL were computed before and are stored. Pixels brighter than 1 are orange.",
      fields: { noise_rel: among(levels), image: among(images), tira: among([1]) },
      told: () => `Networks: ${IMAGES[state.image]}, ${lines} lines, ${share(state.noise_rel)} noise` });
    const text = (value) => `${(100 * value).toFixed(1)} %`, ask = solver(show);
    let weights = null, wanted = 0, trouble = "";
    const put = (key, image, error) => parts[key].show(image, n, `${names[key]}, relative error ${text(error)}.`,
      ["error ", number(key, text(error))]);
    parts.tira.canvas.setAttribute("aria-label", "Tira, not loaded yet.");
    parts.tira.caption.textContent = "not loaded";

    async function update() {
      controls.noise.set(levels.indexOf(state.noise_rel), share(state.noise_rel));
      controls.image.set(state.image);
      page.update();
      root.dataset.done = "";
      if (state.tira && !weights) await bring();
      const ticket = ++wanted, [picture, error] = stored[state.image][levels.indexOf(state.noise_rel)];
      const [x, fl] = await Promise.all([once(known[state.image][n]), decode(picture)]);
      if (ticket !== wanted) return;
      const image = Float32Array.from(x.values, (value) => value / 255);
      truth.show(image, n, `The image that is measured: ${IMAGES[state.image]}.`, []);
      put("tirafl", Float32Array.from(fl.values, (value) => value / BRIGHT), error);
      await ask({ kind: "compare", n, lines, image, seed, noise_rel: state.noise_rel, weights,
        lam: lambda(100 * state.noise_rel, lines, table) }).catch((reason) => page.say(reason.message));
    }

    async function bring() { // Tira
      page.say("Loading Tira");
      trouble = "";
      try {
        weights = await load("tira");
      } catch (error) {
        [state.tira, trouble] = [null, error.message];
        return page.update();
      }
      if (document.activeElement === want) page.reset.focus();
      want.hidden = true;
    }

    function show({ id, images, errors, error, done }) {
      if (error) return page.say(error);
      for (const key of Object.keys(images)) put(key, images[key], errors[key]);
      if (!done) return;
      root.dataset.done = id;
      page.say(trouble);
      const all = { ...errors, tirafl: stored[state.image][levels.indexOf(state.noise_rel)][1] };
      page.read(`Relative errors: ${Object.keys(all).map((key) => `${names[key]} ${text(all[key])}`).join(", ")}.`);
    }

    function python() {
      const { noise_rel, image } = state;
      return `from lib.explorer import IMAGES
from lib.explorer.draws import gaussian
from lib.measures import relative_error
from lib.networks import load_network
from lib.operators import MaskedFourier, radial_mask
from lib.tv import calibrated_lambda, reconstruct_tv

${noisy(`IMAGES["${image}"]()`, lines, noise_rel, seed)}
images = {
    "Zero-filled": op.A_dagger(y),
    "TV": reconstruct_tv(y, op, calibrated_lambda(${noise_rel}, ${lines})).image,
    "Tira": load_network("tira", "compact")(y),
    "TiraFL": load_network("tirafl", "compact")(y),
}
for name, z in images.items():
    print(f"{name}: error = {relative_error(z.abs(), x):.1%}")`;
    }

    await update();
    return (values) => { Object.assign(state, values); update(); };
  }

  const transfer = (...given) => explorerTransfer(...given, { lay, picture, figure, number, among }); // transfer.js
  explorerParts.add({ reconstruction, networks, attack, theory, transfer });
})();
