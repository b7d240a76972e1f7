"""Tokens that encoders tell: one for each vector, at the right places of the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.registry import load_encoder
from pgretrieval.errors import EncoderError
from tests.support.telling import TellingEncoder

TEXTS = ["The River, bank's naïve ÉCOLE!", "  money\u00a0 to the\n sea ", "İstanbul 北京 a", "river"]


def told(encoder: CollectionEncoder, texts: list[str], kind: str) -> list[list[Any]]:
    """The tokens of each text, as many as vectors, with the text that their offsets show."""
    tokens = getattr(encoder, f"{kind}_tokens")(texts)
    vectors = getattr(encoder, f"encode_{kind}")(texts)
    assert [len(one) for one in tokens] == [len(rows) for rows in vectors]
    for text, one in zip(texts, tokens, strict=True):
        for token in one:
            assert (token.start is None) == (token.end is None)
            if token.start is not None:
                assert text[token.start : token.end] == token.text
                assert token.text.strip() == token.text != ""
    return tokens


def test_minilm_tells_its_tokens() -> None:
    """Offsets are of the text as given, although accents and capitals are removed; markers have none; long texts are cut."""
    encoder = load_encoder("minilm", "cpu")
    tokens = told(encoder, [*TEXTS, "word " * 400], "document")
    assert [token.text for token in tokens[0]][:4] == ["[CLS]", "The", "River", ","]
    assert "ÉCOLE" in [token.text for token in tokens[0]]
    assert [tokens[0][place].start for place in (0, -1)] == [None, None]
    assert (tokens[2][1].start, len(tokens[4])) == (0, 256)
    assert [token.text for token in encoder.query_tokens(["the River"])[0]] == ["[CLS]", "the", "River", "[SEP]"]


def test_models_of_the_library_tell_their_tokens(library_folder: Path) -> None:
    """One token for each vector."""
    encoder = load_encoder(str(library_folder), "cpu")
    for kind in ("query", "document"):
        tokens = told(encoder, TEXTS, kind)
        assert [token.text for token in tokens[3]] == ["[CLS]", "river", "[SEP]"]


def test_colbert_tells_markers_and_masks_and_skips_punctuation(stanford_folder: Path) -> None:
    """Skipped punctuation has no vector and no token; markers and masks have no place; texts are cut at the model's length."""
    encoder = load_encoder(str(stanford_folder), "cpu")
    (tokens,) = told(encoder, ["River, bank."], "document")
    assert [(token.text, token.start) for token in tokens] == [
        ("[CLS]", None),
        ("[unused1]", None),
        ("River", 0),
        ("bank", 7),
        ("[SEP]", None),
    ]
    (tokens,) = told(encoder, ["river"], "query")
    assert [token.text for token in tokens] == ["[CLS]", "[unused0]", "river", "[SEP]"] + ["[MASK]"] * 8
    (tokens,) = told(encoder, ["river " * 60], "document")
    assert len(tokens) == 20


def test_xtr_tells_its_tokens(xtr_folder: Path) -> None:
    """T5's pieces have no spaces."""
    encoder = load_encoder(str(xtr_folder), "cpu")
    tokens = told(encoder, ["the River  bank", *TEXTS], "document")[0]
    assert [(token.text, token.start, token.end) for token in tokens] == [
        ("the", 0, 3),
        ("River", 4, 9),
        ("bank", 11, 15),
        ("</s>", None, None),
    ]


def test_pooled_vectors_are_of_no_token(constbert_folder: Path) -> None:
    """A model that pools passages tells the tokens of queries only."""
    encoder = load_encoder(str(constbert_folder), "cpu")
    assert encoder.document_tokens(["river"]) is None
    assert told(encoder, ["river"], "query")[0][2].text == "river"


def test_failures_of_an_object_are_encoder_errors() -> None:
    """What an object raises, or returns for too few texts, becomes EncoderError."""

    class Failing(TellingEncoder):
        def query_tokens(self, _texts: Any) -> Any:
            raise ValueError("broken")

    with pytest.raises(EncoderError, match=r"query_tokens of encoder .* failed.*broken"):
        load_encoder(Failing()).query_tokens(["a"])
    assert load_encoder(TellingEncoder()).query_tokens(["a b"]) == [[("a", 0, 1), ("b", 2, 3)]]
