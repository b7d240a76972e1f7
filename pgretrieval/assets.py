"""The SQL files that ship with the package."""

from __future__ import annotations

import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path

from typing_extensions import LiteralString

from pgretrieval.errors import SchemaError


def _folder(name: str, holding: str) -> Path:
    """A folder of the package; in a checkout it lies beside the package, at the repository's top level."""
    package = Path(__file__).parent
    inside = package / name
    return inside if (inside / holding).is_file() else package.parent / name


MIGRATIONS = _folder("migrations", "env.py")
SQL = _folder("sql", "bootstrap.sql")


def bootstrap() -> str:
    """The file that runs first at every migration."""
    return (SQL / "bootstrap.sql").read_text(encoding="utf-8")


_VECTOR_SCHEMA = "@extschema:vector@"


def revisions() -> dict[str, Path]:
    """Name of each revision -> its Python file, oldest first; a file is called NAME_what_it_does.py."""
    return {path.stem.partition("_")[0]: path for path in sorted((MIGRATIONS / "versions").glob("[0-9]*.py"))}


def revision(path: str | Path, suffix: str = ".sql") -> str:
    """The SQL file beside a revision's Python file, to be run."""
    return _with_vector_schema(Path(path).with_suffix(suffix).read_text(encoding="utf-8"))


def _with_vector_schema(text: str) -> str:
    """A file as a statement in which the server puts the name of pgvector's schema; as it is where it needs none."""
    if _VECTOR_SCHEMA not in text:
        return text
    return (SQL / "with_vector_schema.sql").read_text(encoding="utf-8").replace("FILE", text)


def function_files() -> list[Path]:
    """The files of SQL functions, each after those whose functions it names; by folder and name where the order is free.

    Raises SchemaError where functions name each other in a circle.
    """
    files = {path.stem: path for path in sorted((SQL / "functions").rglob("*.sql"))}
    named = {name: sorted(set(_OWN_NAME.findall(_code(path))) & files.keys() - {name}) for name, path in files.items()}
    try:
        return [files[name] for name in TopologicalSorter(named).static_order()]
    except CycleError as error:
        msg = f"SQL functions name each other in a circle: {', '.join(error.args[1])}; let one of them do without"
        raise SchemaError(msg) from error


_OWN_NAME = re.compile(r"\bpgretrieval\.(\w+)")


def _code(path: Path) -> str:
    """The file without comments and texts: a name in these binds nothing."""
    return re.sub("'[^']*'", "''", re.sub("--.*", "", path.read_text(encoding="utf-8")))


def functions() -> list[str]:
    """The views and SQL functions, one a file, in an order in which they may be created."""
    paths = [*sorted((SQL / "views").glob("*.sql")), *function_files()]
    return [_with_vector_schema(path.read_text(encoding="utf-8")) for path in paths]


@cache
def functions_digest() -> str:
    """Tells one version of the SQL functions from another; the schema's comment holds it."""
    return sha256("".join(functions()).encode()).hexdigest()[:16]


def functions_number() -> int:
    """Counts the sets of functions that were released: a higher one is newer."""
    return int((SQL / "functions_number.txt").read_text(encoding="utf-8"))


def refuse_newer_functions() -> str:
    """The statement that ends a migration where the database has functions of a newer set."""
    return (SQL / "refuse_newer_functions.sql").read_text(encoding="utf-8").replace("NUMBER", str(functions_number()))


def mark_functions() -> str:
    """The statement that notes in the database which set of functions it has."""
    text = (SQL / "mark_functions.sql").read_text(encoding="utf-8")
    return text.replace("DIGEST", functions_digest()).replace("NUMBER", str(functions_number()))


def privileges(reader: str, writer: str, owner: str) -> str:
    """The grants for three roles; their names are quoted here."""
    text = (SQL / "privileges.sql").read_text(encoding="utf-8")
    quoted = {
        name: '"' + role.replace('"', '""') + '"' for name, role in (("READER", reader), ("WRITER", writer), ("OWNER", owner))
    }
    return re.sub(r"\b(READER|WRITER|OWNER)\b", lambda found: quoted[found[1]], text)


@cache
def statements(name: str) -> dict[str, LiteralString]:
    """The named statements of `sql/queries/NAME.sql`; each begins with a line `-- name: STATEMENT`.

    They count as literal: no value is ever pasted into them.
    """
    text = (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = text.split("-- name: ")
    named = (part.partition("\n") for part in parts)
    return {head.strip(): body.strip().removesuffix(";") for head, _, body in named}
