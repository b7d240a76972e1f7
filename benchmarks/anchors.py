"""Top-k-Recall@cost of a cross-encoder's exact ranking: ANNCUR, in two steps and in rounds, beside reranked searches.

    python benchmarks/anchors.py --synthetic
    python benchmarks/anchors.py --data ncbi_disease_el --cross-encoder FOLDER --cache DIR

All pairs of anchor and test queries with every item are scored once and kept in DIR, where the methods' calls are looked up.
Every method is charged for every call that it makes: an oracle would have 1 everywhere. Writes benchmarks/results/anchors.md and
.json, or -synthetic of both.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgretrieval
from benchmarks import machine
from benchmarks.run import RESULTS, serving
from benchmarks.vectors import data_folder
from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.types import Hit, Passage

COSTS = (50, 100, 200, 500, 1000)
DEPTHS = (1, 10, 50, 100)
SELECTIONS = ("greedy", "random", "kmeans", "top")
_ITEMS_AT_ONCE = 64


@dataclass(frozen=True)
class Matrix:
    """Exact scores (queries, items); the first `anchors` queries are those that a factorisation may see."""

    items: list[Passage]
    queries: list[str]
    anchors: int
    scores: NDArray[np.float32]

    @property
    def tested(self) -> range:
        """The queries that are measured."""
        return range(self.anchors, len(self.queries))


class KnownScores:
    """A cross-encoder whose scores are in the matrix."""

    fingerprint = "known scores"

    def __init__(self, known: Matrix) -> None:
        self._known = known
        self._queries = {text: row for row, text in enumerate(known.queries)}
        self._items = {item.encoded_text: column for column, item in enumerate(known.items)}

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Looked up."""
        rows, columns = zip(*((self._queries[query], self._items[text]) for query, text in pairs), strict=True)
        return self._known.scores[list(rows), list(columns)]


def synthetic(anchors: int, tested: int, items: int) -> Matrix:
    """60 decaying directions, 15 % of noise, and an offset, as cross-encoders have; the texts mean nothing."""
    rng = np.random.default_rng(0)
    signal = (rng.standard_normal((anchors + tested, 60)) * np.exp(-np.arange(60) / 20)) @ rng.standard_normal((60, items))
    scores = signal + 0.15 * signal.std() * rng.standard_normal(signal.shape) - 5
    passages = [Passage(f"i{number}", f"item {number}") for number in range(items)]
    return Matrix(passages, [f"query {number}" for number in range(anchors + tested)], anchors, scores.astype(np.float32))


def scored(name: str, source: str, cache: Path, anchors: int, tested: int) -> Matrix:
    """All pairs, from the cache or by the cross-encoder, block by block."""
    folder = data_folder() / name
    items = list({item.encoded_text: item for item in entities(folder / "corpus.jsonl.gz")}.values())
    texts = dict(read_queries(folder / "queries.jsonl.gz"))
    train, test = (_distinct(texts[key] for key in read_qrels(folder / file)) for file in ("qrels.train.tsv", "qrels.tsv"))
    order = np.random.default_rng(0).permutation(len(train))[:anchors]
    chosen = [train[place] for place in order.tolist()]
    queries = chosen + [text for text in test if text not in set(chosen)][:tested]
    kept = cache / f"{name}-{Path(source).parent.name}-{Path(source).name}-{anchors}-{len(queries)}.npy"
    if not kept.exists():
        scorer, rows = load_cross_encoder(source), []
        started = time.perf_counter()
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            part = items[start : start + _ITEMS_AT_ONCE]
            pairs = [(query, item.encoded_text) for item in part for query in queries]
            rows.append(scorer.predict(pairs).reshape(len(part), -1))
            rate = scorer.calls / (time.perf_counter() - started)
            print(f"{start + len(part):,} of {len(items):,} items, {rate:,.0f} pairs/s", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate(rows).T)
    return Matrix(items, queries, len(chosen), np.load(kept))


def entities(path: Path) -> Iterator[Passage]:
    """Passages; one with a title alone has that as its text."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            alone = not record["text"].strip()
            yield Passage(record["id"], record["title"] if alone else record["text"], None if alone else record["title"])


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


Method = Callable[[str, int], list[Hit]]


def recalls(known: Matrix, method: Method) -> dict[str, float]:
    """Share of the exact k best that a method returns, for each k and cost, over the tested queries."""
    place = {item.id: column for column, item in enumerate(known.items)}
    found: dict[str, list[float]] = {}
    for row in known.tested:
        best = np.argsort(-known.scores[row], kind="stable")[: DEPTHS[-1]]
        for cost in COSTS:
            hits = [place[hit.id] for hit in method(known.queries[row], cost)]
            for k in (depth for depth in DEPTHS if depth <= cost):
                found.setdefault(f"{k}@{cost}", []).append(float(np.isin(best[:k], hits[:k]).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def methods(collection: pgretrieval.Collection, scorer: KnownScores, *, worded: bool, encoded: bool) -> dict[str, Method]:
    """What is compared: each takes a query and a budget of calls."""

    def cross(query: str, cost: int, **how: Any) -> list[Hit]:
        return collection.search(query, min(DEPTHS[-1], cost), scorer="cross_encoder", budget=cost, **how)

    def reranked(query: str, cost: int, **how: Any) -> list[Hit]:
        return collection.search(query, min(DEPTHS[-1], cost), rerank=scorer, rerank_depth=cost, **how)

    compared: dict[str, Method] = {
        "ANNCUR": cross,
        "ANNCUR, 5 rounds": lambda query, cost: cross(query, cost, rounds=5),
    }
    if worded:
        compared["words, reranked"] = lambda query, cost: reranked(query, cost, candidates="text")
        compared["words, then 4 rounds"] = lambda query, cost: cross(query, cost, rounds=5, candidates="text")
    if encoded:
        compared["late interaction, reranked"] = reranked
        compared["late interaction, then 4 rounds"] = lambda query, cost: cross(query, cost, rounds=5, candidates="postings")
    return compared


def table(title: str, measured: dict[str, dict[str, float]]) -> list[str]:
    """Methods down, depth and cost across."""
    columns = [f"{k}@{cost}" for k in DEPTHS for cost in COSTS if k <= cost]
    lines = ["", f"## {title}", "", f"| k@cost | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, values in measured.items():
        lines.append(f"| {name} | {' | '.join(f'{values[column]:.3f}' for column in columns)} |")
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", action="store_true", help="made-up scores instead of a cross-encoder's")
    parser.add_argument("--data", default="ncbi_disease_el", help="test collection with qrels.train.tsv")
    parser.add_argument("--cross-encoder", help="folder of a trained cross-encoder")
    parser.add_argument("--cache", type=Path, help="folder for scores, kept between runs")
    parser.add_argument("--anchor-queries", type=int, default=500)
    parser.add_argument("--anchor-items", type=int, default=200)
    parser.add_argument("--tested", type=int, default=100)
    parser.add_argument("--items", type=int, default=5000, help="of the synthetic ones")
    parser.add_argument("--encoder", default="none", help="for late interaction: minilm, a name or a folder")
    parser.add_argument("--seeds", type=int, default=1, help="of random anchors, for intervals")
    options = parser.parse_args()
    if options.synthetic:
        known = synthetic(options.anchor_queries, options.tested, options.items)
    elif options.cross_encoder and options.cache:
        known = scored(options.data, options.cross_encoder, options.cache, options.anchor_queries, options.tested)
    else:
        parser.error("give --synthetic, or --cross-encoder and --cache")
    scorer = KnownScores(known)
    encoded = options.encoder != "none" and not options.synthetic
    results: dict[str, Any] = {"machine": machine.describe(), "factorisations": {}}
    with serving() as database:
        collection = database.create_collection("items", encoder=options.encoder if encoded else "none")
        collection.add(known.items)
        if encoded:
            collection.build()
        measured: dict[str, dict[str, float]] = {}
        runs = [(selection, seed) for selection in SELECTIONS for seed in range(options.seeds if selection == "random" else 1)]
        for selection, seed in runs:
            if selection == "kmeans" and not encoded:
                continue
            started = time.perf_counter()
            report = collection.factorize(scorer, known.queries[: known.anchors], options.anchor_items, selection, seed=seed)
            name = selection if selection != "random" else f"random, seed {seed}"
            results["factorisations"][name] = {
                "seconds": time.perf_counter() - started,
                "rank": report.rank,
                "condition": report.condition,
                "held_out_recall": report.held_out_recall,
                "bytes": collection.stats()["bytes"],
            }
            if selection == "greedy":
                compared = methods(collection, scorer, worded=not options.synthetic, encoded=encoded)
                measured |= {way: recalls(known, method) for way, method in compared.items()}
            else:
                measured[f"ANNCUR, {name}"] = recalls(known, methods(collection, scorer, worded=False, encoded=False)["ANNCUR"])
            print(json.dumps(results["factorisations"][name]), file=sys.stderr)
    results["recall"] = measured
    results["numerical_rank"] = int(np.linalg.matrix_rank(known.scores[: known.anchors].astype(np.float64), rtol=1e-3))
    stem = "anchors-synthetic" if options.synthetic else "anchors"
    what = (
        f"{len(known.items):,} items, {known.anchors} anchor queries, {options.anchor_items} anchor items, {len(known.tested)} "
        f"tested queries; {results['numerical_rank']} singular values of the anchor queries' scores are above 1e-3 of the first"
    )
    lines = ["# Nearest neighbours for a cross-encoder", "", what, "", machine.as_lines(results["machine"])]
    lines += table("Top-k-Recall@cost", measured)
    (RESULTS / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / f"{stem}.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
