"""Where the batches of an agent's training come from, by its objective."""

from collections.abc import Sequence

from agents.fitting_text import fitted_to_context
from agents.sources import AbstractSource, Comparisons, GivenPair, OnPolicy, Reward
from reward_models.errors import InvalidInput
from rrm.prompting import prompts_of
from rrm.steps.fitting import answers_of, final_judgements
from rrm.store import Purpose
from rrm.tasks.task import Split
from rrm.workbench import Workbench


def training_prompts(bench: Workbench, *, level: int, round: int) -> list[str]:
    """Of this round's training documents."""
    count = bench.config.sampling.train_documents
    return prompts_of(bench, bench.documents(split=Split.TRAIN, level=level, count=count, first=round * count))


def source_of(
    bench: Workbench, reward: Reward, prompts: Sequence[str], *, objective: str, level: int, round: int
) -> AbstractSource:
    """The agent's own completions of these prompts; for DPO without a reward model, the level's judged comparisons.

    Both have the same number of completions in a step.
    """
    settings = bench.config.agent
    if objective != "dpo":
        return OnPolicy(
            prompts=prompts,
            reward=reward,
            prompts_per_step=settings.prompts_per_step,
            group=settings.group,
            max_new_tokens=bench.config.sampling.max_new_tokens,
        )
    judged = final_judgements(bench, level=level, last_round=round, purpose=Purpose.TRAIN)
    answers = answers_of(bench, judged, level=level, split=Split.TRAIN, names=())
    rows = zip(
        answers.first.prompts,
        answers.first.completions,
        answers.second.completions,
        answers.labels.tolist(),
        strict=True,
    )
    return Comparisons(
        pairs=readable_pairs(bench, [GivenPair(*row) for row in rows]),
        pairs_per_step=max(1, settings.prompts_per_step * settings.group // 2),
    )


def readable_pairs(bench: Workbench, pairs: Sequence[GivenPair]) -> list[GivenPair]:
    """The pairs as the model can read them: prompts by their ends, and none whose completions would have to be cut.

    Half a completion would teach an agent to stop there. Raises InvalidInput where none is left.
    """
    fitted = [(pair, fitted_to_context(bench.base, pair.prompt, (pair.first, pair.second))) for pair in pairs]
    found = [
        pair._replace(prompt=text.prompt) for pair, text in fitted if text.completions == (pair.first, pair.second)
    ]
    if pairs and not found:
        raise InvalidInput(
            f"None of the {len(pairs)} judged pairs fits the {bench.base.context} tokens of the model whole, so that "
            "dpo has nothing to learn from; take another agent.objective, which learns from what the agent writes"
        )
    return found
