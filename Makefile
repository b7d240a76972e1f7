# make demo and make test do all the set-up they need.

PYTHON ?= python3
VENV := .venv
# torch first and by its exact version: left to itself pip may fetch another build with gigabytes of libraries.
TORCH := torch==2.13.0

.PHONY: install demo lint check test wheel docs chaos clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench,train,evaluate,docs,files,serve,mcp,langchain,llama-index,haystack,mteb,multilingual]'
	touch $@

demo: install
	$(VENV)/bin/pgretrieval demo

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Two processes of one thread each, a file at a time: two of two threads each would be several times slower on two cores.
# In the order of their names, files of few and long tests are not left to the end, where one process would wait for the other.
# Compiled modules are kept: otherwise each process, and each command that a test starts, would compile them again.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

# What is run before a commit: no network.
check: lint
	$(PYTEST) tests/unit

test: lint
	$(PYTEST)

wheel: install
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/python -m twine check --strict dist/*

docs: install
	$(VENV)/bin/python tools/build_site.py

chaos: install
	$(VENV)/bin/python benchmarks/chaos.py

clean:
	rm -rf $(VENV)
