"""What a search is restricted to: `where` becomes a jsonpath predicate over metadata, `among` a list of ids in SQL."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgretrieval.db.selection import Ids, array_of
from pgretrieval.errors import ConfigError
from pgretrieval.types import Restriction

_COMPARISONS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_CONNECTIVES = {"$and": " && ", "$or": " || "}
_OPERATORS = (*_COMPARISONS, "$in", "$nin", "$exists", "$not", *_CONNECTIVES)


def restriction(where: Mapping[str, Any] | str | None, among: Ids | None) -> Restriction | None:
    """None where nothing is restricted. Raises ConfigError where `where` or `among` cannot be understood."""
    if where is None and among is None:
        return None
    predicate = where if isinstance(where, str) or where is None else jsonpath(where)
    return Restriction(predicate) if among is None else Restriction(predicate, *array_of(among))


def jsonpath(where: Mapping[str, Any]) -> str:
    """`{"year": {"$gte": 1990}, "lang": "en"}` -> `($."year" >= 1990) && ($."lang" == "en")`; {} -> `true` for every passage.

    A key names a field of the metadata, dots lead into objects; a field that is a list matches by any of its elements. Values are
    texts, numbers, booleans and None. Operators: $eq $ne $gt $gte $lt $lte $in $nin $exists $not $and $or. As in the query
    languages that this form comes from, $ne, $nin and $not also match where the field is missing. Raises ConfigError.
    """
    return _all(where) if where else "1 == 1"


def _all(where: Any) -> str:
    if not isinstance(where, Mapping) or not where:
        msg = f"where has {where!r} in a place that needs a mapping of fields to values, such as {{'year': {{'$gte': 1990}}}}"
        raise ConfigError(msg)
    return " && ".join(f"({_clause(key, value)})" for key, value in where.items())


def _clause(key: str, value: Any) -> str:
    if key in _CONNECTIVES:
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            msg = f"{key} needs a list of conditions, not {value!r}"
            raise ConfigError(msg)
        return _CONNECTIVES[key].join(f"({_all(part)})" for part in value)
    if key == "$not":
        return _negated(_all(value))
    if not isinstance(key, str) or key.startswith("$"):
        msg = f"where knows no operator {key!r}; it knows {', '.join(_OPERATORS)}"
        raise ConfigError(msg)
    field = "$" + "".join(f".{json.dumps(part)}" for part in key.split("."))
    if not isinstance(value, Mapping):
        return f"{field} == {_literal(key, value)}"
    if not value:
        msg = f"where has no condition for {key!r}; give a value or operators such as $gte"
        raise ConfigError(msg)
    return " && ".join(f"({_condition(key, field, operator, operand)})" for operator, operand in value.items())


def _condition(key: str, field: str, operator: str, operand: Any) -> str:
    if operator == "$ne":
        return _negated(f"{field} == {_literal(key, operand)}")
    if operator in _COMPARISONS:
        return f"{field} {_COMPARISONS[operator]} {_literal(key, operand)}"
    if operator in ("$in", "$nin"):
        if isinstance(operand, (str, Mapping)) or not isinstance(operand, Iterable):
            msg = f"{operator} of {key!r} needs a list of values, not {operand!r}"
            raise ConfigError(msg)
        either = " || ".join(f"{field} == {_literal(key, value)}" for value in operand) or "1 == 0"
        return either if operator == "$in" else _negated(either)
    if operator == "$exists":
        return f"exists({field})" if operand else _negated(f"exists({field})")
    if operator == "$not" and isinstance(operand, Mapping) and operand:
        return _negated(" && ".join(f"({_condition(key, field, inner, value)})" for inner, value in operand.items()))
    msg = f"where knows no operator {operator!r} for {key!r}; it knows {', '.join(_OPERATORS)}"
    raise ConfigError(msg)


def _negated(predicate: str) -> str:
    """True also where the predicate is unknown, as it is when types do not compare."""
    return f"!({predicate}) || (({predicate}) is unknown)"


def _literal(key: str, value: Any) -> str:
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    msg = f"where compares {key!r} with {value!r}; it takes texts, finite numbers, booleans and None"
    raise ConfigError(msg)
