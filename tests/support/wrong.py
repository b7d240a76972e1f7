"""Values that are rarely valid, types that a parameter accepts, and a time limit for one call."""

from __future__ import annotations

import inspect
import math
import numbers
import signal
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

SECONDS = 20
"""Time limit of a call with a wrong value."""


def _nested(make: Callable[[Any], Any]) -> Any:
    nested = make(None)
    for _ in range(20_000):
        nested = make(nested)
    return nested


WRONG: dict[str, Any] = {
    "none": None,
    "five": 5,
    "negative": -1,
    "int4": 2**31,
    "int8": 2**63,
    "nan": math.nan,
    "inf": math.inf,
    "true": True,
    "empty": "",
    "blank": " ",
    "nul": "\0",
    "surrogate": "a \ud800",
    "bytes": b"x",
    "list": [],
    "mapping": {},
    "object": object(),
    "deep_list": _nested(lambda inner: [inner]),
    "deep_mapping": _nested(lambda inner: {"$not": inner}),
    "array": np.zeros((2, 3)),
    "masked": np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    "home": "~nobody there/x",
    "long": "x" * 3_000,
    "huge": "x" * 1_000_000,
}
"""Values by the names that a failure shows."""


def fits(value: Any, hint: Any) -> bool:
    """Return whether a parameter's annotation allows a value; allowed values may still be refused, such as -1 for k."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, inspect.Parameter.empty):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if hint in (None, type(None)):
        return value is None
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if hint is str:
        return isinstance(value, str) and "\0" not in value and "\ud800" not in value
    several = origin or hint
    if several in (Iterable, Sequence, Iterator):
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    if several in (Callable, typing.get_origin(Callable[..., Any])):
        return callable(value)
    return isinstance(several, type) and isinstance(value, several)


def odd_numbers(value: Any) -> bool:
    """Return whether a result contains NaN or infinity."""
    if isinstance(value, float | np.floating):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(odd_numbers, value.values()))
    if isinstance(value, list | tuple):
        return any(map(odd_numbers, value))
    fields = getattr(value, "__dataclass_fields__", {})
    return any(odd_numbers(getattr(value, name)) for name in fields)


@contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Raises AssertionError if the block takes longer."""

    def stop(_number: int, _frame: Any) -> None:
        msg = f"this takes more than {seconds} s"
        raise AssertionError(msg)

    held = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, held)
