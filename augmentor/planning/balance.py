"""Balance requests: `--balance` and `--counts` as the wanted number of images of each combination."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from augmentor.errors import DomainError, did_you_mean, listing
from augmentor.planning.combinations import LEFT_ALONE, Cells, Numbers
from augmentor.planning.domains import value_code
from stargan.labels import LabelSpace, spelled

Word = Literal["auto", "minority", "not minority", "not majority", "all"]
Goal: TypeAlias = "Word | int | float"

WORDS: tuple[Word, ...] = get_args(Word)

MAX_COMBINATIONS = 4096
"""The most combinations that a request may top up: more is a mistake, not a wish."""

_COUNT = "count"


@dataclass(frozen=True, kw_only=True)
class BalanceRequest:
    """The request of `--balance`, `--balance-to`, `--counts` and `--max-per-source`; `parse` reads it.

    Args:
        goal: up to where combinations are filled; see `wanted`.
        counts: (combination, images) pairs of a table, in the place of the goal; None without a table.
        max_per_source: see `Balance`.
    """

    cells: Cells
    goal: Goal = "auto"
    counts: tuple[tuple[int, int], ...] | None = None
    max_per_source: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        attributes: str | Sequence[str] = (),
        to: str | float = "auto",
        counts: Path | None = None,
        max_per_source: int | None = None,
        space: LabelSpace,
    ) -> BalanceRequest:
        """Read a request against a model's label space.

        Args:
            attributes: names, or one text with commas; may be left out where a table has them.
            to: a word of imbalanced-learn's, a number of images, or, with a point, a share of the highest count.
            counts: a table with a column per attribute and `count`.
            max_per_source: translations of one row at most.
            space: the model's attributes and values.

        Raises:
            DomainError: a name, word, number or cell of the table cannot be used.
        """
        names = attributes.split(",") if isinstance(attributes, str) else list(attributes)
        names = [spelled(name.strip(), space.names) for name in names]
        if max_per_source is not None and max_per_source < 1:
            raise DomainError(f"--max-per-source must be at least 1, not {max_per_source}")
        goal = _goal(to)
        if counts is None:
            return cls(cells=_cells(names, space, "--balance"), goal=goal, max_per_source=max_per_source)
        if goal != "auto":
            raise DomainError(f"--balance-to {to}: --counts says how many images are wanted. Give one of the two")
        table = _read_counts(counts, space)
        columns = [name for name in table.columns if name != _COUNT]
        cells = _cells(columns, space, f"--counts {counts}")
        if names and set(names) != set(columns):
            raise DomainError(
                f"--counts {counts}: has columns for {listing(columns, 20)}, and --balance names "
                f"{listing(names, 20)}. Leave --balance out, or name the same"
            )
        wanted = _table_counts(table, cells, space, counts)
        return cls(cells=cells, counts=wanted, max_per_source=max_per_source)

    def wanted(self, there: Numbers) -> Numbers:
        """Return how many images each combination is to have, (C,) int64; `LEFT_ALONE` for no change.

        The words are imbalanced-learn's: `minority` fills the rarest combination, `not minority` all but it, `not
        majority` (and `auto`) all but the most frequent one, `all` all, each up to the most frequent one's count.
        Of equally frequent ones the first counts. A number of images is wanted of all, a share of the most
        frequent one's of all others. Unlike imbalanced-learn, combinations without any image count as the rarest.

        Args:
            there: (C,) int64, the images that are there.

        Raises:
            DomainError: there are no images.
        """
        wanted = np.full(len(self.cells), LEFT_ALONE, dtype=np.int64)
        if self.counts is not None:
            for cell, count in self.counts:
                wanted[cell] = count
            return wanted
        most = int(there.max())
        if not most:
            raise DomainError("--balance: no row that may be translated knows all of the attributes")
        rarest, most_frequent = int(there.argmin()), int(there.argmax())
        match self.goal:
            case "minority":
                wanted[rarest] = most
            case "not minority":
                wanted[:] = most
                wanted[rarest] = LEFT_ALONE
            case "auto" | "not majority":
                wanted[:] = most
                wanted[most_frequent] = LEFT_ALONE
            case "all":
                wanted[:] = most
            case float():
                wanted[:] = int(most * self.goal)
                wanted[most_frequent] = LEFT_ALONE
            case int():
                wanted[:] = self.goal
        return wanted


def _goal(to: str | float) -> Goal:
    text = " ".join(re.sub("[-_]", " ", str(to).strip().lower()).split())
    for word in WORDS:
        if word == text:
            return word
    number = str(to).strip()
    if re.fullmatch(r"[0-9]{1,12}", number) and int(number) > 0:
        return int(number)
    if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+\.", number) and 0 < float(number) <= 1:
        return float(number)
    raise DomainError(
        f"--balance-to {str(to)!r}: write {', '.join(WORDS)}, a number of images like 500, or a share of the most "
        f"frequent combination's, above 0 and up to 1.0, like 0.5.{did_you_mean(text, WORDS)}"
    )


def _cells(names: Sequence[str], space: LabelSpace, where: str) -> Cells:
    if not any(names):
        raise DomainError(f"{where}: name the attributes whose combinations are to be balanced, comma-separated")
    for name in names:
        if name not in space.names:
            raise DomainError(
                f"{where}: no attribute is called {name!r}.{did_you_mean(name, space.names)} "
                f"The attributes: {listing(space.names, 20)}"
            )
        if names.count(name) > 1:
            raise DomainError(f"{where}: {name} is named twice")
    positions = tuple(sorted(map(space.index, names)))
    if len({space.set_of_attribute[position] for position in positions}) > 1:
        raise DomainError(
            f"{where}: these are labels of different data sets, and the model was trained to change those of one "
            f"at a time. The label sets: {' | '.join(listing(each, 20) for each in space.label_sets)}"
        )
    cells = Cells(attributes=positions, sizes=tuple(len(space.attributes[p].values) for p in positions))
    if len(cells) > MAX_COMBINATIONS:
        raise DomainError(
            f"{where}: has {len(cells):,} combinations, and {MAX_COMBINATIONS:,} is the most. Name fewer of them"
        )
    return cells


def _read_counts(path: Path, space: LabelSpace) -> pd.DataFrame:
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    try:
        table = pd.read_csv(
            path, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except OSError as error:
        raise DomainError(f"--counts {path}: cannot be read ({error.strerror or error})") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DomainError(f"--counts {path}: is not a table of comma-separated UTF-8 text: {error}") from None
    table.columns = pd.Index([spelled(str(name).strip(), space.names) for name in table.columns])
    if _COUNT not in table.columns or len(table.columns) < 2:
        raise DomainError(
            f"--counts {path}: needs a column per attribute and the column {_COUNT}; it has "
            f"{listing(table.columns.tolist(), 20)}"
        )
    return table


def _table_counts(table: pd.DataFrame, cells: Cells, space: LabelSpace, path: Path) -> tuple[tuple[int, int], ...]:
    """Return the (combination, images) pairs of a table, in the combinations' order."""
    found: dict[int, int] = {}
    attributes = [space.attributes[position] for position in cells.attributes]
    named: Iterable[tuple[str, ...]] = zip(*(table[attribute.name] for attribute in attributes), strict=True)
    for line, (words, count) in enumerate(zip(named, table[_COUNT], strict=True), start=2):
        where = f"--counts {path}, row {line}"
        # pandas writes 10.0 for 10 beside a blank cell.
        number = re.fullmatch(r"([0-9]{1,12})(?:\.0*)?", count.strip())
        if number is None:
            raise DomainError(f"{where}: {_COUNT} is {count!r}, not a number of images")
        codes = [value_code(word.strip(), a, where, marks="") for word, a in zip(words, attributes, strict=True)]
        cell = int(cells.number(np.array([codes], dtype=np.int16))[0])
        if cell in found:
            raise DomainError(f"{where}: {', '.join(words)} has a row already. Remove one of the two")
        found[cell] = int(number.group(1))
    return tuple(sorted(found.items()))
