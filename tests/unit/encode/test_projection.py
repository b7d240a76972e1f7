"""The shipped projection equals the tool's on a sample of its texts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pgretrieval.encode import minilm
from pgretrieval.encode.projected import DIM, PROJECTION_KEY

TOOL = Path(__file__).parents[3] / "tools" / "compute_projection.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compute_projection", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shipped() -> Any:
    return load_file(minilm.projection_file("1"))[PROJECTION_KEY].astype(np.float64)


def test_groups_hold_every_word_in_every_round(tool: ModuleType) -> None:
    words = [f"w{number}" for number in range(10)]
    texts = tool.word_groups(words, rounds=2, group=4)
    assert [len(text.split()) for text in texts] == [4, 4, 2] * 2
    assert sorted(" ".join(texts).split()) == sorted(words * 2)
    assert texts == tool.word_groups(words, rounds=2, group=4)
    assert texts != tool.word_groups(words, rounds=2, group=4, seed=1)


def test_directions_of_a_known_moment(tool: ModuleType) -> None:
    found = tool.damped_directions(np.diag([1.0, 81.0, 16.0]), 2, 0.25)
    np.testing.assert_allclose(found, [[0, 1 / 3, 0], [0, 0, 1 / 2]], atol=1e-6)


def test_shipped_rows_are_orthogonal_and_damped(shipped: Any) -> None:
    assert shipped.shape == (DIM, 384)
    norms = np.linalg.norm(shipped, axis=1)
    assert (np.diff(norms) > 0).all()  # row k is divided by the fourth root of its falling variance
    directions = shipped / norms[:, None]
    np.testing.assert_allclose(directions @ directions.T, np.eye(DIM), atol=1e-5)


def test_shipped_directions_are_the_strongest_of_a_sample(tool: ModuleType, shipped: Any) -> None:
    import torch

    transformer = minilm.load_transformer(torch.float32)
    texts = tool.word_groups(tool.vocabulary(transformer.tokenizer)[::8], rounds=1)
    moment = tool.second_moment(transformer, texts)
    norms = np.linalg.norm(shipped, axis=1)
    directions = shipped / norms[:, None]
    kept = np.einsum("ij,jk,ik->i", directions, moment, directions)
    assert kept.sum() > 0.97 * np.linalg.eigvalsh(moment)[-DIM:].sum()
    np.testing.assert_allclose(norms, kept**-0.25, rtol=0.1)
