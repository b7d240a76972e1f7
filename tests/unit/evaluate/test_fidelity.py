from __future__ import annotations

import pytest

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.evaluate.fidelity import fidelity


@pytest.mark.parametrize(
    ("returned", "exact", "k", "expected"),
    [
        (["abc"], ["abc"], 3, 1.0),
        (["cba"], ["abc"], 3, 1.0),  # order inside the top k does not matter
        (["xyz"], ["abc"], 3, 0.0),
        (["abx", "axy"], ["abc", "abc"], 3, (2 / 3 + 1 / 3) / 2),
        (["xab"], ["abc"], 2, 1 / 2),  # top 2: {x, a} and {a, b}
        (["ab"], ["ab"], 10, 1.0),  # only two exist: divided by 2
        (["a"], ["ab"], 10, 1 / 2),
        ([""], ["ab"], 2, 0.0),
        (["", "a"], ["", "b"], 2, (1 + 0) / 2),
    ],
)
def test_by_hand(returned, exact, k, expected):
    assert fidelity(returned, exact, k) == pytest.approx(expected)


def test_lists_of_ids():
    assert fidelity([["p1", "p2"]], [("p2", "p3")], k=2) == 0.5


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_1(k):
    with pytest.raises(ConfigError, match=f"k is {k}"):
        fidelity(["a"], ["a"], k)


def test_unequal_numbers_of_queries():
    with pytest.raises(InputError, match="1 returned lists but 2 exact"):
        fidelity(["a"], ["a", "b"], 1)


def test_no_queries():
    with pytest.raises(InputError, match="no queries"):
        fidelity([], [], 1)
