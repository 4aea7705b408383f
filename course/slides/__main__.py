"""Make one deck a lesson from the slide types of its cells: `python -m course.slides` (`make slides`).

A deck is one file beside `assets/`, and opens without a network. A slide is a cell of type *slide* with its fragments;
what does not fit on one screen comes at the next key press. Notes for the speaker (key S) are those that
`docs/teaching/lessons/NN_name.md` has for the slide's heading.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

REPOSITORY = Path(__file__).parents[2]
HERE, VENDORED = Path(__file__).parent, REPOSITORY / "course" / "vendored"
NOTE = re.compile(r"^- \*\*(.+?)\*\*: (.+?)(?=^- \*\*|\Z)", re.M | re.S)


def deck(notebook: Path, notes: dict[str, str]) -> str:
    """Return an executed lesson's deck as HTML, with what the speaker says, by heading."""
    lesson = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    lesson.cells = list(_shown(lesson.cells, dict(notes)))
    exporter = HTMLExporter(
        template_name="deck", extra_template_basedirs=[str(HERE / "template")], embed_images=True,
        exclude_anchor_links=True, exclude_input_prompt=True, exclude_output_prompt=True,
        config=Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": ["hide-input"]}),
    )  # fmt: skip
    about = {"name": lesson.cells[0].metadata["deck"]["title"], "path": str(REPOSITORY)}
    page, _ = exporter.from_notebook_node(lesson, {"metadata": about})
    return str(page)


def notes_of(name: str) -> dict[str, str]:
    """What a lesson's page of the teaching kit has under "Slide notes", by heading; nothing where there is no page."""
    page = REPOSITORY / "docs" / "teaching" / "lessons" / f"{name}.md"
    text = page.read_text("utf-8").partition("\n## Slide notes\n")[2] if page.exists() else ""
    return {heading: " ".join(said.split()) for heading, said in NOTE.findall(text.partition("\n## ")[0])}


def _shown(cells: list[Any], notes: dict[str, str]) -> Any:
    """The cells of slides, each with what the template asks for: whether a slide begins, its title, and its notes."""
    above, first = "", True
    for cell in cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        headings = re.findall(r"^#+ (.+?) *$", cell.source, re.M) if cell.cell_type == "markdown" else []
        heading = headings[0] if headings else above
        above = headings[-1] if headings else above
        if kind not in ("slide", "fragment"):
            continue
        begins = kind == "slide" or first
        cell.metadata["deck"] = {"begins": begins, "first": first, "title": heading}
        if begins:
            # A heading that several slides share is spoken about once.
            cell.metadata["deck"]["notes"] = notes.pop(heading, "")
        # Drawings are embedded from the repository's root.
        cell.source = cell.source.replace("](../docs/", "](docs/")
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = re.sub(r"<style.*?</style>", "", output.data["text/html"], flags=re.S)
        first = False
        yield cell


def main(arguments: list[str] | None = None) -> int:
    """Write the decks and what they share; 0 when all were written."""
    parser = argparse.ArgumentParser(prog="python -m course.slides", description=main.__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "slides", help="default: build/slides")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.output, ignore_errors=True)
    assets = options.output / "assets"
    assets.mkdir(parents=True)
    for path in [*VENDORED.glob("reveal/*.*s"), VENDORED / "mathjax" / "tex-svg.js", *HERE.glob("deck.*s")]:
        shutil.copy(path, assets)
    colours = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(".highlight")
    (assets / "highlight.css").write_text(colours, "utf-8")
    for path in options.notebooks or sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        (options.output / f"{path.stem}.html").write_text(deck(path, notes_of(path.stem)), "utf-8")
    print(f"{options.output}: {len(list(options.output.glob('*.html')))} decks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
