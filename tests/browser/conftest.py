"""A real `pgretrieval serve` over collections of real texts, and a browser that opens its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page

import pgretrieval
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.browser import chromium, chromium_command, watched_page
from tests.support.serving import process

TOKEN = "a-token-of-the-tests-0123456789"
RECIPES = [
    {
        "id": "bread",
        "title": "Sourdough",
        "text": "A sourdough loaf rises slowly, because wild yeast works slowly.",
        "metadata": {"page": 12, "kind": "baking"},
    },
    {
        "id": "rolls",
        "title": "Rolls",
        "text": "Baker's yeast is quick: rolls rise in an hour.",
        "metadata": {"page": 14, "kind": "baking"},
    },
    {
        "id": "tea",
        "title": "🍵 Tea",
        "text": "🫖 Green tea likes water of 80 degrees, because boiling water makes it bitter.",
        "metadata": {"page": 3, "kind": "drink"},
    },
    {"id": "beans", "text": "Soak dried beans overnight, so that they cook in an hour.", "metadata": {"page": 21}},
    {
        "id": "danger",
        "title": "<img src=x onerror=document.title='broken'> Danger",
        "text": "<script>document.title = 'broken'</script> & <b>poison</b> in mushrooms: leave those you do not know.",
        "metadata": {"<i>kind": "<script>document.title = 'broken'</script>"},
    },
    {
        "id": "stock",
        "title": "Stock",
        "text": "Put the bones in cold water. " * 17 + "A cloudy stock was boiled. " + "Skim it from time to time. " * 6,
    },
]


def fill(url: str) -> None:
    """`kitchen` and `letters`, which has no words; `pantry`, with a row that failed; a violation in `letters`."""
    with pgretrieval.connect(url=url) as database, psycopg.connect(url, autocommit=True) as connection:
        kitchen = database.create_collection("kitchen", language="english", dense=None)
        kitchen.add(RECIPES)
        kitchen.build()
        database.create_collection("letters", language=None, dense=None).add([{"id": "a", "text": "The first letter."}])
        connection.execute(
            """insert into pgretrieval.queue (collection_id, key)
               select collection_id, 'nowhere' from pgretrieval.collection where name = 'letters'"""
        )
        connection.execute("create table recipes (id text primary key, body text)")
        connection.execute("insert into recipes values (repeat('x', 2500), 'too long an id'), ('soup', 'Soup is served hot.')")
        database.create_collection("pantry", encoder="minilm")
        database.attach("pantry", "recipes", text="body")
        database.work(["pantry"])


@pytest.fixture(scope="session")
def program() -> str:
    """The program of the browser, for which everything else is started."""
    return chromium_command()


@pytest.fixture(scope="session")
def filled_url(program: str, postgres: PostgresUnderTest) -> Iterator[str]:
    """A database with the collections of `fill`."""
    url = postgres.create_database()
    fill(url)
    yield url
    postgres.drop_database(url)


@contextmanager
def running(database_url: str, **environment: str) -> Iterator[str]:
    """Address of a service, while it runs."""
    with process(database_url, **environment) as started, started.started() as client:
        yield str(client.base_url)


@pytest.fixture(scope="session")
def service(filled_url: str) -> Iterator[str]:
    """Address of a service without a token."""
    with running(filled_url) as url:
        yield url


@pytest.fixture(scope="session")
def guarded(filled_url: str) -> Iterator[str]:
    """Address of a service that asks for `TOKEN`."""
    with running(filled_url, PGRETRIEVAL_TOKEN=TOKEN) as url:
        yield url


@pytest.fixture(scope="module")  # in a session, its event loop would run during the tests of asyncio
def browser(program: str) -> Iterator[Browser]:
    """The browser."""
    with chromium(program) as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, service: str) -> Iterator[Callable[..., Page]]:
    """Opens a page at an address of the service, with options of a browser context."""
    with ExitStack() as stack:

        def opened(address: str = "", url: str = service, **options: Any) -> Page:
            page = stack.enter_context(watched_page(browser, url, **options))
            page.goto(address)
            return page

        yield opened
