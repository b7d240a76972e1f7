"""Collections of page images: passages without text, searched by texts and explained by patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.encode.images import PatchGrid
from pgretrieval.errors import ConfigError, InputError
from tests.support.page_images import noise

PAGES = 6
QUERY = "river bank"


@pytest.fixture
def pages(tmp_path: Path) -> list[pgretrieval.Passage]:
    folder = tmp_path / "pages"
    folder.mkdir()
    for seed in range(PAGES):
        noise(folder / f"{seed}.png", seed)
    return list(pgretrieval.read_page_images(folder))


@pytest.fixture
def scans(
    database: pgretrieval.RetrievalDatabase, image_model: Path, pages: list[pgretrieval.Passage], request: pytest.FixtureRequest
) -> pgretrieval.Collection:
    collection = database.create_collection("scans", encoder=str(image_model), **getattr(request, "param", {}))
    collection.add(pages, vectors=collection.encoder.encode_images([page.metadata["image"] for page in pages]))
    return collection


@pytest.mark.parametrize("scans", [{"keep_vectors": True}], indirect=True)
@pytest.mark.parametrize("built", [False, True])
def test_a_search_compares_the_query_with_the_images(
    scans: pgretrieval.Collection, pages: list[pgretrieval.Passage], built: bool
) -> None:
    """Scores are MaxSim of the model's vectors; hits have path and image, and matches name patches."""
    if built:
        scans.build()
    query = scans.encoder.encode_query(QUERY)[0]
    images = scans.encoder.encode_images([page.metadata["image"] for page in pages])
    expected = sorted((float((query @ rows.T).max(axis=1).sum()) for rows in images), reverse=True)
    hits = scans.search(QUERY, PAGES, matches=True)
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-3)
    for hit in hits:
        rows = images[[page.id for page in pages].index(hit.id)]
        assert hit.text == ""
        assert hit.metadata["image"].endswith(hit.title)
        for match in hit.matches:
            assert match.position == int((query @ rows.T)[match.query_position].argmax())
            row, column = divmod(match.position, 4)
            assert match.token == (f"row {row + 1}, column {column + 1}" if match.position < 16 else None)
            assert match.start is None


def test_an_explanation_has_the_patches(scans: pgretrieval.Collection, pages: list[pgretrieval.Passage]) -> None:
    """Without the files of the images, too; JSON has them."""
    scans.build()
    for page in pages:
        Path(page.metadata["image"]).unlink()
    found = scans.explain_match(QUERY, pages[2].id)
    assert found.patches == PatchGrid(4, 4, 0, 20)
    assert found.similarities.shape == (len(found.query_tokens), 20)
    assert found.passage_tokens[5].text == "row 2, column 2"
    assert found.note is None
    assert found.as_dict()["patches"] == {"rows": 4, "columns": 4, "first": 0, "vectors": 20}


@pytest.mark.parametrize("scans", [{"token_pooling": 2}], indirect=True)
def test_where_patches_are_not_known_it_is_said(scans: pgretrieval.Collection, pages: list[pgretrieval.Passage]) -> None:
    """As of pooled vectors; positions stay."""
    found = scans.explain_match(QUERY, pages[0].id)
    assert found.patches is None
    assert "does not tell which vector is of which patch" in found.note
    assert {match.token for match in found.matches} == {None}
    assert all(match.position is not None for match in found.matches)
    assert found.as_dict()["patches"] is None


def test_texts_and_pages_can_share_a_collection(scans: pgretrieval.Collection, image_model: Path) -> None:
    """Tokens of a text are its words, those of a page its patches; metadata alone make no page."""
    text = {"id": "text", "text": "river bank money"}
    scans.add([text], vectors=scans.encoder.encode_query([text["text"]]))
    tokens = {hit.id: [match.token for match in hit.matches] for hit in scans.search(QUERY, PAGES + 1, matches=True)}
    assert "river" in tokens["text"]
    assert any("row" in (token or "") for key, listed in tokens.items() if key != "text" for token in listed)
    assert scans.explain_match(QUERY, "text").patches is None


@pytest.mark.parametrize("record", [{"id": "x", "text": ""}, pgretrieval.Passage("x", " ")])
def test_only_given_vectors_make_up_for_a_text(scans: pgretrieval.Collection, record: Any) -> None:
    with pytest.raises(InputError, match=r"passage 1 \(id 'x'\): the text is empty or blank"):
        scans.add([record])
    with pytest.raises(InputError, match=r"passage 1: .*|the text is missing"):
        scans.add([{"id": "x"}], vectors=[np.eye(2, 64)])
    scans.add([record], vectors=[np.eye(2, 64)])
    assert scans.get(["x"])["x"].text.strip() == ""
    assert scans.check() == []


def test_metadata_of_a_page_can_change_but_not_its_text(scans: pgretrieval.Collection, pages: list[pgretrieval.Passage]) -> None:
    """A new title would be encoded without the image, and is refused; a new text is encoded."""
    key = pages[0].id
    scans.update([{"id": key, "metadata": {"year": 2020}}])
    assert scans.get([key])[key].metadata == {"year": 2020}
    with pytest.raises(InputError, match=rf"passage '{key}' has no text to encode, because its vectors were given"):
        scans.update([{"id": key, "title": "New"}])
    scans.update([{"id": key, "title": "New"}], vectors=[np.eye(2, 64)])
    assert scans.get([key])[key].title == "New"


def test_a_rebuild_keeps_images_or_says_why_not(scans: pgretrieval.Collection, image_model: Path) -> None:
    """It encodes texts, which pages lack; another codebook needs kept vectors."""
    with pytest.raises(ConfigError, match=r"would encode the texts of collection 'scans', whose vectors were given, not its page"):
        scans.rebuild(encoder=str(image_model))
    with pytest.raises(ConfigError, match="index the pages into a new collection with this encoder or token_pooling"):
        scans.rebuild(token_pooling=2)
    with pytest.raises(InputError, match=r"passage '.*\.png#1' has no text to encode"):
        scans.rebuild(encoder="minilm")
    assert len(scans.search(QUERY, PAGES)) == PAGES


@pytest.mark.parametrize("scans", [{"keep_vectors": True}], indirect=True)
def test_kept_vectors_of_images_are_rebuilt(scans: pgretrieval.Collection) -> None:
    scans.build()
    before = [hit.id for hit in scans.search(QUERY, PAGES)]
    scans.rebuild()
    assert [hit.id for hit in scans.search(QUERY, PAGES)] == before
    assert scans.check() == []


def test_words_of_the_text_layer_are_searched(database: pgretrieval.RetrievalDatabase, image_model: Path) -> None:
    """Pages without text are found by their image alone, in a hybrid search too."""
    collection = database.create_collection("scans", encoder=str(image_model))
    random = np.random.default_rng(0)
    collection.add(
        [{"id": "words", "text": "the annual figures"}, {"id": "none", "text": ""}], vectors=list(random.normal(size=(2, 9, 64)))
    )
    collection.build()
    assert [hit.id for hit in collection.text_search("figures")] == ["words"]
    assert {hit.id for hit in collection.hybrid_search("figures")} == {"words", "none"}
