"""Downloads from a real server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pgretrieval.errors import InputError
from pgretrieval.evaluate.published.downloads import Download, fetch


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder, and counts requests."""

    requests = 0

    def process_request(self, request: object, client_address: object) -> None:
        self.requests += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, Server]]:
    """A folder, the address it is served at, and the server."""
    folder = tmp_path / "served"
    folder.mkdir()
    with Server(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", server
        server.shutdown()


class Bars:
    """Records the names, sizes and counted bytes of downloads."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int | None, int]] = {}

    @contextmanager
    def __call__(self, name: str, size: int | None) -> Iterator[object]:
        self.seen[name] = size, 0

        def advance(count: int) -> None:
            self.seen[name] = size, self.seen[name][1] + count

        yield advance


def packed(folder: Path, name: str) -> str:
    """An archive with set/corpus.jsonl; returns its checksum."""
    (folder / "corpus.jsonl").write_text("{}\n")
    if name.endswith(".zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.write(folder / "corpus.jsonl", "set/corpus.jsonl")
    else:
        with tarfile.open(folder / name, "w:gz") as tar:
            tar.add(folder / "corpus.jsonl", "set/corpus.jsonl")
    return hashlib.md5((folder / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_an_archive_is_checked_unpacked_and_not_fetched_again(served: tuple[Path, str, Server], tmp_path: Path, name: str):
    folder, address, server = served
    checksum = packed(folder, name)
    bars, target = Bars(), tmp_path / "cache" / "beir"
    for _ in range(2):
        assert fetch([Download(f"{address}/{name}", checksum)], target, bars) == target
        assert (target / "set" / "corpus.jsonl").read_text() == "{}\n"
    assert server.requests == 1
    size = (folder / name).stat().st_size
    assert bars.seen == {name: (size, size)}
    assert not (target / f"{name}.part").exists()


def test_a_file_is_kept_as_it_is(served: tuple[Path, str, Server], tmp_path: Path):
    folder, address, server = served
    (folder / "psgs.tsv.gz").write_bytes(b"packed")
    for _ in range(2):
        fetch([Download(f"{address}/psgs.tsv.gz")], tmp_path, Bars())
    assert (tmp_path / "psgs.tsv.gz").read_bytes() == b"packed"
    assert server.requests == 1


@pytest.mark.parametrize(
    ("name", "checksum", "said"),
    [
        ("set.zip", "0" * 32, r"set\.zip has the MD5 checksum \w+, but 0{32} is published"),
        ("none.zip", None, r"none\.zip cannot be downloaded \(.*\)\. Without a network, .*--folder"),
        ("text.zip", None, r"text\.zip is no archive that can be unpacked"),
        ("text.tar.gz", None, r"text\.tar\.gz is no archive that can be unpacked"),
    ],
)
def test_what_cannot_be_used_is_an_error_and_leaves_no_mark(
    served: tuple[Path, str, Server], tmp_path: Path, name: str, checksum: str | None, said: str
):
    folder, address, _ = served
    packed(folder, "set.zip")
    for text in ("text.zip", "text.tar.gz"):
        (folder / text).write_text("no archive")
    with pytest.raises(InputError, match=said):
        fetch([Download(f"{address}/{name}", checksum)], tmp_path / "cache", Bars())
    assert not list((tmp_path / "cache").glob("*.done"))


def test_a_download_that_is_cut_short_is_an_error(tmp_path: Path):
    class Cut(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match=r"the connection ended after 5 of 100 bytes|IncompleteRead"):
            fetch([Download(f"http://127.0.0.1:{server.server_port}/a.tsv")], tmp_path, Bars())
        server.shutdown()
    assert not (tmp_path / "a.tsv").exists()
