"""The knobs: defaults that fit together, and refusals that name the value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.errors import ConfigError
from pgretrieval.search.settings import Knobs, check_request, choose_settings

_some = st.none() | st.integers(1, 5000)


@given(k=st.integers(1, 3000), passages=st.integers(0, 10**7), probes=_some, candidates=_some, pruning=_some)
def test_settings_always_leave_room_for_k(
    k: int, passages: int, probes: int | None, candidates: int | None, pruning: int | None
) -> None:
    if any(given is not None and given < k for given in (candidates, pruning)):
        with pytest.raises(ConfigError, match="at least k"):
            check_request(k, Knobs(probes, candidates, pruning))
        return
    check_request(k, Knobs(probes, candidates, pruning))
    settings = choose_settings(k, passages, 60 * passages, Knobs(probes, candidates, pruning))
    assert k <= settings.pruning <= settings.candidates
    assert settings.probes == (probes or settings.probes) >= 1
    assert candidates in (None, settings.candidates)


def test_larger_collections_keep_more_candidates() -> None:
    kept = [choose_settings(10, size, 250 * size, Knobs()).candidates for size in (100, 20_000, 100_000, 10**6)]
    assert kept == sorted(set(kept))


def test_short_passages_afford_more_candidates() -> None:
    kept = [choose_settings(10, 5000, 5000 * length, Knobs()).candidates for length in (200, 60, 20)]
    assert kept == [750, 2500, 4096]


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "10"])
@pytest.mark.parametrize("knob", ["probes", "candidates", "pruning"])
def test_nonsense_is_refused_by_name_and_value(knob: str, bad: object) -> None:
    with pytest.raises(ConfigError, match=f"{knob} is {bad!r}"):
        check_request(10, Knobs(**{knob: bad}))  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k is {k}"):
        check_request(k, Knobs())
