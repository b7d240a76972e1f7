"""kill -9 of all processes of the server at random moments; fsync is on."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.changing import Client
from tests.support.chaos import Tally, rounds
from tests.support.killing import OPERATIONS, Case
from tests.support.own_server import OwnServer, own_server

RUNS = rounds(1, -(-50 // len(OPERATIONS)))


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """A server for this module."""
    with own_server() as started:
        yield started


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_server_is_killed(server: OwnServer, operation: str):
    """Acknowledged changes survive, indexes are consistent after recovery, and the client raises errors of the package."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
        connection.execute("select pgretrieval.drop_collection('docs')")
    tally = Tally(f"server killed in `{operation}`")
    case = Case(server.url, operation, tally)
    case.undisturbed()

    def kill(client: Client) -> None:
        server.kill()

    for _ in range(RUNS):
        case.once(kill, server.start)
    tally.report()
