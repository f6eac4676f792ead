"""Attributes and the label space: how domains become codes, and codes become the vector that G reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypedDict

import torch
from torch import Tensor

UNKNOWN = -1
"""The code of an attribute that is not labelled."""

Kind = Literal["binary", "categorical"]


class AttributeState(TypedDict):
    """An attribute as a checkpoint's JSON holds it."""

    name: str
    kind: Kind
    values: list[str]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A labelled property of an image.

    Args:
        name: the manifest's column, for example "hair".
        kind: "binary" (values "0" and "1", one entry of the label vector) or "categorical" (one-hot).
        values: the values in code order; code `i` means `values[i]`.
    """

    name: str
    kind: Kind = "binary"
    values: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
        """Refuse an attribute that no label vector can hold."""
        if not self.name:
            raise ValueError("an attribute needs a name")
        if self.kind == "binary" and self.values != ("0", "1"):
            raise ValueError(f"{self.name}: a binary attribute has the values 0 and 1, not {self.values}")
        if self.kind not in ("binary", "categorical"):
            raise ValueError(f"{self.name}: kind is {self.kind!r}, not binary or categorical")
        if len(set(self.values)) != len(self.values) or not self.values:
            raise ValueError(f"{self.name}: values must be unique and at least one, got {self.values}")

    @property
    def size(self) -> int:
        """Entries in the label vector: 1 for binary, one per value for categorical."""
        return 1 if self.kind == "binary" else len(self.values)

    def code(self, value: str) -> int:
        """Return the code of `value`.

        Raises:
            KeyError: the attribute has no such value.
        """
        try:
            return self.values.index(value)
        except ValueError:
            raise KeyError(value) from None


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The ordered attributes of a model.

    A domain is a row of codes, int64 (A,): the index of each attribute's value, `UNKNOWN` (-1) where it
    is not labelled. The label vector, float32 (L,), is what the generator reads: one 0/1 entry per binary
    attribute and a one-hot run per categorical one, in the attributes' order. The discriminator's domain
    head has the same entries.

    Source: StarGAN, section 3.1 (arXiv 1711.09020).
    """

    attributes: tuple[Attribute, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Refuse attributes that share a name."""
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"attribute names must be unique, got {', '.join(self.names)}")

    def __len__(self) -> int:
        return len(self.attributes)

    def __getitem__(self, name: str) -> Attribute:
        return self.attributes[self.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, in order."""
        return tuple(attribute.name for attribute in self.attributes)

    def index(self, name: str) -> int:
        """Return the position of the attribute `name`.

        Raises:
            KeyError: no attribute has that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The run of label-vector entries that belongs to each attribute."""
        runs, start = [], 0
        for attribute in self.attributes:
            runs.append(slice(start, start + attribute.size))
            start += attribute.size
        return tuple(runs)

    @cached_property
    def vector_size(self) -> int:
        """Entries in the label vector, L."""
        return sum(attribute.size for attribute in self.attributes)

    def encode(self, codes: Tensor) -> Tensor:
        """Turn domains into label vectors.

        An unknown categorical attribute is all zero. An unknown binary one is 0.5, halfway between its two
        values, because 0 would say "no": the generator learns to leave such an attribute alone.

        Args:
            codes: (N, A) integers, -1 unknown.

        Returns:
            (N, L) float32.

        Raises:
            ValueError: the number of columns is not the number of attributes, or a code has no value.
        """
        n, a = codes.shape
        if a != len(self):
            raise ValueError(f"codes have {a} columns, the label space has {len(self)} attributes")
        vectors = torch.zeros(n, self.vector_size, device=codes.device)
        for column, (attribute, run) in enumerate(zip(self.attributes, self.slices, strict=True)):
            code = codes[:, column].long()
            if n and (int(code.max()) >= len(attribute.values) or int(code.min()) < UNKNOWN):
                raise ValueError(f"{attribute.name}: codes run from {int(code.min())} to {int(code.max())}")
            if attribute.kind == "binary":
                vectors[:, run.start] = torch.where(code == UNKNOWN, 0.5, code.float())
            else:
                known = code != UNKNOWN
                vectors[known, run.start + code[known]] = 1.0
        return vectors

    def encode_signed(self, codes: Tensor) -> Tensor:
        """Turn domains into what a matching discriminator reads: yes, no and unknown push by 1, -1 and 0.

        Args:
            codes: (N, A) integers, -1 unknown.

        Returns:
            (N, L) float32: 1 for a value that the image should show, -1 for one that it should not, 0 for every
            entry of an unknown attribute.

        Raises:
            ValueError: as `encode`.
        """
        known = torch.cat(
            [(codes[:, i : i + 1] != UNKNOWN).expand(-1, a.size) for i, a in enumerate(self.attributes)], dim=1
        )
        return (self.encode(codes) * 2 - 1) * known

    def decode(self, vectors: Tensor) -> Tensor:
        """Turn label vectors (or D's domain logits mapped to [0, 1]) back into the nearest domains.

        Args:
            vectors: (N, L) floats; binary entries are read against 0.5, categorical runs by their maximum.

        Returns:
            (N, A) int64 codes; an all-zero categorical run and a binary 0.5 are unknown (-1).
        """
        columns = []
        for attribute, run in zip(self.attributes, self.slices, strict=True):
            entries = vectors[:, run]
            if attribute.kind == "binary":
                code = (entries[:, 0] > 0.5).long()
                code[entries[:, 0] == 0.5] = UNKNOWN
            else:
                code = entries.argmax(dim=1)
                code[(entries == 0).all(dim=1)] = UNKNOWN
            columns.append(code)
        return torch.stack(columns, dim=1)

    def codes(self, domain: Mapping[str, str]) -> list[int]:
        """Return the codes of a domain given as names and values; attributes not named are unknown.

        Raises:
            KeyError: an attribute or a value that the label space does not have.
        """
        for name in domain:
            self.index(name)
        return [
            attribute.code(domain[attribute.name]) if attribute.name in domain else UNKNOWN
            for attribute in self.attributes
        ]

    def domain(self, codes: Sequence[int]) -> dict[str, str]:
        """Return the known part of a domain as names and values, in order."""
        return {
            attribute.name: attribute.values[code]
            for attribute, code in zip(self.attributes, codes, strict=True)
            if code != UNKNOWN
        }

    def to_json(self) -> list[AttributeState]:
        """Return the label space as plain JSON values, for checkpoints and outputs."""
        return [{"name": a.name, "kind": a.kind, "values": list(a.values)} for a in self.attributes]

    @classmethod
    def from_json(cls, state: Sequence[AttributeState]) -> LabelSpace:
        """Return the label space that `to_json` described."""
        return cls(
            attributes=tuple(
                Attribute(name=item["name"], kind=item["kind"], values=tuple(item["values"])) for item in state
            )
        )


def permuted_targets(codes: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw a target for every image by permuting the batch's own domains.

    Where the drawn domain does not know an attribute the image's own value is kept, so that no target asks
    for less than the image already says.

    Args:
        codes: (N, A) int64 source domains, -1 unknown.
        generator: the source of randomness, on the CPU.

    Returns:
        (N, A) int64 targets.

    Source: the original implementation permutes the batch's labels (StarGAN, section 5.1).
    """
    order = torch.randperm(len(codes), generator=generator).to(codes.device)
    targets = codes[order]
    return torch.where(targets == UNKNOWN, codes, targets)
