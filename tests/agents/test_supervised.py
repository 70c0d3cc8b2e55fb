"""Likelihood of given and of the best completions: the loss by hand, its contract, and where it ends, enumerated."""

import math

import pytest
import torch
from scipy.special import betainc
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.supervised import Supervised, by_reward, likelihood_loss
from agents.policy import Policy
from agents.returns import at_the_end
from agents.sources import Demonstrations
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, World, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract


class TestSupervised(ObjectiveContract):
    def objective(self) -> Supervised:
        return Supervised(top=32)


@pytest.fixture
def small(every_completion: EveryCompletion) -> World:
    return world(every_completion)


def log_chosen(log_probability: Tensor, rewards: Tensor, *, group: int, ranks: range) -> Tensor:
    """Log-distribution of a completion picked at random from those ranks (0 the worst) of `group` draws.

    A draw of the base stands at a quantile u, uniform in [F-(y), F(y)], and rank j of `group` uniform numbers is
    Beta(j + 1, group - j): the mass of y is the mean over the ranks of the difference of that distribution function.
    """
    probability = log_probability.exp()
    below = torch.stack([probability[rewards < one].sum() for one in rewards]).clamp(0, 1)
    with_ties = torch.stack([probability[rewards <= one].sum() for one in rewards]).clamp(0, 1)
    share = probability / (with_ties - below)
    mass = [
        betainc(rank + 1, group - rank, with_ties.numpy()) - betainc(rank + 1, group - rank, below.numpy())
        for rank in ranks
    ]
    found = share * torch.tensor(sum(mass)) / len(ranks)
    assert float(found.sum()) == pytest.approx(1.0)
    return found.clamp(min=1e-300).log()


def divergence(log_p: Tensor, log_q: Tensor) -> float:
    """KL(p || q) in nats."""
    return float((log_p.exp() * (log_p - log_q)).sum())


def test_the_enumeration_is_that_of_all_draws() -> None:
    """Three completions, two of equal reward, three draws: every triple of draws, written out."""
    probability, rewards = [0.5, 0.2, 0.3], [1.0, 0.0, 1.0]
    best = [0.0, 0.0, 0.0]
    for a in range(3):
        for b in range(3):
            for c in range(3):
                winners = [one for one in (a, b, c) if rewards[one] == max(rewards[a], rewards[b], rewards[c])]
                for one in winners:
                    best[one] += probability[a] * probability[b] * probability[c] / len(winners)
    table = torch.tensor(probability, dtype=torch.float64).log(), torch.tensor(rewards, dtype=torch.float64)
    assert log_chosen(*table, group=3, ranks=range(2, 3)).exp().tolist() == pytest.approx(best)
    # The worst is best of three only where all three are: 0.2^3. And all ranks together are the base.
    assert best[1] == pytest.approx(0.008)
    assert log_chosen(*table, group=3, ranks=range(3)).exp().tolist() == pytest.approx(probability)


def test_the_loss_by_hand() -> None:
    """-( (-1 - 2) + (-3) ) / 2 = 3, and 0.5 times the KL (0.2 + 0.4 + 0.6) / 2 = 0.6; padding does not count."""
    mask = torch.tensor([[True, True], [True, False]])
    log_probabilities = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]])
    kl = torch.tensor([[0.2, 0.4], [0.6, 9.0]])
    assert float(likelihood_loss(log_probabilities, kl, mask, beta=0.0)) == pytest.approx(3.0)
    assert float(likelihood_loss(log_probabilities, kl, mask, beta=0.5)) == pytest.approx(3.0 + 0.3)


def drawn(of: World, *, group: int, prompts: int) -> tuple[Learner, Batch]:
    learner = Learner(of.reference.copy(), of.reference, learning_rate=1e-2)
    material = of.source(group=group, prompts_per_step=prompts).draw(learner, samples_from="reference", seed=1, step=0)
    return learner, Batch(*material[:2], beta=0.0)


def test_the_best_of_each_prompt_are_kept(small: World) -> None:
    learner, batch = drawn(small, group=4, prompts=3)
    scores = torch.tensor([0.0, 3.0, 1.0, 2.0, 5.0, 5.0, -1.0, 5.0, -2.0, -3.0, -4.0, -5.0])
    batch = Batch(batch.rollouts, at_the_end(scores, batch.mask), beta=0.0)
    assert by_reward(batch).tolist() == [[0, 2, 3, 1], [6, 4, 5, 7], [11, 10, 9, 8]]
    record = Supervised(top=2).update(learner, batch, torch.Generator())
    assert record.measures["reward_kept"] == pytest.approx((3 + 2 + 5 + 5 - 2 - 3) / 6)
    # The learner began at the reference, so that what it said of the kept ones is what the reference says.
    said = batch.rollouts.reference.log_probabilities.sum(1)[[1, 3, 5, 7, 8, 9]]
    assert record.measures["log_likelihood"] == pytest.approx(float(said.mean()), abs=1e-5)
    assert record.measures["kl_at_kept"] == pytest.approx(0.0, abs=1e-5)


def test_what_cannot_be_kept_is_refused(small: World) -> None:
    learner, batch = drawn(small, group=4, prompts=1)
    with pytest.raises(InvalidInput, match="best 5 of 4"):
        Supervised(top=5).update(learner, batch, torch.Generator())
    with pytest.raises(InvalidInput, match="top"):
        Supervised(top=0)
    with pytest.raises(InvalidInput, match="discount"):
        Supervised().update(learner, Batch(batch.rollouts, batch.rewards, beta=0.0, discount=0.0), torch.Generator())


@pytest.mark.parametrize("top", [1, 2])
def test_it_ends_at_the_best_of_the_group(small: World, top: int) -> None:
    """Seeds 0, 1, 2 ended at 0.0035, 0.0030 and 0.0007 nats with top 1, and at 0.0010, 0.0009 and 0.0010 with top 2."""
    base = small.log_distribution(small.reference)
    target = log_chosen(base, small.rewards, group=8, ranks=range(8 - top, 8))
    policy, records = trained(
        small,
        Supervised(top=top),
        stages=((1e-2, 60), (1e-3, 30)),
        source=small.source(group=8, prompts_per_step=64),
        beta=0.0,
    )
    found = small.log_distribution(policy)
    before, after = divergence(target, base), divergence(target, found)
    print(f"KL(best {top} of 8 || policy): {before:.3f} nats before, {after:.5f} after")
    assert before > 0.5
    assert after < 0.02
    # d <= (G / k) pi_0, so neither is farther from the base than log(G / k) nats.
    assert before <= math.log(8 / top)
    assert divergence(found, base) < math.log(8 / top) + 0.05
    # The reward of what was kept is that of the distribution it comes from.
    kept = sum(record.measures["reward_kept"] for record in records) / len(records)
    assert kept == pytest.approx(float((target.exp() * small.rewards).sum()), abs=0.05)


SHARES = {"": 6, "w1": 3, "w1 w2": 2, "w2 w2": 5}
"""Demonstrations and how often each is given."""


def test_demonstrations_are_imitated(every_completion: EveryCompletion) -> None:
    """Every step sees all examples, so nothing here is drawn: it ends at 0.00005 nats."""
    small = world(every_completion, length=3)
    words = {"": (0,), "w1": (1, 0), "w1 w2": (1, 2, 0), "w2 w2": (2, 2, 0)}
    given = torch.tensor([SHARES[text] / 16 for text in words], dtype=torch.float64)
    places = [small.completions.index(tokens) for tokens in words.values()]
    examples = [(PROMPT, text) for text, count in SHARES.items() for _ in range(count)]
    policy, records = trained(
        small,
        Supervised(),
        stages=((1e-2, 80), (1e-3, 40)),
        source=Demonstrations(examples, examples_per_step=16),
        beta=0.0,
    )

    def gap(of: Policy) -> float:
        return float((given * (given.log() - small.log_distribution(of)[places])).sum())

    print(f"KL(data || policy): {gap(small.reference):.3f} nats before, {gap(policy):.5f} after")
    assert gap(small.reference) > 0.5
    assert gap(policy) < 0.02
    # E_d[log pi] = -KL(d || pi) - entropy(d), and a step sees all 16 examples.
    entropy = -float((given * given.log()).sum())
    assert records[-1].measures["log_likelihood"] == pytest.approx(-gap(policy) - entropy, abs=0.01)


def pulled(data: Tensor, reference: Tensor, beta: float) -> Tensor:
    """The p that maximises sum_v d_v log p_v - beta KL(p || q): where d_v / p_v = beta log(p_v / q_v) + c for all v.

    For a given c each p_v is found by bisection (the left side falls in p_v, the right side rises), and c likewise.
    """

    def at(constant: float) -> Tensor:
        low, high = torch.full_like(data, 1e-12), torch.full_like(data, 1e6)
        for _ in range(200):
            middle = (low * high).sqrt()
            too_small = data / middle > beta * (middle / reference).log() + constant
            low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
        return low

    low, high = -1e3, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float(at(middle).sum()) > 1 else (low, middle)
    return at(low)


def test_a_price_pulls_to_the_reference(small: World) -> None:
    """The ends without and with all of the pull; between them, what was trained is what the condition says."""
    data, reference = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.1, 0.3, 0.6]).double()
    torch.testing.assert_close(pulled(data, reference, 1e-5), data, atol=1e-4, rtol=0)
    torch.testing.assert_close(pulled(data, reference, 1e4), reference, atol=1e-3, rtol=0)
    examples = [(PROMPT, text) for text in [""] * 7 + ["w1"] * 2 + ["w2"]]
    source = Demonstrations(examples, examples_per_step=10)
    policy, _ = trained(small, Supervised(), stages=((1e-2, 60), (1e-3, 30)), source=source, beta=1.0)
    prompt = torch.tensor([policy.encode_prompt(PROMPT)])
    with torch.no_grad():
        found, base = (
            torch.softmax(one.model(input_ids=prompt).logits[0, -1].double(), -1) for one in (policy, small.reference)
        )
    expected = pulled(data, base, 1.0)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert float((expected - data).abs().max()) > 0.05
    assert float((expected - base).abs().max()) > 0.05
