"""`pgretrieval index report.pdf --encoder IMAGE_MODEL`: pages are indexed by their images, and explained over them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.cli import Command
from tests.support.page_images import noise
from tests.support.pdf import pdf


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a report of three pages, the second without text, and a photo."""
    monkeypatch.chdir(tmp_path)
    Path("report.pdf").write_bytes(pdf("The river", "", "Money in the bank"))
    noise(Path("photo.png"), 1)
    return tmp_path


@pytest.fixture
def indexed(command: Command, folder: Path, image_model: Path) -> Command:
    code, _, err = command("index", "docs", "report.pdf", "photo.png", "--encoder", image_model, "--images", "pages")
    assert code == 0, err
    assert "4 passages added, 0 already stored" in err
    return command


def test_hits_name_page_and_file(indexed: Command, folder: Path) -> None:
    """Found by text, which the same model encodes; the image is in the folder, not in the database."""
    code, out, _ = indexed("search", "docs", "river", "-k", "4", "--json")
    assert code == 0
    hits = {hit["id"]: hit for hit in map(json.loads, out.splitlines())}
    assert sorted(hits) == ["photo.png#1", "report.pdf#1", "report.pdf#2", "report.pdf#3"]
    third = hits["report.pdf#3"]
    assert (third["title"], third["text"], third["metadata"]["page"]) == ("report.pdf", "Money in the bank", 3)
    assert Path(third["metadata"]["image"]).parent == folder / "pages"
    assert Path(third["metadata"]["image"]).exists()
    assert hits["report.pdf#2"]["text"] == ""
    code, out, _ = indexed("search", "docs", "river", "-k", "4")
    assert code == 0
    assert "[report.pdf#2]" in out


def test_a_run_can_be_repeated(indexed: Command, image_model: Path) -> None:
    """Pages that are stored are not encoded again, unless --update replaces them."""
    again = ("index", "docs", "report.pdf", "photo.png", "--images", "pages")
    assert "0 passages added, 4 already stored" in indexed(*again)[2]
    assert "4 passages added or changed, 0 already stored" in indexed(*again, "--update")[2]


def test_the_heat_map_lies_over_the_page(indexed: Command, folder: Path) -> None:
    """The page contains the picture; without the file it shows the patches and says so."""
    code, out, err = indexed("explain", "docs", "river", "report.pdf#2", "--html", "why.html", "--json")
    assert code == 0, err
    explained = json.loads(out)
    assert explained["patches"] == {"rows": 4, "columns": 4, "first": 0, "vectors": 20}
    html = Path("why.html").read_text()
    assert html.count("data:image/png;base64,") == 1
    assert html.count("<figure>") == 1 + len(explained["query_tokens"])
    Path(explained["passage"]["metadata"]["image"]).unlink()
    code, _, err = indexed("explain", "docs", "river", "report.pdf#2", "--html", "why.html")
    assert code == 0
    assert "the image cannot be read (No such file or directory)" in err
    assert "the patches are shown without it" in err
    assert "The picture of the page is not shown here." in Path("why.html").read_text()
    code, out, _ = indexed("explain", "docs", "river", "report.pdf#2")
    assert code == 0
    assert "row " in out


def test_an_encoder_of_texts_reads_the_text_layer(command: Command, folder: Path) -> None:
    """As before; --images would have no effect."""
    code, _, err = command("index", "docs", "report.pdf", "--encoder", "minilm", "--images", "pages", "--blank", "skip")
    assert code == 1
    assert "--images is 'pages', but no page images are read; give --encoder a model that takes images" in err
    code, _, err = command("index", "docs", "report.pdf", "--encoder", "minilm", "--blank", "skip")
    assert code == 0
    assert "2 passages added" in err


def test_options_without_effect_and_mixed_files_are_refused(command: Command, folder: Path, image_model: Path) -> None:
    Path("notes.jsonl").write_text('{"id": "a", "text": "x"}\n')
    index = ("index", "docs", "report.pdf", "--encoder", image_model, "--images", "pages")
    code, _, err = command(*index, "--chunk", "50")
    assert code == 1
    assert "--chunk is 50, but the encoder reads the images of whole pages" in err
    code, _, err = command(*index, "notes.jsonl")
    assert code == 1
    assert "'report.pdf' has page images, but not all of the files have" in err


@pytest.mark.parametrize(
    ("content", "reason"),
    [(pdf("x", encrypted=True), "bad.pdf: is encrypted"), (b"no pdf", "bad.pdf: not a whole PDF file")],
)
def test_a_broken_file_stores_nothing(command: Command, folder: Path, image_model: Path, content: bytes, reason: str) -> None:
    Path("bad.pdf").write_bytes(content)
    code, _, err = command("index", "docs", "photo.png", "bad.pdf", "--encoder", image_model, "--images", "pages")
    assert code == 1
    assert reason in err
    assert "docs" not in command("list")[1]
