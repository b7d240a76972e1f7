"""The knobs: defaults that fit together, and refusals that name the value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.errors import ConfigError
from pgretrieval.search.settings import Knobs, Searched, check_generator, choose_settings, read_knobs

_some = st.none() | st.integers(1, 5000)


def _collection(passages: int, tokens_each: int = 60, has_proxies: bool = False) -> Searched:
    return Searched(passages, tokens_each * passages, "auto", has_proxies)


@given(k=st.integers(1, 3000), passages=st.integers(0, 10**7), probes=_some, candidates=_some, pruning=_some, proxies=st.booleans())
def test_settings_always_leave_room_for_k(
    k: int, passages: int, probes: int | None, candidates: int | None, pruning: int | None, proxies: bool
) -> None:
    if any(given is not None and given < k for given in (candidates, pruning)):
        with pytest.raises(ConfigError, match="at least k"):
            read_knobs(k, probes, candidates, pruning)
        return
    settings = choose_settings(k, _collection(passages, has_proxies=proxies), read_knobs(k, probes, candidates, pruning))
    assert k <= settings.pruning <= settings.candidates
    assert settings.probes == (probes or settings.probes) >= 1
    assert candidates in (None, settings.candidates)
    assert settings.generator == "postings"


@pytest.mark.parametrize("has_proxies", [False, True])
def test_larger_collections_keep_more_candidates(has_proxies: bool) -> None:
    generator = "proxy" if has_proxies else "postings"
    settings = [
        choose_settings(10, _collection(size, 250, has_proxies), Knobs(generator=generator))
        for size in (100, 20_000, 100_000, 10**6)
    ]
    kept = [one.candidates for one in settings]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]
    assert [one.pruning for one in settings] == [128, 128, 192, 192]


def test_many_hits_look_further() -> None:
    few, many = (choose_settings(k, _collection(50_000, 250), Knobs()) for k in (10, 100))
    assert (few.probes, few.candidates, few.pruning) == (4, 1024, 192)
    assert (many.probes, many.candidates, many.pruning) == (8, 2400, 500)


def test_short_lists_are_probed_more() -> None:
    """Few probes of short lists do not name enough passages."""
    assert [choose_settings(10, _collection(size), Knobs()).probes for size in (3000, 30_000, 50_000)] == [8, 8, 4]


def test_short_passages_afford_more_candidates() -> None:
    kept = [choose_settings(10, _collection(5000, length), Knobs()).candidates for length in (200, 60, 20)]
    assert kept == [512, 1666, 4096]


def test_short_passages_are_decoded_in_larger_numbers() -> None:
    kept = [choose_settings(10, _collection(50_000, length), Knobs()).pruning for length in (250, 83, 40, 16, 5)]
    assert kept == [192, 192, 400, 1000, 1000]


@pytest.mark.parametrize(
    ("candidates", "generator", "count"),
    [
        (None, None, None),
        (300, None, 300),
        ("proxy", "proxy", None),
        ("postings", "postings", None),
        ("auto", "auto", None),
        ("proxy:512", "proxy", 512),
        ("auto:20", "auto", 20),
    ],
)
def test_candidates_name_a_number_a_generator_or_both(
    candidates: int | str | None, generator: str | None, count: int | None
) -> None:
    knobs = read_knobs(10, None, candidates, None)
    assert (knobs.generator, knobs.candidates) == (generator, count)


def test_the_search_overrules_the_collection() -> None:
    made_for = Searched(1000, 60_000, "postings", has_proxies=True)
    assert choose_settings(10, made_for, Knobs()).generator == "postings"
    assert choose_settings(10, made_for, Knobs(generator="proxy")).generator == "proxy"
    assert choose_settings(10, made_for, Knobs(generator="auto")).generator == "postings"


def test_proxies_that_are_not_there_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"no proxies.*candidates=\"postings\""):
        choose_settings(10, _collection(1000), Knobs(generator="proxy"))


@pytest.mark.parametrize("bad", [0, -3, 2.5, True])
@pytest.mark.parametrize("knob", ["probes", "candidates", "pruning"])
def test_nonsense_is_refused_by_name_and_value(knob: str, bad: object) -> None:
    given: dict[str, object] = {"probes": None, "candidates": None, "pruning": None} | {knob: bad}
    with pytest.raises(ConfigError, match=f"{knob} is {bad!r}"):
        read_knobs(10, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["10", "proxies", "proxy:", "proxy:-1", "proxy:0", "proxy:5", ":512", ""])
def test_unknown_candidates_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="candidates is"):
        read_knobs(10, None, bad, None)


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k is {k}"):
        read_knobs(k, None, None, None)


def test_a_collection_takes_only_a_known_generator() -> None:
    assert check_generator("proxy") == "proxy"
    with pytest.raises(ConfigError, match="candidates is 'hnsw'; choose auto, proxy or postings"):
        check_generator("hnsw")


@pytest.mark.parametrize("passages", [1000, 100_000])
@pytest.mark.parametrize("k", [10, 100])
def test_pooled_passages_are_probed_for_more_widely(passages: int, k: int) -> None:
    """Their posting lists are short, and the probes that are enough elsewhere name too few of them."""
    pooled = Searched(passages, 32 * passages, "auto", has_proxies=False, vectors_per_passage=32)
    usual = choose_settings(k, _collection(passages, 32), Knobs()).probes
    assert choose_settings(k, pooled, Knobs()).probes >= 4 * usual
    assert choose_settings(k, pooled, Knobs(probes=3)).probes == 3
