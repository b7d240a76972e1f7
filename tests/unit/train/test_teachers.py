"""Scores of a late-interaction model as teacher."""

from __future__ import annotations

import numpy as np

from pgretrieval.encode import load_encoder
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.teachers import LateInteractionTeacher
from tests.support.encoder import HashedEncoder

PASSAGES = ["the river flows to the sea", "a bank lends money", "water", "the loan of a bank by the river"]
QUERIES = ["river water", "bank loan money"]


def test_scores_are_maxsim():
    """Each pair's score is its MaxSim."""
    encoder = load_encoder(HashedEncoder())
    pairs = [(QUERIES[number % 2], PASSAGES[place]) for number, place in enumerate([0, 3, 1, 1, 2, 0, 3])]
    scores = LateInteractionTeacher(HashedEncoder()).predict(pairs)
    for (query, passage), score in zip(pairs, scores, strict=True):
        [asked], [array] = encoder.encode_query(query), encoder.encode_document(passage)
        np.testing.assert_allclose(score, (asked @ array.T).max(axis=1).sum(), rtol=1e-6)
    assert scores.dtype == np.float32


def test_every_token_of_every_passage_counts():
    """Every token of every passage counts, including the first and the last."""
    teacher = LateInteractionTeacher(HashedEncoder())
    scores = teacher.predict([("river", "river flows"), ("river", "the river"), ("sea", "sea water"), ("sea", "a sea")])
    np.testing.assert_allclose(scores, 1, rtol=1e-6)


def test_texts_are_encoded_once():
    """A passage in several pairs is encoded once."""
    encoder = HashedEncoder()
    LateInteractionTeacher(encoder).predict([(query, passage) for query in QUERIES for passage in [*PASSAGES, *PASSAGES]])
    assert encoder.encoded == len(PASSAGES)


def test_it_serves_as_a_cross_encoder():
    """Mining accepts it as a cross-encoder without extra scores."""
    scorer = load_cross_encoder(LateInteractionTeacher(HashedEncoder()))
    assert "HashedEncoder" in scorer.fingerprint
    assert scorer.predict([]).shape == (0,)
    assert scorer.calls == 0
    assert scorer.predict([(QUERIES[0], text) for text in PASSAGES]).argmax() == 0
    assert scorer.calls == 4
