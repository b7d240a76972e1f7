"""Page images: each page of a PDF, or image file, as a passage whose image lies in a file."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from pgretrieval import importing, validate
from pgretrieval.corpus.documents import endings_listed, files_of
from pgretrieval.corpus.lines import unreadable
from pgretrieval.corpus.pdf import render_pdf
from pgretrieval.corpus.validate import to_passage
from pgretrieval.encode.images import open_image
from pgretrieval.errors import ConfigError, InputError, PgRetrievalWarning
from pgretrieval.types import Passage

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Endings of image files."""
PAGES = (".pdf", *IMAGES)
"""Endings of files of which page images are read."""


def read_page_images(
    path: str | os.PathLike[str], name: str | None = None, *, images: str | os.PathLike[str] | None = None
) -> Iterator[Passage]:
    """Yield a passage for each page of a PDF, for an image file, or for all of a folder; vectors for them are of their images.

    Passages are named path#page; the title is the name of the file, the text is the page's text layer, or empty. Their metadata are
    the `path`, the `page` of a PDF, and the file of the `image` with its `width` and `height`. Give them to `add` with
    `vectors=encoder.encode_images(…)`.

    Args:
        path: A .pdf, .png, .jpg, .webp or .tif file, or a folder of such files (extra `images`).
        name: What errors call the file; by default its path.
        images: Folder of the images of PDF pages, which are rendered once (150 dots per inch); by default `page-images` in the
            user's cache directory.

    Raises:
        InputError: A file or page cannot be read; the message names it.
        MissingExtraError: A package is not installed.
    """
    path = Path(validate.path("path", path))
    folder = default_folder() if images is None else Path(validate.path("images", images))
    name = str(path) if name is None else validate.text("name", name)
    try:
        is_folder = path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise unreadable(name, error) from error
    if is_folder:
        return _of_folder(path, name, folder.absolute())
    if not has_pages(path):
        raise InputError(f"{name}: has no page images; give a file ending in {', '.join(PAGES)}, or a folder of such files")
    return _pages(path, name, folder.absolute())


def default_folder() -> Path:
    """Return the folder of page images if none is given."""
    return Path(platformdirs.user_cache_dir("pgretrieval", appauthor=False)) / "page-images"


def has_pages(path: Path) -> bool:
    """Return whether a file's name ends like those of which page images are read."""
    return path.suffix.lower() in PAGES


def _of_folder(path: Path, name: str, folder: Path) -> Iterator[Passage]:
    others: Counter[str] = Counter()
    found = False
    for file in files_of(path):
        if folder in file.absolute().parents:  # of an earlier run
            continue
        if has_pages(file):
            found = True
            yield from _pages(file, file.as_posix(), folder)
        else:
            others[file.suffix.lower()] += 1
    if not found:
        raise InputError(f"{name}: contains no file ending in {', '.join(PAGES)}; name files of other kinds one by one")
    if others:
        message = f"{name}: files without page images were not read: {endings_listed(others)}"
        warnings.warn(message, PgRetrievalWarning, stacklevel=2)


def _pages(path: Path, name: str, folder: Path) -> Iterator[Passage]:
    """Yield the pages of a file."""
    if path.suffix.lower() in IMAGES:
        yield _passage(path, name, None, "", path.absolute(), open_image(str(path)).size)
        return
    file = path.resolve()
    prefix = f"{path.stem[:80]}-{sha256(os.fsencode(file)).hexdigest()[:12]}"  # files of the same name have other images
    for number, (text, render) in enumerate(render_pdf(path, name), start=1):
        image = folder / f"{prefix}-{number}.png"
        yield _passage(path, name, number, text, image, _size(image, file, render))


def _passage(path: Path, name: str, number: int | None, text: str, image: Path, size: tuple[int, int]) -> Passage:
    metadata: dict[str, Any] = {"path": name, "image": str(image), "width": size[0], "height": size[1]}
    if number is not None:
        metadata["page"] = number
    record = {"id": f"{name}#{number or 1}", "text": text.strip() and text, "title": path.name, "metadata": metadata}
    return to_passage(record, f"{name}: page {number or 1}", may_be_blank=True)


def _size(image: Path, source: Path, render: Callable[[], Any]) -> tuple[int, int]:
    """Return width and height of a page's image, which is written unless it is newer than the file that has the page."""
    with importing.extra(f"{source}: an image of a page", "images"):
        from PIL import Image
    try:
        if image.exists() and image.stat().st_mtime_ns > source.stat().st_mtime_ns:
            with Image.open(image) as made:
                size: tuple[int, int] = made.size
            return size
    except Image.UnidentifiedImageError:  # written by something else
        pass
    except OSError as error:
        raise unreadable(str(image), error) from error
    rendered = render()
    part = image.with_name(f"{image.name}.{os.getpid()}.part")
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        rendered.save(part, "PNG")
        part.replace(image)  # whole or not at all
    except OSError as error:
        msg = f"the page image {str(image)!r} cannot be written ({error.strerror or error}); give another folder with images="
        raise ConfigError(msg) from error
    width, height = rendered.size
    return width, height
