"""Commands that need no model do not import model packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import pgretrieval
from tests.fixtures.collections import Corpus

LIBRARIES = [
    "transformers",
    "sentence_transformers",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "datasets",
    "matplotlib",
    "ir_measures",
]
MODELS = ["torch", "llvmlite", "safetensors", "tokenizers", *LIBRARIES]
SCHEMA = ["sqlalchemy", "alembic"]
RUN = """if True:
    import sys
    from pgretrieval.cli.main import main
    heavy = sys.argv.pop(1).split(",")
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
    assert [name for name in heavy if name in sys.modules] == []
"""


@pytest.fixture(scope="module")
def url(module_database: pgretrieval.RetrievalDatabase, built: pgretrieval.Collection, corpus: Corpus) -> str:
    """A database with built collections of both scanners."""
    tokens = module_database.create_collection("tokens", scorer="xtr")
    tokens.add(corpus.passages[:40], vectors=corpus.vectors[:40])
    tokens.build()
    assert not built.check()
    module_database.create_collection("starting", encoder="minilm").add([{"id": "1", "text": "Snow melts."}])
    return module_database.url


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("--help", MODELS + SCHEMA + ["psycopg"]),
        ("list", MODELS + SCHEMA),
        ("stats shared", MODELS + SCHEMA),
        ("stats tokens --json", MODELS + SCHEMA),
        ("check", MODELS + SCHEMA),
        ("delete shared nothing", MODELS + SCHEMA),
        ("compact shared", MODELS + SCHEMA),
        ("privileges --reader r --writer w --owner o", MODELS + SCHEMA),
        ("migrate", MODELS),
        ("migrate --sql", MODELS),
        ("doctor", MODELS if version("torch").endswith("+cpu") else LIBRARIES),
        ("search starting snow", LIBRARIES + SCHEMA),
    ],
)
def test_command_does_without_heavy_packages(url: str, command: str, absent: list[str]) -> None:
    arguments = [sys.executable, "-c", RUN, ",".join(absent), "--database", url, *command.split()]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
