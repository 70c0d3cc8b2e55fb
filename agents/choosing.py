"""Where a model computes and in which precision, when nobody says."""

from typing import Literal

import torch

from reward_models.errors import InvalidInput
from reward_models.loading import first_line

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
Trained = Literal["full", "lora"]


def choose_device(wanted: str) -> torch.device:
    """The device of that name; for `auto` the first of `cuda`, `mps` and `cpu` that is there.

    Raises InvalidInput for a name that is none, and for a device that this machine, or this build of torch, does not
    have.
    """
    if wanted == "auto":
        return torch.device(next((name for name in ("cuda", "mps") if _count(name) > 0), "cpu"))
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise InvalidInput(
            f"The device '{wanted}' is unknown ({first_line(error)}); choose auto, cpu, cuda, cuda:1 or mps."
        ) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise InvalidInput(f"The device '{wanted}' is none that is used here; choose auto, cpu, cuda, cuda:1 or mps.")
    there = _count(device.type)
    if (device.index or 0) >= there:
        raise InvalidInput(
            f"The device '{wanted}' is not there: torch {torch.__version__} sees {there} of type {device.type}; "
            "choose 'auto', which takes the best that is there, or 'cpu'."
        )
    return device


def choose_dtype(wanted: DtypeName, device: torch.device, *, trained: Trained) -> torch.dtype:
    """The precision of a policy's weights; `trained` says whether all of them or only LoRA adapters are trained.

    Weights that are trained stay float32: a step of AdamW is smaller than what bfloat16 can add to a weight. Below an
    adapter (itself always float32) the weights stand still, so there `auto` is bfloat16 on a CUDA device that computes
    in it, and float32 elsewhere: a CPU is mostly slower in it. Raises InvalidInput for half precision that is to be
    trained in full, for float16 on a CPU, and for a name that is none.
    """
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if wanted == "auto":
        half = trained == "lora" and device.type == "cuda" and _computes_bfloat16(device)
        return torch.bfloat16 if half else torch.float32
    if wanted not in names:
        raise InvalidInput(f"The precision '{wanted}' is unknown; choose auto, {', '.join(names)}.")
    if wanted != "float32" and trained == "full":
        raise InvalidInput(
            f"All weights are trained, and steps of AdamW are lost in {wanted}; choose auto or float32, or train "
            "a LoRA adapter only."
        )
    if wanted == "float16" and device.type == "cpu":
        raise InvalidInput("float16 overflows early, and brings a CPU nothing; choose auto, float32 or bfloat16.")
    return names[wanted]


def _count(kind: str) -> int:
    """How many devices of a type this build of torch can use on this machine."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return 1 if kind == "cpu" else int(torch.backends.mps.is_available())


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has units for it: compute capability 8.0 (Ampere) or newer; older ones only imitate it."""
    return torch.cuda.get_device_capability(device)[0] >= 8
