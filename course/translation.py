"""Write an edition in another language: `python -m course.translation zh` (`make translation EDITION=zh`).

A gettext catalogue has an entry for each paragraph, heading, list item and table cell, as Sphinx takes them for the
site. Code and outputs are in none and stay as they are. A changed paragraph makes its entry fuzzy, which is a fault.
"""

import argparse
import io
import json
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from course.site.pages import CAPTIONS
from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).parents[1]
LOCALES = {"zh": "zh_CN"}  # editions, and what gettext calls their languages
DOCUMENTS = ("README.md", "docs/**/*.md", "notebooks/*.ipynb")
PARSER = create_md_parser(MdParserConfig(enable_extensions={"dollarmath", "amsmath"}), RendererHTML)
SCALES = {"thousand": 3, "million": 6, "billion": 9, "万": 4, "亿": 8}
NUMBER = re.compile(rf"(\d+(?:,\d{{3}})*(?:\.\d+)*)(?:\s*({'|'.join(SCALES)}))?")
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^\s)#]+)(?=[)#])")
HAN = "[\u4e00-\u9fff]"
TYPOGRAPHY = {
    "half-width punctuation beside Chinese": re.compile(rf"{HAN}[,;:?!()\"']|[()\"']{HAN}|{HAN}\.(?:\s|$)"),
    "no space between Chinese and Latin, digits or code": re.compile(rf"{HAN}[A-Za-z0-9▢]|[A-Za-z0-9%▢]{HAN}"),
    "a space beside full-width punctuation": re.compile(r"\s[，。；：？！、）》」]|[，。；：？！、（《「]\s"),
}


class Document:
    """A document, ``notebooks/00_tour.ipynb``, and its edition, ``zh``."""

    def __init__(self, source: Path, edition: str) -> None:
        self.source, self.locale, self.is_lesson = source, LOCALES[edition], source.suffix == ".ipynb"
        page = Path("index") if source == Path("README.md") else source.with_suffix("")
        self.catalogue = REPOSITORY / f"course/translations/{self.locale}/LC_MESSAGES/{page}.po"
        self.output = source.parent / edition / source.name if self.is_lesson else source.with_suffix(f".{edition}.md")
        self.text = (REPOSITORY / source).read_text("utf-8")

    def updated(self) -> Catalog:
        """The catalogue with the messages of today: as before, like an earlier one and so fuzzy, or empty."""
        old = self.catalogue.read_bytes() if self.catalogue.exists() else b'msgid ""\nmsgstr "MIME-Version: 1.0\\n"\n'
        catalogue = read_po(io.BytesIO(old), self.locale)
        messages = Catalog(creation_date=catalogue.creation_date)
        cells = json.loads(self.text)["cells"] if self.is_lesson else [{"cell_type": "markdown", "source": self.text}]
        for cell in (cell for cell in cells if cell["cell_type"] == "markdown"):
            for _, _, message in segments("".join(cell["source"])):
                if is_prose(message):
                    messages.add(message, auto_comments=[f"cell {cell['id']}"] if self.is_lesson else [])
        for caption in CAPTIONS if self.source == Path("README.md") else ():
            messages.add(caption, auto_comments=["a part of the site"])
        stale = {entry.id for entry in catalogue if entry.fuzzy}
        catalogue.update(messages)
        for entry in (entry for entry in catalogue if entry.id and entry.previous_id):
            if entry.previous_id[0] not in stale:
                carry_numbers(entry)
        return catalogue

    def write(self, translations: Mapping[str, str], outputs: Mapping[Path, Path]) -> str:
        """The edition's text, from each message's translation and each translated document's edition."""

        def move(match: re.Match[str]) -> str:
            full = Path(posixpath.normpath(self.source.parent / match[1]))
            return posixpath.relpath(full if full == self.source else outputs.get(full, full), self.output.parent)

        if not self.is_lesson:
            return translated(self.text, translations, lambda words: LINK.sub(move, words))
        notebook = json.loads(self.text)
        note = (REPOSITORY / f"course/translations/{self.locale}/notebook.md").read_text("utf-8").rstrip()
        for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"):
            text = translated("".join(cell["source"]), translations, lambda words: LINK.sub(move, words))
            text += note.format(self.source.stem) if cell is notebook["cells"][0] else ""
            cell["source"] = text.splitlines(keepends=True)
        return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def segments(text: str) -> Iterator[tuple[int, int, str]]:
    """First line, line after the last, and message of every paragraph, heading, list item and table cell."""
    for token in PARSER.parse(text):
        if token.type == "inline" and token.map and token.content.strip():
            yield token.map[0], token.map[1], token.content.replace("\n", " ")


def translated(text: str, translations: Mapping[str, str], moved: Callable[[str], str] = str) -> str:
    """Put translations, links moved, where a text has its messages; one that would read as markup is a ValueError."""
    lines, limits = text.split("\n"), dict[int, int]()
    for first, after, message in reversed(list(segments(text))):
        joined = " ".join(line.strip(" >") if at else line for at, line in enumerate(lines[first:after]))
        if (begin := joined.rfind(message, 0, limits.get(first))) < 0:
            raise ValueError(f"an escape or a quotation that editions cannot have yet: {message}")
        words = moved(translations.get(message, message))
        lines[first:after], limits[first] = [joined[:begin] + words + joined[begin + len(message) :]], begin
    wanted = [moved(translations.get(message, message)) for _, _, message in segments(text)]
    if wanted != (read := [message for _, _, message in segments("\n".join(lines))]):
        raise ValueError(f"a translation breaks the text: {set(wanted) ^ set(read)}")
    return "\n".join(lines)


def faults(message: str, translation: str, terms: Mapping[str, str]) -> list[str]:
    """Say what a translation lost, added or set badly; `terms` leads to translations of terms, with ``、`` between."""
    (kept, prose), (kept_there, prose_there) = parts(message), parts(translation)
    kept, kept_there = kept + numbers_in(prose), kept_there + numbers_in(prose_there)
    said = [f"{what!r} is missing" for what in kept - kept_there]
    said += [f"{what!r} is not in the source" for what in kept_there - kept]
    said += [f"a stray {mark}" for mark in "*`$" if prose_there.count(mark) != prose.count(mark)]
    if re.search(HAN, prose_there):
        badly_set = ((name, pattern.search(prose_there)) for name, pattern in TYPOGRAPHY.items())
        said += [f"{name}: {match[0]!r}" for name, match in badly_set if match]
        for term, options in terms.items():
            match = re.search(rf"(?<![\w-]){term}(?:s|es)?(?![\w-])", prose, re.I)
            if match and not any(one in prose_there for one in [*options.split("、"), match[0]]):
                said.append(f"{term} is {options} in the table of terms")
    return said


def parts(message: str) -> tuple[Counter[str], str]:
    """What a translation must keep (code, formulas, targets), and the words around it, ▢ where code or formulas are."""
    kept, prose = Counter[str](), ""
    children = PARSER.parseInline(message)[0].children or []
    for token in (one for child in children for one in (child, *(child.children or ()))):
        is_code = token.type in ("code_inline", "math_inline", "html_inline")
        if target := token.attrs.get("href") or token.attrs.get("src") or (token.content if is_code else ""):
            kept[f"{token.type.split('_')[0]} {target}"] += 1
        prose += "▢" if is_code else token.content if token.type == "text" else ""
    return kept, prose


def is_prose(message: str) -> bool:
    """Whether there are words to translate: numbers, units and names of code are the same in every language."""
    return re.search(r"[^\W\d_]", re.sub(r"\b(?:min|s|GB|MB)\b", "", parts(message)[1])) is not None


def numbers_in(prose: str) -> Counter[str]:
    """The numbers of a text by their value: 135 million is 1.35 亿."""
    found = ((digits.replace(",", ""), SCALES.get(scale, 0)) for digits, scale in NUMBER.findall(prose))
    return Counter(f"{Decimal(one).scaleb(scale).normalize():f}" if one.count(".") < 2 else one for one, scale in found)


def carry_numbers(entry: Message) -> None:
    """Take new numbers over into a translation when nothing else has changed: the entry is no longer fuzzy."""
    before, after = str(entry.previous_id[0]), str(entry.id)
    if NUMBER.sub("#", before) == NUMBER.sub("#", after):
        renewed = {old[1]: new[1] for old, new in zip(NUMBER.finditer(before), NUMBER.finditer(after), strict=True)}
        words = NUMBER.sub(lambda match: match[0].replace(match[1], renewed.get(match[1], match[1])), str(entry.string))
        if not faults(after, words, {}):
            entry.string = words
            entry.flags.discard("fuzzy")


def main(arguments: list[str] | None = None) -> int:
    """Bring an edition's catalogues up to date, check them, and write its documents; 1 when there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m course.translation", description=main.__doc__)
    parser.add_argument("edition", choices=LOCALES)
    parser.add_argument("documents", nargs="*", type=Path, help="to begin with: notebooks/01_prepare_data.ipynb")
    parser.add_argument("--check", action="store_true", help="write nothing; what would be written is a fault")
    options = parser.parse_args(arguments)
    paths = [path.relative_to(REPOSITORY) for pattern in DOCUMENTS for path in REPOSITORY.glob(pattern)]
    begun = {path for path in paths if Document(path, options.edition).catalogue.exists()} | set(options.documents)
    documents = [Document(path, options.edition) for path in sorted(begun)]
    outputs = {document.source: document.output for document in documents}
    table = (REPOSITORY / f"docs/teaching/terms.{options.edition}.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-zA-Z][^|]*) \| ([^|]+) \|", table, re.M)
    terms = {term: words for row, words in rows for term in row.split(", ") if row != "English"}
    said, files = list[str](), dict[Path, str]()
    for document in documents:
        catalogue, before = document.updated(), len(said)
        for entry in (entry for entry in catalogue if entry.id):
            message, words = str(entry.id), str(entry.string or "")
            wrong = faults(message, words, terms) if words else ["no translation"]
            wrong = ["fuzzy: the source has changed"] if entry.fuzzy else wrong
            said += [f"{document.source}: {fault}, in {message[:70]!r}" for fault in wrong]
        write_po(file := io.BytesIO(), catalogue, width=0, ignore_obsolete=True)
        files[document.catalogue] = file.getvalue().decode()
        if len(said) == before:
            translations = {str(entry.id): str(entry.string) for entry in catalogue if entry.id}
            files[REPOSITORY / document.output] = document.write(translations, outputs)
    old = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in () if options.check else old:
        store.write(path, files[path])
    if options.check:
        said += [f"{path.relative_to(REPOSITORY)} is not up to date: make translation" for path in old]
    print(*said, f"{len(documents)} documents, {len(said)} faults, {len(old)} files changed", sep="\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
