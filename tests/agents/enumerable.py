"""A world small enough to enumerate: every completion, its reward, and so every optimum, are known exactly.

In nats and float64, over the completions y of one prompt:

    J(pi)   = E_pi[r] - beta KL(pi || pi_0)          what a penalised objective maximises
    pi*(y)  = pi_0(y) exp(r(y) / beta) / Z           where it is largest (Korbak, Perez & Buckley 2022)
    J(pi)   = beta log Z - beta KL(pi || pi*)        so KL(pi || pi*), the posterior gap, is all that is missing
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts
from agents.sources import AbstractSource, OnPolicy, generator_of
from agents.training import StepRecord, TrainSettings, train
from tests.agents.prefix_policy import prefix_policy

PROMPT = "w2 w1"
"""Two different tokens: behind one word alone, attention over copies of it could not tell w1 from w1 w1."""


@dataclass(frozen=True, eq=False)
class World:
    """A reference, all completions of PROMPT with their rewards, and a price of a nat."""

    reference: Policy
    completions: Sequence[tuple[int, ...]]
    rewards: Tensor
    """(completions,), float64."""
    beta: float
    length: int
    """Longest completion, in tokens."""

    def reward(self, rollouts: Rollouts) -> Tensor:
        """The reward of what was sampled."""
        table = dict(zip(self.completions, self.rewards.tolist(), strict=True))
        samples = rollouts.samples
        rows = zip(samples.tokens.tolist(), samples.mask.sum(1).tolist(), strict=True)
        return torch.tensor([table[tuple(tokens[:size])] for tokens, size in rows])

    @torch.no_grad()
    def log_distribution(self, policy: Policy) -> Tensor:
        """Log-probability of every completion by plain passes, (completions,), float64."""
        prompt = policy.encode_prompt(PROMPT)
        found = []
        for completion in self.completions:
            row = torch.tensor([[*prompt, *completion]])
            logits = policy.model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
            found.append(torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion)[:, None]).sum())
        return torch.stack(found)

    @property
    def log_posterior(self) -> Tensor:
        """log pi* of every completion."""
        return torch.log_softmax(self.log_distribution(self.reference) + self.rewards / self.beta, dim=0)

    @property
    def log_normaliser(self) -> float:
        """log Z."""
        return float(torch.logsumexp(self.log_distribution(self.reference) + self.rewards / self.beta, dim=0))

    def objective(self, policy: Policy) -> float:
        """J, by its definition."""
        log_policy = self.log_distribution(policy)
        log_ratio = log_policy - self.log_distribution(self.reference)
        return float((log_policy.exp() * (self.rewards - self.beta * log_ratio)).sum())

    def expected_reward(self, policy: Policy) -> float:
        """E[r], by enumeration."""
        return float((self.log_distribution(policy).exp() * self.rewards).sum())

    def gap_to(self, log_target: Tensor, policy: Policy) -> float:
        """KL(policy || target) in nats."""
        log_policy = self.log_distribution(policy)
        return float((log_policy.exp() * (log_policy - log_target)).sum())

    def posterior_gap(self, policy: Policy) -> float:
        """KL(policy || pi*) in nats."""
        return self.gap_to(self.log_posterior, policy)

    def entropy(self, policy: Policy) -> float:
        """Of the distribution over completions, in nats."""
        log_policy = self.log_distribution(policy)
        return -float((log_policy.exp() * log_policy).sum())

    def begin_with(self, prefix: tuple[int, ...]) -> Tensor:
        """Which completions do, (completions,), True or False."""
        return torch.tensor([completion[: len(prefix)] == prefix for completion in self.completions])

    def next_tokens(self, log_distribution: Tensor) -> dict[tuple[int, ...], Tensor]:
        """Log-probabilities of the next token behind every prefix, out of those of the completions."""
        found = {}
        for prefix in sorted({completion[:time] for completion in self.completions for time in range(len(completion))}):
            tokens = range(1 + max(token for completion in self.completions for token in completion))
            masses = [log_distribution[self.begin_with((*prefix, token))].logsumexp(0) for token in tokens]
            found[prefix] = torch.log_softmax(torch.stack(masses), dim=0)
        return found

    def joined(self, next_tokens: dict[tuple[int, ...], Tensor]) -> Tensor:
        """The other way: log-probability of every completion."""
        return torch.stack(
            [
                torch.stack([next_tokens[completion[:time]][token] for time, token in enumerate(completion)]).sum()
                for completion in self.completions
            ]
        )

    def source(self, *, group: int = 512, sign: float = 1.0, prompts_per_step: int = 1) -> OnPolicy:
        """Completions of PROMPT with their rewards, turned round where `sign` is -1."""
        return OnPolicy(
            prompts=[PROMPT],
            reward=lambda rollouts: sign * self.reward(rollouts),
            prompts_per_step=prompts_per_step,
            group=group,
            max_new_tokens=self.length,
        )


def world(
    every_completion: Callable[[int, int], list[tuple[int, ...]]],
    *,
    make_policy: Callable[..., Policy] = prefix_policy,
    seed: int = 7,
    spread: float = 0.2,
    vocabulary: int = 3,
    length: int = 2,
    beta: float = 0.5,
) -> World:
    """Rewards from -1 to 1 in the order of the completions; 7 completions with the default sizes."""
    completions = every_completion(vocabulary, length)
    return World(
        reference=make_policy(seed, vocabulary=vocabulary, spread=spread),
        completions=completions,
        rewards=torch.linspace(-1, 1, len(completions), dtype=torch.float64),
        beta=beta,
        length=length,
    )


def trained(
    of: World,
    objective: AbstractObjective,
    *,
    stages: Sequence[tuple[float, int]] = ((3e-3, 60), (3e-4, 40)),
    source: AbstractSource | None = None,
    discount: float = 1.0,
    beta: float | None = None,
    seed: int = 0,
) -> tuple[Policy, list[StepRecord]]:
    """A copy of the reference after stages of (learning rate, steps), with the records of the last stage."""
    policy = of.reference.copy()
    records: list[StepRecord] = []
    for number, (rate, steps) in enumerate(stages):
        records = train(
            policy,
            of.reference,
            source=of.source() if source is None else source,
            objective=objective,
            regularizer=FixedPenalty(of.beta if beta is None else beta),
            settings=TrainSettings(steps=steps, learning_rate=rate, discount=discount),
            seed=seed * 100 + number,
        )
    return policy, records


def batch_of(
    of: World,
    *,
    group: int,
    prompts: int = 1,
    policy: Policy | None = None,
    critic: float = 0.0,
    clip_norm: float = 1e9,
) -> tuple[Learner, Batch]:
    """A learner of `policy` (or a copy of the reference) with a batch of its own; its critic has weights `critic`."""
    learner = Learner(
        of.reference.copy() if policy is None else policy,
        of.reference,
        learning_rate=1e-3,
        clip_norm=clip_norm,
        with_critic=True,
    )
    assert learner.critic is not None
    torch.nn.init.constant_(learner.critic.head.weight, critic)
    source = of.source(group=group, prompts_per_step=prompts)
    material = source.draw(learner, samples_from="policy", seed=1, step=0)
    return learner, Batch(*material[:2], beta=of.beta)


def gradient_of(
    of: World, objective: AbstractObjective, *, group: int, prompts: int = 1, policy: Policy | None = None
) -> Tensor:
    """The gradient of the last step of one update, of all weights of the policy and of a critic with an opinion."""
    policy = None if policy is None else policy.copy()
    learner, batch = batch_of(of, group=group, prompts=prompts, policy=policy, critic=0.1)
    objective.update(learner, batch, generator_of("update", seed=1, number=0))
    gradients = [parameter.grad for parameter in learner.trained.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
