"""Trainings that must come out alike on any number of processes.

    accelerate launch --config_file configs/accelerate/cpu-2.yaml -m tests.agents.joint_cases FOLDER

Three prompts a step for two processes: the shares differ, and of minibatches of one prompt one process has nothing.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import install_import_hook
from safetensors.torch import save_file
from torch import Tensor

if __name__ == "__main__":  # as in the tests: shapes are checked while it runs
    hook = install_import_hook(["reward_models", "agents"], "beartype.beartype")

from transformers import LlamaConfig, LlamaForCausalLM

from agents.hard_budget import HardBudget
from agents.objectives.actor_critic import ActorCritic
from agents.objectives.distribution_matching import DistributionMatching
from agents.objectives.dpo import DPO
from agents.objectives.grpo import GRPO
from agents.objectives.natural_gradient import NaturalGradient
from agents.objectives.objective import AbstractObjective
from agents.objectives.ppo import PPO
from agents.objectives.reinforce import REINFORCE
from agents.objectives.reward_conditioned import RewardConditioned
from agents.objectives.rloo import RLOO
from agents.objectives.supervised import Supervised
from agents.objectives.trpo import TRPO
from agents.policy import Policy
from agents.regularizer import AdaptivePenalty, FixedPenalty
from agents.rollout import Rollouts
from agents.sources import AbstractSource, Comparisons, Demonstrations, GivenPair, OnPolicy
from agents.training import StepRecord, TrainSettings, train
from reward_models.processes import present_processes
from tests.agents.conftest import word_tokenizer

PROMPTS = ["w1 w2 w3", "w4", "w5 w6", "w2 w2 w2 w2", "w7"]
SETTINGS = TrainSettings(steps=3, learning_rate=1e-3, checkpoint_every=2)
WORDS = ("w1 w1 ", "w1 w2 ", "w2 w1 ", "w2 w2 ")
PAIRS = [GivenPair("w1", "w2 w3 w4", "w5", 1.0), GivenPair("w3 w3", "w1", "w2", 0.0), GivenPair("w6", "w7 w7", "", 0.5)]


def policy_of(seed: int) -> Policy:
    """A Llama of two layers over eight words."""
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=0,
    )
    model, generator = LlamaForCausalLM(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.5, generator=generator)
    return Policy(model, word_tokenizer(8))


def share_of_ones(rollouts: Rollouts) -> Tensor:
    """Of the tokens of a completion."""
    samples = rollouts.samples
    return ((samples.tokens == 1) & samples.mask).sum(1) / samples.mask.sum(1)


def ones(rollouts: Rollouts) -> Tensor:
    """A reward of each token."""
    return (rollouts.samples.tokens == 1).float()


ON_POLICY = OnPolicy(PROMPTS, share_of_ones, prompts_per_step=3, group=4, max_new_tokens=4)


@dataclass(frozen=True)
class Case:
    """A training."""

    objective: AbstractObjective
    source: AbstractSource = ON_POLICY
    settings: TrainSettings = SETTINGS
    budget: float | None = None

    def run(
        self, seed: int = 1, checkpoint: Path | None = None, watched: list[int] | None = None
    ) -> tuple[list[StepRecord], Policy]:
        """Its records, and the policy it ends with; the steps that were watched go into `watched`."""
        policy, reference = policy_of(seed), policy_of(2)
        if self.budget is not None:
            policy = policy.within(HardBudget(self.budget), reference)
        if isinstance(self.objective, RewardConditioned):
            policy = policy.conditioned(self.objective.top)
        records = train(
            policy,
            reference,
            source=self.source,
            objective=self.objective,
            regularizer=AdaptivePenalty(target=0.5) if self.objective == RLOO() else FixedPenalty(0.1),
            settings=self.settings,
            seed=5,
            checkpoint=checkpoint,
            on_step=None if watched is None else lambda record: watched.append(record.step),
            gold=share_of_ones,
        )
        return records, policy


CASES: dict[str, Case] = {
    "rloo": Case(RLOO()),
    "rloo_within_a_budget": Case(RLOO(), budget=0.5),
    "reinforce": Case(REINFORCE()),
    "myopic_tokens": Case(REINFORCE(), replace(ON_POLICY, reward=ones), replace(SETTINGS, discount=0.0)),
    "grpo_per_token": Case(GRPO(epochs=2, minibatches=2, averaging="token_mean")),
    "grpo_k3": Case(GRPO(epochs=2, minibatches=3, kl="k3", averaging="longest")),
    "actor_critic": Case(ActorCritic()),
    "ppo": Case(PPO(epochs=2, kl_stop=0.5)),
    "ppo_minibatches": Case(PPO(epochs=2, minibatches=3)),
    "distribution_matching": Case(DistributionMatching()),
    "dpo_online": Case(DPO()),
    "dpo_given": Case(DPO(), Comparisons(PAIRS, pairs_per_step=2)),
    "best_of_four": Case(Supervised(top=2)),
    "imitation": Case(Supervised(), Demonstrations([("w1", "w2 w3"), ("w4", "w5"), ("w6 w7", "w1 w1 w1")], 3)),
    "reward_conditioned": Case(RewardConditioned(texts=WORDS)),
    "natural_gradient": Case(NaturalGradient(damping=0.1, iterations=4)),
    "trpo": Case(TRPO(damping=0.1, iterations=4)),
}
"""By name."""


def weights(policy: Policy) -> dict[str, Tensor]:
    """A copy of what was trained."""
    return {name: part.detach().clone() for name, part in policy.model.named_parameters()}


def failing(rollouts: Rollouts) -> Tensor:
    """A reward that breaks in the second process only."""
    if present_processes().rank == 1:
        raise RuntimeError("no reward here")
    return share_of_ones(rollouts)


def main(folder: Path) -> None:
    """Run every case, go on from what one process began, and begin what one process will go on from."""
    torch.set_num_threads(1)
    rank = present_processes().rank
    found: dict[str, object] = {"count": present_processes().count}

    def keep(name: str, records: list[StepRecord], policy: Policy) -> None:
        found[name] = [asdict(record) for record in records]
        save_file(weights(policy), folder / f"{name}.{rank}.safetensors")

    for name, case in CASES.items():
        # The second process begins with other weights, which must not matter.
        keep(name, *case.run(seed=1 + rank))
    keep("continued", *CASES["ppo_minibatches"].run(checkpoint=folder / "begun_by_one"))
    half = replace(CASES["ppo_minibatches"], settings=replace(SETTINGS, steps=2))
    watched: list[int] = []
    keep("begun", *half.run(checkpoint=folder / "begun_by_two", watched=watched))
    found["watched"] = watched
    for name, source in {
        "failure": replace(ON_POLICY, reward=failing),
        "too_few": replace(ON_POLICY, prompts_per_step=1),
    }.items():
        try:
            Case(RLOO(), source).run()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    (folder / f"found.{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
