"""Translator: uint8 images and targets in, uint8 images out."""

from __future__ import annotations

import torch
from torch import Tensor

from stargan.checkpoint import Model
from stargan.pixels import to_signed, to_uint8


class Translator:
    """Translates batches with a trained model.

    Args:
        model: what `load_model` returned.
        device: where to compute.
        batch_size: images that pass the generator at once; more are split.
    """

    def __init__(self, model: Model, *, device: torch.device, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self._device = device
        self._generator = model.generator.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def translate(self, images: Tensor, targets: Tensor) -> Tensor:
        """Translate each image into its target.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 leaves that attribute alone.

        Returns:
            (N, C, H, W) uint8 on the CPU.

        Raises:
            ValueError: the images are not of the model's size and channels, or the counts differ.
        """
        n, c, h, w = images.shape
        if (c, (h, w)) != (self.model.image_channels, self.model.image_size):
            want = (self.model.image_channels, *self.model.image_size)
            raise ValueError(f"the model translates images of shape {want}, got {(c, h, w)}")
        if len(targets) != n:
            raise ValueError(f"{n} images but {len(targets)} targets")
        translated = [
            self._translate_batch(
                images[start : start + self.batch_size], targets[start : start + self.batch_size]
            )
            for start in range(0, n, self.batch_size)
        ]
        return torch.cat(translated) if translated else images

    def _translate_batch(self, images: Tensor, targets: Tensor) -> Tensor:
        vectors = self.model.space.encode(targets).to(self._device)
        signed = to_signed(images.to(self._device, memory_format=torch.channels_last))
        return to_uint8(self._generator(signed, vectors)).cpu().contiguous()
