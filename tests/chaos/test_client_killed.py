"""kill -9 of a client at random moments of an operation."""

from __future__ import annotations

import pytest

from tests.support.changing import Client, wait_for_sessions
from tests.support.chaos import Tally, rounds
from tests.support.killing import OPERATIONS, Case

RUNS = rounds(2, -(-200 // len(OPERATIONS)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_client_is_killed(database_url: str, operation: str):
    """Acknowledged changes are stored once, others entirely or not at all, and repeating the call completes the work."""
    tally = Tally(f"client killed in `{operation}`")
    case = Case(database_url, operation, tally)
    case.undisturbed()
    for _ in range(RUNS):
        case.once(Client.kill, lambda: wait_for_sessions(database_url))
    tally.report()
