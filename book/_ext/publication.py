"""What the setting `repository: url` and the commit decide: the launch buttons, and the footer.

The footer names the commit that the book was built from and its date, so the same commit gives the same pages.
"""

import subprocess
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


def mend(app, pagename, templatename, context, doctree):
    """Mend the body of a page, and let the arrows of the contents say what they do."""
    for wrong, right in MENDED.items():
        context["body"] = context.get("body", "").replace(wrong, right)
    tree = context.get("generate_toctree_html")
    if tree:
        context["generate_toctree_html"] = lambda *args, **kwargs: _with_names(tree(*args, **kwargs))


def _with_names(html):
    return str(html).replace("<summary>", '<summary aria-label="Show or hide the pages below">')


def setup(app):
    app.connect("config-inited", decide)
    app.connect("html-page-context", mend, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
