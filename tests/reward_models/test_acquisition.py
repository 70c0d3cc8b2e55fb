import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.acquisition import Method, disagreement, information_gain, preference_spread, select


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores(seed: int, candidates: int) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, 4, candidates, generator=generator(seed))
    return first, second


def test_preference_spread_is_of_probabilities_and_not_of_scores() -> None:
    # Members that say 10 and 20 agree who wins; members that say -1 and 1 do not: sigmoid(1) - 1/2 = 0.2311.
    first = torch.tensor([[10.0, -1.0], [20.0, 1.0]])
    found = preference_spread(first, torch.zeros(2, 2))
    assert found[0].item() < 1e-4
    assert found[1].item() == pytest.approx(0.23106, abs=1e-5)


def test_spread_asks_what_members_disagree_on() -> None:
    disagreement = torch.tensor([0.0, 3.0, 1.0, 2.0, 0.5])
    first = torch.stack([disagreement, -disagreement])
    chosen = select(first, torch.zeros(2, 5), count=3, method="spread", random_share=0.1, generator=generator())
    by_random = {item.index for item in chosen if item.reason == "random"}
    by_spread = [item.index for item in chosen if item.reason == "spread"]
    # ceil(0.1 * 3) = 1 is random; the two others are the most disputed of the four that are left.
    assert len(by_random) == 1
    assert set(by_spread) == set([index for index in (1, 3, 2, 4, 0) if index not in by_random][:2])


def test_a_share_that_is_not_exact_in_binary_draws_no_more_than_it_says() -> None:
    assert 0.07 * 100 > 7.0
    first, second = scores(0, 120)
    chosen = select(first, second, count=100, method="spread", random_share=0.07, generator=generator())
    assert sum(item.reason == "random" for item in chosen) == 7


def test_the_random_share_is_drawn_from_all_candidates_alike() -> None:
    # The candidate of largest spread belongs to the random share as often as any: 1 of 5 draws, 600 times.
    first = torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0], [-9.0, 0.0, 0.0, 0.0, 0.0]])
    source, hits = generator(7), 0
    for _ in range(600):
        chosen = select(first, torch.zeros(2, 5), count=2, method="spread", random_share=0.5, generator=source)
        hits += any(item.index == 0 and item.reason == "random" for item in chosen)
    # Binomial(600, 1/5): mean 120, deviation 9.8; five deviations either side.
    assert 71 <= hits <= 169


def lead_of(*columns: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Members' probabilities that the first is better, candidate by candidate, as scores of both sides."""
    first = torch.logit(torch.tensor(columns, dtype=torch.float64).T)
    return first, torch.zeros_like(first)


def rated(first: Tensor, second: Tensor, *, count: int, method: Method) -> tuple[set[int], list[int]]:
    """Who was drawn at random, and who by the method, sorted."""
    chosen = select(first, second, count=count, method=method, random_share=1e-6, generator=generator())
    at_random = {item.index for item in chosen if item.reason == "random"}
    return at_random, sorted(item.index for item in chosen if item.reason == method)


def test_information_gain_computed_by_hand() -> None:
    def entropy(p: float) -> float:
        return -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)

    found = information_gain(*lead_of((0.5, 0.5), (0.9, 0.9), (0.4, 0.6), (0.88, 0.999)))
    # Nothing where members agree, unsure or not; else the entropy of the mean less the mean of the entropies.
    assert found[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert found[2].item() == pytest.approx(math.log(2.0) - entropy(0.6))
    assert found[3].item() == pytest.approx(entropy(0.9395) - 0.5 * (entropy(0.88) + entropy(0.999)))
    # Members that are sure of opposite winners leave one bit to be learned.
    sure = information_gain(torch.tensor([[1e4], [-1e4]]), torch.zeros(2, 1))
    assert sure.item() == pytest.approx(math.log(2.0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000))
def test_information_gain_is_the_mutual_information_of_answer_and_member(seed: int) -> None:
    # Written from its definition: sum over members k and answers y of P(k, y) log P(k, y) / (P(k) P(y)).
    first, second = (part.double() for part in scores(seed, 6))
    p = torch.sigmoid(first - second)
    joint = torch.stack([p, 1.0 - p]) / 4.0
    independent = joint.sum(dim=1, keepdim=True) / 4.0
    expected = (joint * (joint / independent).log()).sum(dim=(0, 1))
    torch.testing.assert_close(information_gain(first, second), expected)


def test_spread_and_bald_differ_on_members_that_are_sure() -> None:
    # Deviations 0.1 and 0.0595; information 0.020 and 0.041 nats. Three clear cases wait for the random draw.
    first, second = lead_of((0.4, 0.6), (0.88, 0.999), (0.9, 0.9), (0.8, 0.8), (0.7, 0.7))
    for method, wanted in (("spread", 0), ("bald", 1)):
        at_random, found = rated(first, second, count=2, method=method)
        assert not at_random & {0, 1}, "the seed draws a clear case"
        assert found == [wanted]


def test_disagreement_needs_two_winners() -> None:
    one, other = torch.tensor([0.9, 0.6, 0.5, 0.99]), torch.tensor([0.2, 0.4, 0.1, 0.51])
    # The third has one member without a winner, the last two members with the same one.
    assert disagreement(one, other).tolist() == pytest.approx([0.7, 0.2, 0.0, 0.0])


def test_double_thompson_of_two_members_asks_by_their_disagreement() -> None:
    # Differences 0.2, 0.48 (one winner), 0.3, 0.1, none: after the disputed ones come the others by place.
    first, second = lead_of((0.4, 0.6), (0.51, 0.99), (0.35, 0.65), (0.55, 0.45), (0.7, 0.7))
    order = [2, 0, 3, 1, 4]
    for count in range(2, 6):
        at_random, found = rated(first, second, count=count, method="double_thompson")
        assert found == sorted([index for index in order if index not in at_random][: count - 1])
    # Spread asks for the second candidate first.
    at_random, found = rated(first, second, count=2, method="spread")
    assert found == [1] or at_random == {1}


def test_double_thompson_draws_every_pair_of_members_alike() -> None:
    # Three members; candidates 0, 1 and 2 are disputed by one pair each, the thirty others by none. Of two questions
    # one is drawn at random, the other belongs to the pair drawn: each has a chance of 1/3 if it was not drawn before.
    lead = torch.ones(3, 33)
    lead[0, 0] = lead[1, 1] = lead[2, 2] = 0.0
    lead[1, 0] = lead[2, 1] = lead[0, 2] = -1.0
    source, hits = generator(11), torch.zeros(33)
    for _ in range(600):
        for item in select(
            lead, torch.zeros(3, 33), count=2, method="double_thompson", random_share=0.5, generator=source
        ):
            hits[item.index] += item.reason == "double_thompson"
    # Member 1 alone says -1 of candidate 0, where member 0 is undecided: the pair (1, 2) disputes it, and so on.
    # Binomial(600, 1/3 * 32/33): mean 194, deviation 11.5; five deviations either side.
    assert bool(((hits[:3] > 136) & (hits[:3] < 252)).all())
