"""A TOML recipe and `--set` overrides in, validated settings out; unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from augmentor.errors import RecipeError, did_you_mean
from augmentor.images import DEFAULT_SIDE
from augmentor.storage import MAX_PIXELS, replacing_text
from augmentor.training import bounds
from stargan.config import Compile, Objective, Precision, Schedule
from stargan.diffaugment import Policy
from stargan.networks import (
    Conditioning,
    DiscriminatorKind,
    GeneratorKind,
    Norm,
    OutputKind,
    Padding,
    Upsampling,
    check_networks,
    defaults_of_other_kinds,
)

Targets = Literal["permuted", "drawn", "balanced"]
Joint = Literal["mixed", "alternating"]
Cache = Literal["auto", "on", "off"]

Toml = bool | int | float | str | list["Toml"] | dict[str, "Toml"]


_Share = Annotated[float, Field(ge=0, lt=1)]
_Weight = Annotated[float, Field(ge=0)]
_Count = Annotated[int, AfterValidator(bounds.at_most(bounds.MOST, "no run comes so far"))]
_Width = Annotated[
    int,
    AfterValidator(bounds.at_most(bounds.MOST_WIDTH, "these channels are doubled at every halving of the image")),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ImageSettings(_Section):
    """How a file becomes the network's image.

    Attributes:
        size: side in pixels, or [height, width].
        channels: 3 for colour, 1 for grey.
        crop: side in pixels of a centred square cut out first; 0 takes the largest rectangle that fits.
        flip: whether training may mirror images left to right.
        random_crop: training images are enlarged by this factor, then cut at random; 1 turns it off.
        sub_regions: share of the training images, in [0, 1), that are random cuts of the network's size out of the
            file's own resolution (mixed sub-region training) instead of whole images.
        max_pixels: files of more pixels (width x height) are refused before they are unpacked.
    """

    size: int | tuple[int, int] = DEFAULT_SIDE
    channels: Literal[1, 3] = 3
    crop: _Count = Field(default=0, ge=0)
    flip: bool = True
    random_crop: float = Field(default=1.08, ge=1.0, le=2.0)
    sub_regions: _Share = 0.0
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)

    @field_validator("size")
    @classmethod
    def _positive(cls, size: int | tuple[int, int]) -> int | tuple[int, int]:
        for pixels in size if isinstance(size, tuple) else (size,):
            bounds.check_side(pixels)
        return size

    @property
    def height_width(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def enlarged(self) -> tuple[int, int]:
        """(height, width) in pixels of training images ahead of the random crop."""
        height, width = self.height_width
        return round(height * self.random_crop), round(width * self.random_crop)


class GeneratorSettings(_Section):
    """The generator's architecture; see `stargan.networks`: `Generator` ("resnet") and `EncoderDecoder`."""

    kind: GeneratorKind = "resnet"
    width: _Width = Field(default=64, ge=1)
    downsamplings: _Count = Field(default=2, ge=0)
    blocks: Annotated[int, AfterValidator(bounds.at_most(bounds.MOST_BLOCKS, "the paper has 6"))] = Field(
        default=6, ge=0
    )
    conditioning: Conditioning = "norm"
    output: OutputKind = "masked"
    upsampling: Upsampling = "nearest"
    skips: bool = True
    norm: Norm = "instance"
    padding: Padding = "zero"
    dilation: Annotated[
        int,
        AfterValidator(bounds.at_most(bounds.MOST_DILATION, "images are padded by as many pixels on each side")),
    ] = Field(default=1, ge=1)
    spectral: bool = False
    latent: Annotated[
        int, AfterValidator(bounds.at_most(bounds.MOST_LATENT, "an image of 512 px has not even as many pixels"))
    ] = Field(default=256, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _of_this_kind(cls, given: object) -> object:
        # The defaults are the resnet's: what another kind does not have must not be asked of it.
        if isinstance(given, dict):
            elsewhere = defaults_of_other_kinds("generator", str(given.get("kind", "resnet")))
            return {**{key: value for key, value in elsewhere.items() if key in cls.model_fields}, **given}
        return given


class DiscriminatorSettings(_Section):
    """The discriminator's architecture; see `stargan.networks`: `PatchDiscriminator` and `DcganDiscriminator`.

    Where a recipe does not give the depth, it is what the images' size allows; see `fitting_depth`.
    """

    kind: DiscriminatorKind = "patch"
    width: _Width = Field(default=64, ge=1)
    depth: _Count = Field(default=6, ge=1)
    matches: bool = True
    norm: Norm = "none"
    spectral: bool = False


class TrainingSettings(_Section):
    """How long and how fast; see `stargan.config.TrainConfig`.

    Attributes:
        steps: D steps in all; 200,000, the paper's, if neither steps nor minutes are given.
        minutes: minutes of training in all; excludes `steps`.
        batch_size: images a step; 1 needs targets that are drawn or balanced.
        targets: what an image is asked to become: "permuted" the domain of another image of the batch (the
            paper's), "drawn" that of a random training row, "balanced" the same with rare labels asked for as
            often as frequent ones.
        balanced_sources: draw rows with replacement, rare labels as often as frequent ones, instead of in epochs.
        joint: batches of joint training: "mixed" from all label sets, equally many of each, or "alternating", each
            of one set (the paper's).
        keep_checkpoints: newest checkpoints that stay on the disk; 0 keeps all.
        workers: threads that load images, or processes where they are not kept; -1 picks from the cores.
        cache: keep images in memory once they are decoded: "on", "off", or "auto", where they fill at most a
            quarter of what is free. The results are the same.
        tensorboard: also write TensorBoard events to RUN/tensorboard (extra `tensorboard`).
    """

    steps: _Count | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    batch_size: Annotated[
        int, AfterValidator(bounds.at_most(bounds.MOST_IMAGES, "images of a batch pass the networks all at once"))
    ] = Field(default=16, ge=1)
    targets: Targets = "permuted"
    balanced_sources: bool = False
    joint: Joint = "mixed"
    workers: Annotated[
        int, AfterValidator(bounds.at_most(bounds.MOST_WORKERS, "each is a thread, or a process"))
    ] = Field(default=-1, ge=-1)
    cache: Cache = "auto"
    keep_checkpoints: _Count = Field(default=3, ge=0)
    objective: Objective = "logistic"
    critic_steps: _Count = Field(default=1, ge=1)
    learning_rate: float = Field(default=4e-4, gt=0)
    betas: tuple[_Share, _Share] = (0.5, 0.999)
    schedule: Schedule = "linear"
    decay_from: float = Field(default=0.5, ge=0, le=1)
    epoch_decay: float = Field(default=0.995, gt=0, le=1)
    ema_decay: _Share = 0.999
    augment: tuple[Policy, ...] = ()
    precision: Precision = "auto"
    compile: Compile = "auto"
    diverged_above: float = Field(default=1e4, gt=0)
    log_seconds: float = Field(default=5.0, ge=0)
    sample_minutes: float = Field(default=2.0, ge=0)
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    tensorboard: bool = False

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("steps") is None and given.get("minutes") is None:
            return {**given, "steps": 200_000}
        return given


class LossSettings(_Section):
    """The weights of the losses; see `stargan.config.TrainConfig`."""

    domain_weight: float = Field(default=1.0, ge=0)
    real_domain_weight: float = Field(default=3.0, ge=0)
    normalise_domain: bool = True
    cycle_weight: float = Field(default=10.0, ge=0)
    cycle_every: _Count = Field(default=4, ge=1)
    identity_weight: float = Field(default=0.0, ge=0)
    multiscale_weights: tuple[_Weight, ...] = ()
    feature_matching_weight: float = Field(default=0.0, ge=0)
    sparsity_weight: float = Field(default=0.3, ge=0)
    gradient_penalty_weight: float = Field(default=10.0, ge=0)
    r1_weight: float = Field(default=0.03, ge=0)
    r1_every: _Count = Field(default=8, ge=1)


class JudgeSettings(_Section):
    """The classifier that says after training whether the generator obeys; see `augmentor.judge`.

    Attributes:
        steps: its optimisation steps; -1 picks as many as a tenth of the training's time allows, 2,000 at most;
            0 leaves the verdict out.
    """

    steps: _Count = Field(default=-1, ge=-1)


class AttributeSettings(_Section):
    """One attribute that the manifest holds in an unusual form.

    Attributes:
        one_hot: the 0/1 columns that together are this categorical attribute; their names are its values.
    """

    one_hot: tuple[str, ...] = Field(min_length=2)


class ManifestSettings(_Section):
    """How to read the manifest.

    Attributes:
        attributes: the columns to use; all that are not reserved by default.
        image_column: the column that holds the image's path.
    """

    attributes: tuple[str, ...] | None = None
    image_column: str | None = None


class Recipe(_Section):
    """Everything that a training run depends on, but for the manifest and the device."""

    manifest: ManifestSettings = ManifestSettings()
    images: ImageSettings = ImageSettings()
    generator: GeneratorSettings = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings(steps=200_000)
    judge: JudgeSettings = JudgeSettings()
    attributes: dict[str, AttributeSettings] = {}

    @model_validator(mode="before")
    @classmethod
    def _fit_depth(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        images, discriminator = given.get("images", {}), given.get("discriminator", {})
        if not isinstance(discriminator, dict) or "depth" in discriminator:
            return given
        try:
            size = ImageSettings.model_validate(images).height_width
        except ValidationError:
            return given  # What is wrong with the images is said when they are validated themselves.
        return {**given, "discriminator": {**discriminator, "depth": fitting_depth(size)}}

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        check_networks(
            image_size=self.images.height_width,
            generator=self.generator.model_dump(),
            discriminator=self.discriminator.model_dump(),
            objective=self.training.objective,
        )
        bounds.refuse_giants(
            image_size=self.images.height_width,
            image_channels=self.images.channels,
            batch_size=self.training.batch_size,
            generator=self.generator.model_dump(),
            discriminator=self.discriminator.model_dump(),
        )
        levels, side = len(self.loss.multiscale_weights), min(self.images.height_width)
        if side >> max(0, levels - 1) < 1:
            raise ValueError(
                f"loss.multiscale_weights has {levels} levels, each half the size of the one before, but images "
                f"of {side} px shrink to nothing before that; use fewer"
            )
        if (self.training.steps is None) == (self.training.minutes is None):
            raise ValueError("training.steps and training.minutes: give one of the two")
        if self.training.batch_size == 1 and self.training.targets == "permuted":
            raise ValueError(
                "training.batch_size = 1 with training.targets = 'permuted': an image's target would be its "
                "own domain, and nothing would ever change. Set training.targets to 'drawn' (the labels' "
                "frequencies) or 'balanced', or a larger training.batch_size"
            )
        return self

    @property
    def one_hot(self) -> dict[str, tuple[str, ...]]:
        """The declared one-hot groups: attribute name -> its columns."""
        return {name: settings.one_hot for name, settings in self.attributes.items()}


def fitting_depth(size: tuple[int, int]) -> int:
    """Return the discriminator's depth for images of a size: halved until a side has 2 px, six times at most.

    Six are the paper's at 128 px.

    Args:
        size: (height, width) in pixels.

    Returns:
        At least 1; sides that cannot be halved so often are halved as often as they can be.
    """
    depths = [min((side & -side).bit_length() - 1, side.bit_length() - 2) for side in size]
    return max(1, min(6, *depths))


def read_recipe(path: Path | None, overrides: Sequence[str] = (), **training: float | str | None) -> Recipe:
    """Read a recipe, apply overrides, fill in the defaults, validate.

    Args:
        path: a TOML file; None means all defaults (the paper's settings).
        overrides: `section.key=value` lines; a value is read as TOML, and as text if it is none.
        training: settings of the section `training` given as flags (steps, minutes, seed, cache); None is not
            given. Steps and minutes exclude each other, so giving one drops the other.

    Raises:
        RecipeError: a file that cannot be read or parsed, an unknown key, or a value that cannot work.
    """
    where = str(path) if path is not None else "the settings"
    content = _read_toml(path) if path is not None else {}
    for override in overrides:
        _apply(content, override)
    for name, value in training.items():
        if value is not None:
            _set(content, ["training", name], value)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(where, error)) from None


def write_recipe(path: Path, recipe: Recipe, *, header: Sequence[str] = ()) -> None:
    """Write all settings as TOML, so that `read_recipe` returns the same recipe.

    Args:
        path: the file to write.
        recipe: the settings.
        header: comment lines for its head.
    """
    comments = "".join(f"# {line}\n" for line in header)
    with replacing_text(path) as file:  # A kill in between must not leave a run without its settings.
        file.write(comments + tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)))


def _read_toml(path: Path) -> dict[str, Toml]:
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: the recipe cannot be read (it is a folder, a pipe or a device)")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}); is it a recipe?") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # Numbers of thousands of digits, or lists as deep.
        raise RecipeError(f"{path}: not a recipe: {str(error) or 'nested too deeply'}") from None


def _apply(content: dict[str, Toml], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        raise RecipeError(f"--set {override}: write it as section.key=value, for example training.batch_size=8")
    try:
        value: Toml = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    try:
        _set(content, parts, value)
    except TypeError:
        raise RecipeError(f"--set {override}: {'.'.join(parts[:-1])} is not a section") from None


def _set(content: dict[str, Toml], parts: Sequence[str], value: Toml) -> None:
    table = content
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise TypeError(part)
        table = inner
    table[parts[-1]] = value
    # Steps and minutes exclude each other: the later word wins.
    rival = {("training", "steps"): "minutes", ("training", "minutes"): "steps"}.get((parts[0], parts[-1]))
    if rival is not None:
        table.pop(rival, None)


def _explain(where: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        # What is left out are the branches of a union, which pydantic counts as places.
        key = ".".join(part for part in location if part != "int" and not part.startswith("tuple["))
        if problem["type"] == "extra_forbidden":
            known = list(_keys_beside(location))
            hint = did_you_mean(location[-1], known) or f" Known: {', '.join(known)}."
            lines.append(f"{where}: unknown key '{key}'.{hint}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {key}: {message}" if key else f"{where}: {message}")
    return "\n".join(dict.fromkeys(lines))


def _keys_beside(location: Sequence[str]) -> Iterator[str]:
    model: type[BaseModel] = Recipe
    for part in location[:-1]:
        field = model.model_fields.get(part)
        if field is None:
            # Inside [attributes.NAME]: the name is the user's own.
            model = AttributeSettings
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    yield from model.model_fields
