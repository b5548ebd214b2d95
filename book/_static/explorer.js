// The explorer in the page: sliders over precomputed frames, and a live mode that solves in a worker (solver.js).
//
// Every <div class="explorer" data-view="full|frames|small"> becomes one. The data come from classic scripts that
// book/_ext/explorer_page.py writes beside this one, for pages opened from a file may load nothing else: each sets an
// entry of explorerData. Pictures hold differences from the unperturbed images; see lib/runs/frames.py.
"use strict";

window.explorerData = {};

(() => {
  const HERE = new URL("explorer/", document.currentScript.src).href;
  const OVER = [213, 94, 0]; // lib.figures.style.OVER: beyond 1
  const METHODS = ["tv", "tira", "tirafl"];
  const NAMES = { tv: "TV", tira: "Tira", tirafl: "TiraFL" };
  const LIVE = { noise: [0.1, 20], lines: [25, 80], sigma: [0, 15] };
  const START = { mode: "frames", noise: 4, mu: [112, 80], e: "tv", lines: 40, sigma: 0, n: 256 };

  // --- data -------------------------------------------------------------------------------------------------------

  const scripts = new Map();
  function load(name) { // the entry `name` of explorerData
    if (!scripts.has(name)) {
      scripts.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${HERE}${name}.js`;
        script.onload = () => resolve(explorerData[name]);
        script.onerror = () => reject(new Error(`${name}.js is missing`));
        document.head.append(script);
      }));
    }
    return scripts.get(name);
  }

  async function decode(base64) { // grey values of a picture: { values, width }
    const image = new Image();
    image.src = `data:image/webp;base64,${base64}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const rgba = context.getImageData(0, 0, image.width, image.height).data;
    const values = new Uint8ClampedArray(rgba.length / 4);
    for (let i = 0; i < values.length; i++) values[i] = rgba[4 * i];
    return { values, width: image.width };
  }

  const decoded = new Map();
  function once(base64) { // decode, remembered: for the unperturbed images
    if (!decoded.has(base64)) decoded.set(base64, decode(base64));
    return decoded.get(base64);
  }

  // lib.explorer.live.page_lambda
  function lambda(noise, lines, { noises, masks, logs }) {
    const between = (x, xs, ys) => {
      let i = 0;
      while (i < xs.length - 2 && x > xs[i + 1]) i++;
      return ys[i] + ((ys[i + 1] - ys[i]) * Math.log(x / xs[i])) / Math.log(xs[i + 1] / xs[i]);
    };
    return Math.exp(between(lines, masks, logs.map((curve) => between(noise / 100, noises, curve))));
  }

  explorerData.lambda = lambda; // for the tests

  // --- pictures ---------------------------------------------------------------------------------------------------

  function paint(canvas, values, n, [top, left, size]) { // a square of the n x n values, as lib.figures.style.show_image
    canvas.width = canvas.height = size;
    const picture = new ImageData(size, size);
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = Math.abs(values[(top + i) * n + left + j]), at = 4 * (i * size + j), grey = 255 * value;
        for (let c = 0; c < 3; c++) picture.data[at + c] = value > 1 ? OVER[c] : grey;
        picture.data[at + 3] = 255;
      }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  function cornerOf(mu, n) { // of the close-up around mu, and half its side
    const half = Math.floor(n / 20), inside = (c) => Math.min(Math.max(c, half), n - half);
    return { half, top: inside(mu[0]) - half, left: inside(mu[1]) - half };
  }

  // The eight pictures of a frame: tile k of the sheet of differences on its unperturbed image.
  const TILES = { "r tv": 0, "tv tv": 1, "tv tira": 2, "tv tirafl": 3, "r tira": 4, "tira tira": 5, "r tirafl": 6, "tirafl tirafl": 7 };

  async function frame(noise, mu) {
    const [page, clean, row] = await Promise.all([load("page"), load(`level-${noise}`), load(`level-${noise}-${mu[0]}`)]);
    const [x, cleans, whole, close] = await Promise.all([once(page.x256), once(clean), ...row[mu[1]].map(decode)]);
    const n = x.width, { half, top, left } = cornerOf(mu, n);
    return (what) => {
      const k = TILES[what], [target, method] = what.split(" "), out = new Float32Array(n * n);
      const base = target === "r" ? x : cleans, shift = target === "r" ? 0 : n * METHODS.indexOf(method);
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          const near = i >= top && i < top + 2 * half && j >= left && j < left + 2 * half;
          const code = near
            ? close.values[(i - top) * close.width + 2 * half * k + j - left]
            : whole.values[((k >> 2) * n + i) * whole.width + (k % 4) * n + j];
          out[i * n + j] = base.values[i * base.width + shift + j] / 255 + (code - 128) / 100;
        }
      return out;
    };
  }

  // --- small helpers for the document -----------------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in element && typeof value !== "string") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  let count = 0;
  function slider(label, min, max, step, oninput) { // { row, set(value, text) }
    const id = `explorer-${count++}`, input = make("input", { id, type: "range", min: `${min}`, max: `${max}`, step: `${step}` });
    const output = make("output", { for: id });
    input.addEventListener("input", () => oninput(Number(input.value)));
    const row = make("div", { class: "explorer-slider" }, make("label", { for: id }, label), input, output);
    const set = (value, text) => {
      input.value = value;
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
    };
    return { row, set };
  }

  function choice(legend, options, onchange) { // { row, set(value) }: radio buttons
    const name = `explorer-${count++}`, inputs = new Map(), row = make("fieldset", {}, make("legend", {}, legend));
    for (const [value, text] of options) {
      const input = make("input", { type: "radio", name, value: `${value}` });
      input.addEventListener("change", () => onchange(value));
      inputs.set(value, input);
      row.append(make("label", {}, input, text));
    }
    return { row, set: (value) => (inputs.get(value).checked = true) };
  }

  const percent = (noise) => `${noise} %`;
  const three = (value) => Number(value.toPrecision(3)).toString();

  // --- state and its link -----------------------------------------------------------------------------------------

  function readLink() {
    const given = new URLSearchParams(location.hash.slice(1)), state = {};
    const number = (name, [low, high]) => {
      const value = Number(given.get(name));
      if (given.get(name) && value >= low && value <= high) state[name] = value;
    };
    if (given.get("mode") === "live") state.mode = "live";
    number("noise", LIVE.noise);
    number("lines", LIVE.lines);
    number("sigma", LIVE.sigma);
    if (["128", "256"].includes(given.get("n"))) state.n = Number(given.get("n"));
    if (given.get("e") === "own") state.e = "own";
    const mu = (given.get("mu") || "").split(",").map(Number);
    if (mu.length === 2 && mu.every((c) => Number.isInteger(c) && c >= 0 && c < 256)) state.mu = mu;
    return state;
  }

  function writeLink(state) {
    const given = [`noise=${state.noise}`, `mu=${state.mu}`];
    if (state.mode === "live")
      given.push("mode=live", ...["lines", "sigma", "n"].filter((k) => state[k] !== START[k]).map((k) => `${k}=${state[k]}`));
    else if (state.e !== START.e) given.push(`e=${state.e}`);
    return `#${given.join("&")}`;
  }

  // --- the explorer -----------------------------------------------------------------------------------------------

  async function explore(root) {
    const view = root.dataset.view, page = await load("page");
    const state = { ...START, ...readLink() };
    const nearest = (value, list) => list.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
    const live = () => state.mode === "live";
    let solver, job = 0, drawn = Promise.resolve(), wanted = 0;

    function tidy() { // bring the state to what the mode offers
      if (!parts.live.length) state.mode = "frames";
      if (live()) {
        state.lines = Math.round(state.lines);
        return;
      }
      state.noise = nearest(state.noise, page.levels);
      state.mu = state.mu.map((c) => nearest(c, page.locations));
    }

    // controls; sliders count steps where values are not evenly spaced
    const logNoise = (step) => Number((LIVE.noise[0] * 10 ** (step / 100)).toPrecision(2));
    const change = (values) => { Object.assign(state, values); update(); };
    const grid = (k, step) => change({ mu: state.mu.map((c, i) => (i === k ? page.locations[step] : c)) });
    const pixel = (k, value) => change({ mu: state.mu.map((c, i) => (i === k ? value : c)) });
    const last = page.locations.length - 1;
    const controls = {
      mode: choice("Mode", [["frames", "TV and networks, computed before"], ["live", "TV, live in your browser"]],
        (mode) => change({ mode })),
      e: choice("Perturbation", [["tv", "made for TV, shown to all"], ["own", "made for each method"]], (e) => change({ e })),
      level: slider("Noise level", 0, page.levels.length - 1, 1, (i) => change({ noise: page.levels[i] })),
      noise: slider("Noise level", 0, Math.round(100 * Math.log10(LIVE.noise[1] / LIVE.noise[0])), 1,
        (step) => change({ noise: logNoise(step) })),
      row: slider("Target, row", 0, last, 1, (i) => grid(0, i)),
      column: slider("Target, column", 0, last, 1, (i) => grid(1, i)),
      rowLive: slider("Target, row", 0, 255, 1, (value) => pixel(0, value)),
      columnLive: slider("Target, column", 0, 255, 1, (value) => pixel(1, value)),
      lines: slider("Lines of the mask", ...LIVE.lines, 1, (lines) => change({ lines })),
      sigma: slider("Radius of the bump", ...LIVE.sigma, 1, (sigma) => change({ sigma })),
      n: choice("Pixels", [[128, "128 × 128"], [256, "256 × 256"]], (n) => change({ n })),
    };
    const parts = {
      full: { frames: ["mode", "e", "level", "row", "column"], live: ["mode", "noise", "rowLive", "columnLive", "lines", "sigma", "n"] },
      frames: { frames: ["e", "level", "row", "column"], live: [] },
      small: { frames: ["level", "row", "column"], live: [] },
    }[view];
    const used = [...new Set([...parts.frames, ...parts.live])];
    const link = make("a", { class: "explorer-link" }, "Link to this view");
    const reset = make("button", { type: "button" }, "Reset");
    reset.addEventListener("click", () => change(START));
    const form = make("form", { class: "explorer-controls" }, ...used.map((name) => controls[name].row),
      make("div", { class: "explorer-actions" }, reset, link));
    form.addEventListener("submit", (event) => event.preventDefault());

    function showControls() {
      for (const name of used) controls[name].row.hidden = !parts[state.mode].includes(name);
      controls.mode.set(state.mode);
      controls.e.set(state.e);
      controls.n.set(state.n);
      controls.level.set(page.levels.indexOf(state.noise), percent(state.noise));
      controls.noise.set(Math.round(100 * Math.log10(state.noise / LIVE.noise[0])), percent(state.noise));
      for (const [name, k] of [["row", 0], ["column", 1]]) {
        controls[name].set(page.locations.indexOf(state.mu[k]), `${state.mu[k]}`);
        controls[`${name}Live`].set(state.mu[k], `${state.mu[k]}`);
      }
      controls.lines.set(state.lines, `${state.lines}`);
      controls.sigma.set(state.sigma, `${state.sigma} px`);
      link.href = writeLink(state);
    }

    // panels: columns of pictures with a line of numbers below
    const panels = make("div", { class: "explorer-panels" }), note = make("p", { class: "explorer-note", "aria-live": "polite" });
    const status = make("p", { class: "explorer-status" });
    let columns = [], layout = "";

    function setLayout() {
      const wanted = live() ? ["x", "tv", "clean"] : view === "small" ? ["tv"] : METHODS;
      if (layout === wanted.join()) return;
      layout = wanted.join();
      columns = wanted.map((name) => {
        const title = make("h3", {}), numbers = make("p", { class: "explorer-numbers" });
        const pictures = Array.from({ length: live() ? 1 : 2 }, makePicture);
        return { name, title, pictures, numbers, element:
          make("div", { class: "explorer-column" }, title, ...pictures.map((p) => p.element), numbers) };
      });
      panels.className = `explorer-panels explorer-${live() ? "live" : view === "small" ? "small" : "full"}`;
      panels.replaceChildren(...columns.map((column) => column.element));
    }

    function makePicture() {
      const canvas = make("canvas", { role: "img" }), close = make("canvas", { class: "explorer-close", "aria-hidden": "true" });
      const mark = make("span", { class: "explorer-mark" }), caption = make("figcaption");
      const box = make("div", { class: "explorer-box" }, canvas, mark, close);
      canvas.addEventListener("click", (event) => point(event, canvas)); // a swipe that scrolls the page is none
      canvas.addEventListener("pointermove", (event) => event.buttons && event.pointerType === "mouse" && point(event, canvas));
      return { element: make("figure", {}, box, caption), canvas, close, mark, caption };
    }

    function point(event, canvas) { // a click sets the target
      const box = canvas.getBoundingClientRect(), at = (value) => Math.min(Math.max(Math.floor(256 * value), 0), 255);
      change({ mu: [at((event.clientY - box.top) / box.height), at((event.clientX - box.left) / box.width)] });
    }

    function draw(picture, values, n, mu, caption, alt) {
      const { half, top, left } = cornerOf(mu, n), part = (value) => `${(100 * value) / n}%`;
      paint(picture.canvas, values, n, [0, 0, n]);
      paint(picture.close, values, n, [top, left, 2 * half]);
      Object.assign(picture.mark.style, { top: part(top), left: part(left), width: part(2 * half), height: part(2 * half) });
      picture.close.style.inset = `${mu[0] < n / 2 ? "auto" : "2%"} ${mu[1] < n / 2 ? "2%" : "auto"} ${mu[0] < n / 2 ? "2%" : "auto"} ${mu[1] < n / 2 ? "auto" : "2%"}`;
      picture.caption.textContent = caption;
      picture.canvas.setAttribute("aria-label", alt);
    }

    function showNumbers(column, { r, rho, alpha }) {
      const row = (name, sign, key, value) => `<span>${name} ${sign}</span> <b data-number="${key}">${value}</b>`;
      column.numbers.innerHTML = row("Perturbation", "‖<i>r</i>‖<sub>∞</sub>", "r", r) +
        row("Artifact", "‖<i>ρ</i>‖<sub>∞</sub>", "rho", rho) + row("Amplification", "<i>α</i>", "alpha", alpha);
    }

    async function showFrame(ticket) {
      const { noise, mu, e } = state, [i, j] = mu.map((c) => page.locations.indexOf(c));
      const picture = await frame(noise, mu);
      if (ticket !== wanted || live()) return;
      const numbers = page.numbers[page.levels.indexOf(noise)][i * page.locations.length + j], said = [];
      for (const column of columns) {
        const target = e === "own" ? column.name : "tv", values = numbers[`${target} ${column.name}`];
        const where = `at ${percent(noise)} noise, target row ${mu[0]}, column ${mu[1]}`, name = NAMES[column.name];
        column.title.textContent = column.name === "tv" ? name : `${name} (${page.preset})`;
        draw(column.pictures[0], picture(`r ${target}`), 256, mu, `x + r, made for ${NAMES[target]}`,
          `The image with the perturbation made for ${NAMES[target]} ${where}. Peak of the perturbation: ${values.r}.`);
        draw(column.pictures[1], picture(`${target} ${column.name}`), 256, mu, `${name} from y + e`,
          `${name} reconstruction under attack ${where}. Peak of the artifact: ${values.rho}, ${values.alpha} times that of the perturbation.`);
        showNumbers(column, values);
        said.push(`${name}: α = ${values.alpha}`);
      }
      status.textContent = "";
      note.textContent = said.join(", ");
      root.dataset.shown = writeLink(state);
    }

    function showLive(answer, asked) {
      const { n, mu, noise } = asked, peak = (a, b) => a.reduce((m, v, i) => Math.max(m, Math.abs(v - (b ? b[i] : 0))), 0);
      const r = peak(answer.perturbation), rho = peak(answer.attacked, answer.clean), [first, attacked, clean] = columns;
      const where = `at ${percent(noise)} noise, target row ${state.mu[0]}, column ${state.mu[1]}`;
      const numbers = { r: three(r), rho: three(rho), alpha: three(rho / r) };
      first.title.textContent = "Perturbed image";
      clean.title.textContent = "TV, unperturbed";
      attacked.title.textContent = "TV, perturbed";
      draw(first.pictures[0], answer.perturbation.map((v, i) => v + asked.image[i]), n, mu, "x + r",
        `The image with the measurements of a bump added ${where}. Peak of the perturbation: ${numbers.r}.`);
      draw(clean.pictures[0], answer.clean, n, mu, "rec(y)", "TV reconstruction without perturbation.");
      draw(attacked.pictures[0], answer.attacked, n, mu, "rec(y + e)",
        `TV reconstruction under attack ${where}. Peak of the artifact: ${numbers.rho}, ${numbers.alpha} times that of the perturbation.`);
      showNumbers(attacked, numbers);
      status.textContent = `${answer.done ? "Done" : "Solving"}: ${answer.iterations} iterations, ${answer.seconds.toFixed(2)} s`;
      note.textContent = answer.done ? `α = ${numbers.alpha}` : "";
      root.dataset.done = answer.done ? job : "";
    }

    async function startLive(ticket) {
      const image = await once(page[`x${state.n}`]), text = await load("worker");
      if (ticket !== wanted || !live()) return;
      if (!solver) {
        solver = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        solver.onmessage = ({ data }) => {
          if (data.id !== job || !live()) return;
          if (data.error) status.textContent = data.error;
          else showLive(data, solver.asked);
        };
      }
      const { n, lines, sigma } = state, mu = state.mu.map((c) => Math.floor((c * n) / 256));
      const asked = { id: ++job, n, lines, sigma, mu, noise: state.noise, lam: lambda(state.noise, lines, page.lambda) };
      asked.image = Float32Array.from(image.values, (value) => value / 255);
      solver.asked = asked;
      root.dataset.done = "";
      solver.postMessage({ ...asked, noise: asked.noise / 100 });
    }

    let later;
    function update() {
      tidy();
      setLayout();
      showControls();
      clearTimeout(later);
      later = setTimeout(() => history.replaceState(null, "", writeLink(state)), 300);
      const ticket = ++wanted;
      drawn = (live() ? startLive(ticket) : showFrame(ticket)).catch((error) => (status.textContent = `${error.message}`));
      return drawn;
    }

    root.replaceChildren(form, panels, status, note);
    const linked = Object.keys(readLink()).length > 0;
    tidy();
    setLayout();
    showControls();
    await (live() ? startLive(++wanted) : showFrame(++wanted));
    root.dataset.ready = "true";
    performance.mark("explorer");
    if (linked) root.scrollIntoView();
    window.addEventListener("hashchange", () => {
      if (Object.keys(readLink()).length) change({ ...START, ...readLink() });
    });
    if (!live()) prefetch();

    async function prefetch() { // what the sliders lead to: this row's levels, then everything
      for (const row of [state.mu[0], ...page.locations])
        for (const noise of page.levels) {
          await new Promise((next) => (window.requestIdleCallback || setTimeout)(next));
          if (view !== "small" || row === state.mu[0]) await load(`level-${noise}-${row}`);
        }
    }
  }

  document.querySelectorAll(".explorer").forEach((root) => explore(root).catch((error) => console.error(error)));
})();
