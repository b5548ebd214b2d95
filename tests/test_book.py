"""The book's configuration, contents, references, and its promise to fetch nothing from outside."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jupyter_book
import pytest
import yaml
from pybtex.database import parse_file
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).parent.parent
EXTENSIONS = ROOT / "book" / "_ext"
JUPYTER_BOOK = Path(jupyter_book.__file__).parent
FREE_FORM = {("sphinx", "config"), ("sphinx", "local_extensions")}  # Sphinx itself reports unknown options
REFERENCES = """
    alaifari2019 antun2020 arridge2019 biggio2013 boyd2011 candes2014 candes2011 candes2006 chen2022 decastro2012
    foucart2013 genzel2022 goodfellow2014 gottschling2020 jegou2017 lustig2008 madry2017 mccann2017 ongie2020 poon2015
    szegedy2013 wang2016 yang2016 zhu2018
""".split()  # the paper's [1] to [24]

specification = importlib.util.spec_from_file_location("offline", EXTENSIONS / "offline.py")
offline = importlib.util.module_from_spec(specification)
specification.loader.exec_module(offline)


class StrictLoader(yaml.SafeLoader):
    """YAML without repeated keys, of which PyYAML silently keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise ValueError(f"repeated keys {repeated}{node.start_mark}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)


def unknown_keys(given: dict, schema: dict, default: dict, at: tuple = ()) -> list:
    """Keys of a configuration that neither Jupyter Book's schema nor its default configuration knows."""
    unknown = []
    for key, value in given.items():
        in_schema, in_default = schema.get("properties", {}), default or {}
        if key not in in_schema and key not in in_default:
            unknown.append((*at, key))
        elif isinstance(value, dict) and (*at, key) not in FREE_FORM:
            unknown += unknown_keys(value, in_schema.get(key, {}), in_default.get(key), (*at, key))
    return unknown


def test_the_configuration_has_no_unknown_or_repeated_keys():
    schema = json.loads((JUPYTER_BOOK / "config_schema.json").read_text(encoding="utf-8"))
    default = yaml.safe_load((JUPYTER_BOOK / "default_config.yml").read_text(encoding="utf-8"))
    assert unknown_keys(read_yaml(ROOT / "_config.yml"), schema, default) == []
    assert unknown_keys({"html": {"favicn": "x"}, "titel": "x"}, schema, default) == [("html", "favicn"), ("titel",)]


def test_a_repeated_key_is_found(tmp_path):
    (tmp_path / "twice.yml").write_text("sphinx:\n  config: {}\n  config: {}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="repeated keys {'config'}"):
        read_yaml(tmp_path / "twice.yml")


def test_the_contents_are_well_formed_and_exist():
    read_yaml(ROOT / "_toc.yml")
    site = parse_toc_yaml(ROOT / "_toc.yml")  # raises on unknown keys
    missing = [page for page in site if not any((ROOT / page).with_suffix(end).exists() for end in (".md", ".ipynb"))]
    assert missing == []


def test_every_page_is_in_the_contents():
    pages = [*(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    site = parse_toc_yaml(ROOT / "_toc.yml")
    assert {str(page.relative_to(ROOT).with_suffix("")) for page in pages} <= set(site)


def captions(text):
    """Of the figures and tables of a Markdown page, without the command that makes them."""
    for block in re.findall(r"^(?:```|:::)\{figure\}.*?\n\n(.*?)(?:```|:::)$", text, re.DOTALL | re.MULTILINE):
        yield re.sub(r"\s\(`make .*\)$", "", block.strip(), flags=re.DOTALL)
    yield from re.findall(r"^(?:```|:::)\{table\} (.*)$", text, re.MULTILINE)


def test_captions_are_short():
    found = [(page.name, caption) for page in (ROOT / "book").rglob("*.md") for caption in captions(page.read_text())]
    assert len(found) > 10
    assert [(name, caption) for name, caption in found if len(caption.split()) > 12] == []


def test_the_references_are_complete():
    entries = parse_file(ROOT / "book" / "references.bib").entries  # raises on repeated keys
    assert len(REFERENCES) == 24
    assert {"alaifari2023", *REFERENCES} <= set(entries)
    for key, entry in entries.items():
        assert entry.persons["author"] and entry.fields["title"] and entry.fields["year"].isdigit(), key
        assert {"journal", "booktitle", "publisher", "eprint"} & set(entry.fields), key
        assert key.endswith(entry.fields["year"]), key


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script src="//cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://cdn.example/x.css">',
        '<link href="https://cdn.example" rel="preconnect" crossorigin>',
        '<link rel="alternate stylesheet" href="https://cdn.example/x.css">',
        '<img src="HTTP://cdn.example/x.png" alt="">',
        '<img srcset="x.png 1x, https://cdn.example/y.png 2x">',
        '<video poster="https://cdn.example/x.png"></video>',
        '<iframe src="https://cdn.example"></iframe>',
        "<iframe srcdoc=\"<img src='https://cdn.example/x.png'>\"></iframe>",
        '<object data="https://cdn.example/x.svg"></object>',
        '<svg><image xlink:href="https://cdn.example/x.png"/></svg>',
        '<div style="background: url(https://cdn.example/x.png)"></div>',
        "<style>@import 'https://cdn.example/x.css';</style>",
    ],
)
def test_an_outside_asset_is_found(html):
    assert len(offline.outside_in_html(html)) == 1


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://host.example">a link to follow</a>',
        '<link rel="canonical" href="https://host.example/page.html">',
        '<img src="_static/x.png"><img src="data:image/png;base64,AAAA"><script src="../x.js?v=1//2"></script>',
        "<script>const page = '<img src=\"https://host.example/x.png\">';</script>",
        "<style>/* url(https://host.example/x.png) */ a { background: url(x.png) }</style>",
        "<p>src=https://host.example/x.js</p><code>url(https://host.example/x.css)</code>",
        "<svg xmlns='http://www.w3.org/2000/svg'></svg>",
    ],
)
def test_links_and_local_assets_are_fine(html):
    assert offline.outside_in_html(html) == []


def test_outside_addresses_in_a_style_sheet():
    css = """
        /* https://host.example/licence */
        @import "https://cdn.example/a.css";
        @font-face { src: url( '//cdn.example/b.woff2' ) }
        a { background: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E") }
    """
    assert offline.outside_in_css(css) == ["https://cdn.example/a.css", "//cdn.example/b.woff2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "css", "outside"),
    [
        ("`A link <https://host.example>`_", "", []),
        (".. image:: https://cdn.example/x.png\n   :alt: x", "", ["index.html: https://cdn.example/x.png"]),
        (".. raw:: html\n\n   <script src='//cdn.example/x.js'></script>", "", ["index.html: //cdn.example/x.js"]),
        ("Text.", "@import url(//cdn.example/x.css);", ["_static/custom.css: //cdn.example/x.css"]),
    ],
    ids=["clean", "image", "script", "style"],
)
def test_the_build_fails_on_outside_assets_only(tmp_path, body, css, outside):
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.append({str(EXTENSIONS)!r})\n"
        "extensions = ['sphinx_thebe', 'offline']\nthebe_config = {'always_load': True}\n"
        "html_static_path = ['static']\nhtml_css_files = ['custom.css']\nsuppress_warnings = ['image.nonlocal_uri']\n",
        encoding="utf-8",
    )
    (tmp_path / "index.rst").write_text(f"Title\n=====\n\n{body}\n", encoding="utf-8")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "custom.css").write_text(css, encoding="utf-8")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", ".", "_build"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == len(outside) and all(map(str.endswith, warnings, outside)), done.stderr
    assert done.returncode == bool(outside)
    assert "thebe" not in (tmp_path / "_build" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("port", ["99999", "0", "-1", "http", ""])
def test_a_port_that_is_none_is_named(port):
    command = [sys.executable, str(ROOT / "book" / "serve.py"), "--", port]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and f"must be a number from 1 to 65535, got {port}" in done.stderr


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, str(ROOT / "book" / "serve.py"), port]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and re.fullmatch(rf"serve: port {port}: .*in use\n", done.stderr)


def test_no_page_has_html_of_its_own():
    for page in (ROOT / "book").rglob("*.md"):
        assert re.findall(r"\{raw\}|<(?:div|p|img|a|span)\b", page.read_text(encoding="utf-8")) == [], page.name
