"""Test collections by their ir-datasets names, such as beir/scifact/test; downloaded at first use and cached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.importing import extra
from pgretrieval.types import Passage

Result = TypeVar("Result")


_QUERIES_ARE_PASSAGES = re.compile(r"beir/(arguana|quora)(/.*)?")


class Benchmark:
    """Passages, queries and judgements of an ir-datasets name. Raises ConfigError if it is unknown or incomplete."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._dataset = _known(name)

    @property
    def collection_name(self) -> str:
        """Name for a collection of its passages, the same for all splits."""
        import ir_datasets

        whole = str(ir_datasets.docs_parent_id(self.name))
        return re.sub(r"\W+", "_", whole.lower()).strip("_")

    @property
    def drops_identical(self) -> bool:
        """True if its queries are passages; BEIR's evaluation drops the hit with the query's id."""
        return _QUERIES_ARE_PASSAGES.fullmatch(self.name) is not None

    def passages(self) -> Iterator[Passage]:
        """Yield all passages with a text; a title without text becomes the text."""
        documents = self._reading(lambda: iter(self._dataset.docs_iter()))
        while (document := self._reading(lambda: next(documents, None))) is not None:
            title = str(getattr(document, "title", "") or "").strip()
            text = _text(document, title)
            if text:
                yield Passage(str(document.doc_id), text, title if title and text != title else None)

    def queries(self) -> dict[str, str]:
        """Return query texts by id."""
        return self._reading(lambda: {str(query.query_id): _text(query, "") for query in self._dataset.queries_iter()})

    def qrels(self) -> dict[str, dict[str, int]]:
        """Return judgements by query id and passage id."""
        qrels: dict[str, dict[str, int]] = {}
        for judgement in self._reading(lambda: list(self._dataset.qrels_iter())):
            qrels.setdefault(str(judgement.query_id), {})[str(judgement.doc_id)] = int(judgement.relevance)
        return qrels

    def _reading(self, read: Callable[[], Result]) -> Result:
        try:
            return read()
        except Exception as error:  # the library, its network client and its parsers raise many types
            msg = (
                f"dataset {self.name!r} cannot be read: {type(error).__name__}: {error}. The first use downloads it and needs "
                "a network; otherwise give files with --queries and --qrels, or set IR_DATASETS_HOME to the folder of a download"
            )
            raise InputError(msg) from error


def _known(name: str) -> Any:
    with extra("a dataset by name", "evaluate"):
        import ir_datasets
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        msg = f"ir-datasets has no dataset {name!r}; see https://ir-datasets.com for the names, such as beir/scifact/test"
        raise ConfigError(msg) from error
    missing = [kind for kind in ("docs", "queries", "qrels") if not getattr(dataset, f"has_{kind}")()]
    if missing:
        msg = f"dataset {name!r} has no {' and no '.join(missing)}; give a split of it, such as {name}/test"
        raise ConfigError(msg)
    return dataset


def _text(record: Any, otherwise: str) -> str:
    """Return the text of a passage or query: the field `text`, or else the library's default text."""
    text = getattr(record, "text", None)
    return str(record.default_text() if text is None else text).strip() or otherwise
