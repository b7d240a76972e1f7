"""Adapters are imported on request, and a missing framework is an error that names its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack", "mteb": "mteb"}


def test_no_adapter_is_imported_with_the_package():
    code = f"import pgretrieval, pgretrieval.database, sys; print({{*{[*FRAMEWORKS.values()]}}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("name", "package"), FRAMEWORKS.items())
def test_a_missing_extra_is_named(name: str, package: str):
    """The error is one of the package and an ImportError; other failures of an import are not hidden by it."""
    code = f"""if True:
        import sys
        sys.modules[{package!r}] = None
        import pgretrieval
        try:
            import pgretrieval.integrations.{name}
        except ImportError as error:
            assert isinstance(error, pgretrieval.MissingExtraError)
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    install = f"pip install 'pgretrieval[{name.replace('_', '-')}]'"
    assert done.stdout.strip().startswith(f"pgretrieval.integrations.{name} needs {package}")
    assert done.stdout.strip().endswith(f"; install the extra: {install}")
