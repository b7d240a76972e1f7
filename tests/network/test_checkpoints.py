"""Golden vectors: published checkpoints of the hub, compared with transformers alone and with the library that reads them.

Where the hub cannot be reached, the summary says so for each checkpoint; tests/unit/encode/test_published.py compares tiny models
of the same layouts everywhere.
"""

from __future__ import annotations

import urllib.request
from functools import cache

import pytest

from pgretrieval.encode import load_encoder
from pgretrieval.encode.sources import local_folder
from tests.support.reference import PASSAGE, QUERY, Reference, assert_same_vectors

HUB = "https://huggingface.co"
CHECKPOINTS = {
    "colbert-ir/colbertv2.0": (32, 128),
    "answerdotai/answerai-colbert-small-v1": (32, 96),
    "lightonai/GTE-ModernColBERT-v1": (32, 128),
    "google/xtr-base-en": (None, 128),
}
"""Vectors of a query, None if it is not padded, and their dimension."""


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_vectors_of_a_checkpoint_follow_its_paper(name: str):
    reason = unreachable()
    if reason is not None:
        pytest.skip(f"{name} was not compared: {HUB} cannot be reached ({reason})")
    folder = local_folder(name)
    encoder, reference = load_encoder(name, device="cpu"), Reference(folder)
    vectors, dim = CHECKPOINTS[name]
    [query], [passage] = encoder.encode_query(QUERY), encoder.encode_document(PASSAGE)
    assert query.shape[1] == passage.shape[1] == dim
    assert vectors is None or len(query) == vectors
    assert_same_vectors(query, reference.query(QUERY))
    assert_same_vectors(passage, reference.document(PASSAGE))
    if name != "google/xtr-base-en":  # the library does not know the layout of XTR
        from sentence_transformers import MultiVectorEncoder

        library = MultiVectorEncoder(str(folder), device="cpu")
        assert_same_vectors(query, library.encode_query([QUERY], convert_to_numpy=True)[0])
        assert_same_vectors(passage, library.encode_document([PASSAGE], convert_to_numpy=True)[0])


@cache
def unreachable() -> str | None:
    """Why the hub cannot be reached, or None."""
    try:
        with urllib.request.urlopen(f"{HUB}/api/models/google/xtr-base-en", timeout=10):
            return None
    except OSError as error:
        return str(getattr(error, "reason", error))
