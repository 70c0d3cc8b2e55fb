"""Several passes over one batch, each token's say limited by its ratio: what PPO and GRPO share.

With rho_t = pi(y_t | y_<t) / pi_previous(y_t | y_<t), where the previous policy is the one that drew the batch, a step
maximises the average over the tokens that count of

    min(rho_t A_t, clip(rho_t, 1 - e, 1 + e) A_t) - beta penalty_t.

At rho = 1, on the first pass, its gradient is that of policy_gradient.py. Two divergences must not be mixed up here:
the ratio holds the policy to the *previous* one, for the time of a batch, because the batch says little about any
other; the penalty holds it to the *reference*, for ever, and carries its own gradient outside the ratio. (Schulman,
Wolski, Dhariwal, Radford & Klimov 2017, "Proximal policy optimization algorithms", equation 7.)
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.averaging import Averaging, average
from agents.batch import Batch
from agents.divergence import k3
from agents.learner import Learner, Reading
from agents.objectives.objective import UpdateRecord
from reward_models.errors import InvalidInput

PartLoss = Callable[[Reading, Batch, Int[Tensor, " rows"]], Float[Tensor, ""]]
"""The loss of a part of a batch, given its reading and the places of its completions in the whole batch."""


def clipped_loss(
    log_ratio: Float[Tensor, "sequences time"],
    penalty: Float[Tensor, "sequences time"],
    advantage: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    clip: float,
    beta: float,
    averaging: Averaging,
) -> Float[Tensor, ""]:
    """-average of [ min(rho A, clip(rho, 1 - clip, 1 + clip) A) - beta penalty ], with rho = exp(log_ratio).

    `log_ratio` (of the sampled tokens, 0 where the mask is False) and `penalty` (nats) carry the gradient; the
    advantages A (reward units) do not. Schulman et al. 2017, equation 7.
    """
    ratio = log_ratio.exp()
    advantage = advantage.detach()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return average(beta * penalty - surrogate, mask, how=averaging)


def log_ratio_of(reading: Reading, batch: Batch) -> Float[Tensor, "sequences time"]:
    """The log of rho: each token now against when it was drawn; 0 where the mask is False."""
    difference = reading.chosen - batch.rollouts.samples.log_probabilities
    return torch.where(batch.mask, difference, torch.zeros_like(difference))


def several_passes(
    learner: Learner,
    batch: Batch,
    loss: PartLoss,
    generator: torch.Generator,
    *,
    epochs: int,
    minibatches: int,
    clip: float,
    kl_stop: float | None = None,
    first: list[Reading] | None = None,
) -> UpdateRecord:
    """Go through the batch `epochs` times in parts, one step down the loss each; what the steps saw is in the record.

    Ends before a step, other than the first, where KL(previous || policy) of the part is above `kl_stop`, in nats a
    completion. `first` may hold the reading of the first part, if that is already made; it is taken out, so that its
    memory is free after the step. Raises `InvalidInput` for more parts than prompts.
    """
    fractions: list[float] = []
    norm, moved = 0.0, 0.0
    for prompts in _parts(batch, generator, epochs=epochs, minibatches=minibatches):
        part = batch.select(prompts)
        reading = first.pop() if first else learner.read(part)
        moved = kl_from_previous(reading, part)
        # What rounding makes of the first ratios, in bfloat16 above all, is no movement.
        if fractions and kl_stop is not None and moved > kl_stop:
            break
        fractions.append(_clip_fraction(reading, part, clip=clip))
        norm = learner.descend(loss(reading, part, batch.rows(prompts)))
        del reading  # or two of them would be held while the next is made
    measures = {
        "clip_fraction": sum(fractions) / len(fractions),
        "approximate_kl": moved,
        "epochs": len(fractions) / minibatches,
    }
    return UpdateRecord(gradient_norm=norm, measures=measures)


@torch.no_grad()
def kl_from_previous(reading: Reading, batch: Batch) -> float:
    """KL(previous || policy) in nats a completion, estimated by k3 on the tokens that the previous policy drew."""
    estimate = k3(-log_ratio_of(reading, batch))
    return float(torch.where(batch.mask, estimate, torch.zeros_like(estimate)).sum(dim=1).mean())


def check_passes(*, epochs: int, minibatches: int, clip: float) -> None:
    """`InvalidInput` unless there is something to go through, and a clip in (0, 1]."""
    if epochs < 1 or minibatches < 1 or not 0 < clip <= 1:
        raise InvalidInput(
            "epochs and minibatches must be at least 1 and clip above 0, at most 1; got "
            f"{epochs}, {minibatches} and {clip}."
        )


def _parts(batch: Batch, generator: torch.Generator, *, epochs: int, minibatches: int) -> Iterator[list[int]]:
    """Prompts of each part: every epoch all of them in a new division, those of a part in their order in the batch."""
    if minibatches > batch.prompts:
        raise InvalidInput(
            f"{minibatches} minibatches need as many prompts, the batch has {batch.prompts}; completions of one prompt "
            "stay together. Lower `minibatches` or raise the prompts of a step."
        )
    for _ in range(epochs):
        order = torch.randperm(batch.prompts, generator=generator, device=generator.device)
        for part in order.tensor_split(minibatches):
            yield sorted(part.tolist())


@torch.no_grad()
def _clip_fraction(reading: Reading, batch: Batch, *, clip: float) -> float:
    outside = (log_ratio_of(reading, batch).exp() - 1).abs() > clip
    return float((outside & batch.mask).sum()) / float(batch.mask.sum())
