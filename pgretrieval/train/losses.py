"""What late-interaction models are trained with: tuples of a query, its positive and negatives, and perhaps a teacher's scores.

Importing this imports torch and sentence-transformers, whose scores and batching of columns it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.multi_vector_encoder.scoring import XTRScores, colbert_scores
from sentence_transformers.util import stack_padded_token_embeddings
from torch import Tensor, nn
from torch.nn import functional

from pgretrieval.errors import ConfigError

Scores = Callable[..., Tensor]
"""(queries, tokens, dim), (queries, ways, tokens, dim) and their masks -> (queries, queries x ways), tuple by tuple."""

InBatch = Literal["others", "all"]
"""What a positive is compared with inside a batch: the passages of other queries, or these and its own negatives."""

COLBERT_SCALE = 1.0
XTR_SCALE = 20.0
K_TRAIN = 256
JUDGED = "judged"
"""What of the query's column says which passages of the batch are relevant for each query."""


class TupleLoss(nn.Module):
    """Distillation from a teacher's scores, and cross-entropy inside the batch; their sum is trained.

    A batch has columns query, positive, negative, negative, … and, for distillation, labels (queries, ways): KL(teacher ‖ student)
    over each tuple, the teacher's scores times `teacher_scale`. Where there are no labels, a tuple's own cross-entropy takes the
    place of distillation if `in_batch` leaves its negatives out. `scale` multiplies all scores, as a temperature would divide.

    A passage of the batch that is judged relevant for a query is no negative of it: the query's column says which these are
    ("judged", of `JudgingCollator`); without it equal queries share their positives. Nor is a copy of such a passage
    (`spare_copies`). The published code of ColBERTv2 has no such rules; it trains on a set where both are rare.
    """

    def __init__(
        self,
        model: nn.Module,
        scores: Scores,
        *,
        scale: float = 1.0,
        in_batch: InBatch = "others",
        distil: bool = True,
        teacher_scale: float = 1.0,
        spare_copies: bool = True,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if scale <= 0 or teacher_scale <= 0:
            msg = f"scale is {scale} and teacher_scale {teacher_scale}; give numbers above 0"
            raise ConfigError(msg)
        self.model = model
        self.scores = Float32Scores(scores)
        self.scale, self.teacher_scale = scale, teacher_scale
        self.in_batch, self.distil, self.spare_copies = in_batch, distil, spare_copies
        self.mini_batch_size = mini_batch_size

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> dict[str, Tensor]:
        """The parts of the loss by name; the trainer adds them up and logs each."""
        query, *passages = [dict(features) for features in sentence_features]
        prints = fingerprints(passages)
        judged = query.pop(JUDGED, None)
        if judged is None:
            asked = fingerprints([query])
            judged = _shared_positives(asked == asked.T, len(passages))
        encoded = self.model(query, task=query.get("task", "query"))
        columns = embed_columns_padded(self.model, passages, self.mini_batch_size, task_default="document")
        vectors, mask = stack_padded_token_embeddings(*columns)
        scored = self.scores(
            encoded["token_embeddings"], vectors, queries_mask=encoded["attention_mask"].bool(), documents_mask=mask
        )
        return self.parts(scored * self.scale, prints, labels if self.distil else None, judged)

    def parts(self, scores: Tensor, prints: Tensor, labels: Tensor | None, judged: Tensor) -> dict[str, Tensor]:
        """The same from (queries, queries x ways) scores and the (queries, ways) fingerprints of passages.

        `judged` is (queries, queries x ways), true where a passage is relevant for a query.
        """
        queries, ways = prints.shape
        spared = self._spared(prints, judged.to(prints.device))
        own = _of_own(scores, ways)
        parts = {}
        if labels is not None:
            if labels.shape != own.shape:
                msg = f"the teacher's scores are {tuple(labels.shape)}, the tuples {tuple(own.shape)}; each passage needs one score"
                raise ConfigError(msg)
            teacher = functional.log_softmax(labels.to(own) * self.teacher_scale, dim=-1)
            student = functional.log_softmax(own, dim=-1)
            parts["distillation"] = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        elif self.in_batch != "all" and ways > 1:
            left = own.masked_fill(_of_own(spared, ways), -torch.inf)
            parts["own"] = functional.cross_entropy(left, torch.zeros(queries, dtype=torch.long, device=own.device))
        target = torch.arange(queries, device=scores.device) * ways
        parts["in_batch"] = functional.cross_entropy(scores.masked_fill(self._left_out(spared), -torch.inf), target)
        return parts

    def _spared(self, prints: Tensor, judged: Tensor) -> Tensor:
        """(queries, queries x ways): what is relevant for a query, or a copy of that, but for its positive in its own tuple."""
        queries, ways = prints.shape
        positive = _mine(queries, ways, prints.device) & _first(queries, ways, prints.device)
        relevant = judged.bool() | positive
        if self.spare_copies:
            texts, number = prints.flatten().unique(return_inverse=True)
            known = torch.zeros(queries, len(texts), device=prints.device).index_add_(1, number, relevant.float())
            relevant = known[:, number] > 0
        return relevant & ~positive

    def _left_out(self, spared: Tensor) -> Tensor:
        """(queries, queries x ways): what is no negative of a query inside the batch, and is not its positive."""
        queries = len(spared)
        ways = spared.shape[1] // queries
        if self.in_batch == "all":
            return spared
        return spared | _mine(queries, ways, spared.device) & ~_first(queries, ways, spared.device)


def _mine(queries: int, ways: int, device: torch.device) -> Tensor:
    """(queries, queries x ways): the passages of a query's own tuple."""
    return torch.eye(queries, dtype=torch.bool, device=device).repeat_interleave(ways, dim=1)


def _first(queries: int, ways: int, device: torch.device) -> Tensor:
    """(queries x ways): the positives of all tuples."""
    return torch.arange(queries * ways, device=device) % ways == 0


def _of_own(values: Tensor, ways: int) -> Tensor:
    """(queries, queries x ways) -> (queries, ways): those of a query's own tuple."""
    queries = len(values)
    return values.view(queries, queries, ways).diagonal(dim1=0, dim2=1).T


def _shared_positives(same: Tensor, ways: int) -> Tensor:
    """(queries, queries), whether they are one query -> (queries, queries x ways): each is relevant for what is one with it."""
    judged = torch.zeros(*same.shape, ways, dtype=torch.bool, device=same.device)
    judged[:, :, 0] = same
    return judged.flatten(1)


class Float32Scores:
    """Scores in single precision whatever the model computes in: the top k of half-precision similarities are not the top k."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores

    def __call__(self, queries: Tensor, passages: Tensor, **masks: Tensor) -> Tensor:
        """What the scores inside give."""
        with torch.autocast(queries.device.type, enabled=False):
            return self.scores(queries.float(), passages.float(), **masks)


def colbert_loss(model: nn.Module, **options: Any) -> TupleLoss:
    """ColBERTv2's: distillation over the w passages of a query, and cross-entropy against the passages of other queries."""
    return TupleLoss(model, colbert_scores, **{"scale": COLBERT_SCALE, "in_batch": "others", **options})


def xtr_loss(model: nn.Module, *, k_train: int = K_TRAIN, **options: Any) -> TupleLoss:
    """XTR's: cross-entropy over all passages of a batch, scored by the tokens that each query token retrieves from the batch.

    A query token retrieves its `k_train` best of the batch's token vectors; a passage's score is the sum of the best similarity of
    each query token that retrieved one of its tokens, divided by their number Z, and 0 where none did. ColXTR's loss is the same.
    """
    if k_train < 1:
        msg = f"k_train is {k_train}; give at least 1"
        raise ConfigError(msg)
    return TupleLoss(model, XTRScores(k_train), **{"scale": XTR_SCALE, "in_batch": "all", "distil": False, **options})


def fingerprints(passages: list[dict[str, Any]]) -> Tensor:
    """(queries, ways) numbers that tell texts apart by their tokens, from the columns of a batch."""
    widest = max(column["input_ids"].shape[1] for column in passages)
    weights = torch.randint(1, 2**62, (widest,), generator=torch.Generator().manual_seed(0))
    prints = []
    for column in passages:
        ids, mask = column["input_ids"], column["attention_mask"].bool()
        prints.append((torch.where(mask, ids + 1, 0) * weights[: ids.shape[1]].to(ids.device)).sum(dim=1))
    return torch.stack(prints, dim=1)


@dataclass
class JudgingCollator(MultiVectorEncoderDataCollator):  # type: ignore[misc]
    """Batches whose query column says which of all their passages are judged relevant for each query."""

    judged: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """Texts that are relevant, by the text of the query."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of the library, and the mask (queries, queries x ways)."""
        batch: dict[str, Any] = super().__call__(features)
        columns = [name for name in features[0] if name not in ("query", *self.valid_label_columns)]
        texts = [row[name] for row in features for name in columns]
        relevant = [self.judged.get(row["query"], frozenset()) for row in features]
        batch[f"query_{JUDGED}"] = torch.tensor([[text in some for text in texts] for some in relevant])
        return batch
