"""A constant number of vectors per passage: which pooling keeps the quality of all tokens on texts that it was not made from.

    python benchmarks/constant.py --cache DIR [--sets scifact ...] [--ways "hierarchical" ...]

The transformer is frozen: pooling is computed from cached token vectors, and trained poolings see only these, the queries of
another set, or spans of the measured set's own passages as queries, and the scores that all tokens give. nDCG@10 by exact MaxSim
without quantisation, beside all tokens with the paired interval over queries. Rows are stored one by one in
benchmarks/results/constant.json and not repeated; constant.md is written from all of them.
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
import torch
from torch import Tensor, nn

from benchmarks import machine, vectors
from benchmarks.pooled import mean_of_parts
from benchmarks.run import RESULTS, Measured, say, unit
from pgretrieval.encode.modules import ConstPooling
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.evaluate.metrics import parse_metrics, query_metrics, run_from_ranking
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array, Int64Array

SETS = ("scifact", "stackexchange_small", "cpp_docs")
SIZES = (32, 16, 64, 128)
SEEDS = (0, 1, 2)
TRAINED_ON = ("stackexchange_small", "scifact")
AT_MOST = 2_000, 10_000
WHOLE = "all tokens"
_LENGTH = 256
_DEPTH = 10
_HARD = 50  # passages, the best by all tokens, that a training draws a query's others from
_PASSAGES = 128  # of a training step
_QUERIES_AT_ONCE = 100
_POOLED_AT_ONCE = 256
_SPANS, _SPAN = 500, 12  # a set's own passages as queries, and their tokens
_MINUTES_PER_ROW = 1.2
_AT_ONCE = 64  # passages of one product
_NDCG = parse_metrics("nDCG@10")
_FILE = RESULTS / "constant.json"
_STOP_WORDS = (
    "a an and are as at be but by for from had has have he her his i if in into is it its me my no not of on or our she so that "
    "the their them then there these they this to us was we were what when where which who will with you your"
)

Pooled = tuple[Float32Array, Int64Array]


@dataclass(frozen=True)
class Recipe:
    """A training of ConstBERT's pooling with a frozen transformer.

    `loss` is "kl" or "mse" between the scores of all tokens and of pooled ones, over a query's `ways` passages, or over the
    `batch`; "kl" multiplies scores by `scale`. `labels` adds cross-entropy over the batch with the judged passage as the target.
    """

    loss: str = "kl"
    ways: int = 8
    scale: float = 1.0
    batch: bool = False
    labels: bool = False
    rate: float = 3e-4
    steps: int = 300

    @property
    def name(self) -> str:
        """The settings in words."""
        scale = f" × {self.scale:g}" if self.loss == "kl" else ""
        what = f"{self.loss.upper()}{scale} over {'the batch' if self.batch else f'{self.ways} ways'}"
        return f"{what}{' and labels' if self.labels else ''}, rate {self.rate:g}"


_BEST = Recipe(scale=5, batch=True)
ABLATIONS = (
    Recipe(ways=2, labels=True),
    Recipe(ways=2),
    Recipe(ways=8),
    Recipe(ways=8, scale=5),
    Recipe(ways=8, scale=5, labels=True),
    Recipe(loss="mse"),
    Recipe(loss="mse", batch=True),
    _BEST,
    replace(_BEST, rate=1e-4),
    replace(_BEST, rate=1e-3),
    replace(_BEST, rate=3e-3),
)


@dataclass(frozen=True)
class Lessons:
    """Queries of a training, places of each one's relevant passages, and (queries, passages) scores by all tokens."""

    queries: list[Float32Array]
    relevant: list[list[int]]
    scores: Float32Array


class Data:
    """A set in memory, with all that its ways share."""

    def __init__(self, name: str, cache: Path) -> None:
        self.name, self._kept = name, cache / "constant" / name
        self.vectors = vectors.load(name, cache, at_most=AT_MOST)
        self.documents = np.asarray(self.vectors.documents)
        self.offsets = self.vectors.document_offsets
        self._kept.mkdir(parents=True, exist_ok=True)

    def array(self, place: int) -> Float32Array:
        """(tokens, dim) of a passage."""
        found: Float32Array = unit(self.documents[self.offsets[place] : self.offsets[place + 1]].astype(np.float32))
        return found

    def arrays(self) -> Iterator[Float32Array]:
        """(tokens, dim) of each passage."""
        return map(self.array, range(len(self.offsets) - 1))

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """An array computed once."""
        file = self._kept / f"{name}.npy"
        if not file.exists():
            np.save(file.with_suffix(".new.npy"), make())
            file.with_suffix(".new.npy").rename(file)
        return np.load(file)

    def whole(self) -> Float32Array:
        """(queries, passages) scores by all tokens."""
        found: Float32Array = self.kept("whole", lambda: scores(self, (unit(self.documents.astype(np.float32)), self.offsets)))
        return found

    def judged(self) -> Lessons:
        """The set's queries, some of them without a relevant passage."""
        ids = {passage.id: place for place, passage in enumerate(self.vectors.passages)}
        grades = (self.vectors.qrels[query].items() for query in self.vectors.query_ids)
        relevant = [[ids[key] for key, grade in found if grade > 0 and key in ids] for found in grades]
        return Lessons(self.vectors.queries, relevant, self.whole())

    def spans(self) -> Lessons:
        """Spans of the set's own passages: queries without labels."""
        random = np.random.default_rng(0)
        long = np.flatnonzero(np.diff(self.offsets) > _SPAN)
        places = random.choice(long, min(_SPANS, len(long)), replace=False).tolist()
        queries = []
        for place in places:
            tokens = self.array(place)
            start = int(random.integers(len(tokens) - _SPAN))
            queries.append(tokens[start : start + _SPAN])
        whole = self.kept("spans", lambda: maxsim_many(queries, unit(self.documents.astype(np.float32)), self.offsets))
        return Lessons(queries, [[place] for place in places], whole)

    def tree(self) -> Float32Array:
        """The merges of Ward's clustering of each passage's tokens, (tokens - passages, 4)."""
        from scipy.cluster.hierarchy import linkage

        none = np.empty((0, 4))
        found: Float32Array = self.kept(
            "ward", lambda: np.concatenate([linkage(one, "ward") if len(one) > 1 else none for one in self.arrays()]).astype("f4")
        )
        return found

    def padded(self, places: Int64Array) -> tuple[Tensor, Tensor]:
        """(passages, 256, dim) and (passages, 256), the mask."""
        made = np.zeros((len(places), _LENGTH, self.documents.shape[1]), dtype=np.float32)
        mask = np.zeros((len(places), _LENGTH), dtype=bool)
        for row, place in enumerate(places.tolist()):
            found = self.documents[self.offsets[place] : self.offsets[place + 1]][:_LENGTH]
            made[row, : len(found)], mask[row, : len(found)] = found, True
        return torch.from_numpy(made), torch.from_numpy(mask)

    def skipped(self, words: bool) -> np.ndarray:
        """(tokens,): those that are punctuation, or also stop words."""
        from pgretrieval.encode.minilm import load_transformer

        tokenizer = load_transformer("float32").tokenizer
        vectors.save_token_ids(self.vectors)
        listed = [*string.punctuation, *(_STOP_WORDS.split() if words else ())]
        ids = np.load(self.vectors.folder / "document_tokens.npy")
        found: np.ndarray = np.isin(ids, tokenizer.convert_tokens_to_ids(listed))
        return found


def scores(data: Data, pooled: Pooled) -> Float32Array:
    """(queries, passages) exact MaxSim, of equal numbers of vectors without their offsets."""
    queries, (rows, offsets) = data.vectors.queries, pooled
    counts = np.unique(np.diff(offsets))
    if len(counts) == 1:
        made = torch.from_numpy(rows).unflatten(0, (-1, int(counts[0])))
        return np.concatenate(
            [_of_equal(queries, made[first : first + _AT_ONCE]) for first in range(0, len(made), _AT_ONCE)], axis=1
        )
    parts = [queries[start : start + _QUERIES_AT_ONCE] for start in range(0, len(queries), _QUERIES_AT_ONCE)]
    return np.concatenate([maxsim_many(part, *pooled) for part in parts])


def _of_equal(queries: list[Float32Array], pooled: Tensor) -> Float32Array:
    parts = [queries[start : start + _QUERIES_AT_ONCE] for start in range(0, len(queries), _QUERIES_AT_ONCE)]
    return np.concatenate([batch_scores(pooled, part).numpy() for part in parts])


def ndcg(data: Data, found: Float32Array) -> list[float]:
    """nDCG@10 of each query."""
    order = np.argsort(-found, axis=1, kind="stable")[:, :_DEPTH]
    ids = [passage.id for passage in data.vectors.passages]
    keys = data.vectors.query_ids
    run = {key: run_from_ranking([ids[place] for place in row]) for key, row in zip(keys, order.tolist(), strict=True)}
    [values] = query_metrics(_NDCG, {key: data.vectors.qrels[key] for key in keys}, {_DEPTH: run}).values()
    return [values[key] for key in keys]


def joined(arrays: Iterator[Float32Array]) -> Pooled:
    """Concatenated vectors and offsets."""
    made = list(arrays)
    return np.concatenate(made), np.concatenate([[0], np.cumsum([len(one) for one in made])])


def clusters(data: Data, count: int) -> Pooled:
    """Means of at most `count` clusters of each passage's tokens, by Ward's criterion."""
    from scipy.cluster.hierarchy import fcluster

    tree = data.tree().astype(np.float64)

    def each() -> Iterator[Float32Array]:
        for place, tokens in enumerate(data.arrays()):
            start = data.offsets[place] - place
            if len(tokens) > count:
                labels = fcluster(tree[start : start + len(tokens) - 1], count, "maxclust")
                sums = np.zeros((labels.max(), tokens.shape[1]), dtype=np.float32)
                np.add.at(sums, labels - 1, tokens)
                tokens = unit(sums)
            yield tokens[np.arange(count) % len(tokens)]  # repeated tokens add nothing to MaxSim

    return joined(each())


def kept_tokens(data: Data, skipped: np.ndarray) -> Pooled:
    """The tokens that are not skipped; a passage of skipped ones alone keeps them."""
    parts = (
        tokens[~out] if not out.all() else tokens
        for tokens, out in zip(data.arrays(), np.split(skipped, data.offsets[1:-1]), strict=True)
    )
    return joined(parts)


def projected(data: Data, pooling: ConstPooling) -> Pooled:
    """A pooling by weights, of all passages."""
    total = len(data.offsets) - 1
    parts = []
    with torch.no_grad():
        for start in range(0, total, _POOLED_AT_ONCE):
            padded, mask = data.padded(np.arange(start, min(start + _POOLED_AT_ONCE, total)))
            parts.append(pooling._pooled(padded, mask).numpy())
    made = np.concatenate(parts)
    return made.reshape(-1, made.shape[-1]), np.arange(total + 1) * made.shape[1]


def initial(count: int, dim: int, seed: int, spread: float | None = None) -> ConstPooling:
    """The pooling as it is initialised; `spread` replaces the share of tokens from everywhere."""
    torch.manual_seed(seed)
    pooling = ConstPooling(_LENGTH, count, dim)
    if spread is not None:
        place, slot = torch.arange(_LENGTH), torch.arange(count)[:, None]
        window, everywhere = place * count // _LENGTH == slot, place % count == slot
        pooling.linear.weight.data = 0.05 * (window + spread * everywhere + 0.02 * torch.randn(count, _LENGTH))
    return pooling


def trained(data: Data, lessons: Lessons, recipe: Recipe, count: int, seed: int) -> tuple[ConstPooling, float, float]:
    """A pooling trained on the passages of a set and queries; seconds, and the mean of the last losses."""
    random = np.random.default_rng(seed)
    pooling = initial(count, data.documents.shape[1], seed)
    optimizer = torch.optim.AdamW(pooling.parameters(), lr=recipe.rate, weight_decay=0)
    whole, judged = lessons.scores, lessons.relevant
    best = np.argsort(-whole, axis=1, kind="stable")[:, :_HARD]
    usable = np.array([place for place, found in enumerate(judged) if found])
    per_step = _PASSAGES // recipe.ways
    lost: list[float] = []
    started = time.process_time()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / 20) * (1 - step / recipe.steps)
        chosen = random.choice(usable, per_step, replace=False)
        rows = []
        for query in chosen.tolist():
            others = np.setdiff1d(best[query], judged[query])
            rows.append([random.choice(judged[query]), *random.choice(others, recipe.ways - 1, replace=False)])
        places = np.array(rows).ravel()
        student = batch_scores(pooling._pooled(*data.padded(places)), [lessons.queries[query] for query in chosen.tolist()])
        teacher = torch.from_numpy(whole[chosen][:, places])
        loss = _loss(recipe, student, teacher, np.array([len(lessons.queries[query]) for query in chosen.tolist()]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        lost.append(float(loss.detach()))
    return pooling.eval(), time.process_time() - started, float(np.mean(lost[-20:]))


def batch_scores(pooled: Tensor, queries: list[Float32Array]) -> Tensor:
    """(queries, passages) MaxSim of (passages, vectors, dim)."""
    stacked = torch.from_numpy(np.concatenate(queries))
    owners = torch.from_numpy(np.repeat(np.arange(len(queries)), [len(query) for query in queries]))
    best = (stacked @ pooled.flatten(0, 1).T).unflatten(1, pooled.shape[:2]).amax(dim=2)
    return torch.zeros(len(queries), len(pooled)).index_add(0, owners, best)


def _loss(recipe: Recipe, student: Tensor, teacher: Tensor, lengths: np.ndarray) -> Tensor:
    count = len(student)
    place = torch.arange(count)
    total = torch.zeros(())
    ours, theirs = student, teacher
    if not recipe.batch:
        ours = student.unflatten(1, (count, recipe.ways))[place, place]
        theirs = teacher.unflatten(1, (count, recipe.ways))[place, place]
    if recipe.loss == "kl":
        aim = (recipe.scale * theirs).log_softmax(dim=1)
        total = nn.functional.kl_div((recipe.scale * ours).log_softmax(dim=1), aim, log_target=True, reduction="batchmean")
    elif recipe.loss == "mse":
        total = (((ours - theirs) / torch.from_numpy(lengths)[:, None]) ** 2).mean()
    if recipe.labels:
        total = total + nn.functional.cross_entropy(student, place * recipe.ways)
    return total


@dataclass(frozen=True)
class Way:
    """One row: how vectors are made, and the set that a pooling was trained on, which is not measured."""

    name: str
    make: Callable[[Data], Pooled]
    source: str = ""


def ways(cache: Path, loaded: Callable[[str], Data]) -> Iterator[Way]:
    """All rows, the cheapest and most wanted first."""
    yield Way(WHOLE, lambda data: (unit(data.documents.astype(np.float32)), data.offsets))
    yield from _untrained(32, SEEDS[:1])
    for recipe in ABLATIONS:
        for source in TRAINED_ON:
            yield _of_training(cache, loaded, recipe, 32, 0, source)
    yield _of_own(cache, _BEST, 32)
    for count in SIZES[1:]:
        yield from _untrained(count, SEEDS[:1])
    for count in SIZES[:3]:
        yield from _untrained(count, SEEDS)
    for spread in (0.0, 0.3, 1.0):
        yield Way(
            f"initial, C = 32, spread {spread:g}",
            lambda data, spread=spread: projected(data, initial(32, data.documents.shape[1], 0, spread)),
        )
    yield Way("punctuation skipped", lambda data: kept_tokens(data, data.skipped(words=False)))
    yield Way("punctuation and stop words skipped", lambda data: kept_tokens(data, data.skipped(words=True)))
    for count in SIZES[:3]:
        for seed in SEEDS:
            for source in TRAINED_ON:
                yield _of_training(cache, loaded, _BEST, count, seed, source)


def _untrained(count: int, seeds: tuple[int, ...]) -> Iterator[Way]:
    yield Way(f"means, C = {count}", lambda data: joined(mean_of_parts(one, count) for one in data.arrays()))
    yield Way(f"hierarchical, C = {count}", lambda data: clusters(data, count))
    for seed in seeds:
        yield Way(
            f"initial, C = {count}, seed {seed}",
            lambda data, seed=seed: projected(data, initial(count, data.documents.shape[1], seed)),
        )


def _of_own(cache: Path, recipe: Recipe, count: int) -> Way:
    def make(data: Data) -> Pooled:
        file = cache / "constant" / f"own_{data.name}_{recipe.name}_{count}.pt".replace(" ", "_").replace(",", "")
        return projected(data, _stored(file, lambda: trained(data, data.spans(), recipe, count, 0), count, data))

    return Way(f"trained on spans of its own passages, {recipe.name}, C = {count}, seed 0", make)


def _of_training(cache: Path, loaded: Callable[[str], Data], recipe: Recipe, count: int, seed: int, source: str) -> Way:
    name = f"trained on {source}, {recipe.name}, C = {count}, seed {seed}"
    file = cache / "constant" / f"{name.replace(' ', '_').replace(',', '')}.pt"

    def make(data: Data) -> Pooled:
        source_data = loaded(source)
        return projected(data, _stored(file, lambda: trained(source_data, source_data.judged(), recipe, count, seed), count, data))

    return Way(name, make, source)


def _stored(file: Path, make: Callable[[], tuple[ConstPooling, float, float]], count: int, data: Data) -> ConstPooling:
    """A pooling trained once."""
    pooling = ConstPooling(_LENGTH, count, data.documents.shape[1])
    if not file.exists():
        made, seconds, loss = make()
        torch.save(made.state_dict(), file)
        say({"trained": file.stem, "processor seconds": round(seconds), "loss": loss})
    pooling.load_state_dict(torch.load(file, weights_only=True))
    return pooling


def measure(data: Data, way: Way) -> Measured:
    """nDCG@10, alone and beside all tokens."""
    if way.name == WHOLE:
        found, mean = data.whole(), len(data.documents) / (len(data.offsets) - 1)
    else:
        pooled = way.make(data)
        found, mean = scores(data, pooled), len(pooled[0]) / (len(data.offsets) - 1)
    values = ndcg(data, found)
    before = data.kept("ndcg", lambda: ndcg(data, data.whole())).tolist()
    beside = paired_bootstrap(before, values)
    row: Measured = {"set": data.name, "way": way.name, "vectors": mean, "ndcg": float(np.mean(values))}
    row |= {"share": row["ndcg"] / float(np.mean(before)), "low": beside.low, "high": beside.high, "queries": len(values)}
    return row


def stored_rows() -> list[Measured]:
    """Rows of earlier runs."""
    rows: list[Measured] = json.loads(_FILE.read_text()) if _FILE.exists() else []
    return rows


def table(rows: list[Measured], listed: list[Way]) -> str:
    """All rows by set, and those that are missing."""
    lines = [
        "# A constant number of vectors, the transformer frozen",
        "",
        f"`python benchmarks/constant.py --cache DIR`; {vectors.ENCODER}, exact MaxSim without quantisation, at most",
        f"{AT_MOST[0]:,} queries and {AT_MOST[1]:,} passages of a set. In brackets the difference to all tokens and its paired",
        "95 % interval over queries. Trained rows: ConstBERT's pooling alone, from its initial weights, 300 steps of 128 passages,",
        f"on another set, or with {_SPANS} spans of {_SPAN} tokens of the set's own passages as queries, towards the scores of all",
        "tokens.",
        "",
        machine.as_lines(rows[-1]["machine"]),
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        lines += ["", f"## {name}", "", "| vectors from | vectors | nDCG@10 | of all tokens |", "|---|---|---|---|"]
        for row in (row for row in rows if row["set"] == name):
            change = f" ({row['ndcg'] - row['ndcg'] / row['share']:+.4f}: {row['low']:+.4f} … {row['high']:+.4f})"
            lines.append(f"| {row['way']} | {row['vectors']:.0f} | {row['ndcg']:.4f}{change} | {row['share']:.1%} |")
    known = {(row["set"], row["way"]) for row in rows}
    missing = [f"{name}: {way.name}" for name in SETS for way in listed if way.source != name and (name, way.name) not in known]
    hours = f"{len(missing) * _MINUTES_PER_ROW / 60:.1f}"
    lines += ["", "## Not run", "", f"The command adds these rows, {len(missing)} in all, in about {hours} hours of one core:", ""]
    return "\n".join([*lines, *(f"- {one}" for one in missing), ""])


def main() -> None:
    """Measure the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for token vectors and trained poolings, kept between runs"
    )
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--ways", nargs="+", help="only those whose name begins so")
    options = parser.parse_args()
    described, held = machine.describe(), {}

    def loaded(name: str) -> Data:
        if name not in held:
            held[name] = Data(name, options.cache)
        return held[name]

    listed = list({way.name: way for way in ways(options.cache, loaded)}.values())
    for way in listed:
        for name in options.sets:
            rows = stored_rows()
            known = way.source == name or any((row["set"], row["way"]) == (name, way.name) for row in rows)
            if known or (options.ways and not way.name.startswith(tuple(options.ways))):
                continue
            row = {**measure(loaded(name), way), "machine": described}
            _FILE.write_text(json.dumps([*rows, row], indent=1) + "\n")
            (RESULTS / "constant.md").write_text(table([*rows, row], listed))
            say({key: row[key] for key in ("set", "way", "ndcg", "share")})


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
