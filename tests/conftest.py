"""Settings of all tests."""

import fcntl
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

# Read when torch is imported. More tests run at once than there are cores: a thread that spins holds up the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).parent.parent
if WORKER := "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "numba")  # what one process compiles the others take
    os.environ["OMP_NUM_THREADS"] = "1"  # for kernels of notebooks: of some at a time, each would want all cores

# Most tests are small, and on a machine that does other work torch's threads wait for one another: one is faster.
torch.set_num_threads(1)

# The same examples in every run, nothing written, and no deadline: a shared machine is slow at times.
settings.register_profile("lib", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("lib")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def pytest_configure():
    """Let one worker at a time save or load a compiled loop: two at once, for different types, could mix them up."""
    if not WORKER:
        return
    from numba.core.caching import IndexDataCacheFile  # which reads NUMBA_CACHE_DIR when it is imported

    def alone(act):
        def locked(self, *arguments):
            with FileLock(f"{self._index_path}.lock"):
                return act(self, *arguments)

        return locked

    IndexDataCacheFile.save = alone(IndexDataCacheFile.save)
    IndexDataCacheFile.load = alone(IndexDataCacheFile.load)


def pytest_collection_modifyitems(items):
    for item in items:
        if {"site", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The book, built from a fresh clone (and what is not committed yet) in a temporary folder, warnings as errors.

    The processes of one run of the tests share it. BOOK_HTML names a finished build to look at instead:
    then nothing is said of the build itself.
    """
    if named := os.environ.get("BOOK_HTML"):
        return Path(named).resolve()
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if WORKER else folder) / "fresh"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            build(folder / "clone")
            (folder / "built").touch()
    return folder / "clone" / "_build" / "html"


def build(clone):
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, capture_output=True)
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copyfile(ROOT / name, clone / name)
        else:
            (clone / name).unlink(missing_ok=True)
    # what a user may have beside the book: it takes in what its contents name
    for name in ("out.ipynb", "notebooks/my copy.ipynb"):
        shutil.copyfile(clone / "notebooks" / "cs_mri.ipynb", clone / name)
    for name in ("README-mine.md", "book/draft.md"):
        (clone / name).write_text("# Notes\n\n{numref}`fig-nowhere` and [a file](nowhere.md)\n", encoding="utf-8")
    build = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "-n", "--keep-going"]
    done = subprocess.run(
        build, cwd=clone, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(clone)}
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, the system's; without one the tests of pages are skipped, with REQUIRE_BROWSER they fail."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        end = pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip
        end("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def send_error(self, code, *rest):
        if self.path == "/favicon.ico":  # browsers ask for one; the book has none
            self.send_response(204)
            self.end_headers()
        else:
            super().send_error(code, *rest)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def open_page(browser):
    """A function that opens an address; at the end nothing may have gone wrong in the console.

    Formulas take a third of a page's time to set, and few tests look at them.
    """
    contexts, wrong = [], []

    def open_(address, ready=True, formulas=False, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 1400}} | options)
        contexts.append(context)
        if not formulas:
            context.route("**/mathjax/**", lambda route: route.fulfill(body="", content_type="text/javascript"))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        if ready:
            page.wait_for_selector(".explorer[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(params=["http", "file"])
def base(request, site):
    return request.getfixturevalue("address") if request.param == "http" else f"{site.as_uri()}/"
