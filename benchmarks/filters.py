"""Filtered searches at several selectivities, compared with exact MaxSim over the matching passages.

    python benchmarks/filters.py --cache DIR

wiki_movies with years and genres extracted from the texts as metadata. Writes benchmarks/results/filters.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psycopg

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, Measured, build, say, serving
from benchmarks.vectors import Vectors
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.evaluate.timing import percentiles
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.search.filters import jsonpath
from pgretrieval.sqlalchemy import vector_array
from pgretrieval.types import Float32Array, Passage

SHARES = (0.5, 0.1, 0.01, 0.001)
GENRES = ("drama", "comedy", "western", "horror", "musical", "thriller", "romance", "crime", "war", "mystery", "action", "animated")
_QUERIES = 200
_ROUNDS = 2


def with_metadata(passage: Passage) -> Passage:
    """The first year and the genres in the text."""
    text = passage.text.lower()
    year = re.search(r"\b(?:19|20)\d\d\b", text)
    metadata = {"year": int(year[0]) if year else None, "genres": [genre for genre in GENRES if re.search(rf"\b{genre}\b", text)]}
    return replace(passage, metadata=metadata)


def ranges(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """For each share the closest range of years; no index supports these."""
    years = Counter(passage.metadata["year"] for passage in passages if passage.metadata["year"])
    spans = {
        (first, last): sum(years[year] for year in range(first, last)) / len(passages)
        for first in range(1900, 2024)
        for last in range(first + 1, 2025)
    }
    nearest = [min(spans, key=lambda span: abs(spans[span] - share)) for share in SHARES]
    return [{"year": {"$gte": first, "$lt": last}} for first, last in nearest]


def equalities(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """For each share below a tenth the closest genre, year, or both; the index over metadata supports these."""
    counts: Counter[tuple[int | None, str | None]] = Counter()
    for passage in passages:
        year = passage.metadata["year"]
        for genre in (*passage.metadata["genres"], None):
            counts.update([(None, genre), (year, genre)] if year else [(None, genre)])
    del counts[None, None]
    nearest = [min(counts, key=lambda key: abs(counts[key] / len(passages) - share)) for share in SHARES[1:]]
    return [{name: value for name, value in (("year", year), ("genres", genre)) if value} for year, genre in nearest]


def matching(connection: psycopg.Connection[Any], where: Mapping[str, Any]) -> set[str]:
    """Ids of the matching passages, by reading all."""
    rows = connection.execute("select key from pgretrieval.passage where metadata @@ %s::jsonpath offset 0", [jsonpath(where)])
    return {key for (key,) in rows.fetchall()}


def timed(
    search: Callable[[Any], Iterable[str]], queries: Sequence[Any], rounds: int = _ROUNDS
) -> tuple[Measured, list[list[str]]]:
    """Run every query a number of times, sequentially."""
    for query in queries[:20]:
        search(query)
    spent, rankings = [], []
    for _ in range(rounds):
        rankings = []
        for query in queries:
            started = time.perf_counter()
            rankings.append(list(search(query)))
            spent.append((time.perf_counter() - started) * 1e3)
    return percentiles(spent), rankings


def measure(data: Vectors, where: Mapping[str, Any], collection: Any, connection: Any, scores: Float32Array) -> Measured:
    """Measure one filter in the Python client and in SQL."""
    ids = matching(connection, where)
    keep = np.flatnonzero([passage.id in ids for passage in data.passages])
    order = np.argsort(-scores[:, keep], axis=1, kind="stable")[:, :10]
    best = [[data.passages[keep[place]].id for place in row] for row in order.tolist()]
    predicate = jsonpath(where)

    def in_sql(query: Float32Array) -> list[str]:
        statement = "select id from pgretrieval.search('measured', %s::vector[], filter => %s::jsonpath)"
        return [key for (key,) in connection.execute(statement, [vector_array(query), predicate]).fetchall()]

    row: Measured = {"where": dict(where), "share": len(keep) / len(data.passages), "matches": len(keep)}
    for name, search in (
        ("python", lambda query: [hit.id for hit in collection.search(vectors=query, where=where or None)]),
        ("sql", in_sql),
    ):
        times, rankings = timed(search, data.queries)
        complete = all(len(ranking) == min(10, len(keep)) for ranking in rankings)
        row[name] = {**times, "fidelity": fidelity(rankings, best, min(10, len(keep))), "complete": complete}
    say(row)
    return row


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    whole = vectors.load("wiki_movies", options.cache)
    data = replace(whole, passages=[with_metadata(passage) for passage in whole.passages], queries=whole.queries[:_QUERIES])
    scores = maxsim_many(data.queries, data.documents[:].astype(np.float32), data.document_offsets)
    lines = [
        "# Filters",
        "",
        f"`python benchmarks/filters.py --cache DIR`; wiki_movies, {len(data.passages):,} passages, {len(data.queries)} queries,",
        "given and stored vectors, k = 10; fidelity@10 is against exact MaxSim over the matching passages. No index supports",
        "ranges of years; the index over metadata supports years and genres.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| filter | matches | share | Python: fidelity@10 | p50 ms | / unfiltered | SQL: fidelity@10 | p50 ms | / unfiltered | "
        "k hits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with serving() as database:
        collection, _ = build(database, data, "measured", keep_vectors=True)
        with psycopg.connect(database.url, autocommit=True) as connection:
            filters: list[dict[str, Any]] = [{}, *ranges(data.passages), *equalities(data.passages)]
            rows = [measure(data, where, collection, connection, scores) for where in filters]
    for row in rows:
        python, sql = row["python"], row["sql"]
        shown = jsonpath(row["where"]) if row["where"] else "none"
        columns = [f"`{shown}`", f"{row['matches']:,}", f"{row['share']:.4f}"]
        for kind, found in (("python", python), ("sql", sql)):
            columns += [f"{found['fidelity']:.3f}", f"{found['p50']:.1f}", f"{found['p50'] / rows[0][kind]['p50']:.2f}"]
        columns.append("yes" if python["complete"] and sql["complete"] else "no")
        lines.append("| " + " | ".join(columns) + " |")
    text = "\n".join([*lines, ""])
    (RESULTS / "filters.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
