"""Models that would run code: own code, pickles, other models, prompts on the terminal."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pgretrieval.encode import from_spec, load_encoder, sources
from pgretrieval.encode.constbert import load_constbert
from pgretrieval.encode.modules import load_model
from pgretrieval.encode.sources import FOLDERS_VARIABLE
from pgretrieval.encode.vetting import without_stdin
from pgretrieval.encode.xtr import load_xtr, new_xtr
from pgretrieval.errors import EncoderError, PgRetrievalError
from pgretrieval.rerank import from_spec as scorer_from_spec
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.rerank.markers import load_model as load_markers
from pgretrieval.rerank.markers import new_cross_encoder
from pgretrieval.train.models import start_model

Folder = Callable[..., Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copied(library_folder: Path, tmp_path: Path) -> Path:
    """A copy of a model that a test may change."""
    folder = tmp_path / "model"
    for file in library_folder.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(library_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return folder


def change(file: Path, **values: Any) -> None:
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(said | values))


def code_of_its_own(folder: Path, mark: Path, architecture: str) -> None:
    """A model type defined only by code in the folder."""
    files = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel", "AutoTokenizer": [None, "evil.EvilModel"]}
    files["AutoModelForSequenceClassification"] = "evil.EvilModel"
    change(folder / "config.json", architectures=[architecture], model_type="evil", auto_map=files)
    (folder / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').write('ran')\n"
        "from transformers import PretrainedConfig, PreTrainedModel\n"
        "class EvilConfig(PretrainedConfig):\n    model_type = 'evil'\n"
        "class EvilModel(PreTrainedModel):\n    config_class = EvilConfig\n"
    )


LOADERS: dict[str, Callable[[Path], Any]] = {
    "load_encoder": lambda folder: load_encoder(folder, "cpu").encode_query("a bank"),
    "load_model": lambda folder: load_model(folder, "cpu"),
    "load_constbert": lambda folder: load_constbert(str(folder), "cpu"),
    "load_xtr": lambda folder: load_xtr(str(folder), "cpu"),
    "new_xtr": lambda folder: new_xtr(str(folder), "cpu"),
    "load_cross_encoder": lambda folder: load_cross_encoder(folder, "cpu").predict([("a", "b")]),
    "load_markers": lambda folder: load_markers(folder, "cpu"),
    "new_cross_encoder": lambda folder: new_cross_encoder(folder, "cls", device="cpu"),
    "new_cross_encoder emb": lambda folder: new_cross_encoder(folder, "emb", device="cpu"),
    "start_model": lambda folder: start_model(folder, "cpu"),
}


@pytest.mark.parametrize("vetted", [True, False], ids=["files are read first", "the library alone"])
@pytest.mark.parametrize("name", LOADERS)
def test_no_loader_runs_code_or_asks(
    name: str, vetted: bool, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No loader runs a model's code or reads an answer from standard input, even if the files were not checked before."""
    mark = tmp_path / "ran"
    code_of_its_own(copied, mark, "ConstBERT")
    (copied / "modules.json").unlink()
    weights = {"linear.weight": torch.randn(64, 32), "doc_project.weight": torch.randn(8, 32)}
    from safetensors.torch import save_file

    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    if not vetted:
        monkeypatch.setattr("pgretrieval.encode.vetting.vet", lambda _: None)
    answers = io.StringIO("y\n" * 9)
    monkeypatch.setattr(sys, "stdin", answers)
    with pytest.raises(PgRetrievalError if vetted else Exception):
        LOADERS[name](copied)
    assert not mark.exists()
    assert answers.tell() == 0
    assert "run the custom code" not in capsys.readouterr().out


class Opened:
    """Leaves a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def other_class(name: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = name
        (folder / "modules.json").write_text(json.dumps(modules))

    return changed


def routed(folder: Path) -> None:
    other_class("sentence_transformers.base.modules.router.Router")(folder)
    place = folder / json.loads((folder / "modules.json").read_text())[1]["path"]
    (place / "router_config.json").write_text(json.dumps({"types": {"inner": "os.path.Thing"}, "structure": {}}))


def option(group: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "sentence_bert_config.json", **{group: values})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (other_class("os.path.Thing"), "class 'os.path.Thing'"),
        (other_class("evil.Module"), "class 'evil.Module'"),
        (other_class("sentence_transformers.base.modules.module.torch"), r"class 'sentence_transformers.*torch'"),
        (other_class("sentence_transformers.util.misc.importlib"), r"class 'sentence_transformers.*importlib'"),
        (routed, "class 'os.path.Thing'"),
        (option("model_kwargs", weights_only=False), "sets weights_only to False"),
        (option("model_args", use_kernels=True), "sets use_kernels to True"),
        (option("config_kwargs", quantization_config={"quant_method": "x"}), "sets quantization_config"),
        (option("model_kwargs", gguf_file="x.gguf"), "sets gguf_file"),
        (option("model_kwargs", attn_implementation="evil/kernel"), "attn_implementation 'evil/kernel'"),
        (lambda folder: change(folder / "config.json", attn_implementation="evil/kernel"), "attn_implementation 'evil/kernel'"),
        (lambda folder: change(folder / "sentence_bert_config.json", tokenizer_name_or_path="evil/words"), "takes its tokenizer"),
        (lambda folder: change(folder / "adapter_config.json", base_model_name_or_path="evil/base"), "is an adapter"),
        (lambda folder: change(folder / "config.json", auto_map={"AutoModel": "x.Y"}, model_type="evil"), "needs code"),
        (lambda folder: change(folder / "config.json", sentence_transformers={"activation_fn": "torch.hub.load"}), "activation"),
        (lambda folder: change(folder / "config.json", sbert_ce_default_activation_function="os.abort"), "activation"),
    ],
)
def test_files_that_ask_for_more_are_refused(copied: Path, changed: Callable[[Path], None], said: str):
    """Keys that reach `from_pretrained`, an import or another model are refused."""
    changed(copied)
    for load in (LOADERS["load_encoder"], LOADERS["load_cross_encoder"]):
        with pytest.raises(EncoderError, match=said):
            load(copied)


def test_pickled_weights_contain_only_tensors(copied: Path, tmp_path: Path):
    """Pickled weights load tensors and nothing else."""
    from safetensors.torch import load_file

    for file in copied.rglob("model.safetensors"):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    expected = load_encoder(copied, "cpu").encode_query("a bank")[0]
    assert expected.shape[1] == 64
    for file in copied.rglob("pytorch_model.bin"):
        held = file.read_bytes()
        torch.save({"linear.weight": Opened(tmp_path / "opened")}, file)
        with pytest.raises(EncoderError):
            LOADERS["load_encoder"](copied)
        assert not (tmp_path / "opened").exists()
        file.write_bytes(held)


def test_unused_code_of_a_known_type_is_ignored(copied: Path):
    """Unused code beside a known model type does not prevent loading."""
    change(copied / "config.json", auto_map={"AutoModel": "modeling.Model"})
    change(copied / "sentence_bert_config.json", model_args={"trust_remote_code": True, "torch_dtype": "float32"})
    assert load_encoder(copied, "cpu").encode_query("a bank")[0].shape[1] == 64


def test_standard_input_ends_for_the_thread_that_loads(monkeypatch: pytest.MonkeyPatch):
    """Standard input is empty for the loading thread and usable for others."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\nanother\nthird\n"))
    read: list[str] = []
    with without_stdin():
        with pytest.raises(EOFError):
            input("run it? ")
        assert list(sys.stdin) == []
        with without_stdin(), pytest.raises(EOFError):
            input("and now? ")
        other = threading.Thread(target=lambda: read.extend([sys.stdin.readline(), next(iter(sys.stdin))]))
        other.start()
        other.join()
    assert read == ["y\n", "another\n"]
    assert input() == "third"


@pytest.mark.parametrize("again", [from_spec, scorer_from_spec], ids=["encoder", "cross-encoder"])
def test_a_folder_that_a_database_names_is_allowed_first(again: Any, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that only the database names is loaded only if allowed, because any writer can choose the name."""
    monkeypatch.setattr(sources, "_named", set())
    spec = {"kind": "model", "name": str(copied)}
    for named in (spec, {**spec, "name": str(tmp_path / "nowhere")}, {**spec, "name": "./here"}, {**spec, "name": "~/here"}):
        with pytest.raises(EncoderError, match=rf"folder '.*' as the .*encoder.*{FOLDERS_VARIABLE}.*if you trust it"):
            again(named, "cpu")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match=FOLDERS_VARIABLE):
        again({**spec, "name": copied.name}, "cpu")  # looks like a name of the hub
    monkeypatch.setenv(FOLDERS_VARIABLE, os.pathsep.join([str(tmp_path / "other"), str(tmp_path / "mod")]))
    with pytest.raises(EncoderError, match=FOLDERS_VARIABLE):
        again(spec, "cpu")
    monkeypatch.setenv(FOLDERS_VARIABLE, os.pathsep.join([str(tmp_path / "other"), str(tmp_path)]))
    assert again(spec, "cpu").spec == spec
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to("/")
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path / "other"))
    for outside in (tmp_path / "other" / ".." / "model", tmp_path / "other" / "link" / "etc"):
        with pytest.raises(EncoderError, match=FOLDERS_VARIABLE):
            again({**spec, "name": str(outside)}, "cpu")
    monkeypatch.delenv(FOLDERS_VARIABLE)
    load_encoder(copied, "cpu")  # named by the program itself
    assert again(spec, "cpu").spec == spec


def test_a_name_of_the_hub_may_carry_a_commit(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A commit in a hub name is stored, and that commit is loaded."""
    cached = tmp_path / "hub" / "models--some--model"
    other = "f" * 40
    for commit in (COMMIT, other):
        (cached / "snapshots" / commit).mkdir(parents=True)
        for file in copied.rglob("*"):
            if file.is_file():
                target = cached / "snapshots" / commit / file.relative_to(copied)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    dense = next((cached / "snapshots" / other).rglob("*Dense/model.safetensors"))
    from safetensors.torch import load_file, save_file

    save_file({key: -value.flip(0) for key, value in load_file(dense).items()}, dense)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(other)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pinned, newest = load_encoder(f"some/model@{COMMIT}", "cpu"), load_encoder("some/model", "cpu")
    assert pinned.spec == {"kind": "model", "name": "some/model", "revision": COMMIT}
    assert newest.spec == {"kind": "model", "name": "some/model"}
    expected = load_encoder(copied, "cpu").encode_query("a bank")[0]
    for encoder in (pinned, from_spec(pinned.spec, "cpu")):
        assert (encoder.encode_query("a bank")[0] == expected).all()
    assert not (newest.encode_query("a bank")[0] == expected).all()
    with pytest.raises(EncoderError, match=r"some/model@a{40}"):
        load_encoder("some/model@" + "a" * 40, "cpu").encode_query("a bank")
    assert load_cross_encoder(f"some/model@{COMMIT}").spec == pinned.spec
    for wrong in ("some/model@main", "some/model@0123", "some/model@"):
        with pytest.raises(EncoderError, match="is not a commit; give all 40"):
            load_encoder(wrong)
