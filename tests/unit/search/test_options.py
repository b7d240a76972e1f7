"""Options of a search and of a collection: defaults, combinations, and errors with value and remedy."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import numpy as np
import pytest
import typer

from pgretrieval import errors
from pgretrieval.cli.app import app
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.shared import SharedModel
from pgretrieval.errors import ConfigError, UnknownOptionError
from pgretrieval.index.options import CollectionOptions, read_settings, with_encoder, without_token_vectors
from pgretrieval.search.options import CrossEncoderOptions, ScanOptions, ScanRequest, SearchOptions, SearchRequest, read_options
from pgretrieval.types import Scoring
from tests.support.cross_encoder import TableCrossEncoder

PLAIN, XTR, RERANKED = Scoring(), Scoring("xtr"), Scoring("colxtr", "maxsim")


def refused(message: str) -> Any:
    return pytest.raises(ConfigError, match=re.escape(message))


def test_nothing_given_is_the_search_of_the_collection():
    """Without options the collection's own scanner returns k hits."""
    assert read_options(PLAIN, 10, {}) == SearchRequest(10, ScanRequest(10, ScanOptions()))
    assert read_options(XTR, 10, {}).scan.options == ScanOptions(scorer="xtr")
    assert read_options(RERANKED, 10, {}).scan.options == ScanOptions(scorer="colxtr", rerank="maxsim")
    assert [ScanOptions(scorer=scorer).reduced for scorer in ("maxsim", "xtr", "colxtr")] == ["sum", "mean", "sum"]


@pytest.mark.parametrize("scoring", [PLAIN, XTR, RERANKED], ids=["maxsim", "xtr", "reranked"])
def test_none_is_the_default_of_every_option(scoring: Scoring):
    """None selects the default of every option."""
    assert read_options(scoring, 10, dict.fromkeys(SearchOptions.__annotations__)) == read_options(scoring, 10, {})


def test_every_option_is_documented():
    """Each option of a TypedDict is followed by its explanation."""
    for kind in (SearchOptions, CollectionOptions):
        fields = ast.parse(inspect.getsource(kind)).body[0].body[1:]  # type: ignore[attr-defined]
        names, explanations = fields[::2], fields[1::2]
        assert [field.target.id for field in names] == list(kind.__annotations__)
        assert all(isinstance(ast.literal_eval(each.value), str) for each in explanations)
        assert len(names) == len(explanations)


def test_the_command_line_has_the_options_of_a_search():
    """`pgretrieval search` has each search option under its own name, but two, and no others but for mode and output."""
    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    options = {parameter.name for parameter in command.params if parameter.param_type_name == "option"}
    own = {"k", "mode", "json", "explain", "highlight", "help"}
    assert options - own == set(SearchOptions.__annotations__) - {"matches", "max_lag"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("probs", "a search has no option 'probs'; did you mean probes? give one of among, budget"),
        ("rerank_dept", "did you mean rerank_depth or rerank?"),
        ("xyz", "a search has no option 'xyz'; give one of among"),
    ],
)
def test_an_unknown_option_is_named_with_those_like_it(name: str, message: str):
    """UnknownOptionError suggests similar names and is also a TypeError, like Python's."""
    with refused(message) as caught:
        read_options(PLAIN, 10, {name: 1})
    assert isinstance(caught.value, UnknownOptionError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, errors.PgRetrievalError)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("proxy", 'generator="proxy"'),
        ("postings", 'generator="postings"'),
        ("text", 'generator="text"'),
        ("proxy:512", 'generator="proxy", candidates=512'),
        ("auto:20", 'generator="auto", candidates=20'),
    ],
)
def test_an_old_spelling_is_answered_with_the_new(old: str, new: str):
    """Old values of `candidates` (a generator, or both) raise an error with the new spelling."""
    with refused(f"candidates is '{old}'; give a number, and the generator by its own option: {new}"):
        read_options(PLAIN, 10, {"candidates": old})


@pytest.mark.parametrize("bad", ["10", "proxies", "proxy:", "proxy:-1", ":512", ""])
def test_candidates_that_are_no_number_are_refused(bad: str):
    """A text is not a number of candidates."""
    with refused(f"candidates is {bad!r}; give a whole number"):
        read_options(PLAIN, 10, {"candidates": bad})


@pytest.mark.parametrize("bad", [0, -3, 2.5, True])
@pytest.mark.parametrize("name", ["probes", "candidates", "pruning"])
def test_a_wrong_number_is_refused_by_name_and_value(name: str, bad: object):
    """Numbers must be whole and positive; the error names option and value."""
    with refused(f"{name} is {bad!r}"):
        read_options(PLAIN, 10, {name: bad})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39, "0.5", True])
def test_a_least_score_is_a_finite_number(bad: object):
    """NaN, infinity, texts and numbers beyond single precision are refused; 0 is a score."""
    with refused(f"min_score is {bad!r}; give a finite number from -3.4e+38 to 3.4e+38"):
        read_options(PLAIN, 10, {"min_score": bad})
    assert read_options(PLAIN, 10, {"min_score": np.float32(0)}).min_score == 0


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_positive(k: int):
    """k must be positive."""
    with refused(f"k is {k}"):
        read_options(PLAIN, k, {})


def test_numbers_of_numpy_are_numbers():
    """numpy numbers are accepted."""
    scan = read_options(XTR, np.int64(10), {"k_tokens": np.int64(5), "imputation": np.float32(0.5)}).scan.options
    assert (scan.k_tokens, scan.imputation) == (5, 0.5)
    with refused("imputation is inf"):
        read_options(XTR, 10, {"imputation": float("inf")})


def test_a_reranking_cross_encoder_takes_as_many_hits_as_its_depth():
    """A reranking cross-encoder gets rerank_depth hits of the collection's own search, 100 by default, and is not copied."""
    model = TableCrossEncoder()
    request = read_options(PLAIN, 10, {"rerank": model})
    assert (request.scan.k, request.cross_encoder) == (100, CrossEncoderOptions(model, 0, None))
    assert read_options(RERANKED, 10, {"rerank": "some/model", "rerank_depth": 30}).scan.k == 30
    assert read_options(RERANKED, 10, {"rerank": "some/model", "rerank_depth": 30}).scan.options.rerank_depth is None
    assert read_options(PLAIN, 10, {"rerank": model, "generator": "text"}).by_words
    with refused("rerank_depth is 9, less than k, 10"):
        read_options(PLAIN, 10, {"rerank": model, "rerank_depth": 9})


def test_rerank_by_maxsim_is_the_collections_own():
    """A collection that stores codes by passage reranks the best rerank_depth passages by all their tokens."""
    request = read_options(RERANKED, 10, {"rerank": "maxsim", "rerank_depth": 30})
    assert (request.scan.k, request.cross_encoder, request.scan.options.rerank_depth) == (10, None, 30)
    assert read_options(RERANKED, 10, {"rerank": "none"}).scan.options.rerank == "none"


def test_a_search_by_cross_encoder_begins_with_what_its_generator_finds():
    """Without a generator the factorisation makes the first round; with one, its hits are the first of five rounds."""
    alone = read_options(PLAIN, 10, {"scorer": "cross_encoder"})
    assert (alone.scan.k, alone.cross_encoder) == (0, CrossEncoderOptions(None, 500, None))
    begun = read_options(PLAIN, 10, {"scorer": "cross_encoder", "generator": "postings", "budget": 42})
    assert (begun.scan.k, begun.by_words, begun.cross_encoder) == (9, False, CrossEncoderOptions(None, 42, 5))
    words = read_options(PLAIN, 600, {"scorer": "cross_encoder", "generator": "text", "rounds": 1})
    assert (words.scan.k, words.by_words, words.cross_encoder) == (600, True, CrossEncoderOptions(None, 600, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": "text", "probes": 4}, 'probes is 4, which generator "text" does not use'),
        ({"generator": "text", "pruning": 40}, 'pruning is 40, which generator "text" does not use'),
        ({"generator": "text", "candidates": 9}, "candidates is 9, less than k, 10"),
        ({"scorer": "cross-encoder"}, "choose maxsim, xtr, colxtr or cross_encoder"),
        ({"scorer": "cross_encoder", "candidates": 512}, 'the factorisation has none; leave it out, or give generator="postings"'),
        ({"scorer": "cross_encoder", "generator": "text", "candidates": 512}, "returns as many as are scored"),
        ({"scorer": "cross_encoder", "rerank": "some/model"}, "leave rerank= out"),
        ({"budget": 10}, 'budget and rounds need scorer="cross_encoder"'),
        ({"reduction": "max"}, "reduction is 'max'; choose mean or sum"),
        ({"reduction": "sum", "scorer": "cross_encoder"}, 'reduction is "sum", but a cross-encoder gives the scores'),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str):
    """An option without effect is refused."""
    with refused(message):
        read_options(PLAIN, 10, options)


def test_the_generator_of_a_collection_has_a_new_name():
    """`candidates` as a generator raises an error with the new name."""
    assert read_settings("docs", 4, {"generator": "proxy"}).generator == "proxy"
    with refused("candidates is 'proxy'; use generator instead: generator='proxy'"):
        read_settings("docs", 4, {"candidates": "proxy"})
    with refused("generator is 'hnsw'; choose auto, proxy or postings"):
        read_settings("docs", 4, {"generator": "hnsw"})
    with refused("create_collection has no option 'generater'; did you mean generator?"):
        read_settings("docs", 4, {"generater": "proxy"})


def test_the_encoder_decides_whether_lengths_are_kept():
    """MaxSim uses unit vectors; with other scorers the encoder decides unless the caller does."""
    keeps = CollectionEncoder(SharedModel(lambda: None), {"kind": "model"}, dim=64, unit=False)

    def unit(**options: Any) -> bool | None:
        return with_encoder(read_settings("docs", 4, options), keeps).unit_vectors

    assert unit()
    assert not unit(scorer="xtr")
    assert unit(scorer="xtr", unit_vectors=True)
    assert with_encoder(read_settings("docs", 4, {"scorer": "xtr"}), None).unit_vectors
    assert not with_encoder(read_settings("docs", 4, {"scorer": "colxtr", "unit_vectors": False}), None).unit_vectors


@pytest.mark.parametrize("options", [{"dim": 64}, {"keep_vectors": True}, {"dense": "kept"}, {"scorer": "xtr"}], ids=str)
def test_collections_of_texts_refuse_options_of_vectors(options: dict[str, Any]):
    """Options of token vectors are refused for collections of texts."""
    with refused("creates a collection of texts only"):
        without_token_vectors(read_settings("docs", 4, options))
