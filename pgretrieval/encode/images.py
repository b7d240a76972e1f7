"""Page images: their encoding by multi-vector models of the library, and which vector is of which part of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgretrieval import importing
from pgretrieval.errors import InputError
from pgretrieval.types import TokenText

IMAGES_PER_CALL = 16
"""Images of one call of the model, which keeps other threads waiting meanwhile."""
_BATCH = 4
MOST_PIXELS = 178_956_970
"""Pixels of an image at most: Pillow refuses larger files."""


class PatchGrid(NamedTuple):
    """Patches of a page's image: rows and columns, the number of the first one's vector, and the number of all vectors.

    Patches follow each other row by row; vectors before and after them are of the model's own words.
    """

    rows: int
    columns: int
    first: int
    vectors: int

    @property
    def last(self) -> int:
        """Number of the vector after the last patch's."""
        return self.first + self.rows * self.columns

    def tokens(self) -> list[TokenText]:
        """Return a token for each vector, which names the row and column of its patch, from 1."""
        named = [
            TokenText(f"row {row}, column {column}") for row in range(1, self.rows + 1) for column in range(1, self.columns + 1)
        ]
        untold = TokenText(None)
        return [untold] * self.first + named + [untold] * (self.vectors - self.last)


def image_size(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height of a passage's page image, as `read_page_images` notes them, or None for other passages."""
    width, height = metadata.get("width"), metadata.get("height")
    if "image" not in metadata or type(width) is not int or type(height) is not int:
        return None
    return (width, height) if width > 0 and height > 0 and width * height <= MOST_PIXELS else None


def open_image(path: str) -> Any:
    """Return an image of a file, in colours. Raises InputError if it cannot be read."""
    with importing.extra(f"{path}: an image", "images"):
        from PIL import Image
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{path}: the image cannot be read ({reason}); check the path, or index its file again"
        raise InputError(msg) from error


def takes_images(model: Any) -> bool:
    """Return whether a `MultiVectorEncoder` encodes images alone, without a text beside them."""
    return "image" in getattr(model[0], "modalities", ())


def encode_images(model: Any, paths: Sequence[str]) -> list[Any]:
    """Return one (vectors, dim) array for each image file."""
    images = [open_image(path) for path in paths]
    arrays: list[Any] = model.encode_document(images, convert_to_numpy=True, batch_size=_BATCH, show_progress_bar=False)
    return arrays


def patches_of(model: Any, size: tuple[int, int]) -> PatchGrid | None:
    """Return the patches of an image of so many pixels, or None if the model does not put them in one block, row by row."""
    from PIL import Image
    from sentence_transformers.multi_vector_encoder.interpretability import get_n_patches

    from pgretrieval.encode.modules import masks_of

    masks, marker = masks_of(model, "document"), getattr(model.processor, "image_token_id", None)
    if masks is None or marker is None:
        return None
    try:
        columns, rows = get_n_patches(model, size)
    except (NotImplementedError, ValueError):  # the library's refusals
        return None
    features = model.preprocess([Image.new("RGB", size)], task="document")
    for mask in masks:
        features = mask(features, task="document")
    counted = features["input_ids"][0][features["attention_mask"][0].bool()]
    places = (counted == marker).nonzero().flatten().tolist()
    if not places or len(places) != rows * columns or places[-1] - places[0] + 1 != len(places):
        return None
    return PatchGrid(rows, columns, places[0], len(counted))
