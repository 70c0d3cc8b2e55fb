"""The desk where one person judges: what a page or a program asks for and sends, without anything of the screen.

Cards are drawn ahead, ten at a time if that is asked for; each tab holds its own, and its asking again is the sign of
life that keeps them. Every event carries an id chosen by the sender, so that sending it again does no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reward_models.errors import InvalidInput
from rrm.config import Configuration
from rrm.judging.answering import Outcome, give_change, outcomes, take_back
from rrm.judging.cards import Card, cards_of
from rrm.judging.details import GivenAnswer, GivenChange
from rrm.judging.hands import held_elsewhere, keep, take
from rrm.judging.history import Entry, history
from rrm.judging.pace import Pace, pace
from rrm.judging.queue import draw_any, open_leases
from rrm.judging.repeats import draw_repeat, repeats_due
from rrm.judging.reveals import Revealed, reveal
from rrm.people.accounts import Person, ensure_rater
from rrm.sessions.current import predicted
from rrm.store.leases import leased
from rrm.store.records import Leased
from rrm.store.run import Run
from rrm.store.transaction import rows
from rrm.tasks.task import AbstractTask

MOST_CARDS = 20
"""Cards that may be asked for at once."""

_NOTHING_YET = "There is nothing to judge yet. Start a round on the page Rounds: its comparisons appear here."
_ALL_DONE = "Everything that was asked is judged. What comes next stands on the page Rounds."
_OTHERS = "You have judged all that is open to you. What is left waits for other raters."
_OTHER_TAB = "What is left is open in another window of yours. Go on there, or bring it here if that one is closed."


@dataclass(frozen=True, slots=True)
class Next:
    """What comes next."""

    cards: tuple[Card, ...]
    """New cards; those that the tab holds come first where it asked for them again."""
    lost: tuple[str, ...]
    """Leases that the tab holds no longer: answered, run out, or open in another tab."""
    empty: str | None
    """Where nothing more can be drawn: why, and what to do, in a sentence or two."""
    elsewhere: bool
    """Whether another tab of the same rater holds what is left; `take_over` brings it here."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One person at the judging of one run."""

    run: Run
    task: AbstractTask
    config: Configuration
    person: Person
    tab: str = ""
    """Names the window or program; what one tab holds is not given to another one."""

    def next_cards(
        self, *, count: int, holding: Sequence[str] = (), restore: bool = False, take_over: bool = False, now: str
    ) -> Next:
        """Renew what the tab holds, and draw up to `count` further cards.

        With `restore` the cards of what it holds come again: for a page that was loaded anew. With `take_over` it gets
        what the rater's other tabs hold: for one that was closed for good.
        """
        with self.run.transaction():
            ensure_rater(self.run, self.person)
            held = keep(self.run, holding, rater_id=self.person.rater_id, tab=self.tab, now=now)
            taken = self._take_over(held.kept, now) if take_over else []
            drawn = [*taken, *self._draw(min(count, MOST_CARDS) - len(taken), now)]
            take(self.run, [each.lease_id for each in drawn], tab=self.tab)
        shown = [*(leased(self.run, held.kept) if restore else ()), *drawn]
        elsewhere = bool(count) and not drawn and self._held_elsewhere(now)
        return Next(
            cards=tuple(cards_of(self.run, self.task, shown)),
            lost=tuple(held.lost),
            empty=self._why_empty(elsewhere) if count and not drawn else None,
            elsewhere=elsewhere,
        )

    def answer(self, answers: Sequence[GivenAnswer], *, now: str) -> list[Outcome]:
        """Store answers, each once; when this returns, those that are saved are on disk."""
        return outcomes(self.run, self.task, answers, rater_id=self.person.rater_id, now=now)

    def undo(self, *, undo_id: str, now: str, judgement_id: str | None = None) -> Outcome:
        """Take back the last answer that counts, or the one named."""
        return take_back(
            self.run,
            self.task,
            undo_id=undo_id,
            rater_id=self.person.rater_id,
            tab=self.tab,
            now=now,
            judgement_id=judgement_id,
        )

    def change(self, given: GivenChange, *, now: str) -> Outcome:
        """Replace an answer by another one."""
        return give_change(self.run, given, rater_id=self.person.rater_id, now=now)

    def history(self, *, before: int | None = None, count: int = 20) -> list[Entry]:
        """The person's final answers, newest first."""
        return history(self.run, rater_id=self.person.rater_id, before=before, count=count)

    def reveal(self, lease_id: str, *, now: str) -> Revealed:
        """Who wrote what; only after the final answer."""
        told = reveal(self.run, lease_id, rater_id=self.person.rater_id, now=now)
        shown = leased(self.run, [lease_id])[0]
        first = predicted(self.run, shown.comparison)
        return told if first is None else replace(told, left_probability=first if shown.first_on_left else 1.0 - first)

    def card(self, lease_id: str) -> Card:
        """The card of a lease that this person has or had; of somebody else's -> InvalidInput."""
        found = leased(self.run, [lease_id])
        if found[0].rater_id != self.person.rater_id:
            raise InvalidInput("this comparison was given to another rater; each sees what was given to them")
        return cards_of(self.run, self.task, found)[0]

    def pace(self, *, since: str) -> Pace:
        """How far the judging has come, and what this person did since a time."""
        return pace(
            self.run,
            rater_id=self.person.rater_id,
            since=since,
            repeat_share=self.config.judging.repeat_share,
        )

    def _draw(self, count: int, now: str) -> list[Leased]:
        if count <= 0:
            return []
        rater_id = self.person.rater_id
        due = repeats_due(self.run, rater_id=rater_id, count=count, share=self.config.judging.repeat_share)
        fresh = draw_any(self.run, rater_id=rater_id, count=count - len(due), now=now)
        if len(fresh) < count - len(due):
            return fresh  # the queue is at its end, where repeats alone would be known for what they are
        repeats = {place: draw_repeat(self.run, rater_id=rater_id, now=now) for place in due}
        found = {place: one for place, one in repeats.items() if one is not None}
        fresh += draw_any(self.run, rater_id=rater_id, count=len(due) - len(found), now=now)
        others = iter(fresh)
        return [one for place in range(count) if (one := found.get(place) or next(others, None)) is not None]

    def _take_over(self, kept: Sequence[str], now: str) -> list[Leased]:
        found = open_leases(self.run, rater_id=self.person.rater_id, now=now)
        return [each for each in found if each.lease_id not in kept]

    def _held_elsewhere(self, now: str) -> bool:
        return held_elsewhere(self.run, rater_id=self.person.rater_id, tab=self.tab, now=now)

    def _why_empty(self, elsewhere: bool) -> str:
        if elsewhere:
            return _OTHER_TAB
        if rows(self.run.database, "SELECT 1 FROM waiting WHERE raters_missing > 0 LIMIT 1"):
            return _OTHERS
        return _ALL_DONE if rows(self.run.database, "SELECT 1 FROM comparisons LIMIT 1") else _NOTHING_YET
