"""The built book in a real browser: its pages ask no other host, each chapter has its view, and so has JupyterLab."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from pages import DONE, EXPLORER, SLOW, VIEW, move, numbers, pixels, settle

from lib.explorer import IMAGES

pytestmark = pytest.mark.slow  # `make quick` leaves them out

ROOT = Path(__file__).parent.parent


WHOLE = r"<script.*?</script>|<style.*?</style>|<base[^>]*>"
ASKING = r"<[^>]*\b(?:src|srcset|poster|style|on\w+|rel|data|http-equiv|xlink:href)=[^>]*>"


def loads(file, depth):
    """All by which a page, that many folders deep, can load something, as text; its own name left out."""
    text = file.read_text(encoding="utf-8").replace('"' + "../" * depth, '"')
    return re.findall(f"{WHOLE}|{ASKING}", re.sub(r"pagename = '.*?'", "", text), re.DOTALL)


def test_every_page_asks_no_other_host(browser, site, base):
    context = browser.new_context()
    page, outside, wrong = context.new_page(), [], []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((base, "data:", "blob:")) else None)
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    pages = {p.relative_to(site).as_posix(): p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts}
    assert EXPLORER in pages and len(pages) > 8
    del pages["index.html"]  # it only leads to the first page
    sources = [path for path in pages if path.startswith("_modules/")]
    one = max(sources, key=lambda path: path.count("/"))
    assert [path for path in sources if loads(pages[path], path.count("/")) != loads(pages[one], one.count("/"))] == []
    pages = [path for path in pages if path == one or path not in sources]  # with one of them all are tried
    for path in pages:
        page.goto(base + path, wait_until="load")
        if page.locator("mjx-container, .math").count():
            page.wait_for_selector("mjx-container", state="attached")  # mathematics is rendered
        if page.locator("[data-chapter]").count():
            page.wait_for_selector(VIEW)  # and the view has loaded what it draws
    page.goto(f"{base}search.html?q=spike")
    page.wait_for_selector("#search-results li")  # and the search finds something
    context.close()
    assert (outside, wrong) == ([], [])


HOME = "book/index.html"
VIEWS = {
    "reconstruction": "cs_mri",
    "networks": "networks",
    "attack": "attack",
    "transfer": "results",
    "theory": "theory",
}


def test_home_leads_to_the_view_of_each_chapter(open_page, address):
    page = open_page(address + HOME)
    for view, chapter in VIEWS.items():
        link = page.locator(f"article a[href$='#view-{view}']").evaluate("a => a.href")
        assert link == f"{address}notebooks/{chapter}.html#view-{view}"
        there = open_page(link, formulas=True)
        there.wait_for_selector("mjx-container", state="attached")
        there.wait_for_selector(VIEW)
        top = there.locator(f"#view-{view}[data-chapter]").bounding_box()["y"]
        assert 0 <= top < 500, view  # in sight, below the header


def test_home_says_where_a_click_goes_and_hands_its_settings_on(open_page, base):
    page = open_page(base + HOME)
    assert page.get_by_text("one of 64 places").is_visible()
    move(page.get_by_label("Noise level"))
    page.locator(".explorer-box > canvas:first-child").first.click(position={"x": 20, "y": 20})
    settle(page)
    before = pixels(page), numbers(page)
    for link in (
        page.get_by_role("link", name="Go on from here"),
        page.locator("article p > a", has_text="explorer").first,
    ):
        address = link.evaluate("a => a.href")
        assert re.search(r"explorer.html#noise=8&mu=\d+,\d+$", address) and "mu=112,80" not in address
    link.click()
    page.wait_for_selector(DONE)
    assert page.url == address and (pixels(page), numbers(page)) == before


@pytest.mark.parametrize("path", [EXPLORER, HOME])
def test_why_it_works_is_one_click_away(open_page, address, path):
    page = open_page(address + path)
    page.get_by_role("link", name="Why does this work?").click()
    assert page.url == f"{address}notebooks/theory.html" and "exact recovery" in page.title()


def test_images_have_the_same_names_everywhere(open_page, address):
    page = open_page(address + EXPLORER)
    names = page.evaluate("explorerParts.IMAGES")
    assert list(names) == list(IMAGES)
    for path in (EXPLORER, "notebooks/networks.html"):
        labels = open_page(address + path).locator("fieldset", has_text="Ellipses").locator("label").all_inner_texts()
        assert [label for label in labels if label in names.values()] == list(names.values())


@pytest.mark.parametrize("path", [EXPLORER, HOME])
def test_on_a_phone(open_page, address, path):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_page(address + path, formulas=True, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for element in page.locator(".explorer :is(canvas, input, output, button, label)").locator("visible=true").all():
        box = element.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    before = numbers(page)
    page.locator(".explorer-box > canvas:first-child").first.tap(position={"x": 20, "y": 20})
    settle(page)
    assert numbers(page) != before


CHAPTERS = {
    "cs_mri": "Zero-filled",
    "networks": "TiraFL",
    "attack": "TV from y + e",
    "theory": "Recovered from y + e",
    "results": "TV from y + e",
}  # a title in each view


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chapter_has_its_view(open_page, address, chapter):
    page = open_page(f"{address}notebooks/{chapter}.html", formulas=True)
    assert page.evaluate("performance.getEntriesByName('explorer')[0].startTime") < SLOW * 1000
    page.wait_for_selector(VIEW)
    assert CHAPTERS[chapter] in page.locator("[data-chapter] h3").all_inner_texts()
    still = open_page(f"{address}notebooks/{chapter}.html", ready=False, java_script_enabled=False)
    image = still.locator("[data-chapter] img")
    assert image.bounding_box()["width"] > 300 and len(image.get_attribute("alt")) > 40
    assert image.evaluate("image => image.naturalWidth") > 300


def test_no_chapter_scrolls_sideways_nor_do_its_cells(browser, site):
    chapters = sorted((site / "notebooks").glob("*.html"))
    assert len(chapters) > 7
    for width in (390, 1300):
        # without scripts, which are slow: what is measured is text
        page = browser.new_page(viewport={"width": width, "height": 900}, java_script_enabled=False)
        for chapter in chapters:
            page.goto(chapter.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, chapter.name
            wide = page.evaluate(
                """() => [...document.querySelectorAll(".cell pre")].filter((e) => e.scrollWidth > e.clientWidth + 1)
                  .map((e) => e.textContent.split("\\n").reduce((a, b) => (a.length > b.length ? a : b)))"""
            )
            assert width < 1300 or wide == [], chapter.name
        page.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "settings").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(ROOT / "notebooks" / "explorer.ipynb", folder)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    options = ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--notebook-dir={folder}"]
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "PYTHONPATH": str(ROOT)}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/lab/"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=5)
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def test_in_jupyterlab_the_explorer_is_that_of_the_page(browser, lab):
    page = browser.new_context(viewport={"width": 1300, "height": 1400}).new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{lab}tree/explorer.ipynb")
    page.wait_for_selector(".jp-Notebook")
    page.get_by_text("| Idle").wait_for()  # before its kernel is there, Run asks which one to take
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(f".jp-OutputArea-output {DONE}")
    assert page.locator(".explorer-column h3").all_inner_texts() == ["TV", "Tira (compact)", "TiraFL (compact)"]
    before = pixels(page), numbers(page)
    canvas = page.locator(".explorer-box > canvas:first-child").first
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.1, "y": box["height"] * 0.8})
    page.wait_for_selector(DONE)
    assert pixels(page) != before[0] and numbers(page) != before[1]
    assert page.get_by_label("Target, row").locator("visible=true").input_value() == "6"  # of the grid, row 208
    page.get_by_label("TV and Tira, live in your browser").check()
    page.get_by_label("Attack", exact=True).check()
    page.wait_for_selector(DONE)
    assert "Done" in page.locator(".explorer-status").inner_text() and float(numbers(page, 3)["alpha"]) > 2
    labels = page.locator(".explorer label").locator("visible=true")
    assert not any(labels.evaluate_all("labels => labels.map((label) => label.scrollWidth > label.clientWidth + 1)"))
    page.context.close()
