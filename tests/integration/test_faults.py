"""What goes wrong around an expansion or a training: said clearly, nothing committed is lost, and it goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from augmentor.data.manifest import read_manifest
from augmentor.errors import ManifestError, MemoryShortError, OutputError, SourcesLostError
from augmentor.expansion import pipeline
from augmentor.expansion.executors import local
from augmentor.expansion.job import Expansion, plan_expansion
from augmentor.expansion.progress import Progress
from augmentor.expansion.run import run_expansion
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.report import write_report
from augmentor.storage.lock import locked
from augmentor.training.recipe import read_recipe
from augmentor.training.run import train_run
from stargan.checkpoints import load_model
from tests.integration.conftest import TINY, write_manifest
from tests.integration.killing import children, committed, content
from tests.waiting import soon

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

CPU = torch.device("cpu")
SETTINGS = ExpandSettings(domains=("smile=~",), shard_size=4)
ITEMS = 42
"""Of the small images: 24 real, 18 translated; 11 shards."""

LIMITED = """
import contextlib, io, resource, runpy, sys
limit, said = int(sys.argv.pop(1)), io.StringIO()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
try:
    with contextlib.redirect_stderr(said):
        runpy.run_module("augmentor", run_name="__main__")
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    sys.stderr.write(said.getvalue())
"""
"""Runs a command that can write no file longer than its first argument says, as if the disk were full there.

What it says is a file, too, in these tests, and written when the limit is gone.
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An expansion of a copy of the small images, so that a test may spoil them."""

    folder: Path
    model: Path
    out: Path
    domains: str = "smile=~"

    @property
    def manifest(self) -> Path:
        """The copy's table."""
        return self.folder / "manifest.csv"

    def words(self) -> list[str]:
        """Return the command."""
        words = ["expand", str(self.manifest), "--model", str(self.model), "--domains", self.domains]
        return [*words, "--shard-size", "4", "--out", str(self.out)]

    def planned(self, settings: ExpandSettings = SETTINGS) -> Expansion:
        """Return the expansion, for running it here, as the command would have it."""
        chosen = replace(settings, output_format="hdf5" if self.out.suffix == ".h5" else "folder")
        command = shlex.join(["augmentor", *self.words()[:-1], self.out.name])
        return plan_expansion(self.manifest, model=self.model, settings=chosen, out=self.out, command=command)

    def run(
        self,
        settings: ExpandSettings = SETTINGS,
        *,
        overwrite: bool = False,
        verify_sources: bool = False,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> int:
        """Run the expansion here; return how many items an earlier run had made."""
        return run_expansion(
            self.planned(settings),
            RunSettings(devices=(CPU,), workers=2, verify_sources=verify_sources),
            write_pages=write_report,
            overwrite=overwrite,
            on_progress=on_progress,
        ).resumed

    def elsewhere(self) -> Case:
        """Return the same with an output in another place."""
        return replace(self, out=self.out.parent.with_name("elsewhere") / self.out.name)


@pytest.fixture(params=["out", "out.h5"])
def case(request: pytest.FixtureRequest, small: Small, model: Path, tmp_path: Path) -> Case:
    """Both forms."""
    shutil.copytree(small.folder / "images", tmp_path / "data" / "images")
    shutil.copy(small.manifest, tmp_path / "data" / "manifest.csv")
    (tmp_path / "made").mkdir()
    return Case(folder=tmp_path / "data", model=model, out=tmp_path / "made" / request.param)


def undisturbed(case: Case, settings: ExpandSettings = SETTINGS) -> dict[str, str]:
    """Return what the output holds that is made in one go, now."""
    other = case.elsewhere()
    other.out.parent.mkdir(exist_ok=True)
    other.run(settings)
    made = content(other.out)
    shutil.rmtree(other.out.parent)
    return made


class Halt(Exception):  # noqa: N818 - a stop, no error
    """Stops a run where a test wants it."""


def halt_at(done: int) -> Callable[[Progress], None]:
    """Return what stops a run when so many items are done."""

    def hear(progress: Progress) -> None:
        if progress.done >= done:
            raise Halt

    return hear


@pytest.fixture
def begun(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """An expansion of which the first shards, and only they, are committed."""
    plain = pipeline.run_shards

    def first_ones(shards: Iterator[object], **arguments: object) -> None:
        plain((shard for shard, _ in zip(shards, range(5), strict=False)), **arguments)  # type: ignore[arg-type, misc]
        raise Halt

    with monkeypatch.context() as patch:
        patch.setattr(local, "run_shards", first_ones)
        with pytest.raises(Halt):
            case.run()
    assert committed(case.out) == 5
    return case


# ---- the disk ----


@pytest.mark.parametrize("limit", [700, 6_000, 30_000])
def test_a_full_disk(limit: int, case: Case, augmentor: Augmentor, tmp_path: Path) -> None:
    """The limits stop the first image, the label table or the HDF5 file that is put together, and the preview."""
    case = replace(case, domains="all")  # The label table has to be longer than run.json.
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    done = augmentor.run(limit, *case.words(), script=script)
    assert done.code == 2, done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error  ")]
    assert f"{case.out}: cannot be written (File too large). What was committed is safe. Fix the cause" in error
    assert "Traceback" not in done.err
    assert not case.out.is_file()
    assert not (case.out / "dataset.json").exists()
    there = committed(case.out)
    again = augmentor.run(*case.words(), "--json")
    assert again.code == 0, again.err
    resumed = again.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed >= 4 * there - 2
    assert content(case.out) == undisturbed(case, replace(SETTINGS, domains=("all",)))


def test_a_full_disk_under_a_checkpoint(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    script, run = tmp_path / "limited.py", tmp_path / "run"
    script.write_text(LIMITED)
    words = ["train", str(small.manifest), "--out", str(run), *tiny]
    assert augmentor.run(*words, "--steps", 2).code == 0
    done = augmentor.run(6_000, *words, "--steps", 4, "--resume", script=script)
    assert done.code == 2, done.err
    whole = run / "checkpoints" / "00000002"
    assert f"{run}: cannot be written (File too large" in done.err
    assert f"The last good checkpoint is {whole}. Fix the cause and continue with --resume" in done.err
    assert [path.name for path in (run / "checkpoints").iterdir()] == [whole.name]
    again = augmentor.run(*words, "--steps", 4, "--resume")
    assert again.code == 0, again.err
    assert load_model(run).step == 4


def test_an_output_that_cannot_be_written(case: Case, augmentor: Augmentor) -> None:
    case.out.parent.rmdir()
    case.out.parent.write_text("mine")
    done = augmentor.run(*case.words())
    assert done.code == 2
    assert f"{case.out}: cannot be written (" in done.err
    assert case.out.parent.read_text() == "mine"


# ---- the sources ----


def many_rows(case: Case, count: int) -> None:
    """Give the case so many different source files that they are not all read at once."""
    rows = []
    for number in range(count):
        name = f"images/more{number}.png"
        shutil.copy(case.folder / "images" / f"{number % 24:02d}.png", case.folder / name)
        rows.append({"path": name, "id": f"more{number}", "split": "train", "hair": ("black", "red")[number % 2]})
    write_manifest(case.manifest, [{**row, "smile": str(number % 2)} for number, row in enumerate(rows)])


def test_a_source_folder_that_disappears(case: Case) -> None:
    many_rows(case, 200)
    images, away = case.folder / "images", case.folder.with_name("away")  # below the manifest it would be found

    def unmount(progress: Progress) -> None:
        if progress.done and images.exists():
            images.rename(away)

    with pytest.raises(
        SourcesLostError, match=r"the source images are disappearing: .*images.*run the same command again"
    ):
        case.run(on_progress=unmount)
    there = committed(case.out)
    failed = [record for record in records(case.out) if record["failures"]]
    assert failed == []
    with pytest.raises(ManifestError, match=r"of 32 images looked for not one is there, for example .*mounted\?"):
        case.run()
    away.rename(images)
    assert case.run() == 4 * there
    assert content(case.out) == undisturbed(case)


def records(out: Path) -> list[dict[str, object]]:
    """Return the records of the shards that wait under an output."""
    folder = out.with_name(f"{out.name}.parts") if out.suffix == ".h5" else out / ".augmentor"
    return [json.loads(path.read_bytes()) for path in sorted((folder / "shards").glob("*.json"))]


def test_a_few_missing_files_are_failed_rows(case: Case) -> None:
    (case.folder / "images" / "00.png").unlink()
    (case.folder / "images" / "13.png").unlink()
    assert case.run() == 0
    failures = case.out / "failures.csv" if case.out.is_dir() else case.out.with_suffix(".failures.csv")
    assert [line.split(",")[0] for line in failures.read_text().splitlines()] == ["id", "face00", "face13"]


def test_sources_that_changed_are_noticed(begun: Case) -> None:
    path = begun.folder / "images" / "01.png"
    before, times = path.read_bytes(), path.stat()
    shutil.copy(begun.folder / "images" / "02.png", path)
    with pytest.raises(OutputError, match=r"source images have changed since this output was begun: .*01\.png \("):
        begun.run()
    path.write_bytes(before)
    with pytest.raises(OutputError, match=r"01\.png \(written to since\)"):
        begun.run()
    assert begun.run(verify_sources=True) == 20  # The content is what it was.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content(begun.out) == undisturbed(begun)


def test_a_source_that_changed_is_not_needed_to_start_anew(begun: Case) -> None:
    path = begun.folder / "images" / "01.png"
    shutil.copy(begun.folder / "images" / "02.png", path)
    assert begun.run(overwrite=True) == 0
    assert content(begun.out) == undisturbed(begun)


# ---- another run on the same output ----


def test_a_manifest_that_is_edited_during_the_run(begun: Case) -> None:
    """A run keeps to what it read; the next one finds that it is not the same any more, and says what."""
    text = begun.manifest.read_text()

    def edit(_: Progress) -> None:
        begun.manifest.write_text(text.replace("face03,train,person1,black,1", "face03,train,person1,red,0"))

    assert "face03,train,person1,black,1" in text
    expected = undisturbed(begun)
    assert begun.run(on_progress=edit) == 20
    assert content(begun.out) == expected
    with pytest.raises(OutputError, match=r"What differs: the manifest's labels\."):
        begun.run()
    begun.manifest.write_text(text)
    assert begun.run() == ITEMS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domains": ("hair=*",)}, "domains was smile=~, now hair=*"),
        ({"shard_size": 5}, "shard_size was 4, now 5"),
        ({"splits": ("train", "val")}, "splits was train, now train val"),
        ({"precision": "float32"}, "precision was auto, now float32"),
    ],
)
def test_other_settings_are_named_and_change_nothing(change: dict[str, object], said: str, begun: Case) -> None:
    before = content(begun.out)
    with pytest.raises(OutputError) as raised:
        begun.run(replace(SETTINGS, **change))  # type: ignore[arg-type]
    assert f"What differs: {said}.\n" in str(raised.value)
    assert content(begun.out) == before


def test_another_model_is_named(begun: Case, augmentor: Augmentor, small: Small, tiny: list[str]) -> None:
    other = begun.folder / "other"
    done = augmentor.run("train", small.manifest, "--out", other, *tiny, "--steps", 1, "--seed", 5)
    assert done.code == 0, done.err
    with pytest.raises(OutputError, match=r"; the model \(sha256 [0-9a-f]{12}\.\.\., now [0-9a-f]{12}") as raised:
        replace(begun, model=other).run()
    assert "What differs: the judge (sha256 " in str(raised.value)


@pytest.mark.parametrize("finished", [False, True])
def test_overwriting_removes_what_expand_made_and_nothing_else(finished: bool, begun: Case) -> None:
    if finished:
        begun.run()
    folder = begun.out if begun.out.is_dir() else begun.out.parent
    mine = [folder / "thesis.txt", *([folder / "train" / "00000" / "mine.png"] if begun.out.is_dir() else [])]
    for path in mine:
        path.write_text("mine")
    red = replace(SETTINGS, domains=("hair=red",))
    assert begun.run(red, overwrite=True) == 0
    assert all(path.read_text() == "mine" for path in mine)
    for path in mine:
        path.unlink()
    assert content(begun.out) == undisturbed(begun, red)


def test_overwriting_that_is_killed_half_way_loses_nothing(begun: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does the same command without the flag believe in images that are gone, nor another one in these."""
    plain, calls = shutil.rmtree, 0

    def halting(path: Path, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3 or path.suffix == ".parts":
            (path / "run.json").unlink(missing_ok=True)  # It may be the first one to go.
            raise Halt
        plain(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", halting)
        with pytest.raises(Halt):
            begun.run(overwrite=True)
    other = begun.out.suffix == ".h5"  # Of a folder it is known whose records are left.
    settings = replace(SETTINGS, shard_size=5) if other else SETTINGS
    begun.run(settings)
    assert content(begun.out) == undisturbed(begun, settings)


def test_overwriting_leaves_other_people_s_outputs(case: Case) -> None:
    place = case.out / "thesis.txt" if case.out.suffix != ".h5" else case.out
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    with pytest.raises(OutputError):
        case.run(overwrite=True)
    assert place.read_text() == "mine"


def test_a_second_run_is_refused_while_the_first_one_works(case: Case, augmentor: Augmentor) -> None:
    lock = case.planned().writer().lock
    running = augmentor.start(*case.words())
    running.wait_for(lambda: lock.exists() and committed(case.out) >= 1)
    running.send(signal.SIGSTOP)
    try:
        with pytest.raises(
            OutputError, match=rf"{case.out.name}: process {running.pid} on .* has been writing to it"
        ):
            case.run()
        with pytest.raises(OutputError, match=f"process {running.pid} on "):
            case.run(overwrite=True)
    finally:
        running.send(signal.SIGCONT)
    assert running.end().code == 0
    assert not lock.exists()
    assert case.run() == ITEMS
    assert content(case.out) == undisturbed(case)


def test_a_second_training_is_refused(small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = read_recipe(None, [*(f"{key}={value}" for key, value in TINY.items()), "training.steps=1"])

    def train(*, resume: bool) -> int:
        return train_run(
            read_manifest(small.manifest),
            run=run,
            recipe=recipe,
            resume=resume,
            device=CPU,
            on_event=lambda _: None,
        ).step

    with locked(run / ".lock", output=run):
        (run / "run.toml").write_text("")
        for resume in (False, True):
            with pytest.raises(OutputError, match=f"process {os.getpid()} on .* has been writing to it"):
                train(resume=resume)
    (run / "run.toml").unlink()
    assert train(resume=False) == 1
    assert not (run / ".lock").exists()


# ---- the machine ----


def test_a_device_without_memory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = type(case.planned().model.generator)
    calls = 0

    def short(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(generator, "encoder_stage", short)
        with pytest.raises(MemoryShortError, match="too little free memory to translate a single image") as raised:
            case.run()
    assert calls > 1  # Smaller batches were tried.
    assert (raised.value.exit_code, "Run the same command again" in str(raised.value)) == (1, True)
    case.run()
    assert content(case.out) == undisturbed(case)


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="shares memory in another way")  # noqa: S108
def test_shared_memory_that_is_full(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    """A batch has 49,152 bytes; no other file of the run is as long."""
    script, run = tmp_path / "limited.py", tmp_path / "run"
    script.write_text(LIMITED)
    words = ["train", str(small.manifest), "--out", str(run), *tiny, "--set", "training.batch_size=64"]
    words += ["--steps", "2", "--cache", "off"]
    done = augmentor.run(45_000, *words, "--set", "training.workers=1", script=script)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error  ")]
    assert f"{run}: there is too little shared memory for several processes: /dev/shm has " in error
    assert "use --set training.workers=0 or --cache on, which need none. There is no checkpoint yet." in error
    again = augmentor.run(45_000, *words, "--set", "training.workers=0", "--resume", "--json", script=script)
    assert again.code == 0, again.err
    assert again.json["step"] == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_loading_process_that_dies(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "train",
        str(small.manifest),
        "--out",
        str(run),
        *tiny,
        "--cache",
        "off",
        "--set",
        "training.workers=1",
    ]
    often = ("--set", "training.checkpoint_minutes=0", "--set", "training.keep_checkpoints=2")
    running = augmentor.start(*words, *often, "--steps", 100_000)
    running.wait_for(lambda: any((run / "checkpoints").glob("0*")))
    (loader,) = children(running.pid)
    with soon(30):
        os.kill(loader, signal.SIGKILL)
        done = running.end()
    assert done.code == 1, done.err
    assert "a loading process has died" in done.err
    assert "The last good checkpoint is" in done.err
    assert "Continue with --resume" in done.err
    assert "Traceback" not in done.err
    reached = load_model(run).step
    again = augmentor.run(*words, "--steps", reached + 1, "--resume")
    assert again.code == 0, again.err
    assert load_model(run).step == reached + 1
