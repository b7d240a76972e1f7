"""Forms of a server's URL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.importing import is_a

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["URL", "for_psycopg", "url_text"]

_MAX_URL = 4_000


def for_psycopg(url: str) -> str:
    """Accept SQLAlchemy's spelling, postgresql+psycopg://, too."""
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)


def url_text(given: Any) -> str | None:
    """A URL as a text, from one or from a `sqlalchemy.URL`. Raises ConfigError."""
    if is_a(given, "sqlalchemy", "URL"):
        return str(given.render_as_string(hide_password=False))
    if isinstance(given, os.PathLike):
        msg = f"url is the path {validate.shown(os.fspath(given))}, and data_dir is given; give one of them"
        raise ConfigError(msg)
    return validate.text_or_none("url", given, most=_MAX_URL)
