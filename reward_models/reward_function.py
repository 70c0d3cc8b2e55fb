"""A reward model as a reward function of other trainers: what TRL's `reward_funcs` takes."""

from collections.abc import Sequence
from typing import final

import torch

from reward_models.conversations import Conversation
from reward_models.errors import InvalidInput, NonFinite
from reward_models.estimate import Conservative, RewardEstimate
from reward_models.reward_model import AbstractScorer
from reward_models.rewards import Rewards


@final
class RewardFunction:
    """Scores completions as `GRPOTrainer` and `RLOOTrainer` of TRL (1.x) ask their reward functions to.

    The rewards are those of the model, whatever the trainer makes of them afterwards: TRL weighs and adds several
    functions, and takes the mean of each group off.
    """

    def __init__(
        self,
        model: AbstractScorer,
        *,
        conservative: Conservative = "lower",
        coefficient: float = 0.5,
        name: str = "reward",
    ) -> None:
        """Wrap a model.

        Args:
            model: what `load_reward_model` gives, or a run's own (`rrm.serving.rewards.RunRewards`).
            conservative: how members become one reward; see `RewardEstimate`.
            coefficient: of `lower`, `entropic` and `uwo`.
            name: under which the trainer logs the rewards.

        Raises InvalidInput for a coefficient that the choice cannot have.
        """
        # Tried here, so that a coefficient is not refused in the middle of a training run.
        RewardEstimate(torch.zeros(1, 1)).conservative(conservative, coefficient)
        self.model = model
        self.conservative: Conservative = conservative
        self.coefficient = coefficient
        self.__name__ = name

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation], **columns: object
    ) -> list[float]:
        """One reward for each completion, in their order.

        Prompts and completions are texts or lists of messages. `columns` is TRL's signature: the other columns of the
        data set and what the trainer adds. Only `log_metric` is looked at: with it the means over the batch of the
        members' mean and of their spread are logged as `NAME/mean` and `NAME/spread`. Raises as `score` does.
        """
        found = self.score(prompts, completions)
        found.log(columns.get("log_metric"), name=self.__name__)
        return list(found.rewards)

    def score(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> Rewards:
        """The rewards with the members' mean and spread; all are finite.

        Raises InvalidInput for unequal numbers and for texts that the model refuses, NonFinite where a number is not
        finite: a trainer would take NaN for "no reward" and go on.
        """
        if isinstance(prompts, str) or isinstance(completions, str) or len(prompts) != len(completions):
            raise InvalidInput(
                f"{len(prompts)} prompts and {len(completions)} completions came; give two lists of one length"
            )
        if not completions:
            return Rewards((), (), ())
        estimate = self.model.estimate(prompts, completions)
        rewards = estimate.conservative(self.conservative, self.coefficient)
        for numbers in (rewards, estimate.mean, estimate.spread):
            if not bool(torch.isfinite(numbers).all()):
                raise NonFinite(
                    f"members' scores up to {float(estimate.members.abs().max()):.3g} are finite, but not what follows "
                    f"from them (`{self.conservative}` with {self.coefficient}); fit the reward model anew"
                )
        return Rewards(tuple(rewards.tolist()), tuple(estimate.mean.tolist()), tuple(estimate.spread.tolist()))
