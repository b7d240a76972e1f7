"""Vector code by LLVM: what one pass over memory does where numpy and torch need several."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from llvmlite import binding, ir

LANES = 16


class _BFloat(ir.types.Type):  # type: ignore[misc]  # the only type of floats that llvmlite lacks
    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BYTE, UINT16, INT32, INT64, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
LANE_FLOATS = ir.VectorType(FLOAT, LANES)
LANE_INTS = ir.VectorType(INT32, LANES)
LANE_HALVES = ir.VectorType(ir.HalfType(), LANES)
_LANE_BFLOATS, _LANE_PAIRS = ir.VectorType(_BFloat(), LANES), ir.VectorType(_BFloat(), 2 * LANES)
ADDRESS = BYTE.as_pointer()
ZEROS, ONES = (ir.Constant(LANE_FLOATS, [value] * LANES) for value in (0.0, 1.0))
LOWEST = ir.Constant(LANE_FLOATS, [float("-inf")] * LANES)
NUMBERS = ir.Constant(LANE_INTS, list(range(LANES)))
_LAST = ir.Constant(LANE_INTS, [2**31 - 1] * LANES)
_ANY_ORDER = ("contract", "reassoc", "nsz")  # products may be fused with sums, and sums regrouped
_FLOAT_BYTES = 4
_LOG2_E, _LN_2 = 1.4426950408889634, 0.6931471805599453
_LEAST_POWER = -87.0  # of e that is a float without leading zeros
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23


def number(value: int) -> ir.Constant:
    """A constant that counts or indexes."""
    return ir.Constant(INT64, value)


def constant(value: float) -> ir.Constant:
    """A vector with the same constant in every lane."""
    return ir.Constant(LANE_FLOATS, [value] * LANES)


class Code:
    """A function under construction: void, of arguments that are addresses or counts. Its methods append instructions."""

    def __init__(self, arguments: Sequence[ir.Type]) -> None:
        self._types = arguments
        self._module = ir.Module()
        self._function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), arguments), "kernel")
        self.arguments: list[Any] = list(self._function.args)
        self._builder = ir.IRBuilder(self._function.append_basic_block())
        self._called: list[Callable[..., None]] = []

    def floats(self, count: int) -> Any:
        """Memory for so many floats, until the function ends."""
        memory = self._builder.alloca(FLOAT, number(count))
        memory.align = LANES * _FLOAT_BYTES
        return memory

    def loop(self, count: Any, body: Callable[..., Sequence[Any]], carried: Sequence[Any] = (), step: int = 1) -> list[Any]:
        """Append `body(index, *carried)` for 0, step, … below count, once at least; it returns what the next round carries."""
        builder, before = self._builder, self._builder.block
        start, end = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(start)
        builder.position_at_end(start)
        index = builder.phi(INT64)
        values = [builder.phi(value.type) for value in carried]
        following = list(body(index, *values))
        next_index = builder.add(index, number(step))
        for phi, first, then in zip([index, *values], [number(0), *carried], [next_index, *following], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, builder.block)
        builder.cbranch(builder.icmp_signed("<", next_index, count), start, end)
        builder.position_at_end(end)
        return following

    def at(self, base: Any, index: Any, kind: ir.Type) -> Any:
        """The address of the element `index` of what is of this type at `base`."""
        return self._builder.gep(self._builder.bitcast(base, kind.as_pointer()), [index])

    def load(self, base: Any, index: Any, kind: ir.Type) -> Any:
        """That element."""
        loaded = self._builder.load(self.at(base, index, kind))
        loaded.align = {BYTE: 1, UINT16: 2}.get(kind, _FLOAT_BYTES)
        return loaded

    def load_index(self, base: Any, index: Any, kind: ir.Type) -> Any:
        """That element, an unsigned number of one or two bytes or a signed one of more, as an index."""
        loaded = self.load(base, index, kind)
        if kind == INT64:
            return loaded
        return self._builder.zext(loaded, INT64) if kind in (BYTE, UINT16) else self._builder.sext(loaded, INT64)

    def pointer(self, address: Any) -> Any:
        """A number as an address."""
        return self._builder.inttoptr(address, ADDRESS)

    def store(self, value: Any, base: Any, index: Any) -> None:
        """Write an element."""
        self._builder.store(value, self.at(base, index, value.type)).align = _FLOAT_BYTES

    def prefetch(self, address: Any) -> None:
        """Have the cache line read ahead."""
        kind = ir.FunctionType(ir.VoidType(), [ADDRESS, INT32, INT32, INT32])
        call = self._module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        for_reading, keep, data = (ir.Constant(INT32, value) for value in (0, 3, 1))
        self._builder.call(call, [self._builder.bitcast(address, ADDRESS), for_reading, keep, data])

    def call(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """Call another compiled function."""
        self._called.append(kernel)
        passed = [self._builder.bitcast(one, ADDRESS) if one.type.is_pointer else one for one in arguments]
        kind = ir.FunctionType(ir.VoidType(), [one.type for one in passed])
        address = ctypes.cast(kernel, ctypes.c_void_p).value  # type: ignore[arg-type]
        self._builder.call(self._builder.inttoptr(ir.Constant(INT64, address), kind.as_pointer()), passed)

    def plus(self, left: Any, right: Any) -> Any:
        """Sum of two indexes."""
        return self._builder.add(left, right)

    def times(self, left: Any, right: Any) -> Any:
        """Product of two indexes."""
        return self._builder.mul(left, right)

    def quotient(self, left: Any, right: Any) -> Any:
        """Quotient of two indexes that are not negative, rounded down."""
        return self._builder.udiv(left, right)

    def least(self, left: Any, right: Any) -> Any:
        """The smaller of two indexes."""
        return self._builder.select(self._builder.icmp_signed("<", left, right), left, right)

    def add(self, left: Any, right: Any) -> Any:
        """Sum of two vectors."""
        return self._builder.fadd(left, right)

    def multiply(self, left: Any, right: Any) -> Any:
        """Product of two vectors, lane by lane."""
        return self._builder.fmul(left, right)

    def add_product(self, total: Any, left: Any, right: Any) -> Any:
        """`total` + left * right, lane by lane."""
        return self._builder.fadd(total, self._builder.fmul(left, right, flags=_ANY_ORDER), flags=_ANY_ORDER)

    def add_pairs(self, total: Any, left: Any, right: Any) -> Any:
        """`total` + the products of the two bfloat16 in each lane of two vectors of integers."""
        kind = ir.FunctionType(LANE_FLOATS, [LANE_FLOATS, _LANE_PAIRS, _LANE_PAIRS])
        add = self._module.declare_intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", fnty=kind)
        return self._builder.call(add, [total, *(self._builder.bitcast(pairs, _LANE_PAIRS) for pairs in (left, right))])

    def widened(self, halves: Any) -> Any:
        """A vector of float16 as floats."""
        return self._builder.fpext(halves, LANE_FLOATS)

    def shortened(self, values: Any) -> Any:
        """A vector as bfloat16."""
        return self._builder.fptrunc(values, _LANE_BFLOATS)

    def divide(self, left: Any, right: Any) -> Any:
        """Quotient of two vectors, lane by lane."""
        return self._builder.fdiv(left, right)

    def exp(self, values: Any) -> Any:
        """e to the power of each lane, or of -87 if that is greater, with a relative error of at most 3e-6."""
        values = self.greater(values, constant(_LEAST_POWER))
        kind = ir.FunctionType(LANE_FLOATS, [LANE_FLOATS])
        nearest = self._module.declare_intrinsic(f"llvm.rint.v{LANES}f32", fnty=kind)
        twos = self._builder.call(nearest, [self.multiply(values, constant(_LOG2_E))])
        values = self.add_product(values, twos, constant(-_LN_2))
        power = ONES
        for divisor in range(6, 0, -1):  # 1 + x (1 + x/2 (1 + x/3 (…)))
            power = self.add_product(ONES, self.multiply(values, constant(1 / divisor)), power)
        exponents = self._builder.add(self._builder.fptosi(twos, LANE_INTS), ir.Constant(LANE_INTS, [_EXPONENT_BIAS] * LANES))
        bits = self._builder.shl(exponents, ir.Constant(LANE_INTS, [_MANTISSA_BITS] * LANES))
        return self.multiply(power, self._builder.bitcast(bits, LANE_FLOATS))

    def greater(self, left: Any, right: Any) -> Any:
        """The greater of two vectors, lane by lane."""
        return self.where_greater(left, right, left, right)

    def where_greater(self, left: Any, right: Any, then: Any, otherwise: Any) -> Any:
        """A vector with the lanes of `then` where `left` is greater, else those of `otherwise`."""
        return self._builder.select(self._builder.fcmp_ordered(">", left, right), then, otherwise)

    def greatest_of(self, values: Any) -> Any:
        """The greatest lane of a vector of floats."""
        kind = ir.FunctionType(FLOAT, [LANE_FLOATS])
        greatest = self._module.declare_intrinsic(f"llvm.vector.reduce.fmax.v{LANES}f32", fnty=kind)
        return self._builder.call(greatest, [values])

    def first_of_greatest(self, values: Any, positions: Any) -> tuple[Any, Any]:
        """The greatest lane of a vector of floats, and of its positions the least where it is."""
        greatest = self.greatest_of(values)
        here = self._builder.fcmp_ordered("==", values, self.everywhere(greatest))
        kind = ir.FunctionType(INT32, [LANE_INTS])
        least = self._module.declare_intrinsic(f"llvm.vector.reduce.smin.v{LANES}i32", fnty=kind)
        return greatest, self._builder.call(least, [self._builder.select(here, positions, _LAST)])

    def subtract(self, left: Any, right: Any) -> Any:
        """Difference of two vectors, lane by lane."""
        return self._builder.fsub(left, right)

    def count_below(self, values: Any, limits: Sequence[Any]) -> Any:
        """How many of the limits are below each lane: a vector of integers."""
        counts: Any = ir.Constant(LANE_INTS, [0] * LANES)
        for limit in limits:
            above = self._builder.fcmp_ordered(">", values, self.everywhere(limit))
            counts = self._builder.add(counts, self._builder.zext(above, LANE_INTS))
        return counts

    def store_packed(self, counts: Any, bits: int, base: Any, index: Any) -> None:
        """Write a vector of integers of so many bits as bytes from `index` on, the first in the highest bits."""
        per_byte = 8 // bits
        packed: Any = None
        for value in range(per_byte):
            picked = ir.Constant(ir.VectorType(INT32, LANES // per_byte), list(range(value, LANES, per_byte)))
            some = self._builder.shuffle_vector(counts, ir.Constant(LANE_INTS, ir.Undefined), picked)
            shift = ir.Constant(some.type, [8 - bits * (value + 1)] * (LANES // per_byte))
            shifted = self._builder.shl(some, shift)
            packed = shifted if packed is None else self._builder.or_(packed, shifted)
        narrow = self._builder.trunc(packed, ir.VectorType(BYTE, LANES // per_byte))
        address = self._builder.bitcast(self.at(base, index, BYTE), narrow.type.as_pointer())
        self._builder.store(narrow, address).align = 1

    def positions(self, group: Any) -> Any:
        """The positions of the lanes of a group of vectors."""
        first = self._builder.mul(self._builder.trunc(group, INT32), ir.Constant(INT32, LANES))
        return self._builder.add(self.everywhere(first), NUMBERS)

    def everywhere(self, scalar: Any) -> Any:
        """A vector with the same number in every lane."""
        undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
        first = self._builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
        return self._builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))

    def sum_of(self, vector: Any) -> Any:
        """Sum of the lanes."""
        kind = ir.FunctionType(FLOAT, [FLOAT, LANE_FLOATS])
        add = self._module.declare_intrinsic(f"llvm.vector.reduce.fadd.v{LANES}f32", fnty=kind)
        return self._builder.call(add, [ir.Constant(FLOAT, 0.0), vector], fastmath=_ANY_ORDER)

    def inverse_root_of_sum(self, vector: Any) -> Any:
        """1 / √(sum of the lanes)."""
        root = self._builder.call(self._module.declare_intrinsic("llvm.sqrt", [FLOAT]), [self.sum_of(vector)])
        return self._builder.fdiv(ir.Constant(FLOAT, 1.0), root)

    def compiled(self, *, improved: bool = True) -> Callable[..., None]:
        """The function as machine code. Calls let other threads of Python run.

        Unless `improved`, the instructions stay as they were appended, which takes a third of the time.
        """
        self._builder.ret_void()
        machine = _target().create_target_machine(cpu=binding.get_host_cpu_name(), features=_features(), opt=3, jit=True)
        module = binding.parse_assembly(str(self._module))
        if improved:
            tuning = binding.create_pipeline_tuning_options(speed_level=2)
            tuning.loop_vectorization = False  # table look-ups would become gathers, which are slower
            passes = binding.create_pass_builder(machine, tuning)
            passes.getModulePassManager().run(module, passes)
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        kinds = [ctypes.c_int64 if kind == INT64 else ctypes.c_void_p for kind in self._types]
        call = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address("kernel"))
        call.kept = engine, self._called  # type: ignore[attr-defined]  # the code is freed with them
        return call


@cache
def _target() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple()


def _features() -> str:
    """Return this processor's instruction sets, without AVX-512 if torch is told not to use it (ATEN_CPU_CAPABILITY)."""
    features = binding.get_host_cpu_features()
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        features.update({name: False for name in features if name.startswith("avx512")})
    return str(features.flatten())
