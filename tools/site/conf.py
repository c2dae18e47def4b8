"Sphinx's settings for the site; tools/site/build.py calls it. Values are from settings.ini where they stand there."
import sys
from configparser import ConfigParser
from pathlib import Path

sys.modules["rfc3987_syntax"] = None   # jsonschema imports it where it can, which takes seconds, for a format that no notebook has

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from myst_nb.core.render import NbElementRenderer
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
cfg = ConfigParser()
cfg.read(HERE.parent.parent / "settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]

project, author, copyright = "Residual networks", cfg["author"], cfg["copyright"]
extensions = ["myst_nb"]
nb_execution_mode = "off"              # what is shown is what the notebooks hold
nb_ipywidgets_js = {}                  # scripts for live widgets, from another host; here are their pictures
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

html_context = dict(default_mode="auto")
html_theme, html_title, language = "sphinx_book_theme", project, "en"
html_static_path, html_css_files = ["static"], ["site.css"]
html_favicon = html_logo = "static/icon.svg"
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_theme_options = dict(
    repository_url=cfg["git_url"], repository_branch=cfg["branch"], use_repository_button=True, use_download_button=False, navbar_persistent=[],
    logo=dict(text=project, alt_text=""), show_toc_level=2, pygments_light_style="a11y-high-contrast-light", pygments_dark_style="a11y-high-contrast-dark")


def with_alt(render):
    "MyST-NB leaves out the text alternative that an output's metadata hold."
    def image(self, data):
        nodes = render(self, data)
        for node in nodes: node["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return nodes
    return image


def formula(display):
    "Formulas become MathML, which browsers draw by themselves: no script, no fonts from another host."
    def visit(self, node):
        made = convert(node.astext(), display=display)
        self.body.append(f'<div class="formula" tabindex="0">{made}</div>' if display == "block" else made)
        raise SkipNode
    return visit


def name_the_arrows(app, page, template, context, doctree):
    "The theme's arrows that fold the sidebar have no name that a screen reader could say."
    if (make := context.get("generate_toctree_html")) is None: return
    context["generate_toctree_html"] = lambda *a, **k: str(make(*a, **k)).replace("<summary>", '<summary aria-label="pages below">')


def setup(app: Sphinx):
    "What Sphinx calls once."
    NbElementRenderer.render_image = with_alt(NbElementRenderer.render_image)
    app.connect("html-page-context", name_the_arrows, priority=900)
    app.add_html_math_renderer("mathml", (formula("inline"), None), (formula("block"), None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
