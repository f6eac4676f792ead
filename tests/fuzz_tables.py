"""Manifests, `--domains` SPECs and recipes out of a random generator, sensible ones and others; for `fuzz.py`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from random import Random

import tomli_w
from pydantic import BaseModel

from augmentor.training.recipe import Recipe
from stargan.labels import LabelSpace

VALUES = (
    *("black", "blond", "brown", "Blond", "brün", "日本", "a b", "it's", 'say "hi"', "ß", "x\u0301", "-x", "+y"),
    *("@z", "<b>", "a/b", "..", "2024-01-01", "real", "unknown", "none", "n/a", "each", "all", "train"),
)
"""What a category may be called."""

TAKEN = (
    *("path", "id", "split", "group", "dataset", "image", "file_name", "Path", "ID", "key", "is_synthetic"),
    *("source_id", "source_path", "changed", "agreement", "realism"),
)
"""Column names that mean something else than an attribute."""

NUMBERS = (
    *("0", "1", "-1", "2", "3", "10", "1.0", "0.0", "3.0", "0.5", "007", "1e999", "-1e5", "1_000", "0x10"),
    *("\u0663", "½", "∞", "1" * 400),
)
NASTY = (
    *("", " ", "\t", "nan", "NaN", "*", "~", "a|b", "a=b", "a,b", "a;b", 'a"b', '"', "'", "a\nb", "a\rb", "\0"),
    *("../../x", "/etc/passwd", "C:\\x", ".", "=1+1", "+1", "@x", "<script>", "&lt;", "%s", "{0}", "tset"),
    *("\x1b[31m", "\u202e", "\ufeff", "\u200b", "\x85", "x" * 300, "\U0001f600"),
    *("__", "a__b", "_", "con", "nul.txt"),
)
WORDS = (*VALUES, *TAKEN, *NUMBERS, *NASTY)
FIXED = {
    "split": ("train", "train", "val", "test", "Valid", "training"),
    "group": ("ann", "bob", "", "日本", "g1"),
    "dataset": ("one", "two", ""),
}


def manifest_bytes(random: Random) -> bytes:
    """Return a table: mostly one that could be meant, in any of the ways in which tables are spoilt."""
    rows = random.choice((0, 1, 2, 5, 5, 12, 12, 30))
    header, columns = ["path"], [_paths(random, rows)]
    for name in ("id", "split", "group", "dataset"):
        if random.random() < 0.15:
            header.append(name)
            columns.append(_ids(random, rows) if name == "id" else _column(random, rows, FIXED[name]))
    names = random.sample(("hair", "male", "smile", "Hair", "日本", "a b", "<i>", "../n"), random.randint(1, 4))
    for name in names:
        header.append(name if random.random() < 0.97 else random.choice(WORDS))
        columns.append(_column(random, rows, _values(random)))
    cells = [header, *(list(row) for row in zip(*columns, strict=True))]
    _spoil_cells(cells, random)
    return _spoil_bytes(_written(cells, random), random)


def _paths(random: Random, rows: int) -> list[str]:
    if random.random() < 0.1:
        return random.choices(WORDS, k=rows)
    folder = random.choice(("", "images/", "./", "../", "a b/", "日本\\", "/abs/"))
    return [f"{folder}{random.choice(WORDS) if random.random() < 0.1 else ''}{i}.png" for i in range(rows)]


def _ids(random: Random, rows: int) -> list[str]:
    words = [f"{random.choice(WORDS)}{i}" if random.random() < 0.2 else f"face{i}" for i in range(rows)]
    return [random.choice(words) if random.random() < 0.01 else word for word in words]


def _values(random: Random) -> Sequence[str]:
    kind = random.random()
    if kind < 0.4:
        return random.choice((("0", "1"), ("-1", "1"), ("true", "False"), ("yes", "NO"), ("1.0", "0.0")))
    if kind < 0.85:
        return random.sample(VALUES, random.randint(1, 5))
    if kind < 0.95:
        return random.sample(NUMBERS, random.randint(1, 5))
    return random.sample(WORDS, random.randint(1, 4))


def _column(random: Random, rows: int, values: Sequence[str]) -> list[str]:
    blank = random.choice((0.0, 0.0, 0.0, 0.2, 0.2, 1.0)) if values is not FIXED["split"] else 0.0
    return ["" if random.random() < blank else random.choice(values) for _ in range(rows)]


def _spoil_cells(cells: list[list[str]], random: Random) -> None:
    if random.random() < 0.85:
        return
    for _ in range(random.randint(1, 3)):
        row = random.choice(cells)
        match random.randrange(5):
            case 0:
                row.append(random.choice(NASTY))
            case 1 if row:
                row.pop()
            case 2:
                cells.append(list(row))
            case 3:
                row[:] = [""] * len(row)
            case _ if row:
                row[random.randrange(len(row))] = random.choice(NASTY)


def _written(cells: list[list[str]], random: Random) -> bytes:
    text = io.StringIO()
    text.write(random.choice(("", "", "", "", "\n", "\r\n\n", " \n")))
    writer = csv.writer(
        text,
        delimiter=random.choice(",,,,,,,,,,\t\t;|"),
        lineterminator=random.choice(("\n",) * 5 + ("\r\n",) * 3 + ("\r",)),
        quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    )
    writer.writerows(cells)
    encoding = random.choice(("utf-8",) * 30 + ("utf-8-sig",) * 6 + ("utf-16", "latin-1", "utf-32", "cp1252"))
    return text.getvalue().encode(encoding, errors="replace")


def _spoil_bytes(data: bytes, random: Random) -> bytes:
    if random.random() < 0.85 or not data:
        return data
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(spoilt) + 1)
        match random.randrange(4):
            case 0:
                del spoilt[place:]
            case 1:
                del spoilt[place : place + random.randint(1, 20)]
            case 2:
                spoilt[place:place] = random.choice(
                    (b'"', b"\0", b"\xff", b"\r", b"\n", b",", b"\xc3", b"\xef\xbb\xbf")
                )
            case _:
                spoilt[place : place + 1] = random.randbytes(1)
    return bytes(spoilt)


def spec_text(random: Random, space: LabelSpace) -> str:
    """Return a `--domains` SPEC: mostly of the names and values of a label space, with slips of every kind."""
    if random.random() < 0.1:
        return random.choice(("each", "each", "all", "all", " each ", "All", "each,all", "", " ", ",", "=", "|"))
    parts = []
    for attribute in random.sample(space.attributes, random.randint(1, len(space))):
        name = attribute.name if random.random() < 0.97 else random.choice(WORDS)
        words = [*attribute.values, "*", "~"] + ["yes", "False"] * (attribute.kind == "binary")
        listed = [
            random.choice(words) if random.random() < 0.98 else random.choice(WORDS)
            for _ in range(random.randint(1, 3))
        ]
        equals = "=" if random.random() < 0.97 else random.choice((" = ", "==", "", ":"))
        parts.append(f"{name}{equals}{'|'.join(listed)}")
    if random.random() < 0.03:
        parts.append(random.choice(parts))
    text = ",".join(parts)
    if random.random() < 0.1 and text:
        place = random.randrange(len(text))
        text = text[:place] + random.choice((*NASTY, "=", "|", ",")) + text[place + random.randint(0, 3) :]
    return text


SECTIONS = {
    name: tuple(field.annotation.model_fields)
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
DEFAULTS = Recipe().model_dump(mode="json", exclude_none=True)


def recipe_bytes(random: Random) -> bytes:
    """Return a recipe: some keys of some sections, most with values of the right kind."""
    content: dict[str, object] = {}
    for section in random.sample(sorted(SECTIONS), random.randint(0, 3)):
        keys = random.sample(SECTIONS[section], min(len(SECTIONS[section]), random.randint(0, 4)))
        content[section] = {
            key if random.random() < 0.98 else key[:-1]: _setting(random, DEFAULTS[section].get(key))
            for key in keys
        }
    if random.random() < 0.1:
        content["attributes"] = {random.choice(WORDS): {"one_hot": random.sample(WORDS, random.randint(0, 3))}}
    if random.random() < 0.05:
        content[random.choice(WORDS)] = _setting(random, None)
    return _spoil_bytes(tomli_w.dumps(content).encode(), random)


def _setting(random: Random, default: object) -> object:
    """Return a value: near the default, or anything."""
    if random.random() < 0.8:
        match default:
            case bool():
                return not default
            case int():
                return random.choice((default, default + 1, max(1, default // 2), 0, -1, 2**40))
            case float():
                return random.choice((default, default / 2, 0.0, 1.0, 1e-9, 1e9, -1.0))
            case None:
                return random.choice((1, 0.5, ["hair"], "path"))
            case _:
                return default
    numbers = (True, 0, -1, 3, 2**70, 0.0, -0.5, 1e300, float("nan"), float("inf"))
    return random.choice((*numbers, "", "auto", [], [1, 2], [[1]], {}, *NASTY))
