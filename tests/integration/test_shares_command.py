"""`augmentor expand --shards I/N` and `augmentor merge`: in any order, the output of one run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.expansion.shares import Share
from augmentor.outputs.paths import paths_of
from tests.integration.killing import committed, content

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

DYING = Path(__file__).with_name("dying.py")
SHARDS = 14
"""Shards of 8 of the 106 items that `--domains all` asks for."""

FORMS = {
    "folder": ("out", ()),
    "hdf5": ("out.h5", ()),
    "chosen": ("out", ("--judge", "JUDGE", "--keep-best", "2")),
    "packs": ("out", ("--format", "webdataset", "--judge", "JUDGE", "--keep-best", "2")),
}


@pytest.fixture(scope="module", params=FORMS)
def whole(
    request: pytest.FixtureRequest,
    augmentor: Augmentor,
    small: Small,
    model: Path,
    judge: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, list[str], dict[str, str]]:
    """The name of an output that was made in one run, the command without --out, and what it holds."""
    name, flags = FORMS[request.param]
    words = ["expand", str(small.manifest), "--model", str(model), "--domains", "all", "--shard-size", "8"]
    words += [str(judge) if flag == "JUDGE" else flag for flag in flags]
    out = tmp_path_factory.mktemp("whole") / name
    done = augmentor.run(*words, "--out", out)
    assert done.code == 0, done.err
    return name, words, content(out)


def test_the_last_share_puts_all_together(
    whole: tuple[str, list[str], dict[str, str]], augmentor: Augmentor, tmp_path: Path
) -> None:
    name, words, expected = whole
    out = tmp_path / name
    for share, missing in (("3/3", 10), ("1/3", 5)):
        done = augmentor.run(*words, "--out", out, "--shards", share, "--json")
        assert done.code == 0, done.err
        assert (done.json["missing_shards"], done.json["finished"]) == (missing, None)
        assert f"{missing} shards of other shares are missing" in done.out
    early = augmentor.run("merge", out)
    assert early.code == 2
    assert f"5 of {SHARDS} shards are missing, the first is number 1" in early.err
    last = augmentor.run(*words, "--out", out, "--shards", "2/3", "--json")
    assert last.code == 0, last.err
    assert last.json["finished"] is not None
    assert content(out) == expected
    again = augmentor.run("merge", out, "--json")
    assert again.code == 0, again.err
    assert content(out) == expected


def test_shares_at_the_same_time_one_of_them_killed(
    whole: tuple[str, list[str], dict[str, str]], augmentor: Augmentor, tmp_path: Path
) -> None:
    name, words, expected = whole
    out = tmp_path / name
    killed = augmentor.run(out, 2, 20, *words, "--out", out, "--shards", "1/2", script=DYING)
    assert killed.code == -signal.SIGKILL
    assert 2 <= committed(out) < SHARDS / 2
    other = augmentor.run(*words, "--out", out, "--shards", "2/2")
    assert other.code == 0, other.err
    mended = augmentor.run(*words, "--out", out, "--shards", "1/2", "--json")
    assert mended.code == 0, mended.err
    assert isinstance(mended.json["resumed"], int)
    assert mended.json["resumed"] > 0
    assert content(out) == expected


def test_what_the_last_share_left_is_merged(
    whole: tuple[str, list[str], dict[str, str]], augmentor: Augmentor, tmp_path: Path
) -> None:
    name, words, expected = whole
    out = tmp_path / name
    assert augmentor.run(*words, "--out", out, "--shards", "1/2").code == 0
    # The share has let go of its locks; packs had two waiting images removed before.
    changes = 5 if "webdataset" in words else 3
    killed = augmentor.run(out, SHARDS, changes, *words, "--out", out, "--shards", "2/2", script=DYING)
    assert killed.code == -signal.SIGKILL
    assert committed(out) == SHARDS
    lock = paths_of(out).lock
    Share(number=2, of=3).lock(lock).touch()  # as another division's, that was killed, has left it
    merged = augmentor.run("merge", out)
    assert merged.code == 0, merged.err
    assert content(out) == expected
    assert list(lock.parent.glob(f"{lock.name}*")) == []


def test_what_is_refused(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    words = ("expand", small.manifest, "--model", model, "--out", tmp_path / "out")
    for flags, said in (
        (("--domains", "all", "--shards", "4/3"), "--shards '4/3': not a share"),
        (("--domains", "all", "--shards", "slurm"), "this is no task of a job array"),
        (("--domains", "all", "--shards", "1/2", "--overwrite"), "would delete the work of other shares"),
        (("--balance", "hair", "--shards", "1/2"), "--shards divides a plan that is known"),
    ):
        done = augmentor.run(*words, *flags)
        assert done.code == 2
        assert said in " ".join(done.err.split())
    nothing = augmentor.run("merge", tmp_path / "out")
    assert nothing.code == 2
    assert "no expand was begun here" in " ".join(nothing.err.split())
