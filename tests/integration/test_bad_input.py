"""Invalid input: the error's class and value, and that the call stores nothing."""

from __future__ import annotations

import json
import re
import uuid
import warnings
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
from pgretrieval.corpus.reading import read_passages
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
    """Assert that only the passage `there` is stored."""
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
    """An invalid passage stops the whole add, and the message identifies it."""
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
    """The error names file and line, and no line is stored."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(json.dumps({"id": "a", "text": "good"}).encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=said):
        docs.add(read_passages(path))
    assert_unchanged(docs)


def test_duplicate_ids_within_one_add(docs: pgretrieval.Collection):
    """Ids that occur twice in one add raise an error, and nothing is stored."""
    with pytest.raises(DuplicateIdError, match=r"twice in this call: 'b'"):
        docs.add([{"id": key, "text": key} for key in ("a", "b", "c", "b")])
    assert_unchanged(docs)


def test_duplicate_ids_in_different_batches_of_one_add(docs: pgretrieval.Collection):
    """Ids are compared across the batches of an add."""
    many = [{"id": f"n{number}", "text": "word"} for number in range(1500)]
    with pytest.raises(DuplicateIdError, match=r"twice in this call: 'n3'"):
        docs.add([*many, {"id": "n3", "text": "word"}])
    assert_unchanged(docs)


def test_duplicate_ids_across_adds(docs: pgretrieval.Collection):
    """An id that exists raises an error, and new passages beside it are not stored."""
    with pytest.raises(DuplicateIdError, match=r"in collection 'docs' already: 'there'"):
        docs.add([{"id": "new", "text": "new"}, {"id": "there", "text": "other"}])
    assert_unchanged(docs)


def test_duplicate_ids_after_the_build(docs: pgretrieval.Collection):
    """Ids are compared with built passages, too."""
    docs.build()
    with pytest.raises(DuplicateIdError, match="'there'"):
        docs.add([{"id": "there", "text": "other"}])
    assert docs.stats()["passages"] == 1


def test_an_integer_id_equals_its_text(docs: pgretrieval.Collection):
    """7 and "7" are the same id, because both are stored as "7"."""
    with pytest.raises(DuplicateIdError, match="'7'"):
        docs.add([{"id": 7, "text": "x"}, {"id": "7", "text": "y"}])
    assert_unchanged(docs)


def test_adding_nothing_is_no_error(docs: pgretrieval.Collection):
    """An empty iterable adds nothing, without an error."""
    assert docs.add([]) == pgretrieval.AddReport(0, 0, 0)
    assert docs.add([], vectors=[]) == pgretrieval.AddReport(0, 0, 0)
    assert_unchanged(docs)


def test_a_single_mapping_is_not_taken_for_passages(docs: pgretrieval.Collection):
    """add({...}) raises an error instead of iterating over the keys."""
    with pytest.raises(InputError, match=r"passages is {.*; give a list of passages"):
        docs.add({"id": "a", "text": "x"})
    assert_unchanged(docs)


# ---- vectors


def spoilt(value: float) -> np.ndarray:
    """Two valid rows, and one filled with `value`."""
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
    """Passage vectors must be finite and not zero, as they would spoil the training."""
    with pytest.raises(VectorError, match=rf"passage 'p1' contain.*{said}"):
        docs.add(passages(2), vectors=[clustered(1)[0], spoilt(value)])
    assert_unchanged(docs)


@pytest.mark.parametrize(("value", "said"), [(0.0, "zero vector"), (np.nan, "NaN or infinity"), (-np.inf, "NaN or infinity")])
def test_zero_nan_and_infinite_vectors_of_queries(built: pgretrieval.Collection, value: float, said: str):
    """Query vectors must be finite and not zero, as NaN compares false with everything."""
    with pytest.raises(VectorError, match=f"the query contain.*{said}"):
        built.search(vectors=spoilt(value))
    with pytest.raises(VectorError, match=f"query 2 contain.*{said}"):
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
    """Only (tokens, dim) arrays are accepted."""
    with pytest.raises(VectorError, match=rf"passage 'p0'.*({said})"):
        docs.add(passages(1), vectors=[vectors])
    assert_unchanged(docs)


def test_vectors_of_another_dimension_than_the_collection(docs: pgretrieval.Collection):
    """Vectors must have the collection's dimension."""
    with pytest.raises(DimensionMismatchError, match=r"passage 'p1' have 96 dimensions, but the collection has 64"):
        docs.add(passages(2), vectors=[clustered(1)[0], clustered(1, dim=96)[0]])
    assert_unchanged(docs)


def test_vectors_of_two_dimensions_in_one_first_add(database: pgretrieval.RetrievalDatabase):
    """The first passage sets the dimension, and another one in the same add is refused."""
    fresh = database.create_collection("fresh")
    with pytest.raises(DimensionMismatchError, match=r"passage 'p1' have 96 dimensions, but the collection has 64"):
        fresh.add(passages(2), vectors=[clustered(1)[0], clustered(1, dim=96)[0]])
    assert (fresh.stats()["passages"], fresh.stats()["dim"]) == (0, None)


@pytest.mark.parametrize("dim", [1, 47, 1025])
def test_dimensions_out_of_range(database: pgretrieval.RetrievalDatabase, dim: int):
    """Dimensions that indexes do not support are refused in all three ways to set them."""
    fresh = database.create_collection("fresh")
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions; collections take 48 to 1024"):
        fresh.add(passages(1), vectors=clustered(1, dim=dim))
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions"):
        database.create_collection("other", dim=dim)
    with pytest.raises(DimensionMismatchError, match=f"{dim} dimensions"):
        database.create_collection("other", encoder=HashedEncoder(dim))
    assert database.list_collections() == ["fresh"]


def test_a_query_of_another_dimension(built: pgretrieval.Collection):
    """The error names both dimensions."""
    with pytest.raises(DimensionMismatchError, match="the query have 128 dimensions, but the collection has 64"):
        built.search(vectors=clustered(1, dim=128)[0])


def test_an_encoder_of_another_dimension(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """An encoder must have the collection's dimension."""
    with pytest.raises(DimensionMismatchError, match="96 dimensions, but collection 'docs' has 64"):
        database.get_collection("docs", encoder=HashedEncoder(96))
    with pytest.raises(ConfigError, match=r"dim is 128, but encoder .* has 64"):
        database.create_collection("other", encoder=HashedEncoder(), dim=128)
    assert_unchanged(docs)


@pytest.mark.parametrize(("count", "said"), [(1, "ended before passage 'p1'"), (3, "more arrays in vectors= than passages")])
def test_more_or_fewer_vectors_than_passages(docs: pgretrieval.Collection, count: int, said: str):
    """The number of vector arrays must equal that of passages."""
    with pytest.raises(InputError, match=said):
        docs.add(passages(2), vectors=clustered(count))
    assert_unchanged(docs)


def test_own_vectors_and_then_texts(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Texts without vectors are refused in a collection of given vectors."""
    own = database.create_collection("own")
    own.add(corpus.passages, vectors=corpus.vectors)
    own.build()
    for use in (lambda: own.add([{"id": "x", "text": "y"}]), lambda: own.search("a text")):
        with pytest.raises(InputError, match=r"collection 'own' .*no encoder; pass vectors="):
            use()
    assert own.stats()["passages"] == 300


# ---- queries and options


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True, None])
def test_a_k_that_makes_no_sense(built: pgretrieval.Collection, corpus: Corpus, k: Any):
    """k must be positive."""
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
        ({"candidates": 9}, "candidates is 9, less than k, 10"),
        ({"pruning": 9}, "pruning is 9, less than k, 10"),
    ],
)
def test_knobs_that_make_no_sense(built: pgretrieval.Collection, corpus: Corpus, knobs: dict[str, int], said: str):
    """Invalid search options raise an error."""
    with pytest.raises(ConfigError, match=said):
        built.search(vectors=corpus.queries[0], k=10, **knobs)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_a_blank_query(docs: pgretrieval.Collection, query: str):
    """A blank query is refused."""
    docs.build()
    for use in (docs.search, docs.explain, lambda text: docs.search_many(["word", text])):
        with pytest.raises(InputError, match=re.escape(f"the query is {query!r}")):
            use(query)


def test_a_query_and_vectors_or_neither(docs: pgretrieval.Collection):
    """Exactly one of query and vectors is required."""
    for use in (docs.search, docs.explain):
        with pytest.raises(ConfigError, match="either query texts or vectors="):
            use()
        with pytest.raises(ConfigError, match="either query texts or vectors="):
            use("text", vectors=clustered(1)[0])


def test_a_query_longer_than_the_model_reads(database: pgretrieval.RetrievalDatabase):
    """A truncated query causes a warning; one that fits does not."""

    class Short(HashedEncoder):
        def count_truncated_queries(self, texts: list[str]) -> int:
            return sum(len(text.split()) > 3 for text in texts)

    docs = database.create_collection("docs", encoder=Short())
    docs.add([{"id": "a", "text": "one two"}])
    too_long, fits = "one two three four", "one two"
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="the query was longer than the model's limit"):
        docs.search(too_long)
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="1 of 2 queries were longer"):
        docs.search_many([too_long, fits])
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="the query was longer"):
        docs.hybrid_search(too_long)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        docs.search(fits)
        docs.search_many([fits, fits])


def test_one_text_given_to_search_many(docs: pgretrieval.Collection):
    """A single text is not searched letter by letter."""
    with pytest.raises(ConfigError, match=r"not one text \('one text'\)"):
        docs.search_many("one text")


def test_a_query_of_a_wrong_type(docs: pgretrieval.Collection):
    """A query must be a text."""
    with pytest.raises(InputError, match="the query is 7"):
        docs.search(7)


# ---- collections


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_are_only_names(database: pgretrieval.RetrievalDatabase, name: str):
    """Names with quotes and the like work in every operation."""
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
    """Ids, titles and texts return unchanged by quoting, escaping or normalisation."""
    docs = database.create_collection("docs")
    docs.add([{"id": key, "title": key, "text": key, "metadata": {key: [key, None, 1.5, True]}}], vectors=clustered(1))
    docs.build()
    hit = docs.search(vectors=clustered(1)[0])[0]
    assert (hit.id, hit.title, hit.text, hit.metadata) == (key, key, key, {key: [key, None, 1.5, True]})


@pytest.mark.parametrize("name", ["", "   ", "nul\0", "x" * 501, None, 5])
def test_names_that_cannot_be(database: pgretrieval.RetrievalDatabase, name: Any):
    """Invalid names are refused before they reach the database."""
    with pytest.raises(ConfigError, match="cannot be called"):
        database.create_collection(name)
    assert database.list_collections() == []


def test_a_lone_surrogate_in_a_name(database: pgretrieval.RetrievalDatabase):
    """A name with a lone surrogate raises an error of the package."""
    with pytest.raises(ConfigError, match="cannot be called"):
        database.create_collection("lone \ud800")


def test_an_unknown_collection(database: pgretrieval.RetrievalDatabase):
    """The error lists the existing collections."""
    database.create_collection("cats", dim=64)
    for use in (database.get_collection, database.drop_collection):
        with pytest.raises(CollectionNotFoundError, match="no collection 'dogs' in this database; there are: 'cats'"):
            use("dogs")


@pytest.mark.parametrize("name", ["nul\0", "lone \ud800", ""])
def test_looking_up_a_name_that_cannot_be(database: pgretrieval.RetrievalDatabase, name: str):
    """An invalid name raises an error of the package."""
    for use in (database.get_collection, database.drop_collection):
        with pytest.raises(ConfigError, match="cannot be called"):
            use(name)


def test_creating_an_existing_collection(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """Creating an existing collection raises an error and keeps its passages."""
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
    """Invalid settings are refused at creation."""
    with pytest.raises(ConfigError, match=said):
        database.create_collection("docs", **options)
    assert database.list_collections() == []


def test_an_object_that_is_no_encoder(database: pgretrieval.RetrievalDatabase):
    """An object without the encoder's methods is refused at creation."""
    with pytest.raises(EncoderError, match="no method encode_query and no encode_document"):
        database.create_collection("docs", encoder=object())
    assert database.list_collections() == []


def test_a_missing_model(database: pgretrieval.RetrievalDatabase, tmp_path: Path):
    """A missing model leaves no collection."""
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(EncoderError, match=str(folder)):
        database.create_collection("docs", encoder=str(folder))
    assert database.list_collections() == []


def test_building_an_empty_collection(database: pgretrieval.RetrievalDatabase):
    """Building an empty collection raises a clear error."""
    fresh = database.create_collection("fresh", dim=64)
    with pytest.raises(IndexNotBuiltError, match="collection 'fresh' is empty; add passages"):
        fresh.build()


class _Odd(HashedEncoder):
    """Returns one array too few, another dimension, or raises, for texts that request it."""

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
    """Output of a failing encoder is not stored, and its exception is the cause."""
    odd = database.create_collection("odd", encoder=_Odd())
    with pytest.raises(EncoderError, match=said):
        odd.add([{"id": "a", "text": "fine words"}, {"id": "b", "text": f"{word} words"}])
    assert odd.stats()["passages"] == 0


# ---- empty and false values, and single values instead of lists


@pytest.mark.parametrize("where", [[], (), set(), 0, False, 0.0, b"", "", " ", {}, [1], np.array([]), "1", "$.n", "$ ? (@.n == 1)"])
def test_delete_refuses_an_empty_where(docs: pgretrieval.Collection, where: Any):
    """An empty, false or invalid `where` of delete is refused."""
    with pytest.raises(ConfigError, match="where is"):
        docs.delete(where=where)
    with pytest.raises(ConfigError, match="where is"):
        docs.delete(["there"], where=where)
    assert_unchanged(docs)


def test_only_all_deletes_everything(docs: pgretrieval.Collection):
    """Only all=True, without other arguments, deletes everything."""
    for given in ({}, {"ids": ["there"], "all": True}, {"where": {"n": 1}, "all": True}, {"all": 1}, {"all": "yes"}, {"all": None}):
        with pytest.raises(ConfigError, match="all"):
            docs.delete(**given)
    assert_unchanged(docs)
    assert docs.delete(all=True) == 1
    assert docs.stats()["passages"] == 0


@pytest.mark.parametrize(
    "where", [[], (), set(), 0, False, 0.0, b"", "", "1", "$.n", "$.n + 1", "strict $.n", "$.n = 1", "$.n == $x"]
)
def test_search_refuses_an_empty_where(docs: pgretrieval.Collection, where: Any):
    """An empty or invalid `where` of search is refused."""
    for use in (
        docs.search,
        docs.explain,
        docs.text_search,
        docs.hybrid_search,
        lambda text, **more: docs.search_many([text], **more),
    ):
        with pytest.raises(ConfigError, match="where is"):
            use("stored", where=where)
    assert docs.search("stored", where={}) == docs.search("stored")


@pytest.mark.parametrize(
    "where", ["$.n == 1", "exists($.n)", "!($.n > 1)", "($.n > 1) is unknown", 'strict $.s starts with "a"', "true"]
)
def test_predicates_of_the_callers_own(docs: pgretrieval.Collection, where: str):
    """Any valid jsonpath predicate is accepted."""
    assert docs.search("stored", where=where) is not None


@pytest.mark.parametrize("ids", ["12", b"1", bytearray(b"1"), 5, {"1": 2}, np.array("1"), object()])
def test_ids_are_a_list(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, ids: Any):
    """A text or bytes instead of a list of ids is refused."""
    docs.add([{"id": 1, "text": "x"}, {"id": 2, "text": "x"}, {"id": 49, "text": "x"}])
    for use in (docs.get, docs.delete, lambda given: docs.search("x", among=given)):
        with pytest.raises(ConfigError, match="give a list of ids"):
            use(ids)
    with pytest.raises(ConfigError, match="give a list of ids"):
        database.resync("docs", ids)
    assert docs.stats()["passages"] == 4


def test_ids_of_other_types(docs: pgretrieval.Collection):
    """Integers, numpy integers and UUIDs are accepted as ids; other types are refused."""
    key = uuid.UUID(int=7)
    docs.add([{"id": 1, "text": "x"}, {"id": key, "text": "x"}])
    assert set(docs.get([1, key])) == set(docs.get(np.array([1])).keys() | {str(key)}) == {"1", str(key)}
    for wrong in (None, True, 1.5, b"1", ["1"], "\0", "\ud800"):
        for use in (docs.get, docs.delete, lambda given: docs.search("x", among=given)):
            with pytest.raises(InputError, match="contains an id that"):
                use([wrong])
    assert docs.delete(np.array([1])) == 1


# ---- numpy numbers, and numbers that are too large


def test_numbers_of_numpy_are_numbers(database: pgretrieval.RetrievalDatabase):
    """numpy integers are accepted for all numbers."""
    made = database.create_collection(
        "made",
        dim=np.int64(64),
        bits=np.int8(4),
        title_weight=np.float32(2),
        buckets=np.int8(2),
        keep_vectors=np.bool_(True),
        vectors_per_passage=np.int16(3),
    )
    made.add(passages(3), vectors=clustered(3, tokens=(3, 3)))
    made.build()
    query = clustered(1)[0]
    assert len(made.search(vectors=query, k=np.int64(2), candidates=np.int32(3), probes=np.uint8(1), pruning=np.int64(3))) == 2
    assert len(made.text_search("passage", k=np.int64(2))) == 2
    assert (
        len(made.hybrid_search("passage", vectors=query, weights=np.array([1, 0.5, 0]), rank_constant=np.int64(3), k=np.int8(2)))
        == 2
    )


@pytest.mark.parametrize("k", [2**31 - 1, 10**9])
def test_the_largest_k(built: pgretrieval.Collection, corpus: Corpus, k: int):
    """The largest k works, and depths derived from it do not overflow."""
    assert len(built.search(vectors=corpus.queries[0], k=k)) == 300
    assert len(built.hybrid_search("passage", vectors=corpus.queries[0], k=k)) == 300
    assert len(built.text_search("passage", k=k)) == 300


@pytest.mark.parametrize("number", [2**31, 10**20, 2.0, "3", True, float("nan"), np.array([3, 3]), b"3", [3]])
def test_numbers_that_are_none(docs: pgretrieval.Collection, number: Any):
    """Numbers that are not integers or exceed the column's range are refused."""
    for name in ("k", "candidates", "probes", "pruning", "rerank_depth"):
        with pytest.raises(ConfigError, match=f"{name} is"):
            docs.search("x", **{name: number})
    for use in (docs.text_search, docs.hybrid_search):
        with pytest.raises(ConfigError, match="k is"):
            use("x", k=number)


@pytest.mark.parametrize(
    "given",
    [
        {"weights": None},
        {"weights": 1.0},
        {"weights": "123"},
        {"weights": (1, 2)},
        {"weights": (1, 2, float("nan"))},
        {"weights": (1, 2, None)},
        {"weights": (1, 2, 1e300)},
        {"rank_constant": "5"},
        {"rank_constant": -1},
        {"rank_constant": float("nan")},
        {"rank_constant": 2**31},
        {"fusion": None},
        {"fusion": ["score"]},
    ],
)
def test_fusions_that_cannot_be(docs: pgretrieval.Collection, given: dict[str, Any]):
    """Weights that are not finite and unknown fusions are refused."""
    with pytest.raises(ConfigError, match=next(iter(given))):
        docs.hybrid_search("x", **given)


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("title_weight", "1"),
        ("title_weight", -1),
        ("title_weight", float("inf")),
        ("title_weight", True),
        ("dim", "64"),
        ("dim", 64.0),
        ("bits", np.array([4, 4])),
        ("unit_vectors", "no"),
        ("unit_vectors", 0),
        ("keep_vectors", 1),
        ("language", "\ud800"),
        ("language", ""),
        ("language", 5),
        ("dense", "embedding"),
        ("dense", "nope.nope"),
        ("dense", "a.b.c.d"),
        ("dense", ""),
        ("dense", 5),
        ("dense_key", "x"),
        ("buckets", 0),
        ("buckets", 1025),
        ("buckets", True),
        ("vectors_per_passage", 0),
        ("vectors_per_passage", 2**31),
        ("scorer", ["xtr"]),
        ("rerank", 5),
        ("generator", None),
        ("levels", None),
    ],
)
def test_settings_of_a_wrong_type(database: pgretrieval.RetrievalDatabase, option: str, wrong: Any):
    """Settings of a wrong type are refused."""
    with pytest.raises(ConfigError, match=option):
        database.create_collection("docs", **{option: wrong})
    assert database.list_collections() == []


@pytest.mark.parametrize("wrong", ["x" * 5000, "nul\0", "lone \ud800", ""])
def test_models_that_cannot_be_named(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, wrong: str):
    """Model names that no file can have raise an error of the package."""
    uses = (
        lambda: database.create_collection("other", encoder=wrong),
        lambda: docs.search("x", rerank=wrong),
        lambda: docs.use_cross_encoder(wrong),
        lambda: docs.rebuild(encoder=wrong),
    )
    for use in uses:
        with pytest.raises(EncoderError):
            use()


# ---- containers


@pytest.mark.parametrize("wrong", [None, 5, "text", b"text", {"id": 1, "text": "x"}, np.array(5)])
def test_passages_that_are_no_list(docs: pgretrieval.Collection, wrong: Any):
    """Passages must be an iterable."""
    for use in (docs.add, docs.update, docs.not_yet_added):
        with pytest.raises(InputError, match="give a list of passages"):
            use(wrong)
    for name in ("vectors", "dense"):
        if wrong is not None:
            with pytest.raises(VectorError, match=f"{name} is"):
                docs.add([{"id": 1, "text": "x"}], **{name: wrong})
    with pytest.raises(ConfigError, match="progress is 5"):
        docs.add([{"id": 1, "text": "x"}], progress=5)
    assert_unchanged(docs)


def test_mappings_are_looked_up_among_the_stored(docs: pgretrieval.Collection):
    """Mappings for `update` are compared with stored passages."""
    assert [
        passage.id for passage in docs.not_yet_added([{"id": "new", "text": "x"}, {"id": "there", "text": "already stored"}])
    ] == ["new"]


def test_masked_arrays_are_no_vectors(docs: pgretrieval.Collection):
    """Masked arrays are refused, because masked numbers would count."""
    masked = np.ma.masked_all((2, 64))
    for use in (lambda: docs.search(vectors=masked), lambda: docs.add([{"id": 1, "text": "x"}], vectors=[masked])):
        with pytest.raises(VectorError, match="masked"):
            use()
    assert_unchanged(docs)


class _Series:
    """Like a pandas Series: iterable, with other labels than 0, 1, 2, and without a truth value."""

    def __init__(self, values: list[Any]) -> None:
        self.values, self.ndim = values, 1

    def __iter__(self) -> Any:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        raise ValueError("the truth of a Series is ambiguous")

    def __getitem__(self, label: int) -> Any:
        raise KeyError(label)


def test_several_queries_in_any_container(docs: pgretrieval.Collection):
    """Queries may be an array, a Series or a generator."""
    texts = ["stored", "already"]
    expected = docs.search_many(texts)
    for given in (tuple(texts), (text for text in texts), np.array(texts), np.array(texts, dtype=object), _Series(texts)):
        assert docs.search_many(given) == expected
    vectors = docs.encoder.encode_query(texts)
    for given in (tuple(vectors), (rows for rows in vectors), _Series(vectors), iter(vectors)):
        assert docs.search_many(vectors=given) == docs.search_many(vectors=vectors)
    assert docs.search_many([]) == docs.search_many(vectors=iter([])) == []
    for wrong in (5, b"ab", {"a": 1}, "text"):
        with pytest.raises(ConfigError):
            docs.search_many(wrong)
        with pytest.raises((ConfigError, VectorError)):
            docs.search_many(vectors=wrong)


# ---- NUL, surrogates, depth


@pytest.mark.parametrize("text", ["a\0", "\ud83d"])
def test_invalid_texts_are_refused(docs: pgretrieval.Collection, text: str):
    """Values that are not valid text raise an error of the package."""
    docs.add([{"id": "0", "text": "x"}])
    uses = (
        lambda: docs.search(text),
        lambda: docs.search_many(["x", text]),
        lambda: docs.text_search(text),
        lambda: docs.hybrid_search(text),
        lambda: docs.get([text]),
        lambda: docs.delete([text]),
        lambda: docs.search("x", among=[text]),
        lambda: docs.search("x", where={"s": text}),
        lambda: docs.search("x", where={text: 1}),
        lambda: docs.search("x", where=f'$.s == "{text}"'),
        lambda: docs.search("x", where={"s": {"$in": ["a", text]}}),
    )
    for use in uses:
        with pytest.raises((InputError, ConfigError), match=r"NUL|surrogate"):
            use()


def test_filters_may_be_large_but_not_deep(docs: pgretrieval.Collection):
    """Long filters work; deeply nested ones raise an error instead of exhausting a stack."""
    docs.add([{"id": str(number), "text": "word", "metadata": {"n": number}} for number in range(3)])
    where: dict[str, Any] = {"n": 1}
    for _ in range(98):
        where = {"$not": where}
    assert [hit.id for hit in docs.search("word", where=where)] == ["1"]
    for _ in range(3000):
        where = {"$not": where}
    with pytest.raises(ConfigError, match="more than 100 levels"):
        docs.search("word", where=where)
    condition: dict[str, Any] = {"$gt": 1}
    for _ in range(3000):
        condition = {"$not": condition}
    with pytest.raises(ConfigError, match="more than 100 levels"):
        docs.search("word", where={"n": condition})
    assert [hit.id for hit in docs.search("word", where={"n": {"$in": [2, *range(10, 50_000)]}})] == ["2"]
    assert [hit.id for hit in docs.search("word", where={"$or": [{"n": number} for number in range(2, 10_000)]})] == ["2"]
