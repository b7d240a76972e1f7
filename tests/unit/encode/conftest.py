"""Encoders for the tests: the default one, loaded once, and tiny random BERT checkpoints on disk."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest

from pgretrieval.encode import CollectionEncoder, load_encoder

HIDDEN = 32
PROJECTED = 16
WORDS = ["river", "bank", "water", "money", "loan", "flows", "to", "the", "sea", "a"]


@pytest.fixture(scope="session")
def minilm() -> CollectionEncoder:
    return load_encoder("minilm", device="cpu")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights: 2 layers, 32 hidden units, 32 positions."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    letters = list(string.ascii_lowercase) + [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary = specials + list(string.punctuation) + letters + [word for word in WORDS if len(word) > 1]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def library_folder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with a projection, as `MultiVectorEncoder.save` lays it out."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch import nn

    dense = Dense(HIDDEN, PROJECTED, bias=False, activation_function=nn.Identity(), module_input_name="token_embeddings")
    modules = [
        Transformer(str(tiny_bert)),
        dense,
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    folder = tmp_path_factory.mktemp("library_model")
    MultiVectorEncoder(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def stanford_folder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT as the original ColBERT code stores it: `HF_ColBERT`, inline projection, artifact.metadata."""
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
