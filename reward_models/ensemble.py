"""K linear reward heads over one set of features, and their folder on disk.

Heads cost next to nothing beside the features, so an ensemble costs about one model. Member k scores a completion with
features x as

    r_k(x) = w_k . (x - mean) / scale / temperature

There is no intercept: `mean` is that of the training completions, so every member's mean score over them is exactly 0.
That anchors the members to one another, without which their spread would mean nothing.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.features import extract
from reward_models.folders import CONFIG_FILE, read_config, read_file, whole_folder, write_config
from reward_models.trace import CompletionTrace

FORMAT_VERSION = 1
"""Raised when a folder written now could not be read by the code of before."""
TENSORS_FILE = "ensemble.safetensors"


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Fitted heads. Raises InvalidInput when the parts do not fit together, NonFinite when one is not finite."""

    weights: Float[Tensor, "members features"]
    """w_k, in logits per standardised unit of a feature, before the temperature."""
    feature_mean: Float[Tensor, " features"]
    """Mean of each feature over the training completions."""
    feature_scale: Float[Tensor, " features"]
    """Standard deviation of each feature over them; 1 where the feature was constant."""
    temperature: float
    """Divides every score, so that sigmoid(mean score difference) is a calibrated probability."""
    feature_names: tuple[str, ...]
    """What `features.extract` must be asked for; empty if the features have another source."""

    def __post_init__(self) -> None:
        width = (self.weights.shape[-1],)
        if self.weights.ndim != 2 or self.feature_mean.shape != width or self.feature_scale.shape != width:
            raise InvalidInput(
                f"weights {tuple(self.weights.shape)}, mean {tuple(self.feature_mean.shape)} and scale "
                f"{tuple(self.feature_scale.shape)} must be (members, features), (features,) and (features,)"
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise InvalidInput(f"temperature is {self.temperature}; give a positive finite number")
        if not all(bool(torch.isfinite(part).all()) for part in (self.weights, self.feature_mean, self.feature_scale)):
            raise NonFinite("a weight, mean or scale of the ensemble is not finite; fit it again")
        if bool((self.feature_scale <= 0.0).any()):
            raise InvalidInput("a feature scale is not positive; use 1 for a constant feature")

    @property
    def members(self) -> int:
        """Number of heads, K."""
        return self.weights.shape[0]

    @property
    def input_width(self) -> int:
        """Number of features a completion must have."""
        return self.weights.shape[1]

    def scores(self, features: Float[Tensor, "sequences features"]) -> Float[Tensor, "members sequences"]:
        """Every member's score of every sequence, in logits, on the device of the features.

        Raises InvalidInput for another number of features than the ensemble was fitted on, NonFinite for a feature
        that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.input_width:
            raise InvalidInput(
                f"features have shape {tuple(features.shape)}; expected (sequences, {self.input_width}), "
                f"made of {self.feature_names or 'the features it was fitted on'}"
            )
        if not bool(torch.isfinite(features).all()):
            raise NonFinite("a feature is not finite; check the pass of the reference model that made it")
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        standardised = (values - self.feature_mean.to(values)) / self.feature_scale.to(values)
        return self.weights.to(values) @ standardised.T / self.temperature

    def score_trace(self, trace: CompletionTrace) -> Float[Tensor, "members sequences"]:
        """Every member's score of the completions of a trace; errors as in `features.extract` and `scores`."""
        return self.scores(extract(trace, self.feature_names))

    def save(self, folder: Path) -> None:
        """Write `ensemble.safetensors` and `config.json` into a new folder that appears complete or not at all.

        A folder of that name is replaced; killed between the two renames, neither name holds a half-written one.
        Raises ArtifactError if the disk refuses.
        """
        with whole_folder(folder, what="the ensemble") as partial:
            tensors = save_tensors(self._tensors())
            (partial / TENSORS_FILE).write_bytes(tensors)
            write_config(partial, self._config(tensors))

    @classmethod
    def load(cls, folder: Path) -> "Ensemble":
        """Read what `save` wrote, bit for bit.

        Raises ArtifactError if a file is missing, damaged, of another format, or does not belong to the other.
        """
        config = _parse(folder)
        data = read_file(folder / TENSORS_FILE, writer="Ensemble.save")
        if hashlib.sha256(data).hexdigest() != config.sha256:
            raise ArtifactError(
                f"{folder / TENSORS_FILE} is not the file that {CONFIG_FILE} describes (sha256 differs); "
                "restore both or refit"
            )
        try:
            tensors = load_tensors(data)
            weights, mean, scale = (tensors[name] for name in ("weights", "feature_mean", "feature_scale"))
            ensemble = cls(weights, mean, scale, config.temperature, config.feature_names)
        except (SafetensorError, KeyError, InvalidInput, NonFinite) as error:
            raise ArtifactError(f"{folder} does not hold a usable ensemble: {error}; restore it or refit") from error
        stated, found = (config.members, config.input_width), (ensemble.members, ensemble.input_width)
        if stated != found:
            raise ArtifactError(
                f"{folder / CONFIG_FILE} states (members, input width) {stated}, the tensors have {found}; "
                "restore both files or refit"
            )
        return ensemble

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"weights": self.weights, "feature_mean": self.feature_mean, "feature_scale": self.feature_scale}
        return {name: part.detach().cpu().contiguous() for name, part in parts.items()}

    def _config(self, tensors: bytes) -> dict[str, object]:
        return {
            "format_version": FORMAT_VERSION,
            "feature_names": list(self.feature_names),
            "members": self.members,
            "input_width": self.input_width,
            "temperature": self.temperature,
            "sha256": hashlib.sha256(tensors).hexdigest(),
        }


class _Config(NamedTuple):
    members: int
    input_width: int
    temperature: float
    feature_names: tuple[str, ...]
    sha256: str


def _parse(folder: Path) -> _Config:
    config = read_config(folder, version=FORMAT_VERSION, writer="Ensemble.save")
    try:
        return _Config(
            members=int(config["members"]),
            input_width=int(config["input_width"]),
            temperature=float(config["temperature"]),
            feature_names=tuple(str(name) for name in config["feature_names"]),
            sha256=str(config["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{folder / CONFIG_FILE} lacks or garbles an entry ({error!r}); restore it or refit"
        ) from error
