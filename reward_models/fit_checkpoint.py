"""Where a fit stands, in one file that is there whole or not at all.

Tensors go into a safetensors file, and what is no tensor goes as JSON into that file's header, so that the two cannot
part. The file is written beside its name, flushed to the disk and then renamed.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reward_models.errors import ArtifactError

FORMAT_VERSION = "1"
"""Raised when a file written now could not be read by the code of before."""


class Checkpoint(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    """Weights, moments of the optimiser, states of generators."""
    record: dict[str, Any]
    """What is no tensor, as it was given."""


def save_checkpoint(path: Path, *, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Replace the file by one with these contents; killed at any moment, the one before or this one is there.

    Raises ArtifactError if the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # Copies, because members that start alike may share a tensor, which the format refuses.
    stored = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    header = {"format_version": FORMAT_VERSION, "record": json.dumps(dict(record), allow_nan=False)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(stored, partial, metadata=header)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"could not save the checkpoint {path}: {error}; check the disk") from error
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, bit for bit.

    Raises ArtifactError if the file cannot be read, is damaged or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            version = header.get("format_version")
            if version != FORMAT_VERSION:
                raise ArtifactError(
                    f"{path} has format version {version}, expected {FORMAT_VERSION}; delete it to start anew, or use "
                    "the version of the package that wrote it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return Checkpoint(tensors=tensors, record=json.loads(header["record"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} is no usable checkpoint ({error}); delete it to start anew") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `NAME/PART` for every part that it keeps of a parameter."""
    return {
        f"{name}/{part}": value
        for name, parameter in parameters.items()
        for part, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for key, value in tensors.items():
        name, part = key.rsplit("/", 1)
        # The count of steps stays on the CPU, where the optimiser keeps it.
        state = optimizer.state[parameters[name]]
        state[part] = value.clone() if part == "step" else value.clone().to(parameters[name].device)


def _flush_folder(folder: Path) -> None:
    """Have the rename itself on the disk; where folders cannot be opened, the system sees to it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
