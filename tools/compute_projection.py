"""Compute `pgretrieval/encode/minilm_projection.safetensors`: the first 384 -> 128 projection of MiniLM token vectors.

The texts are random groups of three words of MiniLM's vocabulary, with every word in three groups. Their token vectors are scaled
to length 1. The projection is their 128 first principal directions, without centring, each divided by the fourth root of its
variance so that the few strongest do not dominate.

    python tools/compute_projection.py [--output FILE]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgretrieval.encode import minilm
from pgretrieval.encode.library import quiet

ROUNDS = 3
GROUP = 3
DAMPING = 0.25
BATCH = 256
SEED = 0


def vocabulary(tokenizer: Any) -> list[str]:
    """The whole words of ASCII letters in a tokenizer's vocabulary, sorted."""
    return sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())


def word_groups(words: list[str], rounds: int = ROUNDS, group: int = GROUP, seed: int = SEED) -> list[str]:
    """Texts of `group` words in random order, in which every word occurs `rounds` times."""
    generator = random.Random(seed)
    texts = []
    for _ in range(rounds):
        shuffled = list(words)
        generator.shuffle(shuffled)
        texts += [" ".join(shuffled[start : start + group]) for start in range(0, len(shuffled), group)]
    return texts


def second_moment(transformer: Any, texts: Iterable[str]) -> NDArray[np.float64]:
    """(384, 384) mean of x xᵀ over the unit-length token vectors x of all texts."""
    import torch

    listed = list(texts)
    total, tokens = np.zeros((transformer.get_embedding_dimension(),) * 2), 0
    for start in range(0, len(listed), BATCH):
        inputs = transformer.tokenizer(listed[start : start + BATCH], padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = transformer.model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
            units = torch.nn.functional.normalize(states, dim=1)
            total += (units.T @ units).double().numpy()
        tokens += len(units)
    return total / tokens


def damped_directions(moment: NDArray[np.float64], count: int, damping: float = DAMPING) -> NDArray[np.float32]:
    """(count, width) eigenvectors of a (width, width) matrix, strongest first, each divided by its eigenvalue**damping.

    The signs are such that the largest entry of every row is positive.
    """
    values, vectors = np.linalg.eigh(moment)
    rows = vectors[:, ::-1][:, :count].T * values[::-1][:count, None] ** -damping
    largest = np.abs(rows).argmax(axis=1)
    signs = np.sign(rows[np.arange(count), largest])
    return np.ascontiguousarray(rows * signs[:, None], dtype=np.float32)


def main() -> None:
    """Compute the projection and write the file."""
    import torch
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description="Computes the projection of the encoder minilm@1.")
    parser.add_argument("--output", type=Path, default=minilm.projection_file("1"))
    output: Path = parser.parse_args().output
    with quiet():
        transformer = minilm.load_transformer(torch.float32)
    texts = word_groups(vocabulary(transformer.tokenizer))
    projection = damped_directions(second_moment(transformer, texts), minilm.DIM)
    source = f"damped principal directions of {len(texts)} groups of {GROUP} words of the model's vocabulary"
    save_file({minilm.PROJECTION_KEY: projection}, output, metadata={"source": source})
    sys.stdout.write(f"{output}: {projection.shape}, {source}\n")


if __name__ == "__main__":
    main()
