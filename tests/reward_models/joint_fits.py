"""Fits that must come out alike on any number of processes.

    accelerate launch --config_file configs/accelerate/cpu-2.yaml -m tests.reward_models.joint_fits FOLDER

Of 41 training comparisons in batches of 8 the last batch is a single one, of which one of two processes has nothing.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import install_import_hook
from safetensors.torch import save_file
from torch import Tensor

if __name__ == "__main__":  # as in the tests: shapes are checked while it runs
    hook = install_import_hook("reward_models", "beartype.beartype")

from reward_models.backbone import Backbone
from reward_models.fit_plan import GradientSettings
from reward_models.full_model import fit_full
from reward_models.gradient_fitting import GradientRecord, GradientStep
from reward_models.lora_model import fit_lora
from reward_models.pairs import EncodedPairs
from reward_models.processes import present_processes
from reward_models.stacked_adapters import AdapterSettings
from tests.reward_models.conftest import make_model, make_tokenizer

SETTINGS = GradientSettings(epochs=2, batch_size=8, learning_rate=2e-3, held_out_share=0.18, checkpoint_every=3)
BEGUN = 4
"""Steps after which a fit is broken off."""

Watch = Callable[[GradientStep], None]


def comparisons(backbone: Backbone, count: int = 50) -> EncodedPairs:
    """Texts of the letters a and b, of different lengths; mostly the one with more of a is better."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.randint(2, (2, count, 4), generator=generator)
    sides = [
        ["".join("ab"[letter] for letter in row) * (1 + len(row) % 3) for row in side] for side in letters.tolist()
    ]
    encoded = [backbone.encode(["go " * (place % 4) for place in range(count)], side) for side in sides]
    counts = letters.sum(dim=2).double()
    labels = torch.bernoulli(torch.sigmoid(counts[1] - counts[0]), generator=generator)
    return EncodedPairs(*encoded, labels=labels, weights=torch.ones(count, dtype=torch.float64))


def run(kind: str, *, seed: int = 1, checkpoint: Path | None = None, watch: Watch | None = None) -> "Outcome":
    """Fit two members, from weights of their own that `seed` draws."""
    backbone = Backbone(make_model("llama"), make_tokenizer(), max_length=64)
    common = {"settings": SETTINGS, "generator": torch.Generator().manual_seed(seed), "checkpoint": checkpoint}
    if kind == "lora":
        adapters = AdapterSettings(members=2, rank=2, layers=(1,))
        lora = fit_lora(backbone, comparisons(backbone), adapters=adapters, on_step=watch, **common)
        return lora.record, {**lora.model.trained.parameters(), "offsets": lora.model.offsets}
    full = fit_full(backbone, comparisons(backbone), members=2, on_step=watch, **common)
    return full.record, {**full.model.trained.parameters(), "offsets": full.model.offsets}


Outcome = tuple[GradientRecord, dict[str, Tensor]]


class Broken(Exception):
    """In the middle of a fit."""


def break_off(step: GradientStep) -> None:
    """After a few steps, of which the third has a checkpoint."""
    if step.step == BEGUN:
        raise Broken


def summed() -> list[list[float] | None]:
    """Gradients of three weights: one that every process has, one of the second process alone, one that none has."""
    processes = present_processes()
    parts = [torch.ones(2, requires_grad=True) for _ in range(3)]
    parts[0].grad = torch.tensor([1.0, 2.0]) * (1 + processes.rank)
    parts[1].grad = torch.tensor([5.0, 7.0]) if processes.rank == 1 else None
    processes.sum_gradients(parts)
    return [None if part.grad is None else part.grad.tolist() for part in parts]


def main(folder: Path) -> None:
    """Run every kind, go on from what one process began, and begin what one process will go on from."""
    torch.set_num_threads(1)
    processes = present_processes()
    found: dict[str, object] = {"count": processes.count}

    def keep(name: str, outcome: Outcome) -> None:
        record, tensors = outcome
        found[name] = asdict(record)
        stored = {key: part.detach().clone().contiguous() for key, part in tensors.items()}
        save_file(stored, folder / f"{name}.{processes.rank}.safetensors")

    for kind in ("lora", "full"):
        keep(kind, run(kind))
        keep(f"{kind}_continued", run(kind, checkpoint=folder / f"{kind}_begun_by_one"))
        try:
            run(kind, checkpoint=folder / f"{kind}_begun_by_two", watch=break_off)
        except Exception as error:
            found[f"{kind}_broken"] = type(error).__name__
    steps: list[int] = []
    run("lora", watch=lambda step: steps.append(step.step))
    found["watched"] = steps
    found["said"] = processes.say("höre" if processes.is_main else "nothing")
    found["summed"] = summed()
    (folder / f"found.{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
