"""Checkpoints: whole or not there, and every damage is one error that names the file."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from stargan.checkpoints import (
    CheckpointError,
    Json,
    Model,
    find_checkpoint,
    json_sha256,
    load_discriminator,
    load_model,
    load_state,
    newest_checkpoint,
    save_checkpoint,
    save_model,
)
from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from stargan.training import Batch, TrainState, train

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=4, critic_steps=2, learning_rate=1e-3)
SETTINGS: Mapping[str, Json] = {"images": {"size": 16, "crop": 0}, "manifest": "faces.csv", "none": None}
FILES = [
    "discriminator",
    "discriminator_optimizer",
    "generator",
    "generator_ema",
    "generator_optimizer",
]


@pytest.fixture
def state(
    space: LabelSpace, tiny_state: Callable[..., TrainState], noise_batches: Callable[[int], Iterator[Batch]]
) -> TrainState:
    """A state that has trained for four steps."""
    state = tiny_state(CONFIG, conditioning="norm", output="masked")
    train(
        state=state,
        config=CONFIG,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=lambda _event: None,
    )
    return state


@pytest.fixture
def saved(tmp_path: Path, state: TrainState, space: LabelSpace) -> Path:
    folder = tmp_path / "run" / "checkpoints" / "00000004"
    save(folder, state, space)
    return folder


def save(folder: Path, state: TrainState, space: LabelSpace) -> None:
    save_checkpoint(folder, state=state, config=CONFIG, space=space, image_size=(16, 16), settings=SETTINGS)


def edit_description(folder: Path, change: Callable[[dict[str, Json]], object]) -> None:
    """Change a description as somebody would who knows how to leave out its own hash."""
    file = folder / "config.json"
    description = json.loads(file.read_text())
    description.pop("sha256", None)
    change(description)
    file.write_text(json.dumps(description))


def test_the_better_average_translates_and_both_are_resumed(
    state: TrainState, space: LabelSpace, tmp_path: Path
) -> None:
    state.short_average = copy.deepcopy(state.average)
    for weight in state.short_average.parameters():
        weight.data += 1
    for short in (False, True):
        folder = tmp_path / str(short)
        save_checkpoint(
            folder,
            state=state,
            config=CONFIG,
            space=space,
            image_size=(16, 16),
            settings=SETTINGS,
            translates_short=short,
        )
        model = load_model(folder)
        wanted = state.short_average if short else state.average
        for found, weight in zip(model.generator.parameters(), wanted.parameters(), strict=True):
            assert torch.equal(found, weight)
        name = "generator_ema_short.safetensors" if short else "generator_ema.safetensors"
        assert model.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        resumed = load_state(folder, config=CONFIG, device=CPU)
        assert resumed.short_average is not None
        for one, other in (
            (resumed.average, state.average),
            (resumed.short_average, state.short_average),
        ):
            for found, weight in zip(one.parameters(), other.parameters(), strict=True):
                assert torch.equal(found, weight)


def test_a_checkpoint_without_a_short_average_is_resumed_without(saved: Path) -> None:
    assert load_state(saved, config=CONFIG, device=CPU).short_average is None


def test_a_run_is_its_best_checkpoint_or_its_newest(saved: Path, state: TrainState, space: LabelSpace) -> None:
    run, best = saved.parents[1], saved.parents[1] / "best.json"
    state.step = 5
    newer = saved.with_name("00000005")
    save(newer, state, space)
    best.write_text('{"step": 4}')
    assert (find_checkpoint(run), newest_checkpoint(run)) == (saved, newer)
    assert load_model(run).step == 4
    assert load_state(run, config=CONFIG, device=CPU).step == 5
    for other in ('{"step": null}', '{"step": 3}'):  # none, and one that was deleted
        best.write_text(other)
        assert find_checkpoint(run) == newer
    for damaged in ("", "{", "[]", "{}", '{"step": "four"}'):
        best.write_text(damaged)
        with pytest.raises(CheckpointError, match=r"best\.json cannot be read .* Delete it"):
            find_checkpoint(run)
        assert find_checkpoint(saved) == newest_checkpoint(saved) == saved


def test_a_model_comes_back_as_it_was(saved: Path, state: TrainState, space: LabelSpace) -> None:
    model = load_model(saved)
    assert model.space == space
    assert model.image_size == (16, 16)
    assert model.image_channels == 3
    assert model.step == 4
    assert model.settings == SETTINGS
    assert model.sha256 == hashlib.sha256((saved / "generator_ema.safetensors").read_bytes()).hexdigest()
    assert not model.generator.training
    assert not any(weight.requires_grad for weight in model.generator.parameters())
    assert model.generator.arguments == state.generator.arguments
    average = state.average.state_dict()
    assert {name: weight.tolist() for name, weight in model.generator.state_dict().items()} == {
        name: weight.tolist() for name, weight in average.items()
    }


def test_a_state_comes_back_as_it_was(saved: Path, state: TrainState, space: LabelSpace, tmp_path: Path) -> None:
    loaded = load_state(saved, config=CONFIG, device=CPU)
    assert loaded.step == 4
    assert loaded.elapsed == state.elapsed > 0
    again = tmp_path / "again"
    save(again, loaded, space)
    assert sorted(file.name for file in again.iterdir()) == sorted(
        ["config.json", *(f"{name}.safetensors" for name in FILES)]
    )
    for name in FILES:
        file = f"{name}.safetensors"
        assert (again / file).read_bytes() == (saved / file).read_bytes(), name


def test_the_description_explains_itself(saved: Path) -> None:
    description = json.loads((saved / "config.json").read_text())
    assert description["label_space"] == [
        {"name": "hair", "kind": "categorical", "values": ["black", "blond", "brown"]},
        {"name": "glasses", "kind": "binary", "values": ["0", "1"]},
    ]
    assert description["train"]["critic_steps"] == 2
    assert description["generator"]["width"] == 4
    assert description["files"] == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in saved.glob("*.safetensors")
    }


def test_loading_leaves_the_global_random_state(saved: Path) -> None:
    before = torch.get_rng_state()
    load_model(saved)
    load_state(saved, config=CONFIG, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)


# ---- which one ----


def test_a_run_folder_means_its_newest_checkpoint(saved: Path, state: TrainState, space: LabelSpace) -> None:
    run = saved.parents[1]
    newer = saved.with_name("00000120")
    save(newer, state, space)
    assert find_checkpoint(run) == newer
    assert find_checkpoint(saved) == saved
    (newer / "config.json").unlink()
    assert find_checkpoint(run) == saved


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a run folder with a checkpoint nor a checkpoint"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="missing is neither"):
        load_state(tmp_path / "missing", config=CONFIG, device=CPU)


# ---- a kill while writing ----


def test_a_leftover_draft_is_neither_found_nor_in_the_way(
    saved: Path, state: TrainState, space: LabelSpace
) -> None:
    run, draft = saved.parents[1], saved.with_name(".00000004.part")
    # Killed at the last moment: all is written, but for the rename; then the start of the next attempt.
    saved.rename(draft)
    (draft / "generator.safetensors").write_bytes(b"cut sh")
    with pytest.raises(CheckpointError, match="neither a run folder"):
        find_checkpoint(run)
    save(saved, state, space)
    assert not draft.exists()
    assert find_checkpoint(run) == saved
    assert load_state(run, config=CONFIG, device=CPU).step == 4


def test_a_failure_while_writing_leaves_no_folder(tmp_path: Path, state: TrainState, space: LabelSpace) -> None:
    folder = tmp_path / "new"
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(
            folder,
            state=state,
            config=CONFIG,
            space=space,
            image_size=(16, 16),
            settings={"a set": {1, 2}},  # type: ignore[dict-item]
        )
    assert not folder.exists()


def test_an_existing_checkpoint_is_not_overwritten(saved: Path, state: TrainState, space: LabelSpace) -> None:
    before = (saved / "config.json").read_bytes()
    with pytest.raises(OSError, match="00000004"):
        save(saved, state, space)
    assert (saved / "config.json").read_bytes() == before


# ---- damage ----


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [3, 40, -1])
def test_a_damaged_byte_names_the_file(name: str, place: int, saved: Path) -> None:
    file = saved / f"{name}.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors (is damaged|cannot be read)"):
        load_state(saved, config=CONFIG, device=CPU)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, saved: Path) -> None:
    (saved / f"{name}.safetensors").unlink()
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors cannot be read"):
        load_state(saved, config=CONFIG, device=CPU)


@pytest.mark.parametrize("key", ["step", "label_space", "image_size", "generator", "settings", "files"])
def test_a_missing_key_is_named(key: str, saved: Path) -> None:
    edit_description(saved, lambda description: description.pop(key))
    with pytest.raises(CheckpointError, match=rf"config\.json lacks {key}"):
        load_model(saved)


def test_a_description_that_is_none(saved: Path) -> None:
    edit_description(saved, lambda _description: None)
    file = saved / "config.json"
    whole = file.read_text()
    for text, message in (
        (whole[: len(whole) // 2], r"config\.json cannot be read"),
        ("[]", r"config\.json is not a checkpoint of format 1"),
        (whole.replace('"format": 1', '"format": 99'), r"config\.json is not a checkpoint of format 1"),
        (whole.replace('"blocks"', '"blokcs"'), r"config\.json does not describe a model: .*blokcs"),
        (whole.replace('"kind": "binary"', '"knid": ""'), r"config\.json does not describe a model: 'kind'"),
        (whole.replace('"kind": "resnet"', '"kind": "resnt"'), r"not describe a model: .*did you mean resnet"),
        (whole.replace('"generator_ema.safetensors"', '"x"'), r"config\.json.* does not list generator_ema"),
        (whole.replace('"width": 4', '"width": 5'), r"generator_ema\.safetensors does not fit the architecture"),
    ):
        file.write_text(text)
        with pytest.raises(CheckpointError, match=message):
            load_model(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", "4"),
        ("label_space", {}),
        ("image_size", [16]),
        ("image_size", [16, -16]),
        ("generator", []),
        ("settings", None),
        ("files", {"generator_ema.safetensors": 3}),
    ],
)
def test_values_of_another_kind_are_named(key: str, value: Json, saved: Path) -> None:
    edit_description(saved, lambda description: description.update({key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json does not describe a model: {key} has a value"):
        load_model(saved)


def test_every_changed_character_of_the_description_is_noticed(saved: Path) -> None:
    """Each alone would load: another step, another name of a label, another crop."""
    file = saved / "config.json"
    whole = file.read_text()
    for before, after in (
        ('"step": 4', '"step": 5'),
        ('"blond"', '"blont"'),
        ('"crop": 0', '"crop": 8'),
        ('"elapsed": ', '"elapsed": 1'),
        ('"sha256": "', '"sha256": "0'),
    ):
        assert whole.count(before) == 1
        file.write_text(whole.replace(before, after))
        with pytest.raises(CheckpointError, match=r"config\.json is damaged, or was edited: .* SHA-256"):
            load_state(saved, config=CONFIG, device=CPU)
    laid_out = json.dumps(json.loads(whole), indent=None)
    file.write_text(laid_out)
    assert load_model(saved).step == 4
    edit_description(saved, lambda _description: None)  # as the first versions wrote it
    assert load_model(saved).step == 4


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["config.json", "generator_ema.safetensors", "generator_optimizer.safetensors"])
def test_a_truncated_file_is_named(name: str, share: float, saved: Path) -> None:
    file = saved / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=rf"{name} (is damaged|cannot be read)"):
        load_state(saved, config=CONFIG, device=CPU)


@pytest.mark.parametrize("name", ["config.json", "generator_ema.safetensors"])
def test_a_damaged_checkpoint_says_which_one_is_before_it(
    name: str, saved: Path, state: TrainState, space: LabelSpace
) -> None:
    newer = saved.with_name("00000120")
    save(newer, state, space)
    (newer / name).write_bytes((newer / name).read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=rf"{name} .*Delete .*00000120: .* 00000004, is taken then"):
        load_state(saved.parents[1], config=CONFIG, device=CPU)
    shutil.rmtree(newer)
    assert load_state(saved.parents[1], config=CONFIG, device=CPU).step == 4


def test_a_description_without_end(saved: Path) -> None:
    (saved / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_model(saved)


@pytest.mark.parametrize("name", ["config.json", "generator_ema.safetensors"])
def test_pickles_in_the_place_of_files_are_never_run(name: str, saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"weights": Bomb()}, saved / name)
    for load in (load_model, lambda path: load_state(path, config=CONFIG, device=CPU)):
        with pytest.raises(CheckpointError, match=rf"{name} (is damaged|cannot be read)"):
            load(saved)
    assert not (tmp_path / "exploded").exists()


def test_weights_are_never_unpickled(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return (Path.touch, (tmp_path / "exploded",))

    bomb = pickle.dumps(Bomb())
    (saved / "generator_ema.safetensors").write_bytes(bomb)

    def trust(description: dict[str, Json]) -> None:
        files = description["files"]
        assert isinstance(files, dict)
        files["generator_ema.safetensors"] = hashlib.sha256(bomb).hexdigest()

    edit_description(saved, trust)
    with pytest.raises(CheckpointError, match=r"generator_ema\.safetensors cannot be read"):
        load_model(saved)
    assert not (tmp_path / "exploded").exists()


# ---- shipping ----


def translate(model: Model) -> torch.Tensor:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        result: torch.Tensor = model.generator(images, torch.eye(4)[:3])
    return result


def test_a_model_alone_at_full_and_half_precision(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    save_model(tmp_path / "full", model=model)
    save_model(tmp_path / "half", model=model, half=True)
    full, half = load_model(tmp_path / "full"), load_model(tmp_path / "half")
    assert torch.equal(translate(full), translate(model))
    assert full.sha256 == model.sha256
    assert {weight.dtype for weight in half.generator.parameters()} == {torch.float32}
    difference = (translate(half) - translate(model)).abs().max()
    assert 0 < difference < 1e-3
    assert (half.space, half.step, half.settings) == (model.space, model.step, model.settings)
    bytes_full, bytes_half = (
        (tmp_path / name / "generator_ema.safetensors").stat().st_size for name in ("full", "half")
    )
    assert bytes_half < 0.75 * bytes_full
    with pytest.raises(CheckpointError, match="a model to translate with, not a training state"):
        load_state(tmp_path / "half", config=CONFIG, device=CPU)


def test_a_checkpoint_may_move(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(saved, moved)
    assert load_model(moved).step == 4


# ---- what somebody else wrote ----


def resealed(saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a description, and give it the SHA-256 that fits."""
    file = saved / "config.json"
    description = json.loads(file.read_text())
    change(description)
    description.pop("sha256", None)
    description["sha256"] = json_sha256(description)
    file.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it["generator"].update(blocks=10**6), r"blocks = 1,000,000, but there are \d+ weights"),
        (lambda it: it["generator"].update(downsamplings=10**6), "downsamplings = 1,000,000, but"),
        (lambda it: it["generator"].update(width=10**6), "does not fit the architecture: "),
        (lambda it: it["generator"].update(width=10**12), "does not describe a model|does not fit"),
        (lambda it: it["generator"].update(vector_size=10**7), "does not fit the architecture: "),
        (lambda it: it["generator"].update(image_channels=10**8), "does not fit the architecture: "),
        (lambda it: it.update(label_space=[]), "its labels have 0 entries, and the generator reads 4"),
        (lambda it: it["label_space"].pop(), "its labels have 3 entries, and the generator reads 4"),
        (lambda it: it.update(image_size=[10**6, 16]), "image_size has a value of the wrong type"),
        (lambda it: it.update(translates="../../generator_ema"), "translates with '../../generator_ema'"),
    ],
)
def test_absurd_descriptions_are_refused_before_anything_is_built(
    change: Callable[[dict[str, Any]], object], message: str, saved: Path
) -> None:
    resealed(saved, change)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=message):
        load_model(saved)
    assert time.monotonic() - started < 5


def test_an_absurd_discriminator_is_refused(saved: Path) -> None:
    resealed(saved, lambda it: it["discriminator"].update(depth=10**6))
    for load in (load_discriminator, lambda path: load_state(path, config=CONFIG, device=CPU)):
        with pytest.raises(CheckpointError, match="depth = 1,000,000, but there are"):
            load(saved)
