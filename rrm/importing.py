"""Judgements that were given elsewhere, as part of a run: prompts, completions, comparisons, raters, answers.

Every answer goes through the queue like one from the page, so that it is chained, traced and counted like any other.
Its id follows from the pair and its rater: to import the same again adds nothing, and one that was killed goes on.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from reward_models.errors import ArtifactError
from reward_models.preference_columns import PreferenceColumns
from reward_models.preference_data import PreferenceData, read_preferences
from reward_models.read_report import ReadReport
from rrm.errors import RunError
from rrm.import_report import ImportReport
from rrm.imported_answers import Held, ImportedAnswers, Vote
from rrm.imported_places import ImportedPlaces
from rrm.imported_rows import ImportedRow, RowRejected, imported_row
from rrm.judging.imported import REASON
from rrm.judging.queue import answer_many
from rrm.progress import AbstractProgress
from rrm.run_folder import RunFolder
from rrm.store import (
    Answer,
    Choice,
    Purpose,
    Run,
    Stage,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    put_comparisons,
    put_completions,
    put_documents,
    put_rater,
    step_key,
    step_result,
)
from rrm.store.leases import LEASE_SECONDS, lease
from rrm.store.times import timestamp
from rrm.store.transaction import rows
from rrm.store_documents import completion_id
from rrm.tasks.task import AbstractTask, Split

BATCH = 200
"""Rows of one transaction: the most that a kill can cost."""


def import_preferences(
    run: Run,
    task: AbstractTask,
    source: str | Path,
    *,
    now: str,
    progress: AbstractProgress,
    level: int = 0,
    columns: PreferenceColumns | None = None,
    split: str | None = None,
    encoding: str | None = None,
) -> ImportReport:
    """Read preference data of any format that `read_preferences` takes into round 0 of a level.

    Several raters of one pair stay apart; one that judged it twice has a repeat, which is never learned from.
    Judgements of a prompt of the task go where the task has it (training or validation); of others, a fifth is held
    out, whole groups at a time. Raises ArtifactError where the source cannot be read or no row of it, RunError for a
    level that the run does not have.
    """
    _check_level(task, level)
    found = read_judgements(source, seed=run.seed, columns=columns, split=split, encoding=encoding)
    return import_rows(run, task, found, now=now, progress=progress, level=level)


def read_judgements(
    source: str | Path,
    *,
    seed: int,
    columns: PreferenceColumns | None = None,
    split: str | None = None,
    encoding: str | None = None,
) -> PreferenceData:
    """Preference data as an import reads it; of a folder that `rrm export` wrote, the preferences in it.

    Raises ArtifactError where nothing, or no row, can be read.
    """
    exported = Path(source) / "preferences"
    if exported.is_dir() and (exported.parent / "judgements.jsonl").is_file():
        source = exported
    generator = torch.Generator().manual_seed(seed)
    found = read_preferences(source, generator=generator, columns=columns, split=split, encoding=encoding)
    if not found.report.read:
        raise ArtifactError(
            f"none of the {found.report.given} rows of {source} can be read as a judgement; {found.report.bad_rows[0]}"
        )
    return found


def import_rows(
    run: Run, task: AbstractTask, found: PreferenceData, *, now: str, progress: AbstractProgress, level: int = 0
) -> ImportReport:
    """Preference data that was read already; as `import_preferences`."""
    _check_level(task, level)
    importer = _Importer(run, task, level=level, time=timestamp(now))
    progress.start("import", len(found.dataset))
    for batch in found.dataset.iter(batch_size=BATCH):
        columns = list(batch)
        given = [dict(zip(columns, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        with run.transaction():
            importer.put(given)
        progress.advance(len(given))
    progress.finish()
    return importer.report(found.report)


def learning_round(opened: RunFolder, *, level: int) -> int | None:
    """The first round of a level whose reward model is not fitted yet; None where all are."""
    rounds = range(opened.config.rounds.rounds_per_level)
    fitted = (step_result(opened.run, step_key(level=level, round=each, name="fit")) is not None for each in rounds)
    return next((each for each, done in zip(rounds, fitted, strict=True) if not done), None)


class _Importer:
    """Rows on their way into a run."""

    def __init__(self, run: Run, task: AbstractTask, *, level: int, time: str) -> None:
        self._run, self._level, self._time = run, level, time
        self._levels = task.levels
        self._places = ImportedPlaces(run, task, level=level)
        self._answers = ImportedAnswers(run)
        self._comparisons, self._raters = (
            {str(row["id"]) for row in rows(run.database, f"SELECT id FROM {table}")}
            for table in ("comparisons", "raters")
        )
        self._refused: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, set[str]] = {"prompts": set(), "comparisons": set(), "raters": set()}

    def put(self, batch: Sequence[Mapping[str, object]]) -> None:
        """One batch, inside a transaction."""
        for row in batch:
            try:
                given = imported_row(row)
                if (held := self._answers.exported(given)) is not None:
                    self._count(held, known=True)
                    continue
                self._refuse_other_level(given)
                for _ in range(given.votes):
                    self._put(given)
            except RowRejected as rejection:
                self._refused[str(rejection)] += 1

    def report(self, read: ReadReport) -> ImportReport:
        """What came of all batches."""
        return ImportReport(
            read=read,
            judgements=self._counts["new"],
            known=self._counts["known"],
            refused=tuple(self._refused.most_common()),
            prompts=len(self._seen["prompts"]),
            comparisons=len(self._seen["comparisons"]),
            raters=len(self._seen["raters"]),
            train=self._counts[Purpose.TRAIN.value],
            validation=self._counts[Purpose.VALIDATION.value],
            repeats=self._counts["repeats"],
        )

    def _put(self, given: ImportedRow) -> None:
        document = self._places.document(given)
        purpose = Purpose.TRAIN if document.split == Split.TRAIN.value else Purpose.VALIDATION
        comparison, first = self._comparison(given, document, purpose)
        choice = given.choice_from(first)
        vote = self._answers.vote(comparison, given.rater, choice)
        if not vote.known:
            self._answer(comparison, vote, choice, given)
        self._count(Held(document.id, comparison, vote.rater.id, purpose, vote.repeat == 1), known=vote.known)

    def _refuse_other_level(self, given: ImportedRow) -> None:
        if given.level is None or given.level == self._level:
            return
        if given.level >= self._levels:
            raise RowRejected(f"it is of level {given.level}, which this run does not have")
        raise RowRejected(
            f"it is of level {given.level}, and this import is for level {self._level}; import again with --level "
            f"{given.level}"
        )

    def _count(self, held: Held, *, known: bool) -> None:
        self._counts["known" if known else "new"] += 1
        use = Purpose.TRAIN if held.purpose is Purpose.TRAIN else Purpose.VALIDATION
        self._counts["repeats" if held.repeat else use.value] += 1
        for name, value in (("prompts", held.document), ("comparisons", held.comparison), ("raters", held.rater)):
            self._seen[name].add(value)

    def _comparison(self, given: ImportedRow, document: StoredDocument, purpose: Purpose) -> tuple[str, str]:
        """The id of the comparison, stored if it was not, and its first text: an order that no preference decides."""
        numbers = {_number(text): text for text in (given.first, given.second)}
        ids = {number: completion_id(document.id, 0, REASON, number) for number in sorted(numbers)}
        one, other = ids.values()
        identifier = f"{purpose.value}/{one}+{other.removeprefix(document.id + '/')}"
        if identifier not in self._comparisons:
            put_documents(self._run, [document])
            put_completions(
                self._run,
                [
                    StoredCompletion(ids[number], document.id, document.level, 0, REASON, numbers[number])
                    for number in ids
                ],
            )
            put_comparisons(
                self._run,
                [
                    StoredComparison(
                        id=identifier,
                        level=document.level,
                        round=0,
                        purpose=purpose,
                        document_id=document.id,
                        prompt=self._places.prompt(given),
                        first_completion_id=one,
                        second_completion_id=other,
                        reason=REASON,
                        position=len(self._comparisons),
                    )
                ],
            )
            self._comparisons.add(identifier)
        return identifier, numbers[min(numbers)]

    def _answer(self, comparison: str, vote: Vote, choice: Choice, given: ImportedRow) -> None:
        rater, repeat = vote.rater.id, vote.repeat
        if rater not in self._raters:
            put_rater(self._run, vote.rater)
            self._raters.add(rater)
        found = lease(
            self._run, [comparison], rater_id=rater, repeat=repeat, time=self._time, lease_seconds=LEASE_SECONDS
        )
        answer = Answer(
            found[0].lease_id,
            Stage.ALONE,
            choice,
            comment=given.comment,
            details={REASON: dict(given.kept)} if given.kept else {},
            judgement_id=vote.id,
        )
        answer_many(self._run, [answer], now=self._time)


def _check_level(task: AbstractTask, level: int) -> None:
    """Reward models of a level that is never played would never learn from it."""
    if not 0 <= level < task.levels:
        raise RunError(
            f"This run has the levels 0 to {task.levels - 1}, so nothing can be imported into level {level}."
        )


def _number(text: str) -> int:
    """A number for a completion that only its text decides."""
    return int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12], 16)
