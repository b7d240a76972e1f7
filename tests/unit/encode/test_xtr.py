"""T5 models in the layout of google/xtr-base-en, with random weights, loaded without network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pgretrieval.encode import from_spec, load_encoder
from pgretrieval.encode.xtr import load_xtr, new_xtr
from pgretrieval.errors import ConfigError
from tests.fixtures.models import T5_PROJECTED


def test_vectors_are_those_of_the_layers(xtr_folder: Path) -> None:
    """Vectors are computed by the layers from lower-case text without markers, bias or activation."""
    from transformers import AutoTokenizer, T5EncoderModel

    encoder = load_encoder(str(xtr_folder), device="cpu")
    assert encoder.dim == T5_PROJECTED
    tokens = AutoTokenizer.from_pretrained(xtr_folder)("the river bank", return_tensors="pt")
    assert tokens["input_ids"][0, -1] == 1  # the end token has a vector, too
    with torch.no_grad():
        hidden = T5EncoderModel.from_pretrained(xtr_folder)(**tokens).last_hidden_state[0]
    rows = hidden @ torch.load(xtr_folder / "2_Dense" / "pytorch_model.bin")["linear.weight"].T
    expected = torch.nn.functional.normalize(rows, dim=-1).numpy()
    for encoded in (encoder.encode_document("The River BANK"), encoder.encode_query("the river bank")):
        np.testing.assert_allclose(encoded[0], expected, atol=1e-5)


def test_a_bias_that_was_saved_is_added(xtr_folder: Path, tmp_path: Path) -> None:
    """A projection trained with a bias is read with it."""
    folder = tmp_path / "biased"
    shutil.copytree(xtr_folder, folder)
    config = json.loads((folder / "2_Dense" / "config.json").read_text())
    (folder / "2_Dense" / "config.json").write_text(json.dumps({**config, "bias": True}))
    bias = torch.linspace(-2, 2, T5_PROJECTED)
    weight = torch.load(folder / "2_Dense" / "pytorch_model.bin")["linear.weight"]
    torch.save({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "pytorch_model.bin")
    [plain], [rows] = (load_xtr(str(one), "cpu", normalize=False).encode_document(["the bank"]) for one in (xtr_folder, folder))
    torch.testing.assert_close(rows, plain + bias, atol=1e-5, rtol=1e-5)


def test_choices_stay_with_the_saved_model(xtr_folder: Path, tmp_path: Path) -> None:
    """A saved model keeps its settings of case, lengths and end token."""
    model = load_xtr(str(xtr_folder), "cpu", normalize=False, end_token="mean", document_length=6)
    model.save(str(tmp_path / "model"), create_model_card=False)
    encoder = load_encoder(tmp_path / "model", device="cpu", unit=False)
    [rows] = encoder.encode_document("THE bank")
    np.testing.assert_allclose(rows, model.encode_document(["the bank"])[0].numpy(), atol=1e-6)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 1e-3
    plain = load_xtr(str(xtr_folder), "cpu", normalize=False).encode_document(["the bank"])[0].numpy()
    np.testing.assert_allclose(rows[:-1], plain[:-1], atol=1e-6)
    np.testing.assert_allclose(rows[-1], plain.mean(axis=0), atol=1e-6)
    assert encoder.count_truncated(["the " * 6, "the " * 5]) == 1
    assert len(encoder.encode_document("the " * 9)[0]) == 6


def test_a_spec_records_whether_lengths_are_kept(xtr_folder: Path) -> None:
    """The stored spec records whether vectors keep their lengths."""
    kept = load_encoder(load_xtr(str(xtr_folder), "cpu", normalize=False), unit=False)
    assert kept.spec["lengths"] == "kept"
    named = load_encoder(str(xtr_folder), "cpu", unit=False)
    assert from_spec(named.spec, "cpu").unit is False
    assert "lengths" not in load_encoder(str(xtr_folder)).spec
    scaled = load_encoder(load_xtr(str(xtr_folder), "cpu", normalize=False)).encode_query("the bank")
    np.testing.assert_allclose(np.linalg.norm(scaled[0], axis=1), 1, rtol=1e-5)


def test_a_bare_t5_gets_a_projection(t5_folder: Path, tmp_path: Path) -> None:
    """A bare T5 gets ColXTR's projection, which is saved and loaded."""
    model = new_xtr(str(t5_folder), "cpu", dim=8)
    model.save(str(tmp_path / "model"), create_model_card=False)
    [rows] = load_encoder(tmp_path / "model", device="cpu").encode_document("a bank")
    assert rows.shape[1] == 8


@pytest.mark.parametrize("made", ["read", "new"])
def test_defaults_are_those_of_xtr(made: str, t5_folder: Path, xtr_folder: Path) -> None:
    """Defaults are XTR's: lower case, unit vectors, the end token's own vector, no bias, maximum lengths."""
    torch.manual_seed(0)
    model = load_xtr(str(xtr_folder), "cpu") if made == "read" else new_xtr(str(t5_folder), "cpu")
    [upper, lower] = model.encode_document(["THE River", "the river"])
    torch.testing.assert_close(upper, lower)
    assert lower.shape[1] == (T5_PROJECTED if made == "read" else 128)
    np.testing.assert_allclose(lower.norm(dim=1), 1, rtol=1e-5)
    [query], [document] = model.encode_query(["bank " * 40]), model.encode_document(["bank " * 600])
    assert (len(query), len(document)) == (32, 512)
    dense = next(module for module in model if hasattr(module, "linear"))
    assert dense.linear.bias is None
    options = {"lower_case": True, "normalize": False, "end_token": "mean"}
    torch.manual_seed(0)
    other = load_xtr(str(xtr_folder), "cpu", **options) if made == "read" else new_xtr(str(t5_folder), "cpu", **options)  # type: ignore[arg-type]
    [rows] = other.encode_document(["the river"])
    torch.testing.assert_close(torch.nn.functional.normalize(rows[:-1], dim=1), lower[:-1], atol=1e-5, rtol=0)
    assert not torch.allclose(torch.nn.functional.normalize(rows[-1], dim=0), lower[-1], atol=1e-3)


def test_the_mean_of_a_text_leaves_padding_out(t5_folder: Path) -> None:
    """The end token's mean ignores padding, and other tokens keep their vectors."""
    model = new_xtr(str(t5_folder), "cpu", normalize=False, end_token="mean")
    [alone] = model.encode_document(["the bank"])
    together = model.encode_document(["the bank", "the river the bank the river bank"])[0]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


def test_an_unknown_end_token_is_refused(xtr_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"end_token is 'none'.*mean"):
        load_xtr(str(xtr_folder), "cpu", end_token="none")  # type: ignore[arg-type]
