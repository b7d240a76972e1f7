"""Metrics of the service in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pgretrieval.encode import shared

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, shared.TEXTS_PER_CALL)


class Metrics:
    """Metrics of one service. Threads may share it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pgretrieval_requests", "Answers by method, path and status.", ("method", "path", "status"), registry=self._registry
        )
        self._request_seconds = Histogram(
            "pgretrieval_request_seconds",
            "Seconds from a request to its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._searches = Counter("pgretrieval_searches", "Searches by mode.", ("mode",), registry=self._registry)
        self._stage_seconds = Histogram(
            "pgretrieval_stage_seconds", "Seconds of a search's stage.", ("stage",), buckets=_SECONDS, registry=self._registry
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_ModelCalls())

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read whenever metrics are."""
        Gauge(f"pgretrieval_{name}", meaning, registry=self._registry).set_function(value)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(method, path, status).inc()
        self._request_seconds.labels(path).observe(seconds)

    def searched(self, mode: str, milliseconds: Mapping[str, float]) -> None:
        """Count a search and the time of its stages."""
        self._searches.labels(mode).inc()
        for stage, spent in milliseconds.items():
            self._stage_seconds.labels(stage).observe(spent / 1e3)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)


class _ModelCalls(Collector):
    """Calls of models, by their number of texts: those of waiting requests are encoded together."""

    def collect(self) -> Iterable[Metric]:
        """Return the histogram; its count is the number of calls."""
        calls = shared.calls.by_texts()
        below = [(str(float(most)), sum(number for texts, number in calls.items() if texts <= most)) for most in _TEXTS]
        family = HistogramMetricFamily("pgretrieval_model_texts", "Texts of a call of a model.")
        family.add_metric([], [*below, ("+Inf", sum(calls.values()))], sum(texts * number for texts, number in calls.items()))
        yield family
