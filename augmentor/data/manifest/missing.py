"""Listed images that are not where their paths say, and the files of the same name that are."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pandas as pd

from augmentor.data.manifest.reading import stem_and_suffix
from augmentor.errors import counted
from augmentor.storage import RemotePath, is_there

_MOST_FILES = 200_000
"""Files below the table's folder that are looked at."""

_MOST_CAUSES = 3


@dataclass(frozen=True, kw_only=True)
class _Cause:
    """What a written path and the file's own differ in.

    Args:
        prefix: the folders as written and as they are, each "" or ending in "/"; equal ones are left out.
        suffix: the suffix as written, "" for none, and as it is; None where they are equal.
        name: "case" or "Unicode form" of the file's name, or "".
    """

    prefix: tuple[str, str] | None
    suffix: tuple[str, str] | None
    name: str

    @property
    def flags(self) -> list[str]:
        """The options that read the paths so."""
        flags = []
        if self.prefix is not None:
            flags += ["--image-prefix", "=".join(self.prefix)]
        if self.suffix is not None:
            flags += ["--image-suffix", "=".join(self.suffix) if self.suffix[0] else self.suffix[1]]
        return flags


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Missing images whose files were found under another path.

    Args:
        files: written path -> the file's, both relative to the table's folder.
        causes: what they differ in, and what to do, in a sentence or two; the most frequent ones.
    """

    files: dict[str, str]
    causes: tuple[str, ...]


def look_elsewhere(table: Path, written: Iterable[str]) -> Elsewhere:
    """Look once for the files of missing images, below the table's folder; a URL is not searched.

    A file is the one that is meant if it has the image's name, up to its suffix and the case, and no other has as
    many of the folders before it in common.

    Args:
        table: the manifest's file.
        written: the paths of the missing images, "/" between folders.
    """
    paths = list(dict.fromkeys(written))
    if not paths or isinstance(table, RemotePath):
        return Elsewhere(files={}, causes=())
    by_name: dict[str, list[str]] = {}
    for file in _files_below(table.parent):
        by_name.setdefault(_name_key(file), []).append(file)
    meant = {path: _meant(path, by_name.get(_name_key(path), [])) for path in paths}
    found = {path: file for path, file in meant.items() if file is not None}
    counts: Counter[_Cause] = Counter()
    example: dict[_Cause, str] = {}
    for path, file in found.items():
        cause = _cause(path, file)
        counts[cause] += 1
        example.setdefault(cause, path)
    causes = [
        _sentence(cause, count, example[cause], found[example[cause]])
        for cause, count in counts.most_common(_MOST_CAUSES)
    ]
    if len(counts) > _MOST_CAUSES:
        rest = sum(count for _, count in counts.most_common()[_MOST_CAUSES:])
        causes.append(f"{counted(rest, 'more image')} in {len(counts) - _MOST_CAUSES:,} other ways")
    return Elsewhere(files=found, causes=tuple(causes))


def in_stored_form(root: Path, paths: pd.Series[str]) -> pd.Series[str]:
    """Return relative paths in the Unicode form (NFC or NFD) of their files where only the other is on the disk.

    A Mac and what it packs may hold the one form, a table the other. Only paths that have two forms are looked up.
    """
    if isinstance(root, RemotePath) or "".join(paths).isascii():
        return paths
    return pd.Series([_stored_form(root, path) for path in paths], index=paths.index, dtype=str)


def _stored_form(root: Path, path: str) -> str:
    forms = [] if path.isascii() else [unicodedata.normalize(form, path) for form in ("NFC", "NFD")]
    if len(set(forms)) < 2 or is_there(root / path):
        return path
    return next((form for form in forms if is_there(root / form)), path)


def _files_below(root: Path) -> Iterable[str]:
    """Yield the files below a folder as "folder/name", hidden ones and links to folders left out."""
    count = 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(place).relative_to(root)
        for name in names:
            count += 1
            if count > _MOST_FILES:
                return
            if not name.startswith("."):
                yield (base / name).as_posix()


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _name_key(path: str) -> str:
    return _fold(stem_and_suffix(path.rpartition("/")[2])[0])


def _meant(path: str, files: Sequence[str]) -> str | None:
    """Return the one file that shares most folders, from the last one on, with a path."""
    folders = path.split("/")[:-1]
    scores = [_common_tail(folders, file.split("/")[:-1], _fold) for file in files]
    best = [file for file, score in zip(files, scores, strict=True) if score == max(scores)]
    same = [file for file in best if stem_and_suffix(file)[1] == stem_and_suffix(path)[1]]
    best = same if len(best) > 1 else best
    return best[0] if len(best) == 1 else None


def _common_tail(one: Sequence[str], other: Sequence[str], form: Callable[[str], str] = str) -> int:
    """Return how many parts are equal, from the last one on, in the form that `form` gives them."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return len(list(takewhile(lambda pair: form(pair[0]) == form(pair[1]), pairs)))


def _cause(path: str, file: str) -> _Cause:
    folders, name = path.split("/")[:-1], path.rsplit("/", maxsplit=1)[-1]
    real_folders, real_name = file.split("/")[:-1], file.rsplit("/", maxsplit=1)[-1]
    common = _common_tail(folders, real_folders)
    before, after = (
        "".join(f"{folder}/" for folder in each[: len(each) - common]) for each in (folders, real_folders)
    )
    (stem, suffix), (real_stem, real_suffix) = stem_and_suffix(name), stem_and_suffix(real_name)
    spelt = ""
    if stem != real_stem:
        composed = unicodedata.normalize("NFC", stem) == unicodedata.normalize("NFC", real_stem)
        spelt = "Unicode form" if composed else "case"
    return _Cause(
        prefix=(before, after) if before != after else None,
        suffix=(suffix, real_suffix) if suffix != real_suffix else None,
        name=spelt,
    )


def _sentence(cause: _Cause, count: int, path: str, file: str) -> str:
    how = [
        *(["in another folder"] if cause.prefix else []),
        *(["with another suffix"] if cause.suffix else []),
        *([f"under a name of another {cause.name}"] if cause.name else []),
    ]
    fixes = [
        *([shlex.join(cause.flags)] if cause.flags else []),
        *(["the files' own names"] if cause.name else []),
    ]
    there = f"{counted(count, 'missing image')} {'is' if count == 1 else 'are'} there {' and '.join(how)}"
    return f"{there}: {path!r} is {file!r}. To read them, give {' and '.join(fixes)}"
