from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.lines import MAX_LINE_BYTES
from pgretrieval.corpus.reading import read_passages
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.types import Passage


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "corpus.jsonl") -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


GOOD = '{"id": "a", "text": "one"}\n'


def error_of(path: Path, read=read_passages) -> str:
    with pytest.raises(InputError) as caught:
        list(read(path))
    return str(caught.value)


def test_passages_keep_order_title_and_metadata(file):
    path = file(
        '{"id": "a", "title": "T", "text": "one", "metadata": {"year": 2020}}\n'
        '{"_id": 7, "title": "", "text": "two", "url": "ignored"}\n'
    )
    assert list(read_passages(path)) == [
        Passage("a", "one", title="T", metadata={"year": 2020}),
        Passage("7", "two", title=None, metadata={}),
    ]


def test_a_string_path_is_accepted(file):
    assert [passage.id for passage in read_passages(str(file(GOOD)))] == ["a"]


def test_gzip_is_detected_by_suffix(file):
    assert [passage.id for passage in read_passages(file(GOOD, "corpus.jsonl.gz"))] == ["a"]


def test_byte_order_mark_blank_lines_crlf_and_missing_last_newline(file):
    path = file(b'\xef\xbb\xbf{"id": 1, "text": "x"}\r\n\r\n  \n{"id": 2, "text": "y"}')
    assert [(passage.id, passage.text) for passage in read_passages(path)] == [("1", "x"), ("2", "y")]


def test_unicode_line_separators_do_not_end_a_line(file):
    path = file('{"id": 1, "text": "a\u2028b\u0085c"}\n{"id": 2, "text": "y"}\n')
    assert [passage.text for passage in read_passages(path)] == ["a\u2028b\u0085c", "y"]


def test_passages_are_streamed(file):
    passages = read_passages(file(GOOD + "not json\n"))
    assert next(passages).id == "a"
    with pytest.raises(InputError):
        next(passages)


@pytest.mark.parametrize("read", [read_passages, read_queries])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{nope}", "not valid JSON"),
        (b'{"id": "a", "text": "x"', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"id": ' + b"9" * 5_000 + b', "text": "x"}', "not valid JSON"),
        (b'["a"]', "expected a JSON object, found list"),
        (b"null", "expected a JSON object, found NoneType"),
        (b'{"id": "b", "text": "\xff"}', "the byte 0xff is not UTF-8"),
        (b'{"text": "x"}', "the id is missing"),
        (b'{"id": "b"}', "(id 'b'): the text is missing"),
        (b'{"id": "b", "text": " "}', "(id 'b'): the text is empty or blank"),
        (b'{"id": "b", "text": "a\\u0000b"}', "(id 'b'): text contains a NUL"),
        (b'{"id": "b", "text": "\\ud800"}', "(id 'b'): text contains the lone surrogate U+D800"),
    ],
)
@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_bad_line_is_named(file, read, line, reason, name):
    path = file(GOOD.encode() + b"\n" + line + b"\n" + GOOD.encode(), name)
    message = error_of(path, read)
    assert message.startswith(f"{path}:3")
    assert reason in message


def test_metadata_with_nan_is_refused_at_its_line(file):
    path = file(GOOD + '{"id": "b", "text": "x", "metadata": {"p": NaN}}\n')
    assert error_of(path).startswith(f"{path}:2 (id 'b'): metadata.p is nan")


def test_a_file_in_utf_16_is_refused(file):
    path = file(GOOD.encode("utf-16"))
    assert f"{path}:1: the byte 0xff is not UTF-8" in error_of(path)


@pytest.mark.parametrize("read", [read_passages, read_queries])
def test_a_missing_file_is_named(tmp_path, read):
    path = tmp_path / "none.jsonl"
    assert error_of(path, read) == f"{path}: cannot be read (No such file or directory); check the path"


def test_a_folder_is_refused(tmp_path):
    assert str(tmp_path) in error_of(tmp_path)


def test_truncated_gzip(tmp_path):
    lines = "".join(json.dumps({"id": i, "text": f"text {i * i}"}) + "\n" for i in range(2_000))
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode())[:-2_000])
    with pytest.raises(InputError, match="damaged or cut short") as caught:
        list(read_passages(path))
    line = int(str(caught.value).removeprefix(f"{path}:").split(":")[0])
    assert 1 <= line <= 2_000


@pytest.mark.parametrize(("position", "line"), [(10, 1), (-8, 51)])  # the first block's type, the checksum
def test_damaged_gzip(tmp_path, position, line):
    path = tmp_path / "corpus.jsonl.gz"
    data = bytearray(gzip.compress(GOOD.encode() * 50))
    data[position] = data[position] ^ 0xFF if position < 0 else data[position] | 0x06
    path.write_bytes(data)
    assert f"{path}:{line}: the gzip data is damaged" in error_of(path)


def test_plain_text_named_gz(tmp_path):
    path = tmp_path / "corpus.jsonl.gz"
    path.write_text(GOOD)
    assert f"{path}:1: the gzip data is damaged" in error_of(path)


@pytest.mark.parametrize("content", ["", "\n \n"])
@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_an_empty_file_is_refused(file, content, name):
    path = file(content, name)
    assert error_of(path).startswith(f"{path}: the file has no passages")
    assert error_of(path, read_queries).startswith(f"{path}: the file has no queries")


def test_queries_in_file_order_without_other_fields(file):
    path = file('{"_id": 2, "text": "b", "metadata": {"x": 1}}\n{"id": "1", "text": "a", "title": 5}\n')
    assert read_queries(path) == [("2", "b"), ("1", "a")]


def test_a_query_id_twice_names_both_lines(file):
    path = file('{"id": "1", "text": "a"}\n\n{"id": 1, "text": "b"}\n')
    assert error_of(path, read_queries) == f"{path}:3: the query id '1' occurs at {path}:1, too; rename one"


def test_a_line_without_end(tmp_path):
    """A compressed line is read up to the limit only, not into memory as a whole."""
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"id": "a", "text": "one"}\n{"id": "b", "text": "')
        for _ in range(MAX_LINE_BYTES // 2**20 + 1):
            file.write(b"a" * 2**20)
    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz:2: the line has more than 33,554,432 bytes"):
        list(read_passages(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a", "text": "x", "metadata": {"n": 1e400}}', r":1: .*the number 1e400 exceeds the range of a float"),
        ('{"id": "a", "text": "x", "metadata": {"n": -1e400}}', r":1: .*the number -1e400"),
        ('{"id": "a", "text": "x", "metadata": {"n": ' + "9" * 5000 + "}}", r":1: .*digits"),
        ('{"id": "a", "text": "x", "metadata": {"n": NaN}}', r"metadata\.n is nan"),
        ('{"id": "a", "id": "b", "text": "x"}', "the key 'id' occurs twice"),
        ('{"id": "a", "text": "x", "metadata": {"n": 1, "n": 2}}', "the key 'n' occurs twice"),
        ('{"id": null, "text": "x"}', "the id is missing"),
        ('{"id": " ", "text": "x"}', "the id is empty or blank"),
        ('{"id": "a", "title": "t", "text": " "}', "the text is empty or blank"),
    ],
)
def test_values_that_would_change_on_their_way(tmp_path, line, said):
    path = tmp_path / "corpus.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=said):
        list(read_passages(path))


def test_a_null_id_with_an_underscored_id(tmp_path):
    """`_id` is used if `id` is null."""
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": null, "_id": 7, "text": "x"}\n')
    assert [passage.id for passage in read_passages(path)] == ["7"]


@pytest.mark.parametrize("path", [None, 5, "", "nul\0", "x" * 5000, b"bytes", ["a"]])
def test_what_no_file_is_called(path):
    with pytest.raises((InputError, ConfigError)):
        list(read_passages(path))
