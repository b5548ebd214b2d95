"""The whole book as one PDF: Chromium prints Sphinx's page of all pages. `make pdf` runs it.

Chromium is found as `chromium`, `chromium-browser` or `google-chrome`, or named by the variable CHROMIUM.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FOOTER = (
    '<div style="width: 100%; font: 8px sans-serif; color: #555; text-align: center">'
    '<span class="pageNumber"></span></div>'
)


def chromium() -> str:
    """The path of the browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        sys.exit("Chromium is needed (Debian, Ubuntu: apt-get install chromium), or set CHROMIUM to its path")
    if not shutil.which(found):
        sys.exit(f"CHROMIUM is {found}, which is no program")
    return found


def print_pdf(page_of_all: Path, pdf: Path) -> None:
    """Print an HTML file, formulas typeset and pictures loaded, with an outline and page numbers."""
    temporary = pdf.with_name(f".{pdf.name}.{os.getpid()}.tmp")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(600_000)  # ten minutes, for a busy machine
        page.goto(page_of_all.resolve().as_uri())
        page.evaluate("document.querySelectorAll('img[loading]').forEach(image => image.loading = 'eager')")
        page.evaluate("MathJax.startup.promise.then(() => MathJax.typesetPromise())")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        page.wait_for_function("[...document.querySelectorAll('[data-chapter]')].every(view => view.dataset.done)")
        broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
        if broken:
            raise RuntimeError(f"print_pdf: pictures are missing: {broken}")
        page.emulate_media(media="print")
        margin = {"top": "20mm", "bottom": "20mm", "left": "22mm", "right": "22mm"}
        page.pdf(
            path=temporary, format="A4", margin=margin, print_background=True, outline=True, tagged=True,
            display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
        )  # fmt: skip
        browser.close()
    os.replace(temporary, pdf)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python book/pdf.py", description=__doc__, epilog="example: python book/pdf.py in.html out.pdf"
    )
    parser.add_argument("html", type=Path, help="the page of all pages")
    parser.add_argument("pdf", type=Path, help="what to write")
    arguments = parser.parse_args()
    print_pdf(arguments.html, arguments.pdf)


if __name__ == "__main__":
    main()
