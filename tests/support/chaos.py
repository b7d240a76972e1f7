"""Duration and counts of fault-injection tests.

The suite runs a few rounds of each. PGRETRIEVAL_TEST_CHAOS=long, set by `make chaos`, runs all, and PGRETRIEVAL_TEST_CHAOS_RUNS
sets the number of rounds. Each case appends a line to the file named by PGRETRIEVAL_TEST_CHAOS_REPORT.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

import pgretrieval

LONG = os.environ.get("PGRETRIEVAL_TEST_CHAOS") == "long"


def rounds(short: int, long: int) -> int:
    """Number of rounds of a case."""
    return int(os.environ.get("PGRETRIEVAL_TEST_CHAOS_RUNS") or (long if LONG else short))


@dataclass
class Tally:
    """Counts of one case. `acknowledged` is the number of passages in acknowledged changes."""

    case: str
    runs: int = 0
    faults: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    violations: int = 0
    note: str = ""

    def look(self, url: str, expected: dict[str, str] | None = None, *, pending: Iterable[str] = ()) -> None:
        """Check every collection, and "docs" against the expected texts by id; those in `pending` may be in either state."""
        with pgretrieval.connect(url=url) as database:
            found = [violation for name in database.list_collections() for violation in database.get_collection(name).check()]
        self.violations += len(found)
        assert found == [], found
        if expected is None:
            return
        skipped = set(pending)
        stored = texts(url)
        held, counted = dict(stored), Counter(key for key, _ in stored)
        missing = {key for key, text in expected.items() if key not in skipped and held.get(key) != text}
        surplus = held.keys() - expected.keys() - skipped
        self.duplicated += sum(count > 1 for count in counted.values())
        self.lost += len(missing)
        assert len(counted) == len(stored), "stored twice"
        assert not missing, f"lost: {sorted(missing)[:10]}"
        assert not surplus, f"there though deleted or never added: {sorted(surplus)[:10]}"

    def report(self) -> None:
        """Append the counts to the report at the end of the case."""
        path = os.environ.get("PGRETRIEVAL_TEST_CHAOS_REPORT")
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self)) + "\n")


def texts(url: str, name: str = "docs") -> list[tuple[str, str]]:
    """Ids and texts of a collection."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select key, body from pgretrieval.passage join pgretrieval.collection using (collection_id) where name = %s", [name]
        ).fetchall()
