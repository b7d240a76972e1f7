"""Worker: claim changed rows, encode them, and write them in one transaction with the removal of their queue entries.

Nothing is locked while a model computes. Before writing, the worker locks the entries and reads the rows again: changed rows are
encoded again, and rows that another worker has finished are skipped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

from pgretrieval.collection import Collection
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import attachments, collections, queue
from pgretrieval.db.tables.attachments import Attached
from pgretrieval.db.tables.queue import Entries
from pgretrieval.errors import ConfigError, ConflictError, EncoderChangedError, EncoderError, InputError, PgRetrievalError
from pgretrieval.index.changes import encode_ahead
from pgretrieval.index.compaction import compact_if_needed
from pgretrieval.index.sources import EncodedAhead, NotEncodedError
from pgretrieval.sync.attaching import find
from pgretrieval.sync.reconcile import DesiredPassages, desired_passages, reconcile
from pgretrieval.types import WorkReport

BATCH = 256  # keys claimed at once; each takes one lock on the server while the batch is written
POLL = 0.2  # seconds between reads of the queue
TRIES = 5  # attempts to encode rows that keep changing, before they are left for the next batch
ATTEMPTS = 5  # attempts for a failing row, before it is parked
_LONGEST_PAUSE = 60.0
_WAIT_FOR_OTHERS = 60.0  # seconds to wait for entries claimed by others
_BETWEEN_ATTEMPTS = 0.25
_BETWEEN_STOP_CHECKS = 0.2  # seconds between two calls of `stopped`
_PROBE = "a word"
_QUEUE = ""  # key in `_pauses`; names of collections are not blank
_LOG = logging.getLogger("pgretrieval")


class _Opened(NamedTuple):
    """Open collection of the worker and its encoder at that time; `given` is True if the caller opened it."""

    collection: Collection
    given: bool
    encoder: dict[str, str] | None = None


class Worker:
    """Worker on the queues of attached collections: the named ones, or all, including those attached later."""

    def __init__(
        self, database: Database, collections: Iterable[str | Collection], opening: Callable[[str], Collection], batch: int = BATCH
    ) -> None:
        given = list(collections)
        self._database = database
        self._opening = opening
        self._size = batch
        self._open = {each.name: _Opened(each, given=True) for each in given if isinstance(each, Collection)}
        self._names = [find(database, each if isinstance(each, str) else each.name).name for each in given]
        self._pauses: dict[str, _Pause] = {}
        self._report = WorkReport()

    def run(
        self,
        *,
        once: bool = True,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
        poll: float,
    ) -> WorkReport:
        """Process queues until they are empty, with `once`, or until `stopped` returns True, which is called after each batch.

        Errors that concern no single row, such as a missing column or a server that is down, are raised at the end with `once`;
        otherwise they are logged and the work is retried. `progress` is called with the number of entries just finished; `poll` is
        the number of seconds between two reads of the queues.
        """
        seconds_left = _WAIT_FOR_OTHERS
        while not stopped():
            worked = self._run_or_pause(_QUEUE, "reading the queue", lambda: self._round(stopped, progress))
            seconds_left = _WAIT_FOR_OTHERS if worked else seconds_left
            if not worked and once:
                held = self._held_by_others()
                if not held:
                    break
                if seconds_left <= 0:
                    raise ConflictError(held)
                seconds_left -= _BETWEEN_ATTEMPTS
                time.sleep(_BETWEEN_ATTEMPTS)
            elif not worked:
                self._wait(stopped, poll)
        failures = [pause.error for pause in self._pauses.values()]
        if once and failures:
            raise failures[0]
        return self._report

    def _held_by_others(self) -> str | None:
        """Return the message about changed rows that other sessions keep locked, or None. The sessions may be workers."""
        for attached in attachments.attached(self._database):
            if attached.name in self._pauses or (self._names and attached.name not in self._names):
                continue
            with self._database.connection(f"reading the queue of collection {attached.name!r}") as connection:
                entries, holders = queue.held_by_others(attached.tables(connection))
            if entries:
                return (
                    f"{entries} changed rows of collection {attached.name!r} are left: for {_WAIT_FOR_OTHERS:.0f} seconds other "
                    f"sessions kept them locked or claimed ({holders or 'now ended'}); let them end, then run this again"
                )
        return None

    def _wait(self, stopped: Callable[[], bool], poll: float) -> None:
        """Wait until a queue has entries, a pause ends or `stopped`. Reading the queue is much cheaper than a round."""
        next_read = time.monotonic() + poll
        while not stopped() and not any(pause.left <= 0 for pause in self._pauses.values()):
            time.sleep(min(poll, _BETWEEN_STOP_CHECKS))
            if time.monotonic() >= next_read and _QUEUE not in self._pauses:
                if self._run_or_pause(_QUEUE, "reading the queue", self._is_due):
                    return
                next_read = time.monotonic() + poll

    def _is_due(self) -> bool:
        return queue.is_due(self._database, self._names, list(self._pauses))

    def _run_or_pause(self, name: str, doing: str, work: Callable[[], object]) -> bool:
        """Return whether `work` did something. After an error, `work` pauses, each time for longer."""
        pause = self._pauses.get(name)
        if pause and pause.left > 0:
            return False
        try:
            worked = bool(work())
        except PgRetrievalError as error:
            seconds = min(2 * pause.seconds, _LONGEST_PAUSE) if pause else 1.0
            self._pauses[name] = _Pause(error, seconds, time.monotonic() + seconds)
            _LOG.warning("%s: %s; retrying in %.0f s", doing, error, seconds)
            return False
        self._pauses.pop(name, None)
        return worked

    def _round(self, stopped: Callable[[], bool], progress: Callable[[int], None] | None) -> bool:
        """Process one batch of each collection; return whether there was any."""
        worked = False
        everything = attachments.attached(self._database)
        kept = {_QUEUE, *(attached.name for attached in everything)}
        self._pauses = {name: pause for name, pause in self._pauses.items() if name in kept}
        for attached in everything:
            if not stopped() and (not self._names or attached.name in self._names):
                worked |= self._run_or_pause(
                    attached.name, f"collection {attached.name!r}", partial(self._batch, attached, progress)
                )
        return worked

    def _batch(self, attached: Attached, progress: Callable[[int], None] | None) -> bool:
        """Process one batch; return whether there was any work."""
        with self._database.dedicated(f"updating collection {attached.name!r} from {attached.source}") as session:
            tables = attached.tables(session)
            with queue.claiming(tables) as still_attached:
                if not still_attached or queue.expand(tables) is not None:
                    return still_attached
            with queue.claiming(tables) as still_attached:
                entries = queue.claim(tables, self._size) if still_attached else {}
                if not entries:
                    return False
            claimed = [entry for of_key in entries.values() for entry in of_key]
            try:
                batch = _Batch(self._database, self._collection(attached), attached, session, claimed)
                batch.process(list(entries))
            finally:
                queue.release_claim(self._database, claimed)
        self._report += batch.report
        _LOG.info("collection %r: %s", attached.name, batch.report)
        if progress:
            progress(len(claimed))
        compact_if_needed(self._database, collections.find(self._database, attached.name))
        return True

    def _collection(self, attached: Attached) -> Collection:
        """Return the collection in its current state: it may have been created again or have another encoder.

        Raises EncoderError, ConfigError.
        """
        found = collections.find(self._database, attached.name)
        held = found.encoder
        opened = self._open.get(attached.name)
        changed = opened is not None and (not opened.collection._opened.is_of(found) or opened.encoder not in (None, held))
        if changed and opened and opened.given:
            msg = (
                f"collection {attached.name!r} was replaced or has another encoder, {held}; open it again and start another worker"
            )
            raise ConfigError(msg)
        if opened is None or changed:
            opened = _Opened(self._opening(attached.name), given=False)
        opened = self._open[attached.name] = opened._replace(encoder=held)
        opened.collection._opened.check_encoder(opened.collection.encoder)
        return opened.collection


class _Batch:
    """Batch of claimed keys. A failing batch is rolled back and halved until single failing rows remain."""

    def __init__(
        self, database: Database, collection: Collection, attached: Attached, session: Connection, claimed: Sequence[int]
    ) -> None:
        self._database = database
        self._collection = collection
        self._attached = attached
        self._session = session
        self._claimed = claimed
        self._ahead: EncodedAhead | None = None
        self.report = WorkReport()

    def process(self, keys: Sequence[str]) -> None:
        """Reconcile the collection with the rows of `keys` and delete their entries. Raises errors that no row causes."""
        try:
            for _ in range(TRIES):
                with queue.renewing_claims(self._database, self._claimed):
                    found = self._rows(keys)
                    self._ahead = ahead = encode_ahead(self._collection._opened, list(found.passages.values()), self._ahead)
                with suppress(NotEncodedError, EncoderChangedError):
                    self._write(keys, ahead)
                    break
        except Exception as error:
            if not self._is_rows_fault(error):
                raise
            if len(keys) == 1:
                self._fail(keys[0], str(error), at_once=isinstance(error, InputError))
            else:
                self.process(keys[: len(keys) // 2])
                self.process(keys[len(keys) // 2 :])

    def _rows(self, keys: Sequence[str]) -> DesiredPassages:
        """Return the desired passages of the current rows."""
        rows = queue.source_rows(self._database, self._attached.name, self._attached.collection_id, keys)
        return desired_passages(self._attached.source, rows)

    def _write(self, keys: Sequence[str], ahead: EncodedAhead) -> None:
        """Write, in one transaction, the keys that can be locked and are unfinished. Raises NotEncodedError,
        EncoderChangedError.
        """
        done = WorkReport()
        with self._writing(keys) as (connection, entries):
            found = self._rows(list(entries))
            writable = [key for key in entries if key not in found.refused]
            if writable:
                done += reconcile(self._collection, self._attached, writable, found, ahead, connection)
                queue.done(connection, [entry for key in writable for entry in entries[key]])
            for key, reason in found.refused.items():
                done += self._failed(connection, key, entries[key], reason, at_once=True)
        self.report += done

    @contextmanager
    def _writing(self, keys: Sequence[str]) -> Iterator[tuple[Connection, Entries]]:
        """Open the transaction for writing, and yield it with the keys that it locked; none after a detach."""
        tables = self._attached.tables(self._session)
        with queue.claiming(tables) as still_attached:
            unchanged = still_attached and self._attached in attachments.attached(self._database)
            yield self._session, queue.lock(tables, keys) if unchanged else {}

    def _fail(self, key: str, reason: str, *, at_once: bool) -> None:
        with self._writing([key]) as (connection, entries):
            if key in entries:
                self.report += self._failed(connection, key, entries[key], reason, at_once=at_once)

    def _failed(self, connection: Connection, key: str, entries: Sequence[int], reason: str, *, at_once: bool) -> WorkReport:
        parked = queue.failed(connection, entries, reason, at_once=at_once, most=ATTEMPTS)
        then = "parked until the row changes" if parked else "retried later"
        _LOG.warning("collection %r, row %r of %s: %s; %s", self._attached.name, key, self._attached.source, reason, then)
        return WorkReport(parked=1) if parked else WorkReport(postponed=1)

    def _is_rows_fault(self, error: Exception) -> bool:
        if isinstance(error, EncoderError):
            try:
                self._collection.encoder.encode_document([_PROBE])
            except EncoderError:
                return False  # the encoder fails for any text
            return True
        if isinstance(error, PgRetrievalError) or queue.is_of_the_server(error):
            return isinstance(error, InputError) or queue.is_rows_fault(error)
        return True


class _Pause(NamedTuple):
    """Pause of failed work until a time."""

    error: PgRetrievalError
    seconds: float
    until: float

    @property
    def left(self) -> float:
        return self.until - time.monotonic()
