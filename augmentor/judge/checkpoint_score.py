"""Score of a generator during training: target accuracy x preservation on a fixed sample of validation images."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import chain, zip_longest

import torch
from torch import Tensor

from augmentor.data.manifest import subject_names
from augmentor.judge.data import LabelledImages
from augmentor.judge.report import recalls
from augmentor.judge.stored import KeptJudge
from augmentor.judge.translations import requested_targets
from augmentor.planning import parse_domains
from stargan.inference import Translator
from stargan.labels import UNKNOWN

_FEWEST, _MOST = 64, 384
"""Translations of a sample."""

_SIDE = 8
"""Pixels of a side at which translations are compared with their sources."""

_TIMED = 32
"""Translations that the speed is measured with."""


@dataclass(frozen=True, kw_only=True)
class AttributeScore:
    """Score of the translations that change one attribute. Shares are in [0, 1].

    Args:
        accuracy: share in which the judge recognises the new value, the mean over the values.
        kept: share in which it still reads the other attributes' values, where it read them right in the source:
            the mean over values and attributes; 1 without other attributes.
        same: how surely a translation is recognised as one of its source: the share of real images of other
            subjects and the source's domain that look less like it than the source does, scaled so that chance
            is 0. Images are compared by their correlation at 8 x 8 pixels.
    """

    accuracy: float
    kept: float
    same: float

    @property
    def preservation(self) -> float:
        """`kept` x `same`."""
        return self.kept * self.same


@dataclass(frozen=True, kw_only=True)
class TranslationScore:
    """Score of a generator: the mean over the attributes of accuracy x preservation.

    A generator that does nothing preserves all, and has the accuracy of the judge's mistakes. One that paints the
    same picture of a domain over every source has the accuracy, and keeps the other values of its target; but
    its picture is no more like its source than like other images of the source's domain, so `same` is 0. Neither
    factor grows with how little is changed: a translation that is nearest to its source has all of `same`, so that
    a large change, where one is needed, loses nothing against a small one. (`same` is not read from the
    judge's features: those of a judge that knows its attributes well differ by little else.)
    """

    attributes: dict[str, AttributeScore]
    translations: int

    @property
    def score(self) -> float:
        """The score, in [0, 1]."""
        each = [attribute.accuracy * attribute.preservation for attribute in self.attributes.values()]
        return sum(each) / len(each)

    @property
    def error(self) -> float:
        """Standard error of a share like `score` of so many translations."""
        return math.sqrt(self.score * (1 - self.score) / self.translations)


class ScoreSample:
    """A fixed sample of translations of real validation images, scored by a judge in which it trusts.

    Args:
        kept: the judge; only attributes that it can be trusted with count.
        validation: real images.
        groups: their subjects; "" is one of its own.
    """

    def __init__(self, kept: KeptJudge, validation: LabelledImages, groups: tuple[str, ...]) -> None:
        self._kept, self._validation = kept, validation
        self._space = kept.judge.space
        self._predicted, self._coarse = kept.judge.predict(validation.images), _coarse(validation.images)
        names = subject_names(groups, range(len(groups)))
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        subjects = torch.tensor([numbers[name] for name in names])
        self._others = subjects[:, None] != subjects
        self.rows, self.targets = self._balanced()

    def __len__(self) -> int:
        return len(self.rows)

    def shorten(self, most: int) -> None:
        """Keep the first translations only."""
        self.rows, self.targets = self.rows[:most], self.targets[:most]

    def fit(self, translator: Translator, *, seconds: float) -> None:
        """Shorten the sample to what can be scored in about so many seconds; it keeps 64 in any case."""
        for _ in range(2):  # the first time, things are set up
            start = time.monotonic()
            self._kept.judge.predict(self._translate(translator, self.rows[:_TIMED], self.targets[:_TIMED]))
            speed = min(len(self), _TIMED) / max(time.monotonic() - start, 1e-9)
        self.shorten(min(_MOST, max(_FEWEST, int(speed * seconds))))

    def score(self, translator: Translator) -> TranslationScore:
        """Translate the sample and score it; the translator's label space is the judge's."""
        translated = self._translate(translator, self.rows, self.targets)
        predicted, codes = self._kept.judge.predict(translated), self._validation.codes[self.rows]
        changed = (self.targets != codes) & (self.targets != UNKNOWN)
        scores = {}
        for column in self._columns():
            some = changed[:, column]
            if not some.any():
                continue
            wanted = self.targets[some].clone()
            rows = self.rows[some]
            wanted[:, [other for other in range(len(self._space)) if other != column]] = UNKNOWN
            found = recalls(predicted[some], wanted, self._space)[self._space.names[column]]
            scores[self._space.names[column]] = AttributeScore(
                accuracy=round(sum(found.values()) / len(found), 6),
                kept=round(self._kept_share(predicted[some], rows, column), 6),
                same=round(self._same_share(translated[some], rows), 6),
            )
        return TranslationScore(attributes=scores, translations=len(self))

    def _translate(self, translator: Translator, rows: Tensor, targets: Tensor) -> Tensor:
        sources, own = self._validation.images[rows], self._validation.codes[rows]
        return translator.translate(sources, self._space.to_one_label_set(targets, own), rows)

    def _columns(self) -> list[int]:
        trusted = self._kept.report.trusted
        return [column for column, name in enumerate(self._space.names) if name in trusted]

    def _balanced(self) -> tuple[Tensor, Tensor]:
        """Return rows and targets of single changes of trusted attributes, in turn into each of their values."""
        codes = self._validation.codes
        rows, targets = requested_targets(self._validation, parse_domains(["each"], self._space), self._space)
        own = codes[rows]
        changed = (targets != own) & (own != UNKNOWN) & (targets != UNKNOWN)
        lists = [
            torch.nonzero(changed[:, column] & (targets[:, column] == value))[:, 0].tolist()
            for column in self._columns()
            for value in range(len(self._space.attributes[column].values))
            if self._kept.reference.knows(column, value)
        ]
        order = [item for item in chain.from_iterable(zip_longest(*lists)) if item is not None][:_MOST]
        return rows[order], targets[order]

    def _kept_share(self, predicted: Tensor, rows: Tensor, column: int) -> float:
        """Return the share of translations in which the judge still reads the values of the other attributes."""
        codes = self._validation.codes[rows]
        right = codes.masked_fill(self._predicted[rows] != codes, UNKNOWN)
        found = recalls(predicted, right, self._space)
        shares = [
            sum(found[name].values()) / len(found[name])
            for other, name in enumerate(self._space.names)
            if other != column and other in self._columns() and found[name]
        ]
        return sum(shares) / len(shares) if shares else 1.0

    def _same_share(self, translated: Tensor, rows: Tensor) -> float:
        """Return how surely translations of `rows`, (M, C, H, W) uint8, are nearest to their source."""
        alike = _coarse(translated) @ self._coarse.T
        codes = self._validation.codes
        rivals = self._others[rows] & (codes[rows][:, None] == codes[None]).all(dim=2)
        # A rare domain may have no other subject: then all other subjects are compared with.
        rivals = torch.where(rivals.any(dim=1, keepdim=True), rivals, self._others[rows])
        own = alike.gather(1, rows[:, None])
        less = torch.where(alike == own, 0.5, (alike < own).double())
        counted = rivals.any(dim=1)
        shares = (less * rivals).sum(dim=1)[counted] / rivals.sum(dim=1)[counted]
        return max(0.0, 2 * float(shares.mean()) - 1) if len(shares) else 0.0


def _coarse(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) uint8 as (N, F) of unit length, whose products are the images' correlations."""
    pooled = torch.nn.functional.adaptive_avg_pool2d(images.double(), _SIDE).flatten(1)
    return torch.nn.functional.normalize(pooled - pooled.mean(dim=1, keepdim=True), dim=1)
