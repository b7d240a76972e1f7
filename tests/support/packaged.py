"""A server of its own whose folder of extensions tests may write to: the embedded server's programs, copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgretrieval.db import extension
from pgretrieval.db.embedded import binaries
from tests.fixtures.postgres import FAST, PostgresUnderTest, memory, reachable_directory
from tests.support.own_server import OwnServer, own_server


@dataclass(frozen=True)
class Packaged:
    """The server, and its folder of extensions."""

    server: OwnServer
    postgres: PostgresUnderTest
    folder: Path

    def package(self, version: str) -> list[Path]:
        """Write the extension as if the package were of this version."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(extension, "version_of", lambda _: version)
            return extension.package(self.folder)

    def clear(self) -> None:
        """Remove the extension's files."""
        for file in self.folder.glob("pgretrieval*"):
            file.unlink()


@contextmanager
def packaged(version: int) -> Iterator[Packaged]:
    """A running server of a version, without the schema, removed at the end."""
    with reachable_directory(memory()) as place, pytest.MonkeyPatch.context() as patched:
        patched.setattr(binaries, "_CACHE", place)
        programs = binaries._copied(binaries.installation(version))
        with own_server(version, migrated=False, programs=programs, settings=FAST) as server:
            yield Packaged(server, PostgresUnderTest(server.url), programs.folder / "share" / "postgresql" / "extension")
