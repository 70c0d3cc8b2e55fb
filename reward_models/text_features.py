"""Features of prompts with completions: what heads read, chosen and put side by side.

The choice is an inductive bias worth more than labels. Hidden states know the content; likelihood under a reference
language model sees an invented claim as an unlikely token; a function of your own can know anything else. Each is an
object that turns conversations into a matrix, and describes itself so that a saved model can be loaded; a function
cannot, and says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.backbone import Backbone, Pooling, in_batches, model_inputs, pooler
from reward_models.conversations import Conversation
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.features import check_names
from reward_models.reference import Reference
from reward_models.trunks import Trunk

Description = dict[str, object]
"""JSON; a trunk is named by its place in a list."""


class TextFeatures(ABC):
    """Prompts and completions in, one row of numbers for each pair out."""

    @abstractmethod
    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "sequences features"]:
        """The features, on the CPU."""

    @abstractmethod
    def describe(self, trunks: list[Trunk]) -> Description:
        """What `load_features` needs to make them again; trunks are added to the list unless they are in it.

        Raises InvalidInput for features that cannot be saved.
        """


@dataclass(frozen=True, eq=False)
class HiddenStates(TextFeatures):
    """Hidden states of a backbone: at the last token, or the mean over all."""

    backbone: Backbone
    """What reads."""
    pooling: Pooling = "last"
    """Which tokens count."""
    layers: tuple[int, ...] = ()
    """Layers side by side: 0 the embeddings, 1 after the first block, -1 the last; none named: the final state."""
    batch_size: int = 16
    """Sequences in one pass; changes no feature."""

    def __post_init__(self) -> None:
        pooler(self.pooling)
        count = int(self.backbone.model.config.get_text_config().num_hidden_layers) + 1
        wrong = [layer for layer in self.layers if not -count <= layer < count]
        if wrong:
            raise InvalidInput(f"layers {wrong} do not exist; this backbone has 0 (the embeddings) to {count - 1}")

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "sequences features"]:
        """Layers side by side, in the order given."""
        encoded = self.backbone.encode(prompts, completions)
        if not self.layers:
            return self.backbone.pooled(encoded, pooling=self.pooling, batch_size=self.batch_size)
        with torch.no_grad():
            return in_batches(
                encoded.tokens,
                lambda tokens, mask, _: self._rows(tokens, mask),
                pad_id=self.backbone.pad_id,
                device=self.backbone.model.device,
                batch_size=self.batch_size,
            )

    def describe(self, trunks: list[Trunk]) -> Description:
        """Backbone, pooling and layers."""
        place = _place(self.backbone, trunks)
        return {"type": "hidden_states", "trunk": place, "pooling": self.pooling, "layers": list(self.layers)}

    def _rows(self, tokens: Tensor, mask: Tensor) -> Tensor:
        model, pool = self.backbone.model, pooler(self.pooling)
        states = model(**model_inputs(model, tokens, mask), output_hidden_states=True).hidden_states
        return torch.cat([pool(states[layer], mask) for layer in self.layers], dim=1)


@dataclass(frozen=True, eq=False)
class CompletionFeatures(TextFeatures):
    """What a reference language model sees in the completion alone: the features of `features.extract` by name."""

    reference: Reference
    """The language model."""
    names: tuple[str, ...] = ("likelihood_statistics",)
    """Out of `features.EXTRACTORS`."""
    batch_size: int = 16
    """Sequences in one pass; changes no feature."""

    def __post_init__(self) -> None:
        check_names(self.names)

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "sequences features"]:
        """The named features side by side."""
        return self.reference.features(prompts, completions, names=self.names, batch_size=self.batch_size)

    def describe(self, trunks: list[Trunk]) -> Description:
        """Reference and names."""
        return {"type": "completion", "trunk": _place(self.reference, trunks), "names": list(self.names)}


@dataclass(frozen=True, eq=False)
class FunctionFeatures(TextFeatures):
    """Features that a function of your own makes."""

    function: Callable[[Sequence[Conversation], Sequence[Conversation]], Tensor]
    """Prompts and completions in; a row for each out."""

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "sequences features"]:
        """What the function says. Raises InvalidInput for another shape, NonFinite for a value that is not finite."""
        found = self.function(prompts, completions)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(completions):
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInput(f"the function gave {came}; expected a tensor of shape ({len(completions)}, features)")
        values = found.detach().cpu()
        values = values if values.is_floating_point() else values.float()
        if not bool(torch.isfinite(values).all()):
            raise NonFinite("the function gave a value that is not finite; give finite numbers")
        return values

    def describe(self, trunks: list[Trunk]) -> Description:
        """Impossible: a folder holds no code."""
        raise InvalidInput(
            "features that a function makes cannot be saved, because a folder holds no code; save the `ensemble` alone "
            "and compute its features where you load it"
        )


@dataclass(frozen=True, eq=False)
class SideBySide(TextFeatures):
    """Several features joined into one row, in the order given."""

    parts: tuple[TextFeatures, ...]
    """At least one."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise InvalidInput("no features stand side by side; give at least one")

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "sequences features"]:
        """All parts of each pair."""
        return torch.cat([part(prompts, completions) for part in self.parts], dim=1)

    def describe(self, trunks: list[Trunk]) -> Description:
        """The parts' descriptions."""
        return {"type": "side_by_side", "parts": [part.describe(trunks) for part in self.parts]}


def load_features(description: Mapping[str, object], trunks: Sequence[Trunk]) -> TextFeatures:
    """The features of a description. Raises ArtifactError for one that is not of ours."""
    kind = description.get("type")
    try:
        if kind == "side_by_side" and isinstance(parts := description["parts"], list):
            return SideBySide(tuple(load_features(part, trunks) for part in parts))
        trunk = trunks[int(str(description["trunk"]))]
        if kind == "hidden_states" and isinstance(trunk, Backbone) and isinstance(description["layers"], list):
            # Checked by HiddenStates, as it is when a person gives it.
            pooling = cast(Pooling, description["pooling"])
            return HiddenStates(trunk, pooling=pooling, layers=tuple(int(layer) for layer in description["layers"]))
        if kind == "completion" and isinstance(trunk, Reference) and isinstance(description["names"], list):
            return CompletionFeatures(trunk, names=tuple(str(name) for name in description["names"]))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"a saved description of features is damaged ({error!r}); restore it or refit") from error
    raise ArtifactError(f"a saved description of features is of the type {kind!r}; restore it or update the package")


def _place(trunk: Trunk, trunks: list[Trunk]) -> int:
    """Place of a trunk in the list; added at its end if it is new."""
    for place, known in enumerate(trunks):
        if known is trunk:
            return place
    trunks.append(trunk)
    return len(trunks) - 1
