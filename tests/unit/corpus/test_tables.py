"""Tables as people have them: CSV, TSV, Parquet, Arrow and folders of the datasets library, whole and broken."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from pgretrieval import ConfigError, InputError, MissingExtraError, Passage, PgRetrievalWarning, read_passages

ROWS = [
    {"id": "a", "title": "Tea", "text": 'Green "tea",\nof 80 degrees'},
    {"id": "b", "title": None, "text": "bread; wild\tyeast"},
]
PASSAGES = [Passage(row["id"], row["text"], title=row["title"]) for row in ROWS]


def delimited(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    written = io.StringIO(newline="")
    table = csv.DictWriter(written, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    return written.getvalue().encode()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A table in the format that the file's name tells; a name without ending is a folder of the datasets library."""
    table = pa.Table.from_pylist(rows)
    if {".csv", ".tsv", ".TSV"} & {*path.suffixes}:
        data = delimited(rows, "\t" if ".csv" not in path.suffixes else ",")
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    elif path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=2_000)
    elif path.suffix == ".feather":
        with ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    elif path.suffix == ".arrow":
        with ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=2_500)
    else:
        datasets.Dataset(table).save_to_disk(path, num_shards=min(2, len(rows)))
    return path


KINDS = ["t.csv", "t.csv.gz", "t.tsv", "t.TSV", "t.parquet", "t.arrow", "t.feather", "saved"]


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        list(read_passages(path, **options))
    return str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_table_gives_the_passages_that_json_lines_give(tmp_path: Path, name: str):
    assert list(read_passages(write(tmp_path / name, ROWS))) == PASSAGES


@pytest.mark.parametrize("name", KINDS)
def test_columns_are_named(tmp_path: Path, name: str):
    """Named columns make the metadata, numbers as numbers; a named id comes before a column `id`."""
    rows = [{"id": "x", "doc": 7, "head": "T", "body": "one", "year": 2020, "score": 0.5, "no": "007", "other": "-"}]
    path = write(tmp_path / name, rows)
    made = read_passages(path, id="doc", title="head", text="body", metadata=["year", "score", "no"])
    assert list(made) == [Passage("7", "one", title="T", metadata={"year": 2020, "score": 0.5, "no": "007"})]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("option", [{"id": "doc"}, {"title": "doc"}, {"text": "doc"}, {"metadata": ["title", "doc"]}])
def test_a_named_column_must_exist(tmp_path: Path, name: str, option: dict[str, Any]):
    message = error_of(write(tmp_path / name, ROWS), **option)
    assert message.startswith(str(tmp_path / name))
    assert "has no column 'doc'; its columns are 'id', 'title', 'text'; name others by id=" in message


@pytest.mark.parametrize("option", [{"title": "doc"}, {"metadata": ["title", "doc"]}])
def test_a_named_key_must_occur_in_json_lines(tmp_path: Path, option: dict[str, Any]):
    """It may be missing in some objects."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": "a", "title": "t", "text": "b"}\n', "utf-8")
    assert error_of(path, **option) == f"{path}: no object has the key 'doc'; name one that the objects have"
    path.write_text(path.read_text("utf-8") + '{"id": "b", "doc": "d", "text": "b"}\n', "utf-8")
    assert len(list(read_passages(path, **option))) == 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("lacking", ["id", "text"])
def test_id_and_text_must_exist(tmp_path: Path, name: str, lacking: str):
    path = write(tmp_path / name, [{key: value for key, value in row.items() if key != lacking} for row in ROWS])
    assert f"has no column '{lacking}'; its columns are" in error_of(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow", "saved"])
def test_ids_under_the_name_of_beir(tmp_path: Path, name: str):
    assert [passage.id for passage in read_passages(write(tmp_path / name, [{"_id": 5, "text": "x"}]))] == ["5"]


@pytest.mark.parametrize(
    ("value", "found"), [({"year": 2020}, {"year": 2020}), ('{"year": 2020}', {"year": 2020}), (None, {}), ("  ", {})]
)
def test_a_column_metadata_holds_an_object_or_its_json(tmp_path: Path, value: Any, found: dict[str, Any]):
    path = write(tmp_path / "t.parquet", [{"id": "a", "text": "x", "metadata": value}])
    assert [passage.metadata for passage in read_passages(path)] == [found]


def test_maps_are_objects(tmp_path: Path):
    kind = pa.map_(pa.string(), pa.int64())
    table = pa.table({"id": ["a"], "text": ["x"], "metadata": pa.array([[("year", 2020)]], kind)})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert [passage.metadata for passage in read_passages(tmp_path / "t.parquet")] == [{"year": 2020}]


def test_a_column_metadata_without_an_object_is_an_error_with_its_row(tmp_path: Path):
    path = write(tmp_path / "t.csv", [{"id": "a", "text": "x", "metadata": "[1]"}])
    assert f"{path}:2 (id 'a'): the metadata is of type str" in error_of(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_the_header_tells_the_delimiter(tmp_path: Path, delimiter: str, name: str):
    (tmp_path / name).write_bytes(delimited(ROWS, delimiter))
    assert list(read_passages(tmp_path / name)) == PASSAGES


def test_another_delimiter_is_an_error_that_names_the_columns_found(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(delimited(ROWS, "^"))
    message = error_of(tmp_path / "t.csv")
    assert "t.csv:1 (delimiter ','): has no column 'text'; its columns are 'id^title^text'; name others by id=" in message
    assert message.endswith("the delimiter can be a comma, a semicolon, a tab or |")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,text\na,x\nb\n", ":3: the row has 1 fields, and the header 2; quote fields that contain ','"),
        (b'id,text\na,"x\ny"\nb,"z\n', ":4: not valid CSV (unexpected end of data); close each quoted field"),
        (b'id,text\na,"x" y\n', ":2: not valid CSV"),
        (b"id,text\na,x\xff\n", ":2: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"id,text,text\na,x,y\n", ":1 (delimiter ','): has the column 'text' twice"),
        (b"id,text\n\na,\n", ":3 (id 'a'): the text is empty or blank; leave it out, or give blank=\"skip\""),
        (b"", ": the file is empty; its first line must name the columns"),
        (b"\n \n", ": the file is empty"),
        (b"id,text\n", ": the file has no passages; add rows"),
    ],
)
def test_broken_csv_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert error_of(path).startswith(f"{path}{reason}")


def test_a_row_longer_than_the_limit_of_the_csv_module_is_read(tmp_path: Path):
    path = write(tmp_path / "t.csv", [{"id": "a", "text": "x" * 300_000}])
    assert [len(passage.text) for passage in read_passages(path)] == [300_000]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_truncated_file_is_an_error(tmp_path: Path, name: str, kept: float):
    noise = np.random.default_rng(0).bytes(30_000).hex()
    path = write(tmp_path / name, [{"id": str(number), "text": noise[number:]} for number in range(6)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    kind = "Parquet" if name == "t.parquet" else "Arrow"
    message = error_of(path)
    assert message.startswith(f"{path}:")
    assert f"not a whole {kind} file" in message
    assert message.endswith("fetch or write the file again")


def test_damage_inside_a_file_names_the_row(tmp_path: Path):
    rows = [{"id": str(number), "text": np.random.default_rng(number).bytes(50).hex()} for number in range(6_000)]
    path = write(tmp_path / "t.parquet", rows)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4_000] = bytes(4_000)
    path.write_bytes(data)
    passages = read_passages(path)
    read = [next(passages).id for _ in range(1_000)]
    assert read == [str(number) for number in range(1_000)]
    with pytest.raises(InputError, match=rf"{path}: row \d{{4}}: not a whole Parquet file"):
        list(passages)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather", "saved"])
def test_errors_name_the_row(tmp_path: Path, name: str):
    """Rows are counted over batches and row groups."""
    rows = [{"id": str(number), "text": "x" if number != 4_321 else " "} for number in range(5_000)]
    message = error_of(write(tmp_path / name, rows))
    assert (
        "data-00001-of-00002.arrow: row 1822 " if name == "saved" else f"{name}: row 4322 "
    ) + "(id '4321'): the text" in message


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow"])
def test_tables_are_streamed(tmp_path: Path, name: str):
    """The first passages come before an error in a later row."""
    rows = [{"id": str(number), "text": "x" if number < 3_000 else " "} for number in range(3_001)]
    passages = read_passages(write(tmp_path / name, rows))
    assert next(passages).id == "0"
    with pytest.raises(InputError):
        list(passages)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "saved"])
def test_a_missing_extra_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / name, ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"needs pyarrow; install the extra: pip install 'pgretrieval\[files\]'"):
        list(read_passages(path))


def test_csv_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "t.csv", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert list(read_passages(path)) == PASSAGES


def test_of_several_splits_one_is_named(tmp_path: Path):
    whole = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(train=whole, test=whole.select([0])).save_to_disk(tmp_path / "saved")
    message = error_of(tmp_path / "saved")
    assert message.endswith(f"has 2 splits; name the folder of one: {tmp_path}/saved/train, {tmp_path}/saved/test")
    assert list(read_passages(tmp_path / "saved" / "test")) == PASSAGES[:1]


def test_the_only_split_is_read(tmp_path: Path):
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)).save_to_disk(tmp_path / "saved")
    assert list(read_passages(tmp_path / "saved")) == PASSAGES


@pytest.mark.parametrize("file", ["state.json", "data-00000-of-00002.arrow"])
def test_a_saved_folder_without_a_file_is_an_error(tmp_path: Path, file: str):
    path = write(tmp_path / "saved", ROWS)
    content = (path / file).read_text("utf-8", "replace")
    (path / file).unlink() if file.endswith("arrow") else (path / file).write_text(content[:9], "utf-8")
    said = "cannot be read (No such file or directory)" if file.endswith("arrow") else "is not a whole folder of save_to_disk"
    assert said in error_of(path)


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet.gz"])
def test_an_unknown_ending_is_an_error_that_lists_the_known_ones(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(b"x")
    assert f"{path}: files ending in {path.suffix} cannot be read; give one of .json, .jsonl" in error_of(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow", "t.jsonl"])
def test_a_missing_file_is_an_error(tmp_path: Path, name: str):
    assert error_of(tmp_path / name) == f"{tmp_path / name}: cannot be read (No such file or directory); check the path"


@pytest.fixture
def with_blanks(tmp_path: Path) -> Callable[[str], Path]:
    rows = [
        {"id": "a", "title": "T", "text": "x"},
        {"id": "b", "title": "Alone", "text": " "},
        {"id": "c", "title": "", "text": None},
    ]

    def written(name: str) -> Path:
        if name == "t.jsonl":
            lines = ['{"id": "a", "title": "T", "text": "x"}', '{"id": "b", "title": "Alone", "text": " "}', '{"id": "c"}']
            (tmp_path / name).write_text("\n".join(lines), "utf-8")
            return tmp_path / name
        return write(tmp_path / name, rows)

    return written


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_blank_texts_are_an_error_by_default(with_blanks: Callable[[str], Path], name: str):
    message = error_of(with_blanks(name))
    assert message.endswith('(id \'b\'): the text is empty or blank; leave it out, or give blank="skip" or "title" (--blank)')


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_blank_texts_are_left_out_and_counted(with_blanks: Callable[[str], Path], name: str):
    with pytest.warns(PgRetrievalWarning, match=rf"{name}: 2 passages without text were left out"):
        assert list(read_passages(with_blanks(name), blank="skip")) == [Passage("a", "x", title="T")]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_a_title_alone_is_a_passage(with_blanks: Callable[[str], Path], name: str):
    """The title becomes the text, so that it is encoded once; what has neither is left out."""
    with pytest.warns(PgRetrievalWarning) as caught:
        assert list(read_passages(with_blanks(name), blank="title")) == [Passage("a", "x", title="T"), Passage("b", "Alone")]
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [
        "1 passages without text were left out",
        "1 passages without text have their title as text",
    ]


@pytest.mark.parametrize("options", [{"blank": "maybe"}, {"id": 5}, {"title": ""}, {"metadata": "year"}, {"metadata": [None]}])
def test_options_are_checked_at_the_call(tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(options))):
        read_passages(tmp_path / "t.csv", **options)
