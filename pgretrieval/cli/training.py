"""`pgretrieval mine`, and `pgretrieval train` with its kinds of models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

from pgretrieval import presets
from pgretrieval.cli import console
from pgretrieval.cli.files import qrels_of, queries_of, refuse_standard_input_twice
from pgretrieval.corpus.lines import held
from pgretrieval.corpus.reading import read_passages
from pgretrieval.errors import ConfigError
from pgretrieval.train.colbert_files import read_colbert_files
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.mining import MiningOptions, mine
from pgretrieval.train.models import ColBert, ColXtr, Pooling, Trained
from pgretrieval.train.retrievers import Aim, train_retriever
from pgretrieval.train.rounds import train_in_rounds
from pgretrieval.train.run import RunOptions, RunReport
from pgretrieval.train.tuples import TrainingSet, read_training_set, write_training_set


class _Kinds(TyperGroup):
    """Kinds of models; a preset names its own: `train --preset colxtr …` is `train xtr --preset colxtr …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the kind of the preset before options that begin with it."""
        flag, equals, name = args[0].partition("=") if args else ("", "", "")
        if flag == "--preset" and (equals or len(args) > 1):
            args = [presets.read_training(name if equals else args[1]).model, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Kinds, no_args_is_help=True, add_completion=False, help="Train a late-interaction model or a cross-encoder.")

_Kind = TypeVar("_Kind")

Data = Annotated[list[Path] | None, typer.Option(help="Folder of mined tuples; repeatable. By default tuples are mined in rounds.")]
Output = Annotated[Path, typer.Option(help="Folder of the run: configuration, checkpoints, metrics, plot, model.")]
Base = Annotated[
    str, typer.Option(help='Model to start from: "minilm", a model name or folder, the folder of a run, or a bare transformer.')
]
CrossBase = Annotated[str, typer.Option(help='Model to start from: "minilm", or a model name or folder.')]
TrainedOption = Annotated[
    Trained,
    typer.Option(
        "--train", help="Parameters to train: all; the projection (and pooling); or adapter, these and a layer before them."
    ),
]
Rounds = Annotated[int, typer.Option(help="Refresh rounds: index with the current model, mine, train. They need --corpus.")]
Examples = Annotated[
    Path | None,
    typer.Option(help="File of ColBERT's triples or w-way tuples (.jsonl, .tsv), to train on with --corpus and --queries."),
]
Corpus = Annotated[Path | None, typer.Option(help="For rounds or examples: .jsonl (.jsonl.gz) of the passages.")]
QueriesOption = Annotated[Path | None, typer.Option(help='For rounds or examples: .jsonl (.jsonl.gz) of {"id", "text"}.')]
QrelsOption = Annotated[
    Path | None, typer.Option(help="For rounds or examples: judgements; without them the teacher chooses the positives of rounds.")
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=f"System of a paper, for options that are not given: {', '.join(presets.trained())}.",
        show_default="none",
    ),
]
Teacher = Annotated[str | None, typer.Option("--cross-encoder", help="For rounds: name or folder of the teacher.")]

_FLAGS = {"checkpointing": "--gradient-checkpointing", "normalize": "--normalize/--keep-lengths"}
_MINED = {"ways": 16, "depth": 200}
_CROSS = {"batch": 8, "learning_rate": 3e-5}
"""Defaults of the command line, for training on a processor and for cross-encoders."""


def _declared(
    kind: type, leave_out: Collection[str] = (), defaults: Mapping[str, Any] = MappingProxyType({})
) -> list[inspect.Parameter]:
    """Return the fields of an options class as parameters of a command."""
    hints = get_type_hints(kind)
    made = []
    for one in fields(kind):
        if one.name not in leave_out:
            flags = [_FLAGS[one.name]] if one.name in _FLAGS else []
            summary: Any = {"help": one.metadata["help"]} | (
                {"show_default": one.metadata["shown"]} if one.metadata["shown"] else {}
            )
            made.append(
                inspect.Parameter(
                    one.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=defaults.get(one.name, one.default),
                    annotation=Annotated[hints[one.name], typer.Option(*flags, **summary)],
                )
            )
    return made


def _chosen(kind: type[_Kind], given: Mapping[str, Any], **fixed: Any) -> _Kind:
    """Return an options object from the values given on the command line."""
    return kind(**{one.name: given[one.name] for one in fields(kind) if one.name in given} | fixed)  # type: ignore[arg-type]


def _with_preset(context: typer.Context, preset: str | None, given: Mapping[str, Any], model: str | None = None) -> dict[str, Any]:
    """Return the values given on the command line, and of other options those of a preset, which are printed."""
    if preset is None:
        return dict(given)
    options = presets.read_training(preset, model).train
    added = {
        name: value
        for name, value in options.items()
        if name in given and getattr(context.get_parameter_source(name), "name", "") == "DEFAULT"
    }
    console.errors.print(presets.training_summary(preset, added), soft_wrap=True)
    return {**given, **added}


def _with(*declared: list[inspect.Parameter]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds declared options to a command; the function receives them as `given`."""

    def made(function: Callable[..., None]) -> Callable[..., None]:
        own = [one for name, one in inspect.signature(function, eval_str=True).parameters.items() if name != "given"]
        more = [one for some in declared for one in some]

        def command(**options: Any) -> None:
            given = {one.name: options.pop(one.name) for one in more}
            function(**options, given=given)

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in [*own, *more]]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return made


@_with(_declared(MiningOptions, defaults=_MINED))
def mine_tuples(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection to search.")],
    queries: Annotated[Path, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}.')],
    output: Annotated[Path, typer.Option(help="Folder for the tuples.")],
    qrels: Annotated[Path | None, typer.Option(help="Judgements; without them the cross-encoder chooses the positives.")] = None,
    cross_encoder: Annotated[str | None, typer.Option(help="Name or folder of the teacher that scores the tuples.")] = None,
    preset: PresetOption = None,
    *,
    given: Mapping[str, Any],
) -> None:
    """Mine training tuples: each query's relevant passages, and hard negatives from the collection's search results."""
    refuse_standard_input_twice(queries=queries, qrels=qrels)
    _refuse_old(output)
    options = _chosen(MiningOptions, _with_preset(context, preset, given))
    texts = queries_of(queries)
    judgements = None if qrels is None else qrels_of(qrels)
    with context.obj.connect() as database, console.stage_bars() as stage:
        collection = database.get_collection(name)
        made = mine(collection, texts, judgements, teacher=cross_encoder, options=options, stage=stage)
    write_training_set(output, made)
    console.errors.print(
        f"{len(made.tuples):,} tuples of {made.ways} passages, {len(made.passages):,} distinct, are in {output}", markup=False
    )


def _shared(
    context: typer.Context,
    output: Output,
    data: Data = None,
    examples: Examples = None,
    base: Base = "minilm",
    trained: TrainedOption = "all",
    rounds: Rounds = 1,
    corpus: Corpus = None,
    queries: QueriesOption = None,
    qrels: QrelsOption = None,
    cross_encoder: Teacher = None,
    preset: PresetOption = None,
) -> None:
    """Declare the options of all late-interaction models, apart from `RunOptions`, `Aim` and `MiningOptions`."""


_Aiming = Callable[[dict[str, Any]], tuple[Aim, dict[str, Any]]]


def _retriever(
    *own: list[inspect.Parameter], leave_out: Collection[str] = ("objective",)
) -> Callable[[_Aiming], Callable[..., None]]:
    """Return a decorator for a command that trains a late-interaction model; the function returns aim and kind of model."""
    shared = list(inspect.signature(_shared, eval_str=True).parameters.values())
    mining = _declared(MiningOptions, ("ways", "seed"), _MINED)  # taken from `Aim` and `RunOptions`
    declared = [shared, *own, _declared(Aim, leave_out), _declared(RunOptions), mining]

    def made(aim: _Aiming) -> Callable[..., None]:
        def train(given: dict[str, Any]) -> None:
            given = _with_preset(given["context"], given["preset"], given, aim.__name__)
            wanted, kind = aim(given)
            _train(given, wanted, kind)

        train.__name__, train.__doc__ = aim.__name__, aim.__doc__
        return _with(*declared)(train)

    return made


@app.command()
@_retriever(_declared(ColBert), leave_out=("objective", "k_train"))
def colbert(given: dict[str, Any]) -> tuple[Aim, dict[str, Any]]:
    """Train like ColBERTv2: distil the teacher's scores, and use cross-entropy against the passages of other queries.

    A bare transformer, such as bert-base-uncased, becomes a ColBERT.
    """
    return _chosen(Aim, given, objective="colbert"), {"layout": _chosen(ColBert, given)}


_DIM = next(one.metadata["help"] for one in fields(ColXtr) if one.name == "dim")


def _colxtr(bottleneck: Annotated[int | None, typer.Option(help=_DIM)] = None) -> None:
    """Declare the option of ColXTR that has another name on the command line."""


@app.command()
@_retriever(list(inspect.signature(_colxtr, eval_str=True).parameters.values()), _declared(ColXtr, ("dim",)))
def xtr(given: dict[str, Any]) -> tuple[Aim, dict[str, Any]]:
    """Train like XTR or ColXTR: only tokens that a query token retrieves from the batch are scored."""
    if given["bottleneck"] is None and (not given["normalize"] or given["end_token"] != "own"):
        msg = "--keep-lengths and --end-token are options of ColXTR; give --bottleneck, too"
        raise ConfigError(msg)
    colxtr = None if given["bottleneck"] is None else _chosen(ColXtr, given, dim=given["bottleneck"])
    return _chosen(Aim, given, objective="xtr"), {"layout": colxtr}


@app.command()
@_retriever(_declared(Pooling), _declared(ColBert), leave_out=())
def constbert(given: dict[str, Any]) -> tuple[Aim, dict[str, Any]]:
    """Train a pooling to a constant number of vectors (ConstBERT), end to end with the model."""
    return _chosen(Aim, given), {"pooling": _chosen(Pooling, given), "layout": _chosen(ColBert, given)}


@app.command(name="cross-encoder")
@_with(_declared(CrossAim), _declared(RunOptions, defaults=_CROSS))
def cross_encoder(
    context: typer.Context,
    output: Output,
    data: Annotated[list[Path], typer.Option(help="Folder of mined tuples; repeatable.")],
    base: CrossBase = "minilm",
    preset: PresetOption = None,
    *,
    given: Mapping[str, Any],
) -> None:
    """Train a cross-encoder, which scores pairs of query and passage."""
    given = _with_preset(context, preset, given, "cross-encoder")
    aim, options = _chosen(CrossAim, given), _chosen(RunOptions, given)
    sets = [read_training_set(folder) for folder in data]
    with console.stage_bars() as stage:
        tick = partial(stage, f"training in {output}")
        report = train_cross_encoder(sets, output, base=base, aim=aim, options=options, tick=tick)
    console.errors.print(_summary(report))


def _train(given: dict[str, Any], aim: Aim, kind: dict[str, Any]) -> None:
    """Train on mined tuples, or mine and train in rounds."""
    data, corpus, queries = given["data"], given["corpus"], given["queries"]
    refuse_standard_input_twice(corpus=corpus, queries=queries, qrels=given["qrels"])
    has_texts, examples = corpus is not None and queries is not None, given["examples"]
    mines = has_texts and examples is None
    if bool(data) == has_texts or (examples is not None and not has_texts) or (given["rounds"] > 1 and not mines):
        msg = "give mined tuples with --data; or --corpus and --queries to mine in --rounds, or to read --examples in one round"
        raise ConfigError(msg)
    options, trained = _chosen(RunOptions, given), given["trained"]
    with console.stage_bars() as stage:

        def train(sets: Sequence[TrainingSet], folder: Path, base: str) -> RunReport:
            tick = partial(stage, f"training in {folder}")
            return train_retriever(sets, folder, base=base, aim=aim, trained=trained, options=options, tick=tick, **kind)

        if not mines:
            qrels = None if given["qrels"] is None else qrels_of(given["qrels"])
            sets = (
                [read_training_set(folder) for folder in data]
                if examples is None
                else [read_colbert_files(examples, queries, corpus, qrels=qrels)]
            )
            summary = _summary(train(sets, given["output"], given["base"]))
        else:
            with held([corpus]) as [passages], given["context"].obj.connect() as database:
                models = train_in_rounds(
                    database,
                    partial(read_passages, *passages),
                    queries_of(queries),
                    None if given["qrels"] is None else qrels_of(given["qrels"]),
                    given["output"],
                    lambda made, folder, base: train([made], folder, base),
                    rounds=given["rounds"],
                    base=given["base"],
                    teacher=given["cross_encoder"],
                    mining=_chosen(MiningOptions, given, ways=aim.ways or _MINED["ways"]),
                    stage=stage,
                )
            summary = f"the model of the last of {len(models)} rounds is in {models[-1]}"
    console.errors.print(summary)


def _summary(report: RunReport) -> str:
    losses = ", ".join(f"{name} {value:.4f}" for name, value in report.losses.items())
    after = f" (resumed from step {report.resumed:,})" if report.resumed else ""
    return (
        f"{report.steps:,} steps{after} in {report.seconds:,.0f} s on {report.device}, {report.precision}; last {losses}; "
        f"the model is in {report.model}"
    )


def _refuse_old(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        msg = (
            f"{output} is {'not empty' if output.is_dir() else 'a file'}; name another folder, so that existing tuples are not lost"
        )
        raise ConfigError(msg)
