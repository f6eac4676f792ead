"""Selection of the rows, attributes and splits of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from augmentor.data.importers.base import ROW_COLUMNS, DatasetError, Listing
from augmentor.data.manifest.columns import MAX_VALUES
from augmentor.data.manifest.rows import bound_together
from augmentor.errors import did_you_mean, listing
from stargan.labels import spelled

Shares = tuple[float, float, float]
"""Parts of train, val and test."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The requested part of a data set.

    Args:
        attributes: the attributes to write, ("all",) for every one, () for the data set's usual ones.
        values: for an attribute, the values whose rows are kept; rows where it is unknown stay.
        label: another name for the data set's one usual attribute; None keeps its own.
        sides: other values for A and B, where the data set's one usual attribute has these; () keeps them.
        constants: columns that hold one value in every row.
        split: "auto" (the data set's own, or its usual cut), "none", or parts such as "80/10/10".
    """

    attributes: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: str | None = None
    sides: tuple[str, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    split: str = "auto"


def choose(
    found: Listing, selection: Selection, *, dataset: str
) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """Return the selected rows, with their index in `found`, the names of their attributes, and notes."""
    frame, default = _renamed(found, selection.label)
    if selection.sides:
        frame = _with_sides(frame, default[0], selection.sides)
    suggested = {
        default[0] if name == found.default[0] else name: found.suggested[name] for name in found.suggested
    }
    available = tuple(name for name in frame.columns if name not in ROW_COLUMNS)
    attributes = _attributes(selection.attributes, available, default)
    frame, notes = _rows(
        frame, selection.values, {name: suggested[name] for name in suggested if name in attributes}
    )
    for name in attributes:
        there = sorted(set(frame[name]) - {""})
        if len(there) > MAX_VALUES:
            raise DatasetError(
                f"{name} has {len(there):,} values, more than {MAX_VALUES}: {listing(there)}. "
                f"Keep some of them: --values {name}={there[0]},{there[1]}"
            )
    frame, split_notes = _with_splits(frame, selection.split, found.shares)
    frame["dataset"] = dataset
    for name, value in selection.constants.items():
        if name in (*attributes, *ROW_COLUMNS) and name != "dataset":
            raise DatasetError(f"--as {name}={value}: there is a column '{name}' already. Choose another name")
        frame[name] = value
    attributes = (*attributes, *(name for name in selection.constants if name != "dataset"))
    columns = [*(name for name in ROW_COLUMNS if name in frame.columns), *attributes]
    return frame[columns], attributes, [*notes, *split_notes]


def parse_values(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read "scene=street,bedroom" into the values of each attribute."""
    values: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, words = _assignment(text, "--values", "scene=street,bedroom")
        values[name] = (*values.get(name, ()), *filter(None, (word.strip() for word in words.split(","))))
    return values


def parse_constants(texts: Iterable[str]) -> dict[str, str]:
    """Read "domain=mnist" into the value of each column."""
    constants: dict[str, str] = {}
    for text in texts:
        name, value = _assignment(text, "--as", "domain=mnist")
        if constants.setdefault(name, value) != value:
            raise DatasetError(f"--as {text}: {name} is '{constants[name]}' already. Give it once")
    return constants


def _assignment(text: str, flag: str, example: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in text.partition("="))
    if not name or not value:
        raise DatasetError(f"{flag} {text}: is not of the form {example}")
    return name, value


def _renamed(found: Listing, label: str | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if label is None:
        return found.frame, found.default
    if len(found.default) != 1:
        raise DatasetError(f"--name {label}: there are several attributes, {listing(found.default)}. Leave it out")
    if label in ROW_COLUMNS or (label in found.frame.columns and label != found.default[0]):
        raise DatasetError(f"--name {label}: there is a column '{label}' already. Choose another name")
    return found.frame.rename(columns={found.default[0]: label}), (label,)


def _with_sides(frame: pd.DataFrame, name: str, sides: tuple[str, ...]) -> pd.DataFrame:
    flag = f"--sides {','.join(sides)}"
    if len(sides) != 2 or sides[0] == sides[1]:
        raise DatasetError(f"{flag}: is not of the form photo,map: what A shows, and what B shows")
    if not set(frame[name]) <= {"A", "B"}:
        raise DatasetError(f"{flag}: the values of {name} are not A and B, so it has no sides. Leave it out")
    return frame.assign(**{name: frame[name].map(dict(zip("AB", sides, strict=True)))})


def _attributes(requested: Sequence[str], available: Sequence[str], default: tuple[str, ...]) -> tuple[str, ...]:
    if tuple(requested) == ("all",):
        return tuple(available)
    for name in requested:
        if name not in available:
            raise DatasetError(
                f"--attributes: no attribute '{name}'.{did_you_mean(name, available)} "
                f"There are {listing(available, 40)}"
            )
    return tuple(dict.fromkeys(requested)) or default


def _rows(
    frame: pd.DataFrame, values: Mapping[str, tuple[str, ...]], suggested: Mapping[str, tuple[str, ...]]
) -> tuple[pd.DataFrame, list[str]]:
    """Keep the rows with the requested, or else suggested, values."""
    available = [name for name in frame.columns if name not in ROW_COLUMNS]
    notes = []
    for name, wanted in values.items():
        if name not in available:
            raise DatasetError(f"--values {name}: no such attribute.{did_you_mean(name, available)}")
        there = sorted(set(frame[name]) - {""})
        for value in wanted:
            if spelled(value, there) not in there:
                raise DatasetError(
                    f"--values {name}: no image has '{value}'.{did_you_mean(value, there)} "
                    f"There are {listing(there, 12)}"
                )
    for name, wanted in suggested.items():
        count = frame[name].nunique()
        if name not in values and count > len(wanted):
            notes.append(
                f"kept the {len(wanted)} most frequent of {count:,} values of {name}: {listing(wanted, 12)}. "
                f"Choose others with --values {name}=A,B"
            )
    kept = pd.Series(True, index=frame.index)
    for name, wanted in {**suggested, **values}.items():
        known = frame[name].unique().tolist()
        kept &= frame[name].isin([*(spelled(value, known) for value in wanted), ""])
    if not kept.any():
        raise DatasetError("--values: no image has all of these values together")
    return frame[kept].copy(), notes


def _with_splits(frame: pd.DataFrame, split: str, usual: Shares | None) -> tuple[pd.DataFrame, list[str]]:
    if split == "none" or (split == "auto" and "split" not in frame.columns and usual is None):
        return frame.drop(columns="split", errors="ignore"), []
    if split == "auto" and "split" in frame.columns:
        return frame, []
    shares = usual if split == "auto" and usual is not None else _shares(split)
    keys = frame["group"] if "group" in frame.columns else frame["path"]
    # An image without a group is a group of its own.
    keys = keys.where(keys != "", frame["path"])
    what = "groups" if "group" in frame.columns else "images"
    if "pair" in frame.columns:
        codes = frame["pair"].astype(pd.CategoricalDtype(sorted({*frame["pair"]} - {""}))).cat.codes
        bound = pd.Series(bound_together(keys, codes.to_numpy()), index=frame.index)
        keys, what = keys.groupby(bound).transform("first"), "pairs"
    frame["split"] = keys.map(split_of(keys.unique().tolist(), shares))
    counts = keys.groupby(frame["split"]).nunique()
    parts = ", ".join(f"{part} {counts.get(part, 0):,}" for part in ("train", "val", "test"))
    return frame, [f"split {what} at random: {parts}"]


def split_of(keys: Sequence[str], shares: Shares) -> dict[str, str]:
    """Return a split for every key, the same in whatever order the keys are.

    Of three keys or more, each share that is not 0 gets one at least.
    """
    ordered = sorted(keys, key=lambda key: (hashlib.sha256(key.encode()).digest(), key))
    sizes = [round(len(keys) * share / sum(shares)) for share in shares[1:]]
    if len(keys) >= len(shares):
        sizes = [max(size, 1) if share else 0 for size, share in zip(sizes, shares[1:], strict=True)]
    val, test = sizes
    return {key: "test" if i < test else "val" if i < test + val else "train" for i, key in enumerate(ordered)}


def _shares(text: str) -> Shares:
    words = text.split("/")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= number < float("inf") for number in numbers) or numbers[0] == 0:
        raise DatasetError(
            f"--split {text}: is not auto, none, or the parts of train, val and test such as 80/10/10"
            f"{did_you_mean(text, ('auto', 'none'))}"
        )
    return numbers[0], numbers[1], numbers[2]
