"""What a learner reads, and the gradient of a whole training step, against the plain computation."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.advantages import others_advantages
from agents.batch import Batch
from agents.divergence import exact_kl
from agents.learner import Learner, Reading
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.policy import Policy
from agents.returns import at_the_end
from reward_models.errors import NonFinite

PROMPTS = ["w1 w2 w3 w4 w5", "w2", "w3 w3"]
GROUP = 4
BETA = 0.3


def drawn(learner: Learner, seed: int = 0) -> Batch:
    noise = torch.Generator().manual_seed(seed)
    rollouts = learner.sample(PROMPTS, group=GROUP, max_new_tokens=6, generator=noise)
    rewards = torch.randn(len(rollouts.samples), generator=noise)
    return Batch(rollouts, at_the_end(rewards, rollouts.samples.mask), beta=BETA)


def plain_reading(plain_logits: Callable[..., Tensor], learner: Learner, batch: Batch) -> Reading:
    """One completion after the other behind its own prompt, without cache or padding; float32, op by op."""
    sequences, time = batch.tokens.shape
    vocabulary = learner.policy.model.config.vocab_size
    distributions = torch.zeros(sequences, time, vocabulary)
    chosen, kl = torch.zeros(sequences, time), torch.zeros(sequences, time)
    for row, length in enumerate(batch.mask.sum(dim=1).tolist()):
        tokens = batch.tokens[row, :length]
        prompt = batch.rollouts.samples.prompt_tokens[row // GROUP]
        logits = plain_logits(learner.policy, prompt, tokens.tolist())
        with torch.no_grad():
            reference = plain_logits(learner.reference, prompt, tokens.tolist())
        found = torch.log_softmax(logits, dim=-1)
        distributions[row, :length] = found
        chosen[row, :length] = found.gather(-1, tokens[:, None])[:, 0]
        kl[row, :length] = exact_kl(logits, reference)
    return Reading(distributions=distributions, chosen=chosen, kl=kl, states=torch.zeros(sequences, time, 1))


def loss_of(reading: Reading, batch: Batch) -> Tensor:
    advantage = others_advantages(batch.returns(reading.kl.detach()), batch.mask, group=GROUP)
    return policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta)


@pytest.mark.parametrize("again", [False, True])
def test_the_gradient_of_a_step_is_that_of_the_plain_computation(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor], again: bool
) -> None:
    """Through the prefill of the sampling pass at the first reading, through one of its own at the second."""
    learner = Learner(make_policy(3), make_policy(1), learning_rate=1e-3)
    batch = drawn(learner)
    assert len(set(batch.mask.sum(dim=1).tolist())) > 2
    if again:
        learner.read(batch)
    reading, plain = learner.read(batch), plain_reading(plain_logits, learner, batch)
    for name in ("chosen", "kl"):
        torch.testing.assert_close(getattr(reading, name), getattr(plain, name), atol=1e-5, rtol=1e-5, msg=name)
    counted = reading.distributions * batch.mask[..., None]
    torch.testing.assert_close(counted, plain.distributions, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(loss_of(reading, batch), learner.parameters)
    expected = torch.autograd.grad(loss_of(plain, batch), learner.parameters)
    for gradient, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-5)
    assert max(float(other.abs().max()) for other in expected) > 1e-2


def test_two_learners_take_bit_equal_steps_under_one_seed(make_policy: Callable[..., Policy]) -> None:
    weights = []
    for _ in range(2):
        learner = Learner(make_policy(0), make_policy(1), learning_rate=1e-2)
        for seed in range(3):
            batch = drawn(learner, seed)
            learner.descend(loss_of(learner.read(batch), batch))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in learner.parameters]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], torch.cat([one.detach().flatten() for one in make_policy(0).model.parameters()]))


def test_a_reading_after_a_step_sees_the_new_weights(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor]
) -> None:
    learner = Learner(make_policy(0), make_policy(1), learning_rate=1e-2)
    batch = drawn(learner)
    before = learner.read(batch)
    learner.descend(loss_of(before, batch))
    after = learner.read(batch)
    torch.testing.assert_close(after.kl, plain_reading(plain_logits, learner, batch).kl, atol=1e-5, rtol=1e-5)
    assert float((after.kl - before.kl).detach().abs().max()) > 1e-3


def test_a_gradient_of_the_critic_that_is_not_finite_touches_nothing(make_policy: Callable[..., Policy]) -> None:
    """The loss is finite and so is the policy's gradient; the square root has an infinite slope at 0."""
    learner = Learner(make_policy(0), make_policy(1), learning_rate=1e-2, with_critic=True)
    assert learner.critic is not None
    before = {name: value.clone() for name, value in learner.trained.state_dict().items()}
    batch = drawn(learner)
    loss = learner.read(batch).chosen.mean() + (0.0 * learner.critic.head.weight.sum()).sqrt()
    assert bool(loss.isfinite())
    with pytest.raises(NonFinite, match="norm of the gradient"):
        learner.descend(loss)
    assert all(torch.equal(value, before[name]) for name, value in learner.trained.state_dict().items())


def test_the_rollouts_say_what_the_reading_says(make_policy: Callable[..., Policy]) -> None:
    """On-policy: the numbers of the sampling pass and of the pass with gradient are those of one policy."""
    learner = Learner(make_policy(0), make_policy(1), learning_rate=1e-3)
    batch = drawn(learner)
    reading = learner.read(batch)
    torch.testing.assert_close(reading.kl.detach(), batch.rollouts.kl, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reading.chosen.detach(), batch.rollouts.samples.log_probabilities, atol=1e-5, rtol=1e-5)
