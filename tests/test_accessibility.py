"""axe-core in headless Chromium on every page of the book: nothing serious, in light and in dark mode."""

import axe_playwright_python
import pytest

AXE = (axe_playwright_python.__file__).replace("__init__.py", "axe.min.js")
SERIOUS = ("serious", "critical")
COLOURS = ["color-contrast", "link-in-text-block"]
NEW = {"exclude": [["[data-known]"]]}  # see THIN

# The looks of text in either mode; called in each. A word or link that looks like one measured before becomes plain
# text. A block of text alone that looks like one is left out by the rules about colours.
LOOK = """() => {
  const behind = (element) => {
    const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element);
    const see = [backgroundColor, backgroundImage, opacity].join();
    return !element.parentElement ? see : see === "rgba(0, 0, 0, 0),none,1" ? behind(element.parentElement)
      : see + (backgroundColor.startsWith("rgb(") ? "" : behind(element.parentElement));
  };
  for (const text of document.querySelectorAll("span, em, strong, code, a[href], p, li, dt, dd, th, td")) {
    const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(text);
    text.look = [text.look, color, fontSize, fontWeight, behind(text), !!text.closest("a")].join();
    const { width, height } = text.getBoundingClientRect(); // now: after a change it takes a new layout each time
    text.shown = width > 1 && height > 1;
    if (!text.matches("a")) continue;
    const around = text.parentElement; // a link in text is told from it by colour or by a line
    const inText = around.textContent.trim() !== text.textContent.trim();
    text.look += [textDecorationLine, inText, around.tagName, getComputedStyle(around).color].join();
  }
}"""
THIN = """(measured) => {
  const known = new Set(measured);
  const seen = (text) => !text.children.length && text.textContent.trim() && text.shown;
  const plain = (word) => word.getAttributeNames().every((name) => ["class", "href", "title"].includes(name));
  for (const word of [...document.querySelectorAll("span, em, strong, code, a[href]")].reverse()) {
    if (!seen(word)) continue;
    if (known.has(word.look) && plain(word)) word.replaceWith(word.textContent);
    known.add(word.look);
  }
  for (const block of [...document.querySelectorAll("p, li, dt, dd, th, td")].filter(seen)) {
    block.toggleAttribute("data-known", known.has(block.look));
    known.add(block.look);
  }
  return [...known];
}"""


def pages(site):
    """Every page but the one that forwards and, of the pages with the source code, all but one."""
    for path in sorted(site.rglob("*.html")):
        top = path.relative_to(site).parts[0]
        if top != "_static" and path != site / "index.html" and (top != "_modules" or path.stem == "phantoms"):
            yield path


DRAWN = """(async () => {
  const waits = () => [...document.querySelectorAll("[data-chapter]")].some((view) => !view.dataset.done);
  while (waits()) await new Promise((next) => setTimeout(next, 50));
})()"""


def test_no_page_has_a_serious_finding_in_light_or_dark(site, browser):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.route("**/mathjax/**", lambda route: route.abort())  # slow; one page is tested with it below
    tab = context.new_page()
    measured = []
    found = [finding for path in pages(site) for finding in findings(tab, path, DRAWN, measured)]
    context.close()
    assert not found, "\n".join(found)


def test_formulas_are_accessible(site, browser):
    context = browser.new_context(viewport={"width": 390, "height": 900})
    found = findings(context.new_page(), site / "book" / "certificates.html", "MathJax.startup.promise")
    context.close()
    assert not found, "\n".join(found)


AT_WORK = """(async () => {
  const root = document.querySelector(".explorer"), wait = () => new Promise((next) => setTimeout(next, 50));
  while (!root.dataset.ready) await wait();
  location.hash = "noise=4&mu=112,80&mode=live&n=128&image=brain&STATE";
  await wait();
  [...root.querySelectorAll("button")].find((button) => button.textContent === "Python").click();
  while (!root.dataset.done) await wait();
})()"""


@pytest.mark.parametrize("state", ["feature=paint&paint=3_10_5050", "feature=attack"])
def test_the_explorer_at_work_is_accessible(site, browser, state):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.route("**/mathjax/**", lambda route: route.abort())
    tab = context.new_page()
    found = findings(tab, site / "notebooks" / "explorer.html", AT_WORK.replace("STATE", state))
    assert tab.get_by_role("region", name="Python that recomputes").is_visible()
    context.close()
    assert not found, "\n".join(found)


def findings(tab, path, ready="document.fonts.ready", measured=None):
    """What axe-core finds serious on a page in either mode; a list ``measured`` goes from page to page, see LOOK."""
    tab.set_default_timeout(120_000)
    tab.emulate_media(color_scheme="light")
    tab.goto(path.as_uri())
    tab.add_style_tag(content="* { transition: none !important; }")  # colours in between would be measured
    tab.evaluate(f"({ready}).then(() => null)")
    tab.add_script_tag(path=AXE)
    into(tab, "light")
    found = serious(
        tab, path, "light", {"include": [["html"]]}, {"rules": {rule: {"enabled": False} for rule in COLOURS}}
    )
    if measured is not None:
        tab.evaluate(LOOK)
        into(tab, "dark")
        tab.evaluate(LOOK)
        measured[:] = tab.evaluate(THIN, measured)
    for mode in ("light", "dark"):  # colours take most of the time; the other rules say the same in the dark
        into(tab, mode)
        found += serious(tab, path, mode, NEW, {"runOnly": COLOURS})
    return found


def serious(tab, path, mode, where, rules):
    """What axe-core finds serious in a part of the page, by some of its rules."""
    run = "([where, options]) => axe.run(where, options).then((found) => found.violations)"
    return [
        f"{path.name}, {mode}: {violation['id']} ({violation['impact']}): {node['html'][:160]} {node['target']}"
        for violation in tab.evaluate(run, [where, {"resultTypes": ["violations"], **rules}])
        if violation["impact"] in SERIOUS
        for node in violation["nodes"][:4]
    ]


def into(tab, mode):
    tab.emulate_media(color_scheme=mode)
    tab.wait_for_function(f"document.documentElement.dataset.theme === '{mode}'")


def test_a_page_with_defects_is_found_out(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<html lang="en"><title>t</title><style>@media (prefers-color-scheme: dark) { .i { color: #777 } }</style>'
        "<script>const dark = matchMedia('(prefers-color-scheme: dark)'), html = document.documentElement;"
        "dark.onchange = () => { html.dataset.theme = dark.matches ? 'dark' : 'light' }; dark.onchange()</script>"
        '<main style="background: #888"><h1>h</h1><img src="x.png"><span>well</span>'
        '<span class="i">dim in the dark</span>BLOCKS</main></html>',
        encoding="utf-8",
    )
    tab = browser.new_page()
    known = []
    for text in ("\n".join(findings(tab, page, measured=known)), "\n".join(findings(tab, page))):
        assert "light: image-alt (critical)" in text and "light: color-contrast" not in text
        assert "dark: color-contrast (serious)" in text
    assert len(known) == 2
    blocks = (
        "<p>well</p><p>as well</p><p style='color: #999'>dim</p><p style='opacity: 0.5'>faint</p>"
        "<style>a { color: #222; text-decoration: none }</style>"
        "<ul><li>in text, <a href='#y'>a link</a> without a line</li><li><a href='#x'>a link alone</a></li></ul>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("BLOCKS", blocks), encoding="utf-8")
    for text in ("\n".join(findings(tab, page, measured=[])), "\n".join(findings(tab, page))):
        assert all(f'light: color-contrast (serious): <p style="{style}' in text for style in ("color", "opacity"))
        assert "light: link-in-text-block (serious)" in text
    tab.close()
