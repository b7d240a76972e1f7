"""What a search is restricted to: `where` becomes a jsonpath predicate over metadata, `among` a list of ids in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgretrieval import validate
from pgretrieval.db.connection import Database
from pgretrieval.db.predicates import check_predicate
from pgretrieval.db.selection import Ids, array_of
from pgretrieval.errors import ConfigError
from pgretrieval.types import Restriction

MAX_DEPTH = 100

_COMPARISONS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_CONNECTIVES = {"$and": "&&", "$or": "||"}
_OPERATORS = (*_COMPARISONS, "$in", "$nin", "$exists", "$not", *_CONNECTIVES)


def read_restriction(database: Database, where: Any, among: Any, what: str = "among") -> Restriction | None:
    """Return what a search or a delete is restricted to. Raises ConfigError, also where a text is no jsonpath predicate."""
    restricted = restriction(where, among, what)
    check_where(database, where)
    return restricted


def check_where(database: Database, where: Any) -> None:
    """Raise ConfigError where a text is no jsonpath predicate, which the server tells; each text is asked for once."""
    if isinstance(where, str):
        check_predicate(database, where)


def restriction(where: Mapping[str, Any] | str | None, among: Ids | None, what: str = "among") -> Restriction | None:
    """None where nothing is restricted. Raises ConfigError or InputError where `where` or `among` cannot be understood."""
    if where is None and among is None:
        return None
    filtered = predicate(where)
    return Restriction(filtered) if among is None else Restriction(filtered, *array_of(among, what))


def predicate(where: Any) -> str | None:
    """`where` as a jsonpath predicate: a mapping is translated, a text is one already, None is none. Raises ConfigError."""
    if where is None:
        return None
    if isinstance(where, str):
        return validate.text("where", where, remedy="a jsonpath predicate or a mapping of fields to values")
    if not isinstance(where, Mapping):
        msg = f"where is {validate.shown(where)}; give a mapping of fields to values, such as {{'year': {{'$gte': 1990}}}}"
        raise ConfigError(msg)
    return jsonpath(where)


def jsonpath(where: Mapping[str, Any]) -> str:
    """`{"year": {"$gte": 1990}, "lang": "en"}` -> `($."year" >= 1990) && ($."lang" == "en")`; {} -> `1 == 1` for every passage.

    A key names a field of the metadata, dots lead into objects; a field that is a list matches by any of its elements. Values are
    what metadata hold: texts, numbers, booleans and None; dates, times and UUIDs as their ISO texts, and Decimals. Operators: $eq
    $ne $gt $gte $lt $lte $in $nin $exists $not $and $or. As in the query languages that this form comes from, $ne, $nin and $not
    also match where the field is missing. Raises ConfigError, also beyond 100 levels.
    """
    return _all(where, MAX_DEPTH) if where else "1 == 1"


def _all(where: Any, levels: int) -> str:
    if levels == 0:
        msg = f"where is nested more than {MAX_DEPTH} levels deep; flatten it"
        raise ConfigError(msg)
    if not isinstance(where, Mapping) or not where:
        msg = (
            f"where has {validate.shown(where)} in a place that needs a mapping of fields to values, such as "
            "{'year': {'$gte': 1990}}"
        )
        raise ConfigError(msg)
    return _joined("&&", [_clause(key, value, levels - 1) for key, value in where.items()])


def _clause(key: Any, value: Any, levels: int) -> str:
    if key in _CONNECTIVES:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
            msg = f"{key} needs a list of conditions, not {validate.shown(value)}"
            raise ConfigError(msg)
        return _joined(_CONNECTIVES[key], [_all(part, levels) for part in value])
    if key == "$not":
        return _negated(_all(value, levels))
    if not isinstance(key, str) or key.startswith("$"):
        msg = f"where knows no operator {validate.shown(key)}; it knows {', '.join(_OPERATORS)}"
        raise ConfigError(msg)
    field = "$" + "".join(f".{_quoted('a field', part)}" for part in key.split("."))
    if not isinstance(value, Mapping):
        return f"{field} == {_literal(key, value)}"
    return _conditions(key, field, value, levels)


def _conditions(key: str, field: str, value: Mapping[Any, Any], levels: int) -> str:
    if not value:
        msg = f"where has no condition for {key!r}; give a value or operators such as $gte"
        raise ConfigError(msg)
    if levels == 0:
        msg = f"where is nested more than {MAX_DEPTH} levels deep; flatten it"
        raise ConfigError(msg)
    return _joined("&&", [_condition(key, field, operator, operand, levels - 1) for operator, operand in value.items()])


def _condition(key: str, field: str, operator: Any, operand: Any, levels: int) -> str:
    if operator == "$ne":
        return _negated(f"{field} == {_literal(key, operand)}")
    if operator in _COMPARISONS:
        return f"{field} {_COMPARISONS[operator]} {_literal(key, operand)}"
    if operator in ("$in", "$nin"):
        if isinstance(operand, str | bytes | Mapping) or not isinstance(operand, Iterable):
            msg = f"{operator} of {key!r} needs a list of values, not {validate.shown(operand)}"
            raise ConfigError(msg)
        either = _joined("||", [f"{field} == {_literal(key, value)}" for value in operand] or ["1 == 0"])
        return either if operator == "$in" else _negated(either)
    if operator == "$exists":
        exists = f"exists({field})"
        return exists if validate.flag(f"$exists of {key!r}", operand) else f"!{exists}"
    if operator == "$not" and isinstance(operand, Mapping):
        return _negated(_conditions(key, field, operand, levels))
    msg = f"where knows no operator {validate.shown(operator)} for {key!r}; it knows {', '.join(_OPERATORS)}"
    raise ConfigError(msg)


def _joined(connective: str, parts: Sequence[str]) -> str:
    """Parts in a balanced tree: Postgres reads a chain of thousands by a call within a call for each."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(connective, parts[:half])}) {connective} ({_joined(connective, parts[half:])})"


def _negated(predicate: str) -> str:
    """True also where the predicate is unknown, as it is when types do not compare."""
    return f"!exists($ ? ({predicate}))"


def _literal(key: str, value: Any) -> str:
    scalar = validate.json_scalar(value)
    if scalar is validate.NO_SCALAR:
        msg = (
            f"where compares {key!r} with {validate.shown(value)}; it takes texts, finite numbers, booleans, None, dates, times "
            "and UUIDs"
        )
        raise ConfigError(msg)
    return _quoted(f"the value of {key!r}", scalar) if isinstance(scalar, str) else json.dumps(scalar)


def _quoted(what: str, text: str) -> str:
    """A text as jsonpath has it. Raises ConfigError where Postgres cannot hold it."""
    return json.dumps(validate.storable(text, f"where: {what}", ConfigError))
