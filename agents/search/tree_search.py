"""Tree search: plan with the reward model on completions that are never taken.

Completions behind a prompt are a tree of tokens. The search imagines completions one after the other: it walks down the
tree of what it has imagined, at each token to the highest

    Q(a) + c P(a) sqrt(1 + N) / (1 + n(a))

with P the policy's probability of token a, n(a) the completions imagined through it so far, N all of the node and Q
their mean reward, scaled to [0, 1] over the tree; one token beyond the tree the policy completes what was begun, the
reward model is asked what that is worth, and all its tokens join the tree. The best of all that was imagined is taken.
(PUCT: Rosin 2011; Silver et al. 2017; the policy for the completion and for the prior: Liu et al. 2023, "Don't throw
away your value model!", who have a value network where here a completion is drawn.)

As the whole of an imagined completion joins the tree, a walk leaves the tree at another token than before: no
completion is imagined twice (but for the draws of the first wave), and with as many simulations as there are
completions, all are imagined and the best is found for certain. With far fewer than that it helps where the reward of a
completion says something about others that begin like it, and does not help where it does not: on a reward of one
completion in a million it is best-of-n, and one that punishes the first steps towards its best completion misleads it.

There is no certificate beforehand. What was chosen is a function of the generator, so it is a point mass at y and can
cost at most 1 / pi(y) times what the policy does; on average over generators, -log pi(y) bounds KL(S || pi), since KL
is convex. Both are reported for each prompt and are far above those of best-of-n with as many completions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.policy import Policy
from agents.rollout import Rollouts
from agents.search.continuations import Continuations
from agents.search.search import AbstractSearch, Certificate, Found, at_least, scores_of
from agents.search.tree import Tree
from agents.sources import Reward


@final
@dataclass(frozen=True)
class TreeSearch(AbstractSearch):
    """Imagines `simulations` completions of each prompt and takes the best. `InvalidInput` on unusable values."""

    simulations: int = 64
    """Completions of each prompt that the reward is asked about; fewer only where there are no more."""
    exploration: float = 0.3
    """c: low values stay with what was good, high ones with what the policy would do."""
    wave: int = 4
    """Completions of a prompt that are imagined together; more are faster, and know less of each other."""
    width: int = 32
    """Tokens that a walk chooses from, the policy's likeliest; the policy itself may take any."""
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        for name in ("simulations", "wave", "width", "max_new_tokens"):
            at_least(name, getattr(self, name), 1)
        at_least("exploration", self.exploration, 0.0)

    def choose(
        self,
        policy: Policy,
        prompts: Sequence[str],
        reward: Reward,
        generator: torch.Generator,
        *,
        reference: Policy,
    ) -> Found:
        """The best completion that was imagined; of equally good ones the first. All prompts are searched together."""
        continuations = Continuations(policy, prompts, reference=reference, max_new_tokens=self.max_new_tokens)
        trees = [Tree(exploration=self.exploration) for _ in prompts]
        best = [Imagined() for _ in prompts]
        asked: list[Tensor] = []
        left = self.simulations
        while left > 0 and not all(tree.finished for tree in trees):
            count = min(self.wave, left)
            left -= count
            beginnings = [_beginnings(tree, count) for tree in trees]
            drawn = continuations.draw(beginnings, generator)
            asked.append(scores_of(reward, drawn))
            self._learn(trees, best, drawn, asked[-1], beginnings)
        return Found(
            prompts=tuple(prompts),
            completions=tuple(one.completion for one in best),
            tokens=tuple(one.tokens for one in best),
            rewards=torch.tensor([one.reward for one in best]),
            candidate_rewards=torch.cat(asked, dim=1),
            certificates=tuple(_certificate(one.log_probability) for one in best),
        )

    def _learn(
        self,
        trees: Sequence[Tree],
        best: list["Imagined"],
        drawn: Rollouts,
        rewards: Tensor,
        beginnings: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        """Add what was drawn to the trees, and keep the best of each prompt."""
        tokens, priors = _considered(drawn, width=self.width)
        samples = drawn.samples
        for row, text in enumerate(samples.completions):
            number, member = divmod(row, samples.group)
            length, reward = int(samples.mask[row].sum()), float(rewards[number, member])
            completion = samples.tokens[row, :length].cpu().numpy()
            selected = len(beginnings[number][member])
            trees[number].add(completion, reward, tokens[row], priors[row], selected=selected)
            if reward > best[number].reward:
                log_probability = float(samples.log_probabilities[row].sum())
                best[number] = Imagined(text, tuple(completion.tolist()), reward, log_probability)


class Imagined(NamedTuple):
    """The best so far."""

    completion: str = ""
    tokens: tuple[int, ...] = ()
    reward: float = -math.inf
    log_probability: float = 0.0


def _beginnings(tree: Tree, count: int) -> list[tuple[int, ...]]:
    """What a tree wants to imagine next; the policy's own draws where it has nothing to say."""
    return [tree.select() or () for _ in range(count)]


def _considered(drawn: Rollouts, *, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The likeliest tokens at every place of every completion, then the one that was drawn; with their probabilities.

    Both are (sequences, time, width + 1).
    """
    samples = drawn.samples
    assert samples.distributions is not None  # rollouts keep them
    likeliest = samples.distributions.topk(min(width, samples.distributions.shape[-1]), dim=-1)
    tokens = torch.cat([likeliest.indices, samples.tokens[..., None]], dim=-1)
    log_priors = torch.cat([likeliest.values, samples.log_probabilities[..., None]], dim=-1)
    return tokens.cpu().numpy(), log_priors.double().exp().cpu().numpy()


def _certificate(log_probability: float) -> Certificate:
    """Of a point mass on a completion of this probability."""
    # Beyond e^700 a float has no room.
    ratio = math.exp(-log_probability) if log_probability > -700.0 else math.inf
    return Certificate(ratio=ratio, kl=-log_probability)
