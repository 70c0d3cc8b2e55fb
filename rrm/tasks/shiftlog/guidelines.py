"""What a good brief is: the guidelines that raters read, and the same in numbers."""

from collections.abc import Sequence

from rrm.tasks.shiftlog.language import EVENTS, Severity

CLAIMS_PER_LEVEL = (2, 4, 6)
"""How many events a brief of each level should name: the most severe ones."""
INVENTED_COST = 2.0
"""An invented event costs two serious ones: it sends people after nothing. Naming one claim too few must not pay."""
LINE_COST = 0.1
"""Every line takes a reader's time."""

_SPANS = ("one shift", "one day (three shifts)", "three days (nine shifts)")


def guidelines(level: int) -> str:
    """What raters of this level are told, in Markdown."""
    grave, serious = (", ".join(EVENTS[severity]) for severity in (Severity.GRAVE, Severity.SERIOUS))
    return (
        f"A brief of {_SPANS[level]} should name the {CLAIMS_PER_LEVEL[level]} most severe events, one a line, each "
        "with the number of its entry, and nothing else.\n\n"
        f"- **Grave** events matter most, three times as much as serious ones: {grave}.\n"
        f"- **Serious** events come next: {serious}.\n"
        "- Routine upkeep is worth nothing, and every line costs a little (a tenth of a serious event).\n"
        "- An event that the log does not report, or reports differently, is **invented**: that costs as much as "
        "two serious events are worth.\n\n"
        "Prefer the brief that is worth more to somebody who must act on it without reading the log."
    )


def guidelines_of_all_levels() -> str:
    """What raters are told when they do not know what comes next, as plain text."""
    grave, serious = (", ".join(EVENTS[severity]) for severity in (Severity.GRAVE, Severity.SERIOUS))
    spans = "; ".join(f"of {span}, {count} events" for span, count in zip(_SPANS, CLAIMS_PER_LEVEL, strict=True))
    return (
        "A brief should name the most severe events of its log, one a line, each with the number of its entry, and "
        f"nothing else. How many depends on how much the log covers: {spans}.\n\n"
        f"- Grave events matter most, three times as much as serious ones: {grave}.\n"
        f"- Serious events come next: {serious}.\n"
        "- Routine upkeep is worth nothing, and every line costs a little (a tenth of a serious event).\n"
        "- An event that the log does not report, or reports differently, is invented: that costs as much as "
        "two serious events are worth.\n\n"
        "Prefer the brief that is worth more to somebody who must act on it without reading the log."
    )


def brief_value(*, level: int, true_weights: Sequence[float], invented: int, claims: int) -> float:
    """Weight of the true claims that count, less what the invented ones and the lines cost, per expected claim.

        value = (sum of the E largest true weights - 2 * invented - 0.1 * claims) / E

    where E is the number of events that a brief of this level should name.
    """
    expected = CLAIMS_PER_LEVEL[level]
    counted = sum(sorted(true_weights, reverse=True)[:expected])
    return (counted - INVENTED_COST * invented - LINE_COST * claims) / expected
