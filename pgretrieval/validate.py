"""Validation of arguments: first the type, then the range. No check uses truth: [], 0 and "" are values like others.

Each function returns the value in plain Python form, such as int for a numpy integer, or raises an error that names the argument,
the value and the remedy.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar, cast
from uuid import UUID

import numpy as np

from pgretrieval.errors import ConfigError, InputError, PgRetrievalError, UnknownOptionError

INT4 = 2**31 - 1
"""Maximum of a column or parameter of type integer."""

MAX_ID_BYTES = 2_000  # fits a btree entry of Postgres, 2,704 bytes
MAX_INTEGER_BITS = 10_000  # json.dumps refuses integers of more than 4,300 digits
MAX_NAME = 500
_MAX_PATH = 4_000
_MAX_EXPONENT = 300
NO_SCALAR = object()
"""Result of `json_scalar` for values without a JSON form."""
_SHOWN = 120
_NO_TEXT = re.compile("[\0\ud800-\udfff]")

_Choice = TypeVar("_Choice", bound=str)
_Error = type[PgRetrievalError]


def shown(given: object) -> str:
    """Return a value's repr for an error message: truncated, on one line, without characters that break a terminal or log."""
    try:
        text = repr(given)
    except Exception:  # the caller's object may do anything
        text = f"an object of type {type(given).__name__}"
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split("\n"))


def whole(what: str, given: Any, least: int = 1, most: int = INT4) -> int:
    """Check an integer of Python or numpy, not a bool. Raises ConfigError."""
    if not isinstance(given, Integral) or isinstance(given, bool) or not least <= int(given) <= most:
        beyond = "" if most != INT4 or not isinstance(given, Integral) or int(given) <= most else f" and at most {most:,}"
        limits = f"of at least {least}{beyond}" if most == INT4 else f"from {least} to {most:,}"
        raise ConfigError(f"{what} is {shown(given)}; give a whole number {limits}")
    return int(given)


def whole_or_none(what: str, given: Any, least: int = 1, most: int = INT4) -> int | None:
    """Check an integer or None."""
    return None if given is None else whole(what, given, least, most)


def number(what: str, given: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """Check a finite number of Python or numpy. Raises ConfigError."""
    if not is_number(given) or not least <= float(given) <= most:
        limits = "" if least == -math.inf else f" of at least {least:g}" if most == math.inf else f" from {least:g} to {most:g}"
        raise ConfigError(f"{what} is {shown(given)}; give a finite number{limits}")
    return float(given)


def is_number(given: Any) -> bool:
    """Return whether a value is a finite number of Python or numpy that fits a float."""
    if not isinstance(given, Real) or isinstance(given, bool):
        return False
    try:
        return math.isfinite(float(given))
    except OverflowError:
        return False


def flag(what: str, given: Any) -> bool:
    """Check True or False, of Python or numpy. Raises ConfigError."""
    if not isinstance(given, bool | np.bool_):
        raise ConfigError(f"{what} is {shown(given)}; give True or False")
    return bool(given)


def choice(what: str, given: Any, options: Sequence[_Choice]) -> _Choice:
    """Check one of several texts. Raises ConfigError."""
    if not isinstance(given, str) or given not in options:
        listed = f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else options[0]
        raise ConfigError(f"{what} is {shown(given)}; choose {listed}")
    return cast("_Choice", str.__str__(given))


def text(what: str, given: Any, error: _Error = ConfigError, *, most: int | None = None, remedy: str = "") -> str:
    """Check a text that Postgres can store: not blank, no NUL, no lone surrogate, at most `most` characters."""
    if not isinstance(given, str) or not given.strip():
        raise error(f"{what} is {shown(given)}; give {remedy or 'a text that is not blank'}")
    if found := _NO_TEXT.search(given):
        raise error(f"{what} is {shown(given)}, which has {_named(found[0])}; remove or replace it")
    if most is not None and len(given) > most:
        raise error(f"{what} has {len(given):,} characters ({shown(given[:40])}); give at most {most:,}")
    return str.__str__(given)


def text_or_none(what: str, given: Any, error: _Error = ConfigError, *, most: int | None = None) -> str | None:
    """Check a text or None."""
    return None if given is None else text(what, given, error, most=most)


def query(given: Any) -> str:
    """Check a query text. Raises InputError."""
    return text("the query", given, InputError)


def collection_name(given: Any) -> str:
    """Check a collection name. Raises ConfigError."""
    if not isinstance(given, str) or not given.strip() or len(given) > MAX_NAME or _NO_TEXT.search(given):
        msg = (
            f"a collection cannot be called {shown(given)}; give a text of 1 to 500 characters that is not blank and has no NUL "
            "and no lone surrogate"
        )
        raise ConfigError(msg)
    return str.__str__(given)


def path(what: str, given: Any) -> str:
    """Check the name of a file or folder. Raises ConfigError."""
    try:
        name = os.fspath(given)
    except TypeError:
        name = None
    return text(what, name if isinstance(name, str) else given, most=_MAX_PATH, remedy="a path")


def names_or_object(what: str, given: Any, error: _Error) -> Any:
    """Check a name or path; return any other object unchanged. Raises `error`."""
    if not isinstance(given, str | os.PathLike):
        return given
    name = os.fspath(given)
    return text(what, name if isinstance(name, str) else given, error, most=_MAX_PATH, remedy="a name or a path")


def called(what: str, given: Any) -> Any:
    """Check a function or None. Raises ConfigError."""
    if given is not None and not callable(given):
        raise ConfigError(f"{what} is {shown(given)}; give a function, or leave it out")
    return given


def option_names(what: str, given: Iterable[str], declared: type) -> None:
    """Raise UnknownOptionError for an option that a TypedDict does not declare."""
    known = sorted(declared.__annotations__)
    for name in given:
        if name not in known:
            close = get_close_matches(name, known)
            meant = f"did you mean {' or '.join(close)}? " if close else ""
            raise UnknownOptionError(f"{what} has no option {name!r}; {meant}give one of {', '.join(known)}")


def listed(what: str, given: Any, of: str, error: _Error = ConfigError) -> Iterable[Any]:
    """Check an iterable of several values, such as a list, generator, array or Series; texts, bytes and mappings are single values.

    Raises `error`.
    """
    whole_thing = isinstance(given, str | bytes | bytearray | memoryview | Mapping)
    if whole_thing or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        several = f"{what} is {shown(given)}"
        if isinstance(given, str | bytes):
            several += ", which is a single value"
        raise error(f"{several}; give a list of {of}")
    return given


def ids(what: str, given: Any) -> list[str]:
    """Return passage ids as texts, from texts, integers and UUIDs.

    Raises ConfigError if `given` is not a list, InputError for an invalid id.
    """
    return [identifier(f"{what} contains an id that", each) for each in listed(what, given, "ids")]


def identifier(what: str, given: Any) -> str:
    """Return a text, integer or UUID as an id. Raises InputError."""
    if isinstance(given, UUID):
        return str(given)
    if isinstance(given, Integral) and not isinstance(given, bool) and int(given).bit_length() <= MAX_INTEGER_BITS:
        return str(int(given))
    if not isinstance(given, str):
        raise InputError(f"{what} is {shown(given)}; give texts or integers")
    return storable(str.__str__(given), what)


def json_scalar(given: Any) -> Any:
    """Return a value as a JSON text, number, boolean or null, or `NO_SCALAR` if there is no obvious form.

    Scalars of numpy become Python's. A date, time or UUID becomes its ISO text, a Decimal the number of the same digits.
    """
    if isinstance(given, np.generic) and not isinstance(given, np.datetime64 | np.timedelta64):
        given = given.item()
    if given is None or isinstance(given, bool):
        return given
    if isinstance(given, str):
        return str.__str__(given)
    if isinstance(given, int):
        return int(given) if given.bit_length() <= MAX_INTEGER_BITS else NO_SCALAR
    if isinstance(given, float):
        return float(given) + 0.0 if math.isfinite(given) else NO_SCALAR  # Postgres knows no -0
    if isinstance(given, date | time):
        return given.isoformat()
    if isinstance(given, UUID):
        return str(given)
    if isinstance(given, Decimal) and given.is_finite() and abs(given.adjusted()) <= _MAX_EXPONENT:
        if given == given.to_integral_value():
            return int(given)
        return float(given) if Decimal(repr(float(given))) == given else NO_SCALAR
    return NO_SCALAR


def storable(given: str, what: str, error: _Error = InputError) -> str:
    """Check a text that Postgres can store. Raises `error`."""
    if found := _NO_TEXT.search(given):
        if found[0] == "\0":
            raise error(f"{what} contains a NUL character (U+0000), which Postgres cannot store; remove it")
        raise error(f"{what} contains the lone surrogate U+{ord(found[0]):04X}, which is not text; remove or replace it")
    return given


def _named(character: str) -> str:
    return "a NUL character" if character == "\0" else f"the lone surrogate U+{ord(character):04X}"
