"""One network for each value: which runs on which row, its stages, its Translator, and its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stargan.checkpoints import Model, load_model, save_model
from stargan.inference import Translator
from stargan.labels import Attribute, LabelSpace
from stargan.networks import TranslatingGenerator, build_discriminator, build_generator

Noise = Callable[..., Tensor]

SPACES = {
    "binary": LabelSpace(attributes=(Attribute(name="winter"),)),
    "three values": LabelSpace(
        attributes=(Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),)
    ),
}
KINDS: dict[str, dict[str, object]] = {
    "cyclegan-resnet": {"downsamplings": 1, "blocks": 1},
    "resnet": {"downsamplings": 1, "blocks": 1, "output": "masked", "spectral": True},
    "pix2pix-unet": {"downsamplings": 3, "norm": "batch"},
}


def make(space: LabelSpace, kind: str) -> TranslatingGenerator:
    arguments = {"kind": kind, "width": 4, "vector_size": space.vector_size, "per_value": True, **KINDS[kind]}
    return build_generator(arguments).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_each_row_is_translated_by_the_network_of_its_target(kind: str, space: LabelSpace, noise: Noise) -> None:
    generator, images = make(space, kind), noise(5, 3, 16, 16)
    values = len(space.attributes[0].values)
    targets = torch.tensor([1, 0, values - 1, 1, 0])
    made, mask = generator.translate(images, space.encode(targets[:, None]))
    for row, value in enumerate(targets.tolist()):
        inner = generator.get_submodule(f"generators.{value}")
        assert isinstance(inner, TranslatingGenerator)
        wanted, masked = inner.translate(images[row : row + 1], torch.zeros(1, 0))
        torch.testing.assert_close(made[row : row + 1], wanted)
        assert (mask is None) == (masked is None)
        if mask is not None and masked is not None:
            torch.testing.assert_close(mask[row : row + 1], masked)
    assert len(list(generator.get_submodule("generators").children())) == values
    alone = generator(images[:2], space.encode(torch.tensor([[1], [1]])))
    torch.testing.assert_close(alone[0], made[0])


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_each_row_is_scored_by_the_network_of_its_domain(space: LabelSpace, noise: Noise) -> None:
    discriminator = build_discriminator(
        {"vector_size": space.domain_size, "image_size": (16, 16), "width": 4, "depth": 2, "per_value": True}
    )
    images, shown = noise(4, 3, 16, 16), torch.tensor([1, 0, 1, 0])
    wanted = space.encode_signed(shown[:, None])
    scores, logits = discriminator(images, wanted)
    inner = discriminator.inner(images, wanted)
    assert logits.shape == (4, 0)
    for row, value in enumerate(shown.tolist()):
        own = discriminator.get_submodule(f"discriminators.{value}")
        torch.testing.assert_close(scores[row], own(images[row : row + 1], torch.zeros(1, 0))[0][0])
        for found, layer in zip(inner, own.inner(images[row : row + 1], torch.zeros(1, 0)), strict=True):  # type: ignore[operator]
            torch.testing.assert_close(found[row], layer[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_translates_both_ways(kind: str, noise: Noise, tmp_path: Path) -> None:
    space = SPACES["binary"]
    generator = make(space, kind)
    model = Model(generator=generator, space=space, image_size=(16, 16), step=3, settings={}, sha256="")
    save_model(tmp_path / "model", model=model)
    loaded = load_model(tmp_path / "model")
    assert loaded.only_target is None
    assert loaded.generator.arguments == generator.arguments
    images = ((noise(4, 3, 16, 16).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    targets = torch.tensor([[1], [0], [0], [1]])
    made = Translator(loaded, device=torch.device("cpu"), batch_size=3).translate(images, targets)
    with torch.no_grad():
        wanted = generator(images / 127.5 - 1, space.encode(targets))
    assert (made.float() - (wanted + 1) * 127.5).abs().max() < 1
