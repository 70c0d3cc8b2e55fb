"""A run's agents and reward models put to work on one's own text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.rollout import sample
from reward_models.errors import InvalidInput
from reward_models.estimate import RewardEstimate
from rrm.config import RewardSection
from rrm.errors import RunError
from rrm.opening import open_workbench
from rrm.preparing import grown
from rrm.prompting import prompts_of
from rrm.rewards.conservative import conservative
from rrm.rewards.reading import read
from rrm.sessions.current import current_model
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.texts.rejection import Rejection
from rrm.texts.source_text import plain_text
from rrm.workbench import Workbench


@dataclass(frozen=True)
class Generated:
    """Completions for one text."""

    text: str
    agent: str
    """Which agent wrote them: the promoted one of the level, or `base`."""
    completions: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """What the reward model of a level thinks of one completion."""

    completion: str
    mean: float
    """Mean score of the members, in logits of being preferred."""
    spread: float
    """Standard deviation between the members."""
    conservative: float
    """The reward that training would see, as the reward model was set up."""


def generate(folder: Path, texts: Sequence[str], *, level: int, count: int, seed: int) -> list[Generated]:
    """`count` completions for each text by the agent that stands at the level.

    Raises InvalidInput for an empty text, and for a level that the run does not have.
    """
    _check_texts(texts)
    with open_workbench(folder, exclusive=False) as bench:
        if not 0 <= level < bench.task.levels:
            raise InvalidInput(f"There is no level {level}; this run has the levels 0 to {bench.task.levels - 1}.")
        agent = bench.incumbent(level)
        samples = sample(
            bench.policy(agent),
            [_prompt(bench, text) for text in texts],
            group=count,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator("own-text", seed),
        )
        written = samples.completions
        return [Generated(text, agent, written[row * count : (row + 1) * count]) for row, text in enumerate(texts)]


def score(folder: Path, text: str, completions: Sequence[str], *, level: int) -> list[Scored]:
    """Score completions of a text with the current reward model of the level: a session's, or the last round's.

    Raises RunError if it has none yet.
    """
    _check_texts([text])
    if not completions:
        raise InvalidInput("There is no completion to score; give at least one.")
    with open_workbench(folder, exclusive=False) as bench:
        model = current_model(bench.run, level)
        if model is None:
            raise RunError(f"Level {level} has no reward model yet; play its round first with `rrm round {folder}`.")
        rewards = bench.rewards(model)
        prompt = _prompt(bench, text)
        estimate = RewardEstimate(rewards.scores(read(bench.base, [prompt], [list(completions)], names=rewards.reads)))
        training = conservative(estimate, RewardSection.model_validate(model.settings))
        return [
            Scored(completion, float(estimate.mean[row]), float(estimate.spread[row]), float(training[row]))
            for row, completion in enumerate(completions)
        ]


def _prompt(bench: Workbench, text: str) -> str:
    """What an agent reads of a text: the whole, or where that does not fit what was written of its parts."""
    if not isinstance(bench.task, OwnText) or bench.task.name == "prompts":
        return bench.task.prompt(Document(id="own", title="", text=text))
    try:
        source = plain_text(text)
    except Rejection as rejection:
        raise InvalidInput(f"The text {rejection.reason}.") from None
    trees = grown([source], bench.config)
    (tree,) = (tree for found in trees.values() for tree in found) if len(trees) == 1 else (None,)
    if tree is None:
        raise InvalidInput(
            f"The text falls into {len(trees)} documents of {bench.config.run.levels} levels; give them one at a time."
        )
    return prompts_of(bench, [tree])[0]


def _check_texts(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts, 1):
        if not text.strip():
            raise InvalidInput(f"Text {place} of {len(texts)} is empty; give some text to write for.")
