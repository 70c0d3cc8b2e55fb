"""Examine a policy: what it writes of test documents, by the reward it is trained on and by gold. For reports only."""

from collections.abc import Mapping, Sequence

import torch

from agents.policy import Policy
from agents.rollout import Rollouts, rollout
from agents.sources import Reward, generator_of
from rrm.contest.trajectory import Examination
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask

COMPLETIONS = 4
"""Completions of each document."""
CHUNK = 16
"""Documents sampled together. Part of what a seed means."""


class Examiner:
    """Asks every policy for completions of the same prompts with the same random numbers, so that they compare."""

    def __init__(
        self,
        base: Policy,
        prompts: Sequence[str],
        *,
        proxy: Reward,
        gold: Reward,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        """KL is to `base`; `proxy` and `gold` give one number per sequence."""
        self.base, self.prompts = base, tuple(prompts)
        self.proxy, self.gold = proxy, gold
        self._max_new_tokens, self._seed = max_new_tokens, seed

    def __call__(self, policy: Policy, *, step: int) -> Examination:
        """What `policy` writes now, after so many updates."""
        parts = [self._part(policy, begin) for begin in range(0, len(self.prompts), CHUNK)]
        sums = {name: sum(part[name] for part in parts) for name in parts[0]}
        completions = len(self.prompts) * COMPLETIONS
        return Examination(
            step=step,
            kl=sums["kl"] / completions,
            gold=sums["gold"] / completions,
            proxy=sums["proxy"] / completions,
            entropy=sums["entropy"] / sums["tokens"],
            distinct=sums["distinct"] / completions,
            tokens=sums["tokens"] / completions,
        )

    @torch.no_grad()
    def _part(self, policy: Policy, begin: int) -> Mapping[str, float]:
        """Sums over the completions of a chunk."""
        found = rollout(
            policy,
            self.base,
            self.prompts[begin : begin + CHUNK],
            group=COMPLETIONS,
            max_new_tokens=self._max_new_tokens,
            generator=generator_of("examination", seed=self._seed, number=begin),
        )
        samples = found.samples
        groups = [samples.completions[at : at + COMPLETIONS] for at in range(0, len(samples), COMPLETIONS)]
        return {
            "kl": float(found.kl.sum()),
            "entropy": float(found.entropy.sum()),
            "tokens": float(samples.mask.sum()),
            "distinct": float(sum(len(set(group)) for group in groups)),
            "proxy": float(self.proxy(found).sum()),
            "gold": float(self.gold(found).sum()),
        }


class Gold:
    """The gold utility of completions of known documents. Reports only: it is nothing to train on."""

    def __init__(self, task: AbstractKnownTask, documents: Sequence[Document]) -> None:
        """A prompt says which document it is of."""
        self._task = task
        self._documents = {task.prompt(document): document for document in documents}

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        """One number per sequence."""
        samples = rollouts.samples
        found = [self._documents[prompt] for prompt in samples.prompts for _ in range(samples.group)]
        pairs = zip(found, samples.completions, strict=True)
        return torch.tensor([self._task.gold(document, text).utility for document, text in pairs])
