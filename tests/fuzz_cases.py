"""Cases of the fuzz run: reading of damaged files and texts, and the invariants of what is read; for `fuzz.py`."""

from __future__ import annotations

import resource
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from augmentor.data.manifest import SPLITS, Manifest, key_stems, read_manifest, refuse_split_leaks
from augmentor.errors import AugmentorError, ImageError
from augmentor.images.decode import decode, upright_size
from augmentor.outputs.label_table import Keys, real_key
from augmentor.planning.domains import parse_domains
from augmentor.planning.plan import make_plan
from augmentor.storage.access import Access
from augmentor.training.recipe import read_recipe, write_recipe
from stargan.labels import UNKNOWN, Attribute, LabelSpace

if TYPE_CHECKING:
    from tests.fuzz_images import damaged_image
    from tests.fuzz_tables import WORDS, manifest_bytes, recipe_bytes, spec_text
else:  # What stands beside a script is found without the folder's name.
    from fuzz_images import damaged_image
    from fuzz_tables import WORDS, manifest_bytes, recipe_bytes, spec_text

ACCESS = Access(max_pixels=1 << 22)
"""Of a damaged image: what so many pixels unpack to must fit into `--megabytes`."""

FINE = ("read", "refused")
"""The outcomes that are no failures."""

MAX_ITEMS = 5000
"""Items of a plan that are looked at one by one."""

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
        Attribute(name="male"),
        Attribute(name="a b", kind="categorical", values=("1", "2", "日本")),
    )
)


class Case(NamedTuple):
    """One attempt.

    Args:
        kind: what is read: "manifest", "SPEC", "recipe" or "image".
        number: counts the cases of that kind.
    """

    kind: str
    number: int


class Outcome(NamedTuple):
    """The outcome of a case.

    Args:
        case: which.
        result: "read", "refused", or the failure: "error", "hang", "crash" or "memory".
        detail: of a failure.
        megabytes: by which the process's peak of memory rose.
    """

    case: Case
    result: str
    detail: str = ""
    megabytes: float = 0.0


def try_manifest(random: Random, folder: Path) -> str:
    """Read a random table as `train` and `expand` do."""
    file = folder / f"manifest{random.choice(('.csv', '.csv', '.csv', '.tsv', '.txt'))}"
    file.write_bytes(manifest_bytes(random))
    attributes = random.sample(("hair", "smile", *WORDS), 2) if random.random() < 0.03 else None
    one_hot = {random.choice(WORDS): ["hair", "male", "smile"][: random.randint(1, 3)]}
    if random.random() < 0.9:
        one_hot = {}
    manifest = read_manifest(file, attributes=attributes, one_hot=one_hot)
    check_manifest(manifest, random)
    again = read_manifest(file, space=manifest.space, one_hot=one_hot)
    check(np.array_equal(again.codes, manifest.codes), "the codes differ when the label space is given")
    refuse_split_leaks(manifest)
    return "read"


def check_manifest(manifest: Manifest, random: Random) -> None:
    """Check the invariants of a manifest that a plan and its output rely on."""
    space, codes, rows = manifest.space, manifest.codes, manifest.rows
    sizes = [len(attribute.values) for attribute in space.attributes]
    check(codes.shape == (len(rows), len(space)) and codes.size > 0, f"codes are {codes.shape}")
    check(bool((codes >= UNKNOWN).all() and (codes < sizes).all()), "codes without a value")
    check(bool(rows["id"].is_unique), "ids twice")
    check(set(rows["split"]) <= set(SPLITS), "a split that is none")
    check(LabelSpace.from_json(space.to_json()) == space, "the label space does not survive JSON")
    specs = [f"{name}=~" for name in random.sample(space.names, 1)]
    plan = make_plan(
        codes,
        space=space,
        request=parse_domains(["each", *specs], space),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    stems, keys = key_stems(rows).tolist(), Keys(space)
    made = [
        keys.key(stems[item.row], item.target) if item.is_synthetic else real_key(stems[item.row])
        for item in plan.items(0, min(len(plan), MAX_ITEMS))
    ]
    check(len({key.casefold() for key in made}) == len(made), "two images with one name")
    check(all(len(key) <= 180 and not key.startswith(".") and key.isascii() for key in made), "an unsafe name")
    check(not any(set(key) & set('/\\:*?"<>| \n\0') for key in made), "an unsafe name")


def try_spec(random: Random, folder: Path) -> str:
    """Read one to three random SPECs against a label space, and plan with them."""
    del folder
    request = parse_domains([spec_text(random, SPACE) for _ in range(random.randint(1, 3))], SPACE)
    codes = np.array([[random.randrange(-1, len(a.values)) for a in SPACE.attributes] for _ in range(4)], np.int16)
    plan = make_plan(codes, space=SPACE, request=request, eligible=np.ones(4, np.bool_), with_real=False)
    items = list(plan.items())
    check(len(items) == len(plan) == len({(item.row, item.target) for item in items}), "targets twice")
    check(all(item.target != tuple(codes[item.row].tolist()) for item in items), "a row's own domain")
    changed = plan.label_counts()["hair"].values()
    check(sum(after - before for before, after in changed) == len(plan), "label counts that do not add up")
    return "read"


def try_recipe(random: Random, folder: Path) -> str:
    """Read a random recipe; one that is valid is the same when it is written and read again."""
    file = folder / "recipe.toml"
    file.write_bytes(recipe_bytes(random))
    recipe = read_recipe(file)
    write_recipe(file, recipe)
    check(read_recipe(file) == recipe, "the recipe does not survive being written")
    return "read"


def try_image(random: Random, folder: Path) -> str:
    """Decode a damaged image file, twice: the pixels must not depend on what the memory held."""
    file = folder / "image"
    file.write_bytes(damaged_image(random))
    channels, size = random.choice((1, 3)), random.choice((None, (16, 16), (8, 30)))
    crop = random.choice((None, None, 5))
    try:
        first, again = (decode(file, channels=channels, size=size, crop=crop, access=ACCESS) for _ in range(2))
        shown = upright_size(file, access=ACCESS)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            raise MemoryError(str(error)) from error
        raise
    check(first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == channels, f"shape {first.shape}")
    check(np.array_equal(first, again), "other pixels the second time")
    expected = size or (shown if crop is None else (min(shown[0], crop), min(shown[1], crop)))
    check(first.shape[:2] == expected, f"{first.shape[:2]} pixels, not {expected}")
    return "read"


KINDS: Mapping[str, Callable[[Random, Path], str]] = {
    "manifest": try_manifest,
    "SPEC": try_spec,
    "recipe": try_recipe,
    "image": try_image,
}


def check(holds: bool, what: str) -> None:
    """Raise where something does not hold.

    Raises:
        AssertionError: saying what.
    """
    if not holds:
        raise AssertionError(what)


def attempt(case: Case, *, seed: int, megabytes: float, folder: Path) -> Outcome:
    """Run one case.

    Args:
        case: which; with the seed, it says everything.
        seed: of all cases.
        megabytes: that the process's peak of memory may rise by.
        folder: an existing one, for the case's files.
    """
    random = Random(f"{seed} {case.kind} {case.number}")
    before, result, detail = _peak_megabytes(), "refused", ""
    try:
        result = KINDS[case.kind](random, folder)
    except AugmentorError:
        pass
    except MemoryError:
        result, detail = "memory", traceback.format_exc()
    except Exception:  # noqa: BLE001 - any other error is what is looked for
        result, detail = "error", traceback.format_exc()
    grown = _peak_megabytes() - before
    if grown > megabytes and result in FINE:
        result, detail = "memory", f"{grown:,.0f} MB"
    return Outcome(case, result, detail, grown)


def _peak_megabytes() -> float:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
