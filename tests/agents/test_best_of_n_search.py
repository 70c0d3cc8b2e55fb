"""Best-of-n against its exact distribution in an enumerable world, its certificate, and draws with given beginnings."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.policy import Policy
from agents.rollout import Rollouts, rollout, sample
from agents.search.best_of_n import BestOfN
from agents.search.continuations import Continuations
from agents.search.search import Found, scores_of
from reward_models.errors import InvalidInput, NonFinite
from tests.agents.enumerable import PROMPT, World, world
from tests.agents.objective_contract import EveryCompletion

PROMPTS = ["w2 w1", "w1", "w2 w2 w1"]


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_length(rollouts: Rollouts) -> Tensor:
    """Ties abound: the number of tokens."""
    return rollouts.samples.mask.sum(dim=1).float()


def exact_distribution(of: World, rewards: Tensor, n: int) -> Tensor:
    """S(y) = sum over how many of n draws are better, as good, worse: only those without a better one, by counting.

    With w = P(reward worse) and e = P(as good): sum_{m >= 1} C(n, m) e^m w^(n - m) is the chance that the best is as
    good as y, and of these m the chosen one is y with the policy's proportion pi(y) / e.
    """
    probability = of.log_distribution(of.reference).exp()
    chances = []
    for place, reward in enumerate(rewards):
        worse, equal = float(probability[rewards < reward].sum()), float(probability[rewards == reward].sum())
        best = sum(math.comb(n, m) * equal**m * worse ** (n - m) for m in range(1, n + 1))
        chances.append(best * float(probability[place]) / equal)
    return torch.tensor(chances, dtype=torch.float64)


def counts(of: World, found: Found) -> Tensor:
    drawn = Counter(found.tokens)
    assert set(drawn) <= set(of.completions)
    return torch.tensor([drawn[one] for one in of.completions], dtype=torch.float64)


@pytest.mark.parametrize(("n", "tied"), [(1, False), (3, False), (4, True), (8, True)])
def test_what_is_chosen_has_the_exact_distribution(every_completion: EveryCompletion, n: int, tied: bool) -> None:
    """7 completions, 1,000 choices, chi-square of 6 degrees of freedom: above 22.5 once in 1,000 seeds."""
    small = world(every_completion)
    lengths = torch.tensor([float(len(one)) for one in small.completions], dtype=torch.float64)
    exact = exact_distribution(small, lengths if tied else small.rewards, n)
    assert float(exact.sum()) == pytest.approx(1.0)
    choices = 1000
    found = BestOfN(n=n, max_new_tokens=small.length).choose(
        small.reference, [PROMPT] * choices, by_length if tied else small.reward, noise(n), reference=small.reference
    )
    expected = exact * choices
    possible = expected > 1e-6
    chosen = counts(small, found)
    assert float(chosen[~possible].sum()) == 0.0
    assert float(((chosen - expected)[possible].square() / expected[possible]).sum()) < 22.5


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_the_certificate_holds_for_the_exact_distribution(every_completion: EveryCompletion, n: int) -> None:
    small = world(every_completion)
    certificate = BestOfN(n=n).certificate
    log_policy = small.log_distribution(small.reference)
    lengths = torch.tensor([float(len(one)) for one in small.completions], dtype=torch.float64)
    for rewards in (small.rewards, -small.rewards, lengths):
        chosen = exact_distribution(small, rewards, n)
        assert float((chosen / log_policy.exp()).max()) <= certificate.ratio * (1 + 1e-9)
        kl = float(torch.where(chosen > 0, chosen * (chosen.log() - log_policy), torch.zeros(())).sum())
        assert kl <= certificate.kl + 1e-9
    assert certificate.kl <= math.log(certificate.ratio)
    assert BestOfN(n=1).certificate.kl == 0.0


def test_the_best_is_taken_and_all_are_shown(make_policy: Callable[..., Policy]) -> None:
    """The candidates are the draws of the same generator, and the chosen one is the first of their best."""
    policy = make_policy(3)
    found = BestOfN(n=4, max_new_tokens=5).choose(policy, PROMPTS, by_length, noise(1), reference=policy)
    drawn = sample(policy, PROMPTS, group=4, max_new_tokens=5, generator=noise(1))
    lengths = drawn.mask.sum(dim=1).view(3, 4)
    assert torch.equal(found.candidate_rewards, lengths.float())
    for number in range(3):
        row = number * 4 + lengths[number].tolist().index(int(lengths[number].max()))
        assert found.completions[number] == drawn.completions[row]
        assert list(found.tokens[number]) == drawn.tokens[row][drawn.mask[row]].tolist()
    assert torch.equal(found.rewards, lengths.max(dim=1).values.float())
    assert found.prompts == tuple(PROMPTS)


def test_prompts_may_go_through_in_parts(make_policy: Callable[..., Policy]) -> None:
    """100 draws of each of three prompts are more than go through at once; they stay with their prompts."""
    policy = make_policy(3)
    found = BestOfN(n=100, max_new_tokens=4).choose(policy, PROMPTS, by_length, noise(1), reference=policy)
    assert found.prompts == tuple(PROMPTS) and found.candidate_rewards.shape == (3, 100)
    assert torch.equal(found.candidate_rewards.max(dim=1).values, found.rewards)
    assert [len(tokens) for tokens in found.tokens] == found.rewards.tolist()


def test_rewards_of_tokens_are_added_up(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(3)
    drawn = rollout(policy, policy, PROMPTS, group=2, max_new_tokens=4, generator=noise(0))
    found = scores_of(lambda rollouts: torch.full(rollouts.samples.mask.shape, 0.5), drawn)
    assert torch.equal(found, drawn.samples.mask.sum(dim=1).view(3, 2) * 0.5)


def test_the_reward_reads_what_the_reference_read(make_policy: Callable[..., Policy]) -> None:
    """A reward model on hidden states is given those of the reference, not of the policy that is searched with."""
    policy, reference = make_policy(3), make_policy(4)
    seen: list[Rollouts] = []

    def reward(rollouts: Rollouts) -> Tensor:
        seen.append(rollouts)
        return rollouts.reference.hidden[:, 0, 0]

    BestOfN(n=3, max_new_tokens=4).choose(policy, PROMPTS, reward, noise(0), reference=reference)
    row = torch.tensor([[*reference.encode_prompt(PROMPTS[0]), int(seen[0].samples.tokens[0, 0])]])
    with torch.no_grad():
        plain = reference.model.model(input_ids=row).last_hidden_state[0, -1]
    torch.testing.assert_close(seen[0].reference.hidden[0, 0], plain, atol=1e-5, rtol=1e-5)


def test_unusable_values_are_refused(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(InvalidInput, match="n must be"):
        BestOfN(n=0)
    with pytest.raises(InvalidInput, match="max_new_tokens must be"):
        BestOfN(max_new_tokens=0)
    policy = make_policy(3)
    with pytest.raises(InvalidInput, match="at least one prompt"):
        BestOfN().choose(policy, [], by_length, noise(0), reference=policy)
    with pytest.raises(NonFinite):
        BestOfN(n=2, max_new_tokens=2).choose(
            policy, PROMPTS, lambda rollouts: by_length(rollouts) * math.nan, noise(0), reference=policy
        )


def test_a_beginning_is_kept_and_the_rest_is_the_policys(every_completion: EveryCompletion) -> None:
    """Behind w2 the second token has the policy's own probabilities; 3,000 draws, three standard errors."""
    small = world(every_completion)
    exact = dict(zip(small.completions, small.log_distribution(small.reference).exp().tolist(), strict=True))
    draws = 3000
    continuations = Continuations(small.reference, [PROMPT], reference=small.reference, max_new_tokens=2)
    drawn = continuations.draw([[(2,)] * draws], noise(0)).samples
    assert set(drawn.tokens[:, 0].tolist()) == {2}
    with_it = {one: chance for one, chance in exact.items() if one[0] == 2}
    first = sum(with_it.values())
    for one, chance in with_it.items():
        share = float((drawn.tokens[:, 1] == one[1]).float().mean())
        expected = chance / first
        assert share == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / draws))
    assert float(drawn.log_probabilities[0, 0]) == pytest.approx(math.log(first), abs=1e-5)


def test_beginnings_of_different_lengths_stand_side_by_side(make_policy: Callable[..., Policy]) -> None:
    """None, part of one, one that ended: what is drawn behind an empty one is what would be drawn without any."""
    policy = make_policy(3)
    continuations = Continuations(policy, PROMPTS[:2], reference=policy, max_new_tokens=4)
    beginnings = [[(), (3, 5)], [(4, 0), (1, 2, 3, 4)]]
    drawn = continuations.draw(beginnings, noise(2)).samples
    plain = sample(policy, PROMPTS[:2], group=2, max_new_tokens=4, generator=noise(2))
    assert drawn.tokens[0].tolist()[: int(drawn.mask[0].sum())] == plain.tokens[0].tolist()[: int(plain.mask[0].sum())]
    assert drawn.tokens[1, :2].tolist() == [3, 5]
    assert drawn.tokens[2][drawn.mask[2]].tolist() == [4, 0]
    assert drawn.tokens[3].tolist() == [1, 2, 3, 4]
    # The same again from the same continuations: nothing of a draw stays behind.
    again = continuations.draw(beginnings, noise(2)).samples
    assert torch.equal(again.tokens, drawn.tokens)
    assert torch.equal(again.log_probabilities, drawn.log_probabilities)
