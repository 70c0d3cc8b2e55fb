"""Label accuracy: how often what raters answered agrees with the gold utility."""

from dataclasses import dataclass

from rrm.people.exclusions import left_out
from rrm.store.canonical import canonical_json
from rrm.store.records import Choice, RaterKind, Stage, label_of
from rrm.store.run import Run
from rrm.store.transaction import Row, rows
from rrm.tasks.task import AbstractKnownTask
from rrm.watching.gold import first_is_better
from rrm.watching.shares import Share, share

SAMPLE = 600
"""About how many answers of one level, stage and kind of rater are held against gold; where there are more, these are
drawn at random."""

# An answer given alone anew, after the aids were seen, is not unassisted; planted items (purpose test) have a figure
# of their own.
_COUNTED = """FROM live_judgements AS answers JOIN comparisons ON comparisons.id = answers.comparison_id
    JOIN raters ON raters.id = answers.rater_id
    WHERE answers.repeat = 0 AND purpose != 'test' AND choice IN ('first', 'second', 'tie', 'both_bad')
        AND NOT (answers.stage = 'alone' AND answers.aids_seen)
        AND NOT coalesce(json_extract(answers.details, '$.unblinded'), 0)
        AND answers.rater_id NOT IN (SELECT value FROM json_each(?))"""

_GROUPS = f"SELECT level, stage, raters.kind, count(*) AS answered {_COUNTED} GROUP BY level, stage, raters.kind"

# The id of a lease is a digest, so those below a bound are a random share, and the same one for both answers of a
# sitting. The bound of all groups saves looking at most of a large store.
_ANSWERS = f"""SELECT level, stage, raters.kind, answers.comparison_id, choice {_COUNTED}
    AND lease_id < ?
    AND lease_id < (SELECT value FROM json_each(?) WHERE key = level || '/' || stage || '/' || raters.kind)"""


@dataclass(frozen=True, slots=True)
class LabelAccuracy:
    """How right one kind of rater is at one level and stage."""

    level: int
    stage: Stage
    kind: RaterKind
    answered: int
    """Answers that say which is better, or that both are alike."""
    share: Share | None
    """Right ones, a tie half of one, among those that were held against gold; None where gold is clear in none."""


def label_accuracy(run: Run, task: AbstractKnownTask, *, sample: int = SAMPLE) -> list[LabelAccuracy]:
    """By level, kind of rater and stage; first answers only, seen blind, by raters who are not left out."""
    out = canonical_json(sorted(left_out(run)))
    groups = {_group(row): int(row["answered"] or 0) for row in rows(run.database, _GROUPS, (out,))}
    bounds = {group: _bound(answered, sample) for group, answered in groups.items()}
    found = rows(run.database, _ANSWERS, (out, max(bounds.values(), default=""), canonical_json(bounds)))
    truth = first_is_better(run, task, [str(row["comparison_id"]) for row in found])
    answers: dict[str, list[Row]] = {group: [] for group in groups}
    for row in found:
        answers.setdefault(_group(row), []).append(row)
    return [_accuracy(group, groups.get(group, len(held)), held, truth) for group, held in sorted(answers.items())]


def _group(row: Row) -> str:
    return f"{row['level']}/{row['stage']}/{row['kind']}"


def _bound(answered: int, sample: int) -> str:
    """Hexadecimal digits below which about `sample` of `answered` digests lie; above all digests if that is all."""
    return "g" if answered <= sample else f"{sample * 16**8 // answered:08x}"


def _accuracy(group: str, answered: int, held: list[Row], truth: dict[str, bool]) -> LabelAccuracy:
    level, stage, kind = group.split("/")
    right, n = 0.0, 0
    for row in held:
        better, label = truth.get(str(row["comparison_id"])), label_of(Choice(str(row["choice"])))
        if better is not None and label is not None:
            right += label if better else 1.0 - label
            n += 1
    return LabelAccuracy(int(level), Stage(stage), RaterKind(kind), answered, share(right, n))
