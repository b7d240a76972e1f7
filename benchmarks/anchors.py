"""Nearest neighbours for a cross-encoder: ANNCUR compared with reranked searches, every method charged for every call.

    python benchmarks/anchors.py --work DIR [--data ncbi_disease_el] [--heads cls emb] [--layers 3] [--anchor-queries 500]
    python benchmarks/anchors.py --synthetic
    python benchmarks/anchors.py --pages

Trains cross-encoders with both heads from MiniLM on the training mentions, with negatives found by late interaction and random
ones. Scores all pairs of anchor and test queries with every item once and stores them in DIR, where the methods' calls are looked
up; milliseconds of a search are measured with the real cross-encoder. Results in DIR are reused, and a page keeps the heads that
are not measured. Writes benchmarks/results/anchors-DATA.md and .json, and docs/pictures/anchors-DATA.svg; the name is
anchors-DATA-N with --items N, and anchors-synthetic.md with --synthetic, for generated scores. With --pages nothing is measured:
the pages are written again from the stored numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgretrieval
from benchmarks import entities, machine, pictures
from benchmarks.entities import KnownScores, Matrix
from benchmarks.run import RESULTS, say, serving
from pgretrieval.anncur.selection import SELECTIONS_OF_PAIRS
from pgretrieval.encode import load_encoder
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.run import RunOptions
from pgretrieval.types import Hit

COSTS = (50, 100, 200, 500, 1000)
DEPTHS = (1, 10, 50, 100)
COLUMNS = tuple(f"{k}@{cost}" for k in DEPTHS for cost in COSTS if k <= cost)
SELECTIONS = ("greedy", "random", "kmeans", "top")
ANCHOR_QUERIES = (100, 300, 500, 2000)
PER_QUERY = (30, 100, 300)
ROUNDS = (2, 10, 20)
_RANK_TOLERANCE = 1e-3  # of the largest singular value
_TIMED = 20
_NEIGHBOURS = (100, 200, 500)
_MIPS = "select id from pgretrieval.candidates_by_anchors(%s, %s::real[], %s)"
_EMBEDDINGS = """
    select passage.key, item.embedding::real[] from pgretrieval.item_embedding as item
    join pgretrieval.collection using (factorization_id)
    join pgretrieval.passage using (collection_id, bucket, passage_id)
    where collection.name = %s
"""
_DIRECTIONS = """
    select item.direction::real[] from pgretrieval.anchor_item as item
    join pgretrieval.collection using (factorization_id)
    where collection.name = %s order by item.place
"""

Method = Callable[[str, int], list[str]]
"""Maps a query and a number of calls to ids by exact score, best first."""
Found = dict[str, list[float]]
"""k@cost -> recall of each test query."""


def recalls(known: Matrix, method: Method) -> Found:
    """Share of the exact k best that a method returns, for each k, cost and test query."""
    place = {item.id: column for column, item in enumerate(known.items)}
    found: Found = {}
    for row in known.tested:
        best = np.argsort(-known.scores[row], kind="stable")[: DEPTHS[-1]]
        for cost in COSTS:
            hits = [place[key] for key in method(known.queries[row], cost)]
            for k in (depth for depth in DEPTHS if depth <= cost):
                found.setdefault(f"{k}@{cost}", []).append(float(np.isin(best[:k], hits[:k]).mean()))
    return found


def methods(collection: pgretrieval.Collection, known: Matrix, scorer: KnownScores, *, encoded: bool) -> dict[str, Method]:
    """The compared methods; repeated searches are cached."""

    def ids(hits: Sequence[Hit]) -> list[str]:
        return [hit.id for hit in hits]

    def cross(query: str, cost: int, **how: Any) -> list[str]:
        return ids(collection.search(query, min(DEPTHS[-1], cost), scorer="cross_encoder", budget=cost, **how))

    def reranked(query: str, cost: int, **how: Any) -> list[str]:
        return ids(collection.search(query, min(DEPTHS[-1], cost), rerank=scorer, rerank_depth=cost, **how))

    compared: dict[str, Method] = {
        "ANNCUR": cross,
        "ANNCUR, 5 rounds": lambda query, cost: cross(query, cost, rounds=5),
        "popular, reranked": popular(known),
    }
    if encoded:
        compared |= {
            "words, reranked": lambda query, cost: reranked(query, cost, generator="text"),
            "single vector, reranked": single_vector(known),
            "late interaction, reranked": reranked,
            "words, then 4 rounds": lambda query, cost: cross(query, cost, rounds=5, generator="text"),
            "late interaction, then 4 rounds": lambda query, cost: cross(query, cost, rounds=5, generator="postings"),
        }
    return {name: cache(method) for name, method in compared.items()}


def single_vector(known: Matrix) -> Method:
    """The nearest items by MiniLM's single vectors, exactly, then their scores."""
    encoder = load_encoder("minilm")
    texts = [known.queries[row] for row in known.tested]
    items = encoder.encode_document_with_dense([item.encoded_text for item in known.items])[1]
    return in_order(known, encoder.encode_query_with_dense(texts)[1] @ items.T)


def popular(known: Matrix) -> Method:
    """The items with the highest mean score over the anchor queries, for any query, then their scores."""
    return in_order(known, known.scores[: known.anchors].mean(axis=0, keepdims=True))


def in_order(known: Matrix, guesses: NDArray[np.float32]) -> Method:
    """Scores the items with the highest estimates (test queries, items), or (1, items) for all queries."""
    nearest = np.argsort(-guesses, axis=1, kind="stable")[:, : COSTS[-1]]
    nearest = np.broadcast_to(nearest, (len(known.tested), nearest.shape[1]))
    rows = {known.queries[row]: (row, near) for row, near in zip(known.tested, nearest, strict=True)}

    def method(query: str, cost: int) -> list[str]:
        row, near = rows[query]
        best = near[:cost][np.argsort(-known.scores[row, near[:cost]], kind="stable")]
        return [known.items[place].id for place in best.tolist()]

    return method


def linking(known: Matrix, relevant: Sequence[frozenset[str]], method: Method, cost: int) -> float:
    """Share of the test queries whose first hit is relevant."""
    firsts = [method(known.queries[row], cost)[:1] for row in known.tested]
    return float(np.mean([bool(first) and first[0] in keys for first, keys in zip(firsts, relevant, strict=True)]))


def exact_linking(known: Matrix, relevant: Sequence[frozenset[str]]) -> float:
    """The same for the cross-encoder's scores of all items."""
    best = known.scores[list(known.tested)].argmax(axis=1).tolist()
    return float(np.mean([known.items[place].id in keys for place, keys in zip(best, relevant, strict=True)]))


def numerical_rank(scores: NDArray[np.float32]) -> int:
    """Number of singular values of (queries, items) above a thousandth of the first."""
    return int(np.linalg.matrix_rank(scores.astype(np.float64), rtol=_RANK_TOLERANCE))


def mips_fidelity(database: Any, collection: pgretrieval.Collection, known: Matrix) -> dict[str, float]:
    """Share of the exact best inner products that SQL returns, by their number, over the test queries.

    Limited to numbers that use the vector index: SQL compares all items if more than a twentieth are requested.
    """
    columns = {item.id: column for column, item in enumerate(known.items)}
    with psycopg.connect(database.url, autocommit=True) as connection:
        anchors = connection.execute("select id from pgretrieval.anchor_items(%s)", [collection.name]).fetchall()
        stored = connection.execute(_EMBEDDINGS, [collection.name]).fetchall()
        embeddings = np.array([row[1] for row in stored])
        directions = np.array([row[0] for row in connection.execute(_DIRECTIONS, [collection.name])])
        neighbours = [wanted for wanted in _NEIGHBOURS if wanted <= len(stored) / 20]
        shares: dict[str, list[float]] = {str(wanted): [] for wanted in neighbours}
        for row in known.tested:
            query = known.scores[row, [columns[key] for (key,) in anchors]]
            exact = [stored[place][0] for place in np.argsort(-(embeddings @ (query @ directions)), kind="stable")]
            for wanted in neighbours:
                found = {key for (key,) in connection.execute(_MIPS, [collection.name, query.tolist(), wanted])}
                shares[str(wanted)].append(len(found.intersection(exact[:wanted])) / wanted)
    return {wanted: float(np.mean(values)) for wanted, values in shares.items()}


class Real:
    """The cross-encoder of the stored scores, run by the package under the same name."""

    fingerprint = KnownScores.fingerprint

    def __init__(self, model: Path) -> None:
        self._scorer = load_cross_encoder(model)

    def predict(self, pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
        """Logits."""
        return self._scorer.predict(pairs)


def timed(collection: pgretrieval.Collection, known: Matrix, real: Real) -> dict[str, dict[str, float]]:
    """Median milliseconds of a search's parts with the real cross-encoder, at each budget."""
    collection.use_cross_encoder(real)
    collection.search(known.queries[known.anchors], 1, scorer="cross_encoder", budget=COSTS[0])  # loads the model
    spent: dict[str, dict[str, float]] = {}
    for cost in COSTS[:-1]:
        parts: dict[str, list[float]] = {"cross-encoder": [], "SQL": [], "rest": []}
        for row in list(known.tested)[:_TIMED]:
            began = time.perf_counter()
            explained = collection.explain(known.queries[row], min(100, cost), scorer="cross_encoder", budget=cost)
            whole = (time.perf_counter() - began) * 1e3
            crossed = explained.milliseconds.get("cross_encoder", 0.0)
            sql = sum(explained.milliseconds.get(name, 0.0) for name in ("load", "anchors", "candidates"))
            for name, value in zip(parts, (crossed, sql, whole - crossed - sql), strict=True):
                parts[name].append(value)
        spent[str(cost)] = {name: float(np.median(values)) for name, values in parts.items()}
    return spent


def counts(known: Matrix) -> list[int]:
    """Numbers of anchor queries to measure, the full number first."""
    return sorted({min(count, known.anchors) for count in (*ANCHOR_QUERIES, known.anchors)}, reverse=True)


def settings(known: Matrix, seeds: int, *, encoded: bool) -> Iterator[tuple[int, str, int]]:
    """Anchor queries, selection and seed of each measured factorisation, the main one first."""
    for count in counts(known):
        for selection in SELECTIONS:
            if selection == "kmeans" and not encoded:
                continue
            for seed in range(seeds if count == known.anchors and selection in ("greedy", "random") else 1):
                yield count, selection, seed


def measure(known: Matrix, model: Path | None, relevant: Sequence[frozenset[str]], anchor_items: int, seeds: int) -> dict[str, Any]:
    """All measurements of one cross-encoder; without a `model` scores are generated."""
    scorer, encoded = KnownScores(known), model is not None
    results: dict[str, Any] = {
        "items": len(known.items),
        "anchor_queries": known.anchors,
        "tested": len(known.tested),
        "ranks": {str(count): numerical_rank(known.scores[:count]) for count in counts(known)},
        "selections": [],
    }
    with serving() as database:
        collection = database.create_collection("items", encoder=entities.KnownRetriever(known) if known.retrieved else "minilm")
        collection.add(known.items)
        collection.build()
        for count, selection, seed in settings(known, seeds, encoded=encoded):
            began = time.perf_counter()
            report = collection.factorize(scorer, known.queries[:count], min(anchor_items, count), selection, seed=seed)
            seconds = time.perf_counter() - began
            main = not results["selections"]  # it is compared with all other methods
            compared = methods(collection, known, scorer, encoded=encoded and main)
            found = {"ANNCUR": recalls(known, compared["ANNCUR"])}
            if main:
                found |= {name: recalls(known, method) for name, method in compared.items() if name not in found}
                results |= {"recall": found, "seconds": seconds, "bytes_per_item": factorized_bytes(collection) / len(known.items)}
                results["accuracy"] = accuracies(known, relevant, compared) if relevant else {}
                if model is not None:
                    results["milliseconds"] = timed(collection, known, Real(model))
                    collection.use_cross_encoder(scorer)
            row = {"anchor_queries": count, "selection": selection, "seed": seed, "anchor_items": report.anchor_items}
            row |= {"rank": report.rank, "condition": report.condition, "held_out_recall": report.held_out_recall}
            means = {name: float(np.mean(values)) for name, values in found["ANNCUR"].items()}
            row["mips_fidelity"] = mips_fidelity(database, collection, known)
            results["selections"].append({**row, "recall": means})
            say(row)
        results["sparse"] = sparse(collection, known, scorer, anchor_items)
    return results


def sparse(collection: pgretrieval.Collection, known: Matrix, scorer: KnownScores, anchor_items: int) -> list[dict[str, Any]]:
    """Recall of AXN, and of ANNCUR with as many calls of its index, in searches of the same cost."""
    rows: list[dict[str, Any]] = []
    last = {"rounds": 5, "generator": "postings"}

    def measured(name: str, calls: int, method: Method) -> None:
        found = {column: float(np.mean(values)) for column, values in recalls(known, method).items()}
        rows.append({"method": name, "index_calls": calls, "recall": found})
        say(rows[-1])

    def search(query: str, cost: int, **how: Any) -> list[str]:
        hits = collection.search(query, min(DEPTHS[-1], cost), scorer="cross_encoder", budget=cost, **how)
        return [hit.id for hit in hits]

    if known.retrieved:
        queries, items = known.retrieved
        measured("retriever, reranked", 0, in_order(known, queries[list(known.tested)] @ items.T))
    else:
        measured("single vector, reranked", 0, single_vector(known))
    for per_query in PER_QUERY:
        calls = known.anchors * per_query
        for selection in SELECTIONS_OF_PAIRS:
            name = f"AXN, {selection} {per_query} per query"
            collection.factorize(scorer, known.queries[: known.anchors], per_query=per_query, selection=selection)
            measured(name, calls, search)
            measured(f"{name}, from the retriever", calls, partial(search, **last))
    for rounds in ROUNDS:
        measured(f"{name}, from the retriever, {rounds} rounds", calls, partial(search, **last | {"rounds": rounds}))
    for count in sorted({equal_queries(known, per_query) for per_query in PER_QUERY}):
        calls = count * len(known.items)
        collection.factorize(scorer, known.queries[:count], min(anchor_items, count))
        for name, how in (("", {}), (", 5 rounds", {"rounds": 5}), (", from the retriever, 5 rounds", last)):
            measured(f"ANNCUR, {count} anchor queries{name}", calls, partial(search, **how))
    return rows


def equal_queries(known: Matrix, per_query: int) -> int:
    """Anchor queries with which ANNCUR's index costs about as many calls as AXN's; at least ten."""
    return min(max(round(known.anchors * per_query / len(known.items)), 10), known.anchors)


def accuracies(known: Matrix, relevant: Sequence[frozenset[str]], compared: dict[str, Method]) -> dict[str, dict[str, float]]:
    """Entity linking by each method and cost, and by the exact scores of all items."""
    found = {name: {str(cost): linking(known, relevant, way, cost) for cost in COSTS} for name, way in compared.items()}
    return {**found, "exact scores of all": dict.fromkeys(map(str, COSTS), exact_linking(known, relevant))}


def factorized_bytes(collection: pgretrieval.Collection) -> int:
    """Bytes of scores, of embeddings and their index, and of the matrix that maps scores to embeddings."""
    tables = collection.stats()["bytes"]
    return sum(tables[name] for name in ("anchor_score", "item_embedding", "factorization"))


def table(measured: dict[str, Found]) -> list[str]:
    """Methods as rows, depth and cost as columns; values of each query are in the JSON file."""
    lines = [f"| k@cost | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, found in measured.items():
        lines.append(f"| {name} | {' | '.join(f'{np.mean(found[column]):.3f}' for column in COLUMNS)} |")
    return lines


def differences(measured: dict[str, Found], own: str) -> list[str]:
    """One way of searching minus the best reranked search of each depth and cost, with an interval over the queries."""
    others = [name for name in measured if name.endswith("reranked")]
    lines = [f"| k@cost | {own} | best reranked | | difference | 95 % interval |", "|---|---|---|---|---|---|"]
    for column in COLUMNS:
        other = max(others, key=lambda name: float(np.mean(measured[name][column])))
        found = paired_bootstrap(measured[other][column], measured[own][column])
        mean, best = (float(np.mean(measured[name][column])) for name in (own, other))
        cells = [column, f"{mean:.3f}", other.removesuffix(", reranked"), f"{best:.3f}", f"{found.mean:+.3f}"]
        lines.append(f"| {' | '.join(cells)} | {found.low:+.3f} … {found.high:+.3f} |")
    return lines


def verdict(measured: dict[str, Found], own: str) -> str:
    """A sentence that counts where one way of searching is better or worse than every reranked search."""
    others = [name for name in measured if name.endswith("reranked")]
    best = {column: max((measured[name][column] for name in others), key=np.mean) for column in COLUMNS}
    compared = {column: paired_bootstrap(values, measured[own][column]) for column, values in best.items()}
    worse = [column for column, found in compared.items() if found.high < 0]
    better = sum(found.low > 0 for found in compared.values())
    named = f" ({', '.join(worse)})" if worse else ""
    return f"Better at {better} of {len(compared)}, worse at {len(worse)}{named}; the intervals of the others contain 0."


def selections(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Recall by the number of anchor queries and the selection; mean and range over several seeds."""
    columns = ("10@100", "100@200", "100@500", "100@1000")
    lines = [
        f"| anchor queries | selection | anchor items | held-out recall | {' | '.join(columns)} | "
        "products, best 100 | best 200 | best 500 |",
        "|---" * (7 + len(columns)) + "|",
    ]
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["anchor_queries"], row["selection"]), []).append(row)
    for (count, selection), some in groups.items():
        cells = []
        for column in columns:
            values = [row["recall"][column] for row in some]
            spread = f" ({min(values):.3f} … {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        cells += [_share_of_products(some, str(wanted)) for wanted in _NEIGHBOURS]
        held = float(np.mean([row["held_out_recall"] for row in some]))
        name = f"{selection}, {len(some)} seeds" if len(some) > 1 else selection
        lines.append(f"| {count} | {name} | {some[0]['anchor_items']} | {held:.3f} | {' | '.join(cells)} |")
    return lines


def _share_of_products(rows: Sequence[dict[str, Any]], wanted: str) -> str:
    found = [row["mips_fidelity"][wanted] for row in rows if wanted in row["mips_fidelity"]]
    return f"{np.mean(found):.3f}" if found else "not measured"


def page(results: dict[str, Any]) -> str:
    """All tables of all cross-encoders."""
    lines = ["# Nearest neighbours for a cross-encoder"]
    for head, one in results.items():
        ranks = ", ".join(f"{rank} of {count}" for count, rank in one["ranks"].items())
        lines += [
            "",
            f"## {head}",
            "",
            f"`{one['command']}`",
            "",
            machine.as_lines(one["machine"]),
            "",
            f"{one['items']:,} items, {one['anchor_queries']} anchor queries, {one['tested']} test queries. Numerical rank, the "
            f"singular values above {_RANK_TOLERANCE} of the first, by anchor queries: {ranks}.",
            "",
            "Top-k-Recall@cost; the maximum is 1:",
            "",
            *table(one["recall"]),
            "",
            "ANNCUR's two steps, the paper's way to search, against the best of the reranked searches at each depth and cost. The "
            "anchor items are greedy, the inverse and the split of the budget are chosen as by default, not as in the paper:",
            "",
            *differences(one["recall"], "ANNCUR"),
            "",
            verdict(one["recall"], "ANNCUR"),
            "",
            "Five rounds with the same factorisation, which are not the paper's:",
            "",
            *differences(one["recall"], "ANNCUR, 5 rounds"),
            "",
            verdict(one["recall"], "ANNCUR, 5 rounds"),
            "",
            "ANNCUR in two steps, by anchors; the right columns are the shares of the best inner products that SQL finds:",
            "",
            *selections(one["selections"]),
        ]
        if one.get("sparse"):
            columns = ("1@100", "10@100", "100@200", "100@500")
            lines += [
                "",
                "Indexes of few calls, AXN beside ANNCUR:",
                "",
                f"| method | calls of the index | {' | '.join(columns)} |",
            ]
            lines.append("|---" * 6 + "|")
            for row in one["sparse"]:
                cells = " | ".join(f"{row['recall'][column]:.3f}" for column in columns)
                lines.append(f"| {row['method']} | {row['index_calls']:,} | {cells} |")
        if one["accuracy"]:
            lines += ["", "Share of relevant first hits:", "", f"| method | {' | '.join(map(str, COSTS))} |", "|---" * 6 + "|"]
            lines += [
                f"| {name} | {' | '.join(f'{values[str(cost)]:.3f}' for cost in COSTS)} |"
                for name, values in one["accuracy"].items()
            ]
            spent = one["milliseconds"]
            lines += ["", "Median milliseconds of a search:", "", "| budget | cross-encoder | SQL | rest |", "|---|---|---|---|"]
            lines += [
                f"| {cost} | " + " | ".join(f"{value:.1f}" for value in parts.values()) + " |" for cost, parts in spent.items()
            ]
            calls = one["items"] * one["anchor_queries"]
            lines += [
                "",
                f"The index costs {calls:,} calls, {one['seconds_each'] * calls:,.0f} seconds of the cross-encoder "
                f"({1 / one['seconds_each']:,.0f} pairs per second), {one['seconds']:.0f} seconds for the rest, and "
                f"{one['bytes_per_item']:,.0f} bytes per item. The error of the quick scores is {one['error']:.4f} of "
                "their deviation.",
            ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Train, score, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", action="store_true", help="made-up scores instead of a cross-encoder's")
    parser.add_argument("--pages", action="store_true", help="write the pages again from the stored numbers")
    parser.add_argument("--work", type=Path, help="folder for tuples, models and scores, kept between runs")
    parser.add_argument("--data", default="ncbi_disease_el", help="test collection of entities and mentions")
    parser.add_argument("--heads", nargs="+", choices=entities.HEADS, default=list(entities.HEADS))
    parser.add_argument("--layers", type=int, default=3, help="of MiniLM's six, for the cross-encoders")
    parser.add_argument("--items", type=int, help="at most so many; all by default")
    parser.add_argument("--anchor-queries", type=int, default=500)
    parser.add_argument("--anchor-items", type=int, default=200)
    parser.add_argument("--tested", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="of random anchor items")
    parser.add_argument("--ways", type=int, default=16, help="passages of a training tuple")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--steps", type=int, help="of training, instead of epochs")
    parser.add_argument("--max-tokens", type=int, default=32, help="of a pair")
    options = parser.parse_args()
    if options.pages:
        for path in sorted(RESULTS.glob("anchors-*.json")):
            path.with_suffix(".md").write_text(page(json.loads(path.read_text())))
        return
    origin = {"command": command(), "machine": machine.describe()}
    if options.synthetic:
        known = entities.synthetic(options.anchor_queries, options.tested, options.items or 5000)
        write({"made-up scores": origin | measure(known, None, [], options.anchor_items, options.seeds)}, "anchors-synthetic")
        return
    if options.work is None:
        parser.error("give --work, --synthetic or --pages")
    work: Path = options.work / options.data
    data = entities.read_entities(options.data, options.items)
    made = entities.mixed(entities.mined(work, data, options.ways))
    run = RunOptions(epochs=options.epochs, steps=options.steps, batch=16, learning_rate=2e-4, precision="bf16", save_every=50)
    base = entities.base_of(options.work, options.layers)
    models = {head: entities.trained(work, made, head, base, run, options.max_tokens) for head in options.heads}
    stem = f"anchors-{options.data}-{options.items}" if options.items else f"anchors-{options.data}"
    kept = RESULTS / f"{stem}.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for head, model in models.items():
        known, seconds_each, error = entities.scored(work, data, model, options.anchor_queries, options.tested)
        relevant = [data.tested[known.queries[row]] for row in known.tested]
        measured = measure(known, model, relevant, options.anchor_items, options.seeds)
        results[head] = origin | measured | {"seconds_each": seconds_each, "error": error}
        write(results, stem)
    pictures.calls(stem)


def command() -> str:
    """The command line, without folders."""
    words = ["DIR" if before == "--work" else word for before, word in zip(sys.argv, sys.argv[1:], strict=False)]
    return " ".join(["python benchmarks/anchors.py", *words])


def write(results: dict[str, Any], stem: str) -> None:
    """Write the page and its numbers."""
    (RESULTS / f"{stem}.json").write_text(json.dumps(results) + "\n")
    (RESULTS / f"{stem}.md").write_text(page(results))


if __name__ == "__main__":
    main()
