"""What each token adds to a reward: the reward of a completion up to it, less that up to the token before."""

from dataclasses import replace

import torch

from agents.rollout import Rollouts
from reward_models.estimate import RewardEstimate
from reward_models.trace import CompletionTrace
from rrm.config import RewardSection
from rrm.errors import ConfigurationError
from rrm.rewards.conservative import conservative
from rrm.rewards.models import AbstractRewards, HeadsRewards


def token_rewards(rewards: AbstractRewards, rollouts: Rollouts, settings: RewardSection) -> torch.Tensor:
    """r_t = R(y_1 .. y_t) - R(y_1 .. y_{t-1}) for the conservative reward R, with R of nothing 0; (sequences, time).

    The rewards of the tokens add up to that of the completion; 0 where the mask is False. Raises ConfigurationError
    where members read texts: they would have to read every beginning of every completion.
    """
    if not isinstance(rewards, HeadsRewards):
        raise ConfigurationError(
            "agent.horizon 'myopic' asks for the reward of every beginning of a completion, which only heads can give "
            "from one pass; set reward.kind to 'heads', or agent.horizon to 'completion'."
        )
    trace = rollouts.reference
    upto = [_first(trace, time + 1) for time in range(trace.mask.shape[1])]
    worth = torch.stack(
        [conservative(RewardEstimate(rewards.ensemble.score_trace(part)), settings) for part in upto], dim=1
    )
    before = torch.cat([torch.zeros_like(worth[:, :1]), worth[:, :-1]], dim=1)
    return (worth - before).masked_fill(~trace.mask.to(worth.device), 0.0)


def _first(trace: CompletionTrace, count: int) -> CompletionTrace:
    """The trace as if completions had ended after so many tokens; shorter ones as they are."""
    short = torch.arange(trace.mask.shape[1], device=trace.mask.device) < count
    return replace(trace, mask=trace.mask & short)
