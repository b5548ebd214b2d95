"""Keep the book offline: loading a page fetches nothing from another host.

Jupyter Book always loads sphinx_thebe, which writes the addresses of a CDN and of a Binder repository into every page;
it is unhooked. Everything else is checked: after the build each page and each style sheet is read, and every outside
address that a browser would fetch by itself becomes a warning, which is an error under -W. Links to follow are fine.

What no page loads is taken out: the other bundles of MathJax, its speech rules and the theme's words in languages other
than English, fonts that are there as woff2, too, and maps for debuggers, more than 20 MB. Notebooks to download leave
the outputs to the page that they are of.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

OUTSIDE = re.compile(r"\s*([a-z]+:)?//", re.IGNORECASE)  # https://host/..., and //host/... without a scheme
CSS_FETCH = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])\s*((?:[a-z]+:)?//[^"')\s]+)""", re.IGNORECASE)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
FETCHING = {"src", "srcset", "poster", "background"}  # on any tag
FETCHING_ON = {("object", "data"), ("image", "href"), ("image", "xlink:href"), ("use", "href"), ("use", "xlink:href")}
LINKS_TO_FOLLOW = {"alternate", "author", "canonical", "help", "index", "license", "next", "prev", "search"}


def outside_in_css(text: str) -> list[str]:
    """The outside addresses that a style sheet fetches."""
    return CSS_FETCH.findall(CSS_COMMENT.sub("", text))


def outside_in_html(text: str) -> list[str]:
    """The outside addresses that a browser fetches while it loads a page."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.found


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.in_style = False

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        for name, value in attributes.items():
            if name == "style":
                self.found += outside_in_css(value)
            elif name == "srcdoc":
                self.found += outside_in_html(value)
            elif name in FETCHING or (tag, name) in FETCHING_ON or self._is_fetched_link(tag, name, attributes):
                addresses = value.split(",") if name == "srcset" else [value]
                self.found += [address.strip() for address in addresses if OUTSIDE.match(address)]

    @staticmethod
    def _is_fetched_link(tag, name, attributes):
        kinds = set(attributes.get("rel", "").lower().split())
        return tag == "link" and name == "href" and not kinds <= LINKS_TO_FOLLOW

    def handle_endtag(self, tag):
        self.in_style = False

    def handle_data(self, data):
        if self.in_style:
            self.found += outside_in_css(data)


def unhook_thebe(app, config):
    """Take back what sphinx_thebe registered: its event handlers and its style sheet."""
    for listeners in app.events.listeners.values():
        listeners[:] = [listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files[:] = [entry for entry in app.registry.css_files if entry[0] != "sphinx-thebe.css"]


def check(app, exception):
    """Warn of every outside asset in what was built."""
    if exception or app.builder.format != "html":
        return
    for pattern, outside in (("*.html", outside_in_html), ("*.css", outside_in_css)):
        for path in sorted(Path(app.outdir).rglob(pattern)):
            for address in sorted(set(outside(path.read_text(encoding="utf-8")))):
                logger.warning("outside asset in %s: %s", path.relative_to(app.outdir), address, type="offline")


UNUSED = re.compile(
    r".*\.(js|css)\.map"
    r"|mathjax/(node-main|mml-\w+|tex-svg(-full)?|tex-mml-\w+|tex-chtml-full(-speech)?)\.js"
    r"|mathjax/sre/mathmaps/(?!base|en|nemeth)\w+\.json"
    r"|.*\.ttf|locales/.*"
)


def lighten(app, exception):
    """Take out what no page loads, and the outputs of notebooks to download."""
    for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    static = Path(app.outdir) / "_static"
    for path in static.rglob("*"):
        if path.is_file() and UNUSED.fullmatch(path.relative_to(static).as_posix()):
            path.unlink()


def setup(app):
    app.connect("config-inited", unhook_thebe)
    app.connect("build-finished", lighten, priority=900)
    app.connect("build-finished", check, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
