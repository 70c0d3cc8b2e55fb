import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.acquisition import Method, preference_spread, select
from reward_models.errors import InvalidInput, NonFinite


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


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    candidates=st.integers(1, 30),
    share=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    method=st.sampled_from(["random", "spread"]),
    data=st.data(),
)
def test_choices_are_distinct_and_the_random_share_is_kept(
    seed: int, candidates: int, share: float, method: Method, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, candidates))
    first, second = scores(seed, candidates)
    chosen = select(first, second, count=count, method=method, random_share=share, generator=generator(seed))
    indices = [item.index for item in chosen]
    assert len(set(indices)) == len(indices) == count
    assert all(0 <= index < candidates for index in indices)
    drawn = sum(item.reason == "random" for item in chosen)
    # -(-a // b) is the ceiling, in whole numbers: shares are multiples of 1/20.
    assert drawn == (count if method == "random" else -(-round(20 * share) * count // 20))


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


def test_neither_share_is_always_judged_first() -> None:
    first, second = scores(1, 20)
    source = generator(3)
    leading = [
        select(first, second, count=10, method="spread", random_share=0.5, generator=source)[0].reason
        for _ in range(40)
    ]
    # One of them never leading would have a chance of 2 in 2^40.
    assert set(leading) == {"random", "spread"}


def test_equal_generators_choose_alike() -> None:
    first, second = scores(2, 20)
    once, again = (
        select(first, second, count=8, method="spread", random_share=0.25, generator=generator(5)) for _ in range(2)
    )
    assert once == again


def test_swapping_the_sides_of_all_candidates_chooses_alike() -> None:
    first, second = scores(3, 20)
    one = select(first, second, count=8, method="spread", random_share=0.25, generator=generator(5))
    other = select(second, first, count=8, method="spread", random_share=0.25, generator=generator(5))
    assert one == other


def test_what_cannot_be_chosen_is_refused() -> None:
    first, second = scores(0, 4)

    def ask(*, count: int = 2, share: float = 0.5, scored: Tensor = first) -> None:
        select(scored, second, count=count, method="spread", random_share=share, generator=generator())

    with pytest.raises(InvalidInput, match="count is 5 with 4 candidates"):
        ask(count=5)
    for share in (0.0, -0.1, 1.1):
        with pytest.raises(InvalidInput, match="random_share"):
            ask(share=share)
    with pytest.raises(NonFinite):
        ask(scored=first * torch.nan)
