"""What is wrong with a folder of web pages, found without a browser: outside addresses, dead links, pictures without text."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src", "video": "src"}
"""Elements whose address a browser opens by itself. A link rel="canonical" and the like are only named."""
NAMED = {"canonical", "next", "prev", "author", "license", "index", "search", "genindex", "copyright", "top"}


class Page(HTMLParser):
    """The anchors, links, loaded addresses and faults of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.faults: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in LOADED and found.get(LOADED[tag]) and not NAMED & set((found.get("rel") or "").split()):
            self.loaded.append(str(found[LOADED[tag]]))
        if tag == "img" and not (found.get("alt") or "").strip():
            self.faults.append(f"a picture without a text: {str(found.get('src'))[:80]}")
        if "data-mjx-error" in found:
            self.faults.append(f"a formula that MathJax refuses: {found['data-mjx-error']}")


def faults(folder: Path, *, missing: tuple[str, ...] = ()) -> list[str]:
    """All faults of the pages in a folder, each with its page; `missing` are parts of links that may lead nowhere."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts}
    return [
        f"{path.relative_to(folder)}: {fault}"
        for path, page in pages.items()
        for fault in [*page.faults, *_addresses(path, page, pages)]
        if not any(part in fault for part in missing)
    ]


def _addresses(path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    for address in page.loaded:
        parts = urlsplit(address)
        if parts.scheme not in ("", "data") or parts.netloc:
            yield f"loads {address[:80]} from outside"
        elif not parts.scheme and not (path.parent / unquote(parts.path)).exists():
            yield f"loads {address[:80]}, which is not there"
    for address in page.links:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
        if not target.exists():
            yield f"links to {address}, which is not there"
        elif parts.fragment and target.suffix == ".html":
            other = pages.get(target) or Page(target)
            if unquote(parts.fragment) not in other.anchors:
                yield f"links to {address}, a page without this heading"
