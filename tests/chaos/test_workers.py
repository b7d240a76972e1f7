"""Workers are started and killed in any order while their table changes."""

from __future__ import annotations

import random

import psycopg

from tests.support import changing
from tests.support.changing import Client, wait_for_sessions
from tests.support.chaos import Tally, rounds
from tests.support.killing import Case, follow

_WORKERS = 3


def test_workers_are_started_and_killed_in_any_order(database_url: str):
    """Every change is applied once and in order, and claims of killed workers expire."""
    tally = Tally(f"{_WORKERS} workers started and killed in any order, the table changing meanwhile")
    case = Case(database_url, "worker", tally)
    case.undisturbed()
    workers: dict[int, Client] = {}
    for number in range(rounds(12, 300)):
        tally.runs += 1
        turn = random.randrange(_WORKERS)
        if turn in workers:
            tally.faults += workers[turn].process.is_alive()
            workers.pop(turn).kill()
        else:
            workers[turn] = changing.start(database_url, "worker", [])
        with psycopg.connect(database_url) as connection:
            for batch in case.model.plan(random.choice(("add", "update", "delete")), number)[:2]:
                follow(connection, batch)
                case.acknowledge(batch)
    for worker in workers.values():
        worker.kill()
    wait_for_sessions(database_url)
    told = changing.start(database_url, "worker", []).read()
    assert told[-1:] == ["done"], told
    tally.look(database_url, case.model.held)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from pgretrieval.queue").fetchone() == (0,)
    tally.report()
