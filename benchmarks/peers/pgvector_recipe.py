"""Late interaction with pgvector and SQL alone: an HNSW index over single tokens, and MaxSim over arrays of vectors.

Follows pgvector-python's ColBERT example. Runs in pgretrieval's environment, and uses only its embedded server, if no --url is
given.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers import common
else:
    import common

SCHEMA = "pgvector_recipe"
DEFAULTS: common.Widths = {"tokens": 20, "ef_search": 40, "plain": 0}

TABLES = """
create table passage (id integer primary key, embeddings vector({dim})[] not null);
alter table passage alter column embeddings set storage external;
create table token (passage integer not null, embedding vector({dim}) not null);
create function max_sim(document vector[], query vector[]) returns double precision
language sql immutable strict parallel safe as $$
    select sum((select max(-(document_token <#> query_token)) from unnest(document) as document_token))
    from unnest(query) as query_token
$$
"""
SEARCH = """
with candidate as (
    select distinct nearest.passage
    from unnest(%(query)s::vector[]) as query_token
    cross join lateral (select passage from token order by embedding <#> query_token limit %(tokens)s) as nearest
)
select id
from candidate join passage on passage.id = candidate.passage
order by max_sim(embeddings, %(query)s::vector[]) desc
limit %(k)s
"""
PLAIN = """
create index if not exists token_passage on token (passage);
create or replace function max_sim_plain(document vector[], query vector[]) returns double precision
language sql immutable parallel safe as $$
    select sum(best)
    from (
        select max(1 - (document_token <=> query_token)) as best
        from unnest(query) with ordinality as asked (query_token, place)
        cross join unnest(document) as document_token
        group by place
    ) as by_token
$$
"""
SEARCH_PLAIN = """
with candidate as (
    select distinct nearest.passage
    from unnest(%(query)s::vector[]) as query_token
    cross join lateral (select passage from token order by embedding <#> query_token limit %(tokens)s) as nearest
),
gathered as (
    select passage, array_agg(embedding) as embeddings from token where passage in (select passage from candidate) group by passage
)
select passage from gathered order by max_sim_plain(embeddings, %(query)s::vector[]) desc limit %(k)s
"""
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = struct.pack(">h", -1)


class PgvectorRecipe(common.Peer):
    """The nearest tokens of every query token by HNSW; their passages ranked by exact MaxSim in SQL."""

    packages = ()
    widths = (common.Width("T", "tokens"), common.Width("E", "ef_search"), common.Width("P", "plain"))
    required_widths = 1

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="a Postgres server with pgvector; without it an embedded one in the index folder")

    @classmethod
    @contextlib.contextmanager
    def running(cls, args: Namespace) -> Iterator[None]:
        """Run the embedded server, unless there is a URL."""
        args.server = server_name(args.url) if args.url else "embedded"
        with contextlib.ExitStack() as stack:
            if not args.url:
                args.url = stack.enter_context(embedded_server(args.index / "postgres"))
            with connect(args.url) as connection:
                connection.execute("create extension if not exists vector")
            yield

    @classmethod
    def source(cls, args: Namespace) -> dict[str, Any]:
        with connect(args.url) as connection:
            pgvector, postgres = connection.execute(
                "select extversion, current_setting('server_version') from pg_extension where extname = 'vector'"
            ).fetchone()
        return {"server": args.server, "pgvector": pgvector, "postgres": postgres}

    @classmethod
    def title(cls, source: dict[str, Any]) -> str:
        return f"pgvector {source['pgvector']}, tokens by HNSW and MaxSim in SQL"

    def build(self, documents: list[NDArray[np.float16]]) -> None:
        with connect(self.args.url) as connection:
            connection.execute("set client_connection_check_interval = '1s'")  # the server fails if this process is killed
            connection.execute(f"set max_parallel_maintenance_workers = {self.args.threads - 1}")
            connection.execute(f"drop schema if exists {SCHEMA} cascade")
            connection.execute(f"create schema {SCHEMA}")
            set_path(connection)
            connection.execute(TABLES.format(dim=self.dim))
            ((element_type,),) = connection.execute("select 'vector'::regtype::oid").fetchall()
            copy(connection, "passage", (passage_row(number, one, element_type) for number, one in enumerate(documents)))
            copy(connection, "token", (token_rows(number, one) for number, one in enumerate(documents)))
            common.say("vectors loaded")
            connection.execute("create index on token using hnsw (embedding vector_ip_ops)")
            connection.execute("vacuum analyze passage, token")

    def load(self) -> None:
        self.connection = connect(self.args.url)
        self.connection.execute(f"set max_parallel_workers_per_gather = {self.args.threads - 1}")
        self.connection.execute("set jit = off")
        set_path(self.connection)
        self.connection.execute(PLAIN)

    def use(self, setting: common.Widths, query: Any) -> common.Widths:
        widths = DEFAULTS | setting
        if "ef_search" not in setting:
            widths["ef_search"] = max(DEFAULTS["ef_search"], widths["tokens"])
        self.tokens = widths["tokens"]
        self.statement = SEARCH_PLAIN if widths["plain"] else SEARCH
        self.connection.execute(f"set hnsw.ef_search = {widths['ef_search']}")
        return widths

    def name(self, widths: common.Widths) -> str:
        return f"{widths['tokens']} tokens / ef_search {widths['ef_search']}" + (", as published" if widths["plain"] else "")

    def convert(self, query: NDArray[np.float16]) -> str:
        vectors = ('"[' + ",".join(map(str, vector)) + ']"' for vector in query.tolist())
        return "{" + ",".join(vectors) + "}"

    def search(self, query: Any, k: int) -> Any:
        return self.connection.execute(self.statement, {"query": query, "tokens": self.tokens, "k": k}).fetchall()

    def positions(self, found: Any) -> list[int]:
        return [passage for (passage,) in found]

    def index_bytes(self) -> int:
        """Bytes of both tables with their indexes."""
        sizes = "select sum(pg_total_relation_size(name::regclass))::bigint from unnest(array['passage', 'token']) as name"
        ((size,),) = self.connection.execute(sizes).fetchall()
        return int(size)


def connect(url: str) -> Any:
    """A connection in autocommit mode."""
    return import_module("psycopg").connect(url, autocommit=True)


def set_path(connection: Any) -> None:
    """Set the search path to the schema of the tables and that of pgvector."""
    query = "select quote_ident(nspname) from pg_extension join pg_namespace n on n.oid = extnamespace where extname = 'vector'"
    ((extension,),) = connection.execute(query).fetchall()
    connection.execute(f"set search_path = {SCHEMA}, {extension}")


def server_name(url: str) -> str:
    """Host and database of a URL, without user and password."""
    parts = import_module("psycopg.conninfo").conninfo_to_dict(url)
    return "/".join(str(parts.get(name, "")) for name in ("host", "port", "dbname"))


@contextlib.contextmanager
def embedded_server(folder: Any) -> Iterator[str]:
    """The URL of pgretrieval's embedded server, with its settings, running in the context."""
    server = import_module("pgretrieval.db.embedded").open_server(folder)
    try:
        yield server.url
    finally:
        server.close()


def copy(connection: Any, table: str, rows: Iterator[bytes]) -> None:
    """Binary COPY of rows."""
    with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format binary)") as target:
        target.write(COPY_HEAD)
        for row in rows:
            target.write(row)
        target.write(COPY_END)


def vector_fields(document: NDArray[np.float16], head: list[tuple[str, str]]) -> Any:
    """One record per token: the fields of `head`, then length and bytes of a vector in pgvector's binary format."""
    import numpy as np

    count, dim = document.shape
    kind = [*head, ("bytes", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vector", ">f4", (dim,))]
    records: Any = np.zeros(count, dtype=kind)
    records["bytes"], records["dim"], records["vector"] = 4 + 4 * dim, dim, document
    return records


def passage_row(number: int, document: NDArray[np.float16], element_type: int) -> bytes:
    """A row of `passage`: its number, and its vectors as an array of one dimension."""
    array: bytes = struct.pack(">iiIii", 1, 0, element_type, len(document), 1) + vector_fields(document, []).tobytes()
    return struct.pack(">hiii", 2, 4, number, len(array)) + array


def token_rows(number: int, document: NDArray[np.float16]) -> bytes:
    """Rows of `token`."""
    records = vector_fields(document, [("fields", ">i2"), ("number_bytes", ">i4"), ("number", ">i4")])
    records["fields"], records["number_bytes"], records["number"] = 2, 4, number
    data: bytes = records.tobytes()
    return data


if __name__ == "__main__":
    common.run(PgvectorRecipe, __doc__)
