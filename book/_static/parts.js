// What the interactive views share: data, pictures, controls, curves, the worker.
//
// A classic script, for pages opened from a file may load nothing else; in Jupyter the text is part of a module. The
// data come from scripts that book/_ext/explorer_page.py writes, each of which sets an entry of explorerData, or from
// the kernel.
"use strict";

window.explorerData ??= {};
window.explorerParts ??= (() => {
  const HERE = document.currentScript ? new URL("explorer/", document.currentScript.src).href : ""; // none in a module
  const OVER = [213, 94, 0]; // lib.figures.style.OVER: beyond 1
  const STEPS = 5; // of the ascents: lib.attack.STEPS
  const METHODS = { tv: "TV", tira: "Tira", tirafl: "TiraFL" };
  const IMAGES = { ellipses: "Ellipses", "other ellipses": "Other ellipses", "Shepp-Logan": "Shepp–Logan",
    brain: "Brain" };
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

  function paint(canvas, values, n, [top, left, size]) { // a square of n x n values, as lib.figures.style.show_image
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
      x: { label: "step", range: [0, steps], ticks: [...Array(steps + 1).keys()] },
      y: { range: [0, high], ticks: [0, high] },
      curves: [{ points: points("objective") }, { points: points("peak"), kind: "second" },
        ...(chosen >= 0 ? [here] : [])] };
    return [options, [make("span", { class: "explorer-first" }, "objective ‖φ ⊙ ρ‖"), make("sub", {}, "2"), ", ",
      make("span", { class: "explorer-second" }, "peak ‖ρ‖"), make("sub", {}, "∞")]];
  }

  // --- what the reader takes away -----------------------------------------------------------------------------------

  function download(canvas, name) {
    const link = make("a", { download: name, href: canvas.toDataURL("image/png") });
    link.click();
  }

  // A PNG of `parts` as they stand in the page, dark or light, on white: pictures, curves, words; `note` comes below.
  async function savePictures(root, parts, name, note) {
    const last = make("p", { class: "explorer-help" }, note), before = root.style.cssText;
    let size, steps;
    try {
      parts[parts.length - 1].after(last);
      root.style.cssText = "color: #000; --pst-color-text-base: #000; --pst-heading-color: #000; " +
        "--view-blue: #0072b2; --view-orange: #a84300";
      [size, steps] = drawing([...parts, last]);
    } finally {
      last.remove();
      root.style.cssText = before;
    }
    const canvas = make("canvas", { width: size[0], height: size[1] }), context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, ...size);
    context.imageSmoothingEnabled = false;
    for (const step of steps) await step(context);
    download(canvas, name);
  }

  function drawing(parts) { // the size of their picture, and functions of a context that draw it
    const boxes = parts.map((part) => part.getBoundingClientRect()).filter(({ width }) => width), steps = [], gap = 16;
    const [left, top] = ["left", "top"].map((side) => Math.min(...boxes.map((box) => box[side])));
    const [right, bottom] = ["right", "bottom"].map((side) => Math.max(...boxes.map((box) => box[side])));
    const scale = 512 / parts[0].querySelector("canvas, svg").getBoundingClientRect().width;
    const place = ({ x, y, width, height }) =>
      [gap + scale * (x - left), gap + scale * (y - top), scale * width, scale * height];
    for (const part of parts) {
      for (const shown of part.querySelectorAll("canvas, svg, .explorer-mark")) {
        const box = place(shown.getBoundingClientRect());
        if (!box[2]) continue;
        if (shown.matches("canvas")) steps.push((context) => context.drawImage(shown, ...box), frame("#999", 1, box));
        if (shown.matches("svg")) {
          const image = pictureOf(shown, box);
          steps.push(async (context) => {
            await image.decode();
            context.drawImage(image, ...box);
          });
        }
        if (shown.matches(".explorer-mark, .explorer-close")) steps.push(frame("#e69f00", 2, box));
      }
      const nodes = document.createTreeWalker(part, NodeFilter.SHOW_TEXT), range = document.createRange();
      while (nodes.nextNode()) {
        const { data, parentElement } = nodes.currentNode;
        if (parentElement.closest("svg")) continue;
        const { fontWeight, fontStyle, fontSize, fontFamily, color } = getComputedStyle(parentElement);
        const font = `${fontStyle} ${fontWeight} ${scale * parseFloat(fontSize)}px ${fontFamily}`;
        for (const { 0: word, index } of data.matchAll(/\S+/g)) {
          range.setStart(nodes.currentNode, index);
          range.setEnd(nodes.currentNode, index + word.length);
          const [x, y, width] = place(range.getBoundingClientRect());
          if (width) steps.push((context) => {
            Object.assign(context, { font, fillStyle: color });
            context.fillText(word, x, y + context.measureText(word).fontBoundingBoxAscent);
          });
        }
      }
    }
    return [[right - left, bottom - top].map((length) => Math.round(scale * length) + 2 * gap), steps];
  }

  const frame = (strokeStyle, lineWidth, box) => (context) =>
    Object.assign(context, { strokeStyle, lineWidth }).strokeRect(...box);

  function pictureOf(plot, [, , width, height]) { // of curves, with the styles that they have now
    const copy = plot.cloneNode(true);
    const [from, to] = [plot, copy].map((root) => [...root.querySelectorAll("path, text")]);
    from.forEach((element, k) => {
      const style = getComputedStyle(element);
      for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family"])
        to[k].style.setProperty(name, style.getPropertyValue(name));
    });
    for (const [name, value] of Object.entries({ width, height, xmlns: SVG })) copy.setAttribute(name, value);
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    return image;
  }

  // The buttons "Save pictures" and "Python", and the link. `parts`, `note`, `python` and `write` are functions that
  // give the elements that are saved, the line below them, lines of Python, and the address after the page's own;
  // `read` takes what an address holds as values, which `restore` sets; `say` shows that the link or the lines
  // were copied, or what went wrong. `update` is to be called after each change.
  function takeAway(root, { name, parts, note, python, write, read, restore, say }) {
    const link = make("a", { class: "explorer-link" }, "Link to this view"), copied = () => say("Copied.");
    link.addEventListener("click", () => navigator.clipboard?.writeText(link.href).then(copied, () => {})); // if it may
    // no <pre>: the theme takes those that did not overflow at first out of the keyboard's order
    const label = "Python that recomputes this view";
    const code = make("div", { class: "explorer-code", role: "region", tabindex: "0", "aria-label": label });
    const copy = button("Copy", () => {
      getSelection().selectAllChildren(code);
      if (document.execCommand("copy")) copied(); // a page that was opened from a file may have no navigator.clipboard
    });
    const box = make("div", { class: "explorer-python", id: nextId(), hidden: true }, code, copy);
    const toggle = button("Python", () => {
      box.hidden = !box.hidden;
      toggle.setAttribute("aria-expanded", `${!box.hidden}`);
    });
    toggle.setAttribute("aria-expanded", "false");
    toggle.setAttribute("aria-controls", box.id);
    const save = button("Save pictures", () => savePictures(root, parts(), `${name}.png`, note())
      .catch((error) => say(`The pictures cannot be saved: ${error.message}`)));
    const arriving = () => (inPage ? read(new URLSearchParams(location.hash.slice(1))) : {}), given = arriving();
    let later, moved = false; // an address that leads elsewhere in the page stays until something moves
    const update = () => {
      link.href = write();
      code.textContent = python();
      clearTimeout(later);
      if (inPage && moved) later = setTimeout(() => history.replaceState(null, "", write()), 300);
      moved = true;
    };
    if (inPage) window.addEventListener("hashchange", () => {
      const values = arriving();
      if (location.hash !== write() && Object.keys(values).length) restore(values);
    });
    const arrive = () => Object.keys(given).length && root.scrollIntoView();
    return { save, toggle, link, links: inPage ? [link] : [], box, given, update, arrive };
  }

  // Lines of Python for an ascent that ends at a step.
  const toStep = (step) => `

def ascent(objective, start, eta):
    tried = power_ascent(objective, start, eta).tried
    return Iterates(tried, [tried[${step}]])  # the step that is shown

`;

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
    const [chapter, settings, names] = ["chapter", "settings", "names"].map((name) => model.get(name));
    const root = make("div", { class: "explorer", "data-chapter": chapter });
    const asked = new Map();
    kernel = (name) => new Promise((resolve) => {
      asked.set(name, resolve);
      model.send({ name });
    });
    model.on("msg:custom", ({ name, value }) => asked.get(name)?.(value));
    el.append(root);
    const state = () => Object.fromEntries(names.map((name) => [name, model.get(name)])), first = state();
    let busy = false;
    const set = await views[chapter](root, { ...settings, ...first }, (values) => {
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
  return { METHODS, IMAGES, STEPS, load, decode, once, lambda, paint, cornerOf, make, slider, choice, button, nextId,
    percent, three, peak, plot, solver, ascent, download, takeAway, toStep, add, render, inPage };
})();
