"""Embed views in pages, and write what they load: classic scripts, the worker's text, a still picture.

A page that was opened from a file may load scripts and pictures but not fetch data, and a worker not even a script. So
each script here sets one entry of `explorerData`, and the worker's text is one of them. The scripts of a view go only
to the pages that have it. In Markdown the directive ``view`` takes the Python that makes one: ``AttackView(0.1)``.
"""

import html
import json
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util import logging

from lib import explorer
from lib.explorer.data import entries
from lib.explorer.trained import network_data
from lib.runs.section4 import LEVELS

logger = logging.getLogger(__name__)
# by the view, in their order
SCRIPTS = {"explorer": ("explorer.js",), "transfer": ("transfer.js", "views.js")}
STILLS = {  # by the view: a picture in results/explorer, its alternative text, what it shows
    "explorer": (
        "still.webp",
        "Six pictures of ellipses. Above, the image with a faint perturbation, three times. Below, the "
        "reconstructions: TV shows a bright orange spot at the target, the networks Tira and TiraFL show a faint one.",
        "A perturbation of 4 % of the measurements, made for TV. Above, the image with it; below, what TV, Tira and "
        "TiraFL reconstruct. The framed square is shown enlarged.",
    ),
    "reconstruction": (
        "still-reconstruction.webp",
        "Four pictures: a mask of 40 lines, black on white; ellipses; the same, grainy; the same, clean again.",
        "Mask, image, zero-filled and TV reconstruction from measurements with 4 % noise.",
    ),
    "networks": (
        "still-networks.webp",
        "Four pictures of ellipses: zero-filled, grainy; TV, Tira and TiraFL, clean.",
        "What four methods reconstruct from the same measurements with 4 % noise, with relative errors.",
    ),
    "attack": (
        "still-attack.webp",
        "Close-ups of a perturbation, a faint spot with rings, and of the artifact, which is ten times as high. "
        "Below, the objective grows with the steps and levels off.",
        "Perturbation and artifact after five steps of the ascent, at 4 % noise.",
    ),
    "transfer": (
        "still-transfer.webp",
        "Four pictures of ellipses with close-ups: the image with a faint dot; the TV reconstruction with a bright "
        "orange one; the reconstructions of Tira and TiraFL, where the dot is fainter than in the first.",
        "A perturbation of 4 % made for TV: the image with it, and what TV, Tira and TiraFL reconstruct.",
    ),
    "theory": (
        "still-theory.webp",
        "Two rows of three plots, for spikes and for jumps: the signal; the same with a small bump at 0, and "
        "ripples; the same with a spike at 0.",
        "A signal, the signal with the perturbation, and what is recovered, from 60 of 256 frequencies.",
    ),
}


class View(Directive):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        data, _ = eval(self.arguments[0], vars(explorer))._repr_mimebundle_()
        return [nodes.raw("", data["text/html"], format="html")]


def add_explorer(app, pagename, templatename, context, doctree):
    """To a page with a view, its scripts and styles, the view's anchor, where it leads to, and a still picture."""
    body = context.get("body", "")
    given = dict(re.findall(r'<div class="explorer" data-chapter="(\w+)" data-settings="([^"]*)"', body))
    if not given:
        return
    scripts = sorted({name for view in given for name in SCRIPTS.get(view, ("views.js",))})
    first = []  # what the explorer shows first, so that it need not ask
    if "explorer" in given:
        start = json.loads(html.unescape(given["explorer"]))
        level = f"level-{100 * start['noise_rel']:g}"
        first = [f"explorer/{name}.js" for name in ("page", level, f"{level}-{start['mu'][0]}")]
        first = first if start["mode"] == "frames" else first[:1]
    for name in ("parts.js", *first, *scripts):
        app.add_js_file(name, priority=200, defer="defer")  # before MathJax
    app.add_css_file("explorer.css")

    def with_still(tag):
        name, alt, caption = STILLS[tag[1]]
        source = context["pathto"](f"_static/explorer/{name}", True)
        links = [f' data-{page}="{context["pathto"](f"notebooks/{page}")}"' for page in ("explorer", "theory")]
        opened = f'{tag[0][:-1]} id="{anchor(tag[1])}"{"".join(links)}>'
        return f'{opened}<noscript><img src="{source}" alt="{alt}"><p>{caption}</p></noscript>'

    context["body"] = re.sub(r'<div class="explorer" data-chapter="(\w+)"[^>]*>', with_still, body)


def anchor(view):
    return f"view-{view}"


def name_views(app, doctree):
    """Let pages refer to the view of a chapter."""
    domain, page = app.env.get_domain("std"), app.env.docname
    for raw in doctree.findall(nodes.raw) if page.startswith("notebooks/") else ():
        for view in re.findall(r'<div class="explorer" data-chapter="(\w+)"', raw.astext()):
            domain.anonlabels[anchor(view)] = page, anchor(view)
            domain.labels[anchor(view)] = page, anchor(view), view


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    results, out = Path(app.srcdir) / "results" / "explorer", Path(app.outdir) / "_static" / "explorer"
    out.mkdir(parents=True, exist_ok=True)
    try:
        data = {**entries(results), "tira": network_data()}
        for name, _, _ in STILLS.values():
            shutil.copyfile(results / name, out / name)
    except (OSError, KeyError) as error:
        logger.warning("explorer: results/explorer is not complete, `make explorer` computes it: %r", error)
        return
    for level in LEVELS:
        if f"level-{100 * level:g}" not in data:
            logger.warning("explorer: %g %% noise is not computed, `make explorer` does it", 100 * level)
    for name, value in data.items():
        text = f"explorerData[{json.dumps(name)}] = {json.dumps(value, separators=(',', ':'))};\n"
        (out / f"{name}.js").write_text(text, encoding="utf-8")


def setup(app):
    app.add_directive("view", View)
    app.connect("doctree-read", name_views)
    app.connect("html-page-context", add_explorer)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
