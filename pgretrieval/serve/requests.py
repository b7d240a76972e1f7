"""Requests and answers, declared once: the service reads requests by them, and /openapi.json shows them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgretrieval import validate
from pgretrieval.encode.shared import TEXTS_PER_CALL
from pgretrieval.serve.errors import RequestError
from pgretrieval.types import Mode

Where = Annotated[
    dict[str, Any] | str | None,
    Field(description='Filter by metadata: a mapping such as {"year": {"$gte": 1990}}, or a jsonpath predicate.'),
]
Ids = list[str | int]

_Read = TypeVar("_Read", bound="Request")


class Request(BaseModel):
    """Base of all requests: unknown fields and other types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """Base of all answers, for their description only."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(Request):
    """A search by a text, by token vectors of the query, or by both."""

    query: str | None = Field(None, description="The query text.")
    vectors: list[list[float]] | None = Field(None, description="Token vectors of the query, instead of the encoder's.")
    k: int = Field(10, description="Number of hits.")
    mode: Mode | None = Field(
        None,
        description="Late interaction, words (BM25), dense vectors, or all that the collection has (hybrid). Default: hybrid if "
        "the collection has words or dense vectors, else late.",
    )
    where: Where = None
    among: Ids | None = Field(None, description="Only these ids.")
    min_score: float | None = Field(None, description="Only hits with at least this score.")
    matches: bool = Field(False, description="Say of each hit which of its tokens matched.")
    rerank: str | None = Field(None, description="A cross-encoder that the service was started with.")


class Passage(Request):
    """A passage."""

    id: str | int
    text: str
    title: str | None = None
    metadata: dict[str, Any] = {}


class TokenMatch(Answer):
    """The passage token that is most similar to a query token; offsets count characters of title, space and text."""

    query_token: str | None
    query_position: int
    token: str | None
    position: int | None
    start: int | None
    end: int | None
    similarity: float
    share: float = Field(description="What the query token adds to the score.")
    imputed: bool


class Hit(Answer):
    """A passage that was found. The last fields are there if `matches` was asked for."""

    rank: int
    id: str
    score: float
    title: str | None
    text: str
    metadata: dict[str, Any]
    matches: list[TokenMatch] = Field([], description="One for each query token.")
    components: dict[str, float] | None = Field(None, description="Parts of the score, which sum to it.")
    note: str | None = Field(None, description="Why there are no matches.")
    words: list[tuple[int, int]] = Field([], description="In mode words: where the words are, as start and end in title and text.")


class SearchAnswer(Answer):
    """Hits, best first, and the time of each stage."""

    hits: list[Hit]
    milliseconds: dict[str, float]


class ExplainRequest(Request):
    """A passage, found or not, and the query that it is compared with."""

    query: str
    id: str | int
    k: int = Field(10, description="Number of hits of the search.")
    mode: Mode | None = Field(None, description="Mode of the search, as for a search.")
    where: Where = None


class Token(Answer):
    """A token that the encoder reads; offsets count characters, and are null for markers and masks."""

    text: str | None
    start: int | None
    end: int | None


class ComponentRank(Answer):
    """Rank by one kind of score; if not exact, the passage has this rank or a worse one."""

    rank: int | None
    exact: bool
    score: float | None


class Patches(Answer):
    """Patches of a page's image: the vectors from number first on, row by row, of all vectors of the passage."""

    rows: int
    columns: int
    first: int
    vectors: int


class ExplainAnswer(Answer):
    """How a passage matches a query, and why a search returns it or not, as `explain_match` tells."""

    query: str | None
    passage: Passage
    query_tokens: list[Token]
    passage_tokens: list[Token]
    similarities: list[list[float]] = Field(description="(query tokens, passage tokens)")
    score: float | None
    matches: list[TokenMatch]
    mode: Mode = Field(description="The search that rank is of.")
    rank: int | None
    ranks: dict[str, ComponentRank]
    lacks: list[str]
    note: str | None
    patches: Patches | None = Field(description="Null for passages of text.")


class CollectionsAnswer(Answer):
    """Names of the collections."""

    collections: list[str]


class CollectionAnswer(Answer):
    """Counts, settings and sizes of a collection, as `stats`, and the modes that a search of it can have."""

    model_config = ConfigDict(extra="allow")

    name: str
    passages: int
    modes: list[str] = Field(description="Modes of a search, the default first.")
    cross_encoders: list[str] = Field(description="What a search may name in rerank.")
    writable: bool


class Violation(Answer):
    """A violation of the index's rules."""

    rule: str
    id: str | None
    detail: str
    total: int


class CheckAnswer(Answer):
    """Violations; none for a sound collection."""

    violations: list[Violation]


class PassagesRequest(Request):
    """Passages to get; unknown ids are left out of the answer."""

    id: list[str] = Field(description="Repeatable.", min_length=1)


class PassagesAnswer(Answer):
    """Passages in the order of their ids in the request."""

    passages: list[Passage]


class PutRequest(Request):
    """Passages to store."""

    passages: list[Passage]
    on_conflict: Literal["error", "update", "skip"] = Field("error", description="What to do with an id that exists.")


class PutAnswer(Answer):
    """Report of an `add`."""

    passages: int
    tokens: int
    truncated: int
    updated: int
    skipped: int


class DeleteRequest(Request):
    """Passages to delete, by ids, by metadata or by both."""

    ids: Ids | None = None
    where: Where = None


class DeleteAnswer(Answer):
    """Number of deleted passages."""

    deleted: int


class EncodeRequest(Request):
    """Texts to encode with the encoder of a collection: queries or documents."""

    collection: str
    queries: list[str] | None = Field(None, max_length=TEXTS_PER_CALL)
    documents: list[str] | None = Field(None, max_length=TEXTS_PER_CALL)


class EncodeAnswer(Answer):
    """Token vectors of each text; and its dense vector, if the collection stores those of its encoder."""

    vectors: list[list[list[float]]] = Field(description="For each text (tokens, dim).")
    literals: list[str] = Field(description="For each text a literal of vector[] for the SQL functions.")
    dense: list[list[float]] | None = None
    dense_literals: list[str] | None = Field(None, description="For each text a literal of vector.")


class ErrorDetail(Answer):
    """Error: its type, its message and its remedy."""

    type: str
    message: str
    remedy: str


class ErrorAnswer(Answer):
    """Answer to a request that fails."""

    error: ErrorDetail


def read_json(model: type[_Read], content: bytes) -> _Read:
    """Read a body. Raises RequestError (400) that names the field, the value and the remedy."""
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        raise _refusal(model, error) from error


def read_query(model: type[_Read], given: Sequence[tuple[str, str]]) -> _Read:
    """Read the query of a URL, in which all values are lists of texts. Raises RequestError (400)."""
    fields: dict[str, list[str]] = {}
    for name, text in given:
        fields.setdefault(name, []).append(text)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refusal(model, error) from error


def _refusal(model: type[Request], error: ValidationError) -> RequestError:
    first = error.errors(include_url=False)[0]
    kind, given, path = first["type"], first["input"], [str(part) for part in first["loc"] if not _names_type(part)]
    field = ".".join(path)
    if kind == "json_invalid":
        text = f"the body is not valid JSON ({first['ctx']['error']}); send one JSON object"
    elif kind == "extra_forbidden":
        known = sorted(model.model_fields)
        close = get_close_matches(field, known)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        text = f"a request has no field {validate.shown(field)}; {meant}give one of {', '.join(known)}"
    elif kind in ("too_long", "too_short"):
        limit = "at most" if kind == "too_long" else "at least"
        most = first["ctx"].get("max_length", first["ctx"].get("min_length"))
        text = f"{field} has {first['ctx']['actual_length']} entries; give {limit} {most} in one request"
    elif kind == "missing":
        text = f"the field {field} is missing; give it"
    else:
        wanted = first["msg"].removeprefix("Input should be ")
        text = f"{field or 'the body'} is {validate.shown(given)}; give {wanted}"
    return RequestError(400, "InvalidRequest", text)


def _names_type(part: str | int) -> bool:
    """Return whether a part of an error's path names a branch of a union."""
    return isinstance(part, str) and (part in ("str", "int") or "[" in part)
