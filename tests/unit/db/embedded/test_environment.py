"""Nothing of the caller's environment reaches the server or our connections to it."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from pgretrieval.db.embedded.environment import clean_environment, own_conninfo
from pgretrieval.db.watched import _DEFAULTS

URL = "postgresql://postgres:@/postgres?port=5432&host=/tmp/x"


def test_our_connections_name_every_option_that_has_a_variable():
    """A PG* variable that a later libpq knows decides what we connect by."""
    named = {*conninfo_to_dict(own_conninfo(URL)), *_DEFAULTS, "client_encoding"}
    options = {option.keyword.decode() for option in Conninfo.get_defaults() if option.envvar}
    # libpq takes an empty password for none, and asks for none here; a service it looks for in any case.
    assert options - named == {"password", "service"}


def test_the_servers_programs_have_an_environment_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """A locale, a library or an option of the caller's decides how the server is made or runs."""
    for name in ("LANG", "LC_ALL", "LC_MESSAGES", "TZ", "PGDATA", "PGOPTIONS", "PGPORT", "LD_PRELOAD", "LD_LIBRARY_PATH", "HOME"):
        monkeypatch.setenv(name, "/hostile")
    assert "/hostile" not in clean_environment().values()
    assert set(clean_environment()) == {"PATH", "LC_ALL"}
