"""Plans against hand-worked lists and against a plain product that holds everything in memory."""

from __future__ import annotations

import itertools
import pickle
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.planning.domains import DomainRequest, parse_domains
from augmentor.planning.items import Item
from augmentor.planning.plan import Plan, make_plan
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
        Attribute(name="male"),
    )
)
BLACK, BLOND, BROWN = range(3)
Target = tuple[int, ...]


def plan_of(
    rows: list[Target],
    *specs: str,
    space: LabelSpace = SPACE,
    eligible: list[bool] | None = None,
    with_real: bool = False,
    include_identity: bool = False,
    looks: int = 1,
) -> Plan:
    return make_plan(
        np.array(rows, dtype=np.int16).reshape(len(rows), len(space)),
        space=space,
        request=parse_domains(specs, space) if specs else DomainRequest(),
        eligible=np.array([True] * len(rows) if eligible is None else eligible, dtype=np.bool_),
        with_real=with_real,
        include_identity=include_identity,
        looks=looks,
    )


def targets(row: Target, *specs: str, include_identity: bool = False) -> list[Target]:
    return [item.target for item in plan_of([row], *specs, include_identity=include_identity).items()]


# --- hand-worked rows -----------------------------------------------------------------------------------------


def test_a_value_leaves_unnamed_attributes_alone() -> None:
    assert targets((BLACK, 1), "hair=blond") == [(BLOND, 1)]
    assert targets((BLACK, 1), "hair=brown|blond") == [(BLOND, 1), (BROWN, 1)]


def test_star_is_every_value_and_the_own_domain_is_left_out() -> None:
    assert targets((BLOND, 0), "hair=*") == [(BLACK, 0), (BROWN, 0)]
    assert targets((BLOND, 0), "hair=blond") == []


def test_tilde_is_every_value_but_the_own_one() -> None:
    assert targets((BLOND, 0), "hair=~") == [(BLACK, 0), (BROWN, 0)]
    assert targets((BLOND, 0), "male=~") == [(BLOND, 1)]
    # Unlike `*`, also where another attribute changes.
    assert targets((BLOND, 0), "hair=~,male=1") == [(BLACK, 1), (BROWN, 1)]
    assert targets((BLOND, 0), "hair=*,male=1") == [(BLACK, 1), (BLOND, 1), (BROWN, 1)]
    assert targets((BLOND, 0), "hair=~|blond,male=1") == [(BLACK, 1), (BLOND, 1), (BROWN, 1)]


def test_the_last_attribute_varies_fastest_whatever_the_order_in_the_spec() -> None:
    expected = [(BLACK, 1), (BLOND, 0), (BLOND, 1), (BROWN, 0), (BROWN, 1)]
    assert targets((BLACK, 0), "hair=*,male=*") == expected
    assert targets((BLACK, 0), "male=1|0,hair=*") == expected
    assert targets((BLACK, 0), "all") == expected


def test_each_changes_one_attribute_at_a_time() -> None:
    assert targets((BROWN, 1), "each") == [(BLACK, 1), (BLOND, 1), (BROWN, 0)]


def test_unknown_values_stay_unknown_unless_they_are_named() -> None:
    assert targets((-1, 1), "male=0") == [(-1, 0)]
    assert targets((-1, 1), "hair=~") == [(BLACK, 1), (BLOND, 1), (BROWN, 1)]
    assert targets((-1, -1), "each") == [(BLACK, -1), (BLOND, -1), (BROWN, -1), (-1, 0), (-1, 1)]
    assert targets((-1, 0), "hair=*,male=*")[:2] == [(BLACK, 0), (BLACK, 1)]


def test_a_union_keeps_the_first_of_equal_targets() -> None:
    assert targets((BLACK, 0), "hair=brown", "hair=*") == [(BROWN, 0), (BLOND, 0)]
    assert targets((BLACK, 0), "male=1", "hair=black|blond,male=1") == [(BLACK, 1), (BLOND, 1)]
    # The same request overlaps for one row and not for another.
    assert targets((BROWN, 0), "male=1", "hair=black|blond,male=1") == [(BROWN, 1), (BLACK, 1), (BLOND, 1)]


def test_include_identity_keeps_the_own_domain_once_where_the_request_has_it() -> None:
    assert targets((BLOND, 0), "hair=*", include_identity=True) == [(BLACK, 0), (BLOND, 0), (BROWN, 0)]
    assert targets((BLOND, 0), "hair=~", include_identity=True) == [(BLACK, 0), (BROWN, 0)]
    assert targets((BLOND, 0), "hair=blond", "male=*", include_identity=True) == [(BLOND, 0), (BLOND, 1)]


def test_items_go_row_by_row_with_the_real_image_first() -> None:
    plan = plan_of([(BLOND, 0), (BROWN, -1), (BLACK, 1)], "male=~", eligible=[True, False, True], with_real=True)
    assert list(plan.items()) == [
        Item(position=0, row=0, target=(BLOND, 0), is_synthetic=False),
        Item(position=1, row=0, target=(BLOND, 1), is_synthetic=True),
        Item(position=2, row=1, target=(BROWN, -1), is_synthetic=False),
        Item(position=3, row=2, target=(BLACK, 1), is_synthetic=False),
        Item(position=4, row=2, target=(BLACK, 0), is_synthetic=True),
    ]
    assert (len(plan), plan.n_real, plan.n_synthetic) == (5, 3, 2)


def test_each_target_in_all_its_looks() -> None:
    plan = plan_of([(BLOND, 0), (BROWN, 1)], "hair=black|blond", with_real=True, looks=2)
    found = [(item.row, item.target, item.look) for item in plan.items() if item.is_synthetic]
    assert found == [
        *((0, (BLACK, 0), look) for look in (1, 2)),
        *((1, (hair, 1), look) for hair in (BLACK, BLOND) for look in (1, 2)),
    ]
    assert (len(plan), plan.n_synthetic) == (8, 6)
    assert plan.label_counts()["hair"] == {"black": (0, 4), "blond": (1, 3), "brown": (1, 1)}


def test_rows_without_items_are_skipped() -> None:
    plan = plan_of([(BLACK, 0)] * 4, "male=1", eligible=[False, True, False, False])
    assert list(plan.items()) == [Item(position=0, row=1, target=(BLACK, 1), is_synthetic=True)]


def test_an_empty_request_and_an_empty_manifest_are_plans_too() -> None:
    plan = plan_of([(BLACK, 0), (BLOND, -1)], with_real=True)
    assert [item.target for item in plan.items()] == [(BLACK, 0), (BLOND, -1)]
    assert plan.label_counts()["male"] == {"0": (1, 1), "1": (0, 0), "unknown": (1, 1)}
    empty = plan_of([], "all", with_real=True)
    assert (len(empty), list(empty.items()), empty.shards(10)) == (0, [], 0)
    assert empty.label_counts()["male"] == {"0": (0, 0), "1": (0, 0)}


def test_label_counts_worked_by_hand() -> None:
    plan = plan_of(
        [(BLOND, 0), (BLOND, -1), (-1, 1), (BROWN, 1)],
        "hair=~",
        eligible=[True, True, True, False],
        with_real=True,
    )
    # blond -> black, brown (twice); unknown -> black, blond, brown.
    assert plan.label_counts() == {
        "hair": {"black": (0, 3), "blond": (2, 3), "brown": (0, 3), "unknown": (1, 1)},
        "male": {"0": (1, 3), "1": (1, 4), "unknown": (1, 3)},
    }
    assert list(plan.label_counts()["hair"]) == ["black", "blond", "brown", "unknown"]


def test_a_value_called_unknown_is_not_mixed_up_with_unlabelled_rows() -> None:
    space = LabelSpace(attributes=(Attribute(name="sex", kind="categorical", values=("f", "unknown")),))
    plan = plan_of([(1,), (-1,)], "sex=f", space=space)
    assert plan.label_counts() == {"sex": {"f": (0, 2), "unknown": (1, 1), "not labelled": (1, 1)}}


# --- against a plain product ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    space: LabelSpace
    rows: list[Target]
    specs: list[str]
    eligible: list[bool]
    with_real: bool
    include_identity: bool
    looks: int = 1

    def plan(self) -> Plan:
        return plan_of(
            self.rows,
            *self.specs,
            space=self.space,
            eligible=self.eligible,
            with_real=self.with_real,
            include_identity=self.include_identity,
            looks=self.looks,
        )


def plain_targets(row: Target, case: Case) -> list[Target]:
    found: list[Target] = []
    names = case.space.names
    for text in case.specs:
        products = {"each": [f"{name}=~" for name in names], "all": [",".join(f"{name}=*" for name in names)]}
        for product in products.get(text, [text]):
            wanted = dict(part.split("=") for part in product.split(","))
            options = []
            for own, attribute in zip(row, case.space.attributes, strict=True):
                tokens = wanted[attribute.name].split("|") if attribute.name in wanted else None
                if tokens is None:
                    options.append([own])
                    continue
                options.append(
                    [
                        code
                        for code, value in enumerate(attribute.values)
                        if "*" in tokens or value in tokens or ("~" in tokens and code != own)
                    ]
                )
            for target in itertools.product(*options):
                if target not in found and (case.include_identity or target != row):
                    found.append(target)
    return found


def plain_items(case: Case) -> list[Item]:
    items: list[Item] = []
    for row, (codes, translated) in enumerate(zip(case.rows, case.eligible, strict=True)):
        if case.with_real:
            items.append(Item(position=len(items), row=row, target=codes, is_synthetic=False))
        made = plain_targets(codes, case) if translated else []
        for target, look in itertools.product(made, range(1, case.looks + 1)):
            items.append(Item(position=len(items), row=row, target=target, is_synthetic=True, look=look))
    return items


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    attributes = tuple(
        Attribute(name=f"a{i}", kind="categorical", values=tuple("vwxy"[:size]))
        if size
        else Attribute(name=f"a{i}")
        for i, size in enumerate(sizes)
    )
    row = st.tuples(*(st.integers(-1, len(attribute.values) - 1) for attribute in attributes))
    rows = draw(st.lists(row, max_size=8))

    def spec() -> str:
        word = draw(st.sampled_from(["", "", "", "", "each", "all"]))
        named = draw(st.lists(st.sampled_from(attributes), min_size=1, unique=True))
        values = [
            "|".join(draw(st.lists(st.sampled_from([*a.values, "*", "~", "~"]), min_size=1, max_size=3)))
            for a in named
        ]
        return word or ",".join(f"{a.name}={listed}" for a, listed in zip(named, values, strict=True))

    return Case(
        space=LabelSpace(attributes=attributes),
        rows=rows,
        specs=[spec() for _ in range(draw(st.integers(1, 4)))],
        eligible=draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))),
        with_real=draw(st.booleans()),
        include_identity=draw(st.booleans()),
        looks=draw(st.sampled_from([1, 1, 2, 3])),
    )


@settings(max_examples=200, deadline=None)
@given(case=cases(), data=st.data())
def test_a_plan_is_the_plain_product_in_any_slice(case: Case, data: st.DataObject) -> None:
    plan, expected = case.plan(), plain_items(case)
    assert list(plan.items()) == expected
    assert len(plan) == len(expected)
    assert plan.n_synthetic == sum(item.is_synthetic for item in expected)
    assert plan.n_real == sum(not item.is_synthetic for item in expected)

    start = data.draw(st.integers(0, len(expected)))
    stop = data.draw(st.integers(start, len(expected)))
    assert list(plan.items(start, stop)) == expected[start:stop]

    size = data.draw(st.integers(1, 7))
    shards = [list(plan.shard(index, size)) for index in range(plan.shards(size))]
    assert [item for shard in shards for item in shard] == expected
    assert all(len(shard) == size for shard in shards[:-1])
    assert all(shards)


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_label_counts_are_those_of_the_items(case: Case) -> None:
    synthetic = [item.target for item in plain_items(case) if item.is_synthetic]
    before = [row for row, translated in zip(case.rows, case.eligible, strict=True) if translated]
    counts = case.plan().label_counts()
    assert list(counts) == list(case.space.names)
    for column, attribute in enumerate(case.space.attributes):
        expected = {}
        for code, value in [*enumerate(attribute.values), (-1, "unknown")]:
            old = sum(row[column] == code for row in before)
            new = sum(target[column] == code for target in synthetic)
            if code >= 0 or old or new:
                expected[value] = (old, old + new)
        assert counts[attribute.name] == expected


def test_more_attributes_than_fit_one_number_are_told_apart() -> None:
    # Four codes each, so 4**40 combinations: in 64 bits all but the last 32 attributes would vanish.
    space = LabelSpace(
        attributes=tuple(Attribute(name=f"a{i}", kind="categorical", values=("v", "w", "x")) for i in range(40))
    )
    rng = np.random.default_rng(0)
    rows = [tuple(row) for row in rng.integers(-1, 3, (6, 40)).tolist()]
    rows += [((rows[0][0] + 2) % 3, *rows[0][1:]), (*rows[0][:-1], (rows[0][-1] + 2) % 3), rows[0]]
    case = Case(
        space=space,
        rows=rows,
        specs=["a0=*,a39=v", *(f"a{i}=v,a{i + 1}=w" for i in range(39)), "each", "a0=v,a39=v", "a0=v|w,a39=*"],
        eligible=[True] * len(rows),
        with_real=False,
        include_identity=False,
    )
    assert list(case.plan().items()) == plain_items(case)


# --- the rest of the contract ---------------------------------------------------------------------------------


def test_positions_and_shards_that_do_not_exist_are_refused_at_once() -> None:
    plan = plan_of([(BLACK, 0)], "hair=*")
    for start, stop in [(-1, 1), (0, 3), (2, 1)]:
        with pytest.raises(ValueError, match="the plan has 2"):
            plan.items(start, stop)
    with pytest.raises(ValueError, match="at least 1 item"):
        plan.shards(0)
    for index in (-1, 1):
        with pytest.raises(IndexError, match="the plan has 1"):
            plan.shard(index, 2)


def test_codes_that_the_space_cannot_hold_are_refused() -> None:
    request, eligible = parse_domains(["each"], SPACE), np.ones(1, dtype=np.bool_)
    for codes in ([[3, 0]], [[0, -2]], [[0]], [0, 0], [[0.5, 1.0]]):
        with pytest.raises(ValueError, match="codes"):
            make_plan(np.array(codes), space=SPACE, request=request, eligible=eligible, with_real=True)
    with pytest.raises(ValueError, match=r"eligible is bool \(2,\)"):
        plan_of([(BLACK, 0)], "each", eligible=[True, True])


def test_the_fingerprint_changes_with_whatever_changes_the_items_and_with_nothing_else() -> None:
    rows: list[Target] = [(BLACK, 0), (BLOND, 1)]
    renamed = LabelSpace(attributes=(SPACE["hair"], Attribute(name="female")))
    plan = plan_of(rows, "all")
    same = make_plan(
        np.array(rows, dtype=np.int64, order="F"),
        space=SPACE,
        request=parse_domains(["male=*, hair=*"], SPACE),
        eligible=np.array([True, True]),
        with_real=False,
    )
    others = [
        plan_of([(BLACK, 0), (BLOND, 0)], "all"),
        plan_of(rows[::-1], "all"),
        plan_of(rows[:1], "all"),
        plan_of(rows, "each"),
        plan_of(rows, "all", "each"),
        plan_of(rows, "each", "all"),
        plan_of(rows, "all", eligible=[True, False]),
        plan_of(rows, "all", eligible=[False, True]),
        plan_of(rows, "all", with_real=True),
        plan_of(rows, "all", include_identity=True),
        plan_of(rows, "all", space=renamed),
        plan_of(rows, "all", looks=2),
        plan_of(rows, "all", looks=3),
    ]
    assert plan.fingerprint() == same.fingerprint() == plan_of(rows, "all").fingerprint()
    prints = {other.fingerprint() for other in [plan, *others]}
    assert len(prints) == 1 + len(others)
    assert {len(text) for text in prints} == {64}


def test_a_plan_that_was_read_can_be_sent_to_another_process() -> None:
    plan = plan_of([(BLACK, 0), (-1, 1)], "all", with_real=True)
    items = list(plan.items())
    copy: Plan = pickle.loads(pickle.dumps(plan))
    assert list(copy.items()) == items
    assert copy.fingerprint() == plan.fingerprint()


def test_the_largest_request_is_counted_in_several_runs() -> None:
    space = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(16)))
    rows = [tuple(int(bit) for bit in f"{number * 1637:016b}") for number in range(40)]
    plan = plan_of(rows, "all", space=space)
    assert len(plan) == 40 * (2**16 - 1)
    # All domains of every row, its own one being the row itself: each value stands in half of them.
    assert {after for counts in plan.label_counts().values() for _, after in counts.values()} == {40 * 2**15}
    (last,) = plan.items(len(plan) - 1)
    assert (last.row, last.target) == (39, (1,) * 16)


def test_a_million_rows_times_forty_domains() -> None:
    space = LabelSpace(
        attributes=(
            Attribute(name="kind", kind="categorical", values=tuple(f"k{i}" for i in range(20))),
            Attribute(name="male"),
            Attribute(name="young"),
        )
    )
    rng = np.random.default_rng(0)
    codes = rng.integers(0, (20, 2, 2), (1_000_000, 3)).astype(np.int16)
    started = time.process_time()
    plan = make_plan(
        codes,
        space=space,
        request=parse_domains(["kind=*,male=*"], space),
        eligible=np.ones(1_000_000, dtype=np.bool_),
        with_real=True,
        include_identity=True,
    )
    counts = plan.label_counts()
    (item,) = plan.items(41 * 777_777 + 40, 41 * 777_777 + 41)
    seconds = time.process_time() - started
    assert len(plan) == 41_000_000
    assert plan.shards(1000) == 41_000
    assert item == Item(
        position=41 * 777_777 + 40, row=777_777, target=(19, 1, int(codes[777_777, 2])), is_synthetic=True
    )
    before, after = counts["kind"]["k7"]
    assert after - before == 2_000_000
    # About 0.4 s on an idle core; the rest is for a busy machine.
    assert seconds < 10
