"""Metadata as JSON, written and compared."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.db.metadata import dumps, same


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, 1.0), (1, "1"), (None, False), ([1], [True]), ({"a": 1}, {"a": True}), (10**22, 1e22), (0, None)],
)
def test_values_that_python_or_a_reader_may_confuse(one: object, other: object):
    """Values that Python considers equal but JSON does not are different."""
    assert not same({"x": one}, {"x": other})
    assert same({"x": one}, {"x": one})


def test_the_order_of_keys_is_no_difference():
    assert same({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON | st.sampled_from([1e16, -1e22, 1.7e308, 5e-324, "e+", "1e+22"]), max_size=4))
def test_values_are_read_as_written(metadata: dict[str, object]):
    """Values are read as they were written, large floats included."""
    text = dumps(metadata)
    assert json.loads(text) == metadata
    assert same(json.loads(text), metadata)


def test_no_number_has_an_exponent():
    """Numbers are written without an exponent, which Postgres would resolve to an integer."""
    assert dumps({"e+": "1e+22", "v": [1e22, -1.5e16, 10**22, 0.5]}) == (
        '{"e+": "1e+22", "v": [10000000000000000000000.0, -15000000000000000.0, 10000000000000000000000, 0.5]}'
    )
