"""The site: its pages, what a browser would load, and, as a soak test, every page in Chromium without a network."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from web_pages import faults

from course.site import pages
from course.site.__main__ import main

ROOT = Path(__file__).parents[1]
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of three lessons and all documents, any warning an error."""
    folder = tmp_path_factory.mktemp("site")
    chosen = ["--lessons", "00", "04", "18", "--no-api"]
    assert main(["--output", str(folder / "site"), "--pages", str(folder / "pages"), *chosen]) == 0
    return folder / "site"


@pytest.mark.slow
def test_three_lessons_and_all_documents_are_a_whole_site(site: Path) -> None:
    assert faults(site) == []
    for name in ("index", "docs/leaderboard", "docs/ablation", "docs/notation", "docs/teaching/README", "search"):
        assert (site / f"{name}.html").exists(), name
    lesson = (site / "notebooks" / "04_collaborative_filtering.html").read_text("utf-8")
    exercises = re.findall(r"Exercise 04\.\d", lesson)
    assert lesson.count("Solution") >= len(set(exercises)) >= 3
    assert "Not yet:" not in lesson, "the hint folds, and is not an output as well"
    assert r"\begin{split}" not in lesson and r"\tag{4.1}" in lesson
    assert "hide-input" in lesson or "tag_hide-input" in lesson


@pytest.mark.parametrize("name", LESSONS)
def test_each_exercise_folds_a_hint_and_a_solution(name: str) -> None:
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    asked = [number for cell in cells for number in re.findall(r"^check\(\"([\d.]+)\"", "".join(cell["source"]), re.M)]
    texts = ["".join(cell["source"]) for cell in pages.with_answers(name, cells)]
    assert len(asked) >= 3
    assert sum("{dropdown} Solution" in text for text in texts) == len(asked)
    for number in asked:
        compile(pages.solution(number, (ROOT / "docs" / "solutions" / f"{name}.py").read_text("utf-8")), name, "exec")


def test_a_solution_brings_what_it_needs_and_nothing_else() -> None:
    source = 'import math\n\n\ndef double(x):\n    return 2 * x\n\n\ndef other():\n    return math.pi\n\n\nsolutions = {"01.1": lambda x: double(x), "01.2": other}\n'
    assert pages.solution("01.1", source) == "def double(x):\n    return 2 * x\n\n\nanswer = lambda x: double(x)"
    assert pages.solution("01.2", source) == "import math\n\n\ndef other():\n    return math.pi"


@pytest.mark.parametrize("path", sorted((ROOT / pages.QUIZZES).glob("*.toml")), ids=lambda path: path.stem)
def test_a_quiz_is_a_page_whose_answers_fold_and_print_last(path: Path) -> None:
    text = pages.quiz(path.stem)
    questions, _, answers = text.partition("print-only")
    assert text.count("## Question") == 5 and questions.count("{dropdown} Answer") == 5
    assert len(re.findall(r"^\d\. \*\*[A-D]\.\*\*", answers, re.M)) == 5


def test_vendored_files_are_what_their_card_says() -> None:
    folder = ROOT / "course" / "vendored"
    said = dict(re.findall(r"^\| `([\w./-]+)` .*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text("utf-8"), re.M))
    there = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.*s")
    }
    assert said == there
    assert (folder / "mathjax" / "LICENSE").exists() and (folder / "reveal" / "LICENSE").exists()


UNDRAWN = "[...document.querySelectorAll('.math')].filter((one) => !one.querySelector('svg')).length"
REFUSED = "[...document.querySelectorAll('[data-mjx-error]')].map((one) => one.dataset.mjxError)"


JUDGED_TWICE = ("index", "00_tour", "05_deep_tower", "leaderboard", "models", "search")
"""Pages of each kind, whose dark and narrow form axe judges too; its look at colours takes long."""


def look(browser, axe, path: Path, scheme: str, width: int) -> list[str]:
    """What is wrong with a page: errors, what cannot be loaded, formulas, its width, what axe calls serious."""
    context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    context.set_default_timeout(300_000)  # a busy machine is no fault of the page
    page, found = context.new_page(), []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda said: found.append(said.text) if said.type == "error" else None)
    page.on("requestfailed", lambda asked: found.append(f"cannot load {asked.url}"))
    page.goto(path.as_uri())
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise")
        found += [f"{count} formulas are not drawn" for count in [page.evaluate(UNDRAWN)] if count]
        found += page.evaluate(REFUSED)
    found += ["wider than the screen"] * page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
    if scheme == "light" or path.stem in JUDGED_TWICE:
        found += serious(axe, page)
    context.close()
    return [f"{path.parent.name}/{path.name}, {scheme}, {width} wide: {one}" for one in found]


def serious(axe, page) -> list[str]:
    result = axe.run(page, options={"resultTypes": ["violations"], "preload": False})
    violations = [one for one in result.response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}, {len(one['nodes'])} times: {one['nodes'][0]['html'][:160]}" for one in violations]


@pytest.mark.soak
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_every_page_of_the_whole_site_without_a_network(tmp_path: Path) -> None:
    """Built with any warning an error; opened light and wide, dark and on a phone; then the search finds something."""
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    folder = tmp_path / "site"
    assert main(["--output", str(folder), "--pages", str(tmp_path / "pages")]) == 0
    found = faults(folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in sorted(path for path in folder.rglob("*.html") if "_static" not in path.parts):
            for scheme, width in (("light", 1400), ("dark", 390)):
                found += look(browser, axe, path, scheme, width)
        page = browser.new_context(offline=True).new_page()
        page.goto(f"{(folder / 'search.html').as_uri()}?q=propensity")
        page.wait_for_selector("#search-results li")
        browser.close()
    assert found == []
