"""What several test files share: a label space, tiny networks, batches of noise, a folder of small images."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from augmentor.judge.classifier import Judge, resnet
from augmentor.judge.report import AttributeAccuracy, JudgeReport
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import AgreementReference, Thresholds
from stargan.config import TrainConfig
from stargan.labels import Attribute, LabelSpace
from stargan.networks import Conditioning, OutputKind, build_discriminator, build_generator
from stargan.training import Batch, TrainState, new_state

# A shell's background jobs begin with Ctrl-C ignored, and so would what the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine any example may be slow.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]
MakeManifest = Callable[..., Path]
MakeJudge = Callable[..., KeptJudge]


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
def tiny_state(space: LabelSpace) -> MakeState:
    """Make the state at step 0 of a run at 16 px, by default on `space`, the same on every call.

    `generator` and `discriminator` hold any other keys of the networks.
    """

    def make(
        config: TrainConfig,
        *,
        output: OutputKind = "direct",
        conditioning: Conditioning = "concat",
        matches: bool = False,
        space: LabelSpace = space,
        generator: Mapping[str, object] | None = None,
        discriminator: Mapping[str, object] | None = None,
    ) -> TrainState:
        g = {"vector_size": space.vector_size, "width": 4, "downsamplings": 1, "blocks": 1}
        d = {"vector_size": space.domain_size, "image_size": (16, 16), "width": 4, "depth": 2}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return new_state(
                generator=build_generator(
                    {**g, "output": output, "conditioning": conditioning, **(generator or {})}
                ),
                discriminator=build_discriminator({**d, "matches": matches, **(discriminator or {})}),
                config=config,
            )

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


@pytest.fixture(scope="session")
def untrained_judge() -> MakeJudge:
    """Make a judge of 16 px images whose opinions are chance, but firm ones, and the same on every call.

    It is trusted with all attributes but those in `doubted`.
    """

    def make(
        space: LabelSpace,
        *,
        auto: Thresholds = Thresholds(agreement=0.15),  # noqa: B008 - frozen
        doubted: tuple[str, ...] = (),
        realism: tuple[float, ...] | None = None,
        model_sha256: str | None = None,
        seed: int = 0,
    ) -> KeptJudge:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = resnet(3, side=16, outputs=space.domain_size)
        attributes = tuple(
            AttributeAccuracy(
                name=attribute.name,
                accuracy=0.9,
                chance=1 / len(attribute.values),
                values=dict.fromkeys(attribute.values, 0.9),
                real_images=40,
                temperature=0.2,
                error_before=0.1,
                error_after=0.05,
                doubt="it is right about half" if attribute.name in doubted else None,
                confusion=tuple(
                    tuple(18 if said == real else 2 for said in attribute.values) for real in attribute.values
                ),
            )
            for attribute in space.attributes
        )
        most = max(len(attribute.values) for attribute in space.attributes)
        every_value = [[min(code, len(each.values) - 1) for each in space.attributes] for code in range(most)]
        return KeptJudge(
            judge=Judge(
                network=network.requires_grad_(False).eval(),
                space=space,
                temperatures=torch.full((len(space),), 0.2),
            ),
            report=JudgeReport(steps=1, images=40, validation="val", attributes=attributes),
            image_size=(16, 16),
            image_channels=3,
            crop=None,
            mean=torch.zeros(512),
            realism=realism,
            preserved=(0.0, 0.5),
            auto=auto,
            reference=AgreementReference(
                probabilities=torch.full((most, space.domain_size), 0.5),
                codes=torch.tensor(every_value),
                space=space,
                trusted=torch.tensor([attribute.trusted for attribute in attributes]),
            ),
            model_sha256=model_sha256,
        )

    return make
