"""Presets as data: rows by limits, given options first, and the line that says what is set."""

from __future__ import annotations

import pytest

from pgretrieval import presets
from pgretrieval.errors import ConfigError
from pgretrieval.index.options import CollectionOptions
from pgretrieval.presets import PRESETS, completed, row_for
from pgretrieval.search.options import SearchOptions

ROWS = ({"k": 10, "probes": 1}, {"passages": 100, "probes": 2, "candidates": 50}, {"probes": 3})


@pytest.mark.parametrize(
    ("k", "passages", "expected"),
    [
        (10, 10**9, {"probes": 1}),
        (11, 100, {"probes": 2, "candidates": 50}),
        (20, 100, {"probes": 2, "candidates": 80}),
        (11, 101, {"probes": 3}),
    ],
)
def test_the_first_row_whose_limits_hold(k: int, passages: int, expected: dict[str, int]):
    """Limits are inclusive and no options; candidates are at least four a hit."""
    assert row_for(ROWS, k, passages) == expected
    assert row_for((), k, passages) == {}


def test_given_options_come_first_and_none_leaves_them_to_the_preset():
    """None is kept for an option that the preset does not have: it can mean more than "not given"."""
    assert completed({"bits": 4, "levels": None, "language": None}, {"bits": 2, "levels": "quantile"}) == {
        "bits": 4,
        "levels": "quantile",
        "language": None,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_options_that_exist(name: str):
    """Names of options are those of `create_collection` and of searches."""
    preset = PRESETS[name]
    assert set(preset.collection) <= {"encoder", "bits", *CollectionOptions.__annotations__}
    assert {option for row in preset.search for option in row_for([row], 0, 0)} <= set(SearchOptions.__annotations__)
    assert presets.collection_summary(name, {}).startswith(f"preset {name}, {preset.system}: ")


def test_the_line_leaves_out_what_is_given():
    """A preset of which every option is given sets nothing."""
    assert presets.collection_summary("constbert16", {"bits": 4}).endswith(": levels quantile, vectors_per_passage 16")
    given = {"selection": "greedy", "regularisation": "auto", "split": "auto"}
    assert presets.factorize_summary("anncur", given).endswith(": every option is given")


def test_names_are_checked():
    """Each door lists the presets that it has options of."""
    with pytest.raises(ConfigError, match="choose colbertv2, plaid"):
        presets.read_name("PLAID")
    with pytest.raises(ConfigError, match="choose anncur"):
        presets.read_factorize("plaid")
    with pytest.raises(ConfigError, match="choose xtr or colxtr"):
        presets.read_training("plaid", "xtr")
