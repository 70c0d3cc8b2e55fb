"""The rooms about judging: label accuracy, error against depth, agreement, pace, cost."""

from collections.abc import Sequence
from dataclasses import replace

from rrm.figures import as_page_svg
from rrm.watching.accuracy import LabelAccuracy
from rrm.watching.consistency import Consistency
from rrm.watching.cost import Cost
from rrm.watching.names import KINDS, STAGES, Labels
from rrm.watching.pace import Pace
from rrm.watching.pictures import by_level, cost_figure, pace_figure, shares_by_name
from rrm.watching.room import Cell, Room, Show, Table, columns
from rrm.watching.shares import Share

ACCURACY = Room(
    key="accuracy",
    title="Label accuracy",
    reading="Each point is the share of answers that agree with the gold utility, with its 95% interval; the dashed "
    "line is guessing, and what lies between alone and assisted is the worth of the help.",
    empty="There are no answers yet. Judge a few comparisons under Label, or start a round under Rounds.",
)
DEPTH = Room(
    key="depth",
    title="Error against depth",
    reading="Wrong labels by level: alone they become more as texts grow, and where the recursion works, assisted "
    "they stay few.",
    empty="There is no answer yet that can be compared with the gold utility.",
)
AGREEMENT = Room(
    key="agreement",
    title="Agreement and sides",
    reading="Shares over all raters with their 95% intervals. Sides do not matter where the interval of the left side "
    "holds 50%; the other shares are better the nearer they are to 100%.",
    empty="Nobody has given a final answer yet.",
)
PACE = Room(
    key="pace",
    title="Pace",
    reading="Seconds that people take for an answer, over the answers given so far: the line is the median, and half "
    "of the answers lie in the band. Pace that rises while accuracy falls is haste.",
    empty="People have given fewer than five answers yet; their time is measured under Label.",
)
COST = Room(
    key="cost",
    title="Cost in labels",
    reading="How many judgements were given in each round, one for each comparison and rater, and the time that people "
    "gave for them.",
    empty="Nothing is judged yet, so nothing was spent.",
)


def accuracy_room(found: Sequence[LabelAccuracy]) -> Room:
    """Label accuracy by level, before and after the aid."""
    if not found:
        return ACCURACY
    labels = [
        Labels(one.level, STAGES[one.stage], KINDS[one.kind], one.share) for one in found if one.share is not None
    ]
    heads = columns(
        level=Show.COUNT,
        rater=Show.TEXT,
        answer=Show.TEXT,
        answers=Show.COUNT,
        compared=Show.COUNT,
        right=Show.INTERVAL,
    )
    rows = [
        (one.level, KINDS[one.kind], STAGES[one.stage], one.answered, one.share.n if one.share else 0, one.share)
        for one in found
    ]
    remark = (
        "Compared with gold are answers to comparisons whose two utilities differ clearly; of very many answers, a "
        "random share. Repeats, answers changed after the reveal, and the answers of "
        "raters who were left out do not count."
    )
    table = Table(heads, tuple(rows))
    if not labels:
        return replace(ACCURACY, table=table, remarks=(remark,))
    svg = as_page_svg(by_level(labels, y_label="right labels"), description=_said("Right labels", labels))
    return replace(ACCURACY, svg=svg, table=table, remarks=(remark,))


def depth_room(found: Sequence[Labels]) -> Room:
    """Error by level: of the answers given, and of the rater on test comparisons where a report was written."""
    if not found:
        return DEPTH
    heads = columns(level=Show.COUNT, label=Show.TEXT, source=Show.TEXT, comparisons=Show.COUNT, wrong=Show.INTERVAL)
    rows = [(one.level, one.way, one.source, one.share.n, one.share) for one in found]
    measured = [one for one in found if one.source == "report"]
    drawn = measured or found
    remark = (
        "Drawn is the simulated rater on test comparisons that nothing else reads, as the last report measured it; "
        "assistant are the aids by themselves, without a rater."
        if measured
        else "Drawn are the answers given so far. A report (rrm report) measures it on test comparisons, too."
    )
    return replace(
        DEPTH,
        svg=as_page_svg(by_level(drawn, y_label="wrong labels"), description=_said("Wrong labels", drawn)),
        table=Table(heads, tuple(rows)),
        remarks=(remark,),
    )


def agreement_room(found: Consistency) -> Room:
    """Agreement, position bias, self-consistency and planted items, over all raters together."""
    if found.left is None and not found.agreement.pairs:
        return AGREEMENT
    shares = {
        "Left side chosen": found.left,
        "Same answer to a repeat": found.repeats,
        "Planted: right": found.planted,
        "Planted: misled by the aid": found.misled,
    }
    agreed = found.agreement
    figures = {"Pairs that agree": agreed.percent, "Cohen's kappa": agreed.kappa, "Krippendorff's alpha": agreed.alpha}
    rows: list[tuple[Cell, ...]] = [
        (name, one if one else "none yet", one.n if one else 0) for name, one in shares.items()
    ]
    rows += [
        (name, f"undefined: {one.undefined}" if one.value is None else one.value, agreed.pairs)
        for name, one in figures.items()
    ]
    drawn = [(name, one) for name, one in shares.items() if one is not None]
    svg = _agreement_svg(drawn) if drawn else None
    heads = columns(figure=Show.TEXT, value=Show.FIGURE, of=Show.COUNT)
    remarks = (sides_in_words(found.left),) if found.left else ()
    return replace(AGREEMENT, svg=svg, table=Table(heads, tuple(rows)), remarks=remarks)


def _agreement_svg(drawn: Sequence[tuple[str, Share]]) -> str:
    said = "; ".join(f"{name} {one.value:.0%}" for name, one in drawn)
    return as_page_svg(shares_by_name(drawn, reference=0.5), description=said)


def sides_in_words(left: Share) -> str:
    """How often the left side was chosen, and whether that is more than chance."""
    interval = f"{left.value:.0%} of the chosen completions stood on the left ({left.low:.0%} to {left.high:.0%})"
    if left.low <= 0.5 <= left.high:
        return f"{interval}, as chance would have it."
    return f"{interval}: more than chance explains. Remind raters to read both sides before they answer."


def pace_room(found: Sequence[Pace]) -> Room:
    """Seconds an answer over the answers so far."""
    if not found:
        return PACE
    heads = columns(
        answer=Show.TEXT,
        answers_so_far=Show.COUNT,
        quarter_below=Show.SECONDS,
        median=Show.SECONDS,
        quarter_above=Show.SECONDS,
    )
    rows = [(STAGES[one.stage], one.answers, one.lower, one.median, one.upper) for one in found]
    said = f"Seconds an answer: a median of {found[0].median:.1f} at first and {found[-1].median:.1f} at the end"
    return replace(PACE, svg=as_page_svg(pace_figure(found), description=said), table=Table(heads, tuple(rows)))


def cost_room(found: Sequence[Cost]) -> Room:
    """Judgements by round, and people's time."""
    if not found:
        return COST
    heads = columns(
        level=Show.COUNT,
        round=Show.COUNT,
        rater=Show.TEXT,
        judgements=Show.COUNT,
        answers=Show.COUNT,
        time=Show.SECONDS,
    )
    rows = [(one.level, one.round, KINDS[one.kind], one.judgements, one.answers, one.seconds) for one in found]
    total = sum(one.judgements for one in found)
    hours = sum(one.seconds or 0.0 for one in found) / 3600
    spent = f" and {hours:.1f} hours of people's time; one answer counts ten minutes at most" if hours else ""
    remark = f"In all {total} judgements{spent}."
    said = f"Judgements by round, {total} in all"
    return replace(
        COST, svg=as_page_svg(cost_figure(found), description=said), table=Table(heads, tuple(rows)), remarks=(remark,)
    )


def _said(what: str, found: Sequence[Labels]) -> str:
    parts = [f"level {one.level} {one.way} ({one.source}) {one.share.value:.0%}" for one in found]
    return f"{what} by level: {'; '.join(parts)}"
