"""Relevance judgements (qrels) from TREC and BEIR files."""

from __future__ import annotations

import os
import re

from pgretrieval.corpus.lines import read_lines
from pgretrieval.errors import InputError

MAX_RELEVANCE = 1_000  # trec_eval's time grows with the value, and beyond 31 bits its results are wrong
_HEADER_WORDS = {"score", "rel", "relevance", "label"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


def read_qrels(path: str | os.PathLike[str], name: str | None = None) -> dict[str, dict[str, int]]:
    """Read relevance by query id and passage id from a plain or gzip file, with or without a header line.

    A line has four columns with white space between them (query, 0, passage, relevance; TREC) or three with tabs
    (query, passage, relevance; BEIR). `name` is the name of the file in errors.
    """
    qrels: dict[str, dict[str, int]] = {}
    for line_index, (where, line) in enumerate(read_lines(path, name)):
        query_id, passage_id, written = _columns(line, where)
        if line_index == 0 and written.lower() in _HEADER_WORDS:
            continue
        relevance = _relevance(written, where)
        known = qrels.setdefault(query_id, {}).setdefault(passage_id, relevance)
        if known != relevance:
            raise InputError(
                f"{where}: passage {passage_id!r} has relevance {relevance} for query {query_id!r}, "
                f"but {known} on an earlier line; keep one of the two"
            )
    if not qrels:
        raise InputError(f"{name or path}: the file has no judgements; write one query, passage and relevance per line")
    return qrels


def _columns(line: str, where: str) -> tuple[str, str, str]:
    tabbed, spaced = line.split("\t"), line.split()
    if len(tabbed) == 3 and all(column.strip() for column in tabbed):
        return tabbed[0], tabbed[1], tabbed[2].strip()
    if len(spaced) == 4:
        return spaced[0], spaced[2], spaced[3]
    raise InputError(
        f"{where}: found {len(spaced)} columns; write four with spaces (query 0 passage relevance) "
        "or three with tabs (query, passage, relevance)"
    )


def _relevance(written: str, where: str) -> int:
    if not _INTEGER.fullmatch(written):
        raise InputError(f"{where}: the relevance {written!r} is not an integer; write 0, 1, 2, …")
    relevance = int(written)
    if abs(relevance) > MAX_RELEVANCE:
        raise InputError(f"{where}: the relevance {written} is beyond ±{MAX_RELEVANCE:,}; use a smaller scale")
    return relevance
