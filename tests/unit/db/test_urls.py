"""Errors of invalid connection strings name the problem and contain no password."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import pgretrieval
from pgretrieval.db.urls import unreadable


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me@host/db?options=-c search_path=x", "parameter 'options' has a value with = in it"),
        ("postgresql://me@host/db?options=-c%20search_path=x", "options=-c%20search_path%3Dx"),
        ("postgresql://me@host/db?connect_timeout=3&password=sec=ret", "parameter 'password' has a value with = in it"),
        ("postgresql://me@host/db?sslmod=require", "parameter 'sslmod' is not known; is it sslmode?"),
        ("postgresql://me@host/db?color", "parameter 'color' is not known; leave it out"),
        ("postgresql://me:sec%ret@host/db", "write %25 for each % that is meant"),
        ("postgresql://me:secret@[::1/db", r"give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("mysql://me:secret@host/db", "begins with 'mysql://', which is not of PostgreSQL"),
        ("me:secret@host", "give postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or name=value pairs"),
        ("host=host password=sec ret", "name=value pairs with quotes around spaces"),
    ],
)
def test_invalid_url_raises_an_error_with_the_remedy(url: str, told: str) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        conninfo_to_dict(url)
    with pytest.raises(pgretrieval.ConfigError) as refused:
        pgretrieval.connect(url)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "sec" not in str(refused.value).replace("search", "")


def test_encoded_value_that_is_proposed_can_be_read() -> None:
    url = "postgresql://me@host/db?options=-c search_path=x"
    proposed = str(unreadable(url, "")).rpartition(": ")[2]
    assert conninfo_to_dict(f"postgresql://me@host/db?{proposed}")["options"] == "-c search_path=x"


def test_value_that_the_driver_refuses_is_named() -> None:
    with pytest.raises(pgretrieval.ConfigError, match="connect_timeout: 'soon'"):
        pgretrieval.connect("postgresql://localhost/db?connect_timeout=soon")
