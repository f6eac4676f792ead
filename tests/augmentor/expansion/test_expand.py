"""Planning and running an expansion: refused settings, fingerprint, progress."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from augmentor import open_dataset
from augmentor.data.manifest import AS_WRITTEN
from augmentor.data.models import model_crop, open_model
from augmentor.errors import AugmentorError, DomainError, ManifestError, OutputError
from augmentor.expansion.estimate import estimate
from augmentor.expansion.executors.work import compile_pays
from augmentor.expansion.job import Expansion, plan_expansion
from augmentor.expansion.preview import write_preview
from augmentor.expansion.progress import Progress
from augmentor.expansion.run import run_expansion
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.expansion.shares import Share
from augmentor.expansion.writer import explain_failures
from augmentor.judge.stored import save_judge
from augmentor.judge.thresholds import Thresholds
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.verify import verify_output
from augmentor.outputs.writers import OutputFormat
from augmentor.outputs.writers.assembly import Ending
from augmentor.outputs.writers.hdf5 import HDF5Assembly
from augmentor.outputs.writers.metadata import FolderTables
from augmentor.report import report_path, write_report
from stargan.checkpoints import Json, Model, save_model
from stargan.inference import CompilationError
from stargan.labels import LabelSpace
from stargan.networks import Generator, OutputKind
from tests.conftest import MakeJudge

CPU = torch.device("cpu")
RUN = RunSettings(devices=(CPU,), batch_size=4)
MakeManifest = Callable[..., Path]
SETTINGS = ExpandSettings(domains=("hair=*",), shard_size=8)


def save(
    folder: Path,
    space: LabelSpace,
    *,
    seed: int = 0,
    settings: dict[str, Json] | None = None,
    output: OutputKind = "masked",
    noise: int = 0,
) -> Path:
    """Write an untrained model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        size = space.vector_size
        generator = Generator(vector_size=size, width=4, downsamplings=1, blocks=1, output=output, noise=noise)
    save_model(
        folder,
        model=Model(
            generator=generator, space=space, image_size=(16, 16), step=0, settings=settings or {}, sha256=""
        ),
    )
    return folder


@pytest.fixture
def model(tmp_path: Path, space: LabelSpace) -> Path:
    return save(tmp_path / "model", space)


@pytest.fixture
def manifest(small_manifest: MakeManifest) -> Path:
    """Ten training rows, two of val."""
    return small_manifest()


def planned(manifest: Path, model: Path, out: Path, **changes: object) -> Expansion:
    return plan_expansion(
        manifest,
        model=model,
        settings=dataclasses.replace(SETTINGS, **changes),  # type: ignore[arg-type]
        out=out,
    )


# ---- what is refused ----


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"output_format": "hdf5", "class_folders": "hair"}, "--class-folders names folders"),
        ({"output_format": "hdf5", "real": "original"}, "--real original links the files"),
        ({"output_format": "webdataset", "class_folders": "hair"}, "a tar file of webdataset has none"),
        ({"output_format": "parquet", "real": "original"}, "a Parquet file holds no links"),
        ({"output_format": "parquet", "encoded": True}, "--encoded is an option of --format hdf5"),
        ({"encoded": True}, "--encoded is an option of --format hdf5"),
        ({"splits": ("train", "tset")}, "--splits: tset is not one of train, val, test"),
        ({"splits": ()}, "--splits: nothing is not one of"),
        ({"shard_size": 0}, "--shard-size must be at least 1, not 0"),
        ({"looks": 0}, "--looks must be from 1 to 1,000, not 0"),
        ({"looks": 1001}, "--looks must be from 1 to 1,000, not 1,001"),
        ({"min_agreement": 1.5}, r"--min-agreement must be between 0 and 1, not 1\.5"),
        ({"min_realism": -0.1}, r"--min-realism must be between 0 and 1, not -0\.1"),
        ({"min_preserved": -1.1}, r"--min-preserved must be between -1 and 1, not -1\.1"),
        ({"keep_best": 0}, "--keep-best must be at least 1, not 0"),
    ],
)
def test_settings_that_cannot_work_together(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(AugmentorError, match=message):
        dataclasses.replace(SETTINGS, **wrong)  # type: ignore[arg-type]


def test_one_file_holds_so_many_images_and_no_more(
    manifest: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = len(planned(manifest, model, tmp_path / "out.h5", output_format="hdf5").plan)
    monkeypatch.setattr("augmentor.expansion.writer.MOST_IN_ONE_FILE", items - 1)
    with pytest.raises(AugmentorError, match=f"--format hdf5 --out {tmp_path / 'out'}$"):
        planned(manifest, model, tmp_path / "out.h5", output_format="hdf5")
    assert not planned(manifest, model, tmp_path / "out", output_format="hdf5").paths.one_file
    monkeypatch.setattr("augmentor.expansion.writer.MOST_IN_ONE_FILE", items)
    assert planned(manifest, model, tmp_path / "out.h5", output_format="hdf5").paths.one_file


def test_plans_that_cannot_work(manifest: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ManifestError, match=r"no row has split test, so there is nothing to translate"):
        planned(manifest, model, out, splits=("test",))
    with pytest.raises(DomainError, match="Did you mean 'hair'"):
        planned(manifest, model, out, domains=("hiar=*",))
    with pytest.raises(AugmentorError, match=r"--model .*neither a run folder"):
        planned(manifest, tmp_path, out)
    text = manifest.read_text().replace("path,id,", "path,group,")
    manifest.write_text(text.replace("11.png,face11", "11.png,face0"))
    with pytest.raises(ManifestError, match=r"group 'face0' is in train .* and val"):
        planned(manifest, model, out)
    assert not out.exists()


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_an_output_that_cannot_be_written(
    output_format: OutputFormat, manifest: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    expansion = planned(manifest, model, tmp_path / "file" / "out.h5", output_format=output_format)
    with pytest.raises(OutputError, match=r"out\.h5: cannot be written \(.*\)\. What was committed is safe"):
        run_expansion(expansion, RUN, write_pages=write_report)


# ---- the fingerprint ----


def test_the_fingerprint_knows_what_changes_the_output(
    manifest: Path, model: Path, space: LabelSpace, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = {planned(manifest, model, out).fingerprint}
    assert {planned(manifest, model, tmp_path / "elsewhere").fingerprint} == found
    changes: list[dict[str, object]] = [
        {"domains": ("hair=~",)},
        {"splits": ("train", "val")},
        {"real": "none"},
        {"output_format": "hdf5"},
        {"image_format": "jpg"},
        {"class_folders": "hair"},
        {"shard_size": 9},
        {"include_identity": True},
        {"size": "original"},
        {"size": (32, 24)},
        {"size": (24, 32)},
        {"output_format": "hdf5", "encoded": True},
        {"precision": "float32"},
        {"precision": "bfloat16"},
        {"gate": "off"},
    ]
    for change in changes:
        found.add(planned(manifest, model, out, **change).fingerprint)
    found.add(planned(manifest, save(tmp_path / "other", space, seed=1), out).fingerprint)
    cropped = save(tmp_path / "cropped", space, settings={"images": {"crop": 8}})
    found.add(planned(manifest, cropped, out).fingerprint)
    text = manifest.read_text()
    edits = (
        ("face3", "face33"),
        ("3.png", "4.png"),
        ("3.png,face3,train", "3.png,face3,val"),
        ("blond,0", "blond,1"),
    )
    for before, after in edits:
        manifest.write_text(text.replace(before, after, 1))
        found.add(planned(manifest, model, out).fingerprint)
    assert len(found) == 1 + len(changes) + 2 + len(edits)


def test_the_description_says_where_it_comes_from(manifest: Path, model: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, model, tmp_path / "out")
    described = json.loads(json.dumps(expansion.description()))
    assert described["fingerprint"] == expansion.fingerprint
    assert described["manifest"] == "manifest.csv"
    assert described["model"] == {"sha256": open_model(model).sha256, "step": 0, "path": str(model)}
    assert (described["judge"], described["gate"], described["command"]) == (None, None, None)
    assert described["settings"]["domains"] == ["hair=*"]
    assert (described["image_size"], described["settings"]["size"]) == ([16, 16], "model")
    assert planned(manifest, model, tmp_path, size=(24, 32)).description()["image_size"] == [24, 32]
    assert planned(manifest, model, tmp_path, size="original").description()["image_size"] is None
    described["model"].pop("path")  # as the user wrote it
    assert str(tmp_path) not in json.dumps(described)  # the same data elsewhere is the same data


# ---- running ----


def test_progress_is_told(small_manifest: MakeManifest, model: Path, tmp_path: Path) -> None:
    expansion = planned(small_manifest(broken=(4, 11)), model, tmp_path / "out")
    news: list[Progress] = []
    result = run_expansion(expansion, RUN, write_pages=write_report, on_progress=news.append)
    assert len(expansion.plan) == 12 + 20
    assert [p.done for p in news] == sorted(p.done for p in news)
    assert (news[-1].done, news[-1].total, news[-1].resumed) == (32, 32, 0)
    assert (result.counts.real, result.counts.synthetic, result.counts.failed) == (10, 18, 2)
    assert (result.resumed, result.was_complete) == (0, False)
    more: list[Progress] = []
    again = run_expansion(expansion, RUN, write_pages=write_report, on_progress=more.append)
    assert (again.counts, again.resumed, again.was_complete) == (result.counts, 32, True)
    assert more == []


def test_a_missing_shard_is_made_again(manifest: Path, model: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, model, tmp_path / "out")
    run_expansion(expansion, RUN, write_pages=write_report)
    before = {path: path.read_bytes() for path in expansion.out.rglob("*") if path.is_file()}
    (expansion.out / "dataset.json").unlink()
    (expansion.out / ".augmentor" / "shards" / "00001.json").unlink()
    news: list[Progress] = []
    result = run_expansion(expansion, RUN, write_pages=write_report, on_progress=news.append)
    assert result.resumed == news[-1].resumed == 24
    assert {path: path.read_bytes() for path in expansion.out.rglob("*") if path.is_file()} == before


def test_locks_of_killed_shares_go(manifest: Path, model: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, model, tmp_path / "out")
    (tmp_path / "out").mkdir()
    lock = expansion.writer().lock
    Share(number=2, of=3).lock(lock).touch()
    run_expansion(expansion, RUN, write_pages=write_report)
    assert list(lock.parent.glob(f"{lock.name}*")) == []


def test_a_label_table_that_was_deleted_comes_back(manifest: Path, model: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, model, tmp_path / "out")
    run_expansion(expansion, RUN, write_pages=write_report)
    before = (expansion.out / "labels.csv").read_bytes()
    (expansion.out / "labels.csv").unlink()
    assert not run_expansion(expansion, RUN, write_pages=write_report).was_complete
    assert (expansion.out / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(("output_format", "assembly"), [("folder", FolderTables), ("hdf5", HDF5Assembly)])
def test_a_finished_output_has_its_preview_and_its_page(
    output_format: OutputFormat,
    assembly: type[FolderTables] | type[HDF5Assembly],
    manifest: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill around the very end must not leave an output that is complete and lacks it."""
    expansion = planned(manifest, model, tmp_path / "out.h5", output_format=output_format)
    there: list[bool] = []
    finish = assembly.finish

    def watched(self: FolderTables | HDF5Assembly, ending: Ending) -> object:
        def watched_ending(description: Mapping[str, object], images: Path) -> None:
            ending(description, images)
            finished = expansion.out / "dataset.json" if output_format == "folder" else expansion.out
            there.extend([report_path(expansion.out).exists(), finished.exists()])

        there.append(expansion.paths.beside("preview.png").exists())
        return finish(self, watched_ending)

    monkeypatch.setattr(assembly, "finish", watched)
    run_expansion(expansion, RUN, write_pages=write_report)
    assert there == [True, True, False]


def test_sources_are_cut_like_training_images(manifest: Path, space: LabelSpace, tmp_path: Path) -> None:
    framed = np.zeros((40, 40, 3), dtype=np.uint8)
    framed[10:30, 10:30] = (10, 200, 30)
    Image.fromarray(framed).save(manifest.parent / "0.png")
    model = save(tmp_path / "cropped", space, settings={"images": {"crop": 20}})
    expansion = planned(manifest, model, tmp_path / "out")
    run_expansion(expansion, RUN, write_pages=write_report)
    image, _ = open_dataset(expansion.out, synthetic=False)[0]
    assert (image == torch.tensor([10, 200, 30], dtype=torch.uint8)[:, None, None]).all()
    assert model_crop(open_model(model)) == 20


@pytest.mark.parametrize("images", [{"crop": 0}, {}, None, {"crop": None}])
def test_models_without_a_crop(images: dict[str, Json] | None, space: LabelSpace, tmp_path: Path) -> None:
    model = save(tmp_path / "plain", space, settings={} if images is None else {"images": images})
    assert model_crop(open_model(model)) is None


def test_the_model_remembers_the_image_column(manifest: Path, space: LabelSpace, tmp_path: Path) -> None:
    manifest.write_text(manifest.read_text().replace("path,", "photo,"))
    with pytest.raises(ManifestError, match="--image-column"):
        planned(manifest, save(tmp_path / "plain", space), tmp_path / "out")
    taught = save(tmp_path / "taught", space, settings={"recipe": {"manifest": {"image_column": "photo"}}})
    assert len(planned(manifest, taught, tmp_path / "out").manifest) == 12


def test_the_slowest_stage_is_told(manifest: Path, model: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, model, tmp_path / "out")
    news: list[Progress] = []
    result = run_expansion(expansion, RUN, write_pages=write_report, on_progress=news.append)
    loads = news[-1].loads
    assert loads is not None
    assert result.slowest == loads.slowest
    assert loads.slowest in ("decoding", "translating", "encoding", "writing")
    assert all(queue.filled <= queue.room for queue in loads.queues.values())
    assert result.made == len(expansion.plan)
    assert result.images_per_second == pytest.approx(result.made / result.seconds)


# ---- looks ----


@pytest.fixture
def noisy(tmp_path: Path, space: LabelSpace) -> Path:
    """A model whose generator reads noise."""
    return save(tmp_path / "noisy", space, noise=3)


def pixels_of(out: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the images of an output by key."""
    found = open_dataset(out)
    return {str(key): np.asarray(found[i][0]) for i, key in enumerate(found.labels["key"])}


def test_looks_are_images_of_their_own_that_follow_from_their_keys(
    manifest: Path, noisy: Path, tmp_path: Path
) -> None:
    """Whatever the shards, the batches and the format, and beside more looks or fewer."""
    outs = [tmp_path / name for name in ("one", "three", "three.h5")]
    run = dataclasses.replace(RUN, batch_size=7)
    run_expansion(planned(manifest, noisy, outs[0]), RUN, write_pages=write_report)
    run_expansion(planned(manifest, noisy, outs[1], looks=3), RUN, write_pages=write_report)
    hdf5 = planned(manifest, noisy, outs[2], looks=3, shard_size=5, output_format="hdf5")
    run_expansion(hdf5, run, write_pages=write_report)
    one, three, again = map(pixels_of, outs)
    assert len(three) == 12 + 3 * (len(one) - 12)
    assert three.keys() == again.keys()
    assert one.keys() < three.keys()
    assert {key.partition("__look-")[0] for key in three} == one.keys()
    assert max(far(again[key], pixels) for key, pixels in three.items()) <= 1
    assert max(far(three[key], pixels) for key, pixels in one.items()) <= 1
    translated = [key for key in one if not key.endswith("__real")]
    assert min(far(three[f"{key}__look-2"], three[f"{key}__look-3"]) for key in translated) > 2
    assert min(far(three[f"{key}__look-2"], three[key]) for key in translated) > 2
    assert all(verify_output(out).ok for out in outs)
    labels = open_dataset(outs[1]).labels.set_index("key")
    columns = labels[["source_id", "split", "hair", "glasses", "changed"]]
    for key in translated:
        assert list(columns.loc[f"{key}__look-3"]) == list(columns.loc[key])


def test_a_label_table_without_looks_is_as_it_was(manifest: Path, noisy: Path, tmp_path: Path) -> None:
    expansion = planned(manifest, noisy, tmp_path / "out", looks=2)
    assert "looks" not in planned(manifest, noisy, tmp_path / "out").description()["settings"]  # type: ignore[operator]
    assert expansion.description()["settings"]["looks"] == 2  # type: ignore[index, call-overload]
    assert planned(manifest, noisy, tmp_path / "out").fingerprint != expansion.fingerprint


def test_looks_need_a_model_with_noise(manifest: Path, model: Path, tmp_path: Path) -> None:
    for wanted in (
        lambda: planned(manifest, model, tmp_path / "out", looks=4),
        lambda: preview(manifest, model, tmp_path / "preview.png", looks=4),
    ):
        with pytest.raises(AugmentorError, match=r"--looks 4: .* reads no noise.* --set generator\.noise=8"):
            wanted()
    assert not (tmp_path / "out").exists()


def test_a_preview_shows_the_looks_that_expand_makes(manifest: Path, noisy: Path, tmp_path: Path) -> None:
    run_expansion(planned(manifest, noisy, tmp_path / "out", looks=2), RUN, write_pages=write_report)
    with Image.open(preview(manifest, noisy, tmp_path / "preview.png", looks=2)) as file:
        grid = np.asarray(file.convert("RGB"))
    made = {key: pixels for key, pixels in pixels_of(tmp_path / "out").items() if key.startswith("face3__hair")}
    shown = {key for key, pixels in made.items() if _holds(grid, pixels.transpose(1, 2, 0))}
    assert shown == {key for key in made if "hair-brown" not in key}
    assert {key.partition("__look-")[2] for key in shown} == {"", "2"}


def far(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def _holds(grid: NDArray[np.uint8], picture: NDArray[np.uint8], scale: int = 6) -> bool:
    """Return whether a grid has an enlarged picture somewhere, but for rounding."""
    height, width = (scale * side for side in picture.shape[:2])
    starts = np.argwhere((np.abs(grid.astype(int) - picture[0, 0].astype(int)) <= 1).all(axis=2))
    views = (grid[y : y + height : scale, x : x + width : scale] for y, x in starts.tolist())
    return any(view.shape == picture.shape and far(view, picture) <= 1 for view in views)


def preview(manifest: Path, model: Path, out: Path, *, looks: int) -> Path:
    return write_preview(
        manifest,
        model=model,
        domains=("hair=black|blond",),
        splits=("train",),
        rows=10,
        out=out,
        reading=AS_WRITTEN,
        device=CPU,
        looks=looks,
    )


# ---- judging ----


@pytest.fixture
def judged(model: Path, space: LabelSpace, untrained_judge: MakeJudge) -> Path:
    """The model with a judge that is of two minds about its translations."""
    save_judge(model, untrained_judge(space, auto=Thresholds(agreement=0.1)))
    return model


def labels_of(out: Path) -> pd.DataFrame:
    return open_dataset(out).labels.set_index("key")


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_what_the_judge_doubts_is_thrown_out(
    output_format: OutputFormat, manifest: Path, judged: Path, tmp_path: Path
) -> None:
    everything = planned(manifest, judged, tmp_path / "all.h5", output_format=output_format, gate="off")
    run_expansion(everything, RUN, write_pages=write_report)
    gated = planned(manifest, judged, tmp_path / "out.h5", output_format=output_format)
    result = run_expansion(gated, RUN, write_pages=write_report)
    before, after = labels_of(everything.out), labels_of(gated.out)
    rejected = pd.read_csv(gated.paths.beside("rejected.csv")).set_index("key")
    scores = pd.read_csv(gated.paths.beside("scores.csv"))
    assert (result.counts.real, result.counts.synthetic) == (12, len(after) - 12)
    assert result.counts.rejected == len(rejected)
    assert 0 < len(rejected) < 20
    assert set(before.index) == {*after.index, *rejected.index}
    assert before["agreement"].isna().all()
    kept = after[after["is_synthetic"]]
    assert (kept["agreement"] >= 0.1).all()
    assert (rejected["agreement"] <= 0.1).all()
    assert after[~after["is_synthetic"]]["agreement"].isna().all()
    assert scores["key"].tolist() == kept.index.tolist()
    assert scores["agreement"].tolist() == kept["agreement"].tolist()
    product = scores["agreement:hair"] * scores["agreement:glasses"]
    assert np.abs(product - scores["agreement"]).max() < 2e-4
    assert verify_output(gated.out).ok


def test_the_description_says_who_judged(manifest: Path, judged: Path, tmp_path: Path) -> None:
    described = json.loads(json.dumps(planned(manifest, judged, tmp_path / "out").description()))
    assert described["gate"] == {
        "mode": "auto",
        "thresholds": {"agreement": 0.1, "realism": None, "preserved": None},
        "floor": None,
        "given": [],
        "offers": None,
        "lowered": [],
    }
    assert described["judge"]["trusted"] == ["hair", "glasses"]
    assert described["judge"]["attributes"][0]["accuracy"] == 0.9
    assert described["judge"]["sha256"] == described["made_of"]["judge"]["sha256"]


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_the_best_of_each_source_are_kept(
    output_format: OutputFormat, manifest: Path, judged: Path, tmp_path: Path
) -> None:
    expansion = planned(
        manifest,
        judged,
        tmp_path / "out.h5",
        output_format=output_format,
        domains=("all",),
        gate="off",
        keep_best=2,
    )
    result = run_expansion(expansion, RUN, write_pages=write_report)
    labels = labels_of(expansion.out)
    rejected = pd.read_csv(expansion.paths.beside("rejected.csv"))
    kept = labels[labels["is_synthetic"]]
    assert kept.groupby("source_id").size().tolist() == [2] * 10
    assert (result.counts.synthetic, result.counts.rejected) == (20, 30)
    assert set(rejected["reason"]) == {"not among the best 2 of its source"}
    worst = kept.groupby("source_id")["agreement"].min()
    best = rejected.groupby("source_id")["agreement"].max()
    assert (worst >= best).all()
    again = run_expansion(expansion, RUN, write_pages=write_report)
    assert (again.was_complete, again.counts) == (True, result.counts)


def test_the_fingerprint_knows_the_judge_and_what_it_is_asked(
    manifest: Path, judged: Path, space: LabelSpace, untrained_judge: MakeJudge, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    changes: list[dict[str, object]] = [
        {},
        {"min_agreement": 0.2},
        {"min_preserved": 0.2},
        {"keep_best": 1},
        {"keep_best": 1, "best_per": "domain"},
        {"keep_best": 2},
    ]
    found = {planned(manifest, judged, out, **change).fingerprint for change in changes}
    assert len(found) == len(changes)
    run_expansion(planned(manifest, judged, out), RUN, write_pages=write_report)
    with pytest.raises(OutputError, match=r"min_agreement was null, now 0\.2"):
        run_expansion(planned(manifest, judged, out, min_agreement=0.2), RUN, write_pages=write_report)
    save_judge(judged, untrained_judge(space, seed=1))
    with pytest.raises(OutputError, match=r"What differs: the judge \(sha256 "):
        run_expansion(planned(manifest, judged, out), RUN, write_pages=write_report)
    (judged / "judge.json").unlink()
    with pytest.raises(OutputError, match=r"the judge \(sha256 .*, now there is none\)"):
        run_expansion(planned(manifest, judged, out), RUN, write_pages=write_report)


def test_an_estimate_counts_on_the_judge(
    manifest: Path, judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, looks = {}, itertools.count()
    for gate in ("auto", "off"):
        expansion = planned(manifest, judged, tmp_path / "out", gate=gate)
        with monkeypatch.context() as patch:
            # All that is measured takes a second.
            patch.setattr(time, "monotonic", lambda: float(next(looks)))
            found = estimate(expansion, RUN)
        seconds[gate] = found.seconds or 0.0
    assert seconds["auto"] > seconds["off"] > 0


# ---- what is compiled ----


def test_a_failure_to_compile_names_the_flag(tmp_path: Path) -> None:
    message = r"failed \(no compiler\); translate without it: --compile off"
    with pytest.raises(CompilationError, match=message), explain_failures(tmp_path):
        raise CompilationError("torch.compile failed (no compiler)")


@pytest.mark.parametrize(
    ("flops", "device", "pays"),
    [
        (1e12, "cpu", False),
        (1e14, "cpu", True),
        (1e14, "cuda", False),
        (1e17, "cuda:1", True),
        (0.0, "cpu", False),
        (1e30, "meta", False),
    ],
)
def test_compiling_is_for_much_work(flops: float, device: str, pays: bool) -> None:
    assert compile_pays(flops, torch.device(device)) is pays


# ---- estimates ----


def test_an_estimate(manifest: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = estimate(planned(manifest, model, out, output_format="hdf5"), RUN)
    assert file.size == 32 * 16 * 16 * 3
    assert file.seconds is not None
    assert 0 < file.seconds < 60
    folder = planned(manifest, model, out)
    guessed = estimate(folder, RUN).size
    assert not out.exists()
    run_expansion(folder, RUN, write_pages=write_report)
    written = sum(path.stat().st_size for path in out.glob("*/*/*.png"))
    assert guessed is not None
    assert 0.5 < guessed / written < 2


def test_an_estimate_follows_the_size(manifest: Path, model: Path, tmp_path: Path) -> None:
    plain = planned(manifest, model, tmp_path / "a.h5", output_format="hdf5", size=(40, 30))
    assert estimate(plain, RUN).size == 32 * 40 * 30 * 3
    for form in ("folder", "hdf5"):
        own = planned(manifest, model, tmp_path / "b.h5", output_format=form, size="original")
        size = estimate(own, RUN).size
        assert size is not None
        # Noise of 20 x 18 px does not shrink as PNG.
        assert 20 * 18 * 3 < size / 32 < 1.2 * 20 * 18 * 3


def test_a_model_that_paints_whole_images_is_refused_other_sizes(
    manifest: Path, space: LabelSpace, tmp_path: Path
) -> None:
    painter = save(tmp_path / "painter", space, output="direct")
    planned(manifest, painter, tmp_path / "out")
    for size in ("original", (32, 24)):
        with pytest.raises(
            AugmentorError, match=r'--size: .* beyond 16x16\. Train .*generator\.output = "masked"'
        ):
            planned(manifest, painter, tmp_path / "out", size=size)
    assert len(
        planned(manifest, save(tmp_path / "adder", space, output="residual"), tmp_path, size="original").plan
    )


def test_an_estimate_without_images(small_manifest: MakeManifest, model: Path, tmp_path: Path) -> None:
    expansion = planned(small_manifest(broken=tuple(range(12))), model, tmp_path / "out")
    found = estimate(expansion, RUN)
    assert (found.size, found.seconds) == (None, None)


# ---- previews ----


def test_a_preview_needs_an_image(small_manifest: MakeManifest, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"

    def draw(manifest: Path) -> Path:
        return write_preview(
            manifest,
            model=model,
            domains=("each",),
            splits=("train",),
            rows=2,
            out=out,
            reading=AS_WRITTEN,
            device=CPU,
        )

    broken = small_manifest(broken=tuple(range(12)))
    with pytest.raises(ManifestError, match="no image of train can be read; augmentor check says why"):
        draw(broken)
    assert not out.exists()
    Image.new("RGB", (20, 20), "red").save(broken.parent / "3.png")
    assert draw(broken) == out
    with Image.open(out) as picture:
        assert 96 < picture.height < 2 * 96  # one row: the others cannot be read


# ---- what is not checked ----


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_what_was_not_checked_is_marked(
    output_format: OutputFormat,
    manifest: Path,
    model: Path,
    space: LabelSpace,
    untrained_judge: MakeJudge,
    tmp_path: Path,
) -> None:
    save_judge(model, untrained_judge(space, auto=Thresholds(agreement=0.0), doubted=("glasses",)))
    expansion = planned(manifest, model, tmp_path / "out", output_format=output_format, domains=("each",))
    run_expansion(expansion, RUN, write_pages=write_report)
    reason = "it is right about half"
    output = FinishedOutput.open(expansion.out)
    assert output.description["unchecked"] == [
        {"attribute": "glasses", "values": ["0", "1"], "reason": reason},
    ]
    labels = labels_of(expansion.out)
    made = labels[labels["is_synthetic"]]
    assert (made["agreement"].isna() == made["changed"].str.contains("glasses")).all()
    assert made["agreement"].notna().any()
    if output_format == "folder":
        written = pd.read_csv(expansion.out / "labels.csv", dtype=str, keep_default_na=False).set_index("key")
        unchecked = written["agreement"] == "unchecked"
        assert (unchecked == written["changed"].str.contains("glasses")).all()
        train = pd.read_csv(expansion.out / "train" / "metadata.csv")
        assert train["agreement"].dtype == np.float64
    page = expansion.paths.beside("report.html").read_text()
    first = page[page.index('<div class="note ') :][:400]
    assert first.startswith('<div class="note bad"><p><strong>Unchecked: glasses.</strong>')
    assert reason in first
    assert verify_output(expansion.out).ok


def test_a_gate_that_is_on_refuses_what_it_cannot_check(
    manifest: Path, model: Path, space: LabelSpace, untrained_judge: MakeJudge, tmp_path: Path
) -> None:
    save_judge(model, untrained_judge(space, doubted=("glasses",)))
    with pytest.raises(AugmentorError, match=r"--gate on: .* \(glasses=0\|1: it is right about half\)") as refused:
        planned(manifest, model, tmp_path / "out", gate="on", domains=("each",))
    assert refused.value.exit_code == 2
    sure = planned(manifest, model, tmp_path / "out", gate="on", domains=("hair=*",))
    assert (sure.unchecked, sure.judging is not None and sure.judging.gate.by_domain) == ((), True)
