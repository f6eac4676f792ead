"""Label sets of the data sets in one table: the attributes that each of them labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.errors import listing
from stargan.labels import UNKNOWN, LabelSpace

Codes = NDArray[np.int16]


def distinct(sets: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return sets of names in their order, of equal ones the first."""
    first: dict[frozenset[str], tuple[str, ...]] = {}
    for names in sets:
        first.setdefault(frozenset(names), names)
    return list(first.values())


def overlap(different: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the first two of different sets of names that have a name in common, or None."""
    return next((pair for pair in combinations(different, 2) if set(pair[0]) & set(pair[1])), None)


def with_label_sets(
    space: LabelSpace, codes: Codes, datasets: pd.Series[str], *, where: str
) -> tuple[LabelSpace, Codes, list[str]]:
    """Give the label space of one table a label set for each kind of data set in its column `dataset`.

    Data sets with the same attributes are of one kind. Where two share some attributes but not all, the table's
    columns mean the same in both: missing labels are unknown, and there are no label sets.

    Returns:
        The label space, its attributes one set after another; the codes (N, A) in that order; notes.
    """
    names, numbers = list(datasets.cat.categories), datasets.cat.codes.to_numpy()
    knows = np.stack(
        [np.bincount(numbers[column != UNKNOWN], minlength=len(names)) > 0 for column in codes.T], axis=1
    )
    labelled = [i for i in range(len(names)) if knows[i].any()]
    sets = [tuple(name for name, known in zip(space.names, knows[i], strict=True) if known) for i in labelled]
    different = distinct(sets)
    if overlap(different) is not None:
        return space, codes, _shared(different, [names[labelled[sets.index(each)]] for each in different], where)
    if len(different) < 2:
        return space, codes, []
    # An attribute without labels (a one-hot group that is never set) belongs to no set: the last one takes it.
    unlabelled = tuple(name for name in space.names if not any(name in names for names in different))
    joint, order = ordered(space, [*different[:-1], different[-1] + unlabelled])
    return joint, codes[:, order], [f"{where}, column 'dataset': {describe_sets(joint)}"]


def ordered(space: LabelSpace, sets: Sequence[tuple[str, ...]]) -> tuple[LabelSpace, list[int]]:
    """Return the label space with these label sets, and the earlier position of each attribute."""
    order = [space.index(name) for names in sets for name in names]
    attributes = tuple(space.attributes[index] for index in order)
    return replace(space, attributes=attributes, label_sets=tuple(sets)), order


def describe_sets(space: LabelSpace) -> str:
    """Return the label sets in one line, for example "2 label sets: tone | style, woman"."""
    return f"{len(space.label_sets)} label sets: {' | '.join(', '.join(names) for names in space.label_sets)}"


def _shared(different: Sequence[tuple[str, ...]], datasets: Sequence[str], where: str) -> list[str]:
    """Return a note on the first two data sets that share labels while each has others of its own."""
    for (first, one), (second, other) in combinations(zip(datasets, map(set, different), strict=True), 2):
        if one & other and one - other and other - one:
            common = dict.fromkeys(name for names in different for name in names if name in one & other)
            both = f"{_named(first)} and {_named(second)} both label {listing(list(common))}"
            rule = "so there is one label set: other labels of a data set are unknown"
            return [f"{where}, column 'dataset': {both}, {rule}"]
    return []


def _named(dataset: str) -> str:
    return f"'{dataset}'" if dataset else "the rows without a data set"
