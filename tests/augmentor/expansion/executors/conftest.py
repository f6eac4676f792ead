"""Fixture of the executors' tests: a small plan and its opened output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from augmentor.expansion.executors.work import Work
from augmentor.expansion.job import plan_expansion
from augmentor.expansion.settings import ExpandSettings
from stargan.checkpoints import Model, save_model
from stargan.labels import LabelSpace
from stargan.networks import Generator
from tests.conftest import MakeManifest


@pytest.fixture
def work(small_manifest: MakeManifest, space: LabelSpace, tmp_path: Path) -> Work:
    """Four shards: 32 items of twelve rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=space.vector_size, width=4, downsamplings=1, blocks=1)
    save_model(
        tmp_path / "model",
        model=Model(generator=generator, space=space, image_size=(16, 16), step=0, settings={}, sha256=""),
    )
    settings = ExpandSettings(domains=("hair=*",), shard_size=8)
    expansion = plan_expansion(
        small_manifest(broken=(4,)), model=tmp_path / "model", settings=settings, out=tmp_path / "out"
    )
    writer = expansion.writer()
    writer.open()
    return Work(
        plan=expansion.plan,
        shard_size=8,
        sources=expansion.sources,
        writer=writer,
        model=expansion.model,
        batch_size=4,
        precision="float32",
        compile=False,
        workers=2,
    )
