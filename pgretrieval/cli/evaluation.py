"""`pgretrieval evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pgretrieval.cli import console
from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.errors import InputError
from pgretrieval.evaluate.evaluation import evaluate_search, fidelities
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, required_depths, run_from_ranking
from pgretrieval.evaluate.qrels import read_qrels

_FIDELITY_DEPTHS = (10, 100)
_SMALLEST_DEPTH = 10


def evaluate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    queries: Annotated[Path, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}.')],
    qrels: Annotated[Path, typer.Option(help="TREC four-column or BEIR three-column judgements, with or without header.")],
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare with exact MaxSim over unquantised vectors; encodes every passage again."),
    ] = False,
    metrics: Annotated[str, typer.Option(help="Measures as ir-measures names them.")] = "nDCG@10 R@100 RR@10 Success@5",
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure a collection on judged queries: quality, milliseconds, and agreement with exact MaxSim.

    Each measure is computed on a search of its own depth (nDCG@10 on k = 10, R@100 on k = 100), but at least on k = 10.
    """
    measures = parse_metrics(metrics)
    judgements = read_qrels(qrels)
    texts = {query_id: text for query_id, text in read_queries(queries) if query_id in judgements}
    if not texts:
        msg = f"none of the {len(judgements)} judged queries of {qrels} is in {queries}; do the ids belong together?"
        raise InputError(msg)
    if len(texts) < len(judgements):
        missing = len(judgements) - len(texts)
        console.errors.print(f"{missing} judged queries are not in {queries}: they count as found nothing", markup=False)
    depths = sorted({*(max(depth, _SMALLEST_DEPTH) for depth in required_depths(measures)), *(_FIDELITY_DEPTHS if exact else ())})
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        with console.progress_bar("searching", len(texts) * len(depths)) as advance:
            outcome = evaluate_search(
                texts,
                depths,
                lambda text: collection.encoder.encode_query([text])[0],
                lambda vectors, k: collection.search(vectors=vectors, k=k),
                advance,
            )
        report: dict[str, Any] = {
            "queries": len(texts),
            "metrics": mean_metrics(measures, judgements, outcome.runs()),
            "milliseconds": outcome.milliseconds(),
        }
        if exact:
            with console.progress_bar("exact MaxSim", collection.stats()["passages"]) as advance:
                best = collection.exact_rankings(list(outcome.vectors.values()), depths[-1], progress=advance)
            exact_runs = {
                k: {query_id: run_from_ranking(ids[:k]) for query_id, ids in zip(texts, best, strict=True)} for k in depths
            }
            report["exact"] = {"metrics": mean_metrics(measures, judgements, exact_runs)}
            report |= fidelities(outcome, dict(zip(texts, best, strict=True)), _FIDELITY_DEPTHS)
    if json:
        console.print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("queries", f"{report['queries']:,}")
    for measure, mean in report["metrics"].items():
        table.add_row(measure, f"{mean:.4f}")
    for stage, times in report["milliseconds"].items():
        table.add_row(f"{stage}, ms", f"p50 {times['p50']:.1f}, p95 {times['p95']:.1f}")
    for measure, mean in report.get("exact", {}).get("metrics", {}).items():
        table.add_row(f"exact {measure}", f"{mean:.4f}")
    for key, share in report.items():
        if key.startswith("fidelity"):
            table.add_row(key, f"{share:.4f}")
    console.results.print(table)
