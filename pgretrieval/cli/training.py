"""`pgretrieval mine`, and `pgretrieval train` with what is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pgretrieval.cli import console
from pgretrieval.corpus.jsonl import read_passages, read_queries
from pgretrieval.errors import ConfigError
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.mining import MiningOptions, mine
from pgretrieval.train.models import ColXtr, Pooling, Trained
from pgretrieval.train.retrievers import Aim, Objective, train_retriever
from pgretrieval.train.rounds import train_in_rounds
from pgretrieval.train.run import Precision, RunOptions, RunReport
from pgretrieval.train.tuples import TrainingSet, read_training_set, write_training_set

app = typer.Typer(no_args_is_help=True, help="Train a late-interaction model or a cross-encoder.")

Data = Annotated[
    list[Path] | None, typer.Option(help="Folder of mined tuples; several times for several. Without one, tuples are mined here.")
]
Output = Annotated[Path, typer.Option(help="Folder of the run: configuration, checkpoints, metrics, plot, model.")]
Base = Annotated[str, typer.Option(help='What to start from: "minilm", or a model name or folder.')]
Epochs = Annotated[float, typer.Option(help="Times that every tuple is trained on.")]
Steps = Annotated[int | None, typer.Option(help="Steps, instead of --epochs.")]
Batch = Annotated[int, typer.Option(help="Queries at a time.")]
Accumulation = Annotated[int, typer.Option(help="Batches whose gradients make one step.")]
Rate = Annotated[float, typer.Option("--learning-rate", help="The highest; it rises over the warm-up and falls to 0.")]
Warmup = Annotated[float, typer.Option(help="Share of the steps that are warm-up.")]
PrecisionOption = Annotated[Precision, typer.Option(help="auto: bf16 or fp16 on a GPU, fp32 on a processor.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and draws.")]
Device = Annotated[str | None, typer.Option(help="A torch device; by default a GPU where there is one.")]
SaveEvery = Annotated[int, typer.Option(help="Steps between checkpoints, and between measurements of the held out.")]
LogEvery = Annotated[int, typer.Option(help="Steps between entries of metrics.jsonl.")]
HeldOut = Annotated[float, typer.Option(help="Share of queries that are measured and not trained on.")]
Checkpointing = Annotated[bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")]
Ways = Annotated[int | None, typer.Option(help="Passages of each tuple that are used, 2 to 64; by default all.")]
QueryTokens = Annotated[int | None, typer.Option(help="Cut queries to this many tokens while training.")]
PassageTokens = Annotated[int | None, typer.Option(help="Cut passages to this many tokens while training.")]
MiniBatch = Annotated[int | None, typer.Option(help="Passages read by the model at once.")]
TrainedOption = Annotated[Trained, typer.Option("--train", help="all, or the projection (and pooling) alone.")]
Rounds = Annotated[int, typer.Option(help="Refresh rounds: index with the model so far, mine, train. Need --corpus.")]
Corpus = Annotated[Path | None, typer.Option(help="For rounds: .jsonl or .jsonl.gz of the passages.")]
QueriesOption = Annotated[Path | None, typer.Option(help='For rounds: .jsonl or .jsonl.gz of {"id", "text"}.')]
QrelsOption = Annotated[Path | None, typer.Option(help="For rounds: judgements; without them the teacher chooses the positives.")]
Teacher = Annotated[str | None, typer.Option("--cross-encoder", help="For rounds: name or folder of the teacher.")]
Depth = Annotated[int, typer.Option(help="Of how many best passages the negatives are drawn.")]

TeacherScale = Annotated[float, typer.Option(help="The teacher's scores are multiplied by it.")]
EndToken = Literal["own", "mean"]
Head = Literal["cls", "emb"]
Labels = Literal["positive", "teacher"]
PoolingShape = Literal["tokens", "full"]

_ROUND_WAYS = 16


def mine_tuples(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection that mines.")],
    queries: Annotated[Path, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}.')],
    output: Annotated[Path, typer.Option(help="Folder for the tuples.")],
    qrels: Annotated[Path | None, typer.Option(help="Judgements; without them the cross-encoder chooses the positives.")] = None,
    cross_encoder: Annotated[str | None, typer.Option(help="Name or folder of the teacher that scores the tuples.")] = None,
    ways: Annotated[int, typer.Option(help="Passages of each tuple, 2 to 64: the positive and its negatives.")] = 16,
    depth: Depth = 200,
    skip: Annotated[int, typer.Option(help="Best passages that are no negatives.")] = 0,
    margin: Annotated[
        float | None, typer.Option(help="Leave out negatives that the teacher scores less than this below the positive.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Mine tuples for training: each query's relevant passages, and hard negatives among the best that the collection finds."""
    _refuse_old(output)
    options = MiningOptions(ways, depth, skip, margin, seed)
    texts = dict(read_queries(queries))
    judgements = None if qrels is None else read_qrels(qrels)
    with context.obj.connect() as database, console.stage_bars() as stage:
        collection = database.get_collection(name)
        made = mine(collection, texts, judgements, teacher=cross_encoder, options=options, stage=stage)
    write_training_set(output, made)
    console.errors.print(
        f"{len(made.tuples):,} tuples of {made.ways} passages, {len(made.passages):,} different ones, are in {output}", markup=False
    )


def _shared(
    context: typer.Context,
    output: Output,
    data: Data = None,
    base: Base = "minilm",
    trained: TrainedOption = "all",
    ways: Ways = None,
    epochs: Epochs = 1.0,
    steps: Steps = None,
    batch: Batch = 16,
    accumulation: Accumulation = 1,
    learning_rate: Rate = 1e-5,
    warmup: Warmup = 0.1,
    precision: PrecisionOption = "auto",
    seed: Seed = 0,
    device: Device = None,
    save_every: SaveEvery = 500,
    log_every: LogEvery = 10,
    held_out: HeldOut = 0.0,
    checkpointing: Checkpointing = False,
    query_tokens: QueryTokens = None,
    passage_tokens: PassageTokens = None,
    mini_batch: MiniBatch = None,
    rounds: Rounds = 1,
    corpus: Corpus = None,
    queries: QueriesOption = None,
    qrels: QrelsOption = None,
    cross_encoder: Teacher = None,
    depth: Depth = 200,
) -> None:
    """What all late-interaction models are trained with."""


def _retriever(aim: Callable[..., tuple[Aim, dict[str, Any]]]) -> Callable[..., None]:
    """A command with its own options and the shared ones; the function makes of both what is learnt, and the kind of model."""
    shared = inspect.signature(_shared, eval_str=True).parameters
    own = {name: option for name, option in inspect.signature(aim, eval_str=True).parameters.items() if name != "given"}

    def command(**given: Any) -> None:
        wanted, kind = aim(**{name: given[name] for name in own}, given={name: given[name] for name in shared})
        _train(given, wanted, kind)

    parameters = [*list(shared.values())[:5], *own.values(), *list(shared.values())[5:]]
    command.__name__, command.__doc__ = aim.__name__, aim.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@app.command()
@_retriever
def colbert(given: dict[str, Any], teacher_scale: TeacherScale = 1.0) -> tuple[Aim, dict[str, Any]]:
    """Train as ColBERTv2 is: distillation from the teacher's scores, and cross-entropy against the passages of other queries."""
    return _aim("colbert", given, teacher_scale=teacher_scale), {}


@app.command()
@_retriever
def xtr(
    given: dict[str, Any],
    k_train: Annotated[int, typer.Option(help="Tokens of the batch that each query token retrieves.")] = 256,
    scale: Annotated[float, typer.Option(help="Scores are multiplied by it: 1 / temperature.")] = 20.0,
    distil: Annotated[bool, typer.Option("--distil", help="Learn the teacher's scores, too.")] = False,
    bottleneck: Annotated[int | None, typer.Option(help="ColXTR: a bare T5 gets a projection to this many dimensions.")] = None,
    keep_lengths: Annotated[bool, typer.Option("--keep-lengths", help="ColXTR: vectors are not normalised.")] = False,
    end_token: Annotated[EndToken, typer.Option(help="ColXTR: the vector of the end token.")] = "own",
) -> tuple[Aim, dict[str, Any]]:
    """Train as XTR, or ColXTR, is: scores are those of the tokens that a query retrieves from the batch."""
    if bottleneck is None and (keep_lengths or end_token != "own"):
        msg = "--keep-lengths and --end-token make a ColXTR of a bare T5; give --bottleneck, too"
        raise ConfigError(msg)
    colxtr = None if bottleneck is None else ColXtr(bottleneck, not keep_lengths, end_token)
    return _aim("xtr", given, scale=scale, distil=distil or None, k_train=k_train), {"bottleneck": colxtr}


@app.command()
@_retriever
def constbert(
    given: dict[str, Any],
    vectors: Annotated[int, typer.Option(help="Vectors of every passage, such as 16, 32 or 64.")] = 32,
    tokens: Annotated[int, typer.Option(help="Token vectors that are pooled; longer passages are cut.")] = 180,
    shape: Annotated[PoolingShape, typer.Option(help="Pool tokens alike in every dimension, or all their numbers.")] = "tokens",
    objective: Annotated[Objective, typer.Option(help="Whose loss it is trained with.")] = "colbert",
    teacher_scale: TeacherScale = 1.0,
) -> tuple[Aim, dict[str, Any]]:
    """Train a pooling to a constant number of vectors, end to end with the model below it."""
    return _aim(objective, given, teacher_scale=teacher_scale), {"pooling": Pooling(vectors, tokens, shape)}


def _aim(objective: Objective, given: dict[str, Any], **own: Any) -> Aim:
    names = ("ways", "query_tokens", "passage_tokens", "mini_batch")
    return Aim(objective, **{name: given[name] for name in names}, **own)


@app.command(name="cross-encoder")
def cross_encoder(
    output: Output,
    data: Annotated[list[Path], typer.Option(help="Folder of mined tuples; several times for several.")],
    base: Base = "minilm",
    head: Annotated[Head, typer.Option(help="A layer on [CLS], or the dot product of marker vectors.")] = "cls",
    labels: Annotated[Labels, typer.Option(help="Learn which passage is right, or a teacher's scores.")] = "positive",
    ways: Ways = None,
    max_tokens: Annotated[int, typer.Option(help="Pairs are cut to this many tokens.")] = 256,
    scale: Annotated[float | None, typer.Option(help="Of the dot product of an emb head.", show_default="1")] = None,
    epochs: Epochs = 1.0,
    steps: Steps = None,
    batch: Batch = 8,
    accumulation: Accumulation = 1,
    learning_rate: Rate = 3e-5,
    warmup: Warmup = 0.1,
    precision: PrecisionOption = "auto",
    seed: Seed = 0,
    device: Device = None,
    save_every: SaveEvery = 500,
    log_every: LogEvery = 10,
    held_out: HeldOut = 0.0,
    checkpointing: Checkpointing = False,
    mini_batch: MiniBatch = None,
) -> None:
    """Train a cross-encoder: query and passage are read together."""
    options = _options(locals())
    aim = CrossAim(head, labels, ways, max_tokens, scale, mini_batch)
    sets = [read_training_set(folder) for folder in data]
    with console.stage_bars() as stage:
        tick = partial(stage, f"training in {output}")
        report = train_cross_encoder(sets, output, base=base, aim=aim, options=options, tick=tick)
    console.errors.print(_told(report))


def _options(given: dict[str, Any]) -> RunOptions:
    names = asdict(RunOptions())
    return RunOptions(**{name: given[name] for name in names if name in given})


def _train(given: dict[str, Any], aim: Aim, kind: dict[str, Any]) -> None:
    """Train on mined tuples, or in rounds that mine their own."""
    data, corpus, queries = given["data"], given["corpus"], given["queries"]
    mines = corpus is not None and queries is not None
    if bool(data) == mines or (given["rounds"] > 1 and not mines):
        msg = "give mined tuples with --data, or --corpus and --queries to mine in --rounds, and not both"
        raise ConfigError(msg)
    options, trained = _options(given), given["trained"]
    with console.stage_bars() as stage:

        def train(sets: Sequence[TrainingSet], folder: Path, base: str) -> RunReport:
            tick = partial(stage, f"training in {folder}")
            return train_retriever(sets, folder, base=base, aim=aim, trained=trained, options=options, tick=tick, **kind)

        if not mines:
            said = _told(train([read_training_set(folder) for folder in data], given["output"], given["base"]))
        else:
            with given["context"].obj.connect() as database:
                models = train_in_rounds(
                    database,
                    partial(read_passages, corpus),
                    dict(read_queries(queries)),
                    None if given["qrels"] is None else read_qrels(given["qrels"]),
                    given["output"],
                    lambda made, folder, base: train([made], folder, base),
                    rounds=given["rounds"],
                    base=given["base"],
                    teacher=given["cross_encoder"],
                    mining=MiningOptions(ways=aim.ways or _ROUND_WAYS, depth=given["depth"], seed=options.seed),
                    stage=stage,
                )
            said = f"the model of the last of {len(models)} rounds is in {models[-1]}"
    console.errors.print(said)


def _told(report: RunReport) -> str:
    losses = ", ".join(f"{name} {value:.4f}" for name, value in report.losses.items())
    after = f" (went on from step {report.resumed:,})" if report.resumed else ""
    return (
        f"{report.steps:,} steps{after} in {report.seconds:,.0f} s on {report.device}, {report.precision}; last {losses}; "
        f"the model is in {report.model}"
    )


def _refuse_old(output: Path) -> None:
    if output.exists() and any(output.iterdir()):
        msg = f"{output} is not empty; name another folder, so that no earlier tuples are lost"
        raise ConfigError(msg)
