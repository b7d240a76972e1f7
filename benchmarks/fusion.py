"""Rules that fuse late interaction, words and single vectors, tried on candidates that are taken once for each set.

    python benchmarks/fusion.py --cache DIR --sets scifact:1500 medquad:1500 tldr_commands:5000 ...

Words are scored by the product (BM25 in the embedded server), the others exactly. Candidates are the best of each kind, as in
`hybrid_search`. A set's number limits its passages. The weights of a rule are those that are best on the other sets (leave one
set out): by the mean difference to each set's best component, of which losses beyond half a point count twice. Writes
benchmarks/results/fusion.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, serving, unit
from pgretrieval.evaluate.bootstrap import bootstrap_interval, paired_bootstrap
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.search import fusion
from pgretrieval.search.fusion import DEFAULT_FUSION

Array = NDArray[np.float64]
KINDS = ("late", "words", "dense")
QUERIES = 300
HALF_A_POINT = 0.005
USUAL = np.array(fusion.USUAL)
_LATE, _OTHERS, _WORDS = 128, 64, 1000
_SEED = 0


def gather(name: str, cache: Path, at_most: tuple[int, int]) -> Path:
    """Write the candidates of each judged query, with their scores and grades, to a file of the cache."""
    data = vectors.load(name, cache, at_most=at_most)
    made = cache / f"candidates-{name}-{len(data.passages)}-{vectors.ENCODER}.npz"
    if made.exists():
        return made
    dense, texts = vectors.load_dense(data, name), vectors.query_texts(name)
    order = np.sort(np.random.default_rng(_SEED).permutation(len(data.queries))[: at_most[0]]).tolist()
    place_of = {passage.id: place for place, passage in enumerate(data.passages)}
    with serving() as database:
        collection = database.create_collection("measured")
        one = np.eye(1, 48, dtype=np.float32)  # words are indexed by a build, which needs a vector of each passage
        collection.add(data.passages, vectors=[one] * len(data.passages))
        collection.build()
        found = [collection.text_search(texts[data.query_ids[number]], _WORDS) for number in order]
    block, late = 512, []
    for first in range(0, len(data.passages), block):
        offsets = data.document_offsets[first : first + block + 1]
        some = unit(data.documents[offsets[0] : offsets[-1]].astype(np.float32))
        late.append(maxsim_many([data.queries[number] for number in order], some, offsets - offsets[0]))
    by_late = np.concatenate(late, axis=1)
    by_dense = dense.queries[order] @ dense.documents.T
    rows: dict[str, list[np.ndarray]] = {key: [] for key in ("late", "words", "dense", "grade", "place")}
    least, ideal, tokens = [], [], []
    for row, number in enumerate(order):
        words = np.full(len(data.passages), np.nan)
        for hit in found[row]:
            words[place_of[hit.id]] = hit.score
        listed = [place_of[hit.id] for hit in found[row][:_OTHERS]]
        some = np.unique(
            np.concatenate(
                [np.argsort(-by_late[row], kind="stable")[:_LATE], np.argsort(-by_dense[row], kind="stable")[:_OTHERS], listed]
            ).astype(np.int64)
        )
        grades = data.qrels[data.query_ids[number]]
        rows["late"].append(by_late[row, some])
        rows["dense"].append(by_dense[row, some])
        rows["words"].append(words[some])
        rows["grade"].append(np.array([grades.get(data.passages[place].id, 0) for place in some.tolist()]))
        rows["place"].append(some)
        least.append(found[row][-1].score if len(found[row]) == _WORDS else 0.0)
        best = np.sort(np.maximum(list(grades.values()), 0))[::-1][:10]
        ideal.append(float((best / np.log2(2 + np.arange(len(best)))).sum()))
        tokens.append(len(data.queries[number]))
    np.savez(
        made,
        offsets=np.cumsum([0, *map(len, rows["late"])]),
        **{key: np.concatenate(parts) for key, parts in rows.items()},
        least=least,
        ideal=ideal,
        tokens=tokens,
    )
    return made


@dataclass(frozen=True)
class Candidates:
    """Candidates of all queries of a set: standardised scores (queries, candidates, kinds), and grades.

    `raw` scores are NaN where a passage has none, `filled` ones are as in `hybrid_search`.
    """

    there: NDArray[np.bool_]
    raw: Array
    filled: Array
    standard: Array
    grade: Array
    ideal: Array

    def ndcg(self, scores: Array) -> Array:
        """nDCG@10 of each query."""
        best = np.argsort(-np.where(self.there, scores, -np.inf), axis=1, kind="stable")[:, :10]
        gained = (np.take_along_axis(self.grade, best, 1) / np.log2(2 + np.arange(best.shape[1]))).sum(axis=1)
        return np.divide(gained, self.ideal, out=np.zeros_like(gained), where=self.ideal > 0)

    def components(self) -> list[Array]:
        """nDCG@10 of each query by each kind alone; passages without a word score are not found by words."""
        return [self.ndcg(np.nan_to_num(self.raw[:, :, kind], nan=-np.inf)) for kind in range(3)]


def read(path: Path) -> Candidates:
    """The candidates of a set, in arrays as wide as the most that a query has."""
    held = np.load(path)
    lengths = np.diff(held["offsets"])
    there = np.arange(lengths.max()) < lengths[:, None]
    raw = np.full((*there.shape, 3), np.nan)
    for kind, name in enumerate(KINDS):
        raw[there, kind] = held[name]
    grade = np.zeros(there.shape)
    grade[there] = np.maximum(held["grade"], 0)
    filled = raw.copy()
    words = filled[:, :, 1]
    filled[:, :, 1] = np.where(there & np.isnan(words), held["least"][:, None], words)
    deviation = np.nanstd(filled, axis=1, keepdims=True)
    standard = np.nan_to_num((filled - np.nanmean(filled, axis=1, keepdims=True)) / np.where(deviation > 0, deviation, np.inf))
    return Candidates(there, raw, filled, standard, grade, held["ideal"])


def equal(data: Candidates) -> Array:
    """No rule: each query has the same weights."""
    return np.ones((len(data.ideal), 3))


def stands_out(data: Candidates) -> Array:
    """By what share of itself the best score exceeds the mean, compared with what is usual (queries, kinds)."""
    best, mean = np.nanmax(data.filled, axis=1), np.nanmean(data.filled, axis=1)
    share: Array = np.minimum((best - mean) / np.where(best, np.abs(best), 1), 1)
    return share / USUAL


def gap(data: Candidates) -> Array:
    """How far the first is above the next nine, in deviations."""
    ordered = -np.sort(-np.where(data.there[:, :, None], data.standard, -np.inf), axis=1)
    return np.maximum(ordered[:, 0] - ordered[:, 1:10].mean(axis=1), 0.05)


def agreement(data: Candidates) -> Array:
    """Sum of a kind's correlations with both others over the candidates."""
    products = np.einsum("qck,qcl->qkl", data.standard, data.standard) / data.there.sum(axis=1)[:, None, None]
    return np.maximum(products.sum(axis=2) - np.einsum("qkk->qk", products), 0.05)


def overlap(data: Candidates) -> Array:
    """How many of a kind's best ten are among the best ten of both others."""
    order = np.argsort(-np.where(data.there[:, :, None], data.standard, -np.inf), axis=1)[:, :10]
    among = np.zeros(data.standard.shape)
    np.put_along_axis(among, order, 1, axis=1)
    shared = np.einsum("qck,qcl->qkl", among, among)
    return shared.sum(axis=2) - np.einsum("qkk->qk", shared) + 1


RULES = {
    "weights alone": (equal, (1,)),
    "gap": (gap, (0.5, 1, 2)),
    "agreement": (agreement, (0.5, 1, 2)),
    "overlap": (overlap, (0.5, 1, 2)),
    "stands out": (stands_out, (1, 2, 3, 4)),
}
WEIGHTS = tuple(itertools.product((0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0), (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)))
"""Weights of words and of the single vector, late interaction having 1."""


def value(differences: Sequence[float]) -> float:
    """Mean difference to the best component; losses beyond half a point count twice."""
    found = np.array(differences)
    return float((found + np.minimum(found + HALF_A_POINT, 0)).mean())


def tried(sets: dict[str, Candidates]) -> list[str]:
    """A row for each rule: differences to the best component of each set, by weights of the other sets and of all."""
    best = {name: max(float(each.mean()) for each in data.components()) for name, data in sets.items()}
    lines = []
    for label, (rule, powers) in RULES.items():
        factors = {name: rule(data) for name, data in sets.items()}
        for power in powers:
            found = {
                weights: {
                    name: float(
                        data.ndcg(
                            data.standard @ np.array([1, *weights])
                            if rule is equal
                            else np.einsum("qck,qk->qc", data.standard, np.array([1, *weights]) * factors[name] ** power)
                        ).mean()
                    )
                    - best[name]
                    for name, data in sets.items()
                }
                for weights in WEIGHTS
            }
            chosen = {
                name: max(found, key=lambda some: value([each for other, each in found[some].items() if other != name]))
                for name in sets
            }
            held_out = [found[chosen[name]][name] for name in sets]
            over_all = max(found, key=lambda some: value(list(found[some].values())))
            columns = [label + (f", power {power:g}" if rule is not equal else "")]
            columns += [f"{each:+.3f}" for each in held_out] + [f"{np.mean(held_out):+.3f}", f"{min(held_out):+.3f}"]
            columns += ["1, {:g}, {:g}".format(*over_all)] + [f"{each:+.3f}" for each in found[over_all].values()]
            lines.append("| " + " | ".join(columns) + " |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Take the candidates and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET:PASSAGES")
    options = parser.parse_args()
    sizes = {name: int(count) for name, count in (each.split(":") for each in options.sets)}
    sets = {name: read(gather(name, options.cache, (QUERIES, count))) for name, count in sizes.items()}
    names = " | ".join(sets)
    lines = [
        "# Rules of fusion",
        "",
        f"`python benchmarks/fusion.py --cache DIR --sets {' '.join(options.sets)}`;",
        f"`{vectors.ENCODER}`, {QUERIES} judged queries a set, at most so many passages (all judged ones among them),",
        "candidates taken once: words by the product, the others exactly.",
        "",
        machine.as_lines(machine.describe()),
        "",
        f"| nDCG@10 | {names} |",
        "|---|" + "---|" * len(sets),
        *(f"| {label} | " + " | ".join(cells) + " |" for label, cells in shown(sets).items()),
        "",
        "Differences to the best component, first with the weights that are best on the other sets, then with those best on all:",
        "",
        f"| rule | {names} | mean | worst | weights | {names} |",
        "|---|" + "---|" * (2 * len(sets) + 3),
        *tried(sets),
    ]
    text = "\n".join([*lines, ""])
    (RESULTS / "fusion.md").write_text(text)
    print(text)


def before(data: Candidates) -> Array:
    """nDCG@10 of each query by the weights 1, .4 and .5 alone."""
    return data.ndcg(data.standard @ np.array([1, 0.4, 0.5]))


def now(data: Candidates) -> Array:
    """nDCG@10 of each query by the default of `hybrid_search`."""
    weighted = np.array(DEFAULT_FUSION.weights) * stands_out(data) ** fusion.POWER
    return data.ndcg(np.einsum("qck,qk->qc", data.standard, weighted))


def shown(sets: dict[str, Candidates]) -> dict[str, list[str]]:
    """Means with bootstrap intervals by mode, and differences of the default with paired intervals."""
    rows: dict[str, list[str]] = {}
    for data in sets.values():
        alone, older, default = data.components(), before(data), now(data)
        best = max(alone, key=lambda values: float(values.mean()))
        for label, values in zip(
            (*KINDS, "hybrid, weights 1, .4, .5 alone", "hybrid, default"), (*alone, older, default), strict=True
        ):
            low, high = bootstrap_interval(values.tolist())
            rows.setdefault(label, []).append(f"{values.mean():.3f} ({low:.3f} … {high:.3f})")
        for label, other in (("default − weights alone", older), ("default − best component", best)):
            found = paired_bootstrap(other.tolist(), default.tolist())
            rows.setdefault(label, []).append(f"{found.mean:+.3f} ({found.low:+.3f} … {found.high:+.3f})")
    return rows


if __name__ == "__main__":
    main()
