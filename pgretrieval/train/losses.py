"""Losses for late-interaction models, on tuples of a query, its positive and negatives, and optionally a teacher's scores.

Importing this module imports torch and sentence-transformers, whose scores and column batching it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, xtr_scores
from sentence_transformers.util import stack_padded_token_embeddings
from torch import Tensor, nn
from torch.nn import functional

from pgretrieval.errors import ConfigError

Scores = Callable[..., Tensor]
"""(queries, tokens, dim), (queries, ways, tokens, dim) and their masks -> (queries, queries x ways), tuple by tuple."""

InBatch = Literal["others", "all"]
"""Negatives within a batch: the passages of other queries ("others"), or these and the query's own negatives ("all")."""

COLBERT_SCALE = 1.0
XTR_SCALE = 20.0
K_TRAIN = 256
JUDGED = "judged"
"""Feature of the query column with the relevant passages of the batch for each query."""


class TupleLoss(nn.Module):
    """Distillation from a teacher's scores, plus cross-entropy within the batch.

    A batch has columns query, positive, negative, negative, … and, for distillation, labels (queries, ways): KL(teacher ‖ student)
    over each tuple, with the teacher's scores times `teacher_scale`. Without labels, cross-entropy over the tuple replaces
    distillation if `in_batch` excludes its negatives. `scale` multiplies all scores, as 1 / temperature. A passage of the batch
    that is judged relevant for a query is not a negative of it; the feature "judged" of `JudgingCollator` marks these, and without
    it equal queries share their positives. Copies of such passages are not negatives either (`spare_copies`). The published
    ColBERTv2 code has no such rules; both cases are rare in its training set.
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
        """Return the parts of the loss by name; the trainer adds and logs them."""
        query, *passages = [dict(features) for features in sentence_features]
        prints = fingerprints(passages)
        judged = query.pop(JUDGED, None)
        if judged is None:
            query_prints = fingerprints([query])
            judged = _shared_positives(query_prints == query_prints.T, len(passages))
        encoded = self.model(query, task=query.get("task", "query"))
        columns = embed_columns_padded(self.model, passages, self.mini_batch_size, task_default="document")
        vectors, mask = stack_padded_token_embeddings(*columns)
        scored = self.scores(
            encoded["token_embeddings"], vectors, queries_mask=encoded["attention_mask"].bool(), documents_mask=mask
        )
        return self.parts(scored * self.scale, prints, labels if self.distil else None, judged)

    def parts(self, scores: Tensor, prints: Tensor, labels: Tensor | None, judged: Tensor) -> dict[str, Tensor]:
        """Return the parts of the loss from scores (queries, queries x ways) and fingerprints (queries, ways) of passages.

        `judged` is (queries, queries x ways), True for passages relevant for a query.
        """
        queries, ways = prints.shape
        spared = self._spared(prints, judged.to(prints.device))
        own = _of_own(scores, ways)
        parts = {}
        if labels is not None:
            if labels.shape != own.shape:
                msg = f"the teacher's scores have shape {tuple(labels.shape)}, not {tuple(own.shape)}; give each passage one score"
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
        """Return the mask (queries, queries x ways) of relevant passages and their copies, except each query's own positive."""
        queries, ways = prints.shape
        positive = _own_tuple(queries, ways, prints.device) & _positives(queries, ways, prints.device)
        relevant = judged.bool() | positive
        if self.spare_copies:
            texts, number = prints.flatten().unique(return_inverse=True)
            known = torch.zeros(queries, len(texts), device=prints.device).index_add_(1, number, relevant.float())
            relevant = known[:, number] > 0
        return relevant & ~positive

    def _left_out(self, spared: Tensor) -> Tensor:
        """Return the mask (queries, queries x ways) of passages that are neither negatives nor the positive of a query."""
        queries = len(spared)
        ways = spared.shape[1] // queries
        if self.in_batch == "all":
            return spared
        return spared | _own_tuple(queries, ways, spared.device) & ~_positives(queries, ways, spared.device)


def _own_tuple(queries: int, ways: int, device: torch.device) -> Tensor:
    """Return the mask (queries, queries x ways) of each query's own tuple."""
    return torch.eye(queries, dtype=torch.bool, device=device).repeat_interleave(ways, dim=1)


def _positives(queries: int, ways: int, device: torch.device) -> Tensor:
    """Return the mask (queries x ways) of the positives of all tuples."""
    return torch.arange(queries * ways, device=device) % ways == 0


def _of_own(values: Tensor, ways: int) -> Tensor:
    """Return the values (queries, ways) of each query's own tuple, from (queries, queries x ways)."""
    queries = len(values)
    return values.view(queries, queries, ways).diagonal(dim1=0, dim2=1).T


def _shared_positives(same: Tensor, ways: int) -> Tensor:
    """Return the mask (queries, queries x ways) of the positives of equal queries, from their mask (queries, queries)."""
    judged = torch.zeros(*same.shape, ways, dtype=torch.bool, device=same.device)
    judged[:, :, 0] = same
    return judged.flatten(1)


class Float32Scores:
    """Scores in single precision, because the top k of half-precision similarities differ."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores

    def __call__(self, queries: Tensor, passages: Tensor, **masks: Tensor) -> Tensor:
        """Return the scores of the wrapped function."""
        with torch.autocast(queries.device.type, enabled=False):
            return self.scores(queries.float(), passages.float(), **masks)


def colbert_loss(model: nn.Module, **options: Any) -> TupleLoss:
    """Return ColBERTv2's loss: distillation over the w passages of a query, and cross-entropy against passages of other queries."""
    return TupleLoss(model, colbert_scores, **{"scale": COLBERT_SCALE, "in_batch": "others", **options})


class RetrievedTokenScores:
    """XTR's scores: each query token retrieves the `k_train` best token vectors of the batch, or below 1 that share of them.

    `share` is the share that the last batch retrieved.
    """

    def __init__(self, k_train: float) -> None:
        if k_train <= 0 or (k_train >= 1 and k_train != int(k_train)):
            msg = f"k_train is {k_train}; give a number of tokens, such as 320, or a share of the batch's tokens, such as 0.015"
            raise ConfigError(msg)
        self.k_train = k_train
        self.share = 0.0

    def __call__(self, queries: Tensor, passages: Tensor, *, queries_mask: Tensor, documents_mask: Tensor) -> Tensor:
        """Return scores (queries, queries x ways)."""
        tokens = max(int(documents_mask.sum()), 1)
        number = int(self.k_train) if self.k_train >= 1 else max(round(self.k_train * tokens), 1)
        self.share = min(number / tokens, 1.0)
        scores: Tensor = xtr_scores(queries, passages, queries_mask=queries_mask, documents_mask=documents_mask, top_k=number)
        return scores


def xtr_loss(model: nn.Module, *, k_train: float = K_TRAIN, **options: Any) -> TupleLoss:
    """Return XTR's loss: cross-entropy over all passages of a batch, scored by the tokens retrieved from the batch.

    Each query token retrieves the `k_train` best token vectors of the batch; below 1, `k_train` is a share of its token vectors,
    which the paper's settings keep at 1 to 2 %. A passage's score is the sum, over the query tokens that retrieved one of its
    tokens, of the best similarity, divided by the number Z of these query tokens; 0 if there are none. ColXTR's loss is the same.
    """
    return TupleLoss(model, RetrievedTokenScores(k_train), **{"scale": XTR_SCALE, "in_batch": "all", "distil": False, **options})


def fingerprints(passages: list[dict[str, Any]]) -> Tensor:
    """Return numbers (queries, ways) that distinguish texts by their tokens, from the columns of a batch."""
    widest = max(column["input_ids"].shape[1] for column in passages)
    weights = torch.randint(1, 2**62, (widest,), generator=torch.Generator().manual_seed(0))
    prints = []
    for column in passages:
        ids, mask = column["input_ids"], column["attention_mask"].bool()
        prints.append((torch.where(mask, ids + 1, 0) * weights[: ids.shape[1]].to(ids.device)).sum(dim=1))
    return torch.stack(prints, dim=1)


@dataclass
class JudgingCollator(MultiVectorEncoderDataCollator):  # type: ignore[misc]
    """Data collator that marks which passages of a batch are judged relevant for each query."""

    judged: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """Relevant texts by query text."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the library's batch with the mask (queries, queries x ways)."""
        batch: dict[str, Any] = super().__call__(features)
        columns = [name for name in features[0] if name not in ("query", *self.valid_label_columns)]
        texts = [row[name] for row in features for name in columns]
        relevant = [self.judged.get(row["query"], frozenset()) for row in features]
        batch[f"query_{JUDGED}"] = torch.tensor([[text in some for text in texts] for some in relevant])
        return batch
