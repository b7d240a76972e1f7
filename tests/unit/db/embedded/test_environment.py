"""Isolation of the server and of our connections from the caller's environment."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from pgretrieval.db.embedded.environment import clean_environment, own_conninfo
from pgretrieval.db.watched import _DEFAULTS

URL = "postgresql://postgres:@/postgres?port=5432&host=/tmp/x"


def test_our_connections_name_every_option_that_has_a_variable():
    """Every libpq option with an environment variable is set explicitly, also those of later versions."""
    named = {*conninfo_to_dict(own_conninfo(URL)), *_DEFAULTS, "client_encoding"}
    options = {option.keyword.decode() for option in Conninfo.get_defaults() if option.envvar}
    # libpq treats an empty password as none and needs none here; it looks up a service in any case.
    assert options - named == {"password", "service"}


def test_the_servers_programs_have_an_environment_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """The server's programs get no locale, library path or option of the caller."""
    for name in ("LANG", "LC_ALL", "LC_MESSAGES", "TZ", "PGDATA", "PGOPTIONS", "PGPORT", "LD_PRELOAD", "LD_LIBRARY_PATH", "HOME"):
        monkeypatch.setenv(name, "/hostile")
    assert "/hostile" not in clean_environment().values()
    assert set(clean_environment()) == {"PATH", "LC_ALL"}
