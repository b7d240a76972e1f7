"""Passages of page images: PDF pages are rendered once, image files stay where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

import pgretrieval
from pgretrieval.corpus import page_images
from pgretrieval.errors import ConfigError, InputError, PgRetrievalWarning
from pgretrieval.types import Passage
from tests.support.page_images import noise
from tests.support.pdf import pdf


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `docs` of the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    return Path("docs")


def read(path: Path) -> list[Passage]:
    return list(pgretrieval.read_page_images(path, images="images"))


def test_pages_of_a_pdf_are_passages_with_images(docs: Path, tmp_path: Path):
    """They are named path#page, have their text layer or none, and the file, width and height of an image at 150 dots per inch."""
    (docs / "a.pdf").write_bytes(pdf("First page", "", title="Report"))
    first, second = read(docs / "a.pdf")
    assert (first.id, first.title, first.text) == ("docs/a.pdf#1", "a.pdf", "First page")
    assert (second.id, second.title, second.text) == ("docs/a.pdf#2", "a.pdf", "")
    image = Path(str(second.metadata["image"]))
    assert dict(second.metadata) == {"path": "docs/a.pdf", "page": 2, "image": str(image), "width": 1275, "height": 1651}
    assert image.parent == tmp_path / "images"
    assert len(list(image.parent.iterdir())) == 2
    with Image.open(image) as opened:
        assert opened.size == (1275, 1651)


def test_pages_are_rendered_again_only_after_a_change(docs: Path, monkeypatch: pytest.MonkeyPatch):
    """A page whose image is newer than the file is not rendered; a damaged image is."""
    (docs / "a.pdf").write_bytes(pdf("First"))
    os.utime(docs / "a.pdf", (1, 1))
    [page] = read(docs / "a.pdf")
    image = Path(str(page.metadata["image"]))
    noise(image, 1)
    assert read(docs / "a.pdf")[0].metadata["width"] == 60
    image.write_bytes(b"no image")
    assert read(docs / "a.pdf")[0].metadata["width"] == 1275
    os.utime(image, (1, 1))
    noise(docs / "other.png", 1)
    os.utime(docs / "a.pdf", (2, 2))
    assert read(docs / "a.pdf") == [page]
    assert image.stat().st_mtime > 2


def test_a_huge_page_has_a_limited_image(docs: Path):
    (docs / "a.pdf").write_bytes(pdf("x").replace(b"[0 0 612 792]", b"[0 0 9000 50]"))
    metadata = read(docs / "a.pdf")[0].metadata
    assert (metadata["width"], metadata["height"]) == (4000, 23)


def test_files_of_one_name_have_images_of_their_own(docs: Path):
    for folder in ("x", "y"):
        (docs / folder).mkdir()
        (docs / folder / "a.pdf").write_bytes(pdf("x"))
    assert len({page.metadata["image"] for page in read(docs)}) == 2


def test_image_files_stay_where_they_are(docs: Path, tmp_path: Path):
    """PNG, JPEG, WebP and TIFF are passages of one page, without text."""
    for name in ("a.png", "b.JPG", "c.webp", "d.tiff"):
        noise(docs / name, 1)
    pages = read(docs)
    assert [page.id for page in pages] == ["docs/a.png#1", "docs/b.JPG#1", "docs/c.webp#1", "docs/d.tiff#1"]
    assert pages[0] == Passage(
        "docs/a.png#1",
        "",
        "a.png",
        {"path": "docs/a.png", "image": str(tmp_path / "docs" / "a.png"), "width": 60, "height": 80},
    )
    assert not Path("images").exists()


def test_a_folder_is_read_without_its_images(docs: Path):
    """Images of an earlier run inside the folder are passed over; files of other kinds are counted."""
    (docs / "a.pdf").write_bytes(pdf("x"))
    (docs / "b.md").write_text("x")
    for _ in range(2):
        with pytest.warns(PgRetrievalWarning, match=r"docs: files without page images were not read: 1 \.md"):
            pages = list(pgretrieval.read_page_images(docs, images=docs / "images"))
        assert [page.id for page in pages] == ["docs/a.pdf#1"]


def test_images_are_in_the_cache_by_default(docs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(page_images.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    (docs / "a.pdf").write_bytes(pdf("x"))
    [page] = pgretrieval.read_page_images(docs / "a.pdf")
    assert Path(str(page.metadata["image"])).parent == tmp_path / "cache" / "page-images"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", pdf("x", encrypted=True), "docs/a.pdf: is encrypted; save it without a password"),
        ("a.pdf", b"%PDF", "docs/a.pdf: not a whole PDF file"),
        ("a.pdf", pdf("x").replace(b"/Type /Page /Parent", b"/Type /Pane /Parent"), "docs/a.pdf: page 1: cannot be read"),
        ("a.png", b"no image", "docs/a.png: the image cannot be read (cannot identify image file"),
        ("a.jsonl", b"{}", "docs/a.jsonl: has no page images; give a file ending in .pdf, .png"),
        ("a.pdf", None, "docs/a.pdf: cannot be read (No such file or directory)"),
    ],
)
def test_errors_name_file_and_page(docs: Path, name: str, content: bytes | None, reason: str):
    if content is not None:
        (docs / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read(docs / name)
    assert str(raised.value).startswith(reason)


def test_an_image_read_as_text_is_an_error(docs: Path):
    with pytest.raises(InputError, match=r"docs/a\.PNG: is an image; give an encoder that takes images \(--encoder\)"):
        list(pgretrieval.read_passages(docs / "a.PNG"))


def test_a_folder_without_pages_is_an_error(docs: Path):
    (docs / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"docs: contains no file ending in \.pdf, \.png"):
        read(docs)


def test_a_folder_for_images_that_cannot_be_written_is_named(docs: Path):
    (docs / "a.pdf").write_bytes(pdf("x"))
    Path("images").write_text("a file")
    with pytest.raises((ConfigError, InputError), match=r"images.*cannot be"):
        read(docs / "a.pdf")
