"""A policy that is told how good its completion shall be: likelihood behind words for the reward, acting on the best.

Completions drawn from the reference are put in B buckets by their reward, and we maximise

    L = E_{y ~ pi_0}[ log pi(y | c_b(y), x) - beta sum_t KL(pi(. | c_b(y), x, y_<t) || pi_0(. | x, y_<t)) ]

with x the prompt and c_b the words of bucket b, read in front of it. Without the second term its end is

    pi(y | c_b, x) = pi_0(y | x, the reward is in bucket b)        (Bayes' rule, learned instead of computed)

and it acts on the words of the top bucket, `policy.conditioned(objective.top)`.

The buckets are quantiles of the reward among the G completions of the same prompt: bucket b holds those with (0-based)
rank b G / B to (b + 1) G / B - 1. So no edges have to be remembered or guessed, every bucket is learned for every
prompt, and the end is known for finite G too. As pi(y | c_b, x) <= B pi_0(y | x) there, KL(pi(. | c_b) || pi_0) is at
most log B nats. That bounds the end and not the weights: where the words are not learned, or the prompts are new,
nothing holds it. Measure. A beta above 0 adds a pull to the reference, as in supervised.py, and blurs the buckets.

Korbak et al. 2023, "Pretraining language models with human preferences" (conditional training); Chen et al. 2021,
"Decision transformer"; Kumar, Peng & Levine 2019, "Reward-conditioned policies". Left out: conditions on the number
that the reward is, on the reward still to come at each token, or on quantiles across prompts.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch

from agents.batch import Batch
from agents.decoding import encode_prompts
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.supervised import by_reward, likelihood_loss
from agents.objectives.whole_completions import check_horizon
from agents.policy import Policy
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class RewardConditioned(AbstractObjective):
    """One step of likelihood per batch, each completion behind the words of its bucket; `InvalidInput` as settings are.

    Train a policy whose own `condition` is `top`, or put it there afterwards: the update looks at its weights only.
    """

    samples_from: ClassVar[Literal["policy", "reference"]] = "reference"

    buckets: int = 4
    """Quantiles of the reward; the completions of a prompt must be a multiple of them."""
    texts: tuple[str, ...] = ()
    """Words in front of the prompt for each bucket, the worst first; none for those of `condition_text`."""

    def __post_init__(self) -> None:
        if self.buckets < 2 or (self.texts and len(set(self.texts)) != self.buckets):
            raise InvalidInput(
                f"Needed: at least 2 buckets, and no texts or as many different ones; got {self.buckets} buckets and "
                f"texts {self.texts}."
            )

    @property
    def conditions(self) -> tuple[str, ...]:
        """The words of each bucket, the worst first."""
        return self.texts or tuple(condition_text(bucket, self.buckets) for bucket in range(self.buckets))

    @property
    def top(self) -> str:
        """The words to act on."""
        return self.conditions[-1]

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw. `InvalidInput` for a group that cannot be divided into the buckets."""
        check_horizon(batch, name="reward_conditioned")
        divided = self._behind_conditions(batch, learner.policy)
        reading = learner.read(divided)
        loss = likelihood_loss(reading.chosen, reading.kl, divided.mask, beta=batch.beta)
        # Every last of `buckets` groups is of the top one.
        best = torch.arange(len(divided.mask), device=divided.mask.device) // divided.group % self.buckets
        best = best == self.buckets - 1
        measures = {
            "log_likelihood": float(reading.chosen.detach().sum(dim=1).mean()),
            "log_likelihood_top": float(reading.chosen.detach()[best].sum(dim=1).mean()),
            "kl_at_top": float(reading.kl.detach()[best].sum(dim=1).mean()),
            "reward_top": float(divided.scores[best].mean()),
        }
        return UpdateRecord(gradient_norm=learner.descend(loss), measures=measures)

    def _behind_conditions(self, batch: Batch, policy: Policy) -> Batch:
        """The same completions, those of one prompt and bucket as a group of their own, behind the bucket's words."""
        if batch.group % self.buckets:
            raise InvalidInput(
                f"{batch.group} completions of a prompt cannot be divided into {self.buckets} equal buckets; make "
                "`group` a multiple of `buckets`."
            )
        divided = batch.regroup(by_reward(batch).reshape(-1, batch.group // self.buckets))
        samples = divided.rollouts.samples
        tokens: list[tuple[int, ...]] = [()] * len(samples.prompts)
        for bucket, words in enumerate(self.conditions):
            prompts = samples.prompts[bucket :: self.buckets]
            tokens[bucket :: self.buckets] = encode_prompts(
                policy.conditioned(words), prompts, group=divided.group, max_new_tokens=samples.tokens.shape[1]
            )
        if len(set(tokens[: self.buckets])) < self.buckets:
            raise InvalidInput(
                f"The tokenizer reads some of the conditions {self.conditions} alike; give `texts` that it can spell."
            )
        return replace(
            divided, rollouts=replace(divided.rollouts, samples=replace(samples, prompt_tokens=tuple(tokens)))
        )


def condition_text(bucket: int, buckets: int) -> str:
    """Plain words for bucket 0 (the worst) to buckets - 1 (the best), to stand in front of a prompt."""
    return f"Quality: {bucket + 1} of {buckets}.\n"
