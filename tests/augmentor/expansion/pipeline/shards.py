"""Shards in memory, and how tests of the pipeline make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from augmentor.data import Failure
from augmentor.data.manifest import Manifest, key_stems
from augmentor.expansion.pipeline import RealMode, Sources, run_shards
from augmentor.expansion.progress import Progress
from augmentor.expansion.shard_assembly import Shard
from augmentor.images import OutputSize, Pixels
from augmentor.judge.gate import DeviceJudge
from augmentor.outputs import ShardRecord
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.source_files import SourceFile
from augmentor.outputs.writers import ShardWriter
from augmentor.planning.domains import parse_domains
from augmentor.planning.items import Item
from augmentor.planning.plan import make_plan
from stargan.checkpoints import Model
from stargan.inference import Translator

CPU = torch.device("cpu")


class Memory(ShardWriter):
    """A shard that is kept in memory."""

    def __init__(self) -> None:
        super().__init__(Path("memory"), 0, encoding=None)
        self.images: dict[int, tuple[LabelRow, Pixels]] = {}
        self.links: dict[int, tuple[LabelRow, Path]] = {}
        self.failures: list[Failure] | None = None
        self.judged = NO_JUDGE_RESULTS
        self.origins: dict[str, SourceFile] = {}
        self.open = False

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        assert self.open
        assert position not in self.images
        self.images[position] = row, pixels.copy()

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        for image in images:
            self.add(*image)

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        assert self.open
        self.links[position] = row, source

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        self.committing()
        assert self.failures is None
        self.failures, self.origins, self.judged = list(failures), dict(origins or {}), judged

    def _publish(self, record: ShardRecord) -> None:
        raise AssertionError(f"shard {record.index} is kept in memory")

    def committing(self) -> None:
        """Do nothing ahead of a commit; for tests in which a commit takes long."""


def make_items(manifest: Manifest) -> list[Item]:
    """Return real images and all three-by-two targets of the training rows."""
    plan = make_plan(
        manifest.codes,
        space=manifest.space,
        request=parse_domains(["all"], manifest.space),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    return list(plan.items())


def make(
    manifest: Manifest,
    model: Model,
    shard: Memory,
    *,
    items: Iterator[Item] | list[Item],
    batch_size: int = 4,
    real: RealMode = "processed",
    size: OutputSize = "model",
    judges: DeviceJudge | None = None,
) -> tuple[int, list[int]]:
    """Run the shard; return its failures' number and how many items were done, as it was told."""
    news: list[Progress] = []
    run_shards(
        [Shard(0, items, shard)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real=real, size=size),
        translator=Translator(model, device=CPU, batch_size=batch_size),
        workers=2,
        judges=judges,
        on_progress=news.append,
    )
    return news[-1].failed, [each.done for each in news]
