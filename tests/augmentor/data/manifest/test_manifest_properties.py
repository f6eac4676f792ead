"""Any table reads back as it was meant, or is refused in words; never is there another error."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.data.manifest import SPLITS, Manifest, key_stems, read_manifest, refuse_split_leaks
from augmentor.errors import AugmentorError
from augmentor.planning.domains import parse_domains
from augmentor.planning.plan import make_plan
from stargan.labels import UNKNOWN, LabelSpace

quick = settings(max_examples=60, deadline=None, derandomize=True)

SPELLINGS = {"0/1": "01", "-1/1": ("-1", "1"), "true/false": ("False", "TRUE"), "yes/no": ("no", "Yes")}
WORDS = (
    *("black", "blond", "brün", "a b", "it's", 'say "hi"', "ß", "日本", "x\u0301"),
    *("-x", "+cmd", "@cmd", "<b>", "../up", "/root"),
)
NAMES = (*WORDS, "2019", "1.0")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifest") / "manifest.csv"


# --- tables that mean something -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of an attribute: what each row's cell says, and what that means ("" = unknown)."""

    name: str
    cells: list[str]
    meanings: list[str]


@dataclass(frozen=True)
class Sheet:
    """A table that can be read, and how it is written down."""

    paths: list[str]
    splits: list[str] | None
    columns: list[Column]
    delimiter: str
    quoted: bool
    line_end: str
    mark: bool
    blank_lines: int

    def bytes(self) -> bytes:
        text = io.StringIO()
        text.write(self.line_end * self.blank_lines)
        quoting: Literal[0, 1] = csv.QUOTE_ALL if self.quoted else csv.QUOTE_MINIMAL
        writer = csv.writer(text, delimiter=self.delimiter, quoting=quoting, lineterminator=self.line_end)
        fixed = [self.paths] if self.splits is None else [self.paths, self.splits]
        head = ["path"] if self.splits is None else ["path", "split"]
        writer.writerow(head + [column.name for column in self.columns])
        writer.writerows(zip(*fixed, *(column.cells for column in self.columns), strict=True))
        return text.getvalue().encode("utf-8-sig" if self.mark else "utf-8")


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    n = draw(st.integers(1, 12))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    columns = [draw(columns_of(name, n)) for name in names]
    return Sheet(
        paths=[f"{draw(st.sampled_from(WORDS))}/{i}.png" for i in range(n)],
        splits=draw(st.none() | st.lists(st.sampled_from(SPLITS), min_size=n, max_size=n)),
        columns=columns,
        delimiter=draw(st.sampled_from(",\t")),
        quoted=draw(st.booleans()),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        mark=draw(st.booleans()),
        blank_lines=draw(st.integers(0, 2)),
    )


@st.composite
def columns_of(draw: st.DrawFn, name: str, n: int) -> Column:
    family = draw(st.sampled_from([None, None, *SPELLINGS]))
    if family is None:
        options = {
            word: word for word in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5, unique=True))
        }
        if draw(st.booleans()):
            options = {f"{number}.0": str(number) for number in range(2, 2 + len(options))}
    else:
        options = dict(zip(SPELLINGS[family], "01", strict=True))
    options |= {"": "", " ": ""}
    cells = draw(st.lists(st.sampled_from(sorted(options)), min_size=n, max_size=n))
    cells[0] = next(iter(options))  # A column without a known cell is no attribute.
    return Column(name, cells, [options[cell] for cell in cells])


@quick
@given(sheet=sheets())
def test_a_table_that_means_something_reads_back(sheet: Sheet, file: Path) -> None:
    file.write_bytes(sheet.bytes())
    manifest = read_manifest(file)
    assert manifest.space.names == tuple(column.name for column in sheet.columns)
    for i, codes in enumerate(manifest.codes.tolist()):
        meant = {column.name: column.meanings[i] for column in sheet.columns if column.meanings[i]}
        assert manifest.space.domain(codes) == meant
    assert manifest.rows["path"].tolist() == sheet.paths
    assert manifest.rows["split"].tolist() == (sheet.splits or ["train"] * len(sheet.paths))
    # The same cells read against the label space that they gave, as expand reads them.
    again = read_manifest(file, space=manifest.space)
    assert np.array_equal(again.codes, manifest.codes)
    assert again.rows.equals(manifest.rows)


def test_a_number_may_be_a_columns_name(file: Path) -> None:
    # Found by the fuzz run: pandas makes numbers of a column in which the header is a number, too.
    file.write_text("path,2019,7\n0.png,0,007\n1.png,1,8\n2.png,,\n")
    manifest = read_manifest(file)
    assert [manifest.space.domain(codes) for codes in manifest.codes.tolist()] == [
        {"2019": "0", "7": "007"},
        {"2019": "1", "7": "8"},
        {},
    ]


# --- tables that need not -------------------------------------------------------------------------------------

nasty_text = st.sampled_from(
    [
        *("", " ", "nan", "0", "1", "-1", "1.0", "2", "3.0", "1e999", "-1e5", "1_000", "0x10", "\u0663", "½", "∞"),
        *("yes", "no", "TRUE", "black", "blond", "train", "val", "tset"),
        *("path", "id", "split", "group", "dataset", "image", "file_name", "Path", "key"),
        *("a|b", "a=b", "*", "~", "a,b", "a;b", "a\tb", 'a"b', "a\nb", "a\rb", "\0", "\x1b[31m"),
        *("../../x", "/etc/passwd", "C:\\x", "=cmd()", "<script>", "x" * 300, "\u202e", "\ufeff"),
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@st.composite
def any_bytes(draw: st.DrawFn) -> bytes:
    width = draw(st.integers(1, 5))
    header = draw(st.lists(nasty_text, min_size=width, max_size=width))
    if draw(st.integers(0, 3)):
        header[0] = "path"
    rows = draw(st.lists(st.lists(nasty_text, min_size=width - 1, max_size=width + 1), max_size=6))
    text = io.StringIO()
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    writer = csv.writer(text, delimiter=draw(st.sampled_from(",,,\t;")), lineterminator=line_end)
    writer.writerows([header, *([f"{i}.png", *row[1:]] if i % 2 else row for i, row in enumerate(rows))])
    data = bytearray(text.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))))
    for _ in range(draw(st.integers(0, 2)) if data else 0):
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def check(manifest: Manifest) -> None:
    """Hold a manifest to what everything behind it relies on."""
    space, codes, rows = manifest.space, manifest.codes, manifest.rows
    n, a = codes.shape
    assert (n, a) == (len(rows), len(space))
    assert n >= 1
    assert a >= 1
    assert codes.min() >= UNKNOWN
    assert (codes.max(axis=0) < [len(attribute.values) for attribute in space.attributes]).all()
    assert rows["id"].is_unique
    assert set(rows["split"]) <= set(SPLITS)
    assert not (rows["path"] == "").any()
    stems = key_stems(rows)
    assert stems.str.lower().is_unique
    assert stems.str.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}").all()
    assert LabelSpace.from_json(space.to_json()) == space
    plan = make_plan(
        codes,
        space=space,
        request=parse_domains(["each"], space),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    assert plan.n_real == n
    assert sum(1 for _ in plan.items()) == len(plan)


def read_or_refuse(
    file: Path, *, attributes: Sequence[str] | None = None, one_hot: Mapping[str, Sequence[str]] | None = None
) -> AugmentorError | None:
    """Return the refusal, or None where the manifest was read and holds what it should."""
    try:
        manifest = read_manifest(file, attributes=attributes, one_hot=one_hot)
        check(manifest)
        refuse_split_leaks(manifest)
    except AugmentorError as error:
        return error
    return None


@quick
@given(data=any_bytes())
def test_any_table_is_read_or_refused(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    refused = read_or_refuse(file)
    assert refused is None or (refused.exit_code, str(file) in str(refused)) == (2, True)


@quick
@given(
    sheet=sheets(),
    attributes=st.none() | st.lists(st.sampled_from(WORDS) | nasty_text, max_size=3),
    one_hot=st.dictionaries(nasty_text, st.lists(st.sampled_from(WORDS) | nasty_text, max_size=3), max_size=2),
)
def test_any_choice_of_attributes_is_read_or_refused(
    sheet: Sheet, attributes: Sequence[str] | None, one_hot: dict[str, list[str]], file: Path
) -> None:
    file.write_bytes(sheet.bytes())
    refused = read_or_refuse(file, attributes=attributes, one_hot=one_hot)
    assert refused is None or str(file) in str(refused)
