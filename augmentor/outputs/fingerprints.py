"""Fingerprints of expansions, and messages that list the differences between two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from augmentor.errors import OutputError

_PLAN = "plan"
"""Follows from the other parts, unless another version of augmentor made it."""

_SHOWN = 160
"""Maximum characters of a value in a message."""


class Identity(NamedTuple):
    """What an output is made of: `fingerprint` is equal only if all parts are.

    `made_of` are the parts as plain JSON values: manifest, model, judge, settings. Empty where unknown.
    """

    fingerprint: str
    made_of: Mapping[str, object]

    @classmethod
    def of(cls, description: Mapping[str, object]) -> Identity:
        """Return the identity in a description; raise KeyError where it has no fingerprint."""
        made_of = description.get("made_of")
        return cls(str(description["fingerprint"]), made_of if isinstance(made_of, dict) else {})


def read_identity(path: Path) -> Identity | None:
    """Return the identity in a JSON file, None where it is missing; raise OutputError where it is damaged."""
    try:
        return Identity.of(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: damaged ({error!r}). Delete the output and run again.") from error


def is_same_run(found: Identity | None, expected: Identity) -> bool:
    """Return whether an output exists and is made of the same manifest, model and settings."""
    return found is not None and found.fingerprint == expected.fingerprint


def refuse_other_run(output: Path, *, found: Identity | None, expected: Identity) -> None:
    """Raise OutputError, which names the differences, unless an existing output was made by an equal run.

    `found` is None where the existing output's identity is unknown.
    """
    if found is None:
        raise OutputError(
            f"{output}: holds the output of another plan, model or settings, or of another program. "
            "Give another --out, or delete it."
        )
    if is_same_run(found, expected):
        return
    different = "; ".join(differences(found.made_of, expected.made_of))
    raise OutputError(
        f"{output}: holds the output of another plan, model or settings, which this run would spoil.\n"
        f"What differs: {different or 'it was made by another version of augmentor'}.\n"
        "Run it as it was run before, give another --out, or start anew with --overwrite."
    )


def differences(before: Mapping[str, object], now: Mapping[str, object], *, of: str = "") -> list[str]:
    """Return in words the differences between two identities' parts; empty where one is unknown.

    `of` names the part that `before` and `now` are the content of.
    """
    found: list[str] = []
    for name in [*before, *(name for name in now if name not in before)] if before and now else ():
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, of=name)
        elif old != new and name != _PLAN:
            found.append(_difference(of, name, old, new))
    return found


def _difference(of: str, name: str, old: object, new: object) -> str:
    if of == "manifest" and name != "rows":
        return f"the manifest's {name}"
    if name == "sha256" and old is None:
        return f"the {of} (there was none, now sha256 {_text(new)[:12]}...)"
    if name == "sha256" and new is None:
        return f"the {of} (sha256 {_text(old)[:12]}..., now there is none)"
    if name == "sha256":
        return f"the {of} (sha256 {_text(old)[:12]}..., now {_text(new)[:12]}...)"
    return f"{name if of == 'settings' else f'{of} {name}'} was {_text(old)}, now {_text(new)}"


def _text(value: object) -> str:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
