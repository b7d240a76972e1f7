"""Documents, folders of documents, and texts that are cut."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pgretrieval import ConfigError, InputError, MissingExtraError, Passage, PgRetrievalWarning, read_passages
from tests.support.pdf import pdf

MARKDOWN = "\n# Tea time #\n\nGreen tea likes water of 80 degrees. It is picked early.\n\nBlack tea likes boiling water.\n"
HTML = """<!doctype html><html><head><title>My
  page</title><style>p { color: red }</style><script>var x = "<p>no</p>";</script></head>
<body><h1>Head</h1><p>One <b>two</b>
  three<br>four</p><ul><li>x<li>y</ul><table><tr><td>a<td>b</tr><tr><td>c</td></tr></table><pre>
def f():
    pass
</pre>caf&eacute; <noscript>none</noscript><svg><title>no</title><text>no</text></svg>&amp; more"""


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder `docs` in the current one."""
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    return Path("docs")


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        list(read_passages(path, **options))
    return str(caught.value)


def test_a_text_is_a_passage_without_the_space_around_it(docs: Path):
    path = write(docs / "a.txt", "\ufeff\n one\r\n\ntwo \n")
    assert list(read_passages(path)) == [
        Passage("docs/a.txt#1", "one\r\n\ntwo", metadata={"path": "docs/a.txt", "start": 2, "end": 11})
    ]


@pytest.mark.parametrize(
    ("content", "title"),
    [(MARKDOWN, "Tea time"), ("# C#\n", "C#"), ("#hash\n", None), ("x\n# Later\n", None), ("## Second\n", None)],
)
def test_a_heading_at_the_start_is_the_title_of_markdown(docs: Path, content: str, title: str | None):
    [passage] = read_passages(write(docs / "a.md", content))
    assert (passage.title, passage.text) == (title, content.strip())


def test_html_gives_its_title_and_visible_text(docs: Path):
    [passage] = read_passages(write(docs / "a.html", HTML))
    assert passage.title == "My page"
    assert passage.text == "Head\n\nOne two three\nfour\n\nx\ny\n\na b\nc\n\ndef f():\n    pass\n\ncafé & more"
    assert passage.metadata == {"path": "docs/a.html", "start": 0, "end": len(passage.text)}


@pytest.mark.parametrize("declared", ['<meta charset="iso-8859-1">', "<META http-equiv=x content='text/html; charset=latin1'>"])
def test_html_is_read_in_the_encoding_that_it_declares(docs: Path, declared: str):
    assert [passage.text for passage in read_passages(write(docs / "a.htm", f"{declared}<p>café".encode("latin-1")))] == ["café"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<p>one\n<p>café".encode("latin-1"), ":2: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"<meta charset=klingon>", ": declares the unknown encoding 'klingon'; save the file as UTF-8"),
    ],
)
def test_html_in_another_encoding_is_an_error(docs: Path, content: bytes, reason: str):
    assert error_of(write(docs / "a.html", content)) == f"docs/a.html{reason}"


def test_pages_of_a_pdf_are_passages(docs: Path):
    """They have their number and the document's title; a word divided at the end of a line is joined."""
    path = write(docs / "a.PDF", pdf("First page of infor-\nmation.\nEnd", "Second", title="Report"))
    assert list(read_passages(path)) == [
        Passage(
            "docs/a.PDF#1",
            "First page of information.\nEnd",
            title="Report",
            metadata={"path": "docs/a.PDF", "page": 1, "start": 0, "end": 30},
        ),
        Passage("docs/a.PDF#2", "Second", title="Report", metadata={"path": "docs/a.PDF", "page": 2, "start": 0, "end": 6}),
    ]


def test_a_page_without_text_is_an_error_that_names_it(docs: Path):
    """Such as a scanned one. Its document's title says nothing of it, so that it is left out with blank="title", too."""
    path = write(docs / "a.pdf", pdf("First", "", "Third", title="Report"))
    assert error_of(path).startswith(
        "docs/a.pdf: page 2 (id 'docs/a.pdf'): the text is empty or blank; leave it out, or give blank="
    )
    for blank in ("skip", "title"):
        with pytest.warns(PgRetrievalWarning, match=r"docs/a.pdf: 1 passages without text were left out"):
            assert [passage.metadata["page"] for passage in read_passages(path, blank=blank)] == [1, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf("x", encrypted=True), "is encrypted; save it without a password"),
        (pdf("x")[:300], "not a whole PDF file (Failed to load document (PDFium: Data format error).); fetch the file again"),
        (b"", "not a whole PDF file"),
    ],
)
def test_a_pdf_that_cannot_be_opened_is_an_error(docs: Path, content: bytes, reason: str):
    assert error_of(write(docs / "a.pdf", content)).startswith(f"docs/a.pdf: {reason}")


def test_a_broken_page_is_an_error_with_its_number(docs: Path):
    broken = pdf("First", "Second").replace(b"/Type /Page /Parent 2 0 R", b"/Type /Pane /Parent 2 0 R")
    assert error_of(write(docs / "a.pdf", broken)).startswith("docs/a.pdf: page 1: cannot be read (Failed to load page")


def test_a_folder_is_read_by_name_without_hidden_files(docs: Path):
    for name in ("b.txt", "a/z.md", "a/a.txt", "c/d/e.html", ".git/x.txt", "a/.hidden.txt"):
        write(docs / name, name)
    assert [passage.metadata["path"] for passage in read_passages(docs)] == [
        "docs/a/a.txt",
        "docs/a/z.md",
        "docs/b.txt",
        "docs/c/d/e.html",
    ]


def test_files_of_other_kinds_are_counted(docs: Path):
    for name in ("a.txt", "b.png", "c.PNG", "LICENSE", "d.csv"):
        write(docs / name, name)
    with pytest.warns(PgRetrievalWarning) as caught:
        assert len(list(read_passages(docs))) == 1
    [warning] = caught
    assert str(warning.message) == "docs: files of other kinds were not read: 2 .png, 1 without an ending, 1 .csv"


def test_a_folder_without_documents_is_an_error(docs: Path):
    write(docs / "a.csv", "id,text\n")
    assert error_of(docs) == (
        "docs: contains no file ending in .txt, .md, .markdown, .html, .htm, .pdf; name files of other kinds one by one"
    )


def test_links_in_a_circle_are_an_error(docs: Path):
    write(docs / "a.txt", "one")
    (docs / "sub").mkdir()
    (docs / "sub" / "back").symlink_to(docs.resolve())
    assert error_of(docs) == "docs/sub/back: is a link to docs, which contains it; remove the link"


def test_links_to_files_and_folders_elsewhere_are_followed(docs: Path, tmp_path: Path):
    write(tmp_path / "elsewhere" / "x.txt", "x")
    (docs / "one").symlink_to(tmp_path / "elsewhere")
    (docs / "two.txt").symlink_to(tmp_path / "elsewhere" / "x.txt")
    assert [passage.id for passage in read_passages(docs)] == ["docs/one/x.txt#1", "docs/two.txt#1"]


@pytest.mark.parametrize("target", ["nothing", "broken.txt"])
def test_a_link_to_nothing_is_an_error(docs: Path, target: str):
    """A link to itself, too."""
    (docs / "broken.txt").symlink_to(target)
    assert error_of(docs) == "docs/broken.txt: is a link to nothing; remove or mend it"


def test_a_folder_that_cannot_be_read_is_an_error(docs: Path, monkeypatch: pytest.MonkeyPatch):
    """Root may read all folders, so that the refusal is pretended."""

    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert error_of(docs) == "docs: cannot be read (Permission denied); check the path"


def test_bytes_that_are_no_text_are_an_error_with_their_line(docs: Path):
    write(docs / "a.txt", "one")
    write(docs / "b.txt", b"one\ntwo\xff")
    assert error_of(docs) == "docs/b.txt:2: the byte 0xff is not UTF-8; save the file as UTF-8"


def test_an_empty_document_is_an_error_or_left_out(docs: Path):
    write(docs / "a.txt", "")
    write(docs / "b.txt", "one")
    assert error_of(docs).startswith("docs/a.txt (id 'docs/a.txt'): the text is empty or blank; leave it out, or give blank=")
    with pytest.warns(PgRetrievalWarning, match="docs: 1 passages without text were left out"):
        assert [passage.id for passage in read_passages(docs, blank="skip")] == ["docs/b.txt#1"]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf"])
def test_a_missing_document_is_an_error(docs: Path, name: str):
    assert error_of(docs / name) == f"docs/{name}: cannot be read (No such file or directory); check the path"


def test_a_name_that_is_too_long_is_an_error(docs: Path):
    assert error_of(docs / ("x" * 3_000)).endswith(": cannot be read (File name too long); check the path")


def test_texts_are_cut_at_paragraphs_and_sentences(docs: Path):
    path = write(docs / "a.md", MARKDOWN)
    passages = list(read_passages(path, chunk=8))
    assert [passage.text for passage in passages] == [
        "# Tea time #",
        "Green tea likes water of 80 degrees.",
        "It is picked early.",
        "Black tea likes boiling water.",
    ]
    assert [passage.id for passage in passages] == [f"docs/a.md#{number}" for number in (1, 2, 3, 4)]
    assert {passage.title for passage in passages} == {"Tea time"}
    for passage in passages:
        assert MARKDOWN[passage.metadata["start"] : passage.metadata["end"]] == passage.text


@pytest.mark.parametrize("overlap", [None, 0, 3])
def test_parts_overlap(docs: Path, overlap: int | None):
    """Each part has at most `chunk` words, and with an overlap begins before the end of the one before."""
    text = " ".join(f"w{number}" for number in range(500))
    passages = list(read_passages(write(docs / "a.txt", text), chunk=20, overlap=overlap))
    places = [(passage.metadata["start"], passage.metadata["end"]) for passage in passages]
    assert all(len(passage.text.split()) <= 20 for passage in passages)
    assert all(text[start:end] == passage.text for (start, end), passage in zip(places, passages, strict=True))
    repeated = [len(text[start:end].split()) for (start, _), (_, end) in zip(places[1:], places, strict=False) if start < end]
    assert repeated == ([3] * (len(places) - 1) if overlap else [])
    assert {word for passage in passages for word in passage.text.split()} == {*text.split()}


def test_tokens_are_counted_by_the_given_function(docs: Path):
    path = write(docs / "a.txt", "aaaa bbbb cccc")
    assert [passage.text for passage in read_passages(path, chunk=9, count_tokens=len)] == ["aaaa bbbb", "cccc"]


def test_pages_of_a_pdf_are_numbered_on(docs: Path):
    path = write(docs / "a.pdf", pdf("one two three", "four five six"))
    assert [(passage.id, passage.text, passage.metadata["page"]) for passage in read_passages(path, chunk=2)] == [
        ("docs/a.pdf#1", "one two", 1),
        ("docs/a.pdf#2", "three", 1),
        ("docs/a.pdf#3", "four five", 2),
        ("docs/a.pdf#4", "six", 2),
    ]


def test_rows_are_cut_too(docs: Path):
    path = write(docs / "a.jsonl", '{"id": "a", "title": "T", "text": "one two three", "metadata": {"year": 1}}\n')
    assert list(read_passages(path, chunk=2)) == [
        Passage("a#1", "one two", title="T", metadata={"year": 1, "start": 0, "end": 7}),
        Passage("a#2", "three", title="T", metadata={"year": 1, "start": 8, "end": 13}),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chunk": 0}, "chunk is 0"),
        ({"chunk": 2.5}, "chunk is 2.5"),
        ({"overlap": 3}, "overlap is 3, but chunk is not given; give chunk, or leave overlap out"),
        ({"chunk": 5, "overlap": 5}, "overlap is 5 and chunk 5; give an overlap of fewer tokens than a chunk"),
        ({"chunk": 5, "overlap": -1}, "overlap is -1"),
        ({"chunk": 5, "count_tokens": 3}, "count_tokens is 3; give a function"),
    ],
)
def test_options_of_chunks_are_checked_at_the_call(docs: Path, options: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        read_passages(docs, **options)
    assert str(caught.value).startswith(said)


def test_without_the_extra_texts_markdown_and_html_are_read(docs: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a.txt", "b.md", "c.html"):
        write(docs / name, name)
    for module in ("pyarrow", "pypdfium2", "semchunk", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    assert len(list(read_passages(docs))) == 3


def test_a_missing_extra_is_named(docs: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(docs / "a.pdf", pdf("one"))
    for module in ("pypdfium2", "semchunk"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"^docs/a.pdf: PDF needs pypdfium2; install .*pip install 'pgretrieval\[files\]'$"):
        list(read_passages(path))
    with pytest.raises(MissingExtraError, match=r"^chunk needs semchunk; install the extra: pip install 'pgretrieval\[files\]'$"):
        read_passages(path, chunk=5)
