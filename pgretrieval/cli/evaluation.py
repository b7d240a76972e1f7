"""`pgretrieval evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pgretrieval.cli import console, loading
from pgretrieval.cli.files import qrels_of, queries_of, refuse_standard_input_twice, run_of
from pgretrieval.cli.measuring import compared_modes, print_modes, searched
from pgretrieval.cli.target import Target
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.evaluate.bootstrap import CONFIDENCE, paired_bootstrap
from pgretrieval.evaluate.evaluation import fidelities
from pgretrieval.evaluate.metrics import (
    MAX_CUTOFF,
    mean_metrics,
    parse_metrics,
    query_metrics,
    required_depths,
    run_from_ranking,
)
from pgretrieval.evaluate.runs import without_identical, write_run
from pgretrieval.modes import mode_of

if TYPE_CHECKING:
    from pgretrieval.collection import Collection
    from pgretrieval.database import RetrievalDatabase

_FIDELITY_DEPTHS = (10, 100)
_SMALLEST_DEPTH = 10
_METRICS = "nDCG@10 R@100 RR@10 Success@5"

Queries = Annotated[Path | None, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}.')]
Metrics = Annotated[str, typer.Option(help="Measures by their names in ir-measures.")]
DropIdentical = Annotated[
    bool | None,
    typer.Option(
        "--drop-identical/--keep-identical",
        help="Leave out hits with the id of their query, for collections whose queries are passages.",
        show_default="by the dataset",
    ),
]
Asked = Annotated[
    str | None,
    typer.Option("--mode", help="Search to measure: hybrid, late, words or dense.", show_default="that of `search`"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def evaluate(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The collection; for a dataset, the default is named after it.")] = None,
    queries: Queries = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements in four TREC columns or three BEIR columns, with or without header.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="An ir-datasets name such as beir/scifact/test, instead of files; downloaded and indexed if necessary."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder for a dataset that is not indexed yet: a model name or folder.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run file instead of a collection.")] = None,
    write: Annotated[Path | None, typer.Option("--write-run", help="Write the ranking as a TREC run file.")] = None,
    mode: Asked = None,
    compare_modes: Annotated[
        bool, typer.Option("--compare-modes", help="Measure every mode that the collection has, with bootstrap intervals.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Measure mode late, and compare with exact MaxSim over unquantised vectors; this encodes every passage again.",
        ),
    ] = False,
    drop_identical: DropIdentical = None,
    metrics: Metrics = _METRICS,
    json: Json = False,
) -> None:
    """Measure a collection or a run file on judged queries: quality, milliseconds, and agreement with exact MaxSim.

    Each measure uses a search of its own depth (nDCG@10 with k = 10, R@100 with k = 100), with k of at least 10.
    """
    refuse_standard_input_twice(queries=queries, qrels=qrels, run=run)
    measures = parse_metrics(metrics)
    if run is not None:
        if name or queries or dataset or exact or write or mode or compare_modes or qrels is None:
            msg = "--run needs --qrels; apart from these, only --drop-identical, --metrics and --json can be given"
            raise ConfigError(msg)
        found, dropped = without_identical(run_of(run)) if drop_identical else (run_of(run), 0)
        means = mean_metrics(measures, qrels_of(qrels), {MAX_CUTOFF: found})
        _show({"queries": len(found), **({"dropped": dropped} if drop_identical else {}), "metrics": means}, json)
        return
    if exact and mode not in (None, "late"):
        msg = f"--mode is {mode!r}, but --exact compares late interaction with exact MaxSim; leave one of them out"
        raise ConfigError(msg)
    if compare_modes and (mode or exact or write):
        msg = "--compare-modes measures every mode; leave --mode, --exact and --write-run out"
        raise ConfigError(msg)
    with context.obj.connect() as database:
        if dataset is not None:
            if queries or qrels:
                msg = f"--dataset {dataset} has queries and qrels of its own; leave --queries and --qrels out"
                raise ConfigError(msg)
            collection, all_texts, judgements, own = _indexed(database, dataset, name, encoder)
            drop_identical = own if drop_identical is None else drop_identical
        elif name and queries and qrels:
            collection = database.get_collection(name)
            judgements = qrels_of(qrels)
            all_texts = queries_of(queries)
        else:
            msg = "give a collection with --queries and --qrels, or --dataset, or --run with --qrels"
            raise ConfigError(msg)
        texts = judged(all_texts, judgements, qrels or dataset, queries or dataset)
        depths = sorted({*depths_of(required_depths(measures)), *(_FIDELITY_DEPTHS if exact else ())})
        if compare_modes:
            compared = compared_modes(collection, texts, measures, judgements, depths, drop_identical=bool(drop_identical))
            console.print_json(compared) if json else print_modes(compared)
            return
        chosen = "late" if exact else mode_of(collection._opened.row, mode)
        outcome = searched(collection, chosen, texts, depths, drop_identical=bool(drop_identical))
        report: dict[str, Any] = {
            "queries": len(texts),
            "mode": chosen,
            **({"dropped": outcome.dropped} if drop_identical else {}),
            "metrics": mean_metrics(measures, judgements, outcome.runs()),
            "milliseconds": outcome.milliseconds(),
        }
        if exact:
            with console.progress_bar("exact MaxSim", collection.stats()["passages"]) as advance:
                best = collection.exact_rankings(
                    list(outcome.encoded.values()), depths[-1] + bool(drop_identical), progress=advance
                )
            if drop_identical:
                best = [[key for key in ids if str(key) != query_id] for query_id, ids in zip(texts, best, strict=True)]
            exact_runs = {
                k: {query_id: run_from_ranking(ids[:k]) for query_id, ids in zip(texts, best, strict=True)} for k in depths
            }
            report["exact"] = {"metrics": mean_metrics(measures, judgements, exact_runs)}
            report |= fidelities(outcome, dict(zip(texts, best, strict=True)), _FIDELITY_DEPTHS)
    if write is not None:
        write_run(write, outcome.deepest())
    _show(report, json)


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="A collection, or a TREC run file.")],
    b: Annotated[str, typer.Argument(help="A collection or TREC run file to compare with it.")],
    qrels: Annotated[Path, typer.Option(help="Judgements, as for evaluate.")],
    queries: Queries = None,
    mode: Asked = None,
    drop_identical: DropIdentical = None,
    metrics: Metrics = _METRICS,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    json: Json = False,
) -> None:
    """Compare two collections or run files on the same queries: means, difference, and its paired bootstrap interval."""
    refuse_standard_input_twice(queries=queries, qrels=qrels)
    measures = parse_metrics(metrics)
    judgements = qrels_of(qrels)
    depths = depths_of(required_depths(measures))
    all_texts = None if queries is None else queries_of(queries)
    by_query = []
    for source in (a, b):
        if Path(source).exists() and not Path(source).is_dir():
            read = run_of(Path(source))
            runs: Mapping[int, Any] = {MAX_CUTOFF: without_identical(read)[0] if drop_identical else read}
        elif all_texts is None:
            msg = f"{source!r} is not a file, and a collection needs --queries"
            raise ConfigError(msg)
        else:
            texts = judged(all_texts, judgements, qrels, queries)
            runs = _runs(context.obj, source, mode, texts, depths, drop_identical=bool(drop_identical))
        by_query.append(query_metrics(measures, judgements, runs))
    report: dict[str, Any] = {"queries": len(judgements), "confidence": CONFIDENCE, "metrics": {}}
    for measure, values in by_query[0].items():
        others = by_query[1][measure]
        difference = paired_bootstrap(list(values.values()), [others[query_id] for query_id in values], seed=seed)
        report["metrics"][measure] = {
            "a": sum(values.values()) / len(values),
            "b": sum(others.values()) / len(others),
            "difference": difference.mean,
            "interval": [difference.low, difference.high],
            "p": difference.p,
        }
    if json:
        console.print_json(report)
    else:
        _print_comparison(report, a, b)


def _runs(
    target: Target, name: str, mode: str | None, texts: dict[str, str], depths: list[int], *, drop_identical: bool
) -> Mapping[int, Any]:
    with target.connect() as database:
        collection = database.get_collection(name)
        return searched(collection, mode_of(collection._opened.row, mode), texts, depths, drop_identical=drop_identical).runs()


def depths_of(required: list[int]) -> list[int]:
    """Return the depths to search at, ascending."""
    return sorted({max(depth, _SMALLEST_DEPTH) for depth in required})


def judged(
    all_texts: Mapping[str, str], judgements: Mapping[str, object], judgements_from: object, queries_from: object
) -> dict[str, str]:
    """Return the judged queries; those without text count as failed. Raises InputError if there is none."""
    texts = {query_id: text for query_id, text in all_texts.items() if query_id in judgements}
    if not texts:
        msg = f"none of the {len(judgements)} judged queries of {judgements_from} is in {queries_from}; check the ids"
        raise InputError(msg)
    if len(texts) < len(judgements):
        missing = len(judgements) - len(texts)
        console.errors.print(f"{missing} judged queries are not in {queries_from} and count as failed")
    return texts


def _indexed(
    database: RetrievalDatabase, dataset: str, name: str | None, encoder: str | None
) -> tuple[Collection, dict[str, str], dict[str, dict[str, int]], bool]:
    """Return a collection with all passages of a dataset, its queries and judgements, and whether its queries are passages."""
    from pgretrieval.evaluate.benchmarks import Benchmark

    benchmark = Benchmark(dataset)
    judgements, texts = benchmark.qrels(), benchmark.queries()
    total = loading.count_checked([benchmark.passages])
    collection = loading.open_or_create(database, name or benchmark.collection_name, encoder, None)
    loading.complete(collection, benchmark.passages, total)
    return collection, texts, judgements, benchmark.drops_identical


def _show(report: dict[str, Any], json: bool) -> None:
    if json:
        console.print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("queries", f"{report['queries']:,}")
    if "mode" in report:
        table.add_row("mode", report["mode"])
    if "dropped" in report:
        table.add_row("hits with their query's id, dropped", f"{report['dropped']:,}")
    for measure, mean in report["metrics"].items():
        table.add_row(measure, f"{mean:.4f}")
    for stage, times in report.get("milliseconds", {}).items():
        table.add_row(f"{stage}, ms", f"p50 {times['p50']:.1f}, p95 {times['p95']:.1f}")
    for measure, mean in report.get("exact", {}).get("metrics", {}).items():
        table.add_row(f"exact {measure}", f"{mean:.4f}")
    for key, share in report.items():
        if key.startswith("fidelity"):
            table.add_row(key, f"{share:.4f}")
    console.results.print(table)


def _print_comparison(report: dict[str, Any], a: str, b: str) -> None:
    table = Table(box=None, pad_edge=False)
    headings = ["", a, b, "difference", f"{report['confidence']:.0%} interval", "p"]
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for measure, row in report["metrics"].items():
        low, high = row["interval"]
        numbers = [f"{row['a']:.4f}", f"{row['b']:.4f}", f"{row['difference']:+.4f}"]
        table.add_row(measure, *numbers, f"{low:+.4f} … {high:+.4f}", f"{row['p']:.4f}")
    console.results.print(table)
