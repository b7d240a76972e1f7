"""Losses and gradients compared with plain loops over the papers' formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pgretrieval.errors import ConfigError
from pgretrieval.train.losses import JudgingCollator, TupleLoss, colbert_loss, fingerprints, xtr_loss

QUERIES, WAYS, DIM, WORDS = 3, 4, 5, 100


class Lookup(nn.Module):
    """A model whose token vectors are rows of a table: gradients are those of single token vectors."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.table = nn.Parameter(nn.functional.normalize(torch.randn(WORDS, DIM, generator=generator), dim=-1))

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        return {**features, "token_embeddings": self.table[features["input_ids"]]}


@pytest.fixture
def model() -> Lookup:
    return Lookup()


@pytest.fixture
def batch() -> list[dict[str, Any]]:
    """A query column and WAYS columns of passages, of several lengths; words do not repeat, so similarities differ."""
    generator = torch.Generator().manual_seed(5)
    words, columns = torch.randperm(WORDS, generator=generator), []
    for width in (3, 6, 5, 6, 4):
        ids, words = words[: QUERIES * width].view(QUERIES, width).clone(), words[QUERIES * width :]
        lengths = torch.randint(2, width + 1, (QUERIES, 1), generator=generator)
        columns.append({"input_ids": ids, "attention_mask": (torch.arange(width) < lengths).long()})
    return columns


@pytest.fixture
def teacher() -> Tensor:
    return torch.randn(QUERIES, WAYS, generator=torch.Generator().manual_seed(7)) * 3


def tokens(model: Lookup, column: dict[str, Any], row: int) -> list[list[float]]:
    """The vectors of one text, as numbers."""
    there = column["attention_mask"][row].bool()
    return [model.table[word].tolist() for word in column["input_ids"][row][there]]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def cross_entropy(scores: list[float], target: int) -> float:
    return math.log(sum(math.exp(score) for score in scores)) - scores[target]


def maxsim(query: list[list[float]], passage: list[list[float]]) -> float:
    return sum(max(dot(q, d) for d in passage) for q in query)


def test_colbert_is_distillation_and_the_other_queries_passages(model: Lookup, batch: Any, teacher: Tensor) -> None:
    """The loss is KL(teacher ‖ student) over a tuple plus in-batch cross-entropy over other queries' passages."""
    scores = [[[maxsim(tokens(model, batch[0], i), tokens(model, batch[1 + n], j)) for n in range(WAYS)]
               for j in range(QUERIES)] for i in range(QUERIES)]  # fmt: skip
    distillation = in_batch = 0.0
    for i in range(QUERIES):
        student = [math.exp(score) / sum(map(math.exp, scores[i][i])) for score in scores[i][i]]
        numbers = teacher[i].tolist()
        taught = [math.exp(score) / sum(map(math.exp, numbers)) for score in numbers]
        distillation += sum(p * math.log(p / q) for p, q in zip(taught, student, strict=True)) / QUERIES
        others = [score for j in range(QUERIES) if j != i for score in scores[i][j]]
        in_batch += cross_entropy([scores[i][i][0], *others], 0) / QUERIES
    parts = colbert_loss(model)(batch, teacher)
    assert set(parts) == {"distillation", "in_batch"}
    assert parts["distillation"].item() == pytest.approx(distillation, rel=1e-4)
    assert parts["in_batch"].item() == pytest.approx(in_batch, rel=1e-4)


def test_colbert_without_a_teacher(model: Lookup, batch: Any) -> None:
    """Without scores the cross-entropy of the tuple replaces the divergence."""
    own = sum(
        cross_entropy([maxsim(tokens(model, batch[0], i), tokens(model, batch[1 + n], i)) for n in range(WAYS)], 0)
        for i in range(QUERIES)
    )
    parts = colbert_loss(model)(batch)
    assert set(parts) == {"own", "in_batch"}
    assert parts["own"].item() == pytest.approx(own / QUERIES, rel=1e-4)


def xtr_scores_plainly(model: Lookup, batch: Any, k_train: int) -> list[list[float]]:
    """f_XTR(q, d) = (1/Z) Σ_i max_j Â_ij P_ij over the passages of a batch; 0 if no token is retrieved."""
    passages = [tokens(model, batch[1 + n], j) for j in range(QUERIES) for n in range(WAYS)]
    scores = []
    for i in range(QUERIES):
        sums, counts = [0.0] * len(passages), [0] * len(passages)
        for q in tokens(model, batch[0], i):
            pool = sorted(((dot(q, d), number) for number, passage in enumerate(passages) for d in passage), reverse=True)
            best: dict[int, float] = {}
            for similarity, number in pool[:k_train]:
                best[number] = max(similarity, best.get(number, -2.0))
            for number, similarity in best.items():
                sums[number] += similarity
                counts[number] += 1
        scores.append([total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)])
    return scores


@pytest.mark.parametrize("k_train", [1, 5, 10_000])
def test_xtr_is_the_in_batch_retrieval_of_tokens(model: Lookup, batch: Any, teacher: Tensor, k_train: int) -> None:
    """Z counts the query's retrieving tokens, padding is not retrieved, and all passages of the batch take part."""
    scores = xtr_scores_plainly(model, batch, k_train)
    expected = sum(cross_entropy([20 * score for score in scores[i]], i * WAYS) for i in range(QUERIES)) / QUERIES
    parts = xtr_loss(model, k_train=k_train)(batch, teacher)
    assert set(parts) == {"in_batch"}
    assert parts["in_batch"].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("share", "tokens"), [(0.01, 1), (0.1, 4), (0.5, 21), (0.999, 42)])
def test_k_train_can_be_a_share_of_the_tokens(model: Lookup, batch: Any, share: float, tokens: int) -> None:
    """Below 1, k_train is a share of the batch's tokens without padding, at least one token."""
    total = sum(int(column["attention_mask"].sum()) for column in batch[1:])
    assert max(round(share * total), 1) == tokens
    loss = xtr_loss(model, k_train=share)
    assert loss(batch)["in_batch"].item() == pytest.approx(xtr_loss(model, k_train=tokens)(batch)["in_batch"].item())
    assert loss.scores.scores.share == pytest.approx(tokens / total)  # type: ignore[attr-defined]
    other = xtr_loss(model, k_train=tokens + 3)(batch)["in_batch"].item()
    assert other != pytest.approx(loss(batch)["in_batch"].item()) or tokens == total


def test_xtr_trains_only_retrieved_tokens(model: Lookup, batch: Any) -> None:
    """Exactly the retrieved tokens have a gradient."""
    [loss] = xtr_loss(model, k_train=1)(batch).values()
    loss.backward()  # type: ignore[no-untyped-call]
    used = {int(word) for column in batch[1:] for word in column["input_ids"][column["attention_mask"].bool()]}
    asked = {int(word) for word in batch[0]["input_ids"][batch[0]["attention_mask"].bool()]}
    table = model.table.detach()
    pool = torch.cat([column["input_ids"][column["attention_mask"].bool()] for column in batch[1:]])
    retrieved = {int(pool[(table[pool] @ table[word]).argmax()]) for word in asked}
    assert model.table.grad is not None
    moved = {word for word in used - asked if float(model.table.grad[word].abs().sum()) > 0}
    assert moved == retrieved - asked


@pytest.mark.parametrize("loss_of", [colbert_loss, xtr_loss])
def test_gradients_are_those_of_finite_differences(model: Lookup, batch: Any, teacher: Tensor, loss_of: Any) -> None:
    """Gradients equal finite differences in every part of the loss."""
    loss = loss_of(model)
    total = torch.stack(list(loss(batch, teacher).values())).sum()
    total.backward()
    direction = torch.randn(WORDS, DIM, generator=torch.Generator().manual_seed(1))
    around = []
    for sign in (1, -1):
        with torch.no_grad():
            moved = Lookup()
            moved.table.copy_(model.table + sign * 1e-3 * direction)
            around.append(float(sum(loss_of(moved)(batch, teacher).values())))
    assert model.table.grad is not None
    expected = float((model.table.grad * direction).sum())
    assert (around[0] - around[1]) / 2e-3 == pytest.approx(expected, rel=0.05, abs=0.02)


@pytest.mark.parametrize("loss_of", [colbert_loss, xtr_loss])
def test_a_step_down_the_gradient_helps_the_positive(model: Lookup, batch: Any, loss_of: Any) -> None:
    """A gradient step raises the positive, which is the first passage."""
    torch.stack(list(loss_of(model)(batch).values())).sum().backward()
    before = xtr_scores_plainly(model, batch, 10_000)
    with torch.no_grad():
        model.table -= 0.05 * model.table.grad
    after = xtr_scores_plainly(model, batch, 10_000)
    for i in range(QUERIES):
        gained = [now - then for now, then in zip(after[i], before[i], strict=True)]
        assert gained[i * WAYS] > sum(gained) / len(gained)


def test_a_copy_of_the_positive_is_no_negative(model: Lookup, batch: Any, teacher: Tensor) -> None:
    """Copies of a query's positive are not its negatives."""
    for column in batch[1:3]:
        column["attention_mask"][:] = 1
    width = batch[2]["input_ids"].shape[1]
    batch[1]["input_ids"] = torch.nn.functional.pad(batch[1]["input_ids"][:, :width], (0, 1))
    batch[1]["attention_mask"] = torch.nn.functional.pad(batch[1]["attention_mask"][:, :width], (0, 1))
    batch[2]["input_ids"][1] = batch[1]["input_ids"][0, :width]  # a negative of query 1 is the positive of query 0
    scores = [[maxsim(tokens(model, batch[0], i), tokens(model, batch[1 + n], j)) for j in range(QUERIES) for n in range(WAYS)]
              for i in range(QUERIES)]  # fmt: skip
    expected = 0.0
    for i in range(QUERIES):
        left = [i * WAYS] + [c for c in range(QUERIES * WAYS) if c // WAYS != i and not (i == 0 and c == WAYS + 1)]
        expected += cross_entropy([scores[i][c] for c in left], 0) / QUERIES
    assert colbert_loss(model)(batch, teacher)["in_batch"].item() == pytest.approx(expected, rel=1e-4)
    paper = colbert_loss(model, spare_copies=False)(batch, teacher)["in_batch"].item()
    assert paper > expected


@pytest.mark.parametrize("loss_of", [colbert_loss, xtr_loss])
def test_judged_passages_are_no_negatives(model: Lookup, batch: Any, loss_of: Any) -> None:
    """Passages judged relevant for a query are not its negatives, in its tuple or in others."""
    loss = loss_of(model)
    prints = torch.arange(QUERIES * WAYS).view(QUERIES, WAYS)
    judged = torch.eye(QUERIES).repeat_interleave(WAYS, dim=1).bool() & (torch.arange(QUERIES * WAYS) % WAYS == 0)
    judged[0, [2, WAYS + 1]] = judged[1, 2 * WAYS] = True  # of its own tuple, another's negative, another's positive
    scores = torch.randn(QUERIES, QUERIES * WAYS, generator=torch.Generator().manual_seed(1)).requires_grad_()
    torch.stack(list(loss.parts(scores, prints, None, judged).values())).sum().backward()
    assert scores.grad is not None
    pushed = scores.grad > 0
    negatives = ~judged
    assert not pushed[judged].any()
    own = [(i, i * WAYS + way) for i in range(QUERIES) for way in range(1, WAYS)]
    assert all(pushed[i, place] == negatives[i, place] for i, place in own)
    others = [(i, place) for i in range(QUERIES) for place in range(QUERIES * WAYS) if place // WAYS != i]
    assert all(pushed[i, place] == negatives[i, place] for i, place in others)


def test_equal_queries_share_their_positives(model: Lookup, batch: Any, teacher: Tensor) -> None:
    """Queries with equal texts share their positives, also without judgements."""
    batch[0]["input_ids"][1] = batch[0]["input_ids"][0]
    batch[0]["attention_mask"][1] = batch[0]["attention_mask"][0]
    scores = [[maxsim(tokens(model, batch[0], i), tokens(model, batch[1 + n], j)) for j in range(QUERIES) for n in range(WAYS)]
              for i in range(QUERIES)]  # fmt: skip
    spared = {0: WAYS, 1: 0}
    expected = 0.0
    for i in range(QUERIES):
        left = [i * WAYS] + [c for c in range(QUERIES * WAYS) if c // WAYS != i and c != spared.get(i)]
        expected += cross_entropy([scores[i][c] for c in left], 0) / QUERIES
    loss = colbert_loss(model)
    assert loss(batch, teacher)["in_batch"].item() == pytest.approx(expected, rel=1e-4)
    given = {**batch[0], "judged": torch.ones(QUERIES, QUERIES * WAYS).bool()}
    assert loss([given, *batch[1:]], teacher)["in_batch"].item() == pytest.approx(0, abs=1e-6)


def test_copies_of_judged_passages_are_no_negatives(model: Lookup) -> None:
    """Copies of a judged passage elsewhere in the batch are not negatives."""
    prints = torch.arange(QUERIES * WAYS).view(QUERIES, WAYS)
    prints[2, 3] = prints[1, 2]
    judged = torch.zeros(QUERIES, QUERIES * WAYS).bool()
    judged[0, WAYS + 2] = True
    for spare, left in ((True, QUERIES * WAYS - WAYS - 2), (False, QUERIES * WAYS - WAYS - 1)):
        loss = colbert_loss(model, spare_copies=spare, distil=False)
        scores = torch.zeros(QUERIES, QUERIES * WAYS).requires_grad_()
        loss.parts(scores, prints, None, judged)["in_batch"].backward()  # type: ignore[no-untyped-call]
        assert scores.grad is not None
        assert int((scores.grad[0, WAYS:] > 0).sum()) == left


def test_batches_mask_judged_passages(model: Lookup) -> None:
    """The mask of judged passages refers to the texts and rows of the batch, across tuples."""

    def preprocess(texts: list[str], **_: Any) -> dict[str, Tensor]:
        return {"input_ids": torch.ones(len(texts), 1).long(), "attention_mask": torch.ones(len(texts), 1).long()}

    collator = JudgingCollator(preprocess, judged={"one": frozenset({"a", "b"}), "two": frozenset({"d"})})
    rows = [
        {"query": "one", "positive": "a", "negative_1": "c", "label": [1.0, 0.0]},
        {"query": "two", "positive": "d", "negative_1": "b", "label": [1.0, 0.0]},
        {"query": "three", "positive": "e", "negative_1": "d", "label": [1.0, 0.0]},
    ]
    batch = collator(rows)
    assert batch["query_judged"].int().tolist() == [[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1], [0] * 6]
    assert batch["label"].shape == (3, 2)


def column(*texts: list[int], width: int = 0) -> dict[str, Tensor]:
    """A column of a batch, padded with tokens that belong to no text."""
    width = width or max(map(len, texts))
    ids = torch.tensor([[*text, *[77] * (width - len(text))] for text in texts])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])}


def test_fingerprints_depend_on_the_text_only() -> None:
    """Fingerprints depend on all tokens and their order, not on padding or column."""
    texts = [[5, 6, 7], [7, 6, 5], [5, 6], [5, 6, 0], [5, 6, 0, 0], [6, 5], [0]]
    first, second = column(*texts), column(*texts[::-1], width=9)
    prints = fingerprints([first, second])
    assert prints.shape == (7, 2)
    assert len(set(prints[:, 0].tolist())) == len(texts)
    assert prints[:, 0].tolist() == prints[:, 1].tolist()[::-1]
    assert fingerprints([first])[:, 0].tolist() == prints[:, 0].tolist()


def test_tuples_of_two_learn_their_own_negative(model: Lookup, batch: Any) -> None:
    """A tuple of two ways trains its own negative; a tuple without a negative has no such part."""
    parts = colbert_loss(model)(batch[:3])
    margins = [
        maxsim(tokens(model, batch[0], i), tokens(model, batch[1], i))
        - maxsim(tokens(model, batch[0], i), tokens(model, batch[2], i))
        for i in range(QUERIES)
    ]
    assert parts["own"].item() == pytest.approx(sum(math.log(1 + math.exp(-margin)) for margin in margins) / QUERIES, rel=1e-4)
    assert set(colbert_loss(model)(batch[:2])) == {"in_batch"}


@pytest.mark.parametrize("labels", [True, False])
def test_distillation_over_two_ways_is_that_of_a_coin(model: Lookup, batch: Any, teacher: Tensor, labels: bool) -> None:
    """The divergence over two ways equals the Bernoulli formula with its scales; scores are ignored if not wanted."""
    loss = colbert_loss(model, scale=2.0, teacher_scale=0.25, distil=labels)
    parts = loss(batch[:3], teacher[:, :2])
    assert set(parts) == {"distillation" if labels else "own", "in_batch"}
    if not labels:
        return
    expected = 0.0
    for i in range(QUERIES):
        query = tokens(model, batch[0], i)
        student = 2 * (maxsim(query, tokens(model, batch[1], i)) - maxsim(query, tokens(model, batch[2], i)))
        taught = 1 / (1 + math.exp(-0.25 * float(teacher[i, 0] - teacher[i, 1])))
        learnt = 1 / (1 + math.exp(-student))
        expected += taught * math.log(taught / learnt) + (1 - taught) * math.log((1 - taught) / (1 - learnt))
    assert parts["distillation"].item() == pytest.approx(expected / QUERIES, rel=1e-4)


def test_passages_are_read_a_few_at_a_time(model: Lookup, batch: Any) -> None:
    """Passages encoded in mini batches give the loss of the whole batch."""
    read: list[int] = []
    model.register_forward_pre_hook(lambda _, given: read.append(len(given[0]["input_ids"])))
    whole = colbert_loss(model)(batch)
    assert max(read) == QUERIES * WAYS
    read.clear()
    parts = colbert_loss(model, mini_batch_size=5)(batch)
    assert read == [QUERIES, 5, 5, 2]
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(
        {name: value.item() for name, value in whole.items()}
    )


def test_half_precision_ranks_in_single(model: Lookup, batch: Any) -> None:
    """The top k are chosen in single precision under autocast."""
    expected = xtr_loss(model, k_train=3)(batch)["in_batch"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = xtr_loss(model, k_train=3)(batch)["in_batch"]
    torch.testing.assert_close(rounded, expected)


def test_bad_arguments_are_refused(model: Lookup, batch: Any) -> None:
    for k_train in (0, -1, 2.5):
        with pytest.raises(ConfigError, match=f"k_train is {k_train}; give a number of tokens"):
            xtr_loss(model, k_train=k_train)
    with pytest.raises(ConfigError, match="scale is 0"):
        TupleLoss(model, torch.matmul, scale=0)
    with pytest.raises(ConfigError, match="teacher_scale -1"):
        TupleLoss(model, torch.matmul, teacher_scale=-1)
    with pytest.raises(ConfigError, match=r"scores have shape \(3, 2\), not \(3, 4\)"):
        colbert_loss(model)(batch, torch.zeros(QUERIES, 2))
