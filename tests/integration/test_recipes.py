"""`recipes/`: every TOML file trains, every script runs, on what the commands wrote."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.data.importers import IMPORTERS, parse_values
from augmentor.data.manifest import read_manifest, read_manifests
from augmentor.training.recipe import Recipe, read_recipe
from augmentor.training.run import train_run
from stargan.checkpoints import load_model
from tests.integration.conftest import TINY

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
PAPERS = ["celeba-128", "celeba-rafd-joint", "rafd-128"]
"""The recipes that are `paper` with a data set's crop."""

SMALLER = {
    "images.size": "16",
    "images.crop": "16",
    "generator.width": "4",
    "generator.blocks": "1",
    "generator.downsamplings": "1",
    "discriminator.width": "4",
    "discriminator.depth": "2",
    "training.batch_size": "2",
    "training.workers": "0",
    "judge.steps": "0",
}
"""Sizes alone: what kind of networks and losses they are stays as the recipe has it."""

OWN_SIZE = {
    # The images have 18 px, and 2 halvings are a U-Net's fewest.
    "pix2pix-256": {"generator.blocks", "generator.downsamplings"},
    "mnist-usps-28": {"images.size", "images.crop", "generator.blocks", "training.batch_size"},
}
"""What of it a recipe does not need, or does not have."""

COLUMNS = {
    "celeba-rafd-joint": (["hair"], ["smile"]),
    "mnist-usps-28": (["smile", "hair"],),
    "ade20k-256": (["hair"],),
    "cyclegan-256": (["smile"],),
    "cyclegan-cpu": (["smile"],),
}
"""The attributes of the manifests that a recipe is for; by default one manifest with both."""

PAIRED = {"pix2pix-256", "paired-cpu"}
"""Recipes for manifests with a column `pair`."""

RENAMED = {"mnist-usps-28": {"smile": "domain", "hair": "digit"}, "ade20k-256": {"hair": "scene"}}


def manifests(name: str, small: Small, folder: Path) -> list[Path]:
    """Write manifests that fit a recipe."""
    shutil.copytree(small.folder / "images", folder / "images")
    written = []
    for number, columns in enumerate(COLUMNS.get(name, (["hair", "smile"],))):
        path = folder / f"{number}.csv"
        renamed = RENAMED.get(name, {})
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            pair = ["pair"] if name in PAIRED else []
            table.writerow(["path", "id", "split", *pair, *(renamed.get(column, column) for column in columns)])
            for place, row in enumerate(small.rows):
                fixed = [row["path"], f"{number}-{row['id']}", row["split"]]
                fixed += [f"{row['split']} {place // 4}"] if pair else []
                table.writerow([*fixed, *(row[column] for column in columns)])
        written.append(path)
    return written


@pytest.mark.parametrize("name", NAMES)
def test_recipes_train(name: str, small: Small, tmp_path: Path) -> None:
    recipe = RECIPES / f"{name}.toml"
    whole = read_recipe(recipe)
    smaller = {key: value for key, value in SMALLER.items() if key not in OWN_SIZE.get(name, ())}
    # As many steps as it takes until G has learnt once.
    steps = max(2, whole.training.critic_steps)
    settings = read_recipe(recipe, [f"{key}={value}" for key, value in smaller.items()], steps=steps)
    table = read_manifests(manifests(name, small, tmp_path), attributes=settings.manifest.attributes)
    said: list[object] = []
    result = train_run(
        table,
        run=tmp_path / "run",
        recipe=settings,
        resume=False,
        device=torch.device("cpu"),
        on_event=said.append,
    )
    assert result.finished
    assert said
    model = load_model(tmp_path / "run")
    assert model.step == steps
    # The run is of the recipe's kind, not of the defaults'.
    arguments = model.generator.arguments
    assert arguments.get("kind") == whole.generator.kind
    assert arguments.get("output") == whole.generator.output
    assert model.image_channels == whole.images.colours
    expected = {"d/adversarial", "g/adversarial"}
    optional = {
        "d/domain": whole.loss.real_domain_weight > 0,
        "g/domain": whole.loss.domain_weight > 0,
        "d/penalty": whole.training.objective == "wgan-gp",
        "d/augment_p": whole.training.augment_probability == "adaptive",
        "g/cycle": whole.loss.cycle_every == 1,
        "g/identity": whole.loss.identity_weight > 0,
        "g/multiscale": bool(whole.loss.multiscale_weights),
        "g/pair": whole.loss.pair_weight > 0,
        "g/features": whole.loss.feature_matching_weight > 0,
        "g/sparsity": whole.generator.output == "masked",
    }
    assert set(result.losses) == expected | {loss for loss, there in optional.items() if there}


def test_the_joint_recipe_masks_and_alternates(small: Small, tmp_path: Path) -> None:
    name = "celeba-rafd-joint"
    assert read_recipe(RECIPES / f"{name}.toml").training.joint == "alternating"
    space = read_manifests(manifests(name, small, tmp_path)).space
    assert space.label_sets == (("hair",), ("smile",))


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_data_sets_have_the_papers_settings(name: str) -> None:
    made, paper = (read_recipe(RECIPES / f"{each}.toml").model_dump() for each in (name, "paper"))
    different = {
        f"{section}.{key}": value
        for section, values in made.items()
        for key, value in values.items()
        if value != paper[section][key]
    }
    # An iteration of the authors' joint training has a batch, and a step of D, of either set.
    assert (
        different
        == {
            "celeba-128": {"images.crop": 178},
            "rafd-128": {"images.crop": 256},
            "celeba-rafd-joint": {"training.steps": 400_000, "training.joint": "alternating"},
        }[name]
    )


def test_the_papers_settings() -> None:
    """StarGAN, sections 5.1, 7.1 and 7.2 (arXiv 1711.09020), whatever augmentor's own defaults are."""
    paper = read_recipe(RECIPES / "paper.toml")
    assert (paper.images.size, paper.images.flip, paper.images.random_crop) == (128, True, 1)
    generator = paper.generator
    assert (generator.kind, generator.width, generator.downsamplings, generator.blocks) == ("resnet", 64, 2, 6)
    assert (generator.conditioning, generator.output, generator.upsampling) == ("concat", "direct", "transposed")
    assert (generator.norm, generator.padding, generator.skips, generator.spectral) == (
        "instance",
        "zero",
        False,
        False,
    )
    discriminator = paper.discriminator
    assert (discriminator.kind, discriminator.width, discriminator.depth) == ("patch", 64, 6)
    assert (discriminator.matches, discriminator.norm, discriminator.spectral) == (False, "none", False)
    loss = paper.loss
    assert (loss.domain_weight, loss.real_domain_weight, loss.normalise_domain) == (1, 1, False)
    assert (loss.cycle_weight, loss.cycle_every, loss.gradient_penalty_weight) == (10, 1, 10)
    assert (loss.identity_weight, loss.multiscale_weights, loss.feature_matching_weight) == (0, (), 0)
    training = paper.training
    assert (training.steps, training.batch_size, training.critic_steps) == (200_000, 16, 5)
    assert (training.objective, training.learning_rate, training.betas) == ("wgan-gp", 1e-4, (0.5, 0.999))
    assert (training.schedule, training.decay_from, training.targets) == ("linear", 0.5, "permuted")
    assert (training.augment, training.balanced_sources, training.precision) == ((), False, "float32")


def test_the_recipe_for_digits() -> None:
    digits = read_recipe(RECIPES / "mnist-usps-28.toml")
    assert (digits.images.size, digits.images.channels, digits.images.flip) == (28, 1, False)
    assert digits.generator.kind == "encoder-decoder"
    assert min(digits.loss.identity_weight, digits.loss.cycle_weight, digits.loss.feature_matching_weight) > 0
    assert len(digits.loss.multiscale_weights) > 1
    training = digits.training
    assert (training.steps, training.batch_size, training.learning_rate) == (100_000, 1, 2e-4)
    assert (training.schedule, training.epoch_decay) == ("exponential", 0.995)


def test_small_data_sees_no_changed_colours() -> None:
    small = read_recipe(RECIPES / "small-data.toml").training
    assert (small.augment, small.augment_probability) == (("geometry",), "adaptive")
    assert small.balanced_sources
    assert small.targets == "mixed-balanced"


@pytest.mark.parametrize("name", NAMES)
def test_recipes_say_what_they_are_for_and_how_they_are_run(name: str) -> None:
    header = (RECIPES / f"{name}.toml").read_text().split("\n\n", maxsplit=1)[0]
    lines = [line.removeprefix("#").rstrip() for line in header.splitlines()]
    assert all(line.startswith("#") for line in header.splitlines())
    assert not lines[0].startswith(" For:")
    heads = [line.split()[0] for line in lines if re.match(r" [A-Z]\w+: ", line)]
    assert [head for head in heads if head != "Data:"] == ["For:", "Values:", "Needs:", "Run:"]
    text = "\n".join(lines).replace("\\\n", "")
    commands = [
        shlex.split(line) for line in re.findall(r"^ (?:Data:|Run:|  ) +(augmentor .+)$", text, re.MULTILINE)
    ]
    *conversions, training = commands
    assert training[:2] == ["augmentor", "train"]
    if read_recipe(RECIPES / f"{name}.toml") != Recipe():
        assert training[training.index("--recipe") + 1] == f"recipes/{name}.toml"
    tables = [word for word in training if word.endswith(".csv")]
    assert len(tables) == len(COLUMNS.get(name, ([],)))
    made = []
    for words in conversions:
        assert words[:3] == ["augmentor", "convert", "dataset"]
        assert words[3] in IMPORTERS
        made.append(words[words.index("--out") + 1])
        if "--values" in words:
            assert parse_values([words[words.index("--values") + 1]])
    assert set(made) == (set(tables) if made else set())


def test_training_a_classifier(augmentor: Augmentor, outputs: dict[str, tuple[Path, Done]]) -> None:
    script = RECIPES / "train_classifier.py"
    source = script.read_text()
    assert len(source.splitlines()) < 100
    assert re.findall(r"^(?:from|import) augmentor.*$", source, flags=re.MULTILINE) == [
        "from augmentor import ExpandedDataset, open_dataset"
    ]
    both = augmentor.run(outputs["folder"][0], "--steps", 2, "--batch-size", 8, script=script)
    # More in a batch than there are images: that must not wait for a full one.
    real = augmentor.run(outputs["hdf5"][0], "--real-only", "--steps", 2, "--batch-size", 64, script=script)
    for done, images in ((both, 66), (real, 16)):
        assert done.code == 0, done.err
        first, *rest = done.out.splitlines()
        assert first == f"{images} training images, 2 steps; balanced accuracy on 4 real test images:"
        assert [line.split(":")[0].strip() for line in rest] == ["hair", "smile"]
        assert all(re.fullmatch(r"  \w+: (100|\d?\d)\.\d%", line) for line in rest)


def markdown(out: str) -> dict[str, list[str]]:
    """The first table's rows by their first cell."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in reversed(rows)}


def test_scoring_translations(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    # As if all rows were one design: each is the true translation of the others into its domain.
    ids = [f"{row},one" for row in read_manifest(small.manifest).rows["id"]]
    (tmp_path / "truth.csv").write_text("\n".join(["id,glyph", *ids]) + "\n")
    words: list[object] = ["--domains", "hair=*,smile=*", "--steps", 2, "--batch-size", 4, "--referee-seeds", 2]
    words += ["--truth", tmp_path / "truth.csv", "--classifier", tmp_path / "classifier.safetensors"]
    script = RECIPES / "score_translations.py"
    done = augmentor.run(small.manifest, "--model", f"a={model}", "--model", f"a={model}", *words, script=script)
    assert done.code == 0, done.err
    # Four rows know both attributes: five other domains each.
    assert done.out.startswith(
        "20 translations of 4 val images. Referee: 2 x small, 2 steps of 4, on 16 train images. "
        "Distances: to 4 test images.\n"
    )
    rows = markdown(done.out)
    assert list(rows)[::-1] == [
        "recipe", "real images (referee)", "identity", "mean colour shift", "colour transfer", "colour polynomial",
        "a",
    ]  # fmt: skip
    columns = rows["recipe"]
    assert columns == [
        "seeds", "new hair", "new smile", "kept hair", "kept smile", "several new", "all at once", "error",
        "error: hair", "error: smile", "error: hair + smile", "outside", "change", "detail", "mask",
    ]  # fmt: skip
    identity = dict(zip(columns, rows["identity"], strict=True))
    assert [identity[name] for name in columns if name.startswith("error")] == ["1.000"] * 4
    assert (identity["outside"], identity["mask"], identity["seeds"]) == ("0.00", "-", "1")
    assert (identity["change"], identity["detail"]) == ("0.00", "1.00")
    made = dict(zip(columns, rows["a"], strict=True))
    assert made["seeds"] == "2"
    error = re.fullmatch(r"(\d\.\d{3}) \((\S+) \.\. (\S+)\)", made["error"])
    assert error is not None
    assert error[1] == error[2] == error[3]
    assert re.fullmatch(r"\d+\.\d % \(.+\)", made["mask"])
    assert float(made["change"].partition(" ")[0]) > 0
    # Too few images for a distance: every domain is named.
    assert "Distance to real images: hair=black, smile=0: not measured" in done.out
    # The test rows are opened on request. One of them does not know its smile: six other domains. The classifier
    # is read from the file, whatever the options of its training.
    words += ["--split", "test", "--steps", 1]
    test = augmentor.run(small.manifest, "--model", model, *words, script=script)
    assert test.code == 0, test.err
    assert test.out.startswith("21 translations of 4 test images.")
    assert markdown(test.out)["identity"][0] == "1"
    # A subject in two splits, and a file that holds another network.
    shared = small.manifest.read_text().replace("person8", "person0")
    (small.manifest.parent / "shared.csv").write_text(shared)
    refused = augmentor.run(small.manifest.parent / "shared.csv", "--model", model, *words, script=script)
    (small.manifest.parent / "shared.csv").unlink()
    assert (refused.code, refused.out) == (2, "")
    assert "group 'person0' is in train" in refused.err
    refused = augmentor.run(small.manifest, "--model", model, *words, "--referee", "resnet", script=script)
    assert (refused.code, refused.out) == (2, "")
    assert "its resnet referee 0 is missing or of another form" in refused.err


def test_a_star_beside_its_cyclegans(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    star = RECIPES / "train_star.py"
    changes = [word for key, value in TINY.items() if "critic" not in key for word in ("--set", f"{key}={value}")]
    words = [small.manifest, "smile", "--out", tmp_path / "star", "--steps", 1, "--cyclegan-steps", 1, *changes]
    done = augmentor.run(*words, script=star)
    assert done.code == 0, done.err
    models = tmp_path / "star" / "models"
    assert load_model(models / "stargan").space.names == ("smile",)
    assert load_model(models / "0-1").generator.arguments["per_value"] is True
    found = re.findall(
        r"^(.+): ([\d.]+) minutes of processor time, ([\d.]+) MB of weights$", done.out, re.MULTILINE
    )
    (one, minutes, size), (many, _, double) = found
    assert (one, many) == ("1 StarGAN", "1 CycleGANs")
    assert float(minutes) > 0
    # Two generators of the same kind, neither of which reads labels.
    assert 1.5 < float(double) / float(size) < 2.1
    # What is there is not trained again.
    trained = {file: file.stat().st_mtime_ns for file in models.rglob("*.safetensors")}
    assert augmentor.run(*words, script=star).out.splitlines() == done.out.splitlines()[-3:]
    assert {file: file.stat().st_mtime_ns for file in models.rglob("*.safetensors")} == trained

    # Several runs are one model, which makes the changes that its runs know, and refuses the others by name.
    script, cyclegan = RECIPES / "score_translations.py", models / "0-1"
    words = [small.manifest, "--model", f"whole={model}", "--model", f"twice={model},{model}"]
    words += ["--model", f"parts={cyclegan},{cyclegan}", "--steps", 1, "--batch-size", 4, "--referee-seeds", 1]
    scored = augmentor.run(*words, "--domains", "smile=~", script=script)
    assert scored.code == 0, scored.err
    rows = markdown(scored.out)
    assert rows["whole"] == rows["twice"] != rows["parts"]
    refused = augmentor.run(*words, "--domains", "hair=*", script=script)
    assert (refused.code, refused.out) == (2, "")
    said = " ".join(refused.err.split())
    assert re.search(r"none of the runs that are one model translates hair=\w+.* into hair=\w+", said)
    refused = augmentor.run(*words[:3], "--model", f"part={cyclegan}", "--domains", "smile=~", script=script)
    assert "--model part: its attributes, image size, channels or crop differ" in " ".join(refused.err.split())


def test_portraits_with_true_partners(augmentor: Augmentor, tmp_path: Path) -> None:
    script, drawn = RECIPES / "make_pairs.py", {}
    for share in (0.25, 0.5):
        folder = tmp_path / str(share)
        counts = ["--train", 8, "--val", 1, "--test", 1, "--size", 16]
        done = augmentor.run("portraits", folder, "--share", share, "--partners", 3, *counts, script=script)
        assert done.code == 0, done.err
        drawn[share] = folder
    assert done.out == "44 portraits; 4 of 8 in train have partners.\n"
    rows = {share: read_manifest(folder / "manifest.csv").rows for share, folder in drawn.items()}
    assert dict(rows[0.25]["split"].value_counts()) == {"train": 14, "val": 12, "test": 12}
    few, many = (set(each["path"]) for each in (rows[0.25], rows[0.5]))
    assert few < many
    for path in few:
        assert (drawn[0.25] / path).read_bytes() == (drawn[0.5] / path).read_bytes()
    checked = augmentor.run("check", drawn[0.25] / "manifest.csv", "--json")
    assert checked.code == 0, checked.err
    # A pair shows a person in different domains, and only the pixels that they change differ.
    with (drawn[0.25] / "manifest.csv").open() as file:
        paired = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert len({(row["hair"], row["glasses"], row["smile"]) for row in paired}) == 12
    pixels = [np.asarray(Image.open(drawn[0.25] / row["path"])) for row in paired]
    assert all(0 < (pixels[0] != other).any(axis=2).mean() < 0.7 for other in pixels[1:])


def test_designs_become_pairs(augmentor: Augmentor, small: Small, tmp_path: Path) -> None:
    ids = [(row["id"], f"design {number // 4}") for number, row in enumerate(small.rows)]
    (tmp_path / "truth.csv").write_text("\n".join(["id,glyph", *(",".join(each) for each in ids[1:])]) + "\n")
    done = augmentor.run(
        "designs", small.manifest, tmp_path / "truth.csv", "--share", 0.5, "--out", tmp_path / "paired.csv",
        script=RECIPES / "make_pairs.py",
    )  # fmt: skip
    assert done.code == 0, done.err
    with (tmp_path / "paired.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [{key: row[key] for key in ("id", "split", "group")} for row in written] == [
        {key: row[key] for key in ("id", "split", "group")} for row in small.rows
    ]
    assert all(Path(row["path"]).exists() for row in written)
    train = [row for row in written if row["split"] == "train"]
    # Half of the groups of training images, and no design for the first, which the table lacks.
    paired = {row["group"] for row in train if row["pair"]}
    assert len(paired) == round(0.5 * len({row["group"] for row in train if row["id"] != ids[0][0]}))
    assert not any(row["pair"] for row in written if row["split"] != "train")
    assert all(row["pair"] in ("", dict(ids)[row["id"]]) for row in written)
    assert not written[0]["pair"]
