"""What every reward model over text can do: score, estimate, save; and reading one back, whatever its kind."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from reward_models.backbone import Backbone
from reward_models.conversations import Conversation
from reward_models.errors import ArtifactError
from reward_models.estimate import RewardEstimate
from reward_models.folders import CONFIG_FILE, read_config

FORMAT_VERSION = 1
"""Of the `config.json` of every kind; raised when a folder written now could not be read by the code of before."""

Kind = Literal["heads", "lora", "full"]


class AbstractScorer(ABC):
    """K members that score completions of prompts, wherever they are kept. Higher is better; scores are in logits."""

    @property
    @abstractmethod
    def members(self) -> int:
        """Number of members, K."""

    @abstractmethod
    def scores(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "members sequences"]:
        """Every member's score of every completion, on the CPU; a score depends on its own pair alone."""

    def estimate(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> RewardEstimate:
        """The scores with what follows from them: mean, spread, conservative rewards."""
        return RewardEstimate(self.scores(prompts, completions))


class AbstractRewardModel(AbstractScorer):
    """A scorer that is a model of its own: it can be saved, and read back by `load_reward_model`."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """How the members differ: in their heads, their adapters, or in all weights."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a folder that `load_reward_model` reads; it appears complete or not at all."""


def load_reward_model(folder: Path, *, backbone: Backbone | None = None) -> AbstractRewardModel:
    """Read a reward model that its `save` wrote, of any kind.

    `backbone` stands in for the one that the folder names, if it has the same weights: for a model that has moved, or
    one that is loaded already. Raises ArtifactError for a folder that is missing, damaged or not a reward model's.
    """
    folder = Path(folder)
    kind = read_config(folder, version=FORMAT_VERSION, writer="a reward model's save").get("kind")
    # Imported here: adapters need peft, and the kinds know this file.
    if kind == "heads":
        from reward_models.heads_model import FeaturesModel

        return FeaturesModel.load(folder, backbone=backbone)
    if kind == "lora":
        from reward_models.lora_model import LoraModel

        return LoraModel.load(folder, backbone=backbone)
    if kind == "full":
        from reward_models.full_model import FullModel

        return FullModel.load(folder)
    raise ArtifactError(
        f"{folder / CONFIG_FILE} states the kind {kind!r}, expected 'heads', 'lora' or 'full'; an ensemble without its "
        "features is read with Ensemble.load"
    )
