"""Training with XTR's loss at several k_train, beside controls of the same budget, by retrieval of several numbers of tokens.

    python benchmarks/k_train.py --work DIR [--rows "k_train 320" …] [--seeds 0 1 2] [--trained adapter|projection|all] [--trial]

Tuples of a positive and one hard negative are mined by words (BM25), as ColXTR's are. The transformer of MiniLM is frozen, and its
outputs are computed once; an adapter and the projection are trained. The controls differ in the loss alone: XTR's loss when every
token is retrieved, which is the contrastive loss of mean MaxSim, and ColBERTv2's without a teacher. Measured are exact MaxSim and
XTR's score from exactly the best k' tokens of a set, by products with all its tokens; and how many of the retrieved tokens are of a
relevant passage, and are the query's own token. Every row and seed is a folder of DIR: finished ones are reused. Writes
benchmarks/results/k_train.md; --trial runs two steps of every row in DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine
from benchmarks.distillation import taught
from benchmarks.run import RESULTS, say
from benchmarks.states import States, cut
from benchmarks.training import EVALUATION, FIRST, NDCG, TRAINING, UNTRAINED, Judged, in_bf16, judged, mine_into, once
from benchmarks.training import Size as Measured
from pgretrieval.encode import load_encoder
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.evaluate.metrics import query_metrics, run_from_ranking
from pgretrieval.train.mining import MiningOptions
from pgretrieval.train.models import Trained
from pgretrieval.train.retrievers import Aim, Objective, train_retriever
from pgretrieval.train.run import MODEL, REPORT_FILE, RunOptions
from pgretrieval.train.tuples import TrainingSet, read_training_set
from pgretrieval.types import Float32Array, Int64Array

_DEPTH = 10
_EVERY = 10**9
_RATES_OF = 100  # retrieved tokens
_SPECIAL = ("[CLS]", "[SEP]")
MAXSIM = "MaxSim"


@dataclass(frozen=True)
class Size:
    """Size of the measurement; `TRIAL` only tests that everything runs."""

    queries: int = 300  # of each training set
    mined_passages: int = 10_000
    depth: int = 100
    passage_tokens: int = 96
    epochs: float = 4.0
    learning_rate: float = 1e-3
    measured_queries: int = 150
    measured_passages: int = 1_000
    k_tokens: tuple[int, ...] = (100, 1_000, 10_000)
    steps: int | None = None


TRIAL = Size(20, 300, 10, 32, measured_queries=5, measured_passages=100, k_tokens=(100, 500), steps=2)


@dataclass(frozen=True)
class Row:
    """One row: loss, retrieved tokens of a batch, queries of a batch."""

    objective: Objective = "xtr"
    k_train: int | None = _EVERY
    batch: int = 48


CONTROL = "control: every token retrieved"
ROWS = {
    **{f"k_train {count}": Row(k_train=count) for count in (32, 128, 320, 2048)},
    CONTROL: Row(),
    "control: ColBERTv2's loss": Row("colbert", None),
    "k_train 320, batch 16": Row(k_train=320, batch=16),
    "control: every token retrieved, batch 16": Row(batch=16),
}


@dataclass(frozen=True)
class Place:
    """Folder and settings of one call."""

    work: Path
    size: Size
    trained: Trained
    states: States | None

    def folder(self, name: str, seed: int) -> Path:
        """Folder of a row."""
        return self.work / self.trained / name.replace(",", "").replace(":", "").replace("'", "").replace(" ", "-") / f"seed-{seed}"


def main() -> None:
    """Train, measure and report the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for tuples, states, models and measurements")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=EVALUATION, default=EVALUATION, help="that models are measured on")
    parser.add_argument("--trained", choices=("adapter", "projection", "all"), default="adapter")
    parser.add_argument("--trial", action="store_true", help="two steps of everything")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    states = None if given.trained == "all" else States(given.work / "states.pt")
    place = Place(given.work, TRIAL if given.trial else Size(), given.trained, states)
    for seed in given.seeds:
        for name in (UNTRAINED, *given.rows):
            started = time.perf_counter(), time.process_time()
            if name != UNTRAINED:
                train(place, name, seed)
            for part in given.sets:
                measured(place, name, seed, part)
            took = round(time.perf_counter() - started[0], 1), round(time.process_time() - started[1], 1)
            say({"row": name, "seed": seed, "seconds, of the clock and the processor": took})
            write(place, given.sets, given.trial)


def write(place: Place, sets: Sequence[str], trial: bool) -> None:
    """Write the page of what has been measured."""
    page = report(place, sets)
    (place.work / "k_train.md").write_text(page, encoding="utf-8")
    if not trial:
        (RESULTS / "k_train.md").write_text(page, encoding="utf-8")


def mined(place: Place) -> list[TrainingSet]:
    """Tuples of all training sets, mined by words unless they exist."""
    for name in TRAINING:
        if not (place.work / "mined" / name).exists():
            data = taught(name, place.size.queries, place.size.mined_passages)
            options = MiningOptions(2, place.size.depth, source="words")
            mine_into(place.work / "mined" / name, "none", data.passages, data.queries, data.qrels, options)
    return [read_training_set(place.work / "mined" / name) for name in TRAINING]


def train(place: Place, name: str, seed: int) -> None:
    """Train a row unless it exists."""
    folder, row, size = place.folder(name, seed), ROWS[name], place.size
    if (folder / REPORT_FILE).exists():
        return
    aim = Aim(row.objective, distil=False, k_train=row.k_train, query_tokens=48, passage_tokens=size.passage_tokens)
    options = RunOptions(
        epochs=size.epochs,
        steps=size.steps,
        batch=row.batch,
        learning_rate=size.learning_rate if place.states else size.learning_rate / 50,
        seed=seed,
        device="cpu",
        precision="bf16",
        save_every=_EVERY,
    )
    base = place.states.model() if place.states else FIRST
    once(folder, partial(train_retriever, mined(place), base=base, aim=aim, trained=place.trained, options=options))


def measured(place: Place, name: str, seed: int, part: str) -> dict[str, dict[str, float]]:
    """Values by query of a row's model, or of the untrained encoder, on a set, unless they exist."""
    kept = place.folder(name, 0 if name == UNTRAINED else seed) / f"{part}.json"
    if not kept.exists():
        source = FIRST if name == UNTRAINED else str(place.folder(name, seed) / MODEL)
        encoder = cut(place.states.encoder(source) if place.states else load_encoder(source, "cpu"), place.size.passage_tokens)
        size = Measured(measured_queries=place.size.measured_queries, measured_passages=place.size.measured_passages)
        found = measure(judged(part, size), encoder, place.size.k_tokens)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
        if place.states and name == UNTRAINED:
            place.states.save()
    held: dict[str, dict[str, float]] = json.loads(kept.read_text())
    return held


def measure(data: Judged, encoder: Any, k_tokens: Sequence[int]) -> dict[str, dict[str, float]]:
    """By query: nDCG@10 of exact MaxSim and of XTR's score from k tokens, and the rates of the retrieved tokens."""
    texts, asked = [passage.encoded_text for passage in data.passages], list(data.queries.values())
    with in_bf16():
        queries, documents = encoder.encode_query(asked), encoder.encode_document(texts)
    words = encoder.query_tokens(asked), encoder.document_tokens(texts)
    numbers = {word: number for number, word in enumerate(sorted({token[0] for side in words for text in side for token in text}))}
    ids = [passage.id for passage in data.passages]
    held = Tokens(
        np.concatenate(documents).T.copy(),
        np.concatenate([[0], np.cumsum([len(rows) for rows in documents])]).astype(np.int64),
        np.array([numbers[token[0]] for text in words[1] for token in text]),
    )
    found: dict[str, dict[str, float]] = {}
    for (key, grades), query, tokens in zip(((key, data.qrels[key]) for key in data.queries), queries, words[0], strict=True):
        gold = np.array([grades.get(one, 0) > 0 for one in ids])
        asked_for = np.array([numbers[token[0]] for token in tokens if token[0] not in _SPECIAL], dtype=np.int64)
        usual = np.array([token[0] not in _SPECIAL for token in tokens])
        for how, scores, rates in scored(held, query, k_tokens, usual, asked_for, gold):
            best = run_from_ranking([ids[place] for place in np.argsort(-scores, kind="stable")[:_DEPTH].tolist()])
            [value] = query_metrics(NDCG, {key: grades}, {_DEPTH: {key: best}}).values()
            found.setdefault(how, {})[key] = value[key]
            for rate, share in rates.items():
                found.setdefault(rate, {})[key] = share
    return found


@dataclass(frozen=True)
class Tokens:
    """The tokens of all passages: vectors (dim, tokens), offsets of the passages, numbers of the words."""

    vectors: Float32Array
    offsets: Int64Array
    words: Int64Array


def scored(
    held: Tokens, query: Float32Array, k_tokens: Sequence[int], usual: np.ndarray, asked_for: Int64Array, gold: np.ndarray
) -> Iterator[tuple[str, Float32Array, dict[str, float]]]:
    """Scores of all passages by MaxSim and from each number of retrieved tokens, and with `_RATES_OF` the rates of these.

    A passage's best token for a query token is retrieved if any is, so the k-th similarity decides which maxima count; it also
    takes the place of the others.
    """
    similar = query @ held.vectors
    best = np.maximum.reduceat(similar, held.offsets[:-1], axis=1)
    yield MAXSIM, best.mean(axis=0), {}
    left = similar
    for count in sorted(k_tokens, reverse=True):
        count = min(count, left.shape[1])
        left = np.partition(left, left.shape[1] - count, axis=1)[:, -count:]
        last = left[:, :1]
        scores = np.where((best >= last).any(axis=0), np.maximum(best, last).mean(axis=0), -np.inf)
        rates = {}
        if count == _RATES_OF:
            row, column = np.nonzero(similar[usual] >= last[usual])
            owner = np.searchsorted(held.offsets, column, side="right") - 1
            rates = {"gold": float(gold[owner].mean()), "lexical": float((held.words[column] == asked_for[row]).mean())}
        yield f"k' {count}", scores.astype(np.float32), rates


def report(place: Place, sets: Sequence[str]) -> str:
    """All rows that have been measured, with as many seeds as there are, beside the control and the untrained encoder."""
    settings = ", ".join(f"{key} {value}" for key, value in {**asdict(place.size), **machine.describe()}.items())
    done = {name: _seeds(place, name, sets) for name in (UNTRAINED, *ROWS)}
    done = {name: seeds for name, seeds in done.items() if seeds}
    kinds = [MAXSIM, *(f"k' {count}" for count in place.size.k_tokens)]
    lines = [
        "# XTR's k_train",
        "",
        "`python benchmarks/k_train.py --work DIR`" + ("" if place.trained == "adapter" else f" `--trained {place.trained}`"),
        "",
        f"{settings}; trained: {place.trained}.",
        "",
        f'nDCG@10, mean of the seeds; in brackets the difference to the row "{CONTROL}" with the same batch, by',
        "the mean of the same seeds, and its 95 % interval over queries. k' tokens are retrieved for each query token, by products",
        f"with all tokens; the last retrieved score replaces missing ones. Training queries are of {', '.join(TRAINING)};",
        "of the measured sets, scifact alone lends training queries, other than those measured.",
    ]
    for part in sets:
        lines += ["", f"## {part}", "", "| | seeds | " + " | ".join(kinds) + " |", "|---|---|" + "---|" * len(kinds)]
        lines += [
            f"| {name} | {len(seeds)} | " + " | ".join(_cell(place, name, seeds, part, kind, done) for kind in kinds) + " |"
            for name, seeds in done.items()
        ]
    lines += [
        "",
        f"## The first {_RATES_OF} retrieved tokens",
        "",
        "Shares of a relevant passage (gold), and of the query's own token (lexical), without [CLS] and [SEP].",
        "",
        "| | " + " | ".join(f"{part}, {rate}" for rate in ("gold", "lexical") for part in sets) + " |",
        "|---|" + "---|" * (2 * len(sets)),
    ]
    for name, seeds in done.items():
        cells = [_rate(place, name, seeds, part, rate, done) for rate in ("gold", "lexical") for part in sets]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## The last loss and the share of a batch's tokens that are retrieved",
        "",
        "| | loss | share |",
        "|---|---|---|",
    ]
    for name, seeds in done.items():
        if name != UNTRAINED:
            losses = [json.loads((place.folder(name, seed) / REPORT_FILE).read_text())["losses"] for seed in seeds]
            share = np.mean([loss.get("retrieved_share", 1) for loss in losses])
            lines.append(f"| {name} | {np.mean([loss['loss'] for loss in losses]):.3f} | {share:.2%} |")
    return "\n".join(lines) + "\n"


def _seeds(place: Place, name: str, sets: Sequence[str]) -> list[int]:
    """Seeds of a row that have been measured on all sets."""
    folders = sorted(place.folder(name, 0).parent.glob("seed-*"))
    return [int(one.name[5:]) for one in folders if all((one / f"{part}.json").exists() for part in sets)]


def _values(place: Place, name: str, seeds: Sequence[int], part: str, kind: str) -> np.ndarray:
    """(seeds, queries)."""
    held = [measured(place, name, seed, part)[kind] for seed in seeds]
    return np.array([[one[key] for key in sorted(one)] for one in held])


def _cell(place: Place, name: str, seeds: Sequence[int], part: str, kind: str, done: dict[str, list[int]]) -> str:
    values = _values(place, name, seeds, part, kind)
    other = CONTROL if name == UNTRAINED or ROWS[name].batch == Row.batch else f"{CONTROL}, batch {ROWS[name].batch}"
    shared = [seed for seed in seeds if seed in done.get(other, ())] if name != UNTRAINED else done.get(other, [])
    if name == other or not shared:
        return f"{values.mean():.4f}"
    ours = values.mean(axis=0) if name == UNTRAINED else _values(place, name, shared, part, kind).mean(axis=0)
    found = paired_bootstrap(_values(place, other, shared, part, kind).mean(axis=0).tolist(), ours.tolist())
    return f"{values.mean():.4f} ({found.mean:+.4f}: {found.low:+.4f} … {found.high:+.4f})"


def _rate(place: Place, name: str, seeds: Sequence[int], part: str, rate: str, done: dict[str, list[int]]) -> str:
    return _cell(place, name, seeds, part, rate, done).replace("0.", ".")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
