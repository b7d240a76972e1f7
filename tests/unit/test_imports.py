"""Import directions, no print or assert in the library, and consistency of SQL files and their users."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pgretrieval
from pgretrieval import assets

PACKAGE = Path(pgretrieval.__file__).parent
BASE = {"buckets", "types", "errors", "assets", "importing", "presets", "validate"}
ALLOWED = {
    "types": set(),
    "buckets": {"types"},
    "errors": set(),
    "validate": {"errors"},
    "importing": {"errors"},
    "presets": {"validate"},
    "assets": {"errors"},
    "numerics": BASE,
    "corpus": BASE | {"encode.images"},
    "encode": BASE | {"numerics.hardware", "numerics.parallel", "numerics.transformer"},
    "db": BASE | {"numerics"},
    "evaluate": BASE | {"corpus"},
    "rerank": BASE | {"encode", "numerics.hardware"},
    "train": BASE | {"corpus", "encode", "evaluate", "rerank", "numerics"},
    "index": BASE | {"numerics", "db", "encode", "corpus.validate"},
    "search": BASE | {"numerics", "db", "encode", "index"},
    "anncur": BASE | {"db", "index", "numerics", "rerank", "search"},
    "stored": BASE | {"db", "encode", "index", "search.filters"},
    "collection": BASE | {"anncur", "db", "encode", "index", "search", "stored"},
    "sync": BASE | {"collection", "corpus", "db", "index"},
    "database": BASE | {"collection", "db", "encode", "index", "sync"},
    "asynchronous": BASE | {"collection", "database", "db", "encode"},
    "modes": BASE | {"collection", "db"},
    "integrations": BASE | {"asynchronous", "collection", "database", "db", "index", "modes", "search.filters"},
    "alembic": BASE | {"db"},
    "sqlalchemy": BASE | {"db", "index", "search"},
    "pages": BASE | {"encode.images", "search"},
    "serve": BASE | {"asynchronous", "collection", "database", "db", "encode", "modes", "pages", "rerank", "search"},
    "mcp": BASE | {"serve"},
    "cli": BASE
    | {
        "anncur",
        "collection",
        "corpus",
        "database",
        "db",
        "encode",
        "evaluate",
        "index",
        "mcp",
        "modes",
        "pages",
        "rerank",
        "search",
        "serve",
        "sync",
        "train",
    },
    "__main__": {"cli"},
    "__init__": BASE | {"anncur", "asynchronous", "collection", "corpus", "database", "db", "encode", "index", "search"},
}
"""Part of the package -> parts that it may import; itself is always allowed."""

DRIVERS = {"psycopg", "sqlalchemy", "alembic", "pgvector"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The first name below the package: "db" for pgretrieval/db/wire.py, "types" for pgretrieval/types.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, at the top or in a function."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if _is_module(name) else str(node.module) for name in names)


def _is_module(name: str) -> bool:
    inside = PACKAGE.parent.joinpath(*name.split("."))
    return inside.is_dir() or inside.with_suffix(".py").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path):
    """Each part imports only lower parts."""
    part = part_of(path)
    allowed = ALLOWED[part] | {part}
    for name in imported(path):
        if name == "pgretrieval" or name.startswith("pgretrieval."):
            inner = name.removeprefix("pgretrieval").removeprefix(".")
            assert any(inner == other or inner.startswith(f"{other}.") for other in allowed), f"{part} imports {name}"


@pytest.mark.parametrize("name", ["selection", "solving", "inverse", "estimate", "whitening"])
def test_the_maths_of_factorisations_is_pure(name: str):
    """The numerical modules of `anncur` import neither database nor model code."""
    ours = {module for module in imported(PACKAGE / "anncur" / f"{name}.py") if module.startswith("pgretrieval.")}
    assert {module.split(".")[1] for module in ours} <= BASE | {"anncur"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_db_knows_the_driver(path: Path):
    """Only `db` imports the driver."""
    if part_of(path) not in ("db", "alembic", "sqlalchemy"):  # the last two are used by applications
        assert {name.split(".")[0] for name in imported(path)} & DRIVERS == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_neither_prints_nor_asserts(path: Path):
    """The library prints nothing and has no assert, which python -O removes."""
    for node in nodes(path):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
        if part_of(path) != "cli" and isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Name) and node.func.id == "print"), f"{path}:{node.lineno}"
            assert not (isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "sys.stdout.write"), (
                f"{path}:{node.lineno}"
            )


def test_every_part_has_a_place_in_the_order():
    """Every part of the package is in ALLOWED."""
    assert {part_of(path) for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import pgretrieval", ["torch", "llvmlite", "sentence_transformers", "transformers", "psycopg", "sqlalchemy", "alembic"]),
        ("import pgretrieval.database", ["torch", "llvmlite", "sentence_transformers", "transformers", "sqlalchemy", "alembic"]),
        ("import pgretrieval.cli.app", ["torch", "llvmlite", "sentence_transformers", "transformers", "sqlalchemy", "alembic"]),
        ("import pgretrieval.collection", ["torch", "llvmlite", "sentence_transformers", "transformers", "sqlalchemy", "alembic"]),
        ("import pgretrieval.cli.serving", ["torch", "starlette", "uvicorn", "prometheus_client", "pydantic"]),
        ("import pgretrieval; pgretrieval.Hit; pgretrieval.PgRetrievalError", ["torch", "psycopg"]),
    ],
)
def test_heavy_packages_are_imported_when_needed(statement: str, absent: list[str]):
    """`import pgretrieval` imports no heavy package."""
    code = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_importing_changes_nothing_of_the_process():
    """Importing changes no environment variable, signal handler or psycopg adapter, even when torch is imported."""
    code = """if True:
        import os, psycopg, signal, sys
        def state():
            kinds = [kind for kinds in psycopg.adapters._dumpers.values() for kind in kinds]
            return repr((dict(os.environ), signal.getsignal(signal.SIGINT), kinds))
        before = state()
        import pgretrieval
        from pgretrieval import importing
        pgretrieval.Collection
        importing.whole("pgretrieval.search.pipeline")
        assert "torch" in sys.modules
        assert state() == before
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_public_names_exist():
    """Every name in __all__ can be imported."""
    for name in pgretrieval.__all__:
        assert getattr(pgretrieval, name) is not None


def _sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in MODULES}


def test_every_sql_file_is_used_and_every_named_one_exists():
    """Every file of statements is used, and every file that a module names exists."""
    named = {name for text in _sources().values() for name in re.findall(r'statements\("(\w+)"\)', text)}
    assert named == {path.stem for path in (assets.SQL / "queries").glob("*.sql")}


def test_every_named_statement_is_used_where_its_file_is_loaded():
    """Every named statement is used, and every used name exists in its file."""
    for file in sorted((assets.SQL / "queries").glob("*.sql")):
        users = [text for text in _sources().values() if f'statements("{file.stem}")' in text]
        words = {word for text in users for word in re.findall(r'"(\w+)"', text)}
        assert set(assets.statements(file.stem)) - words == set(), f"{file.name}: not used"
        asked = {name for text in users if "_SQL = statements" in text for name in re.findall(r'_SQL\["(\w+)"\]', text)}
        assert asked - set(assets.statements(file.stem)) == set(), f"{file.name}: not there"


def test_no_sql_is_written_in_python():
    """No Python string contains a SQL statement."""
    pattern = re.compile(r"^\s*(select|insert into|update|delete from|create|drop|alter|copy|truncate)\s+\w", re.IGNORECASE)
    for path in MODULES:
        documented = {
            id(node.body[0].value)
            for node in nodes(path)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
        }
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
                looks_like_sql = pattern.match(node.value) and re.search(r"pgretrieval\.|\bfrom\b|\btable\b", node.value)
                assert not looks_like_sql or part_of(path) == "cli", f"{path}:{node.lineno}: {node.value[:60]!r}"
