"""State that all requests share."""

from __future__ import annotations

from contextlib import suppress

from pgretrieval.collection import Collection
from pgretrieval.database import RetrievalDatabase
from pgretrieval.errors import ConfigError, PgRetrievalError
from pgretrieval.rerank import PairScorer, load_cross_encoder
from pgretrieval.serve.calls import Calls
from pgretrieval.serve.errors import log
from pgretrieval.serve.handles import KEPT, Handles
from pgretrieval.serve.metrics import Metrics
from pgretrieval.serve.options import ServiceOptions


class Service:
    """A database with the options of its service; `warming` while it loads its models, `draining` once it shuts down."""

    def __init__(self, database: RetrievalDatabase, options: ServiceOptions) -> None:
        self.database = database
        self.options = options
        self.warming = self.draining = False
        self.handles = Handles(database)
        self.calls = Calls(database._database, options)
        self.metrics = Metrics()
        self.metrics.watch("requests_waiting", "Requests that wait for a place.", lambda: self.calls.waiting)
        self.metrics.watch("requests_running", "Requests at work.", lambda: self.calls.running)
        self.metrics.watch("connections_in_use", "Connections of the pool in use.", lambda: database._database.in_use)
        self._cross_encoders = {name: load_cross_encoder(name) for name in options.cross_encoders}
        for each in self._cross_encoders.values():
            each.predict([("warm", "warm")])  # raises EncoderError if it cannot be loaded

    def warm(self) -> None:
        """Load the models of the collections, and what a search imports, so that no request waits for them."""
        try:
            for name in self.database.list_collections()[:KEPT]:
                with suppress(PgRetrievalError):  # a search of the collection will tell
                    self.handles.use(name, _encode_once)
        except PgRetrievalError as error:
            log.warning("no model is loaded yet: %s", error)
        finally:
            self.warming = False

    def cross_encoder(self, name: str) -> PairScorer:
        """Return a cross-encoder that the operator named, so that no request makes the service load any other.

        Raises ConfigError.
        """
        found = self._cross_encoders.get(name)
        if found is None:
            listed = ", ".join(self._cross_encoders) or "none"
            msg = f"rerank is {name[:100]!r}; name a cross-encoder that the service was started with: {listed}"
            raise ConfigError(msg)
        return found


def _encode_once(collection: Collection) -> None:
    _ = collection._pipeline
    collection.encoder.encode_query("warm")
