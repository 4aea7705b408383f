"""What a lesson writes out, for those who need it elsewhere: its tests, and the scripts that make its tables."""

import ast
import functools
import json
import sys
from pathlib import Path
from types import ModuleType

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@functools.cache
def definitions(lesson: str) -> ModuleType:
    """Make a module of the imports, functions, classes and constants in a lesson's code cells.

    Nothing else of the lesson runs: a constant is a name in capitals that is assigned a literal.

    Args:
        lesson: The notebook's name without its ending, ``"10_evaluate"``.

    Raises:
        FileNotFoundError: If there is no such notebook.

    Example:
        >>> tour = definitions("00_tour")
        >>> tour.__name__
        'lessons.00_tour'
    """
    path = NOTEBOOKS / f"{lesson}.ipynb"
    module = ModuleType(f"lessons.{lesson}")
    module.__file__ = str(path)
    # Dataclasses look their module up by its name.
    sys.modules[module.__name__] = module
    exec(compile(definitions_in(path), str(path), "exec"), module.__dict__)
    return module


def definitions_in(notebook: Path) -> ast.Module:
    """Parse a notebook's code and keep what defines, without lines that only Jupyter understands."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    body: list[ast.stmt] = []
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            tree = ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))
            body += [node for node in tree.body if isinstance(node, KEPT) or _is_constant(node)]
    return ast.Module(body=body, type_ignores=[])


def _is_constant(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign) or not all(isinstance(name, ast.Name) for name in node.targets):
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return all(name.id.isupper() for name in node.targets if isinstance(name, ast.Name))
