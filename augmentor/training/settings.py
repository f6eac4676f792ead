"""The sections of a recipe: pydantic models with defaults and bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from augmentor.data.manifest import TableReading
from augmentor.images import DEFAULT_SIDE, LONGEST_SIDE
from augmentor.storage import MAX_PIXELS, GreyRange
from stargan.config import AugmentProbability, Compile, Objective, Precision, Schedule
from stargan.diffaugment import Policy
from stargan.networks import (
    Conditioning,
    DiscriminatorKind,
    GeneratorKind,
    Initialisation,
    Norm,
    OutputKind,
    Padding,
    Upsampling,
    defaults_of_other_kinds,
)

MethodName = Literal["stargan", "cyclegan", "pix2pix"]
Targets = Literal["permuted", "drawn", "balanced", "mixed", "mixed-balanced", "other"]
Joint = Literal["mixed", "alternating"]
Cache = Literal["auto", "on", "off"]


def at_most(most: int, why: str) -> Callable[[int], int]:
    """Return a validator that refuses whole numbers above a bound; `why` is the reason, for the message."""

    def validated(value: int) -> int:
        if value > most:
            raise ValueError(f"{_short(value)} is more than {most:,}: {why}")
        return value

    return validated


def check_side(pixels: int) -> None:
    """Refuse a side of an image that no network can be built for, with a ValueError."""
    if pixels < 4:
        raise ValueError("sides must be at least 4 px")
    if pixels > LONGEST_SIDE:
        raise ValueError(
            f"sides must be at most {LONGEST_SIDE} px, not {_short(pixels)}: a network keeps dozens of maps as "
            "large as the image. Train at 64 to 512 px; expand --size original edits files of any size with that"
        )


def _short(value: int) -> str:
    """Return a number that may have thousands of digits."""
    return f"{value:,}" if value < 10**15 else "a number of more than 15 digits"


_Share = Annotated[float, Field(ge=0, lt=1)]
_Weight = Annotated[float, Field(ge=0)]
# A billion steps take years on any machine.
_Count = Annotated[int, AfterValidator(at_most(1_000_000_000, "no run comes so far"))]
# The paper's networks start with 64 channels.
_Width = Annotated[int, AfterValidator(at_most(4096, "these channels are doubled at every halving of the image"))]
_Blocks = Annotated[int, AfterValidator(at_most(1000, "the paper has 6"))]
_Dilation = Annotated[int, AfterValidator(at_most(64, "images are padded by as many pixels on each side"))]
_Noise = Annotated[int, AfterValidator(at_most(4096, "a few numbers suffice for many looks"))]
_Latent = Annotated[int, AfterValidator(at_most(1 << 20, "an image of 512 px has not even as many pixels"))]
_Batch = Annotated[int, AfterValidator(at_most(65_536, "images of a batch pass the networks all at once"))]
_Buffer = Annotated[int, AfterValidator(at_most(10_000, "CycleGAN keeps 50 translations"))]
_Workers = Annotated[int, AfterValidator(at_most(1024, "each is a thread, or a process"))]


class Section(BaseModel):
    """Base of all sections: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ImageSettings(Section):
    """Preparation of images: size, crop and augmentation.

    Attributes:
        size: side in pixels, or [height, width].
        channels: 3 for colour, 1 for grey; "auto" is 1 where all images are grey, and is decided as a run starts.
        crop: side in pixels of a centred square cut out first; 0 takes the largest rectangle that fits.
        flip: whether training may mirror images left to right.
        random_crop: training images are enlarged by this factor, then cut at random; 1 turns it off. 1.143 cuts
            28 px out of 32, 1.0157 256 px out of 260, 1.117 256 px out of 286.
        sub_regions: share of training images, in [0, 1), that are random cuts out of the file's own resolution
            (mixed sub-region training) instead of whole images.
        max_pixels: files of more pixels (width x height) are refused before they are unpacked.
        range: grey values that become black and white, of files with more than 8 bits: "full", 0 and 65535;
            [low, high]; or "auto", those of all training images, which are found as a run starts.
    """

    size: int | tuple[int, int] = Field(default=DEFAULT_SIDE, description="the side in pixels, or [height, width]")
    channels: Literal["auto", 1, 3] = "auto"
    crop: _Count = Field(default=0, ge=0)
    flip: bool = True
    random_crop: float = Field(default=1.08, ge=1.0, le=2.0)
    sub_regions: _Share = 0.0
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    range: Literal["full", "auto"] | GreyRange = Field(
        default="full", description="'full' (0 to 65535), 'auto', or [lowest, highest] grey value"
    )

    @field_validator("size")
    @classmethod
    def _positive(cls, size: int | tuple[int, int]) -> int | tuple[int, int]:
        for pixels in size if isinstance(size, tuple) else (size,):
            check_side(pixels)
        return size

    @field_validator("range")
    @classmethod
    def _ascending(cls, given: Literal["full", "auto"] | GreyRange) -> Literal["full", "auto"] | GreyRange:
        if isinstance(given, tuple) and given[0] >= given[1]:
            raise ValueError(f"[{given[0]:g}, {given[1]:g}] must rise: [lowest, highest] grey value")
        return given

    @property
    def height_width(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def colours(self) -> int:
        """Channels of an image, 1 or 3."""
        return 3 if self.channels == "auto" else self.channels

    @property
    def enlarged(self) -> tuple[int, int]:
        """(height, width) in pixels of training images ahead of the random crop."""
        height, width = self.height_width
        return round(height * self.random_crop), round(width * self.random_crop)


class GeneratorSettings(Section):
    """The generator's architecture; see `stargan.networks` for the kinds, whose defaults are the resnet's here.

    Attributes:
        kind: "resnet" (StarGAN's, with the options below), "encoder-decoder" (for digits), "cyclegan-resnet" or
            "pix2pix-unet" (the ancestors').
        latent: entries of the encoder-decoder's latent vector.
        dropout: share of the channels that are set to 0 inside residual blocks, or in the decoder of a U-Net; off
            in translations.
        per_value: a generator for each value of the one attribute, as CycleGAN has; `training.method` sets it.
    """

    kind: GeneratorKind = "resnet"
    width: _Width = Field(default=64, ge=1)
    downsamplings: _Count = Field(default=2, ge=0)
    blocks: _Blocks = Field(default=6, ge=0)
    conditioning: Conditioning = "norm"
    output: OutputKind = "masked"
    upsampling: Upsampling = "nearest"
    skips: bool = True
    norm: Norm = "instance"
    padding: Padding = "zero"
    dilation: _Dilation = Field(default=1, ge=1)
    spectral: bool = False
    latent: _Latent = Field(default=256, ge=1)
    dropout: _Share = 0.0
    per_value: bool = False
    noise: _Noise = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _of_this_kind(cls, given: object) -> object:
        # The defaults are the resnet's: settings that another kind lacks are set to the values that it accepts.
        if isinstance(given, dict):
            elsewhere = defaults_of_other_kinds(str(given.get("kind", "resnet")))
            return {**{key: value for key, value in elsewhere.items() if key in cls.model_fields}, **given}
        return given


class DiscriminatorSettings(Section):
    """The discriminator's architecture; see `stargan.networks`: `PatchDiscriminator` and `DcganDiscriminator`.

    The default of the depth depends on the images' size; see `fitting_depth`.

    Attributes:
        kind: "patch" scores every patch of an image (PatchGAN's), "dcgan" the whole image.
        per_value: a discriminator for each value of the one attribute, as CycleGAN has; `training.method` sets it.
    """

    kind: DiscriminatorKind = "patch"
    width: _Width = Field(default=64, ge=1)
    depth: _Count = Field(default=6, ge=1)
    matches: bool = True
    norm: Norm = "none"
    spectral: bool = False
    sees_source: bool = False
    per_value: bool = False


class TrainingSettings(Section):
    """Length, batches, optimisation and logging; see `stargan.config.TrainConfig`.

    Attributes:
        method: "stargan", "cyclegan" or "pix2pix"; decides defaults of other settings, see `METHODS`.
        steps: D steps in all; 200,000, the paper's, if neither steps nor minutes are given.
        minutes: minutes of training in all; excludes `steps`.
        init: the model whose weights the training starts from: a run, a checkpoint, or a converted one.
        initialisation: initial weights of both networks: torch's, "normal" (CycleGAN's and pix2pix's, standard
            deviation 0.02), "xavier", "kaiming" or "orthogonal"; without effect on weights that `init` replaces.
        batch_size: images a step; 1 needs targets that are not permuted.
        targets: "permuted": the domain of another image of the batch (as in the paper); "drawn": of a random
            training row; "balanced": the same, with rare labels drawn as often as frequent ones; "mixed": a third
            drawn, a third changes of one attribute, a third products of single values, so that combinations
            without an image come up, too; "mixed-balanced": the same, with all domains and values as often;
            "other": changes of one attribute alone.
        for_domains: SPECs of `augmentor expand --domains` that the model is meant for: every other target is
            drawn from them.
        for_balance: attributes of `augmentor expand --balance` that it is meant for: every other target is one of
            the combinations that lack training rows.
        paired_share: share of the draws of rows with partners (the manifest's column `pair`), in [0, 1], whose
            target are the labels of one of them; only with `loss.pair_weight` or `.pair_feature_weight`.
        balanced_sources: draw rows with replacement, rare labels as often as frequent ones, instead of in epochs.
        joint: batches of joint training: "mixed", equally from all sets, or "alternating" sets (as in the paper).
        keep_checkpoints: number of newest checkpoints to keep, beside the best; 0 keeps all.
        workers: threads that load images, or processes where images are not cached; -1 chooses by the cores.
        cache: keep decoded images in memory: "on", "off", or "auto": where they fill at most a quarter of what is
            free. The results are the same.
        tensorboard: also write TensorBoard events to RUN/tensorboard (extra `tensorboard`).
    """

    method: MethodName = "stargan"
    steps: _Count | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    init: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    initialisation: Initialisation = "default"
    batch_size: _Batch = Field(default=16, ge=1)
    targets: Targets = "mixed"
    for_domains: tuple[str, ...] = ()
    for_balance: tuple[str, ...] = ()
    paired_share: float = Field(default=0.5, ge=0, le=1)
    balanced_sources: bool = False
    joint: Joint = "mixed"
    workers: _Workers = Field(default=-1, ge=-1)
    cache: Cache = "auto"
    keep_checkpoints: _Count = Field(default=3, ge=0)
    objective: Objective = "logistic"
    critic_steps: _Count = Field(default=1, ge=1)
    warmup_steps: _Count = Field(default=1000, ge=0)
    learning_rate: float = Field(default=4e-4, gt=0)
    betas: tuple[_Share, _Share] = (0.5, 0.999)
    schedule: Schedule = "linear"
    decay_from: float = Field(default=0.5, ge=0, le=1)
    epoch_decay: float = Field(default=0.995, gt=0, le=1)
    ema_decay: _Share = 0.999
    buffer_size: _Buffer = Field(default=0, ge=0)
    augment: tuple[Policy, ...] = ()
    augment_probability: AugmentProbability = 1.0
    precision: Precision = "auto"
    compile: Compile = "auto"
    diverged_above: float = Field(default=1e4, gt=0)
    log_seconds: float = Field(default=5.0, ge=0)
    sample_minutes: float = Field(default=2.0, ge=0)
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    tensorboard: bool = False

    @field_validator("augment_probability", mode="before")
    @classmethod
    def _probability(cls, given: object) -> object:
        # pydantic would report both kinds of value.
        if given != "adaptive" and (isinstance(given, bool) or not isinstance(given, int | float)):
            raise ValueError(f"{given!r} is neither 'adaptive' nor a number in [0, 1]")
        return given

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("steps") is None and given.get("minutes") is None:
            return {**given, "steps": 200_000}
        return given


class LossSettings(Section):
    """The weights of the losses; see `stargan.config.TrainConfig`.

    Attributes:
        weigh_translations: whether a translation counts in D's adversarial loss as often as real images have its
            target, see `TranslationWeights`; without effect on targets that are other rows' domains.
    """

    adversarial_weight: float = Field(default=1.0, ge=0)
    domain_weight: float = Field(default=1.0, ge=0)
    real_domain_weight: float = Field(default=3.0, ge=0)
    normalise_domain: bool = True
    cycle_weight: float = Field(default=10.0, ge=0)
    cycle_weights: dict[str, _Weight] = Field(default={})
    cycle_changed_share: float = Field(default=0.2, ge=0, le=1)
    cycle_every: _Count = Field(default=4, ge=1)
    identity_weight: float = Field(default=0.0, ge=0)
    multiscale_weights: tuple[_Weight, ...] = ()
    feature_matching_weight: float = Field(default=0.0, ge=0)
    pair_weight: float = Field(default=0.0, ge=0)
    pair_feature_weight: float = Field(default=0.0, ge=0)
    source_multiscale_weights: tuple[_Weight, ...] = ()
    source_feature_weight: float = Field(default=0.0, ge=0)
    sparsity_weight: float = Field(default=0.3, ge=0)
    diversity_weight: float = Field(default=1.0, ge=0)
    diversity_bound: float = Field(default=0.2, gt=0)
    weigh_translations: bool = True
    gradient_penalty_weight: float = Field(default=10.0, ge=0)
    r1_weight: float = Field(default=0.03, ge=0)
    r1_every: _Count = Field(default=8, ge=1)

    @property
    def reads_partners(self) -> bool:
        """Whether a loss compares translations with true partners."""
        return self.pair_weight > 0 or self.pair_feature_weight > 0


class JudgeSettings(Section):
    """The classifier that scores checkpoints during training and measures target accuracy; see `augmentor.judge`.

    Attributes:
        steps: -1 takes as many as a tenth of the training's time allows, at most 2,000; 0 skips both.
    """

    steps: _Count = Field(default=-1, ge=-1)


class AttributeSettings(Section):
    """A categorical attribute of several 0/1 columns of the manifest, `one_hot`, whose names are its values."""

    one_hot: tuple[str, ...] = Field(min_length=2)


class ManifestSettings(Section):
    """How to read the manifest: attributes, and as `TableReading`.

    Attributes:
        attributes: columns to use as attributes; all that qualify if not given.
    """

    attributes: tuple[str, ...] | None = None
    image_column: str | None = None
    image_prefix: tuple[str, ...] | None = None
    image_suffix: str | None = None
    na_values: tuple[str, ...] | None = None

    @property
    def reading(self) -> TableReading:
        """How the cells are read."""
        return TableReading(**self.model_dump(exclude={"attributes"}, exclude_none=True))
