"""What the setting `repository: url` and the commit decide: the launch buttons, and the footer.

The footer names the commit that the book was built from and its date, so the same commit gives the same pages.
"""

import re
import subprocess
from html import escape
from pathlib import Path


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


# what the writers get wrong for screen readers: a list without list items is none, an id stands once
MENDED = {'<div role="list" class="citation-list">': '<div class="citation-list">', ' id="proof-content"': ""}
# and against the rules of HTML: in these elements paragraphs and blocks must be spans; how they look is in custom.css
INLINE = {"summary": ("p",), "pre": ("div",)}
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
    context["body"] = inline(body)
    tree = context.get("generate_toctree_html")
    if tree:
        context["generate_toctree_html"] = lambda *args, **kwargs: _with_names(tree(*args, **kwargs))


def forward(app, exception):
    """Write the index that leads to the first page, where Jupyter Book would write one that is no whole document."""
    index = Path(app.outdir) / "index.html"
    if not exception and app.builder.format == "html" and app.config.root_doc != "index":
        page = app.builder.get_target_uri(app.config.root_doc)
        index.write_text(FORWARD.format(page=page, title=escape(app.config.html_title)), encoding="utf-8")


def _with_names(html):
    return str(html).replace("<summary>", '<summary aria-label="Show or hide the pages below">')


def setup(app):
    app.connect("config-inited", decide)
    app.connect("html-page-context", mend, priority=900)
    app.connect("build-finished", forward)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
