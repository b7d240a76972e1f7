"""Training of psi: hidden directions sampled from the collection's tokens, output weights by reduced-rank regression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pgretrieval.numerics.proxy_model import RANK, ProxyModel, hidden_layer
from pgretrieval.numerics.proxy_targets import best_similarities
from pgretrieval.types import Tick, TokenMatrix

FEATURES = 4096
ANCHORS = 4096
_FEATURES_AT_LEAST = 256
_TOKENS_PER_FEATURE = 8
_TOKENS = 12_288
_PASSAGES = 2048
_RIDGE = 1e-2  # share of the mean diagonal
_OVERSAMPLED = 32
_POWER_ROUNDS = 2


def train_proxy(sample: TokenMatrix, seed: int = 0, device: torch.device | None = None, tick: Tick | None = None) -> ProxyModel:
    """Train on (tokens, dim) vectors of sampled passages.

    LEMUR learns psi by gradient descent. Here the hidden layer takes random tokens of the collection as its directions, and the
    output layer is the best one of its rank in closed form: the regression of the passages' best similarities on the hidden
    layer, cut to the RANK directions that explain most of the fitted values (reduced-rank regression; docs/design compares
    the two). Same sample and seed give the same model.
    """
    device, tick = device or torch.device("cpu"), tick or _silent
    tick(0, 2)
    generator = np.random.default_rng(seed)
    count = len(sample.vectors)
    tokens = _as_stored(sample.vectors[generator.permutation(count)[:_TOKENS]])
    features = min(FEATURES, max(_FEATURES_AT_LEAST, count // _TOKENS_PER_FEATURE))
    directions = _as_stored(sample.vectors[generator.permutation(count)[:features]])
    learnt = best_similarities(tokens.to(device), _passages(sample, generator.permutation(len(sample))[:_PASSAGES]))
    tick(1, 2)
    baseline = learnt.mean(dim=1)
    threshold = float((tokens[:1024] @ directions.T).median())
    hidden = hidden_layer(tokens.to(device), directions.to(device), threshold)
    projection = _reduced_rank(hidden, learnt - baseline[:, None], seed).cpu()
    tick(2, 2)
    return ProxyModel(directions.numpy(), threshold, projection.numpy(), tokens[:ANCHORS].numpy(), baseline[:ANCHORS].cpu().numpy())


def _silent(_done: int, _steps: int) -> None:
    pass


def _reduced_rank(hidden: Tensor, targets: Tensor, seed: int) -> Tensor:
    """(tokens, features), (tokens, passages) -> (features, RANK) output weights; unused columns are zero."""
    gram = hidden.T @ hidden
    gram.diagonal().add_(_RIDGE * float(gram.diagonal().mean()))
    lower = torch.linalg.cholesky(gram)
    fitted = torch.linalg.solve_triangular(lower, hidden.T @ targets, upper=False)
    left, strength = _leading_directions(fitted, min(RANK, *fitted.shape), seed)
    weights = torch.linalg.solve_triangular(lower.T, left * strength.sqrt(), upper=True)
    padded: Tensor = torch.nn.functional.pad(weights, (0, RANK - weights.shape[1]))
    return padded


def _leading_directions(matrix: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """(rows, columns) -> (rows, rank) left singular vectors and the singular values, by randomised subspace iteration."""
    generator = torch.Generator().manual_seed(seed)
    width = min(rank + _OVERSAMPLED, *matrix.shape)
    basis = matrix @ torch.randn(matrix.shape[1], width, generator=generator).to(matrix.device)
    for _ in range(_POWER_ROUNDS):
        basis = matrix @ (matrix.T @ torch.linalg.qr(basis).Q)
    basis = torch.linalg.qr(basis).Q
    left, strength, _ = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    used = strength[:rank] * (strength[:rank] > 1e-6 * strength[0])
    return basis @ left[:, :rank], used


def _passages(sample: TokenMatrix, chosen: np.ndarray) -> TokenMatrix:
    """Return the chosen passages of the sample."""
    parts = [sample.vectors[sample.offsets[i] : sample.offsets[i + 1]] for i in chosen.tolist()]
    return TokenMatrix(np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]))


def _as_stored(vectors: np.ndarray) -> Tensor:
    """Round to half precision as stored."""
    return torch.from_numpy(np.ascontiguousarray(vectors)).half().float()
