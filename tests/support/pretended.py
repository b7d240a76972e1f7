"""A second device, as torch sees it: it computes on the processor, and refuses what a GPU refuses.

Python code computes for this device: each tensor on it holds a tensor of the processor, on which every operation runs. So
results are the processor's and can be compared; but tensors of two devices do not meet in an operation (indices apart), a
tensor of this device does not become an array, and a random generator of the processor does not fill it. torch does not choose
the device by itself, because it is told that the device is not available. Importing this module adds it to torch, which keeps
it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing

NAME = "pretended"
CPU = torch.device("cpu")
DONE: Counter[str] = Counter()
"""How often each operation ran on the device."""

_COPY = torch.ops.aten.copy_.default
_BETWEEN_DEVICES = (_COPY, torch.ops.aten._to_copy.default)
_INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
"""Operations whose second argument, indices, may be on the processor, as a GPU accepts them (and waits)."""


class _Module(backend_registration._DummyBackendModule):
    def is_available(self) -> bool:
        return False

    def device_count(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Hook(backend_registration._DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return False


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hook())
DEVICE = torch.device(NAME, 0)


class Elsewhere(torch.Tensor):
    """A tensor on the device; `held` is the one that it computes with."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        with torch.inference_mode(False):  # else torch could not make it a view of a tensor made before
            made = torch.Tensor._make_wrapper_subclass(
                cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=DEVICE
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(operation, *args, **kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"

    def numpy(self, **_: Any) -> NoReturn:
        msg = f"can't convert {NAME} device type tensor to numpy; use Tensor.cpu()"
        raise TypeError(msg)

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()


def _compute(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation on the held tensors; its result is on the device unless it was to be copied to the processor."""
    values = tree.tree_leaves((args, kwargs))
    tensors = [value for value in values if isinstance(value, Tensor)]
    meeting = tree.tree_leaves((args[:1], args[2:])) if operation in _INDEXED else [] if operation in _BETWEEN_DEVICES else tensors
    if any(isinstance(one, Tensor) and one.dim() and not isinstance(one, Elsewhere) for one in meeting):
        devices = ", ".join(str(one.device) for one in tensors)
        msg = f"{operation} got tensors on several devices: {devices}"
        raise RuntimeError(msg)
    if any(isinstance(value, torch.Generator) for value in values):
        msg = f"{operation} on {NAME} got a generator of the processor"
        raise RuntimeError(msg)
    result = operation(*tree.tree_map(_held, args), **tree.tree_map(_held, kwargs))
    target = args[0].device if operation is _COPY else kwargs.get("device")
    if target is not None and torch.device(target).type != NAME:
        return result
    for one in tensors:
        if isinstance(one, Elsewhere) and one.shape != one.held.shape:  # given to be filled, and resized
            with torch._C._DisableTorchDispatch():
                one.data = Elsewhere(one.held)
    DONE[operation.overloadpacket.__name__] += 1
    return return_and_correct_aliasing(operation, args, kwargs, tree.tree_map_only(Tensor, Elsewhere, result))


def _held(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.held
    return CPU if isinstance(value, torch.device) and value.type == NAME else value


def _copy_from(source: Tensor, target: Tensor, _non_blocking: bool = False) -> Tensor:
    _held(target).copy_(_held(source))
    return target


_LIBRARIES = [torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")]  # torch forgets them with these objects
_LIBRARIES[0].fallback(_compute, "PrivateUse1")  # what makes tensors
_LIBRARIES[0].fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # nothing is computed in less precision
_LIBRARIES[1].impl("_copy_from", _copy_from, "PrivateUse1")  # torch.tensor
