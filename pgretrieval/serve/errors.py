"""Errors of the service: the status of each error of the library, and what a caller is told."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any, NamedTuple

from pgretrieval import errors as library
from pgretrieval.errors import PgRetrievalError

log = logging.getLogger("pgretrieval.serve")


class RequestError(PgRetrievalError):
    """A request that the service itself refuses, with its status."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class Answer(NamedTuple):
    """Status of an error of the library, and what a caller is told instead of its message, if it names the server."""

    status: int
    told: str | None = None


_UNAVAILABLE = "the database cannot answer now; repeat the request in a few seconds"

STATUSES: dict[type[PgRetrievalError], Answer] = {
    library.DuplicateIdError: Answer(409),
    library.CollectionExistsError: Answer(409),
    library.ConflictError: Answer(409),
    library.EncoderChangedError: Answer(409),
    library.IndexNotBuiltError: Answer(409),
    library.CollectionNotFoundError: Answer(404),
    library.PassageNotFoundError: Answer(404),
    library.ConfigError: Answer(400),
    library.InputError: Answer(400),
    library.EncoderError: Answer(503),
    library.TimedOutError: Answer(503, "the database took too long; repeat the request, or ask for less"),
    library.SchemaError: Answer(503, "the database lacks the schema of this service; let its owner run `pgretrieval migrate`"),
    library.StorageError: Answer(503, _UNAVAILABLE),
    PgRetrievalError: Answer(503),
}
"""Status by class; the first that fits counts."""

_UNEXPECTED = Answer(503, "the service failed unexpectedly; repeat the request, and report it if it fails again")
_LAST_CLAUSE = re.compile(r"(?:; |\. )(?=[A-Za-z`])")
_REMEDY = "correct the request"


def answer_to(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Return status and body for an error. What a caller is not told is logged, with an id that the answer names."""
    if isinstance(error, RequestError):
        return error.status, body(error.kind, str(error))
    kind = type(error).__name__
    if not isinstance(error, PgRetrievalError):
        kind, answer = "UnexpectedError", _UNEXPECTED
    else:
        answer = next(STATUSES[each] for each in STATUSES if isinstance(error, each))
    if answer.told is None:
        return answer.status, body(kind, str(error))
    number = secrets.token_hex(4)
    unexpected = answer is _UNEXPECTED
    log.error("error %s: %s", number, "unexpected" if unexpected else error, exc_info=error if unexpected else None)
    return answer.status, body(kind, f"{answer.told} (the service's log has the cause as error {number})")


def body(kind: str, text: str) -> dict[str, Any]:
    """Return the body of an error: the library's messages end with the remedy, which is shown apart."""
    message, remedy = _split(text)
    return {"error": {"type": kind, "message": message, "remedy": remedy}}


def _split(text: str) -> tuple[str, str]:
    """Split a message from its last clause, unless that is inside a quoted value."""
    for found in reversed(list(_LAST_CLAUSE.finditer(text))):
        message, remedy = text[: found.start()], text[found.end() :]
        if all(part.count(mark) % 2 == 0 for part in (message, remedy) for mark in '"`'):
            return message, remedy
    return text, _REMEDY
