"""How much memory a training step takes, for folders of causal language models.

    python -m benchmarks.model_memory [--prompts 16] FOLDER [FOLDER ...]

Each model is trained whole and by an adapter, in a process of its own on the CPU: the MiB of weights, gradients and
AdamW's moments, counted; the MiB that the process grew by at its peak, in three steps of RLOO; and that growth for each
logit (completions x tokens x rows of the output layer), in bytes. The growth is what comes on top of a small step.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts
from agents.sources import OnPolicy
from agents.training import TrainSettings, train

GROUP, TOKENS = 16, 32
MIB = 2**20


def bytes_of(tensors: list[torch.Tensor]) -> int:
    return sum({one.data_ptr(): one.numel() * one.element_size() for one in tensors}.values())


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reward(rollouts: Rollouts) -> torch.Tensor:
    return torch.tensor([float(len(text)) for text in rollouts.samples.completions])


def step(policy: Policy, reference: Policy, *, prompts: int, tokens: int) -> None:
    source = OnPolicy(
        prompts=["Once upon a time"] * prompts,
        reward=reward,
        prompts_per_step=prompts,
        group=GROUP,
        max_new_tokens=tokens,
    )
    settings = TrainSettings(steps=3, learning_rate=1e-6)
    train(policy, reference, source=source, objective=RLOO(), regularizer=FixedPenalty(1.0), settings=settings, seed=0)


def measure(folder: str, *, lora: bool, prompts: int) -> dict[str, float]:
    torch.set_num_threads(1)
    base = Policy.load(folder)
    policy = base.with_lora(8, generator=torch.Generator().manual_seed(0)) if lora else base
    reference = policy.without_adapter() if lora else base.copy()
    trained = [one for one in policy.model.parameters() if one.requires_grad]
    weights = bytes_of([*policy.model.parameters(), *reference.model.parameters()])
    step(policy, reference, prompts=1, tokens=2)
    before = peak()
    step(policy, reference, prompts=prompts, tokens=TOKENS)
    logits = prompts * GROUP * TOKENS * policy.vocabulary
    return {
        "weights": weights / MIB,
        "gradients": bytes_of(trained) / MIB,
        "moments": 2 * bytes_of(trained) / MIB,
        "growth": (peak() - before) / MIB,
        "bytes_per_logit": (peak() - before) / logits,
    }


def apart(folder: str, *, lora: bool, prompts: int) -> dict[str, float]:
    """`measure` in a process of its own, so that its peak is its own."""
    arguments = [sys.executable, "-m", "benchmarks.model_memory", "--one", folder, str(int(lora)), str(prompts)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "LORA", "PROMPTS"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--prompts", type=int, default=16, help=f"prompts a step, {GROUP} completions of {TOKENS} tokens"
    )
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], lora=given.one[1] == "1", prompts=int(given.one[2]))))
        return
    names = ["model", "trained", "weights", "gradients", "moments", "growth of a step", "bytes a logit"]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for folder in given.folders:
        for lora in (False, True):
            found = apart(folder, lora=lora, prompts=given.prompts)
            cells = [f"{found[name]:.1f}" for name in ("weights", "gradients", "moments", "growth", "bytes_per_logit")]
            print(f"| {Path(folder).name} | {'adapter' if lora else 'whole'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
