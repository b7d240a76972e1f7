"""Training on a second device: every loss, both heads, frozen transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import load_encoder
from pgretrieval.encode.modules import load_model
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.frozen import without_dropout
from pgretrieval.train.models import ColXtr, Pooling
from pgretrieval.train.retrievers import Aim, train_retriever
from pgretrieval.train.run import RunOptions, with_options
from pgretrieval.train.tuples import TrainingSet, TrainingTuple
from tests.fixtures.models import WORDS
from tests.support.pretended import DONE, NAME

TEXTS = {str(number): " ".join(np.random.default_rng(number).choice(WORDS, 6)) for number in range(12)}
TUPLES = TrainingSet(
    tuple(
        TrainingTuple(f"q{number}", TEXTS[str(number)][:12], tuple(str((number + way) % 12) for way in range(3)), (2.0, 1.0, 0.0))
        for number in range(8)
    ),
    TEXTS,
)
QUICK = RunOptions(steps=2, batch=4, learning_rate=1e-3, device=NAME, log_every=1)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"aim": Aim(distil=False)},
        {"aim": Aim(objective="xtr", k_train=10_000)},  # all tokens: with fewer, rounding decides which of two is retrieved
        {"pooling": Pooling(vectors=3, tokens=12, shape="tokens")},
        {"trained": "projection"},
        {"aim": Aim(mini_batch=2)},
    ],
    ids=["colbert", "without a teacher", "xtr", "constbert", "projection", "small batches"],
)
def test_retrievers(library_folder: Path, tmp_path: Path, given: dict[str, Any]):
    """Losses, before and after a step, are those of a training on the processor."""
    reports = []
    for device in (NAME, "cpu"):
        torch.manual_seed(0)
        before = DONE["_log_softmax_backward_data"]
        base, options = without_dropout(load_model(library_folder, "cpu")), with_options(QUICK, device=device)
        reports.append(train_retriever([TUPLES], tmp_path / device, base=base, options=options, **given))
        assert (DONE["_log_softmax_backward_data"] > before) == (device == NAME)
    there = reports[0]
    assert (there.steps, there.device, there.precision) == (2, NAME, "fp32")
    histories = [
        [json.loads(line) for line in (tmp_path / device / "metrics.jsonl").read_text().splitlines()] for device in (NAME, "cpu")
    ]
    losses = [[entry["loss"] for entry in history if "loss" in entry] for history in histories]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert len(load_encoder(there.model, device="cpu").encode_query("a bank")[0]) == 4


def test_held_out_queries(library_folder: Path, tmp_path: Path):
    """Held-out queries are measured there, and the best model is loaded again."""
    options = with_options(QUICK, held_out=0.25, save_every=1)
    report = train_retriever([TUPLES], tmp_path / "run", base=library_folder, options=options)
    assert report.device == NAME
    assert report.losses["eval_loss"] > 0


def test_colxtr(t5_folder: Path, tmp_path: Path):
    """A bare T5 gets its bottleneck on the device."""
    report = train_retriever([TUPLES], tmp_path / "run", base=t5_folder, layout=ColXtr(dim=8), options=QUICK)
    assert report.device == NAME


@pytest.mark.parametrize("head", ["cls", "emb"])
@pytest.mark.parametrize("labels", ["positive", "teacher"])
def test_cross_encoders(tiny_bert: Path, tmp_path: Path, head: Any, labels: Any):
    """Both heads and kinds of labels."""
    before = DONE.total()
    aim = CrossAim(head=head, labels=labels, max_tokens=24)
    report = train_cross_encoder([TUPLES], tmp_path / "run", base=tiny_bert, aim=aim, options=QUICK)
    assert report.device == NAME
    assert DONE.total() > before
    assert load_cross_encoder(report.model, device="cpu").predict([("a bank", "a loan")]).shape == (1,)
