"""A batch that several processes drew: what is light is everywhere, what is heavy stays with the process that drew it.

A step's prompts are divided among the processes. Tokens, rewards, log-probabilities, KL and entropy, one number a
token, are sent to all, so that every process has the whole batch and computes the one loss of all its rows: baselines,
averages and minibatches need not know that there are others. Tensors over the vocabulary and hidden states are not
sent. With gradient each process reads its own rows only, and takes those of the others as constants; so the gradients
of the processes add up to that of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import pad

from agents.decoding import encode_prompts
from agents.policy import Policy
from agents.rollout import Rollouts, Samples, texts_of
from reward_models.processes import Processes
from reward_models.trace import CompletionTrace


@dataclass(frozen=True, eq=False)
class Held:
    """What one process holds of a batch whose other rows are elsewhere."""

    rollouts: Rollouts
    """Its own completions with everything that is known of them, no wider than they are; none, if it has no part."""
    groups: tuple[int, ...]
    """Their prompts, by their numbers in the batch."""
    sequences: int
    """Completions in the batch."""
    time: int
    """Tokens of its longest completion."""
    processes: Processes
    """All that hold a part."""

    @property
    def places(self) -> list[int]:
        """Its completions, by their numbers in the batch."""
        group = self.rollouts.samples.group
        return [number * group + member for number in self.groups for member in range(group)]

    def everywhere(self, own: Shaped[Tensor, "held own_time"], *, padding: int = 0) -> Shaped[Tensor, "sequences time"]:
        """One number a token, from all processes; its own rows keep their gradient, the others' have none."""
        own = pad(own, (0, self.time - own.shape[1]), value=padding)
        found = self.processes.filled(own, self.places, of=self.sequences)
        if not own.requires_grad:
            return found
        return found.index_copy(0, torch.tensor(self.places, device=own.device, dtype=torch.int64), own)


def rollouts_of_all(
    own: Rollouts, policy: Policy, prompts: Sequence[str], share: Sequence[int], processes: Processes
) -> tuple[Rollouts, Held]:
    """The completions of all prompts, and what this process holds of them: `own`, those of the prompts `share`.

    `policy` wrote them, or has read them. Of the rollouts of all, what is heavy is on no device: to use it is an error.
    """
    samples, group = own.samples, own.samples.group
    longest = torch.zeros(processes.count, dtype=torch.int64)
    longest[processes.rank] = samples.tokens.shape[1]
    time = int(processes.total(longest).max())
    held = Held(own, tuple(share), sequences=len(prompts) * group, time=time, processes=processes)
    tokens = held.everywhere(samples.tokens, padding=policy.pad_id)
    mask = held.everywhere(samples.mask.long()).bool()
    everything = Samples(
        prompts=tuple(prompts),
        prompt_tokens=encode_prompts(policy, prompts, group=group, max_new_tokens=time),
        group=group,
        tokens=tokens,
        mask=mask,
        log_probabilities=held.everywhere(samples.log_probabilities),
        completions=texts_of(policy, tokens, mask),
        distributions=None,
        reference_distributions=None,
    )
    return Rollouts(
        samples=everything,
        kl=held.everywhere(own.kl),
        entropy=held.everywhere(own.entropy),
        reference=CompletionTrace(
            log_probabilities=held.everywhere(own.reference.log_probabilities),
            hidden=torch.empty(*tokens.shape, own.reference.hidden.shape[-1], device="meta"),
            mask=mask,
        ),
        reference_logits=torch.empty(*tokens.shape, own.reference_logits.shape[-1], device="meta"),
    ), held
