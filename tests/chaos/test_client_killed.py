"""kill -9 of a client at random moments of what it does."""

from __future__ import annotations

import pytest

from tests.support.changing import Client, wait_for_sessions
from tests.support.chaos import Tally, rounds
from tests.support.killing import OPERATIONS, Case

RUNS = rounds(2, -(-200 // len(OPERATIONS)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_client_is_killed(database_url: str, operation: str):
    """Something acknowledged is gone or there twice, half of a change is there, or the same again cannot finish the work."""
    tally = Tally(f"client killed in `{operation}`")
    case = Case(database_url, operation, tally)
    case.undisturbed()
    for _ in range(RUNS):
        case.once(Client.kill, lambda: wait_for_sessions(database_url))
    tally.report()
