"""Ten thousand adversarial episodes within a budget of nats, and beside it the accounting of Cohen et al. 2024.

An episode has 256 tokens of 50, the reference's distribution is drawn anew at every token, and the policy is an
adversary that gets to see what is left. Both accountings mix the policy with the reference by the same largest share.
What is left is lowered by

    exact KL     KL(m || b) of the acting distribution m (`agents.hard_budget`)
    log-ratio    log m(y) / b(y) of the token that was sampled, and never below 0 (Cohen et al. 2024, appendix F)

and what is reported is the exact KL of an episode, in single precision and from the acting log-probabilities alone, as
`Rollouts.kl` has it; a violation is a sum above the budget, without tolerance.

    OMP_NUM_THREADS=1 python -m benchmarks.hard_budget [--episodes 10000] [--tokens 256] [--nats 10]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.decoding import inverse_cumulative
from agents.divergence import exact_kl
from agents.hard_budget import HardBudget

VOCABULARY = 50
Adversary = Callable[[Tensor, float, Tensor, torch.Generator], Tensor]


def greedy(reference: Tensor, done: float, left: Tensor, generator: torch.Generator) -> Tensor:
    """Always wants the token that the reference likes least: all is spent at once."""
    return sure_of(reference.argmin(dim=-1), reference)


def saver(reference: Tensor, done: float, left: Tensor, generator: torch.Generator) -> Tensor:
    """The reference itself, then greedy over the last twentieth."""
    return greedy(reference, done, left, generator) if done > 0.95 else reference


def sharp(reference: Tensor, done: float, left: Tensor, generator: torch.Generator) -> Tensor:
    """Strong preferences, others at every token."""
    return torch.log_softmax(20 * torch.randn(reference.shape, generator=generator), dim=-1)


def near_deterministic(reference: Tensor, done: float, left: Tensor, generator: torch.Generator) -> Tensor:
    """Any one token; all others at e^-100."""
    return sure_of(torch.randint(VOCABULARY, reference.shape[:1], generator=generator), reference)


def dripping(reference: Tensor, done: float, left: Tensor, generator: torch.Generator) -> Tensor:
    """A little at every token, so that rounding has the most occasions."""
    return torch.log_softmax(reference + 0.5 * torch.randn(reference.shape, generator=generator), dim=-1)


ADVERSARIES: tuple[Adversary, ...] = (greedy, saver, sharp, near_deterministic, dripping)


def sure_of(token: Tensor, like: Tensor) -> Tensor:
    return torch.full_like(like, -100.0).scatter(-1, token[:, None], 0.0).log_softmax(dim=-1)


@dataclass(frozen=True)
class Used:
    """Exact KL of each episode, in nats."""

    exact: Tensor
    log_ratio: Tensor


@torch.no_grad()
def play(adversary: Adversary, limit: HardBudget, *, episodes: int, tokens: int, seed: int) -> Used:
    """The same references under both accountings."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.full((episodes,), limit.allowance)
    sampled_left = left.clone()
    exact, log_ratio = [], []
    for time in range(tokens):
        reference = torch.log_softmax(2 * torch.randn(episodes, VOCABULARY, generator=generator), dim=-1)
        policy = adversary(reference, time / tokens, left, generator)
        acted = limit.act(policy, reference, left)
        left = acted.left
        exact.append(exact_kl(acted.log_probabilities, reference))

        acting = limit.act(policy, reference, sampled_left).log_probabilities
        uniform = torch.rand(episodes, generator=generator, dtype=torch.float64)
        token = inverse_cumulative(acting, uniform)[:, None]
        sampled_left = (sampled_left - (acting - reference).gather(1, token)[:, 0]).clamp(min=0.0)
        log_ratio.append(exact_kl(acting, reference))
    return Used(exact=torch.stack(exact, 1).sum(1), log_ratio=torch.stack(log_ratio, 1).sum(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000, help="in all; an equal part for each adversary")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--nats", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    limit = HardBudget(arguments.nats)
    table = Table("adversary", "episodes", "exact: mean", "largest", "above", "log-ratio: mean", "largest", "above")
    played: list[Used] = []
    for adversary in ADVERSARIES:
        share = arguments.episodes // len(ADVERSARIES)
        used = play(adversary, limit, episodes=share, tokens=arguments.tokens, seed=arguments.seed)
        played.append(used)
        table.add_row(adversary.__name__, str(share), *columns(used.exact, limit), *columns(used.log_ratio, limit))
    every = Used(*(torch.cat([getattr(one, name) for one in played]) for name in ("exact", "log_ratio")))
    table.add_row("all", str(len(every.exact)), *columns(every.exact, limit), *columns(every.log_ratio, limit))
    Console(width=120).print(table)
    summary = {
        "violations": int((every.exact > limit.nats).sum()),
        "mean_used": float(every.exact.mean()),
        "log_ratio_mean_used": float(every.log_ratio.mean()),
        "log_ratio_over": float((every.log_ratio > limit.nats).float().mean()),
    }
    print(json.dumps(summary))


def columns(used: Tensor, limit: HardBudget) -> list[str]:
    above = float((used > limit.nats).float().mean())
    return [f"{float(used.mean()):.4f}", f"{float(used.max()):.4f}", f"{above:.1%}"]


if __name__ == "__main__":
    main()
