"""Models that people have: files in others' layouts, of random weights, give a plain forward pass's pixels.

The layouts are written out here as their authors' code builds them, from torch's own modules alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

Norm = Callable[[int], nn.Module]
Row = dict[str, str]

HAIR = ("black", "blond", "brown")
MOODS = ("angry", "happy", "sad")
SINGLE = "hair=black|blond|brown,male,young"
JOINT = f"{SINGLE};mood=angry|happy|sad"


# ---- the layouts ----


class Residual(nn.Module):
    """StarGAN's block, or with `name` "conv_block" CycleGAN's: a path of its own and the identity."""

    def __init__(self, path: Iterable[nn.Module], name: str) -> None:
        super().__init__()
        self.path = name
        self.add_module(name, nn.Sequential(*path))

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = getattr(self, self.path)(x)
        return x + changed


def stargan(*, inputs: int, width: int, blocks: int, statistics: bool) -> nn.Module:
    def norm(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels, affine=True, track_running_stats=statistics)

    layers: list[nn.Module] = [nn.Conv2d(3 + inputs, width, 7, padding=3, bias=False), norm(width), nn.ReLU()]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, 4, stride=2, padding=1, bias=False), norm(2 * c), nn.ReLU()]
    c = 4 * width
    for _ in range(blocks):
        path = []
        for last in (False, True):
            path += [nn.Conv2d(c, c, 3, padding=1, bias=False), norm(c), *(() if last else (nn.ReLU(),))]
        layers.append(Residual(path, "main"))
    for c in (4 * width, 2 * width):
        layers += [nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1, bias=False), norm(c // 2), nn.ReLU()]
    layers += [nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh()]
    network = nn.Module()
    network.main = nn.Sequential(*layers)
    return network


def cyclegan(*, width: int, blocks: int, norm: Norm, dropout: bool) -> nn.Module:
    bias = isinstance(norm(1), nn.InstanceNorm2d)
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7, bias=bias), norm(width), nn.ReLU()]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1, bias=bias), norm(2 * c), nn.ReLU()]
    c = 4 * width
    for _ in range(blocks):
        path: list[nn.Module] = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c), nn.ReLU()]
        path += [nn.Dropout(0.5)] if dropout else []
        path += [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c)]
        layers.append(Residual(path, "conv_block"))
    for c in (4 * width, 2 * width):
        up = nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
        layers += [up, norm(c // 2), nn.ReLU()]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
    network = nn.Module()
    network.model = nn.Sequential(*layers)
    return network


class Level(nn.Module):
    """A level of pix2pix's U-Net; all but the outermost one join what they read with what they make."""

    def __init__(self, layers: Iterable[nn.Module], *, joins: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.joins = joins

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.model(x)
        return torch.cat([x, made], dim=1) if self.joins else made


def unet_256(*, width: int, norm: Norm) -> nn.Module:
    bias = isinstance(norm(1), nn.InstanceNorm2d)

    def down(channels_in: int, channels: int) -> nn.Module:
        return nn.Conv2d(channels_in, channels, 4, stride=2, padding=1, bias=bias)

    def up(channels_in: int, channels: int) -> nn.Module:
        return nn.ConvTranspose2d(channels_in, channels, 4, stride=2, padding=1, bias=bias)

    c = 8 * width
    innermost = [nn.LeakyReLU(0.2), down(c, c), nn.ReLU(), up(c, c), norm(c)]
    level = Level(innermost, joins=True)
    for outer, inner in ((c, c), (c, c), (c, c), (c // 2, c), (c // 4, c // 2), (width, c // 4)):
        layers = [nn.LeakyReLU(0.2), down(outer, inner), norm(inner), level]
        layers += [nn.ReLU(), up(2 * inner, outer), norm(outer)]
        dropout = [nn.Dropout(0.5)] if outer == inner else []
        level = Level([*layers, *dropout], joins=True)
    last = nn.ConvTranspose2d(2 * width, 3, 4, stride=2, padding=1)
    network = nn.Module()
    network.model = Level([down(3, width), level, nn.ReLU(), last, nn.Tanh()], joins=False)
    return network


def plain_instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels)


def counting_instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, track_running_stats=True)


def batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels)


def randomised(network: nn.Module) -> nn.Module:
    """Return the network with weights and statistics that leave nothing at its start."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(3 + 2 * torch.rand(tensor.shape, generator=random))
            elif tensor.ndim == 1:
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=random))
            elif tensor.ndim == 4:
                # Strong enough that what is painted uses much of the range.
                tensor.copy_(torch.randn(tensor.shape, generator=random) * 2 / tensor[0].numel() ** 0.5)
    return network


@torch.no_grad()
def forward(network: nn.Module, layers: nn.Module, signed: Tensor) -> Tensor:
    """Return what the layers make, in float64; norms use the image itself, but batch norm its statistics."""
    network.double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    made: Tensor = layers(signed)
    return made


# ---- images in, pixels out ----


def write_images(folder: Path, rows: list[Row], *, width: int, height: int) -> Path:
    """Write smooth random images and their manifest."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for row in rows:
        coarse = Image.fromarray(random.integers(256, size=(5, 4, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / row["path"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def read_pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def synthetic_rows(out: Path) -> list[Row]:
    with (out / "labels.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["is_synthetic"] == "1"]


def check(out: Path, data: Path, expected: Callable[[Tensor, Row], Tensor]) -> list[Row]:
    """Compare every translation with what is expected of its source; return their rows of the label table.

    Every pixel must be the whole number nearest to the float64 result. What lies within a hundredth of the middle
    between two may fall to either side, for the command computes in float32.
    """
    rows = synthetic_rows(out)
    for row in rows:
        source = torch.from_numpy(read_pixels(data / row["source_path"]).copy()).permute(2, 0, 1)[None]
        exact = (expected(source.double() / 127.5 - 1, row) + 1) * 127.5
        exact = exact.clamp(0, 255)[0].permute(1, 2, 0)
        assert exact.std() > 10
        made = torch.from_numpy(read_pixels(out / row["file_name"]).copy()).double()
        assert made.shape == exact.shape
        assert (made - exact).abs().max() <= 0.51
    return rows


# ---- StarGAN ----


def people(count: int = 3) -> list[Row]:
    return [
        {"path": f"{i}.png", "hair": HAIR[i % 3], "male": str(i % 2), "young": str((i + 1) // 2 % 2)}
        for i in range(count)
    ]


def described(row: Row) -> list[float]:
    """Return a person's entries; a blank cell is unknown, which is 0 for all of hair's."""
    return [*(float(row["hair"] == hair) for hair in HAIR), *(float(row[name]) for name in ("male", "young"))]


def told(network: nn.Module, images: Tensor, vector: list[float]) -> Tensor:
    planes = torch.tensor(vector, dtype=torch.float64)[None, :, None, None].expand(-1, -1, *images.shape[2:])
    assert isinstance(network.main, nn.Module)
    return forward(network, network.main, torch.cat([images, planes], dim=1))


@pytest.mark.parametrize("statistics", [False, True])
def test_the_original_stargan(statistics: bool, augmentor: Augmentor, tmp_path: Path) -> None:
    network = randomised(stargan(inputs=5, width=4, blocks=2, statistics=statistics))
    file, out = tmp_path / "200000-G.ckpt", tmp_path / "out"
    torch.save(network.state_dict(), file)
    manifest = write_images(tmp_path / "data", people(), width=24, height=32)
    words = (
        "expand",
        manifest,
        "--model",
        file,
        "--model-size",
        "24x32",
        "--domains",
        "hair=*,male=~",
        "--out",
        out,
    )
    done = augmentor.run(*words, "--attributes", SINGLE)
    assert done.code == 0, done.err
    rows = check(out, manifest.parent, lambda images, row: told(network, images, described(row)))
    assert len(rows) == 3 * 3
    assert len({read_pixels(out / row["file_name"]).tobytes() for row in rows}) == 9
    # Other labels, or another size, are another expansion.
    again = augmentor.run(*words, "--attributes", SINGLE)
    assert "complete already" in again.out
    swapped = augmentor.run(*words, "--attributes", SINGLE.replace("male,young", "young,male"))
    assert swapped.code == 2
    assert "output of another plan, model or settings" in swapped.err


def test_labels_that_the_original_never_saw_unknown(augmentor: Augmentor, tmp_path: Path) -> None:
    network = randomised(stargan(inputs=5, width=4, blocks=1, statistics=False))
    file, out = tmp_path / "200000-G.ckpt", tmp_path / "out"
    torch.save(network.state_dict(), file)
    rows = [*people(2), {"path": "8.png", "hair": "", "male": "0", "young": ""}]
    manifest = write_images(tmp_path / "data", rows, width=16, height=16)
    model = ("--model", file, "--attributes", SINGLE, "--model-size", 16)
    words = ("expand", manifest, *model, "--domains", "male=~", "--out", out)
    refused = augmentor.run(*words)
    assert refused.code == 2
    assert "unknown: young of 1 image. " in refused.err
    assert "--unlabelled young=0" in refused.err
    assert not out.exists()
    # The preview shows the others, and is refused where there are none.
    drawn = augmentor.run("preview", manifest, *model, "--out", tmp_path / "preview.png")
    assert drawn.code == 0, drawn.err
    alone = write_images(tmp_path / "alone", rows[2:], width=16, height=16)
    nothing = augmentor.run("preview", alone, *model, "--domains", "male=~", "--out", tmp_path / "none.png")
    assert nothing.code == 2
    assert "every image of train, val, test has an unknown yes-or-no label" in nothing.err

    done = augmentor.run(*words, "--unlabelled", "young=1")
    assert done.code == 0, done.err
    made = check(
        out,
        manifest.parent,
        lambda images, row: told(network, images, described({**row, "young": row["young"] or "1"})),
    )
    # The label itself stays unknown.
    assert [(row["hair"], row["male"], row["young"]) for row in made if row["source_path"] == "8.png"] == [
        ("", "1", "")
    ]
    other = augmentor.run(*words, "--unlabelled", "young=0")
    assert other.code == 2
    assert "output of another plan, model or settings" in other.err
    ours = augmentor.run(
        "convert", "checkpoint", file, *model[2:], "--unlabelled", "young=1", "--out", tmp_path / "o"
    )
    assert ours.code == 0, ours.err
    assert "unknown labels count as young=1" in augmentor.run("info", tmp_path / "o").out


def test_a_joint_model_of_the_original(augmentor: Augmentor, tmp_path: Path) -> None:
    network = randomised(stargan(inputs=5 + 3 + 2, width=4, blocks=1, statistics=True))
    file, out = tmp_path / "10000-G.ckpt", tmp_path / "out"
    torch.save(network.state_dict(), file)
    faces = [{**row, "mood": ""} for row in people(2)]
    moody = [{"path": "8.png", "hair": "", "male": "", "young": "", "mood": "sad"}]
    manifest = write_images(tmp_path / "data", [*faces, *moody], width=16, height=16)
    words = (
        "--model",
        file,
        "--attributes",
        JOINT,
        "--model-size",
        16,
        "--domains",
        "male=~",
        "--domains",
        "mood=*",
    )
    refused = augmentor.run("expand", manifest, *words, "--out", out)
    assert refused.code == 2
    assert "unknown: young of 1 image. " in refused.err  # the moody one's, where it gets a value of male
    done = augmentor.run("expand", manifest, *words, "--unlabelled", "young=1", "--out", out)
    assert done.code == 0, done.err

    def expected(images: Tensor, row: Row) -> Tensor:
        if row["changed"] == "mood":
            return told(network, images, [0, 0, 0, 0, 0, *(float(row["mood"] == mood) for mood in MOODS), 0, 1])
        return told(network, images, [*described({**row, "young": row["young"] or "1"}), 0, 0, 0, 1, 0])

    rows = check(out, manifest.parent, expected)
    changed = [row["changed"] for row in rows]
    # Two people can take any mood and the sad one two; male is asked of all, of the sad one both ways.
    assert (changed.count("mood"), changed.count("male")) == (2 * 3 + 2, 2 + 2)


# ---- CycleGAN and pix2pix: one direction ----


def animals(*kinds: str) -> list[Row]:
    return [{"path": f"{i}.png", "animal": kind} for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("blocks", "norm", "dropout"),
    [
        (6, plain_instance_norm, False),
        (9, counting_instance_norm, False),
        (9, plain_instance_norm, True),
        (6, batch_norm, True),
    ],
)
def test_cyclegan(blocks: int, norm: Norm, dropout: bool, augmentor: Augmentor, tmp_path: Path) -> None:
    network = randomised(cyclegan(width=8, blocks=blocks, norm=norm, dropout=dropout))
    file, out = tmp_path / "latest_net_G_A.pth", tmp_path / "out"
    torch.save(network.state_dict(), file)
    manifest = write_images(tmp_path / "data", animals("horse", "zebra", "horse"), width=32, height=24)
    words = ("--model", file, "--attributes", "animal=horse|zebra", "--model-size", "32x24")
    done = augmentor.run("expand", manifest, *words, "--domains", "animal=zebra", "--out", out)
    assert done.code == 0, done.err
    assert isinstance(network.model, nn.Module)
    layers = network.model
    rows = check(out, manifest.parent, lambda images, _row: forward(network, layers, images))
    assert [(row["source_path"], row["animal"]) for row in rows] == [("0.png", "zebra"), ("2.png", "zebra")]


@pytest.mark.parametrize("norm", [batch_norm, plain_instance_norm])
def test_pix2pix(norm: Norm, augmentor: Augmentor, tmp_path: Path) -> None:
    network = randomised(unet_256(width=4, norm=norm))
    file, out = tmp_path / "latest_net_G.pth", tmp_path / "out"
    torch.save(network.state_dict(), file)
    rows = [{"path": "0.png", "night": "0"}]
    manifest = write_images(tmp_path / "data", rows, width=256, height=256)
    words = ("--model", file, "--attributes", "night", "--domains", "night=~", "--real", "none")
    done = augmentor.run("expand", manifest, *words, "--out", out)
    assert done.code == 0, done.err
    assert isinstance(network.model, nn.Module)
    layers = network.model
    assert len(check(out, manifest.parent, lambda images, _row: forward(network, layers, images))) == 1


@pytest.fixture
def zebra_maker(tmp_path: Path) -> Path:
    file = tmp_path / "latest_net_G_A.pth"
    network = randomised(cyclegan(width=4, blocks=6, norm=plain_instance_norm, dropout=False))
    torch.save(network.state_dict(), file)
    return file


def test_the_other_direction_is_refused(zebra_maker: Path, augmentor: Augmentor, tmp_path: Path) -> None:
    manifest = write_images(tmp_path / "data", animals("horse", "zebra", "horse"), width=32, height=32)
    out = tmp_path / "out"
    words = ("--model", zebra_maker, "--attributes", "animal=horse|zebra", "--model-size", 32)
    for domains, images in (("each", 1), ("animal=horse", 1), ("animal=*", 1)):
        done = augmentor.run("expand", manifest, *words, "--domains", domains, "--out", out)
        assert done.code == 2
        assert f"animal=horse is requested of {images} images" in done.err
        assert "one direction, into animal=zebra" in done.err
    own = augmentor.run("expand", manifest, *words, "--domains", "animal=*", "--include-identity", "--out", out)
    assert "animal=horse is requested of 3 images" in own.err
    assert not out.exists()
    dry = augmentor.run("expand", manifest, *words, "--domains", "animal=zebra", "--dry-run", "--out", out)
    assert dry.code == 0, dry.err

    picture = tmp_path / "preview.png"
    done = augmentor.run("preview", manifest, *words, "--out", picture)
    assert done.code == 0, done.err
    with Image.open(picture) as image:
        assert 2 * 32 < image.width < 2 * image.height  # the sources and one column
    done = augmentor.run("preview", manifest, *words, "--domains", "animal=horse", "--out", picture)
    assert done.code == 2
    assert "one direction, into animal=zebra" in done.err


# ---- converting, describing, refusing ----


def test_a_converted_file_needs_no_description(zebra_maker: Path, augmentor: Augmentor, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    description = ("--attributes", "animal=horse|zebra", "--model-size", 16, "--model-crop", 20)
    done = augmentor.run("convert", "checkpoint", zebra_maker, *description, "--out", ours)
    assert done.code == 0, done.err
    manifest = write_images(tmp_path / "data", animals("horse", "zebra"), width=28, height=24)
    made: list[list[NDArray[np.uint8]]] = []
    for model, words in ((zebra_maker, description), (ours, ())):
        out = tmp_path / f"out{len(made)}"
        done = augmentor.run(
            "expand", manifest, "--model", model, *words, "--domains", "animal=zebra", "--out", out
        )
        assert done.code == 0, done.err
        made.append([read_pixels(out / row["file_name"]) for row in synthetic_rows(out)])
    assert [image.shape for image in made[0]] == [(16, 16, 3)]
    assert np.array_equal(made[0], made[1])
    kept = json.loads((ours / "config.json").read_text())["settings"]
    assert kept["images"] == {"crop": 20}
    assert kept["foreign"]["file"] == "latest_net_G_A.pth"

    told = augmentor.run("info", ours)
    assert "Foreign checkpoint: CycleGAN's ResNet generator, latest_net_G_A.pth" in told.out
    assert "One direction only: into animal=zebra" in told.out
    back = augmentor.run("expand", manifest, "--model", ours, "--domains", "animal=~", "--out", tmp_path / "back")
    assert back.code == 2
    assert "animal=horse is requested of 1 images" in back.err
    again = augmentor.run("info", ours, *description)
    assert again.code == 2
    assert "stores its attributes (animal), size and crop" in again.err
    assert "Leave out --attributes --model-size --model-crop" in again.err


def test_a_generator_beside_others_is_chosen_by_its_key(augmentor: Augmentor, tmp_path: Path) -> None:
    raw, average = (randomised(stargan(inputs=5, width=4, blocks=1, statistics=False)) for _ in range(2))
    assert isinstance(average.main, nn.Sequential)
    with torch.no_grad():
        next(average.main[-2].parameters()).neg_()
    file = tmp_path / "10000.pt"
    torch.save({"G": raw.state_dict(), "G_ema": average.state_dict()}, file)
    manifest = write_images(tmp_path / "data", people(2), width=16, height=16)
    words = ("--attributes", SINGLE, "--model-size", 16)
    asked = augmentor.run("info", file, *words)
    assert asked.code == 2
    assert "holds 2 generators, under the keys G and G_ema" in asked.err
    shown = augmentor.run("info", file, *words, "--key", "G_ema")
    assert "StarGAN's generator, 10000.pt, under the key G_ema" in shown.out
    making = ("expand", manifest, "--model", file, *words, "--domains", "male=~", "--out", tmp_path / "out")
    done = augmentor.run(*making, "--key", "G_ema")
    assert done.code == 0, done.err
    check(tmp_path / "out", manifest.parent, lambda images, row: told(average, images, described(row)))
    other = augmentor.run(*making, "--key", "G")
    assert other.code == 2
    assert "output of another plan, model or settings" in other.err
    ours = augmentor.run("convert", "checkpoint", file, *words, "--key", "G", "--out", tmp_path / "ours")
    assert ours.code == 0, ours.err
    seen = augmentor.run("preview", manifest, "--model", file, *words, "--key", "G", "--out", tmp_path / "p.png")
    assert seen.code == 0, seen.err


def test_descriptions_that_do_not_fit(augmentor: Augmentor, tmp_path: Path) -> None:
    file = tmp_path / "200000-G.ckpt"
    torch.save(stargan(inputs=5, width=4, blocks=1, statistics=False).state_dict(), file)
    for words, messages in (
        ((), ["StarGAN's generator does not store what its 5 label entries mean"]),
        (("--attributes", "male,young"), ["vector of 5 entries, but the description has 2 (male 1, young 1)"]),
        (("--attributes", "hair=black|blond,male;mood=a|b"), ["has 7 (hair 2, male 1, mood 2, the mask 2)"]),
        (("--attributes", "hair=black||brown,male,young"), ["'hair=black||brown' has an empty value"]),
        (("--attributes", SINGLE, "--model-size", "130"), ["130 x 130 px", "multiples of 4 px"]),
        (("--attributes", SINGLE, "--model-size", "big"), ["'big' is not a number of pixels"]),
    ):
        done = augmentor.run("info", file, *words)
        assert done.code == 2
        for message in messages:
            assert message in done.err
    hinted = augmentor.run("info", file, "--attributes", "Black_Hair,Blond_Hair,Brown_Hair,Male,Young")
    assert hinted.code == 0, hinted.err
    assert "write hair=Black_Hair|Blond_Hair|Brown_Hair" in hinted.err
    done = augmentor.run("info", file, "--attributes", SINGLE, "--json")
    assert done.code == 0, done.err
    assert not done.err
    assert (done.json["image_size"], done.json["step"]) == ([128, 128], 200_000)


class Bomb:
    """What a pickle can do where it is trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_brings_code_is_refused(augmentor: Augmentor, tmp_path: Path) -> None:
    file = tmp_path / "latest_net_G.pth"
    weights = stargan(inputs=5, width=4, blocks=1, statistics=False).state_dict()
    torch.save({**weights, "extra": Bomb(tmp_path / "exploded")}, file)
    done = augmentor.run("info", file, "--attributes", SINGLE)
    assert done.code == 2
    assert "to be loaded, and is refused" in done.err
    assert "can run any code" in done.err
    assert not (tmp_path / "exploded").exists()
