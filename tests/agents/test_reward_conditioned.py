"""Learning behind words for the reward: what is read behind which, its contract, and where it ends, enumerated."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.reward_conditioned import RewardConditioned, condition_text
from agents.policy import Policy
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, World, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract
from tests.agents.test_supervised import divergence, log_chosen

WORDS = ("w1 w1 ", "w1 w2 ", "w2 w1 ", "w2 w2 ")
"""The tokenizer here knows no other words."""


class TestRewardConditioned(ObjectiveContract):
    learning_rate = 1e-2
    steps = 25

    def objective(self) -> RewardConditioned:
        return RewardConditioned(texts=WORDS)

    def run(self, of: World, *, steps: int, sign: float = 1.0, checkpoint: Path | None = None) -> Policy:
        """What it learned is behind the words of the top bucket."""
        return super().run(of, steps=steps, sign=sign, checkpoint=checkpoint).conditioned(WORDS[-1])


@pytest.fixture
def small(every_completion: EveryCompletion) -> World:
    return world(every_completion)


def drawn(of: World, *, group: int, prompts: int) -> tuple[Learner, Batch]:
    policy = of.reference.copy().conditioned(WORDS[-1])
    learner = Learner(policy, of.reference, learning_rate=1e-2)
    material = of.source(group=group, prompts_per_step=prompts).draw(learner, samples_from="reference", seed=1, step=0)
    return learner, Batch(*material[:2], beta=0.0)


def test_the_words_are_plain_and_different() -> None:
    assert [condition_text(bucket, 3) for bucket in range(3)] == [
        "Quality: 1 of 3.\n",
        "Quality: 2 of 3.\n",
        "Quality: 3 of 3.\n",
    ]
    assert RewardConditioned().conditions == tuple(condition_text(bucket, 4) for bucket in range(4))
    assert RewardConditioned().top == "Quality: 4 of 4.\n"
    assert RewardConditioned(buckets=2, texts=("bad ", "good ")).top == "good "


def test_each_completion_is_read_behind_the_words_of_its_quarter(small: World) -> None:
    """The figures before the first step are those of the reference, read behind the words by another path."""
    learner, batch = drawn(small, group=8, prompts=3)
    record = RewardConditioned(texts=WORDS).update(learner, batch, torch.Generator())
    total, top, rewards = 0.0, 0.0, 0.0
    for prompt in range(3):
        rows = list(range(prompt * 8, prompt * 8 + 8))
        ranked = sorted(rows, key=lambda row: float(batch.scores[row]))
        for rank, row in enumerate(ranked):
            completion = batch.tokens[row][batch.mask[row]].tolist()
            read = small.reference.conditioned(WORDS[rank // 2])
            logits = read.model(input_ids=torch.tensor([[*read.encode_prompt(PROMPT), *completion]])).logits[0]
            said = torch.log_softmax(logits[-len(completion) - 1 : -1], -1).detach()
            one = float(said.gather(1, torch.tensor(completion)[:, None]).sum())
            total += one / 24
            top += one / 6 if rank >= 6 else 0.0
            rewards += float(batch.scores[row]) / 6 if rank >= 6 else 0.0
    assert record.measures["log_likelihood"] == pytest.approx(total, abs=1e-5)
    assert record.measures["log_likelihood_top"] == pytest.approx(top, abs=1e-5)
    assert record.measures["reward_top"] == pytest.approx(rewards, abs=1e-5)
    assert record.measures["kl_at_top"] > 0.01  # the words alone move an untrained policy


def test_what_cannot_be_divided_or_told_apart_is_refused(
    make_policy: Callable[..., Policy], every_completion: EveryCompletion
) -> None:
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4)
    learner, batch = drawn(small, group=6, prompts=1)
    with pytest.raises(InvalidInput, match="multiple"):
        RewardConditioned(texts=WORDS).update(learner, batch, torch.Generator())
    # Plain words are all one unknown word here, and "Quality: 1 of 2." has as many as "Quality: 2 of 2."
    with pytest.raises(InvalidInput, match="alike"):
        RewardConditioned(buckets=2).update(learner, batch, torch.Generator())
    for buckets, texts in ((1, ()), (3, ("a", "b")), (2, ("a", "a"))):
        with pytest.raises(InvalidInput, match="buckets"):
            RewardConditioned(buckets=buckets, texts=texts)


def test_behind_the_words_it_is_the_base_given_such_a_reward(small: World) -> None:
    """The largest gap of the four buckets was 0.003, 0.007 and 0.003 nats for seeds 0, 1, 2."""
    base = small.log_distribution(small.reference)
    policy, records = trained(
        small,
        RewardConditioned(texts=WORDS),
        stages=((1e-2, 80), (1e-3, 40)),
        source=small.source(group=32, prompts_per_step=8),
        beta=0.0,
    )
    gaps, moved = [], []
    for bucket, words in enumerate(WORDS):
        target = log_chosen(base, small.rewards, group=32, ranks=range(8 * bucket, 8 * bucket + 8))
        found = small.log_distribution(policy.conditioned(words))
        gaps.append(divergence(target, found))
        moved.append((divergence(found, base), divergence(target, base)))
        assert divergence(target, base) <= math.log(4)
        assert divergence(target, small.log_distribution(small.reference.conditioned(words))) > 0.3
    print(f"KL(base given the bucket || policy): {[round(gap, 5) for gap in gaps]}")
    print(f"KL(policy || base), and that of the target: {[(round(a, 3), round(b, 3)) for a, b in moved]}")
    assert max(gaps) < 0.05
    # Acting on the top earns what its bucket holds.
    top = policy.conditioned(RewardConditioned(texts=WORDS).top)
    kept = sum(record.measures["reward_top"] for record in records) / len(records)
    assert small.expected_reward(top) == pytest.approx(kept, abs=0.05)
    assert small.expected_reward(top) > small.expected_reward(small.reference) + 0.3
