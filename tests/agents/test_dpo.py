"""DPO against numbers by hand, against its gradient at the reference, and against the posterior, enumerated."""

import math

import pytest
import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.dpo import DPO, Pairs, dpo_loss, given_pairs, implicit_reward, measures, online_pairs
from agents.objectives.reinforce import REINFORCE
from agents.objectives.reward_conditioned import RewardConditioned
from agents.objectives.supervised import Supervised
from agents.policy import Policy
from agents.rollout import sample
from agents.sources import AbstractSource, Comparisons, Demonstrations, GivenPair, generator_of
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, World, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_loss_by_hand() -> None:
    """beta 2; log-ratios log 3 / 2 and 0: h = log 3, sigmoid(h) = 3/4. Label 1: log 4/3; label 0: log 4."""
    rewards = implicit_reward(numbers(math.log(3) / 2 - 1.5, -0.7), numbers(-1.5, -0.7), beta=2.0)
    torch.testing.assert_close(rewards, numbers(math.log(3), 0.0))
    first, second = rewards[:1], rewards[1:]
    assert float(dpo_loss(first, second, numbers(1.0))) == pytest.approx(math.log(4 / 3))
    assert float(dpo_loss(first, second, numbers(0.0))) == pytest.approx(math.log(4))
    assert float(dpo_loss(first, second, numbers(0.25))) == pytest.approx(0.25 * math.log(4 / 3) + 0.75 * math.log(4))
    # A rater who tosses a coin one time in two: (1/2) 3/4 + 1/4 = 5/8.
    assert float(dpo_loss(first, second, numbers(1.0), rater_error=0.5)) == pytest.approx(math.log(8 / 5))


def test_the_mean_is_over_pairs() -> None:
    """h = log 3 and 0 with label 1: (log 4/3 + log 2) / 2."""
    loss = dpo_loss(numbers(math.log(3), 0.4), numbers(0.0, 0.4), numbers(1.0, 1.0))
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


@pytest.mark.parametrize("label", [1.0, 0.5, 0.0, 0.8])
def test_at_the_reference_the_loss_is_log_two_and_the_gradient_is_known(label: float) -> None:
    """h = 0: loss log 2 whatever the label; d loss / d log pi(y1) = -beta (p - 1/2), that of y2 its negative."""
    log_policy = numbers(-1.0, -2.0).requires_grad_()
    rewards = implicit_reward(log_policy, log_policy.detach(), beta=0.3)
    loss = dpo_loss(rewards[:1], rewards[1:], numbers(label))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert log_policy.grad is not None
    torch.testing.assert_close(log_policy.grad, 0.3 * (label - 0.5) * numbers(-1.0, 1.0))


def test_pairs_by_hand() -> None:
    """Two groups of three: 0-1, 0-2, 1-2 and 3-4, 3-5, 4-5; of rewards log 4, log 2, 0 the first wins 4 : 2, 4 : 1."""
    scores = torch.tensor([4.0, 2.0, 1.0, 1.0, 1.0, 3.0]).log()
    pairs = online_pairs(scores, group=3)
    assert pairs.first.tolist() == [0, 0, 1, 3, 3, 4]
    assert pairs.second.tolist() == [1, 2, 2, 4, 5, 5]
    torch.testing.assert_close(pairs.label, torch.tensor([4 / 6, 4 / 5, 2 / 3, 1 / 2, 1 / 4, 1 / 4]))
    neighbours = online_pairs(scores, group=3, which="neighbours")
    assert (neighbours.first.tolist(), neighbours.second.tolist()) == ([0, 3], [1, 4])
    assert online_pairs(scores[:4], group=4, which="neighbours").first.tolist() == [0, 2]
    given = given_pairs(torch.tensor([0.9, 0.2]), group=2)
    assert (given.first.tolist(), given.second.tolist()) == ([0, 2], [1, 3])


def test_measures_by_hand() -> None:
    """Labels 0.9, 0.2, 0.5, 0.7: the second pair is chosen the other way round; leads 1, -2, 0.3, -1 of the first."""
    pairs = Pairs(torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7]), torch.tensor([0.9, 0.2, 0.5, 0.7]))
    rewards = torch.tensor([1.0, 0.0, 0.0, 2.0, 0.3, 0.0, 0.0, 1.0])
    found = measures(rewards, rewards - 3.0, pairs)
    assert found["rewards/chosen"] == pytest.approx((1.0 + 2.0 + 0.3 + 0.0) / 4)
    assert found["rewards/rejected"] == pytest.approx(0.25)
    assert found["rewards/margins"] == pytest.approx((1.0 + 2.0 + 0.3 - 1.0) / 4)
    assert found["rewards/accuracies"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert found["logps/chosen"] == pytest.approx(3.3 / 4 - 3)
    assert found["logps/rejected"] == pytest.approx(-2.75)


def test_unusable_values_are_refused(every_completion: EveryCompletion) -> None:
    for settings in ({"label_smoothing": 1.0}, {"rater_error": -0.1}, {"label_smoothing": float("nan")}):
        with pytest.raises(InvalidInput, match=next(iter(settings))):
            DPO(**settings)
    with pytest.raises(InvalidInput, match="at least 2"):
        online_pairs(torch.ones(3), group=1)
    with pytest.raises(InvalidInput, match="groups of 2"):
        given_pairs(torch.ones(3), group=4)
    small = world(every_completion)
    with pytest.raises(InvalidInput, match="horizon"):
        trained(small, DPO(), stages=((1e-3, 1),), discount=0.0)


def test_what_an_objective_cannot_learn_from_is_refused(every_completion: EveryCompletion) -> None:
    """Pairs and demonstrations carry rewards of 0, from which others would learn to stay at the reference, silently."""
    small = world(every_completion)
    pairs = Comparisons([GivenPair(PROMPT, "w1", "w2", label=1.0)])
    examples = Demonstrations([(PROMPT, "w1")])
    for objective, source in (
        (REINFORCE(), pairs),
        (REINFORCE(), examples),
        (Supervised(), pairs),
        (DPO(), examples),
        (RewardConditioned(), examples),
    ):
        with pytest.raises(InvalidInput, match="learns from rewards"):
            trained(small, objective, source=source, stages=((1e-3, 1),))


def test_smoothing_and_rater_error_are_where_they_belong(every_completion: EveryCompletion) -> None:
    """At h = log 3 (sigmoid 3/4) with label 1 and e = 1/2. Smoothed label 3/4: 3/4 log 4/3 + 1/4 log 4.

    A rater's slips belong to given pairs: log 8/5 there (see above), and nothing online, where a reward labels.
    """
    rewards = numbers(math.log(3), 0.0)
    pair = Pairs(torch.tensor([0]), torch.tensor([1]), numbers(1.0))
    smoothed = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    for given in (True, False):
        assert float(DPO(label_smoothing=0.5).loss(rewards, pair, given=given)) == pytest.approx(smoothed)
    assert float(DPO(rater_error=0.5).loss(rewards, pair, given=True)) == pytest.approx(math.log(8 / 5))
    assert float(DPO(rater_error=0.5).loss(rewards, pair, given=False)) == pytest.approx(math.log(4 / 3))


def test_what_is_logged_at_the_reference_is_what_the_reference_says(every_completion: EveryCompletion) -> None:
    """The first record: loss log 2, implicit rewards 0, and the mean log-probability of the drawn completions."""
    small = world(every_completion)
    learner = Learner(small.reference.copy(), small.reference, learning_rate=1e-4)
    material = small.source(group=8).draw(learner, samples_from="policy", seed=0, step=0)
    record = DPO(pairs="neighbours").update(
        learner, Batch(*material[:2], beta=small.beta), generator_of("update", seed=0, number=0)
    )
    drawn = float(material.rollouts.samples.log_probabilities.sum()) / 8
    assert record.measures["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert record.measures["rewards/chosen"] == pytest.approx(0.0, abs=1e-6)
    both = record.measures["logps/chosen"] + record.measures["logps/rejected"]
    assert both / 2 == pytest.approx(drawn, abs=1e-5)
    assert record.gradient_norm > 1e-3


@pytest.mark.parametrize("pairs", ["all", "neighbours"])
def test_online_it_reaches_the_posterior(every_completion: EveryCompletion, pairs: str) -> None:
    """KL(policy || pi*) from 1.21 nats to below 0.0001, with all pairs and with neighbours, over seeds 0, 1 and 2."""
    small = world(every_completion)
    policy, records = trained(
        small, DPO(pairs="all" if pairs == "all" else "neighbours"), source=small.source(group=16)
    )
    after = small.posterior_gap(policy)
    print(f"posterior gap {small.posterior_gap(small.reference):.3f} before, {after:.6f} after")
    assert small.posterior_gap(small.reference) > 1.0
    assert after < (0.003 if pairs == "all" else 0.02)
    # At the posterior no pair has a gradient left; the first step had one of about 1.
    assert records[-1].gradient_norm < 0.1


def offline(of: World, *, sign: float = 1.0, count: int = 1000, seed: int = 0) -> Comparisons:
    """Completions of the reference that ended, in pairs, labelled with the reward's own Bradley-Terry probability."""
    table = dict(zip(of.completions, of.rewards.tolist(), strict=True))
    draws = sample(
        of.reference,
        [PROMPT],
        group=4 * count,
        max_new_tokens=of.length,
        generator=generator_of("pairs", seed=seed, number=0),
    )
    rows = zip(draws.tokens.tolist(), draws.mask.sum(1).tolist(), strict=True)
    drawn = [tuple(tokens[:size]) for tokens, size in rows]
    known = [one for one in drawn if one in table][: 2 * count]
    assert len(known) == 2 * count
    pairs = []
    for first, second in zip(known[::2], known[1::2], strict=True):
        label = 1 / (1 + math.exp(-sign * (table[first] - table[second])))
        texts = (of.reference.decode(list(first)), of.reference.decode(list(second)))
        pairs.append(GivenPair(PROMPT, *texts, label=label))
    return Comparisons(pairs=pairs, pairs_per_step=64)


def test_offline_it_reaches_the_posterior(every_completion: EveryCompletion) -> None:
    """Of completions that end within three tokens, all that comparisons speak of: both distributions given that.

    Seeds 0, 1, 2 ended at most at 0.0002 nats, from 0.96.
    """
    ended = [one for one in every_completion(3, 3) if one[-1] == 0]
    whole = world(every_completion)
    rewards = torch.linspace(-1, 1, len(ended), dtype=torch.float64)
    small = World(reference=whole.reference, completions=ended, rewards=rewards, beta=whole.beta, length=3)

    def gap(policy: Policy) -> float:
        given_end = torch.log_softmax(small.log_distribution(policy), dim=0)
        return float((given_end.exp() * (given_end - small.log_posterior)).sum())

    policy, _ = trained(small, DPO(), source=offline(small), stages=((3e-3, 50), (3e-4, 20)))
    print(f"gap {gap(small.reference):.3f} before, {gap(policy):.6f} after")
    assert gap(small.reference) > 0.3
    assert gap(policy) < 0.03


class TestOnline(ObjectiveContract):
    def objective(self) -> DPO:
        return DPO()


class TestOnlineNeighbours(ObjectiveContract):
    def objective(self) -> DPO:
        return DPO(pairs="neighbours", label_smoothing=0.1)


class TestOffline(ObjectiveContract):
    def objective(self) -> DPO:
        return DPO(rater_error=0.05)

    def source(self, of: World, *, sign: float = 1.0) -> AbstractSource:
        return offline(of, sign=sign, count=200)
