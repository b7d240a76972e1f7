"""How an option is declared: once, as a field of a dataclass, from which the command line makes its own."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, help: str, *, shown: str | None = None) -> Any:
    """A field with its default and what the command line says of it; `shown` is what None stands for."""
    return field(default=default, metadata={"help": help, "shown": shown})
