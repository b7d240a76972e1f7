"""Restriction of a search to ids, as an SQL expression: a list, or a SQLAlchemy select that the server evaluates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from typing_extensions import LiteralString

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.importing import is_a

if TYPE_CHECKING:
    from sqlalchemy import Select

Ids: TypeAlias = Union[Iterable[str], "Select[Any]"]


def array_of(ids: Ids, what: str = "among") -> tuple[LiteralString, dict[str, Any]]:
    """The SQL of a text[] and its parameters. Raises ConfigError unless `ids` is a list of ids or a select of one column."""
    if is_a(ids, "sqlalchemy", "Select"):
        return _selected(cast("Select[Any]", ids), what)
    return "%(among)s::text[]", {"among": validate.ids(what, ids)}


def _selected(ids: Select[Any], what: str) -> tuple[LiteralString, dict[str, Any]]:
    if len(ids.selected_columns) != 1:
        msg = f"{what} selects {len(ids.selected_columns)} columns; select one, the ids"
        raise ConfigError(msg)
    from sqlalchemy.dialects import registry

    compiled = ids.compile(dialect=registry.load("postgresql.psycopg")(), compile_kwargs={"render_postcompile": True})
    # Unique names, which cannot clash with the surrounding statement.
    names = {name: f"among_{number}" for number, name in enumerate(compiled.params)}
    text = re.sub(r"%\((.*?)\)s", lambda found: f"%({names[found[1]]})s", str(compiled))
    return f"array({text})::text[]", {names[name]: value for name, value in compiled.params.items()}
