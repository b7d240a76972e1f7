"""Validation of jsonpath predicates by the server."""

from __future__ import annotations

import threading

import psycopg
from psycopg import errors as pg

from pgretrieval import validate
from pgretrieval.assets import statements
from pgretrieval.db.connection import Database
from pgretrieval.errors import ConfigError

_SQL = statements("search")
_REMEMBERED = 1_000
_checked: set[str] = set()
_checking = threading.Lock()


def check_predicate(database: Database, where: str) -> None:
    """Raise ConfigError unless the text is a jsonpath predicate. A path alone, such as `$.year`, would match nothing.

    Results are cached by text.
    """
    with _checking:
        if where in _checked:
            return
    with database.connection("reading where=") as connection:
        try:
            connection.execute(_SQL["check_filter"], {"filter": where})
        except (pg.DataError, pg.SyntaxError, pg.UndefinedObject) as error:
            reason = str(error).strip().splitlines()[0]
            msg = f"where is {validate.shown(where)}, which is no jsonpath: {reason}. Give a predicate such as '$.year >= 1990'"
            raise ConfigError(msg) from error
        except psycopg.DatabaseError as error:
            if error.sqlstate != "PGR05":
                raise
            msg = (
                f"where is {validate.shown(where)}, which is a jsonpath but no predicate, so that it is true of no passage; "
                "compare with something, such as '$.year >= 1990' or '$.published == true'"
            )
            raise ConfigError(msg) from error
    with _checking:
        if len(_checked) >= _REMEMBERED:
            _checked.clear()
        _checked.add(where)
