"""Does a reward model know what it does not know? One report on judgements that it was not fitted on.

Accuracy hides where a reward model fails, so the report names its worst domain and what a shifted policy does to it;
the spread between members is worth something only if it points at errors better than |p - 1/2| does, so both stand
side by side; and a reward that hardly differs between completions of one prompt teaches a policy nothing, however
accurate it is (Razin et al. 2025, arXiv:2503.15477), so its variance has a figure too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reward_models import calibration
from reward_models.acquisition import preference_spread
from reward_models.errors import InvalidInput, NonFinite
from reward_models.intervals import Groups, PerComparison, share
from reward_models.losses import bradley_terry, weighted_mean


@dataclass(frozen=True)
class AccuracyOn:
    """How often the reward model and the rater prefer the same, on some of the comparisons."""

    name: str
    """Which ones: `all`, `shifted`, `not shifted`, or a domain."""
    comparisons: int
    """How many count."""
    accuracy: float
    """Expected agreement; a tie, on either side, is one half."""
    low: float
    """Of the 95% interval."""
    high: float
    """Of the 95% interval."""


@dataclass(frozen=True)
class HonestyReport:
    """Plain numbers, ready for JSON through `dataclasses.asdict`. None where there is nothing to rank or compare."""

    members: int
    """Members of the ensemble."""
    comparisons: int
    """Judgements that count (weight above 0)."""
    ties: int
    """Those of label 0.5: they count for everything but the two AUROCs."""
    overall: AccuracyOn
    """On all of them."""
    nll: float
    """Mean log loss in nats; log 2 = 0.693 is knowing nothing."""
    brier: float
    """Mean (p - y)^2; 0.25 is knowing nothing, on labels 0 and 1."""
    ece: float
    """Symmetrised expected calibration error, 20 bins."""
    spearman: float | None
    """Rank correlation of spread and |p - y|; the same for the squared error, which has the same ranks."""
    auroc_spread: float | None
    """Chance that a wrong preference has a larger spread than a right one; 0.5 tells nothing."""
    auroc_closeness: float | None
    """The same for -|p - 1/2|: what the mean alone knows about its errors."""
    domains: tuple[AccuracyOn, ...]
    """Each domain, the worst first."""
    worst_domain: str | None
    """The first of them. Being the least of many it looks worse than it is: see its interval and its number."""
    shifted: AccuracyOn | None
    """On pairs of a policy that the reward model was not fitted on."""
    not_shifted: AccuracyOn | None
    """On the other pairs."""


@dataclass(frozen=True)
class RewardVariance:
    """How much a reward differs, by origin; the two population variances sum to that of all rewards."""

    within: float
    """Between completions of one prompt, averaged over completions: the only part that a policy can learn from."""
    between: float
    """Between the means of the prompts: cancels in every advantage."""
    prompts: int
    """Prompts."""
    completions: int
    """Completions."""


def honesty(
    scores_first: Float[Tensor, "members comparisons"],
    scores_second: Float[Tensor, "members comparisons"],
    labels: PerComparison,
    *,
    weights: PerComparison | None = None,
    groups: Groups | None = None,
    domains: Sequence[str] | None = None,
    shifted: Bool[Tensor, " comparisons"] | None = None,
    rater_error: float = 0.0,
) -> HonestyReport:
    """Measure an ensemble by the scores its members give to both sides of held-out judgements.

    The probability that the first is better is that of the members' mean, p = sigmoid(mean_k d_k), softened by the
    rater error as in the loss; the spread is `preference_spread`. `groups` (prompts, topics) widen the intervals to
    what dependent comparisons allow. `domains` names each comparison's domain, `shifted` marks pairs written by a
    policy that was not there when the reward model was fitted. Weights count in all but the three rank measures, from
    which only a weight of 0 excludes.

    Raises InvalidInput for shapes that differ, labels outside [0, 1], or nothing that counts; NonFinite for a number
    that is not finite.
    """
    counts = _checked(scores_first, scores_second, labels, weights, groups, shifted)
    if domains is not None and len(domains) != len(labels):
        raise InvalidInput(f"{len(domains)} domains for {len(labels)} comparisons; name the domain of each")
    kept = counts > 0.0
    first, second = (scores.double()[:, kept] for scores in (scores_first, scores_second))
    y, c = labels.double()[kept], counts[kept]
    difference = (first - second).mean(dim=0)
    p = calibration.probabilities(difference, rater_error=rater_error)
    spread = preference_spread(first, second)
    measured = _Measured(_agreement(difference, y), c, None if groups is None else groups[kept])
    names = None if domains is None else [name for name, counted in zip(domains, kept.tolist(), strict=True) if counted]
    by_domain = () if names is None else _by_domain(measured, names)
    away = None if shifted is None else shifted[kept]
    return HonestyReport(
        members=first.shape[0],
        comparisons=len(y),
        ties=int((y == 0.5).sum()),
        overall=measured.on("all", torch.ones_like(kept[kept])),
        # From the differences: the log of a probability that was rounded to 0 would be infinite.
        nll=float(weighted_mean(bradley_terry(difference, torch.zeros_like(y), y, rater_error=rater_error), c)),
        brier=calibration.brier(p, y, weights=c),
        ece=calibration.ece(p, y, weights=c),
        spearman=calibration.spearman(spread, (p - y).abs()),
        auroc_spread=_auroc(spread, difference, y),
        auroc_closeness=_auroc(-difference.abs(), difference, y),
        domains=by_domain,
        worst_domain=by_domain[0].name if by_domain else None,
        shifted=measured.on("shifted", away) if away is not None and bool(away.any()) else None,
        not_shifted=measured.on("not shifted", ~away) if away is not None and not bool(away.all()) else None,
    )


def reward_variance(rewards: Float[Tensor, " completions"], prompts: Int[Tensor, " completions"]) -> RewardVariance:
    """Split the variance of the rewards of a policy's completions by whether a prompt or a completion makes it.

    `prompts` numbers the prompt of each completion. Raises InvalidInput for shapes that differ or no completion,
    NonFinite for a reward that is not finite.
    """
    if rewards.shape != prompts.shape or rewards.ndim != 1 or len(rewards) == 0:
        raise InvalidInput(
            f"rewards {tuple(rewards.shape)}, prompts {tuple(prompts.shape)}; give one of each, and some"
        )
    if not bool(torch.isfinite(rewards).all()):
        raise NonFinite("a reward is not finite; look at the features it was made of")
    values = rewards.double().cpu()
    _, place, sizes = torch.unique(prompts.cpu(), return_inverse=True, return_counts=True)
    means = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, place, values) / sizes
    return RewardVariance(
        within=float((values - means[place]).square().mean()),
        between=float((means[place] - values.mean()).square().mean()),
        prompts=len(sizes),
        completions=len(values),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    agreement: Tensor
    weights: Tensor
    groups: Tensor | None

    def on(self, name: str, where: Tensor) -> AccuracyOn:
        groups = None if self.groups is None else self.groups[where]
        found = share(self.agreement[where], weights=self.weights[where], groups=groups)
        return AccuracyOn(name=name, comparisons=int(where.sum()), accuracy=found.value, low=found.low, high=found.high)


def _agreement(difference: Tensor, labels: Tensor) -> Tensor:
    """As `calibration.accuracy` for each comparison, from differences: a lead too small for p is still a lead."""
    side = 0.5 + 0.5 * torch.sign(difference)
    return side * labels + (1.0 - side) * (1.0 - labels)


def _by_domain(measured: _Measured, names: Sequence[str]) -> tuple[AccuracyOn, ...]:
    found = [
        measured.on(name, torch.tensor([one == name for one in names], device=measured.agreement.device))
        for name in sorted(set(names))
    ]
    return tuple(sorted(found, key=lambda domain: (domain.accuracy, domain.name)))


def _auroc(doubt: Tensor, difference: Tensor, labels: Tensor) -> float | None:
    """AUROC of a doubt for a wrong preference, where both sides have one: a tie is neither right nor wrong."""
    decided = (labels != 0.5) & (difference != 0.0)
    if not bool(decided.any()):
        return None
    wrong = torch.sign(difference) != torch.sign(labels - 0.5)
    return calibration.auroc(doubt[decided], wrong[decided])


def _checked(
    first: Tensor, second: Tensor, labels: Tensor, weights: Tensor | None, groups: Tensor | None, shifted: Tensor | None
) -> Tensor:
    """The weights (ones for none) in float64."""
    if first.ndim != 2 or first.shape != second.shape or first.shape[0] == 0:
        raise InvalidInput(
            f"scores are {tuple(first.shape)} and {tuple(second.shape)}; give twice (members, comparisons)"
        )
    for name, part in (("labels", labels), ("weights", weights), ("groups", groups), ("shifted", shifted)):
        if part is not None and part.shape != first.shape[1:]:
            raise InvalidInput(f"{name} are {tuple(part.shape)} for {first.shape[1]} comparisons; give one for each")
    counts = torch.ones_like(labels, dtype=torch.float64) if weights is None else weights.double()
    if not all(bool(torch.isfinite(part).all()) for part in (first, second, labels, counts)):
        raise NonFinite("a score, label or weight is not finite; find its origin before measuring")
    if bool(((labels < 0.0) | (labels > 1.0)).any()):
        raise InvalidInput("a label lies outside [0, 1]; 1 means the first is better, 0.5 a tie")
    if bool((counts < 0.0).any()) or float(counts.sum()) <= 0.0:
        raise InvalidInput("weights are negative or sum to 0; give at least one comparison that counts")
    return counts
