"""Loss of a codebook on passages of another kind, and the gain of a rebuild.

    python benchmarks/drift.py --cache DIR

Medquad is added to a collection trained on cpp_docs; as a control, half of cpp_docs to one trained on the other half. During the
rebuild of the first, passages are added, searched and deleted. Writes benchmarks/results/drift.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, say, serving, stage_clock, unit
from benchmarks.vectors import Vectors
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array, Passage

_K = 10
_QUERIES = 100
_SEED = 0


class Remembered:
    """An encoder that looks up stored vectors of the test collections' texts."""

    def __init__(self, sets: Sequence[Vectors]) -> None:
        self._places = {passage.encoded_text: (part, place) for part in sets for place, passage in enumerate(part.passages)}

    def encode_query(self, texts: Sequence[str]) -> list[Float32Array]:
        """Queries are given as vectors."""
        return self.encode_document(texts)

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        """Look up vectors; an unknown text, such as the word that determines the dimension, gets arbitrary ones."""
        return [self._vectors(text) for text in texts]

    def _vectors(self, text: str) -> Float32Array:
        if text not in self._places:
            return np.eye(128, dtype=np.float32)[:1]
        part, place = self._places[text]
        start, end = part.document_offsets[place : place + 2]
        return part.documents[start:end].astype(np.float32)


def first(data: Vectors, passages: int | None, name: str) -> Vectors:
    """The first passages, with the collection's name as prefix of their ids, and some of the queries."""
    kept = [replace(passage, id=f"{name}/{passage.id}") for passage in data.passages[:passages]]
    chosen = np.random.default_rng(_SEED).permutation(len(data.queries))[:_QUERIES]
    offsets = data.document_offsets[: len(kept) + 1]
    return replace(data, passages=kept, document_offsets=offsets, queries=[data.queries[place] for place in chosen.tolist()])


def exact_scores(queries: Sequence[Float32Array], data: Vectors) -> Float32Array:
    """Exact MaxSim (queries, passages)."""
    parts = []
    for start in range(0, len(data.passages), 2048):
        offsets = data.document_offsets[start : min(start + 2048, len(data.passages)) + 1]
        block = unit(data.documents[offsets[0] : offsets[-1]].astype(np.float32))
        parts.append(maxsim_many(list(queries), block, offsets - offsets[0]))
    return np.concatenate(parts, axis=1)


def best(scores: Float32Array, sets: Sequence[Vectors]) -> list[list[str]]:
    """Ids of the exact top ten of every query among the passages of all sets."""
    ids = [passage.id for part in sets for passage in part.passages]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    return [[ids[place] for place in row] for row in order.tolist()]


def exact_rankings(docs: Vectors, other: Vectors) -> dict[str, list[list[str]]]:
    """Rankings of the cpp_docs queries among its own and among all passages, and of the medquad queries among all."""
    own = exact_scores(docs.queries, docs)
    both = [docs, other]
    return {
        "alone": best(own, [docs]),
        "docs": best(np.concatenate([own, exact_scores(docs.queries, other)], axis=1), both),
        "other": best(np.concatenate([exact_scores(other.queries, part) for part in both], axis=1), both),
    }


def measured(collection: Any, queries: Sequence[Float32Array], exact: list[list[str]]) -> float:
    """fidelity@10 of the collection's searches."""
    hits = collection.search_many(vectors=list(queries), k=_K)
    return fidelity([[hit.id for hit in found] for found in hits], exact, _K)


def drift(collection: Any) -> dict[str, Any]:
    """The drift in `stats`."""
    stats = collection.stats()
    names = ("passages", "tokens", "centroids", "quantization_error", "added_passages", "added_quantization_error", "rebuild_pays")
    return {name: stats[name] for name in names}


@contextmanager
def working(collection: Any, passages: Sequence[Passage], query: Float32Array) -> Iterator[dict[str, list[float]]]:
    """Repeatedly add a passage, search and delete it during the block; yields the milliseconds of each."""
    spent: dict[str, list[float]] = {"add": [], "search": [], "delete": []}
    done = threading.Event()

    def timed(name: str, work: Any) -> None:
        started = time.perf_counter()
        work()
        spent[name].append((time.perf_counter() - started) * 1e3)

    def work() -> None:
        number = 0
        while not done.is_set():
            passage = replace(passages[number % len(passages)], id=f"meanwhile/{number}")
            timed("add", lambda passage=passage: collection.add([passage]))
            timed("search", lambda: collection.search(vectors=query))
            timed("delete", lambda passage=passage: collection.delete([passage.id]))
            number += 1
            done.wait(0.2)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        done.set()
        thread.join()


def measure_shift(database: Any, docs: Vectors, other: Vectors, encoder: Remembered) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table before adding, after adding and after the rebuild, and durations of the rebuild and of concurrent calls."""
    exact = exact_rankings(docs, other)
    say({"state": "exact rankings are there"})
    collection = database.create_collection("moved", encoder=encoder)
    collection.auto_compact = False
    collection.add(docs.passages)
    say({"state": "cpp_docs is added"})
    collection.build(stage=lambda name, done, _total: None if done else say({"state": "building", "stage": name}))
    rows = [{"state": "only cpp_docs", "docs": measured(collection, docs.queries, exact["alone"]), **drift(collection)}]
    say(rows[-1])
    collection.add(other.passages)

    def row(state: str) -> dict[str, Any]:
        found = {name: measured(collection, data.queries, exact[name]) for name, data in (("docs", docs), ("other", other))}
        return {"state": state, **found, **drift(collection)}

    rows.append(row("medquad added"))
    say(rows[-1])
    stages, stage = stage_clock()
    started = time.perf_counter()
    with working(collection, other.passages, other.queries[0]) as spent:
        collection.rebuild(stage=stage)
        seconds = time.perf_counter() - started
    rows.append(row("rebuilt"))
    say(rows[-1])
    concurrent = {
        name: {"times": len(times), "median": float(np.median(times)), "longest": max(times)} for name, times in spent.items()
    }
    return rows, {"seconds": seconds, "stages": stages, "concurrent": concurrent}


def control(database: Any, docs: Vectors, encoder: Remembered) -> dict[str, Any]:
    """Control: trained on a random half, to which the other is added."""
    order = np.random.default_rng(_SEED).permutation(len(docs.passages)).tolist()
    half = len(order) // 2
    collection = database.create_collection("control", encoder=encoder, language=None)
    collection.auto_compact = False
    collection.add([docs.passages[place] for place in order[:half]])
    collection.build()
    collection.add([docs.passages[place] for place in order[half:]])
    row = {"state": "control: the other half of cpp_docs added", **drift(collection)}
    say(row)
    return row


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The table as Markdown."""
    head = (
        "",
        "passages",
        "centroids",
        "fidelity@10, cpp_docs",
        "medquad",
        "error of training",
        "of added",
        "ratio",
        "rebuild_pays",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        error, added = row["quantization_error"], row["added_quantization_error"]
        columns = [row["state"], f"{row['passages']:,}", f"{row['centroids']:,}"]
        columns += [f"{row[name]:.3f}" if name in row else "" for name in ("docs", "other")]
        columns += [
            f"{error:.5f}",
            f"{added:.5f}" if added else "",
            f"{added / error:.3f}" if added else "",
            str(row["rebuild_pays"]),
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--passages", type=int, help="of each set, to try the script; then nothing is written")
    parser.add_argument("--note", default="", help="a line for the result, such as what else the machine did")
    options = parser.parse_args()
    docs, other = (first(vectors.load(name, options.cache), options.passages, name) for name in ("cpp_docs", "medquad"))
    encoder = Remembered([docs, other])
    with serving() as database:
        rows, rebuilt = measure_shift(database, docs, other, encoder)
        rows.append(control(database, docs, encoder))
    concurrent = rebuilt["concurrent"]
    lines = [
        "# Drift",
        "",
        f"`python benchmarks/drift.py --cache DIR`; a collection is trained on cpp_docs, {len(docs.passages):,}",
        f"passages; medquad, {len(other.passages):,}, is added, and it is rebuilt. {len(docs.queries)} queries of each;",
        "fidelity@10 is against exact MaxSim over the collection. Errors are the mean of 1 - cosine between a vector and its",
        "decoded code.",
        "",
        machine.as_lines(machine.describe()),
        *([f"{options.note}"] if options.note else []),
        "",
        *table(rows),
        "",
        f"The rebuild took {rebuilt['seconds']:.0f} s (vectors from the cache, not from a model), of it "
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in rebuilt["stages"].items())
        + ".",
        "Meanwhile a passage was repeatedly added, searched and deleted:",
        "",
        "| | count | median ms | longest ms |",
        "|---|---|---|---|",
        *(f"| {name} | {one['times']} | {one['median']:.0f} | {one['longest']:.0f} |" for name, one in concurrent.items()),
    ]
    text = "\n".join([*lines, ""])
    if options.passages is None:
        (RESULTS / "drift.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
