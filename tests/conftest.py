"""Shared by all tests: a clean environment, markers, and the fixtures in tests/fixtures."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

# Tests import helpers as tests.support.…, from whichever directory pytest was started.
sys.path.insert(0, str(Path(__file__).parent.parent))

# A developer's own settings must not decide what the tests talk to.
for _variable in [name for name in os.environ if name.startswith("PGRETRIEVAL_") and not name.startswith("PGRETRIEVAL_TEST_")]:
    del os.environ[_variable]

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.collections", "tests.fixtures.models", "tests.fixtures.cli"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_versions: run on every server version at hand, not on the newest alone")
    for name in ("benchmark", "vcr"):
        config.addinivalue_line("markers", f"{name}: used by tests of langchain-tests that are not run here")


def pytest_collection_finish() -> None:
    """Leave the imported libraries out of later garbage collections: trainings start several, of half a second each."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests on the first kind of server, or on all kinds if marked."""
    from tests.fixtures.postgres import server_kinds

    if "postgres" in metafunc.fixturenames:
        kinds = server_kinds()
        everywhere = metafunc.definition.get_closest_marker("both_versions") is not None
        metafunc.parametrize("postgres", kinds if everywhere else kinds[:1], indirect=True, scope="session")
