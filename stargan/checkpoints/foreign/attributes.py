"""What a foreign label vector means, in words: "hair=black|blond|brown,male,young"."""

from __future__ import annotations

from stargan.labels import Attribute, LabelSpace

EXAMPLE = "hair=black|blond|brown,male,young"


def parse_attributes(text: str) -> LabelSpace:
    """Read a description of a label vector.

    Args:
        text: attributes with commas between them, in the vector's order: a bare name is one binary entry, a name
            with values, `hair=black|blond|brown`, one entry per value. A model that was trained jointly has
            several such lists, with semicolons between them; the mask comes after them by itself.

    Raises:
        ValueError: it does not read so, or two attributes share a name.
    """
    sets = [[_attribute(part, text) for part in words.split(",")] for words in text.split(";")]
    attributes = tuple(attribute for some in sets for attribute in some)
    names = tuple(tuple(attribute.name for attribute in some) for some in sets)
    return LabelSpace(attributes=attributes, label_sets=names if len(names) > 1 else ())


def _attribute(part: str, text: str) -> Attribute:
    name, equals, listed = (word.strip() for word in part.partition("="))
    if not name:
        raise ValueError(
            f"{text!r} has an attribute without a name. Write names, with their values or none, like {EXAMPLE!r}"
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


def count_entries(space: LabelSpace) -> str:
    """Return how many entries a description has and where they come from, for messages."""
    parts = [f"{attribute.name} {attribute.size}" for attribute in space.attributes]
    if space.label_sets:
        parts.append(f"the mask {len(space.label_sets)}")
    return f"{space.vector_size} ({', '.join(parts)})"
