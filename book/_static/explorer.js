// The explorer: sliders over precomputed frames, and a live mode that solves in a worker (solver.js).
//
// Its state is that of lib.explorer.Explorer. Pictures of frames hold differences from the unperturbed images; see
// lib/runs/frames.py.
"use strict";

(() => {
  const { METHODS: NAMES, IMAGES, STEPS, load, decode, once, lambda, paint, cornerOf, make, slider, choice, button,
    percent, three, peak, plot, solver, ascent, download, takeAway, toStep } = explorerParts;
  const METHODS = Object.keys(NAMES);
  const FEATURES = { attack: "Attack", spike: "Spike", disc: "Disc", bar: "Bar", letter: "Letter A", erase: "Erase",
    paint: "Paint" };
  const LIVE = { noise: [0.1, 20], lines: [25, 80], size: [0, 15] };
  const TITLES = { x: "Perturbed image", clean: "TV, unperturbed", tv: "TV, perturbed",
    "tira clean": "Tira, unperturbed", tira: "Tira, perturbed" }; // of the live mode
  const HARDLY = 0.02; // of the grey values: a detail that is hardly seen
  const PHANTOM = "ellipses", TRAINED = { lines: 40, n: 256 }; // of the frames; of the networks
  const WHY = "Frames were computed for the first image only.";
  const ATTACK = "The ascent on objective (6) for the disk around the target, from the spike on. The curves are what " +
    "the ascent sees; the pictures and α are converged. Of two steps, the one with the largest objective and the one " +
    "with the highest peak, the best step is the one whose converged artifact is higher. Only steps from 2 on count, " +
    "because before that the solver lags behind.";
  const ANY = " The live mode takes any pixel.";
  const NOTHING = "There is next to nothing to erase here: the image is already smooth.";
  const TOO_MUCH = "This noise level takes out more than the detail. “Find the lowest noise level for TV” finds the " +
    "level at which just the detail goes.";
  const THEORY = "From enough frequencies TV recovers an image with few edges exactly. With one more bright pixel it " +
    "still has few edges, so that pixel comes back at full height; in <i>x</i> + <i>r</i> it is only " +
    "<i>m</i>/<i>n</i><sup>2</sup> as bright.";
  const TIRA = "Tira is computed in this page, too. It was trained for the mask of 40 lines.";
  const HELP = "The perturbation is the measurements of the feature d, scaled to the noise level. The feature is " +
    "shown in full, 100 %, when the artifact has its brightness on average: ⟨ρ, d⟩ = ‖d‖².";
  const STROKES = /^(\d{1,2}_-?\d{1,2}_([\da-f]{4})+(\.|$))+$/, MOST_PAINT = 4000; // letters that a link may hold

  // --- features: lib.explorer.features ----------------------------------------------------------------------------

  const LETTER = [".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"];

  function draft({ feature, size, mu: [a, b], paint }, n, image) { // n x n values; mu counts their pixels
    if (feature === "paint") return strokes(paint, n);
    const near = (i, j) => (i - a) ** 2 + (j - b) ** 2 <= Math.max(size, 0.5) ** 2, cell = 1 + Math.floor(size / 3);
    const [top, left] = [a - Math.floor((7 * cell) / 2), b - Math.floor((5 * cell) / 2)];
    const value = {
      spike: (i, j) => i === a && j === b,
      disc: near,
      bar: (i, j) => Math.abs(i - a) <= Math.floor(size / 4) && Math.abs(j - b) <= size,
      letter: (i, j) => LETTER[Math.floor((i - top) / cell)]?.[Math.floor((j - left) / cell)] === "#",
    }[feature];
    if (feature === "erase") return filling(image, n, [a, b], Math.max(size, 0.5));
    return Float32Array.from({ length: n * n }, (_, k) => value(Math.floor(k / n), k % n));
  }

  function filling(image, n, mu, radius) { // less what is there: Poisson's kernel over the rim, normalised
    const within = (r) => [...Array(n * n).keys()].filter((k) =>
      (Math.floor(k / n) - mu[0]) ** 2 + ((k % n) - mu[1]) ** 2 <= r ** 2);
    const inside = within(radius), disc = new Set(inside), rim = within(radius + 1).filter((k) => !disc.has(k));
    const out = new Float32Array(n * n);
    for (const k of inside) {
      let sum = 0, all = 0;
      for (const l of rim) {
        const weight = 1 / ((Math.floor(k / n) - Math.floor(l / n)) ** 2 + ((k % n) - (l % n)) ** 2);
        sum += weight * image[l];
        all += weight;
      }
      const d = sum / all - image[k];
      if (Math.abs(d) > 1e-6) out[k] = d; // else rounding
    }
    return out;
  }

  function strokes(text, n) { // RADIUS_VALUE_POINTS.RADIUS_VALUE_POINTS: see lib.explorer.features.strokes
    const out = new Float32Array(n * n);
    for (const stroke of text ? text.split(".") : []) {
      const [radius, value, digits] = stroke.split("_"), r = Math.max((radius * n) / 256, 0.5);
      const points = digits.match(/.{4}/g).map((p) => [parseInt(p.slice(0, 2), 16), parseInt(p.slice(2), 16)]);
      points.forEach((end, index) => {
        const start = points[Math.max(index - 1, 0)], steps = Math.max(...end.map((c, i) => Math.abs(c - start[i])), 1);
        for (let k = 0; k <= steps; k++) {
          const between = end.map((c, i) => Math.floor(start[i] + ((c - start[i]) * k) / steps + 0.5));
          const [a, b] = between.map((c) => Math.floor((c * n) / 256));
          for (let i = Math.max(a - Math.floor(r), 0); i <= Math.min(a + r, n - 1); i++)
            for (let j = Math.max(b - Math.floor(r), 0); j <= Math.min(b + r, n - 1); j++)
              if ((i - a) ** 2 + (j - b) ** 2 <= r * r) out[i * n + j] = value / 10;
        }
      });
    }
    return out;
  }

  function extent({ feature, size }) { // of what `draft` draws, in words
    const cell = 1 + Math.floor(size / 3);
    if (feature === "bar") return `${2 * size + 1} × ${2 * Math.floor(size / 4) + 1} px`;
    return feature === "letter" ? `${5 * cell} × ${7 * cell} px` : `radius ${size} px`;
  }

  explorerData.draft = draft; // for the tests

  const byte = (c) => c.toString(16).padStart(2, "0");

  // --- the reader's picture ---------------------------------------------------------------------------------------

  async function readPicture(file) { // the square in its middle as 256 x 256 grey values: a PNG as base64
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error("The browser cannot read this file as a picture.");
    });
    const side = Math.min(picture.width, picture.height), canvas = make("canvas", { width: 256, height: 256 });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, 256, 256);
    const rgba = context.getImageData(0, 0, 256, 256).data;
    const light = (at) => Math.round(0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2]);
    const values = Float32Array.from({ length: 65536 }, (_, i) => light(4 * i) / 255);
    if (!values.some(Boolean)) throw new Error("This picture is black: there is nothing to measure.");
    paint(canvas, values, 256, [0, 0, 256]);
    return canvas.toDataURL("image/png").split(",")[1];
  }

  async function pictureOf({ image, picture, n }) { // n x n values
    const { values } = await once(image === "own" ? picture : (await load("images"))[image][n]);
    const grey = image !== "own" || n === 256 ? values : Uint8Array.from({ length: n * n }, (_, k) => {
      const i = 4 * n * Math.floor(k / n) + 2 * (k % n); // lib.explorer.images.smaller
      return (values[i] + values[i + 1] + values[i + 2 * n] + values[i + 2 * n + 1] + 2) >> 2;
    });
    return Float32Array.from(grey, (value) => value / 255);
  }

  // --- pictures ---------------------------------------------------------------------------------------------------

  // The eight pictures of a frame: tile k of the sheet of differences on its unperturbed image.
  const TILES = { "r tv": 0, "tv tv": 1, "tv tira": 2, "tv tirafl": 3, "r tira": 4, "tira tira": 5, "r tirafl": 6,
    "tirafl tirafl": 7 };

  async function frame(noise, mu) {
    const names = ["page", `level-${noise}`, `level-${noise}-${mu[0]}`];
    const [page, clean, row] = await Promise.all(names.map(load));
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

  // --- state and its link -----------------------------------------------------------------------------------------

  function readLink(given) {
    const state = {};
    const number = (name, [low, high]) => {
      const value = Number(given.get(name));
      if (given.get(name) && value >= low && value <= high) state[name] = value;
    };
    if (given.get("mode") === "live") state.mode = "live";
    if (given.get("tira") === "1") state.tira = true;
    number("noise", LIVE.noise);
    for (const name of ["lines", "size"]) number(name, LIVE[name]);
    for (const name of ["step", "steps"]) if (/^[0-5]$/.test(given.get(name))) state[name] = Number(given.get(name));
    for (const [name, options] of [["image", IMAGES], ["feature", FEATURES]])
      if (Object.hasOwn(options, given.get(name))) state[name] = given.get(name);
    if (STROKES.test(given.get("paint")) && given.get("paint").length <= MOST_PAINT) state.paint = given.get("paint");
    if (["128", "256"].includes(given.get("n"))) state.n = Number(given.get("n"));
    if (given.get("e") === "own") state.made_for = "networks";
    const mu = (given.get("mu") || "").split(",").map(Number);
    if (mu.length === 2 && mu.every((c) => Number.isInteger(c) && c >= 0 && c < 256)) state.mu = mu;
    return state;
  }

  function writeLink(state, start) {
    const given = [`noise=${state.noise}`, `mu=${state.mu}`], live = state.mode === "live";
    if (live) given.push("mode=live", ...(state.tira ? ["tira=1"] : []));
    if (state.made_for !== "tv") given.push("e=own");
    const told = live ? ["image", "lines", "n", "feature", "size", "step", "steps", "paint"] : [];
    for (const name of told)
      if (state[name] !== start[name] && state[name] !== "own")
        given.push(`${name}=${encodeURIComponent(state[name])}`);
    return `#${given.join("&")}`;
  }

  // Between the state and the traits of lib.explorer.Explorer.
  const fromTraits = ({ noise_rel: share, ...rest }) =>
    ({ ...rest, ...(share && { noise: Number((100 * share).toPrecision(4)) }) });
  const toTraits = ({ noise, ...rest }) => ({ ...rest, noise_rel: Number((noise / 100).toPrecision(4)) });

  // --- the explorer -----------------------------------------------------------------------------------------------

  async function explorer(root, { methods, ...given }, changed) {
    const page = await load("page"), whole = methods.length === METHODS.length; // else without the live mode
    const START = fromTraits(given), state = { ...START };
    const nearest = (value, list) => list.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
    const live = () => state.mode === "live", attacks = () => live() && state.feature === "attack";
    const onTira = () => attacks() && state.tira && state.made_for === "networks";
    const places = page.locations.length ** 2;
    const grids = `The target is one of ${places} places, computed before. A click goes to the nearest.`;
    const pixelOf = (mu) => mu.map((c) => Math.floor((c * state.n) / 256)); // which covers mu
    let sent = toTraits(START), wanted = 0, search = null;
    let reached = null; // known steps of the ascent on Tira

    function tidy() { // bring the state to what the mode offers
      if (!whole) Object.assign(state, { mode: "frames", image: PHANTOM });
      if (state.image !== PHANTOM) state.mode = "live";
      if (state.step > state.steps) state.steps = STEPS;
      if (live()) {
        for (const name of ["lines", "size"]) state[name] = Math.round(state[name]);
        if (state.tira) Object.assign(state, TRAINED);
        return;
      }
      state.noise = nearest(state.noise, page.levels);
      state.mu = state.mu.map((c) => nearest(c, page.locations));
    }

    // controls; sliders count steps where values are not evenly spaced
    const logNoise = (step) => Number((LIVE.noise[0] * 10 ** (step / 100)).toPrecision(2));
    const change = (values, known = null) => {
      Object.assign(state, { step: null, steps: STEPS }, search && { noise: search.from }, values);
      reached = known;
      result.textContent = search ? "Search stopped." : "";
      search = null;
      update();
    };
    const again = (step) => change({ step, steps: state.steps }, reached); // of the same ascent
    const grid = (k, step) => change({ mu: state.mu.map((c, i) => (i === k ? page.locations[step] : c)) });
    const pixel = (k, value) => change({ mu: state.mu.map((c, i) => (i === k ? value : c)) });
    const last = page.locations.length - 1, NOISES = Math.round(100 * Math.log10(LIVE.noise[1] / LIVE.noise[0]));
    const controls = {
      mode: choice("Mode",
        [["frames", "TV and networks, computed before"], ["live", "TV and Tira, live in your browser"]],
        (mode) => change({ mode })),
      made_for: choice("Perturbation", [["tv", "made for TV, shown to all"], ["networks", "made for each method"]],
        (made_for) => change({ made_for })),
      target: choice("Attack on", [["tv", "TV"], ["networks", "Tira"]], (made_for) => change({ made_for })),
      level: slider("Noise level", 0, page.levels.length - 1, 1, (i) => change({ noise: page.levels[i] })),
      image: choice("Image", [...Object.entries(IMAGES), ["own", "Yours"]], (image) => change({ image })),
      feature: choice("Artifact", Object.entries(FEATURES), (feature) => change({ feature })),
      noise: slider("Noise level", 0, NOISES, 1, (step) => change({ noise: logNoise(step) })),
      row: slider("Target, row", 0, last, 1, (i) => grid(0, i)),
      column: slider("Target, column", 0, last, 1, (i) => grid(1, i)),
      rowLive: slider("Target, row", 0, 255, 1, (value) => pixel(0, value)),
      columnLive: slider("Target, column", 0, 255, 1, (value) => pixel(1, value)),
      lines: slider("Lines of the mask", ...LIVE.lines, 1, (lines) => change({ lines })),
      size: slider("Size", ...LIVE.size, 1, (size) => change({ size })),
      radius: slider("Disk radius", 1, LIVE.size[1], 1, (size) => change({ size })),
      step: slider("Step", 0, STEPS, 1, again),
      value: slider("Brush, grey value", -1, 1, 0.1, (value) => change({ value })),
      painting: { row: make("div", { class: "explorer-actions" }, button("Dab at the target", () => stroke(state.mu)),
        button("Undo", () => change({ paint: state.paint.split(".").slice(0, -1).join(".") })),
        button("Clear", () => change({ paint: "" }))) },
      n: choice("Pixels", [[128, "128 × 128"], [256, "256 × 256"]], (n) => change({ n })),
    };
    const parts = whole
      ? { frames: ["mode", "image", "made_for", "level", "row", "column"],
        live: ["mode", "image", "feature", "noise", "rowLive", "columnLive", "size", "radius", "step", "value", "lines",
          "target", "painting", "n"] }
      : { frames: ["level", "row", "column"], live: [] };
    const used = [...new Set([...parts.frames, ...parts.live])];
    const away = takeAway(root, { name: "explorer", parts: () => [panels, climb], note: settings, python: pythonText,
      read: readLink, write: () => writeLink(state, START), restore: (values) => change({ ...START, ...values }),
      say: (text) => (status.textContent = text) });
    Object.assign(state, away.given);
    const file = make("input", { type: "file", accept: "image/png, image/jpeg" });
    file.addEventListener("change", () => file.files.length && readPicture(file.files[0]).then(
      (picture) => change({ image: "own", picture }), (error) => (status.textContent = error.message)));
    const stays = "Your picture, PNG or JPEG; it stays in this page:";
    controls.image.row.append(make("label", { class: "explorer-file" }, stays, file));
    const why = make("p", { class: "explorer-help" }, WHY);
    controls.image.row.append(why);
    const find = button("Find the lowest noise level for TV", startSearch), result = make("output");
    const saveOwn = button("Save your image", saveImage);
    const best = button("Best step", () => again(null)), stop = button("Stop", stopOrGoOn);
    const tira = button("Load Tira (3 MB)", async () => {
      status.textContent = "Loading Tira";
      root.dataset.done = "";
      await load("tira").then(() => change({ tira: !state.tira }), (error) => (status.textContent = error.message));
    });
    const tools = whole ? [best, stop, tira, away.save, saveOwn, away.toggle, ...away.links, find, result] : away.links;
    const form = make("form", { class: "explorer-controls" }, ...used.map((name) => controls[name].row),
      make("div", { class: "explorer-actions" }, button("Reset", () => change(START)), ...tools));
    form.addEventListener("submit", (event) => event.preventDefault());

    const WHY_IT_WORKS = "Why does this work?", theory = make("p", { class: "explorer-help" });
    theory.append(root.dataset.theory
      ? make("a", { class: "explorer-more", href: root.dataset.theory }, WHY_IT_WORKS) : WHY_IT_WORKS);
    theory.insertAdjacentHTML("beforeend", ` ${THEORY}`);
    const there = { class: "explorer-more", href: root.dataset.explorer ?? "" };
    const more = make("a", there, "Go on from here in the explorer");
    const leading = whole ? [] // the page's own links to the explorer
      : [...document.querySelectorAll("article a")].filter((link) => link.pathname === more.pathname && !link.hash);

    function showControls() {
      const brush = state.feature === "paint", ascends = attacks();
      const needed = { size: !["spike", "attack"].includes(state.feature), radius: ascends,
        step: ascends, target: ascends && state.tira, value: brush, painting: brush, n: !state.tira,
        lines: !state.tira };
      for (const name of used) controls[name].row.hidden = !parts[state.mode].includes(name) || needed[name] === false;
      controls.image.inputs.get("own").parentElement.hidden = !state.picture;
      controls.mode.inputs.get("frames").disabled = state.image !== PHANTOM;
      find.hidden = result.hidden = !live() || ascends;
      best.hidden = !ascends;
      tira.hidden = !live();
      tira.textContent = state.tira ? "Without Tira" : "Load Tira (3 MB)";
      stop.hidden = !onTira();
      stop.textContent = state.steps < STEPS ? "Go on" : "Stop";
      stop.disabled = reached === null;
      best.disabled = state.step === null;
      climb.hidden = !ascends;
      saveOwn.hidden = state.image !== "own";
      help.textContent = live() ? `${ascends ? ATTACK : HELP}${state.tira ? ` ${TIRA}` : ""}`
        : `${grids}${whole ? ANY : ""}`;
      if (!whole && root.dataset.explorer) {
        more.href = root.dataset.explorer + writeLink(state, START);
        help.append(" ", more, ", where any pixel can be the target.");
        for (const link of leading) link.hash = more.hash;
      }
      why.hidden = state.image === PHANTOM;
      controls.mode.set(state.mode);
      controls.image.set(state.image);
      controls.feature.set(state.feature);
      for (const name of ["made_for", "target"]) controls[name].set(state.made_for);
      controls.n.set(state.n);
      controls.level.set(page.levels.indexOf(state.noise), percent(state.noise));
      controls.noise.set(Math.round(100 * Math.log10(state.noise / LIVE.noise[0])), percent(state.noise));
      for (const [name, k] of [["row", 0], ["column", 1]]) {
        controls[name].set(page.locations.indexOf(state.mu[k]), `${state.mu[k]}`);
        controls[`${name}Live`].set(state.mu[k], `${state.mu[k]}`);
      }
      controls.lines.set(state.lines, `${state.lines}`);
      controls.size.set(state.size, extent(state));
      controls.radius.set(state.size, `${state.size} px`);
      controls.step.set(state.step ?? state.steps, state.step === null ? "the best" : `${state.step}`);
      controls.value.set(state.value, state.value ? `${state.value}` : "0, rubs out");
      away.link.textContent = state.image === "own" ? "Link to this view, without your picture" : "Link to this view";
    }

    // panels: columns of pictures with a line of numbers below
    const panels = make("div", { class: "explorer-panels" });
    const note = make("p", { class: "explorer-note", "aria-live": "polite" });
    const status = make("p", { class: "explorer-status" }), help = make("p", { class: "explorer-help" });
    const curves = make("div", { class: "explorer-curves" }), caption = make("figcaption");
    const climb = make("figure", {}, make("h3", {}, "Objective and peak by step"), curves, caption);
    let columns = [], layout = "";

    function setLayout() {
      const names = live() ? ["wanted", "x", "clean", "tv", ...(state.tira ? ["tira clean", "tira"] : [])] : methods;
      if (layout === names.join()) return;
      layout = names.join();
      columns = names.map((name) => {
        const title = make("h3", {}, TITLES[name] ?? ""), numbers = make("p", { class: "explorer-numbers" });
        const pictures = Array.from({ length: live() ? 1 : 2 }, makePicture);
        return { name, title, pictures, numbers, element:
          make("div", { class: "explorer-column" }, title, ...pictures.map((p) => p.element), numbers) };
      });
      const kind = live() ? (state.tira ? "live explorer-six" : "live") : whole ? "full" : "small";
      panels.className = `explorer-panels explorer-${kind}`;
      panels.replaceChildren(...columns.map((column) => column.element));
    }

    function makePicture() {
      const canvas = make("canvas", { role: "img", "aria-label": "Not computed yet" });
      const close = make("canvas", { class: "explorer-close", "aria-hidden": "true", hidden: true });
      const mark = make("span", { class: "explorer-mark", hidden: true }), caption = make("figcaption");
      const box = make("div", { class: "explorer-box" }, canvas, mark, close);
      canvas.addEventListener("click", (event) => { // a swipe that scrolls the page is none
        if (!paints(canvas)) change({ mu: place(event, canvas) });
      });
      canvas.addEventListener("pointerdown", (event) => {
        if (!paints(canvas) || event.button) return;
        canvas.setPointerCapture(event.pointerId);
        stroke(place(event, canvas));
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!event.buttons) return;
        if (paints(canvas)) stroke(place(event, canvas), true);
        else if (event.pointerType === "mouse") change({ mu: place(event, canvas) });
      });
      return { element: make("figure", {}, box, caption), canvas, close, mark, caption };
    }

    function place(event, canvas) { // row and column of 256
      const box = canvas.getBoundingClientRect(), at = (value) => Math.min(Math.max(Math.floor(256 * value), 0), 255);
      return [at((event.clientY - box.top) / box.height), at((event.clientX - box.left) / box.width)];
    }

    const paints = (canvas) => live() && state.feature === "paint" && canvas === columns[0].pictures[0].canvas;

    function stroke(mu, goesOn = false) { // begins at mu, or goes on to it
      const { paint, size, value } = state, point = mu.map(byte).join("");
      if (paint.length > MOST_PAINT - 12) status.textContent = "A link holds no more strokes: undo some or clear them.";
      else if (!goesOn) change({ mu, paint: `${paint && `${paint}.`}${size}_${Math.round(10 * value)}_${point}` });
      else if (!paint.endsWith(point)) change({ mu, paint: paint + point });
    }

    function draw(picture, values, n, mu, caption, alt) {
      const { half, top, left } = cornerOf(mu, n), part = (value) => `${(100 * value) / n}%`;
      paint(picture.canvas, values, n, [0, 0, n]);
      paint(picture.close, values, n, [top, left, 2 * half]);
      const side = part(2 * half),
        sides = (near) => (near ? ["auto", "2%"] : ["2%", "auto"]); // the corner farthest from mu
      Object.assign(picture.mark.style, { top: part(top), left: part(left), width: side, height: side });
      [picture.close.style.top, picture.close.style.bottom] = sides(mu[0] < n / 2);
      [picture.close.style.left, picture.close.style.right] = sides(mu[1] < n / 2);
      picture.mark.hidden = false;
      picture.caption.textContent = caption;
      picture.canvas.setAttribute("aria-label", alt);
      picture.close.hidden = live() && state.feature === "paint"; // one paints below it
      picture.canvas.toggleAttribute("data-paint", paints(picture.canvas));
    }

    function showNumbers(column, { r, rho, alpha, contrast }) {
      const row = (name, sign, key, value) => `<span>${name} ${sign}</span> <b data-number="${key}">${value}</b>`;
      column.numbers.innerHTML = row("Perturbation", "‖<i>r</i>‖<sub>∞</sub>", "r", r) +
        row("Artifact", "‖<i>ρ</i>‖<sub>∞</sub>", "rho", rho) + row("Amplification", "<i>α</i>", "alpha", alpha) +
        (contrast ? row(...(state.feature === "erase" ? ["Detail", "erased"] : ["Feature", "shown"]),
          "contrast", contrast)
          : "");
    }

    const underAttack = (name, where, { rho, alpha }) => `${name} reconstruction under attack ${where}. ` +
      `Peak of the artifact: ${rho}, ${alpha} times that of the perturbation.`;

    async function showFrame(ticket) {
      const { noise, mu, made_for } = state, [i, j] = mu.map((c) => page.locations.indexOf(c));
      const picture = await frame(noise, mu);
      if (ticket !== wanted || live()) return;
      const numbers = page.numbers[page.levels.indexOf(noise)][i * page.locations.length + j], said = [];
      for (const column of columns) {
        const target = made_for === "tv" ? "tv" : column.name, values = numbers[`${target} ${column.name}`];
        const where = `at ${percent(noise)} noise, target row ${mu[0]}, column ${mu[1]}`, name = NAMES[column.name];
        column.title.textContent = column.name === "tv" ? name : `${name} (${page.preset})`;
        draw(column.pictures[0], picture(`r ${target}`), 256, mu, `x + r, made for ${NAMES[target]}`,
          `The image with the perturbation made for ${NAMES[target]} ${where}. Peak of the perturbation: ${values.r}.`);
        draw(column.pictures[1], picture(`${target} ${column.name}`), 256, mu, `${name} from y + e`,
          underAttack(name, where, values));
        showNumbers(column, values);
        said.push(`${name}: α = ${values.alpha}`);
      }
      status.textContent = "";
      note.textContent = said.join(", ");
      root.dataset.done = ticket;
    }

    // Each method has its worker, whose answers come here.
    const workers = Object.fromEntries(["tv", "tira"].map((method) =>
      [method, solver((answer, asked) => asked.ticket === wanted && answered(method, answer, asked))]));
    let said = {}, took = "", began, erasesTooMuch = false; // `said`: what is read aloud, by method

    function answered(method, answer, asked) {
      if (answer.error) return (status.textContent = answer.error);
      if (answer.tried) {
        const [options, text] = ascent({ ...answer, steps: STEPS, chosen: answer.done ? answer.chosen : NaN });
        curves.replaceChildren(plot({ width: curves.clientWidth || 480, ...options }));
        caption.replaceChildren(...text);
        if (method === "tira") {
          reached = answer.tried.length - 1;
          stop.disabled = false;
        }
        const { done, chosen, best } = answer;
        if (done) controls.step.set(chosen, `${chosen}${chosen === best ? ", the best" : ""}`);
        status.textContent = `Step ${answer.tried.length - 1} of ${STEPS}`;
      }
      if (!answer.attacked) return;
      for (const { element } of columns.slice(...(method === "tv" ? [2, 4] : [4])))
        element.removeAttribute("data-stale");
      const { n, mu, level, image, drawn } = asked, name = NAMES[method];
      const [clean, attacked] = columns.slice(method === "tv" ? 2 : 4);
      const change = answer.attacked.map((value, i) => value - answer.clean[i]), artifact = answer.artifact ?? change;
      const overlap = (values) => asked.feature.reduce((sum, d, i) => sum + d * values[i], 0);
      const r = peak(answer.perturbation), rho = peak(artifact);
      const contrast = drawn && overlap(change) / overlap(asked.feature);
      const where = `at ${percent(level)} noise, target row ${state.mu[0]}, column ${state.mu[1]}`;
      const shown = Number.isFinite(contrast) ? `${Math.floor(100 * contrast)} %` : "–";
      const numbers = { r: three(r), rho: three(rho), alpha: three(rho / r), ...(drawn && { contrast: shown }) };
      draw(columns[1].pictures[0], answer.perturbation.map((v, i) => v + image[i]), n, mu, "x + r",
        `The image with the perturbation ${where}. Peak of the perturbation: ${numbers.r}.`);
      draw(clean.pictures[0], answer.clean, n, mu, "rec(y)", `${name} reconstruction without perturbation.`);
      draw(attacked.pictures[0], answer.attacked, n, mu, "rec(y + e)",
        underAttack(name, where, numbers));
      showNumbers(attacked, numbers);
      if (method === "tv") {
        took = `${answer.iterations ? `${answer.iterations} iterations, ` : ""}${answer.seconds.toFixed(2)} s`;
        status.textContent = `Solving: ${took}`;
        erasesTooMuch = state.feature === "erase" && contrast > 1.5;
        if (answer.done && search) return goOn(contrast >= 1);
      }
      if (answer.done) finished(method, `${name}: α = ${numbers.alpha}`, { ...asked, feature: answer.perturbation });
    }

    function finished(method, text, asked) {
      said[method] = text;
      const other = method === "tv" ? "tira" : "tv";
      const stopped = onTira() && state.steps < STEPS;
      if (!stopped && document.activeElement === stop) controls.step.row.querySelector("input").focus();
      stop.hidden = !stopped;
      if (state.tira && !said[other]) {
        status.textContent = `${NAMES[other]} is at work`;
        return asked.drawn || reconstruct(other, asked);
      }
      const shown = state.step === null ? "the best of them" : `step ${state.step}`;
      const end = stopped ? `Stopped after ${state.steps} of ${STEPS} steps; ${shown} is shown.` : "";
      const hint = asked.erased < HARDLY ? NOTHING : erasesTooMuch ? TOO_MUCH : "";
      const seconds = (performance.now() - began) / 1000, kept = seconds < 0.5; // by the worker
      const climbed = kept ? "" : `: ${seconds.toFixed(1)} s`;
      status.textContent = end || hint || `Done${attacks() ? climbed : `: ${took}`}`;
      note.textContent = `${end}${hint} ${Object.values(said).join(", ")}`.trim();
      root.dataset.done = asked.ticket;
    }

    function stopOrGoOn() { // the worker remembers the steps
      change({ steps: state.steps < STEPS ? STEPS : reached }, reached);
    }

    // What a method makes of the measurements of a feature.
    const reconstruct = async (method, job) =>
      workers[method](method === "tv" ? { ...job, kind: "solve" }
        : { ...job, kind: "network", weights: await load("tira") });

    // Bisection for the lowest noise level of the slider with full contrast; a change by hand ends it.
    function startSearch() {
      change({});
      search = { low: -1, high: NOISES + 1, from: state.noise };
      result.textContent = "Trying noise levels on TV …";
      look();
    }

    function look() {
      search.step = (search.low + search.high) >> 1;
      state.noise = logNoise(search.step);
      update();
    }

    function goOn(enough) {
      search[enough ? "high" : "low"] = search.step;
      if (search.high - search.low > 1) return look();
      const { high } = search, [verb, what] = state.feature === "erase" ? ["erase", "detail"] : ["show", "feature"];
      search = null;
      change({ noise: logNoise(Math.min(high, NOISES)) });
      result.textContent = high > NOISES
        ? `Even at ${percent(state.noise)} noise TV does not ${verb} all of the ${what}.`
        : `TV ${verb}s all of the ${what} from ${percent(state.noise)} noise on.`;
    }

    async function startLive(ticket) {
      const { n, lines, noise, size, image: name, picture, step, steps } = state;
      const mu = pixelOf(state.mu), share = noise / 100;
      const [image, weights] = await Promise.all([pictureOf(state), state.tira && load("tira")]);
      if (ticket !== wanted) return;
      for (const { element } of columns.slice(2)) element.setAttribute("data-stale", "");
      const feature = attacks() ? null : draft({ ...state, mu }, n, image);
      const where = `at row ${state.mu[0]}, column ${state.mu[1]}`;
      columns[0].title.textContent = feature ? "Wanted image" : "Image";
      draw(columns[0].pictures[0], feature ? image.map((v, i) => v + feature[i]) : image, n, mu,
        !feature ? "x" : state.feature === "paint" ? "x + d: paint here" : "x + d",
        feature ? `The image with the feature (${FEATURES[state.feature]}) ${where}.`
          : `The image. The attack aims ${where}.`);
      const job = { n, lines, mu, level: noise, noise: share, noise_rel: share, image, ticket, by_peak: true,
        lam: lambda(noise, lines, page.lambda) };
      if (state.feature === "erase") job.erased = peak(feature);
      if (job.erased < HARDLY) feature.fill(0); // no perturbation
      const source = `${name} ${name === "own" ? picture : ""}`; // the worker remembers ascents
      const sigma = Math.max(size, 1);
      said = {};
      if (feature) await Promise.all(["tv", ...(state.tira ? ["tira"] : [])].map((method) =>
        reconstruct(method, { ...job, feature, drawn: true })));
      else if (onTira()) await workers.tira({ ...job, kind: "networkAttack", sigma, weights, step, steps });
      else await workers.tv({ ...job, kind: "attack", sigma, step, steps: STEPS, source });
    }

    // --- what the reader takes away

    function settings() { // of what is seen, in words
      const { image, noise, mu, size, feature, made_for, step, steps } = state, of = live() ? state : TRAINED;
      const said = [image === "own" ? "Your picture" : IMAGES[image], `${of.n} × ${of.n} pixels`, `${of.lines} lines`,
        `${percent(noise)} noise`, `target row ${mu[0]}, column ${mu[1]}`];
      const tried = `${step === null ? "best step" : `step ${step}`} of ${steps}`;
      if (!live()) said.push(made_for === "tv" ? "perturbation made for TV" : "perturbation made for each method");
      else if (attacks()) said.push(`attack on ${onTira() ? "Tira" : "TV"}, radius ${Math.max(size, 1)}, ${tried}`);
      else said.push(`artifact: ${FEATURES[feature]}${["spike", "paint"].includes(feature) ? "" : `, size ${size}`}`);
      const alphas = columns.map((column) => [column.name, column.numbers.querySelector("[data-number=alpha]")]);
      const told = alphas.filter(([, alpha]) => alpha)
        .map(([name, alpha]) => `${NAMES[name]}: α = ${alpha.textContent}`);
      return `${said.join("; ")}. ${told.join(", ")}`;
    }

    async function saveImage() { // what lib.explorer.read_image reads
      const canvas = make("canvas");
      paint(canvas, await pictureOf({ ...state, n: 256 }), 256, [0, 0, 256]);
      download(canvas, "explorer-image.png");
    }

    function pythonText() { // lines that recompute this view
      const { n, lines, image, size, feature, made_for, step, noise } = state, own = image === "own";
      const share = Number((noise / 100).toPrecision(4)), sigma = Math.max(size, 1);
      if (!live())
        return `import torch

from lib.runs.frames import compute_frames

attacks, _ = compute_frames(${share}, torch.tensor([[${state.mu.join(", ")}]]))
for method in ("tv", "tira", "tirafl"):
    attack = attacks[${made_for === "tv" ? '"tv"' : "method"}, method]
    r, rho = attack.image_perturbation.abs().max(), attack.artifact.abs().max()
    print(f"{method}: r = {r:.3g}, rho = {rho:.3g}, alpha = {rho / r:.3g}")`;
      const mu = `(${pixelOf(state.mu).join(", ")})`, ascends = attacks(), chosen = ascends && step !== null;
      const cut = onTira() && !chosen && state.steps < STEPS;
      const special = { spike: `${n}, ${mu}`, erase: `x, ${mu}, ${size}`, paint: `${n}, "${state.paint}"` };
      const file = `read_image("explorer-image.png", ${n})  # from "Save your image"`;
      const from = special[feature] || `${n}, ${mu}, ${size}`;
      const drawn = `features.${feature === "paint" ? "strokes" : feature}(${from})`;
      return `${cut ? "import functools\n\n" : ""}import torch

from lib.attack import ${chosen ? "Iterates, " : ""}${ascends ? "disk_weight, " : ""}evaluate_perturbation, fast_tv${
  ascends ? ", localized_attack" : ""}${chosen || cut ? ", power_ascent" : ""}
from lib.explorer import ${own ? "" : "IMAGES, "}${ascends ? "" : "features, "}page_lambda${own ? ", read_image" : ""}
${state.tira ? "from lib.networks import load_network\n" : ""}from lib.operators import MaskedFourier, radial_mask
${chosen ? toStep(step) : ""}
op = MaskedFourier(radial_mask(${n}, ${lines}), real=True)
x = ${own ? file : `IMAGES["${image}"](${n})`}
y = op.A(x)
eta = ${share} * torch.linalg.vector_norm(y)
methods = {"TV": fast_tv(op, page_lambda(${share}, ${lines}), eta, tol=1e-3)${
  state.tira ? ', "Tira": load_network("tira").forward' : ""}}${onTira() ? "  # all of it in single precision" : ""}
${ascends ? `phi = disk_weight(${n}, ${mu}, ${sigma})
e = localized_attack(methods["${onTira() ? "Tira" : "TV"}"], y, op, ${share}, phi, by_peak=True${
  chosen ? ", optimiser=ascent" : cut
  ? `, optimiser=functools.partial(power_ascent, steps=${state.steps})` : ""}).e`
: `d = phi = ${drawn}
e = features.perturbation(op, d, eta)`}
for name, reconstruct in methods.items():
    attack = evaluate_perturbation(reconstruct, y, op, e, phi)
    r, rho = attack.image_perturbation.abs().max(), attack.artifact.abs().max()
    print(f"{name}: r = {r:.3g}, rho = {rho:.3g}, alpha = {rho / r:.3g}")${ascends ? "" : `
    print(f"feature shown: {features.contrast(attack.artifact.real, d):.0%}")`}`;
    }

    async function update() {
      tidy();
      setLayout();
      showControls();
      tell();
      away.update();
      root.dataset.done = "";
      const ticket = ++wanted;
      began = performance.now();
      await (live() ? startLive(ticket) : showFrame(ticket))
        .catch((error) => (status.textContent = `${error.message}`));
    }

    function tell() { // a kernel, what has changed
      const now = toTraits(state), news = Object.entries(now).filter(([name, value]) => `${value}` !== `${sent[name]}`);
      sent = now;
      if (news.length) changed(Object.fromEntries(news));
    }

    root.replaceChildren(form, ...(whole ? [away.box] : []), panels, climb, status, help, theory, note);
    await update();
    away.arrive();
    if (!live()) prefetch();
    return (values) => {
      sent = { ...sent, ...values };
      change(fromTraits(values));
    };

    async function prefetch() { // what the sliders lead to: this row's levels, then everything
      for (const row of [state.mu[0], ...page.locations])
        for (const noise of page.levels) {
          await new Promise((next) => (window.requestIdleCallback || setTimeout)(next));
          if (whole || row === state.mu[0]) await load(`level-${noise}-${row}`);
        }
    }
  }

  explorerParts.add({ explorer });
})();
