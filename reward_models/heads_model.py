"""Linear heads over features of text: the cheapest ensemble, and often the best one for a few thousand judgements.

Its folder:

    config.json     the kind, the features and the trunks that they are read from (place and digest of the weights)
    ensemble/       the heads, as `Ensemble.save` writes them
    trunks/0, ...   the trunks themselves, only where they were asked for
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from reward_models.backbone import Backbone, Pooling
from reward_models.conversations import Conversation
from reward_models.ensemble import Ensemble
from reward_models.errors import ArtifactError
from reward_models.folders import read_config, whole_folder, write_config
from reward_models.reward_model import FORMAT_VERSION, AbstractRewardModel, Kind
from reward_models.text_features import HiddenStates, TextFeatures, load_features
from reward_models.trunks import Trunk, record_trunk, restore_trunks

ENSEMBLE_FOLDER = "ensemble"


@dataclass(frozen=True, eq=False)
class FeaturesModel(AbstractRewardModel):
    """An ensemble of heads and the features that it was fitted on."""

    features: TextFeatures
    """Conversations in, feature matrix out."""
    ensemble: Ensemble
    """Feature matrix in, scores out."""

    @property
    def members(self) -> int:
        """Number of heads, K."""
        return self.ensemble.members

    @property
    def kind(self) -> Kind:
        """`heads`."""
        return "heads"

    def scores(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "members sequences"]:
        """Every head's score of every completion; errors as in the features and in `Ensemble.scores`."""
        # In double precision the heads add no rounding of their own, however far from 0 the features lie.
        return self.ensemble.scores(self.features(prompts, completions).double()).float()

    def save(self, folder: Path, *, include_backbone: bool = False) -> None:
        """Write the folder described above; with `include_backbone`, the trunks too, and it stands alone.

        A folder of that name is replaced. Raises InvalidInput for features that cannot be saved, or a backbone made in
        memory that is not included; ArtifactError if the disk refuses.
        """
        trunks: list[Trunk] = []
        description = self.features.describe(trunks)
        with whole_folder(Path(folder), what="the reward model") as partial:
            records = [
                record_trunk(trunk, partial, name=f"trunks/{place}", copy=include_backbone)
                for place, trunk in enumerate(trunks)
            ]
            config = {"format_version": FORMAT_VERSION, "kind": self.kind, "features": description, "trunks": records}
            self.ensemble.save(partial / ENSEMBLE_FOLDER)
            write_config(partial, config)

    @classmethod
    def load(cls, folder: Path, *, backbone: Backbone | None = None) -> "FeaturesModel":
        """Read what `save` wrote: a HeadsModel where the features are one pooled state of one backbone.

        Raises ArtifactError if a file or a trunk is missing, damaged, or not what it was.
        """
        config = read_config(folder, version=FORMAT_VERSION, writer="a reward model's save")
        description, records = config.get("features"), config.get("trunks")
        if not isinstance(description, dict) or not isinstance(records, list):
            raise ArtifactError(f"{folder} does not say what its features are; restore config.json or refit")
        given = [] if backbone is None else [backbone]
        features = load_features(description, restore_trunks(records, folder, given=given))
        ensemble = Ensemble.load(folder / ENSEMBLE_FOLDER)
        if isinstance(features, HiddenStates) and not features.layers:
            return HeadsModel(features.backbone, ensemble, features.pooling)
        return FeaturesModel(features, ensemble)


class HeadsModel(FeaturesModel):
    """Heads over one pooled state of one backbone; with the last token's, each head is a sequence classifier."""

    features: HiddenStates

    def __init__(self, backbone: Backbone, ensemble: Ensemble, pooling: Pooling = "last") -> None:
        super().__init__(HiddenStates(backbone, pooling=pooling), ensemble)

    @property
    def backbone(self) -> Backbone:
        """What reads the text."""
        return self.features.backbone

    @property
    def pooling(self) -> Pooling:
        """Which tokens' state the heads read."""
        return self.features.pooling
