"""Bad input: the error's class, that it names the value, and that nothing of the call was stored."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import (
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigError,
    DimensionMismatchError,
    DuplicateIdError,
    EncoderError,
    IndexNotBuiltError,
    InputError,
    VectorError,
)
from pgretrieval.corpus.jsonl import read_passages
from tests.fixtures.collections import Corpus
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages

STRANGE_NAMES = [
    "with spaces and  more",
    "single ' and double \" quotes",
    "semi;colon -- comment /* x */",
    "'; drop schema pgretrieval cascade; --",
    '"); select pg_sleep(10); --',
    "percent %s %(name)s {braces} \\backslash",
    "ünïcödé 検索 🔎",
    "new\nline\tand tab",
    "collection",
    "UPPER",
    "a" * 200,
    "ß" * 500,
]


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """A collection of 64 dimensions with one passage, `there`, and an encoder."""
    collection = database.create_collection("docs", encoder=HashedEncoder())
    collection.add([{"id": "there", "text": "already stored"}])
    return collection


def assert_unchanged(collection: pgretrieval.Collection) -> None:
    """Only the passage `there` is stored."""
    with psycopg.connect(collection._database.url) as connection:
        assert connection.execute("select array_agg(key) from pgretrieval.passage").fetchone() == (["there"],)
        assert connection.execute("select count(*) from pgretrieval.token_vector").fetchone() == (1,)


# ---- passages


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"text": "no id"}, r"passage 3: the id is missing"),
        ({"id": "", "text": "x"}, r"passage 3 \(id ''\): the id is empty"),
        ({"id": "x"}, r"passage 3 \(id 'x'\): the text is missing"),
        ({"id": "x", "text": ""}, r"passage 3 \(id 'x'\): the text is empty"),
        ({"id": "x", "text": " \n\t"}, r"passage 3 \(id 'x'\): the text is empty or blank"),
        ({"id": "x", "text": 7}, r"passage 3 \(id 'x'\): the text is of type int"),
        ({"id": "x", "text": "\0\0"}, r"passage 3 \(id 'x'\): text contains a NUL"),
        ({"id": "x\0", "text": "x"}, r"passage 3 .*id contains a NUL"),
        ({"id": "x", "text": "x", "title": "\0"}, r"passage 3 \(id 'x'\): title contains a NUL"),
        ({"id": "x", "text": "x", "metadata": {"deep": ["\0"]}}, r"passage 3 \(id 'x'\): .*NUL"),
        ({"id": "x", "text": "x", "metadata": {"n": float("nan")}}, r"passage 3 \(id 'x'\): metadata\.n is nan"),
        ({"id": "x", "text": "x", "metadata": [1]}, r"passage 3 \(id 'x'\): the metadata is of type list"),
        ({"id": "x", "text": "lone \ud800"}, r"passage 3 \(id 'x'\): text contains the lone surrogate U\+D800"),
        ({"id": "i" * 2001, "text": "x"}, r"passage 3 .*2,001 bytes"),
        ({"id": 1.5, "text": "x"}, r"passage 3: the id is of type float"),
        ("just a text", r"passage 3: expected a Passage or an object with id and text, found of type str"),
    ],
)
def test_a_bad_passage_stops_the_whole_add(docs: pgretrieval.Collection, bad: Any, said: str):
    """A bad passage is stored, or the good ones before it are, or the message does not say which it was."""
    with pytest.raises(InputError, match=said):
        docs.add([{"id": "a", "text": "good"}, {"id": "b", "text": "good"}, bad])
    assert_unchanged(docs)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": "x", "text": ', "corpus.jsonl:2: not valid JSON"),
        (b"[1, 2]", "corpus.jsonl:2: expected a JSON object, found list"),
        (b'{"id": "x", "text": "\xff"}', "corpus.jsonl:2: the byte 0xff is not UTF-8"),
        (b'{"text": "x"}', "corpus.jsonl:2: the id is missing"),
        (b'{"id": "x", "text": "\\u0000"}', r"corpus.jsonl:2 \(id 'x'\): text contains a NUL"),
    ],
)
def test_a_bad_line_of_a_file_stops_the_whole_add(docs: pgretrieval.Collection, tmp_path: Path, line: bytes, said: str):
    """File and line number are lost on the way, or the lines before are stored."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(json.dumps({"id": "a", "text": "good"}).encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=said):
        docs.add(read_passages(path))
    assert_unchanged(docs)


def test_duplicate_ids_within_one_add(docs: pgretrieval.Collection):
    """The second passage replaces the first, or the first is stored."""
    with pytest.raises(DuplicateIdError, match=r"twice in this call: 'b'"):
        docs.add([{"id": key, "text": key} for key in ("a", "b", "c", "b")])
    assert_unchanged(docs)


def test_duplicate_ids_in_different_batches_of_one_add(docs: pgretrieval.Collection):
    """Ids are compared within a batch only."""
    many = [{"id": f"n{number}", "text": "word"} for number in range(1500)]
    with pytest.raises(DuplicateIdError, match=r"twice in this call: 'n3'"):
        docs.add([*many, {"id": "n3", "text": "word"}])
    assert_unchanged(docs)


def test_duplicate_ids_across_adds(docs: pgretrieval.Collection):
    """A stored passage is silently replaced, or the new ones around it are stored."""
    with pytest.raises(DuplicateIdError, match=r"in collection 'docs' already: 'there'"):
        docs.add([{"id": "new", "text": "new"}, {"id": "there", "text": "other"}])
    assert_unchanged(docs)


def test_duplicate_ids_after_the_build(docs: pgretrieval.Collection):
    """The check looks at waiting passages only."""
    docs.build()
    with pytest.raises(DuplicateIdError, match="'there'"):
        docs.add([{"id": "there", "text": "other"}])
    assert docs.stats()["passages"] == 1


def test_an_integer_id_equals_its_text(docs: pgretrieval.Collection):
    """7 and "7" are stored side by side, though both come back as "7"."""
    with pytest.raises(DuplicateIdError, match="'7'"):
        docs.add([{"id": 7, "text": "x"}, {"id": "7", "text": "y"}])
    assert_unchanged(docs)


def test_adding_nothing_is_no_error(docs: pgretrieval.Collection):
    """An empty iterable breaks on the first element that it lacks."""
    assert docs.add([]) == pgretrieval.AddReport(0, 0, 0)
    assert docs.add([], vectors=[]) == pgretrieval.AddReport(0, 0, 0)
    assert_unchanged(docs)


def test_a_single_mapping_is_not_taken_for_passages(docs: pgretrieval.Collection):
    """add({...}) iterates over the keys."""
    with pytest.raises(InputError, match="passage 1: expected a Passage or an object"):
        docs.add({"id": "a", "text": "x"})
    assert_unchanged(docs)


# ---- vectors


def spoilt(value: float) -> np.ndarray:
    """Two good rows, and one that is all `value` in places."""
    matrix = clustered(1, tokens=(3, 3))[0].copy()
    matrix[1] = 0 if value == 0 else matrix[1]
    if value != 0:
        matrix[1, 5] = value
    return matrix


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, r"zero vector \(first at token 1\)"), (np.nan, r"NaN or infinity \(first at token 1\)"), (np.inf, "NaN or infinity")],
)
def test_zero_nan_and_infinite_vectors_of_passages(docs: pgretrieval.Collection, value: float, said: str):
    """A vector without direction is stored and poisons the training."""
    with pytest.raises(VectorError, match=rf"passage 'p1' hold.*{said}"):
        docs.add(passages(2), vectors=[clustered(1)[0], spoilt(value)])
    assert_unchanged(docs)


@pytest.mark.parametrize(("value", "said"), [(0.0, "zero vector"), (np.nan, "NaN or infinity"), (-np.inf, "NaN or infinity")])
def test_zero_nan_and_infinite_vectors_of_queries(built: pgretrieval.Collection, value: float, said: str):
    """A NaN reaches the ranking, where every comparison is false."""
    with pytest.raises(VectorError, match=f"the query hold.*{said}"):
        built.search(vectors=spoilt(value))
    with pytest.raises(VectorError, match=f"query 2 hold.*{said}"):
        built.search_many(vectors=[clustered(1)[0], spoilt(value)])


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones(64), r"shape \(64,\)"),
        (np.ones((2, 3, 64)), r"shape \(2, 3, 64\)"),
        (np.empty((0, 64)), r"shape \(0, 64\)"),
        ("text", "not an array of numbers"),
        ([[1.0], [1.0, 2.0]], "not an array of numbers"),
        (None, r"shape \((1,)?\)"),
    ],
)
def test_vectors_of_a_wrong_shape(docs: pgretrieval.Collection, vectors: Any, said: str):
    """Something that is no (tokens, dim) array is reshaped silently."""
    with pytest.raises(VectorError, match=rf"passage 'p0'.*({said})"):
        docs.add(passages(1), vectors=[vectors])
    assert_unchanged(docs)


def test_vectors_of_another_dimension_than_the_collection(docs: pgretrieval.Collection):
    """They are stored, and the search breaks much later."""
    with pytest.raises(DimensionMismatchError, match=r"passage 'p1' have 96 dimensions, the collection has 64"):
        docs.add(passages(2), vectors=[clustered(1)[0], clustered(1, dim=96)[0]])
    assert_unchanged(docs)


def test_vectors_of_two_dimensions_in_one_first_add(database: pgretrieval.RetrievalDatabase):
    """The first passage decides nothing, and the collection holds two dimensions."""
    fresh = database.create_collection("fresh")
    with pytest.raises(DimensionMismatchError, match=r"passage 'p1' have 96 dimensions, the collection has 64"):
        fresh.add(passages(2), vectors=[clustered(1)[0], clustered(1, dim=96)[0]])
    assert (fresh.stats()["passages"], fresh.stats()["dim"]) == (0, None)


@pytest.mark.parametrize("dim", [1, 47, 1025])
def test_dimensions_out_of_range(database: pgretrieval.RetrievalDatabase, dim: int):
    """A dimension that no index supports is accepted in one of the three ways to set it."""
    fresh = database.create_collection("fresh")
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions; collections take 48 to 1024"):
        fresh.add(passages(1), vectors=clustered(1, dim=dim))
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions"):
        database.create_collection("other", dim=dim)
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions"):
        database.create_collection("other", encoder=HashedEncoder(dim))
    assert database.list_collections() == ["fresh"]


def test_a_query_of_another_dimension(built: pgretrieval.Collection):
    """torch's own message about matrix shapes comes out."""
    with pytest.raises(DimensionMismatchError, match="the query have 128 dimensions, the collection has 64"):
        built.search(vectors=clustered(1, dim=128)[0])


def test_an_encoder_of_another_dimension(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """The collection takes vectors of another encoder."""
    with pytest.raises(DimensionMismatchError, match="96 dimensions, collection 'docs' has 64"):
        database.get_collection("docs", encoder=HashedEncoder(96))
    with pytest.raises(ConfigError, match=r"dim is 128, encoder .* has 64"):
        database.create_collection("other", encoder=HashedEncoder(), dim=128)
    assert_unchanged(docs)


@pytest.mark.parametrize(("count", "said"), [(1, "ended before passage 'p1'"), (3, "more arrays in vectors= than passages")])
def test_more_or_fewer_vectors_than_passages(docs: pgretrieval.Collection, count: int, said: str):
    """Vectors are matched to the wrong passages, or passages are stored without any."""
    with pytest.raises(InputError, match=said):
        docs.add(passages(2), vectors=clustered(count))
    assert_unchanged(docs)


def test_own_vectors_and_then_texts(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Texts added to a collection of own vectors are encoded by a model that has nothing to do with them."""
    own = database.create_collection("own")
    own.add(corpus.passages, vectors=corpus.vectors)
    own.build()
    for use in (lambda: own.add([{"id": "x", "text": "y"}]), lambda: own.search("a text")):
        with pytest.raises(InputError, match=r"collection 'own' .*no encoder; pass vectors="):
            use()
    assert own.stats()["passages"] == 300


# ---- queries and knobs


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True, None])
def test_a_k_that_makes_no_sense(built: pgretrieval.Collection, corpus: Corpus, k: Any):
    """k <= 0 returns nothing or everything."""
    for use in (built.search, built.explain):
        with pytest.raises(ConfigError, match=f"k is {k!r}"):
            use(vectors=corpus.queries[0], k=k)
    with pytest.raises(ConfigError, match=f"k is {k!r}"):
        built.search_many(vectors=corpus.queries, k=k)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"probes": 0}, "probes is 0"),
        ({"candidates": -5}, "candidates is -5"),
        ({"pruning": 0}, "pruning is 0"),
        ({"candidates": 9}, "candidates is 9, less than the 10 hits"),
        ({"pruning": 9}, "pruning is 9, less than the 10 hits"),
    ],
)
def test_knobs_that_make_no_sense(built: pgretrieval.Collection, corpus: Corpus, knobs: dict[str, int], said: str):
    """Fewer hits than asked for come back without a word."""
    with pytest.raises(ConfigError, match=said):
        built.search(vectors=corpus.queries[0], k=10, **knobs)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_a_blank_query(docs: pgretrieval.Collection, query: str):
    """A blank query finds something."""
    docs.build()
    for use in (docs.search, docs.explain, lambda text: docs.search_many(["word", text])):
        with pytest.raises(InputError, match=re.escape(f"the query is {query!r}")):
            use(query)


def test_a_query_and_vectors_or_neither(docs: pgretrieval.Collection):
    """One of the two is ignored."""
    for use in (docs.search, docs.explain):
        with pytest.raises(ConfigError, match="either query texts or vectors="):
            use()
        with pytest.raises(ConfigError, match="either query texts or vectors="):
            use("text", vectors=clustered(1)[0])


def test_one_text_given_to_search_many(docs: pgretrieval.Collection):
    """The letters of the text are searched one by one."""
    with pytest.raises(ConfigError, match=r"not one text \('one text'\)"):
        docs.search_many("one text")


def test_a_query_of_a_wrong_type(docs: pgretrieval.Collection):
    """A number reaches the tokenizer."""
    with pytest.raises(InputError, match="the query is 7"):
        docs.search(7)


# ---- collections


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_are_only_names(database: pgretrieval.RetrievalDatabase, name: str):
    """A name is pasted into SQL somewhere on the way of a collection's life."""
    database.create_collection("bystander", dim=64)
    docs = database.create_collection(name)
    docs.add(passages(3), vectors=clustered(3))
    docs.build()
    assert docs.search(vectors=clustered(3)[1], k=1)[0].id == "p1"
    assert sorted(database.list_collections()) == sorted(["bystander", name])
    assert database.get_collection(name).stats()["name"] == name
    with pytest.raises(CollectionExistsError) as raised:
        database.create_collection(name)
    assert repr(name) in str(raised.value)
    database.drop_collection(name)
    assert database.list_collections() == ["bystander"]


@pytest.mark.parametrize("key", STRANGE_NAMES)
def test_strange_ids_titles_and_texts_come_back_as_they_were(database: pgretrieval.RetrievalDatabase, key: str):
    """A value is changed by quoting, escaping or normalisation."""
    docs = database.create_collection("docs")
    docs.add([{"id": key, "title": key, "text": key, "metadata": {key: [key, None, 1.5, True]}}], vectors=clustered(1))
    docs.build()
    hit = docs.search(vectors=clustered(1)[0])[0]
    assert (hit.id, hit.title, hit.text, hit.metadata) == (key, key, key, {key: [key, None, 1.5, True]})


@pytest.mark.parametrize("name", ["", "   ", "nul\0", "x" * 501, None, 5])
def test_names_that_cannot_be(database: pgretrieval.RetrievalDatabase, name: Any):
    """The database's own error comes out, or a name is stored that cannot be typed again."""
    with pytest.raises(ConfigError, match="cannot be called"):
        database.create_collection(name)
    assert database.list_collections() == []


def test_a_lone_surrogate_in_a_name(database: pgretrieval.RetrievalDatabase):
    """A name that is no text ends in a UnicodeEncodeError."""
    with pytest.raises(ConfigError, match="cannot be called"):
        database.create_collection("lone \ud800")


def test_an_unknown_collection(database: pgretrieval.RetrievalDatabase):
    """A name that is not there gives an empty collection, or does not list what is there."""
    database.create_collection("cats", dim=64)
    for use in (database.get_collection, database.drop_collection):
        with pytest.raises(CollectionNotFoundError, match="no collection 'dogs' in this database; there are: 'cats'"):
            use("dogs")


@pytest.mark.parametrize("name", ["nul\0", "lone \ud800", ""])
def test_looking_up_a_name_that_cannot_be(database: pgretrieval.RetrievalDatabase, name: str):
    """A name that no collection can have ends in the driver's error."""
    for use in (database.get_collection, database.drop_collection):
        with pytest.raises(ConfigError, match="cannot be called"):
            use(name)


def test_a_collection_that_is_there_already(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """Creating it again empties it."""
    with pytest.raises(CollectionExistsError, match="collection 'docs' is there already"):
        database.create_collection("docs", dim=96)
    assert_unchanged(docs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 3}, "bits is 3"),
        ({"bits": "4"}, "bits is '4'"),
        ({"levels": "even"}, "levels is 'even'"),
    ],
)
def test_settings_that_cannot_be(database: pgretrieval.RetrievalDatabase, options: dict[str, Any], said: str):
    """A typing error is stored and shows when building."""
    with pytest.raises(ConfigError, match=said):
        database.create_collection("docs", **options)
    assert database.list_collections() == []


def test_an_object_that_is_no_encoder(database: pgretrieval.RetrievalDatabase):
    """It is stored, and the first add breaks."""
    with pytest.raises(EncoderError, match="no method encode_query and no encode_document"):
        database.create_collection("docs", encoder=object())
    assert database.list_collections() == []


def test_a_model_that_is_not_there(database: pgretrieval.RetrievalDatabase, tmp_path: Path):
    """A mistyped path leaves a collection that nothing can be added to."""
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(EncoderError, match=str(folder)):
        database.create_collection("docs", encoder=str(folder))
    assert database.list_collections() == []


def test_building_an_empty_collection(database: pgretrieval.RetrievalDatabase):
    """k-means on nothing gives its own error."""
    fresh = database.create_collection("fresh", dim=64)
    with pytest.raises(IndexNotBuiltError, match="collection 'fresh' is empty; add passages"):
        fresh.build()


class _Odd(HashedEncoder):
    """Gives one array too few, another dimension, or an error, for a text that asks for it."""

    def encode_document(self, texts: Any) -> list[Any]:
        if any("raise" in text for text in texts):
            msg = "the model is out of order"
            raise RuntimeError(msg)
        arrays = super().encode_document(texts)
        if any("fewer" in text for text in texts):
            return arrays[:-1]
        return [
            array[:, :50] if "narrow" in text else array * np.nan if "nan" in text else array
            for array, text in zip(arrays, texts, strict=True)
        ]


@pytest.mark.parametrize(
    ("word", "said"),
    [("raise", "out of order"), ("fewer", "1 arrays for 2 texts"), ("narrow", "dimension 50"), ("nan", "NaN or infinity")],
)
def test_an_encoder_that_fails_in_the_middle(database: pgretrieval.RetrievalDatabase, word: str, said: str):
    """What a broken encoder returned is stored, or the cause is hidden."""
    odd = database.create_collection("odd", encoder=_Odd())
    with pytest.raises(EncoderError, match=said):
        odd.add([{"id": "a", "text": "fine words"}, {"id": "b", "text": f"{word} words"}])
    assert odd.stats()["passages"] == 0
