"""Sphinx's settings of the site. `python -m course.site` prepares the pages and calls Sphinx with them.

Nothing is executed and nothing is fetched: notebooks are shown with the outputs that they hold, and MathJax, fonts and
search come from this folder and the theme.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinx.application import Sphinx

from course.site.chinese import SearchChinese
from course.translation import LOCALES

HERE = Path(__file__).parent
SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|References|Returns|Yields):$")
MARKUP = re.compile(r"(``[^`]+``|`[^`]+`)|[|*]|_(?!\w)")

project = "RecFuse"
author = "The RecFuse authors"
copyright = "The RecFuse authors. Lesson text: CC BY 4.0. Code: MIT"
language = LOCALES.get(edition := os.environ.get("RECFUSE_EDITION", "en"), edition)
locale_dirs = [str(HERE.parent / "translations")]
gettext_compact = False
gettext_uuid = False

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_togglebutton",
    "sphinx_design",
]
root_doc = "index"
default_role = "code"

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
if language == "zh_CN":
    nb_code_prompt_show, nb_code_prompt_hide = "显示代码", "隐藏代码"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
copybutton_selector = "div.cell_input pre, div.highlight-bash pre, div.highlight-python pre"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = "RecFuse"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_use_index = False
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "search_bar_text": {"zh_CN": "搜索课程"}.get(language, "Search the course"),
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
mathjax_path = "tex-svg.js"
mathjax3_config = {"tex": {"tags": "none"}, "options": {"enableMenu": False}}


def _render_image(self: NbElementRenderer, data: Any) -> list[nodes.Element]:
    """An output's picture with the alternative text that `figures.show` saved with it."""
    [image] = _render_without_text(self, data)
    image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
    return [image]


_render_without_text = NbElementRenderer.render_image
NbElementRenderer.render_image = _render_image


def _display_formula(self: Any, node: nodes.math_block) -> None:
    """A formula as it is written: Sphinx would put it into `split`, where `\\tag` is an error."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(rf"\[{self.encode(node.astext())}\]</div>")
    raise nodes.SkipNode


def _as_rst(app: Sphinx, kind: str, name: str, what: Any, options: Any, lines: list[str]) -> None:
    """The library's docstrings are read in an editor too: formulas are indented, and | and x_ are no markup."""
    written: list[str] = []
    before, indented, sections, doctest = "", False, False, False
    for line in lines:
        sections = sections or bool(SECTION.match(line))
        inside = line.startswith("    ") and not sections and (indented or not before.strip())
        if inside and not indented:
            written += ["::", ""]
        elif indented and line.strip() and not inside:
            written += [""]
        doctest = bool(line.strip()) and (doctest or ">>>" in line)
        indented = inside or (indented and not line.strip())
        written.append(line if inside or doctest else MARKUP.sub(_plain, line))
        before = line
    lines[:] = written


def _plain(match: re.Match[str]) -> str:
    """A span of code with room for the letter beside it; any other character as itself."""
    return f"\\ ``{match[1].strip('`')}``\\ " if match[1] else "\\" + match[0]


def _skip(app: Sphinx, kind: str, name: str, what: Any, skip: bool, options: Any) -> bool | None:
    return True if "[" in name else None


def _vendored(app: Sphinx, exception: Exception | None) -> None:
    if not exception and app.builder.format == "html":
        shutil.copy(HERE.parent / "vendored" / "mathjax" / "tex-svg.js", Path(app.outdir) / "_static")


def setup(app: Sphinx) -> None:
    app.add_node(nodes.math_block, override=True, html=(_display_formula, None))
    app.connect("autodoc-process-docstring", _as_rst, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", _skip)
    app.connect("build-finished", _vendored)
    app.add_search_language(SearchChinese)
