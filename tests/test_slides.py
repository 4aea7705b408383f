"""The slides: what is in a deck and, as a soak test, all decks in Chromium without a network."""

import re
import shutil
from pathlib import Path

import pytest
from web_pages import faults

from course.slides.__main__ import deck, main, notes_of

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_SLIDES = 20
SMALLEST = {"text": 16, "code": 12, "formula": 16}
"""Pixels on a screen of 720 lines; on a projector of 1,080 lines half as many again."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_deck_has_its_slides_and_the_speakers_notes(path: Path) -> None:
    notes = notes_of(path.stem)
    html = deck(path, notes)
    assert html.count("<section") == html.count("</section>") <= MOST_SLIDES
    assert html.count('<aside class="notes">') == len(notes), "a note whose heading is on no slide, or above none"
    assert "No description has been provided" not in html and 'src="docs/' not in html
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//(?!www\.w3\.org)""", re.sub(r"<a [^>]*>", "", html))


def test_decks_load_nothing_from_outside(tmp_path: Path) -> None:
    assert main([*map(str, NOTEBOOKS[5:7]), "--output", str(tmp_path / "slides")]) == 0
    assert faults(tmp_path / "slides") == []
    assert {"reveal.js", "reveal.css", "notes.js", "tex-svg.js", "deck.js", "deck.css", "highlight.css"} <= {
        path.name for path in (tmp_path / "slides" / "assets").iterdir()
    }


LOOK = """async () => {
  const faults = [];
  const size = (one) => parseFloat(getComputedStyle(one).fontSize);
  for (const [number, section] of [...document.querySelectorAll('.slides > section')].entries()) {
    const pages = [...section.querySelectorAll('.page')];
    for (const [index, page] of pages.entries()) {
      Reveal.slide(number, 0, index - 1);
      const where = `slide ${number + 1}, page ${index + 1} of ${pages.length}`;
      if (getComputedStyle(page).visibility === 'hidden') faults.push(`${where}: is not shown`);
      for (const one of page.querySelectorAll('p, li, h1, h2, h3, pre, td, img, mjx-container > svg')) {
        const box = one.getBoundingClientRect();
        const wide = one.tagName === 'PRE' ? one.scrollWidth - one.clientWidth : 0;
        if (box.right > 1280 || box.left < 0 || box.bottom > 700 || box.top < 0 || wide > 1) {
          faults.push(`${where}: <${one.tagName}> leaves the slide, ${Math.round(box.right)} × ${Math.round(box.bottom)}`);
          break;
        }
      }
      const small = (selector, least) => [...page.querySelectorAll(selector)].some((one) => size(one) < least);
      if (small('.text_cell p, .text_cell li', SMALL.text)) faults.push(`${where}: small text`);
      if (small('pre, td', SMALL.code)) faults.push(`${where}: small code or table`);
      if (small('mjx-container', SMALL.formula)) faults.push(`${where}: a small formula`);
    }
  }
  const plain = [...document.querySelectorAll('.text_cell_render, .output_markdown')];
  if (plain.some((one) => /\\$\\$|\\\\tag/.test(one.innerText))) faults.push('a formula is not drawn');
  document.querySelectorAll('[data-mjx-error]').forEach((one) => faults.push(one.dataset.mjxError));
  return faults;
}"""


@pytest.mark.soak
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_all_decks_without_a_network(tmp_path: Path) -> None:
    """Every page of every slide is shown, nothing leaves it, and it is large enough to read; axe finds nothing serious."""
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    assert main(["--output", str(tmp_path / "slides")]) == 0
    found = faults(tmp_path / "slides")
    look = LOOK.replace("async () => {", f"async () => {{ const SMALL = {SMALLEST};", 1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
        context.set_default_timeout(300_000)  # a busy machine is no fault of the deck
        for path in sorted((tmp_path / "slides").glob("*.html")):
            page, wrong = context.new_page(), []
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            page.on("console", lambda said, wrong=wrong: wrong.append(said.text) if said.type == "error" else None)
            page.on("requestfailed", lambda asked, wrong=wrong: wrong.append(f"cannot load {asked.url}"))
            page.goto(path.as_uri())
            page.wait_for_function("document.documentElement.classList.contains('laid-out') && Reveal.isReady()")
            wrong += page.evaluate(look)
            page.evaluate("Reveal.slide(1)")
            result = axe.run(page, options={"resultTypes": ["violations"], "preload": False})
            for one in result.response["violations"]:
                if one["impact"] in ("serious", "critical"):
                    wrong.append(f"{one['id']}: {one['nodes'][0]['html'][:120]}")
            found += [f"{path.stem}: {one}" for one in wrong]
            page.close()
        browser.close()
    assert found == []
