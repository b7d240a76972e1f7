"""BERT's layers for one text, by one compiled function.

A short text takes as long as reading the weights, so these are kept in two bytes, and each is read from memory once: a panel of
some outputs is multiplied with all tokens while it is in the nearest cache. No text is padded, and what is computed between two
products never leaves the caches. Sums are in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import binding
from torch import Tensor

from pgretrieval.numerics.kernels import products_of
from pgretrieval.numerics.llvm import (
    ADDRESS,
    FLOAT,
    INT32,
    INT64,
    LANE_FLOATS,
    LANE_HALVES,
    LANE_INTS,
    LANES,
    LOWEST,
    ONES,
    UINT16,
    ZEROS,
    Code,
    constant,
    number,
)
from pgretrieval.types import Float32Array

_TOGETHER = 6  # tokens multiplied at once: each weight that is loaded serves all of them
_QUERIES_TOGETHER = 4  # in the attention
_AHEAD = 2048  # weights between the request for one and its use
_BF16_PANEL = 2 * LANES  # outputs, each with two inputs to a lane
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)  # Abramowitz and Stegun 7.1.26, error 1.5e-7
_ERF_SCALE = 0.3275911


def compiles() -> bool:
    """Return whether this processor reads float16."""
    return bool(binding.get_host_cpu_features().get("f16c"))


class TextLayers:
    """Layers of a BERT. Its width, that of a head and that between two products are multiples of 32.

    With `bf16`, for processors that multiply it, weights and tokens of a product are bfloat16. Otherwise weights are float16,
    with an eighth of its rounding error, and tokens float32.
    """

    def __init__(self, layers: Sequence[Mapping[str, Tensor]], heads: int, epsilon: float, *, bf16: bool) -> None:
        """Take the weights of each layer, by the names of BERT's checkpoints."""
        joined = [_joined(layer, heads) for layer in layers]
        self._weights = np.empty((len(layers), sum(matrix.numel() for matrix in joined[0][0])), dtype=np.int16)
        for (matrices, _), packed in zip(joined, self._weights, strict=True):
            _pack(matrices, packed, bf16)
        self._vectors = torch.stack([torch.cat(vectors).float() for _, vectors in joined]).numpy()
        self._inner, self._width = joined[0][0][2].shape
        self._heads = heads
        self._run = _kernel(self._width, self._inner, heads, epsilon, bf16)

    def __call__(self, hidden: Float32Array) -> None:
        """Replace the hidden states (tokens, width) of one text, one row after the other in memory, by those after all layers."""
        rows = len(hidden)
        groups = -(-rows // LANES)
        starts = np.full(groups * LANES, -np.inf, dtype=np.float32)  # lanes without a token get no attention
        starts[:rows] = 0
        keys = np.zeros(groups * LANES * self._width // self._heads, dtype=np.float32)
        scratch = np.empty(rows * (5 * self._width + 2 * self._inner + groups * LANES), dtype=np.float32)
        arrays = (hidden, self._weights, self._vectors, scratch, keys, starts)
        self._run(*(array.ctypes.data for array in arrays), rows, groups, len(self._weights))


def _joined(layer: Mapping[str, Tensor], heads: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the four matrices of a layer, then their biases and the two vectors of each normalisation."""

    def both(name: str) -> tuple[Tensor, Tensor]:
        return layer[f"{name}.weight"], layer[f"{name}.bias"]

    (query, shift), key, value = (both(f"attention.self.{part}") for part in ("query", "key", "value"))
    scale = (len(query) / heads) ** -0.5  # of the products of queries and keys
    parts = [torch.cat(some) for some in zip((scale * query, scale * shift), key, value, strict=True)]
    linear = [parts, *map(both, ("attention.output.dense", "intermediate.dense", "output.dense"))]
    norms = [*both("attention.output.LayerNorm"), *both("output.LayerNorm")]
    return [matrix for matrix, _ in linear], [*(bias for _, bias in linear), *norms]


def _pack(matrices: Sequence[Tensor], packed: Any, bf16: bool) -> None:
    """Write (outputs, inputs) matrices as (panels, inputs, outputs of a panel), with bfloat16 two inputs of an output together."""
    panel, together, kind = (_BF16_PANEL, 2, torch.bfloat16) if bf16 else (LANES, 1, torch.float16)
    ends = np.cumsum([matrix.numel() for matrix in matrices])
    for matrix, place in zip(matrices, np.split(packed, ends[:-1]), strict=True):
        panels, inputs = len(matrix) // panel, matrix.shape[1] // together
        short = matrix.to(kind).view(torch.int16).numpy()  # numpy moves numbers of two bytes twice as fast as torch
        place.reshape(panels, inputs, panel, together)[:] = short.reshape(panels, panel, inputs, together).swapaxes(1, 2)


@cache
def _kernel(width: int, inner: int, heads: int, epsilon: float, bf16: bool) -> Callable[..., None]:
    """All layers for hidden states (rows, width), which they replace."""
    code = Code([ADDRESS] * 6 + [INT64] * 3)
    hidden, weights, vectors, scratch, keys, starts, rows, groups, layers = code.arguments
    linear = _linear_kernel(bf16)
    sizes = (3 * width, width, width, inner, inner, 0)
    before = [sum(sizes[:place]) for place in range(len(sizes))]
    parts, mixed, added, wide, short, chances = (code.at(scratch, code.times(rows, number(size)), FLOAT) for size in before)
    of_matrices, of_biases, of_norm = 4 * width * width + 2 * width * inner, 5 * width + inner, 2 * width
    attention = _Attention(code, rows, groups, width, width // heads)

    def layer(which: Any) -> tuple[()]:
        matrix = code.at(weights, code.times(which, number(of_matrices)), UINT16)
        bias = code.at(vectors, code.times(which, number(of_biases + 2 * of_norm)), FLOAT)
        norms = [code.at(bias, number(of_biases + other * of_norm), FLOAT) for other in range(2)]

        def multiply(source: Any, target: Any, inputs: int, outputs: int) -> None:
            nonlocal matrix, bias
            code.call(linear, source, matrix, bias, target, short, rows, number(inputs), number(outputs))
            matrix, bias = code.at(matrix, number(inputs * outputs), UINT16), code.at(bias, number(outputs), FLOAT)

        multiply(hidden, parts, width, 3 * width)
        code.loop(number(heads), lambda head: attention.mix(head, parts, mixed, keys, chances, starts))
        multiply(mixed, added, width, width)
        _add_and_normalise(code, hidden, added, norms[0], rows, width, epsilon)
        multiply(hidden, wide, width, inner)
        _gelu(code, wide, code.times(rows, number(inner // LANES)))
        multiply(wide, added, inner, width)
        _add_and_normalise(code, hidden, added, norms[1], rows, width, epsilon)
        return ()

    code.loop(layers, layer)
    return code.compiled(improved=False)


@cache
def _linear_kernel(bf16: bool) -> Callable[..., None]:
    """(rows, inputs) times packed weights, plus bias: (rows, outputs). `short` has room for the rows in bfloat16."""
    code = Code([ADDRESS] * 5 + [INT64] * 3)
    source, weights, bias, target, short, rows, inputs, outputs = code.arguments
    panel, kind = (_BF16_PANEL, INT32) if bf16 else (LANES, UINT16)
    steps = code.quotient(inputs, number(2)) if bf16 else inputs
    last = code.plus(rows, number(-1))

    def shorten(i: Any) -> tuple[()]:
        code.store(code.shortened(code.load(source, i, LANE_FLOATS)), short, i)
        return ()

    def add_products(place: Any, tokens: list[Any], k: Any, totals: Sequence[Any]) -> list[Any]:
        """Totals and the products of some weights with an input, or with bfloat16 a pair of inputs, of each token."""
        if bf16:
            pairs = [code.load(place, number(v), LANE_INTS) for v in range(panel // LANES)]
            values = [code.everywhere(code.load(token, k, INT32)) for token in tokens]
            factors = [(value, pair) for value in values for pair in pairs]
            return [code.add_pairs(total, *both) for total, both in zip(totals, factors, strict=True)]
        weight = code.widened(code.load(place, number(0), LANE_HALVES))
        inputs_now = [code.everywhere(code.load(token, k, FLOAT)) for token in tokens]
        return [code.add_product(total, value, weight) for total, value in zip(totals, inputs_now, strict=True)]

    def one_panel(p: Any) -> tuple[()]:
        first = code.times(p, number(panel))
        here = code.at(weights, code.times(first, steps), kind)
        starts = [code.load(code.at(bias, first, FLOAT), number(v), LANE_FLOATS) for v in range(panel // LANES)]

        def some_rows(r: Any) -> tuple[()]:
            some = [code.least(code.plus(r, number(other)), last) for other in range(_TOGETHER)]
            tokens = [code.at(short if bf16 else source, code.times(one, steps), INT32 if bf16 else FLOAT) for one in some]

            def step(k: Any, *totals: Any) -> list[Any]:
                place = code.at(here, code.times(k, number(panel)), kind)
                code.prefetch(code.at(place, number(_AHEAD), UINT16))
                return add_products(place, tokens, k, totals)

            totals = iter(code.loop(steps, step, starts * _TOGETHER))
            for one in some:
                there = code.at(target, code.plus(code.times(one, outputs), first), FLOAT)
                for v in range(panel // LANES):
                    code.store(next(totals), there, number(v))
            return ()

        code.loop(rows, some_rows, step=_TOGETHER)
        return ()

    if bf16:
        code.loop(code.quotient(code.times(rows, inputs), number(LANES)), shorten)
    code.loop(code.quotient(outputs, number(panel)), one_panel)
    return code.compiled(improved=False)


@dataclass(frozen=True)
class _Attention:
    """Attention of `rows` tokens, in `groups` vectors of lanes, with heads of `size` dimensions."""

    code: Code
    rows: Any
    groups: Any
    width: int
    size: int

    def mix(self, head: Any, parts: Any, mixed: Any, keys: Any, chances: Any, starts: Any) -> tuple[()]:
        """One head: (rows, 3 width) queries, keys and values -> (rows, width)."""
        code = self.code
        queries, of_keys, values = (
            code.at(parts, code.plus(code.times(head, number(self.size)), number(which * self.width)), FLOAT) for which in range(3)
        )
        target = code.at(mixed, code.times(head, number(self.size)), FLOAT)
        code.loop(self.rows, lambda row: self._by_lanes(row, of_keys, keys))
        code.loop(self.rows, lambda row: self._compare(row, queries, keys, chances, starts), step=_QUERIES_TOGETHER)
        code.loop(self.rows, lambda row: self._add_values(row, chances, values, target))
        return ()

    def _of(self, part: Any, row: Any) -> Any:
        """Address of a token's query, key or value."""
        return self.code.at(part, self.code.times(row, number(3 * self.width)), FLOAT)

    def _by_lanes(self, row: Any, of_keys: Any, keys: Any) -> tuple[()]:
        """Copy a key to (groups, size, LANES)."""
        code = self.code
        group, key = code.quotient(row, number(LANES)), self._of(of_keys, row)
        lane = code.at(keys, code.plus(row, code.times(group, number(LANES * (self.size - 1)))), FLOAT)

        def dimension(d: Any) -> tuple[()]:
            code.store(code.load(key, d, FLOAT), lane, code.times(d, number(LANES)))
            return ()

        code.loop(number(self.size), dimension)
        return ()

    def _compare(self, row: Any, queries: Any, keys: Any, chances: Any, starts: Any) -> tuple[()]:
        """Products of some queries with all keys, (rows, groups, LANES)."""
        code, last = self.code, self.code.plus(self.rows, number(-1))
        some = [code.least(code.plus(row, number(other)), last) for other in range(_QUERIES_TOGETHER)]
        vectors = [self._of(queries, one) for one in some]

        def group(g: Any) -> tuple[()]:
            lanes = code.at(keys, code.times(g, number(self.size)), LANE_FLOATS)
            products = products_of(code, lanes, vectors, self.size, code.load(starts, g, LANE_FLOATS))
            for one, product in zip(some, products, strict=True):
                code.store(product, chances, code.plus(code.times(one, self.groups), g))
            return ()

        code.loop(self.groups, group)
        return ()

    def _add_values(self, row: Any, chances: Any, values: Any, target: Any) -> tuple[()]:
        """The mean of all values, weighted by e to the power of the products."""
        code = self.code
        own = code.at(chances, code.times(row, self.groups), LANE_FLOATS)
        (most,) = code.loop(self.groups, lambda g, best: (code.greater(code.load(own, g, LANE_FLOATS), best),), [LOWEST])
        most = code.everywhere(code.greatest_of(most))

        def chance(g: Any, total: Any) -> tuple[Any]:
            power = code.exp(code.subtract(code.load(own, g, LANE_FLOATS), most))
            code.store(power, own, g)
            return (code.add(total, power),)

        def add_value(other: Any, *sums: Any) -> list[Any]:
            value, factor = self._of(values, other), code.everywhere(code.load(own, other, FLOAT))
            return [code.add_product(one, factor, code.load(value, number(v), LANE_FLOATS)) for v, one in enumerate(sums)]

        (total,) = code.loop(self.groups, chance, [ZEROS])
        share = code.divide(ONES, code.everywhere(code.sum_of(total)))
        there = code.at(target, code.times(row, number(self.width)), FLOAT)
        for v, one in enumerate(code.loop(self.rows, add_value, [ZEROS] * (self.size // LANES))):
            code.store(code.multiply(one, share), there, number(v))
        return ()


def _add_and_normalise(code: Code, hidden: Any, added: Any, norms: Any, rows: Any, width: int, epsilon: float) -> None:
    """Append hidden = normalised (hidden + added), times the first vector of `norms`, plus the second."""
    vectors = number(width // LANES)

    def row(i: Any) -> tuple[()]:
        here, there = (code.at(base, code.times(i, number(width)), FLOAT) for base in (hidden, added))

        def add(v: Any, total: Any) -> tuple[Any]:
            summed = code.add(code.load(here, v, LANE_FLOATS), code.load(there, v, LANE_FLOATS))
            code.store(summed, here, v)
            return (code.add(total, summed),)

        (total,) = code.loop(vectors, add, [ZEROS])
        mean = code.multiply(code.everywhere(code.sum_of(total)), constant(1 / width))

        def centre(v: Any, squares: Any) -> tuple[Any]:
            centred = code.subtract(code.load(here, v, LANE_FLOATS), mean)
            code.store(centred, here, v)
            return (code.add_product(squares, centred, centred),)

        (squares,) = code.loop(vectors, centre, [ZEROS])
        variance = code.add(code.multiply(squares, constant(1 / width)), constant(epsilon / LANES))
        scale = code.everywhere(code.inverse_root_of_sum(variance))

        def finish(v: Any) -> tuple[()]:
            scaled = code.multiply(code.multiply(code.load(here, v, LANE_FLOATS), scale), code.load(norms, v, LANE_FLOATS))
            shift = code.load(code.at(norms, number(width), FLOAT), v, LANE_FLOATS)
            code.store(code.add(scaled, shift), here, v)
            return ()

        code.loop(vectors, finish)
        return ()

    code.loop(rows, row)


def _gelu(code: Code, values: Any, count: Any) -> None:
    """Append x times the normal distribution's share below x, for so many vectors."""

    def one(v: Any) -> tuple[()]:
        value = code.load(values, v, LANE_FLOATS)
        size = code.greater(value, code.subtract(ZEROS, value))
        inverse = code.divide(ONES, code.add_product(ONES, size, constant(_ERF_SCALE * 0.5**0.5)))
        polynomial = constant(_ERF[0])
        for factor in _ERF[1:]:
            polynomial = code.add_product(constant(factor), polynomial, inverse)
        falling = code.multiply(inverse, code.exp(code.multiply(code.multiply(value, value), constant(-0.5))))
        beyond = code.multiply(code.multiply(polynomial, constant(0.5)), falling)  # the share of what is farther from 0
        code.store(code.subtract(code.greater(value, ZEROS), code.multiply(size, beyond)), values, v)
        return ()

    code.loop(count, one)
