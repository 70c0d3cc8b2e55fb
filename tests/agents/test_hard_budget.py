"""A budget of nats by hand, and from sampling to training in a world where every path can be enumerated."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.batch import Batch
from agents.divergence import exact_kl
from agents.hard_budget import HardBudget, largest_share
from agents.learner import Learner
from agents.limits import mixture
from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.returns import at_the_end
from agents.rollout import greedy, read_given, rollout, sample
from agents.training import TrainSettings, train
from reward_models.errors import InvalidInput, NonFinite
from tests.agents.acting_tree import acting_tree
from tests.agents.enumerable import PROMPT, World, world
from tests.agents.objective_contract import EveryCompletion

LENGTH = 3
BUDGETS = [0.3, 2.0]


@pytest.fixture(scope="module")
def small(every_completion: EveryCompletion) -> World:
    """Forty completions, the best of which the reference seldom writes."""
    return world(every_completion, vocabulary=4, length=LENGTH)


@pytest.fixture(scope="module")
def other(make_policy: Callable[..., Policy]) -> Policy:
    """Far from the reference."""
    return make_policy(7, vocabulary=4, spread=0.6)


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_share_by_hand() -> None:
    """With b = (1/2, 1/2) and a = (1, 0), half of each is (3/4, 1/4), whose KL is 3/4 log(3/2) - 1/4 log 2."""
    policy, reference = torch.tensor([[0.0, -math.inf]]).double(), torch.tensor([[0.5, 0.5]]).double().log()
    nats = torch.tensor([0.75 * math.log(1.5) - 0.25 * math.log(2)]).double()
    assert float(largest_share(policy, reference, nats)) == pytest.approx(0.5, abs=1e-7)
    assert float(largest_share(policy, reference, torch.tensor([0.7]).double())) == 1.0  # all of a costs log 2 = 0.693
    assert float(largest_share(policy, reference, torch.tensor([0.0]).double())) == 0.0


@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0, 400.0])
@pytest.mark.parametrize("nats", [1e-4, 0.02, 1.0, 9.0])
def test_a_share_is_that_of_bisection(scale: float, nats: float) -> None:
    """Eighty halvings of [0, 1], by nothing but the definition."""
    generator = noise(3)
    policy = torch.log_softmax(scale * torch.randn(64, 20, generator=generator).double(), -1)
    reference = torch.log_softmax(3 * torch.randn(64, 20, generator=generator).double(), -1)
    low, high = torch.zeros(64).double(), torch.ones(64).double()
    for _ in range(80):
        middle = (low + high) / 2
        fits = exact_kl(mixture(policy, reference, middle), reference) <= nats
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    share = largest_share(policy, reference, torch.full((64,), nats).double())
    torch.testing.assert_close(share, low, rtol=1e-7, atol=0.0)
    assert bool((exact_kl(mixture(policy, reference, share), reference) <= nats + 1e-13).all())
    single = largest_share(policy.float(), reference.float(), torch.full((64,), nats))
    torch.testing.assert_close(single.double(), share, rtol=1e-4, atol=0.0)


def test_a_token_that_the_reference_never_takes_is_never_taken() -> None:
    """KL would be infinite at any share; a token that neither takes is no obstacle."""
    policy = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]).log().requires_grad_()
    reference = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]).log()
    found = HardBudget(5.0).act(policy, reference, torch.tensor([3.0, 3.0]))
    torch.testing.assert_close(found.log_probabilities.exp().detach(), torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0]]))
    assert float(found.left[0].detach()) == 3.0
    assert float(found.left[1].detach()) == pytest.approx(3 - 0.5 * math.log(2) - 0.5 * math.log(2 / 3), abs=1e-4)
    found.log_probabilities[:, 0].sum().backward()
    assert policy.grad is not None and bool(policy.grad.isfinite().all())


def test_unusable_budgets_are_refused() -> None:
    for nats in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="positive number of nats"):
            HardBudget(nats)
    assert repr(HardBudget(2.0)) == "HardBudget(nats=2.0)"


@pytest.mark.parametrize("nats", BUDGETS)
def test_samples_are_of_the_acting_distributions_and_within_the_budget(
    small: World, other: Policy, nats: float
) -> None:
    """Of 6000 samples: the texts by frequency, their probabilities and their KL all as enumerated."""
    policy = other.within(HardBudget(nats), small.reference)
    tree = acting_tree(small, policy)
    assert float(tree.log_probability.exp().sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(tree.kl.max()) <= nats
    # The budget binds: without it, the policy would be further away.
    free = acting_tree(small, other.within(HardBudget(1000.0), small.reference))
    assert float(free.kl.max()) > 1.5 * nats

    rollouts = rollout(policy, small.reference, [PROMPT], group=6000, max_new_tokens=LENGTH, generator=noise(1))
    samples = rollouts.samples
    place = {completion: number for number, completion in enumerate(small.completions)}
    lengths = samples.mask.sum(1).tolist()
    drawn = torch.tensor([place[tuple(row[:size])] for row, size in zip(samples.tokens.tolist(), lengths, strict=True)])
    assert int((rollouts.kl.sum(1) > nats).sum()) == 0
    torch.testing.assert_close(rollouts.kl.sum(1).double(), tree.kl[drawn], atol=2e-4, rtol=0.0)
    torch.testing.assert_close(
        samples.log_probabilities.sum(1).double(), tree.log_probability[drawn], atol=2e-4, rtol=0.0
    )
    probability = tree.log_probability.exp()
    counted = torch.bincount(drawn, minlength=len(probability)) / 6000
    error = (probability * (1 - probability) / 6000).sqrt()
    assert float(((counted - probability).abs() / (error + 1e-4)).max()) < 4.5


def test_greedy_takes_the_likeliest_token_of_what_acts(small: World, other: Policy) -> None:
    """Almost without a budget that is what the reference takes, and with a large one what the policy takes."""
    texts = {nats: greedy(other.within(HardBudget(nats), small.reference), [PROMPT], LENGTH) for nats in (1e-3, 1000.0)}
    assert texts[1e-3] == greedy(small.reference, [PROMPT], LENGTH) != greedy(other, [PROMPT], LENGTH) == texts[1000.0]


@pytest.mark.parametrize("nats", BUDGETS)
def test_reading_sees_the_distributions_that_were_sampled_from(small: World, other: Policy, nats: float) -> None:
    policy = other.copy().within(HardBudget(nats), small.reference)
    learner = Learner(policy, small.reference, learning_rate=1e-3)
    rollouts = learner.sample([PROMPT, "w1 w3 w2"], group=200, max_new_tokens=LENGTH, generator=noise(2))
    batch = Batch(rollouts, at_the_end(small.reward(rollouts), rollouts.samples.mask), beta=0.0)
    reading = learner.read(batch)
    mask, acted = rollouts.samples.mask, rollouts.samples.distributions
    assert acted is not None
    torch.testing.assert_close(reading.distributions[mask].detach().exp(), acted[mask].exp(), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(reading.chosen.detach(), rollouts.samples.log_probabilities, atol=2e-5, rtol=0.0)
    torch.testing.assert_close(reading.kl.detach(), rollouts.kl, atol=2e-5, rtol=0.0)


def test_the_gradient_of_what_was_chosen_is_that_of_finite_differences(small: World, other: Policy) -> None:
    """Along a random direction of all weights; single precision, so a wide step and a few parts in a hundred."""
    policy = other.copy().within(HardBudget(0.6), small.reference)
    learner = Learner(policy, small.reference, learning_rate=1e-3)
    rollouts = learner.sample([PROMPT], group=64, max_new_tokens=LENGTH, generator=noise(3))
    batch = Batch(rollouts, at_the_end(small.reward(rollouts), rollouts.samples.mask), beta=0.0)
    weight = torch.randn(64, 1, generator=noise(4))
    learner.forget()

    def value() -> Tensor:
        return (weight * learner.read(batch).chosen).sum()

    gradients = torch.autograd.grad(value(), learner.parameters)
    direction = [torch.randn(one.shape, generator=noise(5)) * one.detach().abs().mean() for one in learner.parameters]
    slope = sum(float((one * along).sum()) for one, along in zip(gradients, direction, strict=True))
    values = []
    step = 2e-3
    for sign in (1, -2):
        with torch.no_grad():
            for one, along in zip(learner.parameters, direction, strict=True):
                one += sign * step * along
        values.append(float(value().detach()))
    found = (values[0] - values[1]) / (2 * step)
    print(f"{slope:.4f} by the gradient, {found:.4f} by differences")
    assert abs(found) > 1.0
    assert slope == pytest.approx(found, rel=0.03)


@pytest.mark.parametrize("nats", [0.5, 2.0])
def test_training_without_a_price_spends_the_budget_and_no_more(small: World, nats: float) -> None:
    """Over seeds 0 to 4 the mean KL was 0.91 to 0.99 of the budget; the reward rose by 0.33 to 0.37, 0.85 to 0.89."""
    policy = small.reference.copy().within(HardBudget(nats), small.reference)
    records = train(
        policy,
        small.reference,
        source=small.source(group=64),
        objective=RLOO(),
        regularizer=FixedPenalty(0.0),
        settings=TrainSettings(steps=26, learning_rate=6e-3),
        seed=0,
    )
    tree = acting_tree(small, policy)
    probability = tree.log_probability.exp()
    mean, reward = float((probability * tree.kl).sum()), float((probability * small.rewards).sum())
    before = small.expected_reward(small.reference)
    print(f"{nats} nats: mean {mean:.4f}, largest {float(tree.kl.max()):.6f}, reward {before:.3f} -> {reward:.3f}")
    assert float(tree.kl.max()) <= nats
    assert all(record.kl <= nats for record in records)
    assert mean > 0.85 * nats
    assert reward > before + 0.25
    # The chain rule: what is spent on average is KL of whole completions.
    assert float((probability * (tree.log_probability - tree.reference)).sum()) == pytest.approx(mean, abs=1e-6)


def test_an_adapter_keeps_a_budget_measured_from_itself_switched_off(
    make_policy: Callable[..., Policy], every_completion: EveryCompletion
) -> None:
    """Over seeds 1 to 3 the mean KL was 0.99 of the budget."""
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4, vocabulary=4, length=LENGTH)
    policy = small.reference.copy().with_lora(4, generator=noise(1))
    reference = policy.without_adapter()
    policy = policy.within(HardBudget(0.5), reference)
    train(
        policy,
        reference,
        source=small.source(group=64),
        objective=RLOO(),
        regularizer=FixedPenalty(0.0),
        settings=TrainSettings(steps=16, learning_rate=2e-2),
        seed=0,
    )
    tree = acting_tree(small, policy)
    assert 0.45 < float((tree.log_probability.exp() * tree.kl).sum()) <= float(tree.kl.max()) <= 0.5
    # Nothing but the adapter has changed.
    torch.testing.assert_close(tree.reference, small.log_distribution(small.reference), atol=1e-5, rtol=0.0)


def test_what_a_limit_is_measured_from(make_policy: Callable[..., Policy], small: World, other: Policy) -> None:
    """It has no limit itself, the same tokens, and is what a training is held to."""
    limited = other.within(HardBudget(1.0), small.reference)
    with pytest.raises(InvalidInput, match="acts within a limit itself"):
        other.within(HardBudget(1.0), limited)
    with pytest.raises(InvalidInput, match="has 5 tokens and the policy 4"):
        other.within(HardBudget(1.0), make_policy(1, vocabulary=5))
    for elsewhere in (small.reference.copy(), small.reference.conditioned("w1 ")):
        with pytest.raises(InvalidInput, match="measured from another reference"):
            Learner(limited, elsewhere, learning_rate=1e-3)
        with pytest.raises(InvalidInput, match="measured from another reference"):
            read_given(limited, elsewhere, [PROMPT], [["w1"]])
    assert limited.without_adapter().limited is None


def test_another_reader_has_a_divergence_of_its_own(small: World, other: Policy) -> None:
    """The KL of a rollout is to the reference that it is given, whatever the limit is measured from."""
    limited = other.within(HardBudget(0.5), small.reference)
    found = rollout(limited, other, [PROMPT], group=50, max_new_tokens=LENGTH, generator=noise(1))
    assert found.samples.distributions is not None
    mask = found.samples.mask
    expected = exact_kl(found.samples.distributions, found.reference_logits).masked_fill(~mask, 0.0)
    torch.testing.assert_close(found.kl, expected, atol=1e-5, rtol=0.0)
    # Where the reference acts, that is KL(reference || other), and it is far more than was spent.
    assert float(found.kl.sum(1).mean()) > 1.0
    read = rollout(other, other, [PROMPT], group=50, max_new_tokens=1, generator=noise(1)).reference_logits[0, 0]
    torch.testing.assert_close(
        torch.log_softmax(found.reference_logits[0, 0], -1), torch.log_softmax(read, -1), atol=1e-5, rtol=0.0
    )


@pytest.mark.parametrize("nats", BUDGETS)
def test_completions_that_are_given_are_read_within_the_budget(small: World, other: Policy, nats: float) -> None:
    """Every completion of the world with its end, as enumerated."""
    limited = other.within(HardBudget(nats), small.reference)
    tree = acting_tree(small, limited)
    ended = [row for row, tokens in enumerate(small.completions) if tokens[-1] == 0]
    texts = [other.decode(list(small.completions[row])) for row in ended]
    found = read_given(limited, small.reference, [PROMPT], [texts])
    assert float(found.kl.sum(1).max()) <= nats
    torch.testing.assert_close(found.kl.sum(1).double(), tree.kl[ended], atol=2e-4, rtol=0.0)
    chosen = found.samples.log_probabilities.sum(1).double()
    torch.testing.assert_close(chosen, tree.log_probability[ended], atol=2e-4, rtol=0.0)


def test_weights_that_are_not_finite_are_noticed_within_a_budget(small: World, other: Policy) -> None:
    broken = other.copy()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(math.nan)
    with pytest.raises(NonFinite, match="NaN"):
        sample(
            broken.within(HardBudget(1.0), small.reference),
            [PROMPT],
            group=2,
            max_new_tokens=2,
            generator=noise(0),
        )
