"""Duration of `check` on a large collection, by part.

    python benchmarks/check.py --cache DIR [--passages N] [--data-dir DIR]

The collection is the pile, by default all 160,429 passages. With --data-dir the server and the collection are stored there and
reused. Writes benchmarks/results/check.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

import pgretrieval
from benchmarks import machine, vectors
from benchmarks.run import RESULTS

_NAME = "checked"


def built(database: pgretrieval.RetrievalDatabase, cache: Path, passages: int | None) -> pgretrieval.Collection:
    """The collection, built if it does not exist."""
    if _NAME not in database.list_collections():
        data = vectors.load_pile(cache, passages)
        database.create_collection(_NAME).add(data.passages, vectors=data.arrays())
    collection = database.get_collection(_NAME)
    collection.build()
    return collection


def in_sql(url: str) -> dict[str, float]:
    """Seconds of each part of the SQL function."""
    with psycopg.connect(url, autocommit=True) as connection:
        parts = connection.execute("select pgretrieval.check_parts()").fetchall()[0][0]
        spent = {}
        for part in parts:
            started = time.perf_counter()
            found = connection.execute("select * from pgretrieval.check(%s, %s)", [_NAME, part]).fetchall()
            spent[part] = time.perf_counter() - started
            if found:
                sys.exit(f"something is wrong: {found[0]}")
    return spent


def client_check(collection: pgretrieval.Collection) -> tuple[float, float]:
    """Seconds of the client's check, and of decoding alone."""
    began: list[float] = []

    def stage(name: str, _done: int, _total: int) -> None:
        if name == "decoding":
            began.append(time.perf_counter())

    started = time.perf_counter()
    found = collection.check(stage=stage)
    if found:
        sys.exit(f"something is wrong: {found[0]}")
    return time.perf_counter() - started, time.perf_counter() - began[0]


def main() -> None:
    """Build the collection if missing, check it twice, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--passages", type=int, help="the first of the pile; all by default")
    parser.add_argument("--data-dir", type=Path, help="where the server keeps the collection; a temporary folder by default")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.data_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="pgretrieval-bench-"))
        database = stack.enter_context(pgretrieval.connect(data_dir=folder))
        collection = built(database, options.cache, options.passages)
        stats = collection.stats()
        spent = in_sql(database.url)
        total, decoding = client_check(collection)
    rows = [f"| `{part}` | {seconds:.1f} |" for part, seconds in spent.items()]
    page = [
        "# Check of a collection",
        "",
        f"`python benchmarks/check.py --cache DIR`: {stats['passages']:,} passages of the pile, {stats['tokens']:,} tokens, "
        f"{stats['centroids']:,} centroids, {stats['bits']} bits, without violations.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| part | seconds |",
        "|---|---|",
        *rows,
        f"| **`pgretrieval.check` in SQL, all parts** | **{sum(spent.values()):.1f}** |",
        f"| decoding every code, in the client | {decoding:.1f} |",
        f"| **`Collection.check`, total** | **{total:.1f}** |",
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "check.md").write_text("\n".join(page))
    print("\n".join(page), file=sys.stderr)


if __name__ == "__main__":
    main()
