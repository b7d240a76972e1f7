"""Model folders of the formats that sentence-transformers reads, loaded without network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pgretrieval.encode import CollectionEncoder, from_spec, load_encoder
from pgretrieval.errors import EncoderError
from tests.fixtures.models import PROJECTED

TEXTS = ["the river flows to the sea", "a bank", "a bank."]


def test_library_folder(library_folder: Path) -> None:
    encoder = load_encoder(str(library_folder), device="cpu")
    assert encoder.spec == {"kind": "model", "name": str(library_folder)}
    assert encoder.dim == PROJECTED
    arrays = encoder.encode_document(TEXTS)
    assert [array.shape for array in arrays] == [(8, PROJECTED), (4, PROJECTED), (5, PROJECTED)]
    again = from_spec(encoder.spec, device="cpu").encode_document(TEXTS)
    np.testing.assert_array_equal(np.concatenate(arrays), np.concatenate(again))


def test_stanford_folder(stanford_folder: Path) -> None:
    encoder = load_encoder(stanford_folder, device="cpu")
    assert encoder.dim == PROJECTED
    [query] = encoder.encode_query("a bank")
    assert query.shape == (12, PROJECTED)  # padded with [MASK] to query_maxlen
    plain, punctuated = encoder.encode_document(TEXTS[1:])
    assert plain.shape == punctuated.shape == (5, PROJECTED)  # [CLS] [unused1] a bank [SEP]; the full stop is skipped
    fits, cut = "a " * 17, "a " * 18  # 20 tokens with three markers
    assert encoder.count_truncated([fits, cut]) == 1
    assert encoder.count_truncated_queries(["a " * 9, "a " * 10, "a"]) == 1  # 12 tokens with three markers
    assert len(encoder.encode_document(cut)[0]) == 20
    assert [encoder.count_tokens(text) for text in ("", "a bank", "a " * 40)] == [0, 2, 40]  # without markers and limit


def test_library_object_is_used_as_it_is(library_folder: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    encoder = load_encoder(MultiVectorEncoder(str(library_folder), device="cpu"))
    assert encoder.spec["kind"] == "object"
    assert encoder.spec["type"].endswith(".MultiVectorEncoder")
    assert encoder.dim == PROJECTED
    assert encoder.count_truncated(["a " * 40, "a"]) == 1
    expected = load_encoder(library_folder, device="cpu").encode_query(TEXTS)
    np.testing.assert_array_equal(np.concatenate(encoder.encode_query(TEXTS)), np.concatenate(expected))


def test_relative_path_is_stored_absolute(library_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library_folder.parent)
    encoder: CollectionEncoder = load_encoder(library_folder.name)
    assert encoder.spec["name"] == os.fspath(library_folder)


def test_a_model_without_trained_projection_is_refused(tiny_bert: Path) -> None:
    encoder = load_encoder(tiny_bert, device="cpu")
    with pytest.raises(EncoderError, match="not a late-interaction model"):
        encoder.encode_query("a bank")


def test_a_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"tried it as a local folder\..*\"minilm\""):
        _ = load_encoder(tmp_path, device="cpu").dim


def test_an_unknown_name_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = load_encoder("nobody/no-such-model")
    with pytest.raises(EncoderError, match=r"nobody/no-such-model.*tried it as.*Hugging Face.*\"minilm\""):
        encoder.encode_query("x")


def test_a_model_without_pooling_has_no_dense_vectors(library_folder: Path) -> None:
    encoder = load_encoder(library_folder, device="cpu")
    assert not encoder.has_dense
    with pytest.raises(EncoderError, match=r"none of its modules pools.*dense="):
        encoder.encode_document_with_dense(TEXTS)


def test_lengths_are_raised_as_far_as_the_model_reads(stanford_folder: Path, constbert_folder: Path) -> None:
    """Queries and documents get at least the given number of tokens; shorter numbers and pooled documents change nothing."""
    encoder = load_encoder(stanford_folder, device="cpu")
    encoder.raise_lengths(query=5, document=5)
    assert len(encoder.encode_query("a bank")[0]) == 12
    assert len(encoder.encode_document("a " * 40)[0]) == 20
    encoder.raise_lengths(query=16, document=24)
    assert len(encoder.encode_query("a bank")[0]) == 16  # padded with [MASK]
    assert len(encoder.encode_document("a " * 40)[0]) == 24
    encoder.raise_lengths(query=300, document=300)
    assert len(encoder.encode_query("a " * 400)[0]) == len(encoder.encode_document("a " * 400)[0]) == 32
    pooled = load_encoder(constbert_folder, device="cpu")
    before = pooled.encode_document("a bank")[0]
    pooled.raise_lengths(document=300)
    np.testing.assert_array_equal(pooled.encode_document("a bank")[0], before)
    assert pooled.count_truncated(["a " * 40]) == 1


def test_encoders_without_lengths_ignore_them() -> None:
    encoder = load_encoder("minilm", device="cpu")
    encoder.raise_lengths(query=300, document=300)
    assert len(encoder.encode_query("a bank")[0]) == 4
