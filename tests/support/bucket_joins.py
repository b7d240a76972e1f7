"""A linter of SQL texts, statements in format() strings included: what joins or groups by passages has to do so by bucket, too.

A distributed Postgres computes a statement on each node only if tables are joined and rows grouped by the column that spreads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TABLES = (
    *("passage", "token_vector", "dense_vector", "token_code", "posting", "posting_code", "word_posting", "proxy"),
    *("anchor_score", "anchor_item", "item_embedding", "removed_passage", "source_passage"),
)
"""Tables with a column `bucket`."""

_CLAUSES = re.compile(
    r"\b(select|(?<!distinct )from|where|on(?! conflict)|group by|order by|having|limit|offset|union|returning|set|join|with|"
    r"insert into|delete|update|copy|when|end)\b|[;']"
)
_COMPARED = re.compile(
    r"\b(\w+)\.(?:passage_id\s*=\s*(\w+)\.passage_id|key\s*=\s*(\w+)\.passage_key|passage_key\s*=\s*(\w+)\.key)\b"
)
_NAMED = re.compile(r"\bas (\w+) \(([^()]*)\)")
_WRITTEN = re.compile(rf"\b(?:copy|insert into) pgretrieval\.({'|'.join(TABLES)}|%\S+) \(([^()]*)\)")


def faults(text: str) -> Iterator[str]:
    """Yield what an SQL text does by passage alone: joins, groups, windows and writes without a bucket."""
    text = re.sub(r"--[^\n]*", "", text)
    without = {name for name, columns in _NAMED.findall(text) if "bucket" not in columns and "%" not in columns}
    for table, columns in _WRITTEN.findall(text):
        if "bucket" not in columns:
            yield f"rows of {table} are written without a bucket: {_short(columns)}"
    for columns in re.findall(r"\busing \(([^()]*)\)", text):
        if "passage_id" in columns and "bucket" not in columns:
            yield f"using ({columns})"
    for columns in re.findall(r"\bpartition by ([^()]*)\)", text):
        if "passage_id" in columns and "bucket" not in columns:
            yield f"partition by {columns}"
    for keyword, rest in _clauses(text):
        clause = _up_to_parenthesis(rest) if keyword == "group by" else rest
        if keyword == "group by" and re.search(r"\bpassage_id\b", clause) and "bucket" not in clause:
            yield f"group by {_short(clause)}"
        for compared in _COMPARED.findall(clause):
            one, other = filter(None, compared)
            joined = re.search(rf"\b({one}\.bucket = {other}\.bucket|{other}\.bucket = {one}\.bucket)\b", clause)
            if one != other and not joined and not without & {one, other}:
                yield f"{one} and {other} are joined without bucket: {_short(clause)}"


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    """Yield each clause's keyword and what follows up to the next."""
    found = list(_CLAUSES.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    for each, end in zip(found, ends, strict=False):
        yield each[0], text[each.end() : end]


def _up_to_parenthesis(text: str) -> str:
    """Return what comes before the end of the parenthesis that the text is in."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return text[:place]
    return text


def _short(text: str) -> str:
    return " ".join(text.split())[:100]
