"""`pgretrieval benchmark`: published benchmarks with the values of the papers beside the measured ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pgretrieval import presets, validate
from pgretrieval.cli import console, loading
from pgretrieval.cli.evaluation import depths_of, judged
from pgretrieval.cli.linking import expected_recall, measure_linking
from pgretrieval.cli.measuring import searched
from pgretrieval.errors import ConfigError
from pgretrieval.evaluate.bootstrap import CONFIDENCE, bootstrap_interval
from pgretrieval.evaluate.evaluation import Outcome
from pgretrieval.evaluate.metrics import parse_metrics, query_metrics, required_depths
from pgretrieval.evaluate.published.answers import relevant_passages
from pgretrieval.evaluate.published.benchmarks import BENCHMARKS, SPLITS, TOPICS, PublishedBenchmark
from pgretrieval.evaluate.published.downloads import cache_folder, fetch
from pgretrieval.evaluate.published.expected import expected_values
from pgretrieval.evaluate.published.lotte import KINDS
from pgretrieval.evaluate.published.sets import JudgedQueries
from pgretrieval.evaluate.published.zeshel import PAGE, WORLDS, read_zeshel
from pgretrieval.evaluate.runs import write_run

if TYPE_CHECKING:
    from pgretrieval.collection import Collection
    from pgretrieval.database import RetrievalDatabase

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Measure on a published benchmark, beside the values of the papers: download or read it, index, search, compare.",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        help="Unpacked download with the published names of files, instead of downloading.", show_default="the user's cache"
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--collection", help="Name of the collection, which is reused.", show_default="by benchmark and set"),
]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Encoder of a new collection: a model name or folder.", show_default="minilm")
]
Preset = Annotated[
    str | None,
    typer.Option(help=f"System of a paper, for options that are not given: {', '.join(presets.PRESETS)}.", show_default="none"),
]
Bits = Annotated[int | None, typer.Option(help="Bits of a residual for each dimension: 1, 2 or 4.", show_default="4")]
Output = Annotated[Path, typer.Option(help="Folder for the run files.")]
Metrics = Annotated[str | None, typer.Option(help="Measures by their names in ir-measures.", show_default="those of the papers")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]

_OUTPUT = Path("benchmark-runs")
_CALLS = (50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class _Choices:
    """Options that all benchmarks share."""

    folder: Path | None
    collection: str | None
    encoder: str | None
    preset: str | None
    bits: int | None
    output: Path
    metrics: str | None
    json: bool


@app.command()
def lotte(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help=f"{', '.join(TOPICS)}.")],
    split: Annotated[str, typer.Option(help="Split: test or dev.")] = "test",
    queries: Annotated[str, typer.Option(help="Queries: search (auto-complete), forum (titles of posts) or both.")] = "both",
    folder: Folder = None,
    collection: Name = None,
    encoder: EncoderOption = None,
    preset: Preset = None,
    bits: Bits = None,
    output: Output = _OUTPUT,
    metrics: Metrics = None,
    json: Json = False,
) -> None:
    """LoTTE: Success@5 of search and forum queries, for a topic or pooled. The archive of all topics has 3.6 GB."""
    topic, split = validate.choice("topic", topic, TOPICS), validate.choice("split", split, SPLITS)
    chosen = validate.choice("queries", queries, (*KINDS, "both"))
    choices = _Choices(folder, collection, encoder, preset, bits, output, metrics, json)
    _measure(context, BENCHMARKS["lotte"], f"{topic}/{split}", KINDS if chosen == "both" else (chosen,), choices)


@app.command()
def beir(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SET", help=f"{', '.join(BENCHMARKS['beir'].sets)}.")],
    folder: Folder = None,
    collection: Name = None,
    encoder: EncoderOption = None,
    preset: Preset = None,
    bits: Bits = None,
    output: Output = _OUTPUT,
    metrics: Metrics = None,
    json: Json = False,
) -> None:
    """BEIR: nDCG@10 and R@100 of a set. Hits with the id of their query are dropped, as in BEIR's evaluation.

    Queries have at least 300 tokens for arguana and 64 for climate-fever, documents 300, as far as the model can read.
    """
    choices = _Choices(folder, collection, encoder, preset, bits, output, metrics, json)
    _measure(context, BENCHMARKS["beir"], validate.choice("set", name, BENCHMARKS["beir"].sets), ("test",), choices)


@app.command()
def msmarco(
    context: typer.Context,
    folder: Folder = None,
    collection: Name = None,
    encoder: EncoderOption = None,
    preset: Preset = None,
    bits: Bits = None,
    output: Output = _OUTPUT,
    metrics: Metrics = None,
    json: Json = False,
) -> None:
    """MS MARCO passage ranking: MRR@10 (RR@10), R@50 and R@1000 of the 6,980 queries of dev.small. Downloads 1 GB."""
    choices = _Choices(folder, collection, encoder, preset, bits, output, metrics, json)
    _measure(context, BENCHMARKS["msmarco"], "dev.small", ("dev.small",), choices)


@app.command()
def openqa(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SET", help=f"{', '.join(BENCHMARKS['openqa'].sets)}.")],
    folder: Folder = None,
    collection: Name = None,
    encoder: EncoderOption = None,
    preset: Preset = None,
    bits: Bits = None,
    output: Output = _OUTPUT,
    metrics: Metrics = None,
    json: Json = False,
) -> None:
    """Open-domain questions over Wikipedia: Success@5, where a passage that contains an answer is relevant (DPR's matching).

    A folder has psgs_w100.tsv with DPR's file of questions and answers, such as nq-test.qa.csv, or with ColBERT's qas.json.
    """
    choices = _Choices(folder, collection, encoder, preset, bits, output, metrics, json)
    _measure(context, BENCHMARKS["openqa"], validate.choice("set", name, BENCHMARKS["openqa"].sets), ("test",), choices)


@app.command()
def zeshel(
    context: typer.Context,
    world: Annotated[str, typer.Argument(help=f"{', '.join(WORLDS)}.")],
    cross_encoder: Annotated[str, typer.Option(help="Name or folder of the cross-encoder whose ranking is searched for.")],
    folder: Annotated[Path | None, typer.Option(help=f"Unpacked download of {PAGE}; required, since it cannot be fetched.")] = None,
    anchor_queries: Annotated[int, typer.Option(help="Mentions for which every entity is scored by the index.")] = 500,
    test_queries: Annotated[
        int, typer.Option(help="Other mentions to search for; their exact scores take most of the time.")
    ] = 100,
    anchor_items: Annotated[int, typer.Option(help="Anchor items of the factorisation.")] = 200,
    calls: Annotated[list[int] | None, typer.Option(help="Budget of calls; repeatable.", show_default="50, 100, 200, 500")] = None,
    context_words: Annotated[int, typer.Option(help="Words on each side of a mention.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the anchors.")] = 0,
    collection: Name = None,
    encoder: EncoderOption = None,
    preset: Preset = None,
    bits: Bits = None,
    output: Output = _OUTPUT,
    json: Json = False,
) -> None:
    """ZESHEL: top-k-recall at a cost, for ANNCUR and reranked searches over the entities of a world.

    Every method is charged all calls of the cross-encoder that a query needs, those for anchors included. Exact scores of all
    entities are kept beside the run files, so an interrupted run resumes.
    """
    world = validate.choice("world", world, WORLDS)
    if folder is None:
        msg = f"ZESHEL is published at {PAGE} and cannot be downloaded by a command; unpack it and give the folder with --folder"
        raise ConfigError(msg)
    budgets = sorted({validate.whole("calls", budget) for budget in calls or _CALLS})
    counts = {"anchor_queries": anchor_queries, "test_queries": test_queries, "anchor_items": anchor_items}
    for option, value in counts.items():
        validate.whole(option, value)
    data = read_zeshel(folder, world, validate.whole("context_words", context_words, 0))
    anchors, tested = data.split(anchor_queries, test_queries, seed)
    total = loading.count_checked([data.entities])
    with context.obj.connect() as database:
        choices = _Choices(folder, collection, encoder, preset, bits, output, None, json)
        opened = _opened(database, f"zeshel_{world}", choices)
        loading.complete(opened, data.entities, total)
        with console.stage_bars() as stage:
            texts = [data.mentions[key] for key in anchors]
            opened.factorize(cross_encoder, texts, anchor_items, seed=seed, stage=stage)
        report = {
            "benchmark": "zeshel",
            "set": world,
            "collection": opened.name,
            "passages": total,
            "index_calls": len(anchors) * total,
            "expected": expected_recall(world),
            **measure_linking(opened, data, tested, cross_encoder, budgets, output),
        }
    if json:
        console.print_json(report)
    else:
        _print_recall(report)


def _measure(context: typer.Context, benchmark: PublishedBenchmark, name: str, kinds: Sequence[str], choices: _Choices) -> None:
    measures = parse_metrics(choices.metrics or benchmark.metrics)
    folder = choices.folder or fetch(benchmark.downloads(name), cache_folder(benchmark.name), _downloading)
    data = benchmark.read(folder, name)
    queries = {kind: data.queries[kind]() for kind in kinds}  # invalid input is found before hours of encoding
    total = loading.count_checked([data.passages])
    report: dict[str, Any] = {"benchmark": benchmark.name, "set": name, "results": []}
    with context.obj.connect() as database:
        collection = _opened(database, f"{benchmark.name}_{name}", choices)
        collection.encoder.raise_lengths(query=benchmark.query_lengths.get(name), document=benchmark.document_length)
        loading.complete(collection, data.passages, total)
        report |= {"collection": collection.name, "encoder": collection.encoder.spec, "passages": total}
        for kind, asked in queries.items():
            texts = judged(asked.texts, asked.qrels, folder, folder) if asked.qrels else asked.texts
            depths = depths_of(required_depths(measures))
            outcome = searched(collection, "late", texts, depths, drop_identical=benchmark.drop_identical)
            values = query_metrics(measures, asked.qrels or _judged_by_answers(collection, asked, outcome), outcome.runs())
            run = choices.output / f"{collection.name}-{kind}.trec"
            run.parent.mkdir(parents=True, exist_ok=True)
            write_run(run, outcome.deepest())
            full_name = f"{name}/{kind}" if len(data.queries) > 1 else name
            report["results"].append(_result(benchmark, full_name, values, outcome, run))
    if choices.json:
        console.print_json(report)
    else:
        for result in report["results"]:
            _print(report, result)


def _opened(database: RetrievalDatabase, default_name: str, choices: _Choices) -> Collection:
    options = {"preset": None if choices.preset is None else presets.read_name(choices.preset)}
    name = choices.collection or re.sub(r"\W+", "_", default_name)
    return loading.open_or_create(database, name, choices.encoder, choices.bits, options)


def _judged_by_answers(collection: Collection, asked: JudgedQueries, outcome: Outcome) -> dict[str, dict[str, int]]:
    found = outcome.rankings[max(outcome.rankings)]
    passages = collection.get(sorted({key for keys in found.values() for key in keys}))
    return relevant_passages(asked.answers, found, {key: passage.text for key, passage in passages.items()})


def _result(
    benchmark: PublishedBenchmark, name: str, values: dict[str, dict[str, float]], outcome: Outcome, run: Path
) -> dict[str, Any]:
    return {
        "queries": name,
        "judged": len(next(iter(values.values()))),
        **({"dropped": outcome.dropped} if benchmark.drop_identical else {}),
        "confidence": CONFIDENCE,
        "metrics": {
            measure: {"mean": fmean(by_query.values()), "interval": list(bootstrap_interval(list(by_query.values())))}
            for measure, by_query in values.items()
        },
        "expected": [
            {"measure": one.measure, "system": one.system, "value": one.value, "paper": one.paper}
            for one in expected_values(benchmark.name, name)
            if one.measure in values
        ],
        "query_tokens": fmean(map(len, outcome.encoded.values())),
        "milliseconds": outcome.milliseconds(),
        "run": str(run),
    }


def _print(report: dict[str, Any], result: dict[str, Any]) -> None:
    """Print each measure with its interval, and below it the values of the papers."""
    dropped = f", {result['dropped']:,} hits with their query's id dropped" if "dropped" in result else ""
    heading = (
        f"{report['benchmark']} {result['queries']}: {report['passages']:,} passages, {result['judged']:,} queries of "
        f"{result['query_tokens']:.0f} tokens{dropped}"
    )
    console.results.print(heading)
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(("measure", "system", "value", f"{result['confidence']:.0%} interval", "source")):
        table.add_column(title, justify="right" if number == 2 else "left")
    for measure, row in result["metrics"].items():
        low, high = row["interval"]
        table.add_row(measure, report["collection"], f"{row['mean']:.4f}", f"{low:.4f} … {high:.4f}", "measured")
        for one in result["expected"]:
            if one["measure"] == measure:
                table.add_row(measure, one["system"], f"{one['value']:.4f}", "", one["paper"])
    console.results.print(table)
    times = result["milliseconds"]["search"]
    console.results.print(f"search p50 {times['p50']:.1f} ms, p95 {times['p95']:.1f} ms; run file {result['run']}")


def _print_recall(report: dict[str, Any]) -> None:
    console.results.print(
        f"zeshel {report['set']}: {report['passages']:,} entities, {report['judged']:,} mentions; {report['index_calls']:,} calls "
        "for the index of ANNCUR"
    )
    depths = list(dict.fromkeys(depth for result in report["results"] for depth in result["recall"]))
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(("method", "budget", "calls", *(f"top-{depth} recall" for depth in depths))):
        table.add_column(title, justify="right" if number else "left")
    for result in report["results"]:
        shares = [result["recall"].get(depth) for depth in depths]
        cells = ["" if one is None else "{:.3f} ({:.3f} … {:.3f})".format(one["mean"], *one["interval"]) for one in shares]
        table.add_row(result["method"], f"{result['budget']:,}", f"{result['calls']:,.1f}", *cells)
    console.results.print(table)
    for one in report["expected"]:
        console.results.print(f"{one['measure']}: {one['system']} {one['value']:.4f} ({one['paper']})")
    console.results.print(f"run files in {Path(report['exact_run']).parent}")


@contextmanager
def _downloading(name: str, size: int | None) -> Iterator[Any]:
    with console.progress_bar(f"downloading {name}", size) as advance:
        yield advance
