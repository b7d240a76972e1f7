"""pgretrieval.sqlalchemy: search functions composed with tables of an application."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import pgretrieval
from pgretrieval.sqlalchemy import (
    centroid,
    collection,
    collections,
    dense_search,
    dense_vector,
    hybrid_search,
    item_embedding,
    passage,
    search,
    text_search,
)
from tests.fixtures.collections import Corpus
from tests.migration.test_alembic import connect_arguments


class Base(DeclarativeBase):
    pass


class Article(Base):
    """A table of the application, whose slugs are the passages' ids."""

    __tablename__ = "article"
    slug: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int]


@pytest.fixture
def engine(module_database: pgretrieval.RetrievalDatabase, built: pgretrieval.Collection) -> sa.Engine:
    """An engine on the database of the shared collection, with an article for each passage."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(module_database.url), poolclass=sa.NullPool)
    with Session(engine) as session:
        if not sa.inspect(engine).has_table("article"):
            Base.metadata.create_all(engine)
            session.add_all(Article(slug=f"p{number}", year=1900 + number) for number in range(300))
            session.commit()
    return engine


def test_hits_join_with_models(engine: sa.Engine, built: pgretrieval.Collection, corpus: Corpus):
    """Hits have typed columns in order and join with models."""
    query = corpus.queries[0]
    found = search("shared", query, 5).alias("found")
    statement = sa.select(Article, found.c.score).join(found, found.c.id == Article.slug).order_by(found.c.rank)
    with Session(engine) as session:
        rows = session.execute(statement).all()
    expected = built.search(vectors=query, k=5)
    assert [(row.Article.slug, row.score) for row in rows] == [(hit.id, pytest.approx(hit.score, abs=1e-4)) for hit in expected]


def test_restrictions(engine: sa.Engine, corpus: Corpus):
    """A filter and a select of ids apply before candidates are chosen."""
    query = corpus.queries[0]
    young = sa.select(Article.slug).where(Article.year >= 2190)
    with engine.connect() as connection:
        for restricted in (
            search("shared", query, 10, where={"number": {"$gte": 290}}),
            search("shared", query, 10, where="$.number >= 290"),
            search("shared", query, 10, among=young),
            search("shared", query, 10, among=[f"p{number}" for number in range(290, 300)]),
        ):
            ids = connection.scalars(sa.select(restricted.alias("found").c.id)).all()
            assert set(ids) == {f"p{number}" for number in range(290, 300)}


def test_words_and_both(engine: sa.Engine, corpus: Corpus):
    """text_search and hybrid_search take the same arguments as in SQL."""
    with engine.connect() as connection:
        words = connection.execute(sa.select(text_search("shared", "passage 7", 1).alias("found"))).one()
        assert words.id == "p7"
        both = connection.execute(sa.select(hybrid_search("shared", corpus.queries[0], "passage 7", 5).alias("found"))).all()
        assert "p7" in [row.id for row in both]
        assert both[0].metadata == {"number": int(both[0].id[1:])}


def test_the_least_score(engine: sa.Engine, built: pgretrieval.Collection, corpus: Corpus):
    """The mean and the least score reach the functions."""
    query = corpus.queries[0]
    expected = built.search(vectors=query, reduction="mean")
    found = search("shared", query, reduction="mean", min_score=expected[2].score - 1e-5)
    with engine.connect() as connection:
        scores = connection.scalars(sa.select(found.c.score).order_by(found.c.rank)).all()
        assert scores == pytest.approx([hit.score for hit in expected[:3]], abs=1e-5)
        for other in (text_search("shared", "passage 7", min_score=10**6), hybrid_search("shared", query, "7", min_score=10**6)):
            assert connection.execute(sa.select(other)).all() == []


def test_all_three(engine: sa.Engine, module_database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Dense vector, weights and fusion reach the function."""
    docs = module_database.create_collection("three", dense="kept")
    dense = np.eye(20, dtype=np.float32)
    docs.add(corpus.passages[:20], vectors=corpus.vectors[:20], dense=dense)
    docs.build()
    query = corpus.queries[0]
    alone = dense_search("three", 3 * dense[4], 5, among=["p4", "p5"], min_score=0.5).alias("found")
    with engine.connect() as connection:
        assert connection.execute(sa.select(alone.c.id, alone.c.score)).all() == [("p4", 1)]
    for options in ({}, {"fusion": "rank", "rank_constant": 5}, {"weights": (0.0, 0.0, 1.0)}):
        expected = docs.hybrid_search("passage 7", 20, vectors=query, dense=3 * dense[4], **options)
        with engine.connect() as connection:
            found = hybrid_search("three", query, "passage 7", 20, dense=3 * dense[4], **options).alias("found")
            rows = connection.execute(sa.select(found.c.id, found.c.score)).all()
        assert dict(map(tuple, rows)) == {hit.id: pytest.approx(hit.score, abs=1e-2) for hit in expected}


def test_vectors_are_read_with_the_types_of_pgvector(engine: sa.Engine, corpus: Corpus):
    """Centroids are read as pgvector's type and work with its operators."""
    near = sa.select(centroid.c.vector).order_by(centroid.c.vector.max_inner_product(HalfVector(corpus.queries[0][0]))).limit(1)
    with engine.connect() as connection:
        every = np.array(connection.scalars(sa.select(centroid.c.vector)).all(), dtype=np.float32)
        best = np.array(connection.scalars(near).one(), dtype=np.float32)
    assert np.allclose(np.linalg.norm(every, axis=1), 1, atol=1e-2)
    assert best @ corpus.queries[0][0] == pytest.approx(max(every @ corpus.queries[0][0]), abs=1e-3)


def test_arrays_go_as_they_are_where_pgvector_is_registered(
    module_database: pgretrieval.RetrievalDatabase, built: pgretrieval.Collection, corpus: Corpus
):
    """With pgvector's types registered in psycopg, vectors need no text form."""
    with psycopg.connect(module_database.url) as connection:
        register_vector(connection)
        found = connection.execute(
            "select id from pgretrieval.search('shared', %s, 5)", [[Vector(row) for row in corpus.queries[0]]]
        ).fetchall()
    assert [key for (key,) in found] == [hit.id for hit in built.search(vectors=corpus.queries[0], k=5)]


def test_tables_are_those_of_the_schema(engine: sa.Engine):
    """Columns have the names and types of the database."""
    with engine.connect() as connection:
        for table in (collections, collection, passage, centroid, dense_vector, item_embedding):
            connection.execute(sa.select(table).limit(1)).all()
        row = connection.execute(sa.select(passage.c.key, passage.c.metadata_).order_by(passage.c.passage_id).limit(1)).one()
    assert row == ("p0", {"number": 0})


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg_async"])
def test_asynchronous_engines(
    engine: sa.Engine, module_database: pgretrieval.RetrievalDatabase, built: pgretrieval.Collection, corpus: Corpus, driver: str
):
    """Asynchronous drivers, which need the type of an array of vectors, work."""

    async def run() -> list[Any]:
        arguments = connect_arguments(driver, psycopg.conninfo.conninfo_to_dict(module_database.url))
        asynchronous = create_async_engine(f"postgresql+{driver}://", connect_args=arguments, poolclass=sa.NullPool)
        async with asynchronous.connect() as connection:
            found = search("shared", corpus.queries[1], 5, among=["p1", "p2", "p3"]).alias("found")
            return list((await connection.scalars(sa.select(found.c.id).order_by(found.c.rank))).all())

    assert asyncio.run(run()) == [hit.id for hit in built.search(vectors=corpus.queries[1], k=5, among=["p1", "p2", "p3"])]


def test_vectors_are_checked(corpus: Corpus):
    with pytest.raises(pgretrieval.VectorError, match="the query have shape"):
        search("shared", corpus.queries[0][0])
