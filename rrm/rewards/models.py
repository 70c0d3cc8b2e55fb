"""A fitted reward model of a run: heads over what the base reads anyway, or members that read texts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import final

import torch

from agents.rollout import Rollouts
from reward_models.backbone import Backbone
from reward_models.ensemble import TENSORS_FILE, Ensemble
from reward_models.reward_model import AbstractRewardModel, load_reward_model
from rrm.config import RewardSection
from rrm.rewards.reading import Reading


class AbstractRewards(ABC):
    """Scores completions, wherever they come from; higher is better."""

    @property
    @abstractmethod
    def members(self) -> int:
        """Number of members, K."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The features that a reading must have; none where the members read texts."""

    @abstractmethod
    def scores(self, reading: Reading) -> torch.Tensor:
        """Every member's score of every completion, (members, completions)."""

    @abstractmethod
    def scores_of_rollouts(self, rollouts: Rollouts) -> torch.Tensor:
        """Every member's score of what an agent wrote, (members, sequences)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into a folder, which appears complete or not at all."""


@final
class HeadsRewards(AbstractRewards):
    """Linear heads on features of the base's pass, which the agent's KL needs anyway."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Wrap fitted heads."""
        self.ensemble = ensemble

    @property
    def members(self) -> int:
        """Number of heads."""
        return self.ensemble.members

    @property
    def reads(self) -> tuple[str, ...]:
        """What the heads were fitted on."""
        return self.ensemble.feature_names

    def scores(self, reading: Reading) -> torch.Tensor:
        """The heads on the features that were read."""
        return self.ensemble.scores(reading.joined(self.reads))

    def scores_of_rollouts(self, rollouts: Rollouts) -> torch.Tensor:
        """The heads on the reference's pass, which is there already."""
        return self.ensemble.score_trace(rollouts.reference)

    def save(self, folder: Path) -> None:
        """As `Ensemble.save`."""
        self.ensemble.save(folder)


@final
class TextRewards(AbstractRewards):
    """Members that read a prompt and a completion as text: adapters on the base's trunk, or whole models."""

    def __init__(self, model: AbstractRewardModel) -> None:
        """Wrap a fitted model."""
        self.model = model

    @property
    def members(self) -> int:
        """Number of members."""
        return self.model.members

    @property
    def reads(self) -> tuple[str, ...]:
        """No features."""
        return ()

    def scores(self, reading: Reading) -> torch.Tensor:
        """The members on the texts."""
        return self.model.scores(reading.prompts, reading.completions)

    def scores_of_rollouts(self, rollouts: Rollouts) -> torch.Tensor:
        """The members on what was written: a pass of their own over it."""
        samples = rollouts.samples
        prompts = [prompt for prompt in samples.prompts for _ in range(samples.group)]
        return self.model.scores(prompts, samples.completions)

    def save(self, folder: Path) -> None:
        """As `AbstractRewardModel.save`; adapters without the trunk, which comes with the task."""
        self.model.save(folder)


def load_rewards(folder: Path, *, backbone: Callable[[], Backbone]) -> AbstractRewards:
    """Read what `save` wrote; adapters go on the trunk that `backbone` gives.

    Raises ArtifactError where a file is missing or damaged, or the trunk is not the one they were fitted on.
    """
    if (folder / TENSORS_FILE).exists():
        return HeadsRewards(Ensemble.load(folder))
    return TextRewards(load_reward_model(folder, backbone=backbone()))


def features_read(settings: RewardSection) -> tuple[str, ...]:
    """The features that a reward model with these settings reads."""
    return tuple(settings.features) if settings.kind == "heads" else ()
