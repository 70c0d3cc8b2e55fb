"""Training: it reaches the known optimum, resumes bit-equal after a kill, and refuses what is not finite."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

import pytest
import torch
from torch import Tensor

from agents.batch import Batch
from agents.checkpoint import FILE_NAME
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer, FixedPenalty
from agents.rollout import Rollouts
from agents.sources import OnPolicy, Reward, batch_of_step, generator_of
from agents.training import StepRecord, TrainSettings, train
from reward_models.errors import ArtifactError, InvalidInput, NonFinite

PROMPTS = ["w1 w2 w3", "w4", "w5 w6", "w2 w2 w2 w2", "w7"]
SETTINGS = TrainSettings(steps=6, learning_rate=1e-2, checkpoint_every=2, warmup=3)
SIZE = {"prompts_per_step": 2, "group": 4, "max_new_tokens": 4}
PENALTY = FixedPenalty(0.1)
OBJECTIVE = RLOO()


def share_of_ones(rollouts: Rollouts) -> Tensor:
    """The share of w1 among the tokens of a completion."""
    samples = rollouts.samples
    return ((samples.tokens == 1) & samples.mask).sum(1) / samples.mask.sum(1)


def train_on(
    policy: Policy,
    reference: Policy,
    *,
    prompts: Sequence[str] = PROMPTS,
    reward: Reward = share_of_ones,
    settings: TrainSettings = SETTINGS,
    seed: int = 5,
    size: dict[str, int] = SIZE,
    regularizer: AbstractRegularizer = PENALTY,
    checkpoint: Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    objective: AbstractObjective = OBJECTIVE,
    gold: Reward | None = None,
) -> list[StepRecord]:
    """RLOO on the prompts above, but for what is given."""
    return train(
        policy,
        reference,
        source=OnPolicy(prompts=prompts, reward=reward, **size),
        objective=objective,
        regularizer=regularizer,
        settings=settings,
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
        gold=gold,
    )


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.model.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def untimed(records: Sequence[StepRecord]) -> list[StepRecord]:
    return [replace(record, seconds=0.0) for record in records]


def test_six_steps_are_three_and_three(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    straight, halves = make_policy(1), make_policy(1)
    reference = make_policy(1)
    common = {"prompts": PROMPTS, "reward": share_of_ones, "seed": 5}
    records = train_on(straight, reference, settings=SETTINGS, **common)
    first = train_on(halves, reference, settings=replace(SETTINGS, steps=3), checkpoint=tmp_path, **common)
    fresh = make_policy(1)
    seen: list[StepRecord] = []
    second = train_on(fresh, reference, settings=SETTINGS, checkpoint=tmp_path, on_step=seen.append, **common)
    assert equal(weights(straight), weights(fresh))
    assert not equal(weights(straight), weights(halves))
    assert untimed(records) == untimed(second)
    assert untimed(first) == untimed(second[:3])
    assert seen == second[3:]
    # A finished training is only read.
    finished = make_policy(1)
    assert train_on(finished, reference, settings=SETTINGS, checkpoint=tmp_path, **common) == second
    assert equal(weights(finished), weights(straight))


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.sources import OnPolicy
from agents.training import TrainSettings, train

folder = Path(sys.argv[1])

def reward(rollouts):
    samples = rollouts.samples
    return ((samples.tokens == 1) & samples.mask).sum(1) / samples.mask.sum(1)

def tell(record):
    print(record.step, flush=True)
    if record.step == 3:
        sys.stdin.read()  # wait to be killed, in the middle of the training

train(
    Policy.load(folder / "start"), Policy.load(folder / "start"), source=OnPolicy(prompts=%r, reward=reward, **%r),
    objective=RLOO(), regularizer=FixedPenalty(0.1), settings=%r, seed=5,
    checkpoint=folder / "checkpoint", on_step=tell,
)
"""


def test_a_killed_training_resumes_to_the_same_weights(
    make_policy: Callable[..., Policy], repository: Path, tmp_path: Path
) -> None:
    make_policy(1).save(tmp_path / "start")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT % (PROMPTS, SIZE, SETTINGS), str(tmp_path)],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        told = [process.stdout.readline().strip() for _ in range(4)]
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
    assert told == ["0", "1", "2", "3"]
    reference = make_policy(1)
    straight, resumed = make_policy(1), make_policy(1)
    train_on(straight, reference)
    seen: list[int] = []
    train_on(
        resumed,
        reference,
        prompts=PROMPTS,
        reward=share_of_ones,
        settings=SETTINGS,
        seed=5,
        checkpoint=tmp_path / "checkpoint",
        on_step=lambda record: seen.append(record.step),
    )
    assert seen == [2, 3, 4, 5]  # the checkpoint of two steps is the last one that was written
    assert equal(weights(straight), weights(resumed))


def test_global_randomness_is_neither_read_nor_changed(make_policy: Callable[..., Policy]) -> None:
    results = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        before = torch.get_rng_state()
        policy = make_policy(1)
        torch.set_rng_state(before)
        train_on(policy, make_policy(2))
        results.append(weights(policy))
    assert equal(*results)
    policy, reference = make_policy(1), make_policy(2)
    before = torch.get_rng_state()
    train_on(policy, reference)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_training(make_policy: Callable[..., Policy]) -> None:
    first, second = make_policy(1), make_policy(1)
    for policy, seed in ((first, 5), (second, 6)):
        train_on(policy, make_policy(1), prompts=PROMPTS, reward=share_of_ones, settings=SETTINGS, seed=seed)
    assert not equal(weights(first), weights(second))


def test_records_say_what_was_seen(make_policy: Callable[..., Policy]) -> None:
    seen: list[Rollouts] = []

    def reward(rollouts: Rollouts) -> Tensor:
        seen.append(rollouts)
        return share_of_ones(rollouts)

    records = train_on(make_policy(1), make_policy(1), prompts=PROMPTS, reward=reward, settings=SETTINGS, seed=5)
    assert [record.step for record in records] == list(range(6))
    assert records[0].kl == pytest.approx(0.0, abs=1e-5)
    assert records[-1].kl > 1e-3
    for record, rollouts in zip(records, seen, strict=True):
        samples = rollouts.samples
        assert record.reward == pytest.approx(float(share_of_ones(rollouts).mean()))
        assert record.kl == pytest.approx(float(rollouts.kl.sum()) / 8)
        assert record.mean_tokens == pytest.approx(float(samples.mask.sum()) / 8)
        assert record.entropy == pytest.approx(float(rollouts.entropy.sum() / samples.mask.sum()))
        halves = [set(samples.completions[:4]), set(samples.completions[4:])]
        assert record.distinct == pytest.approx(sum(len(half) / 4 for half in halves) / 2)
        assert math.isfinite(record.gradient_norm) and record.seconds > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_stops_and_keeps_the_checkpoint(
    make_policy: Callable[..., Policy], tmp_path: Path, bad: float
) -> None:
    calls: list[int] = []

    def spoiled(rollouts: Rollouts) -> Tensor:
        calls.append(1)
        return share_of_ones(rollouts) * (bad if len(calls) == 4 else 1.0)

    policy, reference = make_policy(1), make_policy(1)
    with pytest.raises(NonFinite, match="step 3, before its update: the reward"):
        train_on(policy, reference, prompts=PROMPTS, reward=spoiled, settings=SETTINGS, seed=5, checkpoint=tmp_path)
    assert all(bool(value.isfinite().all()) for value in policy.model.state_dict().values())
    resumed, straight = make_policy(1), make_policy(1)
    train_on(resumed, reference, checkpoint=tmp_path)
    train_on(straight, reference)
    assert equal(weights(resumed), weights(straight))


def test_a_gradient_that_is_not_finite_stops_before_the_update(make_policy: Callable[..., Policy]) -> None:
    """Rewards of 1e38 are finite, and so is the loss of a short completion, but squares of its gradient are not."""
    policy, reference = make_policy(1), make_policy(1)
    before = weights(policy)
    with pytest.raises(NonFinite, match=r"step 0, before its update: the (norm|loss)"):
        train_on(
            policy,
            reference,
            prompts=PROMPTS,
            reward=lambda rollouts: share_of_ones(rollouts) * 1e37,
            settings=SETTINGS,
            seed=5,
        )
    assert equal(weights(policy), before)


def test_gold_that_is_not_finite_stops_before_the_update(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    """No checkpoint could hold it, so the steps after the last one would be lost."""
    policy, reference = make_policy(1), make_policy(1)
    before = weights(policy)
    with pytest.raises(NonFinite, match="step 0, before its update: the gold"):
        train_on(policy, reference, checkpoint=tmp_path, gold=lambda rollouts: share_of_ones(rollouts) / 0.0)
    assert equal(weights(policy), before)
    worth: list[float] = []

    def gold(rollouts: Rollouts) -> Tensor:
        worth.append(float(2 * share_of_ones(rollouts).mean()))
        return 2 * share_of_ones(rollouts)

    records = train_on(policy, reference, checkpoint=tmp_path, gold=gold)
    assert [record.gold for record in records] == pytest.approx(worth)
    assert [record.gold for record in records] == pytest.approx([2 * record.reward for record in records])
    ungiven = make_policy(1)
    assert all(record.gold is None for record in train_on(ungiven, reference))
    assert equal(weights(ungiven), weights(policy))


@final
@dataclass(frozen=True)
class Spoiled(AbstractObjective):
    """RLOO with a figure that is not finite."""

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        return replace(RLOO().update(learner, batch, generator), measures={"clip_share": math.inf})


def test_a_figure_that_is_not_finite_is_named(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match="after step 0: its clip_share is inf"):
        train_on(make_policy(1), make_policy(1), objective=Spoiled(), checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_named_with_the_step(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    with torch.no_grad():
        policy.model.lm_head.weight[2] = float("inf")
    with pytest.raises(NonFinite, match="step 0"):
        train_on(policy, make_policy(1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"prompts": PROMPTS[:3]}, "prompts"),
        ({"settings": replace(SETTINGS, learning_rate=0.2)}, "settings"),
        ({"regularizer": FixedPenalty(0.7)}, "regularizer"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(
    make_policy: Callable[..., Policy], tmp_path: Path, change: dict[str, object], named: str
) -> None:
    arguments = {"prompts": PROMPTS, "reward": share_of_ones, "seed": 5, "settings": replace(SETTINGS, steps=1)}
    train_on(make_policy(1), make_policy(1), checkpoint=tmp_path, **arguments)
    with pytest.raises(ArtifactError, match=f"of a training with other {named};"):
        train_on(make_policy(1), make_policy(1), checkpoint=tmp_path, **(arguments | change))


def test_a_damaged_or_foreign_checkpoint_is_refused(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    arguments = {"prompts": PROMPTS, "reward": share_of_ones, "seed": 5, "settings": replace(SETTINGS, steps=1)}
    train_on(make_policy(1), make_policy(1), checkpoint=tmp_path, **arguments)
    other = make_policy(1, vocabulary=9)
    with pytest.raises(ArtifactError, match="not those of the given model"):
        train_on(other, other.copy(), checkpoint=tmp_path, **arguments)
    file = tmp_path / FILE_NAME
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ArtifactError, match="no readable training checkpoint"):
        train_on(make_policy(1), make_policy(1), checkpoint=tmp_path, **arguments)


def test_bfloat16_moves_the_weights_nearly_alike(make_policy: Callable[..., Policy]) -> None:
    """One step of plain size: the first AdamW step moves each weight by the sign of its gradient."""
    start = make_policy(1, spread=0.2)
    moved = []
    for bfloat16 in (False, True):
        policy = start.copy()
        settings = replace(SETTINGS, steps=1, warmup=0, bfloat16=bfloat16)
        train_on(policy, start, settings=settings, size=SIZE | {"group": 32})
        change = [value - start.model.state_dict()[name] for name, value in policy.model.state_dict().items()]
        moved.append(torch.cat([part.flatten() for part in change]))
    assert float(torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0)) > 0.8
    assert all(float(change.abs().max()) > 1e-3 for change in moved)


def test_every_prompt_comes_once_before_any_comes_twice() -> None:
    drawn = [prompt for step in range(5) for prompt in batch_of_step(PROMPTS, 3, seed=1, step=step)]
    epochs = [drawn[at : at + 5] for at in range(0, 15, 5)]
    assert all(sorted(epoch) == sorted(PROMPTS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert len(batch_of_step(PROMPTS[:2], 5, seed=1, step=0)) == 5


def test_every_step_draws_anew(make_policy: Callable[..., Policy]) -> None:
    """One prompt and one policy: other completions at another step, the same ones at the same step."""
    learner = Learner(make_policy(1), make_policy(1), learning_rate=1e-3)
    source = OnPolicy(prompts=PROMPTS[:1], reward=share_of_ones, prompts_per_step=1, group=16, max_new_tokens=4)
    texts = [
        source.draw(learner, samples_from=whose, seed=5, step=step).rollouts.samples.completions
        for whose in ("policy", "reference")
        for step in (0, 1, 0)
    ]
    assert texts[0] == texts[2] != texts[1]
    assert texts[3] == texts[5] != texts[4]


def test_generators_differ_by_stream_seed_and_number() -> None:
    keys = [("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1)]
    drawn = [float(torch.rand(1, generator=generator_of(name, seed=seed, number=at))) for name, seed, at in keys]
    assert len(set(drawn)) == 4
    assert float(torch.rand(1, generator=generator_of("a", seed=0, number=0))) == drawn[0]


@pytest.mark.parametrize("change", [{"learning_rate": 0.0}, {"clip_norm": -1.0}, {"steps": -1}, {"discount": 1.5}])
def test_unusable_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        TrainSettings(**(asdict(SETTINGS) | change))


def test_unusable_arguments_are_refused(make_policy: Callable[..., Policy]) -> None:
    policy, reference = make_policy(1), make_policy(1)
    with pytest.raises(InvalidInput, match="one model"):
        train_on(policy, policy, prompts=PROMPTS, reward=share_of_ones, settings=SETTINGS, seed=0)
    with pytest.raises(InvalidInput, match="at least one prompt"):
        train_on(policy, reference, prompts=[], reward=share_of_ones, settings=SETTINGS, seed=0)
    with pytest.raises(InvalidInput, match="prompts_per_step must be at least 1"):
        train_on(policy, reference, size=SIZE | {"prompts_per_step": 0})
    with pytest.raises(InvalidInput, match="at least 2 completions"):
        train_on(policy, reference, size=SIZE | {"group": 1})
    with pytest.raises(InvalidInput, match="one number for each of 8 sequences"):
        train_on(policy, reference, prompts=PROMPTS, reward=lambda _: torch.zeros(3), settings=SETTINGS, seed=0)
