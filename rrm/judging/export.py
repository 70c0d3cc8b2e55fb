"""All judgements with everything they are about, one JSON object a line."""

from collections.abc import Iterator

from rrm.store.canonical import canonical_json, read_object
from rrm.store.comparisons import aids_for_many
from rrm.store.run import Run
from rrm.store.transaction import Row, rows

CHUNK = 200
"""Judgements read at once: the export of a large run needs little memory, and holds up no writer."""

_JUDGEMENTS = """
    SELECT answer.*, leases.first_on_left, raters.name AS rater, raters.kind AS rater_kind,
        comparisons.level, comparisons.round, comparisons.purpose, comparisons.reason, comparisons.document_id,
        comparisons.aids_planned, comparisons.first_completion_id, comparisons.second_completion_id,
        documents.title, documents.split, prompt.text AS prompt,
        first_text.text AS first, first.agent_id AS first_agent,
        second_text.text AS second, second.agent_id AS second_agent,
        answer.id IN (SELECT id FROM live_judgements WHERE live_judgements.id = answer.id) AS live
    FROM judgements AS answer
    CROSS JOIN leases ON leases.id = answer.lease_id
    CROSS JOIN raters ON raters.id = answer.rater_id
    CROSS JOIN comparisons ON comparisons.id = answer.comparison_id
    CROSS JOIN documents ON documents.id = comparisons.document_id
    CROSS JOIN texts AS prompt ON prompt.sha256 = prompt_sha256
    CROSS JOIN completions AS first ON first.id = first_completion_id
    CROSS JOIN completions AS second ON second.id = second_completion_id
    CROSS JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    CROSS JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    WHERE answer.position > ? ORDER BY answer.position LIMIT ?"""

_FLAGS = ("first_on_left", "aids_planned", "aids_seen", "live")


def export_lines(run: Run) -> Iterator[str]:
    """The lines of the export, in the order of the chain: undone and changed judgements too, marked by `live`.

    Each has the texts that were compared and, where aids were planned, the aids.
    """
    last = 0
    while found := rows(run.database, _JUDGEMENTS, (last, CHUNK)):
        last = int(found[-1]["position"] or 0)
        yield from _lines(run, found)


def _lines(run: Run, found: list[Row]) -> Iterator[str]:
    aided = {str(row["comparison_id"]) for row in found if row["aids_planned"]}
    aids = aids_for_many(run, sorted(aided))
    for row in found:
        record: dict[str, object] = dict(row)
        record |= {name: bool(row[name]) for name in _FLAGS}
        record["details"] = read_object(str(row["details"]))
        record["aids"] = [
            {
                "id": aid.id,
                "agent": aid.agent_id,
                "kind": aid.kind,
                "part_position": aid.part_position,
                "text": aid.text,
            }
            for aid in aids.get(str(row["comparison_id"]), ())
        ]
        yield canonical_json(record) + "\n"
