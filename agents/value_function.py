"""A critic: what is still to come, linear in the policy's own last hidden state, learned beside it."""

import torch
from jaxtyping import Float
from torch import Tensor


class ValueFunction(torch.nn.Module):
    """V(s) = w . h(s) + b on the policy's last hidden state; zero at the start, so that it begins without an opinion.

    The states come without gradient: the critic does not shape the policy's network.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(width, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, states: Float[Tensor, "sequences time width"]) -> Float[Tensor, "sequences time"]:
        """Value of every state, in reward units."""
        values: Tensor = self.head(states.detach().float())[..., 0]
        return values
