"""Every public function and method with one wrong argument at a time raises an error of the package or returns a valid result.

Functions, methods and parameters are found by inspection, so new ones are tested automatically. Valid values follow from a
parameter's annotation; others must be refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

import pgretrieval
import pgretrieval.alembic
import pgretrieval.sqlalchemy
from pgretrieval import Collection, Passage, PgRetrievalError, RetrievalDatabase
from pgretrieval.db.revisions import alembic_config
from tests.support.encoder import HashedEncoder
from tests.support.wrong import WRONG, fits, limited, odd_numbers

SQLSTATES = {"PGR04", "PGR05", "22P02", "42601"}
"""States that the server may report for a search with strange values: the package's own, and that of an invalid jsonpath."""
LONGEST = 7_000
"""Maximum length of an error: it may repeat a path or a URL, but not a text of a million characters."""

_numbers = itertools.count()
_VECTOR = np.eye(2, 64, dtype=np.float32)
_GIVEN: dict[str, Callable[[], Any]] = {
    "name": lambda: "docs",
    "collection": lambda: "docs",
    "query": lambda: "water",
    "query_text": lambda: "water",
    "queries": lambda: ["water"],
    "anchor_queries": lambda: ["water", "tea"],
    "passages": lambda: [{"id": f"n{next(_numbers)}", "text": "tea"}],
    "ids": lambda: ["nobody"],
    "table": lambda: "public.article",
    "text": lambda: "body",
    "vectors": lambda: _VECTOR,
    "cross_encoder": lambda: HashedEncoder(),
    "source": lambda: "minilm",
    "k": lambda: 3,
}
"""Values of the other arguments, by the parameter's name; others have their default or, without one, an object."""
_GIVEN_TO: dict[str, dict[str, Callable[[], Any]]] = {
    "RetrievalDatabase.create_collection": {"name": lambda: f"new {next(_numbers)}"},
    "read_passages": {"path": lambda: "nothing there.csv"},
    "read_page_images": {"path": lambda: "nothing there.pdf"},
    "RetrievalDatabase.drop_collection": {"name": lambda: f"nobody {next(_numbers)}"},
    "RetrievalDatabase.get_collection": {"encoder": HashedEncoder},
    "Collection.update": {"passages": lambda: [{"id": "p1", "text": "tea"}]},
    "Collection.explain_match": {"id": lambda: "p1"},
    "Collection.exact_rankings": {"queries": lambda: [_VECTOR]},
    "sqlalchemy.search": {"query": lambda: _VECTOR},
    "sqlalchemy.hybrid_search": {"query": lambda: _VECTOR},
    "sqlalchemy.dense_search": {"query": lambda: _VECTOR[0]},
}
_INSTEAD = {"vectors": ("query", "queries"), "dense": ("query",)}
"""Parameters that replace another, which is then left out."""
_BY_ITSELF = {"Collection.explain_match", "Collection.hybrid_search", "Collection.add", "sqlalchemy.hybrid_search"}


def _public(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Public functions and methods defined in the module, including setters."""
    for name, member in inspect.getmembers_static(owner):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            if member.fset is not None:
                yield f"{prefix}.{name}", member.fset
        elif inspect.iscoroutinefunction(member):  # an awaited form of a method that is here, too; test_async compares them
            continue
        elif inspect.isfunction(member) and (inspect.isclass(owner) or member.__module__ == owner.__name__):
            yield f"{prefix}.{name}", member


def _functions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in pgretrieval.__all__:
        member = getattr(pgretrieval, name)
        if inspect.isfunction(member):
            found[name] = member
        elif not hasattr(member, "__dataclass_fields__"):
            found.update(_public(member, name))
    found.update(_public(pgretrieval.alembic, "alembic"))
    found.update(_public(pgretrieval.sqlalchemy, "sqlalchemy"))
    return found


FUNCTIONS = _functions()


def _parameters(function: Any) -> dict[str, Any]:
    """Names and annotations; those of `**options` are the fields of its TypedDict."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = _evaluated(function, parameter.annotation)
        found |= (
            get_type_hints(get_args(hint)[0], localns={"Select": sa.Select})
            if parameter.kind is inspect.Parameter.VAR_KEYWORD
            else {name: hint}
        )
    return {name: hint for name, hint in found.items() if name != "self" and not name.startswith("_")}


def _evaluated(function: Any, annotation: Any) -> Any:
    """An evaluated annotation; names of types that only type checkers import become Any."""
    if not isinstance(annotation, str):
        return annotation
    known = {name: Any if isinstance(alias, str) else alias for name, alias in vars(inspect.getmodule(function)).items()}
    known = {name: getattr(pgretrieval, name) for name in pgretrieval.__all__} | {"URL": Any} | known
    return eval(annotation, known)


CALLS = [(name, parameter) for name, function in FUNCTIONS.items() for parameter in _parameters(function)]


@pytest.fixture(scope="module")
def docs(module_database: RetrievalDatabase) -> Collection:
    """A built collection shared by all calls, which may add and delete."""
    collection = module_database.create_collection("docs", encoder=HashedEncoder())
    collection.add([{"id": f"p{number}", "text": f"water number {number}", "metadata": {"n": number}} for number in range(20)])
    collection.build()
    with sa.create_engine(_psycopg(module_database.url)).begin() as connection:
        connection.execute(sa.text("create table article (id text primary key, body text)"))
    return collection


def _psycopg(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


def _arguments(name: str, wrong: str | None) -> dict[str, Any]:
    given = {**_GIVEN, **_GIVEN_TO.get(name, {})}
    left_out = _INSTEAD.get(wrong or "", ()) if name not in _BY_ITSELF else ()
    made: dict[str, Any] = {}
    for parameter in inspect.signature(FUNCTIONS[name]).parameters.values():
        if parameter.name == wrong or parameter.name == "self" or parameter.name in left_out:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if parameter.default is inspect.Parameter.empty or parameter.name in _GIVEN_TO.get(name, {}):
            made[parameter.name] = given.get(parameter.name, object)()
        elif parameter.name in ("query", "queries"):
            made[parameter.name] = given[parameter.name]()
    return made


class _Offline:
    """alembic as `--sql` runs it."""

    def __enter__(self) -> None:
        self.stack = ExitStack()
        config = alembic_config()
        script = ScriptDirectory.from_config(config)
        environment = self.stack.enter_context(EnvironmentContext(config, script, as_sql=True))
        environment.configure(dialect_name="postgresql", output_buffer=io.StringIO())
        self.stack.enter_context(Operations.context(environment.get_context()))

    def __exit__(self, *_error: object) -> None:
        self.stack.close()


async def _opened_and_closed(connecting: pgretrieval.Connecting) -> None:
    async with connecting:
        pass


def _called(name: str, arguments: dict[str, Any], opened: RetrievalDatabase, docs: Collection) -> Any:
    """The function's result; the elements of an iterator, the rows of a construct of SQLAlchemy."""
    owner = name.rpartition(".")[0]
    function = FUNCTIONS[name]
    if owner == "Collection":
        return function(docs, **arguments)
    if owner == "RetrievalDatabase":
        return function(opened, **arguments)
    if owner == "CollectionEncoder":
        return function(docs.encoder, **arguments)
    if owner == "alembic":
        with _Offline():
            return function(**arguments)
    result = function(**arguments)
    if name == "connect":
        result.close()
    if name == "connect_async":
        asyncio.run(_opened_and_closed(result))
    if isinstance(result, sa.FromClause):
        with sa.create_engine(_psycopg(opened.url), poolclass=sa.NullPool).connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(result))]
    return result


@pytest.mark.parametrize(("name", "parameter"), CALLS, ids=[f"{name}-{parameter}" for name, parameter in CALLS])
def test_a_wrong_value_is_refused(
    docs: Collection, module_database: RetrievalDatabase, monkeypatch: pytest.MonkeyPatch, name: str, parameter: str
):
    """A wrong value raises an error of the package in time and is never taken for another value."""
    monkeypatch.setenv("PGRETRIEVAL_DATABASE_URL", module_database.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hint = _parameters(FUNCTIONS[name])[parameter]
    found = ((label, _fault(name, parameter, value, hint, module_database, docs)) for label, value in WRONG.items())
    faults = [f"{label}: {fault}" for label, fault in found if fault]
    assert not faults, "\n".join([f"{name}({parameter}=…)", *faults])


def _fault(name: str, parameter: str, value: Any, hint: Any, opened: RetrievalDatabase, docs: Collection) -> str | None:
    """Describe the wrong reaction of a call to a wrong value, or return None."""
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _called(name, {**_arguments(name, parameter), parameter: value}, opened, docs)
    except PgRetrievalError as error:
        plain = str(error) and "\n" not in str(error) and len(str(error)) <= LONGEST
        return None if plain else f"says {str(error)[:200]!r} of {len(str(error))} characters"
    except sa.exc.DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        return None if name.startswith("sqlalchemy.") and state in SQLSTATES else f"{state} {str(error)[:200]}"
    except Exception as error:
        return f"{type(error).__name__} {str(error)[:200]}"
    if not fits(value, hint):
        return f"is taken, though it is no {hint}"
    return f"gives {str(result)[:200]}" if odd_numbers(result) else None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Passage)])
def test_a_wrong_field_of_a_passage_is_refused(docs: Collection, field: str):
    """A wrong field of a passage is refused, although the dataclass does not check it."""
    taken = set()
    for label, value in WRONG.items():
        passage = Passage(**{"id": f"n{next(_numbers)}", "text": "tea", field: value})
        with suppress(PgRetrievalError), limited():
            docs.add([passage])
            taken.add(label)
    assert (
        taken
        == {
            "id": {"five", "negative", "int4", "int8", "home"},
            "text": {"home", "long", "huge"},
            "title": {"none", "empty", "blank", "home", "long", "huge"},
            "metadata": {"none", "mapping"},
        }[field]
    )
