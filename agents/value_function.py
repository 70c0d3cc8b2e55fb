"""A critic: what is still to come, linear in the policy's own last hidden state, learned beside it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.averaging import average


class ValueFunction(torch.nn.Module):
    """V(s) = w . h(s) + b on the policy's last hidden state; zero at the start, so that it begins without an opinion.

    The states come without gradient: the critic does not shape the policy's network.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Without the usual random start, which would change the global random state.
        self.head = torch.nn.utils.skip_init(torch.nn.Linear, width, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, states: Float[Tensor, "sequences time width"]) -> Float[Tensor, "sequences time"]:
        """Value of every state, in reward units."""
        values: Tensor = self.head(states.detach().float())[..., 0]
        return values


def value_loss(
    values: Float[Tensor, "sequences time"],
    returns: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
) -> Float[Tensor, ""]:
    """Mean over the tokens that count of (V_t - R_t)^2 / 2, in squared reward units.

    The target R_t is the return-to-go that was seen, so the best V is E[R_t | prefix], whatever it was before (Schulman
    et al. 2016, section 5). A target made of V itself would have less variance and no such certainty.
    """
    return average((values - returns.detach()).square() / 2, mask, how="token_mean")


def explained_variance(
    values: Float[Tensor, "sequences time"],
    returns: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
) -> float:
    """1 - Var(R - V) / Var(R) over the tokens that count: 1 is a perfect critic, 0 one that knows nothing.

    Negative for one that misleads; 0 where all returns are equal.
    """
    seen, errors = returns[mask].double(), (returns - values)[mask].double()
    variance = float(seen.var(correction=0))
    return 0.0 if variance == 0.0 else 1.0 - float(errors.var(correction=0)) / variance
