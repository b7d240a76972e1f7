"""Which database a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pgretrieval.database import RetrievalDatabase, connect, install, open_database


@dataclass(frozen=True, slots=True)
class Target:
    """The global options; None where not given."""

    database: str | None
    data_dir: str | None

    @contextmanager
    def connect(self) -> Iterator[RetrievalDatabase]:
        """The database, with its schema checked."""
        with connect(self.database, self.data_dir) as database:
            yield database

    @contextmanager
    def connect_unchecked(self) -> Iterator[RetrievalDatabase]:
        """The database whatever its schema, for `migrate`."""
        with open_database(self.database, self.data_dir) as database:
            yield database

    @contextmanager
    def inspect(self) -> Iterator[RetrievalDatabase]:
        """The database as another command would find it, for `doctor`: an embedded one is migrated, any other is left as it is."""
        with self.connect_unchecked() as database:
            if database.data_dir is not None:
                install(database)
            yield database
