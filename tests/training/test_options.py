"""Training options and their defaults: data, learning rates, and initial weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores

from pgretrieval.encode import load_encoder, minilm
from pgretrieval.encode.modules import ConstPooling, load_model
from pgretrieval.encode.projected import PROJECTION_KEY
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.rerank.markers import new_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.frozen import without_dropout
from pgretrieval.train.losses import TupleLoss
from pgretrieval.train.models import ColBert, Pooling, export_projection, start_model
from pgretrieval.train.retrievers import Aim, split, train_retriever
from pgretrieval.train.run import RunOptions
from pgretrieval.train.tuples import TrainingSet, TrainingTuple
from tests.fixtures.models import WORDS

TEXTS = {str(number): " ".join(np.random.default_rng(number).choice(WORDS, 9)) for number in range(24)}
TUPLES = tuple(
    TrainingTuple(f"q{number}", " ".join(TEXTS[str(number)].split()[:5]), tuple(str((number + 5 * way) % 24) for way in range(4)))
    for number in range(12)
)
SET = TrainingSet(TUPLES, TEXTS)
ONCE = RunOptions(steps=1, batch=4, device="cpu", log_every=1)


def said(folder: Path, key: str) -> Any:
    return json.loads((folder / "config.json").read_text())[key]


def logged(folder: Path) -> list[dict[str, float]]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [entry for entry in entries if "loss" in entry]


def test_default_learning_rates(tiny_bert: Path, library_folder: Path, tmp_path: Path):
    """The documented default rates and batch sizes are used."""
    few = TrainingSet(TUPLES[:2], TEXTS)
    train_cross_encoder([few], tmp_path / "cross", base=tiny_bert)
    train_retriever([few], tmp_path / "late", base=library_folder)
    assert logged(tmp_path / "cross")[0]["learning_rate"] == pytest.approx(3e-5)
    assert logged(tmp_path / "late")[0]["learning_rate"] == pytest.approx(1e-5)
    wide = TrainingSet(tuple(TrainingTuple(f"q{number}", "a bank", ("0", "1")) for number in range(33)), TEXTS)
    assert train_retriever([wide], tmp_path / "wide", base=library_folder).steps == 3  # 16 queries at a time


def test_a_learning_rate_rises_and_falls(library_folder: Path, tmp_path: Path):
    """The learning rate warms up for the given share and falls to 0."""
    options = RunOptions(steps=10, batch=2, device="cpu", log_every=1, learning_rate=1e-3, warmup=0.4)
    train_retriever([SET], tmp_path / "run", base=library_folder, options=options)
    rates = [entry["learning_rate"] for entry in logged(tmp_path / "run")]
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, *(1e-3 * (6 - step) / 6 for step in range(1, 6))])


@pytest.mark.parametrize(("given", "steps"), [({"epochs": 2.0}, 6), ({"epochs": 0.5}, 2), ({"accumulation": 2}, 2), ({}, 3)])
def test_epochs_are_as_many_steps(library_folder: Path, tmp_path: Path, given: dict[str, Any], steps: int):
    """An epoch uses every tuple, and accumulated batches count as one step."""
    options = RunOptions(batch=4, device="cpu", **given)
    assert train_retriever([SET], tmp_path / "run", base=library_folder, options=options).steps == steps


def test_texts_are_cut_to_the_tokens_that_are_asked_for(library_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Queries and passages are truncated to their own lengths."""
    widths: list[tuple[int, int]] = []
    forward = TupleLoss.forward

    def kept(self: Any, features: Any, labels: Any = None) -> Any:
        columns = list(features)
        widths.append((columns[0]["input_ids"].shape[1], max(column["input_ids"].shape[1] for column in columns[1:])))
        return forward(self, columns, labels)

    monkeypatch.setattr(TupleLoss, "forward", kept)
    for number, aim in enumerate((Aim(), Aim(query_tokens=4), Aim(passage_tokens=8), Aim(query_tokens=5, passage_tokens=6))):
        train_retriever([SET], tmp_path / str(number), base=library_folder, aim=aim, options=ONCE)
    whole = widths[0]
    assert min(whole) > 6
    assert widths[1:] == [(4, whole[1]), (whole[0], 8), (5, 6)]


def test_markers_and_masks_are_trained(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A ColBERT reads in training what it reads afterwards: markers, [MASK] with its outputs, and no punctuation."""
    seen: list[tuple[Any, ...]] = []

    def kept(queries: Any, passages: Any, *, queries_mask: Any, documents_mask: Any) -> Any:
        seen.append((queries.detach(), passages.detach(), queries_mask, documents_mask))
        return colbert_scores(queries, passages, queries_mask=queries_mask, documents_mask=documents_mask)

    monkeypatch.setattr("pgretrieval.train.losses.colbert_scores", kept)
    few = TrainingSet((TrainingTuple("q", "the river", ("0", "1")),), {"0": "water, money.", "1": "a loan"})
    options = RunOptions(steps=1, batch=1, device="cpu", learning_rate=1e-12)
    base = without_dropout(start_model(tiny_bert, "cpu", layout=ColBert()))
    report = train_retriever([few], tmp_path / "run", base=base, options=options)
    [(queries, passages, queries_mask, documents_mask)] = seen
    model = load_model(report.model, "cpu")
    assert queries_mask.sum() == 32
    torch.testing.assert_close(queries[0], model.encode_query(["the river"])[0], atol=1e-5, rtol=1e-4)
    for way in (0, 1):
        rows = passages[0, way][documents_mask[0, way]]
        torch.testing.assert_close(rows, model.encode_document([few.passages[str(way)]])[0], atol=1e-5, rtol=1e-4)


def test_a_bare_transformer_is_trained_as_a_colbert(tiny_bert: Path, tmp_path: Path):
    """Objective colbert builds a ColBERT from a bare transformer, with settings; objective xtr refuses it."""
    report = train_retriever([SET], tmp_path / "run", base=tiny_bert, options=ONCE)
    assert load_encoder(report.model, "cpu").encode_query("the river")[0].shape == (32, 128)
    again = train_retriever([SET], tmp_path / "again", base=tmp_path / "run", options=ONCE)
    assert load_encoder(again.model, "cpu").encode_query("the river")[0].shape == (32, 128)
    report = train_retriever([SET], tmp_path / "other", base=tiny_bert, layout=ColBert(dim=8, query_length=9), options=ONCE)
    assert load_encoder(report.model, "cpu").encode_query("the river")[0].shape == (9, 8)
    assert said(tmp_path / "other", "layout")["query_length"] == 9
    with pytest.raises(ConfigError, match="XTR and ColXTR need a T5"):
        train_retriever([SET], tmp_path / "xtr", base=tiny_bert, aim=Aim("xtr"), options=ONCE)


def test_pairs_are_read_a_few_at_a_time(tiny_bert: Path, tmp_path: Path):
    """Mini batches have the given size, by default the whole batch."""
    most = {}
    for mini_batch in (None, 3):
        model = new_cross_encoder(tiny_bert, "cls", max_length=24, device="cpu")
        read: list[int] = []
        model[0].register_forward_pre_hook(lambda _, given, read=read: read.append(len(given[0]["input_ids"])))
        aim = CrossAim(mini_batch=mini_batch, ways=3)
        train_cross_encoder([SET], tmp_path / str(mini_batch), base=model, aim=aim, options=ONCE)
        most[mini_batch] = max(read)
    assert most == {None: 4 * 3, 3: 3}


def test_a_bare_base_has_the_documented_head(tiny_bert: Path, tmp_path: Path):
    """The run's config records the default head."""
    train_cross_encoder([SET], tmp_path / "run", base=tiny_bert, options=ONCE)
    aim = said(tmp_path / "run", "aim")
    assert (aim["head"], aim["scale"], aim["max_tokens"], aim["labels"], aim["ways"]) == ("cls", None, 256, "positive", 4)
    train_cross_encoder([SET], tmp_path / "emb", base=tiny_bert, aim=CrossAim(head="emb"), options=ONCE)
    assert said(tmp_path / "emb", "aim")["scale"] == 1


@pytest.mark.parametrize(("name", "version"), [("minilm", minilm.NEWEST), ("minilm@1", "1"), ("minilm@2", "2")])
def test_a_training_starts_from_the_version_that_is_named(name: str, version: str, monkeypatch: pytest.MonkeyPatch):
    """Training starts from the named version's projection in full precision."""
    monkeypatch.setattr("pgretrieval.encode.minilm.precision", lambda _: torch.bfloat16)
    model = start_model(name, "cpu")
    expected = load_file(minilm.projection_file(version))[PROJECTION_KEY]
    torch.testing.assert_close(model[2].linear.weight.detach(), expected.float())
    whole = minilm.load_transformer(torch.float32).state_dict()
    for key, weights in model[0].state_dict().items():
        assert torch.equal(weights, whole[key]), key


def test_a_model_keeps_the_pooling_that_it_has(library_folder: Path):
    """A pooled model keeps its pooling if another one is given."""
    pooled = start_model(library_folder, "cpu", pooling=Pooling(vectors=3, tokens=12, shape="full"))
    again = start_model(pooled, "cpu", pooling=Pooling(vectors=2, tokens=8, shape="tokens"))
    [pooling] = [module for module in again if isinstance(module, ConstPooling)]
    assert (pooling.vectors, pooling.tokens, pooling.shape) == (3, 12, "full")


def test_a_projection_with_a_bias_is_not_exported(library_folder: Path, tmp_path: Path):
    """A projection with a bias, which the export could not hold, is refused."""
    model = load_model(library_folder, "cpu")
    export_projection(model, tmp_path / "small.safetensors")
    model[1].bias = True
    with pytest.raises(EncoderError, match="one without bias can be exported"):
        export_projection(model, tmp_path / "small.safetensors")
    with pytest.raises(EncoderError, match="the model has 2 projections"):
        export_projection([model[1], model[1]], tmp_path / "small.safetensors")


def test_a_querys_tuples_are_on_one_side():
    """All tuples of a query are either trained or held out, by a fixed seed."""
    twice = TrainingSet(tuple(one for one in TUPLES for _ in range(3)), TEXTS)
    part, rest = split(twice, 0.25, 0)
    assert rest is not None
    held = {one.query_id for one in rest.tuples}
    assert (len(held), len(rest.tuples), len(part.tuples)) == (3, 9, 27)
    assert held & {one.query_id for one in part.tuples} == set()
    assert split(twice, 0.25, 0)[1] == rest
    assert {one.query_id for one in (split(twice, 0.25, 1)[1] or twice).tuples} != held
    assert split(twice, 0.0, 0) == (twice, None)
