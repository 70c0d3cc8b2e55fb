"""From an estimate to the one reward that an agent is paid."""

import torch

from reward_models.estimate import RewardEstimate
from rrm.config import RewardSection


def conservative(estimate: RewardEstimate, settings: RewardSection) -> torch.Tensor:
    """The setting's number from an estimate, of shape (sequences,)."""
    match settings.conservative:
        case "mean":
            return estimate.mean
        case "min":
            return estimate.min
        case "lower":
            return estimate.lower(settings.coefficient)
        case "entropic":
            return estimate.entropic(settings.coefficient)
        case "uwo":
            return estimate.uwo(settings.coefficient)
