"""Searches by retrieved tokens, compared with an earlier commit in alternating rounds: milliseconds, stages, recall.

    git worktree add --detach FOLDER COMMIT
    python benchmarks/xtr_before.py --cache DIR --before FOLDER [--passages N] [--queries N] [--rounds N]

Uses the first abstracts of SciFact. Each version builds a collection in its own server. Writes benchmarks/results/xtr_before.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
COLUMNS = ("Python", "SQL", "probe", "candidates", "tokens", "texts", "tokens decoded")
_SQL = "select id, score from pgretrieval.xtr_search('measured', %s::vector[])"
_WARM_UP = 5


def serve(vectors: Path, folder: str) -> None:
    """Process of one version: builds the collection, then measures a round for each line that it reads."""
    import psycopg

    import pgretrieval
    from pgretrieval.sqlalchemy import vector_array

    documents, queries = read(vectors)
    texts = [vector_array(query) for query in queries]
    with pgretrieval.connect(data_dir=folder) as database, psycopg.connect(database.url, autocommit=True) as connection:
        collection = database.create_collection("measured", scorer="xtr")
        collection.add(({"id": str(number), "text": "a text"} for number in range(len(documents))), vectors=documents)
        collection.build()
        for query, text in zip(queries[:_WARM_UP], texts, strict=False):
            collection.search(vectors=query)
            connection.execute(_SQL, [text]).fetchall()
        print(json.dumps("ready"), flush=True)
        for _ in sys.stdin:
            rows, ids, in_sql = [], [], []
            for query, text in zip(queries, texts, strict=True):
                started = time.perf_counter()
                ids.append([hit.id for hit in collection.search(vectors=query)])
                searched = time.perf_counter()
                in_sql.append([key for key, _ in connection.execute(_SQL, [text]).fetchall()])
                ended = time.perf_counter()
                explained = collection.explain(vectors=query)
                stages = [explained.milliseconds[stage] for stage in COLUMNS[2:6]]
                rows.append([(searched - started) * 1e3, (ended - searched) * 1e3, *stages, explained.tokens_decoded])
            print(json.dumps({"medians": np.median(rows, axis=0).tolist(), "Python": ids, "SQL": in_sql}), flush=True)


def read(vectors: Path) -> tuple[list[Any], list[Any]]:
    """The (tokens, dim) arrays of passages and of queries."""
    held = np.load(vectors)

    def side(name: str) -> list[Any]:
        return np.split(held[name].astype(np.float32), np.cumsum(held[f"{name}_lengths"])[:-1])

    return side("documents"), side("queries")


def encode(cache: Path, passages: int, queries: int) -> Path:
    """The file of vectors in the cache, computed if missing."""
    from benchmarks.vectors import ENCODER, data_folder
    from pgretrieval.corpus.jsonl import read_queries
    from pgretrieval.corpus.reading import read_passages
    from pgretrieval.encode.registry import load_encoder

    kept = cache / f"xtr-{ENCODER}-{passages}-{queries}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        source, encoder = data_folder() / "scifact", load_encoder(ENCODER)
        texts = [passage.encoded_text for passage in islice(read_passages(source / "corpus.jsonl.gz"), passages)]
        sides = {
            "documents": encoder.encode_document(texts),
            "queries": encoder.encode_query([text for _, text in islice(read_queries(source / "queries.jsonl.gz"), queries)]),
        }
        arrays = {side: np.concatenate(list(found)).astype(np.float16) for side, found in sides.items()}
        np.savez(kept, **arrays, **{f"{side}_lengths": [len(one) for one in found] for side, found in sides.items()})
    return kept


def exact_xtr(vectors: Path, k_tokens: int = 300) -> list[list[str]]:
    """Ids of the ten best by XTR's equation 5 over all vectors, unquantised."""
    documents, queries = read(vectors)
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    best = []
    for query in queries:
        scores, retrieved = np.zeros(len(documents)), np.zeros(len(documents), dtype=bool)
        for row in query @ np.concatenate(documents).T:
            chosen = np.argpartition(-row, k_tokens - 1)[:k_tokens]
            each = np.full(len(documents), -np.inf)
            np.maximum.at(each, owner[chosen], row[chosen])
            retrieved |= each > -np.inf
            scores += np.where(each > -np.inf, each, row[chosen].min())
        scores[~retrieved] = -np.inf
        best.append([str(number) for number in np.argsort(-scores, kind="stable")[:10]])
    return best


def main() -> None:
    """Measure and write the table."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(Path(sys.argv[2]), sys.argv[3])
    sys.path.insert(0, str(HERE.parents[1]))
    from benchmarks import machine
    from benchmarks.checkout import commit_of, running
    from benchmarks.run import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier commit")
    parser.add_argument("--passages", type=int, default=500)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    vectors = encode(options.cache, options.passages, options.queries)
    exact = exact_xtr(vectors)
    commit = commit_of(options.before)
    rows = []
    with running(HERE, options.before, vectors) as (_, before), running(HERE, HERE.parents[1], vectors) as (_, now):
        for number in range(1, options.rounds + 1):
            for name, measure in ((commit, before), ("now", now)):
                found = measure()
                overlaps = [
                    np.mean([len({*ids} & {*best}) / 10 for ids, best in zip(found[way], exact, strict=True)])
                    for way in ("Python", "SQL")
                ]
                rows.append(f"| {number} | {name} | " + " | ".join(f"{value:,.1f}" for value in found["medians"][:-1]))
                rows[-1] += f" | {found['medians'][-1]:,.0f} | {overlaps[0]:.3f} | {overlaps[1]:.3f} |"
                print(rows[-1], flush=True)
    lines = [
        "# Retrieved tokens, before and after",
        "",
        f"`python benchmarks/xtr_before.py --cache DIR --before FOLDER`, FOLDER at {commit}; {options.passages:,} abstracts of",
        f"SciFact, {options.queries} queries, k = 10, defaults, {os.environ['OMP_NUM_THREADS']} threads. Medians over the queries",
        "in milliseconds, of whole searches and of stages in Python; overlap of the ten best with exact XTR over all unquantised",
        "tokens.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| round | | " + " | ".join(COLUMNS) + " | overlap, Python | overlap, SQL |",
        "|---" * (len(COLUMNS) + 4) + "|",
        *rows,
    ]
    (RESULTS / "xtr_before.md").write_text("\n".join([*lines, ""]))
    return None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
