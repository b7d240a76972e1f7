"""Training steps of T5 models with either loss, with vectors of unit length and of their own: XTR, ColXTR and T5-ColBERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import load_encoder
from pgretrieval.train.frozen import without_dropout
from pgretrieval.train.models import ColXtr, start_model
from pgretrieval.train.retrievers import Aim, train_retriever
from pgretrieval.train.run import RunOptions
from pgretrieval.train.tuples import TrainingSet, TrainingTuple

SYLLABLES = ["river", "bank", "the", "sea", "loan", "a", "tea", "oil"]
TEXTS = {str(number): " ".join(np.random.default_rng(number).choice(SYLLABLES, 5)) for number in range(18)}
SET = TrainingSet(
    tuple(
        TrainingTuple(f"q{number}", " ".join(TEXTS[str(number)].split()[:2]), (str(number), str(number + 6), str(number + 12)))
        for number in range(6)
    ),
    TEXTS,
)
WHOLE = RunOptions(steps=1, batch=6, device="cpu", log_every=1, learning_rate=1e-12)
MANY = 100_000


def expected_losses(model: Any, aim: Aim, scale: float) -> dict[str, float]:
    """The parts of the loss by plain sums over a model's vectors; every token is retrieved."""
    queries = model.encode_query([one.query for one in SET.tuples])
    columns = [(j, n, SET.tuples[j].passages[n]) for j in range(6) for n in range(3)]
    rows = dict(zip(TEXTS, model.encode_document(list(TEXTS.values())), strict=True))
    parts = {"own": 0.0, "in_batch": 0.0}
    for i, one in enumerate(SET.tuples):
        best = {(j, n): (queries[i] @ rows[key].T).max(dim=1).values.double() for j, n, key in columns}
        scores = {
            place: float(found.sum() if aim.objective == "colbert" else found.mean()) * scale for place, found in best.items()
        }
        relevant = {TEXTS[other.passages[0]] for other in SET.tuples if other.query == one.query}
        left = {(j, n) for j, n, key in columns if (j, n) == (i, 0) or TEXTS[key] not in relevant}
        own = {place for place in left if place[0] == i}
        others = left - own | {(i, 0)} if aim.objective == "colbert" else left
        for name, places in (("own", own), ("in_batch", others)):
            parts[name] += float(torch.logsumexp(torch.tensor([scores[place] for place in places]), 0) - scores[i, 0]) / 6
    return parts if aim.objective == "colbert" else {"in_batch": parts["in_batch"]}


@pytest.mark.parametrize("end_token", ["own", "mean"])
@pytest.mark.parametrize("normalize", [True, False], ids=["unit vectors", "their lengths"])
@pytest.mark.parametrize(
    ("aim", "scales"),
    [
        (Aim("xtr", k_train=MANY), {True: 20.0, False: 1.0}),
        (Aim("xtr", k_train=MANY, scale=3.0), {True: 3.0, False: 3.0}),
        (Aim("colbert"), {True: 1.0, False: 1.0}),
    ],
    ids=["xtr", "xtr at a scale", "maxsim"],
)
def test_the_loss_is_that_of_the_vectors(
    t5_folder: Path, tmp_path: Path, aim: Aim, scales: dict[bool, float], normalize: bool, end_token: Any
):
    """The loss is the formula's over the vectors that the saved model returns, with their lengths if it keeps them."""
    layout = ColXtr(dim=8, normalize=normalize, end_token=end_token)
    base = without_dropout(start_model(t5_folder, "cpu", layout=layout))
    report = train_retriever([SET], tmp_path / "run", base=base, aim=aim, options=WHOLE)
    expected = expected_losses(base.eval(), aim, scales[normalize])
    assert {name: report.losses[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert report.losses["loss"] == pytest.approx(sum(expected.values()), rel=1e-3)
    [rows] = load_encoder(report.model, "cpu", unit=False).encode_document("the river")
    np.testing.assert_allclose(rows, base.encode_document(["the river"])[0].numpy(), atol=1e-5)
    assert bool(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)) == normalize


@pytest.mark.parametrize(
    ("aim", "layout"),
    [
        (Aim("xtr", k_train=40), None),
        (Aim("xtr", k_train=0.05), ColXtr(dim=8)),
        (Aim("xtr", k_train=320), ColXtr(dim=8, normalize=False, end_token="mean")),
        (Aim("colbert"), ColXtr(dim=8, normalize=False)),
        (Aim("colbert"), None),
    ],
    ids=["XTR", "ColXTR, a share", "ColXTR, its code's layout", "MaxSim with lengths", "T5-ColBERT"],
)
def test_steps_train_transformer_and_projection(t5_folder: Path, tmp_path: Path, aim: Aim, layout: Any):
    """A few steps lower the loss of the same batch and change both parts."""
    options = RunOptions(steps=60, batch=6, device="cpu", log_every=1, learning_rate=1e-3, warmup=0)
    report = train_retriever([SET], tmp_path / "run", base=t5_folder, layout=layout, aim=aim, options=options)
    untouched = train_retriever([SET], tmp_path / "first", base=t5_folder, layout=layout, aim=aim, options=WHOLE)
    first, last = (
        train_retriever(
            [SET], tmp_path / f"{name} loss", base=without_dropout(start_model(one.model, "cpu")), aim=aim, options=WHOLE
        ).losses["loss"]
        for name, one in (("first", untouched), ("last", report))
    )
    assert last < first
    before, after = (start_model(one.model, "cpu").state_dict() for one in (untouched, report))
    changed = {name for name, values in after.items() if not torch.allclose(values, before[name], atol=1e-6)}
    assert {"0.model.shared.weight"} < changed
    assert any("linear.weight" in name for name in changed)
    if aim.objective == "xtr":
        share = {40: (0.05, 0.3), 0.05: (0.03, 0.07), 320: (1, 1)}[aim.k_train or 0]
        assert share[0] <= report.losses["retrieved_share"] <= share[1]
    else:
        assert "retrieved_share" not in report.losses
