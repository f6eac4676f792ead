"""What several test files share: a label space, tiny networks, batches of noise, a folder of small images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stargan.labels import Attribute, LabelSpace
from stargan.networks import Conditioning, Generator, Output, PatchDiscriminator
from stargan.training import Batch, TrainConfig, TrainState, new_state

MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]
MakeManifest = Callable[..., Path]


@pytest.fixture
def space() -> LabelSpace:
    """Two attributes, four entries: hair (three values) and glasses (binary)."""
    return LabelSpace(
        attributes=(
            Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
            Attribute(name="glasses"),
        )
    )


@pytest.fixture
def tiny_state() -> MakeState:
    """Make the state at step 0 of a run at 16 px on `space`, the same on every call."""

    def make(
        config: TrainConfig,
        *,
        output: Output = "direct",
        conditioning: Conditioning = "concat",
        matches: bool = False,
    ) -> TrainState:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator = Generator(
                vector_size=4, width=4, downsamplings=1, blocks=1, output=output, conditioning=conditioning
            )
            discriminator = PatchDiscriminator(
                vector_size=4, image_size=(16, 16), width=4, depth=2, matches=matches
            )
        return new_state(generator=generator, discriminator=discriminator, config=config)

    return make


@pytest.fixture
def noise_batches() -> MakeBatches:
    """Make batches of noise without end from a step on; a step's batch depends on its number alone."""

    def make(first_step: int) -> Iterator[Batch]:
        step = first_step
        while True:
            random = torch.Generator().manual_seed(1000 + step)
            images = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=random)
            codes = torch.stack(
                [
                    torch.randint(-1, 3, (4,), generator=random),
                    torch.randint(-1, 2, (4,), generator=random),
                ],
                dim=1,
            )
            yield Batch(images, codes)
            step += 1

    return make


@pytest.fixture
def small_manifest(tmp_path: Path) -> MakeManifest:
    """Write noise images of 20 x 18 px and their manifest: hair, glasses; the last two rows are val."""

    def make(*, count: int = 12, broken: tuple[int, ...] = ()) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        random = np.random.default_rng(0)
        lines = ["path,id,split,hair,glasses"]
        for i in range(count):
            file = folder / f"{i}.png"
            if i in broken:
                file.write_text("not an image")
            else:
                Image.fromarray(random.integers(256, size=(18, 20, 3), dtype=np.uint8)).save(file)
            split = "val" if i >= count - 2 else "train"
            lines.append(f"{i}.png,face{i},{split},{('black', 'blond', 'brown')[i % 3]},{i // 3 % 2}")
        manifest = folder / "manifest.csv"
        manifest.write_text("\n".join(lines) + "\n")
        return manifest

    return make
