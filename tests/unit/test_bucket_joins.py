"""Statements join, group and write by bucket: tests/support/bucket_joins.py over all SQL texts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgretrieval import assets
from tests.support.bucket_joins import faults

ARRAYS = {
    "candidates_in_sql": ["using (passage_id)"],
    "hybrid_search": ["using (passage_id)"] * 4,
    "show": ["passage and best are joined without bucket"],
    "vectors read": ["using (passage_id)"],
    "score_tokens": ["group by listed.place, listed.passage_id", "group by retrieved.passage_id"],
}
"""Texts that join one table with numbers of passages in an array, or group what was retrieved of all buckets, and what they do."""


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every function, named statement and revision."""
    for path in [*assets.function_files(), *assets.revisions().values()]:
        yield path.stem, path.with_suffix(".sql").read_text(encoding="utf-8")
    for path in sorted((assets.SQL / "queries").glob("*.sql")):
        for name, statement in assets.statements(path.stem).items():
            yield f"{path.stem} {name}", statement


@pytest.mark.parametrize(("name", "text"), [pytest.param(*each, id=each[0]) for each in texts()])
def test_rows_are_joined_grouped_and_written_by_bucket(name: str, text: str) -> None:
    """Every text works by bucket, but for those that work on arrays of numbers."""
    found, known = list(faults(text)), ARRAYS.get(name, [])
    assert len(found) == len(known), found
    assert all(fault.startswith(start) for fault, start in zip(found, known, strict=True)), found


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("score_passages", "passage.bucket = token_vector.bucket\n                    and"),
        ("score_passages", ", token.bucket"),
        ("score_tokens", "removed_passage.bucket = entry.bucket\n                      and"),
        ("check_words", "entry.bucket, "),
        ("dense_source", "passage.bucket = vectors.bucket and "),
        ("candidates_by_text", "found.bucket, "),
        ("index_words", ", bucket)"),
        ("add_passage", "bucket, "),
        ("search centroids_by_proxy", "bucket, "),
        ("factorizations copy_anchors", "bucket, "),
        ("queue assign", "bucket, "),
        ("codes uncoded", " and token_code.bucket = passage.bucket"),
    ],
)
def test_a_missing_bucket_is_found(name: str, removed: str) -> None:
    """A text without one of its buckets has more faults."""
    text = dict(texts())[name]
    assert removed in text
    broken = text.replace(removed, ")" if removed.endswith(")") else "")
    assert len(list(faults(broken))) > len(list(faults(text)))
