"""ColBERT over a bare transformer, compared with the transformer's own outputs; saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pgretrieval.encode import load_encoder
from pgretrieval.encode.colbert import new_colbert

CLS, SEP, MASK, Q, D = "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"
OTHER: dict[str, Any] = {
    "dim": 8,
    "query_length": 12,
    "document_length": 7,
    "attend": True,
    "skip_punctuation": False,
    "query_marker": "[Q]",
    "document_marker": "[D]",
    "normalize": False,
}


@pytest.fixture(scope="module")
def roomy_bert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with 256 positions."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("roomy_bert")
    config = BertConfig.from_pretrained(tiny_bert, max_position_embeddings=256)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert, model_max_length=256).save_pretrained(folder)
    return folder


def states(model: Any, tokens: list[str], attended: int) -> Tensor:
    """Outputs of a model's transformer for tokens, of which the first ones are attended to."""
    ids = torch.tensor([model.tokenizer.convert_tokens_to_ids(tokens)])
    mask = (torch.arange(len(tokens)) < attended).long()[None]
    with torch.no_grad():
        hidden: Tensor = model[0].model(input_ids=ids, attention_mask=mask).last_hidden_state[0]
    return hidden


def projected(model: Any, hidden: Tensor, *, unit: bool = True) -> Tensor:
    rows = hidden @ model[1].linear.weight.detach().T
    return torch.nn.functional.normalize(rows, dim=1) if unit else rows


def query(model: Any, text: str) -> Tensor:
    rows: Tensor = model.encode_query([text])[0]
    return rows


def passage(model: Any, text: str) -> Tensor:
    rows: Tensor = model.encode_document([text])[0]
    return rows


def close(rows: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)


def test_a_query_of_two_words_has_32_vectors(tiny_bert: Path) -> None:
    """A query is [CLS] [Q] … [SEP] and [MASK] to 32 tokens, which are not attended to and whose outputs are used."""
    model = new_colbert(str(tiny_bert), "cpu")
    rows = query(model, "the river")
    assert rows.shape == (32, 128)
    assert model[1].linear.bias is None
    close(rows, projected(model, states(model, [CLS, Q, "the", "river", SEP, *[MASK] * 27], 5)))


def test_a_passage_has_a_marker_and_no_punctuation(tiny_bert: Path) -> None:
    """A passage is [CLS] [D] … [SEP]; punctuation is read and has no vectors."""
    model = new_colbert(str(tiny_bert), "cpu")
    hidden = states(model, [CLS, D, "the", ",", "river", ".", SEP], 7)
    close(passage(model, "The, river."), projected(model, hidden[[0, 1, 2, 4, 6]]))


def test_passages_are_cut_at_220_tokens(roomy_bert: Path) -> None:
    """Passages have at most 220 tokens by default, and what the transformer reads if that is less."""
    model = new_colbert(str(roomy_bert), "cpu")
    assert len(passage(model, "bank " * 300)) == 220
    assert len(query(model, "bank " * 300)) == 32
    assert len(passage(new_colbert(str(roomy_bert), "cpu", document_length=500), "bank " * 300)) == 256


def test_each_option_does_something(tiny_bert: Path) -> None:
    """Every option changes what it names, compared with the transformer's outputs."""

    def made(**option: Any) -> Any:
        return new_colbert(str(tiny_bert), "cpu", **option)

    assert query(made(dim=8), "bank").shape == (32, 8)
    assert len(query(made(query_length=12), "bank")) == len(query(made(query_length=12), "bank " * 20)) == 12
    assert len(passage(made(document_length=7), "bank " * 20)) == 7
    model = made(expand=False, query_length=12)
    close(query(model, "the river"), projected(model, states(model, [CLS, Q, "the", "river", SEP], 5)))
    assert len(query(model, "bank " * 20)) == 12
    model = made(attend=True)
    close(query(model, "the river"), projected(model, states(model, [CLS, Q, "the", "river", SEP, *[MASK] * 27], 32)))
    model = made(skip_punctuation=False)
    close(passage(model, "the."), projected(model, states(model, [CLS, D, "the", ".", SEP], 5)))
    model = made(normalize=False)
    close(passage(model, "the"), projected(model, states(model, [CLS, D, "the", SEP], 4), unit=False))
    model = made(query_marker="", document_marker="")
    close(passage(model, "the"), projected(model, states(model, [CLS, "the", SEP], 3)))


def test_unknown_markers_become_tokens(tiny_bert: Path) -> None:
    """Markers that the vocabulary lacks are added, with an embedding."""
    model = new_colbert(str(tiny_bert), "cpu", query_marker="[Q]", document_marker="[D]")
    before = new_colbert(str(tiny_bert), "cpu")
    added = [len(before.tokenizer), len(before.tokenizer) + 1]
    assert model.tokenizer.convert_tokens_to_ids(["[Q]", "[D]"]) == added
    assert model[0].model.get_input_embeddings().num_embeddings == added[1] + 1
    close(passage(model, "the"), projected(model, states(model, [CLS, "[D]", "the", SEP], 4)))


@pytest.mark.parametrize("options", [{}, OTHER, {"expand": False, "query_length": 12}], ids=["defaults", "others", "no [MASK]"])
def test_a_saved_model_has_the_same_vectors(tiny_bert: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """A saved model keeps every option: loaded by its folder, it gives exactly the same vectors."""
    made = new_colbert(str(tiny_bert), "cpu", **options)
    made.save(str(tmp_path / "model"), create_model_card=False)
    unit = options.get("normalize", True)
    one, other = load_encoder(made, unit=unit), load_encoder(tmp_path / "model", "cpu", unit=unit)
    texts = ["the river flows to the sea, a bank.", "money", "a loan " * 20]
    for kind in ("encode_query", "encode_document"):
        for rows, again in zip(getattr(one, kind)(texts), getattr(other, kind)(texts), strict=True):
            np.testing.assert_array_equal(rows, again)
    assert other.dim == options.get("dim", 128)
    assert [one.count_truncated(texts), one.count_truncated_queries(texts)] == [
        other.count_truncated(texts),
        other.count_truncated_queries(texts),
    ]
