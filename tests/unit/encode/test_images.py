"""Encoders that take images: vectors are the library's, and patches are named by row and column."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pgretrieval.encode import load_encoder
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.images import PatchGrid, image_size, patches_of
from pgretrieval.errors import EncoderError, InputError
from pgretrieval.types import TokenText
from tests.support.page_images import noise
from tests.support.telling import TellingEncoder


@pytest.fixture(scope="module")
def encoder(image_model: Path) -> CollectionEncoder:
    return load_encoder(str(image_model), "cpu")


def test_vectors_are_those_of_the_library(encoder: CollectionEncoder, image_model: Path, tmp_path: Path):
    """One array for each image, in order, whatever its size; of several calls if there are many."""
    from sentence_transformers import MultiVectorEncoder

    files = [noise(tmp_path / f"{seed}.png", seed, (60 + seed, 80)) for seed in range(18)]
    expected = MultiVectorEncoder(str(image_model), device="cpu").encode_document([Image.open(file) for file in files])
    found = encoder.encode_images(files)
    assert [rows.shape for rows in found] == [(20, 64)] * 18
    for rows, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(rows, other.float().numpy(), atol=1e-5)
    assert encoder.takes_images
    assert encoder.encode_images([]) == []


def test_patches_are_numbered_by_row_and_column(encoder: CollectionEncoder):
    """The model's four own words follow its sixteen patches."""
    grid = encoder.image_patches(60, 80)
    assert grid == PatchGrid(4, 4, 0, 20)
    tokens = grid.tokens()
    assert [tokens[place] for place in (0, 3, 4, 15, 16, 19)] == [
        TokenText("row 1, column 1"),
        TokenText("row 1, column 4"),
        TokenText("row 2, column 1"),
        TokenText("row 4, column 4"),
        TokenText(None),
        TokenText(None),
    ]
    assert PatchGrid(1, 1, 2, 4).tokens() == [TokenText(None), TokenText(None), TokenText("row 1, column 1"), TokenText(None)]


def test_patches_of_other_models_are_not_known(encoder: CollectionEncoder, library_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Models of texts, pooled vectors, processors that the library refuses, and patches that are not one block have no grid."""
    from sentence_transformers.multi_vector_encoder import interpretability

    assert load_encoder(str(library_folder), "cpu").image_patches(60, 80) is None
    assert encoder.pooling_by(2).image_patches(60, 80) is None
    monkeypatch.setattr(interpretability, "get_n_patches", lambda *_: (3, 4))
    assert encoder.image_patches(61, 80) is None

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(interpretability, "get_n_patches", refuse)
    assert encoder.image_patches(62, 80) is None


class _Model(list[object]):
    """A model without modules that reads these tokens of an image; 7 is a patch."""

    processor = SimpleNamespace(image_token_id=7)

    def __init__(self, *tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def preprocess(self, *_: object, **__: object) -> dict[str, object]:
        import torch

        ids = torch.tensor([self.tokens])
        return {"input_ids": ids, "attention_mask": torch.ne(ids, 0)}


def test_patches_are_one_block_among_the_tokens_that_count(monkeypatch: pytest.MonkeyPatch):
    """Masked tokens have no vector; a model that writes words between patches tells no grid."""
    from sentence_transformers.multi_vector_encoder import interpretability

    monkeypatch.setattr(interpretability, "get_n_patches", lambda *_: (2, 2))
    assert patches_of(_Model(0, 1, 7, 7, 7, 7), (8, 8)) == PatchGrid(2, 2, 1, 5)
    assert patches_of(_Model(7, 7, 1, 7, 7), (8, 8)) is None
    assert patches_of(_Model(1, 1), (8, 8)) is None


def test_vectors_of_images_are_pooled(encoder: CollectionEncoder, tmp_path: Path):
    [rows] = encoder.pooling_by(2).encode_images([noise(tmp_path / "a.png", 1)])
    assert rows.shape == (10, 64)


def test_tokens_of_queries_have_no_places(encoder: CollectionEncoder):
    """The model writes words around the query, so places in what it reads are not places in the query."""
    [tokens] = encoder.query_tokens("river bank")
    assert [token.text for token in tokens][1:5] == ["Question:", "river", "bank", "<pad>"]
    assert {(token.start, token.end) for token in tokens} == {(None, None)}
    assert len(tokens) == len(encoder.encode_query("river bank")[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x89PNG\r\n\x1a\nbroken", "cannot identify image file"), (b"", "cannot identify"), (None, "No such file")],
)
def test_a_file_that_is_no_image_is_named(encoder: CollectionEncoder, tmp_path: Path, content: bytes | None, reason: str):
    file = tmp_path / "broken.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png: the image cannot be read.*index its file again") as raised:
        encoder.encode_images([noise(tmp_path / "a.png", 1), file])
    assert reason in str(raised.value)


def test_an_encoder_of_texts_refuses_images(library_folder: Path):
    for encoder in (load_encoder("minilm"), load_encoder(str(library_folder), "cpu"), load_encoder(TellingEncoder())):
        assert not encoder.takes_images
        with pytest.raises(EncoderError, match=r"reads texts, not images; use a multi-vector image model"):
            encoder.encode_images(["a.png"])


def test_an_object_may_take_images():
    """By a method of that name; what fails in it is an EncoderError, and what it returns is checked."""

    class Own(TellingEncoder):
        def encode_images(self, paths: list[str]) -> list[np.ndarray]:
            return {"good": [np.eye(2, 64)], "few": [], "bad": [np.zeros((2, 64))]}[paths[0]]

    encoder = load_encoder(Own())
    assert encoder.takes_images
    assert encoder.encode_images(["good"])[0].shape == (2, 64)
    assert encoder.image_patches(8, 8) is None
    with pytest.raises(EncoderError, match="encode_images returned 0 arrays for 1 texts"):
        encoder.encode_images(["few"])
    with pytest.raises(EncoderError, match="token vectors of bad is all zeros"):
        encoder.encode_images(["bad"])
    with pytest.raises(EncoderError, match=r"encode_images of encoder .* failed on 1 texts, the first 'other'"):
        encoder.encode_images(["other"])


@pytest.mark.parametrize(
    "metadata",
    [
        {"width": 2, "height": 3},
        {"image": "a.png"},
        {"image": "a.png", "width": 2.0, "height": 3},
        {"image": "a.png", "width": True, "height": 3},
        {"image": "a.png", "width": 0, "height": 3},
        {"image": "a.png", "width": 10**6, "height": 10**6},
    ],
)
def test_metadata_of_other_passages_are_not_of_a_page(metadata: dict[str, object]):
    assert image_size(metadata) is None
    assert image_size({"image": "a.png", "width": 2, "height": 3}) == (2, 3)
