"""Parts of ANNCUR, each compared with what the paper has in its place, on one matrix of scores and without a database.

    python benchmarks/factorised.py --synthetic
    python benchmarks/factorised.py --work DIR [--data wsd_wordnet] [--items 1500] [--anchor-queries 250] [--tested 50]

Anchor items by selection, and the one that held-out queries prefer; recall by numbers of anchor queries and anchor items; the plain
pseudo-inverse, also of the matrix without its items' means; the baselines itemCUR and fixedITEM, for which items are queries; one
split of a budget for all depths and one for each; ranks of scores in single precision. The cross-encoder and its scores are those
of benchmarks/entities.py, stored in DIR. Writes benchmarks/results/factorised-DATA.md and .json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import entities, machine
from benchmarks.quick import AllPairs
from benchmarks.run import RESULTS, say
from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import PLAIN, REGULARISATIONS, Decomposed, Regularisation
from pgretrieval.anncur.selection import AUTOMATIC, Selection, choose_anchors
from pgretrieval.anncur.solving import Solved, anchors_for, solve
from pgretrieval.train.run import RunOptions

Matrix = NDArray[np.float64]
Places = NDArray[np.int64]

DEPTHS = (1, 10, 50, 100)
COSTS = (50, 100, 200, 500)
COLUMNS = tuple(f"{k}@{cost}" for k in DEPTHS for cost in COSTS if k <= cost)
SELECTIONS: tuple[Selection, ...] = ("greedy", "top", "random")
ANCHOR_QUERIES = (25, 50, 100, 200)
ANCHOR_ITEMS = (25, 50, 100, 200)
ITEM_QUERIES = 60
RETRIEVED = 100
_SINGLE_PRECISION = (100, 300)  # pairs of so many queries and items are scored again in single precision


def cur(rows: Matrix, anchors: Places, given: Matrix) -> Matrix:
    """Estimates (queries, items) from `given` anchor scores c: c pinv(R[:, anchors]) R for rows R (anchor queries, items)."""
    return given @ np.linalg.pinv(rows[:, anchors]) @ rows


def centred_cur(rows: Matrix, anchors: Places, given: Matrix) -> Matrix:
    """The same of the rows without the mean score of each item, which is added again."""
    mean = rows.mean(axis=0)
    return cur(rows - mean, anchors, given - mean[anchors]) + mean


def ridged_cur(rows: Matrix, anchors: Places, given: Matrix) -> Matrix:
    """`cur` with an inverse that damps singular values, by a hundredth of the first."""
    return given @ Decomposed(rows[:, anchors]).inverse(Regularisation("ridge", 0.01)) @ rows


def fixed_items(item_rows: Matrix, given: Matrix) -> Matrix:
    """fixedITEM: an item's vector has its scores with the anchor items as queries; `item_rows` is (anchor items, items)."""
    return given @ item_rows


def found(estimated: Matrix, exact: Matrix, anchors: Places, cost: int, k: int) -> NDArray[np.float64]:
    """Share of the exact k best among the anchors and the best by estimate that `cost` calls score, for each query."""
    order = estimated.copy()
    order[:, anchors[:cost]] = np.inf
    scored = np.argsort(-order, axis=1, kind="stable")[:, :cost]
    best = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    shares: NDArray[np.float64] = (best[:, :, None] == scored[:, None, :]).any(axis=2).mean(axis=1)
    return shares


def two_steps(solved: Solved, rows: Matrix, exact: Matrix, first: int) -> Matrix:
    """Estimates of a search that scores the `first` anchors."""
    anchors = solved.anchors[:first]
    model = QueryModel(solved.intersection, solved.error**2)
    whole = first == len(solved.anchors)
    vectors = exact[:, anchors] if whole else model.of_anchors(np.arange(first), exact[:, anchors])
    return vectors @ (solved.inverse @ rows)


def searched(solved: Solved, rows: Matrix, exact: Matrix) -> dict[str, float]:
    """Mean recall of searches with the learnt split, by depth and cost."""
    means = {}
    for cost in COSTS:
        first = anchors_for(cost, solved.split, len(solved.anchors))
        estimated = two_steps(solved, rows, exact, first)
        for k in (depth for depth in DEPTHS if depth <= cost):
            means[f"{k}@{cost}"] = float(found(estimated, exact, solved.anchors[:first], cost, k).mean())
    return means


def selections(rows: Matrix, exact: Matrix, seeds: int) -> list[dict[str, Any]]:
    """Recall by selection, with what searches of the held-out queries find by it."""
    measured = []
    for queries in (count for count in ANCHOR_QUERIES if count <= len(rows)):
        for seed in range(seeds):
            some = np.ascontiguousarray(rows[np.random.default_rng(seed).permutation(len(rows))[:queries]])
            for selection in SELECTIONS:
                choose = partial(choose_anchors, count=min(100, queries), selection=selection, seed=seed)
                solved = solve(some, choose, seed)
                row = {"anchor_queries": queries, "seed": seed, "selection": selection, "held_out": solved.searched}
                measured.append({**row, "recall": searched(solved, some, exact)})
                say(measured[-1])
    return measured


def chosen_by_held_out(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each number of anchor queries and seed the row that "auto" takes, the first of equals."""
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in (row for row in measured if row["selection"] in AUTOMATIC):
        groups.setdefault((row["anchor_queries"], row["seed"]), []).append(row)
    return [max(some, key=lambda row: round(row["held_out"], 4)) for some in groups.values()]


def numbers(rows: Matrix, exact: Matrix, seeds: int) -> dict[str, list[list[float]]]:
    """10@k_i + 100 for numbers of anchor queries (rows) and anchor items (columns): random anchors and the plain inverse, the
    paper's, and greedy ones and the regularised inverse.
    """
    ways = {"paper": ("random", (PLAIN,)), "ours": ("greedy", REGULARISATIONS)}
    table: dict[str, list[list[float]]] = {}
    for name, (selection, regularisations) in ways.items():
        for queries in ANCHOR_QUERIES:
            line = []
            for items in ANCHOR_ITEMS:
                shares = []
                for seed in range(seeds):
                    some = np.ascontiguousarray(rows[np.random.default_rng(seed).permutation(len(rows))[:queries]])
                    choose = partial(choose_anchors, count=items, selection=selection, seed=seed)
                    solved = solve(some, choose, seed, regularisations)
                    estimated = exact[:, solved.anchors] @ solved.inverse @ some
                    shares.append(found(estimated, exact, solved.anchors, items + RETRIEVED, 10).mean())
                line.append(float(np.mean(shares)))
            table.setdefault(name, []).append(line)
        say({name: table[name]})
    return table


def baselines(rows: Matrix, item_rows: Matrix, items: Places, exact: Matrix) -> dict[str, dict[str, float]]:
    """Recall with the same anchor items, half of each cost: `item_rows` (anchor items, items) has their scores as queries."""
    measured: dict[str, dict[str, float]] = {}
    for cost in COSTS:
        anchors = items[: min(cost // 2, len(item_rows))]
        given, of_items = exact[:, anchors], item_rows[: len(anchors)]
        ways = {
            "CUR, plain inverse": cur(rows, anchors, given),
            "the same, centred": centred_cur(rows, anchors, given),
            "CUR, ridge .01": ridged_cur(rows, anchors, given),
            "itemCUR": cur(item_rows, anchors, given),
            "itemCUR, ridge .01": ridged_cur(item_rows, anchors, given),
            "fixedITEM": fixed_items(of_items, given),
            "popular items": np.repeat(rows.mean(axis=0, keepdims=True), len(exact), axis=0),
        }
        for name, estimated in ways.items():
            first = anchors if name != "popular items" else anchors[:0]
            for k in (depth for depth in DEPTHS if depth <= cost):
                measured.setdefault(name, {})[f"{k}@{cost}"] = float(found(estimated, exact, first, cost, k).mean())
    return measured


def splits(rows: Matrix, exact: Matrix, seeds: int) -> dict[str, dict[str, float]]:
    """Recall with the split that held-out queries prefer for a budget, or for a budget and a depth, and with the best for tests."""
    measured: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(rows))
        held, fitting = rows[order[: len(rows) // 5]], np.ascontiguousarray(rows[order[len(rows) // 5 :]])
        solved = solve(fitting, partial(choose_anchors, count=min(200, len(fitting)), selection="greedy", seed=seed), seed)
        for cost in COSTS:
            counts = sorted({min(max(1, round(share * cost / 10)), len(solved.anchors)) for share in range(1, 10)})
            depths = [depth for depth in DEPTHS if depth <= cost]
            learnt, tested = (
                np.array(
                    [
                        [found(two_steps(solved, fitting, part, n), part, solved.anchors[:n], cost, k).mean() for k in depths]
                        for n in counts
                    ]
                )
                for part in (held, exact)
            )
            together = int(np.argmax(learnt.mean(axis=1)))
            for place, k in enumerate(depths):
                ways = {"by budget": together, "by budget and k": int(np.argmax(learnt[:, place]))}
                ways["best for the tests"] = int(np.argmax(tested[:, place]))
                for name, way in ways.items():
                    measured.setdefault(name, {}).setdefault(f"{k}@{cost}", []).append(float(tested[way, place]))
    return {name: {column: float(np.mean(values)) for column, values in some.items()} for name, some in measured.items()}


def ranks(scores: NDArray[np.float32]) -> dict[str, int]:
    """Ranks of scores (queries, items) as they are and without the items' means: numpy's in single precision, and above .001."""
    single = scores.astype(np.float32)
    parts = {"": single, ", centred": single - single.mean(axis=0, dtype=np.float64).astype(np.float32)}
    return {
        f"{name}{kind}": int(np.linalg.matrix_rank(part.astype(np.float64) if tolerance else part, rtol=tolerance))
        for kind, part in parts.items()
        for name, tolerance in (("numpy's", None), ("above .001 of the first", 1e-3))
    }


def measure(known: entities.Matrix, item_rows: Matrix, items: Places, single: NDArray[np.float32], seeds: int) -> dict[str, Any]:
    """All parts of one matrix."""
    scores = known.scores.astype(np.float64)
    rows, exact = scores[: known.anchors], scores[list(known.tested)]
    return {
        "items": len(known.items),
        "anchor_queries": known.anchors,
        "tested": len(known.tested),
        "item_queries": len(items),
        "sizes": {"anchor_queries": ANCHOR_QUERIES, "anchor_items": ANCHOR_ITEMS},
        "ranks": {
            f"all {rows.shape}": ranks(known.scores[: known.anchors]),
            **{
                f"{name} {single.shape}": ranks(part)
                for name, part in (
                    ("the first", known.scores[: single.shape[0], : single.shape[1]]),
                    ("in single precision", single),
                )
            },
        },
        "selections": selections(rows, exact, seeds),
        "numbers": numbers(rows, exact, seeds),
        "baselines": baselines(rows, item_rows, items, exact),
        "splits": splits(rows, exact, seeds),
    }


def page(results: dict[str, Any]) -> str:
    """All tables."""
    asked, tested = results["anchor_queries"], results["tested"]
    lines = [
        "# Parts of a factorisation",
        "",
        f"`{results['command']}`",
        "",
        machine.as_lines(results["machine"]),
        "",
        f"{results['items']:,} items, {asked} anchor queries, {tested} test queries. k@cost is the share of the exact k best among "
        "what so many calls score, those of anchor items included.",
        "",
        "Rank of the scores:",
        "",
        *_table("scores", results["ranks"]),
        "",
        "Anchor items by selection, at most 100, the mean of all depths and costs; held-out is the recall of searches for held-out "
        "anchor queries, by which `auto` chooses:",
        "",
        *_selections(results["selections"]),
    ]
    for name, said in (
        ("paper", "random anchor items and the plain pseudo-inverse, as in the paper"),
        ("ours", "greedy anchor items and the regularised inverse"),
    ):
        lines += [
            "",
            f"10@kᵢ + {RETRIEVED} by numbers of anchor queries and anchor items, {said}:",
            "",
            *_table("anchor queries", _by_number(results["numbers"][name], **results["sizes"])),
        ]
    lines += [
        "",
        f"Baselines, half of the calls, and at most {results['item_queries']}, for the same random anchor items. Anchor queries of "
        f"itemCUR are {results['item_queries']} items, of fixedITEM the anchor items. Popular items have the highest mean score "
        "and take all calls:",
        "",
        *_table(
            "estimate", {name: {column: some.get(column) for column in COLUMNS} for name, some in results["baselines"].items()}
        ),
        "",
        "Split of the budget, greedy anchor items, learnt from a fifth of the anchor queries; the last row is the paper's choice:",
        "",
        *_table("split", {name: {column: some.get(column) for column in COLUMNS} for name, some in results["splits"].items()}),
    ]
    return "\n".join([*lines, ""])


def _by_number(cells: list[list[float]], anchor_queries: Sequence[int], anchor_items: Sequence[int]) -> dict[str, dict[str, float]]:
    return {
        f"{queries}": {f"{items} anchor items": cell for items, cell in zip(anchor_items, line, strict=True)}
        for queries, line in zip(anchor_queries, cells, strict=True)
    }


def _table(first: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    columns = list(next(iter(rows.values())))
    lines = [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*lines, *(f"| {name} | {' | '.join(_cell(cells[column]) for column in columns)} |" for name, cells in rows.items())]


def _cell(value: float | None) -> str:
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def _selections(measured: Sequence[dict[str, Any]]) -> list[str]:
    rows: dict[str, dict[str, Any]] = {}
    preferred = chosen_by_held_out(measured)
    ways = {**{name: [row for row in measured if row["selection"] == name] for name in SELECTIONS}, "auto": preferred}
    for queries in sorted({row["anchor_queries"] for row in measured}):
        cells: dict[str, Any] = {}
        for name, some in ways.items():
            those = [row for row in some if row["anchor_queries"] == queries]
            cells[name] = float(np.mean([np.mean(list(row["recall"].values())) for row in those]))
            cells[f"{name}, held-out"] = float(np.mean([row["held_out"] for row in those]))
        chosen = [row["selection"] for row in preferred if row["anchor_queries"] == queries]
        rows[f"{queries}"] = {**cells, **{f"auto takes {name}": chosen.count(name) for name in AUTOMATIC}}
    return _table("anchor queries", rows)


def of_synthetic(anchors: int, tested: int, items: int) -> tuple[entities.Matrix, Matrix, Places, NDArray[np.float32]]:
    """Generated scores, also of items as queries."""
    known = entities.synthetic(anchors, tested, items)
    chosen = np.random.default_rng(0).choice(items, max(COSTS) // 2, replace=False)
    return known, entities.synthetic_items(anchors, tested, items, chosen), chosen, known.scores[:anchors]


def of_entities(options: argparse.Namespace) -> tuple[entities.Matrix, Matrix, Places, NDArray[np.float32]]:
    """The scores of a cross-encoder trained on mentions, for items drawn by seed."""
    work: Path = options.work / options.data
    whole = entities.read_entities(options.data, options.items)
    made = entities.mixed(entities.mined(work, whole, 16))
    run = RunOptions(epochs=1.0, steps=options.steps, batch=16, learning_rate=2e-4, precision="bf16", save_every=100)
    model = entities.trained(work, made, "cls", entities.base_of(options.work, 3), run, 32)
    data = replace(whole, items=whole.items[: options.items])
    known, _, _ = entities.scored(work, data, model, options.anchor_queries, options.tested)
    texts = [item.encoded_text for item in known.items]
    chosen = np.random.default_rng(0).choice(len(texts), ITEM_QUERIES, replace=False)
    kept = work / f"item-queries-{len(texts)}.npz"
    if not kept.exists():
        queries, items = _SINGLE_PRECISION
        of_items = AllPairs(model).scores([texts[place] for place in chosen], texts)
        single = AllPairs(model, single=True).scores(known.queries[:queries], texts[:items])
        np.savez(kept, of_items=of_items, single=single)
    with np.load(kept) as stored:
        return known, stored["of_items"].astype(np.float64), chosen, stored["single"]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", action="store_true", help="made-up scores instead of a cross-encoder's")
    parser.add_argument("--work", type=Path, help="folder for tuples, models and scores, kept between runs")
    parser.add_argument("--data", default="wsd_wordnet", help="test collection of entities and mentions")
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--anchor-queries", type=int, default=250)
    parser.add_argument("--tested", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if not options.synthetic and options.work is None:
        parser.error("give --work or --synthetic")
    words = ["DIR" if before == "--work" else word for before, word in zip(sys.argv, sys.argv[1:], strict=False)]
    origin = {"command": " ".join(["python benchmarks/factorised.py", *words]), "machine": machine.describe()}
    sizes = options.anchor_queries, options.tested, options.items
    given = of_synthetic(*sizes) if options.synthetic else of_entities(options)
    known, item_rows, items, single = given
    results = origin | measure(known, item_rows, items, single, options.seeds)
    stem = "factorised-synthetic" if options.synthetic else f"factorised-{options.data}-{options.items}"
    (RESULTS / f"{stem}.json").write_text(json.dumps(results) + "\n")
    (RESULTS / f"{stem}.md").write_text(page(results))


if __name__ == "__main__":
    main()
