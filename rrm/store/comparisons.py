"""Comparisons, the aids that assistants wrote for them, and the raters who judge them."""

from collections.abc import Sequence

from reward_models.errors import InvalidInput
from rrm.store.records import Purpose, Rater, StoredAid, StoredComparison
from rrm.store.rows import to_record, to_row
from rrm.store.run import Run
from rrm.store.texts import conditions, one, put_with_text
from rrm.store.transaction import insert_once, rows, rows_in
from rrm.store.waiting import put_waiting

_COMPARISONS = "SELECT comparisons.*, texts.text AS prompt FROM comparisons JOIN texts ON texts.sha256 = prompt_sha256"

# Two queries rather than one join with OR, so that each finds its rows by an index.
_AIDS = (
    """
    SELECT comparison.id AS wanted, aid.*, texts.text FROM comparisons AS comparison
    JOIN aids AS aid ON aid.comparison_id = comparison.id
    JOIN texts ON texts.sha256 = aid.text_sha256 WHERE comparison.id IN ({})""",
    """
    SELECT comparison.id AS wanted, aid.*, texts.text FROM comparisons AS comparison
    JOIN aids AS aid ON aid.document_id = comparison.document_id
        AND aid.level = comparison.level AND aid.round = comparison.round
    JOIN texts ON texts.sha256 = aid.text_sha256 WHERE comparison.id IN ({})""",
)


def put_comparisons(run: Run, new: Sequence[StoredComparison]) -> None:
    """Store comparisons; their completions must be stored and answer the comparison's document (else InvalidInput)."""
    with run.transaction():
        _refuse_mixed(run, new)
        put_with_text(run, "comparisons", new, field="prompt")
        put_waiting(run, new)


def _refuse_mixed(run: Run, new: Sequence[StoredComparison]) -> None:
    pairs = [(each, completion) for each in new for completion in (each.first_completion_id, each.second_completion_id)]
    query = "SELECT id, document_id FROM completions WHERE id IN ({})"
    found = rows_in(run.database, query, dict.fromkeys(completion for _, completion in pairs))
    answered = {row["id"]: row["document_id"] for row in found}
    for each, completion in pairs:
        if answered.get(completion) != each.document_id:
            state = f"answers document {answered[completion]!r}" if completion in answered else "is not stored"
            raise InvalidInput(
                f"comparison {each.id!r} is about document {each.document_id!r}, but its completion "
                f"{completion!r} {state}; compare two stored completions of one document"
            )


def comparisons(
    run: Run, *, level: int | None = None, round: int | None = None, purpose: Purpose | None = None
) -> list[StoredComparison]:
    """The comparisons of a level, round and purpose (None: of all), in the order they are to be asked."""
    where, parameters = conditions({"level": level, "round": round, "purpose": purpose.value if purpose else None})
    found = rows(run.database, f"{_COMPARISONS}{where} ORDER BY level, round, position, id", parameters)
    return [to_record(StoredComparison, row) for row in found]


def comparison(run: Run, comparison_id: str) -> StoredComparison:
    """One comparison; an unknown id -> InvalidInput."""
    found = rows(run.database, f"{_COMPARISONS} WHERE id = ?", (comparison_id,))
    return to_record(StoredComparison, one(found, "comparison", comparison_id))


def put_aids(run: Run, new: Sequence[StoredAid]) -> None:
    """Store aids; each belongs to a comparison or to a document, not to both (else InvalidInput)."""
    for aid in new:
        if (aid.document_id is None) == (aid.comparison_id is None):
            raise InvalidInput(f"aid {aid.id!r} must name a document or a comparison, one of them and not both")
    put_with_text(run, "aids", new)


def aids_for_many(run: Run, comparison_ids: Sequence[str]) -> dict[str, list[StoredAid]]:
    """The aids of each comparison: its own, and those of its document made in its level and round.

    In the order of the parts they are about, those about no part last, then by id. An unknown comparison has none.
    """
    found: dict[str, list[StoredAid]] = {each: [] for each in comparison_ids}
    for query in _AIDS:
        for row in rows_in(run.database, query, found):
            found[str(row["wanted"])].append(to_record(StoredAid, row))
    for aids in found.values():
        aids.sort(key=lambda aid: (aid.part_position is None, aid.part_position or 0, aid.id))
    return found


def aids_for(run: Run, comparison_id: str) -> list[StoredAid]:
    """The aids of one comparison, as `aids_for_many` gives them."""
    return aids_for_many(run, [comparison_id])[comparison_id]


def put_rater(run: Run, rater: Rater) -> None:
    """Store a rater; the same id with another name or other settings -> RunCorrupt."""
    with run.transaction():
        insert_once(run.database, "raters", "id", [to_row(rater)])


def raters(run: Run) -> list[Rater]:
    """All raters, by id."""
    return [to_record(Rater, row) for row in rows(run.database, "SELECT * FROM raters ORDER BY id")]
