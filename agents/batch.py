"""What an objective learns from: completions, what they are worth, and the price of a nat."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.held import Held
from agents.returns import returns_to_go, transition_rewards
from agents.rollout import Rollouts, Samples
from reward_models.errors import InvalidInput
from reward_models.trace import CompletionTrace


@dataclass(frozen=True, eq=False)
class Batch:
    """Completions in prompt order, `group` per prompt. Nothing in it carries a gradient."""

    rollouts: Rollouts
    """The completions, and what the policy that drew them and the reference said of them then."""
    rewards: Float[Tensor, "sequences time"]
    """Reward of each token; a reward of whole completions stands at the last token that counts."""
    beta: float
    """Reward units per nat of KL(policy || reference) in this step."""
    discount: float = 1.0
    """Horizon: 1 is the whole completion, 0 one token."""
    preferences: Float[Tensor, " pairs"] | None = None
    """Where completions come in given pairs (group 2): probability that the first of each is better."""
    held: Held | None = None
    """What this process holds, where several have drawn the batch; none, and all of it is here."""

    @property
    def tokens(self) -> Int[Tensor, "sequences time"]:
        """Completion tokens."""
        return self.rollouts.samples.tokens

    @property
    def mask(self) -> Bool[Tensor, "sequences time"]:
        """True on the tokens that count."""
        return self.rollouts.samples.mask

    @property
    def group(self) -> int:
        """Completions per prompt."""
        return self.rollouts.samples.group

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return len(self.rollouts.samples.prompts)

    @property
    def scores(self) -> Float[Tensor, " sequences"]:
        """Reward of each completion: the sum over its tokens."""
        return (self.rewards * self.mask).sum(dim=1)

    def returns(self, kl: Float[Tensor, "sequences time"]) -> Float[Tensor, "sequences time"]:
        """Return-to-go of every token, with this KL of each token."""
        return returns_to_go(self.rewards, kl, self.mask, beta=self.beta, discount=self.discount)

    def transitions(self, kl: Float[Tensor, "sequences time"]) -> Float[Tensor, "sequences time"]:
        """What every token earns on the way to the next, with this KL of each token."""
        return transition_rewards(self.rewards, kl, self.mask, beta=self.beta, discount=self.discount)

    @property
    def held_mask(self) -> Bool[Tensor, "held time"]:
        """The mask of the completions that this process holds, no wider than they are."""
        return self.mask if self.held is None else self.held.rollouts.samples.mask

    def everywhere(self, own: Float[Tensor, "held time"]) -> Float[Tensor, "sequences all_time"]:
        """One number a token of the completions that this process holds, with those that others have of theirs.

        The gradient of its own is kept. Where several processes have drawn the batch, all must call it.
        """
        return own if self.held is None else self.held.everywhere(own)

    def rows(self, prompts: Sequence[int]) -> Int[Tensor, " rows"]:
        """The places of the completions of these prompts."""
        first = torch.tensor(prompts, dtype=torch.int64, device=self.mask.device) * self.group
        return (first[:, None] + torch.arange(self.group, device=self.mask.device)).flatten()

    def select(self, prompts: Sequence[int]) -> "Batch":
        """The part of the batch with these prompts (counted from 0, in this order) and whole groups.

        Groups stay whole because completions share the computation of their prompt. All prompts in their order give
        the batch itself. Raises `InvalidInput` for no prompt or one that is not there.
        """
        if not prompts or not all(0 <= prompt < self.prompts for prompt in prompts):
            raise InvalidInput(f"The batch has prompts 0 to {self.prompts - 1}, got {list(prompts)}.")
        if list(prompts) == list(range(self.prompts)):
            return self
        rows = self.rows(prompts)
        return replace(
            self,
            rollouts=_selected(self.rollouts, prompts, rows.view(-1, self.group)),
            rewards=self.rewards[rows],
            preferences=None if self.preferences is None else self.preferences[list(prompts)],
            held=None if self.held is None else _held_part(self.held, prompts, rows.view(-1, self.group)),
        )

    def regroup(self, rows: Int[Tensor, "groups members"]) -> "Batch":
        """Groups of some of the completions by their places, each row of places within one prompt; no preferences."""
        prompts = (rows[:, 0] // self.group).tolist()
        return replace(
            self,
            rollouts=_selected(self.rollouts, prompts, rows),
            rewards=self.rewards[rows.flatten()],
            preferences=None,
            held=None if self.held is None else _held_part(self.held, prompts, rows),
        )


def _held_part(held: Held, prompts: Sequence[int], rows: Int[Tensor, "groups members"]) -> Held:
    """What is held of these groups: members of each, all of one prompt, by their places in the whole batch."""
    own = {number: place for place, number in enumerate(held.groups)}
    kept = [group for group, number in enumerate(prompts) if number in own]
    size = held.rollouts.samples.group
    shift = torch.tensor([(own[prompts[group]] - prompts[group]) * size for group in kept], dtype=torch.int64)
    places = rows[kept] + shift.to(rows.device)[:, None]
    return replace(
        held,
        rollouts=_selected(held.rollouts, [own[prompts[group]] for group in kept], places),
        groups=tuple(kept),
        sequences=rows.numel(),
    )


def _selected(rollouts: Rollouts, prompts: Sequence[int], groups: Int[Tensor, "groups members"]) -> Rollouts:
    reference, rows = rollouts.reference, groups.flatten()
    # What is held elsewhere is on another device, and nothing is copied there.
    logits, hidden = (part[rows.to(part.device)] for part in (rollouts.reference_logits, reference.hidden))
    return Rollouts(
        samples=_selected_samples(rollouts.samples, prompts, groups),
        kl=rollouts.kl[rows],
        entropy=rollouts.entropy[rows],
        reference=CompletionTrace(
            log_probabilities=reference.log_probabilities[rows], hidden=hidden, mask=reference.mask[rows]
        ),
        reference_logits=logits,
    )


def _selected_samples(samples: Samples, prompts: Sequence[int], groups: Int[Tensor, "groups members"]) -> Samples:
    rows = groups.flatten()
    kept, reference_kept = samples.distributions, samples.reference_distributions
    return Samples(
        prompts=tuple(samples.prompts[prompt] for prompt in prompts),
        prompt_tokens=tuple(samples.prompt_tokens[prompt] for prompt in prompts),
        group=groups.shape[1],
        tokens=samples.tokens[rows],
        mask=samples.mask[rows],
        log_probabilities=samples.log_probabilities[rows],
        completions=tuple(samples.completions[row] for row in rows.tolist()),
        distributions=None if kept is None else kept[rows],
        reference_distributions=None if reference_kept is None else reference_kept[rows],
    )
