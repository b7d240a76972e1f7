"""Compute the 384 -> 128 projections of token vectors of "minilm@1" and "multilingual", in `pgretrieval/encode`.

The texts are random groups of three words of the model's vocabulary, with every word in three groups. Their token vectors are
scaled to length 1. The projection is their 128 first principal directions, without centring, each divided by the fourth root of its
variance so that the few strongest do not dominate. For "multilingual", which knows 124,522 words, it is computed from a sample of
them, drawn by seed.

    python tools/compute_projection.py [--encoder multilingual] [--output FILE]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgretrieval.encode import minilm, multilingual
from pgretrieval.encode.e5_file import read_e5
from pgretrieval.encode.library import quiet
from pgretrieval.encode.projected import DIM, DOCUMENT, PROJECTION_KEY

ROUNDS = 3
GROUP = 3
DAMPING = 0.25
BATCH = 256
SEED = 0
SAMPLE = 12_000
"""Words of the vocabulary of "multilingual"."""


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

    def states(batch: list[str]) -> Any:
        inputs = transformer.tokenizer(batch, padding=True, return_tensors="pt")
        with torch.inference_mode():
            return transformer.model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]

    return mean_of_products(states, texts)


def mean_of_products(states: Callable[[list[str]], Any], texts: Iterable[str]) -> NDArray[np.float64]:
    """(width, width) mean of x xᵀ over the unit-length rows x of the states of all texts."""
    import torch

    listed = list(texts)
    total: Any = 0.0
    tokens = 0
    for start in range(0, len(listed), BATCH):
        units = torch.nn.functional.normalize(states(listed[start : start + BATCH]), dim=1)
        total = total + (units.T @ units).double().numpy()
        tokens += len(units)
    return np.asarray(total / tokens)


def damped_directions(moment: NDArray[np.float64], count: int, damping: float = DAMPING) -> NDArray[np.float32]:
    """(count, width) eigenvectors of a (width, width) matrix, strongest first, each divided by its eigenvalue**damping.

    The signs are such that the largest entry of every row is positive.
    """
    values, vectors = np.linalg.eigh(moment)
    rows = vectors[:, ::-1][:, :count].T * values[::-1][:count, None] ** -damping
    largest = np.abs(rows).argmax(axis=1)
    signs = np.sign(rows[np.arange(count), largest])
    return np.ascontiguousarray(rows * signs[:, None], dtype=np.float32)


def of_minilm() -> tuple[NDArray[np.float64], str]:
    """The moment of MiniLM's token vectors, and what it was computed from."""
    import torch

    with quiet():
        transformer = minilm.load_transformer(torch.float32)
    texts = word_groups(vocabulary(transformer.tokenizer))
    return second_moment(transformer, texts), f"{len(texts)} groups of {GROUP} words of the model's vocabulary"


def of_multilingual() -> tuple[NDArray[np.float64], str]:
    """The moment of the token vectors of "multilingual", without those of prefixes and markers, and what it was computed from."""
    import torch

    encoder = multilingual.MultilingualEncoder("cpu", torch.float32)
    pieces = read_e5(multilingual.model_file()).pieces
    begins = "\N{LOWER ONE EIGHTH BLOCK}"
    known = sorted(word[1:] for word, _ in pieces if word.startswith(begins) and len(word) > 3 and word[1:].isalpha())
    words = random.Random(SEED).sample(known, SAMPLE)
    texts = word_groups(words)

    def states(batch: list[str]) -> Any:
        return torch.cat([rows[1 + multilingual.PREFIX_TOKENS : -1] for rows in encoder.hidden_states(batch, DOCUMENT)])

    return mean_of_products(states, texts), f"{len(texts)} groups of {GROUP} of {SAMPLE} words of the model's vocabulary"


def main() -> None:
    """Compute the projection and write the file."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description="Computes the projection of an encoder of the package.")
    parser.add_argument("--encoder", choices=["minilm@1", multilingual.NAME], default="minilm@1")
    parser.add_argument("--output", type=Path, help="by default the file in the package")
    options = parser.parse_args()
    other = options.encoder == multilingual.NAME
    output: Path = options.output or (multilingual.PROJECTION if other else minilm.projection_file("1"))
    moment, texts = of_multilingual() if other else of_minilm()
    projection = damped_directions(moment, DIM)
    source = f"damped principal directions of {texts}"
    save_file({PROJECTION_KEY: projection}, output, metadata={"source": source})
    sys.stdout.write(f"{output}: {projection.shape}, {source}\n")


if __name__ == "__main__":
    main()
