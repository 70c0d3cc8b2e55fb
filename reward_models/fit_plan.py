"""All that is random about a fit by gradient descent, drawn before its first step.

What is held out, which comparisons each member sees how often, and the order of each pass: drawn at once from the
caller's generator, so that a fit which was interrupted can draw the same again and go on.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reward_models.errors import InvalidInput
from reward_models.pairs import PairSource


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """How members are fitted. Raises InvalidInput for a setting out of range."""

    epochs: int = 3
    """Passes over the training comparisons, at most."""
    batch_size: int = 16
    """Comparisons a step."""
    learning_rate: float = 1e-3
    """Of the first step; it falls linearly to 0 over all epochs."""
    weight_decay: float = 0.0
    """AdamW's, per step and unit of the learning rate."""
    bootstrap: bool = True
    """Whether each member sees its own resample of the comparisons."""
    rater_error: float = 0.0
    """Assumed share of answers given by a coin; 0.1 is Christiano et al. 2017."""
    centring: float = 0.01
    """Weight of the penalty on the sum of the scores of a comparison, which ties down the constant of each prompt."""
    held_out_share: float = 0.1
    """Share of the groups that only decides when to stop and the temperature; 0 for neither."""
    patience: int = 2
    """Passes without a better held-out loss after which the fit stops."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        least = min(self.epochs, self.batch_size, self.patience, self.checkpoint_every)
        if least < 1 or not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise InvalidInput(
                f"epochs is {self.epochs}, batch_size {self.batch_size}, patience {self.patience}, checkpoint_every "
                f"{self.checkpoint_every}, learning_rate {self.learning_rate}; give positive numbers"
            )
        if not all(math.isfinite(value) and value >= 0.0 for value in (self.weight_decay, self.centring)):
            raise InvalidInput(f"weight_decay is {self.weight_decay}, centring {self.centring}; give numbers >= 0")
        if not (0.0 <= self.rater_error < 1.0 and 0.0 <= self.held_out_share < 1.0):
            raise InvalidInput(
                f"rater_error is {self.rater_error}, held_out_share {self.held_out_share}; give shares of at least 0 "
                "and below 1"
            )


@dataclass(frozen=True, eq=False)
class FitPlan:
    """What is held out, the bootstraps, and the order of each pass."""

    train: Int[Tensor, " training"]
    """The comparisons that train the members."""
    held_out: Int[Tensor, " held_out"]
    """Those that do not: whole groups."""
    counts: Float[Tensor, "members training"]
    """What a training comparison weighs for a member: its judgements times its draws, 1 on average."""
    order_seeds: tuple[int, ...]
    """Of the order of each pass."""
    fingerprint: str
    """Of settings, answers and random numbers, by which a checkpoint of another fit is known."""

    def order(self, epoch: int) -> list[int]:
        """Places in `train` in the order of a pass, a function of the pass alone."""
        generator = torch.Generator().manual_seed(self.order_seeds[epoch])
        return [int(place) for place in torch.randperm(len(self.train), generator=generator)]


def make_plan(members: int, pairs: PairSource, *, settings: GradientSettings, generator: torch.Generator) -> FitPlan:
    """Draw the plan of a fit. A comparison of weight 0 is in neither part.

    Raises InvalidInput if fewer than two comparisons are left to train on.
    """
    fingerprint = _fingerprint(members, pairs, settings, generator)
    counted = (pairs.weights > 0.0).nonzero().flatten().cpu()
    groups = torch.arange(len(pairs)) if pairs.groups is None else pairs.groups.cpu()
    unseen = _held_out(groups[counted], settings.held_out_share, generator)
    train = counted[~unseen]
    if len(train) < 2:
        raise InvalidInput(
            f"{len(counted)} comparisons count and {len(train)} of them are left to train on; give at least two beside "
            "the groups that are held out"
        )
    weights = pairs.weights[train].cpu().double().expand(members, -1)
    if settings.bootstrap:
        draws = torch.randint(len(train), (members, len(train)), generator=generator)
        counts = torch.zeros(members, len(train), dtype=torch.float64)
        weights = weights * counts.scatter_add_(1, draws, torch.ones_like(counts))
    seeds = torch.randint(2**62, (settings.epochs,), generator=generator).tolist()
    return FitPlan(
        train=train,
        held_out=counted[unseen],
        counts=weights / weights.mean(dim=1, keepdim=True),
        order_seeds=tuple(int(seed) for seed in seeds),
        fingerprint=fingerprint,
    )


def _held_out(groups: Int[Tensor, " counted"], share: float, generator: torch.Generator) -> Tensor:
    """Which comparisons are held out: a share of the groups, at least one if there is any share."""
    names, number = groups.unique(return_inverse=True)
    wanted = max(1, round(share * len(names))) if share > 0.0 else 0
    drawn = torch.randperm(len(names), generator=generator)[:wanted]
    return torch.isin(number, drawn)


def _fingerprint(members: int, pairs: PairSource, settings: GradientSettings, generator: torch.Generator) -> str:
    found = hashlib.sha256(json.dumps([asdict(settings), members, len(pairs)], sort_keys=True).encode())
    for part in (generator.get_state(), pairs.labels, pairs.weights, pairs.margins, pairs.groups):
        found.update(b"none" if part is None else part.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
