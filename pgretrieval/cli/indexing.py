"""`pgretrieval index | build | rebuild`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgretrieval import presets, validate
from pgretrieval.cli import console, loading
from pgretrieval.corpus import lines
from pgretrieval.corpus.arrow import is_saved_dataset
from pgretrieval.corpus.page_images import has_pages, read_page_images
from pgretrieval.corpus.reading import BLANKS, read_passages
from pgretrieval.errors import ConfigError
from pgretrieval.types import GENERATORS, Passage

if TYPE_CHECKING:
    from pgretrieval.database import RetrievalDatabase

Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that share the build's encoding and coding. Killed ones are replaced.",
        show_default="one for each --device, else none besides this one",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="Torch device, such as cuda:0; repeatable, one process for each.",
        show_default="a GPU if torch finds one, else cpu",
        metavar="DEVICE",
    ),
]


def index(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection; created if it does not exist.")],
    corpus: Annotated[
        list[Path],
        typer.Argument(
            help="Tables (JSON Lines, CSV, TSV, Parquet, Arrow, folders of save_to_disk, hf:NAME), documents (text, Markdown, "
            "HTML, PDF), or folders of documents. With an encoder that takes images: PDF, PNG, JPEG, WebP, TIFF, or folders of "
            "these."
        ),
    ],
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column of the ids.", show_default="id, or else _id", metavar="COLUMN")
    ] = None,
    title_column: Annotated[
        str | None, typer.Option("--title", help="Column of the titles.", show_default="title, if there is one", metavar="COLUMN")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text", help="Column of the texts.", show_default="text", metavar="COLUMN")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            help="Column that becomes a key of the metadata; repeatable.",
            show_default="the object in metadata, if there is one",
            metavar="COLUMN",
        ),
    ] = None,
    blank: Annotated[
        str, typer.Option(help="Passages without text: error, skip (left out), or title (the title becomes the text).")
    ] = "error",
    chunk: Annotated[
        int | None,
        typer.Option(help="Cut texts into passages of at most so many tokens of the encoder.", show_default="whole texts"),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Tokens that a passage of a text repeats of the one before it.", show_default="0")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the images of PDF pages, which an encoder that takes images reads instead of their texts. The "
            "database stores their paths.",
            show_default="page-images in the user's cache directory",
            metavar="FOLDER",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"System of a paper, for options that are not given: {', '.join(presets.PRESETS)}.", show_default="none"),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="minilm; multilingual; a hub name or folder that MultiVectorEncoder loads; or none for texts only.",
            show_default="minilm",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Bits of a residual for each dimension: 1, 2 or 4.", show_default="4"),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="Candidate generator: proxy (a learned vector for each passage), postings (of centroids), or auto (postings).",
            show_default="auto",
        ),
    ] = None,
    candidates: Annotated[str | None, typer.Option(hidden=True, help="Old name of --generator.")] = None,
    keep_vectors: Annotated[
        bool,
        typer.Option("--keep-vectors", help="Store token vectors in addition to codes: exact scores for four times the bytes."),
    ] = False,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Scorer: maxsim (all tokens), or xtr or colxtr (retrieved tokens).",
            show_default="maxsim",
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(help="maxsim also stores codes by passage, to rerank the best of xtr or colxtr.", show_default="none"),
    ] = None,
    unit_vectors: Annotated[
        bool | None,
        typer.Option(help="Scale token vectors to unit length, or keep their lengths.", show_default="yes"),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="The server's text search configuration for searches by words.", show_default="english")
    ] = None,
    token_pooling: Annotated[
        int | None,
        typer.Option(help="Divide the token vectors of a passage by this: means of clusters of similar tokens.", show_default="1"),
    ] = None,
    buckets: Annotated[
        int | None,
        typer.Option(help="Buckets that a distributed Postgres spreads over its nodes, 1 to 1024.", show_default="1"),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Replace passages whose title, text or metadata changed.")] = False,
    workers: Workers = None,
    device: Devices = None,
) -> None:
    """Add files of passages or documents to a collection and build its index.

    Existing passages are unchanged, so an interrupted run can be resumed by running it again. A passage with different content is
    an error, unless --update replaces it.
    """
    if candidates is not None:
        given = validate.shown(candidates)
        msg = f"--candidates is {given}; use --generator instead: --generator {candidates}"
        raise ConfigError(msg)
    options = {
        "preset": None if preset is None else presets.read_name(preset),
        "generator": None if generator is None else validate.choice("generator", generator, GENERATORS),
        "language": language,
        "keep_vectors": keep_vectors or None,
        "scorer": scorer,
        "rerank": rerank,
        "unit_vectors": unit_vectors,
        "token_pooling": token_pooling,
        "buckets": buckets,
    }
    reading: dict[str, Any] = {
        "id": id_column,
        "title": title_column,
        "text": text_column,
        "metadata": metadata or None,
        "blank": validate.choice("blank", blank, BLANKS),
        "chunk": chunk,
        "overlap": overlap,
    }
    with lines.held(corpus) as files, context.obj.connect() as database:
        by_images = reads_page_images(database, name, encoder, preset, [file.path for file in files])
        if by_images:
            if chunk is not None:
                msg = f"--chunk is {chunk}, but the encoder reads the images of whole pages; leave --chunk and --overlap out"
                raise ConfigError(msg)
            sources: list[Callable[[], Iterable[Passage]]] = [partial(read_page_images, *file, images=images) for file in files]
        else:
            if images is not None:
                given = validate.shown(str(images))
                msg = (
                    f"--images is {given}, but no page images are read; give --encoder a model that takes images, and PDF or image "
                    "files"
                )
                raise ConfigError(msg)
            if chunk is not None and (known := loading.encoder_of(database, name, encoder, preset)):
                reading["count_tokens"] = known.count_tokens
            sources = [partial(read_passages, *file, **reading) for file in files]
        with console.warnings_printed():
            total = loading.count_checked(sources)
        collection = loading.open_or_create(database, name, encoder, bits, options)
        building = partial(collection.build, workers=workers, devices=device or ())
        stored = loading.load(collection, sources, total, update=update, page_images=by_images, build=building)
        held = collection.stats()
    console.errors.print(
        f"{stored:,} passages {'added or changed' if update else 'added'}, {total - stored:,} already stored; {name!r} now "
        f"contains {held['passages']:,} passages, {held['tokens']:,} tokens and {held['centroids']:,} centroids",
    )


def reads_page_images(
    database: RetrievalDatabase, name: str, encoder: str | None, preset: str | None, files: Sequence[Path]
) -> bool:
    """Return whether the encoder takes images and all files have pages. Raises ConfigError if only some have."""
    paged = [file for file in files if has_pages(file) or (file.is_dir() and not is_saved_dataset(file))]
    if not paged:
        return False
    known = loading.encoder_of(database, name, encoder, preset)
    if known is None or not known.takes_images:
        return False
    if len(paged) < len(files):
        msg = (
            f"{str(paged[0])!r} has page images, but not all of the files have; index files of texts by another call, best into a "
            "collection of its own"
        )
        raise ConfigError(msg)
    return True


def build(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    workers: Workers = None,
    device: Devices = None,
) -> None:
    """Build the index of a collection, or go on with an interrupted build.

    Run while another process or machine builds or rebuilds the collection, it takes parts of that work, with any number of workers.
    """
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        with console.stage_bars() as stage:
            report = collection.build(workers=workers, devices=device or (), stage=stage)
    console.errors.print(
        f"{name!r} {'is built' if report.built else 'was built already'}: {report.passages:,} passages, {report.tokens:,} tokens, "
        f"{report.centroids:,} centroids"
    )


def rebuild(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    encoder: Annotated[
        str | None,
        typer.Option(help="New encoder: minilm, multilingual, a hub name or a folder.", show_default="the collection's own"),
    ] = None,
    token_pooling: Annotated[
        int | None, typer.Option(help="New factor of token pooling; 1 for none.", show_default="the collection's own")
    ] = None,
    workers: Workers = None,
    device: Devices = None,
) -> None:
    """Train a new codebook and code every passage again, optionally with another encoder, while searches and changes continue.

    An interrupted run can be resumed by running it again.
    """
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        with console.stage_bars() as stage:
            report = collection.rebuild(
                encoder=encoder, token_pooling=token_pooling, workers=workers, devices=device or (), stage=stage
            )
    console.errors.print(
        f"rebuilt {name!r}: {report.passages:,} passages, {report.tokens:,} tokens, {report.centroids:,} centroids", markup=False
    )
