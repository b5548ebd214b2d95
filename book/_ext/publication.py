"""What makes the pages a publication: launch buttons, the footer, captions of computed tables, valid HTML.

The setting `repository: url` decides about the buttons. The footer names the commit that the book was built from and
its date, so the same commit gives the same pages.
"""

import re
import subprocess
from html import escape
from pathlib import Path

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


def edition(root: Path) -> str:
    """For example "Version 1a2b3c4 of 2026-11-22"; a + marks changes that were not committed; "" without git."""
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run(
            [*git, "log", "-1", "--format=%h of %cs"], check=True, capture_output=True, text=True
        ).stdout.split(maxsplit=1)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"Version {commit[0]}{'+' if changed else ''} {commit[1].strip()}"


def decide(app, config):
    options = config.html_theme_options
    text = edition(Path(app.srcdir))
    if text:
        options["extra_footer"] = f'<p class="edition">{text}</p>'
    if options.get("repository_url"):
        options |= {"use_repository_button": True, "use_issues_button": True}
    else:  # the theme fails on launch buttons without a repository
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)


class TableCaptions(SphinxTransform):
    """Give the table that a cell computes the caption and the name in the cell's metadata, as figures have them."""

    default_priority = 600  # before Sphinx collects what can be numbered and referred to

    def apply(self):
        for cell in self.document.findall(nodes.container):
            options = cell.get("cell_metadata", {}).get("table")
            table = next(cell.findall(nodes.table), None)
            if options and table is None:
                logger.warning("a cell has a caption but no table: %s", options["name"], location=cell)
            elif options:
                table.insert(0, caption(options["caption"]))
                table["names"].append(options["name"])
                self.document.note_explicit_target(table, table)


def caption(text: str) -> nodes.title:
    """A caption with `code` and $formulas$."""
    kinds = {"`": nodes.literal, "$": nodes.math}
    parts = filter(None, re.split(r"(`[^`]+`|\$[^$]+\$)", text))
    return nodes.title(text, "", *(kinds[p[0]](p[1:-1], p[1:-1]) if p[0] in kinds else nodes.Text(p) for p in parts))


# What JupyterLab shows as it stands, and what Sphinx is to make of it: a number, or a citation of the bibliography
LINKS = (
    (re.compile(r"\[[Tt]he (?:figure|table)\]\(#([\w-]+)\)"), r"{numref}`\1`"),
    (re.compile(r"\[\([^\[\]\n]+\d{4}\)\]\(#([a-z]+\d{4})\)"), r"{cite:p}`\1`"),
    (re.compile(r"\[[^\[\](\n]+\(\d{4}\)\]\(#([a-z]+\d{4})\)"), r"{cite:t}`\1`"),
)


def with_roles(app, docname, source):
    """Read the links of a notebook, [the figure](#fig-1) or [Poon (2015)](#poon2015), as the roles they stand for."""
    for link, role in LINKS:
        source[0] = link.sub(role, source[0])


class AuthorYearLabels(BaseLabelStyle):
    """The labels of the bibliography, as the text cites: [Poon, 2015], [Candès and Plan, 2011], [Yang et al., 2016]."""

    def format_labels(self, sorted_entries):
        for entry in sorted_entries:
            names = [" ".join(map(str, person.rich_last_names)) for person in entry.persons["author"]]
            who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
            yield f"{who}, {entry.fields['year']}"


class AuthorYear(Style):
    default_label_style = AuthorYearLabels


# what the writers get wrong for screen readers: a list without list items is none, an id stands once
MENDED = {'<div role="list" class="citation-list">': '<div class="citation-list">', ' id="proof-content"': ""}
# and against the rules of HTML: in these elements paragraphs and blocks must be spans; how they look is in custom.css
INLINE = {"summary": ("p",), "pre": ("div",)}
# no line begins with the full stop after a formula, which is a box to the browser
FORMULA = re.compile(r'<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)’-]+')
# the theme has the search on every page, where it fails on an address with ?q=; only its own page needs it
SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
FORWARD = """<!DOCTYPE html>
<html lang="en"><head>
<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={page}"><title>{title}</title></head>
<body><p><a href="{page}">{title}</a></p></body></html>
"""


def inline(html: str) -> str:
    """The page with spans for the blocks that may not stand where they stand."""
    for outer, blocks in INLINE.items():
        tag = re.compile(rf"<(/?)(?:{'|'.join(blocks)})\b")
        html = re.sub(rf"<{outer}\b.*?</{outer}>", lambda found: tag.sub(r"<\1span", found[0]), html, flags=re.DOTALL)
    return html


def mend(app, pagename, templatename, context, doctree):
    """Mend the body of a page, and let the arrows of the contents say what they do."""
    body = context.get("body", "")
    for wrong, right in MENDED.items():
        body = body.replace(wrong, right)
    context["body"] = FORMULA.sub(r'<span class="unbroken">\g<0></span>', inline(body))
    tree = context.get("generate_toctree_html")
    if tree:
        context["generate_toctree_html"] = lambda *args, **kwargs: _with_names(tree(*args, **kwargs))


def forward(app, exception):
    """Write the index that leads to the first page, where Jupyter Book would write one that is no whole document."""
    index = Path(app.outdir) / "index.html"
    if not exception and app.builder.format == "html" and app.config.root_doc != "index":
        page = app.builder.get_target_uri(app.config.root_doc)
        index.write_text(FORWARD.format(page=page, title=escape(app.config.html_title)), encoding="utf-8")


def without_search(app, exception):
    """Leave the search to its own page."""
    for page in Path(app.outdir).rglob("*.html") if app.builder.format == "html" and not exception else ():
        html = page.read_text(encoding="utf-8")
        if page.name != "search.html" and SEARCH.search(html):
            page.write_text(SEARCH.sub("", html), encoding="utf-8")


def _with_names(html):
    return str(html).replace("<summary>", '<summary aria-label="Show or hide the pages below">')


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    app.add_transform(TableCaptions)
    app.connect("config-inited", decide)
    app.connect("source-read", with_roles)
    app.connect("html-page-context", mend, priority=900)
    app.connect("build-finished", forward)
    app.connect("build-finished", without_search)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
