"""What every way to choose questions must keep, with and without a diversity term."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.acquisition import Method, Selected, select
from reward_models.errors import InvalidInput, NonFinite

METHODS: list[Method] = ["random", "spread", "bald", "double_thompson"]
CHOOSING = METHODS[1:]
every = pytest.mark.parametrize("diversity", [0.0, 1.0, 4.0])
methods = pytest.mark.parametrize("method", METHODS)
choosing = pytest.mark.parametrize("method", CHOOSING)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores(seed: int, candidates: int, *, members: int = 4) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, members, candidates, generator=generator(seed))
    return first, second


def features(seed: int, candidates: int, *, width: int = 3) -> Tensor:
    return torch.randn(candidates, width, generator=generator(1000 + seed))


def choose(
    seed: int, candidates: int, *, count: int, method: Method, share: float = 0.25, diversity: float = 0.0
) -> list[Selected]:
    return select(
        *scores(seed, candidates),
        count=count,
        method=method,
        random_share=share,
        generator=generator(seed),
        features=features(seed, candidates),
        diversity=diversity,
    )


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1000),
    candidates=st.integers(1, 40),
    share=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    method=st.sampled_from(METHODS),
    diversity=st.sampled_from([0.0, 1.0, 4.0]),
    data=st.data(),
)
def test_choices_are_as_many_as_asked_distinct_and_the_random_share_is_among_them(
    seed: int, candidates: int, share: float, method: Method, diversity: float, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, candidates))
    chosen = choose(seed, candidates, count=count, method=method, share=share, diversity=diversity)
    indices = [item.index for item in chosen]
    assert len(set(indices)) == len(indices) == count
    assert all(0 <= index < candidates for index in indices)
    drawn = [item for item in chosen if item.reason == "random"]
    # -(-a // b) is the ceiling, in whole numbers: shares are multiples of 1/20.
    assert len(drawn) == (count if method == "random" else -(-round(20 * share) * count // 20))
    assert {item.reason for item in chosen} <= {"random", method}


@methods
@every
def test_equal_generators_choose_alike_and_others_differ(method: Method, diversity: float) -> None:
    once, again = (choose(1, 60, count=20, method=method, diversity=diversity) for _ in range(2))
    assert once == again
    other = select(
        *scores(1, 60),
        count=20,
        method=method,
        random_share=0.25,
        generator=generator(99),
        features=features(1, 60),
        diversity=diversity,
    )
    assert once != other


@methods
def test_features_without_diversity_change_nothing(method: Method) -> None:
    plain = select(*scores(2, 50), count=15, method=method, random_share=0.2, generator=generator(2))
    assert choose(2, 50, count=15, method=method, share=0.2) == plain


def test_random_looks_at_no_score() -> None:
    indices = [
        [item.index for item in select(*scored, count=9, method="random", random_share=0.1, generator=generator(2))]
        for scored in (scores(2, 30), scores(3, 30), (torch.zeros(1, 30), torch.zeros(1, 30)))
    ]
    assert indices[0] == indices[1] == indices[2]


@choosing
@every
def test_the_random_share_is_uniform_over_all_candidates(method: Method, diversity: float) -> None:
    # 10 candidates, 2 drawn at random of 4, 300 times: each is drawn Binomial(300, 1/5), mean 60, deviation 6.9.
    first, second = scores(3, 10)
    source, hits = generator(3), torch.zeros(10)
    for _ in range(300):
        for item in select(
            first,
            second,
            count=4,
            method=method,
            random_share=0.5,
            generator=source,
            features=features(3, 10),
            diversity=diversity,
        ):
            hits[item.index] += item.reason == "random"
    # Five deviations either side; all ten stay inside but for one chance in 100,000.
    assert bool(((hits > 25) & (hits < 95)).all())


@choosing
@every
def test_the_random_share_does_not_depend_on_the_method(method: Method, diversity: float) -> None:
    def drawn(chosen: list[Selected]) -> set[int]:
        return {item.index for item in chosen if item.reason == "random"}

    by_method = choose(4, 50, count=20, method=method, diversity=diversity)
    assert drawn(by_method) == drawn(choose(4, 50, count=20, method="spread"))


@choosing
@every
def test_neither_share_is_always_judged_first(method: Method, diversity: float) -> None:
    first, second = scores(5, 20)
    source = generator(5)
    leading = {
        select(
            first,
            second,
            count=10,
            method=method,
            random_share=0.5,
            generator=source,
            features=features(5, 20),
            diversity=diversity,
        )[0].reason
        for _ in range(40)
    }
    # One of them never leading would have a chance of 2 in 2^40.
    assert leading == {"random", method}


@methods
@every
def test_swapping_the_sides_of_all_candidates_chooses_alike(method: Method, diversity: float) -> None:
    first, second = scores(6, 40)
    one, other = (
        select(
            *sides,
            count=15,
            method=method,
            random_share=0.2,
            generator=generator(6),
            features=sign * features(6, 40),
            diversity=diversity,
        )
        for sides, sign in (((first, second), 1.0), ((second, first), -1.0))
    )
    assert one == other


@choosing
def test_where_members_agree_candidates_are_taken_by_place(method: Method) -> None:
    # All ratings are 0: what is not drawn at random is the first places that are left.
    agreed = torch.ones(3, 12)
    chosen = select(agreed, torch.zeros(3, 12), count=8, method=method, random_share=0.25, generator=generator(7))
    at_random = {item.index for item in chosen if item.reason == "random"}
    rated = sorted(item.index for item in chosen if item.reason == method)
    assert rated == [index for index in range(12) if index not in at_random][:6]


@choosing
def test_what_members_dispute_is_asked_before_what_they_agree_on(method: Method) -> None:
    # Ten disputed candidates among two hundred clear ones; 3 of 12 are drawn at random.
    disputed = set(range(0, 200, 20))
    lead = torch.full((4, 200), 2.0)
    for index in disputed:
        lead[:, index] = torch.tensor([2.0, 2.0, -2.0, -2.0])
    # A drawn pair of members may agree on all, so double Thompson asks after some of the disputed ones only.
    chosen = select(lead, torch.zeros(4, 200), count=12, method=method, random_share=0.25, generator=generator(8))
    rated = {item.index for item in chosen if item.reason == method}
    assert len(rated & disputed) >= (9 if method != "double_thompson" else 4)


@choosing
@every
def test_all_candidates_can_be_asked(method: Method, diversity: float) -> None:
    chosen = choose(9, 30, count=30, method=method, diversity=diversity)
    assert sorted(item.index for item in chosen) == list(range(30))


@methods
def test_no_question_is_an_answer_too(method: Method) -> None:
    assert choose(0, 5, count=0, method=method, diversity=1.0) == []
    assert select(*scores(0, 0), count=0, method=method, random_share=0.5, generator=generator()) == []


@choosing
@every
def test_double_precision_scores_and_features_serve_as_well(method: Method, diversity: float) -> None:
    first, second = scores(10, 50)
    chosen = select(
        first.double(),
        second.double(),
        count=20,
        method=method,
        random_share=0.25,
        generator=generator(10),
        features=features(10, 50).double(),
        diversity=diversity,
    )
    assert chosen == choose(10, 50, count=20, method=method, diversity=diversity)


@methods
def test_what_cannot_be_chosen_is_refused(method: Method) -> None:
    first, second = scores(0, 4)

    def ask(
        *,
        count: int = 2,
        share: float = 0.5,
        scored: Tensor = first,
        told: Tensor | None = None,
        diversity: float = 0.0,
    ) -> None:
        select(
            scored,
            second,
            count=count,
            method=method,
            random_share=share,
            generator=generator(),
            features=told,
            diversity=diversity,
        )

    with pytest.raises(InvalidInput, match="count is 5 with 4 candidates"):
        ask(count=5)
    with pytest.raises(InvalidInput, match="count is -1"):
        ask(count=-1)
    for share in (0.0, -0.1, 1.1):
        with pytest.raises(InvalidInput, match="random_share"):
            ask(share=share)
    with pytest.raises(NonFinite, match="score"):
        ask(scored=first * torch.nan)
    with pytest.raises(InvalidInput, match="without features"):
        ask(diversity=1.0)
    for wrong in (-1.0, torch.inf, torch.nan):
        with pytest.raises(InvalidInput, match="diversity is"):
            ask(told=torch.ones(4, 2), diversity=wrong)


@choosing
def test_a_feature_that_is_not_finite_is_refused(method: Method) -> None:
    broken = torch.ones(4, 2)
    broken[1, 1] = torch.nan
    with pytest.raises(NonFinite, match="feature"):
        select(
            *scores(0, 4),
            count=3,
            method=method,
            random_share=0.1,
            generator=generator(),
            features=broken,
            diversity=1.0,
        )


def test_two_members_cannot_be_drawn_from_one() -> None:
    with pytest.raises(InvalidInput, match="two different members"):
        select(
            torch.zeros(1, 3),
            torch.zeros(1, 3),
            count=2,
            method="double_thompson",
            random_share=0.5,
            generator=generator(),
        )
