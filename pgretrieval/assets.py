"""SQL files that ship with the package."""

from __future__ import annotations

import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path

from typing_extensions import LiteralString

from pgretrieval.errors import SchemaError


def _folder(name: str, marker: str) -> Path:
    """Return a folder of the package; in a checkout it is at the top level of the repository."""
    package = Path(__file__).parent
    inside = package / name
    return inside if (inside / marker).is_file() else package.parent / name


MIGRATIONS = _folder("migrations", "env.py")
SQL = _folder("sql", "bootstrap.sql")


def bootstrap() -> str:
    """Return the SQL that begins every migration."""
    return (SQL / "bootstrap.sql").read_text(encoding="utf-8")


_VECTOR_SCHEMA = "@extschema:vector@"


def revisions() -> dict[str, Path]:
    """Return the Python file of each revision by its name, oldest first; a file is called NAME_description.py."""
    return {path.stem.partition("_")[0]: path for path in sorted((MIGRATIONS / "versions").glob("[0-9]*.py"))}


def revision(path: str | Path, suffix: str = ".sql") -> str:
    """Return the SQL of the file beside a revision's Python file."""
    return _with_vector_schema(Path(path).with_suffix(suffix).read_text(encoding="utf-8"))


def _with_vector_schema(text: str) -> str:
    """Wrap SQL in a statement that fills in the name of pgvector's schema, if the SQL needs it."""
    if _VECTOR_SCHEMA not in text:
        return text
    return (SQL / "with_vector_schema.sql").read_text(encoding="utf-8").replace("FILE", text)


def function_files() -> list[Path]:
    """Return the files of the SQL functions in order of dependency, then of folder and name.

    Raises SchemaError if functions depend on each other in a cycle.
    """
    files = {path.stem: path for path in sorted((SQL / "functions").rglob("*.sql"))}
    named = {name: sorted(set(_OWN_NAME.findall(_code(path))) & files.keys() - {name}) for name, path in files.items()}
    try:
        return [files[name] for name in TopologicalSorter(named).static_order()]
    except CycleError as error:
        msg = f"SQL functions depend on each other in a cycle: {', '.join(error.args[1])}; remove one of the calls"
        raise SchemaError(msg) from error


_OWN_NAME = re.compile(r"\bpgretrieval\.(\w+)")


def _code(path: Path) -> str:
    """Return a file's SQL without comments and string literals, whose names are no dependencies."""
    return re.sub("'[^']*'", "''", re.sub("--.*", "", path.read_text(encoding="utf-8")))


def functions() -> list[str]:
    """Return the SQL of the views and functions, one for each file, in an order of creation."""
    paths = [*sorted((SQL / "views").glob("*.sql")), *function_files()]
    return [_with_vector_schema(path.read_text(encoding="utf-8")) for path in paths]


@cache
def functions_digest() -> str:
    """Digest of the SQL functions; the schema's comment stores it."""
    return sha256("".join(functions()).encode()).hexdigest()[:16]


def functions_number() -> int:
    """Return the number of released sets of functions; a higher number is newer."""
    return int((SQL / "functions_number.txt").read_text(encoding="utf-8"))


def refuse_newer_functions() -> str:
    """Return the statement that stops a migration if the database has functions of a newer set."""
    return (SQL / "refuse_newer_functions.sql").read_text(encoding="utf-8").replace("NUMBER", str(functions_number()))


def mark_functions() -> str:
    """Return the statement that records the installed set of functions in the database."""
    text = (SQL / "mark_functions.sql").read_text(encoding="utf-8")
    return text.replace("DIGEST", functions_digest()).replace("NUMBER", str(functions_number()))


def extension_file(name: str, **values: str) -> str:
    """Return a file of the extension, with each name in capitals replaced by its value."""
    text = (SQL / name).read_text(encoding="utf-8")
    for placeholder, value in values.items():
        text = re.sub(rf"\b{placeholder}\b", value, text)
    return text


def privileges(reader: str, writer: str, owner: str) -> str:
    """Return the grants for three roles, with quoted names."""
    text = (SQL / "privileges.sql").read_text(encoding="utf-8")
    roles = {"READER": reader, "WRITER": writer, "OWNER": owner}
    quoted = {name: '"' + role.replace('"', '""') + '"' for name, role in roles.items()}

    def filled(found: re.Match[str]) -> str:
        part = found[0]
        if part.startswith("--"):
            return part
        names = quoted if part in roles else {name: role.replace("'", "''") for name, role in quoted.items()}
        if part.startswith("format"):
            names = {name: role.replace("%", "%%") for name, role in names.items()}
        return _ROLE.sub(lambda role: names[role[0]], part)

    return _PART_WITH_ROLES.sub(filled, text)


_ROLE = re.compile(r"\b(?:READER|WRITER|OWNER)\b")
_PART_WITH_ROLES = re.compile(rf"--.*|format\('(?:[^']|'')*'|'(?:[^']|'')*'|{_ROLE.pattern}")
"""Comments, templates of format(), other literals, and names of roles."""


@cache
def statements(name: str) -> dict[str, LiteralString]:
    """Return the named statements of `sql/queries/NAME.sql`; each begins with a line `-- name: STATEMENT`.

    The texts are typed as literals, since no value is inserted into them.
    """
    text = (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = text.split("-- name: ")
    named = (part.partition("\n") for part in parts)
    return {head.strip(): body.strip().removesuffix(";") for head, _, body in named}
