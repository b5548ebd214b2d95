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


def setup(app):
    app.connect("config-inited", decide)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
