"""Who may ask: tokens, and without one only this machine's own programs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgretrieval
from pgretrieval.errors import ConfigError
from pgretrieval.serve.options import TOKEN_VARIABLE, ServiceOptions, listen, read_token
from tests.support.serving import Serving, failed, serving

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture
def guarded(database: pgretrieval.RetrievalDatabase) -> Iterator[Serving]:
    with serving(database, token=TOKEN) as running:
        yield running


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ü", f"bearer{TOKEN}"]
)
@pytest.mark.parametrize("path", ["/v1/collections", "/v1/nothing", "/metrics", "/nothing"])
def test_without_the_token(guarded: Serving, path: str, given: str | None):
    """Whoever lacks the token learns nothing, not even which paths there are."""
    headers = {} if given is None else {"Authorization": given.encode()}
    answer = guarded.client.get(path, headers=headers)
    failed(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token(guarded: Serving, scheme: str):
    """With the token, requests may come from anywhere, as through a proxy."""
    headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "search.example.com", "Origin": "https://example.com"}
    assert guarded.client.get("/v1/collections", headers=headers).json() == {"collections": []}
    assert guarded.client.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json", "/page/page.js", "/page/heat_map.css"])
def test_what_needs_no_token(guarded: Serving, path: str):
    """The page, which asks for the token, probes and the description are open: they have nothing of the database."""
    assert guarded.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:8080", "10.0.0.1", "[::2]", "", "localhost.evil.com", "127.0.0.1.evil.com"]
)
def test_hosts_of_others(module_service: Serving, host: str):
    """A page that resolves its own name to 127.0.0.1 reaches nothing."""
    error = failed(module_service.client.get("/v1/collections", headers={"Host": host}), 400)
    assert error["type"] == "WrongHost"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "[::1]:8080", "LOCALHOST", "127.1.2.3"])
def test_hosts_of_this_machine(module_service: Serving, host: str):
    assert module_service.client.get("/v1/collections", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example.com", "null", "https://127.0.0.1:1", "http://localhost"])
def test_pages_of_others(module_service: Serving, origin: str):
    """A page of another site, open in a browser of this machine, may not send requests."""
    answer = module_service.client.post("/v1/encode", json={"collection": "docs", "queries": ["a"]}, headers={"Origin": origin})
    assert failed(answer, 400)["type"] == "WrongOrigin"
    assert "access-control-allow-origin" not in answer.headers


def test_the_own_page(module_service: Serving):
    assert module_service.client.get("/v1/collections", headers={"Origin": module_service.url}).status_code == 200


def test_listening_beyond_loopback_needs_a_token():
    for host in ("0.0.0.0", "::", ""):
        with pytest.raises(ConfigError, match=r"--token-file|--host is ''"):
            listen(host, 0, has_token=False)
    listen("0.0.0.0", 0, has_token=True).close()
    for host in ("127.0.0.1", "localhost", "127.0.0.2"):
        listen(host, 0, has_token=False).close()


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("no such host", 0, "no address of this machine"),
        ("192.0.2.1", 0, "cannot listen on 192.0.2.1"),
        ("127.0.0.1", 70_000, "--port is 70000"),
        (" ", 0, "--host is ' '"),
    ],
)
def test_addresses_that_cannot_be_had(host: str, port: int, message: str):
    with pytest.raises(ConfigError, match=message):
        listen(host, port, has_token=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_body", 0), ("max_k", -1), ("concurrency", 0), ("concurrency", 1_001), ("seconds", 0.0), ("seconds", float("nan"))],
)
def test_limits_that_are_none(name: str, value: float):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is"):
        ServiceOptions(**{name: value})


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0, has_token=False) as taken, pytest.raises(ConfigError, match=r"in use; .*--port"):
        listen("127.0.0.1", taken.getsockname()[1], has_token=False)


def test_a_port_whose_last_connection_has_just_ended():
    """A service that restarts gets its port, although the system still remembers connections that it closed."""
    with listen("127.0.0.1", 0, has_token=False) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            first.accept()[0].close()
            assert client.recv(1) == b""
    listen("127.0.0.1", port, has_token=False).close()


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file precedes the environment; spaces around the token do not count."""
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f" {TOKEN}2\n")
    assert read_token(tmp_path / "token") == f"{TOKEN}2"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words that are long enough", "ü".encode() * 20, b"\xff" * 20, b"x" * 15 + b"\0"]
)
def test_tokens_that_protect_nothing(tmp_path: Path, content: bytes):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="token") as raised:
        read_token(tmp_path / "token")
    assert "short" not in str(raised.value)


def test_a_token_file_that_is_missing(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read.*give a text file"):
        read_token(tmp_path / "token")
