"""Parts of a batch: whole groups, with all that was said of them."""

from collections.abc import Callable

import pytest
import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.policy import Policy
from agents.rollout import rollout
from reward_models.errors import InvalidInput

PROMPTS = ["w1 w2 w3", "w4", "w2 w5", "w6 w6 w1 w3"]


@pytest.fixture
def learner(make_policy: Callable[..., Policy]) -> Learner:
    return Learner(make_policy(1), make_policy(2), learning_rate=1e-3)


@pytest.fixture
def batch(learner: Learner) -> Batch:
    drawn = rollout(
        learner.policy,
        learner.reference,
        PROMPTS,
        group=2,
        max_new_tokens=4,
        generator=torch.Generator().manual_seed(0),
    )
    rewards = torch.arange(32.0).view(8, 4)[:, : drawn.kl.shape[1]] * drawn.samples.mask
    return Batch(drawn, rewards, beta=0.3, discount=0.5, preferences=torch.arange(4) / 4)


def test_a_part_has_whole_groups_in_the_order_asked_for(batch: Batch) -> None:
    assert batch.prompts == 4
    assert batch.rows([2, 0]).tolist() == [4, 5, 0, 1]
    part = batch.select([2, 0])
    assert part.rollouts.samples.prompts == (PROMPTS[2], PROMPTS[0])
    assert part.prompts == 2
    assert part.group == 2
    assert part.scores.tolist() == batch.scores[[4, 5, 0, 1]].tolist()
    assert part.rollouts.samples.completions == tuple(batch.rollouts.samples.completions[row] for row in (4, 5, 0, 1))
    assert part.preferences is not None
    assert part.preferences.tolist() == [0.5, 0.0]
    assert (part.beta, part.discount) == (0.3, 0.5)


def test_a_part_is_read_as_in_the_whole(learner: Learner, batch: Batch) -> None:
    """What the policy makes of each token, and what was kept of the time when it was drawn."""
    rows, part = batch.rows([3, 1]), batch.select([3, 1])
    whole, parted = learner.read(batch), learner.read(part)
    for name in ("distributions", "chosen", "kl", "states"):
        seen, expected = getattr(parted, name).detach(), getattr(whole, name).detach()[rows]
        keep = part.mask if seen.ndim == 2 else part.mask[..., None].expand_as(seen)
        torch.testing.assert_close(seen[keep], expected[keep], atol=1e-5, rtol=1e-4)
    # Drawn by the same weights: what is read now is what was kept then.
    torch.testing.assert_close(parted.chosen, part.rollouts.samples.log_probabilities, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parted.kl, part.rollouts.kl, atol=1e-5, rtol=1e-4)
    for name in ("entropy", "reference_logits"):
        assert torch.equal(getattr(part.rollouts, name), getattr(batch.rollouts, name)[rows])
    for name in ("log_probabilities", "hidden", "mask"):
        assert torch.equal(getattr(part.rollouts.reference, name), getattr(batch.rollouts.reference, name)[rows])
    kept = batch.rollouts.samples.distributions
    assert kept is not None
    assert part.rollouts.samples.distributions is not None
    assert torch.equal(part.rollouts.samples.distributions, kept[rows])


def test_all_of_it_is_itself_and_none_of_it_is_refused(batch: Batch) -> None:
    assert batch.select(range(4)) is batch
    assert batch.select([1, 0, 2, 3]) is not batch
    for unusable in ([], [4], [-1]):
        with pytest.raises(InvalidInput, match="prompts 0 to 3"):
            batch.select(unusable)
