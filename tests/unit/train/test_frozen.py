"""Caching of a frozen transformer's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pgretrieval.encode.modules import load_model
from pgretrieval.train import frozen
from tests.fixtures.models import WORDS

TEXTS = ["the river flows to the sea", "a bank", "water", "the loan of a bank by the river"]


def features(model: Any, texts: list[str], task: str = "document") -> dict[str, Any]:
    return model.preprocess(texts, task=task)


@pytest.fixture
def counted(library_folder: Path) -> tuple[Any, list[int]]:
    """A frozen model, and the number of rows its transformer read at each call."""
    model = load_model(library_folder, "cpu")
    read: list[int] = []
    plain = model[0].model.forward

    def forward(**given: Any) -> Any:
        read.append(len(given["input_ids"]))
        return plain(**given)

    model[0].model.forward = forward
    frozen.freeze(model[0])
    return model.train(), read


def test_vectors_are_those_of_the_model(library_folder: Path, counted: tuple[Any, list[int]]):
    """Vectors equal the model's, without padding or dropout."""
    model, read = counted
    plain = load_model(library_folder, "cpu").eval()
    for texts in (TEXTS[:2], TEXTS, TEXTS[::-1], [TEXTS[1]]):
        given = features(plain, texts)
        mask = given["attention_mask"].bool()
        expected = plain[0](dict(given))["token_embeddings"]
        found = model[0](features(model, texts))["token_embeddings"]
        assert found.shape == expected.shape
        torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-4)
    assert read == [2, 2]


def test_texts_beyond_the_limit_are_computed_again(counted: tuple[Any, list[int]], monkeypatch: pytest.MonkeyPatch):
    """Texts beyond the memory limit are computed again."""
    model, read = counted
    monkeypatch.setattr(frozen, "REMEMBERED_BYTES", 5 * 32 * 4)  # five tokens
    texts = [TEXTS[2], TEXTS[0], TEXTS[3]]
    first = model[0](features(model, texts))["token_embeddings"]
    again = model[0](features(model, texts))["token_embeddings"]
    torch.testing.assert_close(first, again, atol=1e-5, rtol=1e-4)
    assert read == [3, 2]


def test_tokens_that_are_not_attended_to_keep_their_vectors(counted: tuple[Any, list[int]]):
    """Tokens that are not attended to, such as the masks of an expanded query, keep their vectors."""
    model, _ = counted
    given = features(model, [" ".join(WORDS[:4]), "water"])
    given["attention_mask"][0, -2:] = 0
    found = model[0](given)["token_embeddings"]
    assert found[0].abs().sum(dim=1).min() > 0
    assert found[1, -1].abs().sum() == 0


def test_nothing_of_it_is_trained(counted: tuple[Any, list[int]]):
    """Gradients reach the trained part only."""
    model, _ = counted
    model(features(model, TEXTS), task="document")["token_embeddings"].sum().backward()
    names = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert names == {"1.linear.weight"}
