"""Parsing of `--domains SPEC` into codes, and the columns of previews.

A SPEC is `attr=value|value,attr=*,attr=~`, or one of the words `each` and `all`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from augmentor.errors import DomainError, did_you_mean, listing
from stargan.labels import Attribute, LabelSpace, spelled

MAX_TARGETS = 65_536
"""The most targets of one row: more is a mistake (`all` over 40 attributes), not a wish."""

MOST_COLUMNS = 24

Assignment = dict[int, int]
"""Attribute position -> code: the target of a preview's column; other attributes keep the row's value."""

_BINARY_SPELLINGS = {"0": 0, "no": 0, "false": 0, "1": 1, "yes": 1, "true": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeChoice:
    """The values that one attribute takes within a SPEC.

    Args:
        attribute: its position in the label space.
        values: codes that every row gets, ascending: values given by name, or all of them for `*`.
        others: `~`: besides `values`, every value but the row's own (every value where that is unknown).
    """

    attribute: int
    values: tuple[int, ...]
    others: bool = False

    def candidates(self, size: int) -> tuple[int, ...]:
        """Return the codes that some row can get, ascending, of an attribute with `size` values."""
        return tuple(range(size)) if self.others else self.values


Spec = tuple[AttributeChoice, ...]
"""The product of its choices, in the label space's order; attributes without one keep the row's value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainRequest:
    """The union of SPECs, in the order given; empty for no translations.

    Requests of the same targets in other words (`all`, or every attribute with `*`) are equal.
    """

    specs: tuple[Spec, ...] = ()

    def to_json(self) -> list[list[list[int | list[int]]]]:
        """Return the request as plain JSON values: per SPEC, its choices as [attribute, values, others]."""
        return [[[c.attribute, list(c.values), int(c.others)] for c in spec] for spec in self.specs]


def parse_domains(specs: Sequence[str], space: LabelSpace) -> DomainRequest:
    """Read `--domains` SPECs against a label space; a SPEC equal to an earlier one is left out.

    Args:
        specs: one text per `--domains`, for example `["hair=*,male=~", "each"]`.
        space: the model's attributes and values.

    Raises:
        DomainError: there is no SPEC, one does not parse, has unknown names or values or mixes label sets, or a
            row would have more than `MAX_TARGETS` targets.
    """
    if not specs:
        raise DomainError("no domains are requested: give --domains SPEC, for example --domains each")
    if not len(space):
        raise DomainError("--domains: the label space has no attributes, so there is nothing to request")
    read: dict[Spec, None] = {}
    total = 0
    for text in specs:
        for spec in _parse_spec(text, space):
            if spec in read:
                continue
            read[spec] = None
            total += math.prod(len(c.candidates(len(space.attributes[c.attribute].values))) for c in spec)
            if total > MAX_TARGETS:
                raise DomainError(
                    f"--domains {text!r}: brings the request to {total:,} targets for each image, and "
                    f"{MAX_TARGETS:,} is the most. Name fewer attributes or fewer values, or use --domains each"
                )
    return DomainRequest(specs=tuple(read))


def _parse_spec(text: str, space: LabelSpace) -> list[Spec]:
    """Read one SPEC; `each` is several."""
    word = text.strip()
    if not word:
        raise DomainError(f"--domains {text!r} is empty: write attr=value, attr=*, attr=~, each or all")
    if word == "each":
        return [(AttributeChoice(attribute=index, values=(), others=True),) for index in range(len(space))]
    if word == "all":
        return [
            tuple(
                AttributeChoice(attribute=index, values=tuple(range(len(attribute.values))))
                for index, attribute in enumerate(space.attributes)
                if space.set_of_attribute[index] == label_set
            )
            for label_set in range(max(1, len(space.label_sets)))
        ]
    choices: dict[int, AttributeChoice] = {}
    for part in word.split(","):
        choice = _parse_choice(part.strip(), text, space)
        if choice.attribute in choices:
            name = space.names[choice.attribute]
            raise DomainError(
                f"--domains {text!r}: {name} is named twice. Write its values together, {name}=VALUE|VALUE, "
                "or give two --domains"
            )
        choices[choice.attribute] = choice
    _refuse_two_label_sets(choices, text, space)
    return [tuple(choices[index] for index in sorted(choices))]


def _refuse_two_label_sets(choices: Iterable[int], text: str, space: LabelSpace) -> None:
    """Refuse a SPEC that names attributes of two label sets: the model was not trained on both at once."""
    by_set = {space.set_of_attribute[index]: space.names[index] for index in choices}
    if len(by_set) > 1:
        one, other, *_ = by_set.values()
        raise DomainError(
            f"--domains {text!r}: {one} and {other} are labels of different data sets, and the model was trained "
            "to change those of one at a time. Give each its own --domains, or expand the output again for the "
            f"other. The label sets: {' | '.join(listing(names, 20) for names in space.label_sets)}"
        )


def _parse_choice(part: str, text: str, space: LabelSpace) -> AttributeChoice:
    """Read one `attr=value|value` of the SPEC `text`."""
    where = f"--domains {text!r}"
    name, equals, listed = (token.strip() for token in part.partition("="))
    name = spelled(name, space.names)
    if not part:
        raise DomainError(f"{where}: nothing before, after or between its commas. Remove the comma")
    if not equals and name in space.names:
        raise DomainError(f"{where}: {name} has no value. Write {name}=VALUE, {name}=* or {name}=~")
    if not equals and name in ("each", "all"):
        raise DomainError(
            f"{where}: {name} cannot be combined. Give it a --domains of its own: the two are joined"
        )
    if name not in space.names:
        known = space.names if equals else (*space.names, "each", "all")
        raise DomainError(
            f"{where}: no attribute is called {name!r}.{did_you_mean(name, known)} "
            f"The attributes: {listing(space.names, 20)}"
        )
    index = space.index(name)
    attribute = space.attributes[index]
    codes: set[int] = set()
    others = False
    for word in (value.strip() for value in listed.split("|")):
        if word == "~":
            others = True
        elif word == "*":
            codes.update(range(len(attribute.values)))
        else:
            codes.add(value_code(word, attribute, where))
    # Once every value is requested, `~` adds nothing; dropped, so that equal requests are equal.
    others = others and len(codes) < len(attribute.values)
    return AttributeChoice(attribute=index, values=tuple(sorted(codes)), others=others)


def value_code(token: str, attribute: Attribute, where: str, *, marks: str = ", * or ~") -> int:
    """Return the code of a value as the user writes it; yes, no, true and false are a binary attribute's, too.

    `where` is the option and its value, `marks` other accepted texts, for messages.
    """
    name, values = attribute.name, attribute.values
    if not token:
        raise DomainError(f"{where}: a value of {name} is empty. {name} takes {listing(values, 20)}{marks}")
    if attribute.kind == "binary" and token.lower() in _BINARY_SPELLINGS:
        return _BINARY_SPELLINGS[token.lower()]
    token = spelled(token, values)
    if token in values:
        return attribute.code(token)
    if attribute.kind == "binary":
        raise DomainError(
            f"{where}: {name} has no value {token!r}.{did_you_mean(token, _BINARY_SPELLINGS)} "
            f"{name} is binary: write 1, yes or true, 0, no or false{marks}"
        )
    raise DomainError(
        f"{where}: {name} has no value {token!r}.{did_you_mean(token, values)} Its values: {listing(values, 20)}"
    )


def preview_columns(request: DomainRequest, space: LabelSpace, *, only: int | None = None) -> list[Assignment]:
    """Return a preview's targets: every value combination of the request, in order, `MOST_COLUMNS` at most.

    `~` counts as every value. `only` is the one code that the model makes, see `Model.only_target`.
    """
    columns: list[Assignment] = []
    for spec in request.specs:
        positions = [choice.attribute for choice in spec]
        candidates = [choice.candidates(len(space.attributes[choice.attribute].values)) for choice in spec]
        for codes in itertools.product(*candidates):
            assignment = dict(zip(positions, codes, strict=True))
            if assignment not in columns and (only is None or assignment == {0: only}):
                columns.append(assignment)
            if len(columns) == MOST_COLUMNS:
                return columns
    return columns
