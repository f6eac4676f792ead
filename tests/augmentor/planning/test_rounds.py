"""Rounds that fill rare combinations: whatever is thrown out, counts are reached or the sources are used up."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from augmentor.data.failures import Failure
from augmentor.errors import DomainError, OutputError
from augmentor.expansion.selection import Candidates, select
from augmentor.expansion.top_up import DropSurplus, RoundCounts
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import ShardRecord
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import LEFT_ALONE
from augmentor.planning.domains import DomainRequest, parse_domains
from augmentor.planning.items import Item
from augmentor.planning.plan import Plan, make_plan
from augmentor.planning.rounds import RoundPlanner, planned_states, planned_translations, with_balance
from stargan.labels import UNKNOWN, Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "red")),
        Attribute(name="male"),
        Attribute(name="smile"),
    )
)
SIZES = (3, 2, 2)
MOST_ROUNDS = 60


@dataclass(frozen=True)
class Case:
    """A table, a request, and a judge that throws out by chance, but always the same.

    Args:
        rows: the codes.
        eligible: which rows may be translated.
        domains: SPECs.
        with_real: real images are items.
        attributes: which are balanced.
        to: up to where.
        limit: translations per source.
        strict: of 8 translations, how many are thrown out.
        broken: rows that cannot be read.
        size: items per shard.
        looks: translations of an image into one target, at most.
    """

    rows: list[tuple[int, int, int]]
    eligible: list[bool]
    domains: list[str]
    with_real: bool
    attributes: str
    to: str
    limit: int | None
    strict: int
    broken: set[int]
    size: int
    looks: int = 1

    def plan(self) -> Plan:
        plan = make_plan(
            np.array(self.rows, dtype=np.int16),
            space=SPACE,
            request=parse_domains(self.domains, SPACE) if self.domains else DomainRequest(),
            eligible=np.array(self.eligible),
            with_real=self.with_real,
            looks=self.looks,
        )
        request = BalanceRequest.parse(
            attributes=self.attributes, to=self.to, max_per_source=self.limit, space=SPACE
        )
        return with_balance(plan, request)

    def agreement(self, item: Item) -> float:
        """Return what the judge says: a number of chance, always the same for the same translation."""
        return hash((item.row, item.target, item.look)) % 8 / 8

    def record(self, plan: Plan, index: int) -> ShardRecord:
        """Return what a shard's record would be."""
        start, _ = plan.shard_range(index, self.size)
        rows, positions, failed = [], [], {}
        for item in plan.shard(index, self.size):
            agreement = self.agreement(item) if item.is_synthetic else None
            if item.row in self.broken:
                failed[item.row] = Failure(id=f"id{item.row}", path="", reason="")
            elif agreement is None or agreement >= self.strict / 8:
                key = f"{item.row}{item.target}{item.is_synthetic}{item.look}"
                rows.append(
                    LabelRow(key, key, "train", "", item.is_synthetic, f"id{item.row}", "", item.target)._replace(
                        agreement=agreement
                    )
                )
                positions.append(item.position - start)
        files = {row.file_name: "" for row in rows}
        return ShardRecord(
            index=index, shape=None, rows=rows, positions=positions, failures=list(failed.values()), files=files
        )

    def rounds(self) -> Iterator[tuple[Plan, RoundCounts]]:
        """Yield the plan and its counts after each round."""
        plan, first = self.plan(), 0
        filling, tally = RoundPlanner(plan), self.tally(plan)
        for _ in range(MOST_ROUNDS):
            for index in range(first, plan.shards(self.size)):
                tally.add(plan, self.record(plan, index))
            yield plan, tally
            segment = filling.next_round(
                plan, there=tally.there, kept=tally.kept, failed=tally.failed, uses=tally.uses
            )
            if segment is None:
                return
            first, plan = plan.shards(self.size), plan.extended(segment)
        raise AssertionError("it does not end")

    def tally(self, plan: Plan) -> RoundCounts:
        return RoundCounts(plan, [f"id{row}" for row in range(len(self.rows))], self.size)

    def filled(self) -> tuple[Plan, RoundCounts]:
        *_, last = self.rounds()
        return last


@st.composite
def cases(draw: st.DrawFn) -> Case:
    codes = st.tuples(*(st.sampled_from([*range(size), *range(size), UNKNOWN]) for size in SIZES))
    rows = [(0, 0, 0), *draw(st.lists(codes, min_size=1, max_size=24))]
    others = len(rows) - 1
    specs = st.sampled_from(["each", "hair=red", "male=~", "smile=1,male=0", "all"])
    return Case(
        rows=rows,
        eligible=[True, *draw(st.lists(st.sampled_from([True, True, False]), min_size=others, max_size=others))],
        domains=draw(st.lists(specs, max_size=2)),
        with_real=draw(st.booleans()),
        attributes=draw(st.sampled_from(["hair", "male,hair", "smile,male", "hair,male,smile"])),
        to=draw(st.sampled_from(["auto", "minority", "not minority", "all", "4", "9", "0.7"])),
        limit=draw(st.sampled_from([None, None, 1, 2, 3])),
        strict=draw(st.integers(0, 8)),
        broken=draw(st.sets(st.integers(0, len(rows) - 1), max_size=3)),
        size=draw(st.integers(1, 9)),
        looks=draw(st.sampled_from([1, 1, 2, 3])),
    )


def asked_looks(plan: Plan) -> list[tuple[int, tuple[int, ...], int]]:
    return [(item.row, item.target, item.look) for item in plan.items() if item.is_synthetic]


UNREAD = Case(
    rows=[*[(0, 0, 0)] * 6, (1, 0, 0), (0, 0, 1)],
    eligible=[True] * 8,
    domains=[],
    with_real=False,
    attributes="hair",
    to="not minority",
    limit=None,
    strict=0,
    broken={0},
    size=1,
)
"""Nothing is wanted of the broken image."""


@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=cases())
@example(case=UNREAD)
def test_counts_are_reached_or_the_sources_are_used_up(case: Case) -> None:
    plan, tally = case.filled()
    balance = plan.filled
    # Counted anew, in words.
    there: Counter[tuple[int, ...]] = Counter()
    uses: Counter[int] = Counter()
    columns = balance.cells.attributes
    # An image of which nothing was wanted was not read, and nobody knows that it is broken.
    known_broken = case.broken & {item.row for item in plan.items()}
    for row, codes in enumerate(case.rows):
        there[tuple(codes[c] for c in columns)] += case.eligible[row] and row not in known_broken
    for item in plan.items():
        if item.is_synthetic and item.row not in case.broken and case.agreement(item) >= case.strict / 8:
            there[tuple(item.target[c] for c in columns)] += 1
            uses[item.row] += 1
    asked = asked_looks(plan)
    assert len(set(asked)) == len(asked)
    in_rounds = {
        (item.row, item.target) for segment_start in plan.starts[1:2] for item in plan.items(segment_start)
    }
    if case.limit is not None:
        by_domains = Counter(row for row, target, _ in asked if (row, target) not in in_rounds)
        assert all(n <= max(case.limit, by_domains[row]) for row, n in uses.items())
    for cell, (values, wanted) in enumerate(
        zip(balance.cells.values.tolist(), balance.wanted.tolist(), strict=True)
    ):
        assert tally.there[cell] == there[tuple(values)]
        if wanted == LEFT_ALONE or there[tuple(values)] >= wanted:
            continue
        for row, codes in enumerate(case.rows):
            target = list(codes)
            for column, value in zip(columns, values, strict=True):
                target[column] = value
            free = case.limit is None or uses[row] < case.limit
            if case.eligible[row] and row not in case.broken and free and tuple(target) != codes:
                for look in range(1, case.looks + 1):
                    assert (row, tuple(target), look) in asked, "a source was left out"


@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=cases())
def test_the_nearest_come_first(case: Case) -> None:
    """What a round takes from afar leaves none nearer, but for those that are at their limit or asked already."""
    plan = case.plan()
    if not plan.segments:
        return
    columns = plan.filled.cells.attributes
    own = [tuple(codes[c] for c in columns) for codes in case.rows]
    farthest: Counter[tuple[int, ...]] = Counter()
    uses = Counter(row for row, _, _ in asked_looks(plan))
    asked = {(row, target) for row, target, _ in asked_looks(plan)}
    for item in plan.items(plan.starts[1]):
        cell = tuple(item.target[c] for c in columns)
        assert case.eligible[item.row]
        assert cell != own[item.row]
        assert [a for a, b in zip(item.target, case.rows[item.row], strict=True) if a != b]
        farthest[cell] = max(farthest[cell], distance(cell, own[item.row]))
    for (cell, most), row in itertools.product(farthest.items(), range(len(case.rows))):
        if case.eligible[row] and 0 < distance(cell, own[row]) < most:
            target = list(case.rows[row])
            for column, value in zip(columns, cell, strict=True):
                target[column] = value
            at_limit = case.limit is not None and uses[row] >= case.limit
            assert (row, tuple(target)) in asked or at_limit


def test_a_source_is_used_again_once_all_are_used() -> None:
    case = Case(
        rows=[(0, 0, 0)] * 3 + [(1, 0, 0)],
        eligible=[True] * 4,
        domains=[],
        with_real=False,
        attributes="hair",
        to="6",
        limit=None,
        strict=0,
        broken=set(),
        size=4,
        looks=3,
    )
    plan, tally = case.filled()
    looks: dict[int, list[int]] = defaultdict(list)
    for item in plan.items():
        looks[item.target[0]].append(item.look)
    # Black has three images and one source, blond one and three, red none and four.
    assert {hair: sorted(found) for hair, found in looks.items()} == {
        0: [1, 2, 3],
        1: [1, 1, 1, 2, 2],
        2: [1, 1, 1, 1, 2, 2],
    }
    assert tally.there.tolist() == [6, 6, 6]


def distance(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=cases(), data=st.data())
def test_any_interruption_finds_the_same_rounds(case: Case, data: st.DataObject) -> None:
    """Another process reads the records in any order, and what was dropped in the end is a candidate still."""
    plan, _ = case.filled()
    again, first = pickle.loads(pickle.dumps(case.plan())), 0
    new = case.tally(again)
    for _ in plan.segments[len(again.segments) :]:
        numbers = data.draw(st.permutations(range(first, again.shards(case.size))))
        for index in numbers:
            new.add(again, case.record(plan, index))
        segment = RoundPlanner(again).next_round(
            again, there=new.there, kept=new.kept, failed=new.failed, uses=new.uses
        )
        assert segment is not None
        first, again = again.shards(case.size), again.extended(segment)
    assert list(again.items()) == list(plan.items())
    assert again.fingerprint() == plan.fingerprint()
    assert [*itertools.chain(*(again.shard(i, case.size) for i in range(again.shards(case.size))))] == [
        *plan.items()
    ]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=cases())
def test_the_surplus_is_the_worst(case: Case) -> None:
    plan, tally = case.filled()
    records = [case.record(plan, index) for index in range(plan.shards(case.size))]
    dropped = select(records, [tally.surplus])
    after = [record.without(dropped.get(record.index, {})) for record in records]
    assert select(after, [tally.surplus]) == dropped, "what is dropped stays a candidate"
    cells, first = plan.filled.cells, plan.shards(case.size, segments=0)
    kept: dict[int, list[float]] = defaultdict(list)
    lost: dict[int, list[float]] = defaultdict(list)
    for record in after:
        for where, rows in ((kept, record.rows), (lost, [each.row for each in record.rejected])):
            for row in rows:
                if row.is_synthetic and record.index >= first:
                    cell = int(cells.of(np.array([row.codes], dtype=np.int16))[0])
                    where[cell].append(row.agreement or 0.0)
    for cell, state in enumerate(tally.states()):
        assert max(lost[cell], default=0) <= min(kept[cell], default=1)
        assert state.after == tally.there[cell] - len(lost[cell])
        assert state.before == tally.real[cell]
        if state.wanted is None:
            assert not lost[cell]
        else:
            assert state.after <= state.wanted or not kept[cell]
            assert state.after >= state.wanted or not lost[cell]


# ---- by hand ----


def lopsided(**changes: object) -> Case:
    """Three black-haired, one blond, no red."""
    rows = [(0, 0, 0), (0, 0, 1), (0, 1, UNKNOWN), (1, 1, 1), (1, 0, 0)]
    eligible = [True, True, True, True, False]
    plain: dict[str, object] = {
        "rows": rows,
        "eligible": eligible,
        "domains": [],
        "with_real": True,
        "attributes": "hair",
        "to": "auto",
        "limit": None,
        "strict": 0,
        "broken": set(),
        "size": 4,
    }
    return Case(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_first_round_asks_for_what_is_missing() -> None:
    plan = lopsided().plan()
    assert plan.starts == (0, 5, 10)
    assert (plan.n_real, plan.n_synthetic, plan.shards(4)) == (5, 5, 4)
    assert [plan.shard_range(index, 4) for index in range(4)] == [(0, 4), (4, 5), (5, 9), (9, 10)]
    assert planned_translations(plan).tolist() == [0, 2, 3]
    assert [(state.before, state.wanted, state.after) for state in planned_states(plan)] == [
        (3, None, 3),
        (1, 3, 3),
        (0, 3, 3),
    ]
    assert plan.label_counts()["hair"] == {"black": (3, 3), "blond": (1, 3), "red": (0, 3)}
    # All else stays, unknown labels, too.
    assert {(item.row, item.target[1:]) for item in plan.items(5)} <= {
        (r, c[1:]) for r, c in enumerate(lopsided().rows)
    }


def test_what_the_domains_ask_for_counts_and_is_not_asked_again() -> None:
    plan = lopsided(domains=["hair=red"], to="4").plan()
    assert planned_states(plan)[2].after == 4
    assert plan.filled.domains.tolist() == [0, 0, 4]
    assert planned_translations(plan).tolist() == [1, 3, 4]
    short = lopsided(domains=["hair=red"], to="5").plan()
    assert [state.sources_used_up for state in planned_states(short)] == [True, True, True]


def test_a_limit_is_shared_by_combinations() -> None:
    plan = lopsided(limit=1, to="3", rows=[(0, 0, 0)] * 6, eligible=[True] * 6).plan()
    assert planned_translations(plan).tolist() == [0, 3, 3]
    assert max(Counter(row for row, _, _ in asked_looks(plan)).values()) == 1
    fair = lopsided(limit=1, to="6", rows=[(0, 0, 0)] * 6, eligible=[True] * 6).plan()
    assert planned_translations(fair).tolist() == [0, 3, 3]


def test_the_next_round_allows_for_what_was_thrown_out() -> None:
    case = lopsided(rows=[(0, 0, 0)] * 60, eligible=[True] * 60, attributes="male", to="20")
    plan = case.plan()
    assert planned_translations(plan).tolist() == [0, 20]
    tally = case.tally(plan)
    for index in range(plan.shards(4)):
        record = case.record(plan, index)
        synthetic = [place for place, row in enumerate(record.rows) if row.is_synthetic][:1]
        kept = [place for place, row in enumerate(record.rows) if not row.is_synthetic] + synthetic
        rows = [record.rows[place] for place in kept]
        positions = [record.positions[place] for place in kept]
        tally.add(
            plan,
            ShardRecord(index=index, shape=None, rows=rows, positions=positions, failures=[], files={}),
        )
    assert tally.kept.tolist() == [0, 5]
    segment = RoundPlanner(plan).next_round(
        plan, there=tally.there, kept=tally.kept, failed=tally.failed, uses=tally.uses
    )
    assert segment is not None
    assert len(segment) == 40  # 15 missing; 5 of 20 were kept, so 15 * 22 / 6 = 55, but there are only 40 left.


def test_shuffled_otherwise_for_each_combination_and_plan() -> None:
    rows = [(0, 0, 0)] * 40
    plan = lopsided(rows=rows, eligible=[True] * 40, to="10").plan()
    by_cell = {
        cell: [item.row for item in plan.items(plan.starts[1]) if item.target[0] == cell] for cell in (1, 2)
    }
    assert by_cell[1] != by_cell[2]
    assert by_cell[1] != list(range(10))
    other = lopsided(rows=[*rows, (0, 0, 1)], eligible=[True] * 41, to="10").plan()
    assert [item.row for item in other.items(other.starts[1]) if item.target[0] == 1] != by_cell[1]


def test_surplus_by_hand() -> None:
    """One real image and eight translations of which the last six are of rounds; five images are wanted."""
    agreement = np.array([0.1, 0.2, 0.9, 0.3, np.nan, 0.5, 0.5, 0.8])
    candidates = Candidates(
        shards=np.array([0, 0, 1, 1, 1, 2, 2, 2]),
        positions=np.array([4, 5, 0, 1, 2, 0, 1, 2]),
        sources=np.arange(8),
        domains=np.array([1, 1, 1, 1, 1, 1, 1, 0]),
        agreement=agreement,
        realism=np.full(8, np.nan),
        preserved=np.full(8, np.nan),
        targets=[("train", (0, 0, 0)), ("train", (1, 0, 0))],
    )
    cells = BalanceRequest.parse(attributes="hair", space=SPACE).cells
    rule = DropSurplus(cells, wanted=np.array([0, 5, LEFT_ALONE]), real=np.array([0, 1, 0]), first_shard=1)
    assert rule(candidates) == {
        3: "surplus: more than 5 of its combination",
        4: "surplus: more than 5 of its combination",
        6: "surplus: more than 5 of its combination",
        7: "surplus: more than 0 of its combination",
    }
    # What --domains asked for stays, even if it is too much by itself.
    none = DropSurplus(cells, wanted=np.array([0, 1, LEFT_ALONE]), real=np.array([0, 1, 0]), first_shard=1)
    assert sorted(none(candidates)) == [2, 3, 4, 5, 6, 7]
    alone = DropSurplus(cells, wanted=np.full(3, LEFT_ALONE), real=np.array([9, 9, 9]), first_shard=0)
    assert alone(candidates) == {}


def test_a_fingerprint_knows_the_request_and_not_the_rounds() -> None:
    plan, _ = lopsided(strict=4).filled()
    assert plan.fingerprint() == lopsided(strict=0).plan().fingerprint()
    others: list[dict[str, object]] = [
        {"to": "9"},
        {"attributes": "male"},
        {"limit": 1},
        {"domains": ["hair=red"]},
    ]
    found = {lopsided(**change).plan().fingerprint() for change in others}
    assert len(found | {plan.fingerprint()}) == 5


def test_records_of_other_rounds_are_refused() -> None:
    case = lopsided()
    plan, other = case.plan(), lopsided(attributes="male", to="6").plan()
    with pytest.raises(OutputError, match="shard 2 holds other translations than its round asks for"):
        case.tally(plan).add(plan, case.record(other, 2))
    strangers = RoundCounts(plan, ["a", "b", "c", "d", "e"], 4)
    with pytest.raises(OutputError, match=r"the source 'id\d', which the manifest does not have"):
        strangers.add(plan, case.record(plan, 2))


def test_a_model_of_one_direction_is_asked_for_nothing_else() -> None:
    space = LabelSpace(attributes=(Attribute(name="animal", kind="categorical", values=("horse", "zebra")),))
    codes = np.array([[0], [0], [1]], dtype=np.int16)
    plan = make_plan(
        codes, space=space, request=DomainRequest(), eligible=np.ones(3, dtype=np.bool_), with_real=False
    )
    request = BalanceRequest.parse(attributes="animal", space=space)
    assert planned_translations(with_balance(plan, request, only=1)).tolist() == [0, 1]
    with pytest.raises(DomainError, match=r"animal=zebra lacks 1 images, .* into horse"):
        with_balance(plan, request, only=0)
    assert (
        with_balance(plan, BalanceRequest.parse(attributes="animal", to="2", space=space), only=1).filled.wanted[0]
        == -1
    )
