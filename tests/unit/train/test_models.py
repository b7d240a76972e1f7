"""Initial models: a bare transformer gets a layout, a model with a projection keeps its own, a run stands for its model."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pgretrieval.encode.colbert import new_colbert
from pgretrieval.encode.modules import ClusterPooling, pooled_vectors
from pgretrieval.encode.xtr import new_xtr
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.train.models import ColBert, ColXtr, Pooling, start_model
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
    model = start_model(t5_folder, "cpu", layout=ColXtr(dim=8, normalize=False, end_token="mean"))
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
    with pytest.raises(ConfigError, match="is not a bare transformer and keeps its own layout; leave out dim"):
        start_model(xtr_folder, "cpu", layout=ColXtr(dim=8))


def test_a_saved_model_over_a_t5_keeps_its_projection(t5_folder: Path, tmp_path: Path) -> None:
    """A saved model continues with its projection."""
    made = new_xtr(str(t5_folder), "cpu", dim=8)
    made.save(str(tmp_path / "model"), create_model_card=False)
    model = start_model(tmp_path / "model", "cpu")
    assert torch.equal(projection(model).weight, projection(made).weight)
    with pytest.raises(ConfigError, match="is not a bare transformer and keeps its own layout; leave out dim"):
        start_model(tmp_path / "model", "cpu", layout=ColXtr(dim=8))


def test_a_bare_transformer_becomes_the_colbert_that_is_asked_for(tiny_bert: Path) -> None:
    """Every setting arrives; without one the model is ColBERTv2's."""
    layout = ColBert(8, 12, 7, False, True, False, "[Q]", "[D]", False)
    assert all(getattr(layout, one.name) != one.default for one in fields(layout))
    for given in (layout, ColBert()):
        options = {name: value for name, value in asdict(given).items() if value is not None}
        torch.manual_seed(0)
        expected = new_colbert(str(tiny_bert), "cpu", **options)
        torch.manual_seed(0)
        model = start_model(tiny_bert, "cpu", layout=given)
        for text in ("the river.", "bank " * 20):
            torch.testing.assert_close(model.encode_query([text]), expected.encode_query([text]))
            torch.testing.assert_close(model.encode_document([text]), expected.encode_document([text]))


def test_settings_of_colbert_apply_to_a_t5(t5_folder: Path) -> None:
    """A bare T5 takes dimension, lengths and normalisation, and refuses what needs [MASK] or markers."""
    model = start_model(t5_folder, "cpu", layout=ColBert(dim=8, query_length=5, document_length=6, normalize=False))
    [query], [passage] = model.encode_query(["the " * 9]), model.encode_document(["the " * 9])
    assert (query.shape, passage.shape) == ((5, 8), (6, 8))
    assert float((passage.norm(dim=1) - 1).abs().min()) > 1e-3
    for layout in (ColBert(expand=True), ColBert(attend=False), ColBert(skip_punctuation=True), ColBert(query_marker="[Q]")):
        with pytest.raises(ConfigError, match=r"is a T5, which has no \[MASK\] .* leave these out"):
            start_model(t5_folder, "cpu", layout=layout)


@pytest.mark.parametrize(("layout", "reason"), [(None, "XTR and ColXTR need a T5"), (ColXtr(), "needs a bare T5")])
def test_a_bare_transformer_of_another_family_is_no_xtr(tiny_bert: Path, layout: Any, reason: str) -> None:
    """A bare BERT is refused with the remedy unless a ColBERT is asked for."""
    with pytest.raises(ConfigError, match=rf"bare transformer of type 'bert', and .*{reason}.*train colbert"):
        start_model(tiny_bert, "cpu", layout=layout)


def test_models_with_a_layout_of_their_own_refuse_another(library_folder: Path) -> None:
    """Settings for a model that is not bare are refused, and a layout without settings is not."""
    for base in (library_folder, "minilm", start_model(library_folder, "cpu")):
        with pytest.raises(ConfigError, match="keeps its own layout; leave out query_length"):
            start_model(base, "cpu", layout=ColBert(query_length=5))
        assert start_model(base, "cpu", layout=ColBert()) is not None


def test_a_run_stands_for_its_model(library_folder: Path, tmp_path: Path) -> None:
    """A finished run is a base; an unfinished one is refused with the remedy, and its checkpoints are bases."""
    model = start_model(library_folder, "cpu")
    with torch.no_grad():
        projection(model).weight += 1
    for place in (tmp_path / "done" / "model", tmp_path / "half" / "checkpoints" / "checkpoint-2"):
        model.save(str(place), create_model_card=False)
    (tmp_path / "done" / "report.json").write_text("{}")
    assert torch.equal(projection(start_model(tmp_path / "done", "cpu")).weight, projection(model).weight)
    with pytest.raises(ConfigError, match=r"contains an unfinished run; repeat its command .* checkpoints"):
        start_model(tmp_path / "half", "cpu")
    checkpoint = start_model(tmp_path / "half" / "checkpoints" / "checkpoint-2", "cpu")
    assert torch.equal(projection(checkpoint).weight, projection(model).weight)


def test_a_name_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot load encoder"):
        start_model(tmp_path, "cpu", layout=ColBert())


def test_settings_of_the_pooling_arrive(library_folder: Path) -> None:
    """Input normalisation, bias and padding of a pooling are what its settings say."""
    rows = torch.nn.functional.normalize
    transformer = start_model(library_folder, "cpu")
    tokens = transformer[0].tokenizer
    text = "the river bank"

    def vectors(words: str, **padding: Any) -> Tensor:
        with torch.no_grad():
            hidden = transformer[0].model(**tokens(words, return_tensors="pt", **padding)).last_hidden_state[0]
        return hidden @ projection(transformer).weight.detach().T

    def pooled(**settings: Any) -> tuple[Any, Tensor]:
        torch.manual_seed(0)
        model = start_model(library_folder, "cpu", pooling=Pooling(vectors=2, tokens=8, shape="tokens", **settings))
        weight = next(module for module in model if hasattr(module, "vectors")).linear
        if weight.bias is not None:
            torch.nn.init.normal_(weight.bias)
        found: Tensor = model.encode_document([text, "a bank of the river flows"])[0]
        return weight, found

    plain = vectors(text)
    weight, found = pooled()
    assert weight.bias is None
    torch.testing.assert_close(found, rows(weight.weight[:, :5].detach() @ plain, dim=1), atol=1e-5, rtol=1e-4)
    weight, found = pooled(normalize_tokens=True)
    torch.testing.assert_close(found, rows(weight.weight[:, :5].detach() @ rows(plain, dim=1), dim=1), atol=1e-5, rtol=1e-4)
    weight, found = pooled(bias=True)
    biased = weight.weight[:, :5].detach() @ plain + weight.bias.detach()[:, None]
    torch.testing.assert_close(found, rows(biased, dim=1), atol=1e-5, rtol=1e-4)
    weight, found = pooled(masked=False)
    padded = vectors(text, padding="max_length", max_length=8)
    torch.testing.assert_close(found, rows(weight.weight.detach() @ padded, dim=1), atol=1e-5, rtol=1e-4)


def test_clusters_are_pooled_without_weights(library_folder: Path) -> None:
    """The default pools all tokens of a model, is not added twice, and refuses settings of weights."""
    plain = start_model(library_folder, "cpu")
    model = start_model(library_folder, "cpu", pooling=Pooling(vectors=2))
    assert model[0].document_length == plain[0].document_length
    assert set(model.state_dict()) == set(plain.state_dict())
    [rows], [tokens] = model.encode_document(["the river bank"]), plain.encode_document(["the river bank"])
    torch.testing.assert_close(rows, ClusterPooling(2).pool_one(tokens))
    assert pooled_vectors(start_model(model, "cpu", pooling=Pooling(vectors=3))) == 2
    with pytest.raises(ConfigError, match="bias is True, but clusters have no weights"):
        start_model(library_folder, "cpu", pooling=Pooling(vectors=2, bias=True))
