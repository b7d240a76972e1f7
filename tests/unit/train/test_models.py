"""Initial models from a T5: a bare T5 gets a bottleneck, a T5 with a projection keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pgretrieval.encode.xtr import new_xtr
from pgretrieval.errors import ConfigError
from pgretrieval.train.models import ColXtr, start_model
from tests.fixtures.models import T5_PROJECTED


def hidden_states(folder: Path, text: str) -> Tensor:
    """Output of the transformer for a text, with the end token."""
    from transformers import AutoTokenizer, T5EncoderModel

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        states: Tensor = T5EncoderModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    return states


def projection(model: Any) -> Any:
    return next(module for module in model if hasattr(module, "linear")).linear


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def test_a_bare_t5_gets_a_bottleneck(t5_folder: Path) -> None:
    """The default bottleneck has ColXTR's width, no bias, and unit vectors."""
    model = start_model(t5_folder, "cpu")
    layer = projection(model)
    assert (layer.out_features, layer.bias) == (128, None)
    expected = unit(hidden_states(t5_folder, "the river bank") @ layer.weight.detach().T)
    torch.testing.assert_close(model.encode_document(["the River bank"])[0], expected, atol=1e-5, rtol=1e-4)


def test_a_bare_t5_gets_the_bottleneck_that_is_asked_for(t5_folder: Path) -> None:
    """Options of the bottleneck are applied."""
    model = start_model(t5_folder, "cpu", bottleneck=ColXtr(dim=8, normalize=False, end_token="mean"))
    rows = hidden_states(t5_folder, "the river bank") @ projection(model).weight.detach().T
    expected = torch.cat([rows[:-1], rows.mean(dim=0, keepdim=True)])
    assert expected.shape[1] == 8
    torch.testing.assert_close(model.encode_document(["the river bank"])[0], expected, atol=1e-5, rtol=1e-4)


def test_a_t5_with_a_projection_keeps_it(xtr_folder: Path) -> None:
    """A projection published with the T5 is kept."""
    model = start_model(xtr_folder, "cpu")
    weight = torch.load(xtr_folder / "2_Dense" / "pytorch_model.bin")["linear.weight"]
    assert projection(model).out_features == T5_PROJECTED
    expected = unit(hidden_states(xtr_folder, "the river bank") @ weight.T)
    torch.testing.assert_close(model.encode_document(["the river bank"])[0], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="is not a bare T5"):
        start_model(xtr_folder, "cpu", bottleneck=ColXtr(dim=8))


def test_a_saved_model_over_a_t5_keeps_its_projection(t5_folder: Path, tmp_path: Path) -> None:
    """A saved model continues with its projection."""
    made = new_xtr(str(t5_folder), "cpu", dim=8)
    made.save(str(tmp_path / "model"), create_model_card=False)
    model = start_model(tmp_path / "model", "cpu")
    assert torch.equal(projection(model).weight, projection(made).weight)
    with pytest.raises(ConfigError, match="is not a bare T5"):
        start_model(tmp_path / "model", "cpu", bottleneck=ColXtr(dim=8))
