"""Parsing of a server's URL."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.importing import is_a

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["URL", "for_psycopg", "readable", "unreadable", "url_text"]

_MAX_URL = 4_000
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_SECRET = re.compile("password")  # in names of parameters whose values errors must not show


def for_psycopg(url: str) -> str:
    """Convert SQLAlchemy's postgresql+psycopg:// to psycopg's spelling."""
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)


def readable(url: str) -> str:
    """Return a connection string that the driver can read, without connecting. Raises ConfigError."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise unreadable(url, str(error).strip().partition("\n")[0]) from error
    return url


def url_text(given: Any) -> str | None:
    """The text of a URL or `sqlalchemy.URL`. Raises ConfigError."""
    if is_a(given, "sqlalchemy", "URL"):
        return str(given.render_as_string(hide_password=False))
    if isinstance(given, os.PathLike):
        msg = f"url is the path {validate.shown(os.fspath(given))}, and data_dir is given; give one of them"
        raise ConfigError(msg)
    return validate.text_or_none("url", given, most=_MAX_URL)


def unreadable(url: str, reason: str) -> ConfigError:
    """The error of an invalid connection string that the driver rejected for `reason`, with the remedy.

    No part that may be a password is shown.
    """
    scheme, is_url, rest = url.partition("://")
    if not is_url:
        return ConfigError(f"the connection string cannot be read; give {_FORM}, or name=value pairs with quotes around spaces")
    if scheme not in ("postgres", "postgresql"):
        return ConfigError(f"the URL begins with {validate.shown(scheme + '://')}, which is not of PostgreSQL; give {_FORM}")
    for parameter in filter(None, rest.partition("?")[2].split("&")):
        name, _, value = parameter.partition("=")
        fault = _fault_of_parameter(name, value)
        if fault:
            return ConfigError(f"the URL's parameter {validate.shown(name)} {fault}")
    if re.search("%(?![0-9A-Fa-f]{2})", url):
        return ConfigError("the URL has a % that does not begin the code of a character; write %25 for each % that is meant")
    return ConfigError(f"the URL cannot be read, {reason.replace(url, 'it')}; give {_FORM}, special characters percent-encoded")


def _fault_of_parameter(name: str, value: str) -> str | None:
    """The fault of a URL's parameter with the remedy, or None."""
    known = [option.keyword.decode() for option in Conninfo.get_defaults()]
    if name not in known and name != "ssl":
        close = get_close_matches(name, known, 1)
        return "is not known; " + (f"is it {close[0]}?" if close else "leave it out")
    if "=" in value:
        shown = "" if _SECRET.search(name) else f": {name}={quote(unquote(value), safe='')}"
        return f"has a value with = in it; percent-encode it (= is %3D, a space %20){shown}"
    return None
