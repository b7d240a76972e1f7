"""Docstrings of the installed Python standard library as a corpus available on every machine."""

from __future__ import annotations

import ast
import inspect
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pgretrieval.errors import InputError
from pgretrieval.types import Passage

SKIPPED = {"test", "tests", "idle_test", "turtledemo", "ensurepip"}


class _Definition(NamedTuple):
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    name: str
    kind: str


def standard_library_passages() -> Iterator[Passage]:
    """Yield one passage per docstring of a module, class, function or method, by module name and then line.

    The sources are parsed, never imported. Tests, private modules (other than __future__) and functions inside
    functions are left out. The passages depend on the Python version.
    """
    root = Path(sysconfig.get_path("stdlib"))
    empty = True
    for module, path in sorted(_modules(root, prefix="")):
        for passage in _module_passages(module, path):
            yield passage
            empty = False
    if empty:
        raise InputError(f"{root}: contains no Python sources of the standard library; use a corpus file instead")


def _modules(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in folder.iterdir():
        name = path.stem
        if name == "__init__" and prefix and path.suffix == ".py":
            yield prefix.rstrip("."), path
        elif not name.isidentifier() or name in SKIPPED or (name.startswith("_") and name != "__future__"):
            continue
        elif path.suffix == ".py":
            yield prefix + name, path
        elif path.is_dir():
            yield from _modules(path, f"{prefix}{name}.")


def _module_passages(module: str, path: Path) -> Iterator[Passage]:
    tree = _parse(path)
    if tree is None:
        return
    if text := _docstring(tree):
        yield Passage(module, text, title=module, metadata={"module": module, "kind": "module", "line": 1})
    seen: Counter[str] = Counter([module])
    for node, name, kind in _definitions(tree, f"{module}.", in_class=False):
        if text := _docstring(node):
            seen[name] += 1
            yield Passage(
                id=name if seen[name] == 1 else f"{name}#{seen[name]}",
                text=text,
                title=name if isinstance(node, ast.ClassDef) else f"{name}({ast.unparse(node.args)})",
                metadata={"module": module, "kind": kind, "line": node.lineno},
            )


def _parse(path: Path) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old sources
        try:
            return ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return None


def _definitions(parent: ast.AST, prefix: str, *, in_class: bool) -> Iterator[_Definition]:
    """Yield classes, functions and methods below `parent`, also under `if` and `try`, in source order."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            yield _Definition(node, prefix + node.name, "class")
            yield from _definitions(node, f"{prefix}{node.name}.", in_class=True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _Definition(node, prefix + node.name, "method" if in_class else "function")
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _definitions(node, prefix, in_class=in_class)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the cleaned docstring or ""; NUL and lone surrogates become escapes as in the source."""
    text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").replace("\0", r"\0")
    return text.encode("utf-8", "backslashreplace").decode("utf-8").strip()
