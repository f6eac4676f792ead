"""The translator: uint8 in, uint8 out, each pair as in a plain pass, whatever the batches, kinds and targets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from stargan.checkpoints import Model
from stargan.config import Precision
from stargan.inference.batching import Stream
from stargan.inference.composite import Box, blend
from stargan.inference.prepare import CompilationError, PreparedGenerator
from stargan.inference.translator import Job, Translator, compiling_works, generator_flops
from stargan.labels import LabelSpace
from stargan.networks import Features, Generator, OutputKind, TranslatingGenerator, build_generator
from stargan.pixels import to_signed, to_uint8

CPU = torch.device("cpu")
SIZE = (16, 24)

KINDS: dict[str, dict[str, object]] = {
    "paper": {},
    "one-channel": {"image_channels": 1, "downsamplings": 2},
    "masked": {"output": "masked", "spectral": True},
    "residual": {"output": "residual", "norm": "batch", "skips": True},
    "reflected": {"norm": "none", "padding": "reflection", "output": "masked"},
    "norm": {"conditioning": "norm", "upsampling": "nearest"},
    "norm-masked": {"conditioning": "norm", "output": "masked", "skips": True, "spectral": True},
    "norm-residual": {"conditioning": "norm", "output": "residual", "padding": "reflection", "dilation": 2},
    "norm-batch": {"conditioning": "norm", "norm": "batch"},
    "encoder-decoder": {"kind": "encoder-decoder", "image_size": SIZE, "norm": "batch", "output": "masked"},
    "small-latent": {"kind": "encoder-decoder", "image_size": SIZE, "image_channels": 1, "latent": 8},
    "noise": {"noise": 3},
    "norm-noise": {"conditioning": "norm", "output": "masked", "noise": 2},
    "cyclegan": {"kind": "cyclegan-resnet"},
    "pix2pix": {"kind": "pix2pix-unet", "width": 2, "downsamplings": 3, "norm": "batch"},
}


def model_of(generator: TranslatingGenerator, space: LabelSpace) -> Model:
    """Return a model of a generator whose weights are moved away from their start, so that it paints."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=random))
        for name, buffer in generator.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape, generator=random))
    generator = generator.requires_grad_(False).eval()
    return Model(generator=generator, space=space, image_size=SIZE, step=0, settings={}, sha256="")


def make_model(space: LabelSpace, **arguments: object) -> Model:
    small = {"vector_size": 4, "image_channels": 3, "width": 4, "downsamplings": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model_of(build_generator({**small, **arguments}), space)


def pictures(n: int, channels: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return torch.randint(256, (n, channels, *SIZE), dtype=torch.uint8, generator=random)


def batch(n: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    return pictures(n, channels), torch.stack([torch.arange(n) % 4 - 1, torch.arange(n) % 3 - 1], dim=1)


def jobs_of(counts: list[int], *, model: Model) -> list[Job]:
    """Return a job for each count of targets, which are all different where the model reads them."""
    images = pictures(len(counts), model.image_channels)
    jobs, drawn = [], 0
    for image, count in zip(images, counts, strict=True):
        numbers = torch.arange(drawn, drawn + count)
        drawn += count
        targets = torch.stack([numbers % 4 - 1, numbers % 3 - 1], dim=1)
        if model.only_target is not None:
            targets[:, 0] = model.only_target
        jobs.append(Job(image, targets))
    return jobs


def plain(model: Model, jobs: list[Job]) -> Tensor:
    """Translate every pair by itself, by the whole generator."""
    return torch.cat(
        [
            to_uint8(model.generator(to_signed(job.image[None]), torch.cat([noise_of(seed, model), vector], 1)))
            for job in jobs
            for seed, vector in zip(seeds_of(job), model.space.encode(job.targets)[:, None], strict=True)
        ]
    )


def noise_of(seed: int, model: Model) -> Tensor:
    return torch.randn(1, model.generator.noise, generator=torch.Generator().manual_seed(seed))


def seeds_of(job: Job) -> list[int]:
    return [0] * len(job.targets) if job.seeds is None else job.seeds.tolist()


def far(first: Tensor, second: Tensor) -> int:
    return int((first.int() - second.int()).abs().max())


# ---- the same as a plain pass ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_equals_plain_passes(kind: str, space: LabelSpace) -> None:
    model = make_model(space, **KINDS[kind])
    jobs = jobs_of([1, 0, 5, 2, 0, 0, 3, 1], model=model)
    blocks = list(Translator(model, device=CPU, batch_size=3).stream(jobs))
    assert [len(block) for block in blocks] == [3, 3, 3, 3]
    found, expected = torch.cat(blocks), plain(model, jobs)
    assert found.dtype == torch.uint8
    assert found.float().std() > 10
    assert far(found, expected) <= 1
    assert (found != expected).float().mean() < 0.01


@pytest.mark.parametrize("kind", ["noise", "norm-noise"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_seeds_decide_the_noise_wherever_a_pair_is(kind: str, batch_size: int, space: LabelSpace) -> None:
    model = make_model(space, **KINDS[kind])
    jobs = [
        Job(image, targets[:1].expand(len(targets), -1), torch.arange(len(targets)) + 2**33)
        for image, targets, _ in jobs_of([1, 4, 2], model=model)
    ]
    translator = Translator(model, device=CPU, batch_size=batch_size)
    found = torch.cat(list(translator.stream(jobs)))
    assert far(found, plain(model, jobs)) <= 1
    looks = found[1:5].int()
    assert all(far(looks[one], looks[other]) > 3 for one in range(4) for other in range(one))
    image, target = jobs[1].image, jobs[1].targets[:1]
    assert torch.equal(translator.translate(image[None], target), translator.translate(image[None], target))
    alone = translator.translate(image[None], target, torch.tensor([2 + 2**33]))
    assert far(alone[0], found[3]) <= 1


@pytest.mark.parametrize("kind", ["masked", "residual", "norm-masked"])
def test_streamed_changes_are_what_translating_adds(kind: str, space: LabelSpace) -> None:
    model = make_model(space, **KINDS[kind])
    jobs = jobs_of([2, 3], model=model)
    changes = torch.cat(list(Translator(model, device=CPU, batch_size=4).stream_changes(jobs)))
    assert changes.dtype == torch.float32
    images = torch.cat([job.image.expand(len(job.targets), -1, -1, -1) for job in jobs])
    assert far(to_uint8(to_signed(images) + changes), plain(model, jobs)) <= 1
    assert changes.abs().max() > 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_equal_the_plain_forward(channels: int, space: LabelSpace) -> None:
    model = make_model(space, image_channels=channels)
    images, targets = batch(7, channels)
    signed = model.generator(images.double().div(127.5).sub(1).float(), space.encode(targets))
    expected = ((signed + 1) * 127.5).round().clamp(0, 255)
    found = Translator(model, device=CPU).translate(images, targets)
    assert found.dtype == torch.uint8
    assert found.shape == images.shape
    assert found.is_contiguous()
    assert far(found, expected) <= 1


def test_arrays_as_files_hold_them_translate_alike(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU)
    jobs = jobs_of([2, 1], model=translator.model)
    turned = [Job(job.image.permute(1, 2, 0).contiguous().permute(2, 0, 1), job.targets) for job in jobs]
    assert torch.equal(torch.cat(list(translator.stream(turned))), torch.cat(list(translator.stream(jobs))))


def test_the_target_decides(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU)
    image = pictures(1)[0]
    (found,) = translator.stream([Job(image, torch.tensor([[0, 0], [1, 0], [-1, 0]]))])
    assert far(found[0], found[1]) > 1
    assert far(found[0], found[2]) > 1


@pytest.mark.parametrize("kind", ["paper", "norm-masked", "norm-batch"])
def test_bfloat16_comes_close(kind: str, space: LabelSpace) -> None:
    model = make_model(space, **KINDS[kind])
    jobs = jobs_of([4, 4], model=model)
    exact, rounded, chosen = (
        torch.cat(list(Translator(model, device=CPU, precision=precision).stream(jobs)))
        for precision in ("float32", "bfloat16", "auto")
    )
    assert torch.equal(chosen, exact)
    assert not torch.equal(rounded, exact)
    assert (rounded.float() - exact.float()).abs().mean() < 2


# ---- how the work is divided ----


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_the_split_into_batches_does_not_show(batch_size: int, space: LabelSpace) -> None:
    model = make_model(space)
    images, targets = batch(7)
    whole = Translator(model, device=CPU, batch_size=32).translate(images, targets)
    split = Translator(model, device=CPU, batch_size=batch_size).translate(images, targets)
    assert split.shape == whole.shape
    assert far(split, whole) <= 1
    assert (split != whole).float().mean() < 0.01


class Watched(Generator):
    """A generator that counts the rows of each stage, and has memory for so many only."""

    rows: ClassVar[dict[str, list[int]]] = {}
    room: ClassVar[int] = 64

    def encoder_stage(self, images: Tensor) -> Features:
        self._note("encoder", len(images))
        return super().encoder_stage(images)

    def finish_encoding(self, encoded: Features, vectors: Tensor) -> Features:
        self._note("decoder", len(vectors))
        return super().finish_encoding(encoded, vectors)

    def _note(self, stage: str, rows: int) -> None:
        if rows > self.room:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        self.rows.setdefault(stage, []).append(rows)


@pytest.fixture(params=["concat", "norm"])
def watched(request: pytest.FixtureRequest, space: LabelSpace, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that counts, with nothing counted yet."""
    monkeypatch.setattr(Watched, "rows", {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Watched(vector_size=4, width=4, downsamplings=1, blocks=1, conditioning=request.param)
    return model_of(generator, space)


COUNTS = [4, 0, 3, 5, 1, 1, 0, 2, 1, 1, 2]


def test_each_image_passes_the_encoder_stage_once(watched: Model) -> None:
    jobs = jobs_of(COUNTS, model=watched)
    list(Translator(watched, device=CPU, batch_size=4).stream(jobs))
    assert Watched.rows == {"encoder": [4, 4, 1], "decoder": [4, 4, 4, 4, 4]}


def test_only_the_last_block_is_short_and_can_be_filled_up(watched: Model) -> None:
    jobs = jobs_of([2, 1, 3], model=watched)
    expected = plain(watched, jobs)
    generator = PreparedGenerator(watched.generator, device=CPU, bfloat16=False, compile=False)
    seeded = [(job.image, job.targets, torch.zeros(len(job.targets))) for job in jobs]
    for fixed, encoded in ((False, [3]), (True, [4])):
        Watched.rows.clear()
        stream = Stream(
            generator,
            encode=lambda targets, _: watched.space.encode(targets),
            device=CPU,
            batch_size=4,
            fixed_shapes=fixed,
        )
        blocks = list(stream.blocks(seeded, generator.decoder_stage))
        assert [len(block) for block in blocks] == [4, 2]
        assert Watched.rows == {"encoder": encoded, "decoder": [4, 4 if fixed else 2]}
        assert far(torch.cat(blocks), expected) <= 1


@pytest.mark.parametrize(("device", "kernel"), [("cpu", (1, 7)), ("meta", (7, 7))])
def test_last_convolutions_are_split_by_rows_on_the_cpu_alone(
    device: str, kernel: tuple[int, int], space: LabelSpace
) -> None:
    model = make_model(space, output="masked")
    prepared = PreparedGenerator(model.generator, device=torch.device(device), bfloat16=False, compile=False)
    last = [prepared._generator.get_submodule(name) for name in ("painter", "masker")]
    assert [layer.kernel_size for layer in last if isinstance(layer, nn.Conv2d)] == [kernel, kernel]


def test_jobs_are_pulled_when_they_are_needed(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU, batch_size=4)
    pulled = 0

    def endless() -> Iterator[Job]:
        nonlocal pulled
        for job in cycle(jobs_of([1, 2, 0, 3], model=translator.model)):
            pulled += 1
            yield job

    yielded = 0
    for block in translator.stream(endless()):
        yielded += len(block)
        # Of four jobs come six pairs; six jobs at most hold the four images of a chunk.
        assert pulled <= yielded / 6 * 4 + 6
        if yielded > 60:
            break
    assert pulled > 30


def test_blocks_are_the_callers_to_keep(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU, batch_size=2)
    jobs = jobs_of([2, 2, 2], model=translator.model)
    expected = list(translator.stream(jobs))
    for block, kept in zip(translator.stream(jobs), expected, strict=True):
        assert torch.equal(block, kept)
        block.zero_()
    assert all(job.image.float().mean() > 100 for job in jobs)


def test_the_model_stays_as_it_is(space: LabelSpace) -> None:
    model = make_model(space, **KINDS["norm-masked"])
    before = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
    images, targets = batch(2)
    random = torch.get_rng_state()
    Translator(model, device=CPU, precision="bfloat16").translate(images, targets)
    assert torch.equal(torch.get_rng_state(), random)
    after = model.generator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert list(after) == list(before)
    assert torch.equal(images, batch(2)[0])
    assert torch.equal(targets, batch(2)[1])


# ---- where memory ends ----


@pytest.mark.parametrize(("room", "left"), [(7, 4), (3, 2), (1, 1)])
def test_out_of_memory_halves_the_batch_and_goes_on(
    room: int, left: int, watched: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(COUNTS, model=watched)
    expected = plain(watched, jobs)
    monkeypatch.setattr(Watched, "room", room)
    translator = Translator(watched, device=CPU, batch_size=16)
    found = torch.cat(list(translator.stream(jobs)))
    assert translator.batch_size == left
    assert far(found, expected) <= 1
    assert far(torch.cat(list(translator.stream(jobs))), expected) <= 1


def test_memory_that_runs_out_between_the_stages(watched: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(COUNTS, model=watched)
    expected = plain(watched, jobs)
    translator = Translator(watched, device=CPU, batch_size=4)
    stream = translator.stream(jobs)
    blocks = [next(stream)]
    monkeypatch.setattr(Watched, "room", 3)
    blocks += list(stream)
    assert translator.batch_size == 2
    assert far(torch.cat(blocks), expected) <= 1


def test_too_little_memory_for_one_image_says_so(watched: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "room", 0)
    stream = Translator(watched, device=CPU, batch_size=8).stream(jobs_of([1], model=watched))
    with pytest.raises(torch.OutOfMemoryError, match="cpu has too little free memory to translate a single image"):
        list(stream)


# ---- batch sizes, costs, compiling ----


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [((128, 128), 64, 4), ((32, 32), 32, 32), ((16, 16), 8, 32), ((1024, 1024), 64, 1)],
)
def test_the_batch_size_follows_from_the_model(
    size: tuple[int, int], width: int, expected: int, space: LabelSpace
) -> None:
    model = replace(make_model(space, width=width, blocks=0), image_size=size)
    assert Translator(model, device=CPU).batch_size == expected


def test_flops_are_those_of_a_plain_pass(space: LabelSpace) -> None:
    model = make_model(space, width=8, downsamplings=2, blocks=3)
    h, w = SIZE
    assert generator_flops(model) == 2 * h * w * (
        7 * 7 * 7 * 8  # an image and four planes
        + 2 * 4 * 4 * (8 * 16 / 4 + 16 * 32 / 16)  # two down, two up
        + 6 * 3 * 3 * 32 * 32 / 16
        + 7 * 7 * 8 * 3
    )
    model = make_model(space, **KINDS["small-latent"])
    entries = 4 * h // 2 * w // 2
    assert generator_flops(model) == 2 * (2 * entries * 4 * 4 + entries * 8 + (8 + 4) * entries)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not compiling_works(CPU)
    monkeypatch.setenv("CXX", sys.executable)
    assert not compiling_works(torch.device("meta"))


@pytest.mark.skipif(not compiling_works(CPU), reason="no C++ compiler, or no headers of Python")
def test_compiled_equals_eager(space: LabelSpace) -> None:
    """Three jobs fill neither a chunk nor the last block, and both halves keep one shape."""
    model = make_model(space, output="masked")
    jobs = jobs_of([3, 2, 1], model=model)
    translator = Translator(model, device=CPU, batch_size=4, compile=True)
    blocks = list(translator.stream(jobs))
    assert [len(block) for block in blocks] == [4, 2]
    assert far(torch.cat(blocks), plain(model, jobs)) <= 1
    assert all(torch.equal(*pair) for pair in zip(blocks, translator.stream(jobs), strict=True))


def test_a_failure_to_compile_has_its_reason(space: LabelSpace) -> None:
    class Stubborn(Generator):
        def encoder_stage(self, images: Tensor) -> Features:  # noqa: ARG002
            raise RuntimeError("no compiler\nand more")

    with torch.random.fork_rng(devices=[]):
        model = model_of(Stubborn(vector_size=4, width=4, downsamplings=1, blocks=1), space)
    stream = Translator(model, device=CPU, compile=True).stream(jobs_of([1], model=model))
    with pytest.raises(CompilationError, match=r"torch\.compile failed \(no compiler\)$"):
        list(stream)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "levels"), [("float32", 4), ("auto", 30)])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_makes_the_same(precision: Precision, levels: int, compiled: bool, space: LabelSpace) -> None:
    device = torch.device("cuda")
    if compiled and not compiling_works(device):
        pytest.skip("no Triton, or no compiler")
    model = make_model(space, **KINDS["norm-masked"])
    jobs = jobs_of([3, 1, 4, 0, 2, 7], model=model)
    translator = Translator(model, device=device, batch_size=4, precision=precision, compile=compiled)
    assert far(torch.cat(list(translator.stream(jobs))), plain(model, jobs)) <= levels


# ---- what is refused, and the empty ----


def test_an_empty_batch(space: LabelSpace) -> None:
    images, targets = batch(0)
    translator = Translator(make_model(space), device=CPU)
    assert translator.translate(images, targets).shape == (0, 3, 16, 24)
    assert translator.changes(images, targets).shape == (0, 3, 16, 24)
    assert list(translator.stream([])) == []
    assert list(translator.stream(jobs_of([0, 0], model=translator.model))) == []


def test_what_does_not_fit_is_refused(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU)
    images, targets = batch(2)
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 24\), got \(3, 24, 16\)"):
        translator.translate(images.transpose(2, 3), targets)
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 24\), got \(1, 16, 24\)"):
        translator.changes(images[:, :1], targets)
    with pytest.raises(ValueError, match="2 images but 1 targets"):
        translator.translate(images, targets[:1])
    with pytest.raises(ValueError, match="2 images but 1 seeds"):
        translator.translate(images, targets, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="codes have 1 columns"):
        translator.translate(images, targets[:, :1])
    with pytest.raises(TypeError, match="expected uint8"):
        translator.translate(images.float(), targets)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        Translator(make_model(space), device=CPU, batch_size=0)


def test_another_direction_is_refused(space: LabelSpace) -> None:
    translator = Translator(make_model(space, **KINDS["cyclegan"]), device=CPU)
    with pytest.raises(ValueError, match="translates into hair=brown only"):
        translator.translate(*batch(4))


# ---- changes, blended into the image that they belong to ----


@pytest.mark.parametrize("output", ["masked", "residual"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_on_its_image_is_the_translation(output: OutputKind, channels: int, space: LabelSpace) -> None:
    translator = Translator(make_model(space, image_channels=channels, output=output), device=CPU, batch_size=3)
    images, targets = batch(5, channels)
    changes = translator.changes(images, targets)
    assert changes.dtype == torch.float32
    assert changes.is_contiguous()
    translated = translator.translate(images, targets)
    assert far(translated, images) > 5
    for image, change, expected in zip(images, changes, translated, strict=True):
        assert far(blend(image, change, Box(0, 0, 24, 16)), expected) <= 1


@pytest.mark.parametrize("output", ["masked", "residual"])
def test_a_generator_that_changes_nothing_has_no_changes(output: OutputKind, space: LabelSpace) -> None:
    model = make_model(space, output=output)
    closed = model.generator.masker if output == "masked" else model.generator.painter
    assert isinstance(closed, nn.Conv2d)
    with torch.no_grad():
        closed.weight.zero_()
        if closed.bias is not None:
            closed.bias.fill_(-1000 if output == "masked" else 0)  # sigmoid(-1000) is 0, and so is tanh(0)
    images, targets = batch(4)
    translator = Translator(model, device=CPU)
    assert (translator.changes(images, targets) == 0).all()
    assert torch.equal(translator.translate(images, targets), images)
