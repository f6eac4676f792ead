"""Tensors read from foreign files without running any code in them."""

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

_DEEPEST = 8
"""Levels of entries in which tensors are looked for."""

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


def read_tensors(file: Path) -> Weights:
    """Return the tensors of a file, on the CPU; a nested one is named by its keys, such as "G.main.0.weight".

    The file is a safetensors file, or a state dict that torch.save wrote, alone or below keys and beside other
    plain values. A CheckpointError says that it cannot be read, needs code to be loaded, or holds no tensors.
    """
    content = _read(file)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a {type(content).__name__}, not the named tensors of a state dict")
    tensors = Weights()
    unseen: list[tuple[str, Mapping[object, object]]] = [("", content)]
    seen = {id(content)}  # An entry may be there twice, and even contain itself.
    while unseen:
        path, entries = unseen.pop(0)
        for key, value in entries.items():
            name = f"{path}{key}"
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, Mapping) and id(value) not in seen and path.count(".") < _DEEPEST:
                seen.add(id(value))
                unseen.append((f"{name}.", value))
    if not tensors:
        keys = ", ".join(map(str, list(content)[:8])) or "nothing"
        raise CheckpointError(f"holds no state dict: its entries are {keys}, and none of them holds tensors")
    return tensors


def as_floats(weights: Mapping[str, Tensor]) -> Weights:
    """Return weights with floats as float32; CheckpointError where one is not finite."""
    floats = {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()
    }
    for name, tensor in floats.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"has values in {name} that are not finite: its training has diverged")
    return floats


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
