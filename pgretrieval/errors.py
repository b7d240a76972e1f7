"""Errors of pgretrieval. All derive from `PgRetrievalError`; messages name the wrong value and the remedy."""

from __future__ import annotations


class PgRetrievalError(Exception):
    """Base of all errors of this package."""


class PgRetrievalWarning(UserWarning):
    """A condition that does not stop the work, such as truncated passages."""


class ConfigError(PgRetrievalError, ValueError):
    """An argument, option or environment variable has an invalid value."""


class UnknownOptionError(ConfigError, TypeError):
    """A call has an unknown option; the message suggests options with similar names."""


class MissingExtraError(ConfigError, ImportError):
    """A module needs a package that is not installed; the message names the extra."""


class InputError(PgRetrievalError, ValueError):
    """A passage, query or judgement is invalid; the message names the id, or the file and line."""


class DuplicateIdError(InputError):
    """A passage id occurs twice in one `add`, or exists in the collection."""


class PassageNotFoundError(InputError, LookupError):
    """A passage to update is not in the collection."""


class VectorError(InputError):
    """Token vectors are zero, not finite, not of shape (tokens, dim), or not of the number that every passage has."""


class DimensionMismatchError(VectorError):
    """The dimensions of token vectors and collection differ."""


class EncoderError(PgRetrievalError):
    """An encoder cannot be loaded, or does not return one (tokens, dim) array for each text."""


class EncoderChangedError(ConfigError):
    """A rebuild changed the collection's encoder after this handle was opened."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a rebuild changed the encoder of collection {name!r} after this handle was opened, so vectors of the old encoder "
            "do not match the index; give vectors of the new encoder, or texts"
        )


class CollectionNotFoundError(PgRetrievalError, LookupError):
    """No collection has this name."""


class CollectionExistsError(PgRetrievalError):
    """A collection of this name exists."""


class IndexNotBuiltError(PgRetrievalError):
    """The collection has no index, or no vectors and texts to build one from."""


class BuildWorkerError(PgRetrievalError):
    """A worker process of a build ended again and again; the message names its exit code."""


class StorageError(PgRetrievalError):
    """The database rejected or lost a statement; the driver's error is the cause."""


class TimedOutError(StorageError):
    """A statement, or the wait for a lock or a free connection, exceeded its time limit and was cancelled."""


class ConflictError(StorageError):
    """Another transaction changed the same passages; nothing was stored, and the call can be repeated."""


class DatabaseUnavailableError(StorageError):
    """The database server cannot be reached."""


class SchemaError(StorageError):
    """The schema is missing, older or newer than this client, or cannot be created."""


class ExtensionError(SchemaError):
    """pgvector is missing or too old."""
