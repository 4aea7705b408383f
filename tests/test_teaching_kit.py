"""The teaching kit: pages and quizzes that point at what the notebooks hold, plans that add up, and planted faults."""

import copy
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_notebooks import DECIMAL, PATHS, RANGE, Notebook, matches, run_numbers, source

from course import costs, plans

ROOT = Path(__file__).parents[1]
KIT = ROOT / "docs" / "teaching"
SECTIONS = [
    "Aim",
    "The first two minutes",
    "Misconceptions",
    "Questions",
    "Where to pause",
    "What may be left out",
    "What breaks in a room",
    "Slide notes",
]
BREAK_IT = {
    "A NaN on the way",
    "A leak, planted",
    "A planted leak",
    "9.1 Faults that stop the program",
}
"""Headings of break-it parts that do not say so; what only breaks may be left out without harm."""
WAITING = {"20_scale_out"}
"""Lessons that may come before their page."""
PLANS = tomllib.loads((KIT / "plans.toml").read_text("utf-8"))
NOT_OURS = re.compile(r"\b(peers|rivals?|yardstick|newcomers?|anew|lest|mend(ed)?|speaks? for)\b", re.I)

Quiz = dict[str, Any]


# ------------------------------------------------------------------------------------ what a notebook holds


def headings_of(cell: Notebook) -> list[tuple[int, str]]:
    if cell["cell_type"] != "markdown":
        return []
    return [(len(marks), text) for marks, text in re.findall(r"^(#{1,6}) +(.+?)\s*$", source(cell), re.M)]


def places(notebook: Notebook) -> set[str]:
    return {text for cell in notebook["cells"] for _, text in headings_of(cell)}


def slide_headings(notebook: Notebook) -> set[str]:
    """The headings that slides go by: the first one in the slide's cell, or the nearest one above it."""
    above, found = "", set()
    for cell in notebook["cells"]:
        texts = [text for _, text in headings_of(cell)]
        if cell["metadata"].get("slideshow", {}).get("slide_type") == "slide":
            found.add(texts[0] if texts else above)
        above = texts[-1] if texts else above
    return found


def minutes_to_read(notebook: Notebook, place: str) -> int:
    """Minutes of a section and what belongs to it, optional or not, at the pace of the plans."""
    level, words, lines = 0, 0, 0
    for cell in notebook["cells"]:
        for depth, text in headings_of(cell):
            level = depth if text == place else 0 if depth <= level else level
        if level and cell["cell_type"] == "markdown":
            words += len(re.findall(r"\w+", source(cell)))
        elif level and "hide-input" not in cell["metadata"].get("tags", []):
            lines += sum(bool(line.strip()) for line in source(cell).splitlines())
    return math.ceil(words / PLANS["pace"]["words"] + lines / PLANS["pace"]["lines"])


def may_be_left_out(notebook: Notebook, place: str) -> bool:
    """Whether the section's code cells all carry `optional`, or it is an exercise."""
    if place.startswith("Exercise"):
        return True
    level, tags = 0, []
    for cell in notebook["cells"]:
        for depth, text in headings_of(cell):
            if text == place:
                level = depth
            elif level and depth <= level:
                return bool(tags) and all("optional" in one for one in tags)
        if level and cell["cell_type"] == "code":
            tags.append(cell["metadata"].get("tags", []))
    return bool(tags) and all("optional" in one for one in tags)


# ------------------------------------------------------------------------------------------ pages of lessons


def faults_of_a_page(page: str, notebook: Notebook, name: str) -> Iterator[str]:
    title = f"# {name}: {source(notebook['cells'][0]).splitlines()[0].removeprefix('# ')}"
    if page.splitlines()[0] != title:
        yield f"the first line is not {title!r}"
    if (found := re.findall(r"^## (.+)$", page, re.M)) != SECTIONS:
        yield f"the sections are {found}"
        return
    parts = dict(zip(SECTIONS, re.split(r"^## .+$", page, flags=re.M)[1:], strict=True))
    items = {section: re.split(r"^- ", text, flags=re.M)[1:] for section, text in parts.items()}
    known = places(notebook)
    for section, text in parts.items():
        if not text.strip():
            yield f"{section} is empty"
    for section, least in {"Misconceptions": 3, "Questions": 3, "Where to pause": 2, "Slide notes": 5}.items():
        if len(items[section]) < least:
            yield f"{section}: {len(items[section])} items, at least {least}"
    for item in items["Misconceptions"]:
        where = re.findall(r'\(see "(.+?)"\)', " ".join(item.split()))
        if not item.startswith('"') or not where:
            yield f'a misconception is quoted and has its place, (see "…"): {item[:60]!r}'
        yield from (f"no heading {place!r}" for place in where if place not in known)
    for item in items["Questions"]:
        if not re.match(r"\*\*[^*].*?\?\*\*\s+\S", item, re.S):
            yield f"not **Question?** and its answer: {item[:60]!r}"
    for item in items["What may be left out"]:
        left_out = re.match(r'"(.+?)"(?: \(|: )(\d+) minutes?\b', " ".join(item.split()))
        if not left_out:
            yield f'not "Heading" (N minutes): {item[:60]!r}'
        elif (place := left_out[1]) not in known:
            yield f"no heading {place!r}"
        elif place not in BREAK_IT and "Break it" not in place and not may_be_left_out(notebook, place):
            yield f"{place!r} does not carry `optional`"
        elif place.startswith("Exercise") and f"{left_out[2]} minutes" not in place:
            yield f"{place!r} is said to take {left_out[2]} minutes"
        elif not place.startswith("Exercise") and abs(int(left_out[2]) - minutes_to_read(notebook, place)) > 1:
            yield f"{place!r} takes {minutes_to_read(notebook, place)} minutes to read, not {left_out[2]}"
    for item in items["What breaks in a room"]:
        if len(item.split()) < 10:
            yield f"not what is seen and the way out: {item[:60]!r}"
    for item in items["Slide notes"]:
        note = re.match(r"\*\*(.+?)\*\*: (\S.*)", " ".join(item.split()))
        if not note:
            yield f"not **Heading of the slide**: what is said: {item[:60]!r}"
        elif note[1] not in slide_headings(notebook):
            yield f"no slide goes by {note[1]!r}"
        elif len(note[2].split()) > 80:
            yield f"a note of {len(note[2].split())} words: {note[1]!r}"
    yield from faults_of_prose(page, notebook, measured(name))


def measured(name: str) -> list[float]:
    """Minutes and gigabytes of a lesson's run."""
    rows = [row for (lesson, _), row in costs.read_timings(costs.TIMINGS).items() if lesson == name]
    return [float(row["seconds"]) / 60 for row in rows] + [float(row["peak_memory_mb"]) / 1000 for row in rows]


def faults_of_prose(text: str, notebook: Notebook, costs_of_it: list[float]) -> Iterator[str]:
    """Numbers that are in no output or text of the lesson, and words that the course does not use."""
    known = run_numbers(notebook) + costs_of_it
    cells = " ".join(source(cell) for cell in notebook["cells"])
    text = re.sub(r"`[^`]*`|Exercise \d\d\.\d|\(see \".+?\"\)", " ", text)
    for match in DECIMAL.finditer(RANGE.sub(" ", text)):
        if not matches(match[1], known) and match[1] not in cells:
            yield f"{match[1]} is nowhere in the lesson"
    yield from (f"the word {match[0]!r}" for match in NOT_OURS.finditer(text))


# ------------------------------------------------------------------------------------------------- quizzes


def faults_of_a_quiz(quiz: Quiz, notebook: Notebook) -> Iterator[str]:
    questions = quiz.get("question", [])
    if len(questions) != 5:
        yield f"{len(questions)} questions, not five"
    for number, question in enumerate(questions, start=1):
        if set(question) != {"ask", "choices", "right", "why"}:
            yield f"question {number} has {sorted(question)}"
            return
        choices, right = question["choices"], question["right"]
        if not 3 <= len(choices) <= 4 or len(set(choices)) < len(choices) or not all(map(str.strip, choices)):
            yield f"question {number} has not three or four different choices"
        if not isinstance(right, int) or not 0 <= right < len(choices):
            yield f"question {number}: no choice {right}"
            return
        if not question["ask"].strip().endswith("?"):
            yield f"question {number} asks nothing"
        if not 12 <= len(question["why"].split()) <= 75:
            yield f"question {number} is explained in {len(question['why'].split())} words"
    positions = [question["right"] for question in questions]
    if len(set(positions)) < 3 or max(map(positions.count, positions)) > 2:
        yield f"the right choices stand at {positions}"
    longest = sum(max(one["choices"], key=len) == one["choices"][one["right"]] for one in questions)
    if longest > 3:
        yield f"the right choice is the longest {longest} times"
    yield from faults_of_prose(" ".join(one["ask"] + " " + one["why"] for one in questions), notebook, [])


# -------------------------------------------------------------------------------- what the kit holds by now


def of_lesson(kind: str, ending: str) -> list[Any]:
    return [
        pytest.param(kit, path, id=path.stem)
        for path in PATHS
        if (kit := KIT / kind / f"{path.stem}.{ending}").exists()
    ]


@pytest.mark.parametrize(("kit", "path"), of_lesson("lessons", "md"))
def test_a_page_points_at_what_its_lesson_holds(kit: Path, path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert list(faults_of_a_page(kit.read_text("utf-8"), notebook, path.stem)) == []


@pytest.mark.parametrize(("kit", "path"), of_lesson("quizzes", "toml"))
def test_a_quiz_has_five_questions_with_explained_answers(kit: Path, path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert list(faults_of_a_quiz(tomllib.loads(kit.read_text("utf-8")), notebook)) == []


def test_every_lesson_has_a_page_and_a_quiz_and_nothing_else_has() -> None:
    names = {path.stem for path in PATHS}
    for folder in ("lessons", "quizzes"):
        kit = {path.stem for path in (KIT / folder).glob("*")}
        assert kit <= names and names - kit <= WAITING, folder


# ------------------------------------------------------------------------------------------- planted faults


def cell(text: str, *tags: str, slide: bool = False, kind: str = "markdown") -> Notebook:
    metadata = {"tags": list(tags)} | ({"slideshow": {"slide_type": "slide"}} if slide else {})
    return {"cell_type": kind, "metadata": metadata, "source": text, "outputs": []}


TITLES = ["Popularity", "A better list", "Intervals", "Extra (optional)"]
LESSON = {
    "cells": [cell("# Rank films", slide=True)]
    + [made for title in TITLES[:3] for made in (cell(f"## {title}", slide=True), cell("fit()", kind="code"))]
    + [cell(f"## {TITLES[3]}", "optional", slide=True), cell("fit()", "optional", kind="code")]
    + [cell("## Exercises"), cell("### Exercise 98.1: easy · 5 minutes"), cell("check()", kind="code")]
}
LESSON["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "0.138"}]

PAGE = """# 98_rank: Rank films

## Aim

Know why a list is good.

## The first two minutes

Say this.

## Misconceptions

- "Popular is good." It reaches 0.138. (see "Popularity")
- "One person proves it." No. (see "Intervals")
- "More is better." No. (see "A better
  list")

## Questions

- **Why?** Because.
- **How
  much?** A little.
- **For whom?** For some.

## Where to pause

- After "Popularity": vote.
- After "Intervals": ask.

## What may be left out

- "Extra (optional)" (1 minute): it is extra.
- "Exercise 98.1: easy · 5 minutes" (5 minutes): at home.

## What breaks in a room

- **No network.** Weights come from a folder as well, and are verified.

## Slide notes

- **Rank films**: Say.
- **Popularity**: Say.
- **A better list**: Say.
- **Intervals**: Say.
- **Extra (optional)**: Say.
"""


def test_a_sound_page_has_no_fault() -> None:
    assert list(faults_of_a_page(PAGE, LESSON, "98_rank")) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("# 98_rank: Rank films", "# Rank films", "first line"),
        ("## Aim", "## Purpose", "sections"),
        ("Know why a list is good.", "", "Aim is empty"),
        ('- "One person proves it." No. (see "Intervals")\n', "", "2 items"),
        ('(see "Intervals")', "", "has its place"),
        ('(see "Intervals")', '(see "Interval")', "'Interval'"),
        ("**Why?** Because.", "**Why?**\n", "its answer"),
        ("**Why?** Because.", "Why? Because.", "its answer"),
        ('"Extra (optional)" (1 minute)', '"Intervals" (1 minute)', "optional"),
        ('"Extra (optional)" (1 minute)', '"Extra" (1 minute)', "'Extra'"),
        ('"Extra (optional)" (1 minute)', '"Extra (optional)"', "minutes"),
        ('"Extra (optional)" (1 minute)', '"Extra (optional)" (9 minutes)', "takes 1 minutes"),
        ('minutes" (5 minutes)', 'minutes" (9 minutes)', "9 minutes"),
        ("Weights come from a folder as well, and are verified.", "", "way out"),
        ("**Popularity**: Say.", "**Popular**: Say.", "'Popular'"),
        ("**Popularity**: Say.", "**Popularity** Say.", "what is said"),
        ("**Popularity**: Say.", "**Popularity**: " + "word " * 81, "81 words"),
        ("0.138", "0.139", "0.139"),
        ("Know why", "The yardstick is", "yardstick"),
    ],
)
def test_a_planted_fault_of_a_page_is_found(old: str, new: str, fault: str) -> None:
    assert old in PAGE
    found = list(faults_of_a_page(PAGE.replace(old, new), LESSON, "98_rank"))
    assert any(fault in one for one in found), found


WHY = "It is so because the interval of the lead holds zero, and no difference can be seen."
QUIZ: Quiz = {
    "question": [
        {"ask": f"What of {right}?", "choices": [f"{letter} is it" for letter in "abc"], "right": right, "why": WHY}
        for right in (0, 2, 1, 2, 0)
    ]
}


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (lambda quiz: None, ""),
        (lambda quiz: quiz["question"].pop(), "not five"),
        (lambda quiz: quiz["question"][0].pop("why"), "question 1 has"),
        (lambda quiz: quiz["question"][0]["choices"].pop(), "three or four"),
        (lambda quiz: quiz["question"][0]["choices"].append("a is it"), "different"),
        (lambda quiz: quiz["question"][1].update(right=3), "no choice 3"),
        (lambda quiz: quiz["question"][1].update(ask="Say."), "asks nothing"),
        (lambda quiz: quiz["question"][1].update(why="So."), "1 words"),
        (lambda quiz: [one.update(right=1) for one in quiz["question"][:3]], "[1, 1, 1, 2, 0]"),
        (lambda quiz: [one["choices"].__setitem__(one["right"], "long " * 9) for one in quiz["question"]], "longest"),
        (lambda quiz: quiz["question"][1].update(why=WHY + " It was 0.777."), "0.777"),
    ],
)
def test_a_planted_fault_of_a_quiz_is_found(plant: Callable[[Quiz], Any], fault: str) -> None:
    quiz = copy.deepcopy(QUIZ)
    plant(quiz)
    found = list(faults_of_a_quiz(quiz, LESSON))
    assert any(fault in one for one in found) if fault else found == []


# --------------------------------------------------------------------------------------------------- plans

SITTINGS = [(plan["name"], sitting) for plan in PLANS["plan"] for sitting in plan["sitting"]]


def test_the_plans_are_up_to_date() -> None:
    written = (KIT / "plans.md").read_text("utf-8")
    assert written == plans.page(PLANS), "run python -m course.plans"


def test_every_class_adds_up_to_its_frame_and_has_breaks_and_something_to_do() -> None:
    for name, sitting in SITTINGS:
        rows = plans.rows(sitting, PLANS["pace"], name)
        assert all(minutes > 0 for minutes, _ in rows)
        if frame := sitting.get("frame"):
            assert sum(minutes for minutes, _ in rows) == frame
            assert {"exercise", "talk", "quiz"} & {key for block in sitting["blocks"] for key in block}
            longest = run = 0
            for minutes, what in rows[:-1]:
                run = 0 if what == "*Break*" else run + minutes
                longest = max(longest, run)
            assert longest <= 90, f"{name}, {sitting['name']}: {longest} minutes without a break"


def test_what_an_exercise_needs_was_run_before_it() -> None:
    for plan in PLANS["plan"]:
        ran: set[str] = set()
        for block in [block for sitting in plan["sitting"] for block in sitting["blocks"]]:
            ran |= {block["run"]} if "run" in block else set()
            assert block.get("exercise", "")[:2] in ran | {""}, f"{plan['name']}: {block} before its lesson was run"


def test_the_four_plans_are_there_and_the_semester_has_every_lesson_but_the_one_on_many_machines() -> None:
    assert [plan["name"] for plan in PLANS["plan"]] == ["Half a day", "One day", "Two days", "A semester"]
    blocks = [block for sitting in PLANS["plan"][-1]["sitting"] for block in sitting["blocks"]]
    taught = {block[kind] for block in blocks for kind in ("read", "slides") if kind in block}
    assert {path.stem[:2] for path in PATHS} - {"20"} <= taught


def test_minutes_are_those_that_were_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "98_rank.ipynb").write_text(json.dumps(LESSON), "utf-8")
    (tmp_path / "timings.csv").write_text(
        "notebook,processor_seconds,seconds,peak_memory_mb,processor,factor,cores,python,date\n"
        "98_rank,1,60,1,A,1.0,2,3.11,2026-01-01\n98_rank,1,300,1,B,2.0,2,3.11,2026-01-01\n",
        "utf-8",
    )
    monkeypatch.setattr(costs, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(costs, "TIMINGS", tmp_path / "timings.csv")
    pace = {"words": 1, "lines": 1, "slide": 3, "question": 2}
    assert plans.reading("98", pace) == 7 + 3
    assert plans.reading("98", pace, ["Pop"]) == 2 + 1 + 1
    assert plans.row({"slides": "98"}, pace)[0] == 4 * 3
    assert plans.row({"exercise": "98.1"}, pace)[0] == 5
    assert plans.running("98") == 9, "five minutes of a machine that needs twice the reference's seconds"


@pytest.mark.parametrize(
    ("blocks", "fault"),
    [
        ([{"talk": 100, "about": "a"}], "0 of 100"),
        ([{"talk": 120, "about": "a"}], "-20 of 100"),
        ([{"talk": 70, "about": "a"}], "30 of 100"),
        ([{"read": "97"}], "no lesson '97'"),
        ([{"read": "01", "sections": ["Nowhere"]}], "Nowhere"),
        ([{"exercise": "01.9"}], "01.9"),
        ([{"dance": 5}], "dance"),
    ],
)
def test_a_planted_fault_of_a_plan_is_refused(blocks: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        plans.rows({"frame": 100, "blocks": blocks}, PLANS["pace"], "a plan, a class")


def missing_links(page: Path) -> list[str]:
    """What a page of the kit links to and is not there."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    return [link for link in links if "://" not in link and not (page.parent / link).exists()]


def test_links_of_the_kit_lead_somewhere(tmp_path: Path) -> None:
    assert {path.name: missing for path in KIT.rglob("*.md") if (missing := missing_links(path))} == {}
    (tmp_path / "a.md").write_text("[b](b.md#there), [a](a.md), [c](https://example.org)", "utf-8")
    assert missing_links(tmp_path / "a.md") == ["b.md"]
