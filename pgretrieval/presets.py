"""Presets: the options with which a system of the papers is built and searched, as data; docs/papers.md has their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgretrieval import validate

Options = Mapping[str, Any]

_LIMITS = ("k", "passages")


@dataclass(frozen=True, slots=True)
class Preset:
    """Options of one system.

    Attributes:
        system: Name of the system, with its paper.
        collection: Options of `create_collection`.
        search: Options of searches in rows. The first row applies whose limits, `k` hits and `passages` of the collection, hold.
        factorize: Options of `factorize`.
        model: The kind of model that `pgretrieval train` trains, or "".
        train: Options of that command. The base model and the length of the training are not among them.
    """

    system: str
    collection: Options
    search: Sequence[Options] = ()
    factorize: Options = field(default_factory=dict)
    model: str = ""
    train: Options = field(default_factory=dict)


_COMPRESSED = {"bits": 2, "levels": "quantile"}
_IN_FULL = {"imputation": "kth", "reduction": "mean"}
_DISTILLED = {"ways": 64, "depth": 500, "batch": 32, "learning_rate": 1e-5, "warmup": 0.05}


def _constbert(vectors: int) -> Preset:
    return Preset(
        "ConstBERT (MacAvaney et al. 2025)",
        {**_COMPRESSED, "vectors_per_passage": vectors},
        model="constbert",
        train={"vectors": vectors, "shape": "full", **_DISTILLED},
    )


PRESETS: Mapping[str, Preset] = {
    "colbertv2": Preset(
        "ColBERTv2 (Santhanam et al. 2022)",
        _COMPRESSED,
        ({"generator": "lower_bound", "probes": 2},),
        model="colbert",
        train=_DISTILLED,
    ),
    "plaid": Preset(
        "PLAID (Santhanam et al. 2022)",
        _COMPRESSED,
        (
            {"k": 10, "generator": "centroid_pruning", "probes": 1, "centroid_threshold": 0.5, "candidates": 256},
            {"k": 100, "generator": "centroid_pruning", "probes": 2, "centroid_threshold": 0.45, "candidates": 1024},
            {"generator": "centroid_pruning", "probes": 4, "centroid_threshold": 0.4, "candidates": 4096},
        ),
    ),
    "xtr": Preset(
        "XTR (Lee et al. 2023)",
        {"scorer": "xtr"},
        ({"k_tokens": 40_000, **_IN_FULL},),
        model="xtr",
        train={"k_train": 320, "ways": 2, "batch": 256, "learning_rate": 1e-3},
    ),
    "colxtr": Preset(
        "ColXTR (Bhat and Sen 2025)",
        {"scorer": "colxtr", "rerank": "maxsim"},
        (
            {"passages": 1_000_000, "probes": 10, "k_tokens": 500, **_IN_FULL},
            {"probes": 10, "k_tokens": 10_000, **_IN_FULL},
        ),
        model="xtr",
        train={"k_train": 320, "ways": 2, "batch": 48, "learning_rate": 1e-3, "source": "words"},
    ),
    "constbert": _constbert(32),
    "constbert16": _constbert(16),
    "constbert32": _constbert(32),
    "constbert64": _constbert(64),
    "anncur": Preset(
        "ANNCUR (Yadav et al. 2022)",
        {"encoder": "none"},
        factorize={"selection": "random", "regularisation": "none", "split": "all"},
        model="cross-encoder",
        train={
            "ways": 64,
            "max_tokens": 256,
            "epochs": 4.0,
            "accumulation": 4,
            "learning_rate": 1e-5,
            "warmup": 0.01,
            "weight_decay": 0.01,
        },
    ),
}
"""The presets by name."""


def read_name(name: Any) -> str:
    """Check the name of a preset. Raises ConfigError, which lists the names."""
    return validate.choice("preset", name, tuple(PRESETS))


def read_factorize(name: Any) -> Options:
    """Return the options of `factorize` of a preset that has some. Raises ConfigError, which lists these."""
    having = tuple(name for name, preset in PRESETS.items() if preset.factorize)
    return PRESETS[validate.choice("preset", name, having)].factorize


def read_training(name: Any, model: str | None = None) -> Preset:
    """Return a preset that trains a model, of this kind unless it is None. Raises ConfigError, which lists these."""
    return PRESETS[validate.choice("preset", name, trained(model))]


def trained(model: str | None = None) -> tuple[str, ...]:
    """Return the names of the presets that train a model, of this kind unless it is None."""
    return tuple(name for name, preset in PRESETS.items() if preset.model and model in (None, preset.model))


def completed(given: Options, preset: Options) -> dict[str, Any]:
    """Return the options of a preset and those given, which come first; None leaves an option to the preset."""
    return {**preset, **{name: value for name, value in given.items() if value is not None or name not in preset}}


def row_for(rows: Sequence[Options], k: int, passages: int) -> dict[str, Any]:
    """Return the options of the first row whose limits hold for `k` hits of so many passages, without the limits.

    Candidates are at least four a hit, as in PLAID's code.
    """
    sizes = dict(zip(_LIMITS, (k, passages), strict=True))
    for row in rows:
        if all(sizes[limit] <= row.get(limit, sizes[limit]) for limit in _LIMITS):
            options = {name: value for name, value in row.items() if name not in _LIMITS}
            if "candidates" in options:
                options["candidates"] = min(max(options["candidates"], 4 * k), validate.INT4)
            return options
    return {}


def rows_of_generator(generator: str | None) -> Sequence[Options]:
    """Return the search options of the preset with this generator, if there is one."""
    return next((each.search for each in PRESETS.values() if each.search and each.search[0].get("generator") == generator), ())


def collection_summary(name: str, given: Options) -> str:
    """Return a line with the options of a collection that a preset sets beside those given, and those of later calls."""
    preset = PRESETS[name]
    rows = ((f"searches{_limits(row)}: ", row_for([row], 0, 0)) for row in preset.search)
    return _summary(name, ("", _unset(preset.collection, given)), ("factorize: ", preset.factorize), *rows)


def factorize_summary(name: str, given: Options) -> str:
    """Return a line with the options of `factorize` that a preset sets beside those given."""
    return _summary(name, ("", _unset(read_factorize(name), given)))


def training_summary(name: str, options: Options) -> str:
    """Return a line with the options of a training that a preset sets."""
    return _summary(name, ("", options))


def _unset(preset: Options, given: Options) -> Options:
    return {name: value for name, value in preset.items() if given.get(name) is None}


def _summary(name: str, *parts: tuple[str, Options]) -> str:
    listed = [head + _listed(options) for head, options in parts if options]
    return f"preset {name}, {PRESETS[name].system}: {'; '.join(listed) or 'every option is given'}"


def _listed(options: Options) -> str:
    return ", ".join(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in options.items())


def _limits(row: Options) -> str:
    found = [f" up to {row[limit]:,} {'hits' if limit == 'k' else limit}" for limit in _LIMITS if limit in row]
    return "".join(found)
