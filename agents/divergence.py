"""How far a policy is from its reference: KL(policy || reference) in nats, exact and estimated, and total variation.

Exact means summed over the whole vocabulary at the given prefixes; a vocabulary is small enough for that, so everything
here that is trained or limited uses `exact_kl`. By the chain rule KL of whole completions is the expectation, over the
policy's prefixes, of the sum of the KL of their next tokens.

The estimators k1, k2, k3 of J. Schulman, "Approximating KL divergence" (2020, joschu.net/blog/kl-approx.html) need only
the log-probabilities of the sampled token (or completion): with x ~ p held fixed and l = log p(x) - log q(x),

         estimator       E[k] over p      E[grad k], a loss term     E[k grad log p], a reward
    k1   l               KL(p || q)       0                          grad KL(p || q)
    k2   l^2 / 2         something else   grad KL(p || q)            something else
    k3   e^-l - 1 + l    KL(p || q)       grad KL(q || p)            grad KL(p || q) - grad KL(q || p)

For grad k1 = grad log p has mean 0; grad k2 = l grad log p; grad k3 = (1 - q/p) grad log p, and the mean of
-(q/p) grad log p is -sum q grad log p = grad KL(q || p). So k1 belongs into the reward and k2 into the loss; k3 is a
good number to look at. Over several tokens "p" is the distribution of the whole completion: a sum of k2 of its tokens
has the gradient of KL at the prefixes that were drawn, and none of the choice of those prefixes.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def exact_kl(
    policy_logits: Float[Tensor, "*batch vocabulary"], reference_logits: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch"]:
    """sum_v p(v) (log p(v) - log q(v)) in nats, p the policy's and q the reference's softmax, at least in float32.

    A token whose policy logit is minus infinity contributes nothing; differentiable in both arguments.
    """
    policy, reference = _log_softmax(policy_logits), _log_softmax(reference_logits)
    probability = policy.exp()
    # 0 log 0 = 0: the difference is replaced before the product, so that no gradient becomes NaN.
    difference = torch.where(probability > 0, policy - reference, torch.zeros_like(policy))
    return (probability * difference).sum(dim=-1)


def total_variation(
    policy_logits: Float[Tensor, "*batch vocabulary"], reference_logits: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch"]:
    """Half the L1 distance of the two softmax distributions, between 0 and 1, at least in float32."""
    return (_log_softmax(policy_logits).exp() - _log_softmax(reference_logits).exp()).abs().sum(dim=-1) / 2


def k1(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The log-ratio l = log p/q of samples of p: unbiased for KL(p || q), of large variance, often negative.

    Right in a reward; as a loss term it has no gradient in expectation.
    """
    return log_ratio


def k2(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """l^2 / 2: biased as a number, but right as a loss: differentiated itself, on-policy, it has grad KL(p || q)."""
    return log_ratio.square() / 2


def k3(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """(q/p - 1) + l: unbiased for KL(p || q), never negative, of small variance; a number to report.

    As a loss term it pulls towards q by KL(q || p), the other way round; as a reward it is neither.
    """
    return torch.expm1(-log_ratio) + log_ratio


def entropy(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """-sum_v p(v) log p(v) in nats, at least in float32."""
    log_probabilities = _log_softmax(logits)
    probability = log_probabilities.exp()
    return -torch.where(probability > 0, probability * log_probabilities, torch.zeros_like(probability)).sum(dim=-1)


def _log_softmax(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch vocabulary"]:
    return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
