"""Tiny models of exactly the layouts of four published checkpoints, compared with the rules of their papers.

tests/network compares the checkpoints themselves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pgretrieval.encode import load_encoder
from tests.fixtures.models import HIDDEN
from tests.support.reference import PASSAGE, QUERY, SKIPPED, Reference, assert_same_vectors

ARTIFACT = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_token": "[Q]",
    "doc_token": "[D]",
    "similarity": "cosine",
    "dim": 64,
    "nway": 64,
    "query_maxlen": 16,
    "doc_maxlen": 24,
    "attend_to_mask_tokens": False,
    "mask_punctuation": True,
    "interaction": "colbert",
}
PYLATE = {
    "model_type": "ColBERT",
    "__version__": {"sentence_transformers": "4.0.2", "transformers": "4.48.2", "pytorch": "2.5.1"},
    "prompts": {},
    "default_prompt_name": None,
    "similarity_fn_name": "MaxSim",
    "query_length": 16,
    "document_length": 24,
    "attend_to_expansion_tokens": False,
    "skiplist_words": SKIPPED,
}


@pytest.fixture(scope="session")
def colbertv2_layout(stanford_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colbert-ir/colbertv2.0: HF_ColBERT, inline projection, all of artifact.metadata that is read."""
    folder = tmp_path_factory.mktemp("colbertv2") / "model"
    shutil.copytree(stanford_folder, folder)
    (folder / "artifact.metadata").write_text(json.dumps(ARTIFACT))
    return folder


@pytest.fixture(scope="session")
def answerai_layout(colbertv2_layout: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """answerdotai/answerai-colbert-small-v1: Stanford's files at the root, and PyLate's modules in folders of their own."""
    folder = tmp_path_factory.mktemp("answerai") / "model"
    shutil.copytree(colbertv2_layout, folder)
    shutil.copytree(tiny_bert, folder / "0_Transformer")
    _write_dense(folder / "1_Dense", 96, HIDDEN)
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    settings = {**PYLATE, "query_prefix": "[unused0]", "document_prefix": "[unused1]"}
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 31, "do_lower_case": False}))
    return folder


@pytest.fixture(scope="session")
def modern_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lightonai/GTE-ModernColBERT-v1: ModernBERT at the root, byte-level pieces, markers that end in a space, 1_Dense."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("modern") / "model"
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=24,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(folder)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        cls_token_id=2,
        bos_token_id=2,
        sep_token_id=3,
        eos_token_id=3,
        reference_compile=False,
    )
    torch.manual_seed(0)
    ModernBertModel(config).save_pretrained(folder)
    _write_dense(folder / "1_Dense", 128, HIDDEN)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {**PYLATE, "query_prefix": "[Q] ", "document_prefix": "[D] "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 23, "do_lower_case": False}))
    return folder


@pytest.mark.parametrize("layout", ["colbertv2_layout", "answerai_layout", "modern_layout"])
def test_vectors_of_a_published_layout_follow_its_paper(layout: str, request: pytest.FixtureRequest):
    """Markers, padding, attention, skipped punctuation, truncation and projection."""
    compare(request.getfixturevalue(layout))


def test_vectors_of_the_layout_of_xtr_follow_its_paper(xtr_folder: Path):
    """google/xtr-base-en: T5 at the root, 2_Dense; lower case, no markers."""
    compare(xtr_folder)


def compare(folder: Path) -> None:
    """Compare the vectors of short, long and punctuated texts."""
    encoder, reference = load_encoder(folder, device="cpu"), Reference(folder)
    for text in (QUERY, "river", "the " * 50):
        assert_same_vectors(encoder.encode_query(text)[0], reference.query(text))
    for text in (PASSAGE, "the bank.", "a sea " * 50):
        assert_same_vectors(encoder.encode_document(text)[0], reference.document(text))


def _write_dense(folder: Path, dim: int, width: int) -> None:
    """A projection without bias as PyLate saves it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    settings = {"in_features": width, "out_features": dim, "bias": False}
    (folder / "config.json").write_text(json.dumps({**settings, "activation_function": "torch.nn.modules.linear.Identity"}))
    weight = torch.randn(dim, width, generator=torch.Generator().manual_seed(dim))
    save_file({"linear.weight": weight}, folder / "model.safetensors")
