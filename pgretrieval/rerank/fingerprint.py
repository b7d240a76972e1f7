"""Telling a cross-encoder from what it was: weights of the library's models, a mark or sample scores of other objects."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pgretrieval.types import Float32Array

PROBES = (
    ("what is a river", "A river is a natural stream of water that flows to the sea."),
    ("what is a river", "A bank lends money."),
    ("BRCA1", "breast-ovarian cancer, familial, susceptibility to, 1"),
    ("how do I list files", "tar: archiving utility"),
)
"""What objects without a mark of their own are told apart by."""

_SAMPLED = 4096  # numbers of each weight matrix
_DIGITS = 3  # processors differ in the last ones


def of_library_model(model: Any) -> str:
    """From the configuration, and from numbers out of every weight matrix, evenly spread."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        step = max(1, len(flat) // _SAMPLED)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(flat[::step].cpu().float().numpy().tobytes())
    config = getattr(model, "config", None)
    digest.update(json.dumps([str(getattr(config, key, None)) for key in _CONFIGURED]).encode())
    digest.update(str(model.max_seq_length).encode())
    return f"weights {digest.hexdigest()[:32]}"


_CONFIGURED = ("model_type", "hidden_act", "layer_norm_eps", "vocab_size", "num_labels")


def of_object(mark: Any) -> str:
    """From an object's own attribute `fingerprint`."""
    return f"given {mark() if callable(mark) else mark}"


def of_scores(scores: Float32Array) -> str:
    """From its scores of the probes."""
    return "scores " + " ".join(f"{score:.{_DIGITS}e}" for score in scores.tolist())
