"""What one pass of a reference language model over completions yields.

A KL-regularised agent runs its reference over every completion anyway. This record is what a reward model may read of
that pass, so that scoring costs nothing more. It holds tensors only: where they come from is not its business.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from reward_models.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class CompletionTrace:
    """A batch of completions as the reference model read them.

    Raises InvalidInput when the three tensors do not describe the same sequences and tokens.
    """

    log_probabilities: Float[Tensor, "sequences time"]
    """log of the probability of each completion token under the reference, in nats; padding may hold anything."""
    hidden: Float[Tensor, "sequences time width"]
    """Last hidden state of the reference after reading each completion token; padding may hold anything."""
    mask: Bool[Tensor, "sequences time"]
    """True where a completion token counts (the end-of-sequence token does), False on padding."""

    def __post_init__(self) -> None:
        shapes = [tuple(self.log_probabilities.shape), tuple(self.hidden.shape[:2]), tuple(self.mask.shape)]
        if self.hidden.ndim != 3 or len(set(shapes)) != 1:
            raise InvalidInput(
                f"log_probabilities {tuple(self.log_probabilities.shape)}, hidden {tuple(self.hidden.shape)} and mask "
                f"{tuple(self.mask.shape)} must share (sequences, time), and hidden needs a width; "
                "take all three from one pass"
            )

    def __len__(self) -> int:
        """Number of sequences."""
        return self.mask.shape[0]
