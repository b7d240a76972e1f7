"""The pretended device refuses what a GPU refuses, and computes what the processor computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.pretended import DEVICE, NAME

HERE = torch.arange(6, dtype=torch.float32).reshape(2, 3)


def there() -> torch.Tensor:
    return HERE.to(DEVICE)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: there() + HERE,
        lambda: HERE @ there().T,
        lambda: torch.cat([there(), HERE]),
        lambda: HERE[torch.tensor([0]).to(DEVICE)],
        lambda: there().numpy(),
        lambda: np.asarray(there()),
        lambda: torch.randn(3, generator=torch.Generator(), device=DEVICE),
        lambda: there().add_(HERE),
    ],
    ids=["sum", "product", "concatenation", "index there", "numpy", "array", "generator", "in place"],
)
def test_what_a_gpu_refuses(mistake: Callable[[], Any]):
    """Raises for tensors of two devices in one operation, and where a tensor should become an array."""
    with pytest.raises((RuntimeError, TypeError)):
        mistake()


@pytest.mark.parametrize(
    "computed",
    [
        lambda device: HERE.to(device) @ HERE.to(device).T,
        lambda device: torch.tensor([[1, 2], [3, 4]], device=device)[:, [1]],
        lambda device: HERE.to(device)[torch.tensor([1])],  # indices, too
        lambda device: torch.arange(4, device=device) * torch.tensor(2),  # a single number may come from the processor
        lambda device: HERE.to(device).new_zeros((2, 4)).index_add_(0, torch.tensor([1, 1], device=device), _wide(device)),
        lambda device: _filled(device),
        lambda device: torch.eye(3, device=device).repeat_interleave(2, dim=1),
        lambda device: torch.arange(3, dtype=torch.int16, device=device).view(torch.uint8),
    ],
    ids=["product", "columns", "rows", "number", "in place", "view in place", "resized", "bits"],
)
def test_the_rest_is_computed(computed: Callable[[Any], torch.Tensor]):
    """The result is on the device, and equals the processor's."""
    found = computed(DEVICE)
    assert (found.device, found.shape) == (DEVICE, computed("cpu").shape)
    assert found.tolist() == found.cpu().numpy().tolist() == computed("cpu").tolist()


def _wide(device: Any) -> torch.Tensor:
    return torch.ones(2, 4, device=device)


def _filled(device: Any) -> torch.Tensor:
    empty = torch.zeros(3, 4, device=device)
    empty[:, :2] = torch.ones(3, 2, device=device)
    return empty


def test_gradients_are_computed_there():
    """Gradients are on the device, and a step changes the weights."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2).to(DEVICE)
    before = layer.weight.tolist()
    layer(there()).square().mean().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device == DEVICE
    torch.optim.AdamW(layer.parameters(), lr=0.1).step()
    assert layer.weight.tolist() != before


def test_torch_does_not_choose_it():
    """Other code of this process goes on without the device."""
    assert not torch.accelerator.is_available()
    assert torch.device(NAME).type == NAME
    assert torch.zeros(1).device.type == "cpu"
