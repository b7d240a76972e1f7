"""Retrieval metrics of ir-measures, each computed on results retrieved for its cutoff."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.evaluate.qrels import MAX_RELEVANCE

if TYPE_CHECKING:
    from ir_measures import Measure

SUPPORTED = ("nDCG", "R", "RR", "Success", "P", "AP")
EXAMPLES = '"nDCG@10 R@100 RR@10 Success@5 P@5 AP@100 R(rel=2)@100"'
UNCUT_DEPTH = 1_000  # results for a measure without a cutoff, as in a TREC run
MAX_CUTOFF = 1_000_000


def parse_metrics(text: str) -> tuple[Measure, ...]:
    """Parse measures with spaces between them, such as "nDCG@10 R@100"; in order, without repetitions."""
    if not text.strip():
        raise ConfigError(f"no metric given; write for example {EXAMPLES}")
    return tuple(dict.fromkeys(_parse(name) for name in text.split()))


def required_depths(measures: Sequence[Measure]) -> list[int]:
    """Return the depths to retrieve, ascending: one for each cutoff, and 1,000 for measures without a cutoff."""
    return sorted({measure.params.get("cutoff", UNCUT_DEPTH) for measure in measures})


def run_from_ranking(ids: Sequence[str]) -> dict[str, float]:
    """Return scores that decrease by one per rank, because trec_eval breaks ties by id, not by rank."""
    run = {passage_id: float(len(ids) - i) for i, passage_id in enumerate(ids)}
    if len(run) != len(ids):
        repeated = next(passage_id for i, passage_id in enumerate(ids) if run[passage_id] != len(ids) - i)
        raise InputError(f"the passage id {repeated!r} occurs twice in one ranking; keep only the better rank")
    return run


def mean_metrics(
    measures: Sequence[Measure],
    qrels: Mapping[str, Mapping[str, int]],
    runs: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> dict[str, float]:
    """Return the mean of each measure over all judged queries."""
    by_query = query_metrics(measures, qrels, runs)
    return {name: sum(values.values()) / len(values) for name, values in by_query.items()}


def query_metrics(
    measures: Sequence[Measure],
    qrels: Mapping[str, Mapping[str, int]],
    runs: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """Return each measure by judged query, in their order; a judged query without results has 0.

    `runs[k]` maps query ids to the scores of the k results retrieved. A measure uses the shallowest run that reaches its cutoff; a
    measure without a cutoff uses the deepest. Ties keep the given order.
    """
    import ir_measures

    judged = {query_id: dict(judgements) for query_id, judgements in qrels.items() if judgements}
    if not judged:
        raise InputError("the qrels have no judged query; metrics need at least one")
    by_depth: defaultdict[int, list[Measure]] = defaultdict(list)
    for measure in measures:
        by_depth[_depth(measure, runs)].append(measure)
    values = {name: dict.fromkeys(judged, 0.0) for name in map(str, measures)}
    for depth, group in by_depth.items():
        ranked = {query_id: _by_rank(scores) for query_id, scores in runs[depth].items()}
        for metric in ir_measures.iter_calc(group, judged, ranked):
            values[str(metric.measure)][metric.query_id] = metric.value
    return values


def _parse(name: str) -> Measure:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, TypeError, AssertionError, RecursionError) as error:
        reason = f"the metric {name!r} is unknown, or its cutoff or rel is wrong or missing"
        raise ConfigError(f"{reason}; write for example {EXAMPLES}") from error
    if measure.NAME not in SUPPORTED or not measure.params.keys() <= {"cutoff", "rel"}:
        raise ConfigError(f"the metric {name!r} is not supported; write for example {EXAMPLES}")
    for parameter, limit in (("cutoff", MAX_CUTOFF), ("rel", MAX_RELEVANCE)):
        value = measure.params.get(parameter, 1)
        if type(value) is not int or not 1 <= value <= limit:
            raise ConfigError(f"the metric {name!r} has {parameter} {value}; write 1 to {limit:,}, as in {EXAMPLES}")
    return measure


def _depth(measure: Measure, runs: Mapping[int, object]) -> int:
    cutoff = measure.params.get("cutoff", max(runs, default=1))
    depth = min((k for k in runs if k >= cutoff), default=None)
    if depth is None:
        raise ConfigError(f"{measure} needs a run of at least {cutoff} results, but the runs have {sorted(runs)}")
    return depth


def _by_rank(scores: Mapping[str, float]) -> dict[str, float]:
    return run_from_ranking(sorted(scores, key=scores.__getitem__, reverse=True))
