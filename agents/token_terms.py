"""What an objective needs of next-token distributions, a few rows at a time: log-probabilities, exact KL, entropy.

A tensor over the vocabulary for every token is the largest thing in a step. Built from separate operations, these terms
need a dozen of that size, and most of the time goes into fetching memory. Here a few rows are taken at a time, small
enough for the processor's cache, and the gradient is one formula. With z the logits, l = log softmax z, p = exp l,
q the reference, K = sum_v p_v (l_v - log q_v) and y the token:

    dl_y / dz_v = 1[v = y] - p_v
    dK / dz_v = p_v (l_v - log q_v - K)
    d(sum_u c_u l_u) / dz_v = c_v - p_v sum_u c_u

A token of probability 0 adds nothing to K, nor to any gradient but that of its own l.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ELEMENTS = {"cpu": 2**17}
"""Numbers in a few rows: half a megabyte. Other devices hide the way to memory by themselves."""


class TokenTerms(NamedTuple):
    """Of every token; all carry the gradient, and second derivatives."""

    log_probabilities: Float[Tensor, "sequences time vocabulary"]
    """log softmax of the logits, in nats."""
    chosen: Float[Tensor, "sequences time"]
    """That of the token that came."""
    kl: Float[Tensor, "sequences time"]
    """Exact KL(policy || reference), in nats."""


class SampleTerms(NamedTuple):
    """Of every token that was drawn; without gradient, in nats."""

    kl: Float[Tensor, "sequences time"]
    """Exact KL(policy || reference)."""
    entropy: Float[Tensor, "sequences time"]
    """Of the policy's distribution."""
    reference: Float[Tensor, "sequences time"]
    """The reference's log-probability of the token."""


def token_terms(
    logits: Float[Tensor, "sequences time vocabulary"],
    reference_logits: Float[Tensor, "sequences time vocabulary"],
    tokens: Int[Tensor, "sequences time"],
) -> TokenTerms:
    """All terms of given tokens, differentiable in the policy's logits; the reference has no gradient."""
    compute: Callable[..., tuple[Tensor, Tensor, Tensor]] = _TokenTerms.apply
    return TokenTerms(*compute(logits, reference_logits.detach(), tokens))


@torch.no_grad()
def sample_terms(
    log_probabilities: Float[Tensor, "sequences time vocabulary"],
    reference_logits: Float[Tensor, "sequences time vocabulary"],
    tokens: Int[Tensor, "sequences time"],
) -> SampleTerms:
    """The terms of tokens that were drawn from distributions with these (normalised) log-probabilities."""
    found = SampleTerms(*(log_probabilities.new_empty(tokens.shape) for _ in range(3)))
    for rows in _rows(tokens, log_probabilities.shape[-1]):
        policy, reference = log_probabilities[rows], torch.log_softmax(reference_logits[rows], dim=-1)
        found.reference[rows] = _at(reference, tokens[rows])
        probability = policy.exp()
        impossible = probability == 0
        found.entropy[rows] = -(probability * policy.masked_fill(impossible, 0.0)).sum(dim=-1)
        found.kl[rows] = _kl(policy, reference, probability)
    return found


class _TokenTerms(torch.autograd.Function):
    """The terms and their gradient, both a few rows at a time."""

    @staticmethod
    def forward(logits: Tensor, reference_logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = torch.empty_like(logits, memory_format=torch.contiguous_format)
        kl = logits.new_empty(tokens.shape)
        for rows in _rows(tokens, logits.shape[-1]):
            policy = torch.log_softmax(logits[rows], dim=-1, out=found[rows])
            kl[rows] = _kl(policy, torch.log_softmax(reference_logits[rows], dim=-1), policy.exp())
        return found, _at(found, tokens), kl

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        _, reference_logits, tokens = inputs
        found, _, kl = output
        ctx.save_for_backward(found, kl, reference_logits, tokens)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, None, None]:
        found, kl, reference_logits, tokens = ctx.saved_tensors
        if all(one is None for one in given):
            return None, None, None
        if torch.is_grad_enabled():  # a second derivative will be asked for
            return _gradient(found, reference_logits, tokens, *given), None, None
        gradient = torch.empty_like(found)
        for rows in _rows(tokens, found.shape[-1]):
            parts = [None if one is None else one[rows] for one in given]
            _write_gradient(gradient[rows], found[rows], kl[rows], reference_logits[rows], tokens[rows], *parts)
        return gradient, None, None


def _gradient(
    policy: Tensor,
    reference_logits: Tensor,
    tokens: Tensor,
    each: Tensor | None,
    chosen: Tensor | None,
    kl: Tensor | None,
) -> Tensor:
    """The gradient in the logits, given those in the three terms, from operations that have a derivative again."""
    probability = policy.exp()
    gradient = torch.zeros_like(policy)
    if each is not None:
        gradient = gradient + each - probability * each.sum(dim=-1, keepdim=True)
    if chosen is not None:
        one = torch.zeros_like(policy).scatter(-1, tokens[..., None], 1.0)
        gradient = gradient + chosen[..., None] * (one - probability)
    if kl is not None:
        difference = policy - torch.log_softmax(reference_logits, dim=-1)
        difference = torch.where(probability > 0, difference, torch.zeros_like(policy))
        total = (probability * difference).sum(dim=-1, keepdim=True)
        gradient = gradient + kl[..., None] * probability * (difference - total)
    return gradient


def _write_gradient(
    target: Tensor,
    policy: Tensor,
    divergence: Tensor,
    reference_logits: Tensor,
    tokens: Tensor,
    each: Tensor | None,
    chosen: Tensor | None,
    kl: Tensor | None,
) -> None:
    """The same into `target`, with as little memory as possible."""
    probability = policy.exp()
    if kl is None:
        target.zero_()
    else:
        torch.sub(policy, torch.log_softmax(reference_logits, dim=-1), out=target)
        target.masked_fill_(probability == 0, 0.0).sub_(divergence[..., None]).mul_(kl[..., None])
    if chosen is not None:
        target.sub_(chosen[..., None])
    if each is not None:
        target.sub_(each.sum(dim=-1, keepdim=True))
    target.mul_(probability)
    if each is not None:
        target.add_(each)
    if chosen is not None:
        target.scatter_add_(-1, tokens[..., None], chosen[..., None])


def _kl(policy: Tensor, reference: Tensor, probability: Tensor) -> Tensor:
    difference = (policy - reference).masked_fill_(probability == 0, 0.0)
    return difference.mul_(probability).sum(dim=-1)


def _at(values: Tensor, tokens: Tensor) -> Tensor:
    return values.gather(-1, tokens[..., None])[..., 0]


def _rows(tokens: Tensor, vocabulary: int) -> Iterator[slice]:
    """A few sequences at a time."""
    sequences, time = tokens.shape
    size = max(1, ELEMENTS.get(tokens.device.type, 2**26) // (time * vocabulary))
    for begin in range(0, sequences, size):
        yield slice(begin, begin + size)
