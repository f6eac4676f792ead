"""A judge on a pretrained body: the weights of the file stay as they are, and other files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet18

from augmentor.errors import AugmentorError
from augmentor.judge import JudgeRequest, judge_manifest, open_judge, read_resnet18
from augmentor.judge.classifier import PretrainedBody, train_judge
from augmentor.judge.data import LabelledImages
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(attributes=(Attribute(name="bright"),))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A ResNet-18 with its own head, of 1,000 outputs."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = resnet18().state_dict()
    return state


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(state, file)
    return file


def test_both_kinds_of_file_are_read(state: dict[str, torch.Tensor], weights: Path, tmp_path: Path) -> None:
    save_file(state, tmp_path / "resnet.safetensors")
    for file in (weights, tmp_path / "resnet.safetensors"):
        found = read_resnet18(file, option="--judge-weights")
        assert set(state) - set(found) == {"fc.weight", "fc.bias"}
        assert all(torch.equal(weight, state[name]) for name, weight in found.items())


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_head_learns(weights: Path, channels: int) -> None:
    codes = torch.tensor([[i % 2] for i in range(24)])
    images = (codes[:, :, None, None] * 150 + 40).byte().expand(-1, channels, 16, 20).contiguous()
    data = LabelledImages(images=images, codes=codes)
    judge = train_judge(
        data, space=SPACE, steps=8, seed=0, device=CPU, batch_size=8, weights=weights, tampering=True
    )
    assert judge.network.kind == "pretrained"
    body = judge.network.body.state_dict()
    for name, weight in read_resnet18(weights, option="--judge-weights").items():
        assert torch.equal(body[f"resnet.{name}"], weight)
    assert torch.equal(judge.predict(images), codes)


def test_images_are_enlarged_and_normalised_as_imagenet_is(weights: Path) -> None:
    body = PretrainedBody(weights).train()
    assert not body.training
    grey = torch.full((1, 1, 8, 8), 2 * 0.485 - 1)
    seen: list[torch.Tensor] = []
    body.resnet.conv1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    assert body(grey).shape == (1, 512)
    assert seen[0].shape == (1, 3, 128, 128)
    found = seen[0][0, :, 5, 5]
    expected = torch.tensor([0.0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_command_keeps_the_whole_network(weights: Path, tmp_path: Path) -> None:
    lines = ["path,split,bright"]
    for number in range(16):
        Image.new("RGB", (20, 20), (60 + 120 * (number % 2),) * 3).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'val' if number >= 12 else 'train'},{number % 2}")
    table = tmp_path / "manifest.csv"
    table.write_text("\n".join(lines) + "\n")
    request = JudgeRequest(manifest=table, out=tmp_path / "judge", size="16", steps=2, weights=weights)
    made = judge_manifest(request, device=CPU).kept
    kept = open_judge(tmp_path / "judge")
    assert kept is not None
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(kept.judge.outputs(images).logits, made.judge.outputs(images).logits)
    assert kept.report.steps == 2


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    other = resnet18().state_dict()
    other["conv1.weight"] = other["conv1.weight"][:, :1]
    for content, said in (
        (other, "conv1.weight has not a ResNet-18's shape"),
        ({"features.0.weight": torch.zeros(1)}, "holds no weights of a ResNet-18 .no 'conv1.weight'"),
        ({"code": Path}, "cannot be read"),
        ([1, 2], "holds no weights of a ResNet-18"),
    ):
        file = tmp_path / "weights.pth"
        torch.save(content, file)
        with pytest.raises(AugmentorError, match=f"--judge-weights .*weights.pth: {said}"):
            read_resnet18(file, option="--judge-weights")
    for name in ("missing.pth", "missing.safetensors"):
        with pytest.raises(AugmentorError, match="cannot be read"):
            read_resnet18(tmp_path / name, option="--judge-weights")
    file.write_bytes(b"no weights")
    with pytest.raises(AugmentorError, match="cannot be read"):
        read_resnet18(file, option="--judge-weights")
