"""What all members that are trained by gradient have in common: raw scores, heads, and the scale of the rewards."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.backbone import Backbone
from reward_models.errors import InvalidInput, NonFinite


@runtime_checkable
class TrainableMembers(Protocol):
    """Members whose weights the loop changes in place."""

    @property
    def members(self) -> int:
        """Number of members, K."""

    def parameters(self) -> dict[str, Tensor]:
        """The weights to train. `member_K.NAME` belongs to member K; any other has the members as its first axis."""

    def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Float[Tensor, "members sequences"]:
        """Every member's score of every sequence, with a gradient; neither centred nor divided by a temperature."""


def score_tokens(
    members: TrainableMembers, tokens: Sequence[Sequence[int]], *, batch_size: int
) -> Float[Tensor, "members sequences"]:
    """Raw scores; sequences of like length share a batch, which saves padding and changes no score."""
    places = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    batches = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
    scores = [members.raw_scores([tokens[place] for place in chosen]) for chosen in batches]
    order = torch.tensor(places).argsort()
    return torch.cat(scores, dim=1)[:, order]


def start_heads(backbone: Backbone, *, members: int, generator: torch.Generator) -> Float[Tensor, "members width"]:
    """Heads as a family's classifiers start: normal, of the deviation that the model's configuration states."""
    deviation = float(getattr(backbone.model.config, "initializer_range", 0.02))
    heads = deviation * torch.randn(members, backbone.width, generator=generator)
    return heads.to(device=backbone.model.device)


def freeze(parameters: Mapping[str, Tensor]) -> None:
    """Ask for no gradients any more."""
    for part in parameters.values():
        part.requires_grad_(False).grad = None


def scaled(
    raw: Float[Tensor, "members sequences"], offsets: Float[Tensor, " members"], temperature: float
) -> Float[Tensor, "members sequences"]:
    """(raw - offset) / temperature. Raises NonFinite for a raw score that is not finite."""
    if not bool(torch.isfinite(raw).all()):
        places = (~torch.isfinite(raw)).any(dim=0).nonzero().flatten().tolist()
        raise NonFinite(f"a score of sequences {places[:5]} is not finite; load the backbone in float32")
    return (raw - offsets[:, None]) / temperature


def check_scale(members: int, offsets: Tensor, temperature: float) -> None:
    """Raise InvalidInput or NonFinite unless there is an offset for each member and a usable temperature."""
    if offsets.shape != (members,) or not (math.isfinite(temperature) and temperature > 0.0):
        raise InvalidInput(
            f"offsets are {tuple(offsets.shape)} for {members} members, and the temperature {temperature}; give one "
            "offset each and a positive finite temperature"
        )
    if not bool(torch.isfinite(offsets).all()):
        raise NonFinite("an offset is not finite; fit the members again")
