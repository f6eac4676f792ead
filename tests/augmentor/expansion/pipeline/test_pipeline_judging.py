"""Judged translations: rejected ones are not written, but recorded."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from augmentor.data.manifest import Manifest, key_stems
from augmentor.expansion.pipeline import Sources, run_shards
from augmentor.expansion.progress import Progress
from augmentor.expansion.shard_assembly import Shard
from augmentor.images import OutputSize, decode, decode_bytes
from augmentor.judge.gate import DeviceJudge, Judgement
from augmentor.judge.scores import Scores
from augmentor.outputs.judge_results import RowScores
from stargan.checkpoints import Model
from stargan.inference import Translator
from tests.augmentor.expansion.pipeline.shards import CPU, Memory, make, make_items
from tests.waiting import scaled


class Greyish(DeviceJudge):
    """DeviceJudge by a picture's mean grey level, which it notes with all that it was asked."""

    def __init__(self, least: float) -> None:
        self.least = least
        self.asked: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def judge(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Judgement:
        self.asked.append((pictures.clone(), sources, targets, own))
        grey = pictures.double().mean(dim=(1, 2, 3)).numpy() / 255
        unknown = np.full(len(grey), np.nan)
        scores = Scores(
            agreement=grey,
            per_attribute=np.stack([grey, unknown], axis=1),
            realism=unknown,
            preserved=1 - grey,
            expected=unknown,
            checked=np.ones(len(grey), dtype=bool),
            discriminator=unknown,
        )
        reasons = ["" if level >= self.least else f"agreement {level:.4f} < {self.least:.4f}" for level in grey]
        return Judgement(scores, reasons, self.least - grey)


@pytest.mark.parametrize("size", ["model", "original"])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_what_the_judge_rejects_is_not_written(
    batch_size: int, size: OutputSize, manifest: Manifest, model: Model
) -> None:
    items, ungated, gated = make_items(manifest), Memory(), Memory()
    plain = make(manifest, model, ungated, items=items, batch_size=batch_size, size=size)
    everything = Greyish(0.0)
    make(manifest, model, Memory(), items=items, batch_size=batch_size, size=size, judges=everything)
    pictures, sources, targets, own = map(torch.cat, zip(*everything.asked, strict=True))
    good = {place: item for place, item in enumerate(items) if item.row not in (2, 5)}
    places = [place for place, item in good.items() if item.is_synthetic]
    assert targets.tolist() == [list(items[place].target) for place in places]
    assert own.tolist() == [manifest.codes[items[place].row].tolist() for place in places]
    for place, picture, source in zip(places, pictures, sources, strict=True):
        path = manifest.image_path(items[place].row)
        assert np.array_equal(source.permute(1, 2, 0), decode(path, size=(16, 16), channels=3))
        if size == "model":
            assert np.array_equal(picture.permute(1, 2, 0), ungated.images[place][1])
        assert picture.shape == (3, 16, 16)
        assert not torch.equal(picture, source)
    levels = dict(zip(places, (pictures.double().mean(dim=(1, 2, 3)) / 255).tolist(), strict=True))
    least = float(np.median(list(levels.values())))
    failed, done = make(
        manifest, model, gated, items=items, batch_size=batch_size, size=size, judges=Greyish(least)
    )
    assert (failed, done[-1]) == (plain[0], len(items))
    assert set(gated.images) == {place for place in good if levels.get(place, 1.0) >= least}
    for place, (row, pixels) in gated.images.items():
        before, same = ungated.images[place]
        assert np.array_equal(pixels, same)
        expected = round(levels[place], 4) if row.is_synthetic else None
        assert row == before._replace(agreement=expected)
    rejected = gated.judged.rejected
    assert [each.position for each in rejected] == sorted(place for place in places if levels[place] < least)
    assert set(gated.judged.scores) == set(places) - {each.position for each in rejected}
    for each in rejected:
        level = round(levels[each.position], 4)
        assert each.row == ungated.images[each.position][0]._replace(agreement=level)
        assert each.reason.startswith("agreement 0.")
        assert each.scores == RowScores(round(1 - levels[each.position], 4), (level, None))


def test_pictures_of_the_worst_and_the_nearest_are_kept(manifest: Manifest, model: Model) -> None:
    shard, plain = Memory(), Memory()
    make(manifest, model, plain, items=make_items(manifest))
    make(manifest, model, shard, items=make_items(manifest), judges=Greyish(1.0))
    rejected = shard.judged.rejected
    assert len(rejected) > 6
    assert all(row.is_synthetic is False for row, _ in shard.images.values())
    level = {each.position: plain.images[each.position][1].mean() for each in rejected}
    ranked = sorted(level, key=lambda position: level[position])
    shown = {each.position: each.thumbnail for each in rejected if each.thumbnail}
    assert set(shown) == {*ranked[:3], *ranked[-3:]}
    for position, thumbnail in shown.items():
        picture = decode_bytes(base64.b64decode(thumbnail), channels=3)
        assert picture.shape == (16, 16, 3)
        assert abs(picture.mean() - level[position]) < 4


@pytest.mark.usefixtures("too_large_an_original")
def test_a_failed_row_is_not_rejected_as_well(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest), size="original", judges=Greyish(1.0))
    assert shard.failures is not None
    assert [failure.id for failure in shard.failures] == ["face 2", "face 3", "face 5"]
    assert {each.row.source_id for each in shard.judged.rejected} == {"face 0", "face 1", "face 4"}


def test_judging_is_a_stage_and_rejections_are_told(manifest: Manifest, model: Model) -> None:
    pause = scaled(0.1)

    class Slow(Greyish):
        def judge(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Judgement:
            time.sleep(pause)
            return super().judge(pictures, sources, targets, own)

    news: list[Progress] = []
    run_shards(
        [Shard(number, make_items(manifest), Memory()) for number in range(2)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real="processed"),
        translator=Translator(model, device=CPU, batch_size=4),
        workers=2,
        judges=Slow(1.0),
        on_progress=news.append,
    )
    loads = news[-1].loads
    assert loads is not None
    assert loads.slowest == "judging"
    assert loads.seconds["judging"] >= pause * 2 * 5
    assert (news[-1].rejected, news[-1].done) == (2 * 4 * 5, 2 * len(make_items(manifest)))
