// The view of transfer, by the helpers of views.js: one method's perturbation, and what another reconstructs, from frames.
"use strict";

window.explorerTransfer ??= async (root, { levels, images, ...start }, changed, { lay, picture, figure, number, among }) => {
  const { METHODS: NAMES, load, decode, cornerOf, make, slider, choice, percent } = explorerParts;
  const methods = Object.keys(NAMES), numbers = [...Array(images).keys()], n = 256;
  const state = { ...start }, change = (values) => { Object.assign(state, values); changed(values); update(); };
  const options = methods.map((name) => [name, NAMES[name]]);
  const controls = {
    attacked: choice("Made for", options, (attacked) => change({ attacked })),
    shown: choice("Reconstructed by", options, (shown) => change({ shown })),
    image: choice("Image", numbers.map((k) => [k, `${k}`]), (image) => change({ image })),
    noise: slider("Noise level", 0, levels.length - 1, 1, (k) => change({ noise_rel: levels[k] })),
  };
  const before = picture("Perturbed, x + r"), after = picture("Reconstructed"), every = figure("Amplification α");
  const near = [picture("x + r, enlarged"), picture("Enlarged")], whole = [before, after];
  every.content.className = "explorer-curves";
  every.caption.textContent = "Each row is a perturbation, made for one method; each column is a method that reconstructs.";
  const page = lay(root, { controls, parts: [...whole, ...near, every], kind: "four", state, change, python,
    help: "The framed square is shown enlarged. Pixels brighter than 1 are orange. All pictures and numbers were computed before.",
    fields: { attacked: among(methods), shown: among(methods), noise_rel: among(levels), image: among(numbers) },
    told: () => `Transfer: made for ${NAMES[state.attacked]}, reconstructed by ${NAMES[state.shown]}, test image ${state.image}, ` +
      `${percent(100 * state.noise_rel)} noise` });
  for (const part of whole) part.content.append((part.mark = make("span", { class: "explorer-mark" })));

  const decoded = new Map(); // pictures by their texts, some of the last ones
  const values = async (text) => {
    if (decoded.size > 40) decoded.clear();
    if (!decoded.has(text)) decoded.set(text, await decode(text));
    return decoded.get(text);
  };
  let asked = 0;

  async function update() {
    const mine = ++asked, { attacked, shown, image, noise_rel } = state;
    for (const name of ["attacked", "shown", "image"]) controls[name].set(state[name]);
    controls.noise.set(levels.indexOf(noise_rel), percent(100 * noise_rel));
    page.update();
    root.dataset.done = "";
    try {
      const file = await load(`transfer-${image}`), level = file[Number((100 * noise_rel).toPrecision(3))];
      const found = await Promise.all([file.x, level[attacked].whole, level[attacked].close].map(values));
      if (mine === asked) show(level, ...found);
    } catch (reason) {
      page.say(reason.message);
    }
  }

  function python() {
    const { attacked, shown, image, noise_rel } = state;
    return `from lib.measures import amplification, peak
from lib.runs.attacks import Configuration
from lib.runs.transfer import shown

source = Configuration("${attacked}", noise_rel=${noise_rel})
outcome = shown(source, ${image})["${shown}"]  # what this method makes of it
r, rho = outcome.image_perturbation, outcome.artifact
alpha = amplification(rho, r)
print(f"r = {peak(r):.3g}, rho = {peak(rho):.3g}, alpha = {alpha:.3g}")`;
  }

  function show(level, x, all, close) {
    const { attacked, shown } = state, { mu, r, seen } = level[attacked], [rho, alpha] = seen[shown];
    const window = cornerOf(mu, n), size = 2 * window.half, part = (value) => `${(100 * value) / n}%`;
    const texts = [`The image with the perturbation made for ${NAMES[attacked]}, peak ${r}`,
      `What ${NAMES[shown]} reconstructs: an artifact with the peak ${rho}, amplified ${alpha} times`];
    const captions = [["‖r‖", make("sub", {}, "∞"), " = ", number("r", r)], ["‖ρ‖", make("sub", {}, "∞"), " = ", number("rho", rho)]];
    [0, 1 + methods.indexOf(shown)].forEach((tile, i) => { // each is the image and a difference in hundredths
      const add = ({ values: grey, width }, a, b) => (grey[a * width + b] - 128) / 100;
      const image = Float32Array.from(x.values, (value, k) => value / 255 + add(all, Math.floor(k / n), tile * n + (k % n)));
      for (let a = 0; a < size; a++)
        for (let b = 0; b < size; b++) {
          const at = (window.top + a) * n + window.left + b;
          image[at] = x.values[at] / 255 + add(close, a, tile * size + b);
        }
      whole[i].show(image, n, `${texts[i]}.`, captions[i]);
      near[i].show(image, n, `${texts[i]}, enlarged.`, i ? ["α = ", number("alpha", alpha)] : [], [window.top, window.left, size]);
      Object.assign(whole[i].mark.style, { top: part(window.top), left: part(window.left), width: part(size), height: part(size) });
    });
    after.element.querySelector("h3").textContent = `${NAMES[shown]} from y + e`;
    near[1].element.querySelector("h3").textContent = `${NAMES[shown]}, enlarged`;
    const cell = (source, target) => make("td", source === attacked && target === shown ? { "aria-current": "true" } : {},
      level[source].seen[target][1]);
    every.content.replaceChildren(make("table", { class: "explorer-table" },
      make("tr", {}, make("td"), ...methods.map((m) => make("th", { scope: "col" }, `by ${NAMES[m]}`))),
      ...methods.map((source) => make("tr", {}, make("th", { scope: "row" }, `made for ${NAMES[source]}`), ...methods.map((m) => cell(source, m))))));
    page.say("");
    page.read(`Made for ${NAMES[attacked]}, reconstructed by ${NAMES[shown]}: peak of r ${r}, of ρ ${rho}, α = ${alpha}.`);
    root.dataset.done = `${asked}`;
  }

  await update();
  return (values) => { Object.assign(state, values); return update(); };
};
