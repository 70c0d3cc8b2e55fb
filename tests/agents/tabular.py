"""A policy with free logits for every prefix: small enough that expectations are sums, and nothing is sampled."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agents.divergence import exact_kl

Completions = Sequence[tuple[int, ...]]


class Tabular:
    """Logits of the next token for every prefix of some completions; token 0 ends one."""

    def __init__(self, completions: Completions, seed: int, *, vocabulary: int = 3) -> None:
        self.length = max(len(sequence) for sequence in completions)
        prefixes = sorted({sequence[:time] for sequence in completions for time in range(self.length)})
        self.row = {prefix: number for number, prefix in enumerate(prefixes)}
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(len(prefixes), vocabulary, generator=generator).requires_grad_()

    def rows(self, completions: Completions) -> Tensor:
        """Logits at every time; those after the end are of some other prefix and must not matter."""
        numbers = [[self.row.get(sequence[:time], 0) for time in range(self.length)] for sequence in completions]
        return self.logits[torch.tensor(numbers)]


class Pieces(NamedTuple):
    """Every completion as a policy sees it, (sequences, length) each; what stands on padding is arbitrary."""

    log_probabilities: Tensor
    kl: Tensor
    mask: Tensor
    tokens: Tensor

    @property
    def log_sequence(self) -> Tensor:
        """Log-probability of each completion, with gradient."""
        return torch.where(self.mask, self.log_probabilities, torch.zeros(())).sum(1)

    @property
    def probability(self) -> Tensor:
        """Of each completion, without gradient."""
        return self.log_sequence.detach().exp()


def pieces(policy: Tabular, reference: Tabular, completions: Completions) -> Pieces:
    """Log-probabilities and exact KL of completions."""
    length = policy.length
    tokens = torch.tensor([[*sequence, *[0] * (length - len(sequence))] for sequence in completions])
    mask = torch.arange(length) < torch.tensor([len(sequence) for sequence in completions])[:, None]
    logits = policy.rows(completions)
    log_probabilities = torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
    return Pieces(log_probabilities, exact_kl(logits, reference.rows(completions).detach()), mask, tokens)


def objective_gradient(
    policy: Tabular, reference: Tabular, completions: Completions, rewards: Tensor, *, beta: float
) -> Tensor:
    """grad sum_y pi(y) (r(y) - beta log pi(y) / pi_0(y)), differentiated directly: nothing of an estimator is in it."""
    log_policy = pieces(policy, reference, completions).log_sequence
    log_reference = pieces(reference, reference, completions).log_sequence.detach()
    objective = (log_policy.exp() * (rewards - beta * (log_policy - log_reference))).sum()
    (gradient,) = torch.autograd.grad(objective, policy.logits)
    return gradient
