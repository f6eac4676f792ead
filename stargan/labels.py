"""Attributes, the label space, label vectors and training targets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Literal, NotRequired, TypedDict

import torch
from torch import Tensor

UNKNOWN = -1
"""The code of an attribute that is not labelled."""

Kind = Literal["binary", "categorical"]


class AttributeState(TypedDict):
    """An attribute as in a checkpoint's JSON; `label_set` only if the label space has several."""

    name: str
    kind: Kind
    values: list[str]
    label_set: NotRequired[int]


_WHOLE = re.compile(r"([+-]?\d+)\.0+", re.ASCII)


def spelled(text: str, options: Iterable[str]) -> str:
    """Return the one option that spells `text`; `text` itself if none or several do.

    They are equal, or differ in the composition of accents (Unicode NFC and NFD) or in the decimals of a whole
    number (3.0 and 3).
    """
    options = list(options)
    if text in options:
        return text
    same = [option for option in options if _plain(option) == _plain(text)]
    return same[0] if len(same) == 1 else text


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    whole = _WHOLE.fullmatch(text)
    return whole.group(1) if whole else text


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A labelled property of an image.

    Args:
        name: for example "hair".
        kind: "binary" (values "0" and "1", one entry of the label vector) or "categorical" (one-hot).
        values: in code order.
    """

    name: str
    kind: Kind = "binary"
    values: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
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
        """Return the code of `value`; KeyError if the attribute has no such value."""
        try:
            return self.values.index(value)
        except ValueError:
            raise KeyError(value) from None


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The ordered attributes of a model.

    A domain is a row of codes, int64 (A,): the index of each attribute's value, or `UNKNOWN` (-1). The label
    vector, float32 (L,), is the generator's input: one 0/1 entry per binary attribute and a one-hot run per
    categorical one, in order. The discriminator's domain head has the same D entries.

    Joint training: the labels of an image, and of a target, belong to one label set. The entries of all other sets
    are zero, and a mask, one-hot over the S label sets, ends the label vector: L = D + S.

    Args:
        attributes: in order.
        label_sets: the names of each set's attributes, together `attributes` in order; empty (no mask) for one
            data set.

    Source: StarGAN, sections 3.1 and 3.3 (arXiv 1711.09020).
    """

    attributes: tuple[Attribute, ...] = field(default_factory=tuple)
    label_sets: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"attribute names must be unique, got {', '.join(self.names)}")
        if not self.label_sets:
            return
        if len(self.label_sets) < 2 or not all(self.label_sets):
            raise ValueError(f"label sets are two or more, each with an attribute, got {self.label_sets}")
        if tuple(name for names in self.label_sets for name in names) != self.names:
            raise ValueError(
                f"the label sets {self.label_sets} are not the attributes in order: {', '.join(self.names)}"
            )

    def __len__(self) -> int:
        return len(self.attributes)

    def __getitem__(self, name: str) -> Attribute:
        return self.attributes[self.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, in order."""
        return tuple(attribute.name for attribute in self.attributes)

    def index(self, name: str) -> int:
        """Return the position of the attribute `name`; KeyError if there is none."""
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
    def domain_size(self) -> int:
        """Entries of the discriminator's domain head, D: those of all attributes, without the mask."""
        return sum(attribute.size for attribute in self.attributes)

    @cached_property
    def vector_size(self) -> int:
        """Entries in the label vector, L: those of all attributes, then the mask of the label sets."""
        return self.domain_size + len(self.label_sets)

    @cached_property
    def set_of_attribute(self) -> tuple[int, ...]:
        """The label set of each attribute; 0 for all with one data set."""
        return tuple(i for i, names in enumerate(self.label_sets or (self.names,)) for _ in names)

    def matching_entries(self, other: LabelSpace) -> tuple[int | None, ...]:
        """Return for each entry of the label vector the entry of `other`'s with the same meaning; None for none.

        They are values of the same name of an attribute of the same name and kind. Label sets are the same if they
        have an attribute in common.
        """
        places = {meaning: place for place, meaning in enumerate(other._meanings)}
        found = [places.get(meaning) for meaning in self._meanings]
        for names in self.label_sets:
            shared = (i for i, others in enumerate(other.label_sets) if not set(names).isdisjoint(others))
            place = next(shared, None)
            found.append(None if place is None else other.domain_size + place)
        return tuple(found)

    @cached_property
    def _meanings(self) -> tuple[tuple[str, str, str], ...]:
        """The name, kind and value of each of the D entries of the domain."""
        return tuple(
            (attribute.name, attribute.kind, value)
            for attribute in self.attributes
            for value in attribute.values[-attribute.size :]
        )

    def known_sets(self, codes: Tensor) -> Tensor:
        """Return which label sets (N, A) domains have labels of, (N, S) bool; S is 1 with one data set."""
        known = torch.zeros(len(codes), max(1, len(self.label_sets)), dtype=torch.bool, device=codes.device)
        for column, label_set in enumerate(self.set_of_attribute):
            known[:, label_set] |= codes[:, column] != UNKNOWN
        return known

    def to_one_label_set(self, targets: Tensor, sources: Tensor) -> Tensor:
        """Return (N, A) targets with the attributes of one label set each; the others become unknown.

        It is the set in which the target differs from the source, else the first of which it has values. With one
        data set the targets are returned.

        Args:
            targets: (N, A) integers, -1 keeps that attribute.
            sources: (N, A) integers, the images' domains, -1 unknown.

        Raises:
            ValueError: a target changes attributes of two label sets.
        """
        if not self.label_sets:
            return targets
        changed = self.known_sets(torch.where(targets == sources, UNKNOWN, targets))
        if bool((changed.sum(dim=1) > 1).any()):
            row = int((changed.sum(dim=1) > 1).long().argmax())
            raise ValueError(
                f"target {row}, {self.domain(targets[row].tolist())}, changes attributes of two label sets"
            )
        known = self.known_sets(targets)
        chosen = torch.where(changed.any(dim=1, keepdim=True), changed, known).long().argmax(dim=1)
        kept = torch.tensor(self.set_of_attribute, device=targets.device) == chosen[:, None]
        return torch.where(kept, targets, UNKNOWN)

    def encode(self, codes: Tensor) -> Tensor:
        """Return the (N, L) float32 label vectors of (N, A) integer domains, -1 unknown.

        An unknown categorical attribute is all zero; an unknown binary one is 0.5, and the generator learns to
        keep it. All entries of a label set without a known attribute are zero, and so is its mask entry.

        Raises:
            ValueError: wrong number of columns, a code without a value, or a domain with attributes of two label
                sets.
        """
        entries = self._entries(codes)
        if not self.label_sets:
            return entries
        known = self.known_sets(codes)
        if bool((known.sum(dim=1) > 1).any()):
            row = int((known.sum(dim=1) > 1).long().argmax())
            raise ValueError(
                f"domain {row}, {self.domain(codes[row].tolist())}, has attributes of two label sets; "
                "LabelSpace.to_one_label_set() narrows it to one"
            )
        mask = known.float()
        sets = [i for i, a in zip(self.set_of_attribute, self.attributes, strict=True) for _ in range(a.size)]
        return torch.cat([entries * mask[:, sets], mask], dim=1)

    def _entries(self, codes: Tensor) -> Tensor:
        """Return the attributes' part of the label vectors, (N, D)."""
        n, a = codes.shape
        if a != len(self):
            raise ValueError(f"codes have {a} columns, the label space has {len(self)} attributes")
        vectors = torch.zeros(n, self.domain_size, device=codes.device)
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
        """Return (N, A) integer domains as the input of a discriminator with `matches`, (N, D) float32.

        1 for a value that the image should show, -1 for one that it should not, 0 for all entries of an unknown
        attribute.

        Raises:
            ValueError: wrong number of columns, or a code without a value.
        """
        known = torch.cat(
            [(codes[:, i : i + 1] != UNKNOWN).expand(-1, a.size) for i, a in enumerate(self.attributes)], dim=1
        )
        return (self._entries(codes) * 2 - 1) * known

    def decode(self, vectors: Tensor) -> Tensor:
        """Return the (N, A) int64 codes nearest to (N, L) label vectors, or to (N, D) domain scores in [0, 1].

        Binary entries are compared with 0.5, categorical runs decoded by their maximum. An all-zero categorical
        run, a binary 0.5, and every attribute of a label set whose mask entry is not above 0.5 are unknown (-1).

        Raises:
            ValueError: the vectors have another number of entries.
        """
        if vectors.shape[1] not in (self.vector_size, self.domain_size):
            raise ValueError(f"vectors have {vectors.shape[1]} entries, the label space has {self.vector_size}")
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
        codes = torch.stack(columns, dim=1)
        if vectors.shape[1] > self.domain_size:
            meant = vectors[:, self.domain_size :] > 0.5
            codes[~meant[:, list(self.set_of_attribute)]] = UNKNOWN
        return codes

    def codes(self, domain: Mapping[str, str]) -> list[int]:
        """Return the codes of names and values, -1 for other attributes; KeyError for an unknown name or value."""
        codes = [UNKNOWN] * len(self)
        for name, value in domain.items():
            codes[self.index(name)] = self[name].code(value)
        return codes

    def domain(self, codes: Sequence[int]) -> dict[str, str]:
        """Return the known part of a domain as names and values, in order."""
        pairs = zip(self.attributes, codes, strict=True)
        return {attribute.name: attribute.values[code] for attribute, code in pairs if code != UNKNOWN}

    def to_json(self) -> list[AttributeState]:
        """Return the label space as plain JSON values, for checkpoints and outputs."""
        states: list[AttributeState] = [
            {"name": a.name, "kind": a.kind, "values": list(a.values)} for a in self.attributes
        ]
        if self.label_sets:
            for state, label_set in zip(states, self.set_of_attribute, strict=True):
                state["label_set"] = label_set
        return states

    @classmethod
    def from_json(cls, state: Sequence[AttributeState]) -> LabelSpace:
        """Return the label space that `to_json` described."""
        attributes = tuple(
            Attribute(name=item["name"], kind=item["kind"], values=tuple(item["values"])) for item in state
        )
        runs = groupby(state, key=lambda item: item.get("label_set"))
        sets = [(number, tuple(item["name"] for item in items)) for number, items in runs]
        joint = any(number is not None for number, _ in sets)
        return cls(attributes=attributes, label_sets=tuple(names for _, names in sets) if joint else ())


def value_weights(codes: Tensor, weights: Mapping[str, float], space: LabelSpace, *, default: float) -> Tensor:
    """Return the weight of each domain, (N,) float32: that of the first value in `weights` that it has.

    Args:
        codes: (N, A) int64 domains, -1 unknown.
        weights: "attribute=value" -> weight.
        space: the label space.
        default: the weight of a domain that has none of the values.

    Raises:
        KeyError: the label space has no such attribute or value.
    """
    found = torch.full((len(codes),), default, device=codes.device)
    for text, weight in reversed(list(weights.items())):
        name, _, value = text.partition("=")
        found[codes[:, space.index(name)] == space[name].code(value)] = weight
    return found


def permuted_targets(codes: Tensor, space: LabelSpace, *, generator: torch.Generator) -> Tensor:
    """Draw a target for every image by permuting the batch's domains; see `merge_targets`.

    Args:
        codes: (N, A) int64 source domains, -1 unknown.
        space: the label space.
        generator: on the CPU.

    Source: the original implementation permutes the batch's labels (StarGAN, section 5.1).
    """
    order = torch.randperm(len(codes), generator=generator).to(codes.device)
    return merge_targets(codes[order], codes, space)


def merge_targets(drawn: Tensor, own: Tensor, space: LabelSpace) -> Tensor:
    """Return drawn domains as (N, A) int64 targets: attributes unknown in a drawn domain keep the image's value.

    With label sets this holds within the drawn domain's set; the attributes of the image's own set become unknown.

    Args:
        drawn: (N, A) int64 domains, -1 unknown, each of one label set at most; all unknown keeps the image's
            domain.
        own: (N, A) int64, the images' domains.
        space: the label space.
    """
    unknown = drawn == UNKNOWN
    if space.label_sets:
        known = space.known_sets(drawn)
        merged = known | ~known.any(dim=1, keepdim=True)
        unknown &= merged[:, list(space.set_of_attribute)]
    return torch.where(unknown, own, drawn)
