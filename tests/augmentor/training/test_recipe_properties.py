"""Any recipe and any `--set` is validated or refused in words, and what was validated can be written again."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from augmentor.errors import RecipeError
from augmentor.training.recipe import Recipe, read_recipe, write_recipe

quick = settings(max_examples=80, deadline=None, derandomize=True)

SECTIONS = {
    name: tuple(field.annotation.model_fields)
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
KEYS = sorted({key for keys in SECTIONS.values() for key in keys})

scalars = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(0, 300)
    | st.floats()
    | st.sampled_from(
        ["", "auto", "on", "resnet", "unet", "dcgan", "drawn", "norm", "adain", "../x", "日本", "x" * 999]
    )
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.datetimes()
    | st.dates()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
small: dict[str, list[object]] = {
    "images.size": [8, 16, 32, [32, 16], 128],
    "images.channels": [1, 3],
    "images.random_crop": [1, 1.5],
    "generator.kind": ["resnet", "unet"],
    "generator.width": [1, 8],
    "generator.downsamplings": [0, 1, 2],
    "generator.conditioning": ["concat", "norm"],
    "discriminator.kind": ["patch", "dcgan"],
    "discriminator.depth": [1, 2, 3],
    "training.steps": [1, 10**12],
    "training.minutes": [0.5, 3],
    "training.batch_size": [1, 2, 64],
    "training.targets": ["permuted", "drawn", "balanced", "mixed", "mixed-balanced"],
    "training.augment": [[], ["color"], ["color", "cutout"], ["geometry"]],
    "training.augment_probability": [0, 0.5, 1, 2, "adaptive", "often"],
    "loss.multiscale_weights": [[], [1.0, 0.5]],
    "loss.r1_weight": [0, 1e-9, 1e300],
    "attributes.hair.one_hot": [["black", "blond"], ["a b", "日本"]],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


def read_or_refuse(path: Path | None, overrides: list[str]) -> Recipe | RecipeError:
    try:
        return read_recipe(path, overrides)
    except RecipeError as error:
        return error


def check(path: Path | None, overrides: list[str], folder: Path) -> None:
    """Read a recipe; where that works, write it and read it again."""
    recipe = read_or_refuse(path, overrides)
    if isinstance(recipe, RecipeError):
        assert str(recipe).strip()
        return
    write_recipe(folder / "again.toml", recipe, header=["made by a test"])
    assert read_recipe(folder / "again.toml") == recipe


@quick
@given(chosen=st.lists(st.sampled_from(sorted(small)), unique=True, max_size=8), data=st.data())
def test_sensible_settings_survive_being_written(chosen: list[str], data: st.DataObject, folder: Path) -> None:
    overrides = [f"{key}={tomli_w.dumps({'v': data.draw(st.sampled_from(small[key]))})[4:]}" for key in chosen]
    check(None, overrides, folder)


@quick
@given(
    content=st.dictionaries(
        st.sampled_from([*SECTIONS, "attributes", "nonsense"]),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), values, max_size=4) | values,
        max_size=4,
    )
)
def test_any_toml_is_validated_or_refused(content: dict[str, object], folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_bytes(tomli_w.dumps(content).encode())
    check(path, [], folder)


@quick
@given(data=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_validated_or_refused(data: bytes, folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_bytes(b"[training]\nseed = 1\n" + data)
    check(path, [], folder)


@quick
@given(
    overrides=st.lists(
        st.tuples(
            st.sampled_from([*SECTIONS, "attributes", "", "x"]),
            st.sampled_from([*KEYS, "hair.one_hot", "a.b.c", "", "."]),
            st.sampled_from(
                ["1", "true", "[1, 2]", "'x'", "{a=1}", "nan", "-inf", "", "\n[x]", "1\ny=2", "0x1", "\0"]
            )
            | st.text(max_size=6),
        ).map(lambda parts: f"{parts[0]}.{parts[1]}={parts[2]}")
        | st.text(max_size=12),
        max_size=3,
    )
)
def test_any_override_is_validated_or_refused(overrides: list[str], folder: Path) -> None:
    check(None, overrides, folder)


WRONG = ("many", "64x32", "-1", "1e30", "nan", "[1, 'a']", "{}", "{a = 1}", "1979-05-27")
RAW = ("pydantic", "type=", "http", "Input ", "validat", "unable to parse", "Value error", "Extra input", "Field ")
SETTINGS = [
    *(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys),
    "attributes.hair.one_hot",
    "attributes.hair",
    *SECTIONS,
    "attributes",
]


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_refuses_in_words_of_the_recipe(key: str, folder: Path) -> None:
    file = folder / "wrong.toml"
    refused = 0
    for text in WRONG:
        # A second fault, so that the checks of the whole recipe, which build its networks, are not reached.
        file.write_text(f"zzz = 1\n{key} = {repr(text) if text in ('many', '64x32') else text}\n")
        cases = [(read_or_refuse(file, []), f"{file}: ")]
        if "." in key:
            cases.append((read_or_refuse(None, ["zzz.zzz=1", f"{key}={text}"]), f"--set {key}={text}: "))
        for error, place in cases:
            lines = [line for line in str(error).splitlines() if "unknown key 'zzz'" not in line]
            assert isinstance(error, RecipeError)
            for line in lines:
                assert line.startswith((f"{place}{key}", f"{place}unknown key '{key}.")), line
                assert not [raw for raw in RAW if raw in line], line
                assert any(word in line for word in (" must be ", "Known: ", "must not", " than ", "neither")), (
                    line
                )
            refused += bool(lines)
    assert refused > 1, "hardly any value is wrong for it"


@pytest.mark.parametrize("section", [*SECTIONS, "attributes.hair"])
def test_an_unknown_key_of_every_section_is_named_with_the_known_ones(section: str, folder: Path) -> None:
    file = folder / "unknown.toml"
    file.write_text(f"[{section}]\nzzz = 1\n")
    for error, place in (
        (read_or_refuse(file, []), str(file)),
        (read_or_refuse(None, [f"{section}.zzz=1"]), f"--set {section}.zzz=1"),
    ):
        assert f"{place}: unknown key '{section}.zzz'. Known: " in str(error)
