"""Fingerprints of cross-encoders: from all parameters of the library's models, from an attribute or sample scores of others."""

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
"""Sample pairs whose scores identify objects without an attribute `fingerprint`."""

_SAMPLED = 1024  # sampled numbers of each weight matrix
_DIGITS = 3  # further digits differ between processors
_CONFIGURED = (
    "model_type",
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
    "position_embedding_type",
    "pad_token_id",
    "vocab_size",
    "num_labels",
)


def of_library_model(model: Any) -> str:
    """Return the fingerprint of weights, settings and tokenizer."""
    import torch

    digest = hashlib.sha256(json.dumps([_settings(model), _tokenizer(model.tokenizer)]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return f"model {digest.hexdigest()[:32]}"


def mark_of_library_model(model: Any) -> tuple[Any, ...]:
    """Return a mark that changes when the model changes, computed within milliseconds.

    It consists of settings, torch's version counters and, for changes that these miss, some numbers of every matrix.
    """
    import torch

    tensors = [tensor.detach() for _, tensor in sorted(model.state_dict().items())]
    flat = [tensor.flatten() for tensor in tensors]
    some = torch.cat([one[:: max(1, len(one) // _SAMPLED)].double() for one in flat])
    digest = hashlib.sha256(some.cpu().numpy().tobytes()).hexdigest()
    return _settings(model), len(model.tokenizer), [tensor._version for tensor in tensors], digest


def _settings(model: Any) -> str:
    config = getattr(model, "config", None)
    configured = [str(getattr(config, key, None)) for key in _CONFIGURED]
    prompt = [str(getattr(model, key, None)) for key in ("prompts", "default_prompt_name")]
    heads = [
        [type(module).__name__, *(f"{key} {getattr(module, key, None)!r}" for key in getattr(module, "config_keys", ()))]
        for module in list(model)[1:]  # the first is the transformer, covered by the rest
    ]
    return json.dumps([configured, prompt, heads, str(model.max_seq_length)])


def _tokenizer(tokenizer: Any) -> str:
    """Return its vocabulary and rules, without truncation and padding, which change with each batch."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(sorted(tokenizer.get_vocab().items()))
    return json.dumps({key: rule for key, rule in json.loads(backend.to_str()).items() if key not in ("truncation", "padding")})


def of_object(mark: Any) -> str:
    """Return the fingerprint from an object's attribute `fingerprint`."""
    return f"given {mark() if callable(mark) else mark}"


def of_scores(scores: Float32Array) -> str:
    """Return the fingerprint from scores of the probes."""
    return "scores " + " ".join(f"{score:.{_DIGITS}e}" for score in scores.tolist())
