"""The skeleton that every notebook keeps, and a planted fault for each rule that holds it.

Each rule takes a notebook and yields one complaint per fault. To look at one notebook only:
``pytest tests/test_notebooks.py -k 04``.
"""

import ast
import copy
import csv
import html
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_LINES = 30
SLIDES, MOST_WORDS_SHOWN, MOST_LINES_SHOWN = range(8, 21), 130, 12
CARD = ["You will build", "You will learn", "You need", "Article", "Data", "Minutes"]
SECTIONS = ["Recap", "Exercises", "In practice", "Further reading"]

Notebook = dict[str, Any]
Rule = Callable[[Notebook, str], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


# ---------------------------------------------------------------------------------- reading a notebook


def source(cell: Notebook) -> str:
    return "".join(cell["source"])


def markdown_cells(notebook: Notebook) -> list[str]:
    return [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def code_cells(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and source(cell).strip()]


def outputs(notebook: Notebook) -> list[Notebook]:
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def printed(output: Notebook) -> str:
    """Everything of an output that is text."""
    data = output.get("data", {})
    parts = ["".join(output.get("text", ""))]
    parts += ["".join(data[kind]) for kind in ("text/plain", "text/markdown") if kind in data]
    if "text/html" in data:
        parts.append(html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", "".join(data["text/html"]), flags=re.S)))
    return "\n".join(parts)


def headings(notebook: Notebook) -> list[str]:
    return re.findall(r"^#{1,6} +(.+?)\s*$", "\n\n".join(markdown_cells(notebook)), re.M)


def exercises(notebook: Notebook) -> list[str]:
    """The names of the exercises, from headings such as ``### Exercise 04.1: easy · 5 minutes``."""
    found = [re.match(r"Exercise (\d\d\.\d+)\b", heading) for heading in headings(notebook)]
    return [match.group(1) for match in found if match]


def checked(notebook: Notebook) -> set[str]:
    """The names of the exercises whose check is called."""
    calls = [re.findall(r"""\bcheck\(\s*["'](\d\d\.\d+)["']""", source(cell)) for cell in code_cells(notebook)]
    return {name for names in calls for name in names}


def solution_keys(name: str) -> set[str]:
    path = ROOT / "docs" / "solutions" / f"{name}.py"
    return set(re.findall(r"""["'](\d\d\.\d+)["']\s*:""", path.read_text("utf-8"))) if path.exists() else set()


# ------------------------------------------------------------------------------------------- the rules


@rule
def title_is_a_verb_phrase(notebook: Notebook, name: str) -> Iterator[str]:
    first = notebook["cells"][0]
    if first["cell_type"] != "markdown" or not source(first).startswith("# "):
        yield "the first cell does not begin with a title (# ...)"
        return
    title = source(first).splitlines()[0][2:].strip()
    first_word = title.split()[0]
    not_verbs = {
        "the",
        "a",
        "an",
        "how",
        "what",
        "why",
        "when",
        "introduction",
        "chapter",
        "notebook",
        "lesson",
    }
    if not first_word[0].isupper() or first_word.lower() in not_verbs or first_word.endswith("ing"):
        yield f"the title {title!r} does not say what to do; begin with a verb"
    if sum(bool(re.match(r"# ", text)) for text in re.findall(r"^#+ .+$", without_code(notebook), re.M)) != 1:
        yield "there is more than one title (#); use ## for sections"


@rule
def card_is_complete(notebook: Notebook, name: str) -> Iterator[str]:
    head = "\n".join(markdown_cells(notebook)[:2])
    for field in CARD:
        if not re.search(rf"\*\*{field}\b[^*]*\*\*", head):
            yield f"the card lacks **{field}** (it stands in the first or second Markdown cell)"
    if not re.search(r"\*\*Minutes\b[^*]*\*\*.*?\d+.*?read.*?\d+.*?run", head, re.S):
        yield "the card's minutes do not read like '**Minutes** 30 to read, 2 to run'"


@rule
def minutes_are_measured(notebook: Notebook, name: str) -> Iterator[str]:
    timings = ROOT / "docs" / "timings.csv"
    if not timings.exists():
        return
    rows = {row["notebook"]: float(row["seconds"]) for row in csv.DictReader(timings.open(encoding="utf-8"))}
    stated = re.search(
        r"\*\*Minutes\b[^*]*\*\*.*?read.*?(\d+(?:\.\d+)?)[^\d]*run", "\n".join(markdown_cells(notebook)), re.S
    )
    if stated and name in rows:
        minutes, measured = float(stated.group(1)), rows[name] / 60
        if not measured / 2 - 1 <= minutes <= measured * 2 + 1:
            yield f"the card says {minutes:g} minutes to run, docs/timings.csv {measured:.1f}"


@rule
def set_up_cell_starts_the_environment(notebook: Notebook, name: str) -> Iterator[str]:
    cells = code_cells(notebook)
    if not cells or not re.search(r"\benvironment\.start\(|(?<![\w.])start\(", source(cells[0])):
        yield "the first code cell does not call environment.start(...)"


@rule
def sections_are_present(notebook: Notebook, name: str) -> Iterator[str]:
    found = headings(notebook)
    for section in SECTIONS:
        if not any(heading.startswith(section) for heading in found):
            yield f"there is no section '## {section}'"


@rule
def exercises_are_checked_and_solved(notebook: Notebook, name: str) -> Iterator[str]:
    names = exercises(notebook)
    if not 3 <= len(names) <= 5:
        yield f"{len(names)} exercises (### Exercise {name[:2]}.1: ...); there are three to five"
    for exercise in names:
        if not exercise.startswith(name[:2]):
            yield f"exercise {exercise} is numbered for another notebook"
        if exercise not in checked(notebook):
            yield f'exercise {exercise} has no check("{exercise}", ...)'
        if exercise not in solution_keys(name):
            yield f"exercise {exercise} has no solution in docs/solutions/{name}.py"
    for exercise in sorted(checked(notebook) - set(names)):
        yield f'check("{exercise}", ...) belongs to no heading ### Exercise {exercise}'


@rule
def exercises_say_how_hard_and_how_long_they_are(notebook: Notebook, name: str) -> Iterator[str]:
    for heading in headings(notebook):
        if re.match(r"Exercise \d", heading) and not re.fullmatch(
            r"Exercise \d\d\.\d+: (easy|medium|hard|open) · [1-9]\d* minutes", heading
        ):
            yield f"{heading!r} does not read like 'Exercise {name[:2]}.1: easy · 5 minutes'"


@rule
def exercises_are_handed_out_unsolved(notebook: Notebook, name: str) -> Iterator[str]:
    for cell in code_cells(notebook):
        if re.search(r"\bcheck\(\s*[\"']\d\d\.\d+", source(cell)):
            text = "\n".join(printed(output) for output in cell["outputs"])
            if "Not yet" not in text or "Right:" in text:
                yield f"an exercise cell does not end in 'Not yet' as handed out: {source(cell)[:60]!r}"


@rule
def cells_were_executed_in_order(notebook: Notebook, name: str) -> Iterator[str]:
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not executed in the order 1…{len(counts)}; run: make notebooks"


@rule
def no_error_and_no_warning_is_saved(notebook: Notebook, name: str) -> Iterator[str]:
    for output in outputs(notebook):
        if output["output_type"] == "error":
            yield f"an error is saved: {output.get('ename')}: {output.get('evalue')}"
        if output.get("name") == "stderr":
            yield f"stderr is saved: {printed(output).strip()[:80]!r}"


@rule
def no_absolute_path(notebook: Notebook, name: str) -> Iterator[str]:
    pattern = re.compile(r"(?<![\w./:])(?:/(?:home|root|tmp|work|Users|opt|usr|var|mnt|content)/[\w.-]+|[A-Z]:\\\w+)")
    for text in [source(cell) for cell in notebook["cells"]] + [printed(output) for output in outputs(notebook)]:
        for match in pattern.findall(text):
            yield f"an absolute path: {match}"


@rule
def no_progress_bar_is_saved(notebook: Notebook, name: str) -> Iterator[str]:
    pattern = re.compile(r"\r|\x08|\x1b\[|[━█▏▎▍▌▋▊▉]{3}|it/s\]|\[=+[>.]")
    for output in outputs(notebook):
        if pattern.search(printed(output)):
            yield f"a progress bar is saved: {printed(output).strip()[:60]!r}; use verbose=0 or 2"
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            yield "a widget is saved; it is empty for every reader"


@rule
def no_object_address_is_saved(notebook: Notebook, name: str) -> Iterator[str]:
    for output in outputs(notebook):
        match = re.search(r"<[^<>\n]* at 0x[0-9a-f]+>|<[\w.]+ object>", printed(output))
        if match:
            yield f"an output that differs in every run: {match.group(0)}"


@rule
def figures_have_alternative_text(notebook: Notebook, name: str) -> Iterator[str]:
    for output in outputs(notebook):
        for kind in output.get("data", {}):
            if kind.startswith("image/") and not output.get("metadata", {}).get(kind, {}).get("alt", "").strip():
                yield "a figure without alternative text; show it with figures.show(figure, alt=..., caption=...)"
    for text in markdown_cells(notebook):
        for image in re.findall(r"!\[\s*\]\([^)]*\)|<img(?![^>]*\balt=[\"'][^\"'])[^>]*>", text):
            yield f"an image without alternative text: {image}"


@rule
def images_are_in_the_project(notebook: Notebook, name: str) -> Iterator[str]:
    for text in markdown_cells(notebook):
        for image in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*\bsrc=[\"']([^\"']+)", text):
            address = "".join(image)
            path = ROOT / "notebooks" / address
            if not path.is_file():
                yield f"the image {address} is not in the project; a reader without a network sees nothing"
            elif path.suffix == ".svg":
                yield from (f"{address}: {fault}" for fault in faults_of_a_drawing(path))


def faults_of_a_drawing(path: Path) -> Iterator[str]:
    """An SVG that no browser shows, or that says nothing to somebody who opens it without the lesson."""
    try:
        drawing = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        yield f"no well-formed XML ({error})"
        return
    svg = "{http://www.w3.org/2000/svg}"
    if drawing.tag != f"{svg}svg":
        yield "no SVG"
    if drawing.find(f".//{svg}script") is not None:
        yield "holds a script, which no page of a lesson runs"
    for part in ("title", "desc"):
        if not (drawing.findtext(f"{svg}{part}") or "").strip():
            yield f"has no <{part}>"


@rule
def code_cells_are_short(notebook: Notebook, name: str) -> Iterator[str]:
    for cell in code_cells(notebook):
        lines = sum(bool(line.strip()) for line in source(cell).splitlines())
        if lines > MOST_LINES:
            yield f"a code cell of {lines} lines (at most {MOST_LINES}): {source(cell)[:60]!r}"


@rule
def slides_are_few_and_fit_a_screen(notebook: Notebook, name: str) -> Iterator[str]:
    kinds = [cell["metadata"].get("slideshow", {}).get("slide_type") for cell in notebook["cells"]]
    if kinds[0] != "slide" or kinds.count("slide") not in SLIDES:
        yield f"{kinds.count('slide')} slides (at least {SLIDES[0]}, at most {SLIDES[-1]}, the title first)"
    for kind, cell in list(zip(kinds, notebook["cells"], strict=True))[1:]:
        if kind not in (None, "slide", "fragment"):
            yield f"slide type {kind!r}; a cell begins a slide, is a fragment of one, or has none"
        if kind and cell["cell_type"] == "markdown" and len(source(cell).split()) > MOST_WORDS_SHOWN:
            yield f"more than {MOST_WORDS_SHOWN} words on a slide: {source(cell)[:60]!r}"
        hidden = "hide-input" in cell["metadata"].get("tags", [])
        lines = sum(bool(line.strip()) for line in source(cell).splitlines())
        if kind and cell["cell_type"] == "code" and not hidden and lines > MOST_LINES_SHOWN:
            yield f"more than {MOST_LINES_SHOWN} lines of code on a slide: {source(cell)[:60]!r}"


@rule
def metadata_is_clean(notebook: Notebook, name: str) -> Iterator[str]:
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not called python3"
    for cell in notebook["cells"]:
        for key in ("execution", "ExecuteTime", "collapsed"):
            if key in cell["metadata"]:
                yield f"cell metadata holds {key!r}; run: make notebooks"


@rule
def numbers_in_prose_come_from_the_run(notebook: Notebook, name: str) -> Iterator[str]:
    known = run_numbers(notebook)
    for sentence in prose_sentences(notebook):
        cited = re.search(r"\([^()]*\b(?:19|20)\d\d[a-z]?\)|\b[A-Z]\w+ \((?:19|20)\d\d[a-z]?\)", sentence)
        if cited:
            continue
        for low, high in RANGE.findall(sentence):
            if "." in low + high and not any(number(low) - 1e-9 <= value <= number(high) + 1e-9 for value in known):
                yield f"no output lies in the range {low}–{high}: {sentence.strip()[:90]!r}"
        for match in DECIMAL.finditer(RANGE.sub(" ", sentence)):
            if not matches(match.group(1), known):
                yield f"{match.group(1)} is in no output: {sentence.strip()[:90]!r}"


@rule
def numbers_are_not_typed_into_outputs(notebook: Notebook, name: str) -> Iterator[str]:
    """A figure typed into say(), print(), a caption or an alternative text would bind itself."""
    for cell in code_cells(notebook):
        try:
            tree = ast.parse(re.sub(r"^[%!].*$", "", source(cell), flags=re.M))
        except SyntaxError:
            continue
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            function = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if function in ("say", "show", "print", "Markdown"):
                for text in typed_texts(call):
                    for match in DECIMAL.finditer(
                        RANGE.sub(" ", re.sub(r"`[^`]*`|\([^()]*\b(?:19|20)\d\d\)", " ", text))
                    ):
                        yield f"{match.group(1)} is typed into {function}(...); compute it: {text.strip()[:60]!r}"


# ------------------------------------------------------------------------------------ numbers in prose

DECIMAL = re.compile(
    # No part of a name, a version or an equation's number.
    r"(?<![\w.§/:])(?<!Exercise )(?<!xercises )(?<!quation )(?<!quations )(?<!ection )(?<!otebook )(?<!ython )"
    r"([-+−]?(?:\d{1,3}(?:[,\u202f ]\d{3})+|\d+)?\.\d+(?: ?%)?)(?![\w.]*\w)"
)
RANGE = re.compile(r"(?<![\w.])(\d*\.?\d+)(?: ?%)?(?:–| – | to |-)(\d*\.?\d+)(?![\w.]*\w)")
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|\d)(?:e[-+]?\d+)?(?![\w])", re.I)


def number(text: str) -> float:
    return float(re.sub(r"[,\u202f %]", "", text).replace("−", "-"))


def run_numbers(notebook: Notebook) -> list[float]:
    """Every number that the outputs show."""
    text = "\n".join(printed(output) for output in outputs(notebook))
    text = re.sub(r"\d+\.\d+\.\d+[\w.]*", " ", text)  # versions are no results
    return [abs(number(match.group(0))) for match in NUMBER.finditer(text)]


def matches(text: str, known: list[float]) -> bool:
    """Whether an output equals the printed number at its precision; 13.8 % may be 0.138 in the output."""
    value = abs(number(text))
    half = 0.5 * 10 ** -len(re.search(r"\.(\d+)", text).group(1)) + 1e-9  # type: ignore[union-attr]
    scales = (1, 100) if "%" in text else (1,)
    return any(abs(scale * shown - value) <= half for shown in known for scale in scales)


def without_code(notebook: Notebook) -> str:
    return re.sub(r"```.*?```", " ", "\n\n".join(markdown_cells(notebook)), flags=re.S)


def prose_sentences(notebook: Notebook) -> Iterator[str]:
    """The sentences of the prose: no code, formulas, links, headings' numbers, card or Further reading."""
    text = without_code(notebook)
    text = re.sub(r"\*\*You will build.*?(?=\n#)", " ", text, count=1, flags=re.S)
    text = re.sub(r"^##+ Further reading.*?(?=^## |\Z)", " ", text, flags=re.S | re.M)
    text = re.sub(r"^#+ .*$", ".\n", text, flags=re.M)
    text = re.sub(r"\$\$.*?\$\$|\\\[.*?\\\]", " ", text, flags=re.S)
    text = re.sub(r"\$[^$\n]+\$|``[^`]+``|`[^`\n]+`", " ", text)
    text = re.sub(r"\]\([^)\s]*\)|<https?:[^>]*>|https?://\S+", "]", text)
    text = re.sub(r"^\s*\d+\.\s", "", text, flags=re.M)
    yield from re.split(r"(?<=[.?:;])\s+(?=[A-Z*(\[_-])|\n\s*\n|\n[-*|]", text)


def typed_texts(call: ast.Call) -> Iterator[str]:
    """The literal parts of the strings that a call is given; what stands in braces is computed."""
    for argument in [*call.args, *[keyword.value for keyword in call.keywords]]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in argument.values]
            yield "".join(str(part) for part in parts)


# ------------------------------------------------------------------------- the notebooks, and the faults


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_keeps_the_skeleton(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    complaints = [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(notebook, path.stem)]
    assert not complaints, f"{path.name}:\n- " + "\n- ".join(dict.fromkeys(complaints))


def markdown(text: str) -> Notebook:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text: str, *shown: Notebook) -> Notebook:
    return {"cell_type": "code", "metadata": {}, "source": text, "execution_count": 0, "outputs": list(shown)}


def stream(text: str, name: str = "stdout") -> Notebook:
    return {"output_type": "stream", "name": name, "text": text}


def figure(alt: str) -> Notebook:
    return {
        "output_type": "display_data",
        "data": {"image/png": "iVBORw0K"},
        "metadata": {"image/png": {"alt": alt}},
    }


def sound_notebook() -> Notebook:
    card = "\n".join(f"- **{field}** something" for field in CARD[:-1]) + "\n- **Minutes** 30 to read, 2 to run"
    cells = [
        markdown(f"# Count the users\n\nHow many are there?\n\n{card}"),
        code("from recfuse_lib.teaching import environment\nenvironment.start(seed=0)", stream("Python 3.11.7")),
        markdown("## 1.5 Measure"),
        code("print(ndcg, share)", stream("0.1382 0.254\n1,234.56")),
        code("figures.show(figure, alt=alt, caption=caption)", figure("Bars, the highest for EASE.")),
        markdown(
            "EASE reaches .138, for 25.4 % of users, in 0.10–0.15, that is 1,234.6. Others say 0.99 (Steck, 2019).\n"
            "With $a = 0.77$ and `rate=0.66` in Python 3.12, see Equation 7.9 and §3.2."
        ),
        markdown("## Recap\n\n## Exercises"),
    ]
    for exercise in sorted(SOLVED):
        cells += [
            markdown(f"### Exercise {exercise}: easy · 5 minutes"),
            code(f'check("{exercise}", ...)', stream("Not yet: count.")),
        ]
    cells.append(markdown("## In practice\n\n## Further reading\n\n- Steck (2019), 0.55."))
    for count, cell in enumerate([cell for cell in cells if cell["cell_type"] == "code"], start=1):
        cell["execution_count"] = count
    for cell in cells[:8]:
        cell["metadata"]["slideshow"] = {"slide_type": "slide"}
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3"}}}


SOLVED = {"98.1", "98.2", "98.3"}


@pytest.fixture(autouse=True)
def planted_solutions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = solution_keys
    monkeypatch.setitem(globals(), "solution_keys", lambda name: SOLVED if name == "98_count" else real(name))


def test_a_sound_notebook_passes_every_rule() -> None:
    notebook = sound_notebook()
    assert [
        (rule.__name__, list(rule(notebook, "98_count"))) for rule in RULES if list(rule(notebook, "98_count"))
    ] == []


def replace(old: str, new: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        before = json.dumps(notebook, ensure_ascii=False)
        after = before.replace(json.dumps(old, ensure_ascii=False)[1:-1], json.dumps(new, ensure_ascii=False)[1:-1])
        assert after != before, f"the sound notebook does not hold {old!r}"
        notebook.update(json.loads(after))

    return change


def add(*cells: Notebook) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        for cell in cells:
            if cell["cell_type"] == "code":
                cell = {**cell, "execution_count": len(code_cells(notebook)) + 1}
            notebook["cells"].append(cell)

    return change


def write(text: str) -> Callable[[Notebook], None]:
    return lambda notebook: notebook["cells"].insert(3, markdown(text))


def slide(cell: Notebook, kind: str = "fragment") -> Callable[[Notebook], None]:
    return add({**cell, "metadata": {"slideshow": {"slide_type": kind}}})


def show(*shown: Notebook) -> Callable[[Notebook], None]:
    return add(code("f()", *shown))


HOME = "/" + "home/ann"  # put together here, so that no path of a machine stands in this file

FAULTS: list[tuple[Rule, Callable[[Notebook], None], str]] = [
    (title_is_a_verb_phrase, replace("# Count the users", "Count the users"), "does not begin with a title"),
    (title_is_a_verb_phrase, replace("# Count the users", "# The users"), "begin with a verb"),
    (title_is_a_verb_phrase, replace("# Count the users", "# Counting users"), "begin with a verb"),
    (title_is_a_verb_phrase, add(markdown("# Again")), "more than one title"),
    *[(card_is_complete, replace(f"**{field}**", "**Else**"), f"**{field}**") for field in CARD],
    (card_is_complete, replace("30 to read, 2 to run", "a few"), "minutes"),
    (set_up_cell_starts_the_environment, replace("environment.start(seed=0)", "pass"), "environment.start"),
    *[(sections_are_present, replace(f"## {name}", "## Else"), f"'## {name}'") for name in SECTIONS],
    (exercises_are_checked_and_solved, replace("### Exercise 98.3", "### Task 3"), "2 exercises"),
    (exercises_are_checked_and_solved, replace("Exercise 98.3", "Exercise 97.3"), "another notebook"),
    (exercises_are_checked_and_solved, replace('check("98.3", ...)', "pass"), "98.3 has no check"),
    (exercises_are_checked_and_solved, replace("98.3", "98.4"), "98.4 has no solution"),
    (exercises_are_checked_and_solved, add(code('check("98.9", ...)')), "belongs to no heading"),
    (exercises_say_how_hard_and_how_long_they_are, replace("98.3: easy · 5 minutes", "98.3: easy"), "98.3: easy'"),
    (exercises_say_how_hard_and_how_long_they_are, replace("98.3: easy · 5", "98.3: count · 5"), "98.3: count"),
    (exercises_are_handed_out_unsolved, replace("Not yet: count.", "Right: so it is."), "handed out"),
    (cells_were_executed_in_order, lambda notebook: notebook["cells"][1].update(execution_count=7), "order"),
    (cells_were_executed_in_order, lambda notebook: notebook["cells"][1].update(execution_count=None), "order"),
    (no_error_and_no_warning_is_saved, show(stream("warning", "stderr")), "stderr"),
    (no_error_and_no_warning_is_saved, show({"output_type": "error", "ename": "ValueError", "evalue": "no"}), "ValueError"),
    (no_absolute_path, show(stream(f"saved in {HOME}/data")), HOME),
    (no_absolute_path, add(code(f"open('{HOME}')")), HOME),
    (no_absolute_path, add(markdown(r"See C:\Users")), "C:"),
    (no_progress_bar_is_saved, show(stream("1/10 ━━━━━━ 3s 5ms/step")), "progress bar"),
    (no_progress_bar_is_saved, show(stream("a\rb")), "progress bar"),
    (no_progress_bar_is_saved, show({"output_type": "display_data", "metadata": {}, "data": {"application/vnd.jupyter.widget-view+json": {}}}), "widget"),
    (no_object_address_is_saved, show(stream("<Model object at 0x7f01>")), "0x7f01"),
    (no_object_address_is_saved, show(stream("<IPython.core.display.Markdown object>")), "Markdown object"),
    (figures_have_alternative_text, replace("Bars, the highest for EASE.", " "), "alternative text"),
    (figures_have_alternative_text, add(markdown("![](map.png)")), "![]"),
    (figures_have_alternative_text, add(markdown('<img src="map.png">')), "<img"),
    (images_are_in_the_project, add(markdown("![A map.](../docs/images/none.svg)")), "none.svg is not in the project"),
    (images_are_in_the_project, add(markdown("![A map.](https://example.org/a.svg)")), "not in the project"),
    (images_are_in_the_project, add(markdown('<img alt="A map." src="map.png">')), "map.png is not in the project"),
    (code_cells_are_short, add(code("\n".join(["x = 1", ""] * 31))), "31 lines"),
    (slides_are_few_and_fit_a_screen, lambda notebook: notebook["cells"][0]["metadata"].clear(), "7 slides"),
    (slides_are_few_and_fit_a_screen, slide(markdown("A."), "skip"), "'skip'"),
    (slides_are_few_and_fit_a_screen, slide(markdown("word " * 131)), "more than 130 words"),
    (slides_are_few_and_fit_a_screen, slide(code("x = 1\n" * 13)), "more than 12 lines"),
    (metadata_is_clean, lambda notebook: notebook["metadata"].clear(), "python3"),
    (metadata_is_clean, lambda notebook: notebook["cells"][1]["metadata"].update(execution={"iopub.execute_input": "2026"}), "execution"),
    (numbers_in_prose_come_from_the_run, write("It reaches 0.139 today."), "0.139"),
    (numbers_in_prose_come_from_the_run, write("It reaches .1392."), ".1392"),
    (numbers_in_prose_come_from_the_run, write("It reaches 3.11 today."), "3.11"),
    (numbers_in_prose_come_from_the_run, write("| model | NDCG |\n|---|---|\n| EASE | **0.139** |"), "0.139"),
    (numbers_in_prose_come_from_the_run, write("That is 25.6 % of them."), "25.6 %"),
    (numbers_in_prose_come_from_the_run, write("It lies in 0.40–0.45."), "0.40–0.45"),
    (numbers_in_prose_come_from_the_run, write("Steck (2019) says so. It reaches 0.139."), "0.139"),
    (numbers_are_not_typed_into_outputs, add(code('figures.say(f"EASE reaches 0.139, not {x:.3f}")')), "0.139"),
    (numbers_are_not_typed_into_outputs, add(code('figures.show(f, alt="A line at 0.139", caption="C")')), "0.139"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "plant", "complaint"), FAULTS, ids=lambda value: getattr(value, "__name__", "-"))
def test_a_planted_fault_is_found(rule: Rule, plant: Callable[[Notebook], None], complaint: str) -> None:
    notebook = copy.deepcopy(sound_notebook())
    plant(notebook)
    assert any(complaint in found for found in rule(notebook, "98_count")), list(rule(notebook, "98_count"))


def test_minutes_on_the_card_are_held_to_the_measured_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "timings.csv").write_text("notebook,seconds\n98_count,600\n", "utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert "10.0" in next(minutes_are_measured(sound_notebook(), "98_count"))


SVG = '<svg xmlns="http://www.w3.org/2000/svg"><title>A</title><desc>B</desc>{}</svg>'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SVG.format("<g/>"), None),
        (SVG.format("<g>"), "well-formed"),
        (SVG.format("<script/>"), "script"),
        (SVG.format("").replace("<title>A</title>", ""), "<title>"),
        (SVG.format("").replace("<desc>B</desc>", "<desc> </desc>"), "<desc>"),
        ("<html/>", "no SVG"),
    ],
    ids=["sound", "not closed", "script", "no title", "no description", "no drawing"],
)
def test_a_drawing_is_well_formed_and_says_what_it_shows(tmp_path: Path, text: str, fault: str | None) -> None:
    (tmp_path / "a.svg").write_text(text, "utf-8")
    faults = list(faults_of_a_drawing(tmp_path / "a.svg"))
    assert any(fault in found for found in faults) if fault else faults == []


def test_the_lines_of_verbose_2_are_no_progress_bar() -> None:
    notebook = sound_notebook()
    show(stream("Epoch 1/2\n2/2 - 1s - 367ms/step - loss: 2.2526\n"))(notebook)
    assert list(no_progress_bar_is_saved(notebook, "98_count")) == []


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule.__name__ for rule, _, _ in FAULTS} | {"minutes_are_measured"} == {rule.__name__ for rule in RULES}
