"""The state of a training in one safetensors file: weights, optimiser moments, and a JSON header.

One file is replaced by one rename: a process that is killed at any moment leaves either the old state or the new one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reward_models.errors import ArtifactError

FILE_NAME = "training.safetensors"
HEADER = "training"
WEIGHT = "weight"


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, header: Mapping[str, object]
) -> None:
    """Write the trainable weights, the optimiser's tensors and `header` (JSON) to `folder`, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trainable(model).items():
        tensors[f"{WEIGHT}/{name}"] = parameter.detach().cpu().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE_NAME}.{os.getpid()}"
    save_file(tensors, temporary, metadata={HEADER: json.dumps(header, allow_nan=False)})
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, folder / FILE_NAME)


def load_header(folder: Path) -> dict[str, Any] | None:
    """The header of the checkpoint in `folder`, or None if there is no checkpoint; `ArtifactError` if it is damaged."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ArtifactError(
            f"'{path}' is no readable training checkpoint ({error}); delete it to start anew."
        ) from error
    if not isinstance(header, dict):
        raise ArtifactError(f"The header of '{path}' is no record; delete the file to start anew.")
    return header


def load_state(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the weights and moments of the checkpoint into place; `ArtifactError` if they are of another model."""
    path = folder / FILE_NAME
    trainable = _trainable(model)
    with safe_open(path, framework="pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # safe_open is no mapping
    shapes = {f"{WEIGHT}/{name}": tuple(parameter.shape) for name, parameter in trainable.items()}
    if shapes != {key: tuple(value.shape) for key, value in stored.items() if key.startswith(f"{WEIGHT}/")}:
        raise ArtifactError(
            f"The weights in '{path}' are not those of the given model; give the model the training began with, or "
            "another checkpoint folder."
        )
    with torch.no_grad():
        for key, value in stored.items():
            kind, name = key.split("/", maxsplit=1)
            parameter = trainable[name]
            if kind == WEIGHT:
                parameter.copy_(value)
            else:
                # AdamW keeps its step counter on the CPU and its moments beside the parameter.
                optimizer.state[parameter][kind] = value if value.ndim == 0 else value.to(parameter.device)


def _trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Trainable parameters by name; tied ones appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
