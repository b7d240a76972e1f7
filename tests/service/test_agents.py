"""`pgretrieval mcp`, by the client of the protocol's SDK: over standard input and output, and by HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

import pgretrieval
from pgretrieval.mcp.server import create_server
from pgretrieval.mcp.tools import TOOLS
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.service import Service
from tests.fixtures.cli import Command
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.changing import until_waiting
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.serving import SECONDS

TOKEN = "a-token-of-the-tests-0123456789"
TEXTS = [
    {"id": "river", "title": "Rivers", "text": "A river flows to the sea.", "metadata": {"year": 1990, "tenant": "a"}},
    {"id": "bank", "text": "A bank lends money.", "metadata": {"year": 2005, "tenant": "b"}},
    {"id": "sea", "text": "The sea is salty.", "metadata": {"year": 1995, "tenant": "b"}},
]


@pytest.fixture(scope="module")
def filled(module_database: pgretrieval.RetrievalDatabase) -> pgretrieval.RetrievalDatabase:
    """A database with a collection of texts and one of the default encoder."""
    module_database.create_collection("texts", encoder="none").add(TEXTS)
    module_database.create_collection("docs", encoder="minilm").add(TEXTS)
    return module_database


@pytest.fixture
def texts(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """A collection of texts, of a test's own database."""
    collection = database.create_collection("texts", encoder="none")
    collection.add(TEXTS)
    return collection


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pgretrieval", "--database", url, "mcp", *arguments]


@asynccontextmanager
async def by_stdio(url: str, mode: Any = "auto") -> AsyncIterator[Client]:
    """An agent that starts the command."""
    words = command(url)
    async with Client(StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ)), mode=mode) as agent:
        yield agent


@contextmanager
def serving(url: str, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command with HTTP, and the URL that it prints, at which connections wait until it answers."""
    process = subprocess.Popen(
        command(url, "--http", "127.0.0.1:0", *arguments), stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving http://127.0.0.1:"), line
        yield process, line.split()[1]
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


@asynccontextmanager
async def by_http(address: str, token: str | None = None) -> AsyncIterator[Client]:
    """An agent that sends requests, with a token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS) as sending,
        Client(streamable_http_client(address, http_client=sending)) as agent,
    ):
        yield agent


@asynccontextmanager
async def inside(database: pgretrieval.RetrievalDatabase, **options: Any) -> AsyncIterator[Client]:
    """An agent of this process."""
    async with Client(create_server(Service(database, ServiceOptions(**options)))) as agent:
        yield agent


def answer(found: CallToolResult) -> dict[str, Any]:
    """The answer of a tool: its text is the same."""
    assert not found.is_error, found.content[0].text
    assert json.loads(found.content[0].text) == found.structured_content
    return found.structured_content


def error(found: CallToolResult) -> str:
    """The text of an error, which shows nothing of the code or the server."""
    assert found.is_error
    assert found.structured_content is None
    text = found.content[0].text
    assert not any(part in text for part in ("Traceback", 'File "', "psycopg", "pgr_test_"))
    return text


async def ids(agent: Client, collection: str, query: str, **given: Any) -> list[str]:
    """Ids of the passages that a search finds."""
    found = answer(await agent.call_tool("search", {"collection": collection, "query": query, **given}))
    return [hit["id"] for hit in found["hits"]]


async def use_every_tool(agent: Client) -> None:
    """Call each tool; answers fit their descriptions."""
    tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
    assert list(tools) == [tool.name for tool in TOOLS]
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools.values())
    calls = {
        "list_collections": {},
        "search": {"collection": "docs", "query": "salt water", "k": 2, "where": {"year": {"$lt": 2000}}},
        "get_passages": {"collection": "docs", "ids": ["sea", "none", "river"]},
        "stats": {"collection": "docs"},
        "explain_match": {"collection": "docs", "query": "salt water", "id": "bank", "k": 2, "mode": "late"},
    }
    assert set(calls) == set(tools)
    answers = {}
    for name, given in calls.items():
        Draft202012Validator(tools[name].input_schema).validate(given)
        answers[name] = answer(await agent.call_tool(name, given))
        Draft202012Validator(tools[name].output_schema).validate(answers[name])
    assert answers["list_collections"] == {"collections": ["docs", "texts"]}
    hits = answers["search"]["hits"]
    assert [hit["id"] for hit in hits] == ["sea", "river"]
    assert hits[1] | {"score": 0} == {"rank": 2, "score": 0, **TEXTS[0]}
    assert answers["get_passages"] == {"passages": [{"title": None, **TEXTS[2]}, TEXTS[0]], "missing": ["none"]}
    why = answers["explain_match"]
    assert why["mode"] == "late"
    assert (why["rank"], why["ranks"]["late"]["rank"], why["ranks"]["words"]["rank"]) == (None, 3, None)
    assert sum(match["share"] for match in why["matches"]) == pytest.approx(why["score"], abs=1e-4)
    assert any("salt" in sentence for sentence in why["lacks"])
    assert (answers["stats"]["passages"], answers["stats"]["modes"]) == (3, ["hybrid", "late", "words", "dense"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_every_tool_by_stdio(filled: pgretrieval.RetrievalDatabase, mode: str):
    """An agent of the newest and of earlier protocols starts the command and calls each tool."""

    async def run() -> None:
        async with by_stdio(filled.url, mode) as agent:
            assert (agent.server_info.name, agent.server_info.version) == ("pgretrieval", "0.1.0")
            assert "list_collections first" in agent.instructions
            await use_every_tool(agent)

    asyncio.run(run())


def test_every_tool_by_http(filled: pgretrieval.RetrievalDatabase, tmp_path: Path):
    """Several agents use one process, which first loads its models, and ends cleanly at SIGTERM."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    async def run(address: str) -> None:
        async with by_http(address, TOKEN) as one, by_http(address, TOKEN) as other:
            await asyncio.gather(use_every_tool(one), use_every_tool(other))

    with serving(filled.url, "--token-file", str(tmp_path / "token")) as (process, address):
        assert httpx2.get(address.replace("/mcp", "/readyz"), timeout=SECONDS).json()["error"]["type"] == "StartingUp"
        asyncio.run(run(address))
        assert httpx2.get(address.replace("/mcp", "/readyz")).json() == {"status": "ready"}
        process.terminate()
        _, printed = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, printed
        assert "Traceback" not in printed
        assert TOKEN not in printed


def test_http_with_a_token(database_url: str):
    """Without it requests are refused; with it they may come from anywhere, as through a proxy, and be as large as of `serve`."""
    with serving(database_url, PGRETRIEVAL_TOKEN=TOKEN) as (_, address):
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}):
            refused = httpx2.post(address, json={}, headers=headers, timeout=SECONDS)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert refused.json()["error"]["remedy"]
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "agents.example.com", "Content-Type": "application/json"}
        most = ServiceOptions.max_body
        answers = [httpx2.post(address, content=b"x" * length, headers=headers, timeout=SECONDS) for length in (most, most + 1)]
        assert [each.status_code for each in answers] == [400, 413]


def test_http_without_a_token_is_for_this_machine(texts: pgretrieval.Collection, database_url: str):
    """Without a token, pages of other sites reach nothing."""
    with serving(database_url) as (_, address):
        for name, value in (("Host", "evil.example.com"), ("Origin", "https://evil.example.com")):
            refused = httpx2.post(address, json={}, headers={name: value}, timeout=SECONDS)
            assert (refused.status_code, refused.json()["error"]["type"]) == (400, f"Wrong{name}")

        async def run() -> None:
            async with by_http(address) as agent:
                assert await ids(agent, "texts", "sea") == ["sea", "river"]

        asyncio.run(run())


def test_roles_see_their_passages(
    database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any], postgres: PostgresUnderTest
):
    """Every tool sees what row-level security shows the role of the URL."""
    database.create_collection("texts", encoder="none").add(TEXTS)
    role, writer, owner = postgres.create_role(), postgres.create_role(), postgres.create_role()
    grant(database.url, role[0], writer[0], owner[0])
    isolate_tenants(connection)
    restricted = f"{url_as(postgres, database.url, role)}&options=-c%20app.tenant%3Db"

    async def run() -> None:
        async with by_stdio(restricted) as agent:
            assert sorted(await ids(agent, "texts", "sea bank")) == ["bank", "sea"]
            assert await ids(agent, "texts", "river") == []
            assert await ids(agent, "texts", "sea", where='$.tenant == "a"') == []
            found = answer(await agent.call_tool("get_passages", {"collection": "texts", "ids": ["river", "sea"]}))
            assert ([each["id"] for each in found["passages"]], found["missing"]) == (["sea"], ["river"])
            assert answer(await agent.call_tool("stats", {"collection": "texts"}))["passages"] == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    ("tool", "given", "told"),
    [
        ("search", {"query": "sea"}, "the field collection is missing; give it"),
        ("search", {"collection": "texts"}, "the field query is missing; give it"),
        ("search", {"collection": "texts", "query": " "}, "query"),
        ("search", {"collection": "nothing", "query": "sea"}, "no collection 'nothing'"),
        ("search", {"collection": "texts", "query": "sea", "k": 0}, "k is 0"),
        ("search", {"collection": "texts", "query": "sea", "k": "five"}, "k is 'five'; give a valid integer"),
        ("search", {"collection": "texts", "query": "sea", "k": 10**6}, "give at most 1,000"),
        ("search", {"collection": "texts", "query": "sea", "mode": "best"}, "mode is 'best'"),
        ("search", {"collection": "texts", "query": "sea", "mode": "late"}, "texts only"),
        ("search", {"collection": "texts", "query": "sea", "where": {"year": {"$after": 1}}}, "no operator '$after'"),
        ("search", {"collection": "texts", "query": "sea", "where": "$.year ="}, "where"),
        ("search", {"collection": "texts", "query": "sea", "wher": {}}, "did you mean where"),
        ("get_passages", {"collection": "texts", "ids": "sea"}, "ids is 'sea'"),
        ("get_passages", {"collection": "texts", "ids": []}, "ids has 0 entries"),
        ("stats", {"collection": 3}, "collection is 3; give a valid string"),
        ("explain_match", {"collection": "docs", "query": "sea", "id": "nobody"}, "no passage 'nobody'"),
        ("list_collections", {"all": True}, "no field 'all'"),
        ("delete", {}, "there is no tool 'delete'; call one of list_collections, search"),
    ],
)
def test_errors_say_what_to_do(filled: pgretrieval.RetrievalDatabase, tool: str, given: dict[str, Any], told: str):
    """A wrong call is a result that says what is wrong and what to do."""

    async def run() -> None:
        async with inside(filled) as agent:
            text = error(await agent.call_tool(tool, given))
            assert told in text
            assert "; " in text

    asyncio.run(run())


def test_a_server_that_goes_away_is_an_error_of_the_tool(texts: pgretrieval.Collection, database_url: str):
    """A lost database is told without its address, and the next call connects again."""
    with pgretrieval.connect(database_url) as database:

        async def run() -> None:
            async with inside(database) as agent:
                await ids(agent, "texts", "sea")
                database._database.url = "postgresql://127.0.0.1:1/none"
                _end_sessions(database_url)
                assert "the database cannot answer now" in error(await agent.call_tool("list_collections", {}))
                database._database.url = database_url
                assert await ids(agent, "texts", "sea") == ["sea", "river"]

        asyncio.run(run())


def test_the_arguments_reach_the_search(filled: pgretrieval.RetrievalDatabase):
    """k, mode, where and min_score are those of the search, and k, mode and where those of its explanation."""
    collection = filled.get_collection("docs")

    async def run() -> None:
        async with inside(filled) as agent:
            query = "the salt of the sea in a bank"
            searches = {"late": collection.search, "words": collection.text_search, "hybrid": collection.hybrid_search}
            for mode, search in searches.items():
                found = [hit.id for hit in search(query)]
                assert await ids(agent, "docs", query, mode=mode) == found
                assert await ids(agent, "docs", query, mode=mode, k=1) == found[:1]
                assert await ids(agent, "docs", query, mode=mode, min_score=search(query)[1].score + 1e-3) == found[:1]
            assert sorted(await ids(agent, "docs", query, where={"tenant": "b"})) == ["bank", "sea"]
            last = {"collection": "docs", "query": query, "id": found[-1]}
            for given, rank in (({}, 3), ({"k": 1}, None), ({"where": {"tenant": "none"}}, None)):
                why = answer(await agent.call_tool("explain_match", {**last, **given}))
                assert (why["rank"], why["mode"]) == (rank, "hybrid")
                assert any("where=" in each for each in why["lacks"]) == ("where" in given)

    asyncio.run(run())


def test_more_calls_than_may_wait(texts: pgretrieval.Collection, database_url: str):
    """Beyond those at work and those that may wait, a call is an error that says so; none of the others is lost."""
    with pgretrieval.connect(database_url) as database, psycopg.connect(database_url) as locking:
        locking.execute("lock table pgretrieval.passage in access exclusive mode")

        async def run() -> None:
            async with inside(database, concurrency=1) as agent:
                asked = {"collection": "texts", "ids": ["sea"]}
                calls = [asyncio.create_task(agent.call_tool("get_passages", asked)) for _ in range(5)]
                await asyncio.to_thread(until_waiting, database_url)
                assert "TooManyRequests: 5 requests are at work" in error(await agent.call_tool("get_passages", asked))
                locking.rollback()
                assert {answer(await call)["passages"][0]["id"] for call in calls} == {"sea"}

        asyncio.run(run())


def _end_sessions(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("way", ["cancelled", "too slow"])
def test_calls_that_are_given_up(texts: pgretrieval.Collection, database_url: str, way: str):
    """A call that its agent cancels, or that takes too long, ends its statement in the database."""
    with pgretrieval.connect(database_url) as database, psycopg.connect(database_url) as locking:
        locking.execute("lock table pgretrieval.passage in access exclusive mode")

        async def run() -> None:
            async with inside(database, seconds=0.5 if way == "too slow" else 30.0) as agent:
                call = asyncio.create_task(agent.call_tool("get_passages", {"collection": "texts", "ids": ["sea"]}))
                await asyncio.to_thread(until_waiting, database_url)
                if way == "too slow":
                    assert "took longer than 0.5 seconds" in error(await call)
                else:
                    call.cancel()
                    await asyncio.wait([call])
                deadline = time.monotonic() + SECONDS
                while database._database.in_use:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                locking.rollback()
                assert await ids(agent, "texts", "sea") == ["sea", "river"]

        asyncio.run(run())


def test_calls_given_up_before_they_begin_leave_their_places(texts: pgretrieval.Collection, database_url: str):
    """Calls that are cancelled while all threads are busy leave no place taken."""
    with pgretrieval.connect(database_url, connections=1) as database, psycopg.connect(database_url) as locking:
        locking.execute("lock table pgretrieval.passage in access exclusive mode")

        async def run() -> None:
            service = Service(database, ServiceOptions())
            async with Client(create_server(service)) as agent:
                asked = {"collection": "texts", "ids": ["sea"]}
                calls = [asyncio.create_task(agent.call_tool("get_passages", asked)) for _ in range(3)]
                await asyncio.to_thread(until_waiting, database_url)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                deadline = time.monotonic() + SECONDS
                while service.calls.running:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)

        asyncio.run(run())


def test_standard_output_has_the_protocol_alone(texts: pgretrieval.Collection, database_url: str, postgres: PostgresUnderTest):
    """Every line of standard output is a message, and causes of errors are on standard error; the end of input ends the process."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {**asked, "params": {"name": "search", "arguments": {"collection": "texts", "query": "sea"}}},
        {**asked, "id": 2, "params": {"name": "search", "arguments": {"collection": "nothing", "query": "sea"}}},
        {**asked, "id": 3, "params": {"name": "list_collections", "arguments": {}}},
    ]
    with subprocess.Popen(
        command(database_url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = []
        for message in messages:
            if message.get("id") == 3:
                postgres.drop_database(database_url)
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            if "id" in message:
                lines.append(process.stdout.readline())
        rest, printed = process.communicate(timeout=SECONDS)
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2, 3]
    assert (process.returncode, rest) == (0, "")
    number = re.search(r"as error (\w+)", lines[-1])
    assert number is not None
    assert re.search(rf"^\d{{4}}-\d\d-\d\d [\d:,]+ error {number[1]}: ", printed, re.MULTILINE)
    assert "Traceback" not in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_process(made_before: None, data_dir: Path, number: signal.Signals):
    """A signal ends the process although standard input is open, and stops the embedded server."""
    words = [sys.executable, "-m", "pgretrieval", "--data-dir", str(data_dir), "mcp"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "ping"}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 0
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert process.stdout.read() + process.stderr.read() == ""
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_a_missing_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch):
    """Without the packages of the extra, the error says which to install."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    code, printed, told = command("mcp")
    assert (code, printed) == (1, "")
    assert "`pgretrieval mcp` needs mcp; install the extra: pip install 'pgretrieval[mcp]'" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--http", "8081"], "give an address and a port, such as 127.0.0.1:8081"),
        (["--http", ":8081"], "give an address and a port"),
        (["--http", "127.0.0.1:x"], "give an address and a port"),
        (["--http", "127.0.0.1:99999"], "65,535"),
        (["--http", "0.0.0.0:0"], "there is no token"),
        (["--http", "nowhere.invalid:0"], "no address of this machine"),
        (["--http", "127.0.0.1:0", "--token-file", "nothing there"], "token file"),
        (["--token-file", "token"], "only HTTP has tokens"),
    ],
)
def test_wrong_options(command: Command, arguments: list[str], told: str):
    """A wrong address or token is an error of one line."""
    code, printed, line = command("mcp", *arguments)
    assert (code, printed) == (1, "")
    assert told in line
    assert line.count("\n") == 1
