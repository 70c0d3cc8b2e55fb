"""Kinds of comparisons that a reward model may be good or bad at."""

from collections.abc import Sequence
from statistics import quantiles

from rrm.store.records import StoredComparison
from rrm.store.run import Run
from rrm.store.transaction import rows_in

_WRITERS = "SELECT id, agent_id FROM completions WHERE id IN ({})"


def domains_of(run: Run, asked: Sequence[StoredComparison]) -> list[str]:
    """The domain of each comparison: who wrote its completions; where all are of one hand, how long the document is."""
    written_by = writers(run, asked)
    return [f"written by {names}" for names in written_by] if len(set(written_by)) > 1 else _lengths(asked)


def writers(run: Run, asked: Sequence[StoredComparison]) -> list[str]:
    """Who wrote the completions of each comparison, such as `agent-0-0 and base`."""
    wanted = dict.fromkeys(side for one in asked for side in (one.first_completion_id, one.second_completion_id))
    wrote = {str(row["id"]): str(row["agent_id"]) for row in rows_in(run.database, _WRITERS, wanted)}
    pairs = [{wrote[one.first_completion_id], wrote[one.second_completion_id]} for one in asked]
    return [" and ".join(sorted(pair)) for pair in pairs]


def _lengths(asked: Sequence[StoredComparison]) -> list[str]:
    words = [len(one.prompt.split()) for one in asked]
    if len(set(words)) < 2:
        return ["all documents"] * len(words)
    low, high = quantiles(words, n=3, method="inclusive")
    return [
        "shorter documents" if count <= low else "longer documents" if count > high else "documents of middle length"
        for count in words
    ]
