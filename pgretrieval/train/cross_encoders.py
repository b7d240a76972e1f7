"""Training of cross-encoders with either head, on the tuples for late interaction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pgretrieval.errors import ConfigError
from pgretrieval.train.contents import of_set
from pgretrieval.train.options import option
from pgretrieval.train.retrievers import split
from pgretrieval.train.run import RunOptions, RunReport, TrainingParts, run
from pgretrieval.train.tuples import TrainingSet, as_lists, checked_ways, joined, judged_texts
from pgretrieval.types import Tick

_NEVER = -1e9
_TOKENS = 256


@dataclass(frozen=True, slots=True)
class CrossAim:
    """Objective of a cross-encoder: `head` "cls", or "emb" with its `scale`. None takes the value of a given `CrossEncoder`.

    For another base, None is "cls", a scale of 1, and 256 tokens, at which pairs are truncated. `labels` "positive" is softmax
    cross-entropy in which the first passage of a tuple, and any other judged relevant, is correct; "teacher" is the distribution of
    a teacher's scores. `mini_batch` pairs are processed at once.
    """

    head: Literal["cls", "emb"] | None = option(
        None, "cls, a layer on [CLS]; or emb, the dot product of marker vectors.", shown="cls"
    )
    labels: Literal["positive", "teacher"] = option("positive", "positive (which passage is relevant) or teacher (its scores).")
    ways: int | None = option(None, "Passages used of each tuple, 2 to 64.", shown="all")
    max_tokens: int | None = option(None, "Truncate pairs to this many tokens.", shown="256")
    scale: float | None = option(None, "Factor of the dot product of an emb head.", shown="1")
    mini_batch: int | None = option(None, "Pairs of one forward pass.", shown="all")

    def __post_init__(self) -> None:
        if self.labels not in ("positive", "teacher"):
            msg = f'labels is {self.labels!r}; give "positive" or "teacher"'
            raise ConfigError(msg)


def train_cross_encoder(
    sets: Sequence[TrainingSet],
    folder: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | Any = "minilm",
    aim: CrossAim | None = None,
    options: RunOptions | None = None,
    tick: Tick | None = None,
) -> RunReport:
    """Train a cross-encoder from "minilm" or the transformer of a folder or name, or continue to train a `CrossEncoder`.

    The folder and repeated calls work as for `train_retriever`. `load_cross_encoder(report.model)` loads the result. Raises
    ConfigError if the aim has another head than a given `CrossEncoder`, or a scale without an "emb" head.
    """
    aim, options = _resolved(aim or CrossAim(), base), options or RunOptions(learning_rate=3e-5)
    data = joined(sets)
    ways = checked_ways(data, aim.ways)
    if aim.labels == "teacher" and not data.scored:
        msg = "the tuples have no teacher's scores; mine them with a teacher, or train on positives"
        raise ConfigError(msg)
    part, rest = split(data, options.held_out, options.seed)
    config = {
        "kind": "cross-encoder",
        "base": os.fspath(base) if isinstance(base, (str, os.PathLike)) else type(base).__qualname__,
        "aim": {**asdict(aim), "ways": ways},
        "data": {"tuples": len(data.tuples), "passages": len(data.passages), **data.settings},
        "contents": of_set(data),
    }

    def make(device: str) -> TrainingParts:
        from sentence_transformers import CrossEncoderTrainer
        from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import ListNetLoss

        from pgretrieval.rerank.markers import MarkerScore, new_cross_encoder

        if isinstance(base, (str, os.PathLike)):
            model = new_cross_encoder(
                base, aim.head or "cls", max_length=aim.max_tokens or _TOKENS, scale=aim.scale or 1, device=device
            )
        else:
            model = base.to(device)
            model.max_seq_length = aim.max_tokens
            for module in model:
                if isinstance(module, MarkerScore):
                    module.scale = aim.scale or module.scale
        return TrainingParts(
            CrossEncoderTrainer,
            CrossEncoderTrainingArguments,
            model,
            ListNetLoss(model, mini_batch_size=aim.mini_batch or -1),
            as_lists(part, ways, _labels(part, ways, aim)),
            as_lists(rest, ways, _labels(rest, ways, aim)) if rest else None,
        )

    return run(Path(folder), config, options, make, tick)


def _resolved(aim: CrossAim, base: str | os.PathLike[str] | Any) -> CrossAim:
    """Return the aim with the base's values in place of None, so that the run's configuration is complete."""
    if isinstance(base, (str, os.PathLike)):
        head, scale, tokens = aim.head or "cls", 1.0, _TOKENS
    else:
        from pgretrieval.rerank.markers import MarkerScore

        scales = [float(module.scale) for module in base if isinstance(module, MarkerScore)]
        head, scale, tokens = "emb" if scales else "cls", scales[0] if scales else 1.0, int(base.max_seq_length)
        if aim.head not in (None, head):
            msg = f'head is {aim.head!r}, and the cross-encoder to train has head "{head}"; leave it out'
            raise ConfigError(msg)
    if head == "cls" and aim.scale is not None:
        msg = f'scale is {aim.scale!r}, which only an "emb" head has; leave it out, or give head="emb"'
        raise ConfigError(msg)
    given = aim.scale if aim.scale is not None else scale if head == "emb" else None
    return replace(aim, head=head, scale=given, max_tokens=aim.max_tokens or tokens)


def _labels(data: TrainingSet, ways: int, aim: CrossAim) -> list[list[float]]:
    """Return logits whose softmax is the target distribution."""
    if aim.labels == "teacher":
        return [list((one.scores or ())[:ways]) for one in data.tuples]
    judged = judged_texts(data)
    return [[0.0 if data.passages[key] in judged[one.query] else _NEVER for key in one.passages[:ways]] for one in data.tuples]
