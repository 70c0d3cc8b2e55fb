"""The rooms about single agents: how the newest training went, and where the newest agents spend their nats."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rrm.errors import RunCorrupt
from rrm.figures import as_page_svg
from rrm.store.run import Run
from rrm.transcripts import Transcript, newest_agents, stored_transcripts
from rrm.watching.optimisation import Optimisation
from rrm.watching.pictures_of_training import learning_figure, series, spending_figure
from rrm.watching.room import Room, Show, Table, columns

LEARNING = Room(
    key="learning",
    title="The newest training, step by step",
    reading="Everything that was measured at each step. Entropy and the share of different completions fall when the "
    "agent narrows down to a few of them; a price that is fixed does not move.",
    empty="There is no training to look into yet; one begins with the step optimise of a round.",
)
SPENDING = Room(
    key="spending",
    title="Where the agent spends its nats",
    reading="What the newest agent of each level wrote at the end of its training; each token is marked by the exact "
    "KL of its distribution from the base's: how far the agent had turned from the base there.",
    empty="No agent has left a transcript yet; one does at the end of its training. Until then, rrm inspect shows any.",
)


def learning_room(found: Sequence[Optimisation]) -> Room:
    """All figures of the training that began last."""
    begun = [one for one in found if len(one.moments) > 1]
    if not begun:
        return LEARNING
    last = begun[-1]
    shown = series(last.moments)
    heads = columns(figure=Show.TEXT, first=Show.FIGURE, last=Show.FIGURE, lowest=Show.FIGURE, highest=Show.FIGURE)
    rows = [
        (title, values[0], values[-1], min(values), max(values))
        for title, points in shown
        if (values := [value for _, value in points])
    ]
    agent = f"level {last.level}, round {last.round}"
    return replace(
        LEARNING,
        svg=as_page_svg(
            learning_figure(last.moments), description=f"Training of {agent}: {len(shown)} figures by step"
        ),
        table=Table(heads, tuple(rows)),
        remarks=(f"The agent of {agent}, {len(last.moments)} steps{'' if last.finished else ' so far'}.",),
    )


def newest_transcripts(run: Run) -> Mapping[str, tuple[Transcript, ...] | None]:
    """What was kept of the newest agent of each level, by its id; None where that cannot be read."""
    found: dict[str, tuple[Transcript, ...] | None] = {}
    for agent in newest_agents(run).values():
        try:
            found[agent.id] = stored_transcripts(run, agent.id)
        except RunCorrupt:
            found[agent.id] = None
    return found


def spending_room(found: Mapping[str, tuple[Transcript, ...] | None]) -> Room:
    """The longest kept completion of each agent in full, and what all that were kept cost."""
    kept = [one for known in found.values() for one in known or ()]
    remarks = tuple(
        f"What was kept of {agent} cannot be read; rrm inspect shows new transcripts of it."
        for agent, known in found.items()
        if known is None
    )
    if not kept:
        return replace(SPENDING, empty=" ".join([*remarks, SPENDING.empty]))
    heads = columns(
        agent=Show.TEXT,
        tokens=Show.COUNT,
        nats=Show.FIGURE,
        budget=Show.FIGURE,
        in_the_costliest_tenth=Show.PERCENT,
        entropy=Show.FIGURE,
    )
    rows = [(one.agent, len(one.tokens), one.total, one.budget, one.share_of_costliest, one.entropy) for one in kept]
    return replace(
        SPENDING,
        svg=as_page_svg(spending_figure(kept), description="Nats spent along the tokens of " + ", ".join(found)),
        table=Table(heads, tuple(rows)),
        remarks=remarks,
        # Some end at once: the longest has most to show.
        transcripts=tuple(max(known, key=lambda one: len(one.tokens)) for known in found.values() if known),
    )
