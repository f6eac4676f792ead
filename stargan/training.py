"""The training loop, its state and its events."""

from __future__ import annotations

import copy
import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stargan import losses
from stargan.config import LONGEST_WARMUP, TrainConfig, computes_in_bfloat16, learning_rate_factor
from stargan.diffaugment import ADAPT_EVERY, adapted_probability, diff_augment, overfitting_excess
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.image_buffer import ImageBuffer
from stargan.labels import LabelSpace, permuted_targets, value_weights
from stargan.networks import Discriminator, TranslatingGenerator
from stargan.pixels import to_signed
from stargan.upload import Labels, upload, upload_labels


class Batch(NamedTuple):
    """Images with their domains and targets.

    Args:
        images: (N, C, H, W) uint8.
        codes: (N, A) int64 domains, -1 unknown.
        targets: (N, A) int64, -1 unknown; None for the batch's domains, permuted by the loop.
        partners: (N, C, H, W) uint8, the same scenes under their targets, aligned with `images` pixel for pixel;
            None where no image has one.
        paired: (N,) bool, which rows of `partners` are real; the others count in no loss. None without `partners`.
    """

    images: Tensor
    codes: Tensor
    targets: Tensor | None = None
    partners: Tensor | None = None
    paired: Tensor | None = None


@dataclass(kw_only=True)
class TrainState:
    """Everything that changes in training; a saved state resumes exactly.

    Args:
        average: exponential moving average of G's weights, for translating.
        short_average: one over a tenth of the steps; None where it is not wanted.
        generator_optimizer, discriminator_optimizer: Adam.
        step: D steps done.
        elapsed: seconds trained, including resumed runs.
        augment_probability: probability of each augmentation of an image.
        buffer: of earlier translations, equal on all ranks; None where D sees the newest alone.
    """

    generator: TranslatingGenerator
    average: TranslatingGenerator
    discriminator: Discriminator
    generator_optimizer: torch.optim.Adam
    discriminator_optimizer: torch.optim.Adam
    short_average: TranslatingGenerator | None = None
    step: int = 0
    elapsed: float = 0.0
    augment_probability: float = 1.0
    buffer: ImageBuffer | None = None


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """Losses averaged since the last log, and the speed.

    Args:
        step: D steps done.
        progress: share of the run that is done, in [0, 1].
        elapsed: seconds trained.
        images_per_second: real images per second since the last log.
        losses: name -> mean value, "d/..." for D's and "g/..." for G's; "d/augment_p" is the probability of
            augmentations, where it is adaptive.
    """

    step: int
    progress: float
    elapsed: float
    learning_rate: float
    images_per_second: float
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SampleEvent:
    """Samples are due."""

    state: TrainState


@dataclass(frozen=True, kw_only=True)
class CheckpointEvent:
    """A checkpoint is due; the weights of `state` are all finite."""

    state: TrainState


Event = LogEvent | SampleEvent | CheckpointEvent


@dataclass(kw_only=True)
class PeriodicEvaluation:
    """Evaluations of the state during training, which do not count as seconds trained.

    Args:
        shares: shares of the run, in (0, 1], at which one is due.
        evaluate: called with the state and the share of the run that is done; True asks for a checkpoint.
        done: the share of the run up to which they were made; more for a resumed run.
    """

    shares: tuple[float, ...]
    evaluate: Callable[[TrainState, float], bool]
    done: float = 0.0

    def due(self, progress: float) -> bool:
        """Return whether one is due at this share of the run."""
        return any(self.done < share <= progress for share in self.shares)


class DivergenceError(RuntimeError):
    """A loss or a weight is no longer finite, or a loss exceeds its limit."""


def new_state(
    *,
    generator: TranslatingGenerator,
    discriminator: Discriminator,
    config: TrainConfig,
    with_short_average: bool = False,
) -> TrainState:
    """Return the state at step 0, with fresh optimizers and the averages equal to G."""
    return TrainState(
        generator=generator,
        average=_frozen_copy(generator),
        short_average=_frozen_copy(generator) if with_short_average else None,
        discriminator=discriminator,
        generator_optimizer=_adam(generator, config),
        discriminator_optimizer=_adam(discriminator, config),
        augment_probability=0.0 if isinstance(config.augment_probability, str) else config.augment_probability,
        buffer=ImageBuffer(size=config.buffer_size) if config.buffer_size else None,
    )


def _frozen_copy(generator: TranslatingGenerator) -> TranslatingGenerator:
    return copy.deepcopy(generator).requires_grad_(False).eval()


def train(
    *,
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    batches: Iterable[Batch],
    device: torch.device,
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool] = lambda: False,
    epoch_steps: float = float("inf"),
    ranks: Ranks = SINGLE_RANK,
    evaluation: PeriodicEvaluation | None = None,
    validation: Iterator[Batch] | None = None,
    translation_weights: Callable[[Tensor], Tensor] | None = None,
) -> bool:
    """Train G and D on `batches` from `state.step` on, until the run is over or `should_stop` returns True.

    All randomness of a step comes from the seed and the step's number: a run that is stopped and resumed with the
    batches that follow ends with the same weights as one that is not.

    A discriminator that sees the source takes partners for real, so all rows of a batch must be paired; any other
    takes the batch's images.

    Each of several ranks calls this with the same networks and its share of every batch, all of one size. Losses
    and weights are those of one process with the whole batches, except for batch norm's statistics, which are
    those of rank 0's share, and for dropout. All ranks get the same events at the same steps.

    Args:
        state: changed in place; its networks are on `device`.
        config: the hyper-parameters.
        space: the label space.
        batches: from step `state.step` on; at least as many as the run has steps left.
        device: of the networks.
        on_event: called with logs, and when samples or a checkpoint are due; a CheckpointEvent is the last.
        should_stop: called after every step; True ends the run early, with a checkpoint.
        epoch_steps: steps per pass over the training rows, for the exponential schedule.
        ranks: the ranks that train together.
        evaluation: evaluations of the state, all ranks at the same steps and with the same answers.
        validation: endless batches of images that are not trained on, for an adaptive `augment_probability`: one
            for every step that `ADAPT_EVERY` divides, from the first after `state.step` on. Without, it adapts by
            the scores of training images alone.
        translation_weights: maps the (N, A) int64 targets of all ranks, on the CPU, to (N,) float32: how much each
            translation counts in D's adversarial loss, 1 on average; None counts all alike.

    Returns:
        Whether the run reached its end (False: it was stopped and can be resumed).

    Raises:
        DivergenceError: a loss or weight is not finite, or a loss exceeds `config.diverged_above`.
        ValueError: the batches ended before the run did, or a discriminator that sees the source got rows without
            partners, augmentations or a buffer.

    Source: StarGAN, algorithm of section 3.2 and 5.1 (arXiv 1711.09020); with a generator and a discriminator for
    each value and a buffer CycleGAN, section 4 (arXiv 1703.10593); with partners and a discriminator that sees
    the source pix2pix, section 3 (arXiv 1611.07004).
    """
    generator, discriminator = state.generator.train(), state.discriminator.train()
    if device.type == "cuda":
        generator.to(memory_format=torch.channels_last)
        discriminator.to(memory_format=torch.channels_last)
    # Batch norm's statistics and spectral norm's vectors change with every pass, so the passes must stay separate.
    stateful = next(discriminator.buffers(), None) is not None
    compiled = _Compiled(state, config, device, ranks)
    source: Iterator[Batch] = iter(batches)
    meter = _Meter(config, ranks)
    clock = _Clock(state, config)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(config.precision, device))
    adaptive = config.augment_probability == "adaptive"
    conditional = discriminator.sees_source
    if conditional and (config.augment or config.buffer_size):
        raise ValueError("a discriminator that sees the source works without augment and buffer_size")

    while clock.progress() < 1:
        # ---- one batch, its targets, the learning rate ----
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended at step {state.step}, before the run did")
        step = state.step + 1
        random = step_random(config, step)
        codes = ranks.all_gather(batch.codes)
        if batch.targets is None:
            targets = permuted_targets(codes, space, generator=random)
        else:
            targets = ranks.all_gather(batch.targets)
        labels = upload_labels(codes, targets, space, device=device, ranks=ranks)
        real = to_signed(upload(batch.images, device))
        if device.type == "cuda":
            real = real.contiguous(memory_format=torch.channels_last)
        partners = None
        if config.reads_partners or conditional:
            partners = _upload_partners(batch, device, ranks, all_paired=conditional)
        progress, epoch = clock.progress(step), int(state.step // epoch_steps)
        rate = config.learning_rate * learning_rate_factor(config, progress=progress, epoch=epoch)
        _set_learning_rate(state, rate)
        warming = state.step < config.warmup_steps and clock.progress(state.step) < LONGEST_WARMUP
        g_step = step % config.critic_steps == 0 and not warming
        distort = partial(diff_augment, policy=config.augment, probability=state.augment_probability, ranks=ranks)
        adapts = adaptive and step % ADAPT_EVERY == 0
        held_out = next(validation) if adapts and validation is not None else None

        # ---- D while it warms up: its domain loss alone ----
        if warming:
            with autocast:
                _, real_logits = compiled.discriminate(distort(real, generator=random), labels.source_signed, None)
            d_domain = losses.domain_loss(
                real_logits, labels.codes, space, known=labels.known_codes, normalise=config.normalise_domain
            )
            meter.add({"d/domain": d_domain})
            _update(state.discriminator_optimizer, config.real_domain_weight * d_domain, ranks)

        # ---- translations, for the updates of D and G ----
        else:
            weights = None
            if translation_weights is not None:
                weights = upload(ranks.local_share(translation_weights(targets)), device)
            noise = torch.randn(2, len(codes), generator.noise, generator=random)
            look, other_look = upload(ranks.local_share(noise, dim=1), device)
            with torch.set_grad_enabled(g_step), autocast:
                vectors = torch.cat([look, labels.target_vectors], dim=1)
                fake, mask = compiled.translate(real, vectors, random)

            # ---- D: adversarial and domain losses, penalty ----
            genuine = _genuine(real, labels, partners, conditional=conditional)
            penalise = config.penalises_real and step % config.r1_every == 0
            earlier = fake.detach()
            if state.buffer is not None:
                earlier = ranks.local_share(
                    state.buffer.exchange(ranks.all_gather(earlier), targets, random=random)
                )
            seen_real = distort(genuine.images, generator=random).requires_grad_(penalise)
            seen_fake = distort(earlier, generator=random)
            sources = real if conditional else None
            with autocast:
                if penalise or stateful:
                    fake_scores, _ = compiled.discriminate(seen_fake, labels.target_signed, sources)
                    # Before another pass, and on the plain network: a fused one cannot be differentiated twice.
                    real_scores, real_logits = (discriminator if penalise else compiled.discriminate)(
                        seen_real, genuine.signed, sources
                    )
                else:
                    # One pass, which reads D's many weights once.
                    scores, logits = compiled.discriminate(
                        torch.cat([seen_real, seen_fake]),
                        torch.cat([genuine.signed, labels.target_signed]),
                        None if sources is None else torch.cat([sources, sources]),
                    )
                    (real_scores, fake_scores), real_logits = scores.chunk(2), logits[: len(real)]
                if config.objective == "wgan-gp":
                    mix = upload(ranks.local_share(torch.rand(len(codes), generator=random)), device)
                    penalty = losses.gradient_penalty(
                        partial(_scores, discriminator, labels.target_signed, sources), seen_real, seen_fake, mix
                    )
            d_loss = losses.CRITIC_LOSSES[config.objective](real_scores, fake_scores, weights)
            meter.add({"d/adversarial": d_loss})
            if config.real_domain_weight:
                d_domain = losses.domain_loss(
                    real_logits, genuine.codes, space, known=genuine.known, normalise=config.normalise_domain
                )
                d_loss = d_loss + config.real_domain_weight * d_domain
                meter.add({"d/domain": d_domain})
            if config.objective == "wgan-gp":
                d_penalty = config.gradient_penalty_weight * penalty
                d_loss = d_loss + d_penalty
                meter.add({"d/penalty": d_penalty})
            elif penalise:
                d_penalty = config.r1_weight * config.r1_every * losses.r1_penalty(real_scores, seen_real)
                d_loss = d_loss + d_penalty
                meter.add({"d/penalty": d_penalty})
            # ---- from the next step on: augmentations as probable as D overfits ----
            if adapts:
                held_out_scores = None
                if held_out is not None:
                    seen = distort(to_signed(upload(held_out.images, device)), generator=random)
                    held_out_signed = upload(space.encode_signed(held_out.codes), device)
                    with torch.no_grad(), autocast:
                        held_out_scores, _ = compiled.discriminate(seen, held_out_signed, None)
                excess = overfitting_excess(real_scores.detach(), fake_scores.detach(), held_out_scores)
                ranks.average([excess])
                state.augment_probability = adapted_probability(
                    state.augment_probability, excess=float(excess), images=ADAPT_EVERY * len(codes)
                )
            _update(state.discriminator_optimizer, d_loss, ranks)
            real = real.detach().requires_grad_(False)

        # ---- G: adversarial, domain, cycle, source, identity, pair, diversity and sparsity losses ----
        if g_step:
            discriminator.requires_grad_(False)
            round_trip = config.returns and (step // config.critic_steps) % config.cycle_every == 0
            seen_fake = distort(fake, generator=random)
            with autocast:
                fake_scores, fake_logits = compiled.discriminate(seen_fake, labels.target_signed, sources)
                if round_trip:
                    back, back_mask = compiled.translate(fake, labels.source_vectors, random)
                    # Without loss where the image's domain does not say what the way back has to restore.
                    back = torch.where(labels.returns[:, None, None, None], back, real)
                    if config.feature_matching_weight:
                        g_features = losses.feature_matching_loss(
                            discriminator.inner(real, labels.source_signed, real if conditional else None),
                            discriminator.inner(back, labels.source_signed, real if conditional else None),
                        )
                if config.source_feature_weight:
                    g_source = losses.feature_matching_loss(
                        discriminator.inner(real, labels.target_signed, sources),
                        discriminator.inner(fake, labels.target_signed, sources),
                    )
                if config.identity_weight:
                    same, _ = compiled.translate(real, labels.source_vectors, random)
                if partners is not None and config.pair_feature_weight:
                    g_pair_features = losses.pair_loss(
                        discriminator.inner(fake, labels.target_signed, sources),
                        discriminator.inner(partners.images, labels.target_signed, sources),
                        partners.paired,
                        partners.mean_count,
                    )
                if generator.noise and config.diversity_weight:
                    with torch.no_grad():
                        vectors = torch.cat([other_look, labels.target_vectors], dim=1)
                        other, _ = compiled.translate(real, vectors, random)
            g_adversarial = losses.GENERATOR_LOSSES[config.objective](fake_scores)
            g_loss = config.adversarial_weight * g_adversarial
            meter.add({"g/adversarial": g_adversarial})
            if config.domain_weight:
                g_domain = losses.domain_loss(
                    fake_logits,
                    labels.targets,
                    space,
                    known=labels.known_targets,
                    normalise=config.normalise_domain,
                )
                g_loss = g_loss + config.domain_weight * g_domain
                meter.add({"g/domain": g_domain})
            masks = [] if mask is None else [mask]

            if round_trip:
                masks += [] if back_mask is None else [back_mask]
                g_cycle = losses.cycle_loss(real, back)
                if config.cycle_weights or config.cycle_changed_share != 1:
                    each = cycle_weights(codes, targets, config, space)
                    g_trip = losses.cycle_loss(real, back, upload(ranks.local_share(each), device))
                else:
                    g_trip = config.cycle_weight * g_cycle
                meter.add({"g/cycle": g_cycle})
                if config.multiscale_weights:
                    g_scales = losses.multiscale_loss(real, back, config.multiscale_weights)
                    g_trip = g_trip + g_scales
                    meter.add({"g/multiscale": g_scales})
                if config.feature_matching_weight:
                    g_trip = g_trip + config.feature_matching_weight * g_features
                    meter.add({"g/features": g_features})
                g_loss = g_loss + config.cycle_every * g_trip

            if config.source_multiscale_weights:
                g_scales = losses.multiscale_loss(real, fake, config.source_multiscale_weights)
                g_loss = g_loss + g_scales
                meter.add({"g/source_multiscale": g_scales})
            if config.source_feature_weight:
                g_loss = g_loss + config.source_feature_weight * g_source
                meter.add({"g/source_features": g_source})
            if config.identity_weight:
                g_identity = losses.identity_loss(real, same)
                g_loss = g_loss + config.identity_weight * g_identity
                meter.add({"g/identity": g_identity})
            if partners is not None:
                g_pair = losses.pair_loss([fake], [partners.images], partners.paired, partners.mean_count)
                g_loss = g_loss + config.pair_weight * g_pair
                meter.add({"g/pair": g_pair})
                if config.pair_feature_weight:
                    g_loss = g_loss + config.pair_feature_weight * g_pair_features
                    meter.add({"g/pair_features": g_pair_features})
            if generator.noise and config.diversity_weight:
                g_diversity = losses.diversity_loss(fake, other, look, other_look, bound=config.diversity_bound)
                g_loss = g_loss + config.diversity_weight * g_diversity
                meter.add({"g/diversity": g_diversity})
            if masks:
                g_sparsity = torch.stack([losses.sparsity_loss(mask) for mask in masks]).mean()
                g_loss = g_loss + config.sparsity_weight * g_sparsity
                meter.add({"g/sparsity": g_sparsity})
            _update(state.generator_optimizer, g_loss, ranks)
            discriminator.requires_grad_(True)
            g_steps = step // config.critic_steps
            _average(state.average, state.generator, config.ema_decay, g_steps=g_steps)
            if state.short_average is not None:
                short = max(0.0, 1 - 10 * (1 - config.ema_decay))
                _average(state.short_average, state.generator, short, g_steps=g_steps / 10)

        # ---- evaluate, log, sample, save ----
        if adaptive:
            meter.add({"d/augment_p": torch.full((), state.augment_probability, device=device)})
        state.step = step
        state.elapsed, asked_to_stop = ranks.synchronize(elapsed=clock.seconds(), stopping=should_stop())
        finished = clock.progress() >= 1
        stopping = finished or asked_to_stop
        save = clock.due("checkpoint", config.checkpoint_minutes * 60) or stopping
        if evaluation is not None and evaluation.due(clock.progress()):
            start = time.monotonic()
            save = evaluation.evaluate(state, clock.progress()) or save
            evaluation.done = clock.progress()
            clock.skip(time.monotonic() - start)
            meter.skip(time.monotonic() - start)
        meter.count(len(codes))
        if clock.due("log", config.log_seconds) or save:
            on_event(meter.read(step=step, progress=clock.progress(), elapsed=state.elapsed, learning_rate=rate))
        if clock.due("sample", config.sample_minutes * 60) or stopping:
            on_event(SampleEvent(state=state))
        if save:
            _require_finite(state)
            on_event(CheckpointEvent(state=state))
        if stopping:
            return finished
    return True


def step_random(config: TrainConfig, step: int) -> torch.Generator:
    """Return the random generator of a step, counted from 1, for targets, penalty points and augmentations."""
    # The factor spreads the seeds, so that no two runs share the generators of steps.
    return torch.Generator().manual_seed((config.seed * 0x9E3779B97F4A7C15 + step) % (1 << 63))


def cycle_weights(codes: Tensor, targets: Tensor, config: TrainConfig, space: LabelSpace) -> Tensor:
    """Return the weight of each image's cycle loss, (N,) float32, for (N, A) int64 domains and targets."""
    weights = value_weights(codes, config.cycle_weights, space, default=config.cycle_weight)
    return torch.where((codes == targets).all(dim=1), weights, config.cycle_changed_share * weights)


class _Genuine(NamedTuple):
    """What D takes for real: images and the domains that they show, in the forms of `Labels`."""

    images: Tensor
    signed: Tensor
    codes: Tensor
    known: Tensor | None


def _genuine(real: Tensor, labels: Labels, partners: _Partners | None, *, conditional: bool) -> _Genuine:
    """Return the batch's images with their domains; for a D that sees the source, partners with the targets."""
    if not conditional:
        return _Genuine(real, labels.source_signed, labels.codes, labels.known_codes)
    assert partners is not None
    return _Genuine(partners.images, labels.target_signed, labels.targets, labels.known_targets)


class _Partners(NamedTuple):
    """True partners on the device, float32 (N, C, H, W) in [-1, 1], and which of them are real, (N,) bool.

    `mean_count`, a scalar, is the number of real ones in a rank's share on average.
    """

    images: Tensor
    paired: Tensor
    mean_count: Tensor


def _upload_partners(batch: Batch, device: torch.device, ranks: Ranks, *, all_paired: bool) -> _Partners | None:
    """Return a batch's partners on the device; None if no rank has any. Every rank has to call this."""
    paired = torch.zeros(len(batch.codes), dtype=torch.bool) if batch.paired is None else batch.paired
    everywhere = ranks.all_gather(paired)
    if all_paired and not bool(everywhere.all()):
        raise ValueError("a discriminator that sees the source needs a partner of every image of a batch")
    if not bool(everywhere.any()):
        return None
    partners = torch.zeros_like(batch.images) if batch.partners is None else batch.partners
    return _Partners(
        images=to_signed(upload(partners, device)),
        paired=upload(paired, device),
        mean_count=upload(everywhere.sum().float() / ranks.world_size, device),
    )


class _Compiled:
    """The passes of G and D, plain or fused by torch.compile; G's with dropout that a step's generator decides."""

    def __init__(self, state: TrainState, config: TrainConfig, device: torch.device, ranks: Ranks) -> None:
        self._translate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]] = state.generator.translate
        self.discriminate: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]] = state.discriminator
        self._drops = any(isinstance(layer, nn.Dropout) for layer in state.generator.modules())
        self._devices = [device] if device.type == "cuda" else []
        self._rank = ranks.rank
        # On CUDA torch.compile needs Triton, which is optional. On a CPU it saves a tenth of the time at most.
        pays = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        if config.compile == "on" or (config.compile == "auto" and pays):
            # Batches have two sizes, with and without translations: each gets kernels of its own.
            self._translate = torch.compile(self._translate, dynamic=False)
            self.discriminate = torch.compile(self.discriminate, dynamic=False)

    def translate(self, images: Tensor, vectors: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return translations and their mask; see `TranslatingGenerator.translate`."""
        if not self._drops:
            return self._translate(images, vectors)
        # Dropout draws from the global state, which stays as it is.
        with torch.random.fork_rng(devices=self._devices):
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=random)) + self._rank)
            return self._translate(images, vectors)


@dataclass
class _Clock:
    """The run's progress in steps or in seconds, and which events are due by the seconds in the state."""

    state: TrainState
    config: TrainConfig
    _last: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = time.monotonic() - self.state.elapsed
        self._last = dict.fromkeys(("log", "sample", "checkpoint"), self.state.elapsed)

    def progress(self, step: int | None = None) -> float:
        if self.config.steps is not None:
            return min(1.0, (self.state.step if step is None else step) / self.config.steps)
        assert self.config.minutes is not None
        return min(1.0, self.state.elapsed / (self.config.minutes * 60))

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def skip(self, seconds: float) -> None:
        """Leave out seconds that were not spent on training."""
        self._start += seconds

    def due(self, name: str, seconds: float) -> bool:
        """Return whether `seconds` have passed since `name` was last due."""
        if self.state.elapsed - self._last[name] < seconds:
            return False
        self._last[name] = self.state.elapsed
        return True


class _Meter:
    """Means of losses, computed on the device and copied once per log, so that no step waits for a copy."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._limit, self._ranks = config.diverged_above, ranks
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._images = 0
        self._since = time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros((), device=value.device), 0))
            self._sums[name] = (total + value.detach().float(), count + 1)

    def count(self, images: int) -> None:
        self._images += images

    def skip(self, seconds: float) -> None:
        """Leave out seconds that were not spent on training."""
        self._since += seconds

    def read(self, *, step: int, progress: float, elapsed: float, learning_rate: float) -> LogEvent:
        """Return the means and reset them; DivergenceError if one is not finite or too large."""
        names = sorted(self._sums)
        self._ranks.average([self._sums[name][0] for name in names])
        means = {name: float(self._sums[name][0]) / self._sums[name][1] for name in names}
        for name, value in means.items():
            if not abs(value) <= self._limit:
                raise DivergenceError(f"at step {step} the loss {name} is {value:.4g}")
        now = time.monotonic()
        speed = self._images / max(now - self._since, 1e-9)
        self._sums, self._images, self._since = {}, 0, now
        return LogEvent(
            step=step,
            progress=progress,
            elapsed=elapsed,
            learning_rate=learning_rate,
            images_per_second=speed,
            losses=means,
        )


def _adam(network: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas, fused=fused)


def _scores(discriminator: Discriminator, wanted: Tensor, sources: Tensor | None, images: Tensor) -> Tensor:
    scores: Tensor = discriminator(images, wanted, sources)[0]
    return scores


def _update(optimizer: torch.optim.Adam, loss: Tensor, ranks: Ranks) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    weights: list[Tensor] = [weight for group in optimizer.param_groups for weight in group["params"]]
    ranks.average([weight.grad for weight in weights if weight.grad is not None])
    optimizer.step()


def _set_learning_rate(state: TrainState, rate: float) -> None:
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = rate


@torch.no_grad()
def _average(average: TranslatingGenerator, latest: TranslatingGenerator, decay: float, *, g_steps: float) -> None:
    # A long average would keep the random initial weights for long, so its length grows with the run.
    decay = min(decay, g_steps / (g_steps + 10))
    averaged: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(latest.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
    # Batch norm's statistics are averages already; spectral norm's vectors belong to the latest weights.
    for kept, buffer in zip(average.buffers(), latest.buffers(), strict=True):
        kept.copy_(buffer)


def _require_finite(state: TrainState) -> None:
    for owner, network in (("G", state.generator), ("D", state.discriminator)):
        for name, weight in network.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise DivergenceError(f"at step {state.step} the weight {name} of {owner} is no longer finite")
