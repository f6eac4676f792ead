"""What the networks' tests share: fixed weights, noise, and weights moved away from their start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@pytest.fixture(autouse=True)
def same_weights() -> Iterator[None]:
    """Seed the global state, which initialises weights, for the test alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def noise() -> Callable[..., Tensor]:
    """Make images of uniform noise in [-1, 1], the same on every call."""

    def make(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(6), dtype=dtype) * 2 - 1

    return make


@pytest.fixture
def randomised() -> Callable[[Network], Network]:
    """Move every weight away from its start, so that norms scale and shift."""

    def move(network: Network) -> Network:
        random = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.05 * torch.randn(weight.shape, generator=random, dtype=weight.dtype))
        return network

    return move
