"""Does a reward model know when it is wrong? What it said of answers that it never saw."""

from collections.abc import Mapping
from dataclasses import dataclass

from rrm.watching.fits import Fit, accuracy, number, part, parts
from rrm.watching.shares import Share


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of the held-out answers."""

    name: str
    right: Share
    spread: float | None
    """Mean disagreement of the members about them; None where it was not measured."""


@dataclass(frozen=True, slots=True)
class Honesty:
    """One reward model on held-out answers."""

    name: str
    members: int
    right: Share
    """Of all of them."""
    thirds: tuple[Portion, ...]
    """By how much the members disagree, from least to most; empty with a single member, or few answers."""
    auroc_spread: float | None
    """How often disagreement is larger for a wrong preference than for a right one."""
    auroc_closeness: float | None
    """The same for how near the stated probability is to one half."""
    spearman: float | None
    """Rank correlation of disagreement and error."""
    domains: tuple[Portion, ...]
    """Kinds of comparisons, the worst first."""


def honesty_of(fit: Fit) -> Honesty | None:
    """What is stored of a fit; None where nothing was held out, or an older version fitted it."""
    record = part(fit.result, "honesty")
    right = accuracy(part(record, "overall"))
    if record is None or right is None:
        return None
    return Honesty(
        name=fit.name,
        members=int(number(record, "members") or 0),
        right=right,
        thirds=_portions(record, "thirds"),
        auroc_spread=number(record, "auroc_spread"),
        auroc_closeness=number(record, "auroc_closeness"),
        spearman=number(record, "spearman"),
        domains=_portions(record, "domains"),
    )


def _portions(record: Mapping[str, object], name: str) -> tuple[Portion, ...]:
    return tuple(
        Portion(str(one.get("name")), right, number(one, "spread"))
        for one in parts(record, name)
        if (right := accuracy(one)) is not None
    )
