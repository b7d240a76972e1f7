from __future__ import annotations

import datetime
import enum
import json
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.corpus.validate import MAX_METADATA_DEPTH, to_passage
from pgretrieval.errors import InputError
from pgretrieval.types import Passage
from pgretrieval.validate import MAX_ID_BYTES


def record(**changes):
    return {"id": "a", "text": "one", **changes}


def error_of(value, where="passage 3") -> str:
    with pytest.raises(InputError) as caught:
        to_passage(value, where)
    message = str(caught.value)
    assert message.startswith(where)
    message.encode()  # can be printed
    return message


def test_a_passage_comes_back_equal():
    passage = Passage("a", "one", title="T", metadata={"n": [1, 2.5, None, True, "x", {"y": "é"}]})
    assert to_passage(passage, "passage 0") == passage


def test_a_passage_is_checked_like_a_mapping():
    assert "(id 'a'): the text is empty" in error_of(Passage("a", ""))
    assert to_passage(Passage(3, "x", metadata=None), "passage 0") == Passage("3", "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("x", "x"), (0, "0"), (-5, "-5"), (10**30, "1" + "0" * 30), ("é" * 1000, "é" * 1000), ("a b/ü", "a b/ü")],
)
def test_ids(value, expected):
    assert to_passage(record(id=value), "passage 0").id == expected


def test_id_wins_over_beir_id():
    assert to_passage({"id": "a", "_id": "b", "text": "x"}, "passage 0").id == "a"
    assert to_passage({"_id": "b", "text": "x"}, "passage 0").id == "b"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "the id is missing"),
        ({"id": ""}, "the id is empty"),
        ({"id": True}, "the id is of type bool"),
        ({"id": 1.0}, "the id is of type float"),
        ({"id": ["a"]}, "the id is of type list"),
        ({"id": 10**5_000}, "the id is of type int"),
        ({"id": "x" * (MAX_ID_BYTES + 1)}, "the id has 2,001 bytes in UTF-8"),
        ({"id": "é" * 1001}, "the id has 2,002 bytes in UTF-8"),
        ({"id": 10**2_000}, "the id has 2,001 bytes in UTF-8"),
        ({"id": "a\0b"}, r"(id 'a\x00b'): id contains a NUL"),
        ({"id": "a\ud800"}, r"(id 'a\ud800'): id contains the lone surrogate U+D800"),
        ({"text": None}, "the text is missing"),
        ({"text": ""}, "the text is empty or blank"),
        ({"text": " \n\t\u00a0"}, "the text is empty or blank"),
        ({"text": b"bytes"}, "the text is of type bytes"),
        ({"text": "a\0"}, "(id 'a'): text contains a NUL"),
        ({"text": "\udfff"}, "(id 'a'): text contains the lone surrogate U+DFFF"),
        ({"title": 5}, "(id 'a'): the title is of type int"),
        ({"title": "a\0"}, "(id 'a'): title contains a NUL"),
        ({"title": "\ud800"}, "(id 'a'): title contains the lone surrogate"),
        ({"metadata": [1]}, "(id 'a'): the metadata is of type list"),
        ({"metadata": "{}"}, "(id 'a'): the metadata is of type str"),
        ({"metadata": {1: "x"}}, "metadata has a key that is of type int"),
        ({"metadata": {"a": {None: 1}}}, "metadata.a has a key that is of type NoneType"),
        ({"metadata": {"a": float("nan")}}, "metadata.a is nan, which JSON cannot represent"),
        ({"metadata": {"a": [0, float("-inf")]}}, "metadata.a.1 is -inf, which JSON cannot represent"),
        ({"metadata": {"a": {1, 2}}}, "metadata.a is of type set, which JSON cannot represent"),
        ({"metadata": {"a": datetime.timedelta(1)}}, "metadata.a is of type timedelta"),
        ({"metadata": {"a": b"x"}}, "metadata.a is of type bytes"),
        ({"metadata": {"a": np.datetime64("2020-01-01")}}, "metadata.a is of type datetime64"),
        ({"metadata": {"a": 10**5_000}}, "metadata.a is of type int"),
        ({"metadata": {"a\0": 1}}, r"the key 'a\x00' of metadata contains a NUL"),
        ({"metadata": {"a": {"b\0": 1}}}, r"the key 'b\x00' of metadata.a contains a NUL"),
        ({"metadata": {"a": ["x", {"b": "\0"}]}}, "metadata.a.1.b contains a NUL"),
        ({"metadata": {"a": "\ud83d"}}, "metadata.a contains the lone surrogate U+D83D"),
        ({"metadata": {"\ud83d": 1}}, r"the key '\ud83d' of metadata contains the lone surrogate"),
    ],
)
def test_refused(changes, reason):
    assert reason in error_of(record(**changes))


@pytest.mark.parametrize("value", [None, "text", ["id", "text"], 5])
def test_only_mappings_and_passages(value):
    assert "expected a Passage or an object with id and text" in error_of(value)


def test_a_missing_text_names_the_id():
    assert "corpus.jsonl:12 (id 'a'): the text is missing" in error_of({"id": "a"}, "corpus.jsonl:12")


def test_a_long_id_is_shortened_in_messages():
    assert len(error_of(record(id="x" * 5_000))) < 200


@pytest.mark.parametrize("title", [None, "", "  "])
def test_no_title(title):
    assert to_passage(record(title=title), "passage 0").title is None


def test_text_and_title_are_kept_as_they_are():
    passage = to_passage(record(text=" a \n b ", title=" T "), "passage 0")
    assert (passage.text, passage.title) == (" a \n b ", " T ")


def test_unknown_keys_are_ignored():
    assert to_passage(record(url="http://x", embedding=object()), "passage 0") == Passage("a", "one")


def test_metadata_is_a_plain_copy_that_json_can_write():
    class Colour(enum.IntEnum):
        RED = 1

    given_ = MappingProxyType({"t": (1, 2), "m": MappingProxyType({"x": Colour.RED}), "f": np.float64(0.5)})
    metadata = to_passage(record(metadata=given_), "passage 0").metadata
    assert json.loads(json.dumps(metadata)) == {"t": [1, 2], "m": {"x": 1}, "f": 0.5}
    mutable = {"tags": ["x"]}
    passage = to_passage(record(metadata=mutable), "passage 0")
    mutable["tags"].append("y")
    assert passage.metadata == {"tags": ["x"]}


def test_metadata_depth():
    def nested(levels: int):
        return {} if levels == 1 else {"a": nested(levels - 1)}

    assert to_passage(record(metadata=nested(MAX_METADATA_DEPTH)), "passage 0").metadata
    assert "more than 100 levels deep" in error_of(record(metadata=nested(MAX_METADATA_DEPTH + 1)))
    loop: dict = {}
    loop["self"] = [loop]
    assert "more than 100 levels deep" in error_of(record(metadata=loop))


# NUL and surrogates are drawn far more often than by chance.
strings = st.text(st.one_of(st.sampled_from("ab\0\ud800 "), st.characters(exclude_categories=())), max_size=6)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), strings),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(strings, inner, max_size=3)),
    max_leaves=6,
)


@given(
    id_=strings | st.integers(),
    text=strings,
    title=st.none() | strings,
    metadata=st.none() | st.dictionaries(strings, json_values, max_size=3),
)
def test_what_passes_can_be_stored(id_, text, title, metadata):
    try:
        passage = to_passage(record(id=id_, text=text, title=title, metadata=metadata), "passage 1")
    except InputError as error:
        str(error).encode()
        return
    written = json.dumps(passage.metadata, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in written.replace("\\\\", "")
    for stored in (passage.id, passage.text, passage.title or "", written):
        stored.encode()
        assert "\0" not in stored
    assert passage.id
    assert passage.text.strip()
    assert to_passage(passage, "passage 1") == passage
