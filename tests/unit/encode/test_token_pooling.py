"""Token pooling is that of the library."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from pgretrieval.encode.pooling import pooled


@pytest.mark.parametrize("factor", [2, 3, 7, 9_999])
def test_vectors_are_those_of_the_library(factor: int):
    """For passages of one token to hundreds, also with equal tokens."""
    random = np.random.default_rng(0)
    arrays = []
    for count in (1, 2, 3, 4, 8, 60, 241):
        rows = random.standard_normal((count, 48)).astype(np.float32)
        rows[count // 2 :] += rows[: count - count // 2]
        arrays.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    arrays.append(np.repeat(arrays[2], 5, axis=0))
    library = HierarchicalTokenPooling(factor)
    for tokens, found in zip(arrays, pooled(arrays, factor), strict=True):
        expected = library.pool_one(torch.from_numpy(tokens)).numpy()
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert len(found) <= 1 + max(1, (len(tokens) - 1) // factor)


def test_the_library_is_not_imported():
    """Its import takes seconds."""
    code = (
        "import sys, numpy as np; from pgretrieval.encode.pooling import pooled; "
        "pooled([np.eye(9, 48, dtype=np.float32)], 2); sys.exit('sentence_transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
