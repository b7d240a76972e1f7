"""Encoders for the tests: the default one, loaded once, and a tiny random checkpoint of the original ColBERT code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pgretrieval.encode import CollectionEncoder, load_encoder
from tests.fixtures.models import HIDDEN, PROJECTED


@pytest.fixture(scope="session")
def minilm() -> CollectionEncoder:
    return load_encoder("minilm", device="cpu")


@pytest.fixture(scope="session")
def stanford_folder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT in the format of the original ColBERT code: `HF_ColBERT`, inline projection, artifact.metadata."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path_factory.mktemp("stanford_model")
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = {f"bert.{name}": values for name, values in load_file(folder / "model.safetensors").items()}
    weights["linear.weight"] = np.random.default_rng(0).standard_normal((PROJECTED, HIDDEN)).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "doc_maxlen": 20,
        "query_maxlen": 12,
        "attend_to_mask_tokens": False,
        "mask_punctuation": True,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata), encoding="utf-8")
    return folder
