"""Every completion of the enumerable world as a limited policy acts it out, by plain passes and in float64."""

from typing import NamedTuple

import torch
from torch import Tensor

from agents.divergence import exact_kl, total_variation
from agents.limits import acting_distributions
from agents.policy import Policy
from tests.agents.enumerable import PROMPT, World


class ActingTree(NamedTuple):
    """Of every completion of the world."""

    log_probability: Tensor
    """(completions,), of the acting distributions; all of them sum to 1."""
    kl: Tensor
    """(completions,), exact KL(acting || reference) summed over its tokens, in nats."""
    total_variation: Tensor
    """(completions,), summed over its tokens."""
    reference: Tensor
    """(completions,), log-probability under the reference."""


@torch.no_grad()
def acting_tree(of: World, policy: Policy) -> ActingTree:
    """Nothing of sampling, decoding or caches is in it, only the limit itself."""
    assert policy.limited is not None
    mask = torch.arange(of.length) < torch.tensor([len(one) for one in of.completions])[:, None]
    tokens = torch.tensor([[*one, *[0] * (of.length - len(one))] for one in of.completions])
    distributions, reference = (
        torch.stack([_distributions(one, row) for row in tokens]) for one in (policy, policy.limited.reference)
    )
    acting = acting_distributions(policy.limited.limit, distributions, reference, mask)
    along = [value.gather(-1, tokens[..., None])[..., 0] for value in (acting, reference)]
    apart = [distance(acting, reference) for distance in (exact_kl, total_variation)]
    sums = [value.masked_fill(~mask, 0.0).sum(dim=1) for value in (*along, *apart)]
    return ActingTree(log_probability=sums[0], kl=sums[2], total_variation=sums[3], reference=sums[1])


def _distributions(policy: Policy, completion: Tensor) -> Tensor:
    prompt = policy.encode_prompt(PROMPT)
    row = torch.tensor([[*prompt, *completion.tolist()]])
    with policy.active() as model:
        logits: Tensor = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.double(), dim=-1)
