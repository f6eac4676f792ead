"""What a classifier's training job gets from an output, in this process and in DataLoader workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, WeightedRandomSampler

from augmentor import ExpandedDataset, open_dataset
from augmentor.errors import AugmentorError, OutputError
from augmentor.images import Pixels, resize
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.writers import FolderWriter, HDF5Writer, Writer
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "red")),
        Attribute(name="male"),
    )
)
ROWS = 16


def make_row(index: int) -> LabelRow:
    synthetic = index % 2 == 1
    codes = (index % 3, -1 if index == 4 else index % 2)
    stem = f"{index:03d}"
    return LabelRow(
        file_name="",
        key=key(stem, SPACE.domain(codes)) if synthetic else real_key(stem),
        split="train" if synthetic or index < 10 else "test",
        group="",
        is_synthetic=synthetic,
        source_id=stem,
        source_path=f"{stem}.png",
        codes=codes,
        changed=("hair",) if synthetic else (),
        agreement=index / 31 if synthetic else None,
    )


def pixels_of(index: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(index).integers(0, 256, (6, 8, channels), dtype=np.uint8)


def write(writer: Writer, channels: int = 3) -> None:
    writer.open()
    with writer.shard(0) as shard:
        for index in range(ROWS):
            shard.add_all([(index, make_row(index), pixels_of(index, channels))])
        shard.commit([])
    finish(writer, 1)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("outputs")
    write(FolderWriter(root / "dir", space=SPACE, description={"fingerprint": "a"}))
    write(HDF5Writer(root / "out.h5", space=SPACE, description={"fingerprint": "a"}))
    return {"folder": root / "dir", "hdf5": root / "out.h5"}


both = pytest.mark.parametrize("form", ["folder", "hdf5"])


def halve(image: Tensor) -> Tensor:
    return image.float() / 2


@both
def test_items_are_images_and_codes(outputs: dict[str, Path], form: str) -> None:
    dataset = open_dataset(str(outputs[form]))
    assert len(dataset) == len(dataset.labels) == ROWS
    assert dataset.space == SPACE
    for index in range(ROWS):
        image, labels = dataset[index]
        assert image.dtype == torch.uint8
        assert image.is_contiguous()
        np.testing.assert_array_equal(image.numpy(), pixels_of(index).transpose(2, 0, 1))
        assert labels.dtype == torch.int64
        assert tuple(labels.tolist()) == make_row(index).codes
        assert dataset.labels["source_id"][index] == make_row(index).source_id
    assert torch.equal(dataset[np.int64(3)][0], dataset[3][0])
    assert torch.equal(dataset[-1][0], dataset[ROWS - 1][0])
    with pytest.raises(IndexError):
        dataset[ROWS]


@both
def test_labels_cannot_be_changed_through_an_item(outputs: dict[str, Path], form: str) -> None:
    dataset = open_dataset(outputs[form])
    dataset[0][1].fill_(7)
    assert tuple(dataset[0][1].tolist()) == make_row(0).codes


def test_both_forms_have_equal_tables(outputs: dict[str, Path]) -> None:
    folder, file = (open_dataset(outputs[form]).labels for form in ("folder", "hdf5"))
    assert folder["male"][4] == ""
    assert folder["hair"][1] == "blond"
    assert folder["is_synthetic"].dtype == bool
    assert folder.equals(file)
    assert folder.dtypes.equals(file.dtypes)


@both
def test_selection(outputs: dict[str, Path], form: str) -> None:
    def chosen(**selection: object) -> list[int]:
        dataset = open_dataset(outputs[form], **selection)  # type: ignore[arg-type]
        indices = [int(source_id) for source_id in dataset.labels["source_id"]]
        assert dataset.labels.index.tolist() == list(range(len(indices)))
        for place, index in enumerate(indices):
            np.testing.assert_array_equal(dataset[place][0].permute(1, 2, 0).numpy(), pixels_of(index))
        return indices

    assert chosen(split="test") == [10, 12, 14]
    assert chosen(synthetic=True) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert chosen(split="train", synthetic=False) == [0, 2, 4, 6, 8]
    assert chosen(split="test", synthetic=True) == []
    reordered = open_dataset(outputs[form], attributes=["male", "hair"])
    assert reordered.space.names == ("male", "hair")
    assert reordered[2][1].tolist() == [0, 2]
    assert open_dataset(outputs[form], attributes=["male"])[4][1].tolist() == [-1]


@both
def test_transform(outputs: dict[str, Path], form: str) -> None:
    image, _ = open_dataset(outputs[form], transform=halve)[5]
    np.testing.assert_allclose(image.numpy(), pixels_of(5).transpose(2, 0, 1) / 2)


@both
def test_mistakes_are_explained(outputs: dict[str, Path], form: str) -> None:
    with pytest.raises(AugmentorError, match=r"Did you mean 'hair'"):
        open_dataset(outputs[form], attributes=["hiar"])
    with pytest.raises(AugmentorError, match=r"has no split 'tests', only test, train. Did you mean 'test'"):
        open_dataset(outputs[form], split="tests")


def test_unfinished_or_foreign_outputs(tmp_path: Path) -> None:
    FolderWriter(tmp_path / "dir", space=SPACE, description={"fingerprint": "a"}).open()
    HDF5Writer(tmp_path / "out.h5", space=SPACE, description={"fingerprint": "a"}).open()
    for out in ("dir", "out.h5"):
        with pytest.raises(OutputError, match="Run the same `augmentor expand` command again"):
            open_dataset(tmp_path / out)
    with pytest.raises(OutputError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(OutputError, match=r"holds no dataset.json"):
        open_dataset(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(OutputError, match="not an HDF5 file"):
        open_dataset(tmp_path / "text.h5")


def test_hand_edited_value_is_named(tmp_path: Path) -> None:
    write(FolderWriter(tmp_path, space=SPACE, description={"fingerprint": "a"}))
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("001.png,blond,", "001.png,blonde,"))
    with pytest.raises(OutputError, match="hair = 'blonde' for train/00000/001"):
        open_dataset(tmp_path)


def test_grey_images(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path, space=SPACE, description={"fingerprint": "a"}, image_format="webp")
    write(writer, channels=1)
    assert open_dataset(tmp_path)[0][0].shape == (1, 6, 8)


def test_images_of_different_sizes(tmp_path: Path) -> None:
    """In their own sizes, or all cut and resized to one, whatever holds them."""
    writers: list[Writer] = [
        FolderWriter(tmp_path / "dir", space=SPACE, description={"fingerprint": "a"}),
        HDF5Writer(tmp_path / "out.h5", space=SPACE, description={"fingerprint": "a"}, encoding="png"),
    ]
    pixels = [pixels_of(index, 1)[: 1 + index % 6] for index in range(ROWS)]
    for writer in writers:
        writer.open()
        with writer.shard(0) as shard:
            for index in range(ROWS):
                shard.add_all([(index, make_row(index), pixels[index])])
            shard.commit([])
        finish(writer, 1)
    for out in (tmp_path / "dir", tmp_path / "out.h5"):
        own, sized = open_dataset(out), open_dataset(out, size=(4, 5), split="train")
        for index in (0, 1, 5, 7, ROWS - 1):
            np.testing.assert_array_equal(own[index][0].permute(1, 2, 0).numpy(), pixels[index])
        copy = pickle.loads(pickle.dumps(sized))
        images, _ = next(iter(DataLoader(copy, batch_size=len(copy))))
        assert images.shape == (13, 1, 4, 5)
        expected = np.stack([resize(pixels[int(row)], (4, 5)) for row in sized.labels["source_id"]])
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), expected)


def test_plain_pixels_in_another_size(outputs: dict[str, Path]) -> None:
    folder, file = (open_dataset(outputs[form], size=(3, 3)) for form in ("folder", "hdf5"))
    for index in range(ROWS):
        assert folder[index][0].shape == (3, 3, 3)
        assert torch.equal(folder[index][0], file[index][0])


few_cores = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def check_workers(outputs: dict[str, Path], context: str) -> None:
    """Load both forms in two workers, after this process has used its own handle."""
    datasets: list[ExpandedDataset] = [open_dataset(outputs[form]) for form in ("folder", "hdf5")]
    expected = [dataset[index] for dataset in datasets for index in range(ROWS)]
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        ConcatDataset(datasets), batch_size=4, num_workers=2, multiprocessing_context=context, shuffle=False
    )
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert torch.equal(images, torch.stack([image for image, _ in expected]))
    assert torch.equal(labels, torch.stack([label for _, label in expected]))
    assert torch.equal(datasets[1][0][0], expected[ROWS][0])


@few_cores
def test_workers_under_fork(outputs: dict[str, Path]) -> None:
    check_workers(outputs, "fork")


@few_cores
def test_workers_under_spawn(outputs: dict[str, Path]) -> None:
    check_workers(outputs, "spawn")


@both
def test_pickle_drops_the_handle(outputs: dict[str, Path], form: str) -> None:
    dataset = open_dataset(outputs[form], split="train")
    before = dataset[1]
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1][0], before[0])
    assert copy.labels.equals(dataset.labels)


def test_labels_feed_a_sampler(outputs: dict[str, Path]) -> None:
    dataset = open_dataset(outputs["hdf5"], split="train")
    weights = 1 / dataset.labels["hair"].map(dataset.labels["hair"].value_counts())
    sampler = WeightedRandomSampler(weights.tolist(), 12, generator=torch.Generator().manual_seed(0))
    batches = list(DataLoader(dataset, batch_size=6, sampler=sampler))
    assert [images.shape for images, _ in batches] == [(6, 3, 6, 8)] * 2
