"""Gain of training late interaction from MiniLM: contrastive, distilled, XTR, ConstBERT, and the untrained encoder.

    python benchmarks/training.py --work DIR [--stages mine train evaluate] [--models "projection alone" …] [--trial]

Tuples are mined from the training queries of scifact, medquad and tldr_commands with the untrained encoder's index. Models are
trained on them, some with scores of a cross-encoder trained on them first, ConstBERT with those of the unpooled model. All are
measured on scifact's test queries, stackexchange_small and cpp_docs by exact MaxSim, without an index, and from retrieved tokens.
No query of these is trained on. Results in DIR are reused and interrupted trainings resume, so parts can run on several
machines. Writes benchmarks/results/training.md; --trial runs a few steps of everything in DIR.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks import machine
from benchmarks.run import RESULTS, say, serving
from benchmarks.vectors import data_folder, relevant, sample_passages
from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.reading import read_passages
from pgretrieval.encode import load_encoder
from pgretrieval.encode.library import resolve_device
from pgretrieval.errors import PgRetrievalWarning
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.evaluate.metrics import parse_metrics, query_metrics, run_from_ranking
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.numerics.hardware import multiplies_bf16
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.frozen import without_dropout
from pgretrieval.train.mining import MiningOptions, mine
from pgretrieval.train.models import Pooling, Trained, start_model
from pgretrieval.train.retrievers import Aim, Objective, train_retriever
from pgretrieval.train.run import MODEL, REPORT_FILE, Precision, RunOptions
from pgretrieval.train.teachers import LateInteractionTeacher
from pgretrieval.train.tuples import TrainingSet, TrainingTuple, read_training_set, write_training_set
from pgretrieval.types import Float32Array, Int64Array, Passage

TRAINING = {"scifact": "qrels.train.tsv", "medquad": "qrels.tsv", "tldr_commands": "qrels.tsv"}
EVALUATION = ("scifact", "stackexchange_small", "cpp_docs")
STAGES = ("mine", "train", "evaluate")
NDCG = parse_metrics("nDCG@10")
UNTRAINED = "untrained"
FIRST = "minilm@1"
"""The untrained encoder: MiniLM with a projection computed from its vocabulary."""
IMPUTATIONS = ("kth", "zero", "none")
TOKENS = "retrieved tokens"
_DEPTH = 10
_QUERIES_AT_ONCE = 50  # similarities with a block of tokens then fit the caches
_SEED = 0
_PROJECTED = "projection alone"


@dataclass(frozen=True)
class Size:
    """Size of the measurement. The defaults take a few hours on two processor cores; `TRIAL` only tests that everything runs."""

    queries: int = 2_000  # of each training set
    ways: int = 8
    depth: int = 100
    passage_tokens: int = 128
    batch: int = 8
    epochs: float = 1.0
    teacher_epochs: float = 1.0
    measured_queries: int | None = None  # all judged queries
    token_queries: int = 300  # of these, for scores from retrieved tokens
    measured_passages: int = 10_000
    k_tokens: tuple[int, ...] = (100, 1_000)
    steps: int | None = None
    precision: Precision = "bf16"


TRIAL = Size(
    12, 4, 20, passage_tokens=32, batch=4, measured_queries=10, token_queries=5, measured_passages=100, k_tokens=(10, 50), steps=2
)


@dataclass(frozen=True)
class Model:
    """One model to train: loss, teacher, trained parameters, initial model.

    `teacher` is "cross-encoder", "base" (the initial model, by MaxSim of all token vectors), or None for labels only.
    `dropout` increases the time on a CPU by half.
    """

    objective: Objective = "colbert"
    teacher: str | None = None
    trained: Trained = "all"
    vectors: int | None = None
    base: str | None = None
    learning_rate: float = 2e-5
    k_train: int | None = None
    ways: int | None = None
    passage_tokens_times: int = 1
    batch_times: int = 1
    epochs_times: int = 1
    dropout: bool = True


_OF_PROJECTIONS: dict[str, Any] = {"trained": "projection", "learning_rate": 3e-3, "batch_times": 4, "epochs_times": 4}
_POOLED: dict[str, Any] = {
    "teacher": "base",
    "base": _PROJECTED,
    "learning_rate": 1e-4,
    "ways": 2,
    "passage_tokens_times": 2,
    "batch_times": 2,
    "dropout": False,
}

MODELS = {
    _PROJECTED: Model(**_OF_PROJECTIONS),
    "xtr, projection alone": Model(
        "xtr", base=_PROJECTED, k_train=2048, **{**_OF_PROJECTIONS, "learning_rate": 1e-3, "epochs_times": 1}
    ),
    "distilled, projection alone": Model(teacher="cross-encoder", **_OF_PROJECTIONS),
    "contrastive": Model(),
    "distilled": Model(teacher="cross-encoder"),
    "constbert 16": Model(vectors=16, **_POOLED),
    "constbert 32": Model(vectors=32, **_POOLED),
    "constbert 64": Model(vectors=64, **_POOLED),
}


def main() -> None:
    """Run the selected stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for tuples, models and measurements")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sets", nargs="+", choices=EVALUATION, default=EVALUATION, help="that models are measured on")
    parser.add_argument("--device", help="a torch device; by default a GPU where there is one")
    parser.add_argument("--trial", action="store_true", help="a few steps of everything")
    for name, default in asdict(Size()).items():
        several = {"nargs": "+", "type": int} if isinstance(default, tuple) else {"type": int if default is None else type(default)}
        parser.add_argument("--" + name.replace("_", "-"), default=None, **several)
    arguments = vars(parser.parse_args())
    usual = asdict(TRIAL if arguments["trial"] else Size())
    size = Size(**{name: value if arguments[name] is None else arguments[name] for name, value in usual.items()})
    work: Path = arguments["work"]
    for stage in (stage for stage in STAGES if stage in arguments["stages"]):
        started = time.perf_counter()
        if stage == "mine":
            mine_all(work, size)
        elif stage == "train":
            for name in arguments["models"]:
                train(name, work, size, arguments["device"])
        else:
            report = evaluate(work, size, arguments["models"], arguments["sets"], arguments["device"])
            (work / "training.md").write_text(report, encoding="utf-8")
            if not arguments["trial"]:
                (RESULTS / "training.md").write_text(report, encoding="utf-8")
        say({"stage": stage, "seconds": round(time.perf_counter() - started, 1)})


def mine_all(work: Path, size: Size) -> None:
    """Tuples of each training set, mined with the untrained encoder's collection."""
    for name, file in TRAINING.items():
        if (work / "mined" / name).exists():
            continue
        source = data_folder() / name
        qrels = read_qrels(source / file)
        queries_by_id = {key: text for key, text in read_queries(source / "queries.jsonl.gz") if key in qrels}
        keys = sorted(queries_by_id)
        chosen = [keys[place] for place in np.random.default_rng(_SEED).permutation(len(keys))[: size.queries].tolist()]
        judgements = {key: qrels[key] for key in chosen}
        passages = sample_passages(list(read_passages(source / "corpus.jsonl.gz")), relevant(judgements), size.measured_passages)
        options = MiningOptions(size.ways, size.depth, seed=_SEED)
        mine_into(work / "mined" / name, FIRST, passages, {key: queries_by_id[key] for key in chosen}, judgements, options)


def mine_into(
    folder: Path,
    encoder: str,
    passages: list[Passage],
    queries: dict[str, str],
    judgements: dict[str, dict[str, int]],
    options: MiningOptions,
) -> None:
    """Write the tuples that a collection of an encoder mines, or for "none" one that has the same vector for each passage."""
    with serving() as database, warnings.catch_warnings():
        warnings.simplefilter("ignore", PgRetrievalWarning)
        collection = database.create_collection("mined", encoder=None if encoder == "none" else encoder)
        same = [np.eye(1, 48, dtype=np.float32)] * len(passages)  # a build, which makes the index of words, needs vectors
        collection.add(passages, vectors=same if encoder == "none" else None)
        collection.build()
        made = mine(collection, queries, judgements, options=options)
    write_training_set(folder, made)
    say({"mined": folder.name, "tuples": len(made.tuples), "passages": len(made.passages)})


def mined(work: Path) -> list[TrainingSet]:
    """The tuples of all training sets."""
    return [read_training_set(work / "mined" / name) for name in TRAINING]


def trained_teacher(work: Path, size: Size, device: str | None) -> Any:
    """A cross-encoder trained on all tuples by their labels, unless it exists."""
    options = RunOptions(
        epochs=size.teacher_epochs,
        steps=size.steps,
        batch=size.batch,
        learning_rate=5e-5,
        precision=size.precision,
        device=device,
        save_every=100,
    )
    aim = CrossAim(max_tokens=size.passage_tokens + 32)
    once(work / "teacher", partial(train_cross_encoder, mined(work), options=options, aim=aim))
    return load_cross_encoder(work / "teacher" / MODEL, device)


def scored(work: Path, folder: str, ways: int | None, teach: Callable[[], Any]) -> list[TrainingSet]:
    """The same tuples, or the first `ways` passages of each, with a teacher's scores, stored in a folder."""
    if not all((work / folder / name).exists() for name in TRAINING):
        teacher = load_cross_encoder(teach())
        for name, made in zip(TRAINING, mined(work), strict=True):
            cut = [(one, one.passages[:ways]) for one in made.tuples]
            scores = teacher.predict([(one.query, made.passages[key]) for one, keys in cut for key in keys])
            rows = scores.reshape(len(cut), -1).tolist()
            tuples = [TrainingTuple(one.query_id, one.query, keys, tuple(row)) for (one, keys), row in zip(cut, rows, strict=True)]
            settings = {**made.settings, "teacher": folder}
            write_training_set(work / folder / name, TrainingSet(tuple(tuples), made.passages, settings))
            right = float(np.mean([row[0] == max(row) for row in rows]))
            say({"scored": name, "by": folder, "tuples": len(rows), "teacher finds the positive": round(right, 3)})
    return [read_training_set(work / folder / name) for name in TRAINING]


class Unpooled(LateInteractionTeacher):
    """The initial model of a pooled one."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """Scores of pairs; products are computed in single precision."""
        with in_bf16():
            return super().predict(pairs)


def train(name: str, work: Path, size: Size, device: str | None) -> None:
    """Train one model, on tuples with scores if it has a teacher."""
    model = MODELS[name]
    if (_folder(work, name) / REPORT_FILE).exists():
        return
    base = FIRST if model.base is None else str(_folder(work, model.base) / MODEL)
    if model.teacher == "cross-encoder":
        sets = scored(work, "scored", None, lambda: trained_teacher(work, size, device))
    elif model.teacher == "base":
        kept = f"scored-by-{_folder(work, model.base or UNTRAINED).name}-{model.ways}"
        sets = scored(work, kept, model.ways, lambda: Unpooled(base, device))
    else:
        sets = mined(work)
    options = RunOptions(
        epochs=size.epochs * model.epochs_times,
        steps=size.steps,
        batch=size.batch * model.batch_times,
        learning_rate=model.learning_rate,
        precision=size.precision,
        device=device,
        save_every=100,
    )
    aim = Aim(
        model.objective,
        ways=model.ways and min(model.ways, size.ways),
        distil=model.teacher is not None,
        k_train=model.k_train,
        query_tokens=48,
        passage_tokens=size.passage_tokens * model.passage_tokens_times,
    )
    pooling = None if model.vectors is None else Pooling(vectors=model.vectors, tokens=256, shape="tokens")
    started: Any = base if model.dropout else without_dropout(start_model(base, resolve_device(device)))
    once(
        _folder(work, name),
        partial(train_retriever, sets, base=started, aim=aim, pooling=pooling, trained=model.trained, options=options),
    )


def in_bf16() -> Any:
    """Models compute in bf16 if the processor supports it, as "minilm" does by default."""
    return torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16())


def once(folder: Path, run: Callable[..., Any]) -> None:
    """Run a training with progress unless the folder has a finished one."""
    if (folder / REPORT_FILE).exists():
        return

    def tick(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            say({"training": folder.name, "step": done, "of": total})

    report = run(folder, tick=tick)
    say({"trained": folder.name, "steps": report.steps, "seconds": round(report.seconds, 1), "losses": dict(report.losses)})


def _folder(work: Path, name: str) -> Path:
    return work / "models" / name.replace(",", "").replace(" ", "-")


@dataclass(frozen=True)
class Judged:
    """Passages and judged queries of an evaluation set."""

    passages: list[Passage]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def judged(name: str, size: Size) -> Judged:
    """At most a number of queries, in an order drawn by seed, and all relevant passages with at most a number of others."""
    source = data_folder() / name
    qrels = read_qrels(source / "qrels.tsv")
    texts = {key: text for key, text in read_queries(source / "queries.jsonl.gz") if key in qrels}
    keys = sorted(texts)
    chosen = np.random.default_rng(_SEED).permutation(len(keys))[: size.measured_queries].tolist()
    queries = {keys[place]: texts[keys[place]] for place in chosen}
    kept = {key: qrels[key] for key in queries}
    return Judged(
        sample_passages(list(read_passages(source / "corpus.jsonl.gz")), relevant(kept), size.measured_passages), queries, kept
    )


def evaluate(work: Path, size: Size, models: list[str], sets: Sequence[str], device: str | None) -> str:
    """nDCG@10 of the models on the sets, and of earlier runs, each compared with the untrained encoder, as a page of tables."""
    values: dict[str, dict[str, dict[str, float]]] = {}
    vectors: dict[str, dict[str, float]] = {}
    for name in EVALUATION:
        data = judged(name, size) if name in sets else None
        for model in (UNTRAINED, *MODELS):
            kept = work / "measured" / name / f"{_folder(work, model).name}.json"
            if data is not None and model in (UNTRAINED, *models) and not kept.exists():
                source = FIRST if model == UNTRAINED else str(_folder(work, model) / MODEL)
                kept.parent.mkdir(parents=True, exist_ok=True)
                k_tokens = () if "constbert" in model else size.k_tokens
                encoder = load_encoder(source, device)
                kept.write_text(json.dumps(measure(data, encoder, k_tokens, size.token_queries, single=model == UNTRAINED)))
                say({"measured": model, "on": name})
            if not kept.exists():
                continue
            held = json.loads(kept.read_text())
            vectors.setdefault(model, {})[name] = held.pop("vectors")
            for how, by_query in held.items():
                values.setdefault(model if how == "maxsim" else f"{model}: {how}", {})[name] = by_query
    return _page(values, vectors, size)


def measure(data: Judged, encoder: Any, k_tokens: Sequence[int], token_queries: int, *, single: bool) -> dict[str, Any]:
    """nDCG@10 by query of exact MaxSim; of the first queries' scores by `k_tokens` and imputation; of the `single` vector."""
    texts = [passage.encoded_text for passage in data.passages]
    query_texts = list(data.queries.values())
    found: dict[str, Float32Array] = {}
    if single:
        queries, dense_queries = encoder.encode_query_with_dense(query_texts)
        documents, dense = encoder.encode_document_with_dense(texts)
        found["single vector"] = dense_queries @ dense.T
    else:
        with in_bf16():
            queries, documents = encoder.encode_query(query_texts), encoder.encode_document(texts)
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in documents])]).astype(np.int64)
    stacked = np.concatenate(documents)
    parts = [queries[start : start + _QUERIES_AT_ONCE] for start in range(0, len(queries), _QUERIES_AT_ONCE)]
    found["maxsim"] = np.concatenate([maxsim_many(part, stacked, offsets) for part in parts])
    for (count, imputation), scores in xtr_scores(queries[:token_queries], stacked, offsets, k_tokens).items():
        found[f"{count} {TOKENS}, {imputation}"] = scores
    ids = [passage.id for passage in data.passages]
    measured: dict[str, Any] = {"vectors": len(stacked) / len(ids)}
    for how, scores in found.items():
        order = np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH]
        run = {key: run_from_ranking([ids[place] for place in row]) for key, row in zip(data.queries, order.tolist(), strict=False)}
        [measured[how]] = query_metrics(NDCG, {key: data.qrels[key] for key in run}, {_DEPTH: run}).values()
    return measured


def xtr_scores(
    queries: list[Float32Array], vectors: Float32Array, offsets: Int64Array, k_tokens: Sequence[int]
) -> dict[tuple[int, str], Float32Array]:
    """(queries, passages) scores from the k best tokens of each query token, for each k, by imputation.

    "kth": the last retrieved score; "zero": 0; "none": left out of the mean. A passage without a retrieved token has the lowest.
    """
    if not k_tokens:
        return {}
    owners = torch.from_numpy(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
    tokens = torch.from_numpy(vectors)
    scores: dict[tuple[int, str], list[Float32Array]] = {}
    for query in queries:
        values, places = (torch.from_numpy(query) @ tokens.T).topk(min(max(k_tokens), len(vectors)), dim=1)
        for count in k_tokens:
            taken, owned = values[:, :count], owners[places[:, :count]]
            best = torch.full((len(query), len(offsets) - 1), -torch.inf).scatter_reduce(1, owned, taken, "amax")
            retrieved = best.isfinite()
            kept = best.where(retrieved, torch.zeros(()))
            means = {
                "kth": best.where(retrieved, taken[:, -1:]).mean(dim=0),
                "zero": kept.mean(dim=0),
                "none": kept.sum(dim=0) / retrieved.sum(dim=0).clamp(min=1),
            }
            seen = retrieved.any(dim=0)
            for imputation, mean in means.items():
                scores.setdefault((count, imputation), []).append(mean.where(seen, torch.tensor(-torch.inf)).numpy())
    return {key: np.stack(rows) for key, rows in scores.items()}


def _page(values: dict[str, Any], vectors: dict[str, Any], size: Size) -> str:
    """All numbers as a page for benchmarks/results."""
    settings = ", ".join(f"{key} {value}" for key, value in {**asdict(size), **machine.describe()}.items())
    alone = [name for name in values if TOKENS not in name]
    counted = [
        f"| {model} | " + " | ".join(f"{counts[name]:.1f}" if name in counts else "" for name in EVALUATION) + " |"
        for model, counts in vectors.items()
    ]
    lines = [
        "# Training",
        "",
        "`python benchmarks/training.py --work DIR`",
        "",
        f"{settings}.",
        "",
        "nDCG@10 by exact MaxSim; in brackets the difference to the untrained encoder and its 95 % interval.",
        "",
        *_table(alone, values, UNTRAINED),
        "",
        "## From the best tokens of each query token alone",
        "",
        f"The first {size.token_queries} queries of each set; differences are to the untrained encoder's kth of as many tokens.",
        "",
        *[line for count in size.k_tokens for line in _by_tokens(count, values)],
        "## Vectors of a passage, on average",
        "",
        "| model | " + " | ".join(EVALUATION) + " |",
        "|---|" + "---|" * len(EVALUATION),
        *counted,
    ]
    return "\n".join(lines) + "\n"


def _by_tokens(count: int, values: dict[str, Any]) -> list[str]:
    names = [name for name in values if f": {count} {TOKENS}" in name]
    return [*_table(names, values, f"{UNTRAINED}: {count} {TOKENS}, kth"), ""]


def _table(names: list[str], values: dict[str, Any], base: str) -> list[str]:
    lines = ["| model | " + " | ".join(EVALUATION) + " |", "|---|" + "---|" * len(EVALUATION)]
    for name in names:
        cells = [_cell(values[name].get(part), None if name == base else values[base].get(part)) for part in EVALUATION]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(after: dict[str, float] | None, before: dict[str, float] | None) -> str:
    """A mean and its difference; empty if not measured."""
    if after is None:
        return ""
    mean = f"{np.mean(list(after.values())):.4f}"
    if before is None:
        return mean
    found = paired_bootstrap([before[key] for key in before], [after[key] for key in before])
    return f"{mean} ({found.mean:+.4f}: {found.low:+.4f} … {found.high:+.4f})"


if __name__ == "__main__":
    main()
