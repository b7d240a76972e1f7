"""Fingerprints identify a cross-encoder and detect changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pgretrieval.errors import EncoderError
from pgretrieval.rerank import from_spec, load_cross_encoder
from pgretrieval.rerank.markers import MarkerScore, new_cross_encoder


@pytest.mark.parametrize("head", ["cls", "emb"])
def test_a_model_is_known_by_its_weights(tiny_bert: Path, tmp_path: Path, head: str) -> None:
    """A saved model has the same fingerprint; a model trained further has another."""
    torch.manual_seed(0)
    model = new_cross_encoder(tiny_bert, head, max_length=24, device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    before = load_cross_encoder(model).fingerprint
    again = load_cross_encoder(tmp_path / "model", device="cpu")
    assert again.fingerprint == before
    assert again.calls == 0
    assert from_spec(again.spec, device="cpu").fingerprint == before
    with torch.no_grad():
        next(parameter for name, parameter in model.named_parameters() if name.endswith("query.weight")).mul_(1.01)
    assert load_cross_encoder(model).fingerprint != before


CHANGES = {
    "one weight": lambda model: next(model.parameters()).data.view(-1)[:1].add_(0.5),
    "counted by torch": lambda model: torch.nn.init.constant_(list(model.parameters())[-1], 0.5),
    "not counted by torch": lambda model: [parameter.data.mul_(1.01) for parameter in model.parameters()],
    "scale": lambda model: setattr(model[1], "scale", 3.0),
    "length": lambda model: setattr(model, "max_seq_length", 12),
    "tokenizer": lambda model: model.tokenizer.add_tokens(["hello"]),
    "heads": lambda model: setattr(model.config, "num_attention_heads", 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_place_changes_the_fingerprint(tiny_bert: Path, change: str) -> None:
    """A change in place changes the fingerprint."""
    torch.manual_seed(0)
    model = new_cross_encoder(tiny_bert, "emb", max_length=24, device="cpu")
    scorer = load_cross_encoder(model)
    before = scorer.fingerprint
    assert scorer.fingerprint == before
    with torch.no_grad():
        CHANGES[change](model)
    assert scorer.fingerprint != before
    assert scorer.fingerprint == load_cross_encoder(model).fingerprint


def test_every_weight_counts(tiny_bert: Path) -> None:
    """A change of any weight changes the fingerprint, not only of the sampled ones."""
    model = new_cross_encoder(tiny_bert, "emb", max_length=24, device="cpu")
    before = load_cross_encoder(model).fingerprint
    largest = max(model.parameters(), key=torch.numel)
    assert largest.numel() > 2 * 1024
    with torch.no_grad():
        largest.view(-1)[1] += 1
    assert load_cross_encoder(model).fingerprint != before


def test_the_head_is_part_of_a_saved_model(tiny_bert: Path, tmp_path: Path) -> None:
    """Models that differ only in the scale of the head have different fingerprints."""
    found = set()
    for scale in (1.0, 2.0):
        torch.manual_seed(0)
        model = new_cross_encoder(tiny_bert, "emb", max_length=24, scale=scale, device="cpu")
        model.save(str(tmp_path / str(scale)), create_model_card=False)
        found.add(load_cross_encoder(tmp_path / str(scale), device="cpu").fingerprint)
    assert len(found) == 2


class Counting:
    """Scores by length."""

    factor = 1.0

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        return [self.factor * len(passage) for _, passage in pairs]


def test_an_object_is_known_by_its_mark_or_by_scores() -> None:
    """Objects are identified by their attribute `fingerprint`, else by scores, which are computed once."""
    first, changed, marked = Counting(), Counting(), Counting()
    changed.factor = 1.1
    marked.fingerprint = "v3"  # type: ignore[attr-defined]
    scorer = load_cross_encoder(first)
    assert scorer.fingerprint == load_cross_encoder(Counting()).fingerprint
    assert scorer.fingerprint != load_cross_encoder(changed).fingerprint
    assert scorer.calls == 4
    other = load_cross_encoder(marked)
    assert (other.fingerprint, other.calls) == ("given v3", 0)
    marked.fingerprint = lambda: "v4"  # type: ignore[attr-defined]
    assert (load_cross_encoder(marked).fingerprint, other.fingerprint) == ("given v4", "given v4")
    with pytest.raises(EncoderError, match="was an object of type"):
        from_spec(scorer.spec)


def test_scores_that_differ_in_their_second_digit_are_of_another() -> None:
    """Scores that differ in the second decimal place give different fingerprints."""
    first, close = Counting(), Counting()
    close.factor = 1.01
    assert load_cross_encoder(first).fingerprint != load_cross_encoder(close).fingerprint


def test_progress_is_reported_and_infinite_scores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress reports the number of pairs just finished, and infinite scores are refused."""
    monkeypatch.setattr("pgretrieval.rerank.scorer.PAIRS_PER_CALL", 3)
    told: list[int] = []
    scorer = load_cross_encoder(Counting())
    scorer.predict([("a", "b")] * 7, told.append)
    assert (told, scorer.calls) == ([3, 3, 1], 7)
    infinite = Counting()
    infinite.factor = float("inf")
    with pytest.raises(EncoderError, match="no finite score"):
        load_cross_encoder(infinite).predict([("a", "b")])


def test_one_marker_stands_for_both() -> None:
    """A single remaining marker is not averaged with a missing one."""
    head = MarkerScore(2.0)
    head._query, head._passage = [1, 2], [3, 4]
    vectors = torch.tensor([[[1.0, 3.0], [0.0, 0.0], [3.0, 1.0], [5.0, 7.0]]])
    features = {"input_ids": torch.tensor([[1, 9, 2, 3]]), "token_embeddings": vectors}
    assert head(features)["scores"].tolist() == [[2.0 * (2 * 5 + 2 * 7)]]
