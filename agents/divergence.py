"""How far a policy is from its reference: KL(policy || reference) in nats, exact and estimated, and total variation.

Exact means summed over the whole vocabulary at the given prefixes. The estimators k1, k2, k3 of J. Schulman,
"Approximating KL divergence" (2020, joschu.net/blog/kl-approx.html) need only the sampled token's log-probabilities.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def exact_kl(
    policy_logits: Float[Tensor, "*batch vocabulary"], reference_logits: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch"]:
    """sum_v p(v) (log p(v) - log q(v)) in nats, p the policy's and q the reference's softmax, in float32.

    A token whose policy logit is minus infinity contributes nothing; differentiable in both arguments.
    """
    policy = torch.log_softmax(policy_logits.float(), dim=-1)
    reference = torch.log_softmax(reference_logits.float(), dim=-1)
    probability = policy.exp()
    # 0 log 0 = 0: the difference is replaced before the product, so that no gradient becomes NaN.
    difference = torch.where(probability > 0, policy - reference, torch.zeros_like(policy))
    return (probability * difference).sum(dim=-1)


def total_variation(
    policy_logits: Float[Tensor, "*batch vocabulary"], reference_logits: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch"]:
    """Half the L1 distance of the two distributions, between 0 and 1."""
    policy = torch.softmax(policy_logits.float(), dim=-1)
    reference = torch.softmax(reference_logits.float(), dim=-1)
    return (policy - reference).abs().sum(dim=-1) / 2


def k1(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The log-ratio log p/q of tokens sampled from p: unbiased for KL(p || q), of large variance, often negative."""
    return log_ratio


def k2(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """(log p/q)^2 / 2: biased, but with the gradient of KL in expectation when it is differentiated itself."""
    return log_ratio.square() / 2


def k3(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """(q/p - 1) + log p/q: unbiased for KL(p || q), never negative."""
    return torch.expm1(-log_ratio) + log_ratio


def entropy(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """-sum_v p(v) log p(v) in nats, in float32."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    probability = log_probabilities.exp()
    return -torch.where(probability > 0, probability * log_probabilities, torch.zeros_like(probability)).sum(dim=-1)
