"""One row of preference data as a run can keep it: texts, an answer, and who gave it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rrm.store.records import Choice, Rater, RaterKind

NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
"""How the roles of a conversation are written where it becomes plain text."""
_CHOICES = {1.0: Choice.FIRST, 0.0: Choice.SECOND, 0.5: Choice.TIE}
_OTHER = {Choice.FIRST: Choice.SECOND, Choice.SECOND: Choice.FIRST}
_MOST_VOTES = 1000
_KEPT = ("group", "id", "strength", "margin")


class RowRejected(Exception):
    """Why a row that can be read cannot be kept as an answer; never leaves the import."""


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A judgement as it was given elsewhere."""

    prompt: str
    first: str
    second: str
    choice: Choice
    rater: str | None
    """As the data name them; None where they do not."""
    group: str
    """Judgements of one group are held out together: as the data name it, else the prompt."""
    comment: str
    votes: int
    """How many answers of this kind the row stands for."""
    kept: Mapping[str, object]
    """What else the row says, by column: it goes with the answer, and out again with an export."""
    judgement: str | None
    """Id of the answer in the run that it was exported from; None for answers of other origin."""
    level: int | None
    """Its level there."""

    def choice_from(self, first: str) -> Choice:
        """The answer, for a comparison in which this text stands first."""
        return self.choice if first == self.first else _OTHER.get(self.choice, self.choice)


def imported_row(row: Mapping[str, object]) -> ImportedRow:
    """A row of `read_preferences`. Raises RowRejected for one that is no answer of a rater."""
    label, weight = float(str(row["label"])), float(str(row["weight"]))
    if label not in _CHOICES:
        raise RowRejected(f"its label is {label:g}, and an answer says that one is better (1 or 0) or both alike (0.5)")
    if weight != int(weight) or not 1 <= weight <= _MOST_VOTES:
        raise RowRejected(f"it counts {weight:g} times, and answers are counted whole, 1 to {_MOST_VOTES}")
    prompt, first, second = (row[name] for name in ("prompt", "first", "second"))
    group, rater, comment, judgement = (row.get(name) for name in ("group", "rater", "comment", "judgement"))
    if rater is not None and weight > 1:
        raise RowRejected(
            f"it counts {weight:g} times and names one rater, who answers once; give each answer a row, or name nobody"
        )
    asked = as_prompt(prompt)
    found = ImportedRow(
        prompt=asked,
        first=as_completion(first),
        second=as_completion(second),
        # What both of them are worth is all that a row of chosen and rejected, or of a label, cannot say.
        choice=Choice.BOTH_BAD if label == 0.5 and row.get("choice") == Choice.BOTH_BAD else _CHOICES[label],
        rater=None if rater is None else str(rater),
        group=asked if group is None else str(group),
        comment="" if comment is None else str(comment),
        votes=int(weight),
        kept={name: row[name] for name in _KEPT if row.get(name) is not None},
        judgement=None if judgement is None else str(judgement),
        # Elsewhere a level can mean anything; beside the id of an answer it is that of an export.
        level=None if judgement is None else _level(row.get("level")),
    )
    if not _can_be_stored(found):
        raise RowRejected("it holds half a surrogate pair, which is no character")
    if found.first == found.second:
        raise RowRejected("its two completions are the same text, so that nothing was compared")
    return found


def as_prompt(conversation: object) -> str:
    """A prompt as text: as it stands; what a user says, if that is all; else a dialogue up to the next answer."""
    if isinstance(conversation, str):
        return conversation
    messages = _messages(conversation)
    if [role for role, _ in messages] == ["user"]:
        return messages[0][1]
    return _dialogue(messages) + "\n\nAssistant:" if messages else ""


def as_completion(conversation: object) -> str:
    """A completion as text: as it stands; what the assistant says, if that is all; else a dialogue."""
    if isinstance(conversation, str):
        return conversation
    messages = _messages(conversation)
    return messages[0][1] if [role for role, _ in messages] == ["assistant"] else _dialogue(messages).lstrip()


def person_of(name: str | None, votes_before: int) -> Rater:
    """The rater of an imported answer; those without a name are told apart by the order of their answers to a pair.

    Who is named as these are, as an export names them, is taken for the same one.
    """
    known = name if name is not None else f"unnamed {votes_before + 1}"
    return Rater(id=f"imported-{known}", name=f"{known} (imported)", kind=RaterKind.PERSON, settings={"imported": True})


def _level(value: object) -> int | None:
    return int(str(value)) if re.fullmatch("[0-9]{1,9}", str(value)) else None


def _can_be_stored(row: ImportedRow) -> bool:
    try:
        "".join((row.prompt, row.first, row.second, row.rater or "", row.comment)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _messages(conversation: object) -> list[tuple[str, str]]:
    if not isinstance(conversation, Sequence):
        raise RowRejected(f"it holds a {type(conversation).__name__} where a text or a conversation is expected")
    return [(str(message["role"]), str(message["content"])) for message in conversation]


def _dialogue(messages: Sequence[tuple[str, str]]) -> str:
    return "".join(f"\n\n{NAMES.get(role, role.capitalize())}: {content}" for role, content in messages)
