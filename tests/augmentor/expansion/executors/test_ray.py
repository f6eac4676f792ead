"""Refusals and reports of a worker, and refusals before Ray starts. Ray itself runs in `test_ray_command`."""

from __future__ import annotations

import pickle
import shutil
import socket
import sys
from dataclasses import replace

import pytest

from augmentor import __version__
from augmentor.errors import AugmentorError, MissingExtraError, OutputError
from augmentor.expansion.executors import remote
from augmentor.expansion.executors.ray import RayExecutor
from augmentor.expansion.executors.remote import RemoteWorker
from augmentor.expansion.executors.work import Work
from augmentor.storage.lock import Holder, locked, read_holder
from tests.waiting import soon


def begun(work: Work) -> RemoteWorker:
    worker = RemoteWorker("cpu", threads=2)
    assert worker.start(__version__, None, pickle.dumps(work)).error is None
    return worker


def test_a_worker_makes_what_it_is_told(work: Work) -> None:
    worker = begun(replace(work, first_shard=1))
    answer = worker.make_shards(7, (0, 2))
    assert answer.error is None
    assert answer.report == worker.report(0.0)
    assert (answer.report.turn, answer.report.committed, answer.report.progress.done) == (7, (0, 2), 16)
    assert [index for index in range(4) if work.writer.record(index)] == [1, 3]


def test_a_worker_goes_on_with_more_of_the_same(work: Work) -> None:
    worker = begun(work)
    worker.make_shards(1, (0,))
    assert worker.start(__version__, None, pickle.dumps(replace(work, first_shard=2))).error is None
    assert worker.make_shards(2, (0,)).report.committed == (0,)
    assert [index for index in range(4) if work.writer.record(index)] == [0, 2]


def test_an_error_is_told_as_it_is(work: Work) -> None:
    worker = begun(work)
    shutil.rmtree(work.writer.lock.parent)
    answer = worker.make_shards(1, (0,))
    assert isinstance(answer.error, FileNotFoundError)
    assert answer.trace.startswith("Traceback")


def test_a_worker_refuses_another_version(work: Work) -> None:
    answer = RemoteWorker("cpu", threads=2).start("0.0.1", None, b"cannot be read")
    assert isinstance(answer.error, OutputError)
    assert f"cannot start: augmentor is {__version__} there, and 0.0.1 here" in str(answer.error)


def test_a_worker_refuses_another_disk(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_CACHE_SECONDS", 0.0)
    job = pickle.dumps(work)
    with locked(work.writer.lock, output=work.writer.lock.parent):
        assert RemoteWorker("cpu", threads=2).start(__version__, read_holder(work.writer.lock), job).error is None
        other = Holder(host="elsewhere", pid=1, started="today")
        answer = RemoteWorker("cpu", threads=2).start(__version__, other, job)
    assert f"{work.writer.lock.parent}: is not there, or is another folder than the one" in str(answer.error)


def test_a_worker_refuses_images_that_are_not_there(work: Work) -> None:
    shutil.rmtree(work.sources.manifest.image_path(0).parent)
    answer = RemoteWorker("cpu", threads=2).start(__version__, None, pickle.dumps(work))
    said = (
        f"a worker on {socket.gethostname()} cannot start: {work.sources.manifest.path}: of 12 images looked for"
    )
    assert str(answer.error).startswith(said)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stargan-augmentor\[ray\]'"):
        RayExecutor()


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{closed.getsockname()[1]}"
        with soon(20), pytest.raises(AugmentorError, match=f"--address {address}: nothing answers there"):
            RayExecutor(address=address)


def test_a_certain_device_is_refused() -> None:
    with pytest.raises(AugmentorError, match="--device cuda:1: Ray deals out the devices"):
        RayExecutor(device="cuda:1")
