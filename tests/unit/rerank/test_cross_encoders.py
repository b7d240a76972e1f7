"""Cross-encoders with either head, on tiny random models, and return values of user objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.rerank.markers import MARKERS, new_cross_encoder

PAIRS = [("the river", "a bank"), ("money", "the river flows to the sea a bank"), ("a bank", "a loan"), ("a", "b " * 40)]


@pytest.fixture(params=["cls", "emb"])
def trained(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> tuple[Any, Path]:
    """A cross-encoder, and the folder it is saved in."""
    torch.manual_seed(0)
    model = new_cross_encoder(tiny_bert, request.param, max_length=24, device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    return model, tmp_path / "model"


def test_a_saved_model_gives_the_same_scores(trained: tuple[Any, Path]) -> None:
    """A saved model keeps head, markers and logits, and its scores do not depend on the batch."""
    model, folder = trained
    scorer = load_cross_encoder(folder, device="cpu")
    scores = scorer.predict(PAIRS)
    assert scores.shape == (len(PAIRS),)
    assert len(np.unique(scores)) == len(PAIRS)
    np.testing.assert_allclose(scores, model.predict(PAIRS, show_progress_bar=False), atol=1e-5)
    alone = [load_cross_encoder(model).predict([pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(scores, alone, atol=1e-4)
    assert scorer.calls == len(PAIRS)
    from sentence_transformers import CrossEncoder

    plain = CrossEncoder(str(folder), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(scores, plain.predict(PAIRS, show_progress_bar=False), atol=1e-5)


def test_the_score_is_the_dot_product_of_marker_vectors(tiny_bert: Path) -> None:
    """Markers are single tokens at the documented places, and the score multiplies their vectors."""
    model = new_cross_encoder(tiny_bert, "emb", max_length=24, scale=0.5, device="cpu")
    query, passage = PAIRS[0]
    names = ["[CLS]", "[Q]", "the", "river", "[/Q]", "[SEP]", "[P]", "a", "bank", "[/P]", "[SEP]"]
    ids = torch.tensor([model.tokenizer.convert_tokens_to_ids(names)])
    kinds = torch.tensor([[0] * 6 + [1] * 5])
    model.eval()
    with torch.no_grad():
        rows = model[0].model(input_ids=ids, token_type_ids=kinds).last_hidden_state[0]
    expected = 0.5 * ((rows[1] + rows[4]) / 2) @ ((rows[6] + rows[9]) / 2)
    assert model.predict([(query, passage)], show_progress_bar=False)[0] == pytest.approx(float(expected), abs=1e-4)


def test_a_passage_that_is_cut_keeps_its_first_marker(tiny_bert: Path) -> None:
    """A truncated passage keeps its first marker, whose vector is used."""
    model = new_cross_encoder(tiny_bert, "emb", max_length=24, device="cpu")
    features = model.preprocess([PAIRS[3]])
    ids = features["input_ids"][0].tolist()
    there = [marker in model.tokenizer.convert_ids_to_tokens(ids) for marker in MARKERS]
    assert there == [True, True, True, False]
    assert np.isfinite(model.predict([PAIRS[3]], show_progress_bar=False)).all()


def test_both_heads_are_trained(trained: tuple[Any, Path]) -> None:
    """Gradients reach the transformer below each head."""
    model, _ = trained
    model.train()
    scores = model(model.preprocess(PAIRS))["scores"]
    scores.sum().backward()
    embeddings = model[0].model.get_input_embeddings().weight
    assert float(embeddings.grad.abs().sum()) > 0


class Lengths:
    """Scores a pair by its passage's length."""

    def __init__(self, form: Any = list) -> None:
        self._form = form

    def predict(self, pairs: list[tuple[str, str]]) -> Any:
        return self._form([float(len(passage)) for _, passage in pairs])


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, lambda scores: np.array(scores)[:, None]])
def test_objects_may_return_any_array(form: Any) -> None:
    finished: list[int] = []
    scorer = load_cross_encoder(Lengths(form))
    np.testing.assert_array_equal(scorer.predict(PAIRS, finished.append), [len(passage) for _, passage in PAIRS])
    assert sum(finished) == scorer.calls == 4
    assert len(scorer.predict([])) == 0
    assert scorer.spec == {"kind": "object", "type": f"{__name__}.Lengths"}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda scores: scores[1:], r"shape \(3,\) for 4 pairs"),
        (lambda scores: [*scores[1:], np.nan], "no finite score for query 'a' and passage 'b b"),
        (lambda scores: 1 / 0, "failed on 4 pairs.*division by zero"),
    ],
)
def test_invalid_scores_are_refused(form: Any, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_cross_encoder(Lengths(form)).predict(PAIRS)


def test_objects_that_are_no_cross_encoders_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no method predict"):
        load_cross_encoder(object())
    with pytest.raises(EncoderError, match=r"no trained head.*pgretrieval train cross-encoder"):
        load_cross_encoder(tiny_bert, device="cpu").predict(PAIRS)
    with pytest.raises(EncoderError, match="cannot load cross-encoder"):
        load_cross_encoder(tmp_path, device="cpu").predict(PAIRS)
    with pytest.raises(ConfigError, match="head is 'mean'"):
        new_cross_encoder(tiny_bert, "mean")  # type: ignore[arg-type]
