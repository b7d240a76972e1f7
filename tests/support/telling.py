"""The hashed encoder that also tells its tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.support.encoder import HashedEncoder


class TellingEncoder(HashedEncoder):
    """Tells its tokens: the words, with offsets."""

    def query_tokens(self, texts: Sequence[str]) -> list[list[tuple[str, int, int]]]:
        return [[(word.group(), *word.span()) for word in re.finditer(r"\S+", text)] for text in texts]

    document_tokens = query_tokens
