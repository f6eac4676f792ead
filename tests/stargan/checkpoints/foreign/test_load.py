"""Foreign files: what is read off their tensors, how they may be wrapped, and which are refused.

That the pixels are right is shown in tests/integration/test_foreign_models.py.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stargan.checkpoints import CheckpointError
from stargan.checkpoints.foreign import ForeignGenerator, parse_attributes, read_foreign
from stargan.inference import Translator

Weights = dict[str, Tensor]


def tensor(*shape: int) -> Tensor:
    random = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=random)


def norm(name: str, channels: int, *parts: str) -> Weights:
    return {f"{name}.{part}": tensor(channels) for part in parts}


AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")


def stargan(*, inputs: int = 5, channels: int = 3, blocks: int = 2, norms: tuple[str, ...] = AFFINE) -> Weights:
    """The tensors of the original's generator of width 4, in their order."""
    weights = {"main.0.weight": tensor(4, channels + inputs, 7, 7), **norm("main.1", 4, *norms)}
    weights |= {"main.3.weight": tensor(8, 4, 4, 4), **norm("main.4", 8, *norms)}
    weights |= {"main.6.weight": tensor(16, 8, 4, 4), **norm("main.7", 16, *norms)}
    for block in range(9, 9 + blocks):
        weights |= {
            f"main.{block}.main.0.weight": tensor(16, 16, 3, 3),
            **norm(f"main.{block}.main.1", 16, *norms),
        }
        weights |= {
            f"main.{block}.main.3.weight": tensor(16, 16, 3, 3),
            **norm(f"main.{block}.main.4", 16, *norms),
        }
    up = 9 + blocks
    weights |= {f"main.{up}.weight": tensor(16, 8, 4, 4), **norm(f"main.{up + 1}", 8, *norms)}
    weights |= {f"main.{up + 3}.weight": tensor(8, 4, 4, 4), **norm(f"main.{up + 4}", 4, *norms)}
    return weights | {f"main.{up + 6}.weight": tensor(channels, 4, 7, 7)}


def cyclegan(*, paints: int = 3) -> Weights:
    """The tensors of a CycleGAN generator of width 4 with 6 blocks."""
    shapes = {1: (4, 3, 7, 7), 4: (8, 4, 3, 3), 7: (16, 8, 3, 3), 16: (16, 8, 3, 3), 19: (8, 4, 3, 3)}
    biases = {1: 4, 4: 8, 7: 16, 16: 8, 19: 4}
    weights = {f"model.{i}.weight": tensor(*shape) for i, shape in shapes.items()}
    weights |= {f"model.{i}.bias": tensor(channels) for i, channels in biases.items()}
    for block in range(10, 16):
        for place in (1, 5):
            name = f"model.{block}.conv_block.{place}"
            weights |= {f"{name}.weight": tensor(16, 16, 3, 3), f"{name}.bias": tensor(16)}
    return weights | {"model.23.weight": tensor(paints, 4, 7, 7), "model.23.bias": tensor(paints)}


def discriminator() -> Weights:
    return {"main.0.weight": tensor(4, 3, 4, 4), "main.0.bias": tensor(4), "conv1.weight": tensor(1, 4, 3, 3)}


def read(tmp_path: Path, content: object, name: str = "model.pth", *key: str) -> ForeignGenerator:
    torch.save(content, tmp_path / name)
    return read_foreign(tmp_path / name, *key)


# ---- what is read off the tensors ----


def test_the_architecture_of_a_stargan(tmp_path: Path) -> None:
    found = read(tmp_path, stargan(inputs=7, channels=1, blocks=3), "200000-G.ckpt")
    assert found.arguments == {"kind": "resnet", "image_channels": 1, "width": 4, "downsamplings": 2, "blocks": 3}
    assert (found.entries, found.usual_size) == (7, (128, 128))
    space = parse_attributes("mood=a|b|c|d|e|f,male")
    model = found.to_model(space, image_size=(24, 16), settings={"images": {"crop": 178}})
    assert (model.space, model.image_size, model.step) == (space, (24, 16), 200_000)
    assert model.settings["images"] == {"crop": 178}
    assert model.sha256 == found.sha256
    assert not model.generator.training
    assert not any(weight.requires_grad for weight in model.generator.parameters())
    assert model.only_target is None
    # Every weight of the network came from the file.
    assert model.generator.state_dict().keys() == found.weights.keys()
    assert found.to_model(space).image_size == (128, 128)


def test_running_statistics_make_no_difference(tmp_path: Path) -> None:
    plain = stargan()
    counting = stargan(norms=(*AFFINE, *STATISTICS)) | {"main.1.num_batches_tracked": torch.tensor(3)}
    one, other = read(tmp_path, plain, "a.ckpt"), read(tmp_path, counting, "b.ckpt")
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert one.sha256 != other.sha256


def test_the_architecture_of_a_cyclegan(tmp_path: Path) -> None:
    found = read(tmp_path, cyclegan())
    assert found.arguments == {
        "kind": "cyclegan-resnet",
        "image_channels": 3,
        "width": 4,
        "downsamplings": 2,
        "blocks": 6,
        "norm": "instance",
    }
    assert (found.entries, found.usual_size) == (None, (256, 256))
    model = found.to_model(parse_attributes("animal=horse|cow|zebra"), image_size=(16, 16))
    assert (model.only_target, model.step) == (2, 0)
    assert model.supports(torch.tensor([[0], [2], [-1]])).tolist() == [False, True, False]
    lacking = model.generator.state_dict().keys() - found.weights.keys()
    assert {name.rsplit(".", 2)[1] for name in lacking} == {"norm"}
    assert found.to_model(parse_attributes("zebra"), image_size=(16, 16)).only_target == 1


def test_labels_that_are_unknown_to_a_generator_that_never_saw_them_so(tmp_path: Path) -> None:
    space = parse_attributes("hair=a|b|c,male,young")
    model = read(tmp_path, stargan()).to_model(space, image_size=(8, 8))
    targets = torch.tensor([[0, 1, 0], [-1, 1, 0], [0, -1, 1], [-1, -1, -1]])
    # No hair is none of its values, which is how the original's labels say so.
    assert model.supports(targets).tolist() == [True, True, False, False]
    assert model.unseen_unknowns(targets)[3].tolist() == [False, True, True]
    translator = Translator(model, device=torch.device("cpu"))
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="leaves a label unknown"):
        translator.translate(image, targets[2:3])
    foreign = model.settings["foreign"]
    assert isinstance(foreign, dict)
    told = replace(model, settings={"foreign": {**foreign, "unlabelled": {"male": "1", "hair": "c"}}})
    assert told.completed(targets).tolist() == [[0, 1, 0], [2, 1, 0], [0, 1, 1], [2, 1, -1]]
    assert told.supports(targets).tolist() == [True, True, True, False]
    made = Translator(told, device=torch.device("cpu")).translate(image, targets[2:3])
    assert torch.equal(made, translator.translate(image, torch.tensor([[0, 1, 1]])))


def test_unknown_labels_of_the_other_data_set_are_as_in_training(tmp_path: Path) -> None:
    joint = parse_attributes("hair=a|b,male;mood=x|y,young")
    model = read(tmp_path, stargan(inputs=8)).to_model(joint, image_size=(8, 8))
    targets = torch.tensor([[0, 1, -1, -1], [-1, -1, 0, 1], [0, -1, -1, -1], [-1, -1, 1, -1]])
    assert model.supports(targets).tolist() == [True, True, False, False]
    blind = read(tmp_path, cyclegan()).to_model(parse_attributes("zebra"), image_size=(8, 8))
    assert not blind.unseen_unknowns(torch.tensor([[-1]])).any()


# ---- how it may be wrapped ----


@pytest.mark.parametrize(
    "wrap",
    [
        OrderedDict,
        lambda weights: {"epoch": 3, "state_dict": weights, "optimizer": {"lr": 1e-4}},
        lambda weights: {"params": weights},
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {"generator": {f"_orig_mod.module.{name}": value for name, value in weights.items()}},
        lambda weights: {name: nn.Parameter(value) for name, value in weights.items()},
        lambda weights: {**weights, "epoch": 3},
        lambda weights: {"G_ema": weights, "D": discriminator(), "step": 4},
        lambda weights: {"net_G": weights, "again": weights},
        lambda weights: {"models": {"netG": {"params": weights}, "netD": discriminator()}},
        lambda weights: {
            "state_dict": {f"netG.{name}": value for name, value in weights.items()}
            | {f"netD.{name}": value for name, value in discriminator().items()},
            "optimizer_states": [{"state": {0: {"exp_avg": tensor(4)}}}],
        },
        *(
            lambda weights, key=key: {"iteration": 5, key: weights}
            for key in ("model_state_dict", "generator_state_dict", "params_ema", "ema", "weights")
        ),
    ],
)
def test_wrapped_state_dicts(wrap: Callable[[Weights], object], tmp_path: Path) -> None:
    weights = stargan()
    found = read(tmp_path, wrap(weights))
    assert torch.equal(found.weights["painter.weight"], weights["main.17.weight"])
    assert found.entries == 5


def test_a_key_chooses_among_several_generators(tmp_path: Path) -> None:
    raw, average = stargan(), {name: value + 1 for name, value in stargan().items()}
    file = {
        "nets": {"G": {f"module.{name}": value for name, value in raw.items()}},
        "G_ema": average,
        "z": cyclegan(),
    }
    with pytest.raises(
        CheckpointError,
        match=r"holds 3 generators, under the keys z and G_ema and nets\.G\.module: choose one.* --key z",
    ):
        read(tmp_path, file)
    chosen = {
        key: read(tmp_path, file, "nets.pt", key) for key in ("nets.G", "nets", "nets.G.module", "G_ema", "z")
    }
    for key, expected in (("nets.G", raw), ("nets", raw), ("nets.G.module", raw), ("G_ema", average)):
        assert torch.equal(chosen[key].weights["painter.weight"], expected["main.17.weight"])
        assert not chosen[key].key or chosen[key].key.startswith(key)
    assert chosen["z"].arguments["kind"] == "cyclegan-resnet"
    # Two of a file are two models, whose outputs are not to be mixed.
    assert len({found.sha256 for found in chosen.values()}) == 3
    model = chosen["nets.G"].to_model(parse_attributes("hair=a|b|c|d,male"))
    assert isinstance(origin := model.settings["foreign"], dict)
    assert origin["key"] == "nets.G.module"
    for key in ("nets.D", "G_em", "module"):
        with pytest.raises(CheckpointError, match=rf"no generator under the key {key}, but under z and G_ema and"):
            read(tmp_path, file, "nets.pt", key)
    with pytest.raises(CheckpointError, match="no generator under the key G: it is one as a whole"):
        read(tmp_path, raw, "nets.pt", "G")
    alone = read(tmp_path, {"G": raw}, "nets.pt", "G")
    assert alone.sha256 == read(tmp_path, {"G": raw}, "nets.pt").sha256


def test_entries_that_contain_themselves(tmp_path: Path) -> None:
    content: dict[str, object] = {"G": stargan()}
    content["self"] = content
    assert read(tmp_path, content).key == "G"


@pytest.mark.parametrize(
    "content",
    [
        {"generator": {"from_rgb.weight": tensor(4, 3, 1, 1), "decode.0.norm1.fc.weight": tensor(8, 4)}},
        {"module.decode.3.norm2.fc.bias": tensor(8), "module.from_rgb.weight": tensor(4, 3, 1, 1)},
        {"mapping_network": {"shared.0.weight": tensor(4, 4)}, "style_encoder": {"shared.0.weight": tensor(4)}},
        {"shared.0.weight": tensor(4, 4), "unshared.0.0.weight": tensor(4, 4)},
        {
            "main.0.weight": tensor(4, 3, 3, 3),
            "main.1.conv1.weight": tensor(4),
            "main.1.conv1x1.weight": tensor(4),
        },
    ],
)
def test_files_of_the_second_stargan(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is of StarGAN v2 .*, which is not supported: .* first StarGAN"):
        read(tmp_path, content)


def test_half_precision_and_safetensors(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in stargan().items()}
    save_file(weights, tmp_path / "g.safetensors")
    for found in (read(tmp_path, weights), read_foreign(tmp_path / "g.safetensors")):
        assert {value.dtype for value in found.weights.values()} == {torch.float32}
        assert torch.equal(found.weights["painter.weight"], weights["main.17.weight"].float())


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"main.3.weight": tensor(8, 4, 3, 3)}, r"tensor main\.3\.weight of shape \(8, 4, 3, 3\).*\(8, 4, 4, 4\)"),
        ({"main.10.main.4.bias": tensor(8)}, r"tensor main\.10\.main\.4\.bias of shape \(8,\).*2 blocks"),
        ({"main.7.bias": None}, r"lacks the tensor main\.7\.bias, which a resnet generator of width 4"),
        ({"main.0.bias": tensor(4)}, r"has a tensor main\.0\.bias, which .* does not have"),
        ({"main.17.weight": None}, r"lacks the tensor main\.17\.weight"),
        ({"main.0.weight": tensor(4)}, r"main\.0\.weight of shape \(4,\), not of a convolution"),
        ({"main.0.weight": tensor(4, 3, 7, 7)}, "reads no label vector"),
        ({"main.4.bias": torch.full((8,), torch.nan)}, r"has values in main\.4\.bias that are not finite"),
        ({"conv1.weight": tensor(1, 4, 3, 3)}, "is a discriminator"),
        (
            {"main.0.weight": None},
            r"has tensors named main\.1\.weight, .* none of StarGAN's generator, CycleGAN's",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    weights = {name: value for name, value in {**stargan(), **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=rf"model\.pth .*{message}"):
        read(tmp_path, weights)


def test_other_channels_out_than_in(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="reads images of 3 channels and paints 1"):
        read(tmp_path, cyclegan(paints=1))


def test_descriptions_and_sizes_that_do_not_fit(tmp_path: Path) -> None:
    found, blind = read(tmp_path, stargan()), read(tmp_path, cyclegan())
    with pytest.raises(
        ValueError, match=r"label vector of 5 entries, but the description has 4 \(hair 3, male 1\)"
    ):
        found.to_model(parse_attributes("hair=a|b|c,male"))
    with pytest.raises(ValueError, match=r"has 6 \(hair 3, male 1, the mask 2\)"):
        found.to_model(parse_attributes("hair=a|b|c;male"))
    with pytest.raises(ValueError, match=r"2 attributes are described \(horse, zebra\)\. It translates in one"):
        blind.to_model(parse_attributes("horse,zebra"))
    for height, width in ((18, 16), (16, 4), (0, 16)):
        with pytest.raises(
            ValueError, match=f"{width} x {height} px: its sides are multiples of 4 px, and at least 8"
        ):
            blind.to_model(parse_attributes("zebra"), image_size=(height, width))


# ---- what is no such file ----


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_the_bomb_is_one(tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    torch.save(Bomb(tmp_path / "exploded"), tmp_path / "bomb.pth")
    torch.load(tmp_path / "bomb.pth", weights_only=False)
    assert (tmp_path / "exploded").exists()


def test_code_in_files_of_the_old_form_and_under_other_names_is_never_run(tmp_path: Path) -> None:
    bomb = {**stargan(), "extra": Bomb(tmp_path / "exploded")}
    old = tmp_path / "old.pth"
    torch.save(bomb, old, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"old\.pth needs .* to be loaded, and is refused"):
        read_foreign(old)
    for name in ("g.safetensors", "g.ckpt", "g"):
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
        with pytest.raises(CheckpointError, match=rf"{name} (cannot be read|needs)"):
            read_foreign(tmp_path / name)
    # One opcode that calls, without any class of ours: what a scanner that looks for names would miss.
    touch = f"open({str(tmp_path / 'exploded')!r}, 'w')"
    (tmp_path / "raw.pt").write_bytes(f"cbuiltins\nexec\n(V{touch}\ntR.".encode())
    with pytest.raises(CheckpointError, match=r"raw\.pt needs .*exec to be loaded, and is refused"):
        read_foreign(tmp_path / "raw.pt")
    assert not (tmp_path / "exploded").exists()


def test_code_is_never_run(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "exploded")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(bomb))
    with pytest.raises(CheckpointError, match=r"raw\.pth cannot be read"):
        read_foreign(tmp_path / "raw.pth")
    for content in (bomb, {**stargan(), "extra": bomb}, nn.Conv2d(1, 1, 1)):
        with pytest.raises(CheckpointError, match=r"needs .* to be loaded, and is refused: .* can run any code"):
            read(tmp_path, content)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([tensor(3)], "holds a list, not the named tensors"),
        ({}, "its entries are nothing"),
        (
            {"epoch": 3, "weights": [{"main.0.weight": tensor(3)}]},
            "its entries are epoch, weights, and none of them holds tensors",
        ),
        (
            {"epoch": 3, "D": discriminator()},
            "is a discriminator, not a generator",
        ),
        (
            {"epoch": 3, "weights": {"layer.weight": tensor(3)}},
            r"has tensors named weights\.layer\.weight, \.\.\., and is none of StarGAN's",
        ),
    ],
)
def test_files_without_a_state_dict(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, content)


def test_damaged_files(tmp_path: Path) -> None:
    read(tmp_path, stargan())
    whole = (tmp_path / "model.pth").read_bytes()
    for number, content in enumerate((b"", b"hello, this is text\n", whole[: len(whole) // 2])):
        file = tmp_path / f"{number}.pth"
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{number}\.pth cannot be read: it is damaged"):
            read_foreign(file)
    (tmp_path / "g.safetensors").write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"g\.safetensors cannot be read"):
        read_foreign(tmp_path / "g.safetensors")
