"""A few steps of every training on tiny models: learning, artefacts, resumption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import load_encoder
from pgretrieval.encode.modules import ConstPooling, load_model
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.rerank.markers import load_model as load_cross_encoder_model
from pgretrieval.rerank.markers import new_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, _labels, train_cross_encoder
from pgretrieval.train.losses import TupleLoss
from pgretrieval.train.models import ColXtr, Pooling, export_projection, start_model
from pgretrieval.train.retrievers import Aim, split, train_retriever
from pgretrieval.train.run import RunOptions, with_options
from pgretrieval.train.tuples import TrainingSet, TrainingTuple
from tests.fixtures.models import WORDS

TEXTS = {str(number): " ".join(np.random.default_rng(number).choice(WORDS, 6)) for number in range(24)}
SCORED = TrainingSet(
    tuple(
        TrainingTuple(
            f"q{number}",
            " ".join(TEXTS[str(number)].split()[:3]),
            tuple(str((number + 5 * way) % 24) for way in range(4)),
            (3.0, 1.0, 0.5, 0.0),
        )
        for number in range(12)
    ),
    TEXTS,
    {"made": "by hand"},
)
QUICK = RunOptions(steps=4, batch=4, learning_rate=1e-3, device="cpu", save_every=2, log_every=1, seed=1)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {key: values.clone() for key, values in load_model(folder, "cpu").state_dict().items()}


@pytest.mark.parametrize(
    ("given", "losses"),
    [
        ({}, {"distillation", "in_batch"}),
        ({"aim": Aim(distil=False)}, {"own", "in_batch"}),
        ({"aim": Aim(objective="xtr", k_train=8, ways=3)}, {"in_batch"}),
        ({"pooling": Pooling(vectors=3, tokens=12, shape="tokens")}, {"distillation", "in_batch"}),
        ({"pooling": Pooling(vectors=3)}, {"distillation", "in_batch"}),
    ],
    ids=["colbert", "without a teacher", "xtr", "constbert", "clusters"],
)
def test_a_run_leaves_a_model_metrics_and_a_plot(library_folder: Path, tmp_path: Path, given: dict[str, Any], losses: set[str]):
    """A run trains all parts of the loss and writes all files."""
    ticks: list[tuple[int, int]] = []
    report = train_retriever(
        [SCORED], tmp_path / "run", base=library_folder, options=QUICK, tick=lambda *step: ticks.append(step), **given
    )
    assert (report.steps, report.resumed, report.precision) == (4, 0, "fp32")
    assert ticks == [(step, 4) for step in range(1, 5)]
    assert losses <= set(report.losses)
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "training.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"] == {"tuples": 12, "passages": 24, "made": "by hand"}
    before, after = weights(library_folder), weights(report.model)
    assert {key for key in before if key in after and not torch.equal(before[key], after[key])} >= {"1.linear.weight"}
    array = load_encoder(report.model, device="cpu").encode_document("the river flows")[0]
    assert len(array) == (3 if "pooling" in given else 5)
    assert "Batches" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("aim", "scale"),
    [
        (Aim(), 1.0),
        (Aim(scale=3.0, teacher_scale=0.5), 3.0),
        (Aim(objective="xtr", k_train=10_000, distil=True), 20.0),
        (Aim(objective="xtr", k_train=10_000, distil=True, scale=5.0, teacher_scale=2.0), 5.0),
        (Aim(objective="xtr", k_train=10_000), None),
        (Aim(objective="xtr", k_train=10_000, distil=False), None),
    ],
    ids=["colbert", "colbert at other scales", "xtr", "xtr at other scales", "xtr by default", "xtr without"],
)
def test_the_teachers_distribution_is_a_part_of_the_loss(library_folder: Path, tmp_path: Path, aim: Aim, scale: float | None):
    """The divergence from the teacher's scores is part of the trained loss."""
    options = with_options(QUICK, steps=1, batch=len(SCORED.tuples))
    report = train_retriever([SCORED], tmp_path / "run", base=library_folder, trained="projection", aim=aim, options=options)
    parts = {name: report.losses[name] for name in ("distillation", "own", "in_batch") if name in report.losses}
    assert report.losses["loss"] == pytest.approx(sum(parts.values()), rel=1e-4)
    if scale is None:
        assert set(parts) == {"in_batch"}
        return
    assert set(parts) == {"distillation", "in_batch"}
    model = load_model(library_folder, "cpu").eval()
    divergences = []
    for one in SCORED.tuples:
        [query] = model.encode_query([one.query])
        best = [(query @ rows.T).max(dim=1).values for rows in model.encode_document([TEXTS[key] for key in one.passages])]
        # Where every token is retrieved, XTR's score is the mean of the best similarities, ColBERT's their sum.
        scores = torch.stack([row.sum() if aim.objective == "colbert" else row.mean() for row in best]).double() * scale
        taught = torch.tensor(one.scores, dtype=torch.float64) * aim.teacher_scale
        divergences.append(float((taught.softmax(0) * (taught.log_softmax(0) - scores.log_softmax(0))).sum()))
    assert parts["distillation"] == pytest.approx(np.mean(divergences), rel=2e-3)


def test_taught_passages_rank_first(library_folder: Path, tmp_path: Path):
    """After training the taught passages rank first."""
    taught = TrainingSet(
        tuple(TrainingTuple(one.query_id, one.query, one.passages[::-1], one.scores) for one in SCORED.tuples), TEXTS
    )

    def margin(folder: Path) -> float:
        encoder = load_encoder(folder, device="cpu")
        rows = dict(zip(TEXTS, encoder.encode_document(list(TEXTS.values())), strict=True))
        queries = encoder.encode_query([one.query for one in taught.tuples])
        scores = np.array(
            [
                [(query @ rows[key].T).max(axis=1).sum() for key in one.passages]
                for query, one in zip(queries, taught.tuples, strict=True)
            ]
        )
        return float((scores[:, 0] - scores[:, 1:].mean(axis=1)).mean())

    options = RunOptions(steps=25, batch=6, learning_rate=3e-3, device="cpu", log_every=25)
    report = train_retriever([taught], tmp_path / "run", base=library_folder, options=options)
    assert margin(library_folder) < 0 < margin(report.model)


def test_a_resumed_run_gives_the_same_model(library_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A resumed run gives the weights of an uninterrupted one. Its first part was plotted."""
    whole = train_retriever([SCORED], tmp_path / "whole", base=library_folder, options=QUICK)

    def stop(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("pgretrieval.train.run._PLOT_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        train_retriever([SCORED], tmp_path / "parts", base=library_folder, options=QUICK, tick=stop)
    assert (tmp_path / "parts" / "training.png").exists()
    rest = train_retriever([SCORED], tmp_path / "parts", base=library_folder, options=QUICK)
    assert (rest.resumed, rest.steps) == (2, 4)
    one, other = weights(whole.model), weights(rest.model)
    for key, values in one.items():
        torch.testing.assert_close(other[key], values, msg=key)
    history = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4]


def stopped(folder: Path, base: Any, data: TrainingSet = SCORED, **given: Any) -> None:
    """A run that was interrupted before its last step."""

    def stop(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_retriever([data], folder, base=base, options=QUICK, tick=stop, **given)


def reworded(**changes: Any) -> TrainingSet:
    return replace(SCORED, tuples=(replace(SCORED.tuples[0], **changes), *SCORED.tuples[1:]))


def test_a_run_resumes_only_with_the_same_contents(library_folder: Path, tmp_path: Path):
    """A run resumes only with the same tuples, texts, scores and model."""
    stopped(tmp_path / "run", library_folder)
    other = tmp_path / "other"
    torch.manual_seed(9)
    model = load_model(library_folder, "cpu")
    with torch.no_grad():
        model[1].linear.weight += 1e-3
    model.save(str(other), create_model_card=False)
    for data, base, named in (
        (reworded(query="a loan"), library_folder, r"\(contents.tuples\)"),
        (reworded(passages=("1", "2", "3", "4")), library_folder, r"\(contents.tuples\)"),
        (reworded(relevant=("7",)), library_folder, r"\(contents.tuples\)"),
        (replace(SCORED, passages={**TEXTS, "5": "money"}), library_folder, r"\(contents.passages\)"),
        (reworded(scores=(3.0, 1.0, 0.5, 0.1)), library_folder, r"\(contents.scores\)"),
        (SCORED, other, r"\(contents.base\)"),
        (SCORED, load_model(other, "cpu"), r"\(contents.base\)"),
    ):
        with pytest.raises(ConfigError, match=rf"contains a run with other settings {named}; use the same settings"):
            train_retriever([data], tmp_path / "run", base=base, options=QUICK)
    moved = library_folder.rename(tmp_path / "moved")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    try:
        told = replace(SCORED, settings={"mined": "again"})
        assert train_retriever([told], tmp_path / "elsewhere", base=moved, options=QUICK).resumed == 2
    finally:
        moved.rename(library_folder)


def test_a_cross_encoder_resumes_only_with_the_same_contents(tiny_bert: Path, tmp_path: Path):
    """The same for cross-encoders."""

    def stop(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_cross_encoder([SCORED], tmp_path / "run", base=tiny_bert, options=QUICK, tick=stop)
    with pytest.raises(ConfigError, match=r"\(contents.tuples\)"):
        train_cross_encoder([reworded(query="a loan")], tmp_path / "run", base=tiny_bert, options=QUICK)
    with pytest.raises(ConfigError, match=r"\(contents.base\)"):
        train_cross_encoder([SCORED], tmp_path / "run", base="minilm", options=QUICK)


def test_relevant_passages_of_a_tuple_are_right_too(tiny_bert: Path):
    """Judged passages of a tuple are not negatives of a cross-encoder."""
    data = reworded(relevant=("10",))
    assert _labels(data, 4, CrossAim())[0] == [0.0, -1e9, 0.0, -1e9]
    assert _labels(data, 2, CrossAim())[1] == [0.0, -1e9]
    assert _labels(data, 2, CrossAim(labels="teacher"))[0] == [3.0, 1.0]


def test_judgements_reach_the_loss(library_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Judgements reach the loss at the right rows."""
    told: list[torch.Tensor] = []
    parts = TupleLoss.parts

    def kept(self: Any, scores: Any, prints: Any, labels: Any, judged: Any) -> Any:
        told.append(judged)
        return parts(self, scores, prints, labels, judged)

    monkeypatch.setattr(TupleLoss, "parts", kept)
    tuples = [TrainingTuple(f"q{number}", "a bank", (str(number), str(number + 4)), relevant=("0", "7")) for number in range(4)]
    train_retriever(
        [TrainingSet(tuple(tuples), TEXTS)], tmp_path / "run", base=library_folder, options=with_options(QUICK, steps=1)
    )
    assert told[0].sum(dim=1).tolist() == [5] * 4  # four positives and one negative


def test_a_folder_holds_one_run(library_folder: Path, tmp_path: Path):
    """A folder with another or a finished run is refused."""
    train_retriever([SCORED], tmp_path / "run", base=library_folder, options=QUICK)
    with pytest.raises(ConfigError, match="contains a finished run"):
        train_retriever([SCORED], tmp_path / "run", base=library_folder, options=QUICK)
    with pytest.raises(ConfigError, match=r"other settings \(aim.ways\)"):
        train_retriever([SCORED], tmp_path / "run", base=library_folder, aim=Aim(ways=2), options=QUICK)


def test_accumulated_batches_make_one_step(library_folder: Path, tmp_path: Path):
    """Gradients of accumulated batches are averaged in one step."""
    aim = Aim(objective="colbert", distil=False, ways=2)
    sgd = {"warmup": 0.0, "steps": 1, "learning_rate": 1e-3, "device": "cpu", "log_every": 1}
    norms = []
    for batch, accumulation in ((4, 1), (2, 2)):
        options = RunOptions(batch=batch, accumulation=accumulation, **sgd)
        report = train_retriever([SCORED], tmp_path / str(batch), base=library_folder, aim=aim, options=options)
        assert report.steps == 1
        lines = (tmp_path / str(batch) / "metrics.jsonl").read_text().splitlines()
        norms.append(json.loads(lines[0])["grad_norm"])
    assert norms[1] == pytest.approx(norms[0], rel=0.5)


def test_64_ways_in_half_precision_with_little_memory(library_folder: Path, tmp_path: Path):
    """Wide tuples keep their columns, and precision and memory options are passed on."""
    passages = {str(number): " ".join(np.random.default_rng(number).choice(WORDS, 4)) for number in range(64)}
    scores = tuple(map(float, range(64)))
    wide = TrainingSet(tuple(TrainingTuple(f"q{number}", "a bank", tuple(passages), scores) for number in range(2)), passages)
    options = RunOptions(steps=1, batch=2, device="cpu", precision="bf16", checkpointing=True)
    report = train_retriever([wide], tmp_path / "run", base=library_folder, aim=Aim(mini_batch=32), options=options)
    assert (report.precision, report.steps) == ("bf16", 1)
    # Each query's positive is compared with the other's 63 negatives; the 64th is a copy of it.
    assert report.losses["in_batch"] == pytest.approx(np.log(64), abs=0.3)


def test_held_out_queries_are_measured_and_not_trained_on(library_folder: Path, tmp_path: Path):
    """Held-out queries are measured, logged and not trained."""
    part, rest = split(SCORED, 0.25, 0)
    assert rest is not None
    assert len(part.tuples) + len(rest.tuples) == 12
    assert {one.query_id for one in part.tuples} & {one.query_id for one in rest.tuples} == set()
    options = RunOptions(steps=4, batch=4, device="cpu", save_every=2, log_every=2, held_out=0.25)
    report = train_retriever([SCORED], tmp_path / "run", base=library_folder, options=options)
    assert report.losses["eval_loss"] > 0
    assert "eval_distillation" in report.losses
    with pytest.raises(ConfigError, match="leaves none of 12 queries"):
        split(SCORED, 0.99, 0)


def test_only_the_projection_is_trained_and_exported(library_folder: Path, tmp_path: Path):
    """The transformer is unchanged, so the exported projection is sufficient."""
    from safetensors.torch import load_file

    report = train_retriever([SCORED], tmp_path / "run", base=library_folder, trained="projection", options=QUICK)
    before, after = weights(library_folder), weights(report.model)
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"1.linear.weight"}
    export_projection(load_model(report.model, "cpu"), tmp_path / "small.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "small.safetensors")["projection"], after["1.linear.weight"])
    with pytest.raises(EncoderError, match="the model has 0 projections"):
        export_projection([], tmp_path / "small.safetensors")


def test_an_adapter_is_trained_over_a_frozen_transformer(library_folder: Path, tmp_path: Path):
    """An adapter changes nothing before it is trained, is trained with the projection, is kept, and is not added twice."""
    texts = ["the river flows to the sea", "a bank"]
    plain, start = load_model(library_folder, "cpu").eval(), start_model(library_folder, "cpu", trained="adapter").eval()
    for one, other in zip(plain.encode_document(texts), start.encode_document(texts), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    report = train_retriever([SCORED], tmp_path / "run", base=library_folder, trained="adapter", options=QUICK)
    trained = load_model(report.model, "cpu").eval()
    assert [type(module).__name__ for module in trained] == ["Transformer", "TokenAdapter", "Dense", "MultiVectorMask", "Normalize"]
    kept = trained[0].state_dict()
    assert all(torch.equal(values, kept[name]) for name, values in plain[0].state_dict().items())
    assert float(trained[1].up.weight.detach().abs().max()) > 1e-4
    assert not torch.equal(trained[2].linear.weight, plain[1].linear.weight)
    [hidden] = [plain[0](plain.preprocess([texts[0]], task="document"))["token_embeddings"][0].detach()]
    adapted = hidden + torch.nn.functional.gelu(trained[1].down(hidden)) @ trained[1].up.weight.T
    rows = torch.nn.functional.normalize(adapted @ trained[2].linear.weight.T, dim=1).detach()
    torch.testing.assert_close(trained.encode_document(texts)[0], rows, atol=1e-5, rtol=1e-4)
    [found] = load_encoder(report.model, "cpu").encode_document(texts[0])
    np.testing.assert_allclose(found, rows.numpy(), atol=1e-5)
    again = start_model(report.model, "cpu", trained="adapter")
    assert [type(module).__name__ for module in again].count("TokenAdapter") == 1
    with pytest.raises(EncoderError, match="has an adapter before its projection"):
        export_projection(trained, tmp_path / "small.safetensors")


def test_an_adapter_leaves_the_dense_vectors_of_minilm(tmp_path: Path):
    """MiniLM's single vector is pooled before the adapter."""
    kinds = [type(module).__name__ for module in start_model("minilm", "cpu", trained="adapter")]
    assert kinds == ["Transformer", "Pooling", "TokenAdapter", "Dense", "MultiVectorMask", "Normalize"]


def test_constbert_trains_pooling_and_transformer_together(library_folder: Path, tmp_path: Path):
    """Gradients reach pooling and transformer."""
    torch.manual_seed(0)
    start = start_model(library_folder, "cpu", pooling=Pooling(vectors=3, tokens=12, shape="tokens"))
    began = next(module for module in start if isinstance(module, ConstPooling)).linear.weight.detach().clone()
    report = train_retriever([SCORED], tmp_path / "run", base=start, options=QUICK)
    trained = load_model(report.model, "cpu")
    [pooling] = [module for module in trained if isinstance(module, ConstPooling)]
    assert all(parameter.requires_grad for parameter in start.parameters())
    assert float((pooling.linear.weight.detach() - began).abs().max()) > 1e-4
    assert not torch.equal(
        weights(report.model)["0.model.embeddings.word_embeddings.weight"],
        weights(library_folder)["0.model.embeddings.word_embeddings.weight"],
    )


def test_a_pooled_model_keeps_its_lengths(t5_folder: Path):
    """A pooling has vectors of unit length only over a model that has them."""
    for normalize in (True, False):
        model = start_model(
            t5_folder, "cpu", layout=ColXtr(dim=8, normalize=normalize), pooling=Pooling(vectors=2, tokens=8, shape="tokens")
        )
        for rows in (model.encode_document(["the river bank"])[0], model.encode_query(["the river bank"])[0]):
            assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5) == normalize


@pytest.mark.parametrize(("head", "labels"), [("cls", "teacher"), ("emb", "positive")])
def test_cross_encoders_learn_which_passage_is_right(tiny_bert: Path, tmp_path: Path, head: Any, labels: Any):
    """The positive scores best after training, and the saved model loads."""
    marked = {key: f"money {text}" if int(key) < 12 else text for key, text in TEXTS.items()}
    tuples = [TrainingTuple(one.query_id, one.query, (one.passages[0], "20", "21"), (3.0, 1.0, 0.5)) for one in SCORED.tuples]
    options = RunOptions(steps=20, batch=6, learning_rate=3e-3, device="cpu", log_every=1)
    aim = CrossAim(head=head, labels=labels, max_tokens=24)
    report = train_cross_encoder([TrainingSet(tuple(tuples), marked)], tmp_path / "run", base=tiny_bert, aim=aim, options=options)
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    scorer = load_cross_encoder(report.model, device="cpu")
    pairs = [(one.query, marked[key]) for one in tuples for key in one.passages]
    margins = scorer.predict(pairs).reshape(-1, 3)
    assert (margins[:, 0] - margins[:, 1:].mean(axis=1)).mean() > 0


def test_a_cross_encoder_that_is_trained_on_keeps_its_head(tiny_bert: Path, tmp_path: Path):
    """A cross-encoder keeps its head, and other options are refused."""
    model = new_cross_encoder(tiny_bert, "emb", max_length=20, scale=0.5, device="cpu")
    report = train_cross_encoder([SCORED], tmp_path / "kept", base=model, options=QUICK)
    aim = json.loads((tmp_path / "kept" / "config.json").read_text())["aim"]
    assert (aim["head"], aim["scale"], aim["max_tokens"]) == ("emb", 0.5, 20)
    trained = load_cross_encoder_model(report.model, "cpu")
    assert (trained[1].scale, trained.max_seq_length) == (0.5, 20)
    report = train_cross_encoder([SCORED], tmp_path / "set", base=model, aim=CrossAim(max_tokens=16, scale=2.0), options=QUICK)
    trained = load_cross_encoder_model(report.model, "cpu")
    assert (trained[1].scale, trained.max_seq_length) == (2.0, 16)
    aim = json.loads((tmp_path / "set" / "config.json").read_text())["aim"]
    assert (aim["scale"], aim["max_tokens"]) == (2.0, 16)
    with pytest.raises(ConfigError, match=r"head is 'cls', and the cross-encoder .* \"emb\""):
        train_cross_encoder([SCORED], tmp_path / "other", base=model, aim=CrossAim(head="cls"), options=QUICK)
    plain = new_cross_encoder(tiny_bert, "cls", max_length=20, device="cpu")
    for base in (plain, tiny_bert):
        with pytest.raises(ConfigError, match=r"scale is 2.0, which only an"):
            train_cross_encoder([SCORED], tmp_path / "other", base=base, aim=CrossAim(scale=2.0), options=QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aim": Aim(ways=9)}, "ways is 9; give 2 to 4"),
        ({"trained": "projection", "base": "bare"}, "consists of a transformer only"),
    ],
)
def test_invalid_arguments_are_refused(library_folder: Path, tmp_path: Path, given: dict[str, Any], message: str):
    if given.get("base") == "bare":
        from sentence_transformers import MultiVectorEncoder

        given["base"] = MultiVectorEncoder(modules=[load_model(library_folder, "cpu")[0]], device="cpu")
    with pytest.raises(ConfigError, match=message):
        train_retriever([SCORED], tmp_path / "run", options=QUICK, **{"base": library_folder, **given})


def test_a_teacher_is_needed_where_one_is_asked_for(library_folder: Path, tmp_path: Path):
    plain = TrainingSet(tuple(TrainingTuple(o.query_id, o.query, o.passages) for o in SCORED.tuples), TEXTS)
    with pytest.raises(ConfigError, match="distil needs a teacher's scores"):
        train_retriever([plain], tmp_path / "run", base=library_folder, aim=Aim(distil=True), options=QUICK)
    with pytest.raises(ConfigError, match="no teacher's scores"):
        train_cross_encoder([plain], tmp_path / "run", aim=CrossAim(labels="teacher"), options=QUICK)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunOptions(batch=0), "batch is 0"),
        (lambda: RunOptions(steps=0), "steps is 0"),
        (lambda: RunOptions(warmup=2), "warmup is 2"),
        (lambda: RunOptions(precision="half"), "precision is 'half'"),
        (lambda: Aim(objective="plaid"), "objective is 'plaid'"),
        (lambda: Aim(k_train=5), "k_train is 5, but objective"),
        (lambda: CrossAim(labels="gold"), "labels is 'gold'"),
    ],
)
def test_options_that_make_no_sense(make: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        make()
