"""The views of the chapters: what they draw at random, their traits, and the page beside `lib`."""

import functools
import io
import json
import re
import shutil
from urllib.parse import unquote

import ipywidgets
import nbformat
import numpy as np
import pytest
import torch
import traitlets
from nbclient import NotebookClient
from pages import DONE
from PIL import Image

from lib import theory
from lib.explorer import (
    IMAGES,
    AttackView,
    Explorer,
    NetworksView,
    ReconstructionView,
    TheoryView,
    TransferView,
    chapters,
    data,
    draws,
)
from lib.measures import relative_error
from lib.operators import radial_mask
from lib.runs.frames import decode
from lib.runs.section4 import LEVELS

VIEWS = (ReconstructionView, NetworksView, AttackView, TheoryView, TransferView)
ALL = (*VIEWS, Explorer)
SCRIPTS = ("parts.js", "transfer.js", "views.js")


# --- What is drawn


def mulberry32(seed, count):
    """The generator as it is published, step by step."""
    out, word = [], 2**32 - 1
    for _ in range(count):
        seed = (seed + 0x6D2B79F5) & word
        t = ((seed ^ seed >> 15) * (seed | 1)) & word
        t ^= (t + (t ^ t >> 7) * (t | 61)) & word
        out.append((t ^ t >> 14) / 2**32)
    return out


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_uniform_numbers_are_those_of_mulberry32(seed):
    assert draws.uniform(seed, 50).tolist() == mulberry32(seed, 50)


def test_the_noise_is_gaussian():
    z = draws.gaussian(radial_mask(256, 80), 3)
    parts = torch.view_as_real(z)
    assert abs(parts.mean()) < 0.02 and torch.allclose(parts.std(0), torch.ones(2).double(), atol=0.02)
    assert abs((parts[:, 0] * parts[:, 1]).mean()) < 0.03


@pytest.mark.parametrize("zero", [False, True])
def test_a_signal_has_its_spikes_or_jumps_and_its_frequencies(zero):
    for seed in range(20):
        spikes, omega = draws.problem(64, 20, 5, seed, tv=False, zero=zero)
        steps, same = draws.problem(64, 20, 5, seed, tv=True, zero=zero)
        more = draws.problem(64, 30, 5, seed, tv=False, zero=zero)[1]
        assert np.count_nonzero(spikes) == 5 and spikes[0] == 0
        assert np.count_nonzero(theory.gradient(steps)) == 5 and steps[0] == steps[1] == steps[-1]
        assert len(omega) == 20 and (0 in omega) == zero and np.array_equal(omega, same)
        assert set(omega) < set(more) and (np.diff(omega) > 0).all()
        theory.measure(spikes, omega)  # which refuses frequencies that are none


# --- Widgets


@pytest.mark.parametrize("view", ALL)
def test_the_knobs_are_traits_to_observe_and_to_link(view):
    shown, seen = view(), []
    knobs = {
        "reconstruction": ("noise_rel", 0.1),
        "networks": ("noise_rel", 0.1),
        "attack": ("sigma", 3),
        "theory": ("m", 40),
        "transfer": ("image", 2),
        "explorer": ("lines", 30),
    }
    name, value = knobs[shown.chapter]
    shown.observe(lambda change: seen.append(change["new"]), name)
    slider = ipywidgets.FloatSlider(value, min=0, max=100) if isinstance(value, float) else ipywidgets.IntSlider(value)
    traitlets.link((slider, "value"), (shown, name))
    assert getattr(shown, name) == value and seen == [value]
    with pytest.raises(traitlets.TraitError):
        setattr(shown, name, -1)


@pytest.mark.parametrize("view", ALL)
def test_a_cell_shows_a_widget_or_without_a_kernel_the_page(view):
    shown = view()
    data, _ = shown._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(data)
    assert f'data-chapter="{shown.chapter}"' in data["text/html"] and "needs scripts" in data["text/html"]
    assert eval(data["text/plain"]).names == shown.names


@pytest.mark.slow
def test_with_a_kernel_a_linked_slider_moves_each_view():
    """What a cell of a reader's notebook does, run by nbclient: it keeps the state of the widgets."""
    moves = {"ReconstructionView": ("lines", 30), "AttackView": ("sigma", 7), "TheoryView": ("m", 50)}
    moves["TransferView"] = ("image", 1)
    lines = ["import ipywidgets, traitlets", f"from lib.explorer import {', '.join(moves)}"]
    for view, (name, value) in moves.items():
        lines += [f"view, slider = {view}(), ipywidgets.IntSlider(max=100)", "display(view)"]
        lines += [f"traitlets.link((view, {name!r}), (slider, 'value'))", f"slider.value = {value}"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("\n".join(lines))])
    client = NotebookClient(notebook, kernel_name="python3", timeout=300)
    client.execute()
    shown = [o for o in notebook.cells[0].outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert len(shown) == len(moves)
    for output, (name, value) in zip(shown, moves.values(), strict=True):
        model = output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        assert client.widget_state[model][name] == value


WRONG = (
    (ReconstructionView, "lines", 10),
    (ReconstructionView, "noise_rel", 0.5),
    (ReconstructionView, "lam", 0.0),
    (ReconstructionView, "iterations", 301),
    (ReconstructionView, "image", torch.zeros(8, 8)),
    (ReconstructionView, "seed", -1),
    (NetworksView, "noise_rel", 0.03),
    (NetworksView, "image", "cat"),
    (AttackView, "mu", (0, 256)),
    (AttackView, "mu", 7),
    (AttackView, "sigma", 2.5),
    (AttackView, "step", 6),
    (AttackView, "lines", 90),
    (TheoryView, "n", 100),
    (TheoryView, "m", 256),
    (TheoryView, "s", 1),
    (TheoryView, "seed", 0),
    (TheoryView, "method", "l2"),
    (TheoryView, "zero", 1),
    (TransferView, "attacked", "TV"),
    (TransferView, "shown", "zero-filled"),
    (TransferView, "noise_rel", 0.03),
    (TransferView, "image", 3),
)


@pytest.mark.parametrize(("view", "name", "value"), WRONG)
def test_wrong_arguments_are_named(view, name, value):
    with pytest.raises((TypeError, ValueError), match=f"{view.__name__}: {name}.*got"):
        view(**{name: value})


# --- In the page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The scripts of the pages as the book has them."""
    folder = tmp_path_factory.mktemp("views")
    for name in (*SCRIPTS, "explorer.css"):
        shutil.copy(data.STATIC / name, folder)
    (folder / "explorer").mkdir()
    for name, value in {
        name: data.entry(name) for name in ("worker", "images", "tira", "tirafl", *(f"transfer-{k}" for k in range(3)))
    }.items():
        script = f"explorerData[{name!r}] = {json.dumps(value)};\n"
        (folder / "explorer" / f"{name}.js").write_text(script, encoding="utf-8")
    return folder


@pytest.fixture
def open_view(browser, folder):
    """A function that opens a page with a view alone; nothing may go wrong there."""
    contexts, wrong = [], []

    def open_(view, link="", **options):
        context = browser.new_context(**{"viewport": {"width": 900, "height": 1000}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        scripts = "".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="stylesheet" href='
        path = folder / f"{view.chapter}.html"
        path.write_text(f'<!doctype html>{head}"explorer.css">{scripts}<body>{view._page()}', encoding="utf-8")
        page.goto(path.as_uri() + link)
        page.wait_for_selector(DONE)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def state(page):
    """Numbers by name, and all pictures and curves."""
    numbers = {b.get_attribute("data-number"): b.inner_text() for b in page.locator("[data-number]").all()}
    shown = page.evaluate(
        """() => [...document.querySelectorAll("figure")].map((figure) => {
        const canvas = figure.querySelector("canvas");
        const drawn = canvas ? canvas.toDataURL() : figure.querySelector("svg, table").outerHTML;
        return drawn.replace(/explorer-\\d+/g, ""); })"""
    )
    return numbers, shown


def moved(page, act):
    """The state after an action, once it is solved."""
    before = page.locator(".explorer").get_attribute("data-done")
    act()
    page.wait_for_function(
        "before => ![before, ''].includes(document.querySelector('.explorer').dataset.done)",
        arg=before,
    )
    return state(page)


KNOBS = {  # label, key, numbers that change, pictures that change (in their order)
    ReconstructionView: (
        ("Lines of the mask", "Home", {"factor", "zero", "tv"}, {0, 2, 3, 4}),
        ("Noise level", "End", {"zero", "tv"}, {2, 3, 4}),
        ("Parameter λ", "Home", {"tv"}, {3, 4}),
        ("Iterations", "Home", {"tv"}, {3, 4}),
    ),
    NetworksView: (
        ("Noise level", "End", {"zero", "tv", "tirafl"}, {1, 2, 4}),
        ("Shepp–Logan", "Space", {"zero", "tv", "tirafl"}, {0, 1, 2, 4}),
    ),
    AttackView: (
        ("Step", "Home", {"r", "rho", "alpha"}, {0, 1, 2, 3, 4}),
        ("Noise level", "End", {"r", "rho"}, {0, 1, 2, 3, 4}),
        ("Radius σ of the disk", "Home", {"rho"}, {0, 1, 2, 3, 4}),
        ("Target μ, row", "Home", {"r"}, {0, 1, 2, 3, 4}),
    ),
    TheoryView: (
        ("Sparsity s", "Home", {"before", "after"}, {0, 1, 2, 3}),
        ("Seed", "End", {"before", "after"}, {0, 1, 2, 3}),
        ("TV: jumps", "Space", {"after"}, {0, 1, 2, 3}),
        ("not measured", "Space", set(), {1, 2, 3}),
        ("Length n", "Home", {"r", "ratio", "alpha"}, {0, 1, 2, 3}),
        ("Measurements m", "Home", {"r", "ratio", "alpha"}, {1, 2, 3}),
    ),
    TransferView: (
        ("Reconstructed by / Tira", "Space", {"rho", "alpha"}, {1, 3, 4}),
        ("Made for / Tira", "Space", {"r", "rho", "alpha"}, {0, 1, 2, 3, 4}),
        ("Noise level", "End", {"r", "rho", "alpha"}, {0, 1, 2, 3, 4}),
        ("Image / 1", "Space", {"r", "rho", "alpha"}, {0, 1, 2, 3, 4}),
    ),
}


def knob(page, label):
    """A control by its label, after that of its group if it has one."""
    group, _, name = label.rpartition(" / ")
    scope = page.get_by_role("group", name=group) if group else page
    return scope.get_by_label(name, exact=True)


@pytest.mark.parametrize("view", VIEWS)
def test_each_knob_changes_what_it_should(open_view, view):
    page = open_view(view())
    start = before = state(page)
    for label, key, numbers, pictures in KNOBS[view]:
        control = knob(page, label)
        control.focus()
        after = moved(page, functools.partial(control.press, key))
        assert {name for name in before[0] if before[0][name] != after[0][name]} >= numbers, label
        changed = {i for i, pair in enumerate(zip(before[1], after[1], strict=True)) if pair[0] != pair[1]}
        assert changed >= pictures, (label, changed)
        before = after
    assert view is not ReconstructionView or before[1][1] == start[1][1]  # the image stays
    if view is AttackView:  # and a click moves the target
        canvas = page.locator("canvas").first
        box = canvas.bounding_box()
        place = {"x": 0.25 * box["width"], "y": 0.75 * box["height"]}
        assert moved(page, lambda: canvas.click(position=place))[1] != before[1]
        found = [int(page.get_by_label(f"Target μ, {name}", exact=True).input_value()) for name in ("row", "column")]
        assert found == pytest.approx([192, 64], abs=3)
    assert moved(page, page.get_by_role("button", name="Reset").click) == start


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_nothing_sticks_out_and_all_has_a_name(open_view, view):
    page = open_view(view(), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Python").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for element in page.locator(".explorer :is(canvas, svg, input, output, button, label)").all():
        box = element.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    for element in page.get_by_role("img").all():
        assert len(element.get_attribute("aria-label")) > 8
    assert page.locator("[aria-live]").inner_text()
    for name in page.locator("h3").all_inner_texts() if view is NetworksView else ():  # Tira is not loaded yet
        assert (f"{name} " in page.locator("[aria-live]").inner_text()) == (name not in ("Image", "Tira")), name


def ask(page, **job):
    """What the worker answers to a job in the end."""
    return page.evaluate(
        """async (job) => { const text = await explorerParts.load("worker");
        const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        const plain = (v) => ArrayBuffer.isView(v) ? Array.from(v) : Array.isArray(v) ? v.map(plain)
          : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, plain(w)])) : v;
        return await new Promise((resolve) => {
          worker.onmessage = ({ data }) => {
            if (!data.done && !data.error) return;
            worker.terminate();
            resolve(plain(data));
          };
          worker.postMessage({ ...job, id: 1, image: Float32Array.from(job.image ?? []) });
        }); }""",
        job,
    )


def test_reconstructions_agree_with_lib_tv(open_view):
    view = ReconstructionView(iterations=300)
    page, (op, y) = open_view(view), view.measured()
    lam = chapters.calibrated_lambda(view.noise_rel, view.lines)
    job = {"n": 256, "lines": 40, "noise_rel": 0.04, "lam": lam, "seed": 1, "iterations": 300}
    answer = ask(page, kind="reconstruct", image=view.image.flatten().tolist(), **job)
    assert answer["m"] == op.m and torch.equal(torch.tensor(answer["mask"]).reshape(256, 256).bool(), op.mask)
    zero, tv = op.A_dagger(y), view.reconstruct(tol=2e-4).image
    for name, expected in (("zero", zero), ("tv", tv)):
        assert (torch.tensor(answer[name]).reshape(256, 256) - expected.abs()).abs().max() < 2e-3, name
    assert answer["zeroError"] == pytest.approx(relative_error(zero, view.image.to(zero)), rel=1e-4)
    assert answer["errors"][-1] == pytest.approx(relative_error(tv, view.image.to(tv)), rel=1e-2)
    assert page.locator("[data-number=tv]").inner_text() == f"{100 * answer['errors'][-1]:.1f} %"


def test_tira_is_loaded_when_asked_for_and_all_methods_agree_with_lib(open_view):
    view = NetworksView(0.1, "brain")
    page, truth = open_view(view), IMAGES["brain"]()
    assert page.evaluate("explorerData.tira === undefined")
    numbers, blank = state(page)
    assert set(numbers) == {"zero", "tv", "tirafl"}
    button = page.get_by_role("button", name="Load Tira (3 MB)")
    button.focus()
    moved(page, lambda: button.press("Enter"))
    assert page.evaluate("document.activeElement.textContent") == "Reset"  # the button is gone, the focus is not
    assert state(page)[1][3] != blank[3] and button.is_hidden()
    assert page.locator(".explorer-link").get_attribute("href").endswith("&image=brain&tira=1")
    lam = chapters.calibrated_lambda(0.1, 40)
    job = {"n": 256, "lines": 40, "noise_rel": 0.1, "lam": lam, "seed": chapters.SEED, "weights": data.entry("tira")}
    answer, expected = ask(page, kind="compare", image=truth.flatten().tolist(), **job), view.reconstruct()
    assert list(answer["images"]) == ["zero", "tv", "tira"]
    for name, image in expected.items():
        error = relative_error(image.abs(), truth)
        shown = page.locator(f"[data-number={name}]").inner_text()
        assert float(shown.removesuffix(" %")) / 100 == pytest.approx(error, rel=1e-2), name
        if name in answer["images"]:  # TV to the tolerances of both solvers
            seen = torch.tensor(answer["images"][name]).reshape(256, 256)
            assert (seen - image.abs()).abs().max() < (5e-3 if name == "tv" else 1e-3), name


def test_the_ascent_agrees_with_lib_attack(open_view):
    view = AttackView(0.01, (60, 90), 3, lines=80)
    page, attack = open_view(view), view.attack(tol=1e-3)
    alpha, r, rho = (float(page.locator(f"[data-number={name}]").inner_text()) for name in ("alpha", "r", "rho"))
    assert alpha == pytest.approx(float(attack.amplification), rel=0.01)
    assert r == pytest.approx(float(attack.image_perturbation.abs().max()), rel=0.01)
    assert rho == pytest.approx(float(attack.artifact.abs().max()), rel=0.01)
    job = {"lines": 80, "noise_rel": 0.01, "mu": [60, 90], "sigma": 3, "step": None, "steps": 5}
    lam = chapters.calibrated_lambda(0.01, 80)
    answer = ask(page, kind="attack", n=256, lam=lam, image=view.image.flatten().tolist(), **job)
    seen, expected = [step["objective"] for step in answer["tried"]], attack.history[0].tolist()
    assert seen[:2] == pytest.approx(expected[:2], rel=1e-3)  # then rounding sends both to different pieces
    assert seen == pytest.approx(expected, rel=0.03)


PROBLEMS = (
    {"n": 256, "m": 60, "s": 5, "seed": 1, "method": "l1", "zero": True},
    {"n": 256, "m": 60, "s": 5, "seed": 1, "method": "tv", "zero": True},
    {"n": 128, "m": 20, "s": 6, "seed": 3, "method": "l1", "zero": False},
    {"n": 128, "m": 24, "s": 6, "seed": 3, "method": "tv", "zero": False},
    {"n": 64, "m": 63, "s": 2, "seed": 5, "method": "l1", "zero": True},
    {"n": 64, "m": 8, "s": 10, "seed": 4, "method": "l1", "zero": True},  # recovers nothing
)


def test_the_slider_of_measurements_ends_where_they_do(open_view):
    for n, most in ((64, "63"), (256, "128")):
        assert knob(open_view(TheoryView(n)), "Measurements m").get_attribute("max") == most


def test_recovery_agrees_with_lib_theory(open_view):
    page = open_view(TheoryView())
    for values in PROBLEMS:
        view, answer = TheoryView(**values), ask(page, kind="pursue", **values)
        (x, omega), pursuits, proofs = view.problem(), view.recover(), view.certify()
        assert np.allclose(answer["x"], x, atol=1e-14) and answer["omega"] == sorted((omega % view.n).tolist())
        for found, pursuit in zip((answer["before"], answer["recovered"]), pursuits, strict=True):
            assert np.allclose(found, pursuit.signal.real, atol=1e-6), values
        r = theory.zero_filled(theory.measure(theory.spike(view.n), omega), omega, view.n)
        alpha = abs(pursuits[1].signal - pursuits[0].signal).max() / abs(r).max()
        assert answer["alpha"] == pytest.approx(alpha, rel=1e-6), values
        assert answer["proved"] == [proof.unique for proof in proofs], values
        for proof, off in zip(proofs, answer["offSupport"], strict=True):
            assert off == pytest.approx(proof.off_support, rel=1e-4) or not np.isfinite(proof.off_support)


@pytest.fixture
def open_widget(browser):
    """A function that opens the module that Jupyter loads, with a model of the traits as anywidget has it.

    Other arguments are traits that change before the view is there.
    """
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.expose_function("ask", lambda message: message | {"value": data.entry(message["name"])})

    def open_(shown, **meanwhile):
        values = {"settings": shown.settings, "names": shown.names, "chapter": shown.chapter}
        values |= {trait: getattr(shown, trait) for trait in shown.names}
        page.evaluate(
            """async ([text, values, meanwhile]) => {
              const heard = {}, model = { get: (name) => values[name], save_changes() {},
                on: (event, react) => (heard[event] = react),
                send: async (message) => heard["msg:custom"](await ask(message)),
                set(name, value) { values[name] = value; heard[`change:${name}`]?.(); } };
              const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
              const { default: widget } = await import(address);
              const rendered = widget.render({ model, el: document.body });
              for (const [name, value] of Object.entries(meanwhile)) model.set(name, value);
              await rendered;
              window.model = model;
            }""",
            [shown._esm, values, meanwhile],
        )
        page.wait_for_selector(DONE)
        return page

    yield open_
    page.close()


@pytest.mark.parametrize(
    ("view", "name", "label"),
    [
        (ReconstructionView, "lines", "Lines of the mask"),
        (AttackView, "step", "Step"),
        (TheoryView, "m", "Measurements m"),
        (TransferView, "noise_rel", "Noise level"),
        (functools.partial(Explorer, image="brain"), "lines", "Lines of the mask"),
    ],
)
def test_the_widget_and_its_traits_move_together(open_widget, view, name, label):
    shown = view()
    page = open_widget(shown)
    control = page.get_by_label(label, exact=True)
    scale = LEVELS if name == "noise_rel" else range(256)  # what the slider's positions mean
    control.press("Home")
    least = int(control.input_value())
    assert page.evaluate("name => model.get(name)", name) == scale[least] != getattr(shown, name)
    page.wait_for_selector(DONE)
    page.evaluate("([name, value]) => model.set(name, value)", [name, scale[least + 4]])
    page.wait_for_selector(DONE)
    assert int(control.input_value()) == least + 4


def test_the_widget_of_the_networks_gets_its_data_from_the_kernel(open_widget):
    page = open_widget(NetworksView(), image="brain")
    assert page.get_by_label("Brain", exact=True).is_checked()
    page.get_by_label("Noise level", exact=True).press("Home")
    assert page.evaluate("model.get('noise_rel')") == 0.005
    page.wait_for_selector(DONE)
    page.evaluate("model.set('image', 'Shepp-Logan')")
    page.wait_for_selector(DONE)
    assert page.get_by_label("Shepp–Logan", exact=True).is_checked()
    moved(page, page.get_by_role("button", name="Load Tira (3 MB)").click)
    assert page.locator("[data-number=tira]").inner_text().endswith(" %")


def test_the_pictures_of_transfer_are_those_of_its_frames(open_view):
    view = TransferView("tira", "tv", 0.02, 1)
    page, content = open_view(view), data.entry("transfer-1")
    frame = content["2"]["tira"]
    shown = [page.locator(f"[data-number={name}]").inner_text() for name in ("r", "rho", "alpha")]
    assert shown == [frame["r"], *frame["seen"]["tv"]]
    close = (decode(frame["close"])[:, 24:48] - 128) / 100  # what TV shows, less the image
    top, left = (min(max(c, 12), 244) - 12 for c in frame["mu"])
    expected = (decode(content["x"])[top : top + 24, left : left + 24] / 255 + close).abs()
    drawn = (
        page.locator("canvas")
        .nth(3)
        .evaluate("canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 24, 24).data)")
    )
    red = torch.tensor(drawn).reshape(24, 24, 4)[..., 0] / 255
    over = expected > 1
    assert over.any() and (red[over] == 213 / 255).all()  # the colour of warning
    assert (red - expected)[~over].abs().max() < 0.01


# --- What a reader takes away

TAKEN = (  # a link, and what its lines of Python print of what the view shows, in their order
    (NetworksView, "noise_rel=0.1&image=Shepp-Logan&tira=1", ("zero", "tv", "tira", "tirafl")),
    (TransferView, "attacked=tv&shown=tira&noise_rel=0.02&image=0", ("r", "rho", "alpha")),
    (ReconstructionView, "lines=30&noise_rel=0.05&lam=0.001&iterations=80", ("zero", "tv")),
    (ReconstructionView, "lines=60&noise_rel=0.01&iterations=150", ("zero", "tv")),
    (AttackView, "noise_rel=0.02&mu=60,90&sigma=4", ("r", "rho", "alpha")),
    (AttackView, "noise_rel=0.04&mu=100,150&sigma=5&step=2", ("r", "rho", "alpha")),
    (TheoryView, "n=128&m=50&s=4&seed=7&method=tv&zero=true", ("r", "alpha", "ratio", "before", "after")),
    (TheoryView, "n=64&m=20&s=3&seed=2&method=l1&zero=false", ("r", "alpha", "ratio", "before", "after")),
)


@pytest.mark.parametrize(("view", "link", "names"), TAKEN)
def test_a_link_restores_the_view_and_its_lines_of_python_recompute_it(open_view, capsys, view, link, names):
    chapter = view().chapter
    page = open_view(view(), f"#view={chapter}&{link}")
    page.get_by_role("button", name="Python").press("Enter")
    exec(page.locator(".explorer-code").inner_text(), {})
    printed = re.findall(r"(?:r|rho|alpha|n/m|error|off the support) = ([\d.]+)", capsys.readouterr().out)
    shown = [page.locator(f"[data-number={name}]").inner_text().removesuffix(" %") for name in names]
    assert [float(value) for value in printed] == pytest.approx([float(value) for value in shown], rel=0.02)
    assert unquote(page.locator(".explorer-link").get_attribute("href")) == f"#view={chapter}&{link}"


@pytest.mark.parametrize("view", [ReconstructionView, AttackView])
def test_lines_of_python_leave_an_image_of_the_readers_to_them(open_view, capsys, view):
    x = IMAGES["brain"]()
    page = open_view(view(image=x))
    exec(page.locator(".explorer-code").text_content(), {"image": x})
    printed = [float(value) for value in re.findall(r"(?:r|rho|alpha|error) = ([\d.]+)", capsys.readouterr().out)]
    names = ("zero", "tv") if view is ReconstructionView else ("r", "rho", "alpha")
    shown = [float(page.locator(f"[data-number={name}]").inner_text().removesuffix(" %")) for name in names]
    assert printed == pytest.approx(shown, rel=0.02)


@pytest.mark.parametrize("view", VIEWS)
def test_a_link_of_another_view_or_with_nonsense_changes_nothing(open_view, view):
    expected = state(open_view(view()))
    nonsense = "&".join(f"{name}=-7" for name in view().names)
    for link in (f"#view={view().chapter}&{nonsense}", "#view=none&noise_rel=0.1&seed=9&image=1", "#a-section"):
        page = open_view(view(), link)
        assert state(page) == expected
        assert page.evaluate("location.hash") == link  # the reader has moved nothing yet


@pytest.mark.parametrize("view", VIEWS)
def test_the_address_follows_the_knobs_and_the_reader(open_view, view):
    page = open_view(view())
    start, (label, key, *_) = state(page), KNOBS[view][0]
    after = moved(page, functools.partial(knob(page, label).press, key))
    link = page.locator(".explorer-link").get_attribute("href")
    page.wait_for_function("link => location.hash === link", arg=link)
    assert moved(page, page.get_by_role("button", name="Reset").click) == start
    page.wait_for_function("link => location.hash !== link && location.hash", arg=link)
    assert moved(page, lambda: page.evaluate("link => { location.hash = link; }", link)) == after


@pytest.mark.parametrize(
    ("view", "dark"), [*((view, False) for view in VIEWS), (TheoryView, True), (TransferView, True)]
)
def test_the_pictures_are_saved_as_they_are_seen(open_view, tmp_path, view, dark):
    page = open_view(view())
    if dark:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.add_style_tag(content="body { background: #121212; --pst-color-text-base: #ced6dd; color: #ced6dd; }")
    look = "root => [root.innerHTML, root.style.cssText]"
    before = page.locator(".explorer").evaluate(look)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save pictures").click()
    assert page.locator(".explorer").evaluate(look) == before
    saved = download.value
    assert saved.suggested_filename == f"{view().chapter}.png"
    saved.save_as(tmp_path / "saved.png")
    picture = np.array(Image.open(tmp_path / "saved.png").convert("RGB"))
    first = page.locator(".explorer-parts :is(canvas, svg)").first.bounding_box()
    parts = page.locator(".explorer-parts").bounding_box()
    scale, gap = 512 / first["width"], 16
    assert picture.shape[1] == pytest.approx(scale * parts["width"] + 2 * gap, abs=1)
    assert picture.shape[0] > scale * parts["height"] + 2 * gap + 10  # the line of settings
    below = picture[round(scale * parts["height"]) + gap + 4 :]
    assert (below[:, : gap - 4] == 255).all() and (below < 80).all(-1).any()  # black on white
    if page.locator("canvas").count():
        second = page.locator("canvas").nth(1)
        box = second.bounding_box()
        top, left = (round(scale * (box[side] - parts[side])) + gap for side in "yx")
        seen = Image.open(io.BytesIO(second.screenshot()))
        drawn = Image.fromarray(picture[top : top + 512, left : left + 512])
        coarse = [np.array(image.convert("L").resize((16, 16), Image.Resampling.BOX), float) for image in (seen, drawn)]
        assert np.abs(coarse[0] - coarse[1]).max() < 20 < coarse[0].std()
