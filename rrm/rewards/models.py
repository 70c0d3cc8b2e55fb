"""A fitted reward model of a run: heads over what the base reads anyway, or members that read texts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import torch

from agents.rollout import Rollouts
from reward_models.backbone import Backbone
from reward_models.conversations import Conversation
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

    def __init__(self, model: AbstractRewardModel, *, chat: bool) -> None:
        """Wrap a fitted model; with `chat` it reads what a user says and an assistant answers (see `spoken`)."""
        self.model = model
        self.chat = chat

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
        return self.model.scores(*spoken(reading.prompts, reading.completions, chat=self.chat))

    def scores_of_rollouts(self, rollouts: Rollouts) -> torch.Tensor:
        """The members on what was written: a pass of their own over it."""
        samples = rollouts.samples
        prompts = [prompt for prompt in samples.prompts for _ in range(samples.group)]
        return self.model.scores(*spoken(prompts, samples.completions, chat=self.chat))

    def save(self, folder: Path) -> None:
        """As `AbstractRewardModel.save`; adapters without the trunk, which comes with the task."""
        self.model.save(folder)


def spoken(
    prompts: Sequence[str], completions: Sequence[str], *, chat: bool
) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    """Texts as members read them: as they are, or, of a chat model, as one message of a user and one of the assistant.

    Then they go through the template of the members' own tokenizer, as the policy's prompts do.
    """
    if not chat:
        return prompts, completions
    return (
        [[{"role": "user", "content": text}] for text in prompts],
        [[{"role": "assistant", "content": text}] for text in completions],
    )


def load_rewards(folder: Path, *, backbone: Callable[[], Backbone], chat: bool) -> AbstractRewards:
    """Read what `save` wrote; adapters go on the trunk that `backbone` gives, and `chat` is as it was fitted.

    Raises ArtifactError where a file is missing or damaged, or the trunk is not the one they were fitted on.
    """
    if (folder / TENSORS_FILE).exists():
        return HeadsRewards(Ensemble.load(folder))
    return TextRewards(load_reward_model(folder, backbone=backbone()), chat=chat)


def features_read(settings: RewardSection) -> tuple[str, ...]:
    """The features that a reward model with these settings reads."""
    return tuple(settings.features) if settings.kind == "heads" else ()
