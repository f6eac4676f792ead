"""What the judge is worth, and where it errs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from augmentor.report.values import items, mapping, number, text
from augmentor.storage import Json

_MOST_VALUES = 16


@dataclass(frozen=True, kw_only=True)
class Recall:
    """One value: which share of its real validation images the judge recognises, and what it takes them for.

    Args:
        value: the value.
        share: in [0, 1].
        said: per value of the attribute the share of this one's images that it is taken for; empty if unknown.
    """

    value: str
    share: float
    said: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JudgedAttribute:
    """One attribute; shares in [0, 1], None for unknown."""

    name: str
    accuracy: float | None
    chance: float | None
    real_images: int
    error: float | None
    trusted: bool
    doubt: str
    recalls: tuple[Recall, ...]
    hidden: int

    @property
    def confused(self) -> bool:
        """Whether it is known what its values are taken for."""
        return any(recall.said for recall in self.recalls)


@dataclass(frozen=True, kw_only=True)
class JudgeView:
    """The judge that an expansion was gated by."""

    sha256: str
    validation: str
    images: int | None
    steps: int | None
    attributes: tuple[JudgedAttribute, ...]
    offers: str


def judge_of(description: Mapping[str, Json]) -> JudgeView | None:
    """Return what `dataset.json` says of the judge; None where there was none."""
    judge = mapping(description.get("judge"))
    report = mapping(judge.get("report")) or judge
    attributes = tuple(_attribute(mapping(each)) for each in items(report.get("attributes")))
    if not attributes:
        return None
    images, steps = number(report.get("images")), number(report.get("steps"))
    return JudgeView(
        sha256=text(judge.get("sha256")),
        validation=text(report.get("validation")),
        images=None if images is None else int(images),
        steps=None if steps is None else int(steps),
        attributes=attributes,
        offers=_offers(mapping(judge.get("offers") or mapping(description.get("gate")).get("offers"))),
    )


def _attribute(state: Mapping[str, Json]) -> JudgedAttribute:
    shares = [(value, number(share)) for value, share in mapping(state.get("values")).items()]
    known = [(value, share) for value, share in shares if share is not None]
    confusion = [items(row) for row in items(state.get("confusion"))]
    fits = len(confusion) == len(known) and all(len(row) == len(known) for row in confusion)
    recalls = [
        Recall(
            value=value, share=share, said=_shares(confusion[row]) if fits and len(known) <= _MOST_VALUES else ()
        )
        for row, (value, share) in enumerate(known)
    ]
    return JudgedAttribute(
        name=text(state.get("name")),
        accuracy=number(state.get("accuracy")),
        chance=number(state.get("chance")),
        real_images=int(number(state.get("real_images")) or 0),
        error=number(state.get("error_after")),
        trusted=state.get("trusted") is True,
        doubt=text(state.get("doubt")),
        recalls=tuple(recalls[:_MOST_VALUES]),
        hidden=max(0, len(recalls) - _MOST_VALUES),
    )


def _shares(row: object) -> tuple[float, ...]:
    counts = [number(count) or 0.0 for count in row] if isinstance(row, list | tuple) else []
    return tuple(count / max(1.0, sum(counts)) for count in counts)


def _offers(offers: Mapping[str, Json]) -> str:
    kept, rejected = number(offers.get("true_kept")), number(offers.get("false_rejected"))
    if kept is None or rejected is None:
        return ""
    return (
        f"Offered real validation images under wrong labels, the gate's agreement rejects {rejected:.1%} of them; "
        f"under their own, it keeps {kept:.1%}."
    )
