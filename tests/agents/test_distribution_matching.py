"""Distribution matching against weights by hand, the gradient of the forward KL, DPO, and the posterior, enumerated."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from agents.objectives.distribution_matching import (
    DistributionMatching,
    effective_samples,
    forward_kl_loss,
    posterior_weights,
)
from agents.objectives.dpo import dpo_loss, implicit_reward, online_pairs
from reward_models.errors import InvalidInput
from tests.agents.enumerable import trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract

BETA = 0.5
COMPLETIONS = 5


def test_weights_by_hand() -> None:
    """u = pi_0 e^(r / beta) / q: 0.5 * 4 / 0.25 = 8 and 0.25 * 1 / 0.125 = 2: weights 4/5 and 1/5, Z about 5."""
    found = posterior_weights(
        torch.tensor([0.5, 0.25]).log(),
        torch.tensor([0.25, 0.125]).log(),
        torch.tensor([0.5 * math.log(4), 0.0]),
        group=2,
        beta=0.5,
    )
    torch.testing.assert_close(found.log_weights.exp(), torch.tensor([[0.8, 0.2]]))
    assert float(found.log_normaliser) == pytest.approx(math.log(5))
    # 1 / (16/25 + 1/25)
    assert float(effective_samples(found.log_weights)) == pytest.approx(25 / 17)


def test_the_loss_by_hand() -> None:
    """w = (4/5, 1/5), pi / q = 1 and 3, so v = (1/4, 3/4): 4/5 log 16/5 + 1/5 log 4/15."""
    loss = forward_kl_loss(
        torch.tensor([0.2, 0.6]).log(), torch.tensor([0.2, 0.2]).log(), torch.tensor([[0.8, 0.2]]).log()
    )
    assert float(loss) == pytest.approx(0.8 * math.log(16 / 5) + 0.2 * math.log(4 / 15))


def test_groups_are_apart() -> None:
    """What is added to all rewards of one prompt changes nothing but its normaliser."""
    generator = torch.Generator().manual_seed(0)
    reference, sampler, rewards = torch.randn(3, 6, generator=generator).unbind()
    plain = posterior_weights(reference, sampler, rewards, group=3, beta=BETA)
    shift = torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0, 2.0])
    other = posterior_weights(reference, sampler, rewards + shift, group=3, beta=BETA)
    torch.testing.assert_close(plain.log_weights, other.log_weights)
    torch.testing.assert_close(other.log_normaliser - plain.log_normaliser, torch.tensor([0.0, 2.0 / BETA]))
    torch.testing.assert_close(plain.log_weights.exp().sum(dim=1), torch.ones(2))


def test_effective_samples_run_from_one_to_the_group() -> None:
    uniform, single = torch.zeros(1, 4), torch.tensor([[0.0, -90.0, -90.0, -90.0]])
    assert float(effective_samples(torch.log_softmax(uniform, 1))) == pytest.approx(4.0)
    assert float(effective_samples(torch.log_softmax(single, 1))) == pytest.approx(1.0)


def test_two_completions_of_the_reference_are_dpo() -> None:
    """With q = pi_0 and G = 2 the weights are sigmoid((r1 - r2) / beta), those of the policy sigmoid(h / beta).

    The cross-entropy of the two is DPO at beta = 1 with rewards r / beta, and differs from the KL by a constant.
    """
    generator = torch.Generator().manual_seed(1)
    reference, rewards, start = torch.randn(3, 6, generator=generator, dtype=torch.float64).unbind()
    gradients = []
    for which in ("matching", "dpo"):
        policy = start.clone().requires_grad_()
        if which == "matching":
            weights = posterior_weights(reference, reference, rewards, group=2, beta=BETA).log_weights
            loss = forward_kl_loss(policy, reference, weights)
        else:
            pairs = online_pairs(rewards / BETA, group=2)
            implicit = implicit_reward(policy, reference, beta=1.0)
            loss = dpo_loss(implicit[pairs.first], implicit[pairs.second], pairs.label)
        gradients.append(torch.autograd.grad(loss, policy)[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert float(gradients[0].abs().max()) > 1e-2


def tabular(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of a policy over COMPLETIONS, a reference's log-probabilities, rewards, and the log-posterior."""
    generator = torch.Generator().manual_seed(seed)
    logits, reference, rewards = torch.randn(3, COMPLETIONS, generator=generator, dtype=torch.float64).unbind()
    reference = torch.log_softmax(reference, 0)
    posterior = torch.log_softmax(reference + rewards / BETA, 0)
    return logits.requires_grad_(), reference, rewards, posterior


def exact_gradient(logits: Tensor, posterior: Tensor) -> Tensor:
    """Of KL(pi* || pi), by its definition."""
    kl = (posterior.exp() * (posterior - torch.log_softmax(logits, 0))).sum()
    return torch.autograd.grad(kl, logits)[0]


def test_a_group_of_everything_has_the_exact_gradient() -> None:
    """A uniform sampler that draws each completion once: nothing is left to chance, and the loss is the KL itself."""
    logits, reference, rewards, posterior = tabular(0)
    sampler = torch.full_like(reference, -math.log(COMPLETIONS))
    weights = posterior_weights(reference, sampler, rewards, group=COMPLETIONS, beta=BETA)
    policy = torch.log_softmax(logits, 0)
    loss = forward_kl_loss(policy, sampler, weights.log_weights)
    assert float(loss.detach()) == pytest.approx(float((posterior.exp() * (posterior - policy.detach())).sum()))
    expected = exact_gradient(logits, posterior)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected)
    assert float(expected.abs().max()) > 0.05
    log_z = torch.logsumexp(reference + rewards / BETA, 0)
    assert float(weights.log_normaliser) == pytest.approx(float(log_z))


def expected_gradient(logits: Tensor, reference: Tensor, rewards: Tensor, *, group: int) -> Tensor:
    """Mean over all groups that the policy itself may draw, by enumeration of how often each completion is in one."""
    log_policy = torch.log_softmax(logits.detach(), 0)
    places = torch.tensor(list(itertools.combinations_with_replacement(range(COMPLETIONS), group)))
    counts = torch.nn.functional.one_hot(places, COMPLETIONS).sum(dim=1).double()
    ways = math.lgamma(group + 1) - torch.lgamma(counts + 1).sum(dim=1)
    probability = (ways + counts @ log_policy).exp()
    assert float(probability.sum()) == pytest.approx(1.0)
    flat = places.flatten()
    weights = posterior_weights(reference[flat], log_policy[flat], rewards[flat], group=group, beta=BETA)
    policy = torch.log_softmax(logits, 0)[flat]
    # The loss is a mean over groups; here each has its own probability.
    scaled = len(places) * probability[:, None]
    pull = (1.0 / group - weights.log_weights.exp()) * scaled
    loss = forward_kl_loss(policy, log_policy[flat], weights.log_weights)
    (check,) = torch.autograd.grad(loss, logits, retain_graph=True)
    plain = ((1.0 / group - weights.log_weights.exp()).flatten() * policy).sum() / len(places)
    torch.testing.assert_close(torch.autograd.grad(plain, logits, retain_graph=True)[0], check)
    return torch.autograd.grad((pull.flatten() * policy).sum() / len(places), logits)[0]


def test_the_expected_gradient_nears_the_exact_one_as_groups_grow() -> None:
    """Self-normalisation is biased, of order 1 / G: twice the group, about half of what is missing."""
    logits, reference, rewards, posterior = tabular(3)
    exact = exact_gradient(logits, posterior)
    missing = {
        group: float((expected_gradient(logits, reference, rewards, group=group) - exact).norm() / exact.norm())
        for group in (2, 4, 8, 16)
    }
    print("missing share of the gradient by group", missing)
    assert missing[2] > missing[4] > missing[8] > missing[16] > 0
    assert missing[16] < 0.15
    assert 1.6 < missing[8] / missing[16] < 2.6


@pytest.mark.parametrize("group", [2, 3])
def test_at_the_posterior_no_group_has_a_gradient(group: int) -> None:
    """Whatever was drawn, by whomever: w = v, so there is no noise and no bias at the fixed point."""
    _, reference, rewards, posterior = tabular(0)
    logits = posterior.clone().requires_grad_()
    generator = torch.Generator().manual_seed(5)
    for sampler in (posterior, reference, torch.log_softmax(torch.randn(COMPLETIONS, generator=generator), 0).double()):
        drawn = torch.randint(COMPLETIONS, (8 * group,), generator=generator)
        weights = posterior_weights(reference[drawn], sampler[drawn], rewards[drawn], group=group, beta=BETA)
        loss = forward_kl_loss(torch.log_softmax(logits, 0)[drawn], sampler[drawn], weights.log_weights)
        assert float(torch.autograd.grad(loss, logits)[0].abs().max()) < 1e-12


def test_unusable_values_are_refused(every_completion: EveryCompletion) -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        posterior_weights(torch.zeros(2), torch.zeros(2), torch.zeros(2), group=1, beta=BETA)
    small = world(every_completion)
    with pytest.raises(InvalidInput, match="horizon"):
        trained(small, DistributionMatching(), stages=((1e-3, 1),), discount=0.5)
    with pytest.raises(InvalidInput, match="needs beta above 0"):
        trained(small, DistributionMatching(), stages=((1e-3, 1),), beta=0.0)


def test_it_reaches_the_posterior(every_completion: EveryCompletion) -> None:
    """From 1.21 nats to at most 0.0001 over seeds 0, 1, 2 with groups of 8."""
    group = 8
    small = world(every_completion)
    policy, records = trained(
        small,
        DistributionMatching(),
        source=small.source(group=group),
        stages=((3e-3, 80), (3e-4, 30)),
    )
    after = small.posterior_gap(policy)
    measured = records[-1].measures
    print(f"posterior gap {small.posterior_gap(small.reference):.3f} before, {after:.6f} after; {dict(measured)}")
    assert small.posterior_gap(small.reference) > 1.0
    assert after < 0.02
    # At the posterior all weights are equal, every group says what Z is, and nothing pulls.
    assert measured["effective_samples"] == pytest.approx(group, rel=0.02)
    assert measured["log_normaliser"] == pytest.approx(small.log_normaliser, abs=0.1)
    assert measured["forward_kl"] == pytest.approx(0.0, abs=0.01)


def test_its_figures_at_the_start_are_those_of_the_world(every_completion: EveryCompletion) -> None:
    """One group of 4096 at the reference: Z and KL(pi* || pi_0) as enumerated, ESS / G = 1 / E_0[(pi* / pi_0)^2]."""
    small = world(every_completion)
    _, records = trained(small, DistributionMatching(), source=small.source(group=4096), stages=((1e-6, 1),))
    reference = small.log_distribution(small.reference)
    posterior = small.log_posterior
    forward = float((posterior.exp() * (posterior - reference)).sum())
    share = 1.0 / float((2 * posterior - reference).exp().sum())
    measured = records[0].measures
    print(measured, forward, small.log_normaliser, share)
    assert measured["forward_kl"] == pytest.approx(forward, abs=0.05)
    assert measured["log_normaliser"] == pytest.approx(small.log_normaliser, abs=0.1)
    assert measured["effective_samples"] / 4096 == pytest.approx(share, rel=0.15)


class TestDistributionMatching(ObjectiveContract):
    def objective(self) -> DistributionMatching:
        return DistributionMatching()
