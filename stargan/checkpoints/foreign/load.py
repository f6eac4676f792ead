"""A foreign file, understood, and one of our models made of it."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stargan.checkpoints.checkpoint import Model
from stargan.checkpoints.description import CheckpointError, Json
from stargan.checkpoints.foreign.attributes import EXAMPLE, count_entries
from stargan.checkpoints.foreign.files import Weights, read_weights
from stargan.checkpoints.foreign.layouts import Reading, dropped, find_layout
from stargan.labels import LabelSpace
from stargan.networks import TranslatingGenerator, build_generator


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignGenerator:
    """A foreign generator, whose label vector nobody has described yet.

    Args:
        file: where it was read from.
        title: whose layout it has.
        arguments: of our generator, all but `vector_size`.
        halvings: of the image's sides, to the bottleneck.
        weights: by our names.
        entries: of its label vector, 1 or more; None where it reads none and translates in one direction.
        usual_size: (height, width) in pixels of the images that it was most likely trained on.
        sha256: of the file.
    """

    file: Path
    title: str
    arguments: Mapping[str, object]
    halvings: int
    weights: Weights
    entries: int | None
    usual_size: tuple[int, int]
    sha256: str

    @property
    def hint(self) -> str:
        """How to describe it."""
        if self.entries is None:
            return (
                "It translates in one direction. Describe that as one attribute: a bare name, like zebra, or one "
                "with values, like animal=horse|zebra, the last of which it makes"
            )
        return (
            "Describe the entries in their order: a bare name is one, a name with values one per value, like "
            f"{EXAMPLE!r}; a joint model's data sets have ';' between them, and an entry each in the mask, which "
            "comes last by itself"
        )

    def check_space(self, space: LabelSpace) -> None:
        """Refuse a description that does not fit the file.

        Raises:
            ValueError: another number of entries, or several attributes for one direction.
        """
        if self.entries is None:
            if len(space) != 1:
                raise ValueError(f"{len(space)} attributes are described ({', '.join(space.names)}). {self.hint}")
        elif space.vector_size != self.entries:
            raise ValueError(
                f"{self.file.name} has a label vector of {self.entries} entries, but the description has "
                f"{count_entries(space)}. {self.hint}"
            )

    def check_size(self, image_size: tuple[int, int]) -> None:
        """Refuse images that the network cannot halve and double again.

        Args:
            image_size: (height, width) in pixels.

        Raises:
            ValueError: naming what the sides must be.
        """
        multiple = 1 << self.halvings
        # A U-Net's last map may be one pixel; the others mirror or normalise theirs.
        smallest = multiple if self.arguments["kind"] == "pix2pix-unet" else max(4, 2 * multiple)
        if any(side < smallest or side % multiple for side in image_size):
            height, width = image_size
            raise ValueError(
                f"{self.title} in {self.file.name} cannot translate images of {width} x {height} px: its sides "
                f"are multiples of {multiple} px, and at least {smallest}"
            )

    def to_model(
        self, space: LabelSpace, *, image_size: tuple[int, int] | None = None, crop: int | None = None
    ) -> Model:
        """Make it one of our models.

        Args:
            space: what the entries of its label vector mean.
            image_size: (height, width) in pixels of the images that it is to translate; None: the usual.
            crop: side of the centred square that its training images were cut to first, in pixels, or None.

        Raises:
            ValueError: the label space or the size does not fit.
        """
        size = image_size or self.usual_size
        self.check_space(space)
        self.check_size(size)
        generator = _build(self.arguments, vector_size=space.vector_size)
        # What a file does not hold, such as an instance norm's scale of 1, is as the network starts.
        generator.load_state_dict(self.weights, strict=False)
        step = re.match(r"(\d+)-G\b", self.file.name)
        settings: dict[str, Json] = {
            "foreign": {"layout": self.title, "file": self.file.name, "sha256": self.sha256}
        }
        if crop is not None:
            settings["images"] = {"crop": crop}
        return Model(
            generator=generator.requires_grad_(False).eval(),
            space=space,
            image_size=size,
            step=int(step[1]) if step else 0,
            settings=settings,
            sha256=self.sha256,
        )


def read_foreign(file: Path) -> ForeignGenerator:
    """Read a file of the original StarGAN, CycleGAN or pix2pix; no code that it may hold is run.

    Args:
        file: a state dict that torch.save wrote, alone or nested under a usual name.

    Raises:
        CheckpointError: it needs more than tensors, is of no known layout, or a tensor, which is named, does not
            fit the layout.
    """
    try:
        return _read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{file} {error}") from error


def _read(file: Path) -> ForeignGenerator:
    """Read a file; what is said of a mistake goes on after the file's name."""
    weights = read_weights(file)
    layout = find_layout(weights)
    reading = layout.read(weights)
    if reading.entries is not None and reading.entries < 1:
        raise CheckpointError("reads no label vector: its first convolution sees the image's channels only")
    kept = {name: tensor for name, tensor in weights.items() if not dropped(name, reading.arguments.get("norm"))}
    _check_names(kept, reading)
    _check_shapes(kept, reading)
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return ForeignGenerator(
        file=file,
        title=layout.title,
        arguments=reading.arguments,
        halvings=reading.halvings,
        weights={reading.names[name]: tensor for name, tensor in kept.items()},
        entries=reading.entries,
        usual_size=(reading.usual_side, reading.usual_side),
        sha256=sha256,
    )


def _check_names(weights: Mapping[str, Tensor], reading: Reading) -> None:
    missing = [name for name in reading.names if name not in weights]
    surplus = [name for name in weights if name not in reading.names]
    if not missing and not surplus:
        return
    wanted = f"a {reading.arguments['kind']} generator{_sizes(reading)}"
    if missing:
        raise CheckpointError(f"lacks the tensor {missing[0]}, which {wanted} has{_nearest(missing[0], surplus)}")
    raise CheckpointError(f"has a tensor {surplus[0]}, which {wanted} does not have")


def _check_shapes(weights: Mapping[str, Tensor], reading: Reading) -> None:
    with torch.device("meta"):
        wanted = build_generator({**reading.arguments, "vector_size": reading.entries or 1}).state_dict()
    for name, ours in reading.names.items():
        found, expected = tuple(weights[name].shape), tuple(wanted[ours].shape)
        if found != expected:
            raise CheckpointError(
                f"has a tensor {name} of shape {found}, which in a generator{_sizes(reading)}, as the others say, "
                f"has shape {expected}"
            )


def _sizes(reading: Reading) -> str:
    """Return what was read off the other tensors, for messages."""
    arguments = reading.arguments
    parts = [f"{arguments[name]} {name}" for name in ("downsamplings", "blocks") if name in arguments]
    return f" of width {arguments['width']} with {' and '.join(parts)}"


def _nearest(name: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(others), n=1)
    return f"; it has {near[0]} instead" if near else ""


def _build(arguments: Mapping[str, object], *, vector_size: int) -> TranslatingGenerator:
    """Build a generator and leave the global random state as it is."""
    with torch.random.fork_rng(devices=[]):
        return build_generator({**arguments, "vector_size": vector_size})
