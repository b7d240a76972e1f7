"""Scores from retrieved tokens, compared with candidates and MaxSim: bytes moved, milliseconds, nDCG@10, and stored bytes.

    python benchmarks/tokens.py --cache DIR [--encoder FOLDER] [--queries N]

SciFact. XTR's paper compares operations, so they are counted here. Writes benchmarks/results/tokens.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psycopg

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, Measured, build, say, serving
from benchmarks.vectors import Vectors
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, run_from_ranking

NAME = "scifact"
NDCG = parse_metrics("nDCG@10")
MAXSIM: tuple[dict[str, Any], ...] = ({}, {"pruning": 32}, {"probes": 2, "candidates": 128, "pruning": 16})
XTR: tuple[dict[str, Any], ...] = (
    {"rerank": "none"},
    {"rerank": "none", "probes": 2},
    {"rerank": "none", "probes": 4},
    {"rerank": "none", "probes": 32},
    {"rerank": "none", "k_tokens": 1000},
    {"rerank": "none", "k_tokens": 100},
    {"rerank": "none", "imputation": "warp"},
    {"rerank": "none", "imputation": "zero"},
    {"probes": 4, "pruning": 32},
    {"probes": 4},
)
COLXTR: tuple[dict[str, Any], ...] = (
    {"rerank": "none"},
    {"rerank": "none", "probes": 2},
    {"rerank": "none", "probes": 4},
    {"rerank": "none", "k_tokens": 1000},
    {"rerank": "none", "imputation": "zero"},
)


def measure(collection: Any, data: Vectors, scorer: str, knobs: dict[str, Any]) -> Measured:
    """Run every query once, sequentially."""
    for query in data.queries[:10]:
        collection.search(vectors=query, **knobs)
    explained = [collection.explain(vectors=query, **knobs) for query in data.queries]
    rankings = [[hit.id for hit in one.hits] for one in explained]
    run = {query: run_from_ranking(ranking) for query, ranking in zip(data.query_ids, rankings, strict=True)}
    counts = ("bytes_moved", "tokens_decoded", "tokens_retrieved", "candidates", "passages_decoded", "probes")
    row: Measured = {
        "scorer": scorer,
        "knobs": knobs,
        "ndcg": mean_metrics(NDCG, {query: data.qrels[query] for query in data.query_ids}, {10: run})["nDCG@10"],
        "ms": float(np.median([one.search_milliseconds for one in explained])),
        **{name: float(np.mean([getattr(one, name) for one in explained])) for name in counts},
    }
    say(row)
    return row


def rows_of(database: Any, collection: Any, data: Vectors) -> tuple[list[Measured], dict[str, dict[str, int]]]:
    """All settings, and the bytes of each way of storing.

    One codebook and one set of codes serve all scorers: the postings of the candidate search are computed from the codes by
    centroid, and the collection is then read as each scorer does.
    """
    rows: list[Measured] = []
    stored = {"xtr, rerank": collection.stats()["bytes"]}
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(_POSTINGS, [collection.name])
        for scorer, settings in (("xtr", XTR), ("colxtr", COLXTR), ("maxsim", MAXSIM)):
            connection.execute(_SCORER, [scorer, scorer, collection.name])
            read = database.get_collection(collection.name)
            rows += [measure(read, data, scorer, knobs) for knobs in settings]
    stored["all of them"] = collection.stats()["bytes"]
    return rows, stored


_POSTINGS = """
insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids)
select collection_id, codebook_id, centroid_id, bucket, segment, array(select distinct unnest(passage_ids) order by 1)
from pgretrieval.posting_code join pgretrieval.collection using (collection_id, codebook_id) where name = %s
"""
_SCORER = """
update pgretrieval.collection set scorer = %s, rerank = case when %s <> 'maxsim' then 'maxsim' end where name = %s
"""


def operations(row: Measured, query_tokens: float, dim: int) -> tuple[float, float]:
    """Multiplications and additions of scoring, as the paper counts them, and with the products of retrieval.

    The paper takes the products of retrieved tokens from the search for them; what remains is one comparison for each, and one
    addition for each query token and passage.
    """
    products = query_tokens * 2 * dim * row["tokens_decoded"]
    if row["scorer"] == "maxsim" or row["passages_decoded"]:
        return products, products
    return row["tokens_retrieved"] + query_tokens * row["candidates"], products


def table(rows: Sequence[Measured], query_tokens: float, dim: int) -> list[str]:
    """One row per setting."""
    lines = [
        "| scorer | knobs | nDCG@10 | p50 ms | kB moved | tokens decoded | tokens retrieved | passages scored | operations, as the "
        "paper counts | with all products |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        knobs = ", ".join(f"{name}={value}" for name, value in row["knobs"].items()) or "defaults"
        counted, whole = operations(row, query_tokens, dim)
        scored = row["passages_decoded"] if row["scorer"] == "maxsim" else row["candidates"]
        lines.append(
            f"| {row['scorer']} | {knobs} | {row['ndcg']:.4f} | {row['ms']:.1f} | {row['bytes_moved'] / 1e3:,.0f} | "
            f"{row['tokens_decoded']:,.0f} | {row['tokens_retrieved']:,.0f} | {scored:,.0f} | {counted / 1e6:,.3f} M | "
            f"{whole / 1e6:,.0f} M |"
        )
    return lines


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--encoder", default=vectors.ENCODER, help="minilm, or the folder of a trained model")
    parser.add_argument("--queries", type=int, help="how many of the judged queries; all by default")
    parser.add_argument("--note", help="a line for the head of the table")
    options = parser.parse_args()
    whole = vectors.load(NAME, options.cache, options.encoder)
    data = vectors.first_queries(whole, options.queries)
    with serving() as database:
        collection, _ = build(database, data, "tokens", scorer="xtr", rerank="maxsim")
        rows, stored = rows_of(database, collection, data)
    text = report(data, options.encoder, options.note, rows, stored)
    (RESULTS / "tokens.md").write_text(text)
    print(text)


def report(data: Vectors, encoder: str, note: str | None, rows: Sequence[Measured], stored: dict[str, dict[str, int]]) -> str:
    """The page of results."""
    query_tokens, dim = float(np.mean([len(query) for query in data.queries])), data.documents.shape[1]
    lines = [
        "# Retrieved tokens",
        "",
        f"`python benchmarks/tokens.py --cache DIR`, encoder {vectors.called(encoder)}; {NAME}, {len(data.passages):,} "
        f"passages, {int(data.document_offsets[-1]):,} tokens of {dim} dimensions, {len(data.queries)} "
        f"queries of {query_tokens:.1f} tokens, 4 bits, k = 10. Means over the queries; milliseconds are medians without encoding.",
        *(["", note] if note else []),
        "",
        machine.as_lines(machine.describe()),
        "",
        *table(rows, query_tokens, dim),
        "",
        "Bytes, with indexes; `posting_code` holds the codes by centroid, `token_code` by passage:",
        "",
        "| scorer | posting | posting_code | token_code | centroid |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {' | '.join(f'{held.get(part, 0):,}' for part in ('posting', 'posting_code', 'token_code', 'centroid'))} |"
            for name, held in stored.items()
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
