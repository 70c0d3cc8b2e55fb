"""What one row of preference data says, whichever columns say it; or which column cannot be used, and why."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from reward_models.conversations import Conversation
from reward_models.errors import InvalidInput
from reward_models.preference_prompts import with_prompt

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class PreferenceColumns:
    """Names of the columns; `prompt` and those after `label` are optional.

    A row has `chosen` and `rejected`, or `first`, `second`, `label`, or `a`, `b` (or `first`, `second`) and `votes`.
    """

    prompt: str = "prompt"
    """What both completions answer; where it is missing, the beginning that they share."""
    chosen: str = "chosen"
    """The better completion."""
    rejected: str = "rejected"
    """The other one."""
    first: str = "first"
    """One completion, in an order that means nothing."""
    second: str = "second"
    """The other one."""
    label: str = "label"
    """Probability that the first is better, or `first`, `second`, `tie`."""
    tie: str = "tie"
    """Whether the rater found neither better."""
    margin: str = "margin"
    """By how many logits the better one should lead, at least 0."""
    strength: str = "strength"
    """How much better the rater found it, at least 0, on a scale of the data's own."""
    weight: str = "weight"
    """How many judgements the row counts for; 1 where it is missing."""
    rater: str = "rater"
    """Who judged."""
    group: str = "group"
    """What the comparison belongs to (a prompt, a topic); groups are never split between folds."""
    id: str = "id"
    """Name of the row in its data set."""
    comment: str = "comment"
    """What the rater wrote about it."""
    votes: str = "votes"
    """Judgements of several raters, {"by": rater, "pref": "a", "b" or "tie", "why": comment} each."""
    judgement: str = "judgement"
    """Name of the answer where it was given, by which it is known again."""
    level: str = "level"
    """At which level it was asked, where that has several."""
    choice: str = "choice"
    """The answer in the words that the rater was offered; which is better is read from the others."""

    def names(self, *, ranked: bool) -> frozenset[str]:
        """The columns that are read of a row; one that is `ranked` names its completions as chosen and rejected."""
        others = (self.first, self.second, self.label) if ranked else (self.chosen, self.rejected)
        return frozenset(str(getattr(self, field.name)) for field in fields(self)) - {*others, self.votes}


class BadCell(NamedTuple):
    """Why a row cannot be used."""

    column: str | None
    """The column at fault; None if it is the row as a whole."""
    reason: str
    """What came, and what was expected."""


class ParsedRow(NamedTuple):
    """A usable row."""

    prompt: Conversation
    """What both completions answer."""
    first: Conversation
    """One completion."""
    second: Conversation
    """The other completion."""
    label: float
    """Probability that the first is better."""
    ranked: bool
    """Whether the row named the better one: then it stands first, and its place is still to be drawn."""
    implicit: bool
    """Whether the prompt was found as what the completions share."""
    margin: float | None
    """By how many logits the better one should lead."""
    strength: float | None
    """How much better it was found."""
    weight: float
    """How many judgements the row counts for."""
    rater: str | None
    """Who judged."""
    group: str | None
    """What the comparison belongs to."""
    id: str | None
    """Name of the row."""
    comment: str | None
    """What the rater wrote."""
    contradicted: bool
    """Whether there is a label beside chosen and rejected, which is not read, and would say that the rejected won."""
    judgement: str | None = None
    """Name of the answer where it was given."""
    level: str | None = None
    """At which level it was asked."""
    choice: str | None = None
    """The answer in the words that the rater was offered."""


def parse_row(row: Row, columns: PreferenceColumns) -> ParsedRow | BadCell:
    """Read a row, or say what is wrong with it; nothing a row can hold raises."""
    ranked = columns.chosen in row or columns.rejected in row
    if not ranked and columns.first not in row and columns.second not in row:
        wanted = (columns.chosen, columns.rejected, columns.first, columns.second)
        return BadCell(
            None,
            f"has the columns {_listed(row)}; expected {wanted[0]} and {wanted[1]}, or {wanted[2]}, {wanted[3]} and "
            f"{columns.label}, or a, b and {columns.votes}{_nearest(row, wanted)}",
        )
    sides = (columns.chosen, columns.rejected) if ranked else (columns.first, columns.second)
    parsers: list[tuple[str, Callable[[Any], Any]]] = [
        (columns.prompt, _optional(_conversation)), (sides[0], _completion), (sides[1], _completion),
        (columns.tie, _yes_or_no), (columns.label, _optional(_label) if ranked else _label),
        *((name, _optional(_at_least_zero)) for name in (columns.margin, columns.strength, columns.weight)),
        *((name, _optional(_name)) for name in (columns.rater, columns.group, columns.id)),
        (columns.comment, _optional(_written)),
    ]  # fmt: skip
    values: dict[str, Any] = {}
    for column, parser in parsers:
        try:
            # A label beside chosen and rejected (a class, a source) is not about this pair.
            values[column] = None if ranked and column == columns.label else parser(row.get(column))
        except InvalidInput as error:
            absent = f"; the row has the columns {_listed(row)}{_nearest(row, (column,))}" if column not in row else ""
            return BadCell(column, f"{error}{absent}")
    values["contradicted"] = ranked and _says_second(row.get(columns.label))
    found = _assembled(values, columns, sides, ranked=ranked)
    if isinstance(found, BadCell):
        return found
    # Data of others may mean something else by these names, or give one of them to another part: nothing is refused.
    judgement, level, choice = (_aside(row.get(name)) for name in (columns.judgement, columns.level, columns.choice))
    return found._replace(judgement=judgement, level=level, choice=choice)


def _assembled(
    values: Mapping[str, Any], columns: PreferenceColumns, sides: tuple[str, str], *, ranked: bool
) -> ParsedRow | BadCell:
    label = 1.0 if ranked else values[columns.label]
    if values[columns.tie]:
        if not ranked and label != 0.5:
            return BadCell(columns.tie, f"is true and {columns.label} is {label}; a tie has the label 0.5")
        label = 0.5
    parts = with_prompt(values[columns.prompt], values[sides[0]], values[sides[1]])
    if parts.one == parts.other:
        return BadCell(sides[1], f"is equal to {sides[0]}; two different completions can be compared")
    weight = values[columns.weight]
    return ParsedRow(
        prompt=parts.prompt,
        first=parts.one,
        second=parts.other,
        label=label,
        ranked=ranked,
        implicit=parts.implicit,
        margin=values[columns.margin],
        strength=values[columns.strength],
        weight=1.0 if weight is None else weight,
        rater=values[columns.rater],
        group=values[columns.group],
        id=values[columns.id],
        comment=values[columns.comment],
        contradicted=values["contradicted"],
    )


def _optional(parser: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, None for a value that is missing; an empty cell of a table is."""
    return lambda value: None if value is None or (value == "" and parser is not _conversation) else parser(value)


def _completion(value: object) -> Conversation:
    found = _conversation(value)
    if not isinstance(found, str) and len(found) == 0:
        raise InvalidInput("holds no messages; expected at least one")
    return found


def _conversation(value: object) -> Conversation:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list):
        raise InvalidInput(f"is {_kind(value)}; expected a text or a list of messages")
    return [_message(place, message) for place, message in enumerate(value, start=1)]


def _message(place: int, message: object) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise InvalidInput(f"has {_kind(message)} as message {place}; expected a role and a content")
    found = {}
    for key in ("role", "content"):
        if not isinstance(message.get(key), str):
            raise InvalidInput(f"has {_kind(message.get(key))} as {key} of message {place}; expected a text")
        found[key] = _text(message[key])
    return found


def _text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"has half a character at {error.start} ({value[error.start]!a}); expected a text"
        ) from error
    return value


def _number(value: object) -> float:
    try:
        found = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InvalidInput(f"is {_shown(value)}; expected a finite number")
    return found


def _at_least_zero(value: object) -> float:
    found = _number(value)
    if found < 0.0:
        raise InvalidInput(f"is {_shown(value)}; expected a number that is at least 0")
    return found


def _label(value: object) -> float:
    if value is None or value == "":
        raise InvalidInput("is missing; expected the probability that the first is better")
    words = {"first": 1.0, "second": 0.0, "tie": 0.5}
    found = words[value] if isinstance(value, str) and value in words else _number(value)
    if not 0.0 <= found <= 1.0:
        raise InvalidInput(f"is {_shown(value)}; expected a number from 0 (second is better) to 1 (first is better)")
    return found


def _says_second(value: object) -> bool:
    """Whether a label that is not read would say that the second, or rejected, completion is the better one."""
    if isinstance(value, str) and value.strip().lower() in ("rejected", "second", "b"):
        return True
    try:
        return value is not None and _label(value) < 0.5
    except InvalidInput:
        return False


def _yes_or_no(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    word = str(value).strip().lower() if isinstance(value, (str, int, float)) else None
    if word in ("", "false", "no", "0", "0.0"):
        return False
    if word in ("true", "yes", "1", "1.0"):
        return True
    raise InvalidInput(f"is {_shown(value)}; expected true or false")


def _written(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"is {_shown(value)}; expected a text")
    return _text(value)


def _name(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInput(f"is {_shown(value)}; expected a name or a whole number")
    return _text(value) if isinstance(value, str) else str(value)


def _aside(value: object) -> str | None:
    """A name or a whole number as a text; None for anything else."""
    try:
        return None if value == "" else _name(int(value) if isinstance(value, float) and value.is_integer() else value)
    except InvalidInput:
        return None


def _listed(row: Row) -> str:
    names = sorted(str(name) for name in row)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") or "(none)"


def _nearest(row: Row, wanted: Iterable[str]) -> str:
    """Which columns may be meant by those that are wanted."""
    there = {str(name).strip().lower(): str(name) for name in row if str(name) not in wanted}
    pairs = [(name, get_close_matches(name.lower(), there, n=1, cutoff=0.7)) for name in wanted]
    found = [f"'{there[near[0]]}' for {name}" for name, near in pairs if near]
    return f" (is it {', '.join(found)}?)" if found else ""


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}" if not isinstance(value, float) else f"{value}"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}... ({type(value).__name__})"
