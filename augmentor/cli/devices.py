"""The torch devices of --device and --devices."""

from __future__ import annotations

import torch

from augmentor.errors import AugmentorError, OutputError, first_line


def chosen_devices(device: str, devices: str | None) -> tuple[torch.device, ...]:
    """Return the devices of --devices, else the one of --device; AugmentorError for both or an unusable one."""
    if devices is None:
        return (pick_device(device),)
    if device != "auto":
        raise AugmentorError("--device and --devices exclude each other: give one of them")
    return parse_devices(devices)


def pick_device(name: str) -> torch.device:
    """Return the device of a name, "auto" for the first GPU, else the CPU; an OutputError if it is not usable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = _named(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OutputError(
            f"--device {name}: not usable here ({first_line(error)}). {_there()} Try --device auto"
        ) from None
    return device


def _named(name: str) -> torch.device:
    """Return the device of a name, without initialising it; a number is a GPU's. RuntimeError for no device's."""
    return torch.device("cuda", int(name)) if name.isdecimal() else torch.device(name)


def _there() -> str:
    """Return which devices this machine has, in a sentence."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if not gpus:
        return "torch finds no CUDA GPU on this machine, only cpu."
    return f"This machine has {', '.join(gpus)} and cpu."


def parse_devices(text: str) -> tuple[torch.device, ...]:
    """Return the devices of a comma-separated list, without initialising them; a number is a GPU's."""
    found = []
    for name in filter(None, map(str.strip, text.split(","))):
        try:
            device = _named(name)
        except RuntimeError as error:
            raise OutputError(f"--devices {name}: not usable here ({first_line(error)}). {_there()}") from None
        count = torch.cuda.device_count() if device.type == "cuda" else 1
        if device.type not in ("cpu", "cuda") or (device.index or 0) >= count:
            hint = " Leave --devices out, or write --devices cpu" if not torch.cuda.device_count() else ""
            raise OutputError(f"--devices {name}: not usable here. {_there()}{hint}")
        found.append(device)
    if not found:
        raise OutputError("--devices names no device. Write for example cuda:0,cuda:1")
    return tuple(found)
