"""Which definitions of the library are needed by a second lesson, the service or the command.

A definition is admitted when two notebooks refer to it, or anything in `serving`, `command` or `course/`; or when one
that is admitted, or a module as it is imported, refers to it. An import alone is no use: a name has to be read.
"""

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Definition = tuple[str, str]
"""A module and a name in it."""

KINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
USERS = ("serving", "command")


def unadmitted(root: Path) -> dict[Definition, int]:
    """Definitions that nothing admits, with their lines.

    Args:
        root: A repository: `recfuse_lib/`, `notebooks/` and `course/`.
    """
    modules = {_name(path, root): ast.parse(path.read_text("utf-8")) for path in (root / "recfuse_lib").rglob("*.py")}
    defined = {(module, node.name): node for module, tree in modules.items() for node in tree.body if _is(node)}
    passed_on = {(module, name): one for module, tree in modules.items() for name, one in _imported(tree).items()}

    def read(tree: ast.AST, imported: dict[str, Definition], own: str = "") -> set[Definition]:
        """What code refers to, where it is defined, also if a package passes it on."""
        found = set(_read(tree, imported, own))
        return {one for one in found | {passed_on[one] for one in found if one in passed_on} if one in defined}

    uses: dict[Definition, set[Definition]] = {}
    admitted: set[Definition] = set()
    for module, tree in modules.items():
        imported = _imported(tree)
        for node in tree.body:
            found = read(node, imported, module)
            if _is(node):
                uses[module, node.name] = found
                if module.split(".")[1:2] and module.split(".")[1] in USERS:
                    admitted.add((module, node.name))
            else:
                admitted |= found
    for path in (root / "course").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        admitted |= read(tree, _imported(tree))
    lessons: dict[Definition, set[str]] = defaultdict(set)
    for path in (root / "notebooks").glob("*.ipynb"):
        tree = ast.parse(_code(path))
        for one in read(tree, _imported(tree)):
            lessons[one].add(path.stem)
    admitted |= {one for one, stems in lessons.items() if len(stems) > 1}
    waiting = list(admitted)
    while waiting:
        for one in uses.get(waiting.pop(), set()) - admitted:
            admitted.add(one)
            waiting.append(one)
    return {one: node.end_lineno - node.lineno + 1 for one, node in defined.items() if one not in admitted}


def _is(node: ast.AST) -> bool:
    return isinstance(node, KINDS)


def _name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _code(notebook: Path) -> str:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def _imported(tree: ast.AST) -> dict[str, tuple[str, str]]:
    """Name here → module and name there, for what comes from the library."""
    return {
        name.asname or name.name: (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("recfuse_lib")
        for name in node.names
    }


def _read(tree: ast.AST, imported: dict[str, tuple[str, str]], own: str = "") -> Iterator[Definition]:
    """What code refers to, as module and name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in imported:
                yield imported[node.id]
            if own:
                yield own, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            yield ".".join(imported[node.value.id]), node.attr
