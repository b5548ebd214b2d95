"""axe-core in headless Chromium on every page of the book: nothing serious, in light and in dark mode."""

import axe_playwright_python
import pytest

AXE = (axe_playwright_python.__file__).replace("__init__.py", "axe.min.js")
SERIOUS = ("serious", "critical")
BY_MODE = {
    "light": {"resultTypes": ["violations"]},
    "dark": {
        "resultTypes": ["violations"],
        "runOnly": ["color-contrast", "link-in-text-block"],
    },  # the rest is the same
}

# Words of code that have the colours and the size of words measured before are left out: they take half of the time.
RUN = """([options, measured]) => {
  const known = new Set(measured), style = (element) => getComputedStyle(element);
  for (const word of document.querySelectorAll("pre span:not(:has(*))")) {
    const { color, backgroundColor, fontSize, fontWeight } = style(word), under = style(word.closest("pre"));
    const look = [color, backgroundColor, fontSize, fontWeight, under.backgroundColor].join();
    word.removeAttribute("data-measured");
    word.toggleAttribute("data-measured", known.has(look) && word.attributes.length < 2); // it has a class alone
    known.add(look);
  }
  const found = axe.run({ exclude: [["[data-measured]"]] }, options);
  return found.then(({ violations }) => [violations, [...known]]);
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
    """What axe-core finds serious on a page in either mode; a list ``measured`` goes from page to page, see RUN."""
    measured = [] if measured is None else measured
    tab.set_default_timeout(120_000)
    tab.emulate_media(color_scheme="light")
    tab.goto(path.as_uri())
    tab.add_style_tag(content="* { transition: none !important; }")  # colours in between would be measured
    tab.evaluate(f"({ready}).then(() => null)")
    tab.add_script_tag(path=AXE)
    found = []
    for mode, options in BY_MODE.items():
        tab.emulate_media(color_scheme=mode)
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{mode}'")
        violations, measured[:] = tab.evaluate(RUN, [options, measured])
        found += [
            f"{path.name}, {mode}: {violation['id']} ({violation['impact']}): {node['html'][:160]} {node['target']}"
            for violation in violations
            if violation["impact"] in SERIOUS
            for node in violation["nodes"][:4]
        ]
    return found


def test_a_page_with_defects_is_found_out(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<html lang="en"><title>t</title><style>@media (prefers-color-scheme: dark) { i { color: #777 } }</style>'
        "<script>const dark = matchMedia('(prefers-color-scheme: dark)'), html = document.documentElement;"
        "dark.onchange = () => { html.dataset.theme = dark.matches ? 'dark' : 'light' }; dark.onchange()</script>"
        '<main style="background: #888"><h1>h</h1><img src="x.png"><i>dim in the dark</i></main></html>',
        encoding="utf-8",
    )
    tab = browser.new_page()
    text = "\n".join(findings(tab, page))
    tab.close()
    assert "light: image-alt (critical)" in text and "light: color-contrast" not in text
    assert "dark: color-contrast (serious)" in text
