"""Validation of passages, for the file reader and `Collection.add`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from pgretrieval import validate
from pgretrieval.errors import InputError
from pgretrieval.types import Passage

MAX_METADATA_DEPTH = 100


def to_passage(
    record: Mapping[str, Any] | Passage, where: str, *, blank_remedy: str = "leave it out", may_be_blank: bool = False
) -> Passage:
    """Check one passage and return it in normal form; `where` is its place, such as "corpus.jsonl:12" or "passage 3".

    A mapping has "id" (or "_id"), "text" and optionally "title" and "metadata"; all other keys are ignored.
    An integer id becomes a string, a blank title None, a missing metadata {}. `blank_remedy` ends the error for a blank text,
    which is none with `may_be_blank`, for passages whose vectors are not the text's.
    """
    if isinstance(record, Passage):
        record = {"id": record.id, "text": record.text, "title": record.title, "metadata": record.metadata}
    elif not isinstance(record, Mapping):
        raise InputError(f"{where}: expected a Passage or an object with id and text, found {_kind(record)}")
    passage_id = _string_id(_id_of(record), where)
    where = f"{where} (id {_shown(passage_id)})"
    return Passage(
        id=_checked_id(passage_id, where),
        text=_checked_text(record.get("text"), where, None if may_be_blank else blank_remedy),
        title=_checked_title(record.get("title"), where),
        metadata=_checked_metadata(record.get("metadata"), where),
    )


def to_change(record: Mapping[str, Any] | Passage, where: str) -> tuple[str, Callable[[Passage], Passage]]:
    """Return the id of a passage to update, and a function from the stored to the changed passage; omitted fields stay.

    Raises InputError for the id; the function raises it for other fields.
    """
    if not isinstance(record, Passage | Mapping):
        raise InputError(f"{where}: expected a Passage or an object with id, found {_kind(record)}")
    given = record.id if isinstance(record, Passage) else _id_of(record)
    key = _string_id(given, where)
    return key, partial(_changed, record if isinstance(record, Passage) else dict(record), key, where)


def _changed(record: dict[str, Any] | Passage, key: str, where: str, held: Passage) -> Passage:
    may_be_blank = not held.text.strip()  # it came with vectors
    if isinstance(record, Passage):
        return to_passage(record, where, may_be_blank=may_be_blank)
    kept = {"text": held.text, "title": held.title, "metadata": held.metadata}
    return to_passage({**kept, **record, "id": key}, where, may_be_blank=may_be_blank)


def _id_of(record: Mapping[str, Any]) -> Any:
    """Return "id", or else "_id"; null counts as missing."""
    given = record.get("id")
    return record.get("_id") if given is None else given


def _string_id(value: Any, where: str) -> str:
    if value is None:
        raise InputError(f"{where}: the id is missing; give each passage its own id")
    scalar = validate.json_scalar(value)
    if isinstance(scalar, str):
        return scalar
    if isinstance(scalar, int) and not isinstance(scalar, bool):
        return str(scalar)
    raise InputError(f"{where}: the id is {_kind(value)}; give a string or an integer")


def _checked_id(passage_id: str, where: str) -> str:
    if not passage_id.strip():
        raise InputError(f"{where}: the id is empty{' or blank' if passage_id else ''}; give each passage its own id")
    size = len(_storable(passage_id, "id", where).encode())
    if size > validate.MAX_ID_BYTES:
        raise InputError(f"{where}: the id has {size:,} bytes in UTF-8; the maximum is {validate.MAX_ID_BYTES:,}")
    return passage_id


def _checked_text(value: Any, where: str, blank_remedy: str | None) -> str:
    if value is None:
        raise InputError(f"{where}: the text is missing; give a string")
    if not isinstance(value, str):
        raise InputError(f"{where}: the text is {_kind(value)}; give a string")
    if blank_remedy is not None and not value.strip():
        raise InputError(f"{where}: the text is empty or blank; {blank_remedy}")
    return _storable(value, "text", where)


def _checked_title(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: the title is {_kind(value)}; give a string or leave it out")
    return _storable(value, "title", where) if value.strip() else None


def _checked_metadata(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: the metadata is {_kind(value)}; give an object with string keys")
    return _plain_object(value, "metadata", where, depth=1)


def _plain_object(value: Mapping[Any, Any], field: str, where: str, depth: int) -> dict[str, Any]:
    if depth > MAX_METADATA_DEPTH:
        raise InputError(f"{where}: the metadata is nested more than {MAX_METADATA_DEPTH} levels deep; flatten it")
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"{where}: {field} has a key that is {_kind(key)}; keys must be strings")
        _storable(key, f"the key {_shown(key)} of {field}", where)
    return {key: _plain_value(item, f"{field}.{key}", where, depth) for key, item in value.items()}


def _plain_value(value: Any, field: str, where: str, depth: int) -> Any:
    """Convert `value` to plain JSON types: mappings to dicts, tuples to lists."""
    scalar = validate.json_scalar(value)
    if isinstance(scalar, str):
        return _storable(scalar, field, where)
    if scalar is not validate.NO_SCALAR:
        return scalar
    if isinstance(value, Mapping):
        return _plain_object(value, field, where, depth + 1)
    if isinstance(value, list | tuple):
        numbered = {str(i): item for i, item in enumerate(value)}
        return list(_plain_object(numbered, field, where, depth + 1).values())
    found = validate.shown(value) if isinstance(value, float | Decimal) else _kind(value)
    raise InputError(f"{where}: {field} is {found}, which JSON cannot represent; use strings, numbers, lists or objects")


def _storable(text: str, field: str, where: str) -> str:
    """Check that Postgres can store `text`."""
    return validate.storable(text, f"{where}: {field}")


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
