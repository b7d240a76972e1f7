"""`pgretrieval index | rebuild`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pgretrieval import presets, validate
from pgretrieval.cli import console, loading
from pgretrieval.corpus import lines
from pgretrieval.corpus.reading import BLANKS, read_passages
from pgretrieval.errors import ConfigError
from pgretrieval.types import GENERATORS


def index(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection; created if it does not exist.")],
    corpus: Annotated[
        list[Path],
        typer.Argument(
            help="Tables (JSON Lines, CSV, TSV, Parquet, Arrow, folders of save_to_disk, hf:NAME), documents (text, Markdown, "
            "HTML, PDF), or folders of documents."
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
    preset: Annotated[
        str | None,
        typer.Option(help=f"System of a paper, for options that are not given: {', '.join(presets.PRESETS)}.", show_default="none"),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="minilm; a hub name or folder that MultiVectorEncoder loads; or none for texts only, without vectors.",
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
    update: Annotated[bool, typer.Option("--update", help="Replace passages whose title, text or metadata changed.")] = False,
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
        if chunk is not None:
            reading["count_tokens"] = loading.token_counter(database, name, encoder, preset)
        sources = [partial(read_passages, *file, **reading) for file in files]
        with console.warnings_printed():
            total = loading.count_checked(sources)
        collection = loading.open_or_create(database, name, encoder, bits, options)
        stored = loading.load(collection, sources, total, update=update)
        held = collection.stats()
    console.errors.print(
        f"{stored:,} passages {'added or changed' if update else 'added'}, {total - stored:,} already stored; {name!r} now "
        f"contains {held['passages']:,} passages, {held['tokens']:,} tokens and {held['centroids']:,} centroids",
    )


def rebuild(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    encoder: Annotated[
        str | None,
        typer.Option(help="New encoder: minilm, a hub name or a folder.", show_default="the collection's own"),
    ] = None,
    token_pooling: Annotated[
        int | None, typer.Option(help="New factor of token pooling; 1 for none.", show_default="the collection's own")
    ] = None,
) -> None:
    """Train a new codebook and code every passage again, optionally with another encoder, while searches and changes continue.

    An interrupted run can be resumed by running it again.
    """
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        with console.stage_bars() as stage:
            report = collection.rebuild(encoder=encoder, token_pooling=token_pooling, stage=stage)
    console.errors.print(
        f"rebuilt {name!r}: {report.passages:,} passages, {report.tokens:,} tokens, {report.centroids:,} centroids", markup=False
    )
