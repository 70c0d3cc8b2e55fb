"""All that a session which fits a reward model works on, gathered from the store and read by the base policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rrm.config import RewardSection
from rrm.rewards.answers import Answers, answers_to
from rrm.rewards.models import AbstractRewards, features_read
from rrm.rewards.questions import likeness
from rrm.rewards.reading import Reading, StoredReading
from rrm.sessions.plan import Plan, session_folder, settled_plan
from rrm.sessions.reading import read_completions
from rrm.sessions.records import Session
from rrm.sessions.settings import checked_settings
from rrm.store import Judgement, StoredComparison, artifact, comparisons
from rrm.store.sittings import judgement
from rrm.workbench import Workbench


@dataclass(frozen=True)
class Material:
    """What one session learns from, is tested on, and predicts."""

    level: int
    plan: Plan
    settings: RewardSection
    before: AbstractRewards | None
    """The model that was current when the session began."""
    comparisons: Mapping[str, StoredComparison]
    """Those of the plan, by id and in its order."""
    judged: tuple[Judgement, ...]
    held_out: tuple[Judgement, ...]
    reading: StoredReading

    @cached_property
    def train(self) -> Answers:
        """What is fitted."""
        return self._answers(self.judged)

    @cached_property
    def test(self) -> Answers | None:
        """What is held out; None where nothing is."""
        return self._answers(self.held_out) if self.held_out else None

    @cached_property
    def predicted(self) -> tuple[Reading, Reading]:
        """The first and the second completions of the plan's comparisons."""
        return self.sides(tuple(self.comparisons))

    def sides(self, identifiers: Sequence[str]) -> tuple[Reading, Reading]:
        """The first and the second completions of comparisons of the plan."""
        asked = [self.comparisons[identifier] for identifier in identifiers]
        return (
            self.reading.of([one.first_completion_id for one in asked]),
            self.reading.of([one.second_completion_id for one in asked]),
        )

    def _answers(self, judged: Sequence[Judgement]) -> Answers:
        return answers_to([self.comparisons[one.comparison_id] for one in judged], judged, self.reading)


def gather(bench: Workbench, session: Session) -> Material:
    """Settle what the session works on, and read it. Raises RunError where there are too few judgements."""
    settings = checked_settings(session.settings)
    plan = settled_plan(bench, session)
    before = bench.rewards(artifact(bench.run, plan.before)) if plan.before else None
    known = {each.id: each for each in comparisons(bench.run, level=session.level)}
    looked_at = {identifier: known[identifier] for identifier in plan.comparisons}
    # The model before may read other features than the new one.
    names = dict.fromkeys(
        (*features_read(settings), *likeness(settings), *(before.reads if before is not None else ()))
    )
    return Material(
        level=session.level,
        plan=plan,
        settings=settings,
        before=before,
        comparisons=looked_at,
        judged=tuple(judgement(bench.run, identifier) for identifier in plan.judgements),
        held_out=tuple(judgement(bench.run, identifier) for identifier in plan.held_out),
        reading=read_completions(
            bench,
            tuple(looked_at.values()),
            names=tuple(names),
            folder=session_folder(bench, session) / "features",
        ),
    )
