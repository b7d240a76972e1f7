"""Declaration of an option as a dataclass field, from which the command line derives its own."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, help: str, *, shown: str | None = None) -> Any:
    """Return a field with its default and help text; `shown` describes the meaning of None."""
    return field(default=default, metadata={"help": help, "shown": shown})
