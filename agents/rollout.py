"""Prompts to completions: one path for sampling, greedy decoding, reading given texts, and rollouts with exact KL.

Sequences stand in prompt order, `group` per prompt: sequence s belongs to prompt s // group. Completions are padded on
the right; the mask is True on the tokens that count, the end-of-sequence token among them. Sampling is pure: no
temperature, no truncation of the distribution, so the log-probabilities are those of the policy itself.

Everything runs under the caller's autocast context, and logits become float32 before any softmax. A text that is
tokenised again may have other tokens than the sampled ones (a policy can spell a word in several ways); `rollout` reads
the sampled tokens, `trace` reads texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.decoding import Actor, decode, encode_prompts, inverse_cumulative, likeliest
from agents.limits import acting_distributions
from agents.passes import CompletionPass, Prefill, completion_pass, prefill
from agents.policy import Policy
from agents.token_terms import sample_terms
from reward_models.errors import InvalidInput, NonFinite
from reward_models.trace import CompletionTrace


class Among(NamedTuple):
    """Which prompts of a step some prompts are, where several processes divide them."""

    first: int
    """Number of the first one."""
    prompts: int
    """Prompts in all."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Completions drawn from a policy."""

    prompts: tuple[str, ...]
    """One per group."""
    prompt_tokens: tuple[tuple[int, ...], ...]
    """The prompts as the policy reads them."""
    group: int
    """Completions per prompt."""
    tokens: Int[Tensor, "sequences time"]
    """Completion tokens, the padding token where the mask is False."""
    mask: Bool[Tensor, "sequences time"]
    """True on tokens the policy chose, the end-of-sequence token included."""
    log_probabilities: Float[Tensor, "sequences time"]
    """log of the probability with which each token was drawn, in nats; 0 where the mask is False."""
    completions: tuple[str, ...]
    """The texts, without the end-of-sequence token."""
    distributions: Float[Tensor, "sequences time vocabulary"] | None
    """Log-probabilities of the whole vocabulary at every step, as they acted, if they were asked for."""
    reference_distributions: Float[Tensor, "sequences time vocabulary"] | None
    """The reference's, if they were asked for and the policy acts within a limit that is measured from it."""

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.completions)


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Samples, and what the reference says about them."""

    samples: Samples
    kl: Float[Tensor, "sequences time"]
    """Exact KL(policy || reference) of the next-token distributions in nats; 0 where the mask is False."""
    entropy: Float[Tensor, "sequences time"]
    """Entropy of the policy's next-token distribution in nats; 0 where the mask is False."""
    reference: CompletionTrace
    """The reference's pass over the completions: what a reward model reads."""
    reference_logits: Float[Tensor, "sequences time vocabulary"]
    """At position t the reference's logits (up to a constant) that predict completion token t."""


@torch.no_grad()
def sample(
    policy: Policy,
    prompts: Sequence[str],
    *,
    group: int,
    max_new_tokens: int,
    generator: torch.Generator,
    keep_distributions: bool = False,
    shared: Prefill | None = None,
    beginnings: Sequence[Sequence[int]] | None = None,
    among: Among | None = None,
) -> Samples:
    """Draw `group` completions of each prompt, each until end-of-sequence or `max_new_tokens` tokens.

    One uniform number per token is drawn from `generator` for all tokens at once, and inverted through the cumulative
    distribution in float64; the same generator state gives the same completions. `shared` may hand in a prefill of the
    same prompts by the same weights; `beginnings`, the first tokens of each completion (of some, none or all), which
    are then not drawn; `among`, that these prompts are a part of more, whose other completions are drawn elsewhere from
    the same numbers: each completion is then what it would be if one drew them all. Raises `InvalidInput` on prompts
    that do not fit the model's context and `NonFinite` if the
    policy's logits are, or if it gives a token of a beginning no probability.
    """
    prompt_tokens = encode_prompts(policy, prompts, group=group, max_new_tokens=max_new_tokens)
    first, all_prompts = (0, len(prompts)) if among is None else among
    shape = (all_prompts * group, max_new_tokens)
    uniform = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    uniform = uniform[first * group : (first + len(prompts)) * group].to(policy.device)
    actor = Actor(policy, prompts, group=group, max_new_tokens=max_new_tokens, shared=shared)
    begun = None if beginnings is None else _right_pad(beginnings, pad_id=policy.pad_id, device=policy.device)
    chosen: list[Tensor] = []
    kept: list[Tensor] = []
    reference_kept: list[Tensor] = []

    def draw(distribution: Tensor, time: int) -> Tensor:
        token = inverse_cumulative(distribution, uniform[:, time])
        if begun is not None and time < begun[0].shape[1]:
            token = torch.where(begun[1][:, time], begun[0][:, time], token)
        chosen.append(distribution.gather(1, token[:, None])[:, 0])
        if keep_distributions:
            kept.append(distribution)
            reference_kept.extend(actor.reference_distribution)
        return token

    tokens, mask = decode(actor, draw, policy=policy, max_new_tokens=max_new_tokens)
    log_probabilities = torch.stack(chosen, dim=1).masked_fill(~mask, 0.0)
    if not bool(log_probabilities.isfinite().all()):
        raise NonFinite("The policy's logits became NaN or infinite while sampling; go back to earlier weights.")
    return Samples(
        prompts=tuple(prompts),
        prompt_tokens=prompt_tokens,
        group=group,
        tokens=tokens,
        mask=mask,
        log_probabilities=log_probabilities,
        completions=texts_of(policy, tokens, mask),
        distributions=torch.stack(kept, dim=1) if keep_distributions else None,
        reference_distributions=torch.stack(reference_kept, dim=1) if reference_kept else None,
    )


@torch.no_grad()
def greedy(policy: Policy, prompts: Sequence[str], max_new_tokens: int, *, chunk: int = 16) -> tuple[str, ...]:
    """The completion of each prompt that takes the likeliest token at every step, in the order of the prompts.

    Prompts are decoded `chunk` at a time, those of similar length together. Raises `InvalidInput` as `sample` does.
    """
    prompt_tokens = encode_prompts(policy, prompts, group=1, max_new_tokens=max_new_tokens)
    texts = [""] * len(prompts)
    for rows in _by_length(prompt_tokens, chunk):
        actor = Actor(policy, [prompts[row] for row in rows], group=1, max_new_tokens=max_new_tokens)
        tokens, mask = decode(actor, likeliest, policy=policy, max_new_tokens=max_new_tokens)
        for row, text in zip(rows, texts_of(policy, tokens, mask), strict=True):
            texts[row] = text
    return tuple(texts)


@torch.no_grad()
def trace(
    policy: Policy, prompts: Sequence[str], completions: Sequence[Sequence[str]], *, chunk: int = 16
) -> CompletionTrace:
    """What `policy` (usually a reference) makes of given completions, an equal number of them for every prompt.

    A limit is no part of it: these are the probabilities of the network itself. Row p G + g of the answer is completion
    g of prompt p; log-probabilities and hidden states are 0 on padding. Works through `chunk` prompts at a time, those
    of similar length together. Raises `InvalidInput` on ragged completions, and where one does not fit the model's
    context behind its own prompt.
    """
    group = _group_of(prompts, completions)
    encoded = [policy.encode_completion(text) for texts in completions for text in texts]
    tokens, mask = _right_pad(encoded, pad_id=policy.pad_id, device=policy.device)
    prompt_tokens = encode_prompts(policy, prompts, group=group, max_new_tokens=1)
    longest = [max(map(len, encoded[row * group : (row + 1) * group])) for row in range(len(prompts))]
    log_probabilities = torch.zeros(tokens.shape, device=policy.device)
    hidden = torch.zeros(*tokens.shape, policy.width, device=policy.device)
    for rows in _readable(policy, prompt_tokens, longest, chunk):
        places = torch.tensor([row * group + member for row in rows for member in range(group)], device=policy.device)
        time = int(mask[places].sum(dim=1).max())
        part = tokens[places, :time]
        with policy.active() as model:
            shared = prefill(model, [prompt_tokens[row] for row in rows], pad_id=policy.pad_id)
            seen = completion_pass(model, shared, part, group=group)
        log_probabilities[places, :time] = token_log_probabilities(seen.logits, part)
        hidden[places, :time] = seen.hidden
    return CompletionTrace(
        log_probabilities=log_probabilities.masked_fill(~mask, 0.0),
        hidden=hidden.masked_fill(~mask[..., None], 0.0),
        mask=mask,
    )


@torch.no_grad()
def rollout(
    policy: Policy,
    reference: Policy,
    prompts: Sequence[str],
    *,
    group: int,
    max_new_tokens: int,
    generator: torch.Generator,
    shared: Prefill | None = None,
    beginnings: Sequence[Sequence[int]] | None = None,
    among: Among | None = None,
) -> Rollouts:
    """Sample from the policy and read the samples with the reference: one sampling pass, one reference pass.

    Both must have one vocabulary. Arguments and errors are those of `sample`.
    """
    samples = sample(
        policy,
        prompts,
        group=group,
        max_new_tokens=max_new_tokens,
        generator=generator,
        keep_distributions=True,
        shared=shared,
        beginnings=beginnings,
        among=among,
    )
    prompt_tokens = encode_prompts(reference, prompts, group=group, max_new_tokens=max_new_tokens)
    with reference.active() as model:
        read = prefill(model, prompt_tokens, pad_id=reference.pad_id)
        seen = completion_pass(model, read, samples.tokens, group=group)
    assert samples.distributions is not None  # they were asked for above
    reference_logits = seen.logits
    # Within a limit the same numbers that the acting distributions were mixed with, so that what was spent is exact.
    if policy.limited is not None and reference.reads_as(policy.limited.reference):
        assert samples.reference_distributions is not None  # the limit is measured from them
        reference_logits = samples.reference_distributions
    return _rollouts(samples, samples.distributions, reference_logits, seen.hidden)


@torch.no_grad()
def read_given(
    policy: Policy, reference: Policy, prompts: Sequence[str], completions: Sequence[Sequence[str]]
) -> Rollouts:
    """Given completions as if they had been sampled, an equal number of them for every prompt.

    `samples.log_probabilities` are the policy's own of these tokens, now, within its limit where it has one; the exact
    KL is that at their prefixes, not a mean over the policy's. Raises `InvalidInput` as `trace` does, and for a limit
    that is measured from another reference.
    """
    policy.check_reference(reference)
    group = _group_of(prompts, completions)
    encoded = [policy.encode_completion(text) for texts in completions for text in texts]
    tokens, mask = _right_pad(encoded, pad_id=policy.pad_id, device=policy.device)
    off = ~mask
    seen: dict[str, CompletionPass] = {}
    read: dict[str, tuple[tuple[int, ...], ...]] = {}
    for name, one in {"policy": policy, "reference": reference}.items():
        read[name] = encode_prompts(one, prompts, group=group, max_new_tokens=tokens.shape[1])
        with one.active() as model:
            seen[name] = completion_pass(model, prefill(model, read[name], pad_id=one.pad_id), tokens, group=group)
    distributions = torch.log_softmax(seen["policy"].logits, dim=-1)
    reference_logits = seen["reference"].logits
    if policy.limited is not None:
        measured = torch.log_softmax(reference_logits, dim=-1)
        distributions = acting_distributions(policy.limited.limit, distributions, measured, mask)
    samples = Samples(
        prompts=tuple(prompts),
        prompt_tokens=read["policy"],
        group=group,
        tokens=tokens,
        mask=mask,
        log_probabilities=token_log_probabilities(distributions, tokens).masked_fill(off, 0.0),
        completions=tuple(text for texts in completions for text in texts),
        distributions=distributions,
        reference_distributions=None,
    )
    return _rollouts(samples, distributions, reference_logits, seen["reference"].hidden)


def token_log_probabilities(
    logits: Float[Tensor, "*batch vocabulary"], tokens: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """The log-softmax of the logits at the given tokens, in nats, in float32."""
    return torch.log_softmax(logits.float(), dim=-1).gather(-1, tokens[..., None])[..., 0]


def _rollouts(samples: Samples, distributions: Tensor, reference_logits: Tensor, hidden: Tensor) -> Rollouts:
    off = ~samples.mask
    terms = sample_terms(distributions, reference_logits, samples.tokens)
    return Rollouts(
        samples=samples,
        kl=terms.kl.masked_fill(off, 0.0),
        entropy=terms.entropy.masked_fill(off, 0.0),
        reference=CompletionTrace(
            log_probabilities=terms.reference.masked_fill(off, 0.0),
            hidden=hidden.masked_fill(off[..., None], 0.0),
            mask=samples.mask,
        ),
        reference_logits=reference_logits,
    )


def _group_of(prompts: Sequence[str], completions: Sequence[Sequence[str]]) -> int:
    groups = {len(texts) for texts in completions}
    if len(prompts) != len(completions) or len(groups) != 1 or 0 in groups:
        raise InvalidInput(
            f"Needed, for each of the {len(prompts)} prompts: the same number (at least one) of completions; got "
            f"{len(completions)} lists of sizes {sorted(groups)}. Call it once for each size."
        )
    return groups.pop()


def texts_of(policy: Policy, tokens: Tensor, mask: Tensor) -> tuple[str, ...]:
    """What completions (sequences, time) say, without the end-of-sequence token; equal ones are decoded once."""
    lengths = mask.sum(dim=1).tolist()
    rows = [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths, strict=True)]
    said = {row: policy.decode(list(row)) for row in set(rows)}
    return tuple(said[row] for row in rows)


def _by_length(prompt_tokens: Sequence[Sequence[int]], chunk: int) -> Iterator[list[int]]:
    """Prompt numbers, `chunk` at a time, those of similar length together, so that little padding is computed."""
    order = sorted(range(len(prompt_tokens)), key=lambda row: len(prompt_tokens[row]))
    for begin in range(0, len(order), chunk):
        yield order[begin : begin + chunk]


def _readable(
    policy: Policy, prompt_tokens: Sequence[Sequence[int]], longest: Sequence[int], chunk: int
) -> Iterator[list[int]]:
    """As `_by_length`, but fewer at a time where the longest prompt and the longest completion would not fit together.

    Raises `InvalidInput` for a prompt that does not fit with a completion of its own.
    """
    context = policy.context
    for rows in _by_length(prompt_tokens, chunk):
        together: list[int] = []
        for row in rows:
            # Prompts come by their length, so that the last one is the longest.
            needed = len(prompt_tokens[row]) + max(longest[one] for one in (*together, row))
            if context is not None and together and needed > context:
                yield together
                together, needed = [], len(prompt_tokens[row]) + longest[row]
            if context is not None and needed > context:
                raise InvalidInput(
                    f"A prompt of {len(prompt_tokens[row])} tokens and a completion of {longest[row]} do not fit the "
                    f"model's context of {context}; shorten them."
                )
            together.append(row)
        yield together


def _right_pad(
    sequences: Sequence[Sequence[int]], *, pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "sequences time"], Bool[Tensor, "sequences time"]]:
    time = max(len(sequence) for sequence in sequences)
    rows = [[*sequence, *[pad_id] * (time - len(sequence))] for sequence in sequences]
    tokens = torch.tensor(rows, dtype=torch.long)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(time) < lengths[:, None]
    return tokens.to(device), mask.to(device)
