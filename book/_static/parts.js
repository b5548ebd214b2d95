// What the interactive views share: data, pictures, controls, curves, the worker.
//
// A classic script, for pages opened from a file may load nothing else; in Jupyter the text is part of a module. The data
// come from scripts that book/_ext/explorer_page.py writes, each of which sets an entry of explorerData, or from the kernel.
"use strict";

window.explorerData ??= {};
window.explorerParts ??= (() => {
  const HERE = document.currentScript ? new URL("explorer/", document.currentScript.src).href : ""; // none in a module
  const OVER = [213, 94, 0]; // lib.figures.style.OVER: beyond 1
  const loaded = new Map();
  let kernel; // of a widget: fetches an entry
  function load(name) { // the entry `name` of explorerData
    if (!loaded.has(name)) loaded.set(name, (kernel ?? script)(name));
    loaded.get(name).catch(() => loaded.delete(name)); // to be tried again
    return loaded.get(name);
  }

  const script = (name) => new Promise((resolve, reject) => {
    if (name in explorerData) return resolve(explorerData[name]); // the page has brought it
    const element = document.createElement("script");
    element.src = `${HERE}${name}.js`;
    element.onload = () => resolve(explorerData[name]);
    element.onerror = () => reject(new Error(`${name}.js is missing`));
    document.head.append(element);
  });

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

  // lib.explorer.page_lambda, of a noise level in percent
  function lambda(noise, lines, { noises, masks, logs }) {
    const between = (x, xs, ys) => {
      let i = 0;
      while (i < xs.length - 2 && x > xs[i + 1]) i++;
      return ys[i] + ((ys[i + 1] - ys[i]) * Math.log(x / xs[i])) / Math.log(xs[i + 1] / xs[i]);
    };
    return Math.exp(between(lines, masks, logs.map((curve) => between(noise / 100, noises, curve))));
  }

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
  const nextId = () => `explorer-${count++}`;

  function slider(label, min, max, step, oninput) { // { row, set(value, text) }
    const id = nextId(), input = make("input", { id, type: "range", min: `${min}`, max: `${max}`, step: `${step}` });
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
    const name = nextId(), inputs = new Map(), row = make("fieldset", {}, make("legend", {}, legend));
    for (const [value, text] of options) {
      const input = make("input", { type: "radio", name, value: `${value}` });
      input.addEventListener("change", () => onchange(value));
      inputs.set(value, input);
      row.append(make("label", {}, input, text));
    }
    return { row, inputs, set: (value) => (inputs.get(value).checked = true) };
  }

  function button(text, onclick) {
    const element = make("button", { type: "button" }, text);
    element.addEventListener("click", onclick);
    return element;
  }

  const percent = (noise) => `${noise} %`;
  const three = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString() : "–");

  const peak = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  // --- curves -----------------------------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // Axes are { label, range: [low, high], ticks, log }. Curves are { points: [[x, y], ...], kind } and levels
  // { y, text }, `kind` being a class of the style sheet.
  function plot({ label, x, y, curves = [], levels = [], width = 480, height = 190 }) {
    const [left, right, top, bottom] = [44, width - 14, 8, height - (x.label ? 34 : 20)];
    const scale = ({ range, log }, from, to) => {
      const [low, high] = log ? range.map(Math.log) : range;
      return (v) => from + ((to - from) * ((log ? Math.log(Math.max(v, range[0] / 2)) : v) - low)) / (high - low);
    };
    const [px, py] = [scale(x, left, right), scale(y, bottom, top)], at = (v) => v.toFixed(1);
    const text = (content, attributes) => svg("text", attributes, content), id = nextId();
    const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${at(px(a))},${at(py(b))}`).join("");
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "explorer-plot" },
      svg("clipPath", { id }, svg("rect", { x: left, y: top - 2, width: right - left, height: bottom - top + 4 })),
      svg("path", { class: "axis", d: `M${left},${top}V${bottom}H${right}` }),
      ...x.ticks.map((v) => text(`${v}`, { x: at(px(v)), y: bottom + 14, "text-anchor": "middle" })),
      ...y.ticks.map((v) => text(`${v}`, { x: left - 5, y: at(py(v) + 4), "text-anchor": "end" })),
      text(x.label || "", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }),
      ...levels.map((level) => svg("path", { class: "level", d: `M${left},${at(py(level.y))}H${right}` })),
      svg("g", { "clip-path": `url(#${id})` },
        ...curves.map(({ points, kind = "curve" }) => svg("path", { class: kind, d: path(points) }))),
      ...levels.map((level) => text(level.text, { x: right - 4, y: at(py(level.y) - 4), "text-anchor": "end" })));
  }

  // --- the worker -------------------------------------------------------------------------------------------------

  // ask(job): a worker solves it, unless another is asked for meanwhile; `onanswer` gets its answers, with the job.
  function solver(onanswer) {
    let worker, job = { id: 0 };
    return async (asked) => {
      job = { ...asked, id: job.id + 1 };
      const mine = job, text = await load("worker");
      if (mine !== job) return;
      if (!worker) {
        worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        worker.onmessage = ({ data }) => data.id === job.id && onanswer(data, job);
      }
      worker.postMessage(mine);
    };
  }

  // --- the ascent -------------------------------------------------------------------------------------------------

  // Options of `plot` for the steps that have been tried, and the caption; the one that is shown is marked.
  function ascent({ tried, steps, chosen }) {
    const points = (name) => tried.map((values, k) => [k, values[name]]), last = tried[tried.length - 1].objective;
    const top = Math.max(...tried.map(({ objective }) => objective)), nice = 10 ** Math.floor(Math.log10(top)) / 2;
    const high = Math.ceil((1.1 * top) / nice) * nice, here = { points: [[chosen, 0], [chosen, high]], kind: "here" };
    const options = { label: `Objective by step, now ${three(last)}, and peak of the artifact.`,
      x: { label: "step", range: [0, steps], ticks: [...Array(steps + 1).keys()] }, y: { range: [0, high], ticks: [0, high] },
      curves: [{ points: points("objective") }, { points: points("peak"), kind: "second" }, ...(chosen >= 0 ? [here] : [])] };
    return [options, [make("span", { class: "explorer-first" }, "objective ‖φ ⊙ ρ‖"), make("sub", {}, "2"), ", ",
      make("span", { class: "explorer-second" }, "peak ‖ρ‖"), make("sub", {}, "∞")]];
  }

  // --- page and widget --------------------------------------------------------------------------------------------

  // By name, what makes a view: (root, settings, changed) to a function that sets some of its state.
  const views = {};
  function add(more) {
    Object.assign(views, more);
    if (HERE)
      for (const name of Object.keys(more))
        for (const root of document.querySelectorAll(`[data-chapter="${name}"]`))
          mount(root).catch((error) => console.error(error));
  }

  async function mount(root) {
    await views[root.dataset.chapter](root, JSON.parse(root.dataset.settings), () => {});
    root.dataset.ready = "true";
    performance.mark("explorer");
  }

  async function render({ model, el }) { // for anywidget
    const root = make("div", { class: "explorer" }), settings = model.get("settings"), names = model.get("names");
    const asked = new Map();
    kernel = (name) => new Promise((resolve) => {
      asked.set(name, resolve);
      model.send({ name });
    });
    model.on("msg:custom", ({ name, value }) => asked.get(name)?.(value));
    el.append(root);
    const state = () => Object.fromEntries(names.map((name) => [name, model.get(name)])), first = state();
    let busy = false;
    const set = await views[model.get("chapter")](root, { ...settings, ...first }, (values) => {
      busy = true;
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      busy = false;
      model.save_changes();
    });
    for (const name of names) model.on(`change:${name}`, () => busy || set({ [name]: model.get(name) }));
    if (names.some((name) => model.get(name) !== first[name])) set(state()); // changed meanwhile
    root.dataset.ready = "true";
  }

  const inPage = Boolean(HERE);
  return { load, decode, once, lambda, paint, cornerOf, make, slider, choice, button, nextId, percent, three, peak, plot, solver,
    ascent, add, render, inPage };
})();
