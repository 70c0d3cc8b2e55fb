"""The answers of a run as preference data: prompt, chosen and rejected, and everything else as further columns.

A tie has no chosen half, and trainers of other projects would take one that is given for an answer. So ties lie in a
file of their own, as `first`, `second` and `label`; read together, as a folder, the two files are all answers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rrm.judging.final import final_answers
from rrm.judging.imported import REASON
from rrm.store import Choice, Judgement, Purpose, Run, comparisons, raters
from rrm.store.transaction import Row, rows_in

ANSWERS, TIES = "preferences.jsonl", "ties.jsonl"

_TEXTS = """SELECT comparisons_readable.*, comparisons.document_id FROM comparisons_readable
    JOIN comparisons ON comparisons.id = comparisons_readable.id WHERE comparisons.id IN ({})"""


@dataclass(frozen=True)
class WrittenAnswers:
    """How many answers were written."""

    preferences: int
    ties: int


def write_preferences(run: Run, folder: Path) -> WrittenAnswers:
    """Write the answers that count, of all levels, rounds and purposes, in the order in which they were given."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {ANSWERS: 0, TIES: 0}
    with (
        (folder / ANSWERS).open("w", encoding="utf-8") as preferences,
        (folder / TIES).open("w", encoding="utf-8") as ties,
    ):
        for row in preference_rows(run):
            name, file = (ANSWERS, preferences) if "chosen" in row else (TIES, ties)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            counts[name] += 1
    return WrittenAnswers(preferences=counts[ANSWERS], ties=counts[TIES])


def preference_rows(run: Run) -> Iterator[dict[str, object]]:
    """A row for each answer that counts."""
    for level, round, purpose in _places(run):
        answers = final_answers(run, level=level, round=round, purpose=purpose)
        texts = {
            str(row["id"]): row for row in rows_in(run.database, _TEXTS, {one.comparison_id: 0 for one in answers})
        }
        # Read after the answers: one that came meanwhile may be of somebody who was not there before.
        names = {each.id: each.name for each in raters(run)}
        for answer in answers:
            row = texts[answer.comparison_id]
            kept = answer.details.get(REASON)
            imported = dict(kept) if isinstance(kept, Mapping) else {}
            yield {
                **_sides(answer, row),
                "rater": names[answer.rater_id].removesuffix(" (imported)"),
                "group": row["document_id"],
                "id": answer.id,
                **imported,
                "judgement": answer.id,
                "document": row["document_id"],
                "comparison": answer.comparison_id,
                "title": row["title"],
                "level": level,
                "round": round,
                "purpose": purpose.value,
                "reason": row["reason"],
                "stage": answer.stage.value,
                "choice": answer.choice.value,
                "comment": answer.comment,
                "decided_at": answer.decided_at,
                "details": dict(answer.details),
            }


def _places(run: Run) -> list[tuple[int, int, Purpose]]:
    order = {purpose: place for place, purpose in enumerate(Purpose)}
    found = {(each.level, each.round, each.purpose) for each in comparisons(run)}
    return sorted(found, key=lambda place: (place[0], place[1], order[place[2]]))


def _sides(answer: Judgement, row: Row) -> dict[str, object]:
    """The two texts, the better one by its name where one is better."""
    prompt = row["prompt"]
    if answer.choice not in (Choice.FIRST, Choice.SECOND):
        named = {name: row[name] for name in ("first", "second", "first_agent", "second_agent")}
        return {"prompt": prompt, **named, "label": 0.5}
    better, worse = ("first", "second") if answer.choice is Choice.FIRST else ("second", "first")
    return {
        "prompt": prompt,
        "chosen": row[better],
        "rejected": row[worse],
        "chosen_agent": row[f"{better}_agent"],
        "rejected_agent": row[f"{worse}_agent"],
    }
