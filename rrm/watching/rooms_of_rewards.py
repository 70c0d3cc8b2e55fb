"""The rooms about what reward models know: their own errors, policy shift, and the worth of choosing questions."""

from collections.abc import Sequence
from dataclasses import replace
from math import log

from rrm.figures import as_page_svg
from rrm.watching.choosing import RANDOM, Asked, Choosing
from rrm.watching.honesty import Honesty, Portion
from rrm.watching.optimisation import Optimisation
from rrm.watching.pictures_of_rewards import rows_figure, shift_figure, thirds_figure
from rrm.watching.room import Cell, Column, Room, Show, Table, columns
from rrm.watching.shares import Share
from rrm.watching.shift import AGENT, OWN, Shifted

HONESTY = Room(
    key="honesty",
    title="Does the reward model know when it is wrong?",
    reading="Held-out answers in three equal parts, by how much the members of the ensemble disagree. Where the line "
    "falls from left to right, disagreement tells of errors; the dashed line is all answers together.",
    empty="No reward model has been asked that yet. Start a session under Train, or play a round under Rounds; models "
    "that an older version fitted are not asked again.",
)
SHIFT = Room(
    key="shift",
    title="Under policy shift",
    reading="How often a reward model agrees with answers it never saw: about completions like those it was fitted "
    "on, and about completions of the agent that it trained, which sought out what it likes. A gap between the two "
    "is its price.",
    empty="No reward model has been tested on what its agent wrote yet. Play a round under Rounds to its end.",
)
CHOOSING = Room(
    key="choosing",
    title="What choosing questions gained",
    reading="How often the reward model that chose the questions foresaw the answers. Chosen questions are the hard "
    "ones, so it should do worse on them; only the random ones say how good it is.",
    empty="No question was chosen by a reward model yet: that begins with a level's second round, or when a session "
    "is made current under Train.",
)

MOST_DRAWN = 8
"""Rows of a picture."""
REASONS = {
    RANDOM: "drawn at random",
    "spread": "chosen by disagreement",
    "bald": "chosen by expected information",
    "double_thompson": "chosen by two drawn members",
}


def honesty_room(found: Honesty | None) -> Room:
    """Accuracy by thirds of the spread, its AUROC beside that of closeness, and the worst kind of comparison."""
    if found is None:
        return HONESTY
    heads = columns(held_out_answers=Show.TEXT, number=Show.COUNT, agrees=Show.INTERVAL, disagreement=Show.PERCENT)
    rows = [_portion("all", Portion("all", found.right, None))]
    rows += [_portion(f"{one.name} disagreement", one) for one in found.thirds]
    rows += [_portion(one.name, one) for one in found.domains]
    return replace(
        HONESTY,
        # Without thirds there is nothing to draw.
        svg=_thirds_svg(found) if found.thirds else None,
        table=Table(heads, tuple(rows)),
        remarks=(_signals_in_words(found), *_worst_in_words(found)),
    )


def _thirds_svg(found: Honesty) -> str:
    said = "; ".join(f"{one.name} disagreement {one.right.value:.0%} right" for one in found.thirds)
    return as_page_svg(thirds_figure(found.thirds, found.right), description=f"{found.name}: {said}")


def _portion(name: str, one: Portion) -> tuple[Cell, ...]:
    return name, one.right.n, one.right, one.spread


def _signals_in_words(found: Honesty) -> str:
    if found.members < 2:
        return (
            f"{found.name} has a single member, which cannot disagree with itself. Two are the least, five are usual."
        )
    if found.auroc_spread is None or found.auroc_closeness is None:
        return f"{found.name}: it takes right and wrong preferences to tell them apart, and there are not both here."
    spread, closeness = 100 * found.auroc_spread, 100 * found.auroc_closeness
    words = (
        f"{found.name}: of a wrong preference and a right one, the members disagree more about the wrong one in "
        f"{spread:.0f} of 100 cases, and the stated probability is nearer to one half in {closeness:.0f} (AUROC; "
        "chance gives 50)."
    )
    rank = f" Rank correlation of disagreement with error: {found.spearman:+.2f}." if found.spearman is not None else ""
    return words + rank


def _worst_in_words(found: Honesty) -> tuple[str, ...]:
    if len(found.domains) < 2:
        return ()
    worst = found.domains[0]
    return (
        f"It does worst on {worst.name}: {_interval(worst.right)} of {worst.right.n}. One kind has to be the worst; "
        "the interval says whether it stands out.",
    )


def shift_room(found: Sequence[Shifted], trainings: Sequence[Optimisation]) -> Room:
    """Held-out answers of a reward model's own round against those about its agent."""
    if not any(one.where != OWN for one in found):
        return SHIFT
    heads = columns(
        reward_model=Show.TEXT,
        answers_about=Show.TEXT,
        written_by=Show.TEXT,
        answers=Show.COUNT,
        agrees=Show.INTERVAL,
        disagreement=Show.PERCENT,
    )
    rows = [(one.name, one.where, one.written_by, one.right.n, one.right, one.disagreement) for one in found]
    drawn = _drawn(found)
    said = "; ".join(f"{name} {share.value:.0%}" for name, share in drawn)
    return replace(
        SHIFT,
        svg=as_page_svg(shift_figure(drawn, trainings), description=f"Agreement with unseen answers: {said}"),
        table=Table(heads, tuple(rows)),
        remarks=(*_gap_in_words(found), *_spread_in_words(trainings)),
    )


def _drawn(found: Sequence[Shifted]) -> list[tuple[str, Share]]:
    """The last reward models whose agent was judged: before and after."""
    judged = {one.name for one in found if one.where == AGENT}
    rows = [one for one in found if one.name in judged and one.where in (OWN, AGENT)] or list(found)
    names = {OWN: "held out", AGENT: "its agent"}
    return [(f"{_short(one)}: {names.get(one.where, 'next round')}", one.right) for one in rows[-MOST_DRAWN:]]


def _short(one: Shifted) -> str:
    return f"level {one.level}" if one.round == 0 else f"level {one.level}, round {one.round}"


def _gap_in_words(found: Sequence[Shifted]) -> tuple[str, ...]:
    last = next((one for one in reversed(found) if one.where == AGENT), None)
    own = next((one for one in found if last is not None and one.name == last.name and one.where == OWN), None)
    if last is None or own is None:
        return ()
    gap = 100 * (last.right.value - own.right.value)
    apart = last.right.high < own.right.low or last.right.low > own.right.high
    return (
        f"{last.name}: {own.right.value:.0%} of {own.right.n} answers like those it learned from, "
        f"{last.right.value:.0%} of {last.right.n} about its agent ({gap:+.0f} points). "
        + ("The intervals lie apart." if apart else "The intervals overlap: chance alone may make such a gap."),
    )


def _spread_in_words(trainings: Sequence[Optimisation]) -> tuple[str, ...]:
    """What the last training did to the members' disagreement and to the spread of the reward."""
    measured = [one for one in trainings if one.moments and one.moments[-1].member_spread is not None]
    if not measured:
        return ()
    first, last = measured[-1].moments[0], measured[-1].moments[-1]
    if first.member_spread is None or last.member_spread is None:
        return ()
    words = (
        f"While the last agent was trained, the members' disagreement about its completions went from "
        f"{first.member_spread:.2f} to {last.member_spread:.2f} logits"
    )
    if first.reward_spread is None or last.reward_spread is None:
        return (f"{words}.",)
    return (
        f"{words}, and the reward's deviation between completions of one document from {first.reward_spread:.2f} to "
        f"{last.reward_spread:.2f}: where that is gone, there is nothing left to learn from.",
    )


def choosing_room(found: Sequence[Choosing]) -> Room:
    """How the model before did on the random and on the chosen questions."""
    shown = [one for one in found if one.chosen is not None]
    if not shown:
        return CHOOSING
    counted = columns(
        learned_by=Show.TEXT,
        questions=Show.TEXT,
        answers=Show.COUNT,
        foreseen=Show.INTERVAL,
        surprise=Show.FIGURE,
        disagreement=Show.PERCENT,
    )
    heads = (*counted, Column("Expected, of a bit", Show.PERCENT))
    rows = [
        (choosing.name, _why(one), one.right.n, one.right, one.surprise, one.disagreement, one.information / log(2.0))
        for choosing in shown
        for one in choosing.asked
    ]
    drawn = [
        (f"{choosing.name.lower()}: {'random' if one.reason == RANDOM else 'chosen'}", one.right)
        for choosing in shown
        for one in (choosing.random, choosing.chosen)
        if one is not None
    ][-MOST_DRAWN:]
    said = "; ".join(f"{name} {share.value:.0%}" for name, share in drawn)
    return replace(
        CHOOSING,
        svg=as_page_svg(rows_figure(drawn), description=f"Answers foreseen by the model before: {said}"),
        table=Table(heads, tuple(rows)),
        remarks=(
            _gain_in_words(shown[-1]),
            "Surprise is the log loss, in nats an answer; expected is the information that the members hoped for. "
            "Whether the next model became better by it shows on held-out answers, under Train.",
        ),
    )


def _why(one: Asked) -> str:
    return REASONS.get(one.reason, one.reason)


def _gain_in_words(last: Choosing) -> str:
    random, chosen = last.random, last.chosen
    if chosen is None or random is None:
        return f"{last.name}: nothing was drawn at random, so there is nothing to hold the chosen questions against."
    words = (
        f"{last.name}: the model before foresaw {_interval(random.right)} of {random.right.n} answers to random "
        f"questions and {_interval(chosen.right)} of {chosen.right.n} to those {_why(chosen)}."
    )
    if chosen.surprise > random.surprise:
        return f"{words} The chosen ones surprised it more ({chosen.surprise:.2f} against {random.surprise:.2f} nats)."
    return (
        f"{words} The chosen ones surprised it no more than the random ones ({chosen.surprise:.2f} against "
        f"{random.surprise:.2f} nats), so choosing brought nothing that chance would not have."
    )


def _interval(one: Share) -> str:
    return f"{one.value:.0%} ({one.low:.0%} to {one.high:.0%})"
