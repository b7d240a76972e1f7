"""Token vectors computed from a checkpoint's files by transformers alone, by the rules of its paper."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgretrieval.types import Float32Array

SKIPPED = list(string.punctuation)
QUERY = "Where does the river flow?"
PASSAGE = "A river flows to the sea, and a Bank lends money."


class Reference:
    """A transformer, its projection, and the settings of its layout: Stanford's, PyLate's or XTR's."""

    def __init__(self, folder: Path) -> None:
        self._config = _json(folder / "config.json")
        if self._config["model_type"] == "t5":
            self._read_xtr(folder)
        elif (folder / "modules.json").exists():
            self._read_pylate(folder)
        else:
            self._read_stanford(folder)
        self._model.eval()

    def query(self, text: str) -> Float32Array:
        """(tokens, dim) unit vectors of a query; ColBERT's is padded with [MASK], whose vectors count."""
        if self._is_xtr:
            return self._plain(text, self._query_length)
        ids = self._ids(self._query_marker, text, self._query_length)
        attended = len(ids)
        ids += [self._tokenizer.mask_token_id] * (self._query_length - len(ids)) if self._expands else []
        return self._vectors(ids, len(ids) if self._attends else attended)

    def document(self, text: str) -> Float32Array:
        """(tokens, dim) unit vectors of a document, without those of punctuation."""
        if self._is_xtr:
            return self._plain(text, self._document_length)
        ids = self._ids(self._document_marker, text, self._document_length)
        kept = [place for place, number in enumerate(ids) if number not in self._skipped]
        return self._vectors(ids, len(ids))[kept]

    def _read_stanford(self, folder: Path) -> None:
        from transformers import AutoTokenizer, BertConfig, BertModel

        settings = _json(folder / "artifact.metadata")
        weights = _weights(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
        inner = {name.removeprefix("bert."): values for name, values in weights.items() if name.startswith("bert.")}
        missing, _ = self._model.load_state_dict(inner, strict=False)
        assert [name for name in missing if not name.endswith("position_ids")] == []
        self._set(weights["linear.weight"], settings["query_token_id"], settings["doc_token_id"], SKIPPED)
        self._query_length, self._document_length = settings["query_maxlen"], settings["doc_maxlen"]
        self._attends = settings["attend_to_mask_tokens"]
        self._skipped = self._skipped if settings["mask_punctuation"] else set()

    def _read_pylate(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        settings = _json(folder / "config_sentence_transformers.json")
        places = {module["type"].rpartition(".")[2]: folder / module["path"] for module in _json(folder / "modules.json")}
        self._tokenizer = AutoTokenizer.from_pretrained(places["Transformer"])
        self._model = AutoModel.from_pretrained(places["Transformer"])
        projection = _weights(places["Dense"])["linear.weight"]
        self._set(projection, settings["query_prefix"], settings["document_prefix"], settings["skiplist_words"])
        self._query_length, self._document_length = settings["query_length"], settings["document_length"]
        self._attends = settings["attend_to_expansion_tokens"]
        self._expands = settings.get("do_query_expansion", True)

    def _read_xtr(self, folder: Path) -> None:
        from transformers import AutoTokenizer, T5EncoderModel

        self._tokenizer, self._model = AutoTokenizer.from_pretrained(folder), T5EncoderModel.from_pretrained(folder)
        self._projection = _weights(folder / "2_Dense")["linear.weight"].float()
        self._query_length, self._document_length, self._is_xtr = 32, 512, True

    _is_xtr = False
    _expands = True

    def _set(self, projection: Tensor, query_marker: str, document_marker: str, skipped: Sequence[str]) -> None:
        self._projection = projection.float()
        self._query_marker, self._document_marker = query_marker, document_marker
        self._skipped = set(self._tokenizer.convert_tokens_to_ids(list(skipped)))

    def _ids(self, marker: str, text: str, length: int) -> list[int]:
        """[CLS] marker text [SEP], of which the text is cut."""
        inner = self._tokenizer(text, add_special_tokens=False)["input_ids"][: length - 3]
        first, last = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [first, self._tokenizer.convert_tokens_to_ids(marker), *inner, last]

    def _plain(self, text: str, length: int) -> Float32Array:
        ids = self._tokenizer(text.lower(), truncation=True, max_length=length)["input_ids"]
        return self._vectors(ids, len(ids))

    def _vectors(self, ids: list[int], attended: int) -> Float32Array:
        mask = (torch.arange(len(ids)) < attended).long()[None]
        with torch.no_grad():
            hidden = self._model(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state[0].float()
        rows: Float32Array = torch.nn.functional.normalize(hidden @ self._projection.T, dim=1).numpy()
        return rows


def assert_same_vectors(found: Float32Array, expected: Float32Array) -> None:
    """Arrays of the same tokens, within the precision of float32 and of kernels for attention."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    found = folder / "model.safetensors"
    if found.exists():
        return load_file(found)
    loaded: dict[str, Tensor] = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return loaded
