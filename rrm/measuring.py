"""Measure a level on test documents that nothing else reads, against the gold utility where the task knows it.

Only reports call this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from agents.policy import Policy
from agents.rollout import rollout
from rrm.judging.raters import AbstractRater, AssistantAlone, Question, SimulatedReader
from rrm.prompting import prompts_of
from rrm.rewards.reading import read
from rrm.steps.assisting import aids_of
from rrm.store import step_key, step_result
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask, GoldUtility, Split, known
from rrm.watching.gold import MARGIN as MARGIN
from rrm.workbench import Workbench, artifact_id, once
from rrm.writing_texts import CHUNK, sample_texts

RATERS = ("alone", "assistant", "assisted")
"""The reader by itself, the aids by themselves, and the reader with the aids."""

COMPLETIONS = 4
"""Completions per test document, by the base and by the agent."""


@dataclass(frozen=True)
class TestComparison:
    """Two briefs of one test document by the base, drawn uniformly, and which is really better."""

    document: Document
    first: str
    second: str
    first_is_better: bool


@dataclass(frozen=True)
class RaterFigures:
    """How often a rater is right on test comparisons."""

    accuracy: float
    """Mean probability of the right answer."""
    n: int
    """Test comparisons."""


@dataclass(frozen=True)
class PolicyFigures:
    """What a policy's briefs of test documents are really worth."""

    gold: float
    """Mean gold utility."""
    invented: float
    """Share of the claims that the document does not contain."""
    kl: float
    """Mean exact KL(policy || base) of a brief in nats."""


@dataclass(frozen=True)
class LevelFigures:
    """Everything a report says of a level; None where it has no meaning."""

    level: int
    rater: Mapping[str, RaterFigures | None]
    """`alone`, `assistant` (the aids alone) and `assisted`."""
    policy: Mapping[str, PolicyFigures | None]
    """`base` and `agent`; None where the task does not know what a text is worth."""
    reward_model: Mapping[str, float | None]
    """Accuracy, ECE and Spearman(spread, error) on held-out judgements, and accuracy against gold."""
    kl: float | None
    """Mean exact KL(agent || base) of a completion of a test document, in nats; None without test documents."""


def measure_level(bench: Workbench, *, level: int) -> LevelFigures:
    """Sample and measure once; a second call reads the stored figures. The last round of the level is measured."""
    round = bench.config.rounds.rounds_per_level - 1
    stored = once(bench, level=level, round=round, name="measure", work=lambda _: _measure(bench, level, round))
    return figures_from(stored)


def test_texts(bench: Workbench, *, level: int) -> list[tuple[str, ...]]:
    """The base's briefs of the test documents, sampled once a run."""

    def work(_: str) -> Mapping[str, object]:
        bench.progress.start("measure the base", bench.config.sampling.test_documents)
        prompts = prompts_of(bench, _documents(bench, level))
        texts = sample_texts(bench, bench.base, prompts, group=COMPLETIONS, names=("test", level))
        bench.progress.finish()
        return {"texts": [list(group) for group in texts]}

    stored = once(bench, level=level, round=0, name="test-base", work=work)["texts"]
    assert isinstance(stored, list)
    return [tuple(str(text) for text in group) for group in stored]


def test_comparisons(bench: Workbench, *, level: int) -> list[TestComparison]:
    """Uniform pairs of the base's test briefs whose gold differs by the margin; disjoint pairs of each document."""
    task = known(bench.task, needed_for="A test of raters")
    found: list[TestComparison] = []
    for document, texts in zip(_documents(bench, level), test_texts(bench, level=level), strict=True):
        for first, second in zip(texts[::2], texts[1::2], strict=True):
            difference = task.gold(document, first).utility - task.gold(document, second).utility
            if abs(difference) >= MARGIN:
                found.append(TestComparison(document, first, second, difference > 0))
    return found


def rater_figures(
    rater: AbstractRater, asked: Sequence[TestComparison], aids: Mapping[str, tuple[str, ...]] | None
) -> RaterFigures | None:
    """How often the rater is right, with aids by document id or without any; None without comparisons."""
    if not asked:
        return None
    right = 0.0
    for one in asked:
        question = Question(one.document, one.first, one.second, aids=None if aids is None else aids[one.document.id])
        probability = rater.probability(question)
        right += probability if one.first_is_better else 1.0 - probability
    return RaterFigures(accuracy=right / len(asked), n=len(asked))


def test_aids(bench: Workbench, *, level: int, assistant: str) -> dict[str, tuple[str, ...]]:
    """Part briefs of every test document by an assistant, by document id."""
    found = _documents(bench, level)
    bench.progress.start("measure the assistant", sum(len(document.parts) for document in found))
    aids = aids_of(bench, found, assistant=assistant, names=("test-aids", level, assistant))
    bench.progress.finish()
    return {document.id: texts for document, texts in zip(found, aids, strict=True)}


def policy_figures(
    bench: Workbench, found: Sequence[Document], texts: Sequence[Sequence[str]], *, kl: float
) -> PolicyFigures:
    """Gold utility and share of invented claims of briefs."""
    task = known(bench.task, needed_for="A figure against gold")
    golds: list[GoldUtility] = [
        task.gold(document, text) for document, group in zip(found, texts, strict=True) for text in group
    ]
    claims = sum(gold.claims for gold in golds)
    return PolicyFigures(
        gold=sum(gold.utility for gold in golds) / len(golds),
        invented=sum(gold.invented for gold in golds) / max(1, claims),
        kl=kl,
    )


def agent_figures(bench: Workbench, *, level: int, agent: str) -> PolicyFigures:
    """Brief the test documents with a trained agent, and measure its exact KL to the base."""
    found = _documents(bench, level)
    texts, kl = _rollouts(bench, bench.policy(agent), found, names=("test-agent", level, agent))
    return policy_figures(bench, found, texts, kl=kl)


def figures_from(stored: Mapping[str, object]) -> LevelFigures:
    """The figures as a step stored them."""
    level, rater, policy, reward = (stored[name] for name in ("level", "rater", "policy", "reward_model"))
    assert isinstance(level, int) and isinstance(rater, dict) and isinstance(policy, dict) and isinstance(reward, dict)
    return LevelFigures(
        level=level,
        rater={name: None if one is None else RaterFigures(**one) for name, one in rater.items()},
        policy={name: None if one is None else PolicyFigures(**one) for name, one in policy.items()},
        reward_model=reward,
        kl=_kl(stored, policy),
    )


def _kl(stored: Mapping[str, object], policy: Mapping[str, Mapping[str, float] | None]) -> float | None:
    """That of the agent, which reports of earlier versions had among its figures only."""
    agent = policy["agent"]
    found = stored.get("kl", None if agent is None else agent["kl"])
    return float(found) if isinstance(found, float) else None


def _measure(bench: Workbench, level: int, round: int) -> Mapping[str, object]:
    agent = artifact_id("agent", level, round)
    policy: dict[str, Mapping[str, object] | None] = {"base": None, "agent": None}
    kl: float | None = None
    if isinstance(bench.task, AbstractKnownTask):
        asked = test_comparisons(bench, level=level)
        rater = _raters(bench, bench.task, asked, level=level)
        base = policy_figures(bench, _documents(bench, level), test_texts(bench, level=level), kl=0.0)
        figures = agent_figures(bench, level=level, agent=agent)
        policy, kl = {"base": vars(base), "agent": vars(figures)}, figures.kl
    else:
        asked, rater = [], dict.fromkeys(RATERS)
        if found := _documents(bench, level):
            kl = _rollouts(bench, bench.policy(agent), found, names=("test-agent", level, agent))[1]
    return {
        "level": level,
        "rater": {name: None if one is None else vars(one) for name, one in rater.items()},
        "policy": policy,
        "reward_model": _reward_model(bench, asked, level=level, round=round),
        "kl": kl,
    }


def _raters(
    bench: Workbench, task: AbstractKnownTask, asked: Sequence[TestComparison], *, level: int
) -> dict[str, RaterFigures | None]:
    reader = SimulatedReader(task, budget=bench.config.judging.reading_budget)
    assistant = bench.assistant(level)
    aids = None if assistant is None else test_aids(bench, level=level, assistant=assistant)
    figures = (
        rater_figures(reader, asked, None),
        None if aids is None else rater_figures(AssistantAlone(task), asked, aids),
        None if aids is None else rater_figures(reader, asked, aids),
    )
    return dict(zip(RATERS, figures, strict=True))


def _reward_model(
    bench: Workbench, asked: Sequence[TestComparison], *, level: int, round: int
) -> dict[str, float | None]:
    fitted = step_result(bench.run, step_key(level=level, round=round, name="fit"))
    held_out = fitted["held_out"] if fitted is not None else {}
    assert isinstance(held_out, dict)
    return {
        **{name: held_out.get(name) for name in ("accuracy", "ece", "spread_error_spearman")},
        "gold_accuracy": _gold_accuracy(bench, asked, level=level, round=round),
    }


def _gold_accuracy(bench: Workbench, asked: Sequence[TestComparison], *, level: int, round: int) -> float | None:
    if not asked:
        return None
    rewards = bench.rewards(bench.reward_model(level, round))
    prompts = prompts_of(bench, [one.document for one in asked])
    reading = read(bench.base, prompts, [(one.first, one.second) for one in asked], names=rewards.reads)
    mean = rewards.scores(reading).mean(dim=0)
    truth = torch.tensor([one.first_is_better for one in asked])
    return float(((mean[::2] > mean[1::2]) == truth).double().mean())


def _documents(bench: Workbench, level: int) -> tuple[Document, ...]:
    # Imported prompts are all for training and validation.
    split = Split.TEST if bench.task.size(split=Split.TEST, level=level) != 0 else Split.VALIDATION
    return bench.documents(split=split, level=level, count=bench.config.sampling.test_documents)


def _rollouts(
    bench: Workbench, policy: Policy, found: Sequence[Document], *, names: Sequence[object]
) -> tuple[list[tuple[str, ...]], float]:
    texts: list[tuple[str, ...]] = []
    kl = 0.0
    bench.progress.start("measure the agent", len(found))
    for begin in range(0, len(found), CHUNK):
        part = found[begin : begin + CHUNK]
        rollouts = rollout(
            policy,
            bench.base,
            prompts_of(bench, part),
            group=COMPLETIONS,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator(*names, begin),
        )
        written = rollouts.samples.completions
        texts += [written[row * COMPLETIONS : (row + 1) * COMPLETIONS] for row in range(len(part))]
        kl += float(rollouts.kl.sum())
        bench.progress.advance(len(part))
    bench.progress.finish()
    return texts, kl / (len(found) * COMPLETIONS)
