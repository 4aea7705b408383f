"""Exercises that answer: a right attempt is told why, a wrong one gets a targeted hint.

The checks of notebook NN live in ``course/exercises/eNN.py``, the solutions apart from
them in ``docs/solutions/``. Used in every notebook.
"""

import importlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Checker = Callable[[Any], str | None]


@dataclass(frozen=True)
class Exercise:
    """One exercise: how to begin, why the answer is right, and the function that looks at an answer."""

    name: str
    start: str
    right: str
    checker: Checker


_registry: dict[str, Exercise] = {}


def exercise(name: str, *, start: str, right: str) -> Callable[[Checker], Checker]:
    """Register the check of one exercise.

    The function takes the learner's answer (a value, or a function that the learner wrote) and
    returns ``None`` when it is right, otherwise one sentence that helps with this very mistake.

    Args:
        name: Notebook and number, ``"04.1"``.
        start: The hint for somebody who has not begun: where to look, not the answer.
        right: Why the right answer is right; shown with "Right".

    Returns:
        A decorator.

    Raises:
        ValueError: If the name is not of the form ``"04.1"``, or a text is empty.

    Example:
        >>> @exercise("98.1", start="Count the users first.", right="671 users left a rating.")
        ... def users(answer):
        ...     if answer == 100_004:
        ...         return "That is the number of ratings."
        ...     return None if answer == 671 else "Count the distinct values of user_id."
        >>> check("98.1", ...)
        Not yet: Count the users first.
        >>> check("98.1", 100_004)
        Not yet: That is the number of ratings.
        >>> check("98.1", 671)
        Right: 671 users left a rating.
    """
    notebook, _, number = name.partition(".")
    if not (len(notebook) == 2 and notebook.isdigit() and number.isdigit()):
        raise ValueError(f"exercise name {name!r}: write notebook and number, for example '04.1'")
    if not start.strip() or not right.strip():
        raise ValueError(f"exercise {name}: start and right must both say something")

    def register(checker: Checker) -> Checker:
        _registry[name] = Exercise(name, start, right, checker)
        return checker

    return register


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right, or a hint; never raise.

    Args:
        name: Notebook and number, ``"04.1"``.
        answer: The learner's answer; ``...`` stands for "not begun".
    """
    try:
        found = find(name)
    except LookupError as error:
        print(f"Not yet: {error.args[0]}")
        return
    hint = hint_for(name, answer)
    print(f"Right: {found.right}" if hint is None else f"Not yet: {hint}")


def hint_for(name: str, answer: Any) -> str | None:
    """The hint for an answer, or ``None`` when it is right.

    An error raised while the answer is looked at, usually inside a function that the learner wrote,
    becomes a hint that names it.

    Args:
        name: Notebook and number, ``"04.1"``.
        answer: The learner's answer.

    Raises:
        LookupError: If there is no such exercise.
    """
    found = find(name)
    if answer is ...:
        return found.start
    try:
        return found.checker(answer)
    except Exception as error:
        return _explain(error)


def find(name: str) -> Exercise:
    """The exercise of that name.

    Args:
        name: Notebook and number, ``"04.1"``.

    Raises:
        LookupError: If there is no such exercise; the message lists those that there are.

    Example:
        >>> find("99.1")
        Traceback (most recent call last):
            ...
        LookupError: there is no exercise '99.1'; known here: none
    """
    if name not in _registry:
        module = f"{__package__}.exercises.e{name.partition('.')[0]}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    if name not in _registry:
        known = sorted(key for key in _registry if key.partition(".")[0] == name.partition(".")[0])
        raise LookupError(f"there is no exercise {name!r}; known here: {', '.join(known) or 'none'}")
    return _registry[name]


def _explain(error: Exception) -> str:
    """The error in a sentence, with the line of the learner's own code where there is one."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _in_a_package(frame.filename)]
    line = f" at the line `{own[-1].line}`" if own and own[-1].line else ""
    return f"your answer raised {text}{line}. Call it yourself on a small example and fix that first."


def _in_a_package(filename: str) -> bool:
    return Path(__file__).parent in Path(filename).parents or "site-packages" in filename
