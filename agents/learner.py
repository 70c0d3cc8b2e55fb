"""A policy in training: it samples, reads its own samples again with gradient, and takes steps."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from agents.batch import Batch
from agents.decoding import encode_prompts
from agents.divergence import exact_kl
from agents.limits import acting_distributions
from agents.passes import Prefill, completion_pass, prefill
from agents.policy import Policy
from agents.rollout import Among, Rollouts, rollout
from agents.token_terms import TokenTerms, token_terms
from agents.value_function import ValueFunction
from reward_models.errors import NonFinite
from reward_models.processes import ONE, Processes


class Reading(NamedTuple):
    """Completions as the policy sees them now, with gradient. 0 on tokens that do not count, but for `states`."""

    distributions: Float[Tensor, "sequences time vocabulary"]
    """Log-probabilities of the distribution that acts (within the limit, where there is one)."""
    chosen: Float[Tensor, "sequences time"]
    """Log-probability of each token, in nats."""
    kl: Float[Tensor, "sequences time"]
    """Exact KL(policy || reference) of each token, in nats."""
    states: Float[Tensor, "sequences time width"]
    """The network's last hidden state before each token: the state in which it was chosen."""


class Learner:
    """A policy, the reference it is held to, an optimiser, and a critic where the objective wants one."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        *,
        learning_rate: float,
        clip_norm: float = 1.0,
        bfloat16: bool = False,
        with_critic: bool = False,
        critic_learning_rate: float = 1e-2,
        processes: Processes = ONE,
    ) -> None:
        """Learn the parameters of `policy` that require a gradient, in place; the same ones in all `processes`.

        Raises `InvalidInput` if the policy acts within a limit that is measured from another reference.
        """
        policy.check_reference(reference)
        self.policy, self.reference, self.processes = policy, reference, processes
        self.clip_norm, self.bfloat16 = clip_norm, bfloat16
        self.parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": learning_rate}]
        self.critic: ValueFunction | None = None
        if with_critic:
            self.critic = ValueFunction(policy.width).to(policy.device)
            groups.append({"params": list(self.critic.parameters()), "lr": critic_learning_rate})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self._rates = [float(group["lr"]) for group in groups]
        self._fresh: tuple[tuple[tuple[int, ...], ...], Prefill] | None = None

    @property
    def trained(self) -> torch.nn.Module:
        """All that a checkpoint must hold: the policy's model, and the critic."""
        if self.critic is None:
            model: torch.nn.Module = self.policy.model
            return model
        return torch.nn.ModuleDict({"policy": self.policy.model, "critic": self.critic})

    def precision(self) -> torch.autocast:
        """bfloat16 by autocast, where asked for; weights, softmax and losses stay float32.

        Autocast keeps the weights that it has cast until its context ends, and those cast without gradient would cut
        the gradient of a later pass: passes with and without gradient each need a context of their own.
        """
        return torch.autocast(self.policy.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def sample(
        self,
        prompts: list[str],
        *,
        group: int,
        max_new_tokens: int,
        generator: torch.Generator,
        among: Among | None = None,
    ) -> Rollouts:
        """Draw completions behind a prefill that keeps its graph, for the first `read` of them; errors as `rollout`."""
        prompt_tokens = encode_prompts(self.policy, prompts, group=group, max_new_tokens=max_new_tokens)
        self._fresh = (prompt_tokens, self._prefill(prompt_tokens))
        with self.precision():
            return rollout(
                self.policy,
                self.reference,
                prompts,
                group=group,
                max_new_tokens=max_new_tokens,
                generator=generator,
                shared=self._fresh[1],
                among=among,
            )

    def sample_reference(
        self,
        prompts: list[str],
        *,
        group: int,
        max_new_tokens: int,
        generator: torch.Generator,
        among: Among | None = None,
    ) -> Rollouts:
        """Draw completions from the reference; their KL is that of the reference to itself, 0."""
        with self.precision():
            return rollout(
                self.reference,
                self.reference,
                prompts,
                group=group,
                max_new_tokens=max_new_tokens,
                generator=generator,
                among=among,
            )

    def read(self, batch: Batch, prompt_tokens: tuple[tuple[int, ...], ...] | None = None) -> Reading:
        """The completions of a batch with gradient at the present weights; behind other prompts, where given.

        Of a batch that several processes drew, each reads its own part: `distributions` and `states` are of that part
        alone, `chosen` and `kl` of the whole batch, with a gradient in its own rows.
        """
        prompt_tokens = batch.rollouts.samples.prompt_tokens if prompt_tokens is None else prompt_tokens
        held = batch.held
        if held is None:
            return self._read(batch.rollouts, prompt_tokens)
        if held.groups:
            own = self._read(held.rollouts, tuple(prompt_tokens[number] for number in held.groups))
        else:
            own = self._read_nothing(held.rollouts)
        return own._replace(chosen=held.everywhere(own.chosen), kl=held.everywhere(own.kl))

    def _read(self, rollouts: Rollouts, prompt_tokens: tuple[tuple[int, ...], ...]) -> Reading:
        samples = rollouts.samples
        shared = self._shared(prompt_tokens)
        with self.precision(), self.policy.active() as model:
            seen = completion_pass(model, shared, samples.tokens, group=samples.group)
        if self.policy.limited is None:
            terms = token_terms(seen.logits, rollouts.reference_logits, samples.tokens)
        else:
            found = torch.log_softmax(seen.logits, dim=-1)
            reference = torch.log_softmax(rollouts.reference_logits, dim=-1)
            acting = acting_distributions(self.policy.limited.limit, found, reference, samples.mask)
            chosen = acting.gather(-1, samples.tokens[..., None])[..., 0]
            terms = TokenTerms(acting, chosen, exact_kl(acting, reference))
        off = ~samples.mask
        return Reading(
            distributions=terms.log_probabilities,
            chosen=terms.chosen.masked_fill(off, 0.0),
            kl=terms.kl.masked_fill(off, 0.0),
            states=seen.states,
        )

    def _read_nothing(self, rollouts: Rollouts) -> Reading:
        """What a process has of a part of the batch in which it holds no completion."""
        none = torch.zeros_like(rollouts.kl)
        states = none.new_zeros(*none.shape, self.policy.width)
        return Reading(distributions=torch.zeros_like(rollouts.reference_logits), chosen=none, kl=none, states=states)

    def descend(self, loss: Float[Tensor, ""]) -> float:
        """One clipped step down the loss; the norm of the gradient before clipping.

        With several processes each gives the same loss with the gradient of its own rows, and what they add up to is
        the gradient. Raises `NonFinite` and leaves the weights as they were if the loss or the norm is not finite.
        """
        if not bool(loss.isfinite()):
            raise NonFinite(f"the loss is {loss.item()}; lower the learning rate or look at the reward.")
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad or not self.processes.several:  # a process may hold nothing of a part of the batch
            loss.backward()
        self.processes.sum_gradients(part for group in self.optimizer.param_groups for part in group["params"])
        # The critic is clipped apart: its gradient is no part of the norm that is reported.
        apart = [self.parameters] if self.critic is None else [self.parameters, list(self.critic.parameters())]
        norms = [float(torch.nn.utils.clip_grad_norm_(part, self.clip_norm)) for part in apart]
        for norm in norms:
            if not math.isfinite(norm):
                raise NonFinite(f"the norm of the gradient is {norm}; lower the learning rate or look at the reward.")
        self.optimizer.step()
        self.forget()
        return norms[0]

    def warm_up(self, share: float) -> None:
        """Take the coming steps at this share of the learning rate."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = share * rate

    def forget(self) -> None:
        """Drop what was computed with weights that have changed since."""
        self._fresh = None

    def _shared(self, prompt_tokens: tuple[tuple[int, ...], ...]) -> Prefill:
        """The prefill of the sampling pass, whose graph serves one backward pass; or a new one."""
        fresh, self._fresh = self._fresh, None
        return fresh[1] if fresh is not None and fresh[0] == prompt_tokens else self._prefill(prompt_tokens)

    def _prefill(self, prompt_tokens: tuple[tuple[int, ...], ...]) -> Prefill:
        with self.precision(), self.policy.active() as model:
            return prefill(model, prompt_tokens, pad_id=self.policy.pad_id)
