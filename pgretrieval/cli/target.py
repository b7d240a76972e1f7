"""Database that a command uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgretrieval.database import RetrievalDatabase


@dataclass(frozen=True, slots=True)
class Target:
    """Global options; None if not given."""

    database: str | None
    data_dir: str | None

    @contextmanager
    def connect(self, connections: int | None = None) -> Iterator[RetrievalDatabase]:
        """Connect to the database and check its schema."""
        from pgretrieval.database import CONNECTIONS, connect

        with connect(self.database, self.data_dir, connections=connections or CONNECTIONS) as database:
            yield database

    @contextmanager
    def connect_unchecked(self) -> Iterator[RetrievalDatabase]:
        """Connect to the database without checking its schema, for `migrate`."""
        from pgretrieval.database import open_database

        with open_database(self.database, self.data_dir) as database:
            yield database

    @contextmanager
    def inspect(self) -> Iterator[RetrievalDatabase]:
        """Connect for `doctor`: migrate an embedded database as other commands do; leave any other unchanged."""
        from pgretrieval.database import install

        with self.connect_unchecked() as database:
            if database.data_dir is not None:
                install(database)
            yield database
