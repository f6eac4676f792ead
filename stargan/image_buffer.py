"""The buffer of earlier translations that D is trained on beside the newest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Domain = tuple[int, ...]


@dataclass(kw_only=True)
class ImageBuffer:
    """Earlier translations, some for each target domain.

    D then does not forget what G no longer makes, which keeps the two from running in circles.

    Args:
        size: translations kept for a domain.
        images: domain -> its translations, (C, H, W) each, on the device of the training.

    Source: Shrivastava et al., section 2.3 (arXiv 1612.07828), in the form of CycleGAN, section 4 (arXiv
    1703.10593): a history of 50 images, from which D sees one instead of the newest with probability 1/2.
    """

    size: int
    images: dict[Domain, list[Tensor]] = field(default_factory=dict)

    def exchange(self, translations: Tensor, targets: Tensor, *, random: torch.Generator) -> Tensor:
        """Return for each translation itself or, half of the time, one kept for its target, whose place it takes.

        Until `size` of a domain are kept, each is kept and returned.

        Args:
            translations: (N, C, H, W), detached.
            targets: (N, A) int64 on the CPU.
            random: on the CPU; draws for each translation of a domain with `size` kept ones.
        """
        shown = []
        for image, target in zip(translations, targets.tolist(), strict=True):
            kept = self.images.setdefault(tuple(target), [])
            if len(kept) < self.size:
                kept.append(image.clone())
            elif float(torch.rand((), generator=random)) < 0.5:
                place = int(torch.randint(self.size, (), generator=random))
                image, kept[place] = kept[place], image.clone()  # noqa: PLW2901 - the swap is the point
            shown.append(image)
        return torch.stack(shown)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the kept translations by "CODES.PLACE", the codes joined by "_"."""
        return {
            f"{'_'.join(map(str, domain))}.{place}": image
            for domain, kept in self.images.items()
            for place, image in enumerate(kept)
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Keep what `state_dict` returned, on a device."""
        self.images.clear()
        for name in sorted(tensors, key=lambda name: int(name.partition(".")[2])):
            domain = tuple(int(code) for code in name.partition(".")[0].split("_"))
            self.images.setdefault(domain, []).append(tensors[name].to(device))
