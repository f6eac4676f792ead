"""Manifest, images and output on S3, which moto plays: the output of a local run, whatever breaks in between."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from tests.integration.conftest import Augmentor, Small

IMPATIENT = Path(__file__).with_name("impatient.py")
MANIFEST = "s3://images/set/manifest.csv"
SHARDS = 6
"""Shards of 8 of the 42 items that `smile=~` makes of the small images: 24 real, 18 translated."""

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "hush"}
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
)

Answer = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


@dataclass
class Gate:
    """Stands in front of the storage: counts requests, and answers some of them in its place.

    Args:
        behind: the storage.
        stall_at: a PUT whose path has this in it is held up, and thrown away in the end.
        refuse_every: the request of this number and its multiples is answered 503; asked again, it passes.
    """

    behind: Answer
    stall_at: str = ""
    refuse_every: int = 0
    puts: list[str] = field(default_factory=list)
    refused: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    passable: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: int = 0
    _again: set[tuple[str, str, str]] = field(default_factory=set)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "PUT":
            self.puts.append(path)
            if self.stall_at and self.stall_at in path:
                self.reached.set()
                self.passable.wait(PATIENCE)
                return self._refuse(start)
        if self._is_refused((method, path, environ.get("QUERY_STRING", ""))):
            return self._refuse(start)
        return self.behind(environ, start)

    def _is_refused(self, request: tuple[str, str, str]) -> bool:
        with self._lock:
            if not self.refuse_every or request in self._again:
                self._again.discard(request)
                return False
            self._asked += 1
            if self._asked % self.refuse_every:
                return False
            self._again.add(request)
            self.refused += 1
            return True

    @staticmethod
    def _refuse(start: StartResponse) -> Iterable[bytes]:
        start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
        return [SLOW_DOWN]


class Silent(WSGIRequestHandler):
    """Answers requests and prints nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@dataclass(frozen=True)
class S3:
    """The storage, as a test looks at it."""

    client: Any  # boto3 has no types
    gate: Gate
    address: str

    def held(self, prefix: str) -> dict[str, bytes]:
        """What lies below a folder of the bucket `results`, by name."""
        found = self.client.list_objects_v2(Bucket="results", Prefix=f"{prefix}/").get("Contents", [])
        return {
            each["Key"].removeprefix(f"{prefix}/"): self.client.get_object(Bucket="results", Key=each["Key"])[
                "Body"
            ].read()
            for each in found
        }


@pytest.fixture(scope="module")
def storage(small: Small) -> Iterator[S3]:
    """S3 with the small images in the bucket `images` and an empty bucket `results`."""
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="hush",  # noqa: S106 - moto takes any
    )
    for bucket in ("images", "results"):
        client.create_bucket(Bucket=bucket)
    for path in sorted(small.folder.rglob("*.*")):
        client.put_object(
            Bucket="images", Key=f"set/{path.relative_to(small.folder).as_posix()}", Body=path.read_bytes()
        )
    yield S3(client=client, gate=gate, address=address)
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def s3(storage: S3, augmentor: Augmentor, tmp_path: Path) -> Iterator[S3]:
    """The same, for commands that are started now."""
    augmentor.more = {
        **KEYS,
        "AWS_ENDPOINT_URL": storage.address,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    gate = storage.gate
    gate.puts.clear()
    yield storage
    augmentor.more = {}
    gate.stall_at, gate.refuse_every = "", 0


@pytest.fixture(scope="module")
def words(model: Path) -> list[str]:
    """The command, without --out."""
    return ["expand", MANIFEST, "--model", str(model), "--domains", "smile=~", "--shard-size", "8", "--json"]


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """What the first test leaves on S3, which the others must leave there, too."""
    return {}


def test_s3_holds_what_a_folder_holds(
    s3: S3, whole: dict[str, bytes], words: list[str], augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    here = tmp_path / "out"
    local = augmentor.run(words[0], small.manifest, *words[2:], "--out", here)
    assert local.code == 0, local.err
    done = augmentor.run(*words, "--out", "s3://results/first/out")
    assert done.code == 0, done.err
    assert (done.json["real"], done.json["synthetic"]) == (24, 18)
    assert "Report: s3://results/first/out/report.html" in done.out
    whole.update(s3.held("first/out"))
    files = {path.relative_to(here).as_posix(): path for path in here.rglob("*") if path.is_file()}
    assert whole.keys() == files.keys()
    # These say how it was made: from which table, of which age, by which command.
    telling = ("dataset.json", "README.md", "report.html", "croissant.json", ".augmentor/")
    for name, path in files.items():
        if not name.startswith(telling):
            assert whole[name] == path.read_bytes(), name
    rows = list(csv.DictReader(io.StringIO(whole["labels.csv"].decode())))
    assert len(rows) == 42
    assert all(row["file_name"] in whole for row in rows)
    assert not any(b"hush" in data for data in whole.values())
    assert list((tmp_path / "cache/augmentor/outputs").iterdir()) == []
    again = augmentor.run(*words, "--out", "s3://results/first/out")
    assert again.code == 0, again.err
    assert "is complete already" in again.out
    assert s3.held("first/out") == whole


def test_a_run_that_is_killed_in_the_midst_of_an_upload_goes_on(
    s3: S3, whole: dict[str, bytes], words: list[str], augmentor: Augmentor
) -> None:
    s3.gate.stall_at = "killed/out/train/00001/face05__real"
    running = augmentor.start(*words, "--out", "s3://results/killed/out")
    running.wait_for(s3.gate.reached.is_set)
    running.send(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    s3.gate.stall_at = ""
    s3.gate.passable.set()
    held = s3.held("killed/out")
    assert ".augmentor/shards/00000.json" in held
    assert ".augmentor/shards/00001.json" not in held
    s3.gate.puts.clear()
    done = augmentor.run(*words, "--out", "s3://results/killed/out")
    assert done.code == 0, done.err
    # The shard whose upload broke off was on the disk: it counts as made before, and its images are sent again.
    assert done.json["resumed"] == 16
    assert s3.held("killed/out") == whole
    sent = [path for path in s3.gate.puts if "/shards/" in path]
    assert len(sent) == len(set(sent)) == SHARDS - 1
    assert not any("/00000/" in path for path in s3.gate.puts)


def test_every_fifth_request_is_answered_503(
    s3: S3, whole: dict[str, bytes], words: list[str], augmentor: Augmentor
) -> None:
    s3.gate.refuse_every = 5
    done = augmentor.run(*words, "--out", "s3://results/slow/out", script=IMPATIENT)
    assert done.code == 0, done.err
    s3.gate.refuse_every = 0
    assert s3.gate.refused > 20
    assert s3.held("slow/out") == whole


def test_shares_of_two_machines_are_chosen_from_and_merged_by_a_third(
    s3: S3, words: list[str], augmentor: Augmentor, small: Small, judge: Path, tmp_path: Path
) -> None:
    chosen = [*words, "--judge", str(judge), "--keep-best", "2", "--best-per", "domain"]
    here = tmp_path / "out"
    local = augmentor.run(chosen[0], small.manifest, *chosen[2:], "--out", here)
    assert local.code == 0, local.err
    out = "s3://results/shared/out"
    for share in ("1/2", "2/2"):
        augmentor.more["XDG_CACHE_HOME"] = str(tmp_path / share.replace("/", "-"))
        done = augmentor.run(*chosen, "--out", out, "--shards", share)
        assert done.code == 0, done.err
    assert done.json["finished"] is not None
    held = s3.held("shared/out")
    for name in ("labels.csv", "rejected.csv", "scores.csv", "train/metadata.csv", "preview.png"):
        assert held[name] == (here / name).read_bytes(), name
    images = {name for name in held if name.endswith(".png") and not name.startswith("report/")}
    assert images == {
        path.relative_to(here).as_posix() for path in here.rglob("*.png") if path.parent.name != "report"
    }
    s3.client.delete_object(Bucket="results", Key="shared/out/dataset.json")
    augmentor.more["XDG_CACHE_HOME"] = str(tmp_path / "third")
    merged = augmentor.run("merge", out, "--json")
    assert merged.code == 0, merged.err
    assert s3.held("shared/out") == held
    assert merged.json["synthetic"] == json.loads(held["dataset.json"])["counts"]["synthetic"]


def test_a_manifest_on_s3_is_checked_and_trained_on(
    s3: S3, augmentor: Augmentor, tiny: list[str], tmp_path: Path
) -> None:
    checked = augmentor.run("check", MANIFEST, "--json")
    assert checked.code == 0, checked.err
    assert checked.json["rows"] == 24
    trained = augmentor.run("train", MANIFEST, "--out", tmp_path / "run", *tiny, "--steps", 2)
    assert trained.code == 0, trained.err


def test_what_cannot_work_is_one_clear_block(s3: S3, words: list[str], augmentor: Augmentor, small: Small) -> None:
    local = [words[0], str(small.manifest), *words[2:]]
    for command, said in (
        (["check", "s3://nowhere/m.csv"], "s3://nowhere/m.csv: cannot be read (there is no such bucket)"),
        ([*local, "--out", "s3://nowhere/out"], "s3://nowhere/out: cannot be written (there is no such bucket)"),
        ([*local, "--out", "s3://me:secret@results/o"], "a URL with credentials, s3://***@results/o"),
        (["verify", "s3://results/out"], "s3://results/out: a place on a disk is wanted here, not a URL"),
    ):
        done = augmentor.run(*command)
        assert done.code == 2
        (block,) = re.findall("^error .*", done.err, flags=re.MULTILINE | re.DOTALL)
        assert said in " ".join(block.split())
        assert "secret" not in done.err
    augmentor.more = {name: value for name, value in augmentor.more.items() if name not in KEYS}
    done = augmentor.run("check", MANIFEST)
    assert done.code == 2
    assert "there are no credentials. They are taken from the environment: AWS_ACCESS_KEY_ID" in " ".join(
        done.err.split()
    )
