"""Which completion of a comparison is really better, where the task knows. Only reports may ask."""

from collections.abc import Sequence

from rrm.store.run import Run
from rrm.store.transaction import Row, rows_in
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask, Split

MARGIN = 0.25
"""A comparison counts where its gold utilities differ by at least this much; a closer one has no clear answer."""

_TEXTS = """
    SELECT comparisons.id, documents.id AS document_id, documents.split, documents.level, documents.position,
        first_text.text AS first, second_text.text AS second
    FROM comparisons JOIN documents ON documents.id = comparisons.document_id
    JOIN completions AS first ON first.id = first_completion_id
    JOIN completions AS second ON second.id = second_completion_id
    JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    WHERE comparisons.id IN ({})"""


def first_is_better(run: Run, task: AbstractKnownTask, comparison_ids: Sequence[str]) -> dict[str, bool]:
    """For each comparison with a clear answer, whether its first completion is the better one."""
    found: dict[str, bool] = {}
    known: dict[str, Document] = {}
    for row in rows_in(run.database, _TEXTS, dict.fromkeys(comparison_ids)):
        document = known.setdefault(str(row["document_id"]), _document(task, row))
        difference = task.gold(document, str(row["first"])).utility - task.gold(document, str(row["second"])).utility
        if abs(difference) >= MARGIN:
            found[str(row["id"])] = difference > 0
    return found


def _document(task: AbstractKnownTask, row: Row) -> Document:
    return task.document(split=Split(str(row["split"])), level=int(row["level"] or 0), index=int(row["position"] or 0))
