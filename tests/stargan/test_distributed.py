"""Two processes that train together are as good as one with both shares in its batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

from stargan.config import TrainConfig
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import Attribute, LabelSpace
from stargan.networks import build_discriminator, build_generator
from stargan.training import Batch, Event, LogEvent, TrainState, new_state, train

STEPS = 20
SHARE = 4
HAIR, SMILE = Attribute(name="hair", kind="categorical", values=("a", "b", "c")), Attribute(name="smile")
SPACE = LabelSpace(attributes=(HAIR, SMILE))
JOINT = replace(SPACE, label_sets=(("hair",), ("smile",)))
DEFAULT = TrainConfig(
    steps=STEPS,
    objective="logistic",
    critic_steps=1,
    learning_rate=4e-4,
    normalise_domain=True,
    cycle_every=4,
    r1_weight=0.03,
    log_seconds=0,
    sample_minutes=60,
    checkpoint_minutes=60,
)


class Case(NamedTuple):
    """A way of training."""

    config: TrainConfig
    space: LabelSpace = SPACE
    generator: Mapping[str, object] = {"output": "masked", "conditioning": "norm"}
    matches: bool = True
    targets: bool = False
    discriminator: Mapping[str, object] = {}
    partners: bool = False


CASES = {
    "the default": Case(DEFAULT),
    # With its labels as planes in front of InstanceNorm some weights have no gradient but rounding, which Adam's
    # first step takes for a direction.
    "the paper's objective": Case(
        replace(DEFAULT, objective="wgan-gp", critic_steps=5, cycle_every=1, normalise_domain=False),
        generator={"conditioning": "norm"},
        matches=False,
    ),
    "augmented": Case(replace(DEFAULT, augment=("color", "translation", "cutout"), objective="hinge")),
    # "geometry" multiplies matrices, whose rounding depends on the batch's size and which Adam enlarges.
    "augmented adaptively": Case(replace(DEFAULT, augment=("translation",), augment_probability="adaptive")),
    "joint": Case(replace(DEFAULT, identity_weight=1.0), space=JOINT),
    "a network for each value and a buffer": Case(
        replace(
            *(DEFAULT,),
            objective="least-squares",
            domain_weight=0,
            real_domain_weight=0,
            r1_weight=0,
            identity_weight=5,
            buffer_size=4,
        ),
        space=LabelSpace(attributes=(SMILE,)),
        generator={"per_value": True},
        discriminator={"per_value": True},
        targets=True,
    ),
    "some pairs": Case(replace(DEFAULT, pair_weight=10.0, pair_feature_weight=1.0), targets=True, partners=True),
    "drawn targets": Case(
        replace(DEFAULT, multiscale_weights=(1.0, 0.5), feature_matching_weight=1.0), targets=True
    ),
}


class Trained(NamedTuple):
    """What is compared."""

    losses: list[dict[str, float]]
    weights: list[Tensor]
    elapsed: float


def state(case: Case) -> TrainState:
    torch.manual_seed(0)
    g = {"vector_size": case.space.vector_size, "width": 4, "downsamplings": 1, "blocks": 1, **case.generator}
    d = {"vector_size": case.space.domain_size, "image_size": (16, 16), "width": 4, "depth": 2}
    return new_state(
        generator=build_generator(g),
        discriminator=build_discriminator({**d, "matches": case.matches, **case.discriminator}),
        config=case.config,
    )


def batches(case: Case, ranks: Ranks) -> Iterator[Batch]:
    """Yield a process's share of batches of two, in which few labels are known, and not as many in each."""
    random = torch.Generator().manual_seed(7)
    while True:
        images = torch.randint(256, (2 * SHARE, 3, 16, 16), dtype=torch.uint8, generator=random)
        hair, x = (
            torch.randint(-values, values, (2 * SHARE,), generator=random).clamp(min=-1) for values in (3, 2)
        )
        if case.space.label_sets:
            first = torch.arange(2 * SHARE) % 2 == 0
            hair, x = hair.where(first, -1), x.where(~first, -1)
        codes = torch.stack([hair, x], dim=1)
        targets = codes.flip(0) if case.targets else None
        if len(case.space) == 1:
            codes = torch.arange(2 * SHARE)[:, None] % 2
            targets = 1 - codes
        partners = paired = None
        if case.partners:
            partners, paired = images.flip(0), torch.rand(2 * SHARE, generator=random) < 0.3
        parts = (images, codes, targets, partners, paired)
        yield Batch(*(None if part is None else ranks.local_share(part) for part in parts))  # type: ignore[arg-type]


def trained(case: Case, ranks: Ranks) -> Trained:
    torch.set_num_threads(1)
    events, now = list[Event](), state(case)
    adaptive = case.config.augment_probability == "adaptive"
    if adaptive:
        now.augment_probability = 0.5
    train(
        state=now,
        config=case.config,
        space=case.space,
        batches=batches(case, ranks),
        device=torch.device("cpu"),
        on_event=events.append,
        ranks=ranks,
        validation=batches(case, ranks) if adaptive else None,
    )
    networks = (now.generator, now.average, now.discriminator)
    return Trained(
        [event.losses for event in events if isinstance(event, LogEvent)],
        [weight.detach().clone() for network in networks for weight in network.parameters()],
        now.elapsed,
    )


def one_of_two(rank: int, folder: str) -> None:
    """Train every case as one of two processes, and write what came of it."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    ranks = Ranks(rank=rank, world_size=2, cpu_group=dist.group.WORLD, device_group=dist.group.WORLD)
    torch.save({name: tuple(trained(case, ranks)) for name, case in CASES.items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Trained]]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(one_of_two, args=(str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return [
        {name: Trained(*parts) for name, parts in torch.load(folder / f"{rank}.pt", weights_only=True).items()}
        for rank in range(2)
    ]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_with_twice_the_batch(both: list[dict[str, Trained]], name: str) -> None:
    first, second = both[0][name], both[1][name]
    one = trained(CASES[name], SINGLE_RANK)
    assert len(one.losses) == len(first.losses) == STEPS
    assert first.losses == second.losses
    assert first.elapsed == second.elapsed
    assert all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
    for ours, theirs in zip(one.losses, first.losses, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)
    for mine, shared in zip(one.weights, first.weights, strict=True):
        torch.testing.assert_close(shared, mine, rtol=0, atol=1e-4)
    start = [weight for network in (state(CASES[name]).generator,) for weight in network.parameters()]
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(start, one.weights, strict=False))  # they did learn


def test_one_rank_exchanges_nothing() -> None:
    rows = torch.arange(6).view(3, 2)
    assert SINGLE_RANK.is_rank_0
    assert SINGLE_RANK.all_gather(rows) is rows
    assert SINGLE_RANK.local_share(rows) is rows
    assert SINGLE_RANK.synchronize(elapsed=1.5, stopping=True) == (1.5, True)


def test_a_share_is_that_of_the_rank() -> None:
    ranks = Ranks(rank=1, world_size=3)
    assert not ranks.is_rank_0
    assert ranks.local_share(torch.arange(6)).tolist() == [2, 3]
    assert ranks.local_share(torch.arange(12).view(2, 6), dim=1).tolist() == [[2, 3], [8, 9]]
