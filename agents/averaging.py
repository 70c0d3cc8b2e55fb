"""How tokens and sequences are averaged into one loss: the real difference between several objectives, so it is named.

With x_it the loss of token t of sequence i of N, T_i the tokens that count in it, and M the longest completion allowed:

    per_sequence   1/N sum_i sum_t x_it              the expectation over completions; nothing depends on length
    sequence_mean  1/N sum_i 1/T_i sum_t x_it        GRPO (Shao et al. 2024): tokens of short completions weigh more
    token_mean     sum_it x_it / sum_i T_i           DAPO (Yu et al. 2025): all tokens weigh the same
    longest        1/(N M) sum_i sum_t x_it          Dr. GRPO (Liu et al. 2025): per_sequence, divided by a constant
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Averaging = Literal["per_sequence", "sequence_mean", "token_mean", "longest"]


def average(
    values: Float[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"], *, how: Averaging
) -> Float[Tensor, ""]:
    """The average of what the tokens that count contribute; `longest` takes M = the width of the tensors."""
    counted = torch.where(mask, values, torch.zeros_like(values))
    if how == "sequence_mean":
        return (counted.sum(dim=1) / mask.sum(dim=1)).mean()
    divisors = {"per_sequence": mask.shape[0], "longest": mask.numel(), "token_mean": int(mask.sum())}
    return counted.sum() / divisors[how]
