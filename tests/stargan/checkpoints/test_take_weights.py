"""Weights taken over into networks of other labels: what they compute for the labels that both know."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stargan.checkpoints import take_weights
from stargan.labels import Attribute, LabelSpace
from stargan.networks import build_discriminator, build_generator


def space(text: str) -> LabelSpace:
    """Return the label space of "hair=a|b,male"; label sets are separated by semicolons."""
    sets = [[part.partition("=") for part in words.split(",")] for words in text.split(";")]
    attributes = tuple(
        Attribute(name=name, kind="categorical", values=tuple(values.split("|")))
        if values
        else Attribute(name=name)
        for parts in sets
        for name, _, values in parts
    )
    names = tuple(tuple(name for name, _, _ in parts) for parts in sets)
    return LabelSpace(attributes=attributes, label_sets=names if len(names) > 1 else ())


KNOWN = space("hair=black|blond|red,male")
OTHER = space("glasses,male,hair=blond|white|black")


def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def randomised(network: torch.nn.Module, seed: int) -> None:
    """Give every weight a value, those too that begin as 0 or 1."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.3)


GENERATORS: list[dict[str, Any]] = [
    {"conditioning": "concat", "blocks": 1},
    {"conditioning": "norm", "blocks": 1, "output": "masked", "skips": True},
    {"kind": "encoder-decoder", "image_size": (8, 8), "latent": 6, "norm": "batch"},
    {"conditioning": "norm", "blocks": 1, "noise": 2},
]


def test_entries_are_matched_by_name_kind_and_value() -> None:
    assert KNOWN.matching_entries(KNOWN) == (0, 1, 2, 3)
    assert OTHER.matching_entries(KNOWN) == (None, 3, 1, None, 0)
    assert KNOWN.matching_entries(OTHER) == (4, 2, None, 1)
    assert space("male=0|1,hair").matching_entries(KNOWN) == (None, None, None)
    one, two = space("hair=a|b,male;mood=x|y"), space("mood=y|x;male,hair=a|b,beard")
    assert two.matching_entries(one) == (4, 3, 2, 0, 1, None, 6, 5)
    assert KNOWN.matching_entries(space("male;hair=red|black")) == (2, None, 1, 0)
    assert one.matching_entries(KNOWN)[-2:] == (None, None)


@pytest.mark.parametrize("arguments", GENERATORS)
def test_a_generator_translates_as_before_whatever_a_new_label_is(arguments: dict[str, Any]) -> None:
    source, new = (
        build_generator({"width": 4, **arguments, "vector_size": s.vector_size}) for s in (KNOWN, OTHER)
    )
    randomised(source, 3)
    randomised(new, 4)
    entries = OTHER.matching_entries(KNOWN)
    assert take_weights(new, source, entries=entries, build=build_generator, clear=True) == ()
    made = source.eval()(images(), KNOWN.encode(torch.tensor([[1, 1], [0, 0]])))
    for glasses in (0, 1, -1):
        same = new.eval()(images(), OTHER.encode(torch.tensor([[glasses, 1, 0], [glasses, 0, 2]])))
        torch.testing.assert_close(same, made)
    # Known labels are read, each as itself.
    other = new(images(), OTHER.encode(torch.tensor([[0, 1, 2], [0, 0, 0]])))
    assert (other - made).abs().amax() > 0.01


@pytest.mark.parametrize("arguments", GENERATORS)
def test_equal_labels_are_copied_bit_by_bit(arguments: dict[str, Any]) -> None:
    arguments = {"width": 4, **arguments, "spectral": True, "vector_size": KNOWN.vector_size}
    source, new = build_generator(arguments), build_generator(arguments)
    entries = KNOWN.matching_entries(KNOWN)
    assert take_weights(new, source, entries=entries, build=build_generator, clear=True) == ()
    weights = source.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in new.state_dict().items())


@pytest.mark.parametrize("kind", ["patch", "dcgan"])
def test_a_discriminator_knows_what_it_knew_and_learns_the_rest_anew(kind: str) -> None:
    arguments = {"kind": kind, "image_size": (8, 8), "width": 4, "depth": 2, "matches": True}
    source, new = (build_discriminator({**arguments, "vector_size": s.domain_size}) for s in (KNOWN, OTHER))
    untrained = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    entries = OTHER.matching_entries(KNOWN)
    assert take_weights(new, source, entries=entries, build=build_discriminator, clear=False) == ()
    wanted = KNOWN.encode_signed(torch.tensor([[1, 1], [0, 0]]))
    wanted[:, 2] = 0  # red, of which the new one has no entry
    scores, logits = source(images(), wanted)
    both = [place for place, entry in enumerate(entries) if entry is not None]
    moved = torch.zeros(2, OTHER.domain_size)
    moved[:, both] = wanted[:, [entry for entry in entries if entry is not None]]
    same_scores, same_logits = new(images(), moved)
    torch.testing.assert_close(same_scores, scores)
    torch.testing.assert_close(same_logits[:, both], logits[:, [e for e in entries if e is not None]])
    head = new.state_dict()["domain_head.weight"]
    assert torch.equal(head[[0, 3]], untrained["domain_head.weight"][[0, 3]])


def test_tensors_of_other_names_and_shapes_stay_and_are_named() -> None:
    small, large = (
        build_generator({"width": width, "blocks": blocks, "vector_size": 4}) for width, blocks in ((4, 1), (4, 2))
    )
    before = {name: tensor.clone() for name, tensor in large.state_dict().items()}
    left = take_weights(large, small, entries=(0, 1, 2, 3), build=build_generator, clear=True)
    assert left
    assert all(name.startswith("blocks.1.") for name in left)
    assert all(torch.equal(before[name], large.state_dict()[name]) for name in left)
    wide = build_generator({"width": 8, "blocks": 1, "vector_size": 4})
    left = take_weights(wide, small, entries=(None, 1, 2, 3), build=build_generator, clear=True)
    assert {"encoder.0.convolution.weight", "painter.weight"} <= set(left)
