"""Shares of a plan: their shards, Slurm's variables, lock files."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from augmentor.errors import AugmentorError
from augmentor.expansion.shares import Share, parse_share
from augmentor.storage.lock import TakenError, is_free, locked, refuse_holder, share_locks


def test_shares_are_disjoint_and_complete() -> None:
    shares = [parse_share(f"{number}/3") for number in (1, 2, 3)]
    assert [[share.has(index) for share in shares].count(True) for index in range(20)] == [1] * 20
    assert [index for index in range(8) if shares[1].has(index)] == [1, 4, 7]
    assert str(shares[2]) == "3/3"


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.5/3"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(AugmentorError, match="not a share"):
        parse_share(text)


def test_slurms_array() -> None:
    told = {"ID": "7", "MIN": "3", "STEP": "2", "COUNT": "5"}  # --array=3-11:2
    environment = {f"SLURM_ARRAY_TASK_{name}": value for name, value in told.items()}
    assert parse_share("slurm", environment) == Share(number=3, of=5)
    with pytest.raises(AugmentorError, match="no task of a job array"):
        parse_share("slurm", {})


def test_a_shared_lock_keeps_whoever_wants_all_of_it_out(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, output=tmp_path, shared=True), locked(lock, output=tmp_path, shared=True):
        assert not is_free(lock)
        with pytest.raises(TakenError, match="another process is writing to it"), locked(lock, output=tmp_path):
            pass
    assert not lock.exists()
    with locked(lock, output=tmp_path):
        with pytest.raises(TakenError), locked(lock, output=tmp_path, shared=True):
            pass
        assert not is_free(lock)
    assert is_free(lock)


@pytest.mark.skipif(os.name == "nt", reason="has no flock")
def test_without_locks_on_the_disk_names_keep_a_whole_run_and_shares_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = tmp_path / ".lock"
    one, two = (Share(number=number, of=2).lock(lock) for number in (1, 2))
    with locked(lock, output=tmp_path, shared=True), locked(one, output=tmp_path):
        with (
            locked(lock, output=tmp_path, shared=True),
            locked(two, output=tmp_path),
        ):
            refuse_holder(lock, output=tmp_path)
        with (
            pytest.raises(TakenError, match=f"process {os.getpid()} on .*delete .*1-of-2"),
            locked(lock, output=tmp_path),
        ):
            pytest.fail("a whole run beside a share")
    with locked(lock, output=tmp_path):
        with pytest.raises(TakenError), locked(lock, output=tmp_path, shared=True):
            pytest.fail("a share beside a whole run")
        with pytest.raises(TakenError, match=f"process {os.getpid()}"):
            refuse_holder(lock, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_locks_of_shares_and_their_divisions_are_found(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    for share in (Share(number=1, of=3), Share(number=2, of=3), Share(number=2, of=4)):
        share.lock(lock).touch()
    (tmp_path / ".lock.opening").touch()
    (tmp_path / ".lock.2-of-4.old").touch()
    assert share_locks(lock) == [
        (Share(number=number, of=of).lock(lock), of) for number, of in ((1, 3), (2, 3), (2, 4))
    ]
