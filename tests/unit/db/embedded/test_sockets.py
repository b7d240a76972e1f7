"""Links to sockets with long paths, in a folder that only the owner can change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgretrieval.db.embedded import sockets
from pgretrieval.errors import ConfigError


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of this test with a short path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        monkeypatch.setattr(tempfile, "gettempdir", lambda: folder)
        monkeypatch.setattr(sockets, "_remembered", lambda known=[]: known)
        yield Path(folder)


def test_a_short_path_needs_no_link(temporary: Path):
    """Short paths get no link."""
    assert sockets.host_of(Path("/var/lib/with a blank/ünï")) == "/var/lib/with a blank/ünï"
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["long" * 40, "a,b", "not\udcff utf8"])
def test_other_paths_have_a_link_in_a_closed_folder(temporary: Path, name: str):
    """Long paths get a link in a private folder, and a missing link is created again."""
    pgdata = temporary / name
    host = Path(sockets.host_of(pgdata))
    assert host.readlink() == pgdata
    assert host.parent == temporary / f"pgretrieval-{os.geteuid()}"
    assert host.parent.lstat().st_mode & 0o777 == 0o700
    host.unlink()
    host.symlink_to("/elsewhere")
    assert Path(sockets.host_of(pgdata)) == host
    assert host.readlink() == pgdata


@pytest.mark.parametrize("planted", ["open", "link", "file", "owner"])
def test_a_strangers_folder_is_skipped(temporary: Path, planted: str):
    """A stranger's folder with our name is not used and does not prevent opening the server."""
    name = temporary / f"pgretrieval-{os.geteuid()}"
    mine = temporary / "mine"
    mine.mkdir(mode=0o700)
    if planted == "link":
        name.symlink_to(mine)
    elif planted == "file":
        name.write_text("")
    else:
        name.mkdir()
        name.chmod(0o777 if planted == "open" else 0o700)
        if planted == "owner":
            if os.geteuid() != 0:
                pytest.skip("only root gives folders away")
            os.chown(name, 65534, 65534)
    found = Path(sockets.host_of(temporary / ("long" * 40))).parent
    assert found == temporary / f"pgretrieval-{os.geteuid()}-1"
    assert found.lstat().st_mode & 0o777 == 0o700
    assert found.lstat().st_uid == os.geteuid()


def test_another_name_is_used_if_all_are_taken(temporary: Path):
    """The server opens although a stranger has taken four folder names."""
    for number in ("", "-1", "-2", "-3"):
        (temporary / f"pgretrieval-{os.geteuid()}{number}").write_text("")
    found = Path(sockets.host_of(temporary / ("long" * 40))).parent
    assert found.is_dir()
    assert found.parent == temporary
    assert Path(sockets.host_of(temporary / ("long" * 41))).parent == found


def test_a_temporary_directory_that_others_can_rename_in_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    """A TMPDIR of another user, which sudo keeps, is not used: they could replace our folder."""
    temporary.chmod(0o777)  # without the sticky bit
    assert not sockets._is_trusted(temporary)
    assert not sockets.host_of(Path("/" + "long" * 40)).startswith(str(temporary))
    monkeypatch.setattr(sockets, "_is_trusted", lambda base: False)
    monkeypatch.setattr(sockets, "_remembered", list)
    with pytest.raises(ConfigError, match="set TMPDIR to one of yours with a short path"):
        sockets.host_of(Path("/" + "long" * 40))
