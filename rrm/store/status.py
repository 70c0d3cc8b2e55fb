"""How far a run has come: judgements given and needed."""

from rrm.store.records import JudgementCount
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.transaction import rows

_COUNTS = """
WITH needed AS (
    SELECT level, round, purpose, 'alone' AS stage, sum((purpose != 'test') * raters_planned) AS number
    FROM comparisons GROUP BY level, round, purpose
    UNION ALL
    SELECT level, round, purpose, 'aided', sum((purpose != 'test') * raters_planned)
    FROM comparisons WHERE aids_planned = 1 GROUP BY level, round, purpose
), given AS (
    SELECT level, round, purpose, stage,
        sum(CASE purpose WHEN 'test' THEN answers ELSE min(answers, raters_planned) END) AS number
    FROM (
        SELECT comparison_id, stage, count(*) AS answers FROM live_judgements
        WHERE repeat = 0 AND rater_id NOT IN (SELECT rater_id FROM left_out_raters) GROUP BY comparison_id, stage
    ) JOIN comparisons ON comparisons.id = comparison_id GROUP BY level, round, purpose, stage
)
SELECT needed.level, needed.round, needed.purpose, needed.stage,
    coalesce(given.number, 0) AS given, needed.number AS needed
FROM needed LEFT JOIN given USING (level, round, purpose, stage)
ORDER BY needed.level, needed.round, needed.purpose, needed.stage DESC
"""


def judgement_counts(run: Run) -> list[JudgementCount]:
    """For each level, round, purpose and stage: the judgements that count, and those that are planned.

    Repeat checks are not counted, and not what raters judged who are left out: others are asked for it. Of the answers
    to one comparison as many are given as were planned: further ones (imported, or after a lease had run out) spare
    nobody the comparisons that nobody answered. Of the purpose `test` all are given, and none is needed.
    """
    return [to_record(JudgementCount, row) for row in rows(run.database, _COUNTS)]
