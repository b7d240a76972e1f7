"""Tokens of passages: those of their texts, or the patches of their page images."""

from __future__ import annotations

from collections.abc import Sequence

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.images import PatchGrid, image_size
from pgretrieval.types import Hit, Passage, TokenText


def is_page_image(encoder: CollectionEncoder | None, passage: Passage | Hit) -> bool:
    """Return whether a passage's vectors are those of its page image."""
    return image_size(passage.metadata) is not None and encoder is not None and encoder.takes_images


def patches_of(encoder: CollectionEncoder | None, passage: Passage | Hit, vectors: int) -> PatchGrid | None:
    """Return the patches of a page image with so many vectors, or None if the encoder does not tell them."""
    size = image_size(passage.metadata)
    if encoder is None or size is None or not encoder.takes_images:
        return None
    found = encoder.image_patches(*size)
    return found if found is not None and found.vectors == vectors else None


def tokens_of(encoder: CollectionEncoder, passages: Sequence[Passage | Hit]) -> list[list[TokenText]] | None:
    """Return the tokens of each passage, none where they are not known; or None if the encoder tells none."""
    if not any(is_page_image(encoder, passage) for passage in passages):
        return encoder.document_tokens([passage.encoded_text for passage in passages])
    return [_page_or_text(encoder, passage) for passage in passages]


def _page_or_text(encoder: CollectionEncoder, passage: Passage | Hit) -> list[TokenText]:
    size = image_size(passage.metadata)
    if size is None:
        return (encoder.document_tokens(passage.encoded_text) or [[]])[0]
    grid = encoder.image_patches(*size)
    return [] if grid is None else grid.tokens()
