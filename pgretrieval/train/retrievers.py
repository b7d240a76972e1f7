"""Training of late-interaction models: ColBERTv2's distillation, XTR's retrieval of tokens, ConstBERT's pooling."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pgretrieval.errors import ConfigError
from pgretrieval.train.contents import of_set
from pgretrieval.train.models import ColBert, Layout, Pooling, Trained, start_model
from pgretrieval.train.options import option
from pgretrieval.train.run import RunOptions, RunReport, TrainingParts, run
from pgretrieval.train.tuples import TrainingSet, TrainingTuple, as_columns, checked_ways, column_of, joined, judged_texts
from pgretrieval.types import Tick

Objective = Literal["colbert", "xtr"]


@dataclass(frozen=True, slots=True)
class Aim:
    """Objective of a training and its parameters; None is the objective's default.

    `ways` passages of each tuple are used. Scores are multiplied by `scale`, a teacher's by `teacher_scale`; `distil` decides
    whether a teacher's scores are used if tuples have them. `k_train` is XTR's. Queries and passages are truncated to
    `query_tokens` and `passage_tokens` in training, and `mini_batch` passages are processed at once.
    """

    objective: Objective = option("colbert", "Loss of the training.")
    ways: int | None = option(None, "Passages used of each tuple, 2 to 64.", shown="all")
    scale: float | None = option(None, "Factor of the scores: 1 / temperature.", shown="1; for xtr with unit vectors 20")
    teacher_scale: float = option(1.0, "Factor of the teacher's scores.")
    distil: bool | None = option(None, "Distil the teacher's scores, if tuples have them.", shown="with colbert, not with xtr")
    k_train: float | None = option(
        None,
        "XTR: tokens of the batch that each query token retrieves, or below 1 their share; the paper's is .01 to .02.",
        shown="256",
    )
    query_tokens: int | None = option(None, "Truncate queries to this many tokens in training.", shown="the model's")
    passage_tokens: int | None = option(None, "Truncate passages to this many tokens in training.", shown="the model's")
    mini_batch: int | None = option(None, "Passages of one forward pass.", shown="all")

    def __post_init__(self) -> None:
        if self.objective not in ("colbert", "xtr"):
            msg = f'objective is {self.objective!r}; give "colbert" or "xtr"'
            raise ConfigError(msg)
        if self.k_train is not None and self.objective != "xtr":
            msg = f"k_train is {self.k_train}, but objective {self.objective!r} has none; leave it out, or give objective xtr"
            raise ConfigError(msg)


def train_retriever(
    sets: Sequence[TrainingSet],
    folder: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | Any = "minilm",
    aim: Aim | None = None,
    pooling: Pooling | None = None,
    layout: Layout | None = None,
    trained: Trained = "all",
    options: RunOptions | None = None,
    tick: Tick | None = None,
) -> RunReport:
    """Train a late-interaction model on tuples; `folder` receives all files, the model in `folder/model`.

    `base` is "minilm", a model folder or name, or a `MultiVectorEncoder`. `layout` is the model to build from a bare transformer,
    by default a ColBERT for objective "colbert" and an XTR from a bare T5 for "xtr". `pooling` adds ConstBERT's pooling. `trained`
    "projection" freezes the transformer, and "adapter" also adds an adapter after it. If the training is interrupted, call it again
    with the same arguments: it resumes from its last checkpoint. Other tuples, texts, scores or weights raise an error. `tick` is
    called with the steps done and the total.
    """
    aim, options = aim or Aim(), options or RunOptions()
    if layout is None and aim.objective == "colbert":
        layout = ColBert()
    data = joined(sets)
    ways = checked_ways(data, aim.ways)
    if aim.distil and not data.scored:
        msg = "distil needs a teacher's scores, which the tuples do not have; mine them with a teacher, or leave distil out"
        raise ConfigError(msg)
    scored = data.scored and aim.distil is not False and (aim.objective == "colbert" or aim.distil is True)
    part, rest = split(data, options.held_out, options.seed)
    config = {
        "kind": "constbert" if pooling else aim.objective,
        "base": os.fspath(base) if isinstance(base, (str, os.PathLike)) else type(base).__qualname__,
        "aim": {**asdict(aim), "ways": ways, "distil": scored},
        "pooling": asdict(pooling) if pooling else None,
        "layout": None if layout is None else {"kind": type(layout).__name__, **asdict(layout)},
        "trained": trained,
        "data": {"tuples": len(data.tuples), "passages": len(data.passages), **data.settings},
        "contents": of_set(data),
    }

    def make(device: str) -> TrainingParts:
        from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments

        model = start_model(base, device, pooling=pooling, layout=layout, trained=trained)
        lengths = {"query": aim.query_tokens, "document": aim.passage_tokens}
        loss = _loss(model, aim, scored)
        return TrainingParts(
            _judging(MultiVectorEncoderTrainer, judged_texts(data)),
            MultiVectorEncoderTrainingArguments,
            model,
            loss,
            as_columns(part, ways, scored=scored),
            as_columns(rest, ways, scored=scored) if rest else None,
            {key: length for key, length in lengths.items() if length} or None,
            _prompts(model, ways),
            partial(_retrieved_share, loss) if aim.objective == "xtr" else None,
        )

    return run(Path(folder), config, options, make, tick)


def _prompts(model: Any, ways: int) -> dict[str, str]:
    """Return the markers of a model by column; the library's trainer does not add them."""
    prompts = model.prompts or {}
    columns = {"query": prompts.get("query")} | {column_of(way): prompts.get("document") for way in range(ways)}
    return {column: prompt for column, prompt in columns.items() if prompt}


def _retrieved_share(loss: Any) -> dict[str, float]:
    """Return the share of the last batch's tokens that a query token retrieved."""
    return {"retrieved_share": loss.scores.scores.share}


def _judging(kind: Any, judged: Mapping[str, frozenset[str]]) -> Any:
    from pgretrieval.train.losses import JudgingCollator

    class Trainer(kind):  # type: ignore[misc]
        data_collator_class = JudgingCollator

        def get_data_collator(self, *given: Any, **options: Any) -> Any:
            collator = super().get_data_collator(*given, **options)
            collator.judged = judged
            return collator

    return Trainer


def split(data: TrainingSet, share: float, seed: int) -> tuple[TrainingSet, TrainingSet | None]:
    """Split off a share of the queries; a query's tuples stay together."""
    keys = sorted({one.query_id for one in data.tuples})
    count = round(share * len(keys))
    if count == 0:
        return data, None
    chosen = {keys[place] for place in np.random.default_rng(seed).permutation(len(keys))[:count]}
    parts: tuple[list[TrainingTuple], list[TrainingTuple]] = ([], [])
    for one in data.tuples:
        parts[one.query_id in chosen].append(one)
    if not parts[0]:
        msg = f"held_out is {share}, which leaves none of {len(keys)} queries to train on; give a smaller share"
        raise ConfigError(msg)
    kept, held_out = (TrainingSet(tuple(some), data.passages, data.settings) for some in parts)
    return kept, held_out


def _loss(model: Any, aim: Aim, scored: bool) -> Any:
    from pgretrieval.encode.modules import has_unit_vectors
    from pgretrieval.train.losses import XTR_SCALE, colbert_loss, xtr_loss

    numbers: Mapping[str, Any] = {"scale": aim.scale, "mini_batch_size": aim.mini_batch}
    given = {key: value for key, value in numbers.items() if value is not None}
    options = {**given, "teacher_scale": aim.teacher_scale, "distil": scored}
    if aim.objective == "colbert":
        return colbert_loss(model, **options)
    usual = XTR_SCALE if has_unit_vectors(model) else 1.0  # a mean of cosines is too flat for a softmax, one of products is not
    return xtr_loss(model, **{"scale": usual, **options}, **({} if aim.k_train is None else {"k_train": aim.k_train}))
