"""Computes `pgretrieval/encode/minilm_projection.safetensors`: the 384 -> 128 projection of MiniLM token vectors.

The texts are the docstrings of the Python standard library that runs this script. The projection is the uncentred
principal component analysis of their unit-length token vectors.

    python tools/compute_projection.py [--output FILE]
"""

from __future__ import annotations

import argparse
import ast
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgretrieval.encode import minilm

SKIPPED_FOLDERS = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idle_test"}
MIN_CHARACTERS = 40
BATCH = 8


def docstrings(folder: Path) -> Iterator[str]:
    """Every docstring of at least 40 characters below `folder`, files in path order; no module is imported."""
    for file in sorted(folder.rglob("*.py")):
        if SKIPPED_FOLDERS.intersection(file.relative_to(folder).parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text and len(text) >= MIN_CHARACTERS:
                    yield text
