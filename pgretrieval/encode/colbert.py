"""ColBERT over a transformer: [Q] and [D] markers, queries padded with [MASK], a skip list, and a projection without bias."""

from __future__ import annotations

import string
from typing import Any

from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, vetted_folder, without_stdin

DIM = 128
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 220
QUERY_MARKER, DOCUMENT_MARKER = "[unused0]", "[unused1]"
"""Tokens of BERT's vocabulary that ColBERT uses as [Q] and [D]."""


def new_colbert(
    name: str,
    device: str | None = None,
    *,
    dim: int = DIM,
    query_length: int = QUERY_LENGTH,
    document_length: int = DOCUMENT_LENGTH,
    expand: bool = True,
    attend: bool = False,
    skip_punctuation: bool = True,
    query_marker: str = QUERY_MARKER,
    document_marker: str = DOCUMENT_MARKER,
    normalize: bool = True,
) -> Any:
    """Return a `MultiVectorEncoder` of a bare transformer, by folder or Hugging Face name, and a random projection to `dim`.

    Lengths include the markers and are at most what the transformer reads. With `expand`, queries are padded to their length with
    [MASK], whose outputs are used; with `attend`, other tokens attend to them. Markers that the vocabulary lacks are added to it;
    an empty text means none. `skip_punctuation` leaves the vectors of punctuation out of passages. The defaults are ColBERTv2's.
    """
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    from pgretrieval.encode.modules import token_projection

    transformer = marked_transformer(
        vetted_folder(name),
        (query_marker, document_marker),
        query_length=query_length,
        document_length=document_length,
        expand=expand,
        attend=attend,
    )
    modules = [
        transformer,
        token_projection(transformer.get_embedding_dimension(), dim),
        MultiVectorMask(skiplist_words=list(string.punctuation) if skip_punctuation else None),
        *([Normalize(module_input_name="token_embeddings")] if normalize else []),
    ]
    return MultiVectorEncoder(modules=modules, prompts=prompts(query_marker, document_marker), device=device)


def marked_transformer(
    folder: str,
    markers: tuple[str, str],
    *,
    query_length: int,
    document_length: int,
    expand: bool,
    attend: bool,
    **options: Any,
) -> Any:
    """Load the transformer in a vetted folder, with markers in its vocabulary and ColBERT's lengths; `options` are its own."""
    from sentence_transformers.base.modules import Transformer

    with without_stdin():
        transformer = Transformer(
            folder, model_kwargs=dict(CLOSED_WEIGHTS), processor_kwargs=dict(CLOSED), config_kwargs=dict(CLOSED), **options
        )
    limit = transformer.max_seq_length or document_length
    transformer.document_length = min(document_length, limit)
    if expand:
        transformer.query_expansion = {"strategy": "fixed", "attend": attend, "length": min(query_length, limit)}
    else:
        transformer.query_length = min(query_length, limit)
    tokenizer = transformer.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": [marker for marker in markers if marker]})
    if len(tokenizer) > transformer.model.get_input_embeddings().num_embeddings:
        transformer.model.resize_token_embeddings(len(tokenizer))
    return transformer


def prompts(query_marker: str, document_marker: str) -> dict[str, str]:
    """Return a model's prompts, which put the markers before texts."""
    return {"query": query_marker and f"{query_marker} ", "document": document_marker and f"{document_marker} "}
