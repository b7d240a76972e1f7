"""The default encoder, loaded once."""

from __future__ import annotations

import pytest

from pgretrieval.encode import CollectionEncoder, load_encoder


@pytest.fixture(scope="session")
def minilm() -> CollectionEncoder:
    return load_encoder("minilm", device="cpu")
