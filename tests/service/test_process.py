"""`pgretrieval serve` as a process: options, signals, ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

import pgretrieval
from pgretrieval.serve.options import TOKEN_VARIABLE
from tests.support.serving import failed, process, until

VECTORS = [[1.0] + [0.0] * 63]
SEARCH = "/v1/collections/given/search"


def fill(url: str) -> None:
    """A collection that needs no model."""
    with pgretrieval.connect(url=url) as database:
        database.create_collection("given").add([{"id": "x", "text": "one"}], vectors=[VECTORS])


def test_sigterm_finishes_what_has_begun(database_url: str, connection: psycopg.Connection[Any]):
    """While a request is at work the service listens, is not ready, and refuses others; then it ends with exit code 0."""
    fill(database_url)
    with process(database_url) as running, running.started() as client, ThreadPoolExecutor() as threads:
        assert client.post(SEARCH, json={"vectors": VECTORS}).json()["hits"][0]["id"] == "x"
        assert client.get("/readyz").status_code == 200
        with connection.transaction():
            connection.execute("lock table pgretrieval.passage in access exclusive mode")
            begun = threads.submit(client.post, SEARCH, json={"vectors": VECTORS})
            until(lambda: "pgretrieval_requests_running 1.0" in client.get("/metrics").text)
            running.process.send_signal(signal.SIGTERM)
            until(lambda: client.get("/readyz").status_code == 503)
            assert failed(client.post(SEARCH, json={"vectors": VECTORS}), 503)["type"] == "ShuttingDown"
            assert client.get("/healthz").status_code == 200
        assert begun.result().json()["hits"][0]["id"] == "x"
        code, errors = running.ended()
    assert code == 0
    assert "Traceback" not in errors
    assert re.search(r"POST /v1/collections/given/search 200 [\d.]+ ms 127\.0\.0\.1\n", errors)


def test_a_second_signal_ends_at_once(database_url: str, connection: psycopg.Connection[Any]):
    fill(database_url)
    with process(database_url) as running, running.started() as client, ThreadPoolExecutor() as threads:
        with connection.transaction():
            connection.execute("lock table pgretrieval.passage in access exclusive mode")
            begun = threads.submit(client.post, SEARCH, json={"vectors": VECTORS})
            until(lambda: "pgretrieval_requests_running 1.0" in client.get("/metrics").text)
            running.process.send_signal(signal.SIGINT)
            until(lambda: client.get("/readyz").status_code == 503)
            running.process.send_signal(signal.SIGINT)
            code, errors = running.ended()
        assert begun.exception() is not None or begun.result().status_code == 503
    assert code == 0
    assert "Traceback" not in errors


def test_two_services_on_one_port(database_url: str):
    """The second ends with an error that names the port; the first goes on."""
    with process(database_url) as first, first.started() as client:
        port = client.base_url.port
        with process(database_url, "--port", str(port)) as second:
            code, errors = second.ended()
        assert code == 1
        taken = f"error: cannot listen on 127.0.0.1 port {port}: Address already in use"
        assert errors == f"{taken}; stop what listens there, or give another --port\n"
        assert client.get("/readyz").status_code == 200


def test_the_environment_gives_the_token(database_url: str):
    """With PGRETRIEVAL_TOKEN the service may listen beyond loopback; without a token it ends before it connects."""
    token = "a-token-of-the-tests-0123456789"
    with process(database_url, "--host", "0.0.0.0", **{TOKEN_VARIABLE: token}) as running, running.started() as client:
        failed(client.get("/v1/collections"), 401)
        answer = client.get("/v1/collections", headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == {"collections": []}
    with process("postgresql://nowhere.invalid/x", "--host", "0.0.0.0") as refused:
        code, errors = refused.ended()
    assert code == 1
    assert "there is no token; give --token-file or set PGRETRIEVAL_TOKEN" in errors


def test_the_options_reach_the_service(database_url: str, tmp_path: Path):
    """So do models of collections, which are loaded before the service is ready."""
    fill(database_url)
    with pgretrieval.connect(url=database_url) as database:
        database.create_collection("docs", encoder="minilm")
    (tmp_path / "token").write_text("a-token-of-the-tests-0123456789")
    arguments = ["--write", "--max-k", "5", "--max-body", "500", "--token-file", tmp_path / "token"]
    with process(database_url, *arguments) as running, running.started() as client:
        client.headers["Authorization"] = "Bearer a-token-of-the-tests-0123456789"
        shown = client.get("/v1/collections/given").json()
        assert shown["writable"] is True
        assert "pgretrieval_model_texts_count 1.0" in client.get("/metrics").text
        assert "at most 5" in failed(client.post(SEARCH, json={"vectors": VECTORS, "k": 6}), 400)["remedy"]
        failed(client.post(SEARCH, content=b"x" * 501), 413)


def test_a_missing_extra_is_named():
    """Without the extra, the command says what to install."""
    code = """if True:
        import sys
        sys.modules["starlette"] = sys.modules["uvicorn"] = None
        sys.argv = ["pgretrieval", "serve"]
        from pgretrieval.cli.main import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: `pgretrieval serve` needs starlette, uvicorn; install the extra: pip install 'pgretrieval[serve]'"
    )
