"""Training run in a folder: configuration, checkpoints, metrics, a plot, and the model."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pgretrieval.encode.library import quiet, resolve_device
from pgretrieval.errors import ConfigError
from pgretrieval.importing import extra
from pgretrieval.train.contents import of_model
from pgretrieval.train.options import option
from pgretrieval.train.plots import plot_metrics
from pgretrieval.types import Tick

Precision = Literal["auto", "fp32", "bf16", "fp16"]

CONFIG_FILE, METRICS_FILE, PLOT_FILE, REPORT_FILE = "config.json", "metrics.jsonl", "training.png", "report.json"
CHECKPOINTS, MODEL = "checkpoints", "model"
_KEPT_CHECKPOINTS = 2
_PLOT_SECONDS = 30
_INFORMATIVE = ("base", "data")
"""Parts of a configuration that may differ, since `contents` decide: file names, and how tuples were mined."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Settings of a training run.

    `batch` is the number of queries in a batch; gradients of `accumulation` batches make one step. `steps` replaces `epochs`.
    `warmup` is the share of steps over which the learning rate rises; then it falls to 0. `precision` "auto" is bfloat16 on a GPU
    that supports it, float16 on another, float32 on a processor. A checkpoint is written every `save_every` steps, from which an
    interrupted training resumes. `held_out` is the share of queries that are excluded from training and measured at checkpoints;
    the model with the lowest loss is saved. `checkpointing` recomputes activations to save memory.
    """

    epochs: float = option(1.0, "Passes over the tuples.")
    steps: int | None = option(None, "Number of steps, instead of --epochs.")
    batch: int = option(16, "Queries in a batch.")
    accumulation: int = option(1, "Batches whose gradients make one step.")
    learning_rate: float = option(1e-5, "Peak learning rate; it rises over the warm-up and falls to 0.")
    warmup: float = option(0.1, "Share of the steps that are warm-up.")
    weight_decay: float = option(0.0, "Weight decay of AdamW.")
    precision: Precision = option("auto", "auto: bf16 or fp16 on a GPU, fp32 on a processor.")
    seed: int = option(0, "Seed of weights, order and draws.")
    device: str | None = option(None, "A torch device.", shown="a GPU if there is one")
    save_every: int = option(500, "Steps between checkpoints and measurements of held-out queries.")
    log_every: int = option(10, "Steps between entries of metrics.jsonl.")
    held_out: float = option(0.0, "Share of queries to measure instead of training on.")
    checkpointing: bool = option(False, "Recompute activations: less memory, more time.")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulation", "learning_rate", "save_every", "log_every"):
            if getattr(self, name) <= 0:
                msg = f"{name} is {getattr(self, name)}; give a number above 0"
                raise ConfigError(msg)
        if self.steps is not None and self.steps < 1:
            msg = f"steps is {self.steps}; give at least 1, or leave it out to train for {self.epochs} epochs"
            raise ConfigError(msg)
        if not 0 <= self.warmup <= 1 or not 0 <= self.held_out < 1:
            msg = f"warmup is {self.warmup} and held_out {self.held_out}; give shares from 0 to 1"
            raise ConfigError(msg)
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            msg = f'precision is {self.precision!r}; give "auto", "fp32", "bf16" or "fp16"'
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class RunReport:
    """Result of a training run. `resumed` is the step at which it resumed.

    `losses` are the last measured ones by name, with XTR's loss also the share of a batch's tokens that a query token retrieves.
    """

    model: Path
    steps: int
    seconds: float
    device: str
    precision: str
    losses: Mapping[str, float]
    resumed: int


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """Parts of a training, created after the seeds are set. `held_out` is None without held-out queries.

    `lengths` truncate texts by task, `prompts` are texts before those of a column, and `measured` returns numbers for the report.
    """

    trainer: Any
    arguments: Any
    model: Any
    loss: Any
    train: Any
    held_out: Any = None
    lengths: Mapping[str, int] | None = None
    prompts: Mapping[str, str] | None = None
    measured: Callable[[], Mapping[str, float]] | None = None


def check_installed() -> None:
    """Raise MissingExtraError if packages for training are missing."""
    with extra("training", "train"):
        import accelerate  # noqa: F401
        import datasets  # noqa: F401
        import matplotlib  # noqa: F401


def run(
    folder: Path, config: Mapping[str, Any], options: RunOptions, make: Callable[[str], TrainingParts], tick: Tick | None = None
) -> RunReport:
    """Train in a folder, or resume the training of the same configuration and contents there.

    `config["contents"]` are digests of the training data; that of the initial model is added here. File locations may differ.
    `make` receives the device, after seeds are set. Raises FinishedRunError, and ConfigError if the folder contains another run.
    """
    check_installed()
    from transformers import set_seed, trainer_utils

    latest: Any = trainer_utils.get_last_checkpoint  # carries no annotations
    device = resolve_device(options.device)
    chosen = {key: value for key, value in asdict(options).items() if key != "device"}  # a run may resume on another device
    config = {**config, "run": chosen}
    _check(folder, config)
    with quiet():
        set_seed(options.seed)
        parts = make(device)
        _claim(folder, {**config, "contents": {**config["contents"], "base": of_model(parts.model)}})
        if device == "cpu":
            _use_eager_attention(parts.model)
        checkpoints = folder / CHECKPOINTS
        last: str | None = latest(str(checkpoints)) if checkpoints.is_dir() else None
        resumed = 0 if last is None else int(last.rsplit("-", 1)[-1])
        precision = _precision(options.precision, device)
        trainer = _trainer(parts, options, folder, device, precision, tick)
        started = time.perf_counter()
        trainer.train(resume_from_checkpoint=last)
        seconds = time.perf_counter() - started
        history = trainer.state.log_history
        _write_metrics(folder, history)
        plot_metrics(history, folder / PLOT_FILE)
        parts.model.save(str(folder / MODEL), create_model_card=False)
    losses = {**_last_losses(history), **(parts.measured() if parts.measured else {})}
    report = RunReport(folder / MODEL, trainer.state.global_step, seconds, _device_name(device), precision, losses, resumed)
    written = {**asdict(report), "model": MODEL}
    (folder / REPORT_FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return report


class FinishedRunError(ConfigError):
    """The folder contains a finished run of the same settings and contents."""


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise if the folder contains a run of other settings or known contents, or a finished one."""
    unknown = [] if "base" in config["contents"] else ["contents.base"]
    check_same(folder / CONFIG_FILE, config, "a run", [*_INFORMATIVE, *unknown])
    if (folder / REPORT_FILE).exists():
        msg = f"{folder} contains a finished run; use another folder"
        raise FinishedRunError(msg)


def _claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration, or check that the folder has the same."""
    _check(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check_same(file: Path, config: Mapping[str, Any], what: str, informative: Collection[str] = ()) -> None:
    """Raise ConfigError if a file contains another configuration; keys in `informative`, and those below, may differ."""
    if not file.exists():
        return
    held, wanted = (_flat(json.loads(text)) for text in (file.read_text(encoding="utf-8"), json.dumps(config)))
    keys = {key for key in {*held, *wanted} if not any(key == one or key.startswith(f"{one}.") for one in informative)}
    different = sorted(key for key in keys if held.get(key) != wanted.get(key))
    if different:
        msg = (
            f"{file.parent} contains {what} with other settings ({', '.join(different)}); use the same settings, or another folder"
        )
        raise ConfigError(msg)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _use_eager_attention(model: Any) -> None:
    """Use eager attention on processors, where the gradient of fused attention takes 1.2 to 1.8 times as long (MiniLM)."""
    for part in model.modules():
        if callable(getattr(part, "set_attn_implementation", None)):
            part.set_attn_implementation("eager")
            return


def _precision(wanted: Precision, device: str) -> str:
    if wanted != "auto":
        return wanted
    if not device.startswith("cuda"):
        return "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _trainer(parts: TrainingParts, options: RunOptions, folder: Path, device: str, precision: str, tick: Tick | None) -> Any:
    from transformers.trainer_callback import PrinterCallback

    steps = options.steps or math.ceil(math.ceil(len(parts.train) / options.batch) / options.accumulation * options.epochs)
    measured = parts.held_out is not None
    arguments = parts.arguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=steps,
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulation,
        gradient_checkpointing=options.checkpointing,
        learning_rate=options.learning_rate,
        warmup_steps=int(options.warmup * steps),
        weight_decay=options.weight_decay,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        seed=options.seed,
        data_seed=options.seed,
        logging_steps=min(options.log_every, steps),
        logging_nan_inf_filter=False,
        save_steps=options.save_every,
        save_total_limit=_KEPT_CHECKPOINTS,
        eval_strategy="steps" if measured else "no",
        eval_steps=options.save_every,
        load_best_model_at_end=measured,
        metric_for_best_model="eval_loss" if measured else None,
        dataloader_pin_memory=device != "cpu",
        report_to="none",
        disable_tqdm=True,
        **({} if parts.lengths is None else {"max_length": dict(parts.lengths)}),
        **({"prompts": dict(parts.prompts)} if parts.prompts else {}),
    )
    if device != "cpu":
        _use_one_device(arguments, device)
    trainer = _without_card(parts.trainer)(
        model=parts.model,
        args=arguments,
        train_dataset=parts.train,
        eval_dataset=parts.held_out,
        loss=parts.loss,
        callbacks=[_recorder(folder, tick)],
    )
    trainer.remove_callback(PrinterCallback)  # keep standard output free for the caller
    return trainer


def _use_one_device(arguments: Any, device: str) -> None:
    """Train on the device alone; the library takes the first GPU, or splits each batch, and with it its negatives, among all."""
    import torch

    arguments._n_gpu = 1
    arguments.distributed_state.device = arguments.__dict__["_setup_devices"] = torch.device(device)


def _without_card(kind: Any) -> Any:
    """Return a trainer without model card, for whose statistics it would tokenise all data."""

    class Trainer(kind):  # type: ignore[misc]
        def add_model_card_callback(self, *_: Any) -> None:
            pass

    return Trainer


def _recorder(folder: Path, tick: Tick | None) -> Any:
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Write metrics to the folder during training. A plot takes as long as many a step, so it is drawn twice a minute."""

        _drawn = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _write_metrics(folder, state.log_history)
            if time.monotonic() - self._drawn > _PLOT_SECONDS:
                plot_metrics(state.log_history, folder / PLOT_FILE)
                self._drawn = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if tick is not None:
                tick(state.global_step, state.max_steps)

    return Recorder()


def _write_metrics(folder: Path, history: list[dict[str, Any]]) -> None:
    lines = [json.dumps(entry) + "\n" for entry in history]
    (folder / METRICS_FILE).write_text("".join(lines), encoding="utf-8")


def _last_losses(history: list[dict[str, Any]]) -> dict[str, float]:
    left_out = {"step", "epoch", "learning_rate", "grad_norm"}
    losses: dict[str, float] = {}
    for entry in history:
        if "train_runtime" not in entry:
            losses |= {key: float(value) for key, value in entry.items() if key not in left_out and _is_loss(key)}
    return losses


def _is_loss(key: str) -> bool:
    return not key.endswith(("_runtime", "_per_second"))


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} processor" if device == "cpu" else device


def with_options(options: RunOptions, **changed: Any) -> RunOptions:
    """Return the options with changes."""
    return replace(options, **changed)
