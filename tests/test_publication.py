"""The built book: links, the reference of lib, footer and buttons; licences, citation, and the commands it names."""

import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import html5lib
import nbformat
import pytest
import yaml
from pybtex.database import parse_file

from lib.figures.__main__ import NAMED
from lib.runs.tables import read_table

ROOT = Path(__file__).parent.parent
FILES = [path for path in sorted((ROOT / "lib").rglob("*.py")) if path.stem == "__main__" or path.stem[0] != "_"]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
PUBLICATION = ROOT / "book" / "_ext" / "publication.py"


def load(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Page(HTMLParser):
    """Ids, links, pictures and headings of a page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.images, self.headings, self.tags = [], [], [], [], {}
        self.article = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.tags.setdefault(tag, []).append(attributes)
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "img":
            self.images.append(attributes)
        self.article |= tag == "article"  # before it is a title for print
        if self.article and re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def pages(site):
    found = {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts}
    return {path: page for path, page in found.items() if "http-equiv" not in path.read_text(encoding="utf-8")[:200]}


# --- Pages


def test_each_chapter_and_each_module_is_a_page(site, pages):
    built = {str(path.relative_to(site).with_suffix("")) for path in pages}
    sources = [*(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    assert {str(source.relative_to(ROOT).with_suffix("")) for source in sources} <= built
    assert {f"book/api/{module.split('.')[1]}" for module in MODULES} <= built


def test_the_book_is_small_enough_to_send(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 30e6


def test_notebooks_to_download_are_whole_but_for_their_outputs(site):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        ours, theirs = (nbformat.read(place, 4).cells for place in (path, site / "_sources" / "notebooks" / path.name))
        assert [cell.source for cell in ours] == [cell.source for cell in theirs], path.name
        assert not any(cell.get("outputs") for cell in theirs), path.name


def test_every_internal_link_and_anchor_leads_somewhere(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in ("", "#"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            ids = pages[target].ids if target in pages else [unquote(parts.fragment)]
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in ids):
                dead.append((path.name, link))
    assert dead == []


def test_links_to_elsewhere_are_those_of_the_list(pages):
    listed = (ROOT / "book" / "links.txt").read_text(encoding="utf-8").split()
    assert listed == sorted(set(listed))
    buttons = (CONFIG["repository"]["url"] or "none", *(v for k, v in CONFIG["launch_buttons"].items() if "url" in k))
    found = {link for page in pages.values() for link in page.links if urlsplit(link).scheme in ("http", "https")}
    assert {link for link in found if not link.startswith(buttons)} == set(listed)


def test_each_page_is_well_formed(site, pages):
    for path, page in pages.items():
        name = str(path.relative_to(site))
        assert len(page.ids) == len(set(page.ids)), (name, {i for i in page.ids if page.ids.count(i) > 1})
        assert page.tags["html"][0].get("lang") == "en" and "title" in page.tags, name
        assert page.headings.count(1) == 1 or name == "search.html", name
        steps = zip(page.headings, page.headings[1:], strict=False)
        assert all(after <= before + 1 for before, after in steps), (name, page.headings)
        assert all("alt" in image for image in page.images), name


# elements that may hold words and spans but no blocks; the parser itself takes a block out of a paragraph
INLINE_ONLY = {"pre", "span", "summary", "label", "button", "em", "strong", "code", "h1", "h2", "h3", "h4", "h5", "h6"}
BLOCKS = set("div p pre ul ol dl table figure section article aside nav header footer main form blockquote hr".split())


def html_errors(text):
    """What html5lib, a parser by the specification of HTML, objects to; and blocks where only words may be."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    todo = [(parser.parse(text), None)]
    found = [f"{code} in line {line}" for (line, _), code, _ in parser.errors]
    while todo:
        node, outer = todo.pop()
        if outer and node.tag in BLOCKS:
            found.append(f"<{node.tag}> in <{outer}>")
        todo += [(child, node.tag if node.tag in INLINE_ONLY else outer) for child in node]
    return found


def test_every_page_is_valid_html(site, pages):
    found = {str(path.relative_to(site)): html_errors(path.read_text(encoding="utf-8")) for path in pages}
    found["index.html"] = html_errors((site / "index.html").read_text(encoding="utf-8"))
    assert not {name: errors for name, errors in found.items() if errors}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("<p>fine <b>and</b> <a href='x'>linked</a></p><svg><path/></svg>", ""),
        ("<b><i>crossed</b></i>", "adoption-agency"),
        ("<div>not closed", "expected-one-end-tag"),
        ("<p><div>a block in a paragraph</div></p>", "unexpected-end-tag"),
        ("<a href='x' href='y'>twice</a>", "duplicate-attribute"),
        ("<summary><p>a block</p></summary>", "<p> in <summary>"),
        ("<pre><b><div>a block</div></b></pre>", "<div> in <pre>"),
    ],
)
def test_invalid_html_is_found_out(body, error):
    found = html_errors(f"<!DOCTYPE html><html lang='en'><head><title>t</title></head><body>{body}</body></html>")
    assert bool(found) == bool(error) and error in " ".join(found), found


def test_tables_have_captions_and_numbers(site, pages):
    """All but the lists of chapters, modules, checks and old names, which are for finding the way."""
    lists = {site / "book" / f"{name}.html" for name in ("index", "api/index", "contributing", "changes")}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        tables = re.findall(r'<table class="table".*?</table>', text, re.DOTALL)
        bare = [table for table in tables if "caption-number" not in table]
        assert bool(bare) == (path in lists), (path.name, bare)


def test_the_bibliography_is_labelled_as_the_text_cites(site):
    text = (site / "book" / "bibliography.html").read_text(encoding="utf-8")
    labels = re.findall(r'<span class="label">.*?\[</span>(.*?)<', text)
    assert {"Poon, 2015", "Candès and Plan, 2011", "Journée et al., 2010"} <= set(labels)
    assert len(labels) == len(set(labels)) and len(labels) >= 25


def test_links_of_a_notebook_become_numbers_and_citations():
    source = ["[The figure](#fig-1), [a](#b), [Poon (2015)](#poon2015), [(Foucart and Rauhut, 2013)](#foucart2013)"]
    load(PUBLICATION).with_roles(None, "", source)
    assert source == ["{numref}`fig-1`, [a](#b), {cite:t}`poon2015`, {cite:p}`foucart2013`"]


def test_figures_have_captions_numbers_and_alt_texts(pages):
    for path, page in pages.items():
        text = path.read_text(encoding="utf-8")
        figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
        assert all("caption-number" in figure and "caption-text" in figure for figure in figures), path.name
        inside = [image for image in page.images if "_images/" in image.get("src", "")]
        assert all(len(image["alt"]) > 40 for image in inside), path.name


def chapters():
    """The pages that are read in turn: every part of the contents but the last two, without the reference of lib."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"][:-2]
    return [entry["file"] for part in parts for entry in part["chapters"] if "sections" not in entry]


@pytest.mark.parametrize("chapter", chapters())
def test_each_chapter_says_what_to_expect_and_what_to_try(site, chapter):
    text = (site / f"{chapter}.html").read_text(encoding="utf-8")
    article = text[text.index("<h1>") : text.index("</article>")]
    assert re.match(r"<h1>.*?</h1>\s*<p>", article, re.DOTALL)  # prose before anything else
    assert "What to try" in re.findall(r"<h2>(.*?)<a", article, re.DOTALL)[-1]


# --- The reference of lib


def public(module):
    """Functions and classes that a module of lib defines for others."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and not name.startswith("_")
        and thing.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_every_public_name_and_each_says_what_it_does(site, name):
    module = importlib.import_module(name)
    page = (site / "book" / "api" / f"{name.split('.')[1]}.html").read_text(encoding="utf-8")
    assert f'id="module-{name}"' in page
    first = module.__doc__.strip().split("\n\n")[0]
    assert first.endswith(".") and len(first) < 240
    for key, thing in public(module).items():
        if inspect.getdoc(thing):
            assert f'id="{name}.{key}"' in page, key
        else:
            assert key == "main", key


def test_sections_of_docstrings_become_lists():
    docstrings = load(ROOT / "book" / "_ext" / "docstrings.py")
    lines = ["Parameters", "----------", "n : the side,", "    in pixels.", "a, b : two.", "", ">>> 1", "1"]
    assert docstrings.sections(lines) == [
        "**Parameters**", "", "", "``n``", "    the side,", "    in pixels.", "", "``a``, ``b``", "    two.", "", "",
        ">>> 1", "1",
    ]  # fmt: skip


def test_names_in_docstrings_become_links():
    linked = load(ROOT / "book" / "_ext" / "docstrings.py").linked
    assert linked("see `fast_tv`", "lib.attack") == "see :py:obj:`fast_tv <lib.attack.fast_tv>`"
    assert linked("see `reconstruct_tv`", "lib.attack") == "see ``reconstruct_tv``"  # not a name there
    assert linked("a `lib.attack.Attack`", "lib.runs") == "a :py:obj:`lib.attack.Attack <lib.attack.Attack>`"
    assert linked("of `lib.tv`, ``x`` and :math:`y`", "lib.attack") == "of :py:mod:`lib.tv`, ``x`` and :math:`y`"


def test_an_address_with_a_query_breaks_no_page(site, browser):
    tab, errors = browser.new_page(), []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("notebooks/cs_mri.html", "book/index.html", "genindex.html"):
        tab.goto((site / name).as_uri() + "?q=foo")
    tab.close()
    assert errors == []


def test_only_the_contents_are_published(site):
    assert not [*site.rglob("out*.html"), *site.rglob("my copy*"), *site.rglob("README*"), *site.rglob("draft*")]


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("disk_weight", "book/api/attack.html"),
        ("calibrated_lambda", "book/notation.html"),
        ("rho", "book/notation.html"),
        ("amplification factor", "book/glossary.html"),
        ("Poon", "book/bibliography.html"),
    ],
)
def test_the_search_finds_names(site, browser, query, page):
    tab = browser.new_page()
    tab.goto((site / "search.html").as_uri() + f"?q={query.replace(' ', '+')}")
    tab.wait_for_selector("#search-results .search-summary")
    tab.wait_for_function("document.querySelector('.search-summary').textContent.match(/found \\d+|match/)")
    found = tab.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    tab.close()
    assert any(link.startswith(page) for link in found), found


# --- Footer and launch buttons


def test_the_footer_names_the_commit(site):
    text = load(PUBLICATION).edition(site.parent.parent)
    head = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.fullmatch(r"Version [0-9a-f]{7,}\+? of 20\d\d-\d\d-\d\d", text)
    assert text.split()[1].rstrip("+") == head.stdout.strip()
    assert f'<p class="edition">{text}</p>' in (site / "book" / "index.html").read_text(encoding="utf-8")


def test_without_git_there_is_no_footer(tmp_path):
    assert load(PUBLICATION).edition(tmp_path) == ""


def test_without_a_repository_no_launch_button_appears(pages):
    if CONFIG["repository"]["url"]:
        pytest.skip("a repository is set")
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "mybinder.org" not in text and "colab.research" not in text, path.name


@pytest.mark.slow
def test_with_a_repository_they_lead_to_the_notebook(tmp_path):
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "book" / "_ext")
    (tmp_path / "notebooks").mkdir()
    shutil.copyfile(ROOT / "notebooks" / "cs_mri.ipynb", tmp_path / "notebooks" / "cs_mri.ipynb")
    (tmp_path / "index.md").write_text("# Title\n", encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/cs_mri\n", encoding="utf-8"
    )
    config = {key: CONFIG[key] for key in ("execute", "launch_buttons", "parse", "repository")}
    config["repository"] = {**config["repository"], "url": "https://github.com/someone/artifacts"}
    config["sphinx"] = {"local_extensions": {"offline": "book/_ext", "publication": "book/_ext"}}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    build = [str(Path(sys.executable).with_name("jupyter-book")), "build", "."]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = Page(tmp_path / "_build" / "html" / "notebooks" / "cs_mri.html")
    binder = "https://mybinder.org/v2/gh/someone/artifacts/main?urlpath=lab/tree/notebooks/cs_mri.ipynb"
    colab = "https://colab.research.google.com/github/someone/artifacts/blob/main/notebooks/cs_mri.ipynb"
    assert {binder, colab} <= set(page.links)
    assert "https://github.com/someone/artifacts" in page.links
    assert not [link for link in Page(tmp_path / "_build" / "html" / "index.html").links if "binder" in link]


# --- Licences, citation, versions


def test_the_citation_is_that_of_the_bibliography():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == VERSION and citation["license"] == "MIT"
    paper, entry = citation["preferred-citation"], parse_file(ROOT / "book" / "references.bib").entries["alaifari2023"]
    assert paper["title"] == entry.fields["title"].replace("{", "").replace("}", "")
    assert [a["family-names"] for a in paper["authors"]] == [" ".join(p.last_names) for p in entry.persons["author"]]
    assert paper["journal"] == entry.fields["journal"]
    assert [str(paper[k]) for k in ("volume", "issue", "year")] == [
        entry.fields[k] for k in ("volume", "number", "year")
    ]
    assert paper["identifiers"][0]["value"] == f"arXiv:{entry.fields['eprint']}"


def test_code_and_text_have_their_licences(site):
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "creativecommons.org/licenses/by/4.0/" in (ROOT / "LICENSE-text").read_text(encoding="utf-8")
    notices = [(ROOT / "results" / name).read_text() for name in ("explorer/brain.txt", "slices/LICENSE")]
    assert all("McConnell Brain Imaging Centre" in notice and "Fonov" in notice for notice in notices)
    assert "CC BY 4.0" in (site / "book" / "cite.html").read_text(encoding="utf-8")
    assert re.search(rf"^## (Unreleased|{re.escape(VERSION)})", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


# --- Commands


def commands(path, program):
    return set(re.findall(rf"(?<![\w-]){program}[ \w./=|-]*", path.read_text(encoding="utf-8")))


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]


def targets_in(text):
    return set(re.findall(r"(?<![\w/])make ([a-z0-9-]+)", " ".join(re.findall(r"```.*?```|`[^`]*`", text, re.DOTALL))))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_each_make_command_in_the_text_exists(path):
    targets = targets_in(path.read_text(encoding="utf-8"))
    if targets:
        done = subprocess.run(["make", "--dry-run", *sorted(targets)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_each_papermill_command_in_the_text_runs_a_notebook_with_parameters_it_has():
    import papermill

    found = [
        command
        for path in TEXTS
        for command in re.findall(r"papermill (--cwd [^`]*)`", path.read_text(encoding="utf-8"))
    ]
    assert found
    for command in found:
        notebook = re.search(r"notebooks/\w+\.ipynb", command)[0]
        assert set(re.findall(r"-p (\w+)", command)) <= set(papermill.inspect_notebook(ROOT / notebook)), command


WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))


def test_the_workflow_runs_what_a_change_must_pass_and_publishes_the_book():
    steps = WORKFLOW["jobs"]["test"]["steps"]
    run = [step["run"] for step in steps if "run" in step]
    assert ".ci/run" in run and "make pdf" in run
    assert any(step.get("with", {}).get("path") == "_build/html" for step in steps)
    assert "deploy-pages" in WORKFLOW["jobs"]["publish"]["steps"][0]["uses"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert targets_in("`" + "` `".join(run) + "`") <= targets_in_makefile()


def targets_in_makefile():
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def programs():
    """Modules of lib and scripts that have a command line."""
    for path in [*FILES, *sorted((ROOT / "benchmarks").glob("*.py")), ROOT / "book" / "pdf.py"]:
        if "ArgumentParser(" in path.read_text(encoding="utf-8"):
            yield path


@pytest.mark.parametrize("path", [*programs()], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_program_says_how_it_is_used_with_an_example(path, capsys, monkeypatch):
    if path.parent.name == "benchmarks":
        pytest.importorskip("sigpy", reason="the peers are not installed")
    module = importlib.import_module(MODULES[FILES.index(path)]) if path in FILES else load(path)
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        module.main()
    said = capsys.readouterr().out
    assert "usage:" in said and "example" in said.lower(), said


def reproduce():
    """The rows of the tables of book/reproduce.md: command, time, files."""
    for line in (ROOT / "book" / "reproduce.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[2].startswith("`make"):
            yield re.match(r"`make ([a-z0-9-]+)`", cells[2])[1], cells[3], re.findall(r"`([\w./-]+)`", cells[4])


def test_each_figure_is_in_reproduce_with_its_result():
    rows = list(reproduce())
    assert {f"fig-{name}" for name in NAMED} <= {target for target, _, _ in rows}
    for target, _, files in rows:
        assert files
        for file in files:
            drawn = target == f"fig-{Path(file).stem.removeprefix('fig-')}"
            places = (ROOT, ROOT / "results", ROOT / "results" / "figures")
            assert drawn or any((place / file).exists() for place in places), (target, file)


def say(seconds):
    if seconds > 36000:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds:.0f} s" if seconds < 99.5 else f"{seconds / 60:.0f} min"


def test_times_in_reproduce_are_those_recorded():
    recorded = read_table("times").set_index("target").processor_seconds.to_dict()
    for target, time, _ in reproduce():
        if target in recorded and time[0].isdigit():
            assert time == say(recorded[target]), target
        else:
            assert target not in recorded or time == "with the above", target
    assert {f"fig-{name}" for name in NAMED} <= set(recorded)


def test_the_cheapest_commands_run(site):
    clone = site.parent.parent
    done = subprocess.run(["make"], cwd=clone, check=True, capture_output=True, text=True)
    assert {f"make {target}" for target in ("book", "test", "pdf", "check")} <= {
        line.split("  ")[0].strip() for line in done.stdout.splitlines()
    }
    figure = clone / "results" / "figures" / "peers.png"
    before = figure.read_bytes()
    figure.unlink()
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    subprocess.run([sys.executable, "-m", "lib.figures", "peers"], cwd=clone, check=True, env=environment)
    assert figure.read_bytes() == before
