"""State dicts read from foreign files without running any code in them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stargan.checkpoints.files import CheckpointError

Weights = dict[str, Tensor]

_NESTED = ("state_dict", "params_ema", "params", "generator", "netG", "G", "model")
"""Entries under which training scripts save a state dict beside other things, the most likely first."""

_WRAPPERS = ("module", "_orig_mod")
"""Prefixes that DataParallel and torch.compile add to every name."""

_DAMAGE = (
    pickle.UnpicklingError,
    BadZipFile,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
"""Errors raised on reading files that are damaged or no checkpoints."""


def read_weights(file: Path) -> Weights:
    """Return the tensors of a state dict on the CPU, floats as float32.

    The file is a safetensors file, or a state dict that torch.save wrote, alone or beside other plain values. A
    CheckpointError says that it cannot be read, needs code to be loaded, or holds no state dict.
    """
    found = _state_dict(_read(file))
    while (wrapper := next(iter(found)).partition(".")[0]) in _WRAPPERS and all(
        name.startswith(f"{wrapper}.") for name in found
    ):
        found = {name.removeprefix(f"{wrapper}."): tensor for name, tensor in found.items()}
    weights = {}
    for name, tensor in found.items():
        weights[name] = tensor.detach().float() if tensor.is_floating_point() else tensor
        if not bool(weights[name].isfinite().all()):
            raise CheckpointError(f"has values in {name} that are not finite: its training has diverged")
    return weights


def _read(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch does not know; reading fails then
            return torch.load(file, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is not None:
            raise CheckpointError(
                f"needs {code[1]} to be loaded, and is refused: a file that holds more than tensors can run any "
                "code. If you trust it, save only its weights where it was made: "
                "torch.save(G.state_dict(), FILE)"
            ) from error
        # The unpickler's own message advises to load the file without protection.
        unsafe = isinstance(error, pickle.UnpicklingError)
        message = "" if unsafe else str(error).partition("\n")[0].partition(". ")[0]
        reason = f" ({message})" if message else ""
        raise CheckpointError(f"cannot be read: it is damaged, or torch.save did not write it{reason}") from error


def _state_dict(content: object) -> Weights:
    """Return the state dict that is the content, or is in it under a usual name."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a {type(content).__name__}, not the named tensors of a state dict")
    for candidate in (content, *(content.get(name) for name in _NESTED)):
        if isinstance(candidate, Mapping) and candidate:
            weights = {str(name): value for name, value in candidate.items() if isinstance(value, Tensor)}
            if len(weights) == len(candidate):
                return weights
    keys = ", ".join(map(str, list(content)[:8])) or "nothing"
    raise CheckpointError(
        f"holds no state dict: its entries are {keys}; one is looked for there and under {', '.join(_NESTED)}"
    )
