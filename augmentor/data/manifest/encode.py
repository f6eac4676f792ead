"""Encoding of attribute columns: cells to a label space and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augmentor.data.manifest.columns import (
    BINARY_FAMILIES,
    AttributeColumns,
    binary_family,
    categorical,
    check_text,
    refusal,
    split_advice,
    value_notes,
)
from augmentor.data.manifest.lookalikes import unknown_words
from augmentor.data.manifest.multi_label import repeats_labels
from augmentor.data.manifest.table import Column, Table
from augmentor.errors import ManifestError, counted, did_you_mean, listing, row_list, short
from stargan.labels import UNKNOWN, Attribute, LabelSpace, spelled

Codes = NDArray[np.int16]


@dataclass
class _Read:
    """The attributes, codes and notes so far."""

    attributes: list[Attribute] = field(default_factory=list)
    codes: list[Codes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, attribute: Attribute, codes: Codes) -> None:
        self.attributes.append(attribute)
        self.codes.append(codes)


def infer_space(
    table: Table, sources: Sequence[AttributeColumns], *, requested: bool
) -> tuple[LabelSpace, Codes, list[str]]:
    """Infer each attribute's kind and values: the label space, codes (N, A) int16 with -1 unknown, and notes.

    If the user requested the attributes, none may be left out and numbers are categories.
    """
    read = _Read()
    for source in sources:
        if source.one_hot:
            codes = _one_hot_codes(table, source, read)
            for column in source.columns:
                check_text(table.path, column, column, what="name")
            read.add(Attribute(name=source.name, kind="categorical", values=source.columns), codes)
        else:
            _infer_column(table, table.columns[source.columns[0]], read, requested=requested)
    _refuse(table, read, requested=requested)
    if not read.attributes:
        raise ManifestError(f"{table.path}: no attribute, every cell of every attribute column is blank")
    for attribute, column_codes in zip(read.attributes, read.codes, strict=True):
        used = set(np.unique(column_codes).tolist()) - {UNKNOWN}
        read.notes += value_notes(table.path, attribute, used)
    return LabelSpace(attributes=tuple(read.attributes)), np.stack(read.codes, axis=1), _all_notes(table, read)


def encode_space(table: Table, space: LabelSpace, sources: Sequence[AttributeColumns]) -> tuple[Codes, list[str]]:
    """Encode the cells against a model's attributes: codes (N, A) int16, -1 unknown, and notes.

    `sources` are the columns of each attribute, in the same order; no columns where the table lacks it.
    """
    read = _Read()
    for attribute, source in zip(space.attributes, sources, strict=True):
        if not source.columns:
            codes = np.full(len(table), UNKNOWN, dtype=np.int16)
        elif source.one_hot:
            known = Column.of(source.name, _one_hot_codes(table, source, read) + 1, ["", *source.columns])
            codes = _encode_column(table, known, attribute, read)
        else:
            codes = _encode_column(table, table.columns[source.columns[0]], attribute, read)
        read.add(attribute, codes)
    stacked = np.stack(read.codes, axis=1) if read.codes else np.empty((len(table), 0), dtype=np.int16)
    return stacked, _all_notes(table, read)


def _infer_column(table: Table, column: Column, read: _Read, *, requested: bool) -> None:
    if not column.known:
        if requested:
            raise ManifestError(f"{table.path}, column '{column.name}': every cell is blank. Leave it out")
        read.notes.append(f"{table.path}, column '{column.name}': not used, every cell is blank")
        return
    family = binary_family(table, column)
    if family is not None:
        read.add(Attribute(name=column.name), _binary_codes(column, family, read))
    elif (reason := refusal(column, requested=requested)) is not None:
        if repeats_labels(column.known):
            advice = split_advice(table.path, column.name)
            raise ManifestError(f"{table.path}, column '{column.name}': {reason}. {advice}")
        read.refused.append(f"column '{column.name}': {reason}")
    else:
        attribute, code_of = categorical(table, column)
        read.add(attribute, _lookup(column, code_of))
        renamed = {
            text: attribute.values[code] for text, code in code_of.items() if text != attribute.values[code]
        }
        if renamed:
            listed = listing([f"'{text}' as '{value}'" for text, value in renamed.items()])
            read.notes.append(f"{table.path}, column '{column.name}': whole numbers are read without .0: {listed}")


def _refuse(table: Table, read: _Read, *, requested: bool) -> None:
    if not read.refused:
        return
    good = ",".join(attribute.name for attribute in read.attributes)
    fix = f"Leave it out with --attributes {good}, or write it as a few named groups"
    if requested or not good:
        fix = "Leave it out, or write it as a few named groups"
    first, *others = read.refused
    more = f" The same goes for: {listing([text.partition(':')[0] for text in others])}." if others else ""
    raise ManifestError(f"{table.path}, {first}.{more} {fix}")


def _binary_codes(column: Column, family: str, read: _Read) -> Codes:
    if family == "-1/1":
        read.signed.append(column.name)
    return _lookup(column, {text: BINARY_FAMILIES[family][text.casefold()] for text in column.known})


def _lookup(column: Column, code_of: Mapping[str, int]) -> Codes:
    """Return the code of every row; blank is unknown."""
    codes = np.array([code_of[value] if value else UNKNOWN for value in column.values], dtype=np.int16)
    return codes[column.codes]


def _one_hot_codes(table: Table, source: AttributeColumns, read: _Read) -> Codes:
    """Return which of the columns is set in each row, (N,) int16; -1 where none or several are."""
    codes = np.full(len(table), UNKNOWN, dtype=np.int16)
    set_count = np.zeros(len(table), dtype=np.int16)
    any_known = np.zeros(len(table), dtype=bool)
    for code, name in enumerate(source.columns):
        column = table.columns[name]
        family = binary_family(table, column)
        if family is None and column.known:
            text = next(text for text in column.known if not _is_binary(text))
            hint = f". Where unknown is meant: --na-values {text}" if unknown_words([text]) else ""
            raise ManifestError(
                f"{table.path}, row {table.line_of(column, text)}, column '{name}': '{text}' is not binary. "
                f"The columns of one_hot '{source.name}' hold {listing(list(BINARY_FAMILIES))}{hint}"
            )
        member = np.full(len(table), UNKNOWN, dtype=np.int16)
        if family is not None:
            member = _binary_codes(column, family, read)
        codes[member == 1] = code
        set_count += member == 1
        any_known |= member != UNKNOWN
    conflicts = np.flatnonzero(set_count > 1)
    codes[conflicts] = UNKNOWN
    for rows, what in ((conflicts, "several"), (np.flatnonzero(any_known & (set_count == 0)), "none")):
        if len(rows):
            read.notes.append(
                f"{table.path}, one_hot '{source.name}': unknown, with {what} of its columns set, in "
                f"{counted(len(rows), 'row')} ({row_list(table.lines[rows].tolist())})"
            )
    return codes


def _is_binary(text: str) -> bool:
    return any(text.casefold() in spelling for spelling in BINARY_FAMILIES.values())


def _encode_column(table: Table, column: Column, attribute: Attribute, read: _Read) -> Codes:
    if attribute.kind == "binary":
        family = binary_family(table, column)
        if family is not None:
            return _binary_codes(column, family, read)
        code_of: dict[str, int] = {}
        unknown_texts = [text for text in column.known if not _is_binary(text)]
    else:
        spelling = {text: spelled(text, attribute.values) for text in column.known}
        code_of = {text: attribute.code(value) for text, value in spelling.items() if value in attribute.values}
        unknown_texts = [text for text in column.known if text not in code_of]
    if unknown_texts:
        raise ManifestError(_unknown_message(table, column, attribute, unknown_texts))
    return _lookup(column, code_of)


def _unknown_message(table: Table, column: Column, attribute: Attribute, unknown_texts: Sequence[str]) -> str:
    """Return a message with the first rows whose value is not the model's."""
    rows = np.sort(np.concatenate([column.rows_with(text) for text in unknown_texts]))
    expected = (
        listing(list(BINARY_FAMILIES)) if attribute.kind == "binary" else listing(list(attribute.values), 12)
    )
    text = column.values[column.codes[rows[0]]]
    message = (
        f"{table.path}, row {int(table.lines[rows[0]])}, column '{column.name}': '{short(text)}' is not one of "
        f"{expected}, which the model knows.{did_you_mean(text, attribute.values)}"
    )
    for row in rows[1:3]:
        message += f" Row {int(table.lines[row])}: '{short(column.values[column.codes[row]])}'."
    if len(rows) > 3:
        message += f" And {counted(len(rows) - 3, 'more row')}."
    if words := unknown_words(list(dict.fromkeys(unknown_texts))):
        message += f" Where unknown is meant: --na-values {','.join(words)}."
    return message


def _all_notes(table: Table, read: _Read) -> list[str]:
    if read.signed:
        read.notes.append(f"{table.path}: binary written as -1/1: {listing(read.signed)}")
    return read.notes
