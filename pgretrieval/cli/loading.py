"""Loading of a corpus into a collection; an interrupted run can be repeated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pgretrieval import presets
from pgretrieval.cli import console
from pgretrieval.encode.images import IMAGES_PER_CALL
from pgretrieval.encode.registry import load_encoder
from pgretrieval.errors import ConfigError, DuplicateIdError, PgRetrievalWarning
from pgretrieval.types import Passage

if TYPE_CHECKING:
    from pgretrieval.collection import Collection
    from pgretrieval.database import RetrievalDatabase
    from pgretrieval.encode.base import CollectionEncoder

Source = Callable[[], Iterable[Passage]]


def open_or_create(
    database: RetrievalDatabase, name: str, encoder: str | None, bits: int | None, options: Mapping[str, Any] | None = None
) -> Collection:
    """Open the collection, or create it; None leaves a setting at its default.

    Raises ConfigError if it exists with other settings.
    """
    wanted = {"bits": bits, **(options or {})}
    wanted = {option: value for option, value in wanted.items() if value is not None}
    if name not in database.list_collections():
        if preset := wanted.get("preset"):
            console.errors.print(presets.collection_summary(preset, {**wanted, "encoder": encoder}), soft_wrap=True)
        if encoder is None and not (preset and "encoder" in presets.PRESETS[preset].collection):
            encoder = "minilm"
        return database.create_collection(name, encoder=encoder, **wanted)
    collection = database.get_collection(name)
    settings = collection.settings
    for option, value in wanted.items():
        held, flag = getattr(settings, option), "--" + option.replace("_", "-")
        if held != value:
            msg = f"collection {name!r} was created with {option} {held}, but {flag} is {value}; drop it first, or leave {flag} out"
            raise ConfigError(msg)
    if encoder is not None:
        collection._opened.require_encoder(encoder)
    return collection


def encoder_of(database: RetrievalDatabase, name: str, encoder: str | None, preset: str | None) -> CollectionEncoder | None:
    """Return the encoder of the collection, also before `open_or_create`. Collections of texts only have none."""
    if name in database.list_collections():
        collection = database.get_collection(name)
        if encoder is not None:
            collection._opened.require_encoder(encoder)
        return None if collection.settings.texts_alone else collection.encoder
    if encoder is None:
        encoder = "minilm" if preset is None else presets.PRESETS[preset].collection.get("encoder", "minilm")
    return None if encoder == "none" else load_encoder(encoder)


def count_checked(sources: Iterable[Source]) -> int:
    """Read every passage once, to find invalid input before hours of encoding. Raises InputError, DuplicateIdError."""
    seen: set[str] = set()
    with console.progress_bar("checking the corpus", None) as advance:
        for source in sources:
            for passage in source():
                if passage.id in seen:
                    msg = f"the id {passage.id!r} occurs twice in the corpus; nothing was stored. Give each passage its own id"
                    raise DuplicateIdError(msg)
                seen.add(passage.id)
                advance(1)
    return len(seen)


def load(
    collection: Collection,
    sources: Iterable[Source],
    total: int,
    *,
    update: bool = False,
    page_images: bool = False,
    build: Callable[..., object] | None = None,
) -> int:
    """Add the passages that the collection does not contain in committed batches, then build; return the number of stored passages.

    Passages with different content are replaced with `update`, and otherwise an error. With `page_images` their images are encoded.
    `build` replaces the collection's method.
    """
    from pgretrieval.index.ingest import BATCH, batches

    added = truncated = 0
    with console.progress_bar("encoding and adding", total) as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore", PgRetrievalWarning)
        for batch in batches(_all(sources), IMAGES_PER_CALL if page_images else BATCH):
            missing = batch if update else collection.not_yet_added(batch)
            advance(len(batch) - len(missing))
            if missing:
                files = [passage.metadata["image"] for passage in missing] if page_images else []
                vectors = collection.encoder.encode_images(files) if page_images else None
                report = collection.add(missing, vectors, on_conflict="update" if update else "error", progress=advance)
                added += report.passages
                truncated += report.truncated
    if truncated:
        console.errors.print(f"{truncated:,} texts were longer than the model's limit and were truncated; --chunk cuts them")
    if not collection.settings.texts_alone:
        with console.stage_bars() as stage:
            (build or collection.build)(stage=stage)
    return added


def complete(collection: Collection, source: Source, total: int) -> None:
    """Load a source of `total` passages unless the collection is built and has them."""
    stats = collection.stats()
    if not stats["built"] or stats["passages"] < total:
        load(collection, [source], total)


def _all(sources: Iterable[Source]) -> Iterator[Passage]:
    for source in sources:
        yield from source()
