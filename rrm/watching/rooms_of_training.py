"""The rooms about what was trained: the calibration of reward models, and the rewards and worth of agents."""

from collections.abc import Sequence
from dataclasses import replace

from rrm.figures import as_page_svg
from rrm.watching.optimisation import Optimisation
from rrm.watching.pictures import optimisation_figure, reliability_figure
from rrm.watching.reliability import Reliability
from rrm.watching.room import Room, Show, Table, columns

CALIBRATION = Room(
    key="calibration",
    title="Calibration of the reward model",
    reading="Held-out judgements by the probability that the reward model stated: on the dashed line it is as often "
    "right as it says, below the line it is too sure.",
    empty="No reward model has been fitted yet. Start a session under Train, or play a round under Rounds.",
)
OPTIMISATION = Room(
    key="optimisation",
    title="Reward and worth of the agent",
    reading="Above, the reward that training sees, along the distance from the base; below, what the completions are "
    "really worth. Reward that goes on rising while the worth falls is over-optimisation.",
    empty="No agent has been trained yet. Play a round under Rounds until its step optimise.",
)
WITHOUT_GOLD = replace(
    OPTIMISATION,
    title="Reward of the agent",
    reading="The reward that training sees, along the distance from the base. What the completions are really worth "
    "nobody but people can say of your own texts: a reward that goes on rising may be over-optimisation.",
)
"""The same where the task does not know what texts are worth."""


def calibration_room(found: Reliability | None) -> Room:
    """The reliability diagram of one reward model."""
    if found is None:
        return CALIBRATION
    heads = columns(stated=Show.PERCENT, held_out_answers=Show.COUNT, agree=Show.INTERVAL)
    rows = [(one.predicted, one.answered.n, one.answered) for one in found.bins]
    said = f"Stated probability against answers that agree, {found.name}, {found.judgements} held-out judgements"
    return replace(
        CALIBRATION,
        svg=as_page_svg(reliability_figure(found), description=said),
        table=Table(heads, tuple(rows)),
        remarks=(_in_words(found),),
    )


def optimisation_room(found: Sequence[Optimisation], *, gold: bool = True) -> Room:
    """Reward along the distance from the base, gold at the ends where it is known, held-out win rates."""
    shown = [one for one in found if one.moments]
    empty = OPTIMISATION if gold else WITHOUT_GOLD
    if not shown:
        return empty
    heads = columns(
        level=Show.COUNT,
        round=Show.COUNT,
        steps=Show.COUNT,
        reward=Show.FIGURE,
        KL=Show.FIGURE,
        gold_of_base=Show.FIGURE,
        gold_of_agent=Show.FIGURE,
        wins=Show.INTERVAL,
        judgements=Show.COUNT,
    )
    rows = [
        (
            one.level,
            one.round,
            len(one.moments),
            one.moments[-1].reward,
            one.moments[-1].kl,
            one.base.gold if one.base else None,
            one.agent.gold if one.agent else None,
            one.win_rate,
            one.win_rate.n if one.win_rate else None,
        )
        for one in shown
    ]
    remarks = ["Wins are the held-out judgements that prefer the agent to the one before it; they decide on promotion."]
    if gold and not any(one.agent for one in shown):
        remarks.append(
            "A report (rrm report) measures what the agents of finished levels are really worth; then it stands here."
        )
    said = "Reward along the root of the KL to the base, " + ", ".join(
        f"level {one.level} round {one.round}" for one in shown
    )
    return replace(
        empty,
        svg=as_page_svg(optimisation_figure(shown), description=said),
        table=Table(heads, tuple(rows)),
        remarks=tuple(remarks),
    )


def _in_words(found: Reliability) -> str:
    parts = [f"{found.name}: {found.judgements} held-out judgements"]
    if found.accuracy is not None:
        parts.append(f"it is right in {found.accuracy:.0%} of them")
    if found.ece is not None:
        parts.append(f"its probabilities are {100 * found.ece:.0f} points off on average (expected calibration error)")
    if found.temperature is not None:
        parts.append(f"its scores fit best divided by {found.temperature:.2f} (temperature; above 1 it is too sure)")
    if found.spread_error is not None:
        parts.append(f"disagreement of its members goes with error by {found.spread_error:+.2f} (rank correlation)")
    return "; ".join(parts) + "."
