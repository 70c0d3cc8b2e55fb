"""From an estimate to the one reward that an agent is paid."""

import torch

from reward_models.estimate import RewardEstimate
from rrm.config import RewardSection


def conservative(estimate: RewardEstimate, settings: RewardSection) -> torch.Tensor:
    """The setting's number from an estimate, of shape (sequences,)."""
    return estimate.conservative(settings.conservative, settings.coefficient)
