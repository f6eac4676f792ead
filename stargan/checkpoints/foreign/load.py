"""Generators read from other implementations' files, and their conversion to models with a label space."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stargan.checkpoints.checkpoint import Model
from stargan.checkpoints.files import CheckpointError, Json
from stargan.checkpoints.foreign.layouts import Reading, find_generators, is_ignored
from stargan.checkpoints.foreign.state_dict import Weights, as_floats, read_tensors
from stargan.labels import Attribute, LabelSpace
from stargan.networks import build_generator

_EXAMPLE = "hair=black|blond|brown,male,young"


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignGenerator:
    """A generator of another implementation, without the meaning of its label vector.

    Args:
        title: the layout's name, for messages.
        arguments: of `build_generator`, all but `vector_size`.
        weights: by the names of `build_generator`'s network.
        entries: of its label vector; None if it reads none and translates in one direction.
        usual_size: (height, width) in pixels of the images that such a generator is usually trained on.
        sha256: of the file, or of it and `key` where it holds several generators.
        key: of its state dict in the file, "" for all of it.
    """

    file: Path
    title: str
    arguments: Mapping[str, Any]
    weights: Weights
    entries: int | None
    usual_size: tuple[int, int]
    sha256: str
    key: str = ""

    @property
    def hint(self) -> str:
        """How to describe its label vector, for messages; see `parse_attributes`."""
        if self.entries is None:
            return (
                "It translates in one direction. Describe that as one attribute: a bare name, like zebra, or one "
                "with values, like animal=horse|zebra, whose last value is the target"
            )
        return (
            "Describe the entries in their order: a bare name is one, a name with values one per value, like "
            f"{_EXAMPLE!r}; the label sets of a joint model are separated by ';', and the mask at the end is not "
            "described"
        )

    def check_space(self, space: LabelSpace) -> None:
        """Check that a label space fits the label vector; ValueError otherwise."""
        if self.entries is None:
            if len(space) != 1:
                raise ValueError(f"{len(space)} attributes are described ({', '.join(space.names)}). {self.hint}")
        elif space.vector_size != self.entries:
            raise ValueError(
                f"{self.file.name} has a label vector of {self.entries} entries, but the description has "
                f"{_count_entries(space)}. {self.hint}"
            )

    def check_size(self, image_size: tuple[int, int]) -> None:
        """Check that the network can downsample images of (height, width) pixels; ValueError otherwise."""
        multiple = 1 << self.arguments["downsamplings"]
        # A U-Net's last map may be one pixel; the others mirror or normalise theirs.
        smallest = multiple if self.arguments["kind"] == "pix2pix-unet" else max(4, 2 * multiple)
        if any(side < smallest or side % multiple for side in image_size):
            height, width = image_size
            raise ValueError(
                f"{self.title} in {self.file.name} cannot translate images of {width} x {height} px: its sides "
                f"are multiples of {multiple} px, and at least {smallest}"
            )

    def to_model(
        self,
        space: LabelSpace,
        *,
        image_size: tuple[int, int] | None = None,
        settings: Mapping[str, Json] | None = None,
    ) -> Model:
        """Return a model with the meaning of its label vector.

        `image_size` is (height, width) in pixels, by default `usual_size`; `settings` join the origin of the
        weights.

        Raises:
            ValueError: the label space or the size does not fit.
        """
        size = image_size or self.usual_size
        self.check_space(space)
        self.check_size(size)
        with torch.random.fork_rng(devices=[]):
            generator = build_generator({**self.arguments, "vector_size": space.vector_size})
        # What a file does not hold, such as an instance norm's scale of 1, keeps its initial value.
        generator.load_state_dict(self.weights, strict=False)
        step = re.match(r"(\d+)-G\b", self.file.name)
        origin: dict[str, Json] = {"layout": self.title, "file": self.file.name, "sha256": self.sha256}
        origin |= {"key": self.key} if self.key else {}
        return Model(
            generator=generator.requires_grad_(False).eval(),
            space=space,
            image_size=size,
            step=int(step[1]) if step else 0,
            settings={"foreign": origin, **(settings or {})},
            sha256=self.sha256,
        )


def read_foreign(file: Path, key: str | None = None) -> ForeignGenerator:
    """Read a file of the original StarGAN, CycleGAN or pix2pix, without running any code in it.

    Args:
        file: a state dict, or a mapping with state dicts in it.
        key: where the generator is, such as "G_ema" or "state_dict.netG"; needed where the file holds several.

    Raises:
        CheckpointError: it needs code to be loaded, holds no generator of a known layout or several, or a tensor
            does not fit the layout.
    """
    try:
        return _read(file, key)
    except CheckpointError as error:
        raise CheckpointError(f"{file} {error}") from error


def _read(file: Path, key: str | None) -> ForeignGenerator:
    """Read a file; error messages begin after the file's name."""
    found = find_generators(read_tensors(file))
    chosen = {
        place: generator for place, generator in found.items() if key is None or f"{place}.".startswith(f"{key}.")
    }
    if not chosen:
        keys = f", but under {' and '.join(filter(None, found))}" if any(found) else ": it is one as a whole"
        raise CheckpointError(f"holds no generator under the key {key}{keys}")
    if len(chosen) > 1:
        raise CheckpointError(
            f"holds {len(chosen)} generators, under the keys {' and '.join(chosen)}: choose one, for example with "
            f"--key {next(iter(chosen))}"
        )
    ((place, (layout, weights)),) = chosen.items()
    weights = as_floats(weights)
    reading = layout.read(weights)
    if reading.entries is not None and reading.entries < 1:
        raise CheckpointError("reads no label vector: its first convolution sees the image's channels only")
    norm = reading.arguments.get("norm")
    kept = {name: tensor for name, tensor in weights.items() if not is_ignored(name, norm)}
    _check_names(kept, reading)
    _check_shapes(kept, reading)
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(found) > 1:
        sha256 = hashlib.sha256(f"{sha256} {place}".encode()).hexdigest()
    return ForeignGenerator(
        file=file,
        title=layout.title,
        arguments=reading.arguments,
        weights={reading.names[name]: tensor for name, tensor in kept.items()},
        entries=reading.entries,
        usual_size=(reading.usual_side, reading.usual_side),
        sha256=sha256,
        key=place,
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
                f"has a tensor {name} of shape {found}, which in a generator{_sizes(reading)} has shape {expected}"
            )


def _sizes(reading: Reading) -> str:
    """Return the architecture that the tensors have, for messages."""
    arguments = reading.arguments
    parts = [f"{arguments[name]} {name}" for name in ("downsamplings", "blocks") if name in arguments]
    return f" of width {arguments['width']} with {' and '.join(parts)}"


def _nearest(name: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(others), n=1)
    return f"; it has {near[0]} instead" if near else ""


def parse_attributes(text: str) -> LabelSpace:
    """Return the label space that a text describes, such as "hair=black|blond|brown,male,young".

    Attributes are separated by commas, in the label vector's order: a bare name is one binary entry, a name with
    values one entry per value. Label sets of joint training are separated by semicolons; the mask is not
    described.

    Raises:
        ValueError: the text does not parse, or two attributes share a name.
    """
    sets = [[_attribute(part, text) for part in words.split(",")] for words in text.split(";")]
    attributes = tuple(attribute for some in sets for attribute in some)
    names = tuple(tuple(attribute.name for attribute in some) for some in sets)
    return LabelSpace(attributes=attributes, label_sets=names if len(names) > 1 else ())


def _attribute(part: str, text: str) -> Attribute:
    name, equals, listed = (word.strip() for word in part.partition("="))
    if not name:
        raise ValueError(
            f"{text!r} has an attribute without a name. Write names, with their values or none, like {_EXAMPLE!r}"
        )
    if not equals:
        if "|" in name:
            raise ValueError(f"{part.strip()!r} has values but no name. Write NAME={part.strip()}")
        return Attribute(name=name)
    values = tuple(value.strip() for value in listed.split("|"))
    if not all(values):
        raise ValueError(
            f"{part.strip()!r} has an empty value. Write {name}=VALUE|VALUE, or {name} alone for yes/no"
        )
    if len(values) == 1:
        raise ValueError(f"{name} has one value only, {values[0]!r}. Write {values[0]} alone for yes/no")
    return Attribute(name=name, kind="categorical", values=values)


def _count_entries(space: LabelSpace) -> str:
    """Return the number of entries of a label vector and their attributes, for messages."""
    parts = [f"{attribute.name} {attribute.size}" for attribute in space.attributes]
    if space.label_sets:
        parts.append(f"the mask {len(space.label_sets)}")
    return f"{space.vector_size} ({', '.join(parts)})"
