"""Pooled passages: fidelity, quality, time and bytes at a constant number of vectors, compared with other ways to store fewer.

    python benchmarks/pooled.py --cache DIR [--sets scifact ...] [--encoder FOLDER ...]

The constant number is that of an untrained pooling: vector c is the mean of the c-th of C equal parts of a passage. A FOLDER is an
encoder with its own pooling, `token_pooling` that of a collection. All ways to store a set are searched in turns, the last of them
twice, as a control: a difference of times counts only beyond what equal rows differ by. Measurements are added to
benchmarks/results/pooled.json, from which pooled.md is generated.
"""

from __future__ import annotations

import argparse
import json
import os
import string
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, Measured, build, quality, say, serving, unit
from benchmarks.vectors import Vectors
from pgretrieval.encode.pooling import pooled
from pgretrieval.evaluate.timing import percentiles
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array

SETS = ("scifact", "stackexchange_small", "medquad")
SIZES = (16, 32, 64)
FACTORS = (2, 3)
WHOLE = "all tokens"
_QUERIES = 200
_BLOCK = 1024
_SEED = 0
_ROUNDS = 3
_RESAMPLES = 2000
_AGAIN = ", again"
_WORK = ("postings_read", "candidates", "passages_decoded")
_COMPARED = ("p50", "codes_per_passage", "bytes_per_passage")
_FILE = RESULTS / "pooled.json"


@dataclass(frozen=True)
class Stored:
    """One way to store a collection: its name, the constant number of vectors, bits, and the vectors."""

    way: str
    count: int | None
    bits: int
    data: Vectors


def mean_of_parts(tokens: Float32Array, count: int) -> Float32Array:
    """(tokens, dim) -> (count, dim): the mean of each of `count` equal parts; tokens repeat where there are fewer."""
    spread = tokens[np.arange(max(len(tokens), count)) * len(tokens) // max(len(tokens), count)]
    starts = -(-np.arange(count) * len(spread) // count)
    return unit(np.add.reduceat(spread, starts, axis=0))


def clusters(count: int) -> Callable[[Float32Array], Float32Array]:
    """Means of a constant number of clusters of similar tokens."""
    import torch

    from pgretrieval.encode.modules import ClusterPooling

    pooling = ClusterPooling(count)
    return lambda tokens: pooling.pool_one(torch.from_numpy(tokens)).numpy()


def by_factor(data: Vectors, factor: int) -> Iterator[Float32Array]:
    """The vectors that a collection with this token_pooling stores of each passage."""
    for tokens in data.arrays():
        yield from pooled([unit(tokens)], factor)


def stored(data: Vectors, arrays: Iterator[Float32Array]) -> Vectors:
    """The same collection with other passage vectors."""
    made = list(arrays)
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in made])])
    return replace(data, documents=np.concatenate(made).astype(np.float16), document_offsets=offsets)


def without_punctuation(data: Vectors) -> Iterator[Float32Array]:
    """Vectors of tokens that are not punctuation."""
    from pgretrieval.encode.minilm import MAX_TOKENS, load_transformer

    tokenizer = load_transformer("float32").tokenizer
    skipped = tokenizer.convert_tokens_to_ids(list(string.punctuation))
    texts = [passage.encoded_text for passage in data.passages]
    for tokens, ids in zip(data.arrays(), tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"], strict=True):
        kept = ~np.isin(ids, skipped)
        if len(kept) != len(tokens):
            sys.exit(f"{data.folder}: {len(tokens)} vectors for {len(kept)} tokens; delete the folder")
        yield tokens[kept]


def ways(data: Vectors, bits: tuple[int, ...]) -> Iterator[tuple[str, int | None, int, Callable[[], Vectors]]]:
    """Name, constant number, bits, and the stored vectors."""
    yield WHOLE, None, 4, lambda: data
    for some in bits:
        for count in SIZES:
            yield (
                f"means, C = {count}",
                count,
                some,
                lambda count=count: stored(data, (mean_of_parts(one, count) for one in data.arrays())),
            )
            yield f"clusters, C = {count}", count, some, lambda count=count: stored(data, map(clusters(count), data.arrays()))
    for factor in FACTORS:
        yield f"token_pooling={factor}", None, 4, lambda factor=factor: stored(data, by_factor(data, factor))
    yield "punctuation skipped", None, 4, lambda: stored(data, without_punctuation(data))


def exact(data: Vectors) -> list[list[str]]:
    """The best 100 of each query by MaxSim of the stored vectors, not quantised."""
    parts = []
    for first in range(0, len(data.passages), _BLOCK):
        offsets = data.document_offsets[first : first + _BLOCK + 1]
        block = unit(data.documents[offsets[0] : offsets[-1]].astype(np.float32))
        parts.append(maxsim_many(data.queries, block, offsets - offsets[0]))
    order = np.argsort(-np.concatenate(parts, axis=1), axis=1, kind="stable")[:, :100]
    return [[data.passages[place].id for place in row] for row in order.tolist()]


def measure(stored_as: list[Stored], data: Vectors) -> list[Measured]:
    """Measure all ways to store one collection, with default options.

    All are built first, in one server. Then every query searches all of them, in another order each time, so that a cold cache or a
    disturbed second meets them alike; the first round is not counted. A query's time is its median over rounds.
    """
    random, measured = np.random.default_rng(_SEED), []
    with serving() as database:
        collections = []
        for place, one in enumerate(stored_as):
            collection, built = build(database, one.data, f"measured_{place}", bits=one.bits, vectors_per_passage=one.count)
            collections.append(collection)
            measured.append(described(one, collection, built))
            say({"built": one.way})
        spent = np.empty((_ROUNDS + 1, len(data.queries), len(collections)))
        for number, at in np.ndindex(*spent.shape[:2]):
            for place in random.permutation(len(collections)).tolist():
                started = time.perf_counter()
                collections[place].search(vectors=data.queries[at])
                spent[number, at, place] = (time.perf_counter() - started) * 1e3
    by_query = np.median(spent[1:], axis=0)
    drawn = by_query[random.integers(0, len(by_query), (_RESAMPLES, len(by_query)))]
    lows, highs = np.quantile(np.median(drawn, axis=1), [0.025, 0.975], axis=0)
    for row, times, low, high in zip(measured, by_query.T, lows, highs, strict=True):
        row |= {**percentiles(times.tolist()), "p50_low": float(low), "p50_high": float(high)}
    return measured


def described(one: Stored, collection: Any, built: Measured) -> Measured:
    """Fidelity, quality, work and bytes of a built collection: what no disturbance changes."""
    data, best = one.data, exact(one.data)
    rankings, deep = ([[hit.id for hit in hits] for hits in collection.search_many(vectors=data.queries, k=k)] for k in (10, 100))
    explained = [collection.explain(vectors=query) for query in data.queries]
    found, tables = quality(data, best, rankings, 10), built["storage"]["by_table"]
    return {
        "vectors": len(data.documents) / len(data.passages),
        "fidelity": found["fidelity"],
        "fidelity_100": quality(data, best, deep, 100)["fidelity"],
        "ndcg": found["ndcg"],
        "exact_ndcg": quality(data, best, best, 10)["ndcg"],
        **{name: float(np.mean([getattr(report, name) for report in explained])) for name in _WORK},
        "codes_per_passage": tables["token_code"] / len(data.passages),
        "bytes_per_passage": sum(tables.values()) / len(data.passages),
        "codes_inline": collection.stats()["codes_inline"],
        "build_seconds": built["build_seconds"],
    }


def chosen(data: Vectors) -> Vectors:
    """At most 200 queries, drawn at random."""
    kept = np.sort(np.random.default_rng(_SEED).permutation(len(data.queries))[:_QUERIES]).tolist()
    ids = [data.query_ids[number] for number in kept]
    return replace(
        data,
        query_ids=ids,
        queries=[data.queries[number] for number in kept],
        qrels={query: data.qrels[query] for query in ids},
    )


def stored_rows() -> list[Measured]:
    """Rows of earlier runs."""
    rows: list[Measured] = json.loads(_FILE.read_text()) if _FILE.exists() else []
    return rows


def note(rows: list[Measured]) -> None:
    """Store rows, replacing older ones of the same measurements, and write the table."""
    new = {(row["set"], row["way"], row["bits"]) for row in rows}
    held = [one for one in stored_rows() if (one["set"], one["way"], one["bits"]) not in new]
    _FILE.write_text(json.dumps([*held, *rows], indent=1) + "\n")
    (RESULTS / "pooled.md").write_text(table([*held, *rows]))
    for row in rows:
        say(row)


def table(rows: list[Measured]) -> str:
    """All rows by collection, each compared with all tokens if these were measured."""
    lines = [
        "# Pooled passages",
        "",
        f"`python benchmarks/pooled.py --cache DIR`; MiniLM's token vectors, {_QUERIES} queries, defaults. Fidelity is against",
        "exact MaxSim of the stored vectors before quantisation; nDCG@10 is that of the search and, in brackets,",
        "of exact MaxSim. Bytes are of codes, and of all data except texts. Means are over C equal parts, untrained.",
        "Milliseconds and bytes have their ratio to those of all tokens in brackets. Queries search all rows in turns; one is",
        "measured twice, as a control. Decoded are passages scored exactly, which differ between rows of as many bytes.",
        "",
        machine.as_lines(rows[-1]["machine"]),
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        lines += [
            "",
            f"## {name}",
            "",
            "| stored | vectors | bits | fidelity@10 | @100 | nDCG@10 | p50 ms | 95 % | decoded | codes | all bytes | in a row |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row["set"] == name):
            columns = [row["way"], f"{row['vectors']:.0f}", str(row["bits"])]
            columns += [f"{row['fidelity']:.3f}", f"{row['fidelity_100']:.3f}", f"{row['ndcg']:.3f} ({row['exact_ndcg']:.3f})"]
            for what, form, share in zip(_COMPARED, (".1f", ",.0f", ",.0f"), (".2f", ".0%", ".0%"), strict=True):
                ratio = f" ({row[what] / row['whole'][what]:{share}})" if row["whole"] else ""
                columns.append(f"{row[what]:{form}}{ratio}")
                if what == "p50":  # rows of earlier runs have no interval
                    columns += (
                        [f"{row['p50_low']:.1f} … {row['p50_high']:.1f}", f"{row['passages_decoded']:.0f}"]
                        if "p50_low" in row
                        else ["", ""]
                    )
            lines.append("| " + " | ".join([*columns, "yes" if row["codes_inline"] else "no"]) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure set by set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--bits", nargs="+", type=int, default=(4, 2))
    parser.add_argument("--at-most", nargs=2, type=int, metavar=("QUERIES", "PASSAGES"), help="limit larger sets")
    parser.add_argument("--ways", nargs="+", help="only those whose name begins so")
    parser.add_argument("--encoder", nargs="*", default=[], metavar="FOLDER", help="encoders that pool, measured too")
    options = parser.parse_args()
    described_machine = machine.describe()
    for name in options.sets:
        data = chosen(vectors.load(name, options.cache, at_most=options.at_most and tuple(options.at_most)))
        made = [
            Stored(way, count, bits, make())
            for way, count, bits, make in ways(data, tuple(options.bits))
            if way == WHOLE or not options.ways or way.startswith(tuple(options.ways))
        ]
        for folder in options.encoder:
            own = chosen(vectors.load(name, options.cache, folder))
            counts = np.unique(np.diff(own.document_offsets))
            count = int(counts[0]) if len(counts) == 1 else None
            made += [Stored(vectors.called(folder), count, bits, own) for bits in options.bits]
        made.append(replace(made[-1], way=f"{made[-1].way}{_AGAIN}"))
        measured = measure(made, data)
        whole = {key: measured[0][key] for key in _COMPARED}
        note(
            [
                {"set": name, "way": one.way, "bits": one.bits, **row, "whole": whole, "machine": described_machine}
                for one, row in zip(made, measured, strict=True)
            ]
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
