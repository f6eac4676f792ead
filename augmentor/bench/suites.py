"""The suites: lists of settings, and the targets that their figures are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from augmentor.bench.conditions import Conditions
from augmentor.bench.expanding import HDF5, JPG, PNG, Form, measure_expand
from augmentor.bench.figures import Figure
from augmentor.bench.material import Subject, synthetic_subject
from augmentor.bench.scale import measure_doublings, measure_memory
from augmentor.bench.stages import measure_translate
from augmentor.bench.training import measure_training
from augmentor.training import Recipe, read_recipe

Suite = Literal["cpu", "gpu", "scale"]

PAPER = (
    "generator.conditioning=concat",
    "generator.output=direct",
    "generator.upsampling=transposed",
    "generator.skips=false",
    "discriminator.matches=false",
    "loss.real_domain_weight=1.0",
    "loss.normalise_domain=false",
    "loss.cycle_every=1",
    "training.objective=wgan-gp",
    "training.critic_steps=5",
    "training.learning_rate=1e-4",
)
"""recipes/paper.toml as overrides of the default; its precision is left to the conditions."""

SMALL = (
    "images.size=32",
    "generator.width=24",
    "generator.blocks=4",
    "discriminator.width=48",
    "discriminator.depth=4",
)
"""recipes/cpu-quick.toml's networks."""

TINY = (
    *("images.size=32", "generator.width=4", "generator.blocks=1", "generator.downsamplings=1"),
    *("discriminator.width=4", "discriminator.depth=2"),
)
"""So small that all but the networks is measured."""

EMOJI = ("images.size=64", "generator.width=32", "discriminator.width=48", "discriminator.depth=5")
"""Small colourful pictures, as recipes/small-data.toml takes them."""


class Target(NamedTuple):
    """What a figure is held against.

    Args:
        quantity: of the figure: "ratio", "share_of_matrix_rate", "largest_difference", ...
        bound: the least, or the most, that meets the target.
        at_most: whether `bound` is the most.
    """

    quantity: str
    bound: float
    at_most: bool = False

    def met(self, figure: Figure) -> bool:
        """Return whether a figure meets the target; one that lacks the quantity does not."""
        value = figure.quantity(self.quantity)
        return value is not None and (value <= self.bound if self.at_most else value >= self.bound)

    def __str__(self) -> str:
        """Say it in words, for example "ratio at least 1.3"."""
        words = self.quantity.replace("_", " ").replace("largest relative loss", "loss")
        return f"{words} {'at most' if self.at_most else 'at least'} {self.bound:g}"


class Judged(NamedTuple):
    """A figure and the targets that it has."""

    figure: Figure
    targets: tuple[Target, ...]

    @property
    def missed(self) -> tuple[Target, ...]:
        """The targets that the figure misses."""
        return tuple(target for target in self.targets if not target.met(self.figure))


class Part(NamedTuple):
    """One subject of a suite and what is measured on it.

    Args:
        recipe: overrides of the default recipe.
        targets_per_image: translations of each image.
        measure: what is measured, with each figure's targets in their order.
        seconds: this part's share of a figure's time, where it needs more or less than the others.
        images: JPEG files that are drawn.
    """

    recipe: tuple[str, ...]
    targets_per_image: int
    measure: Callable[[Subject, Conditions], Iterable[Judged]]
    seconds: float = 1.0
    images: int = 64


def translating(*targets: Target) -> Callable[[Subject, Conditions], Iterable[Judged]]:
    """Measure the translator; the figure has these targets."""
    return lambda subject, conditions: [Judged(measure_translate(subject, conditions), targets)]


def expanding(*forms: tuple[Form, float]) -> Callable[[Subject, Conditions], Iterable[Judged]]:
    """Measure expansions into forms, each with the least ratio to the translator alone."""

    def measure(subject: Subject, conditions: Conditions) -> Iterable[Judged]:
        figures = measure_expand(subject, conditions, [form for form, _ in forms])
        for figure, (_, least) in zip(figures, forms, strict=True):
            yield Judged(figure, (Target("ratio", least),))

    return measure


def training(least: float) -> Callable[[Subject, Conditions], Iterable[Judged]]:
    """Measure training steps, with the least ratio to the plain loop and equal losses."""
    targets = (Target("ratio", least), Target("largest_relative_loss_difference", 1e-4, at_most=True))
    return lambda subject, conditions: [Judged(measure_training(subject, conditions), targets)]


def both(
    *measures: Callable[[Subject, Conditions], Iterable[Judged]],
) -> Callable[[Subject, Conditions], Iterable[Judged]]:
    """Measure several things on one subject, one after the other."""

    def measure(subject: Subject, conditions: Conditions) -> Iterator[Judged]:
        for each in measures:
            if not conditions.time_is_up:
                yield from each(subject, conditions)

    return measure


def in_precision(
    precision: Literal["float32", "bfloat16"], measure: Callable[[Subject, Conditions], Iterable[Judged]]
) -> Callable[[Subject, Conditions], Iterable[Judged]]:
    """Measure in a precision, whatever the device would choose."""
    return lambda subject, conditions: measure(subject, replace(conditions, precision=precision))


def scaling(subject: Subject, conditions: Conditions) -> Iterator[Judged]:
    """Measure the memory of more outputs, and the time of twice as many."""
    yield Judged(measure_memory(subject, conditions, (2_000, 20_000)), (Target("ratio", 1.1, at_most=True),))
    for figure in measure_doublings(subject, conditions, (1_000, 2_000, 4_000, 8_000, 16_000)):
        yield Judged(figure, (Target("ratio", 2.1, at_most=True),))


ONE_LEVEL = Target("largest_difference", 1, at_most=True)

SUITES: dict[Suite, tuple[Part, ...]] = {
    "cpu": (
        Part(
            PAPER,
            8,
            both(translating(Target("ratio", 1.3), ONE_LEVEL), expanding((PNG, 0.95), (HDF5, 0.95))),
            seconds=4.0,
        ),
        Part((), 8, translating(Target("ratio", 1.5), ONE_LEVEL), seconds=4.0),
        Part((*SMALL,), 8, expanding((PNG, 0.8), (HDF5, 0.8)), images=4096),
        Part(("images.size=64",), 8, training(1.25), seconds=4.0),
        Part((*PAPER, "images.size=64"), 8, training(1.25), seconds=4.0),
        Part(("images.size=64",), 8, in_precision("float32", training(1.25)), seconds=4.0),
        Part((*PAPER, "images.size=64"), 8, in_precision("float32", training(1.25)), seconds=4.0),
    ),
    # The most telling first: what is not begun when the time is up is left out.
    "gpu": (
        Part(
            PAPER,
            8,
            both(
                translating(Target("ratio", 3.0), Target("share_of_matrix_rate", 0.3)),
                expanding((HDF5, 0.8), (JPG, 0.6)),
            ),
            images=8192,
        ),
        Part(PAPER, 8, training(2.0)),
        Part((), 8, training(2.0)),
        Part((), 8, translating(Target("ratio", 3.0))),
        Part(EMOJI, 8, both(translating(), expanding((HDF5, 0.8), (JPG, 0.6))), images=16_384),
        Part(EMOJI, 8, training(2.0)),
    ),
    "scale": (Part(TINY, 8, scaling, images=2_500),),
}

SUITE_SECONDS: dict[Suite, float] = {"cpu": 10.0, "gpu": 8.0, "scale": 10.0}
"""Of measuring a figure, where the person names none."""

GPU_LIMIT = 400.0
"""Seconds after which the suite for GPUs begins no further figure, so that it ends within 9 minutes."""


def run_suite(
    name: Suite, conditions: Conditions, *, overrides: Sequence[str], on_part: Callable[[str], None]
) -> Iterator[Judged]:
    """Measure a suite's figures, one after the other.

    Args:
        name: of the suite.
        conditions: device, time, workers.
        overrides: `section.key=value` lines on top of every recipe.
        on_part: told in words what comes next.
    """
    for number, part in enumerate(SUITES[name]):
        if conditions.time_is_up:
            on_part("the time is up: the figures that are left are not measured")
            return
        recipe: Recipe = read_recipe(None, [*part.recipe, *overrides])
        folder = conditions.folder()
        subject = synthetic_subject(recipe, targets=part.targets_per_image, images=part.images, work=folder)
        on_part(f"part {number + 1} of {len(SUITES[name])}: {subject.title}")
        yield from part.measure(subject, replace(conditions, seconds=conditions.seconds * part.seconds))
