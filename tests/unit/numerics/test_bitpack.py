"""The byte layout of residuals, part of the database format: most significant bits first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.errors import ConfigError
from pgretrieval.numerics.bitpack import byte_table, pack, packed_width, unpack


@pytest.mark.parametrize(
    ("bits", "values", "expected"),
    [
        (1, [1, 0, 0, 0, 0, 0, 1, 1], [0b10000011]),
        (2, [3, 0, 1, 2], [0b11000110]),
        (4, [15, 1], [0b11110001]),
        (1, [1, 0, 1], [0b10100000]),  # padded with zero bits to a whole byte
        (4, [1, 2, 3], [0x12, 0x30]),
    ],
)
def test_first_value_lies_in_the_highest_bits(bits: int, values: list[int], expected: list[int]) -> None:
    packed = pack(torch.tensor([values], dtype=torch.uint8), bits)
    assert packed.tolist() == [expected]


@given(bits=st.sampled_from([1, 2, 4]), dim=st.integers(1, 130), tokens=st.integers(1, 5), seed=st.integers(0, 99))
def test_unpack_inverts_pack(bits: int, dim: int, tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2**bits, (tokens, dim), generator=generator, dtype=torch.uint8)
    packed = pack(values, bits)
    assert packed.shape == (tokens, packed_width(dim, bits))
    assert torch.equal(unpack(packed, dim, bits), values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_byte_table_names_what_each_byte_stands_for(bits: int) -> None:
    levels = np.arange(2**bits, dtype=np.float32) * 10
    table = byte_table(levels, bits)
    byte = 0b11100100
    values = unpack(torch.tensor([[byte]], dtype=torch.uint8), 8 // bits, bits)[0]
    assert table[byte].tolist() == levels[values.numpy()].tolist()


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_other_widths_are_refused_by_value(bits: int) -> None:
    with pytest.raises(ConfigError, match=str(bits)):
        packed_width(128, bits)
