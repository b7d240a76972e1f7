"""Every error that pgretrieval raises derives from `PgRetrievalError` and says which value is wrong and what to do."""

from __future__ import annotations


class PgRetrievalError(Exception):
    """Base of all errors of this package."""


class PgRetrievalWarning(UserWarning):
    """Something worth knowing that does not stop the work, such as passages cut at the model's length."""


class ConfigError(PgRetrievalError, ValueError):
    """An argument, option or environment variable has a value that cannot be used."""


class UnknownOptionError(ConfigError, TypeError):
    """A call was given an option that it does not take: names the option and those with a name like it."""


class InputError(PgRetrievalError, ValueError):
    """A passage, query or judgement cannot be taken as it is: names the id, or the file and line."""


class DuplicateIdError(InputError):
    """A passage id occurs twice in one `add`, or is in the collection already."""


class PassageNotFoundError(InputError, LookupError):
    """A passage that is to be updated is not in the collection."""


class VectorError(InputError):
    """Token vectors are zero, not finite, not shaped (tokens, dim), or not as many as every passage has."""


class DimensionMismatchError(VectorError):
    """Token vectors have another dimension than the collection."""


class EncoderError(PgRetrievalError):
    """An encoder cannot be loaded, or does not return one (tokens, dim) array per text."""


class EncoderChangedError(ConfigError):
    """The collection's encoder was changed by a rebuild since this handle was opened."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the encoder of collection {name!r} was changed by a rebuild since this handle was opened, so that vectors of the old "
            "one do not fit any more; give vectors of the new one, or texts"
        )


class CollectionNotFoundError(PgRetrievalError, LookupError):
    """No collection of that name."""


class CollectionExistsError(PgRetrievalError):
    """A collection of that name is there already."""


class IndexNotBuiltError(PgRetrievalError):
    """The collection has no index yet, or nothing to build one from."""


class StorageError(PgRetrievalError):
    """The database refused or lost a statement; the driver's error is the cause."""


class TimedOutError(StorageError):
    """A statement, a wait for a lock or one for a free connection took longer than it may; the work was given up."""


class ConflictError(StorageError):
    """Another transaction changed the same passages at the same time; nothing was stored, and doing the same again helps."""


class DatabaseUnavailableError(StorageError):
    """The database server cannot be reached."""


class SchemaError(StorageError):
    """The schema is missing, older or newer than this client, or may not be created."""


class ExtensionError(SchemaError):
    """pgvector is missing or too old."""
