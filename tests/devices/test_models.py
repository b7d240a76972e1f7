"""Encoders and cross-encoders on a second device: vectors and scores are the processor's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import load_encoder
from pgretrieval.encode.minilm import build_model, load_minilm
from pgretrieval.encode.modules import load_model, with_pooling
from pgretrieval.encode.projected import TOKENS_PER_BATCH_ACCELERATOR
from pgretrieval.encode.xtr import load_xtr, new_xtr
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.rerank.markers import new_cross_encoder
from pgretrieval.train.teachers import LateInteractionTeacher
from tests.support.pretended import DONE, NAME

TEXTS = ["the river flows to the sea", "a bank", "a loan " * 8, "money"]
PAIRS = [(query, text) for query in ("the river", "a bank") for text in TEXTS]


def assert_alike(there: Any, here: Any, method: str) -> None:
    """Both encoders, which have their own device, return the same vectors for texts of several lengths."""
    before = DONE.total()
    found, expected = (getattr(encoder, method)(TEXTS) for encoder in (there, here))
    assert DONE.total() > before
    if method.endswith("dense"):
        np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
        found, expected = found[0], expected[0]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


METHODS = ("encode_query", "encode_document", "encode_query_with_dense", "encode_document_with_dense")


@pytest.mark.parametrize("method", METHODS)
def test_minilm(method: str):
    """The default encoder in float32: no other precision is chosen for a device that is not the processor."""
    there, here = load_encoder("minilm", device=NAME), load_encoder(build_model("cpu", torch.float32))
    assert_alike(there, here, method)


def test_minilm_in_large_batches():
    """Batches are those of an accelerator."""
    assert load_minilm(NAME)._tokens_per_batch == TOKENS_PER_BATCH_ACCELERATOR


@pytest.mark.parametrize("method", METHODS)
def test_the_library_model_of_minilm(method: str):
    """An object of the library, which is on the device, with its pooled vector."""
    there, here = (load_encoder(build_model(device, torch.float32)) for device in (NAME, "cpu"))
    assert_alike(there, here, method)


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("kind", ["library", "pooled", "pooled in full", "xtr", "mean of the end"])
def test_folders_of_models(library_folder: Path, t5_folder: Path, tmp_path: Path, kind: str, method: str):
    """Models in folders, with every module of ours."""
    folder = library_folder
    if kind.startswith("pooled"):
        torch.manual_seed(0)
        shape = "full" if kind.endswith("full") else "tokens"
        folder = tmp_path / "pooled"
        with_pooling(load_model(library_folder, "cpu"), 3, tokens=12, shape=shape).save(str(folder), create_model_card=False)
    elif kind != "library":
        folder = tmp_path / "xtr"
        options = {"end_token": "mean", "lower_case": True} if kind.startswith("mean") else {}
        new_xtr(str(t5_folder), "cpu", **options).save(str(folder), create_model_card=False)
    assert_alike(load_encoder(folder, device=NAME), load_encoder(folder, device="cpu"), method)


def test_a_published_xtr(xtr_folder: Path):
    """A checkpoint of XTR is assembled on the device."""
    assert_alike(load_encoder(str(xtr_folder), device=NAME), load_encoder(load_xtr(str(xtr_folder), "cpu")), "encode_document")


@pytest.mark.parametrize("method", METHODS[:2])
def test_published_colbert_and_constbert(stanford_folder: Path, constbert_folder: Path, method: str):
    """Checkpoints in the formats of ColBERT and ConstBERT are assembled on the device."""
    for folder in (stanford_folder, constbert_folder):
        assert_alike(load_encoder(folder, device=NAME), load_encoder(folder, device="cpu"), method)


def test_a_teacher(library_folder: Path):
    """Scores of a late-interaction model as teacher."""
    found, expected = (LateInteractionTeacher(library_folder, device).predict(PAIRS) for device in (NAME, "cpu"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("head", ["cls", "emb"])
def test_cross_encoders(tiny_bert: Path, tmp_path: Path, head: Any):
    """Scores, and fingerprints and marks of all weights, are those of the same model on the processor."""
    torch.manual_seed(0)
    new_cross_encoder(tiny_bert, head, max_length=24, device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    there, here = (load_cross_encoder(tmp_path / "model", device=device) for device in (NAME, "cpu"))
    before = DONE.total()
    found = there.predict(PAIRS)
    assert DONE.total() > before
    np.testing.assert_allclose(found, here.predict(PAIRS), atol=1e-5)
    assert there.fingerprint == here.fingerprint
    again = load_cross_encoder(new_cross_encoder(tiny_bert, head, max_length=24, device=NAME))
    assert again.predict(PAIRS).shape == (len(PAIRS),)
