"""Pooling to a constant number of vectors, compared with the formula, and checkpoints that contain it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import load_encoder
from pgretrieval.encode.constbert import _read_shape, is_constbert, load_constbert
from pgretrieval.encode.modules import ClusterPooling, ConstPooling, load_model, with_clusters, with_pooling
from pgretrieval.errors import ConfigError, EncoderError
from tests.fixtures.models import PROJECTED, TOKENS, VECTORS

DIM = 6


def pooled_plainly(pooling: ConstPooling, vectors: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[δ1|…|δC] = Wᵀ [d1|…|dM] with loops, for one passage."""
    padded = np.zeros((pooling.tokens, pooling.dim))
    for place, (vector, there) in enumerate(zip(vectors, mask, strict=True)):
        if there and place < pooling.tokens:
            padded[place] = vector
    weight = pooling.linear.weight.detach().numpy().astype(np.float64)
    result = np.zeros((pooling.vectors, pooling.dim))
    for c in range(pooling.vectors):
        for m in range(pooling.tokens):
            if pooling.shape == "tokens":
                result[c] += weight[c, m] * padded[m]
            else:
                block = weight[c * pooling.dim : (c + 1) * pooling.dim, m * pooling.dim : (m + 1) * pooling.dim]
                result[c] += block @ padded[m]
    return result / np.linalg.norm(result, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", ["tokens", "full"])
@pytest.mark.parametrize("length", [3, 12, 15])
def test_pooling_is_the_formula(shape: Any, length: int) -> None:
    """Pooling equals the formula; padded, skipped and truncated tokens do not contribute."""
    torch.manual_seed(0)
    pooling = ConstPooling(TOKENS, VECTORS, DIM, shape=shape)
    torch.nn.init.normal_(pooling.linear.weight)
    vectors, mask = torch.randn(2, length, DIM), torch.ones(2, length, dtype=torch.bool)
    mask[1, 1], mask[1, -1] = False, False
    features = pooling({"token_embeddings": vectors, "attention_mask": mask}, task="document")
    assert features["token_embeddings"].shape == (2, VECTORS, DIM)
    assert features["attention_mask"].tolist() == [[True] * VECTORS] * 2
    for number in range(2):
        expected = pooled_plainly(pooling, vectors[number].numpy(), mask[number].numpy())
        np.testing.assert_allclose(features["token_embeddings"][number].detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        pooling.pool([vectors[0]])[0].detach().numpy(), features["token_embeddings"][0].detach().numpy(), atol=1e-6
    )


@pytest.mark.parametrize("shape", ["tokens", "full"])
def test_pooling_is_trained(shape: Any) -> None:
    """The weight's gradient equals finite differences."""
    torch.manual_seed(0)
    pooling = ConstPooling(TOKENS, VECTORS, DIM, shape=shape).double()
    vectors, mask = torch.randn(1, 5, DIM, dtype=torch.float64), torch.ones(1, 5, dtype=torch.bool)

    def score(weight: torch.Tensor) -> torch.Tensor:
        features = {"token_embeddings": vectors, "attention_mask": mask}
        return torch.func.functional_call(pooling, {"linear.weight": weight}, (features,))["token_embeddings"][0, :, 0].sum()

    weight = pooling.linear.weight.detach().clone().requires_grad_()
    score(weight).backward()
    assert weight.grad is not None
    step = torch.zeros_like(weight)
    step.view(-1)[:3] = 1e-4
    with torch.no_grad():
        change = float(score(weight + step) - score(weight - step)) / 2
    assert change == pytest.approx(float((weight.grad * step).sum()), rel=1e-3)


def test_queries_are_not_pooled_and_short_passages_fill_every_vector() -> None:
    """Queries are not pooled, and a passage of one token has no zero vectors."""
    pooling = ConstPooling(TOKENS, VECTORS, DIM)
    query = torch.randn(1, 3, DIM)
    features = pooling({"token_embeddings": query, "attention_mask": torch.ones(1, 3)}, task="query")
    assert features["token_embeddings"] is query
    lengths = pooling.pool([torch.randn(1, DIM)])[0].norm(dim=1)
    np.testing.assert_allclose(lengths.detach().numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"), [({"vectors": 13}, "vectors is 13; give 1 to 12"), ({"vectors": 4, "shape": "dim"}, "shape is 'dim'")]
)
def test_impossible_poolings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConstPooling(TOKENS, dim=DIM, **options)


@pytest.mark.parametrize("shape", ["tokens", "full"])
def test_a_pooled_model_is_saved_and_read_as_an_encoder(library_folder: Path, tmp_path: Path, shape: Any) -> None:
    """A saved model loads with its pooling, without trusting code."""
    torch.manual_seed(1)
    model = with_pooling(load_model(library_folder, "cpu"), VECTORS, tokens=TOKENS, shape=shape)
    model.save(str(tmp_path / "model"), create_model_card=False)
    encoder = load_encoder(tmp_path / "model", device="cpu")
    texts = ["the river flows", "a " * 10, "a " * 20]
    arrays = encoder.encode_document(texts)
    assert [array.shape for array in arrays] == [(VECTORS, PROJECTED)] * 3
    np.testing.assert_allclose(arrays, [array.numpy() for array in model.encode_document(texts)], atol=1e-6)
    assert encoder.count_truncated(texts) == 1
    from sentence_transformers import MultiVectorEncoder

    plain = MultiVectorEncoder(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(arrays, [array.numpy() for array in plain.encode_document(texts)], atol=1e-6)
    assert encoder.encode_query("a bank")[0].shape == (4, PROJECTED)


def test_vectors_of_a_pooled_model_have_length_one(library_folder: Path) -> None:
    """Passage and query vectors have unit length."""
    model = with_pooling(load_model(library_folder, "cpu"), VECTORS, tokens=TOKENS)
    for rows in (model.encode_query(["the river"])[0], model.encode_document(["the river flows"])[0]):
        np.testing.assert_allclose(rows.norm(dim=1), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", ["tokens", "full"])
def test_a_pooling_begins_with_means_of_neighbours(shape: Any) -> None:
    """Initial weights average adjacent tokens and use every one of them."""
    torch.manual_seed(0)
    pooling = ConstPooling(TOKENS, VECTORS, DIM, shape=shape, normalize=False, bias=True)
    assert not pooling.linear.bias.any()
    vectors = torch.randn(TOKENS, DIM, generator=torch.Generator().manual_seed(1))
    found = pooling.pool_one(vectors)
    for number in range(VECTORS):
        mean = vectors[3 * number : 3 * number + 3].mean(dim=0)
        assert float(torch.nn.functional.cosine_similarity(found[number].detach(), mean, dim=0)) > 0.9


def test_a_pooled_model_is_cut_where_its_pooling_ends(library_folder: Path) -> None:
    """Passages are truncated where the pooling ends; a model with a shorter limit keeps its own."""
    for own, expected in ((None, TOKENS), (7, 7), (20, TOKENS)):
        model = load_model(library_folder, "cpu")
        model[0].document_length = own
        assert with_pooling(model, VECTORS, tokens=TOKENS)[0].document_length == expected


def test_a_published_checkpoint_gives_the_vectors_of_its_layers(constbert_folder: Path) -> None:
    """Vectors are computed with the checkpoint's weights, markers and padding."""
    from safetensors.torch import load_file
    from transformers import BertModel

    encoder = load_encoder(constbert_folder, device="cpu")
    [rows] = encoder.encode_document("the bank")
    model = load_constbert(str(constbert_folder), "cpu")
    names = ["[CLS]", "[unused1]", "the", "bank", "[SEP]"]
    ids = torch.tensor([model.tokenizer.convert_tokens_to_ids(names)])
    with torch.no_grad():
        hidden = BertModel.from_pretrained(constbert_folder)(ids).last_hidden_state[0]
    projected = hidden @ load_file(constbert_folder / "model.safetensors")["linear.weight"].T
    [pooling] = [module for module in model if isinstance(module, ConstPooling)]
    np.testing.assert_allclose(rows, pooled_plainly(pooling, projected.numpy(), np.ones(5)), atol=1e-4)
    assert encoder.encode_query("a bank")[0].shape == (32, PROJECTED)


@pytest.mark.parametrize("attend", [None, True])
def test_a_query_is_filled_up_with_masks_that_are_not_attended_to(constbert_folder: Path, attend: bool | None) -> None:
    """Queries are padded to fixed length with masks that are not attended to, after the query marker."""
    from safetensors.torch import load_file
    from transformers import BertModel

    model = load_constbert(str(constbert_folder), "cpu", **({} if attend is None else {"attend_to_expansion": attend}))
    [rows] = model.encode_query(["a bank"])
    names = ["[CLS]", "[unused0]", "a", "bank", "[SEP]", *["[MASK]"] * 27]
    ids = torch.tensor([model.tokenizer.convert_tokens_to_ids(names)])
    mask = torch.ones(1, 32) if attend else (torch.arange(32) < 5)[None].long()
    with torch.no_grad():
        hidden = BertModel.from_pretrained(constbert_folder)(ids, attention_mask=mask).last_hidden_state[0]
    expected = hidden @ load_file(constbert_folder / "model.safetensors")["linear.weight"].T
    torch.testing.assert_close(rows, torch.nn.functional.normalize(expected, dim=1), atol=1e-4, rtol=1e-3)


def test_a_pooling_with_a_bias_and_pickled_tensors_are_read(constbert_folder: Path) -> None:
    """Checkpoints with a bias, a wrapper's prefix, and as pickled tensors are read."""
    from safetensors.torch import load_file

    weights = load_file(constbert_folder / "model.safetensors")
    bias = torch.linspace(-3, 3, len(weights["doc_project.weight"]))
    plain = load_constbert(str(constbert_folder), "cpu").encode_document(["the bank"])[0]
    (constbert_folder / "model.safetensors").unlink()
    wrapped = {key if key.startswith("bert.") else f"model.{key}": values for key, values in weights.items()}
    torch.save(wrapped, constbert_folder / "pytorch_model.bin")
    torch.testing.assert_close(load_constbert(str(constbert_folder), "cpu").encode_document(["the bank"])[0], plain)
    torch.save({**weights, "doc_project.bias": bias}, constbert_folder / "pytorch_model.bin")
    model = load_constbert(str(constbert_folder), "cpu")
    [pooling] = [module for module in model if isinstance(module, ConstPooling)]
    assert torch.equal(pooling.linear.bias, bias)
    assert not torch.allclose(model.encode_document(["the bank"])[0], plain, atol=1e-3)
    (constbert_folder / "pytorch_model.bin").unlink()
    with pytest.raises(EncoderError, match=r"has none of the files model.safetensors, pytorch_model.bin"):
        load_constbert(str(constbert_folder), "cpu")


@pytest.mark.parametrize(
    ("weight", "shape", "expected"),
    [
        ((4, 12), None, (4, 12, "tokens")),
        ((16, 48), None, (2, 6, "full")),
        ((16, 48), "tokens", (16, 48, "tokens")),
        ((8, 24), None, (8, 24, "tokens")),  # one vector of 8 dimensions is less likely than 8 vectors
        ((8, 24), "full", (1, 3, "full")),
        ((16, 44), None, (16, 44, "tokens")),
        ((12, 48), None, (12, 48, "tokens")),
    ],
)
def test_the_shape_of_a_pooling_weight(weight: tuple[int, int], shape: Any, expected: tuple[int, int, str]) -> None:
    """The shape of a published weight of 8 dimensions is recognised."""
    assert _read_shape(weight, 8, shape) == expected


@pytest.mark.parametrize(
    ("architectures", "is_one"), [(["ConstBERT"], True), (["HF_ConstBert"], True), (["BertModel"], False), (None, False)]
)
def test_which_checkpoints_are_published_ones(architectures: list[str] | None, is_one: bool) -> None:
    assert is_constbert({"architectures": architectures}) == is_one
    assert not is_constbert({})


def test_unverified_options_change_the_vectors(constbert_folder: Path) -> None:
    """Each option for unverified settings changes the vectors."""
    text = "the bank."
    plain = load_constbert(str(constbert_folder), "cpu").encode_document([text])[0]
    for options in ({"masked": False}, {"normalize_tokens": True}, {"skip_punctuation": True}, {"markers": (".", ",")}):
        other = load_constbert(str(constbert_folder), "cpu", **options).encode_document([text])[0]  # type: ignore[arg-type]
        assert other.shape == plain.shape
        assert not torch.allclose(other, plain, atol=1e-3), options


def test_unmasked_padding_does_not_depend_on_the_batch(constbert_folder: Path) -> None:
    """A passage's vectors do not depend on longer passages in its batch."""
    model = load_constbert(str(constbert_folder), "cpu", masked=False)
    together = model.encode_document(["a bank", "the river flows to the sea"])[0]
    torch.testing.assert_close(together, model.encode_document(["a bank"])[0], atol=1e-5, rtol=1e-5)


def test_a_checkpoint_without_pooling_is_named(constbert_folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"its weights lack other.weight"):
        load_constbert(str(constbert_folder), "cpu", pooling_key="other.weight")


def test_clusters_are_means_of_similar_tokens() -> None:
    """Tokens near three directions become these, those of short passages repeat, and gradients reach every token."""
    random = torch.Generator().manual_seed(0)
    directions = torch.eye(DIM)[:3]
    owners = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2, 2])
    tokens = (directions[owners] + 0.05 * torch.randn(10, DIM, generator=random)).requires_grad_()
    pooling = ClusterPooling(3)
    features = {"token_embeddings": tokens[None], "attention_mask": torch.ones(1, 10)}
    pooled = pooling(features, task="document")["token_embeddings"][0]
    unit = torch.nn.functional.normalize(tokens, dim=1)
    means = torch.stack([torch.nn.functional.normalize(unit[owners == one].sum(dim=0), dim=0) for one in range(3)])
    similarity = means @ pooled.T
    assert similarity.argmax(dim=1).tolist() == (similarity > 0.9).int().argmax(dim=1).tolist()
    torch.testing.assert_close(similarity.max(dim=1).values, torch.ones(3))
    pooled[:, 3:].sum().backward()
    assert tokens.grad is not None
    assert bool((tokens.grad.abs().sum(dim=1) > 0).all())
    short = pooling.pool([unit[:2]])[0]
    torch.testing.assert_close(short, unit[[0, 1, 0]])
    assert pooling.pool([unit[:0]])[0].shape == (0, DIM)
    lengths = ClusterPooling(1, normalize=False).pool([torch.tensor([[3.0, 0.0], [1.0, 0.0]])])[0]
    torch.testing.assert_close(lengths, torch.tensor([[2.0, 0.0]]))
    with pytest.raises(ConfigError, match="vectors is 0"):
        ClusterPooling(0)


def test_a_model_of_clusters_is_saved_and_read_as_an_encoder(library_folder: Path, tmp_path: Path) -> None:
    """A saved model has a constant number of vectors: the clusters of its own token vectors."""
    model = load_model(library_folder, "cpu")
    texts = ["the river flows to the sea", "a bank", "money flows to the bank a loan"]
    plain = model.encode_document(texts)
    with_clusters(model, VECTORS).save(str(tmp_path / "model"), create_model_card=False)
    encoder = load_encoder(tmp_path / "model", device="cpu")
    assert encoder.vectors_per_passage == VECTORS
    for found, tokens in zip(encoder.encode_document(texts), plain, strict=True):
        np.testing.assert_allclose(found, ClusterPooling(VECTORS).pool_one(tokens).numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_query("a bank")[0], load_encoder(library_folder).encode_query("a bank")[0], atol=1e-5)
