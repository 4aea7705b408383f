"""``python -m course.plans`` writes ``docs/teaching/plans.md`` from ``plans.toml``, with minutes that are computed."""

import functools
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from course import costs
from recfuse_lib.pretrained import store

FOLDER = costs.REPOSITORY / "docs" / "teaching"


def main() -> None:
    """Write the page of plans."""
    store.write(FOLDER / "plans.md", page(tomllib.loads((FOLDER / "plans.toml").read_text("utf-8"))))


def page(plans: dict[str, Any]) -> str:
    """All plans as tables; each class adds up to its frame."""
    text: str = plans["opening"].strip()
    for plan in plans["plan"]:
        text += f"\n\n## {plan['name']}\n\n{plan['about'].strip()}"
        for sitting in plan["sitting"]:
            begins, lines = 0, ["| begins | min | what |", "|--:|--:|---|"]
            for minutes, what in rows(sitting, plans["pace"], f"{plan['name']}, {sitting['name']}"):
                lines.append(f"| {begins // 60}:{begins % 60:02} | {minutes} | {what} |")
                begins += minutes
            text += f"\n\n**{sitting['name']}**, {begins} minutes\n\n" + "\n".join(lines)
    return text + "\n"


def rows(sitting: dict[str, Any], pace: dict[str, float], where: str) -> list[tuple[int, str]]:
    """Minutes and what is done in them; a frame leaves between a twentieth and a fifth of itself to spare."""
    done = [row(block, pace) for block in sitting["blocks"]]
    spare = (frame := sitting.get("frame", 0)) - sum(minutes for minutes, _ in done)
    if frame and not frame / 20 <= spare <= frame / 5:
        raise ValueError(f"plans.toml: {where}: {spare} of {frame} minutes to spare")
    return [*done, (spare, "*Spare*: questions, and whatever took longer")] if frame else done


def row(block: dict[str, Any], pace: dict[str, float]) -> tuple[int, str]:
    """The minutes of a block, and its words."""
    match block:
        case {"talk": minutes, "about": about}:
            return minutes, about
        case {"break": minutes}:
            return minutes, "*Break*"
        case {"read": number, **rest}:
            parts = f": {'; '.join(named(number, rest['sections']))}" if "sections" in rest else ""
            return reading(number, pace, rest.get("sections")), f"Read {_link(number)}{parts}"
        case {"slides": number}:
            kinds = [cell["metadata"] for cell in cells(number) if "optional" not in cell["metadata"].get("tags", [])]
            shown = sum(kind.get("slideshow", {}).get("slide_type") == "slide" for kind in kinds)
            return math.ceil(shown * pace["slide"]), f"Slides of {_link(number)} ({shown})"
        case {"run": number}:
            meanwhile = f"; meanwhile: {block['meanwhile']}" if "meanwhile" in block else ""
            return running(number), f"Run {_link(number)}{meanwhile}"
        case {"exercise": name}:
            text = "\n".join("".join(cell["source"]) for cell in cells(name[:2]))
            if found := re.search(rf"^### Exercise {name}: \w+ · (\d+) minutes$", text, re.M):
                return int(found[1]), f"Exercise {name}"
        case {"quiz": number}:
            quiz = tomllib.loads((FOLDER / "quizzes" / f"{lesson(number).stem}.toml").read_text("utf-8"))
            return math.ceil(len(quiz["question"]) * pace["question"]), f"Quiz of {_link(number)}"
    raise ValueError(f"plans.toml: {block} is no block, or what it names does not exist")


def running(number: str) -> int:
    """Minutes to run a lesson on the slowest machine that was seen."""
    measured = [row for (name, _), row in costs.read_timings(costs.TIMINGS).items() if name == lesson(number).stem]
    if not measured:
        raise ValueError(f"docs/timings.csv has no row of lesson {number}")
    return math.ceil(max(float(row["seconds"]) / float(row["factor"]) for row in measured) * costs.SLOWEST / 60)


def reading(number: str, pace: dict[str, float], chosen: list[str] | None = None) -> int:
    """Minutes to read a lesson, or its opening and the chosen sections."""
    names = list(sections(number)) if chosen is None else ["", *named(number, chosen)]
    words, lines = (sum(sections(number)[name][kind] for name in names) for kind in (0, 1))
    return math.ceil(words / pace["words"] + lines / pace["lines"])


def named(number: str, chosen: list[str]) -> list[str]:
    """The sections that begin so."""
    if len(names := [name for one in chosen for name in sections(number) if name.startswith(one)]) != len(chosen):
        raise ValueError(f"plans.toml: of the sections {chosen}, lesson {number} has {names}")
    return names


def sections(number: str) -> dict[str, tuple[int, int]]:
    """Words of prose and lines of code that are shown, by section (``""`` is the opening); nothing optional counts."""
    counts, name = {"": (0, 0)}, ""
    for cell in cells(number):
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        prose = cell["cell_type"] == "markdown"
        name = next(iter(re.findall(r"^## +(.+?)\s*$", source, re.M)), name) if prose else name
        words, lines = counts.get(name, (0, 0))
        if not {"optional", "hide-input"} & set(tags):
            words += len(re.findall(r"\w+", source)) if prose else 0
            lines += 0 if prose else sum(bool(line.strip()) for line in source.splitlines())
        counts[name] = words, lines
    return {
        name: count for name, count in counts.items() if name not in ("Exercises", "In practice", "Further reading")
    }


@functools.cache
def cells(number: str) -> list[dict[str, Any]]:
    """The cells of a lesson, without what they put out."""
    notebook = json.loads(lesson(number).read_text("utf-8"))
    return [{name: value for name, value in cell.items() if name != "outputs"} for cell in notebook["cells"]]


def _link(number: str) -> str:
    return f"[`{lesson(number).stem}`](lessons/{lesson(number).stem}.md)"


def lesson(number: str) -> Path:
    """The notebook of a number, ``"01"``."""
    if len(paths := sorted(costs.NOTEBOOKS.glob(f"{number}_*.ipynb"))) != 1:
        raise ValueError(f"plans.toml: there is no lesson {number!r}")
    return paths[0]


if __name__ == "__main__":
    main()
