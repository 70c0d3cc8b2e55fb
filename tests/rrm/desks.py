"""Desks over small runs, for the tests of what the labeling page asks for."""

from rrm.config import Configuration
from rrm.judging.answering import Outcome
from rrm.judging.cards import Card
from rrm.judging.desk import Desk
from rrm.judging.details import GivenAnswer
from rrm.judging.sides import Side
from rrm.people.accounts import Person, Role
from rrm.store import Run, Stage
from rrm.tasks.shiftlog.task import Shiftlog
from tests.rrm.store_samples import NOON, seconds

PEOPLE = {name: Person(name, name.title(), Role.RATER) for name in ("ann", "ben", "cal")}


def desk(run: Run, rater: str = "ann", *, tab: str = "tab-1", repeat_share: float = 0.0) -> Desk:
    """A desk where no comparison comes again, unless a share is given."""
    config = Configuration.model_validate({"judging": {"repeat_share": repeat_share}})
    return Desk(run=run, task=Shiftlog(seed=0), config=config, person=PEOPLE[rater], tab=tab)


def draw(at_desk: Desk, count: int = 1, *, at: float = 0) -> list[Card]:
    """New cards."""
    return list(at_desk.next_cards(count=count, now=seconds(at)).cards)


def given(card: Card, side: Side = Side.LEFT, *, id: str | None = None, stage: Stage = Stage.ALONE) -> GivenAnswer:
    """An answer to a card, with an id of its own."""
    return GivenAnswer(id=id or f"answer-{stage.value}-{card.lease_id}", lease_id=card.lease_id, stage=stage, side=side)


def give(at_desk: Desk, card: Card, side: Side = Side.LEFT, *, stage: Stage = Stage.ALONE, at: float = 0) -> Outcome:
    """Answer a card; it must be saved."""
    outcome = at_desk.answer([given(card, side, stage=stage)], now=seconds(at) if at else NOON)[0]
    assert outcome.saved, outcome.refused
    return outcome
