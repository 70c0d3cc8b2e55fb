"""Maximum likelihood of completions that are given, or of the best of those that the reference drew.

With d the distribution of the N completions that are kept (of each group the `top` by reward), we maximise

    L = E_{y ~ d}[ log pi(y) - beta sum_t KL_t ],    KL_t = KL(pi(. | y_<t) || pi_0(. | y_<t)), over the vocabulary.

Without the second term L = -KL(d || pi) - entropy(d): the policy ends at d itself, whatever the scale of the rewards.

- Completions that are given, one of each prompt (imitation, behavioural cloning): d is their empirical distribution.
- G drawn from the reference, the best one kept (rejection sampling): d is the best-of-G distribution of pi_0. With F(y)
  the chance that pi_0 draws a completion no better than y, and F-(y) that of a worse one, d(y) = F(y)^G - F-(y)^G; for
  the best k of G, d(y) = G/k integral from F-(y) to F(y) of P[Binomial(G - 1, 1 - u) < k] du. Completions of equal
  reward share theirs as pi_0 does. Since d <= (G / k) pi_0, it ends with KL(pi || pi_0) <= log(G / k) nats.

So KL to the reference is not what beta asks for: nothing trades it against the reward. A beta above 0 adds a pull to
the reference at the prefixes of the kept completions, in nats per nat, and moves the end from d (beta -> 0) to pi_0
(beta -> infinity): at each prefix the p that maximises sum_v d_v log p_v - beta KL(p || pi_0).

Pomerleau 1989 (behavioural cloning); Dong et al. 2023, "RAFT" and Touvron et al. 2023, "Llama 2" (rejection sampling).
Left out: drawing anew from the policy as it learns (RAFT as published; expert iteration, Anthony, Tian & Barber 2017),
which applies best-of-n to itself again and again and ends at the best completion alone.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.averaging import average
from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.whole_completions import check_horizon
from agents.sources import Given
from reward_models.errors import InvalidInput, NonFinite


@final
@dataclass(frozen=True)
class Supervised(AbstractObjective):
    """One step of likelihood per batch, of the best completions of each prompt; `InvalidInput` for `top` below 1."""

    samples_from: ClassVar[Literal["policy", "reference"]] = "reference"
    takes: ClassVar[tuple[Given, ...]] = ("rewards", "demonstrations")

    top: int = 1
    """Completions of each prompt that are kept, those of the highest reward. A given one alone is always kept."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InvalidInput(f"top must be at least 1, got {self.top}.")

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw. `InvalidInput` for groups smaller than `top`."""
        check_horizon(batch, name="supervised")
        if batch.group < self.top:
            raise InvalidInput(f"The best {self.top} of {batch.group} completions were asked for; raise `group`.")
        kept = batch.regroup(by_reward(batch)[:, -self.top :])
        reading = learner.read(kept)
        loss = likelihood_loss(reading.chosen, reading.kl, kept.mask, beta=batch.beta)
        measures = {
            "log_likelihood": float(reading.chosen.detach().sum(dim=1).mean()),
            "kl_at_kept": float(reading.kl.detach().sum(dim=1).mean()),
            "reward_kept": float(kept.scores.mean()),
        }
        return UpdateRecord(gradient_norm=learner.descend(loss), measures=measures)


def by_reward(batch: Batch) -> Int[Tensor, "prompts group"]:
    """The places of the completions of each prompt, the best one last. Raises `NonFinite` if a reward is.

    Among equal rewards the one drawn later counts as better: draws are alike, so this favours no completion.
    """
    scores = batch.scores
    if not bool(scores.isfinite().all()):
        raise NonFinite("the reward of a completion is NaN or infinite; look at the reward model.")
    order = scores.view(-1, batch.group).argsort(dim=1, stable=True)
    return order + torch.arange(0, len(scores), batch.group, device=order.device)[:, None]


def likelihood_loss(
    log_probabilities: Float[Tensor, "sequences time"],
    kl: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """-(1/N) sum_i sum_t [ log pi(y_it) - beta KL_it ] over N sequences, in nats.

    Both `log_probabilities` and `kl` (exact, KL(policy || reference)) carry the gradient. The completions come from
    elsewhere, so that there is nothing else to differentiate.
    """
    return average(beta * kl - log_probabilities, mask, how="per_sequence")
