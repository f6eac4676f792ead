"""Attribute columns: which ones are used, and whether they are binary, categorical or no attribute."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from augmentor.data.manifest.lookalikes import doubts, unknown_words
from augmentor.data.manifest.multi_label import labels_of_cells, repeats_labels
from augmentor.data.manifest.table import IMAGE_COLUMNS, Column, Table
from augmentor.errors import ManifestError, did_you_mean, listing, short
from stargan.labels import Attribute, LabelSpace, spelled

FIXED_COLUMNS = ("id", "split", "group", "pair", "dataset")
"""Columns with a meaning of their own, beside the one that holds the image."""

LABEL_TABLE_COLUMNS = (
    *("file_name", "key", "split", "group", "is_synthetic", "source_id", "source_path"),
    *("changed", "agreement", "realism", "preserved", "reason"),
)
"""Columns that `expand` writes beside the attributes, whose names these therefore cannot have."""

UNCHANGED_NAME = "none"
"""What the column `changed` says in the place of attributes' names where nothing changed."""

MAX_ATTRIBUTES = 1000
FORBIDDEN = ",|="
"""What separates names and values in `--domains`."""

FORBIDDEN_IN_NAMES = f"{FORBIDDEN};"
"""What separates names in `--domains` and in the column `changed`."""

BINARY_FAMILIES: Mapping[str, Mapping[str, int]] = {
    "0/1": {"0": 0, "0.0": 0, "1": 1, "1.0": 1},
    "-1/1": {"-1": 0, "-1.0": 0, "1": 1, "1.0": 1},
    "true/false": {"false": 0, "true": 1},
    "yes/no": {"no": 0, "yes": 1},
}
"""The spellings of no and yes; all cells of a column keep to one of them."""

MAX_VALUES = 64
MAX_NUMBERS = 20
FEW_CELLS = 20
"""With fewer known cells, many different values do not make an identifier."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AttributeColumns:
    """The columns of an attribute: none, one, or with `one_hot` several binary ones named as its values."""

    name: str
    columns: tuple[str, ...]
    one_hot: bool = False


def choose_sources(
    table: Table, *, attributes: Sequence[str] | None, one_hot: Mapping[str, Sequence[str]]
) -> tuple[list[AttributeColumns], list[str]]:
    """Return the attributes' columns in the file's order, and notes about the columns left out.

    `attributes` names columns or one-hot attributes, None for all; `one_hot` holds the columns of each of the
    latter.
    """
    owner = _check_one_hot(table, one_hot)
    sources: dict[str, AttributeColumns] = {}
    for column in table.columns:
        name = owner.get(column, column)
        if name in FIXED_COLUMNS or name in sources:
            continue
        columns = tuple(one_hot[name]) if column in owner else (column,)
        sources[name] = AttributeColumns(name=name, columns=columns, one_hot=column in owner)
    notes = []
    if attributes is not None:
        _check_requested(table.path, attributes, sources, owner)
        left_out = [name for name in sources if name not in attributes]
        if left_out:
            notes.append(f"{table.path}: not used, not among the requested attributes: {listing(left_out)}")
        sources = {name: source for name, source in sources.items() if name in attributes}
    if not sources:
        raise ManifestError(
            f"{table.path}: no attribute. Add a column that labels the images, for example 'smile' with 0 and 1"
        )
    if len(sources) > MAX_ATTRIBUTES:
        raise ManifestError(
            f"{table.path}: {len(sources):,} attribute columns, more than {MAX_ATTRIBUTES:,}. "
            "Name those to use with --attributes"
        )
    for source in sources.values():
        check_name(table.path, source.name)
    return list(sources.values()), notes


def sources_for_space(
    table: Table, space: LabelSpace, *, attributes: Sequence[str] | None, one_hot: Mapping[str, Sequence[str]]
) -> tuple[list[AttributeColumns], list[str]]:
    """Return the columns of each attribute of a model, none where the table lacks it, and notes."""
    owner = _check_one_hot(table, one_hot)
    for name in attributes or ():
        if name not in space.names:
            raise ManifestError(
                f"{table.path}: the model has no attribute '{name}'.{did_you_mean(name, space.names)}"
            )
    sources, missing = [], []
    for attribute in space.attributes:
        name = attribute.name
        columns: tuple[str, ...] = ()
        grouped = False
        if attributes is not None and name not in attributes:
            pass
        elif name in one_hot:
            columns, grouped = tuple(one_hot[name]), True
        elif (column := spelled(name, table.columns)) in table.columns and column not in owner:
            columns = (column,)
        elif attribute.kind == "categorical" and all(
            spelled(value, table.columns) in table.columns for value in attribute.values
        ):
            columns, grouped = tuple(spelled(value, table.columns) for value in attribute.values), True
        if not columns:
            missing.append(name)
        sources.append(AttributeColumns(name=name, columns=columns, one_hot=grouped))
    notes = []
    if missing:
        notes.append(f"{table.path}: unknown in every row, no column is read for it: {listing(missing)}")
    used = {column for source in sources for column in source.columns}
    ignored = [name for name in table.columns if name not in used and name not in FIXED_COLUMNS]
    if ignored:
        notes.append(f"{table.path}: not used, the model has no such attribute: {listing(ignored)}")
    return sources, notes


def check_name(path: Path, name: str) -> None:
    """Refuse an attribute name that the output's tables or `--domains` could not hold."""
    taken = (*LABEL_TABLE_COLUMNS, *FIXED_COLUMNS, *IMAGE_COLUMNS)
    if name.casefold() in taken:
        hint = ""
        if name != name.casefold() and name.casefold() in FIXED_COLUMNS:
            hint = f" Write it '{name.casefold()}' if it is that column;"
        raise ManifestError(
            f"{path}, column '{name}': an attribute cannot have the name of a column of the label table "
            f"('{name.casefold()}').{hint} Rename it, or leave it out with --attributes"
        )
    if name.endswith(("file_name", "file_names")):
        raise ManifestError(
            f"{path}, column '{name}': Hugging Face's loader takes a column whose name ends in file_name for "
            "paths of images. Rename it, or leave it out with --attributes"
        )
    if ";" in name or name.casefold() == UNCHANGED_NAME:
        raise ManifestError(
            f"{path}, column '{name}': the column 'changed' of the label table names the attributes that differ, "
            "separated by ';', and is 'none' where none does. Rename it, or leave it out with --attributes"
        )
    check_text(path, name, name, what="name")


def check_text(path: Path, column: str, text: str, *, what: str, row: int | None = None) -> None:
    """Refuse a name or value that `--domains` could not spell."""
    where = f"{path}, column '{column}'" if row is None else f"{path}, row {row}, column '{column}'"
    found = [character for character in FORBIDDEN if character in text]
    if found:
        several = what == "value" and labels_of_cells([text]) is not None
        raise ManifestError(
            f"{where}: the {what} '{text}' holds '{found[0]}', which separates values in --domains. "
            + (f"{split_advice(path, column)}; else write" if several else "Write")
            + " '-' or '_' in its place"
        )
    if text in ("*", "~"):
        raise ManifestError(f"{where}: the {what} '{text}' has a meaning of its own in --domains. Write a word")
    if not text.isprintable():
        raise ManifestError(f"{where}: the {what} {text!r} holds a character that does not print. Remove it")


def split_advice(path: Path, column: str) -> str:
    """Return what to do where cells of a column hold several labels."""
    command = shlex.join(["augmentor", "check", str(path), "--split-labels", column])
    return f"Where cells hold several labels, a 0/1 column for each is needed: {command} writes that table"


def _check_one_hot(table: Table, one_hot: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the one-hot attribute that each member column belongs to."""
    owner: dict[str, str] = {}
    for name, columns in one_hot.items():
        where = f"{table.path}, one_hot '{name}'"
        if len(columns) < 2:
            raise ManifestError(f"{where}: needs two columns at least, one per value")
        for column in columns:
            if column in FIXED_COLUMNS or column not in table.columns:
                usable = [other for other in table.columns if other not in FIXED_COLUMNS]
                raise ManifestError(f"{where}: no attribute column '{column}'.{did_you_mean(column, usable)}")
            if column in owner:
                raise ManifestError(f"{where}: column '{column}' is already one of '{owner[column]}'")
            owner[column] = name
        if name in table.columns and name not in columns:
            raise ManifestError(f"{where}: there is a column of this name already. Choose another name")
    return owner


def _check_requested(
    path: Path, attributes: Sequence[str], sources: Mapping[str, AttributeColumns], owner: Mapping[str, str]
) -> None:
    for name in attributes:
        if name in sources:
            continue
        if name in owner:
            raise ManifestError(f"{path}: '{name}' is one column of '{owner[name]}'. Name that attribute instead")
        if name in FIXED_COLUMNS:
            raise ManifestError(
                f"{path}: '{name}' has a fixed meaning and cannot be an attribute. Leave it "
                "out, or rename the column"
            )
        raise ManifestError(
            f"{path}: no attribute column '{name}'.{did_you_mean(name, sources)} "
            f"There are {listing(list(sources), 12)}"
        )


def binary_family(table: Table, column: Column) -> str | None:
    """Return the spelling that all known cells keep to, None where they are not binary; refuse mixed spellings."""
    folded = {text.casefold(): text for text in column.known}
    for name, spelling in BINARY_FAMILIES.items():
        if folded and all(text in spelling for text in folded):
            return name
    found = {
        name: next(folded[text] for text in folded if text in spelling)
        for name, spelling in BINARY_FAMILIES.items()
        if any(text in spelling for text in folded)
    }
    anywhere = {text for spelling in BINARY_FAMILIES.values() for text in spelling}
    if folded and all(text in anywhere for text in folded):
        first, second = _two_spellings(folded)
        raise ManifestError(
            f"{table.path}, column '{column.name}': mixes '{first}' (row {table.line_of(column, first)}) with "
            f"'{second}' (row {table.line_of(column, second)}). Keep to one of {listing(list(found))}; "
            "leave a cell blank where it is not known"
        )
    return None


def _two_spellings(folded: Mapping[str, str]) -> tuple[str, str]:
    """Return two texts that no one spelling holds."""
    for text, first in folded.items():
        for other, second in folded.items():
            if not any(text in spelling and other in spelling for spelling in BINARY_FAMILIES.values()):
                return first, second
    raise AssertionError("one spelling holds every text")


def whole_numbers(texts: tuple[str, ...]) -> dict[str, str]:
    """Return how each text is spelt as a value.

    Where all are whole numbers, 3.0 becomes 3: spreadsheets and pandas write it so beside a blank cell.
    """
    if texts and all(_WHOLE.fullmatch(text) for text in texts):
        return {text: text.partition(".")[0] for text in texts}
    return {text: text for text in texts}


def refusal(column: Column, *, requested: bool) -> str | None:
    """Return why a column that is not binary is no attribute; None where it is one.

    If the user requested the column, numbers are categories.
    """
    values = set(whole_numbers(column.known).values())
    cells = len(column.codes) - len(column.rows_with(""))
    if not requested and all(_NUMBER.fullmatch(value) for value in values):
        fractions = any(not float(value).is_integer() for value in values)
        if fractions or len(values) > MAX_NUMBERS:
            low, high = min(values, key=float), max(values, key=float)
            return (
                f"{len(values):,} different numbers, {low} to {high}: looks like a measurement, not an attribute"
            )
    if len(values) > MAX_VALUES or (cells >= FEW_CELLS and 2 * len(values) > cells):
        return (
            f"{len(values):,} different values in {cells:,} rows, for example '{short(column.known[0])}': "
            "looks like an identifier or free text, not an attribute"
        )
    return None


def categorical(table: Table, column: Column) -> tuple[Attribute, dict[str, int]]:
    """Return the attribute and the code of each known text."""
    spelling = whole_numbers(column.known)
    for text, value in spelling.items():
        check_text(table.path, column.name, value, what="value", row=table.line_of(column, text))
    values = natural_order(set(spelling.values()))
    position = {value: code for code, value in enumerate(values)}
    attribute = Attribute(name=column.name, kind="categorical", values=tuple(values))
    return attribute, {text: position[value] for text, value in spelling.items()}


def natural_order(values: set[str]) -> list[str]:
    """Sort values naturally: numbers by size, also inside a text ("level 2" before "level 10")."""
    if all(_NUMBER.fullmatch(value) for value in values):
        return sorted(values, key=lambda value: (float(value), value))
    return sorted(values, key=lambda value: (_pieces(value), value))


def _pieces(value: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"([0-9]+)", value.casefold())
    # Digits compare by length, then as text: that is their size, however many there are.
    digits = [piece.lstrip("0") for piece in pieces]
    return [(0, len(digits[i]), digits[i]) if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces)]


def value_notes(path: Path, attribute: Attribute, used: set[int]) -> list[str]:
    """Return notes on what is allowed but probably a mistake; `used` are the codes that some row has."""
    name, notes = attribute.name, []
    if len(used) == 1:
        notes.append(f"{path}, column '{name}': every known cell is {attribute.values[next(iter(used))]}")
    if attribute.kind == "binary":
        return notes
    if len(attribute.values) > MAX_NUMBERS and all(_NUMBER.fullmatch(value) for value in attribute.values):
        notes.append(
            f"{path}, column '{name}': {len(attribute.values)} different numbers, each a category of its own"
        )
    notes += doubts(path, name, attribute.values)
    if repeats_labels(attribute.values):
        notes.append(
            f"{path}, column '{name}': its values look like several labels each. {split_advice(path, name)}"
        )
    rest = set(attribute.values) - set(unknown_words(attribute.values))
    if rest != set(attribute.values) and rest and _one_family(rest):
        notes.append(f"{path}, column '{name}': is categorical because of them, and would be binary without")
    return notes


def _one_family(texts: Iterable[str]) -> bool:
    return any(all(text.casefold() in spelling for text in texts) for spelling in BINARY_FAMILIES.values())
