"""Test collections by their ir-datasets names, such as beir/scifact/test: downloaded at first use, and kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.types import Passage

Result = TypeVar("Result")


_QUERIES_ARE_PASSAGES = re.compile(r"beir/(arguana|quora)(/.*)?")


class Benchmark:
    """Passages, queries and judgements of one ir-datasets name. Raises ConfigError where it is unknown or lacks one of these."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._dataset = _known(name)

    @property
    def collection_name(self) -> str:
        """A name for a collection of its passages, which splits share."""
        import ir_datasets

        whole = str(ir_datasets.docs_parent_id(self.name))
        return re.sub(r"\W+", "_", whole.lower()).strip("_")

    @property
    def drops_identical(self) -> bool:
        """Whether its queries are passages, which BEIR's evaluation leaves out of the hits of the query of the same id."""
        return _QUERIES_ARE_PASSAGES.fullmatch(self.name) is not None

    def passages(self) -> Iterator[Passage]:
        """All passages with a text or at least a title, which then is the text."""
        documents = self._reading(lambda: iter(self._dataset.docs_iter()))
        while (document := self._reading(lambda: next(documents, None))) is not None:
            title = str(getattr(document, "title", "") or "").strip()
            text = _text(document, title)
            if text:
                yield Passage(str(document.doc_id), text, title if title and text != title else None)

    def queries(self) -> dict[str, str]:
        """Texts of the queries by id."""
        return self._reading(lambda: {str(query.query_id): _text(query, "") for query in self._dataset.queries_iter()})

    def qrels(self) -> dict[str, dict[str, int]]:
        """Judgements by query id and passage id."""
        qrels: dict[str, dict[str, int]] = {}
        for judgement in self._reading(lambda: list(self._dataset.qrels_iter())):
            qrels.setdefault(str(judgement.query_id), {})[str(judgement.doc_id)] = int(judgement.relevance)
        return qrels

    def _reading(self, read: Callable[[], Result]) -> Result:
        try:
            return read()
        except Exception as error:  # whatever the library, its network client and its parsers raise
            msg = (
                f"dataset {self.name!r} cannot be read: {type(error).__name__}: {error}. Its first use is a download, which needs "
                "a network; without one give files with --queries and --qrels, or set IR_DATASETS_HOME to where it was downloaded"
            )
            raise InputError(msg) from error


def _known(name: str) -> Any:
    try:
        import ir_datasets
    except ImportError as error:
        msg = "datasets by name need the package ir-datasets; pip install 'pgretrieval[evaluate]'"
        raise ConfigError(msg) from error
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        msg = f"ir-datasets knows no dataset {name!r}; see https://ir-datasets.com for the names, such as beir/scifact/test"
        raise ConfigError(msg) from error
    missing = [kind for kind in ("docs", "queries", "qrels") if not getattr(dataset, f"has_{kind}")()]
    if missing:
        msg = f"dataset {name!r} has no {' and no '.join(missing)}; name a split of it, such as {name}/test"
        raise ConfigError(msg)
    return dataset


def _text(record: Any, otherwise: str) -> str:
    """The text of a passage or query: its field of that name, else what the library takes for it."""
    text = getattr(record, "text", None)
    return str(record.default_text() if text is None else text).strip() or otherwise
