"""A manifest in a file, SPECs in words: the plan is their product as one would write it down by hand."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.data.manifest import SPLITS, Manifest, read_manifest
from augmentor.planning.domains import parse_domains
from augmentor.planning.items import Item
from augmentor.planning.plan import Plan, make_plan

VALUES = {
    "hair": ("black", "blond", "brün"),
    "level": ("level 2", "level 10"),
    "male": ("0", "1"),
    "smile": ("no", "yes"),
}
Domain = dict[str, str]
Written = tuple[int, Domain, bool]
"""An item in words: its row, its known labels, and whether it is a translation."""


@dataclass(frozen=True)
class Request:
    """A manifest and what is asked of it, in words.

    Args:
        rows: each row's cells; "" is unknown.
        splits: each row's.
        specs: per SPEC the words per attribute; every attribute with `~`, one by one, is "each".
        wanted: splits that are translated.
        with_real: real images are items.
        include_identity: a row's own domain is one of its targets.
    """

    rows: list[Domain]
    splits: list[str]
    specs: list[dict[str, list[str]] | str]
    wanted: tuple[str, ...]
    with_real: bool
    include_identity: bool

    @property
    def values(self) -> dict[str, list[str]]:
        """The values that stand in the table, in the label space's order, as the label space spells them."""
        found = {}
        for name in self.rows[0]:
            there = {meaning(name, row[name]) for row in self.rows} - {""}
            found[name] = ["0", "1"] if name in ("male", "smile") else [v for v in VALUES[name] if v in there]
        return found


def meaning(name: str, cell: str) -> str:
    """Return a cell as the label space spells it."""
    return {"no": "0", "yes": "1"}.get(cell, cell) if name == "smile" else cell


@st.composite
def requests(draw: st.DrawFn) -> Request:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    row = st.fixed_dictionaries({name: st.sampled_from([*VALUES[name], ""]) for name in names})
    # The first row knows everything: a column that is blank throughout is no attribute.
    known = draw(st.fixed_dictionaries({name: st.sampled_from(VALUES[name]) for name in names}))
    rows = [known, *draw(st.lists(row, max_size=6))]
    splits = draw(st.lists(st.sampled_from(SPLITS), min_size=len(rows), max_size=len(rows)))
    request = Request(rows, splits, [], ("train",), draw(st.booleans()), draw(st.booleans()))
    words = {name: st.sampled_from([*values, "*", "~", "~"]) for name, values in request.values.items()}
    parts = {name: st.lists(word, min_size=1, max_size=3) for name, word in words.items()}
    spec = st.lists(st.sampled_from(names), min_size=1, unique=True).flatmap(
        lambda named: st.fixed_dictionaries({name: parts[name] for name in named})
    )
    specs = draw(st.lists(spec | st.sampled_from(["each", "all"]), min_size=1, max_size=3))
    return replace(request, specs=specs)


def products(request: Request) -> Iterator[dict[str, list[str]]]:
    """Yield the SPECs with `each` and `all` written out."""
    names = list(request.values)
    for spec in request.specs:
        if spec == "each":
            yield from ({name: ["~"]} for name in names)
        elif spec == "all":
            yield {name: ["*"] for name in names}
        elif isinstance(spec, dict):
            yield spec


def by_hand(request: Request) -> Iterator[Written]:
    """Yield the items that are asked for: row by row, the real image first, then SPEC by SPEC, no target twice."""
    for row, (cells, split) in enumerate(zip(request.rows, request.splits, strict=True)):
        own = {name: meaning(name, cell) for name, cell in cells.items()}
        if request.with_real:
            yield row, known_part(own), False
        given_before = [] if request.include_identity else [own]
        for spec in products(request) if split in request.wanted else ():
            options = [
                values_asked(spec[name], own[name], values) if name in spec else [own[name]]
                for name, values in request.values.items()
            ]
            for combination in itertools.product(*options):
                target = dict(zip(request.values, combination, strict=True))
                if target not in given_before:
                    given_before.append(target)
                    yield row, known_part(target), True


def values_asked(words: list[str], own: str, values: list[str]) -> list[str]:
    """Return the values that the words of a SPEC give a row, in the label space's order."""
    return [v for v in values if v in words or "*" in words or ("~" in words and v != own)]


def known_part(domain: Domain) -> Domain:
    return {name: value for name, value in domain.items() if value}


def read_and_plan(request: Request, file: Path) -> tuple[Manifest, Plan]:
    with file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["path", "split", *request.rows[0]])
        for i, (row, split) in enumerate(zip(request.rows, request.splits, strict=True)):
            writer.writerow([f"{i}.png", split, *(row[name] for name in request.rows[0])])
    manifest = read_manifest(file)
    specs = [
        spec if isinstance(spec, str) else ",".join(f"{name}={'|'.join(words)}" for name, words in spec.items())
        for spec in request.specs
    ]
    return manifest, make_plan(
        manifest.codes,
        space=manifest.space,
        request=parse_domains(specs, manifest.space),
        eligible=manifest.split_mask(request.wanted),
        with_real=request.with_real,
        include_identity=request.include_identity,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan") / "manifest.csv"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(request=requests(), data=st.data())
def test_a_plan_is_the_product_of_its_words(request: Request, data: st.DataObject, file: Path) -> None:
    manifest, plan = read_and_plan(request, file)
    expected = list(by_hand(request))

    def written(item: Item) -> Written:
        return item.row, manifest.space.domain(item.target), item.is_synthetic

    items = list(plan.items())
    assert [written(item) for item in items] == expected
    assert [item.position for item in items] == list(range(len(plan)))
    assert (plan.n_real, plan.n_synthetic) == (
        len(request.rows) if request.with_real else 0,
        sum(is_synthetic for *_, is_synthetic in expected),
    )
    start = data.draw(st.integers(0, len(plan)))
    stop = data.draw(st.integers(start, len(plan)))
    assert list(plan.items(start, stop)) == items[start:stop]
    size = data.draw(st.integers(1, len(plan) + 1))
    shards = [list(plan.shard(index, size)) for index in range(plan.shards(size))]
    assert shards == [items[first : first + size] for first in range(0, len(items), size)]

    assert plan.changed_values() == {
        (column, code)
        for item in items
        if item.is_synthetic
        for column, code in enumerate(item.target)
        if code != manifest.codes[item.row, column]
    }
    translated = [i for i, split in enumerate(request.splits) if split in request.wanted]
    for name, counts in plan.label_counts().items():
        for value, (before, after) in counts.items():
            label = "" if value == "unknown" else value
            assert before == sum(meaning(name, request.rows[i][name]) == label for i in translated)
            made = sum(domain.get(name, "") == label for _, domain, is_synthetic in expected if is_synthetic)
            assert after == before + made
