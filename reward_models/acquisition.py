"""Which comparison to ask next.

A random share is always drawn, and drawn first, from all candidates: those judgements are an unbiased sample, on which
gain over random is measured rather than believed. The rest is chosen by what the members disagree about:

- `spread`: the deviation between the members' probabilities (Christiano et al. 2017);
- `bald`: the information that the answer carries about which member is right (Houlsby et al. 2011);
- `double_thompson`: for each question two members are drawn, and asked is the candidate on which they differ most of
  those for which they name different winners (after Dwaracherla et al. 2024, where two members drawn each name their
  favourite among many completions; on a list of given pairs that is the pair that best tells the two apart).

With `features`, a batch can be kept diverse; see `reward_models.diversity`.

Choosing can do harm. Linear members disagree most where a feature is extreme, so that heavy-tailed features fill the
batch with outliers, and what is learned there serves typical comparisons badly. `benchmarks/label_savings.py` shows
where choosing gains and where it loses; the random share of a run shows it for one's own data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models import diversity as diverse
from reward_models.errors import InvalidInput, NonFinite

Method = Literal["random", "spread", "bald", "double_thompson"]

SHORTLIST = 8
"""With a diversity term, so many of the highest rated candidates stand for election per question asked,"""
SHORTLIST_AT_LEAST = 2000
"""and so many in all, so that copies of a few questions do not fill the list."""


@dataclass(frozen=True)
class Selected:
    """One candidate that will be asked, and why."""

    index: int
    """Its place among the candidates."""
    reason: Method
    """`random` for the random share, else the rule that chose it."""


def preference_spread(
    scores_first: Float[Tensor, "members candidates"], scores_second: Float[Tensor, "members candidates"]
) -> Float[Tensor, " candidates"]:
    """Standard deviation over members of the probability that the first is better (Christiano et al. 2017).

    Of the probability, not of the score difference: members that agree on the winner and differ in how clear the case
    is have nothing to ask.
    """
    return torch.sigmoid(scores_first - scores_second).std(dim=0, correction=0)


def information_gain(
    scores_first: Float[Tensor, "members candidates"], scores_second: Float[Tensor, "members candidates"]
) -> Float[Tensor, " candidates"]:
    """Mutual information between the answer and the member, in nats: BALD (Houlsby et al. 2011).

    H(mean_k p_k) - mean_k H(p_k), with p_k = sigmoid(r_k,first - r_k,second) and H the entropy of a coin. At most
    log 2, and 0 where all members say the same, however unsure they are.
    """
    difference = scores_first - scores_second
    p, q = torch.sigmoid(difference), torch.sigmoid(-difference)
    of_mean = torch.special.entr(p.mean(dim=0)) + torch.special.entr(q.mean(dim=0))
    of_members = (torch.special.entr(p) + torch.special.entr(q)).mean(dim=0)
    gain: Tensor = of_mean - of_members
    return gain.clamp(min=0.0)  # rounding may leave a little less than nothing


def disagreement(
    one: Float[Tensor, " candidates"], other: Float[Tensor, " candidates"]
) -> Float[Tensor, " candidates"]:
    """|p - q| where the probabilities of two members name different winners; 0 where they agree or one sees a tie."""
    return torch.where((one - 0.5) * (other - 0.5) < 0.0, (one - other).abs(), torch.zeros_like(one))


def select(
    scores_first: Float[Tensor, "members candidates"],
    scores_second: Float[Tensor, "members candidates"],
    *,
    count: int,
    method: Method,
    random_share: float,
    generator: torch.Generator,
    features: Float[Tensor, "candidates width"] | None = None,
    diversity: float = 0.0,
) -> list[Selected]:
    """Choose `count` different candidates, in random order so that neither share is judged first.

    `random` draws all uniformly. The other methods draw ceil(random_share * count) of them uniformly from all
    candidates, and take the rest from what is left by their rating, ties by place. Comparisons chosen so are hard ones:
    accuracy on them says nothing about accuracy on typical ones.

    `diversity` is the exponent of a candidate's novelty beside its rating; 0 means none, 1 weighs both alike. It needs
    `features`, one row for each candidate: what sets its first completion apart from its second, so the features of the
    one less those of the other. The random share counts as chosen already. Only a shortlist of the highest rated stands
    for election, so that a hundred thousand candidates cost little more than their ratings.

    Raises InvalidInput for unequal shapes, a count outside 0..candidates, an unknown method, a random share outside
    (0, 1], a negative diversity or one without features, and `double_thompson` with one member; NonFinite for scores
    or features that are not finite.
    """
    _check_scores(scores_first, scores_second, count=count, method=method)
    _check_options(random_share=random_share, diversity=diversity, features=features, shape=scores_first.shape)
    order = torch.randperm(scores_first.shape[1], generator=generator).tolist()
    # Rounded before the ceiling: 0.07 * 100 is a little more than 7 in binary.
    drawn = count if method == "random" else math.ceil(round(random_share * count, 9))
    chosen = [Selected(index=index, reason="random") for index in order[:drawn]]
    if drawn < count:
        ratings = _ratings(scores_first, scores_second, method, count - drawn, generator)
        rated = _by_rating(ratings, order[:drawn], features=features, diversity=diversity)
        chosen += [Selected(index=index, reason=method) for index in rated]
    return [chosen[place] for place in torch.randperm(count, generator=generator).tolist()]


class _Ratings(NamedTuple):
    """How every candidate is rated, by one rule or by several, and which rule fills which slot of the batch."""

    rows: Float[Tensor, "rows candidates"]
    slots: list[int]


def _ratings(first: Tensor, second: Tensor, method: Method, count: int, generator: torch.Generator) -> _Ratings:
    first, second = first.cpu().double(), second.cpu().double()
    if method != "double_thompson":
        rating = preference_spread if method == "spread" else information_gain
        return _Ratings(rating(first, second)[None], [0] * count)
    # Single precision: twenty members have 190 pairs, and each is a row over all candidates.
    probabilities = torch.sigmoid(first - second).float()
    draws = [tuple(sorted(torch.randperm(len(first), generator=generator)[:2].tolist())) for _ in range(count)]
    number = {pair: row for row, pair in enumerate(sorted(set(draws)))}
    rows = torch.stack([disagreement(probabilities[one], probabilities[other]) for one, other in number])
    return _Ratings(rows, [number[pair] for pair in draws])


def _by_rating(ratings: _Ratings, taken: list[int], *, features: Tensor | None, diversity: float) -> list[int]:
    """The places of the rated candidates that are chosen beside those that are `taken`."""
    rows = ratings.rows.clone()
    rows[:, taken] = -1.0
    shortlist = _shortlist(rows, ratings.slots, left=rows.shape[1] - len(taken), whole=diversity == 0.0)
    if features is None or diversity == 0.0:
        # Directions of no width: everything stays as novel as it was.
        chosen, given = torch.zeros(len(shortlist), 0), torch.zeros(0, 0)
    else:
        chosen, given = (diverse.directions(features.cpu(), places) for places in (shortlist, taken))
    found = diverse.greedy(rows[:, shortlist], ratings.slots, chosen, given, diversity=diversity)
    return [shortlist[place] for place in found]


def _shortlist(rows: Tensor, slots: list[int], *, left: int, whole: bool) -> list[int]:
    """Places among which the slots are filled: for each row its best, and enough of the best on average for all slots.

    The `whole` list holds all that can be chosen where nothing but the rating counts.
    """
    least = 0 if whole else math.ceil(SHORTLIST_AT_LEAST / len(rows))
    sizes = [len(slots) if whole else max(least, SHORTLIST * slots.count(row)) for row in range(len(rows))]
    best = [_top(row, min(size, left)) for row, size in zip(rows, sizes, strict=True)]
    best.append(_top(rows.mean(dim=0), min(len(slots), left)))
    return sorted(set(torch.cat(best).tolist()))


def _top(values: Float[Tensor, " candidates"], count: int) -> Tensor:
    """The places of the `count` largest values, ties by place."""
    threshold = values.topk(count).values[-1]
    above, at = (values > threshold).nonzero()[:, 0], (values == threshold).nonzero()[:, 0]
    return torch.cat([above, at[: count - len(above)]])


def _check_scores(first: Tensor, second: Tensor, *, count: int, method: str) -> None:
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] == 0:
        raise InvalidInput(
            f"scores are {tuple(first.shape)} and {tuple(second.shape)}; expected twice (members, candidates)"
        )
    if not 0 <= count <= first.shape[1]:
        raise InvalidInput(f"count is {count} with {first.shape[1]} candidates; ask for fewer or offer more candidates")
    if method not in get_args(Method):
        raise InvalidInput(f"method is {method!r}; choose one of {', '.join(get_args(Method))}")
    if method == "double_thompson" and first.shape[0] < 2:
        raise InvalidInput("double_thompson draws two different members and the ensemble has one; fit two or more")
    if not (bool(torch.isfinite(first).all()) and bool(torch.isfinite(second).all())):
        raise NonFinite("a score is not finite; refit the ensemble or check its features")


def _check_options(*, random_share: float, diversity: float, features: Tensor | None, shape: Sequence[int]) -> None:
    if not 0.0 < random_share <= 1.0:
        raise InvalidInput(
            f"random_share is {random_share}; give more than 0 and at most 1, some are always drawn at random"
        )
    if not (math.isfinite(diversity) and diversity >= 0.0):
        raise InvalidInput(f"diversity is {diversity}; give a finite number that is at least 0, where 0 means none")
    if diversity > 0.0 and features is None:
        raise InvalidInput(f"diversity is {diversity} without features; give the features that tell candidates apart")
    if features is not None and (features.ndim != 2 or features.shape[0] != shape[1]):
        raise InvalidInput(f"features are {tuple(features.shape)}; expected one row for each of {shape[1]} candidates")
