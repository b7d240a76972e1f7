from __future__ import annotations

import gzip

import pytest

from pgretrieval.errors import InputError
from pgretrieval.evaluate.qrels import MAX_RELEVANCE, read_qrels

EXPECTED = {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 2}}
TREC = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d3 2\n"
BEIR = "q1\td1\t1\nq1\td2\t0\nq2\td3\t2\n"
BEIR_HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "qrels.tsv"):
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        TREC,
        BEIR,
        BEIR_HEADER + BEIR,
        "query_id iteration doc_id Relevance\n" + TREC,
        TREC.replace(" ", "\t"),
        TREC.replace(" ", "   "),
        TREC.replace("\n", "\r\n"),
        (BEIR_HEADER + BEIR).replace("\n", "\r\n"),
        "\ufeff" + BEIR_HEADER + BEIR,
        "\n" + BEIR.replace("\n", "\n\n"),
        TREC.rstrip("\n"),
        BEIR + "q1\td1\t1\n",  # the same judgement again
    ],
)
@pytest.mark.parametrize("name", ["qrels.tsv", "qrels.tsv.gz"])
def test_formats(file, content, name):
    assert read_qrels(file(content, name)) == EXPECTED


def test_ids_with_spaces_in_tab_separated_files(file):
    assert read_qrels(file("q 1\td 1\t1\n")) == {"q 1": {"d 1": 1}}


def test_negative_relevance(file):
    assert read_qrels(file("q1 0 d1 -2\n")) == {"q1": {"d1": -2}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 d2 1", "found 3 columns"),
        ("q1\td2", "found 2 columns"),
        ("q1\t\t1", "found 2 columns"),
        ("q1 0 d2 1 x", "found 5 columns"),
        ("q1 0 d2 1.0", "the relevance '1.0' is not an integer"),
        ("q1\td2\tyes", "the relevance 'yes' is not an integer"),
        ("q1\td2\t1_0", "the relevance '1_0' is not an integer"),
        ("q1\td2\t٣", "is not an integer"),
        ("query-id\tcorpus-id\tscore", "the relevance 'score' is not an integer"),
        (f"q1 0 d2 {MAX_RELEVANCE + 1}", "beyond ±1,000"),
        (f"q1 0 d2 -{MAX_RELEVANCE + 1}", "beyond ±1,000"),
        ("q1 0 d1 2", "passage 'd1' has relevance 2 for query 'q1', but 1 on an earlier line"),
    ],
)
def test_a_bad_line_is_named(file, line, reason):
    path = file(f"q1 0 d1 1\r\n\r\n{line}\r\n")
    with pytest.raises(InputError) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)


def test_a_typing_error_on_the_first_line_is_no_header(file):
    with pytest.raises(InputError, match=r":1: the relevance 'l' is not an integer"):
        read_qrels(file("q1\td1\tl\n"))


def test_invalid_utf8_is_named(file):
    with pytest.raises(InputError, match=r":2: the byte 0xe9 is not UTF-8"):
        read_qrels(file(b"q1 0 d1 1\nq1 0 \xe9 1\n"))


@pytest.mark.parametrize("content", ["", "\r\n", BEIR_HEADER])
def test_no_judgements(file, content):
    path = file(content)
    with pytest.raises(InputError, match="no judgements") as caught:
        read_qrels(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv: cannot be read"):
        read_qrels(tmp_path / "none.tsv")


def test_truncated_gzip(tmp_path):
    path = tmp_path / "qrels.gz"
    path.write_bytes(gzip.compress(TREC.encode())[:-8])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_qrels(path)
