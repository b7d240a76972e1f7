"""Gain of distillation: a teacher against none, rounds, ways, and what is trained, each with several seeds.

    python benchmarks/distillation.py --work DIR [--size small] [--estimate] [--rows "no teacher" …] [--seeds 0 1 2] [--sets …]

The teacher is a cross-encoder trained on the tuples of more queries than it teaches. Tuples of 64 passages are mined with the
untrained encoder's collection and scored once; a row with fewer ways uses the first of each. Later rounds mine with the row's own
model. Models are measured by exact MaxSim on sets of which scifact alone lends training queries, other than those measured. Every
row and seed is a folder of DIR: finished ones are reused and an interrupted training resumes. The outputs of the frozen transformer
are computed once for all rows that leave it. --estimate times a few steps and prints the hours of each row instead. Writes
benchmarks/results/distillation.md. --size small takes less than an hour: fewer and shorter tuples of at most 16 passages, mined by
words (BM25), and fewer measured passages; --size trial runs two steps of every row in DIR.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine
from benchmarks.run import RESULTS, say
from benchmarks.states import States, cut
from benchmarks.training import (
    EVALUATION,
    FIRST,
    TRAINING,
    UNTRAINED,
    in_bf16,
    judged,
    measure,
    mine_into,
    once,
    relevant,
    sample_passages,
)
from benchmarks.training import Size as Measured
from benchmarks.vectors import data_folder
from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.reading import read_passages
from pgretrieval.encode import load_encoder
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.mining import MiningOptions, Source
from pgretrieval.train.models import Trained
from pgretrieval.train.retrievers import Aim, train_retriever
from pgretrieval.train.run import MODEL, REPORT_FILE, RunOptions
from pgretrieval.train.tuples import TrainingSet, read_training_set, write_training_set
from pgretrieval.types import Passage

_PRECISION = "bf16"
_BEFORE = "untrained encoder"
_SEED = 0


@dataclass(frozen=True)
class Size:
    """Size of the measurement. `teacher_queries` include the taught `queries`; tuples have at most `ways` passages."""

    queries: int = 700  # of each training set
    teacher_queries: int = 2_000
    teacher_ways: int = 8
    depth: int = 500
    ways: int = 64
    source: Source = "tokens"  # of the first round
    passage_tokens: int = 128
    batch: int = 8
    epochs: float = 1.0
    projection_epochs: float = 4.0
    passages: int = 10_000
    measured_queries: int | None = None
    measured_passages: int = 10_000
    measured_tokens: int | None = None  # of a passage
    steps: int | None = None


SIZES = {
    "full": Size(),
    "small": Size(
        queries=100,
        teacher_queries=300,
        teacher_ways=4,
        depth=100,
        ways=16,
        source="words",
        passage_tokens=64,
        measured_queries=150,
        measured_passages=1_000,
        measured_tokens=96,
    ),
    "trial": Size(6, 9, depth=70, passage_tokens=32, batch=2, passages=120, measured_queries=8, measured_passages=120, steps=2),
}


@dataclass(frozen=True)
class Row:
    """One row: whether tuples have a teacher's scores, rounds of mining, passages of a tuple, trained parameters."""

    teacher: bool = True
    rounds: int = 1
    ways: int = 16
    trained: Trained = "projection"


ROWS = {
    "no teacher": Row(teacher=False),
    "distilled": Row(),
    "distilled, 8 ways": Row(ways=8),
    "distilled, 64 ways": Row(ways=64),
    "no teacher, 2 rounds": Row(teacher=False, rounds=2),
    "distilled, 2 rounds": Row(rounds=2),
    "no teacher, adapter": Row(teacher=False, trained="adapter"),
    "distilled, adapter": Row(trained="adapter"),
    "no teacher, all weights": Row(teacher=False, trained="all"),
    "distilled, all weights": Row(trained="all"),
    "distilled, all weights, 2 rounds": Row(rounds=2, trained="all"),
}


@dataclass(frozen=True)
class Place:
    """Folder and settings of one call."""

    work: Path
    size: Size
    device: str | None
    states: States


def main() -> None:
    """Train, measure and report the rows, or estimate their time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for tuples, models and measurements")
    parser.add_argument("--size", choices=SIZES, default="full", help="trial: two steps of everything")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=EVALUATION, default=EVALUATION, help="that models are measured on")
    parser.add_argument("--device", help="a torch device; by default a GPU where there is one")
    parser.add_argument("--estimate", action="store_true", help="print the hours of each row instead")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    place = Place(given.work, SIZES[given.size], given.device, States(given.work / "states.pt"))
    rows = [name for name in given.rows if ROWS[name].ways <= place.size.ways]
    if given.estimate:
        say(estimated(place, rows, given.seeds))
        return
    for part in given.sets:
        measured(place, UNTRAINED, 0, part)
    for name in rows:
        for seed in given.seeds:
            started = time.perf_counter(), time.process_time()
            train(place, name, seed)
            for part in given.sets:
                measured(place, name, seed, part)
            place.states.save()
            took = round(time.perf_counter() - started[0], 1), round(time.process_time() - started[1], 1)
            say({"row": name, "seed": seed, "seconds, of the clock and the processor": took})
            page = report(place, given.size, given.sets)
            (place.work / "distillation.md").write_text(page, encoding="utf-8")
            if given.size != "trial":
                (RESULTS / "distillation.md").write_text(page, encoding="utf-8")


@dataclass(frozen=True)
class Taught:
    """Queries of a training set with their judgements, and the passages that they are mined from."""

    passages: list[Passage]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


@cache
def taught(name: str, queries: int, passages: int) -> Taught:
    """The first queries of a training set in an order drawn by seed, all relevant passages, and others."""
    source = data_folder() / name
    qrels = read_qrels(source / TRAINING[name])
    texts = {key: text for key, text in read_queries(source / "queries.jsonl.gz") if key in qrels}
    keys = sorted(texts)
    chosen = [keys[number] for number in np.random.default_rng(_SEED).permutation(len(keys))[:queries].tolist()]
    kept = {key: qrels[key] for key in chosen}
    corpus = sample_passages(list(read_passages(source / "corpus.jsonl.gz")), relevant(kept), passages)
    return Taught(corpus, {key: texts[key] for key in chosen}, kept)


def mined(place: Place, folder: str, encoder: str, queries: int, ways: int) -> list[TrainingSet]:
    """Tuples of all training sets, mined with an encoder's collection, or first as the size says, unless they exist."""
    source = place.size.source if encoder == FIRST else "tokens"
    for name in TRAINING:
        if not (place.work / folder / name).exists():
            data = taught(name, queries, place.size.passages)
            options = MiningOptions(ways, max(place.size.depth, ways), source=source, seed=_SEED)
            by = "none" if source == "words" else encoder
            mine_into(place.work / folder / name, by, data.passages, data.queries, data.qrels, options)
    return [read_training_set(place.work / folder / name) for name in TRAINING]


def teacher(place: Place) -> Any:
    """A cross-encoder trained on the tuples of more queries than it teaches, unless it exists."""
    folder, size = place.work / "teacher", place.size
    if not (folder / REPORT_FILE).exists():
        sets = mined(place, "mined-for-the-teacher", FIRST, size.teacher_queries, size.teacher_ways)
        options = RunOptions(
            steps=size.steps, batch=size.batch, learning_rate=5e-5, precision=_PRECISION, device=place.device, save_every=100
        )
        once(folder, partial(train_cross_encoder, sets, options=options, aim=CrossAim(max_tokens=size.passage_tokens + 32)))
    return load_cross_encoder(folder / MODEL, place.device)


def scored(place: Place, folder: str, sets: list[TrainingSet], ways: int) -> list[TrainingSet]:
    """The first passages of tuples with the teacher's scores, stored in a folder unless they exist."""
    for name, made in zip(TRAINING, sets, strict=True):
        if (place.work / folder / name).exists():
            continue
        cut = [replace(one, passages=one.passages[:ways]) for one in made.tuples]
        scores = teacher(place).predict([(one.query, made.passages[key]) for one in cut for key in one.passages])
        rows = scores.reshape(len(cut), -1).tolist()
        tuples = tuple(replace(one, scores=tuple(row)) for one, row in zip(cut, rows, strict=True))
        found = {"teacher": _first(rows), _BEFORE: _first(_by_maxsim(place, TrainingSet(tuples, made.passages, {})))}
        write_training_set(place.work / folder / name, TrainingSet(tuples, made.passages, {**made.settings, **found}))
        say({"scored": f"{folder}/{name}", **found})
    return [read_training_set(place.work / folder / name) for name in TRAINING]


def _by_maxsim(place: Place, made: TrainingSet) -> list[list[float]]:
    """Scores of the tuples by the untrained encoder."""
    encoder = cut(place.states.encoder(FIRST), place.size.passage_tokens)
    keys = sorted(made.passages)
    with in_bf16():
        documents = dict(zip(keys, encoder.encode_document([made.passages[key] for key in keys]), strict=True))
        queries = encoder.encode_query([one.query for one in made.tuples])
    return [
        [float((query @ documents[key].T).max(axis=1).sum()) for key in one.passages]
        for query, one in zip(queries, made.tuples, strict=True)
    ]


def _first(rows: Sequence[Sequence[float]]) -> float:
    """Share of rows whose first score is the highest."""
    return round(float(np.mean([row[0] == max(row) for row in rows])), 3)


def folder_of(name: str, seed: int) -> str:
    """Folder of a row below the working folder."""
    return f"rows/{name.replace(',', '').replace(' ', '-')}/seed-{seed}"


def first_round(name: str) -> str:
    """Row with one round and otherwise the same settings."""
    return next(key for key, row in ROWS.items() if row == replace(ROWS[name], rounds=1))


def train(place: Place, name: str, seed: int) -> None:
    """Train a row in its rounds, from the untrained encoder's projection; the first round is that of the row with one round."""
    row, base = ROWS[name], FIRST
    for number in range(1, row.rounds + 1):
        folder = f"{folder_of(first_round(name) if number == 1 else name, seed)}/round-{number}"
        if not (place.work / folder / REPORT_FILE).exists():
            tuples = "mined" if number == 1 else f"{folder_of(name, seed)}/mined-{number}"
            ways = place.size.ways if number == 1 else row.ways
            sets = mined(place, tuples, base, place.size.queries, ways)
            if row.teacher:
                sets = scored(place, f"{tuples}-scored", sets, ways)
            aim = Aim(ways=row.ways, distil=row.teacher, query_tokens=48, passage_tokens=place.size.passage_tokens)
            options = run_options(place, row.trained, seed)
            start = base if row.trained == "all" else place.states.model(base)
            run = partial(train_retriever, sets, base=start, aim=aim, trained=row.trained, options=options)
            once(place.work / folder, run)
        base = str(place.work / folder / MODEL)


def run_options(place: Place, trained: Trained, seed: int) -> RunOptions:
    """Settings of a row's training."""
    size, alone = place.size, trained != "all"
    return RunOptions(
        epochs=size.projection_epochs if alone else size.epochs,
        steps=size.steps,
        batch=size.batch * (4 if alone else 1),
        learning_rate=3e-3 if alone else 2e-5,
        seed=seed,
        device=place.device,
        precision=_PRECISION,
        save_every=100,
    )


def measured(place: Place, name: str, seed: int, part: str) -> dict[str, float]:
    """nDCG@10 by query of a row's last model, or of the untrained encoder, on a set, unless it exists."""
    row = ROWS.get(name, Row())
    kept = place.work / folder_of(name, seed) / f"{part}.json"
    if not kept.exists():
        source = FIRST if name == UNTRAINED else str(place.work / folder_of(name, seed) / f"round-{row.rounds}" / MODEL)
        size = place.size
        data = judged(part, Measured(measured_queries=size.measured_queries, measured_passages=size.measured_passages))
        encoder = load_encoder(source, place.device) if row.trained == "all" and name != UNTRAINED else place.states.encoder(source)
        found = measure(data, cut(encoder, size.measured_tokens), (), 0, single=False)["maxsim"]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    held: dict[str, float] = json.loads(kept.read_text())
    return held


def report(place: Place, size: str, sets: Sequence[str]) -> str:
    """All rows that have been measured, with as many seeds as there are, beside the untrained encoder and without a teacher."""
    settings = ", ".join(f"{key} {value}" for key, value in {**asdict(place.size), **machine.describe()}.items())
    done = {name: found for name in ROWS if (found := _seeds(place, name, sets))}
    lines = [
        "# Distillation",
        "",
        "`python benchmarks/distillation.py --work DIR" + ("" if size == "full" else f" --size {size}") + "`",
        "",
        f"{settings}.",
        "",
        "nDCG@10 by exact MaxSim, mean of the seeds and half their range; in brackets the difference to the untrained encoder, and",
        f"to the same row without a teacher, with 95 % intervals over queries. Training queries are of {', '.join(TRAINING)}; of",
        "the measured sets, scifact alone lends training queries, other than those measured.",
        "",
        "| | seeds | " + " | ".join(sets) + " |",
        "|---|---|" + "---|" * len(sets),
    ]
    for name in (UNTRAINED, *done):
        cells = [_cell(place, name, done, part) for part in sets]
        lines.append(f"| {name} | {len(done.get(name, ()))} | {' | '.join(cells)} |")
    lines += ["", *_of_teacher(place), "", "Not run: " + (", ".join(name for name in ROWS if name not in done) or "none") + "."]
    return "\n".join(lines) + "\n"


def _seeds(place: Place, name: str, sets: Sequence[str]) -> list[int]:
    """Seeds of a row that have been measured on all sets."""
    folders = sorted((place.work / folder_of(name, 0)).parent.glob("seed-*"))
    return [int(one.name[5:]) for one in folders if all((one / f"{part}.json").exists() for part in sets)]


def _of_teacher(place: Place) -> list[str]:
    """How often the teacher and the untrained encoder score the judged passage of a tuple highest."""
    lines = [
        "The judged passage of a tuple has the highest score by",
        "",
        f"| | tuples | ways | teacher | {_BEFORE} |",
        "|---|---|---|---|---|",
    ]
    for name in TRAINING:
        if (place.work / "mined-scored" / name).exists():
            made = read_training_set(place.work / "mined-scored" / name)
            shares = " | ".join(f"{made.settings[key]:.1%}" for key in ("teacher", _BEFORE))
            lines.append(f"| {name} | {len(made.tuples)} | {len(made.tuples[0].passages)} | {shares} |")
    return lines


def _cell(place: Place, name: str, done: dict[str, list[int]], part: str) -> str:
    def by_query(row: str) -> tuple[list[float], list[float]]:
        """Mean over the seeds of each query, and mean over the queries of each seed."""
        values = [measured(place, row, seed, part) for seed in done.get(row, [0])]
        table = np.array([[one[key] for key in sorted(values[0])] for one in values])
        return table.mean(axis=0).tolist(), table.mean(axis=1).tolist()

    queries, means = by_query(name)
    cell = f"{np.mean(means):.4f}"
    if name == UNTRAINED:
        return cell
    others = [UNTRAINED]
    plain = next((key for key, row in ROWS.items() if row == replace(ROWS[name], teacher=False, ways=Row.ways)), None)
    others += [plain] if ROWS[name].teacher and plain in done else []
    found = [paired_bootstrap(by_query(other)[0], queries) for other in others if other is not None]
    return (
        f"{cell} ±{(max(means) - min(means)) / 2:.4f} ("
        + "; ".join(f"{o.mean:+.4f}: {o.low:+.4f} … {o.high:+.4f}" for o in found)
        + ")"
    )


def estimated(place: Place, rows: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Hours of the rows, from a few steps of every kind on a few tuples; measurements and mining are counted as encoding."""
    size = place.size
    few = replace(
        place, work=Path(tempfile.mkdtemp(prefix="distillation-")), size=replace(size, queries=24, teacher_queries=24, passages=400)
    )
    sets = mined(few, "mined", FIRST, few.size.queries, size.ways)
    steps = {trained: _step_seconds(few, sets, trained, seed=0) for trained in get_args(Trained)}
    pairs = [(one.query, sets[0].passages[key]) for one in sets[0].tuples for key in one.passages][:256]
    cross = partial(
        train_cross_encoder, sets, options=RunOptions(steps=3, batch=size.batch, precision=_PRECISION, device=place.device)
    )
    started = time.perf_counter()
    once(few.work / "teacher", partial(cross, aim=CrossAim(max_tokens=size.passage_tokens + 32, ways=size.teacher_ways)))
    cross_step = (time.perf_counter() - started) / 3
    scorer = load_cross_encoder(few.work / "teacher" / MODEL, place.device)
    started = time.perf_counter()
    scorer.predict(pairs)
    pair = (time.perf_counter() - started) / len(pairs)
    started = time.perf_counter()
    encoder = cut(load_encoder(FIRST, place.device), size.measured_tokens)
    measure(judged(EVALUATION[0], Measured(measured_queries=20, measured_passages=400)), encoder, (), 0, single=False)
    passage = (time.perf_counter() - started) / 400
    tuples = {name: sum(len(taught(name, count, size.passages).qrels) for name in TRAINING)
              for name, count in (("taught", size.queries), ("teacher", size.teacher_queries))}  # fmt: skip
    shared = (
        tuples["teacher"] / size.batch * cross_step
        + tuples["taught"] * size.ways * pair
        + (2 * (size.source == "tokens")) * len(TRAINING) * size.passages * passage
    )
    hours: dict[str, Any] = {"shared": round(shared / 3600, 2)}
    for name in rows:
        row = ROWS[name]
        options = run_options(place, row.trained, 0)
        count = options.steps or math.ceil(tuples["taught"] / options.batch * options.epochs)
        rounds = row.rounds - (row.rounds > 1 and first_round(name) in rows)
        training = rounds * count * steps[row.trained] * row.ways / size.ways
        again = (row.rounds - 1) * (len(TRAINING) * size.passages * passage + row.teacher * tuples["taught"] * row.ways * pair)
        hours[name] = round(len(seeds) * (training + again + len(EVALUATION) * size.measured_passages * passage) / 3600, 2)
    return {**hours, "all hours": round(sum(hours.values()), 1)}


def _step_seconds(place: Place, sets: list[TrainingSet], trained: Trained, seed: int) -> float:
    """Seconds of a step with all ways, without the first, which reads every text."""
    options = replace(run_options(place, trained, seed), steps=3, batch=min(run_options(place, trained, seed).batch, 8))
    aim = Aim(ways=place.size.ways, distil=False, passage_tokens=place.size.passage_tokens)
    times: list[float] = []
    train_retriever(
        sets, place.work / f"steps-{trained}", base=FIRST, aim=aim, trained=trained, options=options,
        tick=lambda *_: times.append(time.perf_counter()),
    )  # fmt: skip
    return (times[-1] - times[0]) / (len(times) - 1) * run_options(place, trained, seed).batch / options.batch


if __name__ == "__main__":
    main()
