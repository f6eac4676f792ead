"""A batch's labels in one copy: exactly what encoding each of them gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stargan.distributed import Ranks
from stargan.labels import LabelSpace
from stargan.upload import may_return, upload, upload_labels

CPU = torch.device("cpu")


@pytest.mark.parametrize("joint", [False, True])
def test_labels_are_those_encoded_one_by_one(joint: bool, space: LabelSpace) -> None:
    codes, targets = torch.tensor([[0, 1], [2, -1], [-1, 0]]), torch.tensor([[1, 1], [0, -1], [-1, 1]])
    if joint:
        space = replace(space, label_sets=(("hair",), ("glasses",)))
        codes, targets = torch.tensor([[0, -1], [2, -1], [-1, 0]]), torch.tensor([[-1, 1], [0, -1], [1, -1]])
    labels = upload_labels(codes, targets, space, device=CPU)
    wanted = (
        *(space.encode(codes), space.encode(targets)),
        *(space.encode_signed(codes), space.encode_signed(targets)),
        *(codes, targets),
    )
    assert labels.known_codes is labels.known_targets is None
    for found, expected in zip(labels[:6], wanted, strict=True):
        assert found is not None
        assert found.dtype == expected.dtype
        assert found.is_contiguous()
        assert torch.equal(found, expected)


def test_one_of_several_has_its_share_and_counts_all(space: LabelSpace) -> None:
    codes, targets = (
        torch.tensor([[0, -1], [2, 1], [-1, -1], [1, -1]]),
        torch.tensor([[1, 1], [0, -1], [1, 0], [2, 1]]),
    )
    labels = upload_labels(codes, targets, space, device=CPU, ranks=Ranks(rank=1, world_size=2))
    assert labels.codes.tolist() == [[-1, -1], [1, -1]]
    assert labels.targets.tolist() == [[1, 0], [2, 1]]
    assert torch.equal(labels.target_signed, space.encode_signed(targets[2:]))
    assert labels.known_codes is not None
    assert labels.known_codes.tolist() == [1.5, 0.5]  # three and one, of two processes
    assert labels.known_targets is not None
    assert labels.known_targets.tolist() == [2.0, 1.5]


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(4)
    assert upload(tensor, CPU) is tensor


def test_there_is_no_way_back_from_a_label_that_was_unknown(space: LabelSpace) -> None:
    codes = torch.tensor([[0, 1], [2, -1], [2, -1], [-1, -1]])
    targets = torch.tensor([[1, 0], [1, -1], [2, 1], [0, -1]])
    assert may_return(codes, targets, space).tolist() == [True, True, False, False]
    assert upload_labels(codes, targets, space, device=CPU).returns.tolist() == [True, True, False, False]


def test_the_other_set_of_a_joint_training_is_unknown_and_has_a_way_back(space: LabelSpace) -> None:
    joint = replace(space, label_sets=(("hair",), ("glasses",)))
    codes, targets = torch.tensor([[0, -1], [-1, 1]]), torch.tensor([[-1, 1], [-1, 0]])
    assert may_return(codes, targets, joint).tolist() == [True, True]
