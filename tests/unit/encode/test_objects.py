"""Encoder objects of users, valid and invalid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import Encoder, from_spec, load_encoder
from pgretrieval.errors import EncoderError

DIM = 4


class WordEncoder:
    """One vector of length 2 per word, in the container that `form` creates."""

    def __init__(self, form: Callable[[Any], Any] = lambda array: array) -> None:
        self._form = form

    def encode_query(self, texts: Sequence[str]) -> list[Any]:
        rows = {0: [2, 0, 0, 0], 1: [0, 2, 0, 0]}
        return [self._form(np.array([rows[len(word) % 2] for word in text.split()], "f4")) for text in texts]

    def encode_document(self, texts: Sequence[str]) -> list[Any]:
        return self.encode_query(texts)


def test_tokens_are_counted_by_the_object_or_are_words() -> None:
    class Counting(WordEncoder):
        def count_tokens(self, text: str) -> int:
            return len(text)

    assert load_encoder(WordEncoder()).count_tokens(" one  two ") == 2
    assert load_encoder(Counting()).count_tokens("one") == 3


class Returns:
    """Returns the same value for every call."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def encode_query(self, texts: Sequence[str]) -> Any:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value

    encode_document = encode_query


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda array: array, id="numpy"),
        pytest.param(lambda array: array.astype("f8"), id="double"),
        pytest.param(lambda array: torch.from_numpy(array).requires_grad_(), id="torch"),
        pytest.param(lambda array: torch.from_numpy(array).to(torch.bfloat16), id="bfloat16"),
        pytest.param(lambda array: array.tolist(), id="lists"),
    ],
)
def test_forms_of_arrays(form: Callable[[Any], Any]) -> None:
    encoder = load_encoder(WordEncoder(form))
    assert encoder.dim == DIM
    one, two = encoder.encode_query(["ab a", "a b ab"])
    np.testing.assert_array_equal(one, [[1, 0, 0, 0], [0, 1, 0, 0]])
    assert two.shape == (3, DIM)
    assert two.dtype == np.float32
    assert encoder.count_truncated(["a " * 10_000]) == 0


def test_spec_of_an_object_names_its_type_and_cannot_be_loaded() -> None:
    encoder = load_encoder(WordEncoder())
    assert encoder.spec == {"kind": "object", "type": f"{WordEncoder.__module__}.WordEncoder"}
    with pytest.raises(EncoderError, match=r"WordEncoder.*pass encoder=… to get_collection"):
        from_spec(encoder.spec)
    assert isinstance(encoder, Encoder)
    assert load_encoder(encoder) is encoder


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param([np.ones((2, DIM))], r"returned 1 arrays for 2 texts \(text 1 \('fish'\) has none\)", id="few"),
        pytest.param([np.ones((2, DIM))] * 3, r"returned 3 arrays for 2 texts", id="many"),
        pytest.param([np.ones(DIM)] * 2, r"shape \(4,\) for text 0 \('birds'\)", id="1-D"),
        pytest.param([np.ones((1, 2, DIM))] * 2, r"shape \(1, 2, 4\)", id="3-D"),
        pytest.param([np.ones((2, DIM)), np.ones((0, DIM))], r"no token vectors for text 1", id="no tokens"),
        pytest.param([np.ones((2, DIM)), np.full((2, DIM), np.nan)], r"row 0 .* text 1 .*NaN", id="NaN"),
        pytest.param([np.full((2, DIM), np.inf)] * 2, r"row 0 .* text 0 .*infinity", id="infinity"),
        pytest.param([np.eye(3, DIM), np.diag([1.0, 0, 1, 1])], r"row 1 .* text 1 .* all zeros", id="zero row"),
        pytest.param([np.ones((2, DIM)), np.ones((2, 3))], r"dimension 3 for text 1 .* but 4 before", id="widths"),
        pytest.param([[["a", "b"]]] * 2, r"list for text 0", id="strings"),
        pytest.param([[[1, 2], [3]]] * 2, r"list for text 0", id="ragged"),
        pytest.param(None, r"returned NoneType", id="nothing"),
        pytest.param(RuntimeError("out of memory"), r"out of memory", id="raises"),
    ],
)
@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_invalid_output_is_refused(value: Any, message: str, method: str) -> None:
    encoder = load_encoder(Returns(value))
    with pytest.raises(EncoderError, match=message):
        getattr(encoder, method)(["birds", "fish"])


def test_a_later_call_of_another_width() -> None:
    inner = Returns([np.ones((2, DIM))])
    encoder = load_encoder(inner)
    encoder.encode_query("x")
    inner._value = [np.ones((2, 3))]
    with pytest.raises(EncoderError, match="the same dimension"):
        encoder.encode_document("x")


@pytest.mark.parametrize(
    ("source", "message"),
    [(object(), "no method encode_query and no encode_document"), (7, "type int"), ("  ", "name is empty")],
)
def test_objects_that_are_no_encoders_are_refused(source: object, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(source)


@pytest.mark.parametrize("spec", [{}, {"kind": "sparse"}, {"kind": "model"}, {"kind": "model", "name": ""}])
def test_unknown_spec(spec: dict[str, str]) -> None:
    with pytest.raises(EncoderError, match="pass encoder=…"):
        from_spec(spec)


def test_import_loads_no_model_library() -> None:
    code = (
        "import sys, pgretrieval.encode as encode; encode.load_encoder('minilm').dim; "
        "sys.exit(str([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


class BothEncoder(WordEncoder):
    """Dense vectors are the number of letters, and 1."""

    def encode_document_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        return self.encode_document(texts), [[len(text), 1] for text in texts]


def test_dense_vectors_of_an_object_come_in_the_order_of_the_texts() -> None:
    tokens, dense = load_encoder(BothEncoder()).encode_document_with_dense(["a", "aaaa aaaa", "aaa"])
    assert [len(array) for array in tokens] == [1, 2, 1]
    lengths = np.array([1, 9, 3])
    np.testing.assert_allclose(dense, np.stack([lengths, [1, 1, 1]], axis=1) / np.hypot(lengths, 1)[:, None], rtol=1e-6)


def test_an_encoder_without_dense_vectors_raises_with_the_remedy() -> None:
    with pytest.raises(EncoderError, match=r"no method encode_query_with_dense for dense vectors.*dense="):
        load_encoder(WordEncoder()).encode_query_with_dense("aa")


class Counted(WordEncoder):
    """Records the texts that it encodes."""

    def __init__(self, **said: Any) -> None:
        super().__init__()
        self.asked: list[str] = []
        for name, value in said.items():
            setattr(self, name, value)

    def encode_query(self, texts: Sequence[str]) -> list[Any]:
        self.asked += texts
        return super().encode_query(texts)


def test_a_stated_dimension_needs_no_text() -> None:
    """A declared dimension is used without encoding; an attribute of another kind is not taken for one."""
    inner = Counted(dim=DIM)
    encoder = load_encoder(inner)
    assert encoder.dim == DIM
    assert inner.asked == []
    other = Counted(dim="of the text")
    assert load_encoder(other).dim == DIM
    assert len(other.asked) == 1
    wrong = load_encoder(Counted(dim=7))
    assert wrong.dim == 7
    with pytest.raises(EncoderError, match=r"dimension 4 for text 0 .* but 7 before"):
        wrong.encode_query("x")


@pytest.mark.parametrize(("said", "expected"), [({}, None), ({"vectors_per_passage": 3}, 3), ({"vectors_per_passage": 1}, 1)])
def test_a_stated_number_of_vectors(said: dict[str, Any], expected: int | None) -> None:
    """The declared number of vectors per passage decides the collection's layout."""
    assert load_encoder(Counted(**said)).vectors_per_passage == expected


@pytest.mark.parametrize("said", [0, -1, "three", 2.0])
def test_invalid_numbers_of_vectors_are_refused(said: object) -> None:
    assert load_encoder(Counted(vectors_per_passage=said)).vectors_per_passage is None


def test_a_query_has_one_text_and_needs_no_dense_vector() -> None:
    """A single string is one query, and dense vectors are not computed for it."""
    inner = Counted()
    assert [len(array) for array in load_encoder(inner).encode_query("two words")] == [2]
    assert inner.asked == ["two words"]
