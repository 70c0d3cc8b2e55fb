"""Remarks: comparisons that raters flagged or commented on, for leads to look at."""

from dataclasses import dataclass

from rrm.people.accounts import Person, require_lead
from rrm.store.records import Choice
from rrm.store.run import Run
from rrm.store.transaction import rows

# Not what somebody is still to be asked, who could be the lead: nobody sees what others said before answering.
_REMARKS = """
    SELECT answer.comparison_id, raters.name, answer.choice, answer.comment, answer.decided_at, documents.title,
        coalesce(json_extract(answer.details, '$.flagged'), 0) AS flagged,
        first_text.text AS first, second_text.text AS second
    FROM live_judgements AS answer
    JOIN raters ON raters.id = answer.rater_id
    JOIN comparisons ON comparisons.id = answer.comparison_id
    JOIN documents ON documents.id = comparisons.document_id
    JOIN completions AS first ON first.id = first_completion_id
    JOIN completions AS second ON second.id = second_completion_id
    JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    WHERE (answer.comment != '' OR coalesce(json_extract(answer.details, '$.flagged'), 0))
        AND NOT EXISTS (SELECT 1 FROM waiting
            WHERE waiting.comparison_id = answer.comparison_id AND raters_missing > 0)
    ORDER BY answer.position DESC LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Remark:
    """What somebody wrote or flagged."""

    comparison_id: str
    title: str
    first: str
    second: str
    rater: str
    """Name."""
    choice: Choice
    comment: str
    flagged: bool
    decided_at: str


def remarks(run: Run, *, by: Person, count: int = 50) -> list[Remark]:
    """What raters flagged and wrote, newest first; leads only (NotAllowed)."""
    require_lead(by, "read the comments of others")
    return [
        Remark(
            comparison_id=str(row["comparison_id"]),
            title=str(row["title"]),
            first=str(row["first"]),
            second=str(row["second"]),
            rater=str(row["name"]),
            choice=Choice(str(row["choice"])),
            comment=str(row["comment"]),
            flagged=bool(row["flagged"]),
            decided_at=str(row["decided_at"]),
        )
        for row in rows(run.database, _REMARKS, (count,))
    ]
