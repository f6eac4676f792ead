"""What differs between two runs on the same output is said in the user's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from augmentor.errors import OutputError
from augmentor.outputs.fingerprints import Identity, differences, is_same_run, read_identity, refuse_other_run

PARTS: dict[str, object] = {
    "manifest": {"rows": 12, "id": "a1", "path": "b1", "labels": "c1"},
    "model": {"sha256": "0123456789abcdef", "image_size": [16, 16], "crop": None},
    "settings": {"domains": ["hair=*"], "shard_size": 8, "real": "processed", "class_folders": None},
    "plan": "e1",
}


def changed(**parts: dict[str, object]) -> dict[str, object]:
    """Return the parts with some entries changed."""
    new = {name: dict(values) if isinstance(values, dict) else values for name, values in PARTS.items()}
    for name, entries in parts.items():
        part = new[name]
        assert isinstance(part, dict)
        part.update(entries)
    return {**new, "plan": "e2"}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (changed(settings={"domains": ["hair=~", "each"]}), ["domains was hair=*, now hair=~ each"]),
        (changed(settings={"shard_size": 9}), ["shard_size was 8, now 9"]),
        (changed(settings={"class_folders": "hair"}), ["class_folders was null, now hair"]),
        (
            changed(model={"sha256": "fedcba9876543210"}),
            ["the model (sha256 0123456789ab..., now fedcba987654...)"],
        ),
        (changed(model={"crop": 178}), ["model crop was null, now 178"]),
        (changed(manifest={"rows": 13, "path": "b2"}), ["manifest rows was 12, now 13", "the manifest's path"]),
        (changed(manifest={"labels": "c2"}), ["the manifest's labels"]),
        (changed(settings={"new": True}), ["new was null, now true"]),
        (changed(), []),
    ],
)
def test_differences(now: dict[str, object], said: list[str]) -> None:
    assert differences(PARTS, now) == said
    found, expected = Identity("1", PARTS), Identity("2", now)
    with pytest.raises(OutputError, match="out: holds the output of another plan, model or settings") as raised:
        refuse_other_run(Path("out"), found=found, expected=expected)
    what = "; ".join(said) or "it was made by another version of augmentor"
    assert f"What differs: {what}.\n" in str(raised.value)
    assert "start anew with --overwrite" in str(raised.value)


def test_long_values_are_cut() -> None:
    domains = [f"hair=colour{number}" for number in range(1000)]
    (said,) = differences(PARTS, changed(settings={"domains": domains}))
    assert len(said) < 250


def test_the_same_run_is_let_in_and_what_tells_nothing_is_not() -> None:
    refuse_other_run(Path("out"), found=Identity("1", PARTS), expected=Identity("1", PARTS))
    with pytest.raises(OutputError, match="out: holds the output of another plan, model or settings"):
        refuse_other_run(Path("out"), found=Identity("1", {}), expected=Identity("2", PARTS))
    with pytest.raises(OutputError, match="or of another program"):
        refuse_other_run(Path("out"), found=None, expected=Identity("2", PARTS))
    assert is_same_run(Identity("1", {}), Identity("1", PARTS))
    assert not is_same_run(Identity("1", PARTS), Identity("2", PARTS))
    assert not is_same_run(None, Identity("1", PARTS))


def test_identities_in_files(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert read_identity(path) is None
    path.write_text(json.dumps({"fingerprint": "1", "made_of": PARTS}))
    assert read_identity(path) == Identity("1", PARTS)
    path.write_text(json.dumps({"fingerprint": "1", "made_of": 3}))
    assert read_identity(path) == Identity("1", {})
    for damaged in ("", "{}", "[]", "3"):
        path.write_text(damaged)
        with pytest.raises(OutputError, match=r"run\.json: damaged"):
            read_identity(path)
