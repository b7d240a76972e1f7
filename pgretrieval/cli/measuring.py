"""Searches of a collection for judged queries, by mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pgretrieval.cli import console
from pgretrieval.evaluate.bootstrap import CONFIDENCE, bootstrap_interval
from pgretrieval.evaluate.evaluation import Encode, Outcome, Search, evaluate_search
from pgretrieval.evaluate.metrics import query_metrics
from pgretrieval.modes import modes
from pgretrieval.types import Mode

if TYPE_CHECKING:
    from ir_measures import Measure

    from pgretrieval.collection import Collection


def searched(
    collection: Collection, mode: Mode, texts: Mapping[str, str], depths: Sequence[int], *, drop_identical: bool
) -> Outcome:
    """Search for every query at every depth, with a progress bar."""
    with console.progress_bar(f"searching {collection.name}, {mode}", len(texts) * len(depths)) as advance:
        return evaluate_search(texts, depths, *_encoded_and_searched(collection, mode), advance, drop_identical=drop_identical)


def compared_modes(
    collection: Collection,
    texts: Mapping[str, str],
    measures: Sequence[Measure],
    qrels: Mapping[str, Mapping[str, int]],
    depths: Sequence[int],
    *,
    drop_identical: bool,
) -> dict[str, Any]:
    """Return the measures of each mode that the collection has: mean and bootstrap interval, and milliseconds."""
    found: dict[str, Any] = {}
    for mode in modes(collection._opened.row):
        outcome = searched(collection, mode, texts, depths, drop_identical=drop_identical)
        by_query = {name: list(values.values()) for name, values in query_metrics(measures, qrels, outcome.runs()).items()}
        found[mode] = {
            "metrics": {
                name: {"mean": sum(values) / len(values), "interval": list(bootstrap_interval(values))}
                for name, values in by_query.items()
            },
            "milliseconds": outcome.milliseconds(),
        }
    return {"queries": len(texts), "confidence": CONFIDENCE, "modes": found}


def print_modes(report: dict[str, Any]) -> None:
    """Print a row for each mode, the measures with their intervals in brackets."""
    table = Table(box=None, pad_edge=False)
    measures = next(iter(report["modes"].values()))["metrics"]
    table.add_column(f"{report['queries']:,} queries, {report['confidence']:.0%} intervals")
    for heading in (*measures, "search, ms p50"):
        table.add_column(heading, justify="right")
    for mode, row in report["modes"].items():
        shown = [
            f"{one['mean']:.4f} ({one['interval'][0]:.4f} … {one['interval'][1]:.4f})" for one in map(row["metrics"].get, measures)
        ]
        table.add_row(mode, *shown, f"{row['milliseconds']['search']['p50']:.1f}")
    console.results.print(table)


def _encoded_and_searched(collection: Collection, mode: Mode) -> tuple[Encode, Search]:
    """Return what encodes a query's text for a mode, and what searches for the result."""
    if mode == "words":
        return lambda text: text, lambda text, k: collection.text_search(text, k)
    encoder = collection.encoder
    if mode == "late":
        return lambda text: encoder.encode_query(text)[0], lambda vectors, k: collection.search(vectors=vectors, k=k)
    if mode == "dense":
        return lambda text: encoder.encode_query_with_dense(text)[1][0], lambda dense, k: collection.dense_search(k=k, dense=dense)
    with_dense = "dense" in modes(collection._opened.row)

    def encode(text: str) -> dict[str, Any]:
        if not with_dense:
            return {"query": text, "vectors": encoder.encode_query(text)[0]}
        tokens, dense = encoder.encode_query_with_dense(text)
        return {"query": text, "vectors": tokens[0], "dense": dense[0]}

    return encode, lambda encoded, k: collection.hybrid_search(k=k, **encoded)
