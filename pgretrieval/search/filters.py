"""Restrictions of a search: `where` becomes a jsonpath predicate over metadata, `among` an array of ids in SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgretrieval import validate
from pgretrieval.db.selection import Ids, array_of
from pgretrieval.errors import ConfigError
from pgretrieval.types import Restriction

if TYPE_CHECKING:
    from pgretrieval.db.connection import Database

MAX_DEPTH = 100

_COMPARISONS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_CONNECTIVES = {"$and": "&&", "$or": "||"}
_PATTERNS = {"$like": "s", "$ilike": "si"}
_OPERATORS = (*_COMPARISONS, "$between", "$in", "$nin", *_PATTERNS, "$exists", "$empty", "$not", *_CONNECTIVES)
_WILDCARDS = {"%": ".*", "_": "."}
_PART_OF_PATTERN = re.compile(r"\\(.)|(.)", re.DOTALL)


def read_restriction(database: Database, where: Any, among: Any, what: str = "among") -> Restriction | None:
    """Return the restriction of a search or delete. Raises ConfigError, also if a text is not a jsonpath predicate."""
    restricted = restriction(where, among, what)
    check_where(database, where)
    return restricted


def check_where(database: Database, where: Any) -> None:
    """Raise ConfigError if a text is not a jsonpath predicate. The server checks each text once."""
    if isinstance(where, str):
        from pgretrieval.db.predicates import check_predicate

        check_predicate(database, where)


def restriction(where: Mapping[str, Any] | str | None, among: Ids | None, what: str = "among") -> Restriction | None:
    """Return the restriction, or None without `where` and `among`. Raises ConfigError or InputError for invalid values."""
    if where is None and among is None:
        return None
    filtered = predicate(where)
    return Restriction(filtered) if among is None else Restriction(filtered, *array_of(among, what))


def predicate(where: Any) -> str | None:
    """Return `where` as a jsonpath predicate: translate a mapping, check a text, pass None through. Raises ConfigError."""
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

    A key names a field of the metadata; dots separate nested fields; a list matches if any element does. Values are
    texts, numbers, booleans and None; dates, times and UUIDs, compared as ISO texts; and Decimals. Operators: $eq
    $ne $gt $gte $lt $lte $between $in $nin $like $ilike $exists $empty $not $and $or. As in MongoDB, $ne, $nin and $not
    also match a missing field; $like and $ilike are those of SQL; $empty matches a missing field, null, "" and [].
    Raises ConfigError, also beyond 100 levels.
    """
    return _all(where, MAX_DEPTH) if where else "1 == 1"


def _all(where: Any, levels: int) -> str:
    if levels == 0:
        msg = f"where is nested more than {MAX_DEPTH} levels deep; flatten it"
        raise ConfigError(msg)
    if not isinstance(where, Mapping) or not where:
        msg = (
            f"where has {validate.shown(where)} where a mapping of fields to values is needed, such as {{'year': {{'$gte': 1990}}}}"
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
        msg = f"where has no operator {validate.shown(key)}; the operators are {', '.join(_OPERATORS)}"
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
    if operator == "$between":
        if isinstance(operand, str | bytes) or not isinstance(operand, Sequence) or len(operand) != 2:
            msg = f"$between of {key!r} needs a list of two values, the least and the greatest, not {validate.shown(operand)}"
            raise ConfigError(msg)
        return _joined("&&", [f"{field} {sign} {_literal(key, end)}" for sign, end in zip((">=", "<="), operand, strict=True)])
    if operator in _PATTERNS:
        pattern = validate.text(f"where: {operator} of {key!r}", operand, remedy="a pattern, such as 'Tea%'")
        return f'{field} like_regex {json.dumps(_regex(pattern))} flag "{_PATTERNS[operator]}"'
    if operator in ("$in", "$nin"):
        if isinstance(operand, str | bytes | Mapping) or not isinstance(operand, Iterable):
            msg = f"{operator} of {key!r} needs a list of values, not {validate.shown(operand)}"
            raise ConfigError(msg)
        either = _joined("||", [f"{field} == {_literal(key, value)}" for value in operand] or ["1 == 0"])
        return either if operator == "$in" else _negated(either)
    if operator in ("$exists", "$empty"):
        path = field if operator == "$exists" else f'{field}[*] ? (@.type() != "null" && !(@.type() == "string" && @ == ""))'
        wanted = validate.flag(f"{operator} of {key!r}", operand)
        return f"exists({path})" if wanted is (operator == "$exists") else f"!exists({path})"
    if operator == "$not" and isinstance(operand, Mapping):
        return _negated(_conditions(key, field, operand, levels))
    msg = f"where has no operator {validate.shown(operator)} for {key!r}; the operators are {', '.join(_OPERATORS)}"
    raise ConfigError(msg)


def _regex(pattern: str) -> str:
    """Return a pattern of SQL's `like` as a regular expression: % is any text, _ any character, and a backslash quotes."""

    def part(found: re.Match[str]) -> str:
        quoted, plain = found.groups()
        return _WILDCARDS.get(plain) or re.escape(quoted or plain)

    return f"^{_PART_OF_PATTERN.sub(part, pattern)}$"


def _joined(connective: str, parts: Sequence[str]) -> str:
    """Join parts in a balanced tree, because Postgres parses a chain recursively."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(connective, parts[:half])}) {connective} ({_joined(connective, parts[half:])})"


def _negated(predicate: str) -> str:
    """Negate a predicate; also true if it is unknown, as for types that cannot be compared."""
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
    """Quote a text for jsonpath. Raises ConfigError if Postgres cannot store it."""
    return json.dumps(validate.storable(text, f"where: {what}", ConfigError))
