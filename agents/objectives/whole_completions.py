"""What the objectives share that see a completion as one choice, not as a row of tokens."""

from jaxtyping import Bool, Float
from torch import Tensor

from agents.batch import Batch
from reward_models.errors import InvalidInput


def check_horizon(batch: Batch, *, name: str) -> None:
    """Raises `InvalidInput` for a discount below 1: a completion that is one choice has nothing that comes later."""
    if batch.discount != 1.0:
        raise InvalidInput(
            f"{name} weighs whole completions, so a horizon of discount {batch.discount} has no meaning for it; set "
            "discount to 1 (agent.horizon 'completion'), or choose an objective that credits tokens, such as rloo."
        )


def of_sequences(
    log_probabilities: Float[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, " sequences"]:
    """The log-probability of completions: log p(y) = sum_t log p(y_t | y_<t) over the tokens that count, in nats."""
    return log_probabilities.masked_fill(~mask, 0.0).sum(dim=1)
