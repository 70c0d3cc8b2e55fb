"""What an objective learns from: completions, what they are worth, and the price of a nat."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.returns import returns_to_go
from agents.rollout import Rollouts


@dataclass(frozen=True, eq=False)
class Batch:
    """Completions in prompt order, `group` per prompt. Nothing in it carries a gradient."""

    rollouts: Rollouts
    """The completions, and what the policy that drew them and the reference said of them then."""
    rewards: Float[Tensor, "sequences time"]
    """Reward of each token; a reward of whole completions stands at the last token that counts."""
    beta: float
    """Reward units per nat of KL(policy || reference) in this step."""
    discount: float = 1.0
    """Horizon: 1 is the whole completion, 0 one token."""
    preferences: Float[Tensor, " pairs"] | None = None
    """Where completions come in given pairs (group 2): probability that the first of each is better."""

    @property
    def tokens(self) -> Int[Tensor, "sequences time"]:
        """Completion tokens."""
        return self.rollouts.samples.tokens

    @property
    def mask(self) -> Bool[Tensor, "sequences time"]:
        """True on the tokens that count."""
        return self.rollouts.samples.mask

    @property
    def group(self) -> int:
        """Completions per prompt."""
        return self.rollouts.samples.group

    @property
    def scores(self) -> Float[Tensor, " sequences"]:
        """Reward of each completion: the sum over its tokens."""
        return (self.rewards * self.mask).sum(dim=1)

    def returns(self, kl: Float[Tensor, "sequences time"]) -> Float[Tensor, "sequences time"]:
        """Return-to-go of every token, with this KL of each token."""
        return returns_to_go(self.rewards, kl, self.mask, beta=self.beta, discount=self.discount)
