"""Recipes: what is read, what is refused and with which words."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from augmentor.errors import RecipeError
from augmentor.training.recipe import Recipe, read_recipe, write_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPE = """\
# augmentor train faces.csv --recipe small.toml
[images]
size = [32, 64]
channels = 1
flip = false

[generator]
conditioning = "norm"
width = 16

[discriminator]
depth = 4

[training]
minutes = 5
betas = [0, 0.99]

[attributes.hair]
one_hot = ["Black_Hair", "Blond_Hair"]
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(RECIPE)
    return file


def test_the_default_is_written_out_in_full() -> None:
    written = ROOT / "recipes" / "default.toml"
    assert read_recipe(None) == Recipe() == read_recipe(written)
    sections = tomllib.loads(written.read_text())
    for name in ("images", "generator", "discriminator", "loss"):
        known = set(getattr(Recipe(), name).model_dump())
        assert known - set(sections[name]) <= {"latent"}, f"[{name}] leaves something out"


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = read_recipe(ROOT / "recipes" / "paper.toml")
    assert recipe.images.height_width == (128, 128)
    generator, discriminator, training = recipe.generator, recipe.discriminator, recipe.training
    assert (generator.width, generator.downsamplings, generator.blocks) == (64, 2, 6)
    assert (generator.conditioning, generator.output, generator.skips) == ("concat", "direct", False)
    assert (discriminator.width, discriminator.depth, discriminator.matches) == (64, 6, False)
    assert (training.steps, training.minutes, training.batch_size, training.critic_steps) == (200_000, None, 16, 5)
    assert (training.learning_rate, training.betas, training.decay_from) == (1e-4, (0.5, 0.999), 0.5)
    assert training.objective == "wgan-gp"
    loss = recipe.loss
    assert (loss.cycle_weight, loss.gradient_penalty_weight, loss.domain_weight) == (10, 10, 1)
    assert (loss.cycle_every, loss.normalise_domain) == (1, False)


def test_what_another_kind_lacks_is_not_asked_of_it() -> None:
    recipe = read_recipe(None, ["generator.kind=encoder-decoder", "images.size=28", "discriminator.depth=2"])
    assert (recipe.generator.kind, recipe.generator.output, recipe.generator.skips) == (
        "encoder-decoder",
        "masked",
        False,
    )
    with pytest.raises(RecipeError, match=r"generator\.skips"):
        read_recipe(None, ["generator.kind=encoder-decoder", "generator.skips=true", "images.size=28"])


def test_a_file_is_read(recipe_file: Path) -> None:
    recipe = read_recipe(recipe_file)
    assert recipe.images.height_width == (32, 64)
    assert recipe.images.flip is False
    assert recipe.generator.conditioning == "norm"
    assert recipe.generator.blocks == 6
    assert (recipe.training.minutes, recipe.training.steps) == (5, None)
    assert recipe.training.betas == (0, 0.99)
    assert recipe.one_hot == {"hair": ("Black_Hair", "Blond_Hair")}


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "bom.toml"
    file.write_bytes(b"\xef\xbb\xbf[training]\nseed = 3\n")
    assert read_recipe(file).training.seed == 3


# ---- --set ----


def test_overrides_win_over_the_file(recipe_file: Path) -> None:
    recipe = read_recipe(
        recipe_file,
        [
            "generator.width=8",
            "images.flip = true",
            "images.size=32",
            "generator.output=masked",  # no TOML value: text
            'generator.upsampling="nearest"',
            "training.betas=[0.1, 0.9]",
            "attributes.hair.one_hot=['a','b','c']",
        ],
    )
    assert recipe.generator.width == 8
    assert recipe.images.flip is True
    assert recipe.images.height_width == (32, 32)
    assert (recipe.generator.output, recipe.generator.upsampling) == ("masked", "nearest")
    assert recipe.training.betas == (0.1, 0.9)
    assert recipe.one_hot["hair"] == ("a", "b", "c")


@pytest.mark.parametrize("override", ["training.batch_size", "batch_size=8", "=8", "training.=8", ".x=8", ""])
def test_an_override_that_is_none(override: str) -> None:
    with pytest.raises(RecipeError, match=r"write it as section\.key=value") as caught:
        read_recipe(None, [override])
    assert f"--set {override}:" in str(caught.value)


def test_an_override_below_a_value() -> None:
    with pytest.raises(RecipeError, match=r"--set training\.seed\.x=1: training\.seed is not a section"):
        read_recipe(None, ["training.seed=1", "training.seed.x=1"])


# ---- steps and minutes ----


def test_steps_and_minutes_the_later_word_wins(recipe_file: Path) -> None:
    def length(recipe: Recipe) -> tuple[int | None, float | None]:
        return recipe.training.steps, recipe.training.minutes

    assert length(read_recipe(recipe_file, ["training.steps=7"])) == (7, None)
    assert length(read_recipe(recipe_file, ["training.steps=7", "training.minutes=2"])) == (None, 2)
    assert length(read_recipe(recipe_file, ["training.steps=7"], minutes=3.0)) == (None, 3)
    assert length(read_recipe(recipe_file, steps=9)) == (9, None)
    assert length(read_recipe(recipe_file, steps=None, minutes=None)) == (None, 5)
    assert length(read_recipe(None, minutes=0.5)) == (None, 0.5)
    assert read_recipe(recipe_file, seed=4).training.seed == 4


def test_a_file_with_both_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    file.write_text("[training]\nsteps = 1\nminutes = 1\n")
    with pytest.raises(
        RecipeError, match=r"both\.toml: training\.steps and training\.minutes: give one of the two"
    ):
        read_recipe(file)


# ---- refusals ----


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainnig.steps=3", "unknown key 'trainnig'. Did you mean 'training'?"),
        ("training.batchsize=3", "unknown key 'training.batchsize'. Did you mean 'batch_size'?"),
        ("attributes.hair.onehot=['a', 'b']", "unknown key 'attributes.hair.onehot'. Did you mean 'one_hot'?"),
        ("images.zzz=1", "unknown key 'images.zzz'. Known: size, channels, crop, flip, random_crop, sub"),
        ("images.size=2", "images.size: sides must be at least 4 px"),
        ("images.size=[64, 3]", "images.size: sides must be at least 4 px"),
        ("images.channels=2", "images.channels must be 'auto', 1 or 3, not 2"),
        ("images.random_crop=inf", "images.random_crop must be a number, at least 1 and at most 2, not inf"),
        ("images.sub_regions=1", "images.sub_regions must be a number, at least 0 and less than 1, not 1"),
        (
            "training.targets=random",
            "training.targets must be 'permuted', 'drawn', 'balanced', 'mixed', 'mixed-balanced' or 'other'",
        ),
        ("training.joint=both", "training.joint must be 'mixed' or 'alternating'"),
        ("generator.output=mask", "generator.output must be 'direct', 'masked' or 'residual'"),
        ("training.learning_rate=0", "training.learning_rate must be a number, more than 0, not 0"),
        (
            "training.betas=[0.5, 1.0]",
            "training.betas must be a list of 2, each a number, at least 0 and less than 1, not",
        ),
        ("training.steps=x", "training.steps must be a whole number, more than 0, not 'x'"),
        (
            "training.seed=18446744073709551616",
            "training.seed must be a whole number, at least 0 and less than 9,223,",
        ),
        (
            "attributes.interest.one_hot=['a']",
            "attributes.interest.one_hot must be a list of at least 2, each text, not ['a']",
        ),
        (
            "images.size=100000",
            "images.size: sides must be at most 4096 px, not 100,000: a network keeps dozens of",
        ),
        ("images.size=[64, 4097]", "images.size: sides must be at most 4096 px, not 4,097: "),
        ("generator.width=100000", "generator.width: 100,000 is more than 4,096: these channels are doubled at"),
        (
            "generator.width=4096",
            "the generator would have 33,187,631,105 weights, which take 531 GB to train; there",
        ),
        (
            "discriminator.width=4096",
            "take 2,929 GB to train; there may be 1,000,000,000. Make discriminator.width",
        ),
        ("generator.blocks=5000", "generator.blocks: 5,000 is more than 1,000: the paper has 6"),
        ("generator.dilation=65", "generator.dilation: 65 is more than 64: images are padded by as many pixels"),
        ("generator.latent=9999999", "generator.latent: 9,999,999 is more than 1,048,576: an image of"),
        ("training.batch_size=100000", "training.batch_size: 100,000 is more than 65,536: images of a batch pass"),
        ("training.workers=2000", "training.workers: 2,000 is more than 1,024: each is a thread, or a process"),
        (
            "training.steps=9999999999",
            "training.steps: 9,999,999,999 is more than 1,000,000,000: no run comes so far",
        ),
        (
            f"loss.r1_every={'9' * 400}",
            "loss.r1_every: a number of more than 15 digits is more than 1,000,000,000",
        ),
        ("training.augment_probability=often", "augment_probability: 'often' is neither 'adaptive' nor a number"),
        ("training.augment_probability=true", "augment_probability: True is neither 'adaptive' nor a number"),
        (
            "training.augment_probability=1.5",
            "training.augment_probability must be in [0, 1] or 'adaptive', not 1.5",
        ),
        (
            "training.augment_probability=adaptive",
            "training.augment_probability = 'adaptive', but augment is empty",
        ),
        ("images.size=101", "generator.downsamplings = 2 halves an image side of 101 px"),
        ("discriminator.depth=8", "discriminator.depth = 8 halves an image side of 128 px"),
        ("generator.downsamplings=8", "generator.downsamplings = 8 halves an image side of 128 px"),
    ],
)
def test_what_cannot_work_is_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(None, [override])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_networks_that_do_not_suit_the_objective_name_both_keys() -> None:
    with pytest.raises(RecipeError, match=r'discriminator\.norm = "batch" .* of training\.objective = "wgan-gp"'):
        read_recipe(None, ["discriminator.norm=batch", "training.objective=wgan-gp"])


def test_what_is_large_together_is_named_together() -> None:
    with pytest.raises(
        RecipeError, match=r"generator\.width = 64: the first feature maps of a batch alone take 17,592"
    ):
        read_recipe(None, ["images.size=4096", "training.batch_size=4096"])
    with pytest.raises(
        RecipeError, match=r"the generator would have .* Make generator\.width or blocks, downsamplings"
    ):
        read_recipe(None, ["images.size=512", "generator.kind=encoder-decoder", "generator.latent=1000000"])
    large = read_recipe(None, ["images.size=1024", "training.batch_size=64", "generator.width=128"])
    assert large.images.height_width == (1024, 1024)


@pytest.mark.parametrize(
    ("size", "depth"),
    [("128", 6), ("256", 6), ("64", 5), ("32", 4), ("[32,64]", 4), ("28", 2), ("100", 2), ("12", 2)],
)
def test_the_discriminator_is_as_deep_as_the_images_allow(size: str, depth: int) -> None:
    assert read_recipe(None, [f"images.size={size}"]).discriminator.depth == depth
    given = read_recipe(None, [f"images.size={size}", "discriminator.width=8", "discriminator.depth=1"])
    assert given.discriminator.depth == 1


def test_every_problem_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[images]\nsise = 64\n[training]\nsteps = -1\n")
    with pytest.raises(RecipeError) as caught:
        read_recipe(file)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{file}: unknown key 'images.sise'. Did you mean 'size'?"
    assert lines[1].startswith(f"{file}: training.steps must be a whole number, more than 0, not -1")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: the recipe cannot be read \(No such file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[images\n")
    with pytest.raises(RecipeError, match=r"bad\.toml: not valid TOML: .*line 1"):
        read_recipe(tmp_path / "bad.toml")
    (tmp_path / "image.toml").write_bytes(b"\x89PNG")
    with pytest.raises(RecipeError, match=r"image\.toml: not UTF-8 text \(byte 0\)"):
        read_recipe(tmp_path / "image.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = " + b"[" * 100_000 + b"]" * 100_000, "nested too deeply|not a recipe|not valid TOML"),
        (b"[training]\nsteps = " + b"9" * 5000, "not a recipe"),
        (b"images = 3", "images"),
        (b"[images]\nsize = 'big'", r"images\.size"),
        (b"[images]\nsize = [1, 2, 3]", r"images\.size"),
        (b"[images]\nmax_pixels = 0", r"images\.max_pixels"),
        (b"[[training]]\nsteps = 3", "training"),
        (b"[training]\nsteps = true\nminutes = 1979-05-27", r"training\.minutes"),
        (b"[generator]\nkind = ['resnet']", r"generator\.kind"),
        (b"[attributes]\nhair = 'red'", r"attributes\.hair"),
        (b"[attributes.hair]\none_hot = 'red'", r"attributes\.hair\.one_hot"),
        (b"[training]\nsteps = 1\nsteps = 2", "not valid TOML"),
        (b"[images]\nsize = 64\n\0", "not valid TOML"),
        ("[images]\nsize = 64".encode("utf-16"), "not UTF-8"),
        (b"\x1b[2J = 1", "not valid TOML"),
        (b"'' = 1", "unknown key"),
    ],
)
def test_hostile_recipes_are_refused_with_their_file(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.toml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(file)
    assert str(caught.value).startswith(str(file))


def test_pipes_and_devices_are_no_recipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path, Path("/dev/zero")):
        with pytest.raises(RecipeError, match="a folder, a pipe or a device"):
            read_recipe(path)


def test_an_override_of_any_depth_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"training\.steps"):
        read_recipe(None, ["training.steps=" + "[" * 100_000])
    with pytest.raises(RecipeError, match=r"training\.steps"):
        read_recipe(None, ["training.steps=" + "9" * 5000])


# ---- writing ----


@pytest.mark.parametrize(
    "overrides", [[], ["training.steps=5", "images.size=64", "manifest.attributes=['a','b']"]]
)
def test_written_and_read_again_is_equal(overrides: list[str], recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, overrides)
    written = tmp_path / "run.toml"
    write_recipe(written, recipe, header=["Manifest: faces.csv", "augmentor train"])
    assert written.read_text().startswith("# Manifest: faces.csv\n# augmentor train\n")
    assert read_recipe(written) == recipe


def test_a_model_is_meant_for_domains_or_for_a_balance() -> None:
    meant = read_recipe(None, ["training.for_domains=['hair=~']", "training.batch_size=1"]).training
    assert (meant.for_domains, meant.for_balance) == (("hair=~",), ())
    with pytest.raises(RecipeError, match=r"training\.for_domains and training\.for_balance: give one of the two"):
        read_recipe(None, ["training.for_domains=['hair=~']", "training.for_balance=['hair']"])


def test_permuted_targets_need_more_than_one_image() -> None:
    assert read_recipe(None, ["training.batch_size=1"]).training.targets == "mixed"
    with pytest.raises(RecipeError, match=r"Set training\.targets to 'mixed', 'drawn'"):
        read_recipe(None, ["training.batch_size=1", "training.targets=permuted"])


@pytest.mark.parametrize("key", ["pair_weight", "pair_feature_weight"])
def test_permuted_targets_leave_no_room_for_partners(key: str) -> None:
    assert read_recipe(None, [f"loss.{key}=10"]).training.paired_share == 0.5
    with pytest.raises(RecipeError, match=r"none can be a partner's. Set training\.targets to 'mixed'") as caught:
        read_recipe(None, [f"loss.{key}=10", "training.targets=permuted"])
    assert f"loss.{key} with training.targets" in str(caught.value)


def test_settings_that_are_younger_than_a_run_are_as_they_were_then(tmp_path: Path) -> None:
    """A run that was started without a warm-up goes on without one."""
    write_recipe(tmp_path / "run.toml", read_recipe(None))
    lines = (tmp_path / "run.toml").read_text().splitlines()
    (tmp_path / "run.toml").write_text("\n".join(line for line in lines if not line.startswith("warmup_steps")))
    assert read_recipe(tmp_path / "run.toml", of_run=True).training.warmup_steps == 0
    assert read_recipe(tmp_path / "run.toml").training.warmup_steps == 1000
