"""Default search depths depend on the collection and are consistent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.errors import ConfigError
from pgretrieval.search.loaded import CollectionStatistics
from pgretrieval.search.options import ScanOptions, read_options
from pgretrieval.search.plaid import choose_settings
from pgretrieval.types import Scoring

_some = st.none() | st.integers(1, 5000)


def _collection(passages: int, tokens_each: int = 60, has_proxies: bool = False) -> CollectionStatistics:
    return CollectionStatistics(passages, tokens_each * passages, "auto", has_proxies)


@given(k=st.integers(1, 3000), passages=st.integers(0, 10**7), probes=_some, candidates=_some, pruning=_some, proxies=st.booleans())
def test_settings_always_leave_room_for_k(
    k: int, passages: int, probes: int | None, candidates: int | None, pruning: int | None, proxies: bool
) -> None:
    given = {"probes": probes, "candidates": candidates, "pruning": pruning}
    if any(number is not None and number < k for number in (candidates, pruning)):
        with pytest.raises(ConfigError, match="at least k"):
            read_options(Scoring(), k, given)
        return
    settings = choose_settings(k, _collection(passages, has_proxies=proxies), read_options(Scoring(), k, given).scan.options)
    assert k <= settings.pruning <= settings.candidates
    assert settings.probes == (probes or settings.probes) >= 1
    assert candidates in (None, settings.candidates)
    assert settings.generator == "postings"


@pytest.mark.parametrize("has_proxies", [False, True])
def test_larger_collections_keep_more_candidates(has_proxies: bool) -> None:
    generator = "proxy" if has_proxies else "postings"
    settings = [
        choose_settings(10, _collection(size, 250, has_proxies), ScanOptions(generator=generator))
        for size in (100, 20_000, 100_000, 10**6)
    ]
    kept = [one.candidates for one in settings]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]
    assert [(one.pruning_at_least, one.pruning) for one in settings] == [(64, 288), (64, 288), (None, 192), (None, 192)]


def test_many_hits_look_further() -> None:
    few, many = (choose_settings(k, _collection(50_000, 250), ScanOptions()) for k in (10, 100))
    assert (few.probes, few.candidates, few.pruning) == (16, 768, 192)
    assert (many.probes, many.candidates, many.pruning) == (24, 2200, 500)


def test_the_server_is_given_fewer_probes() -> None:
    """Where SQL adds the postings up, a third or a quarter of the client's probes is enough."""
    settings = [choose_settings(k, _collection(size), ScanOptions(), in_sql=True) for size in (3000, 50_000) for k in (10, 100)]
    assert [one.probes for one in settings] == [8, 8, 4, 8]


def test_short_lists_are_probed_more() -> None:
    """Collections with short posting lists are probed more."""
    assert [choose_settings(10, _collection(size), ScanOptions()).probes for size in (3000, 30_000, 50_000)] == [24, 24, 16]


def test_short_passages_afford_more_candidates() -> None:
    kept = [choose_settings(10, _collection(5000, length), ScanOptions()).candidates for length in (200, 60, 20)]
    assert kept == [512, 1000, 3000]


def test_short_passages_are_decoded_in_larger_numbers() -> None:
    kept = [choose_settings(10, _collection(50_000, length), ScanOptions()).pruning for length in (250, 83, 40, 16, 5)]
    assert kept == [192, 192, 400, 1000, 1000]
    small = [choose_settings(10, _collection(5000, length), ScanOptions()) for length in (500, 83, 40, 16)]
    assert [(one.pruning_at_least, one.pruning) for one in small] == [(48, 288), (192, 288), (400, 400), (1000, 1000)]


def test_given_pruning_is_kept_to() -> None:
    """A given number of decoded passages does not follow from the query; k of many hits raises both bounds."""
    settings = choose_settings(10, _collection(5000), ScanOptions(pruning=77))
    assert (settings.pruning_at_least, settings.pruning) == (None, 77)
    many = choose_settings(100, _collection(5000), ScanOptions())
    assert (many.pruning_at_least, many.pruning) == (300, 1000)


def test_the_search_overrules_the_collection() -> None:
    made_for = CollectionStatistics(1000, 60_000, "postings", has_proxies=True)
    assert choose_settings(10, made_for, ScanOptions()).generator == "postings"
    assert choose_settings(10, made_for, ScanOptions(generator="proxy")).generator == "proxy"
    assert choose_settings(10, made_for, ScanOptions(generator="auto")).generator == "postings"


def test_missing_proxies_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"no proxies.*generator=\"postings\""):
        choose_settings(10, _collection(1000), ScanOptions(generator="proxy"))


@pytest.mark.parametrize("passages", [1000, 100_000])
@pytest.mark.parametrize("k", [10, 100])
def test_pooled_passages_are_probed_for_more_widely(passages: int, k: int) -> None:
    """Collections of pooled passages, whose posting lists are short, are probed more."""
    pooled = CollectionStatistics(passages, 32 * passages, "auto", has_proxies=False, vectors_per_passage=32)
    usual = choose_settings(k, _collection(passages, 32), ScanOptions(), in_sql=True).probes
    assert choose_settings(k, pooled, ScanOptions()).probes >= 4 * usual
    assert choose_settings(k, pooled, ScanOptions(probes=3)).probes == 3
