"""The pages that Sphinx reads: the repository's documents as they are, lessons with hints and solutions, quizzes, API.

Pages lie as their sources do, so a link from one to another works on a code host and on the site.
"""

import ast
import json
import os
import posixpath
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
QUIZZES = Path("docs/teaching/quizzes")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "data/*/README.md", "benchmarks/README.md")
LINKED = ("LICENSE*", "CITATION.cff", "docs/images/*", "docs/*.csv", "docs/teaching/*.toml")
"""What pages show or hand out."""
CAPTIONS = ("Lessons", "Practise", "Results and practice", "Teach", "Library")
"""The parts of the site."""

Cell = dict[str, Any]


def write(folder: Path, lessons: Iterable[str] | None = None, *, api: bool = True, extras: bool = True) -> None:
    """Write all pages into a folder.

    Args:
        folder: It is emptied first.
        lessons: The beginnings of some lessons' names; None for all.
        api: With the library's pages, which import it when they are built.
        extras: With solutions and quizzes, which are not in the notebooks.
    """
    shutil.rmtree(folder, ignore_errors=True)
    documents = [path.relative_to(REPOSITORY) for pattern in DOCUMENTS for path in REPOSITORY.glob(pattern)]
    documents = [path for path in documents if not _is_edition(path)]
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    names = [path.stem for path in notebooks if lessons is None or path.stem.startswith(tuple(lessons))]
    for path in (path for pattern in LINKED for path in REPOSITORY.glob(pattern)):
        copy = folder / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    entries = []
    for name in names:
        notebook = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
        title = "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")
        # Another edition has the titles of its own headings.
        english = os.environ.get("RECFUSE_EDITION", "en") == "en"
        entries.append(f"{name[:2]} {title} <notebooks/{name}>" if english else f"notebooks/{name}")
        if extras:
            notebook["cells"] = list(with_answers(name, notebook["cells"]))
            for number, cell in enumerate(notebook["cells"]):
                cell["id"] = f"cell-{number}"
        _write(folder / "notebooks" / f"{name}.ipynb", json.dumps(notebook))
    quizzes = [name for name in names if extras and (REPOSITORY / QUIZZES / f"{name}.toml").exists()]
    for name in quizzes:
        _write(folder / QUIZZES / f"{name}.md", quiz(name))
    _write(folder / "docs/solutions/README.md", _exercises(names))
    modules = list(_modules()) if api else []
    for room in sorted({module.split(".")[1] for module in modules}):
        inside = [module for module in modules if module.split(".")[1] == room]
        _write(folder / "api" / f"{room}.rst", _room(room, inside))
    parts = (
        entries,
        ["docs/notation", "docs/solutions/README", *(f"{QUIZZES}/{name}" for name in quizzes)],
        _pages("docs/*.md", "data/*/README.md", "benchmarks/README.md"),
        _pages("docs/teaching/**/*.md", "CONTRIBUTING.md"),
        [f"api/{room}" for room in dict.fromkeys(module.split(".")[1] for module in modules)],
    )
    trees = dict(zip(CAPTIONS, parts, strict=True))
    for path in documents:
        text = _linked(path, (REPOSITORY / path).read_text("utf-8"), names)
        if path == Path("README.md"):
            # A code host offers the editions; a site has one language.
            text = re.sub(r"^\[English\].*\n\n", "", text, flags=re.M)
            path, text = Path("index.md"), text + "".join(_tree(title, pages) for title, pages in trees.items())
        _write(folder / path, text)


def with_answers(name: str, cells: list[Cell]) -> Iterator[Cell]:
    """A lesson's cells; after each exercise its hint and its solution, folded, and at the end the quiz."""
    checks = _checks(name)
    source = (REPOSITORY / "docs" / "solutions" / f"{name}.py").read_text("utf-8")
    for cell in cells:
        text = "".join(cell["source"])
        number = re.search(r"^check\(\"([\d.]+)\"", text, re.M) if cell["cell_type"] == "code" else None
        if number is None:
            yield cell
            continue
        start, right = checks[number[1]]
        # What an untouched cell prints is the hint.
        yield {**cell, "outputs": []}
        code = solution(number[1], source)
        hint = f"::::{{dropdown}} Hint\n{start}\n::::\n\n"
        hint += f"::::{{dropdown}} Solution\n{right}\n\n```python\n{code}\n```\n::::"
        yield {"cell_type": "markdown", "metadata": {}, "source": hint}
    if (REPOSITORY / QUIZZES / f"{name}.toml").exists():
        text = f"## Quiz\n\n[Five questions](../{QUIZZES}/{name}.md) on this lesson, with explained answers."
        yield {"cell_type": "markdown", "metadata": {}, "source": text}


def solution(number: str, source: str) -> str:
    """The solution of one exercise as code: its definition, with the definitions and imports that it needs."""
    defined: dict[str, ast.stmt] = {}
    answers: dict[str, ast.expr] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name).partition(".")[0]: node for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "solutions" and isinstance(node.value, ast.Dict):
                pairs = zip(node.value.keys, node.value.values, strict=True)
                answers = {ast.literal_eval(key): value for key, value in pairs if key}
            defined[node.targets[0].id] = node
    needed: set[str] = set()
    asked: list[ast.AST] = [answers[number]]
    while asked:
        for name in {one.id for one in ast.walk(asked.pop()) if isinstance(one, ast.Name)}:
            if name in defined and name not in needed:
                needed.add(name)
                asked.append(defined[name])
    nodes = {id(defined[name]): defined[name] for name in needed}
    parts = sorted(nodes.values(), key=lambda node: node.lineno)
    lines, texts = source.splitlines(), []
    for node in parts:
        first = min([node.lineno] + [one.lineno for one in _decorators(node)])
        texts.append("\n".join(lines[first - 1 : node.end_lineno]))
    answer = ast.get_source_segment(source, answers[number]) or ""
    if not isinstance(answers[number], ast.Name):
        texts.append(f"answer = {answer}")
    return "\n\n\n".join(texts)


def quiz(name: str) -> str:
    """A lesson's quiz as a page: answers fold on the screen, and stand on the last page when it is printed."""
    questions = tomllib.loads((REPOSITORY / QUIZZES / f"{name}.toml").read_text("utf-8"))["question"]
    lines, answers = [f"# Quiz {name[:2]}", "", f"On [{name}](../../../notebooks/{name}.ipynb).", ""], []
    for number, question in enumerate(questions, start=1):
        letter = "ABCD"[question["right"]]
        answer = f"**{letter}.** {question['why']}"
        lines += [f"## Question {number}", "", question["ask"], ""]
        lines += [f"- **{letter}.** {choice}" for letter, choice in zip("ABCD", question["choices"], strict=False)]
        lines += ["", ":::{dropdown} Answer", ":class-container: screen-only", answer, ":::", ""]
        answers += [f"{number}. {answer}"]
    return "\n".join([*lines, "::::{div} print-only", ":::{rubric} Answers", ":::", *answers, "::::", ""])


def _checks(name: str) -> dict[str, tuple[str, str]]:
    """What each exercise's check says at the start and to a right answer, read from its source."""
    tree = ast.parse((REPOSITORY / "course" / "exercises" / f"e{name[:2]}.py").read_text("utf-8"))
    checks = {}
    for call in (one for node in tree.body for one in _decorators(node)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "exercise":
            said = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            checks[ast.literal_eval(call.args[0])] = (said["start"], said["right"])
    return checks


def _decorators(node: ast.stmt) -> list[ast.expr]:
    return node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


def _exercises(names: list[str]) -> str:
    lines = ["# Exercises", "", "Each stands in its lesson, with a hint and a solution that fold. Try first.", ""]
    for name in names:
        cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        lines.append(f"- [{name}](../../notebooks/{name}.ipynb)")
        lines += [f"    - {title}" for title in re.findall(r"^### Exercise (.+)$", text, re.M)]
    return "\n".join([*lines, ""])


def _modules() -> Iterator[str]:
    """The library's modules, room by room from the ground up."""
    for path in sorted((REPOSITORY / "recfuse_lib").rglob("*.py")):
        if not path.stem.startswith("__"):
            yield ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def _room(room: str, modules: list[str]) -> str:
    title = f"recfuse_lib.{room}"
    parts = [title, "=" * len(title), ""]
    for module in modules:
        name = module.removeprefix(f"{title}.")
        parts += [name, "-" * len(name), "", f".. automodule:: {module}", "   :members:", "   :show-inheritance:", ""]
    return "\n".join(parts)


def _linked(path: Path, text: str, names: list[str]) -> str:
    """A document whose links lead to pages of the site; a link to a lesson or edition that it lacks is a name only."""

    def target(match: re.Match[str]) -> str:
        full = posixpath.normpath(posixpath.join(path.parent.as_posix(), match[2]))
        if full == "README.md":
            return f"[{match[1]}]({match[2].removesuffix('README.md')}index.md{match[3] or ''})"
        if (REPOSITORY / full).is_dir():
            # A folder's page is its README, or the first of its pages.
            page = "README" if full == "docs/solutions" else names[0]
            return f"[{match[1]}]({match[2].rstrip('/')}/{page}.md)"
        lacks = _is_edition(Path(full)) or (full.startswith("notebooks/") and Path(full).stem not in names)
        return match[1] if lacks else match[0]

    return re.sub(r"(?<!!)\[([^\]\n]+)\]\(([\w./-]+)(#[\w-]+)?\)", target, text)


def _pages(*patterns: str) -> list[str]:
    paths = [path.relative_to(REPOSITORY) for pattern in patterns for path in sorted(REPOSITORY.glob(pattern))]
    paths = [path for path in paths if path.name != "notation.md" and not _is_edition(path)]
    return [path.with_suffix("").as_posix() for path in paths]


def _is_edition(path: Path) -> bool:
    """Whether a document is another one in another language, README.zh.md: a site has one language."""
    return len(path.suffixes) > 1 and (REPOSITORY / path).with_suffix("").with_suffix(".md").exists()


def _tree(title: str, pages: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""]) if pages else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
