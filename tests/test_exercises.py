"""Every exercise has a solution that passes, and planted wrong answers that get the right hint."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_notebooks import PATHS, exercises

from course import checks

SOLUTIONS = Path(__file__).parents[1] / "docs" / "solutions"
STEMS = sorted({path.stem for path in PATHS} | {path.stem for path in SOLUTIONS.glob("[0-9]*.py")})
_loaded: dict[str, ModuleType] = {}


def solutions_of(stem: str) -> ModuleType:
    if stem not in _loaded:
        path = SOLUTIONS / f"{stem}.py"
        assert path.exists(), f"docs/solutions/{stem}.py is missing"
        specification = importlib.util.spec_from_file_location(f"solutions_{stem}", path)
        assert specification and specification.loader
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        _loaded[stem] = module
    return _loaded[stem]


@pytest.mark.slow
@pytest.mark.parametrize("stem", STEMS)
def test_exercises_solutions_and_wrong_answers_belong_together(stem: str) -> None:
    path = Path(__file__).parents[1] / "notebooks" / f"{stem}.ipynb"
    assert path.exists(), f"docs/solutions/{stem}.py belongs to no notebook"
    names = set(exercises(json.loads(path.read_text("utf-8"))))
    module = solutions_of(stem)
    assert set(module.solutions) == names, "solutions = {...} and the notebook's exercises differ"
    assert set(module.wrong) == names, "wrong = {...} and the notebook's exercises differ"
    assert all(module.wrong.values()), "each exercise has at least one planted wrong answer"


@pytest.mark.slow
@pytest.mark.parametrize("stem", STEMS)
def test_solutions_pass_and_wrong_answers_get_their_hint(stem: str) -> None:
    module = solutions_of(stem)
    faults: list[str] = []
    for name, answer in module.solutions.items():
        faults += judge(name, answer, module.wrong.get(name, []))
    assert not faults, "\n".join(faults)


def judge(name: str, answer: Any, wrong: list[tuple[Any, str]]) -> list[str]:
    """What is amiss with a solution and its planted wrong answers."""
    faults = []
    start = checks.hint_for(name, ...)
    hint = checks.hint_for(name, answer)
    if not start:
        faults.append(f"{name}: the exercise as handed out counts as right")
    if hint is not None:
        faults.append(f"{name}: the solution is refused: {hint}")
    for number, (attempt, fragment) in enumerate(wrong, start=1):
        hint = checks.hint_for(name, attempt)
        if hint is None:
            faults.append(f"{name}: wrong answer {number} passes")
        elif fragment not in hint:
            faults.append(f"{name}: wrong answer {number} gets {hint!r}, not {fragment!r}")
    return faults


def test_the_judge_finds_a_refused_solution_and_a_lenient_check() -> None:
    @checks.exercise("97.1", start="Count.", right="Two.")
    def _(answer: object) -> str | None:
        return None if answer in (2, 3) else "Count again."

    assert judge("97.1", 2, [(1, "again")]) == []
    assert "refused" in judge("97.1", 1, [])[0]
    assert "passes" in judge("97.1", 2, [(3, "again")])[0]
    assert "not 'else'" in judge("97.1", 2, [(1, "else")])[0]
