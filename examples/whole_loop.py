"""The whole loop in one page: sample, judge, fit, train, compare.

    python examples/whole_loop.py

A small language model briefs the log of a shift in a plant. It knows the language and invents events. A simulated
reader compares pairs of its briefs; an ensemble of reward models learns from the answers; an agent is trained on that
reward, near the model it came from. It takes about a minute. `rrm round` does the same at every level, with a store, an
assistant from level 1 on, and promotion by held-out judgements.
"""

import torch

from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts, sample, trace
from agents.sources import OnPolicy
from agents.training import StepRecord, TrainSettings, train
from reward_models import FitSettings, RewardEstimate, extract, fit
from rrm.judging.raters import Question, SimulatedReader
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split, documents

FEATURES = ("likelihood_statistics", "summed_hidden")
BRIEFS = 4  # of each log: two pairs
MAX_NEW_TOKENS = 32


def main(*, logs: int = 150, steps: int = 40) -> dict[str, float]:
    """Run the loop at level 0; returns the mean gold utility of the base's and of the agent's briefs."""
    task = Shiftlog(seed=0)
    base = Policy.load(task.base_model())
    generator = torch.Generator().manual_seed(0)

    # 1. Sample: the base model briefs some logs, each several times.
    shifts = documents(task, split=Split.TRAIN, level=0, count=logs)
    prompts = [task.prompt(shift) for shift in shifts]
    briefs = sample(base, prompts, group=BRIEFS, max_new_tokens=MAX_NEW_TOKENS, generator=generator).completions
    first, second = briefs[0::2], briefs[1::2]

    # 2. Judge: a reader with a budget of words says which brief of a pair is better. He never sees the gold utility.
    reader = SimulatedReader(task)
    questions = [Question(shifts[2 * pair // BRIEFS], first[pair], second[pair]) for pair in range(len(first))]
    prefers_first = torch.tensor([reader.probability(question) for question in questions], dtype=torch.float64)
    labels = torch.bernoulli(prefers_first, generator=generator)

    # 3. Fit: the base model reads every brief once, and five linear heads learn to predict the answers from that.
    seen = trace(base, prompts, [briefs[row : row + BRIEFS] for row in range(0, len(briefs), BRIEFS)])
    features = extract(seen, FEATURES)
    ensemble, record = fit(
        features[0::2], features[1::2], labels, feature_names=FEATURES, settings=FitSettings(), generator=generator
    )
    print(f"{record.comparisons} judgements; held-out accuracy {record.held_out_after.accuracy:.2f}")

    # 4. Train: more reward, but no further from the base than it is worth. Where the heads disagree, it is lower.
    def reward(rollouts: Rollouts) -> torch.Tensor:
        return RewardEstimate(ensemble.score_trace(rollouts.reference)).lower(0.5)

    def watch(step: StepRecord) -> None:
        if step.step % 10 == 9:
            print(f"step {step.step + 1}: reward {step.reward:+.2f}, KL to the base {step.kl:.2f} nats")

    agent = base.copy()
    train(
        agent,
        base,
        source=OnPolicy(prompts=prompts, reward=reward, max_new_tokens=MAX_NEW_TOKENS),
        objective=RLOO(),
        regularizer=FixedPenalty(0.1),
        settings=TrainSettings(steps=steps),
        seed=0,
        on_step=watch,
    )

    # 5. Compare: the task knows what happened, so it can say what the briefs of new logs are really worth.
    tests = documents(task, split=Split.TEST, level=0, count=logs)
    utilities: dict[str, float] = {}
    for name, policy in (("base", base), ("agent", agent)):
        prompts = [task.prompt(test) for test in tests]
        written = sample(policy, prompts, group=1, max_new_tokens=MAX_NEW_TOKENS, generator=generator).completions
        golds = [task.gold(test, brief) for test, brief in zip(tests, written, strict=True)]
        utilities[name] = sum(gold.utility for gold in golds) / len(golds)
        invented = sum(gold.invented for gold in golds) / max(1, sum(gold.claims for gold in golds))
        print(f"{name}: gold utility {utilities[name]:+.2f}, invented claims {invented:.0%}; one brief: {written[0]!r}")
    return utilities


if __name__ == "__main__":
    main()
