"""Rules that fuse late interaction, words and single vectors, tried on candidates that are taken once for each set.

    python benchmarks/fusion.py --cache DIR [--sets scifact ...]

Words are scored by the product (BM25 in the embedded server), the others exactly. Candidates are the best of each kind, as in
`hybrid_search`. Numbers that a rule has are fitted on the other sets (leave one set out).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import vectors
from benchmarks.run import serving, unit
from pgretrieval.numerics.maxsim import maxsim_many

SETS = ("scifact", "stackexchange_small", "medquad", "tldr_commands", "wiki_movies", "cpp_docs")
AT_MOST = 300, 5000
"""Judged queries and passages of a larger set, all that are judged among them."""
_LATE, _OTHERS, _WORDS = 128, 64, 1000
_SEED = 0


def gather(name: str, cache: Path) -> Path:
    """Write the candidates of each judged query, with their scores and grades, to a file of the cache."""
    data = vectors.load(name, cache, at_most=AT_MOST)
    made = cache / f"candidates-{name}-{vectors.ENCODER}.npz"
    if made.exists():
        return made
    dense, texts = vectors.load_dense(data, name), vectors.query_texts(name)
    order = np.sort(np.random.default_rng(_SEED).permutation(len(data.queries))[: AT_MOST[0]]).tolist()
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
    """Candidates of one query: scores of each kind, and grades."""

    late: np.ndarray
    words: np.ndarray
    dense: np.ndarray
    grade: np.ndarray
    least: float
    ideal: float
    tokens: int


def read(path: Path) -> list[Candidates]:
    """The candidates of each query of a set."""
    held = np.load(path)
    cut = {key: np.split(held[key], held["offsets"][1:-1]) for key in ("late", "words", "dense", "grade")}
    return [
        Candidates(*(cut[key][row] for key in cut), float(held["least"][row]), float(held["ideal"][row]), int(held["tokens"][row]))
        for row in range(len(held["least"]))
    ]


def ndcg(one: Candidates, scores: np.ndarray) -> float:
    """nDCG@10 of a ranking of the candidates."""
    best = np.argsort(-scores, kind="stable")[:10]
    gained = np.maximum(one.grade[best], 0) / np.log2(2 + np.arange(len(best)))
    return float(gained.sum() / one.ideal) if one.ideal else 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    options = parser.parse_args()
    for each in options.sets:
        print(gather(each, options.cache))
