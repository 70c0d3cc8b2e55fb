"""All that a session which fits a reward model works on, gathered from the store and read by the base policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from reward_models.ensemble import Ensemble
from rrm.sessions.plan import Plan, session_folder, settled_plan
from rrm.sessions.reading import Features, read_features
from rrm.sessions.records import Session
from rrm.sessions.settings import RewardModelSettings, checked_settings
from rrm.steps.fitting import Pairs
from rrm.store import Judgement, StoredComparison, artifact, comparisons, label_of
from rrm.store.sittings import judgement
from rrm.workbench import Workbench

Sides = tuple[torch.Tensor, torch.Tensor]
"""Features of the first and of the second completions, each (comparisons, features)."""


@dataclass(frozen=True)
class Material:
    """What one session learns from, is tested on, and predicts."""

    level: int
    plan: Plan
    settings: RewardModelSettings
    before: Ensemble | None
    """The model that was current when the session began."""
    comparisons: Mapping[str, StoredComparison]
    """Those of the plan, by id and in its order."""
    judged: tuple[Judgement, ...]
    held_out: tuple[Judgement, ...]
    features: Features

    @cached_property
    def train(self) -> Pairs:
        """What is fitted."""
        return self._pairs(self.judged, self.settings.features)

    @cached_property
    def test(self) -> Pairs | None:
        """What is held out; None where nothing is."""
        return self._pairs(self.held_out, self.settings.features) if self.held_out else None

    @cached_property
    def predicted(self) -> Sides:
        """The comparisons of the plan, as the new model reads them."""
        return self.sides(self.settings.features)

    def sides(self, names: Sequence[str]) -> Sides:
        """The comparisons of the plan, as a model with these features reads them."""
        return self._sides(tuple(self.comparisons.values()), names)

    def _sides(self, asked: Sequence[StoredComparison], names: Sequence[str]) -> Sides:
        return (
            self.features.of([one.first_completion_id for one in asked], names),
            self.features.of([one.second_completion_id for one in asked], names),
        )

    def _pairs(self, judgements: Sequence[Judgement], names: Sequence[str]) -> Pairs:
        first, second = self._sides([self.comparisons[one.comparison_id] for one in judgements], names)
        labels = torch.tensor([label_of(one.choice) for one in judgements], dtype=torch.float64)
        return first, second, labels


def gather(bench: Workbench, session: Session) -> Material:
    """Settle what the session works on, and read it. Raises RunError where there are too few judgements."""
    settings = checked_settings(session.settings)
    plan = settled_plan(bench, session)
    before = Ensemble.load(bench.run.folder / artifact(bench.run, plan.before).folder) if plan.before else None
    known = {each.id: each for each in comparisons(bench.run, level=session.level)}
    looked_at = {identifier: known[identifier] for identifier in plan.comparisons}
    # The model before may read other features than the new one.
    names = dict.fromkeys((*settings.features, *(before.feature_names if before is not None else ())))
    return Material(
        level=session.level,
        plan=plan,
        settings=settings,
        before=before,
        comparisons=looked_at,
        judged=tuple(judgement(bench.run, identifier) for identifier in plan.judgements),
        held_out=tuple(judgement(bench.run, identifier) for identifier in plan.held_out),
        features=read_features(
            bench,
            tuple(looked_at.values()),
            names=tuple(names),
            folder=session_folder(bench, session) / "features",
        ),
    )
