"""Distances per target domain: Gaussians whose distance is known, perfect translators, copies, small domains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from augmentor.judge import distances as module
from augmentor.judge.distances import DomainDistances, FeatureSet, domain_distances, frechet_and_kernel
from stargan.labels import UNKNOWN, Attribute, LabelSpace

SPACE = LabelSpace(attributes=(Attribute(name="smile"), Attribute(name="woman")))


def gaussian(count: int, seed: int, *, mean: float = 0.0, dimensions: int = 4) -> Tensor:
    """Features with exactly this mean in every dimension and the identity as covariance."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(count, dimensions, generator=random, dtype=torch.float64)
    values -= values.mean(dim=0)
    covariance = values.T @ values / (count - 1)
    white: Tensor = values @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    return (white + mean).float()


def test_frechet_of_shifted_gaussians() -> None:
    """With equal covariances it is the squared distance of the means: 4 dimensions, 3 apart in each."""
    found = frechet_and_kernel(gaussian(300, 0, mean=3), gaussian(200, 1))
    assert found.frechet == pytest.approx(4 * 3**2, rel=1e-3)
    assert found.kernel > 1
    same = frechet_and_kernel(gaussian(300, 0), gaussian(300, 0))
    assert same.frechet == pytest.approx(0, abs=1e-3)


def test_frechet_of_scaled_gaussians() -> None:
    """Of covariances 4 I and I: 4 dimensions x (2 - 1)^2."""
    assert frechet_and_kernel(2 * gaussian(300, 0), gaussian(300, 1)).frechet == pytest.approx(4, rel=1e-3)


def test_fewer_images_than_features_have_the_same_distance() -> None:
    """Features in more dimensions than images, of which 60 are empty: the distance in the 4 others."""
    made, real = gaussian(24, 0, mean=1), gaussian(24, 1)
    turn = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).Q[:4]
    assert frechet_and_kernel(made @ turn, real @ turn).frechet == pytest.approx(4, rel=1e-2)


def test_one_image_has_no_distance() -> None:
    assert all(math.isnan(x) for x in frechet_and_kernel(gaussian(10, 0)[:1], gaussian(10, 1)))


MEANS = {(0, 0): 0.0, (0, 1): 3.0, (1, 0): 6.0, (1, 1): 9.0}


def features_of(codes: Tensor, seed: int) -> Tensor:
    """Features of images of these domains: noise around the domain's mean."""
    noise = torch.randn(len(codes), 4, generator=torch.Generator().manual_seed(seed))
    return noise + torch.tensor([MEANS[a, b] for a, b in codes.tolist()])[:, None]


def codes_of(each: int) -> Tensor:
    return torch.tensor(list(MEANS)).repeat(each, 1)


def compared(*, each: int = 60, **changes: object) -> DomainDistances:
    """Every image translated into every other domain, by a perfect translator and by one that copies."""
    codes = codes_of(each)
    rows, targets = [], []
    for row, own in enumerate(codes.tolist()):
        for target in MEANS:
            if target != tuple(own):
                rows.append(row)
                targets.append(target)
    wanted, real = torch.tensor(targets), features_of(codes, 0)
    reference = codes_of(80)
    settings: dict[str, object] = {
        "targets": wanted,
        "own": codes[rows],
        "real": FeatureSet(real, codes),
        "reference": FeatureSet(features_of(reference, 2), reference),
        "space": SPACE,
        "columns": (0, 1),
        **changes,
    }
    found = domain_distances({"perfect": features_of(wanted, 1), "identity": real[rows]}, **settings)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_perfect_translator_reaches_the_floor_and_a_copy_does_not_win() -> None:
    found = compared()
    assert [each.domain for each in found.domains] == [f"smile={a}, woman={b}" for a, b in MEANS]
    assert found.left_out == ()
    for each in found.domains:
        assert each.images == 60
        assert each.frechet_ratio("perfect") == pytest.approx(1, abs=3)
        assert each.frechet_ratio("identity") > 20
        assert abs(each.of["perfect"].kernel) < 0.1 * each.of["identity"].kernel
    assert found.frechet_ratio("perfect") < 3
    assert found.frechet_ratio("identity") > 20
    assert abs(found.kernel_ratio("perfect", to="identity")) < 0.1
    assert abs(found.kernel_ratio(None, to="identity")) < 0.1
    assert found.kernel_ratio("identity", to="identity") == 1.0


def test_real_images_of_the_domain_in_the_place_of_translations_are_the_floor() -> None:
    codes = torch.tensor([[0, 0]] * 30 + [[1, 0]] * 30)
    real = features_of(codes, 0)
    reference = codes_of(40)
    found = domain_distances(
        {"real": torch.cat([real[30:], real[:30]])},
        targets=codes.flip(0),
        own=codes,
        real=FeatureSet(real, codes),
        reference=FeatureSet(features_of(reference, 2), reference),
        space=SPACE,
        columns=(0,),
    )
    assert found is not None
    assert [each.domain for each in found.domains] == ["smile=0", "smile=1"]
    assert [each.of["real"] for each in found.domains] == [each.floor for each in found.domains]
    assert found.frechet_ratio("real") == 1.0


def test_domains_with_few_images_are_named() -> None:
    few = compared(each=19)
    assert few.domains == ()
    assert math.isnan(few.frechet_ratio("perfect"))
    assert few.left_out[0] == "smile=0, woman=0: not measured, 19 real images (20 are needed)"
    assert len(few.left_out) == 4
    assert len(compared(each=19, fewest=10).domains) == 4
    codes = torch.tensor([[0, 0]] * 50)
    lone = compared(reference=FeatureSet(features_of(codes, 2), codes))
    assert [each.domain for each in lone.domains] == ["smile=0, woman=0"]
    assert lone.left_out[0] == "smile=0, woman=1: not measured, 0 real images of other subjects (20 are needed)"


def test_translations_of_unknown_sources_do_not_count() -> None:
    codes = codes_of(60).clone()
    codes[:, 1] = UNKNOWN
    targets = torch.tensor([[1, 1]]).expand(240, 2)
    assert compared(own=codes, targets=targets).domains == ()


def test_an_end_of_time_and_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    late = compared(go_on=lambda: False)
    assert late.domains == ()
    assert late.left_out[0] == "smile=0, woman=0: not measured, no time left"
    monkeypatch.setattr(module, "TORCHMETRICS", False)
    codes = codes_of(30)
    nothing = FeatureSet(features_of(codes, 0), codes)
    found = domain_distances(
        {}, targets=codes, own=codes, real=nothing, reference=nothing, space=SPACE, columns=(0, 1)
    )
    assert found is None
